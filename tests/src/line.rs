//! A plain SIP peer on one line: a datagram socket, a TCP or TLS connection, or a WebSocket. It sends and expects messages
//! as text, so that a test sees every byte that matters.

use crate::wire::{Answer, SipText, authorization};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

trait Wire: Read + Write + Send {
    fn socket(&self) -> &TcpStream;
}

impl Wire for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }
}

impl Wire for rustls::StreamOwned<rustls::ClientConnection, TcpStream> {
    fn socket(&self) -> &TcpStream {
        &self.sock
    }
}

impl Wire for rustls::StreamOwned<rustls::ServerConnection, TcpStream> {
    fn socket(&self) -> &TcpStream {
        &self.sock
    }
}

enum Way {
    Datagrams(UdpSocket, SocketAddr),
    Stream(Box<dyn Wire>),
    WebSocket(Box<dyn Wire>),
}

/// One line to the exchange.
pub struct Line {
    way: Way,
    buffer: Vec<u8>,
    /// The word of its Via, and of its Contact.
    transport: &'static str,
    local: SocketAddr,
    count: u32,
}

/// A frame of a WebSocket.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    /// 1 text, 2 binary, 8 close, 9 ping, 10 pong.
    pub opcode: u8,
    /// What it holds.
    pub payload: Vec<u8>,
}

const STEP: Duration = Duration::from_millis(50);

impl Line {
    fn new(way: Way, transport: &'static str, local: SocketAddr) -> Self {
        Self {
            way,
            buffer: Vec::new(),
            transport,
            local,
            count: 0,
        }
    }

    /// Datagrams to that address.
    pub fn datagrams(socket: UdpSocket, to: SocketAddr) -> Self {
        socket.set_read_timeout(Some(STEP)).expect("a timeout");
        let local = socket.local_addr().expect("an address");
        Self::new(Way::Datagrams(socket, to), "UDP", local)
    }

    fn connect(to: SocketAddr) -> std::io::Result<TcpStream> {
        let stream = TcpStream::connect_timeout(&to, crate::SOON)?;
        stream.set_read_timeout(Some(crate::SOON))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    fn stream(wire: Box<dyn Wire>, transport: &'static str) -> Self {
        wire.socket()
            .set_read_timeout(Some(STEP))
            .expect("a timeout");
        let local = wire.socket().local_addr().expect("an address");
        Self::new(Way::Stream(wire), transport, local)
    }

    /// A connection to that address.
    pub fn tcp(to: SocketAddr) -> Self {
        Self::stream(Box::new(Self::connect(to).expect("a connection")), "TCP")
    }

    /// A connection that somebody made to us.
    pub fn accepted(stream: TcpStream) -> Self {
        Self::stream(Box::new(stream), "TCP")
    }

    fn handshake(
        to: SocketAddr,
        config: &Arc<rustls::ClientConfig>,
        name: &str,
    ) -> std::io::Result<rustls::StreamOwned<rustls::ClientConnection, TcpStream>> {
        let name = rustls::pki_types::ServerName::try_from(name.to_owned())
            .map_err(std::io::Error::other)?;
        let client = rustls::ClientConnection::new(Arc::clone(config), name)
            .map_err(std::io::Error::other)?;
        let mut stream = rustls::StreamOwned::new(client, Self::connect(to)?);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(stream)
    }

    /// TLS to that address, whose certificate has to be good for `name`.
    pub fn tls(
        to: SocketAddr,
        config: &Arc<rustls::ClientConfig>,
        name: &str,
    ) -> std::io::Result<Self> {
        Ok(Self::stream(
            Box::new(Self::handshake(to, config, name)?),
            "TLS",
        ))
    }

    /// The server's half of TLS on a connection that somebody made to us.
    pub fn tls_accepted(
        stream: TcpStream,
        config: &Arc<rustls::ServerConfig>,
    ) -> std::io::Result<Self> {
        stream.set_read_timeout(Some(crate::SOON))?;
        let server =
            rustls::ServerConnection::new(Arc::clone(config)).map_err(std::io::Error::other)?;
        let mut stream = rustls::StreamOwned::new(server, stream);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Self::stream(Box::new(stream), "TLS"))
    }

    /// A WebSocket; the status line of the answer where it is refused.
    pub fn websocket(to: SocketAddr, path: &str, protocol: &str) -> Result<Self, String> {
        let wire = Box::new(Self::connect(to).map_err(|error| error.to_string())?);
        Self::upgrade(wire, "WS", to, path, protocol)
    }

    /// A WebSocket over TLS.
    pub fn secure_websocket(
        to: SocketAddr,
        config: &Arc<rustls::ClientConfig>,
        name: &str,
    ) -> Result<Self, String> {
        let wire = Self::handshake(to, config, name).map_err(|error| error.to_string())?;
        Self::upgrade(Box::new(wire), "WSS", to, "/ws", "sip")
    }

    fn upgrade(
        mut wire: Box<dyn Wire>,
        transport: &'static str,
        to: SocketAddr,
        path: &str,
        protocol: &str,
    ) -> Result<Self, String> {
        use base64::Engine as _;
        use sha1::Digest as _;
        // The example of RFC 6455 §1.3.
        let key = "dGhlIHNhbXBsZSBub25jZQ==";
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {to}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: {protocol}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        );
        let failed = |error: std::io::Error| error.to_string();
        wire.write_all(request.as_bytes()).map_err(failed)?;
        wire.flush().map_err(failed)?;
        let mut answer = Vec::new();
        let mut byte = [0_u8; 1];
        while !answer.ends_with(b"\r\n\r\n") {
            if wire.read(&mut byte).map_err(failed)? == 0 {
                return Err("closed without an answer".to_owned());
            }
            answer.push(byte[0]);
        }
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let lower = answer.to_ascii_lowercase();
        let status = answer.lines().next().unwrap_or("").to_owned();
        if !status.contains(" 101 ") {
            return Err(status);
        }
        let digest = sha1::Sha1::digest(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11"));
        let accept = base64::engine::general_purpose::STANDARD.encode(digest);
        assert!(answer.contains(&accept), "{answer}");
        assert!(lower.contains("sec-websocket-protocol: sip"), "{answer}");
        wire.socket().set_read_timeout(Some(STEP)).map_err(failed)?;
        let local = wire.socket().local_addr().map_err(failed)?;
        Ok(Self::new(Way::WebSocket(wire), transport, local))
    }

    /// Its own address.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Sends bytes as they are: a datagram, a piece of a stream, the payload of a text frame.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        match &mut self.way {
            Way::Datagrams(socket, to) => {
                socket.send_to(bytes, *to).expect("a datagram leaves");
            }
            Way::Stream(wire) => {
                wire.write_all(bytes).expect("the connection is open");
                wire.flush().expect("the connection is open");
            }
            Way::WebSocket(_) => self.send_frame(1, bytes),
        }
    }

    /// Sends a frame, masked as a client has to.
    pub fn send_frame(&mut self, opcode: u8, payload: &[u8]) {
        let Way::WebSocket(wire) = &mut self.way else {
            panic!("only a WebSocket has frames");
        };
        let mask = [0x37, 0xfa, 0x21, 0x3d];
        let mut frame = vec![0x80 | opcode];
        match payload.len() {
            length @ 0..126 => frame.push(0x80 | length as u8),
            length => {
                frame.push(0x80 | 126);
                frame.extend_from_slice(&(length as u16).to_be_bytes());
            }
        }
        frame.extend_from_slice(&mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m));
        wire.write_all(&frame).expect("the connection is open");
        wire.flush().expect("the connection is open");
    }

    /// Sends a text frame without a mask, which only a server may.
    pub fn send_unmasked(&mut self, payload: &[u8]) {
        let Way::WebSocket(wire) = &mut self.way else {
            panic!("only a WebSocket has frames");
        };
        let mut frame = vec![0x81, payload.len() as u8];
        frame.extend_from_slice(payload);
        wire.write_all(&frame).expect("the connection is open");
        wire.flush().expect("the connection is open");
    }

    /// Sends a message.
    pub fn send(&mut self, message: &SipText) {
        self.send_bytes(&message.to_bytes());
    }

    /// Reads more into the buffer; false when the other side has closed.
    fn fill(&mut self) -> bool {
        let mut piece = [0_u8; 65_536];
        let read = match &mut self.way {
            Way::Datagrams(socket, _) => socket.recv_from(&mut piece).map(|(length, _)| length),
            Way::Stream(wire) | Way::WebSocket(wire) => wire.read(&mut piece),
        };
        match read {
            Ok(0) => false,
            Ok(length) => {
                if matches!(self.way, Way::Datagrams(..)) {
                    self.buffer.clear();
                }
                self.buffer.extend_from_slice(&piece[..length]);
                true
            }
            Err(error) => matches!(
                error.kind(),
                std::io::ErrorKind::WouldBlock
                    | std::io::ErrorKind::TimedOut
                    | std::io::ErrorKind::Interrupted
            ),
        }
    }

    fn take_frame(&mut self) -> Option<Frame> {
        let first = *self.buffer.first()?;
        let second = *self.buffer.get(1)?;
        assert!(second & 0x80 == 0, "a server does not mask");
        let (length, start) = match second {
            126 => (
                usize::from(u16::from_be_bytes([
                    *self.buffer.get(2)?,
                    *self.buffer.get(3)?,
                ])),
                4,
            ),
            length => (usize::from(length), 2),
        };
        if self.buffer.len() < start + length {
            return None;
        }
        let payload = self.buffer[start..start + length].to_vec();
        self.buffer.drain(..start + length);
        Some(Frame {
            opcode: first & 0x0f,
            payload,
        })
    }

    /// The next frame of a WebSocket.
    #[track_caller]
    pub fn expect_frame(&mut self, opcode: u8, limit: Duration) -> Frame {
        let deadline = Instant::now() + limit;
        loop {
            while let Some(frame) = self.take_frame() {
                if frame.opcode == opcode {
                    return frame;
                }
            }
            assert!(Instant::now() < deadline, "no frame {opcode} in time");
            assert!(self.fill(), "closed before a frame {opcode} came");
        }
    }

    fn take(&mut self) -> Option<SipText> {
        match &self.way {
            Way::Datagrams(..) => {
                let bytes = std::mem::take(&mut self.buffer);
                (!bytes.is_empty())
                    .then(|| SipText::parse(&bytes))
                    .flatten()
            }
            Way::WebSocket(_) => loop {
                let frame = self.take_frame()?;
                if matches!(frame.opcode, 1 | 2) {
                    return SipText::parse(&frame.payload);
                }
            },
            Way::Stream(_) => {
                let skipped = self
                    .buffer
                    .iter()
                    .take_while(|b| matches!(b, b'\r' | b'\n'));
                let skipped = skipped.count();
                self.buffer.drain(..skipped);
                let text = String::from_utf8_lossy(&self.buffer).into_owned();
                let head = text.find("\r\n\r\n")? + 4;
                let length = text[..head]
                    .lines()
                    .find_map(|line| line.strip_prefix("Content-Length: "))
                    .and_then(|length| length.trim().parse::<usize>().ok())
                    .expect("a message on a stream has a Content-Length");
                if self.buffer.len() < head + length {
                    return None;
                }
                let message: Vec<u8> = self.buffer.drain(..head + length).collect();
                SipText::parse(&message)
            }
        }
    }

    /// The next message that fits; others are left out.
    #[track_caller]
    pub fn expect(&mut self, what: &str, fits: impl Fn(&SipText) -> bool) -> SipText {
        let deadline = Instant::now() + crate::SOON;
        let mut seen = Vec::new();
        loop {
            while let Some(message) = self.take() {
                if fits(&message) {
                    return message;
                }
                seen.push(message.start);
            }
            assert!(
                Instant::now() < deadline,
                "no {what} in time; seen {seen:?}"
            );
            assert!(self.fill(), "closed before {what} came; seen {seen:?}");
        }
    }

    /// The final response to the newest request of that method.
    #[track_caller]
    pub fn expect_final(&mut self, method: &str) -> SipText {
        self.expect(&format!("final response to {method}"), |message| {
            message.status().is_some_and(|status| status >= 200)
                && message.cseq().is_some_and(|(_, of)| of == method)
        })
    }

    /// A request of that method.
    #[track_caller]
    pub fn expect_request(&mut self, method: &str) -> SipText {
        self.expect(&format!("{method} request"), |message| {
            message.method() == Some(method)
        })
    }

    /// What comes until the other side closes; panics when it does not.
    #[track_caller]
    pub fn expect_closed(&mut self, limit: Duration) -> Vec<u8> {
        let deadline = Instant::now() + limit;
        while self.fill() {
            assert!(Instant::now() < deadline, "not closed within {limit:?}");
        }
        std::mem::take(&mut self.buffer)
    }

    /// Waits until at least so many bytes have come, and takes them.
    #[track_caller]
    pub fn expect_bytes(&mut self, count: usize, limit: Duration) -> Vec<u8> {
        let deadline = Instant::now() + limit;
        while self.buffer.len() < count {
            assert!(
                Instant::now() < deadline,
                "{:?} within {limit:?}",
                self.buffer
            );
            assert!(self.fill(), "closed after {:?}", self.buffer);
        }
        std::mem::take(&mut self.buffer)
    }

    /// A request of `user` in a call of its own.
    pub fn request(&mut self, method: &str, uri: &str, user: &str) -> SipText {
        self.count += 1;
        let (count, local) = (self.count, self.local);
        let unique = format!("{}{}{count}", local.port(), std::process::id());
        let mut message = SipText::request(method, uri);
        message.push(
            "Via",
            &format!(
                "SIP/2.0/{} {local};branch=z9hG4bK{unique};rport",
                self.transport
            ),
        );
        message.push("Max-Forwards", "70");
        message.push("From", &format!("<sip:{user}@{local}>;tag=f{unique}"));
        message.push("To", &format!("<{uri}>"));
        message.push("Call-ID", &format!("{unique}@line"));
        message.push("CSeq", &format!("1 {method}"));
        message.push("Contact", &format!("<{}>", self.contact(user)));
        message
    }

    /// Its Contact.
    pub fn contact(&self, user: &str) -> String {
        match self.transport {
            "UDP" => format!("sip:{user}@{}", self.local),
            // A browser has no address that it knows.
            "WS" | "WSS" => format!("sip:{user}@df7jal23ls0d.invalid;transport=ws"),
            other => format!(
                "sip:{user}@{};transport={}",
                self.local,
                other.to_ascii_lowercase()
            ),
        }
    }

    /// Sends a request and answers a challenge; the final response.
    #[track_caller]
    pub fn ask(&mut self, mut message: SipText, user: &str, password: &str) -> SipText {
        let method = message.method().expect("a request").to_owned();
        let uri = message.uri().expect("a request").to_owned();
        self.send(&message);
        let response = self.expect_final(&method);
        let Some(challenge) = response.header("WWW-Authenticate") else {
            return response;
        };
        if method == "INVITE" {
            let mut ack = SipText::request("ACK", &uri);
            ack.headers.clone_from(&message.headers);
            ack.set("To", response.header("To").expect("a To header"));
            ack.set("CSeq", "1 ACK");
            self.send(&ack);
        }
        let answer = Answer {
            user,
            password,
            method: &method,
            uri: &uri,
        };
        let value = authorization(challenge, answer).expect("a digest challenge");
        message.set("CSeq", &format!("2 {method}"));
        message.set("Authorization", &value);
        let via = message.header("Via").expect("a Via header");
        let via = via.replace(";rport", "a;rport");
        message.set("Via", &via);
        self.send(&message);
        self.expect_final(&method)
    }

    /// Registers its Contact; the final response.
    #[track_caller]
    pub fn register(&mut self, at: SocketAddr, user: &str, password: &str) -> SipText {
        let mut register = self.request("REGISTER", &format!("sip:{at}"), user);
        register.set("To", &format!("<sip:{user}@{at}>"));
        register.set("From", &format!("<sip:{user}@{at}>;tag=r{}", self.count));
        register.push("Expires", "600");
        self.ask(register, user, password)
    }

    /// An INVITE with an offer for `media`.
    pub fn invite(&mut self, uri: &str, user: &str, media: SocketAddr) -> SipText {
        let mut invite = self.request("INVITE", uri, user);
        invite.push("Content-Type", "application/sdp");
        invite.body = description(media);
        invite
    }

    /// ACK for a 2xx.
    pub fn acknowledge(&mut self, invite: &SipText, answer: &SipText) {
        let contact = answer.header("Contact").expect("a Contact header");
        let mut ack = SipText::request("ACK", crate::wire::uri_of(contact));
        ack.headers.clone_from(&invite.headers);
        ack.remove("Content-Type");
        ack.remove("Authorization");
        ack.set("To", answer.header("To").expect("a To header"));
        let (number, _) = answer.cseq().expect("a CSeq");
        ack.set("CSeq", &format!("{number} ACK"));
        let via = ack
            .header("Via")
            .expect("a Via header")
            .replace(";rport", "b;rport");
        ack.set("Via", &via);
        self.send(&ack);
    }

    /// Answers a request.
    pub fn respond(&mut self, request: &SipText, status: u16, media: Option<SocketAddr>) {
        let mut response = SipText::response(request, status, "Answer", "peer");
        let user = "peer";
        response.push("Contact", &format!("<{}>", self.contact(user)));
        if let Some(media) = media {
            response.push("Content-Type", "application/sdp");
            response.body = description(media);
        }
        self.send(&response);
    }
}

/// A description of audio at that address.
pub fn description(media: SocketAddr) -> String {
    let family = if media.is_ipv4() { "IP4" } else { "IP6" };
    let ip = media.ip();
    format!(
        "v=0\r\no=- 1 1 IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\nm=audio {} RTP/AVP 8\r\n\
         a=rtpmap:8 PCMA/8000\r\n",
        media.port()
    )
}

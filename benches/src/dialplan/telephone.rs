//! A telephone that starts calls and leaves them.

use anyhow::Result;
use std::net::{SocketAddr, UdpSocket};

const SDP: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 9 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\n";

/// Calls by number: calls of one telephone are told apart by it.
pub struct Telephone {
    socket: UdpSocket,
    local: SocketAddr,
    exchange: SocketAddr,
}

impl Telephone {
    pub fn new(exchange: SocketAddr) -> Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        // A read that waits, however short, waits for the next tick of the system's clock: milliseconds for each call.
        socket.set_nonblocking(true)?;
        Ok(Self {
            local: socket.local_addr()?,
            socket,
            exchange,
        })
    }

    /// The INVITE that begins call `number`.
    pub fn invite(&self, number: usize, exten: &str) -> String {
        self.request("INVITE", number, exten, SDP)
    }

    /// Begins call `number`; whatever the exchange says meanwhile is thrown away.
    pub fn call(&self, number: usize, exten: &str) -> Result<()> {
        self.socket
            .send_to(self.invite(number, exten).as_bytes(), self.exchange)?;
        self.listen();
        Ok(())
    }

    /// Ends call `number`, which was not answered.
    pub fn leave(&self, number: usize, exten: &str) -> Result<()> {
        let cancel = self.request("CANCEL", number, exten, "");
        self.socket.send_to(cancel.as_bytes(), self.exchange)?;
        self.listen();
        Ok(())
    }

    /// Throws away what has come, and acknowledges refusals so that they are not repeated.
    pub fn listen(&self) {
        let mut buffer = [0; 4096];
        while let Ok((length, _)) = self.socket.recv_from(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..length]);
            let refused = text
                .strip_prefix("SIP/2.0 ")
                .is_some_and(|rest| rest.as_bytes().first() > Some(&b'2'));
            if refused && text.contains(" INVITE\r\n") {
                let _ = self.socket.send_to(ack(&text).as_bytes(), self.exchange);
            }
        }
    }

    fn request(&self, method: &str, number: usize, exten: &str, body: &str) -> String {
        let (local, exchange) = (self.local, self.exchange);
        let content = if body.is_empty() {
            ""
        } else {
            "Content-Type: application/sdp\r\n"
        };
        format!(
            "{method} sip:{exten}@{exchange} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bKcall{number};rport\r\n\
             Max-Forwards: 70\r\nFrom: \"Tester\" <sip:tester@{local}>;tag=caller{number}\r\nTo: <sip:{exten}@{exchange}>\r\n\
             Call-ID: call-{number}-{}\r\nCSeq: 1 {method}\r\nContact: <sip:tester@{local}>\r\n{content}\
             Content-Length: {}\r\n\r\n{body}",
            local.port(),
            body.len()
        )
    }
}

/// The ACK to a refusal.
fn ack(response: &str) -> String {
    let mut uri = "sip:bench";
    let mut headers = String::new();
    for line in response.lines().take_while(|line| !line.is_empty()) {
        let name = line.split(':').next().unwrap_or_default();
        match name {
            "Via" | "From" | "To" | "Call-ID" => {
                if name == "To" {
                    uri = line.split(['<', '>']).nth(1).unwrap_or(uri);
                }
                headers.push_str(line);
                headers.push_str("\r\n");
            }
            _ => {}
        }
    }
    format!(
        "ACK {uri} SIP/2.0\r\n{headers}CSeq: 1 ACK\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    )
}

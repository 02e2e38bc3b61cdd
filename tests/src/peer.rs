//! A telephone that says what it is told, over its own socket: for what no well-behaved telephone does.

use crate::wire::{SipText, tag_of, uri_of};
use crate::{SOON, wait_until};
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Its socket, and whom it talks to.
#[derive(Debug)]
pub struct Peer {
    sip: UdpSocket,
    exchange: SocketAddr,
}

/// One call of a [`Peer`]; which of several telephones it is, is the tag that each message is sent with.
#[derive(Debug)]
pub struct PeerCall<'p> {
    peer: &'p Peer,
    /// The INVITE that began it, either way.
    pub invite: SipText,
    /// Ours of the called side has the tag in each message.
    local: String,
    remote: String,
    target: String,
    cseq: u32,
    calling: bool,
}

/// A socket that waits no longer than a moment.
pub fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let wait = Some(Duration::from_millis(50));
    socket.set_read_timeout(wait).expect("a timeout");
    socket
}

/// The body of a description of G.711 audio at that socket, with more lines behind.
pub fn audio_at(audio: &UdpSocket, more: &str) -> String {
    let port = audio.local_addr().expect("an address").port();
    format!(
        "v=0\r\no=- 1 {port} IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\n{more}"
    )
}

/// Puts a description into a message.
pub fn describe(message: &mut SipText, body: String) {
    message.set("Content-Type", "application/sdp");
    message.body = body;
}

fn unique() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Peer {
    /// A telephone for that exchange.
    pub fn new(exchange: SocketAddr) -> Self {
        Self {
            sip: socket(),
            exchange,
        }
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.sip.local_addr().expect("an address")
    }

    /// Whom it talks to from now on.
    pub fn set_exchange(&mut self, exchange: SocketAddr) {
        self.exchange = exchange;
    }

    fn contact(&self) -> String {
        format!("<sip:peer@{}>", self.address())
    }

    /// Sends a message.
    pub fn send(&self, message: &SipText) {
        let sent = self.sip.send_to(&message.to_bytes(), self.exchange);
        sent.expect("sent");
    }

    fn receive(&self) -> Option<SipText> {
        let mut buffer = [0; 8192];
        let length = self.sip.recv(&mut buffer).ok()?;
        SipText::parse(&buffer[..length])
    }

    /// The next message that fits; others are passed over.
    #[track_caller]
    pub fn expect(&self, what: &str, fits: impl Fn(&SipText) -> bool) -> SipText {
        let message = wait_until(SOON, || self.receive().filter(&fits));
        message.unwrap_or_else(|| panic!("no {what}"))
    }

    /// What comes within that time and fits.
    pub fn gather(&self, time: Duration, fits: impl Fn(&SipText) -> bool) -> Vec<SipText> {
        let until = Instant::now() + time;
        let mut found = Vec::new();
        while Instant::now() < until {
            found.extend(self.receive().filter(&fits));
        }
        found
    }

    /// The next INVITE is answered by this call.
    #[track_caller]
    pub fn called(&self) -> PeerCall<'_> {
        let invite = self.expect("INVITE", |m| m.method() == Some("INVITE"));
        let header = |name| invite.header(name).unwrap_or_default().to_owned();
        PeerCall {
            peer: self,
            local: header("To"),
            remote: header("From"),
            target: uri_of(&header("Contact")).to_owned(),
            cseq: 0,
            calling: false,
            invite,
        }
    }

    /// Calls a number of the exchange, as the user `peer`.
    pub fn call(&self, number: &str, change: impl FnOnce(&mut SipText)) -> PeerCall<'_> {
        let (at, exchange) = (self.address(), self.exchange);
        let mut invite = SipText::request("INVITE", &format!("sip:{number}@{exchange}"));
        let number_of_call = unique();
        let branch = format!("z9hG4bKcall{number_of_call}");
        invite.push("Via", &format!("SIP/2.0/UDP {at};branch={branch}"));
        invite.push("Max-Forwards", "70");
        invite.push("From", &format!("<sip:peer@{at}>;tag=p{number_of_call}"));
        invite.push("To", &format!("<sip:{number}@{exchange}>"));
        invite.push("Call-ID", &format!("call-{number_of_call}@{at}"));
        invite.push("CSeq", "1 INVITE");
        invite.push("Contact", &self.contact());
        change(&mut invite);
        self.send(&invite);
        let header = |name| invite.header(name).unwrap_or_default().to_owned();
        PeerCall {
            peer: self,
            local: header("From"),
            remote: header("To"),
            target: invite.uri().unwrap_or_default().to_owned(),
            cseq: 1,
            calling: true,
            invite,
        }
    }
}

impl PeerCall<'_> {
    /// A response to the INVITE as the telephone of that tag.
    pub fn respond(&self, status: u16, tag: &str, change: impl FnOnce(&mut SipText)) {
        let mut response = SipText::response(&self.invite, status, "As Told", tag);
        response.push("Contact", &self.peer.contact());
        change(&mut response);
        self.peer.send(&response);
    }

    /// The next response to our INVITE of that status.
    #[track_caller]
    pub fn expect_response(&mut self, status: u16) -> SipText {
        let call_id = self.invite.header("Call-ID").map(str::to_owned);
        let response = self.peer.expect(&format!("{status} to INVITE"), |m| {
            m.status() == Some(status)
                && m.cseq().is_some_and(|(_, method)| method == "INVITE")
                && m.header("Call-ID") == call_id.as_deref()
        });
        if let Some(to) = response.header("To").filter(|to| tag_of(to).is_some()) {
            to.clone_into(&mut self.remote);
        }
        if let Some(contact) = response.header("Contact") {
            uri_of(contact).clone_into(&mut self.target);
        }
        response
    }

    /// Sends a request in the dialog, as the telephone of that tag (of a caller the tag is known), with the next CSeq.
    pub fn send(&mut self, method: &str, tag: &str, change: impl FnOnce(&mut SipText)) -> SipText {
        self.cseq += 1;
        let mut request = self.bare(method, tag, self.cseq);
        change(&mut request);
        self.peer.send(&request);
        request
    }

    fn bare(&self, method: &str, tag: &str, cseq: u32) -> SipText {
        let at = self.peer.address();
        let mut request = SipText::request(method, &self.target);
        let branch = format!("z9hG4bK{method}{}", unique());
        request.push("Via", &format!("SIP/2.0/UDP {at};branch={branch}"));
        request.push("Max-Forwards", "70");
        let local = match self.calling {
            true => self.local.clone(),
            false => format!("{};tag={tag}", self.local),
        };
        request.push("From", &local);
        request.push("To", &self.remote);
        request.push("Call-ID", self.invite.header("Call-ID").unwrap_or_default());
        request.push("CSeq", &format!("{cseq} {method}"));
        request.push("Contact", &self.peer.contact());
        request
    }

    /// A request in the dialog, and its final response.
    #[track_caller]
    pub fn request(
        &mut self,
        method: &str,
        tag: &str,
        change: impl FnOnce(&mut SipText),
    ) -> SipText {
        let request = self.send(method, tag, change);
        let branch = request.branch().unwrap_or_default().to_owned();
        self.peer.expect(&format!("answer to {method}"), |m| {
            m.status().is_some_and(|status| status >= 200) && m.branch() == Some(&branch)
        })
    }

    /// The ACK for a 2xx to an INVITE of ours.
    pub fn acknowledge(&self, response: &SipText, change: impl FnOnce(&mut SipText)) {
        let number = response.cseq().map_or(1, |(number, _)| number);
        let mut ack = self.bare("ACK", "", number);
        change(&mut ack);
        self.peer.send(&ack);
    }

    /// The same of a called telephone, whose re-INVITE was answered.
    pub fn acknowledge_as(&self, response: &SipText, tag: &str) {
        let number = response.cseq().map_or(1, |(number, _)| number);
        self.peer.send(&self.bare("ACK", tag, number));
    }

    /// The next request of the exchange in any dialog with that method.
    #[track_caller]
    pub fn expect_request(&self, method: &str) -> SipText {
        self.peer
            .expect(method, |m| m.method() == Some(method) && is_in_dialog(m))
    }

    /// Answers a request of the exchange.
    pub fn answer(&self, request: &SipText, status: u16, change: impl FnOnce(&mut SipText)) {
        let mut response = SipText::response(request, status, "As Told", "unused");
        response.push("Contact", &self.peer.contact());
        change(&mut response);
        self.peer.send(&response);
    }
}

fn is_in_dialog(request: &SipText) -> bool {
    request.header("To").is_some_and(|to| tag_of(to).is_some())
}

/// Sends packets of silence to an echo until one comes back.
#[track_caller]
pub fn expect_echo(audio: &UdpSocket, at: SocketAddr, what: &str) {
    let mut sequence = 0_u16;
    let back = wait_until(SOON, || {
        sequence += 1;
        let mut packet = vec![0x80, 8];
        packet.extend_from_slice(&sequence.to_be_bytes());
        packet.extend_from_slice(&(u32::from(sequence) * 160).to_be_bytes());
        packet.extend_from_slice(&4711_u32.to_be_bytes());
        packet.resize(172, 0xd5);
        let _ = audio.send_to(&packet, at);
        let mut buffer = [0; 2048];
        let length = audio.recv(&mut buffer).ok()?;
        (length == 172 && buffer[1] & 0x7f == 8).then_some(())
    });
    assert!(back.is_some(), "no echo: {what}");
}

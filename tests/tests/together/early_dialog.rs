//! Requests of the called side before it has answered: they belong to the early dialog.

use std::net::{SocketAddr, UdpSocket};
use strowger_tests::wire::{AudioLine, SipText, tag_of, uri_of};
use strowger_tests::{Bank, Exchange, SOON, Source, wait_until};

/// A telephone that says what it is told, over its own socket.
struct Server {
    sip: UdpSocket,
    exchange: SocketAddr,
    invite: SipText,
    cseq: u32,
}

impl Server {
    /// The next message that fits; others (retransmissions, ACK) are passed over.
    #[track_caller]
    fn expect(sip: &UdpSocket, what: &str, fits: impl Fn(&SipText) -> bool) -> SipText {
        let message = wait_until(SOON, || {
            let mut buffer = [0; 4096];
            let length = sip.recv(&mut buffer).ok()?;
            SipText::parse(&buffer[..length]).filter(&fits)
        });
        message.unwrap_or_else(|| panic!("no {what}"))
    }

    #[track_caller]
    fn called(sip: UdpSocket, exchange: SocketAddr) -> Self {
        let invite = Self::expect(&sip, "INVITE", |m| m.method() == Some("INVITE"));
        Self {
            sip,
            exchange,
            invite,
            cseq: 0,
        }
    }

    fn send(&self, message: &SipText) {
        let sent = self.sip.send_to(&message.to_bytes(), self.exchange);
        sent.expect("sent");
    }

    fn contact(&self) -> String {
        let at = self.sip.local_addr().expect("an address");
        format!("<sip:server@{at}>")
    }

    /// Answers the INVITE as the telephone of that tag; with the port where it hears, if it says so.
    fn respond(&self, status: u16, reason: &str, tag: &str, audio: Option<&UdpSocket>) {
        let mut response = SipText::response(&self.invite, status, reason, tag);
        response.push("Contact", &self.contact());
        describe(&mut response, audio);
        self.send(&response);
    }

    /// A request in the dialog of that tag, and the status and body that it is answered with.
    #[track_caller]
    fn request(&mut self, method: &str, tag: &str, change: impl FnOnce(&mut SipText)) -> SipText {
        self.cseq += 1;
        let header = |name| self.invite.header(name).unwrap_or_default().to_owned();
        let at = self.sip.local_addr().expect("an address");
        let mut request = SipText::request(method, uri_of(&header("Contact")));
        let branch = format!("z9hG4bK{method}{}", self.cseq);
        request.push("Via", &format!("SIP/2.0/UDP {at};branch={branch}"));
        request.push("Max-Forwards", "70");
        request.push("From", &format!("{};tag={tag}", header("To")));
        request.push("To", &header("From"));
        request.push("Call-ID", &header("Call-ID"));
        request.push("CSeq", &format!("{} {method}", self.cseq));
        request.push("Contact", &self.contact());
        change(&mut request);
        self.send(&request);
        Self::expect(&self.sip, &format!("answer to {method}"), |m| {
            m.status().is_some_and(|status| status >= 200) && m.branch() == Some(&branch)
        })
    }
}

fn describe(message: &mut SipText, audio: Option<&UdpSocket>) {
    let Some(audio) = audio else { return };
    let port = audio.local_addr().expect("an address").port();
    message.push("Content-Type", "application/sdp");
    message.body = format!(
        "v=0\r\no=- 1 {port} IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\n"
    );
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let wait = std::time::Duration::from_millis(50);
    socket.set_read_timeout(Some(wait)).expect("a timeout");
    socket
}

/// An exchange where `202` rings this telephone, and Alice, who speaks.
fn exchange(sip: &UdpSocket) -> Exchange {
    let mut exchange = Exchange::new();
    exchange.subscriber("alice", "secret", "house");
    let at = sip.local_addr().expect("an address");
    exchange.server(&format!("sip:server@{at}"), "house");
    exchange.extension("house", "202", &[("Dial", "PJSIP/server,60")]);
    exchange.start();
    exchange
}

#[test]
fn an_update_before_the_answer_moves_the_media_and_the_answer_does_not_move_it_back() {
    let sip = socket();
    let exchange = exchange(&sip);
    let bank = Bank::new();
    let alice = bank.phone("alice", "secret", exchange.sip());
    alice.set_source(Source::Tone(440.0));
    let call = alice.call("202");
    let mut server = Server::called(sip, exchange.sip());
    let (first, second) = (socket(), socket());

    server.respond(180, "Ringing", "one", None);
    call.expect_status(180, SOON);
    let early = server.request("UPDATE", "one", |r| describe(r, Some(&second)));
    assert_eq!(early.status(), Some(491), "our offer has no answer yet");
    server.respond(183, "Session Progress", "one", Some(&first));
    call.expect_status(183, SOON);
    let foreign = server.request("UPDATE", "another", |_| ());
    assert_eq!(foreign.status(), Some(481), "a telephone that rang nowhere");

    let updated = server.request("UPDATE", "one", |r| describe(r, Some(&second)));
    assert_eq!(updated.status(), Some(200), "{updated:?}");
    assert!(AudioLine::parse(&updated.body).is_some(), "{updated:?}");
    let digit = server.request("INFO", "one", |r| {
        r.push("Content-Type", "application/dtmf-relay");
        r.body = "Signal=5\r\nDuration=160\r\n".to_owned();
    });
    assert_eq!(digit.status(), Some(200), "{digit:?}");
    let bye = server.request("BYE", "one", |_| ());
    assert_eq!(bye.status(), Some(481), "the called side may not");

    // The answer repeats what was said before the UPDATE.
    server.respond(200, "OK", "one", Some(&first));
    call.expect_answered(SOON);
    let heard = wait_until(SOON, || second.recv(&mut [0; 2048]).ok());
    assert_eq!(heard, Some(172), "Alice is heard where the UPDATE said");
    let answered = server.request("UPDATE", "one", |_| ());
    assert_eq!(answered.status(), Some(200), "the dialog goes on");
    call.hang_up();
    let bye = Server::expect(&server.sip, "BYE", |m| m.method() == Some("BYE"));
    assert_eq!(bye.header("To").and_then(tag_of), Some("one"));
}

#[test]
fn an_early_dialog_is_gone_when_the_caller_has_given_up() {
    let sip = socket();
    let exchange = exchange(&sip);
    let bank = Bank::new();
    let alice = bank.phone("alice", "secret", exchange.sip());
    let call = alice.call("202");
    let mut server = Server::called(sip, exchange.sip());
    server.respond(180, "Ringing", "one", None);
    call.expect_status(180, SOON);
    assert_eq!(server.request("UPDATE", "one", |_| ()).status(), Some(200));
    call.hang_up();
    Server::expect(&server.sip, "CANCEL", |m| m.method() == Some("CANCEL"));
    assert_eq!(server.request("UPDATE", "one", |_| ()).status(), Some(481));
    server.respond(487, "Request Terminated", "one", None);
    Server::expect(&server.sip, "ACK", |m| m.method() == Some("ACK"));
}

//! A subscriber that does as it is told: it sends SUBSCRIBE and other requests over its own socket, and answers NOTIFYs as the
//! test says.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use crate::wire::{SipText, tag_of};
use crate::{Exchange, SOON, wait_until};

/// A subscriber at an address of its own.
pub struct Watcher {
    sip: UdpSocket,
    exchange: SocketAddr,
    cseq: u32,
    /// Status with which NOTIFYs are answered; 0: not at all.
    pub answers: u16,
    /// Headers of those answers.
    pub answer_headers: Vec<(String, String)>,
}

/// A subscription as its subscriber sees it.
#[derive(Clone, Debug)]
pub struct Watched {
    pub call_id: String,
    pub event: String,
    from: String,
    to: String,
    target: String,
}

impl Watcher {
    /// A socket on this address of the loopback network.
    pub fn new(ip: &str, exchange: SocketAddr) -> Self {
        let ip: IpAddr = ip.parse().expect("an address");
        let sip = UdpSocket::bind((ip, 0)).expect("a port");
        let wait = Duration::from_millis(50);
        sip.set_read_timeout(Some(wait)).expect("a timeout");
        Self {
            sip,
            exchange,
            cseq: 0,
            answers: 200,
            answer_headers: Vec::new(),
        }
    }

    /// Makes it an endpoint that is known by its address, with these columns besides.
    pub fn known_as(&self, exchange: &Exchange, name: &str, more: &[(&str, &str)]) {
        let mut row = vec![
            ("id", name),
            ("aors", name),
            ("context", "house"),
            ("disallow", "all"),
            ("allow", "alaw"),
        ];
        row.extend_from_slice(more);
        exchange.database.insert("ps_endpoints", &row);
        let ip = self.address().ip().to_string();
        let row = [("id", name), ("endpoint", name), ("match", &ip)];
        exchange.database.insert("ps_endpoint_id_ips", &row);
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.sip.local_addr().expect("an address")
    }

    /// Sends a message.
    pub fn send(&self, message: &SipText) {
        let sent = self.sip.send_to(&message.to_bytes(), self.exchange);
        sent.expect("sent");
    }

    /// The next message, whatever it is.
    pub fn receive(&self) -> Option<SipText> {
        let mut buffer = [0; 65_536];
        let length = self.sip.recv(&mut buffer).ok()?;
        SipText::parse(&buffer[..length])
    }

    /// A request outside of dialogs to that number, without Contact.
    pub fn request(&mut self, method: &str, user: &str) -> SipText {
        self.cseq += 1;
        let (at, cseq) = (self.address(), self.cseq);
        let to = format!("sip:{user}@{}", self.exchange.ip());
        let mut request = SipText::request(method, &to);
        request.push(
            "Via",
            &format!("SIP/2.0/UDP {at};branch=z9hG4bKw{}-{cseq}", at.port()),
        );
        request.push("Max-Forwards", "70");
        request.push("From", &format!("<sip:watcher@{}>;tag=w{cseq}", at.ip()));
        request.push("To", &format!("<{to}>"));
        request.push("Call-ID", &format!("w{cseq}-{}@{}", at.port(), at.ip()));
        request.push("CSeq", &format!("{cseq} {method}"));
        request
    }

    /// A SUBSCRIBE to that number.
    pub fn subscribe(&mut self, user: &str, event: &str) -> SipText {
        let mut request = self.request("SUBSCRIBE", user);
        request.push("Contact", &format!("<sip:watcher@{}>", self.address()));
        request.push("Event", event);
        request.push("Expires", "600");
        request
    }

    /// The final response to a request; NOTIFYs that come before are answered and kept out of the way.
    #[track_caller]
    pub fn ask(&mut self, request: &SipText) -> SipText {
        self.send(request);
        let answer = wait_until(SOON, || {
            let message = self.receive()?;
            let is_answer = message.branch() == request.branch()
                && message.status().is_some_and(|status| status >= 200);
            if !is_answer {
                self.answer(&message);
            }
            is_answer.then_some(message)
        });
        answer.unwrap_or_else(|| panic!("no answer to {request:?}"))
    }

    /// Answers a NOTIFY.
    pub fn answer(&self, notify: &SipText) {
        if notify.method() == Some("NOTIFY") && self.answers != 0 {
            let mut answer = SipText::response(notify, self.answers, "Said", "n");
            for (name, value) in &self.answer_headers {
                answer.push(name, value);
            }
            self.send(&answer);
        }
    }

    /// Subscribes, and gives the answer and the subscription.
    #[track_caller]
    pub fn watch(&mut self, request: &SipText) -> (SipText, Watched) {
        // The first NOTIFY is not to be lost: it comes behind the answer.
        let answer = self.ask(request);
        assert_eq!(answer.status(), Some(200), "{answer:?}");
        let header = |name: &str| answer.header(name).unwrap_or_default().to_owned();
        assert!(tag_of(&header("To")).is_some(), "{answer:?}");
        let watched = Watched {
            call_id: header("Call-ID"),
            event: request.header("Event").unwrap_or_default().to_owned(),
            from: header("From"),
            to: header("To"),
            target: crate::wire::uri_of(&header("Contact")).to_owned(),
        };
        (answer, watched)
    }

    /// A SUBSCRIBE within a subscription.
    pub fn again(&mut self, watched: &Watched, expires: u32) -> SipText {
        let mut request = self.request("SUBSCRIBE", "");
        request.start = format!("SUBSCRIBE {} SIP/2.0", watched.target);
        request.set("From", &watched.from);
        request.set("To", &watched.to);
        request.set("Call-ID", &watched.call_id);
        request.push("Contact", &format!("<sip:watcher@{}>", self.address()));
        request.push("Event", &watched.event);
        request.push("Expires", &expires.to_string());
        request
    }

    /// The next NOTIFY, answered; other messages and repetitions of `last` are passed over.
    #[track_caller]
    pub fn notify(&self) -> SipText {
        let notify = self.find_notify(SOON);
        notify.expect("a NOTIFY")
    }

    /// The same, where there may be none.
    pub fn find_notify(&self, limit: Duration) -> Option<SipText> {
        wait_until(limit, || {
            let message = self.receive()?;
            self.answer(&message);
            (message.method() == Some("NOTIFY")).then_some(message)
        })
    }

    /// NOTIFYs until one fits.
    #[track_caller]
    pub fn notify_where(&self, what: &str, fits: impl Fn(&SipText) -> bool) -> SipText {
        let mut last = None;
        let found = wait_until(SOON, || {
            let notify = self.find_notify(Duration::from_millis(100))?;
            if fits(&notify) {
                return Some(notify);
            }
            last = Some(notify);
            None
        });
        found.unwrap_or_else(|| panic!("no NOTIFY where {what}; the last was {last:?}"))
    }
}

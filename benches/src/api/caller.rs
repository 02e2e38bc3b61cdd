//! A telephone that calls at a steady pace, hangs up as soon as it is answered, and knows how long each answer took.

use anyhow::{Context as _, Result};
use rustc_hash::FxHashMap;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

const SDP: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 9 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\n";
/// The pause when nothing has come.
const PAUSE: Duration = Duration::from_micros(200);
/// How long the last calls may take to end.
const LAST: Duration = Duration::from_secs(10);

/// What came of calls.
#[derive(Clone, Debug, Default)]
pub struct Paced {
    pub begun: usize,
    pub answered: usize,
    /// Answered, hung up, and that confirmed.
    pub ended: usize,
    /// Answered with something else than 200.
    pub refused: usize,
    /// From INVITE to 200, in milliseconds.
    pub delays_ms: Vec<f64>,
}

/// A telephone that is the endpoint `tester`.
pub struct Caller {
    socket: UdpSocket,
    local: SocketAddr,
    exchange: SocketAddr,
    next: usize,
    waiting: FxHashMap<String, Instant>,
    done: Paced,
}

impl Caller {
    pub fn new(exchange: SocketAddr) -> Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.set_nonblocking(true)?;
        // What the system allows; a full buffer only makes the exchange repeat itself.
        let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(4 << 20);
        Ok(Self {
            local: socket.local_addr()?,
            socket,
            exchange,
            next: 0,
            waiting: FxHashMap::default(),
            done: Paced::default(),
        })
    }

    /// Calls `exten` so many times a second for so long, while `go_on` says so, and waits for the calls to end.
    pub fn pace(
        &mut self,
        exten: &str,
        per_second: f64,
        time: Duration,
        go_on: impl Fn() -> bool,
    ) -> Result<Paced> {
        self.done = Paced::default();
        self.waiting.clear();
        let started = Instant::now();
        while started.elapsed() < time && go_on() {
            let due = (started.elapsed().as_secs_f64() * per_second) as usize + 1;
            while self.done.begun < due {
                self.call(exten)?;
            }
            if !self.listen()? {
                std::thread::sleep(PAUSE);
            }
        }
        let over = Instant::now();
        while over.elapsed() < LAST && self.done.ended + self.done.refused < self.done.begun {
            if !self.listen()? {
                std::thread::sleep(PAUSE);
            }
        }
        Ok(std::mem::take(&mut self.done))
    }

    fn call(&mut self, exten: &str) -> Result<()> {
        let (local, exchange, number) = (self.local, self.exchange, self.next);
        self.next += 1;
        self.done.begun += 1;
        let id = format!("paced{number}-{}", local.port());
        let text = format!(
            "INVITE sip:{exten}@{exchange} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bKi{number};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:tester@{local}>;tag=f{number}\r\nTo: <sip:{exten}@{exchange}>\r\n\
             Call-ID: {id}\r\nCSeq: 1 INVITE\r\nContact: <sip:tester@{local}>\r\nContent-Type: application/sdp\r\n\
             Content-Length: {}\r\n\r\n{SDP}",
            SDP.len()
        );
        self.waiting.insert(id, Instant::now());
        self.send(&text)
    }

    /// Takes what has come; false when nothing had.
    fn listen(&mut self) -> Result<bool> {
        let mut buffer = [0_u8; 4096];
        let mut some = false;
        for _ in 0..64 {
            let Ok((length, _)) = self.socket.recv_from(&mut buffer) else {
                break;
            };
            some = true;
            let text = buffer.get(..length).unwrap_or_default();
            let text = std::str::from_utf8(text).context("the exchange sent what is no text")?;
            if let Some(rest) = text.strip_prefix("SIP/2.0 ") {
                let code = rest.get(..3).and_then(|code| code.parse().ok());
                self.response(code.context("no status code")?, text)?;
            }
        }
        Ok(some)
    }

    fn response(&mut self, code: u16, text: &str) -> Result<()> {
        let method = header(text, "CSeq").and_then(|cseq| cseq.split(' ').nth(1));
        let id = header(text, "Call-ID").unwrap_or_default();
        match (method, code) {
            (_, 100..=199) => {}
            (Some("INVITE"), 200..=299) => {
                self.in_dialog("ACK", text, 1)?;
                // Whoever repeats himself is acknowledged again, and that is all.
                if let Some(began) = self.waiting.remove(id) {
                    let took = began.elapsed();
                    self.done.delays_ms.push(took.as_secs_f64() * 1000.0);
                    self.done.answered += 1;
                    self.in_dialog("BYE", text, 2)?;
                }
            }
            (Some("INVITE"), _) => {
                if self.waiting.remove(id).is_some() {
                    self.done.refused += 1;
                }
                self.in_dialog("ACK", text, 1)?;
            }
            (Some("BYE"), 200) => self.done.ended += 1,
            _ => {}
        }
        Ok(())
    }

    /// A request that follows from an answer. The ACK to a refusal goes where the INVITE went, in its transaction.
    fn in_dialog(&self, method: &str, answer: &str, cseq: u32) -> Result<()> {
        let (local, exchange) = (self.local, self.exchange);
        let to = header(answer, "To").context("an answer without To")?;
        let id = header(answer, "Call-ID").context("an answer without Call-ID")?;
        let number = id
            .strip_prefix("paced")
            .and_then(|rest| rest.split('-').next())
            .context("an answer to somebody else")?;
        let contact = header(answer, "Contact").map(|contact| contact.trim_matches(['<', '>']));
        let (uri, branch) = match contact {
            Some(contact) if answer.starts_with("SIP/2.0 2") => (contact.to_owned(), method),
            _ => (format!("sip:100@{exchange}"), "i"),
        };
        self.send(&format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bK{branch}{number};rport\r\nMax-Forwards: 70\r\n\
             From: <sip:tester@{local}>;tag=f{number}\r\nTo: {to}\r\nCall-ID: {id}\r\nCSeq: {cseq} {method}\r\n\
             Content-Length: 0\r\n\r\n"
        ))
    }

    fn send(&self, text: &str) -> Result<()> {
        self.socket.send_to(text.as_bytes(), self.exchange)?;
        Ok(())
    }
}

fn header<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .take_while(|line| !line.is_empty())
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .map(str::trim)
}

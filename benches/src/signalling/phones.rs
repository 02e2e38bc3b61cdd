//! Many telephones on one socket: they call, answer, register and hang up as fast as the exchange lets them. What never lives
//! here: anything of the exchange's own SIP but the answer to a digest challenge.

use anyhow::{Context as _, Result, bail, ensure};
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};
use strowger_sip::auth::{Answer, Challenge, Secret, respond};

/// Whoever waits longer for the exchange has found a fault.
const PATIENCE: Duration = Duration::from_secs(20);

const SDP: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 9 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\n";

/// The password of every telephone of the bench.
pub(super) const PASSWORD: &str = "bench-secret";

/// What came of what was sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Done {
    pub calls: usize,
    pub registers: usize,
    /// REGISTERs that were challenged.
    pub challenges: usize,
    /// Datagrams of these telephones, both ways.
    pub datagrams: u64,
    pub options: u64,
}

/// What is remembered of a user.
#[derive(Clone, Debug, Default)]
struct User {
    challenge: Option<Box<Challenge>>,
    answers: u32,
    cseq: u32,
}

/// Telephones that share one socket.
pub struct Phones {
    socket: UdpSocket,
    local: SocketAddr,
    exchange: SocketAddr,
    users: Vec<User>,
    /// Calls are left as soon as they are answered.
    pub hang_up: bool,
    pub done: Done,
    /// Calls answered.
    pub answered: usize,
    /// Remembered from answers: Call-ID, tag and Contact of calls that stay.
    standing: Vec<(String, String, String)>,
}

impl Phones {
    /// `users` telephones; whom they talk to is told later.
    pub fn new(users: usize) -> Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.set_nonblocking(true)?;
        let big = 4 << 20;
        // What the system allows; a full buffer only makes the exchange repeat itself.
        let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(big);
        Ok(Self {
            local: socket.local_addr()?,
            socket,
            exchange: SocketAddr::from(([127, 0, 0, 1], 0)),
            users: vec![User::default(); users],
            hang_up: true,
            done: Done::default(),
            answered: 0,
            standing: Vec::new(),
        })
    }

    pub fn local(&self) -> SocketAddr {
        self.local
    }

    pub fn talk_to(&mut self, exchange: SocketAddr) {
        self.exchange = exchange;
    }

    /// Begins call `number` to `exten`.
    pub fn call(&mut self, number: usize, exten: &str) -> Result<()> {
        let (local, exchange) = (self.local, self.exchange);
        self.send(&format!(
            "INVITE sip:{exten}@{exchange} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bKi{number};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:tester@{local}>;tag=f{number}\r\nTo: <sip:{exten}@{exchange}>\r\n\
             Call-ID: b{number}-{}\r\nCSeq: 1 INVITE\r\nContact: <sip:tester@{local}>\r\n\
             Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{SDP}",
            local.port(),
            SDP.len()
        ))
    }

    /// Registers user `number`, with the answer to the last challenge where there is one.
    pub fn register(&mut self, number: usize) -> Result<()> {
        let (local, exchange) = (self.local, self.exchange);
        let uri = format!("sip:{exchange}");
        let user = self.users.get_mut(number).context("no such user")?;
        user.cseq += 1;
        let cseq = user.cseq;
        let proof = match &user.challenge {
            None => String::new(),
            Some(challenge) => {
                user.answers += 1;
                let answer = Answer {
                    method: "REGISTER",
                    uri: &uri,
                    username: &name(number),
                    secret: Secret::Password(PASSWORD),
                    nc: user.answers,
                    cnonce: "0a4f113b",
                };
                let credentials = respond(challenge, &answer).context("no usable challenge")?;
                format!("Authorization: {credentials}\r\n")
            }
        };
        let name = name(number);
        self.send(&format!(
            "REGISTER {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bKr{number}x{cseq};rport\r\nMax-Forwards: 70\r\n\
             From: <sip:{name}@{exchange}>;tag=r{number}\r\nTo: <sip:{name}@{exchange}>\r\nCall-ID: r{number}-{}\r\n\
             CSeq: {cseq} REGISTER\r\nContact: <sip:{name}@{local}>\r\nExpires: 3600\r\n{proof}Content-Length: 0\r\n\r\n",
            local.port()
        ))
    }

    /// The next REGISTER of each goes without an answer, as that of a telephone that was switched on.
    pub fn forget_challenges(&mut self) {
        for user in &mut self.users {
            user.challenge = None;
        }
    }

    /// Memory of the challenges that are remembered, in bytes, as allocators round it.
    pub fn challenges_bytes(&self) -> usize {
        let of = |challenge: &Challenge| {
            let texts = challenge.realm.len() + challenge.nonce.len() + 96;
            size_of::<Challenge>() + texts
        };
        self.users
            .iter()
            .filter_map(|user| user.challenge.as_deref())
            .map(of)
            .sum()
    }

    /// Hangs up all calls that stand.
    pub fn leave_all(&mut self) -> Result<()> {
        for (call_id, to, contact) in std::mem::take(&mut self.standing) {
            self.bye(&call_id, &to, &contact)?;
        }
        Ok(())
    }

    /// Takes and answers what has come; false when nothing had.
    pub fn listen(&mut self) -> Result<bool> {
        let mut buffer = [0_u8; 4096];
        let mut some = false;
        // Others have to be heard too.
        for _ in 0..64 {
            let Ok((length, _)) = self.socket.recv_from(&mut buffer) else {
                return Ok(some);
            };
            some = true;
            self.done.datagrams += 1;
            let text = std::str::from_utf8(buffer.get(..length).unwrap_or_default())
                .context("the exchange sent what is no text")?
                .to_owned();
            match text.strip_prefix("SIP/2.0 ") {
                Some(rest) => {
                    let code = rest.get(..3).and_then(|code| code.parse().ok());
                    self.response(code.context("no status code")?, &text)?;
                }
                None => self.request(&text)?,
            }
        }
        Ok(some)
    }

    /// Listens, and lets `others` do so, until `condition` holds.
    pub fn until(
        &mut self,
        what: &str,
        others: &mut [&mut Self],
        condition: impl Fn(&Self) -> bool,
    ) -> Result<()> {
        let started = Instant::now();
        while !condition(self) {
            let mut some = self.listen()?;
            for other in others.iter_mut() {
                some |= other.listen()?;
            }
            if !some {
                std::thread::yield_now();
            }
            ensure!(started.elapsed() < PATIENCE, "not in time: {what}");
        }
        Ok(())
    }

    fn response(&mut self, code: u16, text: &str) -> Result<()> {
        let cseq = header(text, "CSeq").unwrap_or_default();
        let method = cseq.split(' ').nth(1).unwrap_or_default();
        let call_id = header(text, "Call-ID").unwrap_or_default();
        match (method, code) {
            (_, 100..=199) => {}
            ("INVITE", 200..=299) => {
                let to = header(text, "To").context("a 200 without To")?.to_owned();
                let contact = header(text, "Contact").context("a 200 without Contact")?;
                let contact = contact.trim_matches(['<', '>']).to_owned();
                let call_id = call_id.to_owned();
                self.in_dialog("ACK", &call_id, &to, &contact, 1)?;
                self.answered += 1;
                if self.hang_up {
                    self.bye(&call_id, &to, &contact)?;
                } else {
                    self.standing.push((call_id, to, contact));
                }
            }
            ("BYE", 200) => self.done.calls += 1,
            ("REGISTER", 200) => self.done.registers += 1,
            ("REGISTER", 401) => {
                let number: usize = call_id
                    .strip_prefix('r')
                    .and_then(|rest| rest.split('-').next()?.parse().ok())
                    .context("a challenge of nobody")?;
                let challenge =
                    header(text, "WWW-Authenticate").context("no challenge in a 401")?;
                let challenge = Challenge::parse(challenge)?;
                let user = self.users.get_mut(number).context("no such user")?;
                user.challenge = Some(Box::new(challenge));
                user.answers = 0;
                self.done.challenges += 1;
                self.register(number)?;
            }
            _ => bail!("the exchange answered a {method} with {code}"),
        }
        Ok(())
    }

    fn request(&mut self, text: &str) -> Result<()> {
        let method = text.split(' ').next().unwrap_or_default();
        if method == "ACK" {
            return Ok(());
        }
        let mut headers = String::with_capacity(512);
        for line in text.lines().take_while(|line| !line.is_empty()) {
            let name = line.split(':').next().unwrap_or_default();
            if matches!(
                name,
                "Via" | "From" | "Call-ID" | "CSeq" | "To" | "Record-Route"
            ) {
                headers.push_str(line);
                if name == "To" && !line.contains(";tag=") {
                    headers.push_str(";tag=callee");
                }
                headers.push_str("\r\n");
            }
        }
        self.done.options += u64::from(method == "OPTIONS");
        let body = if method == "INVITE" { SDP } else { "" };
        let content = if body.is_empty() {
            String::new()
        } else {
            format!(
                "Contact: <sip:callee@{}>\r\nContent-Type: application/sdp\r\n",
                self.local
            )
        };
        self.send(&format!(
            "SIP/2.0 200 OK\r\n{headers}{content}Content-Length: {}\r\n\r\n{body}",
            body.len()
        ))
    }

    fn bye(&mut self, call_id: &str, to: &str, contact: &str) -> Result<()> {
        self.in_dialog("BYE", call_id, to, contact, 2)
    }

    fn in_dialog(
        &mut self,
        method: &str,
        call_id: &str,
        to: &str,
        contact: &str,
        cseq: u32,
    ) -> Result<()> {
        let local = self.local;
        let number = call_id
            .strip_prefix('b')
            .and_then(|rest| rest.split('-').next())
            .unwrap_or_default();
        self.send(&format!(
            "{method} {contact} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bK{method}{number};rport\r\nMax-Forwards: 70\r\n\
             From: <sip:tester@{local}>;tag=f{number}\r\nTo: {to}\r\nCall-ID: {call_id}\r\nCSeq: {cseq} {method}\r\n\
             Content-Length: 0\r\n\r\n"
        ))
    }

    fn send(&mut self, text: &str) -> Result<()> {
        self.done.datagrams += 1;
        self.socket.send_to(text.as_bytes(), self.exchange)?;
        Ok(())
    }
}

/// The name of user `number`, which is its endpoint, its auth and its AOR too.
pub(super) fn name(number: usize) -> String {
    format!("phone{number}")
}

fn header<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .take_while(|line| !line.is_empty())
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .map(str::trim)
}

//! The telephones of the bench: callers and callees that set up calls through an exchange over UDP (RFC 3261, as little
//! of it as the loopback network needs) and say where the exchange receives the media of each leg.

use anyhow::{Context, Result, bail, ensure};
use std::fmt::Write as _;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// Calls begun in a second.
const PACE: u32 = 100;
/// A request without any answer is sent again after this time.
const RESEND: Duration = Duration::from_millis(500);
/// The first call's number; the others follow.
const FIRST_NUMBER: usize = 10_000;
const MESSAGE_MAX: usize = 4096;

/// Both sides' sockets; closing them does not end the calls.
pub(crate) struct Telephones {
    exchange: SocketAddr,
    caller: UdpSocket,
    callee: UdpSocket,
    /// Takes the RTCP of all legs, which nobody reads.
    rtcp: UdpSocket,
}

struct Call {
    /// When the INVITE was sent last, until something has been heard.
    unanswered_since: Option<Instant>,
    /// Where the exchange receives the caller's media.
    caller_leg: Option<SocketAddr>,
    /// Where the exchange receives the callee's media.
    callee_leg: Option<SocketAddr>,
}

impl Telephones {
    /// Telephones at two addresses, which call `exchange`.
    pub(crate) fn new(exchange: SocketAddr, caller: Ipv4Addr, callee: Ipv4Addr) -> Result<Self> {
        let bind = |ip: Ipv4Addr, port| -> Result<UdpSocket> {
            let socket = UdpSocket::bind((ip, port)).with_context(|| format!("{ip}:{port}"))?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        };
        Ok(Self {
            exchange,
            caller: bind(caller, 5060)?,
            callee: bind(callee, 5060)?,
            rtcp: bind(Ipv4Addr::LOCALHOST, 0)?,
        })
    }

    /// Sets up one call for each two peers, the first of which is the caller's address for media and the second the
    /// callee's. Gives the addresses where the exchange receives from each. The exchange has to send the call of number
    /// `n` on to `sip:n@callee`.
    pub(crate) fn connect(&self, peers: &[SocketAddr]) -> Result<Vec<SocketAddr>> {
        let mut calls: Vec<Call> = Vec::with_capacity(peers.len() / 2);
        let start = Instant::now();
        let deadline =
            start + Duration::from_secs(10) + Duration::from_secs(1) / PACE * peers.len() as u32;
        loop {
            let begun = calls.len();
            if begun * 2 < peers.len()
                && Instant::now() >= start + Duration::from_secs(1) / PACE * begun as u32
            {
                self.invite(begun, peers)?;
                calls.push(Call {
                    unanswered_since: Some(Instant::now()),
                    caller_leg: None,
                    callee_leg: None,
                });
            }
            while let Some(message) = read(&self.caller)? {
                self.at_caller(&message, &mut calls)?;
            }
            while let Some(message) = read(&self.callee)? {
                self.at_callee(&message, &mut calls, peers)?;
            }
            for (number, call) in calls.iter_mut().enumerate() {
                if call
                    .unanswered_since
                    .is_some_and(|at| at.elapsed() > RESEND)
                {
                    self.invite(number, peers)?;
                    call.unanswered_since = Some(Instant::now());
                }
            }
            let legs: Vec<SocketAddr> = calls
                .iter()
                .flat_map(|call| [call.caller_leg, call.callee_leg])
                .flatten()
                .collect();
            if legs.len() == peers.len() {
                return Ok(legs);
            }
            ensure!(
                Instant::now() < deadline,
                "of {} calls {} legs are connected in time",
                peers.len() / 2,
                legs.len()
            );
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn invite(&self, number: usize, peers: &[SocketAddr]) -> Result<()> {
        let (exchange, own) = (self.exchange, self.caller.local_addr()?);
        let extension = FIRST_NUMBER + number;
        let media = peers.get(number * 2).context("a caller without media")?;
        let request = with_body(
            format!(
                "INVITE sip:{extension}@{exchange} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bKinvite{number}\r\n\
                 Max-Forwards: 70\r\nFrom: <sip:caller@{own}>;tag=caller{number}\r\nTo: <sip:{extension}@{exchange}>\r\n\
                 Call-ID: call{number}\r\nCSeq: 1 INVITE\r\nContact: <sip:caller@{own}>\r\n"
            ),
            &self.sdp(*media)?,
        );
        send(&self.caller, &request, exchange)
    }

    fn at_caller(&self, message: &str, calls: &mut [Call]) -> Result<()> {
        let Some(status) = message.strip_prefix("SIP/2.0 ") else {
            return unexpected(message);
        };
        let number = header(message, "Call-ID")
            .and_then(|id| id.strip_prefix("call")?.parse::<usize>().ok());
        let call = number
            .and_then(|n| calls.get_mut(n))
            .with_context(|| format!("whose is {message:?}?"))?;
        call.unanswered_since = None;
        match status.as_bytes() {
            [b'1', ..] => Ok(()),
            [b'2', ..] => {
                call.caller_leg = Some(media_of(message)?);
                let own = self.caller.local_addr()?;
                let target = header(message, "Contact")
                    .and_then(|contact| contact.split_once('<')?.1.split_once('>'))
                    .context("an answer without a contact")?
                    .0;
                let line = |name| {
                    header(message, name).with_context(|| format!("an answer without {name}"))
                };
                let (from, to, id) = (line("From")?, line("To")?, line("Call-ID")?);
                let ack = with_body(
                    format!(
                        "ACK {target} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bKack-{id}\r\nMax-Forwards: 70\r\n\
                         From: {from}\r\nTo: {to}\r\nCall-ID: {id}\r\nCSeq: 1 ACK\r\n"
                    ),
                    "",
                );
                send(&self.caller, &ack, self.exchange)
            }
            _ => unexpected(message),
        }
    }

    fn at_callee(&self, message: &str, calls: &mut [Call], peers: &[SocketAddr]) -> Result<()> {
        if message.starts_with("ACK ") {
            return Ok(());
        }
        let Some(rest) = message.strip_prefix("INVITE sip:") else {
            return unexpected(message);
        };
        let number = rest
            .split_once('@')
            .and_then(|(user, _)| user.parse::<usize>().ok()?.checked_sub(FIRST_NUMBER))
            .with_context(|| format!("whom does {message:?} call?"))?;
        let call = calls.get_mut(number).context("a call that nobody made")?;
        call.callee_leg = Some(media_of(message)?);
        let media = peers
            .get(number * 2 + 1)
            .context("a callee without media")?;
        let own = self.callee.local_addr()?;
        let mut answer = "SIP/2.0 200 OK\r\n".to_owned();
        for line in message.lines().take_while(|line| !line.is_empty()) {
            let name = line.split_once(':').map_or("", |(name, _)| name);
            if ["Via", "From", "Call-ID", "CSeq", "Record-Route"].contains(&name) {
                let _ = write!(answer, "{line}\r\n");
            } else if name == "To" {
                let _ = write!(answer, "{line};tag=callee{number}\r\n");
            }
        }
        let _ = write!(answer, "Contact: <sip:{number}@{own}>\r\n");
        send(
            &self.callee,
            &with_body(answer, &self.sdp(*media)?),
            self.exchange,
        )
    }

    /// An offer or answer of G.711 u-law at `media` (RFC 8866, RFC 3605).
    fn sdp(&self, media: SocketAddr) -> Result<String> {
        let (ip, port, rtcp) = (media.ip(), media.port(), self.rtcp.local_addr()?.port());
        Ok(format!(
            "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n\
             a=rtpmap:0 PCMU/8000\r\na=ptime:20\r\na=rtcp:{rtcp} IN IP4 127.0.0.1\r\na=sendrecv\r\n"
        ))
    }
}

fn unexpected(message: &str) -> Result<()> {
    bail!(
        "the exchange said {:?}",
        message.lines().next().unwrap_or_default()
    )
}

fn with_body(mut head: String, body: &str) -> String {
    if !body.is_empty() {
        head.push_str("Content-Type: application/sdp\r\n");
    }
    let _ = write!(head, "Content-Length: {}\r\n\r\n{body}", body.len());
    head
}

fn header<'a>(message: &'a str, name: &str) -> Option<&'a str> {
    message
        .lines()
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
}

/// Where the description in `message` wants its media.
fn media_of(message: &str) -> Result<SocketAddr> {
    let value = |start: &str| message.lines().find_map(|line| line.strip_prefix(start));
    let ip: Option<IpAddr> = value("c=IN IP4 ").and_then(|ip| ip.trim().parse().ok());
    let port: Option<u16> = value("m=audio ").and_then(|rest| rest.split(' ').next()?.parse().ok());
    match (ip, port) {
        (Some(ip), Some(port)) if port > 0 => Ok((ip, port).into()),
        _ => bail!("no media address in {message:?}"),
    }
}

fn read(socket: &UdpSocket) -> Result<Option<String>> {
    let mut buffer = [0; MESSAGE_MAX];
    match socket.recv(&mut buffer) {
        Ok(len) => Ok(Some(
            String::from_utf8_lossy(buffer.get(..len).unwrap_or_default()).into_owned(),
        )),
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(e) => Err(e).context("cannot receive SIP"),
    }
}

fn send(socket: &UdpSocket, message: &str, to: SocketAddr) -> Result<()> {
    socket
        .send_to(message.as_bytes(), to)
        .map(drop)
        .context("cannot send SIP")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_and_headers_are_found_in_a_message() {
        let message = "SIP/2.0 200 OK\r\nContact: <sip:x@127.0.0.9:5060>\r\nContent-Length: 0\r\n\r\n\
                       v=0\r\nc=IN IP4 127.0.0.9\r\nm=audio 4000 RTP/AVP 0\r\n";
        assert_eq!(header(message, "contact"), Some("<sip:x@127.0.0.9:5060>"));
        assert_eq!(header(message, "c"), None);
        let address: SocketAddr = "127.0.0.9:4000".parse().expect("an address");
        assert_eq!(media_of(message).expect("media"), address);
        assert!(media_of("SIP/2.0 200 OK\r\n\r\n").is_err());
    }
}

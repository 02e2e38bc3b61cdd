//! Provisional responses that are acknowledged: RFC 3262.
//!
//! [`ReliableResponses`] is the called side of one INVITE: it numbers its responses, repeats the one that waits for its
//! PRACK and keeps the following ones back. [`ReceivedReliable`] is the calling side of one early dialog: it says which
//! responses want a PRACK. Neither sends anything nor knows what a response says.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use crate::message::{Builder, HeaderName, Message, Method};
use crate::transaction::{ServerId, Timers};

/// The option tag of RFC 3262.
pub const OPTION: &str = "100rel";

/// Responses that may wait behind the one that is not acknowledged.
const WAITING_MAX: usize = 16;

/// RAck: which response a PRACK acknowledges (§7.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RAck {
    /// RSeq of the response.
    pub rseq: u32,
    /// CSeq number of the response.
    pub cseq: u32,
    /// CSeq method of the response.
    pub method: Method,
}

impl RAck {
    /// Reads `776656 1 INVITE`; `None` where that is not what it says.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_ascii_whitespace();
        let rseq = number(words.next()?)?;
        let cseq = number(words.next()?)?;
        let method = Method::parse(words.next()?)?;
        words
            .next()
            .is_none()
            .then_some(Self { rseq, cseq, method })
    }

    /// That of a PRACK.
    #[must_use]
    pub fn of(prack: &Message) -> Option<Self> {
        Self::parse(prack.header(&HeaderName::RAck)?)
    }
}

impl fmt::Display for RAck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.rseq, self.cseq, self.method)
    }
}

/// Digits and nothing else: Rust also reads a sign.
fn number(text: &str) -> Option<u32> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

/// The RSeq of a response that wants a PRACK: 101 to 199, `Require: 100rel` and a readable RSeq (§4).
#[must_use]
pub fn rseq_of(response: &Message) -> Option<u32> {
    let reliable = matches!(response.status(), Some(101..=199))
        && response.lists(&HeaderName::Require, OPTION);
    reliable
        .then(|| number(response.header(&HeaderName::RSeq)?.trim()))
        .flatten()
}

/// What is to be done about a response of ours that has no PRACK yet.
#[derive(Clone, Debug)]
pub enum Unacknowledged {
    /// Give it to [`Layer::respond`](crate::transaction::Layer::respond) again.
    Repeat(Message),
    /// No PRACK came within 64*T1: refuse the INVITE with a 5xx (§3). Nothing follows.
    GiveUp,
}

/// What a PRACK came to.
#[derive(Debug)]
pub enum Acknowledged {
    /// It is for no response of ours that waits: answer 481 (§3).
    Unknown,
    /// It acknowledges the response that waited: answer 2xx, then send the next response, if there is one.
    Known {
        /// The acknowledged response described the session.
        described: bool,
        /// The response that had waited for it.
        next: Option<Message>,
    },
}

#[derive(Debug)]
struct Open {
    rseq: u32,
    described: bool,
    response: Message,
    every: Duration,
    repeat_at: Instant,
    end_at: Instant,
}

/// The reliable provisional responses to one INVITE of the other side.
#[derive(Debug)]
pub struct ReliableResponses {
    id: ServerId,
    cseq: u32,
    t1: Duration,
    linger: Duration,
    next: u32,
    open: Option<Open>,
    waiting: VecDeque<(u32, bool, Message)>,
}

impl ReliableResponses {
    /// None yet, for the INVITE of that transaction and CSeq number. `random` makes the first number.
    #[must_use]
    pub fn new(id: ServerId, cseq: u32, timers: &Timers, random: u32) -> Self {
        Self {
            id,
            cseq,
            t1: timers.t1,
            linger: timers.linger(),
            // §3: between 1 and 2^31 - 1, and it must not come to its end during the call.
            next: (random & 0x3fff_ffff) + 1,
            open: None,
            waiting: VecDeque::new(),
        }
    }

    /// The transaction of the INVITE.
    #[must_use]
    pub fn id(&self) -> ServerId {
        self.id
    }

    /// Makes a response reliable. Returned to be sent now unless one before it waits for its PRACK: in that order both
    /// sides see what is described (§3). `None` also where too many wait; `Err` says so.
    pub fn send(&mut self, now: Instant, response: Builder) -> Result<Option<Message>, TooMany> {
        if self.waiting.len() >= WAITING_MAX {
            return Err(TooMany);
        }
        let rseq = self.next;
        self.next = rseq.wrapping_add(1).max(1);
        let response = response
            .header(HeaderName::Require, OPTION)
            .header(HeaderName::RSeq, rseq.to_string())
            .finish();
        let described = !response.body().is_empty();
        if self.open.is_some() {
            self.waiting.push_back((rseq, described, response));
            return Ok(None);
        }
        Ok(Some(self.open(now, rseq, described, response)))
    }

    fn open(&mut self, now: Instant, rseq: u32, described: bool, response: Message) -> Message {
        self.open = Some(Open {
            rseq,
            described,
            response: response.clone(),
            every: self.t1,
            repeat_at: now + self.t1,
            end_at: now + self.linger,
        });
        response
    }

    /// A PRACK came in the dialog.
    pub fn acknowledge(&mut self, now: Instant, rack: &RAck) -> Acknowledged {
        let is_it = |open: &mut Open| {
            rack.rseq == open.rseq && rack.cseq == self.cseq && rack.method == Method::Invite
        };
        let Some(open) = self.open.take_if(is_it) else {
            return Acknowledged::Unknown;
        };
        let next = self
            .waiting
            .pop_front()
            .map(|(rseq, described, response)| self.open(now, rseq, described, response));
        Acknowledged::Known {
            described: open.described,
            next,
        }
    }

    /// The RSeq that a PRACK has to name now.
    #[must_use]
    pub fn waiting_for(&self) -> Option<u32> {
        self.open.as_ref().map(|open| open.rseq)
    }

    /// A final 2xx has to wait: a description of ours is not acknowledged yet (§3).
    #[must_use]
    pub fn holds_answer(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.described)
            || self.waiting.iter().any(|(_, described, _)| *described)
    }

    /// A final response was sent: nothing is repeated any more (§3). A PRACK that is on its way is still known.
    pub fn finish(&mut self) {
        self.waiting.clear();
        if let Some(open) = &mut self.open {
            open.repeat_at = open.end_at;
        }
    }

    /// When to call [`ReliableResponses::handle_timeout`].
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        let open = self.open.as_ref()?;
        Some(open.repeat_at.min(open.end_at))
    }

    /// What is due at `now`, if anything.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Unacknowledged> {
        let open = self.open.as_mut()?;
        if now >= open.end_at {
            self.open = None;
            self.waiting.clear();
            return Some(Unacknowledged::GiveUp);
        }
        if now < open.repeat_at {
            return None;
        }
        // §3: it doubles without a longest interval.
        open.every *= 2;
        open.repeat_at = now + open.every;
        Some(Unacknowledged::Repeat(open.response.clone()))
    }
}

/// More responses wait for a PRACK than are kept.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many provisional responses wait for their PRACK")]
pub struct TooMany;

/// What a provisional response means for its receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// Not reliable: take it as it is.
    Plain,
    /// The next reliable one: take it and acknowledge it.
    Acknowledge(RAck),
    /// It came again, or before one that is missing: neither take nor acknowledge it (§4); it will be repeated.
    Ignore,
}

/// The reliable responses received in one early dialog.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct ReceivedReliable {
    /// CSeq number of the INVITE and the highest RSeq in order.
    last: Option<(u32, u32)>,
}

impl ReceivedReliable {
    /// Looks at a provisional response.
    pub fn receive(&mut self, response: &Message) -> Receipt {
        let (Some(rseq), Ok(cseq)) = (rseq_of(response), response.cseq()) else {
            return Receipt::Plain;
        };
        let before = self.last.filter(|(number, _)| *number == cseq.number);
        if before.is_some_and(|(_, last)| last.checked_add(1) != Some(rseq)) {
            return Receipt::Ignore;
        }
        self.last = Some((cseq.number, rseq));
        Receipt::Acknowledge(RAck {
            rseq,
            cseq: cseq.number,
            method: cseq.method,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn message(first: &str, more: &str) -> Message {
        let text = format!(
            "{first}\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>;tag=2\r\n\
             Call-ID: x\r\nCSeq: 7 INVITE\r\n{more}Content-Length: 0\r\n\r\n"
        );
        Message::parse(Bytes::from(text)).expect("a message")
    }

    fn ringing() -> Builder {
        Builder::response_to(&message("INVITE sip:c@d SIP/2.0", ""), 180, "Ringing")
    }

    fn rack(rseq: u32) -> RAck {
        RAck {
            rseq,
            cseq: 7,
            method: Method::Invite,
        }
    }

    fn responses(random: u32) -> (ReliableResponses, Instant) {
        let timers = Timers::default();
        let responses = ReliableResponses::new(ServerId(1), 7, &timers, random);
        (responses, Instant::now())
    }

    #[test]
    fn a_response_without_its_prack_is_repeated_with_doubling_intervals_and_given_up_after_32_s() {
        let (mut responses, start) = responses(4);
        let sent = responses.send(start, ringing()).expect("room");
        assert_eq!(sent.as_ref().and_then(rseq_of), Some(5));
        let mut repeated_ms = Vec::new();
        loop {
            let now = responses.next_timeout().expect("it waits");
            match responses.handle_timeout(now).expect("due") {
                Unacknowledged::Repeat(again) => {
                    assert_eq!(rseq_of(&again), Some(5));
                    repeated_ms.push((now - start).as_millis());
                }
                Unacknowledged::GiveUp => {
                    assert_eq!((now - start).as_secs(), 32);
                    break;
                }
            }
        }
        assert_eq!(repeated_ms, [500, 1500, 3500, 7500, 15500, 31500]);
        assert!(responses.next_timeout().is_none());
        assert!(matches!(
            responses.acknowledge(start, &rack(5)),
            Acknowledged::Unknown
        ));
    }

    #[test]
    fn responses_go_out_one_after_the_other() {
        let (mut responses, now) = responses(0);
        assert!(responses.send(now, ringing()).expect("room").is_some());
        let described = ringing().body("application/sdp", "v=0\r\n");
        assert!(responses.send(now, described).expect("room").is_none());
        assert!(
            responses.holds_answer(),
            "a description waits behind the first"
        );
        for wrong in [rack(2), RAck { cseq: 8, ..rack(1) }] {
            let known = responses.acknowledge(now, &wrong);
            assert!(matches!(known, Acknowledged::Unknown), "{wrong}");
        }
        let Acknowledged::Known { described, next } = responses.acknowledge(now, &rack(1)) else {
            panic!("the first was acknowledged");
        };
        assert!(!described);
        assert_eq!(next.as_ref().and_then(rseq_of), Some(2));
        assert!(responses.holds_answer());
        let again = responses.acknowledge(now, &rack(1));
        assert!(matches!(again, Acknowledged::Unknown));
        let Acknowledged::Known {
            described: true,
            next: None,
        } = responses.acknowledge(now, &rack(2))
        else {
            panic!("the description was acknowledged");
        };
        assert!(!responses.holds_answer() && responses.next_timeout().is_none());
    }

    #[test]
    fn no_more_than_a_few_wait_and_an_answer_ends_the_repetition_but_knows_a_late_prack() {
        let (mut responses, now) = responses(u32::MAX);
        for _ in 0..=WAITING_MAX {
            assert!(responses.send(now, ringing()).is_ok());
        }
        assert_eq!(responses.send(now, ringing()).err(), Some(TooMany));
        responses.finish();
        let end = responses.next_timeout().expect("until 64*T1");
        assert_eq!((end - now).as_secs(), 32);
        assert!(matches!(
            responses.acknowledge(now, &rack(0x4000_0000)),
            Acknowledged::Known {
                described: false,
                next: None
            }
        ));
    }

    #[test]
    fn each_reliable_response_is_acknowledged_once_and_in_order() {
        let mut received = ReceivedReliable::default();
        let reliable = |rseq: u32| {
            let more = format!("Require: 100rel\r\nRSeq: {rseq}\r\n");
            message("SIP/2.0 183 Session Progress", &more)
        };
        let plain = message("SIP/2.0 180 Ringing", "RSeq: 5\r\n");
        assert_eq!(received.receive(&plain), Receipt::Plain);
        for (rseq, receipt) in [
            (900, Receipt::Acknowledge(rack(900))),
            (900, Receipt::Ignore),
            (902, Receipt::Ignore),
            (901, Receipt::Acknowledge(rack(901))),
            (902, Receipt::Acknowledge(rack(902))),
            (1, Receipt::Ignore),
        ] {
            assert_eq!(received.receive(&reliable(rseq)), receipt, "{rseq}");
        }
        let trying = message("SIP/2.0 100 Trying", "Require: 100rel\r\nRSeq: 903\r\n");
        assert_eq!(received.receive(&trying), Receipt::Plain);
    }

    #[test]
    fn rack_is_read_and_written() {
        assert_eq!(RAck::parse("900 7 INVITE"), Some(rack(900)));
        assert_eq!(rack(900).to_string(), "900 7 INVITE");
        for bad in [
            "",
            "1",
            "1 2",
            "+1 2 INVITE",
            "1 2 INVITE 3",
            "1 x INVITE",
            "4294967296 1 INVITE",
        ] {
            assert_eq!(RAck::parse(bad), None, "{bad}");
        }
    }
}

//! A 2xx to an INVITE until its ACK: RFC 3261 §13.3.1.4.
//!
//! The INVITE server transaction does not repeat a 2xx; its user does, over every transport, because only the ACK of the
//! caller itself ends it. One [`AcceptedInvite`] lives from the 2xx to its ACK. It sends nothing: it says when.

use std::time::{Duration, Instant};

use crate::message::Message;
use crate::transaction::{ServerId, Timers};

/// What to do with an accepted INVITE now.
#[derive(Clone, Debug)]
pub enum Accepted {
    /// Give the 2xx to [`Layer::respond`](crate::transaction::Layer::respond) again.
    Repeat(Message),
    /// No ACK came within 64*T1: end the dialog with a BYE (§13.3.1.4). Nothing follows.
    GiveUp,
}

/// One 2xx that waits for its ACK.
#[derive(Debug)]
pub struct AcceptedInvite {
    id: ServerId,
    cseq: u32,
    response: Message,
    every: Duration,
    longest: Duration,
    repeat_at: Instant,
    end_at: Instant,
    over: bool,
}

impl AcceptedInvite {
    /// The 2xx `response` has just been sent for the first time in transaction `id`.
    pub fn new(now: Instant, timers: &Timers, id: ServerId, response: Message) -> Self {
        Self {
            id,
            cseq: response.cseq().map_or(0, |cseq| cseq.number),
            response,
            every: timers.t1,
            longest: timers.t2,
            repeat_at: now + timers.t1,
            end_at: now + timers.linger(),
            over: false,
        }
    }

    /// The transaction of the INVITE.
    pub fn id(&self) -> ServerId {
        self.id
    }

    /// The CSeq number of the INVITE; its ACK has the same.
    pub fn cseq(&self) -> u32 {
        self.cseq
    }

    /// An ACK came in the dialog of the 2xx. Returns true if it is the one awaited (by CSeq number), and the first.
    pub fn acknowledge(&mut self, ack: &Message) -> bool {
        let awaited = !self.over && ack.cseq().is_ok_and(|cseq| cseq.number == self.cseq);
        if awaited {
            self.over = true;
        }
        awaited
    }

    /// The call ends otherwise (the dialog was terminated): stop repeating.
    pub fn stop(&mut self) {
        self.over = true;
    }

    /// Acknowledged, stopped or given up.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// When to call [`AcceptedInvite::handle_timeout`]; `None` once it is over.
    pub fn next_timeout(&self) -> Option<Instant> {
        (!self.over).then(|| self.repeat_at.min(self.end_at))
    }

    /// What is due at `now`, if anything. After an interruption the 2xx is repeated once, not once for each interval.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Accepted> {
        if self.over {
            return None;
        }
        if now >= self.end_at {
            self.over = true;
            return Some(Accepted::GiveUp);
        }
        if now < self.repeat_at {
            return None;
        }
        self.every = (self.every * 2).min(self.longest);
        self.repeat_at = now + self.every;
        Some(Accepted::Repeat(self.response.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn message(first: &str, cseq: &str) -> Message {
        let text = format!(
            "{first}\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>;tag=2\r\n\
             Call-ID: x\r\nCSeq: {cseq}\r\nContent-Length: 0\r\n\r\n"
        );
        Message::parse(Bytes::from(text)).expect("a message")
    }

    fn accepted() -> (AcceptedInvite, Instant) {
        let now = Instant::now();
        let response = message("SIP/2.0 200 OK", "7 INVITE");
        let timers = Timers::default();
        let accepted = AcceptedInvite::new(now, &timers, ServerId(1), response);
        (accepted, now)
    }

    #[test]
    fn a_2xx_is_repeated_ten_times_and_then_given_up() {
        let (mut accepted, start) = accepted();
        let mut repeated_ms = Vec::new();
        loop {
            let now = accepted.next_timeout().expect("not over");
            match accepted.handle_timeout(now).expect("due") {
                Accepted::Repeat(response) => {
                    assert_eq!(response.status(), Some(200));
                    repeated_ms.push((now - start).as_millis());
                }
                Accepted::GiveUp => {
                    assert_eq!((now - start).as_secs(), 32);
                    break;
                }
            }
        }
        assert_eq!(
            repeated_ms,
            [
                500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500
            ]
        );
        assert!(accepted.is_over() && accepted.next_timeout().is_none());
        assert!(
            accepted
                .handle_timeout(start + Duration::from_secs(99))
                .is_none()
        );
    }

    #[test]
    fn only_the_ack_with_its_cseq_ends_it_and_only_once() {
        let (mut accepted, start) = accepted();
        assert!(!accepted.acknowledge(&message("ACK sip:c@d SIP/2.0", "6 ACK")));
        assert!(accepted.next_timeout().is_some());
        assert!(accepted.handle_timeout(start).is_none());
        assert!(accepted.acknowledge(&message("ACK sip:c@d SIP/2.0", "7 ACK")));
        assert!(!accepted.acknowledge(&message("ACK sip:c@d SIP/2.0", "7 ACK")));
        assert!(accepted.next_timeout().is_none());
    }
}

//! What the telephones of a bank know: accounts, calls, and the requests they have under way.

use super::rtp::{Heard, RtpLeg, Source};
use crate::wire::SipText;
use std::collections::VecDeque;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// What a telephone does with an incoming call by itself.
#[derive(Clone, Copy, Debug)]
pub enum Manner {
    /// Says nothing of its own accord: the test rings, answers or rejects.
    Manual,
    /// Does not even say 100.
    Dead,
    /// Rings until cancelled.
    Ring,
    /// Rings, and answers after that time.
    Answer(Duration),
    /// Rings, answers after the first time, hangs up after the second.
    AnswerFor(Duration, Duration),
    /// Rejects at once.
    Reject(u16),
}

/// Whether a telephone that stands in for an exchange challenges INVITE and REGISTER.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// It does not.
    Never,
    /// Requests without credentials; any credentials pass.
    Once,
    /// Every request: no credentials are good enough.
    Always,
}

/// Where a call stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// INVITE sent or received; no more than provisional responses.
    Early,
    /// 2xx sent or received.
    Up,
    /// Over.
    Ended,
}

/// Why a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// A final response of 300 or more, received or sent.
    Status(u16),
    /// We sent BYE.
    WeHungUp,
    /// The other side sent BYE.
    TheyHungUp,
    /// The other side sent CANCEL.
    Cancelled,
    /// No final response within 32 s.
    NoResponse,
}

#[derive(Debug)]
pub(super) struct Account {
    pub(super) user: String,
    pub(super) password: String,
    pub(super) exchange: SocketAddr,
    pub(super) socket: UdpSocket,
    pub(super) local: SocketAddr,
    pub(super) manner: Manner,
    pub(super) challenge: Challenge,
    pub(super) source: Source,
    pub(super) keep_samples: bool,
    pub(super) call_id: String,
    pub(super) cseq: u32,
    /// Status of the last REGISTER and the lifetime granted, once it is there.
    pub(super) registered: Option<(u16, u32)>,
    pub(super) incoming: VecDeque<usize>,
    /// Every request received, for tests that count.
    pub(super) requests: Vec<SipText>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Register,
    Invite,
    ReInvite,
    Other,
}

/// A request of ours and its retransmission (RFC 3261 §17.1).
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) account: usize,
    pub(super) call: Option<usize>,
    pub(super) purpose: Purpose,
    pub(super) message: SipText,
    pub(super) branch: String,
    pub(super) next: Option<Instant>,
    pub(super) interval: Duration,
    pub(super) deadline: Instant,
    pub(super) authorised: bool,
    pub(super) finished: bool,
    /// The ACK of a 2xx, sent again for each of its retransmissions.
    pub(super) ack: Option<Vec<u8>>,
}

/// A final response of ours to an INVITE, sent until the ACK comes (RFC 3261 §13.3.1.4, §17.2.1).
#[derive(Debug)]
pub(super) struct Unacknowledged {
    pub(super) bytes: Vec<u8>,
    pub(super) next: Instant,
    pub(super) interval: Duration,
    pub(super) deadline: Instant,
}

#[derive(Debug)]
pub(super) struct CallState {
    pub(super) account: usize,
    pub(super) outgoing: bool,
    /// Where its messages go: the exchange, or where the INVITE came from.
    pub(super) peer: SocketAddr,
    pub(super) call_id: String,
    /// Our and their From/To values, as they stand in requests that we send.
    pub(super) local: String,
    pub(super) remote: String,
    pub(super) target: String,
    pub(super) routes: Vec<String>,
    pub(super) cseq: u32,
    pub(super) stage: Stage,
    pub(super) ending: Option<Ending>,
    /// Every response to our INVITE, or the one we sent.
    pub(super) statuses: Vec<(Instant, u16)>,
    pub(super) responses: Vec<SipText>,
    /// Requests received in this dialog, INVITE first on an incoming call.
    pub(super) requests: Vec<SipText>,
    /// The INVITE that began the call.
    pub(super) invite: SipText,
    /// The last INVITE received and our last response to it.
    pub(super) answered_invite: Option<(u32, Vec<u8>)>,
    pub(super) unacknowledged: Option<Unacknowledged>,
    pub(super) acknowledged: bool,
    pub(super) rtp: Option<RtpLeg>,
    /// What had been heard when the call ended and its sockets were closed.
    pub(super) heard: Heard,
    pub(super) sdp_version: u32,
    pub(super) direction: &'static str,
    /// Result of the last re-INVITE we sent.
    pub(super) reinvite: Option<u16>,
    pub(super) began: Instant,
    pub(super) answered_at: Option<Instant>,
    pub(super) ended_at: Option<Instant>,
    pub(super) answer_at: Option<Instant>,
    pub(super) hang_up_at: Option<Instant>,
    pub(super) hang_up_after: Option<Duration>,
}

impl CallState {
    /// Ends the call for that reason, unless it has ended before.
    pub(super) fn end(&mut self, ending: Ending, now: Instant) {
        if self.stage != Stage::Ended {
            self.stage = Stage::Ended;
            self.ending = Some(ending);
            self.ended_at = Some(now);
            self.answer_at = None;
            self.hang_up_at = None;
        }
    }
}

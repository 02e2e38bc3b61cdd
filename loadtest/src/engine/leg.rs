//! One end of a call: its dialog, the request or answer that may have to be repeated, and its media. No sockets.

use crate::scenario::{Codec, Talk};
use crate::sip::{Account, Dialog};
use crate::talk::heard::{Ear, Expected};
use crate::talk::signature::Signature;
use crate::talk::tone::Loops;
use crate::talk::{FRAME, Side, rtp};
use crate::uring::{MEDIA_MAX, Slot};
use rsip::{Method, Request};
use std::net::SocketAddr;

/// First repetition of what was not answered (RFC 3261, T1), in milliseconds.
pub(crate) const T1_MS: u64 = 500;
/// Longest time between two repetitions (T2).
const T2_MS: u64 = 4000;
/// After this nobody answers any more (64 × T1).
const GIVE_UP_MS: u64 = 64 * T1_MS;
/// Packets of one digit, of its repeated end, and of the silence behind it.
const DIGIT_PACKETS: u32 = 5;
const DIGIT_ENDS: u32 = 2;
const DIGIT_GAP: u32 = 5;

/// Where a leg can be found. A place is used again; the generation tells its users apart.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) struct LegRef {
    pub(crate) place: u32,
    pub(crate) generation: u32,
    pub(crate) side: Side,
}

/// Something that is sent again until it is answered.
#[derive(Debug)]
pub(crate) struct Repeated {
    pub(crate) bytes: Vec<u8>,
    pub(crate) method: Method,
    pub(crate) cseq: u32,
    pub(crate) branch: String,
    /// When it is sent again, in milliseconds of the run.
    pub(crate) due_ms: u64,
    wait_ms: u64,
    until_ms: u64,
}

/// What to do with something unanswered.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) enum Due {
    NotYet,
    Again,
    GiveUp,
}

impl Repeated {
    /// Sent for the first time at `now_ms`.
    pub(crate) fn new(
        bytes: Vec<u8>,
        method: Method,
        cseq: u32,
        branch: String,
        now_ms: u64,
    ) -> Self {
        Self {
            bytes,
            method,
            cseq,
            branch,
            due_ms: now_ms + T1_MS,
            wait_ms: T1_MS,
            until_ms: now_ms + GIVE_UP_MS,
        }
    }

    /// An INVITE that rings is repeated no more (RFC 3261 §17.1.1.2).
    pub(crate) fn rings(&mut self) {
        self.due_ms = u64::MAX;
    }

    pub(crate) fn has_rung(&self) -> bool {
        self.due_ms == u64::MAX
    }

    /// Asks at `now_ms`, and sets the next time.
    pub(crate) fn ask(&mut self, now_ms: u64) -> Due {
        if now_ms < self.due_ms {
            return Due::NotYet;
        }
        if now_ms >= self.until_ms {
            return Due::GiveUp;
        }
        self.wait_ms = (self.wait_ms * 2).min(T2_MS);
        self.due_ms = (now_ms + self.wait_ms).min(self.until_ms);
        Due::Again
    }
}

/// How far a leg is.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) enum Stage {
    /// INVITE sent or received, not answered.
    Calling,
    /// Answered; of a callee: the ACK is missing.
    Answered,
    /// Answered and acknowledged.
    Up,
    /// BYE or CANCEL sent.
    Ending,
    Over,
}

/// One end of a call.
#[derive(Debug)]
pub(crate) struct Leg {
    pub(crate) dialog: Dialog,
    pub(crate) account: Account,
    /// The SIP socket.
    pub(crate) signal: Slot,
    pub(crate) stage: Stage,
    /// Our request, or our 200 that waits for its ACK.
    pub(crate) repeated: Option<Repeated>,
    /// The INVITE that we answer, and our last answer to it.
    pub(crate) invite: Option<Request>,
    pub(crate) last_answer: Vec<u8>,
    pub(crate) challenged: bool,
    /// Wall clock of the last INVITE, in nanoseconds.
    pub(crate) invited_ns: u64,
    pub(crate) media: Option<Media>,
    /// Version of our description.
    pub(crate) version: u32,
}

/// What a leg does at its turn.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Does {
    Nothing,
    Talks,
    /// Sends digits: which one, and how many packets of it went.
    Digits {
        digits: Vec<u8>,
        at: usize,
        packet: u32,
    },
}

/// Media of a leg.
#[derive(Debug)]
pub(crate) struct Media {
    pub(crate) socket: Slot,
    pub(crate) own: SocketAddr,
    /// Where the server receives; unknown before its description.
    pub(crate) remote: Option<SocketAddr>,
    pub(crate) payload: u8,
    pub(crate) events: u8,
    pub(crate) ear: Ear,
    /// Whether it stands in the wheel, so that it gets turns.
    pub(crate) in_wheel: bool,
    does: Does,
    codec: Codec,
    talk: Talk,
    own_name: Expected,
    tone: u32,
    sequence: u16,
    timestamp: u32,
    marker: bool,
    /// Packets of audio sent.
    number: u32,
}

/// What came of a turn.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) enum Turn {
    Nothing,
    /// So many bytes are to be sent; whether they are audio.
    Send {
        len: usize,
        audio: bool,
    },
    /// The last digit is out.
    DigitsDone,
}

impl Media {
    pub(crate) fn new(
        socket: Slot,
        own: SocketAddr,
        (codec, talk): (Codec, Talk),
        own_name: Expected,
        hears: Expected,
        tone: u32,
    ) -> Self {
        Self {
            socket,
            own,
            remote: None,
            payload: crate::sip::sdp::payload_type(codec),
            events: rtp::EVENTS,
            ear: Ear::new(codec, hears),
            in_wheel: false,
            does: Does::Nothing,
            codec,
            talk,
            own_name,
            tone,
            sequence: own_name.call as u16,
            timestamp: own_name.call.wrapping_mul(7919),
            marker: true,
            number: 0,
        }
    }

    /// Packets of audio sent.
    pub(crate) fn sent(&self) -> u64 {
        u64::from(self.number)
    }

    /// Speaks from the next turn on.
    pub(crate) fn talk(&mut self) {
        self.does = Does::Talks;
        self.marker = true;
        self.ear.attentive = self.talk == Talk::Signature;
    }

    /// Says nothing more.
    pub(crate) fn hush(&mut self) {
        self.does = Does::Nothing;
        self.ear.look_for(0, 0);
        self.ear.attentive = false;
        self.ear.pause();
    }

    /// Sends digits from the next turn on.
    pub(crate) fn send_digits(&mut self, digits: &str) {
        self.does = Does::Digits {
            digits: digits.chars().filter_map(rtp::event_of).collect(),
            at: 0,
            packet: 0,
        };
    }

    /// One turn, every 20 ms: writes the packet that is due.
    pub(crate) fn turn(
        &mut self,
        now_ns: u64,
        loops: Option<&Loops>,
        bytes: &mut [u8; MEDIA_MAX],
    ) -> Turn {
        let step = if self.codec == Codec::Opus {
            960
        } else {
            FRAME as u32
        };
        let timestamp = self.timestamp;
        self.timestamp = timestamp.wrapping_add(step);
        self.ear.turn();
        match &mut self.does {
            Does::Nothing => Turn::Nothing,
            Does::Talks => {
                let ssrc = self.own_name.call << 1 | u32::from(self.own_name.side.number());
                rtp::write_header(
                    bytes,
                    self.payload,
                    self.marker,
                    self.sequence,
                    timestamp,
                    ssrc,
                );
                self.marker = false;
                self.sequence = self.sequence.wrapping_add(1);
                let body = &mut bytes[rtp::HEADER..];
                let len = match loops {
                    Some(loops) => {
                        let payload = loops.payload(self.tone, self.number);
                        let len = payload.len().min(body.len());
                        body[..len].copy_from_slice(&payload[..len]);
                        len
                    }
                    None => {
                        if let Some(payload) = body.first_chunk_mut::<FRAME>() {
                            Signature {
                                run: self.own_name.run,
                                call: self.own_name.call,
                                side: self.own_name.side,
                                number: self.number,
                                sent_ns: now_ns,
                            }
                            .write(payload);
                        }
                        FRAME
                    }
                };
                self.number += 1;
                Turn::Send {
                    len: rtp::HEADER + len,
                    audio: true,
                }
            }
            Does::Digits { digits, at, packet } => {
                let Some(&event) = digits.get(*at) else {
                    self.does = Does::Nothing;
                    return Turn::DigitsDone;
                };
                let n = *packet;
                *packet += 1;
                if n >= DIGIT_PACKETS + DIGIT_ENDS {
                    if *packet >= DIGIT_PACKETS + DIGIT_ENDS + DIGIT_GAP {
                        *at += 1;
                        *packet = 0;
                    }
                    return Turn::Nothing;
                }
                // All packets of an event have the timestamp of its beginning (RFC 4733 §2.3.2).
                let begun = timestamp.wrapping_sub(n * step);
                let ssrc = self.own_name.call << 1 | u32::from(self.own_name.side.number());
                rtp::write_header(bytes, self.events, n == 0, self.sequence, begun, ssrc);
                self.sequence = self.sequence.wrapping_add(1);
                let lasted = (n + 1).min(DIGIT_PACKETS) * FRAME as u32;
                let end = n + 1 >= DIGIT_PACKETS;
                let payload = rtp::event_payload(event, end, lasted as u16);
                bytes[rtp::HEADER..rtp::HEADER + 4].copy_from_slice(&payload);
                Turn::Send {
                    len: rtp::HEADER + 4,
                    audio: false,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn media() -> Media {
        let name = Expected {
            run: 1,
            call: 3,
            side: Side::Caller,
        };
        let own = "127.0.0.1:4000".parse().expect("an address");
        Media::new(Slot(0), own, (Codec::Pcmu, Talk::Signature), name, name, 0)
    }

    #[test]
    fn what_is_not_answered_is_repeated_ever_more_slowly_and_given_up() {
        let mut repeated = Repeated::new(Vec::new(), Method::Bye, 1, String::new(), 0);
        let mut times = Vec::new();
        let mut end = 0;
        for now in 0..40_000 {
            match repeated.ask(now) {
                Due::NotYet => {}
                Due::Again => times.push(now),
                Due::GiveUp => {
                    end = now;
                    break;
                }
            }
        }
        assert_eq!(&times[..5], &[500, 1500, 3500, 7500, 11_500]);
        assert_eq!(end, 32_000);
    }

    #[test]
    fn what_is_said_is_heard_and_digits_are_events() {
        let (mut media, mut ear) = (media(), media().ear);
        let mut bytes = [0; MEDIA_MAX];
        assert_eq!(media.turn(0, None, &mut bytes), Turn::Nothing);
        media.send_digits("4#");
        let mut done = false;
        for _ in 0..30 {
            match media.turn(0, None, &mut bytes) {
                Turn::Send { len, audio: false } => drop(ear.hear(&bytes[..len], None)),
                Turn::Send { .. } => panic!("audio among digits"),
                Turn::DigitsDone => done = true,
                Turn::Nothing => {}
            }
        }
        assert!(done);
        assert_eq!(ear.digits(), "4#");
        media.talk();
        for _ in 0..5 {
            let Turn::Send { len, audio: true } = media.turn(0, None, &mut bytes) else {
                panic!("it talks")
            };
            ear.hear(&bytes[..len], None);
        }
        media.hush();
        assert_eq!(media.turn(0, None, &mut bytes), Turn::Nothing);
        assert_eq!((ear.counts().right, ear.lost(media.sent(), true)), (5, 0));
    }
}

//! Digits as telephone-events (RFC 4733): telling presses out of repeated packets, and making them.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Milliseconds between two packets of an event, and the step of [`Keypad`].
pub const STEP_MS: u32 = 20;
/// The clock of events unless another was negotiated, Hz.
pub const DEFAULT_CLOCK: u32 = 8000;
/// Silence between two digits, milliseconds; the repeated end packets go out in it.
const GAP_MS: u32 = 60;
/// Longest digit that is sent, milliseconds.
pub const PRESS_MAX_MS: u32 = 60_000;
/// An event without news for so long is over, though its end was lost.
const LOST_END: Duration = Duration::from_millis(240);
/// The same when its sender sends audio again. Events are updated every 20 to 50 ms (§2.5.1.2).
const LOST_END_AUDIO: Duration = Duration::from_millis(150);
/// Packets of an event that is over may still come for so long; later its timestamp may stand for another.
const MEMORY: Duration = Duration::from_secs(10);
/// Events whose stragglers are recognised. The receiver tells packets apart over 64 sequence numbers, and an event has
/// several.
const REMEMBERED: usize = 8;
/// Digits that may wait.
const QUEUE_MAX: usize = 64;

/// The payload of a telephone-event packet (§2.3).
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Payload {
    pub event: u8,
    pub end: bool,
    /// Power level, 0..=63, in -dBm0.
    pub volume: u8,
    /// In timestamp units since the event (or its segment) began.
    pub duration: u16,
}

impl Payload {
    /// Reads one; `None` when it is too short.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let &[event, flags, high, low] = payload.first_chunk::<4>()?;
        Some(Self {
            event,
            end: flags & 0x80 != 0,
            volume: flags & 0x3F,
            duration: u16::from_be_bytes([high, low]),
        })
    }

    /// Its four bytes.
    pub fn bytes(self) -> [u8; 4] {
        let [high, low] = self.duration.to_be_bytes();
        let flags = (u8::from(self.end) << 7) | (self.volume & 0x3F);
        [self.event, flags, high, low]
    }
}

/// The digit of an event code; `None` for events that are no digits (16 is flash, others are tones and line states).
pub fn digit_of(event: u8) -> Option<char> {
    b"0123456789*#ABCD"
        .get(usize::from(event))
        .map(|&b| char::from(b))
}

/// The event code of a digit; `None` for what is no digit.
pub fn event_of(digit: char) -> Option<u8> {
    let digit = digit.to_ascii_uppercase();
    (0..16).find(|&event| digit_of(event) == Some(digit))
}

/// A key went down or up.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Press {
    Begin(char),
    /// With the duration in milliseconds.
    End(char, u32),
}

/// Names an event: two keys pressed at the same moment differ by their codes.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
struct EventId {
    timestamp: u32,
    event: u8,
}

#[derive(Copy, Clone, Debug)]
struct Current {
    digit: char,
    id: EventId,
    /// Units of segments before this one (§2.5.1.3).
    earlier: u32,
    duration: u16,
    heard: Instant,
}

/// A telephone-event packet as it was received.
#[derive(Copy, Clone, Debug)]
pub struct EventPacket {
    /// Of the RTP header.
    pub timestamp: u32,
    /// Of the RTP header: the first packet of an event (§2.5.1.2).
    pub marker: bool,
    pub payload: Payload,
}

/// Tells each press once, whatever is repeated, lost, reordered or interleaved, also across a change of the stream's
/// source. What each packet of audio needs comes first.
#[derive(Clone, Debug)]
#[repr(C)]
pub struct Listener {
    current: Option<Current>,
    /// The event heard last belonged to a stream that another has replaced; its timestamps mean nothing any more.
    adrift: bool,
    /// The event that ended last, for a replaced stream that repeats its end.
    ended: Option<Current>,
    clock: u32,
    /// Events told completely, newest first.
    past: [Option<(EventId, Instant)>; REMEMBERED],
}

impl Default for Listener {
    fn default() -> Self {
        Self {
            current: None,
            adrift: false,
            ended: None,
            clock: DEFAULT_CLOCK,
            past: [None; REMEMBERED],
        }
    }
}

impl Listener {
    /// Bytes at the beginning that each packet of audio needs.
    pub(crate) const USUAL_BYTES: usize = std::mem::offset_of!(Self, adrift);

    /// The rate of the timestamps, Hz (the clock in `a=rtpmap` of telephone-event). 0 is taken for 8000.
    pub fn set_clock(&mut self, clock: u32) {
        self.clock = if clock == 0 { DEFAULT_CLOCK } else { clock };
    }

    /// Is a key down?
    #[inline]
    pub fn is_down(&self) -> bool {
        self.current.is_some()
    }

    /// The stream comes from another source from now on (new SSRC, or sequence numbers that started anew): timestamps
    /// compare with nothing before.
    pub fn new_source(&mut self) {
        self.adrift = self.current.is_some() || self.ended.is_some();
        self.past = [None; REMEMBERED];
    }

    fn end(&mut self, tell: &mut impl FnMut(Press)) {
        if let Some(current) = self.current.take() {
            let units = u64::from(current.earlier) + u64::from(current.duration);
            let ms = units * 1000 / u64::from(self.clock);
            self.remember(current);
            self.ended = Some(current);
            tell(Press::End(
                current.digit,
                u32::try_from(ms).unwrap_or(u32::MAX),
            ));
        }
    }

    fn remember(&mut self, current: Current) {
        self.past.rotate_right(1);
        if let Some(first) = self.past.first_mut() {
            *first = Some((current.id, current.heard));
        }
    }

    fn is_past(&self, now: Instant, id: EventId) -> bool {
        self.past
            .iter()
            .flatten()
            .any(|(known, heard)| *known == id && now.saturating_duration_since(*heard) < MEMORY)
    }

    /// Takes a packet that the receiver found usable (not a duplicate by its sequence number); tells up to three presses
    /// (the end of the event before, when that was lost; begin; end). Events that are no digits are nothing here.
    pub fn packet(&mut self, now: Instant, packet: EventPacket, mut tell: impl FnMut(Press)) {
        let payload = packet.payload;
        let Some(digit) = digit_of(payload.event) else {
            return;
        };
        let id = EventId {
            timestamp: packet.timestamp,
            event: payload.event,
        };
        if std::mem::take(&mut self.adrift) && self.survives(now, id, &packet) {
            return;
        }
        if self.is_past(now, id) {
            return;
        }
        let goes_on = match &mut self.current {
            Some(current) if current.id == id => {
                current.duration = if payload.end {
                    payload.duration
                } else {
                    current.duration.max(payload.duration)
                };
                true
            }
            Some(current) if current.id.event == id.event && !packet.marker => {
                let before = *current;
                let continues = current.continues_in(&packet);
                if continues {
                    // Stragglers of the segment before are still to come.
                    self.remember(before);
                }
                continues
            }
            _ => false,
        };
        if goes_on {
            if let Some(current) = &mut self.current {
                current.heard = now;
            }
        } else {
            self.end(&mut tell);
            self.current = Some(Current {
                digit,
                id,
                earlier: 0,
                duration: payload.duration,
                heard: now,
            });
            tell(Press::Begin(digit));
        }
        if payload.end {
            self.end(&mut tell);
        }
    }

    /// The first event packet of a new source: may it be of the press that the old source was in, or repeat its end?
    /// True when there is nothing more to do about it.
    fn survives(&mut self, now: Instant, id: EventId, packet: &EventPacket) -> bool {
        let fits = |old: &Current| {
            old.id.event == id.event
                && !packet.marker
                && packet.payload.duration >= old.duration
                && now.saturating_duration_since(old.heard) < LOST_END
        };
        if let Some(current) = &mut self.current {
            if fits(current) {
                // Known by its new timestamp from now on, and worked on as ever.
                current.id = id;
            }
            return false;
        }
        let Some(ended) = self.ended.take() else {
            return false;
        };
        let repeats =
            packet.payload.end && packet.payload.duration == ended.duration && fits(&ended);
        if repeats {
            self.remember(Current {
                id,
                heard: now,
                ..ended
            });
        }
        repeats
    }

    /// Audio came from the sender of the events. Call it while [`Listener::is_down`]: a sender that is back at audio
    /// has ended its event.
    pub fn audio(&mut self, now: Instant, mut tell: impl FnMut(Press)) {
        self.give_up(now, LOST_END_AUDIO, &mut tell);
    }

    /// Is a key down that nothing was heard of for too long? Then it is up. Call now and then.
    pub fn expire(&mut self, now: Instant, mut tell: impl FnMut(Press)) {
        self.give_up(now, LOST_END, &mut tell);
    }

    fn give_up(&mut self, now: Instant, after: Duration, tell: &mut impl FnMut(Press)) {
        let lost = |current: &Current| now.saturating_duration_since(current.heard) >= after;
        if self.current.as_ref().is_some_and(lost) {
            self.end(tell);
        }
    }

    /// No more will be heard: a key that is down is up.
    pub fn finish(&mut self, mut tell: impl FnMut(Press)) {
        self.end(&mut tell);
    }
}

impl Current {
    /// Is this packet of the same press, under a new timestamp? Either it begins the next segment of a long event
    /// (§2.5.1.3: where the last one ended, which is at most 65535 units on), or its sender wrongly moves the timestamp
    /// along with the duration.
    fn continues_in(&mut self, packet: &EventPacket) -> bool {
        let moved = packet.timestamp.wrapping_sub(self.id.timestamp);
        let longer = packet.payload.duration.checked_sub(self.duration);
        if longer.is_some_and(|longer| longer > 0 && moved == u32::from(longer)) {
            self.duration = packet.payload.duration;
        } else if moved == u32::from(u16::MAX) || (moved > 0 && moved == u32::from(self.duration)) {
            self.earlier = self.earlier.saturating_add(moved);
            self.duration = packet.payload.duration;
        } else {
            return false;
        }
        self.id.timestamp = packet.timestamp;
        true
    }
}

/// What to send in one step of 20 ms.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Key {
    /// A packet.
    Event { payload: Payload, place: Place },
    /// Nothing: the gap after a digit.
    Pause,
    /// Nothing, and no digit waits.
    Idle,
}

/// Where a packet of an event stands.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Place {
    /// It begins the event: marker bit, new timestamp.
    First,
    /// The timestamp of the packet before.
    Next,
    /// It begins a further segment of a long event (§2.5.1.3): no marker bit, a timestamp 65535 units on.
    Segment,
}

#[derive(Copy, Clone, Debug)]
enum State {
    Idle,
    Down {
        event: u8,
        elapsed_ms: u32,
        /// `None`: until released.
        total_ms: Option<u32>,
        /// Units in segments before this one.
        earlier: u32,
    },
    Up {
        last: Payload,
        repeats: u8,
        gap_ms: u32,
    },
}

#[derive(Copy, Clone, Debug)]
struct Waiting {
    event: u8,
    /// `None`: until released.
    total_ms: Option<u32>,
}

/// Makes the packets of digits, one after the other. Works in steps of 20 ms; the first packet of a digit goes out at
/// once with the duration of one step, the last one three times.
#[derive(Clone, Debug)]
pub struct Keypad {
    state: State,
    waiting: VecDeque<Waiting>,
    clock: u32,
}

impl Default for Keypad {
    fn default() -> Self {
        Self {
            state: State::Idle,
            waiting: VecDeque::new(),
            clock: DEFAULT_CLOCK,
        }
    }
}

/// Milliseconds of a digit as they are sent: whole steps, 40..=[`PRESS_MAX_MS`].
fn in_steps(ms: u32) -> u32 {
    ms.clamp(40, PRESS_MAX_MS).next_multiple_of(STEP_MS)
}

impl Keypad {
    /// The rate of the timestamps, Hz, for durations. 0 is taken for 8000.
    pub fn set_clock(&mut self, clock: u32) {
        self.clock = if clock == 0 { DEFAULT_CLOCK } else { clock };
    }

    /// Queues a digit; false when it is none, or 64 wait already. The duration is brought into 40..=60000 ms and rounded
    /// up to steps.
    pub fn press(&mut self, digit: char, duration_ms: u32) -> bool {
        self.queue(digit, Some(in_steps(duration_ms)))
    }

    /// Queues a digit whose end is not known yet; [`Keypad::release`] tells it. False as in [`Keypad::press`].
    pub fn hold(&mut self, digit: char) -> bool {
        self.queue(digit, None)
    }

    fn queue(&mut self, digit: char, total_ms: Option<u32>) -> bool {
        let Some(event) = event_of(digit) else {
            return false;
        };
        if self.waiting.len() >= QUEUE_MAX {
            return false;
        }
        self.waiting.push_back(Waiting { event, total_ms });
        true
    }

    /// The digit that is held (there is one at a time) lasts so long in all; what was sent of it already counts. It ends
    /// with the next step at the earliest.
    pub fn release(&mut self, duration_ms: u32) {
        if let Some(waiting) = self.waiting.iter_mut().find(|w| w.total_ms.is_none()) {
            waiting.total_ms = Some(in_steps(duration_ms));
        } else if let State::Down { total_ms, .. } = &mut self.state
            && total_ms.is_none()
        {
            *total_ms = Some(in_steps(duration_ms));
        }
    }

    /// Is a digit, its gap or its successor still to be sent?
    #[inline]
    pub fn is_busy(&self) -> bool {
        !matches!(self.state, State::Idle) || !self.waiting.is_empty()
    }

    /// Units of so many milliseconds.
    pub fn units(&self, ms: u32) -> u32 {
        (u64::from(ms) * u64::from(self.clock) / 1000) as u32
    }

    /// The next step.
    pub fn step(&mut self) -> Key {
        if let State::Up {
            last,
            repeats,
            gap_ms,
        } = self.state
            && gap_ms > 0
        {
            self.state = State::Up {
                last,
                repeats: repeats.saturating_sub(1),
                gap_ms: gap_ms.saturating_sub(STEP_MS),
            };
            return if repeats > 0 {
                Key::Event {
                    payload: last,
                    place: Place::Next,
                }
            } else {
                Key::Pause
            };
        }
        let (event, elapsed_ms, total_ms, mut earlier) = match self.state {
            State::Down {
                event,
                elapsed_ms,
                total_ms,
                earlier,
            } => (event, elapsed_ms, total_ms, earlier),
            State::Idle | State::Up { .. } => {
                self.state = State::Idle;
                let Some(next) = self.waiting.pop_front() else {
                    return Key::Idle;
                };
                (next.event, 0, next.total_ms, 0)
            }
        };
        let segment_max = u32::from(u16::MAX);
        let mut place = if elapsed_ms == 0 {
            Place::First
        } else {
            Place::Next
        };
        // The step before filled its segment.
        if self.units(elapsed_ms).saturating_sub(earlier) > segment_max {
            earlier += segment_max;
            place = Place::Segment;
        }
        let elapsed = elapsed_ms + STEP_MS;
        // Held keys end by themselves some day, should nobody release them.
        let end = elapsed >= total_ms.unwrap_or(PRESS_MAX_MS);
        let mut units = self.units(elapsed).saturating_sub(earlier);
        if end && units > segment_max {
            units -= segment_max;
            place = Place::Segment;
        }
        let payload = Payload {
            event,
            end,
            volume: 10,
            duration: units.min(segment_max) as u16,
        };
        self.state = if end {
            State::Up {
                last: payload,
                repeats: 2,
                gap_ms: GAP_MS,
            }
        } else {
            State::Down {
                event,
                elapsed_ms: elapsed,
                total_ms,
                earlier,
            }
        };
        Key::Event { payload, place }
    }
}

#[cfg(test)]
mod tests;

//! Digits as telephone-events (RFC 4733): telling presses out of repeated packets, and making them.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Milliseconds between two packets of an event, and the step of [`Keypad`].
pub const STEP_MS: u32 = 20;
/// Timestamp units in a millisecond: events use the 8000 Hz clock of the audio they go with.
const UNITS_PER_MS: u32 = 8;
/// Silence between two digits, milliseconds; the repeated end packets go out in it.
const GAP_MS: u32 = 60;
/// An event without news for so long is over, though its end was lost.
const LOST_END: Duration = Duration::from_millis(240);
/// Digits that may wait.
const QUEUE_MAX: usize = 64;

/// The payload of a telephone-event packet (§2.3).
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Payload {
    pub event: u8,
    pub end: bool,
    /// Power level, 0..=63, in -dBm0.
    pub volume: u8,
    /// In timestamp units since the event began.
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

/// The digit of an event code; `None` for events that are no digits.
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

#[derive(Copy, Clone, Debug)]
struct Current {
    digit: char,
    event: u8,
    timestamp: u32,
    /// Units of segments before this one (§2.5.1.3).
    earlier: u32,
    duration: u16,
    ended: bool,
    heard: Instant,
}

impl Current {
    fn end(&mut self) -> Option<Press> {
        if self.ended {
            return None;
        }
        self.ended = true;
        let units = self.earlier + u32::from(self.duration);
        Some(Press::End(self.digit, units / UNITS_PER_MS))
    }
}

/// Tells each press once, whatever is repeated, lost or reordered.
#[derive(Copy, Clone, Debug, Default)]
pub struct Listener {
    current: Option<Current>,
}

impl Listener {
    /// Takes a packet with the timestamp of its header; tells up to three presses (the end of the event before, when
    /// that was lost; begin; end).
    pub fn packet(
        &mut self,
        now: Instant,
        timestamp: u32,
        payload: Payload,
        mut tell: impl FnMut(Press),
    ) {
        let Some(digit) = digit_of(payload.event) else {
            return;
        };
        if let Some(current) = &mut self.current {
            let age = timestamp.wrapping_sub(current.timestamp);
            let next_segment = age == u32::from(u16::MAX)
                && current.event == payload.event
                && current.duration == u16::MAX;
            if age == 0 {
                current.heard = now;
                if !current.ended {
                    current.duration = current.duration.max(payload.duration);
                    if payload.end {
                        current.duration = payload.duration;
                        if let Some(end) = current.end() {
                            tell(end);
                        }
                    }
                }
                return;
            }
            if (age as i32) < 0 && now.saturating_duration_since(current.heard).as_secs() < 10 {
                // A straggler of an event that is long over.
                return;
            }
            if next_segment && !current.ended {
                current.earlier += u32::from(u16::MAX);
                current.timestamp = timestamp;
                current.duration = payload.duration;
                current.heard = now;
                if payload.end
                    && let Some(end) = current.end()
                {
                    tell(end);
                }
                return;
            }
            if let Some(end) = current.end() {
                tell(end);
            }
        }
        let mut current = Current {
            digit,
            event: payload.event,
            timestamp,
            earlier: 0,
            duration: payload.duration,
            ended: false,
            heard: now,
        };
        tell(Press::Begin(digit));
        if payload.end
            && let Some(end) = current.end()
        {
            tell(end);
        }
        self.current = Some(current);
    }

    /// Is a key down that nothing was heard of for too long? Then it is up. Call now and then.
    #[inline]
    pub fn expire(&mut self, now: Instant) -> Option<Press> {
        let current = self.current.as_mut()?;
        if current.ended || now.saturating_duration_since(current.heard) < LOST_END {
            return None;
        }
        current.end()
    }
}

/// What to send in one step of 20 ms.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Key {
    /// A packet; `first`: it begins the event (marker bit, new timestamp).
    Event { payload: Payload, first: bool },
    /// Nothing: the gap after a digit.
    Pause,
    /// Nothing, and no digit waits.
    Idle,
}

#[derive(Copy, Clone, Debug)]
enum State {
    Idle,
    Down {
        event: u8,
        elapsed_ms: u32,
        total_ms: u32,
    },
    Up {
        last: Payload,
        repeats: u8,
        gap_ms: u32,
    },
}

/// Makes the packets of digits, one after the other. Works in steps of 20 ms; the first packet of a digit goes out at
/// once with the duration of one step, the last one three times.
#[derive(Clone, Debug)]
pub struct Keypad {
    state: State,
    waiting: VecDeque<(u8, u32)>,
}

impl Default for Keypad {
    fn default() -> Self {
        Self {
            state: State::Idle,
            waiting: VecDeque::new(),
        }
    }
}

impl Keypad {
    /// Queues a digit; false when it is none, or 64 wait already. The duration is brought into 40..=8000 ms and rounded
    /// up to steps.
    pub fn press(&mut self, digit: char, duration_ms: u32) -> bool {
        let Some(event) = event_of(digit) else {
            return false;
        };
        if self.waiting.len() >= QUEUE_MAX {
            return false;
        }
        let duration = duration_ms.clamp(40, 8000).next_multiple_of(STEP_MS);
        self.waiting.push_back((event, duration));
        true
    }

    /// Is a digit, its gap or its successor still to be sent?
    #[inline]
    pub fn is_busy(&self) -> bool {
        !matches!(self.state, State::Idle) || !self.waiting.is_empty()
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
                    first: false,
                }
            } else {
                Key::Pause
            };
        }
        let (event, elapsed_ms, total_ms) = match self.state {
            State::Down {
                event,
                elapsed_ms,
                total_ms,
            } => (event, elapsed_ms, total_ms),
            State::Idle | State::Up { .. } => {
                self.state = State::Idle;
                let Some((event, total_ms)) = self.waiting.pop_front() else {
                    return Key::Idle;
                };
                (event, 0, total_ms)
            }
        };
        let elapsed = elapsed_ms + STEP_MS;
        let payload = Payload {
            event,
            end: elapsed >= total_ms,
            volume: 10,
            duration: (elapsed * UNITS_PER_MS).min(u32::from(u16::MAX)) as u16,
        };
        self.state = if payload.end {
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
            }
        };
        Key::Event {
            payload,
            first: elapsed_ms == 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn presses(listener: &mut Listener, now: Instant, timestamp: u32, p: Payload) -> Vec<Press> {
        let mut all = Vec::new();
        listener.packet(now, timestamp, p, |press| all.push(press));
        all
    }

    fn event(event: u8, duration: u16, end: bool) -> Payload {
        Payload {
            event,
            end,
            volume: 10,
            duration,
        }
    }

    /// All packets of one digit with the offset of their step.
    fn packets(keypad: &mut Keypad) -> Vec<(Payload, bool)> {
        let mut all = Vec::new();
        loop {
            match keypad.step() {
                Key::Event { payload, first } => all.push((payload, first)),
                Key::Pause => {}
                Key::Idle => return all,
            }
        }
    }

    #[test]
    fn a_digit_is_sent_with_growing_duration_and_three_ends() {
        let mut keypad = Keypad::default();
        assert!(keypad.press('#', 90));
        let sent = packets(&mut keypad);
        let expected: Vec<(Payload, bool)> = [
            (160, false, true),
            (320, false, false),
            (480, false, false),
            (640, false, false),
            (800, true, false),
            (800, true, false),
            (800, true, false),
        ]
        .map(|(duration, end, first)| (event(11, duration, end), first))
        .to_vec();
        assert_eq!(sent, expected);
        assert!(!keypad.is_busy());
        assert!(!keypad.press('x', 100));
    }

    #[test]
    fn waiting_digits_follow_after_a_gap_and_only_so_many_wait() {
        let mut keypad = Keypad::default();
        for _ in 0..QUEUE_MAX {
            assert!(keypad.press('5', 40));
        }
        assert!(!keypad.press('5', 40));
        let firsts = packets(&mut keypad)
            .iter()
            .filter(|(_, first)| *first)
            .count();
        assert_eq!(firsts, QUEUE_MAX);
    }

    #[test]
    fn a_press_is_told_once_whatever_is_repeated_or_reordered() {
        let now = Instant::now();
        let mut listener = Listener::default();
        assert_eq!(
            presses(&mut listener, now, 1000, event(5, 160, false)),
            [Press::Begin('5')]
        );
        assert!(presses(&mut listener, now, 1000, event(5, 480, false)).is_empty());
        assert!(presses(&mut listener, now, 1000, event(5, 320, false)).is_empty());
        assert_eq!(
            presses(&mut listener, now, 1000, event(5, 800, true)),
            [Press::End('5', 100)]
        );
        assert!(presses(&mut listener, now, 1000, event(5, 800, true)).is_empty());
        assert!(presses(&mut listener, now, 1000, event(5, 640, false)).is_empty());
        assert_eq!(
            presses(&mut listener, now, 3000, event(5, 160, false)),
            [Press::Begin('5')]
        );
        assert!(presses(&mut listener, now, 1000, event(5, 800, true)).is_empty());
    }

    #[test]
    fn lost_beginnings_and_ends_are_made_up_for() {
        let now = Instant::now();
        let mut listener = Listener::default();
        assert_eq!(
            presses(&mut listener, now, 10, event(1, 800, true)),
            [Press::Begin('1'), Press::End('1', 100)]
        );
        presses(&mut listener, now, 2000, event(2, 400, false));
        assert_eq!(
            presses(&mut listener, now, 4000, event(3, 160, false)),
            [Press::End('2', 50), Press::Begin('3')]
        );
        assert_eq!(listener.expire(now + Duration::from_millis(100)), None);
        let later = now + Duration::from_millis(300);
        assert_eq!(listener.expire(later), Some(Press::End('3', 20)));
        assert_eq!(listener.expire(later), None);
    }

    #[test]
    fn a_long_press_in_segments_is_one_press() {
        let now = Instant::now();
        let mut listener = Listener::default();
        presses(&mut listener, now, 0, event(9, u16::MAX, false));
        assert!(presses(&mut listener, now, 65535, event(9, 160, false)).is_empty());
        assert_eq!(
            presses(&mut listener, now, 65535, event(9, 8000, true)),
            [Press::End('9', (65535 + 8000) / 8)]
        );
    }

    #[test]
    fn every_digit_has_an_event_and_back() {
        for digit in "0123456789*#ABCD".chars() {
            assert_eq!(event_of(digit).and_then(digit_of), Some(digit));
        }
        assert_eq!(event_of('d'), Some(15));
        assert_eq!(digit_of(16), None);
    }

    proptest! {
        #[test]
        fn a_written_event_reads_the_same(event: u8, end: bool, volume in 0u8..64, duration: u16) {
            let payload = Payload { event, end, volume, duration };
            prop_assert_eq!(Payload::parse(&payload.bytes()), Some(payload));
        }

        #[test]
        fn ends_and_begins_alternate_for_any_packets(
            input in proptest::collection::vec((0u8..20, any::<bool>(), any::<u16>(), 0u32..2000), 0..200),
        ) {
            let now = Instant::now();
            let mut listener = Listener::default();
            let mut down = None;
            for (event, end, duration, timestamp) in input {
                let payload = Payload { event, end, volume: 0, duration };
                let mut told = Vec::new();
                listener.packet(now, timestamp, payload, |press| told.push(press));
                for press in told {
                    match press {
                        Press::Begin(digit) => prop_assert_eq!(down.replace(digit), None),
                        Press::End(digit, _) => prop_assert_eq!(down.take(), Some(digit)),
                    }
                }
            }
        }
    }
}

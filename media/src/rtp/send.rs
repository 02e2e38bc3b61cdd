//! The one stream that a leg sends, whoever speaks in it.
//!
//! A listener hears several sources one after the other: a peer, a prompt, another peer, digits. To him they are one
//! stream with one SSRC, sequence numbers without holes but for real losses, and timestamps that follow the clock.
//! Within a source its own numbers are kept, shifted; at a change the shift is computed anew and the marker bit set.

use std::time::{Duration, Instant};

/// Names a source of packets; the engine makes each unique.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct SourceKey(pub u64);

/// How far behind a change of numbering is remembered.
const FLOOR_DISTANCE: u16 = 0x2000;

/// The numbers of a packet as it goes out.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Numbers {
    pub sequence: u16,
    pub timestamp: u32,
    pub marker: bool,
}

/// State of the stream that is sent.
#[derive(Clone, Debug)]
pub struct Sender {
    ssrc: u32,
    clock_rate: u32,
    source: Option<SourceKey>,
    sequence_shift: u16,
    timestamp_shift: u32,
    /// Sequence numbers of the source before this one belong to an older shift.
    floor: u16,
    /// Newest sequence number of the source.
    newest_in: u16,
    last: Numbers,
    /// Samples in the newest packet.
    last_samples: u32,
    last_at: Option<Instant>,
    /// Something was left out since, on purpose (DTX).
    paused: bool,
    packets: u64,
    bytes: u64,
}

impl Sender {
    /// Numbers begin with `sequence` and `timestamp`.
    pub fn new(ssrc: u32, sequence: u16, timestamp: u32, clock_rate: u32) -> Self {
        Self {
            ssrc,
            clock_rate,
            source: None,
            sequence_shift: 0,
            timestamp_shift: 0,
            floor: 0,
            newest_in: 0,
            last: Numbers {
                sequence: sequence.wrapping_sub(1),
                timestamp,
                marker: false,
            },
            last_samples: 0,
            last_at: None,
            paused: false,
            packets: 0,
            bytes: 0,
        }
    }

    /// From now on another stream: receivers take its numbers as new ones.
    pub fn renew(&mut self) {
        // Any other value will do; an odd step visits them all.
        self.ssrc = self.ssrc.wrapping_add(0x9E37_79B9);
    }

    /// SSRC of the stream.
    pub fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// Hz of the timestamps.
    pub fn clock_rate(&self) -> u32 {
        self.clock_rate
    }

    /// The codec changed: timestamps go on from the last one, at another pace.
    pub fn set_clock_rate(&mut self, hz: u32) {
        self.clock_rate = hz.max(1);
    }

    /// Packets sent.
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// Payload bytes sent.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Counts a packet that went out.
    #[inline]
    pub fn count(&mut self, payload_bytes: usize) {
        self.packets += 1;
        self.bytes += payload_bytes as u64;
    }

    /// Numbers for a packet that another source made. `None`: it belongs before the last change, where others were
    /// sent already.
    #[inline]
    pub fn relay(
        &mut self,
        now: Instant,
        source: SourceKey,
        sequence: u16,
        timestamp: u32,
        marker: bool,
        samples: u32,
    ) -> Option<Numbers> {
        if self.source != Some(source) {
            let next = self.next_numbers(now);
            self.sequence_shift = next.sequence.wrapping_sub(sequence);
            self.timestamp_shift = next.timestamp.wrapping_sub(timestamp);
            self.floor = sequence;
            self.newest_in = sequence;
            self.source = Some(source);
            return Some(self.sent(now, next, samples));
        }
        let above_floor = sequence.wrapping_sub(self.floor) as i16;
        if above_floor < 0 {
            return None;
        }
        if above_floor as u16 > 2 * FLOOR_DISTANCE - 1 {
            self.floor = sequence.wrapping_sub(FLOOR_DISTANCE);
        }
        let numbers = Numbers {
            sequence: sequence.wrapping_add(self.sequence_shift),
            timestamp: timestamp.wrapping_add(self.timestamp_shift),
            marker,
        };
        if (sequence.wrapping_sub(self.newest_in) as i16) > 0 {
            self.newest_in = sequence;
            return Some(self.sent(now, numbers, samples));
        }
        Some(numbers)
    }

    /// A packet of this source will not be sent, on purpose: the listener shall not count it as lost.
    pub fn skip(&mut self, source: SourceKey, sequence: u16) {
        if self.source == Some(source) && (sequence.wrapping_sub(self.newest_in) as i16) > 0 {
            self.sequence_shift = self.sequence_shift.wrapping_sub(1);
            self.newest_in = sequence;
            self.floor = sequence;
        }
    }

    /// Packets of this source were left out; what comes next begins anew, even from the same source.
    #[inline]
    pub fn leave(&mut self, source: SourceKey) {
        if self.source == Some(source) {
            self.source = None;
        }
    }

    /// Numbers for a packet of our own with so many samples.
    pub fn own(&mut self, now: Instant, source: SourceKey, samples: u32) -> Numbers {
        let numbers = if self.source == Some(source) {
            Numbers {
                sequence: self.last.sequence.wrapping_add(1),
                timestamp: self.last.timestamp.wrapping_add(self.last_samples),
                // RFC 3551 §4.1: the first packet after a pause is marked.
                marker: self.paused,
            }
        } else {
            self.source = Some(source);
            self.next_numbers(now)
        };
        self.sent(now, numbers, samples)
    }

    /// This source pauses for so many samples: nothing is sent, time goes on.
    pub fn pause(&mut self, source: SourceKey, samples: u32) {
        // Of one that has not begun yet the first packet gets the time of the clock.
        if self.source == Some(source) {
            self.last_samples = self.last_samples.wrapping_add(samples);
            self.paused = true;
        }
    }

    /// Does this source speak now?
    pub fn is_source(&self, source: SourceKey) -> bool {
        self.source == Some(source)
    }

    /// Numbers for another packet of the same moment: a telephone-event that goes on (RFC 4733 §2.5.1.2). `samples` is
    /// its duration so far; what follows the event gets a timestamp after it.
    pub fn same_moment(&mut self, now: Instant, samples: u32) -> Numbers {
        let numbers = Numbers {
            sequence: self.last.sequence.wrapping_add(1),
            timestamp: self.last.timestamp,
            marker: false,
        };
        let began = self.last_at;
        let sent = self.sent(now, numbers, samples);
        // The clock of the stream is still that of the event's beginning.
        self.last_at = began;
        sent
    }

    /// Numbers for the next segment of a long telephone-event (RFC 4733 §2.5.1.3), `behind` units after the beginning of the
    /// one before. `samples` as in [`Sender::same_moment`].
    pub fn next_segment(&mut self, now: Instant, behind: u32, samples: u32) -> Numbers {
        let numbers = Numbers {
            sequence: self.last.sequence.wrapping_add(1),
            timestamp: self.last.timestamp.wrapping_add(behind),
            marker: false,
        };
        let began = self.last_at;
        let sent = self.sent(now, numbers, samples);
        let rate = u64::from(self.clock_rate.max(1));
        self.last_at =
            began.map(|at| at + Duration::from_nanos(u64::from(behind) * 1_000_000_000 / rate));
        sent
    }

    /// When a packet was sent last.
    pub fn last_at(&self) -> Option<Instant> {
        self.last_at
    }

    /// The RTP timestamp of this moment, for sender reports; `None` before anything was sent.
    pub fn timestamp_at(&self, now: Instant) -> Option<u32> {
        self.last_at
            .map(|at| self.last.timestamp.wrapping_add(self.units(at, now)))
    }

    fn sent(&mut self, now: Instant, numbers: Numbers, samples: u32) -> Numbers {
        self.last = numbers;
        self.last_samples = samples;
        self.last_at = Some(now);
        self.paused = false;
        numbers
    }

    /// After what was sent last: the next sequence number, and a timestamp as the clock says, but after the last packet.
    fn next_numbers(&self, now: Instant) -> Numbers {
        let step = self
            .last_at
            .map_or(0, |at| self.units(at, now).max(self.last_samples));
        Numbers {
            sequence: self.last.sequence.wrapping_add(1),
            timestamp: self.last.timestamp.wrapping_add(step),
            marker: true,
        }
    }

    fn units(&self, from: Instant, to: Instant) -> u32 {
        let elapsed = to.saturating_duration_since(from).as_micros();
        (elapsed * u128::from(self.clock_rate) / 1_000_000) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: SourceKey = SourceKey(1);
    const B: SourceKey = SourceKey(2);

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn a_change_of_source_goes_on_where_the_last_ended() {
        let t = Instant::now();
        let mut s = Sender::new(7, 65535, u32::MAX, 8000);
        let first = s.relay(t, A, 100, 5000, false, 160).unwrap();
        assert_eq!(
            first,
            Numbers {
                sequence: 65535,
                timestamp: u32::MAX,
                marker: true
            }
        );
        let second = s.relay(t + ms(20), A, 101, 5160, false, 160).unwrap();
        assert_eq!(
            (second.sequence, second.timestamp, second.marker),
            (0, 159, false)
        );
        let prompt = s.own(t + ms(50), B, 160);
        assert_eq!(
            (prompt.sequence, prompt.timestamp, prompt.marker),
            (1, 159 + 240, true)
        );
        let prompt = s.own(t + ms(71), B, 160);
        assert_eq!(
            (prompt.sequence, prompt.timestamp, prompt.marker),
            (2, 559, false)
        );
        // Back at once: never less than the packet before.
        let back = s.relay(t + ms(72), A, 104, 5640, false, 160).unwrap();
        assert_eq!((back.sequence, back.timestamp, back.marker), (3, 719, true));
    }

    #[test]
    fn losses_and_reordering_of_the_source_stay_visible() {
        let t = Instant::now();
        let mut s = Sender::new(7, 0, 0, 8000);
        s.relay(t, A, 10, 0, false, 160);
        assert_eq!(s.relay(t, A, 13, 480, false, 160).unwrap().sequence, 3);
        assert_eq!(s.relay(t, A, 12, 320, false, 160).unwrap().sequence, 2);
        assert_eq!(s.relay(t, A, 9, 0, false, 160), None);
    }

    #[test]
    fn a_packet_left_out_on_purpose_is_no_loss_to_the_listener() {
        let t = Instant::now();
        let mut s = Sender::new(7, 0, 0, 8000);
        s.relay(t, A, 10, 0, false, 160);
        s.skip(A, 11);
        s.skip(A, 12);
        let next = s.relay(t + ms(60), A, 13, 480, false, 160).unwrap();
        assert_eq!((next.sequence, next.timestamp), (1, 480));
        assert_eq!(s.relay(t, A, 11, 160, false, 160), None);
    }

    #[test]
    fn packets_of_an_event_share_the_moment_and_audio_follows_after_it() {
        let t = Instant::now();
        let mut s = Sender::new(7, 0, 1000, 8000);
        let first = s.own(t, A, 160);
        let more = s.same_moment(t + ms(20), 320);
        assert_eq!(first.timestamp, more.timestamp);
        assert_eq!((more.sequence, more.marker), (1, false));
        s.leave(A);
        let audio = s.relay(t + ms(60), B, 500, 0, false, 160).unwrap();
        assert_eq!((audio.sequence, audio.timestamp), (2, 1000 + 480));
    }

    #[test]
    fn time_goes_on_in_a_pause_and_its_end_is_marked() {
        let t = Instant::now();
        let mut s = Sender::new(7, 0, 1000, 48_000);
        s.own(t, A, 960);
        s.pause(B, 960);
        s.pause(A, 960);
        s.pause(A, 960);
        let resumed = s.own(t + ms(60), A, 960);
        assert_eq!(
            (resumed.sequence, resumed.timestamp, resumed.marker),
            (1, 1000 + 3 * 960, true)
        );
        let next = s.own(t + ms(80), A, 960);
        assert_eq!((next.sequence, next.marker), (2, false));
    }

    #[test]
    fn a_long_relay_wraps_without_a_change() {
        let t = Instant::now();
        let mut s = Sender::new(7, 500, 0, 8000);
        for n in 0..200_000u32 {
            let numbers = s
                .relay(t, A, n as u16, n.wrapping_mul(160), false, 160)
                .unwrap();
            assert_eq!(numbers.sequence, (n as u16).wrapping_add(500));
        }
        assert_eq!(
            s.relay(t, A, (199_999 - 5) as u16, 0, false, 160)
                .map(|n| n.sequence),
            Some(((199_999 - 5) as u16).wrapping_add(500))
        );
    }
}

//! What is known about the stream that a leg receives: order, losses, jitter (RFC 3550 A.1, A.3, A.8).

use std::time::{Duration, Instant};

use super::packet::Header;
use super::quality::{BurstFigures, Bursts};

/// A jump forward by less is loss; by more it may be another stream (RFC 3550 A.1).
const DROPOUT_MAX: i16 = 3000;
/// How far back a packet may come and still be told from a duplicate.
const WINDOW: u16 = 64;
/// A jump back by less is a late packet; by more it may be another stream (RFC 3550 A.1: MAX_MISORDER).
const MISORDER_MAX: u16 = 300;
/// Packets of the source before are stragglers for so long after a change.
const STRAGGLERS: Duration = Duration::from_secs(1);

/// What became of a packet.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Arrival {
    /// The next one, or later ones got lost in between.
    InOrder,
    /// The first of a stream: the first ever, a new SSRC, or a sequence that started anew.
    NewSource,
    /// Earlier than the newest, in time to be used.
    Reordered,
    /// Seen before.
    Duplicate,
    /// Too old to be told from a duplicate, or of a source that was replaced.
    Late,
    /// Its sequence jumps so far that a second one has to confirm it.
    Unconfirmed,
}

impl Arrival {
    /// May it go on to a listener?
    pub fn is_usable(self) -> bool {
        matches!(self, Self::InOrder | Self::NewSource | Self::Reordered)
    }
}

/// A report block about what we receive (RFC 3550 §6.4.1), without its SSRC, LSR and DLSR.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Reception {
    pub fraction_lost: u8,
    /// Clamped to 24 signed bits when written.
    pub cumulative_lost: i32,
    pub highest_sequence: u32,
    /// In timestamp units.
    pub jitter: u32,
}

/// Statistics of one received stream after the other. What each packet needs comes first.
#[derive(Clone, Debug)]
#[repr(C)]
pub struct Receiver {
    epoch: Instant,
    ssrc: Option<u32>,
    /// Highest sequence number, extended by its cycles.
    highest: u64,
    base: u64,
    /// Bit i: `highest - i` was received.
    window: u64,
    /// Different packets of this source.
    received: u64,
    unconfirmed: Option<u16>,
    transit: Option<i32>,
    /// Sixteen times the estimate, as in A.8.
    jitter_scaled: u32,
    jitter_max: u32,
    previous: Option<(u32, Instant)>,
    lost_before: u64,
    expected_before: u64,
    /// Of this source.
    bursts: Bursts,
    expected_at_report: u64,
    received_at_report: u64,
    duplicates: u64,
    reordered: u64,
    late: u64,
    sources: u64,
}

impl Receiver {
    /// Bytes at the beginning that each packet needs.
    pub(crate) const USUAL_BYTES: usize = std::mem::offset_of!(Self, previous);

    /// `epoch` is any time not after the first packet: the zero of the arrival clock.
    pub fn new(epoch: Instant) -> Self {
        Self {
            epoch,
            ssrc: None,
            previous: None,
            highest: 0,
            base: 0,
            window: 0,
            received: 0,
            unconfirmed: None,
            transit: None,
            jitter_scaled: 0,
            jitter_max: 0,
            lost_before: 0,
            expected_before: 0,
            bursts: Bursts::default(),
            expected_at_report: 0,
            received_at_report: 0,
            duplicates: 0,
            reordered: 0,
            late: 0,
            sources: 0,
        }
    }

    /// Takes a packet into account. `clock_rate`: Hz of its timestamps; `None` for packets whose timestamp is not that of
    /// their sampling (telephone-events), which say nothing about jitter.
    #[inline]
    pub fn packet(&mut self, now: Instant, header: &Header, clock_rate: Option<u32>) -> Arrival {
        let arrival = self.place(now, header);
        match arrival {
            Arrival::InOrder | Arrival::NewSource => {
                if let Some(rate) = clock_rate {
                    self.jitter(now, header.timestamp, rate);
                }
            }
            Arrival::Reordered => self.reordered += 1,
            Arrival::Duplicate => self.duplicates += 1,
            Arrival::Late => self.late += 1,
            Arrival::Unconfirmed => {}
        }
        arrival
    }

    fn place(&mut self, now: Instant, header: &Header) -> Arrival {
        let sequence = header.sequence;
        if self.ssrc != Some(header.ssrc) {
            if let Some((ssrc, changed)) = self.previous
                && ssrc == header.ssrc
                && now.saturating_duration_since(changed) < STRAGGLERS
            {
                return Arrival::Late;
            }
            if let Some(old) = self.ssrc {
                self.previous = Some((old, now));
            }
            self.start(header);
            return Arrival::NewSource;
        }
        let delta = sequence.wrapping_sub(self.highest as u16) as i16;
        if (1..=DROPOUT_MAX).contains(&delta) {
            let step = delta as u64;
            if step > 1 {
                self.bursts.lost(self.base, self.highest + 1, step - 1);
            }
            self.highest += step;
            self.window = if step < 64 { self.window << step } else { 0 } | 1;
            self.received += 1;
            self.unconfirmed = None;
            return Arrival::InOrder;
        }
        let behind = delta.unsigned_abs();
        if delta <= 0 && behind < WINDOW {
            let bit = 1u64 << behind;
            if self.window & bit != 0 {
                return Arrival::Duplicate;
            }
            self.window |= bit;
            self.received += 1;
            // Packets that overtook the first one of all.
            self.base = self.base.min(self.highest - u64::from(behind));
            return Arrival::Reordered;
        }
        if delta <= 0 && behind < MISORDER_MAX {
            return Arrival::Late;
        }
        // A.1: two packets in sequence are needed to believe in a restart.
        if self.unconfirmed == Some(sequence) {
            self.start(header);
            return Arrival::NewSource;
        }
        self.unconfirmed = Some(sequence.wrapping_add(1));
        Arrival::Unconfirmed
    }

    fn start(&mut self, header: &Header) {
        self.lost_before = self.lost();
        self.expected_before = self.expected_in_all();
        self.bursts = Bursts::default();
        self.ssrc = Some(header.ssrc);
        // A cycle up, so that packets before the first have a number too.
        self.highest = 65536 + u64::from(header.sequence);
        self.base = self.highest;
        self.window = 1;
        self.received = 1;
        self.unconfirmed = None;
        self.transit = None;
        self.expected_at_report = 0;
        self.received_at_report = 0;
        self.sources += 1;
    }

    /// RFC 3550 A.8.
    fn jitter(&mut self, now: Instant, timestamp: u32, rate: u32) {
        let since = now.saturating_duration_since(self.epoch);
        let fraction = u64::from(since.subsec_nanos()) * u64::from(rate) / 1_000_000_000;
        let arrival = (since.as_secs() * u64::from(rate) + fraction) as u32;
        let transit = arrival.wrapping_sub(timestamp) as i32;
        if let Some(before) = self.transit {
            let d = (transit.wrapping_sub(before)).unsigned_abs();
            // A timestamp that jumps by seconds is another recording, not jitter.
            if d < 2 * rate {
                self.jitter_scaled += d;
                self.jitter_scaled -= (self.jitter_scaled - d + 8) >> 4;
                self.jitter_max = self.jitter_max.max(self.jitter_scaled >> 4);
            }
        }
        self.transit = Some(transit);
    }

    fn expected(&self) -> u64 {
        if self.ssrc.is_some() {
            self.highest - self.base + 1
        } else {
            0
        }
    }

    /// The SSRC that is received now.
    pub fn ssrc(&self) -> Option<u32> {
        self.ssrc
    }

    /// Packets lost over all sources.
    pub fn lost(&self) -> u64 {
        self.lost_before + self.expected().saturating_sub(self.received)
    }

    /// Packets that should have come, over all sources.
    pub fn expected_in_all(&self) -> u64 {
        self.expected_before + self.expected()
    }

    /// How the losses of this source fell.
    pub fn bursts(&self) -> BurstFigures {
        self.bursts.figures(self.highest)
    }

    /// Packets that came more than once.
    pub fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// Packets that came after a later one, in time.
    pub fn reordered(&self) -> u64 {
        self.reordered
    }

    /// Packets that came too late.
    pub fn late(&self) -> u64 {
        self.late
    }

    /// Streams begun after the first.
    pub fn source_changes(&self) -> u64 {
        self.sources.saturating_sub(1)
    }

    /// Jitter estimate in timestamp units.
    pub fn jitter_units(&self) -> u32 {
        self.jitter_scaled >> 4
    }

    /// Largest jitter estimate in timestamp units.
    pub fn jitter_units_max(&self) -> u32 {
        self.jitter_max
    }

    /// What a report block says (A.3); the fraction is that since the report before. `None`: nothing received.
    pub fn reception(&mut self) -> Option<Reception> {
        self.ssrc?;
        let expected = self.expected();
        let expected_interval = expected.saturating_sub(self.expected_at_report);
        let received_interval = self.received.saturating_sub(self.received_at_report);
        self.expected_at_report = expected;
        self.received_at_report = self.received;
        let lost_interval = expected_interval.saturating_sub(received_interval);
        let fraction = (lost_interval << 8)
            .checked_div(expected_interval)
            .unwrap_or(0);
        Some(Reception {
            fraction_lost: fraction.min(255) as u8,
            cumulative_lost: i32::try_from(expected.saturating_sub(self.received))
                .unwrap_or(i32::MAX),
            highest_sequence: (self.highest - 65536) as u32,
            jitter: self.jitter_units(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(ssrc: u32, sequence: u16, timestamp: u32) -> Header {
        Header {
            marker: false,
            payload_type: 0,
            sequence,
            timestamp,
            ssrc,
            payload: 12..172,
        }
    }

    fn feed(receiver: &mut Receiver, now: Instant, sequence: u16) -> Arrival {
        let timestamp = u32::from(sequence) * 160;
        receiver.packet(now, &header(1, sequence, timestamp), Some(8000))
    }

    #[test]
    fn losses_duplicates_and_reordering_are_told_apart_across_a_wrap() {
        let now = Instant::now();
        let mut r = Receiver::new(now);
        let expected = [
            (65533, Arrival::NewSource),
            (65534, Arrival::InOrder),
            (0, Arrival::InOrder),
            (65535, Arrival::Reordered),
            (65535, Arrival::Duplicate),
            (0, Arrival::Duplicate),
            (4, Arrival::InOrder),
            (2, Arrival::Reordered),
            (100, Arrival::InOrder),
            (3, Arrival::Late),
        ];
        for (sequence, arrival) in expected {
            assert_eq!(feed(&mut r, now, sequence), arrival, "{sequence}");
        }
        // 65533..=100 are 104; 65533 65534 65535 0 2 4 100 came.
        assert_eq!(r.lost(), 104 - 7);
        assert_eq!((r.duplicates(), r.reordered(), r.late()), (2, 2, 1));
        assert_eq!(r.reception().unwrap().highest_sequence, 65536 + 100);
    }

    #[test]
    fn a_jump_is_believed_after_two_packets_in_sequence() {
        let now = Instant::now();
        let mut r = Receiver::new(now);
        feed(&mut r, now, 10);
        assert_eq!(feed(&mut r, now, 20000), Arrival::Unconfirmed);
        assert_eq!(feed(&mut r, now, 11), Arrival::InOrder);
        assert_eq!(feed(&mut r, now, 20000), Arrival::Unconfirmed);
        assert_eq!(feed(&mut r, now, 20001), Arrival::NewSource);
        assert_eq!(feed(&mut r, now, 20002), Arrival::InOrder);
        assert_eq!(r.lost(), 0);
        assert_eq!(r.source_changes(), 1);
    }

    #[test]
    fn a_new_ssrc_starts_anew_and_stragglers_of_the_old_do_not_switch_back() {
        let now = Instant::now();
        let mut r = Receiver::new(now);
        assert_eq!(r.packet(now, &header(1, 5, 0), None), Arrival::NewSource);
        assert_eq!(r.packet(now, &header(1, 7, 0), None), Arrival::InOrder);
        assert_eq!(r.packet(now, &header(2, 900, 0), None), Arrival::NewSource);
        assert_eq!(r.packet(now, &header(1, 8, 0), None), Arrival::Late);
        assert_eq!(r.packet(now, &header(2, 901, 0), None), Arrival::InOrder);
        assert_eq!(r.lost(), 1, "the loss of the old source is kept");
        let later = now + Duration::from_secs(2);
        assert_eq!(
            r.packet(later, &header(1, 9, 0), None),
            Arrival::NewSource,
            "a source may come back for good"
        );
    }

    #[test]
    fn jitter_follows_the_formula_and_survives_a_timestamp_jump() {
        let start = Instant::now();
        let mut r = Receiver::new(start);
        let mut at = start;
        for n in 0..2000u16 {
            // Every second packet is 8 ms late: |D| is 64 units each time.
            let late = if n % 2 == 1 { 8 } else { 0 };
            feed(&mut r, at + Duration::from_millis(late), n);
            at += Duration::from_millis(20);
        }
        assert!(
            (60..=64).contains(&r.jitter_units()),
            "{}",
            r.jitter_units()
        );
        let before = r.jitter_units();
        r.packet(at, &header(1, 2000, 4_000_000_000), Some(8000));
        assert_eq!(r.jitter_units(), before);
    }

    #[test]
    fn the_fraction_of_a_report_is_that_since_the_report_before() {
        let now = Instant::now();
        let mut r = Receiver::new(now);
        assert_eq!(r.reception(), None);
        for n in 0..100 {
            if n % 4 != 1 {
                feed(&mut r, now, n);
            }
        }
        let first = r.reception().unwrap();
        assert_eq!(first.cumulative_lost, 25);
        assert_eq!(first.fraction_lost, 64);
        for n in 100..200 {
            feed(&mut r, now, n);
        }
        let second = r.reception().unwrap();
        assert_eq!((second.cumulative_lost, second.fraction_lost), (25, 0));
    }
}

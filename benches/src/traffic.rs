//! What the legs of a run say, and what they have to hear: filled and checked packet by packet.

use std::time::Duration;

/// Room for any packet that is sent or expected, in bytes.
pub const PACKET_MAX: usize = 1500;
/// RTP header and 20 ms of G.711.
pub const RELAYED_LEN: usize = 172;
const HEADER_LEN: usize = 12;
/// Where the pattern of a relayed packet begins: behind header, leg, number and time.
const PATTERN: usize = 28;

/// What a received packet is worth.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Arrived {
    /// One that counts as received.
    Right {
        /// When it was sent, as [`Traffic::fill`] was told; `None`: it does not say.
        sent: Option<Duration>,
        /// Its sequence number follows the one before.
        in_sequence: bool,
    },
    /// Foreign, changed, cut off or twice.
    Wrong,
    /// Neither here nor there: a packet that may come, and does not count.
    Expected,
}

/// The talk of the legs of a run.
pub trait Traffic: Send {
    /// A run of so many legs and packets a leg begins.
    fn begin(&mut self, legs: usize, frames: usize);

    /// Writes packet `number` of leg `leg`, sent at `now` (wall clock), and says how long it is; 0: nothing is sent.
    fn fill(
        &mut self,
        leg: usize,
        number: u32,
        now: Duration,
        packet: &mut [u8; PACKET_MAX],
    ) -> usize;

    /// Judges a packet that leg `leg` received.
    fn check(&mut self, leg: usize, packet: &[u8]) -> Arrived;
}

/// Writes an RTP header (RFC 3550 §5.1) without extensions.
pub fn header(packet: &mut [u8], payload_type: u8, sequence: u16, timestamp: u32, ssrc: u32) {
    packet[0] = 0x80;
    packet[1] = payload_type;
    packet[2..4].copy_from_slice(&sequence.to_be_bytes());
    packet[4..8].copy_from_slice(&timestamp.to_be_bytes());
    packet[8..12].copy_from_slice(&ssrc.to_be_bytes());
}

/// Follows the sequence numbers that a leg receives.
#[derive(Clone, Debug, Default)]
pub struct Sequence(Option<u16>);

impl Sequence {
    /// Does `number` follow the one before? The first always does.
    pub fn follows(&mut self, number: u16) -> bool {
        self.0
            .replace(number)
            .is_none_or(|last| number == last.wrapping_add(1))
    }
}

/// G.711 between legs `2n` and `2n + 1`: each packet has to come out of the other leg once, unchanged.
#[derive(Default)]
pub struct Relayed {
    /// For each leg, which packets of the other have come, by number.
    seen: Vec<Vec<bool>>,
    sequences: Vec<Sequence>,
}

impl Traffic for Relayed {
    fn begin(&mut self, legs: usize, frames: usize) {
        self.seen = vec![vec![false; frames]; legs];
        self.sequences = vec![Sequence::default(); legs];
    }

    fn fill(
        &mut self,
        leg: usize,
        number: u32,
        now: Duration,
        packet: &mut [u8; PACKET_MAX],
    ) -> usize {
        let id = leg as u32;
        header(
            packet,
            0,
            number as u16,
            number.wrapping_mul(160),
            0x5151_0000 ^ id,
        );
        packet[12..16].copy_from_slice(&id.to_be_bytes());
        packet[16..20].copy_from_slice(&number.to_be_bytes());
        packet[20..PATTERN].copy_from_slice(&(now.as_nanos() as u64).to_be_bytes());
        for (i, byte) in packet[PATTERN..RELAYED_LEN].iter_mut().enumerate() {
            *byte = pattern(leg, number, i);
        }
        RELAYED_LEN
    }

    fn check(&mut self, leg: usize, packet: &[u8]) -> Arrived {
        let other = leg ^ 1;
        let Ok(packet) = <&[u8; RELAYED_LEN]>::try_from(packet) else {
            return Arrived::Wrong;
        };
        let word = |at: usize| {
            u32::from_be_bytes([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]])
        };
        let number = word(16);
        let intact = packet[0] == 0x80
            && packet[1] & 0x7f == 0
            && word(HEADER_LEN) == other as u32
            && packet[PATTERN..]
                .iter()
                .enumerate()
                .all(|(i, &byte)| byte == pattern(other, number, i));
        let seen = self
            .seen
            .get_mut(leg)
            .and_then(|s| s.get_mut(number as usize));
        match seen {
            Some(seen) if intact && !*seen => *seen = true,
            _ => return Arrived::Wrong,
        }
        let sequence = u16::from_be_bytes([packet[2], packet[3]]);
        let sent = u64::from(word(20)) << 32 | u64::from(word(24));
        Arrived::Right {
            sent: Some(Duration::from_nanos(sent)),
            in_sequence: self
                .sequences
                .get_mut(leg)
                .is_some_and(|s| s.follows(sequence)),
        }
    }
}

fn pattern(leg: usize, number: u32, i: usize) -> u8 {
    (leg as u32)
        .wrapping_mul(31)
        .wrapping_add(number.wrapping_mul(7))
        .wrapping_add(i as u32) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn right(at: u64, in_sequence: bool) -> Arrived {
        Arrived::Right {
            sent: Some(Duration::from_nanos(at)),
            in_sequence,
        }
    }

    #[test]
    fn a_relayed_packet_counts_once_and_only_whole_from_the_right_leg() {
        let mut traffic = Relayed::default();
        traffic.begin(8, 10);
        let mut packet = [0; PACKET_MAX];
        let mut fill = |traffic: &mut Relayed, leg, number, at| {
            let len = traffic.fill(leg, number, Duration::from_nanos(at), &mut packet);
            packet[..len].to_vec()
        };
        let first = fill(&mut traffic, 7, 3, 77);
        assert_eq!(traffic.check(6, &first), right(77, true));
        assert_eq!(traffic.check(6, &first), Arrived::Wrong, "twice");
        let mut changed = fill(&mut traffic, 7, 4, 78);
        changed[100] ^= 1;
        assert_eq!(traffic.check(6, &changed), Arrived::Wrong, "changed");
        let foreign = fill(&mut traffic, 5, 4, 79);
        assert_eq!(
            traffic.check(6, &foreign),
            Arrived::Wrong,
            "a foreign leg's"
        );
        assert_eq!(traffic.check(6, &first[..171]), Arrived::Wrong, "cut off");
        let later = fill(&mut traffic, 7, 6, 80);
        assert_eq!(traffic.check(6, &later), right(80, false), "5 is missing");
    }
}

//! A packet of G.711 that says whose it is: run, call, side, number and the time it was sent, and a pattern that only this
//! packet has. What arrives is either exactly that packet or damage.

use super::{FRAME, Side};

const MAGIC: [u8; 4] = *b"SLT1";
/// Bytes that are told: run, call, side, number, time and their sum. Each is written as two halves, so that the byte 0x7f,
/// which is the same sample as 0xff, never occurs and a signature survives as samples too.
const TOLD: usize = 28;
/// Where the pattern begins.
const PATTERN: usize = 4 + 2 * TOLD;
/// A half byte is written as this and its value.
const HALF: u8 = 0x40;
/// Packets of one side of a call are never more: a day of them.
pub const NUMBERS_MAX: u32 = 86_400 * super::PER_SECOND;

/// Whose packet it is.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Signature {
    /// The run, so that leftovers of an earlier one are recognised.
    pub run: u32,
    pub call: u32,
    pub side: Side,
    /// Counts from 0 on each side of each call.
    pub number: u32,
    /// Wall clock in nanoseconds since 1970.
    pub sent_ns: u64,
}

/// What a payload is.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Reading {
    Signed(Signature),
    /// It begins as a signature and is not one: damaged on the way.
    Damaged,
    /// Somebody else's audio.
    Foreign,
}

impl Signature {
    /// Writes it as a payload.
    pub fn write(&self, payload: &mut [u8; FRAME]) {
        let mut told = [0; TOLD];
        told[..4].copy_from_slice(&self.run.to_be_bytes());
        told[4..8].copy_from_slice(&self.call.to_be_bytes());
        told[8] = self.side.number();
        told[12..16].copy_from_slice(&self.number.to_be_bytes());
        told[16..24].copy_from_slice(&self.sent_ns.to_be_bytes());
        let sum = sum(&told[..24]);
        told[24..].copy_from_slice(&sum.to_be_bytes());
        payload[..4].copy_from_slice(&MAGIC);
        for (halves, byte) in payload[4..PATTERN].chunks_exact_mut(2).zip(told) {
            halves[0] = HALF | byte >> 4;
            halves[1] = HALF | byte & 15;
        }
        for (byte, i) in payload[PATTERN..].iter_mut().zip(0..) {
            *byte = pattern(sum, i);
        }
    }

    /// Reads a payload.
    pub fn read(payload: &[u8]) -> Reading {
        if !payload.starts_with(&MAGIC) {
            return Reading::Foreign;
        }
        let Ok(payload) = <&[u8; FRAME]>::try_from(payload) else {
            return Reading::Damaged;
        };
        let mut told = [0; TOLD];
        let mut whole = true;
        for (byte, halves) in told.iter_mut().zip(payload[4..PATTERN].chunks_exact(2)) {
            whole &= halves[0] & 0xf0 == HALF && halves[1] & 0xf0 == HALF;
            *byte = halves[0] << 4 | halves[1] & 15;
        }
        let word =
            |at: usize| u32::from_be_bytes([told[at], told[at + 1], told[at + 2], told[at + 3]]);
        let expected = sum(&told[..24]);
        whole &= word(24) == expected;
        for (&byte, i) in payload[PATTERN..].iter().zip(0..) {
            whole &= byte == pattern(expected, i);
        }
        let side = match told[8] {
            0 => Side::Caller,
            _ => Side::Callee,
        };
        let signature = Self {
            run: word(0),
            call: word(4),
            side,
            number: word(12),
            sent_ns: u64::from(word(16)) << 32 | u64::from(word(20)),
        };
        if whole && told[8] < 2 && signature.number < NUMBERS_MAX {
            Reading::Signed(signature)
        } else {
            Reading::Damaged
        }
    }
}

/// FNV-1a.
fn sum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |sum, &byte| {
        (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

const fn pattern(sum: u32, i: u8) -> u8 {
    let byte = (sum as u8)
        .wrapping_add(i.wrapping_mul((sum >> 8) as u8 | 1))
        .wrapping_add((sum >> 16) as u8);
    if byte == 0x7f { 0x7e } else { byte }
}

#[cfg(test)]
mod tests {
    use super::super::g711;
    use super::*;

    #[test]
    fn every_flipped_bit_is_damage() {
        let signature = Signature {
            run: 9,
            call: 1234,
            side: Side::Callee,
            number: 77,
            sent_ns: 1_700_000_000_123_456_789,
        };
        let mut payload = [0; FRAME];
        signature.write(&mut payload);
        assert_eq!(Signature::read(&payload), Reading::Signed(signature));
        for at in 4..FRAME {
            for bit in 0..8 {
                let mut changed = payload;
                changed[at] ^= 1 << bit;
                assert_eq!(Signature::read(&changed), Reading::Damaged, "{at}.{bit}");
            }
        }
        let as_samples = payload.map(|byte| g711::to_ulaw(g711::from_ulaw(byte)));
        assert_eq!(as_samples, payload);
        assert_eq!(Signature::read(&payload[..100]), Reading::Damaged);
        assert_eq!(Signature::read(&[0xff; FRAME]), Reading::Foreign);
        assert_eq!(Signature::read(b""), Reading::Foreign);
    }
}

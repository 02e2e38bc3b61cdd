//! The 76 parameters of a frame (GSM 06.10 table 1.1) and their two bit layouts: 33 bytes as in RTP and `.gsm` files
//! (RFC 3551 §4.5.8), and pairs of frames in 65 bytes as in WAV files (format 49).

/// Bytes of a frame in RTP and `.gsm` files.
pub const FRAME_BYTES: usize = 33;
/// Bytes of two frames in a WAV file.
pub const WAV49_BYTES: usize = 65;
/// Samples of a frame: 20 ms.
pub const FRAME_SAMPLES: usize = 160;

/// What the first four bits of a frame in RTP are.
const SIGNATURE: u8 = 0xD;
/// Bits of the log area ratios.
const LAR_BITS: [u32; 8] = [6, 6, 5, 5, 4, 4, 3, 3];

/// A quarter of a frame, 5 ms.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Subframe {
    /// Lag of the long term predictor, 40..=120; others occur in broken frames.
    pub(super) lag: u8,
    /// Its gain, 0..=3.
    pub(super) gain: u8,
    /// Which of four grids the pulses are on.
    pub(super) grid: u8,
    /// Their block maximum, 0..=63.
    pub(super) maximum: u8,
    /// 0..=7 each.
    pub(super) pulses: [u8; 13],
}

/// A frame.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Frame {
    /// Log area ratios.
    pub(super) lars: [u8; 8],
    pub(super) subframes: [Subframe; 4],
}

impl Frame {
    /// Each parameter with its bits, in the order of transmission.
    fn each(&mut self, mut take: impl FnMut(&mut u8, u32)) {
        for (lar, bits) in self.lars.iter_mut().zip(LAR_BITS) {
            take(lar, bits);
        }
        for sub in &mut self.subframes {
            take(&mut sub.lag, 7);
            take(&mut sub.gain, 2);
            take(&mut sub.grid, 2);
            take(&mut sub.maximum, 6);
            for pulse in &mut sub.pulses {
                take(pulse, 3);
            }
        }
    }

    /// Do 33 bytes begin as a frame does?
    pub(super) fn is_signed(bytes: &[u8; FRAME_BYTES]) -> bool {
        bytes[0] >> 4 == SIGNATURE
    }

    /// From 33 bytes; `None`: the signature is not there.
    pub(super) fn parse(bytes: &[u8; FRAME_BYTES]) -> Option<Self> {
        if !Self::is_signed(bytes) {
            return None;
        }
        let mut frame = Self::default();
        let mut at = 4;
        frame.each(|value, bits| {
            *value = 0;
            for _ in 0..bits {
                *value = *value << 1 | (bytes[at / 8] >> (7 - at % 8) & 1);
                at += 1;
            }
        });
        Some(frame)
    }

    /// To 33 bytes.
    pub(super) fn bytes(mut self) -> [u8; FRAME_BYTES] {
        let mut out = [0; FRAME_BYTES];
        out[0] = SIGNATURE << 4;
        let mut at = 4;
        self.each(|value, bits| {
            for bit in (0..bits).rev() {
                out[at / 8] |= (*value >> bit & 1) << (7 - at % 8);
                at += 1;
            }
        });
        out
    }

    /// From the 65 bytes of a WAV file: lowest bits first, without signatures.
    pub(super) fn parse_wav49(bytes: &[u8; WAV49_BYTES]) -> [Self; 2] {
        let mut frames = [Self::default(); 2];
        let mut at = 0;
        for frame in &mut frames {
            frame.each(|value, bits| {
                *value = 0;
                for bit in 0..bits {
                    *value |= (bytes[at / 8] >> (at % 8) & 1) << bit;
                    at += 1;
                }
            });
        }
        frames
    }

    /// To the 65 bytes of a WAV file.
    pub(super) fn bytes_wav49(mut frames: [Self; 2]) -> [u8; WAV49_BYTES] {
        let mut out = [0; WAV49_BYTES];
        let mut at = 0;
        for frame in &mut frames {
            frame.each(|value, bits| {
                for bit in 0..bits {
                    out[at / 8] |= (*value >> bit & 1) << (at % 8);
                    at += 1;
                }
            });
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_layouts_hold_every_bit() {
        let mut bytes = [0u8; FRAME_BYTES];
        let mut seed = 1u32;
        for byte in &mut bytes {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *byte = (seed >> 24) as u8;
        }
        assert_eq!(Frame::parse(&bytes), None);
        bytes[0] = bytes[0] & 0x0F | 0xD0;
        let frame = Frame::parse(&bytes).unwrap();
        assert_eq!(frame.bytes(), bytes);
        let other = Frame {
            lars: [1; 8],
            ..frame
        };
        let wav = Frame::bytes_wav49([frame, other]);
        assert_eq!(Frame::parse_wav49(&wav), [frame, other]);
    }
}

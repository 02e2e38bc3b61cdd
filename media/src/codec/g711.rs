//! G.711 by tables that the compiler computes: bit exact to ITU-T G.191 (`ulaw_compress`, `alaw_compress` and their
//! inverses) over all inputs.

const fn ulaw_expand(code: u8) -> i16 {
    let code = !code;
    let exponent = (code >> 4) & 7;
    let mantissa = (code & 15) as i32;
    // 33 is the bias of the 14 bit scale; two more bits make 16.
    let magnitude = (((2 * mantissa + 33) << exponent) - 33) << 2;
    (if code & 0x80 != 0 {
        -magnitude
    } else {
        magnitude
    }) as i16
}

const fn alaw_expand(code: u8) -> i16 {
    let code = code ^ 0x55;
    let exponent = (code >> 4) & 7;
    let mantissa = (code & 15) as i32;
    let magnitude = if exponent == 0 {
        (mantissa << 4) + 8
    } else {
        ((mantissa << 4) + 0x108) << (exponent - 1)
    };
    (if code & 0x80 != 0 {
        magnitude
    } else {
        -magnitude
    }) as i16
}

const fn ulaw_compress(sample: i16) -> u8 {
    let negative = sample < 0;
    // One's complement of negative numbers, as G.191 does: -1 and 0 share a magnitude.
    let mut magnitude = ((if negative { !sample } else { sample }) >> 2) as i32 + 33;
    if magnitude > 0x1FFF {
        magnitude = 0x1FFF;
    }
    let exponent = 26 - magnitude.leading_zeros() as i32;
    let mantissa = (magnitude >> (exponent + 1)) & 15;
    let code = ((exponent << 4) | mantissa) as u8;
    !(if negative { code | 0x80 } else { code })
}

const fn alaw_compress(sample: i16) -> u8 {
    let negative = sample < 0;
    let magnitude = ((if negative { !sample } else { sample }) >> 4) as i32;
    let code = if magnitude > 15 {
        let shift = 27 - magnitude.leading_zeros() as i32;
        (((shift + 1) << 4) | ((magnitude >> shift) & 15)) as u8
    } else {
        magnitude as u8
    };
    (if negative { code } else { code | 0x80 }) ^ 0x55
}

pub(crate) static ULAW_TO_LINEAR: [i16; 256] = {
    let mut table = [0; 256];
    let mut code = 0;
    while code < 256 {
        table[code] = ulaw_expand(code as u8);
        code += 1;
    }
    table
};

pub(crate) static ALAW_TO_LINEAR: [i16; 256] = {
    let mut table = [0; 256];
    let mut code = 0;
    while code < 256 {
        table[code] = alaw_expand(code as u8);
        code += 1;
    }
    table
};

/// By the upper 14 bits of a sample: u-law does not see the lower two.
static LINEAR_TO_ULAW: [u8; 16384] = {
    let mut table = [0; 16384];
    let mut index = 0;
    while index < 16384 {
        table[index] = ulaw_compress(((index as u16) << 2) as i16);
        index += 1;
    }
    table
};

/// By the upper 12 bits of a sample: A-law does not see the lower four.
static LINEAR_TO_ALAW: [u8; 4096] = {
    let mut table = [0; 4096];
    let mut index = 0;
    while index < 4096 {
        table[index] = alaw_compress(((index as u16) << 4) as i16);
        index += 1;
    }
    table
};

pub(crate) static ULAW_TO_ALAW: [u8; 256] = {
    let mut table = [0; 256];
    let mut code = 0;
    while code < 256 {
        table[code] = alaw_compress(ulaw_expand(code as u8));
        code += 1;
    }
    table
};

pub(crate) static ALAW_TO_ULAW: [u8; 256] = {
    let mut table = [0; 256];
    let mut code = 0;
    while code < 256 {
        table[code] = ulaw_compress(alaw_expand(code as u8));
        code += 1;
    }
    table
};

/// The two laws. What they do needs no state, so it can be done to any packet by itself.
#[derive(Copy, Clone, Eq, PartialEq, Hash, Debug)]
pub enum G711 {
    Ulaw,
    Alaw,
}

impl G711 {
    /// Decodes as many bytes as fit and says how many samples came out.
    #[inline]
    pub fn decode(self, payload: &[u8], samples: &mut [i16]) -> usize {
        let table = match self {
            Self::Ulaw => &ULAW_TO_LINEAR,
            Self::Alaw => &ALAW_TO_LINEAR,
        };
        for (sample, &byte) in samples.iter_mut().zip(payload) {
            *sample = table[usize::from(byte)];
        }
        payload.len().min(samples.len())
    }

    /// Encodes as many samples as fit and says how many bytes came out.
    #[inline]
    pub fn encode(self, samples: &[i16], payload: &mut [u8]) -> usize {
        match self {
            Self::Ulaw => {
                for (byte, &sample) in payload.iter_mut().zip(samples) {
                    *byte = ulaw_encode(sample);
                }
            }
            Self::Alaw => {
                for (byte, &sample) in payload.iter_mut().zip(samples) {
                    *byte = alaw_encode(sample);
                }
            }
        }
        samples.len().min(payload.len())
    }

    /// Rewrites a payload of this law into the other.
    #[inline]
    pub fn transcode(self, to: Self, payload: &mut [u8]) {
        let table = match (self, to) {
            (Self::Ulaw, Self::Alaw) => &ULAW_TO_ALAW,
            (Self::Alaw, Self::Ulaw) => &ALAW_TO_ULAW,
            (Self::Ulaw, Self::Ulaw) | (Self::Alaw, Self::Alaw) => return,
        };
        for byte in payload {
            *byte = table[usize::from(*byte)];
        }
    }
}

/// Decodes a u-law byte.
#[inline]
pub fn ulaw_decode(code: u8) -> i16 {
    ULAW_TO_LINEAR[usize::from(code)]
}

/// Decodes an A-law byte.
#[inline]
pub fn alaw_decode(code: u8) -> i16 {
    ALAW_TO_LINEAR[usize::from(code)]
}

/// Encodes a 16 bit linear sample as u-law.
#[inline]
pub fn ulaw_encode(sample: i16) -> u8 {
    LINEAR_TO_ULAW[usize::from(sample as u16 >> 2)]
}

/// Encodes a 16 bit linear sample as A-law.
#[inline]
pub fn alaw_encode(sample: i16) -> u8 {
    LINEAR_TO_ALAW[usize::from(sample as u16 >> 4)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transcoded_payload_sounds_as_decoded_and_encoded_again() {
        for (from, to) in [(G711::Ulaw, G711::Alaw), (G711::Alaw, G711::Ulaw)] {
            let mut payload: Vec<u8> = (0..=255).collect();
            let mut samples = [0i16; 256];
            from.decode(&payload, &mut samples);
            let mut expected = [0u8; 256];
            to.encode(&samples, &mut expected);
            from.transcode(to, &mut payload);
            assert_eq!(payload, expected);
        }
    }

    #[test]
    fn short_outputs_take_what_fits() {
        let mut samples = [0i16; 3];
        assert_eq!(G711::Ulaw.decode(&[0xFF; 10], &mut samples), 3);
        let mut bytes = [0u8; 2];
        assert_eq!(G711::Alaw.encode(&[0; 10], &mut bytes), 2);
    }

    /// G.191's `ulaw_compress`, as written there: search of the segment, complement of the low nibble.
    fn reference_ulaw(sample: i16) -> u8 {
        let sample = i32::from(sample);
        let mut magnitude = if sample < 0 {
            ((!sample) >> 2) + 33
        } else {
            (sample >> 2) + 33
        };
        magnitude = magnitude.min(0x1FFF);
        let mut segment = 1;
        let mut rest = magnitude >> 6;
        while rest != 0 {
            segment += 1;
            rest >>= 1;
        }
        let high = 8 - segment;
        let low = 0xF - ((magnitude >> segment) & 0xF);
        let code = (high << 4) | low;
        (if sample >= 0 { code | 0x80 } else { code }) as u8
    }

    /// G.191's `alaw_compress`.
    fn reference_alaw(sample: i16) -> u8 {
        let sample = i32::from(sample);
        let mut code = if sample < 0 {
            (!sample) >> 4
        } else {
            sample >> 4
        };
        if code > 15 {
            let mut exponent = 1;
            while code > 16 + 15 {
                code >>= 1;
                exponent += 1;
            }
            code = code - 16 + (exponent << 4);
        }
        if sample >= 0 {
            code |= 0x80;
        }
        (code ^ 0x55) as u8
    }

    #[test]
    fn encoding_is_bit_exact_over_all_inputs() {
        for sample in i16::MIN..=i16::MAX {
            assert_eq!(
                ulaw_encode(sample),
                reference_ulaw(sample),
                "u-law {sample}"
            );
            assert_eq!(
                alaw_encode(sample),
                reference_alaw(sample),
                "A-law {sample}"
            );
        }
    }

    #[test]
    fn decoding_gives_the_values_of_the_recommendation() {
        for (code, sample) in [
            (0x00, -32124),
            (0x0F, -16764),
            (0x10, -15996),
            (0x7E, -8),
            (0x7F, 0),
            (0x80, 32124),
            (0xFE, 8),
            (0xFF, 0),
        ] {
            assert_eq!(ulaw_decode(code), sample, "u-law {code:#x}");
        }
        for (code, sample) in [
            (0x55, -8),
            (0xD5, 8),
            (0x2A, -32256),
            (0xAA, 32256),
            (0xD4, 24),
            (0x45, -264),
        ] {
            assert_eq!(alaw_decode(code), sample, "A-law {code:#x}");
        }
    }

    #[test]
    fn every_code_survives_decoding_and_encoding() {
        for code in 0..=255u8 {
            // u-law has two zeros; the negative one becomes the positive.
            let expected = if code == 0x7F { 0xFF } else { code };
            assert_eq!(ulaw_encode(ulaw_decode(code)), expected);
            assert_eq!(alaw_encode(alaw_decode(code)), code);
        }
    }
}

//! G.711: a byte for a sample, by both laws (ITU-T G.711).

/// The sample of a byte of µ-law.
pub fn from_ulaw(byte: u8) -> i16 {
    let byte = !byte;
    let magnitude = ((i32::from(byte & 0x0f) << 3) + 0x84) << ((byte & 0x70) >> 4);
    let sample = magnitude - 0x84;
    (if byte & 0x80 == 0 { sample } else { -sample }) as i16
}

/// The byte of µ-law that is nearest to a sample.
pub fn to_ulaw(sample: i16) -> u8 {
    let magnitude = i32::from(sample).abs().min(32_635) + 0x84;
    let exponent = (31 - magnitude.leading_zeros()) - 7;
    let mantissa = (magnitude >> (exponent + 3)) & 0x0f;
    let sign = if sample < 0 { 0x80 } else { 0 };
    !(sign | (exponent << 4) as u8 | mantissa as u8)
}

/// The sample of a byte of A-law.
pub fn from_alaw(byte: u8) -> i16 {
    let byte = byte ^ 0x55;
    let (exponent, mantissa) = ((byte & 0x70) >> 4, i32::from(byte & 0x0f));
    let magnitude = match exponent {
        0 => (mantissa << 4) + 8,
        _ => ((mantissa << 4) + 0x108) << (exponent - 1),
    };
    (if byte & 0x80 == 0 {
        -magnitude
    } else {
        magnitude
    }) as i16
}

/// The byte of A-law that is nearest to a sample.
pub fn to_alaw(sample: i16) -> u8 {
    let magnitude = (i32::from(sample).abs()).min(32_767);
    let byte = if magnitude < 256 {
        magnitude >> 4
    } else {
        let exponent = (31 - magnitude.leading_zeros() as i32) - 7;
        (exponent << 4) | ((magnitude >> (exponent + 3)) & 0x0f)
    };
    let sign = if sample < 0 { 0 } else { 0x80 };
    (byte as u8 | sign) ^ 0x55
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_comes_back_from_its_sample() {
        for byte in 0..=255_u8 {
            assert_eq!(to_alaw(from_alaw(byte)), byte, "A-law {byte:#x}");
            // µ-law has two zeros.
            if byte != 0x7f {
                assert_eq!(to_ulaw(from_ulaw(byte)), byte, "u-law {byte:#x}");
            }
        }
        assert_eq!((from_ulaw(0xff), from_ulaw(0x80)), (0, 32_124));
        assert_eq!((from_alaw(0xd5), from_alaw(0xaa)), (8, 32_256));
    }
}

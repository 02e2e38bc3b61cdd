//! How loud audio is.

/// Level of audio in dB below overload, 0 (a square wave at the limits) to 127 (silence): the scale of RFC 3389 and
/// RFC 6464.
pub fn level_dbov(samples: &[i16]) -> u8 {
    let power: f64 = samples.iter().map(|&s| f64::from(s).powi(2)).sum();
    if power <= 0.0 {
        return 127;
    }
    let ratio = power / samples.len() as f64 / (32_768.0 * 32_768.0);
    (-10.0 * ratio.log10()).round().clamp(0.0, 127.0) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_is_told_in_decibels_of_overload() {
        assert_eq!(level_dbov(&[]), 127);
        assert_eq!(level_dbov(&[0; 5]), 127);
        assert_eq!(level_dbov(&[32_767, -32_768]), 0);
        assert_eq!(level_dbov(&[16_384; 10]), 6);
        assert_eq!(level_dbov(&[328; 10]), 40);
    }
}

//! Mixing.

/// Adds `other` onto `sum`, clamped to 16 bits, as far as both reach.
#[inline]
pub fn add_clamped(sum: &mut [i16], other: &[i16]) {
    for (s, &o) in sum.iter_mut().zip(other) {
        *s = s.saturating_add(o);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_that_does_not_fit_is_clamped() {
        let mut sum = [30000, -30000, 5];
        add_clamped(&mut sum, &[10000, -10000, -7]);
        assert_eq!(sum, [i16::MAX, i16::MIN, -2]);
    }
}

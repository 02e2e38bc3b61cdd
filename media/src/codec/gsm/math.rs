//! The arithmetic of GSM 06.10 §5.1: 16 and 32 bit words that saturate.

/// a + b, saturated.
#[inline]
pub(super) fn add(a: i16, b: i16) -> i16 {
    a.saturating_add(b)
}

/// a - b, saturated.
#[inline]
pub(super) fn sub(a: i16, b: i16) -> i16 {
    a.saturating_sub(b)
}

/// Product of two fractions of 15 bits, cut; -1 times -1 is not asked for.
#[inline]
pub(super) fn mult(a: i16, b: i16) -> i16 {
    ((i32::from(a) * i32::from(b)) >> 15) as i16
}

/// Product of two fractions of 15 bits, rounded; -1 times -1 is almost 1.
#[inline]
pub(super) fn mult_r(a: i16, b: i16) -> i16 {
    let product = (i32::from(a) * i32::from(b) + 16_384) >> 15;
    product.min(32_767) as i16
}

/// Absolute value, saturated.
#[inline]
pub(super) fn abs(a: i16) -> i16 {
    a.saturating_abs()
}

/// How far a word other than 0 can be shifted left.
#[inline]
pub(super) fn norm(a: i32) -> u32 {
    (if a < 0 { !a } else { a }).leading_zeros() - 1
}

/// A fraction of 15 bits: numerator by denominator, 0 <= numerator <= denominator.
pub(super) fn div(numerator: i16, denominator: i16) -> i16 {
    if numerator == 0 {
        return 0;
    }
    let mut rest = i32::from(numerator);
    let mut quotient = 0i16;
    for _ in 0..15 {
        quotient <<= 1;
        rest <<= 1;
        if rest >= i32::from(denominator) {
            rest -= i32::from(denominator);
            quotient += 1;
        }
    }
    quotient
}

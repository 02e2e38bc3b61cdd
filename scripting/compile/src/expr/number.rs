//! Numbers with the 64-bit mantissa of an x87 long double, which the language computes with and prints by `%.18Lg`.
//!
//! A number is the unevaluated sum of two doubles; every result is rounded to 64 bits, so `0.1 + 0.2 = 0.3` comes out as it does
//! in the original. The range of exponents is that of a double.

use std::cmp::Ordering;
use std::fmt;

/// A number of the expression language.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Number {
    high: f64,
    low: f64,
}

fn two_sum(left: f64, right: f64) -> (f64, f64) {
    let sum = left + right;
    let part = sum - left;
    (sum, (left - (sum - part)) + (right - part))
}

fn two_product(left: f64, right: f64) -> (f64, f64) {
    let product = left * right;
    (product, left.mul_add(right, -product))
}

impl From<i64> for Number {
    fn from(integer: i64) -> Self {
        Self::from_i128(i128::from(integer))
    }
}

impl From<f64> for Number {
    fn from(high: f64) -> Self {
        Self { high, low: 0.0 }
    }
}

impl Number {
    /// The number 0.
    pub const ZERO: Self = Self {
        high: 0.0,
        low: 0.0,
    };

    /// What division by zero gives: the largest 32-bit integer.
    pub(super) const DIVISION_BY_ZERO: Self = Self {
        high: 2_147_483_647.0,
        low: 0.0,
    };

    fn from_i128(integer: i128) -> Self {
        let high = integer as f64;
        Self {
            high,
            low: (integer - high as i128) as f64,
        }
    }

    fn normal(high: f64, low: f64) -> Self {
        let (high, low) = two_sum(high, low);
        if high.is_finite() {
            Self { high, low }
        } else {
            Self { high, low: 0.0 }
        }
    }

    /// Rounds to a mantissa of 64 bits.
    fn rounded(self) -> Self {
        if self.low == 0.0 || !self.high.is_normal() {
            return self;
        }
        let bits = self.high.to_bits();
        let mut exponent = i32::try_from((bits >> 52) & 0x7ff).unwrap_or(0) - 1023;
        if bits & ((1 << 52) - 1) == 0 && (self.low < 0.0) != (self.high < 0.0) {
            // Just below a power of two the last place is worth half as much.
            exponent -= 1;
        }
        let unit = 2f64.powi(exponent - 63);
        if unit == 0.0 {
            return self;
        }
        Self::normal(self.high, (self.low / unit).round_ties_even() * unit)
    }

    fn plus(self, other: Self) -> Self {
        let (high, carry) = two_sum(self.high, other.high);
        let (low, rest) = two_sum(self.low, other.low);
        let part = Self::normal(high, carry + low);
        Self::normal(part.high, part.low + rest)
    }

    fn times(self, other: Self) -> Self {
        let (high, carry) = two_product(self.high, other.high);
        Self::normal(
            high,
            carry + (self.high * other.low + self.low * other.high),
        )
    }

    fn over(self, other: Self) -> Self {
        let first = self.high / other.high;
        if !first.is_finite() || first == 0.0 {
            return Self::from(first);
        }
        let rest = self.plus(other.times(Self::from(-first)));
        let second = rest.high / other.high;
        let rest = rest.plus(other.times(Self::from(-second)));
        let third = rest.high / other.high;
        Self::normal(first, second).plus(Self::from(third))
    }

    /// Sum.
    #[must_use]
    pub fn sum(self, other: Self) -> Self {
        self.plus(other).rounded()
    }

    /// Difference.
    #[must_use]
    pub fn subtract(self, other: Self) -> Self {
        self.plus(other.negate()).rounded()
    }

    /// Product.
    #[must_use]
    pub fn multiply(self, other: Self) -> Self {
        self.times(other).rounded()
    }

    /// Quotient; 2147483647 when `other` is zero.
    #[must_use]
    pub fn divide(self, other: Self) -> Self {
        if other.is_zero() {
            Self::DIVISION_BY_ZERO
        } else {
            self.over(other).rounded()
        }
    }

    /// Remainder with the sign of `self`; 0 when `other` is zero.
    #[must_use]
    pub fn remainder(self, other: Self) -> Self {
        if other.is_zero() || !self.high.is_finite() {
            return Self::ZERO;
        }
        if !other.high.is_finite() {
            return self;
        }
        let quotient = self.over(other);
        if quotient.high.abs() > 1e30 {
            return Self::from(self.high % other.high);
        }
        let mut rest = self.plus(quotient.truncate().times(other).negate());
        let step = other.abs();
        // The quotient may have been rounded across an integer.
        if !rest.is_zero() && (rest.high < 0.0) != (self.high < 0.0) {
            rest = rest.plus(if self.high < 0.0 { step.negate() } else { step });
        }
        if rest.abs().compare(step) != Some(Ordering::Less) {
            rest = rest.plus(if self.high < 0.0 { step } else { step.negate() });
        }
        rest.rounded()
    }

    /// `-self`.
    #[must_use]
    pub fn negate(self) -> Self {
        Self {
            high: -self.high,
            low: -self.low,
        }
    }

    /// Without its sign.
    #[must_use]
    pub fn abs(self) -> Self {
        if self.high < 0.0 { self.negate() } else { self }
    }

    /// Is it 0?
    #[must_use]
    pub fn is_zero(self) -> bool {
        self.high == 0.0
    }

    /// Order; `None` when one is not a number.
    #[must_use]
    pub fn compare(self, other: Self) -> Option<Ordering> {
        match self.high.partial_cmp(&other.high) {
            Some(Ordering::Equal) => self.low.partial_cmp(&other.low),
            order => order,
        }
    }

    /// The nearest double.
    #[must_use]
    pub fn to_f64(self) -> f64 {
        self.high
    }

    /// The largest integer not above.
    #[must_use]
    pub fn floor(self) -> Self {
        let high = self.high.floor();
        if high == self.high {
            Self::normal(high, self.low.floor())
        } else {
            Self::from(high)
        }
    }

    /// The smallest integer not below.
    #[must_use]
    pub fn ceil(self) -> Self {
        self.negate().floor().negate()
    }

    /// Towards zero.
    #[must_use]
    pub fn truncate(self) -> Self {
        if self.high < 0.0 {
            self.ceil()
        } else {
            self.floor()
        }
    }

    /// To the nearest integer, halves away from zero.
    #[must_use]
    pub fn round(self) -> Self {
        let half = Self::from(0.5);
        if self.high < 0.0 {
            self.plus(half.negate()).ceil()
        } else {
            self.plus(half).floor()
        }
    }

    /// To the nearest integer, halves to even.
    #[must_use]
    pub fn round_to_even(self) -> Self {
        let below = self.floor();
        let rest = self.plus(below.negate());
        let up = match rest.compare(Self::from(0.5)) {
            Some(Ordering::Less) | None => false,
            Some(Ordering::Greater) => true,
            Some(Ordering::Equal) => !below.remainder(Self::from(2.0)).is_zero(),
        };
        if up {
            below.plus(Self::from(1.0))
        } else {
            below
        }
    }

    /// `self` to the power of `exponent`; exact for small integers.
    #[must_use]
    pub fn power(self, exponent: Self) -> Self {
        let integral =
            exponent.low == 0.0 && exponent.high.fract() == 0.0 && exponent.high.abs() <= 4096.0;
        if !integral {
            return Self::from(self.high.powf(exponent.high));
        }
        let result = self.integer_power(exponent.high.abs() as u32);
        if exponent.high >= 0.0 {
            result.rounded()
        } else {
            Self::from(1.0).over(result).rounded()
        }
    }

    fn integer_power(self, mut exponent: u32) -> Self {
        let mut result = Self::from(1.0);
        let mut square = self;
        while exponent > 0 {
            if exponent & 1 == 1 {
                result = result.times(square);
            }
            exponent >>= 1;
            if exponent > 0 {
                square = square.times(square);
            }
        }
        result
    }

    /// Square root; not a number for negative ones.
    #[must_use]
    pub fn square_root(self) -> Self {
        let near = self.high.sqrt();
        if near == 0.0 || !near.is_finite() {
            return Self::from(near);
        }
        let rest = self.plus(Self::from(near).times(Self::from(near)).negate());
        Self::normal(near, rest.high / (2.0 * near)).rounded()
    }

    /// Reads the number at the start of `text` as `strtold` does for decimal numbers; 0 when there is none.
    #[must_use]
    pub fn parse_prefix(text: &str) -> Self {
        let mut bytes = text.trim_start().bytes().peekable();
        let negative = match bytes.peek() {
            Some(b'-') => {
                bytes.next();
                true
            }
            Some(b'+') => {
                bytes.next();
                false
            }
            _ => false,
        };
        let mut mantissa: i128 = 0;
        let mut exponent: i32 = 0;
        let mut point = false;
        while let Some(byte) =
            bytes.next_if(|byte| byte.is_ascii_digit() || (*byte == b'.' && !point))
        {
            if byte == b'.' {
                point = true;
            } else if mantissa < 10_i128.pow(30) {
                mantissa = mantissa * 10 + i128::from(byte - b'0');
                exponent -= i32::from(point);
            } else {
                exponent = exponent.saturating_add(i32::from(!point));
            }
        }
        if bytes.next_if(|byte| matches!(byte, b'e' | b'E')).is_some() {
            let sign = bytes.next_if(|byte| matches!(byte, b'+' | b'-'));
            let mut written: i32 = 0;
            while let Some(digit) = bytes.next_if(u8::is_ascii_digit) {
                written = written
                    .saturating_mul(10)
                    .saturating_add(i32::from(digit - b'0'));
            }
            exponent = exponent.saturating_add(if sign == Some(b'-') {
                -written
            } else {
                written
            });
        }
        if mantissa == 0 {
            return Self::ZERO;
        }
        let number = Self::from_i128(mantissa).scaled(exponent).rounded();
        if negative { number.negate() } else { number }
    }

    /// Times ten to the power of `exponent`.
    fn scaled(self, exponent: i32) -> Self {
        let ten = Self::from(10.0);
        let mut left = exponent.unsigned_abs().min(800);
        let mut result = self;
        while left > 0 {
            let part = left.min(200);
            let power = ten.integer_power(part);
            result = if exponent < 0 {
                result.over(power)
            } else {
                result.times(power)
            };
            left -= part;
        }
        result
    }

    /// The integer it is, when it is one of at most 2^63.
    fn integer(self) -> Option<i128> {
        let fits = self.high.abs() <= 9_223_372_036_854_775_808.0
            && self.high.fract() == 0.0
            && self.low.fract() == 0.0;
        fits.then(|| self.high as i128 + self.low as i128)
    }
}

/// Significant digits of `%.18Lg`.
const DIGITS: i32 = 18;

impl fmt::Display for Number {
    /// As `%.18Lg` prints it, except that integers up to 2^63 are printed in full.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.high.is_nan() {
            return out.write_str(if self.high.is_sign_negative() {
                "-nan"
            } else {
                "nan"
            });
        }
        if self.high.is_infinite() {
            return out.write_str(if self.high < 0.0 { "-inf" } else { "inf" });
        }
        if let Some(integer) = self.integer() {
            return write!(out, "{integer}");
        }
        let value = self.abs();
        let mut exponent = value.high.log10().floor() as i32;
        let limit = 10_i128.pow(DIGITS as u32);
        let digits = loop {
            let scaled = value.scaled(DIGITS - 1 - exponent).round_to_even();
            let digits = scaled.high as i128 + scaled.low as i128;
            if digits >= limit {
                exponent += 1;
            } else if digits < limit / 10 && exponent > -330 {
                exponent -= 1;
            } else {
                break digits;
            }
        };
        let text = digits.to_string();
        let text = text.trim_end_matches('0');
        if self.high < 0.0 {
            out.write_str("-")?;
        }
        if !(-4..DIGITS).contains(&exponent) {
            let (first, rest) = text.split_at(text.len().min(1));
            let point = if rest.is_empty() { "" } else { "." };
            let sign = if exponent < 0 { '-' } else { '+' };
            write!(out, "{first}{point}{rest}e{sign}{:02}", exponent.abs())
        } else if exponent < 0 {
            write!(
                out,
                "0.{}{text}",
                "0".repeat(exponent.unsigned_abs() as usize - 1)
            )
        } else {
            let whole = exponent as usize + 1;
            if text.len() <= whole {
                write!(out, "{text}{}", "0".repeat(whole - text.len()))
            } else {
                write!(out, "{}.{}", &text[..whole], &text[whole..])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn number(text: &str) -> Number {
        Number::parse_prefix(text)
    }

    #[test]
    fn numbers_print_with_eighteen_digits_and_no_trailing_zeros() {
        for (text, printed) in [
            ("0", "0"),
            ("12", "12"),
            ("1.50", "1.5"),
            ("-0.25", "-0.25"),
            ("0.1", "0.1"),
            ("0.0001", "0.0001"),
            ("0.00001", "1e-05"),
            ("123456789012345678", "123456789012345678"),
            ("9223372036854775807", "9223372036854775807"),
            ("9223372036854775808", "9223372036854775808"),
            ("1000000000000000000000", "1e+21"),
            ("123456789.123456789", "123456789.123456789"),
            ("1e3", "1000"),
            ("2.5e-7", "2.5e-07"),
        ] {
            assert_eq!(number(text).to_string(), printed, "{text}");
        }
    }

    #[test]
    fn arithmetic_is_that_of_a_long_double() {
        assert_eq!(number("0.1").sum(number("0.2")).to_string(), "0.3");
        assert_eq!(
            number("1").divide(number("3")).to_string(),
            "0.333333333333333333"
        );
        assert_eq!(
            number("2").divide(number("3")).to_string(),
            "0.666666666666666667"
        );
        assert_eq!(
            number("1")
                .divide(number("3"))
                .multiply(number("3"))
                .to_string(),
            "1"
        );
        assert_eq!(
            number("9007199254740993").sum(number("1")).to_string(),
            "9007199254740994"
        );
        assert_eq!(number("10").remainder(number("4")).to_string(), "2");
        assert_eq!(number("-7").remainder(number("3")).to_string(), "-1");
        assert_eq!(number("5.5").remainder(number("2")).to_string(), "1.5");
        assert_eq!(number("5").divide(Number::ZERO).to_string(), "2147483647");
        assert_eq!(
            number("2").power(number("62")).to_string(),
            "4611686018427387904"
        );
        assert_eq!(number("2").power(number("-1")).to_string(), "0.5");
        assert_eq!(number("2").square_root().to_string(), "1.41421356237309505");
        assert_eq!(number("2.5").round().to_string(), "3");
        assert_eq!(number("-2.5").round().to_string(), "-3");
        assert_eq!(number("2.5").round_to_even().to_string(), "2");
        assert_eq!(number("-2.7").truncate().to_string(), "-2");
        assert_eq!(number("-2.2").floor().to_string(), "-3");
        assert_eq!(number("2.2").ceil().to_string(), "3");
    }

    proptest! {
        #[test]
        fn integers_compute_exactly(left in -1_000_000_000_i64..1_000_000_000, right in -1_000_000_000_i64..1_000_000_000) {
            let (one, other) = (Number::from(left), Number::from(right));
            prop_assert_eq!(one.sum(other).to_string(), (left + right).to_string());
            prop_assert_eq!(one.subtract(other).to_string(), (left - right).to_string());
            prop_assert_eq!(one.multiply(other).to_string(), (left * right).to_string());
            if right != 0 {
                prop_assert_eq!(one.remainder(other).to_string(), (left % right).to_string());
            }
        }

        #[test]
        fn what_is_printed_reads_back_as_itself(value in prop::num::f64::NORMAL) {
            let number = Number::from(value);
            let back = Number::parse_prefix(&number.to_string());
            prop_assert!((back.to_f64() - value).abs() <= value.abs() * 1e-16, "{} {}", number, value);
        }
    }
}

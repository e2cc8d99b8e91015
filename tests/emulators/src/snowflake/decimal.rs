//! Exact decimal numbers as text: up to 38 digits, the scale always written out.

use std::cmp::Ordering;
use std::fmt;

use super::error::SqlError;

/// A number with a fixed count of digits after the point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decimal {
    pub(crate) unscaled: i128,
    pub(crate) scale: u8,
}

impl Decimal {
    /// Reads `-12.50` or `1.25e3`; `None` if it is not a decimal number of at most 38 digits.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (negative, digits) = match mantissa.as_bytes().first()? {
            b'-' => (true, &mantissa[1..]),
            b'+' => (false, &mantissa[1..]),
            _ => (false, mantissa),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let mut unscaled: i128 = 0;
        for byte in whole.bytes().chain(fraction.bytes()) {
            let digit = byte.is_ascii_digit().then(|| i128::from(byte - b'0'))?;
            unscaled = unscaled.checked_mul(10)?.checked_add(digit)?;
        }
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let unscaled = if negative { -unscaled } else { unscaled };
        let scale = i32::try_from(fraction.len()).ok()?.checked_sub(exponent)?;
        match u8::try_from(scale) {
            Ok(scale) => Some(Self { unscaled, scale }),
            Err(_) if scale < 0 => {
                let power = 10i128.checked_pow(scale.unsigned_abs())?;
                Some(Self { unscaled: unscaled.checked_mul(power)?, scale: 0 })
            }
            Err(_) => None,
        }
    }

    /// The same number with another scale, rounded half away from zero.
    pub(crate) fn rescale(self, scale: u8) -> Result<Self, SqlError> {
        if scale >= self.scale {
            let power =
                10i128.checked_pow(u32::from(scale - self.scale)).ok_or_else(SqlError::out_of_range)?;
            let unscaled = self.unscaled.checked_mul(power).ok_or_else(SqlError::out_of_range)?;
            return Ok(Self { unscaled, scale });
        }
        let unscaled = match 10i128.checked_pow(u32::from(self.scale - scale)) {
            Some(power) => rounded(self.unscaled, power),
            None => 0,
        };
        Ok(Self { unscaled, scale })
    }

    /// The number cut towards negative infinity (`floor`) or positive infinity at a scale.
    pub(crate) fn round_towards(self, scale: u8, floor: bool) -> Result<Self, SqlError> {
        if scale >= self.scale {
            return self.rescale(scale);
        }
        let power = 10i128.checked_pow(u32::from(self.scale - scale)).ok_or_else(SqlError::out_of_range)?;
        let down = self.unscaled.div_euclid(power);
        let exact = self.unscaled.rem_euclid(power) == 0;
        Ok(Self { unscaled: if floor || exact { down } else { down + 1 }, scale })
    }

    /// One of `+ - * / %`, rounded to a scale.
    pub(crate) fn calculate(self, operator: char, other: Self, scale: u8) -> Result<Self, SqlError> {
        let overflow = SqlError::out_of_range;
        let result = match operator {
            '*' => {
                let unscaled = self.unscaled.checked_mul(other.unscaled).ok_or_else(overflow)?;
                Self { unscaled, scale: self.scale.saturating_add(other.scale) }
            }
            '/' => return self.divide(other, scale),
            _ => {
                let common = self.scale.max(other.scale);
                let (left, right) = (self.rescale(common)?.unscaled, other.rescale(common)?.unscaled);
                let unscaled = match operator {
                    '+' => left.checked_add(right),
                    '-' => left.checked_sub(right),
                    _ if right == 0 => return Err(SqlError::division_by_zero()),
                    _ => left.checked_rem(right),
                };
                Self { unscaled: unscaled.ok_or_else(overflow)?, scale: common }
            }
        };
        result.rescale(scale)
    }

    fn divide(self, other: Self, scale: u8) -> Result<Self, SqlError> {
        if other.unscaled == 0 {
            return Err(SqlError::division_by_zero());
        }
        let shift = i32::from(scale) + i32::from(other.scale) - i32::from(self.scale);
        let power = 10i128.checked_pow(shift.unsigned_abs()).ok_or_else(SqlError::out_of_range)?;
        let (up, down) = if shift >= 0 { (power, 1) } else { (1, power) };
        let numerator = self.unscaled.checked_mul(up).ok_or_else(SqlError::out_of_range)?;
        let denominator = other.unscaled.checked_mul(down).ok_or_else(SqlError::out_of_range)?;
        let sign = if denominator < 0 { -1 } else { 1 };
        Ok(Self { unscaled: rounded(numerator * sign, denominator * sign), scale })
    }

    /// How many digits it has, leading zeros not counted.
    pub(crate) fn digits(self) -> u32 {
        self.unscaled.unsigned_abs().checked_ilog10().map_or(1, |log| log + 1)
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.unscaled < 0 { "-" } else { "" };
        let digits = self.unscaled.unsigned_abs();
        if self.scale == 0 {
            return write!(f, "{sign}{digits}");
        }
        let scale = usize::from(self.scale);
        let padded = format!("{digits:0>width$}", width = scale + 1);
        let (whole, fraction) = padded.split_at(padded.len() - scale);
        write!(f, "{sign}{whole}.{fraction}")
    }
}

fn rounded(numerator: i128, denominator: i128) -> i128 {
    let quotient = numerator / denominator;
    let remainder = (numerator % denominator).unsigned_abs();
    let half = remainder >= denominator.unsigned_abs().div_ceil(2) && remainder != 0;
    if half { quotient + numerator.signum() } else { quotient }
}

/// Compares two decimal texts by value; what follows a space (an offset) does not count.
pub(crate) fn compare(left: &str, right: &str) -> Ordering {
    let (left_negative, left_whole, left_fraction) = split(left);
    let (right_negative, right_whole, right_fraction) = split(right);
    match (left_negative, right_negative) {
        (false, true) => Ordering::Greater,
        (true, false) => Ordering::Less,
        (negative, _) => {
            let order = left_whole
                .len()
                .cmp(&right_whole.len())
                .then_with(|| left_whole.cmp(right_whole))
                .then_with(|| left_fraction.cmp(right_fraction));
            if negative { order.reverse() } else { order }
        }
    }
}

fn split(text: &str) -> (bool, &str, &str) {
    let text = text.split(' ').next().unwrap_or_default();
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
    (negative && !(whole.is_empty() && fraction.is_empty()), whole, fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scale_is_kept() {
        for (text, scale, expected) in [
            ("711.56", 2, "711.56"),
            ("-0.5", 2, "-0.50"),
            ("-0.000001", 9, "-0.000001000"),
            ("0.005", 2, "0.01"),
            ("-0.005", 2, "-0.01"),
            ("0.0049", 2, "0.00"),
            ("1.25e3", 0, "1250"),
            ("125e-2", 2, "1.25"),
            ("99999999999999999999999999999999999999", 0, "99999999999999999999999999999999999999"),
        ] {
            let value = Decimal::parse(text).unwrap().rescale(scale).unwrap();
            assert_eq!(value.to_string(), expected);
        }
        assert!(
            Decimal::parse("").is_none() && Decimal::parse("1x").is_none() && Decimal::parse("-").is_none()
        );
    }

    #[test]
    fn arithmetic_is_exact() {
        let d = |text| Decimal::parse(text).unwrap();
        assert_eq!(d("0.10").calculate('+', d("0.2"), 2).unwrap().to_string(), "0.30");
        assert_eq!(d("1").calculate('/', d("3"), 6).unwrap().to_string(), "0.333333");
        assert_eq!(d("-2").calculate('/', d("3"), 2).unwrap().to_string(), "-0.67");
        assert_eq!(d("7").calculate('%', d("3"), 0).unwrap().to_string(), "1");
        assert!(d("1").calculate('/', d("0"), 2).is_err());
    }

    #[test]
    fn order_is_by_value() {
        let sorted = ["-10.5", "-2", "-0.50", "0", "0.5", "2", "10", "10.01 1440", "100"];
        for (i, left) in sorted.iter().enumerate() {
            for (j, right) in sorted.iter().enumerate() {
                assert_eq!(compare(left, right), i.cmp(&j), "{left} {right}");
            }
        }
        assert_eq!(compare("-0.00", "0"), Ordering::Equal);
    }
}

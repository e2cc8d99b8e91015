//! Decimal numbers as text: no binary fraction ever touches a value.

use std::cmp::Ordering;

/// A number `±0.DIGITS × 10^point`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decimal {
    negative: bool,
    /// ASCII digits without leading or trailing zeros; empty means zero.
    digits: Vec<u8>,
    point: i32,
}

impl Decimal {
    /// Reads `-12.50`, `.5`, `1E3`; nothing else around or inside the number.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (negative, rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
            None => (rest, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = [whole.as_bytes(), fraction.as_bytes()].concat();
        if digits.is_empty()
            || digits.len() > 400
            || exponent.abs() > 400
            || !digits.iter().all(u8::is_ascii_digit)
        {
            return None;
        }
        let point = i32::try_from(whole.len()).ok()? + exponent;
        Some(Self { negative, digits, point }.trimmed())
    }

    fn trimmed(mut self) -> Self {
        let zeros = self.digits.iter().take_while(|digit| **digit == b'0').count();
        self.digits.drain(..zeros);
        self.point -= i32::try_from(zeros).expect("numbers have at most some hundred digits");
        while self.digits.last() == Some(&b'0') {
            self.digits.pop();
        }
        if self.digits.is_empty() {
            self.negative = false;
            self.point = 0;
        }
        self
    }

    /// How many digits stand before the decimal point.
    pub(crate) fn whole_digits(&self) -> u32 {
        u32::try_from(self.point).unwrap_or(0)
    }

    /// Rounds half away from zero to so many digits after the point.
    pub(crate) fn rounded(mut self, scale: u32) -> Self {
        let keep = i64::from(self.point) + i64::from(scale);
        let Ok(keep) = usize::try_from(keep) else {
            self.digits.clear();
            return self.trimmed();
        };
        if keep >= self.digits.len() {
            return self;
        }
        let up = self.digits[keep] >= b'5';
        self.digits.truncate(keep);
        if up {
            self.increment();
        }
        self.trimmed()
    }

    /// Adds one to the last digit.
    fn increment(&mut self) {
        for digit in self.digits.iter_mut().rev() {
            if *digit < b'9' {
                *digit += 1;
                return;
            }
            *digit = b'0';
        }
        self.digits.insert(0, b'1');
        self.point += 1;
    }

    /// `-12.5`, without an exponent and without needless zeros.
    pub(crate) fn plain(&self) -> String {
        let digits = std::str::from_utf8(&self.digits).expect("digits are ASCII");
        let sign = if self.negative { "-" } else { "" };
        match usize::try_from(self.point) {
            _ if digits.is_empty() => "0".to_owned(),
            Ok(0) | Err(_) => format!("{sign}0.{}{digits}", zeros(-self.point)),
            Ok(point) if digits.len() <= point => format!("{sign}{digits:0<point$}"),
            Ok(point) => format!("{sign}{}.{}", &digits[..point], &digits[point..]),
        }
    }

    /// The way the platform prints doubles: `250.0`, but `9.12260031E8` from ten million on and below a thousandth.
    pub(crate) fn scientific(&self) -> String {
        let exponent = self.point - 1;
        if self.digits.is_empty() || (-3..7).contains(&exponent) {
            let plain = self.plain();
            return if plain.contains('.') { plain } else { format!("{plain}.0") };
        }
        let digits = std::str::from_utf8(&self.digits).expect("digits are ASCII");
        let (first, rest) = digits.split_at(1);
        let rest = if rest.is_empty() { "0" } else { rest };
        format!("{}{first}.{rest}E{exponent}", if self.negative { "-" } else { "" })
    }

    fn magnitude(&self, other: &Self) -> Ordering {
        match (self.digits.is_empty(), other.digits.is_empty()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
            (false, false) => self.point.cmp(&other.point).then_with(|| self.digits.cmp(&other.digits)),
        }
    }
}

fn zeros(count: i32) -> String {
    "0".repeat(usize::try_from(count).unwrap_or(0))
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.negative, other.negative) {
            (false, false) => self.magnitude(other),
            (true, true) => other.magnitude(self),
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
        }
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_print_like_the_platform_does() {
        for (text, plain, scientific) in [
            ("912260031", "912260031", "9.12260031E8"),
            ("250", "250", "250.0"),
            ("-0012.50", "-12.5", "-12.5"),
            ("0.000", "0", "0.0"),
            ("-0", "0", "0.0"),
            ("10000000", "10000000", "1.0E7"),
            ("9999999.5", "9999999.5", "9999999.5"),
            ("0.001", "0.001", "0.001"),
            (".00012", "0.00012", "1.2E-4"),
            ("1.5E3", "1500", "1500.0"),
            ("+7", "7", "7.0"),
        ] {
            let number = Decimal::parse(text).unwrap();
            assert_eq!(
                (number.plain().as_str(), number.scientific().as_str()),
                (plain, scientific),
                "{text}"
            );
        }
        for text in ["", "-", "1,000", "1.2.3", " 1", "abc", "1E", "0x1", "NaN", "Infinity"] {
            assert_eq!(Decimal::parse(text), None, "{text}");
        }
    }

    #[test]
    fn rounding_carries_and_goes_away_from_zero() {
        for (text, scale, expected) in [
            ("1.005", 2, "1.01"),
            ("9.995", 2, "10"),
            ("-2.5", 0, "-3"),
            ("0.04", 1, "0"),
            ("0.5", 0, "1"),
            ("0.004", 0, "0"),
            ("12.3", 2, "12.3"),
        ] {
            assert_eq!(Decimal::parse(text).unwrap().rounded(scale).plain(), expected, "{text}");
        }
    }

    #[test]
    fn order_is_numeric() {
        let mut numbers: Vec<Decimal> = ["10", "-3", "0", "9.99", "-20", "0.5"]
            .iter()
            .map(|text| Decimal::parse(text).unwrap())
            .collect();
        numbers.sort();
        let texts: Vec<String> = numbers.iter().map(Decimal::plain).collect();
        assert_eq!(texts, ["-20", "-3", "0", "0.5", "9.99", "10"]);
    }
}

//! Dates and timestamps between Snowflake's text forms and its wire encodings.

use super::decimal::Decimal;
use super::error::SqlError;
use super::kind::Zone;

/// Days since 1970-01-01 of a date of the proleptic Gregorian calendar.
pub(crate) fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Year, month and day of a count of days since 1970-01-01.
pub(crate) fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// How many days a month has.
pub(crate) fn month_length(year: i64, month: i64) -> i64 {
    let (next_year, next) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    days(next_year, next, 1) - days(year, month, 1)
}

/// `YYYY-MM-DD` of a stored date.
pub(crate) fn date_text(stored: &str) -> String {
    let (year, month, day) = civil(stored.parse().unwrap_or_default());
    format!("{year:04}-{month:02}-{day:02}")
}

/// `HH:MM:SS` of a stored time.
pub(crate) fn time_text(stored: &str) -> String {
    clock(stored.split('.').next().and_then(|seconds| seconds.parse().ok()).unwrap_or_default())
}

/// The default text form of a stored timestamp: milliseconds, and an offset unless it is NTZ.
pub(crate) fn timestamp_text(stored: &str, zone: Zone) -> String {
    let (instant, offset) = parts(stored);
    let shift = if zone == Zone::Tz { offset } else { 0 };
    let nanos = instant + i128::from(shift) * 60 * 1_000_000_000;
    let seconds = i64::try_from(nanos.div_euclid(1_000_000_000)).unwrap_or_default();
    let millis = nanos.rem_euclid(1_000_000_000) / 1_000_000;
    let (year, month, day) = civil(seconds.div_euclid(86_400));
    let text = format!("{year:04}-{month:02}-{day:02} {}.{millis:03}", clock(seconds.rem_euclid(86_400)));
    match zone {
        Zone::Ntz => text,
        _ => {
            let sign = if shift < 0 { '-' } else { '+' };
            format!("{text} {sign}{:02}{:02}", shift.abs() / 60, shift.abs() % 60)
        }
    }
}

/// A date from text: days since 1970-01-01.
pub(crate) fn to_date(text: &str) -> Result<String, SqlError> {
    let unknown = || SqlError::new("100040", "22007", format!("Date '{text}' is not recognized"));
    let date = text.trim().split([' ', 'T']).next().unwrap_or_default();
    Ok(parse_date(date).ok_or_else(unknown)?.to_string())
}

/// A time from text: seconds since midnight with the fraction written to scale.
pub(crate) fn to_time(text: &str, scale: u8) -> Result<String, SqlError> {
    let unknown = || SqlError::new("100108", "22007", format!("Time '{text}' is not recognized"));
    let time = text.trim().split(' ').next_back().unwrap_or_default();
    Ok(cut(parse_time(time).ok_or_else(unknown)?, scale))
}

/// A timestamp from text: seconds since the epoch with the fraction written to scale, and the offset for TZ.
pub(crate) fn to_timestamp(text: &str, zone: Zone, scale: u8) -> Result<String, SqlError> {
    let unknown = || SqlError::new("100035", "22007", format!("Timestamp '{text}' is not recognized"));
    let (wall, offset) = parse_timestamp(text.trim()).ok_or_else(unknown)?;
    Ok(written(wall, offset.unwrap_or(0), zone, scale))
}

/// A timestamp of one zone as one of another; the session's zone is UTC.
pub(crate) fn convert(stored: &str, from: Zone, to: Zone, scale: u8) -> Result<String, SqlError> {
    let (instant, offset) = parts(stored);
    let offset = if from == Zone::Tz { offset } else { 0 };
    Ok(written(instant + i128::from(offset) * 60_000_000_000, offset, to, scale))
}

/// A stored date moved by months; the day is clamped to the length of the month.
pub(crate) fn add_months(stored: &str, months: i64) -> String {
    let (year, month, day) = civil(stored.parse().unwrap_or_default());
    let index = year * 12 + month - 1 + months;
    let (year, month) = (index.div_euclid(12), index.rem_euclid(12) + 1);
    days(year, month, day.min(month_length(year, month))).to_string()
}

fn written(wall: i128, offset: i64, zone: Zone, scale: u8) -> String {
    match zone {
        Zone::Ntz => cut(wall, scale),
        Zone::Ltz => cut(wall - i128::from(offset) * 60_000_000_000, scale),
        Zone::Tz => {
            let instant = cut(wall - i128::from(offset) * 60_000_000_000, scale);
            format!("{instant} {}", offset + 1440)
        }
    }
}

/// Nanoseconds as seconds with a fraction, cut (not rounded) to a scale.
fn cut(nanos: i128, scale: u8) -> String {
    let power = 10i128.pow(9 - u32::from(scale.min(9)));
    Decimal { unscaled: nanos.div_euclid(power), scale: scale.min(9) }.to_string()
}

/// Nanoseconds since the epoch and offset in minutes of a stored timestamp.
pub(crate) fn parts(stored: &str) -> (i128, i64) {
    let (instant, offset) = stored.split_once(' ').unwrap_or((stored, "1440"));
    let nanos =
        Decimal::parse(instant).and_then(|value| value.rescale(9).ok()).map_or(0, |value| value.unscaled);
    (nanos, offset.parse::<i64>().unwrap_or(1440) - 1440)
}

fn clock(seconds: i64) -> String {
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

fn parse_date(text: &str) -> Option<i64> {
    let mut fields = text.splitn(3, '-').map(|field| {
        (!field.is_empty() && field.bytes().all(|b| b.is_ascii_digit())).then(|| field.parse::<i64>().ok())?
    });
    let (year, month, day) = (fields.next()??, fields.next()??, fields.next()??);
    let valid = (1..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=month_length(year, month)).contains(&day);
    valid.then(|| days(year, month, day))
}

/// Nanoseconds since midnight.
fn parse_time(text: &str) -> Option<i128> {
    let mut fields = text.splitn(3, ':');
    let hour: i128 = fields.next()?.parse().ok()?;
    let minute: i128 = fields.next()?.parse().ok()?;
    let seconds = Decimal::parse(fields.next().unwrap_or("0"))?.rescale(9).ok()?;
    let valid = (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..60_000_000_000).contains(&seconds.unscaled);
    valid.then_some((hour * 60 + minute) * 60_000_000_000 + seconds.unscaled)
}

/// Wall-clock nanoseconds since the epoch, and the offset in minutes if one is given.
fn parse_timestamp(text: &str) -> Option<(i128, Option<i64>)> {
    if text.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty() {
        return Some((text.parse::<i128>().ok()? * 1_000_000_000, None));
    }
    let (date, rest) = text.split_once([' ', 'T']).unwrap_or((text, ""));
    let midnight = i128::from(parse_date(date)?) * 86_400_000_000_000;
    let rest = rest.trim();
    if rest.is_empty() {
        return Some((midnight, None));
    }
    if let Some(time) = rest.strip_suffix('Z') {
        return Some((midnight + parse_time(time.trim())?, Some(0)));
    }
    match rest.rfind(['+', '-']) {
        Some(at) => {
            let offset = parse_offset(&rest[at..])?;
            Some((midnight + parse_time(rest[..at].trim())?, Some(offset)))
        }
        None => Some((midnight + parse_time(rest)?, None)),
    }
}

fn parse_offset(text: &str) -> Option<i64> {
    let digits: String = text[1..].chars().filter(|c| *c != ':').collect();
    let (hours, minutes) =
        if digits.len() <= 2 { (digits.as_str(), "0") } else { digits.split_at(digits.len() - 2) };
    let minutes = hours.parse::<i64>().ok()? * 60 + minutes.parse::<i64>().ok()?;
    Some(if text.starts_with('-') { -minutes } else { minutes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_vectors() {
        for (text, wire) in [("2020-01-01", "18262"), ("0001-01-01", "-719162"), ("1969-12-31", "-1")] {
            assert_eq!(to_date(text).unwrap(), wire);
            assert_eq!(date_text(wire), text);
        }
        assert_eq!(to_time("12:34:56", 9).unwrap(), "45296.000000000");
        for (text, zone, wire) in [
            ("2021-01-28 22:09:37.123456789", Zone::Ntz, "1611871777.123456789"),
            ("1969-12-31T23:59:59.5", Zone::Ntz, "-0.500000000"),
            ("2021-03-19T18:06:59+01:00", Zone::Tz, "1616173619.000000000 1500"),
            ("2022-01-01 12:34:56.123 +0900", Zone::Tz, "1641008096.123000000 1980"),
            ("2021-03-19 09:06:59 -08:00", Zone::Tz, "1616173619.000000000 960"),
            ("2021-03-19T18:06:59+01:00", Zone::Ltz, "1616173619.000000000"),
        ] {
            assert_eq!(to_timestamp(text, zone, 9).unwrap(), wire);
        }
        assert_eq!(timestamp_text("1641008096.123000000 1980", Zone::Tz), "2022-01-01 12:34:56.123 +0900");
        for bad in ["2021-02-29", "2021-13-01", "x", ""] {
            assert!(to_date(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn days_and_civil_agree() {
        for day in (-800_000..800_000).step_by(97) {
            let (year, month, date) = civil(day);
            assert_eq!(days(year, month, date), day);
        }
    }
}

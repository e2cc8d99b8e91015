//! The values that nearly all cells hold, each by the shortest way from the partition to the CSV.
//!
//! What is written here is what [`super::write`] writes; what needs a closer look, a refusal above all, is
//! left to it. A test holds both against each other.

use crate::{
    contract::ColumnKind as Kind,
    csv,
    mapping::{Conversion, WhenNull},
    partition::Raw,
};

use super::{date, date_time};

/// Appends the CSV cell of a usual value. False when it is not one; then `out` is as it was.
#[inline]
pub(super) fn write(
    kind: &Kind,
    conversion: &Conversion,
    when_null: WhenNull,
    cell: Raw<'_>,
    out: &mut Vec<u8>,
) -> bool {
    match cell {
        Raw::Clean { tail, length } if length > 0 => clean(kind, conversion, tail, length, out),
        Raw::Clean { .. } | Raw::Null => null(when_null, out),
        Raw::Commas(_) | Raw::Quotes(_) => special_text(kind, conversion, cell, out),
        Raw::Other => false,
    }
}

/// Appends a text that is not empty and holds nothing special.
#[inline]
fn clean(kind: &Kind, conversion: &Conversion, tail: &[u8], length: usize, out: &mut Vec<u8>) -> bool {
    match conversion {
        Conversion::Text { max_chars } => is_text(kind) && text(*max_chars, tail, length, out),
        Conversion::Picklist { values } => {
            values.iter().any(|value| value.as_bytes() == &tail[..length]) && text(0, tail, length, out)
        }
        Conversion::Integer { digits } => {
            let room = if *digits == 0 { usize::MAX } else { *digits as usize };
            decimal(room, 0, tail, length, out)
        }
        Conversion::Decimal { precision: 0, .. } => decimal(usize::MAX, usize::MAX, tail, length, out),
        Conversion::Decimal { precision, scale } => {
            decimal(precision.saturating_sub(*scale) as usize, *scale as usize, tail, length, out)
        }
        Conversion::Boolean => boolean(&tail[..length], out),
        Conversion::Date => {
            *kind == Kind::Date && day(tail, length).is_some_and(|days| date(days, out).is_ok())
        }
        Conversion::DateTime => {
            instant(kind, tail, length).is_some_and(|millis| date_time(millis, out).is_ok())
        }
        Conversion::MultiPicklist { .. } | Conversion::Time | Conversion::RecordId => false,
    }
}

fn null(when_null: WhenNull, out: &mut Vec<u8>) -> bool {
    if when_null == WhenNull::Clear {
        out.extend_from_slice(b"#N/A");
    }
    when_null != WhenNull::Refuse
}

/// The text of the column is written as it is.
fn is_text(kind: &Kind) -> bool {
    !matches!(
        kind,
        Kind::Real
            | Kind::Decfloat
            | Kind::Boolean
            | Kind::Date
            | Kind::Time
            | Kind::TimestampNtz
            | Kind::TimestampLtz
            | Kind::TimestampTz
    )
}

#[inline]
fn text(max_chars: u32, tail: &[u8], length: usize, out: &mut Vec<u8>) -> bool {
    let is_blank = |byte: u8| matches!(byte, b' ' | b'\t');
    let fits = max_chars == 0 || length <= max_chars as usize;
    if !fits || is_blank(tail[0]) || is_blank(tail[length - 1]) || &tail[..length] == b"#N/A" {
        return false;
    }
    csv::copy(out, tail, length);
    true
}

/// Text that has to be quoted. It has no more characters than bytes, so a short one needs no counting.
fn special_text(kind: &Kind, conversion: &Conversion, cell: Raw<'_>, out: &mut Vec<u8>) -> bool {
    let Conversion::Text { max_chars } = conversion else { return false };
    let fits = |text: &[u8]| *max_chars == 0 || text.len() <= *max_chars as usize;
    match cell {
        Raw::Commas(text) if is_text(kind) && fits(text) => csv::quoted_as_is(out, text),
        Raw::Quotes(text) if is_text(kind) && fits(text) => csv::quoted_escaped(out, text),
        _ => return false,
    }
    true
}

fn boolean(text: &[u8], out: &mut Vec<u8>) -> bool {
    match text {
        b"true" | b"1" => out.extend_from_slice(b"true"),
        b"false" | b"0" => out.extend_from_slice(b"false"),
        _ => return false,
    }
    true
}

/// A number of at most sixteen characters that is written as it came.
fn decimal(room: usize, scale: usize, tail: &[u8], length: usize, out: &mut Vec<u8>) -> bool {
    let negative = usize::from(tail[0] == b'-');
    let (tail, length) = (&tail[negative..], length - negative);
    let Some(point) = point(tail, length) else { return false };
    let is_zero = point == 1 && tail[0] == b'0';
    // Without a superfluous zero in front, and minus zero is not written.
    let is_plain = if tail[0] == b'0' { is_zero && negative == 0 } else { point > 0 };
    let decimals = (length - point).saturating_sub(1);
    if !is_plain || (point > room && !is_zero) || decimals > scale || point + 1 == length {
        return false;
    }
    if negative == 1 {
        out.push(b'-');
    }
    csv::copy(out, tail, length);
    true
}

/// Where the point of a number is, or would be. None when there is anything but digits and a point, or too
/// much of it.
#[inline]
fn point(tail: &[u8], length: usize) -> Option<usize> {
    let bytes = tail.first_chunk::<16>().filter(|_| (1..=16).contains(&length))?;
    let others = others(u128::from_le_bytes(*bytes)) & (u128::MAX >> (128 - 8 * length));
    if others == 0 {
        return Some(length);
    }
    let at = others.trailing_zeros() as usize / 8;
    (others & (others - 1) == 0 && bytes[at] == b'.').then_some(at)
}

/// The high bit of every byte that is no digit.
#[inline]
const fn others(bytes: u128) -> u128 {
    const ONES: u128 = u128::MAX / 255;
    let digits = bytes ^ (ONES * b'0' as u128);
    (((digits & (ONES * 0x7f)) + ONES * 0x76) | digits) & (ONES * 0x80)
}

/// The days of a date column.
fn day(tail: &[u8], length: usize) -> Option<i64> {
    let negative = tail[0] == b'-';
    let (days, end) = number(tail, usize::from(negative))?;
    (end == length).then_some(if negative { -days } else { days })
}

/// The milliseconds of a timestamp column, not before 1970.
fn instant(kind: &Kind, tail: &[u8], length: usize) -> Option<i64> {
    let has_zone = match kind {
        Kind::TimestampNtz | Kind::TimestampLtz => false,
        Kind::TimestampTz => true,
        _ => return None,
    };
    let (seconds, end) = number(tail, 0)?;
    let (millis, end) = if tail.get(end) == Some(&b'.') { fraction(tail, end + 1)? } else { (0, end) };
    let is_whole = end == length || (has_zone && is_offset(tail, end, length));
    is_whole.then_some(seconds * 1000 + millis)
}

/// A blank and the offset of a time zone; the instant is the same in all.
fn is_offset(tail: &[u8], at: usize, length: usize) -> bool {
    let offset = if tail.get(at) == Some(&b' ') { number(tail, at + 1) } else { None };
    offset.is_some_and(|(minutes, end)| minutes <= 2880 && end == length)
}

/// A number of 1 to 15 digits, and where it ends.
#[inline]
fn number(tail: &[u8], at: usize) -> Option<(i64, usize)> {
    let (first, count) = digits(tail, at)?;
    if count < 8 {
        return (count > 0).then_some((first as i64, at + count));
    }
    let (rest, more) = digits(tail, at + 8)?;
    let all = first * POWERS.get(more)? + rest;
    Some((all as i64, at + 8 + more))
}

const POWERS: [u64; 8] = [1, 10, 100, 1000, 10_000, 100_000, 1_000_000, 10_000_000];

/// The milliseconds of at most nine digits, and where they end.
#[inline]
fn fraction(tail: &[u8], at: usize) -> Option<(i64, usize)> {
    let (_, count) = digits(tail, at)?;
    let digit = |place: usize| if place < count { i64::from(tail[at + place] - b'0') } else { 0 };
    let ninth = count == 8 && tail.get(at + 8).is_some_and(u8::is_ascii_digit);
    Some((digit(0) * 100 + digit(1) * 10 + digit(2), at + count + usize::from(ninth)))
}

/// The number that begins at a place, of at most eight digits, and how many they are. None when there are
/// no eight bytes.
#[inline]
fn digits(tail: &[u8], at: usize) -> Option<(u64, usize)> {
    const ONES: u64 = u64::MAX / 255;
    let bytes = u64::from_le_bytes(*tail.get(at..)?.first_chunk::<8>()?);
    let digits = bytes ^ (ONES * u64::from(b'0'));
    let others = (((digits & (ONES * 0x7f)) + ONES * 0x76) | digits) & (ONES * 0x80);
    let count = others.trailing_zeros() / 8;
    // Moved to the end, so that zeros stand in front. Then neighbours become one number, three times.
    let digits = digits.checked_shl(64 - 8 * count).unwrap_or_default();
    let pairs = (digits.wrapping_mul(10) + (digits >> 8)) & (u64::MAX / 0x101);
    let fours = (pairs.wrapping_mul(100) + (pairs >> 16)) & (u64::MAX / 0x1_0001);
    let all = (fours.wrapping_mul(10_000) + (fours >> 32)) & u64::from(u32::MAX);
    Some((all, count as usize))
}

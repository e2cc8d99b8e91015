//! The values that nearly all cells hold, each by the shortest way from the partition to the CSV.
//!
//! What is written here is what [`super::write`] writes; what needs a closer look, a refusal above all, is
//! left to it. A test holds both against each other.

use wide::u8x16;

use crate::{contract::ColumnKind as Kind, csv, mapping::Conversion};

use super::{date_text, date_time_text};

/// How a usual value is written: its column type and conversion in one.
#[derive(Clone, Copy)]
pub(super) enum Way {
    /// As it is, when it has at most so many bytes.
    Text {
        most: usize,
    },
    /// As it is, when it has at most so many digits before the point and behind it.
    Number {
        room: usize,
        scale: usize,
    },
    Boolean,
    /// Days since 1970.
    Day,
    /// Seconds since 1970, maybe with a zone.
    Instant {
        zone: bool,
    },
    /// There is no short way.
    Long,
}

impl Way {
    pub(super) fn of(kind: &Kind, conversion: &Conversion) -> Self {
        let all_if = |limit: u32, none: bool| if none { usize::MAX } else { limit as usize };
        match (conversion, kind) {
            (Conversion::Text { max_chars }, _) if is_text(kind) => {
                Self::Text { most: all_if(*max_chars, *max_chars == 0) }
            }
            (Conversion::Integer { digits }, _) => {
                Self::Number { room: all_if(*digits, *digits == 0), scale: 0 }
            }
            (Conversion::Decimal { precision, scale }, _) => Self::Number {
                room: all_if(precision.saturating_sub(*scale), *precision == 0),
                scale: all_if(*scale, *precision == 0),
            },
            (Conversion::Boolean, _) => Self::Boolean,
            (Conversion::Date, Kind::Date) => Self::Day,
            (Conversion::DateTime, Kind::TimestampNtz | Kind::TimestampLtz) => Self::Instant { zone: false },
            (Conversion::DateTime, Kind::TimestampTz) => Self::Instant { zone: true },
            _ => Self::Long,
        }
    }

    /// A text with commas or quotes is written in quotes. It has no more characters than bytes, so a short one needs
    /// no counting.
    #[inline]
    pub(super) fn quotes(self, text: &[u8]) -> bool {
        matches!(self, Self::Text { most } if text.len() <= most)
    }
}

/// Appends a text that is not empty and holds nothing special. False when it needs a closer look; then `out` is as it
/// was.
#[inline]
pub(super) fn clean(way: Way, tail: &[u8], length: usize, out: &mut Vec<u8>) -> bool {
    // Every other cell is a text: asked first, it needs no jump.
    if let Way::Text { most } = way {
        return length <= most && text(tail, length, out);
    }
    match way {
        Way::Number { room, scale } => decimal(room, scale, tail, length, out),
        Way::Boolean => boolean(&tail[..length], out),
        Way::Day => append(day(tail, length).and_then(date_text), out),
        Way::Instant { zone } => append(instant(zone, tail, length).and_then(date_time_text), out),
        Way::Text { .. } | Way::Long => false,
    }
}

#[inline]
fn append<const N: usize>(text: Option<[u8; N]>, out: &mut Vec<u8>) -> bool {
    if let Some(text) = &text {
        out.extend_from_slice(text);
    }
    text.is_some()
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
fn text(tail: &[u8], length: usize, out: &mut Vec<u8>) -> bool {
    let is_blank = |byte: u8| matches!(byte, b' ' | b'\t');
    if is_blank(tail[0]) || is_blank(tail[length - 1]) || &tail[..length] == b"#N/A" {
        return false;
    }
    csv::copy(out, tail, length);
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
    let others = others(*bytes) & ((1 << length) - 1);
    if others == 0 {
        return Some(length);
    }
    let at = others.trailing_zeros() as usize;
    (others & (others - 1) == 0 && bytes[at] == b'.').then_some(at)
}

/// A bit for every byte that is no digit.
#[inline]
fn others(bytes: [u8; 16]) -> u32 {
    let digits = u8x16::new(bytes) ^ u8x16::splat(b'0');
    !digits.min(u8x16::splat(9)).simd_eq(digits).to_bitmask()
}

/// The days of a date column.
fn day(tail: &[u8], length: usize) -> Option<i64> {
    let negative = tail[0] == b'-';
    let (days, end) = number(tail, usize::from(negative))?;
    (end == length).then_some(if negative { -days } else { days })
}

/// The milliseconds of a timestamp column, not before 1970.
fn instant(has_zone: bool, tail: &[u8], length: usize) -> Option<i64> {
    let (seconds, end) = ten_digits(tail).map_or_else(|| number(tail, 0), |seconds| Some((seconds, 10)))?;
    let (millis, end) = if tail.get(end) == Some(&b'.') { fraction(tail, end + 1)? } else { (0, end) };
    let is_whole = end == length || (has_zone && is_offset(tail, end, length));
    is_whole.then_some(seconds * 1000 + millis)
}

/// A blank and the offset of a time zone; the instant is the same in all.
fn is_offset(tail: &[u8], at: usize, length: usize) -> bool {
    let offset = if tail.get(at) == Some(&b' ') { number(tail, at + 1) } else { None };
    offset.is_some_and(|(minutes, end)| minutes <= 2880 && end == length)
}

/// A number of just ten digits, as the seconds of a present time are.
#[inline]
fn ten_digits(tail: &[u8]) -> Option<i64> {
    let bytes = tail.first_chunk::<16>().filter(|bytes| others(**bytes) & 0x7ff == 0x400)?;
    let [tens, ones] = [bytes[8], bytes[9]];
    let eight = eight_digits(u64::from_le_bytes(*bytes.first_chunk()?) ^ (u64::MAX / 255 * u64::from(b'0')));
    Some(eight as i64 * 100 + i64::from(tens - b'0') * 10 + i64::from(ones - b'0'))
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
    // Moved to the end, so that zeros stand in front.
    Some((eight_digits(digits.checked_shl(64 - 8 * count).unwrap_or_default()), count as usize))
}

/// The number that eight digits are, each a byte from 0 to 9: neighbours become one number, three times.
#[inline]
fn eight_digits(digits: u64) -> u64 {
    let pairs = (digits.wrapping_mul(10) + (digits >> 8)) & (u64::MAX / 0x101);
    let fours = (pairs.wrapping_mul(100) + (pairs >> 16)) & (u64::MAX / 0x1_0001);
    (fours.wrapping_mul(10_000) + (fours >> 32)) & u64::from(u32::MAX)
}

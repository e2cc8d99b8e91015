//! The values that nearly all cells hold, each by the shortest way from the partition to the CSV.
//!
//! What is written here is what [`super::write`] writes; what needs a closer look, a refusal above all, is
//! left to it. A test holds both against each other.

use wide::u8x16;

use crate::{
    contract::ColumnKind as Kind,
    csv::{ROOM, has_outer_blank},
    mapping::Conversion,
    partition::SHORT,
};

use super::{date_text, date_time_text};

/// How a usual value is written: its column type and conversion in one.
pub(super) enum Way<'a> {
    /// As it is, when it has at most so many bytes.
    Text {
        most: usize,
    },
    /// As it is, when it has at most so many digits before the point and behind it.
    Number {
        room: usize,
        scale: usize,
    },
    /// As it is, when it is one of these.
    Listed(&'a [String]),
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

impl<'a> Way<'a> {
    pub(super) fn of(kind: &Kind, conversion: &'a Conversion) -> Self {
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
            (Conversion::Picklist { values }, _) => Self::Listed(values),
            (Conversion::Boolean, _) => Self::Boolean,
            (Conversion::Date, Kind::Date) => Self::Day,
            (Conversion::DateTime, Kind::TimestampNtz | Kind::TimestampLtz) => Self::Instant { zone: false },
            (Conversion::DateTime, Kind::TimestampTz) => Self::Instant { zone: true },
            _ => Self::Long,
        }
    }

    /// A text with commas or quotes is written in quotes. It has no more characters than bytes, so a short one needs
    /// no counting.
    pub(super) fn quotes(&self, text: &[u8]) -> bool {
        matches!(self, Self::Text { most } if text.len() <= *most)
    }

    /// A text of any length that holds nothing special is written as it is.
    pub(super) fn is_verbatim(&self, text: &[u8]) -> bool {
        !text.is_empty() && self.quotes(text) && !has_outer_blank(text) && text != b"#N/A"
    }

    /// Writes a text of so many bytes, at least one, that holds nothing special, and a comma; how many bytes that are.
    /// None when it needs a closer look. What follows the text is no digit.
    #[inline]
    pub(super) fn write(&self, text: &[u8; SHORT], length: usize, room: &mut [u8; ROOM]) -> Option<usize> {
        // Nearly all is written as it is.
        room[..SHORT].copy_from_slice(text);
        room[length] = b',';
        let is_as_it_is = match self {
            Self::Text { most } => length <= *most && is_plain(text, length),
            Self::Number { room, scale } => is_decimal(*room, *scale, text, length),
            Self::Listed(values) => is_plain(text, length) && is_listed(values, &text[..length]),
            Self::Boolean => matches!(&text[..length], b"true" | b"false"),
            Self::Day => return day(text, length, room),
            Self::Instant { zone } => return instant(*zone, text, length, room),
            Self::Long => false,
        };
        is_as_it_is.then_some(length + 1)
    }

    /// Writes in quotes a text of so many bytes that holds commas, and a comma; how many bytes that are. None when it
    /// needs a closer look.
    pub(super) fn write_quoted(
        &self,
        text: &[u8; SHORT],
        length: usize,
        room: &mut [u8; ROOM],
    ) -> Option<usize> {
        if !self.quotes(&text[..length]) {
            return None;
        }
        room[0] = b'"';
        room[1..=SHORT].copy_from_slice(text);
        room[length + 1..length + 3].copy_from_slice(b"\",");
        Some(length + 3)
    }
}

/// Writes a cell and its comma.
#[inline]
fn end<const N: usize>(text: [u8; N], room: &mut [u8; ROOM]) -> Option<usize> {
    room[..N].copy_from_slice(&text);
    room[N] = b',';
    Some(N + 1)
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

/// Needs no quotes, and cannot be `#N/A`.
#[inline]
fn is_plain(text: &[u8; SHORT], length: usize) -> bool {
    !matches!(text[0], b' ' | b'#') && text[length - 1] != b' '
}

#[inline(never)]
fn is_listed(values: &[String], text: &[u8]) -> bool {
    values.iter().any(|value| value.as_bytes() == text)
}

/// A number of at most sixteen characters that is written as it came.
#[inline(never)]
fn is_decimal(room: usize, scale: usize, text: &[u8; SHORT], length: usize) -> bool {
    let negative = usize::from(text[0] == b'-');
    let (text, length) = (&text[negative..], length - negative);
    let Some(point) = point(text, length) else { return false };
    let is_zero = point == 1 && text[0] == b'0';
    // Without a superfluous zero in front, and minus zero is not written.
    let is_canonical = if text[0] == b'0' { is_zero && negative == 0 } else { point > 0 };
    let decimals = (length - point).saturating_sub(1);
    is_canonical && (point <= room || is_zero) && decimals <= scale && point + 1 != length
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
    (others >> at == 1 && bytes[at] == b'.').then_some(at)
}

/// A bit for every byte that is no digit.
#[inline]
fn others(bytes: [u8; 16]) -> u32 {
    let digits = u8x16::new(bytes) ^ u8x16::splat(b'0');
    !digits.min(u8x16::splat(9)).simd_eq(digits).to_bitmask()
}

/// Writes a date column, which has the days.
#[inline(never)]
fn day(text: &[u8; SHORT], length: usize, room: &mut [u8; ROOM]) -> Option<usize> {
    let negative = text[0] == b'-';
    let (days, at) = number(text, usize::from(negative))?;
    if at != length {
        return None;
    }
    end(date_text(if negative { -days } else { days })?, room)
}

/// Writes a timestamp column from 2001 to 2286: then the seconds have ten digits. Its fraction has three digits or more,
/// if there is one.
#[inline(never)]
fn instant(has_zone: bool, text: &[u8; SHORT], length: usize, room: &mut [u8; ROOM]) -> Option<usize> {
    let seconds = ten_digits(text)?;
    let (millis, at) = if text[10] == b'.' { fraction(text)? } else { (0, 10) };
    if at != length && !(has_zone && is_offset(text, at, length)) {
        return None;
    }
    end(date_time_text((seconds / 86_400) as i64, (seconds % 86_400) as u32 * 1000 + millis)?, room)
}

/// A blank and the offset of a time zone; the instant is the same in all.
#[inline]
fn is_offset(text: &[u8; SHORT], at: usize, length: usize) -> bool {
    let Some(bytes) = text[at + 1..].first_chunk() else { return false };
    let count = others(*bytes).trailing_zeros() as usize;
    let is_limited = count < 4 || (count == 4 && bytes[..4] <= b"2880"[..]);
    text[at] == b' ' && count > 0 && is_limited && at + 1 + count == length
}

/// A number of just ten digits.
#[inline]
fn ten_digits(text: &[u8; SHORT]) -> Option<u64> {
    let bytes = text.first_chunk::<16>().filter(|bytes| others(**bytes) & 0x7ff == 0x400)?;
    let [tens, ones] = [text[8], text[9]].map(|digit| u64::from(digit - b'0'));
    let eight = eight_digits(u64::from_le_bytes(*bytes.first_chunk()?) ^ (u64::MAX / 255 * u64::from(b'0')));
    Some(eight * 100 + tens * 10 + ones)
}

/// The milliseconds of a fraction behind ten digits and a point, of three to nine digits, and where it ends.
#[inline]
fn fraction(text: &[u8; SHORT]) -> Option<(u32, usize)> {
    let count = others(*text[11..].first_chunk()?).trailing_zeros() as usize;
    let [hundreds, tens, ones] =
        [text[11], text[12], text[13]].map(|digit| u32::from(digit.wrapping_sub(b'0')));
    (3..=9).contains(&count).then_some((hundreds * 100 + tens * 10 + ones, 11 + count))
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

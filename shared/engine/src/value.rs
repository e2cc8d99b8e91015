//! One cell: from Snowflake's wire text to what Salesforce takes, or a fault.
//!
//! Nothing is guessed, cut, rounded or trimmed, and no number passes through a float: a value is
//! rewritten as text or refused. Decisions that a user may notice:
//!
//! - An empty text is treated as NULL: Salesforce reads an empty cell as "leave the field alone", so an
//!   empty text cannot be written.
//! - CRLF and a lone CR inside a text become LF, because uploads are declared with LF line ends.
//! - The text `#N/A` is refused: Salesforce would clear the field.
//! - Digits of a number are passed through; only leading zeros, a plus sign, an exponent and a fraction
//!   of zeros that the field has no room for are rewritten.
//! - Timestamps become UTC and lose what is finer than a millisecond, towards the past.
//!   A `TIMESTAMP_NTZ` is taken as UTC.
//!
//! | code | the value |
//! | --- | --- |
//! | `null_value` | is NULL or empty, and the mapping refuses that |
//! | `broken_text` | holds half of a surrogate pair |
//! | `unreadable_value` | is not of its column type, or not readable as the field's type |
//! | `control_character` | holds a control character other than line feed and tab |
//! | `reserved_text` | is the text `#N/A` |
//! | `too_long` | has more characters than the field |
//! | `not_in_picklist` | is none of the active picklist values |
//! | `too_many_values` | has more than 100 picklist values |
//! | `not_finite` | is NaN or infinite |
//! | `not_an_integer` | has a fraction |
//! | `too_many_decimals` | has more digits after the point than the field |
//! | `out_of_range` | has more digits before the point than the field |
//! | `not_boolean` | is neither true nor false |
//! | `date_out_of_range` | is outside of the years 1700 to 4000 |
//! | `not_a_record_id` | is not 15 or 18 letters and digits |
//!
//! <https://docs.snowflake.com/en/developer-guide/sql-api/handling-responses#getting-the-data-from-the-results>,
//! <https://developer.salesforce.com/docs/atlas.en-us.api_asynch.meta/api_asynch/datafiles_csv_valid_record_rows.htm>

mod fast;

use crate::{
    collections::NULL,
    contract::ColumnKind,
    csv::{self, Line},
    mapping::{Assignment, Conversion, Source, WhenNull},
    partition::{Raw, Row, Short},
};

use fast::Way;

/// Why a value cannot be sent. It never holds a part of the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The reason code, see the table of this module.
    pub code: &'static str,
    /// The header of the CSV column.
    pub field: String,
    /// The reason in words, a fragment such as `is longer than 80 characters`.
    pub reason: String,
}

/// The table of column types that a field type takes. The value of a pair that is not here is never
/// looked at: mapping such a column is a configuration failure.
#[must_use]
pub fn accepts(kind: &ColumnKind, conversion: &Conversion) -> bool {
    use ColumnKind as K;
    let is_timestamp = matches!(kind, K::TimestampNtz | K::TimestampLtz | K::TimestampTz);
    match conversion {
        Conversion::Text { .. } => !matches!(kind, K::Other(_)),
        Conversion::Picklist { .. } | Conversion::MultiPicklist { .. } => matches!(kind, K::Text | K::Fixed),
        Conversion::Integer { .. } | Conversion::Decimal { .. } => {
            matches!(kind, K::Fixed | K::Real | K::Decfloat | K::Text)
        }
        Conversion::Boolean => matches!(kind, K::Boolean | K::Fixed | K::Text),
        Conversion::Date | Conversion::DateTime => is_timestamp || matches!(kind, K::Date | K::Text),
        Conversion::Time => matches!(kind, K::Time | K::Text),
        Conversion::RecordId => matches!(kind, K::Text),
    }
}

/// The cells of one assignment: what [`write`] does for the rows of a partition, and faster.
pub struct Cells<'a> {
    assignment: &'a Assignment,
    /// The position of the column; of a constant, one that no row has.
    index: usize,
    way: Way<'a>,
}

/// What a cell does to its field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It sets a value.
    Set,
    /// It sets the field to null.
    Clear,
    /// It leaves the field as it is.
    Keep,
}

impl<'a> Cells<'a> {
    /// The cells of an assignment.
    #[must_use]
    pub fn of(assignment: &'a Assignment) -> Self {
        let (index, way) = match &assignment.source {
            Source::Constant(_) => (usize::MAX, Way::Long),
            Source::Column { index, kind, .. } => (*index, Way::of(kind, &assignment.conversion)),
        };
        Self { assignment, index, way }
    }

    /// Adds the CSV cell of a row to its line when that is short work, as for most. None when nothing has been added, and
    /// [`Self::write`] is for it.
    #[inline]
    pub fn write_short(&self, row: &Row<'_>, line: &mut Line) -> Option<Effect> {
        let room = line.room()?;
        let (length, effect) = match row.short(self.index)? {
            Short::Clean(text, length) => (self.way.write(text, length, room)?, Effect::Set),
            Short::Commas(text, length) => (self.way.write_quoted(text, length, room)?, Effect::Set),
            Short::Null => self.write_null(room)?,
        };
        line.wrote(length);
        Some(effect)
    }

    #[inline]
    fn write_null(&self, room: &mut [u8; csv::ROOM]) -> Option<(usize, Effect)> {
        match self.assignment.when_null {
            WhenNull::Clear => {
                *room.first_chunk_mut()? = *b"#N/A,";
                Some((NULL.len() + 1, Effect::Clear))
            }
            WhenNull::Keep => {
                room[0] = b',';
                Some((1, Effect::Keep))
            }
            WhenNull::Refuse => None,
        }
    }

    /// Adds the CSV cell of a row to its line; a fault leaves it empty.
    ///
    /// # Errors
    /// As [`write`], and `broken_text`.
    #[inline(never)]
    pub fn write(&self, row: &Row<'_>, line: &mut Line) -> Result<Effect, Fault> {
        match row.raw(self.index) {
            Raw::Clean(text) if self.way.is_verbatim(text) => line.push(text),
            Raw::Commas(text) if self.way.quotes(text) => line.push_quoted(text),
            Raw::Quotes(text) if self.way.quotes(text) => line.push_escaped(text),
            _ => return line.push_with(|out| self.write_long(row, out)),
        }
        Ok(Effect::Set)
    }

    fn write_long(&self, row: &Row<'_>, out: &mut Vec<u8>) -> Result<Effect, Fault> {
        if row.is_broken(self.index) {
            let reason = "holds half of a surrogate pair".to_owned();
            return Err(Fault { code: "broken_text", field: self.assignment.header.clone(), reason });
        }
        write(self.assignment, row.cell(self.index), out)?;
        Ok(match out.as_slice() {
            b"" => Effect::Keep,
            cell if cell == NULL.as_bytes() => Effect::Clear,
            _ => Effect::Set,
        })
    }
}

/// Appends the CSV cell of one assignment. `cell` is the text of its column, or none for NULL; a
/// constant does not look at it.
///
/// # Errors
/// The fault of the value; then `out` is as it was.
pub fn write(assignment: &Assignment, cell: Option<&str>, out: &mut Vec<u8>) -> Result<(), Fault> {
    let kind = match &assignment.source {
        Source::Constant(text) => {
            csv::cell(out, text);
            return Ok(());
        }
        Source::Column { kind, .. } => kind,
    };
    let start = out.len();
    let written = match cell.filter(|text| !text.is_empty()) {
        Some(text) => convert(kind, &assignment.conversion, text, out),
        None => null(assignment.when_null, out).map(drop),
    };
    written.map_err(|refusal| {
        out.truncate(start);
        refusal.of(&assignment.header)
    })
}

/// Checks a constant and brings it into the form that Salesforce wants. It is read as a text column is.
///
/// # Errors
/// The fault of the constant, for the field `header`.
pub fn constant(conversion: &Conversion, header: &str, text: &str) -> Result<String, Fault> {
    let mut out = Vec::new();
    convert(&ColumnKind::Text, conversion, text, &mut out).map_err(|refusal| refusal.of(header))?;
    match conversion {
        Conversion::Text { .. } | Conversion::Picklist { .. } | Conversion::MultiPicklist { .. } => {
            Ok(normal_line_ends(text))
        }
        _ => Ok(String::from_utf8(out).expect("the other conversions write ASCII without quotes")),
    }
}

/// A code and its reason.
struct Refusal {
    code: &'static str,
    reason: String,
}

impl Refusal {
    /// The fault of the value of a field.
    fn of(self, header: &str) -> Fault {
        Fault { code: self.code, field: header.to_owned(), reason: self.reason }
    }
}

type Written = Result<(), Refusal>;

#[cold]
fn refuse<T>(code: &'static str, reason: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal { code, reason: reason.into() })
}

fn null(when_null: WhenNull, out: &mut Vec<u8>) -> Result<Effect, Refusal> {
    match when_null {
        WhenNull::Clear => {
            out.extend_from_slice(NULL.as_bytes());
            Ok(Effect::Clear)
        }
        WhenNull::Keep => Ok(Effect::Keep),
        WhenNull::Refuse => refuse("null_value", "is NULL or empty"),
    }
}

fn convert(kind: &ColumnKind, conversion: &Conversion, text: &str, out: &mut Vec<u8>) -> Written {
    match conversion {
        Conversion::Text { max_chars } => to_text(kind, *max_chars, text, out),
        Conversion::Picklist { values } => to_picklist(values, text, out),
        Conversion::MultiPicklist { values } => to_multi_picklist(values, text, out),
        Conversion::Integer { digits } => to_integer(*digits, text, out),
        Conversion::Decimal { precision, scale } => to_decimal(*precision, *scale, text, out),
        Conversion::Boolean => to_boolean(text, out),
        Conversion::Date => {
            let days = match kind {
                ColumnKind::Date => whole(text).map_or_else(|| unreadable("a date"), Ok)?,
                ColumnKind::Text => civil_date(text).map_or_else(|| unreadable("a date"), Ok)?,
                _ => instant(kind, text)?.div_euclid(DAY),
            };
            date(days, out)
        }
        Conversion::DateTime => date_time(instant(kind, text)?, out),
        Conversion::Time => time(day_time(kind, text)?, out),
        Conversion::RecordId => to_record_id(text, out),
    }
}

fn unreadable<T>(what: &str) -> Result<T, Refusal> {
    refuse("unreadable_value", format!("cannot be read as {what}"))
}

// Text.

/// Text of every kind of column; the size limit counts what is written.
fn to_text(kind: &ColumnKind, max_chars: u32, text: &str, out: &mut Vec<u8>) -> Written {
    let start = out.len();
    match kind {
        ColumnKind::Real | ColumnKind::Decfloat => to_decimal(0, 0, text, out)?,
        ColumnKind::Boolean => to_boolean(text, out)?,
        ColumnKind::Date => convert(kind, &Conversion::Date, text, out)?,
        ColumnKind::Time => convert(kind, &Conversion::Time, text, out)?,
        ColumnKind::TimestampNtz | ColumnKind::TimestampLtz | ColumnKind::TimestampTz => {
            convert(kind, &Conversion::DateTime, text, out)?;
        }
        _ => return plain_text(max_chars, text, out),
    }
    // What was written is ASCII.
    if max_chars > 0 && out.len() - start > max_chars as usize { too_long(max_chars) } else { Ok(()) }
}

fn plain_text(max_chars: u32, text: &str, out: &mut Vec<u8>) -> Written {
    let special = holds_special(text.as_bytes());
    if special && text.bytes().any(is_control) {
        return refuse("control_character", "holds a control character other than line feed and tab");
    }
    if text == "#N/A" {
        return refuse("reserved_text", "is the very text by which Salesforce clears a field");
    }
    if special && text.contains('\r') {
        return plain_text(max_chars, &normal_line_ends(text), out);
    }
    if max_chars > 0 && text.len() > max_chars as usize && text.chars().count() > max_chars as usize {
        return too_long(max_chars);
    }
    if special || csv::has_outer_blank(text.as_bytes()) {
        csv::cell(out, text);
    } else {
        out.extend_from_slice(text.as_bytes());
    }
    Ok(())
}

fn too_long(max_chars: u32) -> Written {
    refuse("too_long", format!("is longer than {max_chars} characters"))
}

/// A control character that XML, and so Salesforce, has no place for. CR is dealt with on its own.
fn is_control(byte: u8) -> bool {
    (byte < b' ' && !matches!(byte, b'\t' | b'\n' | b'\r')) || byte == 0x7f
}

/// Whether a byte is there that needs a closer look: a control character, a comma or a quote.
/// Eight bytes at a time; the last eight overlap the ones before.
fn holds_special(text: &[u8]) -> bool {
    let is_special = |byte: u8| byte < b' ' || matches!(byte, b',' | b'"' | 0x7f);
    let Some(last) = text.last_chunk::<8>() else { return text.iter().any(|byte| is_special(*byte)) };
    let (words, _) = text.as_chunks::<8>();
    words.iter().fold(special_bits(*last), |bits, word| bits | special_bits(*word)) != 0
}

/// Not zero when one of eight bytes is special.
#[inline]
fn special_bits(bytes: [u8; 8]) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let word = u64::from_le_bytes(bytes);
    let below_space = word.wrapping_sub(ONES * 0x20) & !word;
    let equals = |byte: u8| {
        let difference = word ^ (ONES * u64::from(byte));
        difference.wrapping_sub(ONES) & !difference
    };
    (below_space | equals(b',') | equals(b'"') | equals(0x7f)) & HIGHS
}

fn normal_line_ends(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n")
}

fn to_picklist(values: &[String], text: &str, out: &mut Vec<u8>) -> Written {
    if values.iter().any(|value| value == text) {
        return plain_text(0, text, out);
    }
    refuse("not_in_picklist", "is none of the active picklist values")
}

/// <https://help.salesforce.com/s/articleView?id=sf.custom_field_allocations.htm>: at most 100 values at once.
fn to_multi_picklist(values: &[String], text: &str, out: &mut Vec<u8>) -> Written {
    if text.split(';').count() > 100 {
        return refuse("too_many_values", "has more than 100 picklist values");
    }
    if text.split(';').any(str::is_empty) {
        return unreadable("picklist values with one `;` between two");
    }
    let is_listed = |one: &str| values.is_empty() || values.iter().any(|value| value == one);
    if text.split(';').all(is_listed) {
        return plain_text(0, text, out);
    }
    refuse("not_in_picklist", "holds a value that is none of the active picklist values")
}

fn to_record_id(text: &str, out: &mut Vec<u8>) -> Written {
    if matches!(text.len(), 15 | 18) && text.bytes().all(|b| b.is_ascii_alphanumeric()) {
        out.extend_from_slice(text.as_bytes());
        return Ok(());
    }
    refuse("not_a_record_id", "is not 15 or 18 letters and digits")
}

fn to_boolean(text: &str, out: &mut Vec<u8>) -> Written {
    let is = |word: &str| text.eq_ignore_ascii_case(word);
    if is("true") || text == "1" {
        out.extend_from_slice(b"true");
    } else if is("false") || text == "0" {
        out.extend_from_slice(b"false");
    } else {
        return refuse("not_boolean", "is none of `true`, `false`, `1`, `0`");
    }
    Ok(())
}

// Numbers.

/// The largest exponent that is written out; a binary float ends at 308, and no field holds more than 18 digits.
const LARGEST_EXPONENT: i32 = 400;

/// A number as its digits: no sign, no leading zeros before the point unless it is the only digit.
struct Digits<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
}

fn to_integer(digits: u32, text: &str, out: &mut Vec<u8>) -> Written {
    with_digits(text, |number| {
        if number.fraction.bytes().any(|digit| digit != b'0') {
            return refuse("not_an_integer", "has a fraction; round it in the model");
        }
        if digits > 0 && number.whole.len() > digits as usize {
            return refuse("out_of_range", format!("has more than {digits} digits"));
        }
        number.write("", out);
        Ok(())
    })
}

fn to_decimal(precision: u32, scale: u32, text: &str, out: &mut Vec<u8>) -> Written {
    with_digits(text, |number| {
        if precision == 0 {
            number.write(number.fraction, out);
            return Ok(());
        }
        let room = precision.saturating_sub(scale) as usize;
        if number.whole.len() > room && number.whole != "0" {
            return refuse("out_of_range", format!("has more than {room} digits before the point"));
        }
        let mut fraction = number.fraction;
        if fraction.len() > scale as usize {
            let (kept, rest) = fraction.split_at(scale as usize);
            if rest.bytes().any(|digit| digit != b'0') {
                let reason = format!("has more than {scale} digits after the point; round it in the model");
                return refuse("too_many_decimals", reason);
            }
            fraction = kept;
        }
        number.write(fraction, out);
        Ok(())
    })
}

impl Digits<'_> {
    /// Writes the number with this fraction. Minus zero is zero.
    fn write(&self, fraction: &str, out: &mut Vec<u8>) {
        let is_zero = self.whole == "0" && fraction.bytes().all(|digit| digit == b'0');
        if self.negative && !is_zero {
            out.push(b'-');
        }
        out.extend_from_slice(self.whole.as_bytes());
        if !fraction.is_empty() {
            out.push(b'.');
            out.extend_from_slice(fraction.as_bytes());
        }
    }
}

/// Reads a decimal number, writing out its exponent.
fn with_digits(text: &str, then: impl FnOnce(&Digits<'_>) -> Written) -> Written {
    let (negative, unsigned) = match text.as_bytes() {
        [b'-', ..] => (true, &text[1..]),
        [b'+', ..] => (false, &text[1..]),
        _ => (false, text),
    };
    if let Some(number) = digits(negative, unsigned) {
        return then(&number);
    }
    let Some((mantissa, exponent)) = unsigned.split_once(['e', 'E']) else { return not_a_number(unsigned) };
    let exponent = whole(exponent.strip_prefix('+').unwrap_or(exponent));
    let (Some(number), Some(exponent)) = (digits(negative, mantissa), exponent) else {
        return not_a_number(unsigned);
    };
    let Some(plain) = written_out(&number, exponent) else {
        return refuse("out_of_range", "has an exponent that no field has room for");
    };
    digits(negative, &plain).map_or_else(|| not_a_number(unsigned), |number| then(&number))
}

/// Splits digits, a point and digits. None when it is anything else.
fn digits(negative: bool, text: &str) -> Option<Digits<'_>> {
    let point = text.bytes().position(|b| !b.is_ascii_digit()).unwrap_or(text.len());
    let fraction = match text.as_bytes().get(point) {
        None => "",
        Some(b'.') => &text[point + 1..],
        Some(_) => return None,
    };
    if text.len() == usize::from(point < text.len()) || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let zeros = text.bytes().take(point).take_while(|b| *b == b'0').count();
    let whole = if zeros == point { "0" } else { &text[zeros..point] };
    Some(Digits { negative, whole, fraction })
}

/// The number without an exponent; none when that would be absurdly long.
fn written_out(number: &Digits<'_>, exponent: i64) -> Option<String> {
    let digits = [number.whole, number.fraction].concat();
    if digits.bytes().all(|digit| digit == b'0') {
        return Some("0".to_owned());
    }
    let exponent = i32::try_from(exponent).ok().filter(|e| e.abs() <= LARGEST_EXPONENT)?;
    let point = i32::try_from(number.whole.len()).ok()?.checked_add(exponent)?;
    let zeros = |count: i32| "0".repeat(count.max(0) as usize);
    let plain = match usize::try_from(point) {
        Ok(point) if point < digits.len() => format!("{}.{}", &digits[..point], &digits[point..]),
        Ok(_) => digits.clone() + &zeros(point - digits.len() as i32),
        Err(_) => format!("0.{}{digits}", zeros(-point)),
    };
    // A mantissa such as `1.50` leaves zeros at the end that say nothing.
    Some(match plain.contains('.') {
        true => plain.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => plain,
    })
}

#[cold]
fn not_a_number(unsigned: &str) -> Written {
    let is = |word: &str| unsigned.eq_ignore_ascii_case(word);
    if is("nan") || is("inf") || is("infinity") {
        return refuse("not_finite", "is NaN or infinite, which Salesforce has no number for");
    }
    unreadable("a number")
}

/// A whole number with an optional minus sign, smaller than [`LARGEST_WHOLE`].
fn whole(text: &str) -> Option<i64> {
    let (negative, digits) = match text.as_bytes() {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    let magnitude = digits.iter().try_fold(0_i64, |number, byte| {
        byte.is_ascii_digit().then(|| number * 10 + i64::from(byte - b'0')).filter(|n| *n < LARGEST_WHOLE)
    })?;
    (!digits.is_empty()).then_some(if negative { -magnitude } else { magnitude })
}

/// Beyond every whole number that is read. One digit more still fits an `i64`, so nothing overflows.
const LARGEST_WHOLE: i64 = 900_000_000_000_000_000;

// Dates and times. Instants are milliseconds, days are counted from 1970-01-01.

const DAY: i64 = 86_400_000;

/// The instant of a date, a timestamp or a text with its zone.
fn instant(kind: &ColumnKind, text: &str) -> Result<i64, Refusal> {
    let millis = match kind {
        ColumnKind::Date => whole(text).and_then(|days| days.checked_mul(DAY)),
        ColumnKind::Text => text_instant(text),
        ColumnKind::TimestampTz => match split(text, b' ') {
            Some((seconds, offset)) => whole(offset)
                .filter(|minutes| (0..=2880).contains(minutes))
                .and_then(|_| floor_to_millis(seconds)),
            None => floor_to_millis(text),
        },
        _ => floor_to_millis(text),
    };
    millis.map_or_else(|| unreadable("a timestamp"), Ok)
}

/// The milliseconds of seconds with a fraction, towards the past: `-0.0005` is one millisecond before 1970.
fn floor_to_millis(seconds: &str) -> Option<i64> {
    let negative = seconds.starts_with('-');
    let unsigned = seconds.strip_prefix('-').unwrap_or(seconds);
    let (whole_part, fraction) = split(unsigned, b'.').unwrap_or((unsigned, ""));
    let (millis, rest) = millis_of(fraction)?;
    let magnitude =
        whole(whole_part).filter(|_| !whole_part.starts_with('-'))?.checked_mul(1000)?.checked_add(millis)?;
    Some(if negative { -magnitude - i64::from(rest) } else { magnitude })
}

/// The text before and after the first such ASCII byte.
fn split(text: &str, byte: u8) -> Option<(&str, &str)> {
    let at = text.bytes().position(|b| b == byte)?;
    Some((&text[..at], &text[at + 1..]))
}

/// The milliseconds of the digits of a fraction, and whether there is anything beyond them.
fn millis_of(fraction: &str) -> Option<(i64, bool)> {
    if fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let digit = |place: usize| fraction.as_bytes().get(place).map_or(0, |b| i64::from(b - b'0'));
    let millis = digit(0) * 100 + digit(1) * 10 + digit(2);
    let rest = fraction.bytes().skip(3).any(|b| b != b'0');
    Some((millis, rest))
}

/// `2020-01-31T12:34:56.789Z` or with an offset, read by its civil parts.
fn text_instant(text: &str) -> Option<i64> {
    if text.as_bytes().get(10) != Some(&b'T') || text.contains('[') {
        return None;
    }
    let instant: jiff::Timestamp = text.parse().ok()?;
    i64::try_from(instant.as_nanosecond().div_euclid(1_000_000)).ok()
}

/// The days of `2020-01-31`.
fn civil_date(text: &str) -> Option<i64> {
    let (year, month, day) = match text.as_bytes() {
        [_, _, _, _, b'-', _, _, b'-', _, _] => (text.get(..4)?, text.get(5..7)?, text.get(8..)?),
        _ => return None,
    };
    let part = |part: &str| whole(part).filter(|n| *n >= 0);
    let (year, month, day) = (part(year)?, part(month)?, part(day)?);
    let days = days_from_civil(year, month, day);
    ((1..=12).contains(&month) && civil_from_days(days) == (year, month, day)).then_some(days)
}

/// The milliseconds since midnight of a time column, or of `12:34`, `12:34:56`, `12:34:56.789`, with or without `Z`.
fn day_time(kind: &ColumnKind, text: &str) -> Result<i64, Refusal> {
    let millis = match kind {
        ColumnKind::Text => text_time(text.strip_suffix('Z').unwrap_or(text)),
        _ => floor_to_millis(text),
    };
    millis.filter(|millis| (0..DAY).contains(millis)).map_or_else(|| unreadable("a time of day"), Ok)
}

fn text_time(text: &str) -> Option<i64> {
    let two = |part: &str, limit: i64| {
        (part.len() == 2).then(|| whole(part)).flatten().filter(|n| (0..limit).contains(n))
    };
    let mut parts = text.splitn(3, ':');
    let (hours, minutes) = (two(parts.next()?, 24)?, two(parts.next()?, 60)?);
    let (seconds, fraction) = match parts.next() {
        Some(part) => part.split_once('.').unwrap_or((part, "")),
        None => ("00", ""),
    };
    Some(((hours * 60 + minutes) * 60 + two(seconds, 60)?) * 1000 + millis_of(fraction)?.0)
}

/// Writes `yyyy-MM-dd`.
fn date(days: i64, out: &mut Vec<u8>) -> Written {
    out.extend_from_slice(&date_text(days).map_or_else(no_date, Ok)?);
    Ok(())
}

/// Writes `yyyy-MM-ddTHH:mm:ss.SSSZ`.
fn date_time(millis: i64, out: &mut Vec<u8>) -> Written {
    let text = date_time_text(millis.div_euclid(DAY), millis.rem_euclid(DAY) as u32);
    out.extend_from_slice(&text.map_or_else(no_date, Ok)?);
    Ok(())
}

/// Writes `HH:mm:ss.SSSZ`.
fn time(millis: i64, out: &mut Vec<u8>) -> Written {
    out.extend_from_slice(&time_text(millis as u32));
    Ok(())
}

/// The days from 1700-01-01 to 4000-12-31: Salesforce has no years before and after.
const DATES: std::ops::RangeInclusive<i64> = -98_615..=741_807;

#[cold]
fn no_date<T>() -> Result<T, Refusal> {
    refuse("date_out_of_range", "is outside of the years 1700 to 4000")
}

/// `yyyy-MM-ddTHH:mm:ss.SSSZ`, so many days after 1970 and milliseconds after midnight; none outside of [`DATES`].
#[inline]
fn date_time_text(days: i64, millis: u32) -> Option<[u8; 24]> {
    let mut text = [b'T'; 24];
    text[..10].copy_from_slice(&date_text(days)?);
    text[11..].copy_from_slice(&time_text(millis));
    Some(text)
}

/// `yyyy-MM-dd`; none outside of [`DATES`].
#[inline]
fn date_text(days: i64) -> Option<[u8; 10]> {
    if !DATES.contains(&days) {
        return None;
    }
    let (year, month, day) = calendar((days + 719_468) as u32);
    let [century, year, month, day] = [year / 100, year % 100, month, day].map(two_digits);
    Some([century[0], century[1], year[0], year[1], b'-', month[0], month[1], b'-', day[0], day[1]])
}

/// Year, month and day so many days after 0000-03-01; [`civil_from_days`] for what fits 32 bits, without a
/// division by another number than a power of two (<https://doi.org/10.1002/spe.3172>).
const fn calendar(days: u32) -> (u32, u32, u32) {
    let quarters = 4 * days + 3;
    let century = quarters / 146_097;
    let years = 2_939_745 * (quarters % 146_097 / 4 * 4 + 3) as u64;
    let day_of_year = years as u32 / 2_939_745 / 4;
    let months = 2141 * day_of_year + 197_913;
    let (year, month, day) =
        (100 * century + (years >> 32) as u32, months >> 16, (months & 0xffff) / 2141 + 1);
    if day_of_year >= 306 { (year + 1, month - 12, day) } else { (year, month, day) }
}

/// `HH:mm:ss.SSSZ`.
fn time_text(millis: u32) -> [u8; 13] {
    let seconds = millis / 1000;
    let parts = [seconds / 3600, seconds / 60 % 60, seconds % 60, millis % 1000 / 10];
    let [h, m, s, hundredths] = parts.map(two_digits);
    let last = b'0' + (millis % 10) as u8;
    [h[0], h[1], b':', m[0], m[1], b':', s[0], s[1], b'.', hundredths[0], hundredths[1], last, b'Z']
}

/// The digits of a number below 100.
#[inline]
fn two_digits(number: u32) -> [u8; 2] {
    const DIGITS: [[u8; 2]; 128] = {
        let mut digits = [[0; 2]; 128];
        let mut number = 0;
        while number < 100 {
            digits[number] = [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8];
            number += 1;
        }
        digits
    };
    DIGITS[(number & 127) as usize]
}

/// Days since 1970-01-01 of a date in the proleptic Gregorian calendar. Years begin in March here, so
/// that the leap day is the last day of a year, and are counted in eras of 400.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// The reverse of [`days_from_civil`].
pub(crate) fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (days.div_euclid(146_097) * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_date_is_that_of_the_other_calendar() {
        for days in DATES {
            let (year, month, day) = civil_from_days(days);
            let text = date_text(days).map(|text| String::from_utf8_lossy(&text).into_owned());
            assert_eq!(text, Some(format!("{year:04}-{month:02}-{day:02}")));
        }
        assert_eq!(civil_from_days(*DATES.start()), (1700, 1, 1));
        assert_eq!(civil_from_days(*DATES.end()), (4000, 12, 31));
        assert!(date_text(DATES.start() - 1).is_none() && date_text(DATES.end() + 1).is_none());
        assert!(date_text(i64::MIN).is_none() && date_text(i64::MAX).is_none());
    }
}

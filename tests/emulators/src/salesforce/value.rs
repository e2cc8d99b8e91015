//! What one field accepts, how a value is kept, and how it is shown.

use std::borrow::Cow;

use jiff::Timestamp;
use jiff::civil::Date;
use serde_json::json;

use super::decimal::Decimal;
use super::schema::{Field, Kind};

/// Why a row was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RowError {
    pub(crate) code: Cow<'static, str>,
    pub(crate) message: String,
    pub(crate) fields: Vec<String>,
}

impl RowError {
    pub(crate) fn new(code: &'static str, message: impl Into<String>, fields: &[&str]) -> Self {
        let fields = fields.iter().map(|field| (*field).to_owned()).collect();
        Self { code: Cow::Borrowed(code), message: message.into(), fields }
    }

    /// `CODE:message:Field --`, the form in bulk results; a foreign org words the message in its own language.
    pub(crate) fn bulk(&self, foreign: bool) -> String {
        let message = self.message(foreign);
        let separator = if self.fields.is_empty() { "" } else { " " };
        format!("{}:{message}:{}{separator}--", self.code, self.fields.join(", "))
    }

    /// The form inside a collection's result.
    pub(crate) fn rest(&self, foreign: bool) -> serde_json::Value {
        json!({"statusCode": self.code, "message": self.message(foreign), "fields": self.fields})
    }

    pub(crate) fn message(&self, foreign: bool) -> &str {
        if foreign { "レコードを保存できませんでした" } else { &self.message }
    }
}

/// Checks a value and brings it into the form in which it is kept.
pub(crate) fn accept<'a>(field: &Field, text: &'a str) -> Result<Cow<'a, str>, RowError> {
    match &field.kind {
        Kind::Boolean => boolean(field, text).map(Cow::Borrowed),
        Kind::Int => int(field, text),
        Kind::Double(..) | Kind::Currency(..) | Kind::Percent(..) => decimal(field, text).map(Cow::Owned),
        Kind::Date => date(field, text).map(|()| Cow::Borrowed(text)),
        Kind::Datetime => {
            instant(text).map(|at| Cow::Owned(stamp(at))).ok_or_else(|| wrong_type(field, text))
        }
        Kind::Picklist { values, restricted: true } => {
            restricted(field, values, text).map(|()| Cow::Borrowed(text))
        }
        Kind::Email => email(field, text).map(|()| Cow::Borrowed(text)),
        _ => short_enough(field, text).map(|()| Cow::Borrowed(text)),
    }
}

fn wrong_type(field: &Field, text: &str) -> RowError {
    let message = format!("{}: value not of required type: {text}", field.label());
    RowError::new("INVALID_TYPE_ON_FIELD_IN_RECORD", message, &[&field.name])
}

fn short_enough(field: &Field, text: &str) -> Result<(), RowError> {
    let most = field.kind.length();
    if text.encode_utf16().count() <= usize::try_from(most).unwrap_or(usize::MAX) {
        return Ok(());
    }
    let message = format!("{}: data value too large: {text} (max length={most})", field.label());
    Err(RowError::new("STRING_TOO_LONG", message, &[&field.name]))
}

fn email(field: &Field, text: &str) -> Result<(), RowError> {
    short_enough(field, text)?;
    let plausible = text.split_once('@').is_some_and(|(user, host)| !user.is_empty() && host.contains('.'));
    if plausible && !text.contains(char::is_whitespace) {
        return Ok(());
    }
    let message = format!("{}: invalid email address: {text}", field.label());
    Err(RowError::new("INVALID_EMAIL_ADDRESS", message, &[&field.name]))
}

fn restricted(field: &Field, values: &[String], text: &str) -> Result<(), RowError> {
    if values.iter().any(|value| value == text) {
        return Ok(());
    }
    let message = format!("{}: bad value for restricted picklist field: {text}", field.label());
    Err(RowError::new("INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", message, &[&field.name]))
}

fn boolean(field: &Field, text: &str) -> Result<&'static str, RowError> {
    match text {
        _ if text.eq_ignore_ascii_case("true") => Ok("true"),
        _ if text.eq_ignore_ascii_case("false") => Ok("false"),
        _ => Err(wrong_type(field, text)),
    }
}

/// Whole numbers are digits only: even `250.0` is of the wrong type.
fn int<'a>(field: &Field, text: &'a str) -> Result<Cow<'a, str>, RowError> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong_type(field, text));
    }
    text.parse::<i32>().map(|number| Cow::Owned(number.to_string())).map_err(|_| out_of_range(field, text))
}

fn decimal(field: &Field, text: &str) -> Result<String, RowError> {
    let (precision, scale) = field.kind.decimal().expect("only decimal kinds come here");
    let number = Decimal::parse(text).ok_or_else(|| wrong_type(field, text))?.rounded(scale);
    if number.whole_digits() > precision - scale {
        return Err(out_of_range(field, text));
    }
    Ok(number.plain())
}

fn out_of_range(field: &Field, text: &str) -> RowError {
    let message = format!("{}: value outside of valid range on numeric field: {text}", field.label());
    RowError::new("NUMBER_OUTSIDE_VALID_RANGE", message, &[&field.name])
}

/// `yyyy-MM-dd` of the calendar, without a zone.
fn date(field: &Field, text: &str) -> Result<(), RowError> {
    let valid = shaped(text, "dddd-dd-dd") && text.parse::<Date>().is_ok();
    if valid { Ok(()) } else { Err(wrong_type(field, text)) }
}

/// Reads `yyyy-MM-ddTHH:mm:ss[.SSS]` with `Z` or an offset.
pub(crate) fn instant(text: &str) -> Option<Timestamp> {
    if !text.is_ascii() || text.len() < 20 {
        return None;
    }
    let (clock, rest) = text.split_at(19);
    let zone = match rest.strip_prefix('.') {
        Some(fraction) => fraction.trim_start_matches(|c: char| c.is_ascii_digit()),
        None => rest,
    };
    let sign = zone.get(..1).unwrap_or_default();
    let known = zone == "Z"
        || (["+", "-"].contains(&sign) && (shaped(&zone[1..], "dd:dd") || shaped(&zone[1..], "dddd")));
    if !shaped(clock, "dddd-dd-ddTdd:dd:dd") || !known {
        return None;
    }
    text.parse().ok()
}

/// Whether a text follows a pattern in which `d` stands for a digit.
fn shaped(text: &str, pattern: &str) -> bool {
    let fits = |(byte, wanted): (u8, u8)| if wanted == b'd' { byte.is_ascii_digit() } else { byte == wanted };
    text.len() == pattern.len() && text.bytes().zip(pattern.bytes()).all(fits)
}

/// `2026-03-01T10:00:00.000+0000`, the form in JSON and in the store.
pub(crate) fn stamp(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%3f+0000").to_string()
}

/// [`stamp`] of milliseconds since 1970.
pub(crate) fn stamp_ms(milliseconds: i64) -> String {
    Timestamp::from_millisecond(milliseconds).map(stamp).unwrap_or_default()
}

/// How a kept value shows in CSV.
pub(crate) fn csv_form<'a>(kind: &Kind, kept: &'a str) -> Cow<'a, str> {
    match kind {
        Kind::Datetime => Cow::Owned(kept.replace("+0000", "Z")),
        _ if kind.decimal().is_some() => number_form(kept),
        _ => Cow::Borrowed(kept),
    }
}

fn number_form(text: &str) -> Cow<'_, str> {
    Decimal::parse(text).map_or(Cow::Borrowed(text), |number| Cow::Owned(number.scientific()))
}

/// How a value that was sent comes back in a result file: numbers and times in the platform's form.
pub(crate) fn echo<'a>(kind: &Kind, sent: &'a str) -> Cow<'a, str> {
    match kind {
        Kind::Datetime => match instant(sent) {
            Some(at) => Cow::Owned(stamp(at).replace("+0000", "Z")),
            None => Cow::Borrowed(sent),
        },
        _ if kind.decimal().is_some() => number_form(sent),
        _ => Cow::Borrowed(sent),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_accepts_its_own_form_only() {
        let restricted = Field::picklist("P", true, &["O", "F"]);
        for (field, text, expected) in [
            (Field::new("N", Kind::Int), "250", Ok("250")),
            (Field::new("N", Kind::Int), "250.0", Err("INVALID_TYPE_ON_FIELD_IN_RECORD")),
            (Field::new("N", Kind::Int), "3000000000", Err("NUMBER_OUTSIDE_VALID_RANGE")),
            (Field::new("N", Kind::Currency(5, 2)), "1.5E2", Ok("150")),
            (Field::new("N", Kind::Currency(5, 2)), "999.994", Ok("999.99")),
            (Field::new("N", Kind::Currency(5, 2)), "999.995", Err("NUMBER_OUTSIDE_VALID_RANGE")),
            (Field::new("N", Kind::Currency(5, 2)), "1,5", Err("INVALID_TYPE_ON_FIELD_IN_RECORD")),
            (Field::new("B", Kind::Boolean), "TRUE", Ok("true")),
            (Field::new("B", Kind::Boolean), "1", Err("INVALID_TYPE_ON_FIELD_IN_RECORD")),
            (Field::new("D", Kind::Date), "2024-02-29", Ok("2024-02-29")),
            (Field::new("D", Kind::Date), "2023-02-29", Err("INVALID_TYPE_ON_FIELD_IN_RECORD")),
            (Field::new("D", Kind::Date), "2024-02-29Z", Err("INVALID_TYPE_ON_FIELD_IN_RECORD")),
            (
                Field::new("T", Kind::Datetime),
                "2024-01-01T01:00:00+01:00",
                Ok("2024-01-01T00:00:00.000+0000"),
            ),
            (Field::new("T", Kind::Datetime), "2024-01-01T00:00:00.5Z", Ok("2024-01-01T00:00:00.500+0000")),
            (Field::new("T", Kind::Datetime), "2024-01-01T00:00:00", Err("INVALID_TYPE_ON_FIELD_IN_RECORD")),
            (Field::new("T", Kind::Datetime), "2024-01-01 00:00:00Z", Err("INVALID_TYPE_ON_FIELD_IN_RECORD")),
            (restricted.clone(), "O", Ok("O")),
            (restricted, "o", Err("INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST")),
            (Field::new("S", Kind::Text(3)), "äöü", Ok("äöü")),
            (Field::new("S", Kind::Text(3)), "four", Err("STRING_TOO_LONG")),
            (Field::new("E", Kind::Email), "a@b.c", Ok("a@b.c")),
            (Field::new("E", Kind::Email), "nobody", Err("INVALID_EMAIL_ADDRESS")),
        ] {
            let got = accept(&field, text);
            assert_eq!(
                got.as_deref().map_err(|error| error.code.as_ref()),
                expected,
                "{:?} {text}",
                field.kind
            );
        }
    }

    #[test]
    fn row_errors_follow_the_published_grammar() {
        let missing =
            RowError::new("REQUIRED_FIELD_MISSING", "Required fields are missing: [Name]", &["Name"]);
        assert_eq!(missing.bulk(false), "REQUIRED_FIELD_MISSING:Required fields are missing: [Name]:Name --");
        let lock = RowError::new("UNABLE_TO_LOCK_ROW", "unable to obtain exclusive access", &[]);
        assert_eq!(lock.bulk(false), "UNABLE_TO_LOCK_ROW:unable to obtain exclusive access:--");
    }
}

//! Bound values: what is sent for each type, and which values are refused.
//!
//! <https://docs.snowflake.com/en/developer-guide/sql-api/submitting-requests#using-bind-variables-in-a-statement>

use std::collections::BTreeMap;

use serde::Deserialize;

use super::calendar;
use super::decimal::Decimal;
use super::error::SqlError;
use super::kind::{Kind, Zone};
use super::query::Bindings;

/// Nanoseconds of a day.
const DAY: i128 = 86_400_000_000_000;

/// A value as it is sent.
#[derive(Deserialize)]
pub(crate) struct Binding {
    #[serde(rename = "type")]
    kind: String,
    value: Option<String>,
}

/// Bound values by position; dates are milliseconds, times and timestamps nanoseconds.
///
/// # Errors
/// 100037 if a value is not of its type, 002049 if a position is left out.
pub(crate) fn read(bindings: &BTreeMap<String, Binding>) -> Result<Bindings, SqlError> {
    let one = |position: usize| {
        let unset =
            || SqlError::compilation("002049", "42601", format!("Bind variable ?{position} not set."));
        let binding = bindings.get(&position.to_string()).ok_or_else(unset)?;
        match &binding.value {
            Some(value) => bound(&binding.kind.to_uppercase(), value),
            None => Ok((Kind::Null, None)),
        }
    };
    (1..=bindings.len()).map(one).collect()
}

fn bound(kind: &str, value: &str) -> Result<(Kind, Option<String>), SqlError> {
    let wrong = || SqlError::new("100037", "22018", format!("Value '{value}' cannot be converted to {kind}"));
    let (kind, text) = typed(kind, value).ok_or_else(wrong)?;
    Ok((kind, Some(text)))
}

fn typed(kind: &str, value: &str) -> Option<(Kind, String)> {
    Some(match kind {
        "TEXT" => (Kind::Text(u32::try_from(value.chars().count()).unwrap_or(u32::MAX)), value.to_owned()),
        "FIXED" => {
            let number = Decimal::parse(value)?;
            let precision = u8::try_from(number.digits()).unwrap_or(38).max(number.scale).clamp(1, 38);
            (Kind::number(precision, number.scale), number.to_string())
        }
        "REAL" if is_real(value) => (Kind::Real, value.to_owned()),
        "BOOLEAN" if matches!(value, "true" | "false") => (Kind::Boolean, value.to_owned()),
        "BINARY" if is_hex(value) => (Kind::Binary(8_388_608), value.to_uppercase()),
        "DATE" => (Kind::Date, value.parse::<i64>().ok()?.div_euclid(86_400_000).to_string()),
        "TIME" => {
            let in_a_day = value.parse().is_ok_and(|nanos: i128| (0..DAY).contains(&nanos));
            (Kind::Time(9), in_a_day.then(|| seconds(value)).flatten()?)
        }
        "TIMESTAMP_NTZ" => (Kind::Timestamp(Zone::Ntz, 9), seconds(value)?),
        "TIMESTAMP_LTZ" => (Kind::Timestamp(Zone::Ltz, 9), seconds(value)?),
        "TIMESTAMP_TZ" => {
            let (instant, offset) = value.split_once(' ')?;
            offset.parse::<u16>().ok().filter(|offset| *offset <= 2880)?;
            let stored = format!("{} {offset}", seconds(instant)?);
            (Kind::Timestamp(Zone::Tz, 9), calendar::convert(&stored, Zone::Tz, Zone::Tz, 9).ok()?)
        }
        _ => return None,
    })
}

/// Nanoseconds as seconds with nine decimals.
fn seconds(nanos: &str) -> Option<String> {
    Some(Decimal { unscaled: nanos.parse().ok()?, scale: 9 }.to_string())
}

/// Of the values that are not finite only the long words are taken: `inf` is refused.
fn is_real(value: &str) -> bool {
    let word = value.bytes().any(|byte| byte.is_ascii_alphabetic() && !matches!(byte, b'e' | b'E'));
    matches!(value, "NaN" | "Infinity" | "-Infinity") || (!word && value.parse::<f64>().is_ok())
}

fn is_hex(value: &str) -> bool {
    value.len().is_multiple_of(2) && value.bytes().all(|byte| byte.is_ascii_hexdigit())
}

//! Column types, and values as they are stored: mostly the very text that goes over the wire.
//!
//! Numbers, dates, times and timestamps are decimal texts (compared by the `dec` collation), booleans are SQLite
//! integers, `real` is a SQLite float, binary is upper-case hex, semi-structured values are JSON text.

use std::fmt;

use serde_json::{Value as Json, json};
use sqlparser::ast::{BinaryLength, CharacterLength, DataType, ExactNumberInfo, TimezoneInfo};

use super::calendar;
use super::decimal::Decimal;
use super::error::SqlError;
use super::variant::{self, Node};

/// The default length of a VARCHAR, in characters.
pub(crate) const TEXT: u32 = 16_777_216;
/// The default length of a BINARY, in bytes.
const BINARY: u32 = 8_388_608;

/// Which clock a timestamp is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zone {
    /// A wall clock without a zone.
    Ntz,
    /// An instant shown in the session's zone.
    Ltz,
    /// An instant with an offset.
    Tz,
}

/// A column type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The type of a bare NULL.
    Null,
    /// NUMBER(precision, scale).
    Fixed {
        /// Digits in all.
        precision: u8,
        /// Digits after the point.
        scale: u8,
    },
    /// FLOAT.
    Real,
    /// VARCHAR(length in characters).
    Text(u32),
    /// BOOLEAN.
    Boolean,
    /// DATE.
    Date,
    /// TIME(fraction digits).
    Time(u8),
    /// TIMESTAMP_NTZ, _LTZ or _TZ (fraction digits).
    Timestamp(Zone, u8),
    /// BINARY(length in bytes).
    Binary(u32),
    /// VARIANT.
    Variant,
    /// OBJECT.
    Object,
    /// ARRAY.
    Array,
    /// A type that is not computed with: values come back as they were loaded, under this name in `rowType`.
    Verbatim(&'static str),
}

/// The types that values can only be loaded in, as `rowType` names them.
const VERBATIM: [&str; 6] =
    ["decfloat", "geography", "geometry", "vector", "interval_year_month", "interval_day_time"];

impl Kind {
    /// NUMBER(precision, scale).
    #[must_use]
    pub const fn number(precision: u8, scale: u8) -> Self {
        Self::Fixed { precision, scale }
    }

    /// VARCHAR without a length.
    #[must_use]
    pub const fn text() -> Self {
        Self::Text(TEXT)
    }

    /// Whether values are stored as decimal text and so need the `dec` collation to be ordered.
    pub(crate) fn is_decimal(self) -> bool {
        matches!(self, Self::Fixed { .. } | Self::Date | Self::Time(_) | Self::Timestamp(..))
    }

    pub(crate) fn is_json(self) -> bool {
        matches!(self, Self::Variant | Self::Object | Self::Array)
    }

    /// The name in `rowType`.
    pub(crate) fn wire_name(self) -> &'static str {
        match self {
            Self::Null | Self::Text(_) => "text",
            Self::Fixed { .. } => "fixed",
            Self::Real => "real",
            Self::Boolean => "boolean",
            Self::Date => "date",
            Self::Time(_) => "time",
            Self::Timestamp(Zone::Ntz, _) => "timestamp_ntz",
            Self::Timestamp(Zone::Ltz, _) => "timestamp_ltz",
            Self::Timestamp(Zone::Tz, _) => "timestamp_tz",
            Self::Binary(_) => "binary",
            Self::Variant => "variant",
            Self::Object => "object",
            Self::Array => "array",
            Self::Verbatim(name) => name,
        }
    }

    /// `precision`, `scale`, `length` and `byteLength` of `rowType`.
    pub(crate) fn sizes(self) -> [Json; 4] {
        let (precision, scale, length, bytes) = match self {
            Self::Fixed { precision, scale } => (Some(precision), Some(scale), None, None),
            Self::Time(scale) | Self::Timestamp(_, scale) => (Some(0), Some(scale), None, None),
            Self::Text(length) => {
                (None, None, Some(length), Some(length.saturating_mul(4).min(TEXT.max(length))))
            }
            Self::Null => (None, None, Some(0), Some(0)),
            Self::Binary(length) => (None, None, Some(length), Some(length)),
            _ => (None, None, None, None),
        };
        [json!(precision), json!(scale), json!(length), json!(bytes)]
    }

    /// The type named in a CAST or a column definition.
    pub(crate) fn from_sql(data_type: &DataType) -> Result<Self, SqlError> {
        Ok(match data_type {
            DataType::Numeric(info) | DataType::Decimal(info) | DataType::Dec(info) => fixed(info)?,
            DataType::Int(_) | DataType::Integer(_) | DataType::BigInt(_) | DataType::SmallInt(_) => {
                Self::number(38, 0)
            }
            DataType::TinyInt(_) => Self::number(38, 0),
            DataType::Float(_) | DataType::Real | DataType::Double(_) | DataType::DoublePrecision => {
                Self::Real
            }
            DataType::Float4 | DataType::Float8 => Self::Real,
            DataType::Varchar(length) | DataType::Nvarchar(length) | DataType::CharVarying(length) => {
                text(length, TEXT)
            }
            DataType::CharacterVarying(length) => text(length, TEXT),
            DataType::Char(length) | DataType::Character(length) => text(length, 1),
            DataType::Text => Self::text(),
            DataType::String(length) => {
                Self::Text(length.and_then(|n| u32::try_from(n).ok()).unwrap_or(TEXT))
            }
            DataType::Bool | DataType::Boolean => Self::Boolean,
            DataType::Date => Self::Date,
            DataType::Time(scale, _) => Self::Time(fraction(*scale)),
            DataType::Timestamp(scale, zone) => Self::Timestamp(timezone(*zone), fraction(*scale)),
            DataType::Datetime(scale) | DataType::TimestampNtz(scale) => {
                Self::Timestamp(Zone::Ntz, fraction(*scale))
            }
            DataType::Binary(length) => {
                Self::Binary(length.and_then(|n| u32::try_from(n).ok()).unwrap_or(BINARY))
            }
            DataType::Varbinary(Some(BinaryLength::IntegerLength { length })) => {
                Self::Binary(u32::try_from(*length).unwrap_or(BINARY))
            }
            DataType::Varbinary(_) => Self::Binary(BINARY),
            DataType::Array(_) => Self::Array,
            DataType::Custom(name, arguments) => custom(&name.to_string(), arguments)?,
            other => return Err(SqlError::unsupported(other)),
        })
    }

    /// The type two values are compared or united in.
    pub(crate) fn common(self, other: Self) -> Self {
        match (self, other) {
            (a, b) if a == b => a,
            (Self::Null, kind) | (kind, Self::Null) => kind,
            (Self::Fixed { precision: p, scale: s }, Self::Fixed { precision: q, scale: t }) => {
                let scale = s.max(t);
                let whole = (p.saturating_sub(s)).max(q.saturating_sub(t));
                Self::number((whole + scale).min(38), scale)
            }
            (Self::Text(a), Self::Text(b)) => Self::Text(a.max(b)),
            (Self::Binary(a), Self::Binary(b)) => Self::Binary(a.max(b)),
            (Self::Real, Self::Fixed { .. }) | (Self::Fixed { .. }, Self::Real) => Self::Real,
            (Self::Fixed { .. }, Self::Text(_)) | (Self::Text(_), Self::Fixed { .. }) => Self::number(38, 9),
            (Self::Text(_), kind) | (kind, Self::Text(_)) => kind,
            (Self::Date, kind @ Self::Timestamp(..)) | (kind @ Self::Timestamp(..), Self::Date) => kind,
            (Self::Timestamp(a, s), Self::Timestamp(b, t)) if a == b => Self::Timestamp(a, s.max(t)),
            (Self::Timestamp(..), Self::Timestamp(..)) => Self::Timestamp(Zone::Tz, 9),
            (Self::Time(a), Self::Time(b)) => Self::Time(a.max(b)),
            (kind, other) if other.is_json() => kind,
            (kind, _) => kind,
        }
    }

    /// The type as a word that SQLite functions take as an argument.
    pub(crate) fn code(self) -> String {
        match self {
            Self::Fixed { precision, scale } => format!("f{precision},{scale}"),
            Self::Real => "r".to_owned(),
            Self::Null => "s0".to_owned(),
            Self::Text(length) => format!("s{length}"),
            Self::Boolean => "b".to_owned(),
            Self::Date => "d".to_owned(),
            Self::Time(scale) => format!("t{scale}"),
            Self::Timestamp(Zone::Ntz, scale) => format!("n{scale}"),
            Self::Timestamp(Zone::Ltz, scale) => format!("l{scale}"),
            Self::Timestamp(Zone::Tz, scale) => format!("z{scale}"),
            Self::Binary(length) => format!("x{length}"),
            Self::Variant => "v".to_owned(),
            Self::Object => "o".to_owned(),
            Self::Array => "a".to_owned(),
            Self::Verbatim(name) => format!("q{name}"),
        }
    }

    /// What [`Kind::code`] wrote.
    pub(crate) fn from_code(code: &str) -> Option<Self> {
        let rest = code.get(1..)?;
        let number = || rest.parse::<u32>().ok();
        let scale = || rest.parse::<u8>().ok();
        Some(match code.as_bytes()[0] {
            b'f' => {
                let (precision, scale) = rest.split_once(',')?;
                Self::number(precision.parse().ok()?, scale.parse().ok()?)
            }
            b'r' => Self::Real,
            b's' => Self::Text(number()?),
            b'b' => Self::Boolean,
            b'd' => Self::Date,
            b't' => Self::Time(scale()?),
            b'n' => Self::Timestamp(Zone::Ntz, scale()?),
            b'l' => Self::Timestamp(Zone::Ltz, scale()?),
            b'z' => Self::Timestamp(Zone::Tz, scale()?),
            b'x' => Self::Binary(number()?),
            b'v' => Self::Variant,
            b'o' => Self::Object,
            b'a' => Self::Array,
            b'q' => Self::Verbatim(VERBATIM.into_iter().find(|name| *name == rest)?),
            _ => return None,
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed { precision, scale } => write!(f, "NUMBER({precision},{scale})"),
            Self::Real => f.write_str("FLOAT"),
            Self::Null => f.write_str("VARCHAR"),
            Self::Text(length) => write!(f, "VARCHAR({length})"),
            Self::Binary(length) => write!(f, "BINARY({length})"),
            Self::Time(scale) => write!(f, "TIME({scale})"),
            Self::Timestamp(_, scale) => write!(f, "{}({scale})", self.wire_name().to_uppercase()),
            other => f.write_str(&other.wire_name().to_uppercase()),
        }
    }
}

fn fixed(info: &ExactNumberInfo) -> Result<Kind, SqlError> {
    let (precision, scale) = match info {
        ExactNumberInfo::None => (38, 0),
        ExactNumberInfo::Precision(precision) => (*precision, 0),
        ExactNumberInfo::PrecisionAndScale(precision, scale) => (*precision, *scale),
    };
    match (u8::try_from(precision), u8::try_from(scale)) {
        (Ok(precision @ 1..=38), Ok(scale)) if scale <= precision.min(37) => {
            Ok(Kind::number(precision, scale))
        }
        _ => Err(SqlError::compilation(
            "002010",
            "42601",
            format!("Invalid precision/scale: ({precision},{scale})"),
        )),
    }
}

fn text(length: &Option<CharacterLength>, default: u32) -> Kind {
    match length {
        Some(CharacterLength::IntegerLength { length, .. }) => {
            Kind::Text(u32::try_from(*length).unwrap_or(TEXT))
        }
        _ => Kind::Text(default),
    }
}

fn fraction(scale: Option<u64>) -> u8 {
    scale.and_then(|scale| u8::try_from(scale).ok()).unwrap_or(9).min(9)
}

fn timezone(zone: TimezoneInfo) -> Zone {
    match zone {
        TimezoneInfo::None | TimezoneInfo::WithoutTimeZone => Zone::Ntz,
        TimezoneInfo::WithTimeZone | TimezoneInfo::Tz => Zone::Tz,
    }
}

fn custom(name: &str, arguments: &[String]) -> Result<Kind, SqlError> {
    let number = |index: usize, default: u64| {
        arguments.get(index).and_then(|a| a.trim().parse().ok()).unwrap_or(default)
    };
    let scale = fraction(arguments.first().and_then(|argument| argument.trim().parse().ok()));
    Ok(match name.to_uppercase().as_str() {
        "NUMBER" => {
            let places = i64::try_from(number(1, 0)).unwrap_or(-1);
            fixed(&ExactNumberInfo::PrecisionAndScale(number(0, 38), places))?
        }
        "BYTEINT" => Kind::number(38, 0),
        "STRING" => Kind::Text(u32::try_from(number(0, u64::from(TEXT))).unwrap_or(TEXT)),
        "TIMESTAMP_NTZ" | "TIMESTAMPNTZ" | "DATETIME" => Kind::Timestamp(Zone::Ntz, scale),
        "TIMESTAMP_LTZ" | "TIMESTAMPLTZ" => Kind::Timestamp(Zone::Ltz, scale),
        "TIMESTAMP_TZ" | "TIMESTAMPTZ" => Kind::Timestamp(Zone::Tz, scale),
        "VARIANT" => Kind::Variant,
        "OBJECT" => Kind::Object,
        "ARRAY" => Kind::Array,
        other => {
            return Err(SqlError::compilation(
                "002040",
                "42601",
                format!("Unsupported data type '{other}'."),
            ));
        }
    })
}

/// A value that is not NULL, as stored.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell {
    Text(String),
    Real(f64),
    Bool(bool),
}

impl Cell {
    /// The value as text, as if by `::VARCHAR`.
    pub(crate) fn to_text(&self, kind: Kind) -> Option<String> {
        Some(match (self, kind) {
            (Self::Bool(value), _) => value.to_string(),
            (Self::Real(value), _) => real_text(*value),
            (Self::Text(value), Kind::Date) => calendar::date_text(value),
            (Self::Text(value), Kind::Time(_)) => calendar::time_text(value),
            (Self::Text(value), Kind::Timestamp(zone, _)) => calendar::timestamp_text(value, zone),
            (Self::Text(value), kind) if kind.is_json() => return json_text(value),
            (Self::Text(value), _) => value.clone(),
        })
    }

    /// Converts a value; `None` is NULL (a JSON null that is cast).
    pub(crate) fn cast(&self, from: Kind, to: Kind) -> Result<Option<Self>, SqlError> {
        if from.is_json() && !to.is_json() {
            let Some(text) = self.to_text(from) else { return Ok(None) };
            return Self::Text(text).cast(Kind::text(), to);
        }
        let text = |cell: &Self| cell.to_text(from).unwrap_or_default();
        Ok(Some(match to {
            Kind::Null | Kind::Verbatim(_) => self.clone(),
            Kind::Text(length) => Self::Text(truncated(text(self), length)),
            Kind::Fixed { precision, scale } => Self::Text(self.to_fixed(from, precision, scale)?),
            Kind::Real => Self::Real(self.to_real(from)?),
            Kind::Boolean => Self::Bool(self.to_bool(from)?),
            Kind::Date => Self::Text(calendar::to_date(&text(self))?),
            Kind::Time(scale) => Self::Text(calendar::to_time(&text(self), scale)?),
            Kind::Timestamp(zone, scale) => Self::Text(self.to_timestamp(from, zone, scale)?),
            Kind::Binary(_) => Self::Text(to_binary(&text(self))?),
            Kind::Variant | Kind::Object | Kind::Array if from.is_json() => self.clone(),
            Kind::Variant | Kind::Object | Kind::Array => Self::Text(self.to_json(from)),
        }))
    }

    /// The value as JSON text.
    pub(crate) fn to_json(&self, from: Kind) -> String {
        match (self, from) {
            (Self::Bool(value), _) => value.to_string(),
            (Self::Text(value), Kind::Fixed { .. }) => value.clone(),
            (Self::Text(value), kind) if kind.is_json() => value.clone(),
            (Self::Real(value), _) => variant::double(*value),
            (Self::Text(value), Kind::Real) => value.parse().map_or_else(|_| value.clone(), variant::double),
            (cell, kind) => variant::token(&cell.to_text(kind).unwrap_or_default()),
        }
    }

    fn to_fixed(&self, from: Kind, precision: u8, scale: u8) -> Result<String, SqlError> {
        let text = match (self, from) {
            (Self::Bool(value), _) => u8::from(*value).to_string(),
            (Self::Real(value), _) => value.to_string(),
            (Self::Text(value), _) => value.clone(),
        };
        let unknown =
            || SqlError::new("100038", "22018", format!("Numeric value '{text}' is not recognized"));
        let value = Decimal::parse(&text).ok_or_else(unknown)?.rescale(scale)?;
        if value.digits() > u32::from(precision) {
            return Err(SqlError::out_of_range());
        }
        Ok(value.to_string())
    }

    fn to_real(&self, from: Kind) -> Result<f64, SqlError> {
        let text = self.to_text(from).unwrap_or_default();
        let unknown =
            || SqlError::new("100038", "22018", format!("Numeric value '{text}' is not recognized"));
        text.trim().parse().map_err(|_| unknown())
    }

    fn to_bool(&self, from: Kind) -> Result<bool, SqlError> {
        let text = self.to_text(from).unwrap_or_default();
        if matches!(from, Kind::Fixed { .. } | Kind::Real) {
            return Ok(text.bytes().any(|byte| matches!(byte, b'1'..=b'9')));
        }
        match text.trim().to_lowercase().as_str() {
            "true" | "t" | "yes" | "y" | "on" | "1" => Ok(true),
            "false" | "f" | "no" | "n" | "off" | "0" => Ok(false),
            _ => Err(SqlError::new("100037", "22018", format!("Boolean value '{text}' is not recognized"))),
        }
    }

    fn to_timestamp(&self, from: Kind, zone: Zone, scale: u8) -> Result<String, SqlError> {
        match (self, from) {
            (Self::Text(value), Kind::Timestamp(source, _)) => calendar::convert(value, source, zone, scale),
            _ => calendar::to_timestamp(&self.to_text(from).unwrap_or_default(), zone, scale),
        }
    }
}

/// The text of a float: shortest digits that read back the same, `NaN`, `inf` or `-inf`.
pub(crate) fn real_text(value: f64) -> String {
    if !value.is_finite() {
        return value.to_string();
    }
    let plain = value.to_string();
    if plain.len() <= 17 {
        return plain;
    }
    let text = format!("{value:e}");
    match text.split_once('e') {
        Some((digits, power)) if !power.starts_with('-') => format!("{digits}e+{power}"),
        _ => text,
    }
}

fn truncated(text: String, length: u32) -> String {
    let length = length as usize;
    if text.len() <= length {
        return text;
    }
    text.chars().take(length).collect()
}

fn to_binary(text: &str) -> Result<String, SqlError> {
    if text.len().is_multiple_of(2) && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(text.to_uppercase());
    }
    Err(SqlError::new(
        "100115",
        "22000",
        format!("The following string is not a legal hex-encoded value: '{text}'"),
    ))
}

/// What `::VARCHAR` makes of a JSON value: strings lose their quotes, null and undefined become NULL.
fn json_text(text: &str) -> Option<String> {
    match Node::read(text) {
        Ok(Node::Leaf(token)) if token == "null" || token == variant::UNDEFINED => None,
        Ok(Node::Leaf(token)) => Some(serde_json::from_str::<String>(&token).unwrap_or(token)),
        Ok(node) => Some(node.compact()),
        Err(_) => Some(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_read_back() {
        for kind in [
            Kind::number(38, 9),
            Kind::Real,
            Kind::Text(25),
            Kind::Boolean,
            Kind::Date,
            Kind::Time(3),
            Kind::Timestamp(Zone::Ntz, 9),
            Kind::Timestamp(Zone::Ltz, 0),
            Kind::Timestamp(Zone::Tz, 6),
            Kind::Binary(8),
            Kind::Variant,
            Kind::Object,
            Kind::Array,
            Kind::Verbatim("vector"),
        ] {
            assert_eq!(Kind::from_code(&kind.code()), Some(kind));
        }
    }
}

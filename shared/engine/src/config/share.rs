//! A number, or a part of another.

use serde::{Deserialize, Serialize};

/// A number, or a share in percent of what it is held against. In YAML: `500`, or `10%`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub enum Share {
    /// So many.
    Count(u64),
    /// So many of a hundred, at most 100.
    Percent(u64),
}

impl Share {
    /// The number, of `whole`; a share is rounded up.
    #[must_use]
    pub const fn of(self, whole: u64) -> u64 {
        match self {
            Self::Count(count) => count,
            Self::Percent(percent) => (whole as u128 * percent as u128).div_ceil(100) as u64,
        }
    }
}

/// The two ways to write it.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Count(u64),
    Text(String),
}

impl TryFrom<Written> for Share {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        let percent = match written {
            Written::Count(count) => return Ok(Self::Count(count)),
            Written::Text(text) => text.strip_suffix('%').and_then(|number| number.trim().parse().ok()),
        };
        match percent {
            Some(percent) if percent <= 100 => Ok(Self::Percent(percent)),
            _ => Err("a whole number, or a share such as `10%`, is expected"),
        }
    }
}

impl From<Share> for Written {
    fn from(share: Share) -> Self {
        match share {
            Share::Count(count) => Self::Count(count),
            Share::Percent(percent) => Self::Text(format!("{percent}%")),
        }
    }
}

impl schemars::JsonSchema for Share {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Share".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A whole number, or a share such as `10%`.",
            "anyOf": [
                { "type": "integer", "minimum": 0 },
                { "type": "string", "pattern": "^(100|[0-9]{1,2}) ?%$" }
            ]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_rounded_up_and_a_number_is_itself() {
        for (text, whole, part) in [
            ("\"10%\"", 100_000, 10_000),
            ("\"10 %\"", 15, 2),
            ("\"0%\"", 15, 0),
            ("\"100%\"", u64::MAX, u64::MAX),
            ("7", 3, 7),
        ] {
            assert_eq!(serde_json::from_str::<Share>(text).unwrap().of(whole), part, "{text}");
        }
        for text in ["\"101%\"", "\"10\"", "\"%\"", "-1", "1.5", "\"ten\""] {
            assert!(serde_json::from_str::<Share>(text).is_err(), "{text}");
        }
    }
}

//! What a run may change without a person's leave.

use serde::{Deserialize, Serialize};

use super::{Operation, Share};

/// Guard rails: a run that would go past one of them stops before it sends anything, until a person releases its
/// plan. A share is of the records of the baseline, or of the rows read where there is no baseline yet: the first run
/// of a sync goes past every share below `100%`.
///
/// An empty model always stops an `upsert` or an `update` whose baseline is not empty. A run that reads only what is new
/// (`model.cursor`) is not held against `min_rows` and `max_removed`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Guard {
    /// Most rows that are sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_changes: Option<Share>,
    /// Most rows with a key that Salesforce never accepted before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_created: Option<Share>,
    /// Most keys that leave the model. When it is left out, `upsert` and `update` allow 10% but no fewer than 10;
    /// `100%` allows all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_removed: Option<Share>,
    /// Most cells of any one field that are sent as NULL (`when_null: clear`) in records that were accepted before with
    /// other content. What the field holds in Salesforce is not looked up: one that is empty already counts too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_cleared: Option<Share>,
    /// Fewest rows that the model must have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_rows: Option<Share>,
}

impl Guard {
    /// Most keys that may leave the model; none when any number may.
    ///
    /// The model of an insert or a delete runs dry when its work is done, so only what is written here limits it.
    #[must_use]
    pub fn most_removed(&self, operation: Operation, whole: u64) -> Option<u64> {
        let usual = || operation.updates().then(|| Share::Percent(10).of(whole).max(FEW_REMOVED));
        self.max_removed.map(|share| share.of(whole)).or_else(usual)
    }
}

/// So many keys may always leave a model, as long as the sync says nothing else.
const FEW_REMOVED: u64 = 10;

/// How old the model may be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fresh {
    /// The column that says when a row last changed: a timestamp or a date; it need not be mapped. A timestamp without
    /// a time zone is taken as UTC, a date as the end of its day in UTC.
    #[schemars(length(min = 1))]
    pub column: String,
    /// How far the greatest value of the rows that are read may lie behind the start of the statement: `90m`, `24h`,
    /// `7d`. An older model stops the run like a guard rail.
    pub max_age: Span,
}

/// A length of time in seconds. In YAML: `90m`, `24h`, `7d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Span(pub u64);

const UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];

impl TryFrom<String> for Span {
    type Error = &'static str;

    fn try_from(written: String) -> Result<Self, Self::Error> {
        let read = |(unit, seconds): &(char, u64)| {
            let number: u32 = written.strip_suffix(*unit)?.parse().ok()?;
            (number > 0).then(|| Self(u64::from(number) * seconds))
        };
        UNITS.iter().find_map(read).ok_or("a length of time such as `90m`, `24h` or `7d` is expected")
    }
}

impl std::fmt::Display for Span {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A day or two are written in hours, as people do.
        let fits = |(unit, seconds): &&(char, u64)| {
            self.0.is_multiple_of(*seconds) && (*unit != 'd' || self.0 > 2 * seconds)
        };
        let (unit, seconds) = UNITS.iter().find(fits).unwrap_or(&('s', 1));
        write!(f, "{}{unit}", self.0 / seconds)
    }
}

impl From<Span> for String {
    fn from(span: Span) -> Self {
        span.to_string()
    }
}

impl schemars::JsonSchema for Span {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A length of time such as `90m`, `24h` or `7d`.",
            "type": "string",
            "pattern": "^[1-9][0-9]*[smhd]$"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_read_and_written_as_people_do() {
        for (text, seconds, written) in [
            ("90m", 5_400, "90m"),
            ("24h", 86_400, "24h"),
            ("2d", 172_800, "48h"),
            ("7d", 604_800, "7d"),
            ("3601s", 3_601, "3601s"),
        ] {
            let span = Span::try_from(text.to_owned()).unwrap();
            assert_eq!((span, span.to_string().as_str()), (Span(seconds), written));
        }
        for text in ["", "24", "h", "0h", "-1h", "1.5h", "1w", "99999999999d"] {
            assert!(Span::try_from(text.to_owned()).is_err(), "{text}");
        }
    }

    #[test]
    fn few_keys_may_always_leave_a_model_and_those_of_an_insert_all() {
        let written = |max_removed| Guard { max_removed, ..Guard::default() };
        for (max_removed, operation, whole, most) in [
            (None, Operation::Upsert, 0, Some(10)),
            (None, Operation::Upsert, 100, Some(10)),
            (None, Operation::Update, 101, Some(11)),
            (None, Operation::Insert, 100, None),
            (None, Operation::Delete, 100, None),
            (Some(Share::Count(3)), Operation::Delete, 100, Some(3)),
            (Some(Share::Percent(100)), Operation::Upsert, 5, Some(5)),
            (Some(Share::Count(0)), Operation::Upsert, 100, Some(0)),
        ] {
            let found = written(max_removed).most_removed(operation, whole);
            assert_eq!(found, most, "{max_removed:?} {operation:?} {whole}");
        }
    }
}

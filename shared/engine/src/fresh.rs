//! How old a model is: by how much the greatest value of its `fresh` column lies behind the start of the statement.
//!
//! The age is taken at an instant that the run has frozen, so that every try of a stage says the same.

use jiff::Timestamp;

use crate::{contract::ColumnKind, cursor};

/// The column of the result that holds the greatest value of the `fresh` column, the same in every row.
pub const COLUMN: &str = "backhaul_fresh";

/// Whether the column says when: a timestamp or a date.
#[must_use]
pub const fn is_usable(kind: &ColumnKind) -> bool {
    use ColumnKind::{Date, TimestampLtz, TimestampNtz, TimestampTz};
    matches!(kind, Date | TimestampNtz | TimestampLtz | TimestampTz)
}

/// Whole seconds by which a value in its wire form lies behind `at`; none for one ahead of it. A timestamp without a
/// time zone is taken as UTC, a date as the end of its day in UTC. `None` when it is no such value.
#[must_use]
pub fn age(kind: &ColumnKind, value: &str, at: Timestamp) -> Option<u64> {
    let seconds = cursor::instant_of(kind, value)?.checked_neg()?.checked_add(at.as_nanosecond())?;
    let seconds = seconds.max(0) / cursor::SECOND;
    let of_its_day = if *kind == ColumnKind::Date { 86_400 } else { 0 };
    u64::try_from(seconds).ok().map(|seconds| seconds.saturating_sub(of_its_day))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_timestamp_and_a_date_have_an_age() {
        use ColumnKind::{Date, Fixed, Text, TimestampLtz, TimestampNtz, TimestampTz};
        let at: Timestamp = "2026-01-02T00:00:10.5Z".parse().unwrap();
        for (kind, value, expected) in [
            (TimestampNtz, "1767225600.000000000", Some(86_410)),
            (TimestampLtz, "1767225600.5", Some(86_410)),
            (TimestampLtz, "1767225600.6", Some(86_409)),
            (TimestampTz, "1767312000 1500", Some(10)),
            (TimestampTz, "-0.5 960", Some(1_767_312_011)),
            (TimestampNtz, "1767398400", Some(0)),
            (Date, "20454", Some(10)),
            (Date, "20453", Some(86_410)),
            (Date, "20455", Some(0)),
            (Date, "99999999999999999999", None),
            (TimestampNtz, "soon", None),
            (Fixed, "1767225600", None),
            (Text, "2026-01-01", None),
        ] {
            assert_eq!(age(&kind, value, at), expected, "{kind:?} {value}");
        }
    }
}

//! How much of a model a run reads: all of it, or what is new since a watermark.
//!
//! A watermark is the greatest value that the cursor column had among the rows of a run. The next run reads the rows
//! from there on, the value itself among them, because more rows may share it; the overlap reaches further back, for
//! rows that were committed late. What is read twice is compared with the baseline and not sent twice.
//!
//! A watermark is committed in one step with the baseline that it belongs to, and only when no row of the run has to be
//! read again. It is good for one sync as it was written, and for the fields as they were described: after a change of
//! either, the model is read whole, because a row that did not change may now be written differently.

use twox_hash::XxHash3_64;

use crate::{
    Failure,
    config::Sync,
    contract::{Column, ColumnKind, Objects},
    document::{Extracted, Head, Watermark},
    report::{Reason, RefusedBy, Report},
    taxonomy::{self, Next},
    value::civil_from_days,
};

/// The column of the result that holds the greatest value of the cursor column, the same in every row.
pub const COLUMN: &str = "backhaul_cursor";

/// Whether the column can be a cursor: a timestamp, a date or a whole number.
#[must_use]
pub fn is_usable(column: &Column) -> bool {
    match column.kind {
        ColumnKind::Fixed => matches!(column.scale, None | Some(0)),
        ColumnKind::Date | ColumnKind::TimestampNtz | ColumnKind::TimestampLtz | ColumnKind::TimestampTz => {
            true
        }
        _ => false,
    }
}

/// What a watermark of this sync holds for, as lower-case hexadecimal XXH3-64: everything on which depends which rows
/// there are and what is written of them.
#[must_use]
pub fn holds_for(sync: &Sync, objects: &Objects) -> String {
    let model = &sync.model;
    let column = model.cursor.as_ref().map(|cursor| &cursor.column);
    let rows = (&model.table, &model.query, &model.role, &model.database, &model.schema, column);
    let records = (&sync.key, &sync.destination, &sync.mapping, sync.described_fields(objects));
    let json =
        serde_json::to_vec(&(rows, records)).expect("keys are texts and no value refuses to be written");
    format!("{:016x}", XxHash3_64::oneshot(&json))
}

/// The watermark of a head, if it holds for the sync as it is now.
#[must_use]
pub fn usable<'h>(head: &'h Head, holds_for: &str) -> Option<&'h Watermark> {
    head.cursor.as_ref().filter(|watermark| watermark.holds_for == holds_for)
}

/// The least value that is read, as an SQL expression.
///
/// The value is written digit for digit: nanoseconds, instants before 1970 and numbers of 38 digits among them.
///
/// <https://docs.snowflake.com/en/sql-reference/functions/dateadd>,
/// <https://docs.snowflake.com/en/developer-guide/sql-api/handling-responses#getting-the-data-from-the-results>
///
/// # Errors
/// [`crate::Class::Configuration`] when the value is not one of its type, or outside of the years 1 to 9999.
pub fn lower_bound(watermark: &Watermark, overlap: u32) -> Result<String, Failure> {
    let value = watermark.value.as_str();
    let bound = match watermark.kind {
        ColumnKind::Fixed => is_whole(value).then(|| format!("{value} - {overlap}")),
        ColumnKind::Date => {
            value.parse().ok().and_then(date).map(|date| format!("DATEADD(day, -{overlap}, '{date}'::DATE)"))
        }
        ColumnKind::TimestampNtz => nanoseconds(value)
            .and_then(instant)
            .map(|instant| format!("DATEADD(second, -{overlap}, '{instant}'::TIMESTAMP_NTZ)")),
        ColumnKind::TimestampLtz | ColumnKind::TimestampTz => nanoseconds(without_offset(value))
            .and_then(instant)
            .map(|instant| format!("DATEADD(second, -{overlap}, '{instant} +0000'::TIMESTAMP_TZ)")),
        _ => None,
    };
    bound.ok_or_else(|| {
        Failure::configuration("the greatest value of `model.cursor.column` cannot be gone on from")
            .hint("the column must hold whole numbers, or instants of the years 1 to 9999")
    })
}

/// The watermark to commit with a run that started from `head`.
///
/// It moves only when every row that was read is settled. Otherwise it stays, and those rows are read again;
/// when it did not hold any more, there is none until a run that read everything has settled everything.
#[must_use]
pub fn next(head: &Head, extracted: &Extracted, settled: bool) -> Option<Watermark> {
    let used = head.cursor.clone().filter(|_| extracted.mapping.narrowed);
    match &extracted.cursor {
        Some(found) if settled => Some(found.clone()),
        _ => used,
    }
}

/// Whether no row of the run has to be read again: each was accepted, is unchanged, is held, or is invalid
/// for as long as it does not change itself.
#[must_use]
pub fn is_settled(report: &Report) -> bool {
    let counts = &report.counts;
    report.verdict.is_well()
        && counts.unprocessed == 0
        && counts.missing == 0
        && counts.found.different + counts.found.absent == 0
        && report.reasons.iter().all(stays_refused)
}

/// A duplicate is mended by a change of the other row, a missing parent by its arrival.
fn stays_refused(reason: &Reason) -> bool {
    match reason.by {
        RefusedBy::Backhaul => reason.code != "duplicate_key",
        RefusedBy::Salesforce => taxonomy::next(&reason.code, false) == Next::Held,
    }
}

/// Nanoseconds since 1970-01-01 UTC of a timestamp or a date in its wire form.
pub(crate) fn instant_of(kind: &ColumnKind, value: &str) -> Option<i128> {
    match kind {
        ColumnKind::Date => value.parse::<i64>().ok().map(|days| i128::from(days) * DAY),
        ColumnKind::TimestampNtz => nanoseconds(value),
        ColumnKind::TimestampLtz | ColumnKind::TimestampTz => nanoseconds(without_offset(value)),
        _ => None,
    }
}

/// Digits with an optional minus sign, as many as a `NUMBER` has.
fn is_whole(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    (1..=38).contains(&digits.len()) && is_digits(digits)
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The instant of a `timestamp_tz`; its offset says only how it is shown.
fn without_offset(wire: &str) -> &str {
    wire.split_once(' ').map_or(wire, |(instant, _)| instant)
}

/// The nanoseconds of seconds with a fraction. The sign is that of the whole: `-0.5` is before 1970.
fn nanoseconds(wire: &str) -> Option<i128> {
    let unsigned = wire.strip_prefix('-').unwrap_or(wire);
    let (seconds, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    if seconds.is_empty() || fraction.len() > 9 || !is_digits(seconds) || !is_digits(fraction) {
        return None;
    }
    let magnitude: i128 = format!("{seconds}{fraction:0<9}").parse().ok()?;
    Some(if unsigned.len() < wire.len() { -magnitude } else { magnitude })
}

/// Nanoseconds of a second.
pub(crate) const SECOND: i128 = 1_000_000_000;
const DAY: i128 = 86_400 * SECOND;

/// `2026-01-31 12:34:56.123456789`
fn instant(nanoseconds: i128) -> Option<String> {
    let date = date(i64::try_from(nanoseconds.div_euclid(DAY)).ok()?)?;
    let rest = nanoseconds.rem_euclid(DAY);
    let (seconds, fraction) = (rest / SECOND, rest % SECOND);
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    Some(format!("{date} {hours:02}:{minutes:02}:{:02}.{fraction:09}", seconds % 60))
}

/// `2026-01-31` of days since 1970-01-01.
fn date(days: i64) -> Option<String> {
    // Far more than the years that are allowed, and far from an overflow.
    let (year, month, day) = civil_from_days(days.clamp(-10_000_000, 10_000_000));
    (1..=9999).contains(&year).then(|| format!("{year:04}-{month:02}-{day:02}"))
}

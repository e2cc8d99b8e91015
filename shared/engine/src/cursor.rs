//! Reading only what is new: how far a model was read, and from where the next run reads on.
//!
//! The greatest value of the cursor column comes with the rows themselves, as one more column of the same statement,
//! so no row can slip in between the two. It is kept with the commit of the run and never before, and only when
//! nothing of the run is left to be sent again: a row behind the watermark is not read a second time.

use xxhash_rust::xxh3::xxh3_64;

use crate::{
    Failure,
    config::{Cursor, Sync},
    contract::{Column, ColumnKind},
    document::Watermark,
    report::{RefusedBy, Report},
    taxonomy::{self, Next},
};

/// The name of the column that holds the greatest value of the cursor in every row.
pub const COLUMN: &str = "backhaul_cursor";

/// What a watermark of the sync holds for: rows, key, destination and mapping. Warehouse and role do not matter.
#[must_use]
pub fn holds_for(sync: &Sync) -> String {
    let Sync { model, key, destination, mapping, .. } = sync;
    let model = (&model.table, &model.query, &model.database, &model.schema, &model.cursor);
    let text = serde_json::to_vec(&(model, key, destination, mapping)).expect("a sync is plain JSON");
    format!("{:016x}", xxh3_64(&text))
}

/// The watermark that the next run of the sync may read on from.
#[must_use]
pub fn usable<'w>(sync: &Sync, known: Option<&'w Watermark>) -> Option<&'w Watermark> {
    known.filter(|known| sync.model.cursor.is_some() && known.holds_for == holds_for(sync))
}

/// The literal from which rows are read: the watermark less the overlap.
///
/// # Errors
/// [`crate::Class::Bug`] when the watermark is not in the wire form of its type.
pub fn from(cursor: &Cursor, watermark: &Watermark) -> Result<String, Failure> {
    let broken = || Failure::bug("the watermark of the head is not a value of its type");
    let literal = literal(watermark).ok_or_else(broken)?;
    Ok(match (&watermark.kind, cursor.overlap) {
        (_, 0) => literal,
        (ColumnKind::Fixed, overlap) => format!("{literal} - {overlap}"),
        (ColumnKind::Date, overlap) => format!("DATEADD(day, -{overlap}, {literal})"),
        (_, overlap) => format!("DATEADD(second, -{overlap}, {literal})"),
    })
}

/// How far the rows came: `cell` is that of [`COLUMN`] in any of them. None when the cursor is NULL in all.
///
/// # Errors
/// [`crate::Class::Configuration`] when the column is of a type that does not grow with changes.
pub fn reached(sync: &Sync, columns: &[Column], cell: Option<&str>) -> Result<Option<Watermark>, Failure> {
    let Some(column) = columns.iter().find(|column| column.name == COLUMN) else { return Ok(None) };
    let Some(cell) = cell else { return Ok(None) };
    let watermark =
        Watermark { value: cell.to_owned(), kind: column.kind.clone(), holds_for: holds_for(sync) };
    match literal(&watermark) {
        Some(_) => Ok(Some(watermark)),
        None => Err(Failure::configuration(
            "`model.cursor.column` is neither a timestamp, nor a date, nor a number",
        )
        .hint("cast it in the query of the model, to `TIMESTAMP_NTZ` for instance")),
    }
}

/// Whether a run that ends like this may move the watermark: every row that was sent is accepted, or held until it
/// changes, in which case its cursor grows.
#[must_use]
pub fn may_move(report: &Report) -> bool {
    let counts = &report.counts;
    let held = |code: &str| taxonomy::next(code, false) == Next::Held;
    let refused = report.reasons.iter().filter(|reason| reason.by == RefusedBy::Salesforce);
    counts.unprocessed + counts.missing == 0 && refused.into_iter().all(|reason| held(&reason.code))
}

/// The watermark as SQL: <https://docs.snowflake.com/en/sql-reference/data-types-datetime>.
fn literal(watermark: &Watermark) -> Option<String> {
    let value = watermark.value.as_str();
    match watermark.kind {
        ColumnKind::Fixed => is_number(value).then(|| value.to_owned()),
        ColumnKind::Date => {
            let days = jiff::Span::new().try_days(value.parse::<i64>().ok()?).ok()?;
            let date = jiff::civil::date(1970, 1, 1).checked_add(days).ok()?;
            Some(format!("'{date}'::DATE"))
        }
        ColumnKind::TimestampNtz => Some(format!("'{}'::TIMESTAMP_NTZ", instant(value)?)),
        ColumnKind::TimestampLtz => Some(format!("'{} +0000'::TIMESTAMP_TZ", instant(value)?)),
        ColumnKind::TimestampTz => {
            let (instant_of, _) = value.split_once(' ')?;
            Some(format!("'{} +0000'::TIMESTAMP_TZ", instant(instant_of)?))
        }
        _ => None,
    }
}

fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    [whole, fraction].iter().all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
}

/// `1611871777.123456789` as `2021-01-28 22:09:37.123456789`, in UTC. The sign is that of the whole number.
fn instant(wire: &str) -> Option<String> {
    let (sign, digits) = wire.strip_prefix('-').map_or((1, wire), |digits| (-1, digits));
    let (seconds, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if fraction.len() > 9 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let nanos: i128 = format!("{fraction:0<9}").parse().ok()?;
    let nanos = sign * (seconds.parse::<i128>().ok()?.checked_mul(1_000_000_000)? + nanos);
    let instant = jiff::Timestamp::from_nanosecond(nanos).ok()?;
    Some(instant.strftime("%Y-%m-%d %H:%M:%S%.9f").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watermark_is_read_on_from_to_the_last_digit() {
        use ColumnKind::{Date, Fixed, Text, TimestampLtz, TimestampNtz, TimestampTz};
        for (kind, wire, overlap, expected) in [
            (Fixed, "12345", 0, Some("12345")),
            (
                Fixed,
                "-99999999999999999999999999999999999999",
                7,
                Some("-99999999999999999999999999999999999999 - 7"),
            ),
            (Fixed, "1e5", 0, None),
            (Date, "18262", 0, Some("'2020-01-01'::DATE")),
            (Date, "-1", 2, Some("DATEADD(day, -2, '1969-12-31'::DATE)")),
            (TimestampNtz, "1611871777.123456789", 0, Some("'2021-01-28 22:09:37.123456789'::TIMESTAMP_NTZ")),
            (TimestampNtz, "-0.500000000", 0, Some("'1969-12-31 23:59:59.500000000'::TIMESTAMP_NTZ")),
            (
                TimestampNtz,
                "1611871777",
                300,
                Some("DATEADD(second, -300, '2021-01-28 22:09:37.000000000'::TIMESTAMP_NTZ)"),
            ),
            (TimestampLtz, "1.5", 0, Some("'1970-01-01 00:00:01.500000000 +0000'::TIMESTAMP_TZ")),
            (
                TimestampTz,
                "1616173619.000000000 1500",
                0,
                Some("'2021-03-19 17:06:59.000000000 +0000'::TIMESTAMP_TZ"),
            ),
            (TimestampNtz, "x", 0, None),
            (Text, "2021-01-01", 0, None),
        ] {
            let watermark = Watermark { value: wire.to_owned(), kind, holds_for: String::new() };
            let cursor = Cursor { column: "C".to_owned(), overlap };
            assert_eq!(from(&cursor, &watermark).ok().as_deref(), expected, "{wire}");
        }
    }

    #[test]
    fn a_watermark_holds_for_what_it_was_read_for() {
        let text = "model: {table: T, cursor: {column: AT}}\nkey: {column: ID, field: K__c}\n\
                    destination: {object: Account}\nmapping: {Name: N}\n";
        let sync = |text: &str| Sync::parse("a.yaml", text).unwrap();
        let known =
            Watermark { value: "1".to_owned(), kind: ColumnKind::Fixed, holds_for: holds_for(&sync(text)) };
        assert!(usable(&sync(text), Some(&known)).is_some());
        assert!(
            usable(&sync(&format!("{text}owner: me\n")), Some(&known)).is_some(),
            "the owner changes no row"
        );
        for (from, to) in [
            ("Name: N", "Name: M"),
            ("table: T", "table: U"),
            ("column: ID", "column: KEY"),
            ("column: AT", "column: SINCE"),
            ("object: Account", "object: Contact"),
            (", cursor: {column: AT}", ""),
        ] {
            assert!(usable(&sync(&text.replace(from, to)), Some(&known)).is_none(), "{to}");
        }
    }
}

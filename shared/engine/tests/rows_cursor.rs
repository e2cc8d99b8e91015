//! How far a model was read, and where the next run reads on.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;

use backhaul_engine::{
    Class, JobRef, RunRef,
    config::{Operation, Quota, Sync},
    contract::{ColumnKind, Field, Object, Objects, PicklistValue},
    cursor::{holds_for, is_settled, lower_bound, next, usable},
    document::{Collected, Extracted, Head, Mapped, Mode, Prediction, Watermark},
    mapping::{KeyRule, Mapping},
    report::{Input, JobOutcome, Report, Verdict},
};
use jiff::Timestamp;
use proptest::prelude::*;

fn watermark(kind: ColumnKind, value: &str) -> Watermark {
    Watermark { value: value.to_owned(), kind, holds_for: "0".to_owned() }
}

fn bound(kind: ColumnKind, value: &str, overlap: u32) -> Result<String, Class> {
    lower_bound(&watermark(kind, value), overlap).map_err(|failure| failure.class)
}

#[test]
fn the_wire_form_becomes_the_same_value_in_sql() {
    use ColumnKind::{Date, Fixed, TimestampLtz, TimestampNtz, TimestampTz};
    let nines = "9".repeat(38);
    for (kind, value, overlap, sql) in [
        (Fixed, "12345", 0, "12345 - 0"),
        (Fixed, "-7", 10, "-7 - 10"),
        (Fixed, nines.as_str(), 1, &format!("{nines} - 1")),
        (Date, "20454", 1, "DATEADD(day, -1, '2026-01-01'::DATE)"),
        (Date, "0", 0, "DATEADD(day, -0, '1970-01-01'::DATE)"),
        (Date, "-1", 0, "DATEADD(day, -0, '1969-12-31'::DATE)"),
        (Date, "-719162", 0, "DATEADD(day, -0, '0001-01-01'::DATE)"),
        (Date, "2932896", 0, "DATEADD(day, -0, '9999-12-31'::DATE)"),
        (TimestampNtz, "1767225600.123456789", 300, "2026-01-01 00:00:00.123456789'::TIMESTAMP_NTZ)"),
        (TimestampNtz, "1767225600", 0, "2026-01-01 00:00:00.000000000'::TIMESTAMP_NTZ)"),
        (TimestampNtz, "1767225599.9", 0, "2025-12-31 23:59:59.900000000'::TIMESTAMP_NTZ)"),
        (TimestampNtz, "0.000000001", 0, "1970-01-01 00:00:00.000000001'::TIMESTAMP_NTZ)"),
        (TimestampNtz, "-0.000000001", 0, "1969-12-31 23:59:59.999999999'::TIMESTAMP_NTZ)"),
        (TimestampNtz, "-0.5", 0, "1969-12-31 23:59:59.500000000'::TIMESTAMP_NTZ)"),
        (TimestampNtz, "-86400.000000000", 0, "1969-12-31 00:00:00.000000000'::TIMESTAMP_NTZ)"),
        (TimestampNtz, "253402300799.999999999", 0, "9999-12-31 23:59:59.999999999'::TIMESTAMP_NTZ)"),
        (TimestampLtz, "1767225600.123", 0, "2026-01-01 00:00:00.123000000 +0000'::TIMESTAMP_TZ)"),
        // The offset says how the instant is shown, not when it is.
        (TimestampTz, "1767225600.123456789 1500", 60, "2026-01-01 00:00:00.123456789 +0000'::TIMESTAMP_TZ)"),
        (TimestampTz, "-1.25 960", 60, "1969-12-31 23:59:58.750000000 +0000'::TIMESTAMP_TZ)"),
    ] {
        let found = bound(kind.clone(), value, overlap).unwrap();
        let seconds = format!("DATEADD(second, -{overlap}, '");
        assert_eq!(found.strip_prefix(&seconds).unwrap_or(&found), sql, "{kind:?} {value}");
    }
}

#[test]
fn what_cannot_be_a_literal_is_refused() {
    use ColumnKind::{Boolean, Date, Fixed, Text, TimestampNtz, TimestampTz};
    let digits = "1".repeat(39);
    for (kind, value) in [
        (Fixed, ""),
        (Fixed, "-"),
        (Fixed, "1.5"),
        (Fixed, "1e5"),
        (Fixed, "1; DROP TABLE T"),
        (Fixed, digits.as_str()),
        (Date, "2026-01-01"),
        (Date, "2932897"),
        (Date, "-719163"),
        (Date, "9223372036854775807"),
        (TimestampNtz, ""),
        (TimestampNtz, "."),
        (TimestampNtz, "-"),
        (TimestampNtz, "--1"),
        (TimestampNtz, "1.0000000001"),
        (TimestampNtz, "1.5' OR 1=1"),
        (TimestampNtz, "253402300800"),
        (TimestampNtz, digits.as_str()),
        (TimestampTz, " 1440"),
        (Text, "1"),
        (Boolean, "true"),
    ] {
        assert_eq!(bound(kind.clone(), value, 0), Err(Class::Configuration), "{kind:?} {value}");
    }
}

proptest! {
    /// No nanosecond is lost, on either side of 1970.
    #[test]
    fn a_timestamp_is_written_exactly(nanoseconds in -62_135_596_800_000_000_000_i128..253_402_300_800_000_000_000) {
        let (sign, magnitude) = (if nanoseconds < 0 { "-" } else { "" }, nanoseconds.abs());
        let wire = format!("{sign}{}.{:09}", magnitude / 1_000_000_000, magnitude % 1_000_000_000);
        let sql = bound(ColumnKind::TimestampNtz, &wire, 0).unwrap();
        let written: jiff::civil::DateTime = sql.split('\'').nth(1).unwrap().parse().unwrap();
        // Not by way of a zone: the last day of 9999 is no instant there.
        let epoch = jiff::civil::date(1970, 1, 1).at(0, 0, 0, 0);
        let passed = written.duration_since(epoch);
        prop_assert_eq!(passed.as_nanos(), nanoseconds);
    }
}

const SYNC: &str = "\
model: {table: T, warehouse: W, role: R, timeout_seconds: 60, cursor: {column: U, overlap: 5}}
key: {column: ID, field: Key__c}
destination: {object: Order__c}
mapping: {Status__c: S, Account__r.Key__c: A}
";

fn sync(from: &str, to: &str) -> Sync {
    assert!(SYNC.contains(from));
    Sync::parse("a.yaml", &SYNC.replace(from, to)).unwrap_or_else(|errors| panic!("{errors}"))
}

fn objects() -> Objects {
    let field = |name: &str| Field { name: name.to_owned(), kind: "string".to_owned(), ..Field::default() };
    let object = |name: &str, fields| Object {
        name: name.to_owned(),
        createable: true,
        updateable: true,
        deletable: true,
        fields,
    };
    let lookup = Field {
        relationship_name: Some("Account__r".to_owned()),
        reference_to: vec!["Account".to_owned()],
        ..field("Account__c")
    };
    let order = object("Order__c", vec![field("Key__c"), field("Status__c"), lookup, field("Other__c")]);
    let account = object("Account", vec![field("Key__c"), field("Name")]);
    Objects([order, account].map(|object| (object.name.clone(), object)).into())
}

#[test]
fn a_watermark_holds_until_what_is_written_may_differ() {
    let head = |sync: &Sync, objects: &Objects| Head {
        cursor: Some(Watermark { holds_for: holds_for(sync, objects), ..watermark(ColumnKind::Date, "1") }),
        ..Head::default()
    };
    let as_it_was = head(&sync("T", "T"), &objects());
    let holds = |sync: &Sync, objects: &Objects| usable(&as_it_was, &holds_for(sync, objects)).is_some();
    assert!(holds(&sync("T", "T"), &objects()));
    for (from, to) in [
        ("timeout_seconds: 60", "timeout_seconds: 61"),
        ("warehouse: W", "warehouse: X"),
        ("overlap: 5", "overlap: 6"),
        ("Status__c: S, Account__r.Key__c: A", "Account__r.Key__c: A, Status__c: S"),
    ] {
        assert!(holds(&sync(from, to), &objects()), "{to}");
    }
    for (from, to) in [
        ("table: T", "table: T2"),
        ("table: T", "query: SELECT * FROM T"),
        ("role: R", "role: S"),
        ("column: U", "column: V"),
        (", cursor: {column: U, overlap: 5}", ""),
        ("column: ID", "column: ID2"),
        ("object: Order__c", "object: Order__c, operation: insert"),
        ("Status__c: S", "Status__c: {column: S, when_null: keep}"),
        ("Status__c: S, ", ""),
    ] {
        assert!(!holds(&sync(from, to), &objects()), "{to}");
    }
    // What was invalid may be valid now: a picklist value more, a longer text of the parent.
    let mut wider = objects();
    wider.0.get_mut("Order__c").unwrap().fields[1]
        .picklist_values
        .push(PicklistValue { value: "N".to_owned(), active: true });
    assert!(!holds(&sync("T", "T"), &wider));
    let mut longer = objects();
    longer.0.get_mut("Account").unwrap().fields[0].length = 9;
    assert!(!holds(&sync("T", "T"), &longer));
    // A field that is not mapped does not matter.
    let mut other = objects();
    other.0.get_mut("Order__c").unwrap().fields[3].length = 9;
    other.0.get_mut("Account").unwrap().fields[1].length = 9;
    assert!(holds(&sync("T", "T"), &other));
}

fn extracted(narrowed: bool, found: Option<&str>) -> Extracted {
    let rule = KeyRule { column: 0, kind: ColumnKind::Text, fold_case: false };
    Extracted {
        columns: Vec::new(),
        rows: 0,
        partitions: Vec::new(),
        mapping: Mapping { narrowed, operation: Operation::Upsert, ..Mapping::new(rule, Vec::new()) },
        cursor: found.map(|value| watermark(ColumnKind::Fixed, value)),
        age: None,
    }
}

/// P12: the watermark moves with a run of which no row has to be read again, and with no other.
#[test]
fn the_watermark_moves_only_when_every_row_is_settled() {
    let head = Head { cursor: Some(watermark(ColumnKind::Fixed, "5")), ..Head::default() };
    for (narrowed, found, settled, expected) in [
        (true, Some("9"), true, Some("9")),
        (true, Some("9"), false, Some("5")),
        (true, None, true, Some("5")), // Nothing was new.
        (false, Some("9"), true, Some("9")),
        (false, Some("9"), false, None), // The old one did not hold any more.
        (false, None, true, None),       // The model is empty, or its cursor is NULL.
        // Rows of the overlap may be all that is left; what comes then is behind the old watermark.
        (true, Some("4"), true, Some("4")),
    ] {
        let next = next(&head, &extracted(narrowed, found), settled);
        assert_eq!(next.as_ref().map(|watermark| watermark.value.as_str()), expected);
    }
    assert_eq!(next(&Head::default(), &extracted(false, Some("9")), false), None);
}

/// A report of a run with these rows invalid, and these outcomes of one job.
fn report(invalid: &[(&str, u64)], collected: Collected) -> Report {
    let run = RunRef { sync: "a".parse().unwrap(), run: "20260101T000000Z".parse().unwrap() };
    let invalid: BTreeMap<String, u64> =
        invalid.iter().map(|(code, rows)| ((*code).to_owned(), *rows)).collect();
    let rows = collected.accepted() + collected.rejected_rows() + collected.unprocessed + collected.missing;
    let totals = Mapped {
        read: 7 + rows + invalid.values().sum::<u64>(),
        unchanged: 4,
        held: 3,
        added: rows,
        invalid,
        ..Mapped::default()
    };
    let job = JobRef { wave: 1, job: 0 };
    let jobs = [JobOutcome {
        job,
        job_id: None,
        batches: 1,
        removes: false,
        collected: Collected { sent: rows, ..collected },
    }];
    Report::new(&Input {
        run: &run,
        mode: Mode::Run,
        object: "Order__c",
        operation: Operation::Upsert,
        started: Timestamp::UNIX_EPOCH,
        finished: Timestamp::UNIX_EPOCH,
        waves: 1,
        prediction: Prediction::default(),
        limits: None,
        quota: &Quota::default(),
        stopped: None,
        guard: &[],
        released: None,
        preview: None,
        left_out: &[],
        totals: &totals,
        jobs: &jobs,
        failure: None,
    })
}

#[test]
fn a_row_that_may_be_accepted_without_a_change_is_not_settled() {
    let done =
        || Collected { state: "JobComplete".to_owned(), created: 2, updated: 1, ..Collected::default() };
    let rejected = |code: &str| Collected { rejected: [(code.to_owned(), 1)].into(), ..done() };
    for (settled, invalid, collected) in [
        (true, &[][..], done()),
        (true, &[("too_long", 2), ("null_key", 1)], done()),
        (true, &[], rejected("STRING_TOO_LONG")), // Held from now on.
        (false, &[("duplicate_key", 2)], done()),
        (false, &[], rejected("INVALID_FIELD")), // A parent that may arrive.
        (false, &[], rejected("CANNOT_EXECUTE_FLOW_TRIGGER")),
        (false, &[], rejected("UNABLE_TO_LOCK_ROW")),
        (false, &[], rejected("INSUFFICIENT_ACCESS")),
        (false, &[], rejected("REQUEST_LIMIT_EXCEEDED")),
        (false, &[], rejected("INVALID_SERVER_ERROR")),
        (false, &[], Collected { unprocessed: 1, ..done() }),
        (false, &[], Collected { missing: 1, ..done() }),
    ] {
        let report = report(invalid, collected);
        assert_eq!(is_settled(&report), settled, "{:?}", report.reasons);
    }
    let unbalanced = Report { verdict: Verdict::Unbalanced, ..report(&[], done()) };
    assert!(!is_settled(&unbalanced));
}

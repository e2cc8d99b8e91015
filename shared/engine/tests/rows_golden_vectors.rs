//! The wire values that Snowflake documents or that were seen on real accounts, and what they stand for.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use backhaul_engine::{
    contract::ColumnKind::{self, *},
    mapping::{Assignment, Conversion, Source, WhenNull},
    partition::Rows,
    value::write,
};

/// Reads one cell the way a partition carries it, and writes it out.
fn decoded(kind: &ColumnKind, conversion: &Conversion, wire: &str) -> Result<String, &'static str> {
    let body = format!(r#"{{"data":[[{wire}]]}}"#);
    let mut rows = Rows::new(body.as_bytes());
    let row = rows.next().unwrap().unwrap();
    let source = Source::Column { index: 0, kind: kind.clone(), scale: None };
    let (conversion, when_null) = (conversion.clone(), WhenNull::Clear);
    let assignment = Assignment { header: "Field__c".to_owned(), source, conversion, when_null };
    let mut out = Vec::new();
    write(&assignment, row.cell(0), &mut out).map_err(|fault| fault.code)?;
    Ok(String::from_utf8(out).unwrap())
}

#[test]
fn every_golden_vector_is_decoded() {
    let text = Conversion::Text { max_chars: 0 };
    let nines = "9".repeat(38);
    let quoted = format!("\"{nines}\"");
    let nine_places = Conversion::Decimal { precision: 38, scale: 9 };
    for (kind, conversion, wire, expected) in [
        (Date, Conversion::Date, "\"18262\"", Ok("2020-01-01")),
        // 0001-01-01 is before the first day that Salesforce takes, and a text field gets no date that a date field
        // would refuse.
        (Date, Conversion::Date, "\"-719162\"", Err("date_out_of_range")),
        (Date, text.clone(), "\"-719162\"", Err("date_out_of_range")),
        (Time, Conversion::Time, "\"45296.000000000\"", Ok("12:34:56.000Z")),
        // Salesforce keeps milliseconds: the rest is cut.
        (TimestampNtz, Conversion::DateTime, "\"1611871777.123456789\"", Ok("2021-01-28T22:09:37.123Z")),
        (TimestampNtz, Conversion::DateTime, "\"-0.500000000\"", Ok("1969-12-31T23:59:59.500Z")),
        (TimestampTz, Conversion::DateTime, "\"1616173619.000000000 1500\"", Ok("2021-03-19T17:06:59.000Z")),
        (TimestampTz, Conversion::DateTime, "\"1641008096.123000000 1980\"", Ok("2022-01-01T03:34:56.123Z")),
        (TimestampTz, Conversion::DateTime, "\"1616173619.000000000 960\"", Ok("2021-03-19T17:06:59.000Z")),
        (Fixed, Conversion::Decimal { precision: 38, scale: 0 }, &quoted, Ok(&nines)),
        (Fixed, nine_places, "\"-0.000001000\"", Ok("-0.000001000")),
        (Binary, text.clone(), "\"48656C6C6F\"", Ok("48656C6C6F")),
        // The null of JSON is a text, the NULL of SQL is none.
        (Json, text.clone(), "\"null\"", Ok("null")),
        (Json, text, "null", Ok("#N/A")),
    ] {
        let found = decoded(&kind, &conversion, wire);
        assert_eq!(found.as_deref().map_err(|code| *code), expected, "{kind:?} {wire}");
    }
}

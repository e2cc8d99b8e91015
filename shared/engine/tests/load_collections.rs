//! One encoder for both interfaces: what a bulk upload says in CSV, a call says in JSON.

#![allow(clippy::unwrap_used, reason = "the helpers of a test are tests as well")]

use backhaul_engine::{
    Class,
    collections::{Files, batches},
    config::Operation,
    contract::ColumnKind,
    csv,
    mapping::{Assignment, Conversion, KeyRule, Mapping, Source, WhenNull},
    value,
};
use proptest::prelude::*;
use serde_json::{Value, json};

fn assignment(header: &str, kind: ColumnKind, conversion: Conversion, when_null: WhenNull) -> Assignment {
    let source = Source::Column { index: 0, kind, scale: None };
    Assignment { header: header.to_owned(), source, conversion, when_null }
}

fn text() -> Conversion {
    Conversion::Text { max_chars: 0 }
}

fn mapping(operation: Operation, key: &str, fields: Vec<Assignment>) -> Mapping {
    let mut assignments = vec![assignment(key, ColumnKind::Text, text(), WhenNull::Refuse)];
    assignments.extend(fields);
    let key = KeyRule { column: 0, kind: ColumnKind::Text, fold_case: false };
    Mapping { operation, ..Mapping::new(key, assignments) }
}

/// The records of the only call for one row.
fn record(mapping: &Mapping, row: &str) -> Value {
    let batches = batches("Account", mapping, row.as_bytes()).unwrap();
    assert_eq!(batches.len(), 1);
    let body: Value = serde_json::from_slice(&batches[0].body).unwrap();
    assert_eq!(body["allOrNone"], json!(false));
    body["records"][0].clone()
}

type Line = (ColumnKind, Conversion, WhenNull, Option<&'static str>, &'static str, Option<&'static str>);

/// Values of the warehouse, their CSV cells, and their JSON.
fn values() -> Vec<Line> {
    use ColumnKind::{Boolean, Date, Fixed, Real, Text, Time, TimestampNtz, TimestampTz};
    let decimal = || Conversion::Decimal { precision: 0, scale: 9 };
    let integer = || Conversion::Integer { digits: 9 };
    let picklist = || Conversion::Picklist { values: vec!["A".to_owned(), "O'B".to_owned()] };
    let multi = || Conversion::MultiPicklist { values: Vec::new() };
    vec![
        (Text, text(), WhenNull::Clear, Some("O'Brien"), "O'Brien", Some("\"O'Brien\"")),
        (Text, text(), WhenNull::Clear, Some("a \"b\", c"), "\"a \"\"b\"\", c\"", Some(r#""a \"b\", c""#)),
        (Text, text(), WhenNull::Clear, Some("two\nlines"), "\"two\nlines\"", Some(r#""two\nlines""#)),
        (
            Text,
            text(),
            WhenNull::Clear,
            Some("Zoë 🦀 \u{2028}"),
            "Zoë 🦀 \u{2028}",
            Some("\"Zoë 🦀 \u{2028}\""),
        ),
        (Text, text(), WhenNull::Clear, Some("007"), "007", Some("\"007\"")),
        (Text, text(), WhenNull::Clear, None, "#N/A", Some("null")),
        (Text, text(), WhenNull::Keep, None, "", None),
        (Fixed, integer(), WhenNull::Clear, Some("-42"), "-42", Some("-42")),
        (Fixed, integer(), WhenNull::Clear, None, "#N/A", Some("null")),
        (
            Fixed,
            decimal(),
            WhenNull::Clear,
            Some("12345678901234567890123456789.012345678"),
            "12345678901234567890123456789.012345678",
            Some("12345678901234567890123456789.012345678"),
        ),
        (Fixed, decimal(), WhenNull::Clear, Some("-0.50"), "-0.50", Some("-0.50")),
        (Real, decimal(), WhenNull::Clear, Some("0.1"), "0.1", Some("0.1")),
        (Boolean, Conversion::Boolean, WhenNull::Clear, Some("true"), "true", Some("true")),
        (Date, Conversion::Date, WhenNull::Clear, Some("18262"), "2020-01-01", Some("\"2020-01-01\"")),
        (Date, Conversion::Date, WhenNull::Clear, None, "#N/A", Some("null")),
        (
            TimestampNtz,
            Conversion::DateTime,
            WhenNull::Clear,
            Some("-1.500000000"),
            "1969-12-31T23:59:58.500Z",
            Some("\"1969-12-31T23:59:58.500Z\""),
        ),
        (
            TimestampTz,
            Conversion::DateTime,
            WhenNull::Clear,
            Some("1616173619.000000000 1500"),
            "2021-03-19T17:06:59.000Z",
            Some("\"2021-03-19T17:06:59.000Z\""),
        ),
        (
            Time,
            Conversion::Time,
            WhenNull::Clear,
            Some("45296.000000000"),
            "12:34:56.000Z",
            Some("\"12:34:56.000Z\""),
        ),
        (Text, picklist(), WhenNull::Clear, Some("O'B"), "O'B", Some("\"O'B\"")),
        (Text, multi(), WhenNull::Clear, Some("a;b"), "a;b", Some("\"a;b\"")),
        (
            Text,
            Conversion::RecordId,
            WhenNull::Clear,
            Some("001000000000001AAA"),
            "001000000000001AAA",
            Some("\"001000000000001AAA\""),
        ),
    ]
}

/// The cell alone decides what is sent.
#[test]
fn every_kind_of_value_is_the_same_in_bulk_and_by_rest() {
    for (kind, conversion, when_null, wire, cell, json) in values() {
        let field = assignment("Field__c", kind, conversion, when_null);
        let mut written = Vec::new();
        value::write(&field, wire, &mut written).unwrap_or_else(|_| panic!("{wire:?} is refused"));
        assert_eq!(std::str::from_utf8(&written).unwrap(), cell, "{wire:?} in CSV");
        let mapping = mapping(Operation::Upsert, "Key__c", vec![field]);
        let batches = batches("Account", &mapping, format!("K1,{cell}\n").as_bytes()).unwrap();
        let body = std::str::from_utf8(&batches[0].body).unwrap();
        let field = json.map_or_else(String::new, |json| format!(",\"Field__c\":{json}"));
        let expected = format!(
            "{{\"allOrNone\":false,\"records\":[{{\"attributes\":{{\"type\":\"Account\"}},\"Key__c\":\"K1\"{field}}}]}}"
        );
        assert_eq!(body, expected, "{wire:?} in JSON");
    }
}

#[test]
fn a_parent_is_named_by_its_external_id() {
    let lookup = |header: &str| assignment(header, ColumnKind::Text, text(), WhenNull::Clear);
    let mapping =
        mapping(Operation::Upsert, "Key__c", vec![lookup("Account__r.Key__c"), lookup("User:Owner.Email")]);
    let sent = record(&mapping, "K1,A-1,x@example.com\n");
    assert_eq!(sent["Account__r"], json!({"Key__c": "A-1"}));
    assert_eq!(sent["Owner"], json!({"attributes": {"type": "User"}, "Email": "x@example.com"}));
    let cleared = record(&mapping, "K1,#N/A,\n");
    assert_eq!((&cleared["Account__r"], cleared.get("Owner")), (&Value::Null, None));
}

#[test]
fn each_operation_has_its_form() {
    let name = || vec![assignment("Name", ColumnKind::Text, text(), WhenNull::Clear)];
    let attributes = json!({"type": "Account"});
    for (operation, key, sent) in [
        (Operation::Upsert, "Key__c", json!({"attributes": attributes, "Key__c": "K1", "Name": "x"})),
        (Operation::Insert, "Key__c", json!({"attributes": attributes, "Key__c": "K1", "Name": "x"})),
        (Operation::Update, "Id", json!({"attributes": attributes, "id": "K1", "Name": "x"})),
    ] {
        assert_eq!(record(&mapping(operation, key, name()), "K1,x\n"), sent, "{operation:?}");
    }
    let deletes = batches("Account", &mapping(Operation::Delete, "Id", vec![]), b"001A\n001B\n").unwrap();
    assert_eq!(deletes[0].body, br#"["001A","001B"]"#);
}

proptest! {
    #[test]
    fn every_row_is_in_one_call_in_its_order(keys in prop::collection::vec("[a-z,\"\n #é]{1,5}", 0..700)) {
        let mut rows = Vec::new();
        for key in &keys {
            csv::line(&mut rows, [key, "x"]);
        }
        let name = assignment("Name", ColumnKind::Text, text(), WhenNull::Clear);
        let made = batches("Account", &mapping(Operation::Upsert, "Key__c", vec![name]), &rows).unwrap();
        prop_assert_eq!(made.len(), keys.len().div_ceil(200));
        let mut seen = Vec::new();
        for batch in &made {
            let body: Value = serde_json::from_slice(&batch.body).unwrap();
            let sent: Vec<String> = body["records"].as_array().unwrap().iter()
                .map(|record| record["Key__c"].as_str().unwrap().to_owned()).collect();
            prop_assert!(sent.len() <= 200);
            prop_assert_eq!(&sent, &batch.keys);
            seen.extend(sent);
        }
        prop_assert_eq!(seen, keys);
    }
}

#[test]
fn a_row_of_another_width_is_a_bug() {
    let mapping = mapping(Operation::Upsert, "Key__c", vec![]);
    assert_eq!(batches("Account", &mapping, b"a,b\n").map(|_| ()).unwrap_err().class, Class::Bug);
}

#[test]
fn answers_become_the_files_of_a_bulk_job() {
    let keys = ["a", "b\"", "c"].map(str::to_owned);
    let answer = json!([
        {"id": "001000000000001AAA", "success": true, "errors": [], "created": true},
        {"success": false, "errors": [
            {"statusCode": "REQUIRED_FIELD_MISSING", "message": "Required, \"really\": [Name]", "fields": ["Name", "X__c"]}
        ]},
        {"id": "001000000000003AAA", "success": false, "errors": [{"statusCode": "UNABLE_TO_LOCK_ROW", "message": "busy"}]},
    ]);
    let mut files = Files::new("Key__c");
    files.take_down(&keys, &serde_json::to_vec(&answer).unwrap()).unwrap();
    assert_eq!(
        String::from_utf8(files.success).unwrap(),
        "sf__Id,sf__Created,Key__c\n001000000000001AAA,true,a\n"
    );
    assert_eq!(
        String::from_utf8(files.failed).unwrap(),
        "sf__Id,sf__Error,Key__c\n,\"REQUIRED_FIELD_MISSING:Required, \"\"really\"\": [Name]:Name, X__c --\",\"b\"\"\"\n\
         001000000000003AAA,UNABLE_TO_LOCK_ROW:busy:--,c\n"
    );
    let mut files = Files::new("Key__c");
    for answer in [&b"[]"[..], b"<html>", b"[{}]", br#"[{"success":true}]"#] {
        assert_eq!(files.take_down(&keys, answer).unwrap_err().class, Class::Transient);
    }
}

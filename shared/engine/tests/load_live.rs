//! Rows in doubt against the records of the org.

#![allow(clippy::unwrap_used, reason = "the helpers of a test are tests as well")]

use backhaul_engine::{
    config::Operation,
    contract::ColumnKind,
    csv,
    live::questions,
    mapping::{Assignment, Conversion, KeyRule, Mapping, Source, WhenNull},
    outcome::Verdict,
};
use proptest::prelude::*;
use serde_json::{Value, json, value::RawValue};

fn assignment(header: &str, conversion: Conversion) -> Assignment {
    let source = Source::Column { index: 0, kind: ColumnKind::Text, scale: None };
    Assignment { header: header.to_owned(), source, conversion, when_null: WhenNull::Clear }
}

fn text() -> Conversion {
    Conversion::Text { max_chars: 0 }
}

fn mapping(operation: Operation, key: Conversion, fields: Vec<(&str, Conversion)>) -> Mapping {
    let name = if key == Conversion::RecordId { "Id" } else { "Key__c" };
    let mut assignments = vec![assignment(name, key)];
    assignments.extend(fields.into_iter().map(|(header, conversion)| assignment(header, conversion)));
    let key = KeyRule { column: 0, kind: ColumnKind::Text, fold_case: false };
    Mapping { operation, ..Mapping::new(key, assignments) }
}

fn verdicts(mapping: &Mapping, rows: &str, records: &[Value]) -> Vec<(String, Verdict, String)> {
    let records: Vec<Box<RawValue>> =
        records.iter().map(|record| RawValue::from_string(record.to_string()).unwrap()).collect();
    let questions = questions("Account", mapping, rows.as_bytes()).unwrap();
    let known = questions.iter().flat_map(|question| question.answer(mapping, &records).unwrap());
    known.map(|known| (known.key, known.verdict, known.id)).collect()
}

#[test]
fn a_field_is_compared_as_its_type_says() {
    let decimal = || Conversion::Decimal { precision: 0, scale: 9 };
    let multi = || Conversion::MultiPicklist { values: vec![] };
    for (conversion, sent, live, same) in [
        (text(), "O'Brien", json!("O'Brien"), true),
        (text(), "a ", json!("a"), false),
        (text(), "\"a\nb\"", json!("a\r\nb"), true),
        (text(), "", json!("whatever"), true),
        (text(), "#N/A", json!(null), true),
        (text(), "#N/A", json!("x"), false),
        (text(), "x", json!(null), false),
        (decimal(), "912260031", json!(9.122_600_31E8), true),
        (decimal(), "-0.50", json!(-0.5), true),
        (decimal(), "0.51", json!(0.5), false),
        (decimal(), "#N/A", json!(0), false),
        (Conversion::Integer { digits: 9 }, "7", json!(7), true),
        (Conversion::Boolean, "true", json!(true), true),
        (Conversion::Boolean, "true", json!(false), false),
        (Conversion::Date, "2020-01-01", json!("2020-01-01"), true),
        (Conversion::Date, "2020-01-01", json!("2020-01-02"), false),
        (Conversion::DateTime, "2026-03-01T10:00:00.000Z", json!("2026-03-01T10:00:00.000+0000"), true),
        (Conversion::DateTime, "2026-03-01T10:00:00.250Z", json!("2026-03-01T10:00:00.000+0000"), true),
        (Conversion::DateTime, "2026-03-01T10:00:00.000Z", json!("2026-03-01T11:00:00.000+0100"), true),
        (Conversion::DateTime, "2026-03-01T10:00:01.000Z", json!("2026-03-01T10:00:00.000+0000"), false),
        (Conversion::Time, "12:34:56.000Z", json!("12:34:56.000Z"), true),
        (multi(), "a;b", json!("b;a"), true),
        (multi(), "a;b", json!("a"), false),
        (Conversion::RecordId, "001000000000001AAA", json!("001000000000001"), true),
    ] {
        let mapping = mapping(Operation::Upsert, text(), vec![("Field__c", conversion)]);
        let record = json!({"attributes": {}, "Id": "001000000000009AAA", "Key__c": "K", "Field__c": live});
        let verdict = if same { Verdict::Accepted } else { Verdict::Different };
        let expected = [("K".to_owned(), verdict, "001000000000009AAA".to_owned())];
        assert_eq!(verdicts(&mapping, &format!("K,{sent}\n"), &[record]), expected, "{sent} and {live}");
    }
}

#[test]
fn a_parent_is_compared_by_the_key_that_named_it() {
    let mapping = mapping(Operation::Upsert, text(), vec![("Account__r.Key__c", text())]);
    for (live, verdict) in [
        (json!({"attributes": {}, "Key__c": "A-1"}), Verdict::Accepted),
        (json!({"attributes": {}, "Key__c": "A-2"}), Verdict::Different),
        (json!(null), Verdict::Different),
    ] {
        let record = json!({"Id": "a", "Key__c": "K", "Account__r": live});
        assert_eq!(verdicts(&mapping, "K,A-1\n", &[record])[0].1, verdict);
    }
    let soql = &questions("Order__c", &mapping, b"K,A-1\n").unwrap()[0].soql;
    assert_eq!(soql, "SELECT Id,Key__c,Account__r.Key__c FROM Order__c WHERE Key__c IN ('K')");
}

#[test]
fn a_lookup_that_a_query_cannot_tell_is_never_taken_for_written() {
    let mapping = mapping(Operation::Upsert, text(), vec![("User:Owner.Email", text())]);
    let record = json!({"Id": "a", "Key__c": "K", "Owner": {"Email": "x@example.com"}});
    assert_eq!(verdicts(&mapping, "K,x@example.com\n", &[record])[0].1, Verdict::Different);
    assert!(!questions("Account", &mapping, b"K,x\n").unwrap()[0].soql.contains("Owner"));
}

#[test]
fn gone_is_what_a_delete_wants_and_what_others_lack() {
    let id = "001000000000001AAA";
    for (operation, verdict) in [(Operation::Delete, Verdict::Accepted), (Operation::Update, Verdict::Absent)]
    {
        let mapping = mapping(operation, Conversion::RecordId, vec![]);
        assert_eq!(verdicts(&mapping, &format!("{id}\n"), &[])[0].1, verdict);
    }
    let mapping = mapping(Operation::Delete, Conversion::RecordId, vec![]);
    let still_there = json!({"Id": "001000000000001"});
    assert_eq!(verdicts(&mapping, &format!("{id}\n"), &[still_there])[0].1, Verdict::Different);
}

#[test]
fn keys_stand_safely_in_a_query() {
    let of = |key: &str, conversion| {
        let mut row = Vec::new();
        csv::line(&mut row, [key]);
        questions("A", &mapping(Operation::Insert, conversion, vec![]), &row).unwrap()[0].soql.clone()
    };
    for (key, literal) in
        [("O'Brien", r"'O\'Brien'"), (r"a\b", r"'a\\b'"), ("x') OR Id IN ('1", r"'x\') OR Id IN (\'1'")]
    {
        assert_eq!(of(key, text()), format!("SELECT Id,Key__c FROM A WHERE Key__c IN ({literal})"));
    }
    let number = Conversion::Decimal { precision: 18, scale: 0 };
    assert_eq!(of("42", number), "SELECT Id,Key__c FROM A WHERE Key__c IN (42)");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn every_row_is_asked_for_once_in_queries_that_fit(keys in prop::collection::btree_set("[a-zé' ]{1,99}", 0..300)) {
        let mapping = mapping(Operation::Upsert, text(), vec![]);
        let mut rows = Vec::new();
        keys.iter().for_each(|key| csv::line(&mut rows, [key.as_str()]));
        let asked = questions("Account", &mapping, &rows).unwrap();
        let mut seen = Vec::new();
        for question in &asked {
            let address: String = url_encoded(&question.soql);
            prop_assert!(address.len() <= 10_010, "{}", address.len());
            seen.extend(question.answer(&mapping, &[]).unwrap().into_iter().map(|known| known.key));
        }
        prop_assert_eq!(seen, keys.into_iter().collect::<Vec<_>>());
    }
}

fn url_encoded(text: &str) -> String {
    let byte = |byte: u8| {
        if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    };
    text.bytes().map(byte).collect()
}

/// A later removal goes by the id, so a guess would delete the wrong one of two.
#[test]
fn of_two_records_with_one_key_neither_is_taken_unless_a_new_one_was_to_be_made() {
    let record = |id: &str, name: &str| json!({"Id": id, "Key__c": "K", "Name": name});
    for (operation, names, expected) in [
        (Operation::Upsert, ["same", "same"], (Verdict::Different, "")),
        (Operation::Upsert, ["same", "other"], (Verdict::Different, "")),
        (Operation::Insert, ["other", "same"], (Verdict::Accepted, "b")),
        (Operation::Insert, ["other", "other"], (Verdict::Different, "")),
    ] {
        let mapping = mapping(operation, text(), vec![("Name", text())]);
        let records = [record("a", names[0]), record("b", names[1])];
        let (_, verdict, id) = &verdicts(&mapping, "K,same\n", &records)[0];
        assert_eq!((*verdict, id.as_str()), expected, "{operation:?} {names:?}");
    }
}

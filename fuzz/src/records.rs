//! CSV records, ours and Salesforce's.

use backhaul_engine::{
    Class,
    collections::batches,
    contract::ColumnKind,
    csv::line,
    mapping::{Assignment, Conversion, KeyRule, Mapping, Source, WhenNull},
    records::Counter,
};
use serde_json::Value;

use super::draw::Draw;

/// What is read and written again is read as the same, by us and by the `csv` crate, and is counted right.
pub fn check(bytes: &[u8]) {
    assert_eq!(count_in_pieces(bytes), count(bytes), "in pieces");
    let Some((width, mut rows)) = (1..=4).find_map(|width| read(bytes, width).map(|rows| (width, rows)))
    else {
        return;
    };
    // Written, it is an empty line, which is no record.
    rows.retain(|row| width > 1 || !row[0].is_empty());
    let mut written = Vec::new();
    rows.iter().for_each(|row| line(&mut written, row.iter().map(String::as_str)));
    assert_eq!(read(&written, width).as_ref(), Some(&rows));
    assert_eq!(read_elsewhere(&written), rows);
    written.splice(0..0, *b"header\n");
    assert_eq!(count(&written), rows.len() as u64);
}

/// The records, if all have so many cells.
fn read(bytes: &[u8], width: usize) -> Option<Vec<Vec<String>>> {
    let batches = match batches("Account", &mapping(width), bytes) {
        Ok(batches) => batches,
        Err(failure) => {
            assert_eq!(failure.class, Class::Bug, "{failure}");
            return None;
        }
    };
    let mut rows = Vec::new();
    for batch in batches {
        let body: Value = serde_json::from_slice(&batch.body).expect("the body of a call is JSON");
        let records = body["records"].as_array().expect("the records are an array");
        assert_eq!(records.len(), batch.keys.len());
        for (record, key) in records.iter().zip(batch.keys) {
            let row: Vec<String> =
                (0..width).map(|column| cell(&record[name(column)], record, column)).collect();
            assert_eq!(row[0], key);
            rows.push(row);
        }
    }
    Some(rows)
}

/// The cell that a value in a call was made of: an empty one leaves the field out, `#N/A` makes it null.
fn cell(value: &Value, record: &Value, column: usize) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null if record.get(name(column)).is_some() => "#N/A".to_owned(),
        Value::Null => String::new(),
        other => panic!("text became {other}"),
    }
}

fn name(column: usize) -> String {
    format!("F{column}__c")
}

fn mapping(width: usize) -> Mapping {
    let assignment = |column| Assignment {
        header: name(column),
        source: Source::Column { index: column, kind: ColumnKind::Text, scale: None },
        conversion: Conversion::Text { max_chars: 0 },
        when_null: WhenNull::Clear,
    };
    let key = KeyRule { column: 0, kind: ColumnKind::Text, fold_case: false };
    Mapping::new(key, (0..width).map(assignment).collect())
}

fn read_elsewhere(bytes: &[u8]) -> Vec<Vec<String>> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(bytes);
    let row = |record: csv::StringRecord| record.iter().map(ToOwned::to_owned).collect();
    reader.records().map(|record| row(record.expect("what we write is CSV"))).collect()
}

fn count(bytes: &[u8]) -> u64 {
    let mut counter = Counter::default();
    counter.pass(bytes);
    counter.records()
}

fn count_in_pieces(mut bytes: &[u8]) -> u64 {
    let (mut counter, mut draw) = (Counter::default(), Draw::of(bytes));
    while !bytes.is_empty() {
        let (piece, left) = bytes.split_at(1 + draw.below(bytes.len()));
        counter.pass(piece);
        bytes = left;
    }
    counter.records()
}

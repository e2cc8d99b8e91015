//! The same rows for the REST API: sObject Collections, 200 records a call.
//!
//! The CSV of a fragment is the one encoding of a row; here it is only put into JSON. So a value is the same whichever
//! interface carries it: an empty cell leaves the field alone, `#N/A` sets it to null, and the text of a number is
//! the text of the JSON number.
//!
//! <https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_composite_sobjects_collections.htm>

use std::io::Write as _;

use serde::Deserialize;

use crate::{
    Failure,
    config::Operation,
    csv,
    mapping::{Assignment, Conversion, Header, Mapping},
    quota::CALL_ROWS,
    records::Csv,
};

/// What clears a field in CSV.
pub(crate) const NULL: &str = "#N/A";

/// The records of one call.
///
/// There is no `Debug`: it holds values of records.
pub struct Batch {
    /// Their keys, in the order of the call.
    pub keys: Vec<String>,
    /// The body: `{"allOrNone":false,"records":[…]}`, or for a delete a list of ids.
    pub body: Vec<u8>,
}

/// The calls that carry the rows of a fragment, in its order.
///
/// # Errors
/// [`crate::Class::Bug`] when a row has other cells than the mapping.
pub fn batches(object: &str, mapping: &Mapping, mut rows: &[u8]) -> Result<Vec<Batch>, Failure> {
    let mut csv = Csv::new("mapped rows", &mut rows);
    let mut batches: Vec<Batch> = Vec::new();
    let width = mapping.assignments.len();
    while csv.next(usize::MAX)? {
        if csv.len() != width {
            return Err(Failure::bug("a mapped row has other cells than the mapping"));
        }
        if batches.last().is_none_or(|batch| batch.keys.len() as u64 == CALL_ROWS) {
            close(batches.last_mut(), mapping.operation);
            batches.push(Batch { keys: Vec::new(), body: opening(mapping.operation) });
        }
        let batch = batches.last_mut().expect("a batch was pushed");
        if !batch.keys.is_empty() {
            batch.body.push(b',');
        }
        record(&mut batch.body, object, mapping, &csv);
        batch.keys.push(csv.cell(0).into_owned());
    }
    close(batches.last_mut(), mapping.operation);
    Ok(batches)
}

fn opening(operation: Operation) -> Vec<u8> {
    if operation.is_delete() { b"[".to_vec() } else { br#"{"allOrNone":false,"records":["#.to_vec() }
}

fn close(batch: Option<&mut Batch>, operation: Operation) {
    if let Some(batch) = batch {
        batch.body.extend_from_slice(if operation.is_delete() { b"]" } else { b"]}" });
    }
}

fn record(out: &mut Vec<u8>, object: &str, mapping: &Mapping, row: &Csv<'_>) {
    if mapping.operation.is_delete() {
        string(out, &row.cell(0));
        return;
    }
    out.extend_from_slice(br#"{"attributes":{"type":"#);
    string(out, object);
    out.push(b'}');
    for (place, assignment) in mapping.assignments.iter().enumerate() {
        let cell = row.cell(place);
        if !cell.is_empty() {
            out.push(b',');
            field(out, assignment, &cell);
        }
    }
    out.push(b'}');
}

fn field(out: &mut Vec<u8>, assignment: &Assignment, cell: &str) {
    match Header::parse(&assignment.header) {
        Some(Header::Parent { object, relationship, field }) => {
            string(out, relationship);
            out.push(b':');
            if cell == NULL {
                out.extend_from_slice(b"null");
                return;
            }
            out.push(b'{');
            if let Some(object) = object {
                out.extend_from_slice(br#""attributes":{"type":"#);
                string(out, object);
                out.extend_from_slice(b"},");
            }
            string(out, field);
            out.push(b':');
            value(out, &assignment.conversion, cell);
            out.push(b'}');
        }
        _ => {
            string(out, if assignment.header == "Id" { "id" } else { &assignment.header });
            out.push(b':');
            value(out, &assignment.conversion, cell);
        }
    }
}

fn value(out: &mut Vec<u8>, conversion: &Conversion, cell: &str) {
    let bare = match conversion {
        Conversion::Integer { .. } | Conversion::Decimal { .. } => is_json_number(cell),
        Conversion::Boolean => matches!(cell, "true" | "false"),
        _ => false,
    };
    match cell {
        NULL => out.extend_from_slice(b"null"),
        _ if bare => out.extend_from_slice(cell.as_bytes()),
        _ => string(out, cell),
    }
}

fn string(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("a text has a JSON form, and a Vec takes it");
}

/// A number as JSON writes it; Salesforce reads any other spelling out of a string.
fn is_json_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let leading_zero = digits.len() > 1 && digits.starts_with('0') && digits.as_bytes()[1].is_ascii_digit();
    !leading_zero && serde_json::from_str::<&serde_json::value::RawValue>(text).is_ok()
}

/// The result files of a job made of calls, as a bulk job would have them.
pub struct Files {
    /// Rows that were written.
    pub success: Vec<u8>,
    /// Rows that were refused, with the reason in the grammar of the bulk files.
    pub failed: Vec<u8>,
    /// Rows of calls that were never made.
    pub unprocessed: Vec<u8>,
}

/// What Salesforce says of one record of a call.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    id: Option<String>,
    success: bool,
    #[serde(default)]
    created: bool,
    #[serde(default)]
    errors: Vec<Problem>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Problem {
    status_code: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    fields: Vec<String>,
}

impl Files {
    /// Files without rows. `key` is the field that the rows are joined by.
    #[must_use]
    pub fn new(key: &str) -> Self {
        let header = |columns: &[&str]| {
            let mut out = Vec::new();
            csv::line(&mut out, columns.iter().copied());
            out
        };
        Self {
            success: header(&["sf__Id", "sf__Created", key]),
            failed: header(&["sf__Id", "sf__Error", key]),
            unprocessed: header(&[key]),
        }
    }

    /// Takes down that a call with the records of `keys` will never be made.
    pub fn never_made(&mut self, keys: &[String]) {
        for key in keys {
            csv::line(&mut self.unprocessed, [key.as_str()]);
        }
    }

    /// Takes down the answer to a call with the records of `keys`: one result for each, in their order.
    ///
    /// # Errors
    /// [`crate::Class::Transient`] when the bytes are no such answer: the records are then in doubt.
    pub fn take_down(&mut self, keys: &[String], answer: &[u8]) -> Result<(), Failure> {
        let answers: Vec<Answer> = serde_json::from_slice(answer)
            .map_err(|_| Failure::transient("the answer of a call is not the documented JSON"))?;
        if answers.len() != keys.len() {
            let (answers, keys) = (answers.len(), keys.len());
            return Err(Failure::transient(format!("a call of {keys} records was answered for {answers}")));
        }
        for (key, answer) in keys.iter().zip(&answers) {
            let id = answer.id.as_deref().unwrap_or_default();
            if answer.success {
                let created = if answer.created { "true" } else { "false" };
                csv::line(&mut self.success, [id, created, key]);
            } else {
                csv::line(&mut self.failed, [id, &sf_error(&answer.errors), key]);
            }
        }
        Ok(())
    }
}

/// `CODE:message:FIELD, FIELD --`, as failed rows of a bulk job say it.
fn sf_error(problems: &[Problem]) -> String {
    let Some(first) = problems.first() else { return String::new() };
    let mut text = Vec::new();
    let fields = first.fields.join(", ");
    let gap = if fields.is_empty() { "" } else { " " };
    write!(text, "{}:{}:{fields}{gap}--", first.status_code, first.message).expect("a Vec takes every text");
    String::from_utf8(text).expect("text and separators are text")
}

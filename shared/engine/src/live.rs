//! Rows in doubt, held against what the org says of them now.
//!
//! When an answer was lost, nothing but the record itself can tell whether the row was written. A row whose record is
//! as it was sent needs no second write, whoever wrote it; any other goes again.

use std::{borrow::Cow, collections::BTreeMap};

use serde_json::value::RawValue;

use crate::{
    Failure,
    collections::NULL,
    config::Operation,
    fold,
    mapping::{Assignment, Conversion, Header, Mapping},
    outcome::Verdict,
    records::{Csv, push_number},
    segment::without_checksum,
};

/// Most bytes of a query as it stands in an address: Salesforce takes 16,384 with everything around it.
///
/// <https://developer.salesforce.com/docs/atlas.en-us.salesforce_app_limits_cheatsheet.meta/salesforce_app_limits_cheatsheet/salesforce_app_limits_platform_api.htm>
const LONGEST_QUERY: usize = 10_000;

/// Most keys of a query.
const MOST_KEYS: usize = 200;

/// A part of the rows in doubt, and the query that asks for their records.
pub struct Question {
    /// The query.
    pub soql: String,
    rows: Vec<Vec<String>>,
}

/// What is known of one row now.
///
/// There is no `Debug`: a key may be personal.
pub struct Known {
    /// The key as it was sent.
    pub key: String,
    /// What the org says.
    pub verdict: Verdict,
    /// The id of the record; empty when there is none.
    pub id: String,
}

/// The queries that ask for the records of `rows`, which is CSV as it was sent.
///
/// # Errors
/// [`crate::Class::Bug`] when a row has other cells than the mapping.
pub fn questions(object: &str, mapping: &Mapping, mut rows: &[u8]) -> Result<Vec<Question>, Failure> {
    let select = select(object, mapping);
    let mut csv = Csv::new("mapped rows", &mut rows);
    let mut questions = Vec::new();
    let (mut open, mut list) = (Vec::new(), String::new());
    while csv.next(usize::MAX)? {
        if csv.len() != mapping.assignments.len() {
            return Err(Failure::bug("a mapped row has other cells than the mapping"));
        }
        let literal = literal(&mapping.assignments[0], &csv.cell(0));
        let long = in_address(&select) + in_address(&list) + in_address(&literal) > LONGEST_QUERY;
        if !open.is_empty() && (long || open.len() == MOST_KEYS) {
            let rows = std::mem::take(&mut open);
            questions.push(Question { soql: format!("{select}{})", std::mem::take(&mut list)), rows });
        }
        if !list.is_empty() {
            list.push(',');
        }
        list.push_str(&literal);
        open.push((0..csv.len()).map(|cell| csv.cell(cell).into_owned()).collect());
    }
    if !open.is_empty() {
        questions.push(Question { soql: format!("{select}{list})"), rows: open });
    }
    Ok(questions)
}

impl Question {
    /// What is known of the rows, given the records that the query found.
    ///
    /// # Errors
    /// [`crate::Class::Transient`] when a record is not the documented JSON.
    pub fn answer(&self, mapping: &Mapping, records: &[Box<RawValue>]) -> Result<Vec<Known>, Failure> {
        let key = &mapping.assignments[0];
        let mut live: BTreeMap<String, Vec<Record>> = BTreeMap::new();
        for record in records {
            let record = Record::parse(record)?;
            let found = record.text(&key.header).unwrap_or_default();
            live.entry(comparable(mapping, &found)).or_default().push(record);
        }
        let of = |row: &[String]| live.get(&comparable(mapping, &row[0])).map_or(&[][..], Vec::as_slice);
        Ok(self.rows.iter().map(|row| known(mapping, row, of(row))).collect())
    }
}

/// Of several records with one key nobody can say which is meant, unless a new one was to be made.
fn known(mapping: &Mapping, row: &[String], live: &[Record]) -> Known {
    match live {
        [] => known_of_one(mapping, row, None),
        [record] => known_of_one(mapping, row, Some(record)),
        several => {
            let each = several.iter().map(|record| known_of_one(mapping, row, Some(record)));
            let made =
                |known: &Known| mapping.operation == Operation::Insert && known.verdict == Verdict::Accepted;
            let different = || Known { key: row[0].clone(), verdict: Verdict::Different, id: String::new() };
            each.into_iter().find(made).unwrap_or_else(different)
        }
    }
}

fn known_of_one(mapping: &Mapping, row: &[String], live: Option<&Record>) -> Known {
    let key = row[0].clone();
    let id = live.and_then(|record| record.text("Id")).map(Cow::into_owned).unwrap_or_default();
    let verdict = match live {
        // A record that is to be gone, and is.
        None if mapping.operation.is_delete() => {
            return Known { id: key.clone(), key, verdict: Verdict::Accepted };
        }
        None => Verdict::Absent,
        Some(_) if mapping.operation.is_delete() => Verdict::Different,
        Some(record) => {
            let cells = mapping.assignments.iter().zip(row);
            let same = cells.skip(1).all(|(assignment, cell)| record.holds(assignment, cell));
            if same { Verdict::Accepted } else { Verdict::Different }
        }
    };
    Known { key, verdict, id }
}

/// A record as a query answers it.
struct Record(BTreeMap<String, Box<RawValue>>);

impl Record {
    fn parse(raw: &RawValue) -> Result<Self, Failure> {
        serde_json::from_str(raw.get())
            .map(Self)
            .map_err(|_| Failure::transient("a record is not the documented JSON"))
    }

    /// The value at a path of field names as JSON; none when it is null or not there.
    fn at(&self, header: &str) -> Option<Cow<'_, str>> {
        let value = match Header::parse(header) {
            Some(Header::Parent { relationship, field, .. }) => {
                let parent = Self::parse(self.0.get(relationship)?).ok()?;
                Cow::Owned(parent.0.get(field)?.get().to_owned())
            }
            _ => Cow::Borrowed(self.0.get(header)?.get()),
        };
        (value != "null").then_some(value)
    }

    /// The value as plain text: of a string what it says, of anything else its JSON.
    fn text(&self, header: &str) -> Option<Cow<'_, str>> {
        let value = self.at(header)?;
        if value.starts_with('"') {
            return serde_json::from_str::<String>(&value).ok().map(Cow::Owned);
        }
        Some(value)
    }

    /// Whether the field is as the cell would make it. Of a lookup with several types a query cannot tell.
    fn holds(&self, assignment: &Assignment, cell: &str) -> bool {
        if is_polymorphic(&assignment.header) {
            return cell.is_empty();
        }
        match (cell, self.text(&assignment.header)) {
            ("", _) | (NULL, None) => true,
            (NULL, Some(_)) | (_, None) => false,
            (cell, Some(live)) => equal(&assignment.conversion, cell, &live),
        }
    }
}

fn equal(conversion: &Conversion, sent: &str, live: &str) -> bool {
    match conversion {
        Conversion::Integer { .. } | Conversion::Decimal { .. } => {
            let normal = |text: &str| {
                let mut out = String::new();
                push_number(&mut out, text).map(|()| out)
            };
            normal(sent).is_some() && normal(sent) == normal(live)
        }
        Conversion::DateTime => same_instant(sent, live),
        Conversion::RecordId => {
            without_checksum(sent).unwrap_or(sent) == without_checksum(live).unwrap_or(live)
        }
        Conversion::MultiPicklist { .. } => {
            let set = |text: &str| {
                let mut values: Vec<String> = text.split(';').map(str::to_owned).collect();
                values.sort();
                values
            };
            set(sent) == set(live)
        }
        Conversion::Text { .. } => sent == live || lines(sent) == lines(live),
        Conversion::Picklist { .. } | Conversion::Boolean | Conversion::Date | Conversion::Time => {
            sent == live
        }
    }
}

/// `2026-03-01T10:00:00.000+0000` against `2026-03-01T10:00:00.250Z`: fields without milliseconds drop them.
fn same_instant(sent: &str, live: &str) -> bool {
    let read = |text: &str| {
        let text = text.strip_suffix('Z').map_or_else(|| text.to_owned(), |local| format!("{local}+0000"));
        jiff::Timestamp::strptime("%Y-%m-%dT%H:%M:%S%.f%z", text).ok()
    };
    let (Some(sent), Some(live)) = (read(sent), read(live)) else { return false };
    sent == live || (live.subsec_nanosecond() == 0 && sent.as_second() == live.as_second())
}

fn lines(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n")
}

/// A key in the one form that all its spellings have.
fn comparable(mapping: &Mapping, key: &str) -> String {
    let mut out = String::new();
    match mapping.assignments[0].conversion {
        Conversion::Integer { .. } | Conversion::Decimal { .. } if push_number(&mut out, key).is_some() => {
            out
        }
        Conversion::RecordId => without_checksum(key).unwrap_or(key).to_owned(),
        _ if mapping.key.fold_case => {
            fold::push(&mut out, key);
            out
        }
        _ => key.to_owned(),
    }
}

fn select(object: &str, mapping: &Mapping) -> String {
    let mut fields = vec!["Id".to_owned()];
    for assignment in mapping.assignments.iter().filter(|assignment| !is_polymorphic(&assignment.header)) {
        let path = match Header::parse(&assignment.header) {
            Some(Header::Parent { relationship, field, .. }) => format!("{relationship}.{field}"),
            _ => assignment.header.clone(),
        };
        if !fields.contains(&path) {
            fields.push(path);
        }
    }
    let key = &mapping.assignments[0].header;
    format!("SELECT {} FROM {object} WHERE {key} IN (", fields.join(","))
}

fn is_polymorphic(header: &str) -> bool {
    matches!(Header::parse(header), Some(Header::Parent { object: Some(_), .. }))
}

/// <https://developer.salesforce.com/docs/atlas.en-us.soql_sosl.meta/soql_sosl/sforce_api_calls_soql_select_quotedstringescapes.htm>
fn literal(assignment: &Assignment, key: &str) -> String {
    if matches!(assignment.conversion, Conversion::Integer { .. } | Conversion::Decimal { .. }) {
        return key.to_owned();
    }
    let mut out = String::with_capacity(key.len() + 2);
    out.push('\'');
    for c in key.chars() {
        match c {
            '\'' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c => out.push(c),
        }
    }
    out.push('\'');
    out
}

/// How long a text is at most in an address: everything but letters and digits takes three bytes.
fn in_address(text: &str) -> usize {
    text.bytes().map(|byte| if byte.is_ascii_alphanumeric() { 1 } else { 3 }).sum()
}

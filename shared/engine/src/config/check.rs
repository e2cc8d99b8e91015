//! The checks of a file, in passes: places, keys, shapes, values. Each pass tells all it finds.

use serde_json::Value as Json;

use super::problem::Problem;
use super::source::{self, Node, Part, Source};
use super::{Api, Destination, OnRemoved, Operation, Selection, Sync, Value, schema, sql};
use crate::mapping::Header;
use crate::schedule;

/// Reads and checks a file.
pub(super) fn parse(text: &str) -> Result<Sync, Vec<Problem>> {
    let source = Source::read(text).map_err(|problem| vec![problem])?;
    let unknown = unknown_keys(&source);
    if !unknown.is_empty() {
        return Err(unknown);
    }
    let sync: Sync = source::from_yaml(text).map_err(|problem| vec![problem])?;
    let mut problems: Vec<Problem> =
        Faults::of(&sync).0.into_iter().map(|fault| fault.placed(&source)).collect();
    if problems.is_empty() {
        return Ok(sync);
    }
    problems.sort_by_key(|problem| problem.place.as_ref().map(|place| (place.line, place.column)));
    Err(problems)
}

fn unknown_keys(source: &Source) -> Vec<Problem> {
    let schema = schema();
    let mut faults = Faults::default();
    faults.unknown_keys(&schema, &[&schema], source.root(), &mut Vec::new());
    faults.0.into_iter().map(|fault| fault.placed(source)).collect()
}

/// A problem and what of its key it is about.
struct Fault {
    path: Vec<String>,
    part: Part,
    message: String,
    hint: Option<String>,
}

impl Fault {
    fn placed(self, source: &Source) -> Problem {
        let place = source.place(&self.path, self.part);
        Problem { path: self.path.join("."), message: self.message, hint: self.hint, place }
    }
}

#[derive(Default)]
struct Faults(Vec<Fault>);

impl Faults {
    fn of(sync: &Sync) -> Self {
        let mut faults = Self::default();
        faults.model(sync);
        faults.schedule(sync);
        faults.key_and_destination(sync);
        faults.operation(sync);
        faults.mapping(sync);
        faults.load(sync);
        faults
    }

    fn add(&mut self, path: &[&str], part: Part, message: impl Into<String>, hint: &str) {
        self.0.push(Fault {
            path: path.iter().map(|&key| key.to_owned()).collect(),
            part,
            message: message.into(),
            hint: (!hint.is_empty()).then(|| hint.to_owned()),
        });
    }

    fn model(&mut self, sync: &Sync) {
        let model = &sync.model;
        match (&model.table, &model.query) {
            (None, None) => self.add(&["model"], Part::Key, "one of `table` and `query` is missing", ""),
            (Some(_), Some(_)) => {
                self.add(
                    &["model", "query"],
                    Part::Key,
                    "`table` and `query` exclude each other",
                    "leave one out",
                );
            }
            (Some(table), None) if !sql::is_table_name(table) => self.add(
                &["model", "table"],
                Part::Value,
                format!("`{table}` is not the name of a table"),
                "write `DATABASE.SCHEMA.TABLE`, with double quotes around a part that needs them",
            ),
            (None, Some(query)) => self.query(query),
            (Some(_), None) => {}
        }
        self.range(&["model", "timeout_seconds"], model.timeout_seconds.into(), 1, 604_800);
        if model.cursor.as_ref().is_some_and(|cursor| cursor.column.trim().is_empty()) {
            self.add(&["model", "cursor", "column"], Part::Key, "the name of the column is empty", "");
        }
        if model.fresh.as_ref().is_some_and(|fresh| fresh.column.trim().is_empty()) {
            self.add(&["model", "fresh", "column"], Part::Key, "the name of the column is empty", "");
        }
        let names = [
            ("warehouse", &model.warehouse),
            ("role", &model.role),
            ("database", &model.database),
            ("schema", &model.schema),
        ];
        for (key, name) in names {
            if name.as_deref().is_some_and(|name| name.trim().is_empty()) {
                self.add(
                    &["model", key],
                    Part::Key,
                    "the name is empty",
                    "leave the key out to use the default",
                );
            }
        }
    }

    fn query(&mut self, query: &str) {
        if let Some(fault) = sql::query_fault(query) {
            self.add(&["model", "query"], Part::Value, fault, "the query is put in parentheses as it is");
        }
    }

    fn schedule(&mut self, sync: &Sync) {
        let Some(schedule) = &sync.schedule else { return };
        if let Err(failure) = schedule::check(&schedule.cron) {
            self.add(
                &["schedule", "cron"],
                Part::Value,
                failure.message,
                failure.hint.as_deref().unwrap_or(""),
            );
        }
        if let Err(failure) = schedule::zone(&schedule.timezone) {
            let hint = failure.hint.unwrap_or_default();
            self.add(&["schedule", "timezone"], Part::Value, failure.message, &hint);
        }
    }

    fn key_and_destination(&mut self, sync: &Sync) {
        if sync.key.column.trim().is_empty() {
            self.add(&["key", "column"], Part::Key, "the name of the column is empty", "");
        }
        if !Header::is_api_name(&sync.key.field) {
            let message = format!("`{}` is not the name of a field", sync.key.field);
            self.add(
                &["key", "field"],
                Part::Value,
                message,
                "write the API name, such as `Customer_Key__c`",
            );
        }
        if !Header::is_api_name(&sync.destination.object) {
            let message = format!("`{}` is not the name of an object", sync.destination.object);
            self.add(
                &["destination", "object"],
                Part::Value,
                message,
                "write the API name, such as `Account`",
            );
        }
    }

    /// What the operation asks of the key and of the mapping.
    fn operation(&mut self, sync: &Sync) {
        let operation = sync.destination.operation;
        let (word, field) = (operation.word(), &sync.key.field);
        if operation.is_by_id() && field != "Id" {
            let message = format!("`{word}` finds its records by `Id`, not by `{field}`");
            let hint = "write `Id`; the column then holds Salesforce ids of 18 characters";
            self.add(&["key", "field"], Part::Value, message, hint);
        }
        if !operation.is_by_id() && field.eq_ignore_ascii_case("Id") {
            let message = format!("`{word}` needs an external id, and `{field}` is none");
            let hint = "write an external id field, or use `operation: update`";
            self.add(&["key", "field"], Part::Value, message, hint);
        }
        self.removal(sync);
        if operation.is_delete() && !sync.mapping.is_empty() {
            let message = format!("`{word}` sends nothing but the key");
            self.add(&["mapping"], Part::Key, message, "leave the mapping out");
        }
        if !operation.is_delete() && sync.mapping.is_empty() {
            self.add(&["mapping"], Part::Key, "no field is mapped", "map at least one field besides the key");
        }
    }

    /// `mirror` says what becomes of rows that have left the model, and nothing else does.
    fn removal(&mut self, sync: &Sync) {
        let Destination { operation, on_removed, .. } = &sync.destination;
        let path = ["destination", "on_removed"];
        match on_removed {
            None if *operation == Operation::Mirror => self.add(
                &["destination", "operation"],
                Part::Value,
                "`mirror` needs `on_removed`",
                "write `on_removed: delete`, or `on_removed: {clear: [Field__c]}`",
            ),
            Some(_) if *operation != Operation::Mirror => {
                let message = format!("`{}` leaves rows alone that have left the model", operation.word());
                self.add(&path, Part::Key, message, "leave it out, or use `operation: mirror`");
            }
            Some(OnRemoved::Clear(fields)) => self.cleared(sync, fields),
            Some(OnRemoved::Delete) | None => {}
        }
        if *operation == Operation::Mirror && sync.model.cursor.is_some() {
            let hint = "leave the cursor out: what has left the model shows only when all of it is read";
            self.add(&["model", "cursor"], Part::Key, "`mirror` reads the whole model", hint);
        }
    }

    fn cleared(&mut self, sync: &Sync, fields: &[String]) {
        let path = ["destination", "on_removed", "clear"];
        if fields.is_empty() {
            self.add(&path, Part::Key, "no field is named", "name the fields, or write `on_removed: delete`");
        }
        for (place, field) in fields.iter().enumerate() {
            let message = if !Header::is_api_name(field) {
                format!("`{field}` is not the name of a field")
            } else if field.eq_ignore_ascii_case(&sync.key.field) {
                format!("`{field}` is the key, by which the record is found when its row comes back")
            } else if fields[..place].contains(field) {
                format!("`{field}` is named twice")
            } else {
                continue;
            };
            self.add(&path, Part::Key, message, "");
        }
    }

    fn mapping(&mut self, sync: &Sync) {
        for (header, value) in &sync.mapping {
            let path = ["mapping", header.as_str()];
            if header.eq_ignore_ascii_case(&sync.key.field) {
                self.add(
                    &path,
                    Part::Key,
                    format!("`{header}` is the key field, which is mapped already"),
                    "",
                );
            }
            if Header::parse(header).is_none() {
                self.add(
                    &path,
                    Part::Key,
                    format!("`{header}` is not the name of a field"),
                    "write `Field`, `Relationship.Field` or `Type:Relationship.Field`",
                );
            }
            self.value(&path, value);
        }
    }

    fn value(&mut self, path: &[&str; 2], value: &Value) {
        match value {
            Value::Column { column, .. } if column.trim().is_empty() => {
                self.add(path, Part::Key, "the name of the column is empty", "");
            }
            Value::Constant { value } if value.is_empty() || value == "#N/A" => self.add(
                &[path[0], path[1], "value"],
                Part::Value,
                "a constant is not empty",
                "leave the field out to keep it, or map a column that is null to clear it",
            ),
            _ => {}
        }
    }

    fn load(&mut self, sync: &Sync) {
        self.range(&["load", "max_job_bytes"], sync.load.max_job_bytes, 1_000_000, 100_000_000);
        self.range(&["load", "concurrency"], sync.load.concurrency.into(), 1, 50);
        self.range(&["load", "waves"], sync.load.waves.into(), 1, 10);
        if sync.load.api == Api::Rest && sync.destination.operation == Operation::HardDelete {
            let hint = "leave it out: records are deleted past the recycle bin in bulk only";
            self.add(&["load", "api"], Part::Value, "`rest` has no `hard_delete`", hint);
        }
        let operation = sync.destination.operation;
        if sync.load.send == Selection::All && !operation.updates() {
            let message = format!("`{}` happens once for each key", operation.word());
            self.add(&["load", "send"], Part::Value, message, "leave it out");
        }
        if sync.load.canary.is_some_and(|canary| canary.rows.of(100) == 0) {
            self.add(&["load", "canary", "rows"], Part::Value, "no rows are no canary", "leave `canary` out");
        }
        if let Some(parent) = sync.load.group_by.as_deref().filter(|name| !sync.mapping.contains_key(*name)) {
            let message = format!("`{parent}` is no key of `mapping`");
            let names: Vec<&str> = sync.mapping.keys().map(String::as_str).collect();
            let hint =
                if names.is_empty() { "leave it out".to_owned() } else { source::one_of(parent, &names) };
            self.add(&["load", "group_by"], Part::Value, message, &hint);
        }
    }

    fn range(&mut self, path: &[&str], value: u64, least: u64, most: u64) {
        if !(least..=most).contains(&value) {
            let message = format!("{value} is out of range");
            self.add(path, Part::Value, message, &format!("write a number from {least} to {most}"));
        }
    }

    /// Compares the keys of `node` with what the `shapes` of the schema allow there.
    fn unknown_keys(&mut self, schema: &Json, shapes: &[&Json], node: &Node, path: &mut Vec<String>) {
        let shapes: Vec<&Json> = shapes.iter().flat_map(|shape| objects(schema, shape)).collect();
        if shapes.is_empty() {
            return;
        }
        let known: Vec<&str> = shapes.iter().flat_map(|shape| property_names(shape)).collect();
        for (key, value) in node.entries() {
            path.push(key.value.clone());
            let inner: Vec<&Json> = shapes.iter().filter_map(|shape| property(shape, &key.value)).collect();
            if inner.is_empty() {
                let message = format!("unknown key `{}`", key.value);
                let hint = source::one_of(&key.value, &known);
                self.0.push(Fault { path: path.clone(), part: Part::Key, message, hint: Some(hint) });
            } else {
                self.unknown_keys(schema, &inner, &value.value, path);
            }
            path.pop();
        }
    }
}

/// The object shapes a schema stands for: references followed, alternatives laid side by side.
fn objects<'s>(schema: &'s Json, shape: &'s Json) -> Vec<&'s Json> {
    if let Some(reference) = shape["$ref"].as_str() {
        let target = schema.pointer(reference.trim_start_matches('#'));
        return target.map_or_else(Vec::new, |target| objects(schema, target));
    }
    if let Some(alternatives) = shape["anyOf"].as_array() {
        return alternatives.iter().flat_map(|alternative| objects(schema, alternative)).collect();
    }
    if shape["type"] == "object" { vec![shape] } else { Vec::new() }
}

fn property_names(shape: &Json) -> impl Iterator<Item = &str> {
    shape["properties"].as_object().into_iter().flat_map(|properties| properties.keys().map(String::as_str))
}

fn property<'s>(shape: &'s Json, key: &str) -> Option<&'s Json> {
    shape["properties"]
        .get(key)
        .or_else(|| Some(&shape["additionalProperties"]).filter(|any| any.is_object()))
}

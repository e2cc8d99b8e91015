//! Joins a sync to both ends.
//!
//! Salesforce refuses a whole job for one wrong column and names the first only; so everything that can
//! be known beforehand is found here, all of it at once. What is not known: record types and validation
//! rules, which refuse single records.

use std::collections::BTreeMap;

use super::{Assignment, Conversion, Header, KeyRule, Mapping, Removal, Source, WhenNull};
use crate::{
    Failure,
    config::{OnRemoved, Operation, Problem, Sync, Value, closest, failure, identifier},
    contract::{Column, ColumnKind, Field, Object, Objects},
    cursor, fresh, value,
};

/// Lookups with more types than this must name theirs: describing every parent would cost too many calls.
const MOST_PARENTS: usize = 4;

impl Sync {
    /// The objects that are still to be described, in turns: first the destination, then, when that is
    /// known, the parents that the mapping looks up. Empty when all are known.
    #[must_use]
    pub fn objects_to_describe(&self, known: Option<&Objects>) -> Vec<String> {
        let Some(object) = known.and_then(|objects| objects.get(&self.destination.object)) else {
            return vec![self.destination.object.clone()];
        };
        let mut parents: Vec<String> =
            self.mapping.keys().flat_map(|header| parents(header, object)).collect();
        parents.retain(|parent| known.is_none_or(|objects| objects.get(parent).is_none()));
        parents.sort();
        parents.dedup();
        parents
    }

    /// The described fields on which depends what the sync writes.
    pub(crate) fn described_fields<'o>(&self, objects: &'o Objects) -> Vec<&'o Field> {
        let Some(object) = objects.get(&self.destination.object) else { return Vec::new() };
        let headers = self.mapping.keys().chain([&self.key.field]);
        let fields = headers.filter_map(|header| Header::parse(header)).flat_map(|header| match header {
            Header::Field(name) => object.field(name).into_iter().collect(),
            Header::Parent { relationship, field, .. } => with_parents(object, relationship, field, objects),
        });
        fields.collect()
    }
}

/// A lookup, and the field of each of its parents by which they are found.
fn with_parents<'o>(
    object: &'o Object,
    relationship: &str,
    field: &str,
    objects: &'o Objects,
) -> Vec<&'o Field> {
    let Some(lookup) = lookup(object, relationship) else { return Vec::new() };
    let parents = lookup.reference_to.iter().filter_map(|parent| objects.get(parent)?.field(field));
    [lookup].into_iter().chain(parents).collect()
}

fn parents(header: &str, object: &Object) -> Vec<String> {
    let Some(Header::Parent { object: named, relationship, .. }) = Header::parse(header) else {
        return Vec::new();
    };
    let Some(lookup) = lookup(object, relationship) else { return Vec::new() };
    match named {
        Some(named) => lookup.reference_to.iter().filter(|parent| *parent == named).cloned().collect(),
        None if lookup.reference_to.len() <= MOST_PARENTS => lookup.reference_to.clone(),
        None => Vec::new(),
    }
}

fn lookup<'o>(object: &'o Object, relationship: &str) -> Option<&'o Field> {
    object.fields.iter().find(|field| field.relationship_name.as_deref() == Some(relationship))
}

impl Mapping {
    /// Joins a sync to the row type of its statement and to the objects it touches.
    ///
    /// # Errors
    ///
    /// A configuration failure that lists everything that does not fit, each with its key in the file.
    pub fn resolve(sync: &Sync, columns: &[Column], objects: &Objects) -> Result<Self, Failure> {
        let Some(object) = objects.get(&sync.destination.object) else {
            return Err(undescribed(sync, objects));
        };
        let mut resolver = Resolver { sync, columns, object, objects, parent: None, problems: Vec::new() };
        resolver.object();
        resolver.cursor();
        resolver.fresh();
        let key = resolver.key();
        let mut assignments = resolver.assignments();
        resolver.required();
        let removal = resolver.removal();
        assignments.sort_by(|a, b| a.header.cmp(&b.header));
        let operation = sync.destination.operation.of_rows();
        let send = sync.load.send;
        match (failure(&resolver.problems), key) {
            (None, Some((key, first))) => {
                assignments.insert(0, first);
                let group_by = resolver.group_by(&assignments);
                Ok(Self { operation, group_by, send, removal, ..Self::new(key, assignments) })
            }
            (Some(failure), _) => Err(failure),
            (None, None) => Err(Failure::bug("the key was not resolved, and yet there is no problem")),
        }
    }
}

fn undescribed(sync: &Sync, objects: &Objects) -> Failure {
    let object = &sync.destination.object;
    let failure = Failure::configuration(format!("`destination.object`: object `{object}` is not known"));
    match closest(object, objects.0.keys().map(String::as_str)) {
        Some(meant) => failure.hint(format!("did you mean `{meant}`?")),
        None => failure.hint("correct the name, or give the user of Backhaul access to the object"),
    }
}

struct Resolver<'r> {
    sync: &'r Sync,
    columns: &'r [Column],
    object: &'r Object,
    objects: &'r Objects,
    /// The CSV header of the parent that rows are grouped by.
    parent: Option<String>,
    problems: Vec<Problem>,
}

/// What a field header came to.
struct Target<'r> {
    /// The CSV header, spelt as Salesforce wants it.
    header: String,
    /// The field of the destination that is written.
    written: &'r Field,
    /// The field whose type the value has: the same, or the field of the parent.
    typed: &'r Field,
}

impl<'r> Resolver<'r> {
    fn object(&mut self) {
        let Object { name, createable, updateable, deletable, .. } = self.object;
        let removes = self.sync.destination.on_removed == Some(OnRemoved::Delete);
        let operation = self.sync.destination.operation;
        for (needed, allowed, verb) in [
            (operation.creates(), createable, "create"),
            (operation.updates(), updateable, "update"),
            (operation.is_delete() || removes, deletable, "delete"),
        ] {
            if needed && !allowed {
                self.problem(
                    Problem::new(
                        "destination.object",
                        format!("the user may not {verb} records of `{name}`"),
                    )
                    .hint("give the user of Backhaul that permission on the object"),
                );
            }
        }
    }

    /// A run can only go on from a value that is exact: not from a float, nor from a text with its collation.
    fn cursor(&mut self) {
        let Some(cursor) = &self.sync.model.cursor else { return };
        let path = "model.cursor.column";
        let Some((_, column)) = self.column(path, &format!("\"{}\"", cursor::COLUMN)) else { return };
        if !cursor::is_usable(column) {
            let what = match &column.kind {
                ColumnKind::Fixed => "has digits after the point".to_owned(),
                kind => format!("is a `{}`", kind_name(kind)),
            };
            let message = format!("column `{}` {what}", identifier(&cursor.column));
            self.problem(
                Problem::new(path, message).hint("a cursor is a timestamp, a date or a whole number"),
            );
        }
    }

    fn fresh(&mut self) {
        let Some(fresh) = &self.sync.model.fresh else { return };
        let path = "model.fresh.column";
        let Some((_, column)) = self.column(path, &format!("\"{}\"", fresh::COLUMN)) else { return };
        if !fresh::is_usable(&column.kind) {
            let (name, kind) = (identifier(&fresh.column), kind_name(&column.kind));
            let message = format!("column `{name}` is a `{kind}`");
            self.problem(Problem::new(path, message).hint("a timestamp or a date says how old a row is"));
        }
    }

    fn key(&mut self) -> Option<(KeyRule, Assignment)> {
        let by_id = self.sync.destination.operation.is_by_id();
        let column = self.column("key.column", &self.sync.key.column);
        let field = self.field("key.field", self.object, &self.sync.key.field);
        let usable = field.is_some_and(|field| by_id || self.key_field(field));
        let ((index, column), field) = (column?, field.filter(|_| usable)?);
        if !by_id {
            self.key_column(column, field)?;
        }
        let source = Source::Column { index, kind: column.kind.clone(), scale: column.scale };
        // An id has one spelling of 18 characters, and no other is sent.
        let fold_case = !by_id && !field.case_sensitive;
        let rule = KeyRule { column: index, kind: column.kind.clone(), fold_case };
        let conversion = self.conversion("key.field", field)?;
        self.accepts("key", column, field, &conversion)?;
        let header = field.name.clone();
        Some((rule, Assignment { header, source, conversion, when_null: WhenNull::Refuse }))
    }

    fn removal(&mut self) -> Option<Removal> {
        match self.sync.destination.on_removed.as_ref()? {
            OnRemoved::Delete => Some(Removal { operation: Operation::Delete, clears: Vec::new() }),
            OnRemoved::Clear(fields) => {
                let clears = fields.iter().filter_map(|field| self.clearable(field)).collect();
                Some(Removal { operation: Operation::Update, clears })
            }
        }
    }

    /// The field as Salesforce spells it, when it can be set to null.
    fn clearable(&mut self, name: &str) -> Option<String> {
        let path = "destination.on_removed";
        let field = self.field(path, self.object, name)?;
        if !self.writable(path, field) {
            return None;
        }
        if !field.nillable {
            let problem = Problem::new(path, format!("field `{}` always has a value", field.name));
            self.problem(problem.hint("name a field that may be empty, or write `on_removed: delete`"));
            return None;
        }
        Some(field.name.clone())
    }

    fn key_field(&mut self, field: &Field) -> bool {
        let name = &field.name;
        let problem = if !(field.external_id || field.id_lookup) {
            Problem::new("key.field", format!("field `{name}` is not an external id"))
                .hint("tick `External ID` in the definition of the field, or choose another field")
        } else if !field.createable || field.calculated || field.auto_number {
            Problem::new("key.field", format!("field `{name}` cannot be written"))
                .hint("a key is a text or number field that the user of Backhaul may edit")
        } else if !matches!(
            field.kind.as_str(),
            "string" | "email" | "phone" | "url" | "int" | "long" | "double"
        ) {
            Problem::new("key.field", format!("field `{name}` is a `{}`", field.kind))
                .hint("a key is a text or a number")
        } else {
            return true;
        };
        self.problem(problem);
        false
    }

    fn key_column(&mut self, column: &Column, field: &Field) -> Option<()> {
        let number = matches!(field.kind.as_str(), "int" | "long" | "double");
        let problem = match (&column.kind, column.scale) {
            (ColumnKind::Text, _) if number => Problem::new(
                "key",
                format!("column `{}` is text, field `{}` is a number", column.name, field.name),
            )
            .hint("texts that differ may be the same number; use a text field, or cast the column"),
            (ColumnKind::Text, _) | (ColumnKind::Fixed, None | Some(0)) => return Some(()),
            (ColumnKind::Fixed, _) => {
                Problem::new("key.column", format!("column `{}` has digits after the point", column.name))
                    .hint("a key is a text or a whole number; cast it to `NUMBER(38, 0)` or `VARCHAR`")
            }
            (kind, _) => {
                Problem::new("key.column", format!("column `{}` is a `{}`", column.name, kind_name(kind)))
                    .hint("a key is a text or a whole number; cast it to `VARCHAR`")
            }
        };
        self.problem(problem);
        None
    }

    fn assignments(&mut self) -> Vec<Assignment> {
        let mut writers: BTreeMap<&str, &str> = BTreeMap::new();
        let mut assignments = Vec::new();
        for (header, value) in &self.sync.mapping {
            let path = format!("mapping.{header}");
            let target = self.target(&path, header);
            let column = self.source_column(&path, value);
            let Some(target) = target else { continue };
            if let Some(other) = writers.insert(&target.written.name, header) {
                let message =
                    format!("field `{}` is written by `mapping.{other}` already", target.written.name);
                self.problem(Problem::new(&path, message).hint("leave one of the two out"));
            }
            if self.sync.load.group_by.as_ref() == Some(header) {
                self.parent = Some(target.header.clone());
            }
            assignments.extend(self.assignment(&path, &target, value, column));
        }
        assignments
    }

    fn group_by(&self, assignments: &[Assignment]) -> Option<usize> {
        let parent = self.parent.as_ref()?;
        assignments.iter().position(|assignment| assignment.header == *parent)
    }

    fn source_column(&mut self, path: &str, value: &Value) -> Option<(usize, &'r Column)> {
        match value {
            Value::Column { column, .. } => self.column(path, column),
            Value::Constant { .. } => None,
        }
    }

    fn assignment(
        &mut self,
        path: &str,
        target: &Target<'_>,
        value: &Value,
        column: Option<(usize, &Column)>,
    ) -> Option<Assignment> {
        let conversion = self.conversion(path, target.typed)?;
        let (source, when_null) = match value {
            Value::Column { when_null, .. } => {
                let (index, column) = column?;
                self.accepts(path, column, target.typed, &conversion)?;
                (Source::Column { index, kind: column.kind.clone(), scale: column.scale }, *when_null)
            }
            Value::Constant { value } => {
                (Source::Constant(self.constant(path, target, value, &conversion)?), WhenNull::default())
            }
        };
        Some(Assignment { header: target.header.clone(), source, conversion, when_null })
    }

    fn constant(
        &mut self,
        path: &str,
        target: &Target<'_>,
        text: &str,
        conversion: &Conversion,
    ) -> Option<String> {
        let problem = match value::constant(conversion, &target.header, text) {
            Ok(text) => return Some(text),
            Err(fault) => Problem::new(path, format!("the constant `{text}` {}", fault.reason)),
        };
        self.problem(match conversion {
            Conversion::Picklist { values } | Conversion::MultiPicklist { values } => {
                problem.hint(format!("possible are `{}`", values.join("`, `")))
            }
            _ => problem,
        });
        None
    }

    fn column(&mut self, path: &str, written: &str) -> Option<(usize, &'r Column)> {
        let name = identifier(written);
        let columns = self.columns;
        let mut found = columns.iter().enumerate().filter(|(_, column)| column.name == name);
        let problem = match (found.next(), found.next()) {
            (Some(only), None) => return Some(only),
            (Some(_), Some(_)) => Problem::new(path, format!("the model has more than one column `{name}`"))
                .hint("give each column of the query a name of its own"),
            (None, _) => self.missing_column(path, &name),
        };
        self.problem(problem);
        None
    }

    fn missing_column(&self, path: &str, name: &str) -> Problem {
        let problem = Problem::new(path, format!("the model has no column `{name}`"));
        match closest(name, self.columns.iter().map(|column| column.name.as_str())) {
            Some(meant) if meant.eq_ignore_ascii_case(name) => problem
                .hint(format!("the column is spelt `{meant}`: write it in double quotes, `'\"{meant}\"'`")),
            Some(meant) => problem.hint(format!("did you mean `{meant}`?")),
            None => problem,
        }
    }

    fn target(&mut self, path: &str, header: &str) -> Option<Target<'r>> {
        match Header::parse(header) {
            Some(Header::Field(name)) => {
                let field = self.field(path, self.object, name)?;
                self.writable(path, field).then(|| Target {
                    header: field.name.clone(),
                    written: field,
                    typed: field,
                })
            }
            Some(Header::Parent { object, relationship, field }) => {
                let lookup = self.lookup(path, relationship)?;
                if !self.writable(path, lookup) {
                    return None;
                }
                let parent = self.parent(path, lookup, object, field)?;
                let typed = self.parent_field(path, parent, field)?;
                let prefix =
                    if lookup.reference_to.len() > 1 { format!("{}:", parent.name) } else { String::new() };
                Some(Target { header: format!("{prefix}{relationship}.{field}"), written: lookup, typed })
            }
            None => {
                self.problem(Problem::new(path, format!("`{header}` is not the name of a field")));
                None
            }
        }
    }

    fn field(&mut self, path: &str, object: &'r Object, name: &str) -> Option<&'r Field> {
        if let Some(field) = object.field(name) {
            return Some(field);
        }
        let problem = Problem::new(path, format!("`{}` has no field `{name}`", object.name));
        self.problem(match closest(name, object.fields.iter().map(|field| field.name.as_str())) {
            Some(meant) if meant.eq_ignore_ascii_case(name) => {
                problem.hint(format!("it is spelt `{meant}`; Salesforce tells upper from lower case here"))
            }
            Some(meant) => problem.hint(format!("did you mean `{meant}`?")),
            None => problem.hint("correct the name, or give the user of Backhaul access to the field"),
        });
        None
    }

    fn writable(&mut self, path: &str, field: &Field) -> bool {
        let problem = self.unwritable(path, field);
        let is_writable = problem.is_none();
        problem.into_iter().for_each(|problem| self.problem(problem));
        is_writable
    }

    /// Why the operation cannot write a field; none when it can.
    fn unwritable(&self, path: &str, field: &Field) -> Option<Problem> {
        let name = &field.name;
        Some(match field.kind.as_str() {
            "address" | "location" => Problem::new(path, format!("field `{name}` is a `{}`", field.kind))
                .hint(format!("write its parts instead: {}", parts(field))),
            _ if field.calculated => Problem::new(path, format!("field `{name}` is a formula"))
                .hint("write the fields that the formula reads"),
            _ if field.auto_number => {
                Problem::new(path, format!("field `{name}` is numbered by Salesforce")).hint("leave it out")
            }
            _ => return self.forbidden(path, field),
        })
    }

    /// What the user may not do to a field; none when it is all that the operation needs.
    fn forbidden(&self, path: &str, field: &Field) -> Option<Problem> {
        let operation = self.sync.destination.operation;
        let lacks_create = operation.creates() && !field.createable;
        let lacks_update = operation.updates() && !field.updateable;
        let when = match (lacks_create, lacks_update) {
            (false, false) => return None,
            (true, true) => "",
            (true, false) => " on create",
            (false, true) => " on update",
        };
        let problem = Problem::new(path, format!("field `{}` cannot be written{when}", field.name));
        Some(problem.hint(if field.createable || field.updateable {
            operation_hint(operation)
        } else {
            "give the user of Backhaul edit access to the field, or leave it out"
        }))
    }

    fn lookup(&mut self, path: &str, relationship: &str) -> Option<&'r Field> {
        if let Some(field) = lookup(self.object, relationship) {
            return Some(field);
        }
        let names = || self.object.fields.iter().filter_map(|field| field.relationship_name.as_deref());
        let problem = Problem::new(path, format!("`{}` has no lookup `{relationship}`", self.object.name));
        let by_field = self.object.field(relationship).and_then(|field| field.relationship_name.as_deref());
        self.problem(match by_field.or_else(|| closest(relationship, names())) {
            Some(meant) => problem.hint(format!("did you mean `{meant}`?")),
            None => problem
                .hint("write the relationship name: `Foo__r` for the field `Foo__c`, `Owner` for `OwnerId`"),
        });
        None
    }

    /// The object a lookup points to. A type that is not needed is dropped, one that is missing is found
    /// when only one of the types has the field as an external id.
    fn parent(
        &mut self,
        path: &str,
        lookup: &'r Field,
        named: Option<&str>,
        field: &str,
    ) -> Option<&'r Object> {
        let types = &lookup.reference_to;
        let candidates: Vec<&'r String> = match named {
            Some(named) => types.iter().filter(|name| *name == named).collect(),
            None if types.len() > 1 => types.iter().filter(|name| self.finds(name, field)).collect(),
            None => types.iter().collect(),
        };
        let name = lookup.relationship_name.as_deref().unwrap_or_default();
        if let [only] = candidates[..] {
            return self.described(path, only);
        }
        let problem = match named {
            Some(named) => Problem::new(path, format!("lookup `{name}` does not point to `{named}`")),
            None => Problem::new(path, format!("lookup `{name}` points to several types")),
        };
        self.problem(match (named, types.as_slice()) {
            (Some(_), [only]) => problem.hint(format!("it points to `{only}` only: write `{name}.{field}`")),
            _ => problem.hint(format!("put one of `{}` and a colon before it", types.join("`, `"))),
        });
        None
    }

    fn finds(&self, object: &str, field: &str) -> bool {
        let field = self.objects.get(object).and_then(|object| object.field(field));
        field.is_some_and(|field| field.external_id || field.id_lookup)
    }

    fn described(&mut self, path: &str, name: &str) -> Option<&'r Object> {
        let object = self.objects.get(name);
        if object.is_none() {
            let problem = Problem::new(path, format!("the parent object `{name}` is not known"));
            self.problem(problem.hint("give the user of Backhaul access to the object"));
        }
        object
    }

    fn parent_field(&mut self, path: &str, parent: &'r Object, name: &str) -> Option<&'r Field> {
        let field = self.field(path, parent, name)?;
        if field.external_id || field.id_lookup {
            return Some(field);
        }
        let message = format!("field `{name}` of `{}` is not an external id", parent.name);
        self.problem(Problem::new(path, message).hint("a parent is found by an external id only"));
        None
    }

    fn conversion(&mut self, path: &str, field: &Field) -> Option<Conversion> {
        let conversion = conversion(field);
        if conversion.is_none() {
            let message = format!("field `{}` is a `{}`, which cannot be loaded", field.name, field.kind);
            self.problem(Problem::new(path, message));
        }
        conversion
    }

    fn accepts(&mut self, path: &str, column: &Column, field: &Field, conversion: &Conversion) -> Option<()> {
        if value::accepts(&column.kind, conversion) {
            return Some(());
        }
        let (from, to) = (kind_name(&column.kind), &field.kind);
        let message = format!("column `{}` is a `{from}`, field `{}` is a `{to}`", column.name, field.name);
        self.problem(Problem::new(path, message).hint("cast the column in the query of the model"));
        None
    }

    /// Fields that a create cannot do without.
    fn required(&mut self) {
        if !self.sync.destination.operation.creates() {
            return;
        }
        let written = self.written();
        let missing: Vec<String> = self
            .object
            .fields
            .iter()
            .filter(|field| field.createable && !field.nillable && !field.defaulted_on_create)
            .filter(|field| !written.contains(&field.name.as_str()))
            .map(|field| format!("`{}`", field.name))
            .collect();
        if !missing.is_empty() {
            let message = format!("`{}` cannot be created without {}", self.object.name, missing.join(", "));
            self.problem(Problem::new("mapping", message).hint("map a column or a constant to each"));
        }
    }

    /// The fields that are mapped, or were meant to be: a misspelt one is told once.
    fn written(&self) -> Vec<&'r str> {
        let headers = self.sync.mapping.keys().chain([&self.sync.key.field]);
        let names = headers.filter_map(|header| match Header::parse(header)? {
            Header::Field(name) => {
                self.object.fields.iter().find(|field| field.name.eq_ignore_ascii_case(name))
            }
            Header::Parent { relationship, .. } => lookup(self.object, relationship),
        });
        names.map(|field| field.name.as_str()).collect()
    }

    fn problem(&mut self, problem: Problem) {
        self.problems.push(problem);
    }
}

fn operation_hint(operation: Operation) -> &'static str {
    match operation {
        Operation::Insert => "an insert needs fields that can be written on create",
        Operation::Update => "an update needs fields that can be written on update",
        _ => "an upsert needs fields that can be written on create and on update",
    }
}

fn parts(field: &Field) -> String {
    if field.kind == "location" {
        let base = field.name.trim_end_matches("__c");
        return format!("`{base}__Latitude__s` and `{base}__Longitude__s`");
    }
    let base = field.name.trim_end_matches("Address");
    format!("`{base}Street`, `{base}City`, `{base}PostalCode`, `{base}State`, `{base}Country`")
}

/// What a value of the field must be; none for a type that a CSV cannot carry.
///
/// <https://developer.salesforce.com/docs/atlas.en-us.object_reference.meta/object_reference/field_types.htm>
fn conversion(field: &Field) -> Option<Conversion> {
    Some(match field.kind.as_str() {
        "string" | "textarea" | "phone" | "url" | "email" | "encryptedstring" | "combobox" => {
            Conversion::Text { max_chars: field.length }
        }
        "picklist" if field.restricted_picklist => Conversion::Picklist { values: active(field) },
        "picklist" => Conversion::Text { max_chars: field.length },
        "multipicklist" if field.restricted_picklist => Conversion::MultiPicklist { values: active(field) },
        "multipicklist" => Conversion::MultiPicklist { values: Vec::new() },
        "int" | "long" => Conversion::Integer { digits: field.digits },
        "double" | "currency" | "percent" => {
            Conversion::Decimal { precision: field.precision, scale: field.scale }
        }
        "boolean" => Conversion::Boolean,
        "date" => Conversion::Date,
        "datetime" => Conversion::DateTime,
        "time" => Conversion::Time,
        "reference" | "id" => Conversion::RecordId,
        _ => return None,
    })
}

fn active(field: &Field) -> Vec<String> {
    field.picklist_values.iter().filter(|value| value.active).map(|value| value.value.clone()).collect()
}

fn kind_name(kind: &ColumnKind) -> &str {
    match kind {
        ColumnKind::Fixed => "fixed",
        ColumnKind::Real => "real",
        ColumnKind::Decfloat => "decfloat",
        ColumnKind::Text => "text",
        ColumnKind::Boolean => "boolean",
        ColumnKind::Date => "date",
        ColumnKind::Time => "time",
        ColumnKind::TimestampNtz => "timestamp_ntz",
        ColumnKind::TimestampLtz => "timestamp_ltz",
        ColumnKind::TimestampTz => "timestamp_tz",
        ColumnKind::Binary => "binary",
        ColumnKind::Json => "json",
        ColumnKind::Other(name) => name,
    }
}

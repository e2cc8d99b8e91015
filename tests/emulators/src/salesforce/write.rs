//! The rules for writing records, shared by bulk jobs and single calls.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::ids;
use super::schema::{Field, Kind, Object, Schema};
use super::table::{Row, Table};
use super::value::{RowError, accept};

/// What a write does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Insert,
    Update,
    /// By the field at this place of the object.
    Upsert(usize),
    Delete,
}

/// A value given for a field.
#[derive(Clone, Debug)]
pub(crate) enum Given<'a> {
    Null,
    Text(Cow<'a, str>),
    /// The record of an object whose field holds the key.
    Parent {
        object: usize,
        field: usize,
        key: Cow<'a, str>,
    },
}

/// A row to write.
#[derive(Clone, Debug, Default)]
pub(crate) struct Input<'a> {
    pub(crate) id: Option<Cow<'a, str>>,
    /// The value of the key field of an upsert.
    pub(crate) key: Option<Cow<'a, str>>,
    pub(crate) sets: Vec<(usize, Given<'a>)>,
}

/// A set of rows written together: at most 200.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chunk<'a> {
    pub(crate) object: usize,
    pub(crate) operation: Operation,
    /// The bulk job, if it is one, and its number.
    pub(crate) job: Option<(&'a str, u64)>,
    /// The chunk's place in its batch, if parents may be locked by others.
    pub(crate) lane: Option<u64>,
    pub(crate) all_or_none: bool,
    pub(crate) now: i64,
}

/// What became of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) row: u32,
    pub(crate) created: bool,
}

/// One write that took effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The bulk job; `None` for a single call or a collection.
    pub job: Option<String>,
    /// The object's API name.
    pub object: String,
    /// The record's id.
    pub id: String,
    /// Whether the record is new.
    pub created: bool,
    /// Whether the record was deleted.
    pub deleted: bool,
    /// The fields of the write as they were; a field without a value is absent.
    pub before: BTreeMap<String, String>,
    /// The fields of the write as they are now; a field without a value is absent.
    pub after: BTreeMap<String, String>,
}

/// Rows that are refused as scripted.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The object's API name.
    pub object: String,
    /// The field by which rows are picked; the value must be in the write.
    pub field: String,
    /// The value to look for; `*` for any.
    pub value: String,
    /// The status code to answer.
    pub code: String,
    /// The message to answer.
    pub message: String,
    /// How many rows are refused before the script is used up.
    pub times: u32,
}

type Parent = (usize, u32);

#[derive(Debug, Default)]
struct JobLocks {
    current: HashSet<Parent>,
    lanes: HashMap<u64, HashSet<Parent>>,
}

/// All records of an org.
#[derive(Debug)]
pub(crate) struct Database {
    pub(crate) schema: Arc<Schema>,
    pub(crate) tables: Vec<Table>,
    pub(crate) refusals: Vec<Refusal>,
    pub(crate) written: VecDeque<Written>,
    audit_limit: usize,
    locks: HashMap<u64, JobLocks>,
}

struct Prepared {
    target: Option<u32>,
    sets: Vec<(usize, Option<String>)>,
    parents: Vec<Parent>,
}

type Undo = Vec<(u32, Option<Row>)>;

impl Database {
    pub(crate) fn new(schema: Arc<Schema>, audit_limit: usize) -> Self {
        let tables = schema.objects.iter().map(Table::new).collect();
        let (refusals, written, locks) = (Vec::new(), VecDeque::new(), HashMap::new());
        Self { schema, tables, refusals, written, audit_limit, locks }
    }

    /// Writes rows; every row has an outcome of its own.
    pub(crate) fn write(&mut self, chunk: &Chunk<'_>, rows: &[Input<'_>]) -> Vec<Result<Done, RowError>> {
        let repeated = self.repeated(chunk, rows);
        let prepared: Vec<_> = rows.iter().map(|row| self.prepare(chunk, row, &repeated)).collect();
        let mut undo = Undo::new();
        self.hold(chunk, &prepared);
        let mut done: Vec<Result<Done, RowError>> = Vec::with_capacity(rows.len());
        for prepared in prepared {
            done.push(prepared.and_then(|prepared| self.commit(chunk, prepared, &mut undo)));
        }
        if chunk.all_or_none && done.iter().any(Result::is_err) {
            self.roll_back(chunk, undo, &mut done);
        }
        done
    }

    /// Forgets the parents that a job holds in the batches so far.
    pub(crate) fn release(&mut self, job: u64) {
        self.locks.remove(&job);
    }

    fn object(&self, object: usize) -> &Object {
        &self.schema.objects[object]
    }

    /// Keys that occur more than once: all their rows are refused.
    fn repeated(&self, chunk: &Chunk<'_>, rows: &[Input<'_>]) -> HashSet<String> {
        let mut seen = HashSet::new();
        let keys = rows.iter().filter_map(|row| self.fold_key(chunk, row));
        keys.filter(|key| !seen.insert(key.clone())).collect()
    }

    fn fold_key(&self, chunk: &Chunk<'_>, row: &Input<'_>) -> Option<String> {
        let key = match chunk.operation {
            Operation::Insert => return None,
            Operation::Upsert(_) => row.key.as_deref().or(row.id.as_deref())?,
            _ => return row.id.as_ref().map(|id| id.chars().take(15).collect()),
        };
        let Operation::Upsert(field) = chunk.operation else { return None };
        let field = &self.object(chunk.object).fields[field];
        let sensitive = field.case_sensitive || field.kind == Kind::Id;
        Some(if sensitive { key.to_owned() } else { key.to_lowercase() })
    }

    fn prepare(
        &mut self,
        chunk: &Chunk<'_>,
        row: &Input<'_>,
        repeated: &HashSet<String>,
    ) -> Result<Prepared, RowError> {
        self.refused(chunk, row)?;
        if let Some(key) = self.fold_key(chunk, row).filter(|key| repeated.contains(key)) {
            return Err(self.repeated_error(chunk, row, &key));
        }
        let target = self.target(chunk, row)?;
        let mut prepared = Prepared { target, sets: Vec::new(), parents: Vec::new() };
        if chunk.operation != Operation::Delete {
            self.values(chunk, row, &mut prepared)?;
            self.check_required(chunk, &prepared)?;
        }
        self.check_locks(chunk, &prepared)?;
        Ok(prepared)
    }

    fn repeated_error(&self, chunk: &Chunk<'_>, row: &Input<'_>, key: &str) -> RowError {
        let Operation::Upsert(field) = chunk.operation else {
            return RowError::new("DUPLICATE_VALUE", format!("Duplicate id specified: {key}"), &["Id"]);
        };
        let key = row.key.as_deref().or(row.id.as_deref()).unwrap_or(key);
        let message = format!("Duplicate external id specified: {key}");
        RowError::new("DUPLICATE_VALUE", message, &[&self.object(chunk.object).fields[field].name])
    }

    fn refused(&mut self, chunk: &Chunk<'_>, row: &Input<'_>) -> Result<(), RowError> {
        let object = &self.schema.objects[chunk.object];
        for refusal in
            self.refusals.iter_mut().filter(|refusal| refusal.times > 0 && refusal.object == object.name)
        {
            if carries(object, chunk.operation, row, refusal) {
                refusal.times = refusal.times.saturating_sub(u32::from(refusal.times < u32::MAX));
                // A validation rule is placed at the field it is about.
                let at_field = refusal.code == "FIELD_CUSTOM_VALIDATION_EXCEPTION";
                let fields = at_field.then(|| refusal.field.clone()).into_iter().collect();
                let code = Cow::Owned(refusal.code.clone());
                return Err(RowError { code, message: refusal.message.clone(), fields });
            }
        }
        Ok(())
    }

    /// The record a row is about; `None` if it makes a new one.
    fn target(&self, chunk: &Chunk<'_>, row: &Input<'_>) -> Result<Option<u32>, RowError> {
        match chunk.operation {
            Operation::Insert => match &row.id {
                Some(_) => Err(no_id_allowed()),
                None => Ok(None),
            },
            Operation::Update | Operation::Delete => match &row.id {
                Some(id) => self.by_id(chunk.object, id).map(Some),
                None => Err(no_id(chunk.operation)),
            },
            Operation::Upsert(field) => self.by_key(chunk.object, field, row),
        }
    }

    fn by_id(&self, object: usize, id: &str) -> Result<u32, RowError> {
        let table = &self.tables[object];
        if !ids::well_formed(id) || !id.starts_with(&self.object(object).prefix) {
            let message = format!("{} ID: id value of incorrect type: {id}", self.object(object).name);
            return Err(RowError::new("MALFORMED_ID", message, &["Id"]));
        }
        let row = table.row_of(id).ok_or_else(unknown_id)?;
        if table.row(row).deleted {
            return Err(RowError::new("ENTITY_IS_DELETED", "entity is deleted", &[]));
        }
        Ok(row)
    }

    fn by_key(&self, object: usize, field: usize, row: &Input<'_>) -> Result<Option<u32>, RowError> {
        let definition = &self.object(object).fields[field];
        if definition.kind == Kind::Id {
            return row.id.as_deref().map(|id| self.by_id(object, id)).transpose();
        }
        if row.id.is_some() {
            let message = format!(
                "cannot specify both an external ID reference {} and a salesforce id, Id",
                definition.name
            );
            return Err(RowError::new("INVALID_FIELD", message, &["Id"]));
        }
        let Some(key) = &row.key else {
            return Err(RowError::new("MISSING_ARGUMENT", format!("{} not specified", definition.name), &[]));
        };
        let key = accept(definition, key)?;
        match self.tables[object].find(field, &key)[..] {
            [] => Ok(None),
            [row] => Ok(Some(row)),
            _ => {
                let message = format!("more than one record found for external id field {}", definition.name);
                Err(RowError::new("DUPLICATE_EXTERNAL_ID", message, &[&definition.name]))
            }
        }
    }

    /// Checks and resolves the values of a row.
    fn values(&self, chunk: &Chunk<'_>, row: &Input<'_>, prepared: &mut Prepared) -> Result<(), RowError> {
        let object = self.object(chunk.object);
        for (at, given) in &row.sets {
            let field = &object.fields[*at];
            let writable = if prepared.target.is_some() { field.updateable } else { field.createable };
            if !writable || field.calculated || field.auto_number {
                return Err(read_only(field));
            }
            let value = self.value(field, given, &mut prepared.parents)?;
            prepared.sets.push((*at, value));
        }
        if let (Operation::Upsert(at), None, Some(key)) = (chunk.operation, prepared.target, &row.key) {
            prepared.sets.push((at, Some(accept(&object.fields[at], key)?.into_owned())));
        }
        Ok(())
    }

    fn value(
        &self,
        field: &Field,
        given: &Given<'_>,
        parents: &mut Vec<Parent>,
    ) -> Result<Option<String>, RowError> {
        match given {
            Given::Null => Ok(None),
            Given::Text(text) if !field.targets().is_empty() => {
                let parent = self.referenced(field, text)?;
                parents.push(parent);
                Ok(Some(self.tables[parent.0].id(parent.1)))
            }
            Given::Text(text) => accept(field, text).map(|value| Some(value.into_owned())),
            Given::Parent { object, field: by, key } => {
                let parent = (*object, self.parent(*object, *by, key)?);
                parents.push(parent);
                Ok(Some(self.tables[parent.0].id(parent.1)))
            }
        }
    }

    /// The record an id in a reference field points to.
    fn referenced(&self, field: &Field, id: &str) -> Result<Parent, RowError> {
        let incorrect = || {
            let message = format!("{}: id value of incorrect type: {id}", field.label());
            RowError::new("MALFORMED_ID", message, &[&field.name])
        };
        if !ids::well_formed(id) {
            return Err(incorrect());
        }
        let targets = field.targets().iter().filter_map(|target| self.schema.object(target));
        let target = targets.into_iter().find(|target| id.starts_with(&self.object(*target).prefix));
        let object = target.ok_or_else(incorrect)?;
        let row = self.tables[object].row_of(id).filter(|row| !self.tables[object].row(*row).deleted);
        row.map(|row| (object, row)).ok_or_else(unknown_id)
    }

    fn parent(&self, object: usize, field: usize, key: &str) -> Result<u32, RowError> {
        let (entity, by) = (&self.object(object).name, &self.object(object).fields[field].name);
        let rows = match self.object(object).fields[field].kind {
            Kind::Id => self.by_id(object, key).into_iter().collect(),
            _ => self.tables[object].find(field, key),
        };
        match rows[..] {
            [row] => Ok(row),
            [] => {
                let message =
                    format!("Foreign key external ID: {key} not found for field {by} in entity {entity}");
                Err(RowError::new("INVALID_FIELD", message, &[]))
            }
            _ => {
                let message =
                    format!("Foreign key external ID: {key} matches several records in entity {entity}");
                Err(RowError::new("DUPLICATE_EXTERNAL_ID", message, &[by]))
            }
        }
    }

    fn check_required(&self, chunk: &Chunk<'_>, prepared: &Prepared) -> Result<(), RowError> {
        let object = self.object(chunk.object);
        let lacks = |at: usize| match prepared.sets.iter().find(|(set, _)| *set == at) {
            Some((_, value)) => value.is_none(),
            None => prepared.target.is_none(),
        };
        let fields = object.fields.iter().enumerate();
        let missing: Vec<&str> = fields
            .filter(|(at, field)| field.is_required() && lacks(*at))
            .map(|(_, field)| field.name.as_str())
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let message = format!("Required fields are missing: [{}]", missing.join(", "));
        Err(RowError::new("REQUIRED_FIELD_MISSING", message, &missing))
    }

    /// A parent is locked by the same chunk of an earlier batch of the wave, or by a job at work.
    fn check_locks(&self, chunk: &Chunk<'_>, prepared: &Prepared) -> Result<(), RowError> {
        let (Some((_, job)), Some(lane)) = (chunk.job, chunk.lane) else { return Ok(()) };
        let locked = |parent: &Parent| {
            let own = self.locks.get(&job).and_then(|locks| locks.lanes.get(&lane));
            let others = self.locks.iter().filter(|(other, _)| **other != job);
            own.is_some_and(|held| held.contains(parent))
                || others.into_iter().any(|(_, l)| l.current.contains(parent))
        };
        match prepared.parents.iter().find(|parent| locked(parent)) {
            None => Ok(()),
            Some((object, row)) => {
                let id = self.tables[*object].id(*row);
                let message = format!("unable to obtain exclusive access to this record or 1 records: {id}");
                Err(RowError::new("UNABLE_TO_LOCK_ROW", message, &[]))
            }
        }
    }

    fn hold(&mut self, chunk: &Chunk<'_>, prepared: &[Result<Prepared, RowError>]) {
        let (Some((_, job)), Some(lane)) = (chunk.job, chunk.lane) else { return };
        let parents = prepared.iter().flatten().flat_map(|row| row.parents.iter().copied());
        let current: HashSet<Parent> = parents.collect();
        let locks = self.locks.entry(job).or_default();
        locks.lanes.entry(lane).or_default().extend(current.iter().copied());
        locks.current = current;
    }

    fn commit(&mut self, chunk: &Chunk<'_>, prepared: Prepared, undo: &mut Undo) -> Result<Done, RowError> {
        let Prepared { target, sets, .. } = prepared;
        self.check_unique(chunk.object, target, &sets)?;
        let before = target.map(|row| self.shown(chunk.object, row, &sets)).unwrap_or_default();
        let table = &mut self.tables[chunk.object];
        let old = target.map(|row| table.row(row).clone());
        let row = match target {
            None => table.insert(&sets, chunk.now),
            Some(row) if chunk.operation == Operation::Delete => {
                table.delete(row, chunk.now);
                row
            }
            Some(row) => {
                table.update(row, &sets, chunk.now);
                row
            }
        };
        undo.push((row, old));
        let created = target.is_none();
        let deleted = chunk.operation == Operation::Delete;
        table.written[if created { 0 } else { 1 + usize::from(deleted) }] += 1;
        self.record(chunk, Done { row, created }, &sets, before);
        Ok(Done { row, created })
    }

    fn check_unique(
        &self,
        object: usize,
        target: Option<u32>,
        sets: &[(usize, Option<String>)],
    ) -> Result<(), RowError> {
        let table = &self.tables[object];
        for (at, value) in sets {
            let field = &self.object(object).fields[*at];
            let (true, Some(value)) = (field.unique, value) else { continue };
            if let Some(other) = table.find(*at, value).into_iter().find(|row| Some(*row) != target) {
                let (name, id) = (&field.name, table.id(other));
                let message =
                    format!("duplicate value found: {name} duplicates value on record with id: {id}");
                return Err(RowError::new("DUPLICATE_VALUE", message, &[]));
            }
        }
        Ok(())
    }

    fn shown(&self, object: usize, row: u32, sets: &[(usize, Option<String>)]) -> BTreeMap<String, String> {
        if self.audit_limit == 0 {
            return BTreeMap::new();
        }
        let fields = &self.object(object).fields;
        let value =
            |at: usize| Some((fields[at].name.clone(), self.tables[object].value(row, at)?.into_owned()));
        sets.iter().filter_map(|(at, _)| value(*at)).collect()
    }

    fn record(
        &mut self,
        chunk: &Chunk<'_>,
        done: Done,
        sets: &[(usize, Option<String>)],
        before: BTreeMap<String, String>,
    ) {
        if self.audit_limit == 0 {
            return;
        }
        if self.written.len() == self.audit_limit {
            self.written.pop_front();
        }
        self.written.push_back(Written {
            job: chunk.job.map(|(id, _)| id.to_owned()),
            object: self.object(chunk.object).name.clone(),
            id: self.tables[chunk.object].id(done.row),
            created: done.created,
            deleted: chunk.operation == Operation::Delete,
            before,
            after: self.shown(chunk.object, done.row, sets),
        });
    }

    fn roll_back(&mut self, chunk: &Chunk<'_>, undo: Undo, done: &mut [Result<Done, RowError>]) {
        for (row, before) in undo.into_iter().rev() {
            let table = &mut self.tables[chunk.object];
            let kind = match &before {
                None => 0,
                Some(_) => 1 + usize::from(chunk.operation == Operation::Delete),
            };
            table.written[kind] -= 1;
            table.restore(row, before);
            self.written.pop_back();
        }
        for outcome in done.iter_mut().filter(|outcome| outcome.is_ok()) {
            let message = "Record rolled back because not all records were valid and the request was using AllOrNone header";
            *outcome = Err(RowError::new("ALL_OR_NONE_OPERATION_ROLLED_BACK", message, &[]));
        }
    }
}

fn carries(object: &Object, operation: Operation, row: &Input<'_>, refusal: &Refusal) -> bool {
    let wanted = |value: &str| refusal.value == "*" || refusal.value == value;
    let Some(at) = object.field(&refusal.field) else { return false };
    if operation == Operation::Upsert(at) && row.key.as_deref().is_some_and(wanted) {
        return true;
    }
    if object.fields[at].kind == Kind::Id {
        return row.id.as_deref().is_some_and(wanted);
    }
    row.sets.iter().any(|(set, given)| *set == at && matches!(given, Given::Text(text) if wanted(text)))
}

fn unknown_id() -> RowError {
    RowError::new("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", &[])
}

fn no_id_allowed() -> RowError {
    RowError::new("INVALID_FIELD_FOR_INSERT_UPDATE", "cannot specify Id in an insert call", &["Id"])
}

fn no_id(operation: Operation) -> RowError {
    let verb = if operation == Operation::Delete { "a delete" } else { "an update" };
    RowError::new("MISSING_ARGUMENT", format!("Id not specified in {verb} call"), &[])
}

fn read_only(field: &Field) -> RowError {
    let message = format!(
        "Unable to create/update fields: {}. Please check the security settings of this field and verify that it \
         is read/write for your profile or permission set.",
        field.name
    );
    RowError::new("INVALID_FIELD_FOR_INSERT_UPDATE", message, &[&field.name])
}

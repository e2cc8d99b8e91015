//! Looking at records from inside, and putting some there before a test.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Shared;
use super::schema::Kind;
use super::write::{Chunk, Database, Given, Input, Operation};

/// Makes what every org has: itself, and the user that integrations run as.
pub(crate) fn seed_org(database: &mut Database, username: &str) {
    let organization = [
        ("Name", "Stand-in"),
        ("InstanceName", "LOCAL1"),
        ("IsSandbox", "false"),
        ("OrganizationType", "Developer Edition"),
    ];
    let user = [("Username", username), ("LastName", "Integration"), ("Email", username)];
    for (object, fields) in [("Organization", &organization[..]), ("User", &user[..])] {
        if database.schema.object(object).is_some() {
            let row = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            insert(database, object, &[row], 0).expect("the user's name is an e-mail address");
        }
    }
}

/// Writes records outside any call.
pub(crate) fn seed(
    org: &Arc<Shared>,
    object: &str,
    rows: &[BTreeMap<String, String>],
) -> Result<Vec<String>, String> {
    let now = org.now();
    insert(&mut org.database(), object, rows, now)
}

fn insert(
    database: &mut Database,
    object: &str,
    rows: &[BTreeMap<String, String>],
    now: i64,
) -> Result<Vec<String>, String> {
    let at = database.schema.object(object).ok_or_else(|| format!("no object `{object}`"))?;
    let schema = Arc::clone(&database.schema);
    let inputs = rows.iter().map(|row| {
        let sets = row.iter().map(|(name, value)| {
            let field = schema.objects[at].field(name).ok_or_else(|| format!("no field `{name}`"))?;
            Ok((field, Given::Text(value.into())))
        });
        Ok(Input { sets: sets.collect::<Result<_, String>>()?, ..Input::default() })
    });
    let inputs: Vec<Input<'_>> = inputs.collect::<Result<_, String>>()?;
    let chunk =
        Chunk { object: at, operation: Operation::Insert, job: None, lane: None, all_or_none: true, now };
    let outcomes = database.write(&chunk, &inputs);
    let refused = outcomes.iter().filter_map(|outcome| outcome.as_ref().err());
    // The row at fault comes before those that were only taken back with it.
    if let Some(error) = refused.min_by_key(|error| error.code.starts_with("ALL_OR_NONE")) {
        return Err(error.bulk(false));
    }
    Ok(outcomes.into_iter().flatten().map(|done| database.tables[at].id(done.row)).collect())
}

/// All live records of an object: its place and their rows.
pub(crate) fn live<'d>(database: &'d Database, object: &str) -> impl Iterator<Item = (usize, u32)> + use<'d> {
    let at = database.schema.object(object);
    at.into_iter().flat_map(|at| {
        let rows = database.tables[at].rows.iter().enumerate();
        let rows = rows.filter(|(_, row)| !row.deleted);
        rows.map(move |(row, _)| (at, u32::try_from(row).expect("row numbers have 32 bits")))
    })
}

/// The values of a record; absent ones are left out.
pub(crate) fn fields(database: &Database, object: usize, row: u32) -> BTreeMap<String, String> {
    let fields = database.schema.objects[object].fields.iter().enumerate();
    fields
        .filter_map(|(at, field)| {
            Some((field.name.clone(), database.tables[object].value(row, at)?.into_owned()))
        })
        .collect()
}

/// The first live record whose field has a value.
pub(crate) fn find(database: &Database, object: &str, field: &str, value: &str) -> Option<(usize, u32)> {
    let at = database.schema.object(object)?;
    let table = &database.tables[at];
    let fields = &database.schema.objects[at].fields;
    let by = fields.iter().position(|known| known.name == field)?;
    if fields[by].kind == Kind::Id {
        return table.row_of(value).filter(|row| !table.row(*row).deleted).map(|row| (at, row));
    }
    if table.is_indexed(by) {
        return table.find(by, value).first().map(|row| (at, *row));
    }
    live(database, object).find(|(_, row)| table.value(*row, by).as_deref() == Some(value))
}

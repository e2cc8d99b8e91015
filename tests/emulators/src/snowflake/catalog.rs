//! Databases, schemas, tables and views: exact names, and the column types that SQLite does not keep.

use std::collections::BTreeMap;

use sqlparser::ast::{Ident, ObjectName, Query};

use super::error::SqlError;
use super::kind::Kind;

/// What a request says about its session.
#[derive(Clone, Debug, Default)]
pub(crate) struct Session {
    pub(crate) database: Option<String>,
    pub(crate) schema: Option<String>,
    pub(crate) warehouse: Option<String>,
    pub(crate) role: String,
    pub(crate) account: String,
    pub(crate) user: String,
    /// What `SET` has set, by upper-case name.
    pub(crate) variables: BTreeMap<String, (Kind, Option<String>)>,
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// The exact name.
    pub name: String,
    /// The type.
    pub kind: Kind,
    /// Whether NULL is allowed.
    pub nullable: bool,
}

impl Column {
    /// A column that takes NULL.
    #[must_use]
    pub fn new(name: &str, kind: Kind) -> Self {
        Self { name: name.to_owned(), kind, nullable: true }
    }

    /// A column that does not take NULL.
    #[must_use]
    pub fn required(name: &str, kind: Kind) -> Self {
        Self { nullable: false, ..Self::new(name, kind) }
    }
}

/// A table or a view.
#[derive(Clone, Debug)]
pub(crate) enum Object {
    /// SQLite's table is `t<id>`, its columns are `c0`, `c1`, …
    Table { id: u64, columns: Vec<Column> },
    /// The names inside the query are resolved in the view's own schema.
    View { query: Box<Query>, session: Session },
}

/// A fully qualified name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Path {
    pub(crate) database: String,
    pub(crate) schema: String,
    pub(crate) name: String,
}

/// All names of the account.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    databases: BTreeMap<String, BTreeMap<String, BTreeMap<String, Object>>>,
    tables: u64,
}

impl Catalog {
    pub(crate) fn create_database(&mut self, database: &str) {
        self.databases
            .entry(database.to_owned())
            .or_insert_with(|| BTreeMap::from([("PUBLIC".to_owned(), BTreeMap::new())]));
    }

    pub(crate) fn create_schema(&mut self, database: &str, schema: &str) {
        self.create_database(database);
        if let Some(schemas) = self.databases.get_mut(database) {
            schemas.entry(schema.to_owned()).or_default();
        }
    }

    pub(crate) fn has_database(&self, database: &str) -> bool {
        self.databases.contains_key(database)
    }

    pub(crate) fn has_schema(&self, database: &str, schema: &str) -> bool {
        self.databases.get(database).is_some_and(|schemas| schemas.contains_key(schema))
    }

    /// The number of the next SQLite table.
    pub(crate) fn next_table(&mut self) -> u64 {
        self.tables += 1;
        self.tables
    }

    /// Fills in the session's database and schema.
    pub(crate) fn path(&self, name: &ObjectName, session: &Session) -> Result<Path, SqlError> {
        let parts: Vec<String> = name.0.iter().filter_map(|part| part.as_ident()).map(exact).collect();
        let database = || session.database.clone().ok_or_else(no_database);
        let schema = || session.schema.clone().unwrap_or_else(|| "PUBLIC".to_owned());
        match parts.as_slice() {
            [name] => Ok(Path { database: database()?, schema: schema(), name: name.clone() }),
            [schema, name] => Ok(Path { database: database()?, schema: schema.clone(), name: name.clone() }),
            [database, schema, name] => {
                let schema = if schema.is_empty() { "PUBLIC" } else { schema };
                Ok(Path { database: database.clone(), schema: schema.to_owned(), name: name.clone() })
            }
            _ => Err(SqlError::compilation("001003", "42000", format!("syntax error unexpected '{name}'."))),
        }
    }

    /// # Errors
    /// 002003 if the database, the schema or the object does not exist.
    pub(crate) fn object(&self, path: &Path) -> Result<&Object, SqlError> {
        self.schema(path)?.get(&path.name).ok_or_else(|| missing("Object", &path.qualified(), "42S02"))
    }

    fn schema(&self, path: &Path) -> Result<&BTreeMap<String, Object>, SqlError> {
        let database = self.databases.get(&path.database);
        let database = database.ok_or_else(|| missing("Database", &quoted(&path.database), "02000"))?;
        let name = format!("{}.{}", quoted(&path.database), quoted(&path.schema));
        database.get(&path.schema).ok_or_else(|| missing("Schema", &name, "02000"))
    }

    /// Adds or replaces an object.
    pub(crate) fn put(&mut self, path: &Path, object: Object) -> Result<Option<Object>, SqlError> {
        self.schema(path)?;
        let schemas = self.databases.entry(path.database.clone()).or_default();
        Ok(schemas.entry(path.schema.clone()).or_default().insert(path.name.clone(), object))
    }

    pub(crate) fn remove(&mut self, path: &Path) -> Option<Object> {
        self.databases.get_mut(&path.database)?.get_mut(&path.schema)?.remove(&path.name)
    }
}

impl Path {
    pub(crate) fn qualified(&self) -> String {
        format!("{}.{}.{}", quoted(&self.database), quoted(&self.schema), quoted(&self.name))
    }
}

/// The name an identifier stands for: unquoted ones are upper-cased.
pub(crate) fn exact(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_uppercase() }
}

fn quoted(name: &str) -> String {
    let plain = name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_' || b == b'$');
    if plain { name.to_owned() } else { format!("\"{name}\"") }
}

fn missing(what: &str, name: &str, state: &str) -> SqlError {
    let message = format!("{what} '{}' does not exist or not authorized.", name.replace('\'', "''"));
    SqlError::compilation("002003", state, message)
}

fn no_database() -> SqlError {
    SqlError::new(
        "090105",
        "22000",
        "Cannot perform operation. This session does not have a current database. Call 'USE DATABASE', or use a qualified name.",
    )
}

//! Runs statements: SQLite for the rows, our own catalogue for names and types.

use std::collections::BTreeSet;
use std::str::FromStr;

use rusqlite::{Connection, params_from_iter};
use sqlparser::ast::{
    AlterTableOperation, AssignmentTarget, ColumnDef, ColumnOption, CreateTable, CreateView, Delete, Expr,
    FromTable, Insert, ObjectName, ObjectType, Query, SchemaName, Statement, TableFactor, TableObject,
    TableWithJoins, Update, UpdateTableFromKind,
};
use sqlparser::dialect::SnowflakeDialect;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token, Tokenizer};

use super::calendar;
use super::catalog::{Catalog, Column, Object, Path, Session, exact};
use super::decimal::Decimal;
use super::email::{self, Email, EmailIntegration};
use super::error::SqlError;
use super::formats::Formats;
use super::kind::{Kind, TEXT};
use super::query::{Bindings, Compiler, Scope, Sql, coerce};
use super::result::{Cutter, Outcome, Stats};
use super::s3::StorageIntegration;
use super::udf;

/// How a result is shaped.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    /// Rows per partition; `None` lets partitions grow.
    pub(crate) partition_rows: Option<u64>,
    /// Whether NULL is JSON null; otherwise it is the text `null`.
    pub(crate) nullable: bool,
    /// The text forms that the request asked for.
    pub(crate) formats: Formats,
    /// `ROWS_PER_RESULTSET`: the most rows a result has.
    pub(crate) most_rows: u64,
}

impl Default for Shape {
    fn default() -> Self {
        Self { partition_rows: None, nullable: true, formats: Formats::default(), most_rows: u64::MAX }
    }
}

/// The warehouse's data.
pub(crate) struct Engine {
    pub(crate) connection: Connection,
    pub(crate) catalog: Catalog,
    pub(crate) email: Option<EmailIntegration>,
    pub(crate) outbox: Vec<Email>,
    pub(crate) warehouses: Vec<String>,
    pub(crate) roles: Vec<String>,
    pub(crate) storage: Option<StorageIntegration>,
    /// The table's number, the address and the tag of every file that was loaded; a replaced table has a new number.
    pub(crate) loaded: BTreeSet<(u64, String, String)>,
    /// The handle of the statement that runs.
    pub(crate) handle: String,
    /// Whether the request has a transaction open.
    pub(crate) transaction: bool,
    /// The temporary tables of the request.
    pub(crate) temporary: Vec<Path>,
}

/// A table that a statement changes.
pub(crate) struct Target {
    pub(crate) path: Path,
    pub(crate) id: u64,
    pub(crate) columns: Vec<Column>,
}

/// Splits and parses a text; `?` placeholders are numbered in the order of the text.
pub(crate) fn parse(text: &str) -> Result<Vec<Statement>, SqlError> {
    let dialect = SnowflakeDialect {};
    let syntax =
        |message: String| SqlError::compilation("001003", "42000", format!("syntax error: {message}"));
    let mut tokens =
        Tokenizer::new(&dialect, text).tokenize_with_location().map_err(|error| syntax(error.to_string()))?;
    let mut placeholders = 0;
    for token in &mut tokens {
        if let Token::Placeholder(name) = &mut token.token
            && name == "?"
        {
            placeholders += 1;
            *name = format!("?{placeholders}");
        }
    }
    let mut parser = Parser::new(&dialect).with_tokens_with_locations(tokens);
    let statements = parser.parse_statements().map_err(|error| syntax(error.to_string()))?;
    if statements.is_empty() {
        return Err(SqlError::compilation("000900", "42601", "Empty SQL statement."));
    }
    Ok(statements)
}

/// Whether a statement only has a meaning inside a session of several statements.
pub(crate) fn needs_session(statement: &Statement) -> bool {
    matches!(
        statement,
        Statement::Use(_)
            | Statement::Set(_)
            | Statement::StartTransaction { .. }
            | Statement::Commit { .. }
            | Statement::Rollback { .. }
            | Statement::AlterSession { .. }
    )
}

/// Whether a statement commits the open transaction before it runs.
fn is_ddl(statement: &Statement) -> bool {
    matches!(
        statement,
        Statement::CreateTable(_)
            | Statement::CreateView(_)
            | Statement::CreateSchema { .. }
            | Statement::CreateDatabase { .. }
            | Statement::AlterTable(_)
            | Statement::Drop { .. }
    )
}

impl Engine {
    pub(crate) fn new() -> rusqlite::Result<Self> {
        let connection = Connection::open_in_memory()?;
        connection.execute_batch(
            "PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF; PRAGMA temp_store = MEMORY;",
        )?;
        udf::register(&connection)?;
        Ok(Self {
            connection,
            catalog: Catalog::default(),
            email: None,
            outbox: Vec::new(),
            warehouses: Vec::new(),
            roles: Vec::new(),
            storage: None,
            loaded: BTreeSet::new(),
            handle: String::new(),
            transaction: false,
            temporary: Vec::new(),
        })
    }

    /// Runs one statement; it takes effect wholly or not at all.
    pub(crate) fn run(
        &mut self,
        statement: &Statement,
        session: &mut Session,
        bindings: &Bindings,
        shape: &Shape,
    ) -> Result<Outcome, SqlError> {
        if let Some(outcome) = self.change_session(statement, session)? {
            return Ok(outcome);
        }
        if is_ddl(statement) {
            self.end_transaction("COMMIT")?;
        }
        self.batch("SAVEPOINT statement")?;
        let result = self.dispatch(statement, session, bindings, shape);
        let end =
            if result.is_ok() { "RELEASE statement" } else { "ROLLBACK TO statement; RELEASE statement" };
        self.batch(end)?;
        result
    }

    fn dispatch(
        &mut self,
        statement: &Statement,
        session: &Session,
        bindings: &Bindings,
        shape: &Shape,
    ) -> Result<Outcome, SqlError> {
        match statement {
            Statement::Query(query) => self.select(query, session, bindings, shape),
            Statement::Call(call) => {
                let email = email::accept(call, self.email.as_ref())?;
                self.outbox.push(email);
                match parse("SELECT TRUE AS SYSTEM_SEND_EMAIL")?.as_slice() {
                    [Statement::Query(query)] => self.select(query, session, bindings, shape),
                    _ => Err(SqlError::unsupported("CALL")),
                }
            }
            Statement::Insert(insert) => self.insert(insert, session, bindings),
            Statement::Update(update) => self.update(update, session, bindings),
            Statement::Delete(delete) => self.delete(delete, session, bindings),
            Statement::CreateTable(create) => self.create_table(create, session, bindings),
            Statement::CreateView(create) => self.create_view(create, session),
            Statement::CreateSchema { schema_name: SchemaName::Simple(name), .. } => {
                self.create_schema(name, session)
            }
            Statement::CreateDatabase { db_name, .. } => {
                let name = parts(db_name).pop().unwrap_or_default();
                self.catalog.create_database(&name);
                Ok(status(format!("Database {name} successfully created.")))
            }
            Statement::AlterTable(alter) => self.alter(&alter.name, &alter.operations, session, bindings),
            Statement::Truncate(truncate) => {
                for name in &truncate.table_names {
                    let target = self.target(&name.name, session)?;
                    self.batch(&format!("DELETE FROM t{}", target.id))?;
                }
                Ok(status("Statement executed successfully.".to_owned()))
            }
            Statement::Drop { object_type, if_exists, names, .. } => {
                self.drop_objects(object_type, *if_exists, names, session)
            }
            Statement::CopyIntoSnowflake { .. } => self.copy(statement, session, bindings),
            other => Err(SqlError::unsupported(other)),
        }
    }

    pub(crate) fn batch(&self, sql: &str) -> Result<(), SqlError> {
        self.connection.execute_batch(sql).map_err(|error| SqlError::from_sqlite(&error))
    }

    fn change(&self, sql: &str) -> Result<u64, SqlError> {
        tracing::debug!(sql, "change");
        let changed = self.connection.execute(sql, []).map_err(|error| SqlError::from_sqlite(&error))?;
        Ok(changed as u64)
    }

    pub(crate) fn select(
        &self,
        query: &Query,
        session: &Session,
        bindings: &Bindings,
        shape: &Shape,
    ) -> Result<Outcome, SqlError> {
        let compiled = Compiler::new(&self.catalog, session, bindings).query(query, None)?;
        tracing::debug!(sql = compiled.sql, "select");
        let failed = |error: rusqlite::Error| SqlError::from_sqlite(&error);
        let internal = |error: std::io::Error| SqlError::new("000603", "XX000", error.to_string());
        let mut statement = self.connection.prepare(&compiled.sql).map_err(failed)?;
        let mut rows = statement.query([]).map_err(failed)?;
        let kinds = compiled.columns.iter().map(|column| column.kind).collect();
        let mut cutter = Cutter::new(kinds, shape);
        let mut left = shape.most_rows;
        while let (true, Some(row)) = (left > 0, rows.next().map_err(failed)?) {
            cutter.push(row).map_err(internal)?;
            left -= 1;
        }
        Ok(Outcome { columns: compiled.columns, partitions: cutter.finish().map_err(internal)?, stats: None })
    }

    pub(crate) fn target(&self, name: &ObjectName, session: &Session) -> Result<Target, SqlError> {
        let path = self.catalog.path(name, session)?;
        match self.catalog.object(&path)? {
            Object::Table { id, columns } => Ok(Target { id: *id, columns: columns.clone(), path }),
            Object::View { .. } => Err(SqlError::unsupported(format!("changing the view {name}"))),
        }
    }

    fn insert(
        &mut self,
        insert: &Insert,
        session: &Session,
        bindings: &Bindings,
    ) -> Result<Outcome, SqlError> {
        let TableObject::TableName(name) = &insert.table else {
            return Err(SqlError::unsupported(&insert.table));
        };
        let target = self.target(name, session)?;
        let places: Vec<usize> = if insert.columns.is_empty() {
            (0..target.columns.len()).collect()
        } else {
            insert.columns.iter().map(|column| target.place(column)).collect::<Result<_, _>>()?
        };
        let source = insert.source.as_ref().ok_or_else(|| SqlError::unsupported("INSERT without rows"))?;
        let sql = self.insertion(&target, &places, source, session, bindings)?;
        if insert.overwrite {
            self.batch(&format!("DELETE FROM t{}", target.id))?;
        }
        let inserted = self.change(&sql)?;
        let cells = [("number of rows inserted", Kind::number(19, 0), inserted.to_string())];
        Ok(Outcome::row(&cells, Some(Stats { inserted, ..Stats::default() })))
    }

    fn insertion(
        &self,
        target: &Target,
        places: &[usize],
        source: &Query,
        session: &Session,
        bindings: &Bindings,
    ) -> Result<String, SqlError> {
        let compiled = Compiler::new(&self.catalog, session, bindings).query(source, None)?;
        if compiled.columns.len() != places.len() {
            let message = "Insert value list does not match column list expecting ";
            let message = format!("{message}{} but got {}", places.len(), compiled.columns.len());
            return Err(SqlError::compilation("002020", "21S01", message));
        }
        let cells: Vec<String> = compiled
            .columns
            .iter()
            .zip(places)
            .enumerate()
            .map(|(i, (output, place))| {
                stored(Sql::new(format!("r{i}"), output.kind), target.columns[*place].kind)
            })
            .collect();
        let names: Vec<String> = places.iter().map(|place| format!("c{place}")).collect();
        let (names, cells) = (names.join(", "), cells.join(", "));
        Ok(format!("INSERT INTO t{} ({names}) SELECT {cells} FROM ({}) WHERE true", target.id, compiled.sql))
    }

    fn update(
        &mut self,
        update: &Update,
        session: &Session,
        bindings: &Bindings,
    ) -> Result<Outcome, SqlError> {
        let (name, alias) = table_of(&update.table)?;
        let target = self.target(name, session)?;
        let sql = {
            let mut compiler = Compiler::new(&self.catalog, session, bindings);
            let (table, relation) = compiler.table(name, alias)?;
            let from: &[TableWithJoins] = match &update.from {
                None => &[],
                Some(UpdateTableFromKind::BeforeSet(from) | UpdateTableFromKind::AfterSet(from)) => from,
            };
            let (from, mut relations) = compiler.from(from, None)?;
            relations.insert(0, relation);
            let scope = Scope { relations: &relations, ..Scope::EMPTY };
            let mut changes = Vec::new();
            for assignment in &update.assignments {
                let AssignmentTarget::ColumnName(column) = &assignment.target else {
                    return Err(SqlError::unsupported(assignment));
                };
                let place = target.place(column)?;
                let value = stored(compiler.expr(&assignment.value, scope)?, target.columns[place].kind);
                changes.push(format!("c{place} = {value}"));
            }
            let filter = filter(&mut compiler, update.selection.as_ref(), scope)?;
            let from = if from.is_empty() { from } else { format!(" FROM {from}") };
            format!("UPDATE {table} SET {}{from}{filter}", changes.join(", "))
        };
        let updated = self.change(&sql)?;
        let cells = [
            ("number of rows updated", Kind::number(19, 0), updated.to_string()),
            ("number of multi-joined rows updated", Kind::number(19, 0), "0".to_owned()),
        ];
        Ok(Outcome::row(&cells, Some(Stats { updated, ..Stats::default() })))
    }

    fn delete(
        &mut self,
        delete: &Delete,
        session: &Session,
        bindings: &Bindings,
    ) -> Result<Outcome, SqlError> {
        let (FromTable::WithFromKeyword(tables) | FromTable::WithoutKeyword(tables)) = &delete.from;
        let first = tables.first().ok_or_else(|| SqlError::unsupported("DELETE without a table"))?;
        let (name, alias) = table_of(first)?;
        self.target(name, session)?;
        let sql = {
            let mut compiler = Compiler::new(&self.catalog, session, bindings);
            let (table, relation) = compiler.table(name, alias)?;
            let (using, mut relations) = compiler.from(delete.using.as_deref().unwrap_or_default(), None)?;
            relations.insert(0, relation);
            let scope = Scope { relations: &relations, ..Scope::EMPTY };
            let filter = filter(&mut compiler, delete.selection.as_ref(), scope)?;
            match using.as_str() {
                "" => format!("DELETE FROM {table}{filter}"),
                using => format!("DELETE FROM {table} WHERE EXISTS (SELECT 1 FROM {using}{filter})"),
            }
        };
        let deleted = self.change(&sql)?;
        let cells = [("number of rows deleted", Kind::number(19, 0), deleted.to_string())];
        Ok(Outcome::row(&cells, Some(Stats { deleted, ..Stats::default() })))
    }

    fn create_table(
        &mut self,
        create: &CreateTable,
        session: &Session,
        bindings: &Bindings,
    ) -> Result<Outcome, SqlError> {
        let path = self.catalog.path(&create.name, session)?;
        let exists = match self.catalog.object(&path) {
            Ok(_) => true,
            Err(error) if error.state == "42S02" => false,
            Err(error) => return Err(error),
        };
        if exists && create.if_not_exists {
            return Ok(status(format!("{} already exists, statement succeeded.", path.name)));
        }
        if exists && !create.or_replace {
            let message = format!("Object '{}' already exists.", path.name);
            return Err(SqlError::compilation("002002", "42710", message));
        }
        let (columns, defaults) = match &create.query {
            Some(query) if create.columns.is_empty() => {
                (self.derived_columns(query, session, bindings)?, Vec::new())
            }
            _ => self.declared_columns(&create.columns, session)?,
        };
        let target = self.new_table(&path, columns, &defaults)?;
        if let Some(query) = &create.query {
            let places: Vec<usize> = (0..target.columns.len()).collect();
            let sql = self.insertion(&target, &places, query, session, bindings)?;
            self.change(&sql)?;
        }
        self.put(&path, Object::Table { id: target.id, columns: target.columns })?;
        if create.temporary {
            self.temporary.push(path.clone());
        }
        Ok(status(format!("Table {} successfully created.", path.name)))
    }

    fn derived_columns(
        &self,
        query: &Query,
        session: &Session,
        bindings: &Bindings,
    ) -> Result<Vec<Column>, SqlError> {
        let compiled = Compiler::new(&self.catalog, session, bindings).query(query, None)?;
        let column = |output: super::query::Output| {
            let kind = if output.kind == Kind::Null { Kind::Text(TEXT) } else { output.kind };
            Column { name: output.name, kind, nullable: true }
        };
        Ok(compiled.columns.into_iter().map(column).collect())
    }

    fn declared_columns(
        &self,
        columns: &[ColumnDef],
        session: &Session,
    ) -> Result<(Vec<Column>, Vec<String>), SqlError> {
        let (mut out, mut defaults) = (Vec::new(), Vec::new());
        for column in columns {
            let kind = Kind::from_sql(&column.data_type)?;
            let has = |wanted: fn(&ColumnOption) -> bool| {
                column.options.iter().any(|option| wanted(&option.option))
            };
            let nullable =
                !has(|option| matches!(option, ColumnOption::NotNull | ColumnOption::PrimaryKey(_)));
            let default = column.options.iter().find_map(|option| match &option.option {
                ColumnOption::Default(expr) => Some(expr),
                _ => None,
            });
            let default = match default {
                Some(expr) => {
                    let value =
                        Compiler::new(&self.catalog, session, &Vec::new()).expr(expr, Scope::EMPTY)?;
                    format!(" DEFAULT ({})", stored(value, kind))
                }
                None => String::new(),
            };
            defaults.push(default);
            out.push(Column { name: exact(&column.name), kind, nullable });
        }
        Ok((out, defaults))
    }

    /// Makes SQLite's table; the catalogue learns of it when it is filled.
    fn new_table(
        &mut self,
        path: &Path,
        columns: Vec<Column>,
        defaults: &[String],
    ) -> Result<Target, SqlError> {
        let id = self.catalog.next_table();
        let column = |(i, column): (usize, &Column)| {
            let required = if column.nullable { "" } else { " NOT NULL" };
            format!("c{i}{required}{}", defaults.get(i).map_or("", String::as_str))
        };
        let list: Vec<String> = columns.iter().enumerate().map(column).collect();
        self.batch(&format!("CREATE TABLE t{id} ({})", list.join(", ")))?;
        Ok(Target { path: path.clone(), id, columns })
    }

    fn put(&mut self, path: &Path, object: Object) -> Result<(), SqlError> {
        match self.catalog.put(path, object)? {
            Some(Object::Table { id, .. }) => self.batch(&format!("DROP TABLE t{id}")),
            _ => Ok(()),
        }
    }

    fn create_view(&mut self, create: &CreateView, session: &Session) -> Result<Outcome, SqlError> {
        let path = self.catalog.path(&create.name, session)?;
        if !create.or_replace && self.catalog.object(&path).is_ok() {
            let message = format!("Object '{}' already exists.", path.name);
            return Err(SqlError::compilation("002002", "42710", message));
        }
        let mut own = session.clone();
        (own.database, own.schema) = (Some(path.database.clone()), Some(path.schema.clone()));
        Compiler::new(&self.catalog, &own, &Vec::new()).query(&create.query, None)?;
        self.put(&path, Object::View { query: create.query.clone(), session: own })?;
        Ok(status(format!("View {} successfully created.", path.name)))
    }

    fn create_schema(&mut self, name: &ObjectName, session: &Session) -> Result<Outcome, SqlError> {
        let mut names = parts(name);
        let schema = names.pop().unwrap_or_default();
        let database = names.pop().or_else(|| session.database.clone());
        match database {
            Some(database) if self.catalog.has_database(&database) => {
                self.catalog.create_schema(&database, &schema);
                Ok(status(format!("Schema {schema} successfully created.")))
            }
            _ => Err(SqlError::compilation(
                "002043",
                "02000",
                "Object does not exist, or operation cannot be performed.",
            )),
        }
    }

    fn alter(
        &mut self,
        name: &ObjectName,
        operations: &[AlterTableOperation],
        session: &Session,
        _: &Bindings,
    ) -> Result<Outcome, SqlError> {
        let Target { path, id, mut columns } = self.target(name, session)?;
        for operation in operations {
            match operation {
                AlterTableOperation::AddColumn { column_def, .. } => {
                    let (mut new, defaults) =
                        self.declared_columns(std::slice::from_ref(column_def), session)?;
                    let default = defaults.first().map_or("", String::as_str);
                    self.batch(&format!("ALTER TABLE t{id} ADD COLUMN c{}{default}", columns.len()))?;
                    columns.append(&mut new);
                }
                AlterTableOperation::RenameColumn { old_column_name, new_column_name } => {
                    let old = exact(old_column_name);
                    let column = columns.iter_mut().find(|column| column.name == old);
                    column.ok_or_else(|| unknown_column(&old))?.name = exact(new_column_name);
                }
                other => return Err(SqlError::unsupported(other)),
            }
        }
        self.catalog.put(&path, Object::Table { id, columns })?;
        Ok(status("Statement executed successfully.".to_owned()))
    }

    fn drop_objects(
        &mut self,
        kind: &ObjectType,
        if_exists: bool,
        names: &[ObjectName],
        session: &Session,
    ) -> Result<Outcome, SqlError> {
        if !matches!(kind, ObjectType::Table | ObjectType::View) {
            return Err(SqlError::unsupported(format!("DROP {kind}")));
        }
        for name in names {
            let path = self.catalog.path(name, session)?;
            match self.catalog.remove(&path) {
                Some(Object::Table { id, .. }) => self.batch(&format!("DROP TABLE t{id}"))?,
                Some(Object::View { .. }) => {}
                None if if_exists => {}
                None => {
                    let message = format!("{kind} '{}' does not exist or not authorized.", path.name);
                    return Err(SqlError::compilation("002003", "02000", message));
                }
            }
        }
        Ok(status("successfully dropped.".to_owned()))
    }

    /// Drops a temporary table.
    pub(crate) fn drop_temporary(&mut self, path: &Path) -> Result<(), SqlError> {
        match self.catalog.remove(path) {
            Some(Object::Table { id, .. }) => self.batch(&format!("DROP TABLE t{id}")),
            _ => Ok(()),
        }
    }

    /// Creates (or replaces) a table and fills it from values in wire form, in one transaction.
    pub(crate) fn load(
        &mut self,
        path: &Path,
        columns: &[Column],
        rows: impl Iterator<Item = Vec<Option<String>>>,
    ) -> Result<u64, SqlError> {
        self.catalog.create_schema(&path.database, &path.schema);
        self.batch("SAVEPOINT loading")?;
        let result = self.fill(path, columns, rows);
        let end = if result.is_ok() { "RELEASE loading" } else { "ROLLBACK TO loading; RELEASE loading" };
        self.batch(end)?;
        result
    }

    fn fill(
        &mut self,
        path: &Path,
        columns: &[Column],
        rows: impl Iterator<Item = Vec<Option<String>>>,
    ) -> Result<u64, SqlError> {
        let failed = |error: rusqlite::Error| SqlError::from_sqlite(&error);
        let target = self.new_table(path, columns.to_vec(), &[])?;
        let marks = vec!["?"; columns.len()].join(", ");
        let mut count = 0;
        {
            let sql = format!("INSERT INTO t{} VALUES ({marks})", target.id);
            let mut statement = self.connection.prepare(&sql).map_err(failed)?;
            for row in rows {
                let cells = row.into_iter().zip(columns).map(|(cell, column)| loaded(cell, column.kind));
                let cells = cells.collect::<Result<Vec<_>, _>>()?;
                statement.execute(params_from_iter(cells)).map_err(failed)?;
                count += 1;
            }
        }
        self.put(path, Object::Table { id: target.id, columns: target.columns })?;
        Ok(count)
    }
}

impl Target {
    pub(crate) fn place(&self, name: &ObjectName) -> Result<usize, SqlError> {
        let column = parts(name).pop().unwrap_or_default();
        let found = self.columns.iter().position(|known| known.name == column);
        found.ok_or_else(|| unknown_column(&format!("{}.{column}", self.path.name)))
    }
}

fn unknown_column(name: &str) -> SqlError {
    SqlError::compilation(
        "000904",
        "42000",
        format!("error line 1 at position 0\ninvalid identifier '{name}'"),
    )
}

/// The answer of a statement that gives no rows.
pub(crate) fn status(message: String) -> Outcome {
    Outcome::row(&[("status", Kind::Text(TEXT), message)], None)
}

/// The parts of a name, as exact names.
pub(crate) fn parts(name: &ObjectName) -> Vec<String> {
    name.0.iter().filter_map(|part| part.as_ident()).map(exact).collect()
}

fn filter(
    compiler: &mut Compiler<'_>,
    condition: Option<&Expr>,
    scope: Scope<'_>,
) -> Result<String, SqlError> {
    let Some(condition) = condition else { return Ok(String::new()) };
    Ok(format!(" WHERE {}", coerce(compiler.expr(condition, scope)?, Kind::Boolean).text))
}

fn table_of(table: &TableWithJoins) -> Result<(&ObjectName, Option<&sqlparser::ast::TableAlias>), SqlError> {
    match &table.relation {
        TableFactor::Table { name, alias, .. } if table.joins.is_empty() => Ok((name, alias.as_ref())),
        other => Err(SqlError::unsupported(other)),
    }
}

/// A value on its way into a column: converted, and refused if the text is too long.
fn stored(value: Sql, kind: Kind) -> String {
    match (value.kind, kind) {
        (Kind::Text(from), Kind::Text(length)) if from > length => {
            format!("sf_fit({}, {length})", value.text)
        }
        (_, kind) => coerce(value, kind).text,
    }
}

/// A loaded value as it is stored; dates and timestamps may also be given in their text form.
fn loaded(cell: Option<String>, kind: Kind) -> Result<rusqlite::types::Value, SqlError> {
    use rusqlite::types::Value;
    let Some(cell) = cell else { return Ok(Value::Null) };
    let written_out = |cell: &str| cell.len() > 1 && cell[1..].contains(['-', ':']);
    Ok(match kind {
        Kind::Boolean => Value::Integer(i64::from(cell == "true")),
        Kind::Real => Value::Real(f64::from_str(&cell).map_err(|_| SqlError::out_of_range())?),
        Kind::Fixed { scale, .. }
            if cell.split_once('.').map_or(0, |(_, f)| f.len()) != usize::from(scale) =>
        {
            let number = Decimal::parse(&cell).ok_or_else(SqlError::out_of_range)?;
            Value::Text(number.rescale(scale)?.to_string())
        }
        Kind::Date if written_out(&cell) => Value::Text(calendar::to_date(&cell)?),
        Kind::Timestamp(zone, scale) if written_out(&cell) => {
            Value::Text(calendar::to_timestamp(&cell, zone, scale)?)
        }
        _ => Value::Text(cell),
    })
}

//! What a statement does to the session it runs in: USE, SET and transactions.
//!
//! Every request is a session of its own, so these matter only between the statements of one request.

use sqlparser::ast::{Expr, ObjectName, Set, Statement, Use};

use super::catalog::{Session, exact};
use super::engine::{Engine, Shape, parts, status};
use super::error::SqlError;
use super::result::Outcome;

impl Engine {
    /// Carries out a statement that only changes the session; `None` if it is not one.
    pub(crate) fn change_session(
        &mut self,
        statement: &Statement,
        session: &mut Session,
    ) -> Result<Option<Outcome>, SqlError> {
        match statement {
            Statement::Use(target) => self.use_object(target, session)?,
            Statement::Set(Set::SingleAssignment { variable, values, .. }) => {
                self.set_variable(variable, values, session)?;
            }
            Statement::StartTransaction { .. } => self.begin()?,
            Statement::Commit { .. } => self.end_transaction("COMMIT")?,
            Statement::Rollback { .. } => self.end_transaction("ROLLBACK")?,
            Statement::AlterSession { .. } => {}
            Statement::Set(_) => return Err(SqlError::unsupported(statement)),
            _ => return Ok(None),
        }
        Ok(Some(status("Statement executed successfully.".to_owned())))
    }

    /// Ends what a request leaves behind: an open transaction is rolled back, temporary tables are dropped.
    pub(crate) fn end_session(&mut self) {
        // The transaction is open and the tables are there, so neither can fail in a way that the request has to know.
        let _ = self.end_transaction("ROLLBACK");
        for path in std::mem::take(&mut self.temporary) {
            let _ = self.drop_temporary(&path);
        }
    }

    fn use_object(&self, target: &Use, session: &mut Session) -> Result<(), SqlError> {
        match target {
            Use::Warehouse(name) => session.warehouse = Some(listed(name, &self.warehouses)?),
            Use::Role(name) => session.role = listed(name, &self.roles)?,
            Use::Database(name) => self.use_schema(name.0.len(), name, session)?,
            Use::Schema(name) => self.use_schema(name.0.len() - 1, name, session)?,
            Use::Object(name) => self.use_schema(1, name, session)?,
            other => return Err(SqlError::unsupported(other)),
        }
        Ok(())
    }

    /// A name whose first parts, so many, are a database and whose last may be a schema.
    fn use_schema(&self, databases: usize, name: &ObjectName, session: &mut Session) -> Result<(), SqlError> {
        let names: Vec<String> = name.0.iter().filter_map(|part| part.as_ident()).map(exact).collect();
        let (database, schema) = names.split_at(databases.min(names.len()));
        let database = database.first().cloned().or_else(|| session.database.clone()).ok_or_else(missing)?;
        let schema = schema.first().cloned().unwrap_or_else(|| "PUBLIC".to_owned());
        if !self.catalog.has_schema(&database, &schema) {
            return Err(missing());
        }
        (session.database, session.schema) = (Some(database), Some(schema));
        Ok(())
    }

    fn set_variable(
        &mut self,
        variable: &ObjectName,
        values: &[Expr],
        session: &mut Session,
    ) -> Result<(), SqlError> {
        let [value] = values else { return Err(SqlError::unsupported("SET of several variables")) };
        let statements = super::engine::parse(&format!("SELECT {value}"))?;
        let [Statement::Query(query)] = statements.as_slice() else {
            return Err(SqlError::unsupported(format!("SET to {value}")));
        };
        let outcome = self.select(query, session, &Vec::new(), &Shape::default())?;
        let kind = outcome.columns.first().map(|column| column.kind);
        let cell = super::rows(&outcome).rows.into_iter().next().and_then(|row| row.into_iter().next());
        let name = parts(variable).pop().unwrap_or_default();
        if let (Some(kind), Some(cell)) = (kind, cell) {
            session.variables.insert(name, (kind, cell));
        }
        Ok(())
    }

    /// A BEGIN inside a transaction does nothing.
    fn begin(&mut self) -> Result<(), SqlError> {
        if !self.transaction {
            self.batch("BEGIN")?;
            self.transaction = true;
        }
        Ok(())
    }

    /// Ends the open transaction, if there is one.
    pub(crate) fn end_transaction(&mut self, how: &str) -> Result<(), SqlError> {
        if std::mem::take(&mut self.transaction) { self.batch(how) } else { Ok(()) }
    }
}

fn listed(name: &ObjectName, known: &[String]) -> Result<String, SqlError> {
    let name = parts(name).pop().unwrap_or_default();
    if known.contains(&name) { Ok(name) } else { Err(missing()) }
}

fn missing() -> SqlError {
    let message = "Object does not exist, or operation cannot be performed.";
    SqlError::compilation("002043", "02000", message)
}

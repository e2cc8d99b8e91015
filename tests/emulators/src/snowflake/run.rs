//! Running what was submitted: one statement, or several that share a session.
//!
//! <https://docs.snowflake.com/en/developer-guide/sql-api/submitting-multiple-statements>

use std::sync::Arc;
use std::time::Duration;

use sqlparser::ast::Statement;

use super::Account;
use super::catalog::{Column, Path, Session};
use super::engine::{Engine, Shape, needs_session, parse};
use super::error::SqlError;
use super::kind::Kind;
use super::query::Bindings;
use super::result::Outcome;
use super::statements::{State, Submitted};

/// Everything needed to run a submission.
pub(crate) struct Work {
    pub(crate) handle: String,
    pub(crate) text: String,
    pub(crate) session: Session,
    pub(crate) bindings: Bindings,
    pub(crate) shape: Shape,
    pub(crate) timeout: Duration,
    /// `MULTI_STATEMENT_COUNT`
    pub(crate) count: Option<usize>,
}

/// Runs a submission that was not cancelled before it came to run.
pub(crate) fn execute(account: &Account, work: &Work) -> State {
    let cancelled =
        !account.statements().get(&work.handle).is_some_and(|entry| matches!(entry.state, State::Running));
    if cancelled {
        return State::Failed(SqlError::new("000604", "57014", "SQL execution canceled"));
    }
    executed(account, work).unwrap_or_else(State::Failed)
}

fn executed(account: &Account, work: &Work) -> Result<State, SqlError> {
    refuse_transfer(&work.text)?;
    let statements = parse(&work.text)?;
    let wanted = work.count.unwrap_or(1);
    if wanted != 0 && wanted != statements.len() {
        let message = format!(
            "Actual statement count {} did not match the desired statement count {wanted}.",
            statements.len()
        );
        return Err(SqlError::new("000008", "0A000", message));
    }
    let history = work.text.to_uppercase().contains("QUERY_HISTORY").then(|| account.statements().history());
    let mut engine = account.engine();
    engine.handle.clone_from(&work.handle);
    if let Some(history) = history {
        remember(&mut engine, history)?;
    }
    let state = match (statements.as_slice(), work.count) {
        ([statement], None | Some(1)) => single(&mut engine, work, statement),
        _ => several(account, &mut engine, work, &statements),
    };
    engine.end_session();
    state
}

/// Files cannot be sent or fetched through the API; the words are not even SQL to a parser.
fn refuse_transfer(text: &str) -> Result<(), SqlError> {
    let word = text.split_whitespace().next().unwrap_or_default();
    if ["PUT", "GET"].iter().any(|refused| word.eq_ignore_ascii_case(refused)) {
        return Err(not_supported());
    }
    Ok(())
}

fn not_supported() -> SqlError {
    SqlError::new("391911", "0A000", "The requested statement type is not supported by the SQL API.")
}

fn single(engine: &mut Engine, work: &Work, statement: &Statement) -> Result<State, SqlError> {
    if needs_session(statement) {
        return Err(not_supported());
    }
    let mut session = work.session.clone();
    let outcome = engine.run(statement, &mut session, &work.bindings, &work.shape)?;
    Ok(State::Done(Arc::new(outcome)))
}

/// All in one session; what ran before a statement that fails keeps its effect unless a transaction is open.
fn several(
    account: &Account,
    engine: &mut Engine,
    work: &Work,
    statements: &[Statement],
) -> Result<State, SqlError> {
    if !work.bindings.is_empty() {
        return Err(SqlError::unsupported("bindings with several statements"));
    }
    if work.session.warehouse.is_none() {
        return Err(SqlError::new("391920", "57P03", "Several statements need a warehouse."));
    }
    let mut session = work.session.clone();
    let mut children = Vec::new();
    for statement in statements {
        let handle = account.statements().add(child(statement, &session), 0);
        engine.handle.clone_from(&handle);
        let result = engine.run(statement, &mut session, &work.bindings, &work.shape);
        let failed = result.as_ref().err().map(|error| of_child(statement, error));
        let state = result.map_or_else(State::Failed, |outcome| State::Done(Arc::new(outcome)));
        account.statements().finish(&handle, state);
        children.push(handle);
        if let Some(error) = failed {
            return Err(error);
        }
    }
    let text = "Multiple statements executed successfully.".to_owned();
    let outcome = Outcome::row(&[("multiple statement execution", Kind::text(), text)], None);
    Ok(State::Parent(Arc::new(outcome), children))
}

fn child(statement: &Statement, session: &Session) -> Submitted {
    Submitted {
        handle: String::new(),
        statement: statement.to_string(),
        user: session.user.clone(),
        request_id: None,
        query_tag: None,
        role: session.role.clone(),
        warehouse: session.warehouse.clone(),
        timeout: None,
    }
}

fn of_child(statement: &Statement, error: &SqlError) -> SqlError {
    let message = format!(
        "JavaScript execution error: Uncaught Execution of multiple statements failed on statement \"{statement}\". {}",
        error.message
    );
    SqlError::new("100132", "P0000", message)
}

/// Fills `SNOWFLAKE.ACCOUNT_USAGE.QUERY_HISTORY`, which is made when a statement names it.
///
/// <https://docs.snowflake.com/en/sql-reference/account-usage/query_history>
fn remember(
    engine: &mut Engine,
    history: Vec<(Submitted, &'static str, Option<String>)>,
) -> Result<(), SqlError> {
    let columns = [
        Column::new("QUERY_ID", Kind::text()),
        Column::new("QUERY_TEXT", Kind::text()),
        Column::new("QUERY_TAG", Kind::text()),
        Column::new("USER_NAME", Kind::text()),
        Column::new("ROLE_NAME", Kind::text()),
        Column::new("WAREHOUSE_NAME", Kind::text()),
        Column::new("EXECUTION_STATUS", Kind::text()),
        Column::new("ERROR_CODE", Kind::text()),
    ];
    let rows = history.into_iter().map(|(submitted, status, code)| {
        let tag = submitted.query_tag.unwrap_or_default();
        vec![
            Some(submitted.handle),
            Some(submitted.statement),
            Some(tag),
            Some(submitted.user),
            Some(submitted.role),
            submitted.warehouse,
            Some(status.to_owned()),
            code,
        ]
    });
    engine.load(&history_path(), &columns, rows)?;
    Ok(())
}

/// Where the history is kept.
pub(crate) fn history_path() -> Path {
    let [database, schema, name] = ["SNOWFLAKE", "ACCOUNT_USAGE", "QUERY_HISTORY"].map(str::to_owned);
    Path { database, schema, name }
}

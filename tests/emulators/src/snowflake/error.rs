//! Errors of statements, with Snowflake's codes.

use std::fmt;

/// A statement failed: Snowflake's code, the SQL state and a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlError {
    /// Six digits, e.g. `002003`.
    pub code: String,
    /// Five characters, e.g. `42S02`.
    pub state: String,
    /// What a person reads.
    pub message: String,
}

/// Separates the parts of an error that travels through SQLite as one text.
const MARK: char = '\u{1}';

impl SqlError {
    pub(crate) fn new(code: &str, state: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), state: state.to_owned(), message: message.into() }
    }

    pub(crate) fn compilation(code: &str, state: &str, message: impl fmt::Display) -> Self {
        Self::new(code, state, format!("SQL compilation error:\n{message}"))
    }

    pub(crate) fn unsupported(what: impl fmt::Display) -> Self {
        Self::compilation("000002", "0A000", format!("Unsupported feature '{what}'."))
    }

    pub(crate) fn out_of_range() -> Self {
        Self::new("100039", "22003", "Number out of representable range")
    }

    pub(crate) fn division_by_zero() -> Self {
        Self::new("100051", "22012", "Division by zero")
    }

    /// The error inside what SQLite reports; an internal error (000603) if it is SQLite's own.
    pub(crate) fn from_sqlite(error: &rusqlite::Error) -> Self {
        let text = match error {
            rusqlite::Error::SqliteFailure(_, Some(text)) => text.clone(),
            other => other.to_string(),
        };
        let mut parts = text.trim_start_matches(|c| c != MARK).split(MARK).skip(1);
        if let (Some(code), Some(state), Some(message)) = (parts.next(), parts.next(), parts.next()) {
            return Self::new(code, state, message);
        }
        if text.contains("NOT NULL constraint failed") {
            return Self::new("100072", "22000", "NULL result in a non-nullable column");
        }
        Self::new("000603", "XX000", format!("SQL execution internal error: {text}"))
    }

    /// For a function that SQLite calls.
    pub(crate) fn into_sqlite(self) -> rusqlite::Error {
        let text = format!("{MARK}{}{MARK}{}{MARK}{}", self.code, self.state, self.message);
        rusqlite::Error::UserFunctionError(text.into())
    }
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.code, self.state, self.message)
    }
}

impl std::error::Error for SqlError {}

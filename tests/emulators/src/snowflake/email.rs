//! `SYSTEM$SEND_EMAIL`: what would be sent is kept.
//!
//! <https://docs.snowflake.com/en/sql-reference/stored-procedures/system_send_email>

use sqlparser::ast::{Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Value};

use super::error::SqlError;

/// An email integration: who may be written to.
#[derive(Clone, Debug)]
pub struct EmailIntegration {
    /// Its name.
    pub name: String,
    /// The verified addresses of users of the account.
    pub allowed_recipients: Vec<String>,
}

/// An email that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Email {
    /// Whom it goes to.
    pub recipients: Vec<String>,
    /// Its subject.
    pub subject: String,
    /// Its body.
    pub body: String,
}

/// Reads the call; one recipient who is not allowed keeps it from everybody.
pub(crate) fn accept(call: &Function, integration: Option<&EmailIntegration>) -> Result<Email, SqlError> {
    let name = call.name.to_string();
    if !name.eq_ignore_ascii_case("SYSTEM$SEND_EMAIL") {
        let message = format!("Unknown function {name}");
        return Err(SqlError::compilation("002140", "42601", message));
    }
    let texts =
        texts(call).ok_or_else(|| SqlError::unsupported("SYSTEM$SEND_EMAIL with other than texts"))?;
    let [of, to, subject, body, ..] = texts.as_slice() else {
        return Err(SqlError::compilation("001044", "42P13", "Invalid argument types for function"));
    };
    let integration = integration.filter(|known| known.name.eq_ignore_ascii_case(of)).ok_or_else(|| {
        SqlError::compilation(
            "002003",
            "02000",
            format!("Integration '{of}' does not exist or not authorized."),
        )
    })?;
    let recipients: Vec<String> = to.split(',').map(|address| address.trim().to_owned()).collect();
    if let Some(other) = recipients.iter().find(|one| !integration.allowed_recipients.contains(one)) {
        let message = format!("Email recipients in the given list are not allowed: {other}");
        return Err(SqlError::new("394209", "22023", message));
    }
    if !(1..=128_000).contains(&body.chars().count()) {
        return Err(SqlError::new("394210", "22023", "The body has to have 1 to 128000 characters."));
    }
    Ok(Email { recipients, subject: subject.clone(), body: body.clone() })
}

fn texts(call: &Function) -> Option<Vec<String>> {
    let FunctionArguments::List(list) = &call.args else { return None };
    let text = |argument: &FunctionArg| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(value))) => match &value.value {
            Value::SingleQuotedString(text) => Some(text.clone()),
            _ => None,
        },
        _ => None,
    };
    list.args.iter().map(text).collect()
}

//! Statements that write: rows as one JSON binding, and email.
//!
//! Each is a request like any other, with an id of its own: it is submitted, polled, and submitted again under the same
//! id when its end is not known.

use engine::Failure;
use serde::Serialize;
use uuid::Uuid;

/// A value bound to a `?` of a statement.
///
/// <https://docs.snowflake.com/en/developer-guide/sql-api/submitting-requests#using-bind-variables-in-a-statement>
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Binding {
    #[serde(rename = "type")]
    kind: &'static str,
    value: Option<String>,
}

/// An INSERT of some rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Insert {
    /// The statement.
    pub sql: String,
    /// What is bound to it.
    pub bindings: Vec<Binding>,
    /// The id to submit it under: the same rows of the same run get the same id.
    pub request_id: String,
    /// How many rows it holds.
    pub rows: usize,
}

/// Most bytes of JSON in one statement: Snowflake advises one megabyte for a statement with everything bound to it.
///
/// <https://docs.snowflake.com/en/user-guide/query-size-limits>
pub const PIECE_BYTES: usize = 500_000;

/// The longest body of an email, and the longest subject, in characters.
///
/// <https://docs.snowflake.com/en/user-guide/notifications/email-stored-procedures>
const LONGEST_BODY: usize = 128_000;
const LONGEST_SUBJECT: usize = 256;

impl Binding {
    /// A text; none is NULL.
    #[must_use]
    pub fn text(value: Option<String>) -> Self {
        Self { kind: "TEXT", value }
    }
}

/// The statements that insert `rows` into `table`, in pieces. Each row has a cell for each of `columns`, none for NULL.
///
/// The table has two columns more, `RUN_ID` and `PIECE`: a piece that is there is not inserted again, so that a
/// statement whose end was not known may be sent once more even when Snowflake has forgotten its id.
///
/// # Errors
/// [`engine::Class::Bug`] when a row has other cells than there are columns, or is too long for a statement of its own.
pub fn inserts(
    table: &str,
    columns: &[&str],
    run: &str,
    rows: impl IntoIterator<Item = Vec<Option<String>>>,
) -> Result<Vec<Insert>, Failure> {
    let sql = insert_sql(table, columns);
    let mut pieces = Vec::new();
    let (mut json, mut held) = (String::new(), 0);
    for row in rows {
        if row.len() != columns.len() {
            return Err(Failure::bug(format!("a row for `{table}` has other cells than it has columns")));
        }
        let row = serde_json::to_string(&row).expect("texts have a JSON form");
        if row.len() + 2 > PIECE_BYTES {
            return Err(Failure::bug(format!("a row for `{table}` is too long for a statement")));
        }
        if held > 0 && json.len() + row.len() + 2 > PIECE_BYTES {
            pieces.push((std::mem::take(&mut json), std::mem::take(&mut held)));
        }
        json.push(if held == 0 { '[' } else { ',' });
        json.push_str(&row);
        held += 1;
    }
    if held > 0 {
        pieces.push((json, held));
    }
    let numbered = pieces.into_iter().enumerate();
    Ok(numbered.map(|(piece, (json, rows))| insert(&sql, table, run, piece, json, rows)).collect())
}

fn insert(sql: &str, table: &str, run: &str, piece: usize, json: String, rows: usize) -> Insert {
    let name = format!("backhaul insert {table} {run} {piece}");
    let [run, piece] = [run.to_owned(), piece.to_string()].map(|text| Binding::text(Some(text)));
    Insert {
        sql: sql.to_owned(),
        bindings: vec![run.clone(), piece.clone(), Binding::text(Some(json + "]")), run, piece],
        request_id: Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()).to_string(),
        rows,
    }
}

/// Cells are fetched by position: names would have to be unique and free of quotes. The JSON stands in a SELECT because
/// VALUES takes no such expression.
fn insert_sql(table: &str, columns: &[&str]) -> String {
    let names: String = columns.iter().map(|column| format!(", {}", quoted(column))).collect();
    let cells: String = (0..columns.len()).map(|cell| format!(", value[{cell}]::VARCHAR")).collect();
    let table = table.split('.').map(quoted).collect::<Vec<_>>().join(".");
    format!(
        "INSERT INTO {table} (\"RUN_ID\", \"PIECE\"{names}) SELECT ?, ?::NUMBER{cells} \
         FROM TABLE(FLATTEN(INPUT => PARSE_JSON(?))) \
         WHERE NOT EXISTS (SELECT 1 FROM {table} WHERE \"RUN_ID\" = ? AND \"PIECE\" = ?::NUMBER)"
    )
}

/// The statement that sends an email through a notification integration. Recipients are verified users of the account.
///
/// Bindings in a CALL are not documented, so the texts stand in it as literals.
///
/// # Errors
/// [`engine::Class::Configuration`] when there is nobody to send it to, or it is empty or too long.
pub fn send_email(
    integration: &str,
    recipients: &[&str],
    subject: &str,
    body: &str,
) -> Result<String, Failure> {
    let bad = |what: &str| Err(Failure::configuration(format!("the email by `{integration}` {what}")));
    if recipients.is_empty() {
        return bad("has no recipients");
    }
    if !(1..=LONGEST_BODY).contains(&body.chars().count()) || subject.chars().count() > LONGEST_SUBJECT {
        return bad("is empty, or longer than 128,000 characters under a subject of 256");
    }
    let texts = [integration, &recipients.join(", "), subject, body].map(literal);
    Ok(format!("CALL SYSTEM$SEND_EMAIL({})", texts.join(", ")))
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as SQL: quotes are doubled, and so are backslashes, which begin an escape sequence.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''").replace('\n', "\\n").replace('\r', "\\r"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::Class;
    use serde_json::Value;

    const RUN: &str = "customers/20260101T000000Z";

    fn rows_of(insert: &Insert) -> Vec<Vec<Option<String>>> {
        let json = insert.bindings[2].value.as_deref().unwrap();
        assert!(json.len() <= PIECE_BYTES, "{}", json.len());
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn every_row_is_in_one_piece_and_no_piece_is_too_long() {
        let row = |n: usize| {
            vec![Some(format!("key {n}")), (!n.is_multiple_of(3)).then(|| "é\"\\\n".repeat(n % 900))]
        };
        for count in [0, 1, 2, 3000] {
            let made = inserts("RETL.AUDIT.RESULTS", &["KEY", "ERROR"], RUN, (0..count).map(row)).unwrap();
            let found: Vec<_> = made.iter().flat_map(rows_of).collect();
            assert_eq!(found, (0..count).map(row).collect::<Vec<_>>());
            assert_eq!(made.iter().map(|insert| insert.rows).sum::<usize>(), count);
            let again = inserts("RETL.AUDIT.RESULTS", &["KEY", "ERROR"], RUN, (0..count).map(row)).unwrap();
            assert_eq!(made, again, "the same rows have the same ids");
            let mut ids: Vec<_> = made.iter().map(|insert| &insert.request_id).collect();
            ids.sort();
            ids.dedup();
            assert_eq!(ids.len(), made.len());
        }
    }

    #[test]
    fn a_row_that_does_not_fit_is_a_bug() {
        let long = vec![Some("x".repeat(PIECE_BYTES))];
        for (columns, row) in [(vec!["A"], long), (vec!["A", "B"], vec![None])] {
            assert_eq!(inserts("T", &columns, RUN, [row]).unwrap_err().class, Class::Bug);
        }
    }

    #[test]
    fn names_are_quoted_and_numbers_stay_text() {
        let made = inserts("A.B.c\"d", &["Amount"], RUN, [vec![Some("12345678901234567890.10".to_owned())]])
            .unwrap();
        assert!(
            made[0].sql.starts_with("INSERT INTO \"A\".\"B\".\"c\"\"d\" (\"RUN_ID\", \"PIECE\", \"Amount\")")
        );
        let json: Value = serde_json::from_str(made[0].bindings[2].value.as_deref().unwrap()).unwrap();
        assert_eq!(json, serde_json::json!([["12345678901234567890.10"]]));
    }

    #[test]
    fn an_email_is_one_call_whatever_it_says() {
        let call = send_email("mail", &["a@x", "b@x"], "it's", "line\n\\ 'end'").unwrap();
        assert_eq!(call, r"CALL SYSTEM$SEND_EMAIL('mail', 'a@x, b@x', 'it''s', 'line\n\\ ''end''')");
        for (recipients, subject, body) in [
            (&[][..], "s", "b".to_owned()),
            (&["a@x"], "s", String::new()),
            (&["a@x"], "s", "b".repeat(128_001)),
        ] {
            assert_eq!(send_email("m", recipients, subject, &body).unwrap_err().class, Class::Configuration);
        }
        assert!(send_email("m", &["a@x"], &"s".repeat(257), "b").is_err());
    }
}

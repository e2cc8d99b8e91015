//! What Snowflake's codes mean for us.
//!
//! Classified by `code`, then by `sqlState`, then by HTTP status; never by text. A message is passed on only
//! where it is about the statement: one about data may quote a record.

use engine::{Class, Failure};
use http_client::{Response, class_of_status};
use serde::Deserialize;

/// Longest message that is passed on, in characters.
const LONGEST_MESSAGE: usize = 500;

/// The body of every answer that is no result. Any field may be missing, and the body may be no JSON at all.
///
/// <https://docs.snowflake.com/en/developer-guide/sql-api/reference> (`QueryStatus`, `QueryFailureStatus`)
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Status {
    pub(crate) code: Option<String>,
    pub(crate) sql_state: Option<String>,
    pub(crate) message: Option<String>,
    pub(crate) statement_handle: Option<String>,
}

/// An answer that is no success: where, its HTTP status, what its body says.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) place: String,
    pub(crate) http: u16,
    pub(crate) status: Status,
}

impl Problem {
    pub(crate) async fn read(response: Response) -> Self {
        let (place, http) = (response.place(), response.status());
        let status = serde_json::from_slice(&response.error_body().await).unwrap_or_default();
        Self { place, http, status }
    }

    pub(crate) fn code(&self) -> &str {
        self.status.code.as_deref().unwrap_or_default()
    }

    /// Whether the handle is unknown, or its result is gone.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(self.code(), "000709" | "000710")
    }

    pub(crate) fn failure(&self) -> Failure {
        let state = self.status.sql_state.as_deref().unwrap_or_default();
        let verdict = judge(self.code(), state, self.http);
        let mut message = format!("{}: {}", self.place, verdict.what);
        message.push_str(&format!(" ({})", self.reference(state)));
        if let Some(text) = self.status.message.as_deref().filter(|_| verdict.quotable) {
            message.push_str(": ");
            message.push_str(&one_line(text));
        }
        let failure = Failure::new(verdict.class, message);
        match self.login_failure_id() {
            Some(id) => failure.hint(format!(
                "ask Snowflake for the reason: SELECT SYSTEM$GET_LOGIN_FAILURE_DETAILS('{id}'); {}",
                verdict.hint
            )),
            None if verdict.hint.is_empty() => failure,
            None => failure.hint(verdict.hint),
        }
    }

    fn reference(&self, state: &str) -> String {
        match (self.code(), state) {
            ("", _) => format!("HTTP {}", self.http),
            (code, "") => format!("code {code}, HTTP {}", self.http),
            (code, state) => format!("code {code}, sqlState {state}"),
        }
    }

    /// The id in brackets that ends the message of a refused login.
    fn login_failure_id(&self) -> Option<&str> {
        if !is_login(self.code()) {
            return None;
        }
        let (_, id) = self
            .status
            .message
            .as_deref()?
            .trim_end_matches(['.', ' '])
            .strip_suffix(']')?
            .rsplit_once('[')?;
        let legal = id.len() <= 64 && id.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
        legal.then_some(id)
    }
}

fn is_login(code: &str) -> bool {
    code == "390144" || (code.starts_with("3943") && code.len() == 6)
}

fn one_line(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().take(LONGEST_MESSAGE).collect()
}

struct Verdict {
    class: Class,
    what: &'static str,
    quotable: bool,
    hint: &'static str,
}

const fn quoted(class: Class, what: &'static str, hint: &'static str) -> Verdict {
    Verdict { class, what, quotable: true, hint }
}

const fn bare(class: Class, what: &'static str, hint: &'static str) -> Verdict {
    Verdict { class, what, quotable: false, hint }
}

const NAME_HINT: &str = "check the case of the name, the role and the default schema, then the name itself: \
                         unquoted names are upper-case, and a role without rights sees nothing";
const KEY_HINT: &str = "compare RSA_PUBLIC_KEY_FP of DESC USER with the key in the secret, and `account` and \
                        `user` with the account";

fn judge(code: &str, state: &str, http: u16) -> Verdict {
    by_code(code).or_else(|| by_state(state)).unwrap_or_else(|| by_http(http))
}

/// <https://docs.snowflake.com/en/developer-guide/sql-api/handling-responses>
fn by_code(code: &str) -> Option<Verdict> {
    use Class::{Bug, Configuration, Contention, Transient};
    Some(match code {
        "333333" | "333334" => bare(Transient, "the statement is still running", ""),
        "391908" => {
            quoted(Configuration, "the result was cut short", "read fewer columns or rows in the model")
        }
        "391903" | "391917" | "390142" => quoted(Bug, "the request is not understood", ""),
        "391911" => {
            quoted(Configuration, "the statement is of a kind the API does not run", "write one SELECT")
        }
        "000008" => quoted(Configuration, "the model is more than one statement", "write one SELECT"),
        "391920" => quoted(Configuration, "no warehouse or database is set", "set `warehouse` in the sync"),
        "390505" => quoted(Transient, "too many requests", ""),
        "000603" => quoted(Transient, "Snowflake had an internal error", ""),
        "000604" | "000605" => bare(
            Configuration,
            "the statement was cancelled",
            "look for a resource monitor, then start a new run",
        ),
        "000606" => {
            quoted(Configuration, "the warehouse cannot run", "resume it, and look for a resource monitor")
        }
        "000615" => bare(Transient, "the transaction was aborted", ""),
        "000625" => bare(Contention, "too many statements wait for a table", ""),
        "000630" => {
            bare(Configuration, "the statement timed out", "make the model faster or raise `timeout_seconds`")
        }
        // Asking for the same handle again cannot help, and a run has only one.
        "000709" => bare(Configuration, "the statement handle is not known", "start a new run"),
        "000710" => {
            bare(Configuration, "the result has expired", "start a new run: results are kept for 24 hours")
        }
        "002003" | "002043" => {
            quoted(Configuration, "an object does not exist or the role may not see it", NAME_HINT)
        }
        "000904" => quoted(
            Configuration,
            "the model is not valid SQL",
            "`key` and `mapping` name columns of the model: correct the name, and put it in double quotes where \
             it is not upper-case; inside of a query, run it in a worksheet",
        ),
        "001003" | "001795" | "002049" | "002139" | "002140" => quoted(
            Configuration,
            "the model is not valid SQL",
            "run it in a worksheet with the role of the sync",
        ),
        "003001" => quoted(Configuration, "the role lacks a privilege", "grant it, or set another `role`"),
        "100035" | "100037" | "100038" | "100040" | "100069" => {
            bare(Configuration, "a value of the source cannot be converted", "use TRY_TO_… in the model")
        }
        "390100" | "390144" => quoted(Configuration, "the login is refused", KEY_HINT),
        "390189" => {
            quoted(Configuration, "the role is not granted to the user", "grant it, or set another `role`")
        }
        "390201" => quoted(Configuration, "warehouse, database or role does not exist", NAME_HINT),
        login if is_login(login) => quoted(Configuration, "the login is refused", KEY_HINT),
        _ => return None,
    })
}

fn by_state(state: &str) -> Option<Verdict> {
    use Class::{Configuration, Transient};
    let class = state.get(..2)?;
    Some(match (class, state) {
        (_, "57P03" | "57014") | ("08" | "XX", _) => {
            bare(Transient, "Snowflake could not finish the statement", "")
        }
        ("22" | "23", _) => bare(
            Configuration,
            "the data of the source breaks the statement",
            "run the model in a worksheet to see the value",
        ),
        ("42" | "02", _) => quoted(Configuration, "the model cannot be run", ""),
        ("0A", _) => quoted(Configuration, "the model uses what Snowflake does not support", ""),
        _ => return None,
    })
}

fn by_http(http: u16) -> Verdict {
    use Class::Configuration;
    match http {
        300..=399 => bare(
            Configuration,
            "the host answers with a redirect",
            "check `account` and `host` in the secret",
        ),
        401 => bare(Configuration, "the login is refused", KEY_HINT),
        403 => {
            bare(Configuration, "access is refused", "look for a network policy that keeps this address out")
        }
        404 => bare(Configuration, "nothing is there", "check `account` and `host` in the secret"),
        408 => {
            bare(Configuration, "the statement timed out", "make the model faster or raise `timeout_seconds`")
        }
        429 => bare(Class::Transient, "too many requests", ""),
        500.. => bare(class_of_status(http), "Snowflake is not available", ""),
        _ => bare(class_of_status(http), "the request is refused", ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(http: u16, code: &str, state: &str, message: &str) -> Failure {
        let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let status = Status {
            code: text(code),
            sql_state: text(state),
            message: text(message),
            statement_handle: None,
        };
        Problem { place: "`GET host/path`".to_owned(), http, status }.failure()
    }

    #[test]
    fn classes_of_codes() {
        use Class::{Bug, Configuration, Contention, Transient};
        for (http, code, state, class) in [
            (422, "000904", "42000", Configuration),
            (422, "002003", "02000", Configuration),
            (422, "000606", "57P03", Configuration),
            (422, "000604", "57014", Configuration),
            (422, "000625", "57014", Contention),
            (422, "000630", "57014", Configuration),
            (422, "000710", "02000", Configuration),
            (422, "000603", "XX000", Transient),
            (422, "100038", "22018", Configuration),
            (422, "777777", "57P03", Transient),
            (422, "777777", "08001", Transient),
            (422, "777777", "42501", Configuration),
            (422, "777777", "", Configuration),
            (400, "391917", "", Bug),
            (415, "", "", Bug),
            (429, "390505", "", Transient),
            (429, "", "", Transient),
            (503, "", "", Transient),
            (522, "", "", Configuration),
            (408, "000630", "", Configuration),
            (401, "394304", "", Configuration),
            (301, "", "", Configuration),
        ] {
            assert_eq!(failure(http, code, state, "x").class, class, "{http} {code} {state}");
        }
    }

    #[test]
    fn a_message_about_data_is_kept_back() {
        for (code, state) in
            [("100038", "22018"), ("777777", "22000"), ("777777", "23001"), ("777777", ""), ("", "")]
        {
            let failure = failure(422, code, state, "Numeric value 'SECRET ROW' is not recognized");
            assert!(!failure.to_string().contains("SECRET ROW"), "{failure}");
        }
        let failure = failure(422, "000904", "42000", "SQL compilation error:\ninvalid identifier 'NAMEX'");
        assert_eq!(
            failure.message,
            "`GET host/path`: the model is not valid SQL (code 000904, sqlState 42000): \
             SQL compilation error: invalid identifier 'NAMEX'"
        );
    }

    #[test]
    fn a_refused_login_names_the_question_to_ask() {
        let id = "5dc5d0ab-9f1c-4ae9-8ac3-2e32a1a1a1a1";
        let hint = failure(401, "390144", "", &format!("JWT token is invalid. [{id}]")).hint.unwrap();
        assert!(hint.contains(&format!("SYSTEM$GET_LOGIN_FAILURE_DETAILS('{id}')")), "{hint}");
        let hint = failure(401, "390144", "", "JWT token is invalid. ['); DROP]").hint.unwrap();
        assert!(!hint.contains("DROP") && hint.contains("RSA_PUBLIC_KEY_FP"), "{hint}");
    }
}

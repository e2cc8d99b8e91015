//! The routes of the SQL API.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path, Query, State as Shared};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

use super::auth::{refusal, verify};
use super::catalog::Session;
use super::engine::{Shape, needs_session, parse};
use super::error::SqlError;
use super::kind::{Kind, Zone};
use super::query::Bindings;
use super::result::Outcome;
use super::statements::{Entry, State, Submitted};
use super::{Account, calendar};

/// The only keys `parameters` may hold.
const PARAMETERS: [&str; 13] = [
    "binary_output_format",
    "client_result_chunk_size",
    "date_output_format",
    "multi_statement_count",
    "query_tag",
    "rows_per_resultset",
    "time_output_format",
    "timestamp_output_format",
    "timestamp_ltz_output_format",
    "timestamp_ntz_output_format",
    "timestamp_tz_output_format",
    "timezone",
    "use_cached_result",
];

/// The longest a statement may run: what `timeout: 0` stands for.
const LONGEST: u64 = 604_800;

type Params = Query<HashMap<String, String>>;

/// A response that ends a request early. Boxed: it is far larger than what a step returns otherwise.
type Early<T> = Result<T, Box<Response>>;

#[derive(Deserialize)]
struct Submission {
    statement: String,
    timeout: Option<u64>,
    database: Option<String>,
    schema: Option<String>,
    warehouse: Option<String>,
    role: Option<String>,
    #[serde(default)]
    bindings: BTreeMap<String, Binding>,
    #[serde(default)]
    parameters: Map<String, Json>,
}

#[derive(Deserialize)]
struct Binding {
    #[serde(rename = "type")]
    kind: String,
    value: Option<String>,
}

/// Everything needed to run a submission.
struct Work {
    handle: String,
    text: String,
    session: Session,
    bindings: Bindings,
    shape: Shape,
    timeout: Duration,
    /// `MULTI_STATEMENT_COUNT`
    count: Option<usize>,
}

/// The routes; unknown paths answer 404, wrong methods 405, both without a body.
pub(crate) fn router(account: Arc<Account>) -> Router {
    Router::new()
        .route("/api/v2/statements", post(submit))
        .route("/api/v2/statements/{handle}", get(status))
        .route("/api/v2/statements/{handle}/cancel", post(cancel))
        .layer(DefaultBodyLimit::disable())
        .with_state(account)
}

async fn submit(
    Shared(account): Shared<Arc<Account>>,
    Query(query): Params,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    match accept(&account, &query, &headers, &body) {
        Ok(Accepted::Known(handle)) => answer_status(&account, &handle),
        Ok(Accepted::New(work)) => {
            let handle = work.handle.clone();
            let wait = (!flag(&query, "async")).then_some(account.config.sync_window);
            run(&account, *work, wait).await.unwrap_or_else(|| answer_status(&account, &handle))
        }
        Err(response) => *response,
    }
}

enum Accepted {
    /// Was submitted before with this request id.
    Known(String),
    New(Box<Work>),
}

fn flag(query: &HashMap<String, String>, name: &str) -> bool {
    query.get(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

/// Checks a submission in the order of the real service and registers it.
fn accept(
    account: &Arc<Account>,
    query: &HashMap<String, String>,
    headers: &HeaderMap,
    body: &[u8],
) -> Early<Accepted> {
    authenticate(account, headers)?;
    let media = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if media.split(';').next().is_none_or(|kind| kind.trim() != "application/json") {
        return Err(plain(415, "391902", "Unsupported Content-Type header. Use application/json."));
    }
    let submission: Submission = serde_json::from_slice(body).map_err(|error| {
        plain(400, "390142", &format!("Incoming request does not contain a valid payload: {error}"))
    })?;
    let parameters = lower_case(&submission.parameters)?;
    let request_id = query.get("requestId").cloned();
    if flag(query, "retry")
        && let Some(handle) = request_id.as_ref().and_then(|request| account.statements().by_request(request))
    {
        return Ok(Accepted::Known(handle));
    }
    let session = session(account, &submission).map_err(|error| failure(&error, None))?;
    let bindings = bindings(&submission.bindings).map_err(|error| failure(&error, None))?;
    let text = |name: &str| {
        parameters.get(name).map(|value| value.as_str().map_or(value.to_string(), str::to_owned))
    };
    let submitted = Submitted {
        handle: String::new(),
        statement: submission.statement.clone(),
        request_id,
        query_tag: text("query_tag"),
        role: session.role.clone(),
        warehouse: session.warehouse.clone(),
        timeout: submission.timeout,
    };
    let polls = account.config.polls_before_done;
    let timeout = submission.timeout.filter(|seconds| *seconds > 0).unwrap_or(LONGEST);
    let nullable = !query.get("nullable").is_some_and(|value| value.eq_ignore_ascii_case("false"));
    Ok(Accepted::New(Box::new(Work {
        handle: account.statements().add(submitted, if flag(query, "async") { polls } else { 0 }),
        text: submission.statement,
        session,
        bindings,
        shape: Shape { partition_rows: account.config.partition_rows, nullable },
        timeout: Duration::from_secs(timeout),
        count: text("multi_statement_count").and_then(|count| count.parse().ok()),
    })))
}

fn lower_case(parameters: &Map<String, Json>) -> Early<HashMap<String, &Json>> {
    let mut out = HashMap::new();
    for (key, value) in parameters {
        let lower = key.to_lowercase();
        if !PARAMETERS.contains(&lower.as_str()) {
            return Err(plain(400, "391917", &format!("Parameter {key} is not supported by the SQL API.")));
        }
        if lower == "query_tag" && value.as_str().is_some_and(|tag| tag.chars().count() > 2000) {
            return Err(plain(400, "391917", "The value of QUERY_TAG is longer than 2000 characters."));
        }
        out.insert(lower, value);
    }
    Ok(out)
}

/// Exact names: an unknown warehouse, role, database or schema is 390201.
fn session(account: &Account, submission: &Submission) -> Result<Session, SqlError> {
    let mut session = account.session();
    let missing = |what: &str, name: &str| {
        let message = format!("The requested {what} '{name}' does not exist or not authorized.");
        SqlError::new("390201", "08004", message)
    };
    let config = &account.config;
    let wanted = |name: &Option<String>| name.clone().filter(|name| !name.is_empty());
    if let Some(warehouse) = wanted(&submission.warehouse) {
        if !config.warehouses.contains(&warehouse) {
            return Err(missing("warehouse", &warehouse));
        }
        session.warehouse = Some(warehouse);
    }
    if let Some(role) = wanted(&submission.role) {
        if !config.roles.contains(&role) {
            return Err(missing("role", &role));
        }
        session.role = role;
    }
    let engine = account.engine();
    if let Some(database) = wanted(&submission.database) {
        if !engine.catalog.has_database(&database) {
            return Err(missing("database", &database));
        }
        session.schema = Some("PUBLIC".to_owned());
        session.database = Some(database);
    }
    if let Some(schema) = wanted(&submission.schema) {
        let database = session.database.clone().unwrap_or_default();
        if !engine.catalog.has_schema(&database, &schema) {
            return Err(missing("schema", &schema));
        }
        session.schema = Some(schema);
    }
    Ok(session)
}

/// Bound values by position; dates are milliseconds, times and timestamps nanoseconds.
fn bindings(bindings: &BTreeMap<String, Binding>) -> Result<Bindings, SqlError> {
    let mut out = Vec::new();
    for position in 1..=bindings.len() {
        let unset =
            || SqlError::compilation("002049", "42601", format!("Bind variable ?{position} not set."));
        let binding = bindings.get(&position.to_string()).ok_or_else(unset)?;
        let Some(value) = &binding.value else {
            out.push((Kind::Null, None));
            continue;
        };
        out.push(bound(&binding.kind.to_uppercase(), value)?);
    }
    Ok(out)
}

fn bound(kind: &str, value: &str) -> Result<(Kind, Option<String>), SqlError> {
    use super::decimal::Decimal;
    let wrong = || SqlError::new("100037", "22018", format!("Value '{value}' cannot be converted to {kind}"));
    let nanos = |value: &str| {
        let nanos = value.parse::<i128>().map_err(|_| wrong())?;
        Ok::<String, SqlError>(Decimal { unscaled: nanos, scale: 9 }.to_string())
    };
    let (kind, text) = match kind {
        "TEXT" => (Kind::Text(u32::try_from(value.chars().count()).unwrap_or(u32::MAX)), value.to_owned()),
        "FIXED" => {
            let number = Decimal::parse(value).ok_or_else(wrong)?;
            let precision = u8::try_from(number.digits()).unwrap_or(38).max(number.scale).clamp(1, 38);
            (Kind::number(precision, number.scale), number.to_string())
        }
        "REAL" if value.parse::<f64>().is_ok() => (Kind::Real, value.to_owned()),
        "BOOLEAN" if matches!(value, "true" | "false") => (Kind::Boolean, value.to_owned()),
        "BINARY" => (Kind::Binary(8_388_608), value.to_uppercase()),
        "DATE" => {
            let millis = value.parse::<i64>().map_err(|_| wrong())?;
            (Kind::Date, millis.div_euclid(86_400_000).to_string())
        }
        "TIME" => (Kind::Time(9), nanos(value)?),
        "TIMESTAMP_NTZ" => (Kind::Timestamp(Zone::Ntz, 9), nanos(value)?),
        "TIMESTAMP_LTZ" => (Kind::Timestamp(Zone::Ltz, 9), nanos(value)?),
        "TIMESTAMP_TZ" => {
            let (instant, offset) = value.split_once(' ').ok_or_else(wrong)?;
            let stored = format!("{} {offset}", nanos(instant)?);
            (Kind::Timestamp(Zone::Tz, 9), calendar::convert(&stored, Zone::Tz, Zone::Tz, 9)?)
        }
        _ => return Err(wrong()),
    };
    Ok((kind, Some(text)))
}

fn authenticate(account: &Account, headers: &HeaderMap) -> Early<()> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if text("user-agent").is_empty() {
        return Err(plain(400, "391903", "User-Agent header is missing."));
    }
    let token = text("authorization").strip_prefix("Bearer ").unwrap_or_default();
    let kind = text("x-snowflake-authorization-token-type");
    let (pat, workload) = (token == account.pat, token.starts_with("WIF."));
    let fits = match (pat, workload) {
        (true, _) => ["", "PROGRAMMATIC_ACCESS_TOKEN"],
        (_, true) => ["", "WORKLOAD_IDENTITY_FEDERATION"],
        _ => ["", "KEYPAIR_JWT"],
    };
    let known =
        account.config.workload_token.as_ref().is_some_and(|known| token == format!("WIF.AWS.{known}"));
    let checked = if !fits.contains(&kind) || (workload && !known) {
        Err(refusal("390144", "JWT token is invalid"))
    } else if pat || workload {
        Ok(())
    } else {
        verify(token, &account.config.account, &account.config.user, &account.keys())
    };
    checked.map_err(|refusal| plain(401, refusal.code, &refusal.message))
}

/// Starts the work and waits for it if asked. Only a statement that was too slow is answered here, with 408.
async fn run(account: &Arc<Account>, work: Work, wait: Option<Duration>) -> Option<Response> {
    let handle = work.handle.clone();
    let mut finished = account.statements().get(&handle)?.watch();
    let background = account.clone();
    tokio::spawn(async move {
        let time = background.config.statement_time;
        let late = time > work.timeout;
        tokio::time::sleep(time.min(work.timeout)).await;
        let _ = tokio::task::spawn_blocking(move || {
            let state = if late { State::Failed(timed_out()) } else { execute(&background, &work) };
            background.statements().finish(&work.handle, state);
        })
        .await;
    });
    let window = wait?;
    let _ = tokio::time::timeout(window, finished.wait_for(|done| *done)).await;
    let mut statements = account.statements();
    let entry = statements.get(&handle)?;
    match &entry.state {
        State::Failed(error) if error.code == "000630" => {
            Some(json_response(408, &query_status(entry, "000630", &error.message)))
        }
        _ => None,
    }
}

fn timed_out() -> SqlError {
    SqlError::new("000630", "57014", "Statement reached its statement or warehouse timeout and was canceled.")
}

fn execute(account: &Account, work: &Work) -> State {
    let cancelled =
        !account.statements().get(&work.handle).is_some_and(|entry| matches!(entry.state, State::Running));
    if cancelled {
        return State::Failed(SqlError::new("000604", "57014", "SQL execution canceled"));
    }
    match executed(account, work) {
        Ok(state) => state,
        Err(error) => State::Failed(error),
    }
}

fn executed(account: &Account, work: &Work) -> Result<State, SqlError> {
    let statements = parse(&work.text)?;
    let wanted = work.count.unwrap_or(1);
    if wanted != 0 && wanted != statements.len() {
        let message = format!(
            "Actual statement count {} did not match the desired statement count {wanted}.",
            statements.len()
        );
        return Err(SqlError::new("000008", "0A000", message));
    }
    if let ([statement], None | Some(1)) = (statements.as_slice(), work.count) {
        if needs_session(statement) {
            let message = "The requested statement type is not supported by the SQL API.";
            return Err(SqlError::new("391911", "0A000", message));
        }
        let outcome = account.engine().run(statement, &work.session, &work.bindings, work.shape)?;
        return Ok(State::Done(Arc::new(outcome)));
    }
    if !work.bindings.is_empty() {
        return Err(SqlError::unsupported("bindings with several statements"));
    }
    let mut children = Vec::new();
    for statement in &statements {
        let child = Submitted {
            handle: String::new(),
            statement: statement.to_string(),
            request_id: None,
            query_tag: None,
            role: work.session.role.clone(),
            warehouse: work.session.warehouse.clone(),
            timeout: None,
        };
        let handle = account.statements().add(child, 0);
        let result = account.engine().run(statement, &work.session, &work.bindings, work.shape);
        let failed = result.as_ref().err().cloned();
        let state = result.map_or_else(State::Failed, |outcome| State::Done(Arc::new(outcome)));
        account.statements().finish(&handle, state);
        children.push(handle);
        if let Some(error) = failed {
            let message = format!(
                "JavaScript execution error: Uncaught Execution of multiple statements failed on statement \"{statement}\". {}",
                error.message
            );
            return Err(SqlError::new("100132", "P0000", message));
        }
    }
    let cells = [(
        "multiple statement execution",
        Kind::text(),
        "Multiple statements executed successfully.".to_owned(),
    )];
    Ok(State::Parent(Arc::new(Outcome::row(&cells, None)), children))
}

async fn status(
    Shared(account): Shared<Arc<Account>>,
    Path(handle): Path<String>,
    Query(query): Params,
    headers: HeaderMap,
) -> Response {
    if let Err(response) = authenticate(&account, &headers) {
        return *response;
    }
    match query.get("partition").map(|partition| partition.parse::<usize>()) {
        None | Some(Ok(0)) => poll(&account, &handle),
        Some(Ok(partition)) => piece(&account, &handle, partition),
        Some(Err(_)) => *plain(400, "391900", "The partition is not a number."),
    }
}

fn poll(account: &Account, handle: &str) -> Response {
    let response = answer_status(account, handle);
    if let Some(entry) = account.statements().get(handle) {
        entry.polls = entry.polls.saturating_sub(1);
    }
    response
}

/// The state of a statement: running, failed, or finished with partition 0.
fn answer_status(account: &Account, handle: &str) -> Response {
    let mut statements = account.statements();
    let entry = match known(statements.get(handle), account, handle) {
        Ok(entry) => entry,
        Err(response) => return *response,
    };
    if entry.running() {
        let message = "Asynchronous execution in progress. Use provided query id to perform query monitoring and management.";
        return json_response(202, &query_status(entry, "333334", message));
    }
    match &entry.state {
        State::Failed(error) => *failure(error, Some(entry)),
        State::Done(outcome) => finished(entry, outcome, None),
        State::Parent(outcome, children) => finished(entry, outcome, Some(children)),
        State::Running => *plain(500, "000603", "unreachable state"),
    }
}

fn known<'e>(entry: Option<&'e mut Entry>, account: &Account, handle: &str) -> Early<&'e mut Entry> {
    let entry = entry.ok_or_else(|| {
        failure(&SqlError::new("000709", "02000", format!("Statement {handle} not found")), None)
    })?;
    if entry.expired(account.config.result_expiry) {
        let error = SqlError::new("000710", "02000", format!("Result for query {handle} has expired"));
        return Err(failure(&error, Some(entry)));
    }
    Ok(entry)
}

fn piece(account: &Account, handle: &str, partition: usize) -> Response {
    let mut statements = account.statements();
    let entry = match known(statements.get(handle), account, handle) {
        Ok(entry) => entry,
        Err(response) => return *response,
    };
    if entry.running() {
        return json_response(202, &query_status(entry, "333334", "Asynchronous execution in progress."));
    }
    let outcome = match &entry.state {
        State::Done(outcome) | State::Parent(outcome, _) => outcome,
        State::Failed(error) => return *failure(error, Some(entry)),
        State::Running => return *plain(500, "000603", "unreachable state"),
    };
    let Some(partition) = outcome.partitions.get(partition) else {
        let error = SqlError::new("391920", "42000", format!("Partition {partition} does not exist"));
        return *failure(&error, Some(entry));
    };
    Response::builder()
        .status(StatusCode::OK)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::CONTENT_ENCODING, "gzip")
        .body(Body::from(partition.body.clone()))
        .expect("the headers are constants")
}

async fn cancel(
    Shared(account): Shared<Arc<Account>>,
    Path(handle): Path<String>,
    headers: HeaderMap,
) -> Response {
    if let Err(response) = authenticate(&account, &headers) {
        return *response;
    }
    let mut statements = account.statements();
    if !statements.cancel(&handle) {
        return *failure(&SqlError::new("000709", "02000", format!("Statement {handle} not found")), None);
    }
    let body = json!({
        "code": "000604",
        "sqlState": "57014",
        "message": "successfully canceled",
        "statementHandle": handle,
        "statementStatusUrl": format!("/api/v2/statements/{handle}"),
    });
    json_response(200, &body)
}

fn finished(entry: &Entry, outcome: &Outcome, children: Option<&Vec<String>>) -> Response {
    let mut head = query_status(entry, "090001", "Statement executed successfully.");
    head["sqlState"] = json!("00000");
    head["createdOn"] = json!(entry.created);
    head["resultSetMetaData"] = outcome.metadata();
    if let Some(stats) = outcome.stats {
        head["stats"] = stats.json();
    }
    if let Some(children) = children {
        head["statementHandles"] = json!(children);
    }
    let mut body = head.to_string().into_bytes();
    body.pop();
    body.extend_from_slice(b",\"data\":");
    body.extend_from_slice(outcome.partitions.first().map_or(b"[]", |partition| partition.body.as_ref()));
    body.push(b'}');
    raw(200, body)
}

fn query_status(entry: &Entry, code: &str, message: &str) -> Json {
    json!({
        "code": code,
        "message": message,
        "statementHandle": entry.submitted.handle,
        "statementStatusUrl": status_url(&entry.submitted),
    })
}

fn status_url(submitted: &Submitted) -> String {
    let handle = &submitted.handle;
    match &submitted.request_id {
        Some(request) => format!("/api/v2/statements/{handle}?requestId={request}"),
        None => format!("/api/v2/statements/{handle}"),
    }
}

fn failure(error: &SqlError, entry: Option<&Entry>) -> Box<Response> {
    let mut body = json!({ "code": error.code, "sqlState": error.state, "message": error.message });
    if let Some(entry) = entry {
        body["statementHandle"] = json!(entry.submitted.handle);
        body["createdOn"] = json!(entry.created);
        body["statementStatusUrl"] = json!(status_url(&entry.submitted));
    }
    Box::new(json_response(422, &body))
}

fn plain(status: u16, code: &str, message: &str) -> Box<Response> {
    Box::new(json_response(status, &json!({ "code": code, "message": message })))
}

fn json_response(status: u16, body: &Json) -> Response {
    raw(status, body.to_string().into_bytes())
}

fn raw(status: u16, body: Vec<u8>) -> Response {
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(body))
        .expect("the statuses are constants")
}

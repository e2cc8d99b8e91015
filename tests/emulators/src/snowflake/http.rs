//! The routes of the SQL API.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{DefaultBodyLimit, Path, Query, State as Shared};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Router, middleware};
use futures_util::{StreamExt as _, stream};
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

use super::Account;
use super::auth::{Issued, user_of};
use super::bind::{self, Binding};
use super::catalog::Session;
use super::engine::Shape;
use super::error::SqlError;
use super::parameters::Parameters;
use super::result::Outcome;
use super::run::{Work, execute};
use super::statements::{Entry, State, Submitted};

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

/// The routes; unknown paths answer 404, wrong methods 405, both without a body.
pub(crate) fn router(account: Arc<Account>) -> Router {
    Router::new()
        .route("/api/v2/statements", post(submit))
        .route("/api/v2/statements/{handle}", get(status))
        .route("/api/v2/statements/{handle}/cancel", post(cancel))
        .layer(middleware::map_response_with_state(account.clone(), slowly))
        .layer(DefaultBodyLimit::disable())
        .with_state(account)
}

/// Lets a body trickle in ten pieces, if the account is configured to.
async fn slowly(Shared(account): Shared<Arc<Account>>, response: Response) -> Response {
    let pause = account.config.body_pause;
    if pause.is_zero() {
        return response;
    }
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    let size = body.len() / 10 + 1;
    let starts: Vec<usize> = (0..body.len()).step_by(size).collect();
    let pieces = stream::iter(starts).then(move |start| {
        let piece = body.slice(start..body.len().min(start + size));
        async move {
            tokio::time::sleep(pause).await;
            Ok::<Bytes, Infallible>(piece)
        }
    });
    Response::from_parts(parts, Body::from_stream(pieces))
}

async fn submit(
    Shared(account): Shared<Arc<Account>>,
    Query(query): Params,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    match accept(&account, &query, &headers, &body) {
        Ok(Accepted::Known(handle, user)) => answer_status(&account, &handle, &user),
        Ok(Accepted::New(work, wait)) => {
            let (handle, user) = (work.handle.clone(), work.session.user.clone());
            let window = wait.then_some(account.config.sync_window);
            run(&account, *work, window).await.unwrap_or_else(|| answer_status(&account, &handle, &user))
        }
        Err(response) => *response,
    }
}

enum Accepted {
    /// Was submitted before with this request id, by this user.
    Known(String, String),
    /// Is to be run; whether its end is waited for.
    New(Box<Work>, bool),
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
    let user = authenticate(account, headers)?;
    let media = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if media.split(';').next().is_none_or(|kind| kind.trim() != "application/json") {
        return Err(plain(415, "391902", "Unsupported Content-Type header. Use application/json."));
    }
    let submission: Submission = serde_json::from_slice(body).map_err(|error| {
        plain(400, "390142", &format!("Incoming request does not contain a valid payload: {error}"))
    })?;
    let parameters =
        Parameters::read(&submission.parameters).map_err(|message| plain(400, "391917", &message))?;
    let request_id = query.get("requestId").cloned();
    if flag(query, "retry")
        && let Some(handle) =
            request_id.as_ref().and_then(|request| account.statements().by_request(&user, request))
    {
        return Ok(Accepted::Known(handle, user));
    }
    let session = session(account, &user, &submission).map_err(|error| failure(&error, None))?;
    let bindings = bind::read(&submission.bindings).map_err(|error| failure(&error, None))?;
    let submitted = Submitted {
        handle: String::new(),
        statement: submission.statement.clone(),
        user,
        request_id,
        query_tag: parameters.text("query_tag"),
        role: session.role.clone(),
        warehouse: session.warehouse.clone(),
        timeout: submission.timeout,
    };
    let timeout = submission.timeout.filter(|seconds| *seconds > 0).unwrap_or(LONGEST);
    let mut statements = account.statements();
    let wait = !flag(query, "async") && !statements.chance(account.config.surprise_202);
    let polls = if wait { 0 } else { account.config.polls_before_done };
    let work = Work {
        handle: statements.add(submitted, polls),
        text: submission.statement,
        session,
        bindings,
        shape: shape(account, query, &parameters),
        timeout: Duration::from_secs(timeout),
        count: parameters.number("multi_statement_count").and_then(|count| usize::try_from(count).ok()),
    };
    Ok(Accepted::New(Box::new(work), wait))
}

fn shape(account: &Account, query: &HashMap<String, String>, parameters: &Parameters) -> Shape {
    Shape {
        partition_rows: account.config.partition_rows,
        nullable: !query.get("nullable").is_some_and(|value| value.eq_ignore_ascii_case("false")),
        formats: parameters.formats(),
        most_rows: parameters.number("rows_per_resultset").filter(|rows| *rows > 0).unwrap_or(u64::MAX),
    }
}

/// Exact names: an unknown warehouse, role, database or schema is 390201.
fn session(account: &Account, user: &str, submission: &Submission) -> Result<Session, SqlError> {
    let mut session = Session { user: user.to_owned(), ..account.session() };
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

/// The user who sends a request.
fn authenticate(account: &Account, headers: &HeaderMap) -> Early<String> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if text("user-agent").is_empty() {
        return Err(plain(400, "391903", "User-Agent header is missing."));
    }
    let token = text("authorization").strip_prefix("Bearer ").unwrap_or_default();
    let kind = text("x-snowflake-authorization-token-type");
    let config = &account.config;
    let issued = Issued { access_token: &account.pat, workload_token: config.workload_token.as_deref() };
    user_of(token, kind, &config.account, &config.users(), &account.keys(), &issued)
        .map_err(|refusal| plain(401, refusal.code, &refusal.message))
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
    let Some(window) = wait else {
        return account.statements().get(&handle).map(|entry| running(202, entry));
    };
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

async fn status(
    Shared(account): Shared<Arc<Account>>,
    Path(handle): Path<String>,
    Query(query): Params,
    headers: HeaderMap,
) -> Response {
    let user = match authenticate(&account, &headers) {
        Ok(user) => user,
        Err(response) => return *response,
    };
    match query.get("partition").map(|partition| partition.parse::<usize>()) {
        None | Some(Ok(0)) => poll(&account, &handle, &user),
        Some(Ok(partition)) => piece(&account, &handle, &user, partition),
        Some(Err(_)) => *plain(400, "391900", "The partition is not a number."),
    }
}

fn poll(account: &Account, handle: &str, user: &str) -> Response {
    let mut response = answer_status(account, handle, user);
    let mut statements = account.statements();
    let busy = response.status() == 202 && statements.chance(account.config.busy_polls);
    if let Some(entry) = statements.owned(handle, user) {
        if busy {
            response = running(429, entry);
        }
        entry.polls = entry.polls.saturating_sub(1);
    }
    response
}

/// A statement that still runs: 202, or 429 when the service has no time to look.
fn running(status: u16, entry: &Entry) -> Response {
    let message = "Asynchronous execution in progress. Use provided query id to perform query monitoring and management.";
    json_response(status, &query_status(entry, "333334", message))
}

/// The state of a statement: running, failed, or finished with partition 0.
fn answer_status(account: &Account, handle: &str, user: &str) -> Response {
    let mut statements = account.statements();
    let entry = match known(statements.owned(handle, user), account, handle) {
        Ok(entry) => entry,
        Err(response) => return *response,
    };
    if entry.running() {
        return running(202, entry);
    }
    match &entry.state {
        State::Failed(error) => *failure(error, Some(entry)),
        State::Done(outcome) => finished(entry, outcome, None),
        State::Parent(outcome, children) => finished(entry, outcome, Some(children)),
        State::Running => *plain(500, "000603", "unreachable state"),
    }
}

fn known<'e>(entry: Option<&'e mut Entry>, account: &Account, handle: &str) -> Early<&'e mut Entry> {
    let entry = entry.ok_or_else(|| failure(&not_found(handle), None))?;
    if entry.expired(account.config.result_expiry) {
        let error = SqlError::new("000710", "02000", format!("Result for query {handle} has expired"));
        return Err(failure(&error, Some(entry)));
    }
    Ok(entry)
}

fn not_found(handle: &str) -> SqlError {
    SqlError::new("000709", "02000", format!("Statement {handle} not found"))
}

fn piece(account: &Account, handle: &str, user: &str, number: usize) -> Response {
    let mut statements = account.statements();
    let entry = match known(statements.owned(handle, user), account, handle) {
        Ok(entry) => entry,
        Err(response) => return *response,
    };
    if entry.running() {
        return running(202, entry);
    }
    let outcome = match &entry.state {
        State::Done(outcome) | State::Parent(outcome, _) => outcome,
        State::Failed(error) => return *failure(error, Some(entry)),
        State::Running => return *plain(500, "000603", "unreachable state"),
    };
    let Some(partition) = outcome.partitions.get(number) else {
        let error = SqlError::new("391920", "42000", format!("Partition {number} does not exist"));
        return *failure(&error, Some(entry));
    };
    Response::builder()
        .status(StatusCode::OK)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::CONTENT_ENCODING, "gzip")
        .header(header::LINK, link(entry, number, outcome.partitions.len()))
        .body(Body::from(partition.body.clone()))
        .expect("the headers are made of digits and a handle")
}

/// The `Link` header. The examples of the documentation disagree about where a relation stands: inside the angle
/// brackets in the answer to a submission, behind them in that to a partition. So do these.
fn link(entry: &Entry, at: usize, partitions: usize) -> String {
    let last = partitions.saturating_sub(1);
    let relations = [
        Some(("first", 0)),
        at.checked_sub(1).map(|before| ("prev", before)),
        (at < last).then_some(("next", at + 1)),
        Some(("last", last)),
    ];
    let handle = &entry.submitted.handle;
    let address = |(relation, number): (&str, usize)| {
        let url = format!("/api/v2/statements/{handle}?partition={number}");
        if at == 0 { format!("<{url};rel=\"{relation}\">") } else { format!("<{url}>; rel=\"{relation}\"") }
    };
    relations.into_iter().flatten().map(address).collect::<Vec<_>>().join(",")
}

async fn cancel(
    Shared(account): Shared<Arc<Account>>,
    Path(handle): Path<String>,
    headers: HeaderMap,
) -> Response {
    let user = match authenticate(&account, &headers) {
        Ok(user) => user,
        Err(response) => return *response,
    };
    let mut statements = account.statements();
    if !statements.cancel(&handle, &user) {
        return *failure(&not_found(&handle), None);
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
    let mut response = raw(200, body);
    let link = HeaderValue::from_str(&link(entry, 0, outcome.partitions.len()));
    response.headers_mut().extend(link.ok().map(|link| (header::LINK, link)));
    response
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

//! Bulk API 2.0 query jobs, and the cursors of paged queries.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use axum::http::HeaderValue;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use super::http::{Incoming, empty_reply, error, json_reply, method_not_allowed, not_found, streamed};
use super::jobs::KEPT;
use super::results::quote;
use super::soql::{self, Query};
use super::usage::DAY;
use super::value::stamp_ms;
use super::{Shared, ids};

/// Ids of query jobs start here, so that they never meet those of ingest jobs.
const FIRST: u64 = 1 << 40;
/// Rows on a page unless the client says otherwise.
const PAGE: usize = 50_000;
/// Addresses of pages in one answer.
const ADDRESSES: usize = 5;
/// How long a cursor lives, in milliseconds.
const CURSOR_KEPT: i64 = 2 * DAY;

/// Query jobs and cursors of an org.
#[derive(Debug, Default)]
pub(crate) struct Queries {
    jobs: BTreeMap<u64, QueryJob>,
    last: u64,
    pub(crate) cursors: HashMap<String, Cursor>,
}

impl Queries {
    /// A cursor by name, if it still lives.
    pub(crate) fn cursor(&mut self, name: &str, now: i64) -> Option<Cursor> {
        self.cursors.retain(|_, cursor| cursor.made + CURSOR_KEPT > now);
        self.cursors.get(name).cloned()
    }

    fn add(&mut self, org: &Shared, version: &str, wish: &Wish, query: Query, all: bool) -> Value {
        self.last += 1;
        let (ordinal, now) = (FIRST + self.last, org.now());
        let job = QueryJob {
            id: ids::id("750", ordinal),
            all,
            query: Arc::new(query),
            created: now,
            modified: now,
            version: version.to_owned(),
            polls: 0,
            aborted: false,
            delimiter: delimiter(wish),
            ending: if wish.line_ending.as_deref() == Some("CRLF") { "\r\n" } else { "\n" },
            rows: None,
        };
        let shown = job.show(org);
        self.jobs.insert(ordinal, job);
        shown
    }

    /// Forgets jobs that ended a week ago.
    fn forget_old(&mut self, now: i64) {
        self.jobs.retain(|_, job| !job.is_terminal() || job.modified + KEPT > now);
    }
}

/// Rows of a query that was answered in part.
#[derive(Clone, Debug)]
pub(crate) struct Cursor {
    pub(crate) query: Arc<Query>,
    pub(crate) rows: Arc<Vec<u32>>,
    pub(crate) page: usize,
    /// When, in milliseconds since 1970.
    pub(crate) made: i64,
}

#[derive(Debug)]
struct QueryJob {
    id: String,
    all: bool,
    query: Arc<Query>,
    created: i64,
    modified: i64,
    version: String,
    polls: u32,
    aborted: bool,
    delimiter: u8,
    ending: &'static str,
    rows: Option<Arc<Vec<u32>>>,
}

impl QueryJob {
    fn is_terminal(&self) -> bool {
        self.aborted || self.rows.is_some()
    }

    fn state(&self, org: &Shared) -> &'static str {
        let queued = org.config.queued.polls;
        match self.polls {
            _ if self.aborted => "Aborted",
            _ if self.rows.is_some() => "JobComplete",
            polls if polls < queued.max(1) => "UploadComplete",
            _ => "InProgress",
        }
    }

    fn show(&self, org: &Shared) -> Value {
        let mut whole = json!({
            "id": self.id, "operation": if self.all { "queryAll" } else { "query" },
            "object": org.schema.objects[self.query.object].name, "createdById": ids::id("005", 1),
            "createdDate": stamp_ms(self.created), "systemModstamp": stamp_ms(self.modified),
            "state": self.state(org), "concurrencyMode": "Parallel", "contentType": "CSV",
            "apiVersion": self.version.parse::<serde_json::Number>().ok(),
            "lineEnding": if self.ending == "\n" { "LF" } else { "CRLF" }, "jobType": "V2Query",
        });
        if let Some(rows) = &self.rows {
            whole["numberRecordsProcessed"] = json!(rows.len());
            whole["retries"] = json!(0);
            whole["totalProcessingTime"] = json!(1);
            whole["isPkChunkingSupported"] = json!(true);
        }
        whole
    }
}

/// Answers a request below `/jobs/query`.
pub(crate) fn route(org: &Arc<Shared>, version: &str, request: &Incoming, parts: &[&str]) -> Response {
    org.queries().forget_old(org.now());
    let answer = check_version(org, version, parts).and_then(|()| match (request.method.as_str(), parts) {
        ("POST", []) => create(org, version, request),
        ("GET", [id]) => poll(org, id),
        ("PATCH", [id]) => abort(org, id, request),
        ("DELETE", [id]) => delete(org, id),
        ("GET", [id, "results"]) => results(org, id, request),
        ("GET", [id, "resultPages"]) => pages(org, version, id, request),
        (method, _) => Err(method_not_allowed(method)),
    });
    answer.unwrap_or_else(|refused| refused)
}

/// A job is reached in the version that made it only.
fn check_version(org: &Arc<Shared>, version: &str, parts: &[&str]) -> Result<(), Response> {
    let [id, ..] = parts else { return Ok(()) };
    let same = find(&mut org.queries(), id)?.version == version;
    let message = "The job was created in another version of the API";
    same.then_some(()).ok_or_else(|| error(409, "API_ERROR", message))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wish {
    operation: String,
    query: String,
    column_delimiter: Option<String>,
    line_ending: Option<String>,
}

fn create(org: &Arc<Shared>, version: &str, request: &Incoming) -> Result<Response, Response> {
    let wish: Wish = request.json()?;
    let all = match wish.operation.as_str() {
        "query" => false,
        "queryAll" => true,
        other => {
            return Err(error(400, "INVALIDOPERATION", &format!("Operation '{other}' is not supported")));
        }
    };
    let query =
        soql::parse(&org.schema, &wish.query).map_err(|(code, message)| error(400, code, &message))?;
    if query.count {
        return Err(error(400, "API_ERROR", "COUNT() is not supported by query jobs"));
    }
    if org.usage.query_jobs.take(org.now(), 1).is_none() {
        return Err(error(400, "EXCEEDEDQUOTA", "DailyBulkV2QueryJobs Limit exceeded"));
    }
    let shown = org.queries().add(org, version, &wish, query, all);
    Ok(json_reply(200, &shown))
}

fn delimiter(wish: &Wish) -> u8 {
    match wish.column_delimiter.as_deref().unwrap_or("COMMA") {
        "TAB" => b'\t',
        "PIPE" => b'|',
        "SEMICOLON" => b';',
        "CARET" => b'^',
        "BACKQUOTE" => b'`',
        _ => b',',
    }
}

/// Shows a job; once it was asked for often enough, its query runs.
fn poll(org: &Arc<Shared>, id: &str) -> Result<Response, Response> {
    let mut queries = org.queries();
    let job = find(&mut queries, id)?;
    if job.polls >= org.config.queued.polls + org.config.running.polls && job.rows.is_none() && !job.aborted {
        job.rows = Some(Arc::new(job.query.run(&org.database(), job.all)));
        job.modified = org.now();
    }
    let shown = job.show(org);
    job.polls += 1;
    Ok(json_reply(200, &shown))
}

fn find<'q>(queries: &'q mut Queries, id: &str) -> Result<&'q mut QueryJob, Response> {
    ids::ordinal("750", id).and_then(|ordinal| queries.jobs.get_mut(&ordinal)).ok_or_else(not_found)
}

fn abort(org: &Arc<Shared>, id: &str, request: &Incoming) -> Result<Response, Response> {
    let wish: Value = request.json()?;
    if wish["state"] != "Aborted" {
        return Err(error(400, "INVALIDJOBSTATE", "A query job can only be aborted"));
    }
    let mut queries = org.queries();
    let job = find(&mut queries, id)?;
    if job.is_terminal() {
        return Err(error(400, "INVALIDJOBSTATE", "Aborting already Completed Job not allowed"));
    }
    job.aborted = true;
    job.modified = org.now();
    Ok(json_reply(200, &job.show(org)))
}

fn delete(org: &Arc<Shared>, id: &str) -> Result<Response, Response> {
    let mut queries = org.queries();
    let job = find(&mut queries, id)?;
    if !job.is_terminal() {
        let message = "Error encountered when deleting the job because the job is not terminated";
        return Err(error(400, "API_ERROR", message));
    }
    if let Some(ordinal) = ids::ordinal("750", id) {
        queries.jobs.remove(&ordinal);
    }
    Ok(empty_reply(204))
}

/// What a page of results needs.
struct Page {
    org: Arc<Shared>,
    query: Arc<Query>,
    rows: Arc<Vec<u32>>,
    next: usize,
    end: usize,
    delimiter: u8,
    ending: &'static str,
    headed: bool,
}

fn results(org: &Arc<Shared>, id: &str, request: &Incoming) -> Result<Response, Response> {
    let mut queries = org.queries();
    let job = find(&mut queries, id)?;
    let Some(rows) = job.rows.clone() else {
        return Err(error(400, "INVALIDJOBSTATE", "The job has not ended"));
    };
    let size = request.parameter("maxRecords").and_then(|size| size.parse().ok()).unwrap_or(PAGE).max(1);
    let start = start(request)?;
    let end = rows.len().min(start.saturating_add(size));
    let locator = if end < rows.len() { locate(end) } else { "null".to_owned() };
    let count = end.saturating_sub(start);
    let page = Page {
        org: Arc::clone(org),
        query: Arc::clone(&job.query),
        rows,
        next: start,
        end,
        delimiter: job.delimiter,
        ending: job.ending,
        headed: false,
    };
    let mut response = streamed(page, request.accepts_gzip());
    for (name, value) in [("sforce-locator", locator), ("sforce-numberofrecords", count.to_string())] {
        let value = HeaderValue::from_str(&value).expect("letters and digits make a valid header");
        response.headers_mut().insert(name, value);
    }
    Ok(response)
}

fn locate(row: usize) -> String {
    format!("MTA{row:x}")
}

fn unlocate(locator: &str) -> Option<usize> {
    usize::from_str_radix(locator.strip_prefix("MTA")?, 16).ok()
}

/// Where a page begins that the client asked for.
fn start(request: &Incoming) -> Result<usize, Response> {
    match request.parameter("locator").filter(|locator| !locator.is_empty()) {
        None => Ok(0),
        Some(locator) => {
            unlocate(locator).ok_or_else(|| error(400, "INVALID_QUERY_LOCATOR", "invalid locator"))
        }
    }
}

/// Addresses of the pages, to be fetched side by side.
fn pages(org: &Arc<Shared>, version: &str, id: &str, request: &Incoming) -> Result<Response, Response> {
    let mut queries = org.queries();
    let rows = find(&mut queries, id)?.rows.clone();
    let rows = rows.ok_or_else(|| error(400, "INVALIDJOBSTATE", "The job has not ended"))?;
    let base = format!("/services/data/v{version}/jobs/query/{id}");
    let mut starts = (start(request)?..rows.len().max(1)).step_by(PAGE);
    let page = |start: usize| json!({"resultUrl": format!("{base}/results?locator={}", locate(start))});
    let urls: Vec<Value> = starts.by_ref().take(ADDRESSES).map(page).collect();
    let next = starts.next().map(|start| format!("{base}/resultPages?locator={}", locate(start)));
    Ok(json_reply(200, &json!({"resultPages": urls, "done": next.is_none(), "nextRecordsUrl": next})))
}

impl Iterator for Page {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let mut text = Vec::new();
        if !self.headed {
            self.headed = true;
            self.line(&mut text, &self.query.names(&self.org.schema));
            return Some(text);
        }
        let database = self.org.database();
        let end = self.end.min(self.next + 500);
        for row in self.rows.get(self.next..end).unwrap_or_default() {
            self.line(&mut text, &self.query.cells(&database, *row));
        }
        drop(database);
        self.next = end;
        (!text.is_empty()).then_some(text)
    }
}

impl Page {
    fn line(&self, text: &mut Vec<u8>, cells: &[String]) {
        for (place, cell) in cells.iter().enumerate() {
            if place > 0 {
                text.push(self.delimiter);
            }
            quote(text, cell);
        }
        text.extend_from_slice(self.ending.as_bytes());
    }
}

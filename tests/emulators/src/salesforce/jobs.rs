//! Bulk API 2.0 ingest jobs: their life from creation to results.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use axum::response::Response;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::http::{
    Incoming, empty_reply, error, json_reply, method_not_allowed, not_found, streamed, text_reply,
};
use super::multipart::{is_multipart, parts};
use super::process::{Outcome, Plan, process};
use super::results::{Layout, Pieces, Results, Which};
use super::schema::{Kind, Object};
use super::usage::DAY;
use super::value::stamp_ms;
use super::write::Operation;
use super::{EmptyResults, Pace, Shared, ids};

/// How long a finished job can be asked for, in milliseconds.
pub(crate) const KEPT: i64 = 7 * DAY;
/// The most characters of data that may come along when a job is made.
const MULTIPART_LIMIT: usize = 100_000;
/// The first version in which failed rows tell the id of their record.
const FAILED_IDS: u32 = 53;
/// Jobs on one page of the list.
const PAGE: usize = 1_000;

/// Where a job is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobState {
    /// Takes the upload.
    Open,
    /// Queued.
    UploadComplete,
    /// At work.
    InProgress,
    /// All rows were attempted.
    JobComplete,
    /// A structural error, or the day's allocation is used up.
    Failed,
    /// Given up by its creator.
    Aborted,
}

impl JobState {
    /// The name in the API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "Open",
            Self::UploadComplete => "UploadComplete",
            Self::InProgress => "InProgress",
            Self::JobComplete => "JobComplete",
            Self::Failed => "Failed",
            Self::Aborted => "Aborted",
        }
    }

    fn is_terminal(self) -> bool {
        matches!(self, Self::JobComplete | Self::Failed | Self::Aborted)
    }
}

/// A job as a test sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobView {
    /// The job's id.
    pub id: String,
    /// The object's API name.
    pub object: String,
    /// As sent when the job was created.
    pub operation: String,
    /// Where the job is in its life.
    pub state: JobState,
    /// Rows attempted, failed ones among them.
    pub processed: usize,
    /// Rows refused.
    pub failed: usize,
    /// Bytes uploaded; `None` before the upload.
    pub uploaded: Option<usize>,
    /// SHA-256 of the upload in hexadecimal; `None` before the upload.
    pub sha256: Option<String>,
    /// The job's error message, if any.
    pub error: Option<String>,
}

#[derive(Debug)]
struct Job {
    id: String,
    ordinal: u64,
    object: usize,
    object_name: String,
    verb: String,
    operation: Operation,
    key: Option<String>,
    delimiter: &'static str,
    layout: Layout,
    version: String,
    state: JobState,
    created: i64,
    modified: i64,
    begun: Option<Instant>,
    active: Duration,
    upload: Option<Bytes>,
    received: Option<(usize, String)>,
    error: Option<String>,
    processed: usize,
    failed: usize,
    results: Option<Arc<Results>>,
    polls: watch::Sender<u32>,
    aborted: Arc<AtomicBool>,
}

/// All jobs of an org that have not been deleted.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    list: BTreeMap<u64, Job>,
    last: u64,
}

impl Jobs {
    /// Adds to a job's counters.
    pub(crate) fn progress(&mut self, ordinal: u64, rows: usize, failed: usize) {
        if let Some(job) = self.list.get_mut(&ordinal) {
            job.processed += rows;
            job.failed += failed;
        }
    }

    /// All jobs, oldest first.
    pub(crate) fn views(&self) -> Vec<JobView> {
        self.list.values().map(Job::view).collect()
    }

    /// A job's upload, if uploads are kept or it has not been processed.
    pub(crate) fn upload(&self, id: &str) -> Option<Bytes> {
        self.list.get(&ids::ordinal("750", id)?)?.upload.clone()
    }

    fn find(&mut self, id: &str) -> Option<&mut Job> {
        self.list.get_mut(&ids::ordinal("750", id)?)
    }

    fn forget_old(&mut self, now: i64) {
        self.list.retain(|_, job| !job.state.is_terminal() || job.modified + KEPT > now);
    }

    /// Jobs left open for longer than a day.
    fn stale(&self, now: i64) -> Vec<String> {
        let stale = |job: &&Job| job.state == JobState::Open && job.created + DAY <= now;
        self.list.values().filter(stale).map(|job| job.id.clone()).collect()
    }

    fn live(&self) -> usize {
        self.list.values().filter(|job| !job.state.is_terminal()).count()
    }
}

impl Job {
    fn view(&self) -> JobView {
        JobView {
            id: self.id.clone(),
            object: self.object_name.clone(),
            operation: self.verb.clone(),
            state: self.state,
            processed: self.processed,
            failed: self.failed,
            uploaded: self.received.as_ref().map(|(length, _)| *length),
            sha256: self.received.as_ref().map(|(_, hash)| hash.clone()),
            error: self.error.clone(),
        }
    }

    fn enter(&mut self, state: JobState, now: i64) {
        self.state = state;
        self.modified = now;
        self.polls.send_replace(0);
    }

    /// The job as JSON; counters only once it is at work, times only when it is done.
    fn show(&self) -> Value {
        let mut whole = json!({
            "id": self.id, "operation": self.verb, "object": self.object_name,
            "createdById": ids::id("005", 1), "createdDate": stamp_ms(self.created),
            "systemModstamp": stamp_ms(self.modified), "state": self.state.name(),
            "concurrencyMode": "Parallel", "contentType": "CSV",
            "apiVersion": self.version.parse::<serde_json::Number>().ok(), "jobType": "V2Ingest",
            "lineEnding": if self.layout.ending == "\n" { "LF" } else { "CRLF" },
            "columnDelimiter": self.delimiter,
        });
        if let Some(key) = &self.key {
            whole["externalIdFieldName"] = json!(key);
        }
        if self.state == JobState::Open {
            whole["contentUrl"] =
                json!(format!("services/data/v{}/jobs/ingest/{}/batches", self.version, self.id));
        }
        if self.state.is_terminal() || self.state == JobState::InProgress {
            self.show_counters(&mut whole);
        }
        whole
    }

    fn show_counters(&self, whole: &mut Value) {
        let total = self.begun.map_or(0, |begun| begun.elapsed().as_millis());
        let total = u64::try_from(total).unwrap_or(u64::MAX);
        whole["numberRecordsProcessed"] = json!(self.processed);
        whole["numberRecordsFailed"] = json!(self.failed);
        whole["retries"] = json!(0);
        whole["totalProcessingTime"] = json!(total);
        whole["apiActiveProcessingTime"] = json!(u64::try_from(self.active.as_millis()).unwrap_or(u64::MAX));
        whole["apexProcessingTime"] = json!(0);
        if let Some(message) = self.error.as_ref().filter(|_| self.state.is_terminal()) {
            whole["errorMessage"] = json!(message);
        }
    }

    fn receive(&mut self, data: Bytes, now: i64) {
        let hash = digest(&SHA256, &data).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        self.received = Some((data.len(), hash));
        self.upload = Some(data);
        self.modified = now;
    }

    fn tells_failed_ids(&self) -> bool {
        let release = self.version.split('.').next().and_then(|release| release.parse().ok());
        release.is_none_or(|release: u32| release >= FAILED_IDS)
    }

    fn plan(&self) -> Plan {
        Plan {
            id: self.id.clone(),
            ordinal: self.ordinal,
            object: self.object,
            operation: self.operation,
            upload: self.upload.clone().unwrap_or_default(),
            layout: self.layout,
            failed_ids: self.tells_failed_ids(),
            aborted: Arc::clone(&self.aborted),
        }
    }

    fn settle(&mut self, outcome: Outcome, keep: bool) {
        self.results.get_or_insert_with(|| Arc::new(outcome.results));
        if self.state == JobState::InProgress {
            self.error = outcome.error;
        }
        if !keep {
            self.upload = None;
        }
    }
}

/// Answers a request below `/jobs/ingest`.
pub(crate) fn route(org: &Arc<Shared>, version: &str, request: &Incoming, parts: &[&str]) -> Response {
    tidy(org);
    let answer = match (request.method.as_str(), parts) {
        ("POST", []) if is_multipart(request.header("content-type")) => create_whole(org, version, request),
        ("POST", []) => create(org, version, request),
        ("GET", []) => Ok(list(org, version, request)),
        ("GET", [id]) => poll(org, id),
        ("PATCH", [id]) => change(org, id, request),
        ("DELETE", [id]) => delete(org, id),
        ("PUT", [id, part]) if part.eq_ignore_ascii_case("batches") => upload(org, id, request),
        ("GET", [id, part]) => results(org, id, part, request),
        (method, _) => Err(method_not_allowed(method)),
    };
    answer.unwrap_or_else(|refused| refused)
}

/// Forgets jobs that ended a week ago, and gives up those left open for a day. What becomes of the latter the vendor
/// does not say; that their rows are never processed is sure.
fn tidy(org: &Arc<Shared>) {
    let now = org.now();
    org.jobs().forget_old(now);
    let stale = org.jobs().stale(now);
    for id in stale {
        // Whoever closed it in between was in time.
        let _ = abort(org, &id);
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wish {
    object: Option<String>,
    operation: Option<String>,
    external_id_field_name: Option<String>,
    content_type: Option<String>,
    column_delimiter: Option<String>,
    line_ending: Option<String>,
    #[serde(rename = "assignmentRuleId")]
    _assignment_rule: Option<String>,
}

fn create(org: &Arc<Shared>, version: &str, request: &Incoming) -> Result<Response, Response> {
    let job = new_job(org, version, &request.json()?)?;
    let shown = job.show();
    org.jobs().list.insert(job.ordinal, job);
    Ok(json_reply(200, &shown))
}

/// Makes a job together with its data and closes it: "Bulk API 2.0", section "Create a Job", multipart requests.
fn create_whole(org: &Arc<Shared>, version: &str, request: &Incoming) -> Result<Response, Response> {
    let body = request.plain_body()?;
    let parts = parts(request.header("content-type").unwrap_or_default(), &body);
    let part = |name: &str| parts.iter().flatten().find(|part| part.name == name);
    let (Some(wish), Some(content)) = (part("job"), part("content")) else {
        return Err(error(400, "CLIENTINPUTERROR", "The parts `job` and `content` are needed"));
    };
    if String::from_utf8_lossy(content.body).chars().count() > MULTIPART_LIMIT {
        return Err(error(400, "CLIENTINPUTERROR", "Multipart data must not exceed 100,000 characters"));
    }
    let wish = serde_json::from_slice(wish.body);
    let wish = wish.map_err(|cause| error(400, "JSON_PARSER_ERROR", &cause.to_string()))?;
    let mut job = new_job(org, version, &wish)?;
    job.receive(Bytes::copy_from_slice(content.body), org.now());
    let id = job.id.clone();
    org.jobs().list.insert(job.ordinal, job);
    close(org, &id).map(|shown| json_reply(200, &shown))
}

/// Refuses a new job while an allocation is used up.
fn check_allocations(org: &Shared) -> Result<(), Response> {
    if org.usage.batches.left(org.now()) == 0 {
        return Err(error(400, "EXCEEDEDQUOTA", "ApiBatchItems Limit exceeded"));
    }
    if org.jobs().live() >= org.config.limits.live_jobs {
        return Err(error(400, "TOO_MANY_JOBS", "too many live jobs"));
    }
    Ok(())
}

fn new_job(org: &Shared, version: &str, wish: &Wish) -> Result<Job, Response> {
    check_allocations(org)?;
    let name = wish.object.as_deref().unwrap_or_default();
    let served = org.schema.object(name).filter(|at| org.schema.objects[*at].bulk);
    let unserved =
        || error(400, "INVALIDENTITY", &format!("Entity '{name}' is not supported by the Bulk API."));
    let object = served.ok_or_else(unserved)?;
    let definition = &org.schema.objects[object];
    let operation = operation(org, definition, wish)?;
    let (delimiter, layout) = layout(wish)?;
    let (ordinal, now) = (next_ordinal(org), org.now());
    Ok(Job {
        id: ids::id("750", ordinal),
        ordinal,
        object,
        object_name: definition.name.clone(),
        verb: wish.operation.clone().unwrap_or_default(),
        operation,
        key: wish.external_id_field_name.clone().filter(|key| !key.is_empty()),
        delimiter,
        layout,
        version: version.to_owned(),
        state: JobState::Open,
        created: now,
        modified: now,
        begun: None,
        active: Duration::ZERO,
        upload: None,
        received: None,
        error: None,
        processed: 0,
        failed: 0,
        results: None,
        polls: watch::Sender::new(0),
        aborted: Arc::default(),
    })
}

fn next_ordinal(org: &Shared) -> u64 {
    let mut jobs = org.jobs();
    jobs.last += 1;
    jobs.last
}

fn operation(org: &Shared, object: &Object, wish: &Wish) -> Result<Operation, Response> {
    match wish.operation.as_deref().unwrap_or_default() {
        "insert" => Ok(Operation::Insert),
        "update" => Ok(Operation::Update),
        "delete" => Ok(Operation::Delete),
        "hardDelete" if org.config.allow_hard_delete => Ok(Operation::Delete),
        "hardDelete" => Err(error(400, "FEATURENOTENABLED", "hardDelete is not enabled for your user")),
        "upsert" => key_field(object, wish).map(Operation::Upsert),
        other => Err(error(400, "INVALIDOPERATION", &format!("Operation '{other}' is not supported"))),
    }
}

fn key_field(object: &Object, wish: &Wish) -> Result<usize, Response> {
    let Some(name) = wish.external_id_field_name.as_deref().filter(|name| !name.is_empty()) else {
        return Err(error(400, "INVALIDJOB", "External ID was blank for an upsert job"));
    };
    let usable = |at: &usize| object.fields[*at].is_match_field() || object.fields[*at].kind == Kind::Id;
    object.field(name).filter(usable).ok_or_else(|| {
        let message = format!(
            "InvalidJob : Field name provided, {name} does not match an External ID, Salesforce Id, or indexed \
             field for {}",
            object.name
        );
        error(400, "INVALIDJOB", &message)
    })
}

fn layout(wish: &Wish) -> Result<(&'static str, Layout), Response> {
    if wish.content_type.as_deref().is_some_and(|kind| kind != "CSV") {
        return Err(error(400, "INVALIDJOB", "Only the content type CSV is supported"));
    }
    let known = [
        ("COMMA", b','),
        ("TAB", b'\t'),
        ("PIPE", b'|'),
        ("SEMICOLON", b';'),
        ("CARET", b'^'),
        ("BACKQUOTE", b'`'),
    ];
    let delimiter = wish.column_delimiter.as_deref().unwrap_or("COMMA");
    let ending = match wish.line_ending.as_deref() {
        None | Some("LF") => "\n",
        Some("CRLF") => "\r\n",
        Some(_) => return Err(error(400, "INVALIDJOB", "lineEnding must be LF or CRLF")),
    };
    match known.into_iter().find(|(name, _)| *name == delimiter) {
        Some((name, delimiter)) => Ok((name, Layout { delimiter, ending })),
        None => Err(error(400, "INVALIDJOB", "columnDelimiter is not supported")),
    }
}

fn list(org: &Arc<Shared>, version: &str, request: &Incoming) -> Response {
    let jobs = org.jobs();
    let start =
        request.parameter("queryLocator").and_then(|locator| locator.rsplit('-').next()?.parse().ok());
    let start: usize = start.unwrap_or(0);
    let page: Vec<Value> = jobs.list.values().skip(start).take(PAGE).map(Job::show).collect();
    let end = start + page.len();
    let done = end >= jobs.list.len();
    let next = (!done).then(|| format!("/services/data/v{version}/jobs/ingest?queryLocator=01gR-{end}"));
    json_reply(200, &json!({"done": done, "records": page, "nextRecordsUrl": next}))
}

fn poll(org: &Arc<Shared>, id: &str) -> Result<Response, Response> {
    let mut jobs = org.jobs();
    let job = jobs.find(id).ok_or_else(not_found)?;
    let shown = job.show();
    job.polls.send_modify(|polls| *polls += 1);
    Ok(json_reply(200, &shown))
}

fn upload(org: &Arc<Shared>, id: &str, request: &Incoming) -> Result<Response, Response> {
    let mut jobs = org.jobs();
    let job = jobs.find(id).ok_or_else(not_found)?;
    let kind = request.header("content-type").unwrap_or_default().to_ascii_lowercase();
    if !kind.starts_with("text/csv") {
        return Err(error(415, "UNSUPPORTED_MEDIA_TYPE", "The upload must be text/csv"));
    }
    if job.received.is_some() {
        let message = format!("Found multiple contents for job: <{id}>, upload only once and close the job");
        return Err(error(400, "CLIENTINPUTERROR", &message));
    }
    if job.state != JobState::Open {
        return Err(error(400, "INVALIDJOBSTATE", "The job is not open for uploads"));
    }
    if request.header("content-encoding").is_some() && !org.config.gzip_uploads {
        return Err(error(400, "CLIENTINPUTERROR", "Content-Encoding is not supported for uploads"));
    }
    job.receive(request.plain_body()?, org.now());
    Ok(empty_reply(201))
}

fn change(org: &Arc<Shared>, id: &str, request: &Incoming) -> Result<Response, Response> {
    let wish: Value = request.json()?;
    let state = wish["state"].as_str().unwrap_or_default();
    let shown = match state {
        "UploadComplete" => close(org, id)?,
        "Aborted" => abort(org, id)?,
        _ => return Err(error(400, "INVALIDJOBSTATE", &format!("The state '{state}' cannot be set"))),
    };
    Ok(json_reply(200, &shown))
}

fn close(org: &Arc<Shared>, id: &str) -> Result<Value, Response> {
    let mut jobs = org.jobs();
    let job = jobs.find(id).ok_or_else(not_found)?;
    if job.state != JobState::Open {
        return Err(error(400, "INVALIDJOBSTATE", "Closing already completed or aborted job not allowed"));
    }
    job.enter(JobState::UploadComplete, org.now());
    tokio::spawn(run(Arc::clone(org), job.ordinal, job.polls.subscribe()));
    Ok(job.show())
}

fn abort(org: &Arc<Shared>, id: &str) -> Result<Value, Response> {
    let mut jobs = org.jobs();
    let job = jobs.find(id).ok_or_else(not_found)?;
    if job.state.is_terminal() {
        return Err(error(400, "INVALIDJOBSTATE", "Aborting already Completed Job not allowed"));
    }
    let was = job.state;
    job.aborted.store(true, Ordering::SeqCst);
    job.enter(JobState::Aborted, org.now());
    if was == JobState::InProgress {
        return Ok(job.show());
    }
    let (plan, ordinal, shown) = (job.plan(), job.ordinal, job.show());
    drop(jobs);
    let outcome = process(org, &plan, false);
    if let Some(job) = org.jobs().list.get_mut(&ordinal) {
        job.settle(outcome, org.config.keep_uploads);
    }
    Ok(shown)
}

fn delete(org: &Arc<Shared>, id: &str) -> Result<Response, Response> {
    let mut jobs = org.jobs();
    let job = jobs.find(id).ok_or_else(not_found)?;
    if matches!(job.state, JobState::Open | JobState::InProgress) {
        let message = "Error encountered when deleting the job because the job is not terminated";
        return Err(error(400, "API_ERROR", message));
    }
    job.aborted.store(true, Ordering::SeqCst);
    let ordinal = job.ordinal;
    jobs.list.remove(&ordinal);
    Ok(empty_reply(204))
}

fn results(org: &Arc<Shared>, id: &str, part: &str, request: &Incoming) -> Result<Response, Response> {
    let which = match part.to_ascii_lowercase().as_str() {
        "successfulresults" => Which::Success,
        "failedresults" => Which::Failed,
        "unprocessedrecords" => Which::Unprocessed,
        _ => return Err(not_found()),
    };
    let pieces = Pieces::new(finished(org, id)?, which);
    Ok(match org.config.empty_results {
        EmptyResults::EmptyBody if pieces.is_empty() => text_reply(200, "text/csv; charset=UTF-8", ""),
        EmptyResults::NoContent if pieces.is_empty() => empty_reply(204),
        _ => streamed(pieces, request.accepts_gzip()),
    })
}

/// The results of a job that has ended; those of a job just aborted need a moment.
fn finished(org: &Arc<Shared>, id: &str) -> Result<Arc<Results>, Response> {
    loop {
        {
            let mut jobs = org.jobs();
            let job = jobs.find(id).ok_or_else(not_found)?;
            if !job.state.is_terminal() {
                return Err(error(400, "INVALIDJOBSTATE", "The job has not ended"));
            }
            if let Some(results) = &job.results {
                return Ok(Arc::clone(results));
            }
        }
        if org.stopped.load(Ordering::SeqCst) {
            return Err(error(503, "SERVER_UNAVAILABLE", "The server is shutting down"));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The life of a job from its closing to its end.
async fn run(org: Arc<Shared>, ordinal: u64, mut polls: watch::Receiver<u32>) {
    wait(&mut polls, org.config.queued).await;
    let Some(plan) = begin(&org, ordinal) else { return };
    let worker = Arc::clone(&org);
    let outcome = tokio::task::spawn_blocking(move || process(&worker, &plan, true)).await;
    let Ok(outcome) = outcome else { return };
    if let Some(job) = org.jobs().list.get_mut(&ordinal) {
        job.active = job.begun.map_or(Duration::ZERO, |begun| begun.elapsed());
        job.settle(outcome, org.config.keep_uploads);
    }
    wait(&mut polls, org.config.running).await;
    let now = org.now();
    let mut jobs = org.jobs();
    let running = jobs.list.get_mut(&ordinal).filter(|job| job.state == JobState::InProgress);
    if let Some(job) = running {
        job.enter(if job.error.is_some() { JobState::Failed } else { JobState::JobComplete }, now);
    }
}

fn begin(org: &Arc<Shared>, ordinal: u64) -> Option<Plan> {
    let mut jobs = org.jobs();
    let job = jobs.list.get_mut(&ordinal).filter(|job| job.state == JobState::UploadComplete)?;
    job.enter(JobState::InProgress, org.now());
    job.begun = Some(Instant::now());
    Some(job.plan())
}

/// Waits until a job was asked for often enough in its state and the time is up.
async fn wait(polls: &mut watch::Receiver<u32>, pace: Pace) {
    tokio::time::sleep(pace.delay).await;
    // An error means that the job was deleted; the next look at it finds that out.
    let _ = polls.wait_for(|seen| *seen >= pace.polls).await;
}

//! Bulk API 2.0 ingest, call by call. What may be repeated is decided here; when to go on, by the caller.
//!
//! <https://developer.salesforce.com/docs/atlas.en-us.api_asynch.meta/api_asynch/walkthrough_upload_data.htm>

use std::time::Duration;

use bytes::Bytes;
use engine::{Class, Failure};
use futures_util::Stream;
use http_client::{Body, Method, Repeat, Request};
use serde::Serialize;

use crate::client::Client;
use crate::job::{JobInfo, JobState};
use crate::problem::Problem;
use crate::session::Session;

/// How often a close is sent if the job stays `Open`.
const CLOSE_TRIES: u32 = 3;

/// A job to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewJob {
    /// The API name of the object.
    pub object: String,
    /// The vendor's word: `upsert`, `insert`, `update`, `delete`.
    pub operation: String,
    /// The key field of an upsert; it is a column of the data too.
    pub external_id: Option<String>,
}

/// One of the three files that account for a job's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResultSet {
    /// Rows that were written.
    Success,
    /// Rows that were refused, with the reason.
    Failed,
    /// Rows that were not tried.
    Unprocessed,
}

impl ResultSet {
    /// Every set.
    pub const ALL: [Self; 3] = [Self::Success, Self::Failed, Self::Unprocessed];

    const fn resource(self) -> &'static str {
        match self {
            Self::Success => "successfulResults",
            Self::Failed => "failedResults",
            Self::Unprocessed => "unprocessedrecords",
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Create<'a> {
    object: &'a str,
    operation: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    external_id_field_name: Option<&'a str>,
    content_type: &'static str,
    line_ending: &'static str,
    column_delimiter: &'static str,
}

#[derive(Serialize)]
struct Transition {
    state: &'static str,
}

impl Client {
    /// Creates a job that waits for its upload. It is retried: a job that nobody knows of stays `Open` and
    /// processes nothing.
    ///
    /// # Errors
    /// By the code of the answer.
    pub async fn create_job(&self, job: &NewJob) -> Result<JobInfo, Failure> {
        let document = Create {
            object: &job.object,
            operation: &job.operation,
            external_id_field_name: job.external_id.as_deref(),
            content_type: "CSV",
            line_ending: "LF",
            column_delimiter: "COMMA",
        };
        let response =
            self.call(|session| session.request(Method::POST, "jobs/ingest").json(&document)).await?;
        if !response.is_success() {
            return Err(Problem::read(response).await.failure());
        }
        response.json().await
    }

    /// Uploads the whole data of a job: `bytes` bytes of CSV, no more and no less. It is never sent twice,
    /// because Salesforce refuses a second upload, and success says nothing about the CSV.
    ///
    /// # Errors
    /// `Transient` if it is not known what arrived: abort the job and make another. Otherwise by the code of
    /// the answer. The failures of the stream as they are.
    pub async fn upload<S>(&self, id: &str, bytes: u64, body: S) -> Result<(), Failure>
    where
        S: Stream<Item = Result<Bytes, Failure>> + Send + 'static,
    {
        let session = self.session().await?;
        let request = session
            .request(Method::PUT, &path(id, "/batches")?)
            .header("content-type", "text/csv; charset=UTF-8")
            // Salesforce answers once it has stored everything; its own limit is ten minutes.
            .silence(Duration::from_secs(600))
            .stream(bytes, body);
        let response = self.send(request, &session).await?;
        match response.status() {
            200..=299 => Ok(()),
            401 => {
                let place = response.place();
                self.renewed(&session).await?;
                Err(Failure::transient(format!("{place}: the session ended before the upload")))
            }
            _ => Err(Problem::read(response).await.bare_failure()),
        }
    }

    /// Hands the uploaded data over for processing: the point of no return. If the answer is lost the job is
    /// read, and the request repeated only if it did not take effect.
    ///
    /// The job that is returned may be in any state but `Open`; look at it.
    ///
    /// # Errors
    /// `Transient` if the outcome is not known: read the job before anything else. Otherwise by the code of
    /// the answer.
    pub async fn close(&self, id: &str) -> Result<JobInfo, Failure> {
        let mut tries = 1;
        loop {
            let failure = match self.transition(id, "UploadComplete", Repeat::Once).await {
                Ok(job) => return Ok(job),
                Err(refusal) if !refusal.ambiguous => return Err(refusal.failure),
                Err(refusal) => refusal.failure,
            };
            match self.job(id).await? {
                Some(job) if job.state != JobState::Open => return Ok(job),
                Some(_) if tries < CLOSE_TRIES => tries += 1,
                _ => return Err(failure),
            }
        }
    }

    /// Stops a job. `Ok` says that the job is stopped, or ended before it could be, or is gone: read it to
    /// know which.
    ///
    /// # Errors
    /// By the code of the answer.
    pub async fn abort(&self, id: &str) -> Result<(), Failure> {
        match self.transition(id, "Aborted", Repeat::Idempotent).await {
            Ok(_) => Ok(()),
            Err(refusal) if matches!(refusal.code.as_str(), "INVALIDJOBSTATE" | "NOT_FOUND") => Ok(()),
            Err(refusal) => Err(refusal.failure),
        }
    }

    /// Reads a job; `None` if Salesforce does not know it (any more: it deletes jobs after seven days).
    ///
    /// # Errors
    /// By the code of the answer.
    pub async fn job(&self, id: &str) -> Result<Option<JobInfo>, Failure> {
        let path = path(id, "")?;
        let response = self.call(|session| Ok(session.request(Method::GET, &path))).await?;
        if response.is_success() {
            return response.json().await.map(Some);
        }
        let problem = Problem::read(response).await;
        if problem.is_not_found() { Ok(None) } else { Err(problem.failure()) }
    }

    /// Reads a result set as CSV, unpacked; `None` if it is empty. A set without rows may also be a header.
    ///
    /// # Errors
    /// By the code of the answer; `Configuration` if the job and its results are gone.
    pub async fn results(&self, id: &str, set: ResultSet) -> Result<Option<Body>, Failure> {
        let path = path(id, &format!("/{}", set.resource()))?;
        let build = |session: &Session| -> Result<Request, Failure> {
            let request = session.request(Method::GET, &path);
            Ok(request.header("accept", "text/csv").header("accept-encoding", "gzip"))
        };
        let response = self.call(build).await?;
        if !response.is_success() {
            return Err(Problem::read(response).await.failure());
        }
        if response.header("content-type").is_some_and(|kind| kind.starts_with("text/html")) {
            return Err(Failure::transient(format!("{}: a page came instead of results", response.place())));
        }
        let mut body = response.into_body().decoded().await?;
        Ok(if body.is_empty().await? { None } else { Some(body) })
    }

    async fn transition(&self, id: &str, state: &'static str, repeat: Repeat) -> Result<JobInfo, Refusal> {
        let path = path(id, "").map_err(Refusal::unsent)?;
        let build = |session: &Session| {
            session.request(Method::PATCH, &path).repeat(repeat).json(&Transition { state })
        };
        let response = self.call(build).await.map_err(Refusal::unanswered)?;
        if response.is_success() {
            return response.json().await.map_err(Refusal::unanswered);
        }
        let problem = Problem::read(response).await;
        let (code, ambiguous) = (problem.code().to_owned(), problem.is_ambiguous());
        Err(Refusal { failure: problem.failure(), code, ambiguous })
    }
}

/// Why a change of state was not confirmed, and whether it may have happened all the same.
struct Refusal {
    failure: Failure,
    code: String,
    ambiguous: bool,
}

impl Refusal {
    fn unsent(failure: Failure) -> Self {
        Self { failure, code: String::new(), ambiguous: false }
    }

    fn unanswered(failure: Failure) -> Self {
        let ambiguous = failure.class == Class::Transient;
        Self { failure, code: String::new(), ambiguous }
    }
}

fn path(id: &str, rest: &str) -> Result<String, Failure> {
    if id.is_empty() || !id.chars().all(|c| c.is_ascii_alphanumeric()) {
        return Err(Failure::bug("a job id holds more than letters and digits"));
    }
    Ok(format!("jobs/ingest/{id}{rest}"))
}

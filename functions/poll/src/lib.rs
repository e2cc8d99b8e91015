//! Has the job ended?
//!
//! Asks once and returns; the state machine waits. When the job has ended, what Salesforce said of it
//! is kept for Collect.
//!
//! Vendor page: <https://developer.salesforce.com/docs/atlas.en-us.api_asynch.meta/api_asynch/get_job_info.htm>

use engine::{
    Class, Failure, JobRef, RunId, RunRef, SyncName,
    document::{JobEnd, to_bytes},
    journal::{Refused, refused_entry},
    layout,
};
use salesforce::{JobInfo, JobState};
use serde::{Deserialize, Serialize};
use store::{Store, journal, lease};

/// The job to ask about.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// The sync.
    pub sync: SyncName,
    /// The run.
    pub run: RunId,
    /// The pass of Load.
    pub wave: u32,
    /// The job.
    pub job: u32,
    /// How long the wait before this call was; none before the first.
    #[serde(default)]
    pub wait_seconds: u64,
    /// How often the job was asked for before.
    #[serde(default)]
    pub polls: u64,
}

/// Whether it has ended.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Output {
    /// It has.
    pub done: bool,
    /// How long to wait before asking again.
    pub wait_seconds: u64,
    /// How often it was asked for.
    pub polls: u64,
}

/// The longest wait between two polls.
const LONGEST_WAIT: u64 = 60;

/// Asks for one job.
///
/// # Errors
/// [`Class::Configuration`] when the job was never submitted, the class of the job's own error when
/// Salesforce refused it as a whole, the classes of the client and of the store otherwise.
pub async fn handle(store: &Store, salesforce: &salesforce::Client, event: Event) -> Result<Output, Failure> {
    let run = RunRef { sync: event.sync, run: event.run };
    let job = JobRef { wave: event.wave, job: event.job };
    let outcome = poll(store, salesforce, &run, job, event.wait_seconds, event.polls + 1).await;
    journal::record_failure(store, &run, job, outcome).await
}

async fn poll(
    store: &Store,
    salesforce: &salesforce::Client,
    run: &RunRef,
    job: JobRef,
    waited: u64,
    polls: u64,
) -> Result<Output, Failure> {
    let done = Output { done: true, wait_seconds: 0, polls };
    if store.exists(&layout::job_end(run, job)).await? {
        return Ok(done);
    }
    if store.exists(&layout::call_begun(run, job, 0)).await? {
        // A series of REST calls has ended when Submit has: there is nobody to ask.
        store.create_or_agree(&layout::job_end(run, job), to_bytes(&JobEnd::of_calls())).await?;
        return Ok(done);
    }
    let (attempt, id) = journal::closed_job(store, run, job).await?;
    // A load may take longer than a lease lives.
    lease::hold(store, run).await?;
    let end = match salesforce.job(&id).await? {
        Some(info) if !info.state.is_terminal() => {
            return Ok(Output { done: false, wait_seconds: (waited * 2).clamp(1, LONGEST_WAIT), polls });
        }
        Some(info) => {
            refuse_when_nothing_was_tried(store, run, job, attempt, &info).await?;
            end(info, polls)
        }
        None => forgotten(id, polls),
    };
    store.create_or_agree(&layout::job_end(run, job), to_bytes(&end)).await?;
    Ok(done)
}

/// A job that failed before its first row was refused for its form: that is for a person to mend, and
/// the next try makes a new job.
async fn refuse_when_nothing_was_tried(
    store: &Store,
    run: &RunRef,
    job: JobRef,
    attempt: u32,
    info: &JobInfo,
) -> Result<(), Failure> {
    let tried = info.processed.unwrap_or_default() + info.failed.unwrap_or_default();
    if info.state != JobState::Failed || tried > 0 {
        return Ok(());
    }
    match info.failure() {
        Some(failure) if failure.class == Class::Configuration => {
            let place = layout::journal(run, job, &refused_entry(attempt));
            store.create_or_agree(&place, to_bytes(&Refused { job: info.id.clone() })).await?;
            Err(failure)
        }
        _ => Ok(()),
    }
}

fn end(info: JobInfo, polls: u64) -> JobEnd {
    let state = info.state.as_str().to_owned();
    JobEnd {
        id: info.id,
        state,
        processed: info.processed,
        failed: info.failed,
        error: info.error_message,
        polls,
    }
}

fn forgotten(id: String, polls: u64) -> JobEnd {
    JobEnd { id, state: JobEnd::NOT_FOUND.to_owned(), processed: None, failed: None, error: None, polls }
}

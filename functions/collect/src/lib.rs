//! What became of every row of a job: the vendor's three files as they came, then the outcomes by key.
//!
//! The files are kept first and joined afterwards from the copies, so that a second try asks the
//! vendor for nothing that is already kept.
//!
//! Vendor page: <https://developer.salesforce.com/docs/atlas.en-us.api_asynch.meta/api_asynch/get_job_successful_results.htm>

use engine::{
    ChunkNo, Failure, JobRef, RunId, RunRef, SyncName,
    document::{Collected, Extracted, JobEnd, Plan},
    layout,
    outcome::{self, Output as Piece},
};
use salesforce::ResultSet;
use serde::{Deserialize, Serialize};
use store::Store;

/// The job to collect.
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
}

/// Counts only: the outcomes are in the bucket.
#[derive(Debug, Serialize)]
pub struct Output {
    /// Rows sent.
    pub sent: u64,
    /// Rows accepted.
    pub accepted: u64,
    /// Rows refused.
    pub rejected: u64,
}

/// The result files: what they are called here and there.
const FILES: [(&str, ResultSet); 3] = [
    ("success.csv", ResultSet::Success),
    ("failed.csv", ResultSet::Failed),
    ("unprocessed.csv", ResultSet::Unprocessed),
];

/// Collects the results of one job; its summary is written last.
///
/// # Errors
/// [`engine::Class::Configuration`] when the job has not ended yet, the classes of the client, of the
/// store and of [`outcome::join`] otherwise.
pub async fn handle(store: &Store, salesforce: &salesforce::Client, event: Event) -> Result<Output, Failure> {
    let run = RunRef { sync: event.sync, run: event.run };
    let job = JobRef { wave: event.wave, job: event.job };
    let place = layout::results_summary(&run, job);
    let collected = match store.get_json::<Collected>(&place).await? {
        Some(collected) => collected,
        None => {
            let end: JobEnd = store.require(&layout::job_end(&run, job)).await?;
            keep_files(store, salesforce, &run, job, &end).await?;
            let collected = join(store, &run, job, end.state).await?;
            store.create_or_agree(&place, engine::document::to_bytes(&collected)).await?;
            collected
        }
    };
    let (accepted, rejected) = (collected.accepted(), collected.rejected_rows());
    Ok(Output { sent: collected.sent, accepted, rejected })
}

async fn keep_files(
    store: &Store,
    salesforce: &salesforce::Client,
    run: &RunRef,
    job: JobRef,
    end: &JobEnd,
) -> Result<(), Failure> {
    for (file, set) in FILES {
        let place = layout::results(run, job, file);
        if store.exists(&place).await? {
            continue;
        }
        let mut writer = store.writer(&place).await?;
        // A job that the vendor has forgotten has no files: all of its rows are missing.
        if end.state != JobEnd::NOT_FOUND
            && let Some(mut body) = salesforce.results(&end.id, set).await?
        {
            while let Some(bytes) = body.chunk().await? {
                writer.write(&bytes).await?;
            }
        }
        // The order of a result file is not fixed: a copy that another try kept is as good as this one.
        writer.finish().await?;
    }
    Ok(())
}

async fn join(store: &Store, run: &RunRef, job: JobRef, state: String) -> Result<Collected, Failure> {
    let extracted: Extracted = store.require(&layout::result(run)).await?;
    let plan: Plan = store.require(&layout::plan(run, job.wave)).await?;
    let sent = sent_keys(run, &plan, job)?;
    let (store, run) = (store.blocking(), run.clone());
    let joining = store::blocking(move || {
        let sent = sent.into_iter().map(|(chunk, object)| Ok((chunk, store.reader(&object)?)));
        let file = |name: &str| store.reader(&layout::results(&run, job, name));
        let mut emit = |piece: Piece| match piece {
            Piece::Delta { chunk, bytes } => store.create_or_agree(&layout::delta(&run, job, chunk), bytes),
            Piece::Missing { bytes } => {
                store.create_or_agree(&layout::results(&run, job, "missing.csv"), bytes)
            }
        };
        let (key, external_id) = (&extracted.mapping.key, plan.external_id.as_str());
        let input = outcome::JoinInput { key, external_id, state: &state };
        outcome::join(
            &input,
            sent,
            file("success.csv")?,
            file("failed.csv")?,
            file("unprocessed.csv")?,
            &mut emit,
        )
    });
    joining.await
}

fn sent_keys(run: &RunRef, plan: &Plan, job: JobRef) -> Result<Vec<(ChunkNo, String)>, Failure> {
    let count = plan.jobs.len();
    let planned = plan.jobs.get(job.job as usize).ok_or_else(|| {
        Failure::configuration(format!(
            "wave {} of `{run}` has {count} jobs, so there is no job {job}",
            job.wave
        ))
    })?;
    let keys = planned
        .fragments
        .iter()
        .map(|fragment| (fragment.chunk, layout::mapped(run, fragment.chunk, &fragment.sent_file())));
    Ok(keys.collect())
}

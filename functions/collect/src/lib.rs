//! What became of every row of a job: the vendor's three files as they came, then the outcomes by key.
//!
//! The files are kept first and joined afterwards from the copies, so that a second try asks the vendor for nothing
//! that is already kept. Rows of which the files say nothing are looked up in the org before anything is said of them;
//! those of a rebuild are looked up and nothing else.
//!
//! Vendor page: <https://developer.salesforce.com/docs/atlas.en-us.api_asynch.meta/api_asynch/get_job_successful_results.htm>

mod calls;
mod files;
mod verify;

use std::io;

use engine::{
    Class, Failure, JobRef, RunId, RunRef, SyncName,
    config::{Api, Sync},
    document::{Collected, Extracted, Form, JobEnd, Plan, PlannedJob, Run, to_bytes},
    layout,
    mapping::Mapping,
    outcome::{self, Further, JoinInput, Outcomes, Output as Piece},
    quota,
};
use serde::{Deserialize, Serialize};
use store::{Store, journal};

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
    /// Rows that another wave takes over.
    pub again: u64,
}

/// Collects the results of one job; its summary is written last.
///
/// # Errors
/// [`Class::Configuration`] when the job has not ended yet; [`Class::Transient`] when its files hold fewer rows than it
/// counts; the classes of the client, of the store and of [`outcome::join`] otherwise.
pub async fn handle(store: &Store, salesforce: &salesforce::Client, event: Event) -> Result<Output, Failure> {
    let run = RunRef { sync: event.sync, run: event.run };
    let job = JobRef { wave: event.wave, job: event.job };
    let outcome = collect(store, salesforce, &run, job).await;
    let collected = journal::record_failure(store, &run, job, outcome).await?;
    let (accepted, rejected) = (collected.accepted(), collected.rejected_rows());
    Ok(Output { sent: collected.sent, accepted, rejected, again: collected.again.rows() })
}

async fn collect(
    store: &Store,
    salesforce: &salesforce::Client,
    run: &RunRef,
    job: JobRef,
) -> Result<Collected, Failure> {
    let place = layout::results_summary(run, job);
    if let Some(collected) = store.get_json::<Collected>(&place).await? {
        return Ok(collected);
    }
    let end: JobEnd = store.require(&layout::job_end(run, job)).await?;
    let collector = Collector::read(store, salesforce, run, job, end).await?;
    let collected = collector.collect().await?;
    store.create_or_agree(&place, to_bytes(&collected)).await?;
    Ok(collected)
}

/// A job that has ended, and what is needed to tell what became of its rows.
struct Collector<'a> {
    store: &'a Store,
    salesforce: &'a salesforce::Client,
    run: &'a RunRef,
    job: JobRef,
    end: JobEnd,
    sync: Sync,
    plan: Plan,
    mapping: Mapping,
}

impl<'a> Collector<'a> {
    async fn read(
        store: &'a Store,
        salesforce: &'a salesforce::Client,
        run: &'a RunRef,
        job: JobRef,
        end: JobEnd,
    ) -> Result<Self, Failure> {
        let Run { sync, .. } = store.require(&layout::run(run)).await?;
        let Extracted { mapping, .. } = store.require(&layout::result(run)).await?;
        let plan: Plan = store.require(&layout::plan(run, job.wave)).await?;
        let Some(planned) = plan.jobs.get(job.job as usize) else {
            let (wave, count) = (job.wave, plan.jobs.len());
            return Err(Failure::configuration(format!(
                "wave {wave} of `{run}` has {count} jobs, so there is no job {job}"
            )));
        };
        let mapping = mapping.of(planned.removes);
        Ok(Self { store, salesforce, run, job, end, sync, plan, mapping })
    }

    fn form(&self) -> Form<'_> {
        self.plan.form(self.planned())
    }

    fn planned(&self) -> &PlannedJob {
        &self.plan.jobs[self.job.job as usize]
    }

    async fn collect(&self) -> Result<Collected, Failure> {
        if self.plan.asks {
            // There are no results: of no row anything is known.
        } else if self.planned().api == Api::Rest {
            self.keep_calls().await?
        } else {
            self.keep_files().await?
        }
        let (outcomes, queries) = self.verify(self.join().await?).await?;
        let api_calls = self.api_calls().await? + queries;
        Ok(Collected { api_calls, ..self.write(outcomes).await? })
    }

    /// Requests that the job took, besides the queries of rows in doubt.
    async fn api_calls(&self) -> Result<u64, Failure> {
        if self.plan.asks {
            return Ok(0);
        }
        if self.planned().api == Api::Rest {
            return Ok(quota::rest_calls(self.planned()));
        }
        let journal = journal::read(self.store, self.run, self.job).await?;
        Ok(journal.requests() + self.end.polls + files::FILES.len() as u64)
    }

    async fn join(&self) -> Result<Outcomes, Failure> {
        let input = JoinInput {
            job: self.job,
            operation: self.mapping.operation,
            key: self.mapping.key.clone(),
            external_id: self.form().key.to_owned(),
            state: self.end.state.clone(),
            removes: self.planned().removes,
            instant: self.run.run.instant(),
        };
        let fragments = self.planned().fragments.clone();
        let (store, run, job, asks) = (self.store.blocking(), self.run.clone(), self.job, self.plan.asks);
        store::blocking(move || {
            let sent = fragments.into_iter().map(|fragment| {
                let object = layout::fragment(&run, &fragment, &fragment.sent_file());
                Ok((fragment, store.reader(&object)?))
            });
            if asks {
                return outcome::join(input, sent, io::empty(), io::empty(), io::empty());
            }
            let file = |name: &str| store.reader(&layout::results(&run, job, name));
            outcome::join(input, sent, file("success.csv")?, file("failed.csv")?, file("unprocessed.csv")?)
        })
        .await
    }

    async fn write(&self, outcomes: Outcomes) -> Result<Collected, Failure> {
        let (further, fragments) = (self.further(), self.planned().fragments.clone());
        let (store, run, job) = (self.store.blocking(), self.run.clone(), self.job);
        store::blocking(move || {
            let mut emit = |piece: Piece| match piece {
                Piece::Delta { chunk, bytes } => {
                    store.create_or_agree(&layout::delta(&run, job, chunk), bytes)
                }
                Piece::Missing { bytes } => {
                    store.create_or_agree(&layout::results(&run, job, "missing.csv"), bytes)
                }
                Piece::Again { file, bytes } => {
                    store.create_or_agree(&layout::results(&run, job, &file), bytes)
                }
            };
            let uploads = fragments
                .iter()
                .map(|fragment| store.reader(&layout::fragment(&run, fragment, &fragment.file)));
            outcomes.write(further, uploads, &mut emit)
        })
        .await
    }

    /// What becomes of rows that are worth another pass.
    fn further(&self) -> Further {
        if self.plan.asks {
            return Further::Exhausted;
        }
        let code = self.end.error.as_deref().map(engine::taxonomy::job_code);
        if code.and_then(salesforce::classify) == Some(Class::Quota) {
            Further::Exhausted
        } else if self.job.wave >= self.sync.load.waves {
            Further::Last
        } else {
            Further::Wave
        }
    }
}

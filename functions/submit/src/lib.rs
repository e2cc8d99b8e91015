//! One planned job becomes one closed Bulk API 2.0 job, or one series of REST calls, whatever dies on the way.
//!
//! Vendor page: <https://developer.salesforce.com/docs/atlas.en-us.api_asynch.meta/api_asynch/bulk_api_2_job_states.htm>

mod attempt;
mod calls;

use engine::{
    Failure, JobRef, RunId, RunRef, SyncName,
    config::Api,
    document::{JobEnd, Plan, PlannedJob, to_bytes},
    journal::{Intent, Next},
    layout,
};
use serde::{Deserialize, Serialize};
use store::{Store, journal, lease};

/// The job to submit.
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

/// When to look at the job for the first time.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Output {
    /// How long to wait before the first poll.
    pub wait_seconds: u64,
    /// How often the job was asked for: Poll counts on from here.
    pub polls: u64,
}

impl Output {
    const fn wait(wait_seconds: u64) -> Self {
        Self { wait_seconds, polls: 0 }
    }
}

/// A submission needs at most one abandoned job and a new one; more turns mean that something is wrong.
const MOST_TURNS: u32 = 4;

/// Submits one job, or finds it submitted.
///
/// # Errors
/// [`engine::Class::Contention`] when another run holds the sync or has committed; [`engine::Class::Transient`] when a
/// call's effect is unknown (the next try reads the journal); the classes of the client and of the
/// store otherwise.
pub async fn handle(store: &Store, salesforce: &salesforce::Client, event: Event) -> Result<Output, Failure> {
    let run = RunRef { sync: event.sync, run: event.run };
    let job = JobRef { wave: event.wave, job: event.job };
    let outcome = submit(store, salesforce, &run, job).await;
    journal::record_failure(store, &run, job, outcome).await
}

async fn submit(
    store: &Store,
    salesforce: &salesforce::Client,
    run: &RunRef,
    job: JobRef,
) -> Result<Output, Failure> {
    if store.exists(&layout::results_summary(run, job)).await? {
        return Ok(Output::wait(0));
    }
    // Before the lease: a run that nobody began must not keep others from going.
    let plan: Plan = store.require(&layout::plan(run, job.wave)).await?;
    let planned = planned(&plan, run, job)?;
    lease::hold(store, run).await?;
    lease::refuse_stale(store, run).await?;
    if plan.asks {
        // Nothing is sent, now or ever: Collect asks the org for the rows.
        store.create_or_agree(&layout::job_end(run, job), to_bytes(&JobEnd::asked())).await?;
        return Ok(Output::wait(0));
    }
    write_intent(store, run, job, &plan, planned).await?;
    let given_up = store.exists(&layout::given_up(run)).await?;
    if planned.api == Api::Rest {
        calls::Calls { store, salesforce, run, job, plan: &plan, planned, given_up }.make().await?;
        return Ok(Output::wait(0));
    }
    let submission = attempt::Submission { store, salesforce, run, job, plan: &plan, planned };
    for _ in 0..MOST_TURNS {
        match journal::read(store, run, job).await?.next() {
            Next::Create { attempt } if given_up => {
                if submission.give_up(attempt).await? {
                    return Ok(Output::wait(0));
                }
            }
            Next::Create { attempt } if submission.create(attempt).await? => {
                return Ok(Output::wait(first_wait(planned)));
            }
            Next::Create { .. } => {}
            Next::Abandon { attempt, job } => submission.abandon(attempt, &job).await?,
            Next::LookAt { job, .. } => {
                submission.look_at(&job).await?;
                return Ok(Output::wait(first_wait(planned)));
            }
        }
    }
    Err(Failure::bug(format!("job {job} of `{run}` does not come to rest")))
}

fn planned<'p>(plan: &'p Plan, run: &RunRef, job: JobRef) -> Result<&'p PlannedJob, Failure> {
    plan.jobs.get(job.job as usize).ok_or_else(|| {
        let count = plan.jobs.len();
        Failure::configuration(format!(
            "wave {} of `{run}` has {count} jobs, so there is no job {job}",
            job.wave
        ))
    })
}

async fn write_intent(
    store: &Store,
    run: &RunRef,
    job: JobRef,
    plan: &Plan,
    planned: &PlannedJob,
) -> Result<(), Failure> {
    let intent = Intent {
        object: plan.object.clone(),
        operation: plan.form(planned).operation.to_owned(),
        rows: planned.rows,
        bytes: planned.bytes,
    };
    let place = layout::journal(run, job, "intent.json");
    store.create_or_agree(&place, to_bytes(&intent)).await
}

/// A small job is done in a moment; a large one takes minutes.
fn first_wait(planned: &PlannedJob) -> u64 {
    (planned.rows / 20_000).clamp(1, 20)
}

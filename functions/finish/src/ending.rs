//! What Finish is told, and what it adds up.

use engine::{
    Failure, JobRef, RunRef, canary,
    document::{
        Approval, Base, Chunk, Collected, Failed, JobEnd, Mapped, Mode, Plan, Prediction, Run, Stopped,
    },
    layout,
    quota::Limits,
    report::{Input, JobOutcome, Preview, Report},
    stop,
};
use jiff::Timestamp;
use serde::Deserialize;
use store::{Store, approval};

/// The run to end: well, or with the failure that ended it.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Told")]
pub struct Event {
    pub(crate) run: RunRef,
    pub(crate) failed: Option<Failed>,
}

impl Event {
    /// The run did not come to its end by itself.
    #[must_use]
    pub const fn is_failure(&self) -> bool {
        self.failed.is_some()
    }

    /// The end of a run.
    #[must_use]
    pub fn new(run: RunRef, failed: Option<Failed>) -> Self {
        Self { run, failed }
    }
}

/// Either a run, from the state machine, or the status change of an execution, from EventBridge.
///
/// <https://docs.aws.amazon.com/step-functions/latest/dg/eventbridge-integration.html>
#[derive(Deserialize)]
struct Told {
    sync: Option<engine::SyncName>,
    run: Option<engine::RunId>,
    detail: Option<Detail>,
}

#[derive(Deserialize)]
struct Detail {
    status: String,
    input: String,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    cause: Option<String>,
}

/// What Step Functions puts into the cause of a failed Lambda task.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LambdaCause {
    error_message: String,
}

impl TryFrom<Told> for Event {
    type Error = Failure;

    fn try_from(told: Told) -> Result<Self, Failure> {
        match told {
            Told { sync: Some(sync), run: Some(run), detail: None } => {
                Ok(Self { run: RunRef { sync, run }, failed: None })
            }
            Told { sync: None, run: None, detail: Some(detail) } => {
                let run = serde_json::from_str(&detail.input).map_err(|_| {
                    Failure::configuration("the input of the failed execution names no `sync` and `run`")
                })?;
                Ok(Self { run, failed: Some(detail.failed()) })
            }
            _ => Err(Failure::configuration("the event is neither a run nor the end of an execution")
                .hint(r#"send {"sync": …, "run": …}, or an event of Step Functions"#)),
        }
    }
}

impl Detail {
    fn failed(self) -> Failed {
        let error = self.error.unwrap_or_else(|| self.status.clone());
        let cause = self.cause.unwrap_or_else(|| format!("the execution ended as {}", self.status));
        let said = serde_json::from_str::<LambdaCause>(&cause).map(|cause| cause.error_message);
        Failed { error, cause: said.unwrap_or(cause) }
    }
}

/// Most invalid rows that a report shows.
const SAMPLES: usize = 20;

/// What the org has left: as it was when the load was let through, or when the plan was made.
async fn limits(store: &Store, run: &RunRef) -> Result<Option<Limits>, Failure> {
    match store.get_json(&layout::limits(run, 1)).await? {
        Some(limits) => Ok(Some(limits)),
        None => store.get_json(&layout::limits_seen(run)).await,
    }
}

fn canary(frozen: &Run, plan: &Plan, jobs: &[JobOutcome]) -> Option<Stopped> {
    let of = |job| jobs.iter().find(|outcome| outcome.job == JobRef { wave: plan.wave, job });
    let jobs = (0..).zip(&plan.jobs).map(|(job, planned)| (planned, of(job).map(|found| &found.collected)));
    canary::judge(&frozen.run, frozen.sync.load.canary.as_ref(), jobs)
}

/// The run that ends.
pub(crate) struct Ending<'a> {
    pub(crate) store: &'a Store,
    pub(crate) run: &'a RunRef,
    /// How far it goes.
    pub(crate) mode: Mode,
    frozen: Run,
}

impl<'a> Ending<'a> {
    pub(crate) async fn read(store: &'a Store, run: &'a RunRef) -> Result<Self, Failure> {
        let frozen: Run = store.require(&layout::run(run)).await?;
        let mode = approval::mode(store, run, frozen.mode).await?;
        Ok(Self { store, run, mode, frozen })
    }
}

/// Adds up what the stages of a run have left: of a run that failed, as much as there is.
pub(crate) async fn add_up(ending: &Ending<'_>, failed: Option<&Failed>) -> Result<Report, Failure> {
    let Ending { store, run, mode, frozen } = ending;
    let plans = plans(store, run).await?;
    let preview = plans.first().filter(|_| *mode == Mode::Plan);
    let preview = preview.map(|plan| Preview::new(plan, frozen.sync.load.concurrency));
    let mut totals = plans.first().map(|plan| plan.totals.clone()).unwrap_or_default();
    more_samples(store, run, &mut totals).await?;
    let jobs = jobs(store, run, &plans).await?;
    let stopped =
        stop::stopped(&run.run, totals.sent() + totals.removing, jobs.iter().map(|job| &job.collected))
            .or_else(|| canary(frozen, plans.first()?, &jobs));
    // A run may have failed before it had one.
    let base: Option<Base> = store.get_json(&layout::base(run)).await?;
    let released: Option<Approval> = store.get_json(&layout::released(run)).await?;
    Ok(Report::new(&Input {
        run,
        mode: *mode,
        object: &frozen.sync.destination.object,
        operation: frozen.sync.destination.operation,
        started: run.run.instant(),
        finished: Timestamp::now(),
        waves: plans.last().map_or(0, |plan| plan.wave),
        prediction: prediction(&plans),
        limits: limits(store, run).await?,
        quota: &frozen.sync.quota,
        stopped: stopped.as_ref(),
        guard: plans.first().map_or(&[], |plan| &plan.guard),
        released: released.as_ref(),
        preview: preview.as_ref(),
        totals: &totals,
        jobs: &jobs,
        left_out: base.as_ref().map_or(&[], |base| &base.left_out),
        failure: failed,
    }))
}

/// The plans of all waves, in order.
async fn plans(store: &Store, run: &RunRef) -> Result<Vec<Plan>, Failure> {
    let mut plans = Vec::new();
    for wave in 1.. {
        let Some(plan) = store.get_json(&layout::plan(run, wave)).await? else { break };
        plans.push(plan);
    }
    Ok(plans)
}

fn prediction(plans: &[Plan]) -> Prediction {
    Prediction {
        api_calls: plans.iter().map(|plan| plan.prediction.api_calls).sum(),
        batches: plans.iter().map(|plan| plan.prediction.batches).sum(),
    }
}

/// What became of the jobs that were collected.
async fn jobs(store: &Store, run: &RunRef, plans: &[Plan]) -> Result<Vec<JobOutcome>, Failure> {
    let mut outcomes = Vec::new();
    for plan in plans {
        for (job, planned) in (0u32..).zip(&plan.jobs) {
            let job = JobRef { wave: plan.wave, job };
            let place = layout::results_summary(run, job);
            let Some(collected) = store.get_json::<Collected>(&place).await? else { continue };
            let end: Option<JobEnd> = store.get_json(&layout::job_end(run, job)).await?;
            outcomes.push(JobOutcome::new(job, planned, end.map(|end| end.id), collected));
        }
    }
    Ok(outcomes)
}

/// Adds samples of the rows that Map refused to those of Plan.
async fn more_samples(store: &Store, run: &RunRef, totals: &mut Mapped) -> Result<(), Failure> {
    if totals.invalid.is_empty() {
        return Ok(());
    }
    let manifest: Vec<Chunk> = store.require(&layout::manifest(run)).await?;
    for chunk in manifest {
        let mapped: Mapped = store.require(&layout::mapped_summary(run, chunk.chunk)).await?;
        totals.samples.extend(mapped.samples);
        if totals.samples.len() >= SAMPLES {
            break;
        }
    }
    totals.samples.truncate(SAMPLES);
    Ok(())
}

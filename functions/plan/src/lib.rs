//! What exactly will be sent: the frozen list of jobs, and the gate after each wave of them.
//!
//! For wave 1 the fragments of all chunks are packed into jobs. For a later wave the jobs of the wave
//! before are looked at first: none may be left undone behind a run that looks well.

use engine::{
    Class, Failure, JobRef, RunId, RunRef, SyncName,
    document::{Chunk, Extracted, Mapped, Mode, Plan, Run},
    layout, plan,
};
use serde::{Deserialize, Serialize};
use store::{Store, journal, lease};

/// The wave to plan.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// The sync.
    pub sync: SyncName,
    /// The run.
    pub run: RunId,
    /// The pass of Load that comes next, from 1.
    pub wave: u32,
}

/// Where the state machine goes from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Next {
    /// Load the jobs.
    Load,
    /// Nothing is left to load.
    Settle,
    /// Only a plan was asked for.
    Stop,
}

/// The jobs to load, as references.
#[derive(Clone, Debug, Serialize)]
pub struct Output {
    /// Where to go.
    pub next: Next,
    /// The wave the jobs belong to.
    pub wave: u32,
    /// The wave to plan when they are loaded.
    pub next_wave: u32,
    /// Jobs loaded side by side.
    pub concurrency: u32,
    /// Rows of those jobs.
    pub rows: u64,
    /// The jobs.
    pub jobs: Vec<Job>,
}

/// One job to load.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Job {
    /// Its number within the wave.
    pub job: u32,
}

/// Plans a wave, or finds it planned.
///
/// # Errors
/// [`Class::Guard`] when a guard rail stops the run or jobs of the wave before were not carried out,
/// the class of the first such job when it left one; [`Class::Contention`] when another run took over or has committed;
/// the classes of the store otherwise.
pub async fn handle(store: &Store, event: Event) -> Result<Output, Failure> {
    let run = RunRef { sync: event.sync, run: event.run };
    // Before the lease: a run that nobody began must not keep others from going.
    let frozen: Run = store.require(&layout::run(&run)).await?;
    lease::hold(store, &run).await?;
    lease::refuse_stale(store, &run).await?;
    let concurrency = frozen.sync.load.concurrency;
    if event.wave > 1 {
        return after_wave(store, &run, event.wave - 1, concurrency).await;
    }
    let plan = first_plan(store, &run, &frozen).await?;
    let next = match (frozen.mode, plan.jobs.is_empty()) {
        (Mode::Plan, _) => Next::Stop,
        (Mode::Run, true) => Next::Settle,
        (Mode::Run, false) => Next::Load,
    };
    let jobs = (0u32..).zip(&plan.jobs).map(|(job, _)| Job { job }).collect();
    Ok(output(&plan, next, jobs, concurrency))
}

fn output(plan: &Plan, next: Next, jobs: Vec<Job>, concurrency: u32) -> Output {
    let rows = jobs.iter().map(|job| plan.jobs[job.job as usize].rows).sum();
    Output { next, wave: plan.wave, next_wave: plan.wave + 1, concurrency, rows, jobs }
}

async fn first_plan(store: &Store, run: &RunRef, frozen: &Run) -> Result<Plan, Failure> {
    let place = layout::plan(run, 1);
    if let Some(plan) = store.get_json(&place).await? {
        return Ok(plan);
    }
    let extracted: Extracted = store.require(&layout::result(run)).await?;
    let manifest: Vec<Chunk> = store.require(&layout::manifest(run)).await?;
    let mut chunks = Vec::with_capacity(manifest.len());
    for chunk in manifest {
        chunks.push(store.require::<Mapped>(&layout::mapped_summary(run, chunk.chunk)).await?);
    }
    let plan = plan::plan(1, &frozen.sync, &extracted.mapping, &chunks)?;
    store.create_or_agree(&place, engine::document::to_bytes(&plan)).await?;
    Ok(plan)
}

/// The gate: every job of the wave is collected, or the run fails visibly. Called again after that
/// failure, it hands out the jobs that are not collected once more: that is how a redrive goes on.
async fn after_wave(store: &Store, run: &RunRef, wave: u32, concurrency: u32) -> Result<Output, Failure> {
    let plan: Plan = store.require(&layout::plan(run, wave)).await?;
    let mut undone = Vec::new();
    for (job, _) in (0u32..).zip(&plan.jobs) {
        if !store.exists(&layout::results_summary(run, JobRef { wave, job })).await? {
            undone.push(Job { job });
        }
    }
    if undone.is_empty() {
        return Ok(output(&plan, Next::Settle, undone, concurrency));
    }
    if turned_away_before(store, run, wave).await? {
        return Ok(output(&plan, Next::Load, undone, concurrency));
    }
    Err(undone_failure(store, run, wave, &undone, plan.jobs.len()).await?)
}

/// Notes this visit of the gate. Every other visit lets the jobs through again.
async fn turned_away_before(store: &Store, run: &RunRef, wave: u32) -> Result<bool, Failure> {
    let folder = layout::gate_folder(run, wave);
    let visits = store.list(&folder).await?.len();
    store.create_json(&format!("{folder}{visits:03}.json"), &visits).await?;
    Ok(visits % 2 == 1)
}

async fn undone_failure(
    store: &Store,
    run: &RunRef,
    wave: u32,
    undone: &[Job],
    of: usize,
) -> Result<Failure, Failure> {
    let count = undone.len();
    for job in undone {
        let job = JobRef { wave, job: job.job };
        if let Some(failure) = journal::last_failure(store, run, job).await? {
            return Ok(failure.at(format!("{count} of {of} jobs were not carried out; job {job}")));
        }
    }
    Ok(Failure::new(Class::Guard, format!("{count} of {of} jobs of wave {wave} were not carried out"))
        .hint("redrive the execution: what was submitted is looked at, never sent twice"))
}

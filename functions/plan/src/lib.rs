//! What exactly will be sent: the frozen list of jobs, and the gate after each wave of them.
//!
//! For wave 1 the fragments of all chunks are packed into jobs, and the guard rails are judged: a plan that
//! goes past one is frozen like any other, and is let through when a person has released it. For a later wave
//! the jobs of the wave before are looked at first: none may be left undone behind a run that looks well.
//! Then the rows of that wave that are worth another pass are packed. Before a wave is let through, the
//! allowances of the org are asked for: without them the first wave waits, and a later one is left to the
//! next run.

mod gate;
mod part;
mod spelling;

use engine::{
    Class, Failure, JobRef, RunId, RunRef, SyncName, canary,
    document::{Base, Chunk, Collected, Extracted, GivenUp, Mapped, Mode, Plan, Run, to_bytes},
    guard, layout, plan, quota, stop,
};
use serde::{Deserialize, Serialize};
use store::{Store, approval, lease};

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
    /// A person lets the first wave through although it goes past a guard rail. Only that is noted: a redrive of the
    /// execution, or `backhaul run`, goes on.
    #[serde(default)]
    pub release: bool,
}

/// Where the state machine goes from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Next {
    /// Load the jobs.
    Load,
    /// Nothing is left to load.
    Settle,
    /// Only a plan was asked for, or its release.
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
    /// How long to wait before they are loaded.
    pub wait_seconds: u64,
    /// Jobs loaded side by side.
    pub concurrency: u32,
    /// Rows of those jobs.
    pub rows: u64,
    /// The org is asked for those rows, and none is sent.
    pub asks: bool,
    /// The jobs.
    pub jobs: Vec<Job>,
}

/// One job to load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Job {
    /// Its number within the wave.
    pub job: u32,
}

/// Plans a wave, or finds it planned.
///
/// # Errors
/// [`engine::Class::Guard`] when the plan goes past a guard rail and nobody has released it, or jobs of the
/// wave before were not carried out, the class of the last of their failures when they left one;
/// [`engine::Class::Quota`] when the load would take more than the sync may; [`engine::Class::Contention`]
/// when another run took over or has committed; the classes of the client and of the store otherwise.
pub async fn handle(store: &Store, salesforce: &salesforce::Client, event: Event) -> Result<Output, Failure> {
    let run = RunRef { sync: event.sync, run: event.run };
    // Before the lease: a run that nobody began must not keep others from going.
    let frozen: Run = store.require(&layout::run(&run)).await?;
    let planner = Planner { store, salesforce, run: &run, frozen: &frozen };
    if event.release {
        return planner.release().await;
    }
    lease::hold(store, &run).await?;
    lease::refuse_stale(store, &run).await?;
    if event.wave > 1 { planner.later(event.wave).await } else { planner.first().await }
}

struct Planner<'a> {
    store: &'a Store,
    salesforce: &'a salesforce::Client,
    run: &'a RunRef,
    frozen: &'a Run,
}

impl Planner<'_> {
    /// Takes no lease: it goes back with the end of the run, and nothing says when somebody goes on with this one.
    async fn release(&self) -> Result<Output, Failure> {
        approval::release(self.store, self.run, "hand").await?;
        Ok(self.output(&self.first_plan().await?, Next::Stop, Vec::new(), 0))
    }

    async fn first(&self) -> Result<Output, Failure> {
        let plan = self.first_plan().await?;
        let mode = approval::mode(self.store, self.run, self.frozen.mode).await?;
        if mode == Mode::Run && !approval::is_released(self.store, self.run).await? {
            guard::check(self.run, &plan.guard)?;
        }
        match (mode, plan.jobs.is_empty()) {
            (Mode::Plan, _) => {
                // Only to show them beside the prediction: when the plan is applied they are asked for anew.
                self.store.create_json(&layout::limits_seen(self.run), &self.limits().await?).await?;
                Ok(self.output(&plan, Next::Stop, jobs_of_turn(&plan, 0), 0))
            }
            (_, true) => Ok(self.output(&plan, Next::Settle, Vec::new(), 0)),
            (Mode::Run, false) => self.let_through(&plan).await,
            (Mode::Rebuild | Mode::RebuildAll, false) => self.let_ask(&plan).await,
        }
    }

    async fn first_plan(&self) -> Result<Plan, Failure> {
        let (store, run) = (self.store, self.run);
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
        let plan = if self.frozen.mode.asks() {
            plan::ask(&self.frozen.sync, &extracted.mapping, &chunks)?
        } else {
            let base: Base = store.require(&layout::base(run)).await?;
            let mapping = &extracted.mapping;
            let refused = if mapping.key.fold_case {
                spelling::sift(store, run, &base.head.segments, mapping, &mut chunks).await?
            } else {
                Vec::new()
            };
            self.cut_canary(&mut chunks).await?;
            let mut plan = plan::plan(&self.frozen.sync, mapping, &chunks)?;
            plan.totals.samples = refused;
            let baseline = base.head.segments.iter().map(|segment| segment.rows).sum();
            let known = guard::Known { baseline, narrowed: extracted.mapping.narrowed, age: extracted.age };
            plan.guard = guard::judge(&self.frozen.sync, &plan.totals, known);
            plan
        };
        store.create_or_agree(&place, to_bytes(&plan)).await?;
        Ok(plan)
    }

    /// Cuts the fragment in two in which the canary ends.
    async fn cut_canary(&self, chunks: &mut [Mapped]) -> Result<(), Failure> {
        let Some(cut) = canary::cut(self.frozen.sync.load.canary.as_ref(), chunks) else { return Ok(()) };
        let (store, run) = (self.store, self.run);
        let fragments = &mut chunks[cut.chunk].fragments;
        let whole = part::read(store, run, &fragments[cut.fragment]).await?;
        let [first, second] = canary::split(&whole, cut.rows)?;
        let halves = [part::write(store, run, first).await?, part::write(store, run, second).await?];
        fragments.splice(cut.fragment..=cut.fragment, halves);
        Ok(())
    }

    /// Gives the run up when its canary was refused: what was not sent stays unsent, and the rest is settled.
    async fn heed_canary(&self, plan: &Plan) -> Result<(), Failure> {
        let mut collected = Vec::new();
        for (job, planned) in (0u32..).zip(&plan.jobs).filter(|(_, planned)| planned.canary) {
            let place = layout::results_summary(self.run, JobRef { wave: plan.wave, job });
            collected.push((planned, self.store.get_json::<Collected>(&place).await?));
        }
        let jobs = collected.iter().map(|(job, collected)| (*job, collected.as_ref()));
        let Some(stopped) = canary::judge(&self.run.run, self.frozen.sync.load.canary.as_ref(), jobs) else {
            return Ok(());
        };
        tracing::warn!(rows = stopped.rows, code = stopped.code, "the canary was refused");
        self.store.create_json(&layout::given_up(self.run), &GivenUp { next: None }).await.map(drop)
    }

    /// The gate of the wave before, and then the rows of it that are worth another pass.
    async fn later(&self, wave: u32) -> Result<Output, Failure> {
        let before: Plan = self.store.require(&layout::plan(self.run, wave - 1)).await?;
        self.heed_canary(&before).await?;
        if let Some(jobs) = gate::undone(self.store, self.run, &before).await? {
            return Ok(self.output(&before, Next::Load, jobs, 0));
        }
        let plan = match self.store.get_json(&layout::plan(self.run, wave)).await? {
            Some(plan) => Some(plan),
            None => self.next_wave(&before).await?,
        };
        match plan {
            Some(plan) => Ok(self.output(&plan, Next::Load, jobs_of_turn(&plan, 0), pause(self.run, wave))),
            None => Ok(self.output(&before, Next::Settle, Vec::new(), 0)),
        }
    }

    async fn next_wave(&self, before: &Plan) -> Result<Option<Plan>, Failure> {
        if self.store.exists(&layout::given_up(self.run)).await? {
            return Ok(None);
        }
        let mut waves = Vec::new();
        for wave in 1..=before.wave {
            waves.push(self.collected(wave).await?);
        }
        let sent = waves[0].iter().map(|job| job.sent).sum();
        let last = waves.last().expect("waves are counted from 1");
        if stop::stopped(&self.run.run, sent, waves.iter().flatten()).is_some() {
            return Ok(None);
        }
        let Some(plan) = plan::next_wave(&self.frozen.sync, before, last)? else { return Ok(None) };
        if let Err(failure) = self.allowed(&plan).await? {
            // What was accepted must not wait for an allowance: it is settled, and the next run takes the rest.
            tracing::warn!(class = %failure.class, wave = plan.wave, "no further wave: {failure}");
            return Ok(None);
        }
        self.store.create_or_agree(&layout::plan(self.run, plan.wave), to_bytes(&plan)).await?;
        Ok(Some(plan))
    }

    async fn collected(&self, wave: u32) -> Result<Vec<Collected>, Failure> {
        let plan: Plan = self.store.require(&layout::plan(self.run, wave)).await?;
        let mut collected = Vec::with_capacity(plan.jobs.len());
        for (job, _) in (0u32..).zip(&plan.jobs) {
            let job = JobRef { wave, job };
            collected.push(self.store.require(&layout::results_summary(self.run, job)).await?);
        }
        Ok(collected)
    }

    /// Hands the first wave out, unless it would take more of the org's allowances than the sync may.
    async fn let_through(&self, plan: &Plan) -> Result<Output, Failure> {
        if !self.store.exists(&layout::limits(self.run, plan.wave)).await? {
            let limits = self.limits().await?;
            quota::check(&self.frozen.sync.quota, &limits, &plan.prediction)?;
            self.keep_limits(plan, &limits).await?;
        }
        Ok(self.output(plan, Next::Load, jobs_of_turn(plan, 0), 0))
    }

    /// Lets a rebuild ask, unless that would take more of the org's allowances than the sync may. Asking leaves nothing
    /// to settle, so the allowances are not kept where they would say that a run has begun to send.
    async fn let_ask(&self, plan: &Plan) -> Result<Output, Failure> {
        let place = layout::limits_seen(self.run);
        if !self.store.exists(&place).await? {
            let limits = self.limits().await?;
            quota::check(&self.frozen.sync.quota, &limits, &plan.prediction)?;
            self.store.create_json(&place, &limits).await?;
        }
        Ok(self.output(plan, Next::Load, jobs_of_turn(plan, 0), 0))
    }

    /// Whether a later wave may go: decided once, by the allowances that the first try was told.
    async fn allowed(&self, plan: &Plan) -> Result<Result<(), Failure>, Failure> {
        let place = layout::limits(self.run, plan.wave);
        if !self.store.exists(&place).await? {
            let limits = match self.limits().await {
                Err(failure) if failure.class == Class::Quota => quota::Limits::NONE,
                limits => limits?,
            };
            self.keep_limits(plan, &limits).await?;
        }
        let limits = self.store.require(&place).await?;
        Ok(quota::check(&self.frozen.sync.quota, &limits, &plan.prediction))
    }

    async fn limits(&self) -> Result<quota::Limits, Failure> {
        self.salesforce.limits().await
    }

    async fn keep_limits(&self, plan: &Plan, limits: &quota::Limits) -> Result<(), Failure> {
        // Another try may have been told other numbers: the first that were good enough are kept.
        self.store.create_json(&layout::limits(self.run, plan.wave), limits).await.map(drop)
    }

    fn output(&self, plan: &Plan, next: Next, jobs: Vec<Job>, wait_seconds: u64) -> Output {
        let rows = jobs.iter().map(|job| plan.jobs[job.job as usize].rows).sum();
        // Rows of a later wave met a lock or a fault before: one job at a time, they do not meet each other.
        let concurrency = if plan.wave == 1 { self.frozen.sync.load.concurrency } else { 1 };
        let (wave, next_wave, asks) = (plan.wave, plan.wave + 1, plan.asks);
        Output { next, wave, next_wave, wait_seconds, concurrency, rows, asks, jobs }
    }
}

fn jobs_of_turn(plan: &Plan, turn: u32) -> Vec<Job> {
    let jobs = (0u32..).zip(&plan.jobs).filter(|(_, planned)| planned.turn == turn);
    jobs.map(|(job, _)| Job { job }).collect()
}

/// The longest pause before a wave, without what is added to it.
const LONGEST_PAUSE: u64 = 240;

/// The pause before a later wave, in seconds: from 15, twice as long each time, and up to as much again, so that syncs
/// that met each other do not meet again. It follows from the run, so that every try says the same.
fn pause(run: &RunRef, wave: u32) -> u64 {
    let pause = (15 << wave.saturating_sub(2).min(10)).min(LONGEST_PAUSE);
    let spread = run
        .to_string()
        .bytes()
        .chain(wave.to_le_bytes())
        .fold(0u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    pause + spread % pause
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_differ_between_runs_and_stay_the_same_for_one() {
        let run =
            |sync: &str| RunRef { sync: sync.parse().unwrap(), run: "20260101T000000Z".parse().unwrap() };
        for (wave, least) in [(2, 15), (3, 30), (4, 60), (9, 240), (40, 240)] {
            let pauses: Vec<u64> = ["a", "b", "c", "d"].map(|sync| pause(&run(sync), wave)).into();
            assert!(pauses.iter().all(|pause| (least..2 * least).contains(pause)), "{wave}: {pauses:?}");
            assert!(pauses.windows(2).any(|pair| pair[0] != pair[1]), "{pauses:?}");
            assert_eq!(pauses[0], pause(&run("a"), wave));
        }
    }
}

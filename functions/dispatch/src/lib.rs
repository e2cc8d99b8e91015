//! Which syncs are due?
//!
//! Called every minute by the schedule, or by hand for one sync. Freezes each due sync into the
//! `run.json` of a new run and names the runs whose executions are to be started. A run is named
//! after the instant it was due, so being told twice, or late, starts nothing twice.

use std::path::Path;

use engine::{
    Failure, RunId, RunRef, SyncName,
    config::Sync,
    document::{GivenUp, Head, Lease, Mode, Release, Run, Which, sync_file},
    layout, schedule,
};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use store::{Store, approval, lease, lease::Standing, release};

/// How far back a missed minute is made up for.
const LOOK_BACK: SignedDuration = SignedDuration::from_mins(15);

/// Either the tick of the schedule, or one sync to run now.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// The minute of the tick.
    #[serde(default)]
    pub scheduled_time: Option<Timestamp>,
    /// The sync to run by hand.
    #[serde(default)]
    pub sync: Option<SyncName>,
    /// The id of the run by hand; the present second when it is left out.
    #[serde(default)]
    pub run: Option<RunId>,
    /// What is done by hand.
    #[serde(default)]
    pub mode: Ask,
    /// Held rows that are let go before the run begins: `"all"`, `{"codes": […]}` or `{"keys": […]}`.
    #[serde(default)]
    pub release: Option<Which>,
}

/// What is done by hand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// A run to its end.
    #[default]
    Run,
    /// A run to its plan; nothing is sent.
    Plan,
    /// The plan of a run that stopped there is sent.
    Apply,
    /// The org is asked for the rows of the lost and damaged segments of the baseline; nothing is sent.
    Rebuild,
    /// The org is asked for every row; nothing is sent.
    RebuildAll,
}

/// What a dispatch decided.
#[derive(Debug, Default, Serialize)]
pub struct Dispatched {
    /// Runs whose executions are to be started.
    pub start: Vec<RunRef>,
    /// Runs that stopped at their plan, which is sent now: their executions are to be started once more.
    pub apply: Vec<RunRef>,
    /// Runs that are due while another run of their sync is still going.
    pub waiting: Vec<RunRef>,
    /// Runs that failed after they had begun to send: what they sent is settled, and the run that is due
    /// waits for that.
    pub settle: Vec<Settling>,
    /// Runs that are due while their sync stands still, because Salesforce refused too much for a right or a setting:
    /// a person mends it, and runs the sync by hand.
    pub standing_still: Vec<RunRef>,
    /// Syncs that cannot run; they do not stop the others.
    pub problems: Vec<Failure>,
}

/// A run that is settled instead of another that is due.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Settling {
    /// The run that failed.
    pub run: RunRef,
    /// The run that waits for it.
    pub next: RunId,
}

/// Freezes the runs that are due.
///
/// # Errors
/// [`engine::Class::Configuration`] when the event names no sync that exists, or the folder of syncs
/// cannot be read; the classes of the store otherwise. A bad sync among others is listed, not returned.
pub async fn handle(store: &Store, syncs: &Path, event: Event) -> Result<Dispatched, Failure> {
    match (event.scheduled_time, event.sync) {
        (Some(tick), None) => scheduled(store, syncs, tick).await,
        (None, Some(sync)) => {
            let (mode, run) = match (event.mode, event.run) {
                (Ask::Apply, Some(run)) => return apply(store, RunRef { sync, run }, "hand").await,
                (Ask::Apply, None) => {
                    return Err(Failure::configuration("the event does not say which `run` is applied"));
                }
                (Ask::Plan, run) => (Mode::Plan, run),
                (Ask::Run, run) => (Mode::Run, run),
                (Ask::Rebuild, run) => (Mode::Rebuild, run),
                (Ask::RebuildAll, run) => (Mode::RebuildAll, run),
            };
            if let Some(rows) = event.release {
                let head = store.get_json::<Head>(&layout::head(&sync)).await?.unwrap_or_default();
                let release = Release { at: Timestamp::now(), by: "hand".to_owned(), rows };
                release::write(store, &sync, &head, &release).await?;
            }
            let run = RunRef { sync, run: run.unwrap_or_else(|| RunId::at(Timestamp::now())) };
            by_hand(store, syncs, run, mode, "hand").await
        }
        _ => Err(Failure::configuration("the event names neither a `scheduled_time` nor a `sync`")
            .hint(r#"send {"sync": "customers"} to run a sync by hand"#)),
    }
}

/// Freezes one run, whether its sync is due or not.
///
/// # Errors
/// As [`handle`]; a sync that cannot be read is returned.
pub async fn by_hand(
    store: &Store,
    syncs: &Path,
    run: RunRef,
    mode: Mode,
    started_by: &str,
) -> Result<Dispatched, Failure> {
    let sync = read_sync(syncs, &run.sync)?;
    let mut dispatched = Dispatched::default();
    freeze(store, run, sync, mode, started_by, &mut dispatched).await?;
    Ok(dispatched)
}

async fn scheduled(store: &Store, syncs: &Path, tick: Timestamp) -> Result<Dispatched, Failure> {
    let (names, problems) = sync_names(syncs)?;
    let mut dispatched = Dispatched { problems, ..Dispatched::default() };
    for name in names {
        if let Err(failure) = scheduled_sync(store, syncs, name, tick, &mut dispatched).await {
            dispatched.problems.push(failure);
        }
    }
    Ok(dispatched)
}

async fn scheduled_sync(
    store: &Store,
    syncs: &Path,
    name: SyncName,
    tick: Timestamp,
    dispatched: &mut Dispatched,
) -> Result<(), Failure> {
    let sync = read_sync(syncs, &name)?;
    let Some(schedule) = &sync.schedule else { return Ok(()) };
    let Some(due) = schedule::due(schedule, tick, LOOK_BACK)? else { return Ok(()) };
    let run = RunRef { sync: name, run: RunId::at(due) };
    let lease: Option<Lease> = store.get_json(&layout::lease(&run.sync)).await?;
    if lease.is_some_and(|lease| lease.stopped.is_some()) {
        dispatched.standing_still.push(run);
        return Ok(());
    }
    freeze(store, run, sync, Mode::Run, "schedule", dispatched).await
}

async fn freeze(
    store: &Store,
    run: RunRef,
    sync: Sync,
    mode: Mode,
    started_by: &str,
    dispatched: &mut Dispatched,
) -> Result<(), Failure> {
    if !is_free(store, &run, mode, dispatched).await? {
        return Ok(());
    }
    let document = Run {
        run: run.run.clone(),
        mode,
        started_by: started_by.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        sync,
    };
    // The first freeze wins: a second delivery of the same tick must not change what is running.
    store.create_json(&layout::run(&run), &document).await?;
    dispatched.start.push(run);
    Ok(())
}

/// Whether a run may go on now. When it may not, it waits, and what it waits for is settled if nobody else does that.
async fn is_free(
    store: &Store,
    run: &RunRef,
    mode: Mode,
    dispatched: &mut Dispatched,
) -> Result<bool, Failure> {
    match lease::standing(store, run).await? {
        Standing::Free => return Ok(true),
        Standing::Going(_) => dispatched.waiting.push(run.clone()),
        Standing::Unsettled(left) => {
            let before = RunRef { sync: run.sync.clone(), run: left.clone() };
            if mode.asks() && lease::is_at_rest(store, &before).await? {
                return Ok(true);
            }
            give_up(store, run.clone(), left, dispatched).await?;
        }
    }
    Ok(false)
}

/// Lets the plan of a run that stopped there be sent.
///
/// # Errors
/// Those of [`approval::apply`].
pub async fn apply(store: &Store, run: RunRef, by: &str) -> Result<Dispatched, Failure> {
    let mut dispatched = Dispatched::default();
    if is_free(store, &run, Mode::Run, &mut dispatched).await? {
        approval::apply(store, &run, by).await?;
        dispatched.apply.push(run);
    }
    Ok(dispatched)
}

/// Lets a run that failed send nothing more. Its execution collects and settles what it has sent.
async fn give_up(
    store: &Store,
    next: RunRef,
    left: RunId,
    dispatched: &mut Dispatched,
) -> Result<(), Failure> {
    let run = RunRef { sync: next.sync.clone(), run: left };
    store.create_json(&layout::given_up(&run), &GivenUp { next: Some(next.run.clone()) }).await?;
    dispatched.settle.push(Settling { run, next: next.run.clone() });
    dispatched.waiting.push(next);
    Ok(())
}

/// Starts the executions of the runs that are due, then tells of what could not be done.
///
/// # Errors
/// The first problem, after everything that can be started has been.
pub async fn start<S, F>(mut dispatched: Dispatched, starter: S) -> Result<Dispatched, Failure>
where
    S: Fn(String, String) -> F,
    F: Future<Output = Result<(), Failure>>,
{
    let settling = dispatched.settle.iter().map(|one| (one.run.settling_name(&one.next), &one.run));
    let beginning = dispatched.start.iter().map(|run| (run.execution_name(), run));
    let applying = dispatched.apply.iter().map(|run| (run.applying_name(), run));
    for (name, run) in settling.chain(beginning).chain(applying) {
        let input = serde_json::to_string(run).expect("a run reference is plain JSON");
        if let Err(failure) = starter(name, input).await {
            dispatched.problems.push(failure.at(run));
        }
    }
    match dispatched.problems.first() {
        None => Ok(dispatched),
        Some(first) => {
            let others = dispatched.problems.len() - 1;
            let more = if others == 0 { String::new() } else { format!(" ({others} more)") };
            Err(Failure { message: format!("{}{more}", first.message), ..first.clone() })
        }
    }
}

/// Reads and checks one sync.
///
/// # Errors
/// [`engine::Class::Configuration`] when there is no such file or it is not a valid sync.
pub fn read_sync(syncs: &Path, name: &SyncName) -> Result<Sync, Failure> {
    let path = syncs.join(format!("{name}.yaml"));
    let text = std::fs::read_to_string(&path).map_err(|error| {
        Failure::configuration(format!("`{}` cannot be read: {}", path.display(), error.kind()))
            .hint("a sync is one YAML file in the folder of syncs")
    })?;
    Sync::parse(&sync_file(name), &text).map_err(Failure::from)
}

/// The names of every sync in the folder, sorted, and what is wrong with the files that name none.
///
/// # Errors
/// [`engine::Class::Configuration`] when the folder cannot be read.
pub fn sync_names(syncs: &Path) -> Result<(Vec<SyncName>, Vec<Failure>), Failure> {
    let unreadable = |error: std::io::Error| {
        Failure::configuration(format!(
            "the folder of syncs `{}` cannot be read: {}",
            syncs.display(),
            error.kind()
        ))
        .hint("it holds one YAML file for each sync; on the command line, `--syncs` names it")
    };
    let (mut names, mut problems) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(syncs).map_err(unreadable)? {
        let file = entry.map_err(unreadable)?.file_name();
        if let Some(name) = file.to_string_lossy().strip_suffix(".yaml") {
            match name.parse() {
                Ok(name) => names.push(name),
                Err(failure) => problems.push(failure),
            }
        }
    }
    names.sort();
    Ok((names, problems))
}

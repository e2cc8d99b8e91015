//! One run of a sync at a time.
//!
//! The lease is replaced by compare-and-set and never deleted: deleting a lease that expired and
//! creating it anew are two steps, and between them two runs could each believe to hold it.

use engine::{
    Failure, RunId, RunRef,
    baseline::{State, no_head},
    document::{Base, Format, Head, Lease, Run, Stopped, from_bytes, to_bytes},
    layout,
};
use jiff::{SignedDuration, Timestamp};

use crate::{Put, Store, Version};

/// How long a run that shows no sign of life keeps its lease.
const LIFE: SignedDuration = SignedDuration::from_hours(6);

/// How often a lost race is looked at again before giving up.
const RACES: u32 = 4;

/// Whether a run may begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It may.
    Free,
    /// Another run is still going.
    Going(Lease),
    /// Another run has begun to send and did not end: what it sent has to be settled first.
    Unsettled(RunId),
}

/// Whether a run may begin, or go on.
///
/// # Errors
/// The classes of the store.
pub async fn standing(store: &Store, run: &RunRef) -> Result<Standing, Failure> {
    let (lease, _) = read(store, run).await?;
    stands(store, run, lease.as_ref()).await
}

async fn stands(store: &Store, run: &RunRef, lease: Option<&Lease>) -> Result<Standing, Failure> {
    let Some(lease) = lease else { return Ok(Standing::Free) };
    let of = |other: &RunId| RunRef { sync: run.sync.clone(), run: other.clone() };
    if let Some(left) = lease.unsettled.as_ref().filter(|left| **left != run.run)
        // A rebuild that took over from it may have committed, and died before it could say so.
        && has_sent(store, &of(left)).await?
    {
        return Ok(Standing::Unsettled(left.clone()));
    }
    match lease.holder.as_ref().filter(|holder| **holder != run.run) {
        None => Ok(Standing::Free),
        Some(_) if lease.expires > Timestamp::now() => Ok(Standing::Going(lease.clone())),
        // It died without a word.
        Some(dead) if has_sent(store, &of(dead)).await? => Ok(Standing::Unsettled(dead.clone())),
        Some(_) => Ok(Standing::Free),
    }
}

/// Whether a run may have sent something that no commit knows of.
async fn has_sent(store: &Store, run: &RunRef) -> Result<bool, Failure> {
    Ok(store.exists(&layout::limits(run, 1)).await?
        && matches!(age(store, run).await?, Some(Age::Current | Age::Unknown)))
}

/// Takes the lease for a run, or renews it.
///
/// # Errors
/// [`engine::Class::Contention`] when another run holds it, or has left something to settle;
/// [`engine::Class::Configuration`] when the head is damaged; the classes of the store otherwise.
pub async fn hold(store: &Store, run: &RunRef) -> Result<(), Failure> {
    for _ in 0..RACES {
        let (current, version) = read(store, run).await?;
        let left = match stands(store, run, current.as_ref()).await? {
            Standing::Free => None,
            Standing::Going(lease) => return Err(held(run, &lease)),
            Standing::Unsettled(left) if takes_over(store, run, &left).await? => Some(left),
            Standing::Unsettled(left) => return Err(unsettled(run, &left)),
        };
        let now = Timestamp::now();
        if current.as_ref().is_some_and(|lease| {
            lease.holder.as_ref() == Some(&run.run) && lease.expires.duration_since(now) > LIFE / 2
        }) {
            return Ok(());
        }
        // A late try of a run that is over must not take what nobody would give back.
        match age(store, run).await? {
            Some(Age::Committed) => return Ok(()),
            Some(Age::Stale) => return Err(stale(run)),
            Some(Age::Unknown) => return Err(damaged(run)),
            Some(Age::Current) | None => {}
        }
        let (stopped, unsettled) = current.map_or((None, None), |lease| (lease.stopped, lease.unsettled));
        let unsettled = left.or(unsettled.filter(|left| *left == run.run));
        let holder = Some(run.run.clone());
        let mine = Lease { format: Format::CURRENT, holder, expires: now + LIFE, stopped, unsettled };
        if write(store, run, &mine, version.as_ref()).await? {
            return Ok(());
        }
    }
    Err(Failure::contention(format!("the lease of `{}` keeps changing hands", run.sync)))
}

/// Gives the lease of a run that failed back, when it holds it, and keeps in mind what it may have sent.
///
/// # Errors
/// The classes of the store.
pub async fn release_failed(store: &Store, run: &RunRef) -> Result<(), Failure> {
    let left = has_sent(store, run).await?.then(|| run.run.clone());
    give_back(store, run, |lease| {
        // What it was to take over from another run is still as it was.
        let unsettled = left.or_else(|| lease.unsettled.clone().filter(|other| *other != run.run));
        Lease { unsettled, ..lease }
    })
    .await
}

/// Gives the lease of a plan or a rebuild that ended back, when it holds it. It has tried nothing out: a sync
/// that stands still goes on standing still.
///
/// # Errors
/// The classes of the store.
pub async fn release_untried(store: &Store, run: &RunRef) -> Result<(), Failure> {
    give_back(store, run, |lease| Lease { unsettled: None, ..lease }).await
}

/// Whether a run that is not settled has nothing under way any more: each job that was begun is collected.
///
/// Then a rebuild may take over from it, which asks the org for what it sent: a segment that is lost keeps it from ever
/// being settled.
///
/// # Errors
/// The classes of the store.
pub async fn is_at_rest(store: &Store, run: &RunRef) -> Result<bool, Failure> {
    let begun = store.list(&layout::jobs_folder(run)).await?;
    let kept = store.list(&layout::results_folder(run)).await?;
    Ok(begun.iter().all(|entry| {
        layout::summary_of(run, entry).is_some_and(|summary| kept.binary_search(&summary).is_ok())
    }))
}

async fn takes_over(store: &Store, run: &RunRef, left: &RunId) -> Result<bool, Failure> {
    let frozen: Option<Run> = store.get_json(&layout::run(run)).await?;
    let asks = frozen.is_some_and(|frozen| frozen.mode.asks());
    Ok(asks && is_at_rest(store, &RunRef { sync: run.sync.clone(), run: left.clone() }).await?)
}

/// Gives the lease of a run that ended back, when it holds it, and says whether the sync stands still from now on.
///
/// # Errors
/// The classes of the store.
pub async fn release(store: &Store, run: &RunRef, stopped: Option<Stopped>) -> Result<(), Failure> {
    give_back(store, run, |lease| Lease { stopped, unsettled: None, ..lease }).await
}

async fn give_back(store: &Store, run: &RunRef, change: impl FnOnce(Lease) -> Lease) -> Result<(), Failure> {
    let (Some(lease), version) = read(store, run).await? else { return Ok(()) };
    if lease.holder.as_ref() == Some(&run.run) {
        // Losing this race means that somebody else holds the lease by now: it is no longer ours to give back.
        write(store, run, &Lease { holder: None, ..change(lease) }, version.as_ref()).await?;
    }
    Ok(())
}

/// Stops a run whose baseline is no longer the head: it would send what another run has sent already.
///
/// # Errors
/// [`engine::Class::Contention`] when another run has committed since this one began,
/// [`engine::Class::Configuration`] when this one has not begun or the head is damaged, the classes of the store
/// otherwise.
pub async fn refuse_stale(store: &Store, run: &RunRef) -> Result<(), Failure> {
    store.require::<Base>(&layout::base(run)).await?;
    match age(store, run).await? {
        Some(Age::Stale) => Err(stale(run)),
        Some(Age::Unknown) => Err(damaged(run)),
        Some(Age::Current | Age::Committed) | None => Ok(()),
    }
}

/// How the head of a sync stands to the one that a run began from.
enum Age {
    /// It is the same.
    Current,
    /// It is what this run has committed.
    Committed,
    /// Another run has committed.
    Stale,
    /// It is damaged since: nobody can say.
    Unknown,
}

/// None when the run has not begun.
async fn age(store: &Store, run: &RunRef) -> Result<Option<Age>, Failure> {
    let Some(base) = store.get_json::<Base>(&layout::base(run)).await? else { return Ok(None) };
    let place = layout::head(&run.sync);
    let Some(head) = store.get(&place).await? else { return Ok(Some(Age::Current)) };
    if base.version == Some(head.version.0) {
        return Ok(Some(Age::Current));
    }
    Ok(Some(match from_bytes::<Head>(&place, &head.bytes) {
        Ok(head) if head.run.as_ref() == Some(&run.run) => Age::Committed,
        Ok(_) => Age::Stale,
        Err(_) => Age::Unknown,
    }))
}

fn damaged(run: &RunRef) -> Failure {
    no_head(&run.sync, &layout::head(&run.sync), State::Damaged)
}

fn stale(run: &RunRef) -> Failure {
    Failure::contention(format!("another run of `{}` has committed since `{run}` began", run.sync))
        .hint("start a new run: it compares with what is committed now")
}

async fn read(store: &Store, run: &RunRef) -> Result<(Option<Lease>, Option<Version>), Failure> {
    let place = layout::lease(&run.sync);
    match store.get(&place).await? {
        Some(object) => {
            let lease: Lease = from_bytes(&place, &object.bytes)?;
            // Whoever reads it may want to replace it.
            lease.format.require_known(&place)?;
            Ok((Some(lease), Some(object.version)))
        }
        None => Ok((None, None)),
    }
}

async fn write(store: &Store, run: &RunRef, lease: &Lease, over: Option<&Version>) -> Result<bool, Failure> {
    let put = store.replace(&layout::lease(&run.sync), to_bytes(lease), over).await?;
    Ok(matches!(put, Put::Written(_)))
}

fn held(run: &RunRef, lease: &Lease) -> Failure {
    let holder = lease.holder.as_ref().map_or("another run", RunId::as_str);
    Failure::contention(format!("run `{holder}` of `{}` is still going", run.sync)).hint(format!(
        "two runs of one sync never overlap; its lease ends at {:.0} unless it is given back before",
        lease.expires
    ))
}

fn unsettled(run: &RunRef, left: &RunId) -> Failure {
    Failure::contention(format!("run `{left}` of `{}` has sent rows that are not settled", run.sync)).hint(
        "it is settled before another run begins: the next dispatch of the sync does that, and so does \
         `backhaul run`",
    )
}

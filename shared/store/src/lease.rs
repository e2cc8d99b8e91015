//! One run of a sync at a time.
//!
//! The lease is replaced by compare-and-set and never deleted: deleting a lease that expired and
//! creating it anew are two steps, and between them two runs could each believe to hold it.

use engine::{
    Failure, RunId, RunRef,
    document::{Base, Head, Lease, Stopped, from_bytes, to_bytes},
    layout,
};
use jiff::{SignedDuration, Timestamp};

use crate::{Put, Store, Version};

/// How long a run that shows no sign of life keeps its lease.
const LIFE: SignedDuration = SignedDuration::from_hours(6);

/// How often a lost race is looked at again before giving up.
const RACES: u32 = 4;

/// Takes the lease for a run, or renews it.
///
/// # Errors
/// [`engine::Class::Contention`] when another run holds it, the classes of the store otherwise.
pub async fn hold(store: &Store, run: &RunRef) -> Result<(), Failure> {
    for _ in 0..RACES {
        let (current, version) = read(store, run).await?;
        let now = Timestamp::now();
        match &current {
            Some(lease)
                if lease.holder.as_ref().is_some_and(|holder| *holder != run.run) && lease.expires > now =>
            {
                return Err(held(run, lease));
            }
            Some(lease) if lease.holder.is_some() && lease.expires.duration_since(now) > LIFE / 2 => {
                return Ok(());
            }
            _ => {}
        }
        let stopped = current.and_then(|lease| lease.stopped);
        let mine = Lease { holder: Some(run.run.clone()), expires: now + LIFE, stopped };
        if write(store, run, &mine, version.as_ref()).await? {
            return Ok(());
        }
    }
    Err(Failure::contention(format!("the lease of `{}` keeps changing hands", run.sync)))
}

/// Gives the lease back, when this run holds it, and leaves the sync as still or as free as it was.
///
/// # Errors
/// The classes of the store.
pub async fn release(store: &Store, run: &RunRef) -> Result<(), Failure> {
    give_back(store, run, |lease| lease).await
}

/// Gives the lease back, when this run holds it, and says whether the sync stands still from now on.
///
/// # Errors
/// The classes of the store.
pub async fn release_as(store: &Store, run: &RunRef, stopped: Option<Stopped>) -> Result<(), Failure> {
    give_back(store, run, |lease| Lease { stopped, ..lease }).await
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
/// [`engine::Class::Configuration`] when this one has not begun, the classes of the store otherwise.
pub async fn refuse_stale(store: &Store, run: &RunRef) -> Result<(), Failure> {
    let base: Base = store.require(&layout::base(run)).await?;
    let place = layout::head(&run.sync);
    let Some(head) = store.get(&place).await? else { return Ok(()) };
    if base.version == Some(head.version.0)
        || from_bytes::<Head>(&place, &head.bytes)?.run.as_ref() == Some(&run.run)
    {
        return Ok(());
    }
    Err(Failure::contention(format!("another run of `{}` has committed since `{run}` began", run.sync))
        .hint("start a new run: it compares with what is committed now"))
}

async fn read(store: &Store, run: &RunRef) -> Result<(Option<Lease>, Option<Version>), Failure> {
    let place = layout::lease(&run.sync);
    match store.get(&place).await? {
        Some(object) => Ok((Some(from_bytes(&place, &object.bytes)?), Some(object.version))),
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

//! What a person has approved of a plan, and of this plan only.
//!
//! An approval names the checksum of the plan that was looked at. It is created and never replaced, and holds for as
//! long as the baseline is the one that the plan was compared with.

use engine::{
    Failure, RunRef,
    document::{Approval, Mode, Run},
    layout,
};

use crate::{Put, Store, lease};

/// Lets the plan of a run through although it goes past a guard rail.
///
/// # Errors
/// Those of [`approve`].
pub async fn release(store: &Store, run: &RunRef, by: &str) -> Result<(), Failure> {
    approve(store, run, &layout::released(run), by).await
}

/// Whether a person let the plan of a run through although it goes past a guard rail.
///
/// # Errors
/// [`engine::Class::Guard`] when it was another plan; the classes of the store.
pub async fn is_released(store: &Store, run: &RunRef) -> Result<bool, Failure> {
    holds(store, run, &layout::released(run)).await
}

/// Lets a plan that was only looked at be sent.
///
/// # Errors
/// Those of [`approve`]; [`engine::Class::Configuration`] too when the run was not to stop at its plan, or has not come
/// to its end.
pub async fn apply(store: &Store, run: &RunRef, by: &str) -> Result<(), Failure> {
    let frozen: Run = store.require(&layout::run(run)).await?;
    if frozen.mode != Mode::Plan {
        return Err(Failure::configuration(format!("`{run}` was not to stop at its plan"))
            .hint("go on with it by `backhaul run --run`, or by a redrive of its execution"));
    }
    // Its end gives the lease back, and must not find that there is more to do.
    if !store.exists(&layout::preview_json(run)).await? {
        return Err(Failure::configuration(format!("`{run}` has not come to the end of its plan"))
            .hint("a plan that can be looked at has a `preview.json` in its folder"));
    }
    approve(store, run, &layout::apply(run), by).await
}

/// How far a run goes that was frozen to go as far as `frozen`: a plan that is applied goes to the end.
///
/// # Errors
/// [`engine::Class::Guard`] when another plan was applied; the classes of the store.
pub async fn mode(store: &Store, run: &RunRef, frozen: Mode) -> Result<Mode, Failure> {
    match frozen {
        Mode::Plan if !holds(store, run, &layout::apply(run)).await? => Ok(Mode::Plan),
        Mode::Plan | Mode::Run => Ok(Mode::Run),
        Mode::Rebuild | Mode::RebuildAll => Ok(frozen),
    }
}

/// Writes an approval of the plan as it is, or finds it written.
///
/// # Errors
/// [`engine::Class::Configuration`] when the run has no plan; [`engine::Class::Contention`] when another run has
/// committed since; [`engine::Class::Guard`] when another plan was approved under this name; the classes of the store.
async fn approve(store: &Store, run: &RunRef, place: &str, by: &str) -> Result<(), Failure> {
    if !store.exists(&layout::plan(run, 1)).await? {
        return Err(Failure::configuration(format!("`{run}` has no plan"))
            .hint("a run that went as far as its plan has a `plan-1.json` in its folder"));
    }
    lease::refuse_stale(store, run).await?;
    let approval = Approval { plan: store.checksum(&layout::plan(run, 1)).await?, by: by.to_owned() };
    if let Put::Exists = store.create_json(place, &approval).await? {
        holds(store, run, place).await?;
    }
    Ok(())
}

async fn holds(store: &Store, run: &RunRef, place: &str) -> Result<bool, Failure> {
    let Some(approval) = store.get_json::<Approval>(place).await? else { return Ok(false) };
    if approval.plan == store.checksum(&layout::plan(run, 1)).await? {
        return Ok(true);
    }
    Err(Failure::guard(format!("`{place}` is for another plan than `{}`", layout::plan(run, 1)))
        .hint("nothing was sent; start a new run, and look at its plan"))
}

//! What a person has approved of a plan, and of this plan only.
//!
//! An approval names the checksum of the plan that was looked at. It is created and never replaced, and holds for as
//! long as the baseline is the one that the plan was compared with.

use engine::{Failure, RunRef, document::Approval, layout};

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

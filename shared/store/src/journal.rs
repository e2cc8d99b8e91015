//! The journal of a job in the bucket.

use crate::Store;
use engine::{
    Failure, JobRef, RunRef,
    journal::{Attempt, Journal, Next, attempt_entry, decision_entry, refused_entry},
    layout,
};

/// Reads the journal of a job.
///
/// # Errors
/// The classes of the store.
pub async fn read(store: &Store, run: &RunRef, job: JobRef) -> Result<Journal, Failure> {
    let place = |entry: String| layout::journal(run, job, &entry);
    let mut journal = Journal::default();
    for attempt in 0.. {
        let Some(entry) = store.get_json::<Attempt>(&place(attempt_entry(attempt))).await? else { break };
        journal.attempted(attempt, entry);
        if let Some(decision) = store.get_json(&place(decision_entry(attempt))).await? {
            journal.decided(attempt, decision);
        }
        if store.exists(&place(refused_entry(attempt))).await? {
            journal.refused(attempt);
        }
    }
    Ok(journal)
}

/// The Salesforce job that was closed for a planned job, and its attempt.
///
/// # Errors
/// [`engine::Class::Configuration`] when there is none yet, the classes of the store otherwise.
pub async fn closed_job(store: &Store, run: &RunRef, job: JobRef) -> Result<(u32, String), Failure> {
    match read(store, run, job).await?.next() {
        Next::LookAt { attempt, job } => Ok((attempt, job)),
        _ => Err(Failure::configuration(format!("job {job} of `{run}` has not been submitted"))
            .hint("invoke `submit` for it first")),
    }
}

/// Passes an outcome on; a failure is noted in the journal, for Plan to tell.
///
/// # Errors
/// The failure of the outcome.
pub async fn record_failure<T>(
    store: &Store,
    run: &RunRef,
    job: JobRef,
    outcome: Result<T, Failure>,
) -> Result<T, Failure> {
    if let Err(failure) = &outcome {
        // Failing to note it must not hide it.
        let _ = note(store, run, job, failure).await;
    }
    outcome
}

/// How often a job has failed, and why the last time.
///
/// # Errors
/// The classes of the store.
pub async fn failures(store: &Store, run: &RunRef, job: JobRef) -> Result<(u32, Option<Failure>), Failure> {
    let (mut count, mut last) = (0, None);
    while let Some(failure) = store.get_json(&layout::job_failure(run, job, count)).await? {
        (count, last) = (count + 1, Some(failure));
    }
    Ok((count, last))
}

/// Notes a failure, unless nobody began the run. One that comes again is noted again: Plan counts them.
async fn note(store: &Store, run: &RunRef, job: JobRef, failure: &Failure) -> Result<(), Failure> {
    let (count, _) = failures(store, run, job).await?;
    if store.exists(&layout::run(run)).await? {
        store.create_json(&layout::job_failure(run, job, count), failure).await?;
    }
    Ok(())
}

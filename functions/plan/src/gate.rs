//! The gate after each turn of a wave: every job of it is collected, or the run fails visibly.

use engine::{Class, Failure, JobRef, RunRef, document::Plan, layout};
use store::{Put, Store, journal};

use crate::Job;

/// How often jobs that never said a word are handed out again.
const MOST_SILENCES: usize = 3;

/// How often jobs that failed are told of before they are no longer handed out. While a vendor is down every pass fails
/// alike; the next run settles what was sent, and takes the rest.
const MOST_TELLINGS: usize = 3;

/// The jobs to load next: those of the first turn that is not collected. None when all are.
///
/// Jobs that failed are told of once, as the failure of this stage; called again after that, which is how a
/// redrive goes on, it hands them out once more, a few times in all. Jobs that left no trace at all are
/// handed out again a few times.
///
/// # Errors
/// The last failure of those jobs; [`Class::Guard`] when they keep silent; the classes of the store.
pub(crate) async fn undone(store: &Store, run: &RunRef, plan: &Plan) -> Result<Option<Vec<Job>>, Failure> {
    let undone = not_collected(store, run, plan).await?;
    let Some(&first) = undone.first() else { return Ok(None) };
    let turn = plan.jobs[first as usize].turn;
    let jobs: Vec<u32> = undone.into_iter().filter(|job| plan.jobs[*job as usize].turn == turn).collect();
    let (failures, last) = failures(store, run, plan.wave, &jobs).await?;
    let turn = format!("{}turn-{turn}-", layout::gate_folder(run, plan.wave));
    let told = format!("{turn}{failures:03}");
    match last {
        Some(failure) => {
            let tellings = store.list(&turn).await?.len();
            let put = store.create_json(&format!("{told}.json"), &failure).await?;
            if matches!(put, Put::Written(_)) || tellings > MOST_TELLINGS {
                let of = plan.jobs.len();
                return Err(failure.at(format!("{} of {of} jobs were not carried out", jobs.len())));
            }
        }
        None => note_silence(store, plan, &told, jobs.len()).await?,
    }
    Ok(Some(jobs.into_iter().map(|job| Job { job }).collect()))
}

async fn not_collected(store: &Store, run: &RunRef, plan: &Plan) -> Result<Vec<u32>, Failure> {
    let mut undone = Vec::new();
    for (job, _) in (0u32..).zip(&plan.jobs) {
        if !store.exists(&layout::results_summary(run, JobRef { wave: plan.wave, job })).await? {
            undone.push(job);
        }
    }
    Ok(undone)
}

/// How often the jobs have failed in all, and one of their last failures, which names its job.
async fn failures(
    store: &Store,
    run: &RunRef,
    wave: u32,
    jobs: &[u32],
) -> Result<(u32, Option<Failure>), Failure> {
    let (mut count, mut last) = (0, None);
    for &job in jobs {
        let job = JobRef { wave, job };
        let (failures, failure) = journal::failures(store, run, job).await?;
        count += failures;
        last = last.or(failure.map(|failure| failure.at(format!("job {job}"))));
    }
    Ok((count, last))
}

async fn note_silence(store: &Store, plan: &Plan, told: &str, jobs: usize) -> Result<(), Failure> {
    let silences = store.list(&format!("{told}-")).await?.len();
    if silences >= MOST_SILENCES {
        let (of, wave) = (plan.jobs.len(), plan.wave);
        return Err(Failure::new(
            Class::Guard,
            format!("{jobs} of {of} jobs of wave {wave} were not carried out, and nothing says why"),
        )
        .hint("see the log of `submit`; redrive the execution: what was submitted is looked at, never sent twice"));
    }
    store.create_json(&format!("{told}-{silences}.json"), &silences).await.map(drop)
}

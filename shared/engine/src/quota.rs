//! What a load takes of the org's allowances, and whether enough is left for everyone else.
//!
//! Every request counts against the API calls of 24 hours, every 10,000 rows of a bulk job that are begun
//! against the batches, and both are shared by all clients of the org:
//! <https://developer.salesforce.com/docs/atlas.en-us.salesforce_app_limits_cheatsheet.meta/salesforce_app_limits_cheatsheet/salesforce_app_limits_platform_api.htm>.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    Failure,
    config::{Api, Quota, Share},
    document::{PlannedJob, Prediction},
};

/// Rows of one batch of a bulk job.
pub const BATCH_ROWS: u64 = 10_000;

/// Rows of one call of the REST collections.
///
/// <https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_composite_sobjects_collections.htm>
pub const CALL_ROWS: u64 = 200;

/// An allowance of the org over 24 hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowance {
    /// All of it.
    pub max: u64,
    /// What nobody has used yet.
    pub remaining: u64,
}

/// `limits-<wave>.json`: the allowances as they were when the wave was let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// API calls.
    pub api_calls: Allowance,
    /// Bulk batches; none when the org does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batches: Option<Allowance>,
}

impl Limits {
    /// Nothing is left: what an org says that refuses to say it.
    pub const NONE: Self = Self { api_calls: Allowance { max: 0, remaining: 0 }, batches: None };
}

/// What loading the jobs will take. Polls are an estimate, everything else is exact unless a call has to be repeated.
#[must_use]
pub fn predict(jobs: &[PlannedJob]) -> Prediction {
    let mut all = Prediction::default();
    for job in jobs {
        if job.api == Api::Rest {
            all.api_calls += rest_calls(job);
        } else {
            all.api_calls += BULK_CALLS + polls(job.rows);
            all.batches += job.rows.div_ceil(BATCH_ROWS);
        }
    }
    all
}

/// The calls of a REST job: each carries rows of one fragment.
#[must_use]
pub fn rest_calls(job: &PlannedJob) -> u64 {
    job.fragments.iter().map(|fragment| fragment.rows.div_ceil(CALL_ROWS)).sum()
}

/// How long loading the jobs may take, in seconds: an estimate, as nobody knows how busy the org will be.
#[must_use]
pub fn estimated_seconds(jobs: &[PlannedJob], concurrency: u32) -> u64 {
    let mut turns: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
    for job in jobs {
        let seconds = match job.api {
            Api::Rest => rest_calls(job),
            Api::Auto | Api::Bulk => JOB_SECONDS + job.rows / ROWS_A_SECOND,
        };
        let (all, longest) = turns.entry(job.turn).or_default();
        (*all, *longest) = (*all + seconds, seconds.max(*longest));
    }
    let side_by_side = u64::from(concurrency.max(1));
    turns.into_values().map(|(all, longest)| all.div_ceil(side_by_side).max(longest)).sum()
}

/// What a bulk job takes before its first row and after its last.
const JOB_SECONDS: u64 = 5;

/// Whether a load may begin: what it takes must leave what the sync keeps for everyone else.
///
/// # Errors
/// [`crate::Class::Quota`] with both numbers when it would not.
pub fn check(quota: &Quota, limits: &Limits, prediction: &Prediction) -> Result<(), Failure> {
    leaves("API calls", "keep_api_calls", quota.keep_api_calls, limits.api_calls, prediction.api_calls)?;
    match limits.batches {
        Some(batches) => {
            leaves("bulk batches", "keep_batches", quota.keep_batches, batches, prediction.batches)
        }
        None => Ok(()),
    }
}

fn leaves(what: &str, key: &str, keep: Share, allowance: Allowance, takes: u64) -> Result<(), Failure> {
    let Allowance { max, remaining } = allowance;
    let keep = keep.of(max);
    if takes == 0 || remaining.checked_sub(takes).is_some_and(|left| left >= keep) {
        return Ok(());
    }
    Err(Failure::quota(format!(
        "the load takes {takes} {what}; of {max} in 24 hours {remaining} are left, and `quota.{key}` keeps {keep}"
    ))
    .hint("it goes on when the allowance has come back; load less often, or keep less for others"))
}

/// Create, upload, close, and the three result files.
const BULK_CALLS: u64 = 6;

/// Rows that a job was seen to take in a second.
const ROWS_A_SECOND: u64 = 800;

/// How often a job of so many rows is asked for, with waits that double up to a minute.
fn polls(rows: u64) -> u64 {
    let (mut waited, mut wait, mut polls) = (1, 1, 1);
    while waited < rows / ROWS_A_SECOND {
        waited += wait;
        wait = (wait * 2).min(60);
        polls += 1;
    }
    polls
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Fragment;

    fn job(api: Api, rows: u64) -> PlannedJob {
        let fragment =
            Fragment { chunk: 0, again: None, group: 0, removes: false, file: String::new(), rows, bytes: 0 };
        PlannedJob { api, turn: 0, canary: false, removes: false, fragments: vec![fragment], rows, bytes: 0 }
    }

    #[test]
    fn a_load_is_predicted_by_its_jobs() {
        for (jobs, api_calls, batches) in [
            (vec![], 0, 0),
            (vec![job(Api::Rest, 1)], 1, 0),
            (vec![job(Api::Rest, 200), job(Api::Rest, 201)], 3, 0),
            (vec![job(Api::Bulk, 1)], 7, 1),
            (vec![job(Api::Bulk, 10_000), job(Api::Bulk, 10_001)], 7 + 4 + 7 + 4, 3),
        ] {
            assert_eq!(predict(&jobs), Prediction { api_calls, batches }, "{jobs:?}");
        }
    }

    #[test]
    fn the_time_of_a_load_is_estimated_turn_by_turn() {
        let late = |rows| PlannedJob { turn: 1, ..job(Api::Bulk, rows) };
        for (jobs, concurrency, seconds) in [
            (vec![], 4, 0),
            (vec![job(Api::Rest, 401)], 4, 3),
            (vec![job(Api::Bulk, 80_000)], 4, 105),
            (vec![job(Api::Bulk, 80_000), job(Api::Bulk, 800)], 2, 105),
            (vec![job(Api::Bulk, 8_000), job(Api::Bulk, 8_000)], 1, 30),
            (vec![job(Api::Bulk, 8_000), late(8_000)], 4, 30),
        ] {
            assert_eq!(estimated_seconds(&jobs, concurrency), seconds, "{jobs:?}");
        }
    }

    #[test]
    fn what_is_kept_for_others_is_never_crossed() {
        let limits = |remaining| Limits {
            api_calls: Allowance { max: 1_000, remaining },
            batches: Some(Allowance { max: 10, remaining: 5 }),
        };
        let quota = Quota { keep_api_calls: Share::Percent(10), keep_batches: Share::Count(2) };
        let takes = |api_calls, batches| Prediction { api_calls, batches };
        for (remaining, prediction, fits) in [
            (120, takes(20, 3), true),
            (119, takes(20, 3), false),
            (120, takes(20, 4), false),
            (0, takes(0, 0), true),
            (10, takes(20, 0), false),
        ] {
            let checked = check(&quota, &limits(remaining), &prediction);
            assert_eq!(checked.is_ok(), fits, "{remaining} {prediction:?}");
        }
        let failure = check(&quota, &limits(50), &takes(20, 0)).unwrap_err();
        assert_eq!(failure.class, crate::Class::Quota);
        assert_eq!(
            failure.message,
            "the load takes 20 API calls; of 1000 in 24 hours 50 are left, and `quota.keep_api_calls` keeps 100"
        );
    }

    #[test]
    fn an_org_that_tells_no_batches_is_asked_for_calls_only() {
        let limits = Limits { api_calls: Allowance { max: 10, remaining: 10 }, batches: None };
        assert!(check(&Quota::default(), &limits, &Prediction { api_calls: 9, batches: 99 }).is_ok());
    }
}

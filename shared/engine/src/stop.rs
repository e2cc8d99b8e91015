//! When a sync stands still until a person has looked.
//!
//! A right or a setting that is missing refuses the same rows in every run. A few such rows are told and sent
//! again; when they are many, going on would only spend the org's allowances.

use std::collections::BTreeMap;

use crate::{
    RunId,
    document::{Collected, Stopped},
    taxonomy::{self, RowClass},
};

/// The share of the rows sent, in percent, from which on refusals for rights and settings stop the sync.
pub const SHARE: u64 = 20;

/// Whether the jobs collected so far, of all waves, stop the sync. `sent` are the rows of the first wave.
#[must_use]
pub fn stopped<'a>(run: &RunId, sent: u64, jobs: impl IntoIterator<Item = &'a Collected>) -> Option<Stopped> {
    let mut codes: BTreeMap<&str, u64> = BTreeMap::new();
    for (code, rows) in jobs.into_iter().flat_map(|job| &job.rejected) {
        if matches!(taxonomy::classify(code), RowClass::Permission | RowClass::Configuration) {
            *codes.entry(code).or_default() += rows;
        }
    }
    let rows: u64 = codes.values().sum();
    let (code, _) = codes.into_iter().max_by_key(|(_, rows)| *rows)?;
    let many = rows.saturating_mul(100) >= sent.saturating_mul(SHARE);
    many.then(|| Stopped { run: run.clone(), code: code.to_owned(), rows, canary: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(rejected: &[(&str, u64)]) -> Collected {
        let rejected = rejected.iter().map(|(code, rows)| ((*code).to_owned(), *rows)).collect();
        Collected { rejected, ..Collected::default() }
    }

    #[test]
    fn many_refusals_for_rights_stop_and_few_do_not() {
        let run: RunId = "20260101T000000Z".parse().unwrap();
        let right = "INSUFFICIENT_ACCESS_OR_READONLY";
        for (sent, jobs, expected) in [
            (100, vec![job(&[(right, 20)])], Some((right, 20))),
            (100, vec![job(&[(right, 19)])], None),
            (100, vec![job(&[(right, 10)]), job(&[("UNSUPPORTED_DML", 11)])], Some(("UNSUPPORTED_DML", 21))),
            (100, vec![job(&[("STRING_TOO_LONG", 100), ("UNABLE_TO_LOCK_ROW", 100)])], None),
            (0, vec![], None),
        ] {
            let stopped = stopped(&run, sent, &jobs);
            assert_eq!(stopped.as_ref().map(|s| (s.code.as_str(), s.rows)), expected, "{jobs:?}");
        }
    }
}

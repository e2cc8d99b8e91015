//! Submitting exactly once: what the journal of a job says, and what to do next.
//!
//! A job that was never closed processes nothing, so it can be abandoned and made anew; a job that may
//! have been closed is looked at and never submitted again. Between the two stands one document per
//! attempt, [`Decision`], that is created and never replaced: whoever writes it first decides, so a
//! late try of the stage cannot close what another try has abandoned, nor the other way round.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// `intent.json`: what is about to be submitted, written before anything is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// The object written to.
    pub object: String,
    /// The operation, in the vendor's spelling.
    pub operation: String,
    /// Rows of the upload.
    pub rows: u64,
    /// Bytes of the upload, with the header.
    pub bytes: u64,
}

/// `attempt-<n>.json`: a job was created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The Salesforce job id.
    pub job: String,
}

/// `decision-<n>.json`: what becomes of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Its upload is complete and it is being closed: from here on it may be processed.
    Close,
    /// It will never be closed.
    Abandon,
}

/// `refused-<n>.json`: Salesforce ended the closed job without attempting a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// The Salesforce job id.
    pub job: String,
}

/// The journal entries of one job, by attempt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Journal {
    attempts: BTreeMap<u32, Entries>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Entries {
    job: Option<String>,
    decision: Option<Decision>,
    refused: bool,
}

/// What a submission does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Create a job and upload to it.
    Create {
        /// The number of the new attempt.
        attempt: u32,
    },
    /// Decide to abandon the job, then abort it.
    Abandon {
        /// The number of the attempt.
        attempt: u32,
        /// The Salesforce job id.
        job: String,
    },
    /// Ask Salesforce for the job: it may have been closed.
    LookAt {
        /// The number of the attempt.
        attempt: u32,
        /// The Salesforce job id.
        job: String,
    },
}

/// The name of a journal entry.
#[must_use]
pub fn attempt_entry(attempt: u32) -> String {
    format!("attempt-{attempt}.json")
}

/// The name of a journal entry.
#[must_use]
pub fn decision_entry(attempt: u32) -> String {
    format!("decision-{attempt}.json")
}

/// The name of a journal entry.
#[must_use]
pub fn refused_entry(attempt: u32) -> String {
    format!("refused-{attempt}.json")
}

impl Journal {
    /// Notes that a job was created.
    pub fn attempted(&mut self, attempt: u32, entry: Attempt) {
        self.attempts.entry(attempt).or_default().job = Some(entry.job);
    }

    /// Notes what becomes of an attempt.
    pub fn decided(&mut self, attempt: u32, decision: Decision) {
        self.attempts.entry(attempt).or_default().decision = Some(decision);
    }

    /// Notes that no row of a closed job was attempted.
    pub fn refused(&mut self, attempt: u32) {
        self.attempts.entry(attempt).or_default().refused = true;
    }

    /// Requests that the attempts took: each a create, an upload, and a close or an abort.
    #[must_use]
    pub fn requests(&self) -> u64 {
        3 * self.attempts.len() as u64
    }

    /// What to do next, by the last attempt.
    #[must_use]
    pub fn next(&self) -> Next {
        let Some((&attempt, entries)) = self.attempts.last_key_value() else {
            return Next::Create { attempt: 0 };
        };
        match (&entries.job, entries.decision) {
            (Some(job), None) => Next::Abandon { attempt, job: job.clone() },
            (Some(job), Some(Decision::Close)) if !entries.refused => {
                Next::LookAt { attempt, job: job.clone() }
            }
            _ => Next::Create { attempt: attempt + 1 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal(decision: Option<Decision>, refused: bool) -> Journal {
        let mut journal = Journal::default();
        journal.attempted(0, Attempt { job: "750A".to_owned() });
        if let Some(decision) = decision {
            journal.decided(0, decision);
        }
        if refused {
            journal.refused(0);
        }
        journal
    }

    #[test]
    fn an_attempt_is_closed_or_abandoned_and_never_submitted_again_in_doubt() {
        let job = || "750A".to_owned();
        let table = [
            (Journal::default(), Next::Create { attempt: 0 }),
            (journal(None, false), Next::Abandon { attempt: 0, job: job() }),
            (journal(Some(Decision::Abandon), false), Next::Create { attempt: 1 }),
            (journal(Some(Decision::Close), false), Next::LookAt { attempt: 0, job: job() }),
            (journal(Some(Decision::Close), true), Next::Create { attempt: 1 }),
        ];
        for (journal, next) in table {
            assert_eq!(journal.next(), next, "{journal:?}");
        }
    }

    #[test]
    fn only_the_last_attempt_counts() {
        let mut journal = journal(Some(Decision::Abandon), false);
        journal.attempted(1, Attempt { job: "750B".to_owned() });
        assert_eq!(journal.next(), Next::Abandon { attempt: 1, job: "750B".to_owned() });
        journal.decided(1, Decision::Close);
        assert_eq!(journal.next(), Next::LookAt { attempt: 1, job: "750B".to_owned() });
    }
}

//! An ingest job, as Salesforce tells it.

use std::fmt;

use engine::{Class, Failure};
use serde::{Deserialize, Deserializer, Serialize};

use crate::problem::{classify, one_line};

/// The state of a job, in the vendor's spelling.
///
/// <https://developer.salesforce.com/docs/atlas.en-us.api_asynch.meta/api_asynch/get_job_info.htm>
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum JobState {
    /// Accepts the upload; nothing is processed.
    Open,
    /// Queued.
    UploadComplete,
    /// Rows are being processed.
    InProgress,
    /// Every row was tried; some may have failed.
    JobComplete,
    /// Given up; rows that were processed stay.
    Failed,
    /// Stopped by a person or by us; rows that were processed stay.
    Aborted,
    /// A state this version does not know.
    Unknown(String),
}

impl JobState {
    /// The vendor's word.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Open => "Open",
            Self::UploadComplete => "UploadComplete",
            Self::InProgress => "InProgress",
            Self::JobComplete => "JobComplete",
            Self::Failed => "Failed",
            Self::Aborted => "Aborted",
            Self::Unknown(word) => word,
        }
    }

    /// Whether nothing will change any more, so that the results are whole.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::JobComplete | Self::Failed | Self::Aborted)
    }
}

impl From<&str> for JobState {
    fn from(word: &str) -> Self {
        match word {
            "Open" => Self::Open,
            "UploadComplete" => Self::UploadComplete,
            "InProgress" => Self::InProgress,
            "JobComplete" => Self::JobComplete,
            "Failed" => Self::Failed,
            "Aborted" => Self::Aborted,
            other => Self::Unknown(other.to_owned()),
        }
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for JobState {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for JobState {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|word| Self::from(word.as_str()))
    }
}

/// What is known of a job. Only id and state are always there: counters may be absent or lag.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct JobInfo {
    /// The id, 18 characters that start with `750`.
    pub id: String,
    /// Where it stands.
    pub state: JobState,
    /// The object it loads.
    #[serde(default)]
    pub object: Option<String>,
    /// What it does: `upsert`, …
    #[serde(default)]
    pub operation: Option<String>,
    /// Rows tried, those that failed included.
    #[serde(default, rename = "numberRecordsProcessed", deserialize_with = "count")]
    pub processed: Option<u64>,
    /// Rows that failed.
    #[serde(default, rename = "numberRecordsFailed", deserialize_with = "count")]
    pub failed: Option<u64>,
    /// How often Salesforce tried again, after lock failures for one.
    #[serde(default, deserialize_with = "count")]
    pub retries: Option<u64>,
    /// Milliseconds of processing, without the time in the queue.
    #[serde(default, rename = "totalProcessingTime", deserialize_with = "count")]
    pub processing_ms: Option<u64>,
    /// Why it failed: `Code : text`.
    #[serde(default, rename = "errorMessage")]
    pub error_message: Option<String>,
}

impl JobInfo {
    /// Why a `Failed` job failed, classed by the code that its message starts with. `None` in other states.
    ///
    /// The rows it processed all the same are in the results.
    #[must_use]
    pub fn failure(&self) -> Option<Failure> {
        if self.state != JobState::Failed {
            return None;
        }
        let text = self.error_message.as_deref().unwrap_or_default();
        let code = text.split(':').next().unwrap_or_default().trim();
        let class = classify(code).unwrap_or(Class::Configuration);
        let failure = Failure::new(class, format!("the job `{}` failed: {}", self.id, one_line(text)));
        Some(match code {
            "InvalidBatch" => failure.hint(
                "check the field's name, spelt as describe spells it, and that the user may edit it \
                 (field-level security)",
            ),
            _ => failure,
        })
    }
}

/// A counter: a number, a number in quotes, or nothing usable.
fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(value.as_u64().or_else(|| value.as_str()?.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn states_keep_their_spelling() {
        for word in ["Open", "UploadComplete", "InProgress", "JobComplete", "Failed", "Aborted", "Paused"] {
            let state: JobState = serde_json::from_value(json!(word)).unwrap();
            assert_eq!(serde_json::to_value(&state).unwrap(), word);
            assert_eq!(state.is_terminal(), ["JobComplete", "Failed", "Aborted"].contains(&word));
        }
        assert_eq!(JobState::from("Paused"), JobState::Unknown("Paused".to_owned()));
    }

    #[test]
    fn jobs_are_read_leniently() {
        let open: JobInfo =
            serde_json::from_value(json!({"id": "750", "state": "Open", "apiVersion": 66.0})).unwrap();
        assert_eq!((open.processed, open.failed, open.failure()), (None, None, None));
        let done: JobInfo = serde_json::from_value(json!({
            "id": "750", "state": "JobComplete", "apiVersion": "66.0", "object": "Account", "operation": "upsert",
            "numberRecordsProcessed": 25000, "numberRecordsFailed": "37", "retries": null, "totalProcessingTime": 1.5
        }))
        .unwrap();
        assert_eq!(
            (done.processed, done.failed, done.retries, done.processing_ms),
            (Some(25000), Some(37), None, None)
        );
    }

    #[test]
    fn a_failed_job_is_classed_by_its_code() {
        for (text, class) in [
            ("InvalidBatch : Field name not found : Foo__c", Class::Configuration),
            ("ClientInputError : LineEnding is invalid on user data", Class::Configuration),
            ("ExceededQuota : ApiBatchItems Limit exceeded", Class::Quota),
            ("TooManyLockFailure : Too many lock failure 200", Class::Contention),
            ("InternalServerError : Unable to process", Class::Transient),
            ("", Class::Configuration),
        ] {
            let job = json!({"id": "750", "state": "Failed", "errorMessage": text});
            let job: JobInfo = serde_json::from_value(job).unwrap();
            assert_eq!(job.failure().unwrap().class, class, "{text}");
        }
    }
}

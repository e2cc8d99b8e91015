//! The documents of the bucket that more than one stage reads. Each is written once, except [`Head`] and [`Lease`].

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    ChunkNo, Failure, JobRef, RunId, SyncName,
    config::{Api, Sync},
    contract::{Column, ColumnKind, Objects},
    mapping::Mapping,
};

/// How far a run goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// To the end.
    #[default]
    Run,
    /// To the frozen plan; nothing is sent.
    Plan,
    /// To the end, and nothing is sent: the org is asked what it holds of the rows that the lost and damaged segments
    /// of the baseline knew.
    Rebuild,
    /// The same for all rows, as if there were no baseline.
    RebuildAll,
}

impl Mode {
    /// The org is asked for the rows that another run would send.
    #[must_use]
    pub const fn asks(self) -> bool {
        matches!(self, Self::Rebuild | Self::RebuildAll)
    }
}

/// `run.json`: the sync as it was when the run began.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The run.
    pub run: RunId,
    /// How far it goes.
    pub mode: Mode,
    /// What started it: `schedule`, `hand`, `command line`.
    pub started_by: String,
    /// The version of Backhaul that started it.
    pub version: String,
    /// The frozen sync.
    pub sync: Sync,
}

/// `base.json`: the head a run starts from. A run may only commit over it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// The version of the object that was read; none when there was no head yet.
    pub version: Option<String>,
    /// What it said; of a rebuild without what it leaves out, and without the watermark.
    pub head: Head,
    /// The segments that a rebuild leaves out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<SegmentRef>,
    /// The releases of held rows that no run has carried out yet: this one does, and says so with its commit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub releases: Vec<Release>,
}

/// `syncs/<sync>/releases/<n>.json`: a person lets held rows go again, once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// When.
    pub at: Timestamp,
    /// Who it was, or from where.
    pub by: String,
    /// Which of them.
    pub rows: Which,
}

/// Some of the held rows.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Which {
    /// All there are when the next run begins.
    All,
    /// Those that were refused with one of these codes.
    Codes(BTreeSet<String>),
    /// Those with these keys.
    Keys(BTreeSet<String>),
}

/// A key may be personal.
impl fmt::Debug for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("All"),
            Self::Codes(codes) => f.debug_tuple("Codes").field(codes).finish(),
            Self::Keys(keys) => write!(f, "Keys({})", keys.len()),
        }
    }
}

/// The format of a document that is replaced: [`Head`] and [`Lease`].
///
/// It is raised when a document learns something that must not be lost. Whoever does not know a format may read the
/// document as far as it goes, and replaces it by nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Format(u32);

impl Format {
    /// What this version writes. 2: a head that knows which releases were carried out.
    pub const CURRENT: Self = Self(2);

    /// Passes a format that this version knows.
    ///
    /// # Errors
    /// [`crate::Class::Configuration`] naming the document when a newer version has written it.
    pub fn require_known(self, place: &str) -> Result<(), Failure> {
        let Self(current) = Self::CURRENT;
        if self.0 <= current {
            return Ok(());
        }
        let message = format!("`{place}` has format {}, this version knows {current}", self.0);
        Err(Failure::configuration(message)
            .hint("a newer version of Backhaul has written it: deploy that one"))
    }
}

/// A document that does not say so is of the first format.
impl Default for Format {
    fn default() -> Self {
        Self(1)
    }
}

/// `head.json`: the commit of the last run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The format of this document.
    #[serde(default)]
    pub format: Format,
    /// The run that wrote it; none before the first.
    pub run: Option<RunId>,
    /// The baseline in key order, without gaps or overlaps between segments.
    pub segments: Vec<SegmentRef>,
    /// How far the model was read, for a sync with a cursor: every row up to here is accepted or held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Watermark>,
    /// The number of the last release of held rows that was carried out; 0 before the first.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub released: u32,
}

impl Head {
    /// Reads the head stored as `place`; none when the bytes are no head at all.
    ///
    /// # Errors
    /// [`crate::Class::Configuration`] when a newer version has written it: it must not be replaced, whatever it says.
    pub fn read(place: &str, bytes: &[u8]) -> Result<Option<Self>, Failure> {
        #[derive(Deserialize)]
        struct Formatted {
            #[serde(default)]
            format: Format,
        }
        if let Ok(Formatted { format }) = serde_json::from_slice(bytes) {
            format.require_known(place)?;
        }
        Ok(serde_json::from_slice(bytes).ok())
    }
}

/// How far the cursor column of a model was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watermark {
    /// The greatest value of the cursor column, in its wire form.
    pub value: String,
    /// The wire type of the column.
    pub kind: ColumnKind,
    /// What the watermark holds for, as lower-case hexadecimal XXH3-64 of model, key and mapping: when one of
    /// them changes the model is read whole again.
    pub holds_for: String,
}

/// A baseline segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentRef {
    /// The object key.
    pub object: String,
    /// How many entries it holds.
    pub rows: u64,
    /// The first key; none when it is empty.
    pub first_key: Option<String>,
    /// The last key; none when it is empty.
    pub last_key: Option<String>,
    /// Checksum of the object's bytes, as lower-case hexadecimal XXH3-64.
    pub checksum: String,
}

/// `lease.json`: who may run the sync. Replaced only by compare-and-set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The format of this document.
    #[serde(default)]
    pub format: Format,
    /// The run that holds it; none when it was given back.
    pub holder: Option<RunId>,
    /// When it may be taken from a holder that died.
    pub expires: Timestamp,
    /// Why no scheduled run may begin until a person has looked; none while all is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<Stopped>,
    /// A run that failed after its load had begun: what it sent is settled before another run begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsettled: Option<RunId>,
}

/// A sync that stands still: Salesforce refused too many rows for a right or a setting that a person has to mend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopped {
    /// The run that found it.
    pub run: RunId,
    /// The code of the most rows; of a canary of which none was rejected, the state that its job ended in.
    pub code: String,
    /// Rows refused for such codes.
    pub rows: u64,
    /// Rows of the canary, when it was the canary that was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<u64>,
}

/// `describe.json`: both ends, and the sync resolved against them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Described {
    /// The objects the sync touches.
    pub objects: Objects,
}

/// `statement.json`: written before the statement is submitted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// Chosen by us; the same for every try, so that Snowflake runs it once.
    pub request_id: String,
    /// The text of the statement.
    pub sql: String,
}

/// `submitted.json`: Snowflake has the statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submitted {
    /// The statement handle, which is the query id.
    pub handle: String,
    /// When it was submitted; polls grow rarer with its age.
    pub at: Timestamp,
}

/// `result.json`: the statement has finished.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extracted {
    /// The row type.
    pub columns: Vec<Column>,
    /// Rows in all partitions, as Snowflake counts them.
    pub rows: u64,
    /// Rows of each partition, as Snowflake counts them.
    pub partitions: Vec<u64>,
    /// The sync resolved against the row type.
    pub mapping: Mapping,
    /// How far the cursor column came in this result; none without a cursor, or without rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Watermark>,
    /// How old the model was when the statement was submitted, in seconds; none when the sync does not ask, or
    /// without rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age: Option<u64>,
}

/// `chunks/<n>.scan.json`: what was found in a partition while it was copied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scan {
    /// Rows that were there.
    pub rows: u64,
    /// The first key that is not null.
    pub first_key: Option<String>,
    /// The last key that is not null.
    pub last_key: Option<String>,
}

/// One item of `manifest.json`: the unit of fan-out.
///
/// Chunks cover the whole key range without gaps: a chunk owns the keys from `from_key` (the very
/// first chunk: from the beginning) up to, not including, `to_key` (the last chunk: to the end).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// The number, from 0, in key order.
    pub chunk: ChunkNo,
    /// Its partitions, in order.
    pub partitions: Vec<u32>,
    /// Rows in those partitions.
    pub rows: u64,
    /// The first key it owns.
    pub from_key: Option<String>,
    /// The first key it no longer owns.
    pub to_key: Option<String>,
    /// The last key of the chunk before, which must not occur again here.
    pub previous_key: Option<String>,
}

/// `mapped/<n>/summary.json`: the counts of a mapped chunk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mapped {
    /// Rows read.
    pub read: u64,
    /// Rows equal to what Salesforce has accepted.
    pub unchanged: u64,
    /// Rows equal to what Salesforce refused for a data reason: not sent again until they change.
    pub held: u64,
    /// Rows refused by us, by reason code.
    pub invalid: BTreeMap<String, u64>,
    /// Rows never accepted before.
    pub added: u64,
    /// Rows accepted before with other content.
    pub changed: u64,
    /// Rows to be sent whose keys have letters, and so may have another spelling.
    #[serde(default)]
    pub cased: u64,
    /// Keys of the baseline that the model no longer holds.
    pub removed: u64,
    /// Those of them whose records are to be removed: rows to send, which are no rows of the model.
    #[serde(default)]
    pub removing: u64,
    /// Those of them whose removal Salesforce refused before.
    #[serde(default)]
    pub removals_held: u64,
    /// Those of them that are another spelling of a key that stays: their records are not removed.
    #[serde(default)]
    pub renamed: u64,
    /// Why rows and removals are held, by the code they were refused with.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub held_for: BTreeMap<String, HeldFor>,
    /// Of those to be sent: rows and removals that were refused as they are, and that a person has released.
    #[serde(default)]
    pub released: u64,
    /// Cells that are sent as NULL in records accepted before, by field.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub cleared: BTreeMap<String, u64>,
    /// Cells that are sent with a value, by field.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, u64>,
    /// A few keys of what would change, for the preview of a plan.
    #[serde(default)]
    pub examples: Examples,
    /// What is to be sent, in key order; of removals apart.
    pub fragments: Vec<Fragment>,
    /// A few invalid rows for the report: key and reason, never a value.
    pub samples: Vec<Sample>,
}

/// Rows that are held for one reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldFor {
    /// How many.
    pub rows: u64,
    /// When the oldest of them was first refused; none when that was before it was noted.
    pub first: Option<Timestamp>,
}

/// A few keys of each kind of change, the first in key order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Examples {
    /// Of rows never accepted before.
    pub added: Vec<String>,
    /// Of rows accepted before with other content.
    pub changed: Vec<String>,
    /// Keys of the baseline that the model no longer holds.
    pub removed: Vec<String>,
}

/// Mapped CSV rows of one chunk, without a header, and beside it the segment of their keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fragment {
    /// The chunk it belongs to.
    pub chunk: ChunkNo,
    /// The job that sent these rows before, when they go again: its folder holds the file. None for rows as they
    /// were mapped, which the chunk's folder holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again: Option<JobRef>,
    /// The group of parents whose children these rows are, when the sync names `load.group_by`; otherwise 0. Jobs
    /// with rows of one group never run at the same time.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub group: u32,
    /// The rows are removals: see [`Plan::removal`].
    #[serde(default, skip_serializing_if = "is_false")]
    pub removes: bool,
    /// File name in that folder; the segment of its keys has the same name with `.sent.zst`.
    pub file: String,
    /// Rows.
    pub rows: u64,
    /// Bytes of the CSV.
    pub bytes: u64,
}

/// A refused record as the report shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// The key of the row; none when the key itself is missing.
    pub key: Option<String>,
    /// The reason code, ours or the vendor's.
    pub code: String,
    /// The field at fault, when one is named.
    pub field: Option<String>,
    /// The reason in words, without any value of the record.
    pub reason: String,
}

/// `plan-<wave>.json`: the immutable list of jobs. The loader has no choice left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The pass of Load this plan is for, from 1.
    pub wave: u32,
    /// The object written to.
    pub object: String,
    /// The operation, in the vendor's spelling.
    pub operation: String,
    /// The key field, which is also the first CSV column: an external id, or `Id`.
    pub external_id: String,
    /// The header line of every job, with its line feed.
    pub header: String,
    /// How the jobs of removals differ; none when there are no such jobs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removal: Option<RemovalPlan>,
    /// The jobs, by number.
    pub jobs: Vec<PlannedJob>,
    /// What loading them will take of the org's allowances.
    #[serde(default)]
    pub prediction: Prediction,
    /// The counts of all chunks together, without fragments, and with samples only of rows that Plan itself
    /// refused; all zero after the first wave.
    pub totals: Mapped,
    /// What the guard rails say of the first wave.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guard: Vec<Judged>,
    /// Of a rebuild: the org is asked for the rows of the jobs, and none is sent.
    #[serde(default, skip_serializing_if = "is_false")]
    pub asks: bool,
}

/// What a guard rail says of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judged {
    /// The rail.
    pub rail: Rail,
    /// What it allows: the most, or the least.
    pub limit: u64,
    /// What there is.
    pub found: u64,
    /// The field it was found in, where one is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

/// A guard rail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rail {
    /// A model without rows over a baseline with some.
    EmptyModel,
    /// `guard.min_rows`.
    MinRows,
    /// `model.fresh.max_age`, in seconds.
    MaxAge,
    /// `guard.max_changes`.
    MaxChanges,
    /// `guard.max_created`.
    MaxCreated,
    /// `guard.max_removed`.
    MaxRemoved,
    /// `guard.max_cleared`, for the field with the most.
    MaxCleared,
}

/// `released.json`: a person has let a plan through that goes past a guard rail. `apply.json`: a plan that was only
/// looked at is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// The checksum of `plan-1.json`, as lower-case hexadecimal XXH3-64: this plan and no other.
    pub plan: String,
    /// Who approved it, or from where.
    pub by: String,
}

/// How the jobs of removals differ from the others of a [`Plan`]: their key field is `Id`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovalPlan {
    /// The operation, in the vendor's spelling.
    pub operation: String,
    /// The header line, with its line feed.
    pub header: String,
}

/// What a job sends its rows as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form<'p> {
    /// The operation, in the vendor's spelling.
    pub operation: &'p str,
    /// The key field, which is also the first CSV column.
    pub key: &'p str,
    /// The header line, with its line feed.
    pub header: &'p str,
}

/// What a load takes of the org's allowances of 24 hours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prediction {
    /// API calls: every request counts.
    pub api_calls: u64,
    /// Bulk batches: one for every 10,000 rows of a bulk job that are begun.
    pub batches: u64,
}

/// One Bulk API 2.0 ingest job, or one series of calls of the REST collections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedJob {
    /// How it is loaded: `Bulk` or `Rest`.
    #[serde(default = "bulk")]
    pub api: Api,
    /// Jobs of one turn run side by side; a turn begins when the one before is collected.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub turn: u32,
    /// The others follow only when enough of its rows were accepted.
    #[serde(default, skip_serializing_if = "is_false")]
    pub canary: bool,
    /// The rows are removals: see [`Plan::removal`].
    #[serde(default, skip_serializing_if = "is_false")]
    pub removes: bool,
    /// Its fragments, in key order.
    pub fragments: Vec<Fragment>,
    /// Rows in all.
    pub rows: u64,
    /// Bytes of the upload, with the header.
    pub bytes: u64,
}

/// `jobs/<job>/end.json`: the job as Salesforce described it when it had ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobEnd {
    /// The Salesforce job id.
    pub id: String,
    /// The state it ended in, in the vendor's spelling; `NotFound` when Salesforce no longer knows it.
    pub state: String,
    /// Rows attempted, refused ones among them.
    pub processed: Option<u64>,
    /// Rows refused.
    pub failed: Option<u64>,
    /// What went wrong with the job as a whole.
    pub error: Option<String>,
    /// How often it was asked for until then.
    #[serde(default)]
    pub polls: u64,
}

/// `results/<job>/summary.json`: what became of the rows of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collected {
    /// The state the job ended in, in the vendor's spelling.
    pub state: String,
    /// Rows sent.
    pub sent: u64,
    /// Accepted, and created by this job.
    pub created: u64,
    /// Accepted, and there before.
    pub updated: u64,
    /// Refused by Salesforce, by code.
    pub rejected: BTreeMap<String, u64>,
    /// Named by Salesforce as not processed.
    pub unprocessed: u64,
    /// In none of the result files.
    pub missing: u64,
    /// Those of the rows above that are worth another wave.
    #[serde(default, skip_serializing_if = "Again::is_empty")]
    pub again: Again,
    /// Of the rejected: those that are held from now on.
    #[serde(default)]
    pub held: u64,
    /// Rows that the org was asked for instead; none of them is in the counts above.
    #[serde(default, skip_serializing_if = "Found::is_none")]
    pub found: Found,
    /// Requests that the job took, as its journal counts them.
    #[serde(default)]
    pub api_calls: u64,
    /// A few rejected rows for the report.
    pub samples: Vec<Sample>,
}

/// What the org holds of rows that a rebuild asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The record is as the row would make it.
    pub equal: u64,
    /// There is a record with the key, and it is not.
    pub different: u64,
    /// There is no record with the key.
    pub absent: u64,
}

/// Rows of a job that are worth another wave. They are counted in [`Collected`] too; the report counts them only
/// there where no further wave took them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Again {
    /// The rows, in key order, with the job's own folder as [`Fragment::again`].
    pub fragments: Vec<Fragment>,
    /// Of the rejected: by code.
    pub rejected: BTreeMap<String, u64>,
    /// Of the unprocessed.
    pub unprocessed: u64,
    /// Of the missing.
    pub missing: u64,
}

/// `settled/<n>.json`: the next baseline of one chunk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled {
    /// The segment that was written.
    pub segment: SegmentRef,
}

/// `given-up.json`: from here on the run sends nothing more; what it has sent is collected and settled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenUp {
    /// The run that comes next, and waits for this one; none when its own canary was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<RunId>,
}

/// `failure.json`: why a run ended without a commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// The error name: a [`crate::Class`], or a name of the state machine's own such as `States.Timeout`.
    pub error: String,
    /// What the failing stage said.
    pub cause: String,
}

impl Chunk {
    /// Whether a baseline segment holds keys that this chunk owns.
    #[must_use]
    pub fn overlaps(&self, segment: &SegmentRef) -> bool {
        let (Some(first), Some(last)) = (&segment.first_key, &segment.last_key) else { return false };
        let ends_before = self.from_key.as_ref().is_some_and(|from| last < from);
        let begins_after = self.to_key.as_ref().is_some_and(|to| first >= to);
        !ends_before && !begins_after
    }
}

impl Plan {
    /// What a job of this plan sends its rows as.
    #[must_use]
    pub fn form(&self, job: &PlannedJob) -> Form<'_> {
        match &self.removal {
            Some(RemovalPlan { operation, header }) if job.removes => Form { operation, key: "Id", header },
            _ => Form { operation: &self.operation, key: &self.external_id, header: &self.header },
        }
    }
}

impl JobEnd {
    /// The state of a job that Salesforce no longer knows.
    pub const NOT_FOUND: &str = "NotFound";

    /// The state of a job that was given up before it was closed.
    pub const GIVEN_UP: &str = "GivenUp";

    /// The end of a job that was given up before it was closed: none of its rows was sent.
    #[must_use]
    pub fn given_up() -> Self {
        Self { id: String::new(), state: Self::GIVEN_UP.to_owned(), ..Self::of_calls() }
    }

    /// The state of a job of which nothing is sent, because the org is only asked for its rows.
    pub const ASKED: &str = "Asked";

    /// The end of a job of which nothing is sent.
    #[must_use]
    pub fn asked() -> Self {
        Self { state: Self::ASKED.to_owned(), ..Self::of_calls() }
    }

    /// The end of a series of REST calls.
    #[must_use]
    pub fn of_calls() -> Self {
        let (id, state) = ("rest".to_owned(), "JobComplete".to_owned());
        Self { id, state, processed: None, failed: None, error: None, polls: 0 }
    }
}

impl Fragment {
    /// The file name of the segment that holds the keys of this fragment.
    #[must_use]
    pub fn sent_file(&self) -> String {
        format!("{}.sent.zst", self.file.trim_end_matches(".csv"))
    }
}

impl Mapped {
    /// Rows that will be sent.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.added + self.changed
    }

    /// Rows refused by us.
    #[must_use]
    pub fn invalid_rows(&self) -> u64 {
        self.invalid.values().sum()
    }
}

impl HeldFor {
    /// Takes more rows in.
    pub fn add(&mut self, more: Self) {
        self.first = if self.rows == 0 { more.first } else { self.first.min(more.first) };
        self.rows += more.rows;
    }
}

impl Examples {
    /// Most keys of each kind.
    pub const MOST: usize = 5;

    /// Adds those of the next chunk.
    pub fn extend(&mut self, next: &Self) {
        let add = |keys: &mut Vec<String>, next: &[String]| {
            keys.extend(next.iter().take(Self::MOST.saturating_sub(keys.len())).cloned());
        };
        add(&mut self.added, &next.added);
        add(&mut self.changed, &next.changed);
        add(&mut self.removed, &next.removed);
    }

    /// Drops the key of a row that is not sent after all.
    pub(crate) fn forget(&mut self, key: &str) {
        self.added.retain(|added| added != key);
        self.changed.retain(|changed| changed != key);
    }
}

impl Found {
    /// No row was asked for.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.rows() == 0
    }

    /// How many rows were asked for.
    #[must_use]
    pub const fn rows(&self) -> u64 {
        self.equal + self.different + self.absent
    }
}

impl Again {
    /// No row goes again.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fragments.is_empty()
    }

    /// How many rows go again.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rejected.values().sum::<u64>() + self.unprocessed + self.missing
    }
}

impl Collected {
    /// Rows that Salesforce accepted.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.created + self.updated
    }

    /// Rows that Salesforce refused.
    #[must_use]
    pub fn rejected_rows(&self) -> u64 {
        self.rejected.values().sum()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn is_false(value: &bool) -> bool {
    !value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

fn bulk() -> Api {
    Api::Bulk
}

/// A document as it is stored: JSON, one line feed at the end, keys in the order of the type.
pub fn to_bytes<T: Serialize>(document: &T) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(document).expect("every document is plain JSON");
    bytes.push(b'\n');
    bytes
}

/// Reads a stored document.
///
/// # Errors
/// [`crate::Class::Bug`] when the bytes are not such a document: only Backhaul writes them.
pub fn from_bytes<T: serde::de::DeserializeOwned>(object: &str, bytes: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(bytes).map_err(|error| {
        Failure::bug(format!(
            "`{object}` is not the document it should be (line {}, column {})",
            error.line(),
            error.column()
        ))
    })
}

/// The sync a stored name belongs to, for messages.
#[must_use]
pub fn sync_file(sync: &SyncName) -> String {
    format!("syncs/{sync}.yaml")
}

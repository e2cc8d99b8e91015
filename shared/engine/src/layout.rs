//! Where each document of the bucket lives. No other module spells an object key.

use crate::{ChunkNo, JobRef, RunId, RunRef, SyncName, document::Fragment};

/// The folder of a sync, without a trailing slash.
#[must_use]
pub fn sync_folder(sync: &SyncName) -> String {
    format!("syncs/{sync}")
}

/// The commit: the only object that says what Salesforce has accepted.
#[must_use]
pub fn head(sync: &SyncName) -> String {
    format!("syncs/{sync}/head.json")
}

/// Who may run the sync just now.
#[must_use]
pub fn lease(sync: &SyncName) -> String {
    format!("syncs/{sync}/lease.json")
}

/// A baseline segment written by `run` for one of its chunks.
#[must_use]
pub fn baseline_segment(sync: &SyncName, run: &RunId, chunk: ChunkNo) -> String {
    format!("syncs/{sync}/baseline/{run}/{chunk:05}.zst")
}

/// A release of held rows. They are numbered from 1, without gaps.
#[must_use]
pub fn release(sync: &SyncName, number: u32) -> String {
    format!("syncs/{sync}/releases/{number:06}.json")
}

/// Where all baseline segments of a sync are, with a trailing slash.
#[must_use]
pub fn baseline_folder(sync: &SyncName) -> String {
    format!("syncs/{sync}/baseline/")
}

/// Where all runs of a sync are, with a trailing slash.
#[must_use]
pub fn runs_folder(sync: &SyncName) -> String {
    format!("runs/{sync}/")
}

/// Whether an object is the report of a run that committed.
#[must_use]
pub fn is_report(object: &str) -> bool {
    object.ends_with("/report.json")
}

/// The folder of a run, without a trailing slash.
#[must_use]
pub fn run_folder(run: &RunRef) -> String {
    format!("runs/{}/{}", run.sync, run.run)
}

macro_rules! run_objects {
    ($($(#[$doc:meta])* $name:ident = $file:literal;)*) => {
        $($(#[$doc])* #[must_use] pub fn $name(run: &RunRef) -> String {
            format!(concat!("{}/", $file), run_folder(run))
        })*
    };
}

run_objects! {
    /// The frozen sync, who started the run and why.
    run = "run.json";
    /// The head this run starts from.
    base = "base.json";
    /// Both ends as they were described before the extraction.
    describe = "describe.json";
    /// The statement as it will be submitted, with its request id.
    statement = "statement.json";
    /// The handle that Snowflake gave.
    submitted = "submitted.json";
    /// Row types, partitions and row total of the finished statement.
    result = "result.json";
    /// A JSON array of the chunks: what the fan-out reads.
    manifest = "manifest.json";
    /// Says that a person let the plan through although it goes past a guard rail.
    released = "released.json";
    /// Says that the plan of a run that was to stop there is sent.
    apply = "apply.json";
    /// The org's allowances as they were when a plan was made that is only looked at, or a rebuild began to ask.
    limits_seen = "limits-plan.json";
    /// The report of a plan that is only looked at, for machines.
    preview_json = "preview.json";
    /// The report of a plan that is only looked at, for people.
    preview_text = "preview.txt";
    /// Says that the run sends nothing more, and is only settled.
    given_up = "given-up.json";
    /// The report for machines.
    report_json = "report.json";
    /// The report for people.
    report_text = "report.txt";
    /// The report of a run that failed, for machines.
    failure = "failure.json";
    /// The report of a run that failed, for people.
    failure_text = "failure.txt";
}

/// A partition as extracted: gzip of `{"data":[[…],…]}`.
#[must_use]
pub fn partition(run: &RunRef, partition: u32) -> String {
    format!("{}/chunks/{partition:05}.json.gz", run_folder(run))
}

/// What was found in a partition while it was copied.
#[must_use]
pub fn partition_scan(run: &RunRef, partition: u32) -> String {
    format!("{}/chunks/{partition:05}.scan.json", run_folder(run))
}

/// A file of the mapped chunk, such as `upsert-000.csv`.
#[must_use]
pub fn mapped(run: &RunRef, chunk: ChunkNo, file: &str) -> String {
    format!("{}/mapped/{chunk:05}/{file}", run_folder(run))
}

/// A file of a fragment: its CSV, or the segment of its keys.
#[must_use]
pub fn fragment(run: &RunRef, fragment: &Fragment, file: &str) -> String {
    match fragment.again {
        None => mapped(run, fragment.chunk, file),
        Some(job) => results(run, job, file),
    }
}

/// The counts of the mapped chunk: written last, so its presence means the chunk is mapped.
#[must_use]
pub fn mapped_summary(run: &RunRef, chunk: ChunkNo) -> String {
    mapped(run, chunk, "summary.json")
}

/// The frozen plan of a wave.
#[must_use]
pub fn plan(run: &RunRef, wave: u32) -> String {
    format!("{}/plan-{wave}.json", run_folder(run))
}

/// A session of the run with Salesforce, sealed: whoever needs one uses the last.
#[must_use]
pub fn session(run: &RunRef, number: u32) -> String {
    format!("{}/session-{number}.sealed", run_folder(run))
}

/// The allowances of the org, as they were when a wave was let through.
#[must_use]
pub fn limits(run: &RunRef, wave: u32) -> String {
    format!("{}/limits-{wave}.json", run_folder(run))
}

/// Where Plan notes what it told of jobs that were not carried out, with a trailing slash.
#[must_use]
pub fn gate_folder(run: &RunRef, wave: u32) -> String {
    format!("{}/plan-{wave}.gate/", run_folder(run))
}

/// An entry of a job's journal, such as `attempt-0.json`.
#[must_use]
pub fn journal(run: &RunRef, job: JobRef, entry: &str) -> String {
    format!("{}/jobs/{job}/{entry}", run_folder(run))
}

/// Why a stage of a job failed: the first time, the second, and so on from 0.
#[must_use]
pub fn job_failure(run: &RunRef, job: JobRef, number: u32) -> String {
    journal(run, job, &format!("failure-{number}.json"))
}

/// Says that a call of a REST job is about to be made: whoever creates it makes the call, and nobody else ever.
#[must_use]
pub fn call_begun(run: &RunRef, job: JobRef, call: u32) -> String {
    journal(run, job, &format!("call-{call:04}-begun.json"))
}

/// The answer to a call of a REST job, as it came.
#[must_use]
pub fn call_answer(run: &RunRef, job: JobRef, call: u32) -> String {
    results(run, job, &format!("call-{call:04}.json"))
}

/// Notes that the result files of a job held fewer rows than its counters say.
#[must_use]
pub fn short_results(run: &RunRef, job: JobRef, number: u32) -> String {
    journal(run, job, &format!("short-{number}.json"))
}

/// The job as the vendor last described it, when it has ended.
#[must_use]
pub fn job_end(run: &RunRef, job: JobRef) -> String {
    journal(run, job, "end.json")
}

/// A file of a job's results, such as `success.csv`.
#[must_use]
pub fn results(run: &RunRef, job: JobRef, file: &str) -> String {
    format!("{}/results/{job}/{file}", run_folder(run))
}

/// The accepted and refused records of one chunk within a job, as a segment.
#[must_use]
pub fn delta(run: &RunRef, job: JobRef, chunk: ChunkNo) -> String {
    results(run, job, &format!("delta-{chunk:05}.zst"))
}

/// Where the journals of all jobs of a run are, with a trailing slash.
#[must_use]
pub fn jobs_folder(run: &RunRef) -> String {
    format!("{}/jobs/", run_folder(run))
}

/// Where the results of all jobs of a run are, with a trailing slash.
#[must_use]
pub fn results_folder(run: &RunRef) -> String {
    format!("{}/results/", run_folder(run))
}

/// Where the counts will be of the job that an entry of a journal is about; none when it is no such entry.
#[must_use]
pub fn summary_of(run: &RunRef, entry: &str) -> Option<String> {
    let (job, _) = entry.strip_prefix(&jobs_folder(run))?.split_once('/')?;
    Some(format!("{}{job}/summary.json", results_folder(run)))
}

/// The counts of a job: written last, so its presence means the job is collected.
#[must_use]
pub fn results_summary(run: &RunRef, job: JobRef) -> String {
    results(run, job, "summary.json")
}

/// What Settle wrote for a chunk.
#[must_use]
pub fn settled(run: &RunRef, chunk: ChunkNo) -> String {
    format!("{}/settled/{chunk:05}.json", run_folder(run))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_leads_to_the_counts_of_its_job() {
        let run = RunRef { sync: "customers".parse().unwrap(), run: "20260101T000000Z".parse().unwrap() };
        let job = JobRef { wave: 2, job: 17 };
        let entry = journal(&run, job, "attempt-0.json");
        assert_eq!(summary_of(&run, &entry), Some(results_summary(&run, job)));
        assert_eq!(summary_of(&run, &results_summary(&run, job)), None);
    }
}

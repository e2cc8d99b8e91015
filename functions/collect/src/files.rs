//! The three result files of a bulk job, kept as they come.

use engine::{Failure, document::JobEnd, layout, records::Counter};
use salesforce::ResultSet;

use crate::Collector;

/// The result files: what they are called here and there.
pub(crate) const FILES: [(&str, ResultSet); 3] = [
    ("success.csv", ResultSet::Success),
    ("failed.csv", ResultSet::Failed),
    ("unprocessed.csv", ResultSet::Unprocessed),
];

/// How often a file that holds fewer rows than the job counts is fetched again.
const MOST_REPEATS: u32 = 3;

impl Collector<'_> {
    pub(crate) async fn keep_files(&self) -> Result<(), Failure> {
        for (file, set) in FILES {
            let place = layout::results(self.run, self.job, file);
            if !self.store.exists(&place).await? {
                self.keep_file(&place, set).await?;
            }
        }
        Ok(())
    }

    async fn keep_file(&self, place: &str, set: ResultSet) -> Result<(), Failure> {
        let mut writer = self.store.writer(place).await?;
        let mut counter = Counter::default();
        // A job that the vendor has forgotten has no files: all of its rows are in doubt.
        if self.end.state != JobEnd::NOT_FOUND
            && let Some(mut body) = self.salesforce.results(&self.end.id, set).await?
        {
            while let Some(bytes) = body.chunk().await? {
                counter.pass(&bytes);
                writer.write(&bytes).await?;
            }
        }
        self.require_rows(place, set, counter.records()).await?;
        // The order of a result file is not fixed: a copy that another try kept is as good as this one.
        writer.finish().await.map(drop)
    }

    /// A file that broke off where a record ended looks whole; the counters of the job tell. They may lag behind, so
    /// only fewer rows than they say are a fault, and after a few repeats the file is taken as it is: its rows are then
    /// in doubt, and asked for one by one.
    async fn require_rows(&self, place: &str, set: ResultSet, found: u64) -> Result<(), Failure> {
        let (processed, failed) =
            (self.end.processed.unwrap_or_default(), self.end.failed.unwrap_or_default());
        let expected = match set {
            ResultSet::Success => processed.saturating_sub(failed),
            ResultSet::Failed => failed,
            ResultSet::Unprocessed => 0,
        };
        if found >= expected || self.end.state == JobEnd::NOT_FOUND {
            return Ok(());
        }
        for number in 0..MOST_REPEATS {
            let note = layout::short_results(self.run, self.job, number);
            if !self.store.exists(&note).await? {
                self.store.create_json(&note, &found).await?;
                return Err(Failure::transient(format!("`{place}` came with {found} of {expected} rows")));
            }
        }
        Ok(())
    }
}

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
        if self.end.state == JobEnd::GIVEN_UP {
            self.keep_all_as_unprocessed().await?;
        }
        for (file, set) in FILES {
            let place = layout::results(self.run, self.job, file);
            if !self.store.exists(&place).await? {
                self.keep_file(&place, set).await?;
            }
        }
        Ok(())
    }

    /// Of a job that was given up before it was closed no row was sent: what would have been is its unprocessed file.
    async fn keep_all_as_unprocessed(&self) -> Result<(), Failure> {
        let place = layout::results(self.run, self.job, "unprocessed.csv");
        if self.store.exists(&place).await? {
            return Ok(());
        }
        let mut writer = self.store.writer(&place).await?;
        writer.write(self.form().header.as_bytes()).await?;
        for fragment in &self.planned().fragments {
            let mut rows = self.store.reader(&layout::fragment(self.run, fragment, &fragment.file)).await?;
            while let Some(bytes) = rows.chunk().await? {
                writer.write(&bytes).await?;
            }
        }
        writer.finish().await.map(drop)
    }

    fn is_known(&self) -> bool {
        ![JobEnd::NOT_FOUND, JobEnd::GIVEN_UP].contains(&self.end.state.as_str())
    }

    async fn keep_file(&self, place: &str, set: ResultSet) -> Result<(), Failure> {
        let mut writer = self.store.writer(place).await?;
        let mut counter = Counter::default();
        // A job that the vendor has forgotten has no files: all of its rows are in doubt.
        if self.is_known()
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
        if found >= expected || !self.is_known() {
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

//! The result files of a job of REST calls, made of the answers that were kept.

use engine::{
    Failure,
    collections::{Files, batches},
    layout,
};

use crate::Collector;

impl Collector<'_> {
    /// Calls without an answer, or with one that is none, leave no rows here: those are in doubt.
    pub(crate) async fn keep_calls(&self) -> Result<(), Failure> {
        let mut files = Files::new(&self.plan.external_id);
        let mut call = 0;
        for fragment in &self.planned().fragments {
            let place = layout::fragment(self.run, fragment, &fragment.file);
            let rows = self.store.get(&place).await?;
            let rows = rows.ok_or_else(|| Failure::bug(format!("`{place}` is not there")))?.bytes;
            for batch in batches(&self.plan.object, &self.mapping, &rows)? {
                let place = layout::call_answer(self.run, self.job, call);
                if let Some(answer) = self.store.get(&place).await?
                    && let Err(failure) = files.take_down(&batch.keys, &answer.bytes)
                {
                    tracing::warn!(class = %failure.class, call, "{failure}");
                }
                call += 1;
            }
        }
        let nothing = format!("{}\n", self.plan.external_id).into_bytes();
        for (file, bytes) in
            [("success.csv", files.success), ("failed.csv", files.failed), ("unprocessed.csv", nothing)]
        {
            self.store.create_or_agree(&layout::results(self.run, self.job, file), bytes).await?;
        }
        Ok(())
    }
}

//! The result files of a job of REST calls, made of the answers that were kept.

use engine::{
    Failure,
    collections::{Batch, Files, batches},
    layout,
};

use crate::Collector;

impl Collector<'_> {
    /// Calls without an answer, or with one that is none, leave no rows here: those are in doubt.
    pub(crate) async fn keep_calls(&self) -> Result<(), Failure> {
        let mut files = Files::new(self.form().key);
        let mut call = 0;
        for fragment in &self.planned().fragments {
            let place = layout::fragment(self.run, fragment, &fragment.file);
            let rows = self.store.bytes(&place).await?;
            for batch in batches(&self.plan.object, &self.mapping, &rows)? {
                self.take_down(&mut files, call, &batch).await?;
                call += 1;
            }
        }
        let Files { success, failed, unprocessed } = files;
        for (file, bytes) in
            [("success.csv", success), ("failed.csv", failed), ("unprocessed.csv", unprocessed)]
        {
            self.store.create_or_agree(&layout::results(self.run, self.job, file), bytes).await?;
        }
        Ok(())
    }

    async fn take_down(&self, files: &mut Files, call: u32, batch: &Batch) -> Result<(), Failure> {
        match self.store.get(&layout::call_answer(self.run, self.job, call)).await? {
            Some(answer) => {
                if let Err(failure) = files.take_down(&batch.keys, &answer.bytes) {
                    tracing::warn!(class = %failure.class, call, "{failure}");
                }
            }
            // A claim for no row is the claim of a run that was given up.
            None if self.store.require::<usize>(&layout::call_begun(self.run, self.job, call)).await?
                == 0 =>
            {
                files.never_made(&batch.keys);
            }
            None => {}
        }
        Ok(())
    }
}

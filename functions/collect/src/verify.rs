//! Rows of which nothing is known: the org is asked for their records.

use engine::{
    Class, Failure, layout,
    live::{Question, questions},
    outcome::{Outcomes, Verdict},
};
use serde::{Deserialize, Serialize};

use crate::Collector;

/// `verified.json`: what the org said of the rows in doubt.
#[derive(Default, Serialize, Deserialize)]
struct Verified {
    /// Queries that it took.
    queries: u64,
    /// Key, verdict, and the id of the record if there is one.
    rows: Vec<(String, Verdict, String)>,
}

impl Collector<'_> {
    /// Resolves the rows in doubt, and tells how many queries that took.
    pub(crate) async fn verify(&self, outcomes: Outcomes) -> Result<(Outcomes, u64), Failure> {
        if outcomes.doubtful() == 0 {
            return Ok((outcomes, 0));
        }
        let (mut outcomes, pieces) = self.doubt(outcomes).await?;
        let verified = self.verified(&pieces).await?;
        for (key, verdict, id) in &verified.rows {
            outcomes.verify(key, *verdict, id)?;
        }
        Ok((outcomes, verified.queries))
    }

    /// What was found is kept, so that every try of the stage says the same.
    async fn verified(&self, pieces: &[String]) -> Result<Verified, Failure> {
        let place = layout::results(self.run, self.job, "verified.json");
        if let Some(verified) = self.store.get_json(&place).await? {
            return Ok(verified);
        }
        let mut verified = Verified::default();
        for piece in pieces {
            let rows = self.store.get(piece).await?;
            let rows = rows.ok_or_else(|| Failure::bug(format!("`{piece}` is not there")))?.bytes;
            for question in questions(&self.plan.object, &self.mapping, &rows)? {
                self.ask(&question, &mut verified).await?;
            }
        }
        self.store.create_json(&place, &verified).await?;
        self.store.require(&place).await
    }

    async fn ask(&self, question: &Question, verified: &mut Verified) -> Result<(), Failure> {
        verified.queries += 1;
        match self.salesforce.query(&question.soql).await {
            Ok(records) => {
                let known = question.answer(&self.mapping, &records)?;
                verified.rows.extend(known.into_iter().map(|known| (known.key, known.verdict, known.id)));
                Ok(())
            }
            // The running user may write what it may not query: those rows stay in doubt, in the open.
            Err(failure) if failure.class == Class::Configuration => {
                tracing::warn!(class = %failure.class, "rows in doubt cannot be looked up: {failure}");
                Ok(())
            }
            Err(failure) => Err(failure),
        }
    }

    /// Writes the rows in doubt as they were sent, and tells where.
    async fn doubt(&self, outcomes: Outcomes) -> Result<(Outcomes, Vec<String>), Failure> {
        let fragments = self.planned().fragments.clone();
        let (store, run, job) = (self.store.blocking(), self.run.clone(), self.job);
        store::blocking(move || {
            let mut places = Vec::new();
            let uploads = fragments
                .iter()
                .map(|fragment| store.reader(&layout::fragment(&run, fragment, &fragment.file)));
            outcomes.doubt(uploads, &mut |piece| {
                let place = layout::results(&run, job, &format!("doubt-{:03}.csv", places.len()));
                store.create_or_agree(&place, piece)?;
                places.push(place);
                Ok(())
            })?;
            Ok((outcomes, places))
        })
        .await
    }
}

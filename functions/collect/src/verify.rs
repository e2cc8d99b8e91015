//! Rows of which nothing is known: the org is asked for their records.

use engine::{
    Class, Failure, layout,
    live::{Question, questions},
    outcome::{Outcomes, Verdict},
};
use serde::{Deserialize, Serialize};

use crate::Collector;

/// So many queries are asked before their answers are kept: a try that is cut off begins with the next ones.
const KEPT_TOGETHER: usize = 20;

/// `verified-<n>.json`: what the org said of some of the rows in doubt.
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
        let (mut outcomes, pieces) =
            if self.plan.asks { (outcomes, self.fragments()) } else { self.doubt(outcomes).await? };
        let (mut queries, mut number) = (0, 0);
        for piece in &pieces {
            let rows = self.store.bytes(piece).await?;
            for part in questions(&self.plan.object, &self.mapping, &rows)?.chunks(KEPT_TOGETHER) {
                let verified = self.verified(number, part).await?;
                number += 1;
                queries += verified.queries;
                self.take_down_verified(&mut outcomes, &verified)?;
            }
        }
        Ok((outcomes, queries))
    }

    fn take_down_verified(&self, outcomes: &mut Outcomes, verified: &Verified) -> Result<(), Failure> {
        for (key, verdict, id) in &verified.rows {
            if self.plan.asks {
                outcomes.find_in_org(key, *verdict, id)?;
            } else {
                outcomes.verify(key, *verdict, id)?;
            }
        }
        Ok(())
    }

    /// Where the rows of the job are as they were mapped.
    fn fragments(&self) -> Vec<String> {
        let fragments = self.planned().fragments.iter();
        fragments.map(|fragment| layout::fragment(self.run, fragment, &fragment.file)).collect()
    }

    /// What was found is kept, so that every try of the stage says the same.
    async fn verified(&self, number: usize, questions: &[Question]) -> Result<Verified, Failure> {
        let place = layout::results(self.run, self.job, &format!("verified-{number:03}.json"));
        if let Some(verified) = self.store.get_json(&place).await? {
            return Ok(verified);
        }
        let mut verified = Verified::default();
        for question in questions {
            self.ask(question, &mut verified).await?;
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
            Err(failure) if failure.class == Class::Configuration && self.plan.asks => {
                Err(failure.at("the org cannot be asked for the rows").hint(
                    "the user of the run needs to read the object, its key field and every field of the mapping",
                ))
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

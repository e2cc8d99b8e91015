//! A job of REST calls: each call is made by one try of the stage, once, and never again.
//!
//! A call is claimed before it is made. One that was claimed and left no answer is in doubt; Collect asks the org for
//! its records.

use engine::{
    Failure, JobRef, RunRef,
    collections::{Batch, batches},
    config::Operation,
    document::{Extracted, Fragment, Plan, PlannedJob},
    layout,
};
use salesforce::{Collection, CollectionOperation};
use store::{Put, Store};

pub(crate) struct Calls<'a> {
    pub(crate) store: &'a Store,
    pub(crate) salesforce: &'a salesforce::Client,
    pub(crate) run: &'a RunRef,
    pub(crate) job: JobRef,
    pub(crate) plan: &'a Plan,
    pub(crate) planned: &'a PlannedJob,
    /// Nothing more is sent: the calls that nobody has claimed are claimed for nobody.
    pub(crate) given_up: bool,
}

impl Calls<'_> {
    /// Makes every call that nobody has claimed, in order, one at a time.
    pub(crate) async fn make(&self) -> Result<(), Failure> {
        let extracted: Extracted = self.store.require(&layout::result(self.run)).await?;
        let mapping = extracted.mapping.of(self.planned.removes);
        let collection = self.collection(mapping.operation)?;
        let mut call = 0;
        for fragment in &self.planned.fragments {
            let rows = self.rows(fragment).await?;
            for batch in batches(&self.plan.object, &mapping, &rows)? {
                self.claim_and_make(call, &collection, batch).await?;
                call += 1;
            }
        }
        Ok(())
    }

    async fn rows(&self, fragment: &Fragment) -> Result<bytes::Bytes, Failure> {
        self.store.bytes(&layout::fragment(self.run, fragment, &fragment.file)).await
    }

    async fn claim_and_make(&self, call: u32, collection: &Collection, batch: Batch) -> Result<(), Failure> {
        let claim = layout::call_begun(self.run, self.job, call);
        let rows = if self.given_up { 0 } else { batch.keys.len() };
        if self.store.create_json(&claim, &rows).await? == Put::Exists || self.given_up {
            return Ok(());
        }
        let answer = self.salesforce.write_collection(collection, batch.body.into()).await?;
        self.store.create(&layout::call_answer(self.run, self.job, call), answer).await.map(drop)
    }

    fn collection(&self, operation: Operation) -> Result<Collection, Failure> {
        let operation = match operation {
            Operation::Upsert | Operation::Mirror => {
                CollectionOperation::Upsert { external_id: self.plan.external_id.clone() }
            }
            Operation::Insert => CollectionOperation::Insert,
            Operation::Update => CollectionOperation::Update,
            Operation::Delete => CollectionOperation::Delete,
            Operation::HardDelete => {
                return Err(Failure::configuration("`hard_delete` does not go by REST")
                    .hint("leave `load.api` out, or set it to `bulk`"));
            }
        };
        Ok(Collection { object: self.plan.object.clone(), operation })
    }
}

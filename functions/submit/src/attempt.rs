//! The steps of a submission. Each leaves its entry in the journal before the next begins.

use engine::{
    Failure, JobRef, RunRef,
    document::{JobEnd, Plan, PlannedJob, to_bytes},
    journal::{Attempt, Decision, attempt_entry, decision_entry},
    layout,
};
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use salesforce::{JobState, NewJob};
use store::{Put, Store};

pub(crate) struct Submission<'a> {
    pub(crate) store: &'a Store,
    pub(crate) salesforce: &'a salesforce::Client,
    pub(crate) run: &'a RunRef,
    pub(crate) job: JobRef,
    pub(crate) plan: &'a Plan,
    pub(crate) planned: &'a PlannedJob,
}

impl Submission<'_> {
    /// Creates a job, uploads to it and closes it, which is true then. The upload is never repeated into the same job.
    pub(crate) async fn create(&self, attempt: u32) -> Result<bool, Failure> {
        let form = self.plan.form(self.planned);
        let new = NewJob {
            object: self.plan.object.clone(),
            operation: form.operation.to_owned(),
            external_id: (form.operation == "upsert").then(|| form.key.to_owned()),
        };
        let job = self.salesforce.create_job(&new).await?;
        let entry = to_bytes(&Attempt { job: job.id.clone() });
        let place = layout::journal(self.run, self.job, &attempt_entry(attempt));
        if let Put::Exists = self.store.create(&place, entry).await? {
            // Another try of this stage is ahead: its job counts, ours never gets a row.
            self.salesforce.abort(&job.id).await?;
            return Ok(false);
        }
        self.salesforce.upload(&job.id, self.planned.bytes, self.content()).await?;
        match self.decide(attempt, Decision::Close).await? {
            Decision::Close => self.salesforce.close(&job.id).await.map(|_| true),
            Decision::Abandon => {
                Err(Failure::contention(format!("another try of job {} has taken over", self.job)))
            }
        }
    }

    /// Gives up a job that was not closed, unless another try has decided to close it.
    pub(crate) async fn abandon(&self, attempt: u32, job: &str) -> Result<(), Failure> {
        match self.decide(attempt, Decision::Abandon).await? {
            Decision::Abandon => self.salesforce.abort(job).await,
            Decision::Close => Ok(()),
        }
    }

    /// Decides that an attempt which nobody has begun will never be closed, which is true then: a try of this
    /// stage that is still at work somewhere finds that out before it closes. The job ends without having
    /// been sent.
    pub(crate) async fn give_up(&self, attempt: u32) -> Result<bool, Failure> {
        if self.decide(attempt, Decision::Abandon).await? == Decision::Close {
            return Ok(false);
        }
        let end = to_bytes(&JobEnd::given_up());
        self.store.create_or_agree(&layout::job_end(self.run, self.job), end).await.map(|()| true)
    }

    /// Looks at a job whose close was decided; if the close never arrived, it is said again.
    pub(crate) async fn look_at(&self, job: &str) -> Result<(), Failure> {
        match self.salesforce.job(job).await? {
            Some(info) if info.state == JobState::Open => self.salesforce.close(job).await.map(drop),
            // Closed, ended, or forgotten by the vendor: all of that is for Poll to tell.
            _ => Ok(()),
        }
    }

    /// Writes the decision about an attempt; the one that was written first stands.
    async fn decide(&self, attempt: u32, decision: Decision) -> Result<Decision, Failure> {
        let place = layout::journal(self.run, self.job, &decision_entry(attempt));
        match self.store.create_json(&place, &decision).await? {
            Put::Written(_) => Ok(decision),
            Put::Exists => self.store.require(&place).await,
        }
    }

    /// The header and then the fragments of the plan, byte for byte.
    fn content(&self) -> impl Stream<Item = Result<bytes::Bytes, Failure>> + Send + 'static {
        let header = bytes::Bytes::from(self.plan.form(self.planned).header.to_owned());
        let (store, run) = (self.store.clone(), self.run.clone());
        let fragments = stream::iter(self.planned.fragments.clone()).then(move |fragment| {
            let (store, object) = (store.clone(), layout::fragment(&run, &fragment, &fragment.file));
            async move { store.reader(&object).await.map(pieces) }
        });
        stream::once(async { Ok(header) }).chain(fragments.try_flatten())
    }
}

fn pieces(reader: store::Reader) -> impl Stream<Item = Result<bytes::Bytes, Failure>> + Send {
    stream::try_unfold(
        reader,
        |mut reader| async move { Ok(reader.chunk().await?.map(|bytes| (bytes, reader))) },
    )
}

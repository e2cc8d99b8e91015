//! The order of the stages in Rust: what `statemachine/sync-run.asl.yaml` says, in one process.
//!
//! Both leave the same documents behind. A stage that fails is tried again as the state machine would
//! try it, by the class of its failure; after that the run ends as failed.

use std::{future::Future, time::Duration};

use engine::{Class, Failure, RunRef, document::Failed};
use futures_util::{StreamExt, TryStreamExt, stream};
use store::Store;

/// Chunks mapped or settled side by side: the work is bound by the processor.
const CHUNKS_SIDE_BY_SIDE: usize = 2;

/// The longest wait between two tries of a stage, in [`Driver::second`]s.
const LONGEST_PAUSE: u32 = 30;

/// How often a stage is tried again.
const MORE_TRIES: u32 = 5;

/// What the stages work with.
pub struct Parts {
    /// Where the documents are.
    pub store: Store,
    /// The warehouse.
    pub snowflake: snowflake::Client,
    /// The org.
    pub salesforce: salesforce::Client,
}

/// What has just happened, for whoever watches.
#[derive(Clone, Debug)]
pub enum Step {
    /// Snowflake works on the statement, or its rows are being copied.
    Extracting {
        /// Rows of the model, once counted.
        rows: u64,
    },
    /// The manifest is written.
    Extracted {
        /// Rows of the model.
        rows: u64,
    },
    /// A chunk is mapped.
    Mapped {
        /// Its rows.
        rows: u64,
    },
    /// The jobs are known.
    Planned {
        /// How many.
        jobs: usize,
        /// Rows of all of them, when there are any.
        rows: u64,
        /// The org is asked for those rows, and none is sent.
        asks: bool,
    },
    /// A job has ended and its results are kept.
    Loaded {
        /// Its rows.
        rows: u64,
    },
    /// A chunk of the next baseline is written.
    Settled,
}

/// A run on its way through the stages.
pub struct Driver<'a> {
    /// What the stages work with.
    pub parts: &'a Parts,
    /// The run.
    pub run: RunRef,
    /// Who watches.
    pub watch: &'a (dyn Fn(Step) + Sync),
    /// How long a second of waiting lasts: a second, except in tests.
    pub second: Duration,
}

impl Driver<'_> {
    /// Takes the run to its end. A run that fails is ended as failed before its failure is returned.
    ///
    /// # Errors
    /// The failure of the stage that ended the run.
    pub async fn drive(&self) -> Result<finish::Output, Failure> {
        let ended = match self.stages().await {
            Ok(()) => self.finish(None).await,
            Err(failure) => Err(failure),
        };
        if let Err(failure) = &ended {
            self.fail(failure).await;
        }
        ended
    }

    /// Ends the run as failed. What goes wrong here must not hide why the run failed.
    async fn fail(&self, failure: &Failure) {
        let failed = Failed { error: failure.class.name().to_owned(), cause: failure.to_string() };
        if let Err(second) = self.finish(Some(failed)).await {
            tracing::warn!(class = %second.class, "the run cannot be ended as failed: {second}");
        }
    }

    async fn stages(&self) -> Result<(), Failure> {
        let chunks = self.extract().await?;
        self.each_chunk(chunks, |chunk| self.map(chunk)).await?;
        let mut wave = 1;
        loop {
            let plan = self.plan(wave).await?;
            match plan.next {
                plan::Next::Stop => return Ok(()),
                plan::Next::Settle => break,
                plan::Next::Load => {
                    self.wait(plan.wait_seconds).await;
                    self.load(&plan).await;
                }
            }
            wave = plan.next_wave;
        }
        self.each_chunk(chunks, |chunk| self.settle(chunk)).await
    }

    async fn extract(&self) -> Result<u32, Failure> {
        let Parts { store, snowflake, salesforce } = self.parts;
        loop {
            let output =
                self.retried(|| extract::handle(store, snowflake, salesforce, &self.run, None)).await?;
            if output.done {
                (self.watch)(Step::Extracted { rows: output.rows });
                return u32::try_from(output.chunks).map_err(|_| Failure::bug("too many chunks"));
            }
            (self.watch)(Step::Extracting { rows: output.rows });
            self.wait(output.wait_seconds).await;
        }
    }

    async fn each_chunk<F: Future<Output = Result<(), Failure>>>(
        &self,
        chunks: u32,
        stage: impl Fn(u32) -> F,
    ) -> Result<(), Failure> {
        stream::iter(0..chunks).map(stage).buffer_unordered(CHUNKS_SIDE_BY_SIDE).try_collect().await
    }

    async fn map(&self, chunk: u32) -> Result<(), Failure> {
        let event = map::Event { sync: self.run.sync.clone(), run: self.run.run.clone(), chunk };
        let output = self.retried(|| map::handle(&self.parts.store, event.clone())).await?;
        (self.watch)(Step::Mapped { rows: output.read });
        Ok(())
    }

    async fn plan(&self, wave: u32) -> Result<plan::Output, Failure> {
        let event =
            plan::Event { sync: self.run.sync.clone(), run: self.run.run.clone(), wave, release: false };
        let Parts { store, salesforce, .. } = self.parts;
        let output = self.retried(|| plan::handle(store, salesforce, event.clone())).await?;
        if output.next == plan::Next::Load {
            (self.watch)(Step::Planned { jobs: output.jobs.len(), rows: output.rows, asks: output.asks });
        }
        Ok(output)
    }

    /// Loads the jobs of a wave. One that fails does not stop the others: Plan finds it afterwards.
    async fn load(&self, plan: &plan::Output) {
        let side_by_side = plan.concurrency as usize;
        let jobs = stream::iter(&plan.jobs).map(|job| async {
            if let Err(failure) = self.job(plan.wave, job.job).await {
                tracing::error!(class = %failure.class, wave = plan.wave, job = job.job, "{failure}");
            }
        });
        jobs.buffer_unordered(side_by_side).collect::<()>().await;
    }

    async fn job(&self, wave: u32, job: u32) -> Result<(), Failure> {
        let Parts { store, salesforce, .. } = self.parts;
        let (sync, run) = (self.run.sync.clone(), self.run.run.clone());
        let event = submit::Event { sync: sync.clone(), run: run.clone(), wave, job };
        let mut wait_seconds =
            self.retried(|| submit::handle(store, salesforce, event.clone())).await?.wait_seconds;
        let mut polls = 0;
        loop {
            self.wait(wait_seconds).await;
            let event = poll::Event { sync: sync.clone(), run: run.clone(), wave, job, wait_seconds, polls };
            let polled = self.retried(|| poll::handle(store, salesforce, event.clone())).await?;
            if polled.done {
                break;
            }
            (wait_seconds, polls) = (polled.wait_seconds, polled.polls);
        }
        let event = collect::Event { sync, run, wave, job };
        let collected = self.retried(|| collect::handle(store, salesforce, event.clone())).await?;
        (self.watch)(Step::Loaded { rows: collected.sent });
        Ok(())
    }

    async fn settle(&self, chunk: u32) -> Result<(), Failure> {
        let event = settle::Event { sync: self.run.sync.clone(), run: self.run.run.clone(), chunk };
        self.retried(|| settle::handle(&self.parts.store, event.clone())).await?;
        (self.watch)(Step::Settled);
        Ok(())
    }

    async fn finish(&self, failed: Option<Failed>) -> Result<finish::Output, Failure> {
        let event = finish::Event::new(self.run.clone(), failed);
        let Parts { store, snowflake, .. } = self.parts;
        self.retried(|| finish::handle(store, Some(snowflake), event.clone())).await
    }

    async fn wait(&self, seconds: u64) {
        tokio::time::sleep(self.second * u32::try_from(seconds).unwrap_or(u32::MAX)).await;
    }

    /// Tries a stage again while its failure may pass: what the `Retry` fields of the state machine do,
    /// with shorter pauses, because a person is waiting.
    async fn retried<T, F: Future<Output = Result<T, Failure>>>(
        &self,
        stage: impl Fn() -> F,
    ) -> Result<T, Failure> {
        let mut pause = 1;
        let mut tries_left = MORE_TRIES;
        loop {
            match stage().await {
                Err(failure) if failure.class == Class::Transient && tries_left > 0 => {
                    tracing::warn!(class = %failure.class, "{failure}; trying again in {pause} s");
                    self.wait(pause.into()).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    tries_left -= 1;
                }
                outcome => return outcome,
            }
        }
    }
}

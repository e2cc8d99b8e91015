//! A run, one call of a stage at a time: what the state machine does, with the test deciding when.

use std::collections::VecDeque;

use cli::driver::Parts;
use engine::{Class, Failure, RunRef, document::Failed};

/// One call of a stage, as the state machine makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Extract.
    Extract,
    /// Map, of a chunk.
    Map(u32),
    /// Plan, of a wave.
    Plan(u32),
    /// Submit, of a job by its wave and number.
    Submit(u32, u32),
    /// Poll.
    Poll(u32, u32),
    /// Collect.
    Collect(u32, u32),
    /// Settle, of a chunk.
    Settle(u32),
    /// Finish of a run that went well.
    Finish,
    /// Finish of a run that failed.
    Fail,
}

/// What follows from a call.
#[derive(Debug)]
pub enum Answer {
    /// The same call once more.
    Again,
    /// On to the next.
    Done,
    /// The chunks are known.
    Chunks(u32),
    /// What is to be loaded, if anything.
    Planned(plan::Output),
    /// The run is over.
    Over(finish::Output),
}

/// A run on its way.
#[derive(Clone, Debug)]
pub struct Walk {
    /// The run.
    pub run: RunRef,
    /// The calls that went well, in order.
    pub made: Vec<Call>,
    todo: VecDeque<Call>,
    chunks: u32,
}

impl Walk {
    /// From the beginning, which is also how a failed execution is started once more.
    #[must_use]
    pub fn new(run: RunRef) -> Self {
        Self { run, made: Vec::new(), todo: VecDeque::from([Call::Extract]), chunks: 0 }
    }

    /// The call to be made; none when the run is over.
    #[must_use]
    pub fn next(&self) -> Option<Call> {
        self.todo.front().copied()
    }

    /// Takes in how the next call went.
    pub fn went(&mut self, outcome: &Result<Answer, Failure>) {
        let Some(call) = self.next() else { return };
        match outcome {
            Ok(Answer::Again) => self.made.push(call),
            Ok(answer) => {
                self.made.push(call);
                self.todo.pop_front();
                self.follow(answer);
            }
            Err(failure) => self.failed(call, failure.class),
        }
    }

    fn follow(&mut self, answer: &Answer) {
        match answer {
            Answer::Chunks(chunks) => {
                self.chunks = *chunks;
                self.todo.extend((0..*chunks).map(Call::Map));
                self.todo.push_back(Call::Plan(1));
            }
            Answer::Planned(plan) => self.load(plan),
            Answer::Again | Answer::Done | Answer::Over(_) => {}
        }
    }

    fn load(&mut self, plan: &plan::Output) {
        match plan.next {
            plan::Next::Load => {
                for job in &plan.jobs {
                    let (wave, job) = (plan.wave, job.job);
                    self.todo.extend([
                        Call::Submit(wave, job),
                        Call::Poll(wave, job),
                        Call::Collect(wave, job),
                    ]);
                }
                self.todo.push_back(Call::Plan(plan.next_wave));
            }
            plan::Next::Settle => {
                self.todo.extend((0..self.chunks).map(Call::Settle));
                self.todo.push_back(Call::Finish);
            }
            plan::Next::Stop => self.todo.push_back(Call::Finish),
        }
    }

    /// A call that may go better is made again; a failed job does not stop the others; all else ends the run.
    fn failed(&mut self, call: Call, class: Class) {
        match (call, class) {
            (_, Class::Transient) => {}
            (Call::Submit(..) | Call::Poll(..) | Call::Collect(..), _) => {
                let of = job(call);
                self.todo.retain(|call| job(*call) != of);
            }
            (Call::Fail, _) => self.todo.clear(),
            _ => self.todo = VecDeque::from([Call::Fail]),
        }
    }
}

fn job(call: Call) -> Option<(u32, u32)> {
    match call {
        Call::Submit(wave, job) | Call::Poll(wave, job) | Call::Collect(wave, job) => Some((wave, job)),
        _ => None,
    }
}

/// Makes a call.
///
/// # Errors
/// The failure of the stage.
pub async fn make(parts: &Parts, run: &RunRef, call: Call) -> Result<Answer, Failure> {
    // On the heap: a test thread has a small stack.
    Box::pin(stage(parts, run, call)).await
}

async fn stage(parts: &Parts, run: &RunRef, call: Call) -> Result<Answer, Failure> {
    let Parts { store, snowflake, salesforce } = parts;
    let (sync, run) = (run.sync.clone(), run.run.clone());
    match call {
        Call::Extract => {
            let output = extract::handle(store, snowflake, salesforce, &RunRef { sync, run }, None).await?;
            Ok(if output.done { Answer::Chunks(count(output.chunks)?) } else { Answer::Again })
        }
        Call::Map(chunk) => map::handle(store, map::Event { sync, run, chunk }).await.map(|_| Answer::Done),
        Call::Plan(wave) => plan::handle(store, salesforce, plan::Event { sync, run, wave, release: false })
            .await
            .map(Answer::Planned),
        Call::Submit(wave, job) => {
            let event = submit::Event { sync, run, wave, job };
            submit::handle(store, salesforce, event).await.map(|_| Answer::Done)
        }
        Call::Poll(wave, job) => {
            let event = poll::Event { sync, run, wave, job, wait_seconds: 0, polls: 0 };
            let polled = poll::handle(store, salesforce, event).await?;
            Ok(if polled.done { Answer::Done } else { Answer::Again })
        }
        Call::Collect(wave, job) => {
            let event = collect::Event { sync, run, wave, job };
            collect::handle(store, salesforce, event).await.map(|_| Answer::Done)
        }
        Call::Settle(chunk) => {
            settle::handle(store, settle::Event { sync, run, chunk }).await.map(|_| Answer::Done)
        }
        Call::Finish | Call::Fail => {
            let failed = || Failed { error: "Contention".to_owned(), cause: "a test".to_owned() };
            let event = finish::Event::new(RunRef { sync, run }, (call == Call::Fail).then(failed));
            finish::handle(store, Some(snowflake), event).await.map(Answer::Over)
        }
    }
}

fn count(chunks: usize) -> Result<u32, Failure> {
    u32::try_from(chunks).map_err(|_| Failure::bug("too many chunks"))
}

//! Snowflake → chunks: submit the statement once, poll it, copy its partitions, write the manifest.
//!
//! Each call goes as far as it can and returns; the state machine waits and calls again. Every step
//! leaves a document, so a call begins where the last one ended, whatever ended it.
//!
//! Vendor pages: <https://docs.snowflake.com/en/developer-guide/sql-api/handling-responses>

mod copy;
mod prepare;
mod statement;

use std::time::Instant;

use engine::{
    Failure, RunRef,
    document::{Chunk, Run},
    layout,
};
use serde::Serialize;
use store::{Store, lease};

/// Most rows of a chunk, unless a single partition holds more: a chunk is mapped by one invocation.
const CHUNK_ROWS: u64 = 200_000;

/// How far the extraction has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Output {
    /// The manifest is written.
    pub done: bool,
    /// How long to wait before calling again.
    pub wait_seconds: u64,
    /// Rows of the model, once Snowflake has counted them.
    pub rows: u64,
    /// Chunks of the manifest, once it is written.
    pub chunks: usize,
}

/// Takes the extraction of a run as far as it goes before `deadline`.
///
/// # Errors
/// [`engine::Class::Contention`] while another run of the sync is going;
/// [`engine::Class::Configuration`] when the sync does not fit either end, or a vendor refuses it;
/// the classes of the clients and of the store otherwise.
pub async fn handle(
    store: &Store,
    snowflake: &snowflake::Client,
    salesforce: &salesforce::Client,
    run: &RunRef,
    deadline: Option<Instant>,
) -> Result<Output, Failure> {
    // Before the lease: a run that nobody began must not keep others from going.
    let frozen: Run = store.require(&layout::run(run)).await?;
    lease::hold(store, run).await?;
    if let Some(manifest) = store.get_json::<Vec<Chunk>>(&layout::manifest(run)).await? {
        return Ok(finished(&manifest));
    }
    let prepared = prepare::prepare(store, salesforce, run, frozen).await?;
    let submitted = statement::submit(store, snowflake, run, &prepared).await?;
    let extracted = match statement::result(store, snowflake, run, &prepared, &submitted).await? {
        statement::Progress::Running { wait_seconds } => {
            return Ok(Output { done: false, wait_seconds, rows: 0, chunks: 0 });
        }
        statement::Progress::Finished(extracted) => extracted,
    };
    let Some(scans) = copy::partitions(store, snowflake, run, &submitted, &extracted, deadline).await? else {
        return Ok(Output { done: false, wait_seconds: 0, rows: extracted.rows, chunks: 0 });
    };
    let manifest = copy::manifest(&extracted, &scans)?;
    store.create_or_agree(&layout::manifest(run), engine::document::to_bytes(&manifest)).await?;
    Ok(finished(&manifest))
}

fn finished(manifest: &[Chunk]) -> Output {
    let rows = manifest.iter().map(|chunk| chunk.rows).sum();
    Output { done: true, wait_seconds: 0, rows, chunks: manifest.len() }
}

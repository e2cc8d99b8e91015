//! One chunk: the baseline it started from, and what Salesforce said, become the next baseline segment.

use engine::{
    ChunkNo, Failure, JobRef, RunId, RunRef, SyncName,
    document::{Base, Chunk, Plan, SegmentRef, Settled},
    held::Releases,
    layout,
    settle::settle_chunk,
};
use serde::{Deserialize, Serialize};
use store::{Put, Store, baseline};

/// The chunk to settle.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// The sync.
    pub sync: SyncName,
    /// The run.
    pub run: RunId,
    /// The chunk.
    pub chunk: ChunkNo,
}

/// Counts only: the segment is in the bucket.
#[derive(Debug, Serialize)]
pub struct Output {
    /// Entries of the next baseline in the range of this chunk.
    pub rows: u64,
}

/// Writes the next baseline segment of a chunk.
///
/// # Errors
/// [`engine::Class::Configuration`] when the run is not there, or a segment of the baseline is lost or
/// damaged; the classes of the store and of [`settle_chunk`] otherwise.
pub async fn handle(store: &Store, event: Event) -> Result<Output, Failure> {
    let run = RunRef { sync: event.sync, run: event.run };
    let place = layout::settled(&run, event.chunk);
    let settled = match store.get_json::<Settled>(&place).await? {
        Some(settled) => settled,
        None => {
            let settled = settle(store, &run, event.chunk).await?;
            store.create_or_agree(&place, engine::document::to_bytes(&settled)).await?;
            settled
        }
    };
    Ok(Output { rows: settled.segment.rows })
}

async fn settle(store: &Store, run: &RunRef, number: ChunkNo) -> Result<Settled, Failure> {
    let chunk = store.chunk(run, number).await?;
    let inputs = Inputs::find(store, run, &chunk).await?;
    let object = layout::baseline_segment(&run.sync, &run.run, number);
    let blocking = store.blocking();
    let target = object.clone();
    let (written, summary) = store::blocking(move || {
        let open = |objects: Vec<String>| {
            let blocking = blocking.clone();
            objects.into_iter().map(move |object| blocking.reader(&object))
        };
        let (out, summary) = settle_chunk(
            &chunk,
            open(inputs.baseline),
            open(inputs.removed),
            open(inputs.deltas),
            &inputs.releases,
            blocking.writer(&target)?,
        )?;
        Ok::<_, Failure>((out.finish()?, summary))
    })
    .await?;
    let segment = SegmentRef {
        object,
        rows: summary.rows,
        first_key: summary.first_key,
        last_key: summary.last_key,
        checksum: summary.checksum,
    };
    if let Put::Exists = written {
        agree(store, &segment).await?;
    }
    Ok(Settled { segment })
}

/// A segment left by an earlier try must be the one that was computed now.
async fn agree(store: &Store, segment: &SegmentRef) -> Result<(), Failure> {
    if store.checksum(&segment.object).await? == segment.checksum {
        return Ok(());
    }
    Err(Failure::bug(format!("`{}` differs from what this try of the stage computed", segment.object)))
}

struct Inputs {
    baseline: Vec<String>,
    removed: Vec<String>,
    /// What the mapping found to be as it was accepted, the keys that were renamed, then what the jobs brought.
    deltas: Vec<String>,
    releases: Releases,
}

impl Inputs {
    async fn find(store: &Store, run: &RunRef, chunk: &Chunk) -> Result<Self, Failure> {
        let base: Base = store.require(&layout::base(run)).await?;
        let releases = Releases::of(&base.releases);
        let mut learnt = store.list(&layout::mapped(run, chunk.chunk, "mended-")).await?;
        learnt.extend(store.list(&layout::mapped(run, chunk.chunk, "renamed-")).await?);
        learnt.extend(deltas(store, run, chunk.chunk).await?);
        let segments = base.head.segments.into_iter().filter(|segment| chunk.overlaps(segment));
        let segments: Vec<SegmentRef> = segments.collect();
        baseline::require_whole(store, &run.sync, &segments).await?;
        Ok(Self {
            baseline: segments.into_iter().map(|segment| segment.object).collect(),
            removed: store.list(&layout::mapped(run, chunk.chunk, "removed-")).await?,
            deltas: learnt,
            releases,
        })
    }
}

/// The deltas of one chunk, wave by wave: what a later one says of a row counts.
async fn deltas(store: &Store, run: &RunRef, chunk: ChunkNo) -> Result<Vec<String>, Failure> {
    let mut deltas = Vec::new();
    let mut plan: Option<Plan> = Some(store.require(&layout::plan(run, 1)).await?);
    while let Some(Plan { wave, jobs, .. }) = plan {
        let jobs = (0u32..).zip(jobs);
        let holding = jobs.filter(|(_, job)| job.fragments.iter().any(|fragment| fragment.chunk == chunk));
        deltas.extend(holding.map(|(job, _)| layout::delta(run, JobRef { wave, job }, chunk)));
        plan = store.get_json(&layout::plan(run, wave + 1)).await?;
    }
    Ok(deltas)
}

//! One chunk: decode, map, validate, fingerprint, compare with the baseline, write CSV fragments.

use engine::{
    ChunkNo, Failure, RunId, RunRef, SyncName,
    document::{Base, Extracted, Mapped, SegmentRef},
    held::Releases,
    layout,
    map::{Piece, map_chunk},
};
use serde::{Deserialize, Serialize};
use store::{Store, baseline};

/// The chunk to map.
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

/// Counts only: what was mapped is in the bucket.
#[derive(Debug, Serialize)]
pub struct Output {
    /// Rows read.
    pub read: u64,
    /// Rows to be sent.
    pub sent: u64,
}

/// Maps one chunk; its summary is written last.
///
/// # Errors
/// [`engine::Class::Configuration`] when the run is not there, a segment of the baseline is lost or damaged,
/// or the model is not ordered by its key, the classes of the store and of [`map_chunk`] otherwise.
pub async fn handle(store: &Store, event: Event) -> Result<Output, Failure> {
    let run = RunRef { sync: event.sync, run: event.run };
    let summary = layout::mapped_summary(&run, event.chunk);
    let mapped = match store.get_json::<Mapped>(&summary).await? {
        Some(mapped) => mapped,
        None => {
            let mapped = map(store, &run, event.chunk).await?;
            store.create_or_agree(&summary, engine::document::to_bytes(&mapped)).await?;
            mapped
        }
    };
    Ok(Output { read: mapped.read, sent: mapped.sent() })
}

async fn map(store: &Store, run: &RunRef, number: ChunkNo) -> Result<Mapped, Failure> {
    let extracted: Extracted = store.require(&layout::result(run)).await?;
    let base: Base = store.require(&layout::base(run)).await?;
    let chunk = store.chunk(run, number).await?;
    let releases = Releases::of(&base.releases);
    let segments: Vec<SegmentRef> =
        base.head.segments.into_iter().filter(|segment| chunk.overlaps(segment)).collect();
    // Before the first row: a chunk ends where its range ends, which need not be where a segment does.
    baseline::require_whole(store, &run.sync, &segments).await?;
    let (store, run) = (store.blocking(), run.clone());
    store::blocking(move || {
        let partitions =
            chunk.partitions.iter().map(|&partition| store.reader(&layout::partition(&run, partition)));
        let baseline = segments.iter().map(|segment| store.reader(&segment.object));
        let mut emit = |piece: Piece| {
            store.create_or_agree(&layout::mapped(&run, chunk.chunk, &piece.file), piece.bytes)
        };
        map_chunk(&extracted.mapping, &chunk, partitions, baseline, &releases, &mut emit)
    })
    .await
}

//! The baseline as it is stored: what a run begins from, and whether all of it is there.
//!
//! A key that the baseline does not know is sent as new. So nothing here takes a part of it for the whole: neither a
//! segment that cannot be read to its end, nor a head that is not there although the sync has committed.

use engine::{
    Failure, SyncName,
    baseline::{State, inspect, no_head, not_whole},
    document::{Base, Head, SegmentRef},
    layout,
};

use crate::{Store, blocking, blocking::checksum};

/// A segment without entries has so many bytes: magic, version and footer.
const EMPTY_SEGMENT: u64 = 28;

/// What a run begins from: the head as it is now, none before the first commit.
///
/// # Errors
/// [`engine::Class::Configuration`] when the head is damaged, was written by a newer version, or is lost; the classes
/// of the store.
pub async fn current(store: &Store, sync: &SyncName) -> Result<Base, Failure> {
    let place = layout::head(sync);
    let Some(object) = store.get(&place).await? else {
        if has_committed(store, sync).await? {
            return Err(no_head(sync, &place, State::Lost));
        }
        return Ok(Base { version: None, head: Head::default(), left_out: Vec::new(), releases: Vec::new() });
    };
    let head = Head::read(&place, &object.bytes)?.ok_or_else(|| no_head(sync, &place, State::Damaged))?;
    Ok(Base { version: Some(object.version.0), head, left_out: Vec::new(), releases: Vec::new() })
}

/// What a rebuild begins from: the head without the segments that are not whole.
///
/// The watermark is left out too: rows that the org does not hold may lie before it, and must be read again.
///
/// # Errors
/// [`engine::Class::Configuration`] when every segment is whole, besides those of [`current`].
pub async fn remaining(store: &Store, sync: &SyncName) -> Result<Base, Failure> {
    let Base { version, head, .. } = current(store, sync).await?;
    let (mut whole, mut left_out) = (Vec::new(), Vec::new());
    for segment in head.segments {
        let state = state(store, &segment).await?;
        if state == State::Whole { whole.push(segment) } else { left_out.push(segment) }
    }
    if left_out.is_empty() {
        return Err(Failure::configuration(format!("every segment of the baseline of `{sync}` is whole"))
            .hint("there is nothing to rebuild; with `--all` the org is asked for every row all the same"));
    }
    Ok(Base { version, head: Head { segments: whole, cursor: None, ..head }, left_out, releases: Vec::new() })
}

/// What a rebuild of everything begins from: nothing, over the head as it is, whether it can be read or not.
///
/// # Errors
/// [`engine::Class::Configuration`] when a newer version wrote the head; the classes of the store.
pub async fn nothing(store: &Store, sync: &SyncName) -> Result<Base, Failure> {
    let place = layout::head(sync);
    let head = Head::default();
    let Some(object) = store.get(&place).await? else {
        return Ok(Base { version: None, head, left_out: Vec::new(), releases: Vec::new() });
    };
    let left_out = Head::read(&place, &object.bytes)?.map(|head| head.segments).unwrap_or_default();
    Ok(Base { version: Some(object.version.0), head, left_out, releases: Vec::new() })
}

/// How a segment of the baseline is found, read to its end.
///
/// # Errors
/// [`engine::Class::Configuration`] when a newer version of Backhaul wrote it; the classes of the store.
pub async fn state(store: &Store, segment: &SegmentRef) -> Result<State, Failure> {
    let found = as_written(store, segment).await?;
    if found != State::Whole {
        return Ok(found);
    }
    let (store, segment) = (store.blocking(), segment.clone());
    blocking(move || inspect(&segment, store.reader(&segment.object)?)).await
}

/// Passes segments whose bytes are those that were written.
///
/// # Errors
/// [`engine::Class::Configuration`] naming the first that is lost or damaged; the classes of the store.
pub async fn require_whole(store: &Store, sync: &SyncName, segments: &[SegmentRef]) -> Result<(), Failure> {
    for segment in segments {
        let state = as_written(store, segment).await?;
        if state != State::Whole {
            return Err(not_whole(sync, &segment.object, state));
        }
    }
    Ok(())
}

async fn as_written(store: &Store, segment: &SegmentRef) -> Result<State, Failure> {
    let Some(reader) = store.open(&segment.object).await? else { return Ok(State::Lost) };
    let whole = checksum(reader).await? == segment.checksum;
    Ok(if whole { State::Whole } else { State::Damaged })
}

/// Whether a run of the sync must have committed: it left a report, or a segment with entries. Asked only
/// where there is no head, so before the first commit there is next to nothing to look through.
///
/// A run that sent rows and did not commit them leaves such a segment too; but it is settled before another begins.
async fn has_committed(store: &Store, sync: &SyncName) -> Result<bool, Failure> {
    for segment in store.list(&layout::baseline_folder(sync)).await? {
        if store.open(&segment).await?.is_some_and(|reader| reader.size() > EMPTY_SEGMENT) {
            return Ok(true);
        }
    }
    let runs = store.list(&layout::runs_folder(sync)).await?;
    Ok(runs.iter().any(|object| layout::is_report(object)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::{Class, segment::Writer};

    #[test]
    fn an_empty_segment_has_the_bytes_that_are_said_of_it() {
        let (bytes, _) = Writer::new(Vec::new()).finish().unwrap();
        assert_eq!(bytes.len() as u64, EMPTY_SEGMENT);
    }

    #[tokio::test]
    async fn a_head_of_a_newer_version_is_replaced_by_nobody() {
        let root = tempfile::tempdir().unwrap();
        let (store, sync) = (Store::scratch(root.path()), "customers".parse().unwrap());
        store.create(&layout::head(&sync), r#"{"format": 99, "pages": []}"#).await.unwrap();
        for refused in [current(&store, &sync).await, nothing(&store, &sync).await] {
            let failure = refused.unwrap_err();
            assert_eq!(failure.class, Class::Configuration);
            assert!(failure.message.contains("format 99"), "{failure}");
        }
    }

    #[tokio::test]
    async fn a_head_that_is_cut_off_is_damage_and_one_that_never_was_is_none() {
        let root = tempfile::tempdir().unwrap();
        let (store, sync) = (Store::scratch(root.path()), "customers".parse().unwrap());
        assert_eq!(current(&store, &sync).await.unwrap().version, None);
        store.create(&layout::head(&sync), r#"{"format": 1, "segments": ["#).await.unwrap();
        let failure = current(&store, &sync).await.unwrap_err();
        assert_eq!(failure.message, "`syncs/customers/head.json` is damaged");
        assert!(nothing(&store, &sync).await.unwrap().version.is_some());
    }
}

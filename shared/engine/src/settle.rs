//! The next baseline of a chunk: what was known, without what the model no longer holds, with what Salesforce
//! has said since.

use std::{
    cmp::Ordering,
    io::{Read, Write},
};

use crate::{
    Failure,
    document::Chunk,
    held::Releases,
    segment::{Entry, Reader, Refused, Segments, Summary, Writer},
};

/// Writes the next baseline of the key range that `chunk` owns to `out`.
///
/// `baseline` are the segments of the head that overlap the range, in key order; entries outside of the range are
/// left to other chunks. `removed` are the removed keys of the chunk, in key order. `deltas` are what its jobs
/// brought, in the order of the jobs: where two speak of one key, the later counts.
///
/// An accepted record replaces what was known of its key. A refused one keeps what was accepted before and notes
/// what was refused, so that it is held until it changes; the same content refused again counts as one more try. One of
/// which neither is said was removed. What `releases` name is marked, and is held no more until it was refused again.
/// All inputs are streams; of each one block is in memory.
///
/// # Errors
/// [`crate::Class::Bug`] when a removed key or a delta is not the chunk's, a delta says both, or a key is both
/// removed and loaded; besides those of [`crate::segment`] and of the streams.
pub fn settle_chunk<R: Read, W: Write>(
    chunk: &Chunk,
    baseline: impl Iterator<Item = Result<R, Failure>>,
    removed: impl Iterator<Item = Result<R, Failure>>,
    deltas: impl Iterator<Item = Result<R, Failure>>,
    releases: &Releases,
    out: W,
) -> Result<(W, Summary), Failure> {
    let mut baseline = Segments::new(baseline);
    let mut removed = Segments::new(removed);
    let mut deltas = deltas.map(|delta| delta.map(Reader::new)).collect::<Result<Vec<_>, _>>()?;
    skip_before(&mut baseline, chunk)?;
    removed.step()?;
    deltas.iter_mut().try_for_each(Reader::step)?;

    let mut out = Writer::new(out);
    let mut key = String::new();
    loop {
        let old = baseline.key().filter(|key| place(chunk, key).is_eq());
        let news = deltas.iter().filter_map(Reader::key);
        let Some(next) = old.into_iter().chain(removed.key()).chain(news).min() else { break };
        let (known, gone) = (old == Some(next), removed.key() == Some(next));
        key.clear();
        key.push_str(next);
        let old = if known { baseline.current()? } else { None };
        let old = old.map(|entry| released(entry, releases));
        let news = deltas.iter_mut().filter(|delta| delta.key() == Some(&key)).map(Reader::current);
        if let Some(entry) = settle(chunk, &key, old, gone, news)? {
            out.push(&entry)?;
        }
        if known {
            baseline.step()?;
        }
        if gone {
            removed.step()?;
        }
        deltas.iter_mut().filter(|delta| delta.key() == Some(&key)).try_for_each(Reader::step)?;
    }
    out.finish()
}

/// A refused row that a release names. It keeps its mark if this run learns nothing of it: then it goes with the next.
fn released<'a>(entry: Entry<'a>, releases: &Releases) -> Entry<'a> {
    let mark = |refused: Refused<'a>| Refused { released: releases.lets_go(entry.key, &refused), ..refused };
    Entry { refused: entry.refused.map(mark), ..entry }
}

/// What is known of one key from now on.
fn settle<'a>(
    chunk: &Chunk,
    key: &str,
    old: Option<Entry<'a>>,
    gone: bool,
    news: impl Iterator<Item = Result<Option<Entry<'a>>, Failure>>,
) -> Result<Option<Entry<'a>>, Failure> {
    let mut known = old;
    let mut loaded = false;
    for news in news.filter_map(Result::transpose) {
        known = apply(known, news?)?;
        loaded = true;
    }
    if (gone || loaded) && place(chunk, key).is_ne() {
        return Err(Failure::bug(format!("chunk `{}` was given the key of another chunk", chunk.chunk)));
    }
    if gone && loaded {
        return Err(Failure::bug(format!("chunk `{}` both removed a key and loaded it", chunk.chunk)));
    }
    Ok(known.filter(|_| !gone))
}

/// What is known of a key after what one job said of it; nothing when its record was removed.
fn apply<'a>(known: Option<Entry<'a>>, news: Entry<'a>) -> Result<Option<Entry<'a>>, Failure> {
    let id = known.and_then(|known| known.id);
    let before = known.and_then(|known| known.refused);
    match (news.accepted, news.refused) {
        (Some(_), None) => Ok(Some(Entry { id: news.id.or(id), ..news })),
        (None, Some(refused)) => {
            let same = before.filter(|before| before.fingerprint == refused.fingerprint);
            let refused = Some(same.map_or(refused, |before| refused.after(&before)));
            Ok(Some(Entry { id, accepted: known.and_then(|known| known.accepted), refused, ..news }))
        }
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(Failure::bug("a `delta` says of a key both accepted and refused")),
    }
}

/// Where a key lies, seen from the chunk's range.
fn place(chunk: &Chunk, key: &str) -> Ordering {
    if chunk.from_key.as_deref().is_some_and(|from| key < from) {
        Ordering::Less
    } else if chunk.to_key.as_deref().is_some_and(|to| key >= to) {
        Ordering::Greater
    } else {
        Ordering::Equal
    }
}

fn skip_before<R: Read>(
    baseline: &mut Segments<R, impl Iterator<Item = Result<R, Failure>>>,
    chunk: &Chunk,
) -> Result<(), Failure> {
    while baseline.advance()?.is_some_and(|entry| place(chunk, entry.key).is_lt()) {}
    Ok(())
}

//! Keys under two spellings: rows that are refused, and records that are not removed.

use engine::{
    Failure, RunRef,
    document::{Fragment, Mapped, Sample, SegmentRef},
    layout,
    mapping::Mapping,
    spelling::{self, Places, Spellings},
};
use store::Store;

use crate::part;

/// Takes the rows out of `chunks` whose keys are another spelling of that of another row, and the removals of keys that
/// stay under another spelling. Gives a few of those rows. Nothing is read as long as no key has a letter.
///
/// # Errors
/// The classes of the store; those of [`engine::spelling`].
pub(crate) async fn sift(
    store: &Store,
    run: &RunRef,
    baseline: &[SegmentRef],
    mapping: &Mapping,
    chunks: &mut [Mapped],
) -> Result<Vec<Sample>, Failure> {
    let mut samples = Vec::new();
    let passes = spelling::passes(chunks.iter().map(|chunk| chunk.cased + chunk.removing).sum());
    if passes == 0 {
        return Ok(samples);
    }
    let (places, blocking) = (places(store, run, baseline, chunks).await?, store.blocking());
    let found =
        store::blocking(move || spelling::find(&places, passes, |object| blocking.reader(object))).await?;
    if found.is_empty() {
        return Ok(samples);
    }
    let sieve = Sieve { store, run, mapping, found };
    for chunk in chunks {
        sieve.refuse(chunk, &mut samples).await?;
        sieve.spare(chunk).await?;
        chunk.fragments.retain(|fragment| fragment.rows > 0);
    }
    Ok(samples)
}

async fn places(
    store: &Store,
    run: &RunRef,
    baseline: &[SegmentRef],
    chunks: &[Mapped],
) -> Result<Places, Failure> {
    let keys = |removes| {
        let fragments = chunks.iter().flat_map(|chunk| &chunk.fragments);
        let fragments = fragments.filter(|fragment| fragment.removes == removes);
        fragments.map(|fragment| layout::fragment(run, fragment, &fragment.sent_file())).collect()
    };
    let (mut removed, mut invalid) = (Vec::new(), Vec::new());
    for (number, chunk) in (0..).zip(chunks) {
        if chunk.removed > 0 {
            removed.extend(store.list(&layout::mapped(run, number, "removed-")).await?);
        }
        if chunk.invalid_rows() > 0 {
            invalid.extend(store.list(&layout::mapped(run, number, "invalid-")).await?);
        }
    }
    let baseline = baseline.iter().map(|segment| segment.object.clone()).collect();
    Ok(Places { sent: keys(false), removals: keys(true), removed, baseline, invalid })
}

/// What was found, and where it is taken out.
struct Sieve<'a> {
    store: &'a Store,
    run: &'a RunRef,
    mapping: &'a Mapping,
    found: Spellings,
}

impl Sieve<'_> {
    async fn refuse(&self, chunk: &mut Mapped, samples: &mut Vec<Sample>) -> Result<(), Failure> {
        let Self { store, run, mapping, found } = self;
        for place in self.concerned(&chunk.fragments, false).await? {
            let whole = part::read(store, run, &chunk.fragments[place]).await?;
            let Some(left) = found.refuse(&whole, mapping, chunk, samples)? else { continue };
            let file = format!("invalid-{}", whole.fragment.file);
            store.create_or_agree(&layout::mapped(run, whole.fragment.chunk, &file), left.invalid).await?;
            chunk.fragments[place] = part::write(store, run, left.rest).await?;
        }
        Ok(())
    }

    async fn spare(&self, chunk: &mut Mapped) -> Result<(), Failure> {
        let Self { store, run, found, .. } = self;
        for (number, place) in (0..).zip(self.concerned(&chunk.fragments, true).await?) {
            let whole = part::read(store, run, &chunk.fragments[place]).await?;
            let Some(spared) = found.spare(&whole)? else { continue };
            let file = format!("renamed-{number:03}.zst");
            store.create_or_agree(&layout::mapped(run, whole.fragment.chunk, &file), spared.renamed).await?;
            let rows = whole.fragment.rows - spared.rest.fragment.rows;
            chunk.fragments[place] = part::write(store, run, spared.rest).await?;
            (chunk.removing, chunk.renamed) = (chunk.removing - rows, chunk.renamed + rows);
        }
        Ok(())
    }

    /// The places of the fragments of removals, or of the others, that hold a key that was found. Few do, so the
    /// rows of the others are not read.
    async fn concerned(&self, fragments: &[Fragment], removes: bool) -> Result<Vec<usize>, Failure> {
        let mut places = Vec::new();
        let those = fragments.iter().enumerate().filter(|(_, fragment)| fragment.removes == removes);
        for (place, fragment) in those {
            let sent = layout::fragment(self.run, fragment, &fragment.sent_file());
            if self.found.concern(fragment, &self.store.bytes(&sent).await?)? {
                places.push(place);
            }
        }
        Ok(places)
    }
}

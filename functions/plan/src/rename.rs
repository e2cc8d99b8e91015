//! Keeps the records of renamed keys from being removed.

use engine::{
    Failure, RunRef,
    document::{Mapped, SegmentRef},
    layout,
    rename::{Leaving, Renamed, spare as without_renamed},
};
use store::Store;

use crate::part;

/// Takes the removals out of `chunks` whose keys are another spelling of one that is sent or known. Nothing is read as
/// long as no key that leaves has a letter.
///
/// # Errors
/// The classes of the store; those of [`engine::rename`].
pub(crate) async fn spare(
    store: &Store,
    run: &RunRef,
    baseline: &[SegmentRef],
    chunks: &mut [Mapped],
) -> Result<(), Failure> {
    let mut leaving = Leaving::default();
    for fragment in chunks.iter().flat_map(|chunk| &chunk.fragments).filter(|fragment| fragment.removes) {
        let sent = store.bytes(&layout::fragment(run, fragment, &fragment.sent_file())).await?;
        leaving.add(&sent)?;
    }
    if leaving.is_empty() {
        return Ok(());
    }
    let renamed = renamed(store, staying(run, baseline, chunks), leaving).await?;
    if !renamed.is_empty() {
        for chunk in chunks {
            spare_in(store, run, chunk, &renamed).await?;
        }
    }
    Ok(())
}

/// The segments of all keys that are sent, and of all that are known.
fn staying(run: &RunRef, baseline: &[SegmentRef], chunks: &[Mapped]) -> Vec<String> {
    let sent = chunks.iter().flat_map(|chunk| &chunk.fragments).filter(|fragment| !fragment.removes);
    let sent = sent.map(|fragment| layout::fragment(run, fragment, &fragment.sent_file()));
    baseline.iter().map(|segment| segment.object.clone()).chain(sent).collect()
}

async fn renamed(store: &Store, staying: Vec<String>, leaving: Leaving) -> Result<Renamed, Failure> {
    let blocking = store.blocking();
    store::blocking(move || {
        let mut renamed = Renamed::default();
        leaving.renamed(staying.iter().map(|object| blocking.reader(object)), &mut renamed)?;
        Ok(renamed)
    })
    .await
}

async fn spare_in(store: &Store, run: &RunRef, chunk: &mut Mapped, renamed: &Renamed) -> Result<(), Failure> {
    let removals = chunk.fragments.iter_mut().filter(|fragment| fragment.removes);
    for (number, fragment) in removals.enumerate() {
        let whole = part::read(store, run, fragment).await?;
        let Some(spared) = without_renamed(&whole, renamed)? else { continue };
        let forgotten = layout::mapped(run, fragment.chunk, &format!("renamed-{number:03}.zst"));
        store.create_or_agree(&forgotten, spared.renamed).await?;
        let rows = fragment.rows - spared.rest.fragment.rows;
        *fragment = part::write(store, run, spared.rest).await?;
        (chunk.removing, chunk.renamed) = (chunk.removing - rows, chunk.renamed + rows);
    }
    chunk.fragments.retain(|fragment| fragment.rows > 0);
    Ok(())
}

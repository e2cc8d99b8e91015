//! Fragments with their rows, as they are in the bucket.

use engine::{Failure, RunRef, document::Fragment, layout, part::Part};
use store::Store;

/// Reads a fragment.
///
/// # Errors
/// The classes of the store.
pub(crate) async fn read(store: &Store, run: &RunRef, fragment: &Fragment) -> Result<Part, Failure> {
    let csv = store.bytes(&layout::fragment(run, fragment, &fragment.file)).await?;
    let sent = store.bytes(&layout::fragment(run, fragment, &fragment.sent_file())).await?;
    Ok(Part { fragment: fragment.clone(), csv: csv.into(), sent: sent.into() })
}

/// Writes a part, or finds it written by an earlier try.
///
/// # Errors
/// The classes of the store.
pub(crate) async fn write(store: &Store, run: &RunRef, part: Part) -> Result<Fragment, Failure> {
    let Part { fragment, csv, sent } = part;
    store.create_or_agree(&layout::fragment(run, &fragment, &fragment.sent_file()), sent).await?;
    store.create_or_agree(&layout::fragment(run, &fragment, &fragment.file), csv).await?;
    Ok(fragment)
}

//! Held rows that a person lets go again.
//!
//! A release is a document of its own, numbered and never replaced. A run freezes those that its head does not know,
//! and its commit says that they are carried out: each counts for one committed run, however often a stage is tried.

use engine::{
    Failure, SyncName,
    document::{Head, Release, Which},
    held::Releases,
    layout,
};

use crate::{Put, Store};

/// Most releases that one run carries out; the next takes the others.
const MOST: usize = 100;

/// The releases that no run has carried out by the commit of this head, oldest first.
///
/// # Errors
/// The classes of the store.
pub async fn waiting(store: &Store, sync: &SyncName, head: &Head) -> Result<Vec<Release>, Failure> {
    let mut releases = Vec::new();
    for number in (head.released + 1..).take(MOST) {
        let Some(release) = store.get_json(&layout::release(sync, number)).await? else { break };
        releases.push(release);
    }
    Ok(releases)
}

/// Writes a release under the next number, and returns its place. One for the same rows that still waits is enough.
///
/// # Errors
/// [`engine::Class::Configuration`] when it names too many keys; the classes of the store.
pub async fn write(
    store: &Store,
    sync: &SyncName,
    head: &Head,
    release: &Release,
) -> Result<String, Failure> {
    if matches!(&release.rows, Which::Keys(keys) if keys.len() > Releases::MOST_KEYS) {
        let most = Releases::MOST_KEYS;
        return Err(Failure::configuration(format!("a release names at most {most} keys"))
            .hint("release all rows, or those with a code, or in several steps"));
    }
    let mut number = head.released + 1;
    loop {
        let place = layout::release(sync, number);
        if let Put::Written(_) = store.create_json(&place, release).await? {
            return Ok(place);
        }
        if store.require::<Release>(&place).await?.rows == release.rows {
            return Ok(place);
        }
        number += 1;
    }
}

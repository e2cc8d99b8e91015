//! Groups the partitions of a result into chunks, the unit of fan-out.

use crate::{
    ChunkNo,
    document::{Chunk, Scan},
};

/// How far beyond its size a chunk may grow to keep the rows of one key together.
const STRETCH: u64 = 4;

/// The chunks of a result whose partitions were found to be `scans`, in their order.
///
/// A chunk holds consecutive partitions with at most `max_rows` rows, but at least one partition. Every key has
/// exactly one owner: a chunk owns the keys from its first up to the first of the next chunk. A partition without
/// any key goes to the chunk before it (at the beginning: after it). A result without keys is one chunk, which
/// owns everything.
///
/// Partitions that share a key at their border stay together, up to four times `max_rows`, so that the rows of
/// that key are judged by one stage. Only beyond that the key is left to the chunk where it began: the next one
/// owns what follows it, and finds it again as its `previous_key`.
#[must_use]
pub fn manifest(scans: &[Scan], max_rows: u64) -> Vec<Chunk> {
    let mut groups: Vec<Group> = Vec::new();
    for atom in atoms(scans, max_rows.saturating_mul(STRETCH)) {
        match groups.last_mut() {
            Some(last) if last.keys.is_none() || last.rows + atom.rows <= max_rows => last.append(atom),
            _ => groups.push(atom),
        }
    }
    if groups.is_empty() {
        groups.push(Group::default());
    }
    chunks(groups)
}

/// Partitions that belong together, and the first and last of their keys.
#[derive(Default)]
struct Group {
    partitions: Vec<u32>,
    rows: u64,
    keys: Option<(String, String)>,
}

impl Group {
    fn append(&mut self, next: Self) {
        self.partitions.extend(next.partitions);
        self.rows += next.rows;
        self.keys = match (self.keys.take(), next.keys) {
            (Some((first, _)), Some((_, last))) => Some((first, last)),
            (mine, theirs) => mine.or(theirs),
        };
    }
}

/// The smallest groups: partitions with a border key in common, and those without keys beside another.
fn atoms(scans: &[Scan], most: u64) -> Vec<Group> {
    let mut atoms: Vec<Group> = Vec::new();
    for (partition, scan) in (0..).zip(scans) {
        let keys = scan.first_key.clone().zip(scan.last_key.clone());
        let next = Group { partitions: vec![partition], rows: scan.rows, keys };
        match atoms.last_mut() {
            Some(last) if belong_together(last, &next, most) => last.append(next),
            _ => atoms.push(next),
        }
    }
    atoms
}

fn belong_together(last: &Group, next: &Group, most: u64) -> bool {
    match (&last.keys, &next.keys) {
        (Some((_, end)), Some((begin, _))) => end == begin && last.rows + next.rows <= most,
        _ => true,
    }
}

fn chunks(groups: Vec<Group>) -> Vec<Chunk> {
    let mut chunks: Vec<Chunk> = Vec::with_capacity(groups.len());
    let mut previous_key: Option<String> = None;
    for (chunk, group) in (0 as ChunkNo..).zip(groups) {
        let (first, last) = group.keys.unzip();
        let from_key = match &previous_key {
            // The key before belongs to the chunk before: this one owns what comes right after it.
            Some(previous) if first.as_ref() == Some(previous) => Some(format!("{previous}\0")),
            Some(_) => first,
            None => None,
        };
        if let Some(before) = chunks.last_mut() {
            before.to_key.clone_from(&from_key);
        }
        let (partitions, rows) = (group.partitions, group.rows);
        chunks.push(Chunk { chunk, partitions, rows, from_key, to_key: None, previous_key });
        previous_key = last;
    }
    chunks
}

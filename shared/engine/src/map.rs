//! One chunk: rows in, CSV fragments out.
//!
//! A single pass over two streams in key order, the rows and the baseline. Memory holds one row, one
//! block of the baseline and the pieces being filled, whatever the size of the chunk.
//!
//! Every row is counted once: unchanged, held, invalid, added or changed. A key that occurs more than
//! once names no record, so all its rows are invalid, also when the border of two chunks runs between
//! them. A key of the baseline that no row has is removed; one that only invalid rows have is not, and
//! none is when only a part of the model was read.
//!
//! In a mirror, the record of a removed key that was accepted is removed too: by its Salesforce id, in fragments of
//! their own. A removal that was refused is held like any other row. Until it is accepted the key stays in the baseline.
//!
//! An insert happens once: a key that was accepted is unchanged whatever its row says now, and stays in
//! the baseline when the model no longer holds it. What a delete sends is the key, so it happens once too.
//!
//! When rows are grouped by a parent, they are spread over [`GROUPS`] fragments at a time by the parent's
//! value. The rows of a fragment are in key order, and so are the fragments of one group; the keys of two
//! groups interleave.
//!
//! Reason codes of this module, beside those of [`crate::value`]:
//!
//! | code | the row |
//! | --- | --- |
//! | `null_key` | has a key that is NULL or empty |
//! | `duplicate_key` | has the key of another row, or ([`crate::spelling`]) another spelling of it |
//! | `key_too_long` | has a key of more than 255 characters, the most an external id holds |
//! | `key_not_canonical` | has a key that the external id field would store in another spelling |
//! | `id_not_18` | has a Salesforce id of 15 characters as its key, where the 18-character form is wanted |
//! | `not_a_record_id` | has a key of 18 characters whose last three do not belong to the others |
//! | `record_too_long` | is longer than the 400,000 characters Salesforce takes for a record |
//!
//! <https://developer.salesforce.com/docs/atlas.en-us.api_asynch.meta/api_asynch/asynch_api_concepts_limits.htm>

use std::{cmp::Ordering, io::Read, mem, ops::Range};

use simdutf8::basic::from_utf8;
use twox_hash::XxHash3_64;

use crate::{
    Failure, Fingerprint,
    config::{Operation, Selection},
    csv::{self, Line},
    document::{Chunk, Examples, Fragment, HeldFor, Mapped, Sample},
    fingerprint::Fingerprints,
    fold,
    held::Releases,
    keys,
    mapping::{Assignment, KeyRule, Mapping, Removal, Source},
    partition::{Row, Rows},
    segment::{Entry, Refused, Segments, Writer, without_checksum},
    value::{Cells, Effect, Fault},
};

/// Most bytes of a piece: what is held before it is handed over.
pub const PIECE_BYTES: usize = 8 * 1024 * 1024;

/// Groups of parents: as many fragments are filled side by side.
pub const GROUPS: u32 = 8;

/// Most bytes of a fragment of one group: all together hold twice what a single one may.
pub const GROUP_BYTES: usize = 2 * 1024 * 1024;

/// The header of a listing of invalid rows.
pub(crate) const INVALID_HEADER: &str = "key,code,field,reason\n";

/// Most samples of invalid rows in a summary.
pub const SAMPLES: usize = 20;

/// A file of the mapped chunk, complete.
///
/// | file | holds |
/// | --- | --- |
/// | `upsert-000.csv` | rows to send, without a header; named by the operation |
/// | `upsert-000.sent.zst` | their keys, with the fingerprint as `accepted`, and the id if it is known |
/// | `invalid-000.csv` | `key,code,field,reason` of each row refused by us; Plan may add others |
/// | `held-000.csv` | `key,code,fields,first,last,tries` of each row that Salesforce refused before, with the same content |
/// | `mended-000.zst` | of each row that was refused and is now as it was accepted: its key, and what was accepted |
/// | `removed-000.zst` | the baseline entries that no row has, and that go without a call |
/// | `remove-000.csv` | of a mirror: the ids of records to remove, with a null for each field to clear |
/// | `remove-000.sent.zst` | their keys, with the fingerprint as `accepted`, and the id |
#[derive(Clone, PartialEq, Eq)]
pub struct Piece {
    /// The file name within the chunk's folder.
    pub file: String,
    /// The content.
    pub bytes: Vec<u8>,
}

/// Maps a chunk. `partitions` are those of the chunk, `baseline` the segments that overlap its key
/// range, both in order; entries outside of the range are skipped. Held rows that `releases` name are sent.
/// Pieces are handed to `emit` as they are full; the same input gives the same pieces.
///
/// # Errors
/// [`crate::Class::Configuration`] when the rows are not in the order of their keys' bytes, or not within
/// the chunk's range; [`crate::Class::Bug`] when there are not as many rows as the manifest says, or a row has too
/// few cells; whatever the inputs, [`Rows::next`], [`Segments`] and `emit` fail with.
pub fn map_chunk<R: Read, B: Read>(
    mapping: &Mapping,
    chunk: &Chunk,
    partitions: impl Iterator<Item = Result<R, Failure>>,
    baseline: impl Iterator<Item = Result<B, Failure>>,
    releases: &Releases,
    emit: &mut dyn FnMut(Piece) -> Result<(), Failure>,
) -> Result<Mapped, Failure> {
    let mut mapper = Mapper::new(mapping, chunk, baseline, releases, emit)?;
    for (index, partition) in partitions.enumerate() {
        let number = chunk.partitions.get(index).copied().unwrap_or_default();
        let mut rows = Rows::new(partition?);
        while let Some(row) = rows.next().map_err(|failure| failure.at(format!("partition `{number}`")))? {
            mapper.row(&row)?;
        }
    }
    mapper.finish()
}

struct Mapper<'a, B, I> {
    mapping: &'a Mapping,
    chunk: &'a Chunk,
    cells: Vec<Cells<'a>>,
    /// Cells a row must have.
    width: usize,
    fingerprints: Fingerprints,
    baseline: Baseline<'a, B, I>,
    pending: Pending,
    output: Output<'a>,
}

/// The last row read: what becomes of it is known when the next key is.
#[derive(Default)]
struct Pending {
    /// UTF-8.
    key: Vec<u8>,
    /// Rows with this key; none before the first.
    copies: u64,
    /// The key occurs in a neighbouring chunk too.
    elsewhere: bool,
    /// The CSV row.
    line: Line,
    /// The group of its parent, from 1; 0 without groups.
    group: u32,
    /// The assignments that clear their field, by place.
    cleared: Vec<usize>,
    /// The assignments that leave their field as it is, by place.
    kept: Vec<usize>,
    faults: Vec<Fault>,
}

impl<'a, B: Read, I: Iterator<Item = Result<B, Failure>>> Mapper<'a, B, I> {
    fn new(
        mapping: &'a Mapping,
        chunk: &'a Chunk,
        baseline: I,
        releases: &'a Releases,
        emit: &'a mut dyn FnMut(Piece) -> Result<(), Failure>,
    ) -> Result<Self, Failure> {
        let columns = mapping.assignments.iter().filter_map(|assignment| match assignment.source {
            Source::Column { index, .. } => Some(index),
            Source::Constant(_) => None,
        });
        Ok(Self {
            mapping,
            chunk,
            cells: mapping.assignments.iter().map(Cells::of).collect(),
            width: columns.chain([mapping.key.column]).max().unwrap_or_default() + 1,
            fingerprints: Fingerprints::under(&csv::header(mapping)),
            baseline: Baseline::new(mapping, chunk, baseline)?,
            pending: Pending::default(),
            output: Output::new(mapping, chunk, releases, emit),
        })
    }

    fn row(&mut self, row: &Row<'_>) -> Result<(), Failure> {
        self.output.mapped.read += 1;
        row.require(self.width)?;
        let Some(key) = row.key(self.mapping.key.column) else {
            return self
                .output
                .keyless(row.is_broken(self.mapping.key.column), &self.mapping.assignments[0].header);
        };
        if self.pending.copies > 0 {
            match keys::compare(&self.pending.key, key) {
                Ordering::Less => self.decide()?,
                Ordering::Equal => {
                    self.pending.copies += 1;
                    return Ok(());
                }
                Ordering::Greater => return Err(unordered()),
            }
        }
        self.begin(key, row)
    }

    /// Makes a row the pending one.
    fn begin(&mut self, key: &[u8], row: &Row<'_>) -> Result<(), Failure> {
        let pending = &mut self.pending;
        pending.elsewhere = false;
        // Keys ascend: the first one is the least, and the last is looked at in the end. No key is empty.
        if pending.key.is_empty() {
            let Chunk { from_key, previous_key, .. } = self.chunk;
            if [from_key, previous_key].into_iter().flatten().any(|border| key < border.as_bytes()) {
                return Err(unordered());
            }
            pending.elsewhere = previous_key.as_deref().map(str::as_bytes) == Some(key);
        }
        pending.copies = 1;
        pending.key.clear();
        pending.key.extend_from_slice(key);
        pending.convert(self.mapping, &self.cells, row);
        Ok(())
    }

    /// Decides what becomes of the pending row.
    fn decide(&mut self) -> Result<(), Failure> {
        let (pending, output) = (&mut self.pending, &mut self.output);
        let copies = mem::take(&mut pending.copies);
        if copies == 0 {
            return Ok(());
        }
        let is_known = self.baseline.pass_to(&pending.key, output)?;
        if copies > 1 || pending.elsewhere {
            output.duplicates(pending.key(), copies, &self.mapping.assignments[0].header)?;
        } else if !pending.faults.is_empty() {
            output.invalid(Some(pending.key()), &pending.faults)?;
        } else {
            let fingerprint = self.fingerprints.of(pending.line.row());
            // Of most rows nothing else is asked than whether they are as they were.
            if is_known && !output.all && self.baseline.segments.says(fingerprint) {
                output.mapped.unchanged += 1;
            } else {
                let known = if is_known { self.baseline.current()? } else { None };
                output.valid(pending, known, fingerprint)?;
            }
        }
        if is_known { self.baseline.step() } else { Ok(()) }
    }

    fn finish(mut self) -> Result<Mapped, Failure> {
        if let Some(to_key) = self.chunk.to_key.as_deref().filter(|_| self.pending.copies > 0) {
            match self.pending.key.as_slice().cmp(to_key.as_bytes()) {
                Ordering::Less => {}
                Ordering::Equal => self.pending.elsewhere = true,
                Ordering::Greater => return Err(unordered()),
            }
        }
        self.decide()?;
        self.baseline.pass(&mut self.output)?;
        let mapped = self.output.finish()?;
        let decided = mapped.unchanged + mapped.held + mapped.invalid_rows() + mapped.sent();
        if mapped.read == self.chunk.rows && mapped.read == decided {
            return Ok(mapped);
        }
        Err(Failure::bug(format!(
            "chunk `{}` was to have {} rows, {} were read and {decided} decided",
            self.chunk.chunk, self.chunk.rows, mapped.read
        )))
    }
}

fn unordered() -> Failure {
    Failure::configuration("the `model` is not in the order of its key")
        .hint("a collation of the key column may be the cause: select it as COLLATE(key, '')")
}

impl Pending {
    fn key(&self) -> &str {
        from_utf8(&self.key).expect("it is that of a row, which was UTF-8 as a whole")
    }

    /// Writes the CSV row, and collects every fault of it.
    fn convert(&mut self, mapping: &Mapping, cells: &[Cells<'_>], row: &Row<'_>) {
        self.line.clear();
        self.faults.clear();
        self.cleared.clear();
        self.kept.clear();
        self.group = 0;
        self.write(cells, 0..1, row);
        if self.faults.is_empty() {
            self.check_key(mapping, row);
        }
        let parent = mapping.group_by.unwrap_or(cells.len());
        self.write(cells, 1..parent, row);
        if parent < cells.len() {
            let start = self.line.cells().len();
            self.write(cells, parent..parent + 1, row);
            self.group = group(&self.line.row()[start..], self.key());
            self.write(cells, parent + 1..cells.len(), row);
        }
        // A byte is at least as many as a character, so short rows need no counting.
        if self.line.row().len() > LONGEST_RECORD && characters(self.line.row()) > LONGEST_RECORD {
            self.fault("record_too_long", "", "the record is longer than 400,000 characters");
        }
    }

    /// Writes the cells at these places.
    fn write(&mut self, cells: &[Cells<'_>], places: Range<usize>, row: &Row<'_>) {
        for (place, cells) in places.clone().zip(&cells[places]) {
            let effect = match cells.write_short(row, &mut self.line) {
                Some(effect) => effect,
                None => self.write_long(cells, row),
            };
            match effect {
                Effect::Set => {}
                Effect::Clear => self.cleared.push(place),
                Effect::Keep => self.kept.push(place),
            }
        }
    }

    /// Writes a cell that may have a fault; it counts as set then.
    fn write_long(&mut self, cells: &Cells<'_>, row: &Row<'_>) -> Effect {
        cells.write(row, &mut self.line).unwrap_or_else(|fault| {
            self.faults.push(fault);
            Effect::Set
        })
    }

    /// The key must come back from Salesforce letter by letter: results are joined by it.
    fn check_key(&mut self, mapping: &Mapping, row: &Row<'_>) {
        let header = &mapping.assignments[0].header;
        if mapping.operation.is_by_id() {
            self.check_id(header);
        } else if self.key.len() > LONGEST_KEY && characters(&self.key) > LONGEST_KEY {
            self.fault("key_too_long", header, "is longer than 255 characters");
        } else if !row.is_clean(mapping.key.column) && self.key.iter().any(u8::is_ascii_control) {
            self.fault("control_character", header, "holds a control character");
        } else if self.line.row().first() != Some(&b'"') && self.line.row() != self.key {
            self.fault("key_not_canonical", header, "would be stored in another spelling");
        }
    }

    /// One record has one key: of the spellings that Salesforce takes for an id, only the one it answers with is
    /// a key. Otherwise two rows could name one record.
    fn check_id(&mut self, header: &str) {
        if self.key.len() == 15 {
            self.fault("id_not_18", header, "has 15 characters; select the id in its 18-character form");
        } else if without_checksum(self.key()).is_none() {
            self.fault(
                "not_a_record_id",
                header,
                "has an end that does not belong to its first 15 characters",
            );
        }
    }

    fn fault(&mut self, code: &'static str, header: &str, reason: &str) {
        self.faults.push(Fault { code, field: header.to_owned(), reason: reason.to_owned() });
    }
}

/// The group of a parent, given as its CSV cell. Rows without one lock none: they are spread by their key.
fn group(parent: &[u8], key: &str) -> u32 {
    let of = if matches!(parent, b"" | b"#N/A") { key.as_bytes() } else { parent };
    1 + (XxHash3_64::oneshot(of) % u64::from(GROUPS)) as u32
}

/// Characters of a record, and of an external id.
const LONGEST_RECORD: usize = 400_000;
const LONGEST_KEY: usize = 255;

/// As much of a key as a listing shows: a key that is too long may be very long.
fn shown(key: &str) -> &str {
    let end = key.char_indices().nth(LONGEST_KEY).map_or(key.len(), |(end, _)| end);
    &key[..end]
}

fn characters(utf8: &[u8]) -> usize {
    utf8.iter().filter(|byte| **byte & 0xC0 != 0x80).count()
}

/// The entries of the baseline in the chunk's range.
struct Baseline<'a, B, I> {
    segments: Segments<B, I>,
    to_key: Option<&'a str>,
    /// It stands on an entry of the range.
    within: bool,
    /// Keys without a row stay, because only a part of the model was read.
    narrowed: bool,
    /// Keys without a row stay when they were accepted.
    once: bool,
}

impl<'a, B: Read, I: Iterator<Item = Result<B, Failure>>> Baseline<'a, B, I> {
    /// Stands on the first entry of the range.
    fn new(mapping: &Mapping, chunk: &'a Chunk, inputs: I) -> Result<Self, Failure> {
        let (segments, to_key) = (Segments::new(inputs), chunk.to_key.as_deref());
        let once = mapping.operation == Operation::Insert;
        let mut baseline = Self { segments, to_key, within: false, narrowed: mapping.narrowed, once };
        let from_key = chunk.from_key.as_deref().unwrap_or_default().as_bytes();
        baseline.step()?;
        while baseline.key().is_some_and(|key| keys::compare(key.as_bytes(), from_key).is_lt()) {
            baseline.step()?;
        }
        Ok(baseline)
    }

    fn step(&mut self) -> Result<(), Failure> {
        self.segments.step()?;
        let is_before = |key: &str| {
            self.to_key.is_none_or(|to_key| keys::compare(key.as_bytes(), to_key.as_bytes()).is_lt())
        };
        self.within = self.segments.key().is_some_and(is_before);
        Ok(())
    }

    fn key(&self) -> Option<&str> {
        self.segments.key().filter(|_| self.within)
    }

    /// The entry stood on; none at the end of the range.
    fn current(&mut self) -> Result<Option<Entry<'_>>, Failure> {
        if self.within { self.segments.current() } else { Ok(None) }
    }

    /// Goes to the first entry that is not before the key; whether it is that of the key. No row has a key of what
    /// is passed, because the entry of a row is stepped over when its row is decided.
    fn pass_to(&mut self, key: &[u8], output: &mut Output<'_>) -> Result<bool, Failure> {
        while let Some(known) = self.key() {
            match keys::compare(known.as_bytes(), key) {
                Ordering::Less => self.leave(output)?,
                Ordering::Equal => return Ok(true),
                Ordering::Greater => break,
            }
        }
        Ok(false)
    }

    /// Goes to the end.
    fn pass(&mut self, output: &mut Output<'_>) -> Result<(), Failure> {
        while self.within {
            self.leave(output)?;
        }
        Ok(())
    }

    /// Steps over an entry that no row has.
    fn leave(&mut self, output: &mut Output<'_>) -> Result<(), Failure> {
        let (narrowed, once) = (self.narrowed, self.once);
        let stays = |entry: &Entry<'_>| narrowed || (once && entry.accepted.is_some());
        if let Some(entry) = self.current()?.filter(|entry| !stays(entry)) {
            output.left(&entry)?;
        }
        self.step()
    }
}

/// The pieces being filled, and the counts.
struct Output<'a> {
    emit: &'a mut dyn FnMut(Piece) -> Result<(), Failure>,
    chunk: u32,
    operation: Operation,
    assignments: &'a [Assignment],
    /// Every row is sent, changed or not.
    all: bool,
    mapped: Mapped,
    /// Cells that clear their field in records accepted before, by the place of the assignment.
    cleared: Vec<u64>,
    /// Cells of rows that are sent without a value, by the place of the assignment.
    valueless: Vec<u64>,
    /// The fragments being filled: one, or one for each group, and the last for removals.
    open: Vec<Open>,
    removals: Option<Removals>,
    /// Most bytes of a fragment.
    limit: usize,
    removed: Keys,
    mended: Keys,
    invalid: Listing,
    held: Listing,
    releases: &'a Releases,
}

/// How records are removed.
struct Removals {
    fingerprints: Fingerprints,
    /// What follows the id in a row: a null for each field to clear.
    nulls: Vec<u8>,
}

impl Removals {
    fn new(removal: &Removal, key: &KeyRule) -> Self {
        let fingerprints = Fingerprints::under(&csv::header(&removal.mapping(key)));
        Self { fingerprints, nulls: ",#N/A".repeat(removal.clears.len()).into_bytes() }
    }
}

/// A fragment being filled.
struct Open {
    group: u32,
    removes: bool,
    csv: Vec<u8>,
    rows: u64,
    sent: Writer<Vec<u8>>,
}

impl Open {
    fn new(group: u32, removes: bool) -> Self {
        Self { group, removes, csv: Vec::new(), rows: 0, sent: Writer::new(Vec::new()) }
    }
}

/// A CSV file with a header, for people.
struct Listing {
    name: &'static str,
    header: &'static str,
    number: usize,
    bytes: Vec<u8>,
}

impl<'a> Output<'a> {
    fn new(
        mapping: &'a Mapping,
        chunk: &Chunk,
        releases: &'a Releases,
        emit: &'a mut dyn FnMut(Piece) -> Result<(), Failure>,
    ) -> Self {
        let (groups, limit) = match mapping.group_by {
            Some(_) => (1..=GROUPS, GROUP_BYTES),
            None => (0..=0, PIECE_BYTES),
        };
        Self {
            emit,
            chunk: chunk.chunk,
            operation: mapping.operation,
            assignments: &mapping.assignments,
            all: mapping.send == Selection::All,
            mapped: Mapped::default(),
            cleared: vec![0; mapping.assignments.len()],
            valueless: vec![0; mapping.assignments.len()],
            open: groups.map(|group| Open::new(group, false)).chain([Open::new(0, true)]).collect(),
            removals: mapping.removal.as_ref().map(|removal| Removals::new(removal, &mapping.key)),
            limit,
            removed: Keys::new("removed"),
            mended: Keys::new("mended"),
            invalid: Listing::new("invalid", INVALID_HEADER),
            held: Listing::new("held", "key,code,fields,first,last,tries\n"),
            releases,
        }
    }

    /// A row without faults: compares it with what is known of its key.
    fn valid(
        &mut self,
        row: &Pending,
        known: Option<Entry<'_>>,
        fingerprint: Fingerprint,
    ) -> Result<(), Failure> {
        let (key, accepted) = (row.key(), known.as_ref().and_then(|entry| entry.accepted));
        let was_inserted = self.operation == Operation::Insert && accepted.is_some();
        if (accepted == Some(fingerprint) && !self.all) || was_inserted {
            self.mapped.unchanged += 1;
            return self.as_accepted(key, known.as_ref());
        }
        if self.holds(key, known.as_ref(), fingerprint)? {
            self.mapped.held += 1;
            return Ok(());
        }
        self.count(row, key, accepted.is_some());
        let id = known.as_ref().and_then(|entry| entry.id);
        let place = row.group.saturating_sub(1) as usize;
        self.send(place, row.line.row(), &Entry { key, accepted: Some(fingerprint), id, refused: None })
    }

    /// A row is as Salesforce has accepted it. If another content was refused in between, that no longer matters.
    fn as_accepted(&mut self, key: &str, known: Option<&Entry<'_>>) -> Result<(), Failure> {
        match known {
            Some(Entry { accepted, refused: Some(_), .. }) => {
                self.mended.push(&Entry { accepted: *accepted, ..Entry::key(key) }, self.emit)
            }
            _ => Ok(()),
        }
    }

    /// Whether Salesforce refused this very content before, and nobody has released it. If so, it is listed.
    fn holds(
        &mut self,
        key: &str,
        known: Option<&Entry<'_>>,
        fingerprint: Fingerprint,
    ) -> Result<bool, Failure> {
        let refused = known.and_then(|entry| entry.refused);
        let Some(refused) = refused.filter(|refused| refused.fingerprint == fingerprint) else {
            return Ok(false);
        };
        if self.releases.lets_go(key, &refused) {
            self.mapped.released += 1;
            return Ok(false);
        }
        let Refused { code, fields, first, last, tries, .. } = refused;
        match self.mapped.held_for.get_mut(code) {
            Some(held) => held.add(HeldFor { rows: 1, first }),
            None => drop(self.mapped.held_for.insert(code.to_owned(), HeldFor { rows: 1, first })),
        }
        let [first, last] = [first, last].map(|at| at.map(|at| at.to_string()).unwrap_or_default());
        self.held.add(&[key, code, fields, &first, &last, &tries.to_string()], self.emit)?;
        Ok(true)
    }

    /// Counts a row that is sent.
    fn count(&mut self, row: &Pending, key: &str, accepted_before: bool) {
        let Mapped { added, changed, cased, examples, .. } = &mut self.mapped;
        let (rows, keys) = match accepted_before {
            false => (added, &mut examples.added),
            true => (changed, &mut examples.changed),
        };
        *rows += 1;
        *cased += u64::from(fold::has_case(key));
        if keys.len() < Examples::MOST {
            keys.push(key.to_owned());
        }
        for &place in row.cleared.iter().filter(|_| accepted_before) {
            self.cleared[place] += 1;
        }
        for &place in row.cleared.iter().chain(&row.kept) {
            self.valueless[place] += 1;
        }
    }

    fn send(&mut self, place: usize, csv: &[u8], sent: &Entry<'_>) -> Result<(), Failure> {
        if self.open[place].csv.len() + csv.len() + 1 > self.limit {
            self.close_fragment(place)?;
        }
        let open = &mut self.open[place];
        open.csv.extend_from_slice(csv);
        open.csv.push(b'\n');
        open.rows += 1;
        open.sent.push(sent)
    }

    fn close_fragment(&mut self, place: usize) -> Result<(), Failure> {
        let empty = Open::new(self.open[place].group, self.open[place].removes);
        let Open { group, removes, csv, rows, sent } = mem::replace(&mut self.open[place], empty);
        if rows == 0 {
            return Ok(());
        }
        let word = if removes { "remove" } else { self.operation.word() };
        let file = format!("{word}-{:03}.csv", self.mapped.fragments.len());
        let bytes = csv.len() as u64;
        let fragment = Fragment { chunk: self.chunk, again: None, group, removes, file, rows, bytes };
        (self.emit)(Piece { file: fragment.file.clone(), bytes: csv })?;
        (self.emit)(Piece { file: fragment.sent_file(), bytes: sent.finish()?.0 })?;
        self.mapped.fragments.push(fragment);
        Ok(())
    }

    /// A key that has left the model. Of one that was never accepted, and of a record whose id is not known, nothing
    /// can be removed but the entry.
    fn left(&mut self, entry: &Entry<'_>) -> Result<(), Failure> {
        self.mapped.removed += 1;
        if self.mapped.examples.removed.len() < Examples::MOST {
            self.mapped.examples.removed.push(entry.key.to_owned());
        }
        match (&self.removals, entry.accepted, entry.id) {
            (Some(_), Some(_), Some(id)) => self.remove(entry, id),
            _ => self.removed.push(entry, self.emit),
        }
    }

    /// Sends the removal of a record, unless it was refused before.
    fn remove(&mut self, entry: &Entry<'_>, id: &str) -> Result<(), Failure> {
        let removals = self.removals.as_ref().expect("asked for before");
        let row = [id.as_bytes(), &removals.nulls].concat();
        let fingerprint = removals.fingerprints.of(&row);
        if self.holds(entry.key, Some(entry), fingerprint)? {
            self.mapped.removals_held += 1;
            return Ok(());
        }
        self.mapped.removing += 1;
        let sent = Entry { key: entry.key, accepted: Some(fingerprint), id: Some(id), refused: None };
        self.send(self.open.len() - 1, &row, &sent)
    }

    fn keyless(&mut self, broken: bool, header: &str) -> Result<(), Failure> {
        let (code, reason) = if broken {
            ("broken_text", "holds half of a surrogate pair")
        } else {
            ("null_key", "is NULL or empty")
        };
        self.invalid(None, &[Fault { code, field: header.to_owned(), reason: reason.to_owned() }])
    }

    fn duplicates(&mut self, key: &str, copies: u64, header: &str) -> Result<(), Failure> {
        let reason = "is the key of another row too".to_owned();
        let fault = [Fault { code: "duplicate_key", field: header.to_owned(), reason }];
        (0..copies).try_for_each(|_| self.invalid(Some(key), &fault))
    }

    /// A row refused by us: counted under its first fault, listed with all of them.
    fn invalid(&mut self, key: Option<&str>, faults: &[Fault]) -> Result<(), Failure> {
        let first = faults.first().expect("an invalid row has a fault");
        let named = |fault: &Fault| match fault.field.as_str() {
            "" => fault.reason.clone(),
            field => format!("`{field}` {}", fault.reason),
        };
        let reason = faults.iter().map(named).collect::<Vec<_>>().join("; ");
        let key = key.map(shown);
        match self.mapped.invalid.get_mut(first.code) {
            Some(rows) => *rows += 1,
            None => drop(self.mapped.invalid.insert(first.code.to_owned(), 1)),
        }
        self.invalid.add(&[key.unwrap_or_default(), first.code, &first.field, &reason], self.emit)?;
        if self.mapped.samples.len() < SAMPLES {
            let field = (!first.field.is_empty()).then(|| first.field.clone());
            let key = key.map(ToOwned::to_owned);
            self.mapped.samples.push(Sample { key, code: first.code.to_owned(), field, reason });
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Mapped, Failure> {
        (0..self.open.len()).try_for_each(|place| self.close_fragment(place))?;
        self.removed.close(self.emit)?;
        self.mended.close(self.emit)?;
        self.invalid.close(self.emit)?;
        self.held.close(self.emit)?;
        let by_field = |cells: Vec<u64>| {
            let fields = self.assignments.iter().map(|assignment| assignment.header.clone());
            fields.zip(cells).filter(|(_, cells)| *cells > 0).collect()
        };
        let sent = self.mapped.sent();
        self.mapped.set = by_field(self.valueless.iter().map(|cells| sent - cells).collect());
        self.mapped.cleared = by_field(self.cleared);
        Ok(self.mapped)
    }
}

/// A segment being filled, for the next baseline.
struct Keys {
    name: &'static str,
    number: usize,
    /// About how many bytes are in it.
    bytes: usize,
    segment: Writer<Vec<u8>>,
}

/// Most bytes that an entry takes in a segment besides its key: flags, two fingerprints, an id, lengths.
const ENTRY: usize = 64;

impl Keys {
    fn new(name: &'static str) -> Self {
        Self { name, number: 0, bytes: 0, segment: Writer::new(Vec::new()) }
    }

    fn push(
        &mut self,
        entry: &Entry<'_>,
        emit: &mut dyn FnMut(Piece) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        self.bytes += ENTRY + entry.key.len();
        self.segment.push(entry)?;
        if self.bytes < PIECE_BYTES { Ok(()) } else { self.close(emit) }
    }

    fn close(&mut self, emit: &mut dyn FnMut(Piece) -> Result<(), Failure>) -> Result<(), Failure> {
        if mem::take(&mut self.bytes) == 0 {
            return Ok(());
        }
        let (bytes, _) = mem::replace(&mut self.segment, Writer::new(Vec::new())).finish()?;
        let file = format!("{}-{:03}.zst", self.name, self.number);
        self.number += 1;
        emit(Piece { file, bytes })
    }
}

impl Listing {
    fn new(name: &'static str, header: &'static str) -> Self {
        Self { name, header, number: 0, bytes: Vec::new() }
    }

    fn add(
        &mut self,
        cells: &[&str],
        emit: &mut dyn FnMut(Piece) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        if self.bytes.is_empty() {
            self.bytes.extend_from_slice(self.header.as_bytes());
        }
        csv::line(&mut self.bytes, cells.iter().copied());
        // A line is far shorter than what is left of the piece.
        if self.bytes.len() < PIECE_BYTES - 1024 * 1024 { Ok(()) } else { self.close(emit) }
    }

    fn close(&mut self, emit: &mut dyn FnMut(Piece) -> Result<(), Failure>) -> Result<(), Failure> {
        if self.bytes.is_empty() {
            return Ok(());
        }
        let file = format!("{}-{:03}.csv", self.name, self.number);
        self.number += 1;
        emit(Piece { file, bytes: mem::take(&mut self.bytes) })
    }
}

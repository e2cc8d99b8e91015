//! Keys that are there under two spellings.
//!
//! Most key fields of Salesforce do not tell upper from lower case: there `abc` and `ABC` name one record.
//! The model is ordered and compared with the baseline by the bytes of its keys, so the spellings may be in
//! different chunks, and only Plan sees both.
//!
//! - Of two rows with such keys neither says what the record is to be. Those that would be sent are refused, as
//!   `duplicate_key`; what was accepted under another spelling, and has not left the model, stays as it is.
//! - A row of a mirror that leaves under one spelling and is there under another has only changed its key: to remove
//!   its record would remove that of a row.
//!
//! <https://help.salesforce.com/s/articleView?id=platform.custom_field_attributes.htm>

use std::io::Read;

use twox_hash::XxHash3_64;

use crate::{
    Failure,
    collections::NULL,
    csv,
    document::{Fragment, Mapped, Sample},
    fold,
    map::INVALID_HEADER,
    mapping::Mapping,
    part::{Building, Part},
    records::Csv,
    segment::{Entry, Reader, Segments, Writer},
};

/// Most keys that a pass holds, at 16 bytes.
const MOST: u64 = 1 << 21;

/// Most samples of refused rows.
const SAMPLES: usize = 5;

const CODE: &str = "duplicate_key";
const REASON: &str = "is the key of another row too, in another case";

/// Where the keys of a run are, each list in key order.
pub struct Places {
    /// Segments of the rows that would be sent. Those of two groups interleave.
    pub sent: Vec<String>,
    /// Segments of the removals that would be sent.
    pub removals: Vec<String>,
    /// Segments of the other keys that have left the model.
    pub removed: Vec<String>,
    /// Segments of the baseline.
    pub baseline: Vec<String>,
    /// Listings of the invalid rows.
    pub invalid: Vec<String>,
}

/// What there is under two spellings: sorted hashes of the keys without their case, 8 bytes for each that is found.
#[derive(Default)]
pub struct Spellings {
    /// Keys of rows to be sent that another row has too.
    refused: Vec<u64>,
    /// Keys that leave, and are sent or known under another spelling from now on.
    renamed: Vec<u64>,
    /// Keys that leave, and are there under another spelling only in rows that are refused.
    kept: Vec<u64>,
}

/// A fragment of rows to be sent, without those that are refused.
pub struct Rest {
    /// What is left of it.
    pub rest: Part,
    /// The listing of those that are refused.
    pub invalid: Vec<u8>,
}

/// A fragment of removals, without those of keys that stay under another spelling.
pub struct Spared {
    /// What is left of it.
    pub rest: Part,
    /// The segment of the keys that are only forgotten, in the form of a delta.
    pub renamed: Vec<u8>,
}

/// How often the keys have to be read, so that memory is bounded. `cased` counts the keys with letters that are sent or
/// removed; without any there is nothing to find.
#[must_use]
pub const fn passes(cased: u64) -> u64 {
    cased.div_ceil(MOST)
}

/// Finds what there is under two spellings. `open` opens one of the places.
///
/// # Errors
/// Those of [`Segments::step`] and of the streams.
pub fn find<R: Read>(
    places: &Places,
    passes: u64,
    open: impl Fn(&String) -> Result<R, Failure>,
) -> Result<Spellings, Failure> {
    let mut found = Spellings::default();
    for number in 0..passes {
        let mut pass = Pass { number, of: passes, ..Pass::default() };
        pass.read(places, &open)?;
        if !pass.sent.is_empty() || !pass.removals.is_empty() {
            pass.known(places, &open)?;
            pass.invalid(places, &open)?;
        }
        let Spellings { refused, renamed, kept } = pass.judge();
        found.refused.extend(refused);
        found.renamed.extend(renamed);
        found.kept.extend(kept);
    }
    for keys in [&mut found.refused, &mut found.renamed, &mut found.kept] {
        keys.sort_unstable();
    }
    Ok(found)
}

impl Spellings {
    /// There is nothing of the kind.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.refused.is_empty() && self.renamed.is_empty() && self.kept.is_empty()
    }

    /// Whether rows of a fragment, whose keys are in the segment `sent`, are to be taken out of it.
    ///
    /// # Errors
    /// Those of [`Reader::advance`].
    pub fn concern(&self, fragment: &Fragment, sent: &[u8]) -> Result<bool, Failure> {
        let mut keys = Reader::new(sent);
        while let Some(Entry { key, .. }) = keys.advance()? {
            let found = match fragment.removes {
                false => is_among(&self.refused, key),
                true => is_among(&self.renamed, key) || is_among(&self.kept, key),
            };
            if found {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Takes the rows that are refused out of a fragment, and moves their counts in `mapped` to the invalid ones. None
    /// when there are no such rows.
    ///
    /// # Errors
    /// [`crate::Class::Bug`] when the fragment does not hold the rows that it is said to hold.
    pub fn refuse(
        &self,
        whole: &Part,
        mapping: &Mapping,
        mapped: &mut Mapped,
        samples: &mut Vec<Sample>,
    ) -> Result<Option<Rest>, Failure> {
        let field = &mapping.assignments[0].header;
        let reason = format!("`{field}` {REASON}");
        let (mut rest, mut refused) = (Building::new(), Building::new());
        let (mut invalid, mut known) = (INVALID_HEADER.as_bytes().to_vec(), Vec::new());
        whole.each(|row, entry| {
            if !is_among(&self.refused, entry.key) {
                return rest.push(row, entry);
            }
            csv::line(&mut invalid, [entry.key, CODE, field, &reason]);
            mapped.examples.forget(entry.key);
            if samples.len() < SAMPLES {
                let (key, field) = (Some(entry.key.to_owned()), Some(field.clone()));
                samples.push(Sample { key, code: CODE.to_owned(), field, reason: reason.clone() });
            }
            known.push(entry.id.is_some());
            refused.push(row, entry)
        })?;
        if known.is_empty() {
            return Ok(None);
        }
        move_counts(mapped, &known);
        move_cells(mapped, mapping, &refused.finish(&whole.fragment, "refused")?, &known)?;
        Ok(Some(Rest { rest: rest.finish(&whole.fragment, "rest")?, invalid }))
    }

    /// Takes the keys that stay under another spelling out of a fragment of removals. None when it has none.
    ///
    /// # Errors
    /// [`crate::Class::Bug`] when the fragment does not hold the rows that it is said to hold.
    pub fn spare(&self, removals: &Part) -> Result<Option<Spared>, Failure> {
        let (mut rest, mut forgotten) = (Building::new(), Writer::new(Vec::new()));
        removals.each(|row, entry| {
            if is_among(&self.renamed, entry.key) {
                forgotten.push(&Entry::key(entry.key))
            } else if is_among(&self.kept, entry.key) {
                Ok(())
            } else {
                rest.push(row, entry)
            }
        })?;
        if rest.rows() == removals.fragment.rows {
            return Ok(None);
        }
        let rest = rest.finish(&removals.fragment, "rest")?;
        Ok(Some(Spared { rest, renamed: forgotten.finish()?.0 }))
    }
}

/// Rows that were to be sent are invalid. `known` says of each whether it was accepted before: then it has an id.
fn move_counts(mapped: &mut Mapped, known: &[bool]) {
    let rows = known.len() as u64;
    let known = known.iter().filter(|known| **known).count() as u64;
    // An entry of an old baseline may have been accepted and have no id.
    let changed = known.max(rows.saturating_sub(mapped.added)).min(mapped.changed);
    mapped.changed -= changed;
    mapped.added -= rows - changed;
    mapped.cased = mapped.cased.saturating_sub(rows);
    mapped.released = mapped.released.min(mapped.sent() + mapped.removing);
    *mapped.invalid.entry(CODE.to_owned()).or_default() += rows;
}

/// The cells of rows that are not sent are neither set nor cleared.
fn move_cells(mapped: &mut Mapped, mapping: &Mapping, refused: &Part, known: &[bool]) -> Result<(), Failure> {
    let mut input = refused.csv.as_slice();
    let mut rows = Csv::new("refused rows", &mut input);
    for known in known {
        rows.next(usize::MAX)?;
        for (place, assignment) in mapping.assignments.iter().enumerate() {
            let cells = match rows.cell(place).as_ref() {
                "" => continue,
                NULL if !known => continue,
                NULL => &mut mapped.cleared,
                _ => &mut mapped.set,
            };
            if let Some(cells) = cells.get_mut(&assignment.header) {
                *cells = cells.saturating_sub(1);
            }
        }
    }
    mapped.cleared.retain(|_, cells| *cells > 0);
    mapped.set.retain(|_, cells| *cells > 0);
    Ok(())
}

fn is_among(sorted: &[u64], key: &str) -> bool {
    let hash = || fold::hash(key, &mut String::new());
    !sorted.is_empty() && fold::has_case(key) && sorted.binary_search(&hash()).is_ok()
}

/// One reading of all keys, which looks at those whose hash falls to it.
#[derive(Default)]
struct Pass {
    number: u64,
    of: u64,
    /// Sorted.
    sent: Vec<Name>,
    /// Sorted.
    removals: Vec<Name>,
    found: Spellings,
    scratch: String,
}

/// A key: what all its spellings have in common, and what only this one has.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    folded: u64,
    exact: u64,
}

impl Pass {
    /// The name of a key that falls to this pass and may have another spelling.
    fn name(&mut self, key: &str) -> Option<Name> {
        if !fold::has_case(key) {
            return None;
        }
        let folded = fold::hash(key, &mut self.scratch);
        (folded % self.of == self.number).then(|| Name { folded, exact: XxHash3_64::oneshot(key.as_bytes()) })
    }

    /// Takes down what is sent and removed.
    fn read<R: Read>(
        &mut self,
        places: &Places,
        open: &impl Fn(&String) -> Result<R, Failure>,
    ) -> Result<(), Failure> {
        self.sent = self.names(&places.sent, open)?;
        self.removals = self.names(&places.removals, open)?;
        let twice = self.sent.chunk_by(|a, b| a.folded == b.folded).filter(|spellings| spellings.len() > 1);
        self.found.refused = twice.map(|spellings| spellings[0].folded).collect();
        Ok(())
    }

    fn names<R: Read>(
        &mut self,
        segments: &[String],
        open: &impl Fn(&String) -> Result<R, Failure>,
    ) -> Result<Vec<Name>, Failure> {
        let mut names = Vec::new();
        for segment in segments {
            let mut entries = Reader::new(open(segment)?);
            while let Some(entry) = entries.advance()? {
                names.extend(self.name(entry.key));
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Holds that against what is known, and has not left the model.
    fn known<R: Read>(
        &mut self,
        places: &Places,
        open: &impl Fn(&String) -> Result<R, Failure>,
    ) -> Result<(), Failure> {
        let mut baseline = Segments::new(places.baseline.iter().map(open));
        let mut gone =
            [Segments::new(places.removed.iter().map(open)), Segments::new(places.removals.iter().map(open))];
        gone.iter_mut().try_for_each(Segments::step)?;
        while let Some(entry) = baseline.advance()? {
            let mut stays = true;
            for gone in &mut gone {
                while gone.key().is_some_and(|gone| gone < entry.key) {
                    gone.step()?;
                }
                stays &= gone.key() != Some(entry.key);
            }
            if let Some(name) = self.name(entry.key).filter(|_| stays) {
                self.meets(name, true);
            }
        }
        Ok(())
    }

    /// Holds it against the rows that are refused already.
    fn invalid<R: Read>(
        &mut self,
        places: &Places,
        open: &impl Fn(&String) -> Result<R, Failure>,
    ) -> Result<(), Failure> {
        for listing in &places.invalid {
            let mut input = open(listing)?;
            let mut rows = Csv::new("invalid rows", &mut input);
            rows.header()?;
            while rows.next(1)? {
                if let Some(name) = self.name(&rows.cell(0)) {
                    self.meets(name, false);
                }
            }
        }
        Ok(())
    }

    /// A key that is in the model, and may be one of those that are sent. An earlier try of the stage may
    /// have listed it as invalid itself.
    fn meets(&mut self, name: Name, is_known: bool) {
        if has(&self.sent, name.folded) && self.sent.binary_search(&name).is_err() {
            self.found.refused.push(name.folded);
        }
        if has(&self.removals, name.folded) {
            if is_known { &mut self.found.renamed } else { &mut self.found.kept }.push(name.folded);
        }
    }

    /// What was found: each key once, and those that leave either renamed or kept.
    fn judge(self) -> Spellings {
        let Self { sent, removals, found: Spellings { mut refused, mut renamed, mut kept }, .. } = self;
        refused.sort_unstable();
        refused.dedup();
        for removal in removals.iter().filter(|removal| has(&sent, removal.folded)) {
            let is_sent = refused.binary_search(&removal.folded).is_err();
            if is_sent { &mut renamed } else { &mut kept }.push(removal.folded);
        }
        for keys in [&mut renamed, &mut kept] {
            keys.sort_unstable();
            keys.dedup();
        }
        kept.retain(|key| renamed.binary_search(key).is_err());
        Spellings { refused, renamed, kept }
    }
}

fn has(sorted: &[Name], folded: u64) -> bool {
    let place = sorted.partition_point(|name| name.folded < folded);
    sorted.get(place).is_some_and(|name| name.folded == folded)
}

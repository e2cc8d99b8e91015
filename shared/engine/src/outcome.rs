//! Joins what Salesforce says became of a job to what was sent, by key.
//!
//! [`join`] reads the result files. Rows of which they say nothing, or two things, are in doubt: [`Outcomes::doubt`]
//! gives them out as they were sent, the org is asked for them, and [`Outcomes::verify`] takes the answers.
//! [`Outcomes::write`] then says of every row what became of it: what the baseline learns, and which rows are worth
//! another pass.
//!
//! Result files are unordered, re-quoted, and numbers come back re-formatted; columns are found by name, rows by the
//! text of the key (<https://developer.salesforce.com/docs/atlas.en-us.api_asynch.meta/api_asynch/get_job_successful_results.htm>).

use std::{collections::BTreeMap, io::Read};

use jiff::Timestamp;
use twox_hash::XxHash3_64;

use crate::{
    ChunkNo, Failure, JobRef,
    config::Operation,
    contract::ColumnKind,
    document::{Again, Collected, Found, Fragment, Sample},
    fold,
    map::PIECE_BYTES,
    mapping::KeyRule,
    records::{Csv, push_number},
    segment::{Entry, Reader, Refused, Writer, id_checksum, stream_failure, without_checksum},
    taxonomy::{self, Next},
};

/// What is known of the job.
#[derive(Clone, Debug)]
pub struct JoinInput {
    /// The job.
    pub job: JobRef,
    /// What was done with its rows.
    pub operation: Operation,
    /// How keys are compared.
    pub key: KeyRule,
    /// The key field: the column of the result files that holds the key.
    pub external_id: String,
    /// The state the job ended in, in the vendor's spelling.
    pub state: String,
    /// The rows are removals: they are named by the Salesforce id of their entry, and what is accepted is gone.
    pub removes: bool,
    /// The instant of the run: since then a row is refused.
    pub instant: Timestamp,
}

/// What the org said of a row in doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The record is as it was sent: the row was written.
    Accepted,
    /// There is no such record.
    Absent,
    /// There is a record with the key, and it differs from what was sent.
    Different,
}

/// The code of a row that was to be inserted while a record with its key and another content is there.
pub const ALREADY_THERE: &str = "ALREADY_THERE";

/// What becomes of rows that are worth another pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Further {
    /// They are handed on to the next wave.
    Wave,
    /// There is no further wave: what is left goes with the next run, and what keeps failing is held.
    Last,
    /// The org has no allowance left, or nothing is sent: what is left goes with the next run.
    Exhausted,
}

/// A file that the join makes.
pub enum Output {
    /// What the next baseline learns of a chunk, as a segment: what was accepted, and what was refused for a
    /// data reason. There is one for each chunk that sent rows with the job, even if it is empty.
    Delta {
        /// The chunk.
        chunk: ChunkNo,
        /// The segment.
        bytes: Vec<u8>,
    },
    /// A CSV (`key`) of the rows of which nothing is known. There is one, even if it holds only its header.
    Missing {
        /// The file.
        bytes: Vec<u8>,
    },
    /// A file of rows that go again: `again-<chunk>-<n>.csv` with the rows as they were sent, or the segment of their
    /// keys.
    Again {
        /// Its name in the folder of the job's results.
        file: String,
        /// Its content.
        bytes: Vec<u8>,
    },
}

/// Says of every row that was sent with a job what became of it: exactly one of created, updated, rejected,
/// unprocessed and missing, so the counts always add up to the rows sent.
///
/// `sent` are the segments of the sent keys with their fragment, in key order; the other inputs are the result files,
/// each of which may be empty or nothing but a header.
///
/// A row that Salesforce speaks of more than once is counted once, with the least certain of what was said:
/// unprocessed before rejected before accepted. If that is a contradiction, the row is in doubt. A record that lacks
/// cells is passed over, which leaves its row missing.
///
/// Memory is bounded by the job: about 30 bytes a row and the sent segments as they are stored.
///
/// # Errors
/// [`crate::Class::Bug`] when a result row carries a key that was not sent, a result file lacks a column, or a sent
/// segment is not in order; whatever the streams fail with.
pub fn join<R: Read>(
    job: JoinInput,
    sent: impl Iterator<Item = Result<(Fragment, R), Failure>>,
    mut success: impl Read,
    mut failed: impl Read,
    mut unprocessed: impl Read,
) -> Result<Outcomes, Failure> {
    let sent = Sent::read(job.removes, sent)?;
    let mut outcomes = Outcomes::new(job, sent)?;
    outcomes.read(Set::Success, &mut success)?;
    outcomes.read(Set::Failed, &mut failed)?;
    outcomes.read(Set::Unprocessed, &mut unprocessed)?;
    if outcomes.strangers > 0 {
        return Err(Failure::bug(format!(
            "`{}` result rows carry a key that the job did not send",
            outcomes.strangers
        )));
    }
    Ok(outcomes)
}

/// What is said of a record that is in the recycle bin, and of one that has left it.
const GONE: [&str; 2] = ["ENTITY_IS_DELETED", "INVALID_CROSS_REFERENCE_KEY"];
/// Most samples of one code, and of a job.
const SAMPLES_PER_CODE: usize = 5;
const SAMPLES: usize = 25;
/// Most different codes that are counted apart, and most reasons with the fields they name.
const CODES: usize = 1000;
const REASONS: usize = 4000;
/// The result files.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Set {
    Success,
    Failed,
    Unprocessed,
}

/// The sent segments as they are stored: they are read twice, and nothing holds keys in less memory.
struct Sent {
    removes: bool,
    pieces: Vec<(Fragment, Vec<u8>)>,
}

/// Why a row was rejected: the code, and the fields that were named.
struct Reason {
    code: String,
    fields: String,
}

/// What became of a row. The numbers of the reasons begin at [`Self::REJECTED`].
#[derive(Clone, Copy, PartialEq, Eq)]
struct Fate(u16);

/// What became of the rows of a job, as far as it is known.
pub struct Outcomes {
    job: JoinInput,
    sent: Sent,
    index: Index,
    /// Made when a key of a case-insensitive field was not found as it was sent.
    folded: Option<Index>,
    fates: Vec<Fate>,
    /// The row was accepted before: its Salesforce id was known when it was sent.
    known: Vec<bool>,
    ids: Ids,
    reasons: Vec<Reason>,
    /// A few rows by code: their keys, and the number of the reason.
    samples: BTreeMap<String, BTreeMap<String, u16>>,
    strangers: u64,
    /// What the org holds of rows that were not sent.
    found: Found,
}

/// The ids of the accepted rows. Nearly all have 15 characters and a checksum that is not kept.
struct Ids {
    packed: Vec<[u8; 15]>,
    others: BTreeMap<usize, String>,
}

/// Sorted hashes of the keys, and where in the job each is.
struct Index {
    form: Form,
    hashes: Vec<u64>,
    rows: Vec<u32>,
    /// Where the hashes begin that share their upper bits.
    starts: Vec<u32>,
    shift: u32,
}

/// How keys are made comparable.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Exact,
    Folded,
    Number,
    RecordId,
}

/// The columns of a result file that are read, by position.
struct Columns {
    names: Vec<String>,
    key: usize,
    id: Option<usize>,
    created: Option<usize>,
    error: Option<usize>,
}

impl Set {
    const fn name(self) -> &'static str {
        match self {
            Self::Success => "successful results",
            Self::Failed => "failed results",
            Self::Unprocessed => "unprocessed records",
        }
    }
}

impl Sent {
    fn read<R: Read>(
        removes: bool,
        sent: impl Iterator<Item = Result<(Fragment, R), Failure>>,
    ) -> Result<Self, Failure> {
        let mut pieces = Vec::new();
        for piece in sent {
            let (fragment, mut input) = piece?;
            let mut bytes = Vec::new();
            input.read_to_end(&mut bytes).map_err(|error| stream_failure("sent keys", error))?;
            bytes.shrink_to_fit();
            pieces.push((fragment, bytes));
        }
        Ok(Self { removes, pieces })
    }

    /// What the row of an entry is named by in the result files.
    fn name<'e>(&self, entry: &Entry<'e>) -> &'e str {
        entry.id.filter(|_| self.removes).unwrap_or(entry.key)
    }

    /// Calls `each` with the number of every row, its fragment and its entry.
    fn each(
        &self,
        mut each: impl FnMut(usize, &Fragment, &Entry<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut row = 0;
        for (fragment, bytes) in &self.pieces {
            let mut reader = Reader::new(bytes.as_slice());
            while let Some(entry) = reader.advance()? {
                each(row, fragment, &entry)?;
                row += 1;
            }
        }
        Ok(())
    }

    /// As [`Self::each`], with the CSV row as it was sent. `uploads` are the fragments in the order of the job.
    fn each_with_csv<R: Read>(
        &self,
        mut uploads: impl Iterator<Item = Result<R, Failure>>,
        mut each: impl FnMut(usize, &Fragment, &Entry<'_>, &[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut row = 0;
        for (fragment, bytes) in &self.pieces {
            let torn = || Failure::bug(format!("`{}` holds other rows than its keys say", fragment.file));
            let mut upload = uploads.next().ok_or_else(torn)??;
            let mut csv = Csv::new("sent rows", &mut upload);
            let mut reader = Reader::new(bytes.as_slice());
            while let Some(entry) = reader.advance()? {
                if !csv.next(1)? || csv.cell(0) != self.name(&entry) {
                    return Err(torn());
                }
                each(row, fragment, &entry, csv.raw())?;
                row += 1;
            }
        }
        Ok(())
    }
}

impl Fate {
    const MISSING: Self = Self(0);
    const UPDATED: Self = Self(1);
    const CREATED: Self = Self(2);
    const REJECTED: u16 = 3;
    const UNPROCESSED: Self = Self(0x7fff);
    const CONTRADICTED: u16 = 0x8000;

    const fn rejected(reason: u16) -> Self {
        Self(Self::REJECTED + reason)
    }

    const fn accepted(self) -> bool {
        matches!(self, Self::CREATED | Self::UPDATED)
    }

    /// The number of the reason, for a rejected row.
    const fn reason(self) -> Option<u16> {
        let plain = self.0 & !Self::CONTRADICTED;
        if plain >= Self::REJECTED && plain != Self::UNPROCESSED.0 {
            Some(plain - Self::REJECTED)
        } else {
            None
        }
    }

    /// Nothing is said of the row, or two things that exclude each other.
    const fn doubtful(self) -> bool {
        self.0 == 0 || self.0 & Self::CONTRADICTED != 0
    }

    /// Both are said of one row. The order of the numbers is the order of certainty.
    fn and(self, other: Self) -> Self {
        let stronger = (self.0 & !Self::CONTRADICTED).max(other.0) | (self.0 & Self::CONTRADICTED);
        let kind = |fate: Self| (fate.accepted(), fate.reason().is_some());
        let agree = self == Self::MISSING || kind(self) == kind(other);
        Self(if agree { stronger } else { stronger | Self::CONTRADICTED })
    }
}

impl Outcomes {
    fn new(job: JoinInput, sent: Sent) -> Result<Self, Failure> {
        let form = match job.key.kind {
            _ if job.external_id == "Id" => Form::RecordId,
            ColumnKind::Fixed => Form::Number,
            _ => Form::Exact,
        };
        let index = Index::new(&sent, form)?;
        if index.hashes.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Failure::bug("a job was sent the same key twice"));
        }
        let rows = index.rows.len();
        let mut known = Vec::with_capacity(rows);
        sent.each(|_, _, entry| {
            known.push(entry.id.is_some());
            Ok(())
        })?;
        Ok(Self {
            job,
            sent,
            index,
            known,
            folded: None,
            fates: vec![Fate::MISSING; rows],
            ids: Ids { packed: vec![[0; 15]; rows], others: BTreeMap::new() },
            reasons: Vec::new(),
            samples: BTreeMap::new(),
            strangers: 0,
            found: Found::default(),
        })
    }

    fn read(&mut self, set: Set, input: &mut dyn Read) -> Result<(), Failure> {
        let mut file = Csv::new(set.name(), input);
        if !file.header()? {
            return Ok(());
        }
        let header: Vec<String> = (0..file.len()).map(|cell| file.cell(cell).into_owned()).collect();
        let columns = match Columns::find(set, &header, &self.job.external_id) {
            // A file without rows needs no columns.
            Err(failure) => return if file.next(1)? { Err(failure) } else { Ok(()) },
            Ok(columns) => columns,
        };
        let wanted = columns.wanted(set);
        while file.next(wanted)? {
            let extra = file.len().checked_sub(wanted.min(header.len()));
            if let Some(extra) = extra.filter(|extra| *extra == 0 || set == Set::Failed) {
                self.record(&columns, &file, extra)?;
            }
        }
        Ok(())
    }

    /// Takes down one record, whose error text may have been torn into `extra` more cells by a stray quote.
    fn record(&mut self, columns: &Columns, file: &Csv<'_>, extra: usize) -> Result<(), Failure> {
        let torn = columns.error.unwrap_or(usize::MAX);
        let cell = |column: usize| file.cell(if column > torn { column + extra } else { column });
        let key = cell(columns.key);
        let key = key.as_ref();
        let Some(row) = self.find(key)? else {
            self.strangers += u64::from(extra == 0);
            return Ok(());
        };
        let fate = if let Some(error) = columns.error {
            let error = cell(error);
            if self.is_gone(&error) {
                Fate::UPDATED
            } else {
                Fate::rejected(self.reject(key, &error, &columns.names))
            }
        } else if let Some(created) = columns.created {
            self.ids.set(row, &columns.id.map(cell).unwrap_or_default());
            let created = file.cell(created).eq_ignore_ascii_case("true");
            if created || self.job.operation == Operation::Insert { Fate::CREATED } else { Fate::UPDATED }
        } else {
            Fate::UNPROCESSED
        };
        self.fates[row] = self.fates[row].and(fate);
        Ok(())
    }

    /// A record that is to be removed, and is not there any more.
    fn is_gone(&self, error: &str) -> bool {
        self.job.removes && GONE.contains(&taxonomy::row_error(error).code)
    }

    fn find(&mut self, key: &str) -> Result<Option<usize>, Failure> {
        let found = self.index.find(key);
        if found.is_some() || !self.job.key.fold_case || self.index.form != Form::Exact {
            return Ok(found);
        }
        if self.folded.is_none() {
            self.folded = Some(Index::new(&self.sent, Form::Folded)?);
        }
        Ok(self.folded.as_ref().and_then(|folded| folded.find(key)))
    }

    /// The number of the reason in `error`. Of each code a few samples are kept: those with the smallest keys, so that
    /// the order of the file does not matter.
    fn reject(&mut self, key: &str, error: &str, header: &[String]) -> u16 {
        let error = taxonomy::row_error(error);
        let fields = error.fields.and_then(|fields| field_names(error.code, fields, header));
        let reason = self.intern(error.code, fields.unwrap_or_default());
        let Reason { code, .. } = &self.reasons[usize::from(reason)];
        if !self.samples.contains_key(code) {
            self.samples.insert(code.clone(), BTreeMap::new());
        }
        let samples = self.samples.get_mut(code).expect("it was put there");
        let wanted = samples.len() < SAMPLES_PER_CODE
            || samples.keys().next_back().is_some_and(|last| key < last.as_str());
        if wanted {
            samples.insert(key.to_owned(), reason);
            if samples.len() > SAMPLES_PER_CODE {
                samples.pop_last();
            }
        }
        reason
    }

    /// The number of a reason. Of too many, fields are left out, and then codes.
    fn intern(&mut self, code: &str, mut fields: String) -> u16 {
        let counted_apart = self.samples.len() < CODES || self.samples.contains_key(code);
        let code = if counted_apart { code } else { taxonomy::UNKNOWN };
        let mut known = self.find_reason(code, &fields);
        if known.is_none() && self.reasons.len() >= REASONS {
            fields.clear();
            known = self.find_reason(code, "");
        }
        let number = known.unwrap_or_else(|| {
            self.reasons.push(Reason { code: code.to_owned(), fields });
            self.reasons.len() - 1
        });
        u16::try_from(number).expect("there are at most a few thousand reasons")
    }

    fn find_reason(&self, code: &str, fields: &str) -> Option<usize> {
        self.reasons.iter().position(|known| known.code == code && known.fields == fields)
    }

    fn reason(&self, fate: Fate) -> Option<&Reason> {
        fate.reason().map(|number| &self.reasons[usize::from(number)])
    }

    /// How many rows are in doubt: nothing is said of them, or two things that exclude each other.
    #[must_use]
    pub fn doubtful(&self) -> usize {
        self.fates.iter().filter(|fate| fate.doubtful()).count()
    }

    /// Hands the rows in doubt to `emit`, as they were sent, in pieces. `uploads` are the fragments of the job in its
    /// order.
    ///
    /// # Errors
    /// [`crate::Class::Bug`] when the fragments hold other rows than their keys say; whatever the streams and `emit`
    /// fail with.
    pub fn doubt<R: Read>(
        &self,
        uploads: impl Iterator<Item = Result<R, Failure>>,
        emit: &mut dyn FnMut(Vec<u8>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut piece = Vec::new();
        self.sent.each_with_csv(uploads, |row, _, _, csv| {
            if !self.fates[row].doubtful() {
                return Ok(());
            }
            if piece.len() + csv.len() >= PIECE_BYTES {
                emit(std::mem::take(&mut piece))?;
            }
            piece.extend_from_slice(csv);
            piece.push(b'\n');
            Ok(())
        })?;
        if piece.is_empty() { Ok(()) } else { emit(piece) }
    }

    /// Takes what the org said of a row in doubt, by its key as it was sent.
    ///
    /// # Errors
    /// [`crate::Class::Bug`] when there is no such row.
    pub fn verify(&mut self, key: &str, verdict: Verdict, id: &str) -> Result<(), Failure> {
        let row = self.index.find(key).ok_or_else(|| Failure::bug("a key was verified that was not sent"))?;
        let insert = self.job.operation == Operation::Insert;
        let created = insert || (self.job.operation == Operation::Upsert && !self.known[row]);
        self.fates[row] = match verdict {
            Verdict::Accepted if created => Fate::CREATED,
            Verdict::Accepted => Fate::UPDATED,
            Verdict::Different if insert => Fate::rejected(self.reject(key, ALREADY_THERE, &[])),
            Verdict::Absent | Verdict::Different => Fate::UNPROCESSED,
        };
        if verdict == Verdict::Accepted {
            self.ids.set(row, id);
        }
        Ok(())
    }

    /// Takes what the org holds of a row that was asked for instead of sent, by its key as it would have been sent.
    ///
    /// A record as the row would make it counts as accepted. For an insert any record with the key does: a row that was
    /// inserted is never sent again, whatever it says now, and a second insert would make a second record.
    ///
    /// # Errors
    /// [`crate::Class::Bug`] when there is no such row.
    pub fn find_in_org(&mut self, key: &str, verdict: Verdict, id: &str) -> Result<(), Failure> {
        let row =
            self.index.find(key).ok_or_else(|| Failure::bug("a key was found that was not asked for"))?;
        let insert = self.job.operation == Operation::Insert;
        let (count, fate) = match verdict {
            Verdict::Accepted => (&mut self.found.equal, Fate::UPDATED),
            Verdict::Different if insert => (&mut self.found.different, Fate::UPDATED),
            Verdict::Different => (&mut self.found.different, Fate::UNPROCESSED),
            Verdict::Absent => (&mut self.found.absent, Fate::MISSING),
        };
        *count += 1;
        self.fates[row] = fate;
        if fate.accepted() {
            self.ids.set(row, id);
        }
        Ok(())
    }

    /// Writes what became of the rows, and counts them. `uploads` are the fragments of the job in its order; they are
    /// read only if rows go again.
    ///
    /// # Errors
    /// [`crate::Class::Bug`] when the fragments hold other rows than their keys say; whatever the streams and `emit`
    /// fail with.
    pub fn write<R: Read>(
        self,
        further: Further,
        uploads: impl Iterator<Item = Result<R, Failure>>,
        emit: &mut dyn FnMut(Output) -> Result<(), Failure>,
    ) -> Result<Collected, Failure> {
        self.deltas(further, emit)?;
        let fragments = if self.fates.iter().any(|fate| self.again(*fate, further)) {
            self.write_again(further, uploads, emit)?
        } else {
            Vec::new()
        };
        Ok(self.collected(further, fragments))
    }

    fn deltas(
        &self,
        further: Further,
        emit: &mut dyn FnMut(Output) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut missing = b"key\n".to_vec();
        let mut open: Option<(ChunkNo, Writer<Vec<u8>>)> = None;
        let mut id = String::new();
        self.sent.each(|row, fragment, entry| {
            if self.fates[row] == Fate::MISSING {
                push_quoted(&mut missing, entry.key);
            }
            if open.as_ref().is_none_or(|(number, _)| *number != fragment.chunk) {
                finish(open.replace((fragment.chunk, Writer::new(Vec::new()))), emit)?;
            }
            self.ids.read(row, &mut id);
            match (self.delta(row, entry, &id, further)?, &mut open) {
                (Some(delta), Some((_, writer))) => writer.push(&delta),
                _ => Ok(()),
            }
        })?;
        finish(open, emit)?;
        emit(Output::Missing { bytes: missing })
    }

    /// The row is worth another pass, and there is one.
    fn again(&self, fate: Fate, further: Further) -> bool {
        if further != Further::Wave || fate.doubtful() {
            return false;
        }
        let again = |reason: &Reason| taxonomy::next(&reason.code, false) == Next::Again;
        fate == Fate::UNPROCESSED || self.reason(fate).is_some_and(again)
    }

    /// Why the row is held from now on, if it is.
    fn held(&self, fate: Fate, further: Further) -> Option<&Reason> {
        let last = further == Further::Last;
        let reason = self.reason(fate).filter(|_| !fate.doubtful());
        reason.filter(|reason| taxonomy::next(&reason.code, last) == Next::Held)
    }

    fn write_again<R: Read>(
        &self,
        further: Further,
        uploads: impl Iterator<Item = Result<R, Failure>>,
        emit: &mut dyn FnMut(Output) -> Result<(), Failure>,
    ) -> Result<Vec<Fragment>, Failure> {
        let mut pieces = Pieces { job: self.job.job, made: Vec::new(), open: None };
        self.sent.each_with_csv(uploads, |row, fragment, entry, csv| {
            if self.again(self.fates[row], further) {
                pieces.push(fragment, entry, csv, emit)
            } else {
                Ok(())
            }
        })?;
        pieces.close(emit)?;
        Ok(pieces.made)
    }

    /// What the next baseline learns of a row.
    fn delta<'b>(
        &'b self,
        row: usize,
        sent: &Entry<'b>,
        id: &'b str,
        further: Further,
    ) -> Result<Option<Entry<'b>>, Failure> {
        let fingerprint = sent.accepted.ok_or_else(|| Failure::bug("a sent key carries no `fingerprint`"))?;
        let fate = self.fates[row];
        if fate.accepted() && self.job.removes {
            return Ok(Some(Entry::key(sent.key)));
        }
        if fate.accepted() {
            let id = (!id.is_empty()).then_some(id);
            return Ok(Some(Entry { id, accepted: Some(fingerprint), ..Entry::key(sent.key) }));
        }
        Ok(self.held(fate, further).map(|Reason { code, fields }| {
            let instant = Some(self.job.instant);
            let refused = Refused::new(fingerprint, code);
            let refused = Refused { fields, first: instant, last: instant, ..refused };
            Entry { refused: Some(refused), ..Entry::key(sent.key) }
        }))
    }

    fn collected(self, further: Further, fragments: Vec<Fragment>) -> Collected {
        let state = self.job.state.clone();
        if !self.found.is_none() {
            return Collected { state, found: self.found, ..Collected::default() };
        }
        let mut collected = Collected { state, sent: self.fates.len() as u64, ..Collected::default() };
        let mut again = Again { fragments, ..Again::default() };
        let mut rejected = vec![(0, 0); self.reasons.len()];
        for fate in &self.fates {
            let goes_again = u64::from(self.again(*fate, further));
            collected.held += u64::from(self.held(*fate, further).is_some());
            match (*fate, fate.reason()) {
                (Fate::CREATED, _) => collected.created += 1,
                (Fate::UPDATED, _) => collected.updated += 1,
                (Fate::MISSING, _) => collected.missing += 1,
                // Two things were said that exclude each other, and the org could not be asked.
                _ if fate.doubtful() => collected.unprocessed += 1,
                (_, Some(reason)) => {
                    let (all, of_those) = &mut rejected[usize::from(reason)];
                    *all += 1;
                    *of_those += goes_again;
                }
                (_, None) => {
                    collected.unprocessed += 1;
                    again.unprocessed += goes_again;
                }
            }
        }
        collected.samples = self.samples();
        for (Reason { code, .. }, (all, of_those)) in self.reasons.into_iter().zip(rejected) {
            if of_those > 0 {
                *again.rejected.entry(code.clone()).or_default() += of_those;
            }
            if all > 0 {
                *collected.rejected.entry(code).or_default() += all;
            }
        }
        Collected { again, ..collected }
    }

    fn samples(&self) -> Vec<Sample> {
        let field = |reason: u16| {
            let fields = self.reasons[usize::from(reason)].fields.clone();
            (!fields.is_empty()).then_some(fields)
        };
        let samples = self.samples.iter().flat_map(|(code, rows)| {
            rows.iter().map(move |(key, reason)| Sample {
                key: Some(key.clone()),
                code: code.clone(),
                field: field(*reason),
                reason: taxonomy::sentence(code).to_owned(),
            })
        });
        samples.take(SAMPLES).collect()
    }
}

/// The files of rows that go again, as they are filled.
struct Pieces {
    job: JobRef,
    made: Vec<Fragment>,
    open: Option<OpenPiece>,
}

struct OpenPiece {
    fragment: Fragment,
    csv: Vec<u8>,
    sent: Writer<Vec<u8>>,
}

impl Pieces {
    fn push(
        &mut self,
        from: &Fragment,
        entry: &Entry<'_>,
        csv: &[u8],
        emit: &mut dyn FnMut(Output) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let fits = |open: &OpenPiece| {
            let same = open.fragment.chunk == from.chunk && open.fragment.group == from.group;
            same && open.csv.len() + csv.len() < PIECE_BYTES
        };
        if !self.open.as_ref().is_some_and(fits) {
            self.close(emit)?;
        }
        let (chunk, group, number) = (from.chunk, from.group, self.made.len());
        let open = self.open.get_or_insert_with(|| OpenPiece {
            fragment: Fragment {
                chunk,
                again: Some(self.job),
                group,
                removes: from.removes,
                file: format!("again-{chunk:05}-{number:03}.csv"),
                rows: 0,
                bytes: 0,
            },
            csv: Vec::new(),
            sent: Writer::new(Vec::new()),
        });
        open.fragment.rows += 1;
        open.csv.extend_from_slice(csv);
        open.csv.push(b'\n');
        open.sent.push(entry)
    }

    fn close(&mut self, emit: &mut dyn FnMut(Output) -> Result<(), Failure>) -> Result<(), Failure> {
        let Some(OpenPiece { mut fragment, csv, sent }) = self.open.take() else { return Ok(()) };
        fragment.bytes = csv.len() as u64;
        emit(Output::Again { file: fragment.file.clone(), bytes: csv })?;
        emit(Output::Again { file: fragment.sent_file(), bytes: sent.finish()?.0 })?;
        self.made.push(fragment);
        Ok(())
    }
}

impl Ids {
    fn set(&mut self, row: usize, id: &str) {
        let short = without_checksum(id).unwrap_or(id);
        match short.as_bytes().try_into() {
            Ok(packed) if id_checksum(short).is_some() => self.packed[row] = packed,
            _ if id.is_empty() => {}
            _ => drop(self.others.insert(row, id.to_owned())),
        }
    }

    /// Puts the id of the row in `id`, which is empty when there is none.
    fn read(&self, row: usize, id: &mut String) {
        id.clear();
        if let Some(other) = self.others.get(&row) {
            id.push_str(other);
            return;
        }
        let packed = &self.packed[row];
        if let Some(checksum) = std::str::from_utf8(packed).ok().and_then(id_checksum) {
            id.extend(packed.iter().map(|byte| char::from(*byte)));
            id.extend(checksum);
        }
    }
}

impl Index {
    fn new(sent: &Sent, form: Form) -> Result<Self, Failure> {
        let mut pairs: Vec<(u64, u32)> = Vec::new();
        let mut scratch = String::new();
        sent.each(|row, _, entry| {
            let row =
                u32::try_from(row).map_err(|_| Failure::bug("a job has more rows than Salesforce takes"))?;
            pairs.push((form.hash(sent.name(entry), &mut scratch), row));
            Ok(())
        })?;
        pairs.sort_unstable();
        let hashes: Vec<u64> = pairs.iter().map(|pair| pair.0).collect();
        let rows = pairs.into_iter().map(|pair| pair.1).collect();
        // Buckets of four hashes on average: a look-up is one jump and a short scan.
        let bits = (hashes.len() / 4).max(1).ilog2();
        let shift = 64 - bits;
        let mut starts = vec![0; (1 << bits) + 1];
        hashes.iter().for_each(|hash| starts[bucket(*hash, shift) + 1] += 1);
        for n in 1..starts.len() {
            starts[n] += starts[n - 1];
        }
        Ok(Self { form, hashes, rows, starts, shift })
    }

    /// The row with this key; none when there is none, or more than one.
    fn find(&self, key: &str) -> Option<usize> {
        let hash = self.form.hash(key, &mut String::new());
        let bucket = bucket(hash, self.shift);
        let (from, to) = (self.starts[bucket] as usize, self.starts[bucket + 1] as usize);
        let mut found = (from..to).filter(|place| self.hashes[*place] == hash);
        let place = found.next()?;
        found.next().is_none().then(|| self.rows[place] as usize)
    }
}

impl Form {
    fn hash(self, key: &str, scratch: &mut String) -> u64 {
        scratch.clear();
        match self {
            Self::Exact => return XxHash3_64::oneshot(key.as_bytes()),
            Self::RecordId => return XxHash3_64::oneshot(without_checksum(key).unwrap_or(key).as_bytes()),
            Self::Folded => return fold::hash(key, scratch),
            Self::Number if push_number(scratch, key).is_some() => {}
            Self::Number => scratch.push_str(key),
        }
        XxHash3_64::oneshot(scratch.as_bytes())
    }
}

impl Columns {
    fn find(set: Set, header: &[String], external_id: &str) -> Result<Self, Failure> {
        let place = |name: &str| {
            let exact = header.iter().position(|column| column == name);
            exact.or_else(|| header.iter().position(|column| column.eq_ignore_ascii_case(name)))
        };
        let require = |name: &str| {
            place(name).ok_or_else(|| Failure::bug(format!("the {} have no column `{name}`", set.name())))
        };
        let only = |of: Set, name: &str| (set == of).then(|| require(name)).transpose();
        Ok(Self {
            key: require(external_id)?,
            id: only(Set::Success, "sf__Id")?,
            created: only(Set::Success, "sf__Created")?,
            error: only(Set::Failed, "sf__Error")?,
            names: header.to_vec(),
        })
    }

    /// How many cells of a record are looked at. Successes repeat the whole upload, and nothing in them is free text
    /// of the platform's: what follows the last column needed is passed over.
    fn wanted(&self, set: Set) -> usize {
        let last = [Some(self.key), self.id, self.created].into_iter().flatten().max().unwrap_or(self.key);
        if set == Set::Success { last + 1 } else { usize::MAX }
    }
}

fn finish(
    open: Option<(ChunkNo, Writer<Vec<u8>>)>,
    emit: &mut dyn FnMut(Output) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let Some((chunk, writer)) = open else { return Ok(()) };
    let (bytes, _) = writer.finish()?;
    emit(Output::Delta { chunk, bytes })
}

fn bucket(hash: u64, shift: u32) -> usize {
    hash.checked_shr(shift).unwrap_or(0) as usize
}

/// The named fields, if they are fields: a message that does not keep to the grammar might leave a value there.
fn field_names(code: &str, fields: &str, header: &[String]) -> Option<String> {
    let is_field = |name: &&str| {
        let identifier = !name.is_empty()
            && name.len() <= 80
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.'));
        let known = header.iter().any(|column| column == name);
        identifier
            && (known || name.ends_with("__c") || name.ends_with("Id") || code == "REQUIRED_FIELD_MISSING")
    };
    let names: Vec<&str> = fields.split(',').map(str::trim).filter(is_field).take(5).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

fn push_quoted(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for byte in text.bytes() {
        if byte == b'"' {
            out.push(b'"');
        }
        out.push(byte);
    }
    out.extend_from_slice(b"\"\n");
}

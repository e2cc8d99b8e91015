//! Joins what Salesforce says became of a job to what was sent, by key.
//!
//! Result files are unordered, re-quoted, and numbers come back re-formatted; columns are found by name, rows by the
//! text of the key (<https://developer.salesforce.com/docs/atlas.en-us.api_asynch.meta/api_asynch/get_job_successful_results.htm>).

use std::{
    borrow::Cow,
    collections::BTreeMap,
    io::{self, Read},
};

use xxhash_rust::xxh3::xxh3_64;

use crate::{
    ChunkNo, Failure,
    contract::ColumnKind,
    document::{Collected, Sample},
    mapping::KeyRule,
    segment::{Entry, Reader, Refused, Writer, id_checksum, stream_failure, without_checksum},
    taxonomy::{self, RowClass},
};

/// What is known of the job.
#[derive(Clone, Copy, Debug)]
pub struct JoinInput<'a> {
    /// How keys are compared.
    pub key: &'a KeyRule,
    /// The external id field: the column of the result files that holds the key.
    pub external_id: &'a str,
    /// The state the job ended in, in the vendor's spelling.
    pub state: &'a str,
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
    /// A CSV (`key`) of the rows in none of the result files. There is one, even if it holds only its header.
    Missing {
        /// The file.
        bytes: Vec<u8>,
    },
}

/// Says of every row that was sent with a job what became of it: exactly one of created, updated, rejected,
/// unprocessed and missing, so the counts always add up to the rows sent.
///
/// `sent` are the segments of the sent keys with their chunk, in key order; the other inputs are the result files,
/// each of which may be empty or nothing but a header.
///
/// A row that Salesforce speaks of more than once is counted once, with the least certain of what was said:
/// unprocessed before rejected before accepted. If that is a contradiction, the baseline learns nothing of the row,
/// so the next run sends it again. A record that lacks cells is passed over, which leaves its row missing.
///
/// Memory is bounded by the job: about 30 bytes a row and the sent segments as they are stored.
///
/// # Errors
/// [`crate::Class::Bug`] when a result row carries a key that was not sent, a result file lacks a column, or a sent
/// segment is not in order; whatever the streams and `emit` fail with.
pub fn join<R: Read>(
    job: &JoinInput<'_>,
    sent: impl Iterator<Item = Result<(ChunkNo, R), Failure>>,
    mut success: impl Read,
    mut failed: impl Read,
    mut unprocessed: impl Read,
    emit: &mut dyn FnMut(Output) -> Result<(), Failure>,
) -> Result<Collected, Failure> {
    let sent = Sent::read(sent)?;
    let mut outcomes = Outcomes::new(job, &sent)?;
    outcomes.read(Set::Success, &mut success)?;
    outcomes.read(Set::Failed, &mut failed)?;
    outcomes.read(Set::Unprocessed, &mut unprocessed)?;
    if outcomes.strangers > 0 {
        return Err(Failure::bug(format!(
            "`{}` result rows carry a key that the job did not send",
            outcomes.strangers
        )));
    }
    outcomes.write(emit)?;
    Ok(outcomes.collected())
}

/// Most samples of one code, and of a job.
const SAMPLES_PER_CODE: usize = 5;
const SAMPLES: usize = 25;
/// Most different codes that are counted apart.
const CODES: usize = 1000;
/// The largest record that is read: Salesforce takes 400,000 characters, and adds an id and an error.
const MAX_RECORD: usize = 16 << 20;
const BOM: &[u8] = b"\xef\xbb\xbf";

/// The result files.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Set {
    Success,
    Failed,
    Unprocessed,
}

/// The sent segments as they are stored: they are read twice, and nothing holds keys in less memory.
struct Sent {
    pieces: Vec<(ChunkNo, Vec<u8>)>,
}

/// What became of a row. The numbers of the codes begin at [`Self::REJECTED`].
#[derive(Clone, Copy, PartialEq, Eq)]
struct Fate(u16);

struct Outcomes<'a> {
    job: &'a JoinInput<'a>,
    sent: &'a Sent,
    index: Index,
    /// Made when a key of a case-insensitive field was not found as it was sent.
    folded: Option<Index>,
    fates: Vec<Fate>,
    ids: Ids,
    codes: Vec<String>,
    samples: BTreeMap<u16, BTreeMap<String, Option<String>>>,
    strangers: u64,
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
    fn read<R: Read>(sent: impl Iterator<Item = Result<(ChunkNo, R), Failure>>) -> Result<Self, Failure> {
        let mut pieces = Vec::new();
        for piece in sent {
            let (chunk, mut input) = piece?;
            let mut bytes = Vec::new();
            input.read_to_end(&mut bytes).map_err(|error| stream_failure("sent keys", error))?;
            bytes.shrink_to_fit();
            pieces.push((chunk, bytes));
        }
        Ok(Self { pieces })
    }

    /// Calls `each` with the number of every row, its chunk and its entry.
    fn each(
        &self,
        mut each: impl FnMut(usize, ChunkNo, &Entry<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut row = 0;
        for (chunk, bytes) in &self.pieces {
            let mut reader = Reader::new(bytes.as_slice());
            while let Some(entry) = reader.advance()? {
                each(row, *chunk, &entry)?;
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

    const fn rejected(code: u16) -> Self {
        Self(Self::REJECTED + code)
    }

    const fn accepted(self) -> bool {
        matches!(self, Self::CREATED | Self::UPDATED)
    }

    /// The number of the code, for a rejected row.
    const fn code(self) -> Option<u16> {
        let plain = self.0 & !Self::CONTRADICTED;
        if plain >= Self::REJECTED && plain != Self::UNPROCESSED.0 {
            Some(plain - Self::REJECTED)
        } else {
            None
        }
    }

    /// Both are said of one row. The order of the numbers is the order of certainty.
    fn and(self, other: Self) -> Self {
        let stronger = (self.0 & !Self::CONTRADICTED).max(other.0) | (self.0 & Self::CONTRADICTED);
        let kind = |fate: Self| (fate.accepted(), fate.code().is_some());
        let agree = self == Self::MISSING || kind(self) == kind(other);
        Self(if agree { stronger } else { stronger | Self::CONTRADICTED })
    }
}

impl<'a> Outcomes<'a> {
    fn new(job: &'a JoinInput<'a>, sent: &'a Sent) -> Result<Self, Failure> {
        let form = if job.key.kind == ColumnKind::Fixed { Form::Number } else { Form::Exact };
        let index = Index::new(sent, form)?;
        if index.hashes.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Failure::bug("a job was sent the same key twice"));
        }
        let rows = index.rows.len();
        Ok(Self {
            job,
            sent,
            index,
            folded: None,
            fates: vec![Fate::MISSING; rows],
            ids: Ids { packed: vec![[0; 15]; rows], others: BTreeMap::new() },
            codes: Vec::new(),
            samples: BTreeMap::new(),
            strangers: 0,
        })
    }

    fn read(&mut self, set: Set, input: &mut dyn Read) -> Result<(), Failure> {
        let mut file = Csv::new(set.name(), input);
        if !file.header()? {
            return Ok(());
        }
        let header: Vec<String> = (0..file.len()).map(|cell| file.cell(cell).into_owned()).collect();
        let columns = match Columns::find(set, &header, self.job.external_id) {
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
            let code = self.reject(key, &cell(error), &columns.names);
            Fate::rejected(code)
        } else if let Some(created) = columns.created {
            self.ids.set(row, &columns.id.map(cell).unwrap_or_default());
            if file.cell(created).eq_ignore_ascii_case("true") { Fate::CREATED } else { Fate::UPDATED }
        } else {
            Fate::UNPROCESSED
        };
        self.fates[row] = self.fates[row].and(fate);
        Ok(())
    }

    fn find(&mut self, key: &str) -> Result<Option<usize>, Failure> {
        let found = self.index.find(key);
        if found.is_some() || !self.job.key.fold_case || self.index.form == Form::Number {
            return Ok(found);
        }
        if self.folded.is_none() {
            self.folded = Some(Index::new(self.sent, Form::Folded)?);
        }
        Ok(self.folded.as_ref().and_then(|folded| folded.find(key)))
    }

    /// The number of the code in `error`, of which a few samples are kept: those with the smallest keys, so that
    /// the order of the file does not matter.
    fn reject(&mut self, key: &str, error: &str, header: &[String]) -> u16 {
        let error = taxonomy::row_error(error);
        let code = self.intern(error.code);
        let samples = self.samples.entry(code).or_default();
        let wanted = samples.len() < SAMPLES_PER_CODE
            || samples.keys().next_back().is_some_and(|last| key < last.as_str());
        if wanted {
            let field = error.fields.and_then(|fields| field_names(error.code, fields, header));
            samples.insert(key.to_owned(), field);
            if samples.len() > SAMPLES_PER_CODE {
                samples.pop_last();
            }
        }
        code
    }

    fn intern(&mut self, code: &str) -> u16 {
        let code = if self.codes.len() < CODES { code } else { taxonomy::UNKNOWN };
        let known = self.codes.iter().position(|known| known == code);
        let number = known.unwrap_or_else(|| {
            self.codes.push(code.to_owned());
            self.codes.len() - 1
        });
        u16::try_from(number).expect("there are at most a thousand codes")
    }

    fn write(&self, emit: &mut dyn FnMut(Output) -> Result<(), Failure>) -> Result<(), Failure> {
        let mut missing = b"key\n".to_vec();
        let mut open: Option<(ChunkNo, Writer<Vec<u8>>)> = None;
        let mut id = String::new();
        self.sent.each(|row, chunk, entry| {
            if self.fates[row] == Fate::MISSING {
                push_quoted(&mut missing, entry.key);
            }
            if open.as_ref().is_none_or(|(number, _)| *number != chunk) {
                finish(open.replace((chunk, Writer::new(Vec::new()))), emit)?;
            }
            self.ids.read(row, &mut id);
            match (self.delta(row, entry, &id)?, &mut open) {
                (Some(delta), Some((_, writer))) => writer.push(&delta),
                _ => Ok(()),
            }
        })?;
        finish(open, emit)?;
        emit(Output::Missing { bytes: missing })
    }

    /// What the next baseline learns of a row.
    fn delta<'b>(&'b self, row: usize, sent: &Entry<'b>, id: &'b str) -> Result<Option<Entry<'b>>, Failure> {
        let fingerprint = sent.accepted.ok_or_else(|| Failure::bug("a sent key carries no `fingerprint`"))?;
        let fate = self.fates[row];
        if fate.accepted() {
            let id = (!id.is_empty()).then_some(id);
            return Ok(Some(Entry { id, accepted: Some(fingerprint), ..Entry::key(sent.key) }));
        }
        let code = fate.code().filter(|_| fate.0 & Fate::CONTRADICTED == 0);
        let held = code
            .map(|code| self.codes[usize::from(code)].as_str())
            .filter(|code| taxonomy::classify(code) == RowClass::Data);
        Ok(held.map(|code| Entry { refused: Some(Refused { fingerprint, code }), ..Entry::key(sent.key) }))
    }

    fn collected(self) -> Collected {
        let state = self.job.state.to_owned();
        let mut collected = Collected { state, sent: self.fates.len() as u64, ..Collected::default() };
        let mut rejected = vec![0; self.codes.len()];
        for fate in &self.fates {
            match (*fate, fate.code()) {
                (Fate::CREATED, _) => collected.created += 1,
                (Fate::UPDATED, _) => collected.updated += 1,
                (Fate::MISSING, _) => collected.missing += 1,
                (_, Some(code)) => rejected[usize::from(code)] += 1,
                (_, None) => collected.unprocessed += 1,
            }
        }
        collected.samples = self.samples();
        let counted = self.codes.into_iter().zip(rejected).filter(|(_, rows)| *rows > 0);
        collected.rejected = counted.collect();
        collected
    }

    fn samples(&self) -> Vec<Sample> {
        let mut codes: Vec<_> =
            self.samples.iter().map(|(code, rows)| (&self.codes[usize::from(*code)], rows)).collect();
        codes.sort_unstable_by_key(|(code, _)| *code);
        let samples = codes.into_iter().flat_map(|(code, rows)| {
            rows.iter().map(|(key, field)| Sample {
                key: Some(key.clone()),
                code: code.clone(),
                field: field.clone(),
                reason: taxonomy::sentence(code).to_owned(),
            })
        });
        samples.take(SAMPLES).collect()
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
            pairs.push((form.hash(entry.key, &mut scratch), row));
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
            Self::Exact => return xxh3_64(key.as_bytes()),
            Self::Folded => scratch.extend(key.chars().flat_map(char::to_lowercase)),
            Self::Number if push_number(scratch, key).is_some() => {}
            Self::Number => scratch.push_str(key),
        }
        xxh3_64(scratch.as_bytes())
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

/// A result file, read record by record: never more than one record and a buffer is in memory. NULs are dropped.
///
/// Tolerant where results were seen to be careless: a quote within a quoted cell ends it only before a comma or
/// the end of the record. A record ends at a line feed with an even number of quotes before it.
struct Csv<'a> {
    name: &'static str,
    input: &'a mut dyn Read,
    buffer: Vec<u8>,
    /// What of the buffer is filled and not yet read.
    at: usize,
    filled: usize,
    ended: bool,
    cells: Vec<Cell>,
}

/// Where a cell is in the buffer, and whether it holds doubled quotes.
#[derive(Clone, Copy)]
struct Cell {
    from: usize,
    to: usize,
    escaped: bool,
}

impl<'a> Csv<'a> {
    fn new(name: &'static str, input: &'a mut dyn Read) -> Self {
        let buffer = vec![0; 256 << 10];
        Self { name, input, buffer, at: 0, filled: 0, ended: false, cells: Vec::new() }
    }

    /// Goes to the header, past a byte order mark. False when there is none.
    fn header(&mut self) -> Result<bool, Failure> {
        while self.filled < BOM.len() && !self.ended {
            self.fill()?;
        }
        if self.buffer[..self.filled].starts_with(BOM) {
            self.at = BOM.len();
        }
        self.next(usize::MAX)
    }

    /// Goes to the next record and finds its first cells, up to `wanted` of them. False at the end.
    fn next(&mut self, wanted: usize) -> Result<bool, Failure> {
        let (mut seen, mut quotes) = (0, 0);
        loop {
            let from = self.at + seen;
            let end = memchr::memchr(b'\n', &self.buffer[from..self.filled]).map(|place| from + place);
            quotes += memchr::memchr_iter(b'"', &self.buffer[from..end.unwrap_or(self.filled)]).count();
            match end {
                Some(end) if quotes % 2 == 0 => {
                    let record = self.at;
                    (self.at, seen, quotes) = (end + 1, 0, 0);
                    if self.split(record, end, wanted) {
                        return Ok(true);
                    }
                }
                Some(end) => seen = end + 1 - self.at,
                None if self.ended => {
                    let record = self.at;
                    self.at = self.filled;
                    return Ok(quotes % 2 == 0 && self.split(record, self.filled, wanted));
                }
                None => {
                    seen = self.filled - self.at;
                    self.fill()?;
                }
            }
        }
    }

    /// Finds the cells of a record. False when it is an empty line.
    fn split(&mut self, mut at: usize, mut end: usize, wanted: usize) -> bool {
        self.cells.clear();
        if self.buffer[at..end].ends_with(b"\r") {
            end -= 1;
        }
        if at == end {
            return false;
        }
        while self.cells.len() < wanted {
            let (cell, next) = cell(&self.buffer, at, end);
            self.cells.push(cell);
            if next == end {
                break;
            }
            at = next + 1;
        }
        true
    }

    const fn len(&self) -> usize {
        self.cells.len()
    }

    /// The text of a cell; empty when there is no such cell, or it is not UTF-8.
    fn cell(&self, cell: usize) -> Cow<'_, str> {
        let Some(cell) = self.cells.get(cell) else { return Cow::Borrowed("") };
        let text = std::str::from_utf8(&self.buffer[cell.from..cell.to]).unwrap_or_default();
        if cell.escaped { Cow::Owned(text.replace("\"\"", "\"")) } else { Cow::Borrowed(text) }
    }

    /// Moves what is left to the front and reads on behind it.
    fn fill(&mut self) -> Result<(), Failure> {
        self.buffer.copy_within(self.at..self.filled, 0);
        (self.filled, self.at) = (self.filled - self.at, 0);
        if self.filled == self.buffer.len() {
            if self.filled >= MAX_RECORD {
                return Err(Failure::bug(format!(
                    "the {} hold a record longer than any that was sent",
                    self.name
                )));
            }
            self.buffer.resize(self.filled * 2, 0);
        }
        let room = &mut self.buffer[self.filled..];
        match self.input.read(room) {
            Ok(read) => {
                self.ended = read == 0;
                self.filled += strip_nuls(&mut room[..read]);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(stream_failure(self.name, error)),
        }
    }
}

/// The cell at `at` of a record that ends at `end`, and where it ends: at a comma, or at `end`.
fn cell(record: &[u8], at: usize, end: usize) -> (Cell, usize) {
    if at == end || record[at] != b'"' {
        let to = memchr::memchr(b',', &record[at..end]).map_or(end, |place| at + place);
        return (Cell { from: at, to, escaped: false }, to);
    }
    let (mut from, mut escaped) = (at + 1, false);
    while let Some(quote) = memchr::memchr(b'"', &record[from..end]).map(|place| from + place) {
        let after = quote + 1;
        if after == end || record[after] == b',' {
            return (Cell { from: at + 1, to: quote, escaped }, after);
        }
        let doubled = record[after] == b'"';
        escaped |= doubled;
        from = after + usize::from(doubled);
    }
    (Cell { from: at + 1, to: end, escaped }, end)
}

fn finish(
    open: Option<(ChunkNo, Writer<Vec<u8>>)>,
    emit: &mut dyn FnMut(Output) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let Some((chunk, writer)) = open else { return Ok(()) };
    let (bytes, _) = writer.finish()?;
    emit(Output::Delta { chunk, bytes })
}

/// Moves the bytes that are not NUL to the front, and returns how many there are.
fn strip_nuls(bytes: &mut [u8]) -> usize {
    let Some(first) = memchr::memchr(0, bytes) else { return bytes.len() };
    let mut kept = first;
    for at in first..bytes.len() {
        if bytes[at] != 0 {
            bytes[kept] = bytes[at];
            kept += 1;
        }
    }
    kept
}

fn bucket(hash: u64, shift: u32) -> usize {
    hash.checked_shr(shift).unwrap_or(0) as usize
}

/// Writes a decimal in the one form that all spellings of the same number have: sign, digits without zeros at either
/// end, power of ten. `912260031`, `912260031.0` and `9.12260031E8` become the same. None when it is not a decimal.
fn push_number(out: &mut String, text: &str) -> Option<()> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let digits = mantissa.strip_prefix(['-', '+']).unwrap_or(mantissa);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all = || whole.bytes().chain(fraction.bytes());
    if all().next().is_none() || !all().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    if mantissa.starts_with('-') && all().any(|byte| byte != b'0') {
        out.push('-');
    }
    let begin = out.len();
    out.extend(all().skip_while(|byte| *byte == b'0').map(char::from));
    let significant = out[begin..].trim_end_matches('0').len();
    let zeros = out.len() - begin - significant;
    out.truncate(begin + significant);
    let power = i64::from(exponent) - fraction.len() as i64 + zeros as i64;
    out.push_str(&if significant == 0 { "0".to_owned() } else { format!("e{power}") });
    Some(())
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

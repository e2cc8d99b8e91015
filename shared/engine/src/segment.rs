//! The one stored format: baseline, sent keys, removed keys and deltas are all segments.
//!
//! A segment is a list of entries in ascending order of their keys' bytes. It is written and read as a
//! stream, one block in memory, and the same entries always give the same bytes.
//!
//! ```text
//! segment     = magic "BKHSEG" version:u16 block* footer
//! block       = text_len:u32 (> 0) packed_len:u32 fingerprints_len:u32 checksum:u64 packed fingerprints
//! footer      = 0:u32 rows:u64 checksum:u64        checksum of every byte before it
//! packed      = zstd of: rows column_len*12 column*12        numbers are LEB128
//! columns     = flags, bytes shared with the key before, key length, rest of the key,
//!               characters shared with the id before, id length, rest of the id,
//!               number of the refusal, refusals (length and text of the code, the same of the fields),
//!               refused first, refused last (seconds since 1970, or 0), how often
//! fingerprints = per row: accepted (8 bytes) if it has one, then refused (8 bytes) if it has one
//! ```
//!
//! Numbers outside `packed` are little-endian; checksums are XXH3-64, a block's is seeded with its number.
//! Fingerprints stay outside of zstd: they do not compress, and would only blunt its tables.
//! The last three characters of an 18-character Salesforce id are a checksum of the others and are left out.
//!
//! Version 1 had nine columns: it knew the code of a refusal and nothing else. It is still read.

use std::{
    hash::Hasher,
    io::{self, Read, Write},
    mem,
};

use jiff::Timestamp;
use twox_hash::XxHash3_64;

use crate::{Failure, Fingerprint, document::SegmentRef, keys};

/// What a segment says about one key. Which parts are there depends on what the segment is for: a list of
/// removed keys has keys only, sent keys carry the fingerprint that was sent in `accepted`.
///
/// There is no `Debug`: a key may be personal.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The key, as text.
    pub key: &'a str,
    /// The fingerprint Salesforce accepted (in a list of sent keys: the one that was sent).
    pub accepted: Option<Fingerprint>,
    /// The Salesforce id of the record.
    pub id: Option<&'a str>,
    /// What Salesforce refused last, if it was not accepted since.
    pub refused: Option<Refused<'a>>,
}

/// A content that Salesforce refused.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Refused<'a> {
    /// The fingerprint of the refused content.
    pub fingerprint: Fingerprint,
    /// The vendor's code.
    pub code: &'a str,
    /// The API names of the fields that Salesforce named, as `Phone, Name`; empty when it named none.
    pub fields: &'a str,
    /// The instant of the run that was the first to be refused this content, to the second; none when that was
    /// before it was noted.
    pub first: Option<Timestamp>,
    /// The instant of the run that was the last.
    pub last: Option<Timestamp>,
    /// How many runs were refused this content.
    pub tries: u32,
    /// A person lets it go again, and it has not been accepted or refused since.
    pub released: bool,
}

/// What a finished segment holds.
#[derive(Clone, PartialEq, Eq)]
pub struct Summary {
    /// How many entries.
    pub rows: u64,
    /// The first key; none when the segment is empty.
    pub first_key: Option<String>,
    /// The last key; none when the segment is empty.
    pub last_key: Option<String>,
    /// XXH3-64 of all bytes of the segment, as lower-case hexadecimal.
    pub checksum: String,
}

/// Writes a segment. Nothing but [`Writer::finish`] makes it complete.
pub struct Writer<W> {
    output: Hashed<W>,
    started: bool,
    blocks: u64,
    rows: u64,
    first_key: Option<String>,
    block: Building,
}

/// Reads a segment, one entry at a time.
///
/// An entry is handed out only after the checksum of its block was right; that the segment is whole is known
/// when the end has been reached, so nothing may be concluded from a segment that was not read to its end.
pub struct Reader<R> {
    input: Hashed<R>,
    state: State,
    blocks: u64,
    rows: u64,
    block: Block,
    row: Row,
}

/// Several segments in key order, read as one stream. The next is opened when the one before has ended.
pub struct Segments<R, I> {
    inputs: I,
    open: Option<Reader<R>>,
    border: Option<String>,
}

/// The failure behind an error of a stream: the [`Failure`] it carries, or else a transient one that names `what`.
/// A stream that ends too early is [`crate::Class::Bug`].
#[must_use]
pub fn stream_failure(what: &str, error: io::Error) -> Failure {
    let kind = error.kind();
    error.downcast::<Failure>().unwrap_or_else(|_| match kind {
        io::ErrorKind::UnexpectedEof => Failure::bug(format!("`{what}` ends too early")),
        _ => Failure::transient(format!("`{what}` broke off ({kind})")),
    })
}

impl<'a> Entry<'a> {
    /// An entry that says nothing but the key.
    #[must_use]
    pub const fn key(key: &'a str) -> Self {
        Self { key, accepted: None, id: None, refused: None }
    }
}

impl<'a> Refused<'a> {
    /// A content that was refused once, nobody knows when.
    #[must_use]
    pub const fn new(fingerprint: Fingerprint, code: &'a str) -> Self {
        Self { fingerprint, code, fields: "", first: None, last: None, tries: 1, released: false }
    }

    /// The same content was refused before: it has been refused since then, and once more.
    #[must_use]
    pub const fn after(self, before: &Self) -> Self {
        Self { first: before.first, tries: self.tries.saturating_add(before.tries), ..self }
    }
}

impl Summary {
    /// The reference to the segment stored as `object`.
    #[must_use]
    pub fn into_ref(self, object: String) -> SegmentRef {
        let Self { rows, first_key, last_key, checksum } = self;
        SegmentRef { object, rows, first_key, last_key, checksum }
    }
}

impl<W: Write> Writer<W> {
    /// A writer of a segment to `output`, which needs no buffer of its own.
    pub fn new(output: W) -> Self {
        Self {
            output: Hashed::new(output),
            started: false,
            blocks: 0,
            rows: 0,
            first_key: None,
            block: Building::default(),
        }
    }

    /// Adds an entry.
    ///
    /// # Errors
    /// [`crate::Class::Bug`] when its key is not greater than the one before, or a text is longer than 65,535 bytes;
    /// whatever [`stream_failure`] makes of a failed write.
    pub fn push(&mut self, entry: &Entry<'_>) -> Result<(), Failure> {
        check_lengths(entry)?;
        let shared = shared_prefix(&self.block.key, entry.key);
        if self.rows > 0 && !ascends(&self.block.key[shared..], &entry.key[shared..]) {
            return Err(Failure::bug("a `segment` was given keys out of order"));
        }
        self.block.push(entry, shared);
        self.rows += 1;
        if self.first_key.is_none() {
            self.first_key = Some(entry.key.to_owned());
        }
        if self.block.is_full() { self.flush() } else { Ok(()) }
    }

    /// Writes what is left and the footer.
    ///
    /// # Errors
    /// Whatever [`stream_failure`] makes of a failed write.
    pub fn finish(mut self) -> Result<(W, Summary), Failure> {
        self.flush()?;
        let mut footer = [0; 12];
        footer[4..].copy_from_slice(&self.rows.to_le_bytes());
        self.output.write(&footer)?;
        let checksum = self.output.hash.finish();
        self.output.write(&checksum.to_le_bytes())?;
        let checksum = format!("{:016x}", self.output.hash.finish());
        let last_key = self.first_key.is_some().then_some(self.block.key);
        let summary = Summary { rows: self.rows, first_key: self.first_key, last_key, checksum };
        Ok((self.output.inner, summary))
    }

    fn flush(&mut self) -> Result<(), Failure> {
        if !mem::replace(&mut self.started, true) {
            self.output.write(&HEADER)?;
        }
        if self.block.rows == 0 {
            return Ok(());
        }
        let (text_len, packed) = self.block.pack();
        let fingerprints = &self.block.fingerprints;
        let lengths = [text_len, length(packed.len()), length(fingerprints.len())];
        let head = block_head(lengths);
        let checksum = block_checksum(self.blocks, &head, &packed, fingerprints);
        self.output.write(&head)?;
        self.output.write(&checksum.to_le_bytes())?;
        self.output.write(&packed)?;
        self.output.write(fingerprints)?;
        self.blocks += 1;
        self.block.clear();
        Ok(())
    }
}

impl<R: Read> Reader<R> {
    /// A reader of the segment in `input`; nothing is read yet.
    pub fn new(input: R) -> Self {
        Self {
            input: Hashed::new(input),
            state: State::New,
            blocks: 0,
            rows: 0,
            block: Block::default(),
            row: Row::default(),
        }
    }

    /// Goes to the next entry and returns it; none at the end.
    ///
    /// # Errors
    /// [`crate::Class::Configuration`] when a newer version of Backhaul wrote the segment; [`crate::Class::Bug`] when it is no
    /// segment, is damaged, cut off or out of order; whatever [`stream_failure`] makes of a failed read.
    pub fn advance(&mut self) -> Result<Option<Entry<'_>>, Failure> {
        self.step()?;
        self.current()
    }

    /// The entry stood on, none before the first and after the last.
    ///
    /// # Errors
    /// [`crate::Class::Bug`] when the block contradicts itself.
    pub fn current(&mut self) -> Result<Option<Entry<'_>>, Failure> {
        if self.state != State::Row {
            return Ok(None);
        }
        if self.row.decode_ids(&mut self.block).is_none() {
            self.state = State::Broken;
            return Err(damaged());
        }
        Ok(Some(self.row.entry(&self.block)))
    }

    /// Its key.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        (self.state == State::Row).then_some(&self.row.key)
    }

    /// It says that Salesforce has accepted this, and has refused nothing since.
    #[must_use]
    pub fn says(&self, accepted: Fingerprint) -> bool {
        self.state == State::Row
            && self.row.flags & (ACCEPTED | REFUSED) == ACCEPTED
            && self.row.accepted == accepted.0
    }

    /// Like [`Self::advance`], for a caller that asks for the entry later, or not at all: passing over entries costs
    /// less than reading them.
    ///
    /// # Errors
    /// As [`Self::advance`].
    pub fn step(&mut self) -> Result<(), Failure> {
        let result = self.try_step();
        if result.is_err() {
            self.state = State::Broken;
        }
        result
    }

    /// The checksum of all bytes as in [`Summary::checksum`]; none before the end was reached.
    #[must_use]
    pub fn checksum(&self) -> Option<String> {
        (self.state == State::End).then(|| format!("{:016x}", self.input.hash.finish()))
    }

    fn try_step(&mut self) -> Result<(), Failure> {
        match self.state {
            State::New => self.read_header()?,
            State::End => return Ok(()),
            State::Broken => return Err(damaged()),
            State::Row => {}
        }
        if self.block.left == 0 && !self.read_block()? {
            self.state = State::End;
            return Ok(());
        }
        self.state = State::Row;
        self.rows += 1;
        self.row.decode(&mut self.block, self.rows == 1).ok_or_else(damaged)
    }

    fn read_header(&mut self) -> Result<(), Failure> {
        let mut header = [0; 8];
        self.input.read(&mut header)?;
        if header[..6] != HEADER[..6] {
            return Err(Failure::bug("a `segment` does not begin like one"));
        }
        let version = u16::from_le_bytes([header[6], header[7]]);
        match version {
            1..=VERSION => {
                self.block.columns = if version == 1 { COLUMNS_1 } else { COLUMNS };
                Ok(())
            }
            0 => Err(damaged()),
            _ => Err(Failure::configuration(format!(
                "a `segment` was written by a newer version of Backhaul (format {version}, this one reads {VERSION})"
            ))
            .hint("deploy the newer version again, or restore the head from before it")),
        }
    }

    fn read_block(&mut self) -> Result<bool, Failure> {
        let mut first = [0; 4];
        self.input.read(&mut first)?;
        if first == [0; 4] {
            self.read_footer()?;
            return Ok(false);
        }
        let mut rest = [0; 16];
        self.input.read(&mut rest)?;
        let mut head = [0; 12];
        head[..4].copy_from_slice(&first);
        head[4..].copy_from_slice(&rest[..8]);
        let mut checksum = [0; 8];
        checksum.copy_from_slice(&rest[8..]);
        self.block.read(&mut self.input, self.blocks, head, u64::from_le_bytes(checksum))?;
        self.row.begin(&self.block);
        self.blocks += 1;
        Ok(true)
    }

    fn read_footer(&mut self) -> Result<(), Failure> {
        let mut rows = [0; 8];
        self.input.read(&mut rows)?;
        let expected = self.input.hash.finish();
        let mut checksum = [0; 8];
        self.input.read(&mut checksum)?;
        if u64::from_le_bytes(checksum) != expected || u64::from_le_bytes(rows) != self.rows {
            return Err(damaged());
        }
        let more = self.input.inner.by_ref().take(1).read_to_end(&mut Vec::new());
        match more.map_err(|error| stream_failure("segment", error))? {
            0 => Ok(()),
            _ => Err(damaged()),
        }
    }
}

impl<R: Read, I: Iterator<Item = Result<R, Failure>>> Segments<R, I> {
    /// The segments of `inputs` one after the other.
    pub fn new(inputs: I) -> Self {
        Self { inputs, open: None, border: None }
    }

    /// Goes to the next entry and returns it; none after the last segment.
    ///
    /// # Errors
    /// Those of the inputs and of [`Reader::advance`]; [`crate::Class::Bug`] when a segment begins at or before the end
    /// of the one before.
    pub fn advance(&mut self) -> Result<Option<Entry<'_>>, Failure> {
        self.step()?;
        self.current()
    }

    /// As [`Reader::current`].
    ///
    /// # Errors
    /// As [`Reader::current`].
    pub fn current(&mut self) -> Result<Option<Entry<'_>>, Failure> {
        self.open.as_mut().map_or(Ok(None), Reader::current)
    }

    /// As [`Reader::key`].
    #[must_use]
    #[inline]
    pub fn key(&self) -> Option<&str> {
        self.open.as_ref().and_then(Reader::key)
    }

    /// As [`Reader::says`].
    #[must_use]
    pub fn says(&self, accepted: Fingerprint) -> bool {
        self.open.as_ref().is_some_and(|reader| reader.says(accepted))
    }

    /// Like [`Self::advance`], for a caller that asks for the entry later.
    ///
    /// # Errors
    /// As [`Self::advance`].
    pub fn step(&mut self) -> Result<(), Failure> {
        loop {
            if let Some(reader) = &mut self.open {
                reader.step()?;
                if reader.state == State::Row {
                    return match &self.border {
                        Some(border) if reader.rows == 1 && *border >= reader.row.key => Err(overlapping()),
                        _ => Ok(()),
                    };
                }
                if reader.rows > 0 {
                    self.border = Some(mem::take(&mut reader.row.key));
                }
            }
            self.open = None;
            match self.inputs.next() {
                Some(input) => self.open = Some(Reader::new(input?)),
                None => return Ok(()),
            }
        }
    }
}

/// The version of the format this module writes, and the newest it reads.
const VERSION: u16 = 2;
const HEADER: [u8; 8] = {
    let version = VERSION.to_le_bytes();
    [b'B', b'K', b'H', b'S', b'E', b'G', version[0], version[1]]
};
/// Most rows of a block, and the size of its texts from which on it is closed.
const BLOCK_ROWS: usize = 4096;
const BLOCK_TEXT: usize = 256 << 10;
/// Longest key, id, code or list of fields; and what follows for the texts of a block.
const MAX_TEXT: usize = 65_535;
const MAX_BLOCK: usize = BLOCK_TEXT + 5 * MAX_TEXT;
const LEVEL: i32 = 1;

/// The columns of a block's text, in their order.
#[derive(Clone, Copy)]
enum Column {
    Flags,
    Shared,
    Length,
    Key,
    IdShared,
    IdLength,
    Id,
    Refusal,
    Refusals,
    First,
    Last,
    Tries,
}
const COLUMNS: usize = 12;
/// Columns of version 1.
const COLUMNS_1: usize = 9;

const ACCEPTED: u8 = 1;
const ID: u8 = 2;
/// The id is stored without its checksum.
const ID_15: u8 = 4;
const REFUSED: u8 = 8;
const RELEASED: u8 = 16;

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Row,
    End,
    /// A read has failed: no entry may follow.
    Broken,
}

/// A stream and the checksum of everything that went through it.
struct Hashed<T> {
    inner: T,
    hash: XxHash3_64,
}

/// A block that is being filled.
#[derive(Default)]
struct Building {
    rows: usize,
    columns: [Vec<u8>; COLUMNS],
    fingerprints: Vec<u8>,
    refusals: Vec<Refusal>,
    /// The key before, also across blocks: it holds the order.
    key: String,
    id: String,
    packer: Option<zstd::bulk::Compressor<'static>>,
}

/// A code, and the fields that were named with it.
struct Refusal {
    code: String,
    fields: String,
}

/// A block that is being read.
#[derive(Default)]
struct Block {
    /// How many columns this version has.
    columns: usize,
    left: usize,
    text: Vec<u8>,
    /// The columns of the rests of keys and of ids once more: checked as a whole, so that none is checked on its own.
    keys: String,
    ids: String,
    cursors: [Cursor; COLUMNS],
    fingerprints: Vec<u8>,
    fingerprint: Cursor,
    refusals: Vec<Refusal>,
    unpacker: Option<zstd::bulk::Decompressor<'static>>,
}

/// The entry the reader stands on.
#[derive(Default)]
struct Row {
    flags: u8,
    key: String,
    /// Where the flags stand of the first row whose id has not been decoded: an id is only looked at when its entry is
    /// asked for, but it depends on those before.
    ids_from: usize,
    /// The id, and how much of it is stored: that is what the next one shares characters with.
    id: String,
    stored: usize,
    /// The end of an id that is not stored, and of how many of its first characters it was made.
    checksum: [u8; 3],
    summed: usize,
    accepted: u64,
    refused: u64,
    refusal: usize,
    first: usize,
    last: usize,
    tries: u32,
}

/// What is left of a column.
#[derive(Clone, Copy, Default)]
struct Cursor {
    at: usize,
    end: usize,
}

impl<T> Hashed<T> {
    fn new(inner: T) -> Self {
        Self { inner, hash: XxHash3_64::new() }
    }
}

impl<W: Write> Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.hash.write(bytes);
        self.inner.write_all(bytes).map_err(|error| stream_failure("segment", error))
    }
}

impl<R: Read> Hashed<R> {
    fn read(&mut self, bytes: &mut [u8]) -> Result<(), Failure> {
        self.inner.read_exact(bytes).map_err(|error| stream_failure("segment", error))?;
        self.hash.write(bytes);
        Ok(())
    }
}

impl Building {
    /// Adds an entry that shares so many bytes of its key with the one before. The first of a block holds all of it.
    fn push(&mut self, entry: &Entry<'_>, shared: usize) {
        let shared = if self.rows == 0 { 0 } else { shared };
        self.number(Column::Shared, shared);
        self.number(Column::Length, entry.key.len());
        self.column(Column::Key).extend_from_slice(&entry.key.as_bytes()[shared..]);
        self.key.truncate(shared);
        self.key.push_str(&entry.key[shared..]);
        let mut flags = 0;
        if let Some(fingerprint) = entry.accepted {
            flags |= ACCEPTED;
            self.fingerprints.extend_from_slice(&fingerprint.0.to_le_bytes());
        }
        if let Some(id) = entry.id {
            flags |= ID | self.push_id(id);
        }
        if let Some(refused) = entry.refused {
            flags |= REFUSED | if refused.released { RELEASED } else { 0 };
            self.push_refused(&refused);
        }
        self.column(Column::Flags).push(flags);
        self.rows += 1;
    }

    fn push_id(&mut self, id: &str) -> u8 {
        let (stored, flag) = without_checksum(id).map_or((id, 0), |short| (short, ID_15));
        let shared = shared_prefix(&self.id, stored);
        self.number(Column::IdShared, shared);
        self.number(Column::IdLength, stored.len());
        self.column(Column::Id).extend_from_slice(&stored.as_bytes()[shared..]);
        self.id.truncate(shared);
        self.id.push_str(&stored[shared..]);
        flag
    }

    fn push_refused(&mut self, refused: &Refused<'_>) {
        self.fingerprints.extend_from_slice(&refused.fingerprint.0.to_le_bytes());
        let number = self.intern(refused.code, refused.fields);
        self.number(Column::Refusal, number);
        self.number(Column::First, seconds(refused.first));
        self.number(Column::Last, seconds(refused.last));
        self.number(Column::Tries, refused.tries as usize);
    }

    fn intern(&mut self, code: &str, fields: &str) -> usize {
        let same = |known: &Refusal| known.code == code && known.fields == fields;
        if let Some(known) = self.refusals.iter().position(same) {
            return known;
        }
        for text in [code, fields] {
            self.number(Column::Refusals, text.len());
            self.column(Column::Refusals).extend_from_slice(text.as_bytes());
        }
        self.refusals.push(Refusal { code: code.to_owned(), fields: fields.to_owned() });
        self.refusals.len() - 1
    }

    fn is_full(&self) -> bool {
        self.rows >= BLOCK_ROWS || self.columns.iter().map(Vec::len).sum::<usize>() >= BLOCK_TEXT
    }

    /// The texts: how long they are, and compressed.
    fn pack(&mut self) -> (u32, Vec<u8>) {
        let mut text = Vec::new();
        push_number(&mut text, self.rows);
        self.columns.iter().for_each(|column| push_number(&mut text, column.len()));
        self.columns.iter().for_each(|column| text.extend_from_slice(column));
        let packer = self.packer.get_or_insert_with(|| {
            zstd::bulk::Compressor::new(LEVEL).expect("the level is one that zstd has")
        });
        let packed = packer.compress(&text).expect("the buffer is as large as zstd asks for");
        (length(text.len()), packed)
    }

    fn clear(&mut self) {
        self.rows = 0;
        self.columns.iter_mut().for_each(Vec::clear);
        self.fingerprints.clear();
        self.refusals.clear();
        self.id.clear();
    }

    fn column(&mut self, column: Column) -> &mut Vec<u8> {
        &mut self.columns[column as usize]
    }

    fn number(&mut self, column: Column, number: usize) {
        push_number(self.column(column), number);
    }
}

impl Block {
    fn read<R: Read>(
        &mut self,
        input: &mut Hashed<R>,
        number: u64,
        head: [u8; 12],
        checksum: u64,
    ) -> Result<(), Failure> {
        let part = |n: usize| u32::from_le_bytes([head[n], head[n + 1], head[n + 2], head[n + 3]]) as usize;
        let (text_len, packed_len, fingerprints_len) = (part(0), part(4), part(8));
        if text_len > MAX_BLOCK || packed_len > 2 * MAX_BLOCK || fingerprints_len > 16 * BLOCK_ROWS {
            return Err(damaged());
        }
        let mut packed = vec![0; packed_len];
        input.read(&mut packed)?;
        self.fingerprints.resize(fingerprints_len, 0);
        input.read(&mut self.fingerprints)?;
        if block_checksum(number, &head, &packed, &self.fingerprints) != checksum {
            return Err(damaged());
        }
        self.unpack(&packed, text_len).ok_or_else(damaged)
    }

    fn unpack(&mut self, packed: &[u8], text_len: usize) -> Option<()> {
        self.text.clear();
        self.text.reserve_exact(text_len);
        let unpacker = self
            .unpacker
            .get_or_insert_with(|| zstd::bulk::Decompressor::new().expect("zstd needs nothing but memory"));
        unpacker.decompress_to_buffer(packed, &mut self.text).ok()?;
        let mut head = Cursor { at: 0, end: self.text.len() };
        self.left = head.number(&self.text)?;
        let mut lengths = [0; COLUMNS];
        for length in lengths.iter_mut().take(self.columns) {
            *length = head.number(&self.text)?;
        }
        for (cursor, length) in self.cursors.iter_mut().zip(lengths) {
            *cursor = Cursor { at: head.at, end: head.at.checked_add(length)? };
            head.take(&self.text, length)?;
        }
        self.fingerprint = Cursor { at: 0, end: self.fingerprints.len() };
        let rows = (1..=BLOCK_ROWS).contains(&self.left);
        (rows && head.is_done() && self.text.len() == text_len).then_some(())?;
        self.read_texts()?;
        self.read_refusals()
    }

    fn read_texts(&mut self) -> Option<()> {
        for (column, texts) in [(Column::Key, &mut self.keys), (Column::Id, &mut self.ids)] {
            let cursor = &mut self.cursors[column as usize];
            texts.clear();
            texts.push_str(simdutf8::basic::from_utf8(&self.text[cursor.at..cursor.end]).ok()?);
            *cursor = Cursor { at: 0, end: texts.len() };
        }
        Some(())
    }

    fn read_refusals(&mut self) -> Option<()> {
        self.refusals.clear();
        while !self.cursors[Column::Refusals as usize].is_done() {
            let code = self.counted(Column::Refusals)?;
            let fields =
                if self.is_first_version() { String::new() } else { self.counted(Column::Refusals)? };
            self.refusals.push(Refusal { code, fields });
        }
        Some(())
    }

    const fn is_first_version(&self) -> bool {
        self.columns == COLUMNS_1
    }

    /// A text after its length.
    fn counted(&mut self, column: Column) -> Option<String> {
        let length = self.number(column)?;
        let bytes = self.cursors[column as usize].take(&self.text, length)?;
        std::str::from_utf8(bytes).ok().map(str::to_owned)
    }

    #[inline]
    fn number(&mut self, column: Column) -> Option<usize> {
        self.cursors[column as usize].number(&self.text)
    }

    fn flags(&mut self) -> Option<u8> {
        self.cursors[Column::Flags as usize].take(&self.text, 1).map(|flags| flags[0])
    }

    /// The rest of a key that is so long and shares so much with the one before.
    #[inline]
    fn key(&mut self) -> Option<(usize, &str)> {
        let shared = self.number(Column::Shared)?;
        let rest = self.number(Column::Length)?.checked_sub(shared)?;
        Some((shared, self.cursors[Column::Key as usize].take_text(&self.keys, rest)?))
    }

    /// The same of an id.
    #[inline]
    fn id(&mut self) -> Option<(usize, &str)> {
        let shared = self.number(Column::IdShared)?;
        let rest = self.number(Column::IdLength)?.checked_sub(shared)?;
        Some((shared, self.cursors[Column::Id as usize].take_text(&self.ids, rest)?))
    }

    fn fingerprint(&mut self) -> Option<u64> {
        let bytes = self.fingerprint.take(&self.fingerprints, 8)?;
        bytes.try_into().ok().map(u64::from_le_bytes)
    }

    /// Nothing is left, of the ids or of the other columns.
    fn is_done(&self, ids: bool) -> bool {
        const IDS: std::ops::RangeInclusive<usize> = Column::IdShared as usize..=Column::Id as usize;
        let mut columns = self.cursors.iter().enumerate().filter(|(column, _)| IDS.contains(column) == ids);
        columns.all(|(_, cursor)| cursor.is_done()) && self.fingerprint.is_done()
    }
}

impl Row {
    /// Begins a block: its ids share nothing with those before.
    const fn begin(&mut self, block: &Block) {
        (self.ids_from, self.stored, self.summed) = (block.cursors[Column::Flags as usize].at, 0, 0);
    }

    /// Takes the next row off the block, but for its id. None when the block contradicts itself or the order.
    #[inline]
    fn decode(&mut self, block: &mut Block, first: bool) -> Option<()> {
        let flags = block.flags()?;
        self.decode_key(block, first)?;
        if flags & ACCEPTED != 0 {
            self.accepted = block.fingerprint()?;
        }
        if flags & REFUSED != 0 {
            self.decode_refused(block)?;
        }
        self.flags = flags;
        block.left -= 1;
        (block.left > 0 || block.is_done(false)).then_some(())
    }

    /// The first key of a block shares nothing, so that it is compared with the whole key before.
    #[inline]
    fn decode_key(&mut self, block: &mut Block, first: bool) -> Option<()> {
        let (shared, rest) = block.key()?;
        let before = self.key.get(shared..)?;
        (first || ascends(before, rest)).then_some(())?;
        self.key.truncate(shared);
        self.key.push_str(rest);
        Some(())
    }

    /// Decodes the ids up to that of this row. None when the block contradicts itself.
    fn decode_ids(&mut self, block: &mut Block) -> Option<()> {
        while self.ids_from < block.cursors[Column::Flags as usize].at {
            let flags = *block.text.get(self.ids_from)?;
            if flags & ID != 0 {
                self.decode_id(block)?;
            }
            self.ids_from += 1;
        }
        if self.flags & ID_15 != 0 && self.id.len() == self.stored {
            self.add_checksum()?;
        }
        (block.left > 0 || block.is_done(true)).then_some(())
    }

    fn decode_id(&mut self, block: &mut Block) -> Option<()> {
        let (shared, rest) = block.id()?;
        (shared <= self.stored && self.id.is_char_boundary(shared)).then_some(())?;
        self.id.truncate(shared);
        self.id.push_str(rest);
        self.stored = self.id.len();
        self.summed = self.summed.min(shared);
        Some(())
    }

    /// Adds what is not stored of an id. Those letters are still right whose groups are shared.
    fn add_checksum(&mut self) -> Option<()> {
        (self.stored == 15).then_some(())?;
        let groups = self.id.as_bytes().chunks(5);
        for (letter, group) in self.checksum.iter_mut().zip(groups).skip(self.summed / 5) {
            *letter = checksum_letter(group)?;
        }
        self.summed = self.stored;
        self.checksum.iter().for_each(|letter| self.id.push(char::from(*letter)));
        Some(())
    }

    fn decode_refused(&mut self, block: &mut Block) -> Option<()> {
        self.refused = block.fingerprint()?;
        self.refusal = block.number(Column::Refusal).filter(|number| *number < block.refusals.len())?;
        (self.first, self.last, self.tries) = (0, 0, 1);
        if !block.is_first_version() {
            self.first = block.number(Column::First)?;
            self.last = block.number(Column::Last)?;
            self.tries = block.number(Column::Tries)?.try_into().ok()?;
        }
        Some(())
    }

    fn refused<'a>(&self, block: &'a Block) -> Refused<'a> {
        let Refusal { code, fields } = &block.refusals[self.refusal];
        Refused {
            fingerprint: Fingerprint(self.refused),
            code,
            fields,
            first: instant(self.first),
            last: instant(self.last),
            tries: self.tries,
            released: self.flags & RELEASED != 0,
        }
    }

    fn entry<'a>(&'a self, block: &'a Block) -> Entry<'a> {
        let has = |flag| self.flags & flag != 0;
        Entry {
            key: &self.key,
            accepted: has(ACCEPTED).then_some(Fingerprint(self.accepted)),
            id: has(ID).then_some(self.id.as_str()),
            refused: has(REFUSED).then(|| self.refused(block)),
        }
    }
}

impl Cursor {
    fn take<'a>(&mut self, text: &'a [u8], length: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(length).filter(|end| *end <= self.end)?;
        let bytes = text.get(self.at..end)?;
        self.at = end;
        Some(bytes)
    }

    fn take_text<'a>(&mut self, text: &'a str, length: usize) -> Option<&'a str> {
        let end = self.at.checked_add(length)?;
        let rest = text.get(self.at..end)?;
        self.at = end;
        Some(rest)
    }

    #[inline]
    fn number(&mut self, text: &[u8]) -> Option<usize> {
        // Nearly all are of one byte.
        if let Some(byte @ 0..0x80) = text.get(self.at).filter(|_| self.at < self.end) {
            self.at += 1;
            return Some(usize::from(*byte));
        }
        self.long_number(text)
    }

    fn long_number(&mut self, text: &[u8]) -> Option<usize> {
        let mut number = 0;
        for shift in (0..=28).step_by(7) {
            let byte = self.take(text, 1)?[0];
            number |= usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    const fn is_done(&self) -> bool {
        self.at == self.end
    }
}

/// The last three characters of the 18-character form of a Salesforce id of 15: each says which of five are
/// upper-case. None when it is not made of 15 ASCII letters and digits.
pub(crate) fn id_checksum(short: &str) -> Option<[char; 3]> {
    let groups: &[u8; 15] = short.as_bytes().try_into().ok()?;
    let mut checksum = ['A'; 3];
    for (letter, group) in checksum.iter_mut().zip(groups.chunks(5)) {
        *letter = char::from(checksum_letter(group)?);
    }
    Some(checksum)
}

/// Which of five characters are upper-case. None when one is not an ASCII letter or digit.
#[inline]
fn checksum_letter(group: &[u8]) -> Option<u8> {
    let upper = group.iter().rev().fold(0, |bits, byte| bits << 1 | usize::from(byte.is_ascii_uppercase()));
    group.iter().all(u8::is_ascii_alphanumeric).then(|| b"ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"[upper])
}

/// The first 15 characters of an id whose other three are their checksum.
pub(crate) fn without_checksum(id: &str) -> Option<&str> {
    let (short, rest) = id.split_at_checked(15)?;
    id_checksum(short).is_some_and(|checksum| rest.chars().eq(checksum)).then_some(short)
}

fn check_lengths(entry: &Entry<'_>) -> Result<(), Failure> {
    let (code, fields) = entry.refused.map_or(("", ""), |refused| (refused.code, refused.fields));
    if [entry.key, entry.id.unwrap_or_default(), code, fields].iter().all(|text| text.len() <= MAX_TEXT) {
        return Ok(());
    }
    Err(Failure::bug("a `segment` was given a text longer than it can hold"))
}

#[cold]
fn overlapping() -> Failure {
    Failure::bug("two `segments` overlap, or are not in key order")
}

#[cold]
fn damaged() -> Failure {
    Failure::bug("a `segment` is damaged: what it holds and its checksum or order disagree")
}

/// The order of what two keys do not share. Nearly always it is the first byte that tells.
#[inline]
fn ascends(before: &str, rest: &str) -> bool {
    match (before.as_bytes(), rest.as_bytes()) {
        ([a, ..], [b, ..]) if a != b => a < b,
        _ => before < rest,
    }
}

/// How many bytes both begin with, not splitting a character.
fn shared_prefix(before: &str, text: &str) -> usize {
    let mut shared = keys::shared(before.as_bytes(), text.as_bytes());
    while !(before.is_char_boundary(shared) && text.is_char_boundary(shared)) {
        shared -= 1;
    }
    shared
}

/// Whole seconds since 1970; 0 for an instant that is not known, or that no run can have.
fn seconds(instant: Option<Timestamp>) -> usize {
    let seconds = instant.map_or(0, Timestamp::as_second);
    usize::try_from(seconds).ok().filter(|seconds| *seconds < 1 << 35).unwrap_or(0)
}

fn instant(seconds: usize) -> Option<Timestamp> {
    let seconds = i64::try_from(seconds).ok().filter(|seconds| *seconds > 0)?;
    Timestamp::from_second(seconds).ok()
}

fn push_number(bytes: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        bytes.push((number & 0x7f | 0x80) as u8);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn length(length: usize) -> u32 {
    u32::try_from(length).expect("a block is far smaller than 4 GiB")
}

fn block_head(lengths: [u32; 3]) -> [u8; 12] {
    let mut head = [0; 12];
    for (part, length) in head.chunks_exact_mut(4).zip(lengths) {
        part.copy_from_slice(&length.to_le_bytes());
    }
    head
}

fn block_checksum(number: u64, head: &[u8], packed: &[u8], fingerprints: &[u8]) -> u64 {
    let mut hash = XxHash3_64::with_seed(number);
    hash.write(head);
    hash.write(packed);
    hash.write(fingerprints);
    hash.finish()
}

//! The rows of one Snowflake result partition, as a stream.
//!
//! A partition is a JSON object with the rows under `data`, or a bare array of rows; every cell is a
//! string or null. It is gzip or plain: the first two bytes decide, not a header that a proxy may have
//! changed. Decoding keeps a window of the text in memory, never the partition: the window grows only
//! for a row that is larger than it.
//!
//! <https://docs.snowflake.com/en/developer-guide/sql-api/handling-responses>

mod index;

use std::{
    cell::{Cell, OnceCell},
    io::{self, BufReader, Chain, Cursor, Read},
    ops::Range,
};

use flate2::bufread::MultiGzDecoder;
use memchr::memchr;
use simdutf8::compat::from_utf8;

use crate::{Class, Failure, document::Scan};
use index::{COMMAS, Index};

/// Bytes of decoded text that are held at once, as long as every row fits.
pub const WINDOW: usize = 512 * 1024;

/// The largest row that is read, in bytes of its JSON. Snowflake's largest value has 128 MiB.
pub const LONGEST_ROW: usize = 256 * 1024 * 1024;

/// Bytes that a short cell has at most.
pub(crate) const SHORT: usize = 48;

/// The rows of a partition, in order. Each row is lent until the next is asked for.
pub struct Rows<'a> {
    window: Window<'a>,
    place: Place,
    /// The rows are a value of an object, so that something follows the array.
    in_object: bool,
    /// Rows handed out so far.
    count: u64,
    /// Cells of the first row, and so of every row.
    width: Option<usize>,
    spans: Spans,
    /// The cells of the current row that hold escapes of other characters than quotes, decoded, one after
    /// the other.
    decoded: String,
    lazy: Lazy,
}

/// A row of a partition.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    /// The window that the row stands in; the row itself is UTF-8.
    text: &'a [u8],
    decoded: &'a str,
    lazy: &'a Lazy,
    spans: &'a [Span],
    /// Some cell is broken.
    broken: bool,
}

/// A cell as it stands in the partition, with what is known of it.
#[derive(Clone, Copy)]
pub(crate) enum Raw<'a> {
    /// NULL.
    Null,
    /// Text without escapes, commas and control characters.
    Clean(&'a [u8]),
    /// The same, but with commas.
    Commas(&'a [u8]),
    /// Text without control characters in which every backslash stands before a quote.
    Quotes(&'a [u8]),
    /// Anything else; there may be no such cell.
    Other,
}

/// A short cell that is not empty: so many of the first bytes. What follows them is more of the window, and no digit.
#[derive(Clone, Copy)]
pub(crate) enum Short<'a> {
    /// NULL.
    Null,
    /// Text without escapes, commas and control characters.
    Clean(&'a [u8; SHORT], usize),
    /// The same, but with commas.
    Commas(&'a [u8; SHORT], usize),
}

/// The cells of a row whose only escapes are those of quotes, without them: made when one is asked for.
#[derive(Default)]
struct Lazy {
    made: OnceCell<Unquoted>,
    /// What was made for a row before, for its memory.
    spare: Cell<Unquoted>,
}

/// Texts one after the other, and where the text of each cell is.
#[derive(Default)]
struct Unquoted {
    text: String,
    places: Vec<(usize, usize)>,
}

/// Reads a partition to its end, so that truncation and damage are found while it can still be
/// fetched again, and says what is in it. An empty key counts as no key, as it does in [`crate::map`].
///
/// # Errors
/// As [`Rows::next`], and [`Class::Bug`] when the rows have no cell `key_column`.
pub fn scan(input: impl Read, key_column: usize) -> Result<Scan, Failure> {
    let mut rows = Rows::new(input);
    let mut scan = Scan::default();
    let mut last = Vec::new();
    while let Some(row) = rows.next()? {
        row.require(key_column + 1)?;
        scan.rows += 1;
        if let Some(key) = row.key(key_column) {
            last.clear();
            last.extend_from_slice(key);
            scan.first_key.get_or_insert_with(|| checked(key).to_owned());
        }
    }
    scan.last_key = scan.first_key.is_some().then(|| checked(&last).to_owned());
    Ok(scan)
}

impl<'a> Rows<'a> {
    /// The rows of `input`. Nothing is read before the first row is asked for.
    pub fn new(input: impl Read + 'a) -> Self {
        Self {
            window: Window::new(Box::new(input)),
            place: Place::Before,
            in_object: false,
            count: 0,
            width: None,
            spans: Spans::default(),
            decoded: String::new(),
            lazy: Lazy::default(),
        }
    }

    /// The next row, or none after the last one: then the input has been read to its end, and the
    /// checksum of every gzip member was right.
    ///
    /// # Errors
    /// [`Class::Transient`] when the input is truncated, damaged or not of this shape: it may come whole
    /// when it is fetched again. [`Class::Configuration`] when a row is longer than [`LONGEST_ROW`].
    /// A [`Failure`] inside an I/O error of the input is returned as it is.
    #[allow(clippy::should_implement_trait)] // A row is lent, an iterator's item is not.
    pub fn next(&mut self) -> Result<Option<Row<'_>>, Failure> {
        match self.advance() {
            Ok(None) => Ok(None),
            Ok(Some(Found { range, escapes })) => {
                let known = range.end <= self.window.valid;
                let text = self.window.buffer.as_slice();
                if !known && from_utf8(&text[range]).is_err() {
                    return Err(self.damage("is not UTF-8"));
                }
                let whole = !escapes
                    || decode(text, &mut self.spans.room[..self.spans.found], &mut self.decoded)
                        .map_err(|problem| damaged(self.count, problem))?;
                self.count += 1;
                self.lazy.reset();
                let (decoded, lazy, spans) = (&self.decoded, &self.lazy, self.spans.all());
                Ok(Some(Row { text, decoded, lazy, spans, broken: !whole }))
            }
            Err(Trouble::Shape(problem)) => Err(self.damage(problem)),
            Err(Trouble::TooLong) => Err(self.too_long()),
            Err(Trouble::Read(error)) => Err(self.unreadable(&error)),
        }
    }

    /// Finds the next row and its cells.
    fn advance(&mut self) -> Result<Option<Found>, Trouble> {
        if self.place == Place::Before {
            self.open()?;
        }
        if self.place == Place::After || self.closed()? {
            return Ok(None);
        }
        loop {
            let Window { buffer, start, end, index, .. } = &mut self.window;
            match tokenize(&buffer[..*end], *start, index, &mut self.spans).map_err(Trouble::Shape)? {
                Some(found) => {
                    if *self.width.get_or_insert(self.spans.found) != self.spans.found {
                        return Err(Trouble::Shape("has rows of different lengths"));
                    }
                    *start = found.range.end;
                    return Ok(Some(found));
                }
                None if !self.window.fill()? => return Err(Trouble::Shape("is cut short")),
                None => {}
            }
        }
    }

    /// Goes to the first byte after the `[` that holds the rows.
    fn open(&mut self) -> Result<(), Trouble> {
        match self.window.token()? {
            b'[' => {}
            b'{' => {
                self.in_object = true;
                self.window.start += 1;
                self.find_data()?;
            }
            _ => return Err(Trouble::Shape("is not a JSON object or array")),
        }
        self.window.expect(b'[', "has no array of rows")?;
        self.window.index.restart(self.window.start);
        self.place = Place::Within;
        Ok(())
    }

    /// Skips the members of the object until the value of `data`.
    fn find_data(&mut self) -> Result<(), Trouble> {
        let mut name = Vec::new();
        loop {
            self.window.member(&mut name)?;
            if name == b"data" {
                return Ok(());
            }
            self.window.skip_value()?;
            self.window.expect(b',', "has no member `data`")?;
        }
    }

    /// Goes to the next row; true when there is none, then to the end of the input.
    fn closed(&mut self) -> Result<bool, Trouble> {
        if self.place == Place::Between && self.window.is_next_row() {
            return Ok(false);
        }
        if self.window.token()? == b']' {
            self.window.start += 1;
            self.finish()?;
            return Ok(true);
        }
        if self.place == Place::Between {
            self.window.expect(b',', "has no comma before a row")?;
        }
        if self.window.token()? != b'[' {
            return Err(Trouble::Shape("has a row that is not an array"));
        }
        self.place = Place::Between;
        Ok(false)
    }

    /// Reads what follows the rows, to the end of the input.
    fn finish(&mut self) -> Result<(), Trouble> {
        let mut name = Vec::new();
        while self.in_object && self.window.token()? != b'}' {
            self.window.expect(b',', "has no comma between members")?;
            self.window.member(&mut name)?;
            if name == b"data" {
                return Err(Trouble::Shape("has two members `data`"));
            }
            self.window.skip_value()?;
        }
        self.window.start += usize::from(self.in_object);
        self.place = Place::After;
        match self.window.token() {
            Err(Trouble::Shape(_)) => Ok(()),
            Err(trouble) => Err(trouble),
            Ok(_) => Err(Trouble::Shape("goes on after its end")),
        }
    }

    fn damage(&self, problem: &str) -> Failure {
        damaged(self.count, problem)
    }

    fn too_long(&self) -> Failure {
        let problem = format!("row {} of the partition is longer than {LONGEST_ROW} bytes", self.count + 1);
        Failure::configuration(problem).hint("leave large values out of the model")
    }

    fn unreadable(&self, error: &io::Error) -> Failure {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Failure>());
        inner.cloned().unwrap_or_else(|| damaged(self.count, &format!("cannot be read ({})", error.kind())))
    }
}

impl<'a> Row<'a> {
    /// How many cells there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// There is no cell.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The text of a cell without its escapes; none for NULL and for a cell that does not exist.
    /// Numbers and booleans without quotes are text too.
    #[must_use]
    pub fn cell(&self, index: usize) -> Option<&'a str> {
        let span = self.spans.get(index)?;
        let (start, end) = (span.start as usize, span.end as usize);
        match span.form() {
            Form::Null => None,
            Form::Clean | Form::Commas | Form::Plain => Some(checked(&self.text[start..end])),
            Form::Quotes => Some(self.lazy.text(self, index)),
            Form::Escaped | Form::Decoded | Form::Broken => Some(&self.decoded[start..end]),
        }
    }

    /// A cell, when it is one of those that nearly all are.
    #[inline]
    pub(crate) fn short(&self, index: usize) -> Option<Short<'a>> {
        let span = self.spans.get(index)?;
        if span.held > COMMAS {
            return (span.held == NULL).then_some(Short::Null);
        }
        let (start, length) = (span.start as usize, (span.end - span.start) as usize);
        let text = self.text.get(start..start + SHORT)?.first_chunk()?;
        let is_short = length.wrapping_sub(1) < SHORT;
        is_short.then_some(if span.held == 0 {
            Short::Clean(text, length)
        } else {
            Short::Commas(text, length)
        })
    }

    /// A text without escapes, commas and control characters.
    pub(crate) fn is_clean(&self, index: usize) -> bool {
        self.spans.get(index).is_some_and(|span| span.held == 0)
    }

    /// A cell as it stands in the partition.
    #[inline]
    pub(crate) fn raw(&self, index: usize) -> Raw<'a> {
        let Some(span) = self.spans.get(index) else { return Raw::Other };
        let kind = match span.form() {
            Form::Null => return Raw::Null,
            Form::Clean => Raw::Clean,
            Form::Commas => Raw::Commas,
            Form::Quotes => Raw::Quotes,
            Form::Plain | Form::Escaped | Form::Decoded | Form::Broken => return Raw::Other,
        };
        kind(&self.text[span.start as usize..span.end as usize])
    }

    /// The cell held half of a surrogate pair, which is no character: U+FFFD stands in its place.
    #[must_use]
    pub fn is_broken(&self, index: usize) -> bool {
        self.broken && self.spans.get(index).is_some_and(|span| span.held == BROKEN)
    }

    /// The bytes of the key cell, which are UTF-8, when it can name a record: not null, not empty, not broken.
    #[must_use]
    pub fn key(&self, index: usize) -> Option<&'a [u8]> {
        let key = match self.raw(index) {
            Raw::Clean(key) | Raw::Commas(key) => Some(key),
            _ => self.cell(index).map(str::as_bytes),
        };
        key.filter(|key| !key.is_empty() && !self.is_broken(index))
    }

    /// Checks that there are at least so many cells.
    ///
    /// # Errors
    /// [`Class::Bug`] when there are fewer.
    pub fn require(&self, cells: usize) -> Result<(), Failure> {
        if self.len() >= cells {
            return Ok(());
        }
        Err(Failure::bug(format!("a row has {} cells, and {cells} are to be read", self.len())))
    }
}

impl Lazy {
    fn reset(&mut self) {
        if let Some(made) = self.made.take() {
            self.spare.set(made);
        }
    }

    /// The text of a cell of this row.
    fn text<'a>(&'a self, row: &Row<'_>, index: usize) -> &'a str {
        let made = self.made.get_or_init(|| self.spare.take().of(row));
        made.places.get(index).map_or("", |(start, end)| &made.text[*start..*end])
    }
}

impl Unquoted {
    fn of(mut self, row: &Row<'_>) -> Self {
        self.text.clear();
        self.places.clear();
        for span in row.spans {
            let start = self.text.len();
            if span.form() == Form::Quotes {
                let text = checked(&row.text[span.start as usize..span.end as usize]);
                unescape(text, &mut self.text).expect("every backslash stands before a quote");
            }
            self.places.push((start, self.text.len()));
        }
        self
    }
}

/// The text of a cell.
fn checked(cell: &[u8]) -> &str {
    from_utf8(cell).expect("a row is lent when it is UTF-8")
}

fn damaged(rows_before: u64, problem: &str) -> Failure {
    Failure::new(Class::Transient, format!("the partition {problem} (at row {})", rows_before + 1))
}

/// Where the reader stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Before,
    Within,
    Between,
    After,
}

/// Why there is no next row.
enum Trouble {
    Shape(&'static str),
    TooLong,
    Read(io::Error),
}

/// Where a row is in the window, and whether a cell holds other escapes than those of quotes.
struct Found {
    range: Range<usize>,
    escapes: bool,
}

/// Where a cell is: in the text that the row stands in, or among the decoded cells.
#[derive(Clone, Copy, Default)]
struct Span {
    start: u32,
    end: u32,
    /// What a string holds, as [`Index`] found it, or one of the following.
    held: u8,
}

const NULL: u8 = 8;
const DECODED: u8 = 9;
const BROKEN: u8 = 10;

/// What a cell is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Null,
    /// Nothing of what follows.
    Clean,
    /// Commas, but no control characters and no escapes.
    Commas,
    /// Control characters, but no escapes.
    Plain,
    /// Escapes of quotes, but no control characters.
    Quotes,
    /// Other escapes; they are decoded before the row is lent.
    Escaped,
    Decoded,
    Broken,
}

impl Span {
    fn form(&self) -> Form {
        use Form::{Broken, Clean, Commas, Decoded, Escaped, Null, Plain, Quotes};
        const FORMS: [Form; 11] =
            [Clean, Commas, Plain, Plain, Quotes, Quotes, Escaped, Escaped, Null, Decoded, Broken];
        FORMS[self.held as usize]
    }
}

/// The cells of a row that have been found, and room for more.
#[derive(Default)]
struct Spans {
    room: Vec<Span>,
    found: usize,
}

impl Spans {
    fn all(&self) -> &[Span] {
        &self.room[..self.found]
    }

    /// Room for at least one more.
    fn free(&mut self) -> &mut [Span] {
        if self.found == self.room.len() {
            self.room.resize(2 * self.found + 16, Span::default());
        }
        &mut self.room[self.found..]
    }

    #[inline]
    fn push(&mut self, span: Span) {
        self.free()[0] = span;
        self.found += 1;
    }
}

/// Splits the row that begins at `start` into cells, without looking into them. None when it does not end in `bytes`.
fn tokenize(
    bytes: &[u8],
    start: usize,
    index: &mut Index,
    spans: &mut Spans,
) -> Result<Option<Found>, &'static str> {
    spans.found = 0;
    let mut escapes = false;
    let mut at = skip_blank(bytes, start + 1);
    if bytes.get(at) == Some(&b']') {
        return Ok(Some(Found { range: start..at + 1, escapes }));
    }
    loop {
        let is_string = bytes.get(at) == Some(&b'"');
        let end = if is_string { index.strings(bytes, spans, &mut escapes) } else { word(bytes, at, spans)? };
        let Some(end) = end else { return Ok(None) };
        at = end;
        if matches!(bytes.get(at), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            at = skip_blank(bytes, at);
        }
        match bytes.get(at) {
            Some(b',') => at += 1,
            Some(b']') => return Ok(Some(Found { range: start..at + 1, escapes })),
            Some(_) => return Err("has a cell without a comma after it"),
            None => return Ok(None),
        }
        if bytes.get(at) != Some(&b'"') {
            at = skip_blank(bytes, at);
        }
    }
}

/// Adds a cell without quotes: `null`, or a number or boolean, which becomes its text. Where it ends, when it does.
fn word(bytes: &[u8], at: usize, spans: &mut Spans) -> Result<Option<usize>, &'static str> {
    // Nearly all are this one, and most of those stand before another cell.
    if bytes[at..].starts_with(b"null,") {
        spans.push(Span { start: at as u32, end: at as u32 + 4, held: NULL });
        return Ok(Some(at + 4));
    }
    let is_part = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
    let length = bytes[at..].iter().take_while(|b| is_part(b)).count();
    let end = at + length;
    if end == bytes.len() {
        return Ok(None);
    }
    let held = match &bytes[at..end] {
        [] => return Err("has a cell that is not text"),
        b"null" => NULL,
        _ => 0,
    };
    spans.push(Span { start: at as u32, end: end as u32, held });
    Ok(Some(end))
}

fn skip_blank(bytes: &[u8], at: usize) -> usize {
    let blank = |b: &u8| matches!(b, b' ' | b'\t' | b'\r' | b'\n');
    at + bytes[at.min(bytes.len())..].iter().take_while(|b| blank(b)).count()
}

/// Decodes every cell that holds another escape than that of a quote, and lets its span point to the decoded
/// text. False when one is broken.
fn decode(text: &[u8], spans: &mut [Span], decoded: &mut String) -> Result<bool, &'static str> {
    decoded.clear();
    let mut all_whole = true;
    for span in spans.iter_mut().filter(|span| span.form() == Form::Escaped) {
        let start = decoded.len();
        let whole = unescape(checked(&text[span.start as usize..span.end as usize]), decoded)?;
        let held = if whole { DECODED } else { BROKEN };
        *span = Span { start: start as u32, end: decoded.len() as u32, held };
        all_whole &= whole;
    }
    Ok(all_whole)
}

/// Appends the text of a JSON string without its escapes; false when it held half of a surrogate pair.
fn unescape(mut text: &str, out: &mut String) -> Result<bool, &'static str> {
    let mut whole = true;
    while let Some(at) = memchr(b'\\', text.as_bytes()) {
        out.push_str(&text[..at]);
        let plain = match text.as_bytes().get(at + 1) {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'n') => '\n',
            Some(b't') => '\t',
            Some(b'r') => '\r',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'u') => {
                let (character, length) = code_unit(&text[at..])?;
                whole &= character.is_some();
                out.push(character.unwrap_or(char::REPLACEMENT_CHARACTER));
                text = &text[at + length..];
                continue;
            }
            _ => return Err("has an unknown escape"),
        };
        out.push(plain);
        text = &text[at + 2..];
    }
    out.push_str(text);
    Ok(whole)
}

/// The character of a `\uXXXX` or of a pair of them, and how many bytes it takes; no character when
/// it is half of a pair.
fn code_unit(text: &str) -> Result<(Option<char>, usize), &'static str> {
    let first = hexadecimal(text).ok_or("has an escape that is not hexadecimal")?;
    if !(0xD800..0xDC00).contains(&first) {
        return Ok((char::from_u32(first), 6));
    }
    match hexadecimal(&text[6..]) {
        Some(second) if (0xDC00..0xE000).contains(&second) => {
            Ok((char::from_u32(0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00)), 12))
        }
        _ => Ok((None, 6)),
    }
}

/// The number of a `\uXXXX` at the beginning of the text.
fn hexadecimal(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    digits.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok())?
}

/// The decoded text that has been read and not yet used.
struct Window<'a> {
    source: Source<'a>,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// What is before this is UTF-8. What is not may be a character that is cut, or stand where nobody reads.
    valid: usize,
    /// The strings of the rows that have been read.
    index: Index,
}

/// An input with the bytes in front of it that were read to tell its packing.
type Restored<'a> = Chain<Cursor<Vec<u8>>, Input<'a>>;

type Input<'a> = Box<dyn Read + 'a>;

enum Source<'a> {
    Unopened(Input<'a>),
    Plain(Restored<'a>),
    Gzip(Box<MultiGzDecoder<BufReader<Restored<'a>>>>),
    Ended,
}

impl<'a> Window<'a> {
    fn new(input: Input<'a>) -> Self {
        let (source, index) = (Source::Unopened(input), Index::new());
        Self { source, buffer: Vec::new(), start: 0, end: 0, valid: 0, index }
    }

    fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Moves what is left to the front and reads until the window is full. False when the input has
    /// ended and nothing was added.
    fn fill(&mut self) -> Result<bool, Trouble> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.valid = self.valid.saturating_sub(self.start);
        self.start = 0;
        self.index.restart(0);
        if self.end == self.buffer.len() {
            let size = (self.buffer.len() * 2).clamp(WINDOW, LONGEST_ROW);
            if size == self.buffer.len() {
                return Err(Trouble::TooLong);
            }
            self.buffer.resize(size, 0);
        }
        let before = self.end;
        while self.end < self.buffer.len() {
            match self.source.read(&mut self.buffer[self.end..]) {
                Ok(0) => break,
                Ok(read) => self.end += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Trouble::Read(error)),
            }
        }
        self.validate();
        Ok(self.end > before)
    }

    /// Checks what was added; all at once is faster than row by row.
    fn validate(&mut self) {
        let added = &self.buffer[self.valid..self.end];
        self.valid += from_utf8(added).map_or_else(|error| error.valid_up_to(), str::len);
    }

    /// Goes to the row behind a comma, and maybe a line feed, when it is there: that is how all but the last row end.
    #[inline]
    fn is_next_row(&mut self) -> bool {
        let gap = match self.bytes() {
            [b',', b'[', ..] => 1,
            [b',', b'\n', b'[', ..] => 2,
            _ => return false,
        };
        self.start += gap;
        true
    }

    /// The next byte that is not blank; it is not used up.
    #[inline]
    fn token(&mut self) -> Result<u8, Trouble> {
        match self.bytes().first() {
            Some(&byte) if byte > b' ' => Ok(byte),
            _ => self.skip_to_token(),
        }
    }

    fn skip_to_token(&mut self) -> Result<u8, Trouble> {
        loop {
            self.start += skip_blank(self.bytes(), 0);
            if let Some(&byte) = self.bytes().first() {
                return Ok(byte);
            }
            if !self.fill()? {
                return Err(Trouble::Shape("is cut short"));
            }
        }
    }

    /// Uses up the next byte that is not blank, which must be this one.
    fn expect(&mut self, byte: u8, problem: &'static str) -> Result<(), Trouble> {
        if self.token()? != byte {
            return Err(Trouble::Shape(problem));
        }
        self.start += 1;
        Ok(())
    }

    /// The next byte, used up.
    fn byte(&mut self) -> Result<u8, Trouble> {
        if self.start == self.end && !self.fill()? {
            return Err(Trouble::Shape("is cut short"));
        }
        self.start += 1;
        Ok(self.buffer[self.start - 1])
    }

    /// Reads the name of a member and its colon.
    fn member(&mut self, name: &mut Vec<u8>) -> Result<(), Trouble> {
        name.clear();
        self.expect(b'"', "has no member `data`")?;
        loop {
            match self.byte()? {
                b'"' => break,
                b'\\' => name.push(self.byte()?),
                other => name.push(other),
            }
        }
        self.expect(b':', "has a member without a value")
    }

    /// Skips one value of any size.
    fn skip_value(&mut self) -> Result<(), Trouble> {
        let mut depth = 0_u32;
        loop {
            match self.token()? {
                b'"' => self.skip_string()?,
                b'[' | b'{' => depth += 1,
                b']' | b'}' if depth > 0 => depth -= 1,
                b',' | b']' | b'}' if depth == 0 => return Ok(()),
                _ => {}
            }
            self.start += 1;
            if depth == 0 && matches!(self.token()?, b',' | b'}' | b']') {
                return Ok(());
            }
        }
    }

    /// Skips a string up to its closing quote, which is left.
    fn skip_string(&mut self) -> Result<(), Trouble> {
        self.start += 1;
        loop {
            match self.byte()? {
                b'"' => break,
                b'\\' => drop(self.byte()?),
                _ => {}
            }
        }
        self.start -= 1;
        Ok(())
    }
}

impl Source<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self {
                Self::Unopened(_) => self.open()?,
                Self::Plain(input) => return input.read(buffer),
                Self::Gzip(input) => return input.read(buffer),
                Self::Ended => return Ok(0),
            }
        }
    }

    /// Looks at the first two bytes: `1f 8b` begins a gzip member.
    fn open(&mut self) -> io::Result<()> {
        let Self::Unopened(mut input) = std::mem::replace(self, Self::Ended) else { return Ok(()) };
        let mut magic = Vec::with_capacity(2);
        input.by_ref().take(2).read_to_end(&mut magic)?;
        let is_gzip = magic == [0x1f, 0x8b];
        let input = Cursor::new(magic).chain(input);
        *self = if is_gzip {
            Self::Gzip(Box::new(MultiGzDecoder::new(BufReader::with_capacity(64 * 1024, input))))
        } else {
            Self::Plain(input)
        };
        Ok(())
    }
}

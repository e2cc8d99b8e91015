//! CSV as Bulk API 2.0 takes it: UTF-8 without a byte order mark, commas, LF at the end of a line.
//!
//! A cell is quoted when it holds a comma, a quote, CR or LF, or begins or ends with a space or tab;
//! a quote inside is doubled. Anything else, an apostrophe too, is written as it is.
//!
//! <https://developer.salesforce.com/docs/atlas.en-us.api_asynch.meta/api_asynch/datafiles_prepare_csv.htm>

use crate::mapping::Mapping;

/// The header line of every upload of this mapping, with its line feed.
#[must_use]
pub fn header(mapping: &Mapping) -> String {
    let mut out = Vec::new();
    line(&mut out, mapping.assignments.iter().map(|assignment| assignment.header.as_str()));
    String::from_utf8(out).expect("text and separators are text")
}

/// Appends a line of cells, with its line feed.
pub fn line<'a>(out: &mut Vec<u8>, cells: impl IntoIterator<Item = &'a str>) {
    for (index, text) in cells.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        cell(out, text);
    }
    out.push(b'\n');
}

/// Appends a cell, quoted when it has to be. An empty text is an empty cell.
pub fn cell(out: &mut Vec<u8>, text: &str) {
    if needs_quotes(text.as_bytes()) {
        quoted(out, text.as_bytes());
    } else {
        out.extend_from_slice(text.as_bytes());
    }
}

/// Appends a cell in quotes.
pub(crate) fn quoted(out: &mut Vec<u8>, mut text: &[u8]) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    while let Some(at) = memchr::memchr(b'"', text) {
        out.extend_from_slice(&text[..=at]);
        out.push(b'"');
        text = &text[at + 1..];
    }
    out.extend_from_slice(text);
    out.push(b'"');
}

/// Where the first `rows` rows end; none when there are fewer. A line feed within quotes ends none.
pub(crate) fn end_of_rows(csv: &[u8], rows: u64) -> Option<usize> {
    let (mut quoted, mut left) = (false, rows);
    for (at, byte) in csv.iter().enumerate() {
        if left == 0 {
            return Some(at);
        }
        quoted ^= *byte == b'"';
        left -= u64::from(*byte == b'\n' && !quoted);
    }
    (left == 0).then_some(csv.len())
}

/// A row that is written cell by cell, each with a comma after it.
///
/// Most cells are short. Room for one is kept at the end: copying as much as it may be needs no call, and what was
/// copied too much is written over by the next.
#[derive(Default)]
pub struct Line {
    /// The cells, and room. What is behind `end` means nothing.
    bytes: Vec<u8>,
    end: usize,
    /// What a cell was made in that could not be written in place, for its memory.
    spare: Vec<u8>,
}

/// Room for a short cell and its comma.
pub(crate) const ROOM: usize = 64;

impl Line {
    /// Begins a new row.
    pub const fn clear(&mut self) {
        self.end = 0;
    }

    /// The cells so far, each with its comma.
    #[must_use]
    pub fn cells(&self) -> &[u8] {
        &self.bytes[..self.end]
    }

    /// The row, when all its cells are written.
    #[must_use]
    pub fn row(&self) -> &[u8] {
        self.cells().strip_suffix(b",").unwrap_or_default()
    }

    /// Where a short cell goes, if there is room; [`Self::wrote`] adds it.
    #[inline]
    pub(crate) fn room(&mut self) -> Option<&mut [u8; ROOM]> {
        self.bytes.get_mut(self.end..)?.first_chunk_mut()
    }

    /// So many bytes of the room are a cell and its comma.
    #[inline]
    pub(crate) const fn wrote(&mut self, length: usize) {
        self.end += length;
    }

    /// Adds a cell that is written as it is.
    pub(crate) fn push(&mut self, cell: &[u8]) {
        self.take(cell.len() + 1)[..cell.len()].copy_from_slice(cell);
    }

    /// Adds in quotes a cell that holds none.
    pub(crate) fn push_quoted(&mut self, text: &[u8]) {
        self.take_quoted(text.len()).copy_from_slice(text);
    }

    /// Adds in quotes a cell in which a backslash stands before every quote, and nowhere else. A quote is doubled in
    /// CSV, so a quote in the place of the backslash is all it takes.
    pub(crate) fn push_escaped(&mut self, text: &[u8]) {
        for (to, from) in self.take_quoted(text.len()).iter_mut().zip(text) {
            *to = if *from == b'\\' { b'"' } else { *from };
        }
    }

    /// Adds what `write` makes of an empty cell; an empty cell when that fails.
    pub(crate) fn push_with<T, E>(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut cell = std::mem::take(&mut self.spare);
        cell.clear();
        let written = write(&mut cell);
        self.push(if written.is_ok() { &cell } else { b"" });
        self.spare = cell;
        written
    }

    /// So many bytes between quotes.
    fn take_quoted(&mut self, length: usize) -> &mut [u8] {
        let cell = self.take(length + 3);
        (cell[0], cell[length + 1]) = (b'"', b'"');
        &mut cell[1..=length]
    }

    /// So many bytes, the last of which is a comma, and room behind them.
    #[inline]
    fn take(&mut self, length: usize) -> &mut [u8] {
        let start = self.end;
        self.end += length;
        if self.bytes.len() < self.end + ROOM {
            let more = self.bytes.len() / 2 * 3;
            self.bytes.resize(more.max(self.end + ROOM), b',');
        }
        self.bytes[self.end - 1] = b',';
        &mut self.bytes[start..self.end]
    }
}

fn needs_quotes(text: &[u8]) -> bool {
    has_outer_blank(text)
        || text.iter().fold(false, |found, b| found | matches!(b, b',' | b'"' | b'\r' | b'\n'))
}

/// Begins or ends with a space or a tab.
pub(crate) fn has_outer_blank(text: &[u8]) -> bool {
    matches!(text.first(), Some(b' ' | b'\t')) || matches!(text.last(), Some(b' ' | b'\t'))
}

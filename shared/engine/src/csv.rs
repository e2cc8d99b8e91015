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

/// Appends the first `length` bytes of `tail`. Most are short: a copy of a fixed size needs no call, and what
/// was copied too much is taken back.
#[inline]
pub(crate) fn copy(out: &mut Vec<u8>, tail: &[u8], length: usize) {
    const SHORT: usize = 48;
    match tail.first_chunk::<SHORT>() {
        Some(short) if length <= SHORT => {
            let end = out.len() + length;
            out.extend_from_slice(short);
            out.truncate(end);
        }
        _ => out.extend_from_slice(&tail[..length]),
    }
}

/// Appends a cell without quotes in quotes.
pub(crate) fn quoted_as_is(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    out.extend_from_slice(text);
    out.push(b'"');
}

/// Appends in quotes a cell in which a backslash stands before every quote, and nowhere else. A quote is doubled
/// in CSV, so a quote in the place of the backslash is all it takes.
pub(crate) fn quoted_escaped(out: &mut Vec<u8>, text: &[u8]) {
    let start = out.len();
    quoted_as_is(out, text);
    out[start..].iter_mut().for_each(|byte| *byte = if *byte == b'\\' { b'"' } else { *byte });
}

fn needs_quotes(text: &[u8]) -> bool {
    has_outer_blank(text)
        || text.iter().fold(false, |found, b| found | matches!(b, b',' | b'"' | b'\r' | b'\n'))
}

/// Begins or ends with a space or a tab.
pub(crate) fn has_outer_blank(text: &[u8]) -> bool {
    matches!(text.first(), Some(b' ' | b'\t')) || matches!(text.last(), Some(b' ' | b'\t'))
}

//! CSV records, read one by one: those of Salesforce's result files, and our own.

use std::{
    borrow::Cow,
    io::{self, Read},
};

use crate::{Failure, segment::stream_failure};

/// Counts the records of a result file while it passes, without its header. A record that was cut off is not counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counter {
    quoted: bool,
    filled: bool,
    lines: u64,
}

impl Counter {
    /// Takes the next bytes of the file.
    pub fn pass(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                b'"' => self.quoted = !self.quoted,
                b'\n' if !self.quoted => {
                    self.lines += u64::from(self.filled);
                    self.filled = false;
                    continue;
                }
                _ => {}
            }
            self.filled |= !matches!(byte, b'\r' | 0);
        }
    }

    /// The records so far. The last one needs no line feed, if its quotes are closed.
    #[must_use]
    pub fn records(&self) -> u64 {
        (self.lines + u64::from(self.filled && !self.quoted)).saturating_sub(1)
    }
}

/// The largest record that is read: Salesforce takes 400,000 characters, and adds an id and an error.
const MAX_RECORD: usize = 16 << 20;
const BOM: &[u8] = b"\xef\xbb\xbf";

/// A result file, read record by record: never more than one record and a buffer is in memory. NULs are dropped.
///
/// Tolerant where results were seen to be careless: a quote within a quoted cell ends it only before a comma or
/// the end of the record. A record ends at a line feed with an even number of quotes before it.
pub(crate) struct Csv<'a> {
    name: &'static str,
    input: &'a mut dyn Read,
    buffer: Vec<u8>,
    /// What of the buffer is filled and not yet read.
    at: usize,
    filled: usize,
    ended: bool,
    cells: Vec<Cell>,
    /// Where the record is, without its line feed.
    record: std::ops::Range<usize>,
}

/// Where a cell is in the buffer, and whether it holds doubled quotes.
#[derive(Clone, Copy)]
struct Cell {
    from: usize,
    to: usize,
    escaped: bool,
}

impl<'a> Csv<'a> {
    pub(crate) fn new(name: &'static str, input: &'a mut dyn Read) -> Self {
        let buffer = vec![0; 256 << 10];
        Self { name, input, buffer, at: 0, filled: 0, ended: false, cells: Vec::new(), record: 0..0 }
    }

    /// Goes to the header, past a byte order mark. False when there is none.
    pub(crate) fn header(&mut self) -> Result<bool, Failure> {
        while self.filled < BOM.len() && !self.ended {
            self.fill()?;
        }
        if self.buffer[..self.filled].starts_with(BOM) {
            self.at = BOM.len();
        }
        self.next(usize::MAX)
    }

    /// Goes to the next record and finds its first cells, up to `wanted` of them. False at the end.
    pub(crate) fn next(&mut self, wanted: usize) -> Result<bool, Failure> {
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
        self.record = at..end;
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

    pub(crate) const fn len(&self) -> usize {
        self.cells.len()
    }

    /// The record as it is written, without its line feed.
    pub(crate) fn raw(&self) -> &[u8] {
        &self.buffer[self.record.clone()]
    }

    /// The text of a cell; empty when there is no such cell, or it is not UTF-8.
    pub(crate) fn cell(&self, cell: usize) -> Cow<'_, str> {
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

/// Writes a decimal in the one form that all spellings of the same number have: sign, digits without zeros at either
/// end, power of ten. `912260031`, `912260031.0` and `9.12260031E8` become the same. None when it is not a decimal.
pub(crate) fn push_number(out: &mut String, text: &str) -> Option<()> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_counted_however_the_bytes_are_cut() {
        for (file, records) in [
            ("", 0),
            ("\"a\",b\n", 0),
            ("\"a\",b\n1,2\n", 1),
            ("\"a\",b\n1,2", 1),
            ("a,b\r\n1,2\r\n\r\n3,4\r\n", 2),
            ("a,b\n\"1\n\"\"2\"\"\",3\n\"4\",5\n", 2),
            ("a,b\n\"1\",\"cut", 0),
        ] {
            for size in 1..=file.len().max(1) {
                let mut counter = Counter::default();
                file.as_bytes().chunks(size).for_each(|bytes| counter.pass(bytes));
                assert_eq!(counter.records(), records, "{file:?} by {size}");
            }
        }
    }
}

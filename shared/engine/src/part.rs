//! Rows that are taken out of a fragment: what they were, row for row, under another name.

use crate::{
    Failure, csv,
    document::Fragment,
    segment::{Entry, Reader, Writer},
};

/// A fragment, or a part of one, with its rows.
pub struct Part {
    /// What the plan knows of it.
    pub fragment: Fragment,
    /// Its CSV.
    pub csv: Vec<u8>,
    /// The segment of its keys.
    pub sent: Vec<u8>,
}

/// A part being filled.
pub(crate) struct Building {
    csv: Vec<u8>,
    sent: Writer<Vec<u8>>,
    rows: u64,
}

impl Part {
    /// Calls `each` with the CSV row, its line feed included, and the entry of every row.
    ///
    /// # Errors
    /// [`crate::Class::Bug`] when CSV, segment and fragment are not of the same rows; whatever `each` fails with.
    pub(crate) fn each(
        &self,
        mut each: impl FnMut(&[u8], &Entry<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let torn = || Failure::bug(format!("`{}` holds other rows than its keys say", self.fragment.file));
        let (mut csv, mut rows) = (self.csv.as_slice(), 0);
        let mut keys = Reader::new(self.sent.as_slice());
        while let Some(entry) = keys.advance()? {
            let (row, rest) = csv.split_at(csv::end_of_rows(csv, 1).ok_or_else(torn)?);
            each(row, &entry)?;
            (csv, rows) = (rest, rows + 1);
        }
        if csv.is_empty() && rows == self.fragment.rows { Ok(()) } else { Err(torn()) }
    }
}

impl Building {
    pub(crate) fn new() -> Self {
        Self { csv: Vec::new(), sent: Writer::new(Vec::new()), rows: 0 }
    }

    pub(crate) fn push(&mut self, row: &[u8], entry: &Entry<'_>) -> Result<(), Failure> {
        self.csv.extend_from_slice(row);
        self.rows += 1;
        self.sent.push(entry)
    }

    pub(crate) const fn rows(&self) -> u64 {
        self.rows
    }

    /// The part of `whole` that `name` tells from the others.
    pub(crate) fn finish(self, whole: &Fragment, name: &str) -> Result<Part, Failure> {
        let file = format!("{}-{name}.csv", whole.file.trim_end_matches(".csv"));
        let fragment = Fragment { file, rows: self.rows, bytes: self.csv.len() as u64, ..whole.clone() };
        Ok(Part { fragment, csv: self.csv, sent: self.sent.finish()?.0 })
    }
}

//! Result files: kept line by line, handed out in shuffled order.

use std::sync::Arc;

/// The lines of one result file.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    header: String,
    text: Vec<u8>,
    ends: Vec<usize>,
    order: Vec<u32>,
}

/// Delimiter and line ending of a job.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    pub(crate) delimiter: u8,
    pub(crate) ending: &'static str,
}

/// The three result files of a job.
#[derive(Debug)]
pub(crate) struct Results {
    pub(crate) success: Lines,
    pub(crate) failed: Lines,
    pub(crate) unprocessed: Lines,
}

impl Results {
    /// Empty files for an upload with this header line (without its line ending); whether failed rows tell ids.
    pub(crate) fn new(header: &str, layout: Layout, failed_ids: bool) -> Self {
        let delimiter = char::from(layout.delimiter).to_string();
        let own = Some(header).filter(|header| !header.is_empty());
        let headed = |lead: &[&str]| {
            let names: Vec<&str> = lead.iter().copied().chain(own).collect();
            Lines::headed(format!("{}{}", names.join(&delimiter), layout.ending))
        };
        Self {
            success: headed(&["\"sf__Id\"", "\"sf__Created\""]),
            failed: headed(&["\"sf__Id\"", "\"sf__Error\""][usize::from(!failed_ids)..]),
            unprocessed: own.map(|_| headed(&[])).unwrap_or_default(),
        }
    }

    /// Puts every file in an order of its own.
    pub(crate) fn shuffle(&mut self, seed: u64) {
        self.success.shuffle(seed);
        self.failed.shuffle(seed ^ 1);
        self.unprocessed.shuffle(seed ^ 2);
    }
}

impl Lines {
    fn headed(header: String) -> Self {
        Self { header, ..Self::default() }
    }

    /// Adds a line of quoted cells.
    pub(crate) fn push<'a>(&mut self, layout: Layout, cells: impl Iterator<Item = &'a str>) {
        for (place, cell) in cells.enumerate() {
            if place > 0 {
                self.text.push(layout.delimiter);
            }
            quote(&mut self.text, cell);
        }
        self.text.extend_from_slice(layout.ending.as_bytes());
        self.ends.push(self.text.len());
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    fn shuffle(&mut self, seed: u64) {
        let count = u32::try_from(self.ends.len()).expect("jobs have far fewer than four billion rows");
        self.order = (0..count).collect();
        let mut state = seed;
        for at in (1..self.order.len()).rev() {
            let bound = u64::try_from(at + 1).expect("a row count");
            let other = usize::try_from(random(&mut state) % bound).expect("below a row count");
            self.order.swap(at, other);
        }
    }

    fn line(&self, at: u32) -> &[u8] {
        let at = usize::try_from(at).expect("a row count");
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.text[start..self.ends[at]]
    }
}

/// The next number of a splitmix64 sequence.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// Writes a cell in quotes.
pub(crate) fn quote(text: &mut Vec<u8>, cell: &str) {
    text.push(b'"');
    if cell.contains('"') {
        text.extend_from_slice(cell.replace('"', "\"\"").as_bytes());
    } else {
        text.extend_from_slice(cell.as_bytes());
    }
    text.push(b'"');
}

/// Which of a job's result files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    Success,
    Failed,
    Unprocessed,
}

/// Hands a result file out in pieces of some ten kilobytes.
pub(crate) struct Pieces {
    results: Arc<Results>,
    which: Which,
    next: Option<usize>,
}

impl Pieces {
    pub(crate) fn new(results: Arc<Results>, which: Which) -> Self {
        Self { results, which, next: None }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lines().len() == 0
    }

    fn lines(&self) -> &Lines {
        match self.which {
            Which::Success => &self.results.success,
            Which::Failed => &self.results.failed,
            Which::Unprocessed => &self.results.unprocessed,
        }
    }
}

impl Iterator for Pieces {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let Some(mut next) = self.next else {
            self.next = Some(0);
            return Some(self.lines().header.clone().into_bytes());
        };
        let mut piece = Vec::new();
        while piece.len() < 32_768 && next < self.lines().order.len() {
            piece.extend_from_slice(self.lines().line(self.lines().order[next]));
            next += 1;
        }
        self.next = Some(next);
        (!piece.is_empty()).then_some(piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_goes_out_once_in_another_order() {
        let layout = Layout { delimiter: b',', ending: "\n" };
        let mut results = Results::new("K,Name", layout, true);
        let cells: Vec<String> = (0..5_000).map(|row| format!("row \"{row}\"")).collect();
        cells.iter().for_each(|cell| results.unprocessed.push(layout, [cell.as_str(), ""].into_iter()));
        results.shuffle(7);
        let results = Arc::new(results);
        let text = Pieces::new(Arc::clone(&results), Which::Unprocessed).flatten().collect();
        let text = String::from_utf8(text).unwrap();
        let mut lines: Vec<&str> = text.lines().skip(1).collect();
        let expected: Vec<String> = (0..5_000).map(|row| format!("\"row \"\"{row}\"\"\",\"\"")).collect();
        assert_ne!(lines, expected);
        lines.sort_unstable();
        let mut expected = expected;
        expected.sort_unstable();
        assert_eq!(lines, expected);
        let failed: Vec<u8> = Pieces::new(results, Which::Failed).flatten().collect();
        assert_eq!(failed, b"\"sf__Id\",\"sf__Error\",K,Name\n");
    }
}

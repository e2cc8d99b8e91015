//! Rows of a mirror that left the model under one spelling of their key, and are there under another.
//!
//! Most key fields of Salesforce do not tell upper from lower case: there both spellings name one record. Removing the
//! record of the old spelling would remove that of a row.
//!
//! <https://help.salesforce.com/s/articleView?id=platform.custom_field_attributes.htm>

use std::{collections::HashSet, io::Read};

use xxhash_rust::xxh3::xxh3_64;

use crate::{
    Failure, fold,
    part::{Building, Part},
    segment::{Entry, Reader, Segments, Writer},
};

/// The keys whose records are to be removed, as hashes: 16 bytes for each that has a letter with two cases.
#[derive(Default)]
pub struct Leaving {
    exact: HashSet<u64>,
    folded: HashSet<u64>,
}

/// Keys that leave and stay, as hashes without case.
#[derive(Default)]
pub struct Renamed(HashSet<u64>);

/// A fragment of removals without the renamed ones.
pub struct Spared {
    /// What is left of it.
    pub rest: Part,
    /// The segment of the keys that are only forgotten, in the form of a delta.
    pub renamed: Vec<u8>,
}

impl Leaving {
    /// Takes down the keys of a fragment of removals.
    ///
    /// # Errors
    /// Those of [`Reader::advance`].
    pub fn add(&mut self, sent: &[u8]) -> Result<(), Failure> {
        let mut keys = Reader::new(sent);
        while let Some(entry) = keys.advance()? {
            if fold::has_case(entry.key) {
                self.exact.insert(xxh3_64(entry.key.as_bytes()));
                self.folded.insert(folded(entry.key));
            }
        }
        Ok(())
    }

    /// No key could have another spelling.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty()
    }

    /// Which of them are another spelling of a key that stays: of one that is sent, or that the baseline holds.
    ///
    /// # Errors
    /// Those of [`Segments::step`] and of the streams.
    pub fn renamed<R: Read>(
        &self,
        staying: impl Iterator<Item = Result<R, Failure>>,
        renamed: &mut Renamed,
    ) -> Result<(), Failure> {
        for input in staying {
            let mut entries = Segments::new(std::iter::once(input));
            while let Some(entry) = entries.advance()? {
                let name = folded(entry.key);
                if self.folded.contains(&name) && !self.exact.contains(&xxh3_64(entry.key.as_bytes())) {
                    renamed.0.insert(name);
                }
            }
        }
        Ok(())
    }
}

impl Renamed {
    /// There is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Takes the renamed rows out of a fragment of removals. None when it has none.
///
/// # Errors
/// [`crate::Class::Bug`] when the fragment does not hold the rows that it is said to hold.
pub fn spare(removals: &Part, renamed: &Renamed) -> Result<Option<Spared>, Failure> {
    let (mut rest, mut forgotten) = (Building::new(), Writer::new(Vec::new()));
    removals.each(|row, entry| {
        if renamed.0.contains(&folded(entry.key)) {
            forgotten.push(&Entry::key(entry.key))
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

fn folded(key: &str) -> u64 {
    fold::hash(key, &mut String::new())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Fingerprint, document::Fragment};

    fn segment(keys: &[&str]) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new());
        for key in keys {
            writer.push(&Entry { accepted: Some(Fingerprint(1)), ..Entry::key(key) }).unwrap();
        }
        writer.finish().unwrap().0
    }

    fn keys(segment: &[u8]) -> Vec<String> {
        let (mut reader, mut keys) = (Reader::new(segment), Vec::new());
        while let Some(entry) = reader.advance().unwrap() {
            assert!(entry.refused.is_none());
            keys.push(entry.key.to_owned());
        }
        keys
    }

    #[test]
    fn a_key_that_stays_under_another_spelling_is_forgotten_and_not_removed() {
        let removals = segment(&["7", "Abc", "aBC", "gone", "straße", "ÉCLAIR"]);
        let mut leaving = Leaving::default();
        leaving.add(&removals).unwrap();
        let mut renamed = Renamed::default();
        let staying = [segment(&["70", "ABC", "x", "éclair"]), segment(&["Abc", "GONE?", "aBC"])];
        leaving.renamed(staying.iter().map(|one| Ok(one.as_slice())), &mut renamed).unwrap();
        let csv = b"1,#N/A\n2,#N/A\n3,#N/A\n4,#N/A\n5,#N/A\n6,#N/A\n";
        let file = "remove-000.csv".to_owned();
        let bytes = csv.len() as u64;
        let fragment = Fragment { chunk: 0, again: None, group: 0, removes: true, file, rows: 6, bytes };
        let whole = Part { fragment, csv: csv.to_vec(), sent: removals };
        let spared = spare(&whole, &renamed).unwrap().unwrap();
        let rest = &spared.rest;
        assert_eq!(rest.csv, b"1,#N/A\n4,#N/A\n5,#N/A\n");
        assert_eq!((rest.fragment.rows, rest.fragment.bytes), (3, 21));
        assert_eq!(rest.fragment.file, "remove-000-rest.csv");
        assert_eq!(keys(&rest.sent), ["7", "gone", "straße"]);
        assert_eq!(keys(&spared.renamed), ["Abc", "aBC", "ÉCLAIR"]);
        assert!(spare(&whole, &Renamed::default()).unwrap().is_none());
    }

    #[test]
    fn keys_without_letters_have_one_spelling_and_two_that_leave_together_leave() {
        let mut leaving = Leaving::default();
        leaving.add(&segment(&["-1", "7", "日本"])).unwrap();
        assert!(leaving.is_empty());
        let both = segment(&["ABC", "abc"]);
        leaving.add(&both).unwrap();
        let mut renamed = Renamed::default();
        leaving.renamed(std::iter::once(Ok(both.as_slice())), &mut renamed).unwrap();
        assert!(!leaving.is_empty() && renamed.is_empty());
    }
}

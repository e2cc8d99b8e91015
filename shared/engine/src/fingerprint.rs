//! What a record looks like when it is sent, in 64 bits.
//!
//! A fingerprint is XXH3-64 over the CSV row, seeded with the hash of the header line. The columns of
//! a CSV stand in a fixed order (the key, then by header), so reordering the YAML changes nothing; a
//! column that is added, dropped or renamed changes every fingerprint, and so does a value that is
//! written in another way. A source value that changes without changing what is sent does not.

use twox_hash::XxHash3_64;

use crate::Fingerprint;

/// Fingerprints of the rows under one header.
#[derive(Clone, Debug)]
pub struct Fingerprints {
    seed: u64,
    /// What the hash of a long row makes of the seed, made once.
    secret: Box<[u8]>,
}

impl Fingerprints {
    /// Fingerprints for rows under this header line (see [`crate::csv::header`]).
    #[must_use]
    pub fn under(header: &str) -> Self {
        let seed = XxHash3_64::oneshot(header.as_bytes());
        Self { seed, secret: XxHash3_64::with_seed(seed).into_secret() }
    }

    /// The fingerprint of a CSV row, given without its line feed.
    #[must_use]
    pub fn of(&self, row: &[u8]) -> Fingerprint {
        let hash = XxHash3_64::oneshot_with_seed_and_secret(self.seed, &self.secret, row);
        Fingerprint(hash.expect("the secret is as long as the hash makes it"))
    }
}

#[cfg(test)]
mod tests {
    use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

    use super::*;

    #[test]
    fn a_fingerprint_is_stable_across_versions() {
        // Stored in every baseline: a change of this value re-sends every record of every user.
        let fingerprint = Fingerprints::under("Key__c,Name\n").of(b"1,Ann");
        assert_eq!(format!("{:016x}", fingerprint.0), "a23c64cd0bb2e846");
    }

    #[test]
    fn a_row_of_any_length_has_the_seeded_hash() {
        let (header, row) = ("Key__c,Name\n", [b'x'; 600]);
        for length in 0..row.len() {
            let expected = xxh3_64_with_seed(&row[..length], xxh3_64(header.as_bytes()));
            assert_eq!(Fingerprints::under(header).of(&row[..length]), Fingerprint(expected));
        }
    }

    #[test]
    fn header_and_row_both_count() {
        let one = Fingerprints::under("Key__c,Name\n");
        let other = Fingerprints::under("Key__c,Title\n");
        assert_ne!(one.of(b"1,Ann"), other.of(b"1,Ann"));
        assert_ne!(one.of(b"1,Ann"), one.of(b"1,Anna"));
        assert_eq!(one.of(b"1,Ann"), Fingerprints::under("Key__c,Name\n").of(b"1,Ann"));
    }
}

//! Whether the baseline is whole: each segment that the head names is there, and is what the head says of it.
//!
//! A key that the baseline does not know is sent as new. So a segment that cannot be read, or not to its end, must stop
//! a run before it is taken for one with fewer keys.

use std::io::Read;

use crate::{Class, Failure, SyncName, document::SegmentRef, segment::Reader};

/// How a segment of the baseline was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is what the head says.
    Whole,
    /// There is no such object.
    Lost,
    /// It is not what was written.
    Damaged,
}

impl State {
    /// The state in a word, as a listing shows it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Lost => "lost",
            Self::Damaged => "damaged",
        }
    }
}

/// Reads a segment to its end, and holds it against what the head says of it.
///
/// # Errors
/// [`Class::Configuration`] when a newer version of Backhaul wrote it; what the stream fails with otherwise.
pub fn inspect(segment: &SegmentRef, input: impl Read) -> Result<State, Failure> {
    match is_as_named(segment, input) {
        Ok(true) => Ok(State::Whole),
        Ok(false) => Ok(State::Damaged),
        Err(failure) if failure.class == Class::Bug => Ok(State::Damaged),
        Err(failure) => Err(failure),
    }
}

fn is_as_named(segment: &SegmentRef, input: impl Read) -> Result<bool, Failure> {
    let mut reader = Reader::new(input);
    let (mut rows, mut first, mut last) = (0, None, None::<String>);
    while let Some(entry) = reader.advance()? {
        rows += 1;
        if first.is_none() {
            first = Some(entry.key.to_owned());
        }
        let last = last.get_or_insert_default();
        last.clear();
        last.push_str(entry.key);
    }
    let checksum = reader.checksum().is_some_and(|checksum| checksum == segment.checksum);
    Ok(checksum && rows == segment.rows && first == segment.first_key && last == segment.last_key)
}

/// What a run fails with that needs a segment which is not whole. The object may come back, so trying again is for a
/// person to decide.
#[must_use]
pub fn not_whole(sync: &SyncName, object: &str, state: State) -> Failure {
    let message = format!("`{object}` is {}: the baseline of `{sync}` is not whole", state.word());
    Failure::configuration(message).hint(format!(
        "bring the object back, or ask the org for its rows: `backhaul baseline rebuild {sync}`"
    ))
}

/// What a run fails with when the head is lost or damaged. Without it every row would be sent as new.
#[must_use]
pub fn no_head(sync: &SyncName, place: &str, state: State) -> Failure {
    let why = match state {
        State::Lost => format!("is lost: `{sync}` has committed before"),
        State::Damaged | State::Whole => "is damaged".to_owned(),
    };
    Failure::configuration(format!("`{place}` {why}")).hint(format!(
        "bring the object back, or ask the org for every row: `backhaul baseline rebuild {sync} --all`"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::{Entry, Writer};

    fn segment(keys: &[&str]) -> (SegmentRef, Vec<u8>) {
        let mut writer = Writer::new(Vec::new());
        keys.iter().for_each(|key| writer.push(&Entry::key(key)).unwrap());
        let (bytes, summary) = writer.finish().unwrap();
        (summary.into_ref("a.zst".to_owned()), bytes)
    }

    fn state(segment: &SegmentRef, bytes: &[u8]) -> State {
        inspect(segment, bytes).unwrap()
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_damage() {
        let (named, bytes) = segment(&["a", "b", "c"]);
        assert_eq!(state(&named, &bytes), State::Whole);
        for place in 0..bytes.len() {
            assert_eq!(state(&named, &bytes[..place]), State::Damaged, "cut at {place}");
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[place] ^= 1 << bit;
                // A version that is not known is told as such: nothing says that it is damage.
                let found = inspect(&named, flipped.as_slice());
                let is_newer = found.as_ref().is_err_and(|failure| failure.class == Class::Configuration);
                assert!(found == Ok(State::Damaged) || is_newer, "bit {bit} of byte {place}");
                assert!(!is_newer || (6..8).contains(&place), "bit {bit} of byte {place}");
            }
        }
        assert_eq!(state(&named, &[bytes.as_slice(), b"x"].concat()), State::Damaged);
    }

    #[test]
    fn another_segment_in_its_place_is_damage() {
        let (named, _) = segment(&["a", "b", "c"]);
        let (_, fewer) = segment(&["a", "c"]);
        assert_eq!(state(&named, &fewer), State::Damaged);
        let (_, empty) = segment(&[]);
        assert_eq!(state(&named, &empty), State::Damaged);
        let (same, bytes) = segment(&["a", "b", "c"]);
        for wrong in [
            SegmentRef { rows: 2, ..same.clone() },
            SegmentRef { first_key: None, ..same.clone() },
            SegmentRef { last_key: Some("b".to_owned()), ..same.clone() },
            SegmentRef { checksum: "0".repeat(16), ..same },
        ] {
            assert_eq!(state(&wrong, &bytes), State::Damaged, "{wrong:?}");
        }
    }
}

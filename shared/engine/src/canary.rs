//! The canary: a few rows go ahead of all others, and those follow only when Salesforce has taken the few.

use std::collections::BTreeMap;

use crate::{
    Failure, RunId,
    config::Canary,
    document::{Collected, Fragment, JobEnd, Mapped, PlannedJob, Stopped},
    part::{Building, Part},
};

/// The fragment that has to be cut in two, so that the canary holds no more rows than it is to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The place of its chunk.
    pub chunk: usize,
    /// The place of the fragment in its chunk.
    pub fragment: usize,
    /// Rows of the first half; the second has some too.
    pub rows: u64,
}

/// How many rows go ahead of `rows`. None when there is no canary, or when it would be all there is.
#[must_use]
pub fn rows(canary: Option<&Canary>, rows: u64) -> Option<u64> {
    let ahead = canary?.rows.of(rows).max(1);
    (ahead < rows).then_some(ahead)
}

/// Where the canary ends, if that is within a fragment.
#[must_use]
pub fn cut(canary: Option<&Canary>, chunks: &[Mapped]) -> Option<Cut> {
    let mut left = rows(canary, chunks.iter().map(Mapped::sent).sum())?;
    for (chunk, mapped) in chunks.iter().enumerate() {
        for (fragment, found) in mapped.fragments.iter().enumerate().filter(|(_, found)| !found.removes) {
            if found.rows > left {
                return (left > 0).then_some(Cut { chunk, fragment, rows: left });
            }
            left -= found.rows;
        }
    }
    None
}

/// Cuts a fragment in two behind so many rows. Row for row the halves are what it was.
///
/// # Errors
/// [`crate::Class::Bug`] when the fragment does not hold the rows that it is said to hold, or has no more than `rows`.
pub fn split(whole: &Part, rows: u64) -> Result<[Part; 2], Failure> {
    let (mut first, mut second) = (Building::new(), Building::new());
    whole.each(|row, entry| {
        let half = if first.rows() < rows { &mut first } else { &mut second };
        half.push(row, entry)
    })?;
    if second.rows() == 0 {
        let Fragment { file, rows: all, .. } = &whole.fragment;
        return Err(Failure::bug(format!("`{file}` holds {all} rows, and is cut behind {rows}")));
    }
    Ok([first.finish(&whole.fragment, "half-1")?, second.finish(&whole.fragment, "half-2")?])
}

/// Whether the canary keeps the others from being sent: more of its rows than allowed were refused. None as long as it
/// is on its way, and of a run that was given up before.
#[must_use]
pub fn judge<'a>(
    run: &RunId,
    canary: Option<&Canary>,
    jobs: impl IntoIterator<Item = (&'a PlannedJob, Option<&'a Collected>)>,
) -> Option<Stopped> {
    let (mut sent, mut refused, mut state) = (0, 0, "");
    let mut codes = BTreeMap::<&str, u64>::new();
    for (_, collected) in jobs.into_iter().filter(|(job, _)| job.canary) {
        let collected = collected.filter(|collected| collected.state != JobEnd::GIVEN_UP)?;
        sent += collected.sent;
        state = &collected.state;
        refused += collected.sent - collected.accepted() - collected.again.rows();
        for (code, rows) in &collected.rejected {
            *codes.entry(code).or_default() += rows;
        }
    }
    // Where no row was rejected, the others were not looked at: the state of their job is all there is to say.
    let code = codes.into_iter().max_by_key(|(_, rows)| *rows).map_or(state, |(code, _)| code);
    let too_many = sent > 0 && refused > canary?.max_rejected.of(sent);
    too_many.then(|| Stopped { run: run.clone(), code: code.to_owned(), rows: refused, canary: Some(sent) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        Fingerprint,
        config::{Api, Share},
        csv,
        segment::{Entry, Reader, Writer},
    };

    fn fragment(rows: u64, bytes: usize) -> Fragment {
        Fragment {
            chunk: 3,
            again: None,
            group: 0,
            removes: false,
            file: "upsert-000.csv".to_owned(),
            rows,
            bytes: bytes as u64,
        }
    }

    fn keys(segment: &[u8]) -> Vec<String> {
        let (mut reader, mut keys) = (Reader::new(segment), Vec::new());
        while let Some(entry) = reader.advance().unwrap() {
            keys.push(entry.key.to_owned());
        }
        keys
    }

    proptest! {
        #[test]
        fn two_halves_are_the_whole(
            cells in prop::collection::vec("[a-z,\"\n\r é]{0,12}", 2..40),
            at in any::<prop::sample::Index>(),
        ) {
            let (mut csv, mut sent) = (Vec::new(), Writer::new(Vec::new()));
            for (number, cell) in cells.iter().enumerate() {
                let key = format!("{number:03}");
                csv::line(&mut csv, [key.as_str(), cell.as_str()]);
                sent.push(&Entry { key: &key, accepted: Some(Fingerprint(7)), id: None, refused: None }).unwrap();
            }
            let (sent, rows) = (sent.finish().unwrap().0, 1 + at.index(cells.len() - 1));
            let whole = Part { fragment: fragment(cells.len() as u64, csv.len()), csv, sent };
            let [first, second] = split(&whole, rows as u64).unwrap();
            prop_assert_eq!([first.csv.clone(), second.csv.clone()].concat(), whole.csv.clone());
            let next = format!("{rows:03},");
            prop_assert!(second.csv.starts_with(next.as_bytes()));
            prop_assert_eq!([keys(&first.sent), keys(&second.sent)].concat(), keys(&whole.sent));
            prop_assert_eq!((first.fragment.rows, first.fragment.file.as_str()), (rows as u64, "upsert-000-half-1.csv"));
            prop_assert_eq!(second.fragment.rows, (cells.len() - rows) as u64);
            prop_assert_eq!(first.fragment.bytes + second.fragment.bytes, whole.csv.len() as u64);
        }
    }

    #[test]
    fn a_fragment_that_is_not_what_it_is_said_to_be_is_not_cut() {
        let (mut csv, mut sent) = (Vec::new(), Writer::new(Vec::new()));
        csv::line(&mut csv, ["1", "a"]);
        sent.push(&Entry { key: "1", accepted: None, id: None, refused: None }).unwrap();
        let sent = sent.finish().unwrap().0;
        for (rows, at) in [(1, 1), (2, 1), (1, 2)] {
            let whole = Part { fragment: fragment(rows, csv.len()), csv: csv.clone(), sent: sent.clone() };
            assert!(split(&whole, at).is_err());
        }
    }

    #[test]
    fn a_stopped_canary_says_why() {
        let run: RunId = "20260101T000000Z".parse().unwrap();
        let canary = Canary { rows: Share::Count(10), max_rejected: Share::Percent(10) };
        let job = PlannedJob {
            api: Api::Bulk,
            turn: 0,
            canary: true,
            removes: false,
            fragments: Vec::new(),
            rows: 10,
            bytes: 1,
        };
        let ended = |state: &str, unprocessed, rejected: &[(&str, u64)]| Collected {
            state: state.to_owned(),
            sent: 10,
            created: 10 - unprocessed - rejected.iter().map(|(_, rows)| rows).sum::<u64>(),
            unprocessed,
            rejected: rejected.iter().map(|(code, rows)| ((*code).to_owned(), *rows)).collect(),
            ..Collected::default()
        };
        for (collected, expected) in [
            (ended("JobComplete", 0, &[]), None),
            (ended("JobComplete", 0, &[("A", 1)]), None),
            (ended("JobComplete", 0, &[("A", 2), ("B", 1)]), Some(("A", 3))),
            (ended("Failed", 10, &[]), Some(("Failed", 10))),
            (ended("Aborted", 9, &[("A", 1)]), Some(("A", 10))),
            (ended(JobEnd::GIVEN_UP, 10, &[]), None),
        ] {
            let stopped = judge(&run, Some(&canary), [(&job, Some(&collected))]);
            let found = stopped.as_ref().map(|stopped| (stopped.code.as_str(), stopped.rows));
            assert_eq!(found, expected);
        }
        assert!(judge(&run, Some(&canary), [(&job, None)]).is_none());
    }

    #[test]
    fn the_canary_ends_where_it_is_told_to() {
        let chunk = |rows: &[u64]| Mapped {
            added: rows.iter().sum(),
            fragments: rows.iter().map(|rows| fragment(*rows, 1)).collect(),
            ..Mapped::default()
        };
        let chunks = [chunk(&[2, 3]), chunk(&[]), chunk(&[5])];
        let of = |share| Canary { rows: share, max_rejected: Share::Percent(5) };
        let cut_at = |chunk, fragment, rows| Some(Cut { chunk, fragment, rows });
        for (share, expected) in [
            (Share::Count(0), cut_at(0, 0, 1)),
            (Share::Count(1), cut_at(0, 0, 1)),
            (Share::Count(2), None),
            (Share::Percent(21), cut_at(0, 1, 1)),
            (Share::Count(5), None),
            (Share::Count(9), cut_at(2, 0, 4)),
            (Share::Count(10), None),
            (Share::Count(99), None),
            (Share::Percent(100), None),
        ] {
            assert_eq!(cut(Some(&of(share)), &chunks), expected, "{share:?}");
        }
        assert_eq!(cut(None, &chunks), None);
    }
}

//! The next baseline, against the same thing done with a map.

#![allow(clippy::unwrap_used, reason = "the helpers of a test are tests as well")]

use std::collections::{BTreeMap, BTreeSet};

use backhaul_engine::{
    Class, Failure, Fingerprint,
    document::{Chunk, Release, Which},
    held::Releases,
    segment::{Entry, Reader, Refused, Writer},
    settle::settle_chunk,
};
use jiff::Timestamp;
use proptest::prelude::*;

/// Accepted, id, refused.
type Known = (Option<u64>, Option<String>, Option<Refusal>);

/// Fingerprint, code, first, last, tries, released.
type Refusal = (u64, String, Option<i64>, Option<i64>, u32, bool);
type Table = BTreeMap<String, Known>;

fn segment<'a>(rows: impl IntoIterator<Item = (&'a String, &'a Known)>) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (key, (accepted, id, refused)) in rows {
        let instant = |seconds: &Option<i64>| seconds.map(|at| Timestamp::from_second(at).unwrap());
        let refused = refused.as_ref().map(|(print, code, first, last, tries, released)| Refused {
            first: instant(first),
            last: instant(last),
            tries: *tries,
            released: *released,
            ..Refused::new(Fingerprint(*print), code)
        });
        writer.push(&Entry { key, accepted: accepted.map(Fingerprint), id: id.as_deref(), refused }).unwrap();
    }
    writer.finish().unwrap().0
}

fn table(bytes: &[u8]) -> Table {
    let mut reader = Reader::new(bytes);
    let mut table = Table::new();
    while let Some(entry) = reader.advance().unwrap() {
        let refused = entry.refused.map(|refused| {
            let Refused { fingerprint, code, first, last, tries, released, .. } = refused;
            let [first, last] = [first, last].map(|at| at.map(Timestamp::as_second));
            (fingerprint.0, code.to_owned(), first, last, tries, released)
        });
        table.insert(
            entry.key.to_owned(),
            (entry.accepted.map(|print| print.0), entry.id.map(str::to_owned), refused),
        );
    }
    table
}

fn chunk(from: Option<&str>, to: Option<&str>) -> Chunk {
    Chunk {
        chunk: 0,
        partitions: vec![],
        rows: 0,
        from_key: from.map(str::to_owned),
        to_key: to.map(str::to_owned),
        previous_key: None,
    }
}

fn settle(
    chunk: &Chunk,
    baseline: &[Vec<u8>],
    removed: &[Vec<u8>],
    deltas: &[Vec<u8>],
) -> Result<Table, Failure> {
    settle_with(chunk, baseline, removed, deltas, &Releases::default())
}

fn settle_with(
    chunk: &Chunk,
    baseline: &[Vec<u8>],
    removed: &[Vec<u8>],
    deltas: &[Vec<u8>],
    releases: &Releases,
) -> Result<Table, Failure> {
    fn open(pieces: &[Vec<u8>]) -> impl Iterator<Item = Result<&[u8], Failure>> {
        pieces.iter().map(|piece| Ok(piece.as_slice()))
    }
    settle_chunk(chunk, open(baseline), open(removed), open(deltas), releases, Vec::new())
        .map(|(bytes, _)| table(&bytes))
}

fn key() -> impl Strategy<Value = String> {
    (0..60_u8).prop_map(|n| format!("k{n:02}"))
}

fn known() -> impl Strategy<Value = Known> {
    let accepted = (any::<u64>(), prop::option::of("[a-z]{15}"));
    let refused = (0..3_u64, "[A-C]", prop::option::of(1..9_i64), 0..9_u32, any::<bool>())
        .prop_map(|(print, code, at, tries, released)| (print, code, at, at, tries, released));
    prop_oneof![
        accepted.clone().prop_map(|(print, id)| (Some(print), id, None)),
        refused.clone().prop_map(|refused| (None, None, Some(refused))),
        (accepted, refused).prop_map(|((print, id), refused)| (Some(print), id, Some(refused))),
    ]
}

fn news() -> impl Strategy<Value = Known> {
    prop_oneof![
        (any::<u64>(), prop::option::of("[a-z]{15}")).prop_map(|(print, id)| (Some(print), id, None)),
        (0..3_u64, "[A-C]", 10..20_i64).prop_map(|(print, code, at)| (
            None,
            None,
            Some((print, code, Some(at), Some(at), 1, false))
        )),
    ]
}

fn which() -> impl Strategy<Value = Which> {
    prop_oneof![
        Just(Which::All),
        prop::collection::btree_set("[A-C]", 0..3).prop_map(Which::Codes),
        prop::collection::btree_set(key(), 0..9).prop_map(Which::Keys),
    ]
}

fn release(rows: Which) -> Release {
    Release { at: Timestamp::UNIX_EPOCH, by: "test".to_owned(), rows }
}

fn within(chunk: &Chunk, key: &str) -> bool {
    chunk.from_key.as_deref().is_none_or(|from| from <= key)
        && chunk.to_key.as_deref().is_none_or(|to| key < to)
}

proptest! {
    #[test]
    fn settling_is_what_a_map_would_do(
        old in prop::collection::btree_map(key(), known(), 0..40),
        cut in any::<prop::sample::Index>(),
        news in prop::collection::vec(prop::collection::btree_map(key(), news(), 0..20), 0..4),
        removed in prop::collection::btree_set(key(), 0..15),
        borders in prop::option::of((0..20_u8, 30..60_u8)),
        releases in prop::collection::vec(which(), 0..2),
    ) {
        let borders = borders.map(|(from, to)| (format!("k{from:02}"), format!("k{to:02}")));
        let chunk = chunk(borders.as_ref().map(|b| b.0.as_str()), borders.as_ref().map(|b| b.1.as_str()));
        let news: Vec<Table> =
            news.into_iter().map(|table| table.into_iter().filter(|(key, _)| within(&chunk, key)).collect()).collect();
        let loaded = |key: &String| news.iter().any(|table| table.contains_key(key));
        let removed: BTreeSet<String> =
            removed.into_iter().filter(|key| within(&chunk, key) && !loaded(key)).collect();

        let mut expected: Table = old.iter().filter(|(key, _)| within(&chunk, key) && !removed.contains(*key))
            .map(|(key, known)| (key.clone(), known.clone())).collect();
        for (key, (_, _, refused)) in &mut expected {
            let Some((_, code, .., released)) = refused else { continue };
            *released |= releases.iter().any(|which| match which {
                Which::All => true,
                Which::Codes(codes) => codes.contains(code),
                Which::Keys(keys) => keys.contains(key),
            });
        }
        for (key, (accepted, id, refused)) in news.iter().flatten() {
            let known = expected.entry(key.clone()).or_default();
            if accepted.is_some() {
                *known = (*accepted, id.clone().or(known.1.take()), None);
                continue;
            }
            let mut refused = refused.clone().unwrap();
            if let Some((_, _, first, _, tries, _)) = known.2.take().filter(|before| before.0 == refused.0) {
                (refused.2, refused.4) = (first, tries + 1);
            }
            known.2 = Some(refused);
        }

        let cut = cut.index(old.len() + 1);
        let baseline = [segment(old.iter().take(cut)), segment(old.iter().skip(cut))];
        let none = Known::default();
        let removed = [segment(removed.iter().map(|key| (key, &none)))];
        let deltas: Vec<_> = news.iter().map(segment).collect();
        let releases = Releases::of(&releases.into_iter().map(release).collect::<Vec<_>>());
        prop_assert_eq!(settle_with(&chunk, &baseline, &removed, &deltas, &releases).unwrap(), expected);
    }
}

fn one(key: &str, known: Known) -> Vec<u8> {
    segment([(&key.to_owned(), &known)])
}

fn refused(print: u64, code: &str, at: i64) -> Known {
    (None, None, Some((print, code.to_owned(), Some(at), Some(at), 1, false)))
}

#[test]
fn the_first_refusal_of_a_content_is_kept_and_the_tries_counted() {
    let all = chunk(None, None);
    let mut baseline = vec![];
    for (print, code, at, expected) in [
        (7, "A", 100, (Some(100), Some(100), 1)),
        (7, "A", 200, (Some(100), Some(200), 2)),
        (7, "B", 300, (Some(100), Some(300), 3)),
        (8, "B", 400, (Some(400), Some(400), 1)),
        (7, "A", 500, (Some(500), Some(500), 1)),
    ] {
        let held = settle(&all, &baseline, &[], &[one("a", refused(print, code, at))]).unwrap();
        let (_, said, first, last, tries, released) = held["a"].2.clone().unwrap();
        assert_eq!((said.as_str(), (first, last, tries), released), (code, expected, false));
        // Nothing is said of it: it stays as it is.
        assert_eq!(settle(&all, &[segment(&held)], &[], &[]).unwrap(), held);
        baseline = vec![segment(&held)];
    }
}

#[test]
fn a_release_marks_what_this_run_learns_nothing_of() {
    let all = chunk(None, None);
    let held =
        settle(&all, &[], &[], &[one("a", refused(7, "A", 100)), one("b", refused(8, "B", 100))]).unwrap();
    let releases = Releases::of(&[release(Which::Codes(BTreeSet::from(["A".to_owned()])))]);
    let settled = settle_with(&all, &[segment(&held)], &[], &[], &releases).unwrap();
    let is_released = |table: &Table, key: &str| table[key].2.as_ref().unwrap().5;
    assert!(is_released(&settled, "a") && !is_released(&settled, "b"));
    // The mark stays while nothing is learnt, and goes with the next refusal.
    let later = settle(&all, &[segment(&settled)], &[], &[]).unwrap();
    assert!(is_released(&later, "a"));
    let again = settle(&all, &[segment(&later)], &[], &[one("a", refused(7, "A", 200))]).unwrap();
    assert_eq!(again["a"].2, Some((7, "A".to_owned(), Some(100), Some(200), 2, false)));
}

#[test]
fn a_refused_row_keeps_what_was_accepted_before() {
    let before = one("a", (Some(1), Some("x".to_owned()), None));
    let news = refused(2, "STRING_TOO_LONG", 5);
    let held = settle(&chunk(None, None), &[before], &[], &[one("a", news.clone())]).unwrap();
    assert_eq!(held["a"], (Some(1), Some("x".to_owned()), news.2));
    // An acceptance clears the refusal; without an id of its own it keeps the one that is known.
    let known = segment(&held);
    let accepted = settle(&chunk(None, None), &[known], &[], &[one("a", (Some(3), None, None))]).unwrap();
    assert_eq!(accepted["a"], (Some(3), Some("x".to_owned()), None));
}

#[test]
fn a_key_of_which_nothing_is_said_was_removed() {
    let known = || one("m", (Some(1), Some("x".to_owned()), None));
    let gone = || one("m", Known::default());
    let all = chunk(None, None);
    assert!(settle(&all, &[known()], &[], &[gone()]).unwrap().is_empty());
    // A removal that met a lock was refused for nothing that stays; the next wave carried it out.
    let refused = one("m", refused(2, "DELETE_FAILED", 5));
    assert!(settle(&all, &[known()], &[], &[refused, gone()]).unwrap().is_empty());
}

#[test]
fn contradictions_are_bugs() {
    let accepted = || one("m", (Some(1), None, None));
    let class = |chunk: &Chunk, removed: &[Vec<u8>], deltas: &[Vec<u8>]| {
        settle(chunk, &[], removed, deltas).unwrap_err().class
    };
    let all = chunk(None, None);
    assert_eq!(class(&all, &[one("m", Known::default())], &[accepted()]), Class::Bug);
    assert_eq!(class(&all, &[], &[one("m", (Some(1), None, refused(1, "X", 5).2))]), Class::Bug);
    for other in [chunk(Some("n"), None), chunk(None, Some("m"))] {
        assert_eq!(class(&other, &[], &[accepted()]), Class::Bug);
        assert_eq!(class(&other, &[one("m", Known::default())], &[]), Class::Bug);
    }
}

#[test]
fn a_damaged_input_settles_nothing() {
    let mut damaged = one("a", (Some(1), None, None));
    *damaged.last_mut().unwrap() ^= 1;
    for place in 0..3 {
        let mut inputs = [vec![], vec![], vec![]];
        inputs[place] = vec![damaged.clone()];
        assert_eq!(
            settle(&chunk(None, None), &inputs[0], &inputs[1], &inputs[2]).unwrap_err().class,
            Class::Bug
        );
    }
}

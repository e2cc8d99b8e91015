//! The next baseline, against the same thing done with a map.

#![allow(clippy::unwrap_used, reason = "the helpers of a test are tests as well")]

use std::collections::{BTreeMap, BTreeSet};

use backhaul_engine::{
    Class, Failure, Fingerprint,
    document::Chunk,
    segment::{Entry, Reader, Refused, Writer},
    settle::settle_chunk,
};
use proptest::prelude::*;

/// Accepted, id, refused.
type Known = (Option<u64>, Option<String>, Option<(u64, String)>);
type Table = BTreeMap<String, Known>;

fn segment<'a>(rows: impl IntoIterator<Item = (&'a String, &'a Known)>) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (key, (accepted, id, refused)) in rows {
        let refused =
            refused.as_ref().map(|(print, code)| Refused { fingerprint: Fingerprint(*print), code });
        writer.push(&Entry { key, accepted: accepted.map(Fingerprint), id: id.as_deref(), refused }).unwrap();
    }
    writer.finish().unwrap().0
}

fn table(bytes: &[u8]) -> Table {
    let mut reader = Reader::new(bytes);
    let mut table = Table::new();
    while let Some(entry) = reader.advance().unwrap() {
        let refused = entry.refused.map(|refused| (refused.fingerprint.0, refused.code.to_owned()));
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
    fn open(pieces: &[Vec<u8>]) -> impl Iterator<Item = Result<&[u8], Failure>> {
        pieces.iter().map(|piece| Ok(piece.as_slice()))
    }
    settle_chunk(chunk, open(baseline), open(removed), open(deltas), Vec::new())
        .map(|(bytes, _)| table(&bytes))
}

fn key() -> impl Strategy<Value = String> {
    (0..60_u8).prop_map(|n| format!("k{n:02}"))
}

fn known() -> impl Strategy<Value = Known> {
    let accepted = (any::<u64>(), prop::option::of("[a-z]{15}"));
    let refused = (any::<u64>(), "[A-Z]{1,3}");
    prop_oneof![
        accepted.clone().prop_map(|(print, id)| (Some(print), id, None)),
        refused.prop_map(|refused| (None, None, Some(refused))),
        (accepted, refused).prop_map(|((print, id), refused)| (Some(print), id, Some(refused))),
    ]
}

fn news() -> impl Strategy<Value = Known> {
    prop_oneof![
        (any::<u64>(), prop::option::of("[a-z]{15}")).prop_map(|(print, id)| (Some(print), id, None)),
        (any::<u64>(), "[A-Z]{1,3}").prop_map(|refused| (None, None, Some(refused))),
    ]
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
        for (key, (accepted, id, refused)) in news.iter().flatten() {
            let known = expected.entry(key.clone()).or_default();
            if accepted.is_some() {
                *known = (*accepted, id.clone().or(known.1.take()), None);
            } else {
                known.2.clone_from(refused);
            }
        }

        let cut = cut.index(old.len() + 1);
        let baseline = [segment(old.iter().take(cut)), segment(old.iter().skip(cut))];
        let none = Known::default();
        let removed = [segment(removed.iter().map(|key| (key, &none)))];
        let deltas: Vec<_> = news.iter().map(segment).collect();
        prop_assert_eq!(settle(&chunk, &baseline, &removed, &deltas).unwrap(), expected);
    }
}

fn one(key: &str, known: Known) -> Vec<u8> {
    segment([(&key.to_owned(), &known)])
}

#[test]
fn a_refused_row_keeps_what_was_accepted_before() {
    let before = one("a", (Some(1), Some("x".to_owned()), None));
    let refused = one("a", (None, None, Some((2, "STRING_TOO_LONG".to_owned()))));
    let held = settle(&chunk(None, None), &[before], &[], &[refused]).unwrap();
    assert_eq!(held["a"], (Some(1), Some("x".to_owned()), Some((2, "STRING_TOO_LONG".to_owned()))));
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
    let refused = one("m", (None, None, Some((2, "DELETE_FAILED".to_owned()))));
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
    assert_eq!(class(&all, &[], &[one("m", (Some(1), None, Some((1, "X".to_owned()))))]), Class::Bug);
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

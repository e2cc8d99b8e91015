//! Two spellings of one key: who is refused, who is spared, and that nothing else is touched.

#![allow(clippy::unwrap_used, reason = "the helpers of a test are tests as well")]

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use backhaul_engine::{
    Failure, Fingerprint,
    contract::ColumnKind,
    csv,
    document::{Examples, Fragment, Mapped},
    mapping::{Assignment, Conversion, KeyRule, Mapping, Source, WhenNull},
    part::Part,
    segment::{Entry, Reader, Writer},
    spelling::{Places, Spellings, find, passes},
};
use proptest::prelude::*;

/// What becomes of a key in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Sent, and not known.
    Added,
    /// Sent, and known with other content.
    Changed,
    /// Known, in the model, and not sent.
    Unchanged,
    /// Refused by Map, and not known.
    Invalid,
    /// Known and refused by Map.
    KnownInvalid,
    /// Left the model: the record is removed.
    Removal,
    /// Left the model: only the entry goes.
    Removed,
}

impl Kind {
    fn is_sent(self) -> bool {
        matches!(self, Self::Added | Self::Changed)
    }

    fn is_known(self) -> bool {
        !matches!(self, Self::Added | Self::Invalid)
    }

    fn leaves(self) -> bool {
        matches!(self, Self::Removal | Self::Removed)
    }
}

type Keys = BTreeMap<String, Kind>;

const KINDS: [Kind; 7] = [
    Kind::Added,
    Kind::Changed,
    Kind::Unchanged,
    Kind::Invalid,
    Kind::KnownInvalid,
    Kind::Removal,
    Kind::Removed,
];

fn mapping() -> Mapping {
    let assignment = |header: &str| Assignment {
        header: header.to_owned(),
        source: Source::Constant(String::new()),
        conversion: Conversion::Text { max_chars: 0 },
        when_null: WhenNull::Clear,
    };
    let rule = KeyRule { column: 0, kind: ColumnKind::Text, fold_case: true };
    Mapping::new(rule, ["Key__c", "Name", "Phone", "Fax"].map(assignment).into())
}

/// A fragment of these keys, with a row of each.
fn part<'a>(removes: bool, keys: impl Iterator<Item = (&'a str, bool)>) -> Part {
    let (mut csv, mut sent, mut rows) = (Vec::new(), Writer::new(Vec::new()), 0);
    for (key, is_known) in keys {
        csv::line(&mut csv, [key, "two\n\"lines\"", "#N/A", ""]);
        let id = is_known.then_some("001000000000001AAA");
        sent.push(&Entry { accepted: Some(Fingerprint(1)), id, ..Entry::key(key) }).unwrap();
        rows += 1;
    }
    let file = if removes { "remove-001.csv" } else { "mirror-000.csv" }.to_owned();
    let bytes = csv.len() as u64;
    let fragment = Fragment { chunk: 0, again: None, group: 0, removes, file, rows, bytes };
    Part { fragment, csv, sent: sent.finish().unwrap().0 }
}

fn of(keys: &Keys, wanted: impl Fn(Kind) -> bool) -> Vec<&str> {
    keys.iter().filter(|(_, kind)| wanted(**kind)).map(|(key, _)| key.as_str()).collect()
}

fn sent_part(keys: &Keys) -> Part {
    part(false, of(keys, Kind::is_sent).into_iter().map(|key| (key, keys[key] == Kind::Changed)))
}

fn removals(keys: &Keys) -> Part {
    part(true, of(keys, |kind| kind == Kind::Removal).into_iter().map(|key| (key, true)))
}

/// Finds what there is, with the keys of each kind in pieces of `size`.
fn found(keys: &Keys, size: usize, passes: u64) -> Spellings {
    let mut objects: HashMap<String, Vec<u8>> = HashMap::new();
    let mut pieces = |word: &str, of: Vec<&str>, write: fn(&[&str]) -> Vec<u8>| -> Vec<String> {
        let names = of.chunks(size).enumerate().map(|(number, piece)| {
            let name = format!("{word}-{number}");
            objects.insert(name.clone(), write(piece));
            name
        });
        names.collect()
    };
    let segment = |keys: &[&str]| part(false, keys.iter().map(|key| (*key, true))).sent;
    let listing = |keys: &[&str]| {
        let mut out = b"key,code,field,reason\n".to_vec();
        keys.iter().for_each(|key| csv::line(&mut out, [*key, "too_long", "Name", "is too long"]));
        out
    };
    let places = Places {
        sent: pieces("sent", of(keys, Kind::is_sent), segment),
        removals: pieces("removal", of(keys, |kind| kind == Kind::Removal), segment),
        removed: pieces("removed", of(keys, |kind| kind == Kind::Removed), segment),
        baseline: pieces("baseline", of(keys, Kind::is_known), segment),
        invalid: pieces(
            "invalid",
            of(keys, |kind| matches!(kind, Kind::Invalid | Kind::KnownInvalid)),
            listing,
        ),
    };
    find(&places, passes, |name: &String| Ok::<_, Failure>(objects[name].as_slice())).unwrap()
}

fn keys_of(segment: &[u8]) -> Vec<String> {
    let (mut reader, mut keys) = (Reader::new(segment), Vec::new());
    while let Some(entry) = reader.advance().unwrap() {
        keys.push(entry.key.to_owned());
    }
    keys
}

/// The counts of a chunk with nothing but what is sent.
fn mapped(keys: &Keys) -> Mapped {
    let count = |wanted: Kind| keys.values().filter(|kind| **kind == wanted).count() as u64;
    let (added, changed) = (count(Kind::Added), count(Kind::Changed));
    let examples =
        |wanted| of(keys, |kind| kind == wanted).into_iter().map(ToOwned::to_owned).take(5).collect();
    let cells = |field: &str, cells| BTreeMap::from([(field.to_owned(), cells)]);
    Mapped {
        read: added + changed,
        added,
        changed,
        set: BTreeMap::from([("Key__c".to_owned(), added + changed), ("Name".to_owned(), added + changed)]),
        cleared: cells("Phone", changed),
        examples: Examples {
            added: examples(Kind::Added),
            changed: examples(Kind::Changed),
            removed: Vec::new(),
        },
        ..Mapped::default()
    }
}

/// The rows that are refused, the removals that are spared, and those of them that are forgotten.
fn judged(keys: &Keys, size: usize, passes: u64) -> [Vec<String>; 3] {
    let found = found(keys, size, passes);
    let (whole, mut counts, mut samples) = (sent_part(keys), mapped(keys), Vec::new());
    let refused = match found.refuse(&whole, &mapping(), &mut counts, &mut samples).unwrap() {
        None => {
            assert!(!found.concern(&whole.fragment, &whole.sent).unwrap());
            Vec::new()
        }
        Some(left) => {
            assert!(found.concern(&whole.fragment, &whole.sent).unwrap());
            let kept: HashSet<String> = keys_of(&left.rest.sent).into_iter().collect();
            let refused: Vec<_> =
                keys_of(&whole.sent).into_iter().filter(|key| !kept.contains(key)).collect();
            check_rest(keys, &left.rest, &kept, &counts);
            let listing = String::from_utf8(left.invalid).unwrap();
            let lines: Vec<_> = listing.lines().skip(1).collect();
            let expected: Vec<_> = refused
                .iter()
                .map(|key| {
                    format!("{key},duplicate_key,Key__c,\"`Key__c` is the key of another row too, in another case\"")
                })
                .collect();
            assert_eq!(lines, expected);
            assert_eq!(samples.len(), refused.len().min(5));
            refused
        }
    };
    let whole = removals(keys);
    let (spared, forgotten) = match found.spare(&whole).unwrap() {
        None => (Vec::new(), Vec::new()),
        Some(spared) => {
            assert!(found.concern(&whole.fragment, &whole.sent).unwrap());
            let left: HashSet<String> = keys_of(&spared.rest.sent).into_iter().collect();
            let all = keys_of(&whole.sent).into_iter();
            (all.filter(|key| !left.contains(key)).collect(), keys_of(&spared.renamed))
        }
    };
    [refused, spared, forgotten]
}

/// What is left is what it was, and the counts are those of what is left.
fn check_rest(keys: &Keys, rest: &Part, kept: &HashSet<String>, counts: &Mapped) {
    let left: Keys =
        keys.iter().filter(|(key, _)| kept.contains(*key)).map(|(k, v)| (k.clone(), *v)).collect();
    let expected = sent_part(&left);
    assert!(rest.csv == expected.csv && rest.sent == expected.sent);
    assert_eq!(
        rest.fragment,
        Fragment { file: "mirror-000-rest.csv".to_owned(), ..expected.fragment.clone() }
    );
    let Mapped { added, changed, mut set, mut cleared, .. } = mapped(&left);
    set.retain(|_, cells| *cells > 0);
    cleared.retain(|_, cells| *cells > 0);
    assert_eq!((counts.added, counts.changed), (added, changed));
    assert_eq!((&counts.set, &counts.cleared), (&set, &cleared));
    assert_eq!(counts.invalid["duplicate_key"], counts.read - counts.sent());
    let examples = counts.examples.added.iter().chain(&counts.examples.changed);
    assert!(examples.into_iter().all(|key| kept.contains(key)));
}

/// The same, by looking at every key beside every other.
fn oracle(keys: &Keys) -> [Vec<String>; 3] {
    let others = |key: &str| -> Vec<Kind> {
        let folded = key.to_lowercase();
        let same = keys.iter().filter(|(other, _)| other.as_str() != key && other.to_lowercase() == folded);
        same.map(|(_, kind)| *kind).collect()
    };
    let is_refused = |key: &str| others(key).into_iter().any(|other| !other.leaves());
    let sent = of(keys, Kind::is_sent).into_iter();
    let refused: BTreeSet<String> = sent.filter(|key| is_refused(key)).map(ToOwned::to_owned).collect();
    let leaving = of(keys, |kind| kind == Kind::Removal).into_iter();
    let spared: Vec<String> = leaving.filter(|key| is_refused(key)).map(ToOwned::to_owned).collect();
    let stays_as = |key: &str, stay: &str| {
        stay != key
            && stay.to_lowercase() == key.to_lowercase()
            && match keys[stay] {
                Kind::Added => !refused.contains(stay),
                kind => kind.is_known() && !kind.leaves(),
            }
    };
    let forgotten =
        spared.iter().filter(|key| keys.keys().any(|stay| stays_as(key, stay))).cloned().collect();
    [refused.into_iter().collect(), spared, forgotten]
}

fn keys(list: &[(&str, Kind)]) -> Keys {
    list.iter().map(|(key, kind)| ((*key).to_owned(), *kind)).collect()
}

#[test]
fn of_two_spellings_neither_is_sent_unless_the_other_leaves() {
    use Kind::{Added, Changed, Invalid, KnownInvalid, Removal, Removed, Unchanged};
    for (list, [refused, spared, forgotten]) in [
        (&[("abc", Added), ("abd", Added), ("7", Added)][..], [&[][..], &[], &[]]),
        (&[("ABC", Added), ("abc", Added), ("b", Added)], [&["ABC", "abc"], &[], &[]]),
        (&[("ABC", Added), ("Abc", Changed), ("abc", Added)], [&["ABC", "Abc", "abc"], &[], &[]]),
        (&[("ABC", Added), ("abc", Unchanged)], [&["ABC"], &[], &[]]),
        (&[("ABC", Added), ("abc", KnownInvalid)], [&["ABC"], &[], &[]]),
        (&[("ABC", Added), ("abc", Invalid)], [&["ABC"], &[], &[]]),
        (&[("ABC", Unchanged), ("abc", Unchanged)], [&[], &[], &[]]),
        (&[("ABC", Changed), ("abc", Unchanged)], [&["ABC"], &[], &[]]),
        (&[("abc", Changed)], [&[], &[], &[]]),
        (&[("ABC", Added), ("abc", Removed)], [&[], &[], &[]]),
        (&[("ABC", Added), ("abc", Removal)], [&[], &["abc"], &["abc"]]),
        (&[("ABC", Unchanged), ("abc", Removal)], [&[], &["abc"], &["abc"]]),
        (&[("ABC", Invalid), ("abc", Removal)], [&[], &["abc"], &[]]),
        (&[("ABC", KnownInvalid), ("abc", Removal)], [&[], &["abc"], &["abc"]]),
        (&[("ABC", Added), ("Abc", Added), ("abc", Removal)], [&["ABC", "Abc"], &["abc"], &[]]),
        (&[("ABC", Added), ("Abc", Unchanged), ("abc", Removal)], [&["ABC"], &["abc"], &["abc"]]),
        (&[("ABC", Removal), ("abc", Removal)], [&[], &[], &[]]),
        (
            &[("ÉCLAIR", Added), ("éclair", Added), ("strasse", Added), ("straße", Added)],
            [&["ÉCLAIR", "éclair"], &[], &[]],
        ),
    ] {
        let keys = keys(list);
        for (size, passes) in [(1, 1), (9, 1), (2, 3)] {
            assert_eq!(judged(&keys, size, passes), [refused, spared, forgotten], "{list:?}");
        }
        assert_eq!(oracle(&keys), [refused, spared, forgotten], "{list:?}");
    }
}

#[test]
fn so_many_passes_that_each_is_small() {
    assert_eq!([0, 1, 1 << 21, (1 << 21) + 1].map(passes), [0, 1, 1, 2]);
    let found = found(&keys(&[("ABC", Kind::Added), ("abc", Kind::Added)]), 1, 0);
    let whole = sent_part(&keys(&[("abc", Kind::Added)]));
    assert!(found.is_empty() && !found.concern(&whole.fragment, &whole.sent).unwrap());
}

#[test]
fn what_plan_itself_has_listed_before_changes_nothing() {
    let keys =
        keys(&[("ABC", Kind::Added), ("abc", Kind::Unchanged), ("b", Kind::Added), ("x", Kind::Removal)]);
    let segment =
        |wanted: fn(Kind) -> bool| part(false, of(&keys, wanted).into_iter().map(|key| (key, true))).sent;
    let objects = HashMap::from([
        ("sent", segment(Kind::is_sent)),
        ("baseline", segment(Kind::is_known)),
        ("invalid", b"key,code,field,reason\nABC,duplicate_key,Key__c,x\n".to_vec()),
    ]);
    let name = |name: &str| vec![name.to_owned()];
    for invalid in [Vec::new(), name("invalid")] {
        let (sent, baseline) = (name("sent"), name("baseline"));
        let places = Places { sent, removals: Vec::new(), removed: Vec::new(), baseline, invalid };
        let found = find(&places, 1, |name: &String| Ok(objects[name.as_str()].as_slice())).unwrap();
        let left = found.refuse(&sent_part(&keys), &mapping(), &mut mapped(&keys), &mut Vec::new()).unwrap();
        assert_eq!(keys_of(&left.unwrap().rest.sent), ["b"]);
    }
}

proptest! {
    #[test]
    fn every_key_is_judged_as_if_it_were_held_beside_every_other(
        list in prop::collection::btree_map("[aAbBéÉ1]{1,3}", prop::sample::select(&KINDS[..]), 0..40),
        size in 1..12usize,
        passes in 1..5u64,
    ) {
        prop_assert_eq!(judged(&list, size, passes), oracle(&list));
    }
}

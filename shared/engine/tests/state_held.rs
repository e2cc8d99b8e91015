//! The listing of held rows, against the same thing done by sorting everything.

#![allow(clippy::unwrap_used, reason = "the helpers of a test are tests as well")]

use std::cmp::Reverse;

use backhaul_engine::{
    Class, Fingerprint, RunId, SyncName,
    document::{Base, Release, Which, from_bytes, to_bytes},
    held::{Beside, Explanation, Invalid, Listing},
    segment::{Entry, Refused},
};
use jiff::Timestamp;
use proptest::prelude::*;

fn sync() -> SyncName {
    "customers".parse().unwrap()
}

fn instant(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_767_225_600 + seconds).unwrap()
}

/// Key, code, first seen.
type Row = (String, Option<(String, Option<i64>)>);

fn listing(rows: &[Row], most: usize) -> Listing {
    let mut listing = Listing::new(most, &[]);
    for (key, refused) in rows {
        let refused = refused
            .as_ref()
            .map(|(code, first)| Refused { first: first.map(instant), ..Refused::new(Fingerprint(1), code) });
        listing.add(&Entry { refused, ..Entry::key(key) });
    }
    listing
}

fn text(listing: &Listing) -> String {
    listing.to_text(&Beside { sync: &sync(), run: None, invalid: None, waiting: &[] })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_newest_are_shown_and_all_are_counted(
        rows in prop::collection::btree_map(
            "[a-z]{1,4}",
            prop::option::of(("[A-C]", prop::option::of(0..5_i64))),
            0..40,
        ),
        most in 0..12_usize,
    ) {
        let rows: Vec<Row> = rows.into_iter().collect();
        let listing = listing(&rows, most);
        let mut held: Vec<_> = rows
            .iter()
            .filter_map(|(key, refused)| refused.as_ref().map(|(_, first)| (Reverse(*first), key.clone())))
            .collect();
        prop_assert_eq!(listing.held(), held.len() as u64);
        held.sort();
        let expected: Vec<String> = held.iter().take(most).map(|(_, key)| key.clone()).collect();
        let text = text(&listing);
        let shown = text.split("ROWS, NEWEST FIRST\n").nth(1).unwrap_or_default();
        let shown = shown.lines().skip(1).take_while(|line| !line.is_empty() && !line.starts_with("  …"));
        let shown: Vec<String> =
            shown.map(|line| line.split_whitespace().next().unwrap().to_owned()).collect();
        prop_assert_eq!(shown, expected);
    }
}

/// A key with a space, a quote and a dash in front of it is one word of the command that is shown.
#[test]
fn the_command_that_releases_a_row_can_be_copied() {
    for (key, expected) in
        [("C-7", "--key C-7"), ("it's", r"--key 'it'\''s'"), ("-1", "--key=-1"), ("a b$c", "--key 'a b$c'")]
    {
        let refused = Some(Refused::new(Fingerprint(1), "DUPLICATE_VALUE"));
        let entry = Some(Entry { refused, ..Entry::key(key) });
        let (sync, answer, invalid, waiting) = (&sync(), None, &[], &[]);
        let text = Explanation { sync, key, entry, answer, invalid, waiting }.to_text();
        assert!(text.ends_with(&format!("backhaul held customers --release {expected}\n")), "{text}");
        assert!(text.contains("first refused  unknown: before it was noted"), "{text}");
    }
}

#[test]
fn a_listing_of_invalid_rows_is_read_as_it_was_written() {
    let csv = "key,code,field,reason\n1,a,Name,\"`Name` is, too long\"\n,null_key,,is NULL\n2,b,,x\n";
    let read = |most: usize, wanted: fn(&str) -> bool| {
        let mut invalid = Invalid::default();
        invalid.read(csv.as_bytes(), most, wanted).unwrap();
        invalid.rows
    };
    let rows = read(9, |_| true);
    assert_eq!((rows.len(), rows[0].reason.as_str(), &rows[1].key), (3, "`Name` is, too long", &None));
    assert_eq!(rows[0].field.as_deref(), Some("Name"));
    assert_eq!(read(2, |_| true).len(), 2);
    assert_eq!(read(9, |key| key == "2").len(), 1);
    let failure = Invalid::default().read(&b"key,code\n1,a\n"[..], 9, |_| true).unwrap_err();
    assert_eq!(failure.class, Class::Bug);
}

#[test]
fn a_release_is_a_plain_document_and_shows_no_key() {
    for (json, which) in [
        (r#""all""#, Which::All),
        (r#"{"codes":["A"]}"#, Which::Codes(["A".to_owned()].into())),
        (r#"{"keys":["jo@example.com"]}"#, Which::Keys(["jo@example.com".to_owned()].into())),
    ] {
        let release = Release { at: instant(0), by: "jo".to_owned(), rows: which };
        let text = format!(r#"{{"at":"2026-01-01T00:00:00Z","by":"jo","rows":{json}}}"#);
        assert_eq!(from_bytes::<Release>("release", text.as_bytes()).unwrap(), release);
        assert!(!format!("{release:?}").contains("example"), "{release:?}");
        let base = Base { releases: vec![release], ..Base::default() };
        assert_eq!(from_bytes::<Base>("base", &to_bytes(&base)).unwrap(), base);
    }
    let old = br#"{"version":null,"head":{"run":null,"segments":[]}}"#;
    assert_eq!(from_bytes::<Base>("base", old).unwrap().releases, []);
    assert_eq!(RunId::at(instant(0)).as_str(), "20260101T000000Z");
}

//! The stored format: what goes in comes out, and nothing else ever does.

#![allow(clippy::unwrap_used, reason = "the helpers of a test are tests as well")]

use backhaul_engine::{
    Class, Failure, Fingerprint,
    segment::{Entry, Reader, Refused, Segments, Summary, Writer},
};
use jiff::Timestamp;
use proptest::prelude::*;

type Owned = (String, Option<u64>, Option<String>, Option<Refusal>);

/// As [`Refused`], with instants as seconds.
#[derive(Clone, Debug, PartialEq)]
struct Refusal {
    fingerprint: u64,
    code: String,
    fields: String,
    first: Option<i64>,
    last: Option<i64>,
    tries: u32,
    released: bool,
}

impl Refusal {
    fn of(refused: Refused<'_>) -> Self {
        Self {
            fingerprint: refused.fingerprint.0,
            code: refused.code.to_owned(),
            fields: refused.fields.to_owned(),
            first: refused.first.map(Timestamp::as_second),
            last: refused.last.map(Timestamp::as_second),
            tries: refused.tries,
            released: refused.released,
        }
    }

    fn entry(&self) -> Refused<'_> {
        let instant = |seconds: Option<i64>| seconds.map(|seconds| Timestamp::from_second(seconds).unwrap());
        Refused {
            fields: &self.fields,
            first: instant(self.first),
            last: instant(self.last),
            tries: self.tries,
            released: self.released,
            ..Refused::new(Fingerprint(self.fingerprint), &self.code)
        }
    }
}

fn owned(entry: Entry<'_>) -> Owned {
    (
        entry.key.to_owned(),
        entry.accepted.map(|fingerprint| fingerprint.0),
        entry.id.map(str::to_owned),
        entry.refused.map(Refusal::of),
    )
}

fn write(rows: &[Owned]) -> (Vec<u8>, Summary) {
    let mut writer = Writer::new(Vec::new());
    for (key, accepted, id, refused) in rows {
        let refused = refused.as_ref().map(Refusal::entry);
        let entry = Entry { key, accepted: accepted.map(Fingerprint), id: id.as_deref(), refused };
        writer.push(&entry).unwrap();
    }
    writer.finish().unwrap()
}

fn read(bytes: &[u8]) -> Result<Vec<Owned>, Failure> {
    let mut reader = Reader::new(bytes);
    let mut rows = Vec::new();
    while let Some(entry) = reader.advance()? {
        rows.push(owned(entry));
    }
    Ok(rows)
}

fn rows() -> impl Strategy<Value = Vec<Owned>> {
    let id =
        prop_oneof!["[0-9a-zA-Z]{15}", "[0-9a-zA-Z]{18}", Just("0015e00000abcDEAAY".to_owned()), ".{0,5}"];
    let instant = || prop::option::of(1..1_i64 << 35);
    let refused =
        (any::<u64>(), "[A-Z_]{0,2}", "[A-Z, ]{0,2}", instant(), instant(), any::<u32>(), any::<bool>())
            .prop_map(|(fingerprint, code, fields, first, last, tries, released)| Refusal {
                fingerprint,
                code,
                fields,
                first,
                last,
                tries,
                released,
            });
    let value = (any::<Option<u64>>(), prop::option::of(id), prop::option::of(refused));
    prop::collection::btree_map("[aé]{0,2}[0-9a-cß漢]{0,6}", value, 0..200)
        .prop_map(|map| map.into_iter().map(|(key, (a, i, r))| (key, a, i, r)).collect())
}

fn refusal(n: u64) -> Refusal {
    let code = "DUPLICATE_VALUE".to_owned();
    let (first, last) = (Some(1_767_225_600), Some(1_767_229_200));
    Refusal { fingerprint: n, code, fields: "Email__c".to_owned(), first, last, tries: 2, released: false }
}

/// Keys of 15 characters whose digits are spread, and nothing compressible besides.
fn customers(count: u64) -> Vec<Owned> {
    let spread = |n: u64| n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (0..count)
        .map(|n| (format!("C{:014}", n * 37 + spread(n) % 37), Some(spread(n ^ 77)), None, None))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_goes_in_comes_out(rows in rows()) {
        let (bytes, summary) = write(&rows);
        prop_assert_eq!(read(&bytes).unwrap(), rows.clone());
        prop_assert_eq!(summary.rows, rows.len() as u64);
        prop_assert_eq!(summary.first_key, rows.first().map(|row| row.0.clone()));
        prop_assert_eq!(summary.last_key, rows.last().map(|row| row.0.clone()));
        prop_assert_eq!(write(&rows).0, bytes);
    }

    #[test]
    fn pieces_read_as_one(rows in rows(), mut cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..5)) {
        cuts.sort_by_key(|cut| cut.index(rows.len() + 1));
        let mut pieces = Vec::new();
        let mut from = 0;
        for to in cuts.iter().map(|cut| cut.index(rows.len() + 1)).chain([rows.len()]) {
            pieces.push(write(&rows[from..to]).0);
            from = to;
        }
        let mut segments = Segments::new(pieces.iter().map(|piece| Ok(piece.as_slice())));
        let mut seen = Vec::new();
        while let Some(entry) = segments.advance().unwrap() {
            seen.push(owned(entry));
        }
        prop_assert_eq!(seen, rows);
        prop_assert!(segments.advance().unwrap().is_none());
    }
}

#[test]
fn any_damaged_byte_and_any_cut_is_an_error() {
    let mut rows = customers(4500);
    for (n, row) in rows.iter_mut().enumerate().step_by(3) {
        row.2 = Some(format!("0015e{n:010}"));
        row.3 = Some(refusal(n as u64));
    }
    let (bytes, _) = write(&rows);
    assert!(read(&bytes).is_ok());
    for at in (0..60).chain((60..bytes.len()).step_by(997)).chain(bytes.len() - 40..bytes.len()) {
        for bit in [0x01, 0x80] {
            let mut damaged = bytes.clone();
            damaged[at] ^= bit;
            let failure = read(&damaged).expect_err("a flipped bit must not go unseen");
            assert!(matches!(failure.class, Class::Bug | Class::Configuration), "{failure}");
        }
        assert_eq!(read(&bytes[..at]).unwrap_err().class, Class::Bug);
    }
    let more = [bytes.as_slice(), b"x"].concat();
    assert_eq!(read(&more).unwrap_err().class, Class::Bug);
}

#[test]
fn a_reader_that_failed_goes_on_failing() {
    let (mut bytes, _) = write(&customers(10));
    *bytes.last_mut().unwrap() ^= 1;
    let mut reader = Reader::new(bytes.as_slice());
    while let Ok(Some(_)) = reader.advance() {}
    assert!(reader.current().unwrap().is_none());
    assert!(reader.advance().is_err());
    assert!(reader.checksum().is_none());
}

#[test]
fn a_newer_version_is_named_as_such() {
    let (mut bytes, _) = write(&customers(1));
    bytes[6] = 3;
    let failure = read(&bytes).unwrap_err();
    assert_eq!(failure.class, Class::Configuration);
    assert!(failure.message.contains("written by a newer version"), "{failure}");
    assert_eq!(read(b"id,name\n1,x\n").unwrap_err().class, Class::Bug);
    assert_eq!(read(b"").unwrap_err().class, Class::Bug);
}

/// Written by version 1: ten rows, of which every third was refused, with two codes.
const VERSION_1: &str = "\
    424b485345470100760000006c000000700000008eb2387de92cbbb228b52ffd20761d030044050a0a0a0a0d05051304\
    200f01070907010003044b303030313233343536373839000e0e0e0e0f30303135653032343638000100010f53545249\
    4e475f544f4f5f4c4f4e470f4455504c49434154455f56414c55450500a04a10022802475882b2040000000000000000\
    640000000000000001000000000000000200000000000000030000000000000067000000000000000400000000000000\
    050000000000000006000000000000006a00000000000000070000000000000008000000000000000900000000000000\
    6d00000000000000000000000a00000000000000da769d4381c25da2";

#[test]
fn what_the_first_version_wrote_is_read() {
    let bytes: Vec<u8> = (0..VERSION_1.len() / 2)
        .map(|place| u8::from_str_radix(&VERSION_1[2 * place..2 * place + 2], 16).unwrap())
        .collect();
    let expected: Vec<Owned> = (0..10_u64)
        .map(|n| {
            let id = (n % 2 == 0).then(|| format!("0015e{n:010}AAA"));
            let code = if n % 2 == 0 { "STRING_TOO_LONG" } else { "DUPLICATE_VALUE" };
            let refused = (n % 3 == 0).then(|| Refusal::of(Refused::new(Fingerprint(100 + n), code)));
            (format!("K{n:03}"), Some(n), id, refused)
        })
        .collect();
    assert_eq!(read(&bytes).unwrap(), expected);
    let (rewritten, _) = write(&expected);
    assert_eq!((rewritten[6], read(&rewritten).unwrap()), (2, expected));
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        assert!(read(&damaged).is_err(), "byte {at}");
    }
}

#[test]
fn a_refused_row_takes_few_bytes_more() {
    let size = |refused: fn(u64) -> Option<Refusal>| {
        let mut rows = customers(20_000);
        rows.iter_mut().zip(0..).for_each(|(row, n)| row.3 = refused(n));
        write(&rows).0.len()
    };
    let (none, all) = (size(|_| None), size(|n| Some(refusal(n))));
    assert!(
        (all - none) / 20_000 < 9,
        "{} bytes for each, of which 8 are its fingerprint",
        (all - none) / 20_000
    );
    assert_eq!(size(|_| None), none);
}

#[test]
fn keys_must_ascend_within_and_between_segments() {
    for keys in [["b", "a"], ["a", "a"], ["ab", "a"], ["é", "z"]] {
        let mut writer = Writer::new(Vec::new());
        writer.push(&Entry::key(keys[0])).unwrap();
        assert_eq!(writer.push(&Entry::key(keys[1])).unwrap_err().class, Class::Bug, "{keys:?}");
        let pieces = keys.map(|key| write(&[(key.to_owned(), None, None, None)]).0);
        let mut segments = Segments::new(pieces.iter().map(|piece| Ok(piece.as_slice())));
        segments.advance().unwrap();
        assert_eq!(segments.advance().err().unwrap().class, Class::Bug, "{keys:?}");
    }
}

#[test]
fn an_empty_piece_between_two_does_not_hide_an_overlap() {
    let piece = |keys: &[&str]| {
        write(&keys.iter().map(|key| ((*key).to_owned(), None, None, None)).collect::<Vec<_>>()).0
    };
    let pieces = [piece(&["a", "b"]), piece(&[]), piece(&["b"])];
    let mut segments = Segments::new(pieces.iter().map(|piece| Ok(piece.as_slice())));
    assert!(segments.advance().unwrap().is_some());
    assert!(segments.advance().unwrap().is_some());
    assert!(segments.advance().is_err());
}

#[test]
fn the_summary_names_the_bytes() {
    let (bytes, summary) = write(&customers(5000));
    let mut reader = Reader::new(bytes.as_slice());
    while reader.advance().unwrap().is_some() {}
    assert_eq!(reader.checksum().unwrap(), summary.checksum);
    let reference = summary.into_ref("syncs/x/baseline/1.zst".to_owned());
    assert_eq!((reference.rows, reference.checksum.len()), (5000, 16));
}

#[test]
fn a_row_takes_at_most_ten_bytes() {
    let count = 100_000;
    let (bytes, _) = write(&customers(count));
    let per_row = bytes.len() * 100 / count as usize;
    assert!(per_row <= 1000, "{}.{:02} bytes a row", per_row / 100, per_row % 100);
    assert!(per_row > 800, "eight bytes of each row are its fingerprint");
}

#[test]
fn the_checksum_of_an_id_is_not_stored() {
    let ids = |id: fn(u64) -> String| {
        let rows: Vec<Owned> = (0..20_000).map(|n| (format!("{n:08}"), None, Some(id(n)), None)).collect();
        let (bytes, _) = write(&rows);
        assert_eq!(read(&bytes).unwrap(), rows);
        bytes.len()
    };
    // Digits only: the checksum of `0015e00000` is `AAA` and of a lower-case letter as well.
    let right = ids(|n| format!("0015e{:010}AAA", n * 7919 % 9_999_999));
    let short = ids(|n| format!("0015e{:010}", n * 7919 % 9_999_999));
    assert!(right.abs_diff(short) < 300, "{right} and {short}");
}

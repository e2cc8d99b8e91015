//! Segments: baselines, sent keys and deltas.

use std::collections::BTreeMap;

use backhaul_engine::{
    Class, Failure, Fingerprint,
    segment::{Entry, Reader, Refused, Writer},
};
use jiff::Timestamp;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::draw::{Draw, Pieces};

/// What a segment says of a key: accepted, id, refused.
type Said = (Option<u64>, Option<String>, Option<Refusal>);
/// Fingerprint, code, fields, first, last, tries, released.
type Refusal = (u64, String, String, Option<Timestamp>, Option<Timestamp>, u32, bool);
type Row = (String, Said);

/// Stands between the blocks of a forged segment.
const SEPARATOR: &[u8] = b"BLOCK";

/// A damaged segment is an error and never other rows; and whatever is taken for a segment is in order, and
/// is the same when it is written again. The input is taken for a segment, for the blocks of one whose
/// checksums are right, and for the rows of one that is then damaged.
pub fn check(bytes: &[u8]) {
    check_foreign(bytes);
    check_foreign(&forged(bytes, 1));
    check_foreign(&forged(bytes, 2));
    check_damaged(bytes);
}

fn read(bytes: &[u8]) -> (Vec<Row>, Result<(), Failure>) {
    let mut reader = Reader::new(Pieces::of(bytes));
    let mut rows = Vec::new();
    loop {
        match reader.advance() {
            Ok(Some(entry)) => rows.push(owned(entry)),
            Ok(None) => return (rows, Ok(())),
            Err(failure) => {
                assert!(matches!(failure.class, Class::Bug | Class::Configuration), "{failure}");
                assert!(reader.advance().is_err() && reader.key().is_none() && reader.checksum().is_none());
                return (rows, Err(failure));
            }
        }
    }
}

fn owned(entry: Entry<'_>) -> Row {
    let refused = entry.refused.map(|refused| {
        let Refused { fingerprint, code, fields, first, last, tries, released } = refused;
        (fingerprint.0, code.to_owned(), fields.to_owned(), first, last, tries, released)
    });
    let id = entry.id.map(ToOwned::to_owned);
    (entry.key.to_owned(), (entry.accepted.map(|fingerprint| fingerprint.0), id, refused))
}

fn write<'a>(rows: impl IntoIterator<Item = (&'a String, &'a Said)>) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (key, (accepted, id, refused)) in rows {
        let refused =
            refused.as_ref().map(|(fingerprint, code, fields, first, last, tries, released)| Refused {
                fingerprint: Fingerprint(*fingerprint),
                code,
                fields,
                first: *first,
                last: *last,
                tries: *tries,
                released: *released,
            });
        let entry = Entry { key, accepted: accepted.map(Fingerprint), id: id.as_deref(), refused };
        writer.push(&entry).unwrap_or_else(|failure| panic!("{failure}"));
    }
    writer.finish().expect("a Vec takes everything").0
}

fn check_foreign(bytes: &[u8]) {
    let (rows, end) = read(bytes);
    assert!(rows.windows(2).all(|pair| pair[0].0 < pair[1].0), "out of order");
    if end.is_ok() {
        let written = write(rows.iter().map(|(key, said)| (key, said)));
        assert_eq!(read(&written), (rows, Ok(())));
    }
}

/// A segment of blocks whose fingerprints and unpacked text are as given, with every checksum right. The first
/// byte of a block says how many fingerprints there are.
fn forged(bytes: &[u8], version: u8) -> Vec<u8> {
    let mut out = [b"BKHSEG", &[version, 0][..]].concat();
    let (mut rows, mut left) = (0, bytes);
    for number in 0.. {
        let end = left.windows(SEPARATOR.len()).position(|window| window == SEPARATOR);
        rows += forge_block(&mut out, number, &left[..end.unwrap_or(left.len())]);
        let Some(end) = end else { break };
        left = &left[end + SEPARATOR.len()..];
    }
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&rows.to_le_bytes());
    let checksum = xxh3_64(&out);
    out.extend_from_slice(&checksum.to_le_bytes());
    out
}

/// How many rows the block says it has.
fn forge_block(out: &mut Vec<u8>, number: u64, block: &[u8]) -> u64 {
    let Some((count, block)) = block.split_first() else { return 0 };
    let (fingerprints, text) = block.split_at(block.len().min(8 * usize::from(*count)));
    let packed = zstd::bulk::compress(text, 1).expect("zstd takes every text");
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).expect("inputs are small").to_le_bytes();
    let head = [length(text), length(&packed), length(fingerprints)].concat();
    let mut hash = Xxh3::with_seed(number);
    [&head, &packed, fingerprints].into_iter().for_each(|part| hash.update(part));
    [&head, &hash.digest().to_le_bytes()[..], &packed, fingerprints]
        .into_iter()
        .for_each(|part| out.extend_from_slice(part));
    let first = |place: usize| u64::from(text.get(place).copied().unwrap_or_default());
    if first(0) < 0x80 { first(0) } else { (first(0) & 0x7f) | (first(1) << 7) }
}

/// Each line is a row: its key, and after tabs perhaps an id and a code.
fn check_damaged(bytes: &[u8]) {
    let rows: BTreeMap<String, Said> = bytes.split(|byte| *byte == b'\n').map(row).collect();
    let whole = write(&rows);
    let rows: Vec<Row> = rows.into_iter().collect();
    assert_eq!(read(&whole), (rows.clone(), Ok(())));
    let mut draw = Draw::of(bytes);
    for _ in 0..3 {
        let mut damaged = whole.clone();
        damaged[draw.below(whole.len())] ^= 1 << draw.below(8);
        check_error(&damaged, &rows);
    }
    check_error(&whole[..draw.below(whole.len())], &rows);
    check_error(&[&whole, bytes, b"x"].concat(), &rows);
}

fn row(line: &[u8]) -> Row {
    let text = String::from_utf8_lossy(line);
    let mut parts = text.splitn(3, '\t').map(ToOwned::to_owned);
    let (key, id, code) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
    let fingerprint = xxh3_64(line);
    let accepted = (fingerprint & 3 > 0).then_some(fingerprint);
    let instant = |seconds: u64| i64::try_from(seconds).ok().and_then(|at| Timestamp::from_second(at).ok());
    let (first, last) = (instant(1 + fingerprint % (1 << 34)), instant(1 + (fingerprint >> 1) % (1 << 34)));
    let (tries, fields) = ((fingerprint >> 40) as u32, key.chars().take(9).collect());
    let refused = code.map(|code| (!fingerprint, code, fields, first, last, tries, fingerprint & 4 > 0));
    (key, (accepted, id, refused))
}

/// Damage is an error, and before it nothing is read but what was written.
fn check_error(damaged: &[u8], rows: &[Row]) {
    let (read, end) = read(damaged);
    assert!(end.is_err(), "damage went unseen");
    assert!(rows.starts_with(&read), "other rows than were written");
}

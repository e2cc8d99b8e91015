//! Partitions of a Snowflake result.

use std::io::{self, Read, Write};

use backhaul_engine::{
    Class, Failure,
    document::Scan,
    partition::{Rows, WINDOW, scan},
};
use flate2::{Compression, write::GzEncoder};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::draw::{Draw, Pieces};

/// The text of a cell, and whether it is broken.
type Cell = (Option<String>, bool);
type Table = Result<Vec<Vec<Cell>>, Failure>;

/// However a partition is cut, packed or indented, its rows or its error are the same; they are those that
/// `serde_json` finds; and a part of a partition is never taken for a whole one.
pub fn check(bytes: &[u8]) {
    let whole = read(bytes);
    if let Err(failure) = &whole {
        assert_eq!(failure.class, Class::Transient, "{failure}");
        assert!(failure.message.contains("(at row "), "{failure}");
    }
    assert_eq!(read(Pieces::of(bytes)), whole, "in pieces");
    check_scan(bytes, &whole);
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        check_edge(bytes, &whole);
        check_cuts(bytes, &whole);
        check_json(bytes, &whole);
    }
}

fn read(input: impl Read) -> Table {
    let mut rows = Rows::new(input);
    let mut table = Vec::new();
    while let Some(row) = rows.next()? {
        let cell = |index| {
            let (text, broken) = (row.cell(index), row.is_broken(index));
            assert!(!broken || text.is_some_and(|text| text.contains('\u{fffd}')));
            (text.map(ToOwned::to_owned), broken)
        };
        assert!(row.cell(row.len()).is_none() && !row.is_broken(row.len()));
        table.push((0..row.len()).map(cell).collect());
    }
    assert!(rows.next()?.is_none(), "the end stays the end");
    Ok(table)
}

/// The scan says of the rows what the rows say.
fn check_scan(bytes: &[u8], whole: &Table) {
    let scanned = scan(Pieces::of(bytes), 0);
    let Ok(rows) = whole else { return assert!(scanned.is_err(), "damage went unseen") };
    if rows.first().is_some_and(Vec::is_empty) {
        return assert_eq!(scanned.map_err(|failure| failure.class), Err(Class::Bug));
    }
    let key = |row: &Vec<Cell>| row[0].0.clone().filter(|key| !key.is_empty() && !row[0].1);
    let mut keys = rows.iter().filter_map(key);
    let (first_key, last_key) = (keys.next(), rows.iter().rev().find_map(key));
    assert_eq!(scanned, Ok(Scan { rows: rows.len() as u64, first_key, last_key }));
}

/// The end of the window falls somewhere into the text. It is slow, so only one input in eight is read so.
fn check_edge(bytes: &[u8], whole: &Table) {
    let mut draw = Draw::of(bytes);
    if draw.below(8) > 0 {
        return;
    }
    let blanks = WINDOW - draw.below(bytes.len().min(WINDOW) + 1);
    let input = io::repeat(b' ').take(blanks as u64).chain(bytes);
    assert_eq!(read(input), *whole, "behind {blanks} blanks");
}

fn check_cuts(bytes: &[u8], whole: &Table) {
    let packed = gzip(bytes);
    assert_eq!(read(Pieces::of(&packed)), *whole, "packed");
    let mut draw = Draw::of(bytes);
    let cut = draw.below(packed.len());
    assert!(read(&packed[..cut]).is_err(), "{cut} of {} packed bytes", packed.len());
    let text = bytes.trim_ascii_end();
    for _ in 0..3 {
        let cut = draw.below(text.len());
        assert!(whole.is_err() || read(&text[..cut]).is_err(), "{cut} of {} bytes", text.len());
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("a Vec takes everything")
}

/// What `serde_json` takes for a table is read as that table.
fn check_json(bytes: &[u8], whole: &Table) {
    let Some(expected) = json(bytes) else { return };
    let same_width = expected.windows(2).all(|rows| rows[0].len() == rows[1].len());
    let scalar = expected.iter().flatten().all(|cell| !cell.get().starts_with(['[', '{']));
    // The name of a member may hold an escape, which only a JSON parser reads.
    let plain = !bytes.contains(&b'\\');
    match whole {
        Err(failure) => assert!(!(same_width && scalar && plain), "{failure}"),
        Ok(rows) => {
            assert_eq!(rows.len(), expected.len());
            rows.iter().zip(&expected).for_each(|(row, expected)| check_row(row, expected));
        }
    }
}

fn json(bytes: &[u8]) -> Option<Vec<Vec<&RawValue>>> {
    #[derive(Deserialize)]
    struct Body<'a> {
        #[serde(borrow)]
        data: Vec<Vec<&'a RawValue>>,
    }
    if bytes.trim_ascii_start().starts_with(b"[") {
        return serde_json::from_slice(bytes).ok();
    }
    serde_json::from_slice(bytes).ok().map(|body: Body| body.data)
}

fn check_row(row: &[Cell], expected: &[&RawValue]) {
    assert_eq!(row.len(), expected.len());
    for ((text, broken), expected) in row.iter().zip(expected) {
        let text = text.as_deref();
        match expected.get() {
            "null" => assert_eq!(text, None),
            string if string.starts_with('"') => match serde_json::from_str::<String>(string) {
                Ok(expected) => assert_eq!((text, *broken), (Some(expected.as_str()), false)),
                Err(_) => assert!(broken, "half of a pair"),
            },
            word => assert_eq!(text, Some(word)),
        }
    }
}

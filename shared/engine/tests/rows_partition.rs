//! Partitions are read whatever their packing, and damage is never taken for the end.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::io::{self, Read, Write};

use backhaul_engine::{
    Class, Failure,
    partition::{Rows, WINDOW, scan},
};
use flate2::{Compression, write::GzEncoder};
use proptest::prelude::*;

type Table = Vec<Vec<Option<String>>>;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn read(input: impl Read) -> Result<Table, Failure> {
    let mut rows = Rows::new(input);
    let mut table = Vec::new();
    while let Some(row) = rows.next()? {
        table.push((0..row.len()).map(|index| row.cell(index).map(ToOwned::to_owned)).collect());
    }
    assert!(rows.next()?.is_none(), "the end stays the end");
    Ok(table)
}

fn read_text(text: &str) -> Result<Table, Failure> {
    read(text.as_bytes())
}

fn table(rows: &[&[Option<&str>]]) -> Table {
    rows.iter().map(|row| row.iter().map(|cell| cell.map(ToOwned::to_owned)).collect()).collect()
}

/// Hands out few bytes at a time.
struct Drip<'a>(&'a [u8], usize);

impl Read for Drip<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.1.min(buffer.len()).min(self.0.len());
        buffer[..length].copy_from_slice(&self.0[..length]);
        self.0 = &self.0[length..];
        Ok(length)
    }
}

#[test]
fn every_packing_gives_the_same_rows() {
    let expected = table(&[&[Some("1"), Some("Ann"), None], &[Some("2"), Some(""), Some("x")]]);
    let rows = r#"[["1","Ann",null],["2","","x"]]"#;
    let bodies = [
        rows.to_owned(),
        format!(r#"{{"data":{rows}}}"#),
        format!(" {{ \"data\" : {} }} \n", rows.replace(',', " ,\n ").replace('[', "[ ").replace(']', " ]")),
        format!(
            r#"{{"a":[1,{{"data":[["no"]]}},"]}}\""],"b":null,"c\"":-1.5e3,"data":{rows},"z":{{"data":[]}}}}"#
        ),
    ];
    for body in bodies {
        let packed = gzip(body.as_bytes());
        let (front, back) = body.split_at(body.len() / 2);
        let members = [gzip(front.as_bytes()), gzip(back.as_bytes())].concat();
        for drip in [1, 7, usize::MAX] {
            for bytes in [body.as_bytes(), &packed, &members] {
                assert_eq!(read(Drip(bytes, drip)).unwrap(), expected, "{body}");
            }
        }
    }
}

#[test]
fn empty_tables_and_bare_words() {
    assert_eq!(read_text("[]").unwrap(), Table::new());
    assert_eq!(read_text(r#"{"data":[]}"#).unwrap(), Table::new());
    assert_eq!(read_text("[[]]").unwrap(), table(&[&[]]));
    let words = read_text("[[1, -2.50e+3 ,true,false,null]]").unwrap();
    assert_eq!(words, table(&[&[Some("1"), Some("-2.50e+3"), Some("true"), Some("false"), None]]));
}

#[test]
fn escapes_are_decoded() {
    let text = r#"[["\"\\\/\b\f\n\r\t","\u00e9\ud83d\ude00\u0000x","plain"]]"#;
    let expected = table(&[&[Some("\"\\/\u{8}\u{c}\n\r\t"), Some("é😀\0x"), Some("plain")]]);
    assert_eq!(read_text(text).unwrap(), expected);
}

#[test]
fn half_a_pair_breaks_its_cell_only() {
    for half in [r"\ud83d", r"\ude00", r"\ud83dx", r"\ud83d\u0041", r"\ud83d\ud83d"] {
        let text = format!(r#"[["{half}","é\n"]]"#);
        let mut rows = Rows::new(text.as_bytes());
        let row = rows.next().unwrap().unwrap();
        assert!(row.is_broken(0) && !row.is_broken(1), "{half}");
        assert_eq!((row.key(0), row.cell(1)), (None, Some("é\n")));
    }
}

#[test]
fn a_row_may_be_larger_than_the_window() {
    let long = "ü\\\"".repeat(WINDOW);
    let text = format!(r#"[["a","b"],["{long}","c"],["d","e"]]"#);
    let rows = read(Drip(&gzip(text.as_bytes()), 5000)).unwrap();
    assert_eq!(rows.len(), 3);
    assert_eq!(rows[1][0].as_deref(), Some("ü\"".repeat(WINDOW).as_str()));
    assert_eq!(rows[2][1].as_deref(), Some("e"));
}

#[test]
fn truncation_anywhere_is_transient() {
    let body = br#"{"data":[["1","a\n"],["2",null]],"z":1}"#;
    let packed = gzip(body);
    for bytes in [&body[..], &packed] {
        for length in 0..bytes.len() {
            let failure = read(&bytes[..length]).expect_err("cut short");
            assert_eq!(failure.class, Class::Transient, "{length}: {failure}");
        }
    }
}

#[test]
fn damage_is_transient_and_names_the_row() {
    let mut wrong_checksum = gzip(br#"[["1"]]"#);
    let at = wrong_checksum.len() - 8;
    wrong_checksum[at] ^= 1;
    let cases: [&[u8]; 14] = [
        b"[[\"1\"],[\"2\"]]x",
        b"[[\"1\"],[\"\xff\"]]",
        b"[[\"1\"][\"2\"]]",
        b"[[\"1\"],]",
        b"[[\"1\"],[\"2\" \"3\"]]",
        b"[[\"1\"],[{}]]",
        b"[[\"1\"],[\"\\x\"]]",
        b"[[\"1\"],[\"\\u12\"]]",
        b"[[\"1\"],[\"2\",\"3\"]]",
        b"[[\"1\"],\"2\"]",
        b"{\"data\":[[\"1\"]],\"data\":[]}",
        b"{\"data\":null}",
        b"{\"rows\":[]}",
        &wrong_checksum,
    ];
    for bytes in cases {
        let text = String::from_utf8_lossy(bytes);
        let failure = read(bytes).expect_err(&text);
        assert_eq!(failure.class, Class::Transient, "{text}");
        assert!(failure.message.contains("at row "), "{failure}");
    }
    assert!(read(cases[1]).unwrap_err().message.contains("at row 2"));
}

#[test]
fn a_failure_of_the_input_is_passed_on() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other(Failure::quota("`body` was refused")))
        }
    }
    assert_eq!(read(b"[[\"1\"]".chain(Failing)).unwrap_err().class, Class::Quota);
}

#[test]
fn a_scan_finds_count_and_keys() {
    let found = scan(&br#"[["x",null],["x",""],["x","b\n"],["x","c"],["x",null]]"#[..], 1).unwrap();
    assert_eq!(
        (found.rows, found.first_key.as_deref(), found.last_key.as_deref()),
        (5, Some("b\n"), Some("c"))
    );
    let found = scan(&br#"[["x",null]]"#[..], 1).unwrap();
    assert_eq!((found.rows, found.first_key, found.last_key), (1, None, None));
    assert_eq!(scan(&br#"[["x"]]"#[..], 1).unwrap_err().class, Class::Bug);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn rows_agree_with_another_parser(
        rows in (0usize..6).prop_flat_map(|width| {
            let cell = prop::option::of(prop_oneof![".{0,10}", "[ -~]{0,60}", "[\"\\\\\n\u{0}é😀]{0,20}"]);
            prop::collection::vec(prop::collection::vec(cell, width), 0..30)
        }),
        drip in 1usize..3000,
        pretty: bool,
    ) {
        let body = serde_json::json!({ "data": rows, "more": [1, {"x": "]"}] });
        let text = if pretty { serde_json::to_string_pretty(&body) } else { serde_json::to_string(&body) }.unwrap();
        prop_assert_eq!(read(Drip(text.as_bytes(), drip)).unwrap(), rows.clone());
        prop_assert_eq!(read(Drip(&gzip(text.as_bytes()), drip)).unwrap(), rows);
    }
}

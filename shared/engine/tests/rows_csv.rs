//! What is written can be read back by another implementation.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use backhaul_engine::csv;
use proptest::prelude::*;

fn read(bytes: &[u8]) -> Vec<Vec<String>> {
    let mut reader = ::csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(bytes);
    reader.records().map(|record| record.unwrap().iter().map(ToOwned::to_owned).collect()).collect()
}

#[test]
fn only_what_must_be_is_quoted() {
    let cells = ["O'Brien", "a b", "", "x", "a,b", "a\"b", "a\nb", "a\rb", " a", "a ", "\ta", "#N/A", "ü"];
    let mut out = Vec::new();
    csv::line(&mut out, cells);
    let expected = "O'Brien,a b,,x,\"a,b\",\"a\"\"b\",\"a\nb\",\"a\rb\",\" a\",\"a \",\"\ta\",#N/A,ü\n";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

proptest! {
    #[test]
    fn rows_round_trip(rows in prop::collection::vec(prop::collection::vec("[a-c,\"\r\n\t 'ü😀]{0,12}", 2..5), 1..6)) {
        let mut out = Vec::new();
        for row in &rows {
            csv::line(&mut out, row.iter().map(String::as_str));
        }
        prop_assert_eq!(read(&out), rows);
    }
}

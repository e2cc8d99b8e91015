//! What the fuzzers found worth keeping holds still: each input of `fuzz/corpus` keeps what `fuzz/src` says.

use std::{fs, path::Path};

#[path = "../../../fuzz/src/lib.rs"]
mod properties;

/// Calls `check` with every input of a corpus, and says which one it panics at.
fn replay(corpus: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(corpus);
    let files = fs::read_dir(&folder).expect("every target has a corpus");
    let mut inputs: Vec<_> = files.map(|file| file.expect("the corpus can be read").path()).collect();
    inputs.sort();
    assert!(!inputs.is_empty());
    for input in inputs {
        let bytes = fs::read(&input).expect("the corpus can be read");
        let result = std::panic::catch_unwind(|| check(&bytes));
        assert!(result.is_ok(), "broken by {}", input.display());
    }
}

#[test]
fn partitions() {
    replay("partition", properties::partition::check);
}

#[test]
fn csv_records() {
    replay("records", properties::records::check);
}

#[test]
fn result_files() {
    replay("results", properties::results::check);
}

#[test]
fn sync_files() {
    replay("config", properties::config::check);
}

#[test]
fn segments() {
    replay("segment", properties::segment::check);
}

#[test]
fn answers_of_collections() {
    replay("collections", properties::collections::check);
}

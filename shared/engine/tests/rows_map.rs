//! A chunk is mapped as a slow and simple mapper would do it.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Cursor, Write},
};

use backhaul_engine::{
    Class, Failure, Fingerprint,
    config::Operation,
    contract::ColumnKind,
    csv,
    document::{Chunk, Examples, Mapped, Release, Which},
    fingerprint::Fingerprints,
    held::Releases,
    map::{GROUP_BYTES, GROUPS, PIECE_BYTES, Piece, SAMPLES, map_chunk},
    mapping::{Assignment, Conversion, KeyRule, Mapping, Source, WhenNull},
    segment::{Entry, Reader, Refused, Writer},
};
use flate2::{Compression, write::GzEncoder};
use jiff::Timestamp;
use proptest::prelude::*;

type Row = Vec<Option<String>>;

#[derive(Clone, Debug, PartialEq)]
struct Known {
    accepted: Option<u64>,
    id: Option<String>,
    refused: Option<(u64, String)>,
}

fn assignment(header: &str, source: Source, conversion: Conversion, when_null: WhenNull) -> Assignment {
    Assignment { header: header.to_owned(), source, conversion, when_null }
}

fn column(index: usize, kind: ColumnKind) -> Source {
    Source::Column { index, kind, scale: None }
}

/// Columns: name, key, amount.
fn mapping() -> Mapping {
    let text = Conversion::Text { max_chars: 8 };
    Mapping::new(
        KeyRule { column: 1, kind: ColumnKind::Text, fold_case: false },
        vec![
            assignment(
                "Key__c",
                column(1, ColumnKind::Text),
                Conversion::Text { max_chars: 0 },
                WhenNull::Refuse,
            ),
            assignment(
                "Amount__c",
                column(2, ColumnKind::Fixed),
                Conversion::Decimal { precision: 6, scale: 2 },
                WhenNull::Keep,
            ),
            assignment("Name", column(0, ColumnKind::Text), text.clone(), WhenNull::Clear),
            assignment("Source__c", Source::Constant("snow,flake".to_owned()), text, WhenNull::Clear),
        ],
    )
}

fn chunk(rows: usize) -> Chunk {
    Chunk {
        chunk: 3,
        partitions: vec![0, 1, 2],
        rows: rows as u64,
        from_key: None,
        to_key: None,
        previous_key: None,
    }
}

/// Large partitions stay plain: a debug build compresses too slowly.
fn packed(rows: &[Row]) -> Vec<u8> {
    if rows.len() > 1000 {
        return serde_json::to_vec(rows).unwrap();
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    serde_json::to_writer(&mut encoder, &serde_json::json!({ "data": rows })).unwrap();
    encoder.flush().unwrap();
    encoder.finish().unwrap()
}

fn segment<'a>(entries: impl IntoIterator<Item = (&'a String, &'a Known)>) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (key, known) in entries {
        let refused = known.refused.as_ref();
        let refused = refused.map(|(hash, code)| Refused::new(Fingerprint(*hash), code));
        let entry =
            Entry { key, accepted: known.accepted.map(Fingerprint), id: known.id.as_deref(), refused };
        writer.push(&entry).map_err(|_| "push").unwrap();
    }
    writer.finish().map_err(|_| "finish").unwrap().0
}

fn entries(bytes: &[u8]) -> Vec<(String, Known)> {
    let mut reader = Reader::new(bytes);
    let mut all = Vec::new();
    while let Some(entry) = reader.advance().unwrap() {
        let refused = entry.refused.map(|refused| (refused.fingerprint.0, refused.code.to_owned()));
        let accepted = entry.accepted.map(|fingerprint| fingerprint.0);
        all.push((entry.key.to_owned(), Known { accepted, id: entry.id.map(ToOwned::to_owned), refused }));
    }
    all
}

fn run(
    chunk: &Chunk,
    partitions: &[Vec<Row>],
    baseline: &[Vec<u8>],
) -> Result<(Mapped, Vec<Piece>), Failure> {
    run_as(&mapping(), chunk, partitions, baseline)
}

fn run_as(
    mapping: &Mapping,
    chunk: &Chunk,
    partitions: &[Vec<Row>],
    baseline: &[Vec<u8>],
) -> Result<(Mapped, Vec<Piece>), Failure> {
    run_with(mapping, chunk, partitions, baseline, &Releases::default())
}

fn run_with(
    mapping: &Mapping,
    chunk: &Chunk,
    partitions: &[Vec<Row>],
    baseline: &[Vec<u8>],
    releases: &Releases,
) -> Result<(Mapped, Vec<Piece>), Failure> {
    let mut pieces = Vec::new();
    let mapped = map_chunk(
        mapping,
        chunk,
        partitions.iter().map(|rows| Ok(Cursor::new(packed(rows)))),
        baseline.iter().map(|bytes| Ok(bytes.as_slice())),
        releases,
        &mut |piece| {
            pieces.push(piece);
            Ok(())
        },
    )?;
    Ok((mapped, pieces))
}

fn row(name: Option<&str>, key: Option<&str>, amount: Option<&str>) -> Row {
    [name, key, amount].map(|cell| cell.map(ToOwned::to_owned)).to_vec()
}

fn keyed(keys: &[&str]) -> Vec<Row> {
    keys.iter().map(|key| row(Some("n"), Some(key), None)).collect()
}

fn text(pieces: &[Piece], file: &str) -> String {
    let piece = pieces.iter().find(|piece| piece.file == file).expect(file);
    String::from_utf8(piece.bytes.clone()).unwrap()
}

#[test]
fn each_fate_has_its_place() {
    let rows = vec![
        row(Some("O'Brien"), Some("a"), Some("1.50")),
        row(Some("same"), Some("b"), None),
        row(None, Some("c"), Some("2")),
        row(Some("much too long"), Some("d"), Some("1.234")),
        row(Some("held"), Some("e"), None),
        row(Some("x"), None, None),
    ];
    let header = "Key__c,Amount__c,Name,Source__c\n";
    assert_eq!(csv::header(&mapping()), header);
    let hash = |line: &str| Some(Fingerprints::under(header).of(line.as_bytes()).0);
    let known = |accepted, id: Option<&str>| Known { accepted, id: id.map(ToOwned::to_owned), refused: None };
    let held = Known {
        accepted: Some(9),
        id: None,
        refused: Some((hash("e,,held,\"snow,flake\"").unwrap(), "STRING_TOO_LONG".to_owned())),
    };
    let baseline: BTreeMap<String, Known> = [
        ("b", known(hash("b,,same,\"snow,flake\""), None)),
        ("bb", known(Some(7), Some("001D000000IqhSLIAZ"))),
        ("c", known(Some(8), Some("001D000000IqhSMIAZ"))),
        ("d", known(Some(8), None)),
        ("e", held),
    ]
    .map(|(key, known)| (key.to_owned(), known))
    .into();
    let (mapped, pieces) = run(&chunk(6), &[rows], &[segment(&baseline)]).unwrap();

    assert_eq!(text(&pieces, "upsert-000.csv"), "a,1.50,O'Brien,\"snow,flake\"\nc,2,#N/A,\"snow,flake\"\n");
    assert_eq!(text(&pieces, "held-000.csv"), "key,code,fields,first,last,tries\ne,STRING_TOO_LONG,,,,1\n");
    let invalid = "key,code,field,reason\n\
        d,too_many_decimals,Amount__c,`Amount__c` has more than 2 digits after the point; round it in the model; \
        `Name` is longer than 8 characters\n\
        ,null_key,Key__c,`Key__c` is NULL or empty\n";
    assert_eq!(text(&pieces, "invalid-000.csv"), invalid);
    let sent = pieces.iter().find(|piece| piece.file == "upsert-000.sent.zst").unwrap();
    let expected = vec![
        ("a".to_owned(), known(hash("a,1.50,O'Brien,\"snow,flake\""), None)),
        ("c".to_owned(), known(hash("c,2,#N/A,\"snow,flake\""), Some("001D000000IqhSMIAZ"))),
    ];
    assert_eq!(entries(&sent.bytes), expected);
    let removed = pieces.iter().find(|piece| piece.file == "removed-000.zst").unwrap();
    assert_eq!(entries(&removed.bytes), [("bb".to_owned(), baseline["bb"].clone())]);
    let counts = (mapped.read, mapped.unchanged, mapped.held, mapped.added, mapped.changed, mapped.removed);
    assert_eq!(counts, (6, 1, 1, 1, 1, 1));
    assert_eq!((mapped.fragments.len(), mapped.fragments[0].rows, mapped.fragments[0].chunk), (1, 2, 3));
    assert_eq!(mapped.samples.len(), 2);
    assert_eq!(mapped.samples[1].key, None);
    assert_eq!(mapped.cleared, [("Name".to_owned(), 1)].into(), "of `c`, which was accepted before");
    let [added, changed, removed] = ["a", "c", "bb"].map(|key| vec![key.to_owned()]);
    assert_eq!(mapped.examples, Examples { added, changed, removed });
}

#[test]
fn a_released_row_goes_and_one_that_was_mended_is_held_no_more() {
    let header = "Key__c,Amount__c,Name,Source__c\n";
    let hash = |key: &str| Fingerprints::under(header).of(format!("{key},,n,\"snow,flake\"").as_bytes()).0;
    let refused = |key: &str, code: &str| Known {
        accepted: None,
        id: None,
        refused: Some((hash(key), code.to_owned())),
    };
    let mended = Known { accepted: Some(hash("d")), ..refused("other", "A") };
    let baseline: BTreeMap<String, Known> =
        [("a", refused("a", "A")), ("b", refused("b", "B")), ("c", refused("c", "C")), ("d", mended)]
            .map(|(key, known)| (key.to_owned(), known))
            .into();
    let set = |text: &str| BTreeSet::from([text.to_owned()]);
    for (which, sent, held) in [
        (vec![], "", "abc"),
        (vec![Which::All], "abc", ""),
        (vec![Which::Codes(set("B")), Which::Keys(set("c"))], "bc", "a"),
        (vec![Which::Keys(set("d")), Which::Codes(set("b"))], "", "abc"),
    ] {
        let release = |rows| Release { at: Timestamp::UNIX_EPOCH, by: "test".to_owned(), rows };
        let releases = Releases::of(&which.into_iter().map(release).collect::<Vec<_>>());
        let rows = keyed(&["a", "b", "c", "d"]);
        let (mapped, pieces) =
            run_with(&mapping(), &chunk(4), &[rows], &[segment(&baseline)], &releases).unwrap();
        let first_of = |file: &str, from: usize| -> String {
            let piece = pieces.iter().find(|piece| piece.file == file);
            let text = piece.map(|piece| String::from_utf8(piece.bytes.clone()).unwrap()).unwrap_or_default();
            text.lines().skip(from).map(|line| line[..1].to_owned()).collect()
        };
        assert_eq!(
            (first_of("upsert-000.csv", 0).as_str(), first_of("held-000.csv", 1).as_str()),
            (sent, held)
        );
        assert_eq!((mapped.released, mapped.held), (sent.len() as u64, held.len() as u64));
        assert_eq!(mapped.held_for.values().map(|held| held.rows).sum::<u64>(), mapped.held);
        let mended = pieces.iter().find(|piece| piece.file == "mended-000.zst").unwrap();
        let known = Known { accepted: Some(hash("d")), id: None, refused: None };
        assert_eq!(entries(&mended.bytes), [("d".to_owned(), known)]);
    }
}

/// Only a NULL that clears counts, and only where something may be lost.
#[test]
fn cells_that_clear_are_counted_by_field_and_examples_are_few() {
    let keys: Vec<String> = (0..20).map(|key| format!("{key:02}")).collect();
    let rows: Vec<Row> = keys.iter().map(|key| row(None, Some(key), None)).collect();
    let accepted = |key: &String| (key.clone(), Known { accepted: Some(1), id: None, refused: None });
    let baseline: BTreeMap<String, Known> = keys.iter().take(7).map(accepted).collect();
    let (mapped, _) = run(&chunk(20), &[rows], &[segment(&baseline)]).unwrap();
    assert_eq!((mapped.changed, mapped.added), (7, 13));
    assert_eq!(mapped.cleared, [("Name".to_owned(), 7)].into());
    assert_eq!(mapped.examples.changed, keys[..Examples::MOST]);
    assert_eq!(mapped.examples.added, keys[7..7 + Examples::MOST]);
}

#[test]
fn keys_are_checked() {
    let long = "k".repeat(256);
    let longest = "ü".repeat(255);
    let rows = keyed(&["", "a\nb", "a\rb", "b", &long, &longest]);
    let (mapped, _) = run(&chunk(6), &[rows], &[]).unwrap();
    let expected = [("control_character", 2), ("key_too_long", 1), ("null_key", 1)];
    assert_eq!(mapped.invalid, expected.map(|(code, rows)| (code.to_owned(), rows)).into());
    assert_eq!(mapped.added, 2);
}

#[test]
fn a_numeric_key_must_be_canonical() {
    let mut mapping = mapping();
    mapping.assignments[0].conversion = Conversion::Integer { digits: 9 };
    let (mapped, _) = run_as(&mapping, &chunk(2), &[keyed(&["007", "7"])], &[]).unwrap();
    assert_eq!((mapped.invalid["key_not_canonical"], mapped.added), (1, 1));
}

#[test]
fn rows_out_of_order_or_range_stop_the_run() {
    let with = |from: Option<&str>, to: Option<&str>, previous: Option<&str>, rows: usize| {
        let own = |key: Option<&str>| key.map(ToOwned::to_owned);
        Chunk { from_key: own(from), to_key: own(to), previous_key: own(previous), ..chunk(rows) }
    };
    for (chunk, keys) in [
        (with(None, None, None, 2), ["b", "a"]),
        (with(None, None, None, 2), ["9", "10"]),
        (with(Some("b"), None, None, 2), ["a", "b"]),
        (with(None, Some("b"), None, 2), ["a", "c"]),
        (with(None, None, Some("b"), 2), ["a", "b"]),
    ] {
        let failure = run(&chunk, &[keyed(&keys)], &[]).map(|_| ()).unwrap_err();
        assert_eq!(failure.class, Class::Configuration, "{keys:?}");
    }
    let failure = run(&chunk(3), &[keyed(&["a", "b"])], &[]).map(|_| ()).unwrap_err();
    assert_eq!(failure.class, Class::Bug, "a row of the manifest is missing");
}

#[test]
fn duplicates_across_the_borders_of_a_chunk_are_found() {
    let chunk = Chunk {
        from_key: Some("b".to_owned()),
        to_key: Some("d".to_owned()),
        previous_key: Some("b".to_owned()),
        ..chunk(4)
    };
    let known = Known { accepted: Some(1), id: None, refused: None };
    let baseline: BTreeMap<String, Known> =
        ["a", "b", "c", "cc", "d", "e"].map(|key| (key.to_owned(), known.clone())).into();
    let (mapped, pieces) =
        run(&chunk, &[keyed(&["b"]), keyed(&["c"]), keyed(&["d", "d"])], &[segment(&baseline)]).unwrap();
    assert_eq!((mapped.invalid["duplicate_key"], mapped.changed, mapped.removed), (3, 1, 1));
    let removed = pieces.iter().find(|piece| piece.file == "removed-000.zst").unwrap();
    assert_eq!(entries(&removed.bytes)[0].0, "cc");
}

#[test]
fn pieces_are_bounded_and_samples_few() {
    let rows = 50_000;
    let long = "x".repeat(250);
    let all: Vec<Row> = (0..rows)
        .map(|n| {
            row(
                Some(if n % 3 == 0 { "much too long" } else { "n" }),
                Some(&format!("{n:06}{}", &long[..240])),
                None,
            )
        })
        .collect();
    let (mapped, pieces) = run(&chunk(rows), &[all], &[]).unwrap();
    assert!(pieces.iter().all(|piece| piece.bytes.len() <= PIECE_BYTES));
    assert!(mapped.fragments.len() > 1 && pieces.iter().any(|piece| piece.file == "invalid-000.csv"));
    assert_eq!(mapped.samples.len(), SAMPLES);
    for (number, fragment) in mapped.fragments.iter().enumerate() {
        assert_eq!(fragment.file, format!("upsert-{number:03}.csv"));
        let csv = text(&pieces, &fragment.file);
        assert_eq!((csv.len() as u64, csv.lines().count() as u64), (fragment.bytes, fragment.rows));
        let sent = fragment.file.replace(".csv", ".sent.zst");
        let sent = pieces.iter().find(|piece| piece.file == sent).unwrap();
        let keys: Vec<String> = entries(&sent.bytes).into_iter().map(|(key, _)| key).collect();
        assert!(csv.lines().map(|line| line.split(',').next().unwrap()).eq(keys.iter().map(String::as_str)));
    }
    assert_eq!(mapped.fragments.iter().map(|fragment| fragment.rows).sum::<u64>(), mapped.sent());
}

/// The mapping of the tests with another operation.
fn operated(operation: Operation) -> Mapping {
    Mapping { operation, ..mapping() }
}

/// Nothing but the id, as a delete has it.
fn ids(operation: Operation) -> Mapping {
    let key = assignment("Id", column(1, ColumnKind::Text), Conversion::RecordId, WhenNull::Refuse);
    Mapping {
        operation,
        ..Mapping::new(KeyRule { column: 1, kind: ColumnKind::Text, fold_case: false }, vec![key])
    }
}

const IDS: [&str; 3] = ["001D000000IqhSLIAZ", "001D000000IqhSMIAZ", "001D000000IqhSNIAZ"];

#[test]
fn what_was_inserted_once_is_never_inserted_again() {
    let known = |accepted, refused: Option<u64>| Known {
        accepted,
        id: None,
        refused: refused.map(|hash| (hash, "DUPLICATE_VALUE".to_owned())),
    };
    let baseline: BTreeMap<String, Known> = [
        ("a", known(Some(1), None)),    // Inserted, and changed since.
        ("b", known(Some(1), Some(2))), // Inserted, and refused since, whatever that was.
        ("c", known(None, Some(3))),    // Refused, and changed since.
        ("x", known(Some(1), None)),    // Inserted, and gone from the model.
        ("y", known(None, Some(1))),    // Refused, and gone from the model.
    ]
    .map(|(key, known)| (key.to_owned(), known))
    .into();
    let rows = keyed(&["a", "b", "c", "d"]);
    let insert = operated(Operation::Insert);
    let (mapped, pieces) = run_as(&insert, &chunk(4), &[rows], &[segment(&baseline)]).unwrap();
    assert_eq!((mapped.unchanged, mapped.added, mapped.changed, mapped.removed), (2, 2, 0, 1));
    assert_eq!(mapped.fragments[0].file, "insert-000.csv");
    assert_eq!(text(&pieces, "insert-000.csv"), "c,,n,\"snow,flake\"\nd,,n,\"snow,flake\"\n");
    let removed = pieces.iter().find(|piece| piece.file == "removed-000.zst").unwrap();
    assert_eq!(entries(&removed.bytes)[0].0, "y", "it comes back as if it were new");
}

#[test]
fn a_delete_sends_each_id_once() {
    for operation in [Operation::Delete, Operation::HardDelete] {
        let accepted = Fingerprints::under("Id\n").of(IDS[0].as_bytes()).0;
        let known = Known { accepted: Some(accepted), id: None, refused: None };
        let baseline = BTreeMap::from([(IDS[0].to_owned(), known)]);
        // What else the row says has no bearing.
        let rows = vec![row(Some("x"), Some(IDS[0]), Some("9")), row(None, Some(IDS[1]), None)];
        let (mapped, pieces) = run_as(&ids(operation), &chunk(2), &[rows], &[segment(&baseline)]).unwrap();
        assert_eq!((mapped.unchanged, mapped.added), (1, 1));
        let file = format!("{}-000.csv", operation.word());
        assert_eq!(text(&pieces, &file), format!("{}\n", IDS[1]));
    }
}

/// P17, P18: two spellings of one id would be two rows for one record.
#[test]
fn an_id_is_a_key_in_one_spelling_only() {
    let lower = IDS[2].to_lowercase();
    let short_then_long = [&IDS[0][..15], IDS[0]];
    let rows = keyed(&[&["001"][..], &short_then_long, &["001D000000IqhSMIAA"], &[&lower]].concat());
    for operation in [Operation::Update, Operation::Delete] {
        let (mapped, _) = run_as(&ids(operation), &chunk(5), std::slice::from_ref(&rows), &[]).unwrap();
        let expected = [("id_not_18", 1), ("not_a_record_id", 3)];
        assert_eq!(mapped.invalid, expected.map(|(code, rows)| (code.to_owned(), rows)).into());
        assert_eq!(mapped.added, 1);
    }
}

#[test]
fn a_part_of_the_model_removes_nothing() {
    let known = Known { accepted: Some(1), id: None, refused: None };
    let baseline: BTreeMap<String, Known> = ["a", "b", "c"].map(|key| (key.to_owned(), known.clone())).into();
    let narrowed = Mapping { narrowed: true, ..mapping() };
    let (mapped, pieces) = run_as(&narrowed, &chunk(1), &[keyed(&["b"])], &[segment(&baseline)]).unwrap();
    assert_eq!((mapped.changed, mapped.removed), (1, 0));
    assert!(pieces.iter().all(|piece| !piece.file.starts_with("removed")));
    let (mapped, _) = run(&chunk(1), &[keyed(&["b"])], &[segment(&baseline)]).unwrap();
    assert_eq!((mapped.changed, mapped.removed), (1, 2));
}

/// The name is the parent.
fn grouped() -> Mapping {
    Mapping { group_by: Some(2), ..mapping() }
}

/// Checks what holds for the fragments of groups, and gives each row with its group.
fn by_group(mapped: &Mapped, pieces: &[Piece]) -> Vec<(u32, String, String)> {
    let mut all = Vec::new();
    let mut last = BTreeMap::new();
    for (number, fragment) in mapped.fragments.iter().enumerate() {
        assert_eq!(fragment.file, format!("upsert-{number:03}.csv"));
        assert!((1..=GROUPS).contains(&fragment.group) && fragment.bytes <= GROUP_BYTES as u64);
        let csv = text(pieces, &fragment.file);
        assert_eq!(csv.len() as u64, fragment.bytes);
        let sent = pieces.iter().find(|piece| piece.file == fragment.sent_file()).unwrap();
        let mut reader = ::csv::ReaderBuilder::new().has_headers(false).from_reader(csv.as_bytes());
        let records: Vec<_> = reader.records().map(Result::unwrap).collect();
        assert_eq!(records.len() as u64, fragment.rows);
        for (record, (key, _)) in records.iter().zip(entries(&sent.bytes)) {
            assert_eq!(record[0], key);
            let before = last.insert(fragment.group, key.clone());
            assert!(before.is_none_or(|before| before < key), "a group is in key order");
            all.push((fragment.group, record[2].to_owned(), key));
        }
    }
    all
}

#[test]
fn rows_of_one_parent_stay_together_and_orphans_do_not() {
    let many = 60_000;
    let long = "k".repeat(240);
    let parent = |n: usize| if n.is_multiple_of(3) { None } else { Some(format!("p{}", n % 97)) };
    let rows: Vec<Row> =
        (0..many).map(|n| row(parent(n).as_deref(), Some(&format!("{n:06}{long}")), None)).collect();
    let (mapped, pieces) = run_as(&grouped(), &chunk(many), &[rows], &[]).unwrap();
    assert!(mapped.fragments.len() > GROUPS as usize, "a group has several fragments");
    let mut parents: BTreeMap<String, u32> = BTreeMap::new();
    let mut orphans = [0; GROUPS as usize];
    let rows = by_group(&mapped, &pieces);
    assert_eq!(rows.len(), many);
    for (group, parent, _) in rows {
        match parent.as_str() {
            "#N/A" => orphans[group as usize - 1] += 1,
            _ => assert_eq!(*parents.entry(parent).or_insert(group), group),
        }
    }
    let used: BTreeSet<u32> = parents.values().copied().collect();
    assert_eq!((parents.len(), used.len()), (97, GROUPS as usize));
    assert!(orphans.iter().all(|rows| *rows > many / 3 / 16), "{orphans:?}");
}

/// What the mapper should find, by looking every key up in a map.
#[derive(Debug, Default, PartialEq)]
struct Expected {
    unchanged: u64,
    held: Vec<String>,
    invalid: BTreeMap<String, u64>,
    sent: BTreeMap<String, (Vec<String>, Option<String>)>,
    added: u64,
    removed: BTreeMap<String, Known>,
}

fn code(row: &Row) -> Option<&'static str> {
    let key = row[1].as_deref().unwrap_or_default();
    let name = row[0].as_deref().unwrap_or_default();
    if key.chars().any(char::is_control) {
        Some("control_character")
    } else if key == "#N/A" {
        Some("reserved_text")
    } else if row[2].as_ref().is_some_and(|amount| amount.ends_with("01")) {
        Some("too_many_decimals")
    } else if name == "#N/A" {
        Some("reserved_text")
    } else if name.replace("\r\n", "\n").chars().count() > 8 {
        Some("too_long")
    } else {
        None
    }
}

fn cells(row: &Row) -> Vec<String> {
    let name = row[0].clone().unwrap_or_default().replace("\r\n", "\n").replace('\r', "\n");
    let name = if name.is_empty() { "#N/A".to_owned() } else { name };
    vec![row[1].clone().unwrap(), row[2].clone().unwrap_or_default(), name, "snow,flake".to_owned()]
}

/// The CSV row as the csv crate writes it, with the one difference that outer spaces need quotes.
fn fingerprint(row: &Row) -> u64 {
    let quoted = |cell: String| {
        let needs =
            cell.contains(['"', ',', '\n']) || cell.starts_with([' ', '\t']) || cell.ends_with([' ', '\t']);
        if needs { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell }
    };
    let line = cells(row).into_iter().map(quoted).collect::<Vec<_>>().join(",");
    Fingerprints::under("Key__c,Amount__c,Name,Source__c\n").of(line.as_bytes()).0
}

fn expected(rows: &[Row], baseline: &BTreeMap<String, Known>) -> Expected {
    let mut expected = Expected { removed: baseline.clone(), ..Expected::default() };
    let mut groups: BTreeMap<&str, Vec<&Row>> = BTreeMap::new();
    for row in rows {
        groups.entry(row[1].as_deref().unwrap_or_default()).or_default().push(row);
    }
    for (key, group) in groups {
        let mut invalid =
            |code: &str| *expected.invalid.entry(code.to_owned()).or_default() += group.len() as u64;
        if key.is_empty() {
            invalid("null_key");
            continue;
        }
        let known = expected.removed.remove(key);
        if group.len() > 1 {
            invalid("duplicate_key");
        } else if let Some(code) = code(group[0]) {
            invalid(code);
        } else {
            let accepted = known.as_ref().and_then(|known| known.accepted);
            let hash = fingerprint(group[0]);
            if accepted == Some(hash) {
                expected.unchanged += 1;
            } else if known
                .as_ref()
                .and_then(|known| known.refused.as_ref())
                .is_some_and(|refused| refused.0 == hash)
            {
                expected.held.push(key.to_owned());
            } else {
                expected.added += u64::from(accepted.is_none());
                expected.sent.insert(key.to_owned(), (cells(group[0]), known.and_then(|known| known.id)));
            }
        }
    }
    expected
}

fn found(mapped: &Mapped, pieces: &[Piece]) -> Expected {
    let mut found = Expected {
        unchanged: mapped.unchanged,
        invalid: mapped.invalid.clone(),
        added: mapped.added,
        ..Expected::default()
    };
    let mut listed = 0;
    for piece in pieces {
        let records = |has_headers| {
            let mut reader =
                ::csv::ReaderBuilder::new().has_headers(has_headers).from_reader(&piece.bytes[..]);
            let records =
                reader.records().map(|record| record.unwrap().iter().map(ToOwned::to_owned).collect());
            records.collect::<Vec<Vec<String>>>()
        };
        if piece.file.starts_with("upsert") && piece.file.ends_with(".csv") {
            let sent =
                pieces.iter().find(|other| other.file == piece.file.replace(".csv", ".sent.zst")).unwrap();
            for (record, (key, known)) in records(false).into_iter().zip(entries(&sent.bytes)) {
                assert_eq!(record[0], key);
                found.sent.insert(key, (record, known.id));
            }
        } else if piece.file.starts_with("held") {
            found.held.extend(records(true).into_iter().map(|record| record[0].clone()));
        } else if piece.file.starts_with("removed") {
            found.removed.extend(entries(&piece.bytes));
        } else if piece.file.starts_with("invalid") {
            listed += records(true).len() as u64;
        }
    }
    assert_eq!(listed, mapped.invalid_rows());
    assert_eq!(found.held.len() as u64, mapped.held);
    assert_eq!(found.removed.len() as u64, mapped.removed);
    assert_eq!(found.sent.len() as u64, mapped.sent());
    found
}

fn key() -> impl Strategy<Value = Option<String>> {
    prop_oneof![
        12 => "[a-c]{1,3}".prop_map(Some),
        4 => "[a-bü😀,\"' ]{1,3}".prop_map(Some),
        1 => Just(None),
        1 => prop_oneof![Just(""), Just("#N/A"), Just("a\nb")].prop_map(|key| Some(key.to_owned())),
    ]
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let name = prop::option::of(prop_oneof![
        "[a-cé😀\"',\n ]{0,9}",
        Just("a\r\nb\rc".to_owned()),
        Just("#N/A".to_owned())
    ]);
    let amount = prop::option::of(prop_oneof![Just("1.5"), Just("-20"), Just("3.1401")]);
    let row =
        (name, key(), amount).prop_map(|(name, key, amount)| vec![name, key, amount.map(ToOwned::to_owned)]);
    prop::collection::vec(row, 0..60).prop_map(|mut rows| {
        // As Snowflake sorts: by the bytes of the key, nulls last.
        rows.sort_by(|a, b| (a[1].is_none(), &a[1]).cmp(&(b[1].is_none(), &b[1])));
        rows
    })
}

fn baseline(rows: &[Row], picks: &[u8]) -> BTreeMap<String, Known> {
    let mut baseline = BTreeMap::new();
    for (row, pick) in rows.iter().zip(picks) {
        let Some(key) = row[1].clone().filter(|key| !key.is_empty()) else { continue };
        let hash = fingerprint(row);
        let id = (pick % 2 == 0).then(|| "001D000000IqhSLIAZ".to_owned());
        let refusal = |hash| Some((hash, "STRING_TOO_LONG".to_owned()));
        let known = match pick % 6 {
            0 => Known { accepted: Some(hash), id, refused: None },
            1 => Known { accepted: Some(hash ^ 1), id, refused: None },
            2 => Known { accepted: Some(hash ^ 1), id, refused: refusal(hash) },
            3 => Known { accepted: None, id, refused: refusal(hash) },
            4 => Known { accepted: None, id, refused: refusal(hash ^ 1) },
            _ => continue,
        };
        baseline.insert(key, known.clone());
        baseline.insert(format!("{}!", row[1].as_deref().unwrap_or_default()), known);
    }
    baseline
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn mapping_agrees_with_looking_everything_up(
        rows in rows(),
        picks in prop::collection::vec(any::<u8>(), 60),
        cuts in prop::collection::vec(0usize..60, 2),
        segment_cut in 0usize..60,
    ) {
        let baseline = baseline(&rows, &picks);
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(rows.len())).collect();
        cuts.sort_unstable();
        let partitions = [rows[..cuts[0]].to_vec(), rows[cuts[0]..cuts[1]].to_vec(), rows[cuts[1]..].to_vec()];
        let segments = [
            segment(baseline.iter().take(segment_cut)),
            segment(baseline.iter().skip(segment_cut)),
        ];
        let (mapped, pieces) = run(&chunk(rows.len()), &partitions, &segments).unwrap();
        prop_assert_eq!(found(&mapped, &pieces), expected(&rows, &baseline));
        prop_assert_eq!(mapped.read, mapped.unchanged + mapped.held + mapped.invalid_rows() + mapped.sent());

        // In groups the same rows are sent.
        let (mapped, pieces) = run_as(&grouped(), &chunk(rows.len()), &partitions, &segments).unwrap();
        prop_assert_eq!(found(&mapped, &pieces), expected(&rows, &baseline));
        let groups: BTreeMap<_, _> =
            by_group(&mapped, &pieces).into_iter().filter(|(_, parent, _)| parent != "#N/A")
                .map(|(group, parent, _)| (parent, group)).collect();
        for (group, parent, _) in by_group(&mapped, &pieces) {
            prop_assert!(groups.get(&parent).is_none_or(|of| *of == group));
        }

        // The same rows as two chunks find the same, whichever key the border falls on.
        let (front, back) = rows.split_at(cuts[0]);
        let border = back.iter().find_map(|row| row[1].clone().filter(|key| !key.is_empty()));
        let previous = front.iter().rev().find_map(|row| row[1].clone().filter(|key| !key.is_empty()));
        prop_assume!(border.is_some());
        let first = Chunk { to_key: border.clone(), ..chunk(front.len()) };
        let second = Chunk { from_key: border, previous_key: previous, ..chunk(back.len()) };
        let mut together = Expected::default();
        for (chunk, part) in [(first, front), (second, back)] {
            let (mapped, pieces) = run(&chunk, &[part.to_vec()], &segments).unwrap();
            let part = found(&mapped, &pieces);
            together.unchanged += part.unchanged;
            together.added += part.added;
            together.held.extend(part.held);
            together.sent.extend(part.sent);
            together.removed.extend(part.removed);
            part.invalid.into_iter().for_each(|(code, rows)| *together.invalid.entry(code).or_default() += rows);
        }
        prop_assert_eq!(together, expected(&rows, &baseline));
    }
}

//! What became of a job's rows: by key, each counted once, and nothing taken for accepted that was not.

#![allow(clippy::unwrap_used, reason = "the helpers of a test are tests as well")]

use std::collections::BTreeMap;

use backhaul_engine::{
    Class, Failure, Fingerprint, JobRef,
    config::Operation,
    contract::ColumnKind,
    document::{Collected, Found, Fragment},
    mapping::KeyRule,
    outcome::{ALREADY_THERE, Further, JoinInput, Outcomes, Output, Verdict, join},
    segment::{Entry, Reader, Writer},
};
use jiff::Timestamp;
use proptest::prelude::*;

#[derive(Debug, PartialEq, Clone)]
enum News {
    Accepted(u64, Option<String>),
    Refused(u64, String),
}

#[derive(Debug)]
struct Joined {
    collected: Collected,
    news: BTreeMap<String, News>,
    chunks: Vec<u32>,
    missing: String,
    again: BTreeMap<String, Vec<u8>>,
    /// Of the refused, by key.
    fields: BTreeMap<String, String>,
}

fn segment(keys: &[&str]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for key in keys {
        writer.push(&Entry { accepted: Some(print(key)), ..Entry::key(key) }).unwrap();
    }
    writer.finish().unwrap().0
}

fn print(key: &str) -> Fingerprint {
    Fingerprint(key.bytes().fold(7, |hash: u64, byte| hash.wrapping_mul(31).wrapping_add(u64::from(byte))))
}

fn rule(kind: ColumnKind, fold_case: bool) -> KeyRule {
    KeyRule { column: 0, kind, fold_case }
}

fn input(key: &KeyRule, operation: Operation, external_id: &str) -> JoinInput {
    let job = JobRef { wave: 1, job: 4 };
    let (key, external_id) = (key.clone(), external_id.to_owned());
    JoinInput {
        job,
        operation,
        key,
        external_id,
        state: "JobComplete".to_owned(),
        removes: false,
        instant: INSTANT,
    }
}

const INSTANT: Timestamp = Timestamp::constant(1_767_225_600, 0);

fn fragment(chunk: u32, number: usize) -> Fragment {
    Fragment {
        chunk,
        again: None,
        group: 0,
        removes: false,
        file: format!("upsert-{number:03}.csv"),
        rows: 0,
        bytes: 0,
    }
}

fn run(key: &KeyRule, sent: &[(u32, &[&str])], files: [&str; 3]) -> Result<Joined, Failure> {
    let outcomes = joined(input(key, Operation::Upsert, "Ext__c"), sent, files)?;
    written(outcomes, sent, Further::Exhausted)
}

fn joined(input: JoinInput, sent: &[(u32, &[&str])], files: [&str; 3]) -> Result<Outcomes, Failure> {
    let pieces: Vec<_> = sent.iter().map(|(chunk, keys)| (*chunk, segment(keys))).collect();
    let numbered = pieces.iter().enumerate();
    let sent = numbered.map(|(number, (chunk, bytes))| Ok((fragment(*chunk, number), bytes.as_slice())));
    let [success, failed, unprocessed] = files.map(str::as_bytes);
    join(input, sent, success, failed, unprocessed)
}

/// The fragments as they were sent: the key, and a name that needs quotes.
fn uploads(sent: &[(u32, &[&str])]) -> Vec<Vec<u8>> {
    sent.iter().map(|(_, keys)| keys.iter().flat_map(|key| csv_row(key).into_bytes()).collect()).collect()
}

fn csv_row(key: &str) -> String {
    format!("{},\"a \"\"name\"\",\nof two lines\"\n", quoted(key))
}

fn written(outcomes: Outcomes, sent: &[(u32, &[&str])], further: Further) -> Result<Joined, Failure> {
    let (mut news, mut chunks, mut missing) = (BTreeMap::new(), Vec::new(), String::new());
    let (mut again, mut fields) = (BTreeMap::new(), BTreeMap::new());
    let uploads = uploads(sent);
    let uploads = uploads.iter().map(|bytes| Ok(bytes.as_slice()));
    let collected = outcomes.write(further, uploads, &mut |output| {
        match output {
            Output::Missing { bytes } => missing = String::from_utf8(bytes).unwrap(),
            Output::Again { file, bytes } => drop(again.insert(file, bytes)),
            Output::Delta { chunk, bytes } => {
                chunks.push(chunk);
                let mut reader = Reader::new(bytes.as_slice());
                while let Some(entry) = reader.advance()? {
                    let said = match (entry.accepted, entry.refused) {
                        (Some(accepted), None) => News::Accepted(accepted.0, entry.id.map(str::to_owned)),
                        (None, Some(refused)) => {
                            assert_eq!((refused.first, refused.last), (Some(INSTANT), Some(INSTANT)));
                            assert_eq!((refused.tries, refused.released), (1, false));
                            fields.insert(entry.key.to_owned(), refused.fields.to_owned());
                            News::Refused(refused.fingerprint.0, refused.code.to_owned())
                        }
                        _ => panic!("a delta says one thing"),
                    };
                    assert!(news.insert(entry.key.to_owned(), said).is_none());
                }
            }
        }
        Ok(())
    })?;
    let rows = collected.accepted() + collected.rejected_rows() + collected.unprocessed + collected.missing;
    assert_eq!(rows, collected.sent);
    assert_eq!(collected.held, fields.len() as u64);
    Ok(Joined { collected, news, chunks, missing, again, fields })
}

fn text(sent: &[&str], files: [&str; 3]) -> Joined {
    run(&rule(ColumnKind::Text, false), &[(0, sent)], files).unwrap()
}

const ID: &str = "001000000000001AAA";
const SUCCESS: &str = "\"sf__Id\",\"sf__Created\",Ext__c,Name\n";
const FAILED: &str = "\"sf__Id\",\"sf__Error\",Ext__c,Name\n";

fn success(rows: &[(&str, &str)]) -> String {
    let line = |(key, created): &(&str, &str)| format!("\"{ID}\",\"{created}\",\"{key}\",\"x\"\n");
    SUCCESS.to_owned() + &rows.iter().map(line).collect::<String>()
}

fn failed(rows: &[(&str, &str)]) -> String {
    let line = |(key, error): &(&str, &str)| format!("\"\",\"{error}\",\"{key}\",\"x\"\n");
    FAILED.to_owned() + &rows.iter().map(line).collect::<String>()
}

#[test]
fn each_row_finds_its_outcome_by_key() {
    let sent: [(u32, &[&str]); 4] = [(3, &["a", "b"]), (3, &["c"]), (4, &["d", "e"]), (6, &["f", "g\"h"])];
    // The order is not that of the upload.
    let files = [
        success(&[("e", "true"), ("a", "false")]),
        failed(&[
            ("d", "UNABLE_TO_LOCK_ROW:unable to obtain exclusive access:--"),
            ("b", "STRING_TOO_LONG:Name: data value too large: Müller, Ltd (max length=5):Name --"),
        ]),
        "Ext__c,Name\n\"c\",\"x\"\n".to_owned(),
    ];
    let joined = run(&rule(ColumnKind::Text, false), &sent, [&files[0], &files[1], &files[2]]).unwrap();
    let expected = [
        ("a".to_owned(), News::Accepted(print("a").0, Some(ID.to_owned()))),
        ("b".to_owned(), News::Refused(print("b").0, "STRING_TOO_LONG".to_owned())),
        ("e".to_owned(), News::Accepted(print("e").0, Some(ID.to_owned()))),
    ];
    assert_eq!(joined.news, BTreeMap::from(expected));
    assert_eq!(joined.chunks, [3, 4, 6]);
    assert_eq!(joined.missing, "key\n\"f\"\n\"g\"\"h\"\n");
    let counts = &joined.collected;
    assert_eq!((counts.created, counts.updated, counts.unprocessed, counts.missing), (1, 1, 1, 2));
    assert_eq!(counts.rejected["UNABLE_TO_LOCK_ROW"] + counts.rejected["STRING_TOO_LONG"], 2);
    let sample = counts.samples.iter().find(|sample| sample.code == "STRING_TOO_LONG").unwrap();
    assert_eq!((sample.key.as_deref(), sample.field.as_deref()), (Some("b"), Some("Name")));
    assert!(!sample.reason.contains("Müller"));
}

#[test]
fn empty_files_in_all_their_forms() {
    for empty in ["", "\n", "\"sf__Id\",\"sf__Error\",Ext__c", "\u{feff}"] {
        let joined = text(&["a", "b"], [empty, empty, empty]);
        assert_eq!((joined.collected.missing, joined.collected.sent), (2, 2), "{empty:?}");
        assert!(joined.news.is_empty());
    }
    let nothing = run(&rule(ColumnKind::Text, false), &[], ["", "", ""]).unwrap();
    assert_eq!((nothing.collected.sent, nothing.missing.as_str()), (0, "key\n"));
}

#[test]
fn columns_are_found_by_name() {
    let success = format!("Name,Ext__c,\"sf__Created\",\"sf__Id\"\n\"b\",\"a\",\"true\",\"{ID}\"\n");
    let joined = text(&["a", "b"], [&success, "", ""]);
    assert_eq!(joined.news.keys().collect::<Vec<_>>(), ["a"]);
    for without in ["\"sf__Id\",\"sf__Created\",Name\n\"\",\"\",\"\"\n", "Ext__c,Name\n\"a\",\"\"\n"] {
        let failure = run(&rule(ColumnKind::Text, false), &[(0, &["a"])], [without, "", ""]).unwrap_err();
        assert_eq!(failure.class, Class::Bug, "{failure}");
    }
}

#[test]
fn records_end_where_they_end() {
    let (crlf, bare) = (
        success(&[("a", "true"), ("b", "true")]).replace('\n', "\r\n"),
        SUCCESS.to_owned() + "001,true,a,x\n001,false,b,",
    );
    let marked = format!("\u{feff}{}\n\n", success(&[("a", "true"), ("b", "true")]));
    let broken = format!("{SUCCESS}\"1\",\"true\",\"a\",\"x\ny, \"\"\nz\"\n\"1\",\"true\",\"b\",\"\"");
    for file in [crlf, bare, marked, broken] {
        assert_eq!(text(&["a", "b"], [&file, "", ""]).collected.accepted(), 2, "{file}");
    }
    // A record longer than the buffer.
    let long = format!(
        "{SUCCESS}\"1\",\"true\",\"a\",\"{}\"\n\"1\",\"true\",\"b\",\"\"\n",
        "long \n".repeat(100_000)
    );
    assert_eq!(text(&["a", "b"], [&long, "", ""]).collected.created, 2);
}

#[test]
fn only_data_faults_are_held() {
    for (error, held) in [
        ("REQUIRED_FIELD_MISSING:Required fields are missing: [Name]:Name --", true),
        ("SOMETHING_NEW:who knows:--", true),
        ("no code at all", true),
        ("UNABLE_TO_LOCK_ROW:busy:--", false),
        ("UNKNOWN_EXCEPTION:oops:--", false),
        ("STORAGE_LIMIT_EXCEEDED:full:--", false),
        ("INSUFFICIENT_ACCESS_OR_READONLY:no:--", false),
        ("INVALID_FIELD:Foreign key external ID: k1 not found for field Key__c in entity Account:--", false),
    ] {
        let joined = text(&["a"], ["", &failed(&[("a", error)]), ""]);
        assert_eq!(joined.collected.rejected_rows(), 1, "{error}");
        assert_eq!(joined.news.contains_key("a"), held, "{error}");
    }
}

#[test]
fn keys_are_compared_as_their_kind_says() {
    let fixed = rule(ColumnKind::Fixed, false);
    for (sent, back) in [
        ("912260031", "9.12260031E8"),
        ("912260031", "912260031.0"),
        ("1000", "1E3"),
        ("0", "0.0"),
        ("-7", "-7.0"),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
    ] {
        let joined = run(&fixed, &[(0, &[sent])], [&success(&[(back, "true")]), "", ""]).unwrap();
        assert_eq!(joined.collected.created, 1, "{sent} and {back}");
        let as_text =
            run(&rule(ColumnKind::Text, false), &[(0, &[sent])], [&success(&[(back, "true")]), "", ""]);
        assert_eq!(as_text.is_ok(), sent == back, "as text {sent} and {back} are different");
    }
    for (sent, back) in [("912260031", "9.12260032E8"), ("7", "-7"), ("10", "1"), ("7", "x")] {
        assert!(
            run(&fixed, &[(0, &[sent])], [&success(&[(back, "true")]), "", ""]).is_err(),
            "{sent} and {back}"
        );
    }
}

#[test]
fn text_keys_are_neither_trimmed_nor_folded_unless_the_field_says_so() {
    let sent: [(u32, &[&str]); 1] = [(0, &[" a", "A", "b", "ÄÖ"])];
    let plain = rule(ColumnKind::Text, false);
    assert_eq!(
        run(&plain, &sent, [&success(&[(" a", "true"), ("A", "true")]), "", ""]).unwrap().collected.created,
        2
    );
    assert!(run(&plain, &sent, [&success(&[("a", "true")]), "", ""]).is_err());
    assert!(run(&plain, &sent, [&success(&[("B", "true")]), "", ""]).is_err());
    let folding = rule(ColumnKind::Text, true);
    let files = success(&[("a", "true"), ("B", "true"), ("äö", "true")]);
    let joined = run(&folding, &sent, [&files, "", ""]).unwrap();
    assert_eq!(joined.news.keys().collect::<Vec<_>>(), ["A", "b", "ÄÖ"]);
    assert!(run(&folding, &sent, [&success(&[("a ", "true")]), "", ""]).is_err());
    // Two that differ by case only are still told apart by what comes back, and never guessed.
    let both: [(u32, &[&str]); 1] = [(0, &["KEY", "key"])];
    assert_eq!(
        run(&folding, &both, [&success(&[("key", "true")]), "", ""]).unwrap().missing,
        "key\n\"KEY\"\n"
    );
    assert!(run(&folding, &both, [&success(&[("Key", "true")]), "", ""]).is_err());
}

#[test]
fn a_stranger_in_the_results_is_a_bug_that_shows_no_key() {
    let failure =
        run(&rule(ColumnKind::Text, false), &[(0, &["a"])], [&success(&[("secret", "true")]), "", ""])
            .unwrap_err();
    assert_eq!(failure.class, Class::Bug);
    assert!(failure.message.contains("`1`") && !failure.to_string().contains("secret"), "{failure}");
    let twice = run(&rule(ColumnKind::Text, false), &[(0, &["a"]), (1, &["a"])], ["", "", ""]);
    assert_eq!(twice.unwrap_err().class, Class::Bug);
}

#[test]
fn a_row_told_of_twice_counts_once_and_a_contradiction_teaches_nothing() {
    let good = success(&[("a", "false"), ("b", "true"), ("a", "true"), ("c", "true")]);
    let bad = failed(&[
        ("b", "STRING_TOO_LONG:long:Name --"),
        ("d", "DUPLICATE_VALUE:x:--"),
        ("d", "DUPLICATE_VALUE:x:--"),
    ]);
    let joined = text(&["a", "b", "c", "d"], [&good, &bad, "Ext__c\n\"c\"\n"]);
    let counts = &joined.collected;
    assert_eq!((counts.created, counts.updated, counts.unprocessed), (1, 0, 2));
    assert_eq!(counts.rejected, BTreeMap::from([("DUPLICATE_VALUE".to_owned(), 1)]));
    assert_eq!(joined.news.keys().collect::<Vec<_>>(), ["a", "d"]);
}

#[test]
fn torn_records_never_credit_a_row() {
    // Unescaped quotes inside of the error, one of them before a comma.
    for error in ["the \"name\" is taken, sorry", "the \"name\", \"place\" is taken", "\"\"name\"\", twice"] {
        let torn = format!("{FAILED}\"\",\"DUPLICATE_VALUE:{error}:Name --\",\"a\",\"x\"\n");
        let joined = text(&["a", "b"], ["", &torn, ""]);
        assert_eq!((joined.collected.rejected_rows(), joined.collected.missing), (1, 1), "{error}");
    }
    // A cell too few, or a file that was cut off: the rows stay missing.
    let table = [format!("{SUCCESS}\"001\",\"true\"\n"), format!("{SUCCESS}\"001\",\"true\",\"a")];
    for file in table {
        assert_eq!(text(&["a"], [&file, "", ""]).collected.missing, 1, "{file}");
    }
    for file in [format!("{FAILED}\"\",\"X:y:--\",\"a\"\n"), format!("{FAILED}\"\",\"X:y:--\",\"a\",\"")] {
        assert_eq!(text(&["a"], ["", &file, ""]).collected.missing, 1, "{file}");
    }
    let nuls = success(&[("a", "true")]).replace("\"a\"", "\"\0a\0\"");
    assert_eq!(text(&["a"], [&nuls, "", ""]).collected.created, 1);
}

#[test]
fn ids_come_back_as_they_are() {
    let ids = ["001000000000001AAA", "0015e00000abcDEAAY", "001000000000001", "odd", ""];
    for id in ids {
        let file = format!("{SUCCESS}\"{id}\",\"true\",\"a\",\"x\"\n");
        let joined = text(&["a"], [&file, "", ""]);
        let expected = match id {
            "" => None,
            "001000000000001" => Some("001000000000001AAA".to_owned()),
            other => Some(other.to_owned()),
        };
        assert_eq!(joined.news["a"], News::Accepted(print("a").0, expected));
    }
}

#[test]
fn a_value_in_a_message_is_never_taken_for_a_field() {
    for (error, field) in [
        (
            "REQUIRED_FIELD_MISSING:Required fields are missing: [LastName, Email]:LastName, Email --",
            Some("LastName, Email"),
        ),
        ("STRING_TOO_LONG:x:Name --", Some("Name")),
        ("STRING_TOO_LONG:x:Custom__c --", Some("Custom__c")),
        ("INVALID_EMAIL_ADDRESS:invalid email address: Smith --", None),
        ("INVALID_CROSS_REFERENCE_KEY:invalid cross reference id:--", None),
    ] {
        let joined = text(&["a"], ["", &failed(&[("a", error)]), ""]);
        assert_eq!(joined.collected.samples[0].field.as_deref(), field, "{error}");
        assert_eq!(joined.fields["a"], field.unwrap_or_default(), "{error}");
    }
}

#[test]
fn samples_are_few_and_do_not_depend_on_the_order() {
    let keys: Vec<String> = (0..100).map(|n| format!("k{n:03}")).collect();
    let sent: Vec<&str> = keys.iter().map(String::as_str).collect();
    let mut rows: Vec<_> = sent.iter().map(|key| (*key, "STRING_TOO_LONG:x:Name --")).collect();
    let forward = text(&sent, ["", &failed(&rows), ""]).collected;
    rows.reverse();
    let backward = text(&sent, ["", &failed(&rows), ""]).collected;
    assert_eq!(forward, backward);
    assert_eq!((forward.samples.len(), forward.rejected["STRING_TOO_LONG"]), (5, 100));
}

#[test]
fn each_held_row_keeps_the_fields_that_were_named_for_it() {
    let joined = text(
        &["a", "b", "c"],
        [
            "",
            &failed(&[
                ("a", "STRING_TOO_LONG:x:Name --"),
                ("b", "STRING_TOO_LONG:x:Phone__c, Name --"),
                ("c", "STRING_TOO_LONG:x:--"),
            ]),
            "",
        ],
    );
    let fields: Vec<_> = joined.fields.values().map(String::as_str).collect();
    assert_eq!(fields, ["Name", "Phone__c, Name", ""]);
    assert_eq!(joined.collected.rejected["STRING_TOO_LONG"], 3);
}

/// A job of rows that are each refused for another reason: the table of reasons stays small, and the counts right.
#[test]
fn reasons_without_end_are_counted_all_the_same() {
    let keys: Vec<String> = (0..6000).map(|n| format!("k{n:04}")).collect();
    let sent: Vec<&str> = keys.iter().map(String::as_str).collect();
    let errors: Vec<String> = (0..6000).map(|n| format!("CODE_{}:x:F{n}__c --", n % 1500)).collect();
    let rows: Vec<_> = sent.iter().zip(&errors).map(|(key, error)| (*key, error.as_str())).collect();
    let joined = text(&sent, ["", &failed(&rows), ""]);
    let Collected { rejected, held, .. } = &joined.collected;
    assert_eq!((rejected.values().sum::<u64>(), *held, rejected.len()), (6000, 6000, 1001));
    assert_eq!((joined.fields["k0000"].as_str(), joined.fields["k5999"].as_str()), ("F0__c", ""));
}

/// The rows of the fragments that go again, and the keys beside them.
fn rows_again(joined: &Joined) -> (String, Vec<String>) {
    let (mut csv, mut keys) = (String::new(), Vec::new());
    for fragment in &joined.collected.again.fragments {
        assert_eq!(fragment.again, Some(JobRef { wave: 1, job: 4 }));
        let bytes = &joined.again[&fragment.file];
        assert_eq!(fragment.bytes, bytes.len() as u64);
        csv += std::str::from_utf8(bytes).unwrap();
        let before = keys.len() as u64;
        let mut reader = Reader::new(joined.again[&fragment.sent_file()].as_slice());
        while let Some(entry) = reader.advance().unwrap() {
            assert_eq!(entry.accepted, Some(print(entry.key)), "the fingerprint that was sent");
            keys.push(entry.key.to_owned());
        }
        assert_eq!(keys.len() as u64 - before, fragment.rows);
    }
    (csv, keys)
}

#[test]
fn what_met_a_lock_a_fault_or_no_turn_goes_again_byte_for_byte() {
    let sent: [(u32, &[&str]); 3] = [(1, &["a", "b", "c"]), (1, &["d"]), (2, &["e", "f", "g"])];
    let files = [
        success(&[("a", "true")]),
        failed(&[
            ("b", "UNABLE_TO_LOCK_ROW:busy:--"),
            ("c", "STRING_TOO_LONG:x:Name --"),
            ("d", "UNKNOWN_EXCEPTION:oops:--"),
            ("f", "INSUFFICIENT_ACCESS_OR_READONLY:no:--"),
        ]),
        "Ext__c,Name\n\"e\",\"x\"\n".to_owned(),
    ];
    let all = || {
        let input = input(&rule(ColumnKind::Text, false), Operation::Upsert, "Ext__c");
        joined(input, &sent, [&files[0], &files[1], &files[2]]).unwrap()
    };
    let wave = written(all(), &sent, Further::Wave).unwrap();
    let (csv, keys) = rows_again(&wave);
    assert_eq!(keys, ["b", "d", "e"]);
    assert_eq!(csv, csv_row("b") + &csv_row("d") + &csv_row("e"));
    let again = &wave.collected.again;
    assert_eq!(again.fragments.iter().map(|fragment| fragment.chunk).collect::<Vec<_>>(), [1, 2]);
    assert_eq!((again.rows(), again.unprocessed, again.missing), (3, 1, 0));
    assert_eq!(again.rejected.keys().collect::<Vec<_>>(), ["UNABLE_TO_LOCK_ROW", "UNKNOWN_EXCEPTION"]);
    assert_eq!(wave.collected.rejected_rows(), 4, "they are counted among all as well");
    assert_eq!(wave.news.keys().collect::<Vec<_>>(), ["a", "c"], "g is in doubt, f is for the next run");

    // After the last wave nothing goes again, and what keeps failing is held.
    let last = written(all(), &sent, Further::Last).unwrap();
    assert!(last.collected.again.is_empty() && last.again.is_empty());
    assert_eq!(last.news.keys().collect::<Vec<_>>(), ["a", "c", "d"]);
    // Without an allowance nothing goes again, and nothing is held for it.
    let exhausted = written(all(), &sent, Further::Exhausted).unwrap();
    assert!(exhausted.collected.again.is_empty());
    assert_eq!(exhausted.news.keys().collect::<Vec<_>>(), ["a", "c"]);
}

#[test]
fn a_row_in_doubt_is_what_the_org_says_of_it() {
    let sent: [(u32, &[&str]); 1] = [(0, &["a", "b", "c", "d"])];
    let good = success(&[("a", "true"), ("b", "true")]);
    let bad = failed(&[("b", "STRING_TOO_LONG:x:Name --")]);
    for (operation, expected) in [
        (Operation::Upsert, (2, 0, 0, 2, 0)),
        (Operation::Insert, (2, 0, 1, 1, 0)),
        (Operation::Update, (0, 2, 0, 2, 0)),
    ] {
        let input = input(&rule(ColumnKind::Text, false), operation, "Ext__c");
        let good = if operation == Operation::Update { good.replace("true", "false") } else { good.clone() };
        let mut outcomes = joined(input, &sent, [&good, &bad, ""]).unwrap();
        assert_eq!(outcomes.doubtful(), 3);
        let mut doubt = Vec::new();
        let uploads = uploads(&sent);
        let uploads = uploads.iter().map(|bytes| Ok(bytes.as_slice()));
        outcomes
            .doubt(uploads, &mut |piece| {
                doubt.extend(piece);
                Ok(())
            })
            .unwrap();
        assert_eq!(String::from_utf8(doubt).unwrap(), csv_row("b") + &csv_row("c") + &csv_row("d"));
        outcomes.verify("b", Verdict::Accepted, ID).unwrap();
        outcomes.verify("c", Verdict::Absent, "").unwrap();
        outcomes.verify("d", Verdict::Different, ID).unwrap();
        assert_eq!(outcomes.verify("e", Verdict::Absent, "").unwrap_err().class, Class::Bug);
        assert_eq!(outcomes.doubtful(), 0);
        let all = written(outcomes, &sent, Further::Wave).unwrap();
        let counts = &all.collected;
        let of_insert = counts.rejected.get(ALREADY_THERE).copied().unwrap_or_default();
        let found = (counts.created, counts.updated, of_insert, counts.unprocessed, counts.missing);
        assert_eq!(found, expected, "{operation:?}");
        assert_eq!(all.news["b"], News::Accepted(print("b").0, Some(ID.to_owned())));
        let (_, keys) = rows_again(&all);
        let again: &[&str] = if operation == Operation::Insert { &["c"] } else { &["c", "d"] };
        assert_eq!(keys, again, "{operation:?}: an insert is never sent over a record that is there");
    }
}

#[test]
fn record_ids_are_one_key_in_both_lengths() {
    let sent: [(u32, &[&str]); 1] = [(0, &["001000000000001AAA", "001000000000002AAA"])];
    let file = "\"sf__Id\",\"sf__Created\",Id\n\"001000000000001AAA\",\"false\",\"001000000000001\"\n";
    let id = rule(ColumnKind::Text, false);
    let outcomes = joined(input(&id, Operation::Delete, "Id"), &sent, [file, "", ""]).unwrap();
    let all = written(outcomes, &sent, Further::Last).unwrap();
    assert_eq!((all.collected.updated, all.collected.missing), (1, 1));
    assert!(all.news.contains_key("001000000000001AAA"));
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

proptest! {
    /// Any fates, in any order and any pieces: what is counted and learnt is what was said.
    #[test]
    fn outcomes_add_up(
        fates in prop::collection::btree_map("[a-z,\"\né ]{1,6}", 0..6_u8, 0..60),
        shuffle in any::<u64>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut files = [SUCCESS.to_owned(), FAILED.to_owned(), "Ext__c\n".to_owned()];
        let mut rows: Vec<_> = fates.iter().collect();
        rows.sort_by_key(|(key, _)| print(key).0.wrapping_mul(shuffle | 1));
        for (key, fate) in rows {
            let key = quoted(key);
            match fate {
                0 => files[0] += &format!("\"{ID}\",\"true\",{key},\"\"\n"),
                1 => files[0] += &format!("\"{ID}\",\"false\",{key},\"\"\n"),
                2 => files[1] += &format!("\"\",\"STRING_TOO_LONG:x:Name --\",{key},\"\"\n"),
                5 => files[1] += &format!("\"\",\"UNABLE_TO_LOCK_ROW:x:--\",{key},\"\"\n"),
                3 => files[2] += &format!("{key}\n"),
                _ => {}
            }
        }
        let keys: Vec<&str> = fates.keys().map(String::as_str).collect();
        let (front, back) = keys.split_at(cut.index(keys.len() + 1));
        let key = rule(ColumnKind::Text, false);
        let sent: [(u32, &[&str]); 2] = [(0, front), (1, back)];
        let outcomes = joined(input(&key, Operation::Upsert, "Ext__c"), &sent, [&files[0], &files[1], &files[2]]).unwrap();
        let joined = written(outcomes, &sent, Further::Wave).unwrap();
        let count = |wanted: u8| fates.values().filter(|fate| **fate == wanted).count() as u64;
        let counts = &joined.collected;
        prop_assert_eq!((counts.created, counts.updated), (count(0), count(1)));
        prop_assert_eq!(counts.rejected_rows(), count(2) + count(5));
        let again: Vec<_> = fates.iter().filter(|(_, fate)| matches!(fate, 3 | 5)).map(|(key, _)| key.clone()).collect();
        let (csv, handed_on) = rows_again(&joined);
        prop_assert_eq!(csv, again.iter().map(|key| csv_row(key)).collect::<String>());
        prop_assert_eq!(handed_on, again);
        prop_assert_eq!(counts.again.rows(), count(3) + count(5));
        prop_assert_eq!((counts.unprocessed, counts.missing), (count(3), count(4)));
        for (key, fate) in &fates {
            let expected = match fate {
                0 | 1 => Some(News::Accepted(print(key).0, Some(ID.to_owned()))),
                2 => Some(News::Refused(print(key).0, "STRING_TOO_LONG".to_owned())),
                _ => None,
            };
            prop_assert_eq!(joined.news.get(key).cloned(), expected);
        }
    }
}

/// A rebuild sends nothing: what the org holds of a row is all that is known of it.
#[test]
fn rows_that_were_asked_for_become_entries_only_when_they_are_there() {
    let sent: [(u32, &[&str]); 2] = [(0, &["a", "b"]), (1, &["c", "d"])];
    for (operation, different) in [
        (Operation::Upsert, None),
        (Operation::Mirror, None),
        (Operation::Update, None),
        (Operation::Insert, Some(News::Accepted(print("b").0, Some(ID.to_owned())))),
    ] {
        let key = rule(ColumnKind::Text, false);
        let mut outcomes = joined(input(&key, operation, "Ext__c"), &sent, [""; 3]).unwrap();
        assert_eq!(outcomes.doubtful(), 4);
        outcomes.find_in_org("a", Verdict::Accepted, ID).unwrap();
        outcomes.find_in_org("b", Verdict::Different, ID).unwrap();
        outcomes.find_in_org("c", Verdict::Absent, "").unwrap();
        outcomes.find_in_org("d", Verdict::Accepted, "").unwrap();
        assert!(outcomes.find_in_org("e", Verdict::Accepted, "").is_err());
        let Joined { collected, news, chunks, missing, again, .. } =
            written(outcomes, &sent, Further::Exhausted).unwrap();
        let found = Found { equal: 2, different: 1, absent: 1 };
        assert_eq!(collected, Collected { state: "JobComplete".to_owned(), found, ..Collected::default() });
        let mut expected = BTreeMap::from([
            ("a".to_owned(), News::Accepted(print("a").0, Some(ID.to_owned()))),
            ("d".to_owned(), News::Accepted(print("d").0, None)),
        ]);
        expected.extend(different.map(|news| ("b".to_owned(), news)));
        assert_eq!((news, chunks, missing.as_str()), (expected, vec![0, 1], "key\n\"c\"\n"), "{operation:?}");
        assert!(again.is_empty());
    }
}

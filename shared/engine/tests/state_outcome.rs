//! What became of a job's rows: by key, each counted once, and nothing taken for accepted that was not.

#![allow(clippy::unwrap_used, reason = "the helpers of a test are tests as well")]

use std::collections::BTreeMap;

use backhaul_engine::{
    Class, Failure, Fingerprint,
    contract::ColumnKind,
    document::Collected,
    mapping::KeyRule,
    outcome::{JoinInput, Output, join},
    segment::{Entry, Reader, Writer},
};
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

fn run(key: &KeyRule, sent: &[(u32, &[&str])], files: [&str; 3]) -> Result<Joined, Failure> {
    let job = JoinInput { key, external_id: "Ext__c", state: "JobComplete" };
    let pieces: Vec<_> = sent.iter().map(|(chunk, keys)| (*chunk, segment(keys))).collect();
    let (mut news, mut chunks, mut missing) = (BTreeMap::new(), Vec::new(), String::new());
    let sent = pieces.iter().map(|(chunk, bytes)| Ok((*chunk, bytes.as_slice())));
    let [success, failed, unprocessed] = files.map(str::as_bytes);
    let collected = join(&job, sent, success, failed, unprocessed, &mut |output| {
        match output {
            Output::Missing { bytes } => missing = String::from_utf8(bytes).unwrap(),
            Output::Delta { chunk, bytes } => {
                chunks.push(chunk);
                let mut reader = Reader::new(bytes.as_slice());
                while let Some(entry) = reader.advance()? {
                    let said = match (entry.accepted, entry.refused) {
                        (Some(accepted), None) => News::Accepted(accepted.0, entry.id.map(str::to_owned)),
                        (None, Some(refused)) => {
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
    Ok(Joined { collected, news, chunks, missing })
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
    assert_eq!((counts.created, counts.updated, counts.unprocessed), (1, 0, 1));
    assert_eq!(
        counts.rejected,
        BTreeMap::from([("DUPLICATE_VALUE".to_owned(), 1), ("STRING_TOO_LONG".to_owned(), 1)])
    );
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

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

proptest! {
    /// Any fates, in any order and any pieces: what is counted and learnt is what was said.
    #[test]
    fn outcomes_add_up(
        fates in prop::collection::btree_map("[a-z,\"\né ]{1,6}", 0..5_u8, 0..60),
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
                3 => files[2] += &format!("{key}\n"),
                _ => {}
            }
        }
        let keys: Vec<&str> = fates.keys().map(String::as_str).collect();
        let (front, back) = keys.split_at(cut.index(keys.len() + 1));
        let key = rule(ColumnKind::Text, false);
        let joined = run(&key, &[(0, front), (1, back)], [&files[0], &files[1], &files[2]]).unwrap();
        let count = |wanted: u8| fates.values().filter(|fate| **fate == wanted).count() as u64;
        let counts = &joined.collected;
        prop_assert_eq!((counts.created, counts.updated), (count(0), count(1)));
        prop_assert_eq!(counts.rejected_rows(), count(2));
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

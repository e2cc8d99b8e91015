//! Answers of the sObject Collections of the REST API.

use std::collections::BTreeMap;

use backhaul_engine::{
    Class, Fingerprint, JobRef,
    collections::Files,
    config::Operation,
    contract::ColumnKind,
    document::{Collected, Fragment},
    mapping::KeyRule,
    outcome::{Further, JoinInput, Output, join},
    records::Counter,
    segment::{Entry, Reader, Writer},
};
use jiff::Timestamp;
use serde::{Deserialize, de::IgnoredAny};

/// Most records of a call.
const CALL: usize = 200;

/// What an answer says of one record.
#[derive(Deserialize)]
struct Said {
    id: Option<String>,
    success: bool,
    #[serde(default)]
    created: bool,
}

/// An answer is refused whole, and then the records are in doubt; or each record of the call comes out of the
/// join as the answer said.
pub fn check(bytes: &[u8]) {
    let answers: Option<Vec<IgnoredAny>> = serde_json::from_slice(bytes).ok();
    let keys = keys(answers.map_or(1, |answers| answers.len().min(CALL)));
    let mut files = Files::new("Key__c");
    let untouched = (files.success.clone(), files.failed.clone());
    if let Err(failure) = files.take_down(&keys, bytes) {
        assert_eq!(failure.class, Class::Transient, "{failure}");
        return assert_eq!((files.success, files.failed), untouched);
    }
    let answers: Vec<Said> = serde_json::from_slice(bytes).expect("it was taken");
    let accepted = answers.iter().filter(|answer| answer.success).count() as u64;
    let created = answers.iter().filter(|answer| answer.success && answer.created);
    assert_eq!((count(&files.success), count(&files.failed)), (accepted, keys.len() as u64 - accepted));
    let (collected, ids) = joined(&keys, &files);
    assert_eq!((collected.accepted(), collected.created), (accepted, created.count() as u64));
    assert_eq!(collected.rejected_rows(), keys.len() as u64 - accepted);
    keys.iter().zip(&answers).for_each(|(key, answer)| check_id(answer, ids.get(key)));
}

fn keys(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("k{number:04}")).collect()
}

/// The baseline learns the id of the answer, which may have been without its checksum.
fn check_id(answer: &Said, learnt: Option<&String>) {
    let id = answer.id.as_ref().filter(|id| answer.success && !id.is_empty());
    // NULs are dropped on the way.
    if id.is_some_and(|id| id.contains('\0')) {
        return;
    }
    match (id, learnt) {
        (Some(id), Some(learnt)) => assert!(learnt == id || (id.len() == 15 && learnt.starts_with(id))),
        (id, learnt) => assert!(id.is_none() && learnt.is_none(), "{id:?} became {learnt:?}"),
    }
}

fn count(file: &[u8]) -> u64 {
    let mut counter = Counter::default();
    counter.pass(file);
    counter.records()
}

/// What the job came to, and the ids by key.
fn joined(keys: &[String], files: &Files) -> (Collected, BTreeMap<String, String>) {
    let mut writer = Writer::new(Vec::new());
    for key in keys {
        writer.push(&Entry { accepted: Some(Fingerprint(7)), ..Entry::key(key) }).expect("the keys ascend");
    }
    let (sent, _) = writer.finish().expect("a Vec takes everything");
    let fragment = Fragment {
        chunk: 0,
        again: None,
        group: 0,
        removes: false,
        file: "upsert-000.csv".to_owned(),
        rows: 0,
        bytes: 0,
    };
    let input = JoinInput {
        job: JobRef { wave: 1, job: 0 },
        operation: Operation::Upsert,
        key: KeyRule { column: 0, kind: ColumnKind::Text, fold_case: false },
        external_id: "Key__c".to_owned(),
        state: "JobComplete".to_owned(),
        removes: false,
        instant: Timestamp::UNIX_EPOCH,
    };
    let sent = std::iter::once(Ok((fragment, sent.as_slice())));
    let outcomes = join(input, sent, files.success.as_slice(), files.failed.as_slice(), &b""[..]);
    let outcomes = outcomes.unwrap_or_else(|failure| panic!("{failure}"));
    let mut ids = BTreeMap::new();
    let collected = outcomes.write(Further::Last, std::iter::empty::<Result<&[u8], _>>(), &mut |output| {
        if let Output::Delta { bytes, .. } = output {
            let mut reader = Reader::new(bytes.as_slice());
            while let Some(entry) = reader.advance()? {
                ids.extend(entry.id.map(|id| (entry.key.to_owned(), id.to_owned())));
            }
        }
        Ok(())
    });
    (collected.unwrap_or_else(|failure| panic!("{failure}")), ids)
}

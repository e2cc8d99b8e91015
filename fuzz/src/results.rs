//! The result files of a Salesforce job, joined to what was sent.

use std::io::Read;

use backhaul_engine::{
    Class, Failure, Fingerprint, JobRef,
    config::Operation,
    contract::ColumnKind,
    csv::line,
    document::{Collected, Fragment},
    mapping::KeyRule,
    outcome::{Further, JoinInput, Output, join},
    segment::{Entry, Reader, Writer},
};
use jiff::Timestamp;

use super::draw::Pieces;

/// Stands between the three files of an input: successful, failed, unprocessed.
const SEPARATOR: u8 = 0x1e;

/// However the files are cut, and in whatever order their records are, each row that was sent has one outcome,
/// and a row is written down as accepted exactly if it is counted as such.
pub fn check(bytes: &[u8]) {
    let mut parts = bytes.splitn(3, |byte| *byte == SEPARATOR);
    let files: [&[u8]; 3] = std::array::from_fn(|_| parts.next().unwrap_or_default());
    for job in jobs() {
        let whole = job.run(files);
        match &whole {
            Ok(outcome) => job.check(outcome),
            Err(failure) => assert_eq!(failure.class, Class::Bug, "{failure}"),
        }
        assert_eq!(job.run(files.map(Pieces::of)), whole, "in pieces");
        if let Ok(outcome) = &whole {
            job.check_order(files, outcome);
        }
    }
}

/// A job with the keys of two fragments.
struct Job {
    external_id: &'static str,
    operation: Operation,
    kind: ColumnKind,
    keys: [&'static [&'static str]; 2],
}

#[derive(Debug, PartialEq)]
struct Outcome {
    collected: Collected,
    /// Names and contents of the files that were made.
    files: Vec<(String, Vec<u8>)>,
}

fn jobs() -> [Job; 3] {
    let ids: [&[&str]; 2] = [&["001000000000001AAA"], &["001000000000002AAA", "0015e00000abcDEAAY"]];
    let texts: [&[&str]; 2] = [&["12", "a", "b,c"], &["d\"e", "ä"]];
    let numbers: [&[&str]; 2] = [&["-3", "12"], &["7", "900000"]];
    let job = |external_id, operation, kind, keys| Job { external_id, operation, kind, keys };
    [
        job("Key__c", Operation::Upsert, ColumnKind::Text, texts),
        job("Key__c", Operation::Insert, ColumnKind::Fixed, numbers),
        job("Id", Operation::Update, ColumnKind::Text, ids),
    ]
}

impl Job {
    fn run(&self, [success, failed, unprocessed]: [impl Read; 3]) -> Result<Outcome, Failure> {
        let sent = self.keys.iter().zip(0..).map(|(keys, chunk)| (fragment(chunk), segment(keys)));
        let sent: Vec<_> = sent.collect();
        let sent = sent.iter().map(|(fragment, bytes)| Ok((fragment.clone(), bytes.as_slice())));
        let input = JoinInput {
            job: JobRef { wave: 1, job: 0 },
            operation: self.operation,
            key: KeyRule { column: 0, kind: self.kind.clone(), fold_case: true },
            external_id: self.external_id.to_owned(),
            state: "JobComplete".to_owned(),
            removes: false,
            instant: Timestamp::UNIX_EPOCH,
        };
        let outcomes = join(input, sent, success, failed, unprocessed)?;
        let uploads = self.keys.map(upload);
        let mut files = Vec::new();
        let collected = outcomes.write(
            Further::Wave,
            uploads.iter().map(|bytes| Ok(bytes.as_slice())),
            &mut |output| {
                files.push(match output {
                    Output::Delta { chunk, bytes } => (format!("delta-{chunk}"), bytes),
                    Output::Missing { bytes } => ("missing".to_owned(), bytes),
                    Output::Again { file, bytes } => (file, bytes),
                });
                Ok(())
            },
        )?;
        Ok(Outcome { collected, files })
    }

    fn check(&self, Outcome { collected, files }: &Outcome) {
        let sent: Vec<&str> = self.keys.concat();
        assert_eq!(collected.sent, sent.len() as u64);
        let told =
            collected.accepted() + collected.rejected_rows() + collected.unprocessed + collected.missing;
        assert_eq!(told, collected.sent, "{collected:?}");
        let (mut accepted, mut again) = (0, 0);
        for (name, bytes) in files {
            if name.starts_with("delta-") {
                accepted += self.check_delta(bytes);
            } else if name == "missing" {
                assert_eq!(lines(bytes).len() as u64, 1 + collected.missing);
            } else if name.ends_with(".csv") {
                let uploads = self.keys.map(upload).concat();
                assert!(lines(bytes).iter().all(|line| lines(&uploads).contains(line)), "{name}");
                again += lines(bytes).len() as u64;
            }
        }
        assert_eq!((accepted, again), (collected.accepted(), collected.again.rows()));
    }

    /// How many rows the baseline learns to be accepted.
    fn check_delta(&self, bytes: &[u8]) -> u64 {
        let mut reader = Reader::new(bytes);
        let mut accepted = 0;
        while let Some(entry) = reader.advance().expect("a delta is a segment") {
            assert!(self.keys.concat().contains(&entry.key));
            assert!(entry.accepted.is_some() != entry.refused.is_some());
            accepted += u64::from(entry.accepted.is_some());
        }
        accepted
    }

    /// When each record speaks of a row of its own, their order means nothing.
    fn check_order(&self, files: [&[u8]; 3], outcome: &Outcome) {
        let special = |byte: &u8| matches!(byte, b'"' | b'\r' | 0 | 0xef);
        if files.concat().iter().any(special) {
            return;
        }
        let told = outcome.collected.sent - outcome.collected.missing;
        let records: usize = files.iter().map(|file| lines(file).len().saturating_sub(1)).sum();
        if records as u64 == told {
            let reversed = files.map(reversed);
            let again = self.run(reversed.each_ref().map(Vec::as_slice));
            assert_eq!(again.as_ref(), Ok(outcome), "in another order");
        }
    }
}

fn fragment(chunk: u32) -> Fragment {
    Fragment {
        chunk,
        again: None,
        group: 0,
        removes: false,
        file: format!("upsert-{chunk:03}.csv"),
        rows: 0,
        bytes: 0,
    }
}

fn segment(keys: &[&str]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for key in keys {
        let entry = Entry { accepted: Some(Fingerprint(7)), ..Entry::key(key) };
        writer.push(&entry).expect("the keys ascend");
    }
    writer.finish().expect("a Vec takes everything").0
}

fn upload(keys: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    keys.iter().for_each(|key| line(&mut out, [*key, "x, \"y\""]));
    out
}

fn lines(bytes: &[u8]) -> Vec<&[u8]> {
    bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect()
}

/// The header, and then the records from the last to the first.
fn reversed(file: &[u8]) -> Vec<u8> {
    let mut lines = lines(file);
    if let Some(records) = lines.get_mut(1..) {
        records.reverse();
    }
    lines.join(&b'\n')
}

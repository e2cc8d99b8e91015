//! What has to be the same, whatever died on the way.

use std::collections::BTreeMap;

use e2e::world::{World, run_ref};
use engine::{
    document::{Base, Head, Lease, Mode},
    layout,
    report::{Counts, Report, Verdict},
    segment,
};

use crate::way::{LOADED, Way};

/// The Salesforce id of a key, what was accepted of it, and what was refused.
type Entry = (Option<String>, Option<u64>, Option<u64>);

/// What bucket and org show after a run.
#[derive(Debug)]
pub struct State {
    /// The baseline by key; its ids are those of the org.
    baseline: BTreeMap<String, Entry>,
    /// The records of the org by key.
    org: BTreeMap<String, BTreeMap<String, String>>,
    /// What the org has written, by key and in order.
    writes: BTreeMap<String, Vec<&'static str>>,
    /// What the stages before the load have left.
    documents: BTreeMap<String, Vec<u8>>,
    /// The counts of the run; of a row that was looked up nobody says whether it was created.
    counts: Counts,
}

impl State {
    /// The state of a world in which everything has to be well after the last run.
    pub async fn of(world: &World, way: Way, last: &str) -> Self {
        let run = run_ref("customers", last);
        let lease: Lease = world.document(&layout::lease(&run.sync)).await;
        assert_eq!((lease.holder, lease.unsettled, lease.stopped), (None, None, None));
        let head: Head = world.document(&layout::head(&run.sync)).await;
        let (committed, report) = match way.mode {
            Mode::Plan => (LOADED, layout::preview_json(&run)),
            Mode::Run | Mode::Rebuild | Mode::RebuildAll => (last, layout::report_json(&run)),
        };
        assert_eq!(head.run.as_ref().map(engine::RunId::as_str), Some(committed));
        let report: Report = world.document(&report).await;
        // A rebuild may leave something to be sent.
        let well =
            report.verdict == Verdict::Green || (way.mode.asks() && report.verdict == Verdict::Attention);
        assert!(well, "{:?} {:?}", report.verdict, report.counts);
        assert!(report.counts.balance(way.mode), "{:?}", report.counts);
        let counts =
            Counts { created: report.counts.created + report.counts.updated, updated: 0, ..report.counts };
        let (ids, org) = records(world);
        let baseline = entries(world, &head).await;
        for (key, (id, ..)) in &baseline {
            // A rebuild keeps the keys of rows that have left, whether their records are there or not.
            let gone = way.mode.asks() && !ids.contains_key(key);
            assert!(gone || id.as_ref() == ids.get(key), "the id of `{key}` is {id:?}");
        }
        Self { baseline, org, writes: writes(world), documents: documents(world, last).await, counts }
    }

    /// Asserts that this is what was expected. Part by part: a whole state is long to read.
    pub fn assert(&self, expected: &Self) {
        assert_eq!(self.counts, expected.counts);
        self.assert_outcome(expected);
        for (key, bytes) in &self.documents {
            assert!(Some(bytes) == expected.documents.get(key), "`{key}` differs");
        }
    }

    /// As [`State::assert`], whichever run it was that brought it about.
    pub fn assert_outcome(&self, expected: &Self) {
        assert_eq!(self.writes, expected.writes, "each change is written once");
        let without_ids = |state: &Self| -> Vec<_> {
            state
                .baseline
                .iter()
                .map(|(key, (_, accepted, refused))| (key.clone(), *accepted, *refused))
                .collect()
        };
        assert_eq!(without_ids(self), without_ids(expected), "the baseline");
        assert!(self.org == expected.org, "the records of the org differ");
    }

    /// Asserts that the last run has sent what was missing in the baseline that it began from, and nothing else.
    pub async fn assert_sent_the_rest(&self, world: &World, last: &str) {
        let base: Base = world.document(&layout::base(&run_ref("customers", last))).await;
        let base = entries(world, &base.head).await;
        let same = self.baseline.iter().filter(|(key, entry)| base.get(*key) == Some(entry)).count();
        let gone = base.keys().filter(|key| !self.baseline.contains_key(*key)).count();
        let rest = self.baseline.len() - same + gone;
        assert_eq!((self.counts.unchanged, self.counts.sent), (same as u64, rest as u64));
    }

    /// Asserts that the last run found nothing to do.
    pub fn assert_idle(&self, before: &Self) {
        assert_eq!((self.counts.unchanged, self.counts.sent), (before.baseline.len() as u64, 0));
        self.assert_outcome(before);
    }
}

/// The ids of the org's records by key, and the records without what tells times and ids.
fn records(world: &World) -> (BTreeMap<String, String>, BTreeMap<String, BTreeMap<String, String>>) {
    let (mut ids, mut org) = (BTreeMap::new(), BTreeMap::new());
    for mut record in world.org.records("Account") {
        let Some(key) = record.get("Customer_Key__c").cloned() else { continue };
        ids.insert(key.clone(), record.remove("Id").unwrap());
        record.retain(|field, _| !field.ends_with("Date") && field != "SystemModstamp");
        org.insert(key, record);
    }
    (ids, org)
}

async fn entries(world: &World, head: &Head) -> BTreeMap<String, Entry> {
    let mut entries = BTreeMap::new();
    for part in &head.segments {
        let object = world.parts.store.get(&part.object).await.unwrap().unwrap();
        let mut reader = segment::Reader::new(&object.bytes[..]);
        while let Some(entry) = reader.advance().unwrap() {
            let refused = entry.refused.map(|refused| refused.fingerprint.0);
            let known = (entry.id.map(str::to_owned), entry.accepted.map(|accepted| accepted.0), refused);
            entries.insert(entry.key.to_owned(), known);
        }
    }
    entries
}

/// The audit log of the org. Only what creates a record is sure to name its key.
fn writes(world: &World) -> BTreeMap<String, Vec<&'static str>> {
    let (mut keys, mut writes) = (BTreeMap::new(), BTreeMap::<String, Vec<_>>::new());
    for written in world.org.audit().into_iter().filter(|written| written.object == "Account") {
        if written.created {
            keys.insert(written.id.clone(), written.after["Customer_Key__c"].clone());
        }
        let what = match (written.created, written.deleted) {
            (true, _) => "created",
            (_, true) => "deleted",
            _ => "updated",
        };
        writes.entry(keys[&written.id].clone()).or_default().push(what);
    }
    writes
}

async fn documents(world: &World, run: &str) -> BTreeMap<String, Vec<u8>> {
    let folder = layout::run_folder(&run_ref("customers", run));
    let mut documents = BTreeMap::new();
    for part in
        ["base.json", "describe.json", "result.json", "chunks/", "manifest.json", "mapped/", "plan-1.json"]
    {
        for key in world.parts.store.list(&format!("{folder}/{part}")).await.unwrap() {
            let bytes = world.parts.store.get(&key).await.unwrap().unwrap().bytes;
            documents.insert(key, bytes.to_vec());
        }
    }
    documents
}

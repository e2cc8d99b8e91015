//! Segments of the baseline that are lost or damaged: no run takes them for fewer rows, and a rebuild asks the org.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use e2e::{
    compare::{CUSTOMERS, assert_equal},
    world::{World, run_ref},
};
use emulators::{
    salesforce::{Limits, Org, OrgConfig},
    snowflake::Config,
};
use engine::{
    Class, Failure, RunRef,
    document::{Head, Lease, Mapped, Mode, Run, SegmentRef, to_bytes},
    layout,
    report::{Counts, Report, Verdict},
    segment::{Entry, Reader, Writer},
};
use salesforce::{Collection, CollectionOperation};
use serde_json::json;
use store::Version;

const FIRST: &str = "20260101T000000Z";
const SECOND: &str = "20260101T010000Z";
const THIRD: &str = "20260101T020000Z";
const FOURTH: &str = "20260101T030000Z";
const FIFTH: &str = "20260101T040000Z";
const CUSTOMER: &str = "SNOWFLAKE_SAMPLE_DATA.TPCH_SF1.CUSTOMER";

// ---------------------------------------------------------------- worlds

/// 150 customers, loaded once, with a baseline of three segments of 50.
async fn world(operation: &str, api: &str) -> World {
    let world = empty(OrgConfig::default()).await;
    edit(&world, operation, api);
    assert_eq!(world.run("customers", FIRST).await.unwrap().verdict, Verdict::Green);
    split(&world).await;
    world
}

/// 150 customers, loaded once in three chunks, with a baseline of as many segments.
async fn in_chunks(operation: &str, api: &str) -> World {
    let mut world = empty(OrgConfig::default()).await;
    world.chunk_rows = Some(60);
    edit(&world, operation, api);
    assert_eq!(world.run("customers", FIRST).await.unwrap().verdict, Verdict::Green);
    let rows: Vec<u64> = head(&world).await.segments.iter().map(|segment| segment.rows).collect();
    assert_eq!(rows, [60, 60, 30]);
    world
}

fn edit(world: &World, operation: &str, api: &str) {
    world.edit_sync("customers", |sync| {
        let sync = sync
            .replace("operation: upsert", &format!("operation: {operation}"))
            .replace("api: bulk", &format!("api: {api}"));
        format!("{sync}\nguard: {{max_removed: 100%}}\n")
    });
}

async fn empty(org: OrgConfig) -> World {
    World::scaled(Config { partition_rows: Some(60), ..Config::default() }, org, 0.001).await
}

/// Writes the one segment of the baseline as three.
async fn split(world: &World) {
    let (head, version) = head_and_version(world).await;
    let bytes = fs::read(file(world, &head.segments[0])).unwrap();
    let mut reader = Reader::new(bytes.as_slice());
    let mut segments = Vec::new();
    for number in 1..=3 {
        let mut writer = Writer::new(Vec::new());
        for _ in 0..50 {
            let entry = reader.advance().unwrap().unwrap();
            writer.push(&Entry { ..entry }).unwrap();
        }
        let (bytes, summary) = writer.finish().unwrap();
        let run = run_ref("customers", FIRST);
        let object = layout::baseline_segment(&run.sync, &run.run, number);
        world.parts.store.create(&object, bytes).await.unwrap();
        segments.push(summary.into_ref(object));
    }
    let head = to_bytes(&Head { segments, ..head });
    world.parts.store.replace(&head_place(), head, Some(&version)).await.unwrap();
}

fn head_place() -> String {
    layout::head(&run_ref("customers", FIRST).sync)
}

async fn head_and_version(world: &World) -> (Head, Version) {
    let object = world.parts.store.get(&head_place()).await.unwrap().unwrap();
    (serde_json::from_slice(&object.bytes).unwrap(), object.version)
}

async fn head(world: &World) -> Head {
    head_and_version(world).await.0
}

fn file(world: &World, segment: &SegmentRef) -> PathBuf {
    world.bucket().join(&segment.object)
}

#[derive(Clone, Copy, Debug)]
enum Harm {
    Flip,
    Truncate,
    Delete,
    Swap,
}

/// Harms the second segment, and returns what it was.
async fn harm(world: &World, harm: Harm) -> Vec<u8> {
    let segments = head(world).await.segments;
    let path = file(world, &segments[1]);
    let whole = fs::read(&path).unwrap();
    let mut bytes = whole.clone();
    match harm {
        Harm::Flip => bytes[whole.len() / 2] ^= 1,
        Harm::Truncate => bytes.truncate(whole.len() / 2),
        Harm::Delete => fs::remove_file(&path).unwrap(),
        Harm::Swap => bytes = Writer::new(Vec::new()).finish().unwrap().0,
    }
    if !matches!(harm, Harm::Delete) {
        fs::write(&path, bytes).unwrap();
    }
    whole
}

/// The keys of a segment.
fn keys(world: &World, segment: &SegmentRef) -> Vec<String> {
    let bytes = fs::read(file(world, segment)).unwrap();
    let mut reader = Reader::new(bytes.as_slice());
    let mut keys = Vec::new();
    while let Some(entry) = reader.advance().unwrap() {
        keys.push(entry.key.to_owned());
    }
    keys
}

fn change(world: &World, sql: &str) {
    world.snowflake.execute(&sql.replace("CUSTOMER", CUSTOMER)).unwrap();
}

fn id_of(world: &World, key: &str) -> String {
    world.org.record_by("Account", "Customer_Key__c", key).unwrap()["Id"].clone()
}

/// Somebody else changes or deletes records of the org.
async fn somebody(world: &World, operation: CollectionOperation, keys: &[&str]) {
    world.others_write();
    let collection = Collection { object: "Account".to_owned(), operation: operation.clone() };
    let body = match operation {
        CollectionOperation::Delete => json!(keys.iter().map(|key| id_of(world, key)).collect::<Vec<_>>()),
        _ => json!({"allOrNone": true, "records": keys.iter().map(|key| json!({
            "attributes": {"type": "Account"}, "id": id_of(world, key), "Phone": "by hand"
        })).collect::<Vec<_>>()}),
    };
    let answer = world.parts.salesforce.write_collection(&collection, body.to_string().into()).await.unwrap();
    assert!(!String::from_utf8_lossy(&answer).contains("false,\"errors\":[{"));
}

async fn rebuild(world: &World, run: &str, mode: Mode) -> Result<Report, Failure> {
    let run = world.begin("customers", run, mode).await?;
    world.drive(run.clone()).await?;
    Ok(world.document(&layout::report_json(&run)).await)
}

async fn run(world: &World, run: &str) -> Counts {
    world.run("customers", run).await.unwrap();
    let report: Report = world.document(&layout::report_json(&run_ref("customers", run))).await;
    report.counts
}

/// What the org has seen of writes.
fn seen(world: &World) -> (usize, [u64; 3], usize) {
    (world.org.jobs().len(), world.org.write_counts("Account"), world.org.audit().len())
}

/// The entries of the baseline by key: whether it was accepted, and the id.
async fn baseline(world: &World) -> BTreeMap<String, (bool, Option<String>)> {
    let mut entries = BTreeMap::new();
    for segment in head(world).await.segments {
        let bytes = fs::read(file(world, &segment)).unwrap();
        let mut reader = Reader::new(bytes.as_slice());
        while let Some(entry) = reader.advance().unwrap() {
            let known = (entry.accepted.is_some(), entry.id.map(str::to_owned));
            entries.insert(entry.key.to_owned(), known);
        }
    }
    entries
}

async fn lease(world: &World) -> Lease {
    world.document(&layout::lease(&run_ref("customers", FIRST).sync)).await
}

async fn check(world: &World) -> ExitCode {
    cli::baseline::check(&world.parts.store, &run_ref("customers", FIRST).sync).await.unwrap()
}

// ---------------------------------------------------------------- detection

#[tokio::test]
async fn a_segment_that_is_not_whole_stops_the_run_before_anything_is_sent() {
    for harmed in [Harm::Flip, Harm::Truncate, Harm::Delete, Harm::Swap] {
        let world = world("upsert", "bulk").await;
        assert_eq!(check(&world).await, ExitCode::SUCCESS);
        change(&world, "UPDATE CUSTOMER SET C_NAME = 'new' WHERE C_CUSTKEY = 1");
        let whole = harm(&world, harmed).await;
        let before = (seen(&world), head(&world).await);
        let failure = world.run("customers", SECOND).await.unwrap_err();
        assert_eq!(failure.class, Class::Configuration, "{harmed:?}");
        let text = failure.to_string();
        match harmed {
            Harm::Delete => {
                insta::assert_snapshot!(text, @"`syncs/customers/baseline/20260101T000000Z/00002.zst` is lost: the baseline of `customers` is not whole (hint: bring the object back, or ask the org for its rows: `backhaul baseline rebuild customers`)")
            }
            _ => {
                insta::allow_duplicates! { insta::assert_snapshot!(text, @"`syncs/customers/baseline/20260101T000000Z/00002.zst` is damaged: the baseline of `customers` is not whole (hint: bring the object back, or ask the org for its rows: `backhaul baseline rebuild customers`)") }
            }
        }
        assert_eq!((seen(&world), head(&world).await), before, "{harmed:?}");
        assert_eq!(lease(&world).await.holder, None);
        assert_eq!(check(&world).await, ExitCode::FAILURE);

        // What is brought back is as good as ever.
        fs::write(file(&world, &head(&world).await.segments[1]), whole).unwrap();
        let counts = run(&world, THIRD).await;
        assert_eq!((counts.unchanged, counts.sent), (149, 1), "{harmed:?}");
    }
}

#[tokio::test]
async fn a_segment_that_is_lost_on_the_way_is_not_taken_for_fewer_rows() {
    for (before, stage) in [(1, "map"), (3, "settle")] {
        let world = world("upsert", "bulk").await;
        let run = world.begin("customers", SECOND, Mode::Run).await.unwrap();
        let stages = Stages { world: &world, run };
        for stage in &STAGES[..before] {
            stages.call(stage).await.unwrap();
        }
        harm(&world, Harm::Flip).await;
        let before = head(&world).await;
        let failure = stages.call(stage).await.unwrap_err();
        assert_eq!(failure.class, Class::Configuration);
        assert!(failure.message.contains("is damaged"), "{failure}");
        assert_eq!(head(&world).await, before);
    }
}

#[tokio::test]
async fn a_head_that_is_lost_or_damaged_is_no_first_run() {
    for (operation, damaged) in [("insert", false), ("insert", true), ("upsert", false)] {
        let world = world(operation, "bulk").await;
        let (path, before) = (world.bucket().join(head_place()), seen(&world));
        if damaged {
            let text = fs::read(&path).unwrap();
            fs::write(&path, &text[..text.len() / 2]).unwrap();
        } else {
            fs::remove_file(&path).unwrap();
        }
        for (run, mode) in [(SECOND, Mode::Run), (THIRD, Mode::Plan), (FOURTH, Mode::Rebuild)] {
            let failure = rebuild(&world, run, mode).await.unwrap_err();
            assert_eq!(failure.class, Class::Configuration, "{failure}");
            match damaged {
                true => {
                    insta::allow_duplicates! { insta::assert_snapshot!(failure.to_string(), @"`syncs/customers/head.json` is damaged (hint: bring the object back, or ask the org for every row: `backhaul baseline rebuild customers --all`)") }
                }
                false => {
                    insta::allow_duplicates! { insta::assert_snapshot!(failure.to_string(), @"`syncs/customers/head.json` is lost: `customers` has committed before (hint: bring the object back, or ask the org for every row: `backhaul baseline rebuild customers --all`)") }
                }
            }
        }
        assert_eq!(seen(&world), before);
        let report = rebuild(&world, FIFTH, Mode::RebuildAll).await.unwrap();
        assert_eq!(report.verdict, Verdict::Green, "{}", report.to_text());
        assert_eq!((report.counts.asked, report.counts.found.equal), (150, 150));
        assert_eq!(seen(&world), before, "nothing is written");
        let counts = run(&world, "20260101T050000Z").await;
        assert_eq!((counts.unchanged, counts.sent), (150, 0), "{operation} {damaged}");
    }
}

/// Not only the head: the whole folder of the sync.
#[tokio::test]
async fn a_sync_that_has_reported_a_run_has_committed() {
    let world = world("insert", "bulk").await;
    fs::remove_dir_all(world.bucket().join("syncs/customers")).unwrap();
    let before = seen(&world);
    let failure = world.run("customers", SECOND).await.unwrap_err();
    assert_eq!(failure.class, Class::Configuration, "{failure}");
    assert_eq!(seen(&world), before);
}

/// A first run that sent nothing and died leaves a segment without entries: that is no lost baseline.
#[tokio::test]
async fn a_first_run_that_died_is_no_lost_baseline() {
    let world = empty(OrgConfig::default()).await;
    change(&world, "CREATE TABLE SNOWFLAKE_SAMPLE_DATA.TPCH_SF1.GONE AS SELECT * FROM CUSTOMER");
    change(&world, "DELETE FROM CUSTOMER");
    let stages = Stages { world: &world, run: world.begin("customers", FIRST, Mode::Run).await.unwrap() };
    for stage in ["extract", "map", "plan", "settle"] {
        stages.call(stage).await.unwrap();
    }
    stages.fail().await;
    change(&world, "INSERT INTO CUSTOMER SELECT * FROM SNOWFLAKE_SAMPLE_DATA.TPCH_SF1.GONE");
    assert_eq!(run(&world, SECOND).await.created, 150);
}

// ---------------------------------------------------------------- rebuild

/// Rows and records change in both halves; what the rebuild did not find equal is sent by the next run, and nothing else.
#[tokio::test]
async fn the_next_run_sends_what_the_org_does_not_have_and_nothing_else() {
    for (operation, api) in [("upsert", "bulk"), ("upsert", "rest"), ("mirror\n  on_removed: delete", "bulk")]
    {
        let world = world(operation, api).await;
        let segments = head(&world).await.segments;
        let (kept, lost) = (keys(&world, &segments[0]), keys(&world, &segments[1]));
        // Two rows change where the baseline is lost and one where it is not; one of the two as the org has it by now.
        change(&world, &format!("UPDATE CUSTOMER SET C_PHONE = 'new' WHERE C_CUSTKEY = {}", lost[0]));
        change(&world, &format!("UPDATE CUSTOMER SET C_PHONE = 'by hand' WHERE C_CUSTKEY = {}", lost[1]));
        change(&world, &format!("UPDATE CUSTOMER SET C_PHONE = 'new' WHERE C_CUSTKEY = {}", kept[0]));
        somebody(&world, CollectionOperation::Update, &[&lost[1], &lost[2], &kept[1]]).await;
        somebody(&world, CollectionOperation::Delete, &[&lost[3]]).await;
        harm(&world, Harm::Truncate).await;

        let before = seen(&world);
        let report = rebuild(&world, SECOND, Mode::Rebuild).await.unwrap();
        let counts = report.counts;
        assert_eq!(report.verdict, Verdict::Attention, "{}", report.to_text());
        assert_eq!(
            (counts.read, counts.unchanged, counts.asked, counts.sent),
            (150, 99, 51, 0),
            "{counts:?}"
        );
        let found = counts.found;
        assert_eq!((found.equal, found.different, found.absent), (47, 3, 1), "{counts:?}");
        assert_eq!(seen(&world), before, "nothing is written");
        assert_eq!(check(&world).await, ExitCode::SUCCESS);
        let known = baseline(&world).await;
        assert_eq!(known.len(), 147);
        for (key, (accepted, id)) in &known {
            assert!(accepted, "{key}");
            assert_eq!(id.as_deref(), Some(id_of(&world, key).as_str()), "{key}");
        }
        if (operation, api) == ("upsert", "bulk") {
            let text = report.to_text();
            let text = text.split("ALLOWANCES").next().unwrap().to_owned();
            insta::with_settings!({ filters => [(r"took .*", "took TIME")] }, {
                insta::assert_snapshot!(text, @"
                    ATTENTION  customers → Account
                    run 20260101T010000Z (rebuild), started 2026-01-01 01:00:00 UTC, took TIME
                    Nothing was sent. The baseline knows again what the org has; see below for the rest.

                    ROWS
                              150  read from Snowflake
                               99  ├─ unchanged: what is left of the baseline knows them
                                0  ├─ held: refused by Salesforce before, and not changed since
                                0  ├─ invalid: stopped here, not asked for
                               51  └─ asked for in the org
                               47     ├─ as the model has them: the baseline knows them again
                                3     ├─ different: the next run sends them
                                1     └─ not there: the next run sends them

                    LEFT OUT OF THE BASELINE
                               50  rows of 1 lost or damaged segment
                                   syncs/customers/baseline/20260101T000000Z/00002.zst
                      What Salesforce refused of them is not known any more: the next run sends it once
                      again.
                    ");
            });
        }

        let counts = run(&world, THIRD).await;
        assert_eq!(
            (counts.unchanged, counts.sent, counts.created, counts.updated),
            (146, 4, 1, 3),
            "{counts:?}"
        );
        assert_eq!(run(&world, FOURTH).await.sent, 0);
        let by_hand = id_of(&world, &kept[1]);
        assert!(world.org.audit().iter().filter(|write| write.id == by_hand).count() == 2, "left alone");

        if operation.starts_with("mirror") {
            let gone: Vec<String> = lost[10..13].iter().map(|key| id_of(&world, key)).collect();
            change(&world, &format!("DELETE FROM CUSTOMER WHERE C_CUSTKEY IN ({})", lost[10..13].join(",")));
            assert_eq!(run(&world, FIFTH).await.gone, 3);
            let audit = world.org.audit();
            let mut deleted: Vec<String> = audit.iter().rev().take(3).map(|write| write.id.clone()).collect();
            deleted.sort();
            assert_eq!(deleted, {
                let mut gone = gone;
                gone.sort();
                gone
            });
            assert_eq!(world.org.count("Account"), 147);
        }
    }
}

/// Rows before the lost segment have left the model, so its keys lie in two chunks, each of which knows some of its rows.
#[tokio::test]
async fn a_rebuild_asks_across_the_chunks_of_a_model_that_has_moved() {
    let mirror = "mirror\n  on_removed: delete";
    for (operation, api) in [("upsert", "bulk"), ("upsert", "rest"), ("insert", "bulk"), (mirror, "bulk")] {
        let world = in_chunks(operation, api).await;
        let segments = head(&world).await.segments;
        let (kept, lost) = (keys(&world, &segments[0]), keys(&world, &segments[1]));
        change(&world, &format!("DELETE FROM CUSTOMER WHERE C_CUSTKEY IN ({})", kept[..20].join(",")));
        change(&world, &format!("UPDATE CUSTOMER SET C_PHONE = 'new' WHERE C_CUSTKEY = {}", lost[0]));
        somebody(&world, CollectionOperation::Update, &[&lost[59]]).await;
        somebody(&world, CollectionOperation::Delete, &[&lost[30]]).await;
        harm(&world, Harm::Flip).await;

        let before = seen(&world);
        let report = rebuild(&world, SECOND, Mode::Rebuild).await.unwrap();
        let counts = report.counts;
        assert_eq!((counts.read, counts.unchanged, counts.asked), (130, 70, 60), "{operation} {counts:?}");
        let found = counts.found;
        assert_eq!((found.equal, found.different, found.absent), (57, 2, 1), "{operation} {counts:?}");
        let (run_of, mut asked) = (run_ref("customers", SECOND), Vec::new());
        for chunk in 0..3 {
            let mapped: Mapped = world.document(&layout::mapped_summary(&run_of, chunk)).await;
            asked.push(mapped.fragments.iter().map(|fragment| fragment.rows).sum::<u64>());
        }
        assert_eq!(asked, [20, 40, 0]);
        assert_eq!(seen(&world), before, "nothing is written");
        assert_eq!(check(&world).await, ExitCode::SUCCESS);
        for (key, (accepted, id)) in &baseline(&world).await {
            assert!(accepted, "{key}");
            assert_eq!(id.as_deref(), Some(id_of(&world, key).as_str()), "{key}");
        }

        let counts = run(&world, THIRD).await;
        let (created, updated, gone) = match operation {
            "insert" => (1, 0, 0),
            "upsert" => (1, 2, 0),
            _ => (1, 2, 20),
        };
        assert_eq!((counts.created, counts.updated, counts.gone), (created, updated, gone), "{counts:?}");
        assert_eq!(counts.sent, created + updated + gone, "{operation}");
        assert_eq!(run(&world, FOURTH).await.sent, 0, "{operation}");
        if operation != "insert" {
            assert_eq!(assert_equal(&world.snowflake, &world.org, CUSTOMER, "Account", &CUSTOMERS), 130);
        }
    }
}

/// A row that is there is never inserted again, whatever its record says now.
#[tokio::test]
async fn an_insert_sends_only_what_is_not_there() {
    let world = world("insert", "bulk").await;
    let lost = keys(&world, &head(&world).await.segments[1]);
    change(&world, &format!("UPDATE CUSTOMER SET C_PHONE = 'new' WHERE C_CUSTKEY = {}", lost[0]));
    somebody(&world, CollectionOperation::Update, &[&lost[2]]).await;
    somebody(&world, CollectionOperation::Delete, &[&lost[3]]).await;
    harm(&world, Harm::Delete).await;
    let before = seen(&world);
    let report = rebuild(&world, SECOND, Mode::Rebuild).await.unwrap();
    let found = report.counts.found;
    assert_eq!((found.equal, found.different, found.absent), (47, 2, 1), "{}", report.to_text());
    assert_eq!(seen(&world), before);
    let counts = run(&world, THIRD).await;
    assert_eq!((counts.unchanged, counts.sent, counts.created), (149, 1, 1), "{counts:?}");
    // Not even when its row changes once more.
    change(&world, "UPDATE CUSTOMER SET C_PHONE = 'newer'");
    assert_eq!(run(&world, FOURTH).await.sent, 0);
    assert_eq!(world.org.count("Account"), 150);
}

/// Rows that left the model stay in what is left of the baseline: their removal is for a run with guard rails.
#[tokio::test]
async fn a_rebuild_removes_nothing() {
    let world = world("mirror\n  on_removed: delete", "bulk").await;
    let segments = head(&world).await.segments;
    let (kept, lost) = (keys(&world, &segments[0]), keys(&world, &segments[1]));
    change(&world, &format!("DELETE FROM CUSTOMER WHERE C_CUSTKEY IN ({}, {})", kept[5], lost[5]));
    harm(&world, Harm::Delete).await;
    let before = seen(&world);
    let report = rebuild(&world, SECOND, Mode::Rebuild).await.unwrap();
    assert_eq!((report.verdict, report.counts.removed), (Verdict::Green, 0), "{}", report.to_text());
    let text = report.to_text().split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains("their records stay in Salesforce"), "{text}");
    assert_eq!(seen(&world), before);
    let known = baseline(&world).await;
    assert!(known.contains_key(&kept[5]) && !known.contains_key(&lost[5]));
    assert_eq!(run(&world, THIRD).await.gone, 1);
    assert!(world.org.record_by("Account", "Customer_Key__c", &lost[5]).is_some());
}

#[tokio::test]
async fn a_rebuild_of_a_whole_baseline_is_refused_and_one_of_everything_is_not() {
    let world = world("upsert", "bulk").await;
    let failure = rebuild(&world, SECOND, Mode::Rebuild).await.unwrap_err();
    insta::assert_snapshot!(failure.to_string(), @"every segment of the baseline of `customers` is whole (hint: there is nothing to rebuild; with `--all` the org is asked for every row all the same)");
    let before = seen(&world);
    let report = rebuild(&world, THIRD, Mode::RebuildAll).await.unwrap();
    assert_eq!((report.verdict, report.counts.asked), (Verdict::Green, 150), "{}", report.to_text());
    assert_eq!(seen(&world), before);
    assert_eq!(run(&world, FOURTH).await.sent, 0);
    assert_eq!(assert_equal(&world.snowflake, &world.org, CUSTOMER, "Account", &CUSTOMERS), 150);
}

/// What the org does not hold may be older than the watermark: the next run reads the whole model.
#[tokio::test]
async fn a_rebuild_reads_the_whole_model_and_so_does_the_next_run_if_something_is_left_to_send() {
    for differs in [false, true] {
        let world = empty(OrgConfig::default()).await;
        world.edit_sync("customers", |sync| {
            sync.replace("COMPUTE_WH\n", "COMPUTE_WH\n  cursor: {column: C_CUSTKEY}\n")
        });
        assert_eq!(run(&world, FIRST).await.created, 150);
        split(&world).await;
        if differs {
            let lost = keys(&world, &head(&world).await.segments[1]);
            somebody(&world, CollectionOperation::Update, &[&lost[7]]).await;
        }
        harm(&world, Harm::Delete).await;
        let report = rebuild(&world, SECOND, Mode::Rebuild).await.unwrap();
        assert_eq!((report.counts.read, report.counts.asked), (150, 50), "{}", report.to_text());
        assert_eq!(head(&world).await.cursor.is_some(), !differs);
        let counts = run(&world, THIRD).await;
        let expected = if differs { (150, 1) } else { (1, 0) };
        assert_eq!((counts.read, counts.sent), expected, "{counts:?}");
        assert!(head(&world).await.cursor.is_some());
    }
}

// ---------------------------------------------------------------- allowances, rights, and trouble

#[tokio::test]
async fn a_rebuild_that_the_org_has_no_allowance_for_waits() {
    let limits = Limits { daily_api_requests: 100, ..Limits::default() };
    let world = empty(OrgConfig { limits, ..OrgConfig::default() }).await;
    assert_eq!(run(&world, FIRST).await.created, 150);
    split(&world).await;
    harm(&world, Harm::Delete).await;
    world.edit_sync("customers", |sync| format!("{sync}\nquota: {{keep_api_calls: 99}}\n"));
    let before = head(&world).await;
    let failure = rebuild(&world, SECOND, Mode::Rebuild).await.unwrap_err();
    assert_eq!(failure.class, Class::Quota, "{failure}");
    assert_eq!(head(&world).await, before);
    // It asked for nothing: nothing has to be settled before the next.
    let lease = lease(&world).await;
    assert_eq!((lease.holder, lease.unsettled), (None, None));
    world.edit_sync("customers", |sync| sync.replace("keep_api_calls: 99", "keep_api_calls: 1"));
    let report = rebuild(&world, THIRD, Mode::Rebuild).await.unwrap();
    assert_eq!(report.counts.found.equal, 50);
    assert_eq!((report.allowances.predicted.api_calls, report.allowances.used.api_calls), (1, 1));
    assert!(report.allowances.limits.is_some());
}

#[tokio::test]
async fn an_org_that_may_not_be_asked_is_told_and_nothing_is_committed() {
    let mut world = world("upsert", "bulk").await;
    harm(&world, Harm::Delete).await;
    let run = world.begin("customers", SECOND, Mode::Rebuild).await.unwrap();
    let stages = Stages { world: &world, run: run.clone() };
    for stage in ["extract", "map"] {
        stages.call(stage).await.unwrap();
    }
    let mut config = OrgConfig::default();
    config.schema.field_mut("Account", "Phone").hidden = true;
    let hiding = Org::start(config).await.unwrap();
    let mended = std::mem::replace(
        &mut world.parts.salesforce,
        salesforce::Client::new(serde_json::from_str(&hiding.secret_json()).unwrap()).unwrap(),
    );
    let before = head(&world).await;
    let failure = world.drive(run.clone()).await.unwrap_err();
    assert_eq!(failure.class, Class::Configuration, "{failure}");
    assert!(failure.message.contains("the org cannot be asked for the rows"), "{failure}");
    assert_eq!((head(&world).await, lease(&world).await.unsettled), (before, None));

    world.parts.salesforce = mended;
    assert_eq!(world.drive(run).await.unwrap().verdict, Verdict::Green);
    assert_eq!(baseline(&world).await.len(), 150);
}

/// A sync that stands still goes on doing so: a rebuild tries nothing out.
#[tokio::test]
async fn a_rebuild_mends_no_right() {
    let world = world("upsert", "bulk").await;
    harm(&world, Harm::Delete).await;
    let place = layout::lease(&run_ref("customers", FIRST).sync);
    let object = world.parts.store.get(&place).await.unwrap().unwrap();
    let stopped = engine::document::Stopped {
        run: FIRST.parse().unwrap(),
        code: "INSUFFICIENT_ACCESS_OR_READONLY".to_owned(),
        rows: 30,
        canary: None,
    };
    let lease_now =
        Lease { stopped: Some(stopped.clone()), ..serde_json::from_slice(&object.bytes).unwrap() };
    world.parts.store.replace(&place, to_bytes(&lease_now), Some(&object.version)).await.unwrap();
    rebuild(&world, SECOND, Mode::Rebuild).await.unwrap();
    let lease = lease(&world).await;
    assert_eq!((lease.holder, lease.stopped), (None, Some(stopped)));
}

/// A run that has sent rows and meets a lost segment when it settles would keep every other from beginning, for ever.
#[tokio::test]
async fn a_rebuild_takes_over_from_a_run_that_cannot_be_settled() {
    for operation in ["upsert", "insert"] {
        let world = world(operation, "bulk").await;
        let stages = sent(&world, 5).await;
        let sent = stages.run.clone();
        harm(&world, Harm::Delete).await;
        stages.fail().await;
        assert_eq!(lease(&world).await.unsettled, Some(sent.run.clone()));

        // Its job is not collected: it is settled first, as far as that goes.
        let failure = rebuild(&world, THIRD, Mode::Rebuild).await.unwrap_err();
        assert!(failure.message.contains("is lost"), "{failure}");
        assert_eq!(lease(&world).await.unsettled, Some(sent.run.clone()));
        let before = seen(&world);
        assert_eq!(before.1, [155, 0, 0]);

        // A rebuild that fails leaves it as it was.
        let failing = world.begin("customers", FOURTH, Mode::Rebuild).await.unwrap();
        let failing = Stages { world: &world, run: failing };
        failing.call("extract").await.unwrap();
        failing.fail().await;
        assert_eq!(lease(&world).await.unsettled, Some(sent.run));

        let report = rebuild(&world, FIFTH, Mode::Rebuild).await.unwrap();
        assert_eq!((report.verdict, report.counts.found.equal), (Verdict::Green, 55), "{}", report.to_text());
        assert_eq!((seen(&world), lease(&world).await.unsettled), (before, None));
        let counts = run(&world, "20260101T050000Z").await;
        assert_eq!((counts.unchanged, counts.sent), (155, 0), "{operation} {counts:?}");
    }
}

/// A run that sends five new rows, and comes as far as so many stages.
async fn sent(world: &World, stages: usize) -> Stages<'_> {
    change(
        world,
        "INSERT INTO CUSTOMER SELECT C_CUSTKEY + 1000, C_NAME, C_ADDRESS, C_NATIONKEY, C_PHONE, \
         C_ACCTBAL, C_MKTSEGMENT, C_COMMENT FROM CUSTOMER WHERE C_CUSTKEY <= 5",
    );
    let sent = Stages { world, run: world.begin("customers", SECOND, Mode::Run).await.unwrap() };
    for stage in &STAGES[..stages] {
        sent.call(stage).await.unwrap();
    }
    sent
}

/// What the run had sent is in the new baseline, and nobody waits for it any more, though nobody could say so.
#[tokio::test]
async fn a_rebuild_that_took_over_and_died_after_its_commit_is_not_in_the_way() {
    for told in [false, true] {
        let world = world("insert", "bulk").await;
        let sent = sent(&world, 6).await;
        harm(&world, Harm::Delete).await;
        sent.fail().await;
        let run = world.begin("customers", THIRD, Mode::Rebuild).await.unwrap();
        let stages = Stages { world: &world, run };
        for stage in &STAGES[..8] {
            stages.call(stage).await.unwrap();
        }
        let path = world.bucket().join(layout::lease(&sent.run.sync));
        let held = fs::read(&path).unwrap();
        stages.call("finish").await.unwrap();
        fs::write(&path, held).unwrap();
        assert_eq!(lease(&world).await.unsettled, Some(sent.run.run.clone()));
        if told {
            stages.fail().await;
        } else {
            world.expire_lease("customers").await;
        }
        let before = seen(&world);
        let counts = self::run(&world, FOURTH).await;
        assert_eq!((counts.unchanged, counts.sent), (155, 0), "{counts:?}");
        assert_eq!((seen(&world), lease(&world).await.unsettled), (before, None));
    }
}

/// Nobody can say whether what the run has sent is committed: only a rebuild of everything goes on from there.
#[tokio::test]
async fn a_rebuild_of_all_takes_over_from_a_run_whose_head_is_damaged() {
    for told in [false, true] {
        let world = world("insert", "bulk").await;
        let sent = sent(&world, 6).await;
        fs::write(world.bucket().join(head_place()), "{").unwrap();
        if told {
            sent.fail().await;
        } else {
            world.expire_lease("customers").await;
        }
        for (run, mode) in [(THIRD, Mode::Run), (FOURTH, Mode::Rebuild)] {
            let failure = rebuild(&world, run, mode).await.unwrap_err();
            assert_eq!(failure.class, Class::Configuration, "{failure}");
            assert!(failure.to_string().contains("baseline rebuild customers --all"), "{failure}");
        }
        let before = seen(&world);
        let report = rebuild(&world, FIFTH, Mode::RebuildAll).await.unwrap();
        assert_eq!(
            (report.verdict, report.counts.found.equal),
            (Verdict::Green, 155),
            "{}",
            report.to_text()
        );
        assert_eq!((seen(&world), lease(&world).await.unsettled), (before, None));
        let counts = run(&world, "20260101T050000Z").await;
        assert_eq!((counts.unchanged, counts.sent), (155, 0), "{counts:?}");
    }
}

#[tokio::test]
async fn an_event_begins_a_rebuild() {
    let world = world("upsert", "bulk").await;
    for (mode, expected) in [("rebuild", Mode::Rebuild), ("rebuild_all", Mode::RebuildAll)] {
        let event =
            serde_json::from_value(json!({"sync": "customers", "run": SECOND, "mode": mode})).unwrap();
        let run = run_ref("customers", SECOND);
        let dispatched = dispatch::handle(&world.parts.store, &world.syncs, event).await.unwrap();
        assert_eq!(dispatched.start, std::slice::from_ref(&run));
        let frozen: Run = world.document(&layout::run(&run)).await;
        assert_eq!(frozen.mode, expected);
        fs::remove_file(world.bucket().join(layout::run(&run))).unwrap();
    }
}

// ---------------------------------------------------------------- stages that run twice

/// One call of each stage, as the state machine makes it.
struct Stages<'a> {
    world: &'a World,
    run: RunRef,
}

impl Stages<'_> {
    async fn call(&self, stage: &str) -> Result<(), Failure> {
        let cli::driver::Parts { store, snowflake, salesforce } = &self.world.parts;
        let (sync, run) = (self.run.sync.clone(), self.run.run.clone());
        let (wave, job, chunk) = (1, 0, 0);
        match stage {
            "extract" => {
                while !extract::handle(store, snowflake, salesforce, &self.run, None).await?.done {}
                Ok(())
            }
            "map" => map::handle(store, map::Event { sync, run, chunk }).await.map(drop),
            "plan" => {
                let event = plan::Event { sync, run, wave, release: false };
                plan::handle(store, salesforce, event).await.map(drop)
            }
            "submit" => {
                submit::handle(store, salesforce, submit::Event { sync, run, wave, job }).await.map(drop)
            }
            "poll" => {
                let event = poll::Event { sync, run, wave, job, wait_seconds: 0, polls: 0 };
                while !poll::handle(store, salesforce, event.clone()).await?.done {}
                Ok(())
            }
            "collect" => {
                collect::handle(store, salesforce, collect::Event { sync, run, wave, job }).await.map(drop)
            }
            "gate" => {
                let event = plan::Event { sync, run, wave: 2, release: false };
                assert_eq!(plan::handle(store, salesforce, event).await?.next, plan::Next::Settle);
                Ok(())
            }
            "settle" => settle::handle(store, settle::Event { sync, run, chunk }).await.map(drop),
            "finish" => {
                finish::handle(store, None, finish::Event::new(self.run.clone(), None)).await.map(drop)
            }
            other => panic!("no stage `{other}`"),
        }
    }

    /// The run has failed.
    async fn fail(&self) {
        let failed = engine::document::Failed { error: "States.Timeout".to_owned(), cause: String::new() };
        let event = finish::Event::new(self.run.clone(), Some(failed));
        finish::handle(&self.world.parts.store, None, event).await.unwrap();
    }
}

const STAGES: [&str; 9] = ["extract", "map", "plan", "submit", "poll", "collect", "gate", "settle", "finish"];

/// Every object of the bucket but the lease.
fn objects(folder: &Path, into: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            objects(&path, into);
        } else if !path.ends_with("lease.json") {
            let bytes = fs::read(&path).unwrap();
            into.insert(path, bytes);
        }
    }
}

#[tokio::test]
async fn a_stage_of_a_rebuild_that_runs_again_changes_nothing() {
    let world = world("upsert", "bulk").await;
    harm(&world, Harm::Delete).await;
    let before = seen(&world);
    let stages =
        Stages { world: &world, run: world.begin("customers", SECOND, Mode::Rebuild).await.unwrap() };
    for (done, stage) in STAGES.iter().enumerate() {
        stages.call(stage).await.unwrap();
        let (mut once, mut twice) = (BTreeMap::new(), BTreeMap::new());
        objects(&world.bucket(), &mut once);
        // Every stage so far, as a redrive may call it.
        for again in &STAGES[..=done] {
            stages.call(again).await.unwrap();
        }
        objects(&world.bucket(), &mut twice);
        assert!(once == twice, "`{stage}` or one before it changed something");
    }
    assert_eq!(seen(&world), before);
    assert_eq!(baseline(&world).await.len(), 150);
    assert_eq!(run(&world, THIRD).await.sent, 0);
}

/// What the org said is kept before it counts: a try that begins again says the same.
#[tokio::test]
async fn what_was_found_is_said_again_by_a_later_try() {
    let world = world("upsert", "bulk").await;
    harm(&world, Harm::Delete).await;
    let stages =
        Stages { world: &world, run: world.begin("customers", SECOND, Mode::Rebuild).await.unwrap() };
    for stage in &STAGES[..6] {
        stages.call(stage).await.unwrap();
    }
    let summary = layout::results_summary(&stages.run, engine::JobRef { wave: 1, job: 0 });
    let first = fs::read(world.bucket().join(&summary)).unwrap();
    fs::remove_file(world.bucket().join(&summary)).unwrap();
    let lost = keys_of_chunk(&world).await;
    somebody(&world, CollectionOperation::Update, &[&lost]).await;
    stages.call("collect").await.unwrap();
    assert_eq!(fs::read(world.bucket().join(&summary)).unwrap(), first);
}

/// A key that the rebuild asked for.
async fn keys_of_chunk(world: &World) -> String {
    head(world).await.segments[1].first_key.clone().unwrap()
}

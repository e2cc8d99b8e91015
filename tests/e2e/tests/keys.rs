//! Keys that have broken one program or another: duplicates, NULLs, every alphabet, numbers as text, and spellings that
//! Salesforce takes for one.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use std::collections::BTreeMap;

use cli::driver::Parts;
use e2e::world::{World, run_ref};
use emulators::{salesforce::OrgConfig, snowflake::Config};
use engine::{
    RunRef,
    document::{Chunk, Extracted, Head, Mode, Plan, Release, Which, to_bytes},
    layout,
    manifest::manifest,
    report::{Report, Verdict},
};
use jiff::Timestamp;

const RUNS: [&str; 4] = ["20260101T000000Z", "20260101T010000Z", "20260101T020000Z", "20260101T030000Z"];
const TABLE: &str = "SNOWFLAKE_SAMPLE_DATA.TPCH_SF1.KEYS";

/// A warehouse with a table of keys and names, and a sync of it.
async fn world(destination: &str, api: &str) -> World {
    world_with(OrgConfig::default(), destination, api).await
}

async fn world_with(org: OrgConfig, destination: &str, api: &str) -> World {
    let config = Config { partition_rows: Some(4), ..Config::default() };
    let world = World::scaled(config, org, 0.0001).await;
    execute(&world, &format!("CREATE TABLE {TABLE} (K VARCHAR, V VARCHAR)"));
    world.edit_sync("customers", |_| {
        format!(
            "model: {{ table: {TABLE}, warehouse: COMPUTE_WH }}\nkey: {{ column: K, field: Customer_Key__c }}\n\
             destination: {{ object: Account, {destination} }}\nmapping: {{ Name: V }}\n\
             load: {{ api: {api} }}\nguard: {{ max_removed: 100% }}\n"
        )
    });
    world
}

fn execute(world: &World, sql: &str) {
    world.snowflake.execute(sql).unwrap();
}

fn insert(world: &World, key: Option<&str>, name: &str) {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let key = key.map_or_else(|| "NULL".to_owned(), quoted);
    execute(world, &format!("INSERT INTO {TABLE} VALUES ({key}, {})", quoted(name)));
}

/// Freezes a run and extracts it, into chunks of a few rows: so the spellings of a key are in different ones.
async fn begin(world: &World, number: usize, mode: Mode) -> RunRef {
    let run = world.begin("customers", RUNS[number], mode).await.unwrap();
    let Parts { store, snowflake, salesforce } = &world.parts;
    while !extract::handle(store, snowflake, salesforce, &run, None).await.unwrap().done {
        tokio::time::sleep(world.second).await;
    }
    let extracted: Extracted = world.document(&layout::result(&run)).await;
    let mut scans = Vec::new();
    for (partition, _) in (0..).zip(&extracted.partitions) {
        scans.push(world.document(&layout::partition_scan(&run, partition)).await);
    }
    let chunks = to_bytes(&manifest(&scans, 4));
    std::fs::write(world.bucket().join(layout::manifest(&run)), chunks).unwrap();
    run
}

async fn run(world: &World, number: usize) -> Report {
    let run = begin(world, number, Mode::Run).await;
    world.drive(run).await.unwrap();
    world.document(&layout::report_json(&run_ref("customers", RUNS[number]))).await
}

/// The names of the org's records by key.
fn names(world: &World) -> BTreeMap<String, String> {
    let records = world.org.records("Account").into_iter();
    records
        .map(|mut record| (record.remove("Customer_Key__c").unwrap(), record.remove("Name").unwrap()))
        .collect()
}

async fn baseline_rows(world: &World) -> u64 {
    let head: Head = world.document(&layout::head(&run_ref("customers", RUNS[0]).sync)).await;
    head.segments.iter().map(|segment| segment.rows).sum()
}

#[tokio::test]
async fn every_key_is_its_own_row_and_those_that_are_not_are_named() {
    const GOOD: [&str; 16] = [
        "9",
        "10",
        "1",
        "100",
        "007",
        "7",
        "-3",
        "a b",
        "a,b",
        "say \"hi\"",
        "O'Hara",
        "é",
        "日本",
        "😀",
        "Straße",
        "#N/A?",
    ];
    for api in ["bulk", "rest"] {
        let world = world("operation: upsert", api).await;
        for (number, key) in GOOD.iter().enumerate() {
            insert(&world, Some(key), &format!("name {number}"));
        }
        for (key, name) in
            [(Some("twice"), "a"), (Some("twice"), "b"), (None, "c"), (Some(""), "d"), (None, "e")]
        {
            insert(&world, key, name);
        }
        let report = run(&world, 0).await;
        let counts = &report.counts;
        assert_eq!(report.verdict, Verdict::Attention);
        assert_eq!((counts.read, counts.created, counts.invalid), (21, 16, 5), "{api} {counts:?}");
        let reasons: BTreeMap<_, _> =
            report.reasons.iter().map(|why| (why.code.as_str(), why.rows)).collect();
        assert_eq!(reasons, BTreeMap::from([("duplicate_key", 2), ("null_key", 3)]));
        let expected =
            GOOD.iter().enumerate().map(|(number, key)| ((*key).to_owned(), format!("name {number}")));
        assert_eq!(names(&world), expected.collect(), "{api}");
        // Of two rows with one key neither is sent, and none takes the place of the other later.
        let again = run(&world, 1).await.counts;
        assert_eq!((again.unchanged, again.invalid, again.sent), (16, 5, 0), "{api} {again:?}");
        execute(&world, &format!("UPDATE {TABLE} SET V = 'new' WHERE K = '10'"));
        execute(&world, &format!("DELETE FROM {TABLE} WHERE V = 'b'"));
        let last = run(&world, 2).await.counts;
        assert_eq!((last.updated, last.created, last.invalid), (1, 1, 3), "{api} {last:?}");
        assert_eq!((names(&world)["10"].as_str(), names(&world)["twice"].as_str()), ("new", "a"));
    }
}

/// To Salesforce both spellings name one record: it must not go with the old one.
#[tokio::test]
async fn a_key_of_a_mirror_that_changes_its_case_keeps_its_record() {
    for (api, on_removed) in [
        ("bulk", "delete"),
        ("rest", "delete"),
        ("bulk", "{ clear: [Phone] }"),
        ("rest", "{ clear: [Phone] }"),
    ] {
        let world = world(&format!("operation: mirror, on_removed: {on_removed}"), api).await;
        for key in ["abc", "Gone", "kept", "zoë", "42"] {
            insert(&world, Some(key), "first");
        }
        assert_eq!(run(&world, 0).await.counts.created, 5);
        let id = world.org.record_by("Account", "Customer_Key__c", "abc").unwrap()["Id"].clone();
        execute(&world, &format!("UPDATE {TABLE} SET K = 'ABC' WHERE K = 'abc'"));
        execute(&world, &format!("UPDATE {TABLE} SET K = 'ZOË', V = 'second' WHERE K = 'zoë'"));
        execute(&world, &format!("DELETE FROM {TABLE} WHERE K IN ('Gone', '42')"));
        let report = run(&world, 1).await;
        let (counts, text) = (&report.counts, report.to_text());
        assert_eq!(report.verdict, Verdict::Green, "{text}");
        assert_eq!((counts.removed, counts.renamed, counts.removing, counts.gone), (4, 2, 2, 2), "{text}");
        assert!(text.contains("2  └─ there under another spelling of the key: not removed"), "{text}");
        let deleted = if on_removed == "delete" { 2 } else { 0 };
        assert_eq!(world.org.write_counts("Account")[2], deleted, "{api} {on_removed}");
        let record = world.org.record_by("Account", "Customer_Key__c", "ABC").unwrap();
        assert_eq!((&record["Id"], record["Name"].as_str()), (&id, "first"), "{api} {on_removed}");
        let record = world.org.record_by("Account", "Customer_Key__c", "ZOË").unwrap();
        assert_eq!(record["Name"], "second");
        assert_eq!(baseline_rows(&world).await, 3, "the old spellings are forgotten");
        let next = run(&world, 2).await.counts;
        assert_eq!((next.unchanged, next.sent, next.removed), (3, 0, 0), "{next:?}");
        // And the new spelling leaves like any other key.
        execute(&world, &format!("DELETE FROM {TABLE} WHERE K = 'ABC'"));
        let last = run(&world, 3).await.counts;
        assert_eq!((last.removed, last.renamed, last.gone), (1, 0, 1), "{last:?}");
    }
}

/// Fills the table with keys that stay, so that there are several chunks.
fn fill(world: &World) {
    for number in 0..12 {
        insert(world, Some(&format!("M{number:02}")), "stays");
    }
}

/// The listings of invalid rows of a run, line by line.
async fn invalid(world: &World, number: usize) -> Vec<String> {
    let folder = layout::run_folder(&run_ref("customers", RUNS[number])) + "/mapped/";
    let listings = world.parts.store.list(&folder).await.unwrap();
    let mut lines = Vec::new();
    for object in listings.into_iter().filter(|object| object.contains("/invalid-")) {
        let bytes = world.parts.store.bytes(&object).await.unwrap();
        lines.extend(String::from_utf8(bytes.into()).unwrap().lines().skip(1).map(ToOwned::to_owned));
    }
    lines
}

/// Neither row says what the record is to be, so neither is sent; and what was accepted stays as it is.
#[tokio::test]
async fn of_two_rows_with_one_key_in_two_cases_neither_is_sent() {
    const WAYS: [&str; 3] =
        ["operation: upsert", "operation: insert", "operation: mirror, on_removed: delete"];
    for api in ["bulk", "rest"] {
        for destination in WAYS {
            let world = world(destination, api).await;
            fill(&world);
            for (key, name) in
                [("ABC", "upper"), ("abc", "lower"), ("Zoë", "title"), ("zOË", "other"), ("one", "first")]
            {
                insert(&world, Some(key), name);
            }
            let report = run(&world, 0).await;
            let (counts, text) = (&report.counts, report.to_text());
            assert_eq!(
                (counts.read, counts.created, counts.invalid),
                (17, 13, 4),
                "{destination} {api}\n{text}"
            );
            assert_eq!(report.verdict, Verdict::Attention);
            assert!(text.contains("is the key of another row too, in another case"), "{text}");
            assert_eq!(names(&world).len(), 13);
            let listed = invalid(&world, 0).await;
            assert_eq!(listed.len(), 4, "{listed:?}");
            assert!(
                listed.iter().any(|line| line.starts_with("abc,duplicate_key,Customer_Key__c,")),
                "{listed:?}"
            );
            // What was accepted under one spelling is not written over under another.
            insert(&world, Some("ONE"), "second");
            execute(&world, &format!("DELETE FROM {TABLE} WHERE K = 'ABC'"));
            let counts = run(&world, 1).await.counts;
            assert_eq!(
                (counts.unchanged, counts.created, counts.invalid),
                (13, 1, 3),
                "{destination} {counts:?}"
            );
            let named = names(&world);
            assert_eq!(
                (named["one"].as_str(), named["abc"].as_str()),
                ("first", "lower"),
                "{destination} {api}"
            );
            assert!(!named.contains_key("ONE"));
            // Both would be sent: neither is. An insert sends no key again.
            execute(&world, &format!("UPDATE {TABLE} SET V = 'third' WHERE K = 'one'"));
            let counts = run(&world, 2).await.counts;
            let sent_once = destination == "operation: insert";
            assert_eq!(counts.invalid, if sent_once { 3 } else { 4 }, "{destination} {api} {counts:?}");
            assert_eq!((counts.sent, counts.removed), (0, 0), "{destination} {api} {counts:?}");
            assert_eq!(names(&world)["one"], "first");
            // Without the other it goes.
            execute(&world, &format!("DELETE FROM {TABLE} WHERE K = 'ONE'"));
            let counts = run(&world, 3).await.counts;
            assert_eq!(
                (counts.updated, counts.invalid),
                (u64::from(!sent_once), 2),
                "{destination} {counts:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_key_that_changes_its_case_is_written_to_its_record() {
    for api in ["bulk", "rest"] {
        let world = world("operation: upsert", api).await;
        fill(&world);
        insert(&world, Some("abc"), "first");
        insert(&world, Some("xyz"), "first");
        run(&world, 0).await;
        let id = world.org.record_by("Account", "Customer_Key__c", "abc").unwrap()["Id"].clone();
        execute(&world, &format!("UPDATE {TABLE} SET K = 'ABC', V = 'second' WHERE K = 'abc'"));
        let report = run(&world, 1).await;
        assert_eq!(report.verdict, Verdict::Green, "{}", report.to_text());
        let counts = &report.counts;
        assert_eq!((counts.sent, counts.removed, counts.invalid), (1, 1, 0), "{api} {counts:?}");
        let record = world.org.record_by("Account", "Customer_Key__c", "ABC").unwrap();
        assert_eq!((&record["Id"], record["Name"].as_str()), (&id, "second"), "{api}");
        assert_eq!(baseline_rows(&world).await, 14);
    }
}

/// While the row under the new spelling is refused, its record stays, and is known by the old one.
#[tokio::test]
async fn the_record_of_a_mirror_stays_while_its_new_spelling_is_invalid() {
    for (first, second) in [("ABC", "ABC"), ("ABC", "aBc")] {
        let world = world("operation: mirror, on_removed: delete", "bulk").await;
        fill(&world);
        insert(&world, Some("abc"), "first");
        run(&world, 0).await;
        execute(&world, &format!("DELETE FROM {TABLE} WHERE K = 'abc'"));
        insert(&world, Some(first), "second");
        insert(&world, Some(second), "third");
        let counts = run(&world, 1).await.counts;
        assert_eq!(
            (counts.invalid, counts.removed, counts.renamed),
            (2, 1, 1),
            "{first} {second} {counts:?}"
        );
        assert_eq!((counts.sent, world.org.write_counts("Account")[2]), (0, 0), "{counts:?}");
        assert_eq!(names(&world)["abc"], "first");
        assert_eq!(baseline_rows(&world).await, 13, "the record is still known");
        execute(&world, &format!("DELETE FROM {TABLE} WHERE V = 'third'"));
        let counts = run(&world, 2).await.counts;
        assert_eq!((counts.updated + counts.created, counts.renamed, counts.gone), (1, 1, 0), "{counts:?}");
        assert_eq!(world.org.record_by("Account", "Customer_Key__c", first).unwrap()["Name"], "second");
        assert_eq!(baseline_rows(&world).await, 13);
        // And when it leaves for good, its record goes.
        execute(&world, &format!("DELETE FROM {TABLE} WHERE V = 'second'"));
        assert_eq!(run(&world, 3).await.counts.gone, 1);
        assert_eq!(world.org.count("Account"), 12);
    }
}

/// The plan is made anew from the same fragments by a try that comes after one that died, and is applied as it is.
#[tokio::test]
async fn a_plan_without_the_refused_rows_is_made_twice_alike_and_applied() {
    let world = world("operation: upsert", "bulk").await;
    world.edit_sync("customers", |sync| sync.replace("api: bulk }", "api: bulk, canary: { rows: 3 } }"));
    fill(&world);
    insert(&world, Some("ABC"), "upper");
    insert(&world, Some("abc"), "lower");
    let planned = begin(&world, 0, Mode::Plan).await;
    world.drive(planned.clone()).await.unwrap();
    assert!(world.document::<Vec<Chunk>>(&layout::manifest(&planned)).await.len() > 2);
    let place = layout::plan(&planned, 1);
    let plan: Plan = world.document(&place).await;
    assert_eq!((plan.totals.sent(), plan.totals.invalid["duplicate_key"]), (12, 2));
    assert_eq!(
        plan.jobs.iter().map(|job| (job.canary, job.rows)).collect::<Vec<_>>(),
        [(true, 3), (false, 9)]
    );
    let bytes = std::fs::read(world.bucket().join(&place)).unwrap();
    std::fs::remove_file(world.bucket().join(&place)).unwrap();
    world.drive(planned.clone()).await.unwrap();
    assert_eq!(std::fs::read(world.bucket().join(&place)).unwrap(), bytes);
    let preview: Report = world.document(&layout::preview_json(&planned)).await;
    assert_eq!((preview.counts.invalid, preview.counts.sent), (2, 12));
    store::approval::apply(&world.parts.store, &planned, "test").await.unwrap();
    world.drive(planned).await.unwrap();
    assert_eq!(names(&world).len(), 12);
    assert!(!names(&world).contains_key("abc") && !names(&world).contains_key("ABC"));
}

/// Nothing shows that the old spelling has left: it may still be there, so the new one is refused, in the open, until
/// the model is read whole.
#[tokio::test]
async fn with_a_cursor_what_was_accepted_is_not_written_over_under_another_spelling() {
    const NEWS: &str = "SNOWFLAKE_SAMPLE_DATA.TPCH_SF1.NEWS";
    let world = world("operation: upsert", "bulk").await;
    execute(&world, &format!("CREATE TABLE {NEWS} (K VARCHAR, V VARCHAR, N NUMBER(10,0))"));
    world.edit_sync("customers", |sync| {
        sync.replace(TABLE, NEWS)
            .replace("warehouse: COMPUTE_WH }", "warehouse: COMPUTE_WH, cursor: { column: N } }")
    });
    for (number, key) in ["one", "two", "three", "four", "five"].into_iter().enumerate() {
        execute(&world, &format!("INSERT INTO {NEWS} VALUES ('{key}', 'first', {number})"));
    }
    assert_eq!(run(&world, 0).await.counts.created, 5);
    execute(&world, &format!("INSERT INTO {NEWS} VALUES ('ONE', 'second', 100)"));
    for number in [1, 2] {
        let counts = run(&world, number).await.counts;
        assert_eq!((counts.invalid, counts.sent), (1, 0), "{number} {counts:?}");
        assert!(counts.read < 6, "{counts:?}");
        assert_eq!(names(&world)["one"], "first");
    }
    execute(&world, &format!("DELETE FROM {NEWS} WHERE K = 'one'"));
    let release = Release { at: Timestamp::UNIX_EPOCH, by: "test".to_owned(), rows: Which::All };
    let sync = run_ref("customers", RUNS[0]).sync;
    let head: Head = world.document(&layout::head(&sync)).await;
    store::release::write(&world.parts.store, &sync, &head, &release).await.unwrap();
    let counts = run(&world, 3).await.counts;
    assert_eq!((counts.read, counts.invalid, counts.sent, counts.removed), (5, 0, 1, 1), "{counts:?}");
    assert_eq!(world.org.record_by("Account", "Customer_Key__c", "ONE").unwrap()["Name"], "second");
    assert_eq!(world.org.count("Account"), 5);
}

#[tokio::test]
async fn a_field_that_tells_case_takes_both_spellings() {
    let mut org = OrgConfig::default();
    let fields = org.schema.objects.iter_mut().flat_map(|object| &mut object.fields);
    fields.filter(|field| field.name == "Customer_Key__c").for_each(|field| field.case_sensitive = true);
    for api in ["bulk", "rest"] {
        let world = world_with(org.clone(), "operation: upsert", api).await;
        fill(&world);
        insert(&world, Some("ABC"), "upper");
        insert(&world, Some("abc"), "lower");
        let counts = run(&world, 0).await.counts;
        assert_eq!((counts.created, counts.invalid), (14, 0), "{api} {counts:?}");
        assert_eq!((names(&world)["ABC"].as_str(), names(&world)["abc"].as_str()), ("upper", "lower"));
    }
}

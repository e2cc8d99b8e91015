//! Keys that have broken one program or another: duplicates, NULLs, every alphabet, numbers as text, and spellings that
//! Salesforce takes for one.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use std::collections::BTreeMap;

use e2e::world::{World, run_ref};
use emulators::{salesforce::OrgConfig, snowflake::Config};
use engine::{
    document::Head,
    layout,
    report::{Report, Verdict},
};

const RUNS: [&str; 4] = ["20260101T000000Z", "20260101T010000Z", "20260101T020000Z", "20260101T030000Z"];
const TABLE: &str = "SNOWFLAKE_SAMPLE_DATA.TPCH_SF1.KEYS";

/// A warehouse with a table of keys and names, and a sync of it.
async fn world(destination: &str, api: &str) -> World {
    let config = Config { partition_rows: Some(4), ..Config::default() };
    let world = World::scaled(config, OrgConfig::default(), 0.0001).await;
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

async fn run(world: &World, number: usize) -> Report {
    world.run("customers", RUNS[number]).await.unwrap();
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

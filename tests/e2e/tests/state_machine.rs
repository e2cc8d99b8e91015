//! The real definition, interpreted by moto, with the real binaries as its tasks.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use std::collections::BTreeMap;

use e2e::{
    cloud::{Cloud, definition},
    compare::{CUSTOMERS, ORDERS, assert_equal},
    world::World,
};
use emulators::{salesforce::OrgConfig, snowflake::Config};
use engine::{Class, document::Mode, report::Verdict};
use serde_json::Value;
use store::{Put, Store};

const CUSTOMER: &str = "SNOWFLAKE_SAMPLE_DATA.TPCH_SF1.CUSTOMER";
const ORDER: &str =
    "(SELECT * FROM SNOWFLAKE_SAMPLE_DATA.TPCH_SF1.ORDERS WHERE O_ORDERDATE >= '1998-07-01') AS O";
const RUN: &str = "20260101T000000Z";
const SECOND: &str = "20260101T010000Z";
const THIRD: &str = "20260101T020000Z";

/// Both drivers meet the same world: the same handles, the same order of results.
fn seeded() -> Config {
    Config { seed: 7, partition_rows: Some(400), ..Config::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_drivers_leave_the_same_documents() {
    let cloud = Cloud::deploy(seeded(), OrgConfig::default(), 0.01, &definition()).await;
    let world = World::with(seeded(), OrgConfig::default()).await;
    for sync in ["customers", "orders"] {
        let execution = cloud.dispatch(sync, RUN).await;
        assert_eq!(execution["status"], "SUCCEEDED", "{execution}\n{}", cloud.logged());
        world.run(sync, RUN).await.unwrap();
    }
    assert_eq!(assert_equal(&cloud.snowflake, &cloud.org, CUSTOMER, "Account", &CUSTOMERS), 1500);
    assert!(assert_equal(&cloud.snowflake, &cloud.org, ORDER, "Order__c", &ORDERS) > 100);

    for store in [&cloud.store, &world.parts.store] {
        damage(store).await;
    }
    let execution = cloud.dispatch("customers", SECOND).await;
    assert_eq!((&execution["status"], &execution["error"]), (&"FAILED".into(), &"Configuration".into()));
    world.run("customers", SECOND).await.unwrap_err();
    let event = serde_json::json!({"detail": {
        "status": "FAILED", "input": execution["input"], "error": execution["error"], "cause": execution["cause"],
    }});
    cloud.invoke("finish", &event).await;
    let execution = cloud.dispatch_as("customers", THIRD, "rebuild").await;
    assert_eq!(execution["status"], "SUCCEEDED", "{execution}\n{}", cloud.logged());
    let run = world.begin("customers", THIRD, Mode::Rebuild).await.unwrap();
    assert_eq!(world.drive(run).await.unwrap().verdict, Verdict::Green);
    assert_eq!(cloud.org.write_counts("Account"), [1500, 0, 0]);

    let (theirs, ours) = (documents(&cloud.store).await, documents(&world.parts.store).await);
    let keys = |documents: &BTreeMap<String, String>| documents.keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&theirs), keys(&ours));
    for (key, document) in &ours {
        assert_eq!(&theirs[key], document, "{key}");
    }
}

/// Flips a bit in the only segment of the customers.
async fn damage(store: &Store) {
    let place = format!("syncs/customers/baseline/{RUN}/00000.zst");
    let whole = store.get(&place).await.unwrap().unwrap();
    let mut bytes = whole.bytes.to_vec();
    bytes[1000] ^= 1;
    assert!(matches!(store.replace(&place, bytes, Some(&whole.version)).await.unwrap(), Put::Written(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_execution_names_its_class_and_sends_nothing() {
    let cloud = Cloud::deploy(seeded(), OrgConfig::default(), 0.01, &definition()).await;
    cloud.snowflake.execute(&format!("ALTER TABLE {CUSTOMER} RENAME COLUMN C_PHONE TO C_TELEPHONE")).unwrap();
    let execution = cloud.dispatch("customers", RUN).await;
    assert_eq!(
        (&execution["status"], &execution["error"]),
        (&"FAILED".into(), &"Configuration".into()),
        "{execution}"
    );
    assert!(cloud.org.jobs().is_empty());
    assert!(!cloud.store.exists("syncs/customers/head.json").await.unwrap());

    // What EventBridge tells Finish then.
    let event = serde_json::json!({"detail": {
        "status": "FAILED", "input": execution["input"], "error": execution["error"], "cause": execution["cause"],
    }});
    assert_eq!(cloud.invoke("finish", &event).await["verdict"], "failed");
    let report = cloud.store.get(&format!("runs/customers/{RUN}/failure.txt")).await.unwrap().unwrap();
    let report = String::from_utf8(report.bytes.to_vec()).unwrap();
    assert!(report.contains("C_PHONE"), "{report}");
}

/// A child that fails is one thing in AWS, where it fails the Map, and another in moto, where it does not.
/// The stage that comes next asks for what every child leaves, so that the execution fails in both.
#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_that_failed_fails_the_execution_before_anything_is_sent() {
    let cloud = Cloud::deploy(seeded(), OrgConfig::default(), 0.01, &definition()).await;
    let place = format!("runs/customers/{RUN}/mapped/00000/upsert-000.csv");
    cloud.store.create(&place, "what another try of the stage would never write").await.unwrap();
    let execution = cloud.dispatch("customers", RUN).await;
    assert_eq!(execution["status"], "FAILED", "{execution}");
    assert!(cloud.org.jobs().is_empty());
}

#[tokio::test]
async fn a_run_whose_chunk_failed_goes_on_when_the_cause_is_gone() {
    let world = World::with(seeded(), OrgConfig::default()).await;
    let place = format!("runs/customers/{RUN}/mapped/00000/upsert-000.csv");
    world.parts.store.create(&place, "what another try of the stage would never write").await.unwrap();
    let run = world.begin("customers", RUN, Mode::Run).await.unwrap();
    let failure = world.drive(run.clone()).await.unwrap_err();
    assert_eq!(failure.class, Class::Bug);
    assert!(failure.message.contains(&place), "{failure}");
    assert!(world.org.jobs().is_empty());

    std::fs::remove_file(world.bucket().join(&place)).unwrap();
    assert_eq!(world.drive(run).await.unwrap().verdict, Verdict::Green);
    assert_eq!(assert_equal(&world.snowflake, &world.org, CUSTOMER, "Account", &CUSTOMERS), 1500);
    assert_eq!(world.org.write_counts("Account"), [1500, 0, 0]);
    assert_eq!(world.snowflake.submitted().len(), 1, "the warehouse was asked again");
}

/// Every document, without what differs from run to run: instants, versions, who started it. The rows of
/// result files come in any order.
async fn documents(store: &Store) -> BTreeMap<String, String> {
    let mut documents = BTreeMap::new();
    for key in store.list("").await.unwrap() {
        // The two share a session in different ways, and a login counts against the allowances.
        if key.contains("/session-") || key.contains("/limits-") {
            continue;
        }
        let bytes = store.get(&key).await.unwrap().unwrap().bytes;
        let text = match key.rsplit('.').next() {
            Some("json") => without_volatile(serde_json::from_slice(&bytes).unwrap()).to_string(),
            Some("csv") => sorted_lines(&bytes),
            Some("txt") => String::new(),
            _ => format!("{bytes:?}"),
        };
        documents.insert(key, text);
    }
    documents
}

fn without_volatile(document: Value) -> Value {
    match document {
        Value::Object(fields) => {
            let kept = fields.into_iter().filter(|(name, _)| !VOLATILE.contains(&name.as_str()));
            kept.map(|(name, value)| (name, without_volatile(value))).collect()
        }
        Value::Array(items) => items.into_iter().map(without_volatile).collect(),
        plain => plain,
    }
}

/// `version` is the ETag of the head that a run starts from, `limits` what was left of the allowances,
/// `polls` how often a job was asked for.
const VOLATILE: [&str; 8] =
    ["api_calls", "at", "expires", "finished", "limits", "polls", "started_by", "version"];

fn sorted_lines(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    lines.join("\n")
}

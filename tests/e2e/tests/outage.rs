//! The org falls silent in the middle of a load, and the run is never carried on.
//!
//! What had been sent by then is settled before the next run begins, so that run sends what is missing and nothing
//! else. The audit log of the org shows each row written once: inserts too, of which the org would take a second.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use std::collections::BTreeSet;

use e2e::{
    compare::{ORDERS, assert_equal},
    world::{World, run_ref, with_load},
};
use emulators::{
    faults::{Action, Rule},
    salesforce::OrgConfig,
    snowflake::Config,
};
use engine::{
    document::{Head, Lease, Mode},
    layout,
    report::{Report, Verdict},
};
use futures_util::{StreamExt, stream};
use http_client::RetryPolicy;
use store::{lease, lease::Standing};

const FIRST: &str = "20260101T000000Z";
const SECOND: &str = "20260101T010000Z";
const THIRD: &str = "20260101T020000Z";
const ORDER: &str =
    "(SELECT * FROM SNOWFLAKE_SAMPLE_DATA.TPCH_SF1.ORDERS WHERE O_ORDERDATE >= '1998-07-01') AS O";

/// Every call of a load: of bulk jobs, and of the collections.
const LOAD: [&str; 2] = ["*/jobs/ingest*", "*/composite/*"];

/// The customers are there; the orders are about to go, in several jobs.
async fn world(operation: &str, api: &str) -> World {
    let config = Config { partition_rows: Some(60), ..Config::default() };
    let mut world = World::scaled(config, OrgConfig::default(), 0.004).await;
    world.second = std::time::Duration::from_millis(1);
    world.run("customers", FIRST).await.unwrap();
    let secret = serde_json::from_str(&world.org.secret_json()).unwrap();
    let patience = RetryPolicy { tries: 1, ..RetryPolicy::immediate() };
    world.parts.salesforce = salesforce::Client::with_retry(secret, patience).unwrap();
    world.edit_sync("orders", |sync| {
        let sync = sync
            .replace("operation: upsert", &format!("operation: {operation}"))
            .replace("api: bulk", &format!("api: {api}"));
        with_load(&sync, "group_by: Account__r.Customer_Key__c")
    });
    world
}

fn pattern(api: &str) -> &'static str {
    LOAD[usize::from(api == "rest")]
}

/// How many calls the load of an undisturbed run makes.
async fn calls(operation: &str, api: &str) -> u32 {
    let world = world(operation, api).await;
    let count = |world: &World| world.org.faults().count("*", pattern(api));
    let before = count(&world);
    assert_eq!(world.run("orders", FIRST).await.unwrap().verdict, Verdict::Green);
    u32::try_from(count(&world) - before).unwrap()
}

struct Outage {
    operation: &'static str,
    api: &'static str,
    from: u32,
    /// What is sent takes effect, and only the answers are lost.
    answers_only: bool,
}

/// Orders of the org, each written once.
fn written_once(world: &World) -> usize {
    let audit = world.org.audit();
    let orders: Vec<_> = audit.iter().filter(|written| written.object == "Order__c").collect();
    let ids: BTreeSet<_> = orders.iter().map(|written| &written.id).collect();
    assert_eq!(ids.len(), orders.len(), "an order was written twice");
    ids.len()
}

async fn report(world: &World, run: &str) -> Report {
    world.document(&layout::report_json(&run_ref("orders", run))).await
}

/// Says how many rows the outage left to the second run.
async fn trial(Outage { operation, api, from, answers_only }: Outage) -> u64 {
    let world = world(operation, api).await;
    let action = if answers_only { Action::DropAfter } else { Action::DropBefore };
    world.org.faults().add(Rule::on("*", pattern(api), action).nth(from).times(u32::MAX));
    let first = world.run("orders", FIRST).await;
    world.org.faults().clear();
    let before = written_once(&world) as u64;
    let second = world.run("orders", SECOND).await.unwrap();
    let counts = report(&world, SECOND).await.counts;
    assert_eq!(second.verdict, Verdict::Green, "{operation} {api} {from}: {counts:?}");
    let all = assert_equal(&world.snowflake, &world.org, ORDER, "Order__c", &ORDERS);
    assert_eq!(written_once(&world), all, "{operation} {api} {from}");
    if first.is_err() {
        let settled = report(&world, FIRST).await;
        assert!(settled.counts.balance(Mode::Run), "{:?}", settled.counts);
        // A job that was about to be closed is closed by whoever settles: it may have been.
        assert!(settled.counts.created >= before, "{operation} {api} {from}: {:?}", settled.counts);
        assert_eq!(counts.sent + settled.counts.created, all as u64, "{operation} {api} {from}: {counts:?}");
    }
    world.run("orders", THIRD).await.unwrap();
    assert_eq!(report(&world, THIRD).await.counts.sent, 0);
    counts.sent
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_the_org_took_before_it_fell_silent_is_not_sent_again() {
    let mut trials = Vec::new();
    for (operation, api) in [("insert", "bulk"), ("insert", "rest"), ("upsert", "bulk"), ("upsert", "rest")] {
        let calls = calls(operation, api).await;
        assert!(calls > 6, "{operation} {api}: {calls} calls are too few to be interesting");
        let step = if api == "bulk" { 5 } else { 1 };
        for from in (1..=calls).step_by(step) {
            trials.extend(
                [false, true].map(|answers_only| trial(Outage { operation, api, from, answers_only })),
            );
        }
    }
    let left: Vec<u64> = stream::iter(trials).buffer_unordered(4).collect().await;
    let (some, outages) = (left.iter().filter(|rows| **rows > 0).count(), left.len());
    println!("{outages} outages; after {some} of them the next run had rows left to send");
    assert!(some > outages / 3);
}

#[tokio::test]
async fn a_run_that_died_without_a_word_is_settled_when_its_lease_has_ended() {
    let world = world("insert", "rest").await;
    // Three calls are through when the process dies.
    let died = world.begin("orders", FIRST, Mode::Run).await.unwrap();
    let dying = Rule::on("*", pattern("rest"), Action::Delay(std::time::Duration::from_secs(3600)))
        .nth(4)
        .times(u32::MAX);
    world.org.faults().add(dying);
    tokio::select! {
        ended = world.drive(died.clone()) => panic!("{ended:?}"),
        () = async { while world.org.faults().count("*", pattern("rest")) < 3 { tokio::task::yield_now().await } } => {}
    }
    world.org.faults().clear();
    let before = written_once(&world) as u64;
    assert!(before > 0);
    let standing = lease::standing(&world.parts.store, &run_ref("orders", SECOND)).await.unwrap();
    assert!(matches!(standing, Standing::Going(_)), "{standing:?}");
    end_lease(&world).await;
    assert_eq!(world.run("orders", THIRD).await.unwrap().verdict, Verdict::Green);
    assert_eq!(report(&world, FIRST).await.counts.created, before);
    let all = assert_equal(&world.snowflake, &world.org, ORDER, "Order__c", &ORDERS);
    assert_eq!(written_once(&world), all);
    let head: Head = world.document(&layout::head(&died.sync)).await;
    assert_eq!(head.run.unwrap().as_str(), THIRD);
}

/// Six hours pass without a sign of life.
async fn end_lease(world: &World) {
    let place = layout::lease(&run_ref("orders", FIRST).sync);
    let object = world.parts.store.get(&place).await.unwrap().unwrap();
    let lease: Lease = serde_json::from_slice(&object.bytes).unwrap();
    let ended = Lease { expires: "2026-01-01T00:00:00Z".parse().unwrap(), ..lease };
    let bytes = engine::document::to_bytes(&ended);
    world.parts.store.replace(&place, bytes, Some(&object.version)).await.unwrap();
}

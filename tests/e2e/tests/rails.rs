//! What stops a run before anything is sent, and how a person lets it go on.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use e2e::{
    compare::{CUSTOMERS, assert_equal},
    world::{World, run_ref},
};
use emulators::{salesforce::OrgConfig, snowflake::Config};
use engine::{
    Class, Failure, RunRef,
    document::{Approval, Head, Judged, Lease, Plan},
    layout,
    report::{Report, Verdict},
};
use store::approval;

const FIRST: &str = "20260101T000000Z";
const SECOND: &str = "20260101T010000Z";
const THIRD: &str = "20260101T020000Z";
const CUSTOMER: &str = "SNOWFLAKE_SAMPLE_DATA.TPCH_SF1.CUSTOMER";

/// 150 customers, and an org that keeps what it is sent.
async fn world() -> World {
    let org = OrgConfig { keep_uploads: true, ..OrgConfig::default() };
    World::scaled(Config { partition_rows: Some(60), ..Config::default() }, org, 0.001).await
}

/// A world in which all customers were accepted.
async fn loaded() -> World {
    let world = world().await;
    assert_eq!(world.run("customers", FIRST).await.unwrap().verdict, Verdict::Green);
    world
}

fn with_guard(text: &str, guard: &str) -> String {
    let text = text.split("\nguard:").next().unwrap();
    format!("{text}\nguard: {{{guard}}}\n")
}

fn change(world: &World, sql: &str) {
    world.snowflake.execute(&sql.replace("CUSTOMER", CUSTOMER)).unwrap();
}

async fn plan(world: &World, run: &RunRef) -> Plan {
    world.document(&layout::plan(run, 1)).await
}

async fn head(world: &World) -> Head {
    world.document(&layout::head(&run_ref("customers", FIRST).sync)).await
}

async fn lease(world: &World) -> Lease {
    world.document(&layout::lease(&run_ref("customers", FIRST).sync)).await
}

/// What the org has seen of loads.
fn seen(world: &World) -> (usize, [u64; 3]) {
    (world.org.jobs().len(), world.org.write_counts("Account"))
}

/// Runs the sync, which goes past these rails, and nothing comes of it.
async fn assert_stopped(world: &World, run: &str, keys: &[&str]) -> Failure {
    let (seen_before, head_before) = (seen(world), head(world).await);
    let failure = world.run("customers", run).await.unwrap_err();
    assert_eq!(failure.class, Class::Guard, "{failure}");
    for key in keys {
        assert!(failure.message.contains(key), "{failure}");
    }
    assert!(failure.hint.as_ref().unwrap().contains("--release"), "{failure}");
    let run = run_ref("customers", run);
    let over: Vec<Judged> = plan(world, &run).await.guard.into_iter().filter(Judged::is_over).collect();
    assert_eq!(over.len(), keys.len(), "{over:?}");
    assert_eq!((seen(world), head(world).await), (seen_before, head_before), "nothing is sent");
    let lease = lease(world).await;
    assert_eq!((lease.holder, lease.unsettled, lease.stopped), (None, None, None), "the next run may begin");
    assert!(!world.parts.store.exists(&layout::limits(&run, 1)).await.unwrap(), "it was let through");
    let report: Report = world.document(&layout::failure(&run)).await;
    let text = report.to_text();
    assert!(text.contains("GUARD RAILS\n  stop  ") && text.contains("--release"), "{text}");
    failure
}

#[tokio::test]
async fn each_rail_trips_past_its_limit_and_not_at_it() {
    let insert = "INSERT INTO CUSTOMER SELECT C_CUSTKEY + 9000000, C_NAME, C_ADDRESS, C_NATIONKEY, C_PHONE, \
                  C_ACCTBAL, C_MKTSEGMENT, C_COMMENT FROM CUSTOMER WHERE C_CUSTKEY <= 6";
    let cleared = "UPDATE CUSTOMER SET C_PHONE = '' WHERE C_CUSTKEY <= 6";
    let changed = "UPDATE CUSTOMER SET C_ADDRESS = 'moved' WHERE C_CUSTKEY <= 6";
    let removed = "DELETE FROM CUSTOMER WHERE C_CUSTKEY <= 16";
    for (sql, over, key, at) in [
        (changed, "max_changes: 5", "guard.max_changes", "max_changes: 6"),
        (changed, "max_changes: 3%", "guard.max_changes", "max_changes: 4%"),
        (insert, "max_created: 5", "guard.max_created", "max_created: 6, max_changes: 6"),
        (removed, "", "guard.max_removed", "max_removed: 16"),
        (removed, "max_removed: 10%", "guard.max_removed", "max_removed: 11%"),
        (cleared, "max_cleared: 5", "guard.max_cleared", "max_cleared: 6"),
        (removed, "max_removed: 16, min_rows: 135", "guard.min_rows", "max_removed: 16, min_rows: 134"),
    ] {
        let world = loaded().await;
        change(&world, sql);
        world.edit_sync("customers", |text| with_guard(&text, over));
        let failure = assert_stopped(&world, SECOND, &[key]).await;
        assert!(failure.message.contains(" 1 ") || over.contains('%'), "by how much: {failure}");
        world.edit_sync("customers", |text| with_guard(&text, at));
        let ended = world.run("customers", THIRD).await.unwrap();
        assert_eq!(ended.verdict, Verdict::Green, "{at}");
    }
}

#[tokio::test]
async fn every_rail_is_told_at_once_and_a_first_run_is_held_against_its_rows() {
    let world = world().await;
    world.edit_sync("customers", |text| {
        with_guard(&text, "max_created: 50%, max_changes: 149, min_rows: 151")
    });
    let failure = world.run("customers", FIRST).await.unwrap_err();
    for part in ["75 more than the 75 of `guard.max_created`", "1 more than the 149", "1 fewer than the 151"]
    {
        assert!(failure.message.contains(part), "{failure}");
    }
    assert_eq!(seen(&world), (0, [0, 0, 0]));
}

#[tokio::test]
async fn a_model_that_is_empty_stops_over_a_baseline_and_a_release_forgets_it() {
    let world = loaded().await;
    change(&world, "DELETE FROM CUSTOMER");
    assert_stopped(&world, SECOND, &["the model is empty", "guard.max_removed"]).await;
    let run = run_ref("customers", SECOND);
    approval::release(&world.parts.store, &run, "test").await.unwrap();
    assert_eq!(world.drive(run).await.unwrap().verdict, Verdict::Green);
    assert_eq!(head(&world).await.segments, []);
}

#[tokio::test]
async fn a_stale_model_is_not_sent_whatever_kind_of_time_tells_it() {
    const LOADED: &str = "SNOWFLAKE_SAMPLE_DATA.TPCH_SF1.LOADED";
    for (column, kind) in [
        ("'2020-01-01'", "DATE"),
        ("'2020-01-01 00:00:00.5'", "TIMESTAMP_NTZ"),
        ("'2020-01-01 00:00:00 +0100'", "TIMESTAMP_LTZ"),
        ("'2020-01-01 00:00:00.123456789 -0800'", "TIMESTAMP_TZ"),
    ] {
        let world = loaded().await;
        let create =
            format!("CREATE TABLE {LOADED} AS SELECT *, {column}::{kind} AS LOADED_AT FROM {CUSTOMER}");
        world.snowflake.execute(&create).unwrap();
        world.edit_sync("customers", |text| {
            let fresh = "  warehouse: COMPUTE_WH\n  fresh: {column: loaded_at, max_age: 24h}";
            text.replace(CUSTOMER, LOADED).replace("  warehouse: COMPUTE_WH", fresh)
        });
        let failure = assert_stopped(&world, SECOND, &["model.fresh.max_age"]).await;
        assert!(failure.message.contains("allows 24h") && !failure.message.contains("2020"), "{failure}");
        world.edit_sync("customers", |text| text.replace("24h", "99999d"));
        assert_eq!(world.run("customers", THIRD).await.unwrap().verdict, Verdict::Green, "{kind}");
    }
}

#[tokio::test]
async fn a_model_of_which_nobody_knows_the_age_is_not_sent() {
    let world = loaded().await;
    world.edit_sync("customers", |text| {
        text.replace(
            &format!("  table: {CUSTOMER}"),
            &format!(
                "  fresh: {{column: AT, max_age: 1h}}\n  query: SELECT *, NULL::DATE AS AT FROM {CUSTOMER}"
            ),
        )
    });
    let failure = world.run("customers", SECOND).await.unwrap_err();
    assert_eq!(failure.class, Class::Guard);
    assert!(failure.message.contains("`AT` of `model.fresh` has no value in any row"), "{failure}");
}

/// A run that a rail has stopped.
async fn stopped() -> (World, RunRef) {
    let world = loaded().await;
    change(&world, "UPDATE CUSTOMER SET C_ADDRESS = 'moved' WHERE C_CUSTKEY <= 6");
    world.edit_sync("customers", |text| with_guard(&text, "max_changes: 5"));
    assert_stopped(&world, SECOND, &["guard.max_changes"]).await;
    (world, run_ref("customers", SECOND))
}

fn release_event(run: &RunRef) -> plan::Event {
    let RunRef { sync, run } = run;
    serde_json::from_value(serde_json::json!({ "sync": sync, "run": run, "wave": 1, "release": true }))
        .unwrap()
}

#[tokio::test]
async fn a_person_releases_just_this_plan_and_the_run_goes_on() {
    for by_event in [false, true] {
        let (world, run) = stopped().await;
        let store = &world.parts.store;
        let frozen = store.checksum(&layout::plan(&run, 1)).await.unwrap();
        for _ in 0..2 {
            if by_event {
                let output = plan::handle(store, &world.parts.salesforce, release_event(&run)).await.unwrap();
                assert_eq!((output.next, output.jobs.len()), (plan::Next::Stop, 0));
            } else {
                approval::release(store, &run, "jo").await.unwrap();
            }
        }
        assert_eq!(lease(&world).await.holder, None, "nobody goes on yet");
        let released: Approval = world.document(&layout::released(&run)).await;
        assert_eq!((released.plan, released.by.as_str()), (frozen, if by_event { "hand" } else { "jo" }));
        assert_eq!(world.drive(run.clone()).await.unwrap().verdict, Verdict::Green);
        assert_eq!(world.org.write_counts("Account"), [150, 6, 0]);
        let report: Report = world.document(&layout::report_json(&run)).await;
        assert!(report.to_text().contains("Released by "), "{}", report.to_text());
        assert_equal(&world.snowflake, &world.org, CUSTOMER, "Account", &CUSTOMERS);
        // The next run is held against the rails again.
        change(&world, "UPDATE CUSTOMER SET C_ADDRESS = 'moved on' WHERE C_CUSTKEY <= 7");
        assert_stopped(&world, THIRD, &["guard.max_changes"]).await;
    }
}

#[tokio::test]
async fn a_release_of_another_plan_or_over_another_baseline_lets_nothing_through() {
    let (world, run) = stopped().await;
    let store = &world.parts.store;
    let other = Approval { plan: "0123456789abcdef".to_owned(), by: "jo".to_owned() };
    store.create_json(&layout::released(&run), &other).await.unwrap();
    for failure in
        [approval::release(store, &run, "jo").await.unwrap_err(), world.drive(run).await.unwrap_err()]
    {
        assert_eq!(failure.class, Class::Guard);
        assert!(failure.message.contains("released.json` is for another plan than"), "{failure}");
    }
    assert_eq!(world.org.write_counts("Account"), [150, 0, 0]);

    let (world, run) = stopped().await;
    let nothing =
        approval::release(&world.parts.store, &run_ref("customers", THIRD), "jo").await.unwrap_err();
    assert_eq!(nothing.class, Class::Configuration, "{nothing}");
    world.edit_sync("customers", |text| with_guard(&text, "max_changes: 6"));
    world.run("customers", THIRD).await.unwrap();
    let failure = approval::release(&world.parts.store, &run, "jo").await.unwrap_err();
    assert_eq!(failure.class, Class::Contention);
    assert!(failure.message.contains("has committed since"), "{failure}");
    // Even when it was released before the baseline moved.
    let frozen = Approval {
        plan: world.parts.store.checksum(&layout::plan(&run, 1)).await.unwrap(),
        by: "jo".to_owned(),
    };
    world.parts.store.create_json(&layout::released(&run), &frozen).await.unwrap();
    assert_eq!(world.drive(run).await.unwrap_err().class, Class::Contention);
    assert_eq!(world.org.write_counts("Account"), [150, 6, 0], "each row is written once");
}

//! What happens between the plan and the commit: waves, turns, operations, allowances, and a sync that stands still.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use std::collections::BTreeMap;

use e2e::{
    compare::{CUSTOMERS, ORDERS, assert_equal},
    world::{World, run_ref, with_load},
};
use emulators::{
    salesforce::{Limits, OrgConfig},
    snowflake::Config,
};
use engine::{
    Class,
    config::Api,
    document::{Head, Lease, Mode, Plan},
    layout, quota,
    report::{Report, Verdict},
};
use jiff::Timestamp;

const FIRST: &str = "20260101T000000Z";
const SECOND: &str = "20260101T010000Z";
const CUSTOMER: &str = "SNOWFLAKE_SAMPLE_DATA.TPCH_SF1.CUSTOMER";
const ORDER: &str =
    "(SELECT * FROM SNOWFLAKE_SAMPLE_DATA.TPCH_SF1.ORDERS WHERE O_ORDERDATE >= '1998-07-01') AS O";

async fn world(org: OrgConfig) -> World {
    World::scaled(Config { partition_rows: Some(60), ..Config::default() }, org, 0.001).await
}

async fn report(world: &World, sync: &str, run: &str) -> Report {
    world.document(&layout::report_json(&run_ref(sync, run))).await
}

async fn plan(world: &World, sync: &str, run: &str, wave: u32) -> Option<Plan> {
    world.parts.store.get_json(&layout::plan(&run_ref(sync, run), wave)).await.unwrap()
}

fn key(key: &str) -> (&str, &str) {
    ("Customer_Key__c", key)
}

fn assert_all_there(world: &World, rows: usize) {
    assert_eq!(assert_equal(&world.snowflake, &world.org, CUSTOMER, "Account", &CUSTOMERS), rows);
}

#[tokio::test]
async fn rows_that_met_a_lock_or_a_fault_go_again_in_a_later_wave_of_the_same_run() {
    for code in ["UNABLE_TO_LOCK_ROW", "SERVER_UNAVAILABLE"] {
        let world = world(OrgConfig::default()).await;
        world.refuse(key("*"), code, 9);
        let output = world.run("customers", FIRST).await.unwrap();
        let report = report(&world, "customers", FIRST).await;
        assert_eq!(output.verdict, Verdict::Green, "{}", report.to_text());
        assert_eq!((report.counts.sent, report.counts.created, report.counts.rejected), (150, 150, 0));
        let second = plan(&world, "customers", FIRST, 2).await.unwrap();
        assert_eq!(second.jobs.iter().map(|job| job.rows).sum::<u64>(), 9);
        assert!(plan(&world, "customers", FIRST, 3).await.is_none());
        assert_eq!(world.org.write_counts("Account"), [150, 0, 0], "each row is written once");
        assert_all_there(&world, 150);
    }
}

#[tokio::test]
async fn waves_are_bounded_and_what_is_left_goes_with_the_next_run() {
    let world = world(OrgConfig::default()).await;
    world.edit_sync("customers", |text| with_load(&text, "waves: 3"));
    world.refuse(key("7"), "UNABLE_TO_LOCK_ROW", 3);
    assert_eq!(world.run("customers", FIRST).await.unwrap().verdict, Verdict::Attention);
    let counts = report(&world, "customers", FIRST).await.counts;
    assert_eq!((counts.created, counts.rejected), (149, 1), "{counts:?}");
    assert!(plan(&world, "customers", FIRST, 3).await.is_some());
    assert!(plan(&world, "customers", FIRST, 4).await.is_none());
    assert_eq!(world.run("customers", SECOND).await.unwrap().verdict, Verdict::Green);
    assert_eq!(report(&world, "customers", SECOND).await.counts.created, 1);
    assert_all_there(&world, 150);
}

#[tokio::test]
async fn a_flow_that_keeps_failing_is_held_after_the_last_wave() {
    let world = world(OrgConfig::default()).await;
    world.refuse(key("7"), "CANNOT_EXECUTE_FLOW_TRIGGER", 100);
    assert_eq!(world.run("customers", FIRST).await.unwrap().verdict, Verdict::Attention);
    assert_eq!(world.run("customers", SECOND).await.unwrap().verdict, Verdict::Attention);
    let counts = report(&world, "customers", SECOND).await.counts;
    assert_eq!((counts.held, counts.sent), (1, 0), "{counts:?}");
}

#[tokio::test]
async fn many_refusals_for_a_right_stop_the_sync_until_a_person_runs_it() {
    let world = world(OrgConfig::default()).await;
    world.refuse(key("*"), "INSUFFICIENT_ACCESS_OR_READONLY", 40);
    world.refuse(key("*"), "UNABLE_TO_LOCK_ROW", 5);
    assert_eq!(world.run("customers", FIRST).await.unwrap().verdict, Verdict::Stopped);
    let told = report(&world, "customers", FIRST).await;
    assert!(told.to_text().contains("FOR THE ADMIN"), "{}", told.to_text());
    assert!(plan(&world, "customers", FIRST, 2).await.is_none(), "a stopped sync begins no further wave");
    assert_eq!(told.counts.created, 105, "what was accepted is committed");
    let head: Head = world.document(&layout::head(&run_ref("customers", FIRST).sync)).await;
    assert_eq!(head.segments.iter().map(|segment| segment.rows).sum::<u64>(), 105);

    let tick: Timestamp = "2026-01-02T00:00:00Z".parse().unwrap();
    let event = || serde_json::from_value(serde_json::json!({ "scheduled_time": tick })).unwrap();
    let due = dispatch::handle(&world.parts.store, &world.syncs, event()).await.unwrap();
    assert_eq!((due.start.len(), due.standing_still.len()), (0, 1), "{due:?}");
    // A plan tries nothing out.
    let only_looked_at = world.begin("customers", "20260101T003000Z", Mode::Plan).await.unwrap();
    world.drive(only_looked_at).await.unwrap();
    let due = dispatch::handle(&world.parts.store, &world.syncs, event()).await.unwrap();
    assert_eq!((due.start.len(), due.standing_still.len()), (0, 1), "{due:?}");
    assert_eq!(world.run("customers", SECOND).await.unwrap().verdict, Verdict::Green);
    let lease: Lease = world.document(&layout::lease(&run_ref("customers", FIRST).sync)).await;
    assert_eq!(lease.stopped, None);
    let due = dispatch::handle(&world.parts.store, &world.syncs, event()).await.unwrap();
    assert_eq!((due.start.len(), due.standing_still.len()), (1, 0), "{due:?}");
    assert_all_there(&world, 150);
}

#[tokio::test]
async fn few_refusals_for_a_right_are_told_and_sent_again() {
    let world = world(OrgConfig::default()).await;
    world.refuse(key("*"), "INSUFFICIENT_ACCESS_OR_READONLY", 29);
    assert_eq!(world.run("customers", FIRST).await.unwrap().verdict, Verdict::Attention);
    assert_eq!(world.run("customers", SECOND).await.unwrap().verdict, Verdict::Green);
    assert_eq!(report(&world, "customers", SECOND).await.counts.created, 29);
}

#[tokio::test]
async fn a_load_that_would_take_what_is_kept_for_others_does_not_begin() {
    let limits = Limits { daily_api_requests: 40, ..Limits::default() };
    let world = world(OrgConfig { limits, ..OrgConfig::default() }).await;
    world.edit_sync("customers", |text| format!("{text}\nquota:\n  keep_api_calls: 90%\n"));
    let failure = world.run("customers", FIRST).await.unwrap_err();
    assert_eq!(failure.class, Class::Quota);
    assert!(failure.message.contains("API calls") && failure.message.contains("keeps 36"), "{failure}");
    assert_eq!(world.org.jobs().len(), 0, "nothing was begun");
    // When the allowance has come back, the same run goes on.
    world.org.advance_clock(std::time::Duration::from_secs(25 * 3600));
    world.edit_sync("customers", |text| text.replace("90%", "0"));
    assert_eq!(world.run("customers", SECOND).await.unwrap().verdict, Verdict::Green);
}

#[tokio::test]
async fn a_later_wave_that_has_no_allowance_is_left_to_the_next_run() {
    let limits = Limits { daily_batches: 1, ..Limits::default() };
    let world = world(OrgConfig { limits, ..OrgConfig::default() }).await;
    world.edit_sync("customers", |text| format!("{text}\nquota:\n  keep_batches: 0\n"));
    world.refuse(key("*"), "UNABLE_TO_LOCK_ROW", 9);
    assert_eq!(world.run("customers", FIRST).await.unwrap().verdict, Verdict::Attention);
    assert!(plan(&world, "customers", FIRST, 2).await.is_none());
    assert_eq!(
        report(&world, "customers", FIRST).await.counts.created,
        141,
        "what was accepted is committed"
    );
    // Calls of the REST collections take no batch.
    world.edit_sync("customers", |text| text.replace("api: bulk", "api: rest"));
    assert_eq!(world.run("customers", SECOND).await.unwrap().verdict, Verdict::Green);
    assert_eq!(world.org.write_counts("Account"), [150, 0, 0], "each row is written once");
}

#[tokio::test]
async fn the_prediction_holds_and_the_use_is_what_the_org_counted() {
    let world = world(OrgConfig::default()).await;
    world.run("customers", FIRST).await.unwrap();
    let report = report(&world, "customers", FIRST).await;
    let allowances = report.allowances;
    assert_eq!((allowances.predicted.batches, allowances.used.batches), (1, 1));
    let counted: u64 = world
        .org
        .request_counts()
        .iter()
        .filter(|(call, _)| call.contains("jobs/ingest"))
        .map(|(_, count)| count)
        .sum();
    assert_eq!(allowances.used.api_calls, counted, "{:?}", world.org.request_counts());
    assert!(allowances.predicted.api_calls.abs_diff(counted) <= 2, "{allowances:?}");
    let limits: quota::Limits = world.document(&layout::limits(&run_ref("customers", FIRST), 1)).await;
    assert_eq!(allowances.limits, Some(limits));
}

#[tokio::test]
async fn a_plan_predicts_and_sends_nothing() {
    let world = world(OrgConfig::default()).await;
    let run = world.begin("customers", FIRST, Mode::Plan).await.unwrap();
    world.drive(run).await.unwrap();
    let preview: Report = world.document(&layout::preview_json(&run_ref("customers", FIRST))).await;
    let text = preview.to_text();
    assert!(text.contains("ALLOWANCES OF THE ORG") && text.contains("API calls"), "{text}");
    assert_eq!(world.org.write_counts("Account"), [0, 0, 0]);
}

#[tokio::test]
async fn an_insert_creates_each_key_once_for_ever() {
    for api in ["bulk", "rest"] {
        let world = world(OrgConfig::default()).await;
        world.edit_sync("customers", |text| {
            text.replace("operation: upsert", "operation: insert")
                .replace("api: bulk", &format!("api: {api}"))
        });
        assert_eq!(world.run("customers", FIRST).await.unwrap().verdict, Verdict::Green);
        assert_eq!(world.org.write_counts("Account"), [150, 0, 0]);
        assert_all_there(&world, 150);
        let update = format!("UPDATE {CUSTOMER} SET C_NAME = 'changed' WHERE C_CUSTKEY < 9");
        world.snowflake.execute(&update).unwrap();
        assert_eq!(world.run("customers", SECOND).await.unwrap().verdict, Verdict::Green);
        let counts = report(&world, "customers", SECOND).await.counts;
        assert_eq!((counts.unchanged, counts.sent), (150, 0), "{api} {counts:?}");
        assert_eq!(world.org.write_counts("Account"), [150, 0, 0]);
    }
}

/// A model of ids, as the org knows them after customers were loaded.
async fn with_ids(world: &World) -> BTreeMap<String, String> {
    world.run("customers", FIRST).await.unwrap();
    world
        .snowflake
        .execute("CREATE TABLE SNOWFLAKE_SAMPLE_DATA.TPCH_SF1.IDS (ID VARCHAR, NAME VARCHAR)")
        .unwrap();
    let mut ids = BTreeMap::new();
    world.org.visit("Account", |record| {
        ids.insert(record["Customer_Key__c"].clone(), record["Id"].clone());
    });
    for key in ["1", "2", "3"] {
        let insert = format!(
            "INSERT INTO SNOWFLAKE_SAMPLE_DATA.TPCH_SF1.IDS VALUES ('{}', 'renamed {key}')",
            ids[key]
        );
        world.snowflake.execute(&insert).unwrap();
    }
    ids
}

/// The customers sync, turned into another of the model of ids.
fn ids_sync(world: &World, operation: &str, api: &str, mapping: &str) {
    let text = format!(
        "model: {{table: SNOWFLAKE_SAMPLE_DATA.TPCH_SF1.IDS, warehouse: COMPUTE_WH}}\nkey: {{column: ID, field: Id}}\n\
         destination: {{object: Account, operation: {operation}}}\nload: {{api: {api}}}\n{mapping}"
    );
    std::fs::write(world.syncs.join("ids.yaml"), text).unwrap();
}

#[tokio::test]
async fn an_update_by_id_writes_what_is_there_and_creates_nothing() {
    for api in ["bulk", "rest"] {
        let world = world(OrgConfig::default()).await;
        with_ids(&world).await;
        let gone = "INSERT INTO SNOWFLAKE_SAMPLE_DATA.TPCH_SF1.IDS VALUES ('001000000000000AAA', 'nobody')";
        world.snowflake.execute(gone).unwrap();
        ids_sync(&world, "update", api, "mapping: {Name: NAME}\n");
        assert_eq!(world.run("ids", FIRST).await.unwrap().verdict, Verdict::Attention, "{api}");
        let counts = report(&world, "ids", FIRST).await.counts;
        assert_eq!((counts.updated, counts.rejected), (3, 1), "{api} {counts:?}");
        assert_eq!(world.org.write_counts("Account"), [150, 3, 0], "{api}");
        let record = world.org.record_by("Account", "Customer_Key__c", "2").unwrap();
        assert_eq!(record["Name"], "renamed 2");
        let counts = {
            world.run("ids", SECOND).await.unwrap();
            report(&world, "ids", SECOND).await.counts
        };
        assert_eq!((counts.unchanged, counts.held, counts.sent), (3, 1, 0), "{api} {counts:?}");
    }
}

#[tokio::test]
async fn a_delete_by_id_deletes_each_record_once() {
    for (operation, api) in [("delete", "bulk"), ("delete", "rest"), ("hard_delete", "bulk")] {
        let world = world(OrgConfig { allow_hard_delete: true, ..OrgConfig::default() }).await;
        with_ids(&world).await;
        ids_sync(&world, operation, api, "");
        assert_eq!(world.run("ids", FIRST).await.unwrap().verdict, Verdict::Green, "{operation} {api}");
        assert_eq!(world.org.count("Account"), 147, "{operation} {api}");
        assert_eq!(world.org.write_counts("Account"), [150, 0, 3], "{operation} {api}");
        let report = report(&world, "ids", FIRST).await;
        assert!(report.to_text().contains("├─ deleted"), "{}", report.to_text());
        world.run("ids", SECOND).await.unwrap();
        assert_eq!(world.org.write_counts("Account"), [150, 0, 3], "{operation} {api}");
    }
}

#[tokio::test]
async fn rows_of_one_parent_are_never_in_two_jobs_that_run_side_by_side() {
    let org = OrgConfig { batch_delay: std::time::Duration::from_millis(5), ..OrgConfig::default() };
    let world = World::with(Config { partition_rows: Some(300), ..Config::default() }, org).await;
    world.run("customers", FIRST).await.unwrap();
    world.edit_sync("orders", |text| {
        with_load(&text.replace("concurrency: 2", "concurrency: 8"), "group_by: Account__r.Customer_Key__c")
    });
    world.run("orders", FIRST).await.unwrap();
    assert!(assert_equal(&world.snowflake, &world.org, ORDER, "Order__c", &ORDERS) > 100);
    let first = plan(&world, "orders", FIRST, 1).await.unwrap();
    assert_eq!(first.jobs.len(), 8, "a job for each group");
    assert!(first.jobs.iter().all(|job| job.api == Api::Bulk && job.turn == 0 && job.fragments[0].group > 0));
    let mut jobs: BTreeMap<String, std::collections::BTreeSet<Option<String>>> = BTreeMap::new();
    for written in world.org.audit().into_iter().filter(|written| written.object == "Order__c") {
        jobs.entry(written.after["Account__c"].clone()).or_default().insert(written.job);
    }
    assert!(jobs.len() > 50 && jobs.values().all(|jobs| jobs.len() == 1), "an account's orders in two jobs");
    assert!(plan(&world, "orders", FIRST, 2).await.is_none(), "a row met a lock");
}

/// An admin who aborts the org's only job once its first batch is through.
async fn admin(world: &World) {
    loop {
        let jobs = world.org.jobs();
        if let Some(job) = jobs.first().filter(|job| job.processed >= 10_000) {
            return world.parts.salesforce.abort(&job.id).await.unwrap();
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn rows_of_a_job_that_was_aborted_go_again() {
    let org = OrgConfig { hold_after_batches: Some(1), ..OrgConfig::default() };
    let world = World::scaled(Config::default(), org, 0.07).await;
    let (ended, ()) = tokio::join!(world.run("customers", FIRST), async {
        admin(&world).await;
        world.org.release_jobs();
    });
    let report = report(&world, "customers", FIRST).await;
    assert_eq!(ended.unwrap().verdict, Verdict::Green, "{}", report.to_text());
    assert_eq!((report.counts.sent, report.counts.created), (10_500, 10_500));
    let again = plan(&world, "customers", FIRST, 2).await.unwrap();
    assert_eq!(again.jobs.iter().map(|job| job.rows).sum::<u64>(), 500, "what the first batch took stays");
    assert_eq!(world.org.write_counts("Account"), [10_500, 0, 0], "each row is written once");
    assert_all_there(&world, 10_500);
}

//! A few rows go ahead, and the others follow only when Salesforce has taken those.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use e2e::{
    compare::{CUSTOMERS, assert_equal},
    world::{World, run_ref},
};
use emulators::{salesforce::OrgConfig, snowflake::Config};
use engine::{
    document::{Head, Lease, Mode, Plan},
    layout,
    report::{Report, Verdict},
};
use jiff::Timestamp;

const FIRST: &str = "20260101T000000Z";
const SECOND: &str = "20260101T010000Z";
const THIRD: &str = "20260101T020000Z";
/// Any row.
const ANY: (&str, &str) = ("Customer_Key__c", "*");
const CUSTOMER: &str = "SNOWFLAKE_SAMPLE_DATA.TPCH_SF1.CUSTOMER";

/// 150 customers, and a sync with this canary and api.
async fn world(canary: &str, api: &str) -> World {
    let org = OrgConfig { keep_uploads: true, ..OrgConfig::default() };
    let world = World::scaled(Config { partition_rows: Some(60), ..Config::default() }, org, 0.001).await;
    world.edit_sync("customers", |text| {
        text.replace("api: bulk", &format!("api: {api}\n  canary: {{ {canary} }}"))
    });
    world
}

async fn report(world: &World, run: &str) -> Report {
    world.document(&layout::report_json(&run_ref("customers", run))).await
}

async fn plan(world: &World, run: &str) -> Plan {
    world.document(&layout::plan(&run_ref("customers", run), 1)).await
}

async fn lease(world: &World) -> Lease {
    world.document(&layout::lease(&run_ref("customers", FIRST).sync)).await
}

async fn baseline_rows(world: &World) -> u64 {
    let head: Head = world.document(&layout::head(&run_ref("customers", FIRST).sync)).await;
    head.segments.iter().map(|segment| segment.rows).sum()
}

fn assert_all_there(world: &World) {
    assert_eq!(assert_equal(&world.snowflake, &world.org, CUSTOMER, "Account", &CUSTOMERS), 150);
    assert_eq!(world.org.write_counts("Account"), [150, 0, 0], "each row is written once");
}

#[tokio::test]
async fn the_first_job_holds_just_so_many_rows_and_the_rest_follows() {
    for (canary, ahead) in [("rows: 10", 10), ("rows: 20%", 30), ("rows: 60", 60), ("rows: 61", 61)] {
        for api in ["bulk", "rest"] {
            let world = world(canary, api).await;
            let ended = world.run("customers", FIRST).await.unwrap();
            assert_eq!(ended.verdict, Verdict::Green, "{canary} {api}");
            let jobs = plan(&world, FIRST).await.jobs;
            let planned: Vec<_> = jobs.iter().map(|job| (job.canary, job.turn, job.rows)).collect();
            assert_eq!(planned, [(true, 0, ahead), (false, 1, 150 - ahead)], "{canary} {api}");
            assert_all_there(&world);
            assert_eq!(baseline_rows(&world).await, 150);
        }
    }
}

#[tokio::test]
async fn a_canary_that_would_be_all_there_is_goes_like_any_other_load() {
    let world = world("rows: 150", "bulk").await;
    world.run("customers", FIRST).await.unwrap();
    let jobs = plan(&world, FIRST).await.jobs;
    assert_eq!(jobs.iter().map(|job| (job.canary, job.rows)).collect::<Vec<_>>(), [(false, 150)]);
    assert_all_there(&world);
}

#[tokio::test]
async fn as_many_refusals_as_allowed_do_not_stop_the_rest() {
    let world = world("rows: 10, max_rejected: 2", "bulk").await;
    world.refuse(ANY, "FIELD_CUSTOM_VALIDATION_EXCEPTION", 2);
    assert_eq!(world.run("customers", FIRST).await.unwrap().verdict, Verdict::Attention);
    assert_eq!(report(&world, FIRST).await.counts.created, 148);
    assert_eq!(lease(&world).await.stopped, None);
}

#[tokio::test]
async fn a_refused_canary_keeps_the_rest_back_until_a_person_has_looked() {
    for api in ["bulk", "rest"] {
        let world = world("rows: 10, max_rejected: 2", api).await;
        world.refuse(ANY, "FIELD_CUSTOM_VALIDATION_EXCEPTION", 3);
        assert_eq!(world.run("customers", FIRST).await.unwrap().verdict, Verdict::Stopped, "{api}");
        let told = report(&world, FIRST).await;
        let counts = told.counts;
        assert_eq!((counts.sent, counts.created, counts.rejected), (150, 7, 3), "{counts:?}");
        assert_eq!(counts.unprocessed + counts.missing, 140, "{counts:?}");
        assert!(counts.balance(Mode::Run));
        assert_eq!(world.org.write_counts("Account"), [7, 0, 0], "nothing but the canary was sent");
        assert!(world.org.jobs().len() <= 1, "no job was made for the rest");
        // Seven were accepted, three are held.
        assert_eq!(baseline_rows(&world).await, 10);
        let text = told.to_text();
        assert!(text.contains("THE CANARY\n  3 of 10 rows were refused, most with FIELD_CUSTOM_"), "{text}");
        assert!(!text.contains("FOR THE ADMIN"), "{text}");

        let tick: Timestamp = "2026-01-02T00:00:00Z".parse().unwrap();
        let event = serde_json::from_value(serde_json::json!({ "scheduled_time": tick })).unwrap();
        let due = dispatch::handle(&world.parts.store, &world.syncs, event).await.unwrap();
        assert_eq!((due.start.len(), due.standing_still.len()), (0, 1), "{due:?}");

        // By hand it goes on, with a canary of its own; what is held stays held.
        assert_eq!(world.run("customers", SECOND).await.unwrap().verdict, Verdict::Attention, "{api}");
        let counts = report(&world, SECOND).await.counts;
        assert_eq!((counts.unchanged, counts.held, counts.created), (7, 3, 140), "{counts:?}");
        assert_eq!(plan(&world, SECOND).await.jobs[0].rows, 10);
        assert_eq!(world.org.write_counts("Account"), [147, 0, 0], "each row is written once");
        assert_eq!(lease(&world).await.stopped, None);
    }
}

#[tokio::test]
async fn what_meets_a_lock_in_the_canary_is_not_refused() {
    let world = world("rows: 10, max_rejected: 0", "bulk").await;
    world.refuse(ANY, "UNABLE_TO_LOCK_ROW", 4);
    assert_eq!(world.run("customers", FIRST).await.unwrap().verdict, Verdict::Green);
    assert_all_there(&world);
}

#[tokio::test]
async fn a_plan_tells_of_its_canary_and_is_applied_with_it() {
    let world = world("rows: 1%", "bulk").await;
    let run = world.begin("customers", THIRD, Mode::Plan).await.unwrap();
    world.drive(run.clone()).await.unwrap();
    let preview: Report = world.document(&layout::preview_json(&run)).await;
    assert!(preview.to_text().contains("The canary of 2 rows goes ahead"), "{}", preview.to_text());
    store::approval::apply(&world.parts.store, &run, "test").await.unwrap();
    assert_eq!(world.drive(run).await.unwrap().verdict, Verdict::Green);
    assert_all_there(&world);
}

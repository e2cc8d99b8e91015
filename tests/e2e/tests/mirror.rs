//! Rows that leave the model take their records with them, or have fields of them cleared; and come back.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use e2e::{
    compare::{CUSTOMERS, assert_equal},
    world::{World, run_ref},
};
use emulators::{salesforce::OrgConfig, snowflake::Config};
use engine::{
    document::{Head, Mode},
    layout,
    report::{Counts, Report, Verdict},
};

const RUNS: [&str; 5] =
    ["20260101T000000Z", "20260101T010000Z", "20260101T020000Z", "20260101T030000Z", "20260101T040000Z"];
const CUSTOMER: &str = "SNOWFLAKE_SAMPLE_DATA.TPCH_SF1.CUSTOMER";

/// 150 customers, mirrored, and loaded once.
async fn world(on_removed: &str, api: &str) -> World {
    let config = Config { partition_rows: Some(60), ..Config::default() };
    let world = World::scaled(config, OrgConfig::default(), 0.001).await;
    world.edit_sync("customers", |sync| {
        sync.replace("operation: upsert", &format!("operation: mirror\n  on_removed: {on_removed}"))
            .replace("api: bulk", &format!("api: {api}"))
    });
    assert_eq!(world.run("customers", RUNS[0]).await.unwrap().verdict, Verdict::Green);
    world
}

async fn run(world: &World, number: usize) -> (Verdict, Counts) {
    let verdict = world.run("customers", RUNS[number]).await.unwrap().verdict;
    (verdict, report(world, number).await.counts)
}

async fn report(world: &World, number: usize) -> Report {
    world.document(&layout::report_json(&run_ref("customers", RUNS[number]))).await
}

/// Moves a few customers out of the table, and later back.
fn leave(world: &World) {
    for statement in [
        format!(
            "CREATE TABLE SNOWFLAKE_SAMPLE_DATA.TPCH_SF1.GONE AS SELECT * FROM {CUSTOMER} WHERE C_CUSTKEY <= 7"
        ),
        format!("DELETE FROM {CUSTOMER} WHERE C_CUSTKEY <= 7"),
    ] {
        world.snowflake.execute(&statement).unwrap();
    }
}

fn come_back(world: &World) {
    let statement = format!("INSERT INTO {CUSTOMER} SELECT * FROM SNOWFLAKE_SAMPLE_DATA.TPCH_SF1.GONE");
    world.snowflake.execute(&statement).unwrap();
}

async fn baseline_rows(world: &World) -> u64 {
    let head: Head = world.document(&layout::head(&run_ref("customers", RUNS[0]).sync)).await;
    head.segments.iter().map(|segment| segment.rows).sum()
}

fn id_of(world: &World, key: &str) -> String {
    world.org.record_by("Account", "Customer_Key__c", key).unwrap()["Id"].clone()
}

#[tokio::test]
async fn the_records_of_rows_that_left_are_deleted_once_and_made_anew_when_they_come_back() {
    for api in ["bulk", "rest"] {
        let world = world("delete", api).await;
        leave(&world);
        world
            .snowflake
            .execute(&format!("UPDATE {CUSTOMER} SET C_NAME = 'new' WHERE C_CUSTKEY = 9"))
            .unwrap();
        let (verdict, counts) = run(&world, 1).await;
        assert_eq!(verdict, Verdict::Green, "{api}\n{}", report(&world, 1).await.to_text());
        assert_eq!((counts.read, counts.unchanged, counts.sent), (143, 142, 8), "{api} {counts:?}");
        assert_eq!((counts.updated, counts.removing, counts.gone), (1, 7, 7), "{api} {counts:?}");
        assert_eq!(world.org.write_counts("Account"), [150, 1, 7], "{api}");
        assert_eq!(assert_equal(&world.snowflake, &world.org, CUSTOMER, "Account", &CUSTOMERS), 143);
        assert_eq!((world.org.count("Account"), baseline_rows(&world).await), (143, 143), "{api}");
        let (_, counts) = run(&world, 2).await;
        assert_eq!((counts.sent, counts.removed), (0, 0), "{api} {counts:?}");
        come_back(&world);
        let (verdict, counts) = run(&world, 3).await;
        assert_eq!((verdict, counts.created), (Verdict::Green, 7), "{api} {counts:?}");
        assert_eq!(assert_equal(&world.snowflake, &world.org, CUSTOMER, "Account", &CUSTOMERS), 150);
    }
}

#[tokio::test]
async fn the_fields_of_rows_that_left_are_cleared_and_filled_again_when_they_come_back() {
    for api in ["bulk", "rest"] {
        let world = world("{clear: [Phone, Description]}", api).await;
        let id = id_of(&world, "7");
        leave(&world);
        let (verdict, counts) = run(&world, 1).await;
        assert_eq!((verdict, counts.gone), (Verdict::Green, 7), "{api} {counts:?}");
        assert_eq!(world.org.write_counts("Account"), [150, 7, 0], "{api}");
        let record = world.org.record_by("Account", "Customer_Key__c", "7").unwrap();
        assert_eq!((record.get("Phone"), record.get("Description")), (None, None), "{api} {record:?}");
        assert!(record.contains_key("Name"), "{api}: what is not named stays");
        assert_eq!(run(&world, 2).await.1.sent, 0);
        come_back(&world);
        let (_, counts) = run(&world, 3).await;
        assert_eq!((counts.created, counts.updated), (0, 7), "{api} {counts:?}");
        assert_eq!(id_of(&world, "7"), id, "{api}");
        assert_eq!(assert_equal(&world.snowflake, &world.org, CUSTOMER, "Account", &CUSTOMERS), 150);
    }
}

#[tokio::test]
async fn a_removal_that_is_refused_is_held_and_one_of_a_record_that_is_gone_is_done() {
    for api in ["bulk", "rest"] {
        let world = world("delete", api).await;
        world.refuse(("Id", &id_of(&world, "3")), "DELETE_FAILED", u32::MAX);
        // As if somebody else had deleted it.
        world.others_write();
        world.refuse(("Id", &id_of(&world, "4")), "ENTITY_IS_DELETED", 1);
        leave(&world);
        let (verdict, counts) = run(&world, 1).await;
        assert_eq!(verdict, Verdict::Attention, "{api} {counts:?}");
        assert_eq!((counts.gone, counts.rejected), (6, 1), "{api} {counts:?}");
        let (verdict, counts) = run(&world, 2).await;
        assert_eq!(verdict, Verdict::Attention, "{api} {counts:?}");
        assert_eq!((counts.sent, counts.removed, counts.removals_held), (0, 1, 1), "{api} {counts:?}");
        // The row comes back as it was: its record was never touched.
        come_back(&world);
        let (_, counts) = run(&world, 3).await;
        assert_eq!((counts.unchanged, counts.sent), (144, 6), "{api} {counts:?}");
    }
}

#[tokio::test]
async fn a_row_that_only_became_invalid_keeps_its_record() {
    let world = world("delete", "bulk").await;
    let duplicate = format!("INSERT INTO {CUSTOMER} SELECT * FROM {CUSTOMER} WHERE C_CUSTKEY = 5");
    world.snowflake.execute(&duplicate).unwrap();
    let (verdict, counts) = run(&world, 1).await;
    assert_eq!(verdict, Verdict::Attention);
    assert_eq!((counts.invalid, counts.removed, counts.sent), (2, 0, 0), "{counts:?}");
    assert_eq!(world.org.count("Account"), 150);
}

#[tokio::test]
async fn removals_go_last_and_a_plan_shows_them() {
    let world = world("delete", "bulk").await;
    leave(&world);
    world.snowflake.execute(&format!("UPDATE {CUSTOMER} SET C_NAME = 'new' WHERE C_CUSTKEY = 9")).unwrap();
    let planned = world.begin("customers", RUNS[1], Mode::Plan).await.unwrap();
    world.drive(planned.clone()).await.unwrap();
    let plan: engine::document::Plan = world.document(&layout::plan(&planned, 1)).await;
    let turns: Vec<_> = plan.jobs.iter().map(|job| (job.turn, job.removes, job.rows)).collect();
    assert_eq!(turns, [(0, false, 1), (1, true, 7)]);
    assert_eq!(plan.removal.unwrap().header, "Id\n");
    assert_eq!(world.org.count("Account"), 150);
    let text = world.document::<Report>(&layout::preview_json(&planned)).await.to_text();
    assert!(text.contains("no longer in the model") && text.contains("8  to be sent"), "{text}");
}

#[tokio::test]
async fn every_row_is_sent_by_a_sync_that_says_so() {
    let config = Config { partition_rows: Some(60), ..Config::default() };
    let world = World::scaled(config, OrgConfig::default(), 0.001).await;
    world.edit_sync("customers", |sync| sync.replace("api: bulk", "api: bulk\n  send: all"));
    for (number, expected) in [(0, (150, 0)), (1, (0, 150)), (2, (0, 150))] {
        let (verdict, counts) = run(&world, number).await;
        assert_eq!((verdict, (counts.created, counts.updated)), (Verdict::Green, expected), "{counts:?}");
    }
}

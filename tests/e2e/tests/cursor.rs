//! A model that is read only from where the last run came to.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use e2e::{
    compare::{CUSTOMERS, assert_equal},
    world::{World, run_ref},
};
use emulators::{salesforce::OrgConfig, snowflake::Config};
use engine::{
    document::{Head, Statement, Watermark},
    layout,
    report::{Report, Verdict},
};

const CUSTOMER: &str = "SNOWFLAKE_SAMPLE_DATA.TPCH_SF1.CUSTOMER";
const MODEL: &str = "SNOWFLAKE_SAMPLE_DATA.TPCH_SF1.CHANGED";
const RUNS: [&str; 4] = ["20260101T000000Z", "20260101T010000Z", "20260101T020000Z", "20260101T030000Z"];

/// Customers with the time of their last change: the tenth of a second that is their key.
async fn world(overlap: u32) -> World {
    let world =
        World::scaled(Config { partition_rows: Some(60), ..Config::default() }, OrgConfig::default(), 0.001)
            .await;
    let create = format!(
        "CREATE TABLE {MODEL} AS SELECT *, \
         DATEADD(second, C_CUSTKEY, '2026-01-01 00:00:00'::TIMESTAMP_NTZ) AS CHANGED_AT FROM {CUSTOMER}"
    );
    world.snowflake.execute(&create).unwrap();
    world.edit_sync("customers", |text| {
        text.replace("SNOWFLAKE_SAMPLE_DATA.TPCH_SF1.CUSTOMER", MODEL).replace(
            "  warehouse: COMPUTE_WH",
            &format!("  warehouse: COMPUTE_WH\n  cursor: {{column: CHANGED_AT, overlap: {overlap}}}"),
        )
    });
    world
}

fn change(world: &World, key: u32, at: &str) {
    let update = format!(
        "UPDATE {MODEL} SET C_NAME = 'changed {at}', CHANGED_AT = '2026-01-01 {at}'::TIMESTAMP_NTZ WHERE C_CUSTKEY = {key}"
    );
    assert_eq!(world.snowflake.execute(&update).unwrap().affected, 1);
}

async fn run(world: &World, number: usize) -> (Verdict, Report) {
    let verdict = world.run("customers", RUNS[number]).await.unwrap().verdict;
    (verdict, world.document(&layout::report_json(&run_ref("customers", RUNS[number]))).await)
}

async fn watermark(world: &World) -> Option<Watermark> {
    let head: Head = world.document(&layout::head(&run_ref("customers", RUNS[0]).sync)).await;
    head.cursor
}

async fn statement(world: &World, number: usize) -> String {
    world.document::<Statement>(&layout::statement(&run_ref("customers", RUNS[number]))).await.sql
}

#[tokio::test]
async fn only_what_is_new_is_read_and_what_came_late_is_found_in_the_overlap() {
    let world = world(60).await;
    let (verdict, report) = run(&world, 0).await;
    assert_eq!((verdict, report.counts.read), (Verdict::Green, 150));
    assert!(!statement(&world, 0).await.contains("WHERE"));

    change(&world, 7, "00:10:00");
    // Committed late: it lies behind the watermark, but within the overlap of a minute.
    change(&world, 9, "00:02:00");
    let (_, report) = run(&world, 1).await;
    let from = "WHERE \"CHANGED_AT\" >= DATEADD(second, -60, '2026-01-01 00:02:30.000000000'::TIMESTAMP_NTZ)";
    assert!(statement(&world, 1).await.contains(from), "{}", statement(&world, 1).await);
    assert_eq!(report.counts.updated, 2, "{:?}", report.counts);
    assert!((2..150).contains(&report.counts.read), "{:?}", report.counts);
    assert_eq!(report.counts.removed, 0, "what was not read is not gone");
    assert_eq!(assert_equal(&world.snowflake, &world.org, MODEL, "Account", &CUSTOMERS), 150);

    // Nothing new: the last rows are read again, and none of them is sent.
    let (_, report) = run(&world, 2).await;
    assert_eq!(report.counts.sent, 0);
    assert_eq!(watermark(&world).await.unwrap().value, "1767226200.000000000");
    // The baseline knows every row, not only those that were read.
    let head: Head = world.document(&layout::head(&run_ref("customers", RUNS[0]).sync)).await;
    assert_eq!(head.segments.iter().map(|segment| segment.rows).sum::<u64>(), 150);
}

#[tokio::test]
async fn many_rows_with_one_time_are_all_read() {
    let world = world(0).await;
    run(&world, 0).await;
    let same = format!(
        "UPDATE {MODEL} SET C_NAME = 'x', CHANGED_AT = '2026-01-01 01:00:00'::TIMESTAMP_NTZ WHERE C_CUSTKEY <= 130"
    );
    world.snowflake.execute(&same).unwrap();
    let (_, report) = run(&world, 1).await;
    assert_eq!(
        (report.counts.read, report.counts.updated),
        (131, 130),
        "more than two partitions of one time"
    );
    // One more with that very time: what is on the watermark is read again.
    change(&world, 140, "01:00:00");
    let (_, report) = run(&world, 2).await;
    assert_eq!((report.counts.read, report.counts.updated), (131, 1), "{:?}", report.counts);
}

#[tokio::test]
async fn the_watermark_stays_while_a_row_has_to_be_sent_again() {
    let world = world(0).await;
    run(&world, 0).await;
    let before = watermark(&world).await;
    change(&world, 7, "00:10:00");
    change(&world, 8, "00:20:00");
    world.refuse(("Customer_Key__c", "7"), "UNABLE_TO_LOCK_ROW", 4);
    let (verdict, _) = run(&world, 1).await;
    assert_eq!((verdict, watermark(&world).await), (Verdict::Attention, before));
    let (verdict, report) = run(&world, 2).await;
    assert_eq!((verdict, report.counts.updated), (Verdict::Green, 1), "only the one that was refused");
    assert_eq!(watermark(&world).await.unwrap().value, "1767226800.000000000");
    assert_eq!(assert_equal(&world.snowflake, &world.org, MODEL, "Account", &CUSTOMERS), 150);
}

#[tokio::test]
async fn a_changed_mapping_reads_the_model_whole() {
    let world = world(0).await;
    run(&world, 0).await;
    world.edit_sync("customers", |text| text.replace("  Phone: C_PHONE\n", ""));
    let (_, report) = run(&world, 1).await;
    assert_eq!((report.counts.read, report.counts.sent), (150, 150));
}

#[tokio::test]
async fn a_run_that_fails_moves_no_watermark() {
    let world = world(0).await;
    run(&world, 0).await;
    let before = watermark(&world).await;
    change(&world, 7, "00:10:00");
    let drop_phone = format!("ALTER TABLE {MODEL} RENAME COLUMN C_PHONE TO C_TELEPHONE");
    world.snowflake.execute(&drop_phone).unwrap();
    world.run("customers", RUNS[1]).await.unwrap_err();
    assert_eq!(watermark(&world).await, before);
}

#[tokio::test]
async fn a_column_that_does_not_grow_is_refused() {
    let world = world(0).await;
    world.edit_sync("customers", |text| text.replace("column: CHANGED_AT", "column: C_NAME"));
    let failure = world.run("customers", RUNS[0]).await.unwrap_err();
    assert!(failure.message.contains("`model.cursor.column`") && failure.hint.is_some(), "{failure}");
    assert_eq!(world.org.jobs().len(), 0);
}

//! Extraction in pieces: each invocation goes as far as it can, and the next one goes on from there.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use std::time::{Duration, Instant};

use cli::driver::Parts;
use e2e::{compare, world::World};
use emulators::{
    faults::{Action, Rule},
    salesforce::OrgConfig,
    snowflake::Config,
};
use engine::{
    document::{Chunk, Extracted, Failed, Mode},
    layout,
    report::Verdict,
};

const RUN: &str = "20260101T000000Z";

async fn extract(world: &World, deadline: Option<Instant>) -> extract::Output {
    let run = e2e::world::run_ref("customers", RUN);
    extract::handle(&world.parts.store, &world.parts.snowflake, &world.parts.salesforce, &run, deadline)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_statement_that_runs_is_left_running_and_asked_about_later() {
    let slow = Config { polls_before_done: 3, ..Config::default() };
    let world = World::with(slow, OrgConfig::default()).await;
    world.begin("customers", RUN, Mode::Run).await.unwrap();
    let mut calls = 0;
    loop {
        let output = extract(&world, None).await;
        if output.done {
            break;
        }
        assert!(output.wait_seconds >= 1, "{output:?}");
        calls += 1;
    }
    assert!(calls >= 3, "the statement had finished after {calls} calls");
    assert_eq!(world.snowflake.submitted().len(), 1, "the statement was submitted once");
}

#[tokio::test]
async fn a_result_that_takes_longer_than_an_invocation_goes_on_in_the_next() {
    let world =
        World::with(Config { partition_rows: Some(100), ..Config::default() }, OrgConfig::default()).await;
    let run = world.begin("customers", RUN, Mode::Run).await.unwrap();
    let hardly_any_time = Some(Instant::now() + Duration::from_secs(1));
    while extract(&world, hardly_any_time).await.rows == 0 {}
    let output = extract(&world, hardly_any_time).await;
    assert_eq!((output.done, output.rows), (false, 1500), "the result is known and not copied");
    assert!(extract(&world, None).await.done);
    let extracted: Extracted = world.document(&layout::result(&run)).await;
    assert_eq!(extracted.partitions.len(), 15);
    let manifest: Vec<Chunk> = world.document(&layout::manifest(&run)).await;
    assert_eq!(manifest.iter().map(|chunk| chunk.rows).sum::<u64>(), 1500);
}

#[tokio::test]
async fn a_partition_that_came_short_is_fetched_again_and_the_others_are_not() {
    let world =
        World::with(Config { partition_rows: Some(400), ..Config::default() }, OrgConfig::default()).await;
    let run = world.begin("customers", RUN, Mode::Run).await.unwrap();
    world.snowflake.faults().add(Rule::on("GET", "*?partition=2", Action::Truncate(500)));
    while world.parts.store.get_json::<Vec<Chunk>>(&layout::manifest(&run)).await.unwrap().is_none() {
        let parts = &world.parts;
        // The failed call is transient: the next one goes on from what is there.
        let _ = extract::handle(&parts.store, &parts.snowflake, &parts.salesforce, &run, None).await;
    }
    let count = |number: u32| world.snowflake.faults().count("GET", &format!("*?partition={number}"));
    assert_eq!((count(1), count(2), count(3)), (1, 2, 1));
    world.drive(run).await.unwrap();
    let table = "SNOWFLAKE_SAMPLE_DATA.TPCH_SF1.CUSTOMER";
    assert_eq!(
        compare::assert_equal(&world.snowflake, &world.org, table, "Account", &compare::CUSTOMERS),
        1500
    );
}

#[tokio::test]
async fn the_statement_of_a_run_that_is_given_up_is_cancelled() {
    let snowflake = Config { polls_before_done: 1_000_000, ..Config::default() };
    let world = World::scaled(snowflake, OrgConfig::default(), 0.001).await;
    let run = world.begin("customers", "20260101T000000Z", Mode::Run).await.unwrap();
    let Parts { store, snowflake, salesforce } = &world.parts;
    assert!(!extract::handle(store, snowflake, salesforce, &run, None).await.unwrap().done);
    let failed = Failed { error: "States.Timeout".to_owned(), cause: "a day is over".to_owned() };
    let ended = finish::handle(store, Some(snowflake), finish::Event::new(run, Some(failed))).await.unwrap();
    assert_eq!(ended.verdict, Verdict::Failed);
    assert_eq!(world.snowflake.faults().count("POST", "/api/v2/statements/*/cancel"), 1);
}

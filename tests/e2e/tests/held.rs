//! Rows that Salesforce refused: held, shown, explained, and let go again by a person.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use std::collections::BTreeSet;

use clap::{CommandFactory, Parser};
use cli::{commands::Cli, held};
use e2e::world::{World, run_ref};
use emulators::{salesforce::OrgConfig, snowflake::Config};
use engine::{
    RunRef, SyncName,
    document::{Head, Lease, Mode, Statement, Which, to_bytes},
    layout,
    report::{Counts, Report, Verdict},
};

const RUNS: [&str; 6] = [
    "20260101T000000Z",
    "20260101T010000Z",
    "20260101T020000Z",
    "20260101T030000Z",
    "20260101T040000Z",
    "20260101T050000Z",
];
const CUSTOMER: &str = "SNOWFLAKE_SAMPLE_DATA.TPCH_SF1.CUSTOMER";

/// 150 customers, and an org that keeps what it is sent.
async fn world() -> World {
    let org = OrgConfig { keep_uploads: true, ..OrgConfig::default() };
    World::scaled(Config { partition_rows: Some(60), ..Config::default() }, org, 0.001).await
}

fn sync() -> SyncName {
    "customers".parse().unwrap()
}

fn key(key: &str) -> (&str, &str) {
    ("Customer_Key__c", key)
}

fn change(world: &World, sql: &str) {
    world.snowflake.execute(&sql.replace("CUSTOMER", CUSTOMER)).unwrap();
}

async fn run(world: &World, number: usize) -> Counts {
    world.run("customers", RUNS[number]).await.unwrap();
    report(world, number).await.counts
}

async fn report(world: &World, number: usize) -> Report {
    world.document(&layout::report_json(&run_ref("customers", RUNS[number]))).await
}

async fn list(world: &World) -> String {
    held::list(&world.parts.store, &sync(), 20).await.unwrap()
}

/// The lines of the listing about single rows.
async fn rows(world: &World) -> Vec<String> {
    let text = list(world).await;
    let rows = text.split("ROWS, NEWEST FIRST\n").nth(1).unwrap_or_default();
    let lines = rows.lines().skip(1).take_while(|line| !line.is_empty());
    lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

async fn release(world: &World, rows: Which) -> (String, bool) {
    held::release(&world.parts.store, &sync(), rows, "jo, command line").await.unwrap()
}

fn some(texts: &[&str]) -> BTreeSet<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// The keys of each job that the org was sent, from the job of this number on.
fn sent(world: &World, from: usize) -> Vec<Vec<String>> {
    let key = |line: &str| line.split(',').next().unwrap().to_owned();
    let jobs = world.org.jobs();
    let uploads = jobs[from..].iter().map(|job| world.org.received_csv(&job.id).unwrap());
    uploads.map(|csv| String::from_utf8(csv.to_vec()).unwrap().lines().skip(1).map(key).collect()).collect()
}

/// Keys 7 and 9 are refused whenever they are sent, and were sent once.
async fn two_are_held() -> World {
    let world = world().await;
    world.refuse(key("7"), "FIELD_CUSTOM_VALIDATION_EXCEPTION", u32::MAX);
    world.refuse(key("9"), "DUPLICATE_VALUE", u32::MAX);
    let counts = run(&world, 0).await;
    assert_eq!((counts.created, counts.rejected), (148, 2));
    assert_eq!(report(&world, 0).await.held.from_now, 2);
    world
}

const SEVEN: &str = "7 FIELD_CUSTOM_VALIDATION_EXCEPTION Customer_Key__c 2026-01-01 00:00";
const NINE: &str = "9 DUPLICATE_VALUE - 2026-01-01 00:00";

#[tokio::test]
async fn a_refused_row_is_held_and_its_tries_count_only_when_it_is_sent() {
    let world = two_are_held().await;
    change(&world, "UPDATE CUSTOMER SET C_MKTSEGMENT = 'AEROSPACE' WHERE C_CUSTKEY = 77");
    for number in [1, 2] {
        let counts = run(&world, number).await;
        assert_eq!((counts.held, counts.sent, counts.invalid), (2, 0, 1), "{counts:?}");
        assert_eq!(rows(&world).await, [format!("{SEVEN} 1"), format!("{NINE} 1")]);
    }
    assert_eq!(world.org.jobs().len(), 1, "a held row costs no call");
    insta::assert_snapshot!(list(&world).await, @r"
    HELD  customers: 2 rows are held
    as of run 20260101T020000Z

    WHAT SALESFORCE SAID
                1  DUPLICATE_VALUE, since 2026-01-01 00:00
                   another record has the same value in a unique field
                1  FIELD_CUSTOM_VALIDATION_EXCEPTION, since 2026-01-01 00:00
                   a validation rule of the org refused the record

    ROWS, NEWEST FIRST
      key  code                               fields           first refused     tries
      7    FIELD_CUSTOM_VALIDATION_EXCEPTION  Customer_Key__c  2026-01-01 00:00  1
      9    DUPLICATE_VALUE                    -                2026-01-01 00:00  1

    INVALID: REFUSED BY BACKHAUL, NEVER SENT
                1  not_in_picklist
      key  code             reason
      77   not_in_picklist  `Market_Segment__c` is none of the active picklist values
      Each run finds them anew and a release does nothing for them: change the value, or the
      mapping.

    WHAT TO DO
      A held row is sent again by itself as soon as its content changes in the model, or by
      a new mapping. When the org was mended instead, release it: it goes again as it is.
        backhaul held customers <key>
        backhaul held customers --release --key <key>   or --code <code>, or --all
    ");
    let text = report(&world, 2).await.to_text();
    assert!(!text.contains("AEROSPACE"), "{text}");
    insta::assert_snapshot!(text.split("HELD: ").nth(1).unwrap().split("\n\n").next().unwrap(), @r"
    NOT SENT AGAIN UNTIL THEY CHANGE, OR ARE RELEASED
                1  DUPLICATE_VALUE, since 2026-01-01 00:00
                   another record has the same value in a unique field
                1  FIELD_CUSTOM_VALIDATION_EXCEPTION, since 2026-01-01 00:00
                   a validation rule of the org refused the record
      Which they are, and how to release them:
        backhaul held customers
    ");

    // Another content: it is sent, refused as new, and the other row stays as it is.
    change(&world, "UPDATE CUSTOMER SET C_NAME = 'Renamed' WHERE C_CUSTKEY = 7");
    assert_eq!(run(&world, 3).await.rejected, 1);
    let again = SEVEN.replace("00:00", "03:00");
    assert_eq!(rows(&world).await, [format!("{again} 1"), format!("{NINE} 1")]);
    assert_eq!(sent(&world, 1), [["7"]]);
}

#[tokio::test]
async fn a_row_is_explained() {
    let world = two_are_held().await;
    change(&world, "UPDATE CUSTOMER SET C_MKTSEGMENT = 'AEROSPACE' WHERE C_CUSTKEY = 77");
    release(&world, Which::Keys(some(&["9"]))).await;
    run(&world, 1).await;
    let explain = async |key: &str| held::explain(&world.parts.store, &sync(), key).await.unwrap();
    insta::assert_snapshot!(explain("9").await, @r"
    HELD  customers, key 9
    Salesforce refused it with DUPLICATE_VALUE: another record has the same value in a
    unique field.

        first refused  2026-01-01 00:00:00 UTC, by run 20260101T000000Z
         last refused  2026-01-01 01:00:00 UTC, by run 20260101T010000Z
                tries  2
           Salesforce  has accepted nothing with this key
           its answer  runs/customers/20260101T010000Z/results/1-000/failed.csv

    WHAT TO DO
      Change the row in the model, or the mapping: the next run then sends it by itself.
      If the org was mended instead, release it, and it goes again as it is:
        backhaul held customers --release --key 9
    ");
    insta::assert_snapshot!(explain("77").await, @r"
    INVALID  customers, key 77

    REFUSED BY BACKHAUL IN THE LAST RUN, AND NOT SENT
      not_in_picklist  `Market_Segment__c` is none of the active picklist values
      A release does nothing for it: change the value, or the mapping.
    ");
    insta::assert_snapshot!(explain("8").await, @r"
    NOT HELD  customers, key 8
    Salesforce has accepted the row with this key, and has refused nothing of it since.
    ");
    insta::assert_snapshot!(explain("no such").await, @r"
    NOT HELD  customers, key no such
    The baseline knows no row with this key. Keys are compared letter by letter.
    ");
    let place =
        layout::results(&run_ref("customers", RUNS[1]), engine::JobRef { wave: 1, job: 0 }, "failed.csv");
    let answer = world.parts.store.get(&place).await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&answer.bytes).contains("DUPLICATE_VALUE"));
}

#[tokio::test]
async fn a_released_row_is_sent_exactly_once_and_held_again_with_one_more_try() {
    let (codes, keys) = (Which::Codes(some(&["DUPLICATE_VALUE"])), Which::Keys(some(&["9", "8", "77"])));
    for (rows_of, both) in [(keys, false), (codes, false), (Which::All, true)] {
        let world = two_are_held().await;
        let (text, done) = release(&world, rows_of.clone()).await;
        assert!(done, "{text}");
        if !both {
            assert_eq!(rows(&world).await, [format!("{SEVEN} 1"), format!("{NINE} 1 released")]);
        }
        let counts = run(&world, 1).await;
        let expected = if both { 2 } else { 1 };
        assert_eq!((counts.sent, counts.rejected, counts.held), (expected, expected, 2 - expected));
        let held = report(&world, 1).await.held;
        assert_eq!((held.released, held.from_now), (expected, expected));
        let seven = if both { 2 } else { 1 };
        for number in [2, 3] {
            assert_eq!(rows(&world).await, [format!("{SEVEN} {seven}"), format!("{NINE} 2")]);
            assert_eq!(run(&world, number).await.sent, 0, "a release counts once");
        }
        assert_eq!(sent(&world, 1), if both { vec![vec!["7", "9"]] } else { vec![vec!["9"]] });
        assert_eq!(head(&world).await.released, 1);
    }
}

#[tokio::test]
async fn what_salesforce_takes_after_a_release_is_held_no_more() {
    let world = world().await;
    world.refuse(key("7"), "DUPLICATE_VALUE", 1);
    run(&world, 0).await;
    let (text, done) = release(&world, Which::All).await;
    assert!(done);
    insta::assert_snapshot!(text, @r"
    RELEASED  customers: 1 held row goes again with the next run that begins
      They are sent as they are then. What Salesforce refuses again is held again, with one
      more try. A run that is going already leaves them to the next.
      by jo, command line, in syncs/customers/releases/000001.json
    ");
    // Asked for twice, it is sent once all the same.
    release(&world, Which::Codes(some(&["DUPLICATE_VALUE"]))).await;
    assert_eq!(world.run("customers", RUNS[1]).await.unwrap().verdict, Verdict::Green);
    assert_eq!((run(&world, 2).await.unchanged, head(&world).await.released), (150, 2));
    assert_eq!(sent(&world, 1), [["7"]]);
    assert!(list(&world).await.starts_with("HELD  customers: no row is held\n"));
}

#[tokio::test]
async fn where_nothing_is_held_nothing_is_released() {
    let world = two_are_held().await;
    change(&world, "UPDATE CUSTOMER SET C_MKTSEGMENT = 'AEROSPACE' WHERE C_CUSTKEY = 77");
    run(&world, 1).await;
    for rows in [
        Which::Keys(some(&["77", "8"])),
        Which::Codes(some(&["not_in_picklist", "STRING_TOO_LONG"])),
        Which::Codes(some(&["STRING_TOO_LONG"])),
    ] {
        let (text, done) = release(&world, rows.clone()).await;
        assert!(!done && text.starts_with("NOTHING TO RELEASE"), "{text}");
        if matches!(rows, Which::Keys(_)) {
            insta::assert_snapshot!(text, @r"
            NOTHING TO RELEASE  customers: no row is held that this names
              Not held: 77, 8.
              1 row was refused by Backhaul in the last run. A release does nothing there: change
              the value, or the mapping.
            ");
        }
    }
    assert!(!world.parts.store.exists(&layout::release(&sync(), 1)).await.unwrap());
    let many = (0..1001).map(|key| key.to_string()).collect();
    let failure = held::release(&world.parts.store, &sync(), Which::Keys(many), "jo").await.unwrap_err();
    assert!(failure.message.contains("at most 1000 keys"), "{failure}");
    let stranger = held::list(&world.parts.store, &"strangers".parse().unwrap(), 20).await.unwrap_err();
    assert!(stranger.hint.unwrap().contains("--bucket"));
}

/// A lock is no answer to the question whether the content is taken: the row goes with the next run too.
#[tokio::test]
async fn a_released_row_that_met_a_lock_is_not_held_again() {
    let world = world().await;
    world.edit_sync("customers", |sync| sync.replace("api: bulk", "api: bulk\n  waves: 1"));
    world.refuse(key("7"), "DUPLICATE_VALUE", 1);
    world.refuse(key("7"), "UNABLE_TO_LOCK_ROW", 2);
    run(&world, 0).await;
    assert_eq!(run(&world, 1).await.held, 1);
    release(&world, Which::All).await;
    for number in [2, 3] {
        let counts = run(&world, number).await;
        assert_eq!((counts.sent, counts.rejected), (1, 1), "{counts:?}");
        assert_eq!(rows(&world).await.len(), 1);
        assert!(rows(&world).await[0].ends_with(" 1 released"), "{:?}", rows(&world).await);
    }
    let counts = run(&world, 4).await;
    assert_eq!((counts.sent, counts.created), (1, 1), "{counts:?}");
    assert_eq!(rows(&world).await, [""; 0]);
}

/// The row goes back to what Salesforce has: nothing is held back any more, and nothing was sent for it.
#[tokio::test]
async fn a_row_that_is_as_it_was_accepted_is_held_no_more() {
    let world = world().await;
    world.refuse(("Name", "Bad"), "FIELD_CUSTOM_VALIDATION_EXCEPTION", u32::MAX);
    run(&world, 0).await;
    change(&world, "UPDATE CUSTOMER SET C_NAME = 'Bad' WHERE C_CUSTKEY = 7");
    assert_eq!(run(&world, 1).await.rejected, 1);
    assert_eq!(run(&world, 2).await.held, 1);
    change(&world, "UPDATE CUSTOMER SET C_NAME = 'Customer#000000007' WHERE C_CUSTKEY = 7");
    let counts = run(&world, 3).await;
    assert_eq!((counts.unchanged, counts.sent), (150, 0), "{counts:?}");
    assert_eq!(rows(&world).await, [""; 0]);
    // The bad name comes back: it is new, and is tried.
    change(&world, "UPDATE CUSTOMER SET C_NAME = 'Bad' WHERE C_CUSTKEY = 7");
    assert_eq!(run(&world, 4).await.rejected, 1);
    assert_eq!(rows(&world).await, ["7 FIELD_CUSTOM_VALIDATION_EXCEPTION Name 2026-01-01 04:00 1"]);
}

/// A cursor would not read the row again, and a release that was carried out in vain would be lost.
#[tokio::test]
async fn a_release_reads_the_whole_model() {
    let world = world().await;
    world.edit_sync("customers", |text| {
        text.replace("  warehouse: COMPUTE_WH", "  warehouse: COMPUTE_WH\n  cursor: {column: C_CUSTKEY}")
    });
    world.refuse(key("7"), "DUPLICATE_VALUE", 1);
    run(&world, 0).await;
    let whole = async |number: usize| {
        let run = run_ref("customers", RUNS[number]);
        !world.document::<Statement>(&layout::statement(&run)).await.sql.contains("WHERE")
    };
    assert_eq!(run(&world, 1).await.held, 0);
    assert!(!whole(1).await);
    release(&world, Which::Keys(some(&["7"]))).await;
    let counts = run(&world, 2).await;
    assert_eq!((counts.sent, counts.created, whole(2).await), (1, 1, true), "{counts:?}");
    run(&world, 3).await;
    assert!(!whole(3).await);
}

async fn head(world: &World) -> Head {
    world.document(&layout::head(&sync())).await
}

/// Calls the stages of a run as far as this, and no further: it dies.
async fn dies_after(world: &World, run: &RunRef, stages: usize) {
    let parts = &world.parts;
    let (store, salesforce) = (&parts.store, &parts.salesforce);
    let RunRef { sync, run: id } = run.clone();
    let plan = |wave| plan::Event { sync: sync.clone(), run: id.clone(), wave, release: false };
    for stage in 0..stages {
        match stage {
            0 => {
                while !extract::handle(store, &parts.snowflake, salesforce, run, None).await.unwrap().done {}
            }
            1 => {
                let event = map::Event { sync: sync.clone(), run: id.clone(), chunk: 0 };
                map::handle(store, event).await.map(drop).unwrap();
            }
            2 => plan::handle(store, salesforce, plan(1)).await.map(drop).unwrap(),
            3 => {
                let event = submit::Event { sync: sync.clone(), run: id.clone(), wave: 1, job: 0 };
                submit::handle(store, salesforce, event).await.map(drop).unwrap();
            }
            4 => loop {
                let (sync, run) = (sync.clone(), id.clone());
                let event = poll::Event { sync, run, wave: 1, job: 0, wait_seconds: 0, polls: 0 };
                if poll::handle(store, salesforce, event).await.unwrap().done {
                    break;
                }
            },
            5 => {
                let event = collect::Event { sync: sync.clone(), run: id.clone(), wave: 1, job: 0 };
                collect::handle(store, salesforce, event).await.map(drop).unwrap();
            }
            6 => plan::handle(store, salesforce, plan(2)).await.map(drop).unwrap(),
            _ => {
                let event = settle::Event { sync: sync.clone(), run: id.clone(), chunk: 0 };
                settle::handle(store, event).await.map(drop).unwrap();
            }
        }
    }
    let place = layout::lease(&sync);
    let object = store.get(&place).await.unwrap().unwrap();
    let lease: Lease = serde_json::from_slice(&object.bytes).unwrap();
    let ended = Lease { expires: "2026-01-01T00:00:00Z".parse().unwrap(), ..lease };
    store.replace(&place, to_bytes(&ended), Some(&object.version)).await.unwrap();
}

#[tokio::test]
async fn a_run_that_dies_between_the_release_and_its_commit_loses_nothing() {
    for stages in 1..=8 {
        let world = two_are_held().await;
        release(&world, Which::Keys(some(&["9"]))).await;
        let dead = world.begin("customers", RUNS[1], Mode::Run).await.unwrap();
        dies_after(&world, &dead, stages).await;
        assert_eq!(head(&world).await.released, 0, "{stages}: nothing is committed yet");
        for number in [2, 3] {
            run(&world, number).await;
            assert_eq!(rows(&world).await, [format!("{SEVEN} 1"), format!("{NINE} 2")], "{stages}");
        }
        assert_eq!(sent(&world, 1), [["9"]], "{stages}: it is sent once");
        assert_eq!(head(&world).await.released, 1, "{stages}");
    }
}

#[tokio::test]
async fn a_plan_that_is_only_looked_at_carries_no_release_out() {
    let world = two_are_held().await;
    release(&world, Which::Keys(some(&["9"]))).await;
    let planned = world.begin("customers", RUNS[1], Mode::Plan).await.unwrap();
    world.drive(planned).await.unwrap();
    assert_eq!((head(&world).await.released, world.org.jobs().len()), (0, 1));
    assert_eq!(run(&world, 2).await.sent, 1);
    assert_eq!(head(&world).await.released, 1);
}

/// In the deployed bundle there is no command line: the event that releases is delivered twice, as Lambda may do.
#[tokio::test]
async fn an_event_releases_rows_and_starts_a_run() {
    let world = two_are_held().await;
    let event = |release: serde_json::Value| {
        let event = serde_json::json!({ "sync": "customers", "run": RUNS[1], "release": release });
        serde_json::from_value(event).unwrap()
    };
    for _ in 0..2 {
        let codes = event(serde_json::json!({ "codes": ["DUPLICATE_VALUE"] }));
        let due = dispatch::handle(&world.parts.store, &world.syncs, codes).await.unwrap();
        assert_eq!(due.start, [run_ref("customers", RUNS[1])]);
    }
    world.drive(run_ref("customers", RUNS[1])).await.unwrap();
    assert_eq!(rows(&world).await, [format!("{SEVEN} 1"), format!("{NINE} 2")]);
    assert_eq!(head(&world).await.released, 1);
    let keys: Vec<String> = (0..1001).map(|key| key.to_string()).collect();
    let many = event(serde_json::json!({ "keys": keys }));
    let failure = dispatch::handle(&world.parts.store, &world.syncs, many).await.unwrap_err();
    assert!(failure.message.contains("at most 1000 keys"), "{failure}");
}

#[tokio::test]
async fn the_command_is_asked_for_one_thing() {
    Cli::command().debug_assert();
    let parse =
        |line: &str| Cli::try_parse_from(format!("backhaul held customers {line}").split_whitespace());
    for line in
        ["", "42", "-42", "--limit 5", "--release --all", "--release --key 1 --key -2", "--release --code A"]
    {
        assert!(parse(line).is_ok(), "{line}: {}", parse(line).unwrap_err());
    }
    for line in
        ["--release", "--all", "--key 1", "42 --release --all", "42 --all", "--release --all --code A"]
    {
        assert!(parse(line).is_err(), "{line}");
    }
    let world = two_are_held().await;
    for line in ["", "9", "--release --key 9", "--release --key 8"] {
        let command = parse(&format!("{line} --bucket {}", world.bucket().display())).unwrap();
        command.execute().await.unwrap();
    }
    assert!(world.parts.store.exists(&layout::release(&sync(), 1)).await.unwrap());
    assert!(!world.parts.store.exists(&layout::release(&sync(), 2)).await.unwrap());
    assert!(
        !format!("{:?}", parse("--release --key 9000").unwrap()).contains("9000"),
        "a key may be personal"
    );
}

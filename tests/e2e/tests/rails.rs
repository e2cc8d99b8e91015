//! What stops a run before anything is sent, and how a person lets it go on.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use e2e::{
    compare::{CUSTOMERS, assert_equal},
    world::{World, run_ref},
};
use emulators::{salesforce::OrgConfig, snowflake::Config};
use engine::{
    Class, Failure, RunRef,
    document::{Approval, Head, Judged, Lease, Mode, Plan},
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

/// A plan that was only looked at.
async fn planned(world: &World, run: &str) -> RunRef {
    let run = world.begin("customers", run, Mode::Plan).await.unwrap();
    world.drive(run.clone()).await.unwrap();
    run
}

/// Header and fragments of each job of the plan.
async fn bytes_of(world: &World, run: &RunRef) -> Vec<Vec<u8>> {
    let plan = plan(world, run).await;
    let mut jobs = Vec::new();
    for job in &plan.jobs {
        let mut bytes = plan.header.clone().into_bytes();
        for fragment in &job.fragments {
            let place = layout::fragment(run, fragment, &fragment.file);
            bytes.extend(world.parts.store.get(&place).await.unwrap().unwrap().bytes);
        }
        jobs.push(bytes);
    }
    jobs
}

fn received(world: &World, from: usize) -> Vec<Vec<u8>> {
    let jobs = world.org.jobs();
    jobs[from..].iter().map(|job| world.org.received_csv(&job.id).unwrap().to_vec()).collect()
}

#[tokio::test]
async fn what_was_approved_is_byte_for_byte_what_is_sent() {
    let world = loaded().await;
    change(&world, "UPDATE CUSTOMER SET C_ADDRESS = 'moved' WHERE C_CUSTKEY <= 6");
    let run = planned(&world, SECOND).await;
    let store = &world.parts.store;
    let preview: Report = world.document(&layout::preview_json(&run)).await;
    let text = preview.to_text();
    assert!(text.contains("6  accepted before, and changed since: 1, 2, 3, 4, 5, …"), "{text}");
    assert!(text.contains("an estimate") && text.contains("ok    0 keys left the model"), "{text}");
    assert_eq!(seen(&world).1, [150, 0, 0]);
    let frozen = bytes_of(&world, &run).await;
    let statement = store.checksum(&layout::submitted(&run)).await.unwrap();

    // What the warehouse says by now does not matter.
    change(&world, "UPDATE CUSTOMER SET C_ADDRESS = 'moved on' WHERE C_CUSTKEY <= 9");
    let jobs_before = world.org.jobs().len();
    let statements = world.snowflake.submitted().len();
    approval::apply(store, &run, "test").await.unwrap();
    approval::apply(store, &run, "test again").await.unwrap();
    assert_eq!(world.drive(run.clone()).await.unwrap().verdict, Verdict::Green);
    assert_eq!(received(&world, jobs_before), frozen);
    assert_eq!(bytes_of(&world, &run).await, frozen);
    assert_eq!(world.org.write_counts("Account"), [150, 6, 0]);
    assert_eq!(world.snowflake.submitted().len(), statements, "nothing is extracted again");
    assert_eq!(store.checksum(&layout::submitted(&run)).await.unwrap(), statement);
    assert_eq!(head(&world).await.run, Some(run.run.clone()));
    let report: Report = world.document(&layout::report_json(&run)).await;
    assert_eq!((report.mode, report.counts.updated), (Mode::Run, 6));
    assert_eq!(world.run("customers", THIRD).await.unwrap().verdict, Verdict::Green);
    assert_eq!(world.org.write_counts("Account"), [150, 15, 0]);
}

#[tokio::test]
async fn a_plan_over_a_baseline_that_has_moved_is_not_sent() {
    let world = loaded().await;
    change(&world, "UPDATE CUSTOMER SET C_ADDRESS = 'moved' WHERE C_CUSTKEY <= 6");
    let (early, late) = (planned(&world, SECOND).await, planned(&world, "20260101T013000Z").await);
    let store = &world.parts.store;
    approval::apply(store, &early, "test").await.unwrap();
    world.run("customers", THIRD).await.unwrap();
    for failure in
        [approval::apply(store, &late, "test").await.unwrap_err(), world.drive(early).await.unwrap_err()]
    {
        assert_eq!(failure.class, Class::Contention);
        assert!(failure.message.contains("has committed since"), "{failure}");
    }
    assert_eq!(world.org.write_counts("Account"), [150, 6, 0], "each row is written once");
    assert_eq!(lease(&world).await.unsettled, None);
}

#[tokio::test]
async fn only_a_plan_that_was_looked_at_is_applied() {
    let world = loaded().await;
    let store = &world.parts.store;
    let applied = |run: RunRef| async move { approval::apply(store, &run, "test").await.unwrap_err() };
    let failure = applied(run_ref("customers", FIRST)).await;
    assert!(failure.message.contains("was not to stop at its plan"), "{failure}");
    let begun = world.begin("customers", SECOND, Mode::Plan).await.unwrap();
    assert!(applied(begun).await.message.contains("has not come to the end of its plan"));
    assert_eq!(applied(run_ref("customers", THIRD)).await.class, Class::Configuration);
    assert_eq!(lease(&world).await.holder, None);
}

#[tokio::test]
async fn a_plan_past_a_rail_is_applied_only_with_a_release() {
    let world = loaded().await;
    change(&world, "UPDATE CUSTOMER SET C_ADDRESS = 'moved' WHERE C_CUSTKEY <= 6");
    world.edit_sync("customers", |text| with_guard(&text, "max_changes: 5"));
    let run = planned(&world, SECOND).await;
    let preview: Report = world.document(&layout::preview_json(&run)).await;
    assert_eq!(preview.verdict, Verdict::Attention);
    let event = serde_json::json!({ "sync": run.sync, "run": run.run, "mode": "apply" });
    let event = || serde_json::from_value(event.clone()).unwrap();
    let due = dispatch::handle(&world.parts.store, &world.syncs, event()).await.unwrap();
    let started = std::sync::Mutex::new(Vec::new());
    dispatch::start(due, |name, input| {
        started.lock().unwrap().push((name, input));
        std::future::ready(Ok(()))
    })
    .await
    .unwrap();
    let input = format!(r#"{{"sync":"customers","run":"{SECOND}"}}"#);
    assert_eq!(started.into_inner().unwrap(), [(format!("customers-{SECOND}-apply"), input)]);
    assert_eq!(world.drive(run.clone()).await.unwrap_err().class, Class::Guard);
    assert_eq!(lease(&world).await.unsettled, None, "nothing was sent");
    approval::release(&world.parts.store, &run, "test").await.unwrap();
    assert_eq!(world.drive(run).await.unwrap().verdict, Verdict::Green);
    assert_eq!(world.org.write_counts("Account"), [150, 6, 0]);
    assert_equal(&world.snowflake, &world.org, CUSTOMER, "Account", &CUSTOMERS);
}

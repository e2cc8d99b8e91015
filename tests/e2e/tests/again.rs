//! Stages that run twice, out of order, side by side or too late; a schedule that rings twice.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Mutex,
};

use e2e::{
    compare::{CUSTOMERS, assert_equal},
    world::{World, run_ref},
};
use emulators::{
    salesforce::{Org, OrgConfig, OrgServer},
    snowflake::Config,
};
use engine::{
    Class, Failure, RunRef,
    document::{Head, Lease, Mode, Run, to_bytes},
    layout,
    report::{Report, Verdict},
};
use store::{Put, Version};

const FIRST: &str = "20260101T000000Z";
const SECOND: &str = "20260101T010000Z";
const CUSTOMER: &str = "SNOWFLAKE_SAMPLE_DATA.TPCH_SF1.CUSTOMER";

async fn world() -> World {
    let snowflake = Config { partition_rows: Some(60), ..Config::default() };
    World::scaled(snowflake, OrgConfig::default(), 0.001).await
}

/// One call of each stage, as the state machine makes it.
struct Stages<'a> {
    world: &'a World,
    run: RunRef,
}

impl Stages<'_> {
    async fn extract(&self) -> Result<(), Failure> {
        let parts = &self.world.parts;
        while !extract::handle(&parts.store, &parts.snowflake, &parts.salesforce, &self.run, None).await?.done
        {
        }
        Ok(())
    }

    async fn map(&self) -> Result<(), Failure> {
        let event = map::Event { sync: self.run.sync.clone(), run: self.run.run.clone(), chunk: 0 };
        map::handle(&self.world.parts.store, event).await.map(drop)
    }

    async fn plan(&self, wave: u32) -> Result<plan::Output, Failure> {
        let event =
            plan::Event { sync: self.run.sync.clone(), run: self.run.run.clone(), wave, release: false };
        plan::handle(&self.world.parts.store, &self.world.parts.salesforce, event).await
    }

    async fn submit(&self) -> Result<(), Failure> {
        let event = submit::Event { sync: self.run.sync.clone(), run: self.run.run.clone(), wave: 1, job: 0 };
        submit::handle(&self.world.parts.store, &self.world.parts.salesforce, event).await.map(drop)
    }

    async fn poll(&self) -> Result<(), Failure> {
        loop {
            let (sync, run) = (self.run.sync.clone(), self.run.run.clone());
            let event = poll::Event { sync, run, wave: 1, job: 0, wait_seconds: 0, polls: 0 };
            if poll::handle(&self.world.parts.store, &self.world.parts.salesforce, event).await?.done {
                return Ok(());
            }
        }
    }

    async fn collect(&self) -> Result<(), Failure> {
        let event =
            collect::Event { sync: self.run.sync.clone(), run: self.run.run.clone(), wave: 1, job: 0 };
        collect::handle(&self.world.parts.store, &self.world.parts.salesforce, event).await.map(drop)
    }

    async fn settle(&self) -> Result<(), Failure> {
        let event = settle::Event { sync: self.run.sync.clone(), run: self.run.run.clone(), chunk: 0 };
        settle::handle(&self.world.parts.store, event).await.map(drop)
    }

    async fn finish(&self) -> Result<(), Failure> {
        let event = finish::Event::new(self.run.clone(), None);
        finish::handle(&self.world.parts.store, None, event).await.map(drop)
    }

    /// Carries out a stage by its name.
    async fn call(&self, stage: &str) -> Result<(), Failure> {
        match stage {
            "extract" => self.extract().await,
            "map" => self.map().await,
            "plan" => self.plan(1).await.map(drop),
            "submit" => self.submit().await,
            "poll" => self.poll().await,
            "collect" => self.collect().await,
            "gate" => self.plan(2).await.map(drop),
            "settle" => self.settle().await,
            "finish" => self.finish().await,
            other => panic!("no stage `{other}`"),
        }
    }
}

const STAGES: [&str; 9] = ["extract", "map", "plan", "submit", "poll", "collect", "gate", "settle", "finish"];

/// Every object of the bucket; the lease is left out when it is to be.
fn objects(world: &World, with_lease: bool) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    walk(&world.bucket(), &mut all);
    all.retain(|path, _| with_lease || !path.ends_with("lease.json"));
    all
}

fn walk(folder: &Path, into: &mut BTreeMap<PathBuf, Vec<u8>>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, into);
        } else {
            let bytes = std::fs::read(&path).unwrap();
            into.insert(path, bytes);
        }
    }
}

fn assert_same(stage: &str, before: &BTreeMap<PathBuf, Vec<u8>>, after: &BTreeMap<PathBuf, Vec<u8>>) {
    let names = |all: &BTreeMap<PathBuf, Vec<u8>>| all.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(names(before), names(after), "objects after `{stage}` ran again");
    for (path, bytes) in before {
        assert!(bytes == &after[path], "`{stage}` changed {}", path.display());
    }
}

#[tokio::test]
async fn a_stage_that_runs_twice_leaves_the_same_documents() {
    let world = world().await;
    let run = world.begin("customers", FIRST, Mode::Run).await.unwrap();
    let stages = Stages { world: &world, run };
    for stage in STAGES {
        stages.call(stage).await.unwrap();
        let once = objects(&world, true);
        stages.call(stage).await.unwrap();
        assert_same(stage, &once, &objects(&world, true));
    }
    assert_eq!(world.org.jobs().len(), 1);
    assert_eq!(world.org.write_counts("Account"), [150, 0, 0]);
}

#[tokio::test]
async fn a_run_that_is_carried_out_again_changes_nothing() {
    let world = world().await;
    world.run("customers", FIRST).await.unwrap();
    let once = objects(&world, false);
    let stages = Stages { world: &world, run: run_ref("customers", FIRST) };
    for stage in STAGES {
        stages.call(stage).await.unwrap();
    }
    assert_same("every stage", &once, &objects(&world, false));
    assert_eq!(holder(&world).await, None);
    assert_eq!(world.org.jobs().len(), 1);
    assert_eq!(world.org.write_counts("Account"), [150, 0, 0]);
}

#[tokio::test]
async fn a_stage_out_of_order_says_what_is_missing() {
    let world = world().await;
    let run = world.begin("customers", FIRST, Mode::Run).await.unwrap();
    let stages = Stages { world: &world, run };
    assert_refused(&stages, &STAGES[1..]).await;
    stages.extract().await.unwrap();
    assert_refused(&stages, &["plan", "submit", "poll", "collect", "gate", "settle", "finish"]).await;
    stages.map().await.unwrap();
    assert_refused(&stages, &["submit", "poll", "collect", "gate", "settle", "finish"]).await;
    stages.plan(1).await.unwrap();
    assert_refused(&stages, &["poll", "collect", "settle", "finish"]).await;
    stages.submit().await.unwrap();
    assert_refused(&stages, &["collect", "settle", "finish"]).await;
    stages.poll().await.unwrap();
    assert_refused(&stages, &["settle", "finish"]).await;
    stages.collect().await.unwrap();
    assert_refused(&stages, &["finish"]).await;
    assert_eq!(head(&world).await, None);
    stages.settle().await.unwrap();
    stages.finish().await.unwrap();
    assert_eq!(head(&world).await.unwrap().run, Some(stages.run.run));
}

async fn assert_refused(stages: &Stages<'_>, names: &[&str]) {
    for name in names {
        let failure = stages.call(name).await.expect_err(name);
        assert_eq!(failure.class, Class::Configuration, "{name}: {failure}");
        assert!(failure.hint.is_some(), "{name}: {failure}");
    }
}

#[tokio::test]
async fn a_run_that_nobody_began_holds_nothing() {
    let world = world().await;
    let stages = Stages { world: &world, run: run_ref("customers", FIRST) };
    assert_refused(&stages, &STAGES).await;
    assert_eq!(world.drive(stages.run.clone()).await.unwrap_err().class, Class::Configuration);
    assert!(objects(&world, true).is_empty(), "{:?}", objects(&world, true).keys());
}

#[tokio::test]
async fn an_overlapping_run_is_refused_until_the_lease_goes_back() {
    let world = world().await;
    let first = world.begin("customers", FIRST, Mode::Run).await.unwrap();
    let second = world.begin("customers", SECOND, Mode::Run).await.unwrap();
    Stages { world: &world, run: first.clone() }.extract().await.unwrap();

    let refused = world.drive(second.clone()).await.unwrap_err();
    assert_eq!(refused.class, Class::Contention, "{refused}");
    assert!(refused.message.contains(FIRST), "{refused}");
    let failed: Report = world.document(&layout::failure(&second)).await;
    assert_eq!(failed.verdict, Verdict::Failed);
    assert_eq!(holder(&world).await, Some(first.run.to_string()), "the lease of the other run was touched");
    let third = run_ref("customers", "20260101T020000Z");
    let dispatched =
        dispatch::by_hand(&world.parts.store, &world.syncs, third.clone(), Mode::Run, "test").await.unwrap();
    assert_eq!((dispatched.start, dispatched.waiting), (vec![], vec![third]));

    assert_eq!(world.drive(first).await.unwrap().verdict, Verdict::Green);
    assert_eq!(holder(&world).await, None);
    assert_eq!(world.drive(second.clone()).await.unwrap().verdict, Verdict::Green);
    let report: Report = world.document(&layout::report_json(&second)).await;
    assert_eq!((report.counts.unchanged, report.counts.sent), (150, 0));
}

/// A run that came to a halt, lost its lease, and wakes up after another run has committed.
async fn outrun(world: &World, up_to: &[&str]) -> RunRef {
    let stale = world.begin("customers", FIRST, Mode::Run).await.unwrap();
    let stages = Stages { world, run: stale.clone() };
    for stage in up_to {
        stages.call(stage).await.unwrap();
    }
    expire_lease(world).await;
    assert_eq!(world.run("customers", SECOND).await.unwrap().verdict, Verdict::Green);
    stale
}

#[tokio::test]
async fn a_stale_run_sends_nothing() {
    let world = world().await;
    let stale = outrun(&world, &STAGES[..2]).await;
    let jobs = world.org.jobs().len();
    let failure = Stages { world: &world, run: stale.clone() }.submit().await.unwrap_err();
    assert_eq!(failure.class, Class::Configuration, "{failure}");
    let failure = world.drive(stale.clone()).await.unwrap_err();
    assert_eq!(failure.class, Class::Contention, "{failure}");
    assert!(failure.hint.as_deref().is_some_and(|hint| hint.contains("new run")), "{failure}");
    assert_eq!(world.org.jobs().len(), jobs);
    assert_eq!(world.org.write_counts("Account"), [150, 0, 0]);
    assert_eq!(head(&world).await.unwrap().run.unwrap().as_str(), SECOND);
    assert_eq!(holder(&world).await, None);
    let failed: Report = world.document(&layout::failure(&stale)).await;
    assert_eq!(failed.verdict, Verdict::Failed);
}

#[tokio::test]
async fn what_a_run_sent_before_it_died_is_settled_before_the_next() {
    for up_to in 3..STAGES.len() {
        let world = world().await;
        world.edit_sync("customers", |sync| sync.replace("operation: upsert", "operation: insert"));
        let dead = outrun(&world, &STAGES[..up_to]).await;
        let sent = up_to >= 4;
        let second: Report = world.document(&layout::report_json(&run_ref("customers", SECOND))).await;
        assert_eq!(second.counts.sent, if sent { 0 } else { 150 }, "{up_to}: {:?}", second.counts);
        let first: Report = world.document(&layout::report_json(&dead)).await;
        assert_eq!(first.counts.unprocessed, if sent { 0 } else { 150 }, "{up_to}: {:?}", first.counts);
        assert!(first.counts.balance(Mode::Run), "{:?}", first.counts);
        // The dead run wakes up: nothing of it counts any more.
        let stages = Stages { world: &world, run: dead.clone() };
        for stage in &STAGES[up_to..] {
            let _ = stages.call(stage).await;
        }
        assert_eq!(world.org.write_counts("Account"), [150, 0, 0], "{up_to}: each row is written once");
        assert_eq!(head(&world).await.unwrap().run.unwrap().as_str(), SECOND);
        assert_eq!(holder(&world).await, None);
    }
}

#[tokio::test]
async fn a_run_commits_over_no_head_but_its_own() {
    let world = world().await;
    let stale = world.begin("customers", FIRST, Mode::Run).await.unwrap();
    let stages = Stages { world: &world, run: stale.clone() };
    for stage in &STAGES[..8] {
        stages.call(stage).await.unwrap();
    }
    let foreign = Head { run: Some(SECOND.parse().unwrap()), ..Head::default() };
    let place = layout::head(&stale.sync);
    world.parts.store.replace(&place, to_bytes(&foreign), None).await.unwrap();
    let failure = stages.finish().await.unwrap_err();
    assert_eq!(failure.class, Class::Contention, "{failure}");
    assert_eq!(world.drive(stale.clone()).await.unwrap_err().class, Class::Contention);
    assert_eq!(head(&world).await, Some(foreign));
    assert_eq!(holder(&world).await, None);
    assert!(!world.parts.store.exists(&layout::report_json(&stale)).await.unwrap());
}

/// A newer version has been here, and was taken back.
#[tokio::test]
async fn what_a_newer_version_wrote_is_replaced_by_nothing() {
    for document in ["head.json", "lease.json"] {
        let world = world().await;
        world.run("customers", FIRST).await.unwrap();
        let place = world.bucket().join("syncs/customers").join(document);
        let text = std::fs::read_to_string(&place).unwrap();
        let newer = text.replace(r#""format": 2,"#, r#""format": 9, "not_to_be_lost": true,"#);
        assert_ne!(newer, text);
        std::fs::write(&place, &newer).unwrap();
        let failure = world.run("customers", SECOND).await.unwrap_err();
        assert_eq!(failure.class, Class::Configuration, "{failure}");
        assert!(failure.message.contains(document) && failure.message.contains("format 9"), "{failure}");
        assert_eq!(std::fs::read_to_string(&place).unwrap(), newer, "{document}");
        assert_eq!(world.org.write_counts("Account"), [150, 0, 0]);
    }
}

/// Salesforce refuses the whole job: a field that was described is not visible to the one who loads.
#[tokio::test]
async fn a_job_that_is_refused_as_a_whole_is_loaded_once_when_that_is_mended() {
    let mut world = world().await;
    let mended = client(&world.org);
    let mut config = OrgConfig::default();
    config.schema.field_mut("Account", "Phone").hidden = true;
    let hiding = Org::start(config).await.unwrap();

    let run = world.begin("customers", FIRST, Mode::Run).await.unwrap();
    Stages { world: &world, run: run.clone() }.extract().await.unwrap();
    world.parts.salesforce = client(&hiding);
    let failure = world.drive(run.clone()).await.unwrap_err();
    assert_eq!(failure.class, Class::Configuration, "{failure}");
    assert!(failure.message.contains("1 of 1 jobs") && failure.message.contains("Phone"), "{failure}");
    assert_eq!((head(&world).await, holder(&world).await), (None, None));
    assert_eq!(hiding.write_counts("Account"), [0, 0, 0]);

    world.parts.salesforce = mended;
    let stages = Stages { world: &world, run: run.clone() };
    let handed_out = stages.plan(2).await.unwrap();
    assert_eq!((handed_out.next, handed_out.jobs.len()), (plan::Next::Load, 1));
    for stage in ["submit", "poll", "collect"] {
        stages.call(stage).await.unwrap();
    }
    assert_eq!(stages.plan(handed_out.next_wave).await.unwrap().next, plan::Next::Settle);
    assert_eq!(world.drive(run.clone()).await.unwrap().verdict, Verdict::Green);
    assert_eq!(world.org.jobs().len(), 1);
    assert_eq!(world.org.write_counts("Account"), [150, 0, 0]);
    assert_eq!(assert_equal(&world.snowflake, &world.org, CUSTOMER, "Account", &CUSTOMERS), 150);
    let report: Report = world.document(&layout::report_json(&run)).await;
    assert_eq!((report.counts.sent, report.counts.created), (150, 150));
}

#[tokio::test]
async fn a_refused_job_that_is_not_mended_fails_each_time_with_what_is_wrong_then() {
    let mut world = world().await;
    let run = world.begin("customers", FIRST, Mode::Run).await.unwrap();
    Stages { world: &world, run: run.clone() }.extract().await.unwrap();
    for field in ["Phone", "Phone", "BillingStreet"] {
        let mut config = OrgConfig::default();
        config.schema.field_mut("Account", field).hidden = true;
        let hiding = Org::start(config).await.unwrap();
        world.parts.salesforce = client(&hiding);
        let failure = world.drive(run.clone()).await.unwrap_err();
        assert_eq!(failure.class, Class::Configuration, "{failure}");
        assert!(failure.message.contains(field), "{failure}");
        assert_eq!((head(&world).await, holder(&world).await), (None, None));
    }
}

#[tokio::test]
async fn a_tick_that_rings_twice_starts_one_run() {
    let world = world().await;
    let started = Mutex::new(BTreeSet::new());
    let mut texts = BTreeSet::new();
    for _ in 0..2 {
        let dispatched = tick(&world, "2026-01-05T12:00:30Z").await;
        assert!(dispatched.problems.is_empty(), "{:?}", dispatched.problems);
        assert_eq!(dispatched.start.len(), 1);
        start(dispatched, &started).await.unwrap();
        let run: Run = world.document(&layout::run(&run_ref("customers", "20260105T120000Z"))).await;
        texts.insert(to_bytes(&run));
        // What is running must not change under it.
        world.edit_sync("customers", |text| text.replace("Phone: C_PHONE", "Phone: C_NAME"));
    }
    assert_eq!(started.into_inner().unwrap().len(), 1);
    assert_eq!(texts.len(), 1, "the second delivery changed the frozen run");
}

#[tokio::test]
async fn bad_syncs_do_not_stop_the_others() {
    let world = world().await;
    let text = std::fs::read_to_string(world.syncs.join("customers.yaml")).unwrap();
    std::fs::write(world.syncs.join("accounts.yaml"), &text).unwrap();
    std::fs::write(world.syncs.join("broken.yaml"), text.replace("mapping:", "maping:")).unwrap();
    std::fs::write(world.syncs.join("Not A Name.yaml"), &text).unwrap();
    let started = Mutex::new(BTreeSet::new());
    let dispatched = tick(&world, "2026-01-05T12:00:00Z").await;
    let problems: Vec<_> = dispatched.problems.iter().map(|problem| problem.message.clone()).collect();
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems.iter().any(|problem| problem.contains("Not A Name")), "{problems:?}");
    assert!(problems.iter().any(|problem| problem.contains("broken.yaml")), "{problems:?}");
    let failure = start(dispatched, &started).await.unwrap_err();
    assert_eq!(failure.class, Class::Configuration);
    assert!(failure.message.contains("1 more"), "{failure}");
    let expected = ["accounts-20260105T120000Z", "customers-20260105T120000Z"];
    assert_eq!(started.into_inner().unwrap().into_iter().collect::<Vec<_>>(), expected);
}

async fn tick(world: &World, instant: &str) -> dispatch::Dispatched {
    let event = serde_json::from_value(serde_json::json!({"scheduled_time": instant})).unwrap();
    dispatch::handle(&world.parts.store, &world.syncs, event).await.unwrap()
}

async fn start(
    dispatched: dispatch::Dispatched,
    started: &Mutex<BTreeSet<String>>,
) -> Result<dispatch::Dispatched, Failure> {
    let starter = |name: String, _| {
        started.lock().unwrap().insert(name);
        async { Ok(()) }
    };
    dispatch::start(dispatched, starter).await
}

fn client(org: &OrgServer) -> salesforce::Client {
    salesforce::Client::new(serde_json::from_str(&org.secret_json()).unwrap()).unwrap()
}

async fn head(world: &World) -> Option<Head> {
    world.parts.store.get_json(&layout::head(&run_ref("customers", FIRST).sync)).await.unwrap()
}

async fn holder(world: &World) -> Option<String> {
    let lease: Lease = world.document(&layout::lease(&run_ref("customers", FIRST).sync)).await;
    lease.holder.map(|holder| holder.to_string())
}

/// Six hours pass without a sign of life from the holder.
async fn expire_lease(world: &World) {
    let place = layout::lease(&run_ref("customers", FIRST).sync);
    let object = world.parts.store.get(&place).await.unwrap().unwrap();
    let lease: Lease = serde_json::from_slice(&object.bytes).unwrap();
    let ended = Lease { expires: "2026-01-01T00:00:00Z".parse().unwrap(), ..lease };
    let Version(version) = object.version;
    let put = world.parts.store.replace(&place, to_bytes(&ended), Some(&Version(version))).await.unwrap();
    assert!(matches!(put, Put::Written(_)));
}

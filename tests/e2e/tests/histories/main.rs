//! Runs of one sync that meet: begun at the same moment, dead and alive again, outlived by their lease, tried late, while
//! rows leave their model, come back and change.
//!
//! A history is a list of operations on three runs, chosen at random and carried out by the real stages. What the
//! bucket and the org show between two operations is judged by rules that know nothing of how the engine comes to it:
//! whose lease it may be, over which head a run may commit, who may send, and what. Whatever happened, the next run
//! brings everything to a good end, and each change is written once. A history that fails is made shorter before it is
//! shown.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use std::{cell::RefCell, collections::BTreeMap, time::Duration};

use e2e::{
    compare::{CUSTOMERS, assert_equal},
    reaper::{End, Reaper},
    walk::{self, Call, Walk},
    world::{World, run_ref},
};
use emulators::{salesforce::OrgConfig, snowflake::Config};
use engine::{
    Class, RunRef,
    document::{Base, Head, Lease, Mode},
    layout,
    report::{Report, Verdict},
};
use proptest::{
    prelude::*,
    test_runner::{RngAlgorithm, TestRng, TestRunner},
};

mod model;

use model::{GROUPS, Model, Move, Operation};

const CUSTOMER: &str = "SNOWFLAKE_SAMPLE_DATA.TPCH_SF1.CUSTOMER";

/// Rows of a partition, of 30.
const PARTITION: u64 = 12;

/// Histories that are tried, unless `HISTORIES` names another number.
const CASES: u32 = 128;

/// The run that loads all rows before some histories; the runs of a history, the one that brings it to an end, and one after that.
const LOADED: &str = "20251231T230000Z";
const RUNS: [&str; 3] = ["20260101T000000Z", "20260101T010000Z", "20260101T020000Z"];
const LAST: &str = "20260101T030000Z";
const AFTER: &str = "20260101T040000Z";

/// Most calls of a run that comes to an end.
const MOST_CALLS: usize = 80;

/// What happens next, to a run by its number.
#[derive(Clone, Copy, Debug)]
enum Op {
    /// It is due: it begins, or another is settled first, or it waits.
    Begin(usize),
    /// Its next calls, so many of them.
    Step(usize, usize),
    /// Its next call is made twice at the same moment.
    Twice(usize),
    /// The next calls of two runs are made at the same moment.
    Together(usize, usize),
    /// Its process dies in its next call, after so many writes and requests.
    Die(usize, usize),
    /// A call that went well long ago is made again.
    Late(usize, usize),
    /// Six hours pass.
    Expire,
    /// A group of rows moves in the warehouse.
    Move(Move, usize),
}

fn run() -> impl Strategy<Value = usize> {
    0..RUNS.len()
}

/// What happens to which rows: the first group never leaves.
fn rows_move() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (1..GROUPS).prop_map(|group| Op::Move(Move::Leave, group)),
        2 => (1..GROUPS).prop_map(|group| Op::Move(Move::Return, group)),
        2 => (0..GROUPS, 0u32..3).prop_map(|(group, name)| Op::Move(Move::Rename(name), group)),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => run().prop_map(Op::Begin),
        6 => (run(), 1usize..7).prop_map(|(run, calls)| Op::Step(run, calls)),
        2 => run().prop_map(Op::Twice),
        3 => (run(), run()).prop_map(|(one, other)| Op::Together(one, other)),
        4 => (run(), 0usize..24).prop_map(|(run, moments)| Op::Die(run, moments)),
        2 => (run(), 0usize..12).prop_map(|(run, call)| Op::Late(run, call)),
        3 => Just(Op::Expire),
        6 => rows_move(),
    ]
}

/// What bucket and org show.
struct Shown {
    /// The head and its version.
    head: Option<(String, Head)>,
    lease: Option<Lease>,
    /// Requests that send rows or let rows be processed.
    sends: usize,
}

/// What the histories of a world have in common.
#[derive(Clone, Copy, Debug)]
struct Kind {
    operation: Operation,
    api: &'static str,
    /// Each partition is a chunk.
    cut: bool,
    /// All rows were loaded before the first run.
    loaded: bool,
}

struct History {
    kind: Kind,
    world: World,
    model: Model,
    walks: BTreeMap<String, Walk>,
    /// Runs that may have sent something.
    sent: Vec<String>,
    /// The run that has sent something last: the org may still be at work on it.
    sender: Option<String>,
    /// What happened, for whoever has to understand a failure.
    told: Vec<String>,
}

impl History {
    async fn new(kind: Kind) -> Self {
        let snowflake = Config { partition_rows: Some(PARTITION), ..Config::default() };
        let mut world = World::in_memory(snowflake, OrgConfig::default(), 0.0002).await;
        world.second = Duration::from_millis(1);
        world.chunk_rows = kind.cut.then_some(PARTITION);
        world.edit_sync("customers", |sync| {
            let sync = sync
                .replace("operation: upsert", &format!("operation: {}", kind.operation.in_yaml()))
                .replace("api: bulk", &format!("api: {}", kind.api));
            format!("{sync}\nguard: {{max_removed: 100%}}\n")
        });
        let mut model = Model::new(kind.operation, &world);
        if kind.loaded {
            world.run("customers", LOADED).await.unwrap();
            model.judge(&world, &[LOADED.to_owned()]).unwrap();
            model.committed(LOADED);
        }
        Self { kind, world, model, walks: BTreeMap::new(), sent: Vec::new(), sender: None, told: Vec::new() }
    }

    async fn shown(&self) -> Shown {
        let store = &self.world.parts.store;
        let sync = run_ref("customers", LAST).sync;
        let head = store.get(&layout::head(&sync)).await.unwrap();
        let head = head.map(|object| (object.version.0, serde_json::from_slice(&object.bytes).unwrap()));
        let faults = self.world.org.faults();
        let sends = faults.count("PATCH", "*/jobs/ingest/*") + faults.count("*", "*/composite/*");
        Shown { head, lease: store.get_json(&layout::lease(&sync)).await.unwrap(), sends }
    }

    /// Carries an operation out, and judges what it has changed.
    async fn carry_out(&mut self, op: Op) -> Result<(), String> {
        let before = self.shown().await;
        let actors = match op {
            Op::Begin(run) => self.begin(RUNS[run]).await,
            Op::Step(run, calls) => return self.steps(RUNS[run], calls).await,
            Op::Twice(run) => self.together(RUNS[run], RUNS[run]).await,
            Op::Together(one, other) => self.together(RUNS[one], RUNS[other]).await,
            Op::Die(run, moments) => self.die(RUNS[run], moments).await,
            Op::Late(run, call) => self.late(RUNS[run], call).await,
            Op::Expire => {
                self.told.push("six hours pass".to_owned());
                self.world.expire_lease("customers").await;
                return Ok(());
            }
            Op::Move(what, group) => {
                self.told.push(format!("rows {group}: {what:?}"));
                self.model.carry_out(&self.world, what, group).await;
                return Ok(());
            }
        };
        self.judge(&before, &actors).await
    }

    /// A dispatch of a run that is due.
    async fn begin(&mut self, run: &str) -> Vec<String> {
        let due = run_ref("customers", run);
        let dispatched =
            dispatch::by_hand(&self.world.parts.store, &self.world.syncs, due, Mode::Run, "test").await;
        let dispatched = dispatched.unwrap();
        self.told.push(format!("{run} is due: {:?} {:?}", dispatched.start, dispatched.settle));
        let settle = dispatched.settle.into_iter().map(|left| left.run);
        for run in dispatched.start.into_iter().chain(settle) {
            self.walks.insert(run.run.to_string(), Walk::new(run));
        }
        Vec::new()
    }

    fn next(&self, run: &str) -> Option<(RunRef, Call)> {
        let walk = self.walks.get(run)?;
        Some((walk.run.clone(), walk.next()?))
    }

    fn tell(&mut self, run: &str, call: Call, outcome: &Result<walk::Answer, engine::Failure>) {
        let how = match outcome {
            Ok(_) => "well".to_owned(),
            Err(failure) => format!("{}: {failure}", failure.class),
        };
        self.told.push(format!("{run} {call:?}: {how}"));
    }

    /// The state machine goes on.
    async fn went(&mut self, run: &str, outcome: Result<walk::Answer, engine::Failure>) {
        self.world.go_on(self.walks.get_mut(run).unwrap(), outcome).await;
    }

    async fn steps(&mut self, run: &str, calls: usize) -> Result<(), String> {
        for _ in 0..calls {
            let Some((on, call)) = self.next(run) else { break };
            let before = self.shown().await;
            let outcome = walk::make(&self.world.parts, &on, call).await;
            self.tell(run, call, &outcome);
            self.went(run, outcome).await;
            self.judge(&before, &[run.to_owned()]).await?;
        }
        Ok(())
    }

    /// Two calls at the same moment: of two runs, or the same one twice.
    async fn together(&mut self, one: &str, other: &str) -> Vec<String> {
        let (Some((a, first)), Some((b, second))) = (self.next(one), self.next(other)) else {
            return Vec::new();
        };
        let parts = &self.world.parts;
        let (of_one, of_other) = tokio::join!(walk::make(parts, &a, first), walk::make(parts, &b, second));
        self.tell(one, first, &of_one);
        self.tell(other, second, &of_other);
        // Of the same call made twice, the state machine knows one.
        match one == other {
            true => self.went(one, of_other.or(of_one)).await,
            false => {
                self.went(other, of_other).await;
                self.went(one, of_one).await;
            }
        }
        vec![one.to_owned(), other.to_owned()]
    }

    async fn die(&mut self, run: &str, moments: usize) -> Vec<String> {
        let Some((on, call)) = self.next(run) else { return Vec::new() };
        let reaper = Reaper::new(End::After(moments));
        self.world.watch(Some(&reaper));
        let outcome = reaper.live(walk::make(&self.world.parts, &on, call)).await;
        match outcome {
            Some(outcome) => {
                self.world.watch(None);
                self.tell(run, call, &outcome);
                self.went(run, outcome).await;
            }
            None => {
                self.world.restart();
                let at = reaper.points().last().map(ToString::to_string);
                self.told.push(format!("{run} {call:?}: dies {}", at.unwrap_or_default()));
                self.sent.push(run.to_owned());
            }
        }
        vec![run.to_owned()]
    }

    async fn late(&mut self, run: &str, call: usize) -> Vec<String> {
        let Some(walk) = self.walks.get(run).filter(|walk| !walk.made.is_empty()) else { return Vec::new() };
        let (on, call) = (walk.run.clone(), walk.made[call % walk.made.len()]);
        let outcome = walk::make(&self.world.parts, &on, call).await;
        self.tell(run, call, &outcome);
        vec![run.to_owned()]
    }

    async fn judge(&mut self, before: &Shown, actors: &[String]) -> Result<(), String> {
        let after = self.shown().await;
        if after.sends > before.sends {
            self.judge_sending(before, &after, actors).await?;
        }
        self.judge_head(before, &after, actors).await?;
        self.judge_lease(before, &after, actors).await?;
        self.judge_writes(before, &after)
    }

    /// What was written is what the sender had to change.
    fn judge_writes(&mut self, before: &Shown, after: &Shown) -> Result<(), String> {
        let holders = [before, after].into_iter().filter_map(holder).map(str::to_owned);
        let senders: Vec<String> = holders.chain(self.sender.clone()).collect();
        self.model.judge(&self.world, &senders)?;
        if let Some(run) = committed(after).filter(|run| Some(run) != committed(before).as_ref()) {
            self.model.committed(&run);
        }
        Ok(())
    }

    async fn base(&self, run: &str) -> Option<Base> {
        self.world.parts.store.get_json(&layout::base(&run_ref("customers", run))).await.unwrap()
    }

    /// Whether a run began from the head as it was shown.
    async fn is_current(&self, run: &str, shown: &Shown) -> bool {
        let version = shown.head.as_ref().map(|(version, _)| version.clone());
        self.base(run).await.is_some_and(|base| base.version == version)
    }

    /// Only the run that holds the lease sends, and only over the head that it began from.
    async fn judge_sending(
        &mut self,
        before: &Shown,
        after: &Shown,
        actors: &[String],
    ) -> Result<(), String> {
        let holders = [holder(before), holder(after)];
        let sender = actors.iter().find(|actor| holders.contains(&Some(actor.as_str())));
        let Some(sender) = sender else { return Err(format!("{actors:?} sent without the lease")) };
        if !self.is_current(sender, before).await {
            return Err(format!("{sender} sent over another head than its own"));
        }
        self.sent.push(sender.clone());
        self.sender = Some(sender.clone());
        Ok(())
    }

    /// The head goes from the one that a run began from to the one it wrote.
    async fn judge_head(&self, before: &Shown, after: &Shown, actors: &[String]) -> Result<(), String> {
        let version = |shown: &Shown| shown.head.as_ref().map(|(version, _)| version.clone());
        if version(before) == version(after) {
            return Ok(());
        }
        let run = committed(after).ok_or("the head is gone")?;
        if !actors.contains(&run) {
            return Err(format!("{run} committed while {actors:?} were at work"));
        }
        let going = before.lease.as_ref().filter(|lease| lease.expires > jiff::Timestamp::now());
        if going
            .and(holder(before))
            .is_some_and(|holder| holder != run && !actors.iter().any(|a| a == holder))
        {
            return Err(format!("{run} committed while {:?} had the lease", holder(before)));
        }
        if !self.is_current(&run, before).await {
            return Err(format!("{run} committed over another head than its own"));
        }
        Ok(())
    }

    /// A lease changes hands when it is given back, or has ended; never over something that is not settled.
    async fn judge_lease(&self, before: &Shown, after: &Shown, actors: &[String]) -> Result<(), String> {
        let (from, to) = (holder(before), holder(after));
        let acts = |run: &str| actors.iter().any(|actor| actor == run);
        if let Some(to) = to.filter(|to| from != Some(to)) {
            if !acts(to) {
                return Err(format!("{to} got the lease while {actors:?} were at work"));
            }
            let unsettled = unsettled(before).filter(|left| committed(before).as_deref() != Some(left));
            if unsettled.is_some_and(|left| left != to && !acts(left)) {
                return Err(format!("{to} got the lease before {unsettled:?} was settled"));
            }
        }
        if let Some(from) = from.filter(|from| to != Some(from) && !acts(from)) {
            let ended = before.lease.as_ref().is_some_and(|lease| lease.expires < jiff::Timestamp::now());
            if !ended {
                return Err(format!("the lease of {from} was taken"));
            }
            let has_sent = self.sent_by_request(from).await;
            if has_sent && committed(before).as_deref() != Some(from) && self.is_current(from, before).await {
                return Err(format!("the lease of {from} was taken before it was settled"));
            }
        }
        if let Some(left) = unsettled(before).filter(|left| unsettled(after) != Some(left))
            && committed(after).as_deref() != Some(left)
        {
            return Err(format!("{left} was forgotten before it was settled"));
        }
        Ok(())
    }

    /// Whether rows of a run were on their way: by the requests that were seen, or because it died near one.
    async fn sent_by_request(&self, run: &str) -> bool {
        let limits = layout::limits(&run_ref("customers", run), 1);
        self.sent.iter().any(|sent| sent == run) && self.world.parts.store.exists(&limits).await.unwrap()
    }

    /// The next run that is due brings everything to a good end, and the one after it finds nothing to do.
    async fn bring_to_an_end(&mut self) -> Result<(), String> {
        self.world.expire_lease("customers").await;
        for _ in 0..=RUNS.len() {
            let waiting: Vec<String> = self.walks.keys().cloned().collect();
            self.walks.clear();
            self.begin(LAST).await;
            let Some(run) = self.walks.keys().next().cloned() else {
                return Err(format!("{LAST} waits for ever; {waiting:?} were on their way"));
            };
            self.steps(&run, MOST_CALLS).await?;
            if run == LAST {
                break;
            }
        }
        self.judge_end().await
    }

    async fn judge_end(&self) -> Result<(), String> {
        let last: Option<Report> = self.report(LAST).await;
        let last = last.ok_or("the last run did not come to its end")?;
        if last.verdict != Verdict::Green {
            return Err(format!("the last run: {:?} {:?}", last.verdict, last.counts));
        }
        let rows = self.model.judge_end(&self.world)?;
        // Whoever only inserts does not follow what changes.
        if self.kind.operation != Operation::Insert {
            assert_equal(&self.world.snowflake, &self.world.org, CUSTOMER, "Account", &CUSTOMERS);
        }
        for run in RUNS {
            if self.report(run).await.is_some_and(|report| !report.counts.balance(Mode::Run)) {
                return Err(format!("the counts of {run} do not add up"));
            }
        }
        self.world.run("customers", AFTER).await.map_err(|failure| format!("the run after: {failure}"))?;
        let counts = self.report(AFTER).await.ok_or("no report of the run after")?.counts;
        match (counts.unchanged, counts.sent) == (rows, 0) {
            true => Ok(()),
            false => Err(format!("the run after: {counts:?}")),
        }
    }

    async fn report(&self, run: &str) -> Option<Report> {
        self.world.parts.store.get_json(&layout::report_json(&run_ref("customers", run))).await.unwrap()
    }
}

fn holder(shown: &Shown) -> Option<&str> {
    shown.lease.as_ref()?.holder.as_ref().map(engine::RunId::as_str)
}

fn unsettled(shown: &Shown) -> Option<&str> {
    shown.lease.as_ref()?.unsettled.as_ref().map(engine::RunId::as_str)
}

fn committed(shown: &Shown) -> Option<String> {
    shown.head.as_ref()?.1.run.as_ref().map(ToString::to_string)
}

/// Carries a history out, and counts its steps and what was written.
async fn carry_out(kind: Kind, ops: &[Op]) -> Result<(usize, [u64; 3]), String> {
    let mut history = History::new(kind).await;
    for op in ops {
        if let Err(why) = Box::pin(history.carry_out(*op)).await {
            return Err(format!("{why}\n{}", history.told.join("\n")));
        }
    }
    let ended = Box::pin(history.bring_to_an_end()).await;
    let writes = history.world.org.write_counts("Account");
    ended.map(|()| (history.told.len(), writes)).map_err(|why| format!("{why}\n{}", history.told.join("\n")))
}

fn runner() -> TestRunner {
    let wanted = std::env::var("HISTORIES").ok().and_then(|cases| cases.parse().ok());
    let cases = wanted.unwrap_or(CASES);
    let config = ProptestConfig {
        cases,
        max_shrink_iters: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    match wanted {
        Some(_) => TestRunner::new(config),
        None => TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha)),
    }
}

fn kind() -> impl Strategy<Value = Kind> {
    let operation = prop_oneof![
        3 => Just(Operation::Insert),
        2 => Just(Operation::Upsert),
        3 => Just(Operation::Delete),
        2 => Just(Operation::Clear),
    ];
    let kind = |(operation, api, cut, loaded)| Kind { operation, api, cut, loaded };
    (operation, prop_oneof![Just("bulk"), Just("rest")], any::<bool>(), any::<bool>()).prop_map(kind)
}

#[test]
fn whatever_runs_do_to_each_other_each_change_is_written_once() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let done = RefCell::new((0, [0; 3]));
    let histories = (kind(), prop::collection::vec(op(), 1..20));
    let outcome = runner().run(&histories, |(kind, ops)| {
        let ops: Vec<Op> = [Op::Begin(0)].into_iter().chain(ops).collect();
        match runtime.block_on(Box::pin(carry_out(kind, &ops))) {
            Ok((steps, writes)) => {
                let mut done = done.borrow_mut();
                done.0 += steps;
                done.1.iter_mut().zip(writes).for_each(|(all, more)| *all += more);
            }
            Err(why) => return Err(TestCaseError::fail(why)),
        }
        Ok(())
    });
    let (steps, [created, updated, deleted]) = done.into_inner();
    println!("{steps} steps of runs; {created} records created, {updated} updated, {deleted} deleted");
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}

/// Two whole drivers at the same moment, each with a run of its own: one goes, the other is refused or comes later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_runs_that_start_at_the_same_moment_do_not_overlap() {
    for (operation, api) in [
        (Operation::Upsert, "bulk"),
        (Operation::Upsert, "rest"),
        (Operation::Insert, "bulk"),
        (Operation::Insert, "rest"),
    ] {
        let mut history = History::new(Kind { operation, api, cut: false, loaded: false }).await;
        let world = &history.world;
        let first = world.begin("customers", RUNS[0], Mode::Run).await.unwrap();
        let second = world.begin("customers", RUNS[1], Mode::Run).await.unwrap();
        let (one, other) = tokio::join!(world.drive(first), world.drive(second));
        assert!(one.is_ok() || other.is_ok(), "{one:?} {other:?}");
        for refused in [one, other].into_iter().filter_map(Result::err) {
            assert_eq!(refused.class, Class::Contention, "{operation:?} {api}: {refused}");
        }
        history.model.judge(&history.world, &RUNS.map(str::to_owned)).unwrap();
        Box::pin(history.bring_to_an_end()).await.unwrap();
    }
}

/// Outlived by its lease, a run that finds nothing to send ends while another sends: it would settle nothing of that, and
/// leave it to nobody.
#[tokio::test]
async fn a_run_with_nothing_to_send_does_not_commit_beside_one_that_sends() {
    for (cut, calls) in [(false, 4), (true, 6)] {
        let kind = Kind { operation: Operation::Insert, api: "bulk", cut, loaded: false };
        let ops = [
            Op::Move(Move::Leave, 1),
            Op::Begin(0),
            Op::Step(0, MOST_CALLS),
            Op::Begin(1),
            Op::Step(1, calls),
            Op::Expire,
            Op::Move(Move::Return, 1),
            Op::Begin(2),
            Op::Step(2, calls + 1),
            Op::Step(1, MOST_CALLS),
        ];
        let (_, writes) = carry_out(kind, &ops).await.unwrap_or_else(|why| panic!("{why}"));
        assert_eq!(writes, [30, 0, 0]);
    }
}

//! The process dies: before and after every write to the bucket, and before and after every call of a vendor.
//!
//! The moments are found by watching a run that nothing disturbs. Each is then the end of a process in a world of its
//! own. In one variant the stage is tried again, as the state machine would; in the other nobody does, the lease ends,
//! and the next run takes over. Afterwards bucket and org are what they are after an undisturbed run, and the org's audit
//! log shows each change written once. After a rebuild of the baseline the next run leaves what it would have left, had
//! nothing been lost.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use std::{
    collections::{BTreeMap, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex},
    time::Instant,
};

use e2e::{
    reaper::{End, Point, Reaper},
    walk::{self, Answer, Walk},
    world::{World, run_ref},
};
use engine::{
    Class,
    document::{Head, Mode},
    layout,
};
use store::Moment;

mod state;
mod way;

use state::State;
use way::{WAYS, Way};

const FIRST: &str = "20260101T000000Z";
const SECOND: &str = "20260101T010000Z";
const THIRD: &str = "20260101T020000Z";

/// Cells at work at one time: now and then each waits.
const SIDE_BY_SIDE: usize = 4;

/// What follows a death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// The stage is tried again.
    TriedAgain,
    /// Nobody tries again: the lease ends, and the next run takes over.
    TakenOver,
}

/// One death, and what follows.
struct Cell {
    way: Way,
    point: Point,
    then: Then,
    expected: Arc<Expected>,
}

/// What is left when nothing disturbs.
struct Expected {
    /// After the way itself.
    state: State,
    /// After a run that had the whole baseline: what a rebuild and the next run leave is the same.
    unharmed: Option<(Way, State)>,
}

impl Cell {
    async fn carry_out(&self) {
        let world = self.dead().await;
        match self.then {
            Then::TriedAgain => self.tried_again(&world).await,
            Then::TakenOver => self.taken_over(&world).await,
        }
        if let Some((way, unharmed)) = &self.expected.unharmed {
            way.run(&world, THIRD).await.unwrap();
            State::of(&world, *way, THIRD).await.assert_outcome(unharmed);
        }
    }

    /// A world in which the first run has died.
    async fn dead(&self) -> World {
        let mut world = self.way.world().await;
        let reaper = Reaper::new(End::At(self.point.clone()));
        world.watch(Some(&reaper));
        let came_to_its_end = reaper.live(self.way.run(&world, FIRST)).await.is_some();
        // How often it asks whether something is done is not quite the same each time.
        assert!(!came_to_its_end || self.point.what.starts_with("GET "), "it did not come to {}", self.point);
        world.restart();
        world
    }

    async fn tried_again(&self, world: &World) {
        self.way.run(world, FIRST).await.unwrap();
        State::of(world, self.way, FIRST).await.assert(&self.expected.state);
    }

    async fn taken_over(&self, world: &World) {
        world.expire_lease("customers").await;
        let ended = self.way.run(world, SECOND).await;
        if self.has_rebuilt(world).await {
            assert_eq!(ended.unwrap_err().class, Class::Configuration, "nothing is left to rebuild");
            return;
        }
        ended.unwrap();
        let state = State::of(world, self.way, SECOND).await;
        state.assert_outcome(&self.expected.state);
        if self.way.mode == Mode::Run {
            state.assert_sent_the_rest(world, SECOND).await;
            self.look_again(world, &state).await;
        }
    }

    /// Whether the rebuild of what was lost has died only after it had committed.
    async fn has_rebuilt(&self, world: &World) -> bool {
        let first = run_ref("customers", FIRST);
        self.way.mode == Mode::Rebuild
            && world.document::<Head>(&layout::head(&first.sync)).await.run == Some(first.run)
    }

    /// The baseline is as expected; now and then somebody looks whether that is all there is to it.
    async fn look_again(&self, world: &World, before: &State) {
        if self.point.nth > 1 || self.point.what.contains("/jobs/") {
            self.way.run(world, THIRD).await.unwrap();
            State::of(world, self.way, THIRD).await.assert_idle(before);
        }
    }
}

/// What an undisturbed run does, and what it leaves.
async fn undisturbed(way: Way) -> (Vec<Point>, State) {
    let mut world = way.world().await;
    let reaper = Reaper::new(End::Never);
    world.watch(Some(&reaper));
    reaper.live(way.run(&world, FIRST)).await.expect("nothing ends it").unwrap();
    world.watch(None);
    let mut points = reaper.points();
    points.retain(|point| !is_another_look(point));
    (points, State::of(&world, way, FIRST).await)
}

/// How often something is asked for until it is done is a matter of time.
fn is_another_look(point: &Point) -> bool {
    point.what.starts_with("GET ") && point.nth > 2
}

/// The deaths of a way. Just after one thing and just before the next is the same to whoever comes later: once is enough
/// where the next run takes over, or another way goes through the same. Nobody takes over a plan.
fn cells(way: Way, points: &[Point], expected: Expected) -> Vec<Cell> {
    let expected = Arc::new(expected);
    let cell = |point: &Point, then| Cell { way, point: point.clone(), then, expected: expected.clone() };
    let again = points.iter().filter(|point| !way.clears() || point.moment == Moment::After);
    let over = points.iter().filter(|point| way.mode != Mode::Plan && point.moment == Moment::After);
    let (first, step) = way.taken_over_at();
    let over = over.skip(first).step_by(step).map(|point| cell(point, Then::TakenOver));
    again.map(|point| cell(point, Then::TriedAgain)).chain(over).collect()
}

/// Carries out cells side by side; says which went wrong, and why.
fn carry_out(cells: Vec<Cell>) -> Vec<String> {
    let (queue, wrong) = (Mutex::new(VecDeque::from(cells)), Mutex::new(Vec::new()));
    let work = || {
        let runtime = runtime();
        let next = || queue.lock().unwrap().pop_front();
        while let Some(cell) = next() {
            let ended = catch_unwind(AssertUnwindSafe(|| runtime.block_on(Box::pin(cell.carry_out()))));
            let Err(panic) = ended else { continue };
            let why = panic.downcast_ref::<String>().cloned();
            let why = why.or_else(|| panic.downcast_ref::<&str>().map(|why| (*why).to_owned()));
            let Cell { way, point, then, .. } = cell;
            wrong.lock().unwrap().push(format!("{way}, {then:?}, {point}: {}", why.unwrap_or_default()));
        }
    };
    std::thread::scope(|scope| (0..SIDE_BY_SIDE).for_each(|_| drop(scope.spawn(work))));
    wrong.into_inner().unwrap()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn a_run_may_die_at_any_moment() {
    let (began, runtime, mut all) = (Instant::now(), runtime(), Vec::new());
    println!("{:<40}{:>12}{:>12}", "", "tried again", "taken over");
    let tell = |what: &str, cells: &[Cell]| {
        let count = |then| cells.iter().filter(|cell| cell.then == then).count();
        println!("{what:<40}{:>12}{:>12}", count(Then::TriedAgain), count(Then::TakenOver));
    };
    for way in WAYS {
        let undisturbed = |way| runtime.block_on(Box::pin(undisturbed(way)));
        let (points, state) = undisturbed(way);
        let unharmed = way.unharmed().map(|way| (way, undisturbed(way).1));
        let cells = cells(way, &points, Expected { state, unharmed });
        tell(&way.to_string(), &cells);
        all.extend(cells);
    }
    tell("in all", &all);
    let wrong = carry_out(all);
    println!("{:.0?}", began.elapsed());
    assert!(wrong.is_empty(), "{} went wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// Every call of every stage is made twice in a row, and the second leaves everything as it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_stage_may_run_twice() {
    for way in WAYS {
        let (_, expected) = undisturbed(way).await;
        let world = way.world().await;
        let mut walk = Walk::new(way.begin(&world, FIRST).await.unwrap());
        while let Some(call) = walk.next() {
            let first = walk::make(&world.parts, &walk.run, call).await;
            let once = whole_bucket(&world).await;
            let second = walk::make(&world.parts, &walk.run, call).await;
            if !matches!(first, Ok(Answer::Again)) {
                assert!(
                    whole_bucket(&world).await == once,
                    "{way}: {call:?} ran twice and left something else"
                );
            }
            world.go_on(&mut walk, second).await;
        }
        State::of(&world, way, FIRST).await.assert(&expected);
    }
}

/// All objects, but for the notes of the gate: it counts its visits, so that a run in which nothing happens ends.
async fn whole_bucket(world: &World) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for key in world.parts.store.list("").await.unwrap().into_iter().filter(|key| !key.contains(".gate/")) {
        let bytes = world.parts.store.get(&key).await.unwrap().unwrap().bytes;
        all.insert(key, bytes.to_vec());
    }
    all
}

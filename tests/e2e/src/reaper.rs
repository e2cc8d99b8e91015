//! Ends a process at any moment: before and after every write to the bucket and every call of a vendor.
//!
//! The moments are found, not listed: the store and both stand-ins tell of what reaches them. A first run is only
//! watched; in the next, whoever reaches the chosen moment goes no further, everything else of that process is stopped
//! too, and the test drops what is left of it. Nothing that was in memory survives that.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
};

use emulators::faults::{Hook, Stage};
use engine::Failure;
use store::{Moment, Watch};
use tokio::sync::watch;

/// A moment in the life of a process: the n-th time that something happens, just before or just after it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point {
    /// What happens.
    pub what: String,
    /// Which time, from 1.
    pub nth: u32,
    /// On which side of it.
    pub moment: Moment,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = if self.moment == Moment::Before { "before" } else { "after" };
        write!(f, "{side} {} #{}", self.what, self.nth)
    }
}

/// When a process ends.
#[derive(Clone, Debug)]
pub enum End {
    /// By itself.
    Never,
    /// At a moment of its life.
    At(Point),
    /// At so many moments from its beginning.
    After(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Alive,
    /// It goes no further, and is not gone yet.
    Dying,
    Gone,
}

/// Watches one process, and ends it when its time has come. Clones watch the same process.
#[derive(Clone, Debug)]
pub struct Reaper(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    end: End,
    points: Mutex<Vec<Point>>,
    life: watch::Sender<Life>,
}

impl Reaper {
    /// For a process that is about to begin.
    #[must_use]
    pub fn new(end: End) -> Self {
        Self(Arc::new(Inner { end, points: Mutex::default(), life: watch::Sender::new(Life::Alive) }))
    }

    /// The moments of the process so far.
    #[must_use]
    pub fn points(&self) -> Vec<Point> {
        self.points_so_far().clone()
    }

    /// What is to be told to a stand-in.
    #[must_use]
    pub fn hook(&self) -> Hook {
        let reaper = self.clone();
        Arc::new(move |method, path, stage| {
            let moment = if stage == Stage::Before { Moment::Before } else { Moment::After };
            let dead = reaper.reach(format!("{method} {path}"), moment);
            Box::pin(async move {
                if dead {
                    std::future::pending::<()>().await;
                }
            })
        })
    }

    /// Carries work out until it is done, or its process ends: none then.
    pub async fn live<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut life = self.0.life.subscribe();
        let done = {
            let work = std::pin::pin!(work);
            tokio::select! {
                biased;
                _ = life.wait_for(|life| *life != Life::Alive) => None,
                done = work => Some(done),
            }
        };
        // Threads that the work has left behind are told only now: nobody is there any more to hear what they say.
        self.0.life.send_replace(Life::Gone);
        done
    }

    /// Notes a moment; true when the process goes no further.
    fn reach(&self, what: String, moment: Moment) -> bool {
        let mut points = self.points_so_far();
        if *self.0.life.borrow() != Life::Alive {
            return true;
        }
        let before = points.iter().filter(|point| point.what == what && point.moment == moment).count();
        let point = Point { what, nth: u32::try_from(before).unwrap_or(u32::MAX) + 1, moment };
        let ends = match &self.0.end {
            End::Never => false,
            End::At(last) => point == *last,
            End::After(count) => points.len() == *count,
        };
        points.push(point);
        if ends {
            self.0.life.send_replace(Life::Dying);
        }
        ends
    }

    fn points_so_far(&self) -> MutexGuard<'_, Vec<Point>> {
        self.0.points.lock().expect("no holder of the points panics")
    }
}

impl Watch for Reaper {
    fn reach(&self, key: &str, moment: Moment) -> Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>> {
        let dead = Reaper::reach(self, format!("write {key}"), moment);
        let mut life = self.0.life.subscribe();
        Box::pin(async move {
            if !dead {
                return Ok(());
            }
            // A thread that waits here must come to an end some day; a task is dropped before.
            let _ = life.wait_for(|life| *life == Life::Gone).await;
            Err(Failure::transient("the process is dead"))
        })
    }
}

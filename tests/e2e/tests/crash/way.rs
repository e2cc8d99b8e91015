//! The ways in which rows go, and a world for each.

use std::{fmt, fs, time::Duration};

use e2e::{
    walk::{self, Call, Walk},
    world::{World, run_ref},
};
use emulators::{
    salesforce::{OrgConfig, Pace},
    snowflake::Config,
};
use engine::{
    Failure, RunRef,
    document::{Head, Mode},
    layout,
    report::Verdict,
};

use crate::FIRST;

/// The run that loads all rows before the model changes; no process dies in it.
pub const LOADED: &str = "20251231T220000Z";

/// The run that sends what has changed before a rebuild, and is not settled.
const SENT: &str = "20251231T230000Z";

const CUSTOMER: &str = "SNOWFLAKE_SAMPLE_DATA.TPCH_SF1.CUSTOMER";

/// How the rows go.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    pub mode: Mode,
    /// The first run has stopped at its plan, and a person lets that be sent.
    applied: bool,
    operation: &'static str,
    /// What a mirror does with the records of rows that have left.
    on_removed: Option<&'static str>,
    api: &'static str,
    /// Rows of the first model, and the scale of TPC-H that has so many customers.
    rows: u64,
    scale: f64,
    /// How many rows leave the model, and how many change, when all are loaded.
    leave: u32,
    change: u32,
    /// Before a rebuild all that has changed is sent, and cannot be settled.
    sent: bool,
    /// Each half of the model is a chunk.
    halves: bool,
}

/// By REST there are so many rows of each kind that it takes two calls.
pub const WAYS: [Way; 13] = [
    way("upsert", "bulk", (150, 0.001)),
    way("upsert", "rest", (300, 0.002)),
    way("insert", "bulk", (150, 0.001)),
    way("insert", "rest", (300, 0.002)),
    mirror("delete", "bulk"),
    mirror("delete", "rest"),
    mirror("{clear: [Phone, Description]}", "bulk"),
    mirror("{clear: [Phone, Description]}", "rest"),
    Way { mode: Mode::Plan, ..mirror("delete", "bulk") },
    Way { applied: true, halves: true, ..mirror("delete", "bulk") },
    rebuild(way("upsert", "bulk", (150, 0.001))),
    Way { sent: true, ..rebuild(mirror("delete", "bulk")) },
    Way { mode: Mode::RebuildAll, sent: true, ..rebuild(way("upsert", "bulk", (150, 0.001))) },
];

const fn way(operation: &'static str, api: &'static str, (rows, scale): (u64, f64)) -> Way {
    Way {
        mode: Mode::Run,
        applied: false,
        operation,
        on_removed: None,
        api,
        rows,
        scale,
        leave: 0,
        change: 0,
        sent: false,
        halves: false,
    }
}

const fn mirror(on_removed: &'static str, api: &'static str) -> Way {
    let rest = api.as_bytes()[0] == b'r';
    let (size, leave, change) = if rest { ((450, 0.003), 201, 201) } else { ((150, 0.001), 9, 40) };
    Way { on_removed: Some(on_removed), leave, change, ..way("mirror", api, size) }
}

const fn rebuild(way: Way) -> Way {
    Way { mode: Mode::Rebuild, leave: 9, change: 40, halves: true, ..way }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of_removed = self.on_removed.map(|what| if what == "delete" { ", delete" } else { ", clear" });
        let mode = match (self.mode, self.applied) {
            (Mode::Plan, _) => ", plan only",
            (Mode::Rebuild, _) => ", rebuild",
            (Mode::RebuildAll, _) => ", rebuild of all",
            (Mode::Run, true) => ", applied",
            (Mode::Run, false) => "",
        };
        let sent = if self.sent { ", sent" } else { "" };
        write!(f, "{} {}{}{sent}{mode}", self.operation, self.api, of_removed.unwrap_or_default())
    }
}

impl Way {
    /// Whether it is the mirror that clears fields: one that deletes goes through the same moments.
    pub fn clears(self) -> bool {
        self.on_removed.is_some_and(|what| what != "delete")
    }

    /// Of a rebuild: the same rows, with a baseline of which nothing is lost.
    pub fn unharmed(self) -> Option<Self> {
        self.mode.asks().then_some(Self { mode: Mode::Run, sent: false, ..self })
    }

    /// The first moment at which the next run takes over, and every how-many-th after it. That takes long, so only an
    /// insert, of which the org would take a second, and what takes over itself have all of them; the two mirrors of an
    /// interface share theirs.
    pub fn taken_over_at(self) -> (usize, usize) {
        if self.operation == "insert" || self.sent { (0, 1) } else { (usize::from(self.clears()), 2) }
    }

    /// A world that is ready for the run that is to die.
    pub async fn world(self) -> World {
        let partition_rows = Some(self.rows / 2);
        let snowflake = Config { partition_rows, polls_before_done: 1, seed: 7, ..Config::default() };
        let org = OrgConfig { running: Pace::polls(1), ..OrgConfig::default() };
        let mut world = World::in_memory(snowflake, org, self.scale).await;
        world.second = Duration::from_millis(1);
        world.chunk_rows = partition_rows.filter(|_| self.halves);
        let on_removed = self.on_removed.map(|what| format!("\n  on_removed: {what}")).unwrap_or_default();
        world.edit_sync("customers", |sync| {
            let sync = sync
                .replace("operation: upsert", &format!("operation: {}{on_removed}", self.operation))
                .replace("api: bulk", &format!("api: {}", self.api));
            format!("{sync}\nguard: {{max_removed: 100%}}\n")
        });
        self.prepare(&world).await;
        world
    }

    /// What happens before the run that is to die: all rows are loaded, the model changes, a plan is made that is to be
    /// applied, and a part of the baseline is lost that is to be rebuilt.
    async fn prepare(self, world: &World) {
        if self.leave > 0 {
            assert_eq!(world.run("customers", LOADED).await.unwrap().verdict, Verdict::Green);
            self.change_model(world);
        }
        if self.applied {
            let run = world.begin("customers", FIRST, Mode::Plan).await.unwrap();
            world.drive(run).await.unwrap();
        }
        if self.sent {
            send(world).await;
        }
        self.harm(world).await;
    }

    /// Some rows leave, some change, some come.
    fn change_model(self, world: &World) {
        let (gone, changed) = (self.leave, self.leave + self.change);
        for statement in [
            format!("DELETE FROM {CUSTOMER} WHERE C_CUSTKEY <= {gone}"),
            format!("UPDATE {CUSTOMER} SET C_NAME = 'new' WHERE C_CUSTKEY <= {changed}"),
            format!(
                "INSERT INTO {CUSTOMER} SELECT C_CUSTKEY + 1000, C_NAME, C_ADDRESS, C_NATIONKEY, C_PHONE, \
                 C_ACCTBAL, C_MKTSEGMENT, C_COMMENT FROM {CUSTOMER} WHERE C_CUSTKEY <= {}",
                gone + 5
            ),
        ] {
            world.snowflake.execute(&statement).unwrap();
        }
    }

    /// The baseline loses its second segment, or its head, as far as it is to be rebuilt.
    async fn harm(self, world: &World) {
        let head = layout::head(&run_ref("customers", LOADED).sync);
        match self.mode {
            Mode::Rebuild => {
                let Head { segments, .. } = world.document(&head).await;
                fs::remove_file(world.bucket().join(&segments[1].object)).unwrap();
            }
            Mode::RebuildAll => fs::write(world.bucket().join(head), "{").unwrap(),
            Mode::Run | Mode::Plan => {}
        }
    }

    /// Begins a run, or lets the plan of the first be sent.
    pub async fn begin(self, world: &World, run: &str) -> Result<RunRef, Failure> {
        if self.applied && run == FIRST {
            let run = run_ref("customers", run);
            dispatch::apply(&world.parts.store, run.clone(), "test").await?;
            return Ok(run);
        }
        world.begin("customers", run, self.mode).await
    }

    /// Begins a run, and takes it to its end.
    pub async fn run(self, world: &World, run: &str) -> Result<(), Failure> {
        let run = self.begin(world, run).await?;
        world.drive(run).await.map(drop)
    }
}

/// A run sends what has changed, and dies before any of it is settled.
async fn send(world: &World) {
    let mut walk = Walk::new(world.begin("customers", SENT, Mode::Run).await.unwrap());
    while let Some(call) = walk.next().filter(|call| !matches!(call, Call::Settle(_))) {
        let outcome = walk::make(&world.parts, &walk.run, call).await;
        assert!(outcome.is_ok(), "{call:?}: {outcome:?}");
        world.go_on(&mut walk, outcome).await;
    }
    world.expire_lease("customers").await;
}

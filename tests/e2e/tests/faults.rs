//! Every call of a whole run, each of them broken in every way.
//!
//! The calls are learned from undisturbed runs: upserts and inserts, in bulk and by REST. Each cell of the matrix is a
//! world of its own with one fault in it; afterwards the org equals the warehouse, and its audit log shows that each
//! row was written exactly once.
//!
//! It is done twice: with clients that try again by themselves, and with clients that do not, so that the
//! same faults reach the stages.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]
#![expect(clippy::print_stdout, reason = "the matrix is printed")]

use std::{collections::BTreeMap, fmt, time::Instant};

use e2e::{
    compare::{CUSTOMERS, assert_equal},
    world::{World, run_ref},
};
use emulators::{
    faults::{Action, Answer, Rule, Script},
    salesforce::{OrgConfig, Pace},
    snowflake::Config,
};
use engine::{
    Failure,
    document::{Head, Lease, Mode},
    layout,
    report::{Report, Verdict},
};
use futures_util::{FutureExt, StreamExt, stream};
use http_client::RetryPolicy;
use store::Store;

const FIRST: &str = "20260101T000000Z";
const SECOND: &str = "20260101T010000Z";
const CUSTOMER: &str = "SNOWFLAKE_SAMPLE_DATA.TPCH_SF1.CUSTOMER";
const ROWS: u64 = 150;

/// Cells at work at one time: each waits more than it computes.
const SIDE_BY_SIDE: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Vendor {
    Snowflake,
    Salesforce,
}

/// What is done with the rows, and by which interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Way {
    operation: &'static str,
    api: &'static str,
}

impl Way {
    const ALL: [Self; 4] = [
        Self { operation: "upsert", api: "bulk" },
        Self { operation: "upsert", api: "rest" },
        Self { operation: "insert", api: "bulk" },
        Self { operation: "insert", api: "rest" },
    ];

    /// The customers sync, going this way.
    fn edit(self, sync: String) -> String {
        sync.replace("operation: upsert", &format!("operation: {}", self.operation))
            .replace("api: bulk", &format!("api: {}", self.api))
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.operation, self.api)
    }
}

/// A call of an undisturbed run, and which of its occurrences.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Call {
    vendor: Vendor,
    method: String,
    /// The path, with its query where that tells calls apart.
    path: String,
    nth: u32,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.trim_start_matches("/services/data/v66.0");
        let parts: Vec<_> = path.split('/').map(shape).collect();
        let path = parts.join("/");
        let path = path.split("?q=").next().unwrap_or_default();
        write!(f, "{:?} {} {path} #{}", self.vendor, self.method, self.nth)
    }
}

/// An id of a vendor becomes `{id}`; a query is kept.
fn shape(part: &str) -> String {
    let (name, query) =
        part.split_once('?').map_or((part, String::new()), |(name, query)| (name, format!("?{query}")));
    let is_id = name.starts_with("750") || (name.len() == 36 && name.matches('-').count() == 4);
    format!("{}{query}", if is_id { "{id}" } else { name })
}

/// A way to break a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    DropBefore,
    DropAfter,
    Error500Before,
    Page503After,
    TooMany429,
    QuotaBefore,
    Truncated,
    Shortened,
    PageInstead,
    HeaderAlone,
}

impl Fault {
    const ALL: [Self; 10] = [
        Self::DropBefore,
        Self::DropAfter,
        Self::Error500Before,
        Self::Page503After,
        Self::TooMany429,
        Self::QuotaBefore,
        Self::Truncated,
        Self::Shortened,
        Self::PageInstead,
        Self::HeaderAlone,
    ];

    /// What it does to a call; none when it makes no sense there.
    fn action(self, call: &Call) -> Option<Action> {
        let page = "<html><body>Service Unavailable</body></html>";
        let salesforce = call.vendor == Vendor::Salesforce;
        let says = |code: &str, text: &str| match call.vendor {
            Vendor::Snowflake => format!(r#"{{"code":"{code}","message":"{text}"}}"#),
            Vendor::Salesforce => format!(r#"[{{"errorCode":"{code}","message":"{text}"}}]"#),
        };
        let pick = |snowflake: &'static str, org: &'static str| if salesforce { org } else { snowflake };
        Some(match self {
            Self::DropBefore => Action::DropBefore,
            Self::DropAfter => Action::DropAfter,
            Self::Error500Before => {
                Action::Respond(Answer::new(500, says(pick("000603", "UNKNOWN_EXCEPTION"), "trouble")))
            }
            Self::Page503After => Action::RespondAfter(Answer::new(503, page)),
            Self::TooMany429 => {
                Action::Respond(Answer::new(429, says(pick("390505", "TOO_MANY_REQUESTS"), "slow down")))
            }
            Self::QuotaBefore if salesforce && !call.path.ends_with("/token") => Action::Respond(
                Answer::new(403, says("REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")),
            ),
            Self::QuotaBefore => return None,
            Self::Truncated if call.method != "PUT" => Action::Truncate(40),
            Self::Truncated => return None,
            Self::Shortened if call.is_download() => Action::Shorten(200),
            Self::Shortened => return None,
            Self::PageInstead if call.method == "GET" => Action::Respond(Answer::new(200, page)),
            Self::PageInstead => return None,
            Self::HeaderAlone if call.path.ends_with("/successfulResults") => {
                Action::Respond(Answer::new(200, "\"sf__Id\",\"sf__Created\",\"Customer_Key__c\"\n"))
            }
            Self::HeaderAlone => return None,
        })
    }
}

impl Call {
    /// Rows come back: a partition or a result file.
    fn is_download(&self) -> bool {
        self.path.contains("?partition=") || self.path.ends_with("Results")
    }

    fn rule(&self, action: Action) -> Rule {
        Rule::on(&self.method, &self.path, action).nth(self.nth)
    }
}

/// How often a client sends a request by itself.
fn patience(tries: usize) -> RetryPolicy {
    RetryPolicy { tries, ..RetryPolicy::immediate() }
}

async fn world(way: Way, tries: usize) -> World {
    let snowflake = Config { partition_rows: Some(60), polls_before_done: 1, seed: 7, ..Config::default() };
    let org = OrgConfig { running: Pace::polls(2), ..OrgConfig::default() };
    let mut world = World::scaled(snowflake, org, 0.001).await;
    world.parts.store = Store::scratch(world.bucket());
    let secret = serde_json::from_str(&world.snowflake.secret_json()).unwrap();
    world.parts.snowflake = snowflake::Client::with_retry(secret, patience(tries)).unwrap();
    let secret = serde_json::from_str(&world.org.secret_json()).unwrap();
    world.parts.salesforce = salesforce::Client::with_retry(secret, patience(tries)).unwrap();
    world.second = std::time::Duration::from_millis(1);
    world.edit_sync("customers", |sync| way.edit(sync));
    world
}

fn script(world: &World, vendor: Vendor) -> &Script {
    match vendor {
        Vendor::Snowflake => world.snowflake.faults(),
        Vendor::Salesforce => world.org.faults(),
    }
}

/// The calls of a run that nothing disturbs: each with its first occurrence, and its second where there is one.
async fn calls(way: Way) -> Vec<Call> {
    let world = world(way, 1).await;
    assert_eq!(world.run("customers", FIRST).await.unwrap().verdict, Verdict::Green);
    let mut counts: BTreeMap<(Vendor, String, String), u32> = BTreeMap::new();
    for vendor in [Vendor::Snowflake, Vendor::Salesforce] {
        for seen in script(&world, vendor).seen() {
            let (path, query) = seen.path.split_once('?').unwrap_or((&seen.path, ""));
            let path = if query.starts_with("partition=") { seen.path.clone() } else { path.to_owned() };
            *counts.entry((vendor, seen.method, path)).or_default() += 1;
        }
    }
    let occurrences = |((vendor, method, path), count): ((Vendor, String, String), u32)| {
        (1..=count.min(2)).map(move |nth| Call { vendor, method: method.clone(), path: path.clone(), nth })
    };
    counts.into_iter().flat_map(occurrences).collect()
}

/// How a cell went.
struct Cell {
    way: Way,
    call: Call,
    fault: Fault,
    tries: usize,
    went: Result<Went, String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Went {
    /// The run ended well by itself.
    Well,
    /// It failed in the open, and ended well when it was carried on.
    CarriedOn(String),
}

async fn cell(way: Way, call: Call, fault: Fault, action: Action, tries: usize) -> Cell {
    let trial = std::panic::AssertUnwindSafe(trial(way, &call, action, tries)).catch_unwind().await;
    let went = match trial {
        Ok(Ok(went)) => Ok(went),
        Ok(Err(failure)) => Err(format!("{}: {failure}", failure.class)),
        Err(panic) => Err(panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "a panic".to_owned())),
    };
    Cell { way, call, fault, tries, went }
}

async fn trial(way: Way, call: &Call, action: Action, tries: usize) -> Result<Went, Failure> {
    let world = world(way, tries).await;
    script(&world, call.vendor).add(call.rule(action));
    let run = world.begin("customers", FIRST, Mode::Run).await?;
    let (output, went) = match world.drive(run.clone()).await {
        Ok(output) => (output, Went::Well),
        Err(failure) => {
            assert_failed_in_the_open(&world).await;
            (world.drive(run).await?, Went::CarriedOn(failure.class.to_string()))
        }
    };
    assert_eq!(script(&world, call.vendor).pending(), 0, "the fault did not happen");
    let report = report(&world, FIRST).await;
    assert!(report.counts.balance(Mode::Run), "{:?}", report.counts);
    assert_eq!((report.counts.read, report.counts.sent), (ROWS, ROWS), "{:?}", report.counts);
    assert_eq!(assert_equal(&world.snowflake, &world.org, CUSTOMER, "Account", &CUSTOMERS) as u64, ROWS);
    assert_eq!(world.org.write_counts("Account"), [ROWS, 0, 0], "each row is written once");
    assert_given_back(&world).await;
    assert_eq!(output.verdict, Verdict::Green, "{:?}", report.counts);
    assert_eq!(report.counts.created + report.counts.updated, ROWS, "{:?}", report.counts);
    assert_written_once(&world);
    assert_settled(&world).await?;
    Ok(went)
}

/// The audit log of the org: every record was written, and none a second time.
fn assert_written_once(world: &World) {
    let mut ids: Vec<String> = world
        .org
        .audit()
        .into_iter()
        .filter(|written| written.object == "Account")
        .map(|written| written.id)
        .collect();
    assert_eq!(ids.len() as u64, ROWS);
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len() as u64, ROWS, "a record was written twice");
}

async fn report(world: &World, run: &str) -> Report {
    world.document(&layout::report_json(&run_ref("customers", run))).await
}

async fn assert_failed_in_the_open(world: &World) {
    let run = run_ref("customers", FIRST);
    let failed: Report = world.document(&layout::failure(&run)).await;
    assert_eq!(failed.verdict, Verdict::Failed);
    let head: Option<Head> = world.parts.store.get_json(&layout::head(&run.sync)).await.unwrap();
    assert_eq!(head, None, "a run that failed committed");
    assert_given_back(world).await;
}

async fn assert_given_back(world: &World) {
    let lease: Lease = world.document(&layout::lease(&run_ref("customers", FIRST).sync)).await;
    assert_eq!(lease.holder, None, "the lease was not given back");
}

/// The baseline says what the org holds: the next run sends nothing.
async fn assert_settled(world: &World) -> Result<(), Failure> {
    let jobs = world.org.jobs().len();
    assert_eq!(world.run("customers", SECOND).await?.verdict, Verdict::Green);
    let counts = report(world, SECOND).await.counts;
    assert_eq!((counts.unchanged, counts.sent), (ROWS, 0), "{counts:?}");
    assert_eq!(world.org.jobs().len(), jobs, "a job was made for nothing");
    Ok(())
}

fn print(cells: &[Cell]) {
    println!("{:<12} {:>5}  {:<15} {:<62} went", "way", "tries", "fault", "call");
    for Cell { way, call, fault, tries, went } in cells {
        let went = match went {
            Ok(Went::Well) => "well".to_owned(),
            Ok(Went::CarriedOn(class)) => format!("{class}, carried on"),
            Err(why) => format!("FAILED {why}"),
        };
        let (way, fault, call) = (way.to_string(), format!("{fault:?}"), call.to_string());
        println!("{way:<12} {tries:>5}  {fault:<15} {call:<62} {went}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_may_break_in_every_way() {
    let began = Instant::now();
    let mut trials = Vec::new();
    for way in Way::ALL {
        // What comes before the load is the same whichever way the rows go.
        let loads = |call: &Call| call.vendor == Vendor::Salesforce && !call.path.ends_with("/describe");
        for call in calls(way).await.into_iter().filter(|call| way == Way::ALL[0] || loads(call)) {
            for fault in Fault::ALL {
                // With a client that tries again, those faults tell most of which it cannot know what happened.
                let in_doubt = matches!(fault, Fault::DropAfter | Fault::Page503After | Fault::Truncated);
                let patiences: &[usize] = if in_doubt { &[1, 4] } else { &[1] };
                for &tries in patiences {
                    let action = fault.action(&call);
                    trials.extend(action.map(|action| cell(way, call.clone(), fault, action, tries)));
                }
            }
        }
    }
    let mut cells: Vec<Cell> = stream::iter(trials).buffer_unordered(SIDE_BY_SIDE).collect().await;
    cells.sort_by(|a, b| (a.way, &a.call, a.fault, a.tries).cmp(&(b.way, &b.call, b.fault, b.tries)));
    print(&cells);
    println!("{} cells in {:.0?}", cells.len(), began.elapsed());
    let failed = cells.iter().filter(|cell| cell.went.is_err()).count();
    assert_eq!(failed, 0, "of {} cells", cells.len());
}

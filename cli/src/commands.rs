//! The commands of `backhaul`.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, Parser, Subcommand};
use engine::{Failure, RunId, RunRef, SyncName, document::Mode, layout, report::Verdict};
use jiff::{SignedDuration, Timestamp};
use serde::de::DeserializeOwned;
use store::{Store, approval};

use crate::{
    baseline, demo,
    driver::{Driver, Parts},
    held,
    show::{self, Bars},
};

/// Reverse ETL from Snowflake to Salesforce that accounts for every row.
#[derive(Debug, Parser)]
#[command(name = "backhaul", version, about)]
pub struct Cli {
    /// What to log, on the error stream: a level, or a filter such as `store=debug`.
    #[arg(long, env = "BACKHAUL_LOG", default_value = "error", global = true)]
    pub log: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Two stand-ins, real rows, three runs: see the whole of it without an account.
    Demo(demo::Options),
    /// Check syncs without connecting to anything.
    Validate {
        /// The syncs to check; all of them when none is named.
        names: Vec<SyncName>,
        /// The folder of syncs.
        #[arg(long, default_value = "syncs")]
        syncs: PathBuf,
    },
    /// Run a sync from here, with a folder as its bucket.
    Run {
        #[command(flatten)]
        options: RunOptions,
        /// Send the plan of the run although it goes past a guard rail: this plan, and no other.
        #[arg(long, requires = "run")]
        release: bool,
    },
    /// Do everything up to the frozen plan, show it, and send nothing.
    Plan(RunOptions),
    /// The baseline of a sync: what is known of each row that Salesforce has accepted.
    #[command(subcommand)]
    Baseline(Baseline),
    /// Send the plan of a run that stopped there, named by `--run`: this plan, byte for byte.
    Apply {
        #[command(flatten)]
        options: RunOptions,
        /// Send it although it goes past a guard rail.
        #[arg(long, requires = "run")]
        release: bool,
    },
    /// Rows that Salesforce refused: list them, explain one, or let them go again.
    Held(held::Options),
}

#[derive(Debug, Subcommand)]
enum Baseline {
    /// Read every segment of the baseline and say whether it is whole.
    Check {
        /// The sync.
        sync: SyncName,
        /// The folder that serves as the bucket.
        #[arg(long, default_value = "backhaul-bucket")]
        bucket: PathBuf,
    },
    /// Ask the org for the rows of lost and damaged segments. Nothing is sent.
    Rebuild {
        #[command(flatten)]
        options: RunOptions,
        /// Ask for every row, as if there were no baseline: for when its head is lost.
        #[arg(long)]
        all: bool,
    },
}

#[derive(Debug, Args)]
struct RunOptions {
    /// The sync: the name of its file in the folder of syncs, without `.yaml`.
    sync: SyncName,
    /// The folder of syncs.
    #[arg(long, default_value = "syncs")]
    syncs: PathBuf,
    /// The folder that serves as the bucket. Its contents are the memory of every sync: keep it.
    #[arg(long, default_value = "backhaul-bucket")]
    bucket: PathBuf,
    /// A JSON file with the Snowflake secret.
    #[arg(long, env = "BACKHAUL_SNOWFLAKE_SECRET_FILE")]
    snowflake: PathBuf,
    /// A JSON file with the Salesforce secret.
    #[arg(long, env = "BACKHAUL_SALESFORCE_SECRET_FILE")]
    salesforce: PathBuf,
    /// Go on with the run of this id instead of beginning a new one.
    #[arg(long)]
    run: Option<RunId>,
}

impl Cli {
    /// Carries out the command. The exit code is a failure when a run did not end well.
    ///
    /// # Errors
    /// What ended the command, for a person to read.
    pub async fn execute(self) -> Result<ExitCode, Failure> {
        match self.command {
            Command::Demo(options) => demo::demo(&options).await.map(|()| ExitCode::SUCCESS),
            Command::Validate { names, syncs } => validate(names, &syncs),
            Command::Run { options, release } => options.carry_out(Mode::Run, release).await,
            Command::Plan(options) => options.carry_out(Mode::Plan, false).await,
            Command::Baseline(Baseline::Check { sync, bucket }) => {
                baseline::check(&Store::directory(bucket), &sync).await
            }
            Command::Baseline(Baseline::Rebuild { options, all }) => options.rebuild(all).await,
            Command::Apply { options, release } => options.apply(release).await,
            Command::Held(options) => held::held(options, &person()).await,
        }
    }
}

fn validate(names: Vec<SyncName>, syncs: &std::path::Path) -> Result<ExitCode, Failure> {
    let (names, mut problems) =
        if names.is_empty() { dispatch::sync_names(syncs)? } else { (names, Vec::new()) };
    for name in names {
        match dispatch::read_sync(syncs, &name) {
            Ok(sync) => println!("{}", described(&name, &sync)),
            Err(failure) => problems.push(failure),
        }
    }
    for failure in &problems {
        eprint!("{}", show::failure(failure));
    }
    Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn described(name: &SyncName, sync: &engine::config::Sync) -> String {
    let fields = sync.mapping.len() + 1;
    format!(
        "{} {name}: {fields} fields of {}, by {}",
        console::style("ok").green().bold(),
        sync.destination.object,
        sync.key.field
    )
}

impl RunOptions {
    async fn apply(self, release: bool) -> Result<ExitCode, Failure> {
        let Some(run) = self.run.clone() else {
            return Err(Failure::configuration("`--run` does not say which plan is sent")
                .hint("`backhaul plan` shows the id of its run"));
        };
        let run = RunRef { sync: self.sync.clone(), run };
        approval::apply(&Store::directory(&self.bucket), &run, &person()).await?;
        self.carry_out(Mode::Run, release).await
    }

    /// A new rebuild is begun only if there is something to rebuild.
    async fn rebuild(self, all: bool) -> Result<ExitCode, Failure> {
        let mode = if all { Mode::RebuildAll } else { Mode::Rebuild };
        let begins = self.run.is_none() && !all;
        if begins && baseline::is_whole(&Store::directory(&self.bucket), &self.sync).await? {
            println!("There is nothing to rebuild.");
            return Ok(ExitCode::SUCCESS);
        }
        self.carry_out(mode, false).await
    }

    async fn carry_out(self, mode: Mode, release: bool) -> Result<ExitCode, Failure> {
        let parts = Parts {
            store: Store::directory(&self.bucket),
            snowflake: named(&self.snowflake, snowflake::Client::new(secret(&self.snowflake)?))?,
            salesforce: named(&self.salesforce, salesforce::Client::new(secret(&self.salesforce)?))?,
        };
        let run = match self.run {
            Some(run) => RunRef { sync: self.sync, run },
            None => begin(&parts, &self.syncs, self.sync, mode).await?,
        };
        if release {
            approval::release(&parts.store, &run, &person()).await?;
        }
        let bucket = self.bucket.display().to_string();
        let verdict = carry_out(&parts, run, &bucket).await?;
        Ok(if verdict.is_well() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Freezes a new run that begins now. A run that failed after it had begun to send is settled before.
///
/// # Errors
/// [`engine::Class::Contention`] when a run of the sync is still going, [`engine::Class::Configuration`]
/// when the sync is not valid; what keeps the failed run from being settled.
pub async fn begin(
    parts: &Parts,
    syncs: &std::path::Path,
    sync: SyncName,
    mode: Mode,
) -> Result<RunRef, Failure> {
    let mut instant = Timestamp::now();
    let mut run = RunRef { sync, run: RunId::at(instant) };
    // Ids are to the second: a run that begins in the same second as another is named after the next.
    while parts.store.exists(&layout::run(&run)).await? {
        instant += SignedDuration::from_secs(1);
        run.run = RunId::at(instant);
    }
    let by_hand = || dispatch::by_hand(&parts.store, syncs, run.clone(), mode, "command line");
    let mut dispatched = by_hand().await?;
    if let Some(left) = dispatched.settle.pop() {
        println!("run {} failed after it had begun to send; it is settled first", left.run.run);
        let driver = Driver { parts, run: left.run, watch: &|_| {}, second: Duration::from_secs(1) };
        driver.drive().await.map_err(|failure| failure.at("the run that failed before"))?;
        dispatched = by_hand().await?;
    }
    match dispatched.waiting.first() {
        Some(_) => Err(Failure::contention(format!("a run of `{}` is still going", run.sync))
            .hint("go on with it by `--run`, if nothing carries it out any more")),
        None => Ok(run),
    }
}

/// Takes a run to its end before the eyes of a person.
///
/// # Errors
/// What ended the run; its report is shown all the same.
pub async fn carry_out(parts: &Parts, run: RunRef, bucket: &str) -> Result<Verdict, Failure> {
    let bars = Bars::default();
    let watch = |step| bars.step(&step);
    let outcome =
        Driver { parts, run: run.clone(), watch: &watch, second: Duration::from_secs(1) }.drive().await;
    bars.done();
    let output = outcome?;
    let report = parts.store.get(&output.report).await?.map(|object| object.bytes).unwrap_or_default();
    // The report names objects; on this machine they are files of the folder that serves as the bucket.
    let folder = layout::run_folder(&run);
    let report = String::from_utf8_lossy(&report).replace(&folder, &format!("{bucket}/{folder}"));
    println!("\n{}", show::coloured(&report, output.verdict));
    Ok(output.verdict)
}

/// Who approves a plan here.
fn person() -> String {
    let name = ["USER", "USERNAME"].into_iter().find_map(|variable| std::env::var(variable).ok());
    name.map_or_else(|| "command line".to_owned(), |name| format!("{name}, command line"))
}

/// Says which file a secret that cannot be used came from.
fn named<T>(path: &std::path::Path, client: Result<T, Failure>) -> Result<T, Failure> {
    client.map_err(|failure| failure.at(format!("`{}`", path.display())))
}

/// Reads a secret document.
///
/// # Errors
/// [`engine::Class::Configuration`] naming the file and the key at fault, never its content.
pub fn secret<T: DeserializeOwned>(path: &std::path::Path) -> Result<T, Failure> {
    const HINT: &str = "the README says which keys each secret has";
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::configuration(format!("`{shown}` cannot be read: {}", error.kind())).hint(HINT)
    })?;
    store::decode(text.as_bytes()).map_err(|fault| {
        Failure::configuration(format!("`{shown}` is not such a secret: {fault}")).hint(HINT)
    })
}

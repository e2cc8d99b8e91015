//! Who is measured, and how each is started.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::{
    data::{Data, home},
    goals, measure,
    measure::{Median, Run},
    ours,
    rows::{Changes, Version},
    table,
};

/// What a contender does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Partitions to CSV.
    Map,
    /// The later partitions against what is known of the first.
    Diff,
    /// Results to what was sent.
    Join,
}

/// How a contender is started.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    /// By this program.
    Own(&'static str),
    /// By `peers.py`: task and tool.
    Python(&'static str, &'static str),
    /// By the `gzip` of the system.
    Gzip,
}

/// Where the output goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sink {
    Nowhere,
    Disk,
}

/// One of those who are measured.
pub struct Contender {
    /// The name by which goals speak of it.
    pub name: &'static str,
    /// What it does.
    pub task: Task,
    /// What a reader sees.
    pub label: &'static str,
    /// Whom it is held against, if a goal says so: that one runs once more just before it, because a machine is not as
    /// fast in one minute as in the next.
    beside: Option<&'static str>,
    how: How,
    sink: Sink,
}

/// The rows that memory is compared at.
pub const SMALL: u64 = 100_000;

/// Most rows whose output is written to memory: with all that is kept to be compared, it takes up to 3 GB.
const MOST_IN_MEMORY: u64 = 1_000_000;

/// The contenders in the order of the table. The first of a task is what its ratios refer to.
pub const CONTENDERS: [Contender; 23] = {
    use {How::*, Sink::*, Task::*};
    const fn of(
        name: &'static str,
        beside: Option<&'static str>,
        task: Task,
        how: How,
        sink: Sink,
        label: &'static str,
    ) -> Contender {
        Contender { name, task, label, beside, how, sink }
    }
    [
        of("gunzip", Some("gzip"), Map, Own("gunzip"), Nowhere, "floor: gunzip, the engine's decoder"),
        of("gzip", None, Map, Gzip, Nowhere, "gzip -dc"),
        of("convert", Some("gunzip"), Map, Own("convert"), Nowhere, "Backhaul, CSV alone, to /dev/null"),
        of("convert-file", None, Map, Own("convert"), Disk, "Backhaul, CSV alone"),
        of("map", Some("gunzip"), Map, Own("map"), Nowhere, "Backhaul, first load, to /dev/null"),
        of("map-file", None, Map, Own("map"), Disk, "Backhaul, first load"),
        of("map-typed", Some("convert-file"), Map, Own("typed-map"), Disk, "Rust: serde_json, csv, zlib-rs"),
        of("map-duckdb", Some("convert-file"), Map, Python("map", "duckdb"), Disk, "DuckDB, 1 thread"),
        of("map-polars", Some("convert-file"), Map, Python("map", "polars"), Disk, "polars (orjson in)"),
        of("map-pandas", Some("convert-file"), Map, Python("map", "pandas"), Disk, "pandas"),
        of("map-python", Some("convert-file"), Map, Python("map", "python"), Disk, "Python json + csv"),
        of("scan", None, Diff, Own("scan"), Nowhere, "floor: gunzip, cells, one hash a row"),
        of("pass", Some("gunzip"), Diff, Own("pass"), Nowhere, "Backhaul, map"),
        of("settle", None, Diff, Own("settle"), Disk, "Backhaul, settle"),
        of("diff", Some("scan"), Diff, Own("diff"), Disk, "Backhaul, map + settle"),
        of("diff-duckdb", Some("diff"), Diff, Python("diff", "duckdb"), Disk, "DuckDB, full join on a hash"),
        of("diff-polars", Some("diff"), Diff, Python("diff", "polars"), Disk, "polars, anti-joins on a hash"),
        of("diff-python", Some("diff"), Diff, Python("diff", "python"), Disk, "Python dictionary"),
        of("join", None, Join, Own("join"), Disk, "Backhaul, collect"),
        of("join-typed", Some("join"), Join, Own("typed-join"), Disk, "Rust: csv, HashMap"),
        of("join-duckdb", Some("join"), Join, Python("join", "duckdb"), Disk, "DuckDB, 1 thread"),
        of("join-polars", Some("join"), Join, Python("join", "polars"), Disk, "polars"),
        of("join-python", Some("join"), Join, Python("join", "python"), Disk, "Python csv.DictReader"),
    ]
};

/// What was measured of a contender, or why it was not.
pub type Measured = Result<Median, String>;

/// By the name of the contender.
type ByName<T> = BTreeMap<&'static str, T>;

/// All that was measured.
pub struct Figures {
    /// Rows of the table.
    pub data: Data,
    /// By the name of the contender.
    pub by_name: BTreeMap<&'static str, Measured>,
    /// Its CPU against that of the one beside it, in thousandths, by its name too.
    pub ratios: BTreeMap<&'static str, u128>,
    /// The first load of [`SMALL`] rows.
    pub small: Median,
    /// The start of a process, up to the first row.
    pub start: Median,
}

impl Figures {
    /// What was measured of a contender, if it was.
    pub fn get(&self, name: &str) -> Option<Median> {
        self.by_name.get(name)?.as_ref().ok().copied()
    }

    /// The CPU of a contender against that of the one beside it, in thousandths, if both were measured.
    pub fn ratio(&self, name: &str) -> Option<u128> {
        self.ratios.get(name).copied()
    }
}

/// A benchmark to be carried out.
pub struct Bench {
    data: Data,
    runs: u32,
    peers: bool,
    without: Vec<String>,
    out: PathBuf,
}

impl Bench {
    /// A benchmark with so many rows and counted runs, with the peers or some of them.
    pub fn new(rows: u64, runs: u32, peers: bool, without: Vec<String>) -> Self {
        // What a disk takes to write is not what is measured, and is never the same twice.
        let memory = Some(Path::new("/dev/shm")).filter(|memory| rows <= MOST_IN_MEMORY && memory.is_dir());
        let out = memory.map_or_else(|| home().join("out"), |memory| memory.join("backhaul-bench"));
        Self { data: Data::of(rows), runs, peers, without, out }
    }

    /// Makes what is missing, measures, and prints.
    ///
    /// # Errors
    /// When the data cannot be made, a contender of our own fails, or one has another result than the others.
    pub fn measure(&self) -> io::Result<()> {
        for data in [&Data::of(SMALL), &self.data] {
            if !data.is_complete() {
                eprintln!("making {} rows …", data.rows);
                measure::run(Command::new(std::env::current_exe()?).args(["make", &data.rows.to_string()]))?;
            }
        }
        fs::create_dir_all(&self.out)?;
        let measured = self.measure_all();
        // It may be in memory, so it is not left behind when something has failed.
        fs::remove_dir_all(&self.out)?;
        let figures = measured?;
        table::print(&figures, self.runs, &goals::judged(&figures)?);
        Ok(())
    }

    fn measure_all(&self) -> io::Result<Figures> {
        let python = if self.peers { self.python() } else { Err("left out".to_owned()) };
        if let Ok(python) = &python {
            self.states(python);
        }
        let (by_name, ratios) = self.turns(&python)?;
        let small = self.repeat(&Data::of(SMALL), "map")?;
        let start = self.repeat(&self.data, "first-row")?;
        Ok(Figures { data: self.data.clone(), by_name, ratios, small, start })
    }

    /// Runs every contender in turn, as often as is asked for. The first turn is looked at for its results.
    fn turns(&self, python: &Result<PathBuf, String>) -> io::Result<(ByName<Measured>, ByName<u128>)> {
        let mut runs: ByName<Result<Vec<Run>, String>> = BTreeMap::new();
        let mut ratios: ByName<Vec<u128>> = BTreeMap::new();
        // Not counted: it brings the files into the cache of the operating system.
        measure::run(&mut self.own(&self.data, "gunzip", Path::new("/dev/null"))?)?;
        for turn in 1..=self.runs {
            for contender in &CONTENDERS {
                eprint!("\rturn {turn} of {}: {:<40}", self.runs, contender.label);
                let so_far = runs.entry(contender.name).or_insert_with(|| Ok(Vec::new()));
                let Ok(before) = so_far else { continue };
                let beside = self.run_beside(contender, python)?;
                match self.run(contender, python) {
                    Ok(run) if turn == 1 && !self.is_right(contender, &run)? => {
                        return Err(io::Error::other(format!("`{}` has another result", contender.name)));
                    }
                    Ok(run) => {
                        let ratio = beside.map(|beside| measure::thousandths(run.cpu, beside));
                        ratios.entry(contender.name).or_default().extend(ratio);
                        before.push(run);
                    }
                    Err(error) if matches!(contender.how, How::Own(_)) => return Err(error),
                    Err(error) => *so_far = Err(error.to_string()),
                }
            }
        }
        eprintln!("\r{:<60}", "");
        let median = |runs: Vec<Run>| measure::median(&runs).ok_or_else(|| "not run".to_owned());
        let runs = runs.into_iter().map(|(name, runs)| (name, runs.and_then(median))).collect();
        let middle = |(name, mut ratios): (_, Vec<u128>)| {
            ratios.sort_unstable();
            Some((name, *ratios.get(ratios.len() / 2)?))
        };
        Ok((runs, ratios.into_iter().filter_map(middle).collect()))
    }

    /// What the one takes that a contender is held against.
    fn run_beside(
        &self,
        contender: &Contender,
        python: &Result<PathBuf, String>,
    ) -> io::Result<Option<Duration>> {
        let beside = CONTENDERS.iter().find(|other| contender.beside == Some(other.name));
        beside.map(|beside| Ok(self.run(beside, python)?.cpu)).transpose()
    }

    fn run(&self, contender: &Contender, python: &Result<PathBuf, String>) -> io::Result<Run> {
        let out = self.place(contender);
        if contender.task == Task::Map && out.is_file() {
            // Nobody is to pay for what was there before.
            fs::remove_file(&out)?;
        }
        let mut command = match contender.how {
            How::Own(name) => self.own(&self.data, name, &out)?,
            How::Python(task, tool) => self.python_task(python, task, tool, &out)?,
            How::Gzip => {
                let mut command = Command::new("sh");
                command.args(["-c", "exec gzip -dc \"$@\" > /dev/null", "gzip"]);
                command.args(self.data.partitions(Version::First)?.iter().map(|name| self.data.path(name)));
                command
            }
        };
        measure::run(&mut command)
    }

    /// Where a contender writes to: a file, or a folder when there are several.
    fn place(&self, contender: &Contender) -> PathBuf {
        match (contender.sink, contender.task) {
            (Sink::Nowhere, _) => PathBuf::from("/dev/null"),
            (Sink::Disk, Task::Map) => self.out.join(format!("{}.csv", contender.name)),
            (Sink::Disk, _) => self.out.clone(),
        }
    }

    fn own(&self, data: &Data, name: &str, out: &Path) -> io::Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["one", name, &data.rows.to_string()]).arg(out);
        Ok(command)
    }

    fn repeat(&self, data: &Data, name: &str) -> io::Result<Median> {
        let runs = (0..self.runs).map(|_| measure::run(&mut self.own(data, name, Path::new("/dev/null"))?));
        let runs = runs.collect::<io::Result<Vec<_>>>()?;
        measure::median(&runs).ok_or_else(|| io::Error::other("nothing was run"))
    }

    fn python_task(
        &self,
        python: &Result<PathBuf, String>,
        task: &str,
        tool: &str,
        out: &Path,
    ) -> io::Result<Command> {
        let python = python.as_ref().map_err(|reason| io::Error::other(reason.clone()))?;
        if self.without.iter().any(|left_out| left_out == tool) {
            return Err(io::Error::other("left out"));
        }
        let mut command = Command::new(python);
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/peers.py"));
        command.args([task, tool]).arg(self.data.path("")).arg(out);
        Ok(command)
    }

    /// A Python with the peers. What cannot be installed fails later, when it is started.
    fn python(&self) -> Result<PathBuf, String> {
        let folder = home().join("../tools/bench");
        let python = folder.join("bin/python");
        let told = |error: io::Error| format!("no Python ({error})");
        if !python.exists() {
            eprintln!("installing the peers …");
            measure::run(Command::new("python3").args(["-m", "venv"]).arg(&folder)).map_err(told)?;
        }
        let packages = include_str!("../peers/requirements.txt");
        for package in packages.lines() {
            let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", package];
            if let Err(error) = measure::run(Command::new(&python).args(pip)) {
                eprintln!("{package} cannot be installed: {error}");
            }
        }
        Ok(python)
    }

    /// Lets the peers write down what they know of the first version.
    fn states(&self, python: &Path) {
        let python = Ok(python.to_owned());
        for contender in CONTENDERS.iter().filter(|contender| contender.task == Task::Diff) {
            if let How::Python(_, tool) = contender.how {
                let state = self.python_task(&python, "state", tool, &self.out);
                // Without it the comparison itself fails, and says why.
                drop(state.and_then(|mut command| measure::run(&mut command)));
            }
        }
    }

    /// The contender came to the same as ours does, and as the generator knows it.
    fn is_right(&self, contender: &Contender, run: &Run) -> io::Result<bool> {
        let numbers = || run.output.split_whitespace().filter_map(|word| word.parse::<u64>().ok());
        match (contender.sink, contender.task) {
            _ if matches!(contender.name, "pass" | "settle") => {
                let Changes { added, removed, .. } = self.data.read("changes.json")?;
                Ok(numbers().eq([self.data.rows + added - removed]))
            }
            (Sink::Nowhere, _) => Ok(true),
            (_, Task::Map) => {
                let ours = self.out.join("convert-file.csv");
                let theirs = self.place(contender);
                Ok(ours == theirs || ours::checksum(&ours)? == ours::checksum(&theirs)?)
            }
            (_, Task::Diff) => {
                let Changes { added, changed, removed } = self.data.read("changes.json")?;
                Ok(numbers().eq([added, changed, removed]))
            }
            (_, Task::Join) => Ok(numbers().eq([self.data.read::<u64>("accepted.json")?])),
        }
    }
}

//! What the engine is to reach, and whether it does. All arithmetic is on whole numbers: thousandths.

use std::io;

use engine::document::PlannedJob;

use crate::{contenders::Figures, measure::Median, ours};

/// A goal, judged.
pub struct Judged {
    /// Its number.
    pub goal: &'static str,
    /// What is measured.
    pub what: String,
    /// What it must be.
    pub must: String,
    /// What it is.
    pub is: String,
    /// Whether it is reached.
    pub verdict: Verdict,
}

/// Whether a goal is reached.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// With room to spare.
    Stretch,
    /// As it must be.
    Met,
    /// Not.
    Missed,
    /// It cannot be measured here.
    Open,
}

/// A figure that must not exceed a limit, all in thousandths.
struct Limit {
    is: u128,
    must: u128,
    stretch: u128,
}

impl Limit {
    fn verdict(&self) -> Verdict {
        if self.is <= self.stretch {
            Verdict::Stretch
        } else if self.is <= self.must {
            Verdict::Met
        } else {
            Verdict::Missed
        }
    }
}

const MIB: u128 = 1 << 20;

/// Every goal in its order.
///
/// # Errors
/// When the stored data cannot be looked at.
pub fn judged(figures: &Figures) -> io::Result<Vec<Judged>> {
    let jobs: Vec<PlannedJob> = figures.data.read("jobs.json")?;
    let largest = jobs.iter().map(|job| u128::from(job.rows)).max().unwrap_or_default();
    let bare = u128::from(ours::stored(&figures.data, "bare")?) * 10;
    let full = ours::stored(&figures.data, "baseline")?;
    Ok(vec![
        peer(figures, "G1", "map to CSV, against DuckDB", "map-duckdb", 3000, 4500),
        peer(figures, "G2", "… against polars", "map-polars", 5500, 7000),
        peer(figures, "G2", "… against pandas", "map-pandas", 15_000, 20_000),
        peer(figures, "G2", "… against Python json + csv", "map-python", 13_000, 17_000),
        peer(figures, "G3", "… against typed Rust", "map-typed", 3000, 4000),
        times(figures, "G4", "map to CSV, against gunzip alone", "convert", 1700, 1450),
        times(figures, "G4", "… first load, with fingerprints and keys", "map", 2000, 1600),
        times(figures, "G4", "… one pass over a later version", "pass", 2000, 1600),
        times(figures, "G5", "the decoder, against gzip -dc", "gunzip", 360, 250),
        memory(figures.get("map"), "G6", "memory of map".to_owned(), 24 * MIB, 12 * MIB),
        growth(figures),
        peer(figures, "G7", "diff, against DuckDB", "diff-duckdb", 2000, 2600),
        peer(figures, "G7", "… against polars", "diff-polars", 6000, 7000),
        peer(figures, "G7", "… against a Python dictionary", "diff-python", 9000, 11_000),
        times(figures, "G8", "diff, against its own scan", "diff", 1350, 1200),
        memory(figures.get("diff"), "G9", "memory of diff".to_owned(), 32 * MIB, 24 * MIB),
        stored(bare, full),
        peer(figures, "G11", "results, against polars", "join-polars", 2000, 2700),
        peer(figures, "G11", "… against DuckDB", "join-duckdb", 2000, 2700),
        peer(figures, "G11", "… against csv and HashMap", "join-typed", 2500, 3500),
        peer(figures, "G11", "… against csv.DictReader", "join-python", 8000, 12_000),
        memory(
            figures.get("join"),
            "G12",
            format!("memory of results, {largest} rows a job"),
            40 * largest + 24 * MIB,
            24 * MIB,
        ),
        rate(figures),
        settled(figures),
        lambda(figures),
        start(figures.start),
        open("G16", "no function waits for money", "see tests/e2e"),
    ])
}

/// Thousandths with so many digits after the point, at most three.
fn decimal(thousandths: u128, digits: usize) -> String {
    let text = format!("{}.{:03}", thousandths / 1000, thousandths % 1000);
    let end = text.len() - 3 + digits;
    text[..end].trim_end_matches('.').to_owned()
}

fn open(goal: &'static str, what: &str, is: &str) -> Judged {
    let (must, is) = ("–".to_owned(), is.to_owned());
    Judged { goal, what: what.to_owned(), must, is, verdict: Verdict::Open }
}

/// Ours takes a fraction of what a peer takes, beside which it was measured.
fn peer(
    figures: &Figures,
    goal: &'static str,
    what: &str,
    theirs: &str,
    must: u128,
    stretch: u128,
) -> Judged {
    // Theirs against ours, so that more is better and nothing is rounded away.
    let Some(factor) = figures.ratio(theirs) else { return open(goal, what, "not measured") };
    let verdict = match factor {
        _ if factor >= stretch => Verdict::Stretch,
        _ if factor >= must => Verdict::Met,
        _ => Verdict::Missed,
    };
    let must = format!("≤ 1/{}", decimal(must, 1).trim_end_matches(".0"));
    Judged { goal, what: what.to_owned(), must, is: format!("1/{}", decimal(factor, 2)), verdict }
}

/// Ours takes a multiple of a floor, beside which it was measured.
fn times(figures: &Figures, goal: &'static str, what: &str, ours: &str, must: u128, stretch: u128) -> Judged {
    let Some(is) = figures.ratio(ours) else { return open(goal, what, "not measured") };
    let limit = Limit { is, must, stretch };
    let must = format!("≤ {} ×", decimal(must, 2));
    let is = format!("{} ×", decimal(limit.is, 2));
    Judged { goal, what: what.to_owned(), must, is, verdict: limit.verdict() }
}

fn mebibytes(bytes: u128) -> String {
    format!("{} MiB", decimal(bytes * 1000 / MIB, 1))
}

fn memory(measured: Option<Median>, goal: &'static str, what: String, must: u128, stretch: u128) -> Judged {
    let Some(measured) = measured else { return open(goal, &what, "not measured") };
    let limit = Limit { is: u128::from(measured.peak), must, stretch };
    let (must, is) = (format!("≤ {}", mebibytes(must)), mebibytes(limit.is));
    Judged { goal, what, must, is, verdict: limit.verdict() }
}

/// The memory of map does not grow with the rows.
fn growth(figures: &Figures) -> Judged {
    let what = "… against that of 100,000 rows";
    let Some(map) = figures.get("map") else { return open("G6", what, "not measured") };
    let is = u128::from(map.peak) * 1000 / u128::from(figures.small.peak.max(1));
    let limit = Limit { is, must: 1100, stretch: 1020 };
    let (must, is) = ("≤ 1.10 ×".to_owned(), format!("{} ×", decimal(is, 2)));
    Judged { goal: "G6", what: what.to_owned(), must, is, verdict: limit.verdict() }
}

/// The size of the stored state: key and fingerprint. The ids come on top of it.
fn stored(bare: u128, full: u64) -> Judged {
    let limit = Limit { is: bare, must: 13_500, stretch: 10_000 };
    let what = format!("state a row ({} B with Salesforce ids)", decimal(u128::from(full) * 10, 1));
    let (must, is) = ("≤ 13.5 B".to_owned(), format!("{} B", decimal(bare, 1)));
    Judged { goal: "G10", what, must, is, verdict: limit.verdict() }
}

/// Rows a second of one processor, against those of the scan.
fn rate(figures: &Figures) -> Judged {
    let what = "diff, rows a CPU second against scan's";
    let (Some(diff), Some(ratio)) = (figures.get("diff"), figures.ratio("diff")) else {
        return open("G13", what, "not measured");
    };
    let share = 1_000_000 / ratio.max(1);
    let rows = u128::from(figures.data.rows) * 1000 / diff.cpu.as_millis().max(1);
    let verdict = match share {
        850.. => Verdict::Stretch,
        650.. => Verdict::Met,
        _ => Verdict::Missed,
    };
    let is = format!("{} × ({} k/s)", decimal(share, 2), rows / 1000);
    Judged { goal: "G13", what: what.to_owned(), must: "≥ 0.65 ×".to_owned(), is, verdict }
}

/// The CPU of settling, for ten million rows.
fn settled(figures: &Figures) -> Judged {
    let what = "settling ten million rows, reckoned";
    let Some(settle) = figures.get("settle") else { return open("G13", what, "not measured") };
    let is = settle.cpu.as_micros() * 10_000 / u128::from(figures.data.rows);
    let limit = Limit { is, must: 10_000, stretch: 7000 };
    let is = format!("{} s", decimal(is, 1));
    Judged { goal: "G13", what: what.to_owned(), must: "≤ 10 s".to_owned(), is, verdict: limit.verdict() }
}

/// What a Lambda of 128 MB would take: it has a share of 128/1769 of a processor.
fn lambda(figures: &Figures) -> Judged {
    let what = "diff in a Lambda of 128 MB, reckoned";
    let Some(diff) = figures.get("diff") else { return open("G14", what, "not measured") };
    let fits = u128::from(diff.peak) <= 108 * MIB;
    let is = diff.cpu.as_micros() * 1769 / 1024 / 1000;
    // The goal is one of a million rows.
    let scaled = |goal: u128| goal * u128::from(figures.data.rows) / 1_000_000;
    let limit = Limit { is: if fits { is } else { u128::MAX }, must: scaled(3500), stretch: scaled(2300) };
    let (must, is) = (format!("≤ {} GB-s", decimal(limit.must, 2)), format!("{} GB-s", decimal(is, 2)));
    Judged { goal: "G14", what: what.to_owned(), must, is, verdict: limit.verdict() }
}

fn start(start: Median) -> Judged {
    let limit = Limit { is: start.wall.as_micros(), must: 20_000, stretch: 5000 };
    let is = format!("{} ms", decimal(limit.is, 1));
    let what = "start to the first row".to_owned();
    Judged { goal: "G15", what, must: "≤ 20 ms".to_owned(), is, verdict: limit.verdict() }
}

//! What a person sees while a run goes, and when it has ended.

use std::{sync::Mutex, time::Duration};

use console::style;
use engine::{Failure, report::Verdict};
use indicatif::{HumanCount, MultiProgress, ProgressBar, ProgressStyle};

use crate::driver::Step;

/// Progress bars of one run. On anything but a terminal they draw nothing.
pub struct Bars {
    all: MultiProgress,
    current: Mutex<Option<ProgressBar>>,
}

impl Default for Bars {
    fn default() -> Self {
        Self { all: MultiProgress::new(), current: Mutex::new(None) }
    }
}

impl Bars {
    /// Shows a step.
    pub fn step(&self, step: &Step) {
        match *step {
            Step::Extracting { rows: 0 } => self.begin_waiting("Extract", "Snowflake works on the statement"),
            Step::Extracting { rows } => self.begin("Extract", rows),
            Step::Extracted { rows } => {
                self.end("Extract", &format!("{} rows", HumanCount(rows)));
                self.begin("Map", rows);
            }
            Step::Mapped { rows } => self.advance(rows),
            Step::Planned { jobs, rows, asks } => {
                self.end("Map", "compared with what Salesforce has accepted");
                self.note("Plan", &format!("{} rows in {}", HumanCount(rows), counted(jobs, "job")));
                self.begin(if asks { "Ask" } else { "Load" }, rows);
            }
            Step::Loaded { rows } => self.advance(rows),
            Step::Settled => self.begin_waiting("Settle", "writing the next baseline"),
        }
    }

    /// Takes the last bar away.
    pub fn done(&self) {
        if let Some(bar) = self.lock().take() {
            bar.finish_and_clear();
        }
    }

    fn begin(&self, stage: &str, rows: u64) {
        self.replace(
            ProgressBar::new(rows),
            stage,
            "{prefix:>10.cyan.bold} {spinner} [{bar:36}] {human_pos}/{human_len} rows, {elapsed}",
        );
    }

    fn begin_waiting(&self, stage: &str, what: &'static str) {
        let bar = self.replace(ProgressBar::new_spinner(), stage, "{prefix:>10.cyan.bold} {spinner} {msg}");
        bar.set_message(what);
    }

    fn replace(&self, bar: ProgressBar, stage: &str, template: &str) -> ProgressBar {
        self.done();
        let template = ProgressStyle::with_template(template).expect("the templates are constants");
        let bar = self.all.add(bar).with_style(template.progress_chars("█▌·")).with_prefix(stage.to_owned());
        // A bar without progress is drawn all the same: it says that somebody is at work.
        bar.enable_steady_tick(Duration::from_millis(120));
        *self.lock() = Some(bar.clone());
        bar
    }

    fn advance(&self, rows: u64) {
        if let Some(bar) = self.lock().as_ref() {
            bar.inc(rows);
        }
    }

    fn end(&self, stage: &str, what: &str) {
        self.done();
        self.note(stage, what);
    }

    /// A line that stays.
    pub fn note(&self, stage: &str, what: &str) {
        let line = format!("{:>10} {what}", style(stage).green().bold());
        if self.all.is_hidden() {
            eprintln!("{line}");
        } else {
            // A terminal that has gone away is no reason to end the run.
            let _ = self.all.println(line);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<ProgressBar>> {
        self.current.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// `1 job`, `2 jobs`.
#[must_use]
pub fn counted(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// A failure as a person reads it: what is wrong, then what to do.
#[must_use]
pub fn failure(failure: &Failure) -> String {
    let head = format!("{} {}", style("error:").red().bold(), failure.message);
    match &failure.hint {
        Some(hint) => format!("{head}\n{} {hint}\n", style(" hint:").cyan().bold()),
        None => format!("{head}\n"),
    }
}

/// The colour of a verdict on a terminal.
#[must_use]
pub fn coloured(report: &str, verdict: Verdict) -> String {
    let (head, rest) = report.split_once('\n').unwrap_or((report, ""));
    let head = match verdict {
        Verdict::Green => style(head).green().bold(),
        Verdict::Attention | Verdict::Incomplete => style(head).yellow().bold(),
        Verdict::Failed | Verdict::Unbalanced | Verdict::Stopped => style(head).red().bold(),
    };
    format!("{head}\n{rest}")
}

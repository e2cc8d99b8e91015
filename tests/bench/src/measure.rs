//! One process from its start to its end, as the operating system accounts for it.

use std::{
    io::{self, Read},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use wait4::Wait4;

/// What one run of a process took.
#[derive(Clone, Debug)]
pub struct Run {
    /// User and system time.
    pub cpu: Duration,
    /// Time on the wall clock.
    pub wall: Duration,
    /// The most memory that was resident, in bytes.
    pub peak: u64,
    /// What it printed.
    pub output: String,
}

/// The medians of several runs.
#[derive(Clone, Copy, Debug)]
pub struct Median {
    /// User and system time.
    pub cpu: Duration,
    /// Time on the wall clock.
    pub wall: Duration,
    /// The most memory that was resident in any run, in bytes.
    pub peak: u64,
}

/// Runs a command to its end.
///
/// # Errors
/// When it cannot be started, or does not end well; the last line it wrote to its standard error is told.
pub fn run(command: &mut Command) -> io::Result<Run> {
    let began = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (mut output, mut errors) = (String::new(), String::new());
    if let Some(mut stdout) = child.stdout.take() {
        stdout.read_to_string(&mut output)?;
    }
    if let Some(mut stderr) = child.stderr.take() {
        stderr.read_to_string(&mut errors)?;
    }
    let used = child.wait4()?;
    let wall = began.elapsed();
    if !used.status.success() {
        let last = errors.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no message");
        return Err(io::Error::other(format!("{}: {last}", used.status)));
    }
    let cpu = used.rusage.utime + used.rusage.stime;
    Ok(Run { cpu, wall, peak: used.rusage.maxrss, output })
}

/// The first of two times against the second.
pub fn thousandths(a: Duration, b: Duration) -> u128 {
    a.as_micros() * 1000 / b.as_micros().max(1)
}

/// The median of each figure; none without runs.
pub fn median(runs: &[Run]) -> Option<Median> {
    let middle = |figure: fn(&Run) -> Duration| {
        let mut figures: Vec<_> = runs.iter().map(figure).collect();
        figures.sort_unstable();
        figures.get(figures.len() / 2).copied()
    };
    let peak = runs.iter().map(|run| run.peak).max()?;
    Some(Median { cpu: middle(|run| run.cpu)?, wall: middle(|run| run.wall)?, peak })
}

//! The tables a reader sees.

use std::time::Duration;

use crate::{
    contenders::{CONTENDERS, Contender, Figures, Task},
    goals::{Judged, Verdict},
    measure::Median,
};

/// Prints what was measured, then the goals.
pub fn print(figures: &Figures, runs: u32, goals: &[Judged]) {
    let rows = grouped(figures.data.rows);
    println!(
        "{rows} rows of 20 columns; CPU is the median of {runs} whole processes, memory the most of any"
    );
    for (task, title) in [
        (Task::Map, "Map: partitions to CSV"),
        (Task::Diff, "Diff: partitions and state to operations and state"),
        (Task::Join, "Results: what Salesforce says, joined to what was sent"),
    ] {
        let contenders: Vec<_> = CONTENDERS.iter().filter(|contender| contender.task == task).collect();
        let base = contenders.first().and_then(|first| figures.get(first.name));
        let against = if task == Task::Join { "× ours" } else { "× floor" };
        println!("\n{title:<54} {:>8} {against:>8} {:>9}", "CPU s", "peak MiB");
        println!("{}", "─".repeat(82));
        contenders.iter().for_each(|contender| line(contender, figures, base));
    }
    println!("\n{:<4} {:<45} {:>12} {:>18}", "", "Goal", "must be", "is");
    println!("{}", "─".repeat(92));
    for Judged { goal, what, must, is, verdict } in goals {
        let verdict = match verdict {
            Verdict::Stretch => "met, with room",
            Verdict::Met => "met",
            Verdict::Missed => "MISSED",
            Verdict::Open => "",
        };
        println!("{goal:<4} {what:<45} {must:>12} {is:>18}  {verdict}");
    }
}

fn line(contender: &Contender, figures: &Figures, base: Option<Median>) {
    let label = contender.label;
    match figures.by_name.get(contender.name) {
        Some(Ok(measured)) => {
            let ratio = base.map_or_else(String::new, |base| hundredths(measured.cpu, base.cpu));
            let (cpu, peak) = (seconds(measured.cpu), measured.peak >> 20);
            println!("{label:<54} {cpu:>8} {ratio:>8} {peak:>9}");
        }
        Some(Err(reason)) => println!("{label:<54} not run: {reason}"),
        None => println!("{label:<54} not run"),
    }
}

fn seconds(time: Duration) -> String {
    hundredths(time, Duration::from_secs(1))
}

fn hundredths(a: Duration, b: Duration) -> String {
    let hundredths = a.as_micros() * 100 / b.as_micros().max(1);
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

/// A number with commas between the thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

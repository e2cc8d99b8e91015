//! The goals of the engine, measured beside the tools that a user would pick instead.
//!
//! ```sh
//! cargo run --release -p bench                       # a million rows
//! cargo run --release -p bench -- 100000 --runs 3    # 100 thousand, 1 million or 10 million
//! ```
//!
//! The data is made once for each size, the same on every machine. Every contender is a process of its own, measured
//! from outside, in turns; the figures are medians. Only ratios are claims: how fast a machine is, is not a property of
//! the engine, nor is it the same in the next minute. So the ratio of a goal is the median of ratios of two processes,
//! one right after the other. What differs from a contender in its output is said, and the run fails.
//!
//! Peers are installed into `target/tools/bench` by pip when that is possible, and passed over otherwise.

#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]

mod contenders;
mod data;
mod goals;
mod measure;
mod ours;
mod rows;
mod table;
mod typed;

use std::{io, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

use crate::{contenders::Bench, data::Data, rows::Changes};

/// Measures the engine beside other tools.
#[derive(Parser)]
struct Arguments {
    /// Rows of the table.
    #[arg(default_value_t = 1_000_000)]
    rows: u64,
    /// Counted runs of each contender.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Measures the engine and its floors only.
    #[arg(long)]
    no_peers: bool,
    /// Leaves a tool out, such as `pandas`; may be given more than once.
    #[arg(long, value_name = "TOOL")]
    without: Vec<String>,
    #[command(subcommand)]
    part: Option<Part>,
}

/// What the benchmark starts as a process of its own.
#[derive(Subcommand)]
enum Part {
    /// Makes the data.
    #[command(hide = true)]
    Make { rows: u64 },
    /// Does the work of one contender.
    #[command(hide = true)]
    One { name: String, rows: u64, out: PathBuf },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.part {
        Some(Part::Make { rows }) => Data::of(rows).make(),
        Some(Part::One { name, rows, out }) => one(&name, &Data::of(rows), &out),
        None => Bench::new(arguments.rows, arguments.runs, !arguments.no_peers, arguments.without).measure(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Does the work of one contender, and prints what it came to.
fn one(name: &str, data: &Data, out: &std::path::Path) -> io::Result<()> {
    let rows = match name {
        "gunzip" => ours::gunzip(data)?,
        "scan" => ours::scan(data)?,
        "first-row" => ours::first_row(data)?,
        "convert" => ours::convert(data, out)?,
        "map" => ours::map(data, out)?,
        "pass" => ours::pass(data)?,
        "settle" => ours::settle(data, out)?,
        "join" => ours::join(data, out)?,
        "typed-map" => typed::map(data, out)?,
        "typed-join" => typed::join(data, out)?,
        "diff" => {
            let Changes { added, changed, removed } = ours::diff(data, out)?;
            println!("{added} {changed} {removed}");
            return Ok(());
        }
        other => return Err(io::Error::other(format!("there is no contender `{other}`"))),
    };
    println!("{rows}");
    Ok(())
}

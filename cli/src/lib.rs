//! The command line: the stages of a run in one process, and what a person sees of them.

#![expect(clippy::print_stdout, reason = "a command line prints")]

pub mod baseline;
pub mod commands;
pub mod demo;
pub mod driver;
pub mod held;
pub mod show;

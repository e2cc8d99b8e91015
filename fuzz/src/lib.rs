//! What has to hold for every input, however damaged: one module for each fuzz target. A `check` panics when
//! it does not hold.
//!
//! The test `fuzz_corpus` of the engine includes these files and replays the corpora.

pub mod collections;
pub mod config;
mod draw;
pub mod partition;
pub mod records;
pub mod results;
pub mod segment;

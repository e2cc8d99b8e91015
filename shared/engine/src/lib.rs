//! The decisions of Backhaul, and nothing else.
//!
//! Every stage of a run reads documents, calls one function of this crate and writes documents.
//! The crate does no I/O of its own: streams come in as [`std::io::Read`] and leave through buffers
//! or [`std::io::Write`]; it knows no clock, no network and no randomness, and depends on no other
//! crate of the workspace.
//!
//! In the order of a run: [`config`] and [`schedule`] say what a sync is and when it is due; [`mapping`]
//! joins it to both ends; [`partition`], [`value`], [`csv`] and [`map`] turn source rows into fragments;
//! [`spelling`] takes the rows out whose keys are there in two cases ([`part`]); [`plan`] packs fragments into
//! jobs, [`guard`] says whether a person has to look first ([`fresh`] how old the model is), [`collections`]
//! writes them for the REST API, [`quota`] says whether the org can bear them; [`journal`] says what a
//! submission does next; [`outcome`] joins results to what was sent, [`live`] compares what is in doubt with
//! the org, [`stop`] says whether a person is needed; [`settle`] writes the next baseline ([`segment`]),
//! [`held`] tells of the refused rows in it; [`report`] adds it all up.

pub mod baseline;
pub mod canary;
pub mod collections;
pub mod config;
pub mod contract;
pub mod csv;
pub mod cursor;
pub mod document;
pub mod failure;
pub mod fingerprint;
mod fold;
pub mod fresh;
pub mod guard;
pub mod held;
pub mod id;
pub mod journal;
mod keys;
pub mod layout;
pub mod live;
pub mod manifest;
pub mod map;
pub mod mapping;
pub mod outcome;
pub mod part;
pub mod partition;
pub mod plan;
pub mod quota;
pub mod records;
pub mod report;
pub mod schedule;
pub mod segment;
pub mod settle;
pub mod spelling;
pub mod stop;
pub mod taxonomy;
pub mod value;

pub use failure::{Class, Failure};
pub use id::{ChunkNo, Fingerprint, JobRef, RunId, RunRef, SyncName};

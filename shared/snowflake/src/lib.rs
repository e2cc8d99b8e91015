//! A client of the Snowflake SQL API v2, cut down to what Backhaul needs: submit a statement, poll it, read
//! its result partition by partition; insert rows and send email.
//!
//! A statement handle and a partition number are all another process needs to go on.
//!
//! <https://docs.snowflake.com/en/developer-guide/sql-api/index>

mod account;
mod client;
mod problem;
mod result;
mod write;

pub use account::{Provider, Secret};
pub use client::{Client, Poll, StatementRequest};
pub use result::{Finished, PartitionInfo, read_result};
pub use write::{Binding, Insert, PIECE_BYTES, inserts, send_email};

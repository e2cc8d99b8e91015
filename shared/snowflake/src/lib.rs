//! A client of the Snowflake SQL API v2, cut down to what reading a model needs: submit a statement, poll
//! it, read its result partition by partition.
//!
//! A statement handle and a partition number are all another process needs to go on.
//!
//! <https://docs.snowflake.com/en/developer-guide/sql-api/index>

mod account;
mod client;
mod problem;
mod result;

pub use account::Secret;
pub use client::{Client, Poll, StatementRequest};
pub use result::{Finished, PartitionInfo, read_result};

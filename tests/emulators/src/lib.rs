//! Stand-ins for both vendors: HTTP servers on loopback that follow the vendors' documented behaviour.
//!
//! They share no code with Backhaul, so that the two cannot be wrong in the same way.

pub mod faults;
pub mod salesforce;
pub mod snowflake;
pub mod tls;
pub mod tpch;

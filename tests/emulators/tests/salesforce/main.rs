//! The Salesforce org as a client meets it: over HTTP, with documented bodies and codes.

#![expect(clippy::unwrap_used, reason = "a test that cannot talk to its server has failed")]

mod faults;
mod ingest;
mod limits;
mod logins;
mod queries;
mod rest;
mod results;
mod transport;
mod world;

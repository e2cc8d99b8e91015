//! A client of Salesforce, cut down to what loading needs: log in, describe an object, run an ingest job of
//! Bulk API 2.0.
//!
//! <https://developer.salesforce.com/docs/atlas.en-us.api_asynch.meta/api_asynch/bulk_api_2_0.htm>

mod bulk;
mod client;
mod collections;
mod job;
mod limits;
mod login;
mod problem;
mod query;
mod session;
mod usage;

pub use bulk::{NewJob, ResultSet};
pub use client::{API_VERSION, Client};
pub use collections::{Collection, CollectionOperation};
pub use job::{JobInfo, JobState};
pub use login::Secret;
pub use problem::classify;
pub use session::{Keep, Read, Shelf};
pub use usage::ApiUsage;

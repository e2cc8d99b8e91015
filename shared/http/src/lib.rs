//! One HTTP client for both vendors.
//!
//! A [`Request`] says what it is and whether it may be sent twice; [`Http::send`] retries what may be
//! retried, for a few seconds at most: long waiting belongs to the state machine. A host that goes on
//! failing is left alone for a while. Any HTTP status is an
//! answer, which the vendor's client classifies by code; only a request without an answer is an error
//! here. Bodies are streamed, and nothing that is printed names a query, a header or a body.

mod address;
mod body;
mod breaker;
mod client;
mod failure;
mod key;
mod request;
mod response;
mod retry;
mod token;

pub use address::base_url;
pub use body::{BlockingBody, Body};
pub use client::Http;
pub use failure::{class_of_status, from_io};
pub use key::SigningKey;
pub use request::{Repeat, Request};
pub use response::Response;
pub use retry::RetryPolicy;
pub use token::{Lease, TokenCache};

pub use reqwest::Method;
pub use url::Url;

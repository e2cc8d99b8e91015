//! Sending.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use std::time::{Duration, Instant};

use engine::{Class, Failure};

use crate::address::permitted;
use crate::body::Body;
use crate::breaker::Breaker;
use crate::failure::unanswered;
use crate::request::{Repeat, Request};
use crate::response::Response;
use crate::retry::RetryPolicy;

const USER_AGENT: &str = concat!("backhaul/", env!("CARGO_PKG_VERSION"));

/// The client. Cheap to clone; clones share their connections.
#[derive(Clone, Debug)]
pub struct Http {
    client: reqwest::Client,
    retry: RetryPolicy,
    breaker: Breaker,
    sent: Arc<AtomicU64>,
}

impl Http {
    /// A client that trusts what the platform trusts (`SSL_CERT_FILE` adds to it), speaks HTTP/1.1, follows
    /// no redirect and unpacks nothing on its own.
    ///
    /// # Errors
    /// `Configuration` if the platform's certificates cannot be read.
    pub fn new(retry: RetryPolicy) -> Result<Self, Failure> {
        let client = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .http1_only()
            .no_gzip()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(10))
            // Vendors close idle connections after about a minute; a frozen process must not write to one.
            .pool_idle_timeout(Duration::from_secs(20))
            .build()
            .map_err(|_| {
                Failure::configuration("the certificates of the platform cannot be read")
                    .hint("install `ca-certificates`, or name a PEM file in SSL_CERT_FILE")
            })?;
        Ok(Self { client, retry, breaker: Breaker::new(retry.break_after), sent: Arc::default() })
    }

    /// Requests that this client and its clones have sent, each try counted.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Sends a request, again if it may be repeated and there is no answer, or one that says try again
    /// (420, 429, 5xx). The last answer is returned whatever its status.
    ///
    /// # Errors
    /// `Transient` if there is no answer, or none is expected because the host has failed too often;
    /// `Configuration` if the host's certificate is refused or the address is plain `http` to another
    /// machine; the failure of a streamed body as it is.
    pub async fn send(&self, mut request: Request) -> Result<Response, Failure> {
        permitted(&request.url)?;
        let host = request.url.origin().ascii_serialization();
        self.breaker.admit(&host, Instant::now()).map_err(|left| left_alone(&host, left))?;
        let outcome = self.tries(&mut request).await;
        self.breaker.ended(&host, !asks_for_another_try(&outcome, &request.answers), Instant::now());
        outcome
    }

    async fn tries(&self, request: &mut Request) -> Result<Response, Failure> {
        let mut pauses = self.retry.pauses();
        let mut number = 1;
        loop {
            let outcome = self.attempt(request, number).await;
            if request.repeat == Repeat::Once || !asks_for_another_try(&outcome, &request.answers) {
                return outcome;
            }
            let Some(pause) = pauses.next() else { return outcome.map_err(|failure| tried(failure, number)) };
            let pause = outcome.as_ref().ok().and_then(retry_after).unwrap_or_default().max(pause);
            tracing::debug!(request = %request.place(), number, ?pause, "trying again");
            tokio::time::sleep(pause).await;
            number += 1;
        }
    }

    async fn attempt(&self, request: &mut Request, number: usize) -> Result<Response, Failure> {
        let place = request.place();
        let silence = request.silence;
        self.sent.fetch_add(1, Ordering::Relaxed);
        let head = tokio::time::timeout(silence, self.client.execute(request.for_try(number))).await;
        let response = head
            .map_err(|_| Failure::transient(format!("{place}: no answer within {} s", silence.as_secs())))?
            .map_err(|error| unanswered(&place, error))?;
        let status = response.status().as_u16();
        tracing::debug!(request = %place, number, status, "answered");
        let headers = response.headers().clone();
        Ok(Response::new(status, headers, Body::new(response, place.clone(), silence), place))
    }
}

fn asks_for_another_try(outcome: &Result<Response, Failure>, answers: &[u16]) -> bool {
    match outcome {
        Ok(response) => {
            matches!(response.status(), 420 | 429 | 500..=599) && !answers.contains(&response.status())
        }
        Err(failure) => failure.class == Class::Transient,
    }
}

/// How long the answer asks to wait. Neither vendor documents it; a proxy in between may.
fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.header("retry-after")?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_WISH))
}

/// The longest wait that an answer may ask for.
const LONGEST_WISH: Duration = Duration::from_secs(60);

fn left_alone(host: &str, left: Duration) -> Failure {
    let seconds = left.as_secs() + 1;
    Failure::transient(format!("`{host}` has failed too often and is left alone for another {seconds} s"))
        .hint("see the status page of the vendor")
}

fn tried(mut failure: Failure, number: usize) -> Failure {
    failure.message = format!("{} (tried {number} times)", failure.message);
    failure
}

//! Submit, poll, read, cancel.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use engine::{Class, Failure};
use futures_util::future::BoxFuture;
use http_client::{Body, Http, Lease, Method, Request, Response, RetryPolicy, TokenCache, Url, from_io};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::account::{self, Identity, Proof, Secret};
use crate::problem::Problem;
use crate::write::Binding;

/// A client for one user. Cheap to share; every method may be called from many tasks at once.
pub struct Client {
    http: Http,
    identity: Mutex<Arc<Identity>>,
    tokens: TokenCache<SecretString>,
    again: Option<Box<Again>>,
    workload: Option<Box<Mint>>,
}

/// Reads the secret anew.
type Again = dyn Fn() -> BoxFuture<'static, Result<Secret, Failure>> + Send + Sync;

/// Makes a token of a workload identity.
type Mint = dyn Fn() -> BoxFuture<'static, Result<Lease<SecretString>, Failure>> + Send + Sync;

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("identity", &self.identity).finish_non_exhaustive()
    }
}

/// A statement to run. Names are sent as Snowflake stores them: an unquoted `crm` is `CRM`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatementRequest {
    /// One statement.
    pub sql: String,
    /// A UUID of the caller's: with it, a resubmission runs nothing twice.
    pub request_id: String,
    /// This request id may have been sent before.
    pub resubmission: bool,
    /// When Snowflake gives up, in seconds from its start; 0 is Snowflake's maximum of a week.
    pub timeout_seconds: u32,
    /// The user's default if absent.
    pub warehouse: Option<String>,
    /// The user's default if absent.
    pub role: Option<String>,
    /// The user's default if absent.
    pub database: Option<String>,
    /// The user's default if absent.
    pub schema: Option<String>,
    /// At most 2000 characters, for the query history.
    pub query_tag: String,
    /// What is bound to the `?` of the statement, in their order.
    pub bindings: Vec<Binding>,
}

/// What a poll found.
#[derive(Debug)]
pub enum Poll {
    /// Ask again later.
    Running,
    /// The result, for [`crate::read_result`]. It holds partition 0.
    Finished(Body),
}

#[derive(Serialize)]
struct Statement<'a> {
    statement: &'a str,
    timeout: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    warehouse: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    database: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    schema: Option<&'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    bindings: BTreeMap<String, &'a Binding>,
    parameters: Parameters<'a>,
}

/// No output format is ever sent: it would replace the documented wire form of dates and times.
#[derive(Serialize)]
struct Parameters<'a> {
    query_tag: &'a str,
    timezone: &'static str,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Accepted {
    statement_handle: Option<String>,
}

impl Client {
    /// A client that logs in with the secret when it is first needed.
    ///
    /// # Errors
    /// `Configuration` if the secret is not usable.
    pub fn new(secret: Secret) -> Result<Self, Failure> {
        Self::with_retry(secret, RetryPolicy::default())
    }

    /// As [`Client::new`], with another patience.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn with_retry(secret: Secret, retry: RetryPolicy) -> Result<Self, Failure> {
        let identity = Mutex::new(Arc::new(checked(&secret)?));
        Ok(Self { http: Http::new(retry)?, identity, tokens: TokenCache::new(), again: None, workload: None })
    }

    /// Asks for the secret once more when a new token is refused, too: it may have been changed since it was read.
    #[must_use]
    pub fn rotating(
        self,
        again: impl Fn() -> BoxFuture<'static, Result<Secret, Failure>> + Send + Sync + 'static,
    ) -> Self {
        Self { again: Some(Box::new(again)), ..self }
    }

    /// Makes the tokens of a workload identity: the token of the cloud with Snowflake's prefix,
    /// `WIF.AWS.<token>`.
    ///
    /// <https://docs.snowflake.com/en/user-guide/workload-identity-federation>
    #[must_use]
    pub fn with_identity(
        self,
        mint: impl Fn() -> BoxFuture<'static, Result<Lease<SecretString>, Failure>> + Send + Sync + 'static,
    ) -> Self {
        Self { workload: Some(Box::new(mint)), ..self }
    }

    /// Hands a statement over and returns its handle, which is the query id. The statement runs on its own.
    ///
    /// <https://docs.snowflake.com/en/developer-guide/sql-api/submitting-requests>
    ///
    /// # Errors
    /// By the code of the answer: `Configuration` for SQL that cannot be run, `Transient` if the same request
    /// may be sent again with `resubmission`.
    pub async fn submit(&self, statement: &StatementRequest) -> Result<String, Failure> {
        let url = |retry: bool| self.submit_url(&statement.request_id, retry);
        let document = statement.document();
        let response = self
            .call(|| {
                let request = Request::new(Method::POST, url(statement.resubmission)?).json(&document)?;
                Ok(request.second_url(url(true)?))
            })
            .await?;
        match response.status() {
            200 | 202 => accepted(response).await,
            _ => Err(Problem::read(response).await.failure()),
        }
    }

    /// Asks how a statement is doing.
    ///
    /// # Errors
    /// By the code of the answer; `Transient` with "the result has expired" if it must be extracted anew.
    pub async fn poll(&self, handle: &str) -> Result<Poll, Failure> {
        let url = self.statement_url(handle, None)?;
        let response = self.call(|| Ok(Request::new(Method::GET, url.clone()).accept_status(429))).await?;
        match response.status() {
            200 => Ok(Poll::Finished(response.into_body())),
            202 => Ok(Poll::Running),
            _ => {
                let problem = Problem::read(response).await;
                // 429 has two meanings here; with a handle it says that the statement goes on.
                let running = problem.http == 429 && problem.status.statement_handle.is_some();
                if running { Ok(Poll::Running) } else { Err(problem.failure()) }
            }
        }
    }

    /// A partition of a finished statement, as Snowflake packs it: gzip from partition 1 on.
    ///
    /// # Errors
    /// As [`Client::poll`]; `Transient` if the statement has not finished.
    pub async fn partition(&self, handle: &str, n: u32) -> Result<Body, Failure> {
        let url = self.statement_url(handle, Some(&format!("partition={n}")))?;
        let response = self.call(|| Ok(Request::new(Method::GET, url.clone()))).await?;
        match response.status() {
            200 => Ok(response.into_body()),
            _ => Err(Problem::read(response).await.failure()),
        }
    }

    /// Stops a statement. One that has ended, or is not known any more, is no error.
    ///
    /// # Errors
    /// By the code of the answer.
    pub async fn cancel(&self, handle: &str) -> Result<(), Failure> {
        let mut url = self.statement_url(handle, None)?;
        url.set_path(&format!("{}/cancel", url.path()));
        let response = self.call(|| Ok(Request::new(Method::POST, url.clone()))).await?;
        if response.is_success() {
            return Ok(());
        }
        let problem = Problem::read(response).await;
        let ended = problem.is_gone() || matches!(problem.code(), "000604" | "000605");
        if ended { Ok(()) } else { Err(problem.failure()) }
    }

    /// Sends a request with a token; once more with a new one if the token is refused, and once more if the secret
    /// was changed since it was read.
    async fn call(&self, build: impl Fn() -> Result<Request, Failure>) -> Result<Response, Failure> {
        let token = self.tokens.get(|| self.mint()).await?;
        let refused = self.http.send(self.authorize(build()?, &token)?).await?;
        if refused.status() != 401 {
            return Ok(refused);
        }
        let made_by_us = !matches!(self.identity().proof, Proof::Token(_));
        let token = self.tokens.renew(&token, || self.mint()).await?;
        let refused =
            if made_by_us { self.http.send(self.authorize(build()?, &token)?).await? } else { refused };
        if refused.status() != 401 || !self.rotate().await? {
            return Ok(refused);
        }
        let token = self.tokens.renew(&token, || self.mint()).await?;
        self.http.send(self.authorize(build()?, &token)?).await
    }

    async fn mint(&self) -> Result<Lease<SecretString>, Failure> {
        let identity = self.identity();
        match (&identity.proof, &self.workload) {
            (Proof::KeyPair { subject, key }, _) => account::sign(subject, key),
            (Proof::Token(token), _) => Ok(Lease { value: token.clone(), until: None }),
            (Proof::Workload, Some(mint)) => mint().await,
            (Proof::Workload, None) => {
                Err(Failure::configuration("`workload_identity` is for functions in AWS, and this is none")
                    .hint("use a `private_key` or a `token` elsewhere"))
            }
        }
    }

    /// Reads the secret anew; false when it is as it was.
    async fn rotate(&self) -> Result<bool, Failure> {
        let Some(again) = &self.again else { return Ok(false) };
        let identity = checked(&again().await?)?;
        let changed = !self.identity().is(&identity);
        *self.identity.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(identity);
        Ok(changed)
    }

    fn identity(&self) -> Arc<Identity> {
        Arc::clone(&self.identity.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn authorize(&self, request: Request, token: &Arc<SecretString>) -> Result<Request, Failure> {
        request
            .header("accept", "application/json")
            .header("x-snowflake-authorization-token-type", self.identity().proof.token_type())
            .bearer(token)
    }

    fn submit_url(&self, request_id: &str, retry: bool) -> Result<Url, Failure> {
        let mut url = self.join("api/v2/statements")?;
        let mut query = url.query_pairs_mut();
        query.append_pair("async", "true").append_pair("requestId", request_id);
        if retry {
            query.append_pair("retry", "true");
        }
        drop(query);
        Ok(url)
    }

    fn statement_url(&self, handle: &str, query: Option<&str>) -> Result<Url, Failure> {
        if handle.is_empty() || !handle.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
            return Err(Failure::bug("a statement handle holds more than letters, digits and hyphens"));
        }
        let mut url = self.join(&format!("api/v2/statements/{handle}"))?;
        url.set_query(query);
        Ok(url)
    }

    fn join(&self, path: &str) -> Result<Url, Failure> {
        let mut url = self.identity().base.clone();
        url.set_path(&format!("{}/{path}", url.path().trim_end_matches('/')));
        Ok(url)
    }
}

impl StatementRequest {
    fn document(&self) -> Statement<'_> {
        Statement {
            statement: &self.sql,
            timeout: self.timeout_seconds,
            warehouse: self.warehouse.as_deref(),
            role: self.role.as_deref(),
            database: self.database.as_deref(),
            schema: self.schema.as_deref(),
            bindings: (1..).map(|place: usize| place.to_string()).zip(&self.bindings).collect(),
            parameters: Parameters { query_tag: &self.query_tag, timezone: "UTC" },
        }
    }
}

fn checked(secret: &Secret) -> Result<Identity, Failure> {
    Identity::new(secret).map_err(|failure| failure.at("the secret of Snowflake"))
}

/// The handle of a statement that runs, or, after a resubmission, has already run: then the answer is the
/// whole result, which is read past.
async fn accepted(response: Response) -> Result<String, Failure> {
    let place = response.place();
    let body = response.into_body().into_blocking();
    let read = tokio::task::spawn_blocking(move || {
        let buffered = std::io::BufReader::with_capacity(64 << 10, body);
        serde_json::from_reader::<_, Accepted>(buffered)
    });
    let accepted = read.await.map_err(|_| Failure::bug("the reader of an answer panicked"))?;
    let handle = accepted.map_err(|error| unreadable(error).at(&place))?.statement_handle;
    handle.ok_or_else(|| {
        Failure::new(Class::Transient, format!("{place}: the answer names no statement handle"))
    })
}

/// A JSON error without its text, which may quote the document; or the failure that caused it.
pub(crate) fn unreadable(error: serde_json::Error) -> Failure {
    if error.is_io() {
        return from_io(error.into());
    }
    Failure::transient(format!(
        "the answer is not the documented JSON ({:?} error in line {}, column {})",
        error.classify(),
        error.line(),
        error.column()
    ))
}

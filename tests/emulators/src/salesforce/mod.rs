//! The Salesforce org stand-in: OAuth, Bulk API 2.0 ingest and query jobs, and the REST calls around them.
//!
//! It keeps all records in memory, applies the documented rules to every row (types, lengths, picklists, keys,
//! parents), and answers with the documented bodies and codes. What the vendor does not document is chosen on
//! the strict side, so that a client that gets along here gets along there.

#![expect(
    clippy::result_large_err,
    reason = "a refusal is an answer like any other, and is moved once or twice"
)]

mod auth;
mod decimal;
mod header;
mod http;
mod ids;
mod input;
mod jobs;
mod multipart;
mod process;
mod query_jobs;
mod records;
mod rest;
mod results;
mod schema;
mod server;
mod soap;
mod soql;
mod table;
mod usage;
mod value;
mod write;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use crate::faults::{Script, Served};
use crate::tls::Front;

pub use self::jobs::{JobState, JobView};
pub use self::schema::{Field, Kind, Object, Schema};
pub use self::write::{Refusal, Written};

/// The oldest version the org serves.
const OLDEST: u32 = 50;
/// The newest version the org serves.
const NEWEST: u32 = 67;

/// How long a job stays in a state.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    /// How often the job must be asked for in that state; 0 lets it go on by itself.
    pub polls: u32,
    /// How long it stays at least.
    pub delay: Duration,
}

impl Pace {
    /// Stays until it was asked for so often.
    #[must_use]
    pub fn polls(polls: u32) -> Self {
        Self { polls, delay: Duration::ZERO }
    }

    /// Stays for a time.
    #[must_use]
    pub fn delay(delay: Duration) -> Self {
        Self { polls: 0, delay }
    }
}

/// What an empty result file looks like; the vendor has shown all three.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EmptyResults {
    /// A header line.
    #[default]
    HeaderOnly,
    /// Status 200 and nothing.
    EmptyBody,
    /// Status 204.
    NoContent,
}

/// The org's allocations: section "Bulk API and Bulk API 2.0 Limits and Allocations" and "API Request Limits and
/// Allocations" of the vendor's limits quick reference. Each is counted over a rolling window of the org's clock.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// REST and bulk calls in 24 hours; past it every call is refused with `REQUEST_LIMIT_EXCEEDED`.
    pub daily_api_requests: u64,
    /// Internal batches of 10,000 rows in 24 hours; rows past it appear in no result.
    pub daily_batches: u64,
    /// Rows of ingest jobs in 24 hours; past it a job is `Failed`, and the rest of its rows are unprocessed.
    pub daily_rows: u64,
    /// Query jobs in 24 hours.
    pub daily_query_jobs: u64,
    /// Ingest jobs that have not ended; the vendor documents the code `TOO_MANY_JOBS`, but no number.
    pub live_jobs: usize,
    /// Calls at work for 20 seconds or more; while there are so many, further calls are refused.
    pub long_calls: u64,
    /// Logins in an hour.
    pub logins_per_hour: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            daily_api_requests: 1_000_000,
            daily_batches: 15_000,
            daily_rows: 150_000_000,
            daily_query_jobs: 10_000,
            live_jobs: usize::MAX,
            long_calls: 25,
            logins_per_hour: 3_600,
        }
    }
}

/// What an org is like.
#[derive(Clone, Debug)]
pub struct OrgConfig {
    /// Objects and fields.
    pub schema: Schema,
    /// The port on loopback; 0 takes any free one.
    pub port: u16,
    /// Serves HTTPS on that port, and names that address in answers: some clients speak nothing else. Plain HTTP
    /// goes on at [`OrgServer::plain_url`].
    pub https: bool,
    /// The user that integrations run as.
    pub username: String,
    /// The user's password with the security token after it, for the OAuth password flow and SOAP `login()`.
    /// Without one both are off, as in a new org: sections "Username-Password Flow" and "login()".
    pub password: Option<String>,
    /// The consumer key of the connected app.
    pub client_id: String,
    /// The consumer secret of the connected app.
    pub client_secret: String,
    /// Decides the order of result rows.
    pub seed: u64,
    /// How long a job is `UploadComplete`.
    pub queued: Pace,
    /// How long a job stays `InProgress` after its rows are done.
    pub running: Pace,
    /// How long each internal batch takes at least.
    pub batch_delay: Duration,
    /// Halts every job after so many batches until [`OrgServer::release_jobs`] or an abort.
    pub hold_after_batches: Option<u64>,
    /// Batches that work side by side; from 2 on, rows whose parent is locked by another batch are refused.
    pub parallel_batches: u32,
    /// What an empty result file looks like.
    pub empty_results: EmptyResults,
    /// Allocations.
    pub limits: Limits,
    /// Whether another login of the same user gets the running session's token.
    pub share_sessions: bool,
    /// How long a session lives.
    pub session_lifetime: Duration,
    /// Whether uploads may be packed.
    pub gzip_uploads: bool,
    /// The largest upload in bytes: 150 MB after base64.
    pub upload_limit: usize,
    /// Whether uploads are kept after processing, for [`OrgServer::received_csv`].
    pub keep_uploads: bool,
    /// How many of the latest writes [`OrgServer::audit`] remembers; 0 switches it off.
    pub audit_limit: usize,
    /// Whether the user may delete for good.
    pub allow_hard_delete: bool,
    /// Whether messages of errors come in another language, as for a user who has chosen one; codes never do.
    pub foreign_messages: bool,
}

impl Default for OrgConfig {
    fn default() -> Self {
        Self {
            schema: Schema::standard(),
            port: 0,
            https: false,
            username: "integration@example.com".to_owned(),
            password: None,
            client_id: "3MVG9.EmulatedConsumerKey".to_owned(),
            client_secret: "emulated-consumer-secret".to_owned(),
            seed: 1,
            queued: Pace::default(),
            running: Pace::default(),
            batch_delay: Duration::ZERO,
            hold_after_batches: None,
            parallel_batches: 1,
            empty_results: EmptyResults::HeaderOnly,
            limits: Limits::default(),
            share_sessions: true,
            session_lifetime: Duration::from_secs(7_200),
            gzip_uploads: false,
            upload_limit: 112_500_000,
            keep_uploads: false,
            audit_limit: 10_000,
            allow_hard_delete: false,
            foreign_messages: false,
        }
    }
}

/// Makes orgs.
#[derive(Debug)]
pub struct Org;

impl Org {
    /// Starts an org on loopback.
    ///
    /// # Errors
    /// If the port cannot be bound.
    pub async fn start(config: OrgConfig) -> std::io::Result<OrgServer> {
        tokio::task::spawn_blocking(move || OrgServer::start(config)).await.map_err(std::io::Error::other)?
    }
}

/// Everything the handlers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: OrgConfig,
    pub(crate) schema: Arc<Schema>,
    pub(crate) identity: auth::Identity,
    pub(crate) usage: usage::Usage,
    pub(crate) started: i64,
    pub(crate) stopped: AtomicBool,
    pub(crate) released: AtomicBool,
    held: AtomicBool,
    database: Mutex<write::Database>,
    jobs: Mutex<jobs::Jobs>,
    queries: Mutex<query_jobs::Queries>,
    sessions: Mutex<auth::Sessions>,
    requests: Mutex<BTreeMap<String, u64>>,
    clock: AtomicI64,
    url: OnceLock<String>,
}

/// Why the locks of this org are never poisoned.
pub(crate) const UNPOISONED: &str = "no holder of the org's state panics";

impl Shared {
    fn new(config: OrgConfig) -> Self {
        let schema = Arc::new(config.schema.clone());
        let mut database = write::Database::new(Arc::clone(&schema), config.audit_limit);
        records::seed_org(&mut database, &config.username);
        Self {
            schema,
            identity: auth::Identity::shared(),
            usage: usage::Usage::new(&config.limits),
            started: jiff::Timestamp::now().as_millisecond(),
            stopped: AtomicBool::new(false),
            released: AtomicBool::new(false),
            held: AtomicBool::new(false),
            database: Mutex::new(database),
            jobs: Mutex::default(),
            queries: Mutex::default(),
            sessions: Mutex::default(),
            requests: Mutex::default(),
            clock: AtomicI64::new(0),
            url: OnceLock::new(),
            config,
        }
    }

    pub(crate) fn database(&self) -> MutexGuard<'_, write::Database> {
        self.database.lock().expect(UNPOISONED)
    }

    pub(crate) fn jobs(&self) -> MutexGuard<'_, jobs::Jobs> {
        self.jobs.lock().expect(UNPOISONED)
    }

    pub(crate) fn queries(&self) -> MutexGuard<'_, query_jobs::Queries> {
        self.queries.lock().expect(UNPOISONED)
    }

    pub(crate) fn sessions(&self) -> MutexGuard<'_, auth::Sessions> {
        self.sessions.lock().expect(UNPOISONED)
    }

    pub(crate) fn requests(&self) -> MutexGuard<'_, BTreeMap<String, u64>> {
        self.requests.lock().expect(UNPOISONED)
    }

    /// The org's time in milliseconds since 1970.
    pub(crate) fn now(&self) -> i64 {
        jiff::Timestamp::now().as_millisecond() + self.clock.load(Ordering::SeqCst)
    }

    pub(crate) fn url(&self) -> String {
        self.url.get().cloned().unwrap_or_default()
    }

    /// Keeps a call at work for as long as a test wants it to be.
    pub(crate) fn hold(&self) {
        while self.held.load(Ordering::SeqCst) && !self.stopped.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// A running org; it stops when dropped.
#[derive(Debug)]
pub struct OrgServer {
    shared: Arc<Shared>,
    script: Script,
    served: Served,
    front: Option<Front>,
}

impl OrgServer {
    fn start(config: OrgConfig) -> std::io::Result<Self> {
        let (https, port) = (config.https, config.port);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, if https { 0 } else { port }));
        let (shared, script) = (Arc::new(Shared::new(config)), Script::default());
        let served = Served::start(address, server::router(Arc::clone(&shared)), script.clone())?;
        let front = https.then(|| Front::start(port, served.address())).transpose()?;
        let url = front.as_ref().map_or_else(|| served.url(), |front| front.url().to_owned());
        shared.url.set(url).expect("the address is set once");
        Ok(Self { shared, script, served, front })
    }

    /// `http://127.0.0.1:port`, or `https://localhost:port`: login host and instance alike.
    #[must_use]
    pub fn url(&self) -> String {
        self.shared.url()
    }

    /// `http://127.0.0.1:port`, also when it serves HTTPS.
    #[must_use]
    pub fn plain_url(&self) -> String {
        self.served.url()
    }

    /// The certificate of the authority that clients must trust, as PEM, when it serves HTTPS.
    #[must_use]
    pub fn certificate(&self) -> Option<&str> {
        self.front.as_ref().map(Front::certificate)
    }

    /// What a client needs to log in: `{"login_url","client_id","username","private_key"}` (PKCS#8 PEM).
    #[must_use]
    pub fn secret_json(&self) -> String {
        let config = &self.shared.config;
        serde_json::json!({
            "login_url": self.url(), "client_id": config.client_id, "username": config.username,
            "private_key": self.shared.identity.pem,
        })
        .to_string()
    }

    /// The private half of the connected app's certificate, for logins by JWT (PKCS#8 PEM).
    #[must_use]
    pub fn private_key_pem(&self) -> &str {
        &self.shared.identity.pem
    }

    /// The script of faults around the server.
    #[must_use]
    pub fn faults(&self) -> &Script {
        &self.script
    }

    /// Adds rows to refuse, such as ones that meet a validation rule or a lock.
    pub fn refuse(&self, refusal: Refusal) {
        self.shared.database().refusals.push(refusal);
    }

    /// Ends all sessions: the next call of every client is answered with 401.
    pub fn expire_tokens(&self) {
        self.shared.sessions().expire();
    }

    /// Lets jobs halted by [`OrgConfig::hold_after_batches`] go on.
    pub fn release_jobs(&self) {
        self.shared.released.store(true, Ordering::SeqCst);
    }

    /// Keeps every call that is let in from now on at work until [`Self::release_calls`].
    pub fn hold_calls(&self) {
        self.shared.held.store(true, Ordering::SeqCst);
    }

    /// Lets the calls kept by [`Self::hold_calls`] end.
    pub fn release_calls(&self) {
        self.shared.held.store(false, Ordering::SeqCst);
    }

    /// Moves the org's clock forward: sessions end, allocations come back, jobs left open are aborted after a day,
    /// cursors end after two days, finished jobs vanish after seven.
    pub fn advance_clock(&self, by: Duration) {
        let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        self.shared.clock.fetch_add(by, Ordering::SeqCst);
    }

    /// Writes records past all limits, as if another user had; the values are checked like any others.
    ///
    /// # Errors
    /// The first row's refusal, as `CODE:message:fields --`; nothing is written then.
    pub fn seed(&self, object: &str, rows: &[BTreeMap<String, String>]) -> Result<Vec<String>, String> {
        records::seed(&self.shared, object, rows)
    }

    /// Calls a function with every live record of an object; fields without a value are absent.
    pub fn visit(&self, object: &str, mut visitor: impl FnMut(BTreeMap<String, String>)) {
        let database = self.shared.database();
        records::live(&database, object).for_each(|(at, row)| visitor(records::fields(&database, at, row)));
    }

    /// All live records of an object; fields without a value are absent.
    #[must_use]
    pub fn records(&self, object: &str) -> Vec<BTreeMap<String, String>> {
        let mut all = Vec::new();
        self.visit(object, |record| all.push(record));
        all
    }

    /// The first live record whose field has a value, in the form in which the org keeps it.
    #[must_use]
    pub fn record_by(&self, object: &str, field: &str, value: &str) -> Option<BTreeMap<String, String>> {
        let database = self.shared.database();
        records::find(&database, object, field, value).map(|(at, row)| records::fields(&database, at, row))
    }

    /// How many live records an object has.
    #[must_use]
    pub fn count(&self, object: &str) -> usize {
        records::live(&self.shared.database(), object).count()
    }

    /// How many records were created, updated and deleted so far.
    #[must_use]
    pub fn write_counts(&self, object: &str) -> [u64; 3] {
        self.shared
            .schema
            .object(object)
            .map(|at| self.shared.database().tables[at].written)
            .unwrap_or_default()
    }

    /// All ingest jobs that were not deleted, oldest first.
    #[must_use]
    pub fn jobs(&self) -> Vec<JobView> {
        self.shared.jobs().views()
    }

    /// How often each call was made, as `POST /jobs/ingest` or `GET /jobs/ingest/{id}/failedResults`.
    #[must_use]
    pub fn request_counts(&self) -> BTreeMap<String, u64> {
        self.shared.requests().clone()
    }

    /// The latest writes, oldest first.
    #[must_use]
    pub fn audit(&self) -> Vec<Written> {
        self.shared.database().written.iter().cloned().collect()
    }

    /// The bytes uploaded to a job, if [`OrgConfig::keep_uploads`] is on or the job has not been processed.
    #[must_use]
    pub fn received_csv(&self, job: &str) -> Option<bytes::Bytes> {
        self.shared.jobs().upload(job)
    }
}

impl Drop for OrgServer {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
    }
}

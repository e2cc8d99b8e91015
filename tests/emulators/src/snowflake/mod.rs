//! The Snowflake stand-in: the SQL API v2 over an embedded SQLite.
//!
//! It follows the documented behaviour of
//! <https://docs.snowflake.com/en/developer-guide/sql-api/reference>: asynchronous statements, partitions (the first
//! plain, the others gzip), resubmission by request id, key-pair tokens, and every cell a string.

mod auth;
mod bind;
mod calendar;
mod catalog;
mod copy;
mod csv_file;
mod decimal;
mod email;
mod engine;
mod error;
mod expression;
mod formats;
mod functions;
mod http;
mod kind;
mod parameters;
mod query;
mod result;
mod run;
mod s3;
mod session;
mod statements;
mod udf;
mod variant;

use std::io::{self, Read as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use flate2::read::GzDecoder;
use serde_json::{Value as Json, json};

pub use self::catalog::Column;
pub use self::email::{Email, EmailIntegration};
pub use self::error::SqlError;
pub use self::kind::{Kind, Zone};
pub use self::s3::StorageIntegration;
pub use self::statements::Submitted;

use self::auth::Key;
use self::catalog::{Path, Session};
use self::engine::{Engine, Shape};
use self::result::Outcome;
use self::statements::Statements;
use crate::faults::{Script, Served};

/// What the account is and how it behaves.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen; port 0 takes any free port.
    pub address: SocketAddr,
    /// The account identifier, `organization-account`.
    pub account: String,
    /// The user whom the access token and AWS's token speak for.
    pub user: String,
    /// More users, with the same registered keys; nobody sees the statements of another.
    pub other_users: Vec<String>,
    /// Warehouses that exist; the first is the user's default.
    pub warehouses: Vec<String>,
    /// Roles granted to the user; the first is the default.
    pub roles: Vec<String>,
    /// Databases that exist from the start; loading a table makes its own.
    pub databases: Vec<String>,
    /// The token that AWS vouches with for the user, for `WIF.AWS.<token>`.
    pub workload_token: Option<String>,
    /// The programmatic access token of the user; `None` makes one up.
    pub access_token: Option<String>,
    /// The integration through which COPY INTO reaches S3.
    pub storage: Option<StorageIntegration>,
    /// The integration that sends email.
    pub email: Option<EmailIntegration>,
    /// Rows per partition; `None`: 4,096 in the first, then growing to 50,000.
    pub partition_rows: Option<u64>,
    /// How many status requests answer 202 before a finished statement shows.
    pub polls_before_done: u32,
    /// How long a synchronous submission waits before it answers 202.
    pub sync_window: Duration,
    /// One in so many synchronous submissions answers 202 at once, drawn from the seed; 0: none. Waiting is never
    /// guaranteed.
    pub surprise_202: u32,
    /// One in so many status requests to a running statement answers 429 with its handle, drawn from the seed; 0: none.
    pub busy_polls: u32,
    /// The pause before each tenth of a body.
    pub body_pause: Duration,
    /// How long every statement takes at least; a shorter `timeout` in the request fails it with 000630.
    pub statement_time: Duration,
    /// How long a result is kept after the statement finished.
    pub result_expiry: Duration,
    /// Where statement handles start; the same seed gives the same handles.
    pub seed: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            account: "BACKHAUL-DEMO".to_owned(),
            user: "BACKHAUL".to_owned(),
            other_users: Vec::new(),
            warehouses: vec!["COMPUTE_WH".to_owned(), "SYNC_WH".to_owned()],
            roles: vec!["SYNC_ROLE".to_owned(), "SYSADMIN".to_owned(), "PUBLIC".to_owned()],
            databases: vec!["SNOWFLAKE_SAMPLE_DATA".to_owned(), "CRM".to_owned()],
            workload_token: None,
            access_token: None,
            storage: None,
            email: None,
            partition_rows: None,
            polls_before_done: 1,
            sync_window: Duration::from_secs(45),
            surprise_202: 0,
            busy_polls: 0,
            body_pause: Duration::ZERO,
            statement_time: Duration::ZERO,
            result_expiry: Duration::from_secs(24 * 3600),
            seed: uuid::Uuid::new_v4().as_u64_pair().0,
        }
    }
}

impl Config {
    fn users(&self) -> Vec<String> {
        std::iter::once(&self.user).chain(&self.other_users).cloned().collect()
    }
}

/// Starts servers.
#[derive(Clone, Copy, Debug)]
pub struct Snowflake;

impl Snowflake {
    /// Starts an empty account on loopback.
    ///
    /// # Errors
    /// If the address cannot be bound, or the database or the key pair cannot be made.
    pub fn start(config: Config) -> io::Result<SnowflakeServer> {
        let mut engine = Engine::new().map_err(io::Error::other)?;
        engine.email.clone_from(&config.email);
        engine.storage.clone_from(&config.storage);
        engine.warehouses.clone_from(&config.warehouses);
        engine.roles.clone_from(&config.roles);
        for database in &config.databases {
            engine.catalog.create_database(database);
        }
        let statements = Statements::new(config.seed);
        let account = Arc::new(Account {
            keys: Mutex::new(vec![first_key()?]),
            engine: Mutex::new(engine),
            statements: Mutex::new(statements),
            pat: config
                .access_token
                .clone()
                .unwrap_or_else(|| format!("pat-{}", uuid::Uuid::new_v4().simple())),
            config,
        });
        let script = Script::default();
        let served = Served::start(account.config.address, http::router(account.clone()), script.clone())?;
        Ok(SnowflakeServer { account, script, served })
    }
}

/// One account; everything the handlers share.
pub(crate) struct Account {
    pub(crate) config: Config,
    pub(crate) keys: Mutex<Vec<Key>>,
    pub(crate) engine: Mutex<Engine>,
    pub(crate) statements: Mutex<Statements>,
    pub(crate) pat: String,
}

impl Account {
    pub(crate) fn engine(&self) -> MutexGuard<'_, Engine> {
        self.engine.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn statements(&self) -> MutexGuard<'_, Statements> {
        self.statements.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn keys(&self) -> Vec<Key> {
        self.keys.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    fn session(&self) -> Session {
        Session {
            warehouse: self.config.warehouses.first().cloned(),
            role: self.config.roles.first().cloned().unwrap_or_default(),
            account: self.config.account.to_uppercase(),
            user: self.config.user.to_uppercase(),
            ..Session::default()
        }
    }
}

/// A running account; it stops when dropped.
pub struct SnowflakeServer {
    account: Arc<Account>,
    script: Script,
    served: Served,
}

/// The rows of a statement run in process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rows {
    /// Column names in order.
    pub columns: Vec<String>,
    /// Cells in wire form; `None` is NULL.
    pub rows: Vec<Vec<Option<String>>>,
    /// How many rows an INSERT, UPDATE or DELETE touched.
    pub affected: u64,
}

impl SnowflakeServer {
    /// `http://127.0.0.1:port`
    #[must_use]
    pub fn url(&self) -> String {
        self.served.url()
    }

    /// The account identifier.
    #[must_use]
    pub fn account(&self) -> &str {
        &self.account.config.account
    }

    /// The user name.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.account.config.user
    }

    /// The private key of the newest registered pair, PKCS#8 PEM.
    #[must_use]
    pub fn private_key_pem(&self) -> String {
        self.account.keys().last().map(|key| key.pem.clone()).unwrap_or_default()
    }

    /// `SHA256:…` of the newest registered public key.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.account.keys().last().map(|key| key.fingerprint.clone()).unwrap_or_default()
    }

    /// A programmatic access token that is accepted as well.
    #[must_use]
    pub fn access_token(&self) -> &str {
        &self.account.pat
    }

    /// The secret document a client is given: `account`, `user`, `private_key`, `host`.
    #[must_use]
    pub fn secret_json(&self) -> String {
        let secret = json!({
            "account": self.account(),
            "user": self.user(),
            "private_key": self.private_key_pem(),
            "host": self.url(),
        });
        secret.to_string()
    }

    /// Registers a new key pair; the older ones stay valid if asked for.
    ///
    /// # Errors
    /// If no key can be made.
    pub fn rotate_key(&self, keep_older: bool) -> io::Result<()> {
        let key = Key::generate().map_err(io::Error::other)?;
        let mut keys = self.account.keys.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !keep_older {
            keys.clear();
        }
        keys.push(key);
        Ok(())
    }

    /// The faults to carry out, and the requests seen.
    #[must_use]
    pub fn faults(&self) -> &Script {
        &self.script
    }

    /// Runs statements (separated by `;`) without the API; the rows are those of the last one.
    ///
    /// # Errors
    /// What Snowflake would answer.
    pub fn execute(&self, sql: &str) -> Result<Rows, SqlError> {
        let mut engine = self.account.engine();
        let mut session = self.account.session();
        let mut last = Ok(Rows { columns: Vec::new(), rows: Vec::new(), affected: 0 });
        for statement in engine::parse(sql)? {
            let outcome = engine.run(&statement, &mut session, &Vec::new(), &Shape::default());
            last = outcome.map(|outcome| rows(&outcome));
            if last.is_err() {
                break;
            }
        }
        engine.end_session();
        last
    }

    /// Creates or replaces a table (`DATABASE.SCHEMA.TABLE`, exact names) and fills it in one transaction.
    ///
    /// Cells are in wire form: decimal text, `true`/`false`, days or `YYYY-MM-DD`, upper-case hex, JSON text.
    ///
    /// # Errors
    /// If a value does not fit its column or the name does not have three parts.
    pub fn load(
        &self,
        table: &str,
        columns: &[Column],
        rows: impl IntoIterator<Item = Vec<Option<String>>>,
    ) -> Result<u64, SqlError> {
        let parts: Vec<&str> = table.split('.').collect();
        let [database, schema, name] = parts.as_slice() else {
            return Err(SqlError::compilation(
                "001003",
                "42000",
                format!("`{table}` is not DATABASE.SCHEMA.TABLE"),
            ));
        };
        let path =
            Path { database: (*database).to_owned(), schema: (*schema).to_owned(), name: (*name).to_owned() };
        self.account.engine().load(&path, columns, rows.into_iter())
    }

    /// The query tags of all submissions, in order; a submission without one is left out.
    #[must_use]
    pub fn query_tags(&self) -> Vec<String> {
        self.submitted().into_iter().filter_map(|submitted| submitted.query_tag).collect()
    }

    /// Everything that was run through the API, in order; a resubmission that was recognised is not run again.
    #[must_use]
    pub fn submitted(&self) -> Vec<Submitted> {
        self.account.statements().submitted()
    }

    /// How many statements have not come to their end.
    #[must_use]
    pub fn running(&self) -> usize {
        let history = self.account.statements().history();
        history.iter().filter(|(_, status, _)| *status == "RUNNING").count()
    }

    /// The emails that were accepted, in order.
    #[must_use]
    pub fn outbox(&self) -> Vec<Email> {
        self.account.engine().outbox.clone()
    }

    /// Lets all finished results expire now.
    pub fn expire_results(&self) {
        self.account.statements().expire();
    }
}

/// One key pair per process for the first key of every account: making one takes a noticeable time.
fn first_key() -> io::Result<Key> {
    static KEY: OnceLock<Key> = OnceLock::new();
    if let Some(key) = KEY.get() {
        return Ok(key.clone());
    }
    let key = Key::generate().map_err(io::Error::other)?;
    Ok(KEY.get_or_init(|| key).clone())
}

fn rows(outcome: &Outcome) -> Rows {
    let mut out = Vec::new();
    for (i, partition) in outcome.partitions.iter().enumerate() {
        let mut text = String::new();
        let mut value: Json = if i == 0 {
            serde_json::from_slice(&partition.body).unwrap_or_default()
        } else {
            let _ = GzDecoder::new(partition.body.as_ref()).read_to_string(&mut text);
            serde_json::from_str::<Json>(&text).unwrap_or_default()["data"].take()
        };
        for row in value.as_array_mut().into_iter().flatten() {
            let cells = row.as_array().into_iter().flatten();
            out.push(cells.map(|cell| cell.as_str().map(str::to_owned)).collect());
        }
    }
    let stats = outcome.stats.unwrap_or_default();
    Rows {
        columns: outcome.columns.iter().map(|column| column.name.clone()).collect(),
        rows: out,
        affected: stats.inserted + stats.updated + stats.deleted,
    }
}

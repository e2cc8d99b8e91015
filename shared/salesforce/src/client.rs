//! Calls in general, and describe.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use engine::contract::Object;
use engine::{Class, Failure};
use futures_util::future::BoxFuture;
use http_client::{Http, Lease, Method, Request, Response, RetryPolicy, TokenCache};

use crate::login::{Login, Secret};
use crate::problem::Problem;
use crate::session::{Session, Shelf};
use crate::usage::ApiUsage;

/// The version of the API that every path names.
pub const API_VERSION: &str = "v66.0";

/// A client for one user of one org. Cheap to share; every method may be called from many tasks at once.
pub struct Client {
    pub(crate) http: Http,
    login: Mutex<Arc<Login>>,
    sessions: TokenCache<Session>,
    shelf: Option<Shelf>,
    again: Option<Box<Again>>,
    usage: Mutex<Option<ApiUsage>>,
}

/// Reads the secret anew.
type Again = dyn Fn() -> BoxFuture<'static, Result<Secret, Failure>> + Send + Sync;

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("login", &self.login).finish_non_exhaustive()
    }
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
        Ok(Self {
            http: Http::new(retry)?,
            login: Mutex::new(Arc::new(checked(&secret)?)),
            sessions: TokenCache::new(),
            shelf: None,
            again: None,
            usage: Mutex::new(None),
        })
    }

    /// Shares its sessions with all clients that have the same shelf.
    #[must_use]
    pub fn shared(self, shelf: Shelf) -> Self {
        Self { shelf: Some(shelf), ..self }
    }

    /// Asks for the secret once more when a login is refused: it may have been changed since it was read.
    #[must_use]
    pub fn rotating(
        self,
        again: impl Fn() -> BoxFuture<'static, Result<Secret, Failure>> + Send + Sync + 'static,
    ) -> Self {
        Self { again: Some(Box::new(again)), ..self }
    }

    /// The shape of an object as the running user sees it: a field without rights is absent.
    ///
    /// # Errors
    /// `Configuration` if the object does not exist or is out of sight; otherwise by the code of the answer.
    pub async fn describe(&self, object: &str) -> Result<Object, Failure> {
        let unseen = || {
            Failure::configuration(format!("object `{object}` does not exist or the user cannot see it"))
                .hint("check the API name (custom objects end in `__c`) and the user's object permissions")
        };
        if object.is_empty() || !object.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err(unseen());
        }
        let path = format!("sobjects/{object}/describe");
        let response = self.call(|session| Ok(session.request(Method::GET, &path))).await?;
        if response.is_success() {
            return response.json().await;
        }
        let problem = Problem::read(response).await;
        Err(if problem.is_not_found() { unseen() } else { problem.failure() })
    }

    /// Requests that this client has sent, each try and each login counted.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.http.sent()
    }

    /// The API calls of the org, as the last answer told them.
    #[must_use]
    pub fn usage(&self) -> Option<ApiUsage> {
        *self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a request in a session; once more in a new one if the session has ended.
    pub(crate) async fn call(
        &self,
        build: impl Fn(&Session) -> Result<Request, Failure>,
    ) -> Result<Response, Failure> {
        let session = self.session().await?;
        let response = self.send(build(&session)?, &session).await?;
        if response.status() != 401 {
            return Ok(response);
        }
        let problem = Problem::read(response).await;
        if problem.code() == "INVALID_AUTH_HEADER" {
            return Err(problem.failure());
        }
        let session = self.renewed(&session).await?;
        self.send(build(&session)?, &session).await
    }

    pub(crate) async fn session(&self) -> Result<Arc<Session>, Failure> {
        self.sessions.get(|| self.obtain(0)).await
    }

    pub(crate) async fn renewed(&self, ended: &Arc<Session>) -> Result<Arc<Session>, Failure> {
        self.sessions.renew(ended, || self.obtain(ended.number + 1)).await
    }

    /// The last session from a number on that somebody has kept, or a new one.
    async fn obtain(&self, from: u32) -> Result<Lease<Session>, Failure> {
        let lease = |value| Lease { value, until: None };
        let Some(shelf) = &self.shelf else { return self.mint(from).await.map(lease) };
        let (mut found, mut number) = (None, from);
        while let Some(sealed) = (shelf.read)(number).await? {
            found = self.login().sealer.open(number, &sealed);
            number += 1;
        }
        if let Some(session) = found {
            return Ok(lease(session));
        }
        let session = self.mint(number).await?;
        let sealed = self.login().sealer.seal(&session)?;
        if (shelf.keep)(number, sealed).await? {
            return Ok(lease(session));
        }
        // Somebody was faster: theirs is used, so that ours is not needed again.
        let theirs = (shelf.read)(number).await?;
        let theirs = theirs.and_then(|sealed| self.login().sealer.open(number, &sealed));
        Ok(lease(theirs.unwrap_or(session)))
    }

    async fn mint(&self, number: u32) -> Result<Session, Failure> {
        let refused = match self.login().mint(&self.http, number).await {
            Err(failure) if failure.class == Class::Configuration => failure,
            outcome => return outcome,
        };
        let Some(again) = &self.again else { return Err(refused) };
        let login = Arc::new(checked(&again().await?)?);
        if self.login().is(&login) {
            return Err(refused);
        }
        *self.login.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&login);
        login.mint(&self.http, number).await
    }

    fn login(&self) -> Arc<Login> {
        Arc::clone(&self.login.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sends a request as it is, and notes the API usage that the answer tells.
    pub(crate) async fn send(&self, request: Request, session: &Session) -> Result<Response, Failure> {
        let request = request.header("sforce-call-options", "client=Backhaul").bearer(&session.token)?;
        let response = self.http.send(request).await?;
        if let Some(usage) = response.header("sforce-limit-info").and_then(ApiUsage::parse) {
            *self.usage.lock().unwrap_or_else(PoisonError::into_inner) = Some(usage);
        }
        Ok(response)
    }
}

fn checked(secret: &Secret) -> Result<Login, Failure> {
    Login::new(secret).map_err(|failure| failure.at("the secret of Salesforce"))
}

impl Session {
    /// A request below the versioned root of the org.
    pub(crate) fn request(&self, method: Method, path: &str) -> Request {
        let mut url = self.instance.clone();
        url.set_path(&format!("{}/services/data/{API_VERSION}/{path}", url.path().trim_end_matches('/')));
        Request::new(method, url).header("accept", "application/json")
    }
}

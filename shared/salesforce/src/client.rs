//! Calls in general, and describe.

use std::sync::{Arc, Mutex, PoisonError};

use engine::Failure;
use engine::contract::Object;
use http_client::{Http, Method, Request, Response, RetryPolicy, TokenCache};

use crate::login::{Login, Secret, Session};
use crate::problem::Problem;
use crate::usage::ApiUsage;

/// The version of the API that every path names.
pub const API_VERSION: &str = "v66.0";

/// A client for one user of one org. Cheap to share; every method may be called from many tasks at once.
#[derive(Debug)]
pub struct Client {
    pub(crate) http: Http,
    login: Login,
    sessions: TokenCache<Session>,
    usage: Mutex<Option<ApiUsage>>,
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
        let login = Login::new(&secret).map_err(|failure| failure.at("the secret of Salesforce"))?;
        Ok(Self { http: Http::new(retry)?, login, sessions: TokenCache::new(), usage: Mutex::new(None) })
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
        self.sessions.get(|| self.login.mint(&self.http)).await
    }

    pub(crate) async fn renewed(&self, ended: &Arc<Session>) -> Result<Arc<Session>, Failure> {
        self.sessions.renew(ended, || self.login.mint(&self.http)).await
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

impl Session {
    /// A request below the versioned root of the org.
    pub(crate) fn request(&self, method: Method, path: &str) -> Request {
        let mut url = self.instance.clone();
        url.set_path(&format!("{}/services/data/{API_VERSION}/{path}", url.path().trim_end_matches('/')));
        Request::new(method, url).header("accept", "application/json")
    }
}

//! Logging in: the JWT bearer flow, or the client credentials flow.
//!
//! <https://help.salesforce.com/s/articleView?id=xcloud.remoteaccess_oauth_jwt_flow.htm>,
//! <https://help.salesforce.com/s/articleView?id=xcloud.remoteaccess_oauth_client_credentials_flow.htm>

use std::time::{Duration, SystemTime};

use engine::{Class, Failure};
use http_client::{Http, Method, Request, Response, SigningKey, Url, base_url, class_of_status};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::problem::one_line;
use crate::session::{Sealer, Session};

/// How long an assertion is good for; Salesforce documents three minutes at most.
const LIFE: Duration = Duration::from_secs(120);

/// The secret document: how to log in as the run-as user of an external client app. With a `private_key` the JWT
/// bearer flow is used, with a `client_secret` the client credentials flow.
#[derive(Clone, Debug, Deserialize)]
pub struct Secret {
    /// `https://login.salesforce.com`, `https://test.salesforce.com` or the address of My Domain; for client
    /// credentials always My Domain.
    pub login_url: String,
    /// The consumer key of the app.
    pub client_id: String,
    /// The user that loads; for client credentials the app names it.
    #[serde(default)]
    pub username: Option<String>,
    /// The unencrypted private key of the app's certificate, PEM; line breaks may be written as `\n`.
    #[serde(default)]
    pub private_key: Option<SecretString>,
    /// The consumer secret of the app.
    #[serde(default)]
    pub client_secret: Option<SecretString>,
    /// The audience of the assertion, where it is not `login_url`.
    #[serde(default)]
    pub audience: Option<String>,
}

/// A secret that was checked.
#[derive(Debug)]
pub(crate) struct Login {
    url: Url,
    client_id: String,
    flow: Flow,
    /// Seals the sessions that this login gives.
    pub(crate) sealer: Sealer,
}

#[derive(Debug)]
enum Flow {
    JwtBearer { username: String, audience: String, key: SigningKey },
    ClientCredentials { client_secret: SecretString },
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    exp: u64,
}

#[derive(Deserialize)]
struct Granted {
    access_token: SecretString,
    instance_url: String,
}

#[derive(Default, Deserialize)]
struct Refused {
    #[serde(default)]
    error: String,
    #[serde(default)]
    error_description: String,
}

impl Login {
    pub(crate) fn new(secret: &Secret) -> Result<Self, Failure> {
        let client_id = filled("client_id", Some(&secret.client_id))?;
        let login_url = base_url("login_url", &secret.login_url)?;
        let (flow, key) = match (&secret.private_key, &secret.client_secret) {
            (Some(key), None) => (jwt_bearer(secret, &login_url, key)?, key),
            (None, Some(client_secret)) => (client_credentials(&login_url, client_secret)?, client_secret),
            _ => {
                return Err(Failure::configuration(
                    "it holds neither or both of `private_key` and `client_secret`",
                )
                .hint("a `private_key` logs in by JWT bearer, a `client_secret` by client credentials"));
            }
        };
        let mut url = login_url;
        url.set_path(&format!("{}/services/oauth2/token", url.path().trim_end_matches('/')));
        Ok(Self { url, client_id, flow, sealer: Sealer::new(key)? })
    }

    /// Whether both log in with the same secret: the fingerprint of the derived key tells.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.url == other.url && self.client_id == other.client_id && self.sealer.is(&other.sealer)
    }

    /// Logs in; the session gets `number`. The answer does not say how long it lives: a 401 will.
    pub(crate) async fn mint(&self, http: &Http, number: u32) -> Result<Session, Failure> {
        let request = Request::new(Method::POST, self.url.clone()).header("accept", "application/json");
        let request = match &self.flow {
            Flow::JwtBearer { username, audience, key } => {
                let assertion = self.assertion(username, audience, key)?;
                request.form(&[
                    ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
                    ("assertion", assertion.expose_secret()),
                ])
            }
            Flow::ClientCredentials { client_secret } => request.form(&[
                ("grant_type", "client_credentials"),
                ("client_id", &self.client_id),
                ("client_secret", client_secret.expose_secret()),
            ]),
        };
        let response = http.send(request).await?;
        if !response.is_success() {
            return Err(refused(response).await);
        }
        let granted: Granted = response.json().await?;
        let instance = base_url("instance_url", &granted.instance_url)?;
        Ok(Session { token: granted.access_token, instance, number })
    }

    fn assertion(&self, username: &str, audience: &str, key: &SigningKey) -> Result<SecretString, Failure> {
        let exp = (SystemTime::now() + LIFE)
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_err(|_| Failure::bug("the clock of this machine stands before 1970"))?;
        key.sign(&Claims { iss: &self.client_id, sub: username, aud: audience, exp: exp.as_secs() })
    }
}

fn filled(name: &str, value: Option<&String>) -> Result<String, Failure> {
    let value = value.map(|value| value.trim()).filter(|value| !value.is_empty());
    value.map(str::to_owned).ok_or_else(|| Failure::configuration(format!("`{name}` is empty")))
}

fn jwt_bearer(secret: &Secret, login_url: &Url, key: &SecretString) -> Result<Flow, Failure> {
    let audience = secret.audience.as_deref().unwrap_or(login_url.as_str());
    Ok(Flow::JwtBearer {
        username: filled("username", secret.username.as_ref())?,
        audience: audience.trim_end_matches('/').to_owned(),
        key: SigningKey::parse("private_key", key)?,
    })
}

/// Salesforce grants client credentials at the address of My Domain only.
fn client_credentials(login_url: &Url, client_secret: &SecretString) -> Result<Flow, Failure> {
    if matches!(login_url.host_str(), Some("login.salesforce.com" | "test.salesforce.com")) {
        return Err(Failure::configuration("`login_url` takes no client credentials")
            .hint("write the address of My Domain, such as `https://acme.my.salesforce.com`"));
    }
    if client_secret.expose_secret().trim().is_empty() {
        return Err(Failure::configuration("`client_secret` is empty"));
    }
    Ok(Flow::ClientCredentials { client_secret: client_secret.clone() })
}

async fn refused(response: Response) -> Failure {
    let (place, status) = (response.place(), response.status());
    let refused: Refused = serde_json::from_slice(&response.error_body().await).unwrap_or_default();
    if refused.error.is_empty() {
        return unexplained(&place, status);
    }
    let (class, hint) = advice(&refused.error, status);
    let text = one_line(&refused.error_description);
    Failure::new(class, format!("{place}: the login is refused ({}): {text}", one_line(&refused.error)))
        .hint(hint)
}

fn unexplained(place: &str, status: u16) -> Failure {
    let class = class_of_status(status);
    let failure = Failure::new(class, format!("{place}: status {status} without a reason"));
    if class == Class::Configuration { failure.hint("check `login_url` in the secret") } else { failure }
}

/// <https://help.salesforce.com/s/articleView?id=xcloud.remoteaccess_oauth_flow_errors.htm>
fn advice(error: &str, status: u16) -> (Class, &'static str) {
    let hint = match error {
        "invalid_grant" => {
            "let an admin pre-authorise the user for the app (policy `Admin approved users are pre-authorized` \
             and a permission set); check `username`, that `login_url` is `login` for production and `test` for \
             a sandbox, that the app holds the certificate of this key, and the clock"
        }
        "invalid_client_id" | "invalid_client" => {
            "check `client_id`: it is the consumer key of the app; a new app takes ten minutes to be known"
        }
        "invalid_app_access" => "let an admin approve the app for the user (a permission set or the profile)",
        "unsupported_grant_type" => "enable the flow of the app: JWT bearer, or client credentials",
        _ if status >= 500 || status == 420 => {
            return (Class::Transient, "Salesforce may be down: see its status page");
        }
        // The code that the login history shows; its status is not documented.
        "login_rate_exceeded" | "LOGIN_RATE_EXCEEDED" => {
            return (Class::Quota, "a user may log in 3600 times an hour");
        }
        _ if status == 429 => return (Class::Quota, "a user may log in 3600 times an hour"),
        _ => "see the login history of the user",
    };
    (Class::Configuration, hint)
}

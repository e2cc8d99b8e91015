//! The JWT bearer flow.
//!
//! <https://help.salesforce.com/s/articleView?id=xcloud.remoteaccess_oauth_jwt_flow.htm>

use std::time::{Duration, SystemTime};

use engine::{Class, Failure};
use http_client::{Http, Lease, Method, Request, Response, SigningKey, Url, base_url, class_of_status};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::problem::one_line;

/// How long an assertion is good for; Salesforce documents three minutes at most.
const LIFE: Duration = Duration::from_secs(120);

/// The secret document: how to log in as the run-as user of an external client app.
#[derive(Clone, Debug, Deserialize)]
pub struct Secret {
    /// `https://login.salesforce.com`, `https://test.salesforce.com` or the address of My Domain.
    pub login_url: String,
    /// The consumer key of the app.
    pub client_id: String,
    /// The user that loads.
    pub username: String,
    /// The unencrypted private key of the app's certificate, PEM; line breaks may be written as `\n`.
    pub private_key: SecretString,
    /// The audience of the assertion, where it is not `login_url`.
    #[serde(default)]
    pub audience: Option<String>,
}

/// A secret that was checked.
#[derive(Debug)]
pub(crate) struct Login {
    url: Url,
    audience: String,
    client_id: String,
    username: String,
    key: SigningKey,
}

/// What a login gives: where to call, and with what. Its `Debug` hides the token.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) token: SecretString,
    pub(crate) instance: Url,
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
        for (name, value) in [("client_id", &secret.client_id), ("username", &secret.username)] {
            if value.trim().is_empty() {
                return Err(Failure::configuration(format!("`{name}` is empty")));
            }
        }
        let login_url = base_url("login_url", &secret.login_url)?;
        let audience = secret.audience.clone().unwrap_or_else(|| login_url.as_str().to_owned());
        let mut url = login_url;
        url.set_path(&format!("{}/services/oauth2/token", url.path().trim_end_matches('/')));
        Ok(Self {
            url,
            audience: audience.trim_end_matches('/').to_owned(),
            client_id: secret.client_id.trim().to_owned(),
            username: secret.username.trim().to_owned(),
            key: SigningKey::parse("private_key", &secret.private_key)?,
        })
    }

    /// Logs in. The answer does not say how long the session lives: a 401 will.
    pub(crate) async fn mint(&self, http: &Http) -> Result<Lease<Session>, Failure> {
        let assertion = self.assertion()?;
        let form = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
            ("assertion", assertion.expose_secret()),
        ];
        let request = Request::new(Method::POST, self.url.clone()).header("accept", "application/json");
        let response = http.send(request.form(&form)).await?;
        if !response.is_success() {
            return Err(refused(response).await);
        }
        let granted: Granted = response.json().await?;
        let instance = base_url("instance_url", &granted.instance_url)?;
        Ok(Lease { value: Session { token: granted.access_token, instance }, until: None })
    }

    fn assertion(&self) -> Result<SecretString, Failure> {
        let exp = (SystemTime::now() + LIFE)
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_err(|_| Failure::bug("the clock of this machine stands before 1970"))?;
        self.key.sign(&Claims {
            iss: &self.client_id,
            sub: &self.username,
            aud: &self.audience,
            exp: exp.as_secs(),
        })
    }
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
        "unsupported_grant_type" => "enable the JWT bearer flow of the app",
        _ if status >= 500 || status == 420 => {
            return (Class::Transient, "Salesforce may be down: see its status page");
        }
        _ if status == 429 => return (Class::Quota, "a user may log in 3600 times an hour"),
        _ => "see the login history of the user",
    };
    (Class::Configuration, hint)
}

//! Secrets out of AWS Secrets Manager:
//! <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html>.
//!
//! Failures name the secret and the key at fault, never what either holds.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use aws_sdk_secretsmanager::Client;
use engine::Failure;
use futures_util::FutureExt;
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use tokio::sync::{Mutex, OnceCell};

use crate::{sdk, settings::Variable};

/// How long a process keeps a secret: a rotated key is used soon, and Secrets Manager is seldom asked.
const KEPT: Duration = Duration::from_mins(10);

/// The secret that `variable` names, as a `T`.
///
/// # Errors
/// `Configuration` when the variable is not set, the secret is missing or denied, or is not a `T`;
/// `Transient` when Secrets Manager does not answer.
pub async fn secret<T: DeserializeOwned>(variable: Variable) -> Result<T, Failure> {
    let id = variable.required()?;
    decode(&id, variable, &secrets().await.get(&id, variable).await?)
}

/// The secret as it is now, whatever this process has kept: a vendor has just refused the one it knew.
///
/// # Errors
/// As [`secret`].
pub async fn fresh_secret<T: DeserializeOwned>(variable: Variable) -> Result<T, Failure> {
    let id = variable.required()?;
    decode(&id, variable, &secrets().await.get_fresh(&id, variable).await?)
}

async fn secrets() -> &'static Secrets {
    static SECRETS: OnceCell<Secrets> = OnceCell::const_new();
    SECRETS.get_or_init(|| async { Secrets::new(Client::new(sdk().await)) }).await
}

/// The secrets that this process has asked for.
struct Secrets {
    client: Client,
    kept: Mutex<Kept>,
}

/// By the name of the secret, with the instant of its reading.
type Kept = HashMap<String, (Instant, SecretString)>;

impl Secrets {
    fn new(client: Client) -> Self {
        Self { client, kept: Mutex::default() }
    }

    async fn get(&self, id: &str, variable: Variable) -> Result<SecretString, Failure> {
        // Held while fetching, so that tasks which want the same secret ask once.
        let mut kept = self.kept.lock().await;
        if let Some((since, text)) = kept.get(id)
            && since.elapsed() < KEPT
        {
            return Ok(text.clone());
        }
        self.renew(&mut kept, id, variable).await
    }

    async fn get_fresh(&self, id: &str, variable: Variable) -> Result<SecretString, Failure> {
        self.renew(&mut *self.kept.lock().await, id, variable).await
    }

    async fn renew(&self, kept: &mut Kept, id: &str, variable: Variable) -> Result<SecretString, Failure> {
        let text = self.fetch(id, variable).await?;
        kept.insert(id.to_owned(), (Instant::now(), text.clone()));
        Ok(text)
    }

    async fn fetch(&self, id: &str, variable: Variable) -> Result<SecretString, Failure> {
        match self.client.get_secret_value().secret_id(id).send().boxed().await {
            Ok(answer) => answer.secret_string.map(SecretString::from).ok_or_else(|| {
                Failure::configuration(format!("secret `{id}` holds bytes")).hint("store it as a JSON text")
            }),
            Err(error) => Err(match store::aws::answer(&error) {
                Some((Some("ResourceNotFoundException"), _)) => {
                    Failure::configuration(format!("secret `{id}` does not exist"))
                        .hint(format!("create it in this region, or name another in `{}`", variable.name))
                }
                _ => store::aws::failure(&format!("secret `{id}` cannot be read"), &error),
            }),
        }
    }
}

fn decode<T: DeserializeOwned>(id: &str, variable: Variable, text: &SecretString) -> Result<T, Failure> {
    store::decode(text.expose_secret().as_bytes()).map_err(|fault| {
        // The place within the text is left out: it would tell how long the values are.
        let fault = store::Fault { position: None, ..fault };
        Failure::configuration(format!("secret `{id}`: {fault}"))
            .hint(format!("`{}`: {}", variable.name, variable.about))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SALESFORCE_SECRET, trace::tests::Captured};
    use aws_sdk_secretsmanager::config::{Config, Credentials, Region, retry::RetryConfig};
    use axum::{Router, http::StatusCode, response::IntoResponse, routing::post};
    use engine::Class;
    use serde::Deserialize;
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    #[derive(Debug, Deserialize)]
    struct Login {
        user: String,
        private_key: SecretString,
        #[expect(dead_code)]
        #[serde(default)]
        port: u16,
    }

    /// A Secrets Manager that always gives the same answer, and the number of its calls.
    async fn secrets(status: u16, body: &'static str) -> (Secrets, Arc<AtomicUsize>) {
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = calls.clone();
        let answer = move || async move {
            counted.fetch_add(1, Ordering::Relaxed);
            let json = [("content-type", "application/x-amz-json-1.1")];
            (StatusCode::from_u16(status).unwrap(), json, body).into_response()
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, Router::new().route("/", post(answer))).await });
        let config = Config::builder()
            .behavior_version(store::aws::behaviour())
            .region(Region::new("eu-central-1"))
            .credentials_provider(Credentials::new("invented", "invented", None, None, "tests"))
            .retry_config(RetryConfig::disabled())
            .endpoint_url(endpoint)
            .build();
        (Secrets::new(Client::from_conf(config)), calls)
    }

    async fn read(status: u16, body: &'static str) -> Result<Login, Failure> {
        let (secrets, _) = secrets(status, body).await;
        decode("crm", SALESFORCE_SECRET, &secrets.get("crm", SALESFORCE_SECRET).await?)
    }

    #[tokio::test]
    async fn a_secret_is_asked_for_once() {
        let body = r#"{"SecretString": "{\"user\":\"loader\",\"private_key\":\"planted\"}"}"#;
        let (secrets, calls) = secrets(200, body).await;
        for _ in 0..3 {
            let text = secrets.get("crm", SALESFORCE_SECRET).await.unwrap();
            let login: Login = decode("crm", SALESFORCE_SECRET, &text).unwrap();
            assert_eq!((login.user.as_str(), login.private_key.expose_secret()), ("loader", "planted"));
        }
        assert_eq!(calls.load(Ordering::Relaxed), 1);
        secrets.get_fresh("crm", SALESFORCE_SECRET).await.unwrap();
        assert_eq!(calls.load(Ordering::Relaxed), 2, "a refused secret is read anew");
    }

    #[tokio::test]
    async fn each_fault_names_the_secret_and_the_key_and_never_the_content() {
        let captured = Captured::start("submit");
        let cases = [
            (200, r#"{"SecretString": "planted"}"#, Class::Configuration, "secret `crm`: it is not JSON"),
            (
                200,
                r#"{"SecretString": "{\"user\":\"planted\"}"}"#,
                Class::Configuration,
                "secret `crm`: `private_key` is missing",
            ),
            (
                200,
                r#"{"SecretString": "{\"user\":\"planted\",\"private_key\":\"planted\",\"port\":\"planted\"}"}"#,
                Class::Configuration,
                "secret `crm`: `port` is not what is expected there",
            ),
            (200, r#"{"SecretBinary": "cGxhbnRlZA=="}"#, Class::Configuration, "secret `crm` holds bytes"),
            (
                400,
                r#"{"__type": "ResourceNotFoundException", "message": "planted"}"#,
                Class::Configuration,
                "secret `crm` does not exist",
            ),
            (
                400,
                r#"{"__type": "AccessDeniedException", "message": "planted"}"#,
                Class::Configuration,
                "secret `crm` cannot be read: `AccessDeniedException`",
            ),
            (
                400,
                r#"{"__type": "ThrottlingException", "message": "planted"}"#,
                Class::Transient,
                "secret `crm` cannot be read: `ThrottlingException`",
            ),
            (
                500,
                r#"{"__type": "InternalServiceError"}"#,
                Class::Transient,
                "secret `crm` cannot be read: `InternalServiceError`",
            ),
        ];
        for (status, body, class, message) in cases {
            let failure = read(status, body).await.unwrap_err();
            assert_eq!((failure.class, failure.message.as_str()), (class, message));
            assert!(!format!("{failure:?}").contains("planted"), "{failure:?}");
        }
        assert!(!captured.text().contains("planted"), "{}", captured.text());
    }
}

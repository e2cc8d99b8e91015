//! The client of Snowflake as a function uses it.

use std::time::{Duration, SystemTime};

use ::snowflake::{Client, Secret};
use engine::Failure;
use futures_util::FutureExt;
use http_client::Lease;
use secrecy::SecretString;

use crate::{SNOWFLAKE_SECRET, fresh_secret, sdk, secret};

/// How long a token of the cloud is good for, and how long before its end a new one is taken.
const LIFE: i32 = 900;
const RESERVE: Duration = Duration::from_secs(60);

/// A client that reads the secret anew when its tokens are refused, and that can log in as the role of the function.
///
/// # Errors
/// As [`secret`]; `Configuration` when the secret is not usable.
pub async fn snowflake() -> Result<Client, Failure> {
    let secret: Secret = secret(SNOWFLAKE_SECRET).await?;
    let client = Client::new(secret)?.rotating(|| fresh_secret(SNOWFLAKE_SECRET).boxed());
    Ok(client.with_identity(|| workload_token().boxed()))
}

/// <https://docs.aws.amazon.com/STS/latest/APIReference/API_GetWebIdentityToken.html>
async fn workload_token() -> Result<Lease<SecretString>, Failure> {
    token(&aws_sdk_sts::Client::new(sdk().await)).await
}

async fn token(sts: &aws_sdk_sts::Client) -> Result<Lease<SecretString>, Failure> {
    let begun = SystemTime::now();
    let call = sts.get_web_identity_token().audience("snowflakecomputing.com");
    let call = call.signing_algorithm("ES384").duration_seconds(LIFE);
    let answer = call.send().boxed().await.map_err(|error| {
        store::aws::failure("the identity of the function", &error).hint(
            "enable outbound identity federation in the AWS account, and let the role call `sts:GetWebIdentityToken`",
        )
    })?;
    let token = answer.web_identity_token.ok_or_else(|| Failure::bug("STS gave no token"))?;
    let until = begun + Duration::from_secs(LIFE.unsigned_abs().into()) - RESERVE;
    Ok(Lease { value: format!("WIF.AWS.{token}").into(), until: Some(until) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_sts::config::{Config, Credentials, Region, retry::RetryConfig};
    use axum::{Router, http::StatusCode, response::IntoResponse, routing::post};
    use engine::Class;
    use secrecy::ExposeSecret;
    use std::sync::{Arc, Mutex};

    /// An STS that gives one answer, and what it was asked.
    async fn sts(status: u16, body: &'static str) -> (aws_sdk_sts::Client, Arc<Mutex<String>>) {
        let asked: Arc<Mutex<String>> = Arc::default();
        let noted = asked.clone();
        let answer = move |body_of: String| async move {
            *noted.lock().unwrap() = body_of;
            (StatusCode::from_u16(status).unwrap(), [("content-type", "text/xml")], body).into_response()
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
        (aws_sdk_sts::Client::from_conf(config), asked)
    }

    #[tokio::test]
    async fn the_role_of_the_function_becomes_a_token_of_snowflake() {
        let body = "<GetWebIdentityTokenResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
                    <GetWebIdentityTokenResult><WebIdentityToken>e.y.J</WebIdentityToken>\
                    <Expiration>2026-01-01T00:00:00Z</Expiration></GetWebIdentityTokenResult>\
                    </GetWebIdentityTokenResponse>";
        let (sts, asked) = sts(200, body).await;
        let lease = token(&sts).await.unwrap();
        assert_eq!(lease.value.expose_secret(), "WIF.AWS.e.y.J");
        assert!(lease.until.unwrap() > SystemTime::now());
        let asked = asked.lock().unwrap().clone();
        for part in [
            "Action=GetWebIdentityToken",
            "snowflakecomputing.com",
            "SigningAlgorithm=ES384",
            "DurationSeconds=900",
        ] {
            assert!(asked.contains(part), "{asked}");
        }
    }

    #[tokio::test]
    async fn a_role_that_may_not_is_for_a_person_to_mend() {
        let body = "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type>\
                    <Code>AccessDenied</Code><Message>planted</Message></Error></ErrorResponse>";
        let (sts, _) = sts(403, body).await;
        let Err(failure) = token(&sts).await else { panic!("a token was given") };
        assert_eq!(failure.class, Class::Configuration);
        assert!(failure.hint.as_deref().unwrap().contains("GetWebIdentityToken"));
        assert!(!failure.to_string().contains("planted"), "{failure}");
    }
}

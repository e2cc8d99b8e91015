//! Starting runs in AWS Step Functions:
//! <https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html>.

use aws_sdk_sfn::Client;
use engine::{Class, Failure};
use futures_util::FutureExt;
use tokio::sync::OnceCell;

use crate::{sdk, settings::STATE_MACHINE};

/// Starts the execution `name` of the state machine with the JSON text `input`, unless there is one.
///
/// A name is taken for 90 days, which makes starting idempotent: both a running execution of the same
/// name and an ended one count as started.
///
/// # Errors
/// `Configuration` when the state machine is not set, missing or denied, `Quota` when too many
/// executions are open, `Transient` when Step Functions does not answer.
pub async fn start_execution(name: String, input: String) -> Result<(), Failure> {
    static CLIENT: OnceCell<Client> = OnceCell::const_new();
    let machine = STATE_MACHINE.required()?;
    let client = CLIENT.get_or_init(|| async { Client::new(sdk().await) }).await;
    start(client, machine, name, input).await
}

async fn start(client: &Client, machine: String, name: String, input: String) -> Result<(), Failure> {
    let request = client.start_execution().state_machine_arn(&machine).name(&name).input(input);
    let Err(error) = request.send().boxed().await else { return Ok(()) };
    let class = match store::aws::answer(&error).and_then(|(code, _)| code) {
        Some("ExecutionAlreadyExists") => {
            tracing::info!(execution = name, "the execution exists already");
            return Ok(());
        }
        Some("StateMachineDoesNotExist" | "InvalidArn") => return Err(no_machine(&machine)),
        Some("ExecutionLimitExceeded") => Some(Class::Quota),
        Some("InvalidName" | "InvalidExecutionInput" | "ValidationException") => Some(Class::Bug),
        _ => None,
    };
    let failure = store::aws::failure(&format!("execution `{name}` cannot be started"), &error);
    Err(Failure { class: class.unwrap_or(failure.class), ..failure })
}

fn no_machine(machine: &str) -> Failure {
    Failure::configuration(format!("state machine `{machine}` does not exist"))
        .hint(format!("`{}`: {}", STATE_MACHINE.name, STATE_MACHINE.about))
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_sfn::config::{Config, Credentials, Region, retry::RetryConfig};
    use axum::{Router, http::StatusCode, routing::post};

    async fn ask(status: u16, body: &'static str) -> Result<(), Failure> {
        let status = StatusCode::from_u16(status).unwrap();
        let answer = move || async move { (status, [("content-type", "application/x-amz-json-1.0")], body) };
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
        start(&Client::from_conf(config), "arn:x".to_owned(), "customers-1".to_owned(), "{}".to_owned()).await
    }

    #[tokio::test]
    async fn an_execution_that_exists_counts_as_started() {
        let started = r#"{"executionArn": "arn:x:1", "startDate": 1}"#;
        assert_eq!(ask(200, started).await, Ok(()));
        assert_eq!(ask(400, r#"{"__type": "ExecutionAlreadyExists"}"#).await, Ok(()));
    }

    #[tokio::test]
    async fn each_refusal_has_its_class() {
        for (status, body, class) in [
            (400, r#"{"__type": "StateMachineDoesNotExist"}"#, Class::Configuration),
            (400, r#"{"__type": "AccessDeniedException"}"#, Class::Configuration),
            (400, r#"{"__type": "ExecutionLimitExceeded"}"#, Class::Quota),
            (400, r#"{"__type": "ThrottlingException"}"#, Class::Transient),
            (400, r#"{"__type": "InvalidName"}"#, Class::Bug),
            (503, r#"{}"#, Class::Transient),
        ] {
            assert_eq!(ask(status, body).await.unwrap_err().class, class, "{body}");
        }
    }
}

//! A function as a process of its own, against the runtime API of Lambda over HTTP:
//! <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>.

#![expect(clippy::unwrap_used, reason = "all of this is a test")]

use std::{process::Stdio, sync::Arc};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use backhaul_lambda::serve;
use engine::Failure;
use serde_json::{Value, json};
use tokio::{
    io::AsyncReadExt,
    process::Command,
    sync::{Mutex, mpsc},
};

/// Set for the process that plays the function.
const RUNTIME_API: &str = "AWS_LAMBDA_RUNTIME_API";

type Events = Arc<Mutex<mpsc::Receiver<Value>>>;
type Answers = mpsc::Sender<(String, Value)>;

#[tokio::test]
async fn a_function_answers_fails_and_panics_over_the_runtime_api() {
    let (ask, events) = mpsc::channel(1);
    let (sender, mut answers) = mpsc::channel(1);
    let mut function = start_function(runtime_api(events, sender).await);
    let mut answer = async |event: Value| {
        ask.send(event).await.unwrap();
        answers.recv().await.unwrap()
    };
    assert_eq!(answer(json!("ok")).await, ("response".to_owned(), json!({"answer": "planted"})));
    for (event, class) in [("fail", "Quota"), ("panic", "Bug"), ("deep panic", "Bug")] {
        let (kind, body) = answer(json!(event)).await;
        assert_eq!((kind.as_str(), &body["errorType"]), ("error", &json!(class)), "{event}: {body}");
    }
    assert_eq!(answer(json!({"planted": 1})).await.1["errorType"], "Configuration");
    assert_eq!(answer(json!("ok")).await.0, "response", "the process goes on");
    function.start_kill().unwrap();
    let (mut out, mut errors) = (String::new(), String::new());
    function.stdout.take().unwrap().read_to_string(&mut out).await.unwrap();
    function.stderr.take().unwrap().read_to_string(&mut errors).await.unwrap();
    function.wait().await.unwrap();
    assert!(!format!("{out}{errors}").contains("planted"), "{out}{errors}");
    let summaries = out.lines().filter(|line| line.contains("\"outcome\"")).count();
    assert_eq!(summaries, 6, "one line for each invocation: {out}");
    assert_eq!(
        out.lines().filter(|line| line.contains("\"place\"")).count(),
        2,
        "each panic has a place: {out}"
    );
}

/// The function itself, when the test above starts this program again; nothing otherwise.
#[test]
fn function() {
    if std::env::var_os(RUNTIME_API).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(serve("probe", probe)).unwrap();
    }
}

async fn probe(event: String, _: backhaul_lambda::Invocation) -> Result<Value, Failure> {
    let planted = format!("planted {}", event.len());
    match event.as_str() {
        "fail" => Err(Failure::quota("`calls` are used up")),
        "panic" => panic!("{planted}"),
        "deep panic" => store::blocking(move || panic!("{planted}")).await,
        _ => Ok(json!({"answer": "planted"})),
    }
}

fn start_function(runtime_api: String) -> tokio::process::Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "function", "--nocapture"])
        .env(RUNTIME_API, runtime_api)
        .env("AWS_LAMBDA_FUNCTION_NAME", "probe")
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")
        .env("AWS_LAMBDA_FUNCTION_VERSION", "1")
        .env("BACKHAUL_LOG", "trace")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

async fn runtime_api(events: mpsc::Receiver<Value>, answers: Answers) -> String {
    let router = Router::new()
        .route("/2018-06-01/runtime/invocation/next", get(next))
        .with_state(Arc::new(Mutex::new(events)))
        .route("/2018-06-01/runtime/invocation/{id}/{kind}", post(answered).with_state(answers));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

async fn next(State(events): State<Events>) -> Response {
    let event = events.lock().await.recv().await.expect("the test holds the sender");
    let head = [("lambda-runtime-aws-request-id", "r-1"), ("lambda-runtime-deadline-ms", "99999999999999")];
    (head, Json(event)).into_response()
}

async fn answered(
    State(answers): State<Answers>,
    Path((_, kind)): Path<(String, String)>,
    body: String,
) -> StatusCode {
    answers.send((kind, serde_json::from_str(&body).unwrap())).await.unwrap();
    StatusCode::ACCEPTED
}

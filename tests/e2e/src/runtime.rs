//! The Lambda Runtime API and the invoke call, with the real binaries behind them.
//!
//! Each function runs as the process that AWS would run: it asks for its next invocation, answers or
//! reports an error. Invocations of one function wait for each other, as in one warm environment.
//!
//! <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use axum::{
    Router,
    body::Bytes,
    extract::{Path as UrlPath, State},
    http::{HeaderMap, StatusCode, header::HeaderValue},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use tokio::sync::{Mutex as AsyncMutex, mpsc, oneshot};

/// How long an invocation may take: the longest time-out that Lambda allows.
const DEADLINE: Duration = Duration::from_secs(15 * 60);

/// How often an invocation looks whether its process is still there.
const WATCH: Duration = Duration::from_millis(200);

/// What a function said.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The payload: the result, or the error document.
    pub body: String,
    /// It is an error document (`errorType`, `errorMessage`).
    pub failed: bool,
}

struct Invocation {
    event: Bytes,
    answer: oneshot::Sender<Answer>,
}

struct Function {
    send: mpsc::UnboundedSender<Invocation>,
    waiting: AsyncMutex<mpsc::UnboundedReceiver<Invocation>>,
    running: Mutex<BTreeMap<String, oneshot::Sender<Answer>>>,
    process: Mutex<Option<Child>>,
}

/// A place where functions are invoked.
#[derive(Clone)]
pub struct Lambda {
    url: String,
    shared: Arc<Shared>,
}

struct Shared {
    functions: BTreeMap<String, Function>,
    binaries: PathBuf,
    environment: Mutex<Vec<(String, String)>>,
    logs: PathBuf,
    api: Mutex<String>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        for function in self.functions.values() {
            if let Some(mut child) = function.process.lock().ok().and_then(|mut process| process.take()) {
                // It may have ended by itself; either way it must not outlive the test.
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}

/// Every function of the bundle.
pub const FUNCTIONS: [&str; 9] =
    ["dispatch", "extract", "map", "plan", "submit", "poll", "collect", "settle", "finish"];

impl Lambda {
    /// Serves the functions whose binaries are in a folder. Each process writes its log to
    /// `<logs>/<function>.log`.
    pub async fn start(binaries: &Path, logs: &Path) -> Self {
        let functions = FUNCTIONS.map(|name| (name.to_owned(), Function::new())).into();
        let shared = Arc::new(Shared {
            functions,
            binaries: binaries.to_owned(),
            environment: Mutex::default(),
            logs: logs.to_owned(),
            api: Mutex::default(),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        *shared.api.lock().expect("no panic while held") = address.to_string();
        let runtime = "/{function}/2018-06-01/runtime";
        let router = Router::new()
            .route("/2015-03-31/functions/{function}/invocations", post(invoke))
            .route(&format!("{runtime}/invocation/next"), get(next))
            .route(&format!("{runtime}/invocation/{{id}}/response"), post(response))
            .route(&format!("{runtime}/invocation/{{id}}/error"), post(error))
            .route(&format!("{runtime}/init/error"), post(init_error))
            .layer(axum::extract::DefaultBodyLimit::max(16 << 20))
            .with_state(Arc::downgrade(&shared));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url: format!("http://{address}"), shared }
    }

    /// The address whose `/2015-03-31/functions/<name>/invocations` invokes.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What the processes that are started from now on find in their environment, and nothing else.
    pub fn set_environment(&self, environment: Vec<(String, String)>) {
        *self.shared.environment.lock().expect("no panic while held") = environment;
    }

    /// Invokes a function and waits for its answer.
    pub async fn invoke(&self, function: &str, event: &serde_json::Value) -> Answer {
        self.shared.invoke(function, Bytes::from(event.to_string())).await.expect("a function of the bundle")
    }

    /// Peak resident memory of each process that was started, in bytes.
    #[must_use]
    pub fn peak_memory(&self) -> BTreeMap<String, u64> {
        let started = self.shared.functions.iter().filter_map(|(name, function)| {
            let id = function.process.lock().ok()?.as_ref()?.id();
            Some((name.clone(), peak_memory_of(id)?))
        });
        started.collect()
    }
}

fn peak_memory_of(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kibibytes| kibibytes * 1024)
}

impl Function {
    fn new() -> Self {
        let (send, waiting) = mpsc::unbounded_channel();
        Self { send, waiting: AsyncMutex::new(waiting), running: Mutex::default(), process: Mutex::default() }
    }

    /// No process was started, or it has gone.
    fn ended(&self) -> bool {
        let mut process = self.process.lock().expect("no panic while held");
        process.as_mut().is_none_or(|child| matches!(child.try_wait(), Ok(Some(_))))
    }
}

impl Shared {
    async fn invoke(&self, name: &str, event: Bytes) -> Option<Answer> {
        let function = self.functions.get(name)?;
        self.start_once(name, function);
        let (answer, mut answered) = oneshot::channel();
        function.send.send(Invocation { event, answer }).ok()?;
        loop {
            match tokio::time::timeout(WATCH, &mut answered).await {
                Ok(answer) => return Some(answer.unwrap_or_else(|_| crashed(name))),
                Err(_) if function.ended() => return Some(crashed(name)),
                Err(_) => {}
            }
        }
    }

    fn start_once(&self, name: &str, function: &Function) {
        if function.ended() {
            *function.process.lock().expect("no panic while held") = Some(self.spawn(name));
        }
    }

    fn spawn(&self, name: &str) -> Child {
        let binary = self.binaries.join(name);
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.logs.join(format!("{name}.log")))
            .expect("the folder of logs can be written");
        let errors = log.try_clone().expect("a file handle can be cloned");
        Command::new(&binary)
            .env_clear()
            .envs(self.environment.lock().expect("no panic while held").iter().cloned())
            .env(
                "AWS_LAMBDA_RUNTIME_API",
                format!("http://{}/{name}", self.api.lock().expect("no panic while held")),
            )
            .env("AWS_LAMBDA_FUNCTION_NAME", name)
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")
            .env("AWS_LAMBDA_LOG_GROUP_NAME", name)
            .env("AWS_LAMBDA_LOG_STREAM_NAME", name)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .unwrap_or_else(|error| panic!("{} cannot be started: {error}", binary.display()))
    }
}

fn crashed(name: &str) -> Answer {
    let body = format!(r#"{{"errorType":"Runtime.ExitError","errorMessage":"{name} went away"}}"#);
    Answer { body, failed: true }
}

type Weak = std::sync::Weak<Shared>;

async fn invoke(State(shared): State<Weak>, UrlPath(name): UrlPath<String>, event: Bytes) -> Response {
    let Some(shared) = shared.upgrade() else { return StatusCode::GONE.into_response() };
    match shared.invoke(&name, event).await {
        None => StatusCode::NOT_FOUND.into_response(),
        Some(answer) => {
            let mut headers = HeaderMap::new();
            if answer.failed {
                headers.insert("x-amz-function-error", HeaderValue::from_static("Unhandled"));
            }
            (headers, answer.body).into_response()
        }
    }
}

async fn next(State(shared): State<Weak>, UrlPath(name): UrlPath<String>) -> Response {
    let Some(shared) = shared.upgrade() else { return StatusCode::GONE.into_response() };
    let Some(function) = shared.functions.get(&name) else { return StatusCode::NOT_FOUND.into_response() };
    let Some(invocation) = function.waiting.lock().await.recv().await else {
        return StatusCode::GONE.into_response();
    };
    let mut running = function.running.lock().expect("no panic while held");
    let id = format!("00000000-0000-4000-8000-{:012}", SystemTime::now().elapsed_micros());
    running.insert(id.clone(), invocation.answer);
    let deadline = SystemTime::now().elapsed_micros() / 1000 + DEADLINE.as_millis();
    let headers = [
        ("lambda-runtime-aws-request-id", id),
        ("lambda-runtime-deadline-ms", deadline.to_string()),
        (
            "lambda-runtime-invoked-function-arn",
            format!("arn:aws:lambda:us-east-1:000000000000:function:{name}"),
        ),
        ("lambda-runtime-trace-id", "Root=1-00000000-000000000000000000000000".to_owned()),
    ];
    (headers.map(|(name, value)| (name, value)), invocation.event).into_response()
}

trait SinceEpoch {
    fn elapsed_micros(&self) -> u128;
}

impl SinceEpoch for SystemTime {
    fn elapsed_micros(&self) -> u128 {
        self.duration_since(Self::UNIX_EPOCH).expect("the clock is past 1970").as_micros()
    }
}

async fn response(state: State<Weak>, path: UrlPath<(String, String)>, body: Bytes) -> StatusCode {
    answer(&state, &path, &body, false)
}

async fn error(state: State<Weak>, path: UrlPath<(String, String)>, body: Bytes) -> StatusCode {
    answer(&state, &path, &body, true)
}

async fn init_error(UrlPath(name): UrlPath<String>, body: Bytes) -> StatusCode {
    eprintln!("{name} could not start: {}", String::from_utf8_lossy(&body));
    StatusCode::ACCEPTED
}

fn answer(shared: &Weak, path: &(String, String), body: &Bytes, failed: bool) -> StatusCode {
    let Some(shared) = shared.upgrade() else { return StatusCode::GONE };
    let Some(function) = shared.functions.get(&path.0) else { return StatusCode::NOT_FOUND };
    let waiting = function.running.lock().expect("no panic while held").remove(&path.1);
    let Some(waiting) = waiting else { return StatusCode::NOT_FOUND };
    let body = String::from_utf8_lossy(body).into_owned();
    // Whoever invoked may have stopped waiting.
    let _ = waiting.send(Answer { body, failed });
    StatusCode::ACCEPTED
}

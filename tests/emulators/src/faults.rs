//! Scripted faults and the loopback server that carries them out.
//!
//! A test writes rules ("the second status GET is dropped after it took effect"); the server applies them around
//! its ordinary behaviour, so that what a fault hides from the client has still happened, or has not, as told.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::serve::{IncomingStream, Listener};
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// How many requests the journal remembers.
const JOURNAL: usize = 100_000;

/// What happens to a request that a rule picked.
#[derive(Clone, Debug)]
pub enum Action {
    /// Answers without letting the request reach the server.
    Respond(Answer),
    /// Lets the request take effect, then answers this instead.
    RespondAfter(Answer),
    /// Closes the connection before the request takes effect.
    DropBefore,
    /// Lets the request take effect, then closes the connection without an answer.
    DropAfter,
    /// Waits, then goes on as usual.
    Delay(Duration),
    /// Sends the first bytes of the answer's body and closes the connection.
    Truncate(usize),
    /// Sends the first bytes of the answer's body as if they were all of it.
    Shorten(usize),
}

/// A scripted answer.
#[derive(Clone, Debug)]
pub struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Bytes,
}

impl Answer {
    /// An answer; a body that starts with `{` or `[` goes out as JSON, one that starts with `<` as HTML.
    #[must_use]
    pub fn new(status: u16, body: impl Into<Bytes>) -> Self {
        Self { status, headers: Vec::new(), body: body.into() }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    fn response(&self) -> Response {
        let kind = match self.body.first() {
            Some(b'{' | b'[') => "application/json",
            Some(b'<') => "text/html",
            _ => "text/plain",
        };
        let mut builder = Response::builder().status(self.status).header(header::CONTENT_TYPE, kind);
        for (name, value) in &self.headers {
            builder = builder.header(name, value);
        }
        builder.body(Body::from(self.body.clone())).expect("the script holds valid headers")
    }
}

/// One scripted fault: which requests, which of them, and what happens.
#[derive(Clone, Debug)]
pub struct Rule {
    method: Option<Method>,
    path: String,
    skip: u32,
    times: u32,
    action: Action,
}

impl Rule {
    /// Picks the first request of this method (`*`: any) whose path fits the pattern.
    ///
    /// `*` in the pattern stands for any run of characters. The query string counts only if the pattern has a `?`.
    #[must_use]
    pub fn on(method: &str, path: &str, action: Action) -> Self {
        let method = (method != "*").then(|| Method::from_bytes(method.as_bytes()).expect("a method name"));
        Self { method, path: path.to_owned(), skip: 0, times: 1, action }
    }

    /// Picks the n-th matching request, counted from 1 since the rule was added.
    #[must_use]
    pub fn nth(mut self, n: u32) -> Self {
        self.skip = n.saturating_sub(1);
        self
    }

    /// How many requests in a row it picks; `u32::MAX` for all.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = times;
        self
    }

    fn fits(&self, method: &Method, path: &str, query: Option<&str>) -> bool {
        let whole = match query {
            Some(query) if self.path.contains('?') => format!("{path}?{query}"),
            _ => path.to_owned(),
        };
        self.method.as_ref().is_none_or(|wanted| wanted == method) && glob(&self.path, &whole)
    }
}

/// A request the server saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The method.
    pub method: String,
    /// The path with its query string.
    pub path: String,
    /// The status that was answered; `None` if the connection was closed instead.
    pub status: Option<u16>,
}

/// A request on its way through the server, as a [`Hook`] is told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It has come, and has no effect yet.
    Before,
    /// It has taken effect, and is not answered yet.
    After,
}

/// Is told of every request, by method and path with query, and holds it up for as long as it likes.
pub type Hook = Arc<dyn Fn(&str, &str, Stage) -> BoxFuture<'static, ()> + Send + Sync>;

/// The rules of one server and the journal of what it saw. Clones share both.
#[derive(Clone, Debug, Default)]
pub struct Script(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    rules: Vec<Rule>,
    seen: VecDeque<Seen>,
    hook: Option<Hook>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("rules", &self.rules).field("seen", &self.seen).finish_non_exhaustive()
    }
}

impl Script {
    /// Adds a rule; the earliest rule that picks a request wins.
    pub fn add(&self, rule: Rule) {
        self.inner().rules.push(rule);
    }

    /// Forgets all rules.
    pub fn clear(&self) {
        self.inner().rules.clear();
    }

    /// Tells a hook of every request from now on, or nobody.
    pub fn watch(&self, hook: Option<Hook>) {
        self.inner().hook = hook;
    }

    /// How many rules have not been used up.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.inner().rules.iter().filter(|rule| rule.times > 0).count()
    }

    /// All requests so far, oldest first.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.inner().seen.iter().cloned().collect()
    }

    /// How many requests fitted a method (`*`: any) and a path pattern.
    #[must_use]
    pub fn count(&self, method: &str, pattern: &str) -> usize {
        let inner = self.inner();
        let fits = |seen: &&Seen| {
            let path = seen.path.split('?').next().unwrap_or_default();
            let text = if pattern.contains('?') { seen.path.as_str() } else { path };
            (method == "*" || method == seen.method) && glob(pattern, text)
        };
        inner.seen.iter().filter(fits).count()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("no holder of the script panics")
    }

    /// Every rule that fits counts the request; the first one that is due acts.
    fn pick(&self, method: &Method, path: &str, query: Option<&str>) -> Option<Action> {
        let mut due = None;
        for rule in &mut self.inner().rules {
            if rule.times == 0 || !rule.fits(method, path, query) {
                continue;
            }
            if rule.skip > 0 {
                rule.skip -= 1;
            } else if due.is_none() {
                rule.times = if rule.times == u32::MAX { u32::MAX } else { rule.times - 1 };
                due = Some(rule.action.clone());
            }
        }
        due
    }

    fn record(&self, seen: Seen) {
        let mut inner = self.inner();
        if inner.seen.len() == JOURNAL {
            inner.seen.pop_front();
        }
        inner.seen.push_back(seen);
    }
}

/// A server on loopback, on threads of its own; it stops when dropped.
#[derive(Debug)]
pub struct Served {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
}

impl Served {
    /// Serves the router at an address (port 0: any free port), with the script's faults around it.
    ///
    /// # Errors
    /// If the address cannot be bound or the threads cannot be started.
    pub fn start(address: SocketAddr, router: Router, script: Script) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let app = router.layer(middleware::from_fn_with_state(script, apply));
        std::thread::Builder::new().name("stand-in".to_owned()).spawn(move || {
            runtime.block_on(run(listener, app, stopped));
            runtime.shutdown_background();
        })?;
        Ok(Self { address, stop: Some(stop) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:port`
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }
}

async fn run(listener: std::net::TcpListener, app: Router, stopped: oneshot::Receiver<()>) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    let serving = axum::serve(Cuttable(listener), app.into_make_service_with_connect_info::<Cut>());
    tokio::select! {
        _ = serving.into_future() => {}
        _ = stopped => {}
    }
}

/// The middleware: carries out the fault that is due for a request, if any.
async fn apply(
    State(script): State<Script>,
    ConnectInfo(cut): ConnectInfo<Cut>,
    request: Request,
    next: Next,
) -> Response {
    let uri = request.uri().clone();
    let method = request.method().clone();
    let hook = script.inner().hook.clone();
    let reach = async |stage| {
        if let Some(hook) = &hook {
            hook(method.as_str(), &uri.to_string(), stage).await;
        }
    };
    reach(Stage::Before).await;
    let action = script.pick(&method, uri.path(), uri.query());
    let response = act(action, &cut, request, next).await;
    reach(Stage::After).await;
    let status = (!cut.0.load(Ordering::SeqCst)).then(|| response.status().as_u16());
    script.record(Seen { method: method.to_string(), path: uri.to_string(), status });
    response
}

async fn act(action: Option<Action>, cut: &Cut, request: Request, next: Next) -> Response {
    match action {
        None => next.run(request).await,
        Some(Action::Respond(answer)) => {
            let _ = to_bytes(request.into_body(), usize::MAX).await;
            answer.response()
        }
        Some(Action::RespondAfter(answer)) => {
            next.run(request).await;
            answer.response()
        }
        Some(Action::DropBefore) => cut.now(),
        Some(Action::DropAfter) => {
            next.run(request).await;
            cut.now()
        }
        Some(Action::Delay(time)) => {
            tokio::time::sleep(time).await;
            next.run(request).await
        }
        Some(Action::Truncate(bytes)) => truncated(next.run(request).await, bytes).await,
        Some(Action::Shorten(bytes)) => shortened(next.run(request).await, bytes).await,
    }
}

async fn truncated(response: Response, bytes: usize) -> Response {
    let (mut parts, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    parts.headers.insert(header::CONTENT_LENGTH, body.len().into());
    let head = body.slice(..bytes.min(body.len()));
    // The pause lets the head and the first bytes leave before the connection breaks.
    let broken = futures_util::stream::once(async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Err(io::Error::new(io::ErrorKind::ConnectionReset, "scripted"))
    });
    Response::from_parts(parts, Body::from_stream(futures_util::stream::iter([Ok(head)]).chain(broken)))
}

async fn shortened(response: Response, bytes: usize) -> Response {
    let (mut parts, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(body.slice(..bytes.min(body.len()))))
}

/// Matches a text against a pattern in which `*` stands for any run of characters.
fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|head| text.strip_prefix(head)) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// A switch that closes one connection.
#[derive(Clone, Debug)]
struct Cut(Arc<AtomicBool>);

impl Cut {
    /// Breaks the connection; what is returned never reaches the client.
    fn now(&self) -> Response {
        self.0.store(true, Ordering::SeqCst);
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::BAD_GATEWAY;
        response
    }
}

/// A listener whose connections can be broken from inside a handler.
struct Cuttable(TcpListener);

/// A connection that fails on the next write once it is cut.
struct Wire {
    stream: TcpStream,
    cut: Cut,
}

impl Listener for Cuttable {
    type Io = Wire;
    type Addr = Cut;

    async fn accept(&mut self) -> (Wire, Cut) {
        let (stream, _) = Listener::accept(&mut self.0).await;
        let _ = stream.set_nodelay(true);
        let cut = Cut(Arc::new(AtomicBool::new(false)));
        (Wire { stream, cut: cut.clone() }, cut)
    }

    fn local_addr(&self) -> io::Result<Cut> {
        Ok(Cut(Arc::new(AtomicBool::new(false))))
    }
}

impl Connected<IncomingStream<'_, Cuttable>> for Cut {
    fn connect_info(stream: IncomingStream<'_, Cuttable>) -> Self {
        stream.remote_addr().clone()
    }
}

impl Wire {
    fn check(&self) -> io::Result<()> {
        if self.cut.0.load(Ordering::SeqCst) {
            return Err(io::Error::new(io::ErrorKind::ConnectionReset, "scripted"));
        }
        Ok(())
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write(context, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_paths() {
        for (pattern, text, expected) in [
            ("/a/b", "/a/b", true),
            ("/a/b", "/a/b/c", false),
            ("/a/*", "/a/b/c", true),
            ("/a/*/c", "/a/b/c", true),
            ("/a/*/c", "/a/b/d", false),
            ("*", "/x", true),
            ("/a/*?partition=1", "/a/h?partition=1", true),
            ("/a/*?partition=1", "/a/h?partition=11", false),
        ] {
            assert_eq!(glob(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn a_rule_picks_the_nth_request_and_only_that_one() {
        let script = Script::default();
        script.add(Rule::on("GET", "/x", Action::DropBefore).nth(2));
        let picks: Vec<bool> = (0..4).map(|_| script.pick(&Method::GET, "/x", None).is_some()).collect();
        assert_eq!(picks, [false, true, false, false]);
        assert!(script.pick(&Method::POST, "/x", None).is_none());
        assert_eq!(script.pending(), 0);
    }
}

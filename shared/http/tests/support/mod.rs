//! A vendor that answers as it is told, over real sockets: the tests of the three client crates share it.
#![allow(dead_code)]

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, OnceLock};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    /// Path and query.
    pub target: String,
    /// By lower-case name.
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
    /// The body ended before its announced length.
    pub broken: bool,
}

impl Seen {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// An answer, down to its bytes.
#[derive(Clone, Debug)]
pub struct Answer(Vec<u8>);

impl Answer {
    pub fn new(status: u16, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Self {
        let body = body.as_ref();
        let mut bytes =
            format!("HTTP/1.1 {status} Status\r\ncontent-length: {}\r\nconnection: close\r\n", body.len());
        for (name, value) in headers {
            bytes.push_str(&format!("{name}: {value}\r\n"));
        }
        let mut bytes = (bytes + "\r\n").into_bytes();
        bytes.extend_from_slice(body);
        Self(bytes)
    }

    pub fn json(status: u16, body: serde_json::Value) -> Self {
        Self::new(status, &[("content-type", "application/json")], body.to_string())
    }

    pub fn html(status: u16) -> Self {
        Self::new(status, &[("content-type", "text/html")], "<html><body>Down for maintenance</body></html>")
    }

    /// The connection closes without a byte.
    pub fn hang_up() -> Self {
        Self(Vec::new())
    }

    /// The connection closes before the last bytes.
    pub fn cut(mut self, missing: usize) -> Self {
        self.0.truncate(self.0.len() - missing);
        self
    }
}

/// The vendor. It stops with the test's runtime.
pub struct Vendor {
    /// `http://127.0.0.1:port`.
    pub base: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Vendor {
    /// Answers whatever comes with what the function says.
    pub async fn start(answer: impl FnMut(&Seen) -> Answer + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (answer, log) = (Arc::new(Mutex::new(answer)), Arc::clone(&seen));
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let (answer, log) = (Arc::clone(&answer), Arc::clone(&log));
                tokio::spawn(async move {
                    let Some(request) = read(&mut socket).await else { return };
                    let bytes = answer.lock().unwrap()(&request).0;
                    log.lock().unwrap().push(request);
                    let _ = socket.write_all(&bytes).await;
                    let _ = socket.shutdown().await;
                });
            }
        });
        Self { base, seen }
    }

    /// Gives the answers one after the other, then 500 with an unmistakable code.
    pub async fn script(answers: impl IntoIterator<Item = Answer>) -> Self {
        let mut answers: VecDeque<_> = answers.into_iter().collect();
        Self::start(move |_| {
            answers.pop_front().unwrap_or_else(|| Answer::new(400, &[], "the script is over"))
        })
        .await
    }

    /// The requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Method and target of the requests so far.
    pub fn calls(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| format!("{} {}", seen.method, seen.target)).collect()
    }
}

/// Reads one request from a socket.
pub async fn read(socket: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Option<Seen> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
    let pair =
        |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
    let headers: HashMap<_, _> = lines.filter_map(pair).collect();
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = bytes[end + 4..].to_vec();
    while body.len() < length && socket.read_buf(&mut body).await.is_ok_and(|read| read > 0) {}
    Some(Seen { method, target, headers, broken: body.len() < length, body })
}

/// A private key made for this test process, as PEM, and its public half as `SubjectPublicKeyInfo`.
pub fn key() -> &'static (String, Vec<u8>) {
    use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
    use aws_lc_rs::rsa::{KeyPair, KeySize};
    use aws_lc_rs::signature::KeyPair as _;
    use base64::Engine;
    static KEY: OnceLock<(String, Vec<u8>)> = OnceLock::new();
    KEY.get_or_init(|| {
        let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let private: Pkcs8V1Der<'_> = pair.as_der().unwrap();
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        let text = base64::prelude::BASE64_STANDARD.encode(private.as_ref());
        (
            format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n"),
            public.as_ref().to_vec(),
        )
    })
}

/// Checks the signature of a token made with [`key`] and returns its claims.
pub fn claims(token: &str) -> serde_json::Value {
    use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
    use base64::Engine;
    let decode = |text: &str| base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(text).unwrap();
    let (message, signature) = token.rsplit_once('.').unwrap();
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &key().1)
        .verify(message.as_bytes(), &decode(signature))
        .unwrap();
    serde_json::from_slice(&decode(message.split_once('.').unwrap().1)).unwrap()
}

/// Everything that is logged, down to `trace`, while the guard lives.
pub fn capture() -> (Log, tracing::subscriber::DefaultGuard) {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    (log, tracing::subscriber::set_default(subscriber))
}

#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

//! Certificates. The server's own is made for the test, so that nobody trusts it without being told.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use backhaul_http::{Http, Method, Repeat, Request, RetryPolicy, Url};
use engine::Class;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

/// A server that answers 204, and its certificate as PEM.
async fn server() -> (Url, String) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = made.signing_key.serialize_der().try_into().unwrap();
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("https://localhost:{}/x", listener.local_addr().unwrap().port())).unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let Ok(mut socket) = acceptor.accept(socket).await else { continue };
            let _ = socket.read(&mut [0; 4096]).await;
            let _ = socket.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").await;
            let _ = socket.shutdown().await;
        }
    });
    let text = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, made.cert.der());
    (url, format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n"))
}

async fn get(url: Url) -> Result<u16, engine::Failure> {
    let http = Http::new(RetryPolicy::immediate())?;
    http.send(Request::new(Method::GET, url).repeat(Repeat::Once)).await.map(|response| response.status())
}

#[tokio::test]
async fn an_untrusted_certificate_is_for_a_person_to_settle() {
    let failure = get(server().await.0).await.unwrap_err();
    assert_eq!(failure.class, Class::Configuration, "{failure}");
    assert!(failure.hint.as_deref().unwrap().contains("SSL_CERT_FILE"), "{failure}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_named_in_ssl_cert_file_is_trusted() {
    let (url, pem) = server().await;
    let file: PathBuf = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("ca-{}.pem", std::process::id()));
    std::fs::write(&file, pem).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "the_child_of_the_test_above", "--ignored"]);
    child.env("SSL_CERT_FILE", &file).env("URL", url.as_str());
    let output = tokio::task::spawn_blocking(move || child.output()).await.unwrap().unwrap();
    std::fs::remove_file(file).unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

/// The variable is read once per process, so this needs one of its own.
#[tokio::test]
#[ignore = "run by a_certificate_named_in_ssl_cert_file_is_trusted"]
async fn the_child_of_the_test_above() {
    let Ok(url) = std::env::var("URL") else { return };
    assert_eq!(get(Url::parse(&url).unwrap()).await.unwrap(), 204);
}

#[tokio::test]
async fn a_host_that_speaks_no_tls_is_transient() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("https://{}/x", listener.local_addr().unwrap())).unwrap();
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    });
    let failure = get(url).await.unwrap_err();
    assert_eq!(failure.class, Class::Transient, "{failure}");
}

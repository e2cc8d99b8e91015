//! The contract of the client, against a vendor that misbehaves.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::Read;
use std::time::Duration;

use backhaul_http::{Http, Method, Repeat, Request, RetryPolicy, Url, from_io};
use bytes::Bytes;
use engine::{Class, Failure};
use futures_util::stream;
use support::{Answer, Vendor};

fn http() -> Http {
    Http::new(RetryPolicy::immediate()).unwrap()
}

fn get(vendor: &Vendor, path: &str) -> Request {
    Request::new(Method::GET, Url::parse(&format!("{}{path}", vendor.base)).unwrap())
}

#[tokio::test]
async fn retries_what_asks_for_it_and_returns_the_first_real_answer() {
    let vendor = Vendor::script([
        Answer::hang_up(),
        Answer::html(503),
        Answer::new(429, &[], ""),
        Answer::new(200, &[], "{\"a\":1}"),
    ])
    .await;
    let response = http().send(get(&vendor, "/x")).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.json::<serde_json::Value>().await.unwrap()["a"], 1);
    assert_eq!(vendor.calls().len(), 4);
}

#[tokio::test]
async fn gives_up_after_four_tries_with_the_last_answer() {
    let vendor = Vendor::start(|_| Answer::html(503)).await;
    let response = http().send(get(&vendor, "/x")).await.unwrap();
    assert_eq!(response.status(), 503);
    assert!(response.error_body().await.starts_with(b"<html>"));
    assert_eq!(vendor.calls().len(), 4);
}

#[tokio::test]
async fn statuses_that_are_answers_are_not_retried() {
    for status in [200, 204, 301, 400, 401, 403, 404, 408, 409, 422] {
        let vendor = Vendor::start(move |_| Answer::new(status, &[("location", "/elsewhere")], "")).await;
        assert_eq!(http().send(get(&vendor, "/x")).await.unwrap().status(), status);
        assert_eq!(vendor.calls(), ["GET /x"], "{status}");
    }
    let vendor = Vendor::start(|_| Answer::new(429, &[], "")).await;
    assert_eq!(http().send(get(&vendor, "/x").accept_status(429)).await.unwrap().status(), 429);
    assert_eq!(vendor.calls().len(), 1);
}

#[tokio::test]
async fn a_request_that_goes_once_goes_once() {
    for answer in [Answer::hang_up(), Answer::html(503), Answer::new(429, &[], "")] {
        let vendor = Vendor::start(move |_| answer.clone()).await;
        let outcome = http().send(get(&vendor, "/x").repeat(Repeat::Once)).await;
        assert_eq!(vendor.calls().len(), 1, "{outcome:?}");
    }
}

#[tokio::test]
async fn later_tries_go_to_the_second_address() {
    let vendor = Vendor::script([Answer::hang_up(), Answer::html(502), Answer::new(200, &[], "")]).await;
    let second = Url::parse(&format!("{}/x?retry=true", vendor.base)).unwrap();
    http().send(get(&vendor, "/x").second_url(second)).await.unwrap();
    assert_eq!(vendor.calls(), ["GET /x", "GET /x?retry=true", "GET /x?retry=true"]);
}

#[tokio::test]
async fn headers_say_who_asks_and_never_ask_for_packing() {
    let vendor = Vendor::script([Answer::new(200, &[], "")]).await;
    http().send(get(&vendor, "/x").bearer(&"token".into()).unwrap()).await.unwrap();
    let headers = vendor.seen().remove(0).headers;
    assert_eq!(headers["user-agent"], format!("backhaul/{}", env!("CARGO_PKG_VERSION")));
    assert_eq!(headers["authorization"], "Bearer token");
    assert!(!headers.contains_key("accept-encoding"));
}

#[tokio::test]
async fn a_host_that_is_not_there_is_transient_and_named_without_the_query() {
    // The port was ours a moment ago and is free again: nobody listens.
    let port = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let url = Url::parse(&format!("http://127.0.0.1:{port}/api?token=MARKED")).unwrap();
    let failure = http().send(Request::new(Method::GET, url)).await.unwrap_err();
    assert_eq!(failure.class, Class::Transient);
    assert!(failure.message.starts_with(&format!("`GET 127.0.0.1:{port}/api`: no answer:")), "{failure}");
    assert!(failure.message.ends_with("(tried 4 times)"), "{failure}");
    assert!(failure.hint.as_deref().unwrap().contains("host in the secret"), "{failure}");
    assert!(!format!("{failure:?}").contains("MARKED"));
}

#[tokio::test]
async fn plain_http_to_another_machine_is_refused() {
    let url = Url::parse("http://192.0.2.1/x").unwrap();
    let failure = http().send(Request::new(Method::GET, url)).await.unwrap_err();
    assert_eq!(failure.class, Class::Configuration);
}

#[tokio::test]
async fn a_vendor_that_stays_silent_is_transient() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("http://{}/x", listener.local_addr().unwrap())).unwrap();
    let request = Request::new(Method::GET, url).silence(Duration::from_millis(20)).repeat(Repeat::Once);
    let failure = http().send(request).await.unwrap_err();
    assert_eq!(failure.class, Class::Transient);
    assert!(failure.message.contains("no answer within"), "{failure}");
}

#[tokio::test]
async fn a_body_that_breaks_off_is_transient_however_it_is_read() {
    let vendor = Vendor::start(|_| Answer::new(200, &[], "x".repeat(100_000)).cut(1)).await;
    let send = || async { http().send(get(&vendor, "/big")).await.unwrap() };
    let failure = send().await.into_body().bytes(1 << 20).await.unwrap_err();
    assert_eq!(failure.class, Class::Transient);
    assert!(failure.message.contains("/big`: the answer broke off"), "{failure}");
    let mut blocking = send().await.into_body().into_blocking();
    let read = tokio::task::spawn_blocking(move || blocking.read_to_end(&mut Vec::new())).await.unwrap();
    assert_eq!(from_io(read.unwrap_err()), failure);
}

#[tokio::test]
async fn blocking_code_reads_the_same_bytes() {
    let text = "0123456789".repeat(50_000);
    let sent = text.clone();
    let vendor = Vendor::start(move |_| Answer::new(200, &[], &sent)).await;
    let mut body = http().send(get(&vendor, "/x")).await.unwrap().into_body().into_blocking();
    let read = tokio::task::spawn_blocking(move || {
        let mut read = String::new();
        body.read_to_string(&mut read).map(|_| read)
    });
    assert_eq!(read.await.unwrap().unwrap(), text);
}

#[tokio::test]
async fn something_else_than_json_is_transient_and_not_quoted() {
    for answer in [Answer::html(200), Answer::json(200, serde_json::json!({"a": "MARKED"}))] {
        let vendor = Vendor::start(move |_| answer.clone()).await;
        let response = http().send(get(&vendor, "/x")).await.unwrap();
        let failure = response.json::<std::collections::HashMap<String, u32>>().await.unwrap_err();
        assert_eq!(failure.class, Class::Transient);
        assert!(!failure.message.contains("MARKED") && !failure.message.contains("maintenance"), "{failure}");
    }
}

#[tokio::test]
async fn an_error_is_read_up_to_64_kib() {
    let vendor = Vendor::start(|_| Answer::new(400, &[], "x".repeat(1 << 20))).await;
    let body = http().send(get(&vendor, "/x")).await.unwrap().error_body().await;
    assert_eq!(body.len(), 64 << 10);
    let vendor = Vendor::start(|_| Answer::new(400, &[], "{\"code\":1}").cut(1)).await;
    assert_eq!(http().send(get(&vendor, "/x")).await.unwrap().error_body().await, "{\"code\":1");
}

fn upload(vendor: &Vendor, length: u64, chunks: Vec<Result<Bytes, Failure>>) -> Request {
    let url = Url::parse(&format!("{}/up", vendor.base)).unwrap();
    Request::new(Method::PUT, url).stream(length, stream::iter(chunks))
}

fn chunk(text: &'static str) -> Result<Bytes, Failure> {
    Ok(Bytes::from_static(text.as_bytes()))
}

#[tokio::test]
async fn a_streamed_body_goes_once_with_its_exact_length() {
    let vendor = Vendor::start(|_| Answer::new(201, &[], "")).await;
    let chunks = vec![chunk("abc"), chunk(""), chunk("defg"), chunk("")];
    assert_eq!(http().send(upload(&vendor, 7, chunks)).await.unwrap().status(), 201);
    http().send(upload(&vendor, 0, vec![])).await.unwrap();
    let seen = vendor.seen();
    assert_eq!((seen[0].headers["content-length"].as_str(), seen[0].body.as_slice()), ("7", &b"abcdefg"[..]));
    assert!(!seen[0].headers.contains_key("transfer-encoding"));
    assert_eq!(seen[1].headers["content-length"], "0");
    let vendor = Vendor::start(|_| Answer::html(503)).await;
    assert_eq!(http().send(upload(&vendor, 1, vec![chunk("a")])).await.unwrap().status(), 503);
    assert_eq!(vendor.calls().len(), 1);
}

#[tokio::test]
async fn a_streamed_body_of_another_length_never_arrives_whole() {
    for (length, chunks) in [
        (5, vec![chunk("abc")]),
        (3, vec![chunk("abcd")]),
        (3, vec![chunk("abc"), chunk("d")]),
        (0, vec![chunk("a")]),
    ] {
        let vendor = Vendor::start(|_| Answer::new(201, &[], "")).await;
        let outcome = http().send(upload(&vendor, length, chunks)).await;
        if length > 0 {
            assert_eq!(outcome.unwrap_err().class, Class::Bug, "{length}");
            assert!(vendor.seen().iter().all(|seen| seen.broken), "{length}");
        }
    }
}

#[tokio::test]
async fn the_failure_of_a_stream_comes_through() {
    let vendor = Vendor::start(|_| Answer::new(201, &[], "")).await;
    let failure = Failure::configuration("object `x` is gone");
    let outcome = http().send(upload(&vendor, 6, vec![chunk("abc"), Err(failure.clone())])).await;
    assert_eq!(outcome.unwrap_err(), failure);
}

#[tokio::test]
async fn a_host_that_goes_on_failing_is_left_alone() {
    let vendor = Vendor::start(|_| Answer::html(503)).await;
    let retry = RetryPolicy { tries: 1, break_after: 3, ..RetryPolicy::immediate() };
    let http = Http::new(retry).unwrap();
    let get = || Request::new(Method::GET, Url::parse(&vendor.base).unwrap());
    for _ in 0..3 {
        assert_eq!(http.send(get()).await.unwrap().status(), 503);
    }
    let failure = http.clone().send(get()).await.unwrap_err();
    assert_eq!(failure.class, Class::Transient);
    assert!(failure.message.contains("is left alone for another"), "{failure}");
    assert_eq!((vendor.calls().len(), http.sent()), (3, 3), "nothing was sent");
}

#[tokio::test]
async fn an_answer_may_ask_to_wait() {
    let wait = Answer::new(503, &[("retry-after", "1")], "");
    let vendor = Vendor::script([wait, Answer::new(200, &[], "")]).await;
    let http = Http::new(RetryPolicy::immediate()).unwrap();
    let began = std::time::Instant::now();
    http.send(Request::new(Method::GET, Url::parse(&vendor.base).unwrap())).await.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(1));
}

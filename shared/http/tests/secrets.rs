//! Planted secrets never show. Alone in its process: what is logged is decided for all threads at once.
#![allow(clippy::unwrap_used)]

mod support;

use backhaul_http::{Http, Method, Request, RetryPolicy, Url};
use support::{Answer, Vendor, capture};

#[tokio::test]
async fn nothing_secret_is_ever_shown() {
    let (log, _guard) = capture();
    let vendor = Vendor::start(|_| Answer::new(503, &[("set-cookie", "MARKED")], "MARKED")).await;
    let url = Url::parse(&format!("{}/x?q=MARKED", vendor.base)).unwrap();
    let request = Request::new(Method::GET, url.clone())
        .bearer(&"MARKED".into())
        .unwrap()
        .form(&[("assertion", "MARKED")])
        .second_url(url);
    let mut shown = format!("{request:?}");
    let client = Http::new(RetryPolicy::immediate()).unwrap();
    let response = client.send(request).await.unwrap();
    shown += &format!("{client:?} {response:?}");
    shown += &format!("{:?}", response.into_body());
    shown += &log.text();
    assert!(shown.contains("trying again") && !shown.contains("MARKED"), "{shown}");
}

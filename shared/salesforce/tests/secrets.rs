//! Planted secrets never show. Alone in its process: what is logged is decided for all threads at once.
#![allow(clippy::unwrap_used)]

#[path = "../../http/tests/support/mod.rs"]
mod support;

use backhaul_salesforce::{Client, Secret};
use bytes::Bytes;
use futures_util::stream;
use http_client::RetryPolicy;
use serde_json::json;
use support::{Answer, Vendor, capture, key};

#[tokio::test]
async fn secrets_are_never_shown() {
    let (log, _guard) = capture();
    let secret = json!({"login_url": "https://login.salesforce.com", "client_id": "c", "username": "u", "private_key": "MARKED"});
    let secret: Secret = serde_json::from_value(secret).unwrap();
    let mut shown = format!("{secret:?} {:?}", Client::new(secret.clone()).unwrap_err());
    let vendor = Vendor::start(|seen| {
        let instance = format!("http://{}", seen.headers["host"]);
        match seen.method.as_str() {
            "POST" => Answer::json(200, json!({"access_token": "00D!MARKED", "instance_url": instance})),
            _ => Answer::json(503, json!([{"errorCode": "SERVER_UNAVAILABLE", "message": "later"}])),
        }
    })
    .await;
    let real = json!({"login_url": vendor.base, "client_id": "c", "username": "u", "private_key": key().0});
    let client = Client::with_retry(serde_json::from_value(real).unwrap(), RetryPolicy::immediate()).unwrap();
    shown += &format!("{:?}", client.describe("Account").await.unwrap_err());
    shown += &format!(
        "{:?}",
        client.upload("750", 6, stream::iter([Ok(Bytes::from_static(b"MARKED"))])).await.unwrap_err()
    );
    shown += &format!("{client:?}");
    shown += &log.text();
    let assertion = String::from_utf8(vendor.seen()[0].body.clone()).unwrap();
    assert!(shown.contains("answered"), "nothing was logged");
    for secret in ["MARKED", assertion.split_once("&assertion=").unwrap().1, &key().0[40..100]] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

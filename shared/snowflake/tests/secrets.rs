//! Planted secrets never show. Alone in its process: what is logged is decided for all threads at once.
#![allow(clippy::unwrap_used)]

#[path = "../../http/tests/support/mod.rs"]
mod support;

use backhaul_snowflake::{Client, Secret};
use http_client::RetryPolicy;
use serde_json::json;
use support::{Answer, Vendor, capture, key};

#[tokio::test]
async fn secrets_are_never_shown() {
    let (log, _guard) = capture();
    let vendor = Vendor::start(|_| Answer::json(401, json!({"code": "390144", "message": "invalid"}))).await;
    let marked =
        json!({"account": "myorg-acct", "user": "u", "private_key": "MARKED KEY", "host": vendor.base});
    let marked: Secret = serde_json::from_value(marked).unwrap();
    let mut shown = format!("{marked:?}");
    shown += &format!("{:?}", Client::new(marked).unwrap_err());
    let real = json!({"account": "myorg-acct", "user": "u", "private_key": key().0, "host": vendor.base});
    let client = Client::with_retry(serde_json::from_value(real).unwrap(), RetryPolicy::immediate()).unwrap();
    shown += &format!("{client:?} {:?}", client.poll("01b2").await.unwrap_err());
    shown += &log.text();
    let seen = vendor.seen();
    let token = seen[0].headers["authorization"].strip_prefix("Bearer ").unwrap();
    assert!(shown.contains("answered"), "nothing was logged");
    for secret in ["MARKED", token, &key().0[40..100]] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

//! The three ways to log in, and a secret that changes while a process lives.
#![allow(clippy::unwrap_used)]

#[path = "../../http/tests/support/mod.rs"]
mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use backhaul_snowflake::{Binding, Client, Poll, Secret, StatementRequest};
use engine::Class;
use futures_util::FutureExt;
use http_client::{Lease, RetryPolicy};
use secrecy::SecretString;
use serde_json::{Value, json};
use support::{Answer, Seen, Vendor, key};

fn secret(vendor: &Vendor, more: Value) -> Secret {
    let mut secret = json!({"account": "myorg-acct", "host": vendor.base});
    secret.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(secret).unwrap()
}

fn client(secret: Secret) -> Client {
    Client::with_retry(secret, RetryPolicy::immediate()).unwrap()
}

/// A Snowflake that knows one token.
async fn knows(token: &'static str) -> Vendor {
    Vendor::start(move |seen| {
        if seen.headers["authorization"] == format!("Bearer {token}") {
            return Answer::json(202, json!({"code": "333334", "statementHandle": "01b2"}));
        }
        Answer::json(401, json!({"code": "390144", "message": "MARKED is not valid"}))
    })
    .await
}

fn kinds(seen: &[Seen]) -> Vec<&str> {
    seen.iter().map(|seen| seen.headers["x-snowflake-authorization-token-type"].as_str()).collect()
}

#[tokio::test]
async fn a_programmatic_access_token_is_sent_as_it_is() {
    let vendor = knows("pat").await;
    assert!(matches!(
        client(secret(&vendor, json!({"token": "pat"}))).poll("01b2").await.unwrap(),
        Poll::Running
    ));
    assert_eq!(kinds(&vendor.seen()), ["PROGRAMMATIC_ACCESS_TOKEN"]);
    // One that is refused is not tried twice: it would be the same again.
    let failure = client(secret(&vendor, json!({"token": "old"}))).poll("01b2").await.unwrap_err();
    assert_eq!((failure.class, vendor.seen().len()), (Class::Configuration, 2), "{failure}");
}

#[tokio::test]
async fn a_workload_logs_in_with_the_token_of_its_cloud() {
    let vendor = knows("WIF.AWS.2").await;
    let minted = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&minted);
    let workload = client(secret(&vendor, json!({"workload_identity": "aws"}))).with_identity(move || {
        let number = counted.fetch_add(1, Ordering::SeqCst) + 1;
        let value = SecretString::from(format!("WIF.AWS.{number}"));
        async move { Ok(Lease { value, until: Some(SystemTime::now() + Duration::from_secs(900)) }) }.boxed()
    });
    workload.poll("01b2").await.unwrap();
    workload.poll("01b2").await.unwrap();
    assert_eq!(minted.load(Ordering::SeqCst), 2, "the refused one, and the one that is good for both calls");
    assert_eq!(kinds(&vendor.seen()), ["WORKLOAD_IDENTITY_FEDERATION"; 3]);
    let elsewhere =
        client(secret(&vendor, json!({"workload_identity": "aws"}))).poll("01b2").await.unwrap_err();
    assert_eq!(elsewhere.class, Class::Configuration);
}

#[test]
fn a_secret_holds_one_proof_and_what_it_needs() {
    let pem = key().0.clone();
    for (fields, says) in [
        (json!({}), "none, or more than one"),
        (json!({"token": "x", "workload_identity": "aws"}), "none, or more than one"),
        (json!({"token": "x", "private_key": pem, "user": "u"}), "none, or more than one"),
        (json!({"token": " "}), "`token` is empty"),
        (json!({"private_key": pem}), "`user` is empty"),
    ] {
        let mut secret = json!({"account": "myorg-acct"});
        secret.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let failure = Client::new(serde_json::from_value(secret).unwrap()).unwrap_err();
        assert_eq!(failure.class, Class::Configuration);
        assert!(failure.message.contains(says), "{failure}");
    }
}

#[tokio::test]
async fn a_rotated_secret_is_picked_up_on_the_first_refusal() {
    let vendor = knows("new").await;
    let with = |token: &str| secret(&vendor, json!({"token": token}));
    let asked = Arc::new(AtomicUsize::new(0));
    let (counted, new) = (Arc::clone(&asked), with("new"));
    let rotating = client(with("old")).rotating(move || {
        counted.fetch_add(1, Ordering::SeqCst);
        let new = new.clone();
        async move { Ok(new) }.boxed()
    });
    rotating.poll("01b2").await.unwrap();
    rotating.poll("01b2").await.unwrap();
    assert_eq!((asked.load(Ordering::SeqCst), vendor.seen().len()), (1, 3));
    let same = with("old");
    let unchanged = client(with("old")).rotating(move || {
        let same = same.clone();
        async move { Ok(same) }.boxed()
    });
    let failure = unchanged.poll("01b2").await.unwrap_err();
    assert_eq!((failure.class, vendor.seen().len()), (Class::Configuration, 4));
}

#[tokio::test]
async fn what_is_bound_goes_by_its_place() {
    let vendor = knows("pat").await;
    let statement = StatementRequest {
        sql: "select ?, ?".to_owned(),
        request_id: "6f0c2c5e-0000-4000-8000-000000000001".to_owned(),
        resubmission: false,
        timeout_seconds: 60,
        warehouse: None,
        role: None,
        database: None,
        schema: None,
        query_tag: String::new(),
        bindings: vec![Binding::text(Some("a".to_owned())), Binding::text(None)],
    };
    client(secret(&vendor, json!({"token": "pat"}))).submit(&statement).await.unwrap();
    let bound = json!({"1": {"type": "TEXT", "value": "a"}, "2": {"type": "TEXT", "value": null}});
    assert_eq!(vendor.seen()[0].json()["bindings"], bound);
}

//! Logging in: both flows, once for a run, and anew when it has to be.
#![allow(clippy::unwrap_used)]

#[path = "../../http/tests/support/mod.rs"]
mod support;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use backhaul_salesforce::{Client, Secret, Shelf};
use bytes::Bytes;
use engine::Class;
use futures_util::{FutureExt, future::join_all};
use http_client::RetryPolicy;
use serde_json::{Value, json};
use support::{Answer, Seen, Vendor, key};

const LOGIN: &str = "/services/oauth2/token";

fn secret(change: Value) -> Secret {
    let mut secret = json!({"client_id": "3MVG9", "username": "loader@acme.example"});
    let fields = secret.as_object_mut().unwrap();
    fields.extend(change.as_object().unwrap().clone());
    serde_json::from_value(secret).unwrap()
}

fn jwt(vendor: &Vendor) -> Secret {
    secret(json!({"login_url": vendor.base, "private_key": key().0}))
}

fn client(secret: Secret) -> Client {
    Client::with_retry(secret, RetryPolicy::immediate()).unwrap()
}

/// An org whose tokens are numbered. Those up to `ended` have ended.
async fn org(ended: Arc<AtomicUsize>) -> Vendor {
    let mut logins = 0;
    Vendor::start(move |seen| {
        if seen.target == LOGIN {
            logins += 1;
            let instance = format!("http://{}", seen.headers["host"]);
            return Answer::json(
                200,
                json!({"access_token": format!("00D!{logins}"), "instance_url": instance}),
            );
        }
        if number(seen) <= ended.load(Ordering::SeqCst) {
            return Answer::json(401, json!([{"errorCode": "INVALID_SESSION_ID", "message": "over"}]));
        }
        Answer::json(200, json!({"DailyApiRequests": {"Max": 10, "Remaining": 9}}))
    })
    .await
}

/// The number of the token of a request.
fn number(seen: &Seen) -> usize {
    seen.headers["authorization"].rsplit('!').next().unwrap().parse().unwrap()
}

fn logins(vendor: &Vendor) -> usize {
    vendor.seen().iter().filter(|seen| seen.target == LOGIN).count()
}

/// A shelf in memory, and what lies on it.
fn shelf() -> (Shelf, Arc<Mutex<BTreeMap<u32, Bytes>>>) {
    let kept: Arc<Mutex<BTreeMap<u32, Bytes>>> = Arc::default();
    let (reading, keeping) = (Arc::clone(&kept), Arc::clone(&kept));
    let read = move |number: u32| {
        let found = reading.lock().unwrap().get(&number).cloned();
        async move { Ok(found) }.boxed()
    };
    let keep = move |number: u32, sealed: Bytes| {
        let mut kept = keeping.lock().unwrap();
        let free = !kept.contains_key(&number);
        kept.entry(number).or_insert(sealed);
        async move { Ok(free) }.boxed()
    };
    (Shelf { read: Arc::new(read), keep: Arc::new(keep) }, kept)
}

#[tokio::test]
async fn client_credentials_log_in_with_the_secret_of_the_app() {
    let vendor = org(Arc::default()).await;
    let secret = secret(json!({"login_url": vendor.base, "client_secret": "MARKED & more"}));
    client(secret).limits().await.unwrap();
    let body = String::from_utf8(vendor.seen()[0].body.clone()).unwrap();
    assert_eq!(body, "grant_type=client_credentials&client_id=3MVG9&client_secret=MARKED+%26+more");
}

#[test]
fn a_secret_names_one_flow_and_what_it_needs() {
    let pem = key().0.clone();
    for (fields, says) in [
        (json!({"login_url": "https://acme.my.salesforce.com"}), "neither or both"),
        (json!({"login_url": "https://a.b", "private_key": pem, "client_secret": "x"}), "neither or both"),
        (
            json!({"login_url": "https://login.salesforce.com", "client_secret": "x"}),
            "takes no client credentials",
        ),
        (
            json!({"login_url": "https://test.salesforce.com", "client_secret": "x"}),
            "takes no client credentials",
        ),
        (json!({"login_url": "https://a.b", "client_secret": " "}), "`client_secret` is empty"),
        (json!({"login_url": "https://a.b", "private_key": pem, "username": ""}), "`username` is empty"),
        (json!({"login_url": "https://a.b", "private_key": pem, "client_id": ""}), "`client_id` is empty"),
    ] {
        let failure = Client::new(secret(fields)).unwrap_err();
        assert_eq!(failure.class, Class::Configuration);
        assert!(failure.message.contains(says), "{failure}");
    }
}

#[tokio::test]
async fn a_run_logs_in_once_however_many_load_it() {
    let (vendor, (shelf, kept)) = (org(Arc::default()).await, shelf());
    // The first one finds nothing and logs in; whoever comes later finds its session.
    client(jwt(&vendor)).shared(shelf.clone()).limits().await.unwrap();
    let clients: Vec<Client> = (0..20).map(|_| client(jwt(&vendor)).shared(shelf.clone())).collect();
    for outcome in join_all(clients.iter().map(Client::limits)).await {
        outcome.unwrap();
    }
    assert_eq!(logins(&vendor), 1);
    let kept = kept.lock().unwrap();
    assert_eq!(kept.len(), 1);
    let sealed = String::from_utf8_lossy(&kept[&0]).into_owned();
    assert!(!sealed.contains("00D!") && !sealed.contains("http"), "{sealed}");
}

#[tokio::test]
async fn a_session_that_ends_is_renewed_once_for_all() {
    let ended = Arc::default();
    let (vendor, (shelf, kept)) = (org(Arc::clone(&ended)).await, shelf());
    let clients: Vec<Client> = (0..5).map(|_| client(jwt(&vendor)).shared(shelf.clone())).collect();
    for client in &clients {
        client.limits().await.unwrap();
    }
    ended.store(1, Ordering::SeqCst);
    for client in &clients {
        client.limits().await.unwrap();
    }
    assert_eq!((logins(&vendor), kept.lock().unwrap().len()), (2, 2));
    // One that begins now takes the last session, not the first.
    client(jwt(&vendor)).shared(shelf).limits().await.unwrap();
    assert_eq!(logins(&vendor), 2);
}

#[tokio::test]
async fn a_session_that_ends_at_once_is_not_renewed_for_ever() {
    let ended = Arc::new(AtomicUsize::new(usize::MAX));
    let (vendor, (shelf, _)) = (org(ended).await, shelf());
    let failure = client(jwt(&vendor)).shared(shelf).limits().await.unwrap_err();
    assert_eq!((failure.class, logins(&vendor)), (Class::Configuration, 2));
}

#[tokio::test]
async fn a_session_under_another_secret_is_passed_over() {
    let (vendor, (shelf, kept)) = (org(Arc::default()).await, shelf());
    kept.lock().unwrap().insert(0, Bytes::from_static(b"\x01sealed by somebody else altogether"));
    client(jwt(&vendor)).shared(shelf).limits().await.unwrap();
    assert_eq!((logins(&vendor), kept.lock().unwrap().len()), (1, 2));
}

#[tokio::test]
async fn a_changed_secret_is_picked_up_when_the_old_one_is_refused() {
    let vendor = Vendor::start(|seen| {
        let body = String::from_utf8_lossy(&seen.body);
        if seen.target != LOGIN {
            return Answer::json(200, json!({"DailyApiRequests": {"Max": 10, "Remaining": 9}}));
        }
        if !body.contains("client_secret=new") {
            return Answer::json(400, json!({"error": "invalid_client", "error_description": "no"}));
        }
        Answer::json(
            200,
            json!({"access_token": "00D!1", "instance_url": format!("http://{}", seen.headers["host"])}),
        )
    })
    .await;
    let with = |word: &str| secret(json!({"login_url": vendor.base, "client_secret": word}));
    let asked = Arc::new(AtomicUsize::new(0));
    let (counted, new) = (Arc::clone(&asked), with("new"));
    let rotated = client(with("old")).rotating(move || {
        counted.fetch_add(1, Ordering::SeqCst);
        let new = new.clone();
        async move { Ok(new) }.boxed()
    });
    rotated.limits().await.unwrap();
    rotated.limits().await.unwrap();
    assert_eq!((asked.load(Ordering::SeqCst), logins(&vendor)), (1, 2));

    // The same secret again helps nobody: the refusal is told, without another login.
    let same = with("old");
    let unchanged = client(with("old")).rotating(move || {
        let same = same.clone();
        async move { Ok(same) }.boxed()
    });
    assert_eq!(unchanged.limits().await.unwrap_err().class, Class::Configuration);
    assert_eq!(logins(&vendor), 3);
}

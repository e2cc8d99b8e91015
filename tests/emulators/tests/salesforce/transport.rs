//! What lies below the calls: HTTPS, paths, packed bodies, sessions, headers, ids.

use std::io::Write as _;

use emulators::salesforce::{Limits, OrgConfig};
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use reqwest::{Client, Method, Response};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::world::{BASE, CSV, KEY, World};

#[tokio::test(flavor = "multi_thread")]
async fn https_is_served_under_an_authority_of_its_own() {
    let world = World::with(|config| config.https = true).await;
    assert!(world.org.url().starts_with("https://localhost:"));
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", &OrgConfig::default().client_id),
        ("client_secret", &OrgConfig::default().client_secret),
    ];
    let (status, body) = world.oauth("token", &form).await;
    assert_eq!((status, body["instance_url"].as_str()), (200, Some(world.org.url().as_str())));
    assert_eq!(world.get("/limits").await.0, 200);
    let stranger = Client::new().get(format!("{}/services/data", world.org.url()));
    assert!(stranger.send().await.is_err(), "nobody trusts it who was not told to");
    let plain = world.client.get(format!("{}/services/data", world.org.plain_url()));
    assert_eq!(plain.send().await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn slashes_more_or_less_do_not_count() {
    let world = World::with(|_| {}).await;
    let wish = json!({"object": "Account", "operation": "insert"});
    let made = world.request(Method::POST, "//services/data//v66.0/jobs/ingest//").json(&wish);
    let job: Value = made.send().await.unwrap().json().await.unwrap();
    let path = format!("{BASE}/jobs//ingest/{}", job["id"].as_str().unwrap());
    let put = world.request(Method::PUT, &format!("{path}/batches/")).header("content-type", CSV);
    assert_eq!(put.body("Name\nN\n").send().await.unwrap().status(), 201);
    let close = world.request(Method::PATCH, &format!("{path}/")).json(&json!({"state": "UploadComplete"}));
    assert_eq!(close.send().await.unwrap().status(), 200);
    assert_eq!(world.ended(job["id"].as_str().unwrap()).await["numberRecordsProcessed"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_results_match_in_any_case() {
    let world = World::with(|_| {}).await;
    let (job, _) = world.run("Account", "upsert", KEY, "Customer_Key__c,Name\nk,N\n").await;
    for part in [
        "successfulResults",
        "SuccessfulResults",
        "failedresults",
        "unprocessedrecords",
        "unprocessedRecords",
    ] {
        assert!(world.text(&job, part).await.contains("Customer_Key__c"), "{part}");
    }
    assert_eq!(world.get(&format!("/jobs/ingest/{job}/otherResults")).await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn json_may_come_packed() {
    let world = World::with(|_| {}).await;
    let wish = json!({"object": "Account", "operation": "insert"}).to_string();
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(wish.as_bytes()).unwrap();
    let mut deflate = ZlibEncoder::new(Vec::new(), Compression::default());
    deflate.write_all(wish.as_bytes()).unwrap();
    let bodies = [("gzip", gzip.finish().unwrap()), ("deflate", deflate.finish().unwrap())];
    for (coding, body) in bodies {
        let post =
            world.request(Method::POST, &format!("{BASE}/jobs/ingest")).header("content-encoding", coding);
        let made: Value = post.body(body).send().await.unwrap().json().await.unwrap();
        assert_eq!(made["state"], "Open", "{coding}");
    }
    let broken =
        world.request(Method::POST, &format!("{BASE}/jobs/ingest")).header("content-encoding", "gzip");
    assert_eq!(broken.body(wish).send().await.unwrap().status(), 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_may_come_in_chunks_and_with_a_charset() {
    let world = World::with(|_| {}).await;
    for kind in [CSV, "text/csv; charset=UTF-8", "Text/CSV;charset=utf-8"] {
        let job = world.create("Account", "insert", None).await;
        let pieces = ["Name\n", "One\nT", "wo\n"].map(Ok::<_, std::io::Error>);
        let body = reqwest::Body::wrap_stream(futures_util::stream::iter(pieces));
        let put = world.request(Method::PUT, &format!("{BASE}/jobs/ingest/{job}/batches"));
        let answer = put.header("content-type", kind).body(body).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.text().await.unwrap().as_str()), (201, ""));
        world.set_state(&job, "UploadComplete").await;
        assert_eq!(world.ended(&job).await["numberRecordsProcessed"], 2);
    }
    let job = world.create("Account", "insert", None).await;
    let put = world.request(Method::PUT, &format!("{BASE}/jobs/ingest/{job}/batches"));
    let answer = put.header("content-type", "application/json").body("Name\n").send().await.unwrap();
    assert_eq!(answer.status(), 415);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_asks_first_is_told_to_go_on() {
    let world = World::with(|_| {}).await;
    let job = world.create("Account", "insert", None).await;
    let address = world.org.plain_url().replace("http://", "");
    let mut stream = tokio::net::TcpStream::connect(&address).await.unwrap();
    let head = format!(
        "PUT {BASE}/jobs/ingest/{job}/batches/ HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\n\
         Content-Type: text/csv\r\nContent-Length: 7\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n",
        world.token
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut first = [0; 25];
    stream.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"Name\nN\n").await.unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert!(rest.starts_with("HTTP/1.1 201"), "{rest}");
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_are_told_to_anyone() {
    let world = World::with(|_| {}).await;
    for request in [
        world.client.get(format!("{}/services/data", world.org.url())),
        world.request(Method::GET, "/services/data/"),
    ] {
        let response = request.send().await.unwrap();
        assert!(!response.headers().contains_key("sforce-limit-info"));
        let versions: Value = response.json().await.unwrap();
        assert!(versions.as_array().unwrap().iter().any(|version| version["url"] == BASE));
        for version in versions.as_array().unwrap() {
            let number = version["version"].as_str().unwrap();
            assert!(number.len() == 4 && number.ends_with(".0") && number[..2].parse::<u32>().unwrap() >= 10);
        }
    }
}

fn told(response: &Response) -> Option<&str> {
    response.headers().get("sforce-limit-info")?.to_str().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_to_a_session_tells_how_many_calls_are_used() {
    let limits = Limits { daily_api_requests: 5, ..Limits::default() };
    let world = World::new(OrgConfig { limits, ..OrgConfig::default() }).await;
    for (path, status, used) in [
        ("/services/oauth2/userinfo", 200, 1),
        ("/services/data/v66.0/jobs/ingest/750", 404, 2),
        ("/services/data/v66.0/query", 400, 3),
        ("/services/data/v29.0/limits", 410, 4),
        ("/services/data/v66.0/limits", 200, 5),
        ("/services/data/v66.0/limits", 403, 5),
    ] {
        let response = world.request(Method::GET, path).send().await.unwrap();
        assert_eq!(response.status(), status, "{path}");
        assert_eq!(told(&response), Some(format!("api-usage={used}/5").as_str()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_live_session_there_is_no_answer() {
    let world = World::with(|_| {}).await;
    let url = format!("{}{BASE}/jobs/ingest", world.org.url());
    for (header, code) in [
        (None, "INVALID_SESSION_ID"),
        (Some("Bearer 00D5e0000000001!other"), "INVALID_SESSION_ID"),
        (Some("Token abc"), "INVALID_AUTH_HEADER"),
    ] {
        let request = world.client.post(&url).json(&json!({"object": "Account", "operation": "insert"}));
        let request = header.iter().fold(request, |request, header| request.header("authorization", *header));
        let response = request.send().await.unwrap();
        assert_eq!((response.status().as_u16(), told(&response)), (401, None));
        let body: Value = response.json().await.unwrap();
        assert_eq!(body[0]["errorCode"], code);
    }
    let oauth = world.client.get(&url).header("authorization", format!("OAuth {}", world.token));
    assert_eq!(oauth.send().await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn long_addresses_are_refused() {
    let world = World::with(|_| {}).await;
    let long = format!("{BASE}/query?q={}", "x".repeat(16_384));
    assert_eq!(world.request(Method::GET, &long).send().await.unwrap().status(), 414);
    let headed = world.request(Method::GET, &format!("{BASE}/limits")).header("x-long", "y".repeat(16_384));
    assert_eq!(headed.send().await.unwrap().status(), 431);
}

/// The suffix of an id, built from the published rule with a table of bits.
fn suffixed(id: &str) -> String {
    let bit = |at: usize| id.as_bytes()[at].is_ascii_uppercase();
    let group = |from: usize| (0..5).rev().fold(0, |value, at| value * 2 + usize::from(bit(from + at)));
    let letter = |value: usize| "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345".chars().nth(value).unwrap();
    format!("{}{}", &id[..15], [0, 5, 10].map(group).map(letter).iter().collect::<String>())
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_have_eighteen_characters_and_a_prefix() {
    let world = World::with(|_| {}).await;
    let info: Value =
        world.request(Method::GET, "/services/oauth2/userinfo").send().await.unwrap().json().await.unwrap();
    let jobs = [world.create("Account", "insert", None).await, world.create("Account", "insert", None).await];
    let soql = json!({"operation": "query", "query": "SELECT Id FROM User"});
    let (_, query) = world.call(Method::POST, "/jobs/query", Some(&soql)).await;
    for (id, prefix) in [
        (jobs[0].as_str(), "750"),
        (jobs[1].as_str(), "750"),
        (query["id"].as_str().unwrap(), "750"),
        (info["user_id"].as_str().unwrap(), "005"),
        (info["organization_id"].as_str().unwrap(), "00D"),
    ] {
        assert_eq!((id, &id[..3]), (suffixed(id).as_str(), prefix));
    }
    assert_ne!(jobs[0], jobs[1]);
}

//! The documented exchanges of the SQL API, replayed against the stand-in.
//!
//! Each file of `snowflake_exchanges/` holds requests and the answers they get. In an answer `<any>` stands for any
//! value, and `<name>` for one that is remembered and has to be the same from then on; a header of null must be absent.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use emulators::snowflake::{Config, Snowflake, SnowflakeServer};
use flate2::read::GzDecoder;
use reqwest::{Client, Method, Response};
use serde_json::Value;

type Names = BTreeMap<String, String>;

#[tokio::test]
async fn the_documented_exchanges_replay() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snowflake_exchanges");
    let mut files: Vec<_> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 10, "the exchanges are there");
    for file in files {
        let exchange: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        replay(&file.file_stem().unwrap().to_string_lossy(), &exchange).await;
    }
}

async fn replay(name: &str, exchange: &Value) {
    assert!(exchange["page"].is_string(), "{name} says where it is documented");
    let account = &exchange["account"];
    let server = Snowflake::start(Config {
        partition_rows: account["partition_rows"].as_u64(),
        statement_time: Duration::from_secs(account["statement_seconds"].as_u64().unwrap_or(0)),
        ..Config::default()
    })
    .unwrap();
    for sql in exchange["setup"].as_array().into_iter().flatten() {
        server.execute(sql.as_str().unwrap()).unwrap();
    }
    let mut names = Names::new();
    for (at, step) in exchange["steps"].as_array().unwrap().iter().enumerate() {
        let what = format!("{name}, step {}", at + 1);
        let mut answer = send(&server, &step["request"], &mut names).await;
        let expected = &step["response"];
        // A statement that has begun to run may take longer than the polls it is configured to answer.
        while answer.status() == 202 && expected["status"] == 200 {
            answer = send(&server, &step["request"], &mut names).await;
        }
        check(&what, expected, answer, &mut names).await;
    }
}

async fn send(server: &SnowflakeServer, request: &Value, names: &mut Names) -> Response {
    let path = filled(request["path"].as_str().unwrap(), names);
    let method = Method::from_bytes(request["method"].as_str().unwrap().as_bytes()).unwrap();
    let client = Client::builder().no_gzip().build().unwrap();
    let mut headers: Names = [("user-agent", "exchange/1.0"), ("content-type", "application/json")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    for (name, value) in request["headers"].as_object().into_iter().flatten() {
        headers.insert(name.clone(), value.as_str().unwrap().to_owned());
    }
    // The token of an OAuth client is unknown here.
    let token = match headers.get("x-snowflake-authorization-token-type") {
        Some(_) => "unknown",
        None => server.access_token(),
    };
    let mut builder = client.request(method, format!("{}{path}", server.url())).bearer_auth(token);
    for (name, value) in headers {
        builder = builder.header(name, value);
    }
    builder.body(request.get("body").map(Value::to_string).unwrap_or_default()).send().await.unwrap()
}

async fn check(what: &str, expected: &Value, answer: Response, names: &mut Names) {
    let status = answer.status().as_u16();
    for (name, value) in expected["headers"].as_object().into_iter().flatten() {
        let found = answer.headers().get(name).map(|value| value.to_str().unwrap());
        assert_eq!(found, value.as_str(), "{what}: {name}");
    }
    let bytes = answer.bytes().await.unwrap();
    let mut text = String::new();
    if bytes.starts_with(&[0x1f, 0x8b]) {
        GzDecoder::new(bytes.as_ref()).read_to_string(&mut text).unwrap();
    } else {
        text.push_str(std::str::from_utf8(&bytes).unwrap());
    }
    assert_eq!(status, expected["status"].as_u64().unwrap() as u16, "{what}: {text}");
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    matches(what, &expected["body"], &body, names);
}

/// Every member that is expected is there, and no other.
fn matches(at: &str, expected: &Value, found: &Value, names: &mut Names) {
    match (expected, found) {
        (Value::String(pattern), _) if pattern == "<any>" => {}
        (Value::String(pattern), Value::String(text))
            if pattern.starts_with('<') && pattern.ends_with('>') =>
        {
            let known = names.entry(pattern.clone()).or_insert_with(|| text.clone());
            // A new statement has a new handle; all other names keep their value.
            if pattern == "<handle>" { known.clone_from(text) } else { assert_eq!(known, text, "{at}") }
        }
        (Value::String(pattern), Value::String(text)) => assert_eq!(&filled(pattern, names), text, "{at}"),
        (Value::Array(expected), Value::Array(found)) => {
            assert_eq!(expected.len(), found.len(), "{at}: {found:?}");
            for (i, (expected, found)) in expected.iter().zip(found).enumerate() {
                matches(&format!("{at}[{i}]"), expected, found, names);
            }
        }
        (Value::Object(expected), Value::Object(members)) => {
            let (wanted, there): (Vec<_>, Vec<_>) = (expected.keys().collect(), members.keys().collect());
            assert_eq!(sorted(wanted), sorted(there), "{at}: {found}");
            // The handle first: the address of the status contains it.
            let mut keys: Vec<_> = expected.keys().collect();
            keys.sort_by_key(|key| key.as_str() != "statementHandle");
            for key in keys {
                matches(&format!("{at}.{key}"), &expected[key], &members[key], names);
            }
        }
        (expected, found) => assert_eq!(expected, found, "{at}"),
    }
}

fn sorted(mut keys: Vec<&String>) -> Vec<&String> {
    keys.sort();
    keys
}

fn filled(text: &str, names: &Names) -> String {
    names.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
}

//! The SQL API as its documentation tells it, from submit to the last partition.
#![allow(clippy::unwrap_used)]

#[path = "../../http/tests/support/mod.rs"]
mod support;

use std::io::Read;

use backhaul_snowflake::{Client, Finished, PartitionInfo, Poll, Secret, StatementRequest, read_result};
use engine::contract::{Column, ColumnKind};
use engine::{Class, Failure};
use http_client::RetryPolicy;
use serde_json::{Value, json};
use support::{Answer, Vendor, claims, key};

const HANDLE: &str = "01b2c3d4-0000-1111-2222-333344445555";

const SUBMIT: &str = "POST /api/v2/statements?async=true&requestId=6f0c2c5e-0000-4000-8000-000000000001";

fn client(vendor: &Vendor) -> Client {
    let private_key = key().0.replace('\n', "\\n");
    let secret = json!({
        "account": "myorg-my_acct", "user": "retl_svc", "private_key": private_key, "host": vendor.base
    });
    let secret: Secret = serde_json::from_value(secret).unwrap();
    Client::with_retry(secret, RetryPolicy::immediate()).unwrap()
}

fn statement() -> StatementRequest {
    StatementRequest {
        sql: "select 1".to_owned(),
        request_id: "6f0c2c5e-0000-4000-8000-000000000001".to_owned(),
        resubmission: false,
        timeout_seconds: 900,
        warehouse: Some("SYNC_WH".to_owned()),
        role: None,
        database: Some("CRM".to_owned()),
        schema: None,
        query_tag: "{\"app\":\"backhaul\"}".to_owned(),
        bindings: Vec::new(),
    }
}

fn running() -> Answer {
    Answer::json(202, json!({"code": "333334", "message": "still running", "statementHandle": HANDLE}))
}

fn refusal(http: u16, code: &str, state: &str) -> Answer {
    Answer::json(
        http,
        json!({"code": code, "sqlState": state, "message": "why not", "statementHandle": HANDLE}),
    )
}

fn result() -> Value {
    json!({
        "code": "090001", "sqlState": "00000", "message": "Statement executed successfully.",
        "statementHandle": HANDLE,
        "resultSetMetaData": {
            "numRows": 3, "format": "jsonv2",
            "partitionInfo": [
                {"rowCount": 2, "uncompressedSize": 24},
                {"rowCount": 1, "uncompressedSize": 12, "compressedSize": 9}],
            "rowType": [
                {"name": "ID", "type": "fixed", "scale": 0, "length": null},
                {"name": "AT", "type": "TIMESTAMP_NTZ", "scale": 9},
                {"name": "X", "type": "object", "scale": null},
                {"name": "V", "type": "vector"}]},
        "data": [["1", "2.5", null, "a,\"b\"\n"], ["99999999999999999999999999999999999999", null, "", "é"]],
        "stats": {"numRowsInserted": 0}
    })
}

#[tokio::test]
async fn a_submission_is_asynchronous_and_says_all_it_must() {
    let vendor = Vendor::script([running()]).await;
    assert_eq!(client(&vendor).submit(&statement()).await.unwrap(), HANDLE);
    let seen = vendor.seen().remove(0);
    assert_eq!(vendor.calls(), [SUBMIT]);
    assert_eq!(
        seen.json(),
        json!({
            "statement": "select 1", "timeout": 900, "warehouse": "SYNC_WH", "database": "CRM",
            "parameters": {"query_tag": "{\"app\":\"backhaul\"}", "timezone": "UTC"}
        })
    );
    assert_eq!(seen.headers["x-snowflake-authorization-token-type"], "KEYPAIR_JWT");
    assert_eq!(seen.headers["content-type"], "application/json");
    assert_eq!(seen.headers["accept"], "application/json");
    assert!(seen.headers["user-agent"].starts_with("backhaul/"));
}

#[tokio::test]
async fn the_token_is_signed_for_account_user_and_fingerprint() {
    use base64::Engine;
    let vendor = Vendor::script([running()]).await;
    client(&vendor).submit(&statement()).await.unwrap();
    let claims = claims(vendor.seen()[0].headers["authorization"].strip_prefix("Bearer ").unwrap());
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &key().1);
    let fingerprint = base64::prelude::BASE64_STANDARD.encode(digest);
    assert_eq!(claims["sub"], "MYORG-MY_ACCT.RETL_SVC");
    assert_eq!(claims["iss"], format!("MYORG-MY_ACCT.RETL_SVC.SHA256:{fingerprint}"));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let (iat, exp) = (claims["iat"].as_u64().unwrap(), claims["exp"].as_u64().unwrap());
    assert!(iat < now && exp > now + 3000 && exp - iat < 3600, "{claims}");
}

#[tokio::test]
async fn a_repeated_submission_says_so() {
    let vendor = Vendor::script([Answer::hang_up(), Answer::html(503), running(), running()]).await;
    let client = client(&vendor);
    client.submit(&statement()).await.unwrap();
    client.submit(&StatementRequest { resubmission: true, ..statement() }).await.unwrap();
    let retried = format!("{SUBMIT}&retry=true");
    assert_eq!(vendor.calls(), [SUBMIT, &retried, &retried, &retried]);
}

#[tokio::test]
async fn a_resubmission_of_a_finished_statement_gives_its_handle() {
    let vendor = Vendor::start(|_| Answer::json(200, result())).await;
    assert_eq!(client(&vendor).submit(&statement()).await.unwrap(), HANDLE);
    let vendor = Vendor::start(|_| Answer::json(200, result()).cut(5)).await;
    assert_eq!(client(&vendor).submit(&statement()).await.unwrap_err().class, Class::Transient);
}

#[tokio::test]
async fn polls_follow_a_statement_to_its_end() {
    let still = Answer::json(429, json!({"code": "333334", "statementHandle": HANDLE}));
    let vendor = Vendor::script([running(), still, Answer::html(504), Answer::json(200, result())]).await;
    let client = client(&vendor);
    assert!(matches!(client.poll(HANDLE).await.unwrap(), Poll::Running));
    assert!(matches!(client.poll(HANDLE).await.unwrap(), Poll::Running));
    let Poll::Finished(body) = client.poll(HANDLE).await.unwrap() else { panic!("not finished") };
    let mut body = body.into_blocking();
    let reading = tokio::task::spawn_blocking(move || {
        let mut rows = Vec::new();
        read_result(&mut body, &mut rows).map(|finished| (finished, rows))
    });
    let (finished, rows) = reading.await.unwrap().unwrap();
    assert_eq!(finished, announced());
    assert_eq!(serde_json::from_slice::<Value>(&rows).unwrap(), json!({"data": result()["data"]}));
    assert_eq!(vendor.calls(), [format!("GET /api/v2/statements/{HANDLE}").as_str(); 4]);
}

fn announced() -> Finished {
    let column = |name: &str, kind, scale| Column { name: name.to_owned(), kind, scale };
    Finished {
        columns: vec![
            column("ID", ColumnKind::Fixed, Some(0)),
            column("AT", ColumnKind::TimestampNtz, Some(9)),
            column("X", ColumnKind::Json, None),
            column("V", ColumnKind::Other("vector".to_owned()), None),
        ],
        rows: 3,
        partitions: vec![
            PartitionInfo { rows: 2, uncompressed_bytes: 24 },
            PartitionInfo { rows: 1, uncompressed_bytes: 12 },
        ],
    }
}

#[tokio::test]
async fn what_ends_a_poll() {
    for (answer, class) in [
        (refusal(422, "000904", "42000"), Class::Configuration),
        (refusal(422, "000604", "57014"), Class::Configuration),
        (refusal(422, "000710", "02000"), Class::Configuration),
        (refusal(408, "000630", "57014"), Class::Configuration),
        (refusal(403, "390422", ""), Class::Configuration),
        (Answer::json(429, json!({"code": "390505", "message": "too many requests"})), Class::Transient),
        (Answer::html(404), Class::Configuration),
        (Answer::html(503), Class::Transient),
        (Answer::new(405, &[], ""), Class::Bug),
        (Answer::new(302, &[("location", "https://elsewhere.example")], ""), Class::Configuration),
    ] {
        let vendor = Vendor::start(move |_| answer.clone()).await;
        let failure = client(&vendor).poll(HANDLE).await.unwrap_err();
        assert_eq!(failure.class, class, "{failure}");
        assert!(failure.message.contains(&format!("/api/v2/statements/{HANDLE}`")), "{failure}");
    }
}

#[tokio::test]
async fn a_refused_token_is_minted_anew_once() {
    let denied = || Answer::json(401, json!({"code": "390144", "message": "JWT token is invalid. [ab-12]"}));
    let vendor = Vendor::script([denied(), running(), denied(), denied(), running()]).await;
    let client = client(&vendor);
    assert!(matches!(client.poll(HANDLE).await.unwrap(), Poll::Running));
    let failure = client.poll(HANDLE).await.unwrap_err();
    assert_eq!(failure.class, Class::Configuration);
    assert!(failure.hint.unwrap().contains("SYSTEM$GET_LOGIN_FAILURE_DETAILS('ab-12')"));
    assert_eq!(vendor.calls().len(), 4);
}

#[tokio::test]
async fn partitions_come_as_they_are_packed() {
    use std::io::Write;
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(b"{\"data\":[[\"3\"]]}").unwrap();
    let packed = packed.finish().unwrap();
    let sent = packed.clone();
    let vendor = Vendor::start(move |_| Answer::new(200, &[("content-encoding", "gzip")], &sent)).await;
    let body = client(&vendor).partition(HANDLE, 7).await.unwrap();
    assert_eq!(body.bytes(1000).await.unwrap(), packed);
    assert_eq!(vendor.calls(), [format!("GET /api/v2/statements/{HANDLE}?partition=7")]);
    let expired = refusal(422, "000710", "02000");
    for (answer, class, what) in [
        (running(), Class::Transient, "still running"),
        (expired, Class::Configuration, "the result has expired"),
    ] {
        let vendor = Vendor::start(move |_| answer.clone()).await;
        let failure = client(&vendor).partition(HANDLE, 1).await.unwrap_err();
        assert_eq!(failure.class, class);
        assert!(failure.message.contains(what), "{failure}");
    }
}

#[tokio::test]
async fn cancelling_what_has_ended_is_fine() {
    for answer in
        [refusal(200, "000604", "57014"), refusal(422, "000709", "02000"), refusal(422, "000605", "")]
    {
        let vendor = Vendor::start(move |_| answer.clone()).await;
        client(&vendor).cancel(HANDLE).await.unwrap();
        assert_eq!(vendor.calls(), [format!("POST /api/v2/statements/{HANDLE}/cancel")]);
    }
    let vendor = Vendor::start(|_| refusal(403, "", "")).await;
    assert!(client(&vendor).cancel(HANDLE).await.is_err());
}

#[tokio::test]
async fn a_handle_cannot_lead_elsewhere() {
    let vendor = Vendor::script([]).await;
    for handle in ["", "../x", "a?b", "a/b"] {
        assert_eq!(client(&vendor).poll(handle).await.unwrap_err().class, Class::Bug);
    }
    assert!(vendor.calls().is_empty());
}

/// Gives the bytes in small pieces, like a slow line.
struct Slow<'a>(&'a [u8]);

impl Read for Slow<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let most = buffer.len().min(7);
        self.0.read(&mut buffer[..most])
    }
}

fn parse(text: &str) -> Result<(Finished, String), Failure> {
    let mut rows = Vec::new();
    let finished = read_result(Slow(text.as_bytes()), &mut rows)?;
    Ok((finished, String::from_utf8(rows).unwrap()))
}

#[test]
fn the_order_of_the_members_does_not_matter() {
    let data = r#""data":[["1"],[null]]"#;
    let metadata = r#""resultSetMetaData":{"rowType":[{"name":"A","type":"text"}]}"#;
    for text in
        [format!("{{{data},{metadata}}}"), format!(" {{ {metadata} , \"other\":{{\"data\":[1]}},{data} }} ")]
    {
        let (finished, rows) = parse(&text).unwrap();
        assert_eq!((finished.rows, finished.partitions.len(), finished.partitions[0].rows), (2, 1, 2));
        assert_eq!(rows, "{\"data\":[[\"1\"],\n[null]]}");
    }
}

#[test]
fn a_result_without_rows_is_a_result() {
    for data in ["", r#""data":null,"#, r#""data":[],"#] {
        let info = r#"{"numRows":0,"partitionInfo":[],"rowType":[{"name":"A","type":"text"}]}"#;
        let (finished, rows) = parse(&format!("{{{data}\"resultSetMetaData\":{info}}}")).unwrap();
        assert_eq!((finished.rows, rows.as_str()), (0, "{\"data\":[]}"));
    }
}

#[test]
fn results_that_are_not_whole_are_refused() {
    let whole = result().to_string();
    for length in [0, 1, 20, whole.len() / 2, whole.len() - 1] {
        assert_eq!(parse(&whole[..length]).unwrap_err().class, Class::Transient, "{length}");
    }
    assert_eq!(parse(&(whole + "x")).unwrap_err().class, Class::Transient);
    let change = |pointer: &str, value: Value| {
        let mut result = result();
        *result.pointer_mut(pointer).unwrap() = value;
        parse(&result.to_string()).unwrap_err().class
    };
    assert_eq!(change("/code", json!("391908")), Class::Configuration);
    assert_eq!(change("/resultSetMetaData", Value::Null), Class::Configuration);
    assert_eq!(change("/resultSetMetaData/numRows", json!(4)), Class::Transient);
    assert_eq!(change("/resultSetMetaData/partitionInfo/0/rowCount", json!(1)), Class::Transient);
    assert_eq!(change("/data", json!("MARKED")), Class::Transient);
}

#[test]
fn an_error_never_quotes_the_result() {
    for text in
        [r#"{"data":[["MARKED"#, r#"{"data":"MARKED"}"#, r#"{"resultSetMetaData":"MARKED"}"#, r#"["MARKED"]"#]
    {
        assert!(!parse(text).unwrap_err().to_string().contains("MARKED"));
    }
}

struct Broken;

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        Err(std::io::Error::other(Failure::quota("reading")))
    }
}

impl std::io::Write for Broken {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        Err(std::io::Error::other(Failure::guard("writing")))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_failures_of_both_streams_come_through() {
    assert_eq!(read_result(Broken, Vec::new()).unwrap_err(), Failure::quota("reading"));
    assert_eq!(read_result(result().to_string().as_bytes(), Broken).unwrap_err(), Failure::guard("writing"));
}

//! What the Snowflake stand-in does beyond the documented exchanges: whom it trusts, when it makes a client
//! wait, what a session keeps, every kind of value, files in S3, and faults.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::get;
use emulators::faults::{Action, Answer, Rule, Script, Served};
use emulators::snowflake::{
    Column, Config, EmailIntegration, Kind, Snowflake, SnowflakeServer, StorageIntegration, Zone,
};
use flate2::read::GzDecoder;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};

const STATEMENTS: &str = "/api/v2/statements";

fn start(config: Config) -> SnowflakeServer {
    Snowflake::start(config).unwrap()
}

fn immediate() -> Config {
    Config { polls_before_done: 0, ..Config::default() }
}

fn client() -> Client {
    Client::builder().no_gzip().user_agent("behaviours/1.0").build().unwrap()
}

fn post(server: &SnowflakeServer, query: &str, body: &Value) -> RequestBuilder {
    let url = format!("{}{STATEMENTS}{query}", server.url());
    client().post(url).bearer_auth(server.access_token()).json(body)
}

fn fetch(server: &SnowflakeServer, path: &str) -> RequestBuilder {
    client().get(format!("{}{STATEMENTS}/{path}", server.url())).bearer_auth(server.access_token())
}

async fn body(response: Response) -> (u16, Value) {
    (response.status().as_u16(), response.json().await.unwrap())
}

async fn ask(request: RequestBuilder) -> (u16, Value) {
    body(request.send().await.unwrap()).await
}

async fn submit(server: &SnowflakeServer, body: Value) -> (u16, Value) {
    ask(post(server, "", &body)).await
}

async fn run(server: &SnowflakeServer, sql: &str) -> Value {
    let (status, answer) = submit(server, json!({ "statement": sql })).await;
    assert_eq!(status, 200, "{sql}: {answer}");
    answer
}

async fn together(server: &SnowflakeServer, sql: &str) -> (u16, Value) {
    submit(server, json!({ "statement": sql, "parameters": { "MULTI_STATEMENT_COUNT": 0 } })).await
}

async fn last_child(server: &SnowflakeServer, sql: &str) -> Value {
    let (status, parent) = together(server, sql).await;
    assert_eq!(status, 200, "{sql}: {parent}");
    let handle = parent["statementHandles"].as_array().unwrap().last().unwrap().as_str().unwrap();
    ask(fetch(server, handle)).await.1["data"].clone()
}

fn jwt(server: &SnowflakeServer, user: &str, algorithm: Algorithm) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let subject = format!("{}.{user}", server.account());
    let claims = json!({ "iss": format!("{subject}.{}", server.fingerprint()), "sub": subject,
                         "iat": now - 30, "exp": now + 86_400 });
    let key = match algorithm {
        Algorithm::HS256 => EncodingKey::from_secret(b"guessed"),
        _ => EncodingKey::from_rsa_pem(server.private_key_pem().as_bytes()).unwrap(),
    };
    encode(&Header::new(algorithm), &claims, &key).unwrap()
}

#[tokio::test]
async fn tokens_of_every_type_are_told_apart() {
    let config = Config {
        access_token: Some("fixed-token".to_owned()),
        workload_token: Some("a.b.c".to_owned()),
        ..immediate()
    };
    let server = start(config);
    let key_pair = jwt(&server, "BACKHAUL", Algorithm::RS256);
    for (token, kind, status, code) in [
        ("fixed-token", "", 200, "090001"),
        ("fixed-token", "PROGRAMMATIC_ACCESS_TOKEN", 200, "090001"),
        ("WIF.AWS.a.b.c", "", 200, "090001"),
        ("WIF.AWS.a.b.c", "WORKLOAD_IDENTITY_FEDERATION", 200, "090001"),
        (&key_pair, "KEYPAIR_JWT", 200, "090001"),
        (&jwt(&server, "BACKHAUL", Algorithm::RS512), "KEYPAIR_JWT", 200, "090001"),
        (&jwt(&server, "BACKHAUL", Algorithm::HS256), "KEYPAIR_JWT", 401, "394305"),
        (&jwt(&server, "backhaul", Algorithm::RS256), "KEYPAIR_JWT", 401, "390144"),
        ("fixed-token", "KEYPAIR_JWT", 401, "394306"),
        ("other-token", "PROGRAMMATIC_ACCESS_TOKEN", 401, "394400"),
        (&key_pair, "PROGRAMMATIC_ACCESS_TOKEN", 401, "394400"),
        (&key_pair, "WORKLOAD_IDENTITY_FEDERATION", 401, "390144"),
        ("WIF.AWS.x.y.z", "WORKLOAD_IDENTITY_FEDERATION", 401, "390144"),
        ("WIF.AWS.a.b.c", "KEYPAIR_JWT", 401, "390144"),
        (&key_pair, "OAUTH", 401, "390303"),
    ] {
        let mut request = client().post(format!("{}{STATEMENTS}", server.url())).bearer_auth(token);
        if !kind.is_empty() {
            request = request.header("X-Snowflake-Authorization-Token-Type", kind);
        }
        let (found, answer) = ask(request.json(&json!({ "statement": "SELECT 1" }))).await;
        assert_eq!((found, answer["code"].as_str().unwrap()), (status, code), "{kind} {token}");
    }
}

#[tokio::test]
async fn nobody_sees_the_statements_of_another() {
    let server = start(Config { other_users: vec!["AUDITOR".to_owned()], ..immediate() });
    let (_, mine) =
        ask(post(&server, "?requestId=r1", &json!({ "statement": "SELECT CURRENT_USER()" }))).await;
    assert_eq!(mine["data"], json!([["BACKHAUL"]]));
    let handle = mine["statementHandle"].as_str().unwrap();
    let token = jwt(&server, "AUDITOR", Algorithm::RS256);
    let url = format!("{}{STATEMENTS}", server.url());
    for request in [
        client().get(format!("{url}/{handle}")),
        client().get(format!("{url}/{handle}?partition=1")),
        client().post(format!("{url}/{handle}/cancel")),
    ] {
        let (status, answer) = ask(request.bearer_auth(&token)).await;
        assert_eq!((status, &answer["code"]), (422, &json!("000709")));
    }
    let again = client().post(format!("{url}?requestId=r1&retry=true")).bearer_auth(&token);
    let (_, theirs) = ask(again.json(&json!({ "statement": "SELECT CURRENT_USER()" }))).await;
    assert_eq!(theirs["data"], json!([["AUDITOR"]]), "a request id is a user's own");
}

#[tokio::test]
async fn waiting_is_never_guaranteed() {
    let server = start(Config { surprise_202: 3, seed: 5, ..immediate() });
    let mut statuses = Vec::new();
    for _ in 0..40 {
        statuses.push(submit(&server, json!({ "statement": "SELECT 1" })).await.0);
    }
    assert!(statuses.contains(&202) && statuses.contains(&200), "{statuses:?}");

    let always = start(Config { surprise_202: 1, polls_before_done: 2, ..Config::default() });
    let (status, answer) = submit(&always, json!({ "statement": "SELECT 1" })).await;
    assert_eq!((status, &answer["code"]), (202, &json!("333334")));
    let handle = answer["statementHandle"].as_str().unwrap();
    let mut polls = 0;
    while ask(fetch(&always, handle)).await.0 == 202 {
        polls += 1;
    }
    assert!(polls >= 2);
}

#[tokio::test]
async fn a_busy_service_answers_429_with_the_handle() {
    let server = start(Config { busy_polls: 1, polls_before_done: 2, ..Config::default() });
    let (_, answer) = ask(post(&server, "?async=true", &json!({ "statement": "SELECT 1" }))).await;
    let handle = answer["statementHandle"].as_str().unwrap();
    let (status, busy) = ask(fetch(&server, handle)).await;
    assert_eq!((status, &busy["statementHandle"]), (429, &answer["statementHandle"]));
    let mut status = 429;
    while status == 429 {
        status = ask(fetch(&server, handle)).await.0;
    }
    assert_eq!(status, 200, "polling on gives the result");
}

#[tokio::test]
async fn unknown_names_are_refused_where_they_are_used() {
    let server = start(immediate());
    for (sql, code) in [
        ("USE SCHEMA CRM.NOWHERE; SELECT 1", "100132"),
        ("USE WAREHOUSE \"sync_wh\"; SELECT 1", "100132"),
        ("USE ROLE NOBODY; SELECT 1", "100132"),
    ] {
        let (status, answer) = together(&server, sql).await;
        assert_eq!((status, answer["code"].as_str().unwrap()), (422, code), "{sql}");
    }
    let (status, answer) = submit(&server, json!({ "statement": "CREATE SCHEMA NOWHERE.S" })).await;
    assert_eq!((status, &answer["code"]), (422, &json!("002043")));
}

#[tokio::test]
async fn a_session_lasts_for_one_request() {
    let server = start(immediate());
    run(&server, "CREATE TABLE CRM.PUBLIC.T (A NUMBER)").await;
    let rows = last_child(
        &server,
        "USE DATABASE CRM; SET two = 2; INSERT INTO T SELECT 1; CREATE TEMPORARY TABLE X AS SELECT $two AS B; \
         USE WAREHOUSE SYNC_WH; SELECT A, B, CURRENT_WAREHOUSE(), CURRENT_SCHEMA() FROM T, X",
    )
    .await;
    assert_eq!(rows, json!([["1", "2", "SYNC_WH", "PUBLIC"]]));
    for (sql, code) in [
        ("SELECT * FROM CRM.PUBLIC.X", "002003"),
        ("SELECT $two", "002211"),
        ("SELECT * FROM T", "090105"),
        ("USE DATABASE CRM", "391911"),
        ("BEGIN", "391911"),
        ("SET a = 1", "391911"),
        ("PUT file:///etc/hosts @~", "391911"),
        ("GET @~ file:///tmp", "391911"),
    ] {
        let (status, answer) = submit(&server, json!({ "statement": sql })).await;
        assert_eq!((status, answer["code"].as_str().unwrap()), (422, code), "{sql}");
    }
}

#[tokio::test]
async fn a_transaction_ends_with_its_request() {
    let server = start(immediate());
    run(&server, "CREATE TABLE CRM.PUBLIC.T (A NUMBER)").await;
    let insert = |value: u32| format!("INSERT INTO CRM.PUBLIC.T VALUES ({value})");
    let count = "SELECT COUNT(*) FROM CRM.PUBLIC.T";
    let failing = "SELECT * FROM CRM.PUBLIC.NOTHING";
    for (sql, status, rows) in [
        (format!("BEGIN; {}; ROLLBACK", insert(1)), 200, "0"),
        (format!("BEGIN; {}; COMMIT; {failing}", insert(2)), 422, "1"),
        (format!("BEGIN; {}; {failing}; COMMIT", insert(3)), 422, "1"),
        (format!("BEGIN; {}", insert(4)), 200, "1"),
        (format!("BEGIN; {}; CREATE TABLE CRM.PUBLIC.D (A NUMBER); ROLLBACK", insert(5)), 200, "2"),
        (format!("{}; {failing}; {}", insert(6), insert(7)), 422, "3"),
    ] {
        let (found, answer) = together(&server, &sql).await;
        assert_eq!(found, status, "{sql}: {answer}");
        if status == 422 {
            assert_eq!((&answer["code"], &answer["sqlState"]), (&json!("100132"), &json!("P0000")));
            assert!(answer["message"].as_str().unwrap().contains("NOTHING"), "{answer}");
        }
        assert_eq!(run(&server, count).await["data"], json!([[rows]]), "{sql}");
    }
    let bound = json!({ "statement": "SELECT ?; SELECT ?", "parameters": { "multi_statement_count": "2" },
                        "bindings": { "1": { "type": "TEXT", "value": "a" } } });
    assert_eq!(submit(&server, bound).await.1["code"], "000002");
    let poor = start(Config { warehouses: Vec::new(), ..immediate() });
    assert_eq!(together(&poor, "SELECT 1; SELECT 2").await.1["code"], "391920");
}

#[tokio::test]
async fn bound_values_have_to_be_of_their_type() {
    let server = start(immediate());
    let bind = |kind: &str, value: Value| json!({ "statement": "SELECT ?", "bindings": { "1": { "type": kind, "value": value } } });
    for (kind, value, wire, sent) in [
        (
            "FIXED",
            "99999999999999999999999999999999999999",
            "fixed",
            "99999999999999999999999999999999999999",
        ),
        ("REAL", "1.5e3", "real", "1500"),
        ("REAL", "Infinity", "real", "inf"),
        ("REAL", "-Infinity", "real", "-inf"),
        ("REAL", "NaN", "real", "NaN"),
        ("TEXT", "it's", "text", "it's"),
        ("BOOLEAN", "true", "boolean", "true"),
        ("BINARY", "48656c6c6f", "binary", "48656C6C6F"),
        ("DATE", "-1", "date", "-1"),
        ("TIME", "45296000000000", "time", "45296.000000000"),
        ("TIMESTAMP_LTZ", "1611871777123456789", "timestamp_ltz", "1611871777.123456789"),
        ("TIMESTAMP_TZ", "1616173619000000000 1500", "timestamp_tz", "1616173619.000000000 1500"),
    ] {
        let (status, answer) = submit(&server, bind(kind, json!(value))).await;
        assert_eq!(status, 200, "{kind} {value}: {answer}");
        assert_eq!(answer["resultSetMetaData"]["rowType"][0]["type"], wire);
        assert_eq!(answer["data"], json!([[sent]]), "{kind} {value}");
    }
    for (kind, value) in [
        ("FIXED", "x"),
        ("REAL", "inf"),
        ("REAL", "nan"),
        ("BOOLEAN", "yes"),
        ("BINARY", "4"),
        ("BINARY", "zz"),
        ("DATE", "2020-01-01"),
        ("TIME", "86400000000000"),
        ("TIMESTAMP_NTZ", "1.5"),
        ("TIMESTAMP_TZ", "1616173619000000000"),
        ("TIMESTAMP_TZ", "1616173619000000000 9999"),
        ("ARRAY", "[]"),
    ] {
        let (status, answer) = submit(&server, bind(kind, json!(value))).await;
        let found = (status, &answer["code"], &answer["sqlState"]);
        assert_eq!(found, (422, &json!("100037"), &json!("22018")), "{kind} {value}");
    }
    assert_eq!(submit(&server, bind("TEXT", Value::Null)).await.1["data"], json!([[null]]));
    let gap = json!({ "statement": "SELECT ?", "bindings": { "2": { "type": "TEXT", "value": "a" } } });
    assert_eq!(submit(&server, gap).await.1["code"], "002049");
}

#[tokio::test]
async fn tags_are_in_the_history() {
    let server = start(immediate());
    let tagged = json!({ "statement": "SELECT 1", "parameters": { "Query_Tag": "run-1", "USE_CACHED_RESULT": false } });
    let handle = submit(&server, tagged).await.1["statementHandle"].clone();
    for from in ["SNOWFLAKE.ACCOUNT_USAGE.QUERY_HISTORY", "TABLE(INFORMATION_SCHEMA.QUERY_HISTORY())"] {
        let sql =
            format!("SELECT QUERY_ID, EXECUTION_STATUS, USER_NAME FROM {from} WHERE QUERY_TAG = 'run-1'");
        assert_eq!(run(&server, &sql).await["data"], json!([[handle, "SUCCESS", "BACKHAUL"]]), "{from}");
    }
    assert_eq!(server.submitted()[0].query_tag.as_deref(), Some("run-1"));
}

#[tokio::test]
async fn parameters_change_the_form_of_a_result() {
    let server = start(immediate());
    let sql = "SELECT DATE '2019-03-27', '12:34:56'::TIME, '2021-01-28 22:09:37.123'::TIMESTAMP_NTZ, \
               '2021-03-19T18:06:59+01:00'::TIMESTAMP_TZ, '2021-03-19T18:06:59+01:00'::TIMESTAMP_LTZ, \
               '48656C6C6F'::BINARY UNION ALL SELECT NULL, NULL, NULL, NULL, NULL, NULL";
    let body = json!({ "statement": sql, "parameters": {
        "date_output_format": "MM/DD/YYYY", "time_output_format": "HH12:MI AM",
        "timestamp_output_format": "YYYY-MM-DD\"T\"HH24:MI:SS.FF3TZH:TZM",
        "timestamp_ntz_output_format": "DY DD MON YY", "timezone": "Europe/Berlin",
        "binary_output_format": "BASE64", "rows_per_resultset": 1,
    }});
    let (status, answer) = submit(&server, body).await;
    assert_eq!(status, 200, "{answer}");
    let expected = json!([[
        "03/27/2019",
        "12:34 PM",
        "Thu 28 Jan 21",
        "2021-03-19T18:06:59.000+01:00",
        "2021-03-19T18:06:59.000+01:00",
        "SGVsbG8="
    ]]);
    assert_eq!(answer["data"], expected);
    for (name, value) in [
        ("client_result_chunk_size", json!(161)),
        ("rows_per_resultset", json!("many")),
        ("timezone", json!("Mars/Olympus")),
        ("query_tag", json!("x".repeat(2001))),
        ("strict_json_output", json!(true)),
    ] {
        let (status, answer) =
            submit(&server, json!({ "statement": "SELECT 1", "parameters": { name: value } })).await;
        assert_eq!((status, &answer["code"]), (400, &json!("391917")), "{name}");
    }
}

#[tokio::test]
async fn semi_structured_values_are_printed_as_snowflake_does() {
    let server = start(immediate());
    for (expression, wire) in [
        (
            "PARSE_JSON('{\"b\":[1,{}],\"a\":{\"x\":12345678901234567890}}')",
            json!("{\n  \"a\": {\n    \"x\": 12345678901234567890\n  },\n  \"b\": [\n    1,\n    {}\n  ]\n}"),
        ),
        ("PARSE_JSON('[1,,3]')", json!("[\n  1,\n  undefined,\n  3\n]")),
        ("ARRAY_CONSTRUCT(1, NULL, 'x')", json!("[\n  1,\n  undefined,\n  \"x\"\n]")),
        ("TO_JSON(ARRAY_CONSTRUCT(1, NULL))", json!("[1,null]")),
        ("ARRAY_CONSTRUCT(1, NULL)[1]", json!(null)),
        ("TO_VARIANT(191.2::FLOAT)", json!("1.912000000000000e+02")),
        ("TO_VARIANT('NaN'::FLOAT)", json!("NaN")),
        ("ARRAY_CONSTRUCT('-inf'::FLOAT)", json!("[\n  -Infinity\n]")),
        ("PARSE_JSON('null')", json!("null")),
        ("PARSE_JSON(NULL)", json!(null)),
        ("PARSE_JSON('')", json!(null)),
        ("PARSE_JSON('{\"a\":null}'):a", json!("null")),
        ("PARSE_JSON('{\"a\":null}'):a::VARCHAR", json!(null)),
        ("'NaN'::FLOAT", json!("NaN")),
        ("'inf'::FLOAT", json!("inf")),
        ("'-inf'::FLOAT", json!("-inf")),
        ("-1.5::FLOAT", json!("-1.5")),
        ("'1969-12-31 23:59:58.5 -08:00'::TIMESTAMP_TZ", json!("28798.500000000 960")),
        ("'1969-12-31 23:59:58.75'::TIMESTAMP_LTZ", json!("-1.250000000")),
    ] {
        assert_eq!(run(&server, &format!("SELECT {expression}")).await["data"][0][0], wire, "{expression}");
    }
    let (_, answer) = submit(&server, json!({ "statement": "SELECT PARSE_JSON('{\"a\":1,\"a\":2}')" })).await;
    assert_eq!((&answer["code"], &answer["sqlState"]), (&json!("100069"), &json!("22P02")));
}

#[tokio::test]
async fn types_that_are_only_stored_keep_their_values() {
    let server = start(immediate());
    let cells = [
        ("decfloat", "1.2e-40"),
        ("vector", "[1.100000,nan]"),
        ("geography", "{\"type\":\"Point\"}"),
        ("interval_day_time", "86400000000000"),
    ];
    let columns: Vec<Column> =
        cells.iter().map(|(name, _)| Column::new(name, Kind::Verbatim(name))).collect();
    let row = cells.iter().map(|(_, value)| Some((*value).to_owned())).collect();
    server.load("CRM.PUBLIC.ODD", &columns, [row]).unwrap();
    let answer = run(&server, "SELECT * FROM CRM.PUBLIC.ODD").await;
    for (at, (name, value)) in cells.iter().enumerate() {
        assert_eq!(answer["resultSetMetaData"]["rowType"][at]["type"], *name);
        assert_eq!(answer["data"][0][at], *value);
    }
}

#[tokio::test]
async fn links_disagree_like_the_documentation() {
    let server = start(Config { partition_rows: Some(1), ..immediate() });
    let sql = json!({ "statement": "SELECT X FROM (VALUES (1), (2)) v(X)" });
    let first = post(&server, "", &sql).send().await.unwrap();
    let link = first.headers()["link"].to_str().unwrap().to_owned();
    assert!(link.contains("?partition=1;rel=\"next\">"), "{link}");
    let handle = first.json::<Value>().await.unwrap()["statementHandle"].as_str().unwrap().to_owned();
    let second = fetch(&server, &format!("{handle}?partition=1")).send().await.unwrap();
    let link = second.headers()["link"].to_str().unwrap();
    assert!(link.contains("?partition=0>; rel=\"prev\"") && !link.contains("next"), "{link}");
}

#[tokio::test]
async fn results_are_kept_for_a_time() {
    let server = start(Config { result_expiry: Duration::ZERO, ..immediate() });
    let (_, answer) = ask(post(&server, "?async=true", &json!({ "statement": "SELECT 1" }))).await;
    let handle = answer["statementHandle"].as_str().unwrap();
    let mut answer = ask(fetch(&server, handle)).await;
    while answer.0 == 202 {
        answer = ask(fetch(&server, handle)).await;
    }
    assert_eq!(
        (answer.0, &answer.1["code"], &answer.1["sqlState"]),
        (422, &json!("000710"), &json!("02000"))
    );
}

type Objects = Arc<Mutex<BTreeMap<String, Bytes>>>;

/// As much of S3 as the stand-in asks for, in one bucket.
fn s3(objects: &Objects) -> Served {
    let list = |State(objects): State<Objects>, Query(query): Query<BTreeMap<String, String>>| async move {
        let objects = objects.lock().unwrap();
        let found = objects.keys().filter(|key| key.starts_with(&query["prefix"]));
        let found = found.filter(|key| key.as_str() > query["start-after"].as_str());
        // One key per page, so that there are pages.
        let mut found = found.cloned();
        let Some(key) = found.next() else {
            return "<IsTruncated>false</IsTruncated>".to_owned();
        };
        let more = found.next().is_some();
        let tag = objects[&key].len();
        format!(
            "<IsTruncated>{more}</IsTruncated><Contents><Key>{key}</Key><ETag>&quot;{tag}&quot;</ETag></Contents>"
        )
    };
    let read = |State(objects): State<Objects>, Path(key): Path<String>| async move {
        objects.lock().unwrap().get(&key).cloned().ok_or(StatusCode::NOT_FOUND)
    };
    let write = |State(objects): State<Objects>, Path(key): Path<String>, body: Bytes| async move {
        objects.lock().unwrap().insert(key, body);
    };
    let router = Router::new().route("/vault", get(list)).route("/vault/{*key}", get(read).put(write));
    let address = "127.0.0.1:0".parse().unwrap();
    Served::start(address, router.with_state(objects.clone()), Script::default()).unwrap()
}

fn unzipped(bytes: &[u8]) -> String {
    let mut text = String::new();
    GzDecoder::new(bytes).read_to_string(&mut text).unwrap();
    text
}

fn with_storage(objects: &Objects) -> (Served, SnowflakeServer) {
    let bucket = s3(objects);
    let storage = StorageIntegration { name: "LAKE".to_owned(), endpoint: bucket.url() };
    let server = start(Config { storage: Some(storage), ..immediate() });
    let columns = [
        Column::new("ID", Kind::number(10, 2)),
        Column::new("NAME", Kind::text()),
        Column::new("AT", Kind::Timestamp(Zone::Ntz, 9)),
        Column::new("OK", Kind::Boolean),
    ];
    let row = |cells: [Option<&str>; 4]| cells.map(|cell| cell.map(str::to_owned)).to_vec();
    let rows = [
        row([Some("1.50"), Some("a \"b\", c\n\\"), Some("1577836800.500000000"), Some("true")]),
        row([Some("2.00"), Some(""), None, Some("false")]),
        row([None, None, None, None]),
    ];
    server.load("CRM.PUBLIC.T", &columns, rows).unwrap();
    (bucket, server)
}

const FORMAT: &str = "FILE_FORMAT = (TYPE = CSV FIELD_OPTIONALLY_ENCLOSED_BY = '\"' EMPTY_FIELD_AS_NULL = TRUE \
                      NULL_IF = () ESCAPE_UNENCLOSED_FIELD = NONE)";

#[tokio::test]
async fn rows_are_unloaded_into_files_and_loaded_once() {
    let objects = Objects::default();
    let (_bucket, server) = with_storage(&objects);
    let unload = format!(
        "COPY INTO 's3://vault/run 1/' FROM (SELECT * FROM CRM.PUBLIC.T ORDER BY ID) STORAGE_INTEGRATION = LAKE \
         {FORMAT} MAX_FILE_SIZE = 60 INCLUDE_QUERY_ID = TRUE DETAILED_OUTPUT = TRUE"
    );
    let answer = run(&server, &unload).await;
    let handle = answer["statementHandle"].as_str().unwrap();
    let written = objects.lock().unwrap().clone();
    let names: Vec<String> = (0..2).map(|n| format!("data_{handle}_0_0_{n}.csv.gz")).collect();
    assert_eq!(
        written.keys().cloned().collect::<Vec<_>>(),
        names.iter().map(|n| format!("run 1/{n}")).collect::<Vec<_>>()
    );
    let sizes: Vec<String> = written.values().map(|body| body.len().to_string()).collect();
    assert_eq!(answer["data"], json!([[names[0], sizes[0], "2"], [names[1], sizes[1], "1"]]));
    let text: String = written.values().map(|body| unzipped(body)).collect();
    let expected = "1.50,\"a \"\"b\"\", c\n\\\",2020-01-01 00:00:00.500,true\n2.00,\"\",,false\n,,,\n";
    assert_eq!(text, expected);

    run(
        &server,
        "CREATE TABLE CRM.PUBLIC.BACK (ID NUMBER(10,2), NAME VARCHAR, AT TIMESTAMP_NTZ, OK BOOLEAN)",
    )
    .await;
    let load =
        format!("COPY INTO CRM.PUBLIC.BACK FROM 's3://vault/run 1/' STORAGE_INTEGRATION = LAKE {FORMAT}");
    let loaded = run(&server, &load).await;
    assert_eq!(loaded["data"][0][1], "LOADED");
    assert_eq!(loaded["data"].as_array().unwrap().len(), 2);
    let rows =
        |table: &str| server.execute(&format!("SELECT * FROM CRM.PUBLIC.{table} ORDER BY ID")).unwrap().rows;
    assert_eq!(rows("BACK"), rows("T"));
    let again = run(&server, &load).await;
    assert_eq!(again["data"], json!([["Copy executed with 0 files processed."]]));
    assert_eq!(rows("BACK").len(), 3);
    run(&server, &format!("{load} FORCE = TRUE")).await;
    assert_eq!(rows("BACK").len(), 6);
}

#[tokio::test]
async fn no_rows_are_no_files() {
    let objects = Objects::default();
    let (_bucket, server) = with_storage(&objects);
    let unload = |what: &str| json!({ "statement": format!("COPY INTO 's3://vault/x/' FROM {what} STORAGE_INTEGRATION = LAKE HEADER = TRUE {FORMAT}") });
    let (_, answer) = submit(&server, unload("(SELECT * FROM CRM.PUBLIC.T WHERE ID > 9)")).await;
    assert_eq!(answer["data"], json!([["0", "0", "0"]]), "{answer}");
    assert!(objects.lock().unwrap().is_empty());
    let (_, answer) = submit(&server, unload("CRM.PUBLIC.T")).await;
    assert_eq!(answer["data"][0][0], "3", "{answer}");
    let text = unzipped(objects.lock().unwrap().values().next().unwrap());
    assert!(text.starts_with("\"ID\",\"NAME\",\"AT\",\"OK\"\n"), "{text}");
    let (status, answer) = submit(&server, unload("CRM.PUBLIC.T")).await;
    assert_eq!((status, &answer["code"]), (422, &json!("001030")), "{answer}");
    let stranger =
        json!({ "statement": "COPY INTO 's3://vault/y/' FROM CRM.PUBLIC.T STORAGE_INTEGRATION = OTHER" });
    assert_eq!(submit(&server, stranger).await.1["code"], "002003");
}

#[tokio::test]
async fn faults_are_injected_by_route() {
    let server = start(Config { partition_rows: Some(1), ..immediate() });
    run(&server, "CREATE TABLE CRM.PUBLIC.T (A NUMBER)").await;
    let insert = json!({ "statement": "INSERT INTO CRM.PUBLIC.T VALUES (1)" });
    let limited = json!({ "code": "390505", "message": "Too many requests." }).to_string();
    let truncated =
        json!({ "code": "391908", "message": "The result set is too large.", "data": [] }).to_string();
    let mut ran = 0;
    for status in [429, 500, 502, 503, 504] {
        for before in [true, false] {
            let answer =
                Answer::new(status, if status == 429 { limited.clone() } else { "<html></html>".to_owned() });
            let action = if before { Action::Respond(answer) } else { Action::RespondAfter(answer) };
            server.faults().add(Rule::on("POST", STATEMENTS, action));
            assert_eq!(post(&server, "", &insert).send().await.unwrap().status(), status);
            ran += usize::from(!before);
        }
    }
    let rows = server.execute("SELECT * FROM CRM.PUBLIC.T").unwrap().rows;
    assert_eq!(rows.len(), ran, "only the later faults let the statement run");

    server.faults().add(Rule::on("POST", STATEMENTS, Action::RespondAfter(Answer::new(200, truncated))));
    let (status, answer) = submit(&server, json!({ "statement": "SELECT 1" })).await;
    assert_eq!((status, &answer["code"]), (200, &json!("391908")));

    let first = run(&server, "SELECT * FROM CRM.PUBLIC.T").await;
    let path = format!("{}?partition=1", first["statementHandle"].as_str().unwrap());
    server.faults().add(Rule::on("GET", "*?partition=1", Action::DropBefore));
    assert!(fetch(&server, &path).send().await.is_err());
    server.faults().add(Rule::on("GET", "*?partition=1", Action::Truncate(12)));
    assert!(fetch(&server, &path).send().await.unwrap().bytes().await.is_err());
    server.faults().add(Rule::on("GET", "*?partition=1", Action::Shorten(12)));
    let short = fetch(&server, &path).send().await.unwrap().bytes().await.unwrap();
    assert!(GzDecoder::new(short.as_ref()).read_to_string(&mut String::new()).is_err());
}

#[tokio::test]
async fn a_body_may_trickle() {
    let pause = Duration::from_millis(10);
    let server = start(Config { body_pause: pause, ..immediate() });
    let begin = Instant::now();
    let answer = run(&server, "SELECT 1").await;
    assert_eq!(answer["data"], json!([["1"]]));
    assert!(begin.elapsed() >= pause * 9, "the body comes in about ten pieces");
}

#[tokio::test]
async fn emails_go_to_the_outbox() {
    let integration =
        EmailIntegration { name: "MAIL".to_owned(), allowed_recipients: vec!["a@x".into(), "b@x".into()] };
    let server = start(Config { email: Some(integration), ..immediate() });
    let answer = run(&server, "CALL SYSTEM$SEND_EMAIL('MAIL', 'a@x, b@x', 'Subject', 'Body')").await;
    assert_eq!(answer["data"], json!([["true"]]));
    let sent = server.outbox();
    assert_eq!((sent.len(), sent[0].subject.as_str(), sent[0].body.as_str()), (1, "Subject", "Body"));
    assert_eq!(sent[0].recipients, ["a@x", "b@x"]);
    for call in ["'MAIL', 'a@x, c@x', 's', 'b'", "'MAIL', 'a@x', 's', ''", "'OTHER', 'a@x', 's', 'b'"] {
        let (status, _) =
            submit(&server, json!({ "statement": format!("CALL SYSTEM$SEND_EMAIL({call})") })).await;
        assert_eq!(status, 422, "{call}");
    }
    assert_eq!(server.outbox().len(), 1, "one who may not be written to keeps it from all");
}

//! Golden exchanges with the Snowflake stand-in, over HTTP.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may panic")]

use std::io::Read as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use emulators::faults::{Action, Answer, Rule};
use emulators::snowflake::{Column, Config, Kind, Snowflake, SnowflakeServer, Zone};
use emulators::tpch::{Table, load_tpch};
use flate2::read::GzDecoder;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use reqwest::{Client, Method, Response};
use serde_json::{Value, json};

fn start(config: Config) -> SnowflakeServer {
    Snowflake::start(config).unwrap()
}

fn immediate() -> Config {
    Config { polls_before_done: 0, ..Config::default() }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn claims(server: &SnowflakeServer) -> Value {
    let subject = format!("{}.{}", server.account().to_uppercase(), server.user().to_uppercase());
    json!({
        "iss": format!("{subject}.{}", server.fingerprint()),
        "sub": subject,
        "iat": now() - 30,
        "exp": now() + 600,
    })
}

fn sign(server: &SnowflakeServer, claims: &Value) -> String {
    let key = EncodingKey::from_rsa_pem(server.private_key_pem().as_bytes()).unwrap();
    encode(&Header::new(Algorithm::RS256), claims, &key).unwrap()
}

/// A client without transparent decompression.
fn client() -> Client {
    Client::builder().no_gzip().user_agent("golden/1.0").build().unwrap()
}

async fn send(server: &SnowflakeServer, method: Method, path: &str, body: Option<Value>) -> Response {
    let request = client()
        .request(method, format!("{}{path}", server.url()))
        .bearer_auth(sign(server, &claims(server)))
        .header("X-Snowflake-Authorization-Token-Type", "KEYPAIR_JWT");
    match body {
        Some(body) => request.json(&body).send().await.unwrap(),
        None => request.send().await.unwrap(),
    }
}

async fn submit(server: &SnowflakeServer, query: &str, body: Value) -> (u16, Value) {
    let response = send(server, Method::POST, &format!("/api/v2/statements{query}"), Some(body)).await;
    (response.status().as_u16(), response.json().await.unwrap())
}

async fn fetch(server: &SnowflakeServer, path: &str) -> (u16, Value) {
    let response = send(server, Method::GET, &format!("/api/v2/statements/{path}"), None).await;
    (response.status().as_u16(), response.json().await.unwrap())
}

/// Runs a statement synchronously and gives the answer.
async fn run(server: &SnowflakeServer, sql: &str) -> Value {
    let (status, body) = submit(server, "", json!({ "statement": sql })).await;
    assert_eq!(status, 200, "{sql}: {body}");
    body
}

async fn fails(server: &SnowflakeServer, sql: &str) -> (String, String) {
    let (status, body) = submit(server, "", json!({ "statement": sql })).await;
    assert_eq!(status, 422, "{sql}: {body}");
    let text = |name: &str| body[name].as_str().unwrap().to_owned();
    (text("code"), text("sqlState"))
}

fn customers(server: &SnowflakeServer, count: u32) {
    let columns = [Column::required("ID", Kind::number(38, 0)), Column::new("NAME", Kind::Text(100))];
    let rows = (1..=count).map(|id| vec![Some(id.to_string()), Some(format!("customer {id}"))]);
    server.load("CRM.PUBLIC.CONTACTS", &columns, rows).unwrap();
}

#[tokio::test]
async fn an_asynchronous_statement_is_polled_to_its_result() {
    let server = start(Config { polls_before_done: 2, ..Config::default() });
    customers(&server, 2);
    let body = json!({
        "statement": "select id, name from contacts order by id",
        "database": "CRM", "schema": "PUBLIC", "warehouse": "SYNC_WH", "role": "SYNC_ROLE", "timeout": 900,
        "parameters": { "QUERY_TAG": "{\"run\":\"r-01\"}", "timezone": "UTC" },
    });
    let (status, submitted) = submit(&server, "?async=true&requestId=6f0c", body).await;
    assert_eq!((status, submitted["code"].as_str().unwrap()), (202, "333334"));
    let handle = submitted["statementHandle"].as_str().unwrap().to_owned();
    assert!(handle.starts_with("01") && handle.len() == 36, "{handle}");
    assert_eq!(submitted["statementStatusUrl"], format!("/api/v2/statements/{handle}?requestId=6f0c"));

    assert_eq!(fetch(&server, &handle).await.0, 202);
    assert_eq!(fetch(&server, &format!("{handle}?partition=1")).await.0, 202);
    assert_eq!(fetch(&server, &handle).await.0, 202);
    let mut done = fetch(&server, &handle).await;
    while done.0 == 202 {
        done = fetch(&server, &handle).await;
    }
    assert_eq!(done.0, 200, "{}", done.1);
    assert_eq!(done.1["code"], "090001");
    assert_eq!(done.1["data"], json!([["1", "customer 1"], ["2", "customer 2"]]));
    let metadata = &done.1["resultSetMetaData"];
    assert_eq!((&metadata["numRows"], &metadata["format"]), (&json!(2), &json!("jsonv2")));
    assert_eq!(metadata["partitionInfo"][0].get("compressedSize"), None);
    assert_eq!(
        metadata["rowType"],
        json!([
            { "name": "ID", "database": "CRM", "schema": "PUBLIC", "table": "CONTACTS", "type": "fixed",
              "precision": 38, "scale": 0, "length": null, "byteLength": null, "nullable": false,
              "collation": null },
            { "name": "NAME", "database": "CRM", "schema": "PUBLIC", "table": "CONTACTS", "type": "text",
              "precision": null, "scale": null, "length": 100, "byteLength": 400, "nullable": true,
              "collation": null },
        ])
    );
    assert_eq!(server.query_tags(), ["{\"run\":\"r-01\"}"]);
    assert_eq!(server.submitted()[0].timeout, Some(900));
}

#[tokio::test]
async fn later_partitions_are_gzip_without_metadata() {
    let server = start(Config { partition_rows: Some(4), ..immediate() });
    customers(&server, 10);
    let first = run(&server, "SELECT ID FROM CRM.PUBLIC.CONTACTS ORDER BY ID").await;
    let info = first["resultSetMetaData"]["partitionInfo"].as_array().unwrap();
    assert_eq!(info.iter().map(|p| p["rowCount"].as_u64().unwrap()).collect::<Vec<_>>(), [4, 4, 2]);
    assert_eq!(first["data"], json!([["1"], ["2"], ["3"], ["4"]]));
    let handle = first["statementHandle"].as_str().unwrap();

    let mut rows = Vec::new();
    for (n, piece) in info.iter().enumerate().skip(1) {
        let path = format!("/api/v2/statements/{handle}?partition={n}");
        let response = send(&server, Method::GET, &path, None).await;
        assert_eq!(response.headers()["content-encoding"], "gzip");
        let body = response.bytes().await.unwrap();
        assert_eq!(body[..2], [0x1f, 0x8b]);
        assert_eq!(piece["compressedSize"].as_u64().unwrap(), body.len() as u64);
        let mut text = String::new();
        GzDecoder::new(body.as_ref()).read_to_string(&mut text).unwrap();
        let body: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(body.as_object().unwrap().keys().collect::<Vec<_>>(), ["data"]);
        rows.extend(body["data"].as_array().unwrap().clone());
    }
    assert_eq!(rows.len(), 6);
    assert_eq!(rows.last().unwrap(), &json!(["10"]));

    let (status, zero) = fetch(&server, &format!("{handle}?partition=0")).await;
    assert_eq!((status, &zero["resultSetMetaData"]), (200, &first["resultSetMetaData"]));
    assert_eq!(fetch(&server, &format!("{handle}?partition=3")).await.0, 422);
}

#[tokio::test]
async fn only_a_marked_resubmission_is_recognised() {
    let server = start(immediate());
    customers(&server, 1);
    let insert = json!({ "statement": "INSERT INTO CRM.PUBLIC.CONTACTS VALUES (7, 'x')" });
    let first = submit(&server, "?requestId=a1", insert.clone()).await;
    assert_eq!((first.0, &first.1["stats"]["numRowsInserted"]), (200, &json!(1)));
    let again = submit(&server, "?requestId=a1&retry=true", insert.clone()).await;
    assert_eq!(again, first);
    let count = "SELECT COUNT(*) FROM CRM.PUBLIC.CONTACTS";
    assert_eq!(server.execute(count).unwrap().rows[0][0].as_deref(), Some("2"));
    submit(&server, "?requestId=a1", insert).await;
    assert_eq!(server.execute(count).unwrap().rows[0][0].as_deref(), Some("3"));
}

#[tokio::test]
async fn a_dropped_answer_hides_what_happened() {
    let server = start(immediate());
    customers(&server, 0);
    let path = "/api/v2/statements";
    server.faults().add(Rule::on("POST", path, Action::DropAfter));
    server
        .faults()
        .add(Rule::on("POST", path, Action::RespondAfter(Answer::new(503, "<html>busy</html>"))).nth(2));
    let request = |query: &str| {
        client()
            .post(format!("{}{path}{query}", server.url()))
            .bearer_auth(sign(&server, &claims(&server)))
            .json(&json!({ "statement": "INSERT INTO CRM.PUBLIC.CONTACTS VALUES (1, 'a')" }))
    };
    assert!(request("?requestId=b1").send().await.is_err());
    let busy = request("?requestId=b1&retry=true").send().await.unwrap();
    assert_eq!(
        (busy.status().as_u16(), busy.headers()["content-type"].to_str().unwrap()),
        (503, "text/html")
    );
    assert_eq!(request("?requestId=b1&retry=true").send().await.unwrap().status(), 200);
    assert_eq!(
        server.execute("SELECT COUNT(*) FROM CRM.PUBLIC.CONTACTS").unwrap().rows[0][0].as_deref(),
        Some("1")
    );
    let statuses: Vec<Option<u16>> = server.faults().seen().into_iter().map(|seen| seen.status).collect();
    assert_eq!(statuses, [None, Some(503), Some(200)]);
    assert_eq!((server.faults().count("POST", path), server.faults().pending()), (3, 0));
}

#[tokio::test]
async fn a_cut_or_shortened_body_is_told_apart() {
    let server = start(Config { partition_rows: Some(1), ..immediate() });
    customers(&server, 2);
    let first = run(&server, "SELECT * FROM CRM.PUBLIC.CONTACTS").await;
    let path = format!("/api/v2/statements/{}?partition=1", first["statementHandle"].as_str().unwrap());
    server.faults().add(Rule::on("GET", "*?partition=1", Action::Truncate(10)));
    server.faults().add(Rule::on("GET", "*?partition=1", Action::Shorten(10)).nth(2));
    assert!(send(&server, Method::GET, &path, None).await.bytes().await.is_err());
    assert_eq!(send(&server, Method::GET, &path, None).await.bytes().await.unwrap().len(), 10);
    assert!(send(&server, Method::GET, &path, None).await.bytes().await.unwrap().len() > 10);
}

#[tokio::test]
async fn tokens_are_refused_with_their_codes() {
    let server = start(immediate());
    let with = |key: &str, value: Value| {
        let mut claims = claims(&server);
        claims[key] = value;
        sign(&server, &claims)
    };
    let subject = claims(&server)["sub"].as_str().unwrap().to_owned();
    let good = sign(&server, &claims(&server));
    let (head, _) = good.rsplit_once('.').unwrap();
    let long_ago =
        json!({ "iss": claims(&server)["iss"], "sub": subject, "iat": now() - 3700, "exp": now() + 600 });
    let lower = json!({ "iss": claims(&server)["iss"].as_str().unwrap().to_lowercase(), "sub": subject.to_lowercase(),
                        "iat": now() - 30, "exp": now() + 60 });
    for (token, code) in [
        (String::new(), "394306"),
        ("x.y.z".to_owned(), "394306"),
        (with("exp", json!(now() - 5)), "394301"),
        (with("iat", json!(now() + 300)), "394302"),
        (with("exp", Value::Null), "394303"),
        (with("iss", json!(format!("{subject}.SHA256:AAAA"))), "394304"),
        (with("sub", json!("OTHER.USER")), "390144"),
        (sign(&server, &long_ago), "394301"),
        (sign(&server, &lower), "390144"),
        (format!("{head}.AAAA"), "390144"),
    ] {
        let request = client().post(format!("{}/api/v2/statements", server.url())).bearer_auth(&token);
        let response = request.json(&json!({ "statement": "SELECT 1" })).send().await.unwrap();
        let status = response.status().as_u16();
        let body: Value = response.json().await.unwrap();
        assert_eq!((status, body["code"].as_str().unwrap()), (401, code), "{token}");
    }
    let token = server.access_token().to_owned();
    let request = client().post(format!("{}/api/v2/statements", server.url())).bearer_auth(token);
    assert_eq!(request.json(&json!({ "statement": "SELECT 1" })).send().await.unwrap().status(), 200);

    let old = sign(&server, &claims(&server));
    server.rotate_key(false).unwrap();
    let request = client().get(format!("{}/api/v2/statements/x", server.url())).bearer_auth(old);
    assert_eq!(request.send().await.unwrap().status(), 401);
    assert_eq!(run(&server, "SELECT 1").await["data"], json!([["1"]]));
}

#[tokio::test]
async fn malformed_requests_are_refused() {
    let server = start(immediate());
    let url = format!("{}/api/v2/statements", server.url());
    let token = sign(&server, &claims(&server));
    let bare = Client::new();
    let body = json!({ "statement": "SELECT 1" });
    let code = |response: Response| async move {
        (
            response.status().as_u16(),
            response.json::<Value>().await.unwrap()["code"].as_str().unwrap().to_owned(),
        )
    };
    let silent = bare.post(&url).bearer_auth(&token).json(&body).send().await.unwrap();
    assert_eq!(code(silent).await, (400, "391903".to_owned()));
    let form = client().post(&url).bearer_auth(&token).header("content-type", "text/plain").body("x");
    assert_eq!(form.send().await.unwrap().status(), 415);
    let broken = client().post(&url).bearer_auth(&token).header("content-type", "application/json").body("{");
    assert_eq!(code(broken.send().await.unwrap()).await, (400, "390142".to_owned()));
    let parameter = json!({ "statement": "SELECT 1", "parameters": { "autocommit": true } });
    let parameter = client().post(&url).bearer_auth(&token).json(&parameter).send().await.unwrap();
    assert_eq!(code(parameter).await, (400, "391917".to_owned()));
    let wrong = client().get(&url).bearer_auth(&token).send().await.unwrap();
    assert_eq!((wrong.status().as_u16(), wrong.bytes().await.unwrap().len()), (405, 0));
    let lost = client().get(format!("{}/api/v1/x", server.url())).send().await.unwrap();
    assert_eq!(lost.status(), 404);
    for (key, value) in
        [("warehouse", "sync_wh"), ("role", "NOBODY"), ("database", "crm"), ("schema", "public")]
    {
        let mut body = json!({ "statement": "SELECT 1", "database": "CRM" });
        body[key] = json!(value);
        let (status, answer) = submit(&server, "", body).await;
        assert_eq!((status, answer["code"].as_str().unwrap()), (422, "390201"), "{key}");
    }
}

#[tokio::test]
async fn failures_carry_code_and_state() {
    let server = start(immediate());
    customers(&server, 1);
    for (sql, code, state) in [
        ("SELECT * FROM CRM.PUBLIC.NOTHING", "002003", "42S02"),
        ("SELECT * FROM NOWHERE.PUBLIC.T", "002003", "02000"),
        ("SELECT * FROM \"crm\".PUBLIC.CONTACTS", "002003", "02000"),
        ("SELECT NAMEX FROM CRM.PUBLIC.CONTACTS", "000904", "42000"),
        ("SELECT \"name\" FROM CRM.PUBLIC.CONTACTS", "000904", "42000"),
        ("SELECT FROM WHERE", "001003", "42000"),
        ("SELECT 1; SELECT 2", "000008", "0A000"),
        ("ALTER SESSION SET TIMEZONE = 'UTC'", "391911", "0A000"),
        ("SELECT 'x'::NUMBER", "100038", "22018"),
        ("SELECT 1/0", "100051", "22012"),
        ("INSERT INTO CRM.PUBLIC.CONTACTS VALUES (NULL, 'x')", "100072", "22000"),
        ("INSERT INTO CRM.PUBLIC.CONTACTS VALUES (1, repeat('x', 101))", "100078", "22000"),
        ("SELECT NO_SUCH(1)", "002140", "42601"),
        ("SELECT ?", "002049", "42601"),
    ] {
        assert_eq!(fails(&server, sql).await, (code.to_owned(), state.to_owned()), "{sql}");
    }
    assert_eq!(
        server.execute("SELECT COUNT(*) FROM CRM.PUBLIC.CONTACTS").unwrap().rows[0][0].as_deref(),
        Some("1")
    );
}

#[tokio::test]
async fn a_failed_asynchronous_statement_shows_on_the_status() {
    let server = start(immediate());
    let (status, body) =
        submit(&server, "?async=true", json!({ "statement": "SELECT * FROM CRM.PUBLIC.X" })).await;
    assert_eq!(status, 202);
    let handle = body["statementHandle"].as_str().unwrap();
    let mut answer = fetch(&server, handle).await;
    while answer.0 == 202 {
        answer = fetch(&server, handle).await;
    }
    assert_eq!((answer.0, answer.1["code"].as_str().unwrap()), (422, "002003"));
    assert_eq!(answer.1["statementHandle"], handle);
}

#[tokio::test]
async fn statements_are_cancelled_time_out_and_expire() {
    let slow =
        start(Config { statement_time: Duration::from_secs(30), sync_window: Duration::ZERO, ..immediate() });
    let (status, body) = submit(&slow, "", json!({ "statement": "SELECT 1" })).await;
    assert_eq!(status, 202, "the synchronous window is over");
    let handle = body["statementHandle"].as_str().unwrap().to_owned();
    let cancel = format!("/api/v2/statements/{handle}/cancel");
    let answer = send(&slow, Method::POST, &cancel, None).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.json::<Value>().await.unwrap()["code"], "000604");
    assert_eq!(fetch(&slow, &handle).await.1["code"], "000604");
    assert_eq!(send(&slow, Method::POST, &cancel, None).await.status(), 422);

    let late = start(Config { statement_time: Duration::from_secs(30), ..immediate() });
    let (status, body) = submit(&late, "", json!({ "statement": "SELECT 1", "timeout": 1 })).await;
    assert_eq!((status, body["code"].as_str().unwrap()), (408, "000630"));
    let handle = body["statementHandle"].as_str().unwrap();
    assert_eq!(fetch(&late, handle).await.1["code"], "000630");

    let server = start(immediate());
    let done = run(&server, "SELECT 1").await;
    server.expire_results();
    let (status, body) = fetch(&server, done["statementHandle"].as_str().unwrap()).await;
    assert_eq!((status, body["code"].as_str().unwrap()), (422, "000710"));
    let (status, body) = fetch(&server, "01b2c3d4-0000-0000-0000-000000000000").await;
    assert_eq!((status, body["code"].as_str().unwrap()), (422, "000709"));
}

#[tokio::test]
async fn every_type_has_its_wire_form() {
    let server = start(immediate());
    let cases = [
        ("DATE '2020-01-01'", "date", json!("18262")),
        ("'0001-01-01'::DATE", "date", json!("-719162")),
        ("'12:34:56'::TIME", "time", json!("45296.000000000")),
        ("'2021-01-28 22:09:37.123456789'::TIMESTAMP_NTZ", "timestamp_ntz", json!("1611871777.123456789")),
        ("'1969-12-31 23:59:59.5'::TIMESTAMP_NTZ", "timestamp_ntz", json!("-0.500000000")),
        ("'2021-03-19T18:06:59+01:00'::TIMESTAMP_TZ", "timestamp_tz", json!("1616173619.000000000 1500")),
        ("'2022-01-01 12:34:56.123 +0900'::TIMESTAMP_TZ", "timestamp_tz", json!("1641008096.123000000 1980")),
        ("'2021-03-19 09:06:59 -08:00'::TIMESTAMP_TZ", "timestamp_tz", json!("1616173619.000000000 960")),
        ("'2021-03-19T18:06:59+01:00'::TIMESTAMP_LTZ", "timestamp_ltz", json!("1616173619.000000000")),
        ("99999999999999999999999999999999999999", "fixed", json!("99999999999999999999999999999999999999")),
        ("-0.000001::NUMBER(38,9)", "fixed", json!("-0.000001000")),
        ("8.25", "fixed", json!("8.25")),
        ("'711.5'::NUMBER(12,2)", "fixed", json!("711.50")),
        ("1.5::FLOAT", "real", json!("1.5")),
        ("1e20", "real", json!("1e+20")),
        ("TRUE", "boolean", json!("true")),
        ("1 > 2", "boolean", json!("false")),
        ("'48656c6c6f'::BINARY", "binary", json!("48656C6C6F")),
        ("PARSE_JSON('{\"a\":1}')", "variant", json!("{\n  \"a\": 1\n}")),
        ("PARSE_JSON('null')", "variant", json!("null")),
        ("PARSE_JSON('null')::VARCHAR", "text", json!(null)),
        ("NULL", "text", json!(null)),
        ("''", "text", json!("")),
        ("'Zoë \"q\" \n'", "text", json!("Zoë \"q\" \n")),
        ("DATE '1996-01-31'::VARCHAR", "text", json!("1996-01-31")),
    ];
    for (expression, kind, wire) in cases {
        let body = run(&server, &format!("SELECT {expression} AS X")).await;
        let column = &body["resultSetMetaData"]["rowType"][0];
        assert_eq!((&column["type"], &body["data"][0][0]), (&json!(kind), &wire), "{expression}");
    }
    let (_, body) = submit(&server, "?nullable=false", json!({ "statement": "SELECT NULL" })).await;
    assert_eq!(body["data"], json!([["null"]]));
}

#[tokio::test]
async fn loaded_values_come_back_as_they_were() {
    let server = start(immediate());
    let columns = [
        Column::new("A", Kind::number(12, 2)),
        Column::new("B", Kind::Date),
        Column::new("C", Kind::Timestamp(Zone::Ntz, 9)),
        Column::new("D", Kind::Boolean),
        Column::new("E", Kind::Real),
    ];
    let row = |cells: [&str; 5]| cells.map(|cell| Some(cell.to_owned())).to_vec();
    let rows = [row(["8.5", "1996-01-02", "0.500000000", "true", "0.1"]), vec![None; 5]];
    server.load("CRM.PUBLIC.T", &columns, rows).unwrap();
    let body = run(&server, "SELECT * FROM CRM.PUBLIC.T").await;
    assert_eq!(body["data"][0], json!(["8.50", "9497", "0.500000000", "true", "0.1"]));
    assert_eq!(body["data"][1], json!([null, null, null, null, null]));
}

#[tokio::test]
async fn the_text_of_a_number_sorts_as_text() {
    let server = start(immediate());
    customers(&server, 11);
    for order in ["ID::VARCHAR", "COLLATE(ID::VARCHAR, 'utf8')", "CAST(\"ID\" AS VARCHAR) COLLATE ''", "1"] {
        let sql = format!(
            "SELECT ID::VARCHAR AS K, NAME FROM (SELECT * FROM CRM.PUBLIC.CONTACTS) AS m ORDER BY {order}"
        );
        let body = run(&server, &sql).await;
        let keys: Vec<&str> =
            body["data"].as_array().unwrap().iter().map(|row| row[0].as_str().unwrap()).collect();
        assert_eq!(keys, ["1", "10", "11", "2", "3", "4", "5", "6", "7", "8", "9"], "{order}");
    }
    let body = run(&server, "SELECT ID FROM CRM.PUBLIC.CONTACTS ORDER BY ID DESC LIMIT 3").await;
    assert_eq!(body["data"], json!([["11"], ["10"], ["9"]]));
    let body = run(&server, "SELECT X FROM (VALUES ('b'), ('a'), ('B'), (NULL)) v(X) ORDER BY X").await;
    assert_eq!(body["data"], json!([["B"], ["a"], ["b"], [null]]));
}

#[tokio::test]
async fn queries_of_a_model_work() {
    let server = start(immediate());
    load_tpch(
        &server,
        0.001,
        &[Table::Region, Table::Nation, Table::Customer, Table::Orders { since: None }],
    )
    .unwrap();
    let cases = [
        ("SELECT COUNT(*) FROM CUSTOMER", json!([["150"]])),
        ("SELECT COUNT(*) FROM ORDERS", json!([["1500"]])),
        ("SELECT N_NAME, R_NAME FROM NATION n JOIN REGION r ON n.N_REGIONKEY = r.R_REGIONKEY WHERE n.N_NATIONKEY = 7",
         json!([["GERMANY", "EUROPE"]])),
        ("SELECT C_CUSTKEY, C_NAME, C_ACCTBAL FROM CUSTOMER WHERE C_CUSTKEY = 1",
         json!([["1", "Customer#000000001", "711.56"]])),
        ("SELECT COUNT(*) = 0 FROM ORDERS WHERE O_ORDERDATE < '1992-01-01' OR O_ORDERDATE > DATE '1998-08-02'",
         json!([["true"]])),
        ("WITH big AS (SELECT O_CUSTKEY k, SUM(O_TOTALPRICE) total FROM ORDERS GROUP BY 1 HAVING COUNT(*) > 0)
          SELECT COUNT(*) > 50, MIN(total) > 100.5 FROM big", json!([["true", "true"]])),
        ("SELECT O_CUSTKEY IS NULL FROM CUSTOMER LEFT JOIN ORDERS ON O_CUSTKEY = C_CUSTKEY WHERE C_CUSTKEY = 3",
         json!([["true"]])),
        ("SELECT R_NAME FROM REGION QUALIFY ROW_NUMBER() OVER (ORDER BY R_NAME DESC) = 1 ORDER BY R_NAME",
         json!([["MIDDLE EAST"]])),
        ("SELECT 1 AS A UNION ALL SELECT 2.5 ORDER BY A DESC", json!([["2.5"], ["1.0"]])),
        ("SELECT IFF(R_REGIONKEY IN (1, 2), UPPER(LEFT(R_NAME, 2)) || '-' || R_REGIONKEY, NULL) x FROM REGION
          WHERE R_NAME LIKE 'A%' AND x IS NOT NULL ORDER BY R_REGIONKEY", json!([["AM-1"], ["AS-2"]])),
        ("SELECT R_NAME FROM REGION r WHERE EXISTS (SELECT 1 FROM NATION WHERE N_REGIONKEY = r.R_REGIONKEY AND N_NAME = 'CHINA')",
         json!([["ASIA"]])),
        ("SELECT value['k']::VARCHAR, value:n::NUMBER FROM TABLE(FLATTEN(INPUT => PARSE_JSON('[{\"k\":\"a\",\"n\":1}]')))",
         json!([["a", "1"]])),
        ("SELECT CURRENT_ORGANIZATION_NAME()||'-'||CURRENT_ACCOUNT_NAME(), CURRENT_WAREHOUSE()",
         json!([["BACKHAUL-DEMO", "COMPUTE_WH"]])),
    ];
    for (sql, expected) in cases {
        let body = json!({ "statement": sql, "database": "SNOWFLAKE_SAMPLE_DATA", "schema": "TPCH_SF1" });
        let (status, answer) = submit(&server, "", body).await;
        assert_eq!((status, &answer["data"]), (200, &expected), "{sql}: {answer}");
    }
    let body = run(&server, "SELECT * FROM SNOWFLAKE_SAMPLE_DATA.TPCH_SF1.ORDERS LIMIT 1").await;
    let types: Vec<&str> = body["resultSetMetaData"]["rowType"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["type"].as_str().unwrap())
        .collect();
    assert_eq!(types, ["fixed", "fixed", "text", "fixed", "date", "text", "text", "fixed", "text"]);
}

#[tokio::test]
async fn the_warehouse_can_be_changed_through_the_api() {
    let server = start(immediate());
    run(&server, "CREATE SCHEMA CRM.MODELS").await;
    run(&server, "CREATE TABLE CRM.MODELS.T (id NUMBER NOT NULL, \"Email\" VARCHAR(40), amount NUMBER(12,2) DEFAULT 0.5)").await;
    let inserted =
        run(&server, "INSERT INTO CRM.MODELS.T (id, \"Email\") VALUES (1, 'a@x'), (2, NULL)").await;
    assert_eq!((&inserted["stats"]["numRowsInserted"], &inserted["data"]), (&json!(2), &json!([["2"]])));
    let updated = run(
        &server,
        "UPDATE CRM.MODELS.T SET amount = amount + 1, \"Email\" = COALESCE(\"Email\", 'none') WHERE id > 1",
    )
    .await;
    assert_eq!(updated["stats"]["numRowsUpdated"], 1);
    let body = run(&server, "SELECT * FROM CRM.MODELS.T ORDER BY ID").await;
    assert_eq!(body["data"], json!([["1", "a@x", "0.50"], ["2", "none", "1.50"]]));
    assert_eq!(body["resultSetMetaData"]["rowType"][1]["name"], "Email");
    run(&server, "CREATE OR REPLACE VIEW CRM.MODELS.V AS SELECT id, amount * 2 AS twice FROM T").await;
    assert_eq!(run(&server, "SELECT TWICE FROM CRM.MODELS.V WHERE ID = 2").await["data"], json!([["3.00"]]));
    run(&server, "ALTER TABLE CRM.MODELS.T ADD COLUMN note VARCHAR").await;
    run(&server, "CREATE OR REPLACE TRANSIENT TABLE CRM.MODELS.C AS SELECT id, note FROM CRM.MODELS.T").await;
    let deleted =
        run(&server, "DELETE FROM CRM.MODELS.T WHERE id IN (SELECT id FROM CRM.MODELS.C WHERE id = 1)").await;
    assert_eq!(deleted["stats"]["numRowsDeleted"], 1);
    assert_eq!(server.execute("SELECT COUNT(*) FROM CRM.MODELS.T").unwrap().rows[0][0].as_deref(), Some("1"));
}

#[tokio::test]
async fn bindings_and_several_statements() {
    let server = start(immediate());
    customers(&server, 3);
    let body = json!({
        "statement": "SELECT ID, ?, ?::DATE, ? FROM CRM.PUBLIC.CONTACTS WHERE ID >= ? ORDER BY ID LIMIT 1",
        "bindings": {
            "1": { "type": "TEXT", "value": "it's" },
            "2": { "type": "DATE", "value": "1577836800000" },
            "3": { "type": "TIMESTAMP_NTZ", "value": "-500000000" },
            "4": { "type": "FIXED", "value": "2" },
        },
    });
    let (status, answer) = submit(&server, "", body).await;
    assert_eq!(
        (status, &answer["data"]),
        (200, &json!([["2", "it's", "18262", "-0.500000000"]])),
        "{answer}"
    );

    let body = json!({
        "statement": "BEGIN; DELETE FROM CRM.PUBLIC.CONTACTS WHERE ID = 1; COMMIT; SELECT COUNT(*) FROM CRM.PUBLIC.CONTACTS",
        "parameters": { "MULTI_STATEMENT_COUNT": "0" },
    });
    let (status, parent) = submit(&server, "", body).await;
    assert_eq!(status, 200, "{parent}");
    let children = parent["statementHandles"].as_array().unwrap();
    assert_eq!(children.len(), 4);
    assert_eq!(fetch(&server, children[3].as_str().unwrap()).await.1["data"], json!([["2"]]));
}

#[tokio::test]
async fn a_restarted_address_is_reused() {
    let server = start(immediate());
    let address = server.url().trim_start_matches("http://").parse().unwrap();
    drop(server);
    let mut attempts = 0;
    let server = loop {
        match Snowflake::start(Config { address, ..immediate() }) {
            Ok(server) => break server,
            Err(_) if attempts < 100 => attempts += 1,
            Err(error) => panic!("{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(run(&server, "SELECT 1").await["data"], json!([["1"]]));
}

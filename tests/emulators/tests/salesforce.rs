//! The Salesforce org as a client meets it: over HTTP, with documented bodies and codes.

#![expect(clippy::unwrap_used, reason = "a test that cannot talk to its server has failed")]

use std::collections::BTreeMap;
use std::time::Duration;

use emulators::faults::{Action, Answer, Rule};
use emulators::salesforce::{EmptyResults, JobState, Limits, Org, OrgConfig, OrgServer, Pace, Refusal};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use reqwest::{Client, Method, Response};
use serde_json::{Value, json};

const CSV: &str = "text/csv";
const BASE: &str = "/services/data/v66.0";

/// An org and a client that is logged in.
struct World {
    org: OrgServer,
    client: Client,
    token: String,
}

impl World {
    async fn new(config: OrgConfig) -> Self {
        let org = Org::start(config).await.unwrap();
        let client = Client::new();
        let mut world = Self { org, client, token: String::new() };
        world.login().await;
        world
    }

    async fn login(&mut self) {
        let (status, body) = self.token(|_| {}).await;
        assert_eq!(status, 200, "{body}");
        self.token = body["access_token"].as_str().unwrap().to_owned();
    }

    /// Asks for a token with claims that a test may bend.
    async fn token(&self, bend: impl FnOnce(&mut Value)) -> (u16, Value) {
        let secret: Value = serde_json::from_str(&self.org.secret_json()).unwrap();
        let mut claims = json!({
            "iss": secret["client_id"], "sub": secret["username"], "aud": secret["login_url"],
            "exp": jiff_now() + 120,
        });
        bend(&mut claims);
        let key = EncodingKey::from_rsa_pem(secret["private_key"].as_str().unwrap().as_bytes()).unwrap();
        let assertion = encode(&Header::new(Algorithm::RS256), &claims, &key).unwrap();
        self.exchange(&assertion).await
    }

    async fn exchange(&self, assertion: &str) -> (u16, Value) {
        let form = [("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"), ("assertion", assertion)];
        let url = format!("{}/services/oauth2/token", self.org.url());
        let response = self.client.post(url).form(&form).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Response {
        let url = format!("{}{BASE}{path}", self.org.url());
        let request = self.client.request(method, url).bearer_auth(&self.token);
        let request = if let Some(body) = body { request.json(body) } else { request };
        request.send().await.unwrap()
    }

    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> (u16, Value) {
        let response = self.send(method, path, body).await;
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.call(Method::GET, path, None).await
    }

    async fn create(&self, object: &str, operation: &str, key: Option<&str>) -> String {
        let mut wish = json!({"object": object, "operation": operation, "lineEnding": "LF"});
        if let Some(key) = key {
            wish["externalIdFieldName"] = json!(key);
        }
        let (status, job) = self.call(Method::POST, "/jobs/ingest", Some(&wish)).await;
        assert_eq!((status, job["state"].as_str()), (200, Some("Open")), "{job}");
        job["id"].as_str().unwrap().to_owned()
    }

    async fn upload(&self, job: &str, csv: &str) -> (u16, Value) {
        let url = format!("{}{BASE}/jobs/ingest/{job}/batches/", self.org.url());
        let request = self.client.put(url).bearer_auth(&self.token).header("content-type", CSV);
        let response = request.body(csv.to_owned()).send().await.unwrap();
        let status = response.status().as_u16();
        (status, serde_json::from_str(&response.text().await.unwrap()).unwrap_or(Value::Null))
    }

    async fn set_state(&self, job: &str, state: &str) -> (u16, Value) {
        self.call(Method::PATCH, &format!("/jobs/ingest/{job}"), Some(&json!({"state": state}))).await
    }

    /// Asks for a job until it has ended.
    async fn ended(&self, job: &str) -> Value {
        loop {
            let (status, info) = self.get(&format!("/jobs/ingest/{job}")).await;
            assert_eq!(status, 200, "{info}");
            if ["JobComplete", "Failed", "Aborted"].contains(&info["state"].as_str().unwrap()) {
                return info;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// A whole job, from creation to its end.
    async fn run(&self, object: &str, operation: &str, key: Option<&str>, csv: &str) -> (String, Value) {
        let job = self.create(object, operation, key).await;
        assert_eq!(self.upload(&job, csv).await.0, 201);
        assert_eq!(self.set_state(&job, "UploadComplete").await.0, 200);
        let info = self.ended(&job).await;
        (job, info)
    }

    async fn text(&self, job: &str, part: &str) -> String {
        let response = self.send(Method::GET, &format!("/jobs/ingest/{job}/{part}"), None).await;
        assert_eq!(response.status(), 200);
        response.text().await.unwrap()
    }

    /// A result file as rows by the value of one column.
    async fn rows(&self, job: &str, part: &str, by: &str) -> BTreeMap<String, BTreeMap<String, String>> {
        let text = self.text(job, part).await;
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let rows = reader.deserialize::<BTreeMap<String, String>>().map(Result::unwrap);
        rows.map(|row| (row[by].clone(), row)).collect()
    }
}

fn jiff_now() -> i64 {
    jiff::Timestamp::now().as_second()
}

fn errors(rows: &BTreeMap<String, BTreeMap<String, String>>) -> BTreeMap<&str, &str> {
    rows.iter().map(|(key, row)| (key.as_str(), row["sf__Error"].as_str())).collect()
}

const KEY: Option<&str> = Some("Customer_Key__c");

#[tokio::test(flavor = "multi_thread")]
async fn logins_are_checked_claim_by_claim() {
    let world = World::new(OrgConfig::default()).await;
    assert!(world.token.starts_with("00D") && world.token.contains('!'));
    let other = Org::start(OrgConfig::default()).await.unwrap();
    for (bend, error, description) in [
        (("iss", json!("other")), "invalid_client_id", "client identifier invalid"),
        (("aud", json!("https://example.com")), "invalid_grant", "audience is invalid"),
        (("sub", json!("nobody@example.com")), "invalid_grant", "user hasn't approved this consumer"),
        (("exp", json!(jiff_now() - 1)), "invalid_grant", "expired authorization code"),
    ] {
        let (status, body) = world.token(|claims| claims[bend.0] = bend.1.clone()).await;
        assert_eq!(status, 400);
        assert_eq!(body, json!({"error": error, "error_description": description}));
    }
    for exp in [json!((jiff_now() + 60).to_string()), json!((jiff_now() + 300) * 1000)] {
        assert_eq!(world.token(|claims| claims["exp"] = exp).await.0, 200);
    }
    // A key that the org does not know.
    let secret: Value = serde_json::from_str(&other.secret_json()).unwrap();
    let stranger = emulators::snowflake::Snowflake::start(emulators::snowflake::Config::default()).unwrap();
    let key = EncodingKey::from_rsa_pem(stranger.private_key_pem().as_bytes()).unwrap();
    let claims = json!({
        "iss": secret["client_id"], "sub": secret["username"], "aud": "https://login.salesforce.com",
        "exp": jiff_now() + 60,
    });
    let forged = encode(&Header::new(Algorithm::RS256), &claims, &key).unwrap();
    let (status, body) = world.exchange(&forged).await;
    assert_eq!((status, body["error_description"].as_str()), (400, Some("invalid assertion")));
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_shared_and_end_for_all() {
    let mut world = World::new(OrgConfig::default()).await;
    let first = world.token.clone();
    world.login().await;
    assert_eq!(world.token, first);
    let response = world.send(Method::GET, "/limits", None).await;
    assert!(response.headers()["sforce-limit-info"].to_str().unwrap().starts_with("api-usage=1/"));
    world.org.expire_tokens();
    let (status, body) = world.get("/limits").await;
    assert_eq!(status, 401);
    let expected = json!([{"errorCode": "INVALID_SESSION_ID", "message": "Session expired or invalid"}]);
    assert_eq!(body, expected);
    world.login().await;
    assert_ne!(world.token, first);
    let url = format!("{}/services/data", world.org.url());
    let versions: Value = world.client.get(url).send().await.unwrap().json().await.unwrap();
    assert!(versions.as_array().unwrap().iter().any(|version| version["version"] == "66.0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn client_credentials_need_the_right_secret() {
    let org = Org::start(OrgConfig::default()).await.unwrap();
    let config = OrgConfig::default();
    let url = format!("{}/services/oauth2/token", org.url());
    let form = [("grant_type", "client_credentials")];
    let ask = |secret: &str| {
        Client::new().post(&url).basic_auth(&config.client_id, Some(secret)).form(&form).send()
    };
    assert_eq!(ask(&config.client_secret).await.unwrap().status(), 200);
    let refused: Value = ask("wrong").await.unwrap().json().await.unwrap();
    assert_eq!(refused["error"], "invalid_client");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upsert_creates_updates_and_refuses_row_by_row() {
    let config = OrgConfig { queued: Pace::polls(1), running: Pace::polls(1), ..OrgConfig::default() };
    let world = World::new(config).await;
    let seed = [("Name", "Old"), ("Customer_Key__c", "c-1"), ("Phone", "1"), ("Description", "kept")];
    let seed = seed.map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter().collect();
    let id = world.org.seed("Account", &[seed]).unwrap().remove(0);

    let job = world.create("Account", "upsert", KEY).await;
    let csv = "Customer_Key__c,Name,Phone,Description,AnnualRevenue,Market_Segment__c,Nation_Key__c\n\
        C-1,New,#N/A,,912260031,BUILDING,7\n\
        c-2,\"Two \"\"quoted\"\", Inc\",2,,250,,\n\
        c-3,,3,,,,\n\
        c-4,Four,,,1e17,,\n\
        c-5,Five,,,,PLANES,\n\
        c-6,Six,,,,,7x\n\
        dup,A,,,,,\n\
        DUP,B,,,,,\n";
    assert_eq!(world.upload(&job, csv).await, (201, Value::Null));
    let (status, info) = world.set_state(&job, "UploadComplete").await;
    assert_eq!((status, info["state"].as_str()), (200, Some("UploadComplete")));
    assert!(info.get("numberRecordsProcessed").is_none());
    assert_eq!(world.get(&format!("/jobs/ingest/{job}")).await.1["state"], "UploadComplete");
    let info = world.ended(&job).await;
    assert_eq!(
        (&info["state"], &info["numberRecordsProcessed"], &info["numberRecordsFailed"]),
        (&json!("JobComplete"), &json!(8), &json!(6)),
    );
    assert_eq!((&info["apiVersion"], &info["jobType"]), (&json!(66.0), &json!("V2Ingest")));

    let success = world.rows(&job, "successfulResults", "Customer_Key__c").await;
    assert_eq!(success.keys().collect::<Vec<_>>(), ["C-1", "c-2"]);
    assert_eq!((&success["C-1"]["sf__Id"], success["C-1"]["sf__Created"].as_str()), (&id, "false"));
    assert_eq!(
        (success["C-1"]["AnnualRevenue"].as_str(), success["C-1"]["Nation_Key__c"].as_str()),
        ("9.12260031E8", "7.0")
    );
    assert_eq!(
        (success["c-2"]["AnnualRevenue"].as_str(), success["c-2"]["sf__Created"].as_str()),
        ("250.0", "true")
    );
    let failed = world.rows(&job, "failedResults", "Customer_Key__c").await;
    let too_big = "NUMBER_OUTSIDE_VALID_RANGE:AnnualRevenue: value outside of valid range on numeric field: \
        1e17:AnnualRevenue --";
    let picklist = "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST:Market Segment: bad value for restricted picklist \
        field: PLANES:Market_Segment__c --";
    let kind = "INVALID_TYPE_ON_FIELD_IN_RECORD:Nation Key: value not of required type: 7x:Nation_Key__c --";
    assert_eq!(
        errors(&failed),
        BTreeMap::from([
            ("c-3", "REQUIRED_FIELD_MISSING:Required fields are missing: [Name]:Name --"),
            ("c-4", too_big),
            ("c-5", picklist),
            ("c-6", kind),
            ("dup", "DUPLICATE_VALUE:Duplicate external id specified: dup:Customer_Key__c --"),
            ("DUP", "DUPLICATE_VALUE:Duplicate external id specified: DUP:Customer_Key__c --"),
        ])
    );
    assert!(failed.values().all(|row| row["sf__Id"].is_empty()));
    let unprocessed = world.text(&job, "unprocessedRecords").await;
    assert_eq!(unprocessed, csv.lines().next().unwrap().to_owned() + "\n");

    let record = world.org.record_by("Account", "Customer_Key__c", "C-1").unwrap();
    assert_eq!((record["Name"].as_str(), record["AnnualRevenue"].as_str()), ("New", "912260031"));
    assert_eq!((record.get("Phone"), record["Description"].as_str()), (None, "kept"));
    assert_eq!((world.org.count("Account"), world.org.write_counts("Account")), (2, [2, 1, 0]));
    let written = world.org.audit();
    let update = written.iter().find(|write| write.id == id && !write.created).unwrap();
    assert_eq!((update.job.as_deref(), update.before["Name"].as_str()), (Some(job.as_str()), "Old"));
    assert_eq!(update.after["Name"], "New");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_takes_one_upload_and_only_while_open() {
    let world = World::new(OrgConfig::default()).await;
    let job = world.create("Account", "upsert", KEY).await;
    let csv = "Customer_Key__c,Name\nk,N\n";
    assert_eq!(world.upload(&job, csv).await.0, 201);
    let (status, body) = world.upload(&job, csv).await;
    assert_eq!((status, body[0]["errorCode"].as_str()), (400, Some("CLIENTINPUTERROR")));
    let (status, body) = world.call(Method::DELETE, &format!("/jobs/ingest/{job}"), None).await;
    assert_eq!((status, body[0]["errorCode"].as_str()), (400, Some("API_ERROR")));
    assert_eq!(world.set_state(&job, "Aborted").await.1["state"], "Aborted");
    assert_eq!(world.text(&job, "unprocessedrecords").await, "Customer_Key__c,Name\n\"k\",\"N\"\n");
    assert_eq!(world.set_state(&job, "UploadComplete").await.1[0]["errorCode"], "INVALIDJOBSTATE");
    let (status, body) = world.set_state(&job, "Aborted").await;
    assert_eq!((status, body[0]["errorCode"].as_str()), (400, Some("INVALIDJOBSTATE")));
    assert_eq!(world.call(Method::DELETE, &format!("/jobs/ingest/{job}"), None).await.0, 204);
    let (status, body) = world.get(&format!("/jobs/ingest/{job}")).await;
    assert_eq!((status, body[0]["errorCode"].as_str()), (404, Some("NOT_FOUND")));
    assert_eq!(world.org.count("Account"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_that_cannot_be_are_refused_at_once() {
    let world = World::new(OrgConfig::default()).await;
    for (wish, code) in [
        (json!({"object": "Nothing", "operation": "insert"}), "INVALIDENTITY"),
        (json!({"object": "User", "operation": "insert"}), "INVALIDENTITY"),
        (json!({"object": "Account", "operation": "merge"}), "INVALIDOPERATION"),
        (json!({"object": "Account", "operation": "upsert"}), "INVALIDJOB"),
        (json!({"object": "Account", "operation": "upsert", "externalIdFieldName": "Phone"}), "INVALIDJOB"),
        (json!({"object": "Account", "operation": "hardDelete"}), "FEATURENOTENABLED"),
    ] {
        let (status, body) = world.call(Method::POST, "/jobs/ingest//", Some(&wish)).await;
        assert_eq!((status, body[0]["errorCode"].as_str()), (400, Some(code)), "{wish}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_file_fails_as_a_whole() {
    let world = World::new(OrgConfig::default()).await;
    for (csv, message) in [
        ("Customer_Key__c,Bad__c,Worse__c\nk,1,2\n", "InvalidBatch : Field name not found : Bad__c"),
        ("\u{feff}Customer_Key__c\nk\n", "InvalidBatch : Field name not found : \u{feff}Customer_Key__c"),
        ("\u{feff}\"Customer_Key__c\"\n\"k\"\n", "InvalidBatch : Failed to parse CSV. Found unescaped quote"),
        (
            "Customer_Key__c\r\nk\r\n",
            "ClientInputError : LineEnding is invalid on user data. Current LineEnding setting is LF",
        ),
        (
            "Customer_Key__c,Account:Parent.Customer_Key__c\nk,1\n",
            "InvalidBatch : type is not needed for non polymorphic foreign key references: Parent",
        ),
    ] {
        let (job, info) = world.run("Account", "upsert", KEY, csv).await;
        assert_eq!((&info["state"], info["errorMessage"].as_str()), (&json!("Failed"), Some(message)));
        assert_eq!((&info["numberRecordsProcessed"], &info["numberRecordsFailed"]), (&json!(0), &json!(0)));
        assert_eq!(world.text(&job, "failedResults").await.lines().count(), 1);
        assert_eq!(world.text(&job, "unprocessedrecords").await.lines().count(), 2);
    }
    assert_eq!(world.org.count("Account"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn parents_are_found_by_their_key() {
    let world = World::new(OrgConfig::default()).await;
    world.run("Account", "upsert", KEY, "Customer_Key__c,Name\nc1,One\n").await;
    let csv = "Order_Key__c,Account__r.Customer_Key__c,Status__c,Order_Date__c,Total_Price__c\n\
        o1,C1,O,2024-02-29,12.345\no2,c9,O,,\no3,,O,,\no4,c1,X,,\n";
    let (job, info) = world.run("Order__c", "upsert", Some("Order_Key__c"), csv).await;
    assert_eq!(info["numberRecordsFailed"], 3);
    let failed = world.rows(&job, "failedResults", "Order_Key__c").await;
    let codes: Vec<&str> = failed.values().map(|row| row["sf__Error"].split(':').next().unwrap()).collect();
    assert_eq!(codes, ["INVALID_FIELD", "REQUIRED_FIELD_MISSING", "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST"]);
    assert_eq!(
        failed["o2"]["sf__Error"],
        "INVALID_FIELD:Foreign key external ID: c9 not found for field Customer_Key__c in entity Account:--"
    );
    let account = world.org.record_by("Account", "Customer_Key__c", "c1").unwrap();
    let order = world.org.record_by("Order__c", "Order_Key__c", "o1").unwrap();
    assert_eq!((&order["Account__c"], order["Total_Price__c"].as_str()), (&account["Id"], "12.35"));
    let tasks = "Task_Key__c,Subject,Order__c:What.Order_Key__c\nt1,Call,o1\n";
    let (_, info) = world.run("Task", "upsert", Some("Task_Key__c"), tasks).await;
    assert_eq!((&info["state"], &info["numberRecordsFailed"]), (&json!("JobComplete"), &json!(0)));
    assert_eq!(world.org.record_by("Task", "Task_Key__c", "t1").unwrap()["WhatId"], order["Id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn deletes_and_updates_go_by_id() {
    let world = World::new(OrgConfig { keep_uploads: true, ..OrgConfig::default() }).await;
    let (job, _) = world.run("Account", "insert", None, "Customer_Key__c,Name\na,A\nb,B\n").await;
    let made = world.rows(&job, "successfulResults", "Customer_Key__c").await;
    let (a, b) = (&made["a"]["sf__Id"], &made["b"]["sf__Id"]);
    let csv = format!("Id,Name\n{a},A2\n{},B2\n0015e0000000zzz,C\nnonsense,D\n,E\n", &b[..15]);
    let (job, info) = world.run("Account", "update", None, &csv).await;
    assert_eq!(info["numberRecordsFailed"], 3);
    let failed = world.rows(&job, "failedResults", "Name").await;
    let codes: Vec<&str> = failed.values().map(|row| row["sf__Error"].split(':').next().unwrap()).collect();
    assert_eq!(codes, ["INVALID_CROSS_REFERENCE_KEY", "MALFORMED_ID", "MISSING_ARGUMENT"]);
    assert_eq!(world.org.record_by("Account", "Id", b).unwrap()["Name"], "B2");
    let csv = format!("Id\n{a}\n");
    let (job, info) = world.run("Account", "delete", None, &csv).await;
    assert_eq!((&info["state"], world.org.count("Account")), (&json!("JobComplete"), 1));
    assert_eq!(world.org.received_csv(&job).unwrap(), csv);
    let (job, _) = world.run("Account", "delete", None, &csv).await;
    let failed = world.rows(&job, "failedResults", "Id").await;
    assert_eq!(failed[a]["sf__Error"], "ENTITY_IS_DELETED:entity is deleted:--");
    let (_, info) = world.run("Account", "delete", None, &format!("Id,Name\n{b},x\n")).await;
    assert_eq!(info["state"], "Failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn large_jobs_go_through_whole_and_shuffled() {
    let world = World::new(OrgConfig { audit_limit: 0, ..OrgConfig::default() }).await;
    let mut csv = "Customer_Key__c,Name\n".to_owned();
    for row in 0..12_000 {
        csv.push_str(&format!("k{row:05},\"Name {row}\"\n"));
    }
    let (job, info) = world.run("Account", "upsert", KEY, &csv).await;
    assert_eq!(info["numberRecordsProcessed"], 12_000);
    let text = world.text(&job, "successfulResults").await;
    let keys: Vec<&str> = text.lines().skip(1).map(|line| line.split(',').nth(2).unwrap()).collect();
    assert_eq!(keys.len(), 12_000);
    assert!(!keys.is_sorted());
    assert_eq!(world.get("/limits").await.1["DailyBulkApiBatches"]["Remaining"], 14_998);
    let (_, page) = world.get("/query?q=SELECT+Name+FROM+Account+ORDER+BY+Name").await;
    assert_eq!((&page["totalSize"], page["records"].as_array().unwrap().len()), (&json!(12_000), 2_000));
    let next = page["nextRecordsUrl"].as_str().unwrap().strip_prefix(BASE).unwrap().to_owned();
    let (_, page) = world.get(&next).await;
    assert_eq!(page["records"].as_array().unwrap().len(), 2_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abort_keeps_what_was_done() {
    let config = OrgConfig {
        hold_after_batches: Some(1),
        empty_results: EmptyResults::NoContent,
        ..OrgConfig::default()
    };
    let world = World::new(config).await;
    let rows: String = (0..10_500).map(|row| format!("k{row},N\n")).collect();
    let job = world.create("Account", "upsert", KEY).await;
    world.upload(&job, &format!("Customer_Key__c,Name\n{rows}")).await;
    world.set_state(&job, "UploadComplete").await;
    while world.org.count("Account") < 10_000 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(world.org.jobs()[0].state, JobState::InProgress);
    assert_eq!(world.set_state(&job, "Aborted").await.1["state"], "Aborted");
    assert_eq!(world.text(&job, "successfulResults").await.lines().count(), 10_001);
    assert_eq!(world.text(&job, "unprocessedrecords").await.lines().count(), 501);
    let empty = world.send(Method::GET, &format!("/jobs/ingest/{job}/failedResults"), None).await;
    assert_eq!(empty.status(), 204);
    world.org.advance_clock(Duration::from_secs(3600));
    assert_eq!(world.get(&format!("/jobs/ingest/{job}")).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn allocations_run_out() {
    let limits = Limits { daily_batches: 1, logins_per_hour: 2, ..Limits::default() };
    let world = World::new(OrgConfig { limits, ..OrgConfig::default() }).await;
    let rows: String = (0..10_300).map(|row| format!("k{row},N\n")).collect();
    let (job, info) = world.run("Account", "upsert", KEY, &format!("Customer_Key__c,Name\n{rows}")).await;
    assert_eq!(info["state"], "Failed");
    assert_eq!(info["errorMessage"], "ExceededQuota : ApiBatchItems Limit exceeded");
    // The rows of the second batch are in no result at all.
    assert_eq!(world.text(&job, "successfulResults").await.lines().count(), 10_001);
    assert_eq!(world.text(&job, "unprocessedrecords").await.lines().count(), 1);
    let wish = json!({"object": "Account", "operation": "insert"});
    let (status, body) = world.call(Method::POST, "/jobs/ingest", Some(&wish)).await;
    assert_eq!((status, body[0]["errorCode"].as_str()), (400, Some("EXCEEDEDQUOTA")));
    assert_eq!(world.token(|_| {}).await.0, 200);
    assert_eq!(world.token(|_| {}).await.1["error_description"], "login rate exceeded");
    let limits = Limits { daily_api_requests: 1, ..Limits::default() };
    let world = World::new(OrgConfig { limits, ..OrgConfig::default() }).await;
    assert_eq!(world.get("/limits").await.0, 200);
    let (status, body) = world.get("/limits").await;
    assert_eq!((status, body[0]["errorCode"].as_str()), (403, Some("REQUEST_LIMIT_EXCEEDED")));
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_one_parent_in_two_batches_collide() {
    let world = World::new(OrgConfig { parallel_batches: 2, ..OrgConfig::default() }).await;
    world.run("Account", "upsert", KEY, "Customer_Key__c,Name\np,Parent\nq,Other\n").await;
    let head = "Order_Key__c,Account__r.Customer_Key__c\n";
    let spread: String = (0..10_001).map(|row| format!("o{row},p\n")).collect();
    let (job, info) = world.run("Order__c", "upsert", Some("Order_Key__c"), &format!("{head}{spread}")).await;
    assert_eq!(info["numberRecordsFailed"], 1);
    let failed = world.rows(&job, "failedResults", "Order_Key__c").await;
    assert!(
        failed["o10000"]["sf__Error"].starts_with("UNABLE_TO_LOCK_ROW:unable to obtain exclusive access")
    );
    let sorted: String =
        (0..10_001).map(|row| format!("o{row},{}\n", if row < 10_000 { "p" } else { "q" })).collect();
    let (_, info) = world.run("Order__c", "upsert", Some("Order_Key__c"), &format!("{head}{sorted}")).await;
    assert_eq!(info["numberRecordsFailed"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_refused_as_scripted() {
    let world = World::new(OrgConfig { foreign_messages: true, ..OrgConfig::default() }).await;
    world.org.refuse(Refusal {
        object: "Account".to_owned(),
        field: "Customer_Key__c".to_owned(),
        value: "k2".to_owned(),
        code: "UNABLE_TO_LOCK_ROW".to_owned(),
        message: "unable to obtain exclusive access".to_owned(),
        times: 1,
    });
    let csv = "Customer_Key__c,Name\nk1,A\nk2,B\n";
    let (job, _) = world.run("Account", "upsert", KEY, csv).await;
    let failed = world.rows(&job, "failedResults", "Customer_Key__c").await;
    assert_eq!(errors(&failed).into_keys().collect::<Vec<_>>(), ["k2"]);
    assert!(failed["k2"]["sf__Error"].starts_with("UNABLE_TO_LOCK_ROW:レコード"));
    let (_, info) = world.run("Account", "upsert", KEY, csv).await;
    assert_eq!(info["numberRecordsFailed"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn describe_shows_what_the_user_may_see() {
    let mut config = OrgConfig::default();
    config.schema.field_mut("Account", "Phone").hidden = true;
    let world = World::new(config).await;
    let (_, account) = world.get("/sobjects/Account/describe/").await;
    let field = |name: &str| account["fields"].as_array().unwrap().iter().find(|field| field["name"] == name);
    assert!(field("Phone").is_none());
    let key = field("Customer_Key__c").unwrap();
    for (attribute, value) in [
        ("type", json!("string")),
        ("externalId", json!(true)),
        ("unique", json!(true)),
        ("caseSensitive", json!(false)),
        ("idLookup", json!(true)),
        ("length", json!(20)),
        ("createable", json!(true)),
        ("nillable", json!(true)),
    ] {
        assert_eq!(key[attribute], value, "{attribute}");
    }
    let revenue = field("AnnualRevenue").unwrap();
    assert_eq!((&revenue["precision"], &revenue["scale"]), (&json!(18), &json!(2)));
    assert_eq!(field("Market_Segment__c").unwrap()["picklistValues"].as_array().unwrap().len(), 5);
    let (_, task) = world.get("/sobjects/task/describe").await;
    let what = task["fields"].as_array().unwrap().iter().find(|field| field["name"] == "WhatId").unwrap();
    assert_eq!(
        (&what["referenceTo"], &what["relationshipName"]),
        (&json!(["Account", "Order__c"]), &json!("What"))
    );
    let (status, body) = world.get("/sobjects/Nothing/describe").await;
    assert_eq!((status, body[0]["errorCode"].as_str()), (404, Some("NOT_FOUND")));
    let (_, info) = world.run("Account", "upsert", KEY, "Customer_Key__c,Phone\nk,1\n").await;
    assert_eq!(info["errorMessage"], "InvalidBatch : Field name not found : Phone");
}

#[tokio::test(flavor = "multi_thread")]
async fn collections_answer_in_request_order() {
    let world = World::new(OrgConfig::default()).await;
    let body = json!({"allOrNone": false, "records": [
        {"attributes": {"type": "Account"}, "Customer_Key__c": "a", "Name": "A", "AnnualRevenue": 1_234_567.89},
        {"attributes": {"type": "Account"}, "Customer_Key__c": "b"},
        {"attributes": {"type": "Account"}, "Customer_Key__c": "c", "Name": "C", "Nope__c": 1},
    ]});
    let path = "/composite/sobjects/Account/Customer_Key__c";
    let (status, results) = world.call(Method::PATCH, path, Some(&body)).await;
    assert_eq!((status, &results[0]["created"], &results[0]["success"]), (200, &json!(true), &json!(true)));
    let missing = json!({"success": false, "errors": [{
        "statusCode": "REQUIRED_FIELD_MISSING", "message": "Required fields are missing: [Name]", "fields": ["Name"],
    }]});
    assert_eq!(results[1], missing);
    assert_eq!(results[2]["errors"][0]["statusCode"], "INVALID_FIELD");
    assert_eq!(
        world.org.record_by("Account", "Customer_Key__c", "a").unwrap()["AnnualRevenue"],
        "1234567.89"
    );

    let both = json!({"allOrNone": true, "records": [
        {"attributes": {"type": "Account"}, "Customer_Key__c": "x", "Name": "X"},
        {"attributes": {"type": "Account"}, "Customer_Key__c": "A", "Name": "Y"},
    ]});
    let (_, results) = world.call(Method::POST, "/composite/sobjects", Some(&both)).await;
    let codes = [0, 1].map(|at: usize| results[at]["errors"][0]["statusCode"].as_str().unwrap().to_owned());
    assert_eq!(codes, ["ALL_OR_NONE_OPERATION_ROLLED_BACK", "DUPLICATE_VALUE"]);
    assert_eq!((world.org.count("Account"), world.org.write_counts("Account")), (1, [1, 0, 0]));

    let id = world.org.record_by("Account", "Customer_Key__c", "a").unwrap()["Id"].clone();
    let update = json!({"records": [{"attributes": {"type": "Account"}, "id": id, "Phone": "12", "AnnualRevenue": null}]});
    let (_, results) = world.call(Method::PATCH, "/composite/sobjects", Some(&update)).await;
    assert_eq!(results, json!([{"id": id, "success": true, "errors": []}]));
    let wish = json!({"ids": [id, "0015e00000000zzzzz"], "fields": ["Phone", "AnnualRevenue"]});
    let (_, read) = world.call(Method::POST, "/composite/sobjects/Account", Some(&wish)).await;
    assert_eq!(
        (&read[0]["Phone"], &read[0]["AnnualRevenue"], &read[1]),
        (&json!("12"), &Value::Null, &Value::Null)
    );
    let (_, results) =
        world.call(Method::DELETE, &format!("/composite/sobjects?ids={id}&allOrNone=false"), None).await;
    assert_eq!((&results[0]["success"], world.org.count("Account")), (&json!(true), 0));
    let (status, body) =
        world.call(Method::POST, "/composite/sobjects", Some(&json!({"records": [{"Name": 1}]}))).await;
    assert_eq!((status, body[0]["errorCode"].as_str()), (400, Some("INVALID_TYPE")));
}

#[tokio::test(flavor = "multi_thread")]
async fn single_records_are_reached_by_id_and_by_key() {
    let world = World::new(OrgConfig::default()).await;
    let path = "/sobjects/Account/Customer_Key__c/k%2F1";
    let (status, made) = world.call(Method::PATCH, path, Some(&json!({"Name": "One"}))).await;
    assert_eq!((status, &made["created"]), (201, &json!(true)));
    let order =
        json!({"Order_Key__c": "o", "Account__r": {"Customer_Key__c": "k/1"}, "Total_Price__c": 10000000});
    assert_eq!(world.call(Method::POST, "/sobjects/Order__c", Some(&order)).await.0, 201);
    let (status, made) = world.call(Method::PATCH, path, Some(&json!({"Name": "Two"}))).await;
    assert_eq!((status, &made["created"]), (200, &json!(false)));
    let (_, read) = world.get(path).await;
    assert_eq!((&read["Name"], &read["Id"], &read["Phone"]), (&json!("Two"), &made["id"], &Value::Null));
    let again = json!({"Name": "x", "Customer_Key__c": "k/1"});
    assert_eq!(world.call(Method::PATCH, path, Some(&again)).await.1[0]["errorCode"], "INVALID_FIELD");
    let bad = world.call(Method::PATCH, "/sobjects/Account/Nope__c/1", Some(&json!({}))).await;
    assert_eq!((bad.0, bad.1[0]["errorCode"].as_str()), (404, Some("NOT_FOUND")));
    let soql = "SELECT Order_Key__c, Total_Price__c, Account__r.Name FROM Order__c \
        WHERE Account__r.Customer_Key__c IN ('K/1') AND Total_Price__c > 5 LIMIT 2";
    let url = format!("{}{BASE}/query", world.org.url());
    let response =
        world.client.get(url).bearer_auth(&world.token).query(&[("q", soql)]).send().await.unwrap();
    let text = response.text().await.unwrap();
    assert!(text.contains("\"Total_Price__c\":1.0E7"), "{text}");
    let page: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&page["done"], &page["records"][0]["Account__r"]["Name"]), (&json!(true), &json!("Two")));
    let (status, body) = world.get("/query?q=SELECT+Nope+FROM+Account").await;
    assert_eq!((status, body[0]["errorCode"].as_str()), (400, Some("INVALID_FIELD")));
}

#[tokio::test(flavor = "multi_thread")]
async fn query_jobs_hand_out_pages() {
    let world = World::new(OrgConfig { queued: Pace::polls(1), ..OrgConfig::default() }).await;
    let csv = "Customer_Key__c,Name,AnnualRevenue\na,\"A \"\"x\"\"\",12345678\nb,B,\nc,C,1\n";
    world.run("Account", "upsert", KEY, csv).await;
    let wish =
        json!({"operation": "query", "query": "SELECT Customer_Key__c, Name, AnnualRevenue FROM Account"});
    let (_, job) = world.call(Method::POST, "/jobs/query", Some(&wish)).await;
    assert_eq!(job["state"], "UploadComplete");
    let path = format!("/jobs/query/{}", job["id"].as_str().unwrap());
    while world.get(&path).await.1["state"] != "JobComplete" {}
    let page = world.send(Method::GET, &format!("{path}/results?maxRecords=2"), None).await;
    let locator = page.headers()["sforce-locator"].to_str().unwrap().to_owned();
    assert_eq!(page.headers()["sforce-numberofrecords"], "2");
    let text = page.text().await.unwrap();
    assert_eq!(
        text,
        "\"Customer_Key__c\",\"Name\",\"AnnualRevenue\"\n\"a\",\"A \"\"x\"\"\",\"1.2345678E7\"\n\"b\",\"B\",\"\"\n"
    );
    let page = world.send(Method::GET, &format!("{path}/results?maxRecords=2&locator={locator}"), None).await;
    assert_eq!(page.headers()["sforce-locator"], "null");
    assert_eq!(page.text().await.unwrap().lines().count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_hide_what_has_happened() {
    let world = World::new(OrgConfig::default()).await;
    let job = world.create("Account", "upsert", KEY).await;
    world.upload(&job, "Customer_Key__c,Name\nk,N\n").await;
    let path = format!("{BASE}/jobs/ingest/{job}");
    world.org.faults().add(Rule::on("PATCH", &path, Action::DropAfter));
    world.org.faults().add(Rule::on(
        "GET",
        &path,
        Action::Respond(Answer::new(503, "<html>maintenance</html>")),
    ));
    let url = format!("{}{path}", world.org.url());
    let close = world.client.patch(&url).bearer_auth(&world.token).json(&json!({"state": "UploadComplete"}));
    assert!(close.send().await.is_err());
    assert_eq!(world.get(&format!("/jobs/ingest/{job}")).await, (503, Value::Null));
    assert_eq!(world.ended(&job).await["state"], "JobComplete");
    assert_eq!((world.org.count("Account"), world.org.faults().pending()), (1, 0));
    assert!(world.org.request_counts()["PATCH /jobs/ingest/{id}"] == 1);
}

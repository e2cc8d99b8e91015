//! Ingest jobs from creation to their end, and what happens to their rows.

use std::collections::BTreeMap;
use std::time::Duration;

use emulators::salesforce::{OrgConfig, Pace};
use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{KEY, World, errors};

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
async fn a_new_job_shows_what_clients_read() {
    let world = World::with(|_| {}).await;
    let wish = json!({
        "object": "account", "operation": "upsert", "externalIdFieldName": "Customer_Key__c",
        "columnDelimiter": "PIPE", "lineEnding": "CRLF", "contentType": "CSV",
    });
    let (status, job) = world.call(Method::POST, "/jobs/ingest", Some(&wish)).await;
    let id = job["id"].as_str().unwrap();
    let expected = [
        ("state", json!("Open")),
        ("object", json!("Account")),
        ("operation", json!("upsert")),
        ("externalIdFieldName", json!("Customer_Key__c")),
        ("concurrencyMode", json!("Parallel")),
        ("contentType", json!("CSV")),
        ("columnDelimiter", json!("PIPE")),
        ("lineEnding", json!("CRLF")),
        ("apiVersion", json!(66.0)),
        ("contentUrl", json!(format!("services/data/v66.0/jobs/ingest/{id}/batches"))),
    ];
    for (name, value) in expected {
        assert_eq!((status, &job[name]), (200, &value), "{name}");
    }
    assert!(job["createdDate"].as_str().unwrap().ends_with("+0000"));
    assert!(job.get("numberRecordsProcessed").is_none());
    let bad = json!({"object": "Account", "operation": "insert", "lineEnding": "CR"});
    assert_eq!(world.call(Method::POST, "/jobs/ingest", Some(&bad)).await.1[0]["errorCode"], "INVALIDJOB");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poller_sees_every_state() {
    let config = OrgConfig { queued: Pace::polls(2), running: Pace::polls(2), ..OrgConfig::default() };
    let world = World::new(config).await;
    let job = world.create("Account", "insert", None).await;
    world.upload(&job, "Name\nN\n").await;
    world.set_state(&job, "UploadComplete").await;
    let mut seen: Vec<String> = Vec::new();
    while seen.last().is_none_or(|state| state != "JobComplete") {
        let (_, info) = world.get(&format!("/jobs/ingest/{job}")).await;
        seen.push(info["state"].as_str().unwrap().to_owned());
        let counted = info.get("numberRecordsProcessed").is_some();
        assert_eq!(counted, info["state"] != "UploadComplete", "{info}");
    }
    seen.dedup();
    assert_eq!(seen, ["UploadComplete", "InProgress", "JobComplete"]);
    let later = OrgConfig { queued: Pace::delay(Duration::from_millis(30)), ..OrgConfig::default() };
    let world = World::new(later).await;
    let job = world.create("Account", "insert", None).await;
    world.set_state(&job, "UploadComplete").await;
    assert_eq!(world.get(&format!("/jobs/ingest/{job}")).await.1["state"], "UploadComplete");
    let info = world.ended(&job).await;
    assert_eq!((&info["state"], &info["numberRecordsProcessed"]), (&json!("JobComplete"), &json!(0)));
}

/// A body of two parts, as the vendor's guide shows it.
fn form(job: &Value, content: &str) -> String {
    format!(
        "--BOUNDARY\r\nContent-Type: application/json\r\nContent-Disposition: form-data; name=\"job\"\r\n\r\n{job}\r\n\
         --BOUNDARY\r\nContent-Type: text/csv\r\n\
         Content-Disposition: form-data; name=\"content\"; filename=\"content\"\r\n\r\n{content}\r\n--BOUNDARY--\r\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_may_come_with_its_data() {
    let world = World::with(|_| {}).await;
    let post = async |body: String| {
        let post = world.request(Method::POST, "/services/data/v66.0/jobs/ingest");
        let post = post.header("content-type", "multipart/form-data; boundary=BOUNDARY").body(body);
        let response = post.send().await.unwrap();
        (response.status().as_u16(), response.json::<Value>().await.unwrap())
    };
    let wish = json!({"object": "Account", "operation": "upsert", "externalIdFieldName": "Customer_Key__c"});
    let (status, job) = post(form(&wish, "Customer_Key__c,Name\nk,\"N\n--B\"\n")).await;
    assert_eq!((status, job["state"].as_str()), (200, Some("UploadComplete")), "{job}");
    let id = job["id"].as_str().unwrap();
    assert_eq!(world.ended(id).await["state"], "JobComplete");
    assert_eq!(world.org.record_by("Account", "Customer_Key__c", "k").unwrap()["Name"], "N\n--B");
    assert_eq!(world.upload(id, "Name\nN\n").await.0, 400);
    let long = format!("Name\n{}\n", "x".repeat(100_000));
    for body in [form(&wish, &long), "--BOUNDARY--".to_owned(), String::new()] {
        let (status, refused) = post(body).await;
        assert_eq!((status, refused[0]["errorCode"].as_str()), (400, Some("CLIENTINPUTERROR")));
    }
    assert_eq!(world.org.jobs().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn unique_values_and_lengths_are_kept_row_by_row() {
    let world = World::with(|_| {}).await;
    world.run("Account", "insert", None, "Customer_Key__c,Name\nk1,One\n").await;
    let long = "x".repeat(256);
    let csv =
        format!("Customer_Key__c,Name,Phone,Id\nK1,Same,,\nk2,{long},,\nk3,Three,#N/A,\nk4,Four,,{long}\n");
    let (job, info) = world.run("Account", "insert", None, &csv).await;
    assert_eq!((&info["numberRecordsProcessed"], &info["numberRecordsFailed"]), (&json!(4), &json!(3)));
    let failed = world.rows(&job, "failedResults", "Customer_Key__c").await;
    let codes: Vec<&str> =
        errors(&failed).into_values().map(|text| text.split(':').next().unwrap()).collect();
    assert_eq!(codes, ["DUPLICATE_VALUE", "STRING_TOO_LONG", "INVALID_FIELD_FOR_INSERT_UPDATE"]);
    assert!(
        failed["K1"]["sf__Error"]
            .contains("duplicate value found: Customer_Key__c duplicates value on record")
    );
    // A key that comes again in another chunk of 200 meets the record that the first one made.
    let rows: String = (0..200).map(|row| format!("c{row},N\n")).collect();
    let csv = format!("Customer_Key__c,Name\n{rows}c0,Again\n");
    let (_, info) = world.run("Account", "upsert", KEY, &csv).await;
    assert_eq!(info["numberRecordsFailed"], 0);
    assert_eq!(world.org.record_by("Account", "Customer_Key__c", "c0").unwrap()["Name"], "Again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_left_open_for_a_day_is_given_up() {
    let mut world = World::with(|_| {}).await;
    let job = world.create("Account", "insert", None).await;
    world.upload(&job, "Name\nN\n").await;
    world.org.advance_clock(Duration::from_secs(24 * 3600 - 60));
    world.login().await;
    assert_eq!(world.get(&format!("/jobs/ingest/{job}")).await.1["state"], "Open");
    world.org.advance_clock(Duration::from_secs(60));
    assert_eq!(world.get(&format!("/jobs/ingest/{job}")).await.1["state"], "Aborted");
    assert_eq!(world.text(&job, "unprocessedrecords").await, "Name\n\"N\"\n");
    assert_eq!(world.set_state(&job, "UploadComplete").await.1[0]["errorCode"], "INVALIDJOBSTATE");
}

//! Login, describe and Bulk API 2.0 as their documentation tells them.
#![allow(clippy::unwrap_used)]

#[path = "../../http/tests/support/mod.rs"]
mod support;

use backhaul_salesforce::{
    ApiUsage, Client, Collection, CollectionOperation, JobState, NewJob, ResultSet, Secret,
};
use bytes::Bytes;
use engine::{Class, Failure};
use futures_util::stream;
use http_client::RetryPolicy;
use serde_json::json;
use support::{Answer, Seen, Vendor, claims, key};

const ID: &str = "7505e00000EXMPLAA4";
const JOB: &str = "/services/data/v66.0/jobs/ingest/7505e00000EXMPLAA4";
const LOGIN: &str = "POST /services/oauth2/token";

fn client(login_url: &str) -> Client {
    let secret = json!({
        "login_url": login_url, "client_id": "3MVG9", "username": "loader@acme.example", "private_key": key().0
    });
    let secret: Secret = serde_json::from_value(secret).unwrap();
    Client::with_retry(secret, RetryPolicy::immediate()).unwrap()
}

/// An org that logs in whoever comes, with tokens `token-1`, `token-2`, …, and answers the rest by script.
async fn org(answers: impl IntoIterator<Item = Answer>) -> (Client, Vendor) {
    let mut answers = answers.into_iter().collect::<Vec<_>>().into_iter();
    org_with(move |_| answers.next().unwrap_or_else(|| Answer::new(400, &[], "the script is over"))).await
}

async fn org_with(mut answer: impl FnMut(&Seen) -> Answer + Send + 'static) -> (Client, Vendor) {
    let mut logins = 0;
    let vendor = Vendor::start(move |seen| {
        if seen.target != "/services/oauth2/token" {
            return answer(seen);
        }
        logins += 1;
        let token = format!("00DMARKED!token-{logins}");
        let instance = format!("http://{}", seen.headers["host"]);
        Answer::json(200, json!({"access_token": token, "instance_url": instance, "token_type": "Bearer"}))
    })
    .await;
    (client(&vendor.base), vendor)
}

fn error(status: u16, code: &str) -> Answer {
    Answer::json(status, json!([{"errorCode": code, "message": "why\nnot"}]))
}

fn job(state: &str) -> Answer {
    Answer::json(200, json!({"id": ID, "state": state, "object": "Account", "apiVersion": 66.0}))
}

/// The calls after the first login.
fn calls(vendor: &Vendor) -> Vec<String> {
    let calls = vendor.calls();
    assert_eq!(calls[0], LOGIN);
    calls[1..].to_vec()
}

#[tokio::test]
async fn the_assertion_names_app_user_and_audience() {
    let (client, vendor) = org([job("Open")]).await;
    client.job(ID).await.unwrap();
    let seen = vendor.seen();
    let form = String::from_utf8(seen[0].body.clone()).unwrap();
    let (grant, assertion) = form.split_once("&assertion=").unwrap();
    assert_eq!(grant, "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer");
    let claims = claims(assertion);
    assert_eq!((&claims["iss"], &claims["sub"]), (&json!("3MVG9"), &json!("loader@acme.example")));
    assert_eq!(claims["aud"], json!(vendor.base));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let exp = claims["exp"].as_u64().unwrap();
    assert!(exp > now + 60 && exp <= now + 180, "{claims}");
    assert_eq!(seen[1].headers["authorization"], "Bearer 00DMARKED!token-1");
    assert_eq!(seen[1].headers["sforce-call-options"], "client=Backhaul");
}

#[tokio::test]
async fn refused_logins_are_told_with_advice() {
    for (status, body, class, hint) in [
        (
            400,
            json!({"error": "invalid_grant", "error_description": "user hasn't approved"}),
            Class::Configuration,
            "pre-authorise",
        ),
        (
            400,
            json!({"error": "invalid_client_id", "error_description": "x"}),
            Class::Configuration,
            "client_id",
        ),
        (
            400,
            json!({"error": "invalid_app_access", "error_description": "x"}),
            Class::Configuration,
            "approve",
        ),
        (401, json!({"error": "never_seen"}), Class::Configuration, "login history"),
        (429, json!({"error": "never_seen"}), Class::Quota, "3600"),
        (404, json!({"unexpected": 1}), Class::Configuration, "login_url"),
    ] {
        let vendor = Vendor::start(move |_| Answer::json(status, body.clone())).await;
        let failure = client(&vendor.base).job(ID).await.unwrap_err();
        assert_eq!(failure.class, class, "{failure}");
        assert!(failure.hint.as_deref().unwrap_or_default().contains(hint), "{failure}");
    }
    for status in [420, 503] {
        let vendor = Vendor::start(move |_| Answer::html(status)).await;
        assert_eq!(client(&vendor.base).job(ID).await.unwrap_err().class, Class::Transient);
    }
}

#[tokio::test]
async fn an_instance_without_tls_gets_no_token() {
    let vendor = Vendor::start(|_| {
        Answer::json(200, json!({"access_token": "MARKED", "instance_url": "http://acme.my.salesforce.com"}))
    })
    .await;
    let failure = client(&vendor.base).job(ID).await.unwrap_err();
    assert_eq!(failure.class, Class::Configuration);
    assert!(failure.message.contains("instance_url"), "{failure}");
}

#[tokio::test]
async fn an_ended_session_is_replaced_once() {
    let ended = || error(401, "INVALID_SESSION_ID");
    let (client, vendor) = org([ended(), job("Open"), ended(), ended(), job("Open")]).await;
    assert!(client.job(ID).await.unwrap().is_some());
    let failure = client.job(ID).await.unwrap_err();
    assert_eq!(failure.class, Class::Configuration);
    let get = format!("GET {JOB}");
    assert_eq!(calls(&vendor), [&get, LOGIN, &get, &get, LOGIN, &get]);
    assert_eq!(vendor.seen()[3].headers["authorization"], "Bearer 00DMARKED!token-2");
}

#[tokio::test]
async fn a_header_that_is_not_understood_is_our_fault() {
    let (client, vendor) = org([error(401, "INVALID_AUTH_HEADER")]).await;
    assert_eq!(client.job(ID).await.unwrap_err().class, Class::Bug);
    assert_eq!(calls(&vendor).len(), 1);
}

#[tokio::test]
async fn workers_share_one_login() {
    let (client, vendor) = org_with(|_| job("Open")).await;
    let workers = (0..10).map(|_| client.job(ID));
    assert!(futures_util::future::join_all(workers).await.into_iter().all(|job| job.is_ok()));
    assert_eq!(vendor.calls().iter().filter(|call| *call == LOGIN).count(), 1);
}

#[tokio::test]
async fn describe_tells_fields_and_usage() {
    let object = json!({
        "name": "Account", "createable": true, "updateable": true, "deletable": false, "keyPrefix": "001",
        "fields": [
            {"name": "Ext_Id__c", "type": "string", "length": 80, "externalId": true, "idLookup": true,
             "nillable": true, "createable": true, "updateable": true, "relationshipName": null,
             "referenceTo": [], "picklistValues": [], "caseSensitive": false, "unique": true, "label": "x"},
            {"name": "OwnerId", "type": "reference", "relationshipName": "Owner", "referenceTo": ["User"],
             "picklistValues": [{"value": "a", "active": true, "validFor": null}]}]
    });
    let usage = [("sforce-limit-info", "api-usage=18/5000; per-app-api-usage=17/250(appName=x)")];
    let (client, vendor) = org([Answer::new(200, &usage, object.to_string())]).await;
    assert_eq!(client.usage(), None);
    let described = client.describe("Account").await.unwrap();
    assert!(described.field("Ext_Id__c").unwrap().external_id);
    assert_eq!(described.field("OwnerId").unwrap().reference_to, ["User"]);
    assert_eq!(client.usage(), Some(ApiUsage { used: 18, allowed: 5000 }));
    assert_eq!(calls(&vendor), ["GET /services/data/v66.0/sobjects/Account/describe"]);
}

#[tokio::test]
async fn what_keeps_describe_from_answering() {
    for (answer, class) in [
        (error(404, "NOT_FOUND"), Class::Configuration),
        (Answer::html(404), Class::Configuration),
        (error(403, "REQUEST_LIMIT_EXCEEDED"), Class::Quota),
        (error(403, "API_DISABLED_FOR_ORG"), Class::Configuration),
        (error(503, "SERVER_UNAVAILABLE"), Class::Transient),
        (Answer::html(500), Class::Transient),
        (Answer::html(420), Class::Transient),
        (Answer::html(200), Class::Transient),
    ] {
        let (client, _vendor) = org_with(move |_| answer.clone()).await;
        let failure = client.describe("Nope__c").await.unwrap_err();
        assert_eq!(failure.class, class, "{failure}");
        assert!(!failure.message.contains("<html>") && !failure.message.contains('\n'), "{failure}");
    }
    let (client, vendor) = org([error(404, "NOT_FOUND")]).await;
    let failure = client.describe("Nope__c").await.unwrap_err();
    assert_eq!(failure.message, "object `Nope__c` does not exist or the user cannot see it");
    for object in ["", "a/b", "..", "a?b"] {
        assert_eq!(client.describe(object).await.unwrap_err().class, Class::Configuration);
    }
    assert_eq!(calls(&vendor).len(), 1);
}

#[tokio::test]
async fn a_job_is_created_in_the_documented_words_and_retried() {
    let (client, vendor) = org([Answer::hang_up(), Answer::html(502), job("Open")]).await;
    let new = NewJob {
        object: "Account".to_owned(),
        operation: "upsert".to_owned(),
        external_id: Some("Ext_Id__c".to_owned()),
    };
    let created = client.create_job(&new).await.unwrap();
    assert_eq!((created.id.as_str(), created.state), (ID, JobState::Open));
    assert_eq!(calls(&vendor), ["POST /services/data/v66.0/jobs/ingest"; 3]);
    assert_eq!(
        vendor.seen()[3].json(),
        json!({
            "object": "Account", "operation": "upsert", "externalIdFieldName": "Ext_Id__c",
            "contentType": "CSV", "lineEnding": "LF", "columnDelimiter": "COMMA"
        })
    );
}

#[tokio::test]
async fn what_keeps_a_job_from_being_created() {
    for (answer, class) in [
        (error(400, "INVALIDENTITY"), Class::Configuration),
        (error(400, "EXCEEDEDQUOTA"), Class::Quota),
        (error(400, "TOO_MANY_JOBS"), Class::Quota),
        (error(400, "UNABLE_TO_LOCK_ROW"), Class::Contention),
        (error(400, "FEATURENOTENABLED"), Class::Configuration),
    ] {
        let (client, _vendor) = org([answer]).await;
        let new = NewJob { object: "X".to_owned(), operation: "insert".to_owned(), external_id: None };
        let failure = client.create_job(&new).await.unwrap_err();
        assert_eq!(failure.class, class, "{failure}");
        assert!(failure.message.ends_with(": why not"), "{failure}");
    }
}

fn csv(chunks: &[&'static str]) -> impl futures_util::Stream<Item = Result<Bytes, Failure>> + Send + use<> {
    let chunks: Vec<_> = chunks.iter().map(|chunk| Ok(Bytes::from_static(chunk.as_bytes()))).collect();
    stream::iter(chunks)
}

#[tokio::test]
async fn an_upload_is_sent_with_its_length() {
    let (client, vendor) = org([Answer::new(201, &[], "")]).await;
    client.upload(ID, 8, csv(&["A,B\n", "1,2\n"])).await.unwrap();
    let seen = vendor.seen().remove(1);
    assert_eq!(calls(&vendor), [format!("PUT {JOB}/batches")]);
    assert_eq!(seen.headers["content-type"], "text/csv; charset=UTF-8");
    assert_eq!(seen.headers["content-length"], "8");
    assert_eq!(seen.body, b"A,B\n1,2\n");
}

#[tokio::test]
async fn an_upload_is_never_sent_twice() {
    for (answer, class) in [
        (Answer::hang_up(), Class::Transient),
        (Answer::html(503), Class::Transient),
        (Answer::html(429), Class::Transient),
        (error(401, "INVALID_SESSION_ID"), Class::Transient),
        (error(400, "INVALIDJOBSTATE"), Class::Transient),
        (error(400, "CLIENTINPUTERROR"), Class::Configuration),
        (error(403, "REQUEST_LIMIT_EXCEEDED"), Class::Quota),
    ] {
        let (client, vendor) = org_with(move |_| answer.clone()).await;
        let failure = client.upload(ID, 4, csv(&["A,B\n"])).await.unwrap_err();
        assert_eq!(failure.class, class, "{failure}");
        assert!(!failure.message.contains("why not"), "{failure}");
        assert_eq!(vendor.calls().iter().filter(|call| call.starts_with("PUT")).count(), 1);
    }
}

#[tokio::test]
async fn a_session_that_ended_before_an_upload_is_replaced_for_the_next_job() {
    let (client, vendor) = org([error(401, "INVALID_SESSION_ID"), Answer::new(201, &[], "")]).await;
    client.upload(ID, 4, csv(&["A,B\n"])).await.unwrap_err();
    client.upload(ID, 4, csv(&["A,B\n"])).await.unwrap();
    assert_eq!(vendor.seen().last().unwrap().headers["authorization"], "Bearer 00DMARKED!token-2");
}

#[tokio::test]
async fn a_close_without_an_answer_is_read_back() {
    let (patch, get) = (format!("PATCH {JOB}"), format!("GET {JOB}"));
    let (patch, get) = (patch.as_str(), get.as_str());
    for lost in
        [Answer::hang_up(), Answer::html(503), job("UploadComplete").cut(3), error(400, "INVALIDJOBSTATE")]
    {
        // It took effect.
        let (client, vendor) = org([lost.clone(), job("InProgress")]).await;
        assert_eq!(client.close(ID).await.unwrap().state, JobState::InProgress);
        assert_eq!(calls(&vendor), [patch, get]);
        // It did not: it is sent again.
        let (client, vendor) = org([lost, job("Open"), job("UploadComplete")]).await;
        assert_eq!(client.close(ID).await.unwrap().state, JobState::UploadComplete);
        assert_eq!(calls(&vendor), [patch, get, patch]);
    }
}

#[tokio::test]
async fn a_close_that_cannot_be_settled_says_so() {
    let (client, vendor) =
        org_with(|seen| if seen.method == "PATCH" { Answer::html(503) } else { job("Open") }).await;
    assert_eq!(client.close(ID).await.unwrap_err().class, Class::Transient);
    assert_eq!(calls(&vendor).iter().filter(|call| call.starts_with("PATCH")).count(), 3);
    let (client, vendor) = org([error(403, "REQUEST_LIMIT_EXCEEDED")]).await;
    assert_eq!(client.close(ID).await.unwrap_err().class, Class::Quota);
    assert_eq!(calls(&vendor).len(), 1);
    let (client, _vendor) = org([Answer::html(503), error(404, "NOT_FOUND")]).await;
    assert_eq!(client.close(ID).await.unwrap_err().class, Class::Transient);
}

#[tokio::test]
async fn a_close_says_what_it_wants() {
    let (client, vendor) = org([job("UploadComplete")]).await;
    client.close(ID).await.unwrap();
    assert_eq!(vendor.seen()[1].json(), json!({"state": "UploadComplete"}));
}

#[tokio::test]
async fn an_abort_tolerates_what_cannot_be_aborted() {
    for answer in [job("Aborted"), error(400, "INVALIDJOBSTATE"), error(404, "NOT_FOUND")] {
        let (client, vendor) = org([Answer::html(503), answer]).await;
        client.abort(ID).await.unwrap();
        assert_eq!(vendor.seen()[2].json(), json!({"state": "Aborted"}));
    }
    let (client, _vendor) = org([error(403, "INSUFFICIENT_ACCESS")]).await;
    assert_eq!(client.abort(ID).await.unwrap_err().class, Class::Configuration);
}

#[tokio::test]
async fn a_job_that_is_gone_is_none_but_a_lost_org_is_not() {
    let (client, _vendor) = org([error(404, "NOT_FOUND"), Answer::html(404)]).await;
    assert_eq!(client.job(ID).await.unwrap(), None);
    assert_eq!(client.job(ID).await.unwrap_err().class, Class::Configuration);
    assert_eq!(client.job("../x").await.unwrap_err().class, Class::Bug);
}

#[tokio::test]
async fn results_are_unpacked_and_an_empty_set_has_three_faces() {
    use std::io::Write;
    let pack = |text: &[u8]| {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(text).unwrap();
        packed.finish().unwrap()
    };
    let text = "\"sf__Id\",\"sf__Created\",Ext_Id__c\n\"001\",\"true\",\"A-1\"\n";
    let zipped = [("content-type", "text/csv"), ("content-encoding", "gzip")];
    let (client, vendor) = org([
        Answer::new(200, &zipped, pack(text.as_bytes())),
        Answer::new(200, &[("content-type", "text/csv")], text),
        Answer::new(204, &[], ""),
        Answer::new(200, &zipped, pack(b"")),
    ])
    .await;
    for set in [ResultSet::Success, ResultSet::Failed] {
        let body = client.results(ID, set).await.unwrap().unwrap();
        assert_eq!(body.bytes(1000).await.unwrap(), text);
    }
    for _ in 0..2 {
        assert!(client.results(ID, ResultSet::Unprocessed).await.unwrap().is_none());
    }
    let path = |name: &str| format!("GET {JOB}/{name}");
    let unprocessed = path("unprocessedrecords");
    assert_eq!(
        calls(&vendor),
        [path("successfulResults"), path("failedResults"), unprocessed.clone(), unprocessed]
    );
    let headers = &vendor.seen()[1].headers;
    assert_eq!((headers["accept"].as_str(), headers["accept-encoding"].as_str()), ("text/csv", "gzip"));
}

#[tokio::test]
async fn results_that_are_not_whole_are_transient() {
    let csv = [("content-type", "text/csv")];
    let (client, _vendor) = org([Answer::new(200, &csv, "x".repeat(1000)).cut(1), Answer::html(200)]).await;
    let body = client.results(ID, ResultSet::Success).await.unwrap().unwrap();
    assert_eq!(body.bytes(2000).await.unwrap_err().class, Class::Transient);
    assert_eq!(client.results(ID, ResultSet::Success).await.unwrap_err().class, Class::Transient);
    let (client, _vendor) = org([error(404, "NOT_FOUND")]).await;
    assert_eq!(client.results(ID, ResultSet::Failed).await.unwrap_err().class, Class::Configuration);
}

#[tokio::test]
async fn limits_are_read_out_of_many() {
    let body = json!({
        "DailyApiRequests": {"Max": 100_000, "Remaining": 99_213, "Some App": {"Max": 0, "Remaining": 0}},
        "DailyBulkApiBatches": {"Max": 15_000, "Remaining": 14_990}, "DataStorageMB": {"Max": 5, "Remaining": 1},
    });
    let few = json!({"DailyApiRequests": {"Max": 10, "Remaining": 0}});
    let (client, vendor) = org([Answer::json(200, body), Answer::json(200, few)]).await;
    let limits = client.limits().await.unwrap();
    assert_eq!((limits.api_calls.max, limits.api_calls.remaining), (100_000, 99_213));
    assert_eq!(limits.batches.map(|batches| batches.remaining), Some(14_990));
    assert_eq!(client.limits().await.unwrap().batches, None);
    assert_eq!(calls(&vendor), ["GET /services/data/v66.0/limits", "GET /services/data/v66.0/limits"]);
    assert_eq!(client.calls(), 3, "the login counts");
}

fn collection(operation: CollectionOperation) -> Collection {
    Collection { object: "Account".to_owned(), operation }
}

#[tokio::test]
async fn each_collection_call_has_its_form_and_is_sent_once() {
    use CollectionOperation::{Delete, Insert, Update, Upsert};
    let upsert = Upsert { external_id: "Ext_Id__c".to_owned() };
    let records = Bytes::from_static(br#"{"allOrNone":false,"records":[]}"#);
    for (operation, body, call) in [
        (Insert, records.clone(), "POST /services/data/v66.0/composite/sobjects"),
        (Update, records.clone(), "PATCH /services/data/v66.0/composite/sobjects"),
        (upsert, records.clone(), "PATCH /services/data/v66.0/composite/sobjects/Account/Ext_Id__c"),
        (
            Delete,
            Bytes::from_static(br#"["001A","001B"]"#),
            "DELETE /services/data/v66.0/composite/sobjects?ids=001A%2C001B&allOrNone=false",
        ),
    ] {
        let (client, vendor) = org([Answer::json(200, json!([]))]).await;
        let answer = client.write_collection(&collection(operation.clone()), body.clone()).await.unwrap();
        assert_eq!(&answer[..], b"[]");
        assert_eq!(calls(&vendor), [call]);
        if operation != Delete {
            assert_eq!(vendor.seen()[1].body, body);
        }
        for lost in [Answer::hang_up(), Answer::html(503), Answer::json(200, json!([1, 2, 3])).cut(3)] {
            let (client, vendor) = org([lost]).await;
            let failure =
                client.write_collection(&collection(operation.clone()), body.clone()).await.unwrap_err();
            assert_eq!((failure.class, calls(&vendor).len()), (Class::Transient, 1), "{failure}");
        }
    }
}

#[tokio::test]
async fn a_collection_call_goes_once_more_when_the_session_had_ended() {
    let (client, vendor) = org([error(401, "INVALID_SESSION_ID"), Answer::json(200, json!([]))]).await;
    client.write_collection(&collection(CollectionOperation::Insert), Bytes::new()).await.unwrap();
    assert_eq!(calls(&vendor).len(), 3, "the call, a login, the call");
    let refused = json!([{"errorCode": "INVALID_FIELD", "message": "MARKED is no field"}]);
    let (client, _) = org([Answer::json(400, refused)]).await;
    let failure =
        client.write_collection(&collection(CollectionOperation::Insert), Bytes::new()).await.unwrap_err();
    assert_eq!(failure.class, Class::Configuration);
    assert!(!failure.to_string().contains("MARKED"), "a message may quote records: {failure}");
}

#[tokio::test]
async fn a_query_reads_all_of_its_pages() {
    let page = |next: Option<&str>, id: &str| {
        Answer::json(200, json!({"done": next.is_none(), "nextRecordsUrl": next, "records": [{"Id": id}]}))
    };
    let next = "/services/data/v66.0/query/01gXX-2000";
    let (client, vendor) =
        org([error(503, "SERVER_UNAVAILABLE"), page(Some(next), "1"), page(None, "2")]).await;
    let records = client.query("SELECT Id FROM Account WHERE Name = 'a b'").await.unwrap();
    assert_eq!(
        records.iter().map(|record| record.get()).collect::<Vec<_>>(),
        [r#"{"Id":"1"}"#, r#"{"Id":"2"}"#]
    );
    let first = "GET /services/data/v66.0/query?q=SELECT+Id+FROM+Account+WHERE+Name+%3D+%27a+b%27";
    assert_eq!(calls(&vendor), [first, first, &format!("GET {next}")]);
    let long = client.query(&"x".repeat(20_000)).await.unwrap_err();
    assert_eq!(long.class, Class::Bug);
}

//! Queries: cursors and query jobs.

use std::time::Duration;

use emulators::salesforce::{Limits, OrgConfig, Pace};
use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{BASE, KEY, World};

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

/// A world with so many accounts.
async fn with_accounts(count: usize, config: OrgConfig) -> World {
    let world = World::new(config).await;
    let row = |n: usize| [("Name".to_owned(), format!("Account {n:04}"))].into_iter().collect();
    world.org.seed("Account", &(0..count).map(row).collect::<Vec<_>>()).unwrap();
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn query_all_sees_what_was_deleted() {
    let world = with_accounts(450, OrgConfig::default()).await;
    let id = world.org.records("Account")[0]["Id"].clone();
    assert_eq!(world.call(Method::DELETE, &format!("/sobjects/Account/{id}"), None).await.0, 204);
    let soql = "q=SELECT+Id,IsDeleted+FROM+Account";
    let (_, live) = world.get(&format!("/query?{soql}")).await;
    assert_eq!((&live["totalSize"], &live["done"]), (&json!(449), &json!(true)));
    let ask = world.request(Method::GET, &format!("{BASE}/queryAll?{soql}"));
    let page: Value =
        ask.header("sforce-query-options", "batchSize=200").send().await.unwrap().json().await.unwrap();
    assert_eq!((&page["totalSize"], &page["done"]), (&json!(450), &json!(false)));
    assert_eq!(page["records"][0]["IsDeleted"], true);
    let mut next = page["nextRecordsUrl"].as_str().unwrap().to_owned();
    let mut seen = page["records"].as_array().unwrap().len();
    loop {
        let page: Value = world.request(Method::GET, &next).send().await.unwrap().json().await.unwrap();
        seen += page["records"].as_array().unwrap().len();
        match page["nextRecordsUrl"].as_str() {
            Some(url) => next = url.to_owned(),
            None => break,
        }
    }
    assert_eq!(seen, 450);
    let wish = json!({"operation": "queryAll", "query": "SELECT Id FROM Account"});
    let (_, job) = world.call(Method::POST, "/jobs/query", Some(&wish)).await;
    let (_, job) = world.get(&format!("/jobs/query/{}", job["id"].as_str().unwrap())).await;
    assert_eq!((&job["numberRecordsProcessed"], &job["jobType"]), (&json!(450), &json!("V2Query")));
}

#[tokio::test(flavor = "multi_thread")]
async fn cursors_live_for_two_days() {
    let mut world = with_accounts(2_001, OrgConfig::default()).await;
    let (_, page) = world.get("/query?q=SELECT+Id+FROM+Account").await;
    let next = page["nextRecordsUrl"].as_str().unwrap().strip_prefix(BASE).unwrap().to_owned();
    assert_eq!(world.get(&next).await.1["records"].as_array().unwrap().len(), 1);
    world.org.advance_clock(Duration::from_secs(48 * 3600));
    world.login().await;
    let (status, body) = world.get(&next).await;
    assert_eq!((status, body[0]["errorCode"].as_str()), (400, Some("INVALID_QUERY_LOCATOR")));
}

#[tokio::test(flavor = "multi_thread")]
async fn query_jobs_tell_every_page_and_guard_their_states() {
    let limits = Limits { daily_query_jobs: 2, ..Limits::default() };
    let world = with_accounts(3, OrgConfig { limits, queued: Pace::polls(1), ..OrgConfig::default() }).await;
    let wish = json!({"operation": "query", "query": "SELECT Id FROM Account"});
    let (_, job) = world.call(Method::POST, "/jobs/query", Some(&wish)).await;
    let path = format!("/jobs/query/{}", job["id"].as_str().unwrap());
    assert_eq!(world.get(&format!("{path}/results")).await.1[0]["errorCode"], "INVALIDJOBSTATE");
    assert_eq!(world.call(Method::DELETE, &path, None).await.1[0]["errorCode"], "API_ERROR");
    while world.get(&path).await.1["state"] != "JobComplete" {}
    let whole = world.send(Method::GET, &format!("{path}/results"), None).await;
    assert_eq!(whole.headers()["sforce-locator"], "null");
    assert_eq!(whole.headers()["sforce-numberofrecords"], "3");
    let (_, pages) = world.get(&format!("{path}/resultPages")).await;
    assert_eq!((&pages["done"], &pages["nextRecordsUrl"]), (&json!(true), &Value::Null));
    let url = pages["resultPages"][0]["resultUrl"].as_str().unwrap();
    let page = world.request(Method::GET, url).send().await.unwrap().text().await.unwrap();
    assert_eq!(page.lines().count(), 4);
    let other = world.request(Method::GET, &format!("/services/data/v60.0{path}")).send().await.unwrap();
    assert_eq!(other.status(), 409);
    let abort = Some(&json!({"state": "Aborted"})).cloned();
    assert_eq!(world.call(Method::PATCH, &path, abort.as_ref()).await.1[0]["errorCode"], "INVALIDJOBSTATE");
    assert_eq!(world.call(Method::DELETE, &path, None).await.0, 204);
    assert_eq!(world.get(&path).await.0, 404);

    let (_, job) = world.call(Method::POST, "/jobs/query", Some(&wish)).await;
    let path = format!("/jobs/query/{}", job["id"].as_str().unwrap());
    assert_eq!(world.call(Method::PATCH, &path, abort.as_ref()).await.1["state"], "Aborted");
    assert_eq!(world.call(Method::POST, "/jobs/query", Some(&wish)).await.1[0]["errorCode"], "EXCEEDEDQUOTA");
    let count = json!({"operation": "query", "query": "SELECT COUNT() FROM Account"});
    assert_eq!(world.call(Method::POST, "/jobs/query", Some(&count)).await.1[0]["errorCode"], "API_ERROR");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_pages_are_told_five_at_a_time() {
    let world = with_accounts(0, OrgConfig { audit_limit: 0, ..OrgConfig::default() }).await;
    let row = [("Name".to_owned(), "N".to_owned())].into_iter().collect();
    world.org.seed("Account", &vec![row; 250_001]).unwrap();
    let wish = json!({"operation": "query", "query": "SELECT Id FROM Account"});
    let (_, job) = world.call(Method::POST, "/jobs/query", Some(&wish)).await;
    let path = format!("/jobs/query/{}", job["id"].as_str().unwrap());
    assert_eq!(world.get(&path).await.1["state"], "JobComplete");
    let (_, first) = world.get(&format!("{path}/resultPages")).await;
    assert_eq!((first["resultPages"].as_array().unwrap().len(), &first["done"]), (5, &json!(false)));
    let next = first["nextRecordsUrl"].as_str().unwrap().strip_prefix(BASE).unwrap().to_owned();
    let (_, last) = world.get(&next).await;
    assert_eq!((last["resultPages"].as_array().unwrap().len(), &last["done"]), (1, &json!(true)));
    let url = last["resultPages"][0]["resultUrl"].as_str().unwrap();
    let page = world.request(Method::GET, url).send().await.unwrap();
    assert_eq!(page.headers()["sforce-numberofrecords"], "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_asks_what_kind_of_org_this_is_finds_out() {
    let world = World::with(|_| {}).await;
    let soql = "SELECT+Name,+InstanceName,+IsSandbox,+TrialExpirationDate,+NamespacePrefix,+OrganizationType+FROM+\
        Organization";
    let (_, page) = world.get(&format!("/query?q={soql}")).await;
    let org = &page["records"][0];
    assert_eq!((&page["totalSize"], &org["IsSandbox"]), (&json!(1), &json!(false)));
    assert_eq!(
        (&org["OrganizationType"], &org["NamespacePrefix"]),
        (&json!("Developer Edition"), &Value::Null)
    );
    let (status, body) = world.get("/query?q=SELECT%20Id%20FROM%20ScratchOrgInfo%20limit%201").await;
    assert_eq!((status, body[0]["errorCode"].as_str()), (400, Some("INVALID_TYPE")));
}

//! Allocations and locks.

use std::time::Duration;

use emulators::salesforce::{Limits, OrgConfig};
use reqwest::Method;
use serde_json::json;

use crate::world::{KEY, World};

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
async fn jobs_of_one_parent_collide_and_shards_do_not() {
    let config = OrgConfig { parallel_batches: 2, hold_after_batches: Some(1), ..OrgConfig::default() };
    let world = World::new(config).await;
    world.run("Account", "upsert", KEY, "Customer_Key__c,Name\np,Parent\nq,Other\n").await;
    let head = "Order_Key__c,Account__r.Customer_Key__c\n";
    let rows: String = (0..10_001).map(|row| format!("o{row},p\n")).collect();
    let first = world.create("Order__c", "upsert", Some("Order_Key__c")).await;
    world.upload(&first, &format!("{head}{rows}")).await;
    world.set_state(&first, "UploadComplete").await;
    while world.org.count("Order__c") < 10_000 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    // The first job stands still in the middle of its rows and holds their parent.
    let (_, same) = world.run("Order__c", "upsert", Some("Order_Key__c"), &format!("{head}x,p\n")).await;
    let (_, other) = world.run("Order__c", "upsert", Some("Order_Key__c"), &format!("{head}y,q\n")).await;
    assert_eq!((&same["numberRecordsFailed"], &other["numberRecordsFailed"]), (&json!(1), &json!(0)));
    world.org.release_jobs();
    world.ended(&first).await;
    let (_, after) = world.run("Order__c", "upsert", Some("Order_Key__c"), &format!("{head}x,p\n")).await;
    assert_eq!(after["numberRecordsFailed"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn allocations_come_back_after_a_day() {
    let limits = Limits { daily_batches: 1, daily_api_requests: 30, logins_per_hour: 2, ..Limits::default() };
    let mut world = World::new(OrgConfig { limits, ..OrgConfig::default() }).await;
    world.run("Account", "upsert", KEY, "Customer_Key__c,Name\nk,N\n").await;
    let (_, left) = world.get("/limits").await;
    assert_eq!(left["DailyBulkApiBatches"], json!({"Max": 1, "Remaining": 0}));
    while world.get("/limits").await.0 == 200 {}
    assert_eq!(world.token(|_| {}).await.0, 200);
    assert_eq!(world.token(|_| {}).await.0, 400);
    world.org.advance_clock(Duration::from_secs(24 * 3600 + 60));
    world.login().await;
    let (_, left) = world.get("/limits").await;
    assert_eq!(left["DailyBulkApiBatches"], json!({"Max": 1, "Remaining": 1}));
    assert_eq!(left["DailyApiRequests"], json!({"Max": 30, "Remaining": 29}));
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_past_the_allocation_of_the_day_are_not_processed() {
    let limits = Limits { daily_rows: 300, ..Limits::default() };
    let world = World::new(OrgConfig { limits, ..OrgConfig::default() }).await;
    let rows: String = (0..500).map(|row| format!("k{row},N\n")).collect();
    let (job, info) = world.run("Account", "upsert", KEY, &format!("Customer_Key__c,Name\n{rows}")).await;
    assert_eq!((&info["state"], &info["numberRecordsProcessed"]), (&json!("Failed"), &json!(200)));
    assert!(info["errorMessage"].as_str().unwrap().starts_with("ExceededQuota : "));
    assert_eq!(world.text(&job, "successfulResults").await.lines().count(), 201, "what was saved stays");
    assert_eq!(world.text(&job, "unprocessedrecords").await.lines().count(), 301);
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_live_jobs_are_refused() {
    let limits = Limits { live_jobs: 1, ..Limits::default() };
    let world = World::new(OrgConfig { limits, ..OrgConfig::default() }).await;
    let job = world.create("Account", "insert", None).await;
    let wish = json!({"object": "Account", "operation": "insert"});
    let (status, body) = world.call(Method::POST, "/jobs/ingest", Some(&wish)).await;
    assert_eq!((status, body[0]["errorCode"].as_str()), (400, Some("TOO_MANY_JOBS")));
    world.set_state(&job, "Aborted").await;
    world.create("Account", "insert", None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn long_calls_stand_in_the_way_of_others() {
    let limits = Limits { long_calls: 2, ..Limits::default() };
    let world = World::new(OrgConfig { limits, ..OrgConfig::default() }).await;
    let used = async || {
        let refused = world.send(Method::GET, "/limits", None).await;
        (refused.status().as_u16(), refused.json::<serde_json::Value>().await.unwrap())
    };
    world.org.hold_calls();
    let held = async {
        let calls = [world.get("/sobjects"), world.get("/sobjects"), world.get("/sobjects")];
        futures_util::future::join_all(calls).await
    };
    let others = async {
        while world.org.request_counts().get("GET /sobjects") != Some(&3) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        world.org.advance_clock(Duration::from_secs(20));
        let (status, body) = used().await;
        assert_eq!((status, body[0]["errorCode"].as_str()), (403, Some("REQUEST_LIMIT_EXCEEDED")));
        assert!(body[0]["message"].as_str().unwrap().starts_with("ConcurrentRequests"));
        world.org.release_calls();
    };
    let (held, ()) = futures_util::future::join(held, others).await;
    assert!(held.iter().all(|(status, _)| *status == 200));
    assert_eq!(used().await.0, 200);
}

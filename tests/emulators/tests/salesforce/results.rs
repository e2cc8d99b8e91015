//! Result files, and how long jobs can be asked for.

use std::time::Duration;

use emulators::salesforce::{EmptyResults, JobState, OrgConfig};
use reqwest::Method;
use serde_json::json;

use crate::world::{BASE, KEY, World};

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
async fn results_keep_the_layout_of_the_job_and_spell_values_anew() {
    let world = World::with(|_| {}).await;
    let wish =
        json!({"object": "Account", "operation": "insert", "columnDelimiter": "TAB", "lineEnding": "CRLF"});
    let (_, job) = world.call(Method::POST, "/jobs/ingest", Some(&wish)).await;
    let job = job["id"].as_str().unwrap();
    // The second name is in the wrong case: it is written, and does not come back.
    world.upload(job, "Name\tphone\tAnnualRevenue\r\n\"A \"\"b\"\", c\"\t1\t100000000\r\n\t2\t0.5\r\n").await;
    world.set_state(job, "UploadComplete").await;
    world.ended(job).await;
    let id = world.org.records("Account")[0]["Id"].clone();
    let head = "Name\tphone\tAnnualRevenue\r\n";
    assert_eq!(
        world.text(job, "successfulResults").await,
        format!(
            "\"sf__Id\"\t\"sf__Created\"\t{head}\"{id}\"\t\"true\"\t\"A \"\"b\"\", c\"\t\"\"\t\"1.0E8\"\r\n"
        )
    );
    assert_eq!(
        world.text(job, "failedResults").await,
        format!(
            "\"sf__Id\"\t\"sf__Error\"\t{head}\"\"\t\"REQUIRED_FIELD_MISSING:Required fields are missing: [Name]:Name \
             --\"\t\"\"\t\"\"\t\"0.5\"\r\n"
        )
    );
    assert_eq!(world.text(job, "unprocessedrecords").await, head);
    assert_eq!(world.org.records("Account")[0]["Phone"], "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_updates_tell_the_record_from_version_53_on() {
    let world = World::with(|_| {}).await;
    let (job, _) = world.run("Account", "insert", None, "Name\nN\n").await;
    let id = world.rows(&job, "successfulResults", "Name").await["N"]["sf__Id"].clone();
    for (version, head) in [("52.0", "\"sf__Error\",Id,Name"), ("53.0", "\"sf__Id\",\"sf__Error\",Id,Name")] {
        let base = format!("/services/data/v{version}/jobs/ingest");
        let wish = json!({"object": "Account", "operation": "update"});
        let made = world.request(Method::POST, &base).json(&wish).send().await.unwrap();
        let made: serde_json::Value = made.json().await.unwrap();
        let job = made["id"].as_str().unwrap();
        world.upload(job, &format!("Id,Name\n{id},#N/A\n")).await;
        world.set_state(job, "UploadComplete").await;
        world.ended(job).await;
        let text = world.text(job, "failedResults").await;
        assert_eq!(text.lines().next(), Some(head));
        assert_eq!(text.matches(&id).count(), if version == "53.0" { 2 } else { 1 }, "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_seed_decides_the_order() {
    let order = async |seed: u64| {
        let world = World::with(|config| config.seed = seed).await;
        let rows: String = (0..50).map(|row| format!("k{row},N\n")).collect();
        let (job, _) = world.run("Account", "upsert", KEY, &format!("Customer_Key__c,Name\n{rows}")).await;
        let text = world.text(&job, "successfulResults").await;
        text.lines().map(|line| line.split(',').nth(2).unwrap().to_owned()).collect::<Vec<_>>()
    };
    let (first, same, other) = (order(7).await, order(7).await, order(8).await);
    assert_eq!(first, same);
    assert_ne!(first, other);
}

#[tokio::test(flavor = "multi_thread")]
async fn ended_jobs_vanish_after_a_week() {
    let mut world = World::with(|_| {}).await;
    let (job, _) = world.run("Account", "insert", None, "Name\nN\n").await;
    let soql = json!({"operation": "query", "query": "SELECT Id FROM Account"});
    let (_, query) = world.call(Method::POST, "/jobs/query", Some(&soql)).await;
    let query = format!("/jobs/query/{}", query["id"].as_str().unwrap());
    assert_eq!(world.get(&query).await.1["state"], "JobComplete");
    let week = Duration::from_secs(7 * 24 * 3600);
    for (passed, status) in [(week - Duration::from_secs(60), 200), (Duration::from_secs(60), 404)] {
        world.org.advance_clock(passed);
        world.login().await;
        let paths = [format!("/jobs/ingest/{job}"), format!("/jobs/ingest/{job}/successfulResults")];
        for path in paths.iter().chain([&query]) {
            assert_eq!(world.send(Method::GET, path, None).await.status(), status, "{path}");
        }
    }
    let (_, list) = world.get("/jobs/ingest?jobType=V2Ingest").await;
    assert_eq!((&list["done"], &list["records"]), (&json!(true), &json!([])));
    let gone = world.request(Method::GET, &format!("{BASE}/jobs/ingest/{job}")).send().await.unwrap();
    assert!(gone.text().await.unwrap().contains("The requested resource does not exist"));
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_aborted_and_deleted_only_in_the_documented_states() {
    let config = OrgConfig { hold_after_batches: Some(0), ..OrgConfig::default() };
    let world = World::new(config).await;
    let job = world.create("Account", "insert", None).await;
    let path = format!("/jobs/ingest/{job}");
    let delete = async || world.call(Method::DELETE, &path, None).await;
    assert_eq!(delete().await.1[0]["errorCode"], "API_ERROR", "open");
    world.upload(&job, "Name\nN\n").await;
    world.set_state(&job, "UploadComplete").await;
    while world.get(&path).await.1["state"] != "InProgress" {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(delete().await.1[0]["errorCode"], "API_ERROR", "at work");
    world.org.release_jobs();
    world.ended(&job).await;
    let (status, body) = world.set_state(&job, "Aborted").await;
    assert_eq!(
        (status, body[0]["message"].as_str()),
        (400, Some("Aborting already Completed Job not allowed"))
    );
    assert_eq!(delete().await.0, 204);
    assert_eq!(delete().await.0, 404);
    let world = World::with(|config| config.queued = emulators::salesforce::Pace::polls(9)).await;
    let job = world.create("Account", "insert", None).await;
    world.set_state(&job, "UploadComplete").await;
    assert_eq!(world.call(Method::DELETE, &format!("/jobs/ingest/{job}"), None).await.0, 204, "queued");
}

//! Faults that a test switches on.

use std::time::Duration;

use emulators::faults::{Action, Answer, Rule};
use emulators::salesforce::{EmptyResults, OrgConfig, Refusal};
use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{BASE, KEY, World, errors};

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

#[tokio::test(flavor = "multi_thread")]
async fn a_session_may_end_in_the_middle_of_a_job() {
    let mut world = World::with(|_| {}).await;
    let job = world.create("Account", "insert", None).await;
    world.org.expire_tokens();
    let (status, body) = world.upload(&job, "Name\nN\n").await;
    assert_eq!((status, body[0]["errorCode"].as_str()), (401, Some("INVALID_SESSION_ID")));
    world.login().await;
    assert_eq!(world.upload(&job, "Name\nN\n").await.0, 201, "the refused upload left nothing behind");
    world.set_state(&job, "UploadComplete").await;
    assert_eq!(world.ended(&job).await["numberRecordsProcessed"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn outages_answer_with_any_status_and_with_pages() {
    let world = World::with(|_| {}).await;
    let job = world.create("Account", "insert", None).await;
    let path = format!("{BASE}/jobs/ingest/{job}");
    for status in [500, 502, 503, 420] {
        world.org.faults().add(Rule::on(
            "GET",
            &path,
            Action::Respond(Answer::new(status, "<html>down</html>")),
        ));
        let response = world.request(Method::GET, &path).send().await.unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["content-type"]),
            (status, &"text/html".parse().unwrap())
        );
        assert_eq!(response.text().await.unwrap(), "<html>down</html>");
    }
    assert_eq!(world.get(&format!("/jobs/ingest/{job}")).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_may_arrive_though_the_answer_is_lost() {
    let world = World::with(|_| {}).await;
    let job = world.create("Account", "insert", None).await;
    let path = format!("{BASE}/jobs/ingest/{job}/batches");
    world.org.faults().add(Rule::on("PUT", &path, Action::DropAfter));
    let put = world.request(Method::PUT, &path).header("content-type", "text/csv").body("Name\nN\n");
    assert!(put.send().await.is_err());
    let (status, body) = world.upload(&job, "Name\nN\n").await;
    assert_eq!((status, body[0]["errorCode"].as_str()), (400, Some("CLIENTINPUTERROR")));
    assert_eq!(world.org.jobs()[0].uploaded, Some(7));
}

#[tokio::test(flavor = "multi_thread")]
async fn results_may_be_late_and_empty_in_three_ways() {
    for (empty, status, body) in [
        (EmptyResults::HeaderOnly, 200, "\"sf__Id\",\"sf__Error\",Name\n"),
        (EmptyResults::EmptyBody, 200, ""),
        (EmptyResults::NoContent, 204, ""),
    ] {
        let world = World::with(|config| config.empty_results = empty).await;
        let (job, _) = world.run("Account", "insert", None, "Name\nN\n").await;
        let path = format!("{BASE}/jobs/ingest/{job}/failedResults");
        let late = Duration::from_millis(30);
        world.org.faults().add(Rule::on("GET", &path, Action::Delay(late)));
        let begun = std::time::Instant::now();
        let response = world.request(Method::GET, &path).send().await.unwrap();
        assert!(begun.elapsed() >= late);
        assert_eq!((response.status().as_u16(), response.text().await.unwrap().as_str()), (status, body));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_user_reads_other_messages_under_the_same_codes() {
    let world = World::with(|config| config.foreign_messages = true).await;
    let (status, body) = world.get("/jobs/ingest/7505e00000EXMPLAA4").await;
    assert_eq!((status, body[0]["errorCode"].as_str()), (404, Some("NOT_FOUND")));
    assert!(!body[0]["message"].as_str().unwrap().is_ascii());
    let path = "/composite/sobjects/Account/Customer_Key__c";
    let record = json!({"records": [{"attributes": {"type": "Account"}, "Customer_Key__c": "k"}]});
    let (_, results) = world.call(Method::PATCH, path, Some(&record)).await;
    let refusal = &results[0]["errors"][0];
    assert_eq!(
        (&refusal["statusCode"], &refusal["fields"]),
        (&json!("REQUIRED_FIELD_MISSING"), &json!(["Name"]))
    );
    assert!(!refusal["message"].as_str().unwrap().is_ascii());
    world.org.expire_tokens();
    assert_eq!(world.get("/limits").await.1[0]["errorCode"], "INVALID_SESSION_ID");
}

//! The function binaries under the Lambda Runtime API, with moto as S3 and Secrets Manager.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use e2e::{
    cloud::{Cloud, idle_definition},
    compare::{CUSTOMERS, assert_equal},
};
use emulators::{salesforce::OrgConfig, snowflake::Config};
use serde_json::{Value, json};

const CUSTOMER: &str = "SNOWFLAKE_SAMPLE_DATA.TPCH_SF1.CUSTOMER";

async fn deploy() -> Cloud {
    Cloud::deploy(Config::default(), OrgConfig::default(), 0.01, &idle_definition()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sample_events_in_their_order_carry_out_a_run_by_hand() {
    let cloud = deploy().await;
    let dispatched = cloud.sample("dispatch", "scheduled.json").await;
    assert_eq!(dispatched["start"], json!([{"sync": "customers", "run": "20260101T000000Z"}]));
    until_done(&cloud, "extract", "run.json").await;
    cloud.sample("map", "chunk-0.json").await;
    assert_eq!(cloud.sample("plan", "wave-1.json").await["next"], "load");
    cloud.sample("submit", "job-0.json").await;
    until_done(&cloud, "poll", "job-0.json").await;
    let collected = cloud.sample("collect", "job-0.json").await;
    assert_eq!((&collected["sent"], &collected["accepted"]), (&json!(1500), &json!(1500)));
    assert_eq!(cloud.sample("plan", "wave-2.json").await["next"], "settle");
    cloud.sample("settle", "chunk-0.json").await;
    assert_eq!(cloud.sample("finish", "run.json").await["verdict"], "green");
    assert_eq!(assert_equal(&cloud.snowflake, &cloud.org, CUSTOMER, "Account", &CUSTOMERS), 1500);

    // The events that begin or end a run in another way are accepted too, and change nothing that is done.
    for event in ["by-hand.json", "plan-only.json", "rebuild.json"] {
        cloud.sample("dispatch", event).await;
    }
    cloud.sample("finish", "failed.json").await;
    assert_eq!(cloud.org.write_counts("Account"), [1500, 0, 0]);
}

async fn until_done(cloud: &Cloud, function: &str, event: &str) {
    for _ in 0..100 {
        if cloud.sample(function, event).await["done"] == json!(true) {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("{function} is never done");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_reaches_the_state_machine_under_the_name_of_its_class() {
    let cloud = deploy().await;
    let event = json!({"sync": "customers", "run": "20260101T000000Z"});
    let failed = failure(&cloud, "extract", &event).await;
    assert_eq!(failed["errorType"], "Configuration");
    let message = failed["errorMessage"].as_str().unwrap();
    assert!(message.contains("`runs/customers/20260101T000000Z/run.json`"), "{message}");

    let failed = failure(&cloud, "dispatch", &json!({"sync": "nobody"})).await;
    assert_eq!(failed["errorType"], "Configuration");
    let failed =
        failure(&cloud, "map", &json!({"sync": "customers", "run": "20260101T000000Z", "chunc": 1})).await;
    assert_eq!(failed["errorType"], "Configuration");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_or_a_secret_that_is_not_there_is_named() {
    let cloud = deploy().await;
    let mut environment = cloud.aws.environment();
    environment.push(("BACKHAUL_BUCKET".to_owned(), "no-such-bucket".to_owned()));
    environment.push(("BACKHAUL_SNOWFLAKE_SECRET".to_owned(), "no/such/secret".to_owned()));
    cloud.lambda.set_environment(environment);
    let event = json!({"sync": "customers", "run": "20260101T000000Z", "chunk": 0});
    let failed = failure(&cloud, "map", &event).await;
    assert_eq!(failed["errorType"], "Configuration");
    assert!(failed["errorMessage"].as_str().unwrap().contains("`no-such-bucket`"), "{failed}");

    let event = json!({"sync": "customers", "run": "20260101T000000Z"});
    let failed = failure(&cloud, "extract", &event).await;
    assert_eq!(failed["errorType"], "Configuration");
    assert!(failed["errorMessage"].as_str().unwrap().contains("`no/such/secret`"), "{failed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_and_no_value_of_a_record_is_logged() {
    let cloud = deploy().await;
    cloud
        .snowflake
        .execute(&format!("UPDATE {CUSTOMER} SET C_NAME = 'Planted Person' WHERE C_CUSTKEY = 1"))
        .unwrap();
    cloud
        .snowflake
        .execute(&format!("UPDATE {CUSTOMER} SET C_MKTSEGMENT = 'PLANTED' WHERE C_CUSTKEY = 2"))
        .unwrap();
    for (function, event) in [("dispatch", "by-hand.json"), ("extract", "run.json"), ("extract", "run.json")]
    {
        cloud.sample(function, event).await;
    }
    until_done(&cloud, "extract", "run.json").await;
    for (function, event) in [("map", "chunk-0.json"), ("plan", "wave-1.json"), ("submit", "job-0.json")] {
        cloud.sample(function, event).await;
    }
    until_done(&cloud, "poll", "job-0.json").await;
    let rest = [
        ("collect", "job-0.json"),
        ("plan", "wave-2.json"),
        ("settle", "chunk-0.json"),
        ("finish", "run.json"),
    ];
    for (function, event) in rest {
        cloud.sample(function, event).await;
    }
    let logged = cloud.logged();
    assert!(logged.contains("finish"), "nothing was logged:\n{logged}");
    let key: Value = serde_json::from_str(&cloud.snowflake.secret_json()).unwrap();
    let key_line = key["private_key"].as_str().unwrap().lines().nth(3).unwrap().to_owned();
    for planted in ["Planted", "PLANTED", &key_line, "BEGIN PRIVATE KEY", "Bearer ", "00D"] {
        assert!(!logged.contains(planted), "{planted} is in the log:\n{logged}");
    }
}

async fn failure(cloud: &Cloud, function: &str, event: &Value) -> Value {
    let answer = cloud.lambda.invoke(function, event).await;
    assert!(answer.failed, "{function} went well: {}", answer.body);
    serde_json::from_str(&answer.body).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_behaves_as_the_local_directory_does() {
    let aws = e2e::aws::Aws::start("http://127.0.0.1:9");
    store::conformance::run(&store::conformance::stand_in(aws.url(), "conformance").await).await;
}

//! Descriptions, single records, collections and queries.

use emulators::salesforce::{Field, Kind, OrgConfig};
use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{BASE, KEY, World};

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
async fn one_record_is_made_read_changed_and_deleted_by_id() {
    let world = World::with(|_| {}).await;
    let body = json!({"Name": "One", "Customer_Key__c": "k", "AnnualRevenue": 1.5});
    let (status, made) = world.call(Method::POST, "/sobjects/Account", Some(&body)).await;
    assert_eq!((status, &made["success"], &made["errors"]), (201, &json!(true), &json!([])));
    let path = format!("/sobjects/Account/{}", made["id"].as_str().unwrap());
    let (_, read) = world.get(&format!("{path}?fields=Name,AnnualRevenue")).await;
    assert_eq!(
        (&read["Name"], &read["AnnualRevenue"], read.get("Phone")),
        (&json!("One"), &json!(1.5), None)
    );
    assert_eq!(read["attributes"]["type"], "Account");
    let change = json!({"Name": "Two", "AnnualRevenue": null});
    let (status, body) = world.call(Method::PATCH, &path, Some(&change)).await;
    assert_eq!((status, body), (204, Value::Null));
    assert!(!world.org.records("Account")[0].contains_key("AnnualRevenue"));
    let refused = world.call(Method::PATCH, &path, Some(&json!({"Name": null}))).await;
    assert_eq!((refused.0, refused.1[0]["errorCode"].as_str()), (400, Some("REQUIRED_FIELD_MISSING")));
    assert_eq!(world.call(Method::DELETE, &path, None).await.0, 204);
    for (method, body) in [(Method::GET, None), (Method::PATCH, Some(&change)), (Method::DELETE, None)] {
        assert_eq!(world.call(method, &path, body).await.0, 404);
    }
    assert_eq!(world.call(Method::PUT, &path, None).await.1[0]["errorCode"], "METHOD_NOT_ALLOWED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_several_records_share_is_no_key() {
    let mut config = OrgConfig::default();
    let shared = Field { unique: false, ..Field::new("Shared__c", Kind::Text(20)).key() };
    config.schema.add_field("Account", shared);
    let world = World::new(config).await;
    world.run("Account", "insert", None, "Name,Shared__c\nA,s\nB,S\nC,t\n").await;
    let path = "/sobjects/Account/Shared__c/s";
    for (method, body) in
        [(Method::GET, None), (Method::PATCH, Some(&json!({"Name": "X"}))), (Method::DELETE, None)]
    {
        let (status, urls) = world.call(method, path, body).await;
        assert_eq!((status, urls.as_array().unwrap().len()), (300, 2));
        assert!(urls[0].as_str().unwrap().starts_with(&format!("{BASE}/sobjects/Account/001")));
    }
    assert_eq!(world.call(Method::DELETE, "/sobjects/Account/Shared__c/t", None).await.0, 204);
    let csv = "Shared__c,Name\ns,X\n";
    let (job, _) = world.run("Account", "upsert", Some("Shared__c"), csv).await;
    let failed = world.rows(&job, "failedResults", "Shared__c").await;
    assert!(failed["s"]["sf__Error"].starts_with("DUPLICATE_EXTERNAL_ID:"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_org_describes_itself() {
    let world = World::with(|_| {}).await;
    let (_, list) = world.get("/sobjects").await;
    let names: Vec<&str> =
        list["sobjects"].as_array().unwrap().iter().map(|object| object["name"].as_str().unwrap()).collect();
    assert!(["Account", "Order__c", "User"].iter().all(|name| names.contains(name)), "{names:?}");
    let account = &list["sobjects"][0];
    assert_eq!((&account["keyPrefix"], &account["queryable"]), (&json!("001"), &json!(true)));
    let (_, limits) = world.get("/limits").await;
    for name in ["DailyApiRequests", "DailyBulkApiBatches", "DailyBulkV2QueryJobs", "DataStorageMB"] {
        assert!(limits[name]["Max"].as_u64() >= limits[name]["Remaining"].as_u64(), "{name}");
        assert!(limits[name]["Remaining"].as_u64().is_some(), "{name}");
    }
    let (_, resources) = world.get("/").await;
    assert_eq!(resources["jobs"], format!("{BASE}/jobs"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_description_that_is_known_is_not_sent_again() {
    let world = World::with(|_| {}).await;
    let path = format!("{BASE}/sobjects/Account/describe");
    for (since, status) in
        [("Mon, 01 Jan 2024 00:00:00 GMT", 200), ("Fri, 01 Jan 2100 00:00:00 GMT", 304), ("soon", 200)]
    {
        let ask = world.request(Method::GET, &path).header("if-modified-since", since);
        assert_eq!(ask.send().await.unwrap().status(), status, "{since}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_must_not_come_twice_in_one_collection() {
    let world = World::with(|_| {}).await;
    let record = |key: &str| json!({"attributes": {"type": "Account"}, "Customer_Key__c": key, "Name": "N"});
    let body = json!({"records": [record("a"), record("b"), record("A")]});
    let path = "/composite/sobjects/Account/Customer_Key__c";
    let (_, results) = world.call(Method::PATCH, path, Some(&body)).await;
    let good: Vec<bool> = (0..3).map(|at: usize| results[at]["success"] == true).collect();
    assert_eq!(good, [false, true, false]);
    assert_eq!(results[0]["errors"][0]["statusCode"], "DUPLICATE_VALUE");
    let many: Vec<Value> = (0..201).map(|n| record(&n.to_string())).collect();
    assert_eq!(world.call(Method::PATCH, path, Some(&json!({"records": many}))).await.0, 400);
    let (_, info) = world.run("Account", "upsert", KEY, "Customer_Key__c,Name\nb,B\n").await;
    assert_eq!(info["numberRecordsFailed"], 0);
}

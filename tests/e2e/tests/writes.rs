//! What Backhaul writes to Snowflake, and the other ways to log in, against the stand-in.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use std::time::{Duration, SystemTime};

use emulators::{
    faults::{Action, Answer, Rule},
    snowflake::{Config, EmailIntegration, Snowflake, SnowflakeServer},
};
use engine::Class;
use futures_util::FutureExt;
use http_client::{Lease, RetryPolicy};
use serde_json::json;
use snowflake::{Client, Poll, Secret, StatementRequest, inserts, send_email};

const RUN: &str = "customers/20260101T000000Z";

fn client(server: &SnowflakeServer) -> Client {
    let secret = serde_json::from_str(&server.secret_json()).unwrap();
    Client::with_retry(secret, RetryPolicy::immediate()).unwrap()
}

fn request(sql: String, request_id: &str) -> StatementRequest {
    StatementRequest {
        sql,
        request_id: request_id.to_owned(),
        resubmission: false,
        timeout_seconds: 60,
        warehouse: None,
        role: None,
        database: None,
        schema: None,
        query_tag: String::new(),
        bindings: Vec::new(),
    }
}

/// Submits a statement and waits for its end.
async fn carry_out(client: &Client, request: &StatementRequest) -> Result<(), engine::Failure> {
    let handle = client.submit(request).await?;
    while let Poll::Running = client.poll(&handle).await? {}
    Ok(())
}

#[tokio::test]
async fn rows_are_inserted_once_whatever_is_lost() {
    let row = |n: u32| {
        vec![
            Some(n.to_string()),
            (!n.is_multiple_of(7)).then(|| format!("it's \"{n}\", é\n{}", "x".repeat(300))),
        ]
    };
    for fault in [
        None,
        Some(Action::DropBefore),
        Some(Action::DropAfter),
        Some(Action::RespondAfter(Answer::new(503, "<html></html>"))),
        Some(Action::Respond(Answer::new(429, r#"{"code":"390505","message":"slow down"}"#))),
    ] {
        let server = Snowflake::start(Config::default()).unwrap();
        server.execute("CREATE SCHEMA CRM.AUDIT").unwrap();
        server
            .execute(
                "CREATE TABLE CRM.AUDIT.RESULTS (RUN_ID VARCHAR, PIECE NUMBER, KEY VARCHAR, TEXT VARCHAR)",
            )
            .unwrap();
        server.faults().clear();
        if let Some(fault) = &fault {
            server.faults().add(Rule::on("POST", "/api/v2/statements", fault.clone()).nth(2));
        }
        let client = client(&server);
        let pieces = inserts("CRM.AUDIT.RESULTS", &["KEY", "TEXT"], RUN, (0..4000).map(row)).unwrap();
        assert!(pieces.len() > 2);
        for piece in &pieces {
            let bindings = piece.bindings.clone();
            let request = StatementRequest { bindings, ..request(piece.sql.clone(), &piece.request_id) };
            carry_out(&client, &request).await.unwrap();
            // Long after, when Snowflake has forgotten the id: the piece is there, so it is not inserted again.
            let forgotten = StatementRequest { request_id: uuid(piece.rows), ..request };
            carry_out(&client, &forgotten).await.unwrap();
        }
        let rows = server.execute("SELECT KEY, TEXT FROM CRM.AUDIT.RESULTS").unwrap().rows;
        let mut found: Vec<_> = rows.into_iter().map(|row| row.to_vec()).collect();
        let mut expected: Vec<_> = (0..4000).map(row).collect();
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "{fault:?}");
    }
}

fn uuid(number: usize) -> String {
    format!("6f0c2c5e-0000-4000-8000-{number:012}")
}

#[tokio::test]
async fn an_email_is_sent_to_those_who_may_get_it() {
    let email =
        EmailIntegration { name: "MAIL".to_owned(), allowed_recipients: vec!["a@example.com".to_owned()] };
    let server = Snowflake::start(Config { email: Some(email), ..Config::default() }).unwrap();
    let client = client(&server);
    let body = "It's over.\nSee the \\ report.";
    let call = send_email("MAIL", &["a@example.com"], "customers: 'green'", body).unwrap();
    carry_out(&client, &request(call, &uuid(1))).await.unwrap();
    let outbox = server.outbox();
    assert_eq!(
        (outbox.len(), outbox[0].subject.as_str(), outbox[0].body.as_str()),
        (1, "customers: 'green'", body)
    );
    for call in [
        send_email("MAIL", &["a@example.com", "b@example.com"], "s", "b").unwrap(),
        send_email("OTHER", &["a@example.com"], "s", "b").unwrap(),
    ] {
        let failure = carry_out(&client, &request(call, &uuid(2))).await.unwrap_err();
        assert_eq!(failure.class, Class::Configuration, "{failure}");
    }
    assert_eq!(server.outbox().len(), 1, "nobody gets it when one may not");
}

#[tokio::test]
async fn a_token_of_each_kind_is_let_in_and_no_other() {
    let server =
        Snowflake::start(Config { workload_token: Some("e.y.J".to_owned()), ..Config::default() }).unwrap();
    let pat: serde_json::Value = serde_json::from_str(&server.secret_json()).unwrap();
    let secret = |more: serde_json::Value| -> Secret {
        let mut secret = json!({"account": pat["account"], "host": pat["host"]});
        secret.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(secret).unwrap()
    };
    let workload = |token: &'static str| {
        let client =
            Client::with_retry(secret(json!({"workload_identity": "aws"})), RetryPolicy::immediate())
                .unwrap();
        client.with_identity(move || {
            let until = Some(SystemTime::now() + Duration::from_secs(900));
            async move { Ok(Lease { value: token.to_owned().into(), until }) }.boxed()
        })
    };
    let good = secret(json!({"token": server.access_token()}));
    let statement = || request("SELECT 1".to_owned(), &uuid(3));
    carry_out(&Client::with_retry(good, RetryPolicy::immediate()).unwrap(), &statement()).await.unwrap();
    carry_out(&workload("WIF.AWS.e.y.J"), &statement()).await.unwrap();
    let bad = Client::with_retry(secret(json!({"token": "wrong"})), RetryPolicy::immediate()).unwrap();
    for client in [bad, workload("WIF.AWS.x.y.z")] {
        assert_eq!(carry_out(&client, &statement()).await.unwrap_err().class, Class::Configuration);
    }
}

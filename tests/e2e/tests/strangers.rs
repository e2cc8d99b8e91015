//! The org stand-in, used by clients that were not written for it: what they can do there is what it is worth as one.
//!
//! `.ci/run tools` installs them.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]
#![expect(clippy::print_stdout, reason = "what the clients say is shown")]

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use e2e::aws::{node_tools, python, workspace};
use emulators::salesforce::{Org, OrgConfig, OrgServer, Pace};

/// An org that speaks HTTPS, as these clients want it.
async fn org() -> OrgServer {
    Org::start(OrgConfig { https: true, running: Pace::polls(1), ..OrgConfig::default() }).await.unwrap()
}

/// A token, asked for as any client would.
async fn token(org: &OrgServer) -> String {
    let config = OrgConfig::default();
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", &config.client_id),
        ("client_secret", &config.client_secret),
    ];
    let url = format!("{}/services/oauth2/token", org.plain_url());
    let answer: serde_json::Value =
        reqwest::Client::new().post(url).form(&form).send().await.unwrap().json().await.unwrap();
    answer["access_token"].as_str().unwrap().to_owned()
}

/// Runs a program with the address of the org in its environment, and asserts that it ends well.
async fn run(org: &OrgServer, folder: &Path, mut command: Command) -> String {
    let certificate = folder.join("org.pem");
    std::fs::write(&certificate, org.certificate().unwrap()).unwrap();
    command
        .env("ORG_URL", org.url())
        .env("ORG_TOKEN", token(org).await)
        .env("NODE_TOOLS", node_tools())
        .env("REQUESTS_CA_BUNDLE", &certificate)
        .env("SSL_CERT_FILE", &certificate)
        .env("NODE_EXTRA_CA_CERTS", &certificate)
        .current_dir(folder);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let said = said(&output);
    println!("{}", said.lines().last().unwrap_or_default());
    said
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn script(name: &str) -> PathBuf {
    workspace().join("tests/strangers").join(name)
}

#[tokio::test(flavor = "multi_thread")]
async fn simple_salesforce() {
    let (org, folder) = (org().await, tempfile::tempdir().unwrap());
    let mut command = Command::new(python());
    command.arg(script("simple_salesforce_client.py"));
    run(&org, folder.path(), command).await;
    let [created, updated, deleted] = org.write_counts("Account");
    assert_eq!((created, updated, deleted), (2 + 30 + 5, 2 + 5 + 10, 1 + 10));
}

#[tokio::test(flavor = "multi_thread")]
async fn jsforce() {
    let (org, folder) = (org().await, tempfile::tempdir().unwrap());
    let mut command = Command::new("node");
    command.arg(script("jsforce_client.cjs"));
    run(&org, folder.path(), command).await;
    let [created, updated, deleted] = org.write_counts("Account");
    assert_eq!((created, updated, deleted), (3 + 40 + 1, 2 + 1 + 2, 3 + 2));
}

/// The command line of Salesforce, offline: it logs in by JWT bearer, and loads in bulk.
#[tokio::test(flavor = "multi_thread")]
async fn sf() {
    let (org, folder) = (org().await, tempfile::tempdir().unwrap());
    let secret: serde_json::Value = serde_json::from_str(&org.secret_json()).unwrap();
    std::fs::write(folder.path().join("key.pem"), secret["private_key"].as_str().unwrap()).unwrap();
    let sf = |arguments: &[&str]| {
        let mut command = Command::new(node_tools().join("node_modules/.bin/sf"));
        command
            .args(arguments)
            .env("HOME", folder.path())
            .env("SF_DISABLE_DNS_CHECK", "true")
            .env("SF_DISABLE_TELEMETRY", "true")
            .env("SF_AUTOUPDATE_DISABLE", "true")
            .env("SF_SKIP_NEW_VERSION_CHECK", "true")
            .env("SF_USE_GENERIC_UNIX_KEYCHAIN", "true");
        command
    };
    let (client, user, url) = (&secret["client_id"], &secret["username"], org.url());
    let login = ["org", "login", "jwt", "--jwt-key-file", "key.pem", "--client-id", client.as_str().unwrap()];
    let who =
        ["--username", user.as_str().unwrap(), "--instance-url", &url, "--set-default", "--alias", "org"];
    run(&org, folder.path(), sf(&[&login[..], &who[..]].concat())).await;

    let bulk = async |what: &[&str], csv: String| {
        std::fs::write(folder.path().join("rows.csv"), csv).unwrap();
        let with =
            ["--file", "rows.csv", "--sobject", "Account", "--target-org", "org", "--wait", "2", "--json"];
        let said = run(&org, folder.path(), sf(&[&["data"], what, &with[..]].concat())).await;
        assert!(said.contains("\"status\": 0"), "{said}");
    };
    let rows = |keys: std::ops::Range<u32>, name: &str| {
        let rows: String = keys.map(|n| format!("50{n:02},\"{name}, number {n}\"\n")).collect();
        format!("Customer_Key__c,Name\n{rows}")
    };
    bulk(&["import", "bulk"], rows(0..20, "Sold")).await;
    bulk(&["upsert", "bulk", "--external-id", "Customer_Key__c"], rows(15..25, "Sold again")).await;
    let ids: Vec<String> = org.records("Account").into_iter().map(|record| record["Id"].clone()).collect();
    let updates: String = ids.iter().map(|id| format!("{id},Renamed\n")).collect();
    bulk(&["update", "bulk"], format!("Id,Name\n{updates}")).await;
    let export = [
        "data",
        "export",
        "bulk",
        "--target-org",
        "org",
        "--wait",
        "2",
        "--output-file",
        "out.csv",
        "--query",
    ];
    let soql = "SELECT Id, Name FROM Account WHERE Name = 'Renamed'";
    run(&org, folder.path(), sf(&[&export[..], &[soql]].concat())).await;
    let exported = std::fs::read_to_string(folder.path().join("out.csv")).unwrap();
    assert_eq!(exported.matches("Renamed").count(), 25, "{exported}");
    bulk(&["delete", "bulk"], format!("Id\n{}\n", ids[..5].join("\n"))).await;
    assert_eq!(org.write_counts("Account"), [25, 5 + 25, 5]);
}

//! What people get wrong: each fault is told with its place and what to do, fails the run in the open, and
//! leaves nothing behind that stands in the way of the next try.
//!
//! The messages are kept here word for word, for people to judge.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use std::{net::TcpListener, path::Path};

use clap::Parser;
use cli::commands::{Cli, secret};
use e2e::world::{World, run_ref};
use emulators::{salesforce::OrgConfig, snowflake::Config};
use engine::{
    Class, Failure, RunRef,
    document::{Head, Lease, Mode},
    layout,
    report::{Report, Verdict},
};
use http_client::RetryPolicy;
use serde_json::{Value, json};

const FIRST: &str = "20260101T000000Z";
const SECOND: &str = "20260101T010000Z";

/// What differs from one execution of a test to the next.
const VOLATILE: [(&str, &str); 4] = [
    (r"127\.0\.0\.1:\d+", "127.0.0.1:PORT"),
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "UUID"),
    (r"`/[^`]*/", "`FOLDER/"),
    (r"\(os error \d+\)", "(os error N)"),
];

macro_rules! says {
    ($failure:expr, @$text:literal) => {{
        let failure = $failure;
        insta::with_settings!({filters => VOLATILE.to_vec()}, {
            insta::assert_snapshot!(told(&failure), @$text);
        })
    }};
}

fn told(failure: &Failure) -> String {
    let hint = failure.hint.as_deref().unwrap_or("none");
    format!("{}: {}\nhint: {hint}", failure.class, failure.message)
}

async fn world() -> World {
    with_org(OrgConfig::default()).await
}

async fn with_org(org: OrgConfig) -> World {
    World::scaled(Config::default(), org, 0.001).await
}

/// Runs the customers and tells why that failed.
async fn failure(world: &World) -> Failure {
    let run = world.begin("customers", FIRST, Mode::Run).await.unwrap();
    let failure = world.drive(run.clone()).await.unwrap_err();
    assert_left_nothing(world, &run, &failure).await;
    failure
}

async fn assert_left_nothing(world: &World, run: &RunRef, failure: &Failure) {
    let store = &world.parts.store;
    let report: Report = world.document(&layout::failure(run)).await;
    assert_eq!(report.verdict, Verdict::Failed);
    let text = store.get(&layout::failure_text(run)).await.unwrap().unwrap().bytes;
    let text = String::from_utf8_lossy(&text).into_owned();
    let first_line = failure.message.lines().next().unwrap();
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words(&text).contains(&words(first_line)), "the report does not say why:\n{text}");
    assert_eq!(store.get_json::<Head>(&layout::head(&run.sync)).await.unwrap(), None);
    let lease: Lease = world.document(&layout::lease(&run.sync)).await;
    assert_eq!(lease.holder, None, "the lease was not given back");
    assert!(!store.exists(&layout::report_json(run)).await.unwrap());
    assert_eq!(world.org.jobs().len(), 0);
}

/// The next run ends well.
async fn assert_mended(world: &World) {
    assert_eq!(world.run("customers", SECOND).await.unwrap().verdict, Verdict::Green);
    assert_eq!(world.org.write_counts("Account"), [150, 0, 0]);
}

/// The same run ends well when it is carried on.
async fn assert_carried_on(world: &World) {
    assert_eq!(world.drive(run_ref("customers", FIRST)).await.unwrap().verdict, Verdict::Green);
    assert_eq!(world.org.write_counts("Account"), [150, 0, 0]);
}

/// Runs a sync with a change in its text, then the sync as it was.
async fn failure_of(from: &str, to: &str) -> Failure {
    let world = world().await;
    let mut before = String::new();
    world.edit_sync("customers", |text| {
        assert!(text.contains(from), "the sync says nothing of `{from}`");
        before.clone_from(&text);
        text.replace(from, to)
    });
    let failure = failure(&world).await;
    world.edit_sync("customers", |_| before);
    assert_mended(&world).await;
    failure
}

/// The failure to begin a run of a sync with a change in its text.
async fn refusal_of(from: &str, to: &str) -> Failure {
    let world = world().await;
    world.edit_sync("customers", |text| text.replacen(from, to, 1));
    let failure = world.begin("customers", FIRST, Mode::Run).await.unwrap_err();
    assert!(!world.bucket().exists(), "a sync that is not valid leaves nothing");
    failure
}

#[tokio::test]
async fn an_unknown_key() {
    says!(refusal_of("\nmapping:", "\nretries: 3\nmapping:").await, @"
    Configuration: `syncs/customers.yaml`: `retries`: unknown key `retries` (line 29, column 1)
    hint: possible are `description`, `destination`, `guard`, `key`, `load`, `mapping`, `model`, `owner`, `quota`, `schedule`
    ");
}

#[tokio::test]
async fn a_misspelt_key() {
    says!(refusal_of("  warehouse:", "  warehous:").await, @"
    Configuration: `syncs/customers.yaml`: `model.warehous`: unknown key `warehous` (line 17, column 3)
    hint: did you mean `warehouse`?
    ");
}

#[tokio::test]
async fn a_misspelt_key_at_the_top() {
    says!(refusal_of("\nmapping:", "\nmaping:").await, @"
    Configuration: `syncs/customers.yaml`: `maping`: unknown key `maping` (line 29, column 1)
    hint: did you mean `mapping`?
    ");
}

#[tokio::test]
async fn a_key_that_is_left_out() {
    says!(refusal_of("  object: Account\n", "").await, @"
    Configuration: `syncs/customers.yaml`: the key `object` is missing (line 25, column 3)
    hint: none
    ");
}

#[tokio::test]
async fn a_value_of_another_kind() {
    says!(refusal_of("operation: upsert", "operation: merge").await, @"
    Configuration: `syncs/customers.yaml`: `merge` is not possible here (line 26, column 14)
    hint: possible are `upsert`, `insert`, `update`, `mirror`, `delete`, `hard_delete`
    ");
}

#[tokio::test]
async fn no_such_sync() {
    let world = world().await;
    says!(world.begin("custommers", FIRST, Mode::Run).await.unwrap_err(), @"
    Configuration: `FOLDER/custommers.yaml` cannot be read: entity not found
    hint: a sync is one YAML file in the folder of syncs
    ");
}

#[tokio::test]
async fn the_model_lacks_the_key_column() {
    says!(failure_of("column: C_CUSTKEY", "column: C_CUSTOMERKEY").await, @"
    Configuration: `syncs/customers.yaml`: `GET 127.0.0.1:PORT/api/v2/statements/UUID`: the model is not valid SQL (code 000904, sqlState 42000): SQL compilation error: error line 1 at position 0 invalid identifier 'C_CUSTOMERKEY'
    hint: `key` and `mapping` name columns of the model: correct the name, and put it in double quotes where it is not upper-case; inside of a query, run it in a worksheet
    ");
}

#[tokio::test]
async fn the_model_lacks_a_mapped_column() {
    says!(failure_of("Phone: C_PHONE", "Phone: C_FONE").await, @"
    Configuration: `syncs/customers.yaml`: `GET 127.0.0.1:PORT/api/v2/statements/UUID`: the model is not valid SQL (code 000904, sqlState 42000): SQL compilation error: error line 1 at position 0 invalid identifier 'C_FONE'
    hint: `key` and `mapping` name columns of the model: correct the name, and put it in double quotes where it is not upper-case; inside of a query, run it in a worksheet
    ");
}

#[tokio::test]
async fn no_such_object() {
    says!(failure_of("object: Account", "object: Acount").await, @"
    Configuration: object `Acount` does not exist or the user cannot see it
    hint: check the API name (custom objects end in `__c`) and the user's object permissions
    ");
}

#[tokio::test]
async fn no_such_field() {
    says!(failure_of("Phone: C_PHONE", "Phonee: C_PHONE").await, @"
    Configuration: `syncs/customers.yaml`: `mapping.Phonee`: `Account` has no field `Phonee`
    hint: did you mean `Phone`?
    ");
}

#[tokio::test]
async fn a_field_in_the_wrong_case() {
    says!(failure_of("Phone: C_PHONE", "PHONE: C_PHONE").await, @"
    Configuration: `syncs/customers.yaml`: `mapping.PHONE`: `Account` has no field `PHONE`
    hint: it is spelt `Phone`; Salesforce tells upper from lower case here
    ");
}

#[tokio::test]
async fn several_at_once() {
    says!(failure_of("Phone: C_PHONE\n", "Phonee: C_PHONE\n  Fox: C_PHONE\n").await, @"
    Configuration: `syncs/customers.yaml`: 2 problems
    - `mapping.Fox`: `Account` has no field `Fox` (hint: correct the name, or give the user of Backhaul access to the field)
    - `mapping.Phonee`: `Account` has no field `Phonee` (hint: did you mean `Phone`?)
    hint: none
    ");
}

#[tokio::test]
async fn a_key_field_that_is_no_external_id() {
    says!(failure_of("field: Customer_Key__c", "field: Industry").await, @"
    Configuration: `syncs/customers.yaml`: `key.field`: field `Industry` is not an external id
    hint: tick `External ID` in the definition of the field, or choose another field
    ");
}

#[tokio::test]
async fn a_field_that_field_level_security_hides() {
    let mut org = OrgConfig::default();
    org.schema.field_mut("Account", "Phone").hidden = true;
    let world = with_org(org).await;
    says!(failure(&world).await, @"
    Configuration: `syncs/customers.yaml`: `mapping.Phone`: `Account` has no field `Phone`
    hint: correct the name, or give the user of Backhaul access to the field
    ");
    world.edit_sync("customers", |text| text.replace("  Phone: C_PHONE\n", ""));
    assert_mended(&world).await;
}

#[tokio::test]
async fn another_snowflake_key() {
    let mut world = world().await;
    world.snowflake.rotate_key(false).unwrap();
    says!(failure(&world).await, @"
    Configuration: `POST 127.0.0.1:PORT/api/v2/statements`: the login is refused (code 394304, HTTP 401): JWT token public key fingerprint mismatch. [UUID]
    hint: ask Snowflake for the reason: SELECT SYSTEM$GET_LOGIN_FAILURE_DETAILS('UUID'); compare RSA_PUBLIC_KEY_FP of DESC USER with the key in the secret, and `account` and `user` with the account
    ");
    world.parts.snowflake = snowflake(&world, &json!({}));
    assert_carried_on(&world).await;
}

#[tokio::test]
async fn another_salesforce_key() {
    let mut world = world().await;
    let other = world.snowflake.private_key_pem();
    world.parts.salesforce = salesforce(&world, &json!({"private_key": other}));
    says!(failure(&world).await, @"
    Configuration: `POST 127.0.0.1:PORT/services/oauth2/token`: the login is refused (invalid_grant): invalid assertion
    hint: let an admin pre-authorise the user for the app (policy `Admin approved users are pre-authorized` and a permission set); check `username`, that `login_url` is `login` for production and `test` for a sandbox, that the app holds the certificate of this key, and the clock
    ");
    world.parts.salesforce = salesforce(&world, &json!({}));
    assert_carried_on(&world).await;
}

#[tokio::test]
async fn an_unknown_snowflake_user() {
    let mut world = world().await;
    world.parts.snowflake = snowflake(&world, &json!({"user": "NOBODY"}));
    says!(failure(&world).await, @"
    Configuration: `POST 127.0.0.1:PORT/api/v2/statements`: the login is refused (code 390144, HTTP 401): JWT token is invalid. [UUID]
    hint: ask Snowflake for the reason: SELECT SYSTEM$GET_LOGIN_FAILURE_DETAILS('UUID'); compare RSA_PUBLIC_KEY_FP of DESC USER with the key in the secret, and `account` and `user` with the account
    ");
    world.parts.snowflake = snowflake(&world, &json!({}));
    assert_carried_on(&world).await;
}

#[tokio::test]
async fn an_unknown_salesforce_user() {
    let mut world = world().await;
    world.parts.salesforce = salesforce(&world, &json!({"username": "nobody@example.com"}));
    says!(failure(&world).await, @"
    Configuration: `POST 127.0.0.1:PORT/services/oauth2/token`: the login is refused (invalid_grant): user hasn't approved this consumer
    hint: let an admin pre-authorise the user for the app (policy `Admin approved users are pre-authorized` and a permission set); check `username`, that `login_url` is `login` for production and `test` for a sandbox, that the app holds the certificate of this key, and the clock
    ");
    world.parts.salesforce = salesforce(&world, &json!({}));
    assert_carried_on(&world).await;
}

#[tokio::test]
async fn an_unknown_salesforce_app() {
    let mut world = world().await;
    world.parts.salesforce = salesforce(&world, &json!({"client_id": "3MVG9.Another"}));
    says!(failure(&world).await, @"
    Configuration: `POST 127.0.0.1:PORT/services/oauth2/token`: the login is refused (invalid_client_id): client identifier invalid
    hint: check `client_id`: it is the consumer key of the app; a new app takes ten minutes to be known
    ");
    world.parts.salesforce = salesforce(&world, &json!({}));
    assert_carried_on(&world).await;
}

#[tokio::test]
async fn a_snowflake_host_that_does_not_answer() {
    let mut world = world().await;
    world.parts.snowflake = snowflake(&world, &json!({"host": closed_port()}));
    says!(failure(&world).await, @"
    Transient: `POST 127.0.0.1:PORT/api/v2/statements`: no answer: Connection refused (os error N) (tried 4 times)
    hint: check the host in the secret, and that the network lets it through
    ");
    world.parts.snowflake = snowflake(&world, &json!({}));
    assert_carried_on(&world).await;
}

#[tokio::test]
async fn a_salesforce_host_that_does_not_answer() {
    let mut world = world().await;
    world.parts.salesforce = salesforce(&world, &json!({"login_url": closed_port()}));
    says!(failure(&world).await, @"
    Transient: `POST 127.0.0.1:PORT/services/oauth2/token`: no answer: Connection refused (os error N) (tried 4 times)
    hint: check the host in the secret, and that the network lets it through
    ");
    world.parts.salesforce = salesforce(&world, &json!({}));
    assert_carried_on(&world).await;
}

#[tokio::test]
async fn an_unknown_warehouse() {
    says!(failure_of("warehouse: COMPUTE_WH", "warehouse: NO_SUCH_WH").await, @"
    Configuration: `POST 127.0.0.1:PORT/api/v2/statements`: warehouse, database or role does not exist (code 390201, sqlState 08004): The requested warehouse 'NO_SUCH_WH' does not exist or not authorized.
    hint: check the case of the name, the role and the default schema, then the name itself: unquoted names are upper-case, and a role without rights sees nothing
    ");
}

#[tokio::test]
async fn an_unknown_role() {
    says!(failure_of("warehouse: COMPUTE_WH", "role: NO_SUCH_ROLE").await, @"
    Configuration: `POST 127.0.0.1:PORT/api/v2/statements`: warehouse, database or role does not exist (code 390201, sqlState 08004): The requested role 'NO_SUCH_ROLE' does not exist or not authorized.
    hint: check the case of the name, the role and the default schema, then the name itself: unquoted names are upper-case, and a role without rights sees nothing
    ");
}

#[tokio::test]
async fn an_unknown_table() {
    says!(failure_of("TPCH_SF1.CUSTOMER", "TPCH_SF1.CUSTOMERS").await, @"
    Configuration: `syncs/customers.yaml`: `GET 127.0.0.1:PORT/api/v2/statements/UUID`: an object does not exist or the role may not see it (code 002003, sqlState 42S02): SQL compilation error: Object 'SNOWFLAKE_SAMPLE_DATA.TPCH_SF1.CUSTOMERS' does not exist or not authorized.
    hint: check the case of the name, the role and the default schema, then the name itself: unquoted names are upper-case, and a role without rights sees nothing
    ");
}

#[tokio::test]
async fn a_query_that_is_not_sql() {
    let to = "query: SELECT * FORM SNOWFLAKE_SAMPLE_DATA.TPCH_SF1.CUSTOMER";
    says!(failure_of("table: SNOWFLAKE_SAMPLE_DATA.TPCH_SF1.CUSTOMER", to).await, @"
    Configuration: `syncs/customers.yaml`: `GET 127.0.0.1:PORT/api/v2/statements/UUID`: the model is not valid SQL (code 001003, sqlState 42000): SQL compilation error: syntax error: sql parser error: Expected: ), found: * at Line: 3, Column: 8
    hint: run it in a worksheet with the role of the sync
    ");
}

#[tokio::test]
async fn a_run_that_nobody_began() {
    let world = world().await;
    let run = run_ref("customers", FIRST);
    let event = map::Event { sync: run.sync.clone(), run: run.run.clone(), chunk: 0 };
    says!(map::handle(&world.parts.store, event).await.unwrap_err(), @"
    Configuration: object `runs/customers/20260101T000000Z/result.json` does not exist
    hint: an earlier stage writes it: check that the run, the bucket and the prefix are the right ones
    ");
    says!(world.drive(run).await.unwrap_err(), @"
    Configuration: object `runs/customers/20260101T000000Z/run.json` does not exist
    hint: an earlier stage writes it: check that the run, the bucket and the prefix are the right ones
    ");
    assert_mended(&world).await;
}

#[test]
fn a_secret_file_that_is_not_usable() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("snowflake.json");
    let read = || secret::<snowflake::Secret>(&file).unwrap_err();
    says!(read(), @"
    Configuration: `FOLDER/snowflake.json` cannot be read: entity not found
    hint: the README says which keys each secret has
    ");
    std::fs::write(&file, r#"{"user": "ME", "private_key": "MARKED"}"#).unwrap();
    says!(read(), @"
    Configuration: `FOLDER/snowflake.json` is not such a secret: `account` is missing (line 1, column 39)
    hint: the README says which keys each secret has
    ");
    std::fs::write(&file, "-----BEGIN PRIVATE KEY-----\nMARKED").unwrap();
    let failure = read();
    assert!(!failure.to_string().contains("MARKED"), "{failure}");
    says!(failure, @"
    Configuration: `FOLDER/snowflake.json` is not such a secret: it is not JSON (line 1, column 2)
    hint: the README says which keys each secret has
    ");
    std::fs::write(&file, r#"{"account": "MYORG-ACCT", "user": "ME", "private_key": ["MARKED"]}"#).unwrap();
    let failure = read();
    assert!(!failure.to_string().contains("MARKED"), "{failure}");
}

#[test]
fn a_private_key_that_is_none() {
    let document = json!({"account": "MYORG-ACCT", "user": "ME", "private_key": "MARKED"});
    let failure = snowflake::Client::new(serde_json::from_value(document).unwrap()).unwrap_err();
    assert!(!failure.to_string().contains("MARKED"), "{failure}");
    says!(failure, @"
    Configuration: the secret of Snowflake: `private_key` is no RSA private key in PEM form
    hint: make one with `openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048`
    ");
}

#[tokio::test]
async fn plain_http_to_another_machine() {
    let world = world().await;
    let mut document: Value = serde_json::from_str(&world.snowflake.secret_json()).unwrap();
    document["host"] = "http://snowflake.example".into();
    says!(snowflake::Client::new(serde_json::from_value(document).unwrap()).unwrap_err(), @"
    Configuration: the secret of Snowflake: `host`: `http://snowflake.example` would send credentials in the clear
    hint: use `https`; plain `http` is for an emulator on this machine only
    ");
    let mut document: Value = serde_json::from_str(&world.org.secret_json()).unwrap();
    document["login_url"] = "http://login.example".into();
    says!(salesforce::Client::new(serde_json::from_value(document).unwrap()).unwrap_err(), @"
    Configuration: the secret of Salesforce: `login_url`: `http://login.example` would send credentials in the clear
    hint: use `https`; plain `http` is for an emulator on this machine only
    ");
}

#[tokio::test]
async fn validate_fails_for_one_bad_file() {
    let world = world().await;
    let folder = world.syncs.to_str().unwrap();
    let validate = || Cli::parse_from(["backhaul", "validate", "--syncs", folder]).execute();
    assert_exit(validate().await, true);
    std::fs::write(world.syncs.join("broken.yaml"), "model: 7\n").unwrap();
    assert_exit(validate().await, false);
    let named = Cli::parse_from(["backhaul", "validate", "--syncs", folder, "customers"]);
    assert_exit(named.execute().await, true);
    let nowhere = Cli::parse_from(["backhaul", "validate", "--syncs", "/nowhere/at/all"]);
    says!(nowhere.execute().await.unwrap_err(), @"
    Configuration: the folder of syncs `FOLDER/all` cannot be read: entity not found
    hint: it holds one YAML file for each sync; on the command line, `--syncs` names it
    ");
}

#[tokio::test]
async fn the_command_fails_with_bad_credentials_and_ends_well_with_good_ones() {
    let world = world().await;
    let folder = tempfile::tempdir().unwrap();
    let files = [folder.path().join("snowflake.json"), folder.path().join("salesforce.json")];
    std::fs::write(&files[1], world.org.secret_json()).unwrap();
    let mut document: Value = serde_json::from_str(&world.snowflake.secret_json()).unwrap();
    document["user"] = "NOBODY".into();
    std::fs::write(&files[0], document.to_string()).unwrap();
    let failure = command(&world, &files).execute().await.unwrap_err();
    assert_eq!(failure.class, Class::Configuration, "{failure}");
    assert_eq!(world.org.jobs().len(), 0);

    std::fs::write(&files[0], world.snowflake.secret_json()).unwrap();
    assert_exit(command(&world, &files).execute().await, true);
    assert_eq!(world.org.write_counts("Account"), [150, 0, 0]);
}

fn command(world: &World, files: &[impl AsRef<Path>; 2]) -> Cli {
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let (syncs, bucket) = (path(&world.syncs), path(&world.bucket()));
    let [snowflake, salesforce] = [path(files[0].as_ref()), path(files[1].as_ref())];
    let options =
        ["--syncs", &syncs, "--bucket", &bucket, "--snowflake", &snowflake, "--salesforce", &salesforce];
    Cli::parse_from(["backhaul", "run", "customers"].into_iter().chain(options))
}

fn assert_exit(code: Result<std::process::ExitCode, Failure>, well: bool) {
    let expected = if well { std::process::ExitCode::SUCCESS } else { std::process::ExitCode::FAILURE };
    assert_eq!(format!("{:?}", code.unwrap()), format!("{expected:?}"));
}

/// An address at which nobody listens.
fn closed_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

fn snowflake(world: &World, changes: &Value) -> snowflake::Client {
    let secret = serde_json::from_value(changed(&world.snowflake.secret_json(), changes)).unwrap();
    snowflake::Client::with_retry(secret, RetryPolicy::immediate()).unwrap()
}

fn salesforce(world: &World, changes: &Value) -> salesforce::Client {
    let secret = serde_json::from_value(changed(&world.org.secret_json(), changes)).unwrap();
    salesforce::Client::with_retry(secret, RetryPolicy::immediate()).unwrap()
}

fn changed(secret: &str, changes: &Value) -> Value {
    let mut document: Value = serde_json::from_str(secret).unwrap();
    for (key, value) in changes.as_object().unwrap() {
        document[key] = value.clone();
    }
    document
}

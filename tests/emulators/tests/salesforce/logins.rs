//! Logins, sessions and what ends them.

use emulators::salesforce::{Org, OrgConfig};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::world::{World, jiff_now};

#[tokio::test(flavor = "multi_thread")]
async fn logins_are_checked_claim_by_claim() {
    let world = World::new(OrgConfig::default()).await;
    assert!(world.token.starts_with("00D") && world.token.contains('!'));
    let other = Org::start(OrgConfig::default()).await.unwrap();
    for (bend, error, description) in [
        (("iss", json!("other")), "invalid_client_id", "client identifier invalid"),
        (("aud", json!("https://example.com")), "invalid_grant", "audience is invalid"),
        (("sub", json!("nobody@example.com")), "invalid_grant", "user hasn't approved this consumer"),
        (("exp", json!(jiff_now() - 1)), "invalid_grant", "expired authorization code"),
    ] {
        let (status, body) = world.token(|claims| claims[bend.0] = bend.1.clone()).await;
        assert_eq!(status, 400);
        assert_eq!(body, json!({"error": error, "error_description": description}));
    }
    for exp in [json!((jiff_now() + 60).to_string()), json!((jiff_now() + 300) * 1000)] {
        assert_eq!(world.token(|claims| claims["exp"] = exp).await.0, 200);
    }
    // A key that the org does not know.
    let secret: Value = serde_json::from_str(&other.secret_json()).unwrap();
    let stranger = emulators::snowflake::Snowflake::start(emulators::snowflake::Config::default()).unwrap();
    let key = EncodingKey::from_rsa_pem(stranger.private_key_pem().as_bytes()).unwrap();
    let claims = json!({
        "iss": secret["client_id"], "sub": secret["username"], "aud": "https://login.salesforce.com",
        "exp": jiff_now() + 60,
    });
    let forged = encode(&Header::new(Algorithm::RS256), &claims, &key).unwrap();
    let (status, body) = world.exchange(&forged).await;
    assert_eq!((status, body["error_description"].as_str()), (400, Some("invalid assertion")));
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_shared_and_end_for_all() {
    let mut world = World::new(OrgConfig::default()).await;
    let first = world.token.clone();
    world.login().await;
    assert_eq!(world.token, first);
    let response = world.send(Method::GET, "/limits", None).await;
    assert!(response.headers()["sforce-limit-info"].to_str().unwrap().starts_with("api-usage=1/"));
    world.org.expire_tokens();
    let (status, body) = world.get("/limits").await;
    assert_eq!(status, 401);
    let expected = json!([{"errorCode": "INVALID_SESSION_ID", "message": "Session expired or invalid"}]);
    assert_eq!(body, expected);
    world.login().await;
    assert_ne!(world.token, first);
    let url = format!("{}/services/data", world.org.url());
    let versions: Value = world.client.get(url).send().await.unwrap().json().await.unwrap();
    assert!(versions.as_array().unwrap().iter().any(|version| version["version"] == "66.0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn client_credentials_need_the_right_secret() {
    let org = Org::start(OrgConfig::default()).await.unwrap();
    let config = OrgConfig::default();
    let url = format!("{}/services/oauth2/token", org.url());
    let form = [("grant_type", "client_credentials")];
    let ask = |secret: &str| {
        Client::new().post(&url).basic_auth(&config.client_id, Some(secret)).form(&form).send()
    };
    assert_eq!(ask(&config.client_secret).await.unwrap().status(), 200);
    let refused: Value = ask("wrong").await.unwrap().json().await.unwrap();
    assert_eq!(refused["error"], "invalid_client");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_comes_with_all_that_clients_look_for() {
    let config = OrgConfig::default();
    let world = World::with(|_| {}).await;
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", config.client_id.as_str()),
        ("client_secret", config.client_secret.as_str()),
        ("redirect_uri", "ignored"),
    ];
    let (status, body) = world.oauth("token", &form).await;
    assert_eq!((status, body["token_type"].as_str()), (200, Some("Bearer")));
    let token = body["access_token"].as_str().unwrap();
    let (org, rest) = token.split_once('!').unwrap();
    assert!(org.starts_with("00D") && org.len() == 15 && !rest.is_empty(), "{token}");
    assert_eq!(body["instance_url"], world.org.url());
    let tail: Vec<&str> = body["id"].as_str().unwrap().rsplit('/').take(2).collect();
    assert!(tail[0].starts_with("005") && tail[1].starts_with("00D"), "{tail:?}");
    assert!(body["issued_at"].as_str().unwrap().parse::<i64>().unwrap() > 1_700_000_000_000);
    assert!(!body["signature"].as_str().unwrap().is_empty() && !body["scope"].as_str().unwrap().is_empty());
    assert_eq!(world.oauth("token", &[("grant_type", "magic")]).await.1["error"], "unsupported_grant_type");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_audience_of_the_org_is_accepted() {
    let world = World::with(|_| {}).await;
    for audience in ["https://login.salesforce.com", "https://test.salesforce.com", &world.org.url()] {
        let (status, body) = world.token(|claims| claims["aud"] = json!(audience)).await;
        assert_eq!(status, 200, "{audience}: {body}");
    }
    // The older name of the user wins over the newer.
    let (status, _) = world.token(|claims| claims["prn"] = json!("nobody@example.com")).await;
    assert_eq!(status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_open_a_session_only_where_they_may() {
    let ask = async |world: &World, password: &str| {
        let config = OrgConfig::default();
        let form = [
            ("grant_type", "password"),
            ("client_id", &config.client_id),
            ("client_secret", &config.client_secret),
            ("username", &config.username),
            ("password", password),
        ];
        world.oauth("token", &form).await
    };
    let refused = json!({"error": "invalid_grant", "error_description": "authentication failure"});
    let closed = World::with(|_| {}).await;
    assert_eq!(ask(&closed, "secret").await, (400, refused.clone()));
    let open = World::with(|config| config.password = Some("secret+token".to_owned())).await;
    assert_eq!(ask(&open, "secret").await, (400, refused));
    assert_eq!(ask(&open, "secret+token").await.1["access_token"], open.token);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_can_be_asked_about_and_revoked() {
    let mut world = World::with(|_| {}).await;
    let config = OrgConfig::default();
    let response = world.request(Method::GET, "/services/oauth2/userinfo").send().await.unwrap();
    let info: Value = response.json().await.unwrap();
    assert_eq!(info["preferred_username"], config.username);
    let user = format!("/sobjects/User/{}", info["user_id"].as_str().unwrap());
    assert_eq!(world.get(&user).await.1["Username"], config.username);

    let token = world.token.clone();
    let ask = [("token", token.as_str()), ("token_type_hint", "access_token")];
    assert_eq!(
        world.oauth("introspect", &ask).await,
        (200, json!({"active": false})),
        "no client, no answer"
    );
    let client = [("client_id", config.client_id.as_str()), ("client_secret", config.client_secret.as_str())];
    let ask = [&ask[..], &client[..]].concat();
    let (_, answer) = world.oauth("introspect", &ask).await;
    assert_eq!(
        (&answer["active"], answer["username"].as_str()),
        (&json!(true), Some(config.username.as_str()))
    );
    assert_eq!(answer["exp"].as_i64().unwrap() - answer["iat"].as_i64().unwrap(), 7_200);

    // Another holder of the same session loses it, too.
    world.login().await;
    assert_eq!(world.token, token);
    assert_eq!(world.oauth("revoke", &[("token", token.as_str())]).await.0, 200);
    assert_eq!(world.get("/limits").await.0, 401);
    assert_eq!(world.oauth("introspect", &ask).await.1, json!({"active": false}));
    assert_eq!(
        world.oauth("revoke", &[("token", token.as_str())]).await.1["error"],
        "unsupported_token_type"
    );
    world.login().await;
    assert_ne!(world.token, token);
    let revoke =
        world.client.get(format!("{}/services/oauth2/revoke?token={}", world.org.url(), world.token));
    assert_eq!(revoke.send().await.unwrap().status(), 200);
    assert_eq!(world.get("/limits").await.0, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_are_not_shared_end_one_by_one() {
    let mut world = World::with(|config| config.share_sessions = false).await;
    let first = world.token.clone();
    world.login().await;
    assert_ne!(world.token, first);
    assert_eq!(world.oauth("revoke", &[("token", first.as_str())]).await.0, 200);
    assert_eq!(world.get("/limits").await.0, 200);
    world.org.advance_clock(std::time::Duration::from_secs(7_200));
    assert_eq!(world.get("/limits").await.0, 401);
}

/// The request of simple-salesforce, and what came back as text.
async fn soap(world: &World, version: &str, password: &str) -> (u16, String) {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\" ?><env:Envelope xmlns:env=\"http://schemas.xmlsoap.org/soap/envelope/\">\
         <env:Body><n1:login xmlns:n1=\"urn:partner.soap.sforce.com\"><n1:username>{}</n1:username>\
         <n1:password>{password}</n1:password></n1:login></env:Body></env:Envelope>",
        OrgConfig::default().username
    );
    let url = format!("{}/services/Soap/u/{version}", world.org.url());
    let post = world.client.post(url).header("content-type", "text/xml").header("soapaction", "login");
    let response = post.body(body).send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

fn inside<'a>(text: &'a str, name: &str) -> &'a str {
    let (_, rest) = text.split_once(&format!("<{name}>")).unwrap();
    rest.split_once(&format!("</{name}>")).unwrap().0
}

#[tokio::test(flavor = "multi_thread")]
async fn soap_logins_answer_in_xml() {
    let mut world = World::with(|config| config.password = Some("a<b&c".to_owned())).await;
    let (status, text) = soap(&world, "59.0", "a&lt;b&amp;c").await;
    assert_eq!((status, inside(&text, "passwordExpired")), (200, "false"));
    assert!(inside(&text, "serverUrl").starts_with(&format!("{}/services/Soap/u/59.0/00D", world.org.url())));
    assert!(inside(&text, "userId").starts_with("005") && inside(&text, "organizationId").starts_with("00D"));
    world.token = inside(&text, "sessionId").to_owned();
    assert_eq!(world.get("/limits").await.0, 200);

    let closed = World::with(|_| {}).await;
    for (world, version, password, code) in [
        (&world, "59.0", "wrong", "INVALID_LOGIN"),
        (&world, "65.0", "a&lt;b&amp;c", "UNSUPPORTED_API_VERSION"),
        (&world, "30.0", "a&lt;b&amp;c", "UNSUPPORTED_API_VERSION"),
        (&closed, "59.0", "any", "INVALID_OPERATION"),
    ] {
        let (status, text) = soap(world, version, password).await;
        assert_eq!((status, inside(&text, "sf:exceptionCode")), (500, code));
        assert!(inside(&text, "faultstring").starts_with(&format!("{code}: ")));
        assert!(!inside(&text, "sf:exceptionMessage").is_empty());
    }
}

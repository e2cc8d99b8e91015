//! OAuth: JWT bearer, client credentials and passwords; sessions and what can be asked about them.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::http::{Incoming, empty_reply, json_reply, method_not_allowed, pairs};
use super::{Shared, ids};

/// The certificate of the connected app, with the private half for the client.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) pem: String,
    public: Vec<u8>,
}

impl Identity {
    /// The pair of every org of this process: making one takes a noticeable time.
    pub(crate) fn shared() -> Self {
        static IDENTITY: OnceLock<Identity> = OnceLock::new();
        IDENTITY.get_or_init(Self::generate).clone()
    }

    /// A fresh RSA pair of 2048 bits.
    fn generate() -> Self {
        let pair = KeyPair::generate(KeySize::Rsa2048).expect("the system's randomness works");
        let der: Pkcs8V1Der<'_> = pair.as_der().expect("a fresh pair can be written");
        let text = STANDARD.encode(der.as_ref());
        let lines: Vec<&str> =
            text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"));
        Self { pem, public: pair.public_key().as_ref().to_vec() }
    }
}

#[derive(Clone, Debug)]
struct Session {
    issued: i64,
    expires: i64,
}

/// Live sessions by token.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    live: HashMap<String, Session>,
    current: Option<String>,
}

impl Sessions {
    /// Ends all sessions.
    pub(crate) fn expire(&mut self) {
        self.live.clear();
        self.current = None;
    }

    fn is_live(&self, token: &str, now: i64) -> bool {
        self.live.get(token).is_some_and(|session| session.expires > now)
    }

    /// A token: the running one if sessions are shared, a new one otherwise.
    fn open(&mut self, now: i64, lifetime: i64, share: bool) -> String {
        let running = self.current.clone().filter(|token| share && self.is_live(token, now));
        if let Some(token) = running {
            return token;
        }
        let noise = [uuid::Uuid::new_v4(), uuid::Uuid::new_v4()].map(|id| id.simple().to_string()).concat();
        let token = format!("{}!AQcAQ.{noise}", &ids::id("00D", 1)[..15]);
        self.live.insert(token.clone(), Session { issued: now, expires: now + lifetime });
        self.current = Some(token.clone());
        token
    }
}

/// Checks that a request carries the token of a live session; the error is code and message.
pub(crate) fn authorised(
    org: &Shared,
    authorization: Option<&str>,
) -> Result<(), (&'static str, &'static str)> {
    let ended = ("INVALID_SESSION_ID", "Session expired or invalid");
    let header = authorization.ok_or(ended)?;
    let token = header.strip_prefix("Bearer ").or(header.strip_prefix("OAuth "));
    let token = token.ok_or(("INVALID_AUTH_HEADER", "INVALID_HEADER_TYPE"))?;
    org.sessions().is_live(token, org.now()).then_some(()).ok_or(ended)
}

/// Answers a request below `/services/oauth2` that needs no session.
pub(crate) fn route(org: &Arc<Shared>, call: &str, request: &Incoming) -> Response {
    let form = pairs(&String::from_utf8_lossy(&request.body));
    let client = client(request, &form);
    match (request.method.as_str(), call) {
        ("POST", "token") => token(org, &form, &client).unwrap_or_else(|refused| refused),
        ("POST", "introspect") => introspect(org, &form, &client),
        ("POST", "revoke") => revoke(org, field(&form, "token")),
        ("GET", "revoke") => revoke(org, request.parameter("token")),
        (method, _) => method_not_allowed(method),
    }
}

/// Answers `/services/oauth2/userinfo`.
pub(crate) fn user_info(org: &Arc<Shared>) -> Response {
    let user = &org.config.username;
    json_reply(
        200,
        &json!({
            "user_id": ids::id("005", 1), "organization_id": ids::id("00D", 1), "preferred_username": user,
            "email": user, "sub": format!("{}/id/{}/{}", org.url(), ids::id("00D", 1), ids::id("005", 1)),
        }),
    )
}

fn field<'a>(form: &'a [(String, String)], name: &str) -> Option<&'a str> {
    form.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// Client id and secret, from the form or from HTTP Basic.
fn client(request: &Incoming, form: &[(String, String)]) -> (String, String) {
    let basic = request.header("authorization").and_then(|header| header.strip_prefix("Basic "));
    let basic = basic.and_then(|text| String::from_utf8(STANDARD.decode(text).ok()?).ok());
    if let Some((id, secret)) = basic.as_deref().and_then(|pair| pair.split_once(':')) {
        return (id.to_owned(), secret.to_owned());
    }
    let take = |name| field(form, name).unwrap_or_default().to_owned();
    (take("client_id"), take("client_secret"))
}

fn refuse(error: &str, description: &str) -> Response {
    json_reply(400, &json!({"error": error, "error_description": description}))
}

fn token(
    org: &Arc<Shared>,
    form: &[(String, String)],
    client: &(String, String),
) -> Result<Response, Response> {
    match field(form, "grant_type") {
        Some("urn:ietf:params:oauth:grant-type:jwt-bearer") => {
            check_assertion(org, field(form, "assertion").unwrap_or_default())?;
        }
        Some("client_credentials") => check_client(org, client)?,
        Some("password") => check_password_grant(org, form, client)?,
        _ => return Err(refuse("unsupported_grant_type", "grant type not supported")),
    }
    throttle(org)?;
    let token = open_session(org);
    let id = format!("{}/id/{}/{}", org.url(), ids::id("00D", 1), ids::id("005", 1));
    let body = json!({
        "access_token": token, "scope": "api id", "token_type": "Bearer", "instance_url": org.url(), "id": id,
        "issued_at": org.now().to_string(), "signature": STANDARD.encode(id.as_bytes()),
    });
    Ok(json_reply(200, &body))
}

/// The token of a session, a new one or the running one.
pub(crate) fn open_session(org: &Shared) -> String {
    let lifetime = i64::try_from(org.config.session_lifetime.as_millis()).unwrap_or(i64::MAX / 2);
    org.sessions().open(org.now(), lifetime, org.config.share_sessions)
}

/// Why a password does not open a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LoginError {
    /// The org lets nobody in by password.
    Disabled,
    /// User or password is not right.
    Wrong,
}

/// Checks a user's password.
pub(crate) fn check_password(org: &Shared, user: &str, password: &str) -> Result<(), LoginError> {
    let right = org.config.password.as_deref().ok_or(LoginError::Disabled)?;
    (user == org.config.username && password == right).then_some(()).ok_or(LoginError::Wrong)
}

fn check_password_grant(
    org: &Arc<Shared>,
    form: &[(String, String)],
    client: &(String, String),
) -> Result<(), Response> {
    check_client(org, client)?;
    let told = |name| field(form, name).unwrap_or_default();
    check_password(org, told("username"), told("password"))
        .map_err(|_| refuse("invalid_grant", "authentication failure"))
}

fn check_client(org: &Arc<Shared>, client: &(String, String)) -> Result<(), Response> {
    let config = &org.config;
    if client.0 != config.client_id {
        return Err(refuse("invalid_client_id", "client identifier invalid"));
    }
    let right = client.1 == config.client_secret;
    right.then_some(()).ok_or_else(|| refuse("invalid_client", "invalid client credentials"))
}

/// Takes one login from the hour's allocation.
pub(crate) fn throttle(org: &Shared) -> Result<(), Response> {
    let taken = org.usage.logins.take(org.now(), 1);
    taken.map(|_| ()).ok_or_else(|| refuse("invalid_grant", "login rate exceeded"))
}

fn check_assertion(org: &Arc<Shared>, assertion: &str) -> Result<(), Response> {
    let malformed = || refuse("invalid_grant", "invalid assertion");
    let (signed, signature) = assertion.rsplit_once('.').ok_or_else(malformed)?;
    let (head, claims) = signed.split_once('.').ok_or_else(malformed)?;
    let (head, claims) = (part(head).ok_or_else(malformed)?, part(claims).ok_or_else(malformed)?);
    if head["alg"] != "RS256" {
        return Err(malformed());
    }
    check_claims(org, &claims)?;
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| malformed())?;
    let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &org.identity.public);
    key.verify(signed.as_bytes(), &signature).map_err(|_| malformed())
}

fn part(text: &str) -> Option<Value> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()
}

fn check_claims(org: &Arc<Shared>, claims: &Value) -> Result<(), Response> {
    if claims["iss"] != *org.config.client_id {
        return Err(refuse("invalid_client_id", "client identifier invalid"));
    }
    let audiences = ["https://login.salesforce.com", "https://test.salesforce.com", &org.url()];
    let audience = claims["aud"].as_str().unwrap_or_default().trim_end_matches('/');
    if !audiences.contains(&audience) {
        return Err(refuse("invalid_grant", "audience is invalid"));
    }
    if !expires_later(&claims["exp"]) {
        return Err(refuse("invalid_grant", "expired authorization code"));
    }
    // `prn` is the older name and wins.
    let user = claims["prn"].as_str().or(claims["sub"].as_str());
    if user != Some(&org.config.username) {
        return Err(refuse("invalid_grant", "user hasn't approved this consumer"));
    }
    Ok(())
}

/// Expiry in seconds, as a number or a text; however far off, but not past.
fn expires_later(exp: &Value) -> bool {
    let seconds = exp.as_u64().or_else(|| exp.as_str()?.parse().ok());
    let now = u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or_default();
    seconds.is_some_and(|seconds| seconds > now)
}

fn introspect(org: &Arc<Shared>, form: &[(String, String)], client: &(String, String)) -> Response {
    if check_client(org, client).is_err() {
        return json_reply(200, &json!({"active": false}));
    }
    let token = field(form, "token").unwrap_or_default();
    let session = org.sessions().live.get(token).cloned().filter(|session| session.expires > org.now());
    match session {
        None => json_reply(200, &json!({"active": false})),
        Some(session) => json_reply(
            200,
            &json!({
                "active": true, "scope": "api id", "client_id": org.config.client_id, "token_type": "access_token",
                "username": org.config.username, "exp": session.expires / 1000, "iat": session.issued / 1000,
            }),
        ),
    }
}

/// Kills a session for all who hold its token.
fn revoke(org: &Arc<Shared>, token: Option<&str>) -> Response {
    match org.sessions().live.remove(token.unwrap_or_default()) {
        Some(_) => empty_reply(200),
        None => refuse("unsupported_token_type", "this token type is not supported"),
    }
}

/// The list of versions, which needs no session.
pub(crate) fn versions() -> Response {
    let versions = (super::OLDEST..=super::NEWEST).map(|version| {
        json!({
            "label": format!("Release {version}"), "url": format!("/services/data/v{version}.0"),
            "version": format!("{version}.0"),
        })
    });
    json_reply(200, &versions.collect())
}

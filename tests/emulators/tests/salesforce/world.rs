//! An org, a client, and the calls that every test makes.

use std::collections::BTreeMap;
use std::time::Duration;

use emulators::salesforce::{Org, OrgConfig, OrgServer};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use reqwest::{Certificate, Client, Method, Response};
use serde_json::{Value, json};

/// The content type of uploads.
pub(crate) const CSV: &str = "text/csv";
pub(crate) const BASE: &str = "/services/data/v66.0";

/// An org and a client that is logged in.
pub(crate) struct World {
    pub(crate) org: OrgServer,
    pub(crate) client: Client,
    pub(crate) token: String,
}

impl World {
    pub(crate) async fn new(config: OrgConfig) -> Self {
        let org = Org::start(config).await.unwrap();
        let client = client(&org);
        let mut world = Self { org, client, token: String::new() };
        world.login().await;
        world
    }

    /// A world that is like the default in all but one respect.
    pub(crate) async fn with(change: impl FnOnce(&mut OrgConfig)) -> Self {
        let mut config = OrgConfig::default();
        change(&mut config);
        Self::new(config).await
    }

    pub(crate) async fn login(&mut self) {
        let (status, body) = self.token(|_| {}).await;
        assert_eq!(status, 200, "{body}");
        self.token = body["access_token"].as_str().unwrap().to_owned();
    }

    /// Asks for a token with claims that a test may bend.
    pub(crate) async fn token(&self, bend: impl FnOnce(&mut Value)) -> (u16, Value) {
        let secret: Value = serde_json::from_str(&self.org.secret_json()).unwrap();
        let mut claims = json!({
            "iss": secret["client_id"], "sub": secret["username"], "aud": secret["login_url"],
            "exp": jiff_now() + 120,
        });
        bend(&mut claims);
        let key = EncodingKey::from_rsa_pem(secret["private_key"].as_str().unwrap().as_bytes()).unwrap();
        let assertion = encode(&Header::new(Algorithm::RS256), &claims, &key).unwrap();
        self.exchange(&assertion).await
    }

    pub(crate) async fn exchange(&self, assertion: &str) -> (u16, Value) {
        let form = [("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"), ("assertion", assertion)];
        let url = format!("{}/services/oauth2/token", self.org.url());
        let response = self.client.post(url).form(&form).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    pub(crate) async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Response {
        let url = format!("{}{BASE}{path}", self.org.url());
        let request = self.client.request(method, url).bearer_auth(&self.token);
        let request = if let Some(body) = body { request.json(body) } else { request };
        request.send().await.unwrap()
    }

    pub(crate) async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> (u16, Value) {
        let response = self.send(method, path, body).await;
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        self.call(Method::GET, path, None).await
    }

    pub(crate) async fn create(&self, object: &str, operation: &str, key: Option<&str>) -> String {
        let mut wish = json!({"object": object, "operation": operation, "lineEnding": "LF"});
        if let Some(key) = key {
            wish["externalIdFieldName"] = json!(key);
        }
        let (status, job) = self.call(Method::POST, "/jobs/ingest", Some(&wish)).await;
        assert_eq!((status, job["state"].as_str()), (200, Some("Open")), "{job}");
        job["id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn upload(&self, job: &str, csv: &str) -> (u16, Value) {
        let url = format!("{}{BASE}/jobs/ingest/{job}/batches/", self.org.url());
        let request = self.client.put(url).bearer_auth(&self.token).header("content-type", CSV);
        let response = request.body(csv.to_owned()).send().await.unwrap();
        let status = response.status().as_u16();
        (status, serde_json::from_str(&response.text().await.unwrap()).unwrap_or(Value::Null))
    }

    pub(crate) async fn set_state(&self, job: &str, state: &str) -> (u16, Value) {
        self.call(Method::PATCH, &format!("/jobs/ingest/{job}"), Some(&json!({"state": state}))).await
    }

    /// A request to any path, with the token.
    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}{path}", self.org.url())).bearer_auth(&self.token)
    }

    /// Asks the OAuth resources.
    pub(crate) async fn oauth(&self, call: &str, form: &[(&str, &str)]) -> (u16, Value) {
        let url = format!("{}/services/oauth2/{call}", self.org.url());
        let response = self.client.post(url).form(form).send().await.unwrap();
        let status = response.status().as_u16();
        (status, serde_json::from_str(&response.text().await.unwrap()).unwrap_or(Value::Null))
    }

    /// Asks for a job until it has ended.
    pub(crate) async fn ended(&self, job: &str) -> Value {
        loop {
            let (status, info) = self.get(&format!("/jobs/ingest/{job}")).await;
            assert_eq!(status, 200, "{info}");
            if ["JobComplete", "Failed", "Aborted"].contains(&info["state"].as_str().unwrap()) {
                return info;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// A whole job, from creation to its end.
    pub(crate) async fn run(
        &self,
        object: &str,
        operation: &str,
        key: Option<&str>,
        csv: &str,
    ) -> (String, Value) {
        let job = self.create(object, operation, key).await;
        assert_eq!(self.upload(&job, csv).await.0, 201);
        assert_eq!(self.set_state(&job, "UploadComplete").await.0, 200);
        let info = self.ended(&job).await;
        (job, info)
    }

    pub(crate) async fn text(&self, job: &str, part: &str) -> String {
        let response = self.send(Method::GET, &format!("/jobs/ingest/{job}/{part}"), None).await;
        assert_eq!(response.status(), 200);
        response.text().await.unwrap()
    }

    /// A result file as rows by the value of one column.
    pub(crate) async fn rows(
        &self,
        job: &str,
        part: &str,
        by: &str,
    ) -> BTreeMap<String, BTreeMap<String, String>> {
        let text = self.text(job, part).await;
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let rows = reader.deserialize::<BTreeMap<String, String>>().map(Result::unwrap);
        rows.map(|row| (row[by].clone(), row)).collect()
    }
}

/// A client that trusts the org's authority, if it has one, and no other.
fn client(org: &OrgServer) -> Client {
    let authority = org.certificate().map(|pem| Certificate::from_pem(pem.as_bytes()).unwrap());
    authority
        .map_or_else(Client::new, |authority| Client::builder().tls_certs_only([authority]).build().unwrap())
}

pub(crate) fn jiff_now() -> i64 {
    jiff::Timestamp::now().as_second()
}

pub(crate) fn errors(rows: &BTreeMap<String, BTreeMap<String, String>>) -> BTreeMap<&str, &str> {
    rows.iter().map(|(key, row)| (key.as_str(), row["sf__Error"].as_str())).collect()
}

pub(crate) const KEY: Option<&str> = Some("Customer_Key__c");

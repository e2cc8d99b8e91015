//! From a raw request to the handler in charge: sessions, call allocation, counting.

use std::sync::Arc;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::response::Response;
use bytes::Bytes;

use super::http::{Incoming, error, json_reply, method_not_allowed, not_found, pairs, path_parts};
use super::{NEWEST, OLDEST, Shared, auth, jobs, query_jobs, rest};

/// The largest request that is not an upload.
const JSON_LIMIT: usize = 52_428_800;

/// All routes of an org.
pub(crate) fn router(org: Arc<Shared>) -> Router {
    Router::new().fallback(handle).with_state(org)
}

async fn handle(State(org): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let mut incoming = Incoming {
        method: parts.method.as_str().to_owned(),
        path: path_parts(parts.uri.path()),
        query: pairs(parts.uri.query().unwrap_or_default()),
        headers: parts.headers,
        body: Bytes::new(),
    };
    let limit = if incoming.method == "PUT" { org.config.upload_limit } else { JSON_LIMIT };
    incoming.body = match to_bytes(body, limit).await {
        Ok(body) => body,
        Err(_) => return error(413, "CLIENTINPUTERROR", "The request is larger than the limit"),
    };
    let worker = tokio::task::spawn_blocking(move || answer(&org, &incoming));
    worker.await.unwrap_or_else(|_| error(500, "UNKNOWN_EXCEPTION", "An unexpected error occurred"))
}

fn answer(org: &Arc<Shared>, request: &Incoming) -> Response {
    let path: Vec<&str> = request.path.iter().map(String::as_str).collect();
    *org.requests().entry(label(&request.method, &path)).or_default() += 1;
    match path[..] {
        ["services", "oauth2", call @ ("token" | "revoke" | "introspect")] => match request.method.as_str() {
            "POST" => auth::route(org, call, request),
            method => method_not_allowed(method),
        },
        ["services", "data"] => auth::versions(),
        ["services", ..] => authorised(org, request, &path),
        _ => not_found(),
    }
}

fn authorised(org: &Arc<Shared>, request: &Incoming, path: &[&str]) -> Response {
    if !auth::authorised(org, request.header("authorization")) {
        return error(401, "INVALID_SESSION_ID", "Session expired or invalid");
    }
    let Some(usage) = auth::take_call(org) else {
        return error(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.");
    };
    let mut response = match path {
        ["services", "oauth2", "userinfo"] => auth::user_info(org),
        ["services", "data", version, rest @ ..] => match served(version) {
            Some(version) => data(org, version, request, rest),
            None => not_found(),
        },
        _ => not_found(),
    };
    let usage = HeaderValue::from_str(&usage).expect("numbers make a valid header");
    response.headers_mut().insert("sforce-limit-info", usage);
    response
}

/// `66.0` of `v66.0`, if the org serves it.
fn served(version: &str) -> Option<&str> {
    let version = version.strip_prefix('v')?;
    let major: u32 = version.strip_suffix(".0")?.parse().ok()?;
    (OLDEST..=NEWEST).contains(&major).then_some(version)
}

fn data(org: &Arc<Shared>, version: &str, request: &Incoming, path: &[&str]) -> Response {
    match path {
        [] => {
            let base = format!("/services/data/v{version}");
            let names = ["sobjects", "query", "queryAll", "limits", "composite", "jobs"];
            let entries = names.map(|name| (name.to_owned(), format!("{base}/{name}").into()));
            json_reply(200, &serde_json::Value::Object(entries.into_iter().collect()))
        }
        ["jobs", "ingest", rest @ ..] => jobs::route(org, version, request, rest),
        ["jobs", "query", rest @ ..] => query_jobs::route(org, version, request, rest),
        _ => rest::route(org, version, request, path),
    }
}

/// The call's name in the counts: method and path without version, ids and values.
fn label(method: &str, path: &[&str]) -> String {
    let (rest, version): (&[&str], bool) = match path {
        ["services", "data", _, rest @ ..] if !rest.is_empty() => (rest, true),
        other => (other, false),
    };
    let named: Vec<&str> = match rest {
        ["jobs", kind, _] => vec!["jobs", kind, "{id}"],
        ["jobs", kind, _, part, ..] => vec!["jobs", kind, "{id}", part],
        ["sobjects", object, "describe"] => vec!["sobjects", object, "describe"],
        ["sobjects", object, _] => vec!["sobjects", object, "{id}"],
        ["sobjects", object, field, _] => vec!["sobjects", object, field, "{value}"],
        ["query", _] => vec!["query", "{locator}"],
        other if version => other.to_vec(),
        other => return format!("{method} /{}", other.join("/")),
    };
    format!("{method} /{}", named.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_hide_ids() {
        for (path, expected) in [
            ("/services/data/v66.0/jobs/ingest//", "GET /jobs/ingest"),
            ("/services/data/v66.0/jobs/ingest/750x/failedResults", "GET /jobs/ingest/{id}/failedResults"),
            ("/services/data/v66.0/sobjects/Account/describe/", "GET /sobjects/Account/describe"),
            ("/services/data/v66.0/sobjects/Account/Key__c/1", "GET /sobjects/Account/Key__c/{value}"),
            ("/services/oauth2/userinfo", "GET /services/oauth2/userinfo"),
            ("/services/data", "GET /services/data"),
        ] {
            let parts = path_parts(path);
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            assert_eq!(label("GET", &parts), expected);
        }
        assert_eq!(served("v66.0"), Some("66.0"));
        assert_eq!((served("v66.1"), served("66.0"), served("v9.0")), (None, None, None));
    }
}

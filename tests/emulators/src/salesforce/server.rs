//! From a raw request to the handler in charge: sessions, call allocation, counting.

use std::sync::Arc;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::http::request::Parts;
use axum::response::Response;
use bytes::Bytes;

use super::http::{
    Incoming, error, json_reply, method_not_allowed, not_found, pairs, path_parts, translated,
};
use super::{NEWEST, OLDEST, Shared, auth, jobs, query_jobs, rest, soap};

/// The largest request that is not an upload, in bytes.
const JSON_LIMIT: usize = 52_428_800;
/// The longest address, and the most of address and headers together, in bytes: sections "Status Codes and Error
/// Responses" of the REST API guide, 414 and 431.
const ADDRESS_LIMIT: usize = 16_384;
/// Versions that were served once.
const RETIRED: std::ops::RangeInclusive<u32> = 21..=30;

/// All routes of an org.
pub(crate) fn router(org: Arc<Shared>) -> Router {
    Router::new().fallback(handle).with_state(org)
}

async fn handle(State(org): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    if let Some(refused) = too_long(&parts) {
        return refused;
    }
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

fn too_long(parts: &Parts) -> Option<Response> {
    let address = parts.uri.path_and_query().map_or(0, |whole| whole.as_str().len());
    let headers = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len());
    match address + headers.sum::<usize>() {
        _ if address > ADDRESS_LIMIT => Some(error(414, "URI_TOO_LONG", "The URI is too long")),
        whole if whole > ADDRESS_LIMIT => {
            Some(error(431, "HEADERS_TOO_LONG", "URI and headers are too long"))
        }
        _ => None,
    }
}

fn answer(org: &Arc<Shared>, request: &Incoming) -> Response {
    let path: Vec<&str> = request.path.iter().map(String::as_str).collect();
    *org.requests().entry(label(&request.method, &path)).or_default() += 1;
    let response = match (request.method.as_str(), &path[..]) {
        (_, ["services", "oauth2", call @ ("token" | "revoke" | "introspect")]) => {
            auth::route(org, call, request)
        }
        ("POST", ["services", "Soap", "u", version, ..]) => soap::route(org, version, request),
        ("GET", ["services", "data"]) => auth::versions(),
        (method, ["services", "data"] | ["services", "Soap", ..]) => method_not_allowed(method),
        (_, ["services", ..]) => authorised(org, request, &path),
        _ => not_found(),
    };
    if org.config.foreign_messages { translated(response) } else { response }
}

/// Answers a call that needs a session; whatever comes of it, it tells how much of the day's calls is used.
fn authorised(org: &Arc<Shared>, request: &Incoming, path: &[&str]) -> Response {
    if let Err((code, message)) = auth::authorised(org, request.header("authorization")) {
        return error(401, code, message);
    }
    let mut response = match org.usage.enter(org.now()) {
        Err(message) => error(403, "REQUEST_LIMIT_EXCEEDED", message),
        Ok(_at_work) => {
            org.hold();
            resource(org, request, path)
        }
    };
    let usage = HeaderValue::from_str(&org.usage.header(org.now())).expect("numbers make a valid header");
    response.headers_mut().insert("sforce-limit-info", usage);
    response
}

fn resource(org: &Arc<Shared>, request: &Incoming, path: &[&str]) -> Response {
    match path {
        ["services", "oauth2", "userinfo"] => auth::user_info(org),
        ["services", "data", version, rest @ ..] => match release(version) {
            Some(release) if (OLDEST..=NEWEST).contains(&release) => {
                data(org, &format!("{release}.0"), request, rest)
            }
            Some(release) if RETIRED.contains(&release) => {
                error(410, "UNSUPPORTED_API_VERSION", "This version of the API is no longer available")
            }
            _ => not_found(),
        },
        _ => not_found(),
    }
}

/// `66` of `v66.0`
fn release(version: &str) -> Option<u32> {
    version.strip_prefix('v')?.strip_suffix(".0")?.parse().ok()
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
        ["services", "Soap", kind, _, ..] => return format!("{method} /services/Soap/{kind}/{{version}}"),
        ["services", "data", _, rest @ ..] if !rest.is_empty() => (rest, true),
        other => (other, false),
    };
    let named: Vec<&str> = match rest {
        ["jobs", kind, _] => vec!["jobs", kind, "{id}"],
        ["jobs", kind, _, part, ..] => vec!["jobs", kind, "{id}", part],
        ["sobjects", object, "describe"] => vec!["sobjects", object, "describe"],
        ["sobjects", object, _] => vec!["sobjects", object, "{id}"],
        ["sobjects", object, field, _] => vec!["sobjects", object, field, "{value}"],
        [kind @ ("query" | "queryAll"), _] => vec![kind, "{locator}"],
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
            ("/services/Soap/u/59.0/00D5e0000000001", "GET /services/Soap/u/{version}"),
        ] {
            let parts = path_parts(path);
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            assert_eq!(label("GET", &parts), expected);
        }
        assert_eq!((release("v66.0"), release("v66.1"), release("66.0")), (Some(66), None, None));
    }
}

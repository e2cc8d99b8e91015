//! SOAP `login()`, the last reason why clients speak SOAP: section "login()" of the SOAP API guide.
//!
//! Elements of the answer have no prefix: clients look for them as text.

use std::sync::Arc;

use axum::response::Response;

use super::auth::{self, LoginError};
use super::http::{Incoming, text_reply};
use super::{Shared, ids};

/// The versions that still have the call.
const SERVED: std::ops::RangeInclusive<u32> = 31..=64;

/// A fault: exception code and message.
type Fault = (&'static str, &'static str);

/// Answers a request to `/services/Soap/u/{version}`.
pub(crate) fn route(org: &Arc<Shared>, version: &str, request: &Incoming) -> Response {
    match login(org, version, request) {
        Ok(body) => reply(200, &body),
        Err((code, message)) => reply(500, &fault(code, message)),
    }
}

fn login(org: &Arc<Shared>, version: &str, request: &Incoming) -> Result<String, Fault> {
    let major = version.strip_suffix(".0").and_then(|major| major.parse().ok());
    if !major.is_some_and(|major: u32| SERVED.contains(&major)) {
        return Err(("UNSUPPORTED_API_VERSION", "login() is not available in this version of the API"));
    }
    let unreadable = ("INVALID_OPERATION", "The request body cannot be read");
    let body = request.plain_body().map_err(|_| unreadable)?;
    let text = String::from_utf8_lossy(&body);
    let call = element(&text, "login").ok_or(("INVALID_OPERATION", "Only login() is available here"))?;
    let told = |name| element(call, name).map(unescaped).unwrap_or_default();
    auth::check_password(org, &told("username"), &told("password")).map_err(login_fault)?;
    auth::throttle(org).map_err(|_| ("LOGIN_RATE_EXCEEDED", "login rate exceeded"))?;
    Ok(session(org, version, &auth::open_session(org)))
}

fn login_fault(error: LoginError) -> Fault {
    match error {
        LoginError::Disabled => ("INVALID_OPERATION", "SOAP API login() is disabled by default in this org."),
        LoginError::Wrong => {
            ("INVALID_LOGIN", "Invalid username, password, security token; or user locked out.")
        }
    }
}

/// The text inside the first element of a name, whatever its prefix.
fn element<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut from = 0;
    while let Some(open) = text[from..].find('<') {
        let start = from + open + 1;
        let end = start + text[start..].find('>')?;
        let tag = text[start..end].split_whitespace().next().unwrap_or_default();
        if tag.rsplit(':').next() == Some(name) && !tag.starts_with('/') {
            let close = text[end..].find(&format!("</{tag}"))?;
            return Some(&text[end + 1..end + close]);
        }
        from = end;
    }
    None
}

fn unescaped(text: &str) -> String {
    let known =
        [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&#39;", "'"), ("&#x27;", "'")];
    let plain = known.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
    plain.replace("&amp;", "&")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn reply(status: u16, body: &str) -> Response {
    let envelope = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><soapenv:Envelope \
         xmlns:soapenv=\"http://schemas.xmlsoap.org/soap/envelope/\" xmlns=\"urn:partner.soap.sforce.com\" \
         xmlns:sf=\"urn:fault.partner.soap.sforce.com\" xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\">\
         <soapenv:Body>{body}</soapenv:Body></soapenv:Envelope>"
    );
    text_reply(status, "text/xml;charset=UTF-8", envelope)
}

fn session(org: &Shared, version: &str, token: &str) -> String {
    let (url, user) = (org.url(), escaped(&org.config.username));
    let (org_id, user_id) = (ids::id("00D", 1), ids::id("005", 1));
    let server = format!("{url}/services/Soap/u/{version}/{}", &org_id[..15]);
    let lifetime = org.config.session_lifetime.as_secs();
    format!(
        "<loginResponse><result><metadataServerUrl>{url}/services/Soap/m/{version}</metadataServerUrl>\
         <passwordExpired>false</passwordExpired><sandbox>false</sandbox><serverUrl>{server}</serverUrl>\
         <sessionId>{token}</sessionId><userId>{user_id}</userId><userInfo><organizationId>{org_id}\
         </organizationId><sessionSecondsValid>{lifetime}</sessionSecondsValid><userId>{user_id}</userId>\
         <userName>{user}</userName></userInfo></result></loginResponse>"
    )
}

fn fault(code: &str, message: &str) -> String {
    let kind = if code == "INVALID_LOGIN" { "LoginFault" } else { "ApiFault" };
    format!(
        "<soapenv:Fault><faultcode>sf:{code}</faultcode><faultstring>{code}: {message}</faultstring><detail>\
         <sf:{kind} xsi:type=\"sf:{kind}\"><sf:exceptionCode>{code}</sf:exceptionCode>\
         <sf:exceptionMessage>{message}</sf:exceptionMessage></sf:{kind}></detail></soapenv:Fault>"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_found_under_any_prefix() {
        let text = "<?xml version=\"1.0\"?><e:Body><n1:login xmlns:n1=\"urn:x\"><n1:username>a&amp;b</n1:username>\
            <password>p&lt;&#39;</password></n1:login></e:Body>";
        let call = element(text, "login").unwrap();
        assert_eq!(element(call, "username").map(unescaped).as_deref(), Some("a&b"));
        assert_eq!(element(call, "password").map(unescaped).as_deref(), Some("p<'"));
        assert_eq!((element(text, "logout"), element("<login", "login")), (None, None));
    }
}

//! What Salesforce's codes of requests and jobs mean for us. The codes of rows are the engine's.
//!
//! Classified by code, then by HTTP status; never by text, which follows the language of the user.

use engine::{Class, Failure};
use http_client::{Response, class_of_status};
use serde::Deserialize;

/// Longest message that is passed on, in characters.
const LONGEST_MESSAGE: usize = 500;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ErrorBody {
    #[serde(rename = "errorCode")]
    code: String,
    message: String,
}

/// An answer that is no success. The body may have been HTML: then there is no code.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) place: String,
    pub(crate) http: u16,
    code: String,
    message: String,
}

impl Problem {
    pub(crate) async fn read(response: Response) -> Self {
        let (place, http) = (response.place(), response.status());
        let body = response.error_body().await;
        let list: Option<Vec<ErrorBody>> = serde_json::from_slice(&body).ok();
        let one = || serde_json::from_slice::<ErrorBody>(&body).ok();
        let first = list.and_then(|list| list.into_iter().next()).or_else(one).unwrap_or_default();
        Self { place, http, code: first.code, message: first.message }
    }

    pub(crate) fn code(&self) -> &str {
        &self.code
    }

    /// The record, object or job does not exist, and Salesforce says so itself.
    pub(crate) fn is_not_found(&self) -> bool {
        self.http == 404 && self.code == "NOT_FOUND"
    }

    /// Whether the request may have taken effect all the same.
    pub(crate) fn is_ambiguous(&self) -> bool {
        self.class() == Class::Transient
    }

    pub(crate) fn class(&self) -> Class {
        classify(&self.code).unwrap_or_else(|| class_of_status(self.http))
    }

    /// The failure with the vendor's message, which is about the request.
    pub(crate) fn failure(&self) -> Failure {
        self.described(&one_line(&self.message))
    }

    /// The failure without the vendor's message, for requests that carry records.
    pub(crate) fn bare_failure(&self) -> Failure {
        self.described("")
    }

    fn described(&self, text: &str) -> Failure {
        let reference =
            if self.code.is_empty() { format!("HTTP {}", self.http) } else { one_line(&self.code) };
        let mut message = format!("{}: Salesforce refuses ({reference})", self.place);
        if !text.is_empty() {
            message.push_str(": ");
            message.push_str(text);
        }
        let failure = Failure::new(self.class(), message);
        match hint(&self.code, self.http) {
            "" => failure,
            hint => failure.hint(hint),
        }
    }
}

/// The class of a code of a request or of a job, however it is written: `TooManyLockFailure` in the
/// `errorMessage` of a job is `TOOMANYLOCKFAILURE` over REST. `None` if the code is not known.
///
/// <https://developer.salesforce.com/docs/atlas.en-us.api_asynch.meta/api_asynch/bulk_api_2_0_errors.htm>
#[must_use]
pub fn classify(code: &str) -> Option<Class> {
    Some(match code.to_uppercase().replace('_', "").as_str() {
        "REQUESTLIMITEXCEEDED" | "EXCEEDEDQUOTA" | "TOOMANYJOBS" | "STORAGELIMITEXCEEDED" => Class::Quota,
        "TOOMANYLOCKFAILURE" | "UNABLETOLOCKROW" => Class::Contention,
        "TIMEOUT"
        | "INTERNALSERVERERROR"
        | "SERVERUNAVAILABLE"
        | "INVALIDSERVERERROR"
        | "UNKNOWNEXCEPTION"
        | "UNKNOWN"
        | "REQUESTRUNNINGTOOLONG"
        | "QUERYTIMEOUT"
        | "TOOMANYAPEXREQUESTS"
        | "TXNSECURITYMETERINGERROR"
        | "INSERTUPDATEDELETENOTALLOWEDDURINGMAINTENANCE" => Class::Transient,
        // The state of a job is not what was thought: whoever reads it again will know.
        "INVALIDJOBSTATE" | "INVALIDJOB" | "INVALIDOPERATION" | "APIERROR" => Class::Transient,
        "INVALIDAUTHHEADER" | "METHODNOTALLOWED" | "INVALIDURL" | "JSONPARSERERROR" => Class::Bug,
        "INVALIDBATCH"
        | "CLIENTINPUTERROR"
        | "INVALIDENTITY"
        | "FEATURENOTENABLED"
        | "INVALIDUSER"
        | "INVALIDSESSIONID"
        | "NOTFOUND"
        | "APIDISABLEDFORORG"
        | "APICURRENTLYDISABLED"
        | "FUNCTIONALITYNOTENABLED"
        | "UNSUPPORTEDAPIVERSION"
        | "GONE"
        | "INSUFFICIENTACCESS"
        | "LIMITEXCEEDED"
        | "INVALIDFIELD"
        | "INVALIDTYPE"
        | "INVALIDEXTERNALIDFIELDNAME"
        | "INVALIDENTITYFORUPSERT"
        | "TXNSECURITYNOACCESS" => Class::Configuration,
        _ => return None,
    })
}

fn hint(code: &str, http: u16) -> &'static str {
    match code {
        "REQUEST_LIMIT_EXCEEDED" => {
            "the org has used up its API calls of the last 24 hours; run fewer or larger syncs"
        }
        "EXCEEDEDQUOTA" => "the org has used up its 15,000 batches of the last 24 hours",
        "STORAGE_LIMIT_EXCEEDED" => "the data storage of the org is full",
        "TOO_MANY_JOBS" => "the org has too many open bulk jobs",
        "API_DISABLED_FOR_ORG" | "API_CURRENTLY_DISABLED" => "give the user the permission `API Enabled`",
        "INVALIDENTITY" => "Bulk API 2.0 does not load this object",
        "FEATURENOTENABLED" => "the edition or the permissions of the user lack this feature",
        "INVALID_SESSION_ID" => {
            "the session ends at once: check the session policy of the app and its allowed addresses"
        }
        "" if http == 404 || http == 420 => "check `login_url` in the secret: the org may have moved or gone",
        _ => "",
    }
}

/// A vendor's text on one line, cut to a bearable length.
pub(crate) fn one_line(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().take(LONGEST_MESSAGE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_of_codes_in_either_spelling() {
        for (code, class) in [
            ("REQUEST_LIMIT_EXCEEDED", Some(Class::Quota)),
            ("ExceededQuota", Some(Class::Quota)),
            ("EXCEEDEDQUOTA", Some(Class::Quota)),
            ("TOO_MANY_JOBS", Some(Class::Quota)),
            ("TooManyLockFailure", Some(Class::Contention)),
            ("UNABLE_TO_LOCK_ROW", Some(Class::Contention)),
            ("InternalServerError", Some(Class::Transient)),
            ("SERVER_UNAVAILABLE", Some(Class::Transient)),
            ("INVALIDJOBSTATE", Some(Class::Transient)),
            ("InvalidBatch", Some(Class::Configuration)),
            ("INVALID_AUTH_HEADER", Some(Class::Bug)),
            ("API_DISABLED_FOR_ORG", Some(Class::Configuration)),
            ("NEVER_HEARD_OF", None),
            ("", None),
        ] {
            assert_eq!(classify(code), class, "{code}");
        }
    }

    #[test]
    fn an_unknown_code_is_classed_by_its_status() {
        for (http, class) in [(503, Class::Transient), (400, Class::Configuration), (415, Class::Bug)] {
            let problem = Problem { place: "`x`".into(), http, code: "NEW".into(), message: String::new() };
            assert_eq!(problem.class(), class);
        }
    }
}

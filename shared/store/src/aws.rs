//! What every client of an AWS service shares: how it is configured, and what its refusals mean.

use std::time::Duration;

use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_s3::{
    config::{http::HttpResponse, timeout::TimeoutConfig},
    error::{ProvideErrorMetadata, SdkError},
};
use engine::{Class, Failure};

/// Codes that mean "again, in a moment" whatever their HTTP status. Those of S3 are listed in
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>.
const PASSING: [&str; 18] = [
    "BadDigest",
    "BandwidthLimitExceeded",
    "IncompleteBody",
    "InternalError",
    "InternalServiceError",
    "InvalidPart",
    "KMS.ThrottlingException",
    "KmsThrottlingException",
    "NoSuchUpload",
    "RequestLimitExceeded",
    "RequestTimeTooSkewed",
    "RequestTimeout",
    "ServiceUnavailable",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
    "XAmzContentChecksumMismatch",
];

/// How long one attempt of one request may take. A part of 8 MiB passes in that time at 70 KiB/s.
const ATTEMPT: Duration = Duration::from_secs(120);

/// Region, credentials and endpoint as the AWS SDKs find them, with the SDK's behaviour pinned by date.
pub async fn config() -> SdkConfig {
    let timeouts = TimeoutConfig::builder().operation_attempt_timeout(ATTEMPT).build();
    aws_config::defaults(behaviour()).timeout_config(timeouts).load().await
}

/// The behaviour of the SDK that these clients were written for.
#[must_use]
pub fn behaviour() -> BehaviorVersion {
    BehaviorVersion::v2026_01_12()
}

/// The code and the HTTP status of a refusal, or `None` when no answer came.
///
/// An answer without a body, such as that to a `HEAD`, has a status only.
pub fn answer<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> Option<(Option<&str>, u16)> {
    let SdkError::ServiceError(refusal) = error else { return None };
    Some((refusal.err().code(), refusal.raw().status().as_u16()))
}

/// What a failed request means for the stage. `subject` says what was asked of what, with names in
/// backticks, such as ``object `a` of bucket `b` cannot be read``.
pub fn failure<E: ProvideErrorMetadata>(subject: &str, error: &SdkError<E, HttpResponse>) -> Failure {
    match error {
        SdkError::ServiceError(_) => refused(subject, answer(error).unwrap_or_default()),
        SdkError::ConstructionFailure(_) => unconfigured(subject),
        // Neither a connection that broke nor one that took too long: the request was never signed.
        SdkError::DispatchFailure(dispatch) if dispatch.is_other() && dispatch.as_other().is_none() => {
            unconfigured(subject)
        }
        SdkError::TimeoutError(_) => Failure::transient(format!("{subject}: no answer in time")),
        _ => Failure::transient(format!("{subject}: the connection failed")),
    }
}

fn refused(subject: &str, (code, status): (Option<&str>, u16)) -> Failure {
    let name = code.map_or_else(|| format!("HTTP {status}"), |code| format!("`{code}`"));
    let failure = Failure::new(class(code, status), format!("{subject}: {name}"));
    match advice(code, status) {
        Some(hint) if failure.class == Class::Configuration => failure.hint(hint),
        _ => failure,
    }
}

fn class(code: Option<&str>, status: u16) -> Class {
    let passing = code.is_some_and(|code| PASSING.contains(&code));
    if passing || status == 429 || status >= 500 { Class::Transient } else { Class::Configuration }
}

fn advice(code: Option<&str>, status: u16) -> Option<&'static str> {
    let hint = match (code, status) {
        (
            Some("PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException"),
            _,
        )
        | (None, 301) => "it lies in another region: set `AWS_REGION`",
        (Some("ExpiredToken" | "ExpiredTokenException"), _) => "the credentials have expired: sign in again",
        (Some("InvalidAccessKeyId" | "SignatureDoesNotMatch" | "UnrecognizedClientException"), _) => {
            "the credentials are not those of the account"
        }
        (Some(code), _) if code.starts_with("KMS.") || code.starts_with("Kms") => {
            "check the key's policy and state"
        }
        (_, 401 | 403) | (Some("AccessDeniedException"), _) => {
            "grant it to the role in use; S3 refuses even absent objects without `s3:ListBucket`"
        }
        _ => return None,
    };
    Some(hint)
}

fn unconfigured(subject: &str) -> Failure {
    Failure::configuration(format!("{subject}: no usable AWS credentials or region"))
        .hint("set `AWS_REGION`, and `AWS_PROFILE` or `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_classified_by_code_then_by_status() {
        let cases = [
            (Some("SlowDown"), 503, Class::Transient),
            (Some("RequestTimeout"), 400, Class::Transient),
            (Some("ThrottlingException"), 400, Class::Transient),
            (Some("SomethingNew"), 500, Class::Transient),
            (None, 429, Class::Transient),
            (None, 502, Class::Transient),
            (Some("AccessDenied"), 403, Class::Configuration),
            (Some("KMS.DisabledException"), 400, Class::Configuration),
            (Some("SomethingNew"), 400, Class::Configuration),
            (None, 403, Class::Configuration),
        ];
        for (code, status, expected) in cases {
            assert_eq!(class(code, status), expected, "{code:?} {status}");
        }
    }

    #[test]
    fn advice_is_given_only_to_people() {
        assert!(refused("it", (Some("AccessDenied"), 403)).hint.is_some());
        assert!(
            refused("it", (Some("PermanentRedirect"), 301))
                .hint
                .is_some_and(|hint| hint.contains("AWS_REGION"))
        );
        assert_eq!(refused("it", (Some("RequestTimeTooSkewed"), 403)).hint, None);
    }
}

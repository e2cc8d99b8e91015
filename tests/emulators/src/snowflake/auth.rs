//! Key-pair tokens: RS256 over claims that name the account, the user and the key.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{
    KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    RsaParameters, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use serde::Deserialize;

/// The longest a token is honoured after it was issued, in seconds.
const LIFETIME: i64 = 3600;

/// A registered key pair.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    /// The private key as PKCS#8 PEM.
    pub(crate) pem: String,
    /// `SHA256:` and the digest of the public key.
    pub(crate) fingerprint: String,
    public: Vec<u8>,
}

/// Why a token is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    iat: Option<i64>,
    exp: Option<i64>,
}

impl Key {
    /// A new RSA-2048 pair.
    pub(crate) fn generate() -> Result<Self, aws_lc_rs::error::Unspecified> {
        let pair = KeyPair::generate(KeySize::Rsa2048)?;
        let private: Pkcs8V1Der<'_> = pair.as_der()?;
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der()?;
        let fingerprint = BASE64_STANDARD.encode(digest(&SHA256, public.as_ref()));
        Ok(Self {
            pem: pem(private.as_ref()),
            fingerprint: format!("SHA256:{fingerprint}"),
            public: pair.public_key().as_ref().to_vec(),
        })
    }

    fn signed(&self, by: &'static RsaParameters, message: &str, signature: &[u8]) -> bool {
        UnparsedPublicKey::new(by, &self.public).verify(message.as_bytes(), signature).is_ok()
    }
}

/// What tokens are accepted besides those that a registered key signed.
pub(crate) struct Issued<'a> {
    pub(crate) access_token: &'a str,
    pub(crate) workload_token: Option<&'a str>,
}

/// The user whom a token speaks for, given the type of token that the request names (empty: none).
///
/// # Errors
/// Those of [`verify`]; 394400 for an access token and 390303 for an OAuth token that is not known.
pub(crate) fn user_of(
    token: &str,
    kind: &str,
    account: &str,
    users: &[String],
    keys: &[Key],
    issued: &Issued<'_>,
) -> Result<String, Refusal> {
    let first = || users.first().map(|user| user.to_uppercase()).unwrap_or_default();
    let workload = token.strip_prefix("WIF.AWS.");
    match kind {
        "" | "PROGRAMMATIC_ACCESS_TOKEN" if token == issued.access_token => Ok(first()),
        "" | "WORKLOAD_IDENTITY_FEDERATION" if workload.is_some() && workload == issued.workload_token => {
            Ok(first())
        }
        "PROGRAMMATIC_ACCESS_TOKEN" => Err(refusal("394400", "Programmatic access token is invalid")),
        "OAUTH" => Err(refusal("390303", "Invalid OAuth access token")),
        "" | "KEYPAIR_JWT" if !token.starts_with("WIF.") => verify(token, account, users, keys),
        _ => Err(refusal("390144", "JWT token is invalid")),
    }
}

/// Checks a token against the registered keys; gives its user.
///
/// # Errors
/// 394306 malformed, 394305 algorithm, 394303 no expiry, 394304 unknown fingerprint, 394302 issued in the future,
/// 394301 expired, 390144 anything else.
fn verify(token: &str, account: &str, users: &[String], keys: &[Key]) -> Result<String, Refusal> {
    let malformed = || refusal("394306", "JWT token is malformed");
    let (message, signature) = token.rsplit_once('.').ok_or_else(malformed)?;
    let (header, claims) = message.split_once('.').ok_or_else(malformed)?;
    let header: Header = decode(header).ok_or_else(malformed)?;
    let claims: Claims = decode(claims).ok_or_else(malformed)?;
    let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).map_err(|_| malformed())?;
    let algorithm = match header.alg.as_str() {
        "RS256" => &RSA_PKCS1_2048_8192_SHA256,
        "RS384" => &RSA_PKCS1_2048_8192_SHA384,
        "RS512" => &RSA_PKCS1_2048_8192_SHA512,
        _ => return Err(refusal("394305", "JWT token signature algorithm is not supported")),
    };
    let invalid = || refusal("390144", "JWT token is invalid");
    let (user, fingerprint) = named(&claims, account, users).ok_or_else(invalid)?;
    let Some(key) = keys.iter().find(|key| key.fingerprint == fingerprint) else {
        return Err(refusal("394304", "JWT token public key fingerprint mismatch"));
    };
    if !key.signed(algorithm, message, &signature) {
        return Err(invalid());
    }
    check_times(&claims)?;
    Ok(user)
}

/// The user in `sub`, and the fingerprint in `iss`, which has to begin with `sub`. Both are upper-case.
fn named<'c>(claims: &'c Claims, account: &str, users: &[String]) -> Option<(String, &'c str)> {
    let user = claims.sub.strip_prefix(&account.to_uppercase())?.strip_prefix('.')?;
    let known = users.iter().any(|known| known.to_uppercase() == user);
    let fingerprint = claims.iss.strip_prefix(&claims.sub)?.strip_prefix('.')?;
    known.then(|| (user.to_owned(), fingerprint))
}

fn check_times(claims: &Claims) -> Result<(), Refusal> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let Some(expires) = claims.exp else {
        return Err(refusal("394303", "JWT token has an invalid expiration"));
    };
    let issued = claims.iat.unwrap_or(now);
    if issued > now {
        return Err(refusal("394302", "JWT token was issued in the future"));
    }
    if now >= expires.min(issued.saturating_add(LIFETIME)) {
        return Err(refusal("394301", "JWT token has expired"));
    }
    Ok(())
}

fn decode<T: serde::de::DeserializeOwned>(part: &str) -> Option<T> {
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

pub(crate) fn refusal(code: &'static str, message: &str) -> Refusal {
    Refusal { code, message: format!("{message}. [{}]", uuid::Uuid::new_v4()) }
}

fn pem(der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    let mut out = String::from("-----BEGIN PRIVATE KEY-----\n");
    for line in text.as_bytes().chunks(64) {
        out.push_str(&String::from_utf8_lossy(line));
        out.push('\n');
    }
    out + "-----END PRIVATE KEY-----\n"
}

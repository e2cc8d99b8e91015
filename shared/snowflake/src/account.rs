//! Who we are to Snowflake: the secret, the host, the login token.

use std::time::{Duration, SystemTime};

use engine::Failure;
use http_client::{Lease, SigningKey, Url, base_url};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

/// How long a login token is used. Snowflake honours an hour at most.
const LIFE: Duration = Duration::from_secs(55 * 60);

/// How far our clock may run ahead of Snowflake's.
const SKEW: Duration = Duration::from_secs(30);

/// The secret document: how to log in. It holds exactly one of `private_key`, `token` and `workload_identity`.
///
/// <https://docs.snowflake.com/en/developer-guide/sql-api/authenticating>
#[derive(Clone, Debug, Deserialize)]
pub struct Secret {
    /// The account identifier: `myorg-account`, or a locator with its region, `xy12345.us-east-2.aws`.
    pub account: String,
    /// The login name of the user; a key pair needs it, the other two name the user themselves.
    #[serde(default)]
    pub user: Option<String>,
    /// The unencrypted private key of a key pair, PEM; line breaks may be written as `\n`.
    #[serde(default)]
    pub private_key: Option<SecretString>,
    /// A programmatic access token.
    #[serde(default)]
    pub token: Option<SecretString>,
    /// Logs in as the role that the program runs as: nothing is stored that could leak.
    #[serde(default)]
    pub workload_identity: Option<Provider>,
    /// The base address, where it does not follow from the account.
    #[serde(default)]
    pub host: Option<String>,
    /// The account as the login token names it, where it does not follow from the account.
    #[serde(default)]
    pub jwt_account: Option<String>,
}

/// Who vouches for a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Provider {
    /// AWS, for the role of the function.
    Aws,
}

/// A secret that was checked: able to log in.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) base: Url,
    pub(crate) proof: Proof,
}

/// How Snowflake is told who we are.
#[derive(Debug)]
pub(crate) enum Proof {
    /// A token that we sign ourselves.
    KeyPair { subject: String, key: SigningKey },
    /// A token that a person has made.
    Token(SecretString),
    /// A token that the cloud makes for the program.
    Workload,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: String,
    sub: &'a str,
    iat: u64,
    exp: u64,
}

impl Identity {
    pub(crate) fn new(secret: &Secret) -> Result<Self, Failure> {
        let account = secret.account.trim();
        check(account, secret)?;
        let base = match &secret.host {
            Some(host) => base_url("host", host)?,
            None => base_url("account", &format!("https://{}", host(account)))?,
        };
        Ok(Self { base, proof: proof(account, secret)? })
    }

    /// Whether both prove the same with the same secret.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.base == other.base
            && match (&self.proof, &other.proof) {
                (
                    Proof::KeyPair { subject, key },
                    Proof::KeyPair { subject: other_subject, key: other_key },
                ) => subject == other_subject && key.fingerprint() == other_key.fingerprint(),
                (Proof::Token(token), Proof::Token(other)) => token.expose_secret() == other.expose_secret(),
                (Proof::Workload, Proof::Workload) => true,
                _ => false,
            }
    }
}

impl Proof {
    /// The word that tells Snowflake what the token is.
    pub(crate) const fn token_type(&self) -> &'static str {
        match self {
            Self::KeyPair { .. } => "KEYPAIR_JWT",
            Self::Token(_) => "PROGRAMMATIC_ACCESS_TOKEN",
            Self::Workload => "WORKLOAD_IDENTITY_FEDERATION",
        }
    }
}

fn proof(account: &str, secret: &Secret) -> Result<Proof, Failure> {
    match (&secret.private_key, &secret.token, secret.workload_identity) {
        (Some(key), None, None) => {
            let jwt_account =
                secret.jwt_account.as_deref().map_or_else(|| jwt_account(account), str::to_uppercase);
            let user = secret.user.as_deref().map(str::trim).filter(|user| !user.is_empty());
            let user = user.ok_or_else(|| Failure::configuration("`user` is empty"))?;
            let subject = format!("{jwt_account}.{}", user.to_uppercase());
            Ok(Proof::KeyPair { subject, key: SigningKey::parse("private_key", key)? })
        }
        (None, Some(token), None) if token.expose_secret().trim().is_empty() => {
            Err(Failure::configuration("`token` is empty"))
        }
        (None, Some(token), None) => Ok(Proof::Token(token.clone())),
        (None, None, Some(Provider::Aws)) => Ok(Proof::Workload),
        _ => Err(Failure::configuration(
            "it holds none, or more than one, of `private_key`, `token` and `workload_identity`",
        )
        .hint("a key pair, a programmatic access token, or `\"workload_identity\": \"aws\"`: one of them logs in")),
    }
}

/// A new login token, signed with the key of a key pair.
///
/// <https://docs.snowflake.com/en/developer-guide/sql-api/authenticating#generating-a-jwt-in-python>
pub(crate) fn sign(subject: &str, key: &SigningKey) -> Result<Lease<SecretString>, Failure> {
    let now = SystemTime::now();
    let seconds = |time: SystemTime| {
        time.duration_since(SystemTime::UNIX_EPOCH)
            .map(|since| since.as_secs())
            .map_err(|_| Failure::bug("the clock of this machine stands before 1970"))
    };
    let value = key.sign(&Claims {
        iss: format!("{subject}.{}", key.fingerprint()),
        sub: subject,
        iat: seconds(now - SKEW)?,
        exp: seconds(now + LIFE)?,
    })?;
    Ok(Lease { value, until: Some(now + LIFE - SKEW) })
}

fn check(account: &str, secret: &Secret) -> Result<(), Failure> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if account.is_empty() || !account.chars().all(legal) || account.contains(".snowflakecomputing") {
        return Err(Failure::configuration("`account` is no account identifier")
            .hint("write `myorg-account`: the part of the address before `.snowflakecomputing.com`"));
    }
    if secret.jwt_account.is_none() && is_sql_form(account) {
        return Err(Failure::configuration(
            "`account` is written with a dot between organisation and account",
        )
        .hint("write `myorg-account`, with a hyphen"));
    }
    Ok(())
}

/// `myorg.account` looks like a locator with a region, but every region has a hyphen.
fn is_sql_form(account: &str) -> bool {
    match account.split_once('.') {
        Some((_, rest)) => !rest.contains(['.', '-']) && rest != "global" && rest != "privatelink",
        None => false,
    }
}

/// The account as the login token names it: upper-case, without the region of a locator.
fn jwt_account(account: &str) -> String {
    let cut = if account.contains(".global") { '-' } else { '.' };
    account.split(cut).next().unwrap_or(account).to_uppercase()
}

/// The host name: underscores become hyphens, which TLS names require.
fn host(account: &str) -> String {
    format!("{}.snowflakecomputing.com", account.to_lowercase().replace('_', "-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_as_tokens_and_hosts_name_them() {
        for (account, jwt, subdomain) in [
            ("myorg-acct1", "MYORG-ACCT1", "myorg-acct1"),
            ("MyOrg-Acct1", "MYORG-ACCT1", "myorg-acct1"),
            ("myorg-my_acct", "MYORG-MY_ACCT", "myorg-my-acct"),
            ("xy12345.us-east-2.aws", "XY12345", "xy12345.us-east-2.aws"),
            ("xy12345.eu-central-1", "XY12345", "xy12345.eu-central-1"),
            ("myorg-acct1.privatelink", "MYORG-ACCT1", "myorg-acct1.privatelink"),
            ("name-extra.global", "NAME", "name-extra.global"),
        ] {
            assert_eq!(jwt_account(account), jwt);
            assert_eq!(host(account), format!("{subdomain}.snowflakecomputing.com"));
            assert!(check(account, &secret(account)).is_ok(), "{account}");
        }
        for account in ["", "myorg.acct1", "https://x", "a/b", "myorg-acct1.snowflakecomputing.com"] {
            assert!(check(account, &secret(account)).is_err(), "{account}");
        }
    }

    fn secret(account: &str) -> Secret {
        let account = account.to_owned();
        Secret {
            account,
            user: None,
            private_key: None,
            token: None,
            workload_identity: None,
            host: None,
            jwt_account: None,
        }
    }

    #[test]
    fn another_name_for_the_token_overrides() {
        let secret = Secret { jwt_account: Some("MYORG-ACCT1".to_owned()), ..secret("myorg.acct1") };
        assert!(check("myorg.acct1", &secret).is_ok());
    }
}

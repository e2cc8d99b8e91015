//! Who we are to Snowflake: the secret, the host, the login token.

use std::time::{Duration, SystemTime};

use engine::Failure;
use http_client::{Lease, SigningKey, Url, base_url};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

/// How long a login token is used. Snowflake honours an hour at most.
const LIFE: Duration = Duration::from_secs(55 * 60);

/// How far our clock may run ahead of Snowflake's.
const SKEW: Duration = Duration::from_secs(30);

/// The secret document: how to log in with a key pair.
///
/// <https://docs.snowflake.com/en/user-guide/key-pair-auth>
#[derive(Clone, Debug, Deserialize)]
pub struct Secret {
    /// The account identifier: `myorg-account`, or a locator with its region, `xy12345.us-east-2.aws`.
    pub account: String,
    /// The login name of the user.
    pub user: String,
    /// The unencrypted private key, PEM; line breaks may be written as `\n`.
    pub private_key: SecretString,
    /// The base address, where it does not follow from the account.
    #[serde(default)]
    pub host: Option<String>,
    /// The account as the login token names it, where it does not follow from the account.
    #[serde(default)]
    pub jwt_account: Option<String>,
}

/// A secret that was checked: able to log in.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) base: Url,
    subject: String,
    key: SigningKey,
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
        let jwt_account =
            secret.jwt_account.as_deref().map_or_else(|| jwt_account(account), str::to_uppercase);
        let subject = format!("{jwt_account}.{}", secret.user.trim().to_uppercase());
        let key = SigningKey::parse("private_key", &secret.private_key)?;
        Ok(Self { base, subject, key })
    }

    /// A new login token.
    ///
    /// <https://docs.snowflake.com/en/developer-guide/sql-api/authenticating#generating-a-jwt-in-python>
    pub(crate) fn mint(&self) -> Result<Lease<SecretString>, Failure> {
        let now = SystemTime::now();
        let seconds = |time: SystemTime| {
            time.duration_since(SystemTime::UNIX_EPOCH)
                .map(|since| since.as_secs())
                .map_err(|_| Failure::bug("the clock of this machine stands before 1970"))
        };
        let value = self.key.sign(&Claims {
            iss: format!("{}.{}", self.subject, self.key.fingerprint()),
            sub: &self.subject,
            iat: seconds(now - SKEW)?,
            exp: seconds(now + LIFE)?,
        })?;
        Ok(Lease { value, until: Some(now + LIFE - SKEW) })
    }
}

fn check(account: &str, secret: &Secret) -> Result<(), Failure> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if account.is_empty() || !account.chars().all(legal) || account.contains(".snowflakecomputing") {
        return Err(Failure::configuration("`account` is no account identifier")
            .hint("write `myorg-account`: the part of the address before `.snowflakecomputing.com`"));
    }
    if secret.user.trim().is_empty() {
        return Err(Failure::configuration("`user` is empty"));
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
        let (user, private_key) = ("me".to_owned(), SecretString::default());
        Secret { account: account.to_owned(), user, private_key, host: None, jwt_account: None }
    }

    #[test]
    fn another_name_for_the_token_overrides() {
        let secret = Secret { jwt_account: Some("MYORG-ACCT1".to_owned()), ..secret("myorg.acct1") };
        assert!(check("myorg.acct1", &secret).is_ok());
    }
}

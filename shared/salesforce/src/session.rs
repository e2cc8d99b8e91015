//! One session for a whole run: found, or made and shared.
//!
//! A fan-out of invocations must not log in once each, so a run keeps its session where all of them find it: sealed
//! under a key that follows from the secret, numbered, created and never replaced. Whoever finds that a session has
//! ended looks for the next number before it logs in. Sessions are never revoked: Salesforce hands the same one to
//! others, too.

use std::{fmt, sync::Arc};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hkdf::{HKDF_SHA256, Salt},
    rand,
};
use bytes::Bytes;
use engine::Failure;
use futures_util::future::BoxFuture;
use http_client::{Url, base_url};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

/// Reads what a run keeps under a number; none when there is nothing yet.
pub type Read = dyn Fn(u32) -> BoxFuture<'static, Result<Option<Bytes>, Failure>> + Send + Sync;

/// Keeps a sealed session under a number; false when another was faster.
pub type Keep = dyn Fn(u32, Bytes) -> BoxFuture<'static, Result<bool, Failure>> + Send + Sync;

/// Where a run keeps its sessions: numbered from 0, created and never replaced.
#[derive(Clone)]
pub struct Shelf {
    /// Reads one.
    pub read: Arc<Read>,
    /// Keeps one.
    pub keep: Arc<Keep>,
}

impl fmt::Debug for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shelf")
    }
}

/// What a login gives: where to call, and with what. Its `Debug` hides the token.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) token: SecretString,
    pub(crate) instance: Url,
    /// Its number on the shelf.
    pub(crate) number: u32,
}

/// Seals sessions, and opens those that were sealed under the same secret.
pub(crate) struct Sealer {
    key: LessSafeKey,
    /// Tells secrets apart, and says nothing of them.
    digest: [u8; 32],
}

#[derive(Serialize, Deserialize)]
struct Plain {
    token: String,
    instance: String,
}

/// The first byte of a sealed session.
const VERSION: u8 = 1;

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer")
    }
}

impl Sealer {
    /// A sealer whose key follows from the secret, and from nothing that is stored.
    pub(crate) fn new(secret: &SecretString) -> Result<Self, Failure> {
        let failed = |_| Failure::bug("the key that seals sessions cannot be made");
        let salt = Salt::new(HKDF_SHA256, b"backhaul session");
        let derived = salt.extract(secret.expose_secret().as_bytes());
        let derived = derived.expand(&[b"AES-256-GCM"], &AES_256_GCM).map_err(failed)?;
        let mut digest = [0; 32];
        let of_secret = salt.extract(secret.expose_secret().as_bytes());
        let filled = of_secret.expand(&[b"digest"], HKDF_SHA256).and_then(|okm| okm.fill(&mut digest));
        filled.map_err(failed)?;
        Ok(Self { key: LessSafeKey::new(UnboundKey::from(derived)), digest })
    }

    /// Whether both follow from the same secret.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.digest == other.digest
    }

    pub(crate) fn seal(&self, session: &Session) -> Result<Bytes, Failure> {
        let failed = |_| Failure::bug("a session cannot be sealed");
        let plain = Plain {
            token: session.token.expose_secret().to_owned(),
            instance: session.instance.as_str().to_owned(),
        };
        let mut bytes = serde_json::to_vec(&plain).expect("a session is plain JSON");
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).map_err(failed)?;
        self.key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from([VERSION]), &mut bytes)
            .map_err(failed)?;
        Ok([&[VERSION][..], &nonce, &bytes].concat().into())
    }

    /// None for what was sealed under another secret, or is damaged: the next session is as good.
    pub(crate) fn open(&self, number: u32, sealed: &[u8]) -> Option<Session> {
        let (version, rest) = sealed.split_first()?;
        let (nonce, sealed) = rest.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut bytes = sealed.to_vec();
        let plain = self.key.open_in_place(nonce, Aad::from([*version]), &mut bytes).ok()?;
        let Plain { token, instance } = serde_json::from_slice(plain).ok()?;
        let instance = base_url("instance", &instance).ok()?;
        Some(Session { token: token.into(), instance, number })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> Session {
        let instance = base_url("instance", "https://acme.my.salesforce.com").unwrap();
        Session { token: "00D!MARKED".to_owned().into(), instance, number: 0 }
    }

    #[test]
    fn only_the_secret_opens_what_was_sealed() {
        let (one, other) = (Sealer::new(&"a".into()).unwrap(), Sealer::new(&"b".into()).unwrap());
        let sealed = one.seal(&session()).unwrap();
        let opened = Sealer::new(&"a".into()).unwrap().open(3, &sealed).unwrap();
        assert_eq!((opened.token.expose_secret(), opened.number), ("00D!MARKED", 3));
        assert_eq!(opened.instance.as_str(), session().instance.as_str());
        assert!(other.open(0, &sealed).is_none());
        for damaged in [&b""[..], &sealed[..sealed.len() - 1], &sealed[1..], b"\x01"] {
            assert!(one.open(0, damaged).is_none());
        }
        assert_ne!(sealed, one.seal(&session()).unwrap(), "a nonce is used once");
    }

    #[test]
    fn a_sealed_session_shows_nothing() {
        let sealer = Sealer::new(&"MARKED".into()).unwrap();
        let sealed = sealer.seal(&session()).unwrap();
        let text = String::from_utf8_lossy(&sealed);
        assert!(!text.contains("MARKED") && !text.contains("salesforce"));
        assert!(!format!("{sealer:?} {:?}", session()).contains("MARKED"));
    }
}

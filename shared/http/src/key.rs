//! The private key that stands for a password at both vendors.

use std::fmt;

use aws_lc_rs::digest;
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::KeyPair as _;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use engine::Failure;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;

/// An RSA key that signs JSON web tokens with RS256. Its `Debug` shows the fingerprint only.
pub struct SigningKey {
    key: EncodingKey,
    fingerprint: String,
}

impl SigningKey {
    /// Reads an unencrypted PEM (PKCS#8, or the older PKCS#1). Line breaks may be written as `\n`.
    /// `name` says where the key was read.
    ///
    /// # Errors
    /// `Configuration` if it is no such key, or shorter than 2048 bits.
    pub fn parse(name: &str, pem: &SecretString) -> Result<Self, Failure> {
        let pem = SecretString::from(pem.expose_secret().replace("\\n", "\n"));
        let bad = |what: &str| {
            Failure::configuration(format!("`{name}` {what}"))
                .hint("make one with `openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048`")
        };
        if pem.expose_secret().contains("ENCRYPTED") {
            return Err(bad("is protected by a passphrase, which nobody could type"));
        }
        let key = EncodingKey::from_rsa_pem(pem.expose_secret().as_bytes())
            .map_err(|_| bad("is no RSA private key in PEM form"))?;
        let pair =
            KeyPair::from_der(key.as_bytes()).map_err(|_| bad("is no RSA key of 2048 bits or more"))?;
        let public: PublicKeyX509Der<'_> =
            pair.public_key().as_der().map_err(|_| bad("has no public half"))?;
        let digest = digest::digest(&digest::SHA256, public.as_ref());
        Ok(Self { key, fingerprint: format!("SHA256:{}", BASE64_STANDARD.encode(digest)) })
    }

    /// `SHA256:` and the base64 of the digest of the public key's `SubjectPublicKeyInfo`, which is how
    /// Snowflake shows it (`RSA_PUBLIC_KEY_FP`).
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// A JSON web token with these claims.
    ///
    /// # Errors
    /// `Bug` if the claims have no JSON form or cannot be signed.
    pub fn sign<T: Serialize>(&self, claims: &T) -> Result<SecretString, Failure> {
        jsonwebtoken::encode(&Header::new(Algorithm::RS256), claims, &self.key)
            .map(SecretString::from)
            .map_err(|_| Failure::bug("the claims of a token cannot be signed"))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SigningKey").field(&self.fingerprint).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::encoding::Pkcs8V1Der;
    use aws_lc_rs::rsa::KeySize;

    fn pem(der: &[u8]) -> String {
        format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", BASE64_STANDARD.encode(der))
    }

    #[test]
    fn a_key_is_read_signs_and_is_verified_by_its_public_half() {
        let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
        let text = pem(der.as_ref());
        let plain = SigningKey::parse("key", &text.clone().into()).unwrap();
        let escaped = SigningKey::parse("key", &text.replace('\n', "\\n").into()).unwrap();
        assert_eq!(plain.fingerprint(), escaped.fingerprint());
        let token = escaped.sign(&serde_json::json!({"sub": "someone"})).unwrap();
        let (message, signature) = token.expose_secret().rsplit_once('.').unwrap();
        let signature = base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap();
        let public = pair.public_key().as_ref();
        aws_lc_rs::signature::UnparsedPublicKey::new(
            &aws_lc_rs::signature::RSA_PKCS1_2048_8192_SHA256,
            public,
        )
        .verify(message.as_bytes(), &signature)
        .unwrap();
        let shown = format!("{plain:?}");
        assert!(shown.contains("SHA256:") && !shown.contains("PRIVATE"), "{shown}");
    }

    /// The expected text was computed with
    /// `openssl rsa -pubin -outform DER | openssl dgst -sha256 -binary | base64`.
    #[test]
    fn the_fingerprint_is_that_of_openssl() {
        // A public key alone: its digest is taken the same way as that of a pair.
        let spki = BASE64_STANDARD.decode(include_str!("../tests/public_key.b64").trim()).unwrap();
        let key = aws_lc_rs::rsa::PublicKey::from_der(&spki).unwrap();
        let der: PublicKeyX509Der<'_> = key.as_der().unwrap();
        let digest = digest::digest(&digest::SHA256, der.as_ref());
        assert_eq!(BASE64_STANDARD.encode(digest), include_str!("../tests/public_key.sha256").trim());
    }

    #[test]
    fn what_is_no_key_is_refused_without_showing_it() {
        let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMARKED\n-----END ENCRYPTED PRIVATE KEY-----";
        for text in ["", "MARKED", encrypted, &pem(b"MARKED")] {
            let failure = SigningKey::parse("private_key", &text.into()).unwrap_err();
            assert_eq!(failure.class, engine::Class::Configuration);
            assert!(!failure.to_string().contains("MARKED"), "{failure}");
        }
    }
}

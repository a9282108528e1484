//! A service account of Google's form: it signs for itself (RFC 7523) and needs nobody's consent.

use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use url::{Url, form_urlencoded};

use super::{Granted, Refusal, send};
use crate::{Client, Error, ErrorKind};

/// Who signs, and where tokens are given.
pub struct ServiceAccount {
    email: String,
    key_id: Option<String>,
    token_url: Url,
    key: RsaKeyPair,
}

/// Why a service account cannot be used. Names the field and never shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the service account's {0} is missing or wrong")]
pub struct BadServiceAccount(&'static str);

/// How long an assertion is good for, in seconds: the most that is taken.
const GOOD_FOR: u64 = 3600;

impl ServiceAccount {
    /// Reads a service account's key file.
    ///
    /// # Errors
    ///
    /// [`BadServiceAccount`] when a field is missing or the key is no RSA key in PKCS #8.
    pub fn read(file: &Value) -> Result<Self, BadServiceAccount> {
        let text = |name: &'static str| {
            let text = file.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
            text.ok_or(BadServiceAccount(name))
        };
        let der = PrivatePkcs8KeyDer::from_pem_slice(text("private_key")?.as_bytes());
        let der = der.map_err(|_| BadServiceAccount("private_key"))?;
        let key = RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).map_err(|_| BadServiceAccount("private_key"))?;
        Ok(Self {
            email: text("client_email")?.to_owned(),
            key_id: text("private_key_id").ok().map(str::to_owned),
            token_url: text("token_uri")?.parse().map_err(|_| BadServiceAccount("token_uri"))?,
            key,
        })
    }

    /// Where it asks for tokens.
    #[must_use]
    pub fn token_url(&self) -> &Url {
        &self.token_url
    }

    /// Asks for an access token, once.
    ///
    /// # Errors
    ///
    /// [`Error`] when no answer came.
    pub async fn ask(&self, client: &Client, scope: &str) -> Result<Result<Granted, Refusal>, Error> {
        let assertion = self.assertion(scope)?;
        let form = || {
            form_urlencoded::Serializer::new(String::new())
                .append_pair("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer")
                .append_pair("assertion", &assertion)
                .finish()
        };
        send(client, &self.token_url, form()).await
    }

    #[cfg(test)]
    pub(super) fn public_key(&self) -> Vec<u8> {
        ring::signature::KeyPair::public_key(&self.key).as_ref().to_vec()
    }

    /// Who signs.
    #[must_use]
    pub fn email(&self) -> &str {
        &self.email
    }

    /// Signs a text (RSA with SHA-256).
    ///
    /// # Errors
    ///
    /// [`Error`] when the key does not sign.
    pub fn sign(&self, text: &[u8]) -> Result<Vec<u8>, Error> {
        let mut signature = vec![0; self.key.public().modulus_len()];
        let signed = self.key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text, &mut signature);
        signed.map_err(|_| Error::new(ErrorKind::Other, "the text cannot be signed"))?;
        Ok(signature)
    }

    fn assertion(&self, scope: &str) -> Result<String, Error> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut head = json!({"alg": "RS256", "typ": "JWT"});
        if let Some(id) = &self.key_id {
            head["kid"] = id.as_str().into();
        }
        let claims = json!({
            "iss": self.email, "scope": scope, "aud": self.token_url.as_str(), "iat": now, "exp": now + GOOD_FOR,
        });
        let encoded = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let text = format!("{}.{}", encoded(&head), encoded(&claims));
        Ok(format!("{text}.{}", URL_SAFE_NO_PAD.encode(self.sign(text.as_bytes())?)))
    }
}

impl std::fmt::Debug for ServiceAccount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ServiceAccount({})", self.email)
    }
}

//! Access tokens (RFC 6749): for a person's consent, for a refresh token, for an application by itself, for a service account's signature.
//!
//! [`ask`] is one request to a token endpoint; what it answers, good or bad, is data. [`Keeper`] keeps the token of one grant: renewed before
//! it expires, one renewal at a time, and never given again once its server has refused it. Secrets travel in the body of the request,
//! never in its URL, and are in no error. [`revoke`] ends one.
//!
//! Used by `attachments` for service accounts and by the program for consents. Does not know whose tokens they are nor where they are kept.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::Instant;
use url::{Url, form_urlencoded};

use crate::{Body, Client, Error, Request, Secret};

mod pkce;
mod service_account;

pub use pkce::Pkce;
pub use service_account::{BadServiceAccount, ServiceAccount};

/// A token is renewed this long before it expires.
const MARGIN: Duration = Duration::from_secs(60);
/// How long a token lives whose server does not say.
const USUAL: Duration = Duration::from_secs(3600);
/// Bytes of an answer that are read.
const ANSWER: usize = 64 << 10;
const FORM: &str = "application/x-www-form-urlencoded";

/// Who asks, and where.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Where tokens are given.
    pub token_url: Url,
    /// The application's id.
    pub client_id: String,
    /// Its secret, where it has one.
    pub client_secret: Option<Secret>,
}

/// What a token is asked for with.
#[derive(Clone, Copy, Debug)]
pub enum Proof<'a> {
    /// The code that a consent ended with, and the verifier that began it.
    Code {
        /// The code.
        code: &'a Secret,
        /// The verifier of the challenge ([`Pkce`]).
        verifier: &'a Secret,
        /// Where the consent came back to.
        redirect_uri: &'a str,
    },
    /// A refresh token.
    Refresh(&'a Secret),
    /// The application's own name and secret.
    Application {
        /// What access is asked for.
        scope: &'a str,
    },
}

/// An access token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    value: Secret,
    good_until: Instant,
}

impl Token {
    /// A token that is good for so long.
    #[must_use]
    pub fn new(value: Secret, lifetime: Duration) -> Self {
        Self { value, good_until: Instant::now() + lifetime }
    }

    /// The value of an `Authorization` header; none for a token that no header can hold.
    #[must_use]
    pub fn header(&self) -> Option<HeaderValue> {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", self.value.reveal())).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// False once it is about to expire.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.good_until.saturating_duration_since(Instant::now()) > MARGIN
    }
}

/// How a server wants to be told which token ends.
#[derive(Clone, Copy, Debug)]
pub enum Ending<'a> {
    /// A refresh token in a form (RFC 7009).
    Refresh(&'a Secret),
    /// An access token that is shown: it ends with the refresh token that it comes from.
    Shown(&'a Token),
}

/// What a token endpoint gave.
#[derive(Clone, Debug)]
pub struct Granted {
    /// The access token.
    pub token: Token,
    /// A refresh token, when it gave one: the one that was used may be worthless from here on.
    pub refresh_token: Option<Secret>,
    /// What access was given, when it says so: it may be less than was asked for.
    pub scope: Option<String>,
}

/// What a token endpoint refused with.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Where it was asked.
    pub url: Url,
    /// The status of the answer.
    pub status: StatusCode,
    /// The headers of the answer.
    pub headers: HeaderMap,
    /// The word for it: `invalid_grant`.
    pub code: Option<String>,
    /// The sentence for it, when there is one.
    pub description: Option<String>,
}

impl Refusal {
    /// Whether the consent is gone for good: only a person can give it again.
    #[must_use]
    pub fn is_revoked(&self) -> bool {
        self.code.as_deref() == Some("invalid_grant")
    }
}

/// Asks for an access token, once.
///
/// # Errors
///
/// [`Error`] when no answer came.
pub async fn ask(client: &Client, endpoint: &Endpoint, proof: Proof<'_>) -> Result<Result<Granted, Refusal>, Error> {
    send(client, &endpoint.token_url, form(endpoint, proof)).await
}

fn form(endpoint: &Endpoint, proof: Proof<'_>) -> String {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("client_id", &endpoint.client_id);
    if let Some(secret) = &endpoint.client_secret {
        form.append_pair("client_secret", secret.reveal());
    }
    match proof {
        Proof::Code { code, verifier, redirect_uri } => form
            .append_pair("grant_type", "authorization_code")
            .append_pair("code", code.reveal())
            .append_pair("code_verifier", verifier.reveal())
            .append_pair("redirect_uri", redirect_uri),
        Proof::Refresh(token) => {
            form.append_pair("grant_type", "refresh_token").append_pair("refresh_token", token.reveal())
        }
        Proof::Application { scope } => {
            form.append_pair("grant_type", "client_credentials").append_pair("scope", scope)
        }
    };
    form.finish()
}

async fn send(client: &Client, url: &Url, form: String) -> Result<Result<Granted, Refusal>, Error> {
    let mut request = Request::new(Method::POST, url.clone());
    request.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(FORM));
    request.headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    request.body = Body::Bytes(Bytes::from(form));
    let response = client.send(request).await?;
    let (status, headers) = (response.status(), response.headers().clone());
    let body = response.bytes(ANSWER).await?;
    let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
    Ok(match granted(&answer).filter(|_| status.is_success()) {
        Some(granted) => Ok(granted),
        None => {
            let text = |name: &str| answer.get(name).and_then(Value::as_str).map(str::to_owned);
            Err(Refusal {
                url: url.clone(),
                status,
                headers,
                code: text("error"),
                description: text("error_description"),
            })
        }
    })
}

/// Ends a token at its server, once. False when the server would not: it did not know the token, or was out of order.
///
/// # Errors
///
/// [`Error`] when no answer came.
pub async fn revoke(client: &Client, url: &Url, ending: Ending<'_>) -> Result<bool, Error> {
    let mut request = Request::new(Method::POST, url.clone());
    match ending {
        Ending::Refresh(token) => {
            let mut form = form_urlencoded::Serializer::new(String::new());
            let form = form.append_pair("token", token.reveal()).append_pair("token_type_hint", "refresh_token");
            request.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(FORM));
            request.body = Body::Bytes(Bytes::from(form.finish()));
        }
        Ending::Shown(token) => request.headers.extend(token.header().map(|value| (header::AUTHORIZATION, value))),
    }
    Ok(client.send(request).await?.status().is_success())
}

fn granted(answer: &Value) -> Option<Granted> {
    let text = |name: &str| answer.get(name)?.as_str().filter(|text| !text.is_empty());
    let seconds = answer.get("expires_in").and_then(|value| value.as_u64().or_else(|| value.as_str()?.parse().ok()));
    // A year at most: nothing may overflow by what a server says.
    let lifetime = seconds.map_or(USUAL, |seconds| Duration::from_secs(seconds.min(366 * 24 * 3600)));
    Some(Granted {
        token: Token::new(Secret::new(text("access_token")?), lifetime),
        refresh_token: text("refresh_token").map(Secret::new),
        scope: text("scope").map(str::to_owned),
    })
}

/// The token of one grant.
#[derive(Debug, Default)]
pub struct Keeper(Mutex<Option<Token>>);

impl Keeper {
    /// The token, kept or renewed. `spent` is one that its server has just refused. Whoever comes while it is being renewed waits for it.
    ///
    /// # Errors
    ///
    /// Those of `renew`.
    pub async fn token<E>(
        &self,
        spent: Option<&Token>,
        renew: impl Future<Output = Result<Token, E>>,
    ) -> Result<Token, E> {
        let mut kept = self.0.lock().await;
        if let Some(token) = kept.as_ref().filter(|token| token.is_good() && Some(*token) != spent) {
            return Ok(token.clone());
        }
        let token = renew.await?;
        *kept = Some(token.clone());
        Ok(token)
    }

    /// Forgets it: the next who asks has it renewed.
    pub async fn forget(&self) {
        *self.0.lock().await = None;
    }
}

#[cfg(test)]
mod tests;

//! An authorization server (RFC 6749 with PKCE): consents, codes, refresh tokens that may be rotated, access tokens that end, tokens that are taken
//! back (RFC 7009 with a refresh token, as Google; by showing an access token, as Dropbox).
//!
//! Whoever comes to `/authorize` has consented; the browser is sent back at once. Every token it gives has `hunter2` in it, so that a test can
//! look whether one is printed or stored where it must not be.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use axum::body::{Body, to_bytes};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Request, Response};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::Faults;
use crate::answers::{pairs, said};
use crate::wire::{Answerer, Error, Listener, lock};

/// The application that is registered.
const CLIENT: (&str, &str) = ("app-of-tests", "hunter2-app-secret");

/// An authorization server on a loopback port.
#[derive(Debug)]
pub struct OAuthServer {
    listener: Listener,
    tokens: Tokens,
}

/// Which access tokens are good. Cloning gives another handle on the same.
#[derive(Debug, Clone, Default)]
struct Tokens(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    given: u64,
    lifetime: Option<u64>,
    rotates: bool,
    /// A refresh token that was used is good until its successor is.
    patient: bool,
    /// Of each refresh token that took another's place, the other.
    successors: BTreeMap<String, String>,
    /// Of each access token that is good, the refresh token that it was given for.
    access: BTreeMap<String, String>,
    refresh: BTreeSet<String>,
    /// The challenge and the address that a code belongs to.
    codes: BTreeMap<String, (String, String)>,
    grants: Vec<String>,
}

impl State {
    fn next(&mut self, kind: &str) -> String {
        self.given += 1;
        format!("hunter2-{kind}-{}", self.given)
    }
}

impl OAuthServer {
    /// Starts on a free port.
    pub fn start() -> Self {
        let tokens = Tokens::default();
        let state = tokens.clone();
        let answerer: Answerer = Arc::new(move |request| {
            let state = state.clone();
            Box::pin(async move { answer(&state, request).await })
        });
        let listener = Listener::start((Ipv4Addr::LOCALHOST, 0).into(), answerer).expect("a free loopback port");
        Self { listener, tokens }
    }

    /// Whether the headers of a request show an access token that is good.
    pub fn admits(&self, headers: &http::HeaderMap) -> bool {
        let token = headers.get("authorization").and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        token.is_some_and(|token| lock(&self.tokens.0).access.contains_key(token))
    }

    /// Where codes and refresh tokens become access tokens.
    pub fn token_url(&self) -> String {
        format!("http://{}/token", self.listener.address())
    }

    /// Where tokens are taken back.
    pub fn revoke_url(&self) -> String {
        format!("http://{}/revoke", self.listener.address())
    }

    /// How many refresh tokens are good.
    pub fn standing(&self) -> usize {
        lock(&self.tokens.0).refresh.len()
    }

    /// Where a person consents.
    pub fn authorize_url(&self) -> String {
        format!("http://{}/authorize", self.listener.address())
    }

    /// The registered application's id.
    pub fn client_id(&self) -> &'static str {
        CLIENT.0
    }

    /// Its secret.
    pub fn client_secret(&self) -> &'static str {
        CLIENT.1
    }

    /// A refresh token, as a consent leaves one.
    pub fn consent(&self) -> String {
        let mut state = lock(&self.tokens.0);
        let token = state.next("refresh");
        state.refresh.insert(token.clone());
        token
    }

    /// An access token that is good now.
    pub fn access_token(&self) -> String {
        let mut state = lock(&self.tokens.0);
        let token = state.next("access");
        state.access.insert(token.clone(), String::new());
        token
    }

    /// Access tokens are said to be good for so many seconds.
    pub fn lifetime(&self, seconds: u64) {
        lock(&self.tokens.0).lifetime = Some(seconds);
    }

    /// From now on each use of a refresh token ends it and gives another.
    pub fn rotate(&self) {
        lock(&self.tokens.0).rotates = true;
    }

    /// As [`rotate`](Self::rotate), but a refresh token ends only when the one that took its place is used, as some providers have it.
    pub fn rotate_patiently(&self) {
        let mut state = lock(&self.tokens.0);
        (state.rotates, state.patient) = (true, true);
    }

    /// Ends all access tokens.
    pub fn expire(&self) {
        lock(&self.tokens.0).access.clear();
    }

    /// Takes all consents back.
    pub fn revoke(&self) {
        let mut state = lock(&self.tokens.0);
        state.access.clear();
        state.refresh.clear();
    }

    /// What tokens were asked for with, in order: the `grant_type` of each request that was granted.
    pub fn granted(&self) -> Vec<String> {
        lock(&self.tokens.0).grants.clone()
    }

    /// The script of faults and the log of requests.
    pub fn faults(&self) -> &Faults {
        &self.listener.faults
    }
}

fn refused(code: &str, description: &str) -> Result<Response<Body>, Error> {
    let status = if code == "invalid_client" { 401 } else { 400 };
    said(status, &json!({"error": code, "error_description": description}))
}

async fn answer(tokens: &Tokens, request: Request<Body>) -> Result<Response<Body>, Error> {
    let (head, body) = request.into_parts();
    match head.uri.path() {
        "/authorize" => authorize(tokens, &pairs(head.uri.query().unwrap_or_default())),
        "/token" => {
            let body = to_bytes(body, usize::MAX).await?;
            token(tokens, &pairs(&String::from_utf8_lossy(&body)))
        }
        "/revoke" => {
            let body = to_bytes(body, usize::MAX).await?;
            let form = pairs(&String::from_utf8_lossy(&body));
            let shown =
                head.headers.get("authorization").and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
            take_back(tokens, form.get("token").map(String::as_str), shown)
        }
        _ => said(404, &json!({"error": "not_found"})),
    }
}

/// Ends a refresh token, that of the form or the one that the access token shown comes from, and all access tokens that come from it.
fn take_back(tokens: &Tokens, token: Option<&str>, shown: Option<&str>) -> Result<Response<Body>, Error> {
    let mut state = lock(&tokens.0);
    let meant = match (token, shown) {
        (Some(token), _) => Some(token.to_owned()),
        (None, shown) => shown.and_then(|shown| state.access.get(shown).cloned()),
    };
    let Some(meant) = meant.filter(|meant| state.refresh.remove(meant)) else {
        return refused("invalid_token", "Token expired or revoked");
    };
    state.access.retain(|_, from| *from != meant);
    said(200, &json!({}))
}

fn authorize(tokens: &Tokens, asked: &BTreeMap<String, String>) -> Result<Response<Body>, Error> {
    let get = |name: &str| asked.get(name).map(String::as_str).unwrap_or_default();
    let fits = get("client_id") == CLIENT.0 && get("response_type") == "code" && get("code_challenge_method") == "S256";
    if !fits || get("code_challenge").len() != 43 {
        return refused("invalid_request", "this application asks wrongly");
    }
    let mut state = lock(&tokens.0);
    let code = state.next("code");
    state.codes.insert(code.clone(), (get("code_challenge").to_owned(), get("redirect_uri").to_owned()));
    let encoded =
        |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
    let and = if get("redirect_uri").contains('?') { '&' } else { '?' };
    let back = format!("{}{and}code={}&state={}", get("redirect_uri"), encoded(&code), encoded(get("state")));
    Ok(Response::builder().status(302).header("location", back).body(Body::empty())?)
}

fn token(tokens: &Tokens, asked: &BTreeMap<String, String>) -> Result<Response<Body>, Error> {
    let get = |name: &str| asked.get(name).map(String::as_str).unwrap_or_default();
    let grant = get("grant_type");
    let signs_itself = grant.ends_with(":jwt-bearer");
    if !signs_itself && (get("client_id"), get("client_secret")) != CLIENT {
        return refused("invalid_client", "The OAuth client was not found.");
    }
    let mut state = lock(&tokens.0);
    let mut refresh = None;
    match grant {
        "authorization_code" => {
            let Some((challenge, back)) = state.codes.remove(get("code")) else {
                return refused("invalid_grant", "Malformed auth code.");
            };
            let proof = URL_SAFE_NO_PAD.encode(Sha256::digest(get("code_verifier")));
            if proof != challenge || back != get("redirect_uri") {
                return refused("invalid_grant", "Whoever asks did not begin this.");
            }
            refresh = Some(state.next("refresh"));
        }
        "refresh_token" => {
            if !state.refresh.contains(get("refresh_token")) {
                return refused("invalid_grant", "Token has been expired or revoked.");
            }
            if let Some(before) = state.successors.remove(get("refresh_token")) {
                state.refresh.remove(&before);
            }
            if state.rotates {
                let next = state.next("refresh");
                if state.patient {
                    state.successors.insert(next.clone(), get("refresh_token").to_owned());
                } else {
                    state.refresh.remove(get("refresh_token"));
                }
                refresh = Some(next);
            }
        }
        "client_credentials" => {}
        _ if signs_itself && get("assertion").split('.').count() == 3 => {}
        _ => return refused("unsupported_grant_type", "Invalid grant_type"),
    }
    let access = state.next("access");
    let from = refresh.clone().unwrap_or_else(|| get("refresh_token").to_owned());
    state.access.insert(access.clone(), from);
    state.refresh.extend(refresh.clone());
    state.grants.push(grant.to_owned());
    let mut answer =
        json!({"access_token": access, "token_type": "Bearer", "expires_in": state.lifetime.unwrap_or(3600)});
    if let Some(refresh) = refresh {
        answer["refresh_token"] = refresh.into();
    }
    said(200, &answer)
}

//! What a request shows of who sends it: a token, in any of the places where Kazoo looks for one; or by `Basic` what a login has, an account's id and
//! the digest of user name and password.
//!
//! A digest is proven anew with every request, as slowly as at a login, and what fails is counted as there: a client that asks often takes a token.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::header::AUTHORIZATION;
use plan::AccountId;
use serde_json::Value;

use super::Call;
use crate::app::auth::{self, Caller, Method};
use crate::app::{App, Error};

/// What was shown.
#[derive(Clone)]
pub enum Proof {
    /// A token.
    Token(String),
    /// An account, and the digest of `username:password` of somebody in it.
    Digest(AccountId, Method, String),
}

impl Proof {
    /// `X-Auth-Token`, then `auth_token` in data, query or envelope, then `Authorization`, then `authorization` in those.
    pub(super) fn of(call: &Call) -> Option<Self> {
        let header = |name: &str| call.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let value = |name: &str| call.value(name).and_then(|value| value.as_str().map(str::to_owned));
        let proof = match header("x-auth-token").or_else(|| value("auth_token")) {
            Some(token) => Some(Self::Token(token)),
            None => {
                let said = header(AUTHORIZATION.as_str()).or_else(|| value(AUTHORIZATION.as_str()));
                said.as_deref().and_then(Self::authorization)
            }
        };
        proof.filter(|proof| proof.token().is_none_or(|token| !token.is_empty()))
    }

    fn authorization(value: &str) -> Option<Self> {
        let (scheme, rest) = value.trim().split_once(' ')?;
        match scheme.to_ascii_lowercase().as_str() {
            "bearer" => Some(Self::Token(rest.trim().to_owned())),
            "basic" => {
                let (user, password) = basic(rest)?;
                let method = Method::of_digest(&password);
                Some(match (AccountId::parse(&user), method) {
                    (Ok(account), Some(method)) => Self::Digest(account, method, password),
                    _ if password.is_empty() => Self::Token(user),
                    _ => Self::Token(password),
                })
            }
            _ => None,
        }
    }

    /// The token that it is.
    pub fn token(&self) -> Option<&str> {
        match self {
            Self::Token(token) => Some(token),
            Self::Digest(..) => None,
        }
    }

    /// Whose account it says it is of. A token says so before its signature is checked: nothing is answered on its word alone.
    pub(super) fn claimed(&self) -> Option<String> {
        let token = match self {
            Self::Digest(account, ..) => return Some(account.to_string()),
            Self::Token(token) => token,
        };
        let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
        let claims: Value = serde_json::from_slice(&payload).ok()?;
        Some(claims.get("account_id")?.as_str()?.to_owned())
    }
}

/// Whose call it is.
///
/// # Errors
/// [`Error::Unauthenticated`] for who shows nothing, or nothing that holds; of a digest as [`auth::login`].
pub(super) async fn caller(app: &App, call: &Call) -> Result<Caller, Error> {
    match call.proof.as_ref().ok_or(Error::Unauthenticated)? {
        Proof::Token(token) => auth::authenticate(app, token).await,
        Proof::Digest(account, method, digest) => {
            auth::authenticate_by_digest(app, call.address, account, *method, digest).await
        }
    }
}

/// User and password of `Basic` authentication.
pub(super) fn basic(encoded: &str) -> Option<(String, String)> {
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (user, password) = decoded.split_once(':').unwrap_or((&decoded, ""));
    Some((user.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(user: &str, password: &str) -> Option<Proof> {
        Proof::authorization(&format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
    }

    #[test]
    fn basic_holds_a_token_or_an_account_and_a_digest() {
        let (account, md5, sha) = ("a".repeat(32), "0".repeat(32), "0".repeat(40));
        for (user, password) in [("x", "a.b.c"), ("a.b.c", ""), (&*account, "a.b.c")] {
            assert_eq!(shown(user, password).unwrap().token(), Some("a.b.c"), "{user}:{password}");
        }
        for (digest, method) in [(&md5, Method::Md5), (&sha, Method::Sha)] {
            let Some(Proof::Digest(of, by, shown)) = shown(&account, digest) else { panic!("{digest} is no digest") };
            assert_eq!((of.as_ref(), by, &shown), (&*account, method, digest));
        }
        // A token all the same, and none that holds.
        assert!(shown("admin", &md5).unwrap().token().is_some());
        assert!(Proof::authorization("Digest x").is_none() && Proof::authorization("Basic ???").is_none());
    }
}

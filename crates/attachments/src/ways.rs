//! What a handler is opened with beside its settings: the ways out of the house, and who gives access tokens.
//!
//! Settings name a consent by an id (`oauth_doc_id`) and hold nothing of it. Who keeps consents implements [`Grants`]; the program does.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use outbound::oauth::{Refusal, Token};

use crate::amazon::Amazon;
use crate::error::{Error, ErrorKind, Operation};

/// The ways out.
#[derive(Clone, Debug)]
pub struct Ways {
    /// The HTTP client.
    pub client: outbound::Client,
    /// Who gives access tokens.
    pub grants: Arc<dyn Grants>,
    /// Who we are at Amazon.
    pub amazon: Arc<Amazon>,
}

impl From<outbound::Client> for Ways {
    fn from(client: outbound::Client) -> Self {
        Self { client, grants: Arc::new(NoGrants), amazon: Arc::default() }
    }
}

/// Gives access tokens for consents that settings name by id.
#[async_trait]
pub trait Grants: fmt::Debug + Send + Sync {
    /// An access token that is good for a while. `spent` is one that the destination has just refused: another is given, or none.
    ///
    /// `scope` is what access is needed, for consents that do not say it themselves.
    ///
    /// # Errors
    ///
    /// [`TokenError`].
    async fn token(&self, id: &str, scope: &str, spent: Option<&Token>) -> Result<Token, TokenError>;
}

/// Why there is no access token.
#[derive(Debug)]
pub enum TokenError {
    /// Nobody knows this id.
    Unknown,
    /// The consent was taken back, or has run out; the words are the server's. Only a person can give it again.
    Revoked(Option<Box<Refusal>>),
    /// The token endpoint refused in another way.
    Refused(Box<Refusal>),
    /// The token endpoint gave no answer.
    Lost(Box<url::Url>, outbound::Error),
    /// Whoever keeps the consents cannot say now.
    Unavailable(Box<dyn std::error::Error + Send + Sync>),
}

impl From<Refusal> for TokenError {
    fn from(refusal: Refusal) -> Self {
        match refusal.is_revoked() {
            true => Self::Revoked(Some(Box::new(refusal))),
            false => Self::Refused(Box::new(refusal)),
        }
    }
}

impl TokenError {
    /// As the failure of an operation. Of the refusals the client is told `oauth_failure`, as a Kazoo would.
    pub(crate) fn during(self, operation: Operation) -> Error {
        match self {
            Self::Unknown => {
                Error::new(operation, ErrorKind::Misconfigured, "there is no such consent (OAuth document)")
                    .without_access()
            }
            Self::Revoked(refusal) => refused(operation, ErrorKind::Revoked, refusal.as_deref()).without_access(),
            Self::Refused(refusal) => {
                let kind = match ErrorKind::of_status(refusal.status) {
                    kind @ (ErrorKind::Throttled | ErrorKind::Unavailable | ErrorKind::Timeout) => kind,
                    _ => ErrorKind::Refused,
                };
                let error = refused(operation, kind, Some(&refusal));
                if kind == ErrorKind::Refused { error.without_access() } else { error }
            }
            Self::Lost(url, error) => Error::on_the_way(operation, &url, error),
            Self::Unavailable(source) => {
                let error = Error::new(operation, ErrorKind::Unavailable, "the consents cannot be read now");
                error.caused(source)
            }
        }
    }
}

fn refused(operation: Operation, kind: ErrorKind, refusal: Option<&Refusal>) -> Error {
    let Some(refusal) = refusal else { return Error::new(operation, kind, "") };
    // The body of such an answer is not kept: it is a token endpoint's.
    Error::answered(operation, kind, &refusal.url, refusal.status, &refusal.headers, b"")
        .in_words(refusal.code.clone(), refusal.description.clone())
}

/// Knows no consent at all.
#[derive(Clone, Copy, Debug)]
pub struct NoGrants;

#[async_trait]
impl Grants for NoGrants {
    async fn token(&self, _: &str, _: &str, _: Option<&Token>) -> Result<Token, TokenError> {
        Err(TokenError::Unknown)
    }
}

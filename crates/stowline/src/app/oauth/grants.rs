//! Access tokens for consents: kept in memory, renewed before they expire, by one who renews for all that wait.
//!
//! A refresh token may be good once. So a renewal runs in a task of its own, which a caller who goes away does not stop; the refresh token that
//! it brings is durable before the access token is given to anybody; and while it could not be written down, it is kept here and nothing else is
//! renewed. A consent that its provider says was taken back is marked so, durably, and its provider is not asked again until it is given again.
//!
//! Whether somebody may use a consent is not asked here: handlers are opened by [`open`](super::open), which knows.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use attachments::TokenError;
use outbound::oauth::{Granted, Proof, Refusal, Token, ask};
use outbound::{Client, Secret};
use plan::DocId;
use tokio::sync::Mutex as Turn;
use tokio::time::Instant;

use super::Owned;
use super::apps::Application;
use super::consents::{self, Consent};
use super::system_auth;
use crate::config::OAuth;
use crate::seal::Keys;
use connections::{Document, Embedded};

/// Gives access tokens. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Grants(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    documents: Embedded,
    keys: Arc<Keys>,
    client: Client,
    config: OAuth,
    desks: Mutex<HashMap<DocId, Arc<Turn<Desk>>>>,
}

/// What is known of one consent beside its document. Whoever has its lock may renew.
#[derive(Debug, Default)]
struct Desk {
    generation: String,
    token: Option<Token>,
    /// What came of a renewal and could not be written down yet.
    unsaved: Option<(Token, Secret)>,
    /// When a renewal failed last, and how.
    failed: Option<(Instant, Failure)>,
}

/// A failure that is told to all who waited for the same renewal.
#[derive(Debug, Clone)]
enum Failure {
    Refused(Box<Refusal>),
    Lost,
}

impl From<Failure> for TokenError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(refusal) => Self::Refused(refusal),
            Failure::Lost => Self::Unavailable("the token endpoint gave no answer a moment ago".into()),
        }
    }
}

fn unavailable(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> TokenError {
    TokenError::Unavailable(error.into())
}

#[async_trait]
impl attachments::Grants for Grants {
    async fn token(&self, id: &str, scope: &str, spent: Option<&Token>) -> Result<Token, TokenError> {
        let id = DocId::parse(id).map_err(|_| TokenError::Unknown)?;
        let (inner, scope, spent, asked) = (self.0.clone(), scope.to_owned(), spent.cloned(), Instant::now());
        // A task of its own: what a provider gave must be kept although nobody waits for it any more.
        let giving = tokio::spawn(async move { inner.give(&id, &scope, spent.as_ref(), asked).await });
        giving.await.unwrap_or_else(|error| Err(unavailable(error)))
    }
}

impl Grants {
    /// Gives tokens for the consents among `documents`.
    pub fn new(documents: Embedded, keys: Arc<Keys>, client: Client, config: OAuth) -> Self {
        Self(Arc::new(Inner { documents, keys, client, config, desks: Mutex::default() }))
    }

    /// Who asks for tokens here.
    pub(super) fn client(&self) -> &Client {
        &self.0.client
    }

    /// Forgets the token of a consent that was removed. (One that was given again has another generation, and that is enough.)
    pub(super) fn forget(&self, id: &DocId) {
        self.0.desks.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }
}

impl Inner {
    fn desk(&self, id: &DocId) -> Arc<Turn<Desk>> {
        self.desks.lock().unwrap_or_else(PoisonError::into_inner).entry(id.clone()).or_default().clone()
    }

    async fn find(&self, id: &DocId) -> Result<Option<Document>, TokenError> {
        self.documents.get(&system_auth(), id).await.map_err(unavailable)
    }

    async fn give(&self, id: &DocId, scope: &str, spent: Option<&Token>, asked: Instant) -> Result<Token, TokenError> {
        let desk = self.desk(id);
        let mut desk = desk.lock().await;
        let document = self.find(id).await?.ok_or(TokenError::Unknown)?;
        if let Some(consent) = Consent::read(document.clone()) {
            if consent.is_revoked() {
                return Err(TokenError::Revoked(None));
            }
            if desk.generation != consent.generation() {
                *desk = Desk { generation: consent.generation().to_owned(), ..Desk::default() };
            }
            self.of_consent(&mut desk, &consent, spent, asked).await
        } else if let Some(app) = Application::read(document).filter(Application::signs_itself) {
            self.of_application(&mut desk, &app, scope, spent, asked).await
        } else {
            Err(TokenError::Unknown)
        }
    }

    async fn of_consent(
        &self,
        desk: &mut Desk,
        consent: &Consent,
        spent: Option<&Token>,
        asked: Instant,
    ) -> Result<Token, TokenError> {
        if desk.unsaved.is_some() {
            self.save(desk, consent).await?;
        }
        if let Some(kept) = desk.kept(spent, asked)? {
            return Ok(kept);
        }
        match self.renew(consent).await {
            Ok(Granted { token, refresh_token, .. }) => {
                told(consent.provider.word(), "renewed");
                match refresh_token {
                    Some(refresh_token) => {
                        desk.unsaved = Some((token.clone(), refresh_token));
                        self.save(desk, consent).await?;
                    }
                    None => desk.token = Some(token.clone()),
                }
                desk.failed = None;
                Ok(token)
            }
            Err(TokenError::Revoked(refusal)) => {
                told(consent.provider.word(), "revoked");
                self.taken_back(consent, refusal.as_deref()).await;
                Err(TokenError::Revoked(refusal))
            }
            Err(error) => {
                told(consent.provider.word(), "failed");
                Err(desk.fail(error))
            }
        }
    }

    async fn renew(&self, consent: &Consent) -> Result<Granted, TokenError> {
        let gone = || unavailable("the application that the consent was given to is gone");
        let app = DocId::parse(consent.app_id()).map_err(|_| gone())?;
        let app = self.find(&app).await?.and_then(Application::read).ok_or_else(gone)?;
        let endpoint = app.endpoint(&self.keys, &self.config).map_err(unavailable)?;
        let refresh_token = consent.refresh_token(&self.keys).map_err(unavailable)?;
        let answered = ask(&self.client, &endpoint, Proof::Refresh(&refresh_token)).await;
        let lost = |error| TokenError::Lost(Box::new(endpoint.token_url.clone()), error);
        answered.map_err(lost)?.map_err(TokenError::from)
    }

    /// Writes the refresh token down that took the place of another. Only then the access token is good.
    async fn save(&self, desk: &mut Desk, consent: &Consent) -> Result<(), TokenError> {
        let Some((token, refresh_token)) = &desk.unsaved else { return Ok(()) };
        let change = consents::rotated(&self.keys, consent, refresh_token).map_err(unavailable)?;
        self.documents.update(&system_auth(), &consent.id, change).await.map_err(unavailable)?;
        tracing::debug!(oauth_doc.id = %consent.id, "a refresh token took the place of another");
        desk.token = Some(token.clone());
        desk.unsaved = None;
        Ok(())
    }

    /// Marks a consent that was taken back. Should that fail, the provider is asked once more, and says it again.
    async fn taken_back(&self, consent: &Consent, refusal: Option<&Refusal>) {
        let code = refusal.and_then(|refusal| refusal.code.as_deref()).unwrap_or("invalid_grant");
        let change = consents::taken_back(consent, code, refusal.and_then(|refusal| refusal.description.as_deref()));
        let account = consent.owner.account().map(ToString::to_string).unwrap_or_default();
        tracing::warn!(
            event = "oauth_consent_revoked", account.id = %account, oauth_doc.id = %consent.id, owner = %consent.owner.place(),
            provider = consent.provider.word(), error.code = %code,
            "a consent was taken back: what needs it waits until it is given again"
        );
        metrics::counter!("stowline_oauth_consents_revoked_total", "provider" => consent.provider.word()).increment(1);
        if let Err(error) = self.documents.update(&system_auth(), &consent.id, change).await {
            tracing::warn!(oauth_doc.id = %consent.id, error = %error, "that a consent was taken back could not be written down");
        }
    }

    async fn of_application(
        &self,
        desk: &mut Desk,
        app: &Application,
        scope: &str,
        spent: Option<&Token>,
        asked: Instant,
    ) -> Result<Token, TokenError> {
        // A changed key, or another scope, is another token.
        let generation = format!("{} {scope}", app.document.revision);
        if desk.generation != generation {
            *desk = Desk { generation, ..Desk::default() };
        }
        if let Some(kept) = desk.kept(spent, asked)? {
            return Ok(kept);
        }
        let account = app.account(&self.keys).map_err(unavailable)?;
        let lost = |error| TokenError::Lost(Box::new(account.token_url().clone()), error);
        let answered = account.ask(&self.client, scope).await.map_err(lost);
        match answered.and_then(|answer| answer.map_err(|refusal| TokenError::Refused(Box::new(refusal)))) {
            Ok(granted) => {
                told(app.provider.word(), "renewed");
                desk.token = Some(granted.token.clone());
                desk.failed = None;
                Ok(granted.token)
            }
            Err(error) => {
                told(app.provider.word(), "failed");
                Err(desk.fail(error))
            }
        }
    }
}

impl Desk {
    /// The token, while it is good and was not refused; the failure of a renewal that began after it was `asked` for.
    fn kept(&self, spent: Option<&Token>, asked: Instant) -> Result<Option<Token>, TokenError> {
        if let Some(token) = self.token.as_ref().filter(|token| token.is_good() && Some(*token) != spent) {
            return Ok(Some(token.clone()));
        }
        match &self.failed {
            Some((at, failure)) if *at >= asked => Err(failure.clone().into()),
            _ => Ok(None),
        }
    }

    /// Keeps a failure for those who wait.
    fn fail(&mut self, error: TokenError) -> TokenError {
        let failure = match &error {
            TokenError::Refused(refusal) => Failure::Refused(refusal.clone()),
            _ => Failure::Lost,
        };
        self.failed = Some((Instant::now(), failure));
        error
    }
}

fn told(provider: &'static str, outcome: &'static str) {
    metrics::counter!("stowline_oauth_renewals_total", "provider" => provider, "outcome" => outcome).increment(1);
}

//! A consent that is removed here is taken back at its provider too, where that has a place for it. It is tried once, and not for long; whatever comes
//! of it, the consent is removed. What came of it is in the answer, in the audit trail, in the log and in the metrics.
//!
//! Google takes back all that a person ever allowed an application, not one token: while another consent may be the same person's, nobody is
//! asked.

use std::time::Duration;

use attachments::{Grants, TokenError};
use connections::Query;
use futures_util::future::join_all;
use outbound::oauth::{Ending, revoke};

use super::consents::{self, Consent};
use super::providers::Provider;
use super::{Owned, listed, system_auth};
use crate::app::{App, Error};

/// How long a provider is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The provider took it back.
    Revoked,
    /// It was taken back before.
    RevokedBefore,
    /// It did not come about: the person has to do it.
    Failed,
    /// Another consent of the same person may hang on it.
    Shared,
    /// The provider has no place for it.
    NotOffered,
}

impl Outcome {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::RevokedBefore => "revoked_before",
            Self::Failed => "failed",
            Self::Shared => "shared",
            Self::NotOffered => "not_offered",
        }
    }
}

/// Takes a consent back that is about to be removed.
pub(super) async fn at_its_provider(app: &App, consent: &Consent) -> Outcome {
    at_provider(app, consent, std::slice::from_ref(consent)).await
}

/// The same for several that go together, all at once.
pub(super) async fn of_all(app: &App, consents: &[Consent]) {
    join_all(consents.iter().map(|consent| at_provider(app, consent, consents))).await;
}

async fn at_provider(app: &App, consent: &Consent, leaving: &[Consent]) -> Outcome {
    let asked = tokio::time::timeout(PATIENCE, ask(app, consent, leaving)).await;
    let (outcome, why) = match asked {
        Ok(Ok(outcome)) => (outcome, String::new()),
        Ok(Err(error)) => (Outcome::Failed, crate::api::error::chain(&*error)),
        Err(_) => (Outcome::Failed, "no answer".to_owned()),
    };
    let provider = consent.provider.word();
    metrics::counter!("stowline_oauth_revocations_total", "provider" => provider, "outcome" => outcome.word())
        .increment(1);
    let account = consent.owner.account().map(ToString::to_string).unwrap_or_default();
    match outcome {
        Outcome::Failed => tracing::warn!(
            event = "oauth_revocation_failed", account.id = %account, oauth_doc.id = %consent.id, owner = %consent.owner.place(), provider,
            error = %why, "a consent that is removed here stands at its provider: the person can take it back there"
        ),
        _ => tracing::info!(
            event = "oauth_revocation", account.id = %account, oauth_doc.id = %consent.id, owner = %consent.owner.place(), provider,
            outcome = outcome.word(), "a consent goes at its provider too, where it can"
        ),
    }
    outcome
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

async fn ask(app: &App, consent: &Consent, leaving: &[Consent]) -> Result<Outcome, Failure> {
    let Some(url) = consent.provider.revoke_url(&app.config.oauth)? else { return Ok(Outcome::NotOffered) };
    if consent.is_revoked() {
        return Ok(Outcome::RevokedBefore);
    }
    let client = app.grants.client();
    let done = match consent.provider {
        Provider::Google => {
            if is_shared(app, consent, leaving).await? {
                return Ok(Outcome::Shared);
            }
            let token = consent.refresh_token(&app.keys)?;
            revoke(client, &url, Ending::Refresh(&token)).await?
        }
        Provider::Dropbox | Provider::Microsoft => {
            let token = match app.grants.token(consent.id.as_ref(), "", None).await {
                Ok(token) => token,
                Err(TokenError::Revoked(_)) => return Ok(Outcome::RevokedBefore),
                Err(TokenError::Lost(_, error)) => return Err(error.into()),
                Err(TokenError::Unavailable(error)) => return Err(error),
                Err(TokenError::Unknown | TokenError::Refused(_)) => return Err("no access token to show".into()),
            };
            revoke(client, &url, Ending::Shown(&token)).await?
        }
    };
    match done {
        true => Ok(Outcome::Revoked),
        false => Err("the provider would not".into()),
    }
}

/// Whether another consent that stays was given to the same application by who may be the same person: whoever is at the provider is not known
/// here, only for whom and by whom it was begun.
async fn is_shared(app: &App, consent: &Consent, leaving: &[Consent]) -> Result<bool, Error> {
    let who = |consent: &Consent| consent.document.body.get("consented_by").cloned();
    let others = listed(app, Query::new(system_auth(), consents::TYPE)).await?.into_iter().filter_map(Consent::read);
    Ok(others.filter(|other| leaving.iter().all(|leaving| leaving.id != other.id) && !other.is_revoked()).any(
        |other| other.app_id() == consent.app_id() && (other.owner == consent.owner || who(&other) == who(consent)),
    ))
}

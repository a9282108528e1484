//! Consents: what a person gave to an application, kept as a sealed refresh token under an id that handlers name.
//!
//! Giving consent again renews the same document, so that what waits for it and what lies in the drive stay within reach. Each time it has another
//! *generation*: what belongs to an earlier one (an access token, a refusal) counts no more.

use outbound::Secret;
use plan::DocId;
use serde_json::{Map, Value, json};

use super::providers::{Provider, listed as scopes_of};
use super::{OWNER, Owned, Owner, apps, owner_of, revocation, system_auth, waiting};
use crate::app::auth::Caller;
use crate::app::{App, Error, forms};
use crate::seal::Keys;
use crate::{id, time};
use connections::{Change, Document, Draft};

pub(super) const TYPE: &str = "oauth_token";
const REFRESH: &str = "pvt_refresh_token";
const GENERATION: &str = "pvt_generation";
const REVOKED: &str = "pvt_revoked";

/// A consent.
#[derive(Debug, Clone)]
pub struct Consent {
    /// The id that handlers name it by.
    pub id: DocId,
    /// Whose it is.
    pub owner: Owner,
    /// Whose drives it opens.
    pub provider: Provider,
    /// Its document.
    pub document: Document,
}

/// What a consent is made of.
pub(super) struct Given {
    pub app: apps::Application,
    pub refresh_token: Secret,
    pub scopes: Vec<String>,
    pub name: Option<String>,
    pub by: Value,
}

fn place(id: &DocId) -> String {
    format!("oauth_consent {id} refresh_token")
}

impl Owned for Consent {
    const TYPE: &'static str = TYPE;

    fn read(document: Document) -> Option<Self> {
        let owner = owner_of(&document)?;
        let provider = Provider::named(document.text("provider")?)?;
        let id = document.id.clone();
        (document.doc_type == TYPE && !document.deleted).then_some(Self { id, owner, provider, document })
    }

    fn owner(&self) -> &Owner {
        &self.owner
    }
}

impl Consent {
    /// What the outside sees of it; never a token.
    pub fn public(&self) -> Map<String, Value> {
        let mut shown = self.document.public();
        shown.insert("created".into(), self.document.body.get("pvt_created").cloned().unwrap_or_default());
        shown.insert("state".into(), if self.is_revoked() { "revoked" } else { "given" }.into());
        if let Some(revoked) = self.document.body.get(REVOKED) {
            shown.insert("revoked".into(), revoked.clone());
        }
        shown
    }

    /// The application that it was given to.
    pub fn app_id(&self) -> &str {
        self.document.text("app_id").unwrap_or_default()
    }

    /// What access it gives.
    pub fn scopes(&self) -> Vec<String> {
        scopes_of(self.document.body.get("scopes"))
    }

    /// True once its provider has said that it was taken back: it has to be given again.
    pub fn is_revoked(&self) -> bool {
        self.document.body.contains_key(REVOKED)
    }

    /// Since when that is known, and in which words.
    pub fn revoked(&self) -> Option<&Value> {
        self.document.body.get(REVOKED)
    }

    /// What is another each time that it is given.
    pub(super) fn generation(&self) -> &str {
        self.document.text(GENERATION).unwrap_or_default()
    }

    pub(super) fn refresh_token(&self, keys: &Keys) -> Result<Secret, Error> {
        let sealed = self.document.body.get(REFRESH).cloned().unwrap_or_default();
        let opened = keys.open_sealed(&place(&self.id), &sealed)?;
        Ok(Secret::new(opened.as_str().unwrap_or_default()))
    }
}

/// Who consents, for the document.
pub(super) fn by(caller: &Caller) -> Value {
    let mut by = json!({
        "account_id": caller.account.id.as_ref(), "user_id": caller.user.as_ref().map(|user| user.id.as_ref()),
    });
    if let Some(behind) = &caller.behind {
        by["behind"] = json!({
            "account_id": behind.account.as_ref(), "user_id": behind.user.as_ref().map(|user| user.as_ref()),
        });
    }
    by
}

/// The application, when the owner may consent to it.
pub(super) async fn offered(app: &App, owner: &Owner, id: &str) -> Result<apps::Application, Error> {
    let found = apps::offered(app, owner).await?.into_iter().find(|found| found.id.as_ref() == id);
    found.ok_or_else(|| Error::invalid("app_id", "invalid", "no application of this id is offered here"))
}

fn fields(keys: &Keys, id: &DocId, given: Given) -> Result<Map<String, Value>, Error> {
    let mut body = Map::from_iter([
        ("provider".to_owned(), Value::from(given.app.provider.word())),
        ("app_id".to_owned(), given.app.id.as_ref().into()),
        ("scopes".to_owned(), given.scopes.into()),
        ("consented_by".to_owned(), given.by),
        ("consented_at".to_owned(), time::now().into()),
        (GENERATION.to_owned(), id::random().into()),
        (REFRESH.to_owned(), keys.seal(&place(id), &given.refresh_token.reveal().into())?),
    ]);
    if let Some(name) = given.name {
        body.insert("name".into(), name.into());
    }
    Ok(body)
}

/// Writes a new consent down.
pub(super) async fn add(app: &App, owner: &Owner, given: Given) -> Result<Consent, Error> {
    let id = DocId::parse(&id::random()).map_err(|error| Error::internal("making an id", error))?;
    let now = time::now();
    let (provider, app_id) = (given.app.provider, given.app.id.clone());
    let mut body = fields(&app.keys, &id, given)?;
    body.insert("pvt_type".into(), TYPE.into());
    body.insert("pvt_created".into(), now.into());
    body.insert(OWNER.into(), owner.place().into());
    let document = app.documents.create(&system_auth(), &id, draft(owner, &app_id, now, body)).await?;
    tracing::info!(event = "oauth_consent_given", oauth_doc.id = %id, owner = %owner.place(), provider = provider.word(), "a consent was given");
    Consent::read(document).ok_or_else(|| Error::NotFound(id.to_string()))
}

/// As it is listed: with its account's, and with those that its application was given.
fn draft(owner: &Owner, app: &DocId, at: i64, body: Map<String, Value>) -> Draft {
    let (parent, owner) = (Some(owner.shelf()), Some(app.to_string()));
    Draft { doc_type: TYPE.into(), parent, owner, at, body, ..Draft::default() }
}

/// Writes down that a consent was given again. What waited for it is tried at once.
pub(super) async fn renew(app: &App, consent: &Consent, given: Given) -> Result<Consent, Error> {
    let app_id = given.app.id.clone();
    let fresh = fields(&app.keys, &consent.id, given)?;
    let renewed = move |document: &Document| {
        let mut body = document.body.clone();
        body.remove(REVOKED);
        body.extend(fresh);
        body
    };
    let document = if app_id.as_ref() == consent.app_id() {
        let change = |document: &Document| Ok(Change::Write(renewed(document)));
        app.documents.update(&system_auth(), &consent.id, change).await?
    } else {
        let (body, revision) = (renewed(&consent.document), &consent.document.revision);
        let at = body.get("pvt_created").and_then(Value::as_i64).unwrap_or_default();
        app.documents.replace(&system_auth(), &consent.id, revision, draft(&consent.owner, &app_id, at, body)).await?
    };
    tracing::info!(
        event = "oauth_consent_given", oauth_doc.id = %consent.id, owner = %consent.owner.place(),
        provider = consent.provider.word(), "a consent was given again"
    );
    waiting::wake(app, &consent.owner, &consent.id).await?;
    Consent::read(document).ok_or_else(|| Error::NotFound(consent.id.to_string()))
}

/// Brings a consent along that was given elsewhere.
///
/// # Errors
/// [`Error::Invalid`], [`Error::Unavailable`].
pub async fn create(app: &App, owner: &Owner, caller: &Caller, data: Value) -> Result<Consent, Error> {
    let body = app.forms.check_known(&forms::OAUTH_CONSENT, data)?;
    let text = |name: &str| body.get(name).and_then(Value::as_str);
    let app_id = text("app_id").unwrap_or_default();
    let application = offered(app, owner, app_id).await?;
    let Some(token) = text("refresh_token") else {
        let way = format!("GET …/storage/oauth/{}/start", application.provider.word());
        let message = format!("without a refresh token a consent is given by its person: {way}");
        return Err(Error::invalid("refresh_token", "required", message));
    };
    let given = Given {
        refresh_token: Secret::new(token),
        scopes: scopes_of(body.get("scopes")),
        name: text("name").map(str::to_owned),
        by: by(caller),
        app: application,
    };
    add(app, owner, given).await
}

/// Changes its name, or its refresh token, which is then as if it were given again.
///
/// # Errors
/// [`Error::Invalid`], [`Error::Conflict`], [`Error::Unavailable`].
pub async fn patch(app: &App, consent: &Consent, caller: &Caller, patch: Value) -> Result<Consent, Error> {
    let mut data = Value::Object(consent.document.public());
    plan::merge::patch(&mut data, &patch);
    let body = app.forms.check_known(&forms::OAUTH_CONSENT, data)?;
    let text = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
    let application = offered(app, &consent.owner, &text("app_id").unwrap_or_default()).await?;
    if application.provider != consent.provider {
        return Err(Error::invalid("app_id", "invalid", "another provider is another consent"));
    }
    let moved = application.id.as_ref() != consent.app_id();
    match text("refresh_token").map(Secret::new) {
        Some(refresh_token) => {
            let scopes = scopes_of(body.get("scopes"));
            let given = Given { app: application, refresh_token, scopes, name: text("name"), by: by(caller) };
            renew(app, consent, given).await
        }
        None if moved => {
            Err(Error::invalid("refresh_token", "required", "a refresh token is good for its application only"))
        }
        None => {
            let name = body.get("name").cloned();
            let rename = move |document: &Document| {
                let mut body = document.body.clone();
                body.remove("name");
                body.extend(name.map(|name| ("name".to_owned(), name)));
                Ok(Change::Write(body))
            };
            let document = app.documents.update(&system_auth(), &consent.id, rename).await?;
            Consent::read(document).ok_or_else(|| Error::NotFound(consent.id.to_string()))
        }
    }
}

/// Removes a consent, its refresh token at once, and takes it back at its provider where that can be. What waits for it goes nowhere until its handler names another, or it is sent elsewhere.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn remove(app: &App, consent: &Consent) -> Result<revocation::Outcome, Error> {
    let outcome = revocation::at_its_provider(app, consent).await;
    super::erase(app, &consent.id).await?;
    app.grants.forget(&consent.id);
    tracing::info!(event = "oauth_consent_removed", oauth_doc.id = %consent.id, owner = %consent.owner.place(), "a consent was removed");
    Ok(outcome)
}

/// The change by which a refresh token that its provider gave in place of the one before is kept, while the consent is still of `generation`.
pub(super) fn rotated(
    keys: &Keys,
    consent: &Consent,
    token: &Secret,
) -> Result<impl FnOnce(&Document) -> Result<Change, connections::Error> + Send + use<>, Error> {
    let sealed = keys.seal(&place(&consent.id), &token.reveal().into())?;
    let generation = consent.generation().to_owned();
    Ok(move |document: &Document| {
        if document.text(GENERATION) != Some(generation.as_str()) {
            return Ok(Change::Leave);
        }
        let mut body = document.body.clone();
        body.insert(REFRESH.into(), sealed);
        Ok(Change::Write(body))
    })
}

/// The change by which it is known that a consent was taken back, while it is still of the same generation.
pub(super) fn taken_back(
    consent: &Consent,
    code: &str,
    message: Option<&str>,
) -> impl FnOnce(&Document) -> Result<Change, connections::Error> + Send + use<> {
    let generation = consent.generation().to_owned();
    let mut message = message.unwrap_or_default().to_owned();
    message.truncate(message.floor_char_boundary(500));
    let revoked = json!({"since": time::now(), "code": code, "message": message});
    move |document: &Document| {
        if document.text(GENERATION) != Some(generation.as_str()) || document.body.contains_key(REVOKED) {
            return Ok(Change::Leave);
        }
        let mut body = document.body.clone();
        body.insert(REVOKED.into(), revoked);
        Ok(Change::Write(body))
    }
}

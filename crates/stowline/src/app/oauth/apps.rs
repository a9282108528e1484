//! Applications: what an operator registered with a provider, so that people can be asked in its name.
//!
//! Those of the system serve every account, those of a reseller the reseller and its accounts. Their secrets are sealed and never shown again. An
//! application that consents were given to cannot go before them.
//!
//! One that signs for itself (`service_account`, Google) needs nobody's consent; a handler names it by `oauth_app_id`.

use outbound::Secret;
use outbound::oauth::{Endpoint, ServiceAccount};
use plan::DocId;
use serde_json::{Map, Value};

use super::providers::{Provider, listed as scopes_of};
use super::{OWNER, Owned, Owner, consents, list, listed, owner_of, system_auth, waiting};
use crate::app::{App, Error, accounts, forms};
use crate::config::OAuth;
use crate::seal::Keys;
use crate::{id, time};
use connections::{Contents, Document, Draft, Query};

pub(super) const TYPE: &str = "oauth_app";
const SECRET: &str = "pvt_client_secret";
const SIGNS: &str = "pvt_service_account";
/// What callers send of these, and where each is kept.
const SECRETS: [(&str, &str); 2] = [("client_secret", SECRET), ("service_account", SIGNS)];

/// An application.
#[derive(Debug, Clone)]
pub struct Application {
    /// Its id here.
    pub id: DocId,
    /// Whose it is.
    pub owner: Owner,
    /// Where it is registered.
    pub provider: Provider,
    /// Its document.
    pub document: Document,
}

fn place(id: &DocId, field: &str) -> String {
    format!("oauth_app {id} {field}")
}

impl Owned for Application {
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

impl Application {
    /// What the outside sees of it; never a secret.
    pub fn public(&self) -> Map<String, Value> {
        let mut shown = self.document.public();
        shown.insert("created".into(), self.document.body.get("pvt_created").cloned().unwrap_or_default());
        shown
    }

    /// Its id at the provider.
    pub fn client_id(&self) -> &str {
        self.document.text("client_id").unwrap_or_default()
    }

    /// Whose directory people must be of.
    pub fn tenant(&self) -> Option<&str> {
        self.document.text("tenant")
    }

    /// What access it asks for, where its operator wants other than is usual.
    pub fn scopes(&self) -> Vec<String> {
        scopes_of(self.document.body.get("scopes"))
    }

    /// True when it needs nobody's consent.
    pub fn signs_itself(&self) -> bool {
        self.document.body.contains_key(SIGNS)
    }

    fn opened(&self, keys: &Keys, field: &str) -> Result<Option<Value>, Error> {
        let sealed = self.document.body.get(field);
        sealed.map(|sealed| Ok(keys.open_sealed(&place(&self.id, field), sealed)?)).transpose()
    }

    /// Who asks for tokens in its name, and where.
    ///
    /// # Errors
    /// [`Error::Internal`].
    pub fn endpoint(&self, keys: &Keys, config: &OAuth) -> Result<Endpoint, Error> {
        let token_url = self.provider.token_url(config, self.tenant());
        let client_secret = self.opened(keys, SECRET)?.and_then(|secret| secret.as_str().map(Secret::new));
        Ok(Endpoint {
            token_url: token_url.map_err(|error| Error::internal("reading a provider's URL", error))?,
            client_id: self.client_id().to_owned(),
            client_secret,
        })
    }

    /// The account that signs for it.
    ///
    /// # Errors
    /// [`Error::NotFound`] when it does not sign for itself, [`Error::Internal`].
    pub fn account(&self, keys: &Keys) -> Result<ServiceAccount, Error> {
        let file = self.opened(keys, SIGNS)?.ok_or_else(|| Error::NotFound(self.id.to_string()))?;
        ServiceAccount::read(&file).map_err(|error| Error::internal("reading a service account", error))
    }
}

/// Takes the secrets out of what was sent and seals them, and looks whether the rest is an application.
fn sealed(keys: &Keys, id: &DocId, body: &mut Map<String, Value>) -> Result<(), Error> {
    if let Some(file) = body.get("service_account") {
        let unfit = |error| Error::invalid("service_account", "invalid", format!("{error}"));
        ServiceAccount::read(file).map_err(unfit)?;
        if body.get("provider").and_then(Value::as_str) != Some(Provider::Google.word()) {
            return Err(Error::invalid("service_account", "invalid", "only Google has service accounts"));
        }
    }
    for (sent, kept) in SECRETS {
        if let Some(secret) = body.remove(sent) {
            body.insert(kept.into(), keys.seal(&place(id, kept), &secret)?);
        }
    }
    if !body.contains_key("client_id") && !body.contains_key(SIGNS) {
        return Err(Error::invalid("client_id", "required", "an application has a client_id (or a service_account)"));
    }
    Ok(())
}

/// Registers an application.
///
/// # Errors
/// [`Error::Invalid`], [`Error::Unavailable`].
pub async fn create(app: &App, owner: &Owner, data: Value) -> Result<Application, Error> {
    let id = DocId::parse(&id::random()).map_err(|error| Error::internal("making an id", error))?;
    let mut body = app.forms.check_known(&forms::OAUTH_APP, data)?;
    sealed(&app.keys, &id, &mut body)?;
    let now = time::now();
    body.insert("pvt_type".into(), TYPE.into());
    body.insert("pvt_created".into(), now.into());
    body.insert(OWNER.into(), owner.place().into());
    let draft = Draft { doc_type: TYPE.into(), parent: Some(owner.shelf()), at: now, body, ..Draft::default() };
    let document = app.documents.create(&system_auth(), &id, draft).await?;
    tracing::info!(oauth_app.id = %id, owner = %owner.place(), "an OAuth application was registered");
    Application::read(document).ok_or_else(|| Error::NotFound(id.to_string()))
}

/// Changes an application: secrets that are not sent stay. Consents that it was given are tried again.
///
/// # Errors
/// [`Error::Conflict`], [`Error::Invalid`], [`Error::Unavailable`].
pub async fn patch(app: &App, found: &Application, patch: Value) -> Result<Application, Error> {
    let mut data = Value::Object(found.document.public());
    plan::merge::patch(&mut data, &patch);
    let mut body = app.forms.check_known(&forms::OAUTH_APP, data)?;
    if body.get("provider").and_then(Value::as_str) != Some(found.provider.word()) {
        return Err(Error::invalid("provider", "invalid", "another provider is another application"));
    }
    let mut kept = Map::new();
    forms::keep_private(&found.document, &mut kept);
    for (sent, field) in SECRETS {
        if body.contains_key(sent) {
            kept.remove(field);
        }
    }
    body.extend(kept);
    sealed(&app.keys, &found.id, &mut body)?;
    let Contents { database, id, revision, .. } = &*found.document;
    let at = body.get("pvt_created").and_then(Value::as_i64).unwrap_or_default();
    let draft = Draft { doc_type: TYPE.into(), parent: Some(found.owner.shelf()), at, body, ..Draft::default() };
    let document = app.documents.replace(database, id, revision, draft).await?;
    for consent in given_to(app, id).await? {
        waiting::wake(app, &consent.owner, &consent.id).await?;
    }
    waiting::wake(app, &found.owner, id).await?;
    Application::read(document).ok_or_else(|| Error::NotFound(id.to_string()))
}

/// Removes an application that nobody has consented to any more.
///
/// # Errors
/// [`Error::Invalid`] while there are consents, [`Error::Unavailable`].
pub async fn remove(app: &App, found: &Application) -> Result<(), Error> {
    let used = given_to(app, &found.id).await?.len();
    if used > 0 {
        let message = format!("{used} consents were given to this application: remove those first");
        return Err(Error::invalid("id", "in_use", message));
    }
    super::erase(app, &found.id).await?;
    app.grants.forget(&found.id);
    tracing::info!(oauth_app.id = %found.id, owner = %found.owner.place(), "an OAuth application was removed");
    Ok(())
}

async fn given_to(app: &App, id: &DocId) -> Result<Vec<consents::Consent>, Error> {
    let query = Query { owner: Some(id.to_string()), ..Query::new(system_auth(), consents::TYPE) };
    Ok(listed(app, query).await?.into_iter().filter_map(consents::Consent::read).collect())
}

/// The applications that somebody may consent to, the nearest first: the account's own, its reseller's, the system's.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn offered(app: &App, owner: &Owner) -> Result<Vec<Application>, Error> {
    let mut owners = Vec::new();
    if let Some(account) = owner.account() {
        owners.push(Owner::Account(account.clone()));
        let reseller = accounts::find(app, account).await?.and_then(|account| account.reseller_id());
        owners.extend(reseller.map(Owner::Account).filter(|reseller| !owners.contains(reseller)));
    }
    owners.push(Owner::System);
    let mut found = Vec::new();
    for owner in owners {
        let own: Vec<Application> = list(app, &owner).await?;
        found.extend(own.into_iter().filter(|found| !found.signs_itself()));
    }
    Ok(found)
}

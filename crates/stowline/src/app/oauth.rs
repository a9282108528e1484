//! Drives that a person opens: applications, consents, and the access tokens that come of both.
//!
//! An **application** is what an operator registered with a provider: a client id and its secret. A **consent** is what a person gave to it: a
//! refresh token, kept sealed. A handler's settings name a consent by its id (`oauth_doc_id`) and hold nothing of it.
//!
//! Who may name it: the level whose handler it is, and no other. A handler of the system's document names a consent of the system, one of a
//! reseller's document or plan one of the reseller, one of an account's document one of the account, one of a user's document one of the user. So
//! every handler is opened through [`open`], which knows whose its entry is; of anybody else's consent it says what it says of none at all.
//!
//! `grants` gives access tokens, `revocation` ends them, `flow` takes a person to the provider and back, bound as `binding` says, `waiting` has what waited for a consent tried again.

use std::sync::Arc;

use attachments::{ErrorKind, Handler, Operation};
use plan::{AccountId, Database, DocId, HandlerConfig, UserId, Violations};
use serde_json::{Map, Value};

use super::storage_documents::Scope;
use super::{App, Error};
use connections::{Document, Query};

pub mod apps;
mod binding;
pub mod consents;
pub mod flow;
pub mod grants;
pub mod providers;
pub mod revocation;
pub mod waiting;

pub use apps::Application;
pub use consents::Consent;
pub use providers::Provider;

/// What a job that waits for a consent is parked with.
pub const CONSENT_NEEDED: &str = "consent_needed";

/// Whose an application or a consent is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// The platform's.
    System,
    /// An account's.
    Account(AccountId),
    /// A user's of an account.
    User(AccountId, UserId),
}

impl Owner {
    /// Whose consents the handlers of a document may name.
    pub fn of(scope: &Scope) -> Self {
        match scope {
            Scope::System | Scope::SystemPlan(_) => Self::System,
            Scope::Account(account) | Scope::ResellerPlan(account, _) => Self::Account(account.clone()),
            Scope::User(account, user) => Self::User(account.clone(), user.clone()),
        }
    }

    /// The account that it is, or is of.
    pub fn account(&self) -> Option<&AccountId> {
        match self {
            Self::System => None,
            Self::Account(account) | Self::User(account, _) => Some(account),
        }
    }

    /// Under what its documents are listed: those of users with their account's.
    fn shelf(&self) -> String {
        self.account().map_or_else(|| "system".to_owned(), ToString::to_string)
    }

    /// What its documents say of whose they are.
    pub(crate) fn place(&self) -> String {
        match self {
            Self::System => "system".to_owned(),
            Self::Account(account) => account.to_string(),
            Self::User(account, user) => format!("{account}/{user}"),
        }
    }

    /// The owner whose documents say so.
    pub(crate) fn at(place: &str) -> Option<Self> {
        if place == "system" {
            return Some(Self::System);
        }
        match place.split_once('/') {
            None => AccountId::parse(place).ok().map(Self::Account),
            Some((account, user)) => Some(Self::User(AccountId::parse(account).ok()?, UserId::parse(user).ok()?)),
        }
    }
}

/// The database of applications and consents, as in Kazoo.
pub(crate) fn system_auth() -> Database {
    Database::Named("system_auth".into())
}

/// The private field that says whose a document is.
const OWNER: &str = "pvt_owner";

fn owner_of(document: &Document) -> Option<Owner> {
    Owner::at(document.text(OWNER)?)
}

/// What an owner has here: applications, or consents.
pub trait Owned: Sized {
    /// The type of its documents.
    const TYPE: &'static str;

    /// Reads a document; none when it is no such thing.
    fn read(document: Document) -> Option<Self>;

    /// Whose it is.
    fn owner(&self) -> &Owner;
}

/// What the owner has of these, newest first.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn list<T: Owned>(app: &App, owner: &Owner) -> Result<Vec<T>, Error> {
    let query = Query { parent: Some(owner.shelf()), ..Query::new(system_auth(), T::TYPE) };
    let found = listed(app, query).await?.into_iter().filter_map(T::read);
    Ok(found.filter(|found| found.owner() == owner).collect())
}

/// The owner's one with this id; none when it has none such.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn of<T: Owned>(app: &App, owner: &Owner, id: &str) -> Result<Option<T>, Error> {
    let Ok(parsed) = DocId::parse(id) else { return Ok(None) };
    let found = app.documents.get(&system_auth(), &parsed).await?.and_then(T::read);
    Ok(found.filter(|found| found.owner() == owner))
}

/// The owner's one with this id.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Unavailable`].
pub async fn get<T: Owned>(app: &App, owner: &Owner, id: &str) -> Result<T, Error> {
    of(app, owner, id).await?.ok_or_else(|| Error::NotFound(id.to_owned()))
}

/// All documents that a query asks for.
async fn listed(app: &App, mut query: Query) -> Result<Vec<Document>, Error> {
    let mut found = Vec::new();
    loop {
        let page = app.documents.list(query.clone()).await?;
        found.extend(page.documents.into_iter().map(|(_, document)| document));
        match page.next {
            Some(next) => query.start = Some(next),
            None => return Ok(found),
        }
    }
}

/// Removes a document and whatever is left of it in the files.
async fn erase(app: &App, id: &DocId) -> Result<(), Error> {
    match app.documents.remove(&system_auth(), id, None).await {
        Err(error) if error.kind() == connections::ErrorKind::NotFound => return Ok(()),
        other => other?,
    }
    app.documents.scrub().await?;
    Ok(())
}

/// Removes what an account that was deleted leaves here: its consents and applications, and those of its users.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn forget(app: &App, account: &AccountId) -> Result<(), Error> {
    let mut left = Vec::new();
    for doc_type in [consents::TYPE, apps::TYPE, flow::TYPE] {
        let query = Query { parent: Some(account.to_string()), ..Query::new(system_auth(), doc_type) };
        left.extend(listed(app, query).await?);
    }
    // As long as their applications are here.
    revocation::of_all(app, &left.iter().cloned().filter_map(Consent::read).collect::<Vec<_>>()).await;
    for document in left {
        erase(app, &document.id).await?;
        app.grants.forget(&document.id);
    }
    Ok(())
}

/// The settings by which a handler is let in, and whether they name a consent or an application.
fn named(settings: &Map<String, Value>) -> Option<(&'static str, &str)> {
    ["oauth_doc_id", "oauth_app_id"].into_iter().find_map(|name| Some((name, settings.get(name)?.as_str()?)))
}

/// True for settings that name a consent or an application.
pub fn needs_consent(settings: &Map<String, Value>) -> bool {
    named(settings).is_some()
}

/// What keeps a handler of `owner` from being let in: the setting at fault, and what is wrong with it.
async fn fault(app: &App, entry: &HandlerConfig, owner: &Owner) -> Result<Option<(&'static str, String)>, Error> {
    let Some((name, id)) = named(&entry.settings) else { return Ok(None) };
    let base = entry.settings.get("base_url").and_then(Value::as_str).filter(|base| !base.is_empty());
    let permitted = |base: &str| app.config.oauth.base_urls.iter().any(|known| same_place(known, base));
    if base.is_some_and(|base| !permitted(base)) {
        // Whoever listens there would be shown the access token.
        let why = "is none that the operator permits: access tokens are shown to their provider only";
        return Ok(Some(("base_url", why.to_owned())));
    }
    let provider = match name {
        "oauth_doc_id" => of::<Consent>(app, owner, id).await?.map(|consent| consent.provider),
        _ => of(app, owner, id).await?.filter(Application::signs_itself).map(|found| found.provider),
    };
    Ok(match provider {
        None => Some((name, "names no consent (OAuth document) that this level has".to_owned())),
        Some(provider) if !provider.serves(&entry.handler) => {
            let why = format!("names a consent for {}, which opens no {}", provider.title(), entry.handler);
            Some((name, why))
        }
        Some(_) => None,
    })
}

fn same_place(known: &str, base: &str) -> bool {
    match (url::Url::parse(known), url::Url::parse(base)) {
        (Ok(known), Ok(base)) => known.origin() == base.origin(),
        _ => false,
    }
}

/// Opens the handler of an entry that is `owner`'s.
///
/// # Errors
/// [`Error::Destination`] when the settings cannot work, or name a consent that is not the owner's; [`Error::Unavailable`].
pub async fn open(app: &App, entry: &Arc<HandlerConfig>, owner: &Owner) -> Result<Arc<dyn Handler>, Error> {
    if let Some((name, why)) = fault(app, entry, owner).await? {
        let error = attachments::Error::new(Operation::Open, ErrorKind::Misconfigured, format!("{name} {why}"));
        return Err(error.into());
    }
    Ok(app.handlers.open_entry(entry)?)
}

/// Adds what is wrong with the consents that a document's entries name; entries that are `known` already are not asked about again.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn check(
    app: &App,
    scope: &Scope,
    entries: impl Iterator<Item = (&plan::HandlerId, &HandlerConfig)>,
    violations: &mut Violations,
) -> Result<(), Error> {
    let owner = Owner::of(scope);
    for (id, entry) in entries {
        if let Some((name, why)) = fault(app, entry, &owner).await? {
            let entry = format!("attachments.{id}");
            violations.push(&format!("{entry}.settings.{name}"), "invalid", format!("{name} {why}"), []);
            violations.push(&entry, "not_one_schema_valid", "failed to validate".to_owned(), []);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_known_again_by_its_place() {
        let account = AccountId::parse(&"a".repeat(32)).unwrap();
        let user = UserId::parse(&"b".repeat(32)).unwrap();
        for owner in [Owner::System, Owner::Account(account.clone()), Owner::User(account, user)] {
            assert_eq!(Owner::at(&owner.place()), Some(owner));
        }
        assert_eq!(Owner::at("nobody"), None);
    }

    #[test]
    fn a_place_is_its_origin() {
        assert!(same_place("https://graph.example/", "https://graph.example/v1.0"));
        assert!(!same_place("https://graph.example", "https://graph.example.evil"));
        assert!(!same_place("https://graph.example", "http://graph.example"));
        assert!(!same_place("", ""));
    }
}

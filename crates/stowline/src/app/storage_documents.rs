//! Storage documents: what the platform, a reseller, an account or a user says about where data goes, and the plans that accounts link to.
//!
//! A change walks: open with its revision → merge → masked values taken back → schemas → references → probe of the handlers that changed →
//! save at the expected revision → plans forgotten, here and below → what waits for a changed handler made due → answer.
//!
//! Settings are sealed at rest. An entry that leaves the document, or whose destination changes, is *retired* (`retirement`): hidden, and still
//! there for the jobs and receipts that name it.

use std::sync::Arc;

use plan::{AccountId, Database, HandlerConfig, HandlerId, PlanId, StorageDocument, merge};
use serde_json::{Map, Value, json};

use super::oauth;
use super::pages::{Ask, Page};
use super::{App, Error, accounts, pages, retirement, secrets};
use crate::time;
use connections::{Document, Draft, Query, Revision};

mod accept;
mod propose;
mod scope;
mod verify;

pub(crate) use propose::propose;
pub use scope::Scope;

const TYPE: &str = "storage";
const PLAN: &str = "storage_plan";
/// Private field: for each verified entry, a keyed signature of what was verified.
const VERIFIED: &str = "pvt_verified";

/// A stored storage document with its settings open.
#[derive(Clone)]
pub struct Stored {
    /// What its owner sees.
    pub public: Map<String, Value>,
    /// Its revision.
    pub revision: Revision,
    /// What only the server knows of it.
    pub private: Map<String, Value>,
}

impl std::fmt::Debug for Stored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stored").field("revision", &self.revision).finish_non_exhaustive()
    }
}

/// What a caller asked for beside the document itself.
#[derive(Debug, Clone, Default)]
pub struct Wish {
    /// `validate_settings`: false asks to save without a probe.
    pub skip_probe: bool,
    /// Id of the request, for the probe's document.
    pub request_id: String,
    /// The caller stands above whose document it is: another level's admin, not its own.
    pub from_above: bool,
    /// Revisions that the caller takes as current (`If-Match`); empty when it named none.
    pub if_match: Vec<String>,
}

/// The database of storage documents.
pub(crate) fn system_data() -> Database {
    Database::Named("system_data".into())
}

/// The scope's document; none when storage was never configured.
///
/// # Errors
/// [`Error::Unavailable`], [`Error::Internal`] when its settings cannot be opened.
pub async fn find(app: &App, scope: &Scope) -> Result<Option<Stored>, Error> {
    let Some(document) = app.documents.get(&system_data(), &scope.doc_id()?).await? else { return Ok(None) };
    // An id alone proves nothing: a mailbox may name anything as its owner.
    let account = document.text("pvt_account_id");
    if document.doc_type != scope.doc_type() || account != scope.account().map(AsRef::as_ref) {
        return Ok(None);
    }
    opened(app, scope, document).map(Some)
}

/// The scope's document.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Unavailable`].
pub async fn get(app: &App, scope: &Scope) -> Result<Stored, Error> {
    find(app, scope).await?.ok_or_else(|| scope.missing())
}

/// The plans of a reseller, or of the system, that `keep` keeps, ordered by id.
///
/// # Errors
/// [`Error::Unavailable`], [`Error::Internal`] when settings cannot be opened.
pub async fn plans(
    app: &App,
    owner: Option<&AccountId>,
    ask: &Ask,
    keep: impl Fn(&Stored) -> bool + Send + Sync,
) -> Result<Page<Stored>, Error> {
    let parent = Some(owner.map_or_else(|| scope::SYSTEM.to_owned(), ToString::to_string));
    let query = Query { parent, ..Query::new(system_data(), PLAN) };
    let plan = |document: Document| {
        let scope = Scope::of_plan(document.id.as_ref()).filter(|scope| scope.account() == owner)?;
        Some(opened(app, &scope, document)).filter(|stored| stored.as_ref().map_or(true, &keep))
    };
    let page = pages::gather(app, vec![query], ask, plan).await?;
    Ok(Page { rows: page.rows.into_iter().collect::<Result<_, _>>()?, next: page.next })
}

/// The plan that an account means by an id: its own, its reseller's, or the system's.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn plan_of(app: &App, account: &accounts::Account, id: &PlanId) -> Result<Option<(Scope, Stored)>, Error> {
    let own = account.is_reseller().then(|| account.id.clone());
    let owners = own.into_iter().chain(account.reseller_id());
    let scopes = owners.map(|owner| Scope::ResellerPlan(owner, id.clone())).chain([Scope::SystemPlan(id.clone())]);
    for scope in scopes {
        if let Some(stored) = find(app, &scope).await? {
            return Ok(Some((scope, stored)));
        }
    }
    Ok(None)
}

fn opened(app: &App, scope: &Scope, document: Document) -> Result<Stored, Error> {
    let mut public = document.public();
    public.insert("id".into(), scope.id().into());
    secrets::open(&app.keys, document.id.as_ref(), &mut public)?;
    let private = document.body.iter().filter(|(key, _)| key.starts_with("pvt_"));
    let private = private.map(|(key, value)| (key.clone(), value.clone())).collect();
    Ok(Stored { public, revision: document.revision.clone(), private })
}

/// What the system says while nobody has said anything in its name.
pub fn built_in() -> Map<String, Value> {
    let mut document = json!({"id": "system", "attachments": {}, "connections": {}, "plan": {}});
    if let (Value::Object(all), Value::Object(own)) = (&mut document, StorageDocument::built_in().to_json()) {
        all.extend(own);
    }
    if let Some(local) = document.pointer_mut("/connections/local") {
        *local = json!({});
    }
    match document {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// Creates the document.
///
/// # Errors
/// [`Error::Conflict`] when there is one, [`Error::Invalid`], [`Error::Unavailable`].
pub async fn create(app: &App, scope: &Scope, data: Value, wish: &Wish) -> Result<Stored, Error> {
    if !wish.if_match.is_empty() {
        return Err(Error::Precondition);
    }
    // An answer by the schema comes before the conflict, a probe of somebody's bucket does not.
    let document = accept::accept(app, scope, data, None, wish.from_above).await?;
    if find(app, scope).await?.is_some() {
        return Err(Error::Conflict);
    }
    save(app, scope, document, None, wish).await
}

/// Writes the document anew.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Conflict`], [`Error::Precondition`], [`Error::Invalid`], [`Error::Unavailable`].
pub async fn replace(app: &App, scope: &Scope, data: Value, wish: &Wish) -> Result<Stored, Error> {
    let stored = find(app, scope).await?;
    let document = accept::accept(app, scope, data, stored.as_ref(), wish.from_above).await?;
    let stored = stored.ok_or_else(|| scope.missing())?;
    expect(&stored, wish)?;
    save(app, scope, document, Some(stored), wish).await
}

/// Merges `patch` into the document: null deletes, an explicit `{}` over an object replaces it.
///
/// # Errors
/// As [`replace`].
pub async fn patch(app: &App, scope: &Scope, patch: Value, wish: &Wish) -> Result<Stored, Error> {
    let stored = get(app, scope).await?;
    let data = patched(app, &stored, &patch)?;
    let document = accept::accept(app, scope, data, Some(&stored), wish.from_above).await?;
    expect(&stored, wish)?;
    save(app, scope, document, Some(stored), wish).await
}

fn patched(app: &App, stored: &Stored, patch: &Value) -> Result<Value, Error> {
    if !patch.is_object() {
        return Err(Error::invalid("data", "type", "data must be an object"));
    }
    // Where secrets are masked the patch meets the mask, so that a secret follows a changed destination no more than in a POST.
    let mut shown = stored.public.clone();
    if app.config.api.mask_secrets {
        secrets::mask(&mut shown);
    }
    let mut data = Value::Object(shown);
    merge::patch(&mut data, patch);
    Ok(data)
}

/// Removes the document; its entries are retired, so that what waits for them still gets there.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Conflict`], [`Error::Precondition`], [`Error::Unavailable`].
pub async fn remove(app: &App, scope: &Scope, wish: &Wish) -> Result<Stored, Error> {
    let stored = get(app, scope).await?;
    expect(&stored, wish)?;
    accept::may_go(app, scope, &stored, wish.from_above).await?;
    retirement::retire(app, scope, &stored.public, &Map::new()).await?;
    app.documents.remove(&system_data(), &scope.doc_id()?, Some(&stored.revision)).await?;
    app.dataplans.forget(scope);
    Ok(stored)
}

/// Removes all that an account which was deleted leaves here: its document, those of its users, its plans, and what was retired of them,
/// credentials and all.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn forget_account(app: &App, account: &AccountId) -> Result<(), Error> {
    for doc_type in [TYPE, PLAN, retirement::TYPE] {
        let query = Query { parent: Some(account.to_string()), ..Query::new(system_data(), doc_type) };
        let all = pages::gather(app, vec![query], &Ask::default(), |document| Some(document.id.clone())).await?;
        for id in all.rows {
            discard(app, &id).await?;
        }
    }
    discard(app, &Scope::Account(account.clone()).retired_id()?).await?;
    oauth::forget(app, account).await?;
    app.dataplans.forget(&Scope::Account(account.clone()));
    // What waits for a handler that is gone is parked at its next attempt: now.
    app.journal.redrive(account.as_ref(), None).await.map_err(Error::journal)?;
    Ok(())
}

async fn discard(app: &App, id: &plan::DocId) -> Result<(), Error> {
    match app.documents.remove(&system_data(), id, None).await {
        Err(error) if error.kind() != connections::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

fn expect(stored: &Stored, wish: &Wish) -> Result<(), Error> {
    let current = stored.revision.to_string();
    let fits = wish.if_match.is_empty() || wish.if_match.iter().any(|tag| *tag == current || tag == "*");
    if fits { Ok(()) } else { Err(Error::Precondition) }
}

async fn save(
    app: &App,
    scope: &Scope,
    document: Map<String, Value>,
    stored: Option<Stored>,
    wish: &Wish,
) -> Result<Stored, Error> {
    // A plan is nobody's destination until somebody links to it; who does finds out by a probe of their own.
    let verified = match scope.plan() {
        Some(_) => Map::new(),
        None => verify::verify(app, scope, &document, stored.as_ref(), wish).await?,
    };
    let before = stored.as_ref().map(|stored| stored.public.clone()).unwrap_or_default();
    // Retired first: should the save fail, an entry is both in force and retired, which is harmless.
    retirement::retire(app, scope, &before, &document).await?;
    let draft = draft(app, scope, &document, stored.as_ref(), verified)?;
    let id = scope.doc_id()?;
    let written = match &stored {
        None => app.documents.create(&system_data(), &id, draft).await?,
        Some(stored) => app.documents.replace(&system_data(), &id, &stored.revision, draft).await?,
    };
    app.dataplans.forget(scope);
    wake(app, scope, &before, &document).await;
    opened(app, scope, written)
}

fn draft(
    app: &App,
    scope: &Scope,
    document: &Map<String, Value>,
    stored: Option<&Stored>,
    verified: Map<String, Value>,
) -> Result<Draft, Error> {
    let mut body = document.clone();
    secrets::seal(&app.keys, &scope.place(), &mut body)?;
    for (key, value) in stored.map(|stored| stored.private.clone()).unwrap_or_default() {
        body.insert(key, value);
    }
    body.insert(VERIFIED.into(), Value::Object(verified));
    body.insert("pvt_type".into(), scope.doc_type().into());
    body.insert("pvt_modified".into(), time::now().into());
    body.entry("pvt_created").or_insert_with(|| time::now().into());
    if let Some(account) = scope.account() {
        body.insert("pvt_account_id".into(), account.as_ref().into());
    }
    // All carry the same time, so that lists are ordered by id.
    Ok(Draft { doc_type: scope.doc_type().into(), parent: Some(scope.parent()), body, ..Draft::default() })
}

/// Makes due what waits for a handler whose settings changed, what is parked for it in the account included.
async fn wake(app: &App, scope: &Scope, before: &Map<String, Value>, after: &Map<String, Value>) {
    let known = |id: &String| before.get("attachments").and_then(|entries| entries.get(id));
    let changed: Vec<&String> =
        entries(after).filter(|(id, entry)| known(id) != Some(entry)).map(|(id, _)| id).collect();
    if changed.is_empty() {
        return;
    }
    if let Err(error) = wake_lanes(app, scope, &changed).await {
        tracing::warn!(error = %error, "deliveries that wait for a changed handler keep their schedule");
    }
}

async fn wake_lanes(app: &App, scope: &Scope, changed: &[&String]) -> Result<(), Error> {
    let mut own = None;
    if let Some(account) = scope.account() {
        app.journal.redrive(account.as_ref(), None).await.map_err(Error::journal)?;
        // A reseller's handlers serve the accounts below it too.
        let reseller = accounts::find(app, account).await?.is_some_and(|account| account.is_reseller());
        own = (!reseller).then_some(account.as_ref());
    }
    for id in changed {
        app.journal.make_due(&crate::jobs::lanes_of(own, id)).await.map_err(Error::journal)?;
    }
    Ok(())
}

/// The entries of `attachments`.
pub(super) fn entries(document: &Map<String, Value>) -> impl Iterator<Item = (&String, &Value)> {
    document.get("attachments").and_then(Value::as_object).into_iter().flatten()
}

/// An entry, typed.
pub(super) fn configured(id: &str, entry: &Value) -> Option<(HandlerId, HandlerConfig)> {
    let alone = json!({ "attachments": { id: entry } });
    let (id, entry) = StorageDocument::from_json(&alone).ok()?.attachments.into_iter().next()?;
    Some((id, Arc::unwrap_or_clone(entry)))
}

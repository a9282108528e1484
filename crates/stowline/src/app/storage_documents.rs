//! Storage documents: what an account says about where its data goes. Read, create, replace, patch, remove.
//!
//! A change walks: open with its revision → merge → masked values taken back → schemas → references → probe of the handlers that changed →
//! save at the expected revision → plans forgotten, here and below → what waits for a changed handler made due → answer.
//!
//! Settings are sealed at rest. An entry that leaves the document, or whose destination changes, is *retired*: hidden, and still there for the
//! jobs and receipts that name it.

use futures_util::{StreamExt, stream};
use plan::{AccountId, Database, DocId, HandlerConfig, HandlerId, StorageDocument, UserId, check, merge};
use serde_json::{Map, Value, json};

use super::dataplans;
use super::switches::{self, Switch};
use super::{App, Error, accounts, forms, probe, secrets};
use crate::time;
use connections::{Change, Document, Draft, Revision};

const TYPE: &str = "storage";
const RETIRED: &str = "storage_retired";
/// The most entries that one request may have tried, and how many of them at a time.
const MOST_PROBES: usize = 64;
const PROBES_AT_ONCE: usize = 8;
/// Private field: for each verified entry, a keyed signature of what was verified.
const VERIFIED: &str = "pvt_verified";

/// Whose storage document it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// The platform's.
    System,
    /// An account's.
    Account(AccountId),
    /// A user's of an account.
    User(AccountId, UserId),
}

impl Scope {
    /// The id of its document.
    pub fn id(&self) -> &str {
        match self {
            Self::System => "system",
            Self::Account(account) => account.as_ref(),
            Self::User(_, user) => user.as_ref(),
        }
    }

    /// The account whose jobs and database it concerns; none for the system.
    pub fn account(&self) -> Option<&AccountId> {
        match self {
            Self::System => None,
            Self::Account(account) | Self::User(account, _) => Some(account),
        }
    }

    fn doc_id(&self) -> Result<DocId, Error> {
        DocId::parse(self.id()).map_err(|_| self.missing())
    }

    fn retired_id(&self) -> Result<DocId, Error> {
        let id = match self {
            Self::System | Self::Account(_) => format!("retired-{}", self.id()),
            Self::User(account, user) => format!("retired-{account}-{user}"),
        };
        DocId::parse(&id).map_err(|_| self.missing())
    }

    fn missing(&self) -> Error {
        Error::NotFound(self.id().to_owned())
    }
}

/// A stored storage document with its settings open.
#[derive(Clone)]
pub struct Stored {
    /// What its owner sees.
    pub public: Map<String, Value>,
    /// Its revision.
    pub revision: Revision,
    private: Map<String, Value>,
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
    /// Revisions that the caller takes as current (`If-Match`); empty when it named none.
    pub if_match: Vec<String>,
}

fn system_data() -> Database {
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
    if document.doc_type != TYPE || account != scope.account().map(AsRef::as_ref) {
        return Ok(None);
    }
    opened(app, document).map(Some)
}

/// The scope's document.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Unavailable`].
pub async fn get(app: &App, scope: &Scope) -> Result<Stored, Error> {
    find(app, scope).await?.ok_or_else(|| scope.missing())
}

fn opened(app: &App, document: Document) -> Result<Stored, Error> {
    let mut public = document.public();
    secrets::open(&app.keys, document.id.as_ref(), &mut public)?;
    let private = document.body.into_iter().filter(|(key, _)| key.starts_with("pvt_")).collect();
    Ok(Stored { public, revision: document.revision, private })
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
    let document = accept(app, scope, data, None).await?;
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
    let document = accept(app, scope, data, stored.as_ref()).await?;
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
    if !patch.is_object() {
        return Err(Error::invalid("data", "type", "data must be an object"));
    }
    // Where secrets are masked the patch meets the mask, so that a secret follows a changed destination no more than in a POST.
    let mut shown = stored.public.clone();
    if app.config.api.mask_secrets {
        secrets::mask(&mut shown);
    }
    let mut data = Value::Object(shown);
    merge::patch(&mut data, &patch);
    let document = accept(app, scope, data, Some(&stored)).await?;
    expect(&stored, wish)?;
    save(app, scope, document, Some(stored), wish).await
}

/// Removes the document; its entries are retired, so that what waits for them still gets there.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Conflict`], [`Error::Precondition`], [`Error::Unavailable`].
pub async fn remove(app: &App, scope: &Scope, wish: &Wish) -> Result<Stored, Error> {
    let stored = get(app, scope).await?;
    expect(&stored, wish)?;
    retire(app, scope, &stored.public, &Map::new()).await?;
    app.documents.remove(&system_data(), &scope.doc_id()?, Some(&stored.revision)).await?;
    app.dataplans.forget(scope);
    Ok(stored)
}

/// Removes what an account that was deleted leaves here.
pub(super) async fn forget_account(app: &App, account: &AccountId) -> Result<(), Error> {
    let scope = Scope::Account(account.clone());
    match remove(app, &scope, &Wish::default()).await {
        Ok(_) | Err(Error::NotFound(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

fn expect(stored: &Stored, wish: &Wish) -> Result<(), Error> {
    let current = stored.revision.to_string();
    let fits = wish.if_match.is_empty() || wish.if_match.iter().any(|tag| *tag == current || tag == "*");
    if fits { Ok(()) } else { Err(Error::Precondition) }
}

/// Makes a document of what was sent, or says all that is wrong with it.
async fn accept(app: &App, scope: &Scope, data: Value, stored: Option<&Stored>) -> Result<Map<String, Value>, Error> {
    let Value::Object(mut fields) = data else {
        return Err(Error::invalid("data", "type", "data must be an object"));
    };
    forms::strip_private(&mut fields);
    fields.remove("validate_settings");
    strip_entries(&mut fields);
    let nothing = Map::new();
    let unmasked = secrets::unmask(&mut fields, stored.map_or(&nothing, |stored| &stored.public));
    let mut document = Value::Object(fields);
    let mut violations = app.schemas.validate(&mut document);
    if let Err(Error::Invalid(masked)) = unmasked {
        violations.merge(masked);
    }
    if !violations.is_empty() {
        return Err(Error::Invalid(violations));
    }
    let typed = StorageDocument::from_json(&document).map_err(Error::Invalid)?;
    let violations = check::references(&typed, Some(&dataplans::above(app, scope).await?));
    if !violations.is_empty() {
        return Err(Error::Invalid(violations));
    }
    match document {
        Value::Object(fields) => Ok(fields),
        _ => Err(Error::invalid("data", "type", "data must be an object")),
    }
}

/// Drops what a client may not say of an entry: private keys, such as a signature that it claims.
fn strip_entries(fields: &mut Map<String, Value>) {
    for section in ["attachments", "connections"] {
        let entries = fields.get_mut(section).and_then(Value::as_object_mut);
        for entry in entries.into_iter().flat_map(|entries| entries.values_mut()) {
            if let Value::Object(entry) = entry {
                entry.retain(|key, _| !key.starts_with('_') && !key.starts_with("pvt_"));
            }
        }
    }
}

async fn save(
    app: &App,
    scope: &Scope,
    document: Map<String, Value>,
    stored: Option<Stored>,
    wish: &Wish,
) -> Result<Stored, Error> {
    let verified = verify(app, scope, &document, stored.as_ref(), wish).await?;
    let before = stored.as_ref().map(|stored| stored.public.clone()).unwrap_or_default();
    // Retired first: should the save fail, an entry is both in force and retired, which is harmless.
    retire(app, scope, &before, &document).await?;
    let mut body = document.clone();
    secrets::seal(&app.keys, scope.id(), &mut body)?;
    for (key, value) in stored.as_ref().map(|stored| stored.private.clone()).unwrap_or_default() {
        body.insert(key, value);
    }
    body.insert(VERIFIED.into(), Value::Object(verified));
    body.insert("pvt_type".into(), TYPE.into());
    body.insert("pvt_modified".into(), time::now().into());
    body.entry("pvt_created").or_insert_with(|| time::now().into());
    if let Some(account) = scope.account() {
        body.insert("pvt_account_id".into(), account.as_ref().into());
    }
    let draft =
        Draft { doc_type: TYPE.into(), parent: scope.account().map(ToString::to_string), body, ..Draft::default() };
    let id = scope.doc_id()?;
    let written = match &stored {
        None => app.documents.create(&system_data(), &id, draft).await?,
        Some(stored) => app.documents.replace(&system_data(), &id, &stored.revision, draft).await?,
    };
    app.dataplans.forget(scope);
    wake(app, scope, &before, &document).await;
    opened(app, written)
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
    let journal = |error| Error::unavailable("journal", error);
    let mut own = None;
    if let Some(account) = scope.account() {
        app.journal.redrive(account.as_ref(), None).await.map_err(journal)?;
        // A reseller's handlers serve the accounts below it too.
        let reseller = accounts::find(app, account).await?.is_some_and(|account| account.is_reseller());
        own = (!reseller).then_some(account.as_ref());
    }
    for id in changed {
        app.journal.make_due(&crate::jobs::lanes_of(own, id)).await.map_err(journal)?;
    }
    Ok(())
}

fn entries(document: &Map<String, Value>) -> impl Iterator<Item = (&String, &Value)> {
    document.get("attachments").and_then(Value::as_object).into_iter().flatten()
}

fn configured(id: &str, entry: &Value) -> Option<(HandlerId, HandlerConfig)> {
    let alone = json!({ "attachments": { id: entry } });
    StorageDocument::from_json(&alone).ok()?.attachments.into_iter().next()
}

/// A signature of an entry that only this installation can make.
fn signature(app: &App, scope: &Scope, id: &str, entry: &Value) -> String {
    app.keys.digest(&["verified", scope.id(), id, &canonical(entry).to_string()])
}

/// The same value with the keys of every object in order.
fn canonical(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut sorted: Vec<_> = fields.iter().collect();
            sorted.sort_by_key(|(key, _)| key.as_str());
            sorted.into_iter().map(|(key, value)| (key.clone(), canonical(value))).collect()
        }
        Value::Array(items) => items.iter().map(canonical).collect(),
        other => other.clone(),
    }
}

/// Tries the settings of every entry that is not known to work. Answers the signatures of those that do.
async fn verify(
    app: &App,
    scope: &Scope,
    document: &Map<String, Value>,
    stored: Option<&Stored>,
    wish: &Wish,
) -> Result<Map<String, Value>, Error> {
    let known = stored.and_then(|stored| stored.private.get(VERIFIED)).and_then(Value::as_object);
    let mut verified = Map::new();
    let mut untried = Vec::new();
    for (id, entry) in entries(document) {
        let signature = signature(app, scope, id, entry);
        if known.and_then(|known| known.get(id)?.as_str()) == Some(signature.as_str()) {
            verified.insert(id.clone(), signature.into());
        } else if let Some((id, entry)) = configured(id, entry) {
            untried.push((id, entry, signature));
        }
    }
    if wish.skip_probe {
        if switches::is_on(app, Switch::ValidationOverrides).await? {
            return Ok(verified);
        }
        return Err(Error::invalid(
            "validate_settings",
            "forbidden",
            "this system does not permit saving settings without trying them",
        ));
    }
    let mut violations = plan::Violations::default();
    if untried.len() > MOST_PROBES {
        let message = format!("at most {MOST_PROBES} entries can be tried at once: add them in several requests");
        violations.push("attachments", "maxProperties", message, [("target", MOST_PROBES.into())]);
        return Err(Error::Invalid(violations));
    }
    let until = tokio::time::Instant::now() + probe::PATIENCE;
    let probes: Vec<_> =
        untried.iter().map(|(id, entry, _)| probe::probe(app, scope, id, entry, &wish.request_id, until)).collect();
    let tried: Vec<_> = stream::iter(probes).buffered(PROBES_AT_ONCE).collect().await;
    for (outcome, (id, _, signature)) in tried.into_iter().zip(untried.iter()) {
        match outcome {
            Ok(()) => {
                verified.insert(id.to_string(), signature.clone().into());
            }
            Err(fault) => fault.report(id, &mut violations),
        }
    }
    if violations.is_empty() { Ok(verified) } else { Err(Error::Invalid(violations)) }
}

/// Sets aside entries that leave the document or change their destination.
async fn retire(
    app: &App,
    scope: &Scope,
    before: &Map<String, Value>,
    after: &Map<String, Value>,
) -> Result<(), Error> {
    let destination = |id: &str, entry: &Value| {
        let (_, config) = configured(id, entry)?;
        attachments::kind(&config.handler).map(|kind| (kind.destination)(&config.settings))
    };
    let mut leaving = Vec::new();
    for (id, entry) in entries(before) {
        let still = after.get("attachments").and_then(|entries| entries.get(id));
        let was = destination(id, entry);
        if was.is_some() && still.and_then(|entry| destination(id, entry)) != was {
            let place = format!("retired {} {id}", scope.id());
            let sealed = app.keys.seal(&place, entry)?;
            leaving.push(json!({"id": id, "entry": sealed, "destination": was, "retired_at": time::now()}));
        }
    }
    if leaving.is_empty() {
        return Ok(());
    }
    let id = scope.retired_id()?;
    let draft = Draft {
        doc_type: RETIRED.into(),
        body: Map::from_iter([("entries".into(), Value::Array(leaving.clone()))]),
        ..Draft::default()
    };
    match app.documents.create(&system_data(), &id, draft).await {
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == connections::ErrorKind::Conflict => {}
        Err(error) => return Err(error.into()),
    }
    let add = move |document: &Document| {
        let mut body = document.body.clone();
        if let Some(Value::Array(entries)) = body.get_mut("entries") {
            let again = |old: &Value| {
                leaving.iter().any(|new| new["id"] == old["id"] && new["destination"] == old["destination"])
            };
            entries.retain(|old| !again(old));
            entries.extend(leaving);
        }
        Ok(Change::Write(body))
    };
    app.documents.update(&system_data(), &id, add).await?;
    Ok(())
}

/// The retired entries of a scope that had this id.
///
/// # Errors
/// [`Error::Unavailable`], [`Error::Internal`] when one cannot be opened.
pub async fn retired(app: &App, scope: &Scope, id: &HandlerId) -> Result<Vec<HandlerConfig>, Error> {
    let Some(document) = app.documents.get(&system_data(), &scope.retired_id()?).await? else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for kept in document.body.get("entries").and_then(Value::as_array).into_iter().flatten() {
        if kept.get("id").and_then(Value::as_str) != Some(id.as_ref()) {
            continue;
        }
        let place = format!("retired {} {id}", scope.id());
        let entry = app.keys.open_sealed(&place, kept.get("entry").unwrap_or(&Value::Null))?;
        found.extend(configured(id.as_ref(), &entry).map(|(_, entry)| entry));
    }
    Ok(found)
}

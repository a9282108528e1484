//! Accounts and their tree. The first account is the master: its admins are super admins.

use plan::{AccountId, Database, DocId};
use serde_json::{Map, Value, json};

use super::tree::{self, Undertaking};
use super::{App, Error, forms, storage_documents};
use crate::time;
use connections::{Change, Document, Draft, Query};

const TYPE: &str = "account";
/// Spaces of unique keys.
const NAME: &str = "account_name";
const REALM: &str = "account_realm";
const API_KEY: &str = "account_api_key";
const MASTER: &str = "master";

/// An account.
#[derive(Debug, Clone)]
pub struct Account {
    /// Its id.
    pub id: AccountId,
    /// Its document.
    pub document: Document,
}

impl Account {
    fn read(document: Document) -> Option<Self> {
        let id = AccountId::parse(document.id.as_ref()).ok()?;
        (document.doc_type == TYPE && !document.deleted).then_some(Self { id, document })
    }

    /// The account at the root of the tree.
    pub fn is_master(&self) -> bool {
        self.document.body.get("pvt_superduper_admin") == Some(&Value::Bool(true))
    }

    /// True unless it was switched off or its time is over.
    pub fn enabled(&self) -> bool {
        let expires = self.document.body.get("expires").and_then(Value::as_i64);
        self.document.body.get("enabled") != Some(&Value::Bool(false)) && expires.is_none_or(|at| time::now() < at)
    }

    /// Refuses while nobody of the account gets in.
    ///
    /// # Errors
    /// [`Error::Locked`].
    pub fn expect_open(&self) -> Result<(), Error> {
        if self.enabled() { Ok(()) } else { Err(Error::Locked) }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.document.text("name").unwrap_or_default()
    }

    /// Its SIP realm.
    pub fn realm(&self) -> &str {
        self.document.text("realm").unwrap_or_default()
    }

    /// Its time zone, an IANA name.
    pub fn timezone(&self) -> Option<&str> {
        self.document.text("timezone")
    }

    /// The accounts above it, the root first.
    pub fn ancestors(&self) -> Vec<AccountId> {
        let tree = self.document.body.get("pvt_tree").and_then(Value::as_array);
        tree.into_iter().flatten().filter_map(|id| AccountId::parse(id.as_str()?).ok()).collect()
    }

    /// The reseller it belongs to; the master for those that have no other.
    pub fn reseller_id(&self) -> Option<AccountId> {
        AccountId::parse(self.document.text("pvt_reseller_id")?).ok()
    }

    /// The reseller of the accounts directly below.
    pub fn reseller_of_children(&self) -> Option<AccountId> {
        if self.is_reseller() { Some(self.id.clone()) } else { self.reseller_id() }
    }

    /// A reseller itself.
    pub fn is_reseller(&self) -> bool {
        self.is_master() || self.document.body.get("pvt_reseller") == Some(&Value::Bool(true))
    }

    /// Changes when the API key does, and ends its tokens with it.
    pub(super) fn token_secret(&self) -> &str {
        self.document.text("pvt_token_secret").unwrap_or_default()
    }

    /// The database of its own documents.
    pub fn database(&self) -> Database {
        Database::Account(self.id.clone())
    }
}

/// The database that holds accounts.
fn accounts() -> Database {
    Database::Named("accounts".into())
}

fn doc_id(id: &AccountId) -> Result<DocId, Error> {
    DocId::parse(id.as_ref()).map_err(|_| Error::NotFound(id.to_string()))
}

/// Names are compared without case and without anything but letters and digits.
pub(super) fn normalised(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// The account with this id; none when it does not exist or was deleted.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn find(app: &App, id: &AccountId) -> Result<Option<Account>, Error> {
    Ok(app.documents.get(&accounts(), &doc_id(id)?).await?.and_then(Account::read))
}

/// The account with this id.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Unavailable`].
pub async fn get(app: &App, id: &AccountId) -> Result<Account, Error> {
    find(app, id).await?.ok_or_else(|| Error::NotFound(id.to_string()))
}

async fn holder(app: &App, space: &'static str, key: &str) -> Result<Option<Account>, Error> {
    Ok(app.documents.holder(space, key).await?.and_then(Account::read))
}

pub(super) async fn by_name(app: &App, name: &str) -> Result<Option<Account>, Error> {
    holder(app, NAME, &normalised(name)).await
}

/// The account of a SIP realm.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn by_realm(app: &App, realm: &str) -> Result<Option<Account>, Error> {
    holder(app, REALM, &realm.to_lowercase()).await
}

pub(super) async fn by_api_key(app: &App, api_key: &str) -> Result<Option<Account>, Error> {
    holder(app, API_KEY, &app.keys.digest(&["api_key", api_key])).await
}

/// The master account; none on a fresh installation.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn master(app: &App) -> Result<Option<Account>, Error> {
    holder(app, MASTER, "").await
}

/// An account's API key, for its admins.
///
/// # Errors
/// [`Error::Internal`] when it cannot be opened.
pub fn api_key(app: &App, account: &Account) -> Result<String, Error> {
    let sealed = account.document.body.get("pvt_api_key").cloned().unwrap_or_default();
    let opened = app.keys.open_sealed(&place(&account.id), &sealed)?;
    Ok(opened.as_str().unwrap_or_default().to_owned())
}

fn place(id: &AccountId) -> String {
    format!("account {id} api_key")
}

/// Creates an account below `parent`, or the master when there is none yet.
///
/// # Errors
/// [`Error::Invalid`] by the account's schema or when name or realm are taken, [`Error::Unavailable`].
pub async fn create(app: &App, parent: Option<&Account>, data: Value) -> Result<Account, Error> {
    let id = crate::id::account().map_err(|error| Error::internal("making an id", error))?;
    let mut body = app.forms.check(&forms::ACCOUNT, data)?;
    let _turn = app.tree.turn().await;
    // As it is now: it may have been deleted meanwhile, or made a reseller.
    let parent = match parent {
        Some(parent) => Some(get(app, &parent.id).await?),
        None => None,
    };
    let parent = parent.as_ref();
    body.entry("realm").or_insert_with(|| Value::from(format!("{}.sip.stowline", &id.as_ref()[..10])));
    body.insert("enabled".into(), body.get("enabled").cloned().unwrap_or(Value::Bool(true)));
    let tree = parent.map_or_else(Vec::new, |parent| {
        let mut tree = parent.ancestors();
        tree.push(parent.id.clone());
        tree
    });
    let reseller = parent.and_then(Account::reseller_of_children);
    body.insert("pvt_type".into(), TYPE.into());
    body.insert("pvt_created".into(), time::now().into());
    body.insert("pvt_tree".into(), tree.iter().map(AsRef::as_ref).collect::<Vec<&str>>().into());
    body.insert("pvt_superduper_admin".into(), parent.is_none().into());
    if let Some(reseller) = reseller {
        body.insert("pvt_reseller_id".into(), reseller.as_ref().into());
    }
    renew_api_key(app, &id, &mut body)?;
    let written = app.documents.create(&accounts(), &doc_id(&id)?, draft(body)).await;
    read(written.map_err(taken)?)
}

/// Writes the account's public fields anew.
///
/// # Errors
/// [`Error::Invalid`], [`Error::Conflict`] when it was changed meanwhile, [`Error::Unavailable`].
pub async fn replace(app: &App, account: &Account, data: Value) -> Result<Account, Error> {
    let mut body = app.forms.check(&forms::ACCOUNT, data)?;
    body.entry("realm").or_insert_with(|| account.realm().into());
    let enabled = account.document.body.get("enabled").cloned();
    body.entry("enabled").or_insert_with(|| enabled.unwrap_or(Value::Bool(true)));
    if account.is_master() && body.get("enabled") == Some(&Value::Bool(false)) {
        return Err(Error::invalid("enabled", "forbidden", "the master account cannot be disabled"));
    }
    if account.is_master() && body.contains_key("expires") {
        return Err(Error::invalid("expires", "forbidden", "the master account does not expire"));
    }
    forms::keep_private(&account.document, &mut body);
    let document = &account.document;
    let written = app.documents.replace(&accounts(), &document.id, &document.revision, draft(body)).await;
    read(written.map_err(taken)?)
}

/// A new API key, and an end to all tokens that came from the old one.
fn renew_api_key(app: &App, id: &AccountId, body: &mut Map<String, Value>) -> Result<(), Error> {
    let api_key = hex::encode(rand::random::<[u8; 32]>());
    body.insert("pvt_api_key".into(), app.keys.seal(&place(id), &api_key.as_str().into())?);
    body.insert("pvt_api_key_digest".into(), app.keys.digest(&["api_key", &api_key]).into());
    body.insert("pvt_token_secret".into(), crate::id::random().into());
    Ok(())
}

/// Gives the account another API key. The old one, and all tokens from it, open nothing from here on.
///
/// # Errors
/// [`Error::Conflict`] when the account was changed meanwhile, [`Error::Unavailable`].
pub async fn rotate_api_key(app: &App, account: &Account) -> Result<Account, Error> {
    let mut body = account.document.body.clone();
    renew_api_key(app, &account.id, &mut body)?;
    let document = &account.document;
    read(app.documents.replace(&accounts(), &document.id, &document.revision, draft(body)).await?)
}

/// Deletes an account that has none below it, with its users, its ingest keys, its SIP credentials and its storage documents.
///
/// # Errors
/// [`Error::Invalid`] for the master or one with descendants, [`Error::Unavailable`].
pub async fn remove(app: &App, account: &Account) -> Result<(), Error> {
    if account.is_master() {
        return Err(Error::invalid("account", "forbidden", "the master account cannot be deleted"));
    }
    let turn = app.tree.turn().await;
    if !children(app, &account.id).await?.is_empty() {
        return Err(Error::invalid("account", "forbidden", "the account has accounts below it: delete those first"));
    }
    tree::finishing(app, &turn, Undertaking::Remove, &account.id).await
}

/// Deletes what there is of an account, whatever of it was deleted before.
pub(super) async fn erase(app: &App, id: &AccountId) -> Result<(), Error> {
    let delete = |document: &Document| {
        let mut body = document.body.clone();
        body.insert("pvt_modified".into(), time::now().into());
        Ok(if document.deleted { Change::Leave } else { Change::Delete(body) })
    };
    let document = app.documents.update(&accounts(), &doc_id(id)?, delete).await?;
    let account = Account { id: id.clone(), document };
    super::users::remove_all(app, id).await?;
    super::ingest_keys::revoke_all(app, &account).await?;
    super::sip_credentials::revoke_all(app, &account).await?;
    storage_documents::forget_account(app, id).await
}

/// Writes private fields of an account.
pub(super) async fn mark(app: &App, id: &AccountId, marks: Map<String, Value>) -> Result<Account, Error> {
    let write = move |document: &Document| {
        let mut body = document.body.clone();
        body.extend(marks);
        body.insert("pvt_modified".into(), time::now().into());
        Ok(Change::Write(body))
    };
    read(app.documents.update(&accounts(), &doc_id(id)?, write).await?)
}

/// The accounts directly below `id`.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn children(app: &App, id: &AccountId) -> Result<Vec<Account>, Error> {
    listed(app, Query { parent: Some(id.to_string()), ..Query::new(accounts(), TYPE) }).await
}

/// Every account.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn all(app: &App) -> Result<Vec<Account>, Error> {
    listed(app, Query::new(accounts(), TYPE)).await
}

async fn listed(app: &App, mut query: Query) -> Result<Vec<Account>, Error> {
    let mut found = Vec::new();
    loop {
        let page = app.documents.list(query.clone()).await?;
        found.extend(page.documents.into_iter().filter_map(|(_, document)| Account::read(document)));
        match page.next {
            Some(next) => query.start = Some(next),
            None => return Ok(found),
        }
    }
}

/// What the outside sees of an account.
pub fn public(account: &Account) -> Map<String, Value> {
    let mut shown = account.document.public();
    shown.insert("is_reseller".into(), account.is_reseller().into());
    shown.insert("superduper_admin".into(), account.is_master().into());
    if let Some(reseller) = account.reseller_id() {
        shown.insert("reseller_id".into(), reseller.as_ref().into());
    }
    shown.insert("created".into(), account.document.body.get("pvt_created").cloned().unwrap_or(json!(null)));
    shown
}

fn draft(mut body: Map<String, Value>) -> Draft {
    body.insert("pvt_modified".into(), time::now().into());
    let text = |key: &str| body.get(key).and_then(Value::as_str).unwrap_or_default();
    let mut keys = vec![
        (NAME, normalised(text("name"))),
        (REALM, text("realm").to_lowercase()),
        (API_KEY, text("pvt_api_key_digest").to_owned()),
    ];
    if body.get("pvt_superduper_admin") == Some(&Value::Bool(true)) {
        keys.push((MASTER, String::new()));
    }
    let parent = body.get("pvt_tree").and_then(Value::as_array).and_then(|tree| tree.last()).and_then(Value::as_str);
    Draft {
        doc_type: TYPE.into(),
        parent: parent.map(str::to_owned),
        at: body.get("pvt_created").and_then(Value::as_i64).unwrap_or_default(),
        keys,
        body,
        ..Draft::default()
    }
}

/// A taken key is a fault in the field that claims it.
fn taken(error: connections::Error) -> Error {
    match (error.kind(), error.subject()) {
        (connections::ErrorKind::KeyTaken, NAME) => {
            Error::invalid("name", "unique", "this account name is already in use")
        }
        (connections::ErrorKind::KeyTaken, REALM) => Error::invalid("realm", "unique", "this realm is already in use"),
        _ => error.into(),
    }
}

fn read(document: Document) -> Result<Account, Error> {
    let id = document.id.to_string();
    Account::read(document).ok_or(Error::NotFound(id))
}

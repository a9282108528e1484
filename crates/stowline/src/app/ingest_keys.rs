//! Keys with which switches send recordings, voicemail, faxes and call records, so that no switch holds an admin's credentials.
//!
//! A key belongs to one account and has scopes; it reaches nothing else. It is shown once, when it is made, and kept as a keyed digest, by which
//! it is found again. Revoking deletes the digest: the next request with the key is refused.

use plan::{AccountId, DocId};
use serde_json::{Map, Value};

use super::{App, Error, accounts, forms};
use crate::app::accounts::Account;
use crate::{id, time};
use connections::{Document, Draft, Query};

const TYPE: &str = "ingest_key";
/// Space of unique keys.
const KEY: &str = "ingest_key";
/// The beginning of every key: by it one is told from a token, and struck out where it stands in a text (`switches::strike`).
const PREFIX: &str = "ik_";

/// What a key may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Recordings of calls.
    Recordings,
    /// Messages for mailboxes.
    Voicemail,
    /// Received faxes.
    Fax,
    /// Call records.
    Cdr,
}

impl Scope {
    /// Its word in the API.
    pub fn word(self) -> &'static str {
        match self {
            Self::Recordings => "recordings",
            Self::Voicemail => "voicemail",
            Self::Fax => "fax",
            Self::Cdr => "cdr",
        }
    }
}

/// A key that was not revoked.
#[derive(Debug, Clone)]
pub struct IngestKey {
    /// Its id, which is no secret.
    pub id: DocId,
    /// Its document.
    pub document: Document,
    /// The account that it belongs to.
    pub account: AccountId,
}

impl IngestKey {
    fn read(document: Document) -> Option<Self> {
        let account = AccountId::parse(document.text("pvt_account_id")?).ok()?;
        let id = document.id.clone();
        (document.doc_type == TYPE && !document.deleted).then_some(Self { id, document, account })
    }

    /// Whether it may send what the scope names.
    pub fn may(&self, scope: Scope) -> bool {
        let scopes = self.document.body.get("scopes").and_then(Value::as_array);
        scopes.into_iter().flatten().any(|held| held.as_str() == Some(scope.word()))
    }

    /// What the outside sees of it; never the key.
    pub fn public(&self) -> Map<String, Value> {
        let mut shown = self.document.public();
        shown.insert("created".into(), self.document.body.get("pvt_created").cloned().unwrap_or_default());
        shown
    }
}

/// True for a text that could be a key.
pub fn looks_like_one(text: &str) -> bool {
    text.starts_with(PREFIX)
}

fn digest(app: &App, key: &str) -> String {
    app.keys.digest(&["ingest_key", key])
}

/// Makes a key. Answers it beside its document: nobody can read it later.
///
/// # Errors
/// [`Error::Invalid`] by the schema, [`Error::Unavailable`].
pub async fn create(app: &App, account: &Account, data: Value) -> Result<(IngestKey, String), Error> {
    let id = DocId::parse(&id::random()).map_err(|error| Error::internal("making an id", error))?;
    let key = format!("{PREFIX}{}", hex::encode(rand::random::<[u8; 24]>()));
    let mut body = app.forms.check_known(&forms::INGEST_KEY, data)?;
    let now = time::now();
    body.insert("pvt_type".into(), TYPE.into());
    body.insert("pvt_account_id".into(), account.id.as_ref().into());
    body.insert("pvt_created".into(), now.into());
    let keys = vec![(KEY, digest(app, &key))];
    let draft = Draft { doc_type: TYPE.into(), at: now, keys, body, ..Draft::default() };
    let document = app.documents.create(&account.database(), &id, draft).await?;
    tracing::info!(account.id = %account.id, ingest_key.id = %id, "an ingest key was made");
    Ok((IngestKey::read(document).ok_or_else(|| Error::NotFound(id.to_string()))?, key))
}

/// The account's keys, newest first.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn list(app: &App, account: &Account) -> Result<Vec<IngestKey>, Error> {
    let mut query = Query::new(account.database(), TYPE);
    let mut found = Vec::new();
    loop {
        let page = app.documents.list(query.clone()).await?;
        found.extend(page.documents.into_iter().filter_map(|(_, document)| IngestKey::read(document)));
        match page.next {
            Some(next) => query.start = Some(next),
            None => return Ok(found),
        }
    }
}

/// The account's key with this id.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Unavailable`].
pub async fn get(app: &App, account: &Account, id: &str) -> Result<IngestKey, Error> {
    let not_found = || Error::NotFound(id.to_owned());
    let parsed = DocId::parse(id).map_err(|_| not_found())?;
    let found = app.documents.get(&account.database(), &parsed).await?.and_then(IngestKey::read);
    found.ok_or_else(not_found)
}

/// Revokes a key: once this returned, it opens nothing.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn revoke(app: &App, key: &IngestKey) -> Result<(), Error> {
    let removed = app.documents.remove(&key.document.database, &key.id, None).await;
    match removed {
        Err(error) if error.kind() == connections::ErrorKind::NotFound => {}
        other => other?,
    }
    tracing::info!(account.id = %key.account, ingest_key.id = %key.id, "an ingest key was revoked");
    Ok(())
}

/// Revokes all keys of an account.
pub(super) async fn revoke_all(app: &App, account: &Account) -> Result<(), Error> {
    for key in list(app, account).await? {
        revoke(app, &key).await?;
    }
    Ok(())
}

/// The key that this is, and the account whose it is.
///
/// # Errors
/// [`Error::Unauthenticated`] for what is no key or was revoked, [`Error::Locked`] for a disabled account, [`Error::Unavailable`].
pub async fn authenticate(app: &App, presented: &str) -> Result<(IngestKey, Account), Error> {
    let found = app.documents.holder(KEY, &digest(app, presented)).await?.and_then(IngestKey::read);
    let key = found.ok_or(Error::Unauthenticated)?;
    let account = accounts::find(app, &key.account).await?.ok_or(Error::Unauthenticated)?;
    if account.enabled() { Ok((key, account)) } else { Err(Error::Locked) }
}

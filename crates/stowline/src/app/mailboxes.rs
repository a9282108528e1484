//! Voicemail boxes: documents of the account, each with a number that is its own in the account.
//!
//! Messages are documents of their own (`messages`); a box knows them only by being their parent. Deleting a box deletes them first.

use std::sync::Arc;

use plan::{AccountId, Database, DocId};
use serde_json::{Map, Value};

use super::pages::{self, Ask, Page};
use super::{App, Error, forms, greetings, messages, removal};
use crate::app::accounts::Account;
use crate::{id, time};
use connections::{Document, Draft, Query};

const TYPE: &str = "vmbox";
/// Space of unique keys.
const NUMBER: &str = "mailbox";
/// The format of messages where the box names none.
const MEDIA_EXTENSION: &str = "wav";

/// A voicemail box.
#[derive(Debug, Clone)]
pub struct Mailbox {
    /// Its id.
    pub id: DocId,
    /// Its document.
    pub document: Document,
}

impl Mailbox {
    fn read(document: Document) -> Option<Self> {
        let id = document.id.clone();
        (document.doc_type == TYPE && !document.deleted).then_some(Self { id, document })
    }

    /// Its number.
    pub fn number(&self) -> &str {
        self.document.text("mailbox").unwrap_or_default()
    }

    /// The user whose box it is.
    pub fn owner_id(&self) -> Option<&str> {
        self.document.text("owner_id").filter(|owner| !owner.is_empty())
    }

    /// Its time zone, an IANA name: its own, else the account's.
    pub fn timezone<'a>(&'a self, account: &'a Account) -> Option<&'a str> {
        self.document.text("timezone").or_else(|| account.timezone())
    }

    /// The extension of recordings whose format is not known otherwise.
    pub fn media_extension(&self) -> &str {
        self.document.text("media_extension").unwrap_or(MEDIA_EXTENSION)
    }
}

fn database(account: &AccountId) -> Database {
    Database::Account(account.clone())
}

/// The box of an account with this id.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Unavailable`].
pub async fn get(app: &App, account: &AccountId, id: &str) -> Result<Mailbox, Error> {
    let not_found = || Error::NotFound(id.to_owned());
    let parsed = DocId::parse(id).map_err(|_| not_found())?;
    let found = app.documents.get(&database(account), &parsed).await?;
    found.and_then(Mailbox::read).ok_or_else(not_found)
}

/// The box of an account with this number; none when there is no such box.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn by_number(app: &App, account: &AccountId, number: &str) -> Result<Option<Mailbox>, Error> {
    let found = app.documents.holder(NUMBER, &key(account, number)).await?;
    Ok(found.and_then(Mailbox::read))
}

fn key(account: &AccountId, number: &str) -> String {
    format!("{account}/{number}")
}

/// A page of the account's boxes, by the time of their creation. `keep` says which are wanted.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn page<F>(app: &App, account: &AccountId, ask: &Ask, keep: F) -> Result<Page<Mailbox>, Error>
where
    F: Fn(&Mailbox) -> bool + Send,
{
    let query = Query::new(database(account), TYPE);
    pages::gather(app, vec![query], ask, move |document| Mailbox::read(document).filter(|found| keep(found))).await
}

/// Creates a box.
///
/// # Errors
/// [`Error::Invalid`] by the schema or when the number is taken, [`Error::Unavailable`].
pub async fn create(app: &App, account: &AccountId, data: Value) -> Result<Mailbox, Error> {
    let id = DocId::parse(&id::random()).map_err(|error| Error::internal("making an id", error))?;
    let mut body = app.forms.check(&forms::VMBOX, data)?;
    body.insert("pvt_type".into(), TYPE.into());
    body.insert("pvt_created".into(), time::now().into());
    body.insert("pvt_account_id".into(), account.as_ref().into());
    let written = app.documents.create(&database(account), &id, draft(account, body)).await;
    read(written.map_err(taken)?)
}

/// Writes the box's public fields anew.
///
/// # Errors
/// [`Error::Invalid`] by the schema or when the number is taken, [`Error::Conflict`] when it was changed meanwhile, [`Error::Unavailable`].
pub async fn replace(app: &App, account: &AccountId, mailbox: &Mailbox, data: Value) -> Result<Mailbox, Error> {
    let mut body = app.forms.check(&forms::VMBOX, data)?;
    forms::keep_private(&mailbox.document, &mut body);
    let document = &mailbox.document;
    let written =
        app.documents.replace(&document.database, &document.id, &document.revision, draft(account, body)).await;
    read(written.map_err(taken)?)
}

/// Deletes a box, its messages before it. Both are kept, softly deleted, and their audio where the plan does not say `"delete": true`; the
/// number is free.
///
/// # Errors
/// [`Error::Conflict`] when the box was changed meanwhile, [`Error::Unavailable`].
pub async fn remove(app: &Arc<App>, account: &Account, mailbox: &Mailbox) -> Result<(), Error> {
    messages::remove_all(app, account, mailbox).await?;
    let mut document = mailbox.document.clone();
    let greets = greetings::of(mailbox).is_some();
    if greets && removal::goes_everywhere(app, account, mailbox.owner_id(), &document).await? {
        document = removal::remove_attachments(app, account, mailbox.owner_id(), &document).await?;
    }
    let mut draft = draft(&account.id, document.body.clone());
    draft.body.insert("pvt_deleted".into(), Value::Bool(true));
    draft.deleted = true;
    draft.keys.clear();
    app.documents.replace(&document.database, &document.id, &document.revision, draft).await?;
    Ok(())
}

fn draft(account: &AccountId, mut body: Map<String, Value>) -> Draft {
    body.insert("pvt_modified".into(), time::now().into());
    let number = body.get("mailbox").and_then(Value::as_str).unwrap_or_default();
    Draft {
        doc_type: TYPE.into(),
        parent: None,
        at: body.get("pvt_created").and_then(Value::as_i64).unwrap_or_default(),
        keys: vec![(NUMBER, key(account, number))],
        body,
        ..Draft::default()
    }
}

fn taken(error: connections::Error) -> Error {
    match error.kind() {
        connections::ErrorKind::KeyTaken => {
            Error::invalid("mailbox", "unique", "this mailbox number is already in use in the account")
        }
        _ => error.into(),
    }
}

/// The box that a document is.
pub(super) fn read(document: Document) -> Result<Mailbox, Error> {
    let id = document.id.to_string();
    Mailbox::read(document).ok_or(Error::NotFound(id))
}

//! Fax boxes: documents of the account that say whose faxes are whose, and what stands on those that are sent.

use plan::{AccountId, Database, DocId};
use serde_json::{Map, Value};

use super::pages::{self, Ask, Page};
use super::{App, Error, forms};
use crate::{id, time};
use connections::{Document, Draft, Query};

const TYPE: &str = "faxbox";

/// A fax box.
#[derive(Debug, Clone)]
pub struct FaxBox {
    /// Its id.
    pub id: DocId,
    /// Its document.
    pub document: Document,
}

impl FaxBox {
    fn read(document: Document) -> Option<Self> {
        let id = document.id.clone();
        (document.doc_type == TYPE && !document.deleted).then_some(Self { id, document })
    }

    /// The user whose box it is.
    pub fn owner_id(&self) -> Option<&str> {
        self.document.text("owner_id").filter(|owner| !owner.is_empty())
    }
}

fn database(account: &AccountId) -> Database {
    Database::Account(account.clone())
}

/// The box of an account with this id.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Unavailable`].
pub async fn get(app: &App, account: &AccountId, id: &str) -> Result<FaxBox, Error> {
    let not_found = || Error::NotFound(id.to_owned());
    let parsed = DocId::parse(id).map_err(|_| not_found())?;
    let found = app.documents.get(&database(account), &parsed).await?;
    found.and_then(FaxBox::read).ok_or_else(not_found)
}

/// A page of the account's boxes, by the time of their creation. `keep` says which are wanted.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn page<F>(app: &App, account: &AccountId, ask: &Ask, keep: F) -> Result<Page<FaxBox>, Error>
where
    F: Fn(&FaxBox) -> bool + Send,
{
    let query = Query::new(database(account), TYPE);
    pages::gather(app, vec![query], ask, move |document| FaxBox::read(document).filter(|found| keep(found))).await
}

/// Creates a box.
///
/// # Errors
/// [`Error::Invalid`] by the schema, [`Error::Unavailable`].
pub async fn create(app: &App, account: &AccountId, data: Value) -> Result<FaxBox, Error> {
    let id = DocId::parse(&id::random()).map_err(|error| Error::internal("making an id", error))?;
    let mut body = app.forms.check(&forms::FAXBOX, data)?;
    body.insert("pvt_type".into(), TYPE.into());
    body.insert("pvt_created".into(), time::now().into());
    body.insert("pvt_account_id".into(), account.as_ref().into());
    read(app.documents.create(&database(account), &id, draft(body)).await?)
}

/// Writes the box's public fields anew.
///
/// # Errors
/// [`Error::Invalid`] by the schema, [`Error::Conflict`] when it was changed meanwhile, [`Error::Unavailable`].
pub async fn replace(app: &App, faxbox: &FaxBox, data: Value) -> Result<FaxBox, Error> {
    let mut body = app.forms.check(&forms::FAXBOX, data)?;
    forms::keep_private(&faxbox.document, &mut body);
    let document = &faxbox.document;
    read(app.documents.replace(&document.database, &document.id, &document.revision, draft(body)).await?)
}

/// Deletes a box. Its faxes stay.
///
/// # Errors
/// [`Error::Conflict`] when it was changed meanwhile, [`Error::Unavailable`].
pub async fn remove(app: &App, faxbox: &FaxBox) -> Result<(), Error> {
    let document = &faxbox.document;
    let draft = Draft { deleted: true, ..draft(document.body.clone()) };
    app.documents.replace(&document.database, &document.id, &document.revision, draft).await?;
    Ok(())
}

fn draft(mut body: Map<String, Value>) -> Draft {
    body.insert("pvt_modified".into(), time::now().into());
    let at = body.get("pvt_created").and_then(Value::as_i64).unwrap_or_default();
    Draft { doc_type: TYPE.into(), at, body, ..Draft::default() }
}

fn read(document: Document) -> Result<FaxBox, Error> {
    let id = document.id.to_string();
    FaxBox::read(document).ok_or(Error::NotFound(id))
}

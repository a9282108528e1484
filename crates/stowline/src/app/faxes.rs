//! Received faxes: a document in the account's month, with its pages as the attachment.
//!
//! A fax belongs to the month (UTC) in which it was received, and its id begins with it. Its `owner_id` is the user whose fax it is: their plan
//! decides where the pages go. Faxes come in from a switch (ingest); one is made in two steps (`received`), as a recording is.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::Stream;
use plan::{AttachmentName, DocId};
use serde_json::{Map, Value};

use super::attachment::{Attachment, attachments_of};
use super::deposit::Form;
use super::months::{self, Span, Which};
use super::pages::{Ask, Page};
use super::{App, Error, cdrs, forms, removal};
use crate::app::accounts::Account;
use crate::time;
use connections::{Document, Draft};

pub use super::received::{Received as Pages, Sent};

/// The type of its document.
pub const TYPE: &str = "fax";
/// The format of pages of which nobody says what they are.
const EXTENSION: &str = "tiff";
/// Where received faxes are.
const INBOX: &str = "inbox";

/// A received fax that was not deleted.
#[derive(Debug, Clone)]
pub struct Fax {
    /// Its id.
    pub id: DocId,
    /// Its document.
    pub document: Document,
}

impl Fax {
    fn read(document: Document) -> Option<Self> {
        let id = document.id.clone();
        (document.doc_type == TYPE && !document.deleted).then_some(Self { id, document })
    }

    /// When it was received, in Gregorian seconds.
    pub fn timestamp(&self) -> i64 {
        self.document.body.get("timestamp").and_then(Value::as_i64).unwrap_or_default()
    }

    /// When it was last written, in Gregorian seconds.
    pub fn modified(&self) -> i64 {
        self.document.body.get("pvt_modified").and_then(Value::as_i64).unwrap_or_default()
    }

    /// The user whose fax it is.
    pub fn owner_id(&self) -> Option<&str> {
        self.document.text("owner_id")
    }

    /// Its time zone, an IANA name: its own, else the account's.
    pub fn timezone<'a>(&'a self, account: &'a Account) -> Option<&'a str> {
        self.document.text("fax_timezone").filter(|zone| !zone.is_empty()).or_else(|| account.timezone())
    }

    /// Its pages, when it has any.
    pub fn pages(&self) -> Option<(AttachmentName, Attachment)> {
        attachments_of(&self.document).next()
    }
}

/// Streams the pages of a received fax of `owner_id` into a file.
///
/// # Errors
/// [`Error::TooLarge`], [`Error::Interrupted`], [`Error::Unavailable`]; nothing is left behind then.
pub async fn receive<S, E>(
    app: &App,
    account: &Account,
    owner_id: Option<&str>,
    sent: Sent<'_>,
    stream: S,
) -> Result<Pages, Error>
where
    S: Stream<Item = Result<Bytes, E>> + Send,
    E: std::fmt::Display,
{
    Pages::take(app, account, owner_id, TYPE, sent, EXTENSION, stream).await
}

/// Creates a received fax from what is said of it. Fields that a fax does not have are dropped.
///
/// # Errors
/// [`Error::Invalid`] by the schema, and when `owner_id` is another than the pages were received for; [`Error::Unavailable`]. There is no fax
/// and there are no pages then.
pub async fn create(
    app: &Arc<App>,
    account: &Account,
    metadata: Map<String, Value>,
    pages: Pages,
) -> Result<Fax, Error> {
    let mut body = app.forms.check_known(&forms::FAX, Value::Object(metadata))?;
    pages.settle_owner(&mut body)?;
    let timestamp = body.get("timestamp").and_then(Value::as_i64).unwrap_or_else(time::now);
    let (database, id) = months::place(account, "timestamp", timestamp)?;
    describe(&mut body, account, timestamp, &pages);
    let parent = body.get("owner_id").and_then(Value::as_str).map(str::to_owned);
    let name = format!("received_file_{id}.{}", pages.extension());
    let draft = Draft { doc_type: TYPE.into(), parent, at: timestamp, body, ..Draft::default() };
    let document = pages.commit(app, database, id, &name, Form::New(draft)).await?;
    let id = document.id.to_string();
    Fax::read(document).ok_or(Error::NotFound(id))
}

/// What was left out and follows from the rest.
fn describe(body: &mut Map<String, Value>, account: &Account, timestamp: i64, pages: &Pages) {
    let text = |body: &Map<String, Value>, key: &str| {
        body.get(key).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
    };
    if text(body, "name").is_none() {
        let (received, _) = time::local(timestamp, None, "%Y-%m-%d %H:%M:%S");
        body.insert("name".into(), format!("fax message received at {received} UTC").into());
    }
    if text(body, "description").is_none() {
        body.insert("description".into(), "a received fax".into());
    }
    if let (None, Some(call_id)) = (text(body, "cdr_doc_id"), text(body, "call_id")) {
        let began = text(body, "interaction_id").and_then(|id| cdrs::time_of(&id)).unwrap_or(timestamp);
        if let Some(id) = time::month(began).and_then(|month| cdrs::id_of(month, &call_id).ok()) {
            body.insert("cdr_doc_id".into(), id.as_ref().into());
        }
    }
    let page_count = body.remove("pages").or_else(|| body.get("rx_result")?.get("total_pages").cloned());
    body.extend([
        ("source_type".to_owned(), Value::from("incoming_fax")),
        ("folder".to_owned(), INBOX.into()),
        ("timestamp".to_owned(), timestamp.into()),
        ("media_type".to_owned(), pages.extension().into()),
        ("content_type".to_owned(), pages.content_type().into()),
        ("pvt_type".to_owned(), TYPE.into()),
        ("pvt_account_id".to_owned(), account.id.as_ref().into()),
        ("pvt_size".to_owned(), pages.length().into()),
        ("pvt_created".to_owned(), time::now().into()),
        ("pvt_modified".to_owned(), time::now().into()),
    ]);
    if let Some(count) = page_count {
        body.insert("pvt_pages".into(), count);
    }
}

/// Deletes a fax softly, and its pages as far as they are ours (`removal`).
///
/// # Errors
/// [`Error::NotFound`] when it was deleted meanwhile, [`Error::Unavailable`].
pub async fn remove(app: &Arc<App>, account: &Account, fax: &Fax) -> Result<(), Error> {
    removal::remove(app, account, fax.owner_id(), &fax.document).await
}

/// Deletes the pages of a fax, as far as they are ours. That it was received is still known.
///
/// # Errors
/// [`Error::NotFound`] when it was deleted meanwhile, [`Error::Unavailable`].
pub async fn remove_pages(app: &Arc<App>, account: &Account, fax: &Fax) -> Result<Fax, Error> {
    let document = removal::remove_attachments(app, account, fax.owner_id(), &fax.document).await?;
    Fax::read(document).ok_or_else(|| Error::NotFound(fax.id.to_string()))
}

/// The received fax of the account with this id.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Unavailable`].
pub async fn get(app: &App, account: &Account, id: &str) -> Result<Fax, Error> {
    let found = Fax::read(months::find(app, account, TYPE, id).await?);
    let received = found.filter(|fax| fax.document.text("folder") == Some(INBOX));
    received.ok_or_else(|| Error::NotFound(id.to_owned()))
}

/// A page of the account's faxes that were received within `span`, or of those of one owner. `keep` says which are wanted.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn page<F>(
    app: &App,
    account: &Account,
    owner_id: Option<&str>,
    span: Span,
    ask: &Ask,
    keep: F,
) -> Result<Page<Fax>, Error>
where
    F: Fn(&Fax) -> bool + Send,
{
    let received = |fax: &Fax| fax.document.text("folder") == Some(INBOX);
    let row = move |document| Fax::read(document).filter(|found| received(found) && keep(found));
    let which = Which { doc_type: TYPE, parent: owner_id, ..Which::default() };
    months::page(app, account, which, span, ask, row).await
}

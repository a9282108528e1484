//! Messages for voicemail boxes: a document in the account's month, with at most one attachment, the audio.
//!
//! A message belongs to the month (UTC) that its timestamp lies in, and its id begins with it. `source_id` is its box, `owner_id` the box's
//! owner when the message came, so that the owner's plan decides where the audio goes. `metadata` is what clients see and change.
//!
//! With audio a message is made in two steps, because the bytes may arrive before what is said of them: [`receive`] streams them into a
//! file, [`create`] (or [`replace_audio`]) commits file and document as one (`deposit`). Nothing exists before the second step.
//!
//! A message older than `[voicemail] retention` is shown as deleted and cannot be changed any more; its document and audio stay.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::Stream;
use plan::{AttachmentName, Database, DocId, DocType, Month};
use serde_json::{Map, Value};

use super::attachment::{Attachment, attachments_of};
use super::deposit::{Arrived, Deposit, Form, Target};
use super::mailboxes::Mailbox;
use super::{App, Error, forms, media_types};
use crate::app::accounts::Account;
use crate::{id, time};
use connections::{Document, Draft};

mod body;
mod change;
mod find;
mod transfer;

pub use change::{Bulk, Folder, change_folder, change_folders, remove, remove_all, remove_each, remove_in};
pub use find::{Counts, Span, count, page_of_account, page_of_mailbox};
pub use transfer::{copy, copy_each, relocate, relocate_each};

const TYPE: &str = "mailbox_message";

/// A message that was not deleted.
#[derive(Debug, Clone)]
pub struct Message {
    /// Its id.
    pub id: DocId,
    /// Its document.
    pub document: Document,
}

impl Message {
    fn read(document: Document) -> Option<Self> {
        let id = document.id.clone();
        (document.doc_type == TYPE && !document.deleted).then_some(Self { id, document })
    }

    /// The id of its box.
    pub fn mailbox(&self) -> &str {
        self.document.text("source_id").unwrap_or_default()
    }

    /// When it was left, in Gregorian seconds.
    pub fn timestamp(&self) -> i64 {
        self.document.body.get("utc_seconds").and_then(Value::as_i64).unwrap_or_default()
    }

    /// When it was last written, in Gregorian seconds.
    pub fn modified(&self) -> i64 {
        self.document.body.get("pvt_modified").and_then(Value::as_i64).unwrap_or_default()
    }

    /// Its audio, when it has any.
    pub fn audio(&self) -> Option<(AttachmentName, Attachment)> {
        attachments_of(&self.document).into_iter().next()
    }

    /// True when it is too old to be shown as anything but deleted.
    pub fn is_past_retention(&self, app: &App) -> bool {
        self.timestamp() < find::retained_since(app, time::now())
    }

    /// What clients see of it: its metadata, the size of its audio in bytes, its transcription.
    pub fn metadata(&self, app: &App) -> Map<String, Value> {
        let body = &self.document.body;
        let mut shown = body.get("metadata").and_then(Value::as_object).cloned().unwrap_or_default();
        if let Some((_, audio)) = self.audio() {
            shown.insert("size".into(), audio.length.into());
        }
        if let Some(transcription) = body.get("transcription") {
            shown.insert("transcription".into(), transcription.clone());
        }
        if self.is_past_retention(app) {
            shown.insert("folder".into(), Folder::Deleted.as_str().into());
            shown.insert("retention".into(), "enforced".into());
        }
        shown
    }
}

/// The message of a box with this id.
///
/// # Errors
/// [`Error::NotFound`], also for a message of another box; [`Error::Unavailable`].
pub async fn get(app: &App, account: &Account, mailbox: &Mailbox, id: &str) -> Result<Message, Error> {
    let not_found = || Error::NotFound(id.to_owned());
    let parsed = DocId::parse(id).map_err(|_| not_found())?;
    let month = parsed.month().ok_or_else(not_found)?;
    let found = app.documents.get(&database(account, month), &parsed).await?.and_then(Message::read);
    found.filter(|message| message.mailbox() == mailbox.id.as_ref()).ok_or_else(not_found)
}

fn database(account: &Account, month: Month) -> Database {
    Database::Modb(account.id.clone(), month)
}

/// Sound on its way in.
#[derive(Debug, Clone, Copy)]
pub struct Sound<'a> {
    /// Its media type; [`media_types::UNKNOWN`] when the sender does not know.
    pub content_type: &'a str,
    /// The name that its sender gave it; only its extension counts.
    pub file_name: Option<&'a str>,
    /// The most bytes that are taken.
    pub limit: u64,
}

/// Audio that has arrived whole and belongs to no message yet. Dropping it drops the bytes.
#[derive(Debug)]
pub struct Audio {
    deposit: Deposit,
    arrived: Arrived,
    name: AttachmentName,
}

/// Streams audio for a message of `mailbox` into a file.
///
/// # Errors
/// [`Error::TooLarge`], [`Error::Interrupted`], [`Error::Unavailable`]; nothing is left behind then.
pub async fn receive<S, E>(
    app: &App,
    account: &Account,
    mailbox: &Mailbox,
    sound: Sound<'_>,
    stream: S,
) -> Result<Audio, Error>
where
    S: Stream<Item = Result<Bytes, E>> + Send,
    E: std::fmt::Display,
{
    // Which message it will be is known only when all of the request has been read; the route is the same for all of them.
    let (database, id) = place(account, time::now())?;
    let doc_type = DocType::parse(TYPE).map_err(|error| Error::internal("naming a type", error))?;
    let owner = mailbox.owner_id().map(str::to_owned);
    let target = Target { account: account.id.clone(), owner, database, id, doc_type };
    let deposit = Deposit::plan(app, target).await?;
    let (name, content_type) = attachment(&sound, mailbox)?;
    let arrived = deposit.receive(app, stream, &content_type, sound.limit).await?;
    Ok(Audio { deposit, arrived, name })
}

/// The name and type under which audio is kept: an unguessable name that no other generation shares, so that no two lie at one location.
fn attachment(sound: &Sound<'_>, mailbox: &Mailbox) -> Result<(AttachmentName, String), Error> {
    let named = sound.file_name.and_then(media_types::extension_in);
    let content_type = match media_types::essence(sound.content_type).as_str() {
        media_types::UNKNOWN => {
            named.as_deref().and_then(media_types::type_of).unwrap_or(media_types::UNKNOWN).to_owned()
        }
        known => known.to_owned(),
    };
    let by_type = media_types::extension_of(&content_type);
    let extension = by_type.or(named.as_deref()).unwrap_or(mailbox.media_extension());
    let name = AttachmentName::parse(&format!("{}.{extension}", id::random()));
    Ok((name.map_err(|error| Error::internal("naming an attachment", error))?, content_type))
}

/// The database and id of a new message that was left at `timestamp`.
fn place(account: &Account, timestamp: i64) -> Result<(Database, DocId), Error> {
    let month = time::month(timestamp)
        .ok_or_else(|| Error::invalid("timestamp", "date_range", "this time lies outside of the calendar"))?;
    let id = id::of_month(month).map_err(|error| Error::internal("making an id", error))?;
    Ok((database(account, month), id))
}

/// Creates a message from what a caller says of it, with or without audio.
///
/// # Errors
/// [`Error::Invalid`] by the schema, [`Error::Unavailable`]; there is no message and no audio then.
pub async fn create(
    app: &Arc<App>,
    account: &Account,
    mailbox: &Mailbox,
    data: Value,
    audio: Option<Audio>,
) -> Result<Message, Error> {
    let said = app.forms.check(&forms::MESSAGE, data)?;
    let timestamp = said.get("timestamp").and_then(Value::as_i64).unwrap_or_else(time::now);
    let (database, id) = place(account, timestamp)?;
    let body = body::new(account, mailbox, &id, timestamp, &said);
    save(app, mailbox, database, id, timestamp, body, audio).await
}

async fn save(
    app: &Arc<App>,
    mailbox: &Mailbox,
    database: Database,
    id: DocId,
    timestamp: i64,
    mut body: Map<String, Value>,
    audio: Option<Audio>,
) -> Result<Message, Error> {
    if let Some(audio) = &audio {
        body.extend(body::with_audio(&audio.name));
    }
    let draft = Draft {
        doc_type: TYPE.into(),
        parent: Some(mailbox.id.to_string()),
        at: timestamp,
        deleted: false,
        keys: Vec::new(),
        body,
    };
    let document = match audio {
        None => app.documents.create(&database, &id, draft).await?,
        Some(Audio { deposit, arrived, name }) => {
            deposit.aimed_at(app, database, id).await?.commit(app.clone(), arrived, name, Form::New(draft)).await?
        }
    };
    read(document)
}

/// Gives a message other audio; what it had is dropped here, and stays where a destination has it.
///
/// # Errors
/// [`Error::Invalid`] (`date_range`) for a message past retention, [`Error::NotFound`], [`Error::Unavailable`].
pub async fn replace_audio(app: &Arc<App>, message: &Message, audio: Audio) -> Result<Message, Error> {
    refuse_past_retention(app, message)?;
    let Audio { deposit, arrived, name } = audio;
    let mut fields = body::with_audio(&name);
    fields.insert("pvt_modified".into(), time::now().into());
    let deposit = deposit.aimed_at(app, message.document.database.clone(), message.id.clone()).await?;
    read(deposit.commit(app.clone(), arrived, name, Form::Existing(fields)).await?)
}

/// Refuses a change of a message that is past retention.
///
/// # Errors
/// [`Error::Invalid`] with `message.date_range`.
pub fn refuse_past_retention(app: &App, message: &Message) -> Result<(), Error> {
    if !message.is_past_retention(app) {
        return Ok(());
    }
    let mut violations = plan::Violations::default();
    let cause = [("cause", Value::from(message.id.as_ref()))];
    violations.push(
        "message",
        "date_range",
        "the message is older than the retention of voicemail and cannot be changed".into(),
        cause,
    );
    Err(Error::Invalid(violations))
}

fn read(document: Document) -> Result<Message, Error> {
    let id = document.id.to_string();
    Message::read(document).ok_or(Error::NotFound(id))
}

//! Messages for voicemail boxes: a document in the account's month, with at most one attachment, the audio.
//!
//! A message belongs to the month (UTC) that its timestamp lies in, and its id begins with it. `source_id` is its box, `owner_id` the box's
//! owner when the message came, so that the owner's plan decides where the audio goes. `metadata` is what clients see and change.
//!
//! With audio a message is made in two steps (`received`): [`receive`] streams it into a file, [`create`] (or [`replace_audio`]) commits file
//! and document as one.
//!
//! A message that is older than the plan keeps messages is shown as deleted and cannot be changed any more, and is soon gone (`retention`). Where the plan
//! keeps them for good, one older than `[voicemail] retention` is shown so too, and its document and audio stay.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::Stream;
use plan::{AttachmentName, Database, DocId};
use serde_json::{Map, Value, json};

use super::attachment::{Attachment, attachments_of};
use super::deposit::Form;
use super::mailboxes::Mailbox;
use super::{App, Error, forms, months};
use crate::app::accounts::Account;
use crate::{id, time};
use connections::{Document, Draft};

mod body;
mod change;
mod find;
mod transfer;

pub use super::received::{Received as Audio, Sent as Sound};
pub use change::{Bulk, Folder, change_folder, change_folders, remove, remove_all, remove_each, remove_in};
pub use find::{Counts, Retained, count, page_of_account, page_of_mailbox, retained};
pub use transfer::{copy, copy_each, relocate, relocate_each};

/// The type of their documents.
pub const TYPE: &str = "mailbox_message";

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
        attachments_of(&self.document).next()
    }

    /// True when it is too old to be shown as anything but deleted.
    fn is_past(&self, retained: Retained) -> bool {
        !retained.has(self)
    }

    /// What clients see of it: its metadata, the size of its audio in bytes, its transcription.
    pub fn metadata(&self, retained: Retained) -> Map<String, Value> {
        let body = &self.document.body;
        let mut shown = body.get("metadata").and_then(Value::as_object).cloned().unwrap_or_default();
        if let Some((_, audio)) = self.audio() {
            shown.insert("size".into(), audio.length.into());
        }
        if let Some(transcription) = body.get("transcription") {
            shown.insert("transcription".into(), transcription.clone());
        }
        if self.is_past(retained) {
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
    let found = Message::read(months::find(app, account, TYPE, id).await?);
    found.filter(|message| message.mailbox() == mailbox.id.as_ref()).ok_or_else(|| Error::NotFound(id.to_owned()))
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
    Audio::take(app, account, mailbox.owner_id(), TYPE, sound, mailbox.media_extension(), stream).await
}

/// An unguessable name that no other generation shares, so that no two lie at one location.
fn name_of(audio: &Audio) -> String {
    format!("{}.{}", id::random(), audio.extension())
}

/// Creates a message from what a caller says of it, with or without audio. Its length, when nobody says it, is that of the audio.
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
    let mut said = app.forms.check(&forms::MESSAGE, data)?;
    let timestamp = said.get("timestamp").and_then(Value::as_i64).unwrap_or_else(time::now);
    if let Some(length) = audio.as_ref().and_then(Audio::milliseconds) {
        said.entry("length").or_insert_with(|| length.into());
    }
    let (database, id) = months::place(account, "timestamp", timestamp)?;
    let body = body::new(account, mailbox, &id, timestamp, &said);
    save(app, mailbox, database, id, timestamp, body, audio).await
}

/// As [`create`], for a message whose id was chosen when it began: it is made once, whoever makes it and however often.
///
/// # Errors
/// [`Error::Conflict`] when it has been made, and as [`create`].
pub async fn create_as(
    app: &Arc<App>,
    account: &Account,
    mailbox: &Mailbox,
    id: DocId,
    timestamp: i64,
    data: Value,
    audio: Audio,
) -> Result<Message, Error> {
    let said = app.forms.check(&forms::MESSAGE, data)?;
    let database = months::database(account, months::of("timestamp", timestamp)?);
    let body = body::new(account, mailbox, &id, timestamp, &said);
    save(app, mailbox, database, id, timestamp, body, Some(audio)).await
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
    let name = audio.as_ref().map(name_of);
    if let Some(name) = &name {
        body.extend(body::with_audio(name));
    }
    let draft =
        Draft { doc_type: TYPE.into(), parent: Some(mailbox.id.to_string()), at: timestamp, body, ..Draft::default() };
    let document = match audio.zip(name) {
        None => app.documents.create(&database, &id, draft).await?,
        Some((audio, name)) => audio.commit(app, database, id, &name, Form::New(draft)).await?,
    };
    read(document)
}

/// Gives a message other audio, and its length where that can be told; what it had is dropped here, and stays where a destination has it.
///
/// # Errors
/// [`Error::Invalid`] (`date_range`) for a message past retention, [`Error::NotFound`], [`Error::Unavailable`].
pub async fn replace_audio(app: &Arc<App>, message: &Message, audio: Audio) -> Result<Message, Error> {
    refuse_past_retention(app, message).await?;
    let name = name_of(&audio);
    let mut fields = body::with_audio(&name);
    fields.insert("pvt_modified".into(), time::now().into());
    if let Some(length) = audio.milliseconds() {
        fields.insert("metadata".into(), json!({"length": length}));
    }
    let (database, id) = (message.document.database.clone(), message.id.clone());
    read(audio.commit(app, database, id, &name, Form::Existing(fields)).await?)
}

/// Refuses a change of a message that is past retention.
///
/// # Errors
/// [`Error::Invalid`] with `message.date_range`; [`Error::Unavailable`].
pub async fn refuse_past_retention(app: &App, message: &Message) -> Result<(), Error> {
    let account = message.document.database.account();
    let account = account.ok_or_else(|| Error::internal("finding an account", "a message outside of its months"))?;
    if !message.is_past(retained(app, account).await?) {
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

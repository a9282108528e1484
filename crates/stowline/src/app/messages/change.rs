//! Changes of messages that exist: another folder, deletion; of one or of many.
//!
//! Each message changes in a step of its own, inside the write, so that a delivery that notes its receipt at the same moment is not in the
//! way. Of many, those that cannot be changed are named with the reason and the others are changed.
//!
//! A deletion is soft: the document stays, and its audio wherever it is. Where the plan says `"delete": true`, the audio goes, here and at
//! its destination (`removal`).

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use serde_json::{Map, Value, json};

use super::super::attachment::attachments_of;
use super::super::mailboxes::Mailbox;
use super::super::pages::Ask;
use super::super::{App, Error, removal};
use super::find::{page_of_mailbox, retained};
use super::{Message, get, read, refuse_past_retention};
use crate::app::accounts::Account;
use crate::time;
use connections::{Change, Document};

/// Changes that run at once: their writes share a commit.
const AT_ONCE: usize = 32;

/// Where a message is in its box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Folder {
    /// Not yet heard.
    New,
    /// Heard and kept.
    Saved,
    /// Thrown away, and still there.
    Deleted,
}

impl Folder {
    /// The folder of this name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::New, Self::Saved, Self::Deleted].into_iter().find(|folder| folder.as_str() == name)
    }

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Saved => "saved",
            Self::Deleted => "deleted",
        }
    }
}

/// What became of many.
#[derive(Debug, Default)]
pub struct Bulk {
    /// The ids of the messages as they are now.
    pub succeeded: Vec<String>,
    /// The ids that could not be changed, and why.
    pub failed: Vec<(String, &'static str)>,
}

impl Bulk {
    pub(super) fn note(&mut self, id: String, outcome: Result<Message, Error>) {
        match outcome {
            Ok(message) => self.succeeded.push(message.id.to_string()),
            Err(error) => self.failed.push((id, reason(&error))),
        }
    }

    /// `{"succeeded": [id…], "failed": [{id: reason}…]}`.
    pub fn to_json(&self) -> Value {
        let failed =
            self.failed.iter().map(|(id, reason)| Value::Object(Map::from_iter([(id.clone(), Value::from(*reason))])));
        json!({"succeeded": self.succeeded, "failed": failed.collect::<Vec<Value>>()})
    }
}

/// The word for what kept a message from being changed.
fn reason(error: &Error) -> &'static str {
    match error {
        Error::NotFound(_) => "not_found",
        Error::Conflict => "conflict",
        Error::Invalid(violations) if violations.get("message", "date_range").is_some() => {
            "prior_to_retention_duration"
        }
        Error::Unavailable { .. } => "datastore_fault",
        Error::Destination(_) => "bad_gateway",
        _ => "unspecified_fault",
    }
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Move(Folder),
    Remove,
}

/// Puts a message into a folder.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Invalid`] (`date_range`) for a message past retention, [`Error::Unavailable`].
pub async fn change_folder(
    app: &App,
    account: &Account,
    mailbox: &Mailbox,
    id: &str,
    folder: Folder,
) -> Result<Message, Error> {
    let message = get(app, account, mailbox, id).await?;
    read(step(app, &message, Step::Move(folder)).await?)
}

/// Puts messages into a folder.
pub async fn change_folders(
    app: &Arc<App>,
    account: &Account,
    mailbox: &Mailbox,
    ids: Vec<String>,
    folder: Folder,
) -> Bulk {
    each(app, account, mailbox, ids, Step::Move(folder)).await
}

/// Deletes a message softly. Answers it as it was left: in the folder of deleted ones.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Invalid`] (`date_range`) for a message past retention, [`Error::Unavailable`].
pub async fn remove(app: &Arc<App>, account: &Account, mailbox: &Mailbox, id: &str) -> Result<Message, Error> {
    let message = get(app, account, mailbox, id).await?;
    let document = delete(app, account, &message, |_| true).await?;
    Ok(Message { id: document.id.clone(), document })
}

/// Deletes a message that is fit to be, with its audio where the plan says so.
async fn delete<F>(app: &Arc<App>, account: &Account, message: &Message, fit: F) -> Result<Document, Error>
where
    F: Fn(&Document) -> bool + Send + Sync + 'static,
{
    let owner = message.document.text("owner_id");
    if message.audio().is_none() || !removal::goes_everywhere(app, account, owner, &message.document).await? {
        return step_if(app, message, Step::Remove, fit).await;
    }
    refuse_past_retention(app, message).await?;
    removal::remove_marked(app, account, owner, &message.document, |body| put_into(body, Folder::Deleted), fit).await
}

/// Deletes messages softly.
pub async fn remove_each(app: &Arc<App>, account: &Account, mailbox: &Mailbox, ids: Vec<String>) -> Bulk {
    each(app, account, mailbox, ids, Step::Remove).await
}

/// Deletes all messages of a box softly, or those of one folder.
///
/// # Errors
/// [`Error::Unavailable`] when they cannot be listed.
pub async fn remove_in(
    app: &Arc<App>,
    account: &Account,
    mailbox: &Mailbox,
    folder: Option<Folder>,
) -> Result<Bulk, Error> {
    let wanted = |message: &Message| folder.is_none_or(|folder| folder_of(message) == Some(folder));
    let span = retained(app, &account.id).await?.span();
    let page = page_of_mailbox(app, account, &mailbox.id, span, &Ask::default(), wanted).await?;
    let ids = page.rows.iter().map(|message| message.id.to_string()).collect();
    Ok(each(app, account, mailbox, ids, Step::Remove).await)
}

/// Deletes all messages of a box softly, or fails when one of them could not be.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn remove_all(app: &Arc<App>, account: &Account, mailbox: &Mailbox) -> Result<(), Error> {
    let done = remove_in(app, account, mailbox, None).await?;
    // Who deleted one of them, or let it age, in the meantime did no harm.
    let left = done.failed.iter().find(|(_, reason)| !matches!(*reason, "not_found" | "prior_to_retention_duration"));
    match left {
        None => Ok(()),
        Some(_) => Err(Error::Unavailable { what: "document store", source: None }),
    }
}

fn folder_of(message: &Message) -> Option<Folder> {
    Folder::named(message.document.body.get("metadata")?.get("folder")?.as_str()?)
}

async fn each(app: &Arc<App>, account: &Account, mailbox: &Mailbox, ids: Vec<String>, what: Step) -> Bulk {
    let change = |id: String| {
        let (app, account, mailbox) = (app.clone(), account.clone(), mailbox.clone());
        async move {
            let changed = async {
                let message = get(&app, &account, &mailbox, &id).await?;
                let document = match what {
                    Step::Move(_) => step(&app, &message, what).await?,
                    Step::Remove => delete(&app, &account, &message, |_| true).await?,
                };
                Ok(Message { id: document.id.clone(), document })
            };
            let changed = changed.await;
            (id, changed)
        }
    };
    let mut done = Bulk::default();
    let mut changes = stream::iter(ids).map(change).buffered(AT_ONCE);
    while let Some((id, outcome)) = changes.next().await {
        done.note(id, outcome);
    }
    done
}

/// Deletes a message that has been copied elsewhere, unless it has other audio than was copied.
///
/// # Errors
/// [`Error::Conflict`]: the message stays, beside its copy.
pub(super) async fn delete_copied(app: &Arc<App>, account: &Account, message: &Message) -> Result<(), Error> {
    let copied = message.audio().map(|(_, audio)| audio.generation);
    let same = move |document: &Document| attachments_of(document).next().map(|(_, audio)| audio.generation) == copied;
    let document = delete(app, account, message, same).await?;
    if document.deleted { Ok(()) } else { Err(Error::Conflict) }
}

async fn step(app: &App, message: &Message, what: Step) -> Result<Document, Error> {
    step_if(app, message, what, |_| true).await
}

async fn step_if<F>(app: &App, message: &Message, what: Step, fit: F) -> Result<Document, Error>
where
    F: FnOnce(&Document) -> bool + Send + 'static,
{
    refuse_past_retention(app, message).await?;
    let change = move |document: &Document| {
        if !fit(document) {
            return Ok(Change::Leave);
        }
        if document.deleted {
            return Ok(Change::Leave);
        }
        let mut body = document.body.clone();
        put_into(
            &mut body,
            match what {
                Step::Move(folder) => folder,
                Step::Remove => Folder::Deleted,
            },
        );
        body.insert("pvt_modified".into(), time::now().into());
        Ok(match what {
            Step::Move(_) => Change::Write(body),
            Step::Remove => {
                body.insert("pvt_deleted".into(), Value::Bool(true));
                Change::Delete(body)
            }
        })
    };
    Ok(app.documents.update(&message.document.database, &message.id, change).await?)
}

fn put_into(body: &mut Map<String, Value>, folder: Folder) {
    if let Some(Value::Object(metadata)) = body.get_mut("metadata") {
        metadata.insert("folder".into(), folder.as_str().into());
    }
}

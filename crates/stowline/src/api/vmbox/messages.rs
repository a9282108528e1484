//! `/v2/accounts/{account}/vmboxes/{box}/messages…`: what was left in a box.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::{in_path, reached};
use crate::api::error::Fault;
use crate::api::list::{self, Filters, Paging, Times};
use crate::api::upload::Upload;
use crate::api::whose::Whose;
use crate::api::{Call, Reply};
use crate::app::mailboxes::{self, Mailbox};
use crate::app::media_types::Group;
use crate::app::messages::{self, Bulk, Folder, Message, Retained, Sound};
use crate::app::months::Span;
use crate::app::pages::Ask;
use crate::app::{App, Error};

/// `GET …/vmboxes/messages`: the messages of all boxes, each as `{box id: metadata}`.
pub async fn of_account(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let account = call.account()?;
    let whose = Whose::of(&app, &call).await?;
    let reach = |mailbox: &Mailbox| whose.includes(mailbox.owner_id());
    let boxes = mailboxes::page(&app, &account.id, &Ask::default(), reach).await?;
    let boxes: HashSet<String> = boxes.rows.iter().map(|mailbox| mailbox.id.to_string()).collect();
    let retained = messages::retained(&app, &account.id).await?;
    let (paging, filters, span) = (Paging::of(&app, &call)?, Filters::of(&call)?, span(&app, &call, retained)?);
    let keep = |message: &Message| boxes.contains(message.mailbox()) && passes(retained, &filters, message);
    let page = messages::page_of_account(&app, account, span, &paging.ask, keep).await?;
    let row = |message: &Message| {
        Value::Object(Map::from_iter([(message.mailbox().to_owned(), Value::Object(message.metadata(retained)))]))
    };
    Ok(paging.reply(page.rows.iter().map(row).collect(), page.next.as_ref()))
}

/// `GET …/messages`: metadata, the newest first.
pub async fn list(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let mailbox = in_path(&app, &call).await?;
    let account = call.account()?;
    let retained = messages::retained(&app, &account.id).await?;
    let (paging, filters, span) = (Paging::of(&app, &call)?, Filters::of(&call)?, span(&app, &call, retained)?);
    let keep = |message: &Message| passes(retained, &filters, message);
    let page = messages::page_of_mailbox(&app, account, &mailbox.id, span, &paging.ask, keep).await?;
    let rows = page.rows.iter().map(|message| Value::Object(message.metadata(retained))).collect();
    Ok(paging.reply(rows, page.next.as_ref()))
}

/// The window that the call names, else all that is not past retention.
fn span(app: &App, call: &Call, retained: Retained) -> Result<Span, Error> {
    let window = list::window(call, app.config.api.maximum_range)?;
    Ok(window.unwrap_or_else(|| retained.span()))
}

/// What a client sees of one message.
pub(super) async fn shown(app: &App, call: &Call, message: &Message) -> Result<Map<String, Value>, Error> {
    Ok(message.metadata(messages::retained(app, &call.account()?.id).await?))
}

fn passes(retained: Retained, filters: &Filters, message: &Message) -> bool {
    filters.pass(&message.metadata(retained), Times { created: message.timestamp(), modified: message.modified() })
}

/// `PUT …/messages`: a message from JSON, with audio when the body is an upload.
pub async fn create(app: Arc<App>, mut call: Call) -> Result<Reply, Fault> {
    let mailbox = in_path(&app, &call).await?;
    let upload = Upload::open(&app, &mut call)?;
    let account = call.account()?;
    let (data, audio) = match upload {
        None => (call.data.clone(), None),
        Some(mut upload) => {
            let file = upload.file(Group::Sound).await?;
            let sound = Sound {
                content_type: &file.content_type,
                file_name: Some(&file.name),
                limit: app.config.api.max_upload_size,
            };
            let audio = messages::receive(&app, account, &mailbox, sound, file.stream).await?;
            (upload.finish().await?, Some(audio))
        }
    };
    // Before there is anything: an answer must not fail afterwards.
    let retained = messages::retained(&app, &account.id).await?;
    let message = messages::create(&app, account, &mailbox, data, audio).await?;
    let reply = Reply::created(message.metadata(retained)).of(&message.document);
    Ok(reply.at(message.id.to_string()))
}

/// `GET …/messages/{message}`.
pub async fn read(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let mailbox = in_path(&app, &call).await?;
    let message = messages::get(&app, call.account()?, &mailbox, call.param("message")).await?;
    let revision = message.document.revision.to_string();
    if call.has(&revision) {
        return Ok(Reply::NotModified(revision));
    }
    Ok(Reply::ok(shown(&app, &call, &message).await?).of(&message.document))
}

/// Where a change puts messages.
enum Destination {
    Folder(Folder),
    Box(Box<Mailbox>),
    Boxes(Vec<Mailbox>),
}

/// `source_id` names other boxes (one: move, an array: copy); otherwise it is the folder that changes.
async fn destination(app: &App, call: &Call, mailbox: &Mailbox) -> Result<Destination, Error> {
    match call.value("source_id") {
        None | Some(Value::Null) => {}
        Some(Value::String(id)) if id == mailbox.id.as_ref() => {}
        Some(Value::String(id)) => return Ok(Destination::Box(Box::new(other(app, call, &id).await?))),
        Some(Value::Array(ids)) if ids.is_empty() => {
            return Err(Error::invalid("source_id", "minItems", "name the boxes that shall get a copy"));
        }
        Some(Value::Array(ids)) => {
            let mut boxes = Vec::with_capacity(ids.len());
            for id in texts("source_id", &ids)? {
                boxes.push(other(app, call, &id).await?);
            }
            return Ok(Destination::Boxes(boxes));
        }
        Some(_) => {
            return Err(Error::invalid("source_id", "type", "source_id is the id of a box, or an array of them"));
        }
    }
    Ok(Destination::Folder(folder(call)?.unwrap_or(Folder::Saved)))
}

async fn other(app: &App, call: &Call, id: &str) -> Result<Mailbox, Error> {
    match reached(app, call, id).await {
        Err(Error::NotFound(_)) => Err(Error::invalid("source_id", "not_found", format!("there is no box '{id}'"))),
        found => found,
    }
}

fn folder(call: &Call) -> Result<Option<Folder>, Error> {
    let named = match call.value("folder") {
        None | Some(Value::Null) => return Ok(None),
        Some(value) => value.as_str().and_then(Folder::named),
    };
    named.map(Some).ok_or_else(|| Error::invalid("folder", "enum", "folder is \"new\", \"saved\" or \"deleted\""))
}

fn texts(field: &str, values: &[Value]) -> Result<Vec<String>, Error> {
    let mut texts: Vec<String> = Vec::with_capacity(values.len());
    let mut seen = HashSet::new();
    for (index, value) in values.iter().enumerate() {
        let text =
            value.as_str().ok_or_else(|| Error::invalid(&format!("{field}.{index}"), "type", "an id is a text"))?;
        if seen.insert(text) {
            texts.push(text.to_owned());
        }
    }
    Ok(texts)
}

/// The ids in `messages`, each once; none when there is no such key.
fn ids(call: &Call) -> Result<Option<Vec<String>>, Error> {
    match call.value("messages") {
        None => Ok(None),
        Some(Value::Array(ids)) if ids.is_empty() => Err(no_ids()),
        Some(Value::Array(ids)) => Ok(Some(texts("messages", &ids)?)),
        Some(_) => Err(Error::invalid("messages", "type", "messages is an array of message ids")),
    }
}

/// The ids in `messages`.
///
/// # Errors
/// [`Error::Invalid`] when there are none.
pub(super) fn required_ids(call: &Call) -> Result<Vec<String>, Error> {
    ids(call)?.ok_or_else(no_ids)
}

fn no_ids() -> Error {
    Error::invalid("messages", "required", "name the messages by their ids")
}

/// `POST …/messages/{message}`: another folder, or other boxes.
pub async fn change(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let mailbox = in_path(&app, &call).await?;
    let (account, id) = (call.account()?, call.param("message"));
    let message = match destination(&app, &call, &mailbox).await? {
        Destination::Folder(folder) => messages::change_folder(&app, account, &mailbox, id, folder).await?,
        Destination::Box(other) => {
            let message = messages::get(&app, account, &mailbox, id).await?;
            messages::relocate(&app, account, &message, &other).await?
        }
        Destination::Boxes(boxes) => {
            let message = messages::get(&app, account, &mailbox, id).await?;
            messages::refuse_past_retention(&app, &message).await?;
            return Ok(Reply::ok(
                messages::copy_each(&app, account, &mailbox, vec![id.to_owned()], &boxes).await.to_json(),
            ));
        }
    };
    Ok(Reply::ok(shown(&app, &call, &message).await?).of(&message.document))
}

/// `POST …/messages`: the same for many.
pub async fn change_many(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let mailbox = in_path(&app, &call).await?;
    let account = call.account()?;
    let ids = required_ids(&call)?;
    let done: Bulk = match destination(&app, &call, &mailbox).await? {
        Destination::Folder(folder) => messages::change_folders(&app, account, &mailbox, ids, folder).await,
        Destination::Box(other) => messages::relocate_each(&app, account, &mailbox, ids, &other).await,
        Destination::Boxes(boxes) => messages::copy_each(&app, account, &mailbox, ids, &boxes).await,
    };
    Ok(Reply::ok(done.to_json()))
}

/// `DELETE …/messages/{message}`.
pub async fn remove(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let mailbox = in_path(&app, &call).await?;
    let removed = messages::remove(&app, call.account()?, &mailbox, call.param("message")).await?;
    Ok(Reply::ok(shown(&app, &call, &removed).await?).of(&removed.document))
}

/// `DELETE …/messages`: those in `messages`, else those of `folder`, else all.
pub async fn remove_many(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let mailbox = in_path(&app, &call).await?;
    let account = call.account()?;
    let folder = folder(&call)?;
    let done = match ids(&call)? {
        Some(ids) => messages::remove_each(&app, account, &mailbox, ids).await,
        None => messages::remove_in(&app, account, &mailbox, folder).await?,
    };
    Ok(Reply::ok(done.to_json()))
}

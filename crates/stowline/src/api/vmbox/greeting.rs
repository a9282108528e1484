//! `/v2/accounts/{account}/vmboxes/{box}/greeting`: what the box's callers hear. The audio is the body, as for a message.

use std::sync::Arc;

use serde_json::{Map, json};

use super::in_path;
use crate::api::error::Fault;
use crate::api::upload::Upload;
use crate::api::{Call, Reply, download};
use crate::app::media_types::Group;
use crate::app::{App, Error, fetch, greetings};

/// `GET …/greeting`: the audio, whole or a range of it.
pub async fn download(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let mailbox = in_path(&app, &call).await?;
    let (name, greeting) = greetings::of(&mailbox).ok_or_else(|| Error::NotFound("greeting".into()))?;
    if call.has(&greeting.generation) {
        return Ok(Reply::NotModified(greeting.generation));
    }
    let range = download::range(&call, &greeting.generation);
    let account = call.account()?;
    let served = fetch::fetch(&app, &account.id, &mailbox.document, &name, range).await?;
    let disposition = format!("attachment; filename=greeting_{}.wav", mailbox.number().replace(['*', '#', '+'], "_"));
    Ok(Reply::Raw(download::response(served, disposition)))
}

/// `PUT …/greeting`: another one.
pub async fn upload(app: Arc<App>, mut call: Call) -> Result<Reply, Fault> {
    let mailbox = in_path(&app, &call).await?;
    let upload = Upload::open(&app, &mut call)?;
    let no_file = || Error::invalid("file", "required", "send the audio as the body, or as a part of a multipart body");
    let mut upload = upload.ok_or_else(no_file)?;
    let file = upload.file(Group::Sound).await?;
    let limit = app.config.api.max_upload_size;
    let changed = greetings::put(&app, call.account()?, &mailbox, limit, file.stream).await?;
    upload.finish().await?;
    let about = greetings::of(&changed).map(|(_, greeting)| {
        json!({"id": changed.id.as_ref(), "content_type": greeting.content_type, "content_length": greeting.length})
    });
    Ok(Reply::created(about.unwrap_or_default()).of(&changed.document))
}

/// `DELETE …/greeting`: the general words are played again.
pub async fn remove(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let mailbox = in_path(&app, &call).await?;
    greetings::remove(&app, call.account()?, &mailbox).await?;
    let data = Map::from_iter([("id".to_owned(), mailbox.id.as_ref().into())]);
    Ok(Reply::gone(data, Map::new()))
}

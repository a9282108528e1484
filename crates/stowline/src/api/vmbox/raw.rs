//! `/v2/accounts/{account}/vmboxes/{box}/messages/{message}/raw`: a message's audio, out and in.

use std::sync::Arc;

use serde_json::Value;

use super::in_path;
use crate::api::error::Fault;
use crate::api::upload::Upload;
use crate::api::{Call, Reply, download};
use crate::app::fetch;
use crate::app::mailboxes::Mailbox;
use crate::app::media_types::{self, Group};
use crate::app::messages::{self, Message, Sound};
use crate::app::{App, Error};
use crate::time;

/// `GET …/raw`: the audio, whole or a range of it.
pub async fn download(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let mailbox = in_path(&app, &call).await?;
    let (account, id) = (call.account()?, call.param("message"));
    let mut missed = None;
    loop {
        let message = messages::get(&app, account, &mailbox, id).await?;
        let (name, audio) = message.audio().ok_or_else(|| Error::NotFound(id.to_owned()))?;
        if call.has(&audio.generation) {
            return Ok(Reply::NotModified(audio.generation));
        }
        let disposition =
            format!("attachment; filename={}", file_name(&message, mailbox.timezone(account), name.as_ref()));
        let range = download::range(&call, &audio.generation);
        match fetch::answer(&app, &account.id, &message.document, (&name, audio), range, &disposition).await {
            // It was replaced just now, by audio that has another name.
            Err(Error::NotFound(_)) if missed.as_ref() != Some(&name) => missed = Some(name),
            answer => return Ok(Reply::Raw(download::answer(answer?, disposition))),
        }
    }
}

/// `{caller's number}_{2026-11-23_14-05-09}.wav`, in the zone of the box.
pub(super) fn file_name(message: &Message, zone: Option<&str>, attachment: &str) -> String {
    let number = message
        .document
        .body
        .get("metadata")
        .and_then(|metadata| metadata.get("caller_id_number"))
        .and_then(Value::as_str);
    let harmless = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '_' | '.');
    let number: String = number.unwrap_or_default().chars().filter(harmless).collect();
    let number = if number.is_empty() { "unknown" } else { &number };
    let (at, _) = time::local(message.timestamp(), zone, "%Y-%m-%d_%H-%M-%S");
    let extension = media_types::extension_in(attachment).map(|extension| format!(".{extension}")).unwrap_or_default();
    format!("{number}_{at}{extension}")
}

/// `PUT …/raw`: other audio for the message.
pub async fn upload(app: Arc<App>, mut call: Call) -> Result<Reply, Fault> {
    let mailbox: Mailbox = in_path(&app, &call).await?;
    let upload = Upload::open(&app, &mut call)?;
    let account = call.account()?;
    let message = messages::get(&app, account, &mailbox, call.param("message")).await?;
    messages::refuse_past_retention(&app, &message).await?;
    let no_file = || Error::invalid("file", "required", "send the audio as the body, or as a part of a multipart body");
    let mut upload = upload.ok_or_else(no_file)?;
    let file = upload.file(Group::Sound).await?;
    let sound =
        Sound { content_type: &file.content_type, file_name: Some(&file.name), limit: app.config.api.max_upload_size };
    let audio = messages::receive(&app, account, &mailbox, sound, file.stream).await?;
    upload.finish().await?;
    let message = messages::replace_audio(&app, &message, audio).await?;
    Ok(Reply::created(super::messages::shown(&app, &call, &message).await?).of(&message.document))
}

//! `/v2/accounts/{account}/recordings…` and the same below `users/{user}`: recordings of calls.
//!
//! One path gives a recording's document and its audio: what comes is what the client accepts.

use std::sync::Arc;

use serde_json::Value;

use super::account::expect;
use super::error::Fault;
use super::list::{self, Filters, Paging, Times};
use super::whose::Whose;
use super::{Call, Reply, accept, download};
use crate::app::attachment::Attachment;
use crate::app::recordings::{self, Recording};
use crate::app::{App, Error, fetch, file_names, media_types};
use plan::AttachmentName;

/// `GET …/recordings`: whole documents, the latest first.
pub async fn list(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let whose = Whose::of(&app, &call).await?;
    let (paging, filters, span) = (Paging::of(&app, &call)?, Filters::of(&call)?, list::span(&app, &call)?);
    let keep = |recording: &Recording| {
        let times = Times { created: recording.start(), modified: recording.modified() };
        filters.pass(&recording.document.public(), times)
    };
    let page = recordings::page(&app, call.account()?, whose.owner(), span, &paging.ask, keep).await?;
    let rows = page.rows.iter().map(|recording| Value::Object(recording.public())).collect();
    Ok(paging.reply(rows, page.next.as_ref()))
}

/// The recording in the path.
async fn in_path(app: &App, call: &Call) -> Result<Recording, Error> {
    let whose = Whose::of(app, call).await?;
    let recording = recordings::get(app, call.account()?, call.param("recording")).await?;
    whose.expect(recording.owner_id())?;
    Ok(recording)
}

#[derive(Debug, Clone, Copy)]
enum Form {
    Document,
    Audio,
}

/// `GET …/recordings/{recording}`: the document, or the audio when that is what the client accepts.
pub async fn read(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let recording = in_path(&app, &call).await?;
    let audio = recording.audio();
    let names = audio.as_ref().map(|(_, audio)| media_types::names_of(&audio.content_type)).unwrap_or_default();
    let mut offered = vec![("application/json", Form::Document), ("application/x-json", Form::Document)];
    offered.extend(names.iter().map(|name| (name.as_str(), Form::Audio)));
    match (accept::best(&call, &offered), audio) {
        (Some(Form::Audio), Some((name, audio))) => download(&app, &call, &recording, &name, audio).await,
        (Some(_), _) => {
            let revision = recording.document.revision.to_string();
            if call.has(&revision) {
                return Ok(Reply::NotModified(revision));
            }
            Ok(Reply::ok(recording.public()).of(&recording.document))
        }
        (None, _) => Err(Fault::not_acceptable(&[vec!["application/json".to_owned()], names].concat())),
    }
}

async fn download(
    app: &App,
    call: &Call,
    recording: &Recording,
    name: &AttachmentName,
    audio: Attachment,
) -> Result<Reply, Fault> {
    if call.has(&audio.generation) {
        return Ok(Reply::NotModified(audio.generation));
    }
    let kind = if call.is_true("inline") == Some(true) { "inline" } else { "attachment" };
    let disposition = file_names::disposition(kind, name.as_ref());
    let range = download::range(call, &audio.generation);
    let answer =
        fetch::answer(app, &call.account()?.id, &recording.document, (name, audio), range, &disposition).await?;
    Ok(Reply::Raw(download::answer(answer, disposition)))
}

/// `PATCH …/recordings/{recording}`: what the account wants to remember of it, under `user_metadata`. Nothing else of it changes.
pub async fn patch(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let recording = in_path(&app, &call).await?;
    expect(&call.if_match(), &recording.document.revision.to_string())?;
    let patched = recordings::patch_user_metadata(&app, &recording, call.data.clone()).await?;
    Ok(Reply::ok(patched.public()).of(&patched.document))
}

/// `DELETE …/recordings/{recording}`.
pub async fn remove(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let recording = in_path(&app, &call).await?;
    expect(&call.if_match(), &recording.document.revision.to_string())?;
    recordings::remove(&app, call.account()?, &recording).await?;
    Ok(Reply::removed(recording.document.public(), &recording.document))
}

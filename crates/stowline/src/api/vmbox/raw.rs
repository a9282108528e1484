//! `/v2/accounts/{account}/vmboxes/{box}/messages/{message}/raw`: a message's audio, out and in.

use std::sync::Arc;

use attachments::ByteRange;
use axum::body::Body;
use axum::response::Response;
use http::header::{
    ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderName, IF_RANGE, RANGE,
};
use http::{HeaderValue, StatusCode};
use serde_json::Value;

use super::in_path;
use crate::api::error::Fault;
use crate::api::upload::Upload;
use crate::api::{Call, Reply};
use crate::app::fetch::{self, Served};
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
        let range = range(&call, &audio.generation);
        let database = &message.document.database;
        match fetch::fetch(&app, &account.id, database, &message.id, &name, range).await {
            // It was replaced just now, by audio that has another name.
            Err(Error::NotFound(_)) if missed.as_ref() != Some(&name) => missed = Some(name),
            served => {
                let file_name = file_name(&message, mailbox.timezone(account), name.as_ref());
                return Ok(Reply::Raw(response(served?, &file_name)));
            }
        }
    }
}

fn response(served: Served, file_name: &str) -> Response {
    let mut headers: Vec<(HeaderName, String)> = vec![
        (CONTENT_TYPE, served.content_type),
        (CONTENT_DISPOSITION, format!("attachment; filename={file_name}")),
        (ACCEPT_RANGES, "bytes".into()),
        (ETAG, format!("\"{}\"", served.etag)),
    ];
    let status = match served.range {
        None => {
            headers.push((CONTENT_LENGTH, served.total.to_string()));
            StatusCode::OK
        }
        Some((first, last)) => {
            headers.push((CONTENT_LENGTH, (last - first + 1).to_string()));
            headers.push((CONTENT_RANGE, format!("bytes {first}-{last}/{}", served.total)));
            StatusCode::PARTIAL_CONTENT
        }
    };
    let mut response = Response::new(Body::from_stream(served.stream));
    *response.status_mut() = status;
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// `{caller's number}_{2026-11-23_14-05-09}.wav`, in the zone of the box.
fn file_name(message: &Message, zone: Option<&str>, attachment: &str) -> String {
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

/// The range that the call asks for of the content that `etag` names.
fn range(call: &Call, etag: &str) -> Option<ByteRange> {
    let condition =
        call.headers.get(IF_RANGE).map(|condition| condition.as_bytes() == format!("\"{etag}\"").as_bytes());
    if condition == Some(false) {
        return None;
    }
    let mut lines = call.headers.get_all(RANGE).into_iter();
    match (lines.next(), lines.next()) {
        (Some(line), None) => line.to_str().ok().and_then(read_range),
        _ => None,
    }
}

/// A single range of bytes; none for several, and for what cannot be read as one.
fn read_range(text: &str) -> Option<ByteRange> {
    let (unit, range) = text.split_once('=')?;
    let (first, last) = range.trim().split_once('-')?;
    // A number with more digits than we count to lies behind every end.
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse().unwrap_or(u64::MAX))
    };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    match (first.trim(), last.trim()) {
        ("", last) => number(last).map(ByteRange::Last),
        (first, "") => number(first).map(ByteRange::From),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(ByteRange::FromTo(first, last))
        }
    }
}

/// `PUT …/raw`: other audio for the message.
pub async fn upload(app: Arc<App>, mut call: Call) -> Result<Reply, Fault> {
    let mailbox: Mailbox = in_path(&app, &call).await?;
    let upload = Upload::open(&app, &mut call)?;
    let account = call.account()?;
    let message = messages::get(&app, account, &mailbox, call.param("message")).await?;
    messages::refuse_past_retention(&app, &message)?;
    let no_file = || Error::invalid("file", "required", "send the audio as the body, or as a part of a multipart body");
    let mut upload = upload.ok_or_else(no_file)?;
    let file = upload.file(Group::Sound).await?;
    let sound =
        Sound { content_type: &file.content_type, file_name: Some(&file.name), limit: app.config.api.max_upload_size };
    let audio = messages::receive(&app, account, &mailbox, sound, file.stream).await?;
    upload.finish().await?;
    let message = messages::replace_audio(&app, &message, audio).await?;
    Ok(Reply::created(message.metadata(&app)).revision(&message.document.revision))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_is_read_and_everything_else_is_not() {
        let read = |text| read_range(text).map(|range| format!("{range:?}"));
        for (text, wanted) in [
            ("bytes=0-3", "FromTo(0, 3)"),
            ("Bytes = 5-", "From(5)"),
            ("bytes=-7", "Last(7)"),
            ("bytes=99999999999999999999-", "From(18446744073709551615)"),
        ] {
            assert_eq!(read(text).as_deref(), Some(wanted), "{text}");
        }
        for text in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=5-4",
            "bytes=0-1,3-4",
            "bytes=a-b",
            "bytes=+1-2",
            "lines=0-1",
            "bytes=0--1",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}

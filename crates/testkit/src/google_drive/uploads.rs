//! Uploads: in one request, and in pieces by the address of a session.

use std::collections::BTreeMap;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Response};
use serde_json::{Value, json};

use super::fields::said_in;
use super::{State, about, refused, shown};
use crate::answers::{failed, with_headers};
use crate::http_store::parts_in_lines;
use crate::wire::Error;

/// An upload in pieces.
#[derive(Debug, Clone)]
pub(super) struct Session {
    about: Value,
    overwrites: Option<String>,
    fields: String,
    bytes: Vec<u8>,
}

pub(super) fn upload(
    state: &mut State,
    headers: &HeaderMap,
    query: &BTreeMap<String, String>,
    overwrites: Option<String>,
    body: &Bytes,
) -> Result<Response<Body>, Error> {
    let content_type = headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let get = |name: &str| query.get(name).map(String::as_str).unwrap_or_default();
    let (about, bytes) = match get("uploadType") {
        "media" => (json!({"mimeType": content_type}), body.clone()),
        // Google's own client ends lines as Unix does.
        "multipart" => match ["\r\n", "\n"].iter().find_map(|end| parts_in_lines(content_type, body, end)).as_deref() {
            Some([first, second]) => (typed(about(&first.body), &second.content_type), second.body.clone()),
            _ => return refused((400, "badContent", "Malformed multipart body.".to_owned())),
        },
        "resumable" => {
            let id = format!("session-{}", state.next());
            // Refused at once where it would be refused in the end.
            if overwrites.is_none() && about(body)["id"].as_str().is_some_and(|id| state.files.contains_key(id)) {
                return refused((409, "fileIdInUse", "A file already exists with the provided ID.".to_owned()));
            }
            let told = headers.get("x-upload-content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
            let about = typed(about(body), told);
            let session = Session { about, overwrites, fields: get("fields").to_owned(), bytes: Vec::new() };
            state.sessions.insert(id.clone(), session);
            let host = headers.get("host").and_then(|host| host.to_str().ok()).unwrap_or_default();
            let location = format!("http://{host}/upload/drive/v3/files?uploadType=resumable&upload_id={id}");
            return with_headers(200, &[("location", &location)]);
        }
        _ => return refused((400, "badRequest", "Unknown upload type.".to_owned())),
    };
    finish(state, overwrites.as_deref(), &about, bytes, get("fields"))
}

/// What a file is said to be, with the media type of its bytes where it is not said.
fn typed(mut about: Value, content_type: &str) -> Value {
    if about["mimeType"].is_null() && !content_type.is_empty() {
        about["mimeType"] = content_type.into();
    }
    about
}

fn finish(
    state: &mut State,
    overwrites: Option<&str>,
    about: &Value,
    bytes: Bytes,
    fields: &str,
) -> Result<Response<Body>, Error> {
    let stored = match overwrites {
        Some(id) => state.change(id, about, Some(bytes)),
        None => state.create(about, bytes),
    };
    match stored {
        Ok(file) => said_in(fields, shown(&file)),
        Err(error) => refused(error),
    }
}

/// A piece of an upload: `bytes 0-9/100`, or the question how far it is: `bytes */100`.
pub(super) fn piece(state: &mut State, id: &str, headers: &HeaderMap, body: &Bytes) -> Result<Response<Body>, Error> {
    let Some(mut session) = state.sessions.get(id).cloned() else { return failed(404) };
    let range = headers.get("content-range").and_then(|range| range.to_str().ok()).unwrap_or("bytes 0-0/*");
    let (part, total) = range.trim_start_matches("bytes ").split_once('/').unwrap_or(("*", "*"));
    if let Some((first, _)) = part.split_once('-') {
        if first.parse() != Ok(session.bytes.len()) {
            return refused((400, "badRequest", "The piece does not follow the one before.".to_owned()));
        }
        if total.parse().is_ok_and(|total: usize| session.bytes.len() + body.len() < total)
            && !body.len().is_multiple_of(256 << 10)
        {
            return refused((400, "badRequest", "A piece is a multiple of 256 KiB.".to_owned()));
        }
        session.bytes.extend_from_slice(body);
        state.sessions.insert(id.to_owned(), session.clone());
    }
    if total.parse() == Ok(session.bytes.len()) {
        state.sessions.remove(id);
        return finish(state, session.overwrites.as_deref(), &session.about, session.bytes.into(), &session.fields);
    }
    match session.bytes.len() {
        0 => failed(308),
        reached => with_headers(308, &[("range", &format!("bytes=0-{}", reached - 1))]),
    }
}

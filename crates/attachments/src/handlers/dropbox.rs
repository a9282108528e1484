//! `dropbox`: a person's Dropbox, by a consent.
//!
//! A put adds and never replaces. When the path is taken already, what lies there is compared with the payload by Dropbox's own digest: the
//! same is the success of an earlier attempt, anything else is a conflict. What was stored is compared with what was sent by the same digest
//! ([`content_hash`]), and where a put has left other bytes than ours, it takes them away again. A payload that is very large goes in pieces, in
//! a session that goes on where it broke. Folders come into being with the paths. A receipt keeps the file's id, so a file that its owner
//! moves is still found.

use std::sync::Arc;

use async_trait::async_trait;
use http::{HeaderName, HeaderValue, Method, header};
use outbound::{Body as Sent, Request};
use serde_json::{Map, Value, json};
use url::Url;

use self::content_hash::ContentHash;
use crate::Handler;
use crate::asking::{Answer, Refusal};
use crate::bearer::Bearer;
use crate::body::{Body, ByteRange};
use crate::error::{Error, ErrorKind, Operation};
use crate::location::Location;
use crate::payload::{Payload, PutKey};
use crate::receipt::{Assurance, Receipt};
use crate::settings::Settings;
use crate::ways::Ways;

mod content_hash;

const SCOPE: &str = "files.content.write files.content.read files.metadata.read";
const API: &str = "https://api.dropboxapi.com";
const CONTENT: &str = "https://content.dropboxapi.com";
const ARGUMENTS: HeaderName = HeaderName::from_static("dropbox-api-arg");
const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");
/// What is larger is looked for before it is sent: an earlier attempt may have stored it.
const LOOKED_FOR: u64 = 48 << 20;
/// What is larger goes in pieces and goes on where it broke; what is not begins anew. Dropbox takes half as much again in a request.
const ONE_REQUEST: u64 = 100 << 20;
/// The size of a piece: a third of what one request may have.
const PIECE: u64 = 48 << 20;

/// Opens a Dropbox. Asks nobody.
pub(crate) fn open(settings: &Map<String, Value>, ways: &Ways) -> Result<Arc<dyn Handler>, Error> {
    let destination = destination(settings);
    let settings = Settings(settings);
    let (api, content) = roots(settings)?;
    let bearer = Bearer::by_consent(ways, settings.required("oauth_doc_id")?, SCOPE);
    Ok(Arc::new(Dropbox { bearer, api, content, destination }))
}

/// The Dropbox that the consent opens.
pub(crate) fn destination(settings: &Map<String, Value>) -> String {
    let settings = Settings(settings);
    let (api, consent) = (roots(settings).unwrap_or_default().0, settings.text("oauth_doc_id").ok().flatten());
    format!("{api}/{}", consent.unwrap_or_default())
}

fn roots(settings: Settings<'_>) -> Result<(String, String), Error> {
    Ok((settings.root("base_url", API)?, settings.root("base_url", CONTENT)?))
}

struct Dropbox {
    bearer: Bearer,
    api: String,
    content: String,
    destination: String,
}

impl std::fmt::Debug for Dropbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Dropbox({})", self.destination)
    }
}

#[async_trait]
impl Handler for Dropbox {
    async fn put(&self, location: &Location, payload: &Payload, _: &PutKey) -> Result<Receipt, Error> {
        let path = path(location)?;
        let stored = self.store(&path, &ContentHash::of(payload)).await?;
        let receipt = Receipt::of("dropbox", self.destination.clone(), location, payload, Assurance::Checksum);
        let text = |field: &str| stored[field].as_str().map(str::to_owned);
        Ok(Receipt { id: text("id"), version: text("rev"), ..receipt })
    }

    async fn fetch(&self, receipt: &Receipt, range: Option<ByteRange>, _: &Value) -> Result<Body, Error> {
        let url = url(&self.content, "files/download")?;
        let arguments = arguments(&json!({"path": named(receipt)?}))?;
        let range = range.map(|range| range.counted(receipt.length)).transpose()?;
        let request = || {
            let mut request = Request::new(Method::POST, url.clone());
            request.headers.insert(ARGUMENTS, arguments.clone());
            request.headers.insert(header::CONTENT_TYPE, OCTETS);
            if let Some(range) = range {
                range.ask(&mut request.headers);
            }
            request
        };
        let body = self.ask(Operation::Fetch, &request).await?.body(range, receipt.length)?;
        // Of media types Dropbox knows nothing.
        Ok(Body { content_type: Some(receipt.content_type.clone()), ..body })
    }

    async fn delete(&self, receipt: &Receipt) -> Result<(), Error> {
        match self.call(Operation::Delete, "files/delete_v2", &json!({"path": named(receipt)?})).await {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// A file's id, which it keeps wherever it is moved, or its path.
fn named(receipt: &Receipt) -> Result<String, Error> {
    receipt.id.clone().map_or_else(|| path(&receipt.location), Ok)
}

fn path(location: &Location) -> Result<String, Error> {
    let path = location.as_str().trim_start_matches('/');
    let names = path.split('/').all(|part| !part.is_empty() && part.chars().count() <= 255);
    if !names || path.contains('\\') {
        return Err(Error::new(Operation::Locate, ErrorKind::Invalid, "Dropbox takes no such path"));
    }
    Ok(format!("/{path}"))
}

fn url(root: &str, function: &str) -> Result<Url, Error> {
    let unfit = |_| Error::new(Operation::Locate, ErrorKind::Misconfigured, "base_url makes no URL");
    Url::parse(&format!("{root}/2/{function}")).map_err(unfit)
}

/// Arguments in a header: JSON in which whatever is not ASCII is escaped.
fn arguments(value: &Value) -> Result<HeaderValue, Error> {
    let mut ascii = String::new();
    for character in value.to_string().chars() {
        match character {
            ' '..='~' => ascii.push(character),
            _ => character.encode_utf16(&mut [0; 2]).iter().for_each(|unit| ascii.push_str(&format!("\\u{unit:04x}"))),
        }
    }
    let unfit = |_| Error::new(Operation::Locate, ErrorKind::Invalid, "the location fits in no header");
    HeaderValue::from_str(&ascii).map_err(unfit)
}

fn taken() -> Error {
    Error::new(Operation::Put, ErrorKind::Conflict, "another file has this path")
}

/// Where and how a file is to be stored.
fn commit(path: &str) -> Value {
    json!({"path": path, "mode": "add", "autorename": false, "mute": true, "strict_conflict": false})
}

impl Dropbox {
    async fn ask(&self, operation: Operation, request: &(dyn Fn() -> Request + Send + Sync)) -> Result<Answer, Error> {
        self.bearer.ask(operation, request).await?.map_err(|refusal| refused(&refusal))
    }

    /// A function whose arguments and answer are JSON.
    async fn call(&self, operation: Operation, function: &str, arguments: &Value) -> Result<Value, Error> {
        let url = url(&self.api, function)?;
        let request = || {
            let mut request = Request::new(Method::POST, url.clone());
            request.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            request.body = Sent::Bytes(arguments.to_string().into());
            request
        };
        self.ask(operation, &request).await?.json().await
    }

    /// A function that takes bytes.
    async fn send(
        &self,
        function: &str,
        about: &Value,
        body: &(dyn Fn() -> Sent + Send + Sync),
    ) -> Result<Value, Error> {
        let (url, arguments) = (url(&self.content, function)?, arguments(about)?);
        let request = || {
            let mut request = Request::new(Method::POST, url.clone());
            request.headers.insert(ARGUMENTS, arguments.clone());
            request.headers.insert(header::CONTENT_TYPE, OCTETS);
            request.body = body();
            request
        };
        self.ask(Operation::Put, &request).await?.json().await
    }

    /// Puts a payload there; what Dropbox says of it, which is proved.
    async fn store(&self, path: &str, hash: &ContentHash) -> Result<Value, Error> {
        let length = hash.length();
        if length > LOOKED_FOR {
            match self.look(path, hash).await? {
                Look::Same(stored) => return Ok(stored),
                Look::Other(_) => return Err(taken()),
                Look::Absent => {}
            }
        }
        let sent = match length > ONE_REQUEST {
            true => self.put_in_pieces(path, hash).await,
            false => self.put_whole(path, hash).await,
        };
        match sent {
            Ok(told) => self.prove(path, hash, told).await,
            Err(failed) => self.earlier(path, hash, failed).await,
        }
    }

    async fn put_whole(&self, path: &str, hash: &ContentHash) -> Result<Value, Error> {
        let mut about = commit(path);
        // Who knows it beforehand has other bytes refused, and not stored.
        if let Some(digest) = hash.known() {
            about["content_hash"] = digest.into();
        }
        let body = || Sent::Stream { length: hash.length(), stream: hash.open(0..hash.length()) };
        self.send("files/upload", &about, &body).await
    }

    async fn put_in_pieces(&self, path: &str, hash: &ContentHash) -> Result<Value, Error> {
        let opened = self.send("files/upload_session/start", &json!({"close": false}), &|| Sent::Empty).await?;
        let nameless = || Error::mismatch("the destination opened a session without an id");
        let session = opened["session_id"].as_str().ok_or_else(nameless)?;
        let cursor = |offset: u64| json!({"session_id": session, "offset": offset});
        let (mut at, length) = (0, hash.length());
        while at < length {
            let end = length.min(at + PIECE);
            let body = || Sent::Stream { length: end - at, stream: hash.open(at..end) };
            let about = json!({"cursor": cursor(at), "close": false});
            at = match self.send("files/upload_session/append_v2", &about, &body).await {
                Ok(_) => end,
                Err(error) if error.kind() == ErrorKind::Interrupted => match self.reached(&cursor(at)).await {
                    // Further than before: what was broken was the way, and it goes on.
                    Some(reached) if reached > at && reached <= length => reached,
                    _ => return Err(error),
                },
                Err(error) => return Err(error),
            };
        }
        let about = json!({"cursor": cursor(at), "commit": commit(path)});
        self.send("files/upload_session/finish", &about, &|| Sent::Empty).await
    }

    /// How far a session is, if it is further than `cursor`: asked by appending nothing there.
    async fn reached(&self, cursor: &Value) -> Option<u64> {
        let about = json!({"cursor": cursor, "close": false});
        let error = self.send("files/upload_session/append_v2", &about, &|| Sent::Empty).await.err()?;
        let told: Value = serde_json::from_str(error.exchange()?.body.as_deref()?).ok()?;
        told["error"]["correct_offset"].as_u64()
    }

    /// Whether a put that was answered well has stored our bytes; what Dropbox says of them.
    async fn prove(&self, path: &str, hash: &ContentHash, told: Value) -> Result<Value, Error> {
        if is_same(&told, hash).await? {
            return Ok(told);
        }
        match self.look(path, hash).await? {
            Look::Same(stored) => Ok(stored),
            Look::Absent => Err(Error::mismatch("the destination said yes and stored nothing")),
            Look::Other(there) => {
                self.take_away(path, &there, &told).await;
                Err(Error::mismatch("the destination stored other bytes"))
            }
        }
    }

    /// Removes other bytes that our own put has left, so that they are not in the way of the next: that revision and no other. Where that fails they
    /// are a conflict.
    async fn take_away(&self, path: &str, there: &Value, told: &Value) {
        if let Some(rev) = there["rev"].as_str().filter(|rev| told["rev"].as_str() == Some(rev)) {
            let _ = self.call(Operation::Put, "files/delete_v2", &json!({"path": path, "parent_rev": rev})).await;
        }
    }

    /// A put failed: the payload as it, or an attempt before it, left it all the same; else why it failed.
    async fn earlier(&self, path: &str, hash: &ContentHash, failed: Error) -> Result<Value, Error> {
        if !matches!(failed.kind(), ErrorKind::Conflict | ErrorKind::Interrupted) {
            return Err(failed);
        }
        match self.look(path, hash).await {
            Ok(Look::Same(stored)) => Ok(stored),
            Ok(Look::Other(_)) => Err(taken()),
            // Just being written, or just removed; or we may not look: another time will tell.
            Ok(Look::Absent) | Err(_) => Err(failed),
        }
    }

    async fn look(&self, path: &str, hash: &ContentHash) -> Result<Look, Error> {
        match self.call(Operation::Put, "files/get_metadata", &json!({"path": path})).await {
            Ok(stored) if is_same(&stored, hash).await? => Ok(Look::Same(stored)),
            Ok(stored) => Ok(Look::Other(stored)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Look::Absent),
            Err(error) => Err(error),
        }
    }
}

/// What lies at a path.
enum Look {
    Same(Value),
    Other(Value),
    Absent,
}

/// Whether a file has our bytes, by what Dropbox says of it. Of another length nothing is read.
async fn is_same(file: &Value, hash: &ContentHash) -> Result<bool, Error> {
    let Some(told) = file["content_hash"].as_str() else { return Ok(false) };
    if file["size"].as_u64().is_some_and(|size| size != hash.length()) {
        return Ok(false);
    }
    Ok(told == hash.digest().await.map_err(Error::unreadable)?)
}

fn refused(refusal: &Refusal) -> Error {
    let answer = refusal.json();
    let summary = answer["error_summary"].as_str().map(|text| text.trim_end_matches(['.', '/']).to_owned());
    let kind = kind(refusal, summary.as_deref());
    // Without a summary the answer is a sentence.
    let words = std::str::from_utf8(&refusal.body).ok().filter(|text| answer.is_null() && !text.trim().is_empty());
    let message = summary.clone().or(words.map(|text| text.trim().to_owned()));
    refusal.error(kind, summary, message)
}

/// The kind of a refusal. A 409 is any failure of a function: its words tell which.
fn kind(refusal: &Refusal, summary: Option<&str>) -> ErrorKind {
    let says = |word: &str| summary.is_some_and(|summary| summary.contains(word));
    match refusal.status.as_u16() {
        409 if says("too_many_write_operations") || says("too_many_requests") => ErrorKind::Throttled,
        409 if says("insufficient_space") => ErrorKind::Full,
        409 if says("not_found") => ErrorKind::NotFound,
        409 if says("content_hash_mismatch") => ErrorKind::Mismatch,
        409 if says("conflict") || says("incorrect_offset") => ErrorKind::Conflict,
        409 if says("no_write_permission") || says("access_restricted") || says("team_folder") => ErrorKind::Refused,
        409 => ErrorKind::Rejected,
        _ => ErrorKind::of_status(refusal.status),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_ascii() {
        let value = arguments(&json!({"path": "/grüße 🎙\u{7f}"})).unwrap();
        assert_eq!(value, r#"{"path":"/gr\u00fc\u00dfe \ud83c\udf99\u007f"}"#);
        let read: Value = serde_json::from_str(value.to_str().unwrap()).unwrap();
        assert_eq!(read["path"], "/grüße 🎙\u{7f}");
    }
}

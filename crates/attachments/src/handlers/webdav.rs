//! `webdav`: a folder on a server that speaks WebDAV: Nextcloud, ownCloud, Apache, nginx, a NAS.
//!
//! A put sends the payload under a temporary name, looks at what arrived, and moves it to its place with `Overwrite: F`, which never
//! replaces. Folders are made where the server misses them. Redirects are not followed: of a URL that moved, the settings should know.
//!
//! How sure a put is: over https the length, since nothing can change the bytes on the way; over http they are read back. `read_back` says
//! otherwise.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use ::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt};
use outbound::{Client, Request, Response};
use serde_json::{Map, Value};
use url::Url;

use self::address::Base;
use crate::Handler;
use crate::body::{Body, ByteRange, content_range};
use crate::error::{Error, ErrorKind, Operation};
use crate::location::Location;
use crate::payload::{Payload, PutKey};
use crate::receipt::{Assurance, Receipt};
use crate::settings::Settings;
use crate::unfinished::{self, Place};
use crate::ways::Ways;

mod address;

/// Above this a payload is not sent before it is known that it can stay.
const LARGE: u64 = 1 << 20;
/// Bytes of an answer that are read, so that its connection can be used again.
const ANSWER: usize = 64 << 10;
/// Folders that are remembered as made.
const REMEMBERED: usize = 4096;

const DESTINATION: HeaderName = HeaderName::from_static("destination");
const OVERWRITE: HeaderName = HeaderName::from_static("overwrite");

/// Opens a folder. Asks nobody.
pub(crate) fn open(settings: &Map<String, Value>, ways: &Ways) -> Result<Arc<dyn Handler>, Error> {
    let base = Base::read(settings)?;
    let read_back = Settings(settings).choice("read_back")?.unwrap_or(!base.is_encrypted());
    Ok(Arc::new(Webdav { client: ways.client.clone(), base, read_back, made: Mutex::default() }))
}

/// Origin and path of the folder.
pub(crate) fn destination(settings: &Map<String, Value>) -> String {
    Base::read(settings).map(|base| base.identity()).unwrap_or_default()
}

struct Webdav {
    client: Client,
    base: Base,
    read_back: bool,
    /// Folders that are there, as far as we know.
    made: Mutex<HashSet<String>>,
}

impl std::fmt::Debug for Webdav {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Webdav({})", self.base.identity())
    }
}

#[async_trait]
impl Handler for Webdav {
    async fn put(&self, location: &Location, payload: &Payload, _: &PutKey) -> Result<Receipt, Error> {
        let place = Place::of(location)?;
        let receipt = |assurance| Receipt::of("webdav", self.base.identity(), location, payload, assurance);
        let (url, unfinished) = (self.base.join(&place.path())?, self.base.join(&place.unfinished(payload))?);
        if payload.length > LARGE {
            if self.holds(&url, payload).await? {
                return Ok(receipt(Assurance::ReadBack));
            }
            self.make_folders(&place).await?;
        }
        match self.send(&unfinished, payload).await {
            Err(error) if may_miss_a_folder(&error) => {
                self.made.lock().unwrap_or_else(PoisonError::into_inner).clear();
                if !self.make_folders(&place).await? {
                    return Err(error);
                }
                self.send(&unfinished, payload).await?;
            }
            sent => sent?,
        }
        let assurance = match self.check(&unfinished, payload).await {
            Ok(assurance) => assurance,
            Err(error) => {
                let _ =
                    self.ask(Operation::Put, Method::DELETE, unfinished, HeaderMap::new(), outbound::Body::Empty).await;
                return Err(error);
            }
        };
        match self.rename(&unfinished, &url).await {
            Ok(()) => Ok(receipt(assurance)),
            // The name is taken, or another attempt took the temporary name along.
            Err(error) if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::NotFound) => {
                let held = self.holds(&url, payload).await;
                let _ =
                    self.ask(Operation::Put, Method::DELETE, unfinished, HeaderMap::new(), outbound::Body::Empty).await;
                match held? {
                    true => Ok(receipt(Assurance::ReadBack)),
                    false => Err(error),
                }
            }
            Err(error) => Err(error),
        }
    }

    async fn fetch(&self, receipt: &Receipt, range: Option<ByteRange>, _: &Value) -> Result<Body, Error> {
        let url = self.base.join(&Place::of(&receipt.location)?.path())?;
        let body = self.get(Operation::Fetch, &url, range).await?;
        let body = Body { content_type: Some(receipt.content_type.clone()), ..body };
        match range {
            Some(range) if body.range.is_none() => body.cut(range, receipt.length),
            _ => Ok(body),
        }
    }

    async fn delete(&self, receipt: &Receipt) -> Result<(), Error> {
        let url = self.base.join(&Place::of(&receipt.location)?.path())?;
        match self.ask(Operation::Delete, Method::DELETE, url, HeaderMap::new(), outbound::Body::Empty).await {
            Ok(response) => {
                let _ = response.bytes(ANSWER).await;
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Webdav {
    /// Sends the payload to a URL.
    async fn send(&self, url: &Url, payload: &Payload) -> Result<(), Error> {
        let body = outbound::Body::Stream { length: payload.length, stream: payload.open(None) };
        let mut headers = HeaderMap::new();
        let content_type = HeaderValue::from_str(&payload.content_type);
        headers
            .insert(header::CONTENT_TYPE, content_type.unwrap_or(HeaderValue::from_static("application/octet-stream")));
        let response = self.ask(Operation::Put, Method::PUT, url.clone(), headers, body).await?;
        let _ = response.bytes(ANSWER).await;
        Ok(())
    }

    /// Looks at what arrived under the temporary name.
    async fn check(&self, url: &Url, payload: &Payload) -> Result<Assurance, Error> {
        let nothing = || Error::mismatch("the destination said yes and stored nothing");
        let found = |error: Error| if error.kind() == ErrorKind::NotFound { nothing() } else { error };
        if !self.read_back {
            let length = self.length(url).await.map_err(found)?;
            match length {
                Some(length) if length == payload.length => return Ok(Assurance::Length),
                Some(_) => return Err(Error::mismatch("the destination has another length than it was given")),
                // Some say no length unless they are asked for the bytes.
                None => {}
            }
        }
        let body = self.get(Operation::Put, url, None).await.map_err(found)?;
        match unfinished::is(payload, body.stream).await? {
            true => Ok(Assurance::ReadBack),
            false => Err(Error::mismatch("the destination gives other bytes than it was given")),
        }
    }

    /// Whether the payload is there already. Something else there is a conflict.
    async fn holds(&self, url: &Url, payload: &Payload) -> Result<bool, Error> {
        match self.length(url).await {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
            Ok(Some(length)) if length != payload.length => return Err(unfinished::taken()),
            Ok(_) => {}
        }
        let body = self.get(Operation::Put, url, None).await?;
        match unfinished::is(payload, body.stream).await? {
            true => Ok(true),
            false => Err(unfinished::taken()),
        }
    }

    async fn length(&self, url: &Url) -> Result<Option<u64>, Error> {
        let asked = self.ask(Operation::Put, Method::HEAD, url.clone(), HeaderMap::new(), outbound::Body::Empty);
        Ok(asked.await?.header(header::CONTENT_LENGTH).and_then(|length| length.parse().ok()))
    }

    async fn get(&self, operation: Operation, url: &Url, range: Option<ByteRange>) -> Result<Body, Error> {
        let mut headers = HeaderMap::new();
        if let Some(range) = range {
            range.ask(&mut headers);
        }
        let response = self.ask(operation, Method::GET, url.clone(), headers, outbound::Body::Empty).await?;
        let part = response.status() == StatusCode::PARTIAL_CONTENT;
        let served = response.header(header::CONTENT_RANGE).and_then(content_range).filter(|_| part);
        if part && (served.is_none() || range.is_none()) {
            return Err(Error::new(operation, ErrorKind::Rejected, "a part, and nobody says which"));
        }
        let (range, total) = match served {
            Some((range, total)) => (Some(range), total),
            None => (None, response.content_length()),
        };
        let from = url.clone();
        let stream = response.stream().map_err(move |error| Error::on_the_way(operation, &from, error)).boxed();
        Ok(Body { content_type: None, total, range, stream })
    }

    async fn rename(&self, from: &Url, to: &Url) -> Result<(), Error> {
        let mut headers = HeaderMap::new();
        let target = HeaderValue::from_str(to.as_str());
        headers.extend(target.ok().map(|target| (DESTINATION, target)));
        headers.insert(OVERWRITE, HeaderValue::from_static("F"));
        let moved = Method::from_bytes(b"MOVE").unwrap_or_default();
        let response = self.ask(Operation::Put, moved, from.clone(), headers, outbound::Body::Empty).await?;
        let _ = response.bytes(ANSWER).await;
        Ok(())
    }

    /// Makes the folders of a place, those that are missing. False when none was.
    async fn make_folders(&self, place: &Place) -> Result<bool, Error> {
        let Some(last) = place.folder_paths().last() else { return Ok(false) };
        if self.made.lock().unwrap_or_else(PoisonError::into_inner).contains(&last) {
            return Ok(false);
        }
        // Mostly only the last is missing.
        let found = self.make_folder(&last).await?;
        if found == Found::NothingAbove {
            for folder in place.folder_paths() {
                self.make_folder(&folder).await?;
            }
        }
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if made.len() >= REMEMBERED {
            made.clear();
        }
        made.insert(last);
        Ok(found != Found::Folder)
    }

    async fn make_folder(&self, path: &str) -> Result<Found, Error> {
        let make = Method::from_bytes(b"MKCOL").unwrap_or_default();
        let url = self.base.join(&format!("{path}/"))?;
        match self.ask(Operation::Put, make, url, HeaderMap::new(), outbound::Body::Empty).await {
            Ok(response) => {
                let _ = response.bytes(ANSWER).await;
                Ok(Found::Nothing)
            }
            Err(error) => match error.exchange().and_then(|exchange| exchange.status) {
                Some(405) => Ok(Found::Folder),
                Some(404 | 409) => Ok(Found::NothingAbove),
                _ => Err(error),
            },
        }
    }

    /// Asks, and gives back a good answer (2xx).
    async fn ask(
        &self,
        operation: Operation,
        method: Method,
        url: Url,
        mut headers: HeaderMap,
        body: outbound::Body,
    ) -> Result<Response, Error> {
        headers.extend(self.base.authorization().map(|value| (header::AUTHORIZATION, value)));
        // A server may say no before it has read a body, and close: nothing after an upload should meet that connection.
        let fresh = method.as_str() == "MKCOL";
        let request = Request { method, url: url.clone(), headers, body, fresh };
        let response = self.client.send(request).await.map_err(|error| Error::on_the_way(operation, &url, error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.bytes(ANSWER).await.unwrap_or_default();
        let error = Error::answered(operation, ErrorKind::of_status(status), &url, status, &headers, &body);
        Err(match status.as_u16() {
            401 | 403 => error.because("check username and password, and the rights below url"),
            301 | 302 | 307 | 308 => error.because("the server lives at another URL: put that into url"),
            405 | 501 => error.because("url leads to no folder of a WebDAV server"),
            _ => error,
        })
    }
}

/// What was where a folder was to be made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    /// Nothing, and now the folder.
    Nothing,
    Folder,
    /// Not even the folder above.
    NothingAbove,
}

/// Whether an upload was perhaps refused because its folder is missing: 409 by the book, 404 by some, 500 by nginx.
fn may_miss_a_folder(error: &Error) -> bool {
    matches!(error.exchange().and_then(|exchange| exchange.status), Some(404 | 409 | 500))
}

//! `http`: any web server that takes files.
//!
//! A put is one request to the configured URL with the location after it: the bytes as they are, or a form with the document beside them. A
//! fetch is a GET of the same URL with the document's metadata as query. Nothing is known of the server but its answers: there is no
//! condition, so a put is *at least once*, and the only proof is to read back, where the path is the attachment's own.
//!
//! 301 and 302 are followed, with the same method and body; 307 and 308 are errors.

use std::sync::Arc;

use ::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt, stream};
use outbound::{Client, Request, Response, Trail};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use url::Url;

use self::address::{Base, path_is_unique, url_is_unique, with_metadata};
use self::form::{Form, plain};
use crate::Handler;
use crate::body::{Body, ByteRange, content_range};
use crate::error::{Error, ErrorKind, Operation};
use crate::location::Location;
use crate::payload::{Payload, PutKey};
use crate::receipt::{Assurance, Receipt};
use crate::settings::{Settings, wrong};
use crate::ways::Ways;

mod address;
mod base64;
mod form;

/// Bytes of an answer to an upload that are read, so that its connection can be used again.
const ANSWER: usize = 64 << 10;

/// Opens a web server. Asks nobody.
pub(crate) fn open(settings: &Map<String, Value>, ways: &Ways) -> Result<Arc<dyn Handler>, Error> {
    let base = Base::read(settings)?;
    let settings = Settings(settings);
    let verb = match settings.text("verb")?.map(str::to_ascii_lowercase).as_deref() {
        None | Some("put") => Method::PUT,
        Some("post") => Method::POST,
        Some(_) => return Err(wrong("verb", "is neither put nor post")),
    };
    let form = settings.flag("send_multipart")?;
    // Kazoo's rule: without a form the option is without effect.
    let base64 = form && settings.flag("base64_encode_data")?;
    Ok(Arc::new(Http { client: ways.client.clone(), base, verb, form, base64 }))
}

/// Origin and path; whatever the settings are, never a user or a query.
pub(crate) fn destination(settings: &Map<String, Value>) -> String {
    Base::read(settings).map(|base| base.identity()).unwrap_or_default()
}

struct Http {
    client: Client,
    base: Base,
    verb: Method,
    form: bool,
    base64: bool,
}

impl std::fmt::Debug for Http {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Http({} {})", self.verb, self.base.identity())
    }
}

#[async_trait]
impl Handler for Http {
    async fn put(&self, location: &Location, payload: &Payload, key: &PutKey) -> Result<Receipt, Error> {
        let url = self.base.join(location)?;
        let form = self.form.then(|| Form::new(payload, key, self.base64));
        let content_type = form.as_ref().map_or_else(|| payload.content_type.clone(), Form::content_type);
        let mut headers = HeaderMap::new();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_str(&content_type).unwrap_or(HeaderValue::from_static("application/octet-stream")),
        );
        let body = || form.as_ref().map_or_else(|| plain(payload), |form| form.body(payload));
        let (trail, response) = self.ask(Operation::Put, self.verb.clone(), url.clone(), headers, &body).await?;
        let etag = response.header(header::ETAG).map(|tag| tag.trim_start_matches("W/").trim_matches('"').to_owned());
        // Its text says nothing to us; read, it frees the connection.
        let _ = response.bytes(ANSWER).await;
        let arrived = trail.current();
        let receipt = Receipt {
            handler: "http".into(),
            location: location.clone(),
            destination: self.base.identity(),
            length: payload.length,
            content_type: payload.content_type.clone(),
            sha256: hex::encode(payload.sha256),
            etag,
            version: None,
            id: None,
            assurance: Assurance::Acknowledged,
            base64: self.base64,
            // A query there may be a pass for one upload: then the object is asked for where it was sent.
            moved_to: (trail.moved() && arrived.query().is_none()).then(|| outbound::redact(arrived)),
            shared: !url_is_unique(&url, key),
        };
        match path_is_unique(&url, key) {
            true => self.read_back(receipt, &key.document).await,
            false => Ok(receipt),
        }
    }

    async fn fetch(&self, receipt: &Receipt, range: Option<ByteRange>, metadata: &Value) -> Result<Body, Error> {
        let url = with_metadata(self.address(receipt)?, metadata);
        let mut headers = HeaderMap::new();
        // What is base64 can only be cut once it is none.
        if let Some(range) = range.filter(|_| !receipt.base64) {
            range.ask(&mut headers);
        }
        let (trail, response) =
            self.ask(Operation::Fetch, Method::GET, url, headers, &|| outbound::Body::Empty).await?;
        let url = trail.current().clone();
        let served = response.header(header::CONTENT_RANGE).and_then(content_range);
        let partial = response.status() == StatusCode::PARTIAL_CONTENT;
        if response.status() != StatusCode::OK && !(partial && served.is_some() && range.is_some()) {
            return Err(refusal(Operation::Fetch, &url, response).await);
        }
        let body = arriving(url, response);
        match (served.filter(|_| partial), range) {
            (Some((served, total)), _) => Ok(Body { total, range: Some(served), ..body }),
            (None, None) => plain_again(body, receipt).await,
            (None, Some(range)) => plain_again(body, receipt).await?.cut(range, receipt.length),
        }
    }

    fn wants_metadata(&self) -> bool {
        true
    }

    async fn delete(&self, receipt: &Receipt) -> Result<(), Error> {
        if receipt.shared {
            tracing::info!(destination = receipt.destination, "an object stays: others may lie under the same name");
            return Ok(());
        }
        let url = self.address(receipt)?;
        let asked = self.ask(Operation::Delete, Method::DELETE, url, HeaderMap::new(), &|| outbound::Body::Empty).await;
        match asked {
            Ok((_, response)) => {
                let _ = response.bytes(ANSWER).await;
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn at_least_once(&self) -> bool {
        true
    }
}

impl Http {
    /// The URL of an object, with the settings of the day.
    fn address(&self, receipt: &Receipt) -> Result<Url, Error> {
        match receipt.moved_to.as_deref().and_then(|to| self.base.moved(to)) {
            Some(url) => Ok(url),
            None => self.base.join(&receipt.location),
        }
    }

    /// Asks, goes where 301 and 302 point, and gives back a good answer (2xx) and the way to it.
    async fn ask(
        &self,
        operation: Operation,
        method: Method,
        url: Url,
        headers: HeaderMap,
        body: &(dyn Fn() -> outbound::Body + Send + Sync),
    ) -> Result<(Trail, Response), Error> {
        let mut trail = Trail::new(url);
        loop {
            let request = Request {
                method: method.clone(),
                url: trail.current().clone(),
                headers: headers.clone(),
                body: body(),
                fresh: trail.moved(),
            };
            let sent = self.client.send(request).await;
            let response = sent.map_err(|error| Error::on_the_way(operation, trail.current(), error))?;
            match response.status() {
                status if status.is_success() => return Ok((trail, response)),
                StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND => {
                    let here = trail.current().clone();
                    trail.follow(response.headers()).map_err(|error| Error::on_the_way(operation, &here, error))?;
                }
                _ => return Err(refusal(operation, trail.current(), response).await),
            }
        }
    }

    /// Compares what the server gives with what it was given. A server that lets nobody look is believed.
    async fn read_back(&self, receipt: Receipt, document: &Value) -> Result<Receipt, Error> {
        let body = match self.fetch(&receipt, None, document).await {
            Ok(body) => body,
            Err(error) => {
                return match error.kind() {
                    ErrorKind::NotFound => Err(Error::mismatch("the destination said yes and stored nothing")),
                    ErrorKind::Refused | ErrorKind::Rejected | ErrorKind::Conflict | ErrorKind::Invalid => Ok(receipt),
                    _ if error.exchange().and_then(|exchange| exchange.status) == Some(501) => Ok(receipt),
                    _ => Err(error),
                };
            }
        };
        let (mut digest, mut stream) = (Sha256::new(), body.stream);
        while let Some(piece) = stream.try_next().await? {
            digest.update(&piece);
        }
        if hex::encode(digest.finalize()) != receipt.sha256 {
            return Err(Error::mismatch("the destination gives other bytes than it was given"));
        }
        Ok(Receipt { assurance: Assurance::ReadBack, ..receipt })
    }
}

async fn refusal(operation: Operation, url: &Url, response: Response) -> Error {
    let (status, headers) = (response.status(), response.headers().clone());
    let body = response.bytes(ANSWER).await.unwrap_or_default();
    Error::answered(operation, ErrorKind::of_status(status), url, status, &headers, &body)
}

fn arriving(url: Url, response: Response) -> Body {
    let content_type = response.header(header::CONTENT_TYPE).map(str::to_owned);
    let total = response.content_length();
    let stream = response.stream().map_err(move |error| Error::on_the_way(Operation::Fetch, &url, error));
    Body { content_type, total, range: None, stream: stream.boxed() }
}

/// The bytes that were stored, where base64 was sent and base64 comes back. A server may have decoded it: what has the right length, or
/// is no base64, is given as it is.
async fn plain_again(body: Body, receipt: &Receipt) -> Result<Body, Error> {
    if !receipt.base64 || body.total == Some(receipt.length) {
        return Ok(body);
    }
    let mut stream = body.stream;
    let first = stream.try_next().await?.unwrap_or_default();
    let is_base64 = base64::may_be(&first);
    let whole = stream::iter([Ok(first)]).chain(stream);
    if !is_base64 {
        return Ok(Body { stream: whole.boxed(), ..body });
    }
    let broken = || Error::new(Operation::Fetch, ErrorKind::Mismatch, "neither what was stored nor its base64");
    Ok(Body { total: Some(receipt.length), stream: base64::decoded(whole, broken).boxed(), ..body })
}

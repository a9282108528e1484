//! `azure`: a container of Azure Blob Storage.
//!
//! A put is one conditional request: it creates and never replaces. When the name is taken already, what lies there is compared with the
//! payload: the same is the success of an earlier attempt, anything else is a conflict. A large payload goes in blocks, of which the
//! service forgets by itself what is never put together.
//!
//! Every request that carries bytes carries their MD5: the service refuses other bytes, and repeats the digest of what it has stored.

use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use outbound::Body as Sent;
use serde_json::{Map, Value};
use url::Url;

use self::wire::{Ask, Container, Wire};
use crate::Handler;
use crate::asking::{Answer, removed};
use crate::body::{Body, ByteRange};
use crate::error::{Error, ErrorKind, Operation};
use crate::location::Location;
use crate::payload::{Payload, PutKey};
use crate::receipt::{Assurance, Receipt};
use crate::settings::Settings;
use crate::ways::Ways;

mod blocks;
mod signature;
mod wire;

/// A payload up to this is read into memory once.
const IN_MEMORY: u64 = 1 << 20;
/// The longest name of a blob, in characters.
const NAME: usize = 1024;

const BLOB_TYPE: HeaderName = HeaderName::from_static("x-ms-blob-type");
const BLOB_CONTENT_TYPE: HeaderName = HeaderName::from_static("x-ms-blob-content-type");
const BLOB_MD5: HeaderName = HeaderName::from_static("x-ms-blob-content-md5");
const CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");
/// Where the payload's digest stands on the blob, in hexadecimal.
const DIGEST: HeaderName = HeaderName::from_static("x-ms-meta-stowline_sha256");

/// Opens a container. Asks nobody.
pub(crate) fn open(settings: &Map<String, Value>, ways: &Ways) -> Result<Arc<dyn Handler>, Error> {
    let redirects = Settings(settings).flag("redirect_reads")?;
    Ok(Arc::new(Azure { wire: Wire::open(settings, ways.client.clone())?, redirects }))
}

/// Where the container is; whatever the settings are, never a credential.
pub(crate) fn destination(settings: &Map<String, Value>) -> String {
    Container::read(settings).map(|container| container.identity()).unwrap_or_default()
}

struct Azure {
    wire: Wire,
    redirects: bool,
}

impl std::fmt::Debug for Azure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Azure({})", self.wire.container().identity())
    }
}

#[async_trait]
impl Handler for Azure {
    async fn put(&self, location: &Location, payload: &Payload, _: &PutKey) -> Result<Receipt, Error> {
        let name = name(location)?;
        let put = match payload.length > blocks::THRESHOLD {
            true => self.put_in_blocks(name, payload).await,
            false => self.put_whole(name, payload).await,
        };
        let evidence = match put {
            Ok(evidence) => evidence,
            Err(error) => self.earlier(name, payload, error).await?,
        };
        let destination = self.wire.container().identity();
        let receipt = Receipt::of("azure", destination, location, payload, evidence.assurance);
        Ok(Receipt { etag: evidence.etag, version: evidence.version, ..receipt })
    }

    async fn fetch(&self, receipt: &Receipt, range: Option<ByteRange>, _: &Value) -> Result<Body, Error> {
        self.get(name(&receipt.location)?, range, receipt.length).await?.body(range, receipt.length)
    }

    async fn presign(&self, receipt: &Receipt, disposition: &str) -> Result<Option<Url>, Error> {
        match self.redirects {
            true => self.wire.presign(name(&receipt.location)?, disposition, &receipt.content_type),
            false => Ok(None),
        }
    }

    async fn delete(&self, receipt: &Receipt) -> Result<(), Error> {
        let ask = Ask::new(Operation::Delete, Method::DELETE, name(&receipt.location)?);
        removed(self.wire.ask(ask).await).await
    }
}

/// The name of a blob: the location, without the slash that an absolute folder begins with.
fn name(location: &Location) -> Result<&str, Error> {
    let name = location.as_str().trim_start_matches('/');
    if name.is_empty() || name.chars().count() > NAME {
        return Err(Error::new(Operation::Locate, ErrorKind::Invalid, "the name of a blob has 1 to 1024 characters"));
    }
    Ok(name)
}

/// What is known of a blob that a put left.
struct Evidence {
    etag: Option<String>,
    version: Option<String>,
    assurance: Assurance,
}

impl Evidence {
    fn of(answer: &Answer, assurance: Assurance) -> Self {
        Self { etag: answer.etag(), version: answer.header("x-ms-version-id").map(str::to_owned), assurance }
    }
}

impl Azure {
    /// Asks for a blob. The service knows no range that counts from the end, so that one is counted here.
    async fn get(&self, name: &str, range: Option<ByteRange>, length: u64) -> Result<Answer, Error> {
        let mut ask = Ask::new(Operation::Fetch, Method::GET, name);
        if let Some(range) = range {
            range.counted(length)?.ask(&mut ask.headers);
        }
        self.wire.ask(ask).await
    }

    async fn put_whole(&self, name: &str, payload: &Payload) -> Result<Evidence, Error> {
        let body = match payload.length <= IN_MEMORY {
            true => {
                let bytes = payload.read().await.map_err(Error::unreadable)?;
                payload.md5_of(&bytes);
                Sent::Bytes(bytes)
            }
            false => Sent::Stream { length: payload.length, stream: payload.open(None) },
        };
        let md5 = md5(payload).await?;
        let mut ask = Ask::new(Operation::Put, Method::PUT, name);
        ask.headers = object_headers(payload);
        ask.headers.insert(BLOB_TYPE, HeaderValue::from_static("BlockBlob"));
        ask.headers.extend(HeaderValue::from_str(&md5).ok().map(|md5| (CONTENT_MD5, md5)));
        ask.body = body;
        let answer = self.wire.ask(ask).await?;
        let confirmed = answer.header(CONTENT_MD5.as_str()) == Some(md5.as_str());
        let evidence = Evidence::of(&answer, Assurance::Checksum);
        answer.pass().await;
        if confirmed { Ok(evidence) } else { self.prove(name, payload).await }
    }

    /// Whether a put that was answered well has stored our bytes.
    async fn prove(&self, name: &str, payload: &Payload) -> Result<Evidence, Error> {
        match self.look(name, payload).await {
            Ok(Look::Same(evidence)) => Ok(evidence),
            Ok(Look::Other) => Err(Error::mismatch("the destination stored other bytes")),
            Ok(Look::Absent) => Err(Error::mismatch("the destination said yes and stored nothing")),
            // A pass that lets us write and not look can only be believed.
            Err(error) if error.kind() == ErrorKind::Refused => {
                Ok(Evidence { etag: None, version: None, assurance: Assurance::Acknowledged })
            }
            Err(error) => Err(error),
        }
    }

    /// A put failed: the payload as it, or an attempt before it, left it all the same; else why it failed.
    async fn earlier(&self, name: &str, payload: &Payload, failed: Error) -> Result<Evidence, Error> {
        if !matches!(failed.kind(), ErrorKind::Conflict | ErrorKind::Interrupted) {
            return Err(failed);
        }
        match self.look(name, payload).await {
            Ok(Look::Same(evidence)) => Ok(evidence),
            Ok(Look::Other) => Err(Error::new(Operation::Put, ErrorKind::Conflict, "another blob has this name")),
            // Just being written, or just removed; or we may not look: another time will tell.
            Ok(Look::Absent) | Err(_) => Err(failed),
        }
    }

    async fn look(&self, name: &str, payload: &Payload) -> Result<Look, Error> {
        let answer = match self.wire.ask(Ask::new(Operation::Put, Method::HEAD, name)).await {
            Ok(answer) => answer,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Look::Absent),
            Err(error) => return Err(error),
        };
        if answer.response.content_length().is_some_and(|length| length != payload.length) {
            return Ok(Look::Other);
        }
        let stored = answer.header(CONTENT_MD5.as_str()).map(str::to_owned);
        let digest = answer.header(DIGEST.as_str()).map(|digest| digest == hex::encode(payload.sha256));
        if let Some(stored) = stored {
            // Of a blob in blocks this was said by whoever put them together, and each block was checked on its way.
            let same = stored == md5(payload).await? && digest != Some(false);
            return Ok(if same { Look::Same(Evidence::of(&answer, Assurance::Checksum)) } else { Look::Other });
        }
        let evidence = Evidence::of(&answer, Assurance::ReadBack);
        let read = self.get(name, None, payload.length).await?.sha256().await?;
        Ok(if read == payload.sha256 { Look::Same(evidence) } else { Look::Other })
    }
}

/// What lies under a name.
enum Look {
    Same(Evidence),
    Other,
    Absent,
}

/// The headers that become the blob's, and the condition that there is none yet.
fn object_headers(payload: &Payload) -> HeaderMap {
    let printable = payload.content_type.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    let content_type = HeaderValue::from_str(payload.content_type.trim());
    let content_type = content_type.ok().filter(|value| printable && !value.is_empty());
    let mut headers = HeaderMap::new();
    headers.insert(BLOB_CONTENT_TYPE, content_type.unwrap_or(HeaderValue::from_static("application/octet-stream")));
    headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static("*"));
    headers.extend(HeaderValue::from_str(&hex::encode(payload.sha256)).ok().map(|digest| (DIGEST, digest)));
    headers
}

async fn md5(payload: &Payload) -> Result<String, Error> {
    payload.md5().await.map(|md5| STANDARD.encode(md5)).map_err(Error::unreadable)
}

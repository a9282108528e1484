//! `s3`: a bucket, at Amazon's or at any server that speaks its protocol.
//!
//! A put is one conditional request: it creates and never replaces. When the name is taken already, what lies there is compared
//! with the payload: the same is the success of an earlier attempt, anything else is a conflict. A large payload goes in parts.
//! No request more than that where the server confirms the digest; see [`evidence`] for where it does not.
//!
//! An open handler learns, and keeps for as long as it is open: the bucket's region ([`wire`]), whether the server knows conditions, and
//! whether it takes checksums.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::TryStreamExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use serde_json::{Map, Value};
use url::Url;

use self::endpoint::Endpoint;
use self::evidence::is_md5;
use self::wire::{Ask, Told, Wire};
use self::wishes::Wishes;
use crate::Handler;
use crate::amazon::Access;
use crate::body::{Body, ByteRange, content_range};
use crate::error::{Error, ErrorKind, Operation};
use crate::location::Location;
use crate::payload::{Payload, PutKey};
use crate::presigned;
use crate::receipt::{Assurance, Receipt};
use crate::settings::Settings;
use crate::ways::Ways;

mod endpoint;
mod evidence;
mod parts;
mod wire;
mod wishes;

/// A payload up to this is read into memory once; a larger one is streamed from its file.
const IN_MEMORY: u64 = 1 << 20;
/// The longest key that a bucket takes, in bytes.
const KEY: usize = 1024;

/// Where the payload's digest stands on the object, in hexadecimal.
const DIGEST: HeaderName = HeaderName::from_static("x-amz-meta-stowline-sha256");
const CHECKSUM: HeaderName = HeaderName::from_static("x-amz-checksum-sha256");

/// Opens a bucket. Asks nobody.
pub(crate) fn open(settings: &Map<String, Value>, ways: &Ways) -> Result<Arc<dyn Handler>, Error> {
    let endpoint = Endpoint::read(settings)?;
    let access = Access::read(settings, &ways.amazon)?;
    let wire = Wire::new(ways.client.clone(), endpoint, access, ways.amazon.clone());
    Ok(Arc::new(S3(Arc::new(Bucket {
        wire,
        wishes: Wishes::read(Settings(settings))?,
        redirects: Settings(settings).flag("redirect_reads")?,
        knows_no_conditions: AtomicBool::new(false),
        takes_no_checksums: AtomicBool::new(false),
    }))))
}

/// `https://host:port/bucket`; whatever the settings are, never a credential.
pub(crate) fn destination(settings: &Map<String, Value>) -> String {
    Endpoint::said(settings).map(|endpoint| endpoint.identity()).unwrap_or_default()
}

struct S3(Arc<Bucket>);

struct Bucket {
    wire: Wire,
    wishes: Wishes,
    redirects: bool,
    knows_no_conditions: AtomicBool,
    takes_no_checksums: AtomicBool,
}

impl std::fmt::Debug for S3 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "S3({})", self.0.wire.endpoint().identity())
    }
}

#[async_trait]
impl Handler for S3 {
    async fn put(&self, location: &Location, payload: &Payload, put: &PutKey) -> Result<Receipt, Error> {
        let key = key(location)?;
        let headers = self.0.object_headers(payload, &put.document);
        let evidence = match payload.length > parts::THRESHOLD {
            true => self.0.put_in_parts(key, payload, headers).await?,
            false => self.0.put_whole(key, payload, &headers).await?,
        };
        Ok(Receipt {
            handler: "s3".into(),
            location: location.clone(),
            destination: self.0.wire.endpoint().identity(),
            length: payload.length,
            content_type: payload.content_type.clone(),
            sha256: hex::encode(payload.sha256),
            etag: evidence.etag,
            version: evidence.version,
            id: None,
            assurance: evidence.assurance,
            base64: false,
            moved_to: None,
            shared: false,
        })
    }

    async fn fetch(&self, receipt: &Receipt, range: Option<ByteRange>, _: &Value) -> Result<Body, Error> {
        let told = self.0.get(key(&receipt.location)?, range).await?;
        let served = told.header("content-range").and_then(content_range);
        let content_type = told.header("content-type").map(str::to_owned);
        let (length, part) = (told.response.content_length(), told.response.status() == StatusCode::PARTIAL_CONTENT);
        let url = told.url;
        let stream = told.response.stream().map_err(move |error| Error::on_the_way(Operation::Fetch, &url, error));
        let whole = Body { content_type, total: length, range: None, stream: Box::pin(stream) };
        match (served, range) {
            (Some((served, total)), _) => Ok(Body { total, range: Some(served), ..whole }),
            (None, Some(_)) if part => {
                Err(Error::new(Operation::Fetch, ErrorKind::Rejected, "a part, and nobody says which"))
            }
            (None, Some(range)) => whole.cut(range, receipt.length),
            (None, None) => Ok(whole),
        }
    }

    async fn presign(&self, receipt: &Receipt, disposition: &str) -> Result<Option<Url>, Error> {
        if !self.0.redirects {
            return Ok(None);
        }
        let query = presigned::query(&[
            ("response-content-disposition", disposition),
            ("response-content-type", &receipt.content_type),
        ]);
        self.0.wire.presign(key(&receipt.location)?, &query, presigned::GOOD_FOR).await.map(Some)
    }

    async fn delete(&self, receipt: &Receipt) -> Result<(), Error> {
        let ask = Ask::new(Operation::Delete, Method::DELETE, key(&receipt.location)?);
        match self.0.wire.ask(&ask).await {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// The key of an object: the location, without the slash that an absolute folder begins with.
fn key(location: &Location) -> Result<&str, Error> {
    let key = location.as_str().trim_start_matches('/');
    if key.is_empty() || key.len() > KEY {
        return Err(Error::new(Operation::Locate, ErrorKind::Invalid, "a key has 1 to 1024 bytes"));
    }
    Ok(key)
}

/// What is known of an object that a put left.
struct Evidence {
    etag: Option<String>,
    version: Option<String>,
    assurance: Assurance,
}

impl Evidence {
    fn of(told: &Told, assurance: Assurance) -> Self {
        let version = told.header("x-amz-version-id").filter(|version| *version != "null").map(str::to_owned);
        Self { etag: told.etag(), version, assurance }
    }
}

impl Bucket {
    async fn get(&self, key: &str, range: Option<ByteRange>) -> Result<Told, Error> {
        let mut ask = Ask::new(Operation::Fetch, Method::GET, key);
        if let Some(range) = range {
            range.ask(&mut ask.headers);
        }
        self.wire.ask(&ask).await
    }

    /// Puts a payload in one request. It comes back with proof, or with a reason.
    async fn put_whole(&self, key: &str, payload: &Payload, headers: &HeaderMap) -> Result<Evidence, Error> {
        let sent = Sent { payload, headers, body: Once::read(payload).await? };
        let mut refused = None;
        for form in self.forms() {
            match self.put_so(key, &sent, form).await {
                Err(error) if is_for_a_header(&error) => refused = Some(error),
                Ok(evidence) => {
                    if refused.is_some() {
                        self.learn(form);
                    }
                    return Ok(evidence);
                }
                Err(error) => return Err(error),
            }
        }
        Err(refused.unwrap_or_else(|| Error::new(Operation::Put, ErrorKind::Rejected, "no form of a put is known")))
    }

    /// The forms of a put that this server may take, the best first.
    fn forms(&self) -> impl Iterator<Item = Form> {
        let knows_no = |what: &AtomicBool| what.load(Ordering::Relaxed);
        let (conditions, checksums) = (!knows_no(&self.knows_no_conditions), !knows_no(&self.takes_no_checksums));
        let all = [(true, true), (true, false), (false, true), (false, false)];
        let may = move |form: &Form| (conditions || !form.condition) && (checksums || !form.checksum);
        all.into_iter().map(|(condition, checksum)| Form { condition, checksum }).filter(may)
    }

    fn learn(&self, form: Form) {
        let destination = self.wire.endpoint().identity();
        if !form.condition && !self.knows_no_conditions.swap(true, Ordering::Relaxed) {
            tracing::info!(destination, "the server knows no conditional put");
        }
        if !form.checksum && !self.takes_no_checksums.swap(true, Ordering::Relaxed) {
            tracing::info!(destination, "the server takes no checksum");
        }
    }

    async fn put_so(&self, key: &str, sent: &Sent<'_>, form: Form) -> Result<Evidence, Error> {
        let payload = sent.payload;
        if !form.condition {
            // Looks whether the name is free, then puts. Between the two another could take it, but the name is one attachment's, and its
            // jobs run one after another.
            if let Some(found) = self.earlier(key, payload).await? {
                return Ok(found);
            }
            let told = self.send_whole(key, sent, form).await?;
            return self.prove(key, payload, told).await;
        }
        match self.send_whole(key, sent, form).await {
            Ok(told) => self.prove(key, payload, told).await,
            Err(error) if is_taken(&error) => self.compare(key, payload, error).await,
            // Lost was perhaps only the answer: a server that says no before it has read a body may close on us.
            Err(error) if error.kind() == ErrorKind::Interrupted => match self.earlier(key, payload).await {
                Ok(Some(found)) => Ok(found),
                Err(other) if is_taken(&other) => Err(other),
                _ => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    async fn send_whole(&self, key: &str, sent: &Sent<'_>, form: Form) -> Result<Told, Error> {
        let Sent { payload, headers, body } = sent;
        let mut ask = Ask::new(Operation::Put, Method::PUT, key);
        ask.headers.clone_from(headers);
        if self.wishes.lock() && !form.checksum {
            ask.headers.extend(content_md5(&payload.md5().await.map_err(Error::unreadable)?));
        }
        if form.condition {
            ask.headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static("*"));
        }
        if form.checksum {
            // Checked and echoed: stronger evidence than a tag, also where tags are no digests.
            ask.headers.extend(HeaderValue::from_str(&checksum(payload)).ok().map(|value| (CHECKSUM, value)));
        }
        let digest = hex::encode(payload.sha256);
        let again = || body.again(payload);
        let told = self.wire.ask(&Ask { sha256: &digest, body: &again, ..ask }).await?;
        if let Once::Small(bytes) = body
            && told.header(CHECKSUM.as_str()).is_none()
            && told.etag().is_some_and(|tag| is_md5(&tag))
        {
            payload.md5_of(bytes);
        }
        Ok(told)
    }

    /// The headers that become the object's.
    fn object_headers(&self, payload: &Payload, document: &Value) -> HeaderMap {
        let printable = payload.content_type.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        let content_type =
            HeaderValue::from_str(&payload.content_type).ok().filter(|_| printable && !payload.content_type.is_empty());
        let mut headers = HeaderMap::new();
        headers
            .insert(header::CONTENT_TYPE, content_type.unwrap_or(HeaderValue::from_static("application/octet-stream")));
        headers.extend(HeaderValue::from_str(&hex::encode(payload.sha256)).ok().map(|digest| (DIGEST, digest)));
        headers.extend(self.wishes.headers(SystemTime::now(), document));
        headers
    }
}

/// The digest that a bucket wants to see of what it locks.
fn content_md5(md5: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let value = HeaderValue::from_str(&STANDARD.encode(md5)).ok()?;
    Some((HeaderName::from_static("content-md5"), value))
}

/// What a put asks for beside storing its bytes.
#[derive(Debug, Clone, Copy)]
struct Form {
    /// Create, never replace.
    condition: bool,
    /// Check what arrives against our digest.
    checksum: bool,
}

/// What is sent in one request.
struct Sent<'a> {
    payload: &'a Payload,
    headers: &'a HeaderMap,
    body: Once,
}

/// A payload's body, as often as it is needed.
enum Once {
    Small(bytes::Bytes),
    Streamed,
}

impl Once {
    async fn read(payload: &Payload) -> Result<Self, Error> {
        if payload.length > IN_MEMORY {
            return Ok(Self::Streamed);
        }
        payload.read().await.map(Self::Small).map_err(Error::unreadable)
    }

    fn again(&self, payload: &Payload) -> outbound::Body {
        match self {
            Self::Small(bytes) => outbound::Body::Bytes(bytes.clone()),
            Self::Streamed => outbound::Body::Stream { length: payload.length, stream: payload.open(None) },
        }
    }
}

fn checksum(payload: &Payload) -> String {
    STANDARD.encode(payload.sha256)
}

/// Whether a put was refused because the name is taken, or just being taken.
fn is_taken(error: &Error) -> bool {
    error.kind() == ErrorKind::Conflict
}

/// Whether a put was refused because of a header, by a server that does not know such.
fn is_for_a_header(error: &Error) -> bool {
    let Some(exchange) = error.exchange() else { return false };
    let word = exchange.code.as_deref();
    match exchange.status {
        Some(501) => true,
        Some(400) => matches!(
            word,
            None | Some("NotImplemented" | "InvalidArgument" | "InvalidRequest" | "UnsupportedOperation")
        ),
        _ => false,
    }
}

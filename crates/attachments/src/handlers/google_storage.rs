//! `google_storage`: a bucket of Google Cloud Storage, by its JSON interface.
//!
//! A put creates and never replaces (`ifGenerationMatch=0`). When the name is taken already, what lies there is compared with the payload:
//! the same is the success of an earlier attempt, anything else is a conflict. The service is told the payload's MD5 and refuses other
//! bytes; it repeats the digest of what it has stored. A large payload goes in a session ([`google`](super::google)).
//!
//! Who lets us in: a service account's key file in the settings, or a consent that is kept elsewhere and named by its id.

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Method, header};
use outbound::Request;
use outbound::oauth::ServiceAccount;
use percent_encoding::utf8_percent_encode;
use serde_json::{Map, Value, json};
use url::Url;

use super::google::{self, refused};
use crate::Handler;
use crate::asking::{Answer, removed};
use crate::bearer::Bearer;
use crate::body::{Body, ByteRange};
use crate::error::{Error, ErrorKind, Operation};
use crate::location::{Location, PART};
use crate::payload::{Payload, PutKey};
use crate::receipt::{Assurance, Receipt};
use crate::settings::{Settings, wrong};
use crate::ways::Ways;

mod signed;

/// A payload up to this is read into memory once.
const IN_MEMORY: u64 = 1 << 20;
/// The longest name of an object, in bytes.
const NAME: usize = 1024;
const SCOPE: &str = "https://www.googleapis.com/auth/devstorage.read_write";
const DEFAULT: &str = "https://storage.googleapis.com";
/// Where the payload's digest stands beside the object, in hexadecimal.
const DIGEST: &str = "stowline-sha256";

/// Opens a bucket. Asks nobody.
pub(crate) fn open(settings: &Map<String, Value>, ways: &Ways) -> Result<Arc<dyn Handler>, Error> {
    let bucket = Bucket::read(settings)?;
    let settings = Settings(settings);
    let account = settings.json("service_account")?;
    let consents = [settings.text("oauth_doc_id")?, settings.text("oauth_app_id")?];
    let bearer = match (account, consents) {
        (Some(file), [None, None]) => {
            let account = ServiceAccount::read(&file).map_err(|error| wrong("service_account", &error.to_string()))?;
            Bearer::by_account(ways, account, SCOPE)
        }
        (None, [Some(id), None] | [None, Some(id)]) => Bearer::by_consent(ways, id, SCOPE),
        _ => return Err(wrong("oauth_doc_id", "or oauth_app_id or service_account is needed, and one of them only")),
    };
    let redirects = settings.flag("redirect_reads")?;
    Ok(Arc::new(GoogleStorage { bearer, bucket, redirects }))
}

/// Where the bucket is; whatever the settings are, never a credential.
pub(crate) fn destination(settings: &Map<String, Value>) -> String {
    Bucket::read(settings).map(|bucket| bucket.identity()).unwrap_or_default()
}

struct Bucket {
    root: String,
    name: String,
}

impl Bucket {
    fn read(settings: &Map<String, Value>) -> Result<Self, Error> {
        let settings = Settings(settings);
        let name = settings.required("bucket")?;
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')) {
            return Err(wrong("bucket", "is no name"));
        }
        let root = settings.root("base_url", DEFAULT)?;
        Ok(Self { root, name: name.to_owned() })
    }

    fn identity(&self) -> String {
        format!("{}/{}", self.root, self.name)
    }

    fn object(&self, name: &str, query: &str) -> Result<Url, Error> {
        let name = utf8_percent_encode(name, PART);
        url(format!("{}/storage/v1/b/{}/o/{name}{query}", self.root, self.name))
    }

    /// Where an object lies for who has a signature instead of a token.
    fn path(&self, name: &str) -> Result<Url, Error> {
        let name = utf8_percent_encode(name, PART).to_string().replace("%2F", "/");
        url(format!("{}/{}/{name}", self.root, self.name))
    }

    fn upload(&self, kind: &str, name: &str) -> Result<Url, Error> {
        let name = utf8_percent_encode(name, PART);
        let root = format!("{}/upload/storage/v1/b/{}/o", self.root, self.name);
        url(format!("{root}?uploadType={kind}&ifGenerationMatch=0&name={name}"))
    }
}

fn url(text: String) -> Result<Url, Error> {
    let unfit = |_| Error::new(Operation::Locate, ErrorKind::Invalid, "the location makes no URL");
    Url::parse(&text).map_err(unfit)
}

struct GoogleStorage {
    bearer: Bearer,
    bucket: Bucket,
    redirects: bool,
}

impl std::fmt::Debug for GoogleStorage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GoogleStorage({})", self.bucket.identity())
    }
}

#[async_trait]
impl Handler for GoogleStorage {
    async fn put(&self, location: &Location, payload: &Payload, _: &PutKey) -> Result<Receipt, Error> {
        let name = name(location)?;
        let stored = match self.send(name, payload).await {
            Ok(told) => self.prove(name, payload, &told).await?,
            Err(failed) => self.earlier(name, payload, failed).await?,
        };
        let receipt = Receipt::of("google_storage", self.bucket.identity(), location, payload, Assurance::Checksum);
        let text = |field: &str| stored[field].as_str().map(str::to_owned);
        Ok(Receipt { etag: text("etag"), version: text("generation"), ..receipt })
    }

    async fn fetch(&self, receipt: &Receipt, range: Option<ByteRange>, _: &Value) -> Result<Body, Error> {
        let url = self.bucket.object(name(&receipt.location)?, "?alt=media")?;
        let range = range.map(|range| range.counted(receipt.length)).transpose()?;
        let request = || {
            let mut request = Request::new(Method::GET, url.clone());
            if let Some(range) = range {
                range.ask(&mut request.headers);
            }
            request
        };
        self.ask(Operation::Fetch, &request).await?.body(range, receipt.length)
    }

    async fn presign(&self, receipt: &Receipt, disposition: &str) -> Result<Option<Url>, Error> {
        // A consent signs nothing.
        let Some(account) = self.bearer.account().filter(|_| self.redirects) else { return Ok(None) };
        let object = self.bucket.path(name(&receipt.location)?)?;
        signed::url(account, object, disposition, &receipt.content_type, SystemTime::now()).map(Some)
    }

    async fn delete(&self, receipt: &Receipt) -> Result<(), Error> {
        let url = self.bucket.object(name(&receipt.location)?, "")?;
        removed(self.ask(Operation::Delete, &|| Request::new(Method::DELETE, url.clone())).await).await
    }
}

/// The name of an object: the location, without the slash that an absolute folder begins with.
fn name(location: &Location) -> Result<&str, Error> {
    let name = location.as_str().trim_start_matches('/');
    if name.is_empty() || name.len() > NAME {
        return Err(Error::new(Operation::Locate, ErrorKind::Invalid, "the name of an object has 1 to 1024 bytes"));
    }
    Ok(name)
}

impl GoogleStorage {
    async fn ask(&self, operation: Operation, request: &(dyn Fn() -> Request + Send + Sync)) -> Result<Answer, Error> {
        self.bearer.ask(operation, request).await?.map_err(|refusal| refused(&refusal))
    }

    /// Sends the payload; what the service says of the object.
    async fn send(&self, name: &str, payload: &Payload) -> Result<Value, Error> {
        let small = match payload.length <= IN_MEMORY {
            true => {
                let bytes = payload.read().await.map_err(Error::unreadable)?;
                payload.md5_of(&bytes);
                Some(bytes)
            }
            false => None,
        };
        let about = json!({
            "name": name,
            "contentType": google::content_type(payload),
            "md5Hash": md5(payload).await?,
            "metadata": {DIGEST: hex::encode(payload.sha256)},
        });
        if payload.length > google::THRESHOLD {
            let url = self.bucket.upload("resumable", name)?;
            let begin = || {
                let mut request = Request::new(Method::POST, url.clone());
                request
                    .headers
                    .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=UTF-8"));
                request.body = outbound::Body::Bytes(about.to_string().into());
                request
            };
            return google::in_session(&self.bearer, payload, &begin).await?.json().await;
        }
        let url = self.bucket.upload("multipart", name)?;
        let request = || {
            let mut request = Request::new(Method::POST, url.clone());
            let (content_type, body) = google::related(&about, payload, small.as_ref());
            request.headers.insert(header::CONTENT_TYPE, content_type);
            request.body = body;
            request
        };
        self.ask(Operation::Put, &request).await?.json().await
    }

    /// Whether a put that was answered well has stored our bytes; what the service says of them.
    async fn prove(&self, name: &str, payload: &Payload, told: &Value) -> Result<Value, Error> {
        if told["md5Hash"].as_str() == Some(md5(payload).await?.as_str()) {
            return Ok(told.clone());
        }
        match self.look(name, payload).await? {
            Look::Same(stored) => Ok(stored),
            Look::Other => Err(Error::mismatch("the destination stored other bytes")),
            Look::Absent => Err(Error::mismatch("the destination said yes and stored nothing")),
        }
    }

    /// A put failed: the payload as it, or an attempt before it, left it all the same; else why it failed.
    async fn earlier(&self, name: &str, payload: &Payload, failed: Error) -> Result<Value, Error> {
        if !matches!(failed.kind(), ErrorKind::Conflict | ErrorKind::Interrupted) {
            return Err(failed);
        }
        match self.look(name, payload).await {
            Ok(Look::Same(stored)) => Ok(stored),
            Ok(Look::Other) => Err(Error::new(Operation::Put, ErrorKind::Conflict, "another object has this name")),
            // Just being written, or just removed; or we may not look: another time will tell.
            Ok(Look::Absent) | Err(_) => Err(failed),
        }
    }

    async fn look(&self, name: &str, payload: &Payload) -> Result<Look, Error> {
        let url = self.bucket.object(name, "?fields=size,md5Hash,etag,generation,metadata")?;
        let stored = match self.ask(Operation::Put, &|| Request::new(Method::GET, url.clone())).await {
            Ok(answer) => answer.json().await?,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Look::Absent),
            Err(error) => return Err(error),
        };
        let same = stored["md5Hash"].as_str() == Some(md5(payload).await?.as_str())
            && stored["size"].as_str() == Some(payload.length.to_string().as_str());
        Ok(if same { Look::Same(stored) } else { Look::Other })
    }
}

/// What lies under a name.
enum Look {
    Same(Value),
    Other,
    Absent,
}

async fn md5(payload: &Payload) -> Result<String, Error> {
    payload.md5().await.map(|md5| STANDARD.encode(md5)).map_err(Error::unreadable)
}

//! `onedrive`: a person's OneDrive, a drive of SharePoint, or a folder of either, by Microsoft Graph and a consent.
//!
//! A put creates and never replaces (`conflictBehavior=fail`). When the path is taken already, what lies there is compared with the payload by
//! the drive's own digest: the same is the success of an earlier attempt, anything else is a conflict. A large payload goes in
//! pieces, in a session that goes on where it broke. Folders come into being with the paths, below the folder that the settings name;
//! where that is gone the put fails. A receipt keeps the file's id, so a file that its owner moves is still found.

use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::TryStreamExt;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use outbound::{Body as Sent, Request, Trail};
use percent_encoding::utf8_percent_encode;
use serde_json::{Map, Value, json};
use url::Url;

use self::quick_xor::QuickXor;
use crate::Handler;
use crate::asking::{Answer, Refusal, ask, removed};
use crate::bearer::Bearer;
use crate::body::{Body, ByteRange};
use crate::error::{Error, ErrorKind, Operation};
use crate::location::{Location, PART};
use crate::payload::{Payload, PutKey};
use crate::receipt::{Assurance, Receipt};
use crate::settings::{Settings, wrong};
use crate::unfinished::Place;
use crate::ways::Ways;

mod quick_xor;
mod session;

const SCOPE: &str = "https://graph.microsoft.com/.default";
const DEFAULT: &str = "https://graph.microsoft.com";
/// What is larger goes in pieces.
const THRESHOLD: u64 = 4 << 20;

/// Opens a drive. Asks nobody.
pub(crate) fn open(settings: &Map<String, Value>, ways: &Ways) -> Result<Arc<dyn Handler>, Error> {
    let (drive, consent) = (Drive::read(settings)?, Settings(settings).required("oauth_doc_id")?);
    Ok(Arc::new(OneDrive {
        bearer: Bearer::by_consent(ways, consent, SCOPE),
        destination: destination(settings),
        drive,
    }))
}

/// The drive, and the consent that opens it.
pub(crate) fn destination(settings: &Map<String, Value>) -> String {
    let drive = Drive::read(settings).map(|drive| drive.root).unwrap_or_default();
    let consent = Settings(settings).text("oauth_doc_id").ok().flatten().unwrap_or_default();
    format!("{drive}/{consent}")
}

/// Which drive it is, and the folder in it.
struct Drive {
    root: String,
    folder: String,
}

impl Drive {
    fn read(settings: &Map<String, Value>) -> Result<Self, Error> {
        let settings = Settings(settings);
        let root = settings.root("base_url", DEFAULT)?;
        let encoded = |id: &str| utf8_percent_encode(id, PART).to_string();
        let drive = match (settings.text("drive_id")?, settings.text("site_id")?) {
            (None, None) => "me/drive".to_owned(),
            (Some(drive), None) => format!("drives/{}", encoded(drive)),
            // A site's id has commas, and is no more than one part of a path.
            (None, Some(site)) => format!("sites/{}/drive", encoded(site)),
            (Some(_), Some(_)) => return Err(wrong("site_id", "stands beside a drive_id: one of them, please")),
        };
        let folder =
            settings.text("folder_id")?.map_or_else(|| "root".to_owned(), |id| format!("items/{}", encoded(id)));
        Ok(Self { root: format!("{root}/v1.0/{drive}"), folder })
    }

    fn url(&self, rest: &str) -> Result<Url, Error> {
        let unfit = |_| Error::new(Operation::Locate, ErrorKind::Invalid, "the location makes no URL");
        Url::parse(&format!("{}/{rest}", self.root)).map_err(unfit)
    }

    /// A file by its path, or what is to be done with it.
    fn at(&self, place: &Place, rest: &str) -> Result<Url, Error> {
        let parts = place.folders.iter().chain([&place.name]);
        let path: Vec<String> = parts.map(|part| utf8_percent_encode(part, PART).to_string()).collect();
        self.url(&format!("{}:/{}:{rest}", self.folder, path.join("/")))
    }

    /// A file by its id.
    fn item(&self, receipt: &Receipt, rest: &str) -> Result<Url, Error> {
        let nameless = || Error::new(Operation::Fetch, ErrorKind::Invalid, "the receipt names no file of a drive");
        let id = receipt.id.as_deref().filter(|id| !id.is_empty()).ok_or_else(nameless)?;
        self.url(&format!("items/{}{rest}", utf8_percent_encode(id, PART)))
    }
}

struct OneDrive {
    bearer: Bearer,
    drive: Drive,
    destination: String,
}

impl std::fmt::Debug for OneDrive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OneDrive({})", self.destination)
    }
}

#[async_trait]
impl Handler for OneDrive {
    async fn put(&self, location: &Location, payload: &Payload, _: &PutKey) -> Result<Receipt, Error> {
        let place = Place::of(location)?;
        let digest = quick_xor(payload).await?;
        let sent = match payload.length > THRESHOLD {
            true => self.put_in_pieces(&place, payload, &digest).await,
            false => self.put_whole(&place, payload).await,
        };
        let stored = match sent {
            Ok(told) if is_same(&told, payload, &digest) => told,
            Ok(_) => self.prove(&place, payload, &digest).await?,
            Err(failed) => self.earlier(&place, payload, &digest, failed).await?,
        };
        let receipt = Receipt::of("onedrive", self.destination.clone(), location, payload, Assurance::Checksum);
        let text = |field: &str| stored[field].as_str().map(|text| text.trim_matches('"').to_owned());
        Ok(Receipt { id: text("id"), etag: text("eTag"), ..receipt })
    }

    async fn fetch(&self, receipt: &Receipt, range: Option<ByteRange>, _: &Value) -> Result<Body, Error> {
        let range = range.map(|range| range.counted(receipt.length)).transpose()?;
        let mut headers = HeaderMap::new();
        if let Some(range) = range {
            range.ask(&mut headers);
        }
        let answer = self.download(self.drive.item(receipt, "/content")?, headers).await?;
        let body = answer.body(range, receipt.length)?;
        // The bytes come from a place that knows no media types.
        Ok(Body { content_type: Some(receipt.content_type.clone()), ..body })
    }

    async fn delete(&self, receipt: &Receipt) -> Result<(), Error> {
        let url = self.drive.item(receipt, "")?;
        removed(self.ask(Operation::Delete, &|| Request::new(Method::DELETE, url.clone())).await).await
    }
}

impl OneDrive {
    async fn ask(&self, operation: Operation, request: &(dyn Fn() -> Request + Send + Sync)) -> Result<Answer, Error> {
        self.bearer.ask(operation, request).await?.map_err(|refusal| refused(&refusal))
    }

    async fn put_whole(&self, place: &Place, payload: &Payload) -> Result<Value, Error> {
        let url = self.drive.at(place, "/content?@microsoft.graph.conflictBehavior=fail")?;
        let content_type = HeaderValue::from_str(payload.content_type.trim()).ok().filter(|value| !value.is_empty());
        let request = || {
            let mut request = Request::new(Method::PUT, url.clone());
            let octets = HeaderValue::from_static("application/octet-stream");
            request.headers.insert(header::CONTENT_TYPE, content_type.clone().unwrap_or(octets));
            request.body = Sent::Stream { length: payload.length, stream: payload.open(None) };
            request
        };
        self.ask(Operation::Put, &request).await?.json().await
    }

    /// Asks for a file's bytes. We are sent elsewhere for them, and go there without our token.
    async fn download(&self, url: Url, headers: HeaderMap) -> Result<Answer, Error> {
        let with = |url: &Url| Request { headers: headers.clone(), ..Request::new(Method::GET, url.clone()) };
        let mut trail = Trail::new(url);
        let mut asked = self.bearer.ask(Operation::Fetch, &|| with(trail.current())).await?;
        loop {
            let refusal = match asked {
                Ok(answer) => return Ok(answer),
                Err(refusal) => refusal,
            };
            let moved = [StatusCode::FOUND, StatusCode::MOVED_PERMANENTLY, StatusCode::TEMPORARY_REDIRECT];
            if !moved.contains(&refusal.status) {
                return Err(refused(&refusal));
            }
            let here = refusal.url.clone();
            trail.follow(&refusal.headers).map_err(|error| Error::on_the_way(Operation::Fetch, &here, error))?;
            asked = ask(&self.bearer.client, Operation::Fetch, with(trail.current())).await?;
        }
    }

    /// Whether a put that was answered well has stored our bytes; what the drive says of them.
    async fn prove(&self, place: &Place, payload: &Payload, digest: &str) -> Result<Value, Error> {
        match self.look(place, payload, digest).await? {
            Look::Same(stored) => Ok(stored),
            Look::Other => Err(Error::mismatch("the destination stored other bytes")),
            Look::Absent => Err(Error::mismatch("the destination said yes and stored nothing")),
        }
    }

    /// A put failed: the payload as it, or an attempt before it, left it all the same; else why it failed.
    async fn earlier(&self, place: &Place, payload: &Payload, digest: &str, failed: Error) -> Result<Value, Error> {
        if !matches!(failed.kind(), ErrorKind::Conflict | ErrorKind::Interrupted) {
            return Err(failed);
        }
        match self.look(place, payload, digest).await {
            Ok(Look::Same(stored)) => Ok(stored),
            Ok(Look::Other) => Err(Error::new(Operation::Put, ErrorKind::Conflict, "another file has this path")),
            // Just being written, or just removed; or we may not look: another time will tell.
            Ok(Look::Absent) | Err(_) => Err(failed),
        }
    }

    async fn look(&self, place: &Place, payload: &Payload, digest: &str) -> Result<Look, Error> {
        let url = self.drive.at(place, "")?;
        match self.ask(Operation::Put, &|| Request::new(Method::GET, url.clone())).await {
            Ok(answer) => {
                let stored = answer.json().await?;
                Ok(if is_same(&stored, payload, digest) { Look::Same(stored) } else { Look::Other })
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Look::Absent),
            Err(error) => Err(error),
        }
    }
}

/// What lies at a path.
enum Look {
    Same(Value),
    Other,
    Absent,
}

/// Whether a file is the payload, by the digests that the drive says; `digest` is the one that all drives have.
fn is_same(file: &Value, payload: &Payload, digest: &str) -> bool {
    let hashes = &file["file"]["hashes"];
    match (hashes["sha256Hash"].as_str(), hashes["quickXorHash"].as_str()) {
        (Some(sha256), _) => sha256.eq_ignore_ascii_case(&hex::encode(payload.sha256)),
        (None, Some(quick_xor)) => quick_xor == digest && file["size"].as_u64() == Some(payload.length),
        (None, None) => false,
    }
}

async fn quick_xor(payload: &Payload) -> Result<String, Error> {
    let mut digest = QuickXor::default();
    let mut pieces = payload.open(None);
    while let Some(piece) = pieces.try_next().await.map_err(Error::unreadable)? {
        digest.update(&piece);
    }
    Ok(STANDARD.encode(digest.finish()))
}

fn refused(refusal: &Refusal) -> Error {
    let answer = refusal.json();
    let text = |field: &str| answer["error"][field].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let code = text("code");
    let kind = match code.as_deref() {
        Some("activityLimitReached" | "tooManyRequests") => ErrorKind::Throttled,
        Some("quotaLimitReached") => ErrorKind::Full,
        Some("serviceNotAvailable" | "generalException") => ErrorKind::Unavailable,
        Some("nameAlreadyExists") => ErrorKind::Conflict,
        _ => ErrorKind::of_status(refusal.status),
    };
    refusal.error(kind, code, text("message"))
}

/// The JSON that a session begins with: create, never replace.
fn beginning(place: &Place) -> Value {
    json!({"item": {"@microsoft.graph.conflictBehavior": "fail", "name": place.name}})
}

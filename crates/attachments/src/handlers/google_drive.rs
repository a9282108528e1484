//! `google_drive`: a person's drive, or a folder of it, by a consent.
//!
//! A drive finds files by ids; names are for people, and several files may have one. So an id is asked for beforehand ([`Handler::reserve`]) and
//! the file is created under it: created before, it is looked at, and a broken attempt of ours is written over. Without a reserved id
//! the folder is searched for the name first. The drive says the SHA-256 of what it has stored.
//!
//! The folders of a location are walked from `folder_id`, or from the top of the drive, and created where they are missing. If that fails,
//! the put fails: nothing is ever put elsewhere.

use std::sync::Arc;

use async_trait::async_trait;
use http::{HeaderValue, Method, header};
use outbound::Request;
use serde_json::{Map, Value, json};
use tokio::sync::Mutex;
use url::{Url, form_urlencoded};

use super::google::{self, refused};
use crate::Handler;
use crate::asking::Answer;
use crate::bearer::Bearer;
use crate::body::{Body, ByteRange};
use crate::error::{Error, ErrorKind, Operation};
use crate::folders::Folders;
use crate::location::Location;
use crate::payload::{Payload, PutKey};
use crate::receipt::{Assurance, Receipt};
use crate::settings::Settings;
use crate::unfinished::Place;
use crate::ways::Ways;

const SCOPE: &str = "https://www.googleapis.com/auth/drive.file";
const DEFAULT: &str = "https://www.googleapis.com";
const FOLDER: &str = "application/vnd.google-apps.folder";
/// What we ask to be told of a file.
const FIELDS: &str = "id,size,sha256Checksum,md5Checksum,version";
/// Ids that are asked for at a time.
const IDS: usize = 20;

/// Opens a drive. Asks nobody.
pub(crate) fn open(settings: &Map<String, Value>, ways: &Ways) -> Result<Arc<dyn Handler>, Error> {
    let destination = destination(settings);
    let settings = Settings(settings);
    let bearer = Bearer::by_consent(ways, settings.required("oauth_doc_id")?, SCOPE);
    let folder = settings.text("folder_id")?.unwrap_or("root").to_owned();
    let drive = Drive {
        bearer,
        root: settings.root("base_url", DEFAULT)?,
        destination,
        ids: Mutex::default(),
        naming: Mutex::default(),
    };
    Ok(Arc::new(GoogleDrive { drive, folder, folders: Folders::default() }))
}

/// The drive that the consent opens.
pub(crate) fn destination(settings: &Map<String, Value>) -> String {
    let settings = Settings(settings);
    let (root, consent) =
        (settings.root("base_url", DEFAULT).unwrap_or_default(), settings.text("oauth_doc_id").ok().flatten());
    format!("{root}/drive/{}", consent.unwrap_or_default())
}

struct GoogleDrive {
    drive: Drive,
    folder: String,
    folders: Folders,
}

impl std::fmt::Debug for GoogleDrive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GoogleDrive({})", self.drive.destination)
    }
}

#[async_trait]
impl Handler for GoogleDrive {
    async fn reserve(&self, _: &Location, _: &PutKey) -> Result<Option<String>, Error> {
        self.drive.id().await.map(Some)
    }

    async fn put(&self, location: &Location, payload: &Payload, key: &PutKey) -> Result<Receipt, Error> {
        let place = Place::of(location)?;
        let folder = self.folder_of(&place).await?;
        let stored = match &key.reserved {
            Some(id) => self.drive.put_as(id, &folder, &place.name, payload).await,
            None => self.drive.put_by_name(&folder, &place.name, payload).await,
        };
        if stored.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound) {
            // A folder of those that we knew is gone. The next attempt walks anew.
            self.folders.forget();
        }
        let stored = stored?;
        let receipt =
            Receipt::of("google_drive", self.drive.destination.clone(), location, payload, Assurance::Checksum);
        let text = |field: &str| stored[field].as_str().map(str::to_owned);
        Ok(Receipt { id: text("id"), version: text("version"), ..receipt })
    }

    async fn fetch(&self, receipt: &Receipt, range: Option<ByteRange>, _: &Value) -> Result<Body, Error> {
        let url = self.drive.file(id_of(receipt)?, &[("alt", "media")])?;
        let range = range.map(|range| range.counted(receipt.length)).transpose()?;
        let request = || {
            let mut request = Request::new(Method::GET, url.clone());
            if let Some(range) = range {
                range.ask(&mut request.headers);
            }
            request
        };
        self.drive.ask(Operation::Fetch, &request).await?.body(range, receipt.length)
    }

    async fn delete(&self, receipt: &Receipt) -> Result<(), Error> {
        match self.drive.remove(id_of(receipt)?).await {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

fn id_of(receipt: &Receipt) -> Result<&str, Error> {
    let nameless = || Error::new(Operation::Fetch, ErrorKind::Invalid, "the receipt names no file of a drive");
    receipt.id.as_deref().filter(|id| !id.is_empty()).ok_or_else(nameless)
}

impl GoogleDrive {
    async fn folder_of(&self, place: &Place) -> Result<String, Error> {
        let mut parent = self.folder.clone();
        for name in &place.folders {
            let found = self.folders.get(&parent, name, self.drive.folder(&parent, name)).await?;
            parent = found;
        }
        Ok(parent)
    }
}

/// The requests that a drive understands.
struct Drive {
    bearer: Bearer,
    root: String,
    destination: String,
    ids: Mutex<Vec<String>>,
    /// Held while a name is looked for and taken: a drive would let two take it.
    naming: Mutex<()>,
}

impl Drive {
    async fn ask(&self, operation: Operation, request: &(dyn Fn() -> Request + Send + Sync)) -> Result<Answer, Error> {
        self.bearer.ask(operation, request).await?.map_err(|refusal| refused(&refusal))
    }

    fn url(&self, path: &str, query: &[(&str, &str)]) -> Result<Url, Error> {
        let unfit = |_| Error::new(Operation::Locate, ErrorKind::Invalid, "the name makes no URL");
        let mut url = Url::parse(&format!("{}{path}", self.root)).map_err(unfit)?;
        url.query_pairs_mut().extend_pairs(query).append_pair("supportsAllDrives", "true");
        Ok(url)
    }

    fn file(&self, id: &str, query: &[(&str, &str)]) -> Result<Url, Error> {
        let id: String = form_urlencoded::byte_serialize(id.as_bytes()).collect();
        self.url(&format!("/drive/v3/files/{id}"), query)
    }

    /// An id that no file has yet.
    async fn id(&self) -> Result<String, Error> {
        let mut ids = self.ids.lock().await;
        if let Some(id) = ids.pop() {
            return Ok(id);
        }
        let query = [("count", &*IDS.to_string()), ("space", "drive")];
        let url = self.url("/drive/v3/files/generateIds", &query)?;
        let answer = self.ask(Operation::Reserve, &|| Request::new(Method::GET, url.clone())).await?.json().await?;
        ids.extend(answer["ids"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned));
        ids.pop().ok_or_else(|| Error::new(Operation::Reserve, ErrorKind::Mismatch, "the destination gave no id"))
    }

    /// Files of this name and kind in a folder, the oldest first.
    async fn find(&self, parent: &str, name: &str, kind: &str) -> Result<Vec<Value>, Error> {
        let quoted = |text: &str| text.replace('\\', "\\\\").replace('\'', "\\'");
        let wanted =
            format!("'{}' in parents and name = '{}' and {kind} and trashed = false", quoted(parent), quoted(name));
        let fields = format!("files({FIELDS})");
        let query = [
            ("q", &*wanted),
            ("fields", &*fields),
            ("orderBy", "createdTime"),
            ("pageSize", "10"),
            ("includeItemsFromAllDrives", "true"),
        ];
        let url = self.url("/drive/v3/files", &query)?;
        let mut answer = self.ask(Operation::Put, &|| Request::new(Method::GET, url.clone())).await?.json().await?;
        let unknown = || Error::mismatch("the destination listed nothing, not even none");
        answer["files"].as_array_mut().map(std::mem::take).ok_or_else(unknown)
    }

    /// The folder of this name in a folder, made if it is not there.
    async fn folder(&self, parent: &str, name: &str) -> Result<String, Error> {
        let found = self.find(parent, name, &format!("mimeType = '{FOLDER}'")).await?;
        if let Some(id) = found.first().and_then(|found| found["id"].as_str()) {
            return Ok(id.to_owned());
        }
        let url = self.url("/drive/v3/files", &[("fields", "id")])?;
        let about = json!({"name": name, "mimeType": FOLDER, "parents": [parent]});
        let made = self.ask(Operation::Put, &|| with_json(Method::POST, &url, &about)).await?.json().await?;
        let nameless = || Error::mismatch("the destination made a folder without an id");
        made["id"].as_str().map(str::to_owned).ok_or_else(nameless)
    }

    /// Creates the file of an id that was reserved for it.
    async fn put_as(&self, id: &str, parent: &str, name: &str, payload: &Payload) -> Result<Value, Error> {
        let failed = match self.create(id, parent, name, payload).await {
            Ok(told) => return self.prove(id, payload, told).await,
            Err(failed) => failed,
        };
        if !matches!(failed.kind(), ErrorKind::Conflict | ErrorKind::Interrupted) {
            return Err(failed);
        }
        match self.about(id).await {
            Ok(there) if is_same(&there, payload).await? => Ok(there),
            // The id is this payload's and nobody else's: what lies there is a broken attempt.
            Ok(_) => {
                let told = self.overwrite(id, payload).await?;
                self.prove(id, payload, told).await
            }
            Err(_) => Err(failed),
        }
    }

    /// Creates a file unless there is one of this name.
    async fn put_by_name(&self, parent: &str, name: &str, payload: &Payload) -> Result<Value, Error> {
        let _naming = self.naming.lock().await;
        let found = self.find(parent, name, &format!("mimeType != '{FOLDER}'")).await?;
        for there in &found {
            if is_same(there, payload).await? {
                return Ok(there.clone());
            }
        }
        if !found.is_empty() {
            return Err(Error::new(Operation::Put, ErrorKind::Conflict, "another file has this name"));
        }
        let id = self.id().await?;
        let stored = self.put_as(&id, parent, name, payload).await;
        if stored.as_ref().is_err_and(|error| error.kind() == ErrorKind::Mismatch) {
            // Nobody knows its id, so nobody could write over it.
            let _ = self.remove(&id).await;
        }
        stored
    }

    async fn create(&self, id: &str, parent: &str, name: &str, payload: &Payload) -> Result<Value, Error> {
        let about = json!({"id": id, "name": name, "parents": [parent], "mimeType": content_type(payload)});
        self.upload(Method::POST, "/upload/drive/v3/files", &about, payload).await
    }

    async fn overwrite(&self, id: &str, payload: &Payload) -> Result<Value, Error> {
        let about = json!({"mimeType": content_type(payload)});
        self.upload(Method::PATCH, &format!("/upload/drive/v3/files/{id}"), &about, payload).await
    }

    async fn upload(&self, method: Method, path: &str, about: &Value, payload: &Payload) -> Result<Value, Error> {
        if payload.length > google::THRESHOLD {
            let url = self.url(path, &[("uploadType", "resumable"), ("fields", FIELDS)])?;
            let begin = || with_json(method.clone(), &url, about);
            return google::in_session(&self.bearer, payload, &begin).await?.json().await;
        }
        let url = self.url(path, &[("uploadType", "multipart"), ("fields", FIELDS)])?;
        let request = || {
            let mut request = Request::new(method.clone(), url.clone());
            let (content_type, body) = google::related(about, payload, None);
            request.headers.insert(header::CONTENT_TYPE, content_type);
            request.body = body;
            request
        };
        self.ask(Operation::Put, &request).await?.json().await
    }

    async fn about(&self, id: &str) -> Result<Value, Error> {
        let url = self.file(id, &[("fields", FIELDS)])?;
        self.ask(Operation::Put, &|| Request::new(Method::GET, url.clone())).await?.json().await
    }

    /// Whether an upload that was answered well has stored our bytes.
    async fn prove(&self, id: &str, payload: &Payload, told: Value) -> Result<Value, Error> {
        if is_same(&told, payload).await? {
            return Ok(told);
        }
        match self.about(id).await {
            Ok(there) if is_same(&there, payload).await? => Ok(there),
            Ok(_) => Err(Error::mismatch("the destination stored other bytes")),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Err(Error::mismatch("the destination said yes and stored nothing"))
            }
            Err(error) => Err(error),
        }
    }

    async fn remove(&self, id: &str) -> Result<(), Error> {
        let url = self.file(id, &[])?;
        self.ask(Operation::Delete, &|| Request::new(Method::DELETE, url.clone())).await?.pass().await;
        Ok(())
    }
}

/// Whether a file is the payload, by the digests that the drive says.
async fn is_same(file: &Value, payload: &Payload) -> Result<bool, Error> {
    if let Some(digest) = file["sha256Checksum"].as_str() {
        return Ok(digest.eq_ignore_ascii_case(&hex::encode(payload.sha256)));
    }
    let Some(digest) = file["md5Checksum"].as_str() else { return Ok(false) };
    Ok(digest.eq_ignore_ascii_case(&hex::encode(payload.md5().await.map_err(Error::unreadable)?)))
}

/// A media type that a drive does not take for one of its own forms and converts.
fn content_type(payload: &Payload) -> &str {
    let text = google::content_type(payload);
    if text.starts_with("application/vnd.google-apps") { "application/octet-stream" } else { text }
}

fn with_json(method: Method, url: &Url, body: &Value) -> Request {
    let mut request = Request::new(method, url.clone());
    request.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=UTF-8"));
    request.body = outbound::Body::Bytes(body.to_string().into());
    request
}

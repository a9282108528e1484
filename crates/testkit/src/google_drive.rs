//! A fake of Google Drive on the wire, version 3 of its interface, as far as files and changes go.
//!
//! Made after its documentation, and Google's own client is content with it (`tests/makers.rs`). It knows ids that are given beforehand,
//! folders, searches by name, uploads in one request (`multipart`, `media`) and in pieces (`resumable`), ranges, the trash, digests, and the
//! feed of changes. It says the `fields` that it is asked for, and no others. Whoever shows no good access token is refused. Errors have
//! Google's form.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::body::{Body, to_bytes};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use md5::Md5;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use self::fields::said_in;
use crate::answers::{failed, pairs, said, served};
use crate::wire::{Error, Listener, lock};
use crate::{Faults, OAuthServer, drive};

mod fields;
mod uploads;

const FOLDER: &str = "application/vnd.google-apps.folder";

/// A drive on a loopback port, and who gives tokens for it.
#[derive(Debug)]
pub struct GoogleDrive {
    listener: Listener,
    tokens: Arc<OAuthServer>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    given: u64,
    ids: BTreeSet<String>,
    files: BTreeMap<String, File>,
    sessions: BTreeMap<String, uploads::Session>,
    changes: Vec<(String, bool)>,
}

#[derive(Debug, Clone)]
struct File {
    id: String,
    name: String,
    mime: String,
    parents: Vec<String>,
    trashed: bool,
    bytes: Bytes,
    version: u64,
}

impl GoogleDrive {
    /// Starts an empty drive.
    pub fn start() -> Self {
        let (listener, tokens, state) =
            drive::start(|tokens, state, request| Box::pin(async move { answer(&tokens, &state, request).await }));
        Self { listener, tokens, state }
    }

    /// Who gives tokens for it.
    pub fn tokens(&self) -> &OAuthServer {
        &self.tokens
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.listener.address()
    }

    /// Its base URL, without a slash at its end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Every file that is not in the trash: its path from the top, and its bytes.
    pub fn files(&self) -> Vec<(String, Bytes)> {
        let state = lock(&self.state);
        let files = state.files.values().filter(|file| file.mime != FOLDER && !file.trashed);
        files.map(|file| (state.path(file), file.bytes.clone())).collect()
    }

    /// The paths of all folders, each as often as there is one.
    pub fn folders(&self) -> Vec<String> {
        let state = lock(&self.state);
        state.files.values().filter(|file| file.mime == FOLDER).map(|file| state.path(file)).collect()
    }

    /// Makes a folder at the top, as its owner would; its id.
    pub fn folder(&self, name: &str) -> String {
        let mut state = lock(&self.state);
        let file = state.create(&json!({"name": name, "mimeType": FOLDER}), Bytes::new());
        file.expect("a folder can be made").id
    }

    /// Changes the bytes of every file, as its owner would.
    pub fn tamper(&self, with: &dyn Fn(&[u8]) -> Vec<u8>) {
        for file in lock(&self.state).files.values_mut().filter(|file| file.mime != FOLDER) {
            file.bytes = with(&file.bytes).into();
        }
    }

    /// Removes a file or folder and what is in it, as its owner would.
    pub fn remove(&self, id: &str) {
        lock(&self.state).remove(id);
    }

    /// The same of a folder that is named by its path.
    pub fn remove_by_path(&self, path: &str) {
        let mut state = lock(&self.state);
        let found: Vec<String> =
            state.files.values().filter(|file| state.path(file) == path).map(|file| file.id.clone()).collect();
        found.iter().for_each(|id| state.remove(id));
    }

    /// The script of faults and the log of requests.
    pub fn faults(&self) -> &Faults {
        &self.listener.faults
    }

    /// Closes the port and every connection at once.
    pub fn stop(&self) {
        self.listener.stop();
    }
}

type Refused = (u16, &'static str, String);

impl State {
    fn next(&mut self) -> String {
        self.given += 1;
        format!("1stowlineFakeDriveId{:013}", self.given)
    }

    fn path(&self, file: &File) -> String {
        let above = file.parents.first().and_then(|parent| self.files.get(parent));
        above.map_or_else(|| file.name.clone(), |parent| format!("{}/{}", self.path(parent), file.name))
    }

    fn find(&self, id: &str) -> Result<&File, Refused> {
        self.files.get(id).ok_or_else(|| (404, "notFound", format!("File not found: {id}.")))
    }

    fn create(&mut self, about: &Value, bytes: Bytes) -> Result<File, Refused> {
        let given = about["id"].as_str().map(str::to_owned);
        if let Some(id) = &given {
            if !self.ids.contains(id) {
                return Err((400, "invalid", "The provided file ID is not usable.".to_owned()));
            }
            if self.files.contains_key(id) {
                return Err((409, "fileIdInUse", "A file already exists with the provided ID.".to_owned()));
            }
        }
        let parents = about["parents"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let mut parents: Vec<String> = parents.map(str::to_owned).collect();
        if parents.is_empty() {
            parents.push("root".to_owned());
        }
        for parent in parents.iter().filter(|parent| *parent != "root") {
            self.find(parent)?;
        }
        let file = File {
            id: given.unwrap_or_else(|| self.next()),
            name: about["name"].as_str().unwrap_or("Untitled").to_owned(),
            mime: about["mimeType"].as_str().unwrap_or("application/octet-stream").to_owned(),
            parents,
            trashed: false,
            bytes,
            version: 1,
        };
        self.files.insert(file.id.clone(), file.clone());
        self.changes.push((file.id.clone(), false));
        Ok(file)
    }

    fn change(&mut self, id: &str, about: &Value, bytes: Option<Bytes>) -> Result<File, Refused> {
        self.find(id)?;
        self.changes.push((id.to_owned(), false));
        let file = self.files.get_mut(id).ok_or_else(|| (404, "notFound", String::new()))?;
        if let Some(name) = about["name"].as_str() {
            file.name = name.to_owned();
        }
        if let Some(mime) = about["mimeType"].as_str() {
            file.mime = mime.to_owned();
        }
        if let Some(trashed) = about["trashed"].as_bool() {
            file.trashed = trashed;
        }
        if let Some(bytes) = bytes {
            file.bytes = bytes;
        }
        file.version += 1;
        Ok(file.clone())
    }

    fn remove(&mut self, id: &str) {
        let inside: Vec<String> = self
            .files
            .values()
            .filter(|file| file.parents.iter().any(|parent| parent == id))
            .map(|file| file.id.clone())
            .collect();
        inside.iter().for_each(|id| self.remove(id));
        if self.files.remove(id).is_some() {
            self.changes.push((id.to_owned(), true));
        }
    }
}

fn shown(file: &File) -> Value {
    let mut shown = json!({
        "kind": "drive#file", "id": file.id, "name": file.name, "mimeType": file.mime, "parents": file.parents, "trashed": file.trashed,
        "version": file.version.to_string(),
    });
    if file.mime != FOLDER {
        shown["size"] = file.bytes.len().to_string().into();
        shown["sha256Checksum"] = hex::encode(Sha256::digest(&file.bytes)).into();
        shown["md5Checksum"] = hex::encode(Md5::digest(&file.bytes)).into();
    }
    shown
}

fn refused((status, reason, message): Refused) -> Result<Response<Body>, Error> {
    let body = json!({"error": {"code": status, "message": message, "errors": [{"domain": "global", "reason": reason, "message": message}]}});
    said(status, &body)
}

async fn answer(tokens: &OAuthServer, state: &Mutex<State>, request: Request<Body>) -> Result<Response<Body>, Error> {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await?;
    let query = pairs(head.uri.query().unwrap_or_default());
    let path = head.uri.path().trim_end_matches('/').to_owned();
    let mut state = lock(state);
    // The address of a session lets in whoever has it.
    if let Some(id) = query.get("upload_id").filter(|_| head.method == Method::PUT) {
        return uploads::piece(&mut state, id, &head.headers, &body);
    }
    if !tokens.admits(&head.headers) {
        let message = "Request had invalid authentication credentials.".to_owned();
        return refused((401, "authError", message));
    }
    let get = |name: &str| query.get(name).map(String::as_str).unwrap_or_default();
    if let Some(rest) = path.strip_prefix("/upload/drive/v3/files") {
        let overwrites = rest.strip_prefix('/').map(str::to_owned);
        return uploads::upload(&mut state, &head.headers, &query, overwrites, &body);
    }
    match (head.method.as_str(), path.as_str()) {
        ("GET", "/drive/v3/files/generateIds") => {
            let ids: Vec<String> = (0..get("count").parse().unwrap_or(10)).map(|_| state.next()).collect();
            state.ids.extend(ids.iter().cloned());
            said(200, &json!({"kind": "drive#generatedIds", "space": "drive", "ids": ids}))
        }
        ("GET", "/drive/v3/files") => search(&state, &query),
        ("POST", "/drive/v3/files") => match state.create(&about(&body), Bytes::new()) {
            Ok(file) => said_in(get("fields"), shown(&file)),
            Err(error) => refused(error),
        },
        ("GET", "/drive/v3/changes/startPageToken") => {
            said(200, &json!({"kind": "drive#startPageToken", "startPageToken": state.changes.len().to_string()}))
        }
        ("GET", "/drive/v3/changes") => changes(&state, &query),
        (method, path) => match path.strip_prefix("/drive/v3/files/") {
            Some(id) => file(&mut state, method, id, &query, &head.headers, &body),
            None => failed(404),
        },
    }
}

fn about(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap_or_default()
}

fn file(
    state: &mut State,
    method: &str,
    id: &str,
    query: &BTreeMap<String, String>,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Response<Body>, Error> {
    if let Err(error) = state.find(id) {
        return refused(error);
    }
    let get = |name: &str| query.get(name).map(String::as_str).unwrap_or_default();
    match method {
        "GET" if get("alt") == "media" => {
            let file = &state.files[id];
            served(headers, &file.mime, &file.bytes)
        }
        "GET" => said_in(get("fields"), shown(&state.files[id])),
        "DELETE" => {
            state.remove(id);
            failed(204)
        }
        "PATCH" => match state.change(id, &about(body), None) {
            Ok(file) => said_in(get("fields"), shown(&file)),
            Err(error) => refused(error),
        },
        _ => failed(405),
    }
}

/// Answers a search of the form `'PARENT' in parents and name = 'NAME' and mimeType = 'TYPE' and trashed = false`, any part of it.
fn search(state: &State, query: &BTreeMap<String, String>) -> Result<Response<Body>, Error> {
    let get = |name: &str| query.get(name).map(String::as_str).unwrap_or_default();
    let mut found: Vec<&File> = state.files.values().collect();
    let plain = |text: &str| text.trim().trim_matches('\'').replace("\\'", "'").replace("\\\\", "\\");
    for part in get("q").split(" and ").filter(|part| !part.is_empty()) {
        if let Some(parent) = part.strip_suffix(" in parents") {
            found.retain(|file| file.parents.contains(&plain(parent)));
        } else if let Some((field, value)) = part.split_once(" != ") {
            found.retain(|file| field != "mimeType" || file.mime != plain(value));
        } else if let Some((field, value)) = part.split_once('=') {
            found.retain(|file| match field.trim() {
                "name" => file.name == plain(value),
                "mimeType" => file.mime == plain(value),
                "trashed" => file.trashed == (value.trim() == "true"),
                _ => false,
            });
        } else {
            return refused((400, "invalid", "Invalid Value".to_owned()));
        }
    }
    let (found, next) = page(&found, get("pageToken"), get("pageSize"));
    let found: Vec<Value> = found.iter().map(|file| shown(file)).collect();
    let mut list = json!({"kind": "drive#fileList", "incompleteSearch": false, "files": found});
    if let Some(next) = next {
        list["nextPageToken"] = next.to_string().into();
    }
    said_in(get("fields"), list)
}

/// What changed since a place in the feed, page by page.
fn changes(state: &State, query: &BTreeMap<String, String>) -> Result<Response<Body>, Error> {
    let get = |name: &str| query.get(name).map(String::as_str).unwrap_or_default();
    if get("pageToken").is_empty() {
        return refused((400, "required", "Required parameter: pageToken".to_owned()));
    }
    let (changed, next) = page(&state.changes, get("pageToken"), get("pageSize"));
    let change = |(id, removed): &(String, bool)| {
        let file = state.files.get(id).filter(|_| !removed).map(shown);
        let mut change = json!({"kind": "drive#change", "changeType": "file", "fileId": id, "removed": file.is_none(), "time": "2026-01-02T03:04:05.000Z"});
        if let Some(file) = file {
            change["file"] = file;
        }
        change
    };
    let changed: Vec<Value> = changed.iter().map(change).collect();
    let mut list = json!({"kind": "drive#changeList", "changes": changed});
    match next {
        Some(next) => list["nextPageToken"] = next.to_string().into(),
        None => list["newStartPageToken"] = state.changes.len().to_string().into(),
    }
    said_in(get("fields"), list)
}

/// A page of a list from a token on, and the token of the next.
fn page<'a, T>(all: &'a [T], token: &str, size: &str) -> (&'a [T], Option<usize>) {
    let from = token.parse().unwrap_or(0).min(all.len());
    let to = from.saturating_add(size.parse().unwrap_or(100)).min(all.len());
    (&all[from..to], (to < all.len()).then_some(to))
}

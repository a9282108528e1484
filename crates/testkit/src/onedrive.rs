//! A fake of OneDrive and SharePoint's drives on the wire: Microsoft Graph, version 1.0, as far as files go.
//!
//! Made after its documentation, and Microsoft's own client is content with it (`tests/makers.rs`). It knows paths and ids, folders, uploads
//! in one request and in sessions, digests, conflicts, downloads that are sent elsewhere, and the feed of changes (`delta`). Whoever shows no
//! good access token is refused; the address of a session or of a download lets in whoever has it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::body::{Body, to_bytes};
use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use self::tree::{ABSENT, DRIVE, Item, MALFORMED, ROOT, Refused, Tree};
use crate::answers::{failed, pairs, said, served, with_headers};
use crate::wire::{Error, Listener, lock};
use crate::{Faults, OAuthServer, drive};

mod tree;

/// A drive on a loopback port, and who gives tokens for it.
#[derive(Debug)]
pub struct OneDrive {
    listener: Listener,
    tokens: Arc<OAuthServer>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    tree: Tree,
    sessions: BTreeMap<String, Session>,
}

#[derive(Debug, Clone, Default)]
struct Session {
    path: String,
    conflict: String,
    bytes: Vec<u8>,
}

impl OneDrive {
    /// Starts an empty one.
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

    /// The id of its one drive, under which it can be had as well as under `/me/drive`.
    pub fn drive_id(&self) -> &'static str {
        DRIVE
    }

    /// Every file: its path and its bytes.
    pub fn files(&self) -> Vec<(String, Bytes)> {
        lock(&self.state).tree.files().map(|(file, bytes)| (file.path.clone(), bytes.clone())).collect()
    }

    /// The paths and ids of all folders.
    pub fn folders(&self) -> Vec<(String, String)> {
        lock(&self.state).tree.folders().map(|folder| (folder.path.clone(), folder.id.clone())).collect()
    }

    /// Makes a folder at the top, as its owner would; its id.
    pub fn folder(&self, name: &str) -> String {
        lock(&self.state).tree.create_folder(name, "fail").expect("a folder can be made").id
    }

    /// Removes a file or folder and what is in it, as its owner would.
    pub fn remove(&self, id: &str) {
        lock(&self.state).tree.remove(id).expect("it is there");
    }

    /// Changes the bytes of every file, as its owner would.
    pub fn tamper(&self, with: &dyn Fn(&[u8]) -> Vec<u8>) {
        lock(&self.state).tree.tamper(with);
    }

    /// How many sessions are open.
    pub fn sessions(&self) -> usize {
        lock(&self.state).sessions.len()
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

fn refused((status, code, message): Refused) -> Result<Response<Body>, Error> {
    said(status, &json!({"error": {"code": code, "message": message, "innerError": {"request-id": "0"}}}))
}

async fn answer(tokens: &OAuthServer, state: &Mutex<State>, request: Request<Body>) -> Result<Response<Body>, Error> {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await?;
    let path = head.uri.path().to_owned();
    let mut state = lock(state);
    if let Some(place) = path.strip_prefix("/elsewhere/") {
        return match place.split_once('/') {
            Some(("session", id)) => session(&mut state, id, &head, &body),
            Some(("download", id)) => match state.tree.by_id(id).ok().and_then(|file| file.bytes.as_ref()) {
                Some(bytes) => served(&head.headers, "application/octet-stream", bytes),
                None => failed(404),
            },
            _ => failed(404),
        };
    }
    if !tokens.admits(&head.headers) {
        return refused((401, "InvalidAuthenticationToken", "Lifetime validation failed, the token is expired."));
    }
    let drives =
        ["/v1.0/me/drive/".to_owned(), format!("/v1.0/drives/{DRIVE}/"), "/v1.0/sites/example,1,2/drive/".to_owned()];
    let plain = percent_decode_str(&path).decode_utf8_lossy().into_owned();
    let Some(rest) = drives.iter().find_map(|drive| plain.strip_prefix(drive)) else { return refused(ABSENT) };
    let asked = Asked { head: &head, query: pairs(head.uri.query().unwrap_or_default()), body };
    asked.about(&mut state, rest).unwrap_or_else(refused)
}

/// A request that was let in.
struct Asked<'a> {
    head: &'a Parts,
    query: BTreeMap<String, String>,
    body: Bytes,
}

type Answered = Result<Result<Response<Body>, Error>, Refused>;

impl Asked<'_> {
    fn about(&self, state: &mut State, rest: &str) -> Answered {
        let rest = rest.strip_prefix("items/").unwrap_or(rest);
        // `root:/a/b:/content`, `ID:/a/b`: a path below a folder, and what is to be done there.
        if let Some((folder, rest)) = rest.split_once(":/") {
            let (path, action) = rest.rsplit_once(':').unwrap_or((rest, ""));
            let folder = state.tree.folder_path(folder)?;
            let path = path.trim_end_matches('/');
            let path = if folder.is_empty() { path.to_owned() } else { format!("{folder}/{path}") };
            return self.by_path(state, &path, action);
        }
        let (id, action) = rest.split_once('/').unwrap_or((rest, ""));
        match (self.head.method.as_str(), action) {
            ("GET", "delta") => self.delta(state),
            (_, "children") => {
                let folder = state.tree.folder_path(id)?;
                self.children(state, &folder)
            }
            ("GET", "") if id == "root" => {
                Ok(said(200, &json!({"id": ROOT, "name": "root", "root": {}, "folder": {"childCount": 0}})))
            }
            (_, action) => self.by_id(state, id, action),
        }
    }

    fn by_path(&self, state: &mut State, path: &str, action: &str) -> Answered {
        match (self.head.method.as_str(), action) {
            ("PUT", "/content") => {
                let conflict = self.query.get("@microsoft.graph.conflictBehavior").map_or("replace", String::as_str);
                let mime = self.head.headers.get("content-type").and_then(|mime| mime.to_str().ok());
                let stored = state.tree.store(path, conflict, mime.unwrap_or_default(), self.body.clone())?;
                Ok(stored_as(&state.tree, &stored))
            }
            ("POST", "/createUploadSession") => {
                let about: Value = serde_json::from_slice(&self.body).unwrap_or_default();
                let conflict = about["item"]["@microsoft.graph.conflictBehavior"].as_str().unwrap_or("fail").to_owned();
                let id = state.tree.next();
                state.sessions.insert(id.clone(), Session { path: path.to_owned(), conflict, bytes: Vec::new() });
                let address = format!("{}/elsewhere/session/{id}", self.origin());
                Ok(said(
                    200,
                    &json!({"uploadUrl": address, "expirationDateTime": "2099-01-01T00:00:00Z", "nextExpectedRanges": ["0-"]}),
                ))
            }
            (_, "/children") => self.children(state, path),
            (_, action) => {
                let id = state.tree.at(path)?.id.clone();
                self.by_id(state, &id, action.trim_start_matches('/'))
            }
        }
    }

    fn by_id(&self, state: &mut State, id: &str, action: &str) -> Answered {
        let item = state.tree.by_id(id)?;
        match (self.head.method.as_str(), action) {
            ("GET", "") => Ok(said(200, &state.tree.shown(item))),
            ("GET", "content") if item.bytes.is_some() => {
                let location = format!("{}/elsewhere/download/{id}", self.origin());
                Ok(with_headers(302, &[("location", &location)]))
            }
            ("DELETE", "") => {
                state.tree.remove(id)?;
                Ok(failed(204))
            }
            _ => Err(MALFORMED),
        }
    }

    /// What lies in a folder, page by page, or a new folder in it.
    fn children(&self, state: &mut State, folder: &str) -> Answered {
        if self.head.method == "POST" {
            let about: Value = serde_json::from_slice(&self.body).unwrap_or_default();
            let name = about["name"].as_str().filter(|name| !name.is_empty() && !name.contains('/'));
            let name = name.filter(|_| about["folder"].is_object()).ok_or(MALFORMED)?;
            if !folder.is_empty() {
                state.tree.at(folder)?;
            }
            let path = if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
            let conflict = about["@microsoft.graph.conflictBehavior"].as_str().unwrap_or("fail");
            let made = state.tree.create_folder(&path, conflict)?;
            return Ok(said(201, &state.tree.shown(&made)));
        }
        let inside = state.tree.children(folder)?;
        let from: usize = self.query.get("$skiptoken").and_then(|at| at.parse().ok()).unwrap_or_default();
        let top = self.top();
        let shown: Vec<Value> = inside.iter().skip(from).take(top).map(|item| state.tree.shown(item)).collect();
        let mut page = json!({"value": shown});
        if inside.len() > from.saturating_add(top) {
            let here = self.head.uri.path();
            page["@odata.nextLink"] = format!("{}{here}?$top={top}&$skiptoken={}", self.origin(), from + top).into();
        }
        Ok(said(200, &page))
    }

    /// What changed since the feed was read the last time.
    fn delta(&self, state: &State) -> Answered {
        let end = state.tree.end();
        let since = match self.query.get("token").map(String::as_str) {
            None | Some("") => 0,
            Some("latest") => end,
            Some(token) => token.parse().map_err(|_| (410, "resyncRequired", "The delta token is not known."))?,
        };
        let top = self.top();
        let (changed, at) = state.tree.changes(since, top);
        let link = |token: usize| format!("{}/v1.0/drives/{DRIVE}/root/delta?token={token}", self.origin());
        let mut page = json!({"value": changed});
        if at < end {
            page["@odata.nextLink"] = format!("{}&$top={top}", link(at)).into();
        } else {
            page["@odata.deltaLink"] = link(end).into();
        }
        Ok(said(200, &page))
    }

    fn top(&self) -> usize {
        self.query.get("$top").and_then(|top| top.parse().ok()).unwrap_or(200)
    }

    /// Where it is asked: behind a proxy that says so, by TLS.
    fn origin(&self) -> String {
        let text = |name: &str| self.head.headers.get(name).and_then(|value| value.to_str().ok());
        format!("{}://{}", text("x-forwarded-proto").unwrap_or("http"), text("host").unwrap_or_default())
    }
}

fn stored_as(tree: &Tree, (new, item): &(bool, Item)) -> Result<Response<Body>, Error> {
    said(if *new { 201 } else { 200 }, &tree.shown(item))
}

/// A piece of a session (`Content-Range: bytes 0-9/100`), the question how far it is, or its end before the end.
fn session(state: &mut State, id: &str, head: &Parts, body: &Bytes) -> Result<Response<Body>, Error> {
    let Some(mut session) = state.sessions.get(id).cloned() else {
        return refused((404, "itemNotFound", "The upload session was not found"));
    };
    if head.method == "DELETE" {
        state.sessions.remove(id);
        return failed(204);
    }
    if head.method == "PUT" {
        let range = head.headers.get("content-range").and_then(|range| range.to_str().ok()).unwrap_or_default();
        let (part, total) = range.trim_start_matches("bytes ").split_once('/').unwrap_or_default();
        let (first, total) =
            (part.split('-').next().and_then(|first| first.parse::<usize>().ok()), total.parse::<usize>());
        let Ok(total) = total else {
            return refused((400, "invalidRequest", "The Content-Range header is missing or malformed."));
        };
        if first != Some(session.bytes.len()) {
            return refused((
                416,
                "invalidRange",
                "The uploaded fragment overlaps with data that has already been received.",
            ));
        }
        session.bytes.extend_from_slice(body);
        if session.bytes.len() == total {
            state.sessions.remove(id);
            let stored =
                state.tree.store(&session.path, &session.conflict, "application/octet-stream", session.bytes.into());
            return stored.map_or_else(refused, |stored| stored_as(&state.tree, &stored));
        }
        if !body.len().is_multiple_of(320 << 10) {
            return refused((400, "invalidRequest", "A fragment is a multiple of 320 KiB."));
        }
        state.sessions.insert(id.to_owned(), session.clone());
    }
    let status = if head.method == "PUT" { 202 } else { 200 };
    let next = json!({"expirationDateTime": "2099-01-01T00:00:00Z", "nextExpectedRanges": [format!("{}-", session.bytes.len())]});
    said(status, &next)
}

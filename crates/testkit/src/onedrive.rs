//! A fake of OneDrive and SharePoint's drives on the wire: Microsoft Graph, version 1.0, as far as files go.
//!
//! Made after its documentation. It knows paths and ids, uploads in one request and in
//! sessions, digests, conflicts, downloads that are sent elsewhere, and the feed of changes (`delta`). Whoever shows no good access token is
//! refused; the address of a session or of a download lets in whoever has it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::body::{Body, to_bytes};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Request, Response};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use crate::answers::{failed, pairs, said, served, with_headers};
use crate::wire::{Error, Listener, lock};
use crate::{Faults, OAuthServer, drive};

const DRIVE: &str = "b!fakeDrive01";

/// A drive on a loopback port, and who gives tokens for it.
#[derive(Debug)]
pub struct OneDrive {
    listener: Listener,
    tokens: Arc<OAuthServer>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    given: u64,
    /// By path in lowercase, without a slash at its beginning.
    files: BTreeMap<String, File>,
    sessions: BTreeMap<String, Session>,
    changes: Vec<Value>,
}

#[derive(Debug, Clone)]
struct File {
    id: String,
    path: String,
    mime: String,
    bytes: Bytes,
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
        lock(&self.state).files.values().map(|file| (file.path.clone(), file.bytes.clone())).collect()
    }

    /// Changes the bytes of every file, as its owner would.
    pub fn tamper(&self, with: &dyn Fn(&[u8]) -> Vec<u8>) {
        for file in lock(&self.state).files.values_mut() {
            file.bytes = with(&file.bytes).into();
        }
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

/// The digest of these drives, bit by bit as its description goes.
fn quick_xor(bytes: &[u8]) -> String {
    let mut bits = [false; 160];
    for (n, byte) in bytes.iter().enumerate() {
        (0..8).filter(|bit| byte >> bit & 1 == 1).for_each(|bit| bits[(n * 11 + bit) % 160] ^= true);
    }
    let mut digest = [0_u8; 20];
    bits.iter().enumerate().filter(|(_, set)| **set).for_each(|(n, _)| digest[n / 8] |= 1 << (n % 8));
    digest[12..].iter_mut().zip((bytes.len() as u64).to_le_bytes()).for_each(|(place, byte)| *place ^= byte);
    STANDARD.encode(digest)
}

fn shown(file: &File) -> Value {
    json!({
        "id": file.id, "name": file.path.rsplit('/').next(), "size": file.bytes.len(), "eTag": format!("\"{{{}}},1\"", file.id),
        "parentReference": {"driveId": DRIVE, "driveType": "business", "id": "01ROOT", "path": "/drive/root:"},
        "file": {"mimeType": file.mime, "hashes": {"quickXorHash": quick_xor(&file.bytes)}},
    })
}

fn refused(status: u16, code: &str, message: &str) -> Result<Response<Body>, Error> {
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
            Some(("download", id)) => match state.files.values().find(|file| file.id == id) {
                Some(file) => served(&head.headers, "application/octet-stream", &file.bytes),
                None => failed(404),
            },
            _ => failed(404),
        };
    }
    if !tokens.admits(&head.headers) {
        return refused(401, "InvalidAuthenticationToken", "Lifetime validation failed, the token is expired.");
    }
    let drives =
        ["/v1.0/me/drive/".to_owned(), format!("/v1.0/drives/{DRIVE}/"), "/v1.0/sites/example,1,2/drive/".to_owned()];
    let plain = percent_decode_str(&path).decode_utf8_lossy().into_owned();
    let Some(rest) = drives.iter().find_map(|drive| plain.strip_prefix(drive)) else {
        return refused(404, "itemNotFound", "The resource could not be found.");
    };
    match rest.strip_prefix("root:/").or_else(|| rest.strip_prefix("items/root:/")) {
        Some(rest) => {
            let (path, action) = rest.rsplit_once(':').unwrap_or((rest, ""));
            by_path(&mut state, &head, path, action, body)
        }
        None => by_id(&mut state, &head, rest),
    }
}

fn host(headers: &HeaderMap) -> &str {
    headers.get("host").and_then(|host| host.to_str().ok()).unwrap_or_default()
}

fn by_path(state: &mut State, head: &Parts, path: &str, action: &str, body: Bytes) -> Result<Response<Body>, Error> {
    let query = pairs(head.uri.query().unwrap_or_default());
    match (head.method.as_str(), action) {
        ("PUT", "/content") => {
            let conflict = query.get("@microsoft.graph.conflictBehavior").map_or("replace", String::as_str);
            let mime = head.headers.get("content-type").and_then(|mime| mime.to_str().ok()).unwrap_or_default();
            state.store(path, conflict, mime, body)
        }
        ("POST", "/createUploadSession") => {
            let about: Value = serde_json::from_slice(&body).unwrap_or_default();
            let conflict = about["item"]["@microsoft.graph.conflictBehavior"].as_str().unwrap_or("fail").to_owned();
            let id = state.next();
            state.sessions.insert(id.clone(), Session { path: path.to_owned(), conflict, bytes: Vec::new() });
            let address = format!("http://{}/elsewhere/session/{id}", host(&head.headers));
            said(
                200,
                &json!({"uploadUrl": address, "expirationDateTime": "2099-01-01T00:00:00Z", "nextExpectedRanges": ["0-"]}),
            )
        }
        ("GET", "") => match state.files.get(&path.to_lowercase()) {
            Some(file) => said(200, &shown(file)),
            None => refused(404, "itemNotFound", "The resource could not be found."),
        },
        _ => refused(400, "invalidRequest", "The request is malformed or incorrect."),
    }
}

fn by_id(state: &mut State, head: &Parts, rest: &str) -> Result<Response<Body>, Error> {
    if let ("GET", Some(since)) = (head.method.as_str(), rest.strip_prefix("root/delta")) {
        let query = pairs(head.uri.query().unwrap_or_default());
        let since: usize = query.get("token").map_or(since, String::as_str).parse().unwrap_or_default();
        let link =
            format!("http://{}/v1.0/drives/{DRIVE}/root/delta?token={}", host(&head.headers), state.changes.len());
        let changes: Vec<Value> = state.changes.iter().skip(since).cloned().collect();
        return said(200, &json!({"value": changes, "@odata.deltaLink": link}));
    }
    let rest = rest.strip_prefix("items/").unwrap_or_default();
    let (id, action) = rest.split_once('/').unwrap_or((rest, ""));
    let Some(file) = state.files.values().find(|file| file.id == id).cloned() else {
        return refused(404, "itemNotFound", "The resource could not be found.");
    };
    match (head.method.as_str(), action) {
        ("GET", "") => said(200, &shown(&file)),
        ("GET", "content") => {
            with_headers(302, &[("location", &format!("http://{}/elsewhere/download/{id}", host(&head.headers)))])
        }
        ("DELETE", "") => {
            state.files.remove(&file.path.to_lowercase());
            state.changes.push(json!({"id": file.id, "deleted": {"state": "deleted"}}));
            failed(204)
        }
        _ => refused(400, "invalidRequest", "The request is malformed or incorrect."),
    }
}

/// A piece of a session (`Content-Range: bytes 0-9/100`), the question how far it is, or its end before the end.
fn session(state: &mut State, id: &str, head: &Parts, body: &Bytes) -> Result<Response<Body>, Error> {
    let Some(mut session) = state.sessions.get(id).cloned() else {
        return refused(404, "itemNotFound", "The upload session was not found");
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
            return refused(400, "invalidRequest", "The Content-Range header is missing or malformed.");
        };
        if first != Some(session.bytes.len()) {
            return refused(
                416,
                "invalidRange",
                "The uploaded fragment overlaps with data that has already been received.",
            );
        }
        session.bytes.extend_from_slice(body);
        if session.bytes.len() == total {
            state.sessions.remove(id);
            return state.store(&session.path, &session.conflict, "application/octet-stream", session.bytes.into());
        }
        if !body.len().is_multiple_of(320 << 10) {
            return refused(400, "invalidRequest", "A fragment is a multiple of 320 KiB.");
        }
        state.sessions.insert(id.to_owned(), session.clone());
    }
    let status = if head.method == "PUT" { 202 } else { 200 };
    let next = json!({"expirationDateTime": "2099-01-01T00:00:00Z", "nextExpectedRanges": [format!("{}-", session.bytes.len())]});
    said(status, &next)
}

impl State {
    fn next(&mut self) -> String {
        self.given += 1;
        format!("01FAKEITEM{:024}", self.given)
    }

    fn store(&mut self, path: &str, conflict: &str, mime: &str, bytes: Bytes) -> Result<Response<Body>, Error> {
        let there = self.files.get(&path.to_lowercase()).map(|file| file.id.clone());
        if there.is_some() && conflict == "fail" {
            return refused(409, "nameAlreadyExists", "An item with the same name already exists under the parent");
        }
        let status = if there.is_some() { 200 } else { 201 };
        let id = there.unwrap_or_else(|| self.next());
        let file = File { id, path: path.to_owned(), mime: mime.to_owned(), bytes };
        let answer = shown(&file);
        self.files.insert(path.to_lowercase(), file);
        self.changes.push(answer.clone());
        said(status, &answer)
    }
}

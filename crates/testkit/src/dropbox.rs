//! A fake of Dropbox on the wire, version 2 of its interface, as far as files go.
//!
//! Made after its documentation; Dropbox's own client has not been tried on it. It knows uploads in one request and in sessions, digests,
//! conflicts, ranges, ids that survive moves, and the feed of a folder. Whoever shows no good access token is refused.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::body::{Body, to_bytes};
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::answers::{failed, said, served};
use crate::wire::{Error, Listener, lock};
use crate::{Faults, OAuthServer, drive};

/// A Dropbox on a loopback port, and who gives tokens for it.
#[derive(Debug)]
pub struct Dropbox {
    listener: Listener,
    tokens: Arc<OAuthServer>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    given: u64,
    /// By path in lowercase.
    files: BTreeMap<String, File>,
    sessions: BTreeMap<String, Vec<u8>>,
    changes: Vec<Value>,
}

#[derive(Debug, Clone)]
struct File {
    id: String,
    path: String,
    rev: String,
    bytes: Bytes,
}

impl Dropbox {
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

    /// Moves a file, as its owner would.
    pub fn rename(&self, from: &str, to: &str) {
        let mut state = lock(&self.state);
        if let Some(mut file) = state.files.remove(&from.to_lowercase()) {
            to.clone_into(&mut file.path);
            state.files.insert(to.to_lowercase(), file);
        }
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

fn content_hash(bytes: &[u8]) -> String {
    let blocks: Vec<u8> = bytes.chunks(4 << 20).flat_map(|block| Sha256::digest(block).to_vec()).collect();
    hex::encode(Sha256::digest(blocks))
}

fn shown(file: &File) -> Value {
    json!({
        ".tag": "file", "name": file.path.rsplit('/').next(), "id": file.id, "rev": file.rev, "size": file.bytes.len(),
        "client_modified": "2026-01-02T03:04:05Z", "server_modified": "2026-01-02T03:04:05Z", "is_downloadable": true,
        "path_lower": file.path.to_lowercase(), "path_display": file.path, "content_hash": content_hash(&file.bytes),
    })
}

/// A failure of a function: `path/not_found`, as a summary and as tags in tags.
fn refused(words: &str) -> Result<Response<Body>, Error> {
    let mut tags = words.split('/').rev().fold(Value::Null, |inner, word| match inner {
        Value::Null => json!({".tag": word}),
        inner => json!({".tag": word, word: inner}),
    });
    // A failed commit says why, and in which session it would be tried again.
    if let Some(inner) = words.strip_prefix("path/") {
        tags["reason"] = tags["path"].clone();
        tags["upload_session_id"] = "none".into();
        if !inner.starts_with("conflict") {
            tags["path"] = json!({".tag": inner});
        }
    }
    said(409, &json!({"error_summary": format!("{words}/..."), "error": tags}))
}

async fn answer(tokens: &OAuthServer, state: &Mutex<State>, request: Request<Body>) -> Result<Response<Body>, Error> {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await?;
    if !tokens.admits(&head.headers) {
        let words = "expired_access_token";
        return said(401, &json!({"error_summary": format!("{words}/..."), "error": {".tag": words}}));
    }
    let argument = match head.headers.get("dropbox-api-arg") {
        Some(argument) => serde_json::from_slice(argument.as_bytes()),
        None => serde_json::from_slice(&body),
    };
    let argument: Value = argument.unwrap_or_default();
    let mut state = lock(state);
    match head.uri.path() {
        "/2/files/upload" => {
            if argument["content_hash"].as_str().is_some_and(|hash| hash != content_hash(&body)) {
                return refused("content_hash_mismatch");
            }
            state.commit(&argument, body)
        }
        "/2/files/upload_session/start" => {
            let id = state.next("session");
            state.sessions.insert(id.clone(), body.to_vec());
            said(200, &json!({"session_id": id}))
        }
        "/2/files/upload_session/append_v2" => match state.append(&argument["cursor"], &body) {
            Some(refusal) => refusal,
            None => said(200, &Value::Null),
        },
        "/2/files/upload_session/finish" => {
            if let Some(refusal) = state.append(&argument["cursor"], &body) {
                return refusal;
            }
            let session = argument["cursor"]["session_id"].as_str().unwrap_or_default();
            let bytes = state.sessions.remove(session).unwrap_or_default();
            state.commit(&argument["commit"], bytes.into())
        }
        "/2/files/download" => download(&state, &argument, &head.headers),
        "/2/files/get_metadata" => match state.find(&argument["path"]) {
            Some(file) => said(200, &shown(file)),
            None => refused("path/not_found"),
        },
        "/2/files/delete_v2" => match state.find(&argument["path"]).cloned() {
            Some(file) => {
                state.files.remove(&file.path.to_lowercase());
                state.changes.push(json!({".tag": "deleted", "name": file.path.rsplit('/').next(), "path_lower": file.path.to_lowercase(), "path_display": file.path}));
                said(200, &json!({"metadata": shown(&file)}))
            }
            None => refused("path_lookup/not_found"),
        },
        "/2/files/list_folder" | "/2/files/list_folder/continue" => {
            let since: usize = argument["cursor"].as_str().and_then(|cursor| cursor.parse().ok()).unwrap_or_default();
            let entries: Vec<Value> = state.changes.iter().skip(since).cloned().collect();
            said(200, &json!({"entries": entries, "cursor": state.changes.len().to_string(), "has_more": false}))
        }
        _ => failed(404),
    }
}

fn download(state: &State, argument: &Value, headers: &HeaderMap) -> Result<Response<Body>, Error> {
    let Some(file) = state.find(&argument["path"]) else { return refused("path/not_found") };
    let mut answer = served(headers, "application/octet-stream", &file.bytes)?;
    answer.headers_mut().insert("dropbox-api-result", shown(file).to_string().parse()?);
    Ok(answer)
}

impl State {
    fn next(&mut self, kind: &str) -> String {
        self.given += 1;
        format!("{kind}:{:022}", self.given)
    }

    fn find(&self, named: &Value) -> Option<&File> {
        let named = named.as_str()?;
        self.files.get(&named.to_lowercase()).or_else(|| self.files.values().find(|file| file.id == named))
    }

    /// Appends to a session; what is to be answered where that cannot be.
    fn append(&mut self, cursor: &Value, body: &Bytes) -> Option<Result<Response<Body>, Error>> {
        let session = cursor["session_id"].as_str().and_then(|id| self.sessions.get_mut(id));
        let Some(session) = session else { return Some(refused("lookup_failed/not_found")) };
        if cursor["offset"].as_u64() != Some(session.len() as u64) {
            let error = json!({".tag": "incorrect_offset", "correct_offset": session.len()});
            return Some(said(409, &json!({"error_summary": "incorrect_offset/...", "error": error})));
        }
        session.extend_from_slice(body);
        None
    }

    fn commit(&mut self, about: &Value, bytes: Bytes) -> Result<Response<Body>, Error> {
        let path = about["path"].as_str().unwrap_or_default();
        if !path.starts_with('/') || path.split('/').any(|name| name.chars().count() > 255) {
            return refused("path/malformed_path");
        }
        let mode = about["mode"][".tag"].as_str().or(about["mode"].as_str()).unwrap_or("add");
        if let Some(there) = self.files.get(&path.to_lowercase()).filter(|_| mode == "add") {
            // The same once more is no conflict.
            return if there.bytes == bytes { said(200, &shown(there)) } else { refused("path/conflict/file") };
        }
        let file = File { id: self.next("id"), path: path.to_owned(), rev: self.next("rev").replace(':', ""), bytes };
        let answer = shown(&file);
        self.files.insert(path.to_lowercase(), file);
        self.changes.push(answer.clone());
        said(200, &answer)
    }
}

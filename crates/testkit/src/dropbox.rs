//! A fake of Dropbox on the wire, version 2 of its interface, as far as files go.
//!
//! Made after its documentation, and Dropbox's own client is content with it (`tests/makers.rs`). It knows uploads in one request and in
//! sessions, digests, conflicts, ranges, folders, ids that survive moves, and the feed of a folder. Whoever shows no good access token is
//! refused.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::body::{Body, to_bytes};
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use serde_json::{Value, json};

use self::tree::{Content, Tree, shown};
use crate::answers::{failed, said, served};
use crate::wire::{Error, Listener, lock};
use crate::{Faults, OAuthServer, drive};

mod tree;

/// A Dropbox on a loopback port, and who gives tokens for it.
#[derive(Debug)]
pub struct Dropbox {
    listener: Listener,
    tokens: Arc<OAuthServer>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    tree: Tree,
    sessions: BTreeMap<String, Vec<u8>>,
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
        lock(&self.state).tree.files().map(|(file, bytes)| (file.path.clone(), bytes.clone())).collect()
    }

    /// Changes the bytes of every file, as its owner would.
    pub fn tamper(&self, with: &dyn Fn(&[u8]) -> Vec<u8>) {
        lock(&self.state).tree.tamper(with);
    }

    /// Moves a file, as its owner would.
    pub fn rename(&self, from: &str, to: &str) {
        lock(&self.state).tree.rename(from, to);
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

/// A failure of a function: `path/not_found`, as a summary and as tags in tags.
fn refused(words: &str) -> Result<Response<Body>, Error> {
    said(409, &json!({"error_summary": format!("{words}/..."), "error": tags(words)}))
}

fn tags(words: &str) -> Value {
    words.split('/').rev().fold(Value::Null, |inner, word| match inner {
        Value::Null => json!({".tag": word}),
        inner => json!({".tag": word, word: inner}),
    })
}

/// The failure of an upload in one request says why, and in which session it may be tried again.
fn refused_upload(words: &str) -> Result<Response<Body>, Error> {
    let reason = tags(words)["path"].clone();
    let error = json!({".tag": "path", "reason": reason, "upload_session_id": "none"});
    said(409, &json!({"error_summary": format!("{words}/..."), "error": error}))
}

/// The failure of a session's step, inside another word where it is the last step's.
fn refused_as(word: &str, failure: &Value) -> Result<Response<Body>, Error> {
    let tag = failure[".tag"].as_str().unwrap_or_default();
    let (summary, error) = match word {
        "" => (tag.to_owned(), failure.clone()),
        word => (format!("{word}/{tag}"), json!({".tag": word, word: failure})),
    };
    said(409, &json!({"error_summary": format!("{summary}/..."), "error": error}))
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
    let function = head.uri.path().strip_prefix("/2/files/").unwrap_or_default();
    if function == "upload" {
        // Digested before others have to wait.
        let content = Content::of(body);
        if argument["content_hash"].as_str().is_some_and(|hash| hash != content.hash) {
            return refused("content_hash_mismatch");
        }
        return lock(state).commit(&argument, content).map_or_else(refused_upload, |stored| said(200, &stored));
    }
    let mut state = lock(state);
    match function {
        "upload_session/start" => {
            let id = state.tree.next("session");
            state.sessions.insert(id.clone(), body.to_vec());
            said(200, &json!({"session_id": id}))
        }
        "upload_session/append_v2" => match state.append(&argument["cursor"], &body) {
            Some(failure) => refused_as("", &failure),
            None => said(200, &Value::Null),
        },
        "upload_session/finish" => {
            if let Some(failure) = state.append(&argument["cursor"], &body) {
                return refused_as("lookup_failed", &failure);
            }
            let session = argument["cursor"]["session_id"].as_str().unwrap_or_default();
            let bytes = state.sessions.remove(session).unwrap_or_default();
            let content = Content::of(bytes.into());
            state.commit(&argument["commit"], content).map_or_else(refused, |stored| said(200, &stored))
        }
        "download" => download(&state, &argument, &head.headers),
        function => state.call(function, &argument).unwrap_or_else(|words| refused(&words)),
    }
}

fn download(state: &State, argument: &Value, headers: &HeaderMap) -> Result<Response<Body>, Error> {
    let Some(file) = state.tree.find(&argument["path"]) else { return refused("path/not_found") };
    let Some(content) = &file.content else { return refused("path/not_file") };
    let mut answer = served(headers, "application/octet-stream", &content.bytes)?;
    answer.headers_mut().insert("dropbox-api-result", shown(file).to_string().parse()?);
    Ok(answer)
}

impl State {
    /// A function whose argument and answer are JSON; or the words of its failure.
    fn call(&mut self, function: &str, argument: &Value) -> Result<Result<Response<Body>, Error>, String> {
        let tree = &mut self.tree;
        let path = argument["path"].as_str().unwrap_or_default();
        let metadata = |shown: Value| said(200, &json!({"metadata": shown}));
        match function {
            "get_metadata" => {
                Ok(said(200, &tree.find(&argument["path"]).map(shown).ok_or_else(|| "path/not_found".to_owned())?))
            }
            "delete_v2" => {
                let gone = tree.find(&argument["path"]).cloned().ok_or_else(|| "path_lookup/not_found".to_owned())?;
                // Asked to remove one revision and no other.
                if argument["parent_rev"].as_str().is_some_and(|rev| gone.content.is_none() || gone.rev != rev) {
                    return Err("path_write/conflict/file".to_owned());
                }
                tree.remove(&gone.path);
                Ok(metadata(shown(&gone)))
            }
            "create_folder_v2" => match tree.at(path) {
                Some(there) if there.content.is_none() => Err("path/conflict/folder".to_owned()),
                Some(_) => Err("path/conflict/file".to_owned()),
                None => Ok(metadata(untagged(shown(tree.keep(path, None))))),
            },
            "list_folder" => {
                if !path.is_empty() && tree.find(&argument["path"]).is_none_or(|there| there.content.is_some()) {
                    return Err("path/not_found".to_owned());
                }
                let limit = argument["limit"].as_u64().map_or(500, |limit| limit as usize);
                Ok(said(200, &tree.list(path, argument["recursive"] == true, limit)))
            }
            "list_folder/continue" => {
                let page = tree.go_on(argument["cursor"].as_str().unwrap_or_default());
                Ok(said(200, &page.ok_or_else(|| "reset".to_owned())?))
            }
            _ => Ok(failed(404)),
        }
    }

    /// Appends to a session; what is wrong where that cannot be.
    fn append(&mut self, cursor: &Value, body: &Bytes) -> Option<Value> {
        let session = cursor["session_id"].as_str().and_then(|id| self.sessions.get_mut(id));
        let Some(session) = session else { return Some(json!({".tag": "not_found"})) };
        if cursor["offset"].as_u64() != Some(session.len() as u64) {
            return Some(json!({".tag": "incorrect_offset", "correct_offset": session.len()}));
        }
        session.extend_from_slice(body);
        None
    }

    /// Makes bytes a file; what it says of it, or the words of the failure.
    fn commit(&mut self, about: &Value, content: Content) -> Result<Value, &'static str> {
        let path = about["path"].as_str().unwrap_or_default();
        if !path.starts_with('/') || path.split('/').any(|name| name.chars().count() > 255) {
            return Err("path/malformed_path");
        }
        let mode = about["mode"][".tag"].as_str().or(about["mode"].as_str()).unwrap_or("add");
        if let Some(there) = self.tree.at(path).filter(|there| mode == "add" || there.content.is_none()) {
            // The same once more is no conflict.
            return match &there.content {
                Some(kept) if kept.hash == content.hash => Ok(untagged(shown(there))),
                Some(_) => Err("path/conflict/file"),
                None => Err("path/conflict/folder"),
            };
        }
        Ok(untagged(shown(self.tree.keep(path, Some(content)))))
    }
}

/// What can be nothing but a file, or nothing but a folder, is not said to be one.
fn untagged(mut shown: Value) -> Value {
    shown.as_object_mut().into_iter().for_each(|shown| drop(shown.remove(".tag")));
    shown
}

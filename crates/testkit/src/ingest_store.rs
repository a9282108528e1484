//! An ingest endpoint as those who upload to it see it: what is PUT or POSTed below `/v2/ingest/{account}` becomes a document.
//!
//! The same name with the same bytes stays one document, and its arrivals are counted: what was sent twice shows. A request without the
//! key is a 401, one whose bytes are not those of its `Content-Digest` a 400. Answers have the API's envelope.

use crate::wire::{Answerer, Error, Faults, Listener, lock};
use axum::body::Body;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::StreamExt;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, Request, Response, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

/// Bodies up to here are kept; of larger ones digest and size.
const KEPT: usize = 4 << 20;

/// An ingest endpoint on a loopback port.
#[derive(Debug)]
pub struct IngestStore {
    listener: Listener,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    key: String,
    documents: Vec<Ingested>,
}

/// A document that was taken.
#[derive(Debug, Clone)]
pub struct Ingested {
    /// The method of its first arrival.
    pub method: String,
    /// The path below the account, percent-decoded: `recordings/a.wav`.
    pub name: String,
    /// The query of its first arrival.
    pub query: BTreeMap<String, String>,
    /// Its content type.
    pub content_type: String,
    /// Its bytes; empty where there are more than 4 MiB.
    pub body: Bytes,
    /// How many there are.
    pub size: usize,
    /// Their SHA-256, in hex.
    pub sha256: String,
    /// How often the same arrived.
    pub arrivals: usize,
}

impl IngestStore {
    /// Starts on a free port, empty, with this key.
    pub fn start(key: &str) -> Self {
        let state = Arc::new(Mutex::new(State { key: key.to_owned(), documents: Vec::new() }));
        let shared = state.clone();
        let answerer: Answerer = Arc::new(move |request| Box::pin(serve(shared.clone(), request)));
        let listener = Listener::start((Ipv4Addr::LOCALHOST, 0).into(), answerer).expect("a free loopback port");
        Self { listener, state }
    }

    /// The endpoint of its account.
    pub fn url(&self) -> String {
        format!("http://{}/v2/ingest/acme", self.listener.address())
    }

    /// From now on this is the key.
    pub fn set_key(&self, key: &str) {
        key.clone_into(&mut lock(&self.state).key);
    }

    /// What was taken, in the order of arrival.
    pub fn documents(&self) -> Vec<Ingested> {
        lock(&self.state).documents.clone()
    }

    /// The names of what was taken, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.documents().into_iter().map(|document| document.name).collect();
        names.sort();
        names
    }

    /// The script of faults and the log of requests.
    pub fn faults(&self) -> &Faults {
        &self.listener.faults
    }

    /// Closes the port and every connection at once; what was taken stays.
    pub fn stop(&self) {
        self.listener.stop();
    }

    /// Serves again on the same port.
    pub fn restart(&self) {
        self.listener.restart();
    }
}

async fn serve(state: Arc<Mutex<State>>, request: Request<Body>) -> Result<Response<Body>, Error> {
    let (head, body) = request.into_parts();
    let (mut hash, mut kept, mut size) = (Sha256::new(), Vec::new(), 0);
    let mut stream = body.into_data_stream();
    while let Some(piece) = stream.next().await {
        // A body that ends early is no document.
        let piece = piece?;
        hash.update(&piece);
        size += piece.len();
        if size <= KEPT {
            kept.extend_from_slice(&piece);
        }
    }
    let digest = hash.finalize();
    let mut state = lock(&state);
    if !authorized(&head.headers, &state.key) {
        return failure(StatusCode::UNAUTHORIZED, "invalid credentials", &json!({}));
    }
    let promised = head.headers.get("content-digest").and_then(|value| value.to_str().ok());
    if promised.is_some_and(|promised| promised != format!("sha-256=:{}:", STANDARD.encode(digest))) {
        let data = json!({"content-digest": {"mismatch": {"message": "other bytes than promised"}}});
        return failure(StatusCode::BAD_REQUEST, "validation error", &data);
    }
    let Some(name) = head.uri.path().strip_prefix("/v2/ingest/acme/") else {
        return failure(StatusCode::NOT_FOUND, "no such endpoint", &json!({}));
    };
    let name = percent_encoding::percent_decode_str(name).decode_utf8_lossy().into_owned();
    let sha256 = hex::encode(digest);
    let answer = json!({"id": format!("{name}-{sha256}"), "sha256": sha256});
    let known = state.documents.iter_mut().find(|document| document.name == name && document.sha256 == sha256);
    if let Some(known) = known {
        known.arrivals += 1;
        return success(StatusCode::OK, answer);
    }
    let content_type = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    state.documents.push(Ingested {
        method: head.method.to_string(),
        name,
        query: query(head.uri.query().unwrap_or_default()),
        content_type: content_type.to_owned(),
        body: if size <= KEPT { kept.into() } else { Bytes::new() },
        size,
        sha256,
        arrivals: 1,
    });
    success(StatusCode::CREATED, answer)
}

fn authorized(headers: &HeaderMap, key: &str) -> bool {
    let token = headers.get("x-auth-token").and_then(|value| value.to_str().ok());
    let basic = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|v| v.strip_prefix("Basic "));
    let pair = basic.and_then(|basic| String::from_utf8(STANDARD.decode(basic).ok()?).ok());
    token == Some(key) || pair.is_some_and(|pair| pair == format!("acme:{key}"))
}

fn query(text: &str) -> BTreeMap<String, String> {
    let decode = |text: &str| {
        let spaced = text.replace('+', " ");
        percent_encoding::percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
    };
    text.split('&').filter_map(|pair| pair.split_once('=')).map(|(name, value)| (decode(name), decode(value))).collect()
}

fn success(status: StatusCode, data: Value) -> Result<Response<Body>, Error> {
    envelope(status, &json!({"status": "success", "data": data, "request_id": "0"}))
}

fn failure(status: StatusCode, message: &str, data: &Value) -> Result<Response<Body>, Error> {
    envelope(status, &json!({"status": "error", "error": status.as_str(), "message": message, "data": data}))
}

fn envelope(status: StatusCode, body: &Value) -> Result<Response<Body>, Error> {
    let answer = Response::builder().status(status).header(CONTENT_TYPE, "application/json");
    Ok(answer.body(Body::from(body.to_string()))?)
}

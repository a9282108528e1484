//! The envelope around every answer, and the headers that all answers carry.

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::header::{CONTENT_TYPE, ETAG, HeaderName, IF_NONE_MATCH, VARY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Serialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::error::Fault;
use super::{Call, Verb};
use crate::app::rates::Spent;
use crate::app::{App, Error};
use crate::time;
use connections::Document;

/// What an endpoint answers.
#[derive(Debug)]
pub enum Reply {
    /// Data in the envelope.
    Data(Box<Data>),
    /// Bytes without an envelope.
    Raw(Response),
    /// The caller has it already (304).
    NotModified(String),
}

/// The bytes of a short answer.
const USUAL: usize = 512;
/// The headers that an answer has, in all.
const HEADERS: usize = 12;

/// The key of what the server noted of a document.
pub(super) const METADATA: &str = "metadata";

/// What the server noted of a document and may be told, under Kazoo 5's names; what is not in this list is not.
pub(super) fn metadata(id: &str, doc_type: &str, private: &Map<String, Value>) -> Map<String, Value> {
    const TOLD: [(&str, &str); 3] =
        [("account_id", "pvt_account_id"), ("created", "pvt_created"), ("modified", "pvt_modified")];
    let mut known = Map::from_iter([("id".to_owned(), id.into()), ("type".to_owned(), doc_type.into())]);
    known.extend(TOLD.iter().filter_map(|(key, field)| Some(((*key).to_owned(), private.get(*field)?.clone()))));
    known
}

fn of_document(document: &Document) -> Map<String, Value> {
    let mut known = metadata(document.id.as_ref(), &document.doc_type, &document.body);
    if document.deleted {
        known.insert("deleted".into(), true.into());
    }
    known
}

/// Data for the envelope.
#[derive(Debug, Default)]
pub struct Data {
    status: StatusCode,
    data: Value,
    revision: Option<String>,
    unwritten: bool,
    extra: Map<String, Value>,
    location: Option<String>,
    note: Option<&'static str>,
}

impl Reply {
    /// 200 with data.
    pub fn ok(data: impl Into<Value>) -> Self {
        Self::Data(Box::new(Data { data: data.into(), ..Data::default() }))
    }

    /// 201 with data.
    pub fn created(data: impl Into<Value>) -> Self {
        Self::Data(Box::new(Data { status: StatusCode::CREATED, data: data.into(), ..Data::default() }))
    }

    /// With the revision of the document that it shows.
    #[must_use]
    pub fn revision(self, revision: impl ToString) -> Self {
        self.with(|data| data.revision = Some(revision.to_string()))
    }

    /// With what is known of the document that it shows: its revision and what the server noted of it.
    #[must_use]
    pub fn of(self, document: &Document) -> Self {
        self.revision(&document.revision).also(METADATA, of_document(document))
    }

    /// The answer to a removal: what went.
    pub fn removed(data: Map<String, Value>, document: &Document) -> Self {
        Self::gone(data, of_document(document))
    }

    /// The same of a document that is no single one of the store's.
    pub fn gone(mut data: Map<String, Value>, mut known: Map<String, Value>) -> Self {
        data.insert("_read_only".into(), json!({"deleted": true}));
        known.insert("deleted".into(), true.into());
        Self::ok(data).also(METADATA, known)
    }

    /// Of what was never written, and so has no revision.
    #[must_use]
    pub fn unwritten(self) -> Self {
        self.with(|data| data.unwritten = true)
    }

    /// With a key beside `data`.
    #[must_use]
    pub fn also(self, key: &str, value: impl Into<Value>) -> Self {
        let value = value.into();
        self.with(|data| {
            data.extra.insert(key.into(), value);
        })
    }

    /// With the place of what was created, relative to the request.
    #[must_use]
    pub fn at(self, location: String) -> Self {
        self.with(|data| data.location = Some(location))
    }

    /// With a word for the audit trail.
    #[must_use]
    pub fn noted(self, word: &'static str) -> Self {
        self.with(|data| data.note = Some(word))
    }

    /// The word for the audit trail.
    pub(super) fn note(&self) -> Option<&'static str> {
        match self {
            Self::Data(data) => data.note,
            Self::Raw(_) | Self::NotModified(_) => None,
        }
    }

    /// The revision that it shows.
    pub(super) fn revision_text(&self) -> Option<String> {
        match self {
            Self::Data(data) => data.revision.clone(),
            Self::Raw(_) | Self::NotModified(_) => None,
        }
    }

    fn with(mut self, change: impl FnOnce(&mut Data)) -> Self {
        if let Self::Data(data) = &mut self {
            change(data);
        }
        self
    }
}

/// What the envelope says of the request.
#[derive(Debug, Clone)]
pub struct About {
    /// Names the request.
    pub request_id: String,
    /// True once the token held.
    pub authenticated: bool,
    node: String,
    path: String,
    token: Option<String>,
    /// What it took of the requests that its sender may make.
    spent: Option<Spent>,
    pretty: bool,
    /// The function that the answer is given to.
    callback: Option<String>,
    /// What a reader has already: the tags of `If-None-Match`.
    has: Vec<String>,
}

impl About {
    /// What is known before the request is read.
    pub fn of(app: &App, request: &Request) -> Self {
        let sent = request.headers().get("x-request-id").and_then(|id| id.to_str().ok());
        let fit = |id: &&str| !id.is_empty() && id.len() <= 128 && id.bytes().all(|b| b.is_ascii_graphic());
        let request_id = sent.filter(fit).map_or_else(crate::id::random, str::to_owned);
        Self {
            request_id,
            authenticated: false,
            node: app.node.clone(),
            path: request.uri().path().trim_end_matches('/').to_owned(),
            token: None,
            spent: None,
            callback: None,
            has: Vec::new(),
            pretty: request.headers().get("x-pretty-print").is_some_and(|value| value == "true"),
        }
    }

    /// Notes what it took of the requests that its sender may make.
    ///
    /// # Errors
    /// That of `outcome`.
    pub fn count(&mut self, outcome: Result<Option<Spent>, Error>) -> Result<(), Error> {
        self.spent = outcome.as_ref().map_or(Some(Spent::NOTHING), |spent| *spent);
        outcome.map(drop)
    }

    /// What is known once it was read.
    pub fn learn(&mut self, call: &Call) {
        self.token = call.token().map(str::to_owned);
        if call.method == Verb::Get {
            self.has = call.tags(IF_NONE_MATCH);
        }
        self.pretty |= call.is_true("pretty_print") == Some(true);
        self.callback.clone_from(&call.callback);
    }
}

/// A fault outside of any request.
#[derive(Debug)]
pub struct Bare(pub Fault);

impl Bare {
    /// As a response.
    pub fn into_response(self) -> Response {
        let about = About {
            request_id: crate::id::random(),
            authenticated: false,
            node: String::new(),
            path: String::new(),
            token: None,
            spent: None,
            pretty: false,
            callback: None,
            has: Vec::new(),
        };
        wrap(&about, Err(self.0))
    }
}

/// Wraps an outcome.
pub fn wrap(about: &About, outcome: Result<Reply, Fault>) -> Response {
    let mut response = match outcome {
        Ok(Reply::Raw(response)) => response,
        Ok(Reply::NotModified(tag)) => not_modified(&tag),
        Ok(Reply::Data(data)) => success(about, *data),
        Err(fault) => failure(about, fault),
    };
    set(response.headers_mut(), HeaderName::from_static("x-request-id"), &about.request_id);
    // Some answers come in several forms.
    set(response.headers_mut(), VARY, "accept");
    cors(response.headers_mut());
    response
}

fn not_modified(tag: &str) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    set(response.headers_mut(), ETAG, &format!("\"{tag}\""));
    response
}

/// What stands around data, in the order in which it is written.
#[derive(Serialize)]
struct Envelope<'a> {
    data: &'a Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<&'a str>,
    #[serde(flatten)]
    extra: &'a Map<String, Value>,
    request_id: &'a str,
    node: &'a str,
    timestamp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens: Option<Spent>,
}

impl<'a> Envelope<'a> {
    fn of(about: &'a About, status: &'static str, data: &'a Value, extra: &'a Map<String, Value>) -> Self {
        Self {
            data,
            error: None,
            message: None,
            status,
            revision: None,
            extra,
            request_id: &about.request_id,
            node: &about.node,
            timestamp: time::iso(time::now()),
            version: about.authenticated.then_some(env!("CARGO_PKG_VERSION")),
            auth_token: about.token.as_deref().filter(|_| !extra.contains_key("auth_token")),
            tokens: about.spent,
        }
    }
}

fn success(about: &About, data: Data) -> Response {
    let tag = data.revision.unwrap_or_else(|| digest_of(&data.data));
    if about.has.iter().any(|had| *had == tag || had == "*") {
        return not_modified(&tag);
    }
    let revision = (!data.unwritten).then_some(&*tag);
    let envelope = Envelope { revision, ..Envelope::of(about, "success", &data.data, &data.extra) };
    let mut response = render(about, data.status, &envelope);
    set(response.headers_mut(), ETAG, &format!("\"{tag}\""));
    if let Some(location) = data.location {
        set(response.headers_mut(), http::header::LOCATION, &format!("{}/{location}", about.path));
    }
    response
}

/// Names the content of an answer that is no single document.
pub(super) fn digest_of(data: &Value) -> String {
    hex::encode(&Sha256::digest(text(data))[..16])
}

/// A value as JSON. Not by `Display`, which takes twice as long.
fn text(value: &Value) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_else(|_| value.to_string().into_bytes())
}

fn failure(about: &About, fault: Fault) -> Response {
    let none = Map::new();
    let envelope = Envelope {
        error: Some(fault.status.as_str()),
        message: Some(fault.message),
        ..Envelope::of(about, "error", &fault.data, &none)
    };
    let mut response = render(about, fault.status, &envelope);
    if fault.status == StatusCode::PRECONDITION_FAILED {
        *response.body_mut() = Body::empty();
    }
    for (name, value) in fault.headers {
        response.headers_mut().insert(name, value);
    }
    response
}

fn render(about: &About, status: StatusCode, envelope: &Envelope<'_>) -> Response {
    let mut text = Vec::with_capacity(USUAL);
    let written = match about.pretty {
        true => serde_json::to_writer_pretty(&mut text, envelope),
        false => serde_json::to_writer(&mut text, envelope),
    };
    if let Err(error) = written {
        // Its keys are texts and it has no numbers that JSON has not.
        tracing::error!(%error, "an answer cannot be written");
    }
    if let Some(function) = &about.callback {
        return script(function, status, &text);
    }
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().reserve(HEADERS);
    // Exactly this: the web console does not parse an error whose type carries a charset.
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A script that gives the answer to a function of the page that asked.
fn script(function: &str, status: StatusCode, json: &[u8]) -> Response {
    // In older scripts these two end a line, within a text too.
    let json = String::from_utf8_lossy(json).replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029");
    let mut response = Response::new(Body::from(format!("{function}({json});")));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/javascript"));
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// What a browser on another origin may do, and see.
static CORS: [(HeaderName, HeaderValue); 5] = {
    const fn header(name: &'static str, value: &'static str) -> (HeaderName, HeaderValue) {
        (HeaderName::from_static(name), HeaderValue::from_static(value))
    }
    [
        header("access-control-allow-origin", "*"),
        header("access-control-allow-methods", "GET, PUT, POST, PATCH, DELETE, OPTIONS"),
        header(
            "access-control-allow-headers",
            "content-type, depth, user-agent, x-http-method-override, x-file-size, x-requested-with, if-modified-since, x-file-name, \
             cache-control, x-auth-token, x-kazoo-cluster-id, if-match, if-none-match, range, authorization, x-auth-account-id, x-request-id, \
             x-pretty-print",
        ),
        header(
            "access-control-expose-headers",
            "content-type, content-disposition, content-range, retry-after, x-auth-token, x-request-id, x-kazoo-cluster-id, location, etag",
        ),
        header("access-control-max-age", "86400"),
    ]
};

fn cors(headers: &mut HeaderMap) {
    for (name, value) in &CORS {
        headers.insert(name.clone(), value.clone());
    }
}

/// The answer to a browser that asks before it calls.
pub fn preflight() -> Response {
    let mut response = Response::new(Body::empty());
    cors(response.headers_mut());
    response
}

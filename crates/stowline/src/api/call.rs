//! A request, read: token, envelope, data, or a stream of bytes.
//!
//! A JSON body is read whole (to the size limit). What is an upload by its type stays a stream, for the endpoint to take.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Mutex;

use axum::extract::{ConnectInfo, Request};
use futures_util::StreamExt;
use http::HeaderMap;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, IF_MATCH, IF_NONE_MATCH};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use super::drain::Drained;
use super::error::Fault;
use super::proof::{self, Proof};
use super::{Verb, ingest};
use crate::app::accounts::Account;
use crate::app::auth::Caller;
use crate::app::{App, Error};

/// The most bytes of JSON, whatever files may hold: a parsed document takes several times its text.
const LARGEST_JSON: u64 = 8_000_000;
/// The most bytes of JSON from who has not shown a token.
const LARGEST_ANONYMOUS: u64 = 64 << 10;

/// The longest name of a function.
const LONGEST_CALLBACK: usize = 128;

/// The address of what comes from nowhere.
const NOWHERE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// A request on its way to an endpoint.
pub struct Call {
    /// The verb, a tunnelled one included.
    pub method: Verb,
    /// The path below `/v2/`, decoded.
    pub segments: Vec<String>,
    /// The parameters in the path by name.
    pub params: Vec<(&'static str, String)>,
    /// The query.
    pub query: Vec<(String, String)>,
    /// The headers.
    pub headers: HeaderMap,
    /// The envelope's keys beside `data`.
    pub envelope: Map<String, Value>,
    /// The envelope's `data`; `{}` when no body was sent.
    pub data: Value,
    /// The body of an upload, with its media type.
    pub upload: Option<Upload>,
    /// What was shown of who sends it, from wherever it was.
    pub proof: Option<Proof>,
    /// `X-Auth-Account-ID`.
    pub account_header: Option<String>,
    /// The function that the answer is given to (`jsonp`).
    pub callback: Option<String>,
    /// Who calls; set before every endpoint that is not open.
    pub caller: Option<Caller>,
    /// The account in the path, loaded.
    pub account: Option<Account>,
    /// Names the request in answers and logs.
    pub request_id: String,
    /// Where it comes from, as far as those in between are trusted.
    pub address: IpAddr,
}

impl Default for Call {
    fn default() -> Self {
        Self {
            method: Verb::default(),
            segments: Vec::new(),
            params: Vec::new(),
            query: Vec::new(),
            headers: HeaderMap::new(),
            envelope: Map::new(),
            data: Value::Object(Map::new()),
            upload: None,
            proof: None,
            account_header: None,
            callback: None,
            caller: None,
            account: None,
            request_id: String::new(),
            address: NOWHERE,
        }
    }
}

/// A body that is a file.
pub struct Upload {
    /// Its `Content-Type`, as sent.
    pub content_type: String,
    /// Its bytes. In a lock only because a body may not be shared between threads, and a call may.
    pub stream: Mutex<Drained>,
}

impl Call {
    /// A parameter of the path.
    pub fn param(&self, name: &str) -> &str {
        self.params.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value)
    }

    /// The first value of a query parameter.
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A value that may stand in `data`, in the query or in the envelope, in this order.
    pub fn value(&self, name: &str) -> Option<Value> {
        let in_query = || self.query(name).map(Value::from);
        self.data.get(name).cloned().or_else(in_query).or_else(|| self.envelope.get(name).cloned())
    }

    /// Such a value read as a truth value; only `true` and `"true"` are true.
    pub fn is_true(&self, name: &str) -> Option<bool> {
        self.value(name).map(|value| value == Value::Bool(true) || value.as_str() == Some("true"))
    }

    /// True for what switches send: a file or a record under whatever type, without an envelope, and never with a token for a user (`ingest`).
    pub fn is_from_switch(&self) -> bool {
        self.segments.first().map(String::as_str) == Some(ingest::PATH)
    }

    /// The token that was shown.
    pub fn token(&self) -> Option<&str> {
        self.proof.as_ref().and_then(Proof::token)
    }

    /// Who calls.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] on an open route.
    pub fn caller(&self) -> Result<&Caller, Error> {
        self.caller.as_ref().ok_or(Error::Unauthenticated)
    }

    /// The account in the path.
    ///
    /// # Errors
    /// [`Error::NotFound`] on a route without one.
    pub fn account(&self) -> Result<&Account, Error> {
        self.account.as_ref().ok_or_else(|| Error::NotFound("account".into()))
    }

    /// The entity tags of a conditional header, without their quotes.
    pub fn tags(&self, name: http::HeaderName) -> Vec<String> {
        let values = self.headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
        let tags = values.flat_map(|value| value.split(','));
        tags.map(|tag| tag.trim().trim_start_matches("W/").trim_matches('"').to_owned())
            .filter(|tag| !tag.is_empty())
            .collect()
    }

    /// The revisions of `If-Match`.
    pub fn if_match(&self) -> Vec<String> {
        self.tags(IF_MATCH)
    }

    /// True when `If-None-Match` names this revision.
    pub fn has(&self, revision: &str) -> bool {
        self.tags(IF_NONE_MATCH).iter().any(|tag| tag == revision || tag == "*")
    }
}

/// Reads a request.
///
/// # Errors
/// The fault that its path, query or body has.
pub async fn read(app: &App, request: Request, request_id: &str) -> Result<Call, Fault> {
    let address = address(app, &request);
    let (parts, body) = request.into_parts();
    let body = Drained::new(&parts.headers, body, app.config.server.body_timeout);
    let segments = segments(parts.uri.path())?;
    let query = switches::facts::pairs(parts.uri.query().unwrap_or_default());
    let method = Verb::of(&parts.method).ok_or_else(Fault::method_not_allowed)?;
    let mut call = Call {
        method,
        segments,
        query,
        account_header: text(&parts.headers, "x-auth-account-id"),
        address,
        headers: parts.headers,
        request_id: request_id.to_owned(),
        ..Call::default()
    };
    let content_type = text(&call.headers, CONTENT_TYPE.as_str()).unwrap_or_default();
    if call.is_from_switch() {
        call.upload = Some(Upload { content_type, stream: Mutex::new(body) });
        return Ok(call);
    }
    if method != Verb::Get {
        if is_upload(&content_type, &call) {
            call.upload = Some(Upload { content_type, stream: Mutex::new(body) });
        } else {
            let limit = welcome(app, &mut call).await?;
            let bytes = collect(limit, &call.headers, body).await?;
            open_envelope(&mut call, &bytes)?;
        }
    }
    tunnel(&mut call)?;
    call.proof = Proof::of(&call);
    call.callback = callback(&call)?;
    resolve_own_account(&mut call);
    Ok(call)
}

/// The peer's address; behind proxies that are trusted, the nearest one that they name and that is none of them.
pub(super) fn address(app: &App, request: &Request) -> IpAddr {
    let Some(ConnectInfo(peer)) = request.extensions().get::<ConnectInfo<SocketAddr>>() else { return NOWHERE };
    let trusted = |address: &IpAddr| app.config.server.trusted_proxies.iter().any(|network| network.contains(address));
    let mut nearest = peer.ip().to_canonical();
    let named = request.headers().get_all("x-forwarded-for").into_iter().filter_map(|value| value.to_str().ok());
    let named: Vec<&str> = named.flat_map(|value| value.split(',')).map(str::trim).collect();
    for hop in named.iter().rev() {
        if !trusted(&nearest) {
            break;
        }
        let Ok(hop) = hop.parse::<IpAddr>() else { break };
        nearest = hop.to_canonical();
    }
    nearest
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

/// `/v2/a/b%20c` as `["a", "b c"]`.
fn segments(path: &str) -> Result<Vec<String>, Fault> {
    let mut segments = path.split('/').filter(|segment| !segment.is_empty());
    match segments.next() {
        Some("v2") => {}
        Some("v1") => return Err(Fault::gone()),
        _ => return Err(Fault::no_such_path()),
    }
    let decode = |segment: &str| percent_decode_str(segment).decode_utf8().map(std::borrow::Cow::into_owned);
    segments.map(decode).collect::<Result<_, _>>().map_err(|_| Fault::no_such_path())
}

/// What is not JSON by its type is a file, but for the type that curl sends when it is told none.
fn is_upload(content_type: &str, call: &Call) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let base64 = call
        .headers
        .get("content-transfer-encoding")
        .is_some_and(|encoding| encoding.as_bytes().eq_ignore_ascii_case(b"base64"));
    match essence.as_str() {
        "" | "application/json" | "application/x-json" | "application/x-www-form-urlencoded" | "text/plain" => base64,
        _ => true,
    }
}

/// The most bytes of JSON that are read from this caller. Who shows a valid token before the body is read much; who shows none may send enough
/// for a login, or for a token in the body.
async fn welcome(app: &App, call: &mut Call) -> Result<u64, Fault> {
    let most = app.config.api.max_upload_size.min(LARGEST_JSON);
    let login = matches!(call.segments.first().map(String::as_str), Some("user_auth" | "api_auth"));
    call.proof = Proof::of(call);
    if login || call.proof.is_none() {
        return Ok(most.min(LARGEST_ANONYMOUS));
    }
    call.caller = Some(proof::caller(app, call).await?);
    Ok(most)
}

async fn collect(limit: u64, headers: &HeaderMap, mut body: Drained) -> Result<Vec<u8>, Fault> {
    let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(Error::TooLarge { limit }.into());
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|error| Error::Interrupted(error.to_string()))?;
        bytes.extend_from_slice(&chunk);
        if bytes.len() as u64 > limit {
            return Err(Error::TooLarge { limit }.into());
        }
    }
    Ok(bytes)
}

fn open_envelope(call: &mut Call, bytes: &[u8]) -> Result<(), Fault> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(());
    }
    let envelope: Value = serde_json::from_slice(bytes).map_err(|error| Fault::bad_json(&error))?;
    let Value::Object(fields) = envelope else { return Err(Fault::data_required()) };
    let mut fields: Map<String, Value> = fields.into_iter().map(|(key, value)| (key.to_lowercase(), value)).collect();
    call.data = match fields.remove("data") {
        None => return Err(Fault::data_required()),
        Some(data @ (Value::Object(_) | Value::Array(_))) => data,
        Some(other) => return Err(Fault::data_type(&other)),
    };
    call.envelope = fields;
    Ok(())
}

/// The function that `jsonp` names. A page of anybody's may ask like this, with a token that it has; not with what a browser adds by itself.
fn callback(call: &Call) -> Result<Option<String>, Error> {
    let Some(name) = call.query("jsonp") else { return Ok(None) };
    let is_word = |word: &str| {
        !word.starts_with(|c: char| c.is_ascii_digit())
            && !word.is_empty()
            && word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '$'))
    };
    if name.len() > LONGEST_CALLBACK || !name.split('.').all(is_word) {
        return Err(Error::invalid("jsonp", "pattern", "name a function: words with dots between"));
    }
    if call.headers.contains_key(AUTHORIZATION) {
        return Err(Error::invalid("jsonp", "invalid", "show a token in the query instead of Authorization"));
    }
    Ok(Some(name.to_owned()))
}

/// A `POST` may say in its query or envelope which verb it stands for.
fn tunnel(call: &mut Call) -> Result<(), Fault> {
    let envelope = call.envelope.get("verb").and_then(Value::as_str);
    let Some(verb) = envelope.or_else(|| call.query("verb")) else { return Ok(()) };
    if call.method == Verb::Post {
        call.method = Verb::named(verb).ok_or_else(Fault::method_not_allowed)?;
    }
    Ok(())
}

/// `account/…` is `accounts/{account of the token}/…`. The token is checked right after.
fn resolve_own_account(call: &mut Call) {
    if call.segments.first().map(String::as_str) != Some("account") {
        return;
    }
    let claimed = call.proof.as_ref().and_then(Proof::claimed);
    if let Some(account) = claimed {
        call.segments.splice(0..1, ["accounts".to_owned(), account]);
    }
}

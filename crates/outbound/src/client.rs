//! The one HTTP client of the program: connections are pooled, checked by the policy, and watched for standing still.
//!
//! It is the client of `hyper` itself, without what browsers need: no redirects, cookies, proxies or compression. What a delivery, a reading and a
//! renewal ask is one request each.

use std::net::SocketAddr;
use std::sync::{Arc, Once};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, EXPECT, Entry, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Uri};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Either, Full, StreamBody};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use percent_encoding::percent_decode_str;
use tokio::net::TcpStream;
use url::Url;

use crate::bounded::Bounded;
use crate::error::{Error, ErrorKind};
use crate::policy::Policy;
use crate::resolver::{Lookup, Resolver, servers, system};
use crate::tls::{self, Trust};
use crate::transfer::{Body, Progress, Request, Response};
use crate::{has_user, redact, without_user};

/// Bytes that may lie in buffers between us and a slow line after the last was handed over.
const IN_BUFFERS: u64 = 4 << 20;
/// The slowest line, in bytes a second, on which those are waited for.
const SLOWEST: u64 = 32 << 10;
/// A body in memory is handed over in pieces of this size, so that its progress can be seen.
const PIECE: usize = 256 << 10;

/// Who we are, for servers' logs.
const AGENT: HeaderValue = HeaderValue::from_static(concat!("stowline/", env!("CARGO_PKG_VERSION")));

/// What is sent, in the client library's form.
type Outgoing = Either<Full<Bytes>, UnsyncBoxBody<Bytes, Error>>;
/// The client library.
type Http = legacy::Client<Bounded<HttpsConnector<HttpConnector<Resolver>>>, Outgoing>;

/// How long to wait, and for what. There is no limit on a whole transfer.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For a connection, name look-up and TLS included.
    pub connect: Duration,
    /// For the next bytes of a body, in either direction, and for the answer to begin.
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: Duration::from_secs(10), idle: Duration::from_secs(60) }
    }
}

/// The HTTP client. Cloning gives another handle on the same connections.
#[derive(Clone)]
pub struct Client {
    pooled: Http,
    fresh: Http,
    policy: Arc<Policy>,
    lookup: Lookup,
    timeouts: Timeouts,
}

impl Client {
    /// A client under this policy, with the usual timeouts.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Other`] when TLS cannot be set up at all.
    pub fn new(policy: Arc<Policy>) -> Result<Self, Error> {
        Self::with_timeouts(policy, Timeouts::default())
    }

    /// A client under this policy, with these timeouts.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Other`] when TLS cannot be set up at all.
    pub fn with_timeouts(policy: Arc<Policy>, timeouts: Timeouts) -> Result<Self, Error> {
        Self::with_lookup(policy, timeouts, system())
    }

    /// The same, and names are looked up by asking these DNS servers; as the machine does it when there are none.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Other`] when TLS or the resolver cannot be set up at all.
    pub fn with_resolvers(policy: Arc<Policy>, timeouts: Timeouts, resolvers: &[SocketAddr]) -> Result<Self, Error> {
        let lookup = if resolvers.is_empty() { system() } else { servers(resolvers)? };
        Self::with_lookup(policy, timeouts, lookup)
    }

    pub(crate) fn with_lookup(policy: Arc<Policy>, timeouts: Timeouts, lookup: Lookup) -> Result<Self, Error> {
        Ok(Self::with_parts(policy, timeouts, lookup, tls::of_machine()?))
    }

    fn with_parts(policy: Arc<Policy>, timeouts: Timeouts, lookup: Lookup, tls: rustls::ClientConfig) -> Self {
        install_tls();
        let mut tcp = HttpConnector::new_with_resolver(Resolver::new(policy.clone(), lookup.clone()));
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(Duration::from_secs(30)));
        let builder = HttpsConnectorBuilder::new().with_tls_config(tls);
        let connector = Bounded::new(builder.https_or_http().enable_http1().wrap_connector(tcp), timeouts.connect);
        let build = |kept| {
            let mut builder = legacy::Client::builder(TokioExecutor::new());
            builder.pool_timer(TokioTimer::new()).pool_max_idle_per_host(kept);
            // Shorter than the patience of common servers: a connection that they are about to close is not used again.
            builder.pool_idle_timeout(Duration::from_secs(15)).build(connector.clone())
        };
        Self { pooled: build(usize::MAX), fresh: build(0), policy, lookup, timeouts }
    }

    /// The policy that holds for every request.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// How long it waits.
    #[must_use]
    pub fn timeouts(&self) -> Timeouts {
        self.timeouts
    }

    /// A bare connection, for what does not speak HTTP. The policy judges the host, and each address that its name leads to.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Denied`], [`ErrorKind::Resolve`], [`ErrorKind::Connect`] or [`ErrorKind::Timeout`].
    pub async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, Error> {
        let connecting = crate::stream::connect(&self.policy, &self.lookup, host, port);
        match tokio::time::timeout(self.timeouts.connect, connecting).await {
            Ok(connected) => connected,
            Err(_) => Err(Error::new(ErrorKind::Timeout, format!("{host}:{port}"))),
        }
    }

    /// The addresses of a host that may be reached, for those who make the connection themselves.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Denied`] when there are none but forbidden ones, [`ErrorKind::Resolve`] when there are none.
    pub async fn addresses(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, Error> {
        crate::stream::addresses(&self.policy, &self.lookup, host, port).await
    }

    /// What a TLS connection needs beside the bare one.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Tls`] when it cannot be set up at all.
    pub fn tls(&self, trust: Trust) -> Result<Arc<rustls::ClientConfig>, Error> {
        crate::tls::config(trust)
    }

    /// Sends a request once and gives back the answer, whatever its status; redirects are answers too.
    ///
    /// A GET, HEAD or DELETE whose connection ends before an answer begins is sent on a new one: a server may close a used connection at
    /// any time, and then nobody has read the request. With a body there is no such second chance.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Denied`] before anything is sent or when the name leads to forbidden addresses only;
    /// the other kinds when no answer began.
    pub async fn send(&self, request: Request) -> Result<Response, Error> {
        self.policy.check_url(&request.url)?;
        let Request { method, url, mut headers, body, fresh } = request;
        let has_second_chance = is_harmless(&method) && !fresh && matches!(body, Body::Empty);
        let again = has_second_chance.then(|| (method.clone(), headers.clone()));
        complete(&mut headers, &method, &url, body.length());
        let sent = match (self.send_once(method, &url, headers, body, fresh).await, again) {
            (Err(error), Some((method, mut headers))) if error.kind() == ErrorKind::Closed => {
                complete(&mut headers, &method, &url, 0);
                self.send_once(method, &url, headers, Body::Empty, true).await
            }
            (sent, _) => sent,
        };
        sent.map(|answered| Response::new(answered, url, self.timeouts.idle))
    }

    async fn send_once(
        &self,
        method: Method,
        url: &Url,
        headers: HeaderMap,
        body: Body,
        fresh: bool,
    ) -> Result<http::Response<hyper::body::Incoming>, Error> {
        let length = body.length();
        let progress = Arc::new(Progress::new(length));
        let idle = self.timeouts.idle;
        let answer = idle + Duration::from_secs(length.min(IN_BUFFERS).div_ceil(SLOWEST));
        let http = if fresh { &self.fresh } else { &self.pooled };
        let mut outgoing = http::Request::new(watched(body, &progress));
        *outgoing.method_mut() = method;
        *outgoing.uri_mut() = uri(url)?;
        *outgoing.headers_mut() = headers;
        tokio::select! {
            biased;
            answered = http.request(outgoing) => answered.map_err(|error| Error::of(error, url)),
            () = progress.stalled(idle, answer) => Err(Error::new(ErrorKind::Timeout, redact(url))),
        }
    }
}

/// Whether a request may be sent twice.
fn is_harmless(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::DELETE)
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("policy", &self.policy).field("timeouts", &self.timeouts).finish()
    }
}

/// Adds what the client says of itself and of the body; what is there already, but for the length, stays.
fn complete(headers: &mut HeaderMap, method: &Method, url: &Url, length: u64) {
    headers.remove(EXPECT);
    if length > 0 || method == Method::PUT || method == Method::POST {
        headers.insert(CONTENT_LENGTH, length.into());
    }
    headers.entry(USER_AGENT).or_insert(AGENT);
    headers.entry(ACCEPT).or_insert(HeaderValue::from_static("*/*"));
    if let (Some(user), Entry::Vacant(vacant)) = (user(url), headers.entry(AUTHORIZATION)) {
        vacant.insert(user);
    }
}

/// User and password of a URL, as a header says them.
fn user(url: &Url) -> Option<HeaderValue> {
    if !has_user(url) {
        return None;
    }
    let mut shown: Vec<u8> = percent_decode_str(url.username()).collect();
    shown.push(b':');
    shown.extend(percent_decode_str(url.password().unwrap_or_default()));
    let mut value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(shown))).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Where a request goes, without user, password and fragment.
fn uri(url: &Url) -> Result<Uri, Error> {
    let read = |text: &str| Uri::try_from(text).map_err(|error| Error::caused(ErrorKind::Other, redact(url), error));
    if has_user(url) { read(without_user(url).as_str()) } else { read(url.as_str()) }
}

/// A body in the client library's form, its progress noted.
fn watched(body: Body, progress: &Arc<Progress>) -> Outgoing {
    let stream = match body {
        Body::Empty => return Either::Left(Full::default()),
        Body::Bytes(bytes) if bytes.len() <= PIECE => {
            progress.moved(bytes.len() as u64);
            return Either::Left(bytes.into());
        }
        Body::Bytes(bytes) => stream::iter(pieces(bytes)).map(Ok).boxed(),
        Body::Stream { stream, .. } => stream,
    };
    let progress = progress.clone();
    let watched = stream
        .inspect_ok(move |piece| progress.moved(piece.len() as u64))
        .map_ok(Frame::data)
        .map_err(|error| Error::caused(ErrorKind::Body, "request body", error));
    Either::Right(StreamBody::new(watched).boxed_unsync())
}

fn pieces(mut bytes: Bytes) -> impl Iterator<Item = Bytes> {
    std::iter::from_fn(move || (!bytes.is_empty()).then(|| bytes.split_to(PIECE.min(bytes.len()))))
}

/// Chooses the TLS library of the process. Whoever chose before us has chosen.
fn install_tls() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

#[cfg(test)]
mod tests;

//! The one HTTP client of the program: connections are pooled, checked by the policy, and watched for standing still.

use std::net::SocketAddr;
use std::sync::{Arc, Once};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use http::{Method, header};
use tokio::net::TcpStream;

use crate::error::{Error, ErrorKind};
use crate::policy::Policy;
use crate::redact;
use crate::resolver::{Lookup, Resolver, servers, system};
use crate::tls::Trust;
use crate::transfer::{Body, Progress, Request, Response};

/// Bytes that may lie in buffers between us and a slow line after the last was handed over.
const IN_BUFFERS: u64 = 4 << 20;
/// The slowest line, in bytes a second, on which those are waited for.
const SLOWEST: u64 = 32 << 10;
/// A body in memory is handed over in pieces of this size, so that its progress can be seen.
const PIECE: usize = 256 << 10;

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
    pooled: reqwest::Client,
    fresh: reqwest::Client,
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
        install_tls();
        let builder = |kept: usize| {
            reqwest::Client::builder()
                .user_agent(concat!("stowline/", env!("CARGO_PKG_VERSION")))
                .no_proxy()
                .redirect(reqwest::redirect::Policy::none())
                .retry(reqwest::retry::never())
                .referer(false)
                .tcp_nodelay(true)
                .tcp_keepalive(Duration::from_secs(30))
                .connect_timeout(timeouts.connect)
                // Shorter than the patience of common servers: a connection that they are about to close is not used again.
                .pool_idle_timeout(Duration::from_secs(15))
                .pool_max_idle_per_host(kept)
                .dns_resolver(Resolver::new(policy.clone(), lookup.clone()))
        };
        let build = |kept| {
            let built = builder(kept).build().or_else(|error| {
                tracing::warn!(%error, "the machine has no certificate authorities: https will fail, http works");
                builder(kept).tls_certs_only([]).build()
            });
            built.map_err(|error| Error::of(error, "setting up the client"))
        };
        Ok(Self { pooled: build(usize::MAX)?, fresh: build(0)?, policy, lookup, timeouts })
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
        let again = second_chance(&request);
        match (self.send_once(request).await, again) {
            (Err(error), Some(again)) if error.kind() == ErrorKind::Closed => self.send_once(again).await,
            (sent, _) => sent,
        }
    }

    async fn send_once(&self, request: Request) -> Result<Response, Error> {
        let subject = redact(&request.url);
        let length = request.body.length();
        let progress = Arc::new(Progress::new(length));
        let idle = self.timeouts.idle;
        let answer = idle + Duration::from_secs(length.min(IN_BUFFERS).div_ceil(SLOWEST));
        let http = if request.fresh { &self.fresh } else { &self.pooled };
        let outgoing = outgoing(http, request, &progress).map_err(|error| Error::of(error, &subject))?;
        tokio::select! {
            biased;
            answered = http.execute(outgoing) => match answered {
                Ok(answered) => Ok(Response::new(answered, subject, idle)),
                Err(error) => Err(Error::of(error, &subject)),
            },
            () = progress.stalled(idle, answer) => Err(Error::new(ErrorKind::Timeout, subject)),
        }
    }
}

/// The same request for a new connection, where it is harmless to send it twice and it may have met a used one.
fn second_chance(request: &Request) -> Option<Request> {
    let harmless = matches!(request.method, Method::GET | Method::HEAD | Method::DELETE);
    (harmless && !request.fresh && matches!(request.body, Body::Empty)).then(|| Request {
        method: request.method.clone(),
        url: request.url.clone(),
        headers: request.headers.clone(),
        body: Body::Empty,
        fresh: true,
    })
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("policy", &self.policy).field("timeouts", &self.timeouts).finish()
    }
}

/// The request in the client library's form, its body watched.
fn outgoing(http: &reqwest::Client, request: Request, progress: &Arc<Progress>) -> reqwest::Result<reqwest::Request> {
    let Request { method, url, mut headers, body, .. } = request;
    let length = body.length();
    headers.remove(header::EXPECT);
    if length > 0 || method == Method::PUT || method == Method::POST {
        headers.insert(header::CONTENT_LENGTH, length.into());
    }
    let mut outgoing = if url.username().is_empty() && url.password().is_none() {
        let mut plain = reqwest::Request::new(method, url);
        *plain.headers_mut() = headers;
        plain
    } else {
        // A user and password in the URL become a header here; headers of ours then take precedence.
        http.request(method, url).headers(headers).build()?
    };
    let stream = match body {
        Body::Empty => return Ok(outgoing),
        Body::Bytes(bytes) if bytes.len() <= PIECE => {
            progress.moved(length);
            *outgoing.body_mut() = Some(bytes.into());
            return Ok(outgoing);
        }
        Body::Bytes(bytes) => stream::iter(pieces(bytes)).map(Ok).boxed(),
        Body::Stream { stream, .. } => stream,
    };
    let progress = progress.clone();
    let watched = stream
        .inspect_ok(move |piece| progress.moved(piece.len() as u64))
        .map_err(|error| Error::caused(ErrorKind::Body, "request body", error));
    *outgoing.body_mut() = Some(reqwest::Body::wrap_stream(watched));
    Ok(outgoing)
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

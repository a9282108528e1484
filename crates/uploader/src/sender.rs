//! The HTTP client: one upload, one answer.
//!
//! No proxy and no redirect that nobody configured, no retry of its own ([`pace`](crate::pace) does that), no limit on a whole transfer but
//! one on standing still.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use tokio::time::Instant;

use crate::answer::{self, Reason, Verdict};
use crate::parcel::Parcel;
use crate::{Error, Key, Settings};

/// More than an ingest endpoint says.
const ANSWER_LIMIT: usize = 64 << 10;
/// Bytes that may lie in buffers between us and a slow line after the last was handed over, and the slowest line we wait for, a second.
const IN_BUFFERS: u64 = 4 << 20;
const SLOWEST: u64 = 32 << 10;

/// The client and what it proves itself with.
#[derive(Debug)]
pub(crate) struct Sender {
    http: reqwest::Client,
    key: Key,
    header: RwLock<(HeaderName, HeaderValue)>,
    stall: Duration,
}

impl Sender {
    pub(crate) fn new(settings: &Settings) -> Result<Self, Error> {
        // Whoever chose a TLS library for this process before us has chosen.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let extra = settings.certificates.as_deref().map(certificates).transpose()?.unwrap_or_default();
        let http = client(settings.concurrency, extra.clone()).or_else(|error| {
            tracing::warn!(%error, "the machine has no certificate authorities: https works only with those of --ca-file");
            client_only(settings.concurrency, extra)
        });
        let header = RwLock::new(settings.key.header()?);
        settings.key.warn_when_open();
        Ok(Self { http: http.map_err(Error::Tls)?, key: settings.key.clone(), header, stall: settings.stall })
    }

    /// Reads the key again: it may have been changed.
    pub(crate) fn refresh_key(&self) {
        match self.key.header() {
            Ok(header) => *self.header.write().unwrap_or_else(PoisonError::into_inner) = header,
            Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "the key cannot be read"),
        }
    }

    /// Sends it, once.
    pub(crate) async fn send(&self, parcel: Parcel) -> Verdict {
        let Parcel { method, url, content_type, contents, .. } = parcel;
        let (size, sha256) = (contents.size, contents.sha256);
        let progress = Arc::new(Progress::new(size));
        let (name, value) = self.header.read().unwrap_or_else(PoisonError::into_inner).clone();
        let request = self
            .http
            .request(method, url)
            .header(name, value)
            .header(CONTENT_TYPE, content_type)
            .header(CONTENT_LENGTH, size)
            .header("content-digest", contents.digest_header())
            .body(contents.body(progress.clone()));
        let answered = tokio::select! {
            biased;
            answered = exchange(request) => answered,
            () = progress.stalled(self.stall) => Err(format!("nothing moved for {:?}", self.stall)),
        };
        match answered {
            Ok((status, headers, body)) => answer::judge(status, &headers, &body, &sha256),
            Err(_) if progress.saw_change() => Verdict::Changed,
            Err(error) => Verdict::AllWait(Reason::passing(error)),
        }
    }
}

fn builder(concurrency: usize) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .user_agent(concat!("stowline-spool/", env!("CARGO_PKG_VERSION")))
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .tcp_nodelay(true)
        .tcp_keepalive(Duration::from_secs(30))
        .connect_timeout(Duration::from_secs(10))
        .pool_idle_timeout(Duration::from_secs(15))
        .pool_max_idle_per_host(concurrency)
}

fn client(concurrency: usize, extra: Vec<reqwest::Certificate>) -> reqwest::Result<reqwest::Client> {
    builder(concurrency).tls_certs_merge(extra).build()
}

fn client_only(concurrency: usize, extra: Vec<reqwest::Certificate>) -> reqwest::Result<reqwest::Client> {
    builder(concurrency).tls_certs_only(extra).build()
}

fn certificates(path: &Path) -> Result<Vec<reqwest::Certificate>, Error> {
    let text = fs::read(path).map_err(|error| Error::Folder(path.to_owned(), error))?;
    reqwest::Certificate::from_pem_bundle(&text).map_err(Error::Tls)
}

type Answer = (http::StatusCode, http::HeaderMap, Bytes);

/// Sends and reads the whole answer. The error has no URL: its query speaks of callers.
async fn exchange(request: reqwest::RequestBuilder) -> Result<Answer, String> {
    let mut response = request.send().await.map_err(describe)?;
    let (status, headers) = (response.status(), response.headers().clone());
    let mut body = Vec::new();
    while body.len() < ANSWER_LIMIT
        && let Some(piece) = response.chunk().await.map_err(describe)?
    {
        body.extend_from_slice(&piece);
    }
    Ok((status, headers, body.into()))
}

fn describe(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// When a request's body last moved, and whether its file changed meanwhile.
#[derive(Debug)]
pub(crate) struct Progress {
    moved: Mutex<(Instant, u64)>,
    changed: AtomicBool,
    size: u64,
}

impl Progress {
    fn new(size: u64) -> Self {
        Self { moved: Mutex::new((Instant::now(), size)), changed: AtomicBool::new(false), size }
    }

    /// So many bytes were handed over.
    pub(crate) fn moved(&self, bytes: u64) {
        let mut moved = self.moved.lock().unwrap_or_else(PoisonError::into_inner);
        *moved = (Instant::now(), moved.1.saturating_sub(bytes));
    }

    /// The file is no longer what it was.
    pub(crate) fn note_change(&self) {
        self.changed.store(true, Ordering::Relaxed);
    }

    fn saw_change(&self) -> bool {
        self.changed.load(Ordering::Relaxed)
    }

    /// Comes back when nothing has moved for that long; the last bytes may take as long as a slow line needs for what buffers hold.
    async fn stalled(&self, stall: Duration) {
        let flush = Duration::from_secs(self.size.min(IN_BUFFERS).div_ceil(SLOWEST));
        loop {
            let (last, left) = *self.moved.lock().unwrap_or_else(PoisonError::into_inner);
            let until = last + stall + if left == 0 { flush } else { Duration::ZERO };
            if Instant::now() >= until {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }
}

//! What is sent and what comes back: bodies are streams both ways, and both are watched for standing still.

use std::fmt;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use http::{HeaderMap, Method, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::Instant;
use url::Url;

use crate::error::{Error, ErrorKind};
use crate::redact;

/// A request. Prints neither headers nor what its URL keeps private.
pub struct Request {
    /// The method.
    pub method: Method,
    /// Where to; a user and password in it become an `Authorization` header.
    pub url: Url,
    /// Headers. Host, length and connection are set by the client.
    pub headers: HeaderMap,
    /// What is sent.
    pub body: Body,
    /// Whether it must not take a connection that was used before. A server that refuses a request before it has read its body may
    /// close the connection a moment later: what follows such a refusal takes a new one.
    pub fresh: bool,
}

impl Request {
    /// A request without headers or body.
    #[must_use]
    pub fn new(method: Method, url: Url) -> Self {
        Self { method, url, headers: HeaderMap::new(), body: Body::Empty, fresh: false }
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, redact(&self.url))
    }
}

/// What is sent. Its length is always known, and always said.
pub enum Body {
    /// Nothing.
    Empty,
    /// Bytes in memory.
    Bytes(Bytes),
    /// Bytes that come as they are needed, exactly `length` of them.
    Stream {
        /// Bytes in all.
        length: u64,
        /// The bytes.
        stream: BoxStream<'static, io::Result<Bytes>>,
    },
}

impl Body {
    /// Bytes in all.
    #[must_use]
    pub fn length(&self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Stream { length, .. } => *length,
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.length())
    }
}

/// An answer. Its body is still on the way.
pub struct Response {
    status: StatusCode,
    headers: HeaderMap,
    url: Url,
    idle: Duration,
    body: Incoming,
}

impl Response {
    pub(crate) fn new(answer: http::Response<Incoming>, url: Url, idle: Duration) -> Self {
        let (parts, body) = answer.into_parts();
        Self { status: parts.status, headers: parts.headers, url, idle, body }
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The headers.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// A header's text, when it is there and is text.
    #[must_use]
    pub fn header(&self, name: impl header::AsHeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The length that the answer promises for its body.
    #[must_use]
    pub fn content_length(&self) -> Option<u64> {
        self.header(header::CONTENT_LENGTH)?.trim().parse().ok()
    }

    /// The body, up to `limit` bytes of it; what comes after is dropped, with the connection.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Closed`] or [`ErrorKind::Timeout`] when the body does not arrive.
    pub async fn bytes(self, limit: usize) -> Result<Bytes, Error> {
        let mut stream = self.stream();
        let mut whole = match stream.next().await.transpose()? {
            Some(first) => first,
            None => return Ok(Bytes::new()),
        };
        let mut rest = BytesMut::new();
        while whole.len() + rest.len() < limit {
            match stream.next().await.transpose()? {
                Some(more) => rest.extend_from_slice(&more),
                None => break,
            }
        }
        if !rest.is_empty() {
            whole = Bytes::from([&whole[..], &rest[..]].concat());
        }
        whole.truncate(limit);
        Ok(whole)
    }

    /// The body as it comes. Each piece may take as long as the client's idle time.
    #[must_use]
    pub fn stream(self) -> BoxStream<'static, Result<Bytes, Error>> {
        stream::unfold(Some(self), |state| async {
            let mut this = state?;
            let failed = loop {
                match tokio::time::timeout(this.idle, this.body.frame()).await {
                    Ok(Some(Ok(frame))) => {
                        // What comes after the body, in trailers, nobody asks for.
                        let Ok(piece) = frame.into_data() else { continue };
                        return Some((Ok(piece), Some(this)));
                    }
                    Ok(Some(Err(error))) => break Error::of_answer(error, &this.url),
                    Ok(None) => return None,
                    Err(_) => break Error::new(ErrorKind::Timeout, redact(&this.url)),
                }
            };
            Some((Err(failed), None))
        })
        .boxed()
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} from {}", self.status, redact(&self.url))
    }
}

/// When the request's body last moved.
#[derive(Debug)]
pub(crate) struct Progress(Mutex<State>);

#[derive(Clone, Copy, Debug)]
struct State {
    last: Instant,
    left: u64,
}

impl Progress {
    pub(crate) fn new(length: u64) -> Self {
        Self(Mutex::new(State { last: Instant::now(), left: length }))
    }

    pub(crate) fn moved(&self, bytes: u64) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *state = State { last: Instant::now(), left: state.left.saturating_sub(bytes) };
    }

    /// Comes back when nothing has moved for `idle`, or once all is handed over, when no answer came for `answer`.
    pub(crate) async fn stalled(&self, idle: Duration, answer: Duration) {
        loop {
            let State { last, left } = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let until = last + if left == 0 { answer } else { idle };
            if Instant::now() >= until {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }
}

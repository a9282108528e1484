//! What the two Google handlers share: how a refusal is read, and uploads in a session.
//!
//! A session has an address of its own, which is a credential by itself and is in no error. All bytes go there in one request, so that none waits
//! for the answer to those before it; where the way breaks in the middle, the rest goes in another.

use std::ops::Range;

use async_trait::async_trait;
use futures_util::stream::{self, StreamExt};
use http::{HeaderValue, Method, StatusCode, header};
use outbound::{Body, Request};
use serde_json::Value;
use url::Url;

use crate::asking::{Answer, Refusal, ask};
use crate::bearer::Bearer;
use crate::error::{Error, ErrorKind, Operation};
use crate::payload::Payload;
use crate::pieces::{self, At};

/// What is larger goes in a session, which can go on where it broke.
pub(super) const THRESHOLD: u64 = 8 << 20;

/// A refusal in Google's words.
pub(super) fn refused(refusal: &Refusal) -> Error {
    let answer = refusal.json();
    let error = &answer["error"];
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let reason = text(&error["errors"][0]["reason"]).or_else(|| text(&error["status"]));
    let message = text(&error["message"]).or_else(|| text(error));
    refusal.error(kind(refusal.status, reason.as_deref()), reason, message)
}

/// The kind of a refusal: the service's word goes before its number.
fn kind(status: StatusCode, reason: Option<&str>) -> ErrorKind {
    match reason {
        Some(
            "rateLimitExceeded"
            | "userRateLimitExceeded"
            | "dailyLimitExceeded"
            | "sharingRateLimitExceeded"
            | "RESOURCE_EXHAUSTED",
        ) => ErrorKind::Throttled,
        Some(
            "storageQuotaExceeded"
            | "teamDriveFileLimitExceeded"
            | "quotaExceeded"
            | "numChildrenInNonRootLimitExceeded",
        ) => ErrorKind::Full,
        Some("backendError" | "internalError") => ErrorKind::Unavailable,
        _ => ErrorKind::of_status(status),
    }
}

/// Bytes after a JSON of what they are: one request.
pub(super) fn related(about: &Value, payload: &Payload, bytes: Option<&bytes::Bytes>) -> (HeaderValue, Body) {
    // Unlike anything in the payload but by intent, and then the service counts otherwise than we said and refuses.
    let boundary = format!("stowline-{}", hex::encode(&payload.sha256[..16]));
    let head = format!(
        "--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{about}\r\n--{boundary}\r\nContent-Type: {}\r\n\r\n",
        content_type(payload)
    );
    let tail = format!("\r\n--{boundary}--\r\n");
    let length = head.len() as u64 + payload.length + tail.len() as u64;
    let value = HeaderValue::from_str(&format!("multipart/related; boundary={boundary}"));
    let value = value.unwrap_or(HeaderValue::from_static("multipart/related"));
    let body = match bytes {
        Some(bytes) => Body::Bytes([head.as_bytes(), bytes, tail.as_bytes()].concat().into()),
        None => {
            let around = |text: String| stream::iter([Ok(bytes::Bytes::from(text))]);
            Body::Stream { length, stream: around(head).chain(payload.open(None)).chain(around(tail)).boxed() }
        }
    };
    (value, body)
}

/// The payload's media type, where it is one that a header can hold.
pub(super) fn content_type(payload: &Payload) -> &str {
    let text = payload.content_type.trim();
    let fits = !text.is_empty() && text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if fits { text } else { "application/octet-stream" }
}

/// Sends a payload in a session that `begin` (a POST, with the JSON of what it is) opens; the last answer.
pub(super) async fn in_session(
    bearer: &Bearer,
    payload: &Payload,
    begin: &(dyn Fn() -> Request + Send + Sync),
) -> Result<Answer, Error> {
    let opened = bearer.ask(Operation::Put, begin).await?.map_err(|refusal| refused(&refusal))?;
    let url = opened.header("location").and_then(|location| opened.url.join(location).ok());
    let url = url.ok_or_else(|| Error::new(Operation::Put, ErrorKind::Rejected, "a session without an address"))?;
    let session = Session { bearer, payload, url, shown: opened.url.clone() };
    opened.pass().await;
    pieces::send(&session, payload.length, payload.length).await
}

struct Session<'a> {
    bearer: &'a Bearer,
    payload: &'a Payload,
    url: Url,
    shown: Url,
}

#[async_trait]
impl pieces::Session for Session<'_> {
    type Stored = Answer;

    async fn piece(&self, range: Range<u64>) -> Result<At<Answer>, Error> {
        let text = format!("bytes {}-{}/{}", range.start, range.end - 1, self.payload.length);
        let body = Body::Stream { length: range.end - range.start, stream: self.payload.open(Some(range)) };
        self.put(text, body).await
    }

    async fn progress(&self) -> Result<At<Answer>, Error> {
        self.put(format!("bytes */{}", self.payload.length), Body::Empty).await
    }
}

impl Session<'_> {
    async fn put(&self, range: String, body: Body) -> Result<At<Answer>, Error> {
        let mut request = Request::new(Method::PUT, self.url.clone());
        request.headers.extend(HeaderValue::from_str(&range).ok().map(|range| (header::CONTENT_RANGE, range)));
        request.body = body;
        // An error names where the session was opened: its own address would let anybody in.
        let asked = ask(&self.bearer.client, Operation::Put, request).await;
        let asked = asked.map_err(|error| error.at(&self.shown))?;
        match asked {
            Ok(answer) => Ok(At::Done(Answer { url: self.shown.clone(), ..answer })),
            Err(refusal) if refusal.status == StatusCode::PERMANENT_REDIRECT => {
                let reached =
                    refusal.header("range").and_then(|range| range.rsplit('-').next()?.trim().parse::<u64>().ok());
                Ok(At::Byte(reached.map_or(0, |last| last + 1)))
            }
            Err(refusal) => Err(refused(&Refusal { url: self.shown.clone(), ..refusal })),
        }
    }
}

//! One request and what became of it, for handlers that speak HTTP.
//!
//! A good answer is an [`Answer`], a bad one a [`Refusal`]; what a refusal means is the handler's to say, in its provider's words. Sent
//! once: nothing is tried again here.

use bytes::Bytes;
use futures_util::TryStreamExt;
use http::{HeaderMap, StatusCode, header};
use outbound::{Client, Request, Response};
use serde_json::Value;
use sha2::{Digest, Sha256};
use url::Url;

use crate::body::{Body, ByteRange, content_range};
use crate::error::{Error, ErrorKind, Operation};

/// Bytes of an answer that are read.
const ANSWER: usize = 256 << 10;

/// A good answer (2xx), and whom it came from.
pub(crate) struct Answer {
    pub(crate) operation: Operation,
    pub(crate) url: Url,
    pub(crate) response: Response,
}

/// Any other answer, read.
pub(crate) struct Refusal {
    pub(crate) operation: Operation,
    pub(crate) url: Url,
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Asks once.
pub(crate) async fn ask(
    client: &Client,
    operation: Operation,
    request: Request,
) -> Result<Result<Answer, Refusal>, Error> {
    let url = request.url.clone();
    let response = client.send(request).await.map_err(|error| Error::on_the_way(operation, &url, error))?;
    if response.status().is_success() {
        return Ok(Ok(Answer { operation, url, response }));
    }
    let (status, headers) = (response.status(), response.headers().clone());
    // A refusal whose text does not arrive is a refusal all the same.
    let body = response.bytes(ANSWER).await.unwrap_or_default();
    Ok(Err(Refusal { operation, url, status, headers, body }))
}

/// A removal that was asked for: what is absent is removed already.
pub(crate) async fn removed(asked: Result<Answer, Error>) -> Result<(), Error> {
    match asked {
        Ok(answer) => {
            answer.pass().await;
            Ok(())
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

impl Refusal {
    /// A header's text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Its body as JSON; `Null` where it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// As an error of this kind, in the provider's word and sentence.
    pub(crate) fn error(&self, kind: ErrorKind, code: Option<String>, message: Option<String>) -> Error {
        Error::answered(self.operation, kind, &self.url, self.status, &self.headers, &self.body).in_words(code, message)
    }
}

impl Answer {
    /// A header's text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.response.header(name)
    }

    /// The content's tag, without quotes.
    pub(crate) fn etag(&self) -> Option<String> {
        let tag = self.header("etag")?.trim().trim_start_matches("W/").trim_matches('"');
        (!tag.is_empty()).then(|| tag.to_owned())
    }

    /// The answer's JSON. What is none is `Null`: an answer that says nothing proves nothing.
    pub(crate) async fn json(self) -> Result<Value, Error> {
        let Self { operation, url, response } = self;
        let body = response.bytes(ANSWER).await.map_err(|error| Error::on_the_way(operation, &url, error))?;
        Ok(serde_json::from_slice(&body).unwrap_or_default())
    }

    /// The answer's text.
    pub(crate) async fn bytes(self) -> Result<Bytes, Error> {
        let Self { operation, url, response } = self;
        response.bytes(ANSWER).await.map_err(|error| Error::on_the_way(operation, &url, error))
    }

    /// Reads what is left of an answer whose text says nothing to us, which frees its connection.
    pub(crate) async fn pass(self) {
        let _ = self.response.bytes(ANSWER).await;
    }

    /// As the body of a fetch of an object that has `length` bytes; a part that the place did not cut is cut here.
    pub(crate) fn body(self, range: Option<ByteRange>, length: u64) -> Result<Body, Error> {
        let Self { operation, url, response } = self;
        let served = response.header(header::CONTENT_RANGE).and_then(content_range);
        let partial = response.status() == StatusCode::PARTIAL_CONTENT;
        let content_type = response.header(header::CONTENT_TYPE).map(str::to_owned);
        let total = response.content_length();
        let stream = response.stream().map_err(move |error| Error::on_the_way(operation, &url, error));
        let whole = Body { content_type, total, range: None, stream: Box::pin(stream) };
        match (served.filter(|_| partial), range) {
            (Some((served, total)), Some(_)) => Ok(Body { total, range: Some(served), ..whole }),
            (_, Some(range)) if !partial => whole.cut(range, length),
            (None, None) if !partial => Ok(whole),
            _ => Err(Error::new(operation, ErrorKind::Rejected, "a part that was not asked for, or nobody says which")),
        }
    }

    /// The digest of the answer's whole body.
    pub(crate) async fn sha256(self) -> Result<[u8; 32], Error> {
        let Self { operation, url, response } = self;
        let (mut stream, mut digest) = (response.stream(), Sha256::new());
        let lost = |error| Error::on_the_way(operation, &url, error);
        while let Some(piece) = stream.try_next().await.map_err(lost)? {
            digest.update(&piece);
        }
        Ok(digest.finalize().into())
    }
}

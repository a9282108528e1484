//! One request to a bucket: signed, sent, and its refusal read.
//!
//! Three things are put right here and nowhere else: a region that nobody told is found before the first request, a wrong one is corrected
//! once by what the server says, and temporary keys that have ended are renewed. What was found is kept for as long as the handler is open.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use http::{HeaderMap, Method};
use outbound::{Body, Client, Request, Response};
use tokio::sync::OnceCell;
use url::Url;

use super::endpoint::{DEFAULT_REGION, Endpoint, is_region};
use crate::amazon::{Access, Amazon, Signing};
use crate::error::{Error, ErrorKind, Operation};
use crate::xml::Answer;

/// Bytes of an answer that are read: enough for any XML that we ask for.
const ANSWER: usize = 64 << 10;
/// The digest of an empty body.
pub(super) const NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

const BUCKET_REGION: &str = "x-amz-bucket-region";

/// A signed way to one bucket.
pub(super) struct Wire {
    client: Client,
    endpoint: Endpoint,
    access: Access,
    amazon: Arc<Amazon>,
    region: RwLock<String>,
    found: OnceCell<()>,
}

/// What is asked. The body is made anew when it has to be sent again.
pub(super) struct Ask<'a> {
    pub(super) operation: Operation,
    pub(super) method: Method,
    pub(super) key: Option<&'a str>,
    pub(super) query: Option<&'a str>,
    pub(super) headers: HeaderMap,
    /// SHA-256 of the body, in hexadecimal.
    pub(super) sha256: &'a str,
    pub(super) body: &'a (dyn Fn() -> Body + Send + Sync),
}

impl<'a> Ask<'a> {
    /// A request about an object, without a body.
    pub(super) fn new(operation: Operation, method: Method, key: &'a str) -> Self {
        Self {
            operation,
            method,
            key: Some(key),
            query: None,
            headers: HeaderMap::new(),
            sha256: NOTHING,
            body: &|| Body::Empty,
        }
    }
}

/// A good answer, and whom it came from.
pub(super) struct Told {
    pub(super) url: Url,
    pub(super) response: Response,
}

impl Told {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.response.header(name)
    }

    /// The content's tag, without quotes.
    pub(super) fn etag(&self) -> Option<String> {
        let tag = self.header("etag")?.trim().trim_start_matches("W/").trim_matches('"');
        (!tag.is_empty()).then(|| tag.to_owned())
    }

    /// The XML of the answer.
    pub(super) async fn read(self, operation: Operation) -> Result<(Answer, Refusal), Error> {
        let Self { url, response } = self;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.bytes(ANSWER).await.map_err(|error| Error::on_the_way(operation, &url, error))?;
        let answer = Answer::read(&body);
        Ok((answer, Refusal { operation, url, status, headers, body }))
    }
}

/// A bad answer.
pub(super) struct Refusal {
    operation: Operation,
    url: Url,
    status: http::StatusCode,
    headers: HeaderMap,
    body: bytes::Bytes,
}

impl Refusal {
    pub(super) fn error(&self) -> Error {
        let answer = Answer::read(&self.body);
        let code = answer.get("Code").map(str::to_owned);
        let kind = kind(self.status, code.as_deref());
        Error::answered(self.operation, kind, &self.url, self.status, &self.headers, &self.body)
            .in_words(code, answer.get("Message").map(str::to_owned))
    }

    /// Whether the keys were good once.
    fn is_of_ended_keys(&self) -> bool {
        matches!(Answer::read(&self.body).get("Code"), Some("ExpiredToken" | "InvalidToken" | "TokenRefreshRequired"))
    }

    /// The region that the bucket lies in, where the server says it.
    fn region(&self) -> Option<String> {
        let answer = Answer::read(&self.body);
        region_of(&self.headers).or_else(|| answer.get("Region").map(str::to_owned)).filter(|region| is_region(region))
    }
}

fn region_of(headers: &HeaderMap) -> Option<String> {
    headers.get(BUCKET_REGION)?.to_str().ok().filter(|region| is_region(region)).map(str::to_owned)
}

impl Wire {
    pub(super) fn new(client: Client, endpoint: Endpoint, access: Access, amazon: Arc<Amazon>) -> Self {
        let region = endpoint.region().unwrap_or(DEFAULT_REGION).to_owned();
        Self { client, endpoint, access, amazon, region: RwLock::new(region), found: OnceCell::new() }
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The region that requests are signed for.
    pub(super) fn region(&self) -> String {
        self.region.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn keep_region(&self, region: String) {
        tracing::info!(region, destination = self.endpoint.identity(), "found the region of a bucket");
        *self.region.write().unwrap_or_else(PoisonError::into_inner) = region;
    }

    /// Asks, and gives back the answer if it is a good one (2xx).
    pub(super) async fn ask(&self, ask: &Ask<'_>) -> Result<Told, Error> {
        if self.endpoint.has_regions() && self.endpoint.region().is_none() {
            self.found.get_or_try_init(|| self.find_region(ask.operation)).await?;
        }
        let region = self.region();
        let mut refusal = match self.once(ask, &region, false).await? {
            Ok(told) => return Ok(told),
            Err(refusal) => refusal,
        };
        if refusal.is_of_ended_keys() && self.access.forget().await {
            refusal = match self.once(ask, &region, true).await? {
                Ok(told) => return Ok(told),
                Err(refusal) => refusal,
            };
        }
        let redirected = matches!(refusal.status.as_u16(), 301 | 307 | 400 | 403);
        match refusal.region().filter(|other| redirected && *other != region) {
            None => Err(refusal.error()),
            Some(other) => {
                // Signed for the wrong region, so nothing was done: the same once more, for the right one.
                self.keep_region(other.clone());
                self.once(ask, &other, true).await?.map_err(|refusal| refusal.error())
            }
        }
    }

    /// A URL that lets in whoever has it, for a while.
    pub(super) async fn presign(&self, key: &str, query: &str, expires: Duration) -> Result<Url, Error> {
        let operation = Operation::Fetch;
        if self.endpoint.has_regions() && self.endpoint.region().is_none() {
            self.found.get_or_try_init(|| self.find_region(operation)).await?;
        }
        let region = self.region();
        let url = self.endpoint.url(&region, Some(key), Some(query))?;
        let keys = self.access.keys(&self.amazon, &self.client, operation, &region).await?;
        Ok(Signing { service: "s3", region: &region, keys: &keys, operation }.url(&Method::GET, &url, expires))
    }

    /// Asks where the bucket lies. Whoever is refused is told all the same; who is told nothing stays with the default.
    async fn find_region(&self, operation: Operation) -> Result<(), Error> {
        let ask = Ask { key: None, ..Ask::new(operation, Method::HEAD, "") };
        let told = match self.once(&ask, DEFAULT_REGION, false).await? {
            Ok(told) => region_of(told.response.headers()),
            Err(refusal) => refusal.region(),
        };
        if let Some(region) = told.filter(|region| *region != self.region()) {
            self.keep_region(region);
        }
        Ok(())
    }

    async fn once(&self, ask: &Ask<'_>, region: &str, fresh: bool) -> Result<Result<Told, Refusal>, Error> {
        let url = self.endpoint.url(region, ask.key, ask.query)?;
        let keys = self.access.keys(&self.amazon, &self.client, ask.operation, region).await?;
        let signing = Signing { service: "s3", region, keys: &keys, operation: ask.operation };
        let headers = signing.headers(&ask.method, &url, ask.headers.clone(), ask.sha256)?;
        let request = Request { method: ask.method.clone(), url: url.clone(), headers, body: (ask.body)(), fresh };
        let lost = |error| Error::on_the_way(ask.operation, &url, error);
        let response = self.client.send(request).await.map_err(lost)?;
        if response.status().is_success() {
            return Ok(Ok(Told { url, response }));
        }
        let (status, headers) = (response.status(), response.headers().clone());
        // A refusal whose text does not arrive is a refusal all the same.
        let body = response.bytes(ANSWER).await.unwrap_or_default();
        Ok(Err(Refusal { operation: ask.operation, url, status, headers, body }))
    }
}

/// The kind of a refusal: the server's word goes before its number.
fn kind(status: http::StatusCode, code: Option<&str>) -> ErrorKind {
    match code {
        Some("SlowDown" | "Throttling" | "ThrottlingException" | "RequestLimitExceeded" | "TooManyRequests") => {
            ErrorKind::Throttled
        }
        Some("RequestTimeout") => ErrorKind::Timeout,
        Some("InternalError" | "ServiceUnavailable") => ErrorKind::Unavailable,
        Some("BadDigest" | "InvalidDigest" | "XAmzContentSHA256Mismatch" | "XAmzContentChecksumMismatch") => {
            ErrorKind::Mismatch
        }
        Some("IncompleteBody") => ErrorKind::Interrupted,
        Some("AuthorizationHeaderMalformed" | "PermanentRedirect" | "TemporaryRedirect" | "InvalidBucketName") => {
            ErrorKind::Misconfigured
        }
        Some("InvalidAccessKeyId" | "SignatureDoesNotMatch" | "AccessDenied" | "InvalidToken" | "ExpiredToken") => {
            ErrorKind::Refused
        }
        // An error in a good answer, in a word that we do not know.
        _ if status.is_success() => ErrorKind::Unavailable,
        _ => ErrorKind::of_status(status),
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};
    use outbound::Policy;
    use testkit::{Fault, S3Server};

    use super::*;

    #[tokio::test]
    async fn where_a_bucket_may_lie_anywhere_it_is_asked_once() {
        let server = S3Server::builder().region("eu-central-1").start().unwrap();
        server.bucket("recordings");
        let settings = server.settings("recordings");
        let endpoint = Endpoint::read(settings.as_object().unwrap()).unwrap().with_regions();
        let client = Client::new(Arc::new(Policy::new(vec!["127.0.0.0/8".parse().unwrap()]))).unwrap();
        let access = Access::read(settings.as_object().unwrap(), &Amazon::default()).unwrap();
        let wire = Wire::new(client, endpoint, access, Arc::default());
        // Nobody there is no answer: it is asked again the next time.
        server.faults().next([Fault::Reset, Fault::Reset]);
        let ask = Ask::new(Operation::Put, Method::PUT, "a");
        assert_eq!(wire.ask(&ask).await.map(|_| ()).unwrap_err().kind(), ErrorKind::Interrupted);
        for _ in 0..2 {
            wire.ask(&ask).await.map(|_| ()).unwrap();
        }
        assert_eq!(wire.region(), "eu-central-1");
        let seen: Vec<String> =
            server.faults().seen().iter().map(|seen| format!("{} {}", seen.method, seen.path)).collect();
        let (head, put) = ("HEAD /recordings", "PUT /recordings/a");
        assert_eq!(seen, [head, head, head, put, put]);
    }

    #[test]
    fn a_region_of_a_servers_choice_cannot_lead_elsewhere() {
        for evil in ["evil.example.org/", "x.evil.org", "", "A"] {
            let headers =
                HeaderMap::from_iter([(HeaderName::from_static(BUCKET_REGION), HeaderValue::from_str(evil).unwrap())]);
            assert_eq!(region_of(&headers), None, "{evil}");
        }
    }

    #[test]
    fn the_digest_of_nothing_is_right() {
        use sha2::Digest;
        assert_eq!(hex::encode(sha2::Sha256::digest(b"")), NOTHING);
    }
}

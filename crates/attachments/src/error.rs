//! What went wrong, in three layers: a [kind](ErrorKind) to decide by, the other side's own words in an [`Exchange`], and the
//! cause below as a source.
//!
//! An error prints what we did and how it failed. It never prints a setting, a query or a body: those are in the exchange, cut
//! and cleaned, for who is entitled to see them.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::fmt;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode, header};
use url::Url;

/// What was being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// A handler was opened with settings.
    Open,
    /// A location was worked out.
    Locate,
    /// A name was asked for.
    Reserve,
    /// Bytes were stored.
    Put,
    /// Bytes were brought back.
    Fetch,
    /// An object was removed.
    Delete,
}

impl Operation {
    /// How many there are.
    pub(crate) const COUNT: usize = Self::Delete as usize + 1;

    /// One word for logs and metrics.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Locate => "locate",
            Self::Reserve => "reserve",
            Self::Put => "put",
            Self::Fetch => "fetch",
            Self::Delete => "delete",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// The kinds of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Our egress policy forbids the address.
    Denied,
    /// The settings cannot work as they are.
    Misconfigured,
    /// The destination does not let us: 401, 403.
    Refused,
    /// The consent by which the destination let us in was taken back, or has run out: a person has to give it again.
    Revoked,
    /// There is no such thing at the destination.
    NotFound,
    /// Something else is there already.
    Conflict,
    /// The destination has no room for it: its disk or our quota there is used up.
    Full,
    /// Too much at once: 429, or the destination's word for it.
    Throttled,
    /// The destination is out of order: 5xx.
    Unavailable,
    /// The destination cannot be reached: no address, no connection, no TLS.
    Unreachable,
    /// Nothing moved for too long.
    Timeout,
    /// Other bytes than ours are there, or none although it said yes.
    Mismatch,
    /// The destination does not take this request: the other 4xx, and redirects that lead nowhere.
    Rejected,
    /// The transfer broke in the middle, on either side.
    Interrupted,
    /// What was asked makes no sense: a range outside, a location that climbs.
    Invalid,
}

impl ErrorKind {
    /// One word for logs, metrics and stored errors.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::Misconfigured => "misconfigured",
            Self::Refused => "refused",
            Self::Revoked => "revoked",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::Full => "full",
            Self::Throttled => "throttled",
            Self::Unavailable => "unavailable",
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Mismatch => "mismatch",
            Self::Rejected => "rejected",
            Self::Interrupted => "interrupted",
            Self::Invalid => "invalid",
        }
    }

    /// The kind of an answer by its status alone.
    pub(crate) fn of_status(status: StatusCode) -> Self {
        match status.as_u16() {
            401 | 403 => Self::Refused,
            404 | 410 => Self::NotFound,
            408 => Self::Timeout,
            409 | 412 => Self::Conflict,
            416 => Self::Invalid,
            429 => Self::Throttled,
            507 => Self::Full,
            500.. => Self::Unavailable,
            _ => Self::Rejected,
        }
    }

    fn of_way(kind: outbound::ErrorKind) -> Self {
        use outbound::ErrorKind as Way;
        match kind {
            Way::Denied => Self::Denied,
            Way::Resolve | Way::Connect | Way::Tls | Way::Other => Self::Unreachable,
            Way::Timeout => Self::Timeout,
            Way::Closed | Way::Body => Self::Interrupted,
            Way::TooManyRedirects | Way::RedirectLoop | Way::RedirectNoLocation => Self::Rejected,
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Denied => "our egress policy forbids the address",
            Self::Misconfigured => "the settings cannot work",
            Self::Refused => "the destination refuses us",
            Self::Revoked => "access was taken back",
            Self::NotFound => "it is not there",
            Self::Conflict => "something else is there already",
            Self::Full => "the destination has no room left",
            Self::Throttled => "the destination asks for patience",
            Self::Unavailable => "the destination is out of order",
            Self::Unreachable => "the destination cannot be reached",
            Self::Timeout => "nothing moved for too long",
            Self::Mismatch => "the destination does not hold what was stored",
            Self::Rejected => "the destination does not take the request",
            Self::Interrupted => "the transfer broke",
            Self::Invalid => "it makes no sense",
        })
    }
}

/// When to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// Not before this time has passed: the destination said so.
    After(Duration),
    /// Later, and later still the next time.
    Backoff,
    /// Not by itself: the same again cannot succeed, whatever changes at the destination.
    Park,
}

/// What was asked and what was answered, as far as it may be shown to who asked for it and stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Exchange {
    /// The URL, without user, password, query and fragment.
    pub url: String,
    /// The status of the answer, when there was one.
    pub status: Option<u16>,
    /// The answer's body where it is text, cut at 2 KiB.
    pub body: Option<String>,
    /// The headers of the answer that are harmless, by lowercase name.
    pub headers: BTreeMap<String, String>,
    /// The destination's word for the failure: `NoSuchBucket`.
    pub code: Option<String>,
    /// The destination's own sentence, or the phrase of its status.
    pub message: Option<String>,
}

impl Exchange {
    /// Bytes of a body that are kept.
    pub const BODY: usize = 2 << 10;

    /// Header names that are kept: none of them can carry a credential.
    const HEADERS: [&'static str; 11] = [
        "allow",
        "content-length",
        "content-type",
        "date",
        "etag",
        "retry-after",
        "server",
        "x-amz-bucket-region",
        "x-amz-id-2",
        "x-amz-request-id",
        "x-request-id",
    ];

    /// Something was asked, and nothing answered.
    pub(crate) fn asked(url: &Url) -> Self {
        Self { url: outbound::redact(url), ..Self::default() }
    }

    /// Something was asked, and this was answered.
    pub(crate) fn answered(url: &Url, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let kept = headers.iter().filter(|(name, _)| Self::HEADERS.contains(&name.as_str()));
        Self {
            url: outbound::redact(url),
            status: Some(status.as_u16()),
            body: text(body),
            headers: kept
                .filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())))
                .collect(),
            code: None,
            message: status.canonical_reason().map(str::to_owned),
        }
    }
}

/// The text of a body, cut. What is not UTF-8, or has control characters, is no text.
fn text(body: &[u8]) -> Option<String> {
    let cut = &body[..body.len().min(Exchange::BODY)];
    let text = match std::str::from_utf8(cut) {
        Ok(text) => text,
        // The cut may go through a character.
        Err(error) if error.error_len().is_none() => std::str::from_utf8(&cut[..error.valid_up_to()]).ok()?,
        Err(_) => return None,
    };
    let is_text = !text.chars().any(|character| character.is_control() && !matches!(character, '\n' | '\r' | '\t'));
    (is_text && !text.is_empty()).then(|| text.to_owned())
}

/// A failure of a handler.
#[derive(Debug, thiserror::Error)]
#[error("{operation} failed: {kind}{}", Detail(self))]
pub struct Error {
    kind: ErrorKind,
    operation: Operation,
    detail: Option<Box<str>>,
    exchange: Option<Box<Exchange>>,
    after: Option<Duration>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

struct Detail<'a>(&'a Error);

impl fmt::Display for Detail<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exchange = self.0.exchange();
        let status = exchange.and_then(|exchange| exchange.status);
        let code = exchange.and_then(|exchange| exchange.code.as_deref());
        match (status, code) {
            (Some(status), Some(code)) => write!(f, " ({status} {code})")?,
            (Some(status), None) => write!(f, " ({status})")?,
            (None, Some(code)) => write!(f, " ({code})")?,
            (None, None) => {}
        }
        self.0.detail.as_deref().map_or(Ok(()), |detail| write!(f, ": {detail}"))
    }
}

/// The longest that a destination may make us wait.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

impl Error {
    /// A failure in our own words. `detail` must hold no setting.
    #[must_use]
    pub fn new(operation: Operation, kind: ErrorKind, detail: impl Into<String>) -> Self {
        let detail = Some(detail.into()).filter(|detail| !detail.is_empty()).map(String::into_boxed_str);
        Self { kind, operation, detail, exchange: None, after: None, source: None }
    }

    /// The destination said yes to a put, and what it says or has does not fit that.
    pub(crate) fn mismatch(what: &str) -> Self {
        Self::new(Operation::Put, ErrorKind::Mismatch, what)
    }

    /// Our own side failed to give the bytes of a put.
    pub(crate) fn unreadable(error: std::io::Error) -> Self {
        Self::new(Operation::Put, ErrorKind::Interrupted, "the payload could not be read").caused(error)
    }

    /// The request found no answer.
    pub(crate) fn on_the_way(operation: Operation, url: &Url, error: outbound::Error) -> Self {
        let mut exchange = Exchange::asked(url);
        exchange.code = Some(error.kind().word().to_owned());
        Self {
            exchange: Some(Box::new(exchange)),
            ..Self::new(operation, ErrorKind::of_way(error.kind()), "").caused(error)
        }
    }

    /// No connection came about with a destination that does not speak HTTP. `url` must hold no credential.
    pub(crate) fn unconnected(operation: Operation, url: &str, error: outbound::Error) -> Self {
        let (kind, code) = (ErrorKind::of_way(error.kind()), error.kind().word().to_owned());
        Self::told(operation, kind, url, Some(code), "").caused(error)
    }

    /// The same, with another URL in place of one that is a credential by itself.
    pub(crate) fn at(mut self, url: &Url) -> Self {
        if let Some(exchange) = &mut self.exchange {
            exchange.url = outbound::redact(url);
        }
        self.source = None;
        self
    }

    /// The answer was a failure.
    pub(crate) fn answered(
        operation: Operation,
        kind: ErrorKind,
        url: &Url,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Self {
        let exchange = Exchange::answered(url, status, headers, body);
        Self { exchange: Some(Box::new(exchange)), after: retry_after(headers), ..Self::new(operation, kind, "") }
    }

    /// A destination that does not speak HTTP said so: its code and its own sentence. `url` must hold no credential.
    pub(crate) fn told(
        operation: Operation,
        kind: ErrorKind,
        url: &str,
        code: Option<String>,
        message: impl Into<String>,
    ) -> Self {
        let message = Some(message.into()).filter(|message| !message.is_empty());
        let exchange = Exchange { url: url.to_owned(), code, message, ..Exchange::default() };
        Self { exchange: Some(Box::new(exchange)), ..Self::new(operation, kind, "") }
    }

    /// The same with a cause.
    #[must_use]
    pub(crate) fn caused(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The same with what may help, in our own words; it must hold no setting.
    pub(crate) fn because(mut self, detail: &str) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// The same with a word of the destination, and its sentence when it has one.
    pub(crate) fn in_words(mut self, code: Option<String>, message: Option<String>) -> Self {
        if let Some(exchange) = &mut self.exchange {
            exchange.code = code.or(exchange.code.take());
            exchange.message = message.or(exchange.message.take());
        }
        self
    }

    /// The same as what it comes to for who asked: we were not let in. A destination that was not even asked has said nothing else.
    pub(crate) fn without_access(mut self) -> Self {
        let exchange = self.exchange.get_or_insert_default();
        exchange.status = Some(StatusCode::UNAUTHORIZED.as_u16());
        exchange.message = Some(match exchange.message.take() {
            Some(message) => format!("oauth_failure: {message}"),
            None => "oauth_failure".to_owned(),
        });
        self
    }

    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What was being done.
    #[must_use]
    pub fn operation(&self) -> Operation {
        self.operation
    }

    /// What was asked and answered, when it came to that.
    #[must_use]
    pub fn exchange(&self) -> Option<&Exchange> {
        self.exchange.as_deref()
    }

    /// When to try again. No answer of a destination is final by itself: keys are repaired, buckets made, objects removed. Consent that was
    /// taken back is waited for, not asked for again and again.
    #[must_use]
    pub fn advice(&self) -> Advice {
        match (self.kind, self.after) {
            (ErrorKind::Invalid | ErrorKind::Revoked, _) => Advice::Park,
            // A place that removes nothing will not begin to: somebody should know.
            (ErrorKind::Rejected, None) if self.operation == Operation::Delete => Advice::Park,
            (_, Some(after)) => Advice::After(after.min(LONGEST_WAIT)),
            (_, None) => Advice::Backoff,
        }
    }
}

/// `Retry-After`, in seconds or as a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(SystemTime::now()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16, headers: &[(&'static str, &str)], body: &[u8]) -> Error {
        let status = StatusCode::from_u16(status).unwrap();
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        let url = Url::parse("https://me:hunter2@example.org/a?token=hunter2").unwrap();
        Error::answered(Operation::Put, ErrorKind::of_status(status), &url, status, &headers, body)
    }

    #[test]
    fn no_secret_is_printed_or_kept() {
        let error = answered(403, &[("set-cookie", "hunter2"), ("x-amz-request-id", "R")], b"no");
        let exchange = error.exchange().unwrap();
        assert_eq!(exchange.url, "https://example.org/a");
        assert_eq!(exchange.headers, BTreeMap::from([("x-amz-request-id".into(), "R".into())]));
        assert!(!format!("{error} {error:?}").contains("hunter2"));
        assert_eq!(error.to_string(), "put failed: the destination refuses us (403)");
    }

    #[test]
    fn advice_is_what_the_destination_says() {
        assert_eq!(answered(429, &[("retry-after", "7")], b"").advice(), Advice::After(Duration::from_secs(7)));
        assert_eq!(
            answered(503, &[("retry-after", "Mon, 01 Jan 2001 00:00:00 GMT")], b"").advice(),
            Advice::After(Duration::ZERO)
        );
        assert_eq!(answered(503, &[("retry-after", "99999999")], b"").advice(), Advice::After(LONGEST_WAIT));
        for status in [401, 403, 404, 409, 500, 503] {
            assert_eq!(answered(status, &[], b"").advice(), Advice::Backoff, "{status}");
        }
        assert_eq!(Error::new(Operation::Locate, ErrorKind::Invalid, "x").advice(), Advice::Park);
    }

    #[test]
    fn a_body_is_kept_as_text_of_two_kilobytes() {
        let kept = |body: &[u8]| answered(500, &[], body).exchange().unwrap().body.clone();
        assert_eq!(kept(b"oh\nno").as_deref(), Some("oh\nno"));
        assert_eq!(kept(b"\x00\x01"), None);
        assert_eq!(kept(b"\xff\xfe"), None);
        assert_eq!(kept(b""), None);
        // 2047 bytes and a character of two: the cut does not go through it.
        let long = "x".repeat(Exchange::BODY - 1) + "üüü";
        assert_eq!(kept(long.as_bytes()).unwrap().len(), Exchange::BODY - 1);
    }
}

//! What can go wrong between us and an address, before the other side has said anything of its own.
//!
//! An answer with an error status is not an error here: only the caller knows what it means.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use hyper_util::client::legacy;
use url::Url;

use crate::redact;

/// The kinds of failure. The caller decides by them; the words are for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The egress policy forbids the address, or the scheme is neither http nor https.
    Denied,
    /// The name has no address, or nobody could be asked.
    Resolve,
    /// No connection came about.
    Connect,
    /// The TLS handshake failed: an unknown issuer, another name, an old version.
    Tls,
    /// Nothing moved for too long.
    Timeout,
    /// The connection ended before the answer did.
    Closed,
    /// More redirects than are followed.
    TooManyRedirects,
    /// A redirect back to where we have been.
    RedirectLoop,
    /// A redirect that does not say whither.
    RedirectNoLocation,
    /// The body to send could not be read. The fault is on our side.
    Body,
    /// Anything else.
    Other,
}

impl ErrorKind {
    /// One word for logs and metrics.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::Resolve => "resolve",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::TooManyRedirects => "too_many_redirects",
            Self::RedirectLoop => "redirect_loop_detected",
            Self::RedirectNoLocation => "redirection_with_no_location",
            Self::Body => "body",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Denied => "the egress policy forbids this address",
            Self::Resolve => "the name cannot be resolved",
            Self::Connect => "no connection",
            Self::Tls => "the TLS handshake failed",
            Self::Timeout => "nothing moved for too long",
            Self::Closed => "the connection was closed early",
            Self::TooManyRedirects => "too many redirects",
            Self::RedirectLoop => "the redirects go in a circle",
            Self::RedirectNoLocation => "a redirect without a location",
            Self::Body => "the body to send could not be read",
            Self::Other => "the request failed",
        })
    }
}

/// A failure on the way. Prints what happened and to which URL, without user, password or query.
#[derive(Debug, thiserror::Error)]
#[error("{kind}: {subject}")]
pub struct Error {
    kind: ErrorKind,
    subject: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, subject: impl Into<String>) -> Self {
        Self { kind, subject: subject.into(), source: None }
    }

    pub(crate) fn caused(
        kind: ErrorKind,
        subject: impl Into<String>,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self { kind, subject: subject.into(), source: Some(source.into()) }
    }

    /// Reads what kind of failure the client library met.
    pub(crate) fn of(error: legacy::Error, url: &Url) -> Self {
        let other = if error.is_connect() { ErrorKind::Connect } else { ErrorKind::Closed };
        Self::caused(kind_of(&error).unwrap_or(other), redact(url), error)
    }

    /// The same of an answer that began.
    pub(crate) fn of_answer(error: hyper::Error, url: &Url) -> Self {
        Self::caused(kind_of(&error).unwrap_or(ErrorKind::Closed), redact(url), error)
    }

    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

/// The first cause in the chain that tells a kind.
fn kind_of(error: &(dyn StdError + 'static)) -> Option<ErrorKind> {
    let mut cause = Some(error);
    while let Some(current) = cause {
        if let Some(ours) = current.downcast_ref::<Error>() {
            return Some(ours.kind);
        }
        if current.is::<rustls::Error>() {
            return Some(ErrorKind::Tls);
        }
        if let Some(error) = current.downcast_ref::<io::Error>() {
            // An io::Error shows the cause of what it wraps, and hides the wrapped one itself.
            let wrapped = error.get_ref().and_then(|inner| kind_of(inner));
            if let Some(kind) = wrapped.or_else(|| kind_of_io(error.kind())) {
                return Some(kind);
            }
        }
        cause = current.source();
    }
    None
}

fn kind_of_io(kind: io::ErrorKind) -> Option<ErrorKind> {
    match kind {
        io::ErrorKind::TimedOut => Some(ErrorKind::Timeout),
        io::ErrorKind::ConnectionRefused
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::AddrNotAvailable => Some(ErrorKind::Connect),
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::NotConnected
        | io::ErrorKind::UnexpectedEof => Some(ErrorKind::Closed),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_found_below_wrapping_errors() {
        let denied = io::Error::other(Error::new(ErrorKind::Denied, "x"));
        assert_eq!(kind_of(&io::Error::other(denied)), Some(ErrorKind::Denied));
        let tls = io::Error::new(io::ErrorKind::InvalidData, rustls::Error::HandshakeNotComplete);
        assert_eq!(kind_of(&tls), Some(ErrorKind::Tls));
        assert_eq!(kind_of(&io::Error::from(io::ErrorKind::BrokenPipe)), Some(ErrorKind::Closed));
        assert_eq!(kind_of(&fmt::Error), None);
    }

    #[test]
    fn the_source_is_not_in_the_words() {
        let error = Error::caused(ErrorKind::Connect, "http://x/", io::Error::other("secret"));
        assert_eq!(error.to_string(), "no connection: http://x/");
        assert!(error.source().is_some());
    }
}

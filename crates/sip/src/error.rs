//! What can go wrong with an agent or a call.

use std::fmt;

use crate::sdp::Refusal;

/// A failure: what kind it is, and its cause.
#[derive(Debug, thiserror::Error)]
pub struct Error {
    kind: ErrorKind,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The kinds of [`Error`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A socket could not be opened; the text says which.
    Listen(String),
    /// No port for the voice is free.
    NoPort,
    /// The other party cannot be called by this address; the text says why.
    Address(String),
    /// The other party could not be reached.
    Unreachable,
    /// The other party declined, with this status and phrase.
    Declined(u16, String),
    /// Nothing came of the media.
    Media(Refusal),
    /// The call ended before it began.
    Ended,
    /// What the stack says, which is no fault of the other party.
    Stack,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind) -> Self {
        Self { kind, source: None }
    }

    pub(crate) fn caused(kind: ErrorKind, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { kind, source: Some(source.into()) }
    }

    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> &ErrorKind {
        &self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ErrorKind::Listen(place) => write!(f, "cannot listen on {place}"),
            ErrorKind::NoPort => f.write_str("no port for a voice is free"),
            ErrorKind::Address(why) => write!(f, "this address cannot be called: {why}"),
            ErrorKind::Unreachable => f.write_str("the other party cannot be reached"),
            ErrorKind::Declined(code, phrase) => write!(f, "the other party declined: {code} {phrase}"),
            ErrorKind::Media(refusal) => write!(f, "no voice is possible: {refusal}"),
            ErrorKind::Ended => f.write_str("the call ended before it began"),
            ErrorKind::Stack => f.write_str("the call could not be made"),
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::new(ErrorKind::Media(refusal))
    }
}

impl From<rsipstack::Error> for Error {
    fn from(source: rsipstack::Error) -> Self {
        // Its text may hold a message with credentials; only its outermost words are kept.
        let text = source.to_string();
        Self::caused(ErrorKind::Stack, text.lines().next().unwrap_or_default().to_owned())
    }
}

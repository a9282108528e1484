//! What can go wrong with a document store.

use std::fmt;

/// A failure of the document store: what kind it is, what it concerned, and its cause.
#[derive(Debug, thiserror::Error)]
pub struct Error {
    kind: ErrorKind,
    subject: String,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The kinds of [`Error`], by what a caller can do about them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// No such document.
    NotFound,
    /// The document exists already, or has another revision than was expected.
    Conflict,
    /// Another document holds a unique key that this one claims; the subject names its space.
    KeyTaken,
    /// The store cannot take or answer anything now; nothing was changed. Worth another try later.
    Unavailable,
    /// What is stored cannot be read as a document.
    Corrupt,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, subject: impl Into<String>) -> Self {
        Self { kind, subject: subject.into(), source: None }
    }

    pub(crate) fn caused(
        kind: ErrorKind,
        subject: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { kind, subject: subject.into(), source: Some(source.into()) }
    }

    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What it concerned: a document id, or the space of a key.
    pub fn subject(&self) -> &str {
        &self.subject
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            ErrorKind::NotFound => "no such document",
            ErrorKind::Conflict => "conflicting documents",
            ErrorKind::KeyTaken => "key already taken",
            ErrorKind::Unavailable => "document store unavailable",
            ErrorKind::Corrupt => "unreadable document",
        };
        write!(f, "{what}: {}", self.subject)
    }
}

impl From<rusqlite::Error> for Error {
    fn from(source: rusqlite::Error) -> Self {
        Self::caused(ErrorKind::Unavailable, "embedded store", source)
    }
}

impl From<groupcommit::Error> for Error {
    fn from(source: groupcommit::Error) -> Self {
        Self::caused(ErrorKind::Unavailable, "embedded store", source)
    }
}

//! What a use case can answer instead of success. `api::error` alone turns these into statuses.

use plan::Violations;

/// Why a use case did not do what was asked. The source is kept for the log and never shown.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing has this id.
    #[error("bad identifier: {0}")]
    NotFound(String),
    /// It exists already, or was changed meanwhile.
    #[error("conflicting documents")]
    Conflict,
    /// The caller may not.
    #[error("forbidden")]
    Forbidden,
    /// Nobody, or somebody whose proof does not hold.
    #[error("invalid credentials")]
    Unauthenticated,
    /// The account is disabled or has expired.
    #[error("the account is disabled or has expired")]
    Locked,
    /// Too often; there is room again after `wait`.
    #[error("too many requests")]
    TooMany {
        /// How long to wait.
        wait: std::time::Duration,
    },
    /// The input is unfit; each fault by its place.
    #[error("validation error")]
    Invalid(Violations),
    /// The caller's precondition (`If-Match`) does not hold.
    #[error("precondition failed")]
    Precondition,
    /// The body is larger than `limit` bytes.
    #[error("the body is larger than {limit} bytes")]
    TooLarge {
        /// The most bytes that are taken.
        limit: u64,
    },
    /// The range lies outside of the `total` bytes.
    #[error("the range lies outside of the {total} bytes")]
    Range {
        /// How many bytes there are.
        total: u64,
    },
    /// The client stopped sending, or sent what its headers do not say.
    #[error("the request body could not be read: {0}")]
    Interrupted(String),
    /// Nothing more can be taken now; try again later.
    #[error("unavailable: {what}")]
    Unavailable {
        /// What is unavailable.
        what: &'static str,
        /// Why.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// Where it lies is known, and no settings lead there any more.
    #[error("out of reach")]
    OutOfReach,
    /// A handler's destination did not do its part.
    #[error("{0}")]
    Destination(#[source] attachments::Error),
    /// A fault of ours.
    #[error("internal fault: {what}")]
    Internal {
        /// What was being done.
        what: &'static str,
        /// Why it failed.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

impl Error {
    /// A single violation.
    pub fn invalid(path: &str, code: &str, message: impl Into<String>) -> Self {
        let mut violations = Violations::default();
        violations.push(path, code, message.into(), []);
        Self::Invalid(violations)
    }

    pub(crate) fn internal(what: &'static str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Internal { what, source: Some(source.into()) }
    }

    pub(crate) fn unavailable(what: &'static str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Unavailable { what, source: Some(source.into()) }
    }

    /// The journal takes nothing, or tells nothing.
    pub(crate) fn journal(error: delivery::Error) -> Self {
        Self::unavailable("journal", error)
    }

    /// A file of the spool, or one that stays, cannot be written or read.
    pub(crate) fn spool(error: delivery::Error) -> Self {
        Self::unavailable("spool", error)
    }
}

impl From<connections::Error> for Error {
    fn from(error: connections::Error) -> Self {
        use connections::ErrorKind;
        match error.kind() {
            ErrorKind::NotFound => Self::NotFound(error.subject().to_owned()),
            ErrorKind::Conflict | ErrorKind::KeyTaken => Self::Conflict,
            ErrorKind::Unavailable => Self::unavailable("document store", error),
            ErrorKind::Corrupt => Self::internal("reading a document", error),
        }
    }
}

impl From<crate::seal::Unsealable> for Error {
    fn from(error: crate::seal::Unsealable) -> Self {
        Self::internal("opening a sealed value", error)
    }
}

impl From<attachments::Error> for Error {
    fn from(error: attachments::Error) -> Self {
        Self::Destination(error)
    }
}

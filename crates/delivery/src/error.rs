//! What journal and spool can answer instead of doing what was asked.

use std::sync::Arc;

/// What is behind an [`Error::Unavailable`].
pub type Cause = Arc<dyn std::error::Error + Send + Sync>;

/// The journal or the spool did not do it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The disk did not do what it should. Whether a journal write happened is unknown; a spool file is gone. Worth another try later.
    #[error("journal or spool cannot be used now")]
    Unavailable(#[source] Cause),
    /// Less room is left on the file system than the spool must leave free. Nothing was taken.
    #[error("the spool's file system has too little room")]
    Full,
    /// A job's body is larger than [`BODY_LIMIT`](crate::BODY_LIMIT): payloads belong into the spool.
    #[error("a job's body has {0} bytes, more than a journal takes")]
    TooLarge(usize),
    /// The job runs now; what was asked is for jobs that wait.
    #[error("the job is running")]
    Running,
    /// There is no such job, or no longer.
    #[error("no such job")]
    Unknown,
    /// The journal was closed.
    #[error("the journal was closed")]
    Closed,
}

impl Error {
    pub(crate) fn unavailable(cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Unavailable(Arc::new(cause))
    }
}

impl From<rusqlite::Error> for Error {
    fn from(cause: rusqlite::Error) -> Self {
        Self::unavailable(cause)
    }
}

impl From<groupcommit::Error> for Error {
    fn from(error: groupcommit::Error) -> Self {
        match error {
            groupcommit::Error::Unavailable(cause) => Self::Unavailable(cause),
            groupcommit::Error::Closed => Self::Closed,
            panicked @ groupcommit::Error::Panicked => Self::unavailable(panicked),
        }
    }
}

impl From<std::io::Error> for Error {
    fn from(cause: std::io::Error) -> Self {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        match cause.kind() {
            StorageFull | QuotaExceeded => Self::Full,
            _ => Self::unavailable(cause),
        }
    }
}

impl From<appendlog::Error> for Error {
    fn from(error: appendlog::Error) -> Self {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        match error {
            appendlog::Error::Io(cause) if matches!(cause.kind(), StorageFull | QuotaExceeded) => Self::Full,
            appendlog::Error::Io(cause) => Self::Unavailable(cause),
            appendlog::Error::Closed => Self::Closed,
            large @ appendlog::Error::TooLarge(_) => Self::unavailable(large),
        }
    }
}

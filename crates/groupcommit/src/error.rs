//! What a caller of the ledger can be told.

use std::sync::Arc;

/// Why the file takes no writes; one cause is shared by the whole group.
pub type Cause = Arc<dyn std::error::Error + Send + Sync>;

/// The ledger could not answer. What the closure itself said is never in here.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The group could not be committed, or the file is not yet good again. The outcome of the write is unknown. Worth another try later.
    #[error("the file cannot be used now")]
    Unavailable(#[source] Cause),
    /// The closure panicked and was rolled back, alone.
    #[error("the closure panicked and was rolled back")]
    Panicked,
    /// The ledger was closed.
    #[error("the file was closed")]
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

impl From<std::io::Error> for Error {
    fn from(cause: std::io::Error) -> Self {
        Self::unavailable(cause)
    }
}

//! What a log can answer instead of a place.

use std::io;
use std::sync::Arc;

/// The record was not taken.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The disk did not do what it should; one cause is shared by the whole group. Worth another try later.
    #[error("the log cannot be written now")]
    Io(#[source] Arc<io::Error>),
    /// A head or a body of so many bytes is more than a record takes.
    #[error("a record of {0} bytes is more than a log takes")]
    TooLarge(usize),
    /// The writer is gone.
    #[error("the log was closed")]
    Closed,
}

impl From<io::Error> for Error {
    fn from(cause: io::Error) -> Self {
        Self::Io(Arc::new(cause))
    }
}

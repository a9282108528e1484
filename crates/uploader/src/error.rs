//! Why the watcher does not run. What happens to single files while it runs is no error of this kind: it is logged and tried again.

use std::io;
use std::path::PathBuf;

/// The watcher cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A folder or file that it needs cannot be used.
    #[error("{path} cannot be used", path = .0.display())]
    Folder(PathBuf, #[source] io::Error),
    /// Another watcher has this folder.
    #[error("another watcher is at work: it holds {path}", path = .0.display())]
    Taken(PathBuf),
    /// There is no key, or it is none.
    #[error("there is no key to send: {0}")]
    Key(&'static str),
    /// What was asked for does not fit together.
    #[error("{0}")]
    Unfit(String),
    /// The HTTP client cannot be set up.
    #[error("TLS cannot be set up")]
    Tls(#[source] reqwest::Error),
}

//! The folder of a spool and the thread that changes it: it takes all publications that wait, renames, syncs the folder once, and answers.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};

use tokio::sync::oneshot;

use super::unlink;
use crate::Error;

#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    queue: Sender<Entry>,
}

/// A name that is to appear.
#[derive(Debug)]
struct Entry {
    from: PathBuf,
    to: PathBuf,
    how: How,
    answer: oneshot::Sender<Result<(), Error>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Rename,
    Link,
}

impl Folder {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let handle = File::open(path)?;
        let (queue, entries) = mpsc::channel();
        std::thread::Builder::new().name("spool".into()).spawn(move || run(&handle, &entries))?;
        Ok(Self { path: path.to_owned(), queue })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives a synced file its name. Durable when this returns; after an error neither name is there.
    pub(super) async fn rename(&self, from: PathBuf, to: PathBuf) -> Result<(), Error> {
        self.enter(from, to, How::Rename).await
    }

    /// Gives a synced file a second name. Durable when this returns.
    pub(super) async fn link(&self, from: PathBuf, to: PathBuf) -> Result<(), Error> {
        self.enter(from, to, How::Link).await
    }

    async fn enter(&self, from: PathBuf, to: PathBuf, how: How) -> Result<(), Error> {
        let (answer, answered) = oneshot::channel();
        self.queue.send(Entry { from, to, how, answer }).map_err(|_| Error::Closed)?;
        answered.await.unwrap_or(Err(Error::Closed))
    }
}

fn run(folder: &File, entries: &Receiver<Entry>) {
    while let Ok(first) = entries.recv() {
        let mut done = Vec::new();
        for entry in std::iter::once(first).chain(entries.try_iter()) {
            let named = match entry.how {
                How::Rename => std::fs::rename(&entry.from, &entry.to),
                How::Link => std::fs::hard_link(&entry.from, &entry.to).or_else(unless_there),
            };
            match named {
                Ok(()) => done.push(entry),
                Err(error) => {
                    if entry.how == How::Rename {
                        unlink(&entry.from);
                    }
                    // Whoever asked may be gone.
                    let _ = entry.answer.send(Err(error.into()));
                }
            }
        }
        if done.is_empty() {
            continue;
        }
        let synced = folder.sync_all().map_err(|error| {
            tracing::error!(%error, "the spool's folder could not be synced; the files of this group are given up");
            Error::Unavailable(Arc::new(error))
        });
        for entry in done {
            let failed = synced.is_err();
            let unheard = entry.answer.send(synced.clone()).is_err();
            // Given up, or wanted by nobody any more.
            if (failed || unheard) && entry.how == How::Rename {
                unlink(&entry.to);
            }
        }
    }
}

fn unless_there(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::AlreadyExists { Ok(()) } else { Err(error) }
}

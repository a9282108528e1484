//! The folder of a spool and its two threads: one syncs it, once for all who wait; the other removes files for which nobody waits.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::unlink;
use crate::Error;

/// How long a sync waits for company when the last one had some. Whoever publishes a file waits for its bytes meanwhile, which takes longer.
const PATIENCE: Duration = Duration::from_micros(500);

type Answer = Result<(), Error>;

#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    queue: Sender<oneshot::Sender<Answer>>,
    doomed: Sender<PathBuf>,
}

/// A sync that will come.
#[derive(Debug)]
pub(super) struct Coming(oneshot::Receiver<Answer>);

impl Coming {
    /// Waits for it.
    pub(super) async fn durable(self) -> Answer {
        self.0.await.unwrap_or(Err(Error::Closed))
    }
}

impl Folder {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let handle = File::open(path)?;
        let (queue, entries) = mpsc::channel();
        std::thread::Builder::new().name("spool".into()).spawn(move || run(&handle, &entries))?;
        let (doomed, removals) = mpsc::channel::<PathBuf>();
        // Removing a large file takes its time, which no sync shall wait for.
        std::thread::Builder::new()
            .name("spool-remove".into())
            .spawn(move || removals.iter().for_each(|path| unlink(&path)))?;
        Ok(Self { path: path.to_owned(), queue, doomed })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes a file a moment later.
    pub(super) fn remove_soon(&self, path: PathBuf) {
        if let Err(mpsc::SendError(path)) = self.doomed.send(path) {
            unlink(&path);
        }
    }

    /// Asks for a sync that begins after this call, so that all names which stand by now are durable when it is done.
    pub(super) fn sync_soon(&self) -> Result<Coming, Error> {
        let (answer, answered) = oneshot::channel();
        self.queue.send(answer).map_err(|_| Error::Closed)?;
        Ok(Coming(answered))
    }
}

fn run(folder: &File, entries: &Receiver<oneshot::Sender<Answer>>) {
    let mut company = false;
    while let Ok(first) = entries.recv() {
        let mut group = vec![first];
        let deadline = Instant::now() + if company { PATIENCE } else { Duration::ZERO };
        while let Ok(another) = entries.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            group.push(another);
        }
        company = group.len() > 1;
        let synced = folder.sync_all().map_err(|error| {
            tracing::error!(%error, "the spool's folder could not be synced; the files of this group are given up");
            Error::Unavailable(Arc::new(error))
        });
        for answer in group {
            // Whoever asked may be gone.
            let _ = answer.send(synced.clone());
        }
    }
}

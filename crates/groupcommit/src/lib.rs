//! One SQLite file, one writer thread, commits in groups.
//!
//! `connections` keeps documents in such a file, `delivery` its journal. Both need the same promises, so they stand here once:
//!
//! 1. **An answered write is durable.** The writer thread takes every write that waits (only who asked for it is held back by a timer), runs each
//!    inside a *savepoint of its own* in one transaction, commits (WAL, `synchronous=FULL`: one fsync) and only then answers. A write
//!    that fails or panics rolls back to its savepoint and its neighbours never notice.
//! 2. **A failed fsync is never simply tried again.** After one, the kernel holds pages that look clean and are not on the disk; a second
//!    fsync of the same pages would say "done". So when a commit or a checkpoint fails, every write of the group is answered
//!    [`Error::Unavailable`] and the connection is closed. Before anything is written again the file is opened anew, the bytes of the
//!    WAL are *written again* and synced, and a `TRUNCATE` checkpoint copies them into the database file. Until that succeeds all
//!    writes answer `Unavailable` at once and [`Ledger::healthy`] is false; the attempts are paced and need no traffic. Each opening
//!    of a file takes the same way, because the process before may have died between a failed fsync and its remedy: what can be read
//!    after [`Ledger::open`] is durable.
//!    Only a group in which nobody asked for durability is committed without a sync ([`Ledger::write_backed`], [`Ledger::write_lazily`]); what it wrote is
//!    durable with the next group that syncs, since the WAL is.
//! 3. **Reads never wait for a commit.** They run on a few read-only connections of their own, each read in one snapshot.
//!
//! `Unavailable` means *unknown*: such a write was not answered, and as with any lost answer it may turn out to have happened.
//!
//! Closures must be short, since they hold up their neighbours, and must not begin, commit or roll back a transaction. They see what
//! earlier writes of the same group have written.
//!
//! One `Ledger` a file and process: opening the same file twice in a process is asking for trouble. Other processes may read along
//! (`sqlite3 file 'select …'`).
//!
//! This crate knows SQL connections and closures, nothing of documents or jobs.

mod error;
mod file;
mod readers;
mod write;
mod writer;

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};

use rusqlite::Connection;
use tokio::sync::{Semaphore, oneshot};

pub use error::{Cause, Error};

use readers::Readers;
use write::{Entry, Lazy, Pending, Write};

/// How many writes may wait for their answer before [`Ledger::write`] itself waits.
const QUEUE: usize = 1024;

/// A SQLite file that takes writes in groups. Cheap to clone; clones share the file.
///
/// When the last clone is gone the writer finishes what was queued and closes the file; [`Ledger::close`] waits for that.
#[derive(Clone)]
pub struct Ledger {
    shared: Arc<Shared>,
}

struct Shared {
    queue: mpsc::Sender<Entry>,
    room: Arc<Semaphore>,
    readers: Readers,
    healthy: Arc<AtomicBool>,
}

impl Ledger {
    /// Opens the file at `path`, creating it and its folders when absent, and makes durable whatever it holds. `schema` then brings
    /// the tables up to date; it runs inside a transaction. Blocks.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the file cannot be opened, read, or made durable, or when `schema` fails.
    pub fn open(path: &Path, schema: fn(&Connection) -> rusqlite::Result<()>) -> Result<Self, Error> {
        let healthy = Arc::new(AtomicBool::new(true));
        let queue = writer::start(path, schema, healthy.clone())?;
        let readers = Readers::open(path)?;
        Ok(Self { shared: Arc::new(Shared { queue, room: Arc::new(Semaphore::new(QUEUE)), readers, healthy }) })
    }

    /// Runs `change` in the next group. When this returns, what it wrote is durable.
    ///
    /// The outer result is the ledger's, the inner one is the closure's own; an inner `Err` was rolled back, alone. Dropping the
    /// future does not call the write back.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the group could not be committed: the outcome is unknown. [`Error::Panicked`], [`Error::Closed`].
    pub async fn write<T, E, F>(&self, change: F) -> Result<Result<T, E>, Error>
    where
        T: Send + 'static,
        E: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    {
        self.enter(change, Entry::Eager).await
    }

    /// As [`Ledger::write`], for who has a few milliseconds: it waits for others to share its commit with.
    ///
    /// # Errors
    /// As [`Ledger::write`].
    pub async fn write_patiently<T, E, F>(&self, change: F) -> Result<Result<T, E>, Error>
    where
        T: Send + 'static,
        E: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    {
        self.enter(change, Entry::Patient).await
    }

    /// Runs `change` in the next group. When this returns, what it wrote is what readers see; it is durable once a later [`Ledger::write`] is answered,
    /// and may be gone after a power cut before that: for what its caller has written down elsewhere.
    ///
    /// Writes keep their order: none that came later survives without this one.
    ///
    /// # Errors
    /// As [`Ledger::write`].
    pub async fn write_backed<T, E, F>(&self, change: F) -> Result<Result<T, E>, Error>
    where
        T: Send + 'static,
        E: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    {
        self.enter(change, Entry::Backed).await
    }

    async fn enter<T, E, F>(&self, change: F, entry: fn(Box<dyn Write>) -> Entry) -> Result<Result<T, E>, Error>
    where
        T: Send + 'static,
        E: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    {
        let room = self.shared.room.clone().acquire_owned().await.map_err(|_| Error::Closed)?;
        let (answer, answered) = oneshot::channel();
        let pending = Pending::new(change, answer, room);
        self.shared.queue.send(entry(Box::new(pending))).map_err(|_| Error::Closed)?;
        answered.await.unwrap_or(Err(Error::Closed))
    }

    /// Runs `change` in the next group, for which nobody waits; without company it is written a moment later by itself.
    ///
    /// Writes keep their order, lazy or not. A lazy write is lost when the power fails, the process dies or its group cannot be
    /// committed: use it only for what can be found out again.
    pub fn write_lazily<E, F>(&self, change: F)
    where
        E: fmt::Display + Send + 'static,
        F: FnOnce(&Connection) -> Result<(), E> + Send + 'static,
    {
        if self.shared.queue.send(Entry::Lazy(Box::new(Lazy::new(change)))).is_err() {
            tracing::debug!("a lazy write came after the ledger was closed");
        }
    }

    /// Runs `question` on a read-only connection, in one snapshot that holds every write answered before this call.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when no connection can be opened, [`Error::Panicked`], [`Error::Closed`]. The inner result is the
    /// closure's own.
    pub async fn read<T, E, F>(&self, question: F) -> Result<Result<T, E>, Error>
    where
        T: Send + 'static,
        E: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    {
        self.shared.readers.read(question).await
    }

    /// As [`Ledger::read`], on the calling thread: for start-up, before there is a runtime.
    ///
    /// # Errors
    /// As [`Ledger::read`].
    pub fn read_blocking<T, E>(
        &self,
        question: impl FnOnce(&Connection) -> Result<T, E>,
    ) -> Result<Result<T, E>, Error> {
        self.shared.readers.read_blocking(question)
    }

    /// Empties the WAL after all writes that were asked for before: what they deleted or overwrote is in no file any more. False when a reader, of
    /// this process or another, stood in the way: then the next checkpoint does it.
    ///
    /// # Errors
    /// [`Error::Unavailable`], [`Error::Closed`].
    pub async fn scrub(&self) -> Result<bool, Error> {
        let (answer, answered) = oneshot::channel();
        self.shared.queue.send(Entry::Scrub(answer)).map_err(|_| Error::Closed)?;
        answered.await.unwrap_or(Err(Error::Closed))
    }

    /// True while writes are taken; false from a failed commit until the file has been made good.
    pub fn healthy(&self) -> bool {
        self.shared.healthy.load(Ordering::Acquire)
    }

    /// Finishes what was queued, empties the WAL into the database file and closes it. Later writes answer [`Error::Closed`].
    pub async fn close(&self) {
        self.shared.room.close();
        self.shared.readers.close();
        let (answer, answered) = oneshot::channel();
        if self.shared.queue.send(Entry::Close(answer)).is_ok() {
            let _ = answered.await;
        }
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger").field("healthy", &self.healthy()).finish_non_exhaustive()
    }
}

//! The pool of read-only connections.
//!
//! A read runs on a blocking thread with a connection of its own; there are a few of these, and who comes when all are out waits.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::Semaphore;

use crate::{Error, file};

const READERS: usize = 4;

pub(crate) struct Readers {
    pool: Arc<Pool>,
    free: Arc<Semaphore>,
}

struct Pool {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    /// Opens the first connection; the others follow when they are needed.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let first = file::open_reader(path)?;
        let pool = Pool { path: path.to_owned(), idle: Mutex::new(vec![first]) };
        Ok(Self { pool: Arc::new(pool), free: Arc::new(Semaphore::new(READERS)) })
    }

    pub(crate) async fn read<T, E, F>(&self, question: F) -> Result<Result<T, E>, Error>
    where
        T: Send + 'static,
        E: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    {
        let free = self.free.clone().acquire_owned().await.map_err(|_| Error::Closed)?;
        let pool = self.pool.clone();
        let answer = tokio::task::spawn_blocking(move || {
            let answer = pool.read(question);
            drop(free);
            answer
        });
        // The closure's own panics are caught inside; a runtime that is going away cancels.
        answer.await.unwrap_or(Err(Error::Closed))
    }

    pub(crate) fn read_blocking<T, E>(
        &self,
        question: impl FnOnce(&Connection) -> Result<T, E>,
    ) -> Result<Result<T, E>, Error> {
        self.pool.read(question)
    }

    /// Takes no more questions and closes the connections that are idle.
    pub(crate) fn close(&self) {
        self.free.close();
        self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Pool {
    fn read<T, E>(&self, question: impl FnOnce(&Connection) -> Result<T, E>) -> Result<Result<T, E>, Error> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => file::open_reader(&self.path)?,
        };
        connection.prepare_cached("BEGIN")?.execute([])?;
        let answer = catch_unwind(AssertUnwindSafe(|| question(&connection)));
        let ended = connection.prepare_cached("COMMIT").and_then(|mut end| end.execute([]));
        // A connection that has seen a panic, or cannot end its transaction, is not used again.
        if answer.is_ok() && ended.is_ok() {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() < READERS {
                idle.push(connection);
            }
        }
        answer.map_err(|_| Error::Panicked)
    }
}

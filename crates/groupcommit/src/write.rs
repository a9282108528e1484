//! A write in the queue: a closure whose result is held back until the group is durable.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::Error;

/// What stands in the writer's queue.
pub(crate) enum Entry {
    /// Somebody waits for it.
    Eager(Box<dyn Write>),
    /// Somebody waits for it, and for no sync.
    Backed(Box<dyn Write>),
    /// Somebody waits for it, and not with impatience.
    Patient(Box<dyn Write>),
    /// Nobody waits for it.
    Lazy(Box<dyn Write>),
    /// Leave nothing in the WAL, answer whether that was possible.
    Scrub(oneshot::Sender<Result<bool, Error>>),
    /// Finish, close, answer.
    Close(oneshot::Sender<()>),
}

/// A write that first runs, and is answered after the group's commit. It may be answered without having run.
pub(crate) trait Write: Send {
    /// Runs the closure; true when what it wrote shall stay.
    fn run(&mut self, connection: &Connection) -> bool;
    /// The group was committed, or it failed.
    fn answer(self: Box<Self>, group: Result<(), Error>);
}

enum Step<F, T, E> {
    Waiting(F),
    Ran(Result<T, E>),
    Panicked,
}

impl<F, T, E> Step<F, T, E>
where
    F: FnOnce(&Connection) -> Result<T, E>,
{
    fn run(&mut self, connection: &Connection) -> bool {
        if let Self::Waiting(change) = std::mem::replace(self, Self::Panicked)
            && let Ok(result) = catch_unwind(AssertUnwindSafe(|| change(connection)))
        {
            *self = Self::Ran(result);
        }
        matches!(self, Self::Ran(Ok(_)))
    }
}

/// A write for which a caller waits. Holds its place in the queue's room until it is answered.
pub(crate) struct Pending<F, T, E> {
    step: Step<F, T, E>,
    answer: oneshot::Sender<Result<Result<T, E>, Error>>,
    _room: OwnedSemaphorePermit,
}

impl<F, T, E> Pending<F, T, E> {
    pub(crate) fn new(
        change: F,
        answer: oneshot::Sender<Result<Result<T, E>, Error>>,
        room: OwnedSemaphorePermit,
    ) -> Self {
        Self { step: Step::Waiting(change), answer, _room: room }
    }
}

impl<F, T, E> Write for Pending<F, T, E>
where
    T: Send,
    E: Send,
    F: FnOnce(&Connection) -> Result<T, E> + Send,
{
    fn run(&mut self, connection: &Connection) -> bool {
        self.step.run(connection)
    }

    fn answer(self: Box<Self>, group: Result<(), Error>) {
        let result = match (group, self.step) {
            (Err(error), _) => Err(error),
            (Ok(()), Step::Ran(result)) => Ok(result),
            (Ok(()), Step::Waiting(_) | Step::Panicked) => Err(Error::Panicked),
        };
        // A caller that went away wanted no answer.
        let _ = self.answer.send(result);
    }
}

/// A write for which nobody waits; what goes wrong is logged.
pub(crate) struct Lazy<F, E> {
    step: Step<F, (), E>,
}

impl<F, E> Lazy<F, E> {
    pub(crate) fn new(change: F) -> Self {
        Self { step: Step::Waiting(change) }
    }
}

impl<F, E> Write for Lazy<F, E>
where
    E: fmt::Display + Send,
    F: FnOnce(&Connection) -> Result<(), E> + Send,
{
    fn run(&mut self, connection: &Connection) -> bool {
        self.step.run(connection)
    }

    fn answer(self: Box<Self>, group: Result<(), Error>) {
        match (group, self.step) {
            (Ok(()), Step::Ran(Ok(()))) => {}
            (Ok(()), Step::Ran(Err(error))) => tracing::warn!(%error, "a lazy write was refused"),
            (Ok(()), _) => tracing::error!("a lazy write panicked"),
            (Err(error), _) => tracing::warn!(%error, "a lazy write was lost with its group"),
        }
    }
}

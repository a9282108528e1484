//! A claim: the right to run one job, and the only way to say what became of it.

use std::time::Duration;

use crate::clock::unix_ms;
use crate::journal::promised::payload_of;
use crate::journal::{Journal, rows};
use crate::queue::millis;
use crate::{Error, FileId, Job, JobError, JobId, JobState};

/// A job that was claimed. Nobody else can claim it, nor a later one of its key, as long as this lives.
///
/// Dropped without a word it goes back to waiting, due at once; so it does when the process dies.
#[derive(Debug)]
#[must_use]
pub struct Claim {
    journal: Journal,
    job: Job,
    open: bool,
}

/// A job of which only the id is known yet: the index has given it, the file has not been read.
#[derive(Debug)]
pub(crate) struct Ticket {
    journal: Journal,
    id: u64,
    open: bool,
}

impl Journal {
    /// Claims the job whose turn it is; none when nothing may run now. Who wants to be told when that changes uses
    /// [`Workers`](crate::Workers).
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the job cannot be read; it is tried again later.
    pub async fn claim(&self) -> Result<Option<Claim>, Error> {
        while let Some(ticket) = self.take() {
            if let Some(claim) = ticket.read().await? {
                return Ok(Some(claim));
            }
        }
        Ok(None)
    }

    /// Takes the job whose turn it is. Asks no file.
    pub(crate) fn take(&self) -> Option<Ticket> {
        let now = self.now();
        let id = self.queue().take(now)?;
        Some(Ticket { journal: self.clone(), id, open: true })
    }

    /// The time of day in so many milliseconds, and the same moment on the queue's clock.
    fn later(&self, wait: Duration) -> (i64, u64) {
        let wall = unix_ms(self.shared.clock.wall()).saturating_add_unsigned(millis(wait));
        (wall, self.now().saturating_add(millis(wait)))
    }
}

impl Ticket {
    /// Reads the job. None when the file no longer has it.
    async fn read(self) -> Result<Option<Claim>, Error> {
        Ok(Self::read_all(vec![self]).await?.pop())
    }

    /// Reads the jobs of all these tickets in one go. Those that the file no longer has are left out.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: all of them wait a little.
    pub(crate) async fn read_all(tickets: Vec<Self>) -> Result<Vec<Claim>, Error> {
        let Some(ledger) = tickets.first().map(|ticket| ticket.journal.shared.ledger.clone()) else {
            return Ok(Vec::new());
        };
        let (mut claims, mut unknown) = (Vec::with_capacity(tickets.len()), Vec::new());
        for ticket in tickets {
            match ticket.journal.shared.promised.get(ticket.id) {
                Some(job) => claims.extend(ticket.claim(Some(job))),
                None => unknown.push(ticket),
            }
        }
        if unknown.is_empty() {
            return Ok(claims);
        }
        let tickets = unknown;
        let ids: Vec<u64> = tickets.iter().map(|ticket| ticket.id).collect();
        let question = move |connection: &rusqlite::Connection| {
            ids.iter().map(|id| rows::get(connection, *id)).collect::<Result<Vec<_>, _>>()
        };
        match ledger.read(question).await.map_err(Error::from).and_then(|read| Ok(read?)) {
            Ok(jobs) => {
                claims.extend(tickets.into_iter().zip(jobs).filter_map(|(ticket, job)| ticket.claim(job)));
                Ok(claims)
            }
            Err(error) => {
                tickets.into_iter().for_each(Self::put_off);
                Err(error)
            }
        }
    }

    fn claim(mut self, job: Option<Job>) -> Option<Claim> {
        self.open = false;
        let Some(job) = job else {
            // The index had it in error, and forgets it.
            tracing::error!(job.id = self.id, "the journal's file does not have a job that was to run");
            let now = self.journal.now();
            self.journal.queue().remove(self.id, now);
            return None;
        };
        let job = Job { state: JobState::Running, next_attempt: None, ..job };
        Some(Claim { journal: self.journal.clone(), job, open: true })
    }

    /// It could not be read, and is not tried again at once.
    fn put_off(mut self) {
        self.open = false;
        let wait = self.journal.queue().draw(1, None, 1.0);
        let (_, due) = self.journal.later(wait);
        let now = self.journal.now();
        self.journal.queue().release(self.id, due, now);
    }
}

impl Claim {
    /// The job.
    pub fn job(&self) -> &Job {
        &self.job
    }

    /// The job is done: it is removed from the journal. Durable when this returns; call it again after an error.
    ///
    /// Answers the payload file when nobody refers to it any more: the caller removes it, now and not before.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: the job is still claimed.
    pub async fn settle(&mut self) -> Result<Option<FileId>, Error> {
        let id = self.job.id.0;
        let file = match self.journal.take_back(id).await? {
            Some(job) => payload_of(&job),
            // Nobody waits for this one but a worker, of whom there are many.
            None => {
                self.journal.shared.ledger.write_patiently(move |connection| rows::delete(connection, id)).await??
            }
        };
        if std::mem::take(&mut self.open) {
            let now = self.journal.now();
            self.journal.queue().settle(id, now);
            self.journal.shared.wake.notify_one();
        }
        Ok(file)
    }

    /// The attempt failed: the job waits, by the schedule or as long as the destination asked for. Durable when this returns; the wait
    /// begins in any case. Answers how long it is.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: after a restart the attempt is not counted.
    pub async fn postpone(mut self, error: JobError, after: Option<Duration>) -> Result<Duration, Error> {
        let id = self.job.id.0;
        let wait = self.journal.queue().draw(self.job.attempts.saturating_add(1), after, rand::random());
        let (wall, due) = self.journal.later(wait);
        let written = self.journal.change_row(id, move |connection| rows::postpone(connection, id, wall, &error)).await;
        self.open = false;
        let now = self.journal.now();
        self.journal.queue().postpone(id, due, after, rand::random(), now);
        self.journal.shared.wake.notify_one();
        written.map(|()| wait)
    }

    /// The job stays until somebody redrives it; who did while it ran has it run again at once. Durable when this returns; parked it is in any
    /// case.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: after a restart it waits instead.
    pub async fn bury(self, error: JobError) -> Result<(), Error> {
        self.park(error, true).await
    }

    /// As [`Claim::bury`], of a job that could not even be tried: no attempt is counted.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: after a restart it waits instead.
    pub async fn hold(self, error: JobError) -> Result<(), Error> {
        self.park(error, false).await
    }

    async fn park(mut self, error: JobError, counted: bool) -> Result<(), Error> {
        let id = self.job.id.0;
        let ledger = self.journal.shared.ledger.clone();
        let wall = unix_ms(self.journal.shared.clock.wall());
        let written =
            self.journal.change_row(id, move |connection| rows::park(connection, id, wall, &error, counted)).await;
        self.open = false;
        let now = self.journal.now();
        let again = self.journal.queue().park(id, now);
        self.journal.shared.wake.notify_one();
        written?;
        if again {
            ledger.write(move |connection| rows::revive(connection, &[id], wall)).await??;
        }
        Ok(())
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.open {
            give_back(&self.journal, self.job.id);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.open {
            give_back(&self.journal, JobId(self.id));
        }
    }
}

fn give_back(journal: &Journal, id: JobId) {
    let now = journal.now();
    journal.queue().release(id.0, now, now);
    journal.shared.wake.notify_one();
}

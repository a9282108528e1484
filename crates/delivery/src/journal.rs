//! The journal: what has been promised, durable, and whose turn it is.
//!
//! The file (through [`groupcommit`]) holds the jobs; an index in memory holds whose turn it is (`queue`). The file is written first where
//! a promise depends on it, the index is what claims are made from. Where the two differ after a failure the file is right, and the next
//! start reads it.
//!
//! Ids come from the index, not from the file, so that a job stands in line as soon as it is handed in. They begin at the time of day in
//! microseconds: an id is not used again after its job is gone.
//!
//! Payload bytes are never in here. A job names its file; who removes a job learns whether that was the file's last reference.

mod claim;
mod confirmed;
mod promised;
mod rows;

use std::collections::HashSet;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use groupcommit::Ledger;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::clock::unix_ms;
use crate::queue::{Queue, millis};
use crate::{BODY_LIMIT, Clock, Counts, Error, FileId, Job, JobId, JobState, LaneStatus, NewJob, Page, Policy};

pub use claim::Claim;
pub(crate) use claim::Ticket;
use confirmed::Confirmed;
use promised::{Promised, payload_of};

/// Jobs that are redriven or rewritten in one piece: a long queue must not hold up the writer.
const PIECE: usize = 500;

/// The journal of jobs. Cheap to clone; clones share the file.
#[derive(Clone)]
pub struct Journal {
    shared: Arc<Shared>,
}

struct Shared {
    ledger: Ledger,
    clock: Arc<dyn Clock>,
    /// Zero on the queue's clock.
    origin: Instant,
    queue: Mutex<Queue>,
    /// Something may have become ready, or nearer.
    wake: Notify,
    confirmed: Confirmed,
    promised: Promised,
}

impl Journal {
    /// Opens the journal at `path`, creating it when absent, and reads who waits. Blocks.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the file cannot be opened, read or made durable, or was written by a newer version.
    pub fn open(path: &Path, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let ledger = Ledger::open(path, rows::prepare)?;
        let origin = clock.now();
        let mut queue = Queue::default();
        let wall = unix_ms(clock.wall());
        ledger.read_blocking(|connection| {
            rows::each_waiting(connection, |row| {
                queue.reserve(row.id, &row.key, &row.lane);
                match row.state {
                    JobState::Reserved => {}
                    JobState::Parked => queue.park_reserved(row.id, 0),
                    JobState::Waiting | JobState::Running => {
                        queue.confirm(row.id, u64::try_from(row.due - wall).unwrap_or(0), 0);
                    }
                }
            })
        })??;
        let shared = Shared {
            ledger,
            clock,
            origin,
            queue: Mutex::new(queue),
            wake: Notify::new(),
            confirmed: Confirmed::default(),
            promised: Promised::default(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Writes a job down that is not to be run yet. When this returns, the reservation is durable.
    ///
    /// # Errors
    /// [`Error::TooLarge`]; [`Error::Unavailable`]: the reservation may turn up at the next start.
    pub async fn reserve(&self, job: NewJob) -> Result<JobId, Error> {
        self.hand_in(job, JobState::Reserved).await
    }

    /// Writes a job down that may run at once. When this returns, it is durable. Dropping the future does not call it back.
    ///
    /// # Errors
    /// [`Error::TooLarge`]; [`Error::Unavailable`]: the job may turn up at the next start.
    pub async fn enqueue(&self, job: NewJob) -> Result<JobId, Error> {
        let journal = self.clone();
        // A task of its own: between the file and the index nobody may hang up.
        let task = tokio::spawn(async move {
            let id = journal.hand_in(job, JobState::Waiting).await?;
            let now = journal.now();
            journal.queue().confirm(id.0, 0, now);
            journal.shared.wake.notify_one();
            Ok(id)
        });
        task.await.unwrap_or(Err(Error::Closed))
    }

    async fn hand_in(&self, job: NewJob, state: JobState) -> Result<JobId, Error> {
        if job.body.len() > BODY_LIMIT {
            return Err(Error::TooLarge(job.body.len()));
        }
        let wall = unix_ms(self.shared.clock.wall());
        let id = self.allot(wall, &job);
        let written = self.shared.ledger.write(move |connection| rows::insert(connection, id, &job, state, wall)).await;
        if let Err(error) = written.map_err(Error::from).and_then(|written| Ok(written?)) {
            let now = self.now();
            self.queue().remove(id, now);
            return Err(error);
        }
        Ok(JobId(id))
    }

    /// The id of a new job, which is reserved in the index.
    fn allot(&self, wall: i64, job: &NewJob) -> u64 {
        let mut queue = self.queue();
        let id = queue.allot(wall.unsigned_abs().saturating_mul(1000));
        queue.reserve(id, &job.key, &job.lane);
        id
    }

    /// Lets a reserved job run. At once in this process; written a moment later: after a power cut it may be a reservation again.
    pub fn confirm(&self, id: JobId) {
        let now = self.now();
        // Before a worker can have it.
        let promised = self.confirm_promised(id.0);
        if self.queue().confirm(id.0, 0, now) {
            if let Some(confirming) = (!promised).then(|| self.shared.confirmed.push(id.0)).flatten() {
                self.shared.ledger.write_lazily(move |connection| rows::confirm(connection, &confirming.take()));
            }
            self.shared.wake.notify_one();
        }
    }

    /// Drops a reservation and leaves its payload alone: what it stood for has another owner now. Written a moment later.
    pub fn forget(&self, id: JobId) {
        let now = self.now();
        let mut queue = self.queue();
        if queue.state(id.0) == Some(JobState::Reserved) {
            queue.remove(id.0, now);
            drop(queue);
            if matches!(self.shared.promised.take(id.0), promised::Taken::Job(_)) {
                return;
            }
            self.shared.ledger.write_lazily(move |connection| rows::delete(connection, id.0).map(drop));
        }
    }

    /// Drops a job that does not run, in any other state. When this returns, that is durable. A job that is gone already is no error.
    ///
    /// Answers the payload file when nobody refers to it any more: the caller removes it.
    ///
    /// # Errors
    /// [`Error::Running`], [`Error::Unavailable`].
    pub async fn cancel(&self, id: JobId) -> Result<Option<FileId>, Error> {
        let held = match self.hold(id) {
            Ok(held) => held,
            Err(Error::Unknown) => return Ok(None),
            Err(error) => return Err(error),
        };
        let file = match self.take_back(id.0).await? {
            Some(job) => payload_of(&job),
            None => self.shared.ledger.write(move |connection| rows::delete(connection, id.0)).await??,
        };
        let now = self.now();
        self.queue().remove(id.0, now);
        drop(held);
        Ok(file)
    }

    /// The jobs that are reserved and neither confirmed nor dropped, the oldest first.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn reservations(&self) -> Result<Vec<Job>, Error> {
        let promised = self.shared.promised.all(|_, _| true);
        let jobs = self.shared.ledger.read(rows::reservations).await??;
        let mut jobs = beside(jobs, promised);
        let queue = self.queue();
        jobs.retain_mut(|job| overlay(&queue, job) && job.state == JobState::Reserved);
        Ok(jobs)
    }

    /// A page of a scope's jobs, the oldest first and reservations left out, from the job `start` on.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn list(&self, scope: &str, start: Option<JobId>, limit: usize) -> Result<Page<Job>, Error> {
        let scope = scope.to_owned();
        let start = start.map_or(0, |id| id.0);
        let promised = self.shared.promised.all(|id, job| id >= start && job.scope == scope);
        let question =
            move |connection: &rusqlite::Connection| rows::list(connection, &scope, start, limit.saturating_add(1));
        let mut jobs = beside(self.shared.ledger.read(question).await??, promised);
        jobs.truncate(limit.saturating_add(1));
        let next = if jobs.len() > limit { jobs.pop().map(|job| job.id) } else { None };
        let queue = self.queue();
        // Not by what the file says: a confirmation is written a moment after it counts.
        jobs.retain_mut(|job| overlay(&queue, job) && job.state != JobState::Reserved);
        Ok(Page { jobs, next })
    }

    /// One job; none when it is gone.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn get(&self, id: JobId) -> Result<Option<Job>, Error> {
        let job = match self.shared.promised.get(id.0) {
            Some(job) => Some(job),
            None => self.shared.ledger.read(move |connection| rows::get(connection, id.0)).await??,
        };
        let queue = self.queue();
        Ok(job.and_then(|mut job| overlay(&queue, &mut job).then_some(job)))
    }

    /// The payload files that jobs refer to, reserved ones too: what a sweep must leave.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn payloads(&self) -> Result<HashSet<FileId>, Error> {
        let promised = self.shared.promised.all(|_, job| job.payload.is_some());
        let mut payloads = self.shared.ledger.read(rows::payloads).await??;
        payloads.extend(promised.into_iter().filter_map(|job| job.payload));
        Ok(payloads)
    }

    /// Makes the waiting and parked jobs of a scope due now, or those among `ids`. Durable when this returns. Answers how many.
    ///
    /// # Errors
    /// [`Error::Unavailable`]; some may be due by then.
    pub async fn redrive(&self, scope: &str, ids: Option<Vec<JobId>>) -> Result<usize, Error> {
        self.write_promised().await?;
        let wall = unix_ms(self.shared.clock.wall());
        let mut redriven = 0;
        let mut start = 0;
        let mut asked = ids.map(|mut ids| {
            ids.sort_unstable();
            ids.dedup();
            ids.into_iter()
        });
        loop {
            let scope = scope.to_owned();
            let piece = match &mut asked {
                Some(ids) => {
                    let piece: Vec<u64> = ids.by_ref().take(PIECE).map(|id| id.0).collect();
                    if piece.is_empty() {
                        break;
                    }
                    self.shared.ledger.write(move |connection| rows::redrive(connection, &scope, piece, wall)).await??
                }
                None => {
                    let question = move |connection: &rusqlite::Connection| {
                        rows::redrive_from(connection, &scope, start, PIECE, wall)
                    };
                    let piece = self.shared.ledger.write(question).await??;
                    match piece.last() {
                        Some(last) => start = last + 1,
                        None => break,
                    }
                    piece
                }
            };
            let now = self.now();
            let mut queue = self.queue();
            redriven += piece.into_iter().filter(|&id| queue.redrive(id, now)).count();
        }
        self.shared.wake.notify_one();
        Ok(redriven)
    }

    /// Makes the waiting and parked jobs of lanes due now; those that run are not parked by this attempt. Durable when this returns. Answers how
    /// many. `lane` as in [`Journal::make_due`].
    ///
    /// # Errors
    /// [`Error::Unavailable`]; some may be due by then.
    pub async fn redrive_lanes(&self, lane: &str) -> Result<usize, Error> {
        let ids = self.queue().of_lanes(|name| concerns(lane, name));
        self.revive(ids).await
    }

    /// The same of all jobs that are parked with an error of this code.
    ///
    /// # Errors
    /// [`Error::Unavailable`]; some may be due by then.
    pub async fn redrive_parked(&self, code: &str) -> Result<usize, Error> {
        let code = code.to_owned();
        let ids = self.shared.ledger.read(move |connection| rows::parked_for(connection, &code)).await??;
        self.revive(ids).await
    }

    async fn revive(&self, ids: Vec<u64>) -> Result<usize, Error> {
        self.write_promised().await?;
        let wall = unix_ms(self.shared.clock.wall());
        let mut revived = 0;
        for piece in ids.chunks(PIECE) {
            let written = piece.to_vec();
            self.shared.ledger.write(move |connection| rows::revive(connection, &written, wall)).await??;
            let now = self.now();
            let mut queue = self.queue();
            revived += piece.iter().filter(|&&id| queue.redrive(id, now)).count();
        }
        self.shared.wake.notify_one();
        Ok(revived)
    }

    /// Makes the waiting jobs of a lane due now; parked ones stay. At once in this process, written a moment later. Answers how many.
    ///
    /// `lane` may begin with `*` (any lane that ends with the rest) or end with it (any lane that begins so).
    ///
    /// # Errors
    /// None today.
    pub async fn make_due(&self, lane: &str) -> Result<usize, Error> {
        let now = self.now();
        let ids = self.queue().make_due(|name| concerns(lane, name), now);
        self.shared.wake.notify_one();
        let wall = unix_ms(self.shared.clock.wall());
        for piece in ids.chunks(PIECE) {
            let piece = piece.to_vec();
            self.shared.ledger.write_lazily(move |connection| rows::make_due(connection, &piece, wall));
        }
        Ok(ids.len())
    }

    /// Gives a job that does not run another body and lane. Durable when this returns.
    ///
    /// # Errors
    /// [`Error::Running`], [`Error::Unknown`], [`Error::TooLarge`], [`Error::Unavailable`].
    pub async fn update_body(&self, id: JobId, body: Vec<u8>, lane: impl Into<String>) -> Result<(), Error> {
        if body.len() > BODY_LIMIT {
            return Err(Error::TooLarge(body.len()));
        }
        let lane = lane.into();
        // Held while the file is written: a worker must not take the job with its old body.
        let held = self.hold(id)?;
        let name = lane.clone();
        self.change_row(id.0, move |connection| rows::update(connection, id.0, &body, &name)).await?;
        let now = self.now();
        self.queue().change_lane(id.0, &lane, now);
        drop(held);
        Ok(())
    }

    /// Writes down another body for a job that runs, for who runs it: the next attempt begins with it. Durable when this returns.
    ///
    /// # Errors
    /// [`Error::Unknown`] when the job does not run, [`Error::TooLarge`], [`Error::Unavailable`].
    pub async fn note(&self, job: &Job, body: Vec<u8>) -> Result<(), Error> {
        if body.len() > BODY_LIMIT {
            return Err(Error::TooLarge(body.len()));
        }
        if self.queue().state(job.id.0) != Some(JobState::Running) {
            return Err(Error::Unknown);
        }
        let (id, lane) = (job.id.0, job.lane.clone());
        self.change_row(id, move |connection| rows::update(connection, id, &body, &lane)).await
    }

    /// True while jobs can be written down.
    pub fn healthy(&self) -> bool {
        self.shared.ledger.healthy()
    }

    /// How many jobs are in each state.
    pub fn counts(&self) -> Counts {
        self.queue().counts()
    }

    /// The lanes that have jobs.
    pub fn lanes(&self) -> Vec<LaneStatus> {
        self.queue().lane_statuses()
    }

    /// Takes over a policy. Nothing stays due later than its longest wait from now. [`Workers::start`](crate::Workers::start) calls this.
    pub fn set_policy(&self, policy: Policy) {
        let now = self.now();
        self.queue().set_policy(policy, now);
        self.shared.wake.notify_one();
    }

    /// Finishes what is being written and closes the file.
    pub async fn close(&self) {
        if let Err(error) = self.write_promised().await {
            tracing::warn!(%error, "jobs could not be written down");
        }
        self.shared.ledger.close().await;
    }

    /// Keeps a job from workers while its row is being changed.
    fn hold(&self, id: JobId) -> Result<Held<'_>, Error> {
        let mut queue = self.queue();
        if queue.hold(id.0) {
            return Ok(Held { journal: self, id });
        }
        Err(if queue.state(id.0).is_some() { Error::Running } else { Error::Unknown })
    }

    /// Waits until something may have become ready, or nearer in time.
    pub(crate) async fn woken(&self) {
        self.shared.wake.notified().await;
    }

    /// When something becomes ready, if nothing happens before.
    pub(crate) fn next_alarm(&self) -> Option<Instant> {
        let at = self.queue().next_alarm()?;
        self.shared.origin.checked_add(Duration::from_millis(at))
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Now, on the queue's clock.
    fn now(&self) -> u64 {
        millis(self.shared.clock.now().saturating_duration_since(self.shared.origin))
    }
}

/// Jobs from the file and such as may have no row yet, each once, the oldest first.
fn beside(mut jobs: Vec<Job>, promised: Vec<Job>) -> Vec<Job> {
    jobs.extend(promised);
    // One that was written meanwhile is in both; the file's came first.
    jobs.sort_by_key(|job| job.id);
    jobs.dedup_by_key(|job| job.id);
    jobs
}

/// Whether a pattern of lanes means the lane of this name.
fn concerns(lane: &str, name: &str) -> bool {
    match (lane.strip_prefix('*'), lane.strip_suffix('*')) {
        (Some(end), _) => name.ends_with(end),
        (None, Some(start)) => name.starts_with(start),
        (None, None) => name == lane,
    }
}

/// A job that workers do not take as long as this lives.
struct Held<'a> {
    journal: &'a Journal,
    id: JobId,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let now = self.journal.now();
        self.journal.queue().let_go(self.id.0, now);
        self.journal.shared.wake.notify_one();
    }
}

/// What the index knows better than the file. False for a job that it does not know: one whose handing in was answered with a failure.
fn overlay(queue: &Queue, job: &mut Job) -> bool {
    let Some(state) = queue.state(job.id.0) else { return false };
    job.state = state;
    if state != JobState::Waiting {
        job.next_attempt = None;
    }
    true
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal").field("healthy", &self.healthy()).field("counts", &self.counts()).finish()
    }
}

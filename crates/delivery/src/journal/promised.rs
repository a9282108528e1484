//! Jobs that their owner has written down elsewhere, durably: their rows follow a moment later, many in one commit for which nobody waits.
//!
//! ```text
//!   promise ──▶ confirm ──▶ a worker takes it from here ──▶ done: it never had a row
//!                  └──▶ a row, with others that were confirmed meanwhile ──▶ as any other job
//! ```
//!
//! Whoever changes a row sees to it first that there is one. The rows themselves are not synced: whoever promised must be able to promise again after a
//! power cut, until [`Journal::sync`] has returned.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Journal, rows};
use crate::clock::unix_ms;
use crate::{BODY_LIMIT, Error, FileId, Job, JobId, JobState, NewJob};

/// How long confirmed jobs wait for others before their rows are written.
const COMPANY: Duration = Duration::from_millis(20);
/// Between attempts while the file takes nothing.
const PACE: Duration = Duration::from_secs(1);

/// Jobs without a row.
#[derive(Debug, Default)]
pub(super) struct Promised {
    table: Mutex<Table>,
    /// Held by who writes rows.
    writing: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Table {
    jobs: HashMap<u64, Promise>,
    /// Somebody will write what is confirmed.
    expected: bool,
}

#[derive(Debug, Clone)]
struct Promise {
    job: Arc<NewJob>,
    /// Milliseconds since 1970.
    since: i64,
    step: Step,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Reserved,
    Confirmed,
    /// Its row is being written.
    Writing,
}

/// What there was to take back.
#[derive(Debug)]
pub(super) enum Taken {
    /// The job, which has no row and will have none.
    Job(Arc<NewJob>),
    /// Its row is being written.
    Written,
    /// No such job: it has a row, if it is one.
    Unknown,
}

impl Promised {
    /// The job confirmed is to be written; true where its caller has to see to that.
    fn confirm(&self, id: u64) -> Option<bool> {
        let mut table = self.table();
        let promise = table.jobs.get_mut(&id)?;
        promise.step = Step::Confirmed;
        Some(!std::mem::replace(&mut table.expected, true))
    }

    fn has(&self, id: u64) -> bool {
        self.table().jobs.contains_key(&id)
    }

    /// Takes a job back, unless its row is on its way.
    pub(super) fn take(&self, id: u64) -> Taken {
        let mut table = self.table();
        match table.jobs.get(&id).map(|promise| promise.step) {
            None => Taken::Unknown,
            Some(Step::Writing) => Taken::Written,
            Some(_) => table.jobs.remove(&id).map_or(Taken::Unknown, |promise| Taken::Job(promise.job)),
        }
    }

    pub(super) fn get(&self, id: u64) -> Option<Job> {
        self.table().jobs.get(&id).map(|promise| promise.job(id))
    }

    /// Those of which a row is wanted, or is to come.
    pub(super) fn all(&self, wanted: impl Fn(u64, &NewJob) -> bool) -> Vec<Job> {
        let table = self.table();
        let jobs = table.jobs.iter().filter(|(id, promise)| wanted(**id, &promise.job));
        jobs.map(|(id, promise)| promise.job(*id)).collect()
    }

    /// The confirmed ones, oldest first; from now on they are being written.
    fn begin(&self) -> Vec<(u64, Promise)> {
        let mut table = self.table();
        table.expected = false;
        let confirmed = table.jobs.iter_mut().filter(|(_, promise)| promise.step == Step::Confirmed);
        let mut begun: Vec<_> = confirmed
            .map(|(id, promise)| {
                promise.step = Step::Writing;
                (*id, promise.clone())
            })
            .collect();
        begun.sort_unstable_by_key(|(id, _)| *id);
        begun
    }

    fn end(&self, ids: &[u64], written: bool) {
        let mut table = self.table();
        for id in ids {
            if written {
                table.jobs.remove(id);
            } else if let Some(promise) = table.jobs.get_mut(id) {
                promise.step = Step::Confirmed;
            }
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Promise {
    fn job(&self, id: u64) -> Job {
        let NewJob { kind, key, lane, scope, payload, keep_payload, size, body } = (*self.job).clone();
        Job {
            id: JobId(id),
            kind,
            key,
            lane,
            scope,
            payload,
            keep_payload,
            size,
            body,
            state: if self.step == Step::Reserved { JobState::Reserved } else { JobState::Waiting },
            attempts: 0,
            since: self.since,
            next_attempt: Some(self.since),
            last_error: None,
        }
    }
}

impl Journal {
    /// Reserves a job that its owner has written down elsewhere, or does before [confirming](Journal::confirm) it. Nothing is written here: when the
    /// process dies or the power fails, its owner has to hand it in again. No other job has its payload.
    ///
    /// # Errors
    /// [`Error::TooLarge`].
    pub fn promise(&self, job: NewJob) -> Result<JobId, Error> {
        if job.body.len() > BODY_LIMIT {
            return Err(Error::TooLarge(job.body.len()));
        }
        let since = unix_ms(self.shared.clock.wall());
        let id = self.allot(since, &job);
        let promise = Promise { job: Arc::new(job), since, step: Step::Reserved };
        self.shared.promised.table().jobs.insert(id, promise);
        Ok(JobId(id))
    }

    /// Makes durable what was confirmed before: who [promised](Journal::promise) such a job need not do so again.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn sync(&self) -> Result<(), Error> {
        self.write_promised().await?;
        Ok(self.shared.ledger.write(rows::touch).await??)
    }

    /// A promised job is confirmed. False when it is no such job.
    pub(super) fn confirm_promised(&self, id: u64) -> bool {
        let Some(expects) = self.shared.promised.confirm(id) else { return false };
        if expects {
            let journal = self.clone();
            tokio::spawn(async move {
                let mut wait = COMPANY;
                loop {
                    tokio::time::sleep(wait).await;
                    match journal.write_promised().await {
                        Ok(()) => return,
                        Err(error) => tracing::warn!(%error, "jobs could not be written down yet"),
                    }
                    wait = PACE;
                }
            });
        }
        true
    }

    /// Changes the row of a job, which has one from now on. Durable when this returns.
    pub(super) async fn change_row<F>(&self, id: u64, change: F) -> Result<(), Error>
    where
        F: FnOnce(&rusqlite::Connection) -> rusqlite::Result<()> + Send + 'static,
    {
        if self.shared.promised.has(id) {
            self.write_promised().await?;
        }
        Ok(self.shared.ledger.write(change).await??)
    }

    /// Takes a promised job back before it has a row. None when it has one.
    pub(super) async fn take_back(&self, id: u64) -> Result<Option<Arc<NewJob>>, Error> {
        match self.shared.promised.take(id) {
            Taken::Job(job) => Ok(Some(job)),
            Taken::Unknown => Ok(None),
            Taken::Written => self.write_promised().await.map(|()| None),
        }
    }

    /// Writes the rows of all that are confirmed.
    pub(super) async fn write_promised(&self) -> Result<(), Error> {
        let journal = self.clone();
        // A task of its own: nobody may hang up while they count as being written.
        let task = tokio::spawn(async move {
            let promised = &journal.shared.promised;
            let _turn = promised.writing.lock().await;
            let jobs = promised.begin();
            if jobs.is_empty() {
                return Ok(());
            }
            let ids: Vec<u64> = jobs.iter().map(|(id, _)| *id).collect();
            let insert = move |connection: &rusqlite::Connection| {
                let insert = |(id, Promise { job, since, .. }): &(u64, Promise)| {
                    rows::insert(connection, *id, job, JobState::Waiting, *since)
                };
                jobs.iter().try_for_each(insert)
            };
            let written = journal.shared.ledger.write_backed(insert).await;
            let written = written.map_err(Error::from).and_then(|written| Ok(written?));
            promised.end(&ids, written.is_ok());
            written
        });
        task.await.unwrap_or(Err(Error::Closed))
    }
}

/// The payload of a job that is gone, where it is to go too.
pub(super) fn payload_of(job: &NewJob) -> Option<FileId> {
    job.payload.clone().filter(|_| !job.keep_payload)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{JobError, SystemClock};

    fn open(folder: &tempfile::TempDir) -> Journal {
        Journal::open(&folder.path().join("journal.db"), Arc::new(SystemClock)).unwrap()
    }

    fn job(key: &str) -> NewJob {
        let payload = Some("0".repeat(32).parse().unwrap());
        NewJob { key: key.into(), lane: "lane".into(), scope: "scope".into(), payload, ..NewJob::default() }
    }

    async fn listed(journal: &Journal) -> Vec<(JobId, JobState)> {
        let page = journal.list("scope", None, 10).await.unwrap();
        page.jobs.into_iter().map(|job| (job.id, job.state)).collect()
    }

    async fn reopened(journal: Journal, folder: &tempfile::TempDir) -> Journal {
        journal.close().await;
        drop(journal);
        open(folder)
    }

    #[tokio::test]
    async fn a_promise_is_nothing_until_it_is_confirmed() {
        let folder = tempfile::tempdir().unwrap();
        let journal = open(&folder);
        let (one, two, three) = (
            journal.promise(job("1")).unwrap(),
            journal.promise(job("2")).unwrap(),
            journal.promise(job("3")).unwrap(),
        );
        assert_eq!(listed(&journal).await, []);
        assert!(journal.claim().await.unwrap().is_none());
        assert_eq!(journal.reservations().await.unwrap().len(), 3);
        journal.forget(one);
        assert_eq!(journal.cancel(two).await.unwrap(), job("2").payload, "it goes with its job");
        assert_eq!(journal.counts().reserved, 1);
        journal.sync().await.unwrap();
        let journal = reopened(journal, &folder).await;
        assert_eq!(journal.counts(), crate::Counts::default(), "nothing was written of {three}");
    }

    #[tokio::test]
    async fn a_confirmed_one_is_seen_at_once_and_has_a_row_after_a_sync() {
        let folder = tempfile::tempdir().unwrap();
        let journal = open(&folder);
        let ids = ["1", "2", "3"].map(|key| journal.promise(job(key)).unwrap());
        ids.iter().for_each(|id| journal.confirm(*id));
        let all: Vec<_> = ids.iter().map(|id| (*id, JobState::Waiting)).collect();
        assert_eq!(listed(&journal).await, all);
        let page = journal.list("scope", Some(ids[1]), 1).await.unwrap();
        assert_eq!((page.jobs[0].id, page.next), (ids[1], Some(ids[2])));
        assert_eq!(journal.list("another", None, 10).await.unwrap().jobs, []);
        assert_eq!(journal.get(ids[0]).await.unwrap().unwrap().key, "1");
        assert_eq!(journal.payloads().await.unwrap().len(), 1);
        journal.sync().await.unwrap();
        assert_eq!(listed(&journal).await, all, "each once");
        // What a kill would leave.
        let file = rusqlite::Connection::open(folder.path().join("journal.db")).unwrap();
        let rows: i64 = file.query_row("SELECT count(*) FROM jobs WHERE state = 1", [], |row| row.get(0)).unwrap();
        assert_eq!(rows, 3);
        drop(file);
        assert_eq!(listed(&reopened(journal, &folder).await).await, all);
    }

    #[tokio::test]
    async fn one_that_is_done_at_once_never_has_a_row() {
        let folder = tempfile::tempdir().unwrap();
        let journal = open(&folder);
        let id = journal.promise(job("1")).unwrap();
        journal.confirm(id);
        let mut claim = journal.claim().await.unwrap().unwrap();
        assert_eq!((claim.job().id, claim.job().state), (id, JobState::Running));
        assert_eq!(claim.settle().await.unwrap(), job("1").payload);
        drop(claim);
        journal.sync().await.unwrap();
        assert_eq!((listed(&journal).await, journal.counts()), (vec![], crate::Counts::default()));
        assert_eq!(listed(&reopened(journal, &folder).await).await, []);
    }

    #[tokio::test]
    async fn what_changes_a_row_finds_one() {
        let folder = tempfile::tempdir().unwrap();
        let journal = open(&folder);
        let [failed, parked, moved, gone] = ["1", "2", "3", "4"].map(|key| {
            let id = journal.promise(job(key)).unwrap();
            journal.confirm(id);
            id
        });
        let error = || JobError { code: "away".into(), message: "it is away".into(), http_status: None };
        journal.claim().await.unwrap().unwrap().postpone(error(), Some(Duration::from_secs(3600))).await.unwrap();
        // The lane is broken now: it is probed once somebody says so.
        assert_eq!(journal.redrive("scope", Some(vec![parked])).await.unwrap(), 1);
        let claim = journal.claim().await.unwrap().unwrap();
        assert_eq!(claim.job().id, parked);
        claim.bury(error()).await.unwrap();
        assert!(journal.cancel(gone).await.unwrap().is_none(), "others have that payload");
        journal.update_body(moved, b"other".to_vec(), "elsewhere").await.unwrap();
        let claim = journal.claim().await.unwrap().unwrap();
        assert_eq!(claim.job().id, moved);
        journal.note(claim.job(), b"noted".to_vec()).await.unwrap();
        drop(claim);
        let last = journal.promise(job("5")).unwrap();
        journal.confirm(last);
        let journal = reopened(journal, &folder).await;
        let get = async |id| journal.get(id).await.unwrap();
        assert_eq!(get(failed).await.unwrap().attempts, 1);
        assert_eq!(get(parked).await.unwrap().state, JobState::Parked);
        assert_eq!(
            (get(moved).await.unwrap().body, get(moved).await.unwrap().lane),
            (b"noted".to_vec(), "elsewhere".into())
        );
        assert!(get(gone).await.is_none());
        assert!(get(last).await.is_some());
    }
}

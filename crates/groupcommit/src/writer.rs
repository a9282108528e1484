//! The writer thread: it takes what waits, runs it in one transaction, commits, answers; and it is the one who notices that a file has
//! gone bad and makes it good again.
//!
//! It never answers before the commit, never commits a group in parts, and never lets one closure's failure reach another.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use rusqlite::{Connection, ffi};
use tokio::sync::oneshot;

use crate::file::{self, Checkpoint};
use crate::write::{Entry, Write};
use crate::{Cause, Error};

/// The most writes of one group.
const GROUP: usize = 1024;
/// How long lazy writes wait for company.
const LAZINESS: Duration = Duration::from_millis(20);
/// How long patient ones do, and how many of them are company enough. Who was alone the last time does not wait.
const PATIENCE: (Duration, usize) = (Duration::from_millis(4), 16);
/// How long a commit that does not sync waits for company, unless it was alone the last time: pages are written for each commit, however many writes they hold.
const COMPANY: Duration = Duration::from_micros(300);
/// Pages of the WAL at which it is copied into the database file: 32 MiB, some thirty milliseconds of work. A page that was written often is copied once.
const CHECKPOINT: i32 = 8192;
/// The first and the longest pause between attempts to make the file good.
const PACE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// Opens the file and starts the thread; returns its queue once the file is open.
pub(crate) fn start(
    path: &Path,
    schema: fn(&Connection) -> rusqlite::Result<()>,
    healthy: Arc<AtomicBool>,
) -> Result<mpsc::Sender<Entry>, Error> {
    let (queue, entries) = mpsc::channel();
    let (opened, opening) = mpsc::channel();
    let path = path.to_owned();
    let name = path.file_stem().map_or_else(|| "ledger".into(), |stem| stem.to_string_lossy().into_owned());
    std::thread::Builder::new().name(name).spawn(move || match Writer::open(path, schema, entries, healthy) {
        Ok(writer) => {
            // The opener waits for this; when it is gone, so are all senders, and the thread ends by itself.
            let _ = opened.send(Ok(()));
            writer.run();
        }
        Err(error) => {
            let _ = opened.send(Err(error));
        }
    })?;
    opening.recv().unwrap_or(Err(Error::Closed))?;
    Ok(queue)
}

struct Writer {
    path: PathBuf,
    entries: Receiver<Entry>,
    healthy: Arc<AtomicBool>,
    /// Pages in the WAL after the last commit.
    pages: Arc<AtomicI32>,
    /// The next checkpoint happens at so many pages.
    checkpoint: i32,
    /// The last group held more than one write.
    company: bool,
    /// Whether commits of the connection sync.
    syncs: bool,
    state: State,
}

enum State {
    Good(Connection),
    Bad { cause: Cause, pause: Duration, next: Instant },
}

/// What the queue gave.
#[derive(Default)]
struct Group {
    writes: Vec<Box<dyn Write>>,
    /// Somebody waits for what is durable.
    sync: bool,
    scrub: Vec<oneshot::Sender<Result<bool, Error>>>,
    close: Option<Option<oneshot::Sender<()>>>,
}

impl Writer {
    fn open(
        path: PathBuf,
        schema: fn(&Connection) -> rusqlite::Result<()>,
        entries: Receiver<Entry>,
        healthy: Arc<AtomicBool>,
    ) -> Result<Self, Error> {
        file::create_folders(&path)?;
        let pages = Arc::new(AtomicI32::new(0));
        let connection = file::open_writer(&path, Checkpoint::Tried, pages.clone())?;
        connection.execute_batch("BEGIN IMMEDIATE")?;
        schema(&connection)?;
        connection.execute_batch("COMMIT")?;
        // After the first commit all files are there: one fsync of the folder holds them all.
        file::sync_folder(&path)?;
        Ok(Self {
            path,
            entries,
            healthy,
            pages,
            checkpoint: CHECKPOINT,
            company: false,
            syncs: true,
            state: State::Good(connection),
        })
    }

    fn run(mut self) {
        loop {
            let group = self.gather();
            if !group.writes.is_empty() {
                self.company = group.writes.len() > 1;
                self.process(group.writes, group.sync);
            }
            for answer in group.scrub {
                let _ = answer.send(self.scrub());
            }
            if let Some(answer) = group.close {
                self.close();
                if let Some(answer) = answer {
                    let _ = answer.send(());
                }
                return;
            }
            self.make_good();
        }
    }

    /// Waits for work, or while the file is bad for the time of the next attempt. Takes what waits; lazy and patient writes wait for company.
    fn gather(&mut self) -> Group {
        let mut group = Group::default();
        let (mut eager, mut patient) = (false, 0);
        let mut deadline = match &self.state {
            State::Good(_) => None,
            State::Bad { next, .. } => Some(*next),
        };
        while group.writes.len() < GROUP && group.close.is_none() {
            let entry = if eager {
                match self.entries.try_recv() {
                    Ok(entry) => entry,
                    Err(_) => break,
                }
            } else if let Some(deadline) = deadline {
                match self.entries.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                    Ok(entry) => entry,
                    Err(RecvTimeoutError::Timeout) => break,
                    Err(RecvTimeoutError::Disconnected) => {
                        group.close = Some(None);
                        break;
                    }
                }
            } else {
                match self.entries.recv() {
                    Ok(entry) => entry,
                    Err(_) => {
                        group.close = Some(None);
                        break;
                    }
                }
            };
            match entry {
                Entry::Eager(write) => {
                    (eager, group.sync) = (true, true);
                    group.writes.push(write);
                }
                Entry::Backed(write) => {
                    if !std::mem::replace(&mut eager, true) && self.company {
                        std::thread::sleep(COMPANY);
                    }
                    group.writes.push(write);
                }
                Entry::Patient(write) => {
                    let patience = Instant::now() + PATIENCE.0;
                    deadline = Some(deadline.map_or(patience, |deadline| deadline.min(patience)));
                    patient += 1;
                    group.sync = true;
                    eager = eager || !self.company || patient >= PATIENCE.1;
                    group.writes.push(write);
                }
                Entry::Lazy(write) => {
                    deadline.get_or_insert_with(|| Instant::now() + LAZINESS);
                    group.writes.push(write);
                }
                Entry::Scrub(answer) => {
                    eager = true;
                    group.scrub.push(answer);
                }
                Entry::Close(answer) => group.close = Some(Some(answer)),
            }
        }
        group
    }

    fn process(&mut self, mut writes: Vec<Box<dyn Write>>, sync: bool) {
        let outcome = match &self.state {
            State::Good(connection) => {
                let ready = if sync == self.syncs { Ok(()) } else { file::sync_commits(connection, sync) };
                self.syncs = sync;
                ready.and_then(|()| commit(connection, &mut writes))
            }
            State::Bad { cause, .. } => return answer(writes, &Err(Error::Unavailable(cause.clone()))),
        };
        match outcome {
            Ok(()) => {
                answer(writes, &Ok(()));
                self.keep_short();
            }
            Err(error) => {
                let cause = self.fail("commit", error);
                answer(writes, &Err(Error::Unavailable(cause)));
            }
        }
    }

    /// Copies a WAL that has grown into the database file. Callers have their answers already.
    fn keep_short(&mut self) {
        let State::Good(connection) = &self.state else { return };
        let pages = self.pages.load(Ordering::Relaxed);
        if pages < self.checkpoint {
            // A WAL that begins anew is shorter than the last one was.
            self.checkpoint = if pages < CHECKPOINT { CHECKPOINT } else { self.checkpoint };
            return;
        }
        match file::copy_wal(connection) {
            Ok(true) => self.checkpoint = CHECKPOINT,
            // A reader held an old snapshot. Not every commit shall try again.
            Ok(false) => self.checkpoint = pages + CHECKPOINT / 2,
            Err(error) => {
                self.fail("checkpoint", error);
            }
        }
    }

    /// Empties the WAL into the database file, where what was overwritten is gone. False when a reader stood in the way.
    fn scrub(&mut self) -> Result<bool, Error> {
        let outcome = match &self.state {
            State::Good(connection) => file::empty_wal(connection),
            State::Bad { cause, .. } => return Err(Error::Unavailable(cause.clone())),
        };
        match outcome {
            Ok(busy) => Ok(!busy),
            Err(error) => Err(Error::Unavailable(self.fail("checkpoint", error))),
        }
    }

    /// Closes the connection and takes no writes until the file is good again.
    fn fail(&mut self, step: &'static str, error: rusqlite::Error) -> Cause {
        tracing::error!(file = %self.path.display(), step, %error, "the file takes no writes until it has been made good");
        self.healthy.store(false, Ordering::Release);
        let cause: Cause = Arc::new(error);
        let bad = State::Bad { cause: cause.clone(), pause: PACE.0, next: Instant::now() };
        shut(std::mem::replace(&mut self.state, bad));
        cause
    }

    fn make_good(&mut self) {
        let State::Bad { pause, next, .. } = &self.state else { return };
        let (pause, now) = (*pause, Instant::now());
        if now < *next {
            return;
        }
        self.pages.store(0, Ordering::Relaxed);
        self.syncs = true;
        self.state = match file::open_writer(&self.path, Checkpoint::Complete, self.pages.clone()) {
            Ok(connection) => {
                tracing::info!(file = %self.path.display(), "the file is good again");
                self.checkpoint = CHECKPOINT;
                self.healthy.store(true, Ordering::Release);
                State::Good(connection)
            }
            Err(error) => {
                tracing::warn!(file = %self.path.display(), %error, pause_ms = pause.as_millis(), "the file is not good yet");
                let cause = match error {
                    Error::Unavailable(cause) => cause,
                    other => Arc::new(other),
                };
                State::Bad { cause, pause: (pause * 2).min(PACE.1), next: Instant::now() + pause }
            }
        };
    }

    fn close(&mut self) {
        if let State::Good(connection) = &self.state
            && let Err(error) = file::empty_wal(connection)
        {
            // Nothing is lost: the WAL still holds it all, and the next opening makes it durable.
            tracing::warn!(file = %self.path.display(), %error, "the WAL could not be emptied");
        }
        let gone = State::Bad { cause: Arc::new(Error::Closed), pause: PACE.0, next: Instant::now() };
        shut(std::mem::replace(&mut self.state, gone));
    }
}

/// Closes a connection, which here never writes.
fn shut(state: State) {
    if let State::Good(connection) = state
        && let Err((connection, error)) = connection.close()
    {
        tracing::warn!(%error, "a connection did not close");
        drop(connection);
    }
}

fn commit(connection: &Connection, writes: &mut [Box<dyn Write>]) -> rusqlite::Result<()> {
    let run = |statement| connection.prepare_cached(statement)?.execute([]);
    run("BEGIN IMMEDIATE")?;
    for write in writes {
        run("SAVEPOINT one")?;
        let stays = write.run(connection);
        // SQLite ends the transaction by itself on some failures; then the savepoints of all neighbours are gone with it.
        if connection.is_autocommit() {
            return Err(file::sqlite(ffi::SQLITE_ABORT_ROLLBACK, "the transaction ended within the group"));
        }
        if !stays {
            run("ROLLBACK TO one")?;
        }
        run("RELEASE one")?;
    }
    run("COMMIT")?;
    Ok(())
}

fn answer(writes: Vec<Box<dyn Write>>, group: &Result<(), Error>) {
    for write in writes {
        write.answer(group.clone());
    }
}

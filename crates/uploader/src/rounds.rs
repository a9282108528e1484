//! The watcher's life: look at the folder, send what stands still, learn from what became of it, look again.
//!
//! One task decides; uploads run beside it and report back. Nothing is remembered of a file that failed but when it is due: the next look
//! finds it again, as it then is. So there is no queue that could disagree with the folder.

use std::collections::{HashMap, VecDeque};
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::answer::Reason;
use crate::attention::{Attention, Look};
use crate::errand::{Errand, Outcome};
use crate::folder::{Item, OWN};
use crate::ledger::Ledger;
use crate::report::{Report, Tally};
use crate::sender::Sender;
use crate::settling::WINDOW;
use crate::{After, Error, Kind, Settings, after};

/// A single run gives a file so many chances, and the store so many in a row.
const CHANCES: u32 = 3;
const CHANCES_OF_THE_STORE: u32 = 5;
/// A look at the folder takes at most one part in so many of our time.
const LOOKING_SHARE: u32 = 5;

/// Watches until told to stop, or, with `once`, until everything that was there is done. What runs when it is told to stop is finished.
///
/// # Errors
/// When it cannot start. Whatever fails later is waited out.
pub async fn run(settings: Settings, stopping: CancellationToken) -> Result<Tally, Error> {
    let mut rounds = Rounds::begin(settings)?;
    let done = rounds.go_on_until(&stopping).await;
    while let Some(ended) = rounds.running.join_next_with_id().await {
        rounds.learn(ended);
    }
    rounds.report.end();
    done.map(|()| rounds.report.tally)
}

struct Rounds {
    settings: Arc<Settings>,
    errand: Arc<Errand>,
    attention: Arc<Mutex<Attention>>,
    ready: VecDeque<Item>,
    running: JoinSet<Outcome>,
    sent_out: HashMap<Id, (Item, Instant)>,
    report: Report,
    links: usize,
    /// Held as long as we live.
    _lock: File,
}

impl Rounds {
    fn begin(mut settings: Settings) -> Result<Self, Error> {
        settings.check()?;
        let root = canonical(&settings.folder)?;
        if let After::Move(target) = &settings.after {
            fs::create_dir_all(target).map_err(|error| Error::Folder(target.clone(), error))?;
            let target = canonical(target)?;
            let deep = settings.recursive || settings.kind == Kind::AsteriskVoicemail;
            if target.starts_with(&root) && (deep || target == root) {
                return Err(Error::Unfit("what was moved would be found again: move it out of the folder".to_owned()));
            }
            settings.after = After::Move(target);
        }
        let state = settings.state.clone().unwrap_or_else(|| root.join(OWN));
        let lock = lock(&state)?;
        let ledger = settings.kind.remembers(&settings.after).then(|| state.join("sent"));
        let ledger = ledger.map(|path| Ledger::open(&path).map_err(|error| Error::Folder(path, error))).transpose()?;
        if settings.after != After::Keep {
            let restored = after::restore(&root).map_err(|error| Error::Folder(root.clone(), error))?;
            if restored > 0 {
                tracing::warn!(files = restored, "put back what was about to be deleted when the last run ended");
            }
        }
        let sender = Sender::new(&settings)?;
        tracing::info!(folder = %root.display(), to = %settings.to, kind = ?settings.kind, after = ?settings.after, "watching");
        let settings = Arc::new(settings);
        Ok(Self {
            errand: Arc::new(Errand { settings: settings.clone(), root: root.clone(), ledger, sender }),
            attention: Arc::new(Mutex::new(Attention::new(settings.clone(), root))),
            report: Report::new(settings.progress),
            settings,
            ready: VecDeque::new(),
            running: JoinSet::new(),
            sent_out: HashMap::new(),
            links: 0,
            _lock: lock,
        })
    }

    async fn go_on_until(&mut self, stopping: &CancellationToken) -> Result<(), Error> {
        let mut next_look = Instant::now();
        while !stopping.is_cancelled() {
            if Instant::now() >= next_look {
                let look = self.look().await?;
                next_look = Instant::now() + self.settings.interval.max(look.took * LOOKING_SHARE);
                if self.settings.once && self.is_done(&look) {
                    return Ok(());
                }
            }
            self.send_out();
            let wake =
                minded(&self.attention).pace.opens().filter(|opens| !self.ready.is_empty() && *opens > Instant::now());
            let wake = wake.unwrap_or(next_look).min(next_look);
            tokio::select! {
                Some(ended) = self.running.join_next_with_id() => self.learn(ended),
                () = tokio::time::sleep_until(wake.into()) => {}
                () = stopping.cancelled() => {}
            }
        }
        Ok(())
    }

    /// Looks at the whole folder. What stands still is ready.
    async fn look(&mut self) -> Result<Look, Error> {
        let room = WINDOW.saturating_sub(self.ready.len());
        let attention = self.attention.clone();
        let looked = tokio::task::spawn_blocking(move || minded(&attention).look(room));
        let look = match looked.await {
            Ok(look) => look,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        let mut look = match look {
            Ok(look) => look,
            Err(error) if self.settings.once => return Err(Error::Folder(self.settings.folder.clone(), error)),
            Err(error) => {
                tracing::error!(%error, "the folder cannot be read");
                return Ok(Look::default());
            }
        };
        if look.links > self.links {
            tracing::warn!(links = look.links, "symbolic links are not followed; what they lead to is not uploaded");
        }
        self.links = look.links;
        self.ready.extend(look.still.drain(..));
        self.report.pending(look.pending, minded(&self.attention).pace.troubled(), Instant::now());
        Ok(look)
    }

    /// Nothing is left to do for a single run, or no hope.
    fn is_done(&mut self, look: &Look) -> bool {
        if minded(&self.attention).pace.failures() >= CHANCES_OF_THE_STORE {
            tracing::error!(files = look.pending, "the store does not answer as it should: giving up for this run");
            self.report.tally.left += look.pending as u64;
            return true;
        }
        if look.pending > 0 || !self.ready.is_empty() || !self.running.is_empty() {
            return false;
        }
        self.report.tally.left = minded(&self.attention).given_up() as u64;
        true
    }

    /// Sends out as much as may be sent now.
    fn send_out(&mut self) {
        while self.running.len() < self.settings.concurrency
            && minded(&self.attention).pace.open(Instant::now(), self.running.len())
            && let Some(item) = self.ready.pop_front()
        {
            let (errand, goes, arrived) =
                (self.errand.clone(), item.clone(), minded(&self.attention).has_arrived(&item));
            let task = self.running.spawn(async move { errand.run(goes, arrived).await });
            self.sent_out.insert(task.id(), (item, Instant::now()));
        }
    }

    /// Learns what became of an upload.
    fn learn(&mut self, ended: Result<(Id, Outcome), JoinError>) {
        let (id, outcome) = match ended {
            Ok(ended) => ended,
            Err(error) => (error.id(), Outcome::Waits(Reason::lasting(format!("a fault of the watcher: {error}")))),
        };
        let Some((item, since)) = self.sent_out.remove(&id) else { return };
        let (name, now) = (item.name(), Instant::now());
        let mut attention = minded(&self.attention);
        attention.release(name);
        match outcome {
            Outcome::Done { document } => {
                attention.pace.succeeded(name);
                self.report.uploaded(&item, document.as_deref(), since.elapsed());
                attention.finish(&item, self.settings.after == After::Keep);
            }
            Outcome::Known => {
                self.report.known(&item);
                attention.pace.forget(name);
                attention.finish(&item, self.settings.after == After::Keep);
            }
            Outcome::Refused { reason, aside } => {
                attention.pace.store_answers();
                attention.pace.forget(name);
                self.report.refused(&item, &reason, aside);
                attention.finish(&item, !aside);
            }
            Outcome::Stuck(error) => {
                attention.pace.store_answers();
                let wait_ms = milliseconds(attention.pace.stuck(name, now));
                tracing::warn!(file = %name.display(), %error, wait_ms, "uploaded, but it cannot be deleted or moved");
                attention.arrive(&item);
            }
            Outcome::Gone => {
                tracing::debug!(file = %name.display(), "is no longer there");
                attention.pace.forget(name);
            }
            Outcome::Changed => tracing::debug!(file = %name.display(), "changed meanwhile: it is watched again"),
            Outcome::Waits(reason) => {
                let wait = attention.pace.file_failed(name, now, reason.advice);
                tell_failure(name, &reason, wait, "waits");
            }
            Outcome::AllWait(reason) => {
                let wait = attention.pace.all_failed(name, since, reason.advice);
                tell_failure(name, &reason, wait, "all wait");
                if reason.unauthorized {
                    self.errand.sender.refresh_key();
                }
            }
        }
        if self.settings.once && attention.pace.failures_of(item.name()) >= CHANCES {
            attention.give_up(item.name());
        }
    }
}

fn minded(attention: &Mutex<Attention>) -> MutexGuard<'_, Attention> {
    attention.lock().unwrap_or_else(PoisonError::into_inner)
}

fn tell_failure(name: &Path, reason: &Reason, wait: Duration, what: &str) {
    let (file, reason_text, wait_ms) = (name.display(), &reason.text, milliseconds(wait));
    match reason.needs_a_person {
        true => tracing::error!(%file, reason = %reason_text, wait_ms, "not uploaded, {what}"),
        false => tracing::warn!(%file, reason = %reason_text, wait_ms, "not uploaded, {what}"),
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn canonical(folder: &Path) -> Result<PathBuf, Error> {
    let failed = |error| Error::Folder(folder.to_owned(), error);
    let root = fs::canonicalize(folder).map_err(failed)?;
    fs::read_dir(&root).map_err(failed)?;
    Ok(root)
}

/// Makes sure that no other watcher has this folder.
fn lock(state: &Path) -> Result<File, Error> {
    let path = state.join("lock");
    let failed = |error| Error::Folder(path.clone(), error);
    fs::create_dir_all(state).map_err(failed)?;
    let file = File::options().write(true).create(true).truncate(false).open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Taken(path)),
        Err(TryLockError::Error(error)) => Err(Error::Folder(path, error)),
    }
}

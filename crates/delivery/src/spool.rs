//! The spool: payloads, durable before anybody refers to them.
//!
//! ```text
//!   begin ──▶ Partial ──write…──▶ finish ──▶ SealedFile ──publish──▶ a file under its own name ──remove──▶ gone
//!                                             it is whole               bytes and name are synced
//!                                                            small ──▶ a record of the spool's log
//! ```
//!
//! The SHA-256 is computed as the bytes come. Small bodies (up to 256 KiB) stay in memory until they are published: then they are appended to a log
//! (`small`), one fsync for all that are published at the same time. Larger ones are written piece by piece under a temporary name, never holding more
//! than two pieces in memory; bytes and name are synced side by side, and syncs of the folder are shared. A spool for what stays ([`Spool::of_files`])
//! has no log: there a small body is created, written and synced in one step.
//!
//! A failed write or fsync abandons *that* file: it is removed, never synced again, and the caller gets an error. Dropping a [`Partial`] or
//! a [`SealedFile`] removes its temporary file. Removals are not synced: a file that comes back after a power cut has no job that refers to
//! it, and the next [`Spool::sweep`] takes it.
//!
//! A file that grows for minutes, as a call in progress, is a [`Growing`]: no sweep takes it.
//!
//! One flat folder: a second level would need an fsync of its own for every publication, and would split the groups that make one cheap.
//! Names are looked up by hash, so a million entries are no burden.

mod folder;
mod growing;
mod partial;
mod small;

use std::collections::HashSet;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use appendlog::Options;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use uuid::{Builder, Uuid};

use crate::clock::unix_ms;
use crate::{BadId, Error};
use folder::Folder;
use small::Small;

pub use growing::{Growing, Unfinished};
pub use partial::{Partial, SealedFile};

/// The end of a temporary file's name.
const TEMPORARY: &str = ".part";
/// The folder of the log, within the spool's.
const LOG: &str = "log";
/// How long it counts that there was room: asking is a system call, and all that come at once ask.
const FRESH: Duration = Duration::from_millis(100);

/// Names a file of a spool: 32 hexadecimal digits that rise with the time of its beginning.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FileId(Uuid);

impl FileId {
    fn new() -> Self {
        let now = unix_ms(SystemTime::now()).unsigned_abs();
        Self(Builder::from_unix_timestamp_millis(now, &rand::random()).into_uuid())
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    pub(crate) fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// When it was begun, in milliseconds since 1970, by the clock of that day.
    fn begun(&self) -> u64 {
        self.as_bytes()[..6].iter().fold(0, |time, &byte| time << 8 | u64::from(byte))
    }
}

impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.simple().fmt(f)
    }
}

impl fmt::Debug for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileId({self})")
    }
}

impl FromStr for FileId {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        let bad = || BadId { what: "file", text: text.to_owned() };
        // Only the form that is printed: it becomes a path.
        if text.len() != 32 || !text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(bad());
        }
        Uuid::try_parse(text).map(Self).map_err(|_| bad())
    }
}

impl TryFrom<String> for FileId {
    type Error = BadId;

    fn try_from(text: String) -> Result<Self, BadId> {
        text.parse()
    }
}

impl From<FileId> for String {
    fn from(id: FileId) -> Self {
        id.to_string()
    }
}

/// Where the bytes of a payload are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held {
    /// In a file. Whether it is there is not looked at.
    File(PathBuf),
    /// Here: they were few.
    Bytes(Bytes),
}

/// What was noted of a payload when it was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Noted {
    /// The payload.
    pub file: FileId,
    /// The note, as it was given to [`SealedFile::publish_with`].
    pub note: Vec<u8>,
}

/// A folder of payloads. Cheap to clone; clones share the folder.
#[derive(Debug, Clone)]
pub struct Spool {
    folder: Arc<Folder>,
    small: Option<Arc<Small>>,
    min_free: u64,
    /// When there was room the last time somebody looked.
    had_room: Arc<Mutex<Option<Instant>>>,
    /// Files begun later belong to this process: a sweep leaves them.
    opened: u64,
    /// Growing files that are synced at a time.
    turns: Arc<Semaphore>,
}

impl Spool {
    /// Opens the folder `dir`, creating it when absent, durably. Blocks.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it cannot be created, read or synced.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        Ok(Self::with_log(dir, Options::default(), &|_| false)?.0)
    }

    /// As [`Spool::open`]; answers also those notes of payloads from earlier processes that are `wanted`, also of payloads that were removed since.
    ///
    /// # Errors
    /// As [`Spool::open`].
    pub fn open_with_notes(dir: &Path, wanted: &dyn Fn(&[u8]) -> bool) -> Result<(Self, Vec<Noted>), Error> {
        Self::with_log(dir, Options::default(), wanted)
    }

    fn with_log(dir: &Path, options: Options, wanted: &dyn Fn(&[u8]) -> bool) -> Result<(Self, Vec<Noted>), Error> {
        let (spool, log) = (Self::of_files(dir)?, dir.join(LOG));
        create(&log)?;
        let mut files = HashSet::new();
        spool.each(|file, temporary| {
            if !temporary {
                files.insert(file);
            }
        })?;
        let (small, notes) = Small::open(&log, options, |file| files.contains(file), wanted)?;
        Ok((Self { small: Some(Arc::new(small)), ..spool }, notes))
    }

    /// Opens the folder `dir` as [`Spool::open`] does, for payloads that stay for years: each is a file of its own, however small. Blocks.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it cannot be created, read or synced.
    pub fn of_files(dir: &Path) -> Result<Self, Error> {
        create(dir)?;
        let folder = Folder::open(dir)?;
        let (opened, turns) = (unix_ms(SystemTime::now()).unsigned_abs(), Semaphore::new(growing::SIDE_BY_SIDE));
        let (folder, turns, had_room) = (Arc::new(folder), Arc::new(turns), Arc::default());
        Ok(Self { folder, small: None, min_free: 0, had_room, opened, turns })
    }

    /// The same spool, which takes nothing while the file system has less than so many bytes free.
    #[must_use]
    pub fn min_free(self, bytes: u64) -> Self {
        Self { min_free: bytes, had_room: Arc::default(), ..self }
    }

    /// Begins a file.
    ///
    /// # Errors
    /// [`Error::Full`] below the floor; [`Error::Unavailable`].
    pub fn begin(&self) -> Result<Partial, Error> {
        self.has_room()?;
        Ok(Partial::new(self.clone(), FileId::new()))
    }

    /// Whether there is room to take more, or was a moment ago.
    ///
    /// # Errors
    /// [`Error::Full`] below the floor; [`Error::Unavailable`].
    pub fn has_room(&self) -> Result<(), Error> {
        let mut had_room = self.had_room.lock().unwrap_or_else(PoisonError::into_inner);
        if self.min_free == 0 || had_room.is_some_and(|when| when.elapsed() < FRESH) {
            return Ok(());
        }
        *had_room = (self.free()? >= self.min_free).then(Instant::now);
        had_room.map(drop).ok_or(Error::Full)
    }

    /// Bytes that are free on the file system for who is not its owner.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub fn free(&self) -> Result<u64, Error> {
        let status = rustix::fs::statvfs(self.folder.path()).map_err(io::Error::from)?;
        Ok(status.f_bavail.saturating_mul(status.f_frsize))
    }

    /// The bytes of a payload, or the file that they are in.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when they cannot be read, or are not those that were written.
    pub async fn held(&self, file: &FileId) -> Result<Held, Error> {
        let Some(small) = &self.small else { return Ok(Held::File(self.path(file))) };
        let (small, wanted) = (small.clone(), file.clone());
        let read = tokio::task::spawn_blocking(move || small.read(&wanted));
        let bytes = read.await.map_err(|_| Error::Closed)?.map_err(Error::unavailable)?;
        Ok(bytes.map_or_else(|| Held::File(self.path(file)), Held::Bytes))
    }

    /// Where a payload is that is a file; in a spool [`of_files`](Spool::of_files) each is.
    pub fn path(&self, file: &FileId) -> PathBuf {
        self.folder.path().join(file.to_string())
    }

    /// Removes a payload, a moment later. What is absent is removed already; a failure is logged, and the next sweep
    /// tries again.
    pub fn remove(&self, file: &FileId) {
        if !self.small.as_ref().is_some_and(|small| small.remove(file)) {
            self.folder.remove_soon(self.path(file));
        }
    }

    /// Takes a payload of another spool on the same file system under the same id; the other one keeps its own until it is removed there.
    /// Durable when this returns. Doing it twice does no harm.
    ///
    /// # Errors
    /// [`Error::Unavailable`], also when `other` has no such payload.
    pub async fn adopt(&self, other: &Self, file: &FileId) -> Result<(), Error> {
        let from = match other.held(file).await? {
            Held::File(path) => path,
            Held::Bytes(bytes) => return self.write(file, bytes).await,
        };
        let (to, folder) = (self.path(file), self.folder.clone());
        let linked = tokio::task::spawn_blocking(move || {
            match std::fs::hard_link(&from, &to) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error.into()),
                _ => {}
            }
            folder.sync_soon()
        });
        linked.await.unwrap_or(Err(Error::Closed))?.durable().await
    }

    /// Writes bytes into a file of their own, over one of that name. Durable when this returns.
    async fn write(&self, file: &FileId, bytes: Bytes) -> Result<(), Error> {
        let (temporary, path, folder) = (self.temporary(file), self.path(file), self.folder.clone());
        let written = tokio::task::spawn_blocking(move || {
            let named = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary);
            let named = named.and_then(|mut handle| {
                handle.write_all(&bytes)?;
                handle.sync_data()?;
                std::fs::rename(&temporary, &path)
            });
            named.inspect_err(|_| unlink(&temporary))?;
            folder.sync_soon()
        });
        written.await.unwrap_or(Err(Error::Closed))?.durable().await
    }

    /// Small payloads that alone keep a segment of the log: to be asked now and then, for [`Spool::rehouse`].
    pub fn stragglers(&self) -> Vec<FileId> {
        self.small.iter().flat_map(|small| small.stragglers()).collect()
    }

    /// Moves small payloads into files of their own. Answers how many. What was noted of them goes.
    ///
    /// # Errors
    /// [`Error::Unavailable`]; nothing is lost then.
    pub async fn rehouse(&self, files: Vec<FileId>) -> Result<usize, Error> {
        let Some(small) = &self.small else { return Ok(0) };
        let mut moved = 0;
        for file in files {
            if let Held::Bytes(bytes) = self.held(&file).await? {
                self.write(&file, bytes).await?;
                // Removed while it moved: then the file goes too.
                if small.remove(&file) { moved += 1 } else { self.folder.remove_soon(self.path(&file)) }
            }
        }
        Ok(moved)
    }

    /// Removes the files of earlier processes that are not in `referenced`, temporary ones too. Answers how many. Blocks.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the folder cannot be read.
    pub fn sweep(&self, referenced: &HashSet<FileId>) -> Result<usize, Error> {
        let small = self.small.iter().flat_map(|small| small.files());
        let stale: Vec<FileId> =
            small.filter(|file| file.begun() < self.opened && !referenced.contains(file)).collect();
        stale.iter().for_each(|file| self.remove(file));
        Ok(stale.len() + self.clear(|file, temporary| temporary || !referenced.contains(file))?)
    }

    /// Removes the temporary files of earlier processes and nothing else. Answers how many. Blocks.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the folder cannot be read.
    pub fn sweep_partial(&self) -> Result<usize, Error> {
        self.clear(|_, temporary| temporary)
    }

    /// Every published payload. Blocks.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the folder cannot be read.
    pub fn files(&self) -> Result<Vec<FileId>, Error> {
        let mut files: Vec<FileId> = self.small.iter().flat_map(|small| small.files()).collect();
        self.each(|file, temporary| {
            if !temporary {
                files.push(file);
            }
        })?;
        Ok(files)
    }

    fn clear(&self, stale: impl Fn(&FileId, bool) -> bool) -> Result<usize, Error> {
        let mut removed = 0;
        self.each(|file, temporary| {
            if file.begun() < self.opened && stale(&file, temporary) {
                unlink(&if temporary { self.temporary(&file) } else { self.path(&file) });
                removed += 1;
            }
        })?;
        Ok(removed)
    }

    /// Names that are not ours are passed over.
    fn each(&self, mut each: impl FnMut(FileId, bool)) -> Result<(), Error> {
        for entry in std::fs::read_dir(self.folder.path())? {
            let name = entry?.file_name();
            let Some(name) = name.to_str() else { continue };
            let (id, temporary) = match name.strip_suffix(TEMPORARY) {
                Some(id) => (id, true),
                None => (name, false),
            };
            if let Ok(file) = id.parse() {
                each(file, temporary);
            }
        }
        Ok(())
    }

    fn temporary(&self, file: &FileId) -> PathBuf {
        self.folder.path().join(format!("{file}{TEMPORARY}"))
    }
}

fn unlink(path: &Path) {
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(file = %path.display(), %error, "a spool file could not be removed");
    }
}

/// A file that goes. Removing a large one takes its time: nobody waits for it, where there are threads for such things.
struct Doomed(PathBuf);

impl Doomed {
    fn go(self) {
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            // A runtime that is going away drops what it does not run: that removes the file just so.
            drop(runtime.spawn_blocking(move || drop(self)));
        }
    }
}

impl Drop for Doomed {
    fn drop(&mut self) {
        unlink(&self.0);
    }
}

/// Creates a folder and those above it, each made durable in the one above.
fn create(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let above = match dir.parent() {
        Some(above) if !above.as_os_str().is_empty() => above,
        _ => Path::new("."),
    };
    create(above)?;
    match std::fs::create_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    File::open(above)?.sync_all()
}

#[cfg(test)]
#[path = "spool/tests.rs"]
mod tests;

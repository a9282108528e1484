//! The spool: payload files, durable before anybody refers to them.
//!
//! ```text
//!   begin ──▶ Partial ──write…──▶ finish ──▶ SealedFile ──publish──▶ file under its own name ──remove──▶ gone
//!                                             it is whole               bytes and name are synced
//! ```
//!
//! The SHA-256 is computed as the bytes come. Small bodies (up to 256 KiB) stay in memory until they are published: created, written and synced
//! in one step. Larger ones are written piece by piece under a temporary name, never holding more than two pieces in memory. Bytes and name
//! are synced side by side, and syncs of the folder are shared by all who publish at the same time.
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

use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use uuid::{Builder, Uuid};

use crate::clock::unix_ms;
use crate::{BadId, Error};
use folder::Folder;

pub use growing::{Growing, Unfinished};
pub use partial::{Partial, SealedFile};

/// The end of a temporary file's name.
const TEMPORARY: &str = ".part";

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

/// A folder of payload files. Cheap to clone; clones share the folder.
#[derive(Debug, Clone)]
pub struct Spool {
    folder: Arc<Folder>,
    min_free: u64,
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
        create(dir)?;
        let folder = Folder::open(dir)?;
        let (opened, turns) = (unix_ms(SystemTime::now()).unsigned_abs(), Semaphore::new(growing::SIDE_BY_SIDE));
        Ok(Self { folder: Arc::new(folder), min_free: 0, opened, turns: Arc::new(turns) })
    }

    /// The same spool, which takes nothing while the file system has less than so many bytes free.
    #[must_use]
    pub fn min_free(self, bytes: u64) -> Self {
        Self { min_free: bytes, ..self }
    }

    /// Begins a file.
    ///
    /// # Errors
    /// [`Error::Full`] below the floor; [`Error::Unavailable`].
    pub fn begin(&self) -> Result<Partial, Error> {
        self.has_room()?;
        Ok(Partial::new(self.clone(), FileId::new()))
    }

    /// Whether there is room to take more.
    ///
    /// # Errors
    /// [`Error::Full`] below the floor; [`Error::Unavailable`].
    pub fn has_room(&self) -> Result<(), Error> {
        if self.min_free == 0 || self.free()? >= self.min_free { Ok(()) } else { Err(Error::Full) }
    }

    /// Bytes that are free on the file system for who is not its owner.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub fn free(&self) -> Result<u64, Error> {
        let status = rustix::fs::statvfs(self.folder.path()).map_err(io::Error::from)?;
        Ok(status.f_bavail.saturating_mul(status.f_frsize))
    }

    /// Where a file is.
    pub fn path(&self, file: &FileId) -> PathBuf {
        self.folder.path().join(file.to_string())
    }

    /// Removes a file, a moment later. What is absent is removed already; a failure is logged, and the next sweep
    /// tries again.
    pub fn remove(&self, file: &FileId) {
        self.folder.remove_soon(self.path(file));
    }

    /// Takes a file of another spool on the same file system under the same id; the other one keeps its own until it is removed there.
    /// Durable when this returns. Doing it twice does no harm.
    ///
    /// # Errors
    /// [`Error::Unavailable`], also when `other` has no such file.
    pub async fn adopt(&self, other: &Self, file: &FileId) -> Result<(), Error> {
        let (from, to, folder) = (other.path(file), self.path(file), self.folder.clone());
        let linked = tokio::task::spawn_blocking(move || {
            match std::fs::hard_link(&from, &to) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error.into()),
                _ => {}
            }
            folder.sync_soon()
        });
        linked.await.unwrap_or(Err(Error::Closed))?.durable().await
    }

    /// Removes the files of earlier processes that are not in `referenced`, temporary ones too. Answers how many. Blocks.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the folder cannot be read.
    pub fn sweep(&self, referenced: &HashSet<FileId>) -> Result<usize, Error> {
        self.clear(|file, temporary| temporary || !referenced.contains(file))
    }

    /// Removes the temporary files of earlier processes and nothing else. Answers how many. Blocks.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the folder cannot be read.
    pub fn sweep_partial(&self) -> Result<usize, Error> {
        self.clear(|_, temporary| temporary)
    }

    /// Every published file. Blocks.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the folder cannot be read.
    pub fn files(&self) -> Result<Vec<FileId>, Error> {
        let mut files = Vec::new();
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

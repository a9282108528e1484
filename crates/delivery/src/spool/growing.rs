//! A file that grows for as long as somebody speaks, and is safe all the while.
//!
//! ```text
//!   grow ──▶ Growing ──append… sync… (each second)──▶ finish ──▶ Unfinished ──(deposited)──remove──▶ gone
//!            what it is about is durable                         ▲
//!            before its first byte                               │ after a crash: Spool::unfinished()
//! ```
//!
//! Two files: `{id}.about`, what its owner says of it, and `{id}.grow`, the bytes so far. No sweep takes them: whoever grew a file takes what an
//! earlier process left, finishes it, and removes it. What that is, and whether it was finished before (for a process may die just before it
//! removes), is for the owner to know; here both are bytes.
//!
//! Appending touches memory only. A sync writes and syncs what was appended before it, on a thread for such things, a few files at a time.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::mem;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::{FileId, Spool, unlink};
use crate::Error;

/// The ends of the two names.
const ABOUT: &str = ".about";
const GROW: &str = ".grow";
/// Syncs at a time.
pub(super) const SIDE_BY_SIDE: usize = 16;

/// A file that grows. Dropping it leaves it, as a crash would: it is [`Spool::unfinished`] then.
#[derive(Debug)]
pub struct Growing {
    spool: Spool,
    file: FileId,
    about: Vec<u8>,
    handle: Option<File>,
    appended: Vec<u8>,
}

/// A file that has stopped growing.
#[derive(Debug)]
pub struct Unfinished {
    about: Vec<u8>,
    about_path: PathBuf,
    path: PathBuf,
}

impl Spool {
    /// Begins a file that grows. That it exists, and what it is about, is durable when this returns.
    ///
    /// # Errors
    /// [`Error::Full`] below the floor; [`Error::Unavailable`].
    pub async fn grow(&self, about: Vec<u8>) -> Result<Growing, Error> {
        let (spool, file) = (self.clone(), FileId::new());
        let begun = tokio::task::spawn_blocking(move || {
            spool.has_room()?;
            let handle = new(&spool.named(&file, GROW))?;
            let named = write_about(&spool, &file, &about).and_then(|()| spool.folder.sync_soon());
            match named {
                Ok(coming) => Ok((Growing { spool, file, about, handle: Some(handle), appended: Vec::new() }, coming)),
                Err(error) => {
                    forget(&spool.named(&file, ABOUT), &spool.named(&file, GROW));
                    Err(error)
                }
            }
        });
        let (growing, coming) = begun.await.unwrap_or(Err(Error::Closed))?;
        match coming.durable().await {
            Ok(()) => Ok(growing),
            Err(error) => {
                growing.ended().remove();
                Err(error)
            }
        }
    }

    /// What earlier processes left growing. Blocks. Call it once, before anything grows.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the folder, or what a file is about, cannot be read.
    pub fn unfinished(&self) -> Result<Vec<Unfinished>, Error> {
        let (mut found, mut nameless) = (Vec::new(), Vec::new());
        for entry in std::fs::read_dir(self.folder.path())? {
            let name = entry?.file_name();
            let Some(name) = name.to_str() else { continue };
            let named = |end: &str| name.strip_suffix(end).and_then(|id| id.parse::<FileId>().ok());
            if let Some(file) = named(ABOUT) {
                found.push(file);
            } else if let Some(file) = named(GROW) {
                nameless.push(file);
            }
        }
        // Of what was never said to exist, or was removed but for this.
        nameless.retain(|file| !found.contains(file) && file.begun() < self.opened);
        nameless.iter().for_each(|file| unlink(&self.named(file, GROW)));
        found.sort();
        found.into_iter().map(|file| self.left(&file)).collect()
    }

    fn left(&self, file: &FileId) -> Result<Unfinished, Error> {
        let about_path = self.named(file, ABOUT);
        Ok(Unfinished { about: std::fs::read(&about_path)?, about_path, path: self.named(file, GROW) })
    }

    fn named(&self, file: &FileId, end: &str) -> PathBuf {
        self.folder.path().join(format!("{file}{end}"))
    }
}

/// Whole or not at all: under a name that a sweep takes until it is synced.
fn write_about(spool: &Spool, file: &FileId, about: &[u8]) -> Result<(), Error> {
    let temporary = spool.temporary(file);
    let written = new(&temporary).and_then(|mut handle| {
        handle.write_all(about)?;
        handle.sync_data()?;
        std::fs::rename(&temporary, spool.named(file, ABOUT))
    });
    written.map_err(|error| {
        unlink(&temporary);
        error.into()
    })
}

fn new(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// First what says that it exists.
fn forget(about: &Path, path: &Path) {
    unlink(about);
    unlink(path);
}

impl Growing {
    /// Takes the bytes that follow. They are in memory until the next [`Growing::sync`].
    pub fn append(&mut self, bytes: &[u8]) {
        self.appended.extend_from_slice(bytes);
    }

    /// Makes durable what has been appended.
    ///
    /// # Errors
    /// [`Error::Full`] below the floor, [`Error::Unavailable`]: then the file takes nothing more, and what was appended since the last sync
    /// is lost, in whole or in part.
    pub async fn sync(&mut self) -> Result<(), Error> {
        if self.appended.is_empty() {
            return Ok(());
        }
        let mut handle = self.handle.take().ok_or_else(|| Error::unavailable(io::Error::other("it grows no more")))?;
        let (spool, appended) = (self.spool.clone(), mem::take(&mut self.appended));
        let turn = spool.turns.clone().acquire_owned().await;
        let synced = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            spool.has_room()?;
            handle.write_all(&appended)?;
            // Its length and the place of its bytes are made durable with them.
            handle.sync_data()?;
            Ok(handle)
        });
        self.handle = Some(synced.await.unwrap_or(Err(Error::Closed))?);
        Ok(())
    }

    /// Ends it. What was appended last is synced where that can be done; where it cannot, the error says so, and what was synced before is there.
    pub async fn finish(mut self) -> (Unfinished, Result<(), Error>) {
        let synced = self.sync().await;
        (self.ended(), synced)
    }

    fn ended(self) -> Unfinished {
        let Self { spool, file, about, .. } = self;
        Unfinished { about, about_path: spool.named(&file, ABOUT), path: spool.named(&file, GROW) }
    }
}

impl Unfinished {
    /// What its owner said of it when it began.
    pub fn about(&self) -> &[u8] {
        &self.about
    }

    /// Where its bytes are.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it: it has been deposited, or is not wanted. Not synced; after a power cut it may be there again. Blocks for a moment.
    pub fn remove(self) {
        forget(&self.about_path, &self.path);
    }
}

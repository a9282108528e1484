//! A file on its way into the spool.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::mem;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::task::JoinHandle;

use super::{Doomed, FileId, Spool, unlink};
use crate::Error;

/// Bytes that are gathered before they are written. A hundred files that come at once hold a hundred times twice as much.
const PIECE: usize = 256 << 10;

/// A file that is being received. Dropped, it leaves nothing behind.
#[derive(Debug)]
pub struct Partial {
    spool: Spool,
    file: FileId,
    length: u64,
    sha256: Sha256,
    gathered: Vec<Bytes>,
    /// Bytes in `gathered`.
    size: usize,
    step: Step,
}

/// What has been written, and where that happens now.
#[derive(Debug)]
enum Step {
    /// Nothing yet.
    Fresh,
    /// The file so far is being written on a blocking thread.
    Writing(JoinHandle<Result<Growing, Error>>),
    /// A step failed or was given up in the middle.
    Failed,
}

/// A file under a temporary name that grows.
#[derive(Debug)]
struct Growing {
    handle: File,
    name: Name,
}

/// The name of a file that goes unless somebody has said that it stays.
#[derive(Debug)]
struct Name {
    path: PathBuf,
    stays: bool,
}

impl Partial {
    pub(super) fn new(spool: Spool, file: FileId) -> Self {
        Self { spool, file, length: 0, sha256: Sha256::new(), gathered: Vec::new(), size: 0, step: Step::Fresh }
    }

    /// Takes the next bytes. Waits when the disk is slower than they come.
    ///
    /// # Errors
    /// [`Error::Full`] or [`Error::Unavailable`]; the file is given up then, as it is when this future is dropped.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.sha256.update(&bytes);
        self.length += bytes.len() as u64;
        self.size += bytes.len();
        self.gathered.push(bytes);
        if self.size < PIECE {
            return Ok(());
        }
        let growing = self.grown().await?;
        let (spool, file, gathered) = (self.spool.clone(), self.file.clone(), mem::take(&mut self.gathered));
        self.size = 0;
        self.step = Step::Writing(tokio::task::spawn_blocking(move || {
            spool.has_room()?;
            let growing = growing.map_or_else(|| Growing::create(spool.temporary(&file)), Ok)?;
            Ok(growing.append(&gathered)?)
        }));
        Ok(())
    }

    /// Ends the file. It is whole when this returns, and not yet durable: a large one has been written under a temporary name, a small one
    /// is still in memory.
    ///
    /// # Errors
    /// [`Error::Full`] or [`Error::Unavailable`]; the file is gone then.
    pub async fn finish(mut self) -> Result<SealedFile, Error> {
        let gathered = mem::take(&mut self.gathered);
        let content = match self.grown().await? {
            None => Content::Memory(gathered),
            Some(growing) => {
                let rest = tokio::task::spawn_blocking(move || Ok(growing.append(&gathered)?));
                Content::File(rest.await.unwrap_or(Err(Error::Closed))?)
            }
        };
        let Self { spool, file, length, sha256, .. } = self;
        Ok(SealedFile { spool, file, length, sha256: sha256.finalize().into(), content })
    }

    /// Waits until nothing is being written and takes over what has been.
    async fn grown(&mut self) -> Result<Option<Growing>, Error> {
        match mem::replace(&mut self.step, Step::Failed) {
            Step::Fresh => Ok(None),
            Step::Writing(step) => step.await.unwrap_or(Err(Error::Closed)).map(Some),
            Step::Failed => Err(Error::unavailable(io::Error::other("the file was given up before"))),
        }
    }
}

impl Growing {
    fn create(path: PathBuf) -> io::Result<Self> {
        let handle = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Self { handle, name: Name { path, stays: false } })
    }

    fn append(mut self, pieces: &[Bytes]) -> io::Result<Self> {
        for piece in pieces {
            self.handle.write_all(piece)?;
        }
        Ok(self)
    }

    fn rename(mut self, to: &Path) -> io::Result<Self> {
        std::fs::rename(&self.name.path, to)?;
        to.clone_into(&mut self.name.path);
        Ok(self)
    }
}

impl Name {
    /// Removes the file now.
    fn remove(mut self) {
        self.stays = true;
        unlink(&self.path);
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        if !self.stays {
            Doomed(mem::take(&mut self.path)).go();
        }
    }
}

/// A file that has been received whole. Dropped, it leaves nothing behind.
#[derive(Debug)]
pub struct SealedFile {
    spool: Spool,
    file: FileId,
    length: u64,
    sha256: [u8; 32],
    content: Content,
}

/// Where the bytes of a whole file are.
#[derive(Debug)]
enum Content {
    /// Nowhere else.
    Memory(Vec<Bytes>),
    /// In a file under a temporary name.
    File(Growing),
}

impl SealedFile {
    /// The name that it will have.
    pub fn file(&self) -> &FileId {
        &self.file
    }

    /// Its length in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The SHA-256 of its bytes.
    pub fn sha256(&self) -> &[u8; 32] {
        &self.sha256
    }

    /// Whether something can be noted of it: it is small, and goes into the log.
    pub fn takes_note(&self) -> bool {
        matches!(self.content, Content::Memory(_)) && self.spool.small.is_some()
    }

    /// Appends it to the log, or gives it its name and syncs both, bytes and name, at the same time. Durable when this returns.
    ///
    /// The name may stand before the bytes are durable: nobody refers to it before this returns.
    ///
    /// # Errors
    /// [`Error::Unavailable`]; the file is gone then.
    pub async fn publish(self) -> Result<FileId, Error> {
        self.publish_with(&[]).await
    }

    /// As [`SealedFile::publish`], with a note that is durable with the bytes, where it [takes one](SealedFile::takes_note): the next
    /// [`Spool::open_with_notes`] gives it back. Of the bytes it is forgotten where they move ([`Spool::rehouse`]), and some time after they were removed.
    ///
    /// # Errors
    /// As [`SealedFile::publish`].
    pub async fn publish_with(self, note: &[u8]) -> Result<FileId, Error> {
        let Self { spool, file, content, .. } = self;
        let content = match (content, &spool.small) {
            (Content::Memory(pieces), Some(small)) => return small.publish(&file, note, pieces).await.map(|()| file),
            (content, _) => content,
        };
        let path = spool.path(&file);
        let named = tokio::task::spawn_blocking(move || {
            let Growing { handle, name } = match content {
                Content::Memory(pieces) => Growing::create(path)?.append(&pieces)?,
                Content::File(growing) => growing.rename(&path)?,
            };
            let coming = spool.folder.sync_soon();
            // Length and place of the bytes are made durable with them; only times are left out.
            match coming.and_then(|coming| Ok(handle.sync_data().map(|()| coming)?)) {
                Ok(coming) => Ok((name, coming)),
                Err(error) => {
                    name.remove();
                    Err(error)
                }
            }
        });
        let (mut name, coming) = named.await.unwrap_or(Err(Error::Closed))?;
        if let Err(error) = coming.durable().await {
            name.remove();
            return Err(error);
        }
        name.stays = true;
        Ok(file)
    }
}

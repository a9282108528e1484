//! A file on its way into the spool.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use bytes::Bytes;
use md5::Md5;
use sha2::{Digest, Sha256};
use tokio::task::JoinHandle;

use super::{Doomed, FileId, Spool, unlink};
use crate::Error;

/// Bytes that are gathered before they are written.
const PIECE: usize = 1 << 20;

/// A file that is being received. Dropped, it leaves nothing behind.
#[derive(Debug)]
pub struct Partial {
    spool: Spool,
    file: FileId,
    gathered: Vec<Bytes>,
    size: usize,
    step: Step,
}

/// What has been written, and where that happens now.
#[derive(Debug)]
enum Step {
    /// Here: nothing is being written.
    Idle(Box<Ink>),
    /// On a blocking thread.
    Writing(JoinHandle<Result<Box<Ink>, Error>>),
    /// A step failed or was given up in the middle.
    Failed,
}

/// The state of a file that grows.
#[derive(Debug)]
struct Ink {
    temporary: Option<(File, Temporary)>,
    length: u64,
    sha256: Sha256,
    md5: Md5,
}

/// A file that goes unless somebody has said that it stays.
#[derive(Debug)]
struct Temporary {
    path: PathBuf,
    stays: bool,
}

impl Temporary {
    fn rename(&mut self, to: PathBuf) -> io::Result<()> {
        std::fs::rename(&self.path, &to)?;
        self.path = to;
        Ok(())
    }

    /// Removes it now.
    fn remove(mut self) {
        self.stays = true;
        unlink(&self.path);
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.stays {
            Doomed(std::mem::take(&mut self.path)).go();
        }
    }
}

impl Partial {
    pub(super) fn new(spool: Spool, file: FileId) -> Self {
        let ink = Ink { temporary: None, length: 0, sha256: Sha256::new(), md5: Md5::new() };
        Self { spool, file, gathered: Vec::new(), size: 0, step: Step::Idle(Box::new(ink)) }
    }

    /// Takes the next bytes. Waits when the disk is slower than they come.
    ///
    /// # Errors
    /// [`Error::Full`] or [`Error::Unavailable`]; the file is given up then, as it is when this future is dropped.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.size += bytes.len();
        self.gathered.push(bytes);
        if self.size < PIECE {
            return Ok(());
        }
        let mut ink = self.ink().await?;
        let (spool, file, gathered) = (self.spool.clone(), self.file.clone(), std::mem::take(&mut self.gathered));
        self.size = 0;
        self.step = Step::Writing(tokio::task::spawn_blocking(move || {
            spool.has_room()?;
            ink.temporary = Some(ink.put(&spool, &file, &gathered)?);
            Ok(ink)
        }));
        Ok(())
    }

    /// Writes what is left. The file is whole when this returns, under a temporary name, and not yet durable.
    ///
    /// # Errors
    /// [`Error::Full`] or [`Error::Unavailable`]; the file is gone then.
    pub async fn finish(mut self) -> Result<SealedFile, Error> {
        let mut ink = self.ink().await?;
        let (spool, file, gathered) = (self.spool.clone(), self.file.clone(), std::mem::take(&mut self.gathered));
        let sealed = tokio::task::spawn_blocking(move || {
            let (handle, temporary) = ink.put(&spool, &file, &gathered)?;
            let (length, sha256, md5) = (ink.length, ink.sha256.finalize().into(), ink.md5.finalize().into());
            Ok(SealedFile { spool, file, length, sha256, md5, handle, temporary })
        });
        sealed.await.unwrap_or(Err(Error::Closed))
    }

    /// Waits until nothing is being written and takes over.
    async fn ink(&mut self) -> Result<Box<Ink>, Error> {
        match std::mem::replace(&mut self.step, Step::Failed) {
            Step::Idle(ink) => Ok(ink),
            Step::Writing(step) => step.await.unwrap_or(Err(Error::Closed)),
            Step::Failed => Err(Error::unavailable(io::Error::other("the file was given up before"))),
        }
    }
}

impl Ink {
    /// Writes these pieces at the end of the file, which is created when there is none yet.
    fn put(&mut self, spool: &Spool, file: &FileId, pieces: &[Bytes]) -> io::Result<(File, Temporary)> {
        let (mut handle, temporary) = match self.temporary.take() {
            Some(open) => open,
            None => {
                let path = spool.temporary(file);
                let handle = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
                (handle, Temporary { path, stays: false })
            }
        };
        for piece in pieces {
            handle.write_all(piece)?;
            self.length += piece.len() as u64;
            self.sha256.update(piece);
            self.md5.update(piece);
        }
        Ok((handle, temporary))
    }
}

/// A file that has been received whole under a temporary name. Dropped, it leaves nothing behind.
#[derive(Debug)]
pub struct SealedFile {
    spool: Spool,
    file: FileId,
    length: u64,
    sha256: [u8; 32],
    md5: [u8; 16],
    handle: File,
    temporary: Temporary,
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

    /// The MD5 of its bytes.
    pub fn md5(&self) -> &[u8; 16] {
        &self.md5
    }

    /// Gives it its name and syncs both, bytes and name, at the same time. Durable when this returns.
    ///
    /// The name may stand before the bytes are durable: nobody refers to it before this returns.
    ///
    /// # Errors
    /// [`Error::Unavailable`]; the file is gone then.
    pub async fn publish(self) -> Result<FileId, Error> {
        let Self { spool, file, handle, mut temporary, .. } = self;
        let to = spool.path(&file);
        let step = tokio::task::spawn_blocking(move || {
            let synced = temporary.rename(to).map_err(Error::from).and_then(|()| {
                let name = spool.folder.sync_soon()?;
                // Length and place of the bytes are made durable with them; only times are left out.
                handle.sync_data()?;
                Ok(name)
            });
            match synced {
                Ok(name) => Ok((temporary, name)),
                Err(error) => {
                    temporary.remove();
                    Err(error)
                }
            }
        });
        let (mut named, name) = step.await.unwrap_or(Err(Error::Closed))?;
        if let Err(error) = name.durable().await {
            named.remove();
            return Err(error);
        }
        named.stays = true;
        Ok(file)
    }
}

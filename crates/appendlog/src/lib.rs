//! A log of small records: appended to one file after another, one fsync for all that come at the same time.
//!
//! A file of its own for each small payload costs an inode, a name and two fsyncs. Here a record costs its bytes and a share of one fsync:
//!
//! ```text
//!   append ──▶ a queue ──▶ one write, one fdatasync for the group ──▶ Place ──read…──▶ release
//!                          in one of a few segments                   durable          the segment goes with its last record
//! ```
//!
//! A record is a *head*, which is given back at the next opening, and a *body*, which is read when somebody wants it. What it promises:
//!
//! 1. **An answered append is durable**, and is found by the next [`AppendLog::open`] unless it was released.
//! 2. **A failed write or fsync is never tried again on the same file.** The group is answered with the error, and the next one begins a new
//!    segment. So what was refused may turn up at the next opening, as with any lost answer.
//! 3. **Releases are not written.** A segment's file is removed when all its records are released and it takes no more (when it is full, or when nothing
//!    comes for a second and less than a quarter of it is held); until then, and when a
//!    removal is undone by a power cut, the next opening finds released records again. Whoever opens a log knows which of them are still wanted.
//! 4. **A segment is never appended to by a later process**, so nothing comes after a torn end.
//!
//! With [`Options::reuse`] a segment of which all is released is kept and written over later, past the page cache: the file system has no blocks to find
//! for it and no length to note with each sync, and a group costs a third of the time and a fourth of the processor. What was in it lies on the disk until then, though no
//! opening finds it: so this is for bodies that are sealed.
//!
//! A segment begins with a random salt that goes into all checksums: bytes that somebody else chose, inside of a body, are never taken for a record.
//! Where a record in the middle cannot be read, what stands behind it is looked for and found.
//!
//! This crate knows bytes. What they mean, and when they may go, is its callers' affair.

mod error;
mod frame;
mod segments;
mod writer;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;

pub use error::Error;
pub use segments::Usage;

use segments::Segments;
use writer::{Entry, Writer};

/// The most bytes of a head, and of a body.
pub const LONGEST: usize = 16 << 20;

/// How a log writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Threads that write, each to a segment of its own.
    pub writers: usize,
    /// Segments of which nothing is held are written over, past the page cache, instead of being removed: four of them are kept, of some 32 MiB.
    pub reuse: bool,
}

impl Default for Options {
    /// Four threads, and nothing of what was released stays.
    fn default() -> Self {
        Self { writers: 4, reuse: false }
    }
}

/// Where a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place {
    segment: u64,
    /// Where its head begins.
    at: u64,
    head: u32,
    body: u32,
    /// The checksum of the body.
    sum: u32,
}

impl Place {
    /// Bytes of the body.
    pub fn length(&self) -> u64 {
        self.body.into()
    }

    /// Its segment; a later one has a higher number.
    pub fn segment(&self) -> u64 {
        self.segment
    }

    /// Where it begins.
    fn start(&self) -> u64 {
        self.at - frame::HEADER as u64
    }

    /// Where it ends.
    fn end(&self) -> u64 {
        self.at + u64::from(self.head) + u64::from(self.body)
    }

    /// All bytes that it takes.
    fn weight(&self) -> u64 {
        frame::HEADER as u64 + u64::from(self.head) + u64::from(self.body)
    }
}

/// A record that an earlier process left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where it is.
    pub place: Place,
    /// What was said of it.
    pub head: Vec<u8>,
}

/// A log in a folder of its own. Cheap to clone; clones share it.
///
/// When the last clone goes, it waits until what was queued is written and what was removed is gone. One `AppendLog` a folder.
#[derive(Clone)]
pub struct AppendLog {
    shared: Arc<Shared>,
}

struct Shared {
    writer: Writer,
    segments: Arc<Segments>,
}

impl AppendLog {
    /// Opens the log in the folder `dir`, which exists; answers what is in it, by segments and in each oldest first. Reads all heads, and of bodies
    /// those alone of which a power cut may have left a part. Blocks.
    ///
    /// # Errors
    /// [`Error::Io`] when the folder or a segment cannot be read.
    pub fn open(dir: &Path, options: Options) -> Result<(Self, Vec<Found>), Error> {
        let mut found = Vec::new();
        let log = Self::open_each(dir, options, |record| found.push(record))?;
        Ok((log, found))
    }

    /// As [`AppendLog::open`], for who keeps little of what is `found`.
    ///
    /// # Errors
    /// As [`AppendLog::open`].
    pub fn open_each(dir: &Path, options: Options, mut found: impl FnMut(Found)) -> Result<Self, Error> {
        let segments = Arc::new(Segments::open(dir, options.reuse)?);
        for number in segments.numbers()? {
            segments.adopt(number, &mut found)?;
        }
        let writer = Writer::start(&segments, options)?;
        Ok(Self { shared: Arc::new(Shared { writer, segments }) })
    }

    /// Appends a record. Durable when the future is done; dropped before, the record may turn up at the next opening.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::Io`], [`Error::Closed`].
    pub fn append(&self, head: Vec<u8>, body: Vec<Bytes>) -> impl Future<Output = Result<Place, Error>> + Send + use<> {
        let length: usize = body.iter().map(Bytes::len).sum();
        let queued = if head.len() > LONGEST || length > LONGEST {
            Err(Error::TooLarge(head.len().max(length)))
        } else {
            let (answer, answered) = oneshot::channel();
            self.shared.writer.send(Entry { head, body, answer });
            Ok(answered)
        };
        async move { queued?.await.unwrap_or(Err(Error::Closed)) }
    }

    /// Reads a record's body. Blocks for one read.
    ///
    /// # Errors
    /// Of kind `InvalidData` when the bytes are not those that were written, `NotFound` when the record was released and is gone.
    pub fn read(&self, place: &Place) -> io::Result<Bytes> {
        self.shared.segments.read(place)
    }

    /// The file that a record is in: for messages, and for tests that break it.
    pub fn path(&self, place: &Place) -> PathBuf {
        self.shared.segments.path(place.segment)
    }

    /// Lets a record go. Its segment is removed a moment after the last one went.
    pub fn release(&self, place: &Place) {
        self.shared.segments.release(place);
    }

    /// Segments that take no more and of whose bytes less than a quarter is still held, oldest first: their last records may be moved elsewhere, so
    /// that a few do not keep a whole file.
    pub fn sparse(&self) -> Vec<u64> {
        self.shared.segments.sparse()
    }

    /// What is held, and what it takes.
    pub fn usage(&self) -> Usage {
        self.shared.segments.usage()
    }
}

impl fmt::Debug for AppendLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppendLog").field("usage", &self.usage()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

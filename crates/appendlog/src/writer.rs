//! The writer thread: it takes what waits, writes it in one piece, syncs, answers. It never answers before the sync, and never writes again to a file
//! that refused a write or a sync.

use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::frame::{BEGINNING, HEADER, Salt};
use crate::segments::Segments;
use crate::{Error, Place};

/// Bytes after which the next segment begins.
const SEGMENT: u64 = 32 << 20;
/// The most records and bytes of one group.
const GROUP: (usize, usize) = (256, 8 << 20);
/// How long a group waits for company when the last one had some.
const PATIENCE: Duration = Duration::from_micros(300);
/// How long nothing comes before a segment of which little is held takes no more: what was released shall not lie there until others have filled it.
const IDLE: Duration = Duration::from_secs(1);

/// A record that waits.
pub(crate) struct Entry {
    pub(crate) head: Vec<u8>,
    pub(crate) body: Vec<Bytes>,
    pub(crate) answer: oneshot::Sender<Result<Place, Error>>,
}

impl Entry {
    fn length(&self) -> usize {
        HEADER + self.head.len() + self.body.iter().map(Bytes::len).sum::<usize>()
    }
}

/// The thread, and the way to it.
pub(crate) struct Writer {
    /// Taken at the end: then the thread ends too.
    queue: Option<mpsc::Sender<Entry>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(crate) fn start(segments: Arc<Segments>) -> io::Result<Self> {
        let (queue, entries) = mpsc::channel();
        let thread = std::thread::Builder::new().name("log".into()).spawn(move || {
            let mut appender = Appender { segments, active: None };
            let mut company = false;
            loop {
                let group = match appender.active {
                    Some(_) => entries.recv_timeout(IDLE),
                    None => entries.recv().map_err(|_| RecvTimeoutError::Disconnected),
                };
                match group.map(|first| gather(first, &entries, company)) {
                    Ok(group) => {
                        company = group.len() > 1;
                        appender.process(group);
                    }
                    Err(RecvTimeoutError::Timeout) => appender.rest(),
                    Err(RecvTimeoutError::Disconnected) => break,
                }
            }
            appender.seal();
        })?;
        Ok(Self { queue: Some(queue), thread: Some(thread) })
    }

    pub(crate) fn send(&self, entry: Entry) -> Result<(), Error> {
        self.queue.as_ref().and_then(|queue| queue.send(entry).ok()).ok_or(Error::Closed)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue.take();
        // One that panicked has said so.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Those that wait beside the first one.
fn gather(first: Entry, entries: &Receiver<Entry>, company: bool) -> Vec<Entry> {
    let mut length = first.length();
    let mut group = vec![first];
    let deadline = Instant::now() + if company { PATIENCE } else { Duration::ZERO };
    while group.len() < GROUP.0 && length < GROUP.1 {
        let Ok(entry) = entries.recv_timeout(deadline.saturating_duration_since(Instant::now())) else { break };
        length += entry.length();
        group.push(entry);
    }
    group
}

struct Appender {
    segments: Arc<Segments>,
    active: Option<Active>,
}

/// The segment that is written to.
struct Active {
    number: u64,
    file: File,
    salt: Salt,
    length: u64,
}

impl Appender {
    fn process(&mut self, group: Vec<Entry>) {
        match self.write(&group) {
            Ok(places) => {
                for (entry, place) in group.into_iter().zip(places) {
                    // Who asked for it is gone: nobody would ever release it.
                    if entry.answer.send(Ok(place)).is_err() {
                        self.segments.release(&place);
                    }
                }
            }
            Err(error) => {
                tracing::error!(%error, "a log could not be written; its next records go to another file");
                self.seal();
                let error = Error::from(error);
                for entry in group {
                    // Whoever asked may be gone.
                    let _ = entry.answer.send(Err(error.clone()));
                }
            }
        }
    }

    fn write(&mut self, group: &[Entry]) -> io::Result<Vec<Place>> {
        if self.active.as_ref().is_some_and(|active| active.length >= SEGMENT) {
            self.seal();
        }
        let active = match &mut self.active {
            Some(active) => active,
            none => {
                let (number, file, salt) = self.segments.begin()?;
                none.insert(Active { number, file, salt, length: 0 })
            }
        };
        let places = active.append(group)?;
        self.segments.hold(active.number, &places);
        Ok(places)
    }

    /// Nothing comes for now.
    fn rest(&mut self) {
        if self.active.as_ref().is_some_and(|active| self.segments.is_sparse(active.number)) {
            self.seal();
        }
    }

    fn seal(&mut self) {
        if let Some(active) = self.active.take() {
            self.segments.seal(active.number);
        }
    }
}

impl Active {
    fn append(&mut self, group: &[Entry]) -> io::Result<Vec<Place>> {
        let beginning = self.salt.beginning();
        let mut at = self.length;
        let (mut places, mut headers) = (Vec::with_capacity(group.len()), Vec::with_capacity(group.len()));
        at += if at == 0 { BEGINNING as u64 } else { 0 };
        for entry in group {
            let (header, bytes) = self.salt.header(&entry.head, &entry.body);
            let place = Place {
                segment: self.number,
                at: at + HEADER as u64,
                head: header.head,
                body: header.body,
                sum: header.sum,
            };
            at += entry.length() as u64;
            places.push(place);
            headers.push(bytes);
        }
        let mut pieces = Vec::with_capacity(1 + group.len() * 4);
        if self.length == 0 {
            pieces.push(IoSlice::new(&beginning));
        }
        for (entry, header) in group.iter().zip(&headers) {
            pieces.push(IoSlice::new(header));
            pieces.push(IoSlice::new(&entry.head));
            pieces.extend(entry.body.iter().map(|piece| IoSlice::new(piece)));
        }
        write_all(&mut self.file, &mut pieces)?;
        self.file.sync_data()?;
        self.length = at;
        Ok(places)
    }
}

/// Writes all pieces, in as few calls as the system takes.
fn write_all(file: &mut File, mut pieces: &mut [IoSlice<'_>]) -> io::Result<()> {
    // Empty ones at the front would look like a file that takes nothing.
    IoSlice::advance_slices(&mut pieces, 0);
    while !pieces.is_empty() {
        match file.write_vectored(pieces) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut pieces, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

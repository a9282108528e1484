//! The writer threads: each takes what waits, writes it in one piece to a segment of its own, syncs, answers. None answers before the sync, and none writes
//! again to a file that refused a write or a sync.
//!
//! Into a segment whose groups lie in blocks of their own, they write past the page cache: a group is gathered in memory that begins where a page does.
//!
//! Several, because a disk that has one sync to do at a time does each at its leisure: with two in flight, each takes a fraction of what one takes alone.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use rustix::fs::OFlags;
use tokio::sync::oneshot;

use crate::frame::{BEGINNING, BLOCK, Form, HEADER, Salt};
use crate::segments::Segments;
use crate::{Error, Options, Place};

/// Bytes after which the next segment begins.
const SEGMENT: u64 = 32 << 20;
/// The most records and bytes of one group.
const GROUP: (usize, usize) = (256, 8 << 20);
/// Records, and bytes, that are company enough: a group of them is written while another one is. Each sync takes its share of the processor, however
/// little it makes durable.
const COMPANY: (usize, usize) = (8, 512 << 10);
/// How long fewer wait for company while others write.
const PATIENCE: Duration = Duration::from_micros(500);
/// How long nothing comes before a segment of which little is held takes no more: what was released shall not lie there until others have filled it.
const IDLE: Duration = Duration::from_secs(1);
/// What memory begins at that is written past the page cache.
const PAGE: usize = BLOCK as usize;

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

/// What waits for the threads.
#[derive(Default)]
struct Queue {
    state: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    entries: VecDeque<Entry>,
    /// Bytes of them.
    length: usize,
    /// Threads that write.
    writing: usize,
    closed: bool,
}

/// What a thread is to do.
enum Task {
    Write(Vec<Entry>),
    /// Nothing came for a while.
    Rest,
    End,
}

impl Queue {
    /// Waits for work; only a thread that `may_rest` gets tired of waiting.
    fn next(&self, may_rest: bool) -> Task {
        let (mut state, mut patient) = (self.state(), true);
        loop {
            if !state.entries.is_empty() {
                if state.writing == 0 || !patient || state.is_company() || state.closed {
                    state.writing += 1;
                    let group = state.group();
                    if !state.entries.is_empty() {
                        self.changed.notify_one();
                    }
                    return Task::Write(group);
                }
                let (woken, waited) =
                    self.changed.wait_timeout(state, PATIENCE).unwrap_or_else(PoisonError::into_inner);
                (state, patient) = (woken, !waited.timed_out());
                continue;
            }
            if state.closed {
                return Task::End;
            }
            patient = true;
            if may_rest {
                let (woken, waited) = self.changed.wait_timeout(state, IDLE).unwrap_or_else(PoisonError::into_inner);
                state = woken;
                if waited.timed_out() && state.entries.is_empty() && !state.closed {
                    return Task::Rest;
                }
            } else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// A group was written.
    fn written(&self) {
        self.state().writing -= 1;
    }

    fn send(&self, entry: Entry) {
        let mut state = self.state();
        let was = (state.entries.is_empty(), state.is_company());
        state.length += entry.length();
        state.entries.push_back(entry);
        // Whoever waits for company need not hear of each.
        if was != (false, state.is_company()) {
            self.changed.notify_one();
        }
    }

    fn state(&self) -> MutexGuard<'_, Waiting> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn is_company(&self) -> bool {
        self.entries.len() >= COMPANY.0 || self.length >= COMPANY.1
    }

    fn group(&mut self) -> Vec<Entry> {
        let (mut group, mut length) = (Vec::new(), 0);
        while group.len() < GROUP.0 && length < GROUP.1 {
            let Some(entry) = self.entries.pop_front() else { break };
            length += entry.length();
            group.push(entry);
        }
        self.length -= length;
        group
    }
}

/// The threads, and the way to them.
pub(crate) struct Writer {
    queue: Arc<Queue>,
    threads: Vec<JoinHandle<()>>,
}

impl Writer {
    pub(crate) fn start(segments: &Arc<Segments>, options: Options) -> io::Result<Self> {
        // Those that run end when this is dropped, also when another cannot be started.
        let mut writer = Self { queue: Arc::default(), threads: Vec::new() };
        for _ in 0..options.writers {
            let queue = writer.queue.clone();
            let mut appender = Appender { segments: segments.clone(), active: None, sheet: Sheet::default() };
            let run = move || {
                loop {
                    match queue.next(appender.active.is_some()) {
                        Task::Write(group) => {
                            appender.process(group);
                            queue.written();
                        }
                        Task::Rest => appender.rest(),
                        Task::End => break,
                    }
                }
                appender.seal();
            };
            writer.threads.push(std::thread::Builder::new().name("log".into()).spawn(run)?);
        }
        Ok(writer)
    }

    pub(crate) fn send(&self, entry: Entry) {
        self.queue.send(entry);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue.state().closed = true;
        self.queue.changed.notify_all();
        for thread in self.threads.drain(..) {
            // One that panicked has said so.
            let _ = thread.join();
        }
    }
}

struct Appender {
    segments: Arc<Segments>,
    active: Option<Active>,
    sheet: Sheet,
}

/// The segment that is written to.
struct Active {
    number: u64,
    file: File,
    salt: Salt,
    /// Where the next group begins.
    length: u64,
}

/// A group in memory, beginning where a page does: what is written past the page cache has to.
#[derive(Default)]
struct Sheet {
    bytes: Vec<u8>,
    start: usize,
}

impl Sheet {
    /// What is kept of it when a group had more.
    const KEPT: usize = 1 << 20;

    /// An empty one, with room for so many bytes.
    fn clear(&mut self, room: usize) {
        self.bytes.clear();
        if self.bytes.capacity() < room + PAGE || self.bytes.capacity() > Self::KEPT.max(room + PAGE) {
            self.bytes = Vec::with_capacity(room + PAGE);
        }
        self.start = self.bytes.as_ptr().addr().wrapping_neg() % PAGE;
        self.bytes.resize(self.start, 0);
    }

    fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// All of it, and zeros behind it up to a length.
    fn padded(&mut self, length: usize) -> &[u8] {
        self.bytes.resize(self.start + length, 0);
        &self.bytes[self.start..]
    }
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
        let places = active.append(group, self.segments.form(), &mut self.sheet)?;
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
    fn append(&mut self, group: &[Entry], form: Form, sheet: &mut Sheet) -> io::Result<Vec<Place>> {
        let beginning = self.salt.beginning(form);
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
        let next = form.next_group(at);
        let beginning: &[u8] = if self.length == 0 { &beginning } else { &[] };
        let records = group.iter().zip(&headers).flat_map(|(entry, header)| {
            let body = entry.body.iter().map(|piece| &**piece);
            [&header[..], &entry.head].into_iter().chain(body)
        });
        let pieces = std::iter::once(beginning).chain(records);
        match form {
            Form::Dense => write_all(&mut self.file, &mut pieces.map(IoSlice::new).collect::<Vec<_>>())?,
            Form::Blocks => {
                let length = usize::try_from(next - self.length).map_err(|_| io::ErrorKind::OutOfMemory)?;
                sheet.clear(length);
                pieces.for_each(|piece| sheet.put(piece));
                write_at(&self.file, sheet.padded(length), self.length)?;
            }
        }
        self.file.sync_data()?;
        self.length = next;
        Ok(places)
    }
}

/// Writes whole pages, past the page cache where that can be.
fn write_at(file: &File, pages: &[u8], at: u64) -> io::Result<()> {
    match file.write_all_at(pages, at) {
        // Nothing was tried: a disk with larger blocks, or a file system that minds.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            rustix::fs::fcntl_setfl(file, OFlags::empty())?;
            file.write_all_at(pages, at)
        }
        written => written,
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

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::os::unix::fs::OpenOptionsExt;

    use super::*;

    #[test]
    fn what_cannot_be_written_past_the_cache_goes_through_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).custom_flags(OFlags::DIRECT.bits().cast_signed()).open(&path);
        let mut sheet = Sheet::default();
        sheet.clear(2 * PAGE);
        sheet.put(b"odd");
        // Neither is where it has to be, nor as long.
        write_at(&file.unwrap(), &sheet.padded(PAGE)[1..], 7).unwrap();
        let written = std::fs::read(&path).unwrap();
        assert_eq!((written.len(), &written[..10]), (PAGE + 6, &b"\0\0\0\0\0\0\0dd\0"[..]));
    }

    #[test]
    fn a_sheet_begins_with_a_page_however_often_it_is_used() {
        let mut sheet = Sheet::default();
        for length in [0, 1, PAGE, 3 << 20, 5, 100_000] {
            sheet.clear(length);
            sheet.put(&vec![7; length]);
            let padded = sheet.padded(length.next_multiple_of(PAGE));
            assert_eq!(padded.as_ptr().addr() % PAGE, 0);
            assert!(padded[..length].iter().all(|byte| *byte == 7) && padded[length..].iter().all(|byte| *byte == 0));
        }
        assert!(sheet.bytes.capacity() <= Sheet::KEPT, "what a large group took was given back");
    }
}

//! The writer threads: each takes what waits, writes it in one piece to a segment of its own, syncs, answers. None answers before the sync, and none writes
//! again to a file that refused a write or a sync.
//!
//! Several, because a disk that has one sync to do at a time does each at its leisure: with two in flight, each takes a fraction of what one takes alone.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::frame::{BEGINNING, HEADER, Salt};
use crate::segments::Segments;
use crate::{Error, Place};

/// Bytes after which the next segment begins.
const SEGMENT: u64 = 32 << 20;
/// The most records and bytes of one group.
const GROUP: (usize, usize) = (256, 8 << 20);
/// How many threads write, where nobody says otherwise.
pub const SIDE_BY_SIDE: usize = 4;
/// Records, and bytes, that are company enough: a group of them is written while another one is. Each sync takes its share of the processor, however
/// little it makes durable.
const COMPANY: (usize, usize) = (8, 512 << 10);
/// How long fewer wait for company while others write.
const PATIENCE: Duration = Duration::from_micros(500);
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
    pub(crate) fn start(segments: &Arc<Segments>, threads: usize) -> io::Result<Self> {
        // Those that run end when this is dropped, also when another cannot be started.
        let mut writer = Self { queue: Arc::default(), threads: Vec::new() };
        for _ in 0..threads {
            let (queue, mut appender) = (writer.queue.clone(), Appender { segments: segments.clone(), active: None });
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

//! The segments: files by number, and what of each is still held.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;

use bytes::Bytes;
use memchr::memmem;

use crate::frame::{BEGINNING, HEADER, Header, MAGIC, Salt};
use crate::{Found, Place};

/// The end of a segment's name; before it stands its number in sixteen hexadecimal digits.
const END: &str = ".log";
/// Bytes that are searched at a time where a record cannot be read.
const SEARCHED: usize = 1 << 20;

/// What a log holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Records that were not released.
    pub records: u64,
    /// Their bytes.
    pub held: u64,
    /// The bytes of all segments.
    pub taken: u64,
    /// Segments.
    pub segments: usize,
}

#[derive(Debug)]
pub(crate) struct Segments {
    folder: PathBuf,
    handle: File,
    table: Mutex<BTreeMap<u64, Segment>>,
    /// The number of the next segment: none is used twice, for the file of an earlier one may be on its way out.
    next: AtomicU64,
    remover: Remover,
}

/// Removes files on a thread of its own: a large one takes its time, which no record shall wait for.
#[derive(Debug)]
struct Remover {
    doomed: Option<mpsc::Sender<PathBuf>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Clone, Copy)]
struct Segment {
    salt: Option<Salt>,
    /// Takes no more.
    sealed: bool,
    records: u64,
    held: u64,
    taken: u64,
}

impl Segment {
    fn is_sparse(&self) -> bool {
        self.held < self.taken / 4
    }
}

impl Segments {
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        let handle = File::open(folder)?;
        let remover = Remover::start()?;
        Ok(Self { folder: folder.to_owned(), handle, table: Mutex::default(), next: AtomicU64::new(1), remover })
    }

    pub(crate) fn path(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{number:016x}{END}"))
    }

    /// The numbers of the files that are there. Names that are not ours are passed over.
    pub(crate) fn numbers(&self) -> io::Result<Vec<u64>> {
        let mut numbers = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            let name = entry?.file_name();
            let digits = name.to_str().and_then(|name| name.strip_suffix(END)).filter(|digits| digits.len() == 16);
            numbers.extend(digits.and_then(|digits| u64::from_str_radix(digits, 16).ok()));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Begins a segment: its name is durable when this returns, its first bytes are for the first group to write.
    pub(crate) fn begin(&self) -> io::Result<(u64, File, Salt)> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let path = self.path(number);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        let salt = Salt::new();
        if let Err(error) = self.handle.sync_all() {
            unlink(&path);
            return Err(error);
        }
        self.table().insert(number, Segment { salt: Some(salt), sealed: false, records: 0, held: 0, taken: 0 });
        Ok((number, file, salt))
    }

    /// Notes what a group has added.
    pub(crate) fn hold(&self, number: u64, places: &[Place]) {
        if let Some(segment) = self.table().get_mut(&number) {
            for place in places {
                segment.records += 1;
                segment.held += place.weight();
                segment.taken = segment.taken.max(place.at + u64::from(place.head) + u64::from(place.body));
            }
        }
    }

    /// Takes on a segment of an earlier process. One with nothing in it goes.
    pub(crate) fn adopt(&self, number: u64, salt: Option<Salt>, places: &[Place]) {
        self.next.fetch_max(number + 1, Ordering::Relaxed);
        self.table().insert(number, Segment { salt, sealed: false, records: 0, held: 0, taken: 0 });
        self.hold(number, places);
        self.seal(number);
    }

    /// A segment takes no more.
    pub(crate) fn seal(&self, number: u64) {
        let mut table = self.table();
        if let Some(segment) = table.get_mut(&number) {
            segment.sealed = true;
        }
        self.remove_empty(&mut table, number);
    }

    pub(crate) fn release(&self, place: &Place) {
        let mut table = self.table();
        if let Some(segment) = table.get_mut(&place.segment) {
            segment.records = segment.records.saturating_sub(1);
            segment.held = segment.held.saturating_sub(place.weight());
        }
        self.remove_empty(&mut table, place.segment);
    }

    fn remove_empty(&self, table: &mut BTreeMap<u64, Segment>, number: u64) {
        if table.get(&number).is_some_and(|segment| segment.sealed && segment.records == 0) {
            table.remove(&number);
            self.remover.remove(self.path(number));
        }
    }

    pub(crate) fn sparse(&self) -> Vec<u64> {
        let table = self.table();
        let sparse = table.iter().filter(|(_, segment)| segment.sealed && segment.is_sparse());
        sparse.map(|(&number, _)| number).collect()
    }

    pub(crate) fn is_sparse(&self, number: u64) -> bool {
        self.table().get(&number).is_some_and(Segment::is_sparse)
    }

    pub(crate) fn usage(&self) -> Usage {
        let table = self.table();
        table.values().fold(Usage { segments: table.len(), ..Usage::default() }, |usage, segment| Usage {
            records: usage.records + segment.records,
            held: usage.held + segment.held,
            taken: usage.taken + segment.taken,
            ..usage
        })
    }

    pub(crate) fn read(&self, place: &Place) -> io::Result<Bytes> {
        let salt = self.table().get(&place.segment).and_then(|segment| segment.salt);
        let salt = salt.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let mut body = vec![0; place.body as usize];
        File::open(self.path(place.segment))?.read_exact_at(&mut body, place.at + u64::from(place.head))?;
        if salt.sum([&*body]) == place.sum {
            return Ok(body.into());
        }
        let text =
            format!("the bytes at {} in segment {:016x} are not those that were written", place.at, place.segment);
        Err(io::Error::new(io::ErrorKind::InvalidData, text))
    }

    /// The salt of a segment and its whole records, in their order.
    pub(crate) fn scan(&self, number: u64, mut found: impl FnMut(Found)) -> io::Result<Option<Salt>> {
        let file = File::open(self.path(number))?;
        let end = file.metadata()?.len();
        let Some(salt) = salt(&file)? else { return Ok(None) };
        let mut at = BEGINNING as u64;
        while at < end {
            if let Some(record) = record(&file, number, salt, at, end)? {
                at = record.place.at + u64::from(record.place.head) + u64::from(record.place.body);
                found(record);
                continue;
            }
            // The end was torn and nobody was told of it, or the disk has damaged what stands here: then more comes behind it.
            match next(&file, number, salt, at + 1, end)? {
                Some(next) => {
                    let segment = self.path(number);
                    tracing::error!(segment = %segment.display(), from = at, to = next, "records of a log cannot be read and are passed over");
                    at = next;
                }
                None => break,
            }
        }
        Ok(Some(salt))
    }

    fn table(&self) -> MutexGuard<'_, BTreeMap<u64, Segment>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Remover {
    fn start() -> io::Result<Self> {
        let (doomed, removals) = mpsc::channel::<PathBuf>();
        let removing = move || removals.iter().for_each(|path| unlink(&path));
        let thread = std::thread::Builder::new().name("log-remove".into()).spawn(removing)?;
        Ok(Self { doomed: Some(doomed), thread: Some(thread) })
    }

    fn remove(&self, path: PathBuf) {
        if let Some(doomed) = &self.doomed {
            // Its thread ends with this; one that panicked leaves the file to the next opening.
            let _ = doomed.send(path);
        }
    }
}

impl Drop for Remover {
    fn drop(&mut self) {
        self.doomed.take();
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn salt(file: &File) -> io::Result<Option<Salt>> {
    let mut beginning = [0; BEGINNING];
    Ok(whole(file, &mut beginning, 0)?.then(|| Salt::of(&beginning)).flatten())
}

/// The record at a place, when there is one.
fn record(file: &File, segment: u64, salt: Salt, at: u64, end: u64) -> io::Result<Option<Found>> {
    let mut bytes = [0; HEADER];
    if !whole(file, &mut bytes, at)? {
        return Ok(None);
    }
    let Some(header) = Header::read(&bytes) else { return Ok(None) };
    let mut head = vec![0; header.head as usize];
    let at = at + HEADER as u64;
    let fits = at + u64::from(header.head) + u64::from(header.body) <= end;
    if !fits || !whole(file, &mut head, at)? || !salt.fits(&bytes, &header, &head) {
        return Ok(None);
    }
    let place = Place { segment, at, head: header.head, body: header.body, sum: header.sum };
    Ok(Some(Found { place, head }))
}

/// Where the next record begins, at or after a place.
fn next(file: &File, segment: u64, salt: Salt, mut from: u64, end: u64) -> io::Result<Option<u64>> {
    let mut bytes = vec![0; SEARCHED];
    while from < end {
        let length = usize::try_from(end - from).unwrap_or(SEARCHED).min(SEARCHED);
        file.read_exact_at(&mut bytes[..length], from)?;
        for position in memmem::find_iter(&bytes[..length], &MAGIC) {
            let at = from + position as u64;
            if record(file, segment, salt, at, end)?.is_some() {
                return Ok(Some(at));
            }
        }
        // A beginning may stand across the edge.
        from += (length.max(MAGIC.len()) - MAGIC.len() + 1) as u64;
    }
    Ok(None)
}

/// Fills the buffer from a place; false when the file ends before.
fn whole(file: &File, buffer: &mut [u8], at: u64) -> io::Result<bool> {
    match file.read_exact_at(buffer, at) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        other => other.map(|()| true),
    }
}

fn unlink(path: &Path) {
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(file = %path.display(), %error, "a segment of a log could not be removed");
    }
}

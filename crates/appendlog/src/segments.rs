//! The segments: files by number, and what of each is still held.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;

use bytes::Bytes;
use memchr::memmem;
use rustix::fs::OFlags;

use crate::frame::{BEGINNING, BLOCK, Form, HEADER, Header, MAGIC, Salt};
use crate::{Found, Place};

/// The end of a segment's name; before it stands its number in sixteen hexadecimal digits.
const END: &str = ".log";
/// Files that are kept to be written over.
const SPARES: usize = 4;
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
    form: Form,
    spares: Arc<Spares>,
    remover: Remover,
}

/// Files of which nothing is held, to be written over. No opening finds anything in them.
#[derive(Debug, Default)]
struct Spares(Mutex<Vec<PathBuf>>);

impl Spares {
    fn files(&self) -> MutexGuard<'_, Vec<PathBuf>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes files on a thread of its own, or makes spares of them: that takes its time, which no record shall wait for.
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
    pub(crate) fn open(folder: &Path, reuse: bool) -> io::Result<Self> {
        let (handle, spares) = (File::open(folder)?, Arc::<Spares>::default());
        let (form, remover) = match reuse {
            true => (Form::Blocks, Remover::start(Some(spares.clone()))?),
            false => (Form::Dense, Remover::start(None)?),
        };
        let (table, next) = (Mutex::default(), AtomicU64::new(1));
        Ok(Self { folder: folder.to_owned(), handle, table, next, form, spares, remover })
    }

    /// How groups lie in the segments that are written now.
    pub(crate) fn form(&self) -> Form {
        self.form
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
        let file = self.file(&path)?;
        let salt = Salt::new();
        if let Err(error) = self.handle.sync_all() {
            unlink(&path);
            return Err(error);
        }
        self.table().insert(number, Segment { salt: Some(salt), sealed: false, records: 0, held: 0, taken: 0 });
        Ok((number, file, salt))
    }

    /// The file of a new segment: a spare, or a new one.
    fn file(&self, path: &Path) -> io::Result<File> {
        let spare = self.spares.files().pop();
        let is_there = spare.is_some_and(|spare| std::fs::rename(spare, path).is_ok());
        let file = OpenOptions::new().write(true).create_new(!is_there).mode(0o600).open(path)?;
        if self.form == Form::Blocks {
            // A file system that does not know of it has its cache instead.
            let _ = rustix::fs::fcntl_setfl(&file, OFlags::DIRECT);
        }
        Ok(file)
    }

    /// Notes what a group has added.
    pub(crate) fn hold(&self, number: u64, places: &[Place]) {
        if let Some(segment) = self.table().get_mut(&number) {
            for place in places {
                segment.records += 1;
                segment.held += place.weight();
                segment.taken = segment.taken.max(place.end());
            }
        }
    }

    /// Takes on a file of an earlier process, and tells the records that are `found` in it, in their order. One with nothing in it goes; what nobody knows
    /// is left alone.
    pub(crate) fn adopt(&self, number: u64, mut found: impl FnMut(Found)) -> io::Result<()> {
        self.next.fetch_max(number + 1, Ordering::Relaxed);
        let file = File::open(self.path(number))?;
        let (mut salt, mut places) = (None, Vec::new());
        match Beginning::read(&file)? {
            Beginning::Of(of, form) => {
                salt = Some(of);
                let scan = Scan { file: &file, segment: number, salt: of, form, end: file.metadata()?.len() };
                scan.all(|record| {
                    places.push(record.place);
                    found(record);
                })?;
            }
            Beginning::Nothing => {}
            Beginning::Other => {
                tracing::error!(segment = %self.path(number).display(), "a file of a log is damaged at its beginning, or of a later version: it stays as it is, and what it holds waits");
                return Ok(());
            }
        }
        self.table().insert(number, Segment { salt, sealed: false, records: 0, held: 0, taken: 0 });
        self.hold(number, &places);
        self.seal(number);
        Ok(())
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
        body(&File::open(self.path(place.segment))?, salt, place)
    }

    fn table(&self) -> MutexGuard<'_, BTreeMap<u64, Segment>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Remover {
    fn start(spares: Option<Arc<Spares>>) -> io::Result<Self> {
        let (doomed, removals) = mpsc::channel::<PathBuf>();
        let is_spared = move |path: &PathBuf| {
            let Some(spares) = spares.as_ref().filter(|spares| spares.files().len() < SPARES) else { return false };
            let is_blank = blank(path).is_ok();
            if is_blank {
                spares.files().push(path.clone());
            }
            is_blank
        };
        let removing = move || removals.iter().filter(|path| !is_spared(path)).for_each(|path| unlink(&path));
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

/// The first bytes of a file.
enum Beginning {
    Of(Salt, Form),
    /// Nothing was written, or nothing is to be found.
    Nothing,
    Other,
}

impl Beginning {
    fn read(file: &File) -> io::Result<Self> {
        let mut bytes = [0; BEGINNING];
        if !whole(file, &mut bytes, 0)? || bytes == [0; BEGINNING] {
            return Ok(Self::Nothing);
        }
        Ok(Salt::of(&bytes).map_or(Self::Other, |(salt, form)| Self::Of(salt, form)))
    }
}

/// Makes a segment one in which nothing is found, durably.
fn blank(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    file.write_all_at(&[0; BLOCK as usize], 0)?;
    file.sync_data()
}

/// The body of a record.
fn body(file: &File, salt: Salt, place: &Place) -> io::Result<Bytes> {
    let mut body = vec![0; place.body as usize];
    file.read_exact_at(&mut body, place.at + u64::from(place.head))?;
    if salt.sum([&*body]) == place.sum {
        return Ok(body.into());
    }
    let text = format!("the bytes at {} in segment {:016x} are not those that were written", place.at, place.segment);
    Err(io::Error::new(io::ErrorKind::InvalidData, text))
}

/// A segment that is read from its beginning.
struct Scan<'a> {
    file: &'a File,
    segment: u64,
    salt: Salt,
    form: Form,
    end: u64,
}

impl Scan<'_> {
    /// Its whole records, in their order.
    fn all(&self, mut found: impl FnMut(Found)) -> io::Result<()> {
        // Of the group that is read.
        let (mut at, mut group) = (BEGINNING as u64, Vec::new());
        loop {
            let record = match self.record(at)? {
                Some(record) => record,
                None => {
                    let Some(record) = self.after(at)? else { break };
                    // Those before it were durable when it was written.
                    group.drain(..).for_each(&mut found);
                    record
                }
            };
            at = record.place.end();
            match self.form {
                Form::Dense => found(record),
                Form::Blocks => group.push(record),
            }
        }
        // A power cut in the middle of a group leaves any of its blocks, and where the others would be what lay there before.
        for record in group {
            match body(self.file, self.salt, &record.place) {
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    tracing::warn!(%error, "one of the last records of a log was not written to its end: nobody was told that it was");
                }
                read => {
                    read?;
                    found(record);
                }
            }
        }
        Ok(())
    }

    /// The record at a place, when there is one.
    fn record(&self, at: u64) -> io::Result<Option<Found>> {
        let mut bytes = [0; HEADER];
        if at >= self.end || !whole(self.file, &mut bytes, at)? {
            return Ok(None);
        }
        let Some(header) = Header::read(&bytes) else { return Ok(None) };
        let mut head = vec![0; header.head as usize];
        let at = at + HEADER as u64;
        let place = Place { segment: self.segment, at, head: header.head, body: header.body, sum: header.sum };
        let fits = place.end() <= self.end;
        if !fits || !whole(self.file, &mut head, at)? || !self.salt.fits(&bytes, &header, &head) {
            return Ok(None);
        }
        Ok(Some(Found { place, head }))
    }

    /// The first record behind a place where none is: of the next group, or of whatever comes.
    fn after(&self, at: u64) -> io::Result<Option<Found>> {
        if self.form == Form::Blocks
            && let Some(record) = self.record(self.form.next_group(at))?
        {
            return Ok(Some(record));
        }
        let found = self.search(at + 1)?;
        if let Some(record) = &found {
            // The end was torn and nobody was told of it, or the disk has damaged what stands here: then more comes behind it.
            let (segment, to) = (self.segment, record.place.start());
            tracing::error!(segment = %format_args!("{segment:016x}"), from = at, to, "records of a log cannot be read and are passed over");
        }
        Ok(found)
    }

    /// The next record, at or after a place.
    fn search(&self, mut from: u64) -> io::Result<Option<Found>> {
        let mut bytes = vec![0; SEARCHED];
        while from < self.end {
            let length = usize::try_from(self.end - from).unwrap_or(SEARCHED).min(SEARCHED);
            self.file.read_exact_at(&mut bytes[..length], from)?;
            for position in memmem::find_iter(&bytes[..length], &MAGIC) {
                if let Some(found) = self.record(from + position as u64)? {
                    return Ok(Some(found));
                }
            }
            // A beginning may stand across the edge.
            from += (length.max(MAGIC.len()) - MAGIC.len() + 1) as u64;
        }
        Ok(None)
    }
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

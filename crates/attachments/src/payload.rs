//! The bytes on their way out: of known length, type and digest, and to be read as often as needed.
//!
//! A payload is a file or a few bytes in memory. It is read in pieces of bounded size, from any offset, so a handler may send
//! it twice, or a part of it, without keeping it.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use md5::Md5;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Bytes that are read at a time.
const PIECE: u64 = 256 << 10;

/// What a put is for: the same put again has the same key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PutKey {
    /// Names the content of the attachment: another content has another generation.
    pub generation: String,
    /// The public fields of the document, for destinations that take them along.
    pub document: Value,
    /// The id of the document.
    pub document_id: String,
    /// The name of the attachment.
    pub attachment: String,
    /// What the destination gave for it beforehand ([`Handler::reserve`](crate::Handler::reserve)), written down before the first byte moved.
    pub reserved: Option<String>,
}

/// Bytes to be stored.
#[derive(Clone)]
pub struct Payload {
    /// Media type.
    pub content_type: String,
    /// Bytes in all.
    pub length: u64,
    /// SHA-256 of the bytes.
    pub sha256: [u8; 32],
    source: Source,
    md5: Arc<OnceLock<[u8; 16]>>,
    watch: Option<Watch>,
}

#[derive(Clone)]
enum Source {
    File(Arc<Path>),
    Bytes(Bytes),
}

/// Told how many bytes were just read.
type Watch = Arc<dyn Fn(u64) + Send + Sync>;

impl Payload {
    /// The bytes of a file, whose length and digest are known already.
    #[must_use]
    pub fn file(path: impl Into<PathBuf>, content_type: impl Into<String>, length: u64, sha256: [u8; 32]) -> Self {
        let source = Source::File(path.into().into());
        Self { content_type: content_type.into(), length, sha256, source, md5: Arc::default(), watch: None }
    }

    /// Bytes in memory.
    #[must_use]
    pub fn bytes(bytes: impl Into<Bytes>, content_type: impl Into<String>) -> Self {
        let bytes = bytes.into();
        let sha256 = Sha256::digest(&bytes).into();
        Self::digested(bytes, content_type, sha256)
    }

    /// Bytes in memory, whose digest is known already.
    #[must_use]
    pub fn digested(bytes: Bytes, content_type: impl Into<String>, sha256: [u8; 32]) -> Self {
        let (length, source) = (bytes.len() as u64, Source::Bytes(bytes));
        Self { content_type: content_type.into(), length, sha256, source, md5: Arc::default(), watch: None }
    }

    /// The same payload; `watch` is told whenever bytes of it have been read.
    pub(crate) fn watched(&self, watch: impl Fn(u64) + Send + Sync + 'static) -> Self {
        Self { watch: Some(Arc::new(watch)), ..self.clone() }
    }

    /// The bytes of a range, or all of them, in pieces of bounded size. It can be opened again and again.
    ///
    /// The stream has exactly the bytes asked for, or ends in an error: of kind `UnexpectedEof` when the file is shorter than it was.
    #[must_use]
    pub fn open(&self, range: Option<Range<u64>>) -> BoxStream<'static, io::Result<Bytes>> {
        let range = range.unwrap_or(0..self.length);
        let pieces = match &self.source {
            Source::Bytes(bytes) => {
                let whole = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
                let part = whole.filter(|(start, end)| start <= end && *end <= bytes.len());
                let part = part.map(|(start, end)| bytes.slice(start..end)).ok_or_else(too_short);
                stream::iter(part.map(|part| (!part.is_empty()).then_some(part)).transpose()).boxed()
            }
            Source::File(path) => pieces(path.clone(), range),
        };
        match self.watch.clone() {
            Some(watch) => pieces.inspect_ok(move |piece| watch(piece.len() as u64)).boxed(),
            None => pieces,
        }
    }

    /// Gives the bytes to `take`, in pieces of bounded size in one buffer, for who blocks anyway. The first failure of either side ends it.
    pub(crate) fn each<E>(
        &self,
        unreadable: impl Fn(io::Error) -> E,
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let watch = |count: usize| self.watch.iter().for_each(|watch| watch(count as u64));
        match &self.source {
            Source::Bytes(bytes) => {
                take(bytes)?;
                watch(bytes.len());
            }
            Source::File(path) => {
                let mut file = File::open(path).map_err(&unreadable)?.take(self.length);
                let mut buffer = vec![0; usize::try_from(PIECE.min(self.length)).unwrap_or_default()];
                let mut left = self.length;
                while left > 0 {
                    let count = file.read(&mut buffer).map_err(&unreadable)?;
                    if count == 0 {
                        return Err(unreadable(too_short()));
                    }
                    take(&buffer[..count])?;
                    watch(count);
                    left -= count as u64;
                }
            }
        }
        Ok(())
    }

    /// MD5 of the bytes, for destinations that confirm by it. They are read for it, once.
    pub(crate) async fn md5(&self) -> io::Result<[u8; 16]> {
        if let Some(md5) = self.md5.get() {
            return Ok(*md5);
        }
        let mut digest = Md5::new();
        let mut pieces = self.open(None);
        while let Some(piece) = pieces.try_next().await? {
            digest.update(&piece);
        }
        let md5 = digest.finalize().into();
        Ok(*self.md5.get_or_init(|| md5))
    }

    /// The same of bytes that were [`read`](Self::read) from it: they need not be read again.
    pub(crate) fn md5_of(&self, bytes: &Bytes) {
        self.md5.get_or_init(|| Md5::digest(bytes).into());
    }

    /// All bytes at once, for payloads that are known to be small.
    pub(crate) async fn read(&self) -> io::Result<Bytes> {
        let bytes = match &self.source {
            Source::Bytes(bytes) => bytes.clone(),
            Source::File(path) => {
                let open = cached::open(path);
                match open.as_ref().and_then(|file| cached::read(file, 0, self.length)) {
                    Some(bytes) => bytes,
                    None => {
                        let (path, length) = (path.clone(), self.length);
                        blocking(move || Ok(read_from(open, &path, 0, length)?.1)).await?
                    }
                }
            }
        };
        if let Some(watch) = &self.watch {
            watch(bytes.len() as u64);
        }
        Ok(bytes)
    }
}

/// Names the length and type; the content and the path of the file are nobody's business.
impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes of {})", self.length, self.content_type)
    }
}

fn pieces(path: Arc<Path>, range: Range<u64>) -> BoxStream<'static, io::Result<Bytes>> {
    stream::try_unfold((None::<File>, range), move |(open, left)| {
        let path = path.clone();
        async move {
            if left.is_empty() {
                return Ok(None);
            }
            let count = PIECE.min(left.end - left.start);
            let open = open.or_else(|| cached::open(&path));
            let known = open.as_ref().and_then(|file| cached::read(file, left.start, count));
            let (file, piece) = match (open, known) {
                (Some(file), Some(piece)) => (file, piece),
                (open, _) => blocking(move || read_from(open, &path, left.start, count)).await?,
            };
            Ok(Some((piece, (Some(file), left.start + count..left.end))))
        }
    })
    .boxed()
}

/// What of a file the system has in memory, so that nothing waits for a disk and no other thread is needed: what was just deposited is, and what was
/// read ahead. `None` says that it must be opened or read in the ordinary way, whatever the reason.
#[cfg(target_os = "linux")]
mod cached {
    use std::fs::File;
    use std::path::Path;

    use bytes::Bytes;
    use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
    use rustix::io::{ReadWriteFlags, preadv2};

    pub(super) fn open(path: &Path) -> Option<File> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        openat2(CWD, path, flags, Mode::empty(), ResolveFlags::CACHED).ok().map(File::from)
    }

    /// All of so many bytes from an offset.
    pub(super) fn read(file: &File, at: u64, count: u64) -> Option<Bytes> {
        let mut buffer = vec![0; usize::try_from(count).ok()?];
        let found = preadv2(file, &mut [std::io::IoSliceMut::new(&mut buffer)], at, ReadWriteFlags::NOWAIT).ok()?;
        (found == buffer.len()).then(|| buffer.into())
    }
}

#[cfg(not(target_os = "linux"))]
mod cached {
    use std::fs::File;
    use std::path::Path;

    use bytes::Bytes;

    pub(super) fn open(_: &Path) -> Option<File> {
        None
    }

    pub(super) fn read(_: &File, _: u64, _: u64) -> Option<Bytes> {
        None
    }
}

/// All of so many bytes from an offset of a file, which is opened where it is not open yet.
fn read_from(open: Option<File>, path: &Path, at: u64, count: u64) -> io::Result<(File, Bytes)> {
    let mut file = open.map_or_else(|| File::open(path), Ok)?;
    file.seek(SeekFrom::Start(at))?;
    let mut buffer = Vec::with_capacity(usize::try_from(count).map_err(|_| io::ErrorKind::OutOfMemory)?);
    let found = (&file).take(count).read_to_end(&mut buffer)?;
    if found as u64 == count { Ok((file, buffer.into())) } else { Err(too_short()) }
}

fn too_short() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the payload is shorter than it was")
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn collect(payload: &Payload, range: Option<Range<u64>>) -> io::Result<Vec<u8>> {
        let pieces: Vec<Bytes> = payload.open(range).try_collect().await?;
        assert!(pieces.iter().all(|piece| piece.len() as u64 <= PIECE || matches!(payload.source, Source::Bytes(_))));
        Ok(pieces.concat())
    }

    #[tokio::test]
    async fn file_and_memory_read_alike_and_again() {
        let content: Vec<u8> = (0..PIECE * 2 + 17).map(|n| (n % 251) as u8).collect();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("payload");
        std::fs::write(&path, &content).unwrap();
        let memory = Payload::bytes(content.clone(), "audio/wav");
        let file = Payload::file(&path, "audio/wav", memory.length, memory.sha256);
        for payload in [&memory, &file, &file] {
            assert_eq!(collect(payload, None).await.unwrap(), content);
            assert_eq!(collect(payload, Some(3..5)).await.unwrap(), content[3..5]);
            assert_eq!(collect(payload, Some(5..5)).await.unwrap(), b"");
            assert_eq!(payload.read().await.unwrap(), content);
            assert_eq!(payload.md5().await.unwrap()[..], Md5::digest(&content)[..]);
            let mut each = Vec::new();
            let take = |piece: &[u8]| {
                each.extend_from_slice(piece);
                Ok(())
            };
            payload.each(|error| error, take).unwrap();
            assert_eq!(each, content);
        }
    }

    #[test]
    fn what_is_in_memory_is_read_at_once_and_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("payload");
        std::fs::write(&path, b"abc").unwrap();
        assert!(cached::open(&folder.path().join("absent")).is_none());
        let file = File::open(&path).unwrap();
        assert!(cached::read(&file, 0, 3).is_none_or(|bytes| bytes == b"abc"[..]));
        assert!(cached::read(&file, 1, 1).is_none_or(|bytes| bytes == b"b"[..]));
        assert_eq!(cached::read(&file, 0, 4), None);
        assert_eq!(cached::read(&file, 3, 1), None);
        for open in [None, Some(file)] {
            assert_eq!(read_from(open, &path, 1, 2).unwrap().1, b"bc"[..]);
        }
    }

    #[tokio::test]
    async fn a_file_that_shrank_is_an_error_not_a_short_body() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("payload");
        std::fs::write(&path, b"abc").unwrap();
        let payload = Payload::file(&path, "text/plain", 5, [0; 32]);
        assert_eq!(collect(&payload, None).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(payload.read().await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(payload.each(|error| error, |_| Ok(())).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(collect(&payload, None).await.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}

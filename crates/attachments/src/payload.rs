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
            Source::File(path) => match cached(path, self.length) {
                Some(bytes) => bytes,
                None => {
                    let (path, length) = (path.clone(), self.length);
                    blocking(move || Ok(read(&mut File::open(path)?, length)?.1)).await?
                }
            },
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
            let (file, piece) = blocking(move || {
                let mut file = match open {
                    Some(file) => file,
                    None => {
                        let mut file = File::open(path)?;
                        file.seek(SeekFrom::Start(left.start))?;
                        file
                    }
                };
                let (_, piece) = read(&mut file, count)?;
                Ok((file, piece))
            })
            .await?;
            Ok(Some((piece, (Some(file), left.start + count..left.end))))
        }
    })
    .boxed()
}

/// The bytes of a small file where the system has all of it in memory, so that nothing waits for a disk and no other thread is needed: what was
/// just deposited is. `None` says that it must be read in the ordinary way, whatever the reason.
#[cfg(target_os = "linux")]
fn cached(path: &Path, length: u64) -> Option<Bytes> {
    use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
    use rustix::io::{ReadWriteFlags, preadv2};

    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = openat2(CWD, path, flags, Mode::empty(), ResolveFlags::CACHED).ok()?;
    let mut buffer = vec![0; usize::try_from(length).ok()?];
    let found = preadv2(&file, &mut [io::IoSliceMut::new(&mut buffer)], 0, ReadWriteFlags::NOWAIT).ok()?;
    (found == buffer.len()).then(|| buffer.into())
}

#[cfg(not(target_os = "linux"))]
fn cached(_: &Path, _: u64) -> Option<Bytes> {
    None
}

fn read(file: &mut File, count: u64) -> io::Result<(usize, Bytes)> {
    let mut buffer = Vec::with_capacity(usize::try_from(count).map_err(|_| io::ErrorKind::OutOfMemory)?);
    let found = file.take(count).read_to_end(&mut buffer)?;
    if found as u64 == count { Ok((found, buffer.into())) } else { Err(too_short()) }
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
        }
    }

    #[test]
    fn what_is_in_memory_is_read_at_once_and_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("payload");
        std::fs::write(&path, b"abc").unwrap();
        assert!(cached(&path, 3).is_none_or(|bytes| bytes == b"abc"[..]));
        assert!(cached(&path, 2).is_none_or(|bytes| bytes == b"ab"[..]));
        assert_eq!(cached(&path, 4), None);
        assert_eq!(cached(&folder.path().join("absent"), 0), None);
        assert_eq!(read(&mut File::open(&path).unwrap(), 3).unwrap().1, b"abc"[..]);
    }

    #[tokio::test]
    async fn a_file_that_shrank_is_an_error_not_a_short_body() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("payload");
        std::fs::write(&path, b"abc").unwrap();
        let payload = Payload::file(&path, "text/plain", 5, [0; 32]);
        assert_eq!(collect(&payload, None).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(payload.read().await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(collect(&payload, None).await.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}

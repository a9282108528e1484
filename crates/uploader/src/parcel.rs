//! An upload that is ready: where to, and bytes with their digest.
//!
//! A file is read twice: once for its digest, which stands in the request's head, and once to be sent. Before the last piece leaves, the
//! file must still be what it was and the digest must fit; otherwise the request breaks off, and no store keeps half a request. Small files
//! are read once, into memory.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, Stream};
use http::Method;
use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;
use url::Url;

use crate::folder::{self, Found};
use crate::footprint::Footprint;
use crate::sender::Progress;

/// Up to here a file is held in memory.
const SMALL: u64 = 1 << 20;
/// What is read and sent at a time.
const PIECE: usize = 256 << 10;

/// Why a file is not uploaded now.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// It is no longer there.
    Gone,
    /// It is not what it was when it was found.
    Changed,
    /// It will never do as it is.
    Unfit(String),
    /// It cannot be read.
    Unreadable(io::Error),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Gone,
            _ => Self::Unreadable(error),
        }
    }
}

/// An upload that is ready.
#[derive(Debug)]
pub(crate) struct Parcel {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) content_type: &'static str,
    pub(crate) contents: Contents,
    /// What a ledger calls it.
    pub(crate) ledger_key: String,
}

/// Bytes, their number and their digest.
#[derive(Debug)]
pub(crate) struct Contents {
    pub(crate) size: u64,
    pub(crate) sha256: [u8; 32],
    source: Source,
}

#[derive(Debug)]
enum Source {
    Memory(Bytes),
    File(File, Footprint),
}

impl Contents {
    /// These bytes.
    pub(crate) fn of(bytes: Bytes) -> Self {
        Self { size: bytes.len() as u64, sha256: Sha256::digest(&bytes).into(), source: Source::Memory(bytes) }
    }

    /// The bytes of a file, if it is still the one that was found.
    pub(crate) fn open(root: &Path, found: &Found) -> Result<Self, Trouble> {
        let mut file = open_found(root, found)?;
        let size = found.footprint.size;
        if size <= SMALL {
            return Ok(Self::of(read_open(file, found)?));
        }
        let sha256 = digest(&mut file)?;
        if Footprint::of(&file.metadata()?) != found.footprint {
            return Err(Trouble::Changed);
        }
        file.seek(SeekFrom::Start(0))?;
        Ok(Self { size, sha256, source: Source::File(file, found.footprint) })
    }

    /// The value of `Content-Digest`.
    pub(crate) fn digest_header(&self) -> String {
        format!("sha-256=:{}:", STANDARD.encode(self.sha256))
    }

    /// The body of the request. Tells `progress` of every piece.
    pub(crate) fn body(self, progress: Arc<Progress>) -> reqwest::Body {
        match self.source {
            Source::Memory(bytes) => {
                progress.moved(self.size);
                bytes.into()
            }
            Source::File(file, footprint) => {
                let file = tokio::fs::File::from_std(file);
                let sending =
                    Sending { file, footprint, left: self.size, hash: Sha256::new(), sha256: self.sha256, progress };
                reqwest::Body::wrap_stream(sending.pieces())
            }
        }
    }
}

/// A file on its way.
struct Sending {
    file: tokio::fs::File,
    footprint: Footprint,
    left: u64,
    hash: Sha256,
    sha256: [u8; 32],
    progress: Arc<Progress>,
}

impl Sending {
    fn pieces(self) -> impl Stream<Item = io::Result<Bytes>> {
        stream::try_unfold(self, |mut sending| async move { Ok(sending.piece().await?.map(|piece| (piece, sending))) })
    }

    async fn piece(&mut self) -> io::Result<Option<Bytes>> {
        if self.left == 0 {
            return Ok(None);
        }
        let wanted = usize::try_from(self.left).unwrap_or(PIECE).min(PIECE);
        let mut piece = BytesMut::zeroed(wanted);
        if let Err(error) = self.file.read_exact(&mut piece).await {
            return Err(if error.kind() == io::ErrorKind::UnexpectedEof { self.changed() } else { error });
        }
        self.hash.update(&piece);
        self.left -= wanted as u64;
        if self.left == 0 && !self.is_what_it_was().await? {
            return Err(self.changed());
        }
        self.progress.moved(wanted as u64);
        Ok(Some(piece.freeze()))
    }

    async fn is_what_it_was(&mut self) -> io::Result<bool> {
        let now = Footprint::of(&self.file.metadata().await?);
        Ok(now == self.footprint && self.hash.finalize_reset().as_slice() == self.sha256)
    }

    fn changed(&self) -> io::Error {
        self.progress.note_change();
        io::Error::other("the file changed while it was sent")
    }
}

/// A small file whole, if it is still the one that was found.
pub(crate) fn read(root: &Path, found: &Found, limit: u64) -> Result<Bytes, Trouble> {
    if found.footprint.size > limit {
        return Err(Trouble::Unfit(format!("{} has more than {limit} bytes", found.path.display())));
    }
    read_open(open_found(root, found)?, found)
}

/// That what was found is still there as it was.
pub(crate) fn unchanged(root: &Path, found: &Found) -> Result<(), Trouble> {
    let now = folder::look(root, found.path.clone()).ok_or(Trouble::Gone)?;
    if now == *found { Ok(()) } else { Err(Trouble::Changed) }
}

fn open_found(root: &Path, found: &Found) -> Result<File, Trouble> {
    let file = folder::open(root, &found.path)?;
    if Footprint::of(&file.metadata()?) == found.footprint { Ok(file) } else { Err(Trouble::Changed) }
}

fn read_open(file: File, found: &Found) -> Result<Bytes, Trouble> {
    let mut bytes = Vec::new();
    (&file).take(found.footprint.size + 1).read_to_end(&mut bytes)?;
    let same = bytes.len() as u64 == found.footprint.size && Footprint::of(&file.metadata()?) == found.footprint;
    if same { Ok(bytes.into()) } else { Err(Trouble::Changed) }
}

fn digest(file: &mut File) -> io::Result<[u8; 32]> {
    let (mut hash, mut piece) = (Sha256::new(), vec![0; PIECE]);
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hash.finalize().into()),
            read => hash.update(&piece[..read]),
        }
    }
}

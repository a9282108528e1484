//! How records lie in a segment. All numbers are little-endian.
//!
//! ```text
//!   segment   "SLOG0001" | salt (8) | record…                    groups follow each other at once
//!             "SLOG0002" | salt (8) | record… zero… | record…    each group ends with a zero at least, and the next one begins with a block of 4096 bytes
//!   record    "rec\x01" | bytes of the head (4) | of the body (4) | checksum of the body (4) | checksum of all before and of the head (4) | head | body
//! ```
//!
//! In the second form whole blocks are written, and none twice. Behind the last group may stand anything, also records of another salt.
//!
//! Checksums are CRC-32 over the salt and the bytes. That of the body is apart, so that heads can be read without it.

use bytes::Bytes;
use crc32fast::Hasher;

use crate::LONGEST;

/// Bytes at the beginning of a segment.
pub(crate) const BEGINNING: usize = 16;
/// What disks write as a whole, and memory is mapped by, or a multiple of both.
pub(crate) const BLOCK: u64 = 4096;
/// Bytes before a record's head.
pub(crate) const HEADER: usize = 20;
/// The first bytes of a record.
pub(crate) const MAGIC: [u8; 4] = *b"rec\x01";

/// How the groups of a segment lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// One behind the other.
    Dense,
    /// Each in blocks of its own.
    Blocks,
}

impl Form {
    const ALL: [Self; 2] = [Self::Dense, Self::Blocks];

    fn name(self) -> [u8; 8] {
        match self {
            Self::Dense => *b"SLOG0001",
            Self::Blocks => *b"SLOG0002",
        }
    }

    /// Where the group begins that follows one which ends here.
    pub(crate) fn next_group(self, end: u64) -> u64 {
        match self {
            Self::Dense => end,
            Self::Blocks => (end + 1).next_multiple_of(BLOCK),
        }
    }
}

/// What goes into the checksums of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Salt([u8; 8]);

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) head: u32,
    pub(crate) body: u32,
    pub(crate) sum: u32,
    check: u32,
}

impl Salt {
    pub(crate) fn new() -> Self {
        Self(rand::random())
    }

    /// The first bytes of a segment with this salt.
    pub(crate) fn beginning(self, form: Form) -> [u8; BEGINNING] {
        let mut bytes = [0; BEGINNING];
        bytes[..8].copy_from_slice(&form.name());
        bytes[8..].copy_from_slice(&self.0);
        bytes
    }

    /// The salt of a segment that begins so, and its form.
    pub(crate) fn of(beginning: &[u8; BEGINNING]) -> Option<(Self, Form)> {
        let (name, salt) = beginning.split_at(8);
        let form = Form::ALL.into_iter().find(|form| form.name() == name)?;
        Some((Self(salt.try_into().ok()?), form))
    }

    fn hasher(self) -> Hasher {
        let mut hasher = Hasher::new();
        hasher.update(&self.0);
        hasher
    }

    /// The checksum of a body.
    pub(crate) fn sum<'a>(self, body: impl IntoIterator<Item = &'a [u8]>) -> u32 {
        let mut hasher = self.hasher();
        body.into_iter().for_each(|piece| hasher.update(piece));
        hasher.finalize()
    }

    /// What stands before the head of a record. Lengths are at most [`LONGEST`].
    pub(crate) fn header(self, head: &[u8], body: &[Bytes]) -> (Header, [u8; HEADER]) {
        let length = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        let sum = self.sum(body.iter().map(|piece| &**piece));
        let body = length(body.iter().map(Bytes::len).sum());
        let mut bytes = [0; HEADER];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..8].copy_from_slice(&length(head.len()).to_le_bytes());
        bytes[8..12].copy_from_slice(&body.to_le_bytes());
        bytes[12..16].copy_from_slice(&sum.to_le_bytes());
        let check = self.sum([&bytes[..16], head]);
        bytes[16..].copy_from_slice(&check.to_le_bytes());
        (Header { head: length(head.len()), body, sum, check }, bytes)
    }

    /// Whether a header and this head belong together.
    pub(crate) fn fits(self, bytes: &[u8; HEADER], header: &Header, head: &[u8]) -> bool {
        self.sum([&bytes[..16], head]) == header.check
    }
}

impl Header {
    /// Reads what may be a header.
    pub(crate) fn read(bytes: &[u8; HEADER]) -> Option<Self> {
        let number = |at: usize| bytes[at..].first_chunk().map(|four| u32::from_le_bytes(*four));
        let header = Self { head: number(4)?, body: number(8)?, sum: number(12)?, check: number(16)? };
        let fits = |length: u32| usize::try_from(length).is_ok_and(|length| length <= LONGEST);
        (bytes[..4] == MAGIC && fits(header.head) && fits(header.body)).then_some(header)
    }
}

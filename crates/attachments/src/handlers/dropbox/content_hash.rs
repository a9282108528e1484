//! Dropbox's digest of a payload: of the digests of its blocks.
//!
//! It is taken of the bytes as they are sent, so that a large payload is read once. What is sent again after a break is passed over, and
//! what was not sent yet when somebody asks for the digest is read then. Of a single block it is known without reading.

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use sha2::{Digest, Sha256};

use crate::payload::Payload;

const BLOCK: usize = 4 << 20;

/// A payload, and its digest as far as it was read.
pub(super) struct ContentHash {
    payload: Payload,
    running: Arc<Mutex<Running>>,
}

#[derive(Default)]
struct Running {
    /// Bytes from the beginning that are in it.
    at: u64,
    blocks: Sha256,
    block: Sha256,
    filled: usize,
}

impl ContentHash {
    pub(super) fn of(payload: &Payload) -> Self {
        Self { payload: payload.clone(), running: Arc::default() }
    }

    /// Bytes of the payload in all.
    pub(super) fn length(&self) -> u64 {
        self.payload.length
    }

    /// Bytes of the payload to be sent.
    pub(super) fn open(&self, range: Range<u64>) -> BoxStream<'static, io::Result<Bytes>> {
        let (running, mut at) = (self.running.clone(), range.start);
        let pieces = self.payload.open(Some(range));
        if self.known().is_some() {
            return pieces;
        }
        let take = move |piece: &Bytes| {
            lock(&running).take(at, piece);
            at += piece.len() as u64;
        };
        pieces.inspect_ok(take).boxed()
    }

    /// The digest, where nothing has to be read for it.
    pub(super) fn known(&self) -> Option<String> {
        if self.payload.length > 0 && self.payload.length <= BLOCK as u64 {
            return Some(hex::encode(Sha256::digest(self.payload.sha256)));
        }
        let running = lock(&self.running);
        (running.at == self.payload.length).then(|| running.digest())
    }

    /// The digest. What is missing of it is read.
    pub(super) async fn digest(&self) -> io::Result<String> {
        if let Some(digest) = self.known() {
            return Ok(digest);
        }
        let from = lock(&self.running).at;
        let mut rest = self.open(from..self.payload.length);
        while rest.try_next().await?.is_some() {}
        Ok(lock(&self.running).digest())
    }
}

fn lock(running: &Mutex<Running>) -> MutexGuard<'_, Running> {
    running.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Running {
    /// Goes on with those bytes of a piece that come next, if there are any.
    fn take(&mut self, at: u64, piece: &[u8]) {
        let known = self.at.checked_sub(at).and_then(|known| usize::try_from(known).ok());
        let Some(mut new) = known.and_then(|known| piece.get(known..)) else { return };
        self.at += new.len() as u64;
        while !new.is_empty() {
            let (part, rest) = new.split_at(new.len().min(BLOCK - self.filled));
            self.block.update(part);
            self.filled += part.len();
            if self.filled == BLOCK {
                self.blocks.update(self.block.finalize_reset());
                self.filled = 0;
            }
            new = rest;
        }
    }

    /// Of what is in it.
    fn digest(&self) -> String {
        let mut blocks = self.blocks.clone();
        if self.filled > 0 {
            blocks.update(self.block.clone().finalize());
        }
        hex::encode(blocks.finalize())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    fn bytes(length: usize) -> Vec<u8> {
        (0..length).map(|n| (n % 251) as u8).collect()
    }

    /// As Dropbox's documentation defines it.
    fn defined(bytes: &[u8]) -> String {
        let blocks: Vec<u8> = bytes.chunks(BLOCK).flat_map(|block| Sha256::digest(block).to_vec()).collect();
        hex::encode(Sha256::digest(blocks))
    }

    /// A payload in a file, its digest, and how many bytes of it were read.
    fn file(folder: &tempfile::TempDir, bytes: &[u8]) -> (ContentHash, Arc<AtomicU64>) {
        let (path, read) = (folder.path().join("payload"), Arc::new(AtomicU64::new(0)));
        std::fs::write(&path, bytes).unwrap();
        let payload = Payload::file(path, "a/b", bytes.len() as u64, Sha256::digest(bytes).into());
        let count = read.clone();
        let watched = payload.watched(move |more| {
            count.fetch_add(more, Ordering::Relaxed);
        });
        (ContentHash::of(&watched), read)
    }

    async fn send(hash: &ContentHash, range: Range<u64>) -> usize {
        hash.open(range).try_fold(0, async |sum, piece| Ok(sum + piece.len())).await.unwrap()
    }

    #[tokio::test]
    async fn it_is_dropboxs() {
        let folder = tempfile::tempdir().unwrap();
        for length in [0, 5, BLOCK, BLOCK + 1, 2 * BLOCK, 2 * BLOCK + 7] {
            let bytes = bytes(length);
            let (hash, read) = file(&folder, &bytes);
            assert_eq!(hash.known().is_some(), length <= BLOCK, "{length}");
            assert_eq!(hash.digest().await.unwrap(), defined(&bytes), "{length}");
            let needed = if length <= BLOCK { 0 } else { length as u64 };
            assert_eq!(read.load(Ordering::Relaxed), needed, "{length}");
        }
    }

    #[tokio::test]
    async fn what_is_sent_is_not_read_once_more() {
        let folder = tempfile::tempdir().unwrap();
        let (bytes, length) = (bytes(3 * BLOCK + 1), 3 * BLOCK as u64 + 1);
        let (hash, read) = file(&folder, &bytes);
        assert_eq!(send(&hash, 0..length).await, bytes.len());
        assert_eq!(hash.known(), Some(defined(&bytes)));
        assert_eq!(hash.digest().await.unwrap(), defined(&bytes));
        assert_eq!(read.load(Ordering::Relaxed), length);
    }

    #[tokio::test]
    async fn a_break_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (bytes, length) = (bytes(3 * BLOCK), 3 * BLOCK as u64);
        let (hash, read) = file(&folder, &bytes);
        // A piece, of which less arrived than was read; on from there; and another, broken, of which nobody knows how far it was read.
        send(&hash, 0..5_000_000).await;
        send(&hash, 3_000_001..6_000_000).await;
        let mut broken = hash.open(6_000_000..length);
        broken.next().await.unwrap().unwrap();
        drop(broken);
        assert_eq!(hash.known(), None);
        let sent = read.load(Ordering::Relaxed);
        assert_eq!(hash.digest().await.unwrap(), defined(&bytes));
        assert_eq!(read.load(Ordering::Relaxed) - sent, length - (sent - 1_999_999), "what was missing");
        // A piece that leaves out some: what it has cannot be used.
        let (hash, _) = file(&folder, &bytes);
        send(&hash, 5_000_000..length).await;
        assert_eq!(hash.known(), None);
        assert_eq!(hash.digest().await.unwrap(), defined(&bytes));
    }

    #[tokio::test]
    async fn a_payload_that_shrank_has_none() {
        let folder = tempfile::tempdir().unwrap();
        let (hash, _) = file(&folder, &bytes(2 * BLOCK));
        std::fs::write(folder.path().join("payload"), b"short").unwrap();
        assert_eq!(hash.digest().await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}

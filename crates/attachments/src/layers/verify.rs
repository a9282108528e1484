//! Compares what a destination gives back with what the receipt says of it.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::Value;
use sha2::{Digest, Sha256};
use url::Url;

use crate::Handler;
use crate::body::{Body, ByteRange};
use crate::error::{Error, ErrorKind, Operation};
use crate::location::Location;
use crate::payload::{Payload, PutKey};
use crate::receipt::Receipt;

/// A wrong length is an error at once where the destination says it, else at the end of the stream. A wrong content is one in place of the last
/// piece: whoever was promised a length would not wait for what comes after it. Of a part only the length can be checked. Every other piece is
/// given first and digested once another is there: who waits for the first byte does not wait for its digest.
#[derive(Debug)]
pub struct Verify {
    inner: Arc<dyn Handler>,
}

impl Verify {
    /// Checks what comes out of this handler.
    #[must_use]
    pub fn new(inner: Arc<dyn Handler>) -> Self {
        Self { inner }
    }
}

#[async_trait]
impl Handler for Verify {
    async fn reserve(&self, location: &Location, key: &PutKey) -> Result<Option<String>, Error> {
        self.inner.reserve(location, key).await
    }

    async fn put(&self, location: &Location, payload: &Payload, key: &PutKey) -> Result<Receipt, Error> {
        self.inner.put(location, payload, key).await
    }

    async fn fetch(&self, receipt: &Receipt, range: Option<ByteRange>, metadata: &Value) -> Result<Body, Error> {
        let body = self.inner.fetch(receipt, range, metadata).await?;
        if body.total.is_some_and(|total| total != receipt.length) {
            return Err(mismatch("another length than was stored"));
        }
        let (length, digest) = match body.range {
            Some((first, last)) => (last - first + 1, None),
            None => (receipt.length, Some(receipt.sha256.clone())),
        };
        Ok(Body { stream: checked(body.stream, length, digest), ..body })
    }

    async fn delete(&self, receipt: &Receipt) -> Result<(), Error> {
        self.inner.delete(receipt).await
    }

    async fn presign(&self, receipt: &Receipt, disposition: &str) -> Result<Option<Url>, Error> {
        self.inner.presign(receipt, disposition).await
    }

    fn wants_metadata(&self) -> bool {
        self.inner.wants_metadata()
    }

    fn at_least_once(&self) -> bool {
        self.inner.at_least_once()
    }
}

fn mismatch(what: &str) -> Error {
    Error::new(Operation::Fetch, ErrorKind::Mismatch, what)
}

struct Check {
    hash: Option<(Sha256, String)>,
    left: u64,
    /// Given, and not digested yet.
    given: Option<Bytes>,
}

impl Check {
    fn take(&mut self, piece: &Bytes) -> Result<(), Error> {
        let left = self.left.checked_sub(piece.len() as u64);
        self.left = left.ok_or_else(|| mismatch("more bytes than were stored"))?;
        self.digest_given();
        if self.hash.is_some() {
            self.given = Some(piece.clone());
        }
        if self.left == 0 { self.end() } else { Ok(()) }
    }

    fn digest_given(&mut self) {
        if let (Some(piece), Some((hash, _))) = (self.given.take(), &mut self.hash) {
            hash.update(&piece);
        }
    }

    fn end(&mut self) -> Result<(), Error> {
        if self.left > 0 {
            return Err(mismatch("fewer bytes than were stored"));
        }
        self.digest_given();
        let Some((hash, expected)) = self.hash.take() else {
            return Ok(());
        };
        match hex::encode(hash.finalize()) == expected {
            true => Ok(()),
            false => Err(mismatch("other bytes than were stored")),
        }
    }
}

fn checked(
    source: BoxStream<'static, Result<Bytes, Error>>,
    length: u64,
    digest: Option<String>,
) -> BoxStream<'static, Result<Bytes, Error>> {
    let check = Check { hash: digest.map(|digest| (Sha256::new(), digest)), left: length, given: None };
    stream::try_unfold((source, check), |(mut source, mut check)| async move {
        match source.try_next().await? {
            Some(piece) => {
                check.take(&piece)?;
                Ok(Some((piece, (source, check))))
            }
            None => check.end().map(|()| None),
        }
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(content: &[&'static str], length: u64, digest: Option<&str>) -> BoxStream<'static, Result<Bytes, Error>> {
        let pieces: Vec<_> = content.iter().map(|piece| Ok(Bytes::from_static(piece.as_bytes()))).collect();
        checked(stream::iter(pieces).boxed(), length, digest.map(|of| hex::encode(Sha256::digest(of))))
    }

    async fn read(content: &[&'static str], length: u64, digest: Option<&str>) -> Result<Vec<u8>, ErrorKind> {
        let read: Result<Vec<Bytes>, Error> = pieces(content, length, digest).try_collect().await;
        read.map(|pieces| pieces.concat()).map_err(|error| error.kind())
    }

    #[tokio::test]
    async fn only_what_was_stored_comes_to_a_good_end() {
        assert_eq!(read(&["he", "llo"], 5, Some("hello")).await.unwrap(), b"hello");
        assert_eq!(read(&["ell"], 3, None).await.unwrap(), b"ell");
        assert_eq!(read(&[], 0, Some("")).await.unwrap(), b"");
        for (content, length) in [(&["hello", "!"][..], 5), (&["hell"], 5), (&[], 5), (&["jello"], 5)] {
            assert_eq!(read(content, length, Some("hello")).await.unwrap_err(), ErrorKind::Mismatch, "{content:?}");
        }
        // Who counts along hears of it too.
        let mut other = pieces(&["je", "llo"], 5, Some("hello"));
        assert_eq!(other.next().await.unwrap().unwrap(), "je");
        assert_eq!(other.next().await.unwrap().unwrap_err().kind(), ErrorKind::Mismatch);
    }
}

//! Ends what stands still.
//!
//! There is no limit on a whole transfer: one that moves, however slowly, is left alone. One in which nothing moves for the time given
//! has failed, wherever it hangs.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use serde_json::Value;
use tokio::time::Instant;
use url::Url;

use crate::Handler;
use crate::body::{Body, ByteRange};
use crate::error::{Error, ErrorKind, Operation};
use crate::location::Location;
use crate::payload::{Payload, PutKey};
use crate::receipt::Receipt;

/// How long an answer is waited for beyond the usual, for each megabyte that was sent: a destination puts the parts of a large
/// object together before it answers.
const FOR_A_MEGABYTE: Duration = Duration::from_millis(50);

/// Ends a put that reads no byte of its payload, a fetch that brings none and a delete that says nothing, for this long.
#[derive(Debug)]
pub struct Deadline {
    inner: Arc<dyn Handler>,
    still: Duration,
}

impl Deadline {
    /// Watches over this handler, and lets it stand still for so long.
    #[must_use]
    pub fn new(inner: Arc<dyn Handler>, still: Duration) -> Self {
        Self { inner, still }
    }
}

#[async_trait]
impl Handler for Deadline {
    async fn reserve(&self, location: &Location, key: &PutKey) -> Result<Option<String>, Error> {
        let done = tokio::time::timeout(self.still, self.inner.reserve(location, key)).await;
        done.map_err(|_| stalled(Operation::Reserve))?
    }

    async fn put(&self, location: &Location, payload: &Payload, key: &PutKey) -> Result<Receipt, Error> {
        let moved = Arc::new(Mutex::new(Instant::now()));
        let mark = moved.clone();
        let watched = payload.watched(move |_| *mark.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now());
        let megabytes = u32::try_from(payload.length >> 20).unwrap_or(u32::MAX);
        let patience = self.still.saturating_add(FOR_A_MEGABYTE.saturating_mul(megabytes));
        tokio::select! {
            biased;
            done = self.inner.put(location, &watched, key) => done,
            () = still(&moved, patience) => Err(stalled(Operation::Put)),
        }
    }

    async fn fetch(&self, receipt: &Receipt, range: Option<ByteRange>, metadata: &Value) -> Result<Body, Error> {
        let began = tokio::time::timeout(self.still, self.inner.fetch(receipt, range, metadata)).await;
        let body = began.map_err(|_| stalled(Operation::Fetch))??;
        let patience = self.still;
        let stream = stream::unfold(Some(body.stream), move |source| async move {
            let mut source = source?;
            match tokio::time::timeout(patience, source.next()).await {
                Ok(piece) => piece.map(|piece| (piece, Some(source))),
                Err(_) => Some((Err(stalled(Operation::Fetch)), None)),
            }
        });
        Ok(Body { stream: stream.boxed(), ..body })
    }

    async fn delete(&self, receipt: &Receipt) -> Result<(), Error> {
        let done = tokio::time::timeout(self.still, self.inner.delete(receipt)).await;
        done.map_err(|_| stalled(Operation::Delete))?
    }

    async fn presign(&self, receipt: &Receipt, disposition: &str) -> Result<Option<Url>, Error> {
        let done = tokio::time::timeout(self.still, self.inner.presign(receipt, disposition)).await;
        done.map_err(|_| stalled(Operation::Fetch))?
    }

    fn wants_metadata(&self) -> bool {
        self.inner.wants_metadata()
    }

    fn at_least_once(&self) -> bool {
        self.inner.at_least_once()
    }
}

async fn still(moved: &Mutex<Instant>, patience: Duration) {
    loop {
        let until = *moved.lock().unwrap_or_else(PoisonError::into_inner) + patience;
        if Instant::now() >= until {
            return;
        }
        tokio::time::sleep_until(until).await;
    }
}

fn stalled(operation: Operation) -> Error {
    Error::new(operation, ErrorKind::Timeout, "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receipt::Assurance;
    use bytes::Bytes;
    use futures_util::TryStreamExt;

    /// Takes this long for each byte of a payload, and hangs after the last when it is told to.
    #[derive(Debug)]
    struct Slow {
        byte: Duration,
        hangs: bool,
    }

    fn receipt() -> Receipt {
        Receipt {
            handler: "slow".into(),
            location: serde_json::from_str("\"a\"").unwrap(),
            destination: String::new(),
            length: 4,
            content_type: String::new(),
            sha256: String::new(),
            etag: None,
            version: None,
            id: None,
            assurance: Assurance::Acknowledged,
            base64: false,
            moved_to: None,
            shared: false,
        }
    }

    #[async_trait]
    impl Handler for Slow {
        async fn put(&self, _: &Location, payload: &Payload, _: &PutKey) -> Result<Receipt, Error> {
            for at in 0..payload.length {
                let piece: Vec<Bytes> = payload.open(Some(at..at + 1)).try_collect().await.unwrap();
                assert_eq!(piece.concat().len(), 1);
                tokio::time::sleep(self.byte).await;
            }
            if self.hangs {
                std::future::pending::<()>().await;
            }
            Ok(receipt())
        }

        async fn fetch(&self, receipt: &Receipt, _: Option<ByteRange>, _: &Value) -> Result<Body, Error> {
            let (byte, hangs, length) = (self.byte, self.hangs, receipt.length);
            let stream = stream::unfold(0, move |at| async move {
                if at == length && hangs {
                    std::future::pending::<()>().await;
                }
                tokio::time::sleep(byte).await;
                (at < length).then_some((Ok(Bytes::from_static(b"x")), at + 1))
            });
            Ok(Body { content_type: None, total: None, range: None, stream: stream.boxed() })
        }

        async fn delete(&self, _: &Receipt) -> Result<(), Error> {
            std::future::pending().await
        }
    }

    async fn outcomes(byte: u64, hangs: bool) -> (Result<(), ErrorKind>, Result<usize, ErrorKind>) {
        let slow = Slow { byte: Duration::from_millis(byte), hangs };
        let bounded = Deadline::new(Arc::new(slow), Duration::from_millis(1500));
        let payload = Payload::bytes(&b"abcd"[..], "text/plain");
        let place = receipt().location;
        let key = PutKey::default();
        let put = bounded.put(&place, &payload, &key);
        let fetched = async { bounded.fetch(&receipt(), None, &Value::Null).await.unwrap().read(100).await };
        let (put, fetched) = tokio::join!(put, fetched);
        (put.map(|_| ()).map_err(|error| error.kind()), fetched.map(|bytes| bytes.len()).map_err(|error| error.kind()))
    }

    #[tokio::test]
    async fn slow_is_left_alone() {
        assert_eq!(
            outcomes(500, false).await,
            (Ok(()), Ok(4)),
            "longer in all than may be stood still, and never still that long"
        );
    }

    #[tokio::test]
    async fn what_stands_still_is_ended() {
        assert_eq!(outcomes(1, true).await, (Err(ErrorKind::Timeout), Err(ErrorKind::Timeout)));
        let slow = Slow { byte: Duration::ZERO, hangs: true };
        let bounded = Deadline::new(Arc::new(slow), Duration::from_millis(10));
        assert_eq!(bounded.delete(&receipt()).await.unwrap_err().kind(), ErrorKind::Timeout);
    }
}

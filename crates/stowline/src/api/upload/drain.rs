//! The rest of a body that nobody reads.
//!
//! A client that is answered while it still sends may never see the answer: closing the connection over unread bytes resets it. So what is
//! left of an upload when its reader lets go is read and thrown away for a while, in the background.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::BodyDataStream;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};

/// How much is thrown away at most, and for how long.
const BYTES: u64 = 64 << 20;
const PATIENCE: Duration = Duration::from_secs(10);

/// A body that is read to its end even when its reader is dropped before.
pub(super) struct Drained {
    body: Option<BodyDataStream>,
}

impl Drained {
    pub(super) fn new(body: BodyDataStream) -> Self {
        Self { body: Some(body) }
    }
}

impl Stream for Drained {
    type Item = std::io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(body) = self.body.as_mut() else { return Poll::Ready(None) };
        match body.poll_next_unpin(context) {
            Poll::Ready(Some(Ok(chunk))) => Poll::Ready(Some(Ok(chunk))),
            Poll::Ready(Some(Err(error))) => {
                self.body = None;
                Poll::Ready(Some(Err(std::io::Error::other(error))))
            }
            Poll::Ready(None) => {
                self.body = None;
                Poll::Ready(None)
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl Drop for Drained {
    fn drop(&mut self) {
        let Some(mut body) = self.body.take() else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            let drain = async {
                let mut thrown = 0;
                while let Some(Ok(chunk)) = body.next().await {
                    thrown += chunk.len() as u64;
                    if thrown > BYTES {
                        return;
                    }
                }
            };
            // Out of patience or not: the connection is closed then.
            let _ = tokio::time::timeout(PATIENCE, drain).await;
        });
    }
}

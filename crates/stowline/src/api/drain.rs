//! The rest of a body that nobody reads.
//!
//! A client that is answered while it still sends may never see the answer: closing the connection over unread bytes resets it. So what is
//! left of a body when its reader lets go is read and thrown away for a while, in the background. Only who waits to be told to go on
//! (`Expect: 100-continue`) is not told so for that.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, BodyDataStream, HttpBody};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http::HeaderMap;
use http::header::EXPECT;

/// How much is thrown away at most, and for how long.
const BYTES: u64 = 64 << 20;
const PATIENCE: Duration = Duration::from_secs(10);

/// A body that is read to its end even when its reader is dropped before.
pub struct Drained {
    body: Option<BodyDataStream>,
    /// The client holds its body back until somebody asks for it.
    held_back: bool,
}

impl Drained {
    /// The body of a request with these headers.
    pub fn new(headers: &HeaderMap, body: Body) -> Self {
        let sent = !body.is_end_stream();
        Self { body: sent.then(|| body.into_data_stream()), held_back: headers.contains_key(EXPECT) }
    }
}

impl Stream for Drained {
    type Item = std::io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.held_back = false;
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
        let Some(mut body) = self.body.take().filter(|_| !self.held_back) else { return };
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

//! The rest of a body that nobody reads.
//!
//! A client that is answered while it still sends may never see the answer: closing the connection over unread bytes resets it. So what is
//! left of a body when its reader lets go is read and thrown away for a while, in the background. Only who waits to be told to go on
//! (`Expect: 100-continue`) is not told so for that.
//!
//! A body that stands still, or that trickles, is not waited for: who sends it may only want to hold on to the connection.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, BodyDataStream, HttpBody};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http::HeaderMap;
use http::header::EXPECT;
use tokio::time::{Instant, Sleep, sleep_until};

/// How much is thrown away at most, and for how long.
const BYTES: u64 = 64 << 20;
const PATIENCE: Duration = Duration::from_secs(10);

/// The fewest bytes a second, once a body has been coming for longer than it may stand still.
const SLOWEST: u64 = 512;

/// A body that is read to its end even when its reader is dropped before.
pub struct Drained {
    body: Option<BodyDataStream>,
    pace: Option<Pace>,
    /// The client holds its body back until somebody asks for it.
    held_back: bool,
}

impl Drained {
    /// The body of a request with these headers, which may stand still for as long as `still`; for ever when that is nothing.
    pub fn new(headers: &HeaderMap, body: Body, still: Duration) -> Self {
        let sent = !body.is_end_stream();
        let pace = (sent && !still.is_zero()).then(|| Pace::new(still));
        Self { body: sent.then(|| body.into_data_stream()), pace, held_back: headers.contains_key(EXPECT) }
    }
}

/// How fast a body comes.
struct Pace {
    still: Duration,
    begun: Instant,
    /// When something came.
    moved: Instant,
    received: u64,
    /// When to see whether something came since; none before the body was waited for.
    look: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    fn new(still: Duration) -> Self {
        let now = Instant::now();
        Self { still, begun: now, moved: now, received: 0, look: None }
    }

    /// Notes what came; false when it was too little for too long.
    fn moved(&mut self, bytes: usize) -> bool {
        self.received = self.received.saturating_add(bytes as u64);
        self.moved = Instant::now();
        let going = self.moved - self.begun;
        going <= self.still || self.received >= going.as_secs().saturating_mul(SLOWEST)
    }

    /// Done when nothing came for too long.
    fn poll_stopped(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            let until = self.moved + self.still;
            let look = self.look.get_or_insert_with(|| Box::pin(sleep_until(until)));
            ready!(look.as_mut().poll(context));
            if until <= Instant::now() {
                return Poll::Ready(());
            }
            look.as_mut().reset(until);
        }
    }
}

fn too_slow() -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::TimedOut, "the body came too slowly")
}

impl Stream for Drained {
    type Item = std::io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.held_back = false;
        let Some(body) = self.body.as_mut() else { return Poll::Ready(None) };
        let ended = match body.poll_next_unpin(context) {
            Poll::Ready(Some(Ok(chunk))) if self.pace.as_mut().is_none_or(|pace| pace.moved(chunk.len())) => {
                return Poll::Ready(Some(Ok(chunk)));
            }
            Poll::Ready(Some(Ok(_))) => Some(too_slow()),
            Poll::Ready(Some(Err(error))) => Some(std::io::Error::other(error)),
            Poll::Ready(None) => None,
            Poll::Pending => match self.pace.as_mut().map(|pace| pace.poll_stopped(context)) {
                Some(Poll::Ready(())) => Some(too_slow()),
                _ => return Poll::Pending,
            },
        };
        self.body = None;
        Poll::Ready(ended.map(Err))
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

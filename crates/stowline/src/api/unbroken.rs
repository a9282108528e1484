//! What is begun is ended: a client that hangs up does not stop a change half-way.
//!
//! The server drops the future of a request whose connection ends. Here what was dropped goes on by itself, as a task of its own; while nobody hangs
//! up it takes no task, no second wake-up and no other thread. A body that is long is worth another thread from the beginning: one receives, the other
//! digests and writes.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::HttpBody;
use axum::extract::Request;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

/// Bytes of a body that are soon received.
const SHORT: u64 = 1 << 20;

/// What becomes of the work on a request, which is polled to its end whether or not somebody waits for it; or what a panic said.
pub(super) async fn unbroken<T, F>(request: Request, work: impl FnOnce(Request) -> F) -> Result<T, String>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let is_short = request.body().size_hint().upper().is_some_and(|length| length <= SHORT);
    if is_short {
        return Unbroken::new(work(request)).await.map_err(|panic| said(&*panic));
    }
    tokio::spawn(work(request))
        .await
        .map_err(|error| error.try_into_panic().map_or_else(|error| error.to_string(), |panic| said(&*panic)))
}

/// What a panic said.
type Panic = Box<dyn Any + Send>;

fn said(panic: &(dyn Any + Send)) -> String {
    let fixed = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    fixed.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without words".to_owned())
}

/// A future that goes on when it is dropped.
struct Unbroken<T: Send + 'static> {
    work: Option<BoxFuture<'static, Result<T, Panic>>>,
}

impl<T: Send + 'static> Unbroken<T> {
    fn new(work: impl Future<Output = T> + Send + 'static) -> Self {
        Self { work: Some(AssertUnwindSafe(work).catch_unwind().boxed()) }
    }
}

impl<T: Send + 'static> Future for Unbroken<T> {
    type Output = Result<T, Panic>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(work) = &mut self.work else { return Poll::Pending };
        let done = ready!(work.as_mut().poll(context));
        self.work = None;
        Poll::Ready(done)
    }
}

impl<T: Send + 'static> Drop for Unbroken<T> {
    fn drop(&mut self) {
        if let (Some(work), Ok(runtime)) = (self.work.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(work);
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use futures_util::stream;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn what_is_dropped_goes_on() {
        let ((go, wait), (done, told)) = (oneshot::channel::<()>(), oneshot::channel());
        let mut work = Unbroken::new(async move {
            wait.await.unwrap();
            done.send(5).unwrap();
        });
        assert!((&mut work).now_or_never().is_none());
        drop(work);
        go.send(()).unwrap();
        assert_eq!(told.await, Ok(5));
    }

    #[tokio::test]
    async fn what_was_never_polled_is_done_too_and_what_is_done_is_done_once() {
        let (done, told) = oneshot::channel();
        drop(Unbroken::new(async move { done.send(6).unwrap() }));
        assert_eq!(told.await, Ok(6));
        assert_eq!(Unbroken::new(async { 7 }).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn a_panic_is_an_answer() {
        // A short body, and one whose end nobody knows.
        for body in [Body::empty, || Body::from_stream(stream::empty::<Result<&str, std::io::Error>>())] {
            let request = || Request::new(body());
            let fault: Result<(), _> = unbroken(request(), |_| async { panic!("of a fault") }).await;
            assert_eq!(fault.unwrap_err(), "of a fault");
            let fault: Result<(), _> = unbroken(request(), |_| async { panic!("of fault {}", 8) }).await;
            assert_eq!(fault.unwrap_err(), "of fault 8");
            assert_eq!(unbroken(request(), |_| async { 9 }).await, Ok(9));
        }
    }
}

//! The listener that all servers of this crate share: accept, log, break on demand, answer.
//!
//! A server gives it a function from request to answer. The listener owns the port (stop, start again), the script of
//! faults and the log of requests, so that these behave alike everywhere. It runs on a runtime of its own that lives as
//! long as the process: nothing here ever waits for the test's runtime.

use crate::Fault;
use axum::body::{Body, BodyDataStream, to_bytes};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt};
use http::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use std::collections::VecDeque;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;

pub(crate) type Error = anyhow::Error;
pub(crate) type Answerer =
    Arc<dyn Fn(Request<Body>) -> BoxFuture<'static, Result<Response<Body>, Error>> + Send + Sync>;
type Rule = Arc<dyn Fn(&Seen) -> Option<Fault> + Send + Sync>;

/// The runtime of all servers of this process.
pub(crate) fn runtime() -> &'static tokio::runtime::Runtime {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("testkit")
            .enable_all()
            .build()
            .expect("a runtime for the test servers")
    })
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A request as its head arrived, and what was done to it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The method, in capitals.
    pub method: String,
    /// The path as sent, percent-encoding untouched, without the query.
    pub path: String,
    /// The query as sent, without the question mark; empty when there was none.
    pub query: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The fault that was chosen for it.
    pub fault: Fault,
}

/// The script of a server: which request meets which [`Fault`]. Cloning gives another handle on the same script.
///
/// A rule is asked first; where it has no opinion the queue gives its next fault; an empty queue leaves the default.
#[derive(Clone, Default)]
pub struct Faults {
    inner: Arc<FaultsInner>,
}

#[derive(Default)]
struct FaultsInner {
    script: Mutex<Script>,
    arrived: Notify,
}

#[derive(Default)]
struct Script {
    rule: Option<Rule>,
    queue: VecDeque<Fault>,
    otherwise: Option<Fault>,
    seen: Vec<Seen>,
    deaf: bool,
}

impl std::fmt::Debug for Faults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let script = lock(&self.inner.script);
        f.debug_struct("Faults")
            .field("queue", &script.queue)
            .field("otherwise", &script.otherwise)
            .finish_non_exhaustive()
    }
}

impl Faults {
    /// The next requests meet these faults, one each, in order.
    pub fn next(&self, faults: impl IntoIterator<Item = Fault>) {
        lock(&self.inner.script).queue.extend(faults);
    }

    /// Every request that nothing else was said about meets this fault. `Fault::Pass` heals.
    pub fn always(&self, fault: Fault) {
        lock(&self.inner.script).otherwise = Some(fault);
    }

    /// Asks this function first, for each request; `None` leaves the request to the queue.
    pub fn rule(&self, rule: impl Fn(&Seen) -> Option<Fault> + Send + Sync + 'static) {
        lock(&self.inner.script).rule = Some(Arc::new(rule));
    }

    /// Forgets rule, queue and default: from here everything is served.
    pub fn heal(&self) {
        let mut script = lock(&self.inner.script);
        script.rule = None;
        script.queue.clear();
        script.otherwise = None;
    }

    /// All requests so far, oldest first.
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.inner.script).seen.clone()
    }

    /// Stops the log of requests: for load tests, where it would only grow.
    pub fn stop_log(&self) {
        let mut script = lock(&self.inner.script);
        script.deaf = true;
        script.seen = Vec::new();
    }

    /// Waits until so many requests have arrived, and panics after `patience`.
    pub async fn wait_for(&self, requests: usize, patience: Duration) {
        let enough = async {
            loop {
                let arrival = self.inner.arrived.notified();
                tokio::pin!(arrival);
                arrival.as_mut().enable();
                if lock(&self.inner.script).seen.len() >= requests {
                    return;
                }
                arrival.await;
            }
        };
        if tokio::time::timeout(patience, enough).await.is_err() {
            let seen: Vec<String> =
                self.seen().iter().map(|seen| format!("{} {} {:?}", seen.method, seen.path, seen.fault)).collect();
            panic!("{} of {requests} requests arrived in {patience:?}: {seen:#?}", seen.len());
        }
    }

    fn choose(&self, request: &Request<Body>) -> Fault {
        let mut seen = Seen {
            method: request.method().to_string(),
            path: request.uri().path().to_owned(),
            query: request.uri().query().unwrap_or_default().to_owned(),
            headers: request.headers().clone(),
            fault: Fault::Pass,
        };
        // The rule is the test's code: it runs outside the lock, so that it may look at this script itself.
        let rule = lock(&self.inner.script).rule.clone();
        let ruled = rule.and_then(|rule| rule(&seen));
        let mut script = lock(&self.inner.script);
        seen.fault =
            ruled.or_else(|| script.queue.pop_front()).or_else(|| script.otherwise.clone()).unwrap_or(Fault::Pass);
        let fault = seen.fault.clone();
        if !script.deaf {
            script.seen.push(seen);
        }
        drop(script);
        self.inner.arrived.notify_waiters();
        fault
    }
}

/// An HTTP server on a loopback port. Dropping it stops it.
pub(crate) struct Listener {
    address: SocketAddr,
    answerer: Answerer,
    pub(crate) faults: Faults,
    running: Mutex<Option<Running>>,
}

struct Running {
    stop: oneshot::Sender<()>,
    stopped: std::sync::mpsc::Receiver<()>,
}

impl Listener {
    /// Binds to this address (port 0: any free one) and serves.
    pub(crate) fn start(address: SocketAddr, answerer: Answerer) -> std::io::Result<Self> {
        let listener = StdListener::bind(address)?;
        let this = Listener {
            address: listener.local_addr()?,
            answerer,
            faults: Faults::default(),
            running: Mutex::new(None),
        };
        this.serve(listener)?;
        Ok(this)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes the port and every connection at once, as a crash would. Doing it twice is no fault.
    pub(crate) fn stop(&self) {
        if let Some(running) = lock(&self.running).take() {
            let _ = running.stop.send(());
            let _ = running.stopped.recv();
        }
    }

    /// Serves again on the same port.
    pub(crate) fn restart(&self) {
        self.stop();
        let listener = StdListener::bind(self.address).expect("the port is still ours");
        self.serve(listener).expect("the port can be served");
    }

    fn serve(&self, listener: StdListener) -> std::io::Result<()> {
        listener.set_nonblocking(true)?;
        let listener = {
            let _inside = runtime().enter();
            TcpListener::from_std(listener)?
        };
        let (stop, stopping) = oneshot::channel();
        let (done, stopped) = std::sync::mpsc::channel();
        let (answerer, faults) = (self.answerer.clone(), self.faults.clone());
        runtime().spawn(async move {
            accept(listener, stopping, answerer, faults).await;
            let _ = done.send(());
        });
        *lock(&self.running) = Some(Running { stop, stopped });
        Ok(())
    }
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Listener").field(&self.address).finish()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Only asked to stop, not waited for: a test's thread may be the last thing that keeps the other side alive.
        if let Some(running) = lock(&self.running).take() {
            let _ = running.stop.send(());
        }
    }
}

async fn accept(listener: TcpListener, mut stopping: oneshot::Receiver<()>, answerer: Answerer, faults: Faults) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = &mut stopping => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    connections.spawn(connection(stream, answerer.clone(), faults.clone()));
                }
            }
        }
    }
    drop(listener);
    connections.shutdown().await;
}

async fn connection(stream: TcpStream, answerer: Answerer, faults: Faults) {
    let _ = stream.set_nodelay(true);
    // A second handle on the socket: hyper owns the first, and a reset has to be prepared on the socket itself.
    let Ok(socket) = socket2::SockRef::from(&stream).try_clone() else {
        return;
    };
    let socket = Arc::new(socket);
    let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
        let (answerer, faults, socket) = (answerer.clone(), faults.clone(), socket.clone());
        let answered: BoxFuture<'static, Result<Response<Body>, Error>> =
            Box::pin(async move { answer(request.map(Body::new), &answerer, &faults, &socket).await });
        answered
    });
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(
    request: Request<Body>,
    answerer: &Answerer,
    faults: &Faults,
    socket: &Arc<socket2::Socket>,
) -> Result<Response<Body>, Error> {
    match faults.choose(&request) {
        Fault::Pass => answerer(request).await,
        Fault::Delay(pause) => {
            tokio::time::sleep(pause).await;
            answerer(request).await
        }
        Fault::Answer { status, headers, body } => {
            drain(request.into_body()).await;
            let mut response = Response::builder().status(status);
            for (name, value) in headers {
                response = response.header(name, value);
            }
            Ok(response.body(Body::from(body))?)
        }
        Fault::Reset => reset(socket),
        Fault::ResetDuringUpload { after } => {
            beginning(request.into_body(), after).await;
            reset(socket)
        }
        Fault::KeepPart { after } => {
            let (head, body) = request.into_parts();
            let part = Body::from(beginning(body, after).await);
            drain(answerer(Request::from_parts(head, part)).await?.into_body()).await;
            reset(socket)
        }
        Fault::LoseAnswer => {
            let answer = answerer(request).await?;
            drain(answer.into_body()).await;
            reset(socket)
        }
        Fault::Truncate { after } => truncated(answerer(request).await?, after).await,
        Fault::Trickle { piece, pause } => trickled(answerer(request).await?, piece.max(1), pause).await,
        Fault::CorruptUpload => answerer(request.map(corrupted)).await,
        Fault::CorruptAnswer => Ok(answerer(request).await?.map(corrupted)),
        Fault::BlackHole => {
            drain(request.into_body()).await;
            std::future::pending().await
        }
    }
}

/// The first so many bytes of a body, or those that come.
async fn beginning(body: Body, count: usize) -> Vec<u8> {
    let (mut body, mut read) = (body.into_data_stream(), Vec::new());
    while read.len() < count {
        match body.next().await {
            Some(Ok(bytes)) => read.extend_from_slice(&bytes),
            _ => break,
        }
    }
    read.truncate(count);
    read
}

fn reset(socket: &socket2::Socket) -> Result<Response<Body>, Error> {
    socket.set_linger(Some(Duration::ZERO))?;
    Err(anyhow::anyhow!("reset on purpose"))
}

pub(crate) async fn drain(body: Body) {
    let mut stream = body.into_data_stream();
    while let Some(Ok(_)) = stream.next().await {}
}

fn corrupted(body: Body) -> Body {
    let mut first = true;
    let stream: BodyDataStream = body.into_data_stream();
    Body::from_stream(stream.map(move |piece| {
        piece.map(|bytes| {
            if !first || bytes.is_empty() {
                return bytes;
            }
            first = false;
            let mut changed = bytes.to_vec();
            changed[0] ^= 0xff;
            Bytes::from(changed)
        })
    }))
}

/// The whole body with its length promised in the head, so that an early end can be noticed.
async fn buffered(answer: Response<Body>) -> Result<(http::response::Parts, Bytes), Error> {
    let (mut head, body) = answer.into_parts();
    let bytes = to_bytes(body, usize::MAX).await?;
    head.headers.insert(http::header::CONTENT_LENGTH, bytes.len().into());
    head.headers.remove(http::header::TRANSFER_ENCODING);
    Ok((head, bytes))
}

async fn truncated(answer: Response<Body>, after: usize) -> Result<Response<Body>, Error> {
    let (head, bytes) = buffered(answer).await?;
    let sent = bytes.slice(..after.min(bytes.len()));
    let pieces: Vec<Result<Bytes, Error>> = if sent.len() < bytes.len() {
        vec![Ok(sent), Err(anyhow::anyhow!("truncated on purpose"))]
    } else {
        vec![Ok(sent)]
    };
    // Between the two pieces hyper gets its chance to write what it has.
    let stream = stream::iter(pieces).then(|piece| async move {
        tokio::time::sleep(Duration::from_millis(20)).await;
        piece
    });
    Ok(Response::from_parts(head, Body::from_stream(stream)))
}

async fn trickled(answer: Response<Body>, piece: usize, pause: Duration) -> Result<Response<Body>, Error> {
    let (head, bytes) = buffered(answer).await?;
    let pieces: Vec<Bytes> =
        (0..bytes.len()).step_by(piece).map(|at| bytes.slice(at..(at + piece).min(bytes.len()))).collect();
    let stream = stream::iter(pieces).then(move |bytes| async move {
        tokio::time::sleep(pause).await;
        Ok::<_, Error>(bytes)
    });
    Ok(Response::from_parts(head, Body::from_stream(stream)))
}

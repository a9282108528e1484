//! A line to a server, of any protocol over TCP: it passes everything, is cut after so many bytes, goes silent, or is taken away.

use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::wire::{lock, runtime};

/// A proxy on a free loopback port before one server.
#[derive(Debug)]
pub struct Line {
    address: SocketAddr,
    state: Arc<State>,
    accepting: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct State {
    /// Bytes towards the server that still pass; then every connection is reset.
    left: AtomicU64,
    silent: AtomicBool,
    connections: Mutex<Vec<JoinHandle<()>>>,
    opened: AtomicU64,
}

impl Line {
    /// Starts before this server, and passes everything.
    pub fn to(server: SocketAddr) -> Self {
        let listener = StdListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free loopback port");
        let address = listener.local_addr().expect("its address");
        listener.set_nonblocking(true).expect("a socket for the runtime");
        let state = Arc::new(State {
            left: AtomicU64::new(u64::MAX),
            silent: AtomicBool::new(false),
            connections: Mutex::default(),
            opened: AtomicU64::new(0),
        });
        let shared = state.clone();
        let accepting = runtime().spawn(async move {
            let listener = TcpListener::from_std(listener).expect("a socket for the runtime");
            while let Ok((client, _)) = listener.accept().await {
                shared.opened.fetch_add(1, Ordering::SeqCst);
                let connection = runtime().spawn(pass(client, server, shared.clone()));
                lock(&shared.connections).push(connection);
            }
        });
        Self { address, state, accepting: Mutex::new(Some(accepting)) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections that were opened so far.
    pub fn opened(&self) -> u64 {
        self.state.opened.load(Ordering::SeqCst)
    }

    /// Resets every connection when so many more bytes have gone to the server.
    pub fn cut_after(&self, bytes: u64) {
        self.state.left.store(bytes, Ordering::SeqCst);
    }

    /// From now on nothing passes, and nobody is told.
    pub fn be_silent(&self) {
        self.state.silent.store(true, Ordering::SeqCst);
    }

    /// Everything passes again. Connections that were cut stay cut; those that were silent are reset.
    pub fn heal(&self) {
        self.state.left.store(u64::MAX, Ordering::SeqCst);
        if self.state.silent.swap(false, Ordering::SeqCst) {
            self.reset();
        }
    }

    /// Ends all connections; new ones are taken.
    pub fn reset(&self) {
        lock(&self.state.connections).drain(..).for_each(|connection| connection.abort());
    }

    /// Refuses connections, and ends those that are open.
    pub fn stop(&self) {
        if let Some(accepting) = lock(&self.accepting).take() {
            accepting.abort();
            // The port is closed when the task is gone.
            while !accepting.is_finished() {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        self.reset();
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        lock(&self.accepting).take().into_iter().for_each(|accepting| accepting.abort());
        self.reset();
    }
}

async fn pass(client: TcpStream, server: SocketAddr, state: Arc<State>) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    for stream in [&client, &server] {
        let _ = stream.set_nodelay(true);
        // When the two are dropped the other sides see a reset.
        let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
    }
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = copy(from_client, to_server, &state, true) => {}
        () = copy(from_server, to_client, &state, false) => {}
    }
}

/// Until one side ends or the line is cut.
async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, state: &State, counted: bool) {
    let mut piece = vec![0; 16 << 10];
    loop {
        let Ok(count) = from.read(&mut piece).await else { return };
        if count == 0 {
            // What was sent last has to arrive before the reset.
            let _ = to.shutdown().await;
            tokio::time::sleep(Duration::from_millis(50)).await;
            return;
        }
        if state.silent.load(Ordering::SeqCst) {
            return std::future::pending().await;
        }
        let left = state.left.load(Ordering::SeqCst);
        if counted && left != u64::MAX {
            state.left.store(left.saturating_sub(count as u64), Ordering::SeqCst);
            if left <= count as u64 {
                return;
            }
        }
        if to.write_all(&piece[..count]).await.is_err() {
            return;
        }
    }
}

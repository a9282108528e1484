//! The API's connections: each is served on a task of its own until it ends, or until we stop.
//!
//! A client that takes its time with the head of a request, or that has nothing more to ask, loses its connection after a while; what takes its time
//! with a body, `api::drain` cuts off. So a client that only holds on to a connection holds it for no longer than that.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::ConnectInfo;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::api;
use crate::app::App;

/// What is read of a connection at once, and the longest head of a request. Larger pieces gain nothing, and a hundred uploads would hold as many.
const PIECE: usize = 64 << 10;
/// How long to wait when no connection can be accepted, for want of file descriptors as a rule.
const SHORT_OF_FILES: Duration = Duration::from_millis(200);

/// Serves until `stopping`, then until the requests that run are answered.
pub async fn serve(app: Arc<App>, listener: TcpListener, stopping: CancellationToken) {
    let connections = GracefulShutdown::new();
    while let Some(accepted) = stopping.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((stream, peer)) => serve_connection(&app, &connections, stream, peer),
            Err(error) if is_the_clients(&error) => {}
            Err(error) => {
                tracing::warn!(error = %error, "no connection can be accepted for now");
                tokio::time::sleep(SHORT_OF_FILES).await;
            }
        }
    }
    drop(listener);
    connections.shutdown().await;
}

fn is_the_clients(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset)
}

fn serve_connection(app: &Arc<App>, connections: &GracefulShutdown, stream: TcpStream, peer: SocketAddr) {
    let _ = stream.set_nodelay(true);
    let app = app.clone();
    let deadline = app.config.server.header_timeout;
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        let app = app.clone();
        async move { Ok::<_, Infallible>(api::answer(app, request).await) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).max_buf_size(PIECE);
    builder.header_read_timeout((!deadline.is_zero()).then_some(deadline));
    let serving = connections.watch(builder.serve_connection(TokioIo::new(stream), service));
    tokio::spawn(async move {
        if let Err(error) = serving.await {
            tracing::trace!(error = %error, "a connection ended early");
        }
    });
}

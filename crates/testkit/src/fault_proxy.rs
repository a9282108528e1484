//! A proxy that stands before a server and breaks the wire by script.
//!
//! What passes, passes unchanged: method, path as it was written, headers with `Host`, and the body as a stream, so that a
//! signature made for the proxy's address holds at the server behind it.

use crate::wire::{Answerer, Error, Faults, Listener};
use axum::body::Body;
use http::{HeaderValue, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio::net::TcpStream;

/// An HTTP proxy on a free loopback port before one upstream address.
#[derive(Debug)]
pub struct FaultProxy {
    listener: Listener,
    upstream: SocketAddr,
}

impl FaultProxy {
    /// Starts before `upstream`, for instance [`S3Server::address`](crate::S3Server::address). Passes everything at first.
    pub fn start(upstream: SocketAddr) -> Self {
        let answerer: Answerer = Arc::new(move |request| Box::pin(forward(upstream, request)));
        let listener = Listener::start((Ipv4Addr::LOCALHOST, 0).into(), answerer).expect("a free loopback port");
        FaultProxy { listener, upstream }
    }

    /// The proxy's own address.
    pub fn address(&self) -> SocketAddr {
        self.listener.address()
    }

    /// The address that it stands before.
    pub fn upstream(&self) -> SocketAddr {
        self.upstream
    }

    /// The proxy's base URL, without a slash at its end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// The script of faults and the log of requests.
    pub fn faults(&self) -> &Faults {
        &self.listener.faults
    }

    /// Refuses connections until [`FaultProxy::restart`]; open ones end at once.
    pub fn stop(&self) {
        self.listener.stop();
    }

    /// Listens again on the same port.
    pub fn restart(&self) {
        self.listener.restart();
    }
}

async fn forward(upstream: SocketAddr, mut request: Request<Body>) -> Result<Response<Body>, Error> {
    let Ok(stream) = TcpStream::connect(upstream).await else {
        return Ok(Response::builder()
            .status(StatusCode::BAD_GATEWAY)
            .body(Body::from("the upstream server is down"))?);
    };
    stream.set_nodelay(true)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    // Each request has its own connection upstream, so the client's wishes about its connection stay on this side.
    request.headers_mut().insert(http::header::CONNECTION, HeaderValue::from_static("close"));
    let mut answer = sender.send_request(request).await?;
    answer.headers_mut().remove(http::header::CONNECTION);
    Ok(answer.map(Body::new))
}

//! What the fakes of drives have in common: a port, who gives tokens for it, and a state that requests change.

use crate::OAuthServer;
use crate::wire::{Answerer, Error, Listener};
use axum::body::Body;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

/// Starts a fake on a free loopback port, with an empty state.
pub(crate) fn start<S, F>(answer: F) -> (Listener, Arc<OAuthServer>, Arc<Mutex<S>>)
where
    S: Default + Send + 'static,
    F: Fn(Arc<OAuthServer>, Arc<Mutex<S>>, Request<Body>) -> BoxFuture<'static, Result<Response<Body>, Error>>
        + Send
        + Sync
        + 'static,
{
    let (tokens, state) = (Arc::new(OAuthServer::start()), Arc::new(Mutex::new(S::default())));
    let (admits, kept) = (tokens.clone(), state.clone());
    let answerer: Answerer = Arc::new(move |request| answer(admits.clone(), kept.clone(), request));
    let listener = Listener::start((Ipv4Addr::LOCALHOST, 0).into(), answerer).expect("a free loopback port");
    (listener, tokens, state)
}

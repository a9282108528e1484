//! The store proxy of a Kazoo media manager, on a listener of its own: `PUT /store/{token}/{file name}`, the raw file as the body.
//!
//! Kazoo's switches get such URLs from Kazoo (`proxy_hostname`, `proxy_port` of its media configuration); pointed here, they put recordings, voicemail and
//! faxes into our spool. The answer is Kazoo's, `{"ok":true}`, and means durable: the switch deletes its file on it.
//!
//! Who may: the configured name and password by `Basic`; an ingest key of the token's account with the scope that the document takes, as `Basic` or
//! bearer; who sends no credentials, by the network that they call from. Nobody else learns whether a token names anything.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::response::Response;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use percent_encoding::percent_decode_str;
use serde_json::json;
use sha2::{Digest, Sha256};
use switches::StoreToken;

use super::drain::Drained;
use super::error::Fault;
use super::plain;
use super::proof::basic;
use super::unbroken::unbroken;
use crate::app::store_proxy::{self, Place, Untyped};
use crate::app::{App, Error, ingest_keys};

/// The service of the listener.
pub fn service(app: Arc<App>) -> Router {
    Router::new().fallback(answer).with_state(app)
}

async fn answer(State(app): State<Arc<App>>, ConnectInfo(peer): ConnectInfo<SocketAddr>, request: Request) -> Response {
    match unbroken(request, |request| async move { serve(&app, peer.ip(), request).await }).await {
        Ok(Ok(response) | Err(response)) => response,
        Err(panic) => {
            tracing::error!(panic, "a request to the store proxy ended in a panic");
            plain(StatusCode::INTERNAL_SERVER_ERROR, "internal fault\n")
        }
    }
}

async fn serve(app: &Arc<App>, peer: IpAddr, request: Request) -> Result<Response, Response> {
    let (parts, body) = request.into_parts();
    let body = Drained::new(&parts.headers, body, app.config.server.body_timeout);
    let token = named(parts.uri.path());
    let place = match &token {
        Some(token) => Some(Place::of(app, token).await),
        None => None,
    };
    if !may(app, &parts.headers, peer, place.as_ref()).await.map_err(refused)? {
        let mut response = plain(StatusCode::UNAUTHORIZED, "unauthorized\n");
        response
            .headers_mut()
            .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"stowline store proxy\""));
        return Err(response);
    }
    if parts.method != Method::PUT && parts.method != Method::POST {
        return Err(plain(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n"));
    }
    let (Some(token), Some(place)) = (token, place) else { return Err(plain(StatusCode::NOT_FOUND, "not found\n")) };
    let place = place.map_err(refused)?;
    let header = |name: http::HeaderName| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let sent_as = header(CONTENT_TYPE).unwrap_or_default();
    let (name, content_type) = store_proxy::typed(sent_as, &token.attachment).map_err(|untyped| match untyped {
        Untyped::Unsupported => plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, "neither sound nor a picture\n"),
        Untyped::NoExtension => plain(StatusCode::BAD_REQUEST, "no extension goes with this type\n"),
    })?;
    let limit = app.config.ingest.max_upload_size;
    let announced = header(CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(refused(Error::TooLarge { limit }));
    }
    let document = store_proxy::put(app, place, (&name, &content_type), body).await.map_err(refused)?;
    let answer = json!({"ok": true, "id": document.id.as_ref(), "rev": document.revision.to_string()});
    let mut response = Response::new(Body::from(format!("{answer}\n")));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

/// The token of a path that has exactly two segments below `/store/`.
fn named(path: &str) -> Option<StoreToken> {
    let (token, file) = path.strip_prefix("/store/")?.split_once('/')?;
    if file.is_empty() || file.contains('/') {
        return None;
    }
    StoreToken::parse(&percent_decode_str(token).decode_utf8().ok()?)
}

/// Whether the request may put something into the place that it names.
async fn may(
    app: &App,
    headers: &HeaderMap,
    peer: IpAddr,
    place: Option<&Result<Place, Error>>,
) -> Result<bool, Error> {
    let Some(authorization) = headers.get(AUTHORIZATION) else {
        // A peer of IPv4 on a listener of IPv6 is still that peer.
        let peer = peer.to_canonical();
        return Ok(app.config.ingest.store_proxy_acl.iter().any(|network| network.contains(&peer)));
    };
    let Some((scheme, rest)) = authorization.to_str().ok().and_then(|value| value.trim().split_once(' ')) else {
        return Ok(false);
    };
    let proofs = match scheme.to_ascii_lowercase().as_str() {
        "bearer" => vec![rest.trim().to_owned()],
        "basic" => {
            let Some((user, password)) = basic(rest) else { return Ok(false) };
            let config = &app.config.ingest;
            let configured = !config.store_proxy_password.expose().is_empty();
            let right =
                same(&user, &config.store_proxy_username) & same(&password, config.store_proxy_password.expose());
            if configured && right {
                return Ok(true);
            }
            vec![password, user]
        }
        _ => return Ok(false),
    };
    let Some(Ok(place)) = place else { return Ok(false) };
    for proof in proofs.iter().filter(|proof| ingest_keys::looks_like_one(proof)) {
        match ingest_keys::authenticate(app, proof).await {
            Ok((key, _)) => {
                return Ok(key.account == place.account().id && place.scope().is_some_and(|scope| key.may(scope)));
            }
            Err(Error::Unauthenticated) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

/// Compares secrets by their digests, so that the time it takes says nothing of where they differ.
fn same(one: &str, other: &str) -> bool {
    Sha256::digest(one) == Sha256::digest(other)
}

/// A refusal in words. The switch keeps its file and tries again.
fn refused(error: Error) -> Response {
    let said = error.to_string();
    let fault = Fault::from(error);
    let mut response = plain(fault.status, format!("{said}\n"));
    for (name, value) in fault.headers.into_iter().filter(|(name, _)| *name == RETRY_AFTER) {
        response.headers_mut().insert(name, value);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_two_segments_and_a_token() {
        let token = StoreToken {
            database: "account%2Fab%2Fcd%2F0123456789abcdef0123456789ab-202611".into(),
            document: "202611-0f6d2a7be1c94c5c8d10b7a2f3e4c5d6".into(),
            attachment: "a.mp3".into(),
            doc_type: None,
            owner: None,
        };
        let text = token.to_text();
        assert_eq!(named(&format!("/store/{text}/a.mp3")), Some(token));
        for none in [
            format!("/store/{text}"),
            format!("/store/{text}/"),
            format!("/store/{text}/a/b"),
            format!("/single/{text}/a"),
            "/store/x/a".into(),
            "/store//a".into(),
        ] {
            assert_eq!(named(&none), None, "{none}");
        }
    }
}

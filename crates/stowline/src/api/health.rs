//! `/healthz` and `/metrics`: for load balancers and Prometheus, outside of the API.

use axum::response::Response;
use http::{Method, StatusCode};

use super::plain;
use crate::app::App;
use crate::telemetry;

/// The answer, when the request is for one of the two.
pub async fn answer(app: &App, method: &Method, path: &str) -> Option<Response> {
    if method != Method::GET && method != Method::HEAD {
        return None;
    }
    match path {
        "/healthz" if app.documents.healthy() && app.journal.healthy() => Some(plain(StatusCode::OK, "ok\n")),
        "/healthz" => Some(plain(StatusCode::SERVICE_UNAVAILABLE, "the store takes no writes\n")),
        "/metrics" => Some(plain(StatusCode::OK, telemetry::render(app).await)),
        _ => None,
    }
}

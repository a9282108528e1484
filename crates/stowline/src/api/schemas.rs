//! What the API says of itself: `/v2/schemas…` and `/v2/api_docs/openapi.json`. It is the same for everybody, so anybody may read it.

use std::sync::Arc;

use axum::response::Response;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use serde_json::Value;

use super::error::Fault;
use super::{Call, Reply};
use crate::app::{App, Error};
use crate::openapi;

fn all(app: &App) -> impl Iterator<Item = (&str, &Value)> {
    app.forms.documents().chain(app.schemas.documents())
}

/// `GET /schemas`: the ids of all schemas.
pub async fn list(app: Arc<App>, _: Call) -> Result<Reply, Fault> {
    let mut ids: Vec<&str> = all(&app).map(|(id, _)| id).collect();
    ids.sort_unstable();
    Ok(Reply::ok(ids.into_iter().map(Value::from).collect::<Vec<_>>()))
}

/// `GET /schemas/{schema}`: a draft-4 schema; others are referred to by bare id.
pub async fn read(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let wanted = call.param("schema");
    let found = all(&app).find(|(id, _)| *id == wanted);
    let (_, schema) = found.ok_or_else(|| Error::NotFound(wanted.to_owned()))?;
    Ok(Reply::ok(schema.clone()))
}

/// `GET /api_docs/openapi.json`: the document as it is, without an envelope.
pub async fn openapi(app: Arc<App>, _: Call) -> Result<Reply, Fault> {
    let mut response = Response::new(openapi::document(&app.forms, &app.schemas).to_string().into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(Reply::Raw(response))
}

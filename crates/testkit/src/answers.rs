//! Answers of the fakes: JSON, bytes or a part of them, a bare status.

use std::collections::BTreeMap;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Response};
use percent_encoding::percent_decode_str;
use serde_json::Value;

use crate::http_store::range;
use crate::wire::Error;

/// A query or a form, read.
pub(crate) fn pairs(text: &str) -> BTreeMap<String, String> {
    let decoded = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (decoded(name), decoded(value))).collect()
}

/// JSON with a status.
pub(crate) fn said(status: u16, body: &Value) -> Result<Response<Body>, Error> {
    let answer = Response::builder().status(status).header("content-type", "application/json");
    Ok(answer.body(Body::from(body.to_string()))?)
}

/// A bare status.
pub(crate) fn failed(status: u16) -> Result<Response<Body>, Error> {
    with_headers(status, &[])
}

/// A status with headers.
pub(crate) fn with_headers(status: u16, headers: &[(&str, &str)]) -> Result<Response<Body>, Error> {
    let answer =
        headers.iter().fold(Response::builder().status(status), |answer, (name, value)| answer.header(*name, *value));
    Ok(answer.body(Body::empty())?)
}

/// Bytes, or the part of them that was asked for.
pub(crate) fn served(headers: &HeaderMap, content_type: &str, bytes: &Bytes) -> Result<Response<Body>, Error> {
    let mut answer = Response::builder().header("content-type", content_type);
    let mut body = bytes.clone();
    if headers.contains_key("range") {
        let total = bytes.len();
        let Some((first, last)) = range(headers, total) else { return failed(416) };
        answer = answer.status(206).header("content-range", format!("bytes {first}-{last}/{total}"));
        body = bytes.slice(first..=last);
    }
    Ok(answer.header("content-length", body.len()).body(Body::from(body))?)
}

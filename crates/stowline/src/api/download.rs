//! An attachment on its way to a client: whole, or the range of it that was asked for.

use attachments::ByteRange;
use axum::body::Body;
use axum::response::Response;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderName,
    IF_RANGE, LOCATION, RANGE,
};
use http::{HeaderValue, StatusCode};
use url::Url;

use super::Call;
use crate::app::fetch::{Answer, Served};

/// The bytes, or the way to them. `disposition` is what `Content-Disposition` says.
pub fn answer(answer: Answer, disposition: String) -> Response {
    match answer {
        Answer::Bytes(served) => response(served, disposition),
        Answer::Elsewhere(url) => elsewhere(&url),
    }
}

/// The bytes as an answer. `disposition` is what `Content-Disposition` says.
pub fn response(served: Served, disposition: String) -> Response {
    let mut headers: Vec<(HeaderName, String)> = vec![
        (CONTENT_TYPE, served.content_type),
        (CONTENT_DISPOSITION, disposition),
        (ACCEPT_RANGES, "bytes".into()),
        (ETAG, format!("\"{}\"", served.etag)),
    ];
    let status = match served.range {
        None => {
            headers.push((CONTENT_LENGTH, served.total.to_string()));
            StatusCode::OK
        }
        Some((first, last)) => {
            headers.push((CONTENT_LENGTH, (last - first + 1).to_string()));
            headers.push((CONTENT_RANGE, format!("bytes {first}-{last}/{}", served.total)));
            StatusCode::PARTIAL_CONTENT
        }
    };
    let mut response = Response::new(Body::from_stream(served.stream));
    *response.status_mut() = status;
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// Sends the reader to where the bytes are. The address is good for a short while, so nobody keeps it.
fn elsewhere(url: &Url) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::FOUND;
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().extend(HeaderValue::from_str(url.as_str()).ok().map(|url| (LOCATION, url)));
    response
}

/// The range that the call asks for of the content that `etag` names.
pub fn range(call: &Call, etag: &str) -> Option<ByteRange> {
    let condition =
        call.headers.get(IF_RANGE).map(|condition| condition.as_bytes() == format!("\"{etag}\"").as_bytes());
    if condition == Some(false) {
        return None;
    }
    let mut lines = call.headers.get_all(RANGE).into_iter();
    match (lines.next(), lines.next()) {
        (Some(line), None) => line.to_str().ok().and_then(read_range),
        _ => None,
    }
}

/// A single range of bytes; none for several, and for what cannot be read as one.
fn read_range(text: &str) -> Option<ByteRange> {
    let (unit, range) = text.split_once('=')?;
    let (first, last) = range.trim().split_once('-')?;
    // A number with more digits than we count to lies behind every end.
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse().unwrap_or(u64::MAX))
    };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    match (first.trim(), last.trim()) {
        ("", last) => number(last).map(ByteRange::Last),
        (first, "") => number(first).map(ByteRange::From),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(ByteRange::FromTo(first, last))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_is_read_and_everything_else_is_not() {
        let read = |text| read_range(text).map(|range| format!("{range:?}"));
        for (text, wanted) in [
            ("bytes=0-3", "FromTo(0, 3)"),
            ("Bytes = 5-", "From(5)"),
            ("bytes=-7", "Last(7)"),
            ("bytes=99999999999999999999-", "From(18446744073709551615)"),
        ] {
            assert_eq!(read(text).as_deref(), Some(wanted), "{text}");
        }
        for text in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=5-4",
            "bytes=0-1,3-4",
            "bytes=a-b",
            "bytes=+1-2",
            "lines=0-1",
            "bytes=0--1",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}

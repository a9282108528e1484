//! A store behind plain HTTP: what is PUT or POSTed to a path is kept and given back, as a customer's own script would.
//!
//! The first upload to a path answers 201, later ones 200; a GET of an unknown path 404. The query is no part of the
//! address: an upload to `/a?from=x` is read at `/a`. Of a multipart upload the last part that is not JSON is kept.

use crate::wire::{Answerer, Error, Faults, Listener, lock};
use axum::body::{Body, to_bytes};
use base64::Engine;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

/// A store that speaks plain HTTP on a loopback port.
#[derive(Debug)]
pub struct HttpStore {
    listener: Listener,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    objects: BTreeMap<String, (String, Bytes)>,
    requests: Vec<StoreRequest>,
    decode_base64: bool,
    ranges: bool,
}

/// A request that reached the store whole.
#[derive(Debug, Clone)]
pub struct StoreRequest {
    /// The method.
    pub method: Method,
    /// The path as sent, percent-encoding untouched.
    pub path: String,
    /// The query as sent, without the question mark.
    pub query: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// One part of a multipart body.
#[derive(Debug, Clone)]
pub struct Part {
    /// The header lines of the part, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// Its `name`, with or without quotes in the wire's form.
    pub name: String,
    /// Its content type, empty when none was given.
    pub content_type: String,
    /// Its bytes.
    pub body: Bytes,
}

impl HttpStore {
    /// Starts on a free port, empty.
    pub fn start() -> Self {
        let kept = Arc::new(Mutex::new(Kept::default()));
        let shared = kept.clone();
        let answerer: Answerer = Arc::new(move |request| Box::pin(serve(shared.clone(), request)));
        let listener = Listener::start((Ipv4Addr::LOCALHOST, 0).into(), answerer).expect("a free loopback port");
        HttpStore { listener, kept }
    }

    /// From now on a GET gives base64 decoded, where what was kept decodes.
    pub fn decode_base64(&self, decode: bool) -> &Self {
        lock(&self.kept).decode_base64 = decode;
        self
    }

    /// From now on a GET with `Range: bytes=a-b` answers 206. Otherwise ranges are ignored, as many a script does.
    pub fn serve_ranges(&self, ranges: bool) -> &Self {
        lock(&self.kept).ranges = ranges;
        self
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.listener.address()
    }

    /// Its base URL, without a slash at its end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// What is kept, by path.
    pub fn objects(&self) -> BTreeMap<String, Bytes> {
        lock(&self.kept).objects.iter().map(|(path, (_, bytes))| (path.clone(), bytes.clone())).collect()
    }

    /// What is kept at this path.
    pub fn object(&self, path: &str) -> Option<Bytes> {
        lock(&self.kept).objects.get(path).map(|(_, bytes)| bytes.clone())
    }

    /// Keeps these bytes at a path, as if they had been uploaded.
    pub fn plant(&self, path: &str, content_type: &str, bytes: &[u8]) {
        lock(&self.kept).objects.insert(path.to_owned(), (content_type.to_owned(), Bytes::copy_from_slice(bytes)));
    }

    /// Forgets what is kept at a path. True when something was.
    pub fn remove(&self, path: &str) -> bool {
        lock(&self.kept).objects.remove(path).is_some()
    }

    /// The requests that were served, oldest first. Those that met a fault before they were served stand in [`HttpStore::faults`].
    pub fn requests(&self) -> Vec<StoreRequest> {
        lock(&self.kept).requests.clone()
    }

    /// The uploads among the requests.
    pub fn uploads(&self) -> Vec<StoreRequest> {
        self.requests()
            .into_iter()
            .filter(|request| request.method == Method::PUT || request.method == Method::POST)
            .collect()
    }

    /// The script of faults and the log of requests.
    pub fn faults(&self) -> &Faults {
        &self.listener.faults
    }

    /// Closes the port and every connection at once; what is kept stays.
    pub fn stop(&self) {
        self.listener.stop();
    }

    /// Serves again on the same port.
    pub fn restart(&self) {
        self.listener.restart();
    }
}

impl StoreRequest {
    /// The parts of a multipart body; `None` when it is not multipart or is malformed.
    pub fn parts(&self) -> Option<Vec<Part>> {
        let content_type = self.headers.get(CONTENT_TYPE)?.to_str().ok()?;
        parts(content_type, &self.body)
    }
}

async fn serve(kept: Arc<Mutex<Kept>>, request: Request<Body>) -> Result<Response<Body>, Error> {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await?;
    let request = StoreRequest {
        method: head.method,
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers: head.headers,
        body,
    };
    let mut kept = lock(&kept);
    kept.requests.push(request.clone());
    Ok(match request.method {
        Method::PUT | Method::POST => kept.upload(&request),
        Method::GET | Method::HEAD => kept.read(&request)?,
        Method::DELETE => match kept.objects.remove(&request.path) {
            Some(_) => status(StatusCode::NO_CONTENT),
            None => status(StatusCode::NOT_FOUND),
        },
        _ => status(StatusCode::METHOD_NOT_ALLOWED),
    })
}

fn status(status: StatusCode) -> Response<Body> {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = status;
    answer
}

impl Kept {
    fn upload(&mut self, request: &StoreRequest) -> Response<Body> {
        let content_type = request.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let object = if content_type.starts_with("multipart/") {
            let file = request
                .parts()
                .and_then(|parts| parts.into_iter().rfind(|part| part.content_type != "application/json"));
            match file {
                Some(part) => (part.content_type, part.body),
                None => return status(StatusCode::BAD_REQUEST),
            }
        } else {
            (content_type.to_owned(), request.body.clone())
        };
        match self.objects.insert(request.path.clone(), object) {
            None => status(StatusCode::CREATED),
            Some(_) => status(StatusCode::OK),
        }
    }

    fn read(&self, request: &StoreRequest) -> Result<Response<Body>, Error> {
        let Some((content_type, kept)) = self.objects.get(&request.path) else {
            return Ok(status(StatusCode::NOT_FOUND));
        };
        let bytes = match self.decode_base64 {
            true => base64::engine::general_purpose::STANDARD.decode(kept).map_or_else(|_| kept.clone(), Bytes::from),
            false => kept.clone(),
        };
        let mut answer = Response::builder();
        if !content_type.is_empty() {
            answer = answer.header(CONTENT_TYPE, content_type);
        }
        let total = bytes.len();
        let body = match self.ranges.then(|| range(&request.headers, total)).flatten() {
            Some((first, last)) => {
                answer = answer.status(206).header("content-range", format!("bytes {first}-{last}/{total}"));
                bytes.slice(first..=last)
            }
            None => bytes,
        };
        answer = answer.header(CONTENT_LENGTH, body.len());
        let body = if request.method == Method::HEAD { Body::empty() } else { Body::from(body) };
        Ok(answer.body(body)?)
    }
}

/// `bytes=a-b`, `bytes=a-` or `bytes=-n` as the first and the last position within `total` bytes.
pub(crate) fn range(headers: &HeaderMap, total: usize) -> Option<(usize, usize)> {
    let (first, last) = headers.get("range")?.to_str().ok()?.strip_prefix("bytes=")?.split_once('-')?;
    let (first, last) = match (first.parse().ok(), last.parse().ok()) {
        (Some(first), Some(last)) => (first, usize::min(last, total.checked_sub(1)?)),
        (Some(first), None) => (first, total.checked_sub(1)?),
        (None, Some(count)) => (total.saturating_sub(count), total.checked_sub(1)?),
        (None, None) => return None,
    };
    (first <= last).then_some((first, last))
}

pub(crate) fn parts(content_type: &str, body: &[u8]) -> Option<Vec<Part>> {
    parts_in_lines(content_type, body, "\r\n")
}

/// The same with lines that end so.
pub(crate) fn parts_in_lines(content_type: &str, body: &[u8], end: &str) -> Option<Vec<Part>> {
    let boundary = content_type.split(';').find_map(|piece| piece.trim().strip_prefix("boundary="))?.trim_matches('"');
    let opening = format!("--{boundary}");
    let between = format!("{end}--{boundary}");
    // A body may open with the delimiter's line break or without.
    let start = find(body, opening.as_bytes())?;
    let mut rest = &body[start + opening.len()..];
    let mut parts = Vec::new();
    while !rest.starts_with(b"--") {
        rest = rest.strip_prefix(end.as_bytes())?;
        let length = find(rest, between.as_bytes())?;
        parts.push(part(&rest[..length], end)?);
        rest = &rest[length + between.len()..];
    }
    Some(parts)
}

fn part(text: &[u8], end: &str) -> Option<Part> {
    let split = find(text, end.repeat(2).as_bytes())?;
    let headers: BTreeMap<String, String> = std::str::from_utf8(&text[..split])
        .ok()?
        .split(end)
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim().to_lowercase(), value.trim().to_owned()))
        .collect();
    let name = headers
        .get("content-disposition")
        .map(String::as_str)
        .unwrap_or_default()
        .split(';')
        .find_map(|piece| piece.trim().strip_prefix("name="))
        .unwrap_or_default()
        .trim_matches('"')
        .to_owned();
    let content_type = headers.get("content-type").cloned().unwrap_or_default();
    Some(Part { headers, name, content_type, body: Bytes::copy_from_slice(&text[split + 2 * end.len()..]) })
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multipart_is_taken_apart_byte_by_byte() {
        let body = b"\r\n--B\r\ncontent-disposition: form-data; name=doc-1\r\ncontent-type: application/json\r\n\r\n{\"a\":1}\
                     \r\n--B\r\nContent-Disposition: form-data; name=\"a.wav\"\r\ncontent-type: audio/wav\r\n\r\n\r\n--A\r\n\r\n--B--";
        let parts = parts("multipart/form-data; boundary=B", body).expect("two parts");
        assert_eq!(parts.len(), 2);
        assert_eq!((parts[0].name.as_str(), &parts[0].body[..]), ("doc-1", &b"{\"a\":1}"[..]));
        assert_eq!((parts[1].name.as_str(), &parts[1].body[..]), ("a.wav", &b"\r\n--A\r\n"[..]));
        assert!(super::parts("multipart/form-data; boundary=B", b"--B\r\nno end").is_none());
    }

    #[test]
    fn ranges_stay_inside() {
        let asked = |text: &str| range(&HeaderMap::from_iter([(http::header::RANGE, text.parse().unwrap())]), 10);
        assert_eq!(asked("bytes=2-4"), Some((2, 4)));
        assert_eq!(asked("bytes=2-400"), Some((2, 9)));
        assert_eq!(asked("bytes=-3"), Some((7, 9)));
        assert_eq!(asked("bytes=10-"), None);
    }
}

//! A large payload goes in parts: begun, a few parts at a time, completed; abandoned parts are removed.
//!
//! Only where Amazon advises it, from a hundred megabytes on: a server has to put the parts together again, and we read each twice, so that up to there
//! one request is less work for both.
//!
//! No part is held in memory. Each is read twice from its file: once for its digests, once to be sent. The server confirms each part
//! by its tag, and the whole by the tag of tags.

use std::ops::Range;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use http::{HeaderMap, HeaderValue, Method, header};
use md5::Md5;
use percent_encoding::utf8_percent_encode;
use sha2::{Digest, Sha256};

use super::evidence::{is_encrypted, is_md5};
use super::wire::Ask;
use super::{Bucket, Evidence, content_md5, is_taken};
use crate::error::{Error, ErrorKind, Operation};
use crate::location::PART;
use crate::payload::Payload;
use crate::receipt::Assurance;

/// What is larger goes in parts.
pub(super) const THRESHOLD: u64 = 100_000_000;
/// The size of a part, unless that makes too many.
const PART_SIZE: u64 = 8 << 20;
/// The most parts that a server takes.
const PARTS: u64 = 10_000;
/// Parts under way at once.
const IN_FLIGHT: usize = 3;

/// A part that has arrived.
struct Arrived {
    number: u64,
    etag: String,
    md5: [u8; 16],
    encrypted: bool,
}

impl Arrived {
    /// Whether its tag has the form of a digest and is not that of the part.
    fn is_doubtful(&self) -> bool {
        let tag = self.etag.trim_matches('"');
        is_md5(tag) && !self.encrypted && !tag.eq_ignore_ascii_case(&hex::encode(self.md5))
    }
}

impl Bucket {
    pub(super) async fn put_in_parts(
        self: &Arc<Self>,
        key: &str,
        payload: &Payload,
        headers: HeaderMap,
    ) -> Result<Evidence, Error> {
        // One cheap question before hundreds of megabytes.
        if let Some(found) = self.earlier(key, payload).await? {
            return Ok(found);
        }
        let upload = self.begin(key, headers).await?;
        let mut leftover = Leftover { bucket: self.clone(), key: key.to_owned(), upload, open: true };
        let sent = self.send_parts(key, payload, &leftover.upload).await;
        let done = match sent {
            Ok(parts) => self.complete(key, payload, &leftover.upload, &parts).await,
            Err(error) => Err(error),
        };
        match done {
            Ok(evidence) => {
                leftover.open = false;
                Ok(evidence)
            }
            Err(error) => {
                leftover.remove().await;
                if is_taken(&error) { self.compare(key, payload, error).await } else { Err(error) }
            }
        }
    }

    async fn begin(&self, key: &str, headers: HeaderMap) -> Result<String, Error> {
        let mut ask = Ask::new(Operation::Put, Method::POST, key);
        ask.query = Some("uploads=");
        ask.headers = headers;
        let (answer, refusal) = self.wire.ask(&ask).await?.read(Operation::Put).await?;
        answer.get("UploadId").map(str::to_owned).ok_or_else(|| refusal.error())
    }

    async fn send_parts(&self, key: &str, payload: &Payload, upload: &str) -> Result<Vec<Arrived>, Error> {
        stream::iter(ranges(payload.length).zip(1..))
            .map(|(range, number)| self.send_part(key, payload, upload, number, range))
            .buffered(IN_FLIGHT)
            .try_collect()
            .await
    }

    async fn send_part(
        &self,
        key: &str,
        payload: &Payload,
        upload: &str,
        number: u64,
        range: Range<u64>,
    ) -> Result<Arrived, Error> {
        let (sha256, md5) = digests(payload, range.clone()).await?;
        let query = format!("partNumber={number}&uploadId={}", utf8_percent_encode(upload, PART));
        let body =
            || outbound::Body::Stream { length: range.end - range.start, stream: payload.open(Some(range.clone())) };
        let mut ask = Ask {
            query: Some(&query),
            sha256: &hex::encode(sha256),
            body: &body,
            ..Ask::new(Operation::Put, Method::PUT, key)
        };
        if self.wishes.lock() {
            ask.headers.extend(content_md5(&md5));
        }
        let told = self.wire.ask(&ask).await?;
        let unnamed = || Error::mismatch("the destination gave a part no name");
        let etag = told.header("etag").map(str::to_owned).ok_or_else(unnamed)?;
        Ok(Arrived { number, etag, md5, encrypted: is_encrypted(&told) })
    }

    async fn complete(&self, key: &str, payload: &Payload, upload: &str, parts: &[Arrived]) -> Result<Evidence, Error> {
        let query = format!("uploadId={}", utf8_percent_encode(upload, PART));
        let list = bytes::Bytes::from(list(parts));
        let body = || outbound::Body::Bytes(list.clone());
        let digest = hex::encode(Sha256::digest(&list));
        let mut ask =
            Ask { query: Some(&query), sha256: &digest, body: &body, ..Ask::new(Operation::Put, Method::POST, key) };
        ask.headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static("*"));
        ask.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        let told = self.wire.ask(&ask).await?;
        let mut evidence = Evidence::of(&told, Assurance::Acknowledged);
        // The answer begins before the work is done: a 200 may end in an error.
        let (answer, refusal) = told.read(Operation::Put).await?;
        if answer.root == "Error" {
            return Err(refusal.error());
        }
        evidence.etag = answer.get("ETag").map(|tag| tag.trim_matches('"').to_owned()).or(evidence.etag);
        self.prove_parts(key, payload, evidence, &tag_of_tags(parts), parts.iter().any(Arrived::is_doubtful)).await
    }

    async fn abandon(&self, key: &str, upload: &str) {
        let query = format!("uploadId={}", utf8_percent_encode(upload, PART));
        let ask = Ask { query: Some(&query), ..Ask::new(Operation::Put, Method::DELETE, key) };
        if let Err(error) = self.wire.ask(&ask).await {
            let gone = error.kind() == ErrorKind::NotFound;
            if !gone {
                tracing::warn!(destination = self.wire.endpoint().identity(), %error, "parts of a failed upload stay in the bucket");
            }
        }
    }
}

/// An upload that is begun. Whatever ends it early, also the one who waits going away, its parts are removed.
struct Leftover {
    bucket: Arc<Bucket>,
    key: String,
    upload: String,
    open: bool,
}

impl Leftover {
    async fn remove(mut self) {
        self.bucket.abandon(&self.key, &self.upload).await;
        self.open = false;
    }
}

impl Drop for Leftover {
    fn drop(&mut self) {
        let Some(runtime) = tokio::runtime::Handle::try_current().ok().filter(|_| self.open) else { return };
        let (bucket, key, upload) =
            (self.bucket.clone(), std::mem::take(&mut self.key), std::mem::take(&mut self.upload));
        runtime.spawn(async move { bucket.abandon(&key, &upload).await });
    }
}

/// The parts of a length: of the usual size, or larger where that would be too many.
fn ranges(length: u64) -> impl Iterator<Item = Range<u64>> {
    let size = PART_SIZE.max(length.div_ceil(PARTS));
    (0..length.div_ceil(size)).map(move |part| part * size..length.min((part + 1) * size))
}

async fn digests(payload: &Payload, range: Range<u64>) -> Result<([u8; 32], [u8; 16]), Error> {
    let (mut sha256, mut md5) = (Sha256::new(), Md5::new());
    let mut pieces = payload.open(Some(range));
    while let Some(piece) = pieces.try_next().await.map_err(Error::unreadable)? {
        sha256.update(&piece);
        md5.update(&piece);
    }
    Ok((sha256.finalize().into(), md5.finalize().into()))
}

fn list(parts: &[Arrived]) -> String {
    let mut xml = String::from("<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
    for Arrived { number, etag, .. } in parts {
        let etag = quick_xml::escape::escape(etag.as_str());
        xml.push_str(&format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"));
    }
    xml.push_str("</CompleteMultipartUpload>");
    xml
}

/// The tag of an object in parts: the MD5 of the parts' MD5s, and how many there are.
fn tag_of_tags(parts: &[Arrived]) -> String {
    let tags = parts.iter().fold(Md5::new(), |tags, part| tags.chain_update(part.md5));
    format!("{}-{}", hex::encode(tags.finalize()), parts.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_any_length_and_are_never_too_many() {
        for length in [THRESHOLD + 1, 140 << 20, PART_SIZE * PARTS, PART_SIZE * PARTS + 1, 5 << 40] {
            let parts: Vec<_> = ranges(length).collect();
            assert!(parts.len() as u64 <= PARTS, "{length}: {}", parts.len());
            assert_eq!((parts[0].start, parts[parts.len() - 1].end), (0, length));
            assert!(parts.windows(2).all(|pair| pair[0].end == pair[1].start));
        }
    }
}

//! A large payload goes in blocks: a few at a time, then put together. What is never put together the service forgets after a week.
//!
//! Only from a hundred megabytes on, as with `s3`: up to there one request is less work for both.
//!
//! No block is held in memory: each is read twice from its file, once for its digest, once to be sent. The digest of the whole, which the service
//! keeps, is made meanwhile.

use std::ops::Range;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::try_join;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use http::{HeaderValue, Method};
use md5::{Digest, Md5};

use super::wire::Ask;
use super::{Azure, BLOB_MD5, CONTENT_MD5, Evidence, Look, md5, object_headers};
use crate::error::{Error, ErrorKind, Operation};
use crate::payload::Payload;
use crate::receipt::Assurance;

/// What is larger goes in blocks.
pub(super) const THRESHOLD: u64 = 100_000_000;
/// The size of a block, unless that makes too many.
const BLOCK: u64 = 8 << 20;
/// The most blocks that a blob takes.
const BLOCKS: u64 = 50_000;
/// Blocks under way at once.
const IN_FLIGHT: usize = 3;

impl Azure {
    pub(super) async fn put_in_blocks(&self, name: &str, payload: &Payload) -> Result<Evidence, Error> {
        // One cheap question before hundreds of megabytes. Who may not look goes on without an answer.
        match self.look(name, payload).await {
            Ok(Look::Same(evidence)) => return Ok(evidence),
            Ok(Look::Other) => {
                return Err(Error::new(Operation::Put, ErrorKind::Conflict, "another blob has this name"));
            }
            Ok(Look::Absent) => {}
            Err(error) if error.kind() == ErrorKind::Refused => {}
            Err(error) => return Err(error),
        }
        let sent = stream::iter(ranges(payload.length).zip(0..))
            .map(|(range, number)| self.put_block(name, payload, number, range))
            .buffered(IN_FLIGHT)
            .try_collect::<Vec<bool>>();
        let (confirmed, md5) = try_join(sent, md5(payload)).await?;
        let mut ask = Ask::new(Operation::Put, Method::PUT, name);
        ask.query = "comp=blocklist".into();
        ask.headers = object_headers(payload);
        ask.headers.extend(HeaderValue::from_str(&md5).ok().map(|md5| (BLOB_MD5, md5)));
        ask.body = outbound::Body::Bytes(list(confirmed.len() as u64).into());
        let answer = self.wire.ask(ask).await?;
        let evidence = Evidence::of(&answer, Assurance::Checksum);
        answer.pass().await;
        // An entity tag comes with every list that was put together.
        match confirmed.iter().all(|confirmed| *confirmed) && evidence.etag.is_some() {
            true => Ok(evidence),
            false => self.prove(name, payload).await,
        }
    }

    /// Sends a block. Whether the service repeated its digest.
    async fn put_block(&self, name: &str, payload: &Payload, number: u64, range: Range<u64>) -> Result<bool, Error> {
        let mut digest = Md5::new();
        let mut pieces = payload.open(Some(range.clone()));
        while let Some(piece) = pieces.try_next().await.map_err(Error::unreadable)? {
            digest.update(&piece);
        }
        let md5 = STANDARD.encode(digest.finalize());
        let mut ask = Ask::new(Operation::Put, Method::PUT, name);
        ask.query = format!("comp=block&blockid={}", id(number).replace('=', "%3D"));
        ask.headers.extend(HeaderValue::from_str(&md5).ok().map(|md5| (CONTENT_MD5, md5)));
        ask.body = outbound::Body::Stream { length: range.end - range.start, stream: payload.open(Some(range)) };
        let answer = self.wire.ask(ask).await?;
        let confirmed = answer.header(CONTENT_MD5.as_str()) == Some(md5.as_str());
        answer.pass().await;
        Ok(confirmed)
    }
}

/// The id of a block: all of one length.
fn id(number: u64) -> String {
    STANDARD.encode(format!("{number:08}"))
}

fn list(blocks: u64) -> String {
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>");
    for number in 0..blocks {
        xml.push_str(&format!("<Latest>{}</Latest>", id(number)));
    }
    xml.push_str("</BlockList>");
    xml
}

/// The blocks of a length: of the usual size, or larger where that would be too many.
fn ranges(length: u64) -> impl Iterator<Item = Range<u64>> {
    let size = BLOCK.max(length.div_ceil(BLOCKS));
    (0..length.div_ceil(size)).map(move |block| block * size..length.min((block + 1) * size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_cover_any_length_and_are_never_too_many() {
        for length in [THRESHOLD + 1, 140 << 20, BLOCK * BLOCKS, BLOCK * BLOCKS + 1, 5 << 40] {
            let blocks: Vec<_> = ranges(length).collect();
            assert!(blocks.len() as u64 <= BLOCKS, "{length}: {}", blocks.len());
            assert_eq!((blocks[0].start, blocks[blocks.len() - 1].end), (0, length));
            assert!(blocks.windows(2).all(|pair| pair[0].end == pair[1].start));
        }
        assert_eq!(id(0).len(), id(49_999).len());
    }
}

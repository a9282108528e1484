//! Digests that a sender says its bytes have: `Content-Digest` with SHA-256 or SHA-512 (RFC 9530), `Content-MD5` (RFC 1864).
//!
//! They are of the whole body, or of a form's file when they stand among the headers of that part; a digest of a whole form says nothing of its file
//! and is passed over, as are algorithms that we do not know. What is said must be readable: a sender that means to be checked is not answered as if it
//! had been. Bytes are digested as they pass, and nothing of them is kept when a digest differs. SHA-256 is counted anyway, where the bytes are
//! written.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use http::HeaderMap;
use md5::Md5;
use sha2::{Digest, Sha256, Sha512};

use crate::app::Error;

const CONTENT_DIGEST: &str = "content-digest";
const CONTENT_MD5: &str = "content-md5";

/// What is said of some bytes.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// Their SHA-256.
    pub sha256: Option<[u8; 32]>,
    others: Vec<Sum>,
}

/// A digest that is counted for the comparison alone.
#[derive(Debug)]
struct Sum {
    header: &'static str,
    counted: Counted,
    wanted: Vec<u8>,
}

#[derive(Debug, Clone)]
enum Counted {
    Md5(Md5),
    Sha512(Box<Sha512>),
}

impl Said {
    /// What the headers of a body, or of a part, say.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a digest that cannot be one.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Error> {
        let mut said = Self::default();
        let text = |name: &str| {
            let lines = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
            lines.collect::<Vec<_>>().join(",")
        };
        for member in text(CONTENT_DIGEST).split(',') {
            let Some((algorithm, value)) = member.trim().split_once('=') else { continue };
            let letters = || value.strip_prefix(':').and_then(|value| value.strip_suffix(':')).unwrap_or_default();
            match algorithm.to_ascii_lowercase().as_str() {
                "sha-256" => said.sha256 = Some(decode(CONTENT_DIGEST, letters())?),
                "sha-512" => {
                    let wanted = decode::<64>(CONTENT_DIGEST, letters())?.to_vec();
                    said.others.push(Sum { header: CONTENT_DIGEST, counted: Counted::Sha512(Box::default()), wanted });
                }
                _ => {}
            }
        }
        let md5 = text(CONTENT_MD5);
        if !md5.is_empty() {
            let wanted = decode::<16>(CONTENT_MD5, md5.trim())?.to_vec();
            said.others.push(Sum { header: CONTENT_MD5, counted: Counted::Md5(Md5::default()), wanted });
        }
        Ok(said)
    }

    /// Compares with bytes that are here.
    ///
    /// # Errors
    /// [`Error::Invalid`] when a digest differs.
    pub(super) fn compare(mut self, bytes: &[u8]) -> Result<(), Error> {
        if self.sha256.is_some_and(|wanted| wanted != <[u8; 32]>::from(Sha256::digest(bytes))) {
            return Err(mismatch(CONTENT_DIGEST));
        }
        self.others.iter_mut().for_each(|sum| sum.counted.update(bytes));
        verdict(&self.others)
    }

    /// The same bytes, counted as they pass; when they have passed, [`Watch::verdict`] knows.
    pub(super) fn watch(
        self,
        stream: BoxStream<'static, std::io::Result<Bytes>>,
    ) -> (BoxStream<'static, std::io::Result<Bytes>>, Watch) {
        if self.others.is_empty() {
            return (stream, Watch::default());
        }
        let watch = Watch(Arc::new(Mutex::new(self.others)));
        let counting = watch.clone();
        let stream =
            stream.inspect_ok(move |chunk| counting.sums().iter_mut().for_each(|sum| sum.counted.update(chunk)));
        (stream.boxed(), watch)
    }
}

/// Digests of a stream.
#[derive(Debug, Clone, Default)]
pub(super) struct Watch(Arc<Mutex<Vec<Sum>>>);

impl Watch {
    fn sums(&self) -> MutexGuard<'_, Vec<Sum>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Compares, when all bytes have passed.
    ///
    /// # Errors
    /// [`Error::Invalid`] when a digest differs.
    pub(super) fn verdict(&self) -> Result<(), Error> {
        verdict(&self.sums())
    }
}

fn verdict(sums: &[Sum]) -> Result<(), Error> {
    match sums.iter().find(|sum| sum.counted.value() != sum.wanted) {
        Some(sum) => Err(mismatch(sum.header)),
        None => Ok(()),
    }
}

impl Counted {
    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Md5(md5) => md5.update(bytes),
            Self::Sha512(sha512) => sha512.update(bytes),
        }
    }

    fn value(&self) -> Vec<u8> {
        match self.clone() {
            Self::Md5(md5) => md5.finalize().to_vec(),
            Self::Sha512(sha512) => sha512.finalize().to_vec(),
        }
    }
}

fn mismatch(header: &str) -> Error {
    Error::invalid(header, "mismatch", "other bytes arrived than were sent")
}

fn decode<const N: usize>(header: &str, letters: &str) -> Result<[u8; N], Error> {
    let decoded = STANDARD.decode(letters).ok().and_then(|bytes| bytes.try_into().ok());
    decoded.ok_or_else(|| Error::invalid(header, "invalid", format!("{N} bytes in base64 are wanted here")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(headers: &[(&'static str, &str)]) -> Result<Said, Error> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        Said::of(&map)
    }

    #[test]
    fn every_form_of_a_digest_is_compared() {
        let sha256 = format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(b"RIFF")));
        let sha512 = format!("sha-512=:{}:", STANDARD.encode(Sha512::digest(b"RIFF")));
        let md5 = STANDARD.encode(Md5::digest(b"RIFF"));
        for headers in [
            vec![(CONTENT_DIGEST, sha256.as_str())],
            vec![(CONTENT_DIGEST, &format!("{sha512}, {sha256}"))],
            vec![(CONTENT_DIGEST, sha512.as_str())],
            vec![(CONTENT_DIGEST, sha256.as_str()), (CONTENT_DIGEST, sha512.as_str())],
            vec![(CONTENT_MD5, md5.as_str())],
        ] {
            said(&headers).unwrap().compare(b"RIFF").unwrap();
            assert!(said(&headers).unwrap().compare(b"RIFX").is_err(), "{headers:?}");
        }
        said(&[(CONTENT_DIGEST, "nonsense, crc32c=:AAAA:, unixsum=1")]).unwrap().compare(b"RIFX").unwrap();
    }

    #[test]
    fn what_cannot_be_a_digest_is_refused() {
        for bad in [(CONTENT_DIGEST, "sha-256=:AAAA:"), (CONTENT_DIGEST, "sha-512=x"), (CONTENT_MD5, "*")] {
            assert!(said(&[bad]).is_err(), "{bad:?}");
        }
    }

    #[tokio::test]
    async fn a_stream_is_counted_as_it_passes() {
        for (md5, fits) in [(Md5::digest(b"RIFF"), true), (Md5::digest(b"RIFX"), false)] {
            let pieces = futures_util::stream::iter([Ok(Bytes::from("RI")), Ok(Bytes::from("FF"))]).boxed();
            let (stream, watch) = said(&[(CONTENT_MD5, &STANDARD.encode(md5))]).unwrap().watch(pieces);
            let passed: Vec<Bytes> = stream.try_collect().await.unwrap();
            assert_eq!(passed.concat(), b"RIFF");
            assert_eq!(watch.verdict().is_ok(), fits);
        }
    }
}

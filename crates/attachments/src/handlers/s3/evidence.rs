//! How we know that an object is ours.
//!
//! In this order, and no further than needed: the server repeats our SHA-256, or its tag is the MD5 of what we sent ([`Assurance::Checksum`]);
//! the server says the right length and keeps our digest beside the object ([`Assurance::Length`]); we read it back
//! ([`Assurance::ReadBack`]). A server that lets us write but not look can only be believed ([`Assurance::Acknowledged`]).

use futures_util::TryStreamExt;
use http::Method;
use sha2::{Digest, Sha256};

use super::wire::{Ask, Told};
use super::{Bucket, CHECKSUM, DIGEST, Evidence, checksum};
use crate::error::{Error, ErrorKind, Operation};
use crate::payload::Payload;
use crate::receipt::Assurance;

/// What a look at an object can tell.
enum Look {
    /// It is there.
    There(Box<Told>),
    /// It is not.
    Absent,
    /// We may not look.
    Veiled,
}

impl Bucket {
    /// Whether a put that was answered well has stored our bytes.
    pub(super) async fn prove(&self, key: &str, payload: &Payload, told: Told) -> Result<Evidence, Error> {
        if confirms(&told, payload).await? {
            return Ok(Evidence::of(&told, Assurance::Checksum));
        }
        let put = Evidence::of(&told, Assurance::Acknowledged);
        // A tag in the form of a digest that is not ours: either it is none, as under a customer's key, or the bytes are not ours.
        let doubtful = told.etag().is_some_and(|tag| is_md5(&tag)) && !is_encrypted(&told);
        let there = match self.look(key).await? {
            Look::There(there) => there,
            Look::Absent => return Err(Error::mismatch("the destination said yes and stored nothing")),
            Look::Veiled => return Ok(put),
        };
        let length = there.response.content_length();
        if length.is_some_and(|length| length != payload.length) {
            return Err(Error::mismatch("the destination stored another length"));
        }
        if confirms(&there, payload).await? {
            return Ok(Evidence::of(&there, Assurance::Checksum));
        }
        if length.is_some() && keeps_digest(&there, payload) == Some(true) && !doubtful {
            return Ok(Evidence { assurance: Assurance::Length, ..put });
        }
        match self.read_back(key, payload).await? {
            true => Ok(Evidence { assurance: Assurance::ReadBack, ..put }),
            false => Err(Error::mismatch("the destination stored other bytes")),
        }
    }

    /// What lies at a name that is taken: the payload, put by an earlier attempt, or something else.
    pub(super) async fn compare(&self, key: &str, payload: &Payload, taken: Error) -> Result<Evidence, Error> {
        match self.look(key).await? {
            Look::There(there) => self.is_same(key, payload, &there).await,
            // Just being written, or just removed: another time will tell.
            Look::Absent | Look::Veiled => Err(taken),
        }
    }

    /// The payload as an earlier attempt left it, if it did. Something else there is a conflict.
    pub(super) async fn earlier(&self, key: &str, payload: &Payload) -> Result<Option<Evidence>, Error> {
        match self.look(key).await? {
            Look::There(there) => self.is_same(key, payload, &there).await.map(Some),
            Look::Absent | Look::Veiled => Ok(None),
        }
    }

    async fn is_same(&self, key: &str, payload: &Payload, there: &Told) -> Result<Evidence, Error> {
        let conflict = || Error::new(Operation::Put, ErrorKind::Conflict, "another object has this name");
        let length = there.response.content_length();
        if length.is_some_and(|length| length != payload.length) {
            return Err(conflict());
        }
        if confirms(there, payload).await? {
            return Ok(Evidence::of(there, Assurance::Checksum));
        }
        match keeps_digest(there, payload) {
            Some(true) if length.is_some() => Ok(Evidence::of(there, Assurance::Length)),
            Some(false) => Err(conflict()),
            _ if self.read_back(key, payload).await? => Ok(Evidence::of(there, Assurance::ReadBack)),
            _ => Err(conflict()),
        }
    }

    /// Whether a large object, put in parts, has arrived: `tag` is what the server should say if its tags are digests; `doubtful` is
    /// whether the tag of a part looks like a digest and is not the part's.
    pub(super) async fn prove_parts(
        &self,
        key: &str,
        payload: &Payload,
        told: Evidence,
        tag: &str,
        doubtful: bool,
    ) -> Result<Evidence, Error> {
        if told.etag.as_deref() == Some(tag) {
            return Ok(Evidence { assurance: Assurance::Checksum, ..told });
        }
        match self.look(key).await? {
            Look::Absent => Err(Error::mismatch("the destination said yes and stored nothing")),
            Look::Veiled => Ok(Evidence { assurance: Assurance::Acknowledged, ..told }),
            Look::There(there) => match there.response.content_length() {
                Some(length) if length == payload.length && !doubtful => {
                    Ok(Evidence { assurance: Assurance::Length, ..told })
                }
                Some(length) if length == payload.length => match self.read_back(key, payload).await? {
                    true => Ok(Evidence { assurance: Assurance::ReadBack, ..told }),
                    false => Err(Error::mismatch("the destination stored other bytes")),
                },
                _ => Err(Error::mismatch("the destination stored another length")),
            },
        }
    }

    async fn look(&self, key: &str) -> Result<Look, Error> {
        match self.wire.ask(&Ask::new(Operation::Put, Method::HEAD, key)).await {
            Ok(told) => Ok(Look::There(Box::new(told))),
            Err(error) => match error.exchange().and_then(|exchange| exchange.status) {
                Some(404) => Ok(Look::Absent),
                Some(403 | 405 | 501) => Ok(Look::Veiled),
                _ => Err(error),
            },
        }
    }

    async fn read_back(&self, key: &str, payload: &Payload) -> Result<bool, Error> {
        let told = self.get(key, None).await?;
        let url = told.url;
        let mut stream = told.response.stream();
        let mut digest = Sha256::new();
        while let Some(piece) =
            stream.try_next().await.map_err(|error| Error::on_the_way(Operation::Put, &url, error))?
        {
            digest.update(&piece);
        }
        Ok(<[u8; 32]>::from(digest.finalize()) == payload.sha256)
    }
}

/// Whether the server says a digest of its own that is ours.
async fn confirms(told: &Told, payload: &Payload) -> Result<bool, Error> {
    if told.header(CHECKSUM.as_str()) == Some(&checksum(payload)) {
        return Ok(true);
    }
    let Some(tag) = told.etag().filter(|tag| is_md5(tag)) else { return Ok(false) };
    let md5 = payload.md5().await.map_err(Error::unreadable)?;
    Ok(tag.eq_ignore_ascii_case(&hex::encode(md5)))
}

/// Whether the digest that was stored beside the object is ours; `None` without one.
fn keeps_digest(told: &Told, payload: &Payload) -> Option<bool> {
    told.header(DIGEST.as_str()).map(|digest| digest == hex::encode(payload.sha256))
}

pub(super) fn is_md5(tag: &str) -> bool {
    tag.len() == 32 && tag.bytes().all(|byte| byte.is_ascii_hexdigit())
}

pub(super) fn is_encrypted(told: &Told) -> bool {
    let by_key = told.header("x-amz-server-side-encryption").is_some_and(|by| by.starts_with("aws:kms"));
    by_key || told.header("x-amz-server-side-encryption-customer-algorithm").is_some()
}

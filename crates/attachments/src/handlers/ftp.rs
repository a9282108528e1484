//! `ftp`: a server that speaks FTP, in the open or behind TLS.
//!
//! A put stores the payload under a temporary name, looks at what arrived, and renames. The protocol has no rename that never replaces: that the
//! name is free is asked before. Behind TLS the length is compared, since nothing can change the bytes on the way; in the open they are read
//! back. `read_back` says otherwise.
//!
//! An upload begins the temporary file anew, so two of the same at once would spoil each other: the second is told to come again.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use serde_json::{Map, Value};
use suppaftp::FtpError;
use suppaftp::tokio::{AsyncRustlsFtpStream, AsyncRustlsStream, TransferStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use self::server::{Server, Tls};
use self::wire::{Look, Wire};
use crate::Handler;
use crate::body::{Body, ByteRange};
use crate::error::{Error, ErrorKind, Operation};
use crate::location::Location;
use crate::payload::{Payload, PutKey};
use crate::receipt::{Assurance, Receipt};
use crate::settings::Settings;
use crate::unfinished::{self, Place};
use crate::ways::Ways;

mod server;
mod wire;

/// Bytes that are given on at a time.
const PIECE: usize = 128 << 10;

/// Opens a folder. Asks nobody.
pub(crate) fn open(settings: &Map<String, Value>, ways: &Ways) -> Result<Arc<dyn Handler>, Error> {
    let server = Server::read(settings)?;
    let read_back = Settings(settings).choice("read_back")?.unwrap_or(server.tls == Tls::Never);
    let wire = Arc::new(Wire::new(ways.client.clone(), server)?);
    Ok(Arc::new(Ftp { wire, read_back, under_way: Mutex::default() }))
}

/// Scheme, host, port and folder.
pub(crate) fn destination(settings: &Map<String, Value>) -> String {
    Server::read(settings).map(|server| server.identity()).unwrap_or_default()
}

struct Ftp {
    wire: Arc<Wire>,
    read_back: bool,
    /// Temporary names that are being written.
    under_way: Mutex<HashSet<String>>,
}

impl std::fmt::Debug for Ftp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ftp({})", self.wire.server.identity())
    }
}

#[async_trait]
impl Handler for Ftp {
    async fn put(&self, location: &Location, payload: &Payload, _: &PutKey) -> Result<Receipt, Error> {
        let place = Place::of(location)?;
        let receipt = |assurance| Receipt::of("ftp", self.wire.server.identity(), location, payload, assurance);
        let (path, unfinished) = (self.path(&place.path()), self.path(&place.unfinished(payload)));
        let _turn = self.turn(&unfinished)?;
        let (mut ftp, found) = self.wire.look(Operation::Put, &path).await?;
        if found != Look::Absent && self.holds(&mut ftp, &path, found, payload).await? {
            self.wire.keep(ftp);
            return Ok(receipt(Assurance::ReadBack));
        }
        self.store(&mut ftp, &unfinished, payload).await?;
        let assurance = match self.check(&mut ftp, &unfinished, payload).await {
            Ok(assurance) => assurance,
            Err(error) => {
                if error.kind() == ErrorKind::Mismatch {
                    let _ = ftp.rm(&unfinished).await;
                }
                return Err(error);
            }
        };
        if let Err(error) = ftp.rename(&unfinished, &path).await {
            return Err(self.wire.failed(Operation::Put, error));
        }
        self.wire.keep(ftp);
        Ok(receipt(assurance))
    }

    async fn fetch(&self, receipt: &Receipt, range: Option<ByteRange>, _: &Value) -> Result<Body, Error> {
        let path = self.path(&Place::of(&receipt.location)?.path());
        let (ftp, found) = self.wire.look(Operation::Fetch, &path).await?;
        let total = match found {
            Look::Absent => {
                self.wire.keep(ftp);
                return Err(unfinished::gone());
            }
            Look::Length(length) => length,
            Look::Untold => receipt.length,
        };
        let outside = || Error::new(Operation::Fetch, ErrorKind::Invalid, "the range lies outside");
        let served = range.map(|range| range.within(total).ok_or_else(outside)).transpose()?;
        let (first, count) = served.map_or((0, None), |(first, last)| (first, Some(last - first + 1)));
        let stream = self.retrieve(Operation::Fetch, ftp, &path, first, count).await?;
        let told = (found != Look::Untold).then_some(total);
        Ok(Body { content_type: Some(receipt.content_type.clone()), total: told, range: served, stream })
    }

    async fn delete(&self, receipt: &Receipt) -> Result<(), Error> {
        let path = self.path(&Place::of(&receipt.location)?.path());
        let (mut ftp, found) = self.wire.look(Operation::Delete, &path).await?;
        if found != Look::Absent {
            match ftp.rm(&path).await.map_err(|error| self.wire.failed(Operation::Delete, error)) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        self.wire.keep(ftp);
        Ok(())
    }
}

impl Ftp {
    fn path(&self, name: &str) -> String {
        self.wire.server.path(name)
    }

    /// The right to write a temporary name, until it is dropped.
    fn turn(&self, name: &str) -> Result<Turn<'_>, Error> {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        match under_way.insert(name.to_owned()) {
            true => Ok(Turn { ftp: self, name: name.to_owned() }),
            false => Err(Error::new(Operation::Put, ErrorKind::Conflict, "the same is being stored at this moment")),
        }
    }

    /// Stores the payload under a temporary name, and makes the folders where they are missing.
    async fn store(&self, ftp: &mut AsyncRustlsFtpStream, path: &str, payload: &Payload) -> Result<(), Error> {
        let failed = |error| self.wire.failed(Operation::Put, error);
        let mut upload = match self.begin(ftp, path).await {
            // Which of its three words a server has for a folder that is missing nobody knows.
            Err(FtpError::UnexpectedResponse(answer)) if matches!(answer.status.code(), 450 | 550 | 553) => {
                // The folder that the URL names may be missing too.
                for (slash, _) in path.match_indices('/').filter(|(at, _)| *at > 0) {
                    // That it is there already is no failure: storing will tell.
                    let _ = ftp.mkdir(&path[..slash]).await;
                }
                self.begin(ftp, path).await.map_err(failed).map_err(|error| match error.kind() {
                    ErrorKind::NotFound => self.unmade(error),
                    _ => error,
                })?
            }
            begun => begun.map_err(failed)?,
        };
        let mut pieces = payload.open(None);
        while let Some(piece) = pieces.try_next().await.map_err(Error::unreadable)? {
            if let Err(error) = upload.write_all(&piece).await {
                // Why the server hung up it says on the other connection.
                return Err(match upload.finish().await {
                    Err(said @ FtpError::UnexpectedResponse(_)) => failed(said),
                    _ => failed(FtpError::ConnectionError(error)),
                });
            }
        }
        upload.finish().await.map_err(failed)
    }

    fn unmade(&self, error: Error) -> Error {
        let said = error.exchange().and_then(|exchange| exchange.message.clone()).unwrap_or_default();
        let help = format!("{said}: check the rights of username in the folder");
        self.wire.told(Operation::Put, ErrorKind::Refused, None, &help).caused(error)
    }

    async fn begin(
        &self,
        ftp: &mut AsyncRustlsFtpStream,
        path: &str,
    ) -> Result<TransferStream<AsyncRustlsStream>, FtpError> {
        match ftp.put_with_stream(path).await {
            Err(error) if self.wire.is_for_the_new_way(ftp, &error) => ftp.put_with_stream(path).await,
            begun => begun,
        }
    }

    async fn check(&self, ftp: &mut AsyncRustlsFtpStream, path: &str, payload: &Payload) -> Result<Assurance, Error> {
        match self.wire.length(Operation::Put, ftp, path).await? {
            Look::Absent => return Err(Error::mismatch("the destination said yes and stored nothing")),
            Look::Length(length) if length != payload.length => {
                return Err(Error::mismatch("the destination has another length than it was given"));
            }
            Look::Length(_) if !self.read_back => return Ok(Assurance::Length),
            Look::Length(_) | Look::Untold => {}
        }
        match self.is_there(ftp, path, payload).await? {
            true => Ok(Assurance::ReadBack),
            false => Err(Error::mismatch("the destination gives other bytes than it was given")),
        }
    }

    /// Whether the payload is there already. Something else there is a conflict.
    async fn holds(
        &self,
        ftp: &mut AsyncRustlsFtpStream,
        path: &str,
        found: Look,
        payload: &Payload,
    ) -> Result<bool, Error> {
        if matches!(found, Look::Length(length) if length != payload.length) {
            return Err(unfinished::taken());
        }
        match self.is_there(ftp, path, payload).await {
            Ok(true) => Ok(true),
            Ok(false) => Err(unfinished::taken()),
            // A server that tells no lengths tells here that there is nothing.
            Err(error) if found == Look::Untold && error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn is_there(&self, ftp: &mut AsyncRustlsFtpStream, path: &str, payload: &Payload) -> Result<bool, Error> {
        let failed = |error| self.wire.failed(Operation::Put, error);
        let mut download = self.ask_for(ftp, path).await.map_err(failed)?;
        let mut whole = Compare::new(payload);
        let mut piece = vec![0; PIECE];
        loop {
            let count = download.read(&mut piece).await.map_err(|error| failed(FtpError::ConnectionError(error)))?;
            if count == 0 {
                break;
            }
            whole.take(&piece[..count]);
        }
        download.finish().await.map_err(failed)?;
        Ok(whole.matches())
    }

    async fn ask_for(
        &self,
        ftp: &mut AsyncRustlsFtpStream,
        path: &str,
    ) -> Result<TransferStream<AsyncRustlsStream>, FtpError> {
        match ftp.retr_as_stream(path).await {
            Err(error) if self.wire.is_for_the_new_way(ftp, &error) => ftp.retr_as_stream(path).await,
            begun => begun,
        }
    }

    /// The bytes from an offset, so many or all. A connection from which everything was read is kept.
    async fn retrieve(
        &self,
        operation: Operation,
        mut ftp: AsyncRustlsFtpStream,
        path: &str,
        first: u64,
        count: Option<u64>,
    ) -> Result<BoxStream<'static, Result<bytes::Bytes, Error>>, Error> {
        let failed = |error| self.wire.failed(operation, error);
        let offset = usize::try_from(first).map_err(|_| Error::new(operation, ErrorKind::Invalid, "too far"))?;
        ftp.resume_transfer(offset).await.map_err(failed)?;
        let begun = match ftp.retr_as_stream(path).await {
            Err(error) if self.wire.is_for_the_new_way(&mut ftp, &error) => {
                ftp.resume_transfer(offset).await.map_err(failed)?;
                ftp.retr_as_stream(path).await
            }
            begun => begun,
        };
        let download = begun.map_err(failed)?;
        let wire = self.wire.clone();
        let begin = (Some((ftp, download)), count);
        Ok(stream::try_unfold(begin, move |(state, left)| {
            let wire = wire.clone();
            async move {
                let Some((ftp, mut download)) = state.filter(|_| left != Some(0)) else { return Ok(None) };
                let most = left.and_then(|left| usize::try_from(left).ok()).map_or(PIECE, |left| left.min(PIECE));
                let mut piece = vec![0; most];
                let read = download.read(&mut piece).await;
                let read = read.map_err(|error| wire.failed(operation, FtpError::ConnectionError(error)))?;
                if read == 0 {
                    // Only now the server says whether that was all.
                    download.finish().await.map_err(|error| wire.failed(operation, error))?;
                    wire.keep(ftp);
                    return Ok(None);
                }
                piece.truncate(read);
                let left = left.map(|left| left - read as u64);
                Ok(Some((bytes::Bytes::from(piece), (Some((ftp, download)), left))))
            }
        })
        .boxed())
    }
}

/// The right to write a temporary name.
struct Turn<'a> {
    ftp: &'a Ftp,
    name: String,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.ftp.under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.name);
    }
}

/// Bytes that arrive, compared with a payload by digest.
struct Compare<'a> {
    payload: &'a Payload,
    digest: sha2::Sha256,
}

impl<'a> Compare<'a> {
    fn new(payload: &'a Payload) -> Self {
        Self { payload, digest: sha2::Digest::new() }
    }

    fn take(&mut self, piece: &[u8]) {
        sha2::Digest::update(&mut self.digest, piece);
    }

    fn matches(self) -> bool {
        sha2::Digest::finalize(self.digest)[..] == self.payload.sha256
    }
}

//! `sftp`: a folder on a server that is reached by SSH.
//!
//! A put writes a temporary file, lets the server sync it where it can, compares the length, and renames, which in this protocol never
//! replaces. The transport is authenticated piece by piece, so a file of the right length has the right bytes unless the server itself lost
//! some; `read_back` asks it.
//!
//! The server is known by the fingerprint of its key, `host_key`, and by nothing else: a server with another key, or none in the settings,
//! is told nothing about us, and the error says which key it showed.
//!
//! All operations share one connection ([`wire`]).

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt, stream};
use russh_sftp::client::fs::File;
use russh_sftp::protocol::OpenFlags;
use serde_json::{Map, Value};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

use self::server::Server;
use self::wire::{Session, Wire};
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
    let read_back = Settings(settings).flag("read_back")?;
    Ok(Arc::new(Sftp { identity: server.identity(), wire: Wire::new(ways.client.clone(), server), read_back }))
}

/// `sftp://host:port`.
pub(crate) fn destination(settings: &Map<String, Value>) -> String {
    Server::place(settings).map(|(host, port)| Server::url(host, port)).unwrap_or_default()
}

struct Sftp {
    identity: String,
    wire: Wire,
    read_back: bool,
}

impl std::fmt::Debug for Sftp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sftp({})", self.identity)
    }
}

#[async_trait]
impl Handler for Sftp {
    async fn put(&self, location: &Location, payload: &Payload, _: &PutKey) -> Result<Receipt, Error> {
        let place = Place::of(location)?;
        let receipt = |assurance| Receipt::of("sftp", self.identity.clone(), location, payload, assurance);
        let (path, unfinished) = (place.path(), place.unfinished(payload));
        let (session, found) = self.wire.look(Operation::Put, &path).await?;
        if let Some(length) = found {
            return match length == payload.length && self.is_there(&session, &path, payload).await? {
                true => Ok(receipt(Assurance::ReadBack)),
                false => Err(unfinished::taken()),
            };
        }
        let sent = async {
            self.write(&session, &place, &unfinished, payload).await?;
            self.check(&session, &unfinished, payload).await
        };
        let assurance = match sent.await {
            Ok(assurance) => assurance,
            Err(error) => {
                // Of a broken connection nothing is asked any more; the next attempt overwrites what is left.
                if !matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::Timeout) {
                    let _ = session.sftp.remove_file(&unfinished).await;
                }
                return Err(error);
            }
        };
        let Err(error) = session.sftp.rename(&unfinished, &path).await else { return Ok(receipt(assurance)) };
        let error = self.wire.failed(Operation::Put, error);
        if error.kind() == ErrorKind::Interrupted {
            return Err(error);
        }
        // The name is taken, or another attempt took the temporary name along.
        let _ = session.sftp.remove_file(&unfinished).await;
        match self.wire.length(Operation::Put, &session, &path).await? {
            None => Err(error),
            Some(length) if length == payload.length && self.is_there(&session, &path, payload).await? => {
                Ok(receipt(Assurance::ReadBack))
            }
            Some(_) => Err(unfinished::taken()),
        }
    }

    async fn fetch(&self, receipt: &Receipt, range: Option<ByteRange>, _: &Value) -> Result<Body, Error> {
        let path = Place::of(&receipt.location)?.path();
        let (session, found) = self.wire.look(Operation::Fetch, &path).await?;
        let total = found.ok_or_else(unfinished::gone)?;
        let outside = || Error::new(Operation::Fetch, ErrorKind::Invalid, "the range lies outside");
        let served = range.map(|range| range.within(total).ok_or_else(outside)).transpose()?;
        let (first, count) = served.map_or((0, total), |(first, last)| (first, last - first + 1));
        let file = session.sftp.open(&path).await.map_err(|error| self.wire.failed(Operation::Fetch, error))?;
        let stream = self.read(Operation::Fetch, session, file, first, count);
        Ok(Body { content_type: Some(receipt.content_type.clone()), total: Some(total), range: served, stream })
    }

    async fn delete(&self, receipt: &Receipt) -> Result<(), Error> {
        let path = Place::of(&receipt.location)?.path();
        let (session, found) = self.wire.look(Operation::Delete, &path).await?;
        if found.is_none() {
            return Ok(());
        }
        match session.sftp.remove_file(&path).await.map_err(|error| self.wire.failed(Operation::Delete, error)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

impl Sftp {
    /// Writes the payload under a temporary name, and makes the folders where they are missing.
    async fn write(&self, session: &Session, place: &Place, path: &str, payload: &Payload) -> Result<(), Error> {
        let failed = |error| self.wire.failed(Operation::Put, error);
        // Not cut to nothing first: another attempt may be writing the same bytes to it.
        let flags = OpenFlags::WRITE | OpenFlags::CREATE;
        let opened = match session.sftp.open_with_flags(path, flags).await.map_err(failed) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                for folder in place.folder_paths() {
                    // That it is there already is no failure, and has no word of its own in this protocol: opening will tell.
                    let _ = session.sftp.create_dir(folder).await;
                }
                session.sftp.open_with_flags(path, flags).await.map_err(failed)
            }
            opened => opened,
        };
        let mut file = opened?;
        let mut pieces = payload.open(None);
        while let Some(piece) = pieces.try_next().await.map_err(Error::unreadable)? {
            if let Err(error) = file.write_all(&piece).await {
                return Err(self.unwritten(session, place, payload, error).await);
            }
        }
        if let Err(error) = file.flush().await {
            return Err(self.unwritten(session, place, payload, error).await);
        }
        file.sync_all().await.map_err(failed)?;
        file.close().await.map_err(|error| self.wire.broken(Operation::Put, error))
    }

    /// Why a write failed. The protocol has one word for everything; whether there is room is asked.
    async fn unwritten(&self, session: &Session, place: &Place, payload: &Payload, error: std::io::Error) -> Error {
        let failed = self.wire.broken(Operation::Put, error);
        if failed.kind() != ErrorKind::Unavailable {
            return failed;
        }
        let folder = place.folder_paths().last().unwrap_or_else(|| ".".to_owned());
        match session.sftp.fs_info(folder).await {
            Ok(Some(disk)) if disk.blocks_avail.saturating_mul(disk.fragment_size) < payload.length => self
                .wire
                .told(Operation::Put, ErrorKind::Full, "Failure", "the disk of the server is full")
                .caused(failed),
            _ => failed.because("the server could not write: its disk or our quota there may be used up"),
        }
    }

    async fn check(&self, session: &Session, path: &str, payload: &Payload) -> Result<Assurance, Error> {
        match self.wire.length(Operation::Put, session, path).await? {
            None => return Err(Error::mismatch("the destination said yes and stored nothing")),
            Some(length) if length != payload.length => {
                return Err(Error::mismatch("the destination has another length than it was given"));
            }
            Some(_) if !self.read_back => return Ok(Assurance::Length),
            Some(_) => {}
        }
        match self.is_there(session, path, payload).await? {
            true => Ok(Assurance::ReadBack),
            false => Err(Error::mismatch("the destination gives other bytes than it was given")),
        }
    }

    async fn is_there(&self, session: &Session, path: &str, payload: &Payload) -> Result<bool, Error> {
        let file = session.sftp.open(path).await.map_err(|error| self.wire.failed(Operation::Put, error))?;
        let stream = self.read(Operation::Put, session.clone(), file, 0, payload.length + 1);
        unfinished::is(payload, stream).await
    }

    /// So many bytes of a file, or all that there are.
    fn read(
        &self,
        operation: Operation,
        session: Session,
        file: File,
        first: u64,
        count: u64,
    ) -> stream::BoxStream<'static, Result<bytes::Bytes, Error>> {
        let broken = self.wire.breakage(operation);
        let begin = (Some((file, first)), count);
        stream::try_unfold(begin, move |(state, left)| {
            let (broken, session) = (broken.clone(), session.clone());
            async move {
                let Some((mut file, first)) = state.filter(|_| left > 0) else { return Ok(None) };
                if first > 0 {
                    file.seek(std::io::SeekFrom::Start(first)).await.map_err(&broken)?;
                }
                let most = usize::try_from(left).map_or(PIECE, |left| left.min(PIECE));
                let mut piece = vec![0; most];
                let read = file.read(&mut piece).await.map_err(&broken)?;
                piece.truncate(read);
                // The connection stays for as long as something is read from it.
                drop(session);
                let more = (read > 0).then_some((file, 0));
                Ok((read > 0).then(|| (bytes::Bytes::from(piece), (more, left - read as u64))))
            }
        })
        .boxed()
    }
}

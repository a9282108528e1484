//! Messages that are being spoken: a caller is on the line, and what it said so far is already safe.
//!
//! ```text
//! begin    what is known of the call, and the id that the message will have, are durable       ── only now may we answer the call ──
//! append   a WAV file grows; synced every second (its header says nothing of its length yet)
//! finish   the call is over: the header is made true, the bytes are deposited like an upload, the message is there; then the growing file goes
//! ```
//!
//! A server that dies in the middle finds the growing file at its next start and [`finish_all`] does the last step. It may have died between
//! the message and the removal of the file: the id, chosen in the beginning, tells. What is too short to be a message is dropped.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use delivery::{Growing, Unfinished};
use futures_util::stream;
use plan::{AccountId, DocId};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncSeekExt, SeekFrom};
use tokio_util::sync::CancellationToken;
use voice::wav;

use super::mailboxes::Mailbox;
use super::messages::{self, Message};
use super::received::Sent;
use super::{App, Error, accounts, mailboxes, months};
use crate::app::accounts::Account;
use crate::time;

/// The type of what we record.
const WAV: &str = "audio/wav";
/// Bytes that are read at a time.
const PIECE: usize = 64 * 1024;
/// Between two attempts to finish a message while the store is out of reach.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What is known of a message before a word of it is said. Kept beside the growing file.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct About {
    account: AccountId,
    mailbox: DocId,
    message: DocId,
    timestamp: i64,
    /// As a client would say it that uploads a message.
    said: Value,
}

/// A message that is being spoken. Dropping it leaves it to the next start.
#[derive(Debug)]
pub struct Spoken {
    growing: Growing,
    rate: Option<u32>,
}

impl Spoken {
    /// Begins a message, of which `said` is known: the fields of an uploaded message.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when there is no room for it, or the disk fails.
    pub async fn begin(app: &App, account: &Account, mailbox: &Mailbox, said: Value) -> Result<Self, Error> {
        let timestamp = time::now();
        let (_, message) = months::place(account, "timestamp", timestamp)?;
        let about = About { account: account.id.clone(), mailbox: mailbox.id.clone(), message, timestamp, said };
        let about = serde_json::to_vec(&about).map_err(|error| Error::internal("writing of a message", error))?;
        let growing = app.spool.grow(about).await.map_err(Error::spool)?;
        Ok(Self { growing, rate: None })
    }

    /// What is said comes with so many samples a second. To be said once, first.
    pub fn at_rate(&mut self, rate: u32) {
        if self.rate.is_none() {
            self.growing.append(&wav::header(rate, 0));
            self.rate = Some(rate);
        }
    }

    /// Takes the samples that follow, as they lie in a WAV file.
    pub fn append(&mut self, bytes: &[u8]) {
        self.growing.append(bytes);
    }

    /// Makes durable what was said so far.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: then nothing more can be taken.
    pub async fn sync(&mut self) -> Result<(), Error> {
        self.growing.sync().await.map_err(Error::spool)
    }

    /// Makes a message of what was said; none when it is too short for one. While the store cannot take it, it is tried again until the
    /// server stops, and at its next start.
    pub async fn finish(self, app: &Arc<App>, stopping: &CancellationToken) -> Option<Message> {
        let (unfinished, synced) = self.growing.finish().await;
        if let Err(error) = synced {
            tracing::error!(error = %crate::api::error::chain(&error), "the last of what was said could not be kept");
        }
        finish_one(app, unfinished, stopping).await
    }
}

/// Finishes what an earlier run left.
pub async fn finish_all(app: Arc<App>, left: Vec<Unfinished>, stopping: CancellationToken) {
    for unfinished in left {
        if let Some(message) = finish_one(&app, unfinished, &stopping).await {
            tracing::info!(message.id = %message.id, "finished a message that was being spoken when the server died");
        }
    }
}

/// Tries until it is made, dropped, or the server stops.
async fn finish_one(app: &Arc<App>, unfinished: Unfinished, stopping: &CancellationToken) -> Option<Message> {
    let mut pause = PAUSE;
    loop {
        match make(app, &unfinished).await {
            Ok(made) => {
                // Removing is no more than a look at the disk; it is not worth a thread.
                unfinished.remove();
                return made;
            }
            Err(error @ (Error::Unavailable { .. } | Error::Conflict)) => {
                tracing::warn!(error = %crate::api::error::chain(&error), "what a caller said waits: it cannot be made a message yet");
            }
            Err(error) => {
                let file = unfinished.path().display();
                tracing::error!(%file, error = %crate::api::error::chain(&error), "what a caller said cannot be made a message; its file stays");
                return None;
            }
        }
        stopping.run_until_cancelled(tokio::time::sleep(pause)).await?;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// The message; none when it has been made before, or is not worth it, or its mailbox is gone.
async fn make(app: &Arc<App>, unfinished: &Unfinished) -> Result<Option<Message>, Error> {
    let about: About = serde_json::from_slice(unfinished.about())
        .map_err(|error| Error::internal("reading what is known of a message", error))?;
    let Some((account, mailbox)) = destination(app, &about).await? else {
        tracing::warn!(account.id = %about.account, "a caller spoke to a mailbox that is gone by now; what it said is dropped");
        return Ok(None);
    };
    let database = months::database(&account, months::of("timestamp", about.timestamp)?);
    if app.documents.get(&database, &about.message).await?.is_some() {
        return Ok(None);
    }
    let Some(sound) = Sound::open(unfinished.path().to_owned()).await? else { return Ok(None) };
    if sound.length < app.config.voicemail.min_length || sound.length.is_zero() {
        return Ok(None);
    }
    let mut said = about.said;
    said["length"] = u64::try_from(sound.length.as_millis()).unwrap_or(u64::MAX).into();
    let sent = Sent { content_type: WAV, file_name: None, limit: u64::MAX };
    let audio = messages::receive(app, &account, &mailbox, sent, sound.stream().await?).await?;
    messages::create_as(app, &account, &mailbox, about.message, about.timestamp, said, audio).await.map(Some)
}

async fn destination(app: &App, about: &About) -> Result<Option<(Account, Mailbox)>, Error> {
    let Some(account) = accounts::find(app, &about.account).await? else { return Ok(None) };
    match mailboxes::get(app, &account.id, about.mailbox.as_ref()).await {
        Ok(mailbox) => Ok(Some((account, mailbox))),
        Err(Error::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What was said, as far as it is on disk, with the header that is true of it.
struct Sound {
    path: PathBuf,
    header: [u8; wav::HEADER],
    /// Bytes of samples.
    bytes: u64,
    length: Duration,
}

impl Sound {
    /// None when nothing was said.
    async fn open(path: PathBuf) -> Result<Option<Self>, Error> {
        let mut file = tokio::fs::File::open(&path).await.map_err(unreadable)?;
        let size = file.metadata().await.map_err(unreadable)?.len();
        let mut found = [0; wav::HEADER];
        if size <= found.len() as u64 {
            return Ok(None);
        }
        file.read_exact(&mut found).await.map_err(unreadable)?;
        let (header, length) =
            wav::repair(&found, size).map_err(|error| Error::internal("reading what was said", error))?;
        Ok(Some(Self { path, header, bytes: (size - wav::HEADER as u64) & !1, length }))
    }

    async fn stream(self) -> Result<impl stream::Stream<Item = std::io::Result<Bytes>> + Send, Error> {
        let mut file = tokio::fs::File::open(&self.path).await.map_err(unreadable)?;
        file.seek(SeekFrom::Start(wav::HEADER as u64)).await.map_err(unreadable)?;
        let first = Some(Bytes::copy_from_slice(&self.header));
        Ok(stream::try_unfold((file, first, self.bytes), |(mut file, first, left)| async move {
            if let Some(header) = first {
                return Ok(Some((header, (file, None, left))));
            }
            let mut piece = vec![0; PIECE.min(usize::try_from(left).unwrap_or(PIECE))];
            if piece.is_empty() {
                return Ok(None);
            }
            file.read_exact(&mut piece).await?;
            let left = left - piece.len() as u64;
            Ok(Some((Bytes::from(piece), (file, None, left))))
        }))
    }
}

fn unreadable(error: std::io::Error) -> Error {
    Error::unavailable("spool", error)
}

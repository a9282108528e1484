//! Deposits that are promised by one record of the spool's log: its bytes, and beside them the document and the job that they become.
//!
//! ```text
//!   record, durable ──▶ document, readable ──▶ answered ──▶ job, in the index ──▶ its row
//!                       ╰──────── not synced: the record says it all again ────────────╯
//! ```
//!
//! One sync instead of three stands between a caller and the answer. What the record says counts until document and row are durable too: after
//! a crash or a power cut, [`replay`] makes those documents that are missing and hands in those jobs that nobody knows.
//!
//! A record may lie on the disk long after its document was delivered, deleted, or removed for good; it must not make one again then. So promises
//! belong to *epochs*. Every few seconds an epoch ends: when all that was promised in it is in both stores, these are made durable, and then the number of the epoch,
//! in a document of the system. What belongs to it is not looked at any more. Documents are removed for good by retention alone, a day old or
//! older; where epochs do not end, for a store that takes nothing, none is removed either.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use connections::{Document, Draft};
use delivery::Noted;
use plan::{Database, DocId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::attachment::{Place, attachment_of};
use super::storage_documents::system_data;
use super::{App, Error};
use crate::{jobs, time};

/// How often an epoch ends.
const ROUND: Duration = Duration::from_secs(5);
/// How long one may take that is only slow.
const OVERDUE: Duration = Duration::from_secs(3600);
const TYPE: &str = "promises";
const ID: &str = "promises";
const SETTLED: &str = "settled";

/// The epochs.
#[derive(Debug)]
pub struct Promises {
    current: Mutex<Epoch>,
    /// Held by who ends an epoch.
    ending: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Epoch {
    number: u64,
    /// Those whose document or job is not in its store yet.
    open: TaskTracker,
    /// When something was first promised in it.
    used: Option<Instant>,
    /// The same of those before it that have not come to their end.
    behind: Option<Instant>,
}

/// A promise that is being kept. As long as this lives, its epoch does not end.
#[derive(Debug)]
pub struct Promise {
    epoch: u64,
    _open: TaskTrackerToken,
}

/// What a record says beside the bytes.
#[derive(Debug, Serialize, Deserialize)]
struct Note<'a> {
    put: Cow<'a, jobs::PutAttachment>,
    #[serde(rename = "type")]
    doc_type: Cow<'a, str>,
    parent: Option<Cow<'a, str>>,
    owner: Option<Cow<'a, str>>,
    at: i64,
    body: Cow<'a, Map<String, Value>>,
}

impl Promises {
    /// Epochs that begin after `last`.
    pub fn after(last: u64) -> Self {
        let current = Epoch { number: last + 1, open: TaskTracker::new(), used: None, behind: None };
        Self { current: Mutex::new(current), ending: tokio::sync::Mutex::default() }
    }

    /// Begins a promise.
    pub fn begin(&self) -> Promise {
        let mut epoch = self.epoch();
        epoch.used.get_or_insert_with(Instant::now);
        Promise { epoch: epoch.number, _open: epoch.open.token() }
    }

    /// Begins the next epoch; answers the one that was, if there is anything in it.
    fn next(&self) -> Option<(u64, TaskTracker)> {
        let mut epoch = self.epoch();
        epoch.behind = epoch.behind.or(epoch.used.take());
        epoch.behind?;
        let number = epoch.number;
        epoch.number += 1;
        let open = std::mem::take(&mut epoch.open);
        Some((number, open))
    }

    /// Whether epochs do not end: a store takes nothing, for an hour and longer. No document is to be removed for good then, for its record would bring it back.
    pub fn overdue(&self) -> bool {
        let epoch = self.epoch();
        epoch.behind.or(epoch.used).is_some_and(|since| since.elapsed() > OVERDUE)
    }

    fn epoch(&self) -> MutexGuard<'_, Epoch> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Promise {
    /// What the record of a deposit says: that this job is to be done, for the document that is created from this draft. None for a draft that cannot be told
    /// so: one that takes unique keys.
    ///
    /// # Errors
    /// [`Error::Internal`].
    pub fn note(&self, put: &jobs::PutAttachment, draft: &Draft) -> Result<Option<Vec<u8>>, Error> {
        let Draft { doc_type, parent, owner, at, deleted, keys, claims, body } = draft;
        if *deleted || !keys.is_empty() || !claims.is_empty() {
            return Ok(None);
        }
        let note = Note {
            put: Cow::Borrowed(put),
            doc_type: doc_type.into(),
            parent: parent.as_deref().map(Cow::Borrowed),
            owner: owner.as_deref().map(Cow::Borrowed),
            at: *at,
            body: Cow::Borrowed(body),
        };
        let mut written = self.epoch.to_le_bytes().to_vec();
        serde_json::to_writer(&mut written, &note).map_err(|error| Error::internal("writing a promise", error))?;
        Ok(Some(written))
    }
}

/// The epoch of a note.
pub fn epoch_of(note: &[u8]) -> u64 {
    note.first_chunk().map_or(0, |number| u64::from_le_bytes(*number))
}

/// The number of the last epoch of which nothing needs to be looked at any more.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn settled(documents: &connections::Embedded) -> Result<u64, Error> {
    let document = documents.get(&system_data(), &id()?).await?;
    Ok(document.and_then(|document| document.body.get(SETTLED)?.as_u64()).unwrap_or_default())
}

/// Keeps what an earlier process promised: makes the documents that are missing, hands in the jobs that nobody knows. To be called before anybody
/// is answered.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn replay(app: &App, notes: Vec<Noted>) -> Result<(), Error> {
    if notes.is_empty() {
        return Ok(());
    }
    let known = app.journal.payloads().await.map_err(Error::journal)?;
    let (mut documents, mut handed_in, count) = (0, 0, notes.len());
    for Noted { file, note } in notes {
        let text = note.get(size_of::<u64>()..).unwrap_or_default();
        let Ok(note) = serde_json::from_slice::<Note<'_>>(text) else {
            tracing::error!(file = %file, "what was promised of a deposit cannot be read; its bytes go");
            continue;
        };
        let put = note.put.as_ref();
        let database = Database::parse(&put.database).map_err(|error| Error::internal("reading a promise", error))?;
        let document = match app.documents.get(&database, &put.document).await? {
            Some(document) => document,
            None => {
                documents += 1;
                app.documents.create(&database, &put.document, draft(&note)).await?
            }
        };
        if waits(&document, put) && !known.contains(&put.file) {
            handed_in += 1;
            app.journal.enqueue(put.job()?).await.map_err(Error::journal)?;
        }
    }
    tracing::info!(promises = count, documents, jobs = handed_in, "kept what an earlier run had promised");
    // What was promised is in both stores; the next settlement says so.
    drop(app.promises.begin());
    settle(app).await
}

fn draft(note: &Note<'_>) -> Draft {
    let text = |text: &Option<Cow<'_, str>>| text.as_deref().map(str::to_owned);
    Draft {
        doc_type: note.doc_type.as_ref().to_owned(),
        parent: text(&note.parent),
        owner: text(&note.owner),
        at: note.at,
        body: note.body.as_ref().clone(),
        ..Draft::default()
    }
}

/// Whether the document still waits for this very delivery.
fn waits(document: &Document, put: &jobs::PutAttachment) -> bool {
    attachment_of(document, &put.attachment).is_some_and(|attachment| {
        attachment.generation == put.generation
            && matches!(attachment.place, Place::Pending { file, .. } if file == put.file)
    })
}

/// Ends an epoch: when this returns, all that was promised before is durable in both stores, and no record is needed to say it.
///
/// # Errors
/// [`Error::Unavailable`]; then the next one does it.
pub async fn settle(app: &App) -> Result<(), Error> {
    let _turn = app.promises.ending.lock().await;
    let Some((number, open)) = app.promises.next() else { return Ok(()) };
    open.close();
    open.wait().await;
    end(app, number).await?;
    app.promises.epoch().behind = None;
    Ok(())
}

async fn end(app: &App, number: u64) -> Result<(), Error> {
    app.journal.sync().await.map_err(Error::journal)?;
    // Durable, and so is all that was written before it.
    let (database, id, body) = (system_data(), id()?, Map::from_iter([(SETTLED.to_owned(), json!(number))]));
    let written = body.clone();
    let write = |_: &Document| Ok(connections::Change::Write(written));
    match app.documents.update(&database, &id, write).await {
        Err(error) if error.kind() == connections::ErrorKind::NotFound => {
            let draft = Draft { doc_type: TYPE.into(), at: time::now(), body, ..Draft::default() };
            app.documents.create(&database, &id, draft).await?;
        }
        written => drop(written?),
    }
    Ok(())
}

/// Ends epochs, now and then, as long as the program runs.
pub async fn keep(app: Arc<App>, stopping: CancellationToken) {
    let mut rounds = tokio::time::interval(ROUND);
    while stopping.run_until_cancelled(rounds.tick()).await.is_some() {
        if let Some(Err(error)) = stopping.run_until_cancelled(settle(&app)).await {
            tracing::warn!(error = %error, "what was promised cannot be made durable twice yet");
        }
    }
}

fn id() -> Result<DocId, Error> {
    DocId::parse(ID).map_err(|error| Error::internal("naming a document", error))
}

#[cfg(test)]
mod tests;

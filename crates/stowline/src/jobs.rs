//! What the journal holds, and who carries it out. One line a kind in [`Payload`] and in [`Runner`].
//!
//! A job names ids and places, never settings: those are read when it runs.

use std::sync::Arc;

use async_trait::async_trait;
use attachments::{Location, Receipt};
use delivery::{FileId, Job, JobError, NewJob, Outcome};
use plan::{AccountId, AttachmentName, DocId, DocType, HandlerId};
use serde::{Deserialize, Serialize};

use crate::app::attachment::Area;
use crate::app::oauth::CONSENT_NEEDED;
use crate::app::{App, Error};

mod delete_attachment;
mod move_attachment;
mod put_attachment;

pub use move_attachment::MoveAttachment;

/// Bytes go to a handler.
pub const PUT: &str = "put_attachment";
/// An object is removed from its destination.
pub const DELETE: &str = "delete_attachment";
/// Bytes that are stored go where today's plan says.
pub const MOVE: &str = "move_attachment";
/// A file that stays here waits for its document: never run, only reserved and forgotten.
pub const KEEP: &str = "keep_attachment";

/// [`PUT`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the attachment and its route")]
pub struct PutAttachment {
    pub account: AccountId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    pub database: String,
    pub document: DocId,
    pub doc_type: DocType,
    pub attachment: AttachmentName,
    pub generation: String,
    pub handler_id: HandlerId,
    pub handler: String,
    pub destination: String,
    pub location: Location,
    pub content_type: String,
    pub length: u64,
    pub sha256: String,
    pub file: FileId,
    pub area: Area,
    /// What the destination gave for it beforehand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserved: Option<String>,
}

/// [`DELETE`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the attachment that was stored")]
pub struct DeleteAttachment {
    pub account: AccountId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    pub handler_id: HandlerId,
    pub receipt: Receipt,
    /// Whose object it is until the document lets it go; nobody's when it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<Holder>,
}

/// An attachment of a document.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the attachment")]
pub struct Holder {
    pub database: String,
    pub document: DocId,
    pub attachment: AttachmentName,
    pub generation: String,
}

/// [`KEEP`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the attachment that is kept")]
pub struct KeepAttachment {
    pub database: String,
    pub document: DocId,
    pub attachment: AttachmentName,
    pub generation: String,
    pub file: FileId,
}

/// A job's body, read.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "named after the kinds")]
pub enum Payload {
    Put(PutAttachment),
    Delete(DeleteAttachment),
    Keep(KeepAttachment),
    Move(MoveAttachment),
}

impl Payload {
    /// Reads a job's body.
    ///
    /// # Errors
    /// [`Error::Internal`] for a kind or a form that this program does not know.
    pub fn read(job: &Job) -> Result<Self, Error> {
        let read = match job.kind.as_str() {
            PUT => serde_json::from_slice(&job.body).map(Self::Put),
            DELETE => serde_json::from_slice(&job.body).map(Self::Delete),
            KEEP => serde_json::from_slice(&job.body).map(Self::Keep),
            MOVE => serde_json::from_slice(&job.body).map(Self::Move),
            other => return Err(Error::internal("reading a job", format!("unknown kind {other}"))),
        };
        read.map_err(|error| Error::internal("reading a job", error))
    }
}

/// The lane of a handler of an account.
pub fn lane(account: &AccountId, handler: &HandlerId) -> String {
    format!("{account}/{handler}")
}

/// The lanes that a changed handler concerns: those of one account, or of all, as a pattern where `*` stands for any account.
pub fn lanes_of(account: Option<&str>, handler: &str) -> String {
    format!("{}/{handler}", account.unwrap_or("*"))
}

fn body(value: &impl Serialize) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(value).map_err(|error| Error::internal("writing a job", error))
}

impl PutAttachment {
    /// As a job for the journal.
    pub(crate) fn job(&self) -> Result<NewJob, Error> {
        Ok(NewJob {
            kind: PUT.into(),
            key: format!("{}/{}", self.document, self.attachment),
            lane: self.lane(),
            scope: self.account.to_string(),
            payload: (self.area == Area::Spool).then(|| self.file.clone()),
            size: self.length,
            body: body(self)?,
            ..NewJob::default()
        })
    }
}

impl PutAttachment {
    /// Body for a job that exists.
    pub(crate) fn body(&self) -> Result<Vec<u8>, Error> {
        body(self)
    }

    /// Its lane.
    pub(crate) fn lane(&self) -> String {
        lane(&self.account, &self.handler_id)
    }
}

impl DeleteAttachment {
    pub(crate) fn job(&self) -> Result<NewJob, Error> {
        Ok(NewJob {
            kind: DELETE.into(),
            key: format!("{}/{}", self.receipt.destination, self.receipt.location),
            lane: lane(&self.account, &self.handler_id),
            scope: self.account.to_string(),
            body: body(self)?,
            ..NewJob::default()
        })
    }
}

impl KeepAttachment {
    pub(crate) fn job(&self, account: &AccountId) -> Result<NewJob, Error> {
        Ok(NewJob {
            kind: KEEP.into(),
            key: format!("{}/{}", self.document, self.attachment),
            lane: "kept".into(),
            scope: account.to_string(),
            body: body(self)?,
            ..NewJob::default()
        })
    }
}

/// Carries jobs out.
#[derive(Debug)]
pub struct Runner {
    /// What the server consists of.
    pub app: Arc<App>,
}

#[async_trait]
impl delivery::Runner for Runner {
    async fn run(&self, job: &Job) -> Outcome {
        match Payload::read(job) {
            Ok(Payload::Put(put)) => {
                let (account, handler) = (put.account.clone(), put.handler_id.clone());
                self.note(&account, &handler, put_attachment::run(&self.app, job, put).await)
            }
            Ok(Payload::Delete(delete)) => {
                let (account, handler) = (delete.account.clone(), delete.handler_id.clone());
                self.note(&account, &handler, delete_attachment::run(&self.app, delete).await)
            }
            Ok(Payload::Move(moving)) => move_attachment::run(&self.app, job, moving).await,
            Ok(Payload::Keep(_)) => Outcome::Done,
            Err(error) => park("unreadable", error.to_string()),
        }
    }
}

impl Runner {
    /// Takes note of how an attempt ended.
    fn note(&self, account: &AccountId, handler: &HandlerId, outcome: Outcome) -> Outcome {
        let error = match &outcome {
            Outcome::Done => None,
            // A fault of ours says nothing of the handler.
            Outcome::Postpone { error, .. } if error.code == OUT_OF_ORDER => return outcome,
            Outcome::Postpone { error, .. } | Outcome::Park { error } | Outcome::Hold { error } => Some(error.clone()),
        };
        self.app.health.note(account, handler, error);
        outcome
    }
}

/// Something of ours, and not the destination, kept an attempt from being made.
const OUT_OF_ORDER: &str = "store_unavailable";

fn park(code: &str, message: impl Into<String>) -> Outcome {
    Outcome::Park { error: fault(code, message) }
}

fn postpone(code: &str, message: impl Into<String>) -> Outcome {
    Outcome::Postpone { error: fault(code, message), after: None }
}

fn fault(code: &str, message: impl Into<String>) -> JobError {
    JobError { code: code.into(), message: message.into(), http_status: None }
}

/// The most of a provider's words that is kept, in bytes.
const LONGEST_MESSAGE: usize = 2048;

/// What a destination said, as it is kept: our words and then the provider's, cut.
fn told(error: &attachments::Error, code: String, ending: &str) -> JobError {
    let exchange = error.exchange();
    let words = exchange.and_then(|exchange| exchange.message.as_deref()).map(|words| format!(": {words}"));
    let mut message = format!("{error}{}{ending}", words.unwrap_or_default());
    message.truncate(message.floor_char_boundary(LONGEST_MESSAGE));
    JobError { code, message, http_status: exchange.and_then(|exchange| exchange.status) }
}

/// What a destination's failure means for the job. No answer of a destination is final.
fn failed(error: &attachments::Error) -> Outcome {
    if error.kind() == attachments::ErrorKind::Revoked {
        // Nothing can be tried before a person consents again.
        return Outcome::Hold { error: told(error, CONSENT_NEEDED.into(), "; consent has to be given again") };
    }
    let code = error.exchange().and_then(|exchange| exchange.code.clone());
    let error_of_job = told(error, code.unwrap_or_else(|| error.kind().word().to_owned()), "");
    match error.advice() {
        attachments::Advice::After(after) => Outcome::Postpone { error: error_of_job, after: Some(after) },
        attachments::Advice::Backoff => Outcome::Postpone { error: error_of_job, after: None },
        attachments::Advice::Park => Outcome::Park { error: error_of_job },
    }
}

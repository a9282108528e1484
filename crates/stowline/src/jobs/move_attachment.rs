//! Bytes that lie somewhere already go where today's plan says.
//!
//! ```text
//! bring    the bytes from where they are, and compare them with what the document says they are
//! put      at the new destination, and verify them there
//! note     on the document, if it still says the same of them            ── only now are they moved ──
//! ```
//!
//! Until then the document names the old place and readers are served from there; a crash leaves at most an object that the next attempt puts under
//! the same name. A copy that lay here goes when the plan keeps none. What lies at a destination stays there: it is the customer's, and two handlers may be
//! two names of one bucket.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use attachments::{PutKey, Receipt};
use delivery::{FileId, Job, JobId, NewJob, Outcome};
use plan::{AccountId, AttachmentName, Database, DocId, DocType, HandlerId, Placement};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::put_attachment::{payload, reserve};
use super::{KeepAttachment, MOVE, OUT_OF_ORDER, body, failed, lane, park, postpone};
use crate::app::attachment::{Attachment, Place, attachment_of, with};
use crate::app::deposit::{Aim, Deposit, Target, streamed};
use crate::app::{App, Error, dataplans, discard, fetch, moves, removal, reservations};
use connections::{Change, Document};

/// [`MOVE`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the attachment")]
pub struct MoveAttachment {
    pub account: AccountId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    pub database: String,
    pub document: DocId,
    pub doc_type: DocType,
    pub attachment: AttachmentName,
    pub generation: String,
    pub length: u64,
    /// The handler whose destination it leaves; none for what lies here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<HandlerId>,
    /// What a destination gave for it beforehand, and where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserved: Option<(String, String)>,
}

impl MoveAttachment {
    /// As a job for the journal.
    pub(crate) fn job(&self) -> Result<NewJob, Error> {
        let lane =
            self.from.as_ref().map_or_else(|| format!("{}/local", self.account), |from| lane(&self.account, from));
        Ok(NewJob {
            kind: MOVE.into(),
            key: format!("{}/{}", self.document, self.attachment),
            lane,
            scope: self.account.to_string(),
            size: self.length,
            body: body(self)?,
            ..NewJob::default()
        })
    }

    fn keeps(&self, file: &FileId) -> Result<NewJob, Error> {
        let keep = KeepAttachment {
            database: self.database.clone(),
            document: self.document.clone(),
            attachment: self.attachment.clone(),
            generation: self.generation.clone(),
            file: file.clone(),
        };
        keep.job(&self.account)
    }
}

pub(super) async fn run(app: &Arc<App>, job: &Job, moving: MoveAttachment) -> Outcome {
    match attempt(app, job, &moving).await {
        Ok(outcome) => outcome,
        Err(Error::Destination(error)) => {
            tracing::info!(account.id = %moving.account, document.id = %moving.document, error = %error, "a move failed and waits");
            failed(&error)
        }
        // Broken off, or found on the way to be other bytes than were stored.
        Err(Error::Interrupted(words)) => postpone("interrupted", words),
        Err(Error::OutOfReach) => {
            park("out_of_reach", "the handler that these bytes were sent by is gone: they cannot be read")
        }
        Err(Error::NotFound(_)) => park("lost", "the bytes are not where their document says"),
        Err(error) => postpone(OUT_OF_ORDER, error.to_string()),
    }
}

/// A move under way.
struct Move<'a> {
    app: &'a Arc<App>,
    moving: &'a MoveAttachment,
    database: Database,
    document: Document,
    current: Attachment,
}

async fn attempt(app: &Arc<App>, job: &Job, moving: &MoveAttachment) -> Result<Outcome, Error> {
    let database = Database::parse(&moving.database).map_err(|error| Error::internal("reading a job", error))?;
    let document = app.documents.get(&database, &moving.document).await?.filter(|document| !document.deleted);
    let current = document.as_ref().and_then(|document| attachment_of(document, &moving.attachment));
    let Some((document, current)) =
        document.zip(current).filter(|(_, current)| current.generation == moving.generation)
    else {
        return Ok(Outcome::Done);
    };
    let target = Target {
        account: moving.account.clone(),
        owner: moving.owner.clone(),
        database: database.clone(),
        id: moving.document.clone(),
        doc_type: moving.doc_type.clone(),
    };
    let aim = Deposit::plan(app, target).await?.aim(&moving.attachment, document.public())?;
    if moves::is_there(&current.place, aim.as_ref()) {
        return Ok(Outcome::Done);
    }
    let this = Move { app, moving, database, document, current };
    match aim {
        Some(aim) => this.outwards(job, &aim).await,
        None => this.inwards().await,
    }
}

impl Move<'_> {
    /// To a destination.
    async fn outwards(&self, job: &Job, aim: &Aim) -> Result<Outcome, Error> {
        let Self { app, moving, current, .. } = self;
        let settings =
            dataplans::settings(app, &moving.account, moving.owner.as_deref(), &aim.handler_id, &aim.destination)
                .await?;
        let Some(settings) = settings else { return Ok(postpone("handler_gone", "the plan has changed meanwhile")) };
        let handler = settings.open(app).await?;
        let receipt = match &current.place {
            Place::Local { file } => self.put(job, &*handler, aim, &app.kept, file).await?,
            _ => {
                let Some(brought) = self.bring(&app.spool).await? else { return Ok(mismatch()) };
                let file = brought.publish().await.map_err(Error::spool)?;
                let put = self.put(job, &*handler, aim, &app.spool, &file).await;
                app.spool.remove(&file);
                put?
            }
        };
        let stays = here(&current.place).filter(|_| aim.placement == Placement::Stub).cloned();
        let goes = here(&current.place).filter(|_| stays.is_none()).cloned();
        let place = Place::Stored {
            receipt: Box::new(receipt.clone()),
            handler_id: aim.handler_id.clone(),
            owner: moving.owner.clone(),
            file: stays,
        };
        let reserved = match &goes {
            Some(file) => Some((self.reserve(file).await?, file)),
            None => None,
        };
        if !self.note(place, reserved.as_ref().map(|(id, _)| *id)).await? {
            // Nobody refers to the object. It is ours to remove only where no other upload can lie under its name.
            if aim.location.as_str().contains(moving.attachment.as_ref()) {
                discard::object(app, &moving.account, moving.owner.as_deref(), &aim.handler_id, receipt).await?;
            }
            return Ok(Outcome::Done);
        }
        if let Some((id, file)) = reserved {
            removal::drop_file(app, id, file).await;
        }
        tracing::info!(account.id = %moving.account, document.id = %moving.document, handler.id = %aim.handler_id, "moved to where the plan says");
        Ok(Outcome::Done)
    }

    /// Here, to stay.
    async fn inwards(&self) -> Result<Outcome, Error> {
        let Self { app, moving, current, .. } = self;
        if let Some(file) = here(&current.place).cloned() {
            self.note(Place::Local { file }, None).await?;
            return Ok(Outcome::Done);
        }
        let Some(brought) = self.bring(&app.kept).await? else { return Ok(mismatch()) };
        let file = brought.file().clone();
        // Files that stay are not swept by listing their folder: this is what is left of it if nothing more comes.
        let reserved = self.reserve(&file).await?;
        if let Err(error) = brought.publish().await {
            self.cancel(reserved).await;
            return Err(Error::spool(error));
        }
        if self.note(Place::Local { file: file.clone() }, Some(reserved)).await? {
            app.journal.forget(reserved);
            tracing::info!(account.id = %moving.account, document.id = %moving.document, "brought back here, as the plan says");
        } else {
            app.kept.remove(&file);
        }
        Ok(Outcome::Done)
    }

    /// The bytes in a file; none when they are not those that the document knows.
    async fn bring(&self, files: &delivery::Spool) -> Result<Option<delivery::SealedFile>, Error> {
        let Self { app, moving, document, current, .. } = self;
        let served = fetch::fetch(app, &moving.account, document, &moving.attachment, None).await?;
        let file = streamed(files, served.stream, current.length).await?;
        let same = file.length() == current.length && hex::encode(file.sha256()) == current.sha256;
        Ok(same.then_some(file))
    }

    async fn put(
        &self,
        job: &Job,
        handler: &dyn attachments::Handler,
        aim: &Aim,
        files: &delivery::Spool,
        file: &FileId,
    ) -> Result<Receipt, Error> {
        let Self { app, moving, document, current, .. } = self;
        let payload = payload(files, file, &current.content_type, current.length, &current.sha256).await?;
        let place = format!("{} {} {}", aim.handler_id, aim.destination, aim.location);
        let known = moving.reserved.as_ref().filter(|(at, _)| *at == place).map(|(_, id)| id.clone());
        let mut key = PutKey {
            generation: moving.generation.clone(),
            document: Value::Object(document.public()),
            document_id: moving.document.to_string(),
            attachment: moving.attachment.to_string(),
            reserved: known,
        };
        if key.reserved.is_none() {
            let noted =
                |id: &str| body(&MoveAttachment { reserved: Some((place, id.to_owned())), ..(*moving).clone() });
            key.reserved = reserve(app, job, handler, &aim.location, &key, noted).await?;
        }
        Ok(handler.put(&aim.location, &payload, &key).await?)
    }

    async fn reserve(&self, file: &FileId) -> Result<JobId, Error> {
        self.app.journal.reserve(self.moving.keeps(file)?).await.map_err(Error::journal)
    }

    async fn cancel(&self, reserved: JobId) {
        if let Err(error) = self.app.journal.cancel(reserved).await {
            tracing::warn!(error = %error, "a reservation of a move stays until the next start");
        }
    }

    /// Writes the new place down; false when the document says something else of the attachment by now. What was reserved is settled by reading it where
    /// the outcome is not known, and called off where nothing was written.
    async fn note(&self, place: Place, reserved: Option<JobId>) -> Result<bool, Error> {
        let Self { app, moving, database, current, .. } = self;
        let (name, before) = (moving.attachment.clone(), current.clone());
        let noted = Arc::new(AtomicBool::new(false));
        let seen = noted.clone();
        let change = move |document: &Document| {
            let same = attachment_of(document, &name).is_some_and(|found| found == before);
            if document.deleted || !same {
                return Ok(Change::Leave);
            }
            seen.store(true, Ordering::SeqCst);
            Ok(Change::Write(with(document, &name, &Attachment { place, ..before })))
        };
        let outcome = app.documents.update_patiently(database, &moving.document, change).await;
        let written = match outcome {
            Ok(_) => noted.load(Ordering::SeqCst),
            Err(error) if error.kind() == connections::ErrorKind::NotFound => false,
            Err(error) => {
                if let Some(id) = reserved {
                    reservations::settle_later((*app).clone(), id, None);
                }
                return Err(error.into());
            }
        };
        if !written && let Some(id) = reserved {
            self.cancel(id).await;
        }
        Ok(written)
    }
}

/// The file here that holds the bytes to stay.
fn here(place: &Place) -> Option<&FileId> {
    match place {
        Place::Local { file } | Place::Stored { file: Some(file), .. } => Some(file),
        Place::Pending { .. } | Place::Stored { file: None, .. } => None,
    }
}

fn mismatch() -> Outcome {
    park("mismatch", "what lies at the old destination is not what was stored there: it is left alone")
}

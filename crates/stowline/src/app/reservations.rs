//! Reservations whose outcome is not known: settled by reading their document.
//!
//! A deposit reserves its job before it writes its document. When the process ends between the two, or the store answers that it does not know
//! whether it wrote, the reservation is all that is left, and the document alone can tell.

use std::sync::Arc;
use std::time::Duration;

use delivery::{Job, JobId};
use plan::{AttachmentName, Database, DocId};

use super::attachment::{Area, Attachment, attachment_of};
use super::promises::Promise;
use super::{App, Error};
use crate::jobs;

/// Between two looks at a store that was out of reach.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Settles what an earlier run left reserved, by reading the document of each: present with the same generation, it is confirmed; absent,
/// the reservation goes with its file; with the store out of reach it stays.
///
/// # Errors
/// [`Error::Unavailable`] when the journal cannot be read.
pub async fn reconcile(app: &App) -> Result<(), Error> {
    for job in app.journal.reservations().await.map_err(Error::journal)? {
        if let Err(error) = reconcile_one(app, &job).await {
            tracing::warn!(job.kind = %job.kind, error = %error, "a reservation could not be settled and stays");
        }
    }
    Ok(())
}

/// Settles one reservation of this run as soon as the store can be read again.
pub(crate) fn settle_later(app: Arc<App>, id: JobId, promise: Option<Promise>) {
    tokio::spawn(async move {
        // Kept open until then.
        let _promise = promise;
        let mut pause = PAUSE;
        loop {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            // Until the store is whole again, a write whose commit failed may still come back.
            if !app.documents.healthy() || !app.journal.healthy() {
                continue;
            }
            let settled = match app.journal.get(id).await.map_err(Error::journal) {
                Ok(None) => return,
                Ok(Some(job)) => reconcile_one(&app, &job).await,
                Err(error) => Err(error),
            };
            match settled {
                Ok(()) => return,
                Err(error) => tracing::warn!(error = %error, "a reservation cannot be settled yet"),
            }
        }
    });
}

async fn reconcile_one(app: &App, job: &Job) -> Result<(), Error> {
    let (database, id, name, generation, kept) = match jobs::Payload::read(job)? {
        jobs::Payload::Put(put) => {
            let kept = (put.area == Area::Kept).then_some(put.file);
            (put.database, put.document, put.attachment, put.generation, kept)
        }
        jobs::Payload::Keep(keep) => (keep.database, keep.document, keep.attachment, keep.generation, Some(keep.file)),
        jobs::Payload::Delete(delete) => return settle_removal(app, job.id, delete.holder).await,
        // Never reserved: it is handed in whole.
        jobs::Payload::Move(_) => {
            app.journal.confirm(job.id);
            return Ok(());
        }
    };
    let current = current(app, &database, &id, &name).await?.filter(|attachment| attachment.generation == generation);
    // What stays here is as good as saved only while its document holds the very file.
    let held =
        |attachment: &Attachment| job.kind != jobs::KEEP || kept.as_ref().is_some_and(|file| attachment.holds(file));
    let saved = current.is_some_and(|attachment| held(&attachment));
    match (saved, job.kind.as_str()) {
        (true, jobs::KEEP) => app.journal.forget(job.id),
        (true, _) => app.journal.confirm(job.id),
        (false, _) => {
            if let Some(file) = kept {
                app.kept.remove(&file);
            }
            if let Some(file) = app.journal.cancel(job.id).await.map_err(Error::journal)? {
                app.spool.remove(&file);
            }
        }
    }
    tracing::info!(job.kind = %job.kind, document.id = %id, saved, "settled a reservation by its document");
    Ok(())
}

async fn current(app: &App, database: &str, id: &DocId, name: &AttachmentName) -> Result<Option<Attachment>, Error> {
    let database = Database::parse(database).map_err(|error| Error::internal("reading a job", error))?;
    let document = app.documents.get(&database, id).await?;
    Ok(document.and_then(|document| attachment_of(&document, name)))
}

/// An object is removed once the document has let it go; while the document holds it, it is not.
async fn settle_removal(app: &App, id: JobId, holder: Option<jobs::Holder>) -> Result<(), Error> {
    let held = match &holder {
        None => false,
        Some(holder) => current(app, &holder.database, &holder.document, &holder.attachment)
            .await?
            .is_some_and(|attachment| attachment.generation == holder.generation),
    };
    if held {
        app.journal.cancel(id).await.map_err(Error::journal)?;
    } else {
        app.journal.confirm(id);
    }
    Ok(())
}

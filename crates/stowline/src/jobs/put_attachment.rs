//! Bytes go to a handler, are verified there, and their document is told.

use attachments::{ErrorKind, Handler, Location, Payload, PutKey};
use delivery::{FileId, Held, Job, Outcome};
use serde_json::Value;

use super::{OUT_OF_ORDER, PutAttachment, failed, park, postpone};
use crate::app::attachment::{Area, Place, attachment_of, files, note_stored};
use crate::app::{App, Error, dataplans, discard, handler_errors};
use plan::Database;

/// How often other bytes than ours may be found at the destination before a person should look.
const MISMATCHES: u32 = 5;

pub(super) async fn run(app: &App, job: &Job, put: PutAttachment) -> Outcome {
    match attempt(app, job, &put).await {
        Ok(outcome) => outcome,
        Err(Error::Destination(error)) => {
            tracing::info!(
                account.id = %put.account, handler.id = %put.handler_id, handler.kind = %put.handler,
                attempt = job.attempts + 1, error = %error, "a delivery failed and waits"
            );
            // That a consent is gone was said when it was found out.
            if error.kind() != ErrorKind::Revoked || error.exchange().is_some() {
                handler_errors::note(app, job, &put, &error).await;
            }
            if error.kind() == ErrorKind::Mismatch && job.attempts >= MISMATCHES && mismatched(job) {
                return park("mismatch", error.to_string());
            }
            failed(&error)
        }
        Err(error) => postpone(OUT_OF_ORDER, error.to_string()),
    }
}

/// The attempt before found other bytes too.
fn mismatched(job: &Job) -> bool {
    job.last_error.as_ref().is_some_and(|error| error.code == ErrorKind::Mismatch.word())
}

async fn attempt(app: &App, job: &Job, put: &PutAttachment) -> Result<Outcome, Error> {
    let database = Database::parse(&put.database).map_err(|error| Error::internal("reading a job", error))?;
    let document = app.documents.get(&database, &put.document).await?;
    let current = document.as_ref().and_then(|document| attachment_of(document, &put.attachment));
    let Some((document, current)) = document.zip(current).filter(|(_, current)| current.generation == put.generation)
    else {
        tracing::info!(document.id = %put.document, "the attachment was replaced or removed before it was delivered");
        if put.area == Area::Kept {
            app.kept.remove(&put.file);
        }
        return Ok(Outcome::Done);
    };
    if matches!(current.place, Place::Stored { .. }) {
        // Its document was removed meanwhile, and wants no copy here.
        if put.area == Area::Kept && !current.holds(&put.file) {
            app.kept.remove(&put.file);
        }
        return Ok(Outcome::Done);
    }
    let settings =
        dataplans::settings(app, &put.account, put.owner.as_deref(), &put.handler_id, &put.destination).await?;
    let Some(settings) = settings else {
        return Ok(park(
            "handler_gone",
            "the handler that this was routed to is gone: put it back, or POST {\"action\": \"reroute\"} to send it by today's plan",
        ));
    };
    let handler = settings.open(app).await?;
    let payload = payload(files(app, put.area), &put.file, &put.content_type, put.length, &put.sha256).await?;
    let mut key = PutKey {
        generation: put.generation.clone(),
        document: Value::Object(document.public()),
        document_id: put.document.to_string(),
        attachment: put.attachment.to_string(),
        reserved: put.reserved.clone(),
    };
    if key.reserved.is_none() {
        let noted = |id: &str| PutAttachment { reserved: Some(id.to_owned()), ..put.clone() }.body();
        key.reserved = reserve(app, job, &*handler, &put.location, &key, noted).await?;
    }
    let started = std::time::Instant::now();
    let receipt = handler.put(&put.location, &payload, &key).await?;
    tracing::info!(
        account.id = %put.account, document.id = %put.document, handler.id = %put.handler_id, handler.kind = %put.handler,
        size = put.length, attempt = job.attempts + 1, assurance = ?receipt.assurance,
        duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX), "delivered and verified"
    );
    if !note_stored(app, put, receipt.clone()).await? {
        if put.area == Area::Kept {
            app.kept.remove(&put.file);
        }
        // Nobody refers to the object any more. It is ours to remove only where no other upload can lie under its name.
        if put.location.as_str().contains(put.attachment.as_ref()) {
            discard::object(app, &put.account, put.owner.as_deref(), &put.handler_id, receipt).await?;
        } else {
            tracing::info!(document.id = %put.document, "the object of a replaced attachment stays: its name may be another's");
        }
    }
    Ok(Outcome::Done)
}

/// Asks a destination that finds objects by ids of its own for one, and writes it down before the first byte moves: an attempt that follows, after a
/// crash too, means the same object. `noted` is the job that says so.
pub(super) async fn reserve(
    app: &App,
    job: &Job,
    handler: &dyn Handler,
    location: &Location,
    key: &PutKey,
    noted: impl FnOnce(&str) -> Result<Vec<u8>, Error>,
) -> Result<Option<String>, Error> {
    let Some(id) = handler.reserve(location, key).await? else { return Ok(None) };
    app.journal.note(job, noted(&id)?).await.map_err(Error::journal)?;
    Ok(Some(id))
}

/// The bytes that a file of ours holds.
pub(super) async fn payload(
    files: &delivery::Spool,
    file: &FileId,
    content_type: &str,
    length: u64,
    digest: &str,
) -> Result<Payload, Error> {
    let unfit = |_| Error::Internal { what: "reading a job's digest", source: None };
    let mut sha256 = [0_u8; 32];
    hex::decode_to_slice(digest, &mut sha256).map_err(unfit)?;
    let held = files.held(file).await.map_err(Error::spool)?;
    Ok(match held {
        Held::File(path) => Payload::file(path, content_type, length, sha256),
        Held::Bytes(bytes) => Payload::digested(bytes, content_type, sha256),
    })
}

//! What destinations answered when they did not take an attachment: one record for each delivery and kind of failure, in the month.
//!
//! A delivery is tried until it succeeds, so a record counts its attempts and is written at the first, the second, the fourth …; a failure of another
//! kind is another record. A record holds what the destination said, and of the handler's settings what is no secret.

use delivery::Job;
use plan::HandlerId;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{App, Error, accounts, dataplans, months, secrets};
use crate::jobs::PutAttachment;
use crate::time;
use connections::{Change, Document, Draft, ErrorKind};

/// The type of the records.
pub const TYPE: &str = "attachment_handler_error";

/// Notes a failed attempt. That it could not be noted is logged and changes nothing else.
pub async fn note(app: &App, job: &Job, put: &PutAttachment, error: &attachments::Error) {
    let attempt = job.attempts.saturating_add(1);
    let status = error.exchange().and_then(|exchange| exchange.status);
    let last = job.last_error.as_ref();
    let another = last.is_none_or(|last| last.http_status != status);
    if !another && !attempt.is_power_of_two() {
        return;
    }
    if let Err(failure) = record(app, job, put, error, attempt).await {
        tracing::warn!(error = %failure, "a failed attempt is not among the handlers' errors");
    }
}

async fn record(
    app: &App,
    job: &Job,
    put: &PutAttachment,
    error: &attachments::Error,
    attempt: u32,
) -> Result<(), Error> {
    let Some(account) = accounts::find(app, &put.account).await? else { return Ok(()) };
    let now = time::now();
    let month = months::of("created", now)?;
    let exchange = error.exchange();
    let status = exchange.and_then(|exchange| exchange.status).unwrap_or(500);
    let reason = exchange.and_then(|exchange| exchange.message.clone()).unwrap_or_else(|| error.to_string());
    let digest = Sha256::digest(format!("{} {} {status} {}", job.id, put.generation, error.kind().word()));
    let id = format!("{month}-{}", hex::encode(&digest[..16]));
    let id = plan::DocId::parse(&id).map_err(|bad| Error::internal("making an id", bad))?;
    let database = months::database(&account, month);
    let body = json!({
        "reason": reason, "handler_id": put.handler_id.as_ref(), "handler": put.handler, "db_name": put.database,
        "document_id": put.document.as_ref(), "attachment_name": put.attachment.as_ref(),
        "handler_props": props(app, put).await?,
        "req_url": exchange.map(|exchange| exchange.url.clone()), "resp_code": status,
        "resp_body": exchange.and_then(|exchange| exchange.body.clone()).unwrap_or_default(),
        "resp_headers": exchange.map(|exchange| json!(exchange.headers)).unwrap_or_else(|| json!({})),
        "options": {"doc_type": put.doc_type.as_ref(), "content_type": put.content_type, "size": put.length},
        "error_kind": error.kind().word(), "attempts": attempt,
        "pvt_type": TYPE, "pvt_created": now, "pvt_modified": now, "pvt_account_id": account.id.as_ref(),
    });
    let Value::Object(body) = body else { return Ok(()) };
    let parent = Some(put.handler_id.to_string());
    let draft = Draft { doc_type: TYPE.into(), parent, at: now, body, ..Draft::default() };
    match app.documents.create(&database, &id, draft).await {
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == ErrorKind::Conflict => {}
        Err(error) => return Err(error.into()),
    }
    let again = move |document: &Document| {
        let mut body = document.body.clone();
        body.insert("attempts".into(), attempt.into());
        body.insert("pvt_modified".into(), now.into());
        Ok(Change::Write(body))
    };
    app.documents.update_patiently(&database, &id, again).await?;
    Ok(())
}

/// The handler's settings without their secrets.
async fn props(app: &App, put: &PutAttachment) -> Result<Value, Error> {
    let settings =
        dataplans::settings(app, &put.account, put.owner.as_deref(), &put.handler_id, &put.destination).await?;
    let Some(settings) = settings else { return Ok(json!({})) };
    let id = put.handler_id.as_ref();
    let mut document = Map::from_iter([("attachments".to_owned(), json!({ id: settings.entry.to_json() }))]);
    secrets::mask(&mut document);
    Ok(document["attachments"][id]["settings"].take())
}

/// A record as it stands in a list.
pub fn row(document: &Document) -> Map<String, Value> {
    let public = document.public();
    let keys = ["id", "attachment_name", "resp_code", "reason", "handler_id", "document_id", "attempts"];
    let mut row: Map<String, Value> =
        keys.iter().filter_map(|key| Some(((*key).to_owned(), public.get(*key)?.clone()))).collect();
    row.insert("created".into(), document.body.get("pvt_created").cloned().unwrap_or_default());
    row
}

/// The parent under which the records of a handler are listed.
pub fn parent(id: &str) -> Result<String, Error> {
    HandlerId::parse(id).map(|id| id.to_string()).map_err(|_| Error::NotFound(id.to_owned()))
}

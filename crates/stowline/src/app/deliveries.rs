//! What an account's bytes wait for: shown, tried again now, or sent by today's plan.

use delivery::{Job, JobId, JobState};
use plan::AccountId;
use serde_json::{Value, json};

use super::deposit;
use super::{App, Error};
use crate::jobs;
use crate::time;

/// A page of deliveries.
#[derive(Debug)]
pub struct Page {
    /// As the API shows them.
    pub rows: Vec<Value>,
    /// The first of the next page.
    pub next: Option<JobId>,
}

fn journal(error: delivery::Error) -> Error {
    Error::unavailable("journal", error)
}

/// What is not yet verified, the oldest first.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn list(app: &App, account: &AccountId, start: Option<JobId>, limit: usize) -> Result<Page, Error> {
    let page = app.journal.list(account.as_ref(), start, limit).await.map_err(journal)?;
    Ok(Page { rows: page.jobs.iter().filter_map(row).collect(), next: page.next })
}

fn row(job: &Job) -> Option<Value> {
    let state = match job.state {
        JobState::Reserved => return None,
        JobState::Waiting => "waiting",
        JobState::Running => "running",
        JobState::Parked => "parked",
    };
    let seconds = |unix_ms: i64| time::from_unix(unix_ms.div_euclid(1000));
    let mut row = match jobs::Payload::read(job).ok()? {
        jobs::Payload::Put(put) => json!({
            "id": job.id.to_string(), "document_id": put.document.as_ref(), "db": put.database, "doc_type": put.doc_type.as_ref(),
            "attachment": put.attachment.as_ref(), "handler_id": put.handler_id.as_ref(), "handler": put.handler, "size": put.length,
        }),
        jobs::Payload::Delete(delete) => json!({
            "id": job.id.to_string(), "action": "delete", "handler_id": delete.handler_id.as_ref(), "handler": delete.receipt.handler,
            "size": delete.receipt.length,
        }),
        jobs::Payload::Keep(_) => return None,
    };
    row["state"] = state.into();
    row["attempts"] = job.attempts.into();
    row["since"] = seconds(job.since).into();
    row["next_attempt"] = job.next_attempt.map(seconds).into();
    row["last_error"] = job.last_error.as_ref().map_or(
        Value::Null,
        |error| json!({"code": error.code, "message": error.message, "http_status": error.http_status}),
    );
    Some(row)
}

/// Makes them due now, the parked ones too. Answers how many.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn retry(app: &App, account: &AccountId, ids: Option<Vec<JobId>>) -> Result<usize, Error> {
    app.journal.redrive(account.as_ref(), ids).await.map_err(journal)
}

/// Routes what waits by today's plan, then makes it due. Answers how many now go elsewhere.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn reroute(app: &App, account: &AccountId, ids: Option<Vec<JobId>>) -> Result<usize, Error> {
    let mut moved = 0;
    let mut start = None;
    loop {
        let page = app.journal.list(account.as_ref(), start, 500).await.map_err(journal)?;
        for job in &page.jobs {
            let asked = ids.as_ref().is_none_or(|ids| ids.contains(&job.id));
            if asked && matches!(job.state, JobState::Waiting | JobState::Parked) && reroute_one(app, job).await? {
                moved += 1;
            }
        }
        match page.next {
            Some(next) => start = Some(next),
            None => break,
        }
    }
    app.journal.redrive(account.as_ref(), ids).await.map_err(journal)?;
    Ok(moved)
}

async fn reroute_one(app: &App, job: &Job) -> Result<bool, Error> {
    let jobs::Payload::Put(put) = jobs::Payload::read(job)? else { return Ok(false) };
    let Some(rerouted) = deposit::rerouted(app, &put).await? else { return Ok(false) };
    let (body, lane) = rerouted.update()?;
    app.journal.update_body(job.id, body, lane).await.map_err(journal)?;
    Ok(true)
}

//! What an account's bytes wait for: shown, tried again now, or sent by today's plan.

use std::collections::HashSet;
use std::time::{Duration, Instant};

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

/// What is not yet verified, the oldest first.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn list(app: &App, account: &AccountId, start: Option<JobId>, limit: usize) -> Result<Page, Error> {
    let (mut rows, mut next) = (Vec::new(), start);
    loop {
        let piece = limit.saturating_sub(rows.len()).min(500);
        let page = app.journal.list(account.as_ref(), next, piece).await.map_err(Error::journal)?;
        rows.extend(page.jobs.iter().filter_map(row));
        next = page.next;
        if next.is_none() || rows.len() >= limit {
            return Ok(Page { rows, next });
        }
    }
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
        jobs::Payload::Move(moving) => json!({
            "id": job.id.to_string(), "action": "move", "document_id": moving.document.as_ref(), "db": moving.database,
            "doc_type": moving.doc_type.as_ref(), "attachment": moving.attachment.as_ref(), "handler_id": moving.from,
            "size": moving.length,
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
    app.journal.redrive(account.as_ref(), ids).await.map_err(Error::journal)
}

/// How long an attempt that runs is waited for before its delivery is left where it goes.
const PATIENCE: Duration = Duration::from_secs(5);

/// Routes what waits by today's plan, then makes it due. An attempt that runs is waited for a moment, since it may be about to fail. Answers
/// how many now go elsewhere.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn reroute(app: &App, account: &AccountId, ids: Option<Vec<JobId>>) -> Result<usize, Error> {
    let asked: Option<HashSet<JobId>> = ids.as_ref().map(|ids| ids.iter().copied().collect());
    let mut moved = 0;
    let mut start = None;
    let until = Instant::now() + PATIENCE;
    loop {
        let page = app.journal.list(account.as_ref(), start, 500).await.map_err(Error::journal)?;
        for job in page.jobs {
            let asked = asked.as_ref().is_none_or(|ids| ids.contains(&job.id));
            if asked && reroute_when_idle(app, job, until).await? {
                moved += 1;
            }
        }
        match page.next {
            Some(next) => start = Some(next),
            None => break,
        }
    }
    app.journal.redrive(account.as_ref(), ids).await.map_err(Error::journal)?;
    Ok(moved)
}

async fn reroute_when_idle(app: &App, mut job: Job, until: Instant) -> Result<bool, Error> {
    loop {
        let rerouted =
            if job.state == JobState::Running { Err(delivery::Error::Running) } else { reroute_one(app, &job).await? };
        match rerouted {
            Ok(moved) => return Ok(moved),
            Err(delivery::Error::Running) if Instant::now() < until => {
                tokio::time::sleep(Duration::from_millis(20)).await
            }
            Err(delivery::Error::Running | delivery::Error::Unknown) => return Ok(false),
            Err(error) => return Err(Error::journal(error)),
        }
        match app.journal.get(job.id).await.map_err(Error::journal)? {
            Some(again) => job = again,
            None => return Ok(false),
        }
    }
}

/// The inner error says why the job could not be changed.
async fn reroute_one(app: &App, job: &Job) -> Result<Result<bool, delivery::Error>, Error> {
    let jobs::Payload::Put(put) = jobs::Payload::read(job)? else { return Ok(Ok(false)) };
    let Some(rerouted) = deposit::rerouted(app, &put).await? else { return Ok(Ok(false)) };
    let (body, lane) = (rerouted.body()?, rerouted.lane());
    Ok(app.journal.update_body(job.id, body, lane).await.map(|()| true))
}

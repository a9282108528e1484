//! What is older than the plan keeps it is removed, for good: the document, its bytes here, and its object where the plan says `"delete": true`.
//!
//! * Nothing is removed by its age unless a plan says `retention_days` ([`plan::retention`]).
//! * Days count from when a thing happened, or from when it came here, whichever is later: a switch whose clock is wrong, or an archive that is brought in,
//!   loses nothing.
//! * What was deleted softly goes too when its time has come, with what was still kept of it.
//! * What is still on its way to a destination where it may stay waits until it is there.
//! * While an account links to a plan that is gone nothing of it is removed, since nobody knows what that plan said.
//!
//! A round walks the monthly databases that hold anything, so accounts without traffic cost nothing, and asks the plan in force once more for each
//! document: a change that was answered is kept to. It holds no state: each document goes in the order of a removal (`removal`), which survives a crash, and
//! the next round finds what this one left.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use plan::{AccountId, Database, Dataplan, DocType, retention};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::accounts::{self, Account};
use super::{App, Error, audit, dataplans, months, removal};
use crate::time;
use connections::{Document, Order, Query};

/// The longest that the first round after a start waits.
const FIRST_ROUND: Duration = Duration::from_secs(300);
/// What the names of accounts' databases begin with.
const ACCOUNTS: &str = "account/";
/// Names of databases that are read at once.
const NAMES: usize = 500;
/// Documents that are read at once, and those that are removed at once: their writes share a commit.
const BATCH: usize = 100;
const AT_ONCE: usize = 16;
const DAY: i64 = 86_400;

/// Removes what has become too old, round after round.
pub async fn sweep(app: Arc<App>, stopping: CancellationToken) {
    let every = app.config.retention.sweep_every;
    if every.is_zero() {
        return;
    }
    let mut wait = every.min(FIRST_ROUND);
    while stopping.run_until_cancelled(tokio::time::sleep(wait)).await.is_some() {
        match stopping.run_until_cancelled(round(&app)).await {
            Some(Err(error)) => tracing::warn!(error = %error, "what is too old is looked for again later"),
            Some(Ok(removed)) if removed > 0 => tracing::info!(documents = removed, "what was too old is removed"),
            _ => {}
        }
        wait = every;
    }
}

/// Removes what is too old now. Answers how many documents that were.
///
/// # Errors
/// [`Error::Unavailable`]; what was removed until then is.
pub async fn round(app: &Arc<App>) -> Result<u64, Error> {
    // From somewhere on and then around: of rounds that are cut short each leaves others out.
    let start = format!("{ACCOUNTS}{:02x}", rand::random::<u8>());
    Ok(walk(app, &start, None).await? + walk(app, ACCOUNTS, Some(&start)).await?)
}

/// Over the databases after one, to another.
async fn walk(app: &Arc<App>, after: &str, to: Option<&str>) -> Result<u64, Error> {
    let (mut removed, mut last) = (0, after.to_owned());
    loop {
        let names = app.documents.databases_after(&last, NAMES).await?;
        let Some(end) = names.last().cloned() else { return Ok(removed) };
        for name in names {
            if !name.starts_with(ACCOUNTS) || to.is_some_and(|to| name.as_str() > to) {
                return Ok(removed);
            }
            // A name that is none of ours is nobody's.
            let Ok(Database::Modb(account, month)) = Database::parse(&name) else { continue };
            let Some(account) = accounts::find(app, &account).await? else { continue };
            let database = months::database(&account, month);
            match clear(app, &account, &database, months::bounds(month).from).await {
                Ok(count) => removed += count,
                Err(error @ Error::Unavailable { .. }) => return Err(error),
                Err(error) => {
                    tracing::error!(account.id = %account.id, error = %error, "what is too old of an account stays")
                }
            }
        }
        last = end;
    }
}

/// Removes what is too old in a month that begins at `first`.
async fn clear(app: &Arc<App>, account: &Account, database: &Database, first: i64) -> Result<u64, Error> {
    let mut removed = 0;
    for doc_type in retention::TYPES {
        for deleted in [false, true] {
            match kept_since(app, &account.id, database, doc_type).await? {
                Some(since) if first < since => {
                    let query = Query {
                        to: Some(since.saturating_sub(1)),
                        order: Order::Ascending,
                        limit: BATCH,
                        deleted,
                        ..Query::new(database.clone(), doc_type)
                    };
                    removed += clear_all(app, account, query).await?;
                }
                _ => break,
            }
        }
    }
    Ok(removed)
}

/// Since when what is of a type is kept, by the plan in force; none: for good.
async fn kept_since(app: &App, account: &AccountId, database: &Database, doc_type: &str) -> Result<Option<i64>, Error> {
    let Some(plan) = dataplans::unbroken(app, account).await? else { return Ok(None) };
    Ok(kept_for(&plan, database, doc_type)?.map(|kept| time::now().saturating_sub(kept)))
}

/// For how many seconds a plan keeps what is of a type in a database; none: for good.
pub(super) fn kept_for(plan: &Dataplan, database: &Database, doc_type: &str) -> Result<Option<i64>, Error> {
    let doc_type = DocType::parse(doc_type).map_err(|error| Error::internal("naming a type", error))?;
    let days = plan.route(database, Some(&doc_type)).retention_days;
    Ok(days.map(|days| i64::from(days.get()) * DAY))
}

/// How many documents of an account a plan would have removed now, by type. What is on its way to where it may stay is among them, though it waits.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn foretell(app: &App, account: &AccountId, plan: &Dataplan) -> Result<BTreeMap<&'static str, u64>, Error> {
    let (now, mut removed) = (time::now(), BTreeMap::new());
    for month in months::held(app, account).await? {
        let (database, first) = (Database::Modb(account.clone(), month), months::bounds(month).from);
        for doc_type in retention::TYPES {
            let kept = kept_for(plan, &database, doc_type)?;
            let Some(since) = kept.map(|kept| now.saturating_sub(kept)).filter(|since| first < *since) else {
                continue;
            };
            let count = app.documents.count_before(&database, doc_type, since, "$.pvt_created").await?;
            if count > 0 {
                *removed.entry(doc_type).or_default() += count;
            }
        }
    }
    Ok(removed)
}

/// Removes what a query finds, page after page, no faster than is configured.
async fn clear_all(app: &Arc<App>, account: &Account, mut query: Query) -> Result<u64, Error> {
    let mut removed = 0;
    loop {
        let begun = Instant::now();
        let page = app.documents.list(query.clone()).await?;
        let mut outcomes = stream::iter(page.documents)
            .map(|(cursor, document)| async move { remove(app, account, cursor.at, document).await })
            .buffer_unordered(AT_ONCE);
        let (mut count, mut failed) = (0, None);
        while let Some(outcome) = outcomes.next().await {
            match outcome {
                Ok(gone) => count += u64::from(gone),
                Err(error) => failed = Some(error),
            }
        }
        if count > 0 {
            metrics::counter!("stowline_retention_removed_total", "type" => query.doc_type.clone()).increment(count);
            tracing::info!(account.id = %account.id, doc.type = %query.doc_type, documents = count, "removed because of their age");
            audit::swept(app, &account.id, &query.doc_type, count).await;
            removed += count;
        }
        if let Some(error) = failed {
            return Err(error);
        }
        let Some(next) = page.next else { return Ok(removed) };
        query.start = Some(next);
        tokio::time::sleep(pause(app.config.retention.per_second, count).saturating_sub(begun.elapsed())).await;
    }
}

/// How long so many documents take.
fn pause(per_second: u32, count: u64) -> Duration {
    match u64::from(per_second) {
        0 => Duration::ZERO,
        per_second => Duration::from_millis(count.saturating_mul(1000) / per_second),
    }
}

/// Removes a document that carries a time that is long enough ago, unless it came later, or the plan has changed.
async fn remove(app: &Arc<App>, account: &Account, at: i64, document: Document) -> Result<bool, Error> {
    let came = document.body.get("pvt_created").and_then(Value::as_i64).unwrap_or_default();
    match kept_since(app, &account.id, &document.database, &document.doc_type).await? {
        Some(since) if at.max(came) < since => {}
        _ => return Ok(false),
    }
    removal::purge(app, account, document.text("owner_id"), &document).await
}

//! How the handlers of an account do: the last attempt that was made with each, and whether a person has to consent again.
//!
//! Attempts are remembered while the program runs. After a start the journal says of those that still wait how their last one ended; and a consent
//! that was taken back says so itself.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use delivery::{JobError, LaneStatus};
use plan::{AccountId, HandlerConfig, HandlerId, Level};
use serde_json::{Map, Value, json};

use super::oauth::{self, CONSENT_NEEDED, Consent};
use super::{App, Error, dataplans};
use crate::{jobs, time};

/// The most handlers of accounts that are remembered; then all are forgotten, and come back with their next attempts.
const KEPT: usize = 100_000;
/// Deliveries that are looked at for how their last attempt ended, where none is remembered.
const LOOKED_AT: usize = 500;

/// What is remembered of attempts, by lane.
#[derive(Debug, Default)]
pub struct Health(Mutex<HashMap<String, Attempts>>);

/// The attempts with one handler of an account.
#[derive(Debug, Clone)]
struct Attempts {
    /// Since when they end as the last one did.
    since: i64,
    last_success: Option<i64>,
    error: Option<JobError>,
}

impl Health {
    /// Takes note of an attempt: what went wrong, or that nothing did.
    pub fn note(&self, account: &AccountId, handler: &HandlerId, error: Option<JobError>) {
        let now = time::now();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= KEPT {
            all.clear();
        }
        let attempts = all.entry(jobs::lane(account, handler)).or_insert(Attempts {
            since: now,
            last_success: None,
            error: error.clone(),
        });
        if attempts.error.is_some() != error.is_some() {
            attempts.since = now;
        }
        if error.is_none() {
            attempts.last_success = Some(now);
        }
        attempts.error = error;
    }

    /// What is known of an account's handlers, by their id.
    fn of(&self, prefix: &str) -> BTreeMap<String, Attempts> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own =
            all.iter().filter_map(|(lane, attempts)| Some((lane.strip_prefix(prefix)?.to_owned(), attempts.clone())));
        own.collect()
    }
}

/// The handlers of an account, ordered by id: those of its own document, and whatever else its deliveries went by.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn of(app: &App, account: &AccountId) -> Result<Vec<Value>, Error> {
    let prefix = format!("{account}/");
    let mut attempts = app.health.of(&prefix);
    let lanes = app.journal.lanes();
    let lanes: BTreeMap<&str, &LaneStatus> =
        lanes.iter().filter_map(|lane| Some((lane.lane.strip_prefix(&prefix)?, lane))).collect();
    if lanes.keys().any(|id| !attempts.contains_key(*id)) {
        from_journal(app, account, &mut attempts).await?;
    }
    let plan = dataplans::of(app, account, None).await?;
    let mut ids: Vec<String> =
        plan.layers().iter().filter(|layer| layer.level == Level::Account).fold(Vec::new(), |mut ids, layer| {
            ids.extend(layer.document.attachments.keys().map(ToString::to_string));
            ids
        });
    ids.extend(lanes.keys().map(|id| (*id).to_owned()).chain(attempts.keys().cloned()));
    ids.sort_unstable();
    ids.dedup();
    let mut rows = Vec::new();
    for id in ids {
        let entry = HandlerId::parse(&id).ok().and_then(|id| plan.handler(&id));
        let entry = entry.map(|(entry, level)| (&**entry, level));
        let consent = match entry {
            Some((entry, level)) => consent(app, account, &plan, entry, level).await?,
            None => None,
        };
        rows.push(row(&id, entry, consent.as_ref(), attempts.get(&id), lanes.get(id.as_str()).copied()));
    }
    Ok(rows)
}

/// The consent that a handler of the account's plan is let in by.
async fn consent(
    app: &App,
    account: &AccountId,
    plan: &plan::Dataplan,
    entry: &HandlerConfig,
    level: Level,
) -> Result<Option<Consent>, Error> {
    let Some(id) = entry.settings.get("oauth_doc_id").and_then(Value::as_str) else { return Ok(None) };
    let owner = dataplans::owner_at(app, account, None, plan, level, entry).await?;
    oauth::of(app, &owner, id).await
}

/// Adds what the journal knows of handlers of which nothing is remembered.
async fn from_journal(app: &App, account: &AccountId, attempts: &mut BTreeMap<String, Attempts>) -> Result<(), Error> {
    let page = app.journal.list(account.as_ref(), None, LOOKED_AT).await;
    let page = page.map_err(Error::journal)?;
    let remembered: Vec<String> = attempts.keys().cloned().collect();
    for job in page.jobs {
        let Some((_, id)) = job.lane.split_once('/').filter(|(_, id)| !remembered.iter().any(|known| known == id))
        else {
            continue;
        };
        if let Some(error) = job.last_error {
            let since = time::from_unix(job.since.div_euclid(1000));
            let found = attempts.entry(id.to_owned()).or_insert(Attempts { since, last_success: None, error: None });
            found.error = Some(error);
        }
    }
    Ok(())
}

fn row(
    id: &str,
    entry: Option<(&HandlerConfig, Level)>,
    consent: Option<&Consent>,
    attempts: Option<&Attempts>,
    lane: Option<&LaneStatus>,
) -> Value {
    let error = attempts.and_then(|attempts| attempts.error.as_ref());
    let revoked = consent.and_then(Consent::revoked);
    let given_again = consent.is_some_and(|consent| !consent.is_revoked());
    let state = match (error, revoked) {
        (_, Some(_)) => "consent_needed",
        // Not yet tried since.
        (Some(error), None) if error.code == CONSENT_NEEDED && given_again => "ok",
        (Some(error), None) if error.code == CONSENT_NEEDED => "consent_needed",
        (Some(_), None) => "failing",
        (None, None) => "ok",
    };
    let shown =
        |error: &JobError| json!({"code": error.code, "message": error.message, "http_status": error.http_status});
    let since = revoked.map(|revoked| revoked["since"].clone());
    let last_error = match (error, revoked) {
        (Some(error), _) if state != "ok" => shown(error),
        (_, Some(revoked)) => {
            json!({"code": CONSENT_NEEDED, "message": revoked["message"], "http_status": null})
        }
        _ => Value::Null,
    };
    let mut row = Map::from_iter([
        ("handler_id".to_owned(), Value::from(id)),
        ("state".to_owned(), state.into()),
        ("since".to_owned(), since.unwrap_or_else(|| attempts.map(|attempts| attempts.since).into())),
        ("last_success".to_owned(), attempts.and_then(|attempts| attempts.last_success).into()),
        ("last_error".to_owned(), last_error),
        ("deliveries".to_owned(), lane.map_or(0, |lane| lane.jobs).into()),
    ]);
    if let Some((entry, level)) = entry {
        row.insert("handler".into(), entry.handler.as_str().into());
        row.insert("level".into(), level.word().into());
        // Of others' handlers no more than that.
        if level == Level::Account {
            row.insert("name".into(), entry.name.clone().into());
            let named = oauth::needs_consent(&entry.settings).then(|| entry.settings.get("oauth_doc_id").cloned());
            row.extend(named.flatten().map(|id| ("oauth_doc_id".to_owned(), id)));
        }
    }
    Value::Object(row)
}

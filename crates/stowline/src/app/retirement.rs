//! Entries that left their document, or changed their destination, and still serve what was sent by them.
//!
//! Handler and location of a delivery are decided at the deposit, and a receipt names the destination that it came from. So an entry that goes
//! is *retired*: hidden from the document, still there for the jobs and receipts that name its id and destination, until somebody erases it.
//! Erased, its credentials are gone at once; what waits for it is parked, and what lies at its destination is out of reach.
//!
//! An account that leaves a plan has nothing to retire, because the entries are the plan's; that it once linked to the plan is remembered here.

use std::sync::Arc;

use plan::{HandlerConfig, HandlerId, PlanId};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::storage_documents::{Scope, configured, entries, plan_of, system_data};
use super::{App, Error, accounts, issued};
use crate::time;
use connections::{Change, Document, Draft, ErrorKind};

/// The type of the documents here.
pub(super) const TYPE: &str = "storage_retired";
/// Their fields: retired entries, and the places of plans that were once linked to.
const ENTRIES: &str = "entries";
const PLANS: &str = "plans";

/// Where an entry's bytes go, without credentials.
pub(super) fn destination(id: &str, entry: &Value) -> Option<String> {
    let (_, config) = configured(id, entry)?;
    attachments::kind(&config.handler).map(|kind| (kind.destination)(&config.settings))
}

fn sealed_place(scope: &Scope, id: &str) -> String {
    format!("retired {} {id}", scope.place())
}

/// Names what was retired: the same entry with the same destination has the same name again.
fn name(id: &str, destination: &str) -> String {
    hex::encode(&Sha256::digest(format!("{id} {destination}"))[..16])
}

/// Sets aside entries that leave the document or change their destination, and remembers a plan that it no longer links to.
pub(super) async fn retire(
    app: &App,
    scope: &Scope,
    before: &Map<String, Value>,
    after: &Map<String, Value>,
) -> Result<(), Error> {
    let mut leaving = Vec::new();
    for (id, entry) in entries(before) {
        let still = after.get("attachments").and_then(|entries| entries.get(id));
        let Some(was) = destination(id, entry) else { continue };
        if still.and_then(|entry| destination(id, entry)).as_ref() != Some(&was) {
            let sealed = app.keys.seal(&sealed_place(scope, id), entry)?;
            let reason = if still.is_some() { "changed" } else { "removed" };
            leaving.push(json!({
                "id": id, "handler": entry.get("handler"), "name": entry.get("name"), "entry": sealed,
                "destination": was, "reason": reason, "retired_at": time::now(),
            }));
        }
    }
    let plan = left_plan(app, scope, before, after).await?;
    if leaving.is_empty() && plan.is_none() {
        return Ok(());
    }
    let plan: Vec<Value> = plan.into_iter().map(Value::from).collect();
    let draft = Draft {
        doc_type: TYPE.into(),
        parent: scope.account().map(ToString::to_string),
        body: Map::from_iter([(ENTRIES.into(), leaving.clone().into()), (PLANS.into(), plan.clone().into())]),
        ..Draft::default()
    };
    let id = scope.retired_id()?;
    match app.documents.create(&system_data(), &id, draft).await {
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == ErrorKind::Conflict => {}
        Err(error) => return Err(error.into()),
    }
    let add = move |document: &Document| {
        let mut body = document.body.clone();
        let kept = |field: &str| body.get(field).and_then(Value::as_array).cloned().unwrap_or_default();
        let (mut all, mut plans) = (kept(ENTRIES), kept(PLANS));
        all.retain(|old| !leaving.iter().any(|new| new["id"] == old["id"] && new["destination"] == old["destination"]));
        all.extend(leaving);
        plans.retain(|old| !plan.contains(old));
        plans.extend(plan);
        body.insert(ENTRIES.into(), all.into());
        body.insert(PLANS.into(), plans.into());
        Ok(Change::Write(body))
    };
    app.documents.update(&system_data(), &id, add).await?;
    Ok(())
}

/// The place of the plan that an account links to before a change and not after it.
async fn left_plan(
    app: &App,
    scope: &Scope,
    before: &Map<String, Value>,
    after: &Map<String, Value>,
) -> Result<Option<String>, Error> {
    let Scope::Account(account) = scope else { return Ok(None) };
    let Some(plan) = before.get("plan_id").filter(|plan| after.get("plan_id") != Some(plan)) else { return Ok(None) };
    let plan = plan.as_str().and_then(|plan| PlanId::parse(plan).ok());
    let (Some(plan), Some(account)) = (plan, accounts::find(app, account).await?) else { return Ok(None) };
    Ok(plan_of(app, &account, &plan).await?.map(|(scope, _)| scope.place()))
}

async fn document(app: &App, scope: &Scope) -> Result<Option<Document>, Error> {
    Ok(app.documents.get(&system_data(), &scope.retired_id()?).await?)
}

fn kept<'a>(document: &'a Document, field: &str) -> impl Iterator<Item = &'a Value> {
    document.body.get(field).and_then(Value::as_array).into_iter().flatten()
}

/// The retired entries of a scope that had this id, and the plans that it once linked to.
///
/// # Errors
/// [`Error::Unavailable`], [`Error::Internal`] when one cannot be opened.
pub async fn retired(app: &App, scope: &Scope, id: &HandlerId) -> Result<(Vec<Arc<HandlerConfig>>, Vec<Scope>), Error> {
    let Some(document) = document(app, scope).await? else { return Ok(Default::default()) };
    let mut found = Vec::new();
    for kept in kept(&document, ENTRIES) {
        let Some(sealed) = kept.get("entry").filter(|_| kept.get("id").and_then(Value::as_str) == Some(id.as_ref()))
        else {
            continue;
        };
        let entry = app.keys.open_sealed(&sealed_place(scope, id.as_ref()), sealed)?;
        if let Some((_, entry)) = configured(id.as_ref(), &entry) {
            found.push(Arc::new(issued::entry(app, scope, entry).await?));
        }
    }
    let plans = kept(&document, PLANS).filter_map(|place| Scope::of_plan(place.as_str()?)).collect();
    Ok((found, plans))
}

/// What of a scope is retired, the latest first: no setting of it, only where it went.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn list(app: &App, scope: &Scope) -> Result<Vec<Value>, Error> {
    let document = document(app, scope).await?;
    let mut rows: Vec<Value> = document.iter().flat_map(|document| kept(document, ENTRIES).filter_map(row)).collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row["retired_at"].as_i64()));
    Ok(rows)
}

fn row(kept: &Value) -> Option<Value> {
    let text = |key: &str| kept.get(key).and_then(Value::as_str);
    let (id, destination) = (text("id")?, text("destination")?);
    let mut row = json!({
        "id": name(id, destination), "handler_id": id, "destination": destination, "erased": kept.get("entry").is_none(),
    });
    for key in ["handler", "name", "reason", "retired_at", "erased_at"] {
        if let Some(value) = kept.get(key).filter(|value| !value.is_null()) {
            row[key] = value.clone();
        }
    }
    Some(row)
}

/// Erases the credentials of what was retired under a name. What waits for it is parked; what lies at its destination is out of reach.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Unavailable`].
pub async fn erase(app: &App, scope: &Scope, id: &str) -> Result<Value, Error> {
    let not_found = || Error::NotFound(id.to_owned());
    let found = list(app, scope).await?.into_iter().find(|row| row["id"] == id).ok_or_else(not_found)?;
    let wanted = id.to_owned();
    let erase = move |document: &Document| {
        let mut body = document.body.clone();
        for kept in body.get_mut(ENTRIES).and_then(Value::as_array_mut).into_iter().flatten() {
            let named = row(kept).is_some_and(|row| row["id"] == wanted.as_str());
            if let Value::Object(kept) = kept
                && named
                && kept.remove("entry").is_some()
            {
                kept.insert("erased_at".into(), time::now().into());
            }
        }
        Ok(Change::Write(body))
    };
    app.documents.update(&system_data(), &scope.retired_id()?, erase).await?;
    app.documents.scrub().await?;
    let handler = found["handler_id"].as_str().unwrap_or_default();
    park(app, scope, handler).await?;
    let rows = list(app, scope).await?;
    rows.into_iter().find(|row| row["id"] == id).ok_or_else(not_found)
}

/// Makes what waits for a handler due: its next attempt finds no settings, and parks.
async fn park(app: &App, scope: &Scope, handler: &str) -> Result<(), Error> {
    let mut own = None;
    if let Some(account) = scope.account() {
        let reseller = accounts::find(app, account).await?.is_some_and(|account| account.is_reseller());
        own = (!reseller).then_some(account.as_ref());
    }
    let lanes = crate::jobs::lanes_of(own, handler);
    app.journal.make_due(&lanes).await.map_err(Error::journal)?;
    Ok(())
}

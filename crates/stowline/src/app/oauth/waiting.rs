//! What waits for a consent, and is tried at once when it was given again.

use plan::{DocId, HandlerId};
use serde_json::Value;
use std::collections::BTreeSet;

use super::Owner;
use crate::app::pages::Ask;
use crate::app::storage_documents::{self as documents, Scope, Stored, configured, entries};
use crate::app::{App, Error, accounts, retirement};
use crate::jobs;

/// Makes due whatever waits for a handler that names this consent or application, what is parked included.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn wake(app: &App, owner: &Owner, id: &DocId) -> Result<usize, Error> {
    let mut handlers = BTreeSet::new();
    for scope in scopes(app, owner).await? {
        handlers.extend(naming(app, &scope, id.as_ref()).await?);
    }
    let mut own = None;
    if let Some(account) = owner.account() {
        // A reseller's handlers serve the accounts below it too.
        let reseller = accounts::find(app, account).await?.is_some_and(|account| account.is_reseller());
        own = (!reseller).then_some(account.as_ref());
    }
    let mut woken = 0;
    for handler in handlers {
        let lanes = jobs::lanes_of(own, handler.as_ref());
        woken += app.journal.redrive_lanes(&lanes).await.map_err(Error::journal)?;
    }
    tracing::info!(oauth_doc.id = %id, deliveries = woken, "what waited for a consent is tried again");
    Ok(woken)
}

/// The documents whose handlers may name the owner's consents.
async fn scopes(app: &App, owner: &Owner) -> Result<Vec<Scope>, Error> {
    let (first, plans_of) = match owner {
        Owner::System => (Scope::System, None),
        Owner::Account(account) => (Scope::Account(account.clone()), Some(account)),
        Owner::User(account, user) => return Ok(vec![Scope::User(account.clone(), user.clone())]),
    };
    let plans = documents::plans(app, plans_of, &Ask::default(), |_| true).await?.rows;
    let plan = |stored: Stored| {
        let id = plan::PlanId::parse(stored.public.get("id")?.as_str()?).ok()?;
        Some(plans_of.map_or_else(|| Scope::SystemPlan(id.clone()), |of| Scope::ResellerPlan(of.clone(), id.clone())))
    };
    Ok([first].into_iter().chain(plans.into_iter().filter_map(plan)).collect())
}

/// The handlers of a document that name it, those that were retired included.
async fn naming(app: &App, scope: &Scope, id: &str) -> Result<Vec<HandlerId>, Error> {
    let names =
        |settings: &serde_json::Map<String, Value>| super::named(settings).is_some_and(|(_, named)| named == id);
    let mut found = Vec::new();
    if let Some(stored) = documents::find(app, scope).await? {
        let all = entries(&stored.public).filter_map(|(id, entry)| configured(id, entry));
        found.extend(all.filter(|(_, entry)| names(&entry.settings)).map(|(id, _)| id));
    }
    for row in retirement::list(app, scope).await? {
        let Some(handler) = row["handler_id"].as_str().and_then(|id| HandlerId::parse(id).ok()) else { continue };
        let (retired, _) = retirement::retired(app, scope, &handler).await?;
        if retired.iter().any(|entry| names(&entry.settings)) {
            found.push(handler);
        }
    }
    Ok(found)
}

//! `/v2/accounts…`: the account tree.
//!
//! An account's own admins change it, but not whether it is open: that is for those above it.

use std::sync::Arc;

use plan::merge;
use serde_json::{Value, json};

use super::error::Fault;
use super::list::{Filters, Paging, Times};
use super::user::keep;
use super::{Call, Reply};
use crate::app::accounts::{self, Account};
use crate::app::{App, Error, tree};

/// What only those above an account may change of it.
const FOR_THOSE_ABOVE: [&str; 2] = ["enabled", "expires"];

fn shown(account: &Account) -> Value {
    Value::Object(accounts::public(account))
}

/// `PUT /accounts`: an account below the caller's own.
pub async fn create_below_own(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let created = accounts::create(&app, Some(&call.caller()?.account), call.data.clone()).await?;
    Ok(Reply::created(shown(&created)).of(&created.document).at(created.id.to_string()))
}

/// `PUT /accounts/{account}`: an account below that one.
pub async fn create(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let created = accounts::create(&app, Some(call.account()?), call.data.clone()).await?;
    Ok(Reply::created(shown(&created)).of(&created.document).at(created.id.to_string()))
}

/// `GET /accounts/{account}`.
pub async fn read(_: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let account = call.account()?;
    let revision = account.document.revision.to_string();
    if call.has(&revision) {
        return Ok(Reply::NotModified(revision));
    }
    Ok(Reply::ok(shown(account)).of(&account.document))
}

/// `POST /accounts/{account}`.
pub async fn replace(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    change(&app, &call, call.data.clone()).await
}

/// `PATCH /accounts/{account}`.
pub async fn patch(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let mut data = Value::Object(call.account()?.document.public());
    merge::patch(&mut data, &call.data);
    change(&app, &call, data).await
}

async fn change(app: &App, call: &Call, mut data: Value) -> Result<Reply, Fault> {
    let account = call.account()?;
    expect(&call.if_match(), &account.document.revision.to_string())?;
    if let Value::Object(fields) = &mut data {
        // What an answer adds to the document is no part of it.
        for derived in ["is_reseller", "reseller_id", "superduper_admin", "created"] {
            fields.remove(derived);
        }
    }
    if !call.caller()?.stands_above(account) {
        keep(&mut data, &account.document.body, &FOR_THOSE_ABOVE)?;
    }
    let changed = accounts::replace(app, account, data).await?;
    Ok(Reply::ok(shown(&changed)).of(&changed.document))
}

/// `DELETE /accounts/{account}`.
pub async fn remove(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let account = call.account()?;
    expect(&call.if_match(), &account.document.revision.to_string())?;
    accounts::remove(&app, account).await?;
    Ok(Reply::removed(accounts::public(account), &account.document))
}

fn row(account: &Account) -> Value {
    let tree: Vec<String> = account.ancestors().iter().map(ToString::to_string).collect();
    json!({
        "id": account.id.as_ref(), "name": account.name(), "realm": account.realm(), "enabled": account.enabled(),
        "is_reseller": account.is_reseller(), "tree": tree,
    })
}

/// A page of accounts that were found, in the order of their creation.
fn page(app: &App, call: &Call, mut found: Vec<Account>) -> Result<Reply, Fault> {
    let (paging, filters) = (Paging::of(app, call)?, Filters::of(call)?);
    found.retain(|account| filters.pass(&accounts::public(account), Times::of(&account.document)));
    Ok(paging.cut(found, |account| (Times::of(&account.document).created, account.id.to_string()), row))
}

/// `GET /accounts/{account}/children`: the accounts directly below.
pub async fn children(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let found = accounts::children(&app, &call.account()?.id).await?;
    page(&app, &call, found)
}

/// `GET /accounts/{account}/descendants`: all accounts below.
pub async fn descendants(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let found = tree::descendants(&app, &call.account()?.id).await?;
    page(&app, &call, found)
}

/// `GET /accounts/{account}/siblings`: the accounts below the same account, this one included.
pub async fn siblings(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let found = tree::siblings(&app, call.account()?).await?;
    page(&app, &call, found)
}

/// `GET /accounts/{account}/parents` and `…/tree`: the accounts above, the highest first, from the caller's own downwards.
pub async fn parents(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let found = tree::ancestors(&app, call.account()?, &call.caller()?.account.id).await?;
    let name = |account: &Account| json!({"id": account.id.as_ref(), "name": account.name()});
    Ok(Reply::ok(found.iter().map(name).collect::<Vec<Value>>()))
}

/// `GET /accounts/{account}/apps_store`: applications of a web console; there are none to be had here.
pub async fn apps_store(_: Arc<App>, _: Call) -> Result<Reply, Fault> {
    Ok(Reply::ok(json!([])))
}

/// `GET /accounts/{account}/api_key`.
pub async fn api_key(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    Ok(Reply::ok(json!({"api_key": accounts::api_key(&app, call.account()?)?})))
}

/// `PUT /accounts/{account}/api_key`: another one; the old one and its tokens open nothing any more.
pub async fn rotate_api_key(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let changed = accounts::rotate_api_key(&app, call.account()?).await?;
    Ok(Reply::created(json!({"api_key": accounts::api_key(&app, &changed)?})))
}

/// `PUT /accounts/{account}/reseller`.
pub async fn promote(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let changed = tree::set_reseller(&app, call.account()?, true).await?;
    Ok(Reply::created(shown(&changed)).of(&changed.document))
}

/// `DELETE /accounts/{account}/reseller`.
pub async fn demote(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let changed = tree::set_reseller(&app, call.account()?, false).await?;
    Ok(Reply::ok(shown(&changed)).of(&changed.document))
}

/// Refuses when the caller named revisions and `current` is none of them.
pub(super) fn expect(named: &[String], current: &str) -> Result<(), Error> {
    let fits = named.is_empty() || named.iter().any(|tag| tag == current || tag == "*");
    if fits { Ok(()) } else { Err(Error::Precondition) }
}

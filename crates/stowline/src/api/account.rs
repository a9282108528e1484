//! `/v2/accounts…`: the account tree.

use std::sync::Arc;

use plan::merge;
use serde_json::{Map, Value};

use super::error::Fault;
use super::{Call, Reply};
use crate::app::accounts::{self, Account};
use crate::app::{App, Error};

fn shown(account: &Account) -> Value {
    Value::Object(accounts::public(account))
}

/// `PUT /accounts`: an account below the caller's own.
pub async fn create_below_own(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let caller = call.caller()?;
    if !caller.is_admin() {
        return Err(Error::Forbidden.into());
    }
    let created = accounts::create(&app, Some(&caller.account), call.data.clone()).await?;
    Ok(Reply::created(shown(&created)).revision(&created.document.revision).at(created.id.to_string()))
}

/// `PUT /accounts/{account}`: an account below that one.
pub async fn create(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let created = accounts::create(&app, Some(call.account()?), call.data.clone()).await?;
    Ok(Reply::created(shown(&created)).revision(&created.document.revision).at(created.id.to_string()))
}

/// `GET /accounts/{account}`.
pub async fn read(_: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let account = call.account()?;
    let revision = account.document.revision.to_string();
    if call.has(&revision) {
        return Ok(Reply::NotModified(revision));
    }
    Ok(Reply::ok(shown(account)).revision(revision))
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
    let changed = accounts::replace(app, account, data).await?;
    Ok(Reply::ok(shown(&changed)).revision(&changed.document.revision))
}

/// `DELETE /accounts/{account}`.
pub async fn remove(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let account = call.account()?;
    expect(&call.if_match(), &account.document.revision.to_string())?;
    if call.caller()?.account.id == account.id {
        return Err(
            Error::invalid("account", "forbidden", "an account is deleted by an admin of an account above it").into()
        );
    }
    accounts::remove(&app, account).await?;
    let mut data = accounts::public(account);
    data.insert("_read_only".into(), deleted());
    Ok(Reply::ok(data))
}

/// What marks a deleted document in the answer to its deletion.
pub(super) fn deleted() -> Value {
    Value::Object(Map::from_iter([("deleted".to_owned(), Value::Bool(true))]))
}

/// `GET /accounts/{account}/children`.
pub async fn children(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let children = accounts::children(&app, &call.account()?.id).await?;
    let row = |account: &Account| serde_json::json!({"id": account.id.as_ref(), "name": account.name(), "realm": account.realm()});
    Ok(Reply::ok(children.iter().map(row).collect::<Vec<Value>>()))
}

/// Refuses when the caller named revisions and `current` is none of them.
pub(super) fn expect(named: &[String], current: &str) -> Result<(), Error> {
    let fits = named.is_empty() || named.iter().any(|tag| tag == current || tag == "*");
    if fits { Ok(()) } else { Err(Error::Precondition) }
}

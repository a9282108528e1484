//! `/v2/accounts/{account}/faxboxes…`. Who is no admin sees only the boxes that are their own.

use std::sync::Arc;

use plan::merge;
use serde_json::{Map, Value};

use super::account::expect;
use super::error::Fault;
use super::list::{Filters, Paging, Times};
use super::{Call, Reply};
use crate::app::faxboxes::{self, FaxBox};
use crate::app::{App, Error};

fn may_see(call: &Call, faxbox: &FaxBox) -> bool {
    let (Ok(caller), Ok(account)) = (call.caller(), call.account()) else { return false };
    caller.administers(account) || faxbox.owner_id().is_some_and(|owner| caller.is_user(account, owner))
}

/// The box in the path.
async fn in_path(app: &App, call: &Call) -> Result<FaxBox, Error> {
    let faxbox = faxboxes::get(app, &call.account()?.id, call.param("faxbox")).await?;
    if may_see(call, &faxbox) { Ok(faxbox) } else { Err(Error::Forbidden) }
}

fn answer(faxbox: &FaxBox) -> Reply {
    Reply::ok(faxbox.document.public()).of(&faxbox.document)
}

/// `GET …/faxboxes`.
pub async fn list(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let (paging, filters) = (Paging::of(&app, &call)?, Filters::of(&call)?);
    let keep = |faxbox: &FaxBox| {
        may_see(&call, faxbox) && filters.pass(&faxbox.document.public(), Times::of(&faxbox.document))
    };
    let page = faxboxes::page(&app, &call.account()?.id, &paging.ask, keep).await?;
    Ok(paging.reply(page.rows.iter().map(row).collect(), page.next.as_ref()))
}

fn row(faxbox: &FaxBox) -> Value {
    let public = faxbox.document.public();
    let keys = ["id", "name", "owner_id", "caller_id", "caller_name", "fax_identity", "smtp_email_address"];
    let row: Map<String, Value> =
        keys.iter().filter_map(|key| Some(((*key).to_owned(), public.get(*key)?.clone()))).collect();
    Value::Object(row)
}

/// `PUT …/faxboxes`.
pub async fn create(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let created = faxboxes::create(&app, &call.account()?.id, call.data.clone()).await?;
    let reply = Reply::created(created.document.public()).of(&created.document);
    Ok(reply.at(created.id.to_string()))
}

/// `GET …/faxboxes/{faxbox}`.
pub async fn read(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    Ok(answer(&in_path(&app, &call).await?))
}

/// `POST …/faxboxes/{faxbox}`.
pub async fn replace(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let faxbox = in_path(&app, &call).await?;
    change(&app, &call, &faxbox, call.data.clone()).await
}

/// `PATCH …/faxboxes/{faxbox}`.
pub async fn patch(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let faxbox = in_path(&app, &call).await?;
    let mut data = Value::Object(faxbox.document.public());
    merge::patch(&mut data, &call.data);
    change(&app, &call, &faxbox, data).await
}

async fn change(app: &App, call: &Call, faxbox: &FaxBox, data: Value) -> Result<Reply, Fault> {
    expect(&call.if_match(), &faxbox.document.revision.to_string())?;
    Ok(answer(&faxboxes::replace(app, faxbox, data).await?))
}

/// `DELETE …/faxboxes/{faxbox}`: its faxes stay.
pub async fn remove(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let faxbox = in_path(&app, &call).await?;
    expect(&call.if_match(), &faxbox.document.revision.to_string())?;
    faxboxes::remove(&app, &faxbox).await?;
    Ok(Reply::removed(faxbox.document.public(), &faxbox.document))
}

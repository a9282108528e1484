//! `/v2/accounts/{account}/vmboxes…` and the same below `users/{user}`: voicemail boxes.
//!
//! Beyond what the routes declare: who is no admin reaches only the boxes that are their own, here and in everything below a box. Below a user there
//! are only those of that user.

use std::sync::Arc;

use plan::merge;
use serde_json::{Map, Value, json};

use super::account::expect;
use super::error::Fault;
use super::list::{Filters, Paging, Times};
use super::whose::Whose;
use super::{Call, Reply};
use crate::app::mailboxes::{self, Mailbox};
use crate::app::messages::{self as voicemail, Counts};
use crate::app::{App, Error};

pub mod archive;
pub mod greeting;
pub mod messages;
pub mod raw;

/// A box of the account that the caller may reach.
pub(super) async fn reached(app: &App, call: &Call, id: &str) -> Result<Mailbox, Error> {
    let whose = Whose::of(app, call).await?;
    let mailbox = mailboxes::get(app, &call.account()?.id, id).await?;
    whose.expect(mailbox.owner_id())?;
    Ok(mailbox)
}

/// The box in the path.
pub(super) async fn in_path(app: &App, call: &Call) -> Result<Mailbox, Error> {
    reached(app, call, call.param("box")).await
}

/// `GET …/vmboxes`: the boxes as short rows, each with how many messages it has.
pub async fn list(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let account = call.account()?;
    let whose = Whose::of(&app, &call).await?;
    let (paging, filters) = (Paging::of(&app, &call)?, Filters::of(&call)?);
    let keep = |mailbox: &Mailbox| {
        whose.includes(mailbox.owner_id()) && filters.pass(&mailbox.document.public(), Times::of(&mailbox.document))
    };
    let page = mailboxes::page(&app, &account.id, &paging.ask, keep).await?;
    let mut rows = Vec::with_capacity(page.rows.len());
    for mailbox in &page.rows {
        let counts = voicemail::count(&app, account, mailbox).await?;
        rows.push(row(mailbox, counts));
    }
    Ok(paging.reply(rows, page.next.as_ref()))
}

fn row(mailbox: &Mailbox, counts: Counts) -> Value {
    let public = mailbox.document.public();
    let keys = ["id", "name", "mailbox", "owner_id"];
    let mut row: Map<String, Value> =
        keys.iter().filter_map(|key| Some(((*key).to_owned(), public.get(*key)?.clone()))).collect();
    row.insert("messages".into(), (counts.new + counts.saved).into());
    row.insert("folders".into(), json!({"new": counts.new, "saved": counts.saved}));
    Value::Object(row)
}

/// `PUT …/vmboxes`. Below a user it is theirs.
pub async fn create(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let whose = Whose::of(&app, &call).await?;
    let mut data = call.data.clone();
    if let (Some(fields), Some(owner)) = (data.as_object_mut(), whose.owner()) {
        fields.insert("owner_id".into(), owner.into());
    }
    let created = mailboxes::create(&app, &call.account()?.id, data).await?;
    let reply = Reply::created(created.document.public()).of(&created.document);
    Ok(reply.at(created.id.to_string()))
}

/// `GET …/vmboxes/{box}`.
pub async fn read(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let mailbox = in_path(&app, &call).await?;
    let revision = mailbox.document.revision.to_string();
    if call.has(&revision) {
        return Ok(Reply::NotModified(revision));
    }
    Ok(Reply::ok(mailbox.document.public()).of(&mailbox.document))
}

/// `POST …/vmboxes/{box}`.
pub async fn replace(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let mailbox = in_path(&app, &call).await?;
    change(&app, &call, &mailbox, call.data.clone()).await
}

/// `PATCH …/vmboxes/{box}`.
pub async fn patch(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let mailbox = in_path(&app, &call).await?;
    let mut data = Value::Object(mailbox.document.public());
    merge::patch(&mut data, &call.data);
    change(&app, &call, &mailbox, data).await
}

async fn change(app: &App, call: &Call, mailbox: &Mailbox, data: Value) -> Result<Reply, Fault> {
    expect(&call.if_match(), &mailbox.document.revision.to_string())?;
    let changed = mailboxes::replace(app, &call.account()?.id, mailbox, data).await?;
    Ok(Reply::ok(changed.document.public()).of(&changed.document))
}

/// `DELETE …/vmboxes/{box}`: the box and its messages.
pub async fn remove(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let mailbox = in_path(&app, &call).await?;
    expect(&call.if_match(), &mailbox.document.revision.to_string())?;
    mailboxes::remove(&app, call.account()?, &mailbox).await?;
    Ok(Reply::removed(mailbox.document.public(), &mailbox.document))
}

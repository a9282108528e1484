//! `…/storage/explain` and `…/storage/dry_run`: why something goes where it goes, and what a document would change.

use std::sync::Arc;

use super::{on, scope, wish};
use crate::api::error::Fault;
use crate::api::{Call, Reply};
use crate::app::explain::{self, Question};
use crate::app::{App, Error};

/// `GET …/explain?db=…&doc_type=…&owner=…`.
pub async fn explain(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    on(&app).await?;
    let text = |name: &str| call.query(name).map(str::to_owned);
    let question = Question { database: text("db"), doc_type: text("doc_type"), owner: text("owner") };
    // What another user keeps where is theirs to know, and their admins'.
    let caller = call.caller()?;
    if let (Some(account), Some(owner)) = (&call.account, question.owner.as_deref())
        && !caller.administers_storage(account)
        && !caller.is_user(account, owner)
    {
        return Err(Error::Forbidden.into());
    }
    let account = call.account.as_ref().map(|account| &account.id);
    Ok(Reply::ok(explain::explain(&app, account, &question).await?))
}

/// `POST …/dry_run`: `data` is the proposed document, or with `patch=true` what would be merged; `probe=true` tries what changed.
pub async fn dry_run(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let scope = scope(&app, &call).await?;
    let says = |name: &str| {
        call.query(name) == Some("true")
            || call.envelope.get(name).is_some_and(|value| value == true || value == "true")
    };
    let (patch, probe) = (says("patch"), says("probe"));
    Ok(Reply::ok(explain::dry_run(&app, &scope, call.data.clone(), patch, probe, &wish(&call)).await?))
}

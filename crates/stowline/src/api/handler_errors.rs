//! `/v2/accounts/{account}/att_handlers_errors…`: what destinations answered when they did not take an attachment.

use std::sync::Arc;

use serde_json::Value;

use super::error::Fault;
use super::list::{self, Filters, Paging, Times};
use super::{Call, Reply};
use crate::app::months::{self, Which};
use crate::app::{App, handler_errors};

/// `GET`: all of a span of time, the latest first.
pub async fn list(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    listed(&app, &call, None).await
}

/// `GET …/handler/{handler}`: those of one handler.
pub async fn of_handler(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let parent = handler_errors::parent(call.param("handler"))?;
    listed(&app, &call, Some(&parent)).await
}

async fn listed(app: &App, call: &Call, parent: Option<&str>) -> Result<Reply, Fault> {
    let (paging, filters, span) = (Paging::of(app, call)?, Filters::of(call)?, list::span(app, call)?);
    let row = |document: connections::Document| {
        let time = |key: &str| document.body.get(key).and_then(Value::as_i64).unwrap_or_default();
        let times = Times { created: time("pvt_created"), modified: time("pvt_modified") };
        filters.pass(&document.public(), times).then(|| Value::Object(handler_errors::row(&document)))
    };
    let which = Which { doc_type: handler_errors::TYPE, parent, ..Which::default() };
    let page = months::page(app, call.account()?, which, span, &paging.ask, row).await?;
    Ok(paging.reply(page.rows, page.next.as_ref()))
}

/// `GET …/{error}`: a record, whole.
pub async fn read(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let document = months::find(&app, call.account()?, handler_errors::TYPE, call.param("error")).await?;
    let revision = document.revision.to_string();
    if call.has(&revision) {
        return Ok(Reply::NotModified(revision));
    }
    Ok(Reply::ok(document.public()).of(&document))
}

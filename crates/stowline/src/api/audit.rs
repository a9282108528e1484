//! `…/storage/audit`, and what of a request goes into it.

use std::sync::Arc;

use connections::Query;
use serde_json::{Map, Value};

use super::error::Fault;
use super::list::{self, Filters, Paging, Times};
use super::{Call, Reply, Route, Verb};
use crate::app::audit::{self, Deed, End};
use crate::app::months::{self, Which};
use crate::app::{App, pages};

/// What a call is about to do to storage; none for what concerns anything else.
pub(super) fn deed(route: &Route, call: &Call) -> Option<Deed> {
    if !route.path.split('/').any(|segment| segment == "storage") {
        return None;
    }
    Some(Deed {
        verb: route.method.word(),
        path: call.segments.join("/"),
        account: call.account.as_ref().map(|account| account.id.clone()),
        request_id: call.request_id.clone(),
        paths: if route.method == Verb::Get { Vec::new() } else { audit::paths(&call.data) },
    })
}

/// Whether the deed changes something, if it succeeds.
pub(super) fn changes(route: &Route) -> bool {
    route.method != Verb::Get && !route.path.ends_with("/dry_run")
}

/// How it ended.
pub(super) fn end(outcome: &Result<Reply, Fault>) -> End {
    match outcome {
        Ok(reply) => {
            End { status: 200, message: None, faults: Value::Null, revision: reply.revision_text(), note: reply.note() }
        }
        Err(fault) => End {
            status: fault.status.as_u16(),
            message: Some(fault.message),
            faults: codes(fault),
            revision: None,
            note: None,
        },
    }
}

/// The paths and codes of what is wrong with the input; nothing that the client sent.
fn codes(fault: &Fault) -> Value {
    if fault.message != "validation error" {
        return Value::Null;
    }
    let paths = fault.data.as_object().into_iter().flatten();
    let codes = |(path, codes): (&String, &Value)| {
        let codes = codes.as_object().into_iter().flatten().map(|(code, _)| Value::from(code.as_str()));
        (path.clone(), Value::Array(codes.collect()))
    };
    Value::Object(paths.map(codes).collect::<Map<_, _>>())
}

/// `GET …/storage/audit`: changes and refusals of a span of time, the latest first.
pub async fn list(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    super::storage::on(&app).await?;
    let (paging, filters, span) = (Paging::of(&app, &call)?, Filters::of(&call)?, list::span(&app, &call)?);
    let row = |document: connections::Document| {
        let at = document.body.get("at").and_then(Value::as_i64).unwrap_or_default();
        let public = document.public();
        filters.pass(&public, Times { created: at, modified: at }).then_some(Value::Object(public))
    };
    let which = Which { doc_type: audit::TYPE, ..Which::default() };
    let page = match &call.account {
        Some(account) => months::page(&app, account, which, span, &paging.ask, row).await?,
        None => {
            let database = crate::app::storage_documents::system_data();
            let query = Query {
                parent: Some(audit::SYSTEM.into()),
                from: Some(span.from),
                to: Some(span.to),
                ..Query::new(database, audit::TYPE)
            };
            pages::gather(&app, vec![query], &paging.ask, row).await?
        }
    };
    Ok(paging.reply(page.rows, page.next.as_ref()))
}

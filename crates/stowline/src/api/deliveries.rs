//! `/v2/accounts/{account}/storage/deliveries`: what is accepted and not yet verified at its destination.

use std::sync::Arc;

use delivery::JobId;
use serde_json::{Value, json};

use super::error::Fault;
use super::{Call, Reply, list, storage};
use crate::app::{App, Error, deliveries, moves};

/// `GET`: a page of what waits, the oldest first.
pub async fn list(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let account = &call.account()?.id;
    let asked = call.query("page_size").and_then(|size| size.parse().ok()).filter(|size| *size > 0);
    let size = asked.unwrap_or(app.config.api.page_size).min(10_000);
    let all = call.is_true("paginate") == Some(false) || call.is_true("is_chunked") == Some(true);
    storage::on(&app).await?;
    let start = match call.query("start_key").filter(|key| !key.is_empty()) {
        None => None,
        Some(key) => Some(
            key.parse::<JobId>()
                .map_err(|_| Error::invalid("start_key", "invalid", "send a next_start_key back as it came"))?,
        ),
    };
    let page = deliveries::list(&app, account, start, if all { usize::MAX - 1 } else { size }).await?;
    let reply = Reply::ok(page.rows.clone());
    if all {
        return Ok(reply);
    }
    let mut reply =
        reply.also("page_size", page.rows.len()).also("start_key", call.query("start_key").unwrap_or_default());
    if let Some(next) = page.next {
        reply = reply.also("next_start_key", next.to_string());
    }
    Ok(reply)
}

/// `POST {"action": "retry" | "reroute", "ids": […]}`, or `{"action": "move", "doc_type": …}` for what is stored already, in a span of time as lists
/// have it.
pub async fn act(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    storage::on(&app).await?;
    let account = &call.account()?.id;
    let action = call.data.get("action").and_then(Value::as_str);
    if action == Some("move") {
        let doc_type = match call.data.get("doc_type") {
            None | Some(Value::Null) => None,
            Some(known) if moves::TYPES.iter().any(|of_type| known == of_type) => known.as_str(),
            Some(_) => {
                let message = format!("doc_type is one of {}", moves::TYPES.join(", "));
                return Err(Error::invalid("doc_type", "enum", message).into());
            }
        };
        let begun = moves::begin(&app, call.account()?, list::span(&app, &call)?, doc_type).await?;
        return Ok(Reply::ok(json!({ "deliveries": begun })));
    }
    let ids = match call.data.get("ids") {
        None | Some(Value::Null) => None,
        Some(Value::Array(ids)) => Some(ids.iter().map(id).collect::<Result<Vec<JobId>, Error>>()?),
        Some(_) => return Err(Error::invalid("ids", "type", "ids is an array of delivery ids").into()),
    };
    const ACTIONS: &str = "action is \"retry\", \"reroute\" or \"move\"";
    let touched = match action {
        Some("retry") => deliveries::retry(&app, account, ids).await?,
        Some("reroute") => deliveries::reroute(&app, account, ids).await?,
        Some(_) => return Err(Error::invalid("action", "enum", ACTIONS).into()),
        None => return Err(Error::invalid("action", "required", ACTIONS).into()),
    };
    Ok(Reply::ok(json!({ "deliveries": touched })))
}

fn id(value: &Value) -> Result<JobId, Error> {
    let parsed = value.as_str().and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| Error::invalid("ids", "invalid", format!("{value} is no delivery id")))
}

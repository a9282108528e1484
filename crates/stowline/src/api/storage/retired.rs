//! `…/storage/retired`: entries that left their document and still serve what was sent by them.

use std::sync::Arc;

use serde_json::Value;

use super::scope;
use crate::api::error::Fault;
use crate::api::list::{Filters, Paging, Times};
use crate::api::{Call, Reply};
use crate::app::{App, retirement};

/// `GET`: where they went and since when they are retired, the latest first; never a setting.
pub async fn list(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let scope = scope(&app, &call).await?;
    let (paging, filters) = (Paging::of(&app, &call)?, Filters::of(&call)?);
    let mut rows = retirement::list(&app, &scope).await?;
    let retired = |row: &Value| row["retired_at"].as_i64().unwrap_or_default();
    let times = |row: &Value| Times { created: retired(row), modified: retired(row) };
    rows.retain(|row| row.as_object().is_some_and(|fields| filters.pass(fields, times(row))));
    let place = |row: &Value| (retired(row), row["id"].as_str().unwrap_or_default().to_owned());
    Ok(paging.cut(rows, place, Value::clone))
}

/// `DELETE …/{retired}`: its credentials are erased at once.
pub async fn erase(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let scope = scope(&app, &call).await?;
    Ok(Reply::ok(retirement::erase(&app, &scope, call.param("retired")).await?))
}

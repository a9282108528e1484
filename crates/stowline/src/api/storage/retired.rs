//! `…/storage/retired`: entries that left their document and still serve what was sent by them.

use std::sync::Arc;

use super::scope;
use crate::api::error::Fault;
use crate::api::{Call, Reply};
use crate::app::{App, retirement};

/// `GET`: where they went and since when they are retired, the latest first; never a setting.
pub async fn list(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let scope = scope(&app, &call).await?;
    Ok(Reply::ok(retirement::list(&app, &scope).await?))
}

/// `DELETE …/{retired}`: its credentials are erased at once.
pub async fn erase(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let scope = scope(&app, &call).await?;
    Ok(Reply::ok(retirement::erase(&app, &scope, call.param("retired")).await?))
}

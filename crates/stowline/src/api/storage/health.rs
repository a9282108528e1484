//! `…/storage/health`: how the handlers of an account do.

use std::sync::Arc;

use super::on;
use crate::api::error::Fault;
use crate::api::{Call, Reply};
use crate::app::{App, health};

/// `GET`: each handler as `ok`, `failing` or `consent_needed`, since when, with what its destination said last.
pub async fn read(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    on(&app).await?;
    Ok(Reply::ok(health::of(&app, &call.account()?.id).await?))
}

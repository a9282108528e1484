//! `/v2/accounts/{account}/storage`: where an account's data goes.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::account::deleted;
use super::error::Fault;
use super::{Call, Reply};
use crate::app::storage_documents::{self as documents, Scope, Stored, Wish};
use crate::app::switches::{self, Switch};
use crate::app::{App, secrets};

/// Refuses while the endpoint is turned off.
pub(super) async fn on(app: &App) -> Result<(), Fault> {
    if !switches::is_on(app, Switch::StorageEndpoint).await? {
        return Err(Fault::no_such_path());
    }
    Ok(())
}

async fn scope(app: &App, call: &Call) -> Result<Scope, Fault> {
    on(app).await?;
    Ok(Scope::Account(call.account()?.id.clone()))
}

fn wish(call: &Call) -> Wish {
    Wish {
        skip_probe: call.is_true("validate_settings") == Some(false),
        request_id: call.request_id.clone(),
        if_match: call.if_match(),
    }
}

/// Secrets are for those who may change them, and for nobody where masking is configured.
fn shown(app: &App, call: &Call, mut public: Map<String, Value>) -> Result<Value, Fault> {
    let may = call.caller()?.administers_storage(call.account()?);
    if app.config.api.mask_secrets || !may {
        secrets::mask(&mut public);
    }
    Ok(Value::Object(public))
}

fn answer(app: &App, call: &Call, stored: Stored) -> Result<Reply, Fault> {
    Ok(Reply::ok(shown(app, call, stored.public)?).revision(stored.revision))
}

/// `GET`.
pub async fn read(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let stored = documents::get(&app, &scope(&app, &call).await?).await?;
    let revision = stored.revision.to_string();
    if call.has(&revision) {
        return Ok(Reply::NotModified(revision));
    }
    answer(&app, &call, stored)
}

/// `PUT`: once.
pub async fn create(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let scope = scope(&app, &call).await?;
    let stored = documents::create(&app, &scope, call.data.clone(), &wish(&call)).await?;
    Ok(Reply::created(shown(&app, &call, stored.public)?).revision(stored.revision))
}

/// `POST`: the whole document anew.
pub async fn replace(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let scope = scope(&app, &call).await?;
    let stored = documents::replace(&app, &scope, call.data.clone(), &wish(&call)).await?;
    answer(&app, &call, stored)
}

/// `PATCH`: merged into what is there.
pub async fn patch(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let scope = scope(&app, &call).await?;
    let stored = documents::patch(&app, &scope, call.data.clone(), &wish(&call)).await?;
    answer(&app, &call, stored)
}

/// `DELETE`: for good; what waits for its handlers still gets there.
pub async fn remove(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let scope = scope(&app, &call).await?;
    let stored = documents::remove(&app, &scope, &wish(&call)).await?;
    let mut data = stored.public;
    secrets::mask(&mut data);
    data.insert("_read_only".into(), deleted());
    Ok(Reply::ok(data))
}

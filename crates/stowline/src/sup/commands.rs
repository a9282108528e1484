//! The functions of `sup`.

use std::sync::Arc;

use anyhow::bail;
use serde_json::{Value, json};

use crate::app::storage_documents::{self, Scope, Wish};
use crate::app::switches::{self, Switch};
use crate::app::{App, Error, accounts, users};

type Answer = anyhow::Result<Value>;

/// What is wrong with the input, in words, one fault a line.
fn plainly(error: Error) -> anyhow::Error {
    match error {
        Error::Invalid(violations) => anyhow::anyhow!("{}", violations.to_json()),
        other => anyhow::anyhow!(crate::api::error::chain(&other)),
    }
}

/// `create_account NAME REALM USER PASS`
pub(super) async fn create_account(app: Arc<App>, arguments: Vec<String>) -> Answer {
    let [name, realm, username, password] = <[String; 4]>::try_from(arguments).unwrap_or_default();
    let user = json!({
        "first_name": "Account", "last_name": "Admin", "username": username, "password": password, "priv_level": "admin",
    });
    // Checked before the account is made: an account without its admin would be of no use.
    app.forms.check(&crate::app::forms::USER, user.clone()).map_err(plainly)?;
    let master = accounts::master(&app).await.map_err(plainly)?;
    let account =
        accounts::create(&app, master.as_ref(), json!({"name": name, "realm": realm})).await.map_err(plainly)?;
    let user = users::create(&app, &account.id, user).await.map_err(plainly)?;
    let api_key = accounts::api_key(&app, &account).map_err(plainly)?;
    Ok(json!({"account_id": account.id.as_ref(), "user_id": user.id.as_ref(), "api_key": api_key}))
}

async fn module(app: &App, arguments: &[String], on: bool) -> Answer {
    match arguments.first().map(String::as_str) {
        Some("cb_storage") => switches::turn(app, Switch::StorageEndpoint, on).await.map_err(plainly)?,
        Some(other) => bail!("there is no module {other} that can be turned on or off; there is cb_storage"),
        None => {}
    }
    Ok("ok".into())
}

/// `start_module cb_storage`
pub(super) async fn start_module(app: Arc<App>, arguments: Vec<String>) -> Answer {
    module(&app, &arguments, true).await
}

/// `stop_module cb_storage`
pub(super) async fn stop_module(app: Arc<App>, arguments: Vec<String>) -> Answer {
    module(&app, &arguments, false).await
}

/// `allow_validation_overrides`
pub(super) async fn allow_validation_overrides(app: Arc<App>, _: Vec<String>) -> Answer {
    switches::turn(&app, Switch::ValidationOverrides, true).await.map_err(plainly)?;
    Ok("ok".into())
}

/// `disallow_validation_overrides`
pub(super) async fn disallow_validation_overrides(app: Arc<App>, _: Vec<String>) -> Answer {
    switches::turn(&app, Switch::ValidationOverrides, false).await.map_err(plainly)?;
    Ok("ok".into())
}

/// `flush`
pub(super) async fn flush(app: Arc<App>, _: Vec<String>) -> Answer {
    app.dataplans.forget(&Scope::System);
    Ok("ok".into())
}

/// `reset_system_dataplan`
pub(super) async fn reset_system_dataplan(app: Arc<App>, _: Vec<String>) -> Answer {
    match storage_documents::remove(&app, &Scope::System, &Wish { from_above: true, ..Wish::default() }).await {
        Ok(_) | Err(Error::NotFound(_)) => Ok("ok".into()),
        Err(error) => Err(plainly(error)),
    }
}

//! `/v2/accounts/{account}/users…`.

use std::sync::Arc;

use plan::UserId;
use serde_json::Value;

use super::error::Fault;
use super::{Call, Reply};
use crate::app::users::{self, User};
use crate::app::{App, Error};

/// `GET …/users`: all users of the account, as short rows.
pub async fn list(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let users = users::list(&app, &call.account()?.id).await?;
    let caller = call.caller()?;
    let own = caller.user.as_ref().filter(|_| !caller.is_admin()).map(|user| user.id.clone());
    let rows: Vec<Value> =
        users.iter().filter(|user| own.as_ref().is_none_or(|own| *own == user.id)).map(row).collect();
    Ok(Reply::ok(rows))
}

fn row(user: &User) -> Value {
    let public = user.document.public();
    let keys = ["id", "username", "email", "first_name", "last_name", "priv_level", "enabled", "timezone"];
    keys.iter().filter_map(|key| Some(((*key).to_owned(), public.get(*key)?.clone()))).collect()
}

/// `PUT …/users`.
pub async fn create(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let created = users::create(&app, &call.account()?.id, call.data.clone()).await?;
    let reply = Reply::created(created.document.public()).revision(&created.document.revision);
    Ok(reply.at(created.id.to_string()))
}

/// `GET …/users/{user}`. Who is no admin sees only themselves.
pub async fn read(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let caller = call.caller()?;
    let wanted = call.param("user");
    let own = caller.user.as_ref().is_some_and(|user| user.id.as_ref() == wanted);
    if !own && !caller.is_admin() {
        return Err(Error::Forbidden.into());
    }
    let id = UserId::parse(wanted).map_err(|_| Error::NotFound(wanted.to_owned()))?;
    let user = users::get(&app, &call.account()?.id, &id).await?;
    let revision = user.document.revision.to_string();
    if call.has(&revision) {
        return Ok(Reply::NotModified(revision));
    }
    Ok(Reply::ok(user.document.public()).revision(revision))
}

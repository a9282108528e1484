//! `/v2/accounts/{account}/users…`.
//!
//! Who is no admin may change only themselves, and of that neither what they may do nor whether they get in.

use std::sync::Arc;

use plan::{UserId, merge};
use serde_json::{Map, Value};

use super::account::expect;
use super::error::Fault;
use super::list::{Filters, Paging, Times};
use super::{Call, Reply};
use crate::app::users::{self, User};
use crate::app::{App, Error};

/// What only an admin may change of a user.
const FOR_ADMINS: [&str; 2] = ["priv_level", "enabled"];

/// The user in the path.
async fn in_path(app: &App, call: &Call) -> Result<User, Error> {
    let wanted = call.param("user");
    let id = UserId::parse(wanted).map_err(|_| Error::NotFound(wanted.to_owned()))?;
    users::get(app, &call.account()?.id, &id).await
}

/// `GET …/users`: the users of the account, as short rows. Who is no admin sees only themselves.
pub async fn list(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let account = call.account()?;
    let (paging, filters) = (Paging::of(&app, &call)?, Filters::of(&call)?);
    let caller = call.caller()?;
    let all = caller.administers(account);
    let keep = |user: &User| {
        (all || caller.is_user(account, user.id.as_ref()))
            && filters.pass(&user.document.public(), Times::of(&user.document))
    };
    let page = users::page(&app, &account.id, &paging.ask, keep).await?;
    Ok(paging.reply(page.rows.iter().map(row).collect(), page.next.as_ref()))
}

fn row(user: &User) -> Value {
    let public = user.document.public();
    let keys = ["id", "username", "email", "first_name", "last_name", "priv_level", "enabled", "timezone"];
    keys.iter().filter_map(|key| Some(((*key).to_owned(), public.get(*key)?.clone()))).collect()
}

fn answer(user: &User) -> Reply {
    Reply::ok(user.document.public()).of(&user.document)
}

/// `PUT …/users`.
pub async fn create(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let created = users::create(&app, &call.account()?.id, call.data.clone()).await?;
    let reply = Reply::created(created.document.public()).of(&created.document);
    Ok(reply.at(created.id.to_string()))
}

/// `GET …/users/{user}`.
pub async fn read(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let user = in_path(&app, &call).await?;
    let revision = user.document.revision.to_string();
    if call.has(&revision) {
        return Ok(Reply::NotModified(revision));
    }
    Ok(answer(&user))
}

/// `POST …/users/{user}`: the whole user anew; without a password the old one stays.
pub async fn replace(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let user = in_path(&app, &call).await?;
    change(&app, &call, &user, call.data.clone()).await
}

/// `PATCH …/users/{user}`.
pub async fn patch(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let user = in_path(&app, &call).await?;
    let mut data = Value::Object(user.document.public());
    merge::patch(&mut data, &call.data);
    change(&app, &call, &user, data).await
}

async fn change(app: &App, call: &Call, user: &User, mut data: Value) -> Result<Reply, Fault> {
    let account = call.account()?;
    expect(&call.if_match(), &user.document.revision.to_string())?;
    if !call.caller()?.administers(account) {
        keep(&mut data, &user.document.body, &FOR_ADMINS)?;
    }
    Ok(answer(&users::replace(app, &account.id, user, data).await?))
}

/// Refuses a change of `fields`; what is left out of them stays as it was.
///
/// # Errors
/// [`Error::Invalid`] by the name of the field.
pub(super) fn keep(data: &mut Value, stored: &Map<String, Value>, fields: &[&str]) -> Result<(), Error> {
    let Value::Object(data) = data else { return Ok(()) };
    for field in fields {
        match (data.get(*field), stored.get(*field)) {
            (None, Some(stored)) => {
                data.insert((*field).to_owned(), stored.clone());
            }
            (Some(sent), stored) if Some(sent) != stored => {
                return Err(Error::invalid(field, "forbidden", format!("you may not change {field}")));
            }
            _ => {}
        }
    }
    Ok(())
}

/// `DELETE …/users/{user}`: with the storage document that they have.
pub async fn remove(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let user = in_path(&app, &call).await?;
    expect(&call.if_match(), &user.document.revision.to_string())?;
    users::remove(&app, &call.account()?.id, &user).await?;
    Ok(Reply::removed(user.document.public(), &user.document))
}

/// `DELETE …/users/{user}/tokens`: whoever is logged in as this user has to log in again.
pub async fn end_tokens(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let user = in_path(&app, &call).await?;
    users::end_tokens(&app, &call.account()?.id, &user).await?;
    Ok(Reply::ok(Map::new()))
}

//! Storage documents on the wire, in all their scopes: `/v2/storage`, `/v2/accounts/{account}/storage`, below either `plans` and
//! `plans/{plan}`, and `/v2/accounts/{account}/users/{user}/storage`.
//!
//! The path names the scope, the route declares who may; the verbs are the same everywhere.

use std::sync::Arc;

use plan::{PlanId, UserId};
use serde_json::{Map, Value, json};

use super::envelope::{METADATA, metadata};
use super::error::Fault;
use super::list::{self, Filters, Paging, Times};
use super::{Call, Reply};
use crate::app::storage_documents::{self as documents, Scope, Stored, Wish};
use crate::app::switches::{self, Switch};
use crate::app::{App, Error, issued, secrets, usage as counted, users};

pub mod explain;
pub mod health;
pub mod oauth;
pub mod retired;

/// Refuses while the endpoint is turned off.
pub(super) async fn on(app: &App) -> Result<(), Fault> {
    if !switches::is_on(app, Switch::StorageEndpoint).await? {
        return Err(Fault::no_such_path());
    }
    Ok(())
}

/// The scope that a path names. The user in it must exist, the plan need not.
async fn scope(app: &App, call: &Call) -> Result<Scope, Fault> {
    on(app).await?;
    let (user, plan) = (call.param("user"), call.param("plan"));
    let not_found = |id: &str| Fault::from(Error::NotFound(id.to_owned()));
    let Some(account) = &call.account else {
        return match plan {
            "" => Ok(Scope::System),
            plan => Ok(Scope::SystemPlan(PlanId::parse(plan).map_err(|_| not_found(plan))?)),
        };
    };
    let account = account.id.clone();
    if !user.is_empty() {
        let id = UserId::parse(user).map_err(|_| not_found(user))?;
        users::get(app, &account, &id).await?;
        return Ok(Scope::User(account, id));
    }
    match plan {
        "" => Ok(Scope::Account(account)),
        plan => Ok(Scope::ResellerPlan(account, PlanId::parse(plan).map_err(|_| not_found(plan))?)),
    }
}

fn wish(call: &Call) -> Wish {
    Wish {
        skip_probe: call.is_true("validate_settings") == Some(false),
        request_id: call.request_id.clone(),
        from_above: match (&call.caller, &call.account) {
            (Some(caller), Some(account)) => caller.account.id != account.id,
            _ => true,
        },
        if_match: call.if_match(),
    }
}

/// Secrets are for those who may change them, and for nobody where masking is configured.
fn shown(app: &App, call: &Call, mut public: Map<String, Value>) -> Result<Value, Fault> {
    if app.config.api.mask_secrets || !may_change(call)? {
        secrets::mask(&mut public);
    }
    Ok(Value::Object(public))
}

/// Whether the caller may change what they read: of an account's and its plans some may only read.
fn may_change(call: &Call) -> Result<bool, Error> {
    let caller = call.caller()?;
    Ok(match &call.account {
        None => caller.is_super_admin(),
        Some(account) => caller.administers_storage(account) || caller.is_user(account, call.param("user")),
    })
}

/// The document in a reply that `wrap` makes of its data.
fn answer(app: &App, call: &Call, wrap: fn(Value) -> Reply, scope: &Scope, stored: Stored) -> Result<Reply, Fault> {
    let known = metadata(scope.id(), scope.doc_type(), &stored.private);
    Ok(wrap(shown(app, call, stored.public)?).revision(stored.revision).also(METADATA, known))
}

/// `GET`. Of the system before anybody wrote its document: the built-in one.
pub async fn read(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let scope = scope(&app, &call).await?;
    let stored = match documents::find(&app, &scope).await? {
        None if scope == Scope::System => return Ok(Reply::ok(documents::built_in()).unwritten()),
        None => return Err(Error::NotFound(scope.id().to_owned()).into()),
        Some(stored) => stored,
    };
    let revision = stored.revision.to_string();
    if call.has(&revision) {
        return Ok(Reply::NotModified(revision));
    }
    answer(&app, &call, Reply::ok, &scope, stored)
}

/// `PUT`: once.
pub async fn create(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let scope = scope(&app, &call).await?;
    let stored = documents::create(&app, &scope, call.data.clone(), &wish(&call)).await?;
    answer(&app, &call, Reply::created, &scope, stored)
}

/// `POST`: the whole document anew.
pub async fn replace(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let scope = scope(&app, &call).await?;
    let stored = documents::replace(&app, &scope, call.data.clone(), &wish(&call)).await?;
    answer(&app, &call, Reply::ok, &scope, stored)
}

/// `PATCH`: merged into what is there.
pub async fn patch(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let scope = scope(&app, &call).await?;
    let stored = documents::patch(&app, &scope, call.data.clone(), &wish(&call)).await?;
    answer(&app, &call, Reply::ok, &scope, stored)
}

/// `DELETE`: for good; what waits for its handlers still gets there.
pub async fn remove(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let scope = scope(&app, &call).await?;
    let stored = documents::remove(&app, &scope, &wish(&call)).await?;
    let mut data = stored.public;
    secrets::mask(&mut data);
    Ok(Reply::gone(data, metadata(scope.id(), scope.doc_type(), &stored.private)))
}

/// `GET …/plans`: whole documents, ordered by id.
pub async fn list(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    on(&app).await?;
    let mut paging = Paging::of(&app, &call)?;
    if call.value("ascending").is_none() && call.value("descending").is_none() {
        paging.ask.order = connections::Order::Ascending;
    }
    let owner = call.account.as_ref().map(|account| &account.id);
    let filters = Filters::of(&call)?;
    let keep = |stored: &Stored| {
        // Without secrets: nobody guesses them by a filter.
        let mut fields = stored.public.clone();
        secrets::mask(&mut fields);
        filters.pass(&fields, Times::of_fields(&stored.private))
    };
    let page = documents::plans(&app, owner, &paging.ask, keep).await?;
    let rows = page.rows.into_iter().map(|stored| shown(&app, &call, stored.public)).collect::<Result<_, _>>()?;
    Ok(paging.reply(rows, page.next.as_ref()))
}

/// `PUT …/plans`: a plan under the id that `data.id` wishes, or a new one.
pub async fn create_plan(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    on(&app).await?;
    let id = match call.data.get("id") {
        None | Some(Value::Null) => crate::id::random(),
        Some(Value::String(id)) => id.clone(),
        Some(_) => return Err(Error::invalid("id", "type", "an id is a string").into()),
    };
    let id = PlanId::parse(&id).map_err(|bad| Error::invalid("id", "pattern", bad.to_string()))?;
    let scope = match &call.account {
        None => Scope::SystemPlan(id),
        Some(account) => Scope::ResellerPlan(account.id.clone(), id),
    };
    let stored = documents::create(&app, &scope, call.data.clone(), &wish(&call)).await?;
    Ok(answer(&app, &call, Reply::created, &scope, stored)?.at(scope.id().to_owned()))
}

/// `GET …/usage`: attachments and bytes by handler and type, in the months of a span of time.
pub async fn usage(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    on(&app).await?;
    let span = list::span(&app, &call)?;
    Ok(Reply::ok(counted::usage(&app, call.account()?, span).await?))
}

/// `GET …/external_id`: what a role at Amazon has to trust, for an account to name it in its documents.
pub async fn external_id(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let scope = scope(&app, &call).await?;
    let issued = issued::of(&app, &scope).await?;
    let principal = Some(&app.config.aws.principal).filter(|principal| !principal.is_empty());
    Ok(Reply::ok(json!({"external_id": issued.external_id, "principal": principal})))
}

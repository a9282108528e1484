//! The plan of an account: the documents of all levels, merged; and whose settings serve what was sent somewhere once.
//!
//! Merged plans are kept in memory as they are asked for. Accounts below the same reseller and with the same plan are made from one plan of the
//! levels above them, and hold for themselves only what their own documents say otherwise.

use std::sync::Arc;

use plan::{AccountId, Dataplan, HandlerConfig, HandlerId, Layer, Level, PlanId, StorageDocument, UserId};

use super::oauth::{self, Owner};
use super::storage_documents::{self, Scope, plan_of};
use super::{App, Error, accounts, issued, retirement};

mod kept;

pub use kept::{Above, Dataplans};

/// The merged plan of an account and, for documents that have one, their owner.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn of(app: &App, account: &AccountId, owner: Option<&str>) -> Result<Dataplan, Error> {
    if let Some(plan) = app.dataplans.kept(account, owner) {
        return Ok(plan);
    }
    let epoch = app.dataplans.epoch();
    let (own, above) = kept_own(app, account).await?;
    let Some(owner) = owner else { return Ok(own) };
    let document = match UserId::parse(owner) {
        Ok(user) => document(app, &Scope::User(account.clone(), user)).await?,
        Err(_) => None,
    };
    let plan = laid(&own, Level::Owner, document);
    app.dataplans.keep(account, Some(owner), above, plan.clone(), epoch);
    Ok(plan)
}

/// The plan of an account whoever owns what is stored, as it was meant: none while the account links to a plan that is gone, since nobody knows then
/// what that would have said.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn unbroken(app: &App, account: &AccountId) -> Result<Option<Dataplan>, Error> {
    let (plan, above) = kept_own(app, account).await?;
    Ok(Some(plan).filter(|_| above.plan.is_none() || above.linked.is_some()))
}

/// The plan of an account whoever owns what is stored, and what stands above it; in memory from then on.
async fn kept_own(app: &App, account: &AccountId) -> Result<(Dataplan, Above), Error> {
    if let Some(kept) = app.dataplans.own(account) {
        return Ok(kept);
    }
    let epoch = app.dataplans.epoch();
    let (plan, above) = own(app, account).await?;
    app.dataplans.keep(account, None, above.clone(), plan.clone(), epoch);
    Ok((plan, above))
}

/// The same, read.
async fn own(app: &App, id: &AccountId) -> Result<(Dataplan, Above), Error> {
    let document = document(app, &Scope::Account(id.clone())).await?;
    let plan = document.as_ref().and_then(|document| document.plan_id.clone());
    let (base, above) = base(app, id, plan).await?;
    Ok((laid(&base, Level::Account, document), above))
}

fn laid(above: &Dataplan, level: Level, document: Option<Arc<StorageDocument>>) -> Dataplan {
    let layer = document.map(|document| Layer { level, document });
    above.with(layer.as_slice())
}

/// The plan that applies above a scope: what `document`, which is to be its own, inherits.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn above(app: &App, scope: &Scope, document: &StorageDocument) -> Result<Dataplan, Error> {
    match scope {
        Scope::System => Ok(Dataplan::built_in()),
        Scope::SystemPlan(_) => system(app).await,
        Scope::ResellerPlan(account, _) => {
            let own = self::document(app, &Scope::Account(account.clone())).await?;
            Ok(laid(&system(app).await?, Level::Reseller, own))
        }
        Scope::Account(id) => Ok(base(app, id, document.plan_id.clone()).await?.0),
        Scope::User(account, _) => of(app, account, None).await,
    }
}

/// The level that a scope's document speaks at, in the plan of its own account.
pub fn level(scope: &Scope) -> Level {
    match scope {
        Scope::System => Level::System,
        Scope::SystemPlan(_) | Scope::ResellerPlan(..) => Level::Plan,
        Scope::Account(_) => Level::Account,
        Scope::User(..) => Level::Owner,
    }
}

/// The system's own plan.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn system(app: &App) -> Result<Dataplan, Error> {
    if let Some(plan) = app.dataplans.base(&Above::default()) {
        return Ok(plan);
    }
    let epoch = app.dataplans.epoch();
    let plan = laid(&Dataplan::built_in(), Level::System, document(app, &Scope::System).await?);
    app.dataplans.keep_base(Above::default(), plan.clone(), epoch);
    Ok(plan)
}

/// The plan of the levels above an account that links to this plan: the system's, its reseller's document, and the plan; and whose they are.
///
/// The master is every account's last reseller; what it gives to all is the system document, so its own document is no layer of others.
async fn base(app: &App, id: &AccountId, plan: Option<PlanId>) -> Result<(Dataplan, Above), Error> {
    let Some(account) = accounts::find(app, id).await? else {
        return Ok((system(app).await?, Above { plan, ..Above::default() }));
    };
    let epoch = app.dataplans.epoch();
    let mut above = Above { plan, ..Above::default() };
    if let Some(id) = account.reseller_id().filter(|id| *id != account.id) {
        above.reseller =
            accounts::find(app, &id).await?.filter(|reseller| !reseller.is_master()).map(|reseller| reseller.id);
    }
    let mut linked = None;
    if let Some(id) = &above.plan {
        linked = plan_of(app, &account, id).await?;
        if linked.is_none() {
            tracing::warn!(account.id = %account.id, plan.id = %id, "the account links to a plan that is gone");
        }
    }
    above.linked = linked.as_ref().map(|(scope, _)| scope.clone());
    if let Some(plan) = app.dataplans.base(&above) {
        return Ok((plan, above));
    }
    let mut layers = Vec::new();
    if let Some(reseller) = &above.reseller
        && let Some(document) = document(app, &Scope::Account(reseller.clone())).await?
    {
        layers.push(Layer { level: Level::Reseller, document });
    }
    if let Some((scope, stored)) = linked {
        let document = issued::document(app, &scope, typed(stored)?).await?;
        layers.push(Layer { level: Level::Plan, document });
    }
    let plan = system(app).await?.with(&layers);
    app.dataplans.keep_base(above.clone(), plan.clone(), epoch);
    Ok((plan, above))
}

async fn document(app: &App, scope: &Scope) -> Result<Option<Arc<StorageDocument>>, Error> {
    let Some(stored) = storage_documents::find(app, scope).await? else { return Ok(None) };
    issued::document(app, scope, typed(stored)?).await.map(Some)
}

/// The document without what no plan asks for: its id, and what a console notes on it.
fn typed(stored: storage_documents::Stored) -> Result<Arc<StorageDocument>, Error> {
    match StorageDocument::from_json(&serde_json::Value::Object(stored.public)) {
        Ok(document) => Ok(Arc::new(StorageDocument { rest: serde_json::Map::new(), ..document })),
        Err(violations) => Err(Error::internal("reading a stored storage document", violations.to_json().to_string())),
    }
}

/// The settings of a handler that bytes go to or came from.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The entry, with its settings open.
    pub entry: Arc<HandlerConfig>,
    /// Whose it is.
    pub owner: Owner,
}

impl Settings {
    /// The handler.
    ///
    /// # Errors
    /// As [`oauth::open`].
    pub async fn open(&self, app: &App) -> Result<Arc<dyn attachments::Handler>, Error> {
        oauth::open(app, &self.entry, &self.owner).await
    }
}

/// The settings of the handler `id` whose destination is still `destination`: of the plan in force, or of a retired entry.
///
/// # Errors
/// [`Error::Unavailable`]; `None` when the handler is gone for good.
pub async fn settings(
    app: &App,
    account: &AccountId,
    owner: Option<&str>,
    id: &HandlerId,
    destination: &str,
) -> Result<Option<Settings>, Error> {
    let fits = |entry: &Arc<HandlerConfig>| app.handlers.destination(entry).as_deref() == Some(destination);
    let plan = of(app, account, owner).await?;
    if let Some((entry, level)) = plan.handler(id).filter(|(entry, _)| fits(entry)) {
        let owner = owner_at(app, account, owner, &plan, level, entry).await?;
        return Ok(Some(Settings { entry: entry.clone(), owner }));
    }
    // Hidden by a higher level that took the id later, and still what the bytes were sent by.
    let hidden = plan.layers().iter().rev().find_map(|layer| {
        let entry = layer.document.attachments.get(id).filter(|entry| fits(entry));
        entry.map(|entry| (entry.clone(), layer.level))
    });
    if let Some((entry, level)) = hidden {
        let owner = owner_at(app, account, owner, &plan, level, &entry).await?;
        return Ok(Some(Settings { entry, owner }));
    }
    let mut scopes = vec![Scope::Account(account.clone()), Scope::System];
    if let Some(owner) = owner.and_then(|owner| UserId::parse(owner).ok()) {
        scopes.insert(0, Scope::User(account.clone(), owner));
    }
    let mut current = None;
    if let Some(account) = accounts::find(app, account).await? {
        scopes.extend(account.reseller_id().map(Scope::Account));
        let linked = plan.layers().iter().find(|layer| layer.level == Level::Account);
        if let Some(id) = linked.and_then(|layer| layer.document.plan_id.as_ref()) {
            current = plan_of(app, &account, id).await?.map(|(scope, _)| scope);
        }
    }
    let mut plans = Vec::new();
    for scope in scopes {
        let (retired, linked) = retirement::retired(app, &scope, id).await?;
        if let Some(entry) = retired.into_iter().find(fits) {
            return Ok(Some(Settings { entry, owner: Owner::of(&scope) }));
        }
        plans.extend(linked);
    }
    of_plans(app, current, plans, id, fits).await
}

/// Whose an entry is that stands in the plan of an account at this level. What is let in by no consent is not asked for further.
pub(super) async fn owner_at(
    app: &App,
    account: &AccountId,
    owner: Option<&str>,
    plan: &Dataplan,
    level: Level,
    entry: &HandlerConfig,
) -> Result<Owner, Error> {
    let own = Owner::Account(account.clone());
    if !oauth::needs_consent(&entry.settings) {
        return Ok(own);
    }
    Ok(match level {
        Level::BuiltIn | Level::System => Owner::System,
        Level::Account => own,
        Level::Owner => match owner.and_then(|owner| UserId::parse(owner).ok()) {
            Some(user) => Owner::User(account.clone(), user),
            None => own,
        },
        Level::Reseller => {
            let reseller = accounts::find(app, account).await?.and_then(|account| account.reseller_id());
            reseller.map_or(own, Owner::Account)
        }
        Level::Plan => {
            let linked = plan.layers().iter().find(|layer| layer.level == Level::Account);
            let linked = linked.and_then(|layer| layer.document.plan_id.clone());
            match (accounts::find(app, account).await?, linked) {
                (Some(account), Some(id)) => {
                    plan_of(app, &account, &id).await?.map_or(own, |(scope, _)| Owner::of(&scope))
                }
                _ => own,
            }
        }
    })
}

/// The settings of a handler of the plan that the account links to, where they were retired, or of one that it once linked to.
async fn of_plans(
    app: &App,
    current: Option<Scope>,
    once: Vec<Scope>,
    id: &HandlerId,
    fits: impl Fn(&Arc<HandlerConfig>) -> bool,
) -> Result<Option<Settings>, Error> {
    for scope in current.into_iter().chain(once) {
        let document = document(app, &scope).await?;
        if let Some(entry) =
            document.and_then(|document| document.attachments.get(id).filter(|entry| fits(entry)).cloned())
        {
            return Ok(Some(Settings { entry, owner: Owner::of(&scope) }));
        }
        let (retired, _) = retirement::retired(app, &scope, id).await?;
        if let Some(entry) = retired.into_iter().find(&fits) {
            return Ok(Some(Settings { entry, owner: Owner::of(&scope) }));
        }
    }
    Ok(None)
}

//! Merged plans in memory: loaded when first asked for, forgotten before a change is answered.
//!
//! A plan that was never asked for costs nothing, whether there are ten accounts or a million. A load that began before a change must not
//! put the old plan back: every change raises the epoch, and what was loaded under an older epoch is used once and not kept.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use plan::{AccountId, Dataplan, HandlerConfig, HandlerId, Layer, Level, PlanId, StorageDocument};

use super::oauth::{self, Owner};
use super::storage_documents::{self, Scope, plan_of};
use super::{App, Error, accounts, issued, retirement};

/// The most merged plans that are kept. Beyond it all are forgotten and come back as they are asked for.
const KEPT: usize = 200_000;
/// From so many on it takes a moment to give their memory back.
const MANY: usize = 1000;

/// The merged plans.
#[derive(Debug, Default)]
pub struct Dataplans {
    merged: RwLock<Merged>,
    epoch: AtomicU64,
}

#[derive(Debug, Default)]
struct Merged {
    /// The system's plan, from which all others are made and with which they share what they say nothing of.
    system: Option<Dataplan>,
    accounts: HashMap<AccountId, Owners>,
    /// The resellers of the accounts above: whose change reaches others.
    resellers: HashSet<AccountId>,
}

/// The plans of one account: its own, and those of owners in it.
#[derive(Debug, Default)]
struct Owners {
    above: Above,
    own: Option<Dataplan>,
    owners: HashMap<Box<str>, Dataplan>,
}

/// Whose change reaches an account's plans beside its own.
#[derive(Debug, Clone, Default)]
pub struct Above {
    /// The reseller whose document is a layer.
    reseller: Option<AccountId>,
    /// The plan that the account links to, whether there is one or not.
    plan: Option<PlanId>,
}

impl Dataplans {
    /// A merged plan that is in memory.
    pub fn kept(&self, account: &AccountId, owner: Option<&str>) -> Option<Dataplan> {
        let merged = self.merged.read().unwrap_or_else(PoisonError::into_inner);
        let plans = merged.accounts.get(account)?;
        match owner {
            None => plans.own.clone(),
            Some(owner) => plans.owners.get(owner).cloned(),
        }
    }

    /// Forgets every plan that the change of `scope` can reach. From here on nobody is answered an older one.
    pub fn forget(&self, scope: &Scope) {
        let mut merged = self.merged.write().unwrap_or_else(PoisonError::into_inner);
        self.epoch.fetch_add(1, Ordering::SeqCst);
        match scope {
            Scope::System => {
                let all = std::mem::take(&mut *merged);
                drop(merged);
                let_go(all);
            }
            Scope::Account(account) => {
                merged.accounts.remove(account);
                if merged.resellers.remove(account) {
                    merged.accounts.retain(|_, plans| plans.above.reseller.as_ref() != Some(account));
                }
            }
            Scope::SystemPlan(plan) | Scope::ResellerPlan(_, plan) => {
                merged.accounts.retain(|_, plans| plans.above.plan.as_ref() != Some(plan));
            }
            Scope::User(account, _) => {
                merged.accounts.remove(account);
            }
        }
    }

    /// Keeps a merged plan of `account` (and `owner`) that was loaded under `epoch`.
    pub fn keep(&self, account: &AccountId, owner: Option<&str>, above: Above, plan: Dataplan, epoch: u64) {
        let mut merged = self.merged.write().unwrap_or_else(PoisonError::into_inner);
        if self.epoch.load(Ordering::SeqCst) != epoch {
            return;
        }
        if merged.accounts.len() >= KEPT {
            let_go(std::mem::take(&mut *merged));
        }
        merged.resellers.extend(above.reseller.clone());
        let plans = merged.accounts.entry(account.clone()).or_default();
        plans.above = above;
        match owner {
            None => plans.own = Some(plan),
            Some(owner) => {
                plans.owners.insert(owner.into(), plan);
            }
        }
    }

    fn system(&self) -> Option<Dataplan> {
        self.merged.read().unwrap_or_else(PoisonError::into_inner).system.clone()
    }

    fn keep_system(&self, plan: Dataplan, epoch: u64) {
        let mut merged = self.merged.write().unwrap_or_else(PoisonError::into_inner);
        if self.epoch.load(Ordering::SeqCst) == epoch {
            merged.system = Some(plan);
        }
    }

    /// The epoch that a load begins under.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }
}

/// Nobody waits until the memory of many plans is given back.
fn let_go(all: Merged) {
    if all.accounts.len() > MANY {
        // Where there is no thread to be had, it is done here.
        let _ = std::thread::Builder::new().name("plans".into()).spawn(move || drop(all));
    }
}

/// The merged plan of an account and, for documents that have one, their owner.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn of(app: &App, account: &AccountId, owner: Option<&str>) -> Result<Dataplan, Error> {
    if let Some(plan) = app.dataplans.kept(account, owner) {
        return Ok(plan);
    }
    let epoch = app.dataplans.epoch();
    let (layers, above) = layers(app, account, owner).await?;
    let plan = system(app).await?.with(&layers);
    app.dataplans.keep(account, owner, above, plan.clone(), epoch);
    Ok(plan)
}

/// The plan that applies above a scope: what `document`, which is to be its own, inherits.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn above(app: &App, scope: &Scope, document: &StorageDocument) -> Result<Dataplan, Error> {
    let layers = match scope {
        Scope::System => return Ok(Dataplan::built_in()),
        Scope::SystemPlan(_) => Vec::new(),
        Scope::ResellerPlan(account, _) => {
            let own = self::document(app, &Scope::Account(account.clone())).await?;
            own.map(|document| Layer { level: Level::Reseller, document }).into_iter().collect()
        }
        Scope::Account(id) => match accounts::find(app, id).await? {
            Some(account) => higher(app, &account, document.plan_id.as_ref()).await?.0,
            None => Vec::new(),
        },
        Scope::User(account, _) => layers(app, account, None).await?.0,
    };
    Ok(system(app).await?.with(&layers))
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
    if let Some(plan) = app.dataplans.system() {
        return Ok(plan);
    }
    let epoch = app.dataplans.epoch();
    let layer = document(app, &Scope::System).await?.map(|document| Layer { level: Level::System, document });
    let plan = Dataplan::merge(layer.as_slice());
    app.dataplans.keep_system(plan.clone(), epoch);
    Ok(plan)
}

/// The layers of an account's plan between the system's and its own: its reseller's document, and the plan that it links to.
///
/// The master is every account's last reseller; what it gives to all is the system document, so its own document is no layer of others.
async fn higher(
    app: &App,
    account: &accounts::Account,
    plan: Option<&PlanId>,
) -> Result<(Vec<Layer>, Option<AccountId>), Error> {
    let mut layers = Vec::new();
    let mut reseller = None;
    if let Some(id) = account.reseller_id().filter(|id| *id != account.id) {
        reseller = accounts::find(app, &id).await?.filter(|reseller| !reseller.is_master()).map(|reseller| reseller.id);
    }
    if let Some(reseller) = &reseller
        && let Some(document) = document(app, &Scope::Account(reseller.clone())).await?
    {
        layers.push(Layer { level: Level::Reseller, document });
    }
    if let Some(id) = plan {
        match plan_of(app, account, id).await? {
            Some((scope, stored)) => {
                let document = issued::document(app, &scope, typed(stored)?).await?;
                layers.push(Layer { level: Level::Plan, document });
            }
            None => tracing::warn!(account.id = %account.id, plan.id = %id, "the account links to a plan that is gone"),
        }
    }
    Ok((layers, reseller))
}

/// The layers of an account's plan above the system's, the lowest first, and whose change reaches them.
async fn layers(app: &App, account: &AccountId, owner: Option<&str>) -> Result<(Vec<Layer>, Above), Error> {
    let own = document(app, &Scope::Account(account.clone())).await?;
    let plan = own.as_ref().and_then(|document| document.plan_id.clone());
    let (mut layers, reseller) = match accounts::find(app, account).await? {
        Some(account) => higher(app, &account, plan.as_ref()).await?,
        None => (Vec::new(), None),
    };
    layers.extend(own.map(|document| Layer { level: Level::Account, document }));
    if let Some(owner) = owner.and_then(|owner| plan::UserId::parse(owner).ok())
        && let Some(document) = document(app, &Scope::User(account.clone(), owner)).await?
    {
        layers.push(Layer { level: Level::Owner, document });
    }
    Ok((layers, Above { reseller, plan }))
}

async fn document(app: &App, scope: &Scope) -> Result<Option<Arc<StorageDocument>>, Error> {
    let Some(stored) = storage_documents::find(app, scope).await? else { return Ok(None) };
    issued::document(app, scope, typed(stored)?).await.map(Some)
}

fn typed(stored: storage_documents::Stored) -> Result<Arc<StorageDocument>, Error> {
    match StorageDocument::from_json(&serde_json::Value::Object(stored.public)) {
        Ok(document) => Ok(Arc::new(document)),
        Err(violations) => Err(Error::internal("reading a stored storage document", violations.to_json().to_string())),
    }
}

/// The settings of a handler that bytes go to or came from.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The entry, with its settings open.
    pub entry: HandlerConfig,
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
    let fits = |entry: &HandlerConfig| {
        attachments::kind(&entry.handler).is_some_and(|kind| (kind.destination)(&entry.settings) == destination)
    };
    let plan = of(app, account, owner).await?;
    if let Some((entry, level)) = plan.handler(id).filter(|(entry, _)| fits(entry)) {
        let owner = owner_at(app, account, owner, &plan, level, entry).await?;
        return Ok(Some(Settings { entry: entry.clone(), owner }));
    }
    // Hidden by a higher level that took the id later, and still what the bytes were sent by.
    let hidden = plan.layers().iter().rev().find_map(|layer| {
        let entry = layer.document.attachments.get(id).filter(|entry| fits(entry));
        entry.map(|entry| (entry, layer.level))
    });
    if let Some((entry, level)) = hidden {
        let owner = owner_at(app, account, owner, &plan, level, entry).await?;
        return Ok(Some(Settings { entry: entry.clone(), owner }));
    }
    let mut scopes = vec![Scope::Account(account.clone()), Scope::System];
    if let Some(owner) = owner.and_then(|owner| plan::UserId::parse(owner).ok()) {
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
        Level::Owner => match owner.and_then(|owner| plan::UserId::parse(owner).ok()) {
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
    fits: impl Fn(&HandlerConfig) -> bool,
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

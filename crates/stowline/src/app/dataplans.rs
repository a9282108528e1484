//! Merged plans in memory: loaded when first asked for, forgotten before a change is answered.
//!
//! A plan that was never asked for costs nothing, whether there are ten accounts or a million. A load that began before a change must not
//! put the old plan back: every change raises the epoch, and what was loaded under an older epoch is used once and not kept.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use plan::{AccountId, Dataplan, HandlerConfig, HandlerId, Layer, Level, StorageDocument};

use super::storage_documents::{self, Scope};
use super::{App, Error, accounts};

/// The most merged plans that are kept. Beyond it all are forgotten and come back as they are asked for.
const KEPT: usize = 200_000;

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
    reseller: Option<AccountId>,
    own: Option<Dataplan>,
    owners: HashMap<Box<str>, Dataplan>,
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
            Scope::System => *merged = Merged::default(),
            Scope::Account(account) => {
                merged.accounts.remove(account);
                if merged.resellers.remove(account) {
                    merged.accounts.retain(|_, plans| plans.reseller.as_ref() != Some(account));
                }
            }
            Scope::User(account, _) => {
                merged.accounts.remove(account);
            }
        }
    }

    /// Keeps a merged plan of `account` (and `owner`) that was loaded under `epoch`.
    pub fn keep(
        &self,
        account: &AccountId,
        owner: Option<&str>,
        reseller: Option<AccountId>,
        plan: Dataplan,
        epoch: u64,
    ) {
        let mut merged = self.merged.write().unwrap_or_else(PoisonError::into_inner);
        if self.epoch.load(Ordering::SeqCst) != epoch {
            return;
        }
        if merged.accounts.len() >= KEPT {
            *merged = Merged::default();
        }
        merged.resellers.extend(reseller.clone());
        let plans = merged.accounts.entry(account.clone()).or_default();
        plans.reseller = reseller;
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

/// The merged plan of an account and, for documents that have one, their owner.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn of(app: &App, account: &AccountId, owner: Option<&str>) -> Result<Dataplan, Error> {
    if let Some(plan) = app.dataplans.kept(account, owner) {
        return Ok(plan);
    }
    let epoch = app.dataplans.epoch();
    let (layers, reseller) = layers(app, account, owner).await?;
    let plan = system(app).await?.with(&layers);
    app.dataplans.keep(account, owner, reseller, plan.clone(), epoch);
    Ok(plan)
}

/// The plan that applies above a scope: what its document inherits.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn above(app: &App, scope: &Scope) -> Result<Dataplan, Error> {
    let mut layers = match scope {
        Scope::System => Vec::new(),
        Scope::Account(account) | Scope::User(account, _) => layers(app, account, None).await?.0,
    };
    if matches!(scope, Scope::Account(_)) {
        layers.retain(|layer| layer.level < Level::Plan);
    }
    match scope {
        Scope::System => Ok(Dataplan::built_in()),
        Scope::Account(_) | Scope::User(..) => Ok(system(app).await?.with(&layers)),
    }
}

async fn system(app: &App) -> Result<Dataplan, Error> {
    if let Some(plan) = app.dataplans.system() {
        return Ok(plan);
    }
    let epoch = app.dataplans.epoch();
    let layer = document(app, &Scope::System).await?.map(|document| Layer { level: Level::System, document });
    let plan = Dataplan::merge(layer.as_slice());
    app.dataplans.keep_system(plan.clone(), epoch);
    Ok(plan)
}

/// The layers of an account's plan above the system's, the lowest first, and its reseller.
///
/// The master is every account's last reseller; what it gives to all is the system document, so its own document is no layer of others.
async fn layers(app: &App, account: &AccountId, owner: Option<&str>) -> Result<(Vec<Layer>, Option<AccountId>), Error> {
    let mut layers = Vec::new();
    let found = accounts::find(app, account).await?;
    let mut reseller = None;
    if let Some(id) = found.and_then(|account| account.reseller_id()).filter(|id| id != account) {
        reseller = accounts::find(app, &id).await?.filter(|reseller| !reseller.is_master()).map(|reseller| reseller.id);
    }
    if let Some(reseller) = &reseller
        && let Some(document) = document(app, &Scope::Account(reseller.clone())).await?
    {
        layers.push(Layer { level: Level::Reseller, document });
    }
    if let Some(document) = document(app, &Scope::Account(account.clone())).await? {
        layers.push(Layer { level: Level::Account, document });
    }
    if let Some(owner) = owner.and_then(|owner| plan::UserId::parse(owner).ok())
        && let Some(document) = document(app, &Scope::User(account.clone(), owner)).await?
    {
        layers.push(Layer { level: Level::Owner, document });
    }
    Ok((layers, reseller))
}

async fn document(app: &App, scope: &Scope) -> Result<Option<Arc<StorageDocument>>, Error> {
    let Some(stored) = storage_documents::find(app, scope).await? else { return Ok(None) };
    match StorageDocument::from_json(&serde_json::Value::Object(stored.public)) {
        Ok(document) => Ok(Some(Arc::new(document))),
        Err(violations) => Err(Error::internal("reading a stored storage document", violations.to_json().to_string())),
    }
}

/// The settings of a handler that bytes go to or came from.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The entry, with its settings open.
    pub entry: HandlerConfig,
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
    if let Some((entry, _)) = plan.handler(id).filter(|(entry, _)| fits(entry)) {
        return Ok(Some(Settings { entry: entry.clone() }));
    }
    // Hidden by a higher level that took the id later, and still what the bytes were sent by.
    let hidden =
        plan.layers().iter().rev().find_map(|layer| layer.document.attachments.get(id).filter(|entry| fits(entry)));
    if let Some(entry) = hidden {
        return Ok(Some(Settings { entry: entry.clone() }));
    }
    let mut scopes = vec![Scope::Account(account.clone()), Scope::System];
    if let Some(owner) = owner.and_then(|owner| plan::UserId::parse(owner).ok()) {
        scopes.insert(0, Scope::User(account.clone(), owner));
    }
    if let Some(reseller) = accounts::find(app, account).await?.and_then(|account| account.reseller_id()) {
        scopes.push(Scope::Account(reseller));
    }
    for scope in scopes {
        let retired = storage_documents::retired(app, &scope, id).await?;
        if let Some(entry) = retired.into_iter().find(fits) {
            return Ok(Some(Settings { entry }));
        }
    }
    Ok(None)
}

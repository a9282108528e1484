//! Merged plans in memory: loaded when first asked for, forgotten before a change is answered.
//!
//! A plan that was never asked for costs nothing, whether there are ten accounts or a million. A load that began before a change must not
//! put the old plan back: every change raises the epoch, and what was loaded under an older epoch is used once and not kept.
//!
//! What is kept is bounded by what it weighs. Beyond that all plans are forgotten, and come back as they are asked for.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use plan::{AccountId, Dataplan, PlanId};

use crate::app::storage_documents::Scope;

/// The most bytes that merged plans may take, about: those of a hundred and fifty thousand accounts, each with a handler and two types that go to it.
const MOST: usize = 512 << 20;
/// From so many on it takes a moment to give their memory back.
const MANY: usize = 1000;
/// About what an account or an owner takes beside its plan: its id, and its place in the map.
const PLACE: usize = 256;

/// The merged plans.
#[derive(Debug)]
pub struct Dataplans {
    merged: RwLock<Merged>,
    epoch: AtomicU64,
    most: usize,
}

impl Default for Dataplans {
    fn default() -> Self {
        Self::of_weight(MOST)
    }
}

#[derive(Debug, Default)]
struct Merged {
    /// What accounts' plans are made from and share what they say nothing of, by what stands above them. Where nothing does it is the system's.
    bases: HashMap<Above, Dataplan>,
    accounts: HashMap<AccountId, Owners>,
    /// The resellers of the accounts above: whose change reaches others.
    resellers: HashSet<AccountId>,
    /// About how many bytes all of them take.
    weight: usize,
}

/// The plans of one account: its own, and those of owners in it.
#[derive(Debug, Default)]
struct Owners {
    above: Above,
    own: Option<Dataplan>,
    owners: HashMap<Box<str>, Dataplan>,
    weight: usize,
}

/// What stands above an account beside the system: whose change reaches its plans.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Above {
    /// The reseller whose document is a layer.
    pub(super) reseller: Option<AccountId>,
    /// The plan that the account links to, whether there is one or not.
    pub(super) plan: Option<PlanId>,
    /// The plan that it is, of those that may have its id.
    pub(super) linked: Option<Scope>,
}

impl Merged {
    /// Makes room for so many bytes.
    fn take(&mut self, weight: usize, most: usize) {
        if self.weight + weight > most {
            let_go(std::mem::take(self));
        }
        self.weight += weight;
    }

    /// Forgets all that something stands above.
    fn drop_below(&mut self, is_above: impl Fn(&Above) -> bool) {
        let mut gone = 0;
        self.bases.retain(|above, plan| {
            let goes = is_above(above);
            gone += if goes { plan.weight() + PLACE } else { 0 };
            !goes
        });
        self.accounts.retain(|_, plans| {
            let goes = is_above(&plans.above);
            gone += if goes { plans.weight } else { 0 };
            !goes
        });
        self.weight = self.weight.saturating_sub(gone);
    }

    fn drop_account(&mut self, account: &AccountId) {
        if let Some(plans) = self.accounts.remove(account) {
            self.weight = self.weight.saturating_sub(plans.weight);
        }
    }
}

impl Dataplans {
    /// Nothing yet, and never more than about so many bytes.
    fn of_weight(most: usize) -> Self {
        Self { merged: RwLock::default(), epoch: AtomicU64::default(), most }
    }

    /// A merged plan that is in memory.
    pub fn kept(&self, account: &AccountId, owner: Option<&str>) -> Option<Dataplan> {
        let merged = self.merged.read().unwrap_or_else(PoisonError::into_inner);
        let plans = merged.accounts.get(account)?;
        match owner {
            None => plans.own.clone(),
            Some(owner) => plans.owners.get(owner).cloned(),
        }
    }

    /// The plan of an account whoever owns what is stored, and what stands above it.
    pub(super) fn own(&self, account: &AccountId) -> Option<(Dataplan, Above)> {
        let merged = self.merged.read().unwrap_or_else(PoisonError::into_inner);
        let plans = merged.accounts.get(account)?;
        Some((plans.own.clone()?, plans.above.clone()))
    }

    /// What the plans of accounts are made from that this stands above.
    pub(super) fn base(&self, above: &Above) -> Option<Dataplan> {
        self.merged.read().unwrap_or_else(PoisonError::into_inner).bases.get(above).cloned()
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
                merged.drop_account(account);
                if merged.resellers.remove(account) {
                    merged.drop_below(|above| above.reseller.as_ref() == Some(account));
                }
            }
            Scope::SystemPlan(plan) | Scope::ResellerPlan(_, plan) => {
                merged.drop_below(|above| above.plan.as_ref() == Some(plan));
            }
            Scope::User(account, _) => merged.drop_account(account),
        }
    }

    /// Keeps a merged plan of `account` (and `owner`) that was loaded under `epoch`.
    pub fn keep(&self, account: &AccountId, owner: Option<&str>, above: Above, plan: Dataplan, epoch: u64) {
        let mut merged = self.merged.write().unwrap_or_else(PoisonError::into_inner);
        if self.epoch.load(Ordering::SeqCst) != epoch {
            return;
        }
        let from = match owner {
            None => merged.bases.get(&above),
            Some(_) => merged.accounts.get(account).and_then(|plans| plans.own.as_ref()),
        };
        let shared = from.is_some_and(|from| from.is(&plan));
        let weight = PLACE + if shared { 0 } else { plan.weight() };
        merged.take(weight, self.most);
        merged.resellers.extend(above.reseller.clone());
        let plans = merged.accounts.entry(account.clone()).or_default();
        plans.above = above;
        plans.weight += weight;
        match owner {
            None => plans.own = Some(plan),
            Some(owner) => {
                plans.owners.insert(owner.into(), plan);
            }
        }
    }

    /// Keeps what was loaded under `epoch` for accounts that this stands above.
    pub(super) fn keep_base(&self, above: Above, plan: Dataplan, epoch: u64) {
        let mut merged = self.merged.write().unwrap_or_else(PoisonError::into_inner);
        if self.epoch.load(Ordering::SeqCst) == epoch && !merged.bases.contains_key(&above) {
            merged.take(PLACE + plan.weight(), self.most);
            merged.resellers.extend(above.reseller.clone());
            merged.bases.insert(above, plan);
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

#[cfg(test)]
mod tests {
    use super::*;
    use plan::{Layer, Level, StorageDocument};
    use serde_json::json;
    use std::sync::Arc;

    fn account(number: usize) -> AccountId {
        AccountId::parse(&format!("{number:032x}")).unwrap()
    }

    fn own(base: &Dataplan, level: Level) -> Dataplan {
        let document = json!({"plan": {"modb": {"types": {"fax": {"attachments": {"stub": true}}}}}});
        let document = Arc::new(StorageDocument::from_json(&document).unwrap());
        base.with(&[Layer { level, document }])
    }

    impl Dataplans {
        /// How many accounts' plans are kept, and what all weigh.
        fn load(&self) -> (usize, usize) {
            let merged = self.merged.read().unwrap();
            (merged.accounts.len(), merged.weight)
        }
    }

    #[test]
    fn what_is_kept_is_bounded_by_what_it_weighs() {
        let plans = Dataplans::of_weight(64 << 10);
        let system = Dataplan::built_in();
        let most = (64 << 10) / (own(&system, Level::Account).weight() + PLACE);
        let mut counts = Vec::new();
        for number in 0..5 * most {
            let plan = own(&system, Level::Account);
            plans.keep(&account(number), None, Above::default(), plan, plans.epoch());
            assert!(plans.kept(&account(number), None).is_some(), "the newest is kept");
            let (count, weight) = plans.load();
            assert!(weight <= 64 << 10, "{weight}");
            counts.push(count);
        }
        assert_eq!(counts.iter().max(), Some(&most));
    }

    #[test]
    fn plans_that_are_their_bases_weigh_their_place() {
        let plans = Dataplans::default();
        plans.keep_base(Above::default(), Dataplan::built_in(), 0);
        let (_, base) = plans.load();
        plans.keep(&account(1), None, Above::default(), Dataplan::built_in(), 0);
        plans.keep(&account(1), Some("owner"), Above::default(), Dataplan::built_in(), 0);
        assert_eq!(plans.load(), (1, base + 2 * PLACE));
        plans.forget(&Scope::Account(account(1)));
        assert_eq!(plans.load(), (0, base));
    }

    #[test]
    fn a_change_takes_what_it_reaches_and_its_weight() {
        let plans = Dataplans::default();
        let (reseller, plan) = (account(9), PlanId::parse("p").unwrap());
        let of_reseller = Above { reseller: Some(reseller.clone()), ..Above::default() };
        let linked = Scope::ResellerPlan(reseller.clone(), plan.clone());
        let of_plan = Above { plan: Some(plan), linked: Some(linked.clone()), ..of_reseller.clone() };
        let base = own(&Dataplan::built_in(), Level::Reseller);
        let fill = || {
            for (number, above) in [Above::default(), of_reseller.clone(), of_plan.clone()].into_iter().enumerate() {
                plans.keep_base(above.clone(), base.clone(), plans.epoch());
                plans.keep(&account(number), None, above, own(&base, Level::Account), plans.epoch());
            }
        };
        fill();
        let full = plans.load();
        plans.forget(&linked);
        assert_eq!((0..3).map(|number| plans.own(&account(number)).is_some()).collect::<Vec<_>>(), [true, true, false]);
        assert!(plans.base(&of_plan).is_none() && plans.base(&of_reseller).is_some());
        fill();
        plans.forget(&Scope::Account(reseller));
        assert_eq!(plans.load().0, 1);
        assert!(plans.base(&of_reseller).is_none() && plans.base(&Above::default()).is_some());
        fill();
        assert_eq!(plans.load().0, full.0);
        plans.forget(&Scope::System);
        assert_eq!(plans.load(), (0, 0));
        let stale = plans.epoch();
        plans.forget(&Scope::System);
        plans.keep(&account(1), None, Above::default(), base.clone(), stale);
        plans.keep_base(Above::default(), base, stale);
        assert!(plans.kept(&account(1), None).is_none() && plans.base(&Above::default()).is_none());
    }
}

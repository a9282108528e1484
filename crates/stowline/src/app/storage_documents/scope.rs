//! Whose storage document it is, and where it lies.
//!
//! The ids of plans are their owners' to choose. Each owner's lie under a name that holds the owner, so that two of them may choose the same id
//! and neither learns of the other.

use plan::{AccountId, DocId, PlanId, UserId};

use super::{PLAN, TYPE};
use crate::app::Error;

/// Whose storage document it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The platform's.
    System,
    /// A plan of the platform, which any account may link to.
    SystemPlan(PlanId),
    /// An account's.
    Account(AccountId),
    /// A plan of a reseller, which it and its accounts may link to.
    ResellerPlan(AccountId, PlanId),
    /// A user's of an account.
    User(AccountId, UserId),
}

impl Scope {
    /// The id by which clients know it.
    pub fn id(&self) -> &str {
        match self {
            Self::System => "system",
            Self::Account(account) => account.as_ref(),
            Self::User(_, user) => user.as_ref(),
            Self::SystemPlan(plan) | Self::ResellerPlan(_, plan) => plan.as_ref(),
        }
    }

    /// The account whose jobs and database it concerns; none for the system.
    pub fn account(&self) -> Option<&AccountId> {
        match self {
            Self::System | Self::SystemPlan(_) => None,
            Self::Account(account) | Self::ResellerPlan(account, _) | Self::User(account, _) => Some(account),
        }
    }

    /// The plan that it is.
    pub fn plan(&self) -> Option<&PlanId> {
        match self {
            Self::SystemPlan(plan) | Self::ResellerPlan(_, plan) => Some(plan),
            Self::System | Self::Account(_) | Self::User(..) => None,
        }
    }

    /// One word for what it is.
    pub fn word(&self) -> &'static str {
        match self {
            Self::System => "system",
            Self::SystemPlan(_) => "system_plan",
            Self::Account(_) => "account",
            Self::ResellerPlan(..) => "reseller_plan",
            Self::User(..) => "user",
        }
    }

    /// The type of its document.
    pub fn doc_type(&self) -> &'static str {
        if self.plan().is_some() { PLAN } else { TYPE }
    }

    /// What its document is listed under: its owner.
    pub(super) fn parent(&self) -> String {
        self.account().map_or_else(|| SYSTEM.to_owned(), ToString::to_string)
    }

    /// The name of its document.
    pub(crate) fn place(&self) -> String {
        match self {
            Self::System | Self::Account(_) | Self::User(..) => self.id().to_owned(),
            Self::SystemPlan(plan) => format!("plan-{SYSTEM}-{plan}"),
            Self::ResellerPlan(account, plan) => format!("plan-{account}-{plan}"),
        }
    }

    /// The scope of a plan by the name of its document.
    pub(crate) fn of_plan(place: &str) -> Option<Self> {
        let (owner, plan) = place.strip_prefix("plan-").and_then(|rest| {
            let system = rest.strip_prefix("system-").map(|plan| (None, plan));
            system.or_else(|| Some((Some(rest.get(..32)?), rest.get(32..)?.strip_prefix('-')?)))
        })?;
        let plan = PlanId::parse(plan).ok()?;
        match owner {
            None => Some(Self::SystemPlan(plan)),
            Some(owner) => Some(Self::ResellerPlan(AccountId::parse(owner).ok()?, plan)),
        }
    }

    pub(super) fn doc_id(&self) -> Result<DocId, Error> {
        DocId::parse(&self.place()).map_err(|_| self.missing())
    }

    pub(crate) fn retired_id(&self) -> Result<DocId, Error> {
        let id = match self {
            Self::User(account, user) => format!("retired-{account}-{user}"),
            other => format!("retired-{}", other.place()),
        };
        DocId::parse(&id).map_err(|_| self.missing())
    }

    pub(super) fn missing(&self) -> Error {
        Error::NotFound(self.id().to_owned())
    }
}

/// What stands for the system where others have an account.
pub(super) const SYSTEM: &str = "system";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_found_again_by_its_place() {
        let account = AccountId::parse("system00000000000000000000000000").unwrap();
        let plan = |id: &str| PlanId::parse(id).unwrap();
        for scope in [
            Scope::SystemPlan(plan("gold")),
            Scope::SystemPlan(plan("-")),
            Scope::ResellerPlan(account.clone(), plan("gold")),
            Scope::ResellerPlan(account.clone(), plan("system-x")),
        ] {
            assert_eq!(Scope::of_plan(&scope.place()), Some(scope));
        }
        for other in ["system", account.as_ref(), "plan-", "plan-system-", "plan-short-x"] {
            assert_eq!(Scope::of_plan(other), None, "{other}");
        }
    }
}

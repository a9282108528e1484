//! The layers of storage documents merged and indexed: the one thing that is asked where something goes.
//!
//! **Layers.** built-in ← system ← reseller ← plan ← account ← owner. What a document's `plan` says is laid over what those above it say
//! ([`merge::plan`](crate::merge::plan)); an entry of `attachments` or `connections` belongs to the highest level that defines it, where
//! *highest* is nearest to the built-in one. Lower levels may refer to it; a definition of the same id further down is ignored.
//!
//! **Sections.** The class of a database names the section that is asked, and the layers that count:
//!
//! | class | section | layers |
//! |---|---|---|
//! | modb, yodb | `plan.modb`, `plan.yodb` | all |
//! | account, resource_selectors | `plan.account` | all |
//! | aggregate | `plan.aggregate`, for the databases it names | to system |
//! | numbers | `plan.system`, the type is `numbers` | to system |
//! | everything else | `plan.system`, the type is the database's name | to system |
//!
//! `aggregate` is as everything else when there is no such section, when it names databases and this is none of them (asked without a
//! type), and when the question comes with an owner. `system_config`, `system_data` and `services` are always local. A section that is
//! missing means the local store.
//!
//! **Within a section** what is said of a type goes before what is said of the whole, key by key, `params` being one key. What `range` or
//! `regex` says of a database goes before both. At most one of these applies: the shortest range that holds the month, of two the later; else the
//! first pattern, in the order of their text, that matches the unencoded name.
//!
//! **Locks.** What a level locks is decided by it and those above it, whatever lower levels say: see [`Lock`](crate::Lock).
//!
//! **Cost.** [`Dataplan::merge`] works out every answer beforehand, so that [`Dataplan::route`] compares, hashes and returns a reference.
//! (A pattern is run when its section has one; the regex engine allocates when it is first used.) Plans share what they have in common:
//! see [`Dataplan::with`], and [`Dataplan::weight`] for what is left.

mod explain;
mod table;

use std::fmt;
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};

pub use self::explain::{Decided, Decision, Explanation};
use self::table::{AccountTables, Place, Sources, SystemTables};
use crate::database::Database;
use crate::document::{ConnectionConfig, HandlerConfig, StorageDocument};
use crate::id::{ConnectionId, DocType, HandlerId};
use crate::route::Route;
use crate::weight;

/// Who speaks. Ordered from the one that all inherit from to the one that nobody inherits from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// The program itself.
    BuiltIn,
    /// The system's document.
    System,
    /// The document of the account's reseller.
    Reseller,
    /// The stored plan that the account's document names.
    Plan,
    /// The account's document.
    Account,
    /// The document of the owner of what is stored.
    Owner,
}

impl Level {
    /// Its word, as it is serialised.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::BuiltIn => "built_in",
            Self::System => "system",
            Self::Reseller => "reseller",
            Self::Plan => "plan",
            Self::Account => "account",
            Self::Owner => "owner",
        }
    }
}

/// A document and the level that it speaks for.
#[derive(Clone, Debug)]
pub struct Layer {
    /// The level.
    pub level: Level,
    /// What it says.
    pub document: Arc<StorageDocument>,
}

/// Merged layers, ready to be asked. Cloning shares everything.
#[derive(Clone)]
pub struct Dataplan(Arc<Merged>);

pub(crate) struct Merged {
    /// From the built-in one down.
    pub layers: Box<[Layer]>,
    pub system: Arc<SystemTables>,
    pub accounts: AccountTables,
    /// Whether an owner is among the layers.
    owned: bool,
    /// About how many bytes it takes beside those of the plan that it was made from.
    weight: usize,
}

impl Merged {
    /// Which layer owns a handler, by its place in `layers`.
    fn owner(&self, id: &HandlerId) -> Option<usize> {
        self.layers.iter().position(|layer| layer.document.attachments.contains_key(id))
    }
}

impl Dataplan {
    /// The built-in layer alone: everything is local. Made once, shared ever after.
    #[must_use]
    pub fn built_in() -> Self {
        static BUILT_IN: OnceLock<Dataplan> = OnceLock::new();
        let merged = || {
            Self::index(vec![Layer { level: Level::BuiltIn, document: Arc::new(StorageDocument::built_in()) }], None)
        };
        BUILT_IN.get_or_init(merged).clone()
    }

    /// Merges `layers` over the built-in one. Their order counts only within a level (a reseller's reseller comes first).
    #[must_use]
    pub fn merge(layers: &[Layer]) -> Self {
        Self::built_in().with(layers)
    }

    /// This plan with more layers.
    ///
    /// With no layers it is the same plan, shared. With layers that all stand below those it has, it shares the tables of every section
    /// that they do not speak of; so a thousand accounts that say a word about `modb` share all else with the system's plan they are made from.
    #[must_use]
    pub fn with(&self, layers: &[Layer]) -> Self {
        if layers.is_empty() {
            return self.clone();
        }
        let lowest = self.0.layers.last().map(|layer| layer.level);
        let below = layers.iter().all(|layer| Some(layer.level) >= lowest);
        let mut all = self.0.layers.to_vec();
        all.extend(layers.iter().cloned());
        all.sort_by_key(|layer| layer.level);
        Self::index(all, below.then_some(&self.0))
    }

    /// `shared`: the tables of a plan whose layers are the first of `layers`.
    fn index(layers: Vec<Layer>, shared: Option<&Merged>) -> Self {
        let to_system = layers.iter().take_while(|layer| layer.level <= Level::System).count();
        let sources = Sources { layers: &layers };
        let shared = shared.map(|shared| (shared, shared.layers.len()));
        let system =
            SystemTables::index(sources.first(to_system), shared.map(|(shared, count)| (&shared.system, count)));
        let accounts = AccountTables::index(sources, shared.map(|(shared, count)| (&shared.accounts, count)));
        let owned = layers.iter().any(|layer| layer.level == Level::Owner);
        let mut merged = Merged { system, accounts, owned, weight: 0, layers: layers.into() };
        merged.weight = weight::of(&merged, shared.map(|(shared, _)| shared));
        Self(Arc::new(merged))
    }

    /// About how many bytes of memory it takes, without what it shares with the plan that it was made from ([`with`](Self::with)).
    #[must_use]
    pub fn weight(&self) -> usize {
        self.0.weight
    }

    /// Whether both are one and the same in memory.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Where a document of type `doc_type` goes in `database`, and where its attachments go. Without a type: where the database is.
    #[must_use]
    pub fn route(&self, database: &Database, doc_type: Option<&DocType>) -> &Route {
        match self.place(database, doc_type) {
            Place::Local(route) => route,
            Place::Table { table, key } => table.rows(database).route(key),
        }
    }

    fn place<'plan, 'asked>(
        &'plan self,
        database: &'asked Database,
        doc_type: Option<&'asked DocType>,
    ) -> Place<'plan, 'asked> {
        let key = doc_type.map(DocType::as_str);
        match self.0.accounts.of(database.classification()) {
            Some(table) => Place::Table { table, key },
            None => self.0.system.place(database, key, self.0.owned),
        }
    }

    /// The handler `id`, settings and all, and the level whose it is.
    #[must_use]
    pub fn handler(&self, id: &HandlerId) -> Option<(&Arc<HandlerConfig>, Level)> {
        self.layers().iter().find_map(|layer| Some((layer.document.attachments.get(id)?, layer.level)))
    }

    /// The connection `id`, settings and all, and the level whose it is. `local` belongs to the built-in level.
    #[must_use]
    pub fn connection(&self, id: &ConnectionId) -> Option<(&ConnectionConfig, Level)> {
        self.layers().iter().find_map(|layer| Some((&**layer.document.connections.get(id)?, layer.level)))
    }

    /// The handlers that can be referred to, in no order, with the level whose each is.
    pub fn handlers(&self) -> impl Iterator<Item = (&HandlerId, &HandlerConfig, Level)> {
        self.layers().iter().enumerate().flat_map(move |(place, layer)| {
            let own = layer.document.attachments.iter().filter(move |(id, _)| self.0.owner(id) == Some(place));
            own.map(|(id, config)| (id, &**config, layer.level))
        })
    }

    /// The layers, from the built-in one down.
    #[must_use]
    pub fn layers(&self) -> &[Layer] {
        &self.0.layers
    }
}

impl fmt::Debug for Dataplan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let levels: Vec<_> = self.0.layers.iter().map(|layer| layer.level).collect();
        f.debug_struct("Dataplan").field("levels", &levels).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

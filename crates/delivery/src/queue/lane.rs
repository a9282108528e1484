//! A lane: whose jobs share a fate; and a family: the lanes of one tenant.
//!
//! How many jobs of a lane run at once *adapts*: a lane begins with a few, each success allows one more up to the policy's most, each failure
//! halves what is allowed. So one whose destination hangs holds a few workers, not all that it may have.
//!
//! The lanes whose names are the same up to the first `/` are a *family*. It has a *budget*: no more of its jobs run than workers are free, so
//! a busy family leaves half of all workers to others, two leave a third, and there is always room for who has nothing running yet.
//! (After A. K. Choudhury and E. L. Hahne, "Dynamic queue length thresholds for shared-memory packet switches", 1998.)
//!
//! A lane's *breaker*: after some failures in a row the lane is broken. Then one job at a time is let through as a probe, each after a wait that
//! grows as long as probes fail; the first success mends the lane. Failures of jobs that had started before it broke do not count again.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::millis;
use crate::{LaneStatus, Policy};

pub(super) type LaneId = u32;
type FamilyId = u32;

/// Jobs of a lane that run at once before anything is known of it.
const AT_FIRST: usize = 4;

#[derive(Debug)]
pub(super) struct Lane {
    pub(super) name: Arc<str>,
    /// Its jobs in any state; with the last one it goes.
    jobs: usize,
    family: FamilyId,
    running: usize,
    /// So many may run at once, as long as the policy allows as many.
    allowed: usize,
    /// Jobs whose turn comes, and places of jobs that have gone elsewhere since.
    pub(super) ready: VecDeque<u64>,
    /// It stands in the queue of turns.
    pub(super) has_turn: bool,
    /// It stands among those that wait for its family's budget.
    pub(super) lacks_budget: bool,
    failures: u32,
    /// A broken lane is not probed before.
    probe: u64,
}

/// Whether a lane may run a job now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gate {
    /// It has something to run and may run it.
    Open,
    /// It may when others have ended.
    LacksBudget,
    /// It may not, or has nothing.
    Shut,
}

/// The lanes of one tenant.
#[derive(Debug, Default)]
struct Family {
    name: Arc<str>,
    lanes: usize,
    running: usize,
}

impl Lane {
    fn is_open(&self, policy: &Policy, now: u64) -> bool {
        let room = if self.broken(policy) {
            self.running == 0 && now >= self.probe
        } else {
            self.running < self.allowed.min(policy.concurrency_per_lane).max(1)
        };
        room && !self.ready.is_empty()
    }

    fn broken(&self, policy: &Policy) -> bool {
        self.failures >= policy.patience.max(1)
    }

    pub(super) fn succeeded(&mut self, policy: &Policy) {
        self.allowed = self.allowed.saturating_add(1).min(policy.concurrency_per_lane.max(1));
        self.mend();
    }

    fn mend(&mut self) {
        self.failures = 0;
        self.probe = 0;
    }

    /// Counts a failure. Answers when the lane is to be probed, if it is broken by now.
    pub(super) fn failed(&mut self, policy: &Policy, now: u64, after: Option<Duration>, chance: f64) -> Option<u64> {
        self.allowed = (self.allowed.min(policy.concurrency_per_lane) / 2).max(1);
        if self.broken(policy) && now < self.probe {
            return None;
        }
        self.failures = self.failures.saturating_add(1);
        if !self.broken(policy) {
            return None;
        }
        let wait = policy.schedule().wait(self.failures - policy.patience.max(1) + 1, after, chance);
        self.probe = now.saturating_add(millis(wait));
        Some(self.probe)
    }

    /// Something has changed for the better, perhaps: the next probe need not wait.
    pub(super) fn probe_now(&mut self) {
        self.probe = 0;
    }
}

/// The lanes that have jobs.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    lanes: Names<Lane>,
    families: Names<Family>,
}

/// Things by name and by number; numbers that have become free are used again, the lowest first.
#[derive(Debug)]
struct Names<T> {
    names: HashMap<Arc<str>, u32>,
    things: Vec<T>,
    free: BinaryHeap<Reverse<u32>>,
}

impl<T> Default for Names<T> {
    fn default() -> Self {
        Self { names: HashMap::new(), things: Vec::new(), free: BinaryHeap::new() }
    }
}

impl<T> Names<T> {
    fn find(&self, name: &str) -> Option<u32> {
        self.names.get(name).copied()
    }

    /// Takes in a new thing. `renew` makes it of one that has gone, or of none.
    fn add(&mut self, name: Arc<str>, renew: impl FnOnce(Option<&T>) -> T) -> u32 {
        let number = if let Some(Reverse(number)) = self.free.pop() {
            let renewed = renew(Some(&self.things[number as usize]));
            self.things[number as usize] = renewed;
            number
        } else {
            self.things.push(renew(None));
            u32::try_from(self.things.len() - 1).unwrap_or(u32::MAX)
        };
        self.names.insert(name, number);
        number
    }

    fn remove(&mut self, name: &str) {
        if let Some(number) = self.names.remove(name) {
            self.free.push(Reverse(number));
        }
    }
}

impl Lanes {
    /// One job more in the lane of this name.
    pub(super) fn enter(&mut self, name: &str) -> LaneId {
        if let Some(id) = self.lanes.find(name) {
            self.get_mut(id).jobs += 1;
            return id;
        }
        let family = self.join(name.split_once('/').map_or(name, |(family, _)| family));
        let name: Arc<str> = name.into();
        self.lanes.add(name.clone(), |before| Lane {
            name,
            jobs: 1,
            family,
            running: 0,
            allowed: AT_FIRST,
            ready: VecDeque::new(),
            // The queue of turns, and that of who waits for a budget, may still hold the number.
            has_turn: before.is_some_and(|before| before.has_turn),
            lacks_budget: before.is_some_and(|before| before.lacks_budget),
            failures: 0,
            probe: 0,
        })
    }

    fn join(&mut self, name: &str) -> FamilyId {
        if let Some(id) = self.families.find(name) {
            self.families.things[id as usize].lanes += 1;
            return id;
        }
        let name: Arc<str> = name.into();
        self.families.add(name.clone(), |_| Family { name, lanes: 1, running: 0 })
    }

    /// One job less.
    pub(super) fn leave(&mut self, id: LaneId) {
        let lane = self.get_mut(id);
        lane.jobs -= 1;
        if lane.jobs > 0 {
            return;
        }
        lane.ready = VecDeque::new();
        lane.mend();
        let (name, family) = (lane.name.clone(), lane.family);
        self.lanes.remove(&name);
        let family = &mut self.families.things[family as usize];
        family.lanes -= 1;
        if family.lanes == 0 {
            let name = family.name.clone();
            self.families.remove(&name);
        }
    }

    /// Whether the lane may run a job now, when so many workers are free.
    pub(super) fn gate(&self, id: LaneId, policy: &Policy, now: u64, free: usize) -> Gate {
        let lane = self.get(id);
        if !lane.is_open(policy, now) {
            Gate::Shut
        } else if self.families.things[lane.family as usize].running < free.max(1) {
            Gate::Open
        } else {
            Gate::LacksBudget
        }
    }

    /// One of its jobs begins to run.
    pub(super) fn started(&mut self, id: LaneId) {
        let lane = self.get_mut(id);
        lane.running += 1;
        let family = lane.family;
        self.families.things[family as usize].running += 1;
    }

    /// One of its jobs runs no more.
    pub(super) fn stopped(&mut self, id: LaneId) {
        let lane = self.get_mut(id);
        lane.running -= 1;
        let family = lane.family;
        self.families.things[family as usize].running -= 1;
    }

    pub(super) fn get(&self, id: LaneId) -> &Lane {
        &self.lanes.things[id as usize]
    }

    pub(super) fn get_mut(&mut self, id: LaneId) -> &mut Lane {
        &mut self.lanes.things[id as usize]
    }

    /// The lanes that have jobs.
    pub(super) fn ids(&self) -> impl Iterator<Item = LaneId> + use<> {
        self.lanes.names.values().copied().collect::<Vec<_>>().into_iter()
    }

    pub(super) fn statuses(&self, policy: &Policy) -> Vec<LaneStatus> {
        let status = |&id: &LaneId| {
            let lane = self.get(id);
            LaneStatus {
                lane: lane.name.to_string(),
                jobs: lane.jobs,
                running: lane.running,
                failures: lane.failures,
                broken: lane.broken(policy),
            }
        };
        self.lanes.names.values().map(status).collect()
    }
}

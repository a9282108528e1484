//! A lane: whose jobs share a fate.
//!
//! Its *breaker*: after some failures in a row the lane is broken. Then one job at a time is let through as a probe, each after a wait that
//! grows as long as probes fail; the first success mends the lane. Failures of jobs that had started before it broke do not count again.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::millis;
use crate::{LaneStatus, Policy};

pub(super) type LaneId = u32;

#[derive(Debug)]
pub(super) struct Lane {
    pub(super) name: Arc<str>,
    /// Its jobs in any state; with the last one it goes.
    jobs: usize,
    pub(super) running: usize,
    /// Jobs whose turn comes, and places of jobs that have gone elsewhere since.
    pub(super) ready: VecDeque<u64>,
    /// It stands in the queue of turns.
    pub(super) has_turn: bool,
    failures: u32,
    /// A broken lane is not probed before.
    probe: u64,
}

impl Lane {
    /// It has something to run and may run it.
    pub(super) fn open(&self, policy: &Policy, now: u64) -> bool {
        let room = if self.broken(policy) {
            self.running == 0 && now >= self.probe
        } else {
            self.running < policy.concurrency_per_lane.max(1)
        };
        room && !self.ready.is_empty()
    }

    fn broken(&self, policy: &Policy) -> bool {
        self.failures >= policy.patience.max(1)
    }

    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
        self.probe = 0;
    }

    /// Counts a failure. Answers when the lane is to be probed, if it is broken by now.
    pub(super) fn failed(&mut self, policy: &Policy, now: u64, after: Option<Duration>, chance: f64) -> Option<u64> {
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
    names: HashMap<Arc<str>, LaneId>,
    lanes: Vec<Lane>,
    /// Lanes without jobs, to be used again.
    free: BinaryHeap<Reverse<LaneId>>,
}

impl Lanes {
    /// One job more in the lane of this name.
    pub(super) fn enter(&mut self, name: &str) -> LaneId {
        if let Some(&id) = self.names.get(name) {
            self.get_mut(id).jobs += 1;
            return id;
        }
        let name: Arc<str> = name.into();
        let id = if let Some(Reverse(id)) = self.free.pop() {
            // `has_turn` stays: the queue of turns may still hold the id.
            let lane = self.get_mut(id);
            lane.name = name.clone();
            lane.jobs = 1;
            id
        } else {
            let lane = Lane {
                name: name.clone(),
                jobs: 1,
                running: 0,
                ready: VecDeque::new(),
                has_turn: false,
                failures: 0,
                probe: 0,
            };
            self.lanes.push(lane);
            LaneId::try_from(self.lanes.len() - 1).unwrap_or(LaneId::MAX)
        };
        self.names.insert(name, id);
        id
    }

    /// One job less.
    pub(super) fn leave(&mut self, id: LaneId) {
        let lane = self.get_mut(id);
        lane.jobs -= 1;
        if lane.jobs > 0 {
            return;
        }
        lane.ready = VecDeque::new();
        lane.succeeded();
        let name = lane.name.clone();
        self.names.remove(&name);
        self.free.push(Reverse(id));
    }

    pub(super) fn get(&self, id: LaneId) -> &Lane {
        &self.lanes[id as usize]
    }

    pub(super) fn get_mut(&mut self, id: LaneId) -> &mut Lane {
        &mut self.lanes[id as usize]
    }

    /// The lanes that have jobs.
    pub(super) fn ids(&self) -> impl Iterator<Item = LaneId> + use<> {
        self.names.values().copied().collect::<Vec<_>>().into_iter()
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
        self.names.values().map(status).collect()
    }
}

//! Which job may run next: the journal's index, in memory.
//!
//! The journal file holds everything about a job; this holds what decides its turn, for every unfinished job: 41 bytes in the table of
//! jobs, 25 in the table of keys and 8 to 16 in a lane or on the timer. Tables double, so a job costs 80 to 160 bytes; a million queued
//! jobs stay below 160 MB, and taking the next one never asks the file. (Paging from the file would cost less memory and two reads a job,
//! and fairness among lanes would need an index that every write pays for.)
//!
//! Pure: it knows neither file nor clock. `now` and all times are milliseconds on a clock of the caller that never goes back.
//!
//! A confirmed job stands in the chain of its key; only the head of a chain can run. A head is *ready* (it stands in its lane) or it is on
//! the timer. Keys go by a 64-bit hash: if two share one they wait for each other, and nothing else happens. Lanes take turns; inside a
//! lane the order is first in, first out.

mod held;
mod lane;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use crate::{Counts, JobState, LaneStatus, Policy};
use lane::{Gate, LaneId, Lanes};

/// What decides a job's turn. Kept small: there may be millions.
#[derive(Debug)]
struct Entry {
    key: u64,
    /// The next job of the same key; zero is none.
    next: u64,
    due: u64,
    lane: LaneId,
    place: Place,
    /// Its row is being changed: it does not become ready.
    held: bool,
    /// It was redriven while it ran: should it be parked now, that came too late.
    again: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In no chain.
    Reserved,
    /// In a chain, and not ready: behind another job, or before its time.
    Waiting,
    /// The head of its chain, in its lane.
    Ready,
    /// The head of its chain, with a worker.
    Running,
    /// In a chain, and going nowhere.
    Parked,
}

impl Place {
    fn state(self) -> JobState {
        match self {
            Self::Reserved => JobState::Reserved,
            Self::Waiting | Self::Ready => JobState::Waiting,
            Self::Running => JobState::Running,
            Self::Parked => JobState::Parked,
        }
    }
}

/// The jobs of a key: first and last.
#[derive(Debug)]
struct Chain {
    head: u64,
    tail: u64,
}

/// All unfinished jobs, by whose turn it is.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    next_id: u64,
    jobs: HashMap<u64, Entry>,
    chains: HashMap<u64, Chain>,
    lanes: Lanes,
    /// Heads that wait for their time. An entry counts when the job still waits for exactly that time.
    timer: BinaryHeap<Reverse<(u64, u64)>>,
    /// Broken lanes that wait for their probe.
    probes: BinaryHeap<Reverse<(u64, LaneId)>>,
    /// Lanes that may have something to run, in the order of their turns.
    turns: VecDeque<LaneId>,
    /// Lanes that might run something if their family had not so much running.
    short: Vec<LaneId>,
    counts: Counts,
    policy: Policy,
    hasher: RandomState,
}

impl Queue {
    /// The next id: above every other one, and at least `floor`.
    pub(crate) fn allot(&mut self, floor: u64) -> u64 {
        let id = self.next_id.max(floor).max(1);
        self.next_id = id + 1;
        id
    }

    /// Takes over a policy. Nothing stays due later than the policy's longest wait from now.
    pub(crate) fn set_policy(&mut self, policy: Policy, now: u64) {
        self.policy = policy;
        let latest = now.saturating_add(millis(self.policy.backoff_max));
        let mut late = Vec::new();
        for (&id, job) in &mut self.jobs {
            if job.due > latest {
                job.due = latest;
                late.push(id);
            }
        }
        for id in late {
            self.seat(id, now);
        }
        for lane in self.lanes.ids() {
            self.give_turn(lane, now);
        }
    }

    /// Takes in a job that is reserved.
    pub(crate) fn reserve(&mut self, id: u64, key: &str, lane: &str) {
        let lane = self.lanes.enter(lane);
        let key = self.hasher.hash_one(key);
        self.jobs.insert(id, Entry { key, next: 0, due: 0, lane, place: Place::Reserved, held: false, again: false });
        self.next_id = self.next_id.max(id + 1);
        *self.count(JobState::Reserved) += 1;
    }

    /// A reserved job may run from `due` on. False when there is no such reservation.
    pub(crate) fn confirm(&mut self, id: u64, due: u64, now: u64) -> bool {
        let due = due.min(now.saturating_add(millis(self.policy.backoff_max)));
        let Some(job) = self.jobs.get_mut(&id).filter(|job| job.place == Place::Reserved) else { return false };
        job.due = due;
        let key = job.key;
        self.shift(id, Place::Waiting);
        match self.chains.get_mut(&key) {
            Some(chain) => {
                let last = std::mem::replace(&mut chain.tail, id);
                if let Some(last) = self.jobs.get_mut(&last) {
                    last.next = id;
                }
            }
            None => {
                self.chains.insert(key, Chain { head: id, tail: id });
                self.seat(id, now);
            }
        }
        true
    }

    /// A job that is gone, in whatever state it was.
    pub(crate) fn remove(&mut self, id: u64, now: u64) {
        let Some(job) = self.jobs.get(&id) else { return };
        let (key, next, lane, place) = (job.key, job.next, job.lane, job.place);
        *self.count(place.state()) -= 1;
        if place == Place::Running {
            self.lanes.stopped(lane);
            self.give_turns_again(now);
        }
        let led = place != Place::Reserved && self.unchain(id, key, next);
        self.jobs.remove(&id);
        self.shrink();
        self.give_turn(lane, now);
        self.lanes.leave(lane);
        if led && next != 0 {
            self.seat(next, now);
        }
    }

    /// Gives back what a long queue took, once it is short again.
    fn shrink(&mut self) {
        if self.jobs.capacity() > 4096 && self.jobs.len() < self.jobs.capacity() / 8 {
            let room = self.jobs.len() * 2;
            self.jobs.shrink_to(room);
            self.chains.shrink_to(room);
            self.timer.shrink_to(room);
        }
    }

    /// Takes a job out of its chain. True when it was the head.
    fn unchain(&mut self, id: u64, key: u64, next: u64) -> bool {
        let Some(chain) = self.chains.get_mut(&key) else { return false };
        if chain.head == id {
            if next == 0 {
                self.chains.remove(&key);
            } else {
                chain.head = next;
            }
            return true;
        }
        let mut before = chain.head;
        while let Some(job) = self.jobs.get_mut(&before) {
            if job.next == id {
                job.next = next;
                if chain.tail == id {
                    chain.tail = before;
                }
                break;
            }
            before = job.next;
        }
        false
    }

    /// Takes the job whose turn it is.
    pub(crate) fn take(&mut self, now: u64) -> Option<u64> {
        self.ring(now);
        while let Some(lane) = self.turns.pop_front() {
            self.lanes.get_mut(lane).has_turn = false;
            if !self.may_run(lane, now) {
                continue;
            }
            let Some(id) = self.next_ready(lane) else { continue };
            self.shift(id, Place::Running);
            if let Some(job) = self.jobs.get_mut(&id) {
                job.again = false;
            }
            self.lanes.started(lane);
            self.give_turn(lane, now);
            return Some(id);
        }
        None
    }

    /// The first job of a lane that is still ready there; others left their places behind when they went elsewhere.
    fn next_ready(&mut self, lane: LaneId) -> Option<u64> {
        while let Some(id) = self.lanes.get_mut(lane).ready.pop_front() {
            if self.jobs.get(&id).is_some_and(|job| job.place == Place::Ready && job.lane == lane) {
                return Some(id);
            }
        }
        None
    }

    /// Settled: the job is gone and its lane has proved well.
    pub(crate) fn settle(&mut self, id: u64, now: u64) {
        if let Some(job) = self.jobs.get(&id) {
            let lane = job.lane;
            self.lanes.get_mut(lane).succeeded(&self.policy);
            self.give_turn(lane, now);
        }
        self.remove(id, now);
    }

    /// Draws how long a job waits after so many failures.
    pub(crate) fn draw(&self, failures: u32, after: Option<Duration>, chance: f64) -> Duration {
        self.policy.schedule().wait(failures, after, chance)
    }

    /// The job failed and waits until `due`; its lane counts the failure.
    pub(crate) fn postpone(&mut self, id: u64, due: u64, after: Option<Duration>, chance: f64, now: u64) {
        if let Some(lane) = self.stop_running(id, Place::Waiting, now) {
            if let Some(probe) = self.lanes.get_mut(lane).failed(&self.policy, now, after, chance) {
                self.probes.push(Reverse((probe, lane)));
            }
            self.defer(id, due, now);
            self.give_turn(lane, now);
        }
    }

    /// A claim came to nothing, through no fault of the lane: the job waits until `due`.
    pub(crate) fn release(&mut self, id: u64, due: u64, now: u64) {
        if let Some(lane) = self.stop_running(id, Place::Waiting, now) {
            self.defer(id, due, now);
            self.give_turn(lane, now);
        }
    }

    /// When there may be something to take, if nothing happens before: a job's time or a probe's.
    pub(crate) fn next_alarm(&self) -> Option<u64> {
        let job = self.timer.peek().map(|Reverse((at, _))| *at);
        let probe = self.probes.peek().map(|Reverse((at, _))| *at);
        job.into_iter().chain(probe).min()
    }

    pub(crate) fn state(&self, id: u64) -> Option<JobState> {
        self.jobs.get(&id).map(|job| job.place.state())
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    pub(crate) fn lane_statuses(&self) -> Vec<LaneStatus> {
        self.lanes.statuses(&self.policy)
    }

    /// Seats and gives turns for all whose time has come.
    fn ring(&mut self, now: u64) {
        while let Some(&Reverse((at, id))) = self.timer.peek() {
            if at > now {
                break;
            }
            self.timer.pop();
            if self.jobs.get(&id).is_some_and(|job| job.place == Place::Waiting && job.due == at) {
                self.seat(id, now);
            }
        }
        while let Some(&Reverse((at, lane))) = self.probes.peek() {
            if at > now {
                break;
            }
            self.probes.pop();
            self.give_turn(lane, now);
        }
    }

    /// Gives a waiting job another time.
    fn defer(&mut self, id: u64, due: u64, now: u64) {
        let due = due.min(now.saturating_add(millis(self.policy.backoff_max)));
        if let Some(job) = self.jobs.get_mut(&id) {
            job.due = due;
        }
        self.seat(id, now);
    }

    /// Puts the head of a chain where it belongs: into its lane, or on the timer. Any other job stays as it is.
    fn seat(&mut self, id: u64, now: u64) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let heads = self.chains.get(&job.key).is_some_and(|chain| chain.head == id);
        if job.place != Place::Waiting || job.held || !heads {
            return;
        }
        if job.due > now {
            self.timer.push(Reverse((job.due, id)));
            return;
        }
        job.place = Place::Ready;
        let lane = job.lane;
        self.lanes.get_mut(lane).ready.push_back(id);
        self.give_turn(lane, now);
    }

    /// Queues a lane that has something to run and may run it.
    fn give_turn(&mut self, id: LaneId, now: u64) {
        if !self.lanes.get(id).has_turn && self.may_run(id, now) {
            self.lanes.get_mut(id).has_turn = true;
            self.turns.push_back(id);
        }
    }

    /// Whether a lane may run something now. One that lacks nothing but its family's budget is remembered.
    fn may_run(&mut self, id: LaneId, now: u64) -> bool {
        let free = self.policy.concurrency.saturating_sub(self.counts.running);
        match self.lanes.gate(id, &self.policy, now, free) {
            Gate::Open => true,
            Gate::Shut => false,
            Gate::LacksBudget => {
                if !std::mem::replace(&mut self.lanes.get_mut(id).lacks_budget, true) {
                    self.short.push(id);
                }
                false
            }
        }
    }

    /// A job has ended: budgets are larger than they were.
    fn give_turns_again(&mut self, now: u64) {
        for lane in std::mem::take(&mut self.short) {
            self.lanes.get_mut(lane).lacks_budget = false;
            self.give_turn(lane, now);
        }
    }

    fn stop_running(&mut self, id: u64, place: Place, now: u64) -> Option<LaneId> {
        let lane = self.jobs.get(&id).filter(|job| job.place == Place::Running)?.lane;
        self.shift(id, place);
        self.lanes.stopped(lane);
        self.give_turns_again(now);
        Some(lane)
    }

    fn shift(&mut self, id: u64, place: Place) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let before = std::mem::replace(&mut job.place, place).state();
        *self.count(before) -= 1;
        *self.count(place.state()) += 1;
    }

    fn count(&mut self, state: JobState) -> &mut usize {
        match state {
            JobState::Reserved => &mut self.counts.reserved,
            JobState::Waiting => &mut self.counts.waiting,
            JobState::Running => &mut self.counts.running,
            JobState::Parked => &mut self.counts.parked,
        }
    }
}

/// Whole milliseconds.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "queue/tests.rs"]
mod tests;

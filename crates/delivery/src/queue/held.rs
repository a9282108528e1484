//! What does not run by itself: jobs that are parked or held, and how they come back: by a call for one, for its lane, or in another lane.

use super::{Entry, LaneId, Place, Queue};

impl Queue {
    /// The job stays until it is redriven. True when it was while it ran: then it waits, due now.
    pub(crate) fn park(&mut self, id: u64, now: u64) -> bool {
        let again = self.jobs.get(&id).is_some_and(|job| job.again);
        if let Some(lane) = self.stop_running(id, if again { Place::Waiting } else { Place::Parked }, now) {
            if again {
                self.defer(id, now, now);
            }
            self.give_turn(lane, now);
        }
        again
    }

    /// Takes in that a reserved job is parked: it was when the journal was read.
    pub(crate) fn park_reserved(&mut self, id: u64, now: u64) {
        if self.confirm(id, u64::MAX, now) {
            self.shift(id, Place::Parked);
        }
    }

    /// Makes a waiting or parked job due now and lets its lane be probed. False for any other job; one that runs is not parked by this attempt.
    pub(crate) fn redrive(&mut self, id: u64, now: u64) -> bool {
        let Some(job) = self.jobs.get_mut(&id) else { return false };
        let lane = job.lane;
        job.again = job.place == Place::Running;
        match job.place {
            Place::Reserved | Place::Running => return false,
            Place::Ready => {}
            Place::Parked | Place::Waiting => {
                self.shift(id, Place::Waiting);
                self.defer(id, now, now);
            }
        }
        self.lanes.get_mut(lane).probe_now();
        self.give_turn(lane, now);
        true
    }

    /// Makes all waiting jobs of these lanes due now and lets the lanes be probed. Parked jobs stay. Answers the jobs that moved.
    pub(crate) fn make_due(&mut self, concerns: impl Fn(&str) -> bool, now: u64) -> Vec<u64> {
        let lanes: Vec<LaneId> = self.lanes.ids().filter(|&id| concerns(&self.lanes.get(id).name)).collect();
        if lanes.is_empty() {
            return Vec::new();
        }
        let late = |job: &Entry| job.place == Place::Waiting && job.due > now && lanes.contains(&job.lane);
        let mut ids: Vec<u64> = self.jobs.iter().filter(|(_, job)| late(job)).map(|(&id, _)| id).collect();
        ids.sort_unstable();
        for &id in &ids {
            self.defer(id, now, now);
        }
        for lane in lanes {
            self.lanes.get_mut(lane).probe_now();
            self.give_turn(lane, now);
        }
        ids
    }

    /// All jobs of these lanes that were confirmed, the oldest first.
    pub(crate) fn of_lanes(&self, concerns: impl Fn(&str) -> bool) -> Vec<u64> {
        let lanes: Vec<LaneId> = self.lanes.ids().filter(|&id| concerns(&self.lanes.get(id).name)).collect();
        let of_them = |job: &Entry| job.place != Place::Reserved && lanes.contains(&job.lane);
        let mut ids: Vec<u64> = match lanes.is_empty() {
            true => Vec::new(),
            false => self.jobs.iter().filter(|(_, job)| of_them(job)).map(|(&id, _)| id).collect(),
        };
        ids.sort_unstable();
        ids
    }

    /// Moves a job to another lane. False when it runs, or is unknown.
    pub(crate) fn change_lane(&mut self, id: u64, lane: &str, now: u64) -> bool {
        let Some(job) = self.jobs.get(&id).filter(|job| job.place != Place::Running) else { return false };
        let (from, place) = (job.lane, job.place);
        let to = self.lanes.enter(lane);
        if let Some(job) = self.jobs.get_mut(&id) {
            job.lane = to;
            if place == Place::Ready {
                job.place = Place::Waiting;
            }
        }
        self.lanes.leave(from);
        if place == Place::Ready {
            self.seat(id, now);
        }
        true
    }

    /// Keeps a job from being taken. False when it runs, is held already, or is unknown.
    pub(crate) fn hold(&mut self, id: u64) -> bool {
        let Some(job) = self.jobs.get_mut(&id).filter(|job| job.place != Place::Running && !job.held) else {
            return false;
        };
        job.held = true;
        if job.place == Place::Ready {
            job.place = Place::Waiting;
        }
        true
    }

    /// A held job takes its place again.
    pub(crate) fn let_go(&mut self, id: u64, now: u64) {
        if let Some(job) = self.jobs.get_mut(&id) {
            job.held = false;
        }
        self.seat(id, now);
    }
}

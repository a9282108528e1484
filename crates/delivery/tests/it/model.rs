//! The journal against a model of it: random verbs, a clock that is moved by hand, and what can be seen compared after each.
//!
//! The model is a plain list of jobs. It knows which jobs *may* be claimed; whose turn it is among them is a matter of fairness, which has
//! tests of its own.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use delivery::{Claim, Clock, Counts, FileId, JobError, JobId, JobState, Journal, NewJob, Policy};
use proptest::prelude::*;
use tokio::time::Instant;

use crate::child;

const POLICY: Policy = Policy {
    backoff_min: Duration::from_secs(2),
    backoff_max: Duration::from_secs(100),
    concurrency: 5,
    concurrency_per_lane: 2,
    patience: u32::MAX,
};

/// Both clocks, moved by hand.
#[derive(Debug)]
struct Hands {
    start: Instant,
    /// Milliseconds since the start.
    now: AtomicU64,
    /// What the time of day is ahead of that.
    wall: AtomicI64,
}

impl Hands {
    fn wall_ms(&self) -> i64 {
        self.now_ms() as i64 + self.wall.load(Ordering::Relaxed)
    }

    fn now_ms(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }
}

impl Clock for Hands {
    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(self.wall_ms().unsigned_abs())
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_millis(self.now_ms())
    }
}

/// What happens next. Numbers choose among what there is.
#[derive(Debug, Clone)]
enum Verb {
    Reserve { key: u8, lane: u8, scope: u8, payload: Option<u8>, keep: bool },
    Enqueue { key: u8, lane: u8, scope: u8 },
    Confirm(usize),
    Forget(usize),
    Cancel(usize),
    Claim,
    Settle(usize),
    Postpone { claim: usize, after: Option<u16> },
    Bury(usize),
    GiveBack(usize),
    Redrive { scope: u8, one: Option<usize> },
    MakeDue(u8),
    Update { job: usize, lane: u8 },
    Advance(u32),
    SetWall(i32),
    Reopen,
}

fn verb() -> impl Strategy<Value = Verb> {
    let job = any::<usize>();
    let payload = (prop::option::of(0..3_u8), prop::bool::weighted(0.2));
    prop_oneof![
        6 => (0..3_u8, 0..3_u8, 0..2_u8, payload)
            .prop_map(|(key, lane, scope, (payload, keep))| Verb::Reserve { key, lane, scope, payload, keep }),
        2 => (0..3_u8, 0..3_u8, 0..2_u8).prop_map(|(key, lane, scope)| Verb::Enqueue { key, lane, scope }),
        6 => job.prop_map(Verb::Confirm),
        1 => job.prop_map(Verb::Forget),
        2 => job.prop_map(Verb::Cancel),
        8 => Just(Verb::Claim),
        3 => job.prop_map(Verb::Settle),
        4 => (job, prop::option::of(0..200_u16)).prop_map(|(claim, after)| Verb::Postpone { claim, after }),
        1 => job.prop_map(Verb::Bury),
        1 => job.prop_map(Verb::GiveBack),
        1 => (0..2_u8, prop::option::of(job)).prop_map(|(scope, one)| Verb::Redrive { scope, one }),
        1 => (0..3_u8).prop_map(Verb::MakeDue),
        2 => (job, 0..3_u8).prop_map(|(job, lane)| Verb::Update { job, lane }),
        3 => (0..60_000_u32).prop_map(Verb::Advance),
        1 => (-200_000..200_000_i32).prop_map(Verb::SetWall),
        2 => Just(Verb::Reopen),
    ]
}

/// A job as the model sees it.
#[derive(Debug, Clone)]
struct Known {
    key: u8,
    lane: String,
    scope: String,
    payload: Option<FileId>,
    keep: bool,
    state: JobState,
    /// By the clock that never goes back, while it waits.
    due: u64,
    /// As written down.
    due_wall: i64,
    attempts: u32,
    /// It was redriven while it ran.
    again: bool,
    /// When it was confirmed, among all.
    turn: usize,
}

struct World {
    clock: Arc<Hands>,
    folder: tempfile::TempDir,
    journal: Journal,
    claims: Vec<Claim>,
    jobs: BTreeMap<JobId, Known>,
    turns: usize,
    /// How much of a lane may run at once, where that is other than at first.
    allowed: HashMap<String, usize>,
}

impl World {
    fn new() -> Self {
        let clock = Hands { start: Instant::now(), now: AtomicU64::new(0), wall: AtomicI64::new(1_700_000_000_000) };
        let (clock, folder) = (Arc::new(clock), child::folder());
        let journal = open(&folder, &clock);
        Self { clock, folder, journal, claims: Vec::new(), jobs: BTreeMap::new(), turns: 0, allowed: HashMap::new() }
    }

    /// Some job in one of these states.
    fn pick(&self, number: usize, states: &[JobState]) -> Option<JobId> {
        let fitting: Vec<JobId> =
            self.jobs.iter().filter(|(_, job)| states.contains(&job.state)).map(|(&id, _)| id).collect();
        (!fitting.is_empty()).then(|| fitting[number % fitting.len()])
    }

    fn pick_claim(&mut self, number: usize) -> Option<Claim> {
        (!self.claims.is_empty()).then(|| self.claims.swap_remove(number % self.claims.len()))
    }

    /// The jobs that may be claimed now.
    fn claimable(&self) -> Vec<JobId> {
        let running = |of: &str| {
            self.jobs.values().filter(|job| job.lane.starts_with(of) && job.state == JobState::Running).count()
        };
        let budget = POLICY.concurrency.saturating_sub(running("")).max(1);
        let first = |key: u8| {
            let chain = self.jobs.iter().filter(|(_, job)| job.key == key && job.state != JobState::Reserved);
            chain.min_by_key(|(_, job)| job.turn).map(|(&id, _)| id)
        };
        let may = |(id, job): (&JobId, &Known)| {
            let ready = job.state == JobState::Waiting && job.due <= self.clock.now_ms() && first(job.key) == Some(*id);
            let allowed = self.allowed.get(&job.lane).copied().unwrap_or(POLICY.concurrency_per_lane);
            (ready && running(&job.lane) < allowed && running(family(&job.lane)) < budget).then_some(*id)
        };
        self.jobs.iter().filter_map(may).collect()
    }

    fn take_in(&mut self, id: JobId, new: &NewJob, key: u8, state: JobState) {
        self.turns += 1;
        let known = Known {
            key,
            lane: new.lane.clone(),
            scope: new.scope.clone(),
            payload: new.payload.clone(),
            keep: new.keep_payload,
            state,
            due: 0,
            due_wall: self.clock.wall_ms(),
            attempts: 0,
            again: false,
            turn: self.turns,
        };
        assert!(self.jobs.insert(id, known).is_none(), "{id} was used twice");
    }

    /// The job goes; answers the file that goes with it.
    fn remove(&mut self, id: JobId) -> Option<FileId> {
        let gone = self.jobs.remove(&id).unwrap();
        let file = gone.payload.filter(|_| !gone.keep)?;
        (!self.jobs.values().any(|job| job.payload.as_ref() == Some(&file))).then_some(file)
    }

    async fn happen(&mut self, verb: Verb) {
        use JobState::{Parked, Reserved, Running, Waiting};
        let (now, wall) = (self.clock.now_ms(), self.clock.wall_ms());
        match verb {
            Verb::Reserve { key, lane, scope, payload, keep } => {
                let payload = payload.map(|n| format!("{n:032x}").parse().unwrap());
                let new = NewJob { payload, keep_payload: keep, ..job(key, lane, scope) };
                let id = self.journal.reserve(new.clone()).await.unwrap();
                self.take_in(id, &new, key, Reserved);
            }
            Verb::Enqueue { key, lane, scope } => {
                let new = job(key, lane, scope);
                let id = self.journal.enqueue(new.clone()).await.unwrap();
                self.take_in(id, &new, key, Waiting);
            }
            Verb::Confirm(number) => {
                let Some(id) = self.pick(number, &[Reserved, Waiting, Parked]) else { return };
                self.journal.confirm(id);
                self.turns += 1;
                let job = self.jobs.get_mut(&id).unwrap();
                if job.state == Reserved {
                    (job.state, job.due, job.turn) = (Waiting, 0, self.turns);
                }
            }
            Verb::Forget(number) => {
                let Some(id) = self.pick(number, &[Reserved, Waiting]) else { return };
                self.journal.forget(id);
                if self.jobs[&id].state == Reserved {
                    self.remove(id);
                }
            }
            Verb::Cancel(number) => {
                let Some(id) = self.pick(number, &[Reserved, Waiting, Parked, Running]) else { return };
                let cancelled = self.journal.cancel(id).await;
                if self.jobs[&id].state == Running {
                    assert!(matches!(cancelled, Err(delivery::Error::Running)), "{cancelled:?}");
                } else {
                    assert_eq!(cancelled.unwrap(), self.remove(id));
                    assert_eq!(self.journal.cancel(id).await.unwrap(), None, "nothing twice");
                }
            }
            Verb::Claim => {
                let claimable = self.claimable();
                let claim = self.journal.claim().await.unwrap();
                assert_eq!(claim.is_none(), claimable.is_empty(), "{claimable:?}");
                let Some(claim) = claim else { return };
                assert!(claimable.contains(&claim.job().id), "{:?} is not of {claimable:?}", claim.job());
                let job = self.jobs.get_mut(&claim.job().id).unwrap();
                (job.state, job.again) = (Running, false);
                assert_eq!((claim.job().attempts, &claim.job().lane), (job.attempts, &job.lane));
                self.claims.push(claim);
            }
            Verb::Settle(number) => {
                let Some(mut claim) = self.pick_claim(number) else { return };
                self.allow(&claim.job().lane, |allowed| allowed + 1);
                let file = claim.settle().await.unwrap();
                assert_eq!(file, self.remove(claim.job().id));
            }
            Verb::Postpone { claim, after } => {
                let Some(claim) = self.pick_claim(claim) else { return };
                let after = after.map(|seconds| Duration::from_secs(seconds.into()));
                self.allow(&claim.job().lane, |allowed| allowed / 2);
                let job = self.jobs.get_mut(&claim.job().id).unwrap();
                let wait = claim.postpone(fault(), after).await.unwrap();
                assert!(
                    wait >= after.unwrap_or_default().min(POLICY.backoff_max) && wait <= POLICY.backoff_max,
                    "{wait:?}"
                );
                let wait = wait.as_millis() as u64;
                (job.state, job.due, job.due_wall) = (Waiting, now + wait, wall + wait as i64);
                job.attempts += 1;
            }
            Verb::Bury(number) => {
                let Some(claim) = self.pick_claim(number) else { return };
                let job = self.jobs.get_mut(&claim.job().id).unwrap();
                claim.bury(fault()).await.unwrap();
                (job.state, job.due_wall) = (Parked, wall);
                if job.again {
                    (job.state, job.due) = (Waiting, now);
                }
                job.attempts += 1;
            }
            Verb::GiveBack(number) => {
                let Some(claim) = self.pick_claim(number) else { return };
                let job = self.jobs.get_mut(&claim.job().id).unwrap();
                drop(claim);
                (job.state, job.due) = (Waiting, now);
            }
            Verb::Redrive { scope, one } => {
                let scope = format!("scope {scope}");
                let ids = one.and_then(|number| self.pick(number, &[Reserved, Waiting, Parked, Running]));
                let asked = |id: &JobId| ids.is_none_or(|one| one == *id);
                let mut moved = 0;
                for (_, job) in self.jobs.iter_mut().filter(|(id, job)| job.scope == scope && asked(id)) {
                    match job.state {
                        Waiting | Parked => {
                            (job.state, job.due, job.due_wall, moved) = (Waiting, job.due.min(now), wall, moved + 1)
                        }
                        // The file may be told; the claim decides.
                        Running => (job.due_wall, job.again) = (wall, true),
                        Reserved => {}
                    }
                    if job.state == Waiting {
                        job.due = now;
                    }
                }
                assert_eq!(self.journal.redrive(&scope, ids.map(|id| vec![id])).await.unwrap(), moved);
            }
            Verb::MakeDue(lane) => {
                let lane = lane_name(lane);
                let late = |job: &&mut Known| job.lane == lane && job.state == Waiting && job.due > now;
                let mut moved = 0;
                for job in self.jobs.values_mut().filter(late) {
                    (job.due, job.due_wall) = (now, job.due_wall.min(wall));
                    moved += 1;
                }
                assert_eq!(self.journal.make_due(&lane).await.unwrap(), moved);
            }
            Verb::Update { job, lane } => {
                let Some(id) = self.pick(job, &[Reserved, Waiting, Parked, Running]) else { return };
                let updated = self.journal.update_body(id, b"new".to_vec(), lane_name(lane)).await;
                let job = self.jobs.get_mut(&id).unwrap();
                if job.state == Running {
                    assert!(matches!(updated, Err(delivery::Error::Running)), "{updated:?}");
                } else {
                    updated.unwrap();
                    job.lane = lane_name(lane);
                }
            }
            Verb::Advance(ms) => {
                self.clock.now.fetch_add(ms.into(), Ordering::Relaxed);
            }
            Verb::SetWall(ms) => {
                self.clock.wall.fetch_add(ms.into(), Ordering::Relaxed);
            }
            Verb::Reopen => self.reopen().await,
        }
        // What was known of a lane goes with its last job.
        self.allowed.retain(|lane, _| self.jobs.values().any(|job| job.lane == *lane));
    }

    fn allow(&mut self, lane: &str, change: impl FnOnce(usize) -> usize) {
        let allowed = self.allowed.entry(lane.to_owned()).or_insert(POLICY.concurrency_per_lane);
        *allowed = change(*allowed).clamp(1, POLICY.concurrency_per_lane);
    }

    async fn reopen(&mut self) {
        // The process ends: its claims are forgotten, not given back one by one.
        self.journal.close().await;
        self.claims.clear();
        self.allowed.clear();
        self.journal = open(&self.folder, &self.clock);
        let (now, wall) = (self.clock.now_ms(), self.clock.wall_ms());
        let longest = POLICY.backoff_max.as_millis() as i64;
        for (turn, job) in self.jobs.values_mut().enumerate() {
            if job.state == JobState::Running {
                job.state = JobState::Waiting;
            }
            job.due = now + (job.due_wall - wall).clamp(0, longest) as u64;
            // What was confirmed stands in the order of ids now.
            job.turn = turn;
        }
        self.turns = self.jobs.len();
    }

    /// In the end everything that was confirmed can be run.
    async fn finish(&mut self) {
        self.claims.clear();
        for scope in ["scope 0", "scope 1"] {
            self.journal.redrive(scope, None).await.unwrap();
        }
        self.jobs.retain(|_, job| job.state != JobState::Reserved);
        while let Some(mut claim) = self.journal.claim().await.unwrap() {
            assert!(self.jobs.remove(&claim.job().id).is_some());
            claim.settle().await.unwrap();
        }
        assert!(self.jobs.is_empty(), "never run: {:?}", self.jobs);
    }

    /// Everything that can be seen from outside.
    async fn compare(&self) {
        let count = |state| self.jobs.values().filter(|job| job.state == state).count();
        let counts = Counts {
            reserved: count(JobState::Reserved),
            waiting: count(JobState::Waiting),
            running: count(JobState::Running),
            parked: count(JobState::Parked),
        };
        assert_eq!(self.journal.counts(), counts);
        let reserved: Vec<JobId> = self.journal.reservations().await.unwrap().iter().map(|job| job.id).collect();
        let expected: Vec<JobId> =
            self.jobs.iter().filter(|(_, job)| job.state == JobState::Reserved).map(|(&id, _)| id).collect();
        assert_eq!(reserved, expected);
        for scope in ["scope 0", "scope 1"] {
            let (mut seen, mut start) = (Vec::new(), None);
            loop {
                let page = self.journal.list(scope, start, 3).await.unwrap();
                assert!(page.jobs.len() <= 3);
                seen.extend(
                    page.jobs.into_iter().map(|job| (job.id, job.state, job.attempts, job.lane, job.next_attempt)),
                );
                start = page.next;
                if start.is_none() {
                    break;
                }
            }
            let listed = |(&id, job): (&JobId, &Known)| {
                let shown = job.scope == scope && job.state != JobState::Reserved;
                let next = (job.state == JobState::Waiting).then_some(job.due_wall);
                shown.then(|| (id, job.state, job.attempts, job.lane.clone(), next))
            };
            assert_eq!(seen, self.jobs.iter().filter_map(listed).collect::<Vec<_>>());
        }
        let files = self.jobs.values().filter_map(|job| job.payload.clone()).collect();
        assert_eq!(self.journal.payloads().await.unwrap(), files);
    }
}

/// Two of one family, and one of another.
fn lane_name(lane: u8) -> String {
    format!("{}/{lane}", if lane < 2 { "many" } else { "one" })
}

fn family(lane: &str) -> &str {
    lane.split_once('/').unwrap().0
}

fn open(folder: &tempfile::TempDir, clock: &Arc<Hands>) -> Journal {
    let journal = Journal::open(&folder.path().join("journal.db"), clock.clone()).unwrap();
    journal.set_policy(POLICY);
    journal
}

fn job(key: u8, lane: u8, scope: u8) -> NewJob {
    NewJob {
        kind: "kind".into(),
        key: key.to_string(),
        lane: lane_name(lane),
        scope: format!("scope {scope}"),
        ..NewJob::default()
    }
}

fn fault() -> JobError {
    JobError { code: "code".into(), message: "message".into(), http_status: Some(503) }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_journal_does_as_the_model(verbs in prop::collection::vec(verb(), 1..120)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new();
            for verb in verbs {
                world.happen(verb).await;
                // Lazy writes come before this one, and are then in the file that lists are read from.
                assert_eq!(world.journal.redrive("nobody", None).await.unwrap(), 0);
                world.compare().await;
            }
            world.finish().await;
        });
    }
}

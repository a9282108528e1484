//! The workers: they deliver everything, in order, fairly, and stop when they are told.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use delivery::{
    Counts, Job, JobError, JobState, Journal, NewJob, Outcome, Policy, Runner, Spool, SystemClock, Workers,
};
use tokio::sync::Semaphore;

use crate::child;

const QUICK: Policy = Policy {
    backoff_min: Duration::from_millis(1),
    backoff_max: Duration::from_millis(20),
    concurrency: 8,
    concurrency_per_lane: 4,
    patience: 5,
};

/// Runs jobs as a closure says, and counts.
struct Script<F> {
    outcome: F,
    /// Jobs wait for a permit here before they end.
    gate: Arc<Semaphore>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    running: HashMap<String, usize>,
    most: HashMap<String, usize>,
    order: Vec<String>,
}

impl<F> Script<F> {
    fn new(outcome: F) -> Arc<Self> {
        Arc::new(Self { outcome, gate: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)), seen: Mutex::default() })
    }

    fn order(&self) -> Vec<String> {
        self.seen.lock().unwrap().order.clone()
    }
}

#[async_trait]
impl<F: Fn(&Job) -> Outcome + Send + Sync + 'static> Runner for Script<F> {
    async fn run(&self, job: &Job) -> Outcome {
        let enter = |name: &str, by: isize| {
            let mut seen = self.seen.lock().unwrap();
            let running = seen.running.entry(name.into()).or_default();
            *running = running.checked_add_signed(by).unwrap();
            let running = *running;
            let most = seen.most.entry(name.into()).or_default();
            *most = running.max(*most);
        };
        for name in [job.lane.as_str(), job.key.as_str(), "all"] {
            enter(name, 1);
        }
        self.gate.acquire().await.unwrap().forget();
        tokio::task::yield_now().await;
        for name in [job.lane.as_str(), job.key.as_str(), "all"] {
            enter(name, -1);
        }
        let outcome = (self.outcome)(job);
        if outcome == Outcome::Done {
            self.seen.lock().unwrap().order.push(String::from_utf8(job.body.clone()).unwrap());
        }
        outcome
    }
}

struct Place {
    folder: tempfile::TempDir,
    journal: Arc<Journal>,
    spool: Arc<Spool>,
}

impl Place {
    fn new() -> Self {
        let folder = child::folder();
        let (journal, spool) = Self::open(&folder);
        Self { folder, journal, spool }
    }

    fn open(folder: &tempfile::TempDir) -> (Arc<Journal>, Arc<Spool>) {
        let journal = Journal::open(&folder.path().join("journal.db"), Arc::new(SystemClock)).unwrap();
        (Arc::new(journal), Arc::new(Spool::open(&folder.path().join("spool")).unwrap()))
    }

    fn work(&self, runner: Arc<dyn Runner>, policy: Policy) -> Workers {
        Workers::start(self.journal.clone(), self.spool.clone(), runner, policy)
    }

    async fn until(&self, done: impl Fn(Counts) -> bool) {
        while !done(self.journal.counts()) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn empty(&self) {
        self.until(|counts| counts == Counts::default()).await;
    }

    async fn file(&self) -> delivery::FileId {
        let mut partial = self.spool.begin().unwrap();
        partial.write(Bytes::from_static(b"payload")).await.unwrap();
        partial.finish().await.unwrap().publish().await.unwrap()
    }
}

fn job(key: &str, lane: &str, body: &str) -> NewJob {
    NewJob { key: key.into(), lane: lane.into(), scope: "s".into(), body: body.into(), ..NewJob::default() }
}

fn fault() -> JobError {
    JobError { code: "no".into(), message: "not today".into(), http_status: None }
}

#[tokio::test]
async fn what_is_done_takes_its_payload_with_it() {
    let place = Place::new();
    let (goes, stays) = (place.file().await, place.file().await);
    let runner = Script::new(|_: &Job| Outcome::Done);
    let workers = place.work(runner, QUICK);
    place.journal.enqueue(NewJob { payload: Some(goes.clone()), ..job("1", "a", "1") }).await.unwrap();
    place
        .journal
        .enqueue(NewJob { payload: Some(stays.clone()), keep_payload: true, ..job("2", "a", "2") })
        .await
        .unwrap();
    place.empty().await;
    while place.spool.files().unwrap().contains(&goes) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(place.spool.files().unwrap(), [stays]);
    assert_eq!(workers.drain(Duration::from_secs(10)).await.cut, 0);
}

#[tokio::test]
async fn failures_and_panics_are_tried_again_and_written_down() {
    let place = Place::new();
    let tries = AtomicUsize::new(0);
    let runner = Script::new(move |_: &Job| match tries.fetch_add(1, Ordering::Relaxed) {
        0 => std::panic::resume_unwind(Box::new("a fault of the runner")),
        1..8 => Outcome::Postpone { error: fault(), after: Some(Duration::from_millis(1)) },
        8 => Outcome::Park { error: fault() },
        _ => Outcome::Done,
    });
    let workers = place.work(runner.clone(), QUICK);
    let id = place.journal.enqueue(job("k", "a", "body")).await.unwrap();
    place.until(|counts| counts.parked == 1).await;
    let parked = place.journal.get(id).await.unwrap().unwrap();
    assert_eq!((parked.state, parked.attempts, parked.last_error), (JobState::Parked, 9, Some(fault())));
    assert_eq!(place.journal.redrive("s", None).await.unwrap(), 1);
    place.empty().await;
    assert_eq!(runner.order(), ["body"]);
    workers.drain(Duration::from_secs(10)).await;
}

#[tokio::test]
async fn what_is_held_was_not_tried_and_comes_back_by_its_lane_or_its_reason() {
    let place = Place::new();
    let open = Arc::new(AtomicBool::new(false));
    let opened = open.clone();
    let runner = Script::new(move |_: &Job| match opened.load(Ordering::Relaxed) {
        true => Outcome::Done,
        false => Outcome::Hold { error: fault() },
    });
    let workers = place.work(runner.clone(), QUICK);
    let mut ids = Vec::new();
    for lane in ["one/h", "two/h", "two/other"] {
        ids.push(place.journal.enqueue(job(lane, lane, lane)).await.unwrap());
    }
    place.until(|counts| counts.parked == 3).await;
    let held = place.journal.get(ids[0]).await.unwrap().unwrap();
    assert_eq!((held.state, held.attempts, held.last_error), (JobState::Parked, 0, Some(fault())));
    assert_eq!(place.journal.redrive_lanes("three/*").await.unwrap(), 0);
    open.store(true, Ordering::Relaxed);
    assert_eq!(place.journal.redrive_lanes("*/h").await.unwrap(), 2);
    place.until(|counts| counts.parked == 1 && counts.waiting == 0 && counts.running == 0).await;
    assert_eq!(place.journal.redrive_parked("other reason").await.unwrap(), 0);
    assert_eq!(place.journal.redrive_parked(&fault().code).await.unwrap(), 1);
    place.empty().await;
    assert_eq!(runner.order().len(), 3);
    workers.drain(Duration::from_secs(10)).await;
}

#[tokio::test]
async fn who_redrives_a_job_that_runs_is_heard_although_it_ends_parked() {
    let place = Place::new();
    let tries = AtomicUsize::new(0);
    let runner = Script::new(move |_: &Job| match tries.fetch_add(1, Ordering::Relaxed) {
        0 => Outcome::Park { error: fault() },
        _ => Outcome::Done,
    });
    runner.gate.forget_permits(Semaphore::MAX_PERMITS);
    let workers = place.work(runner.clone(), QUICK);
    place.journal.enqueue(job("k", "a", "body")).await.unwrap();
    place.until(|counts| counts.running == 1).await;
    assert_eq!(place.journal.redrive("s", None).await.unwrap(), 0);
    runner.gate.add_permits(2);
    place.empty().await;
    assert_eq!(runner.order(), ["body"]);
    workers.drain(Duration::from_secs(10)).await;
}

#[tokio::test]
async fn limits_hold_and_keys_keep_their_order() {
    let place = Place::new();
    let runner = Script::new(|_: &Job| Outcome::Done);
    for n in 0..200 {
        place
            .journal
            .enqueue(job(&format!("key {}", n % 7), &format!("lane {}", n % 3), &n.to_string()))
            .await
            .unwrap();
    }
    let workers = place.work(runner.clone(), QUICK);
    place.empty().await;
    workers.drain(Duration::from_secs(10)).await;
    let order: Vec<usize> = runner.order().iter().map(|body| body.parse().unwrap()).collect();
    for key in 0..7 {
        let of_key: Vec<usize> = order.iter().copied().filter(|n| n % 7 == key).collect();
        assert!(of_key.is_sorted(), "{of_key:?}");
    }
    let seen = runner.seen.lock().unwrap();
    assert!(seen.most["all"] <= QUICK.concurrency && seen.most["all"] > 1, "{:?}", seen.most);
    assert!((0..3).all(|lane| seen.most[&format!("lane {lane}")] <= QUICK.concurrency_per_lane), "{:?}", seen.most);
    assert!((0..7).all(|key| seen.most[&format!("key {key}")] == 1), "{:?}", seen.most);
}

#[tokio::test]
async fn a_failing_lane_does_not_hold_up_another() {
    let place = Place::new();
    let runner = Script::new(|job: &Job| match job.lane.as_str() {
        "bad" => Outcome::Postpone { error: fault(), after: None },
        _ => Outcome::Done,
    });
    for n in 0..50 {
        place.journal.enqueue(job(&format!("b{n}"), "bad", "b")).await.unwrap();
    }
    let workers = place.work(runner.clone(), Policy { backoff_max: Duration::from_secs(60), ..QUICK });
    for n in 0..50 {
        place.journal.enqueue(job(&format!("g{n}"), "good", "g")).await.unwrap();
    }
    while runner.order().len() < 50 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    workers.drain(Duration::from_secs(10)).await;
    assert_eq!(place.journal.counts().waiting, 50);
    let bad = &place.journal.lanes()[0];
    assert!(bad.lane == "bad" && bad.broken, "{bad:?}");
}

#[tokio::test]
async fn a_drain_finishes_what_runs_and_leaves_the_rest() {
    let place = Place::new();
    let runner = Script::new(|_: &Job| Outcome::Done);
    let gate = runner.gate.clone();
    gate.forget_permits(Semaphore::MAX_PERMITS);
    for n in 0..20 {
        place.journal.enqueue(job(&n.to_string(), &n.to_string(), "b")).await.unwrap();
    }
    let workers = place.work(runner.clone(), QUICK);
    place.until(|counts| counts.running == QUICK.concurrency).await;
    let drain = tokio::spawn(workers.drain(Duration::from_secs(60)));
    tokio::task::yield_now().await;
    gate.add_permits(1000);
    assert_eq!(drain.await.unwrap().cut, 0);
    assert_eq!((runner.order().len(), place.journal.counts().waiting), (8, 12));
}

#[tokio::test]
async fn a_drain_that_takes_too_long_cuts_and_what_was_cut_runs_at_the_next_start() {
    let mut place = Place::new();
    let stuck = Script::new(|_: &Job| Outcome::Done);
    stuck.gate.forget_permits(Semaphore::MAX_PERMITS);
    for n in 0..3 {
        place.journal.enqueue(job(&n.to_string(), "a", &n.to_string())).await.unwrap();
    }
    let workers = place.work(stuck, QUICK);
    place.until(|counts| counts.running == 3).await;
    assert_eq!(workers.drain(Duration::from_millis(1)).await.cut, 3);
    assert_eq!(place.journal.counts(), Counts { waiting: 3, ..Counts::default() });
    place.journal.close().await;
    (place.journal, place.spool) = Place::open(&place.folder);
    let runner = Script::new(|_: &Job| Outcome::Done);
    let workers = place.work(runner.clone(), QUICK);
    place.empty().await;
    workers.drain(Duration::from_secs(10)).await;
    let mut order = runner.order();
    order.sort();
    assert_eq!(order, ["0", "1", "2"]);
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused() {
    let place = Place::new();
    let large = NewJob { body: vec![0; delivery::BODY_LIMIT + 1], ..job("k", "a", "") };
    assert!(matches!(place.journal.reserve(large.clone()).await, Err(delivery::Error::TooLarge(65537))));
    let id = place.journal.reserve(NewJob { body: vec![0; delivery::BODY_LIMIT], ..large }).await.unwrap();
    assert!(place.journal.update_body(id, vec![0; delivery::BODY_LIMIT + 1], "a").await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_jobs_are_delivered() {
    let place = Place::new();
    let started = std::time::Instant::now();
    let handed_in: Vec<_> = (0..10_000)
        .map(|n| {
            let journal = place.journal.clone();
            tokio::spawn(async move { journal.enqueue(job(&n.to_string(), &(n % 50).to_string(), "b")).await })
        })
        .collect();
    for task in handed_in {
        task.await.unwrap().unwrap();
    }
    let queued = started.elapsed();
    let runner = Script::new(|_: &Job| Outcome::Done);
    let workers = place.work(runner.clone(), Policy { concurrency: 32, ..QUICK });
    place.empty().await;
    // For who reads along: a test has no opinion on speed.
    println!("10,000 jobs: handed in within {queued:?}, delivered within {:?}", started.elapsed() - queued);
    assert_eq!(runner.order().len(), 10_000);
    workers.drain(Duration::from_secs(10)).await;
}

#[tokio::test]
async fn what_a_runner_notes_is_known_to_the_next_attempt_also_after_a_restart() {
    let mut place = Place::new();
    place.journal.enqueue(job("k", "a", "at first")).await.unwrap();
    let claim = place.journal.claim().await.unwrap().unwrap();
    place.journal.note(claim.job(), b"noted".to_vec()).await.unwrap();
    let known = claim.job().clone();
    // The process ends before anything is said of the job.
    place.journal.close().await;
    drop(claim);
    (place.journal, place.spool) = Place::open(&place.folder);
    assert!(
        matches!(place.journal.note(&known, b"late".to_vec()).await, Err(delivery::Error::Unknown)),
        "it does not run"
    );
    let claim = place.journal.claim().await.unwrap().unwrap();
    assert_eq!((claim.job().body.as_slice(), claim.job().lane.as_str()), (&b"noted"[..], "a"));
}

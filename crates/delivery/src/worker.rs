//! The workers: they claim, run, and say what became of it.
//!
//! One dispatcher takes jobs from the journal as long as there is room and gives each to a task of its own. It sleeps until the journal
//! wakes it, a job's time comes, or a task ends; it never polls. What the job does is the [`Runner`]'s business; that it is done at least
//! once, in order, fairly and with patience is ours.
//!
//! The runner must be able to do a job twice: the process may die between the deed and the settling.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::journal::Ticket;
use crate::{Claim, Job, JobError, Journal, Schedule, Spool};

/// What carries jobs out. The program brings it.
#[async_trait]
pub trait Runner: Send + Sync + 'static {
    /// Carries a job out, or fails. May be called again for a job that was done, and must then find that out by itself. Whatever the job
    /// is to leave behind must be durable before this says [`Outcome::Done`]: the payload is removed next.
    ///
    /// A panic counts as a failure. There is no deadline here: the runner must not wait without end.
    async fn run(&self, job: &Job) -> Outcome;
}

/// What became of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The job is done.
    Done,
    /// It is to be tried again.
    Postpone {
        /// Why.
        error: JobError,
        /// How long the destination asked to be left alone.
        after: Option<Duration>,
    },
    /// It is to wait for a person.
    Park {
        /// Why.
        error: JobError,
    },
    /// It could not even be tried, and is to wait for a person. No attempt is counted.
    Hold {
        /// Why.
        error: JobError,
    },
}

/// How much at once, and how patiently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// The first wait after a failure.
    pub backoff_min: Duration,
    /// The longest wait.
    pub backoff_max: Duration,
    /// Jobs that run at once. Of a family of lanes (their names up to the first `/`), no more than workers are free: one alone has half of them.
    pub concurrency: usize,
    /// Jobs of one lane that run at once, when it has proved well: it begins with four.
    pub concurrency_per_lane: usize,
    /// Failures in a row after which a lane is only probed.
    pub patience: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            backoff_min: Duration::from_secs(2),
            backoff_max: Duration::from_secs(15 * 60),
            concurrency: 64,
            concurrency_per_lane: 32,
            patience: 5,
        }
    }
}

impl Policy {
    /// Its waits.
    pub fn schedule(&self) -> Schedule {
        Schedule { min: self.backoff_min, max: self.backoff_max }
    }
}

/// The workers of a journal. Dropped without [`Workers::drain`] they stop at once; what ran waits again.
#[derive(Debug)]
pub struct Workers {
    stopping: CancellationToken,
    cutting: CancellationToken,
    dispatcher: tokio::task::JoinHandle<Drained>,
}

/// What a drain came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Drained {
    /// Jobs that ran at the deadline and were cut; they wait again.
    pub cut: usize,
}

impl Workers {
    /// Starts to work. One set of workers a journal.
    pub fn start(journal: Arc<Journal>, spool: Arc<Spool>, runner: Arc<dyn Runner>, policy: Policy) -> Self {
        journal.set_policy(policy);
        let (stopping, cutting) = (CancellationToken::new(), CancellationToken::new());
        let dispatcher = Dispatcher {
            journal: (*journal).clone(),
            spool: (*spool).clone(),
            runner,
            policy,
            stopping: stopping.clone(),
            running: JoinSet::new(),
        };
        let cut = cutting.clone();
        let dispatcher = tokio::spawn(async move { dispatcher.run(cut).await });
        Self { stopping, cutting, dispatcher }
    }

    /// Claims nothing more, lets what runs come to its end within `deadline`, and cuts the rest.
    pub async fn drain(mut self, deadline: Duration) -> Drained {
        self.stopping.cancel();
        let ended = tokio::time::timeout(deadline, &mut self.dispatcher).await;
        let drained = match ended {
            Ok(drained) => drained,
            Err(_) => {
                self.cutting.cancel();
                (&mut self.dispatcher).await
            }
        };
        drained.unwrap_or_default()
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.dispatcher.abort();
    }
}

struct Dispatcher {
    journal: Journal,
    spool: Spool,
    runner: Arc<dyn Runner>,
    policy: Policy,
    stopping: CancellationToken,
    running: JoinSet<()>,
}

impl Dispatcher {
    async fn run(mut self, cut: CancellationToken) -> Drained {
        while !self.stopping.is_cancelled() {
            self.fill().await;
            self.tell();
            let alarm = self.journal.next_alarm();
            tokio::select! {
                () = self.stopping.cancelled() => {}
                () = self.journal.woken() => {}
                () = at(alarm) => {}
                Some(_) = self.running.join_next() => {}
            }
        }
        loop {
            tokio::select! {
                ended = self.running.join_next() => if ended.is_none() { break },
                () = cut.cancelled() => break,
            }
        }
        let cut = self.running.len();
        self.running.shutdown().await;
        self.tell();
        Drained { cut }
    }

    /// Gives work to as many tasks as may run.
    async fn fill(&mut self) {
        while self.running.try_join_next().is_some() {}
        let room = self.policy.concurrency.max(1).saturating_sub(self.running.len());
        let tickets: Vec<Ticket> = std::iter::from_fn(|| self.journal.take()).take(room).collect();
        let claims = match Ticket::read_all(tickets).await {
            Ok(claims) => claims,
            Err(error) => {
                tracing::warn!(%error, "jobs could not be read and wait");
                return;
            }
        };
        for claim in claims {
            let work = Work {
                spool: self.spool.clone(),
                runner: self.runner.clone(),
                schedule: self.policy.schedule(),
                stopping: self.stopping.clone(),
            };
            self.running.spawn(async move { work.run(claim).await });
        }
    }

    fn tell(&self) {
        let counts = self.journal.counts();
        let states = [
            ("reserved", counts.reserved),
            ("waiting", counts.waiting),
            ("running", counts.running),
            ("parked", counts.parked),
        ];
        for (state, count) in states {
            #[expect(clippy::cast_precision_loss, reason = "no journal holds so many jobs")]
            metrics::gauge!("stowline_delivery_jobs", "state" => state).set(count as f64);
        }
    }
}

/// Sleeps until then; without an alarm for ever.
async fn at(alarm: Option<Instant>) {
    match alarm {
        Some(alarm) => tokio::time::sleep_until(alarm).await,
        None => std::future::pending().await,
    }
}

/// One job's way through a worker.
struct Work {
    spool: Spool,
    runner: Arc<dyn Runner>,
    schedule: Schedule,
    stopping: CancellationToken,
}

impl Work {
    async fn run(self, claim: Claim) {
        let started = Instant::now();
        let outcome = AssertUnwindSafe(self.runner.run(claim.job())).catch_unwind().await;
        metrics::histogram!("stowline_delivery_seconds").record(started.elapsed());
        let outcome = outcome.unwrap_or_else(|_| Outcome::Postpone {
            error: JobError {
                code: "panic".into(),
                message: "the attempt ended in a fault of the program".into(),
                http_status: None,
            },
            after: None,
        });
        let word = match &outcome {
            Outcome::Done => "done",
            Outcome::Postpone { .. } => "postponed",
            Outcome::Park { .. } => "parked",
            Outcome::Hold { .. } => "held",
        };
        metrics::counter!("stowline_delivery_attempts_total", "outcome" => word).increment(1);
        let (id, kind) = (claim.job().id, claim.job().kind.clone());
        let written = match outcome {
            Outcome::Done => return self.settle(claim).await,
            Outcome::Postpone { error, after } => claim.postpone(error, after).await.map(drop),
            Outcome::Park { error } => {
                tracing::warn!(job.id = %id, job.kind = %kind, error.code = %error.code, "a job is parked");
                claim.bury(error).await
            }
            Outcome::Hold { error } => {
                tracing::debug!(job.id = %id, job.kind = %kind, error.code = %error.code, "a job is parked untried");
                claim.hold(error).await
            }
        };
        if let Err(error) = written {
            tracing::warn!(job.id = %id, job.kind = %kind, %error, "a failed attempt could not be written down");
        }
    }

    /// Settles a job that is done, however long the journal takes; when the program stops before, the job is done once more.
    async fn settle(&self, mut claim: Claim) {
        let mut failures = 0;
        loop {
            match claim.settle().await {
                Ok(file) => {
                    if let Some(file) = file {
                        self.spool.remove(&file);
                    }
                    return;
                }
                Err(error) => {
                    failures += 1;
                    tracing::warn!(job.id = %claim.job().id, %error, failures, "a job is done and could not be settled yet");
                }
            }
            let wait = self.schedule.wait(failures, None, rand::random());
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.stopping.cancelled() => return,
            }
        }
    }
}

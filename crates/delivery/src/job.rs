//! A job, as it is handed in and as it is seen.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::FileId;

/// The most bytes of a job's body: it is kept in the journal.
pub const BODY_LIMIT: usize = 64 * 1024;

/// Names a job. Ids rise: a job that was handed in later has the higher one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(pub(crate) u64);

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for JobId {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        match text.parse() {
            Ok(id) if id <= i64::MAX.unsigned_abs() => Ok(Self(id)),
            _ => Err(BadId { what: "job", text: text.to_owned() }),
        }
    }
}

/// A text that is no id of the kind that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no id of a {what}")]
pub struct BadId {
    /// What it should have named: `job` or `file`.
    pub what: &'static str,
    /// The text.
    pub text: String,
}

/// A job to be handed in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewJob {
    /// What is to be done: the runner's word.
    pub kind: String,
    /// Jobs with the same key run one after the other, in the order in which they were confirmed.
    pub key: String,
    /// Lanes get their turns one after the other, and fail each by themselves.
    pub lane: String,
    /// Whose it is: lists and redrives go by it.
    pub scope: String,
    /// The spool file that it needs.
    pub payload: Option<FileId>,
    /// The file outlives the job.
    pub keep_payload: bool,
    /// How many bytes it moves, for lists.
    pub size: u64,
    /// The rest, in the runner's own form: at most [`BODY_LIMIT`] bytes.
    pub body: Vec<u8>,
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobState {
    /// Durable, and not yet to be run.
    Reserved,
    /// It runs when its time, its key and its lane allow.
    Waiting,
    /// A worker has it.
    Running,
    /// It waits for [`Journal::redrive`](crate::Journal::redrive).
    Parked,
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobError {
    /// One word, for programs.
    pub code: String,
    /// A sentence, for people.
    pub message: String,
    /// What the destination answered, where that was HTTP.
    pub http_status: Option<u16>,
}

/// A job as the journal has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Its name.
    pub id: JobId,
    /// As in [`NewJob`].
    pub kind: String,
    /// As in [`NewJob`].
    pub key: String,
    /// As in [`NewJob`].
    pub lane: String,
    /// As in [`NewJob`].
    pub scope: String,
    /// As in [`NewJob`].
    pub payload: Option<FileId>,
    /// As in [`NewJob`].
    pub keep_payload: bool,
    /// As in [`NewJob`].
    pub size: u64,
    /// As in [`NewJob`].
    pub body: Vec<u8>,
    /// Where it stands.
    pub state: JobState,
    /// How many attempts have failed.
    pub attempts: u32,
    /// When it was handed in: milliseconds since 1970.
    pub since: i64,
    /// When it may run again, while it waits: milliseconds since 1970.
    pub next_attempt: Option<i64>,
    /// Why the last attempt failed.
    pub last_error: Option<JobError>,
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The jobs, the oldest first.
    pub jobs: Vec<T>,
    /// The first job of the next page; none on the last one.
    pub next: Option<JobId>,
}

/// How many jobs are in each state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// [`JobState::Reserved`].
    pub reserved: usize,
    /// [`JobState::Waiting`].
    pub waiting: usize,
    /// [`JobState::Running`].
    pub running: usize,
    /// [`JobState::Parked`].
    pub parked: usize,
}

/// How a lane does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneStatus {
    /// Its name.
    pub lane: String,
    /// Its jobs in any state.
    pub jobs: usize,
    /// Those that run.
    pub running: usize,
    /// Failures since the last success.
    pub failures: u32,
    /// True while only one probe at a time is let through.
    pub broken: bool,
}

//! Promises kept: a journal of jobs, a spool of payload files, and the workers that carry them out.
//!
//! A *job* is bytes with a name: this crate knows nothing of accounts, documents or handlers. It promises
//!
//! * **at least once**: a job that was confirmed is run until its runner says that it is done, across restarts, `kill -9` and power cuts;
//! * **in order per key**: of two jobs with the same key, the one that was confirmed later starts only after the earlier one is settled;
//! * **fair**: jobs of one *lane* (an account's handler, say) cannot starve another lane's, and a lane that only fails is asked by one
//!   probe at a time;
//! * **nothing is dropped by a count of attempts**.
//!
//! ```text
//!   reserve ──▶ reserved ──confirm──▶ waiting ──claim──▶ running ──settle──▶ (gone, its payload with it)
//!                  │                    ▲  ▲                │
//!            cancel, forget             │  └── postpone ────┤
//!                  ▼                    └───── redrive ◀─ parked ◀── bury, hold
//! ```
//!
//! What is durable when: a **reservation** and an **enqueued** job before the call returns; a **published** payload file before the call
//! returns; **settle**, **postpone**, **bury** and **hold** before the job leaves the worker. **Confirm** and **forget** are written a moment
//! later: a power cut turns such a job back into a reservation, and whoever reserved it settles that at the next start. A payload file is
//! removed only after the settle is durable. **Claims** are in memory: they die with the process, and at the next start every job that
//! was not settled waits again.
//!
//! A file that **grows** for minutes is durable from its beginning, and as far as its last **sync**; who grew it finds it at the next start.
//!
//! The pieces, each usable alone: [`Journal`] (what has been promised), [`Spool`] (payload files), [`Workers`] (who keep the promises,
//! through a [`Runner`] that the program brings). This is the only place of the workspace that tries anything twice; when, says `retry`.

mod clock;
mod error;
mod job;
mod journal;
mod queue;
mod retry;
mod spool;
mod worker;

pub use clock::{Clock, SystemClock};
pub use error::{Cause, Error};
pub use job::{BODY_LIMIT, BadId, Counts, Job, JobError, JobId, JobState, LaneStatus, NewJob, Page};
pub use journal::{Claim, Journal};
pub use retry::Schedule;
pub use spool::{FileId, Growing, Held, Noted, Partial, SealedFile, Spool, Unfinished};
pub use worker::{Drained, Outcome, Policy, Runner, Workers};

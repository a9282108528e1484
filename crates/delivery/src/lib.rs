//! Promises kept: a journal of jobs, a spool of payload files, and the workers that carry them out.
//!
//! A *job* is bytes with a name: this crate knows nothing of accounts, documents or handlers. It promises
//!
//! * **at least once**: a job that was confirmed is run until its runner says that it is done, across restarts and `kill -9`;
//! * **in order per key**: of two jobs with the same key, the later one starts only after the earlier one is settled;
//! * **fair**: jobs of one *lane* (an account's handler, say) cannot starve another lane's;
//! * **nothing is dropped by a count of attempts**.
//!
//! ```text
//!   reserve ──▶ reserved ──confirm──▶ waiting ──claim──▶ running ──settle──▶ (gone, its payload with it)
//!                  │                    ▲  ▲                │
//!                cancel                 │  └── postpone ────┤
//!                  ▼                    └───── redrive ◀─ parked ◀── bury
//! ```

//! What comes in on a call against what is made of it.
#![expect(clippy::unwrap_used, reason = "test equipment: a broken expectation ends the test")]

mod garbage;
mod jitter;
mod opus;
mod recorder;

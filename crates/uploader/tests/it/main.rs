//! The watcher against an ingest endpoint that breaks in every way: what is lost, what is doubled, what is held up.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod asterisk;
mod cdr;
mod completeness;
mod failures;
mod fixture;
mod recipes;
mod uploads;

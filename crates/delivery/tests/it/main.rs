//! What the delivery promises, proved on real files: against a model, under `kill -9`, after a power cut, with a disk that fails.
#![expect(clippy::unwrap_used, reason = "test equipment: a broken expectation ends the test")]

mod child;
mod crash;
mod fault;
mod growing;
mod model;
mod power;
mod workers;

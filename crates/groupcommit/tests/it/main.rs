//! What the ledger promises: groups, neighbours, a disk that fails.
#![expect(clippy::unwrap_used, reason = "test equipment: a broken expectation ends the test")]

mod disk;
mod group;

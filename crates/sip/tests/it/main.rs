//! Agents that call each other over real sockets: one answers, the other is a telephone, or sends what no telephone would.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod calls;
mod corpus;
mod desk;
mod rights;
mod wire;

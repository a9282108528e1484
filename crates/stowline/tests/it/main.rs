//! The whole program, from outside: it is started, called over HTTP and by `sup`, stopped, killed, and its folder is looked into.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod architecture;
mod article;
mod cdrs;
mod clouds;
mod console;
mod crash;
mod delivery;
mod egress;
mod faxes;
mod fixture;
mod fuzzed;
mod handlers;
mod http_handler;
mod incoming;
mod ingest;
mod inside;
mod levels;
mod malformed;
mod oauth;
mod powercut;
mod program;
mod recordings;
mod rights;
mod secrets;
mod spool;
mod storage;
mod telephony;
mod vmboxes;
mod wire;

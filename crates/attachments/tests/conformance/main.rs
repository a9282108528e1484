//! Every handler of the registry × every promise of the trait.
//!
//! [`promises`] holds one test for each sentence of [`attachments::Handler`], [`hostile`] what a destination may do wrong; both run over all
//! fixtures, and a kind without a fixture makes them red. `s3` and `http` hold what is promised of one kind alone.
//! The servers are real ones, over the wire.

#![expect(clippy::unwrap_used, reason = "a broken expectation should stop its test at once")]

mod azure;
mod drives;
mod dropbox;
mod filesystem;
mod fixture;
mod ftp;
mod google_storage;
mod hostile;
mod http;
mod large;
mod promises;
mod s3;
mod sftp;
mod troubles;
mod webdav;

//! Test equipment: stores that speak the wire, a proxy that breaks it, and the real program under observation.
//!
//! * [`S3Server`]: a real S3-compatible server in process; it refuses wrong signatures and digests.
//! * [`AmazonServer`]: roles that can be taken on at Amazon, and the metadata of a machine.
//! * [`AzureServer`]: Microsoft's emulator of Azure Blob Storage, where it is installed.
//! * [`GcsServer`]: an emulator of Google Cloud Storage, where it is installed.
//! * [`GoogleDrive`], [`Dropbox`], [`OneDrive`]: fakes of the drives of persons.
//! * [`OAuthServer`]: consents, and the tokens that come of them.
//! * [`HttpStore`]: keeps what is PUT or POSTed to a path and gives it back.
//! * [`IngestStore`]: an ingest endpoint, as those who upload to it see it.
//! * [`DnsServer`]: says what it is told to, and something else the next time.
//! * [`FaultProxy`]: stands before either (or before anything that speaks HTTP) and follows a script of [`Fault`]s.
//! * [`ImpairedCall`]: a bad network between a caller and a SIP server: loss, duplicates, reordering, jitter, by a seed.
//! * [`WebdavServer`] (nginx), [`SshServer`] (OpenSSH) and [`FtpServer`] (pyftpdlib): real servers as processes, where the system has them.
//! * [`Line`]: stands before anything that speaks TCP, and is cut, goes silent, or is taken away.
//! * [`Program`]: the `stowline` binary with a data folder of its own; killed, stopped and started again at will.
//! * [`Api`]: a client of the REST API; [`Answer`]: what came back.
//! * [`has_program`]: whether the system has a program that a test needs.
//! * [`VOICEMAIL_WAV`]: five seconds of real speech.
//!
//! The servers run on threads of their own, so they answer synchronous tests and asynchronous ones alike, also on a
//! single-threaded runtime. All of them listen on free ports of 127.0.0.1, can be stopped and started again on the same
//! port, take the same faults and keep the same log of requests.
//!
//! Nothing here knows a type of the product: what a test learns through this crate it learned from the wire.

pub mod powercut;

mod amazon_server;
mod answers;
mod api;
mod azure_server;
mod dns_server;
mod drive;
mod dropbox;
mod fault;
mod fault_proxy;
mod gcs_server;
mod google_drive;
mod http_store;
mod impaired_call;
mod ingest_store;
mod installed;
mod line;
mod oauth_server;
mod onedrive;
mod program;
mod s3_server;
mod served;
mod servers;
mod small_disk;
mod wire;

pub use amazon_server::AmazonServer;
pub use api::{Answer, Api, multipart_body};
pub use azure_server::AzureServer;
pub use dns_server::DnsServer;
pub use dropbox::Dropbox;
pub use fault::Fault;
pub use fault_proxy::FaultProxy;
pub use gcs_server::GcsServer;
pub use google_drive::GoogleDrive;
pub use http_store::{HttpStore, Part, StoreRequest};
pub use impaired_call::{ImpairedCall, Impairment, Passed};
pub use ingest_store::{IngestStore, Ingested};
pub use installed::has_program;
pub use line::Line;
pub use oauth_server::OAuthServer;
pub use onedrive::OneDrive;
pub use program::{Program, ProgramBuilder, find_binary};
pub use s3_server::{S3Builder, S3Server};
pub use servers::{FtpServer, SshServer, WebdavServer};
pub use small_disk::SmallDisk;
pub use wire::{Faults, Seen};

/// Five seconds of real speech: 8 kHz, 16 bit, mono WAV, 83,644 bytes. How it was made stands in `assets/README.md`.
pub const VOICEMAIL_WAV: &[u8] = include_bytes!("../assets/voicemail.wav");

/// A private key (RSA, PKCS #8) that signs for nobody: for service accounts of tests.
pub const SERVICE_ACCOUNT_KEY: &str = include_str!("../assets/service-account.pem");

/// Installs the TLS provider that HTTP clients need. Doing it twice is no fault.
pub fn install_tls() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

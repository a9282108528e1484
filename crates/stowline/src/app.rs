//! The use cases: what the program does, apart from HTTP.
//!
//! Everything here is a free function over [`App`], the handful of things that a running server consists of. The API, `sup` and the jobs call
//! these functions; they know envelopes and statuses, this does not.
//!
//! A deposit (`deposit`) and a fetch (`fetch`) are the two walks that everything else exists for; read them first.

use std::sync::Arc;

use attachments::Pool;
use connections::Embedded;
use delivery::{Journal, Spool};
use plan::schema::Schemas;

use crate::config::Config;
use crate::seal::Keys;

pub mod accounts;
pub mod arrivals;
pub mod attachment;
pub mod attempts;
pub mod audit;
pub mod auth;
pub mod cdrs;
pub mod dataplans;
pub mod deliveries;
pub mod deposit;
pub mod discard;
pub mod error;
pub mod explain;
pub mod faxboxes;
pub mod faxes;
pub mod fetch;
pub mod file_names;
pub mod forms;
pub mod greetings;
pub mod handler_errors;
pub mod health;
pub mod ingest;
pub mod ingest_keys;
pub mod intake;
pub mod issued;
pub mod knocks;
pub mod mailboxes;
pub mod media_types;
pub mod messages;
pub mod months;
pub mod moves;
pub mod oauth;
pub mod pages;
pub mod passwords;
mod playing_time;
pub mod probe;
pub mod promises;
pub mod rates;
pub mod received;
pub mod recordings;
pub mod removal;
pub mod reservations;
pub mod retention;
pub mod retirement;
pub mod secrets;
pub mod sip_credentials;
pub mod spoken;
pub mod storage_documents;
pub mod store_proxy;
pub mod switches;
pub mod tokens;
pub mod tree;
pub mod usage;
pub mod users;

pub use error::Error;

/// A running server's parts.
#[derive(Debug)]
pub struct App {
    /// What was configured.
    pub config: Config,
    /// What seals secrets and signs tokens.
    pub keys: Arc<Keys>,
    /// All documents.
    pub documents: Embedded,
    /// Call records that were accepted and are no documents yet.
    pub intake: Arc<intake::Intake>,
    /// What has been promised and is not yet kept.
    pub journal: Arc<Journal>,
    /// Deposits that a record of the spool alone makes durable, for a moment.
    pub promises: promises::Promises,
    /// Bytes on their way to a handler.
    pub spool: Arc<Spool>,
    /// Bytes that stay here: attachments that no plan sends elsewhere.
    pub kept: Arc<Spool>,
    /// Open handlers. What opens one by an entry goes through [`oauth::open`].
    pub handlers: Pool,
    /// Who gives access tokens for consents.
    pub grants: oauth::grants::Grants,
    /// The schemas of storage documents, compiled.
    pub schemas: Schemas,
    /// The schemas of accounts, users and mailboxes, compiled.
    pub forms: forms::Forms,
    /// How handlers did lately.
    pub health: health::Health,
    /// Merged plans, by account and owner.
    pub dataplans: dataplans::Dataplans,
    /// Lets one change of the account tree happen at a time.
    pub tree: tree::Tree,
    /// The turns of those who hash passwords.
    pub passwords: passwords::Passwords,
    /// Logins that failed, counted.
    pub attempts: attempts::Attempts,
    /// How many requests anybody may make.
    pub limits: rates::Limits,
    /// Who asked for storage without a token, lately.
    pub knocks: knocks::Knocks,
    /// Tokens that were ended before their time.
    pub revoked: tokens::Revoked,
    /// Tokens whose signature was looked at lately.
    pub signed: tokens::Signed,
    /// How this server names itself in answers.
    pub node: String,
}

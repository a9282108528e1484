//! From storage documents to a [`Route`].
//!
//! A *storage document* says which destinations there are and what goes where. The system has one, resellers, accounts and users may have
//! one, and an account may name a stored plan. When something is to be kept (a voicemail, a recording, a fax), one question is asked:
//! *this database, this type of document: which store keeps the document, and which handler keeps its attachments?*
//!
//! The way there, one module a step:
//!
//! 1. [`schema`] checks what a client sent against our schemas and says all that is wrong, in [`Violations`];
//! 2. [`check`] finds what a schema cannot see: references to nothing, ids that belong to someone else;
//! 3. [`StorageDocument::from_json`] types it;
//! 4. [`Dataplan::merge`] lays the documents of all levels over each other, with [`merge`], and works out every answer;
//! 5. [`Dataplan::route`] gives the answer, by looking it up; [`Dataplan::explain`] says which level decided what.
//!
//! ```
//! use std::sync::Arc;
//! use plan::{Dataplan, Database, DocType, Layer, Level, StorageDocument};
//! use serde_json::json;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let system = json!({
//!     "attachments": {"0123456789abcdef0123456789abcdef": {"handler": "s3", "settings": {"bucket": "ours"}}}
//! });
//! let account = json!({
//!     "plan": {"modb": {"types": {"mailbox_message": {"attachments": {
//!         "handler": "0123456789abcdef0123456789abcdef",
//!         "params": {"folder_path": "voicemail", "bucket": "theirs"}
//!     }}}}}
//! });
//! let layer = |level, document| {
//!     Ok::<_, &str>(Layer { level, document: Arc::new(StorageDocument::from_json(&document).map_err(|_| "not a storage document")?) })
//! };
//! let plan = Dataplan::merge(&[layer(Level::System, system)?, layer(Level::Account, account)?]);
//!
//! let month: Database = "account/ab/cd/ef0123456789abcdef0123456789-202611".parse()?;
//! let voicemail: DocType = "mailbox_message".parse()?;
//! let to = plan.route(&month, Some(&voicemail)).attachment.as_ref().ok_or("nowhere")?;
//! assert_eq!((to.kind.as_str(), to.level), ("s3", Level::System));
//! // The handler is the system's: an account may go deeper in it, and nothing else.
//! assert_eq!(serde_json::to_value(&to.params)?, json!({"folder_path": "voicemail"}));
//! # Ok(())
//! # }
//! ```
//!
//! This crate is pure: no I/O, no clock, no async. It knows handlers and drivers by name only.

pub mod check;
mod database;
mod dataplan;
mod document;
mod id;
mod lock;
pub mod merge;
pub mod params;
pub mod retention;
mod route;
pub mod schema;
mod sections;
mod tree;
mod violations;
mod weight;

pub use database::{Classification, Database, Month};
pub use dataplan::{Dataplan, Decided, Decision, Explanation, Layer, Level};
pub use document::{ConnectionConfig, HandlerConfig, StorageDocument};
pub use id::{AccountId, AttachmentName, BadId, ConnectionId, DocId, DocType, HandlerId, PlanId, UserId};
pub use lock::Lock;
pub use route::{AttachmentRoute, ConnectionRef, Placement, Route};
pub use sections::Sections;
pub use violations::{STRUCK, Violations, dotted};

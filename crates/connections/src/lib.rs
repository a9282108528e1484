//! Where documents live.
//!
//! A *document* is a JSON object with an id, a type and a revision, in a [`Database`](plan::Database) that has a class: an account's
//! own, an account's month, a system one. The program stores accounts, users, mailboxes, messages and storage documents here; it never
//! stores the bytes of an attachment here, only what says where they are.
//!
//! There is one store today, the [`Embedded`] one: a SQLite file in the data folder that any SQLite tool can open (ADR 0001 says why).
//! It promises:
//!
//! * **a write that was answered is durable**, and a document changes in one step or not at all;
//! * **optimistic concurrency**: [`Embedded::replace`] and [`Embedded::remove`] name the revision they expect and answer
//!   [`ErrorKind::Conflict`] when another writer came first; [`Embedded::update`] runs a closure on the stored document inside the write;
//! * **unique keys**: a document may hold keys in named spaces (`realm`, `api_key`, …); a second document that claims one is refused. A
//!   [`Claim`] is such a key for a time: it outlives changes and soft deletion of its document, until it expires;
//! * **ordered lists** by the time that a document carries, within a type and a parent, one page at a time.
//!
//! When a second store joins (a customer's CouchDB or PostgreSQL), the methods of [`Embedded`] that both can keep become a trait here.

mod document;
mod embedded;
mod error;
mod list;
mod recent;

pub use document::{Claim, Contents, Document, Draft, Revision};
pub use embedded::{Change, Embedded, Known, Stored};
pub use error::{Error, ErrorKind};
pub use list::{Cursor, Order, Page, Query, Tally};

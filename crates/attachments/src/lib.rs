//! Binary things, and the places that keep them.
//!
//! A voicemail's audio or a fax's pages are an *attachment* of a document. Where they go is somebody's choice: a bucket, a
//! web server. Each kind of place is a [`Handler`], and this page is what all of them promise.
//!
//! The way of an attachment:
//!
//! 1. [`location()`] works out, once and purely, under which name it will lie. The name is written down before the first byte moves.
//! 2. [`Pool::open`] gives the handler for some settings: opened once, shared, watched by [`layers`].
//! 3. [`Handler::reserve`] asks for an id where names are not enough, and [`Handler::put`] sends a [`Payload`] there and comes back with a [`Receipt`] when the place has it, and not before.
//! 4. The receipt stays on the document. With it [`Handler::fetch`] brings the bytes back and [`Handler::delete`] removes them,
//!    with the settings of that day: a receipt holds no credential, so a new key opens old objects.
//!
//! What goes wrong is an [`Error`]: a kind, the other side's own words, and advice on when to try again. Nothing is tried again here.
//!
//! Kinds are listed in one place ([`kinds`]). A new one is a file in `handlers/`, a line in `registry.rs` and a schema; the
//! conformance suite is red until the kind is covered there.
//!
//! Used by the use cases of the program; knows no accounts, no plans beyond identifiers, no queue.

mod amazon;
mod asking;
mod bearer;
mod body;
mod error;
mod folders;
mod handlers;
pub mod layers;
mod location;
mod payload;
mod pieces;
mod pool;
mod presigned;
mod receipt;
mod registry;
mod settings;
mod unfinished;
mod ways;
mod xml;

pub use amazon::{Amazon, Issued, Keys, Machine};
pub use body::{Body, ByteRange};
pub use error::{Advice, Error, ErrorKind, Exchange, Operation};
pub use location::{Arg, Document, Field, Location, Moment, asks_when, location};
pub use payload::{Payload, PutKey};
pub use pool::Pool;
pub use receipt::{Assurance, Receipt};
pub use registry::{Kind, Open, kind, kinds, schemas};
pub use ways::{Grants, NoGrants, TokenError, Ways};

use async_trait::async_trait;
use serde_json::Value;
use url::Url;

/// A place that keeps bytes, with the settings it was opened with. Each sentence here is a test of the conformance suite.
#[async_trait]
pub trait Handler: std::fmt::Debug + Send + Sync {
    /// Asks for the id under which a payload will lie, at a place that finds objects by ids of its own and lets several have one name.
    ///
    /// Who writes it down before the put, and puts with it again after a crash, has one object. `None` where the location is enough.
    ///
    /// # Errors
    ///
    /// [`Error`], with what the place said.
    async fn reserve(&self, _location: &Location, _key: &PutKey) -> Result<Option<String>, Error> {
        Ok(None)
    }

    /// Stores the payload at the location.
    ///
    /// * It comes back when the place has the whole payload, checked as well as the place lets us: how well, the receipt says.
    /// * Doing it again with the same key and payload leaves one object and succeeds, unless the handler is
    ///   [`at_least_once`](Handler::at_least_once): then it may be sent, and kept, twice.
    /// * What is at the location already and is not this payload is never replaced silently: [`ErrorKind::Conflict`], unless
    ///   the handler is at least once.
    /// * A place that says yes and has stored nothing, or something else, is found out: [`ErrorKind::Mismatch`].
    /// * A payload of any length, zero too, is stored; memory use does not grow with it.
    ///
    /// # Errors
    ///
    /// [`Error`], with what the place said.
    async fn put(&self, location: &Location, payload: &Payload, key: &PutKey) -> Result<Receipt, Error>;

    /// Brings back what a receipt stands for, whole or a part of it.
    ///
    /// * What is gone is [`ErrorKind::NotFound`], never an empty body.
    /// * A part that the place cannot give alone is cut out of the whole; a part that does not exist is [`ErrorKind::Invalid`].
    /// * Bytes other than those stored are an error: of the length at once, of the content at the latest at the end of the stream.
    ///
    /// `metadata` holds the public fields of the document, for places that take them as a query; it may be `Null`, and need be nothing else
    /// where the handler does not [want](Handler::wants_metadata) it.
    ///
    /// # Errors
    ///
    /// [`Error`], with what the place said.
    async fn fetch(&self, receipt: &Receipt, range: Option<ByteRange>, metadata: &Value) -> Result<Body, Error>;

    /// Removes what a receipt stands for. Removing what is absent succeeds.
    ///
    /// # Errors
    ///
    /// [`Error`], with what the place said; [`ErrorKind::Rejected`] where the place removes nothing at all.
    async fn delete(&self, receipt: &Receipt) -> Result<(), Error>;

    /// A URL by which whoever has it may read what a receipt stands for, for about a minute; it says the receipt's media type and this
    /// `Content-Disposition`.
    ///
    /// * `None` unless the settings want it (`redirect_reads`) and the place has such URLs.
    /// * Nothing in it lets in for longer, or to anything else.
    ///
    /// # Errors
    ///
    /// [`Error`] when it cannot be made. Whether the object is there is not looked at.
    async fn presign(&self, _receipt: &Receipt, _disposition: &str) -> Result<Option<Url>, Error> {
        Ok(None)
    }

    /// Whether a fetch uses the public fields of the document.
    fn wants_metadata(&self) -> bool {
        false
    }

    /// Whether doing a put twice may leave two objects, or the later one.
    fn at_least_once(&self) -> bool {
        false
    }
}

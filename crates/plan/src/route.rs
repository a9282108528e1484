//! The answer of a plan: where a document goes, and where its attachments go.
//!
//! A [`Route`] names things by id. It holds no settings and so no credentials: whoever delivers looks the handler up in the
//! [`Dataplan`](crate::Dataplan) when it delivers, so that a rotated key is used at once.

use std::num::NonZeroU32;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use crate::database::Classification;
use crate::dataplan::Level;
use crate::id::{ConnectionId, HandlerId};

/// Where documents of a type go in a database, and their attachments.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Route {
    /// The class of the database; none for one that the system does not know.
    pub classification: Option<Classification>,
    /// Where the documents are kept.
    pub connection: ConnectionRef,
    /// Where successful saves are repeated, without the caller waiting.
    pub secondary: Vec<ConnectionId>,
    /// Asked without a document type only: every other connection that some type of this section uses, each once. A change to the
    /// database itself (its creation, a view) concerns them all.
    pub others: Vec<ConnectionId>,
    /// Where the attachments go; none: beside the document, in its own store.
    pub attachment: Option<AttachmentRoute>,
    /// After how many days what is of this type is removed; none: it is kept for good. See [`retention`](crate::retention).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention_days: Option<NonZeroU32>,
    /// The handler that the plan names and nobody defines; attachments then go beside the document. Worth a line in the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dangling: Option<HandlerId>,
    /// The connection that the plan names and nobody defines; documents then go to the local store. Worth a line in the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dangling_connection: Option<ConnectionId>,
}

impl Route {
    /// Everything in the local store.
    #[must_use]
    pub fn local(classification: Option<Classification>) -> Self {
        Self {
            classification,
            connection: ConnectionRef::Local,
            secondary: Vec::new(),
            others: Vec::new(),
            attachment: None,
            retention_days: None,
            dangling: None,
            dangling_connection: None,
        }
    }
}

/// A connection that is known to be there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ConnectionRef {
    /// The primary store.
    Local,
    /// An entry of `connections`.
    Id(ConnectionId),
}

impl ConnectionRef {
    /// Whether it is the connection of this id, `local` being the primary store's.
    #[must_use]
    pub fn is(&self, id: &ConnectionId) -> bool {
        match self {
            Self::Local => id.is_local(),
            Self::Id(own) => own == id,
        }
    }
}

/// As text: `local`, or the id.
impl Serialize for ConnectionRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Local => serializer.serialize_str("local"),
            Self::Id(id) => id.serialize(serializer),
        }
    }
}

/// Where attachments go.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AttachmentRoute {
    /// The entry of `attachments`.
    pub handler_id: HandlerId,
    /// The level whose entry it is.
    pub level: Level,
    /// The kind of handler: `s3`, `http`, …
    pub kind: String,
    /// What the plan says about the location, already restricted to what it may say: see [`params`](crate::params).
    pub params: Map<String, Value>,
    /// Whether the bytes are kept beside the document too.
    pub placement: Placement,
    /// Whether the object goes when its attachment is deleted: only when the plan says `"delete": true`.
    pub delete: bool,
}

/// Who holds the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Placement {
    /// The handler's destination alone.
    External,
    /// Both: a mirror. The plan says `"stub": true`.
    Stub,
}

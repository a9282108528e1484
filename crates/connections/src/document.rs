//! A document, what is needed to write one, and its revision.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::str::FromStr;
use std::sync::Arc;

use plan::{Database, DocId};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// `N-<32 hex>`: how often the document was written, and a digest over what was written and what stood before.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Revision {
    number: u64,
    digest: String,
}

impl Revision {
    /// The revision that follows `previous` when `body` is written.
    pub(crate) fn next(previous: Option<&Revision>, body: &str) -> Self {
        let mut hasher = Sha256::new();
        if let Some(previous) = previous {
            hasher.update(previous.to_string().as_bytes());
        }
        hasher.update(body.as_bytes());
        let digest = hasher.finalize();
        Self { number: previous.map_or(0, |previous| previous.number) + 1, digest: hex::encode(&digest[..16]) }
    }

    /// How often the document was written, from 1.
    pub fn number(&self) -> u64 {
        self.number
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.number, self.digest)
    }
}

impl FromStr for Revision {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (number, digest) = text.split_once('-').ok_or(())?;
        let number = number.parse().map_err(|_| ())?;
        let hex = digest.len() == 32 && digest.bytes().all(|b| b.is_ascii_hexdigit());
        hex.then(|| Self { number, digest: digest.to_owned() }).ok_or(())
    }
}

/// A stored document. Cheap to clone: the clones share its [`Contents`], and whoever changes one gets a copy of its own.
#[derive(Debug, Clone)]
pub struct Document(Arc<Contents>);

impl From<Contents> for Document {
    fn from(contents: Contents) -> Self {
        Self(Arc::new(contents))
    }
}

impl Deref for Document {
    type Target = Contents;

    fn deref(&self) -> &Contents {
        &self.0
    }
}

impl DerefMut for Document {
    fn deref_mut(&mut self) -> &mut Contents {
        Arc::make_mut(&mut self.0)
    }
}

/// What is known of a stored document.
#[derive(Debug, Clone)]
pub struct Contents {
    /// The database that holds it.
    pub database: Database,
    /// Its id, unique in its database.
    pub id: DocId,
    /// Its revision.
    pub revision: Revision,
    /// Its type, such as `mailbox_message`.
    pub doc_type: String,
    /// True when it was deleted softly: it is kept, and no list shows it.
    pub deleted: bool,
    /// All its fields, the private ones (`pvt_…`) too.
    pub body: Map<String, Value>,
}

impl Contents {
    /// The fields that the outside may see: top-level keys that begin neither with `_` nor with `pvt_`, and `id`.
    pub fn public(&self) -> Map<String, Value> {
        let mut public = Map::with_capacity(self.body.len() + 1);
        let told = self.body.iter().filter(|(key, _)| !key.starts_with('_') && !key.starts_with("pvt_"));
        public.extend(told.map(|(key, value)| (key.clone(), value.clone())));
        public.insert("id".into(), Value::from(self.id.as_ref()));
        public
    }

    /// The text at `key`, when it is there and is text.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.body.get(key)?.as_str()
    }
}

/// A unique key that is taken until [`Embedded::expire`](crate::Embedded::expire) frees it, whatever becomes of the document that took it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Its space.
    pub space: &'static str,
    /// The key.
    pub key: String,
    /// Until when, in Gregorian seconds.
    pub until: i64,
}

/// What a document shall become: its body and what the store needs to find it again.
#[derive(Debug, Clone, Default)]
pub struct Draft {
    /// Its type.
    pub doc_type: String,
    /// What it belongs to within its database (a message's mailbox), for lists.
    pub parent: Option<String>,
    /// Whose it is, for lists of what is theirs, where its parent is something else.
    pub owner: Option<String>,
    /// The time it carries, in Gregorian seconds, for the order of lists.
    pub at: i64,
    /// Deleted softly.
    pub deleted: bool,
    /// Its unique keys as (space, key). They replace those it held before.
    pub keys: Vec<(&'static str, String)>,
    /// Unique keys that it takes for a time. They stay taken when it changes or is deleted softly.
    pub claims: Vec<Claim>,
    /// All its fields.
    pub body: Map<String, Value>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_counts_and_survives_printing() {
        let first = Revision::next(None, "{}");
        let second = Revision::next(Some(&first), "{}");
        assert_eq!((first.number(), second.number()), (1, 2));
        assert_ne!(first.to_string()[2..], second.to_string()[2..]);
        assert_eq!(second.to_string().parse(), Ok(second));
        for bad in ["", "1", "x-00000000000000000000000000000000", "1-abc", "1-zz000000000000000000000000000000"] {
            assert!(bad.parse::<Revision>().is_err(), "{bad}");
        }
    }
}

//! What a write sees of what is stored, for documents of which it is decided only then what they are ([`Embedded::find_or_create`]).
//!
//! Neighbours of the same group wait meanwhile: it tells what look-ups need and reads no bodies.
//!
//! [`Embedded::find_or_create`]: super::Embedded::find_or_create

use plan::{Database, DocId};
use rusqlite::{Connection, OptionalExtension, params};

use super::rows::place_of_holder;
use crate::Error;

/// What is stored at the moment of a write.
#[derive(Debug)]
pub struct Stored<'a> {
    connection: &'a Connection,
}

/// What is known of a stored document without reading its fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Its type.
    pub doc_type: String,
    /// What it belongs to.
    pub parent: String,
    /// True when it was deleted softly.
    pub deleted: bool,
}

impl<'a> Stored<'a> {
    pub(super) fn of(connection: &'a Connection) -> Self {
        Self { connection }
    }

    /// The document with this id.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable).
    pub fn get(&self, database: &Database, id: &DocId) -> Result<Option<Known>, Error> {
        self.known(&database.name(), id.as_ref())
    }

    /// The document that holds a unique key.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) or [`Corrupt`](crate::ErrorKind::Corrupt).
    pub fn holder(&self, space: &str, key: &str) -> Result<Option<Known>, Error> {
        match place_of_holder(self.connection, space, key)? {
            Some((database, id, _)) => self.known(&database.name(), &id),
            None => Ok(None),
        }
    }

    fn known(&self, database: &str, id: &str) -> Result<Option<Known>, Error> {
        let mut statement =
            self.connection.prepare_cached("SELECT type, parent, deleted FROM documents WHERE db = ?1 AND id = ?2")?;
        let known = statement.query_row(params![database, id], |row| {
            Ok(Known { doc_type: row.get(0)?, parent: row.get(1)?, deleted: row.get(2)? })
        });
        Ok(known.optional()?)
    }
}

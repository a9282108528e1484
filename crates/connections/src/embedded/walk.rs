//! A walk over the databases that hold anything.

use rusqlite::{Connection, params};

use super::Embedded;
use crate::Error;

impl Embedded {
    /// The names of the databases that hold documents, in their order: the first `limit` after `after`.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable).
    pub async fn databases_after(&self, after: &str, limit: usize) -> Result<Vec<String>, Error> {
        let mut last = after.to_owned();
        self.read(move |connection: &Connection| {
            // From one name to the next: of a database with many documents one entry of the index is looked at.
            let mut statement = connection.prepare_cached("SELECT min(db) FROM documents WHERE db > ?1")?;
            let mut names = Vec::new();
            while names.len() < limit {
                let next: Option<String> = statement.query_row(params![last], |row| row.get(0))?;
                let Some(next) = next else { break };
                last.clone_from(&next);
                names.push(next);
            }
            Ok(names)
        })
        .await
    }
}

//! A walk over the databases that hold anything, and a count of what is old in one of them.

use plan::Database;
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

    /// How many documents of a type, deleted softly or not, carry a time before `time` and say one before it at `path` too. Those that carry a later one
    /// are not looked at.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable).
    pub async fn count_before(
        &self,
        database: &Database,
        doc_type: &str,
        time: i64,
        path: &'static str,
    ) -> Result<u64, Error> {
        let (database, doc_type) = (database.name(), doc_type.to_owned());
        self.read(move |connection: &Connection| {
            // Each deletion by itself: there is an index of each.
            let count = |deleted: u8| {
                format!(
                    "SELECT count(*) AS number FROM documents WHERE db = ?1 AND type = ?2 AND deleted = {deleted}
                     AND at < ?3 AND coalesce(json_extract(body, '{path}'), 0) < ?3"
                )
            };
            let sql = format!("SELECT sum(number) FROM ({} UNION ALL {})", count(0), count(1));
            let mut statement = connection.prepare_cached(&sql)?;
            let number: i64 = statement.query_row(params![database, doc_type, time], |row| row.get(0))?;
            Ok(number.unsigned_abs())
        })
        .await
    }
}

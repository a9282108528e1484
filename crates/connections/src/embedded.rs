//! The embedded store: one SQLite file behind a [`groupcommit::Ledger`].
//!
//! One table of documents, one of unique keys. The columns beside `body` are what lists and look-ups need; everything else is JSON, so that
//! `sqlite3 documents.db "select id, json_extract(body,'$.name') from documents"` answers what an operator asks.

use std::path::Path;
use std::sync::Arc;

use groupcommit::Ledger;
use plan::{Database, DocId};
use rusqlite::{Connection, params};
use serde_json::{Map, Value};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::Semaphore;

use crate::recent::{Found, Rooms, Stale};
use crate::{Document, Draft, Error, ErrorKind, Page, Query, Revision, Tally};

mod rows;
mod schema;
mod stored;
mod walk;

use rows::{COLUMNS, Raw, create, find, find_weighed, list, place_of_holder, revision, rewrite_some, store, update};
pub use stored::{Known, Stored};

/// Claims that one transaction frees at most: others write in between.
const EXPIRE_AT_ONCE: u16 = 10_000;

/// Threads of the runtime that look for a document at once.
const LOOKING: usize = 2;

/// The embedded document store. Cheap to clone: clones share the file.
#[derive(Debug, Clone)]
pub struct Embedded {
    ledger: Ledger,
    recent: Rooms,
    /// Who may look for a document on a thread of the runtime.
    looking: Arc<Semaphore>,
}

/// What the closure of [`Embedded::update`] decided.
#[derive(Debug)]
pub enum Change {
    /// Write this body; type, parent, time and keys stay.
    Write(Map<String, Value>),
    /// Write this body and delete the document softly: no list shows it any more, and its keys are free.
    Delete(Map<String, Value>),
    /// Leave the document as it is.
    Leave,
}

impl Embedded {
    /// Opens the store in `file`, creating it when it is absent.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] when the file cannot be opened, or was written by a newer version.
    pub fn open(file: &Path) -> Result<Self, Error> {
        let ledger = Ledger::open(file, schema::prepare)?;
        Ok(Self { ledger, recent: Rooms::new(), looking: Arc::new(Semaphore::new(LOOKING)) })
    }

    /// Sees to it that what was deleted or overwritten is in no file any more. False when a reader stood in the way for now.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`].
    pub async fn scrub(&self) -> Result<bool, Error> {
        Ok(self.ledger.scrub().await?)
    }

    /// Changes the bodies of all documents whose text holds `containing`, some hundred at a time, and nothing else of them: they keep their
    /// revisions. For the maintenance of a file that nobody else uses. The inner error is the closure's; what was changed before it stays.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] or [`ErrorKind::Corrupt`].
    pub async fn rewrite<F, E>(&self, containing: &'static str, change: F) -> Result<Result<(), E>, Error>
    where
        F: Fn(&mut Map<String, Value>) -> Result<bool, E> + Send + Sync + 'static,
        E: Send + 'static,
    {
        let change = Arc::new(change);
        let mut last = 0;
        loop {
            let change = change.clone();
            let some = move |connection: &Connection| rewrite_some(connection, containing, last, &*change);
            match self.ledger.write(some).await?? {
                Ok(Some(next)) => last = next,
                Ok(None) => return Ok(Ok(())),
                Err(error) => return Ok(Err(error)),
            }
        }
    }

    /// Finishes what was asked for and closes the file.
    pub async fn close(&self) {
        self.looking.close();
        self.ledger.close().await;
    }

    /// Writes a file that nobody has open anew, so that nothing is left in it of what was deleted or overwritten.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`].
    pub fn compact(file: &Path) -> Result<(), Error> {
        let connection = Connection::open(file)?;
        connection.execute_batch("PRAGMA synchronous=FULL; PRAGMA secure_delete=ON; VACUUM")?;
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        Ok(())
    }

    /// True while writes are taken.
    pub fn healthy(&self) -> bool {
        self.ledger.healthy()
    }

    /// The document, deleted softly or not.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] or [`ErrorKind::Corrupt`]; an absent document is `None`.
    pub async fn get(&self, database: &Database, id: &DocId) -> Result<Option<Document>, Error> {
        self.got(database, id, self.recent.keeps(database)).await
    }

    /// The same for who may ask for it again at once, as a player asks for a recording part by part: then a document of a month is kept for a while too.
    ///
    /// # Errors
    /// As [`Embedded::get`].
    pub async fn get_again(&self, database: &Database, id: &DocId) -> Result<Option<Document>, Error> {
        self.got(database, id, true).await
    }

    async fn got(&self, database: &Database, id: &DocId, keep: bool) -> Result<Option<Document>, Error> {
        let (healthy, room) = (self.ledger.healthy(), self.recent.of(database));
        let ticket = match room.find(database, id) {
            // While the file is being made good nobody knows what it will hold.
            Found::Kept(document) if healthy => return Ok(document),
            Found::Unknown(ticket) if healthy && keep => Some(ticket),
            _ => None,
        };
        let (asked, name) = (database.clone(), id.clone());
        let found = self.look(move |connection| find_weighed(connection, &asked, name.as_ref())).await?;
        if let Some(ticket) = ticket {
            room.keep(ticket, database, id, found.clone());
        }
        Ok(found.map(|(document, _)| document))
    }

    /// Creates a document.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] when the id is taken, [`ErrorKind::KeyTaken`], [`ErrorKind::Unavailable`].
    pub async fn create(&self, database: &Database, id: &DocId, draft: Draft) -> Result<Document, Error> {
        self.write(database, id, move |connection, database, id| create(connection, database, id, draft)).await
    }

    /// As [`Embedded::create`], of a document that its caller has written down elsewhere, durably: it can be read when this returns, and is durable
    /// with the next write that is. A later one never survives without it.
    ///
    /// # Errors
    /// As [`Embedded::create`].
    pub async fn create_backed(&self, database: &Database, id: &DocId, draft: Draft) -> Result<Document, Error> {
        let change =
            self.prepare(database, id, move |connection, database, id| create(connection, database, id, draft));
        self.ledger.write_backed(change).await?.map(|(written, _stale)| written)
    }

    /// The document whose id `decide` names, created as it says where there is none; true when it is new. `decide` sees what is stored at the moment
    /// of the write, so that nothing can come between.
    ///
    /// # Errors
    /// [`ErrorKind::KeyTaken`], [`ErrorKind::Unavailable`], and what `decide` answers.
    pub async fn find_or_create<F, E>(&self, decide: F) -> Result<(Document, bool), E>
    where
        F: FnOnce(&Stored<'_>) -> Result<(Database, DocId, Draft), E> + Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let recent = self.recent.clone();
        let change = move |connection: &Connection| {
            let (database, id, draft) = decide(&Stored::of(connection))?;
            if let Some(found) = find(connection, &database, id.as_ref())? {
                return Ok(((found, false), None));
            }
            let created = store(connection, &database, &id, None, draft)?;
            Ok::<_, E>(((created, true), Some(recent.of(&database).stale(&database, &id))))
        };
        let written = self.ledger.write(change).await.map_err(Error::from)?;
        written.map(|(found, _stale)| found)
    }

    /// Writes a document over the one that has the `expected` revision.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], [`ErrorKind::Conflict`], [`ErrorKind::KeyTaken`], [`ErrorKind::Unavailable`].
    pub async fn replace(
        &self,
        database: &Database,
        id: &DocId,
        expected: &Revision,
        draft: Draft,
    ) -> Result<Document, Error> {
        let expected = expected.clone();
        self.write(database, id, move |connection, database, id| {
            let current = revision(connection, database, id.as_ref())?
                .ok_or_else(|| Error::new(ErrorKind::NotFound, id.as_ref()))?;
            if current != expected {
                return Err(Error::new(ErrorKind::Conflict, id.as_ref()));
            }
            store(connection, database, id, Some(&current), draft)
        })
        .await
    }

    /// Changes the body of a document in one step: `change` sees what is stored at the moment of the write, so nothing can come between.
    /// Answers the document as it stands afterwards.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], [`ErrorKind::Unavailable`], and what `change` answers.
    pub async fn update<F>(&self, database: &Database, id: &DocId, change: F) -> Result<Document, Error>
    where
        F: FnOnce(&Document) -> Result<Change, Error> + Send + 'static,
    {
        self.write(database, id, move |connection, database, id| update(connection, database, id, change)).await
    }

    /// As [`Embedded::update`], for who has a few milliseconds: it waits for others to share its commit with.
    ///
    /// # Errors
    /// As [`Embedded::update`].
    pub async fn update_patiently<F>(&self, database: &Database, id: &DocId, change: F) -> Result<Document, Error>
    where
        F: FnOnce(&Document) -> Result<Change, Error> + Send + 'static,
    {
        let change =
            self.prepare(database, id, move |connection, database, id| update(connection, database, id, change));
        self.ledger.write_patiently(change).await?.map(|(written, _stale)| written)
    }

    /// Removes a document for good; with `expected`, only at that revision.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], [`ErrorKind::Conflict`], [`ErrorKind::Unavailable`].
    pub async fn remove(&self, database: &Database, id: &DocId, expected: Option<&Revision>) -> Result<(), Error> {
        let expected = expected.cloned();
        self.write(database, id, move |connection, database, id| {
            let current = revision(connection, database, id.as_ref())?
                .ok_or_else(|| Error::new(ErrorKind::NotFound, id.as_ref()))?;
            if expected.is_some_and(|expected| expected != current) {
                return Err(Error::new(ErrorKind::Conflict, id.as_ref()));
            }
            connection
                .prepare_cached("DELETE FROM keys WHERE db = ?1 AND id = ?2")?
                .execute(params![database.name(), id.as_ref()])?;
            connection
                .prepare_cached("DELETE FROM documents WHERE db = ?1 AND id = ?2")?
                .execute(params![database.name(), id.as_ref()])?;
            Ok(())
        })
        .await
    }

    /// Frees the claims of a space whose time has come: `until` at or before `now`. Answers how many there were.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`].
    pub async fn expire(&self, space: &'static str, now: i64) -> Result<usize, Error> {
        let free = move |connection: &Connection| {
            let mut statement = connection.prepare_cached(
                "DELETE FROM keys WHERE (space, key) IN (
                   SELECT space, key FROM keys WHERE space = ?1 AND until > 0 AND until <= ?2 ORDER BY until LIMIT ?3)",
            )?;
            statement.execute(params![space, now, EXPIRE_AT_ONCE])
        };
        let mut freed = 0;
        loop {
            let some = self.ledger.write_patiently(free).await??;
            freed += some;
            if some < usize::from(EXPIRE_AT_ONCE) {
                return Ok(freed);
            }
        }
    }

    /// The document that holds a unique key; one that was deleted softly may still hold a claim.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] or [`ErrorKind::Corrupt`]; a free key is `None`.
    pub async fn holder(&self, space: &'static str, key: &str) -> Result<Option<Document>, Error> {
        let healthy = self.ledger.healthy();
        let ticket = match self.recent.of_holders().find_holder(space, key) {
            Found::Kept(document) if healthy => return Ok(document),
            Found::Unknown(ticket) if healthy => Some(ticket),
            _ => None,
        };
        let asked = key.to_owned();
        let found = self.read(move |connection| {
            let Some((database, id, until)) = place_of_holder(connection, space, &asked)? else { return Ok(None) };
            Ok(find_weighed(connection, &database, &id)?.map(|(document, weight)| (document, weight, until)))
        });
        Ok(found.await?.map(|(document, weight, until)| {
            // A claim goes without a write of who took it.
            if let Some(ticket) = ticket.filter(|_| until == 0) {
                self.recent.of_holders().keep_holder(ticket, space, key, document.clone(), weight);
            }
            document
        }))
    }

    /// A page of documents that are not deleted.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] or [`ErrorKind::Corrupt`].
    pub async fn list(&self, query: Query) -> Result<Page, Error> {
        self.read(move |connection| list(connection, &query)).await
    }

    /// The documents of a type that have one of these parents and are not deleted, in no order. One question, however many they are.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] or [`ErrorKind::Corrupt`].
    pub async fn of_parents(
        &self,
        database: &Database,
        doc_type: &str,
        parents: &[String],
    ) -> Result<Vec<Document>, Error> {
        let (database, doc_type, parents) = (database.clone(), doc_type.to_owned(), Value::from(parents).to_string());
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM documents
                 WHERE db = ?1 AND type = ?2 AND deleted = 0 AND parent IN (SELECT value FROM json_each(?3))"
            ))?;
            let rows = statement.query_map(params![database.name(), doc_type, parents], Raw::read)?;
            rows.map(|raw| Ok(raw?.document(&database)?.1)).collect()
        })
        .await
    }

    /// How many documents of a type and parent a database holds whose time is at or after `from` (Gregorian seconds), by the text at
    /// `path` (such as `$.metadata.folder`) in their body.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`].
    pub async fn count_by(
        &self,
        database: &Database,
        doc_type: &str,
        parent: &str,
        from: i64,
        path: &'static str,
    ) -> Result<Vec<(String, u64)>, Error> {
        let (database, doc_type, parent) = (database.name(), doc_type.to_owned(), parent.to_owned());
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT coalesce(json_extract(body, ?4), ''), count(*) FROM documents
                 WHERE db = ?1 AND type = ?2 AND parent = ?3 AND deleted = 0 AND at >= ?5 GROUP BY 1",
            )?;
            let rows = statement.query_map(params![database, doc_type, parent, path, from], |row| {
                Ok((row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs()))
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Counts the members of the object in the field `each` of all documents of a database, and sums up what stands at `sum` in them: by the
    /// documents' type and by the texts at the paths `by` (such as `$.state`) in a member.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`].
    pub async fn tally(
        &self,
        database: &Database,
        each: &'static str,
        by: &'static [&'static str],
        sum: &'static str,
    ) -> Result<Vec<Tally>, Error> {
        let database = database.name();
        self.read(move |connection| {
            let columns: String = by.iter().map(|path| format!(", json_extract(member.value, '{path}')")).collect();
            let group: Vec<String> = (1..=by.len() + 1).map(|column| column.to_string()).collect();
            let mut statement = connection.prepare_cached(&format!(
                "SELECT documents.type{columns}, count(*), sum(coalesce(json_extract(member.value, '{sum}'), 0))
                 FROM documents, json_each(documents.body, '$.{each}') AS member
                 WHERE documents.db = ?1 AND documents.deleted = 0 GROUP BY {}",
                group.join(", ")
            ))?;
            let rows = statement.query_map(params![database], |row| {
                let texts = (1..=by.len()).map(|column| row.get(column)).collect::<Result<_, _>>()?;
                let number = |column: usize| Ok::<_, rusqlite::Error>(row.get::<_, i64>(column)?.unsigned_abs());
                let (count, sum) = (number(by.len() + 1)?, number(by.len() + 2)?);
                Ok(Tally { doc_type: row.get(0)?, by: texts, count, sum })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    async fn read<T, F>(&self, question: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    {
        self.ledger.read(question).await?
    }

    /// The same for one document. It lies in memory as a rule, and is found in less time than it takes to hand a question to another thread and its
    /// answer back: so this thread looks, and what else it has to do goes on elsewhere. A few do so at once, whatever the disk does.
    async fn look<T, F>(&self, question: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    {
        let may = Handle::try_current().is_ok_and(|handle| handle.runtime_flavor() == RuntimeFlavor::MultiThread);
        match self.looking.try_acquire().ok().filter(|_| may) {
            Some(_turn) => tokio::task::block_in_place(|| self.ledger.read_blocking(question))?,
            None => self.read(question).await,
        }
    }

    /// Runs `change`, which may write this document and no other.
    async fn write<T, F>(&self, database: &Database, id: &DocId, change: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Connection, &Database, &DocId) -> Result<T, Error> + Send + 'static,
    {
        let change = self.prepare(database, id, change);
        self.ledger.write(change).await?.map(|(written, _stale)| written)
    }

    /// The closure of a write, which hands out with its answer what is stale then: that lives until the commit, whoever still waits.
    fn prepare<T, F>(
        &self,
        database: &Database,
        id: &DocId,
        change: F,
    ) -> impl FnOnce(&Connection) -> Result<(T, Stale), Error> + Send + 'static
    where
        T: Send + 'static,
        F: FnOnce(&Connection, &Database, &DocId) -> Result<T, Error> + Send + 'static,
    {
        let stale = self.recent.of(database).stale(database, id);
        let (database, id) = (database.clone(), id.clone());
        move |connection| change(connection, &database, &id).map(|written| (written, stale))
    }
}

#[cfg(test)]
#[path = "embedded_tests.rs"]
mod tests;

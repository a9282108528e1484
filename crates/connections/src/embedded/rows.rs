//! The statements on the tables, each on one document or one page of them. They know rows; what may be written when is decided above.

use plan::{Database, DocId};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::{Map, Value};

use super::Change;
use crate::{Claim, Contents, Cursor, Document, Draft, Error, ErrorKind, Order, Page, Query, Revision};

pub(super) fn print(body: &Map<String, Value>) -> String {
    // Keys are texts: it cannot fail.
    serde_json::to_string(body).unwrap_or_else(|_| Value::Object(body.clone()).to_string())
}

pub(super) fn parse_database(name: &str) -> Result<Database, Error> {
    Database::parse(name).map_err(|source| Error::caused(ErrorKind::Corrupt, name, source))
}

/// Where the holder of a key is, and until when it has it; 0 is for good.
pub(super) fn place_of_holder(
    connection: &Connection,
    space: &str,
    key: &str,
) -> Result<Option<(Database, String, i64)>, Error> {
    let place: Option<(String, String, i64)> = connection
        .prepare_cached("SELECT db, id, until FROM keys WHERE space = ?1 AND key = ?2")?
        .query_row(params![space, key], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    place.map(|(database, id, until)| Ok((parse_database(&database)?, id, until))).transpose()
}

pub(super) fn revision(connection: &Connection, database: &Database, id: &str) -> Result<Option<Revision>, Error> {
    let text: Option<String> = connection
        .prepare_cached("SELECT revision FROM documents WHERE db = ?1 AND id = ?2")?
        .query_row(params![database.name(), id], |row| row.get(0))
        .optional()?;
    text.map(|text| text.parse().map_err(|()| Error::new(ErrorKind::Corrupt, id))).transpose()
}

pub(super) const COLUMNS: &str = "id, revision, type, deleted, body, at";

pub(super) struct Raw {
    id: String,
    revision: String,
    doc_type: String,
    deleted: bool,
    body: String,
    at: i64,
}

impl Raw {
    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            revision: row.get(1)?,
            doc_type: row.get(2)?,
            deleted: row.get(3)?,
            body: row.get(4)?,
            at: row.get(5)?,
        })
    }

    pub(super) fn document(self, database: &Database) -> Result<(Cursor, Document), Error> {
        let corrupt = |id: &str| Error::new(ErrorKind::Corrupt, id);
        let cursor = Cursor { at: self.at, id: self.id.clone() };
        let document = Contents {
            database: database.clone(),
            revision: self.revision.parse().map_err(|()| corrupt(&self.id))?,
            body: serde_json::from_str(&self.body)
                .map_err(|source| Error::caused(ErrorKind::Corrupt, self.id.as_str(), source))?,
            id: DocId::parse(&self.id).map_err(|source| Error::caused(ErrorKind::Corrupt, self.id.as_str(), source))?,
            doc_type: self.doc_type,
            deleted: self.deleted,
        };
        Ok((cursor, document.into()))
    }
}

pub(super) fn find(connection: &Connection, database: &Database, id: &str) -> Result<Option<Document>, Error> {
    Ok(find_weighed(connection, database, id)?.map(|(document, _)| document))
}

/// The document and the bytes of its text.
pub(super) fn find_weighed(
    connection: &Connection,
    database: &Database,
    id: &str,
) -> Result<Option<(Document, usize)>, Error> {
    let raw = connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM documents WHERE db = ?1 AND id = ?2"))?
        .query_row(params![database.name(), id], Raw::read)
        .optional()?;
    let Some(raw) = raw else { return Ok(None) };
    let weight = raw.body.len();
    let (_, document) = raw.document(database)?;
    Ok(Some((document, weight)))
}

pub(super) fn forget_keys(connection: &Connection, database: &Database, id: &str) -> Result<(), Error> {
    connection
        .prepare_cached("DELETE FROM keys WHERE db = ?1 AND id = ?2 AND until = 0")?
        .execute(params![database.name(), id])?;
    Ok(())
}

/// Stores a document where there is none.
pub(super) fn create(
    connection: &Connection,
    database: &Database,
    id: &DocId,
    draft: Draft,
) -> Result<Document, Error> {
    let taken = connection
        .prepare_cached("SELECT 1 FROM documents WHERE db = ?1 AND id = ?2")?
        .exists(params![database.name(), id.as_ref()])?;
    if taken {
        return Err(Error::new(ErrorKind::Conflict, id.as_ref()));
    }
    store(connection, database, id, None, draft)
}

pub(super) fn store(
    connection: &Connection,
    database: &Database,
    id: &DocId,
    previous: Option<&Revision>,
    draft: Draft,
) -> Result<Document, Error> {
    let name = database.name();
    let text = print(&draft.body);
    let revision = Revision::next(previous, &text);
    if previous.is_some() {
        forget_keys(connection, database, id.as_ref())?;
    }
    let keys = draft.keys.iter().map(|(space, key)| (*space, key, 0));
    let claims = draft.claims.iter().map(|Claim { space, key, until }| (*space, key, *until));
    for (space, key, until) in keys.chain(claims) {
        let added = connection
            .prepare_cached("INSERT OR IGNORE INTO keys (space, key, db, id, until) VALUES (?1, ?2, ?3, ?4, ?5)")?
            .execute(params![space, key, name, id.as_ref(), until])?;
        if added == 0 {
            return Err(Error::new(ErrorKind::KeyTaken, space));
        }
    }
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO documents (db, id, revision, type, parent, owner, at, deleted, body)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            name,
            id.as_ref(),
            revision.to_string(),
            draft.doc_type,
            draft.parent.unwrap_or_default(),
            draft.owner.unwrap_or_default(),
            draft.at,
            draft.deleted,
            text
        ])?;
    let document = Contents {
        database: database.clone(),
        id: id.clone(),
        revision,
        doc_type: draft.doc_type,
        deleted: draft.deleted,
        body: draft.body,
    };
    Ok(document.into())
}

pub(super) fn update(
    connection: &Connection,
    database: &Database,
    id: &DocId,
    change: impl FnOnce(&Document) -> Result<Change, Error>,
) -> Result<Document, Error> {
    let mut document =
        find(connection, database, id.as_ref())?.ok_or_else(|| Error::new(ErrorKind::NotFound, id.as_ref()))?;
    let body = match change(&document)? {
        Change::Leave => return Ok(document),
        Change::Write(body) => body,
        Change::Delete(body) => {
            forget_keys(connection, database, id.as_ref())?;
            document.deleted = true;
            body
        }
    };
    let text = print(&body);
    document.revision = Revision::next(Some(&document.revision), &text);
    document.body = body;
    // The indices hold only what is not deleted: a statement that names `deleted` rewrites them, also when it stays as it is.
    let sql = match document.deleted {
        true => "UPDATE documents SET revision = ?3, body = ?4, deleted = 1 WHERE db = ?1 AND id = ?2",
        false => "UPDATE documents SET revision = ?3, body = ?4 WHERE db = ?1 AND id = ?2",
    };
    let values = params![database.name(), id.as_ref(), document.revision.to_string(), text];
    connection.prepare_cached(sql)?.execute(values)?;
    Ok(document)
}

pub(super) fn list(connection: &Connection, query: &Query) -> Result<Page, Error> {
    // Said in the statement itself: there is an index of each.
    let deleted = i32::from(query.deleted);
    let mut sql = format!("SELECT {COLUMNS} FROM documents WHERE db = ? AND type = ? AND deleted = {deleted}");
    let mut values: Vec<rusqlite::types::Value> = vec![query.database.name().into(), query.doc_type.clone().into()];
    if let Some(parent) = &query.parent {
        sql.push_str(" AND parent = ?");
        values.push(parent.clone().into());
    }
    if let Some(owner) = &query.owner {
        // Only those that have one are in the index.
        sql.push_str(" AND owner = ? AND owner <> ''");
        values.push(owner.clone().into());
    }
    if let Some(from) = query.from {
        sql.push_str(" AND at >= ?");
        values.push(from.into());
    }
    if let Some(to) = query.to {
        sql.push_str(" AND at <= ?");
        values.push(to.into());
    }
    let (comparison, direction) = match query.order {
        Order::Descending => ("<=", "DESC"),
        Order::Ascending => (">=", "ASC"),
    };
    if let Some(start) = &query.start {
        sql.push_str(&format!(" AND (at, id) {comparison} (?, ?)"));
        values.push(start.at.into());
        values.push(start.id.clone().into());
    }
    // One row more than asked for tells where the next page begins.
    let limit = query.limit.saturating_add(1);
    sql.push_str(&format!(" ORDER BY at {direction}, id {direction} LIMIT {limit}"));
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(rusqlite::params_from_iter(values), Raw::read)?;
    let mut documents = Vec::new();
    for raw in rows {
        documents.push(raw?.document(&query.database)?);
    }
    let next = (documents.len() > query.limit).then(|| documents.pop()).flatten().map(|(cursor, _)| cursor);
    Ok(Page { documents, next })
}

/// Documents that one transaction of a rewrite changes at most.
pub(super) const REWRITE_AT_ONCE: usize = 500;

/// Changes some documents after the row `last`. Answers the row to go on after, or none.
pub(super) fn rewrite_some<E>(
    connection: &Connection,
    containing: &str,
    last: i64,
    change: &impl Fn(&mut Map<String, Value>) -> Result<bool, E>,
) -> Result<Result<Option<i64>, E>, Error> {
    let found: Vec<(i64, String, String)> = connection
        .prepare_cached(
            "SELECT rowid, id, body FROM documents WHERE rowid > ?1 AND instr(body, ?2) ORDER BY rowid LIMIT ?3",
        )?
        .query_map(params![last, containing, REWRITE_AT_ONCE as i64], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?
        .collect::<Result<_, _>>()?;
    let mut reached = None;
    for (row, id, text) in found {
        let mut body = serde_json::from_str(&text).map_err(|source| Error::caused(ErrorKind::Corrupt, id, source))?;
        match change(&mut body) {
            Ok(true) => {
                connection
                    .prepare_cached("UPDATE documents SET body = ?2 WHERE rowid = ?1")?
                    .execute(params![row, print(&body)])?;
            }
            Ok(false) => {}
            Err(error) => return Ok(Err(error)),
        }
        reached = Some(row);
    }
    Ok(Ok(reached))
}

//! The tables of the store, made or brought up to date when its file is opened, in one transaction.

use rusqlite::Connection;

/// Bumped when the tables change; a newer file is refused, an older one is brought up to date at opening.
pub(super) const SCHEMA_VERSION: i64 = 4;

pub(super) fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version > SCHEMA_VERSION {
        return Err(rusqlite::Error::ToSqlConversionFailure(
            format!("documents.db has schema {version}, this program knows {SCHEMA_VERSION}: use the newer program")
                .into(),
        ));
    }
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS documents (
           db       TEXT NOT NULL,
           id       TEXT NOT NULL,
           revision TEXT NOT NULL,
           type     TEXT NOT NULL,
           parent   TEXT NOT NULL DEFAULT '',
           at       INTEGER NOT NULL,
           deleted  INTEGER NOT NULL DEFAULT 0,
           body     TEXT NOT NULL,
           PRIMARY KEY (db, id)
         );
         CREATE INDEX IF NOT EXISTS documents_by_time ON documents (db, type, at, id) WHERE deleted = 0;
         CREATE INDEX IF NOT EXISTS documents_by_parent ON documents (db, type, parent, at, id) WHERE deleted = 0;
         CREATE TABLE IF NOT EXISTS keys (
           space TEXT NOT NULL,
           key   TEXT NOT NULL,
           db    TEXT NOT NULL,
           id    TEXT NOT NULL,
           PRIMARY KEY (space, key)
         ) WITHOUT ROWID;
         CREATE INDEX IF NOT EXISTS keys_by_document ON keys (db, id);",
    )?;
    if version < 2 {
        // A key with a time is a claim, and stays when its document lets go of its keys.
        connection.execute_batch(
            "ALTER TABLE keys ADD COLUMN until INTEGER NOT NULL DEFAULT 0;
             CREATE INDEX claims_by_time ON keys (space, until) WHERE until > 0;",
        )?;
    }
    if version < 3 {
        // Call records name their owner among the variables of the channel, or at the top.
        connection.execute_batch(
            "ALTER TABLE documents ADD COLUMN owner TEXT NOT NULL DEFAULT '';
             UPDATE documents SET owner = coalesce(
               nullif(json_extract(body, '$.custom_channel_vars.owner_id'), ''), json_extract(body, '$.owner_id'), '')
             WHERE type = 'cdr';
             CREATE INDEX documents_by_owner ON documents (db, type, owner, at, id) WHERE deleted = 0 AND owner <> '';",
        )?;
    }
    if version < 4 {
        // What was deleted softly is looked for by its age.
        connection
            .execute_batch("CREATE INDEX documents_deleted ON documents (db, type, at, id) WHERE deleted = 1;")?;
    }
    connection.pragma_update(None, "user_version", SCHEMA_VERSION)
}

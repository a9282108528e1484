//! The journal's table and the statements on it.
//!
//! `running` is no state of a row: what a worker has is waiting in the file, so that it waits again when the process has died.

use std::collections::HashSet;

use rusqlite::{Connection, OptionalExtension, Row, ffi, params};

use crate::{FileId, Job, JobError, JobId, JobState, NewJob};

/// Bumped when the table changes; a newer file is refused, an older one is brought up to date at opening.
const SCHEMA_VERSION: i64 = 1;

const RESERVED: i64 = 0;
const WAITING: i64 = 1;
const PARKED: i64 = 2;

pub(super) fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version > SCHEMA_VERSION {
        let text =
            format!("the journal has schema {version}, this program knows {SCHEMA_VERSION}: use the newer program");
        return Err(rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_CANTOPEN), Some(text)));
    }
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS jobs (
           id            INTEGER PRIMARY KEY,
           state         INTEGER NOT NULL,             -- 0 reserved, 1 waiting, 2 parked
           due           INTEGER NOT NULL,             -- milliseconds since 1970
           key           TEXT NOT NULL,
           lane          TEXT NOT NULL,
           scope         TEXT NOT NULL,
           kind          TEXT NOT NULL,
           payload       BLOB,                         -- the id of a spool file
           keep_payload  INTEGER NOT NULL,
           size          INTEGER NOT NULL,
           attempts      INTEGER NOT NULL DEFAULT 0,
           since         INTEGER NOT NULL,             -- milliseconds since 1970
           error_code    TEXT,
           error_message TEXT,
           error_status  INTEGER,
           body          BLOB NOT NULL
         ) STRICT;
         CREATE INDEX IF NOT EXISTS jobs_by_scope ON jobs (scope, id);
         CREATE INDEX IF NOT EXISTS jobs_by_payload ON jobs (payload) WHERE payload IS NOT NULL;",
    )?;
    connection.pragma_update(None, "user_version", SCHEMA_VERSION)
}

/// What the index needs of a row.
pub(super) struct Waiting {
    pub(super) id: u64,
    pub(super) state: JobState,
    pub(super) due: i64,
    pub(super) key: String,
    pub(super) lane: String,
}

/// Reads all rows in the order of their ids.
pub(super) fn each_waiting(connection: &Connection, mut each: impl FnMut(Waiting)) -> rusqlite::Result<()> {
    let mut statement = connection.prepare("SELECT id, state, due, key, lane FROM jobs ORDER BY id")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        each(Waiting {
            id: row.get::<_, i64>(0)?.unsigned_abs(),
            state: state(row.get(1)?),
            due: row.get(2)?,
            key: row.get(3)?,
            lane: row.get(4)?,
        });
    }
    Ok(())
}

pub(super) fn insert(
    connection: &Connection,
    id: u64,
    job: &NewJob,
    state: JobState,
    now: i64,
) -> rusqlite::Result<()> {
    let state = if state == JobState::Reserved { RESERVED } else { WAITING };
    connection
        .prepare_cached(
            // An id is used once: a row that is there is this job's, of a commit whose answer was lost.
            "INSERT OR IGNORE INTO jobs (id, state, due, key, lane, scope, kind, payload, keep_payload, size, since, body)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?3, ?11)",
        )?
        .execute(params![
            signed(id),
            state,
            now,
            job.key,
            job.lane,
            job.scope,
            job.kind,
            job.payload.as_ref().map(FileId::as_bytes),
            job.keep_payload,
            signed(job.size),
            job.body,
        ])?;
    Ok(())
}

/// Writes something, so that the commit has something to sync.
pub(super) fn touch(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "user_version", SCHEMA_VERSION)
}

pub(super) fn confirm(connection: &Connection, ids: &[u64]) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached("UPDATE jobs SET state = ?2 WHERE id = ?1 AND state = ?3")?;
    for &id in ids {
        statement.execute(params![signed(id), WAITING, RESERVED])?;
    }
    Ok(())
}

/// Removes a job. Answers its payload when the job owned it and no other job refers to it.
pub(super) fn delete(connection: &Connection, id: u64) -> rusqlite::Result<Option<FileId>> {
    let removed: Option<(Option<[u8; 16]>, bool)> = connection
        .prepare_cached("DELETE FROM jobs WHERE id = ?1 RETURNING payload, keep_payload")?
        .query_row([signed(id)], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((Some(payload), false)) = removed else { return Ok(None) };
    let shared = connection.prepare_cached("SELECT 1 FROM jobs WHERE payload = ?1")?.exists([payload])?;
    Ok((!shared).then(|| FileId::from_bytes(payload)))
}

pub(super) fn postpone(connection: &Connection, id: u64, due: i64, error: &JobError) -> rusqlite::Result<()> {
    failed(connection, id, WAITING, due, error, true)
}

/// `counted`: whether the attempt counts as one.
pub(super) fn park(
    connection: &Connection,
    id: u64,
    now: i64,
    error: &JobError,
    counted: bool,
) -> rusqlite::Result<()> {
    failed(connection, id, PARKED, now, error, counted)
}

fn failed(
    connection: &Connection,
    id: u64,
    state: i64,
    due: i64,
    error: &JobError,
    counted: bool,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "UPDATE jobs SET state = ?2, due = ?3, attempts = attempts + ?7, error_code = ?4, error_message = ?5, error_status = ?6
             WHERE id = ?1",
        )?
        .execute(params![signed(id), state, due, error.code, error.message, error.http_status, counted])?;
    Ok(())
}

/// Makes these jobs due, waiting or parked.
pub(super) fn revive(connection: &Connection, ids: &[u64], now: i64) -> rusqlite::Result<()> {
    let mut statement =
        connection.prepare_cached("UPDATE jobs SET state = ?3, due = ?2 WHERE id = ?1 AND state <> ?4")?;
    for &id in ids {
        statement.execute(params![signed(id), now, WAITING, RESERVED])?;
    }
    Ok(())
}

/// The jobs that are parked for this reason.
pub(super) fn parked_for(connection: &Connection, code: &str) -> rusqlite::Result<Vec<u64>> {
    connection
        .prepare("SELECT id FROM jobs WHERE state = ?1 AND error_code = ?2 ORDER BY id")?
        .query_map(params![PARKED, code], |row| Ok(row.get::<_, i64>(0)?.unsigned_abs()))?
        .collect()
}

/// Makes these jobs of a scope due; answers those that it found waiting or parked.
pub(super) fn redrive(connection: &Connection, scope: &str, ids: Vec<u64>, now: i64) -> rusqlite::Result<Vec<u64>> {
    let mut statement = connection
        .prepare_cached("UPDATE jobs SET state = ?4, due = ?3 WHERE id = ?1 AND scope = ?2 AND state <> ?5")?;
    let mut found = Vec::with_capacity(ids.len());
    for id in ids {
        if statement.execute(params![signed(id), scope, now, WAITING, RESERVED])? > 0 {
            found.push(id);
        }
    }
    Ok(found)
}

/// As [`redrive`], for the first jobs of the scope from `start` on.
pub(super) fn redrive_from(
    connection: &Connection,
    scope: &str,
    start: u64,
    limit: usize,
    now: i64,
) -> rusqlite::Result<Vec<u64>> {
    let ids: Vec<u64> = connection
        .prepare_cached("SELECT id FROM jobs WHERE scope = ?1 AND id >= ?2 AND state <> ?3 ORDER BY id LIMIT ?4")?
        .query_map(params![scope, signed(start), RESERVED, rows(limit)], |row| {
            Ok(row.get::<_, i64>(0)?.unsigned_abs())
        })?
        .collect::<rusqlite::Result<_>>()?;
    redrive(connection, scope, ids, now)
}

pub(super) fn make_due(connection: &Connection, ids: &[u64], now: i64) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached("UPDATE jobs SET due = ?2 WHERE id = ?1 AND due > ?2")?;
    for &id in ids {
        statement.execute([signed(id), now])?;
    }
    Ok(())
}

pub(super) fn update(connection: &Connection, id: u64, body: &[u8], lane: &str) -> rusqlite::Result<()> {
    connection.prepare_cached("UPDATE jobs SET body = ?2, lane = ?3 WHERE id = ?1")?.execute(params![
        signed(id),
        body,
        lane
    ])?;
    Ok(())
}

pub(super) fn get(connection: &Connection, id: u64) -> rusqlite::Result<Option<Job>> {
    connection.prepare_cached(&select("id = ?1"))?.query_row([signed(id)], job).optional()
}

pub(super) fn reservations(connection: &Connection) -> rusqlite::Result<Vec<Job>> {
    connection.prepare(&select("state = 0 ORDER BY id"))?.query_map([], job)?.collect()
}

pub(super) fn list(connection: &Connection, scope: &str, start: u64, limit: usize) -> rusqlite::Result<Vec<Job>> {
    connection
        .prepare_cached(&select("scope = ?1 AND id >= ?2 ORDER BY id LIMIT ?3"))?
        .query_map(params![scope, signed(start), rows(limit)], job)?
        .collect()
}

pub(super) fn payloads(connection: &Connection) -> rusqlite::Result<HashSet<FileId>> {
    connection
        .prepare("SELECT payload FROM jobs WHERE payload IS NOT NULL")?
        .query_map([], |row| row.get(0).map(FileId::from_bytes))?
        .collect()
}

fn select(condition: &str) -> String {
    format!(
        "SELECT id, kind, key, lane, scope, payload, keep_payload, size, body, state, attempts, since, due,
                error_code, error_message, error_status
         FROM jobs WHERE {condition}"
    )
}

fn job(row: &Row<'_>) -> rusqlite::Result<Job> {
    let state = state(row.get(9)?);
    let code: Option<String> = row.get(13)?;
    let message: Option<String> = row.get(14)?;
    let http_status = row.get(15)?;
    Ok(Job {
        id: JobId(row.get::<_, i64>(0)?.unsigned_abs()),
        kind: row.get(1)?,
        key: row.get(2)?,
        lane: row.get(3)?,
        scope: row.get(4)?,
        payload: row.get::<_, Option<[u8; 16]>>(5)?.map(FileId::from_bytes),
        keep_payload: row.get(6)?,
        size: row.get::<_, i64>(7)?.unsigned_abs(),
        body: row.get(8)?,
        state,
        attempts: row.get(10)?,
        since: row.get(11)?,
        next_attempt: Some(row.get(12)?),
        last_error: code.zip(message).map(|(code, message)| JobError { code, message, http_status }),
    })
}

fn state(stored: i64) -> JobState {
    match stored {
        RESERVED => JobState::Reserved,
        PARKED => JobState::Parked,
        _ => JobState::Waiting,
    }
}

/// Ids and sizes stay below 2⁶³.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn rows(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

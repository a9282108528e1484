//! Opening the file, and making good what it holds.
//!
//! Two facts decide what stands here. A connection of ours never checkpoints when it closes: a checkpoint syncs, and its failure would
//! pass unseen. And no descriptor of the *database file* is opened beside SQLite's own: closing it would drop the locks of the whole
//! process. The WAL carries no locks and may be opened.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, ffi};

use crate::Error;

/// How long a lock of another process (an operator's `sqlite3`) is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// Prepared statements that a connection keeps.
const STATEMENTS: usize = 256;
/// Bytes of the WAL that are written again in one piece.
const PIECE: usize = 1 << 20;

/// Whether the checkpoint of an opening must reach its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Checkpoint {
    /// A reader in another process may hold it up: what the WAL keeps is durable there.
    Tried,
    /// After a failure nothing is written before the WAL is empty.
    Complete,
}

/// Opens the writer's connection and makes the file's content durable. `pages` receives the size of the WAL after each commit.
pub(crate) fn open_writer(path: &Path, checkpoint: Checkpoint, pages: Arc<AtomicI32>) -> Result<Connection, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    prepare(&connection)?;
    // To its last row: the change is committed after the first, and who stops there does not hear that it failed.
    let modes = connection
        .prepare("PRAGMA journal_mode=WAL")?
        .query_map([], |row| row.get(0))?
        .collect::<Result<Vec<String>, _>>()?;
    if modes != ["wal"] {
        return Err(io::Error::other("the file system does not support a write-ahead log").into());
    }
    connection.execute_batch(
        // Without spilling, a transaction touches the WAL at its commit and nowhere else. What is deleted is overwritten: a file that somebody
        // copies holds what it says it holds.
        "PRAGMA synchronous=FULL; PRAGMA cache_spill=OFF; PRAGMA temp_store=MEMORY; PRAGMA cache_size=-16000;
         PRAGMA journal_size_limit=67108864; PRAGMA secure_delete=ON",
    )?;
    // This also replaces SQLite's own automatic checkpoint, which keeps its failures to itself.
    connection.wal_hook(Some(move |_: &mut _, count| {
        pages.store(count, Ordering::Relaxed);
        Ok(())
    }))?;
    make_durable(&connection, path, checkpoint)?;
    Ok(connection)
}

/// Whether commits sync from now on. Checkpoints do in any case, and so does the beginning of a WAL that is written over.
pub(crate) fn sync_commits(connection: &Connection, sync: bool) -> rusqlite::Result<()> {
    connection.execute_batch(if sync { "PRAGMA synchronous=FULL" } else { "PRAGMA synchronous=NORMAL" })
}

/// Opens a read-only connection. The writer has opened the file before.
pub(crate) fn open_reader(path: &Path) -> Result<Connection, Error> {
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    prepare(&connection)?;
    Ok(connection)
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(PATIENCE)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(())
}

/// Makes all that can be read from this connection durable, whatever became of earlier fsyncs.
///
/// The WAL's bytes are written again, which makes the kernel's pages dirty again, and only then synced: this sync means what it says.
/// The database file needs no such care: a checkpoint writes every page anew before it syncs.
fn make_durable(connection: &Connection, path: &Path, checkpoint: Checkpoint) -> Result<(), Error> {
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let written = write_again(&beside(path, "-wal"));
    connection.execute_batch("ROLLBACK")?;
    written?;
    let busy = empty_wal(connection)?;
    if busy && checkpoint == Checkpoint::Complete {
        return Err(sqlite(ffi::SQLITE_BUSY, "a reader holds up the checkpoint").into());
    }
    Ok(())
}

fn write_again(wal: &Path) -> io::Result<()> {
    let file = match OpenOptions::new().read(true).write(true).open(wal) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut piece = vec![0; PIECE];
    let mut at = 0;
    loop {
        let read = file.read_at(&mut piece, at)?;
        if read == 0 {
            break;
        }
        file.write_all_at(&piece[..read], at)?;
        at += read as u64;
    }
    if at > 0 { file.sync_all() } else { Ok(()) }
}

/// Copies the WAL into the database file and empties it. True when a reader or writer elsewhere stood in the way.
pub(crate) fn empty_wal(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
}

/// Copies what can be copied without waiting for anybody. True when the whole WAL was copied.
pub(crate) fn copy_wal(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| Ok(row.get::<_, i64>(1)? == row.get::<_, i64>(2)?))
}

pub(crate) fn sqlite(code: i32, text: &str) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(code), Some(text.to_owned()))
}

/// Creates the folders above `path` that are missing, each made durable in the one above it.
pub(crate) fn create_folders(path: &Path) -> io::Result<()> {
    let folder = folder_of(path);
    if folder.is_dir() {
        return Ok(());
    }
    create_folders(folder)?;
    match std::fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    File::open(folder_of(folder))?.sync_all()
}

/// Makes the entries of the file and its companions durable.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(folder_of(path))?.sync_all()
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

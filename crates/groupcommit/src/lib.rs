//! One SQLite file, one writer thread, commits in groups.
//!
//! `connections` keeps documents in such a file, `delivery` its journal. Both need the same three promises, so they stand here once:
//!
//! 1. **An answered write is durable.** The writer thread takes every write that waits, runs each inside a *savepoint of its own* in one
//!    transaction, commits (WAL, `synchronous=FULL`: one fsync), and only then answers. A write that fails rolls back to its savepoint
//!    and its neighbours never notice.
//! 2. **A failed fsync is never tried again on the same file.** When the commit or any I/O under it fails, every write of the group is
//!    answered [`Error::Unavailable`]; the connection is closed, the file is opened anew and its whole WAL is copied into the database
//!    file by a `TRUNCATE` checkpoint (new fsyncs of a file that did not fail) before anything is written again. Until that succeeds all writes answer `Unavailable`.
//! 3. **Reads never wait for a commit.** They run on a few read-only connections of their own.
//!
//! It knows SQL connections and closures, nothing of documents or jobs.

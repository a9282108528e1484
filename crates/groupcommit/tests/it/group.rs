//! Groups of writes and the reads beside them.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use groupcommit::{Error, Ledger};
use rusqlite::{Connection, params};

pub fn schema(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS words (n INTEGER PRIMARY KEY, word TEXT NOT NULL);
         CREATE UNIQUE INDEX IF NOT EXISTS words_by_word ON words (word);",
    )
}

fn open(folder: &tempfile::TempDir) -> Ledger {
    Ledger::open(&folder.path().join("new/words.db"), schema).unwrap()
}

pub fn insert(n: i64, word: &str) -> impl FnOnce(&Connection) -> rusqlite::Result<()> + Send + 'static {
    let word = word.to_owned();
    move |connection| {
        connection.prepare_cached("INSERT INTO words VALUES (?1, ?2)")?.execute(params![n, word]).map(drop)
    }
}

async fn words(ledger: &Ledger) -> Vec<i64> {
    let all = |connection: &Connection| -> rusqlite::Result<Vec<i64>> {
        connection.prepare("SELECT n FROM words ORDER BY n")?.query_map([], |row| row.get(0))?.collect()
    };
    ledger.read(all).await.unwrap().unwrap()
}

/// Occupies the writer until the sender is dropped: what is written meanwhile becomes one group.
async fn occupied(ledger: &Ledger) -> Sender<()> {
    let (release, wait) = channel();
    let (arrived, arrival) = tokio::sync::oneshot::channel();
    let block = move |_: &Connection| -> rusqlite::Result<()> {
        arrived.send(()).unwrap();
        let wait: Receiver<()> = wait;
        let _ = wait.recv();
        Ok(())
    };
    let ledger = ledger.clone();
    tokio::spawn(async move { ledger.write(block).await });
    arrival.await.unwrap();
    release
}

#[tokio::test]
async fn a_bad_write_does_not_take_its_neighbours_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(&folder);
    let release = occupied(&ledger).await;
    let panics = |connection: &Connection| -> rusqlite::Result<()> {
        insert(3, "three")(connection)?;
        std::panic::resume_unwind(Box::new("a fault of the closure"));
    };
    let (one, taken, three, refused, five, ()) = tokio::join!(
        ledger.write(insert(1, "one")),
        ledger.write(insert(2, "one")),
        ledger.write(panics),
        ledger.write(|connection| {
            insert(4, "four")(connection).unwrap();
            Err::<(), _>("the caller thought better of it")
        }),
        ledger.write(insert(5, "five")),
        async { drop(release) },
    );
    assert!(one.unwrap().is_ok() && five.unwrap().is_ok());
    assert!(matches!(taken, Ok(Err(rusqlite::Error::SqliteFailure(..)))), "{taken:?}");
    assert!(matches!(three, Err(Error::Panicked)), "{three:?}");
    assert_eq!(refused.unwrap(), Err("the caller thought better of it"));
    assert_eq!(words(&ledger).await, [1, 5]);
    assert!(ledger.healthy());
}

#[tokio::test]
async fn a_closure_that_ends_the_transaction_costs_its_group_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(&folder);
    ledger.write(insert(1, "one")).await.unwrap().unwrap();
    let release = occupied(&ledger).await;
    let (before, ends, after, ()) = tokio::join!(
        ledger.write(insert(2, "two")),
        ledger.write(|connection| connection.execute_batch("ROLLBACK")),
        ledger.write(insert(3, "three")),
        async { drop(release) },
    );
    for answer in [before, ends, after] {
        assert!(matches!(answer, Err(Error::Unavailable(_))), "{answer:?}");
    }
    while let Err(error) = ledger.write(insert(4, "four")).await {
        assert!(matches!(error, Error::Unavailable(_)));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(words(&ledger).await, [1, 4]);
    assert!(ledger.healthy());
}

#[tokio::test]
async fn a_file_that_may_not_grow_refuses_and_serves_again() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(&folder);
    ledger.write(|connection| connection.execute_batch("PRAGMA max_page_count=1")).await.unwrap().unwrap();
    let large = ledger.write(insert(1, &"x".repeat(100_000))).await;
    assert!(!matches!(large, Ok(Ok(()))), "{large:?}");
    while !matches!(ledger.write(insert(2, "two")).await, Ok(Ok(()))) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(words(&ledger).await, [2]);
}

#[tokio::test]
async fn a_lazy_write_needs_no_company_and_keeps_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(&folder);
    ledger.write_lazily(insert(1, "one"));
    while words(&ledger).await.is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    ledger.write_lazily(insert(2, "two"));
    ledger
        .write(|connection| connection.execute_batch("UPDATE words SET word = 'II' WHERE n = 2"))
        .await
        .unwrap()
        .unwrap();
    let word =
        |connection: &Connection| connection.query_row("SELECT word FROM words WHERE n = 2", [], |row| row.get(0));
    assert_eq!(ledger.read(word).await.unwrap(), Ok("II".to_owned()));
    ledger.write_lazily(|_| Err("refused, and nobody hears of it"));
    ledger.write_lazily(insert(3, "three"));
    ledger.close().await;
    let ledger = open(&folder);
    assert_eq!(words(&ledger).await, [1, 2, 3]);
}

#[tokio::test]
async fn patient_writes_are_answered_alone_in_company_and_before_who_is_in_a_hurry() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(&folder);
    ledger.write_patiently(insert(0, "alone")).await.unwrap().unwrap();
    let release = occupied(&ledger).await;
    let many: Vec<_> = (1..40)
        .map(|n| {
            let ledger = ledger.clone();
            tokio::spawn(async move { ledger.write_patiently(insert(n, &format!("patient {n}"))).await })
        })
        .collect();
    tokio::task::yield_now().await;
    drop(release);
    // Entered after them, so answered only when they are written too.
    ledger.write(insert(40, "in a hurry")).await.unwrap().unwrap();
    for written in many {
        written.await.unwrap().unwrap().unwrap();
    }
    assert_eq!(words(&ledger).await, (0..=40).collect::<Vec<_>>());
    let twice = ledger.write_patiently(insert(7, "again")).await.unwrap();
    assert!(twice.is_err(), "its own error");
}

#[tokio::test]
async fn a_closed_ledger_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(&folder);
    ledger.close().await;
    assert!(matches!(ledger.write(insert(1, "one")).await, Err(Error::Closed)));
    assert!(matches!(ledger.read(|_| Ok::<_, ()>(())).await, Err(Error::Closed)));
    ledger.close().await;
}

#[tokio::test]
async fn reads_go_on_while_a_group_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(&folder);
    ledger.write(insert(1, "one")).await.unwrap().unwrap();
    let release = occupied(&ledger).await;
    let write = ledger.write(insert(2, "two"));
    let (seen, written) = tokio::join!(
        async {
            let seen = words(&ledger).await;
            drop(release);
            seen
        },
        write
    );
    written.unwrap().unwrap();
    assert_eq!((seen, words(&ledger).await), (vec![1], vec![1, 2]));
}

#[tokio::test]
async fn a_read_that_panics_harms_nobody_and_none_can_write() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(&folder);
    for _ in 0..10 {
        let panics = |_: &Connection| -> Result<(), ()> { std::panic::resume_unwind(Box::new("a fault")) };
        assert!(matches!(ledger.read(panics).await, Err(Error::Panicked)));
    }
    assert!(ledger.read(insert(1, "one")).await.unwrap().is_err());
    assert_eq!(words(&ledger).await, [0; 0]);
}

#[test]
fn a_schema_that_fails_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("words.db");
    let failed = Ledger::open(&path, |connection| connection.execute_batch("CREATE TABLE half (n); SELECT nonsense"));
    assert!(matches!(failed, Err(Error::Unavailable(_))));
    let ledger = Ledger::open(&path, schema).unwrap();
    let tables = ledger.read_blocking(|connection| {
        connection.query_row("SELECT count(*) FROM sqlite_schema WHERE type = 'table'", [], |row| row.get::<_, i64>(0))
    });
    assert_eq!(tables.unwrap(), Ok(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_writers_share_commits() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(&folder);
    let writers: Vec<_> = (0..4000)
        .map(|n| {
            let ledger = ledger.clone();
            tokio::spawn(async move { ledger.write(insert(n, &format!("{n} {}", "x".repeat(2000)))).await })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap().unwrap().unwrap();
    }
    assert_eq!(words(&ledger).await.len(), 4000);
    // The log was copied into the file on the way: its size is bounded.
    let log = std::fs::metadata(folder.path().join("new/words.db-wal")).unwrap().len();
    assert!(log < 40 << 20, "{log}");
}

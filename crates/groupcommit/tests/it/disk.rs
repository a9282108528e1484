//! A disk that fails, and a power cut after it did.
//!
//! The test binary runs itself as a child: it writes numbered words, tells each that was answered, and tries again what was refused.

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use groupcommit::Ledger;
use rusqlite::Connection;
use testkit::powercut::{Cut, Mode, Recording, Trace};

use crate::group::{insert, schema};

fn words(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    connection.prepare("SELECT word FROM words")?.query_map([], |row| row.get(0))?.collect()
}

fn tell(line: &str) {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(format!("\n@{line}\n").as_bytes()).unwrap();
    stdout.flush().unwrap();
}

/// Without its environment this is no test.
#[test]
fn writes_words() {
    let Ok(numbers) = std::env::var("LEDGER_NUMBERS") else { return };
    let (from, to) = numbers.split_once("..").unwrap();
    let path = std::env::var("LEDGER_FILE").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let Ok(ledger) = Ledger::open(Path::new(&path), schema) else { return tell("refused open") };
        // Who can be read after the opening is as good as answered.
        for word in ledger.read(words).await.unwrap().unwrap() {
            tell(&format!("wrote {word}"));
        }
        for n in from.parse::<i64>().unwrap()..to.parse().unwrap() {
            if std::env::var_os("LEDGER_BACKED").is_some() && n % 4 != 0 {
                ledger.write_backed(insert(n, &n.to_string())).await.unwrap().unwrap();
                assert_eq!(ledger.read(words).await.unwrap().unwrap().last(), Some(&n.to_string()));
                tell(&format!("saw {n}"));
                continue;
            }
            // An answer of failure leaves open whether it was written.
            while !matches!(ledger.write(insert(n, &n.to_string())).await, Ok(Ok(()) | Err(_))) {
                tell(&format!("refused {n}"));
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            tell(&format!("wrote {n}"));
        }
        assert!(ledger.healthy());
        ledger.close().await;
        tell("end");
    });
    std::process::exit(0);
}

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        Self { folder: folder.unwrap() }
    }

    fn command(&self, numbers: &str) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "disk::writes_words", "--nocapture", "--test-threads=1"]);
        command.env("LEDGER_NUMBERS", numbers).env("LEDGER_FILE", self.folder.path().join("words.db"));
        command
    }

    fn record(&self, numbers: &str, faults: &[String]) -> Trace {
        Recording::start(&self.command(numbers), self.folder.path(), faults).unwrap().finish().unwrap()
    }
}

fn story(trace: &Trace) -> String {
    trace.story(trace.end(), usize::MAX)
}

/// What is wrong with the file that a power cut left: words that were answered and are gone, or a file that contradicts itself.
fn wrong(cut: &Cut<'_>, at: &Path) -> Option<String> {
    cut.image().lay(at).unwrap();
    let ledger = match Ledger::open(&at.join("words.db"), schema) {
        Ok(ledger) => ledger,
        Err(error) => return Some(format!("it does not open: {error:?}")),
    };
    let look = |connection: &Connection| -> rusqlite::Result<(Vec<String>, String)> {
        let words =
            connection.prepare("SELECT word FROM words")?.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        Ok((words, connection.query_row("PRAGMA integrity_check", [], |row| row.get(0))?))
    };
    let (words, sound) = match ledger.read_blocking(look).unwrap() {
        Ok(seen) => seen,
        Err(error) => return Some(format!("it cannot be read: {error}")),
    };
    if sound != "ok" {
        return Some(sound);
    }
    let told = cut.told().lines().filter_map(|line| line.strip_prefix("@wrote "));
    told.map(str::to_owned).find(|told| !words.contains(told)).map(|told| format!("{told} is gone"))
}

/// Words after one that is gone.
fn gap(at: &Path) -> Option<String> {
    let ledger = Ledger::open(&at.join("words.db"), schema).ok()?;
    let words = ledger.read_blocking(words).unwrap().ok()?;
    (0..words.len()).find(|n| !words.contains(&n.to_string())).map(|n| format!("{n} is gone of {words:?}"))
}

#[test]
fn what_is_backed_is_not_synced_and_never_missing_before_what_is() {
    if !testkit::has_program("strace", "a ledger's power cut among writes that do not sync") {
        return;
    }
    let place = Place::new();
    let mut command = place.command("0..12");
    command.env("LEDGER_BACKED", "1");
    let trace = Recording::start(&command, place.folder.path(), &[]).unwrap().finish().unwrap();
    assert!(story(&trace).contains("@end"), "{}", story(&trace));
    assert_right(&trace);
    let image = Place::new();
    let at = image.folder.path().join("image");
    let mut lost = 0;
    for mode in [Mode::Strict, Mode::Written] {
        let wrong = trace.replay(mode, &[], |cut| {
            cut.image().lay(&at).unwrap();
            let seen = cut.told().lines().filter_map(|line| line.strip_prefix("@saw ")).next_back();
            let found = Ledger::open(&at.join("words.db"), schema).ok().map(|ledger| ledger.read_blocking(words));
            let found = found.and_then(|found| found.unwrap().ok()).unwrap_or_default();
            lost += usize::from(mode == Mode::Strict && seen.is_some_and(|seen| !found.iter().any(|n| n == seen)));
            gap(&at)
        });
        assert_eq!(wrong, None, "{mode:?}");
    }
    assert!(lost > 0, "all of them were synced");
}

fn assert_right(trace: &Trace) {
    for mode in [Mode::Strict, Mode::Names, Mode::Written] {
        let place = Place::new();
        let at = place.folder.path().join("image");
        let found = trace.replay(mode, &[], |cut| Some((cut.at(), wrong(cut, &at)?)));
        let story = found.as_ref().map(|(at, _)| trace.story(*at, 60)).unwrap_or_default();
        assert_eq!(found, None, "{mode:?}, after\n{story}");
    }
}

#[test]
fn a_failed_sync_refuses_its_group_and_the_file_serves_again() {
    if !testkit::has_program("strace", "a ledger's syncs that fail") {
        return;
    }
    let mut overcome = 0;
    // SQLite syncs data alone, our own syncs are of everything.
    let syncs = (1..12).map(|nth| ("fdatasync", nth)).chain([("fsync", 1)]);
    for (call, nth) in syncs {
        let place = Place::new();
        let trace = place.record("0..3", &[format!("{call}:error=EIO:when={nth}")]);
        let story = story(&trace);
        assert!(story.contains("done=false"), "{call} {nth}: {story}");
        assert!(story.contains("@refused open") || story.contains("@end"), "{call} {nth}: {story}");
        overcome += usize::from(story.contains("@refused ") && story.contains("@end"));
        assert_right(&trace);
    }
    assert!(overcome >= 3, "{overcome}");
}

#[test]
fn a_process_that_died_of_a_failed_sync_leaves_a_file_that_is_made_good() {
    if !testkit::has_program("strace", "a ledger's syncs that fail before a kill") {
        return;
    }
    // The second process finds an empty write-ahead log. Its syncs: the folder, the log's first line, the folder again, its first commit,
    // which fails. It is killed at its next write, before anything could be mended; how many writes come before depends on SQLite.
    let died = (10..40).find_map(|number| {
        let place = Place::new();
        assert!(place.command("0..60").output().unwrap().status.success());
        let faults = ["fdatasync:error=EIO:when=3".into(), format!("pwrite64:signal=SIGKILL:when={number}")];
        let trace = place.record("60..63", &faults);
        let story = story(&trace);
        let after = &story[story.find("done=false")?..];
        (!after.contains(" write ") && !after.contains(" begins")).then_some((place, trace))
    });
    let (place, died) = died.unwrap();
    assert!(!story(&died).contains("@end"), "{}", story(&died));
    let next = place.record("63..65", &[]);
    assert!(story(&next).contains("@end"), "{}", story(&next));
    assert_right(&died.then(next));
}

#[test]
fn what_an_opening_finds_is_durable_after_it() {
    if !testkit::has_program("strace", "a ledger's power cut after a kill") {
        return;
    }
    let place = Place::new();
    assert!(place.command("0..60").output().unwrap().status.success());
    // Killed between writing a group and syncing it: the next process finds the group.
    let killed = place.record("60..63", &["fdatasync:signal=SIGKILL:when=3".into()]);
    assert!(!story(&killed).contains("@wrote 60"), "{}", story(&killed));
    let next = place.record("63..65", &[]);
    assert!(story(&next).contains("@wrote 60") && story(&next).contains("@end"), "{}", story(&next));
    assert_right(&killed.then(next));
}

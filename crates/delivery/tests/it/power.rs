//! A power cut at every moment: what had been acknowledged by then is there, byte for byte.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use delivery::{Job, JobState, Journal, Spool, SystemClock};
use testkit::powercut::{Cut, Mode, Recording, Trace};

use crate::child::{self, Part, SCOPE};

/// Syncs that can be left out without a loss, and why they are there all the same.
const NEEDLESS: [(&str, &str); 1] = [(
    "journal.db-journal",
    "SQLite's own, while a new file takes on its write-ahead log: nothing can have been acknowledged by then",
)];

pub fn recorded(part: Part, faults: &[String]) -> (tempfile::TempDir, Trace) {
    let folder = child::folder();
    let (data, objects) = (folder.path().join("data"), folder.path().join("objects"));
    std::fs::create_dir(&data).unwrap();
    std::fs::create_dir(&objects).unwrap();
    let command = child::command(part, &data, &objects, "");
    let trace = Recording::start(&command, &data, faults).unwrap().finish().unwrap();
    (folder, trace)
}

/// What a power cut has cost; none when everything that was acknowledged is there.
fn loss(cut: &Cut<'_>, at: &Path, runtime: &tokio::runtime::Runtime) -> Option<String> {
    cut.image().lay(at).unwrap();
    runtime.block_on(async {
        let journal = match Journal::open(&at.join("journal.db"), Arc::new(SystemClock)) {
            Ok(journal) => journal,
            Err(error) => return Some(format!("the journal does not open: {:?}", error)),
        };
        let lost = missing(cut.told(), &journal, &Spool::open(&at.join("spool")).unwrap()).await;
        journal.close().await;
        lost
    })
}

async fn missing(told: &str, journal: &Journal, spool: &Spool) -> Option<String> {
    let mut jobs: HashMap<String, Job> = HashMap::new();
    let reserved = journal.reservations().await;
    let listed = journal.list(SCOPE, None, 1000).await.map(|page| page.jobs);
    let found = match reserved.and_then(|reserved| Ok([reserved, listed?].concat())) {
        Ok(found) => found,
        Err(error) => return Some(format!("the journal cannot be read: {error:?}")),
    };
    for job in found {
        let generation = String::from_utf8(job.body.clone()).unwrap();
        let number: usize = job.key.parse().unwrap();
        let bytes = child::bytes_of(spool, job.payload.as_ref().unwrap()).await;
        let acked = child::acknowledged(told).contains(&generation);
        // A reservation that nobody acknowledged goes at the next start; all else must be deliverable.
        if (acked || job.state != JobState::Reserved) && bytes != child::payload(number) {
            return Some(format!("{generation}: {} of {} bytes", bytes.len(), child::payload(number).len()));
        }
        jobs.insert(generation, job);
    }
    let stored: Vec<&str> = child::lines(told, "stored").collect();
    let delivered = |generation: &str| stored.iter().any(|number| generation.starts_with(&format!("{number}.")));
    child::acknowledged(told)
        .into_iter()
        .find(|generation| !jobs.contains_key(generation) && !delivered(generation))
        .map(|generation| format!("{generation}: not in the journal"))
}

fn first_loss(trace: &Trace, mode: Mode, ignore: &[String]) -> Option<(usize, String)> {
    let folder = child::folder();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let at = folder.path().join("image");
    trace.replay(mode, ignore, |cut| Some((cut.at(), loss(cut, &at, &runtime)?)))
}

pub fn assert_nothing_lost(trace: &Trace, mode: Mode) {
    let lost = first_loss(trace, mode, &[]);
    let story = lost.as_ref().map(|(at, _)| trace.story(*at, 60)).unwrap_or_default();
    assert_eq!(lost, None, "{mode:?}, after\n{story}");
}

#[test]
fn a_power_cut_loses_nothing_that_was_acknowledged() {
    if !testkit::has_program("strace", "power cuts") {
        return;
    }
    let (_folder, trace) = recorded(Part::Half, &[]);
    let all = trace.story(trace.end(), usize::MAX);
    assert!(all.contains("@end"), "the child came to its end: {all}");
    let trace = &trace;
    std::thread::scope(|scope| {
        for mode in [Mode::Strict, Mode::Names] {
            scope.spawn(move || assert_nothing_lost(trace, mode));
        }
    });
    // The teeth: every class of syncs is there for a loss that this test finds.
    let classes = trace.classes();
    for class in ["spool/*", "spool/", "spool/log/*.log", "spool/log/", "journal.db-wal", "journal.db", "./"] {
        assert!(classes.iter().any(|seen| seen == class), "no sync of {class} among {classes:?}");
    }
    for class in classes {
        let ignored = std::slice::from_ref(&class);
        let lost = first_loss(trace, Mode::Strict, ignored);
        let needless = NEEDLESS.iter().any(|(named, _)| *named == class);
        assert_eq!(lost.is_none(), needless, "without syncs of {class}: {lost:?}");
    }
}

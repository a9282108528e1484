//! Nothing is sent half, nothing goes that was not sent.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::time::Duration;

use testkit::Fault;
use uploader::{After, Kind, Settings};

use super::fixture::{Spool, Watcher, until};

/// More than lies in any buffer between the watcher and a store that does not read.
const LARGE: usize = 48 << 20;

#[tokio::test]
async fn a_file_that_is_open_for_writing_waits_however_still_it_stands() {
    let spool = Spool::new();
    let mut call = File::create(spool.folder().join("call.wav")).unwrap();
    call.write_all(b"hold the line").unwrap();
    let watcher = Watcher::start(spool.settings(Kind::Recordings));
    // Others that came later stand still for the same time and are sent.
    for number in 0..5 {
        let name = format!("{number}.wav");
        spool.put(&name, "speech");
        until("it is sent", || spool.read(&name).is_none()).await;
    }
    assert!(!spool.store.names().contains(&"recordings/call.wav".to_owned()));
    call.write_all(b", please").unwrap();
    drop(call);
    until("the call is sent", || spool.names().is_empty()).await;
    assert_eq!(&spool.document("recordings/call.wav").body[..], b"hold the line, please");
    watcher.stop().await;
}

#[tokio::test]
async fn names_in_progress_and_links_are_left_alone() {
    let spool = Spool::new();
    fs::write(spool.beside("secret.wav"), "secret").unwrap();
    std::os::unix::fs::symlink(spool.beside("secret.wav"), spool.folder().join("link.wav")).unwrap();
    for name in ["a.wav.tmp", "b.wav.part", ".c.wav"] {
        spool.put(name, "half");
    }
    let watcher = Watcher::start(spool.settings(Kind::Recordings));
    spool.put("d.wav", "speech");
    spool.until_uploaded(&["recordings/d.wav"]).await;
    fs::rename(spool.folder().join("a.wav.tmp"), spool.folder().join("a.wav")).unwrap();
    spool.until_left(&[".c.wav", "b.wav.part", "link.wav"]).await;
    assert_eq!(spool.store.names(), ["recordings/a.wav", "recordings/d.wav"]);
    watcher.stop().await;
    assert_eq!(fs::read_to_string(spool.beside("secret.wav")).unwrap(), "secret");
}

#[tokio::test]
async fn a_file_that_changes_after_it_was_read_is_not_deleted_and_sent_again() {
    let spool = Spool::new();
    spool.put("a.wav", "first");
    spool.store.faults().next([Fault::Delay(Duration::from_millis(300))]);
    let watcher = Watcher::start(spool.settings(Kind::Recordings));
    spool.store.faults().wait_for(1, Duration::from_secs(60)).await;
    spool.put("a.wav", "second");
    spool.until_left(&[]).await;
    let bodies: Vec<_> = spool.store.documents().into_iter().map(|document| document.body).collect();
    assert_eq!(bodies, ["first", "second"]);
    watcher.stop().await;
}

#[tokio::test]
async fn a_file_that_grows_while_it_is_sent_arrives_whole_or_not() {
    let spool = Spool::new();
    spool.put("a.wav", vec![1; LARGE]);
    // The store takes the head and lets the body wait.
    spool.store.faults().next([Fault::Delay(Duration::from_millis(500))]);
    let watcher = Watcher::start(spool.settings(Kind::Recordings));
    spool.store.faults().wait_for(1, Duration::from_secs(60)).await;
    let mut file = OpenOptions::new().append(true).open(spool.folder().join("a.wav")).unwrap();
    file.write_all(b"the end").unwrap();
    drop(file);
    spool.until_left(&[]).await;
    assert_eq!(spool.document("recordings/a.wav").size, LARGE + 7);
    watcher.stop().await;
}

#[tokio::test]
async fn a_file_that_shrinks_while_it_is_sent_arrives_as_it_then_is() {
    let spool = Spool::new();
    spool.put("a.wav", vec![1; LARGE]);
    spool.store.faults().next([Fault::Delay(Duration::from_millis(500))]);
    let settings = Settings { after: After::Move(spool.beside("done")), ..spool.settings(Kind::Recordings) };
    let watcher = Watcher::start(settings);
    spool.store.faults().wait_for(1, Duration::from_secs(60)).await;
    spool.put("a.wav", "short");
    spool.until_left(&[]).await;
    // The first was another file, taken whole before it was replaced, or not at all.
    let sizes: Vec<_> = spool.store.documents().into_iter().map(|document| document.size).collect();
    assert!(sizes.ends_with(&[5]) && sizes.iter().all(|&size| size == 5 || size == LARGE), "{sizes:?}");
    assert_eq!(fs::read_to_string(spool.beside("done/a.wav")).unwrap(), "short");
    watcher.stop().await;
}

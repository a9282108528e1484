//! A file that grows: whatever happens while it does, what was synced is there, is found, and is finished once.

use std::collections::HashMap;
use std::path::Path;
use std::process::{Command, Stdio};

use delivery::{Error, Spool};
use testkit::powercut::{Cut, Mode, Trace};

use crate::child::{self, Part};
use crate::power::recorded;

/// What a power cut has cost of what was told by then.
fn loss(cut: &Cut<'_>, at: &Path) -> Option<String> {
    cut.image().lay(at).unwrap();
    let left = match Spool::open(&at.join("spool")).and_then(|spool| spool.unfinished()) {
        Ok(left) => left,
        Err(error) => return Some(format!("the spool does not open: {error:?}")),
    };
    let mut found: HashMap<String, Vec<u8>> = HashMap::new();
    for file in left {
        let number = String::from_utf8_lossy(file.about()).into_owned();
        let bytes = std::fs::read(file.path()).unwrap_or_default();
        if !["0", "1"].contains(&number.as_str()) {
            return Some(format!("it is about {number:?}"));
        }
        if found.insert(number.clone(), bytes).is_some() {
            return Some(format!("{number} is there twice"));
        }
    }
    let stored: Vec<&str> = child::lines(cut.told(), "stored").collect();
    for number in child::lines(cut.told(), "growing").filter(|number| !stored.contains(number)) {
        let Some(bytes) = found.get(number) else { return Some(format!("{number} is not there")) };
        let length = synced(cut.told(), number);
        if bytes.len() < length || bytes[..length] != child::grown(number.parse().unwrap())[..length] {
            return Some(format!("{number}: {length} bytes were synced, {} are there", bytes.len()));
        }
    }
    None
}

/// How many bytes of a file were synced by what was told.
fn synced(told: &str, number: &str) -> usize {
    let all = child::lines(told, "synced").filter_map(|line| line.split_once(' '));
    all.filter(|(of, _)| *of == number).filter_map(|(_, length)| length.parse().ok()).max().unwrap_or(0)
}

fn first_loss(trace: &Trace, mode: Mode, ignore: &[String]) -> Option<(usize, String)> {
    let folder = child::folder();
    let at = folder.path().join("image");
    trace.replay(mode, ignore, |cut| Some((cut.at(), loss(cut, &at)?)))
}

#[test]
fn a_power_cut_loses_nothing_of_a_growing_file_that_was_synced() {
    if !testkit::has_program("strace", "power cuts") {
        return;
    }
    let (_folder, trace) = recorded(Part::Grow, &[]);
    assert!(trace.story(trace.end(), usize::MAX).contains("@end"), "the child came to its end");
    for mode in [Mode::Strict, Mode::Names] {
        let lost = first_loss(&trace, mode, &[]);
        let story = lost.as_ref().map(|(at, _)| trace.story(*at, 60)).unwrap_or_default();
        assert_eq!(lost, None, "{mode:?}, after\n{story}");
    }
    let classes = trace.classes();
    for class in ["spool/*.grow", "spool/*.part", "spool/", "./"] {
        assert!(classes.iter().any(|seen| seen == class), "no sync of {class} among {classes:?}");
    }
    for class in classes {
        let lost = first_loss(&trace, Mode::Strict, std::slice::from_ref(&class));
        assert!(lost.is_some(), "without syncs of {class} nothing is lost");
    }
}

#[test]
fn a_kill_at_any_call_leaves_a_growing_file_that_is_finished_once() {
    if !testkit::has_program("strace", "kills") {
        return;
    }
    let mut killed = 0;
    // Calls are counted for each thread by itself: the one that syncs files, the one that syncs the folder, the one that plays the part.
    for call in ["fdatasync", "fsync", "write", "rename", "unlink"] {
        for number in 1..40 {
            if kill_at(call, number) {
                killed += 1;
            } else {
                break;
            }
        }
    }
    assert!(killed >= 15, "only {killed} kills came before the end");
}

/// Kills the child at a call, starts it again, and looks at what came of it. Whether there was such a call.
fn kill_at(call: &str, number: usize) -> bool {
    let folder = child::folder();
    let (data, objects) = (folder.path().join("data"), folder.path().join("objects"));
    std::fs::create_dir(&data).unwrap();
    std::fs::create_dir(&objects).unwrap();
    let run = |inject: Option<String>| {
        let child = child::command(Part::Grow, &data, &objects, "");
        let mut command = Command::new("strace");
        command.args(["-f", "-e", "signal=none", "-e", &format!("trace={call}"), "-o", "/dev/null"]);
        command.args(inject.iter().flat_map(|inject| ["-e", inject]));
        command.arg("--").arg(child.get_program()).args(child.get_args());
        command.envs(child.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let told = run(Some(format!("inject={call}:signal=SIGKILL:when={number}")));
    let again = run(None);
    assert!(again.contains("@end"), "{call} {number}: {told}\n--\n{again}");
    for number in ["0", "1"] {
        let bytes = std::fs::read(objects.join(number)).unwrap();
        assert!(bytes.len() >= synced(&told, number), "{call}: {} bytes of {number}: {told}", bytes.len());
        assert!(child::grown(number.parse().unwrap()).starts_with(&bytes), "{call}: other bytes of {number}");
    }
    let left: Vec<_> = std::fs::read_dir(data.join("spool")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["log"], "{call}");
    !told.contains("@end")
}

#[tokio::test]
async fn no_sweep_takes_a_growing_file() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(folder.path()).unwrap();
    let mut growing = spool.grow(b"about".to_vec()).await.unwrap();
    growing.append(b"bytes");
    growing.sync().await.unwrap();
    drop(growing);
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    let later = Spool::open(folder.path()).unwrap();
    later.sweep(&Default::default()).unwrap();
    later.sweep_partial().unwrap();
    assert!(later.files().unwrap().is_empty(), "it is no payload");
    let mut left = later.unfinished().unwrap();
    assert_eq!(left.len(), 1);
    let left = left.remove(0);
    assert_eq!(
        (left.about(), std::fs::read(left.path()).unwrap().as_slice()),
        (b"about".as_slice(), b"bytes".as_slice())
    );
    left.remove();
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["log"]);
}

#[tokio::test]
async fn without_room_nothing_grows() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(folder.path()).unwrap();
    let full = spool.clone().min_free(u64::MAX);
    assert!(matches!(full.grow(Vec::new()).await, Err(Error::Full)));
    assert!(spool.unfinished().unwrap().is_empty());
    let mut growing = spool.grow(b"about".to_vec()).await.unwrap();
    growing.append(b"bytes");
    let (left, synced) = growing.finish().await;
    synced.unwrap();
    assert_eq!(std::fs::read(left.path()).unwrap(), b"bytes");
}

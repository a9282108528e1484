//! `kill -9` at every call that changes something lasting, and again during the recovery: in the end everything that was acknowledged is at
//! its destination, once, and nothing is left over.
//!
//! `strace` counts calls for each thread by itself, so a moment is named by a call, its number, and where several threads make that call
//! also by a path. That this reaches every kind of call is checked in the end.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use delivery::{Counts, Journal, Spool, SystemClock};

use crate::child::{self, Part};

const CALLS: &str = "fsync,fdatasync,?rename,renameat,renameat2,pwrite64,write,writev,?unlink,unlinkat,ftruncate,?mkdir,mkdirat,?link,linkat";
/// Moments that are tried side by side.
const SIDE_BY_SIDE: usize = 3;

/// A call that some thread made.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Made {
    thread: String,
    call: String,
    path: String,
}

/// When to kill.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Moment {
    call: String,
    number: usize,
    path: Option<PathBuf>,
}

/// The folders of one server.
struct Place {
    folder: tempfile::TempDir,
    told: String,
}

impl Place {
    fn new() -> Self {
        let folder = child::folder();
        std::fs::create_dir(folder.path().join("data")).unwrap();
        std::fs::create_dir(folder.path().join("objects")).unwrap();
        Self { folder, told: String::new() }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn objects(&self) -> PathBuf {
        self.folder.path().join("objects")
    }

    fn command(&self) -> Command {
        child::command(Part::Deliver, &self.data(), &self.objects(), &self.told)
    }

    /// Runs the server, killed at a moment or left alone, and hears what it tells. Answers the calls that it made.
    fn run(&mut self, moment: Option<&Moment>) -> Vec<Made> {
        let (child, log) = (self.command(), self.folder.path().join("log"));
        let mut strace = Command::new("strace");
        strace.args(["-f", "-y", "-s", "0", "-e", "signal=none", "-e", &format!("trace={CALLS}"), "-o"]).arg(&log);
        if let Some(Moment { call, number, path }) = moment {
            strace.args(["-e", &format!("inject={call}:signal=SIGKILL:when={number}")]);
            if let Some(path) = path {
                strace.arg("-P").arg(self.folder.path().join(path));
            }
        }
        strace.arg("--").arg(child.get_program()).args(child.get_args());
        strace.envs(child.get_envs().filter_map(|(name, value)| Some((name, value?))));
        self.hear(strace);
        calls(&std::fs::read_to_string(&log).unwrap(), self.folder.path())
    }

    /// Runs a command to its end and remembers what it told.
    fn hear(&mut self, mut command: Command) {
        let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().unwrap();
        self.told.push_str(&String::from_utf8(output.stdout).unwrap());
    }

    fn ended(&self) -> bool {
        self.told.lines().any(|line| line == "@end")
    }

    /// Restarts until the server comes to its end by itself.
    fn recover(&mut self) {
        for _ in 0..3 {
            if self.ended() {
                return;
            }
            let command = self.command();
            self.hear(command);
        }
        assert!(self.ended(), "{}", self.told);
    }

    fn check(&self) {
        let mut objects: Vec<String> = names(&self.objects());
        objects.retain(|name| !name.ends_with(".half"));
        assert_eq!(objects, ["0", "1", "2"], "{}", self.told);
        for number in 0..3 {
            assert!(std::fs::read(self.objects().join(number.to_string())).unwrap() == child::payload(number));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let journal = Journal::open(&self.data().join("journal.db"), Arc::new(SystemClock)).unwrap();
            assert_eq!(journal.counts(), Counts::default());
            let spool = Spool::open(&self.data().join("spool")).unwrap();
            // What was settled last may have left its file, and a kill its temporary one: the next start takes both.
            spool.sweep(&journal.payloads().await.unwrap()).unwrap();
            assert_eq!(spool.files().unwrap(), [], "{}", self.told);
            journal.close().await;
        });
        assert_eq!(names(&self.data().join("spool")), ["log"], "{}", self.told);
    }
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The calls of a log in the order of their beginnings, with paths relative to `root` and random names as `*`.
fn calls(log: &str, root: &Path) -> Vec<Made> {
    let call = |line: &str| {
        let (thread, rest) = line.split_once(' ')?;
        let (call, arguments) = rest.trim_start().split_once('(')?;
        if !call.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return None;
        }
        let path = arguments.split(['<', '>', '"']).nth(1)?;
        let path = path.strip_prefix(root.to_str()?).map_or("elsewhere", |path| path.trim_start_matches('/'));
        let plain: Vec<&str> = path.split('/').map(|part| if part.len() >= 32 { "*" } else { part }).collect();
        Some(Made { thread: thread.into(), call: call.into(), path: plain.join("/") })
    };
    log.lines().filter_map(call).collect()
}

/// How often each thread made each call.
fn counts<'a>(calls: impl Iterator<Item = &'a Made>) -> HashMap<(&'a str, &'a str), usize> {
    let mut counts = HashMap::new();
    for made in calls {
        *counts.entry((made.call.as_str(), made.thread.as_str())).or_default() += 1;
    }
    counts
}

/// The moments of a run that was left alone.
fn moments(calls: &[Made]) -> BTreeSet<Moment> {
    let mut moments = BTreeSet::new();
    let mut add = |call: &str, count: usize, path: Option<&str>| {
        let path = path.map(PathBuf::from);
        moments.extend((1..=count).map(|number| Moment { call: call.into(), number, path: path.clone() }));
    };
    for ((call, _), count) in counts(calls.iter()) {
        add(call, count, None);
    }
    // A thread that makes the same call less often than another one would never be the first to reach a number. Only one thread writes the
    // journal, and oftener than any other.
    let named = |made: &&Made| made.path != "elsewhere" && !made.path.contains('*') && made.call != "pwrite64";
    let paths: BTreeSet<&str> = calls.iter().filter(named).map(|made| made.path.as_str()).collect();
    for path in paths {
        for ((call, _), count) in counts(calls.iter().filter(named).filter(|made| made.path == path)) {
            add(call, count, Some(path));
        }
    }
    moments
}

/// Where a moment met the server: the call with which a thread first reached its number.
fn met(moment: &Moment, calls: &[Made]) -> Option<(String, String)> {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    let reached = calls.iter().filter(|made| made.call == moment.call).find(|made| {
        let count = counts.entry(made.thread.as_str()).or_default();
        *count += 1;
        *count == moment.number
    });
    reached.map(|made| (made.call.clone(), made.path.clone()))
}

#[test]
fn killed_at_every_lasting_call_it_delivers_everything_once() {
    if !testkit::has_program("strace", "kill -9 at every system call") {
        return;
    }
    let mut alone = Place::new();
    let calls = alone.run(None);
    alone.check();
    let moments: Vec<Moment> = moments(&calls).into_iter().collect();
    assert!(moments.len() > 50, "{moments:?}");
    let (next, killed, hit) = (AtomicUsize::new(0), AtomicUsize::new(0), Mutex::new(BTreeSet::new()));
    std::thread::scope(|scope| {
        for _ in 0..SIDE_BY_SIDE {
            scope.spawn(|| {
                while let Some(moment) = moments.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let mut place = Place::new();
                    let calls = place.run(Some(moment));
                    if !place.ended() {
                        killed.fetch_add(1, Ordering::Relaxed);
                        hit.lock().unwrap().extend(met(moment, &calls));
                        // And once more while it recovers.
                        let again = Moment { call: "fdatasync".into(), number: 1 + moment.number % 12, path: None };
                        place.run(Some(&again));
                    }
                    place.recover();
                    place.check();
                }
            });
        }
    });
    let (killed, hit) = (killed.into_inner(), hit.into_inner().unwrap());
    assert!(killed * 10 >= moments.len() * 9, "only {killed} of {} moments came", moments.len());
    let seen: BTreeSet<(String, String)> = calls.into_iter().map(|made| (made.call, made.path)).collect();
    // Writes and syncs of files with random names cannot be named; the renames between them can, and a kill leaves the same behind. What a kill at
    // their removal leaves, one at the settlement before it leaves too.
    let nameless = |call: &str, path: &str| path.contains('*') && matches!(call, "write" | "fdatasync" | "unlink");
    let counts = |(call, path): &&(String, String)| path != "elsewhere" && !nameless(call, path);
    // How many segments a log has is a matter of who was faster.
    let kinds = |seen: BTreeSet<(String, String)>| -> BTreeSet<(String, String)> {
        let segment = |path: String| if path.ends_with(".log") { "a segment".to_owned() } else { path };
        seen.into_iter().map(|(call, path)| (call, segment(path))).collect()
    };
    let (seen, hit) = (kinds(seen), kinds(hit));
    let missed: Vec<_> = seen.difference(&hit).filter(counts).collect();
    assert!(missed.is_empty(), "never killed at {missed:?}");
}

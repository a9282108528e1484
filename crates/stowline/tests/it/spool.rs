//! `stowline spool` as a process: killed at every step and at any moment, stopped, given files larger than memory should hold.

mod server;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use testkit::{Fault, IngestStore, VOICEMAIL_WAV, has_program};

use super::fixture::until;

/// The watcher's command, and the folder that it watches.
struct Switch {
    temporary: tempfile::TempDir,
    store: IngestStore,
}

impl Switch {
    fn new() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        fs::create_dir(temporary.path().join("spool")).unwrap();
        Self { temporary, store: IngestStore::start("sesame") }
    }

    fn folder(&self) -> PathBuf {
        self.temporary.path().join("spool")
    }

    fn command(&self, program: &Path, options: &str) -> Command {
        let mut command = Command::new(program);
        command.arg("spool").arg(self.folder()).args(["--to", &self.store.url(), "--kind", "recordings"]);
        command.args(["--settle", "20ms", "--interval", "5ms", "--backoff-max", "100ms", "--recursive"]);
        command.args(options.split_whitespace()).env("STOWLINE_SPOOL_KEY", "sesame").stdin(Stdio::null());
        command
    }

    fn start(&self, options: &str) -> Watcher {
        let mut command = self.command(&binary(), options);
        Watcher(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    fn once(&self, options: &str) -> Output {
        self.command(&binary(), &format!("--once {options}")).output().unwrap()
    }

    /// Puts a recording and its sidecar there as one should: the sidecar first, the recording under its final name at once.
    fn put(&self, name: &str, bytes: &[u8]) {
        let path = self.folder().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path.with_file_name(format!("{}.json", file_name(name))), format!(r#"{{"call_id": "{name}"}}"#))
            .unwrap();
        let half = path.with_file_name(format!(".{}.half", file_name(name)));
        fs::write(&half, bytes).unwrap();
        fs::rename(half, path).unwrap();
    }

    /// Recordings that are still to be uploaded, wherever they lie.
    fn waiting(&self) -> Vec<String> {
        let mut found = Vec::new();
        collect(&self.folder(), &mut found);
        found
    }
}

/// A watcher that runs; killed when dropped.
struct Watcher(Child);

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Watcher {
    fn signal(&self, name: &str) {
        let killed = Command::new("sh").args(["-c", &format!("kill -{name} {}", self.0.id())]).status();
        assert!(killed.unwrap().success());
    }

    fn peak_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() << 10
    }
}

fn binary() -> PathBuf {
    testkit::find_binary().unwrap()
}

fn file_name(name: &str) -> &str {
    name.rsplit('/').next().unwrap()
}

fn collect(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "wav") {
            found.push(path.display().to_string());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_killed_at_any_step_loses_nothing_and_doubles_nothing() {
    if !has_program("strace", "a watcher that is killed at every step") {
        return;
    }
    let calls =
        ["rename,renameat,renameat2", "unlink,unlinkat", "fsync,fdatasync", "sendto,writev", "mkdir,mkdirat", "write"];
    for (options, after) in [("", "delete"), ("--after keep", "keep")] {
        let switch = Switch::new();
        let (mut put, mut killed) = (0, 0);
        for call in calls {
            for at in 1..=6 {
                for name in ["a", "x/b"] {
                    switch.put(&format!("{name}{put}.wav"), format!("{name} {put}").as_bytes());
                }
                put += 1;
                let fault = format!("inject={call}:signal=SIGKILL:when={at}");
                let mut strace = Command::new("strace");
                strace.args(["-D", "-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}"), "-e", &fault]);
                let watcher = switch.command(&binary(), &format!("--once {options}"));
                strace.arg(watcher.get_program()).args(watcher.get_args()).env("STOWLINE_SPOOL_KEY", "sesame");
                killed += usize::from(strace.output().unwrap().status.code().is_none());
            }
        }
        assert!(killed > 10, "it was killed {killed} times only");
        let last = switch.once(options);
        assert!(last.status.success(), "{last:?}");
        let documents = switch.store.documents();
        assert_eq!(documents.len(), 2 * put, "after {after}: each once, whatever arrived twice");
        for document in documents {
            let name = &document.query["call_id"];
            let (stem, number) =
                name.trim_end_matches(".wav").split_at(name.find(|c: char| c.is_ascii_digit()).unwrap());
            assert_eq!(document.body, format!("{stem} {number}"), "{name}");
        }
        assert_eq!(switch.waiting().len(), if after == "keep" { 2 * put } else { 0 });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_killed_at_any_moment_loses_nothing_while_the_store_fails_too() {
    let switch = Switch::new();
    let mut number = 0;
    let seed: u64 = rand::random();
    let mut state = seed;
    // A small generator, so that a failure can be told by its seed.
    let mut draw = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    switch.store.faults().rule(|seen| match seen.headers["content-length"].as_bytes().last() {
        _ if seen.path.len() % 7 == 0 => Some(Fault::LoseAnswer),
        Some(b'3') => Some(Fault::unavailable()),
        _ => None,
    });
    for _ in 0..40 {
        let watcher = switch.start("--concurrency 3");
        for _ in 0..draw(6) {
            number += 1;
            let size = usize::try_from(draw(3_000)).unwrap();
            switch.put(&format!("{}{number}.wav", ["", "x/", "x/y/"][number % 3]), &vec![b'.'; size]);
            tokio::time::sleep(Duration::from_millis(draw(30))).await;
        }
        tokio::time::sleep(Duration::from_millis(draw(150))).await;
        drop(watcher);
        assert!(switch.store.documents().len() + switch.waiting().len() >= number, "something is lost; seed {seed}");
    }
    switch.store.faults().heal();
    let last = switch.once("");
    assert!(last.status.success(), "seed {seed}: {last:?}");
    assert_eq!((switch.store.documents().len(), switch.waiting().len()), (number, 0), "seed {seed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_any_size_takes_little_memory() {
    let switch = Switch::new();
    let size = 400 << 20;
    let file = fs::File::create(switch.folder().join("long.wav")).unwrap();
    file.set_len(size).unwrap();
    drop(file);
    let mut watcher = switch.start("");
    until("the file has arrived", async || switch.store.documents().len() == 1).await;
    let peak = watcher.peak_memory();
    assert!(peak < 64 << 20, "{} MiB", peak >> 20);
    assert_eq!(switch.store.documents()[0].size as u64, size);
    watcher.signal("TERM");
    assert!(watcher.0.wait().unwrap().success());
    assert_eq!(switch.waiting(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_finishes_what_runs_and_a_second_one_does_not_wait() {
    let switch = Switch::new();
    switch.store.faults().always(Fault::Delay(Duration::from_millis(500)));
    switch.put("a.wav", VOICEMAIL_WAV);
    let mut watcher = switch.start("");
    switch.store.faults().wait_for(1, Duration::from_secs(60)).await;
    watcher.signal("TERM");
    assert!(watcher.0.wait().unwrap().success());
    assert_eq!((switch.store.documents().len(), switch.waiting().len()), (1, 0));

    switch.store.faults().always(Fault::BlackHole);
    switch.put("b.wav", VOICEMAIL_WAV);
    let mut watcher = switch.start("");
    switch.store.faults().wait_for(2, Duration::from_secs(60)).await;
    watcher.signal("INT");
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(watcher.0.try_wait().unwrap().is_none(), "it waits for what runs");
    watcher.signal("TERM");
    assert!(!watcher.0.wait().unwrap().success());
    assert_eq!(switch.waiting().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_run_says_what_it_did_and_its_exit_status_says_whether_all_is_done() {
    let switch = Switch::new();
    switch.put("a.wav", VOICEMAIL_WAV);
    let done = switch.once("");
    let said = String::from_utf8(done.stdout).unwrap();
    assert_eq!(said, "1 uploaded (83644 bytes), 0 uploaded earlier, 0 refused, 0 left for another run\n");
    assert_eq!(done.status.code(), Some(0));
    let log = String::from_utf8(done.stderr).unwrap();
    assert!(log.contains("uploaded file=a.wav") && !log.contains("sesame"), "{log}");

    switch.put("b.wav", b"noise");
    let refusal = r#"{"status": "error", "message": "no", "data": {}}"#;
    switch.store.faults().always(Fault::status(415).with_body(refusal));
    let refused = switch.once("--log-format json");
    assert_eq!(refused.status.code(), Some(1));
    let log = String::from_utf8(refused.stderr).unwrap();
    let line = log.lines().find(|line| line.contains("b.wav")).unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(line).unwrap()["level"], "ERROR");

    switch.store.stop();
    switch.put("c.wav", VOICEMAIL_WAV);
    assert_eq!(switch.once("").status.code(), Some(1));
}

#[test]
fn what_cannot_run_is_said_in_a_line() {
    let switch = Switch::new();
    let said = |options: &str, key: bool| {
        let mut command = switch.command(&binary(), options);
        if !key {
            command.env_remove("STOWLINE_SPOOL_KEY");
        }
        let output = command.output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(said("", false).contains("--key-file"));
    assert!(said("--key-file /nowhere", true).contains("/nowhere"));
    assert!(said("--only-matching", true).contains("--name-pattern"));
    assert!(said("--ca-file /nowhere", true).contains("/nowhere"));
}

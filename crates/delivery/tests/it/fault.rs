//! A disk that fails a sync: what was not made durable is not acknowledged, what was acknowledged stays, and the server serves again.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use testkit::powercut::Mode;

use crate::child::{self, Part};
use crate::power;

/// Plays the stubborn part, each thread's sync number `nth` failing; then, with a disk that works, to the end. Answers what was told.
fn survive(call: &str, nth: usize) -> String {
    let folder = child::folder();
    let (data, objects) = (folder.path().join("data"), folder.path().join("objects"));
    std::fs::create_dir(&data).unwrap();
    std::fs::create_dir(&objects).unwrap();
    let mut told = String::new();
    let hear = |command: &mut Command| {
        let output = command.stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{call} {nth}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let child = child::command(Part::Stubborn, &data, &objects, "");
    let mut strace = Command::new("strace");
    strace.args(["-f", "--seccomp-bpf", "-s", "0", "-e", "signal=none", "-o", "/dev/null"]);
    strace.args(["-e", &format!("trace={call}"), "-e", &format!("inject={call}:error=EIO:when={nth}"), "--"]);
    strace.arg(child.get_program()).args(child.get_args());
    strace.envs(child.get_envs().filter_map(|(name, value)| Some((name, value?))));
    told.push_str(&hear(&mut strace));
    let first = told.clone();
    told.push_str(&hear(&mut child::command(Part::Stubborn, &data, &objects, &told)));
    assert!(told.contains("@end"), "{told}");
    for number in 0..3 {
        let object: PathBuf = objects.join(number.to_string());
        assert!(std::fs::read(object).unwrap() == child::payload(number), "{call} {nth}: {told}");
        let acked = child::acknowledged(&told).iter().filter(|acked| acked.starts_with(&format!("{number}."))).count();
        assert_eq!(acked, 1, "{call} {nth}: {told}");
    }
    first
}

#[test]
fn a_failed_sync_loses_nothing_that_was_acknowledged() {
    if !testkit::has_program("strace", "syncs that fail") {
        return;
    }
    let runs: Vec<String> = std::thread::scope(|scope| {
        let run = |call, numbers: std::ops::Range<usize>| {
            scope.spawn(move || numbers.map(|nth| survive(call, nth)).collect::<Vec<_>>())
        };
        // SQLite and payloads sync data alone, folders and the making good of a file sync everything.
        let runs = [run("fdatasync", 1..9), run("fdatasync", 9..17), run("fsync", 1..7)];
        runs.into_iter().flat_map(|run| run.join().unwrap()).collect()
    });
    let refused = |told: &String| told.contains("@refused");
    // About half of the numbers are felt while the files are opened, the others in service; which exactly depends on what shares a group commit.
    assert!(runs.iter().filter(|told| refused(told)).count() > 6, "the faults were felt: {runs:?}");
    let served_again = |told: &&String| refused(told) && told.contains("@end");
    assert!(runs.iter().filter(served_again).count() > 2, "and overcome in the same process: {runs:?}");
}

#[test]
fn a_power_cut_after_a_failed_sync_loses_nothing_that_was_acknowledged() {
    if !testkit::has_program("strace", "power cuts after syncs that fail") {
        return;
    }
    // The first reservation, then whatever comes there: another one, a confirmation, a settling.
    std::thread::scope(|scope| {
        for nth in [8, 10, 13] {
            scope.spawn(move || {
                let (_folder, trace) = power::recorded(Part::Stubborn, &[format!("fdatasync:error=EIO:when={nth}")]);
                let story = trace.story(trace.end(), usize::MAX);
                assert!(story.contains("done=false") && story.contains("@end"), "{story}");
                assert!(nth != 8 || story.contains("@refused"), "{story}");
                for mode in [Mode::Strict, Mode::Written] {
                    power::assert_nothing_lost(&trace, mode);
                }
            });
        }
    });
}

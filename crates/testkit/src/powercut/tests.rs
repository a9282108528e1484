use super::*;

/// A shell that is recorded in a folder of its own. Its redirections and `sync FILE` are system calls that a test can name.
fn shell(script: &str, faults: &[&str]) -> Option<(tempfile::TempDir, Trace)> {
    if !crate::has_program("strace", "the power-cut recorder") {
        return None;
    }
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("old"), "old").expect("a file");
    let mut command = Command::new("sh");
    command.arg("-c").arg(script).current_dir(folder.path());
    let faults: Vec<String> = faults.iter().map(|&fault| fault.to_owned()).collect();
    let trace =
        Recording::start(&command, folder.path(), &faults).expect("strace starts").finish().expect("a recording");
    Some((folder, trace))
}

fn end(trace: &Trace, mode: Mode) -> Image {
    trace.cut(trace.end(), mode, &[])
}

fn names(image: &Image) -> Vec<String> {
    image.files().map(|path| path.display().to_string()).collect()
}

#[test]
fn what_was_not_synced_is_gone() {
    let Some((_, trace)) = shell("printf new >new; rm old; mkdir d", &[]) else { return };
    let strict = end(&trace, Mode::Strict);
    assert_eq!((names(&strict), strict.file("old")), (vec!["old".to_owned()], Some(&b"old"[..])));
    let names_only = end(&trace, Mode::Names);
    assert_eq!((names(&names_only), names_only.file("new")), (vec!["new".to_owned()], Some(&b""[..])));
    assert_eq!(end(&trace, Mode::Written).file("new"), Some(&b"new"[..]));
}

#[test]
fn bytes_and_names_are_synced_apart() {
    let Some((_, trace)) = shell("printf one >a; sync a; printf two >>a; mv a b; sync .; echo told; rm b", &[]) else {
        return;
    };
    assert_eq!(trace.classes(), ["a", "./"]);
    let seen = trace.replay(Mode::Strict, &[], |cut| cut.told().contains("told").then(|| cut.image().clone()));
    let seen = seen.expect("something was told");
    assert_eq!((names(&seen), seen.file("b")), (vec!["b".to_owned(), "old".to_owned()], Some(&b"one"[..])));
    let ignoring = |class: &str| trace.cut(trace.end(), Mode::Strict, &[class.to_owned()]);
    assert_eq!(ignoring("a").file("b"), Some(&b""[..]));
    assert_eq!(names(&ignoring("./")), ["old"]);
}

#[test]
fn what_a_failed_sync_lost_stays_lost_until_it_is_written_again() {
    let script = "printf one >a; sync a; sync .; sync a; echo again; printf two >a; sync a";
    let Some((_, trace)) = shell(script, &["fsync:error=EIO:when=1"]) else { return };
    // `sync` opens, syncs and closes in a process of its own, so each one fails at its first.
    assert_eq!(end(&trace, Mode::Written).file("a"), Some(&b"\0\0\0"[..]));
    assert_eq!(names(&end(&trace, Mode::Strict)), ["old"]);
}

#[test]
fn an_image_is_laid_over_what_was_there() {
    let Some((_, trace)) = shell("mkdir d; printf x >d/f; sync d/f d .", &[]) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path().join("image");
    std::fs::create_dir_all(at.join("stale")).expect("a folder");
    end(&trace, Mode::Strict).lay(&at).expect("an image");
    assert!(!at.join("stale").exists());
    assert_eq!(std::fs::read(at.join("d/f")).expect("the file"), b"x");
    assert_eq!(trace.classes(), ["d/f", "d/", "./"]);
}

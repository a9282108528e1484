//! Which programs of the system a test may use, and what happens to a test whose program is missing.

use std::io::Write;
use std::path::PathBuf;

/// True when `program` is in the `PATH`. When it is not, the test that asks must return early: it counts as skipped.
///
/// `what` names the tests that then do not run; it goes to stderr and into the file that `STOWLINE_SKIPPED` names, which
/// `./test` reads out at its end. With `CI=true` nothing may be skipped, and this panics.
pub fn has_program(program: &str, what: &str) -> bool {
    path_of(program, what).is_some()
}

/// Where `./test` puts what no package of the system has.
const TOOLS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/tools/bin");

/// The same, and where it is: servers lie where not every user's `PATH` leads.
pub(crate) fn path_of(program: &str, what: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/usr/local/sbin", TOOLS].map(PathBuf::from));
    let found = folders.map(|folder| folder.join(program)).find(|path| path.is_file());
    if found.is_none() {
        skipped(&format!("{what}: there is no {program}"));
    }
    found
}

/// Tells that tests do not run on this machine, and why. With `CI=true` that is not allowed, and this panics.
pub(crate) fn skipped(line: &str) {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{line}; with CI=true nothing may be skipped");
    eprintln!("SKIPPED {line}");
    if let Some(file) = std::env::var_os("STOWLINE_SKIPPED") {
        let file = std::fs::OpenOptions::new().append(true).create(true).open(file);
        let _ = file.and_then(|mut file| writeln!(file, "{line}"));
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_shell_is_always_there() {
        assert!(super::has_program("sh", "nothing"));
    }
}

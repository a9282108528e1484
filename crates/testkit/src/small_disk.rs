//! A disk with little room, for what must not fail when there is none.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// A file system of a few bytes, mounted over a folder until it is dropped. What the folder had is hidden meanwhile.
#[derive(Debug)]
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one of so many bytes. `None` where this may not be done.
    pub fn over(folder: &Path, bytes: u64) -> Option<Self> {
        let size = format!("size={bytes}");
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "stowline-test"]).arg(folder))
            .then(|| Self(folder.to_owned()))
    }

    /// Whether disks may be mounted here; `what` names the tests that else do not run.
    pub fn possible(what: &str) -> bool {
        static POSSIBLE: OnceLock<bool> = OnceLock::new();
        *POSSIBLE.get_or_init(|| {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let possible = Self::over(folder.path(), 1 << 16).is_some();
            if !possible {
                crate::installed::skipped(&format!("{what}: no disk may be mounted by this user"));
            }
            possible
        })
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Whoever still has a file of it open keeps it for as long.
        run(Command::new("umount").arg("--lazy").arg(&self.0));
    }
}

fn run(command: &mut Command) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

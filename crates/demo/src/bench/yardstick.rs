//! The plain ways that ours is measured against.

use anyhow::{Context, ensure};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Writes `count` files of these bytes durably, `lanes` at a time: temporary file, fsync, rename, fsync of the folder. The files stay.
///
/// # Errors
/// The disk refused.
pub fn fsynced_writes(folder: &Path, bytes: &[u8], lanes: usize, count: usize) -> anyhow::Result<Duration> {
    std::fs::create_dir_all(folder)?;
    let next = AtomicUsize::new(0);
    let started = Instant::now();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..lanes)
            .map(|_| {
                scope.spawn(|| -> std::io::Result<()> {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= count {
                            return Ok(());
                        }
                        let temporary = folder.join(format!("{number}.part"));
                        let mut file = File::create(&temporary)?;
                        file.write_all(bytes)?;
                        file.sync_all()?;
                        std::fs::rename(&temporary, folder.join(format!("{number}")))?;
                        File::open(folder)?.sync_all()?;
                    }
                })
            })
            .collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("a writer"))
    })
    .context("plain writing")?;
    Ok(started.elapsed())
}

/// Tries to install a Debian package that is missing. Whether it did, the caller sees by looking.
pub fn install(package: &str) {
    eprintln!("{package} is missing: trying apt-get install {package}");
    let mut command = Command::new("apt-get");
    command.args(["install", "-y", "-qq", "--no-install-recommends", package]).env("DEBIAN_FRONTEND", "noninteractive");
    let _ = command.stdout(Stdio::null()).status();
}

/// rclone, when it is there or can be installed.
#[derive(Debug)]
pub struct Rclone {
    /// What it calls itself.
    pub version: String,
}

impl Rclone {
    /// Finds rclone, and tries apt-get where it is missing.
    pub fn find() -> Option<Self> {
        Self::ask().or_else(|| {
            install("rclone");
            Self::ask()
        })
    }

    fn ask() -> Option<Self> {
        let output = Command::new("rclone").arg("version").output().ok()?;
        let version = String::from_utf8_lossy(&output.stdout).lines().next()?.to_owned();
        Some(Rclone { version })
    }

    /// Copies a folder (or one file) into a bucket of the server, as the bar has it: 16 transfers, no check of the bucket.
    ///
    /// # Errors
    /// rclone failed.
    pub fn copy(&self, from: &Path, server: &testkit::S3Server, to: &str) -> anyhow::Result<Duration> {
        let mut command = Command::new("rclone");
        command.args(["copy", "--config", "/dev/null", "--transfers", "16", "--s3-no-check-bucket"]);
        command.arg(from).arg(format!("bench:{to}"));
        command.env_remove("AWS_CA_BUNDLE");
        for (name, value) in [
            ("TYPE", "s3"),
            ("PROVIDER", "Other"),
            ("ENDPOINT", &server.url()),
            ("ACCESS_KEY_ID", server.access_key()),
            ("SECRET_ACCESS_KEY", server.secret_key()),
        ] {
            command.env(format!("RCLONE_CONFIG_BENCH_{name}"), value);
        }
        let started = Instant::now();
        let output = command.output().context("rclone could not be run")?;
        ensure!(output.status.success(), "rclone: {}", String::from_utf8_lossy(&output.stderr));
        Ok(started.elapsed())
    }
}

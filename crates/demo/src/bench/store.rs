//! The S3 server in a process of its own, where it is measured how soon it answers: a thread of who asks would be nearer than any store is.

use anyhow::{Context, ensure};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use testkit::S3Server;

/// The server in its process, which ends with this.
#[derive(Debug)]
pub struct Store {
    child: Child,
    /// Where it listens on this machine.
    pub port: u16,
}

impl Store {
    /// Starts it over this folder: this very program with `--store`.
    ///
    /// # Errors
    /// It did not come up.
    pub fn start(folder: &Path) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("our own program")?;
        let mut command = Command::new(program);
        command.arg("--store").arg("--data-dir").arg(folder);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().context("no stdout")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let port = line.trim().parse().with_context(|| format!("the store said {line:?}"))?;
        ensure!(child.try_wait()?.is_none(), "the store ended");
        Ok(Self { child, port })
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Serves the buckets of a folder on a free port, which is the first line on stdout, until stdin ends.
///
/// # Errors
/// Nothing can be listened on.
pub fn serve(folder: &Path) -> anyhow::Result<()> {
    let server = S3Server::builder().folder(folder).start()?;
    server.faults().stop_log();
    println!("{}", server.port());
    std::io::stdout().flush()?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

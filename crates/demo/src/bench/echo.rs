//! The yardstick of call records: an axum server that gives back what it is sent and does nothing else.
//!
//! It runs in a process of its own, as the program does, on the same stack: axum on as many threads as there are cores, with the same allocator.

use anyhow::{Context, ensure};
use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

/// The server in its process, which ends with this.
#[derive(Debug)]
pub struct Echo {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Echo {
    /// Starts it: this very program with `--echo`.
    ///
    /// # Errors
    /// It did not come up.
    pub fn start() -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("our own program")?;
        let mut command = Command::new(program);
        let mut child = command.arg("--echo").stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().context("no stdout")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let address = line.trim().parse().with_context(|| format!("the echo server said {line:?}"))?;
        ensure!(child.try_wait()?.is_none(), "the echo server ended");
        Ok(Self { child, address })
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Serves `POST /echo` on a free port, whose address is the first line on stdout.
///
/// # Errors
/// Nothing can be listened on.
pub async fn serve() -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    println!("{}", listener.local_addr()?);
    std::io::stdout().flush()?;
    let router = Router::new().route("/echo", post(async |body: Bytes| body));
    Ok(axum::serve(listener, router).await?)
}

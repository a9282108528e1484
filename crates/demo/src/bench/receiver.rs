//! The yardstick of calls: a program that receives datagrams on as many sockets as there are callers and writes what they carry into files.
//!
//! It runs in a process of its own, as the program does, on the same stack; it knows no call, no order, no clock and no loss.

use anyhow::{Context, ensure};
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tokio::net::UdpSocket;

/// The receiver in its process.
#[derive(Debug)]
pub struct Receiver {
    child: Child,
    /// Where it receives.
    pub ports: Vec<u16>,
}

impl Receiver {
    /// Starts it: this very program with `--receive`.
    ///
    /// # Errors
    /// It did not come up.
    pub fn start(sockets: usize, folder: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let program = std::env::current_exe().context("our own program")?;
        let mut command = Command::new(program);
        command.arg("--receive").arg(sockets.to_string()).arg("--data-dir").arg(folder);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().context("no stdout")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let ports = line.split_whitespace().map(str::parse).collect::<Result<Vec<u16>, _>>()?;
        ensure!(ports.len() == sockets, "the receiver said {line:?}");
        Ok(Self { child, ports })
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Lets it write what it has and end.
    ///
    /// # Errors
    /// It ended badly.
    pub fn finish(mut self) -> anyhow::Result<()> {
        drop(self.child.stdin.take());
        ensure!(self.child.wait()?.success(), "the receiver ended badly");
        Ok(())
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Receives until stdin is closed. The ports are the first line on stdout.
///
/// # Errors
/// A socket or a file cannot be had.
pub async fn receive(sockets: usize, folder: &Path) -> anyhow::Result<()> {
    let (mut ports, mut tasks) = (Vec::new(), tokio::task::JoinSet::new());
    let over = tokio::sync::watch::Sender::new(false);
    for number in 0..sockets {
        let socket = UdpSocket::bind(("127.0.0.1", 0)).await?;
        ports.push(socket.local_addr()?.port().to_string());
        let file = std::fs::File::create(folder.join(number.to_string()))?;
        tasks.spawn(write(socket, file, over.subscribe()));
    }
    println!("{}", ports.join(" "));
    std::io::stdout().flush()?;
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    over.send_replace(true);
    while let Some(written) = tasks.join_next().await {
        written??;
    }
    Ok(())
}

async fn write(
    socket: UdpSocket,
    file: std::fs::File,
    mut over: tokio::sync::watch::Receiver<bool>,
) -> std::io::Result<()> {
    let mut file = BufWriter::new(file);
    let mut buffer = [0; 2_048];
    loop {
        tokio::select! {
            received = socket.recv(&mut buffer) => file.write_all(buffer[..received?].get(12..).unwrap_or_default())?,
            _ = over.changed() => return file.flush(),
        }
    }
}

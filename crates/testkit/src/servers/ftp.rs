//! pyftpdlib as an FTP server, in the open or behind TLS, its files in a folder; uploads meet trouble on demand.

use super::Running;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// Debian's Python: others on the machine do not have its modules.
const PYTHON: &str = "/usr/bin/python3";

/// An FTP server for one user.
#[derive(Debug)]
pub struct FtpServer {
    _running: Running,
    address: SocketAddr,
    certificate: String,
    folder: TempDir,
}

impl FtpServer {
    /// Starts it with `tls` `none`, `explicit` or `implicit`. `None` where there is no pyftpdlib; `what` names the tests that then do not run.
    pub fn start(tls: &str, user: &str, password: &str, what: &str) -> Option<Self> {
        let mut command = Command::new(PYTHON);
        command.args(["-c", "import pyftpdlib, OpenSSL"]).stderr(Stdio::null());
        if !command.status().is_ok_and(|status| status.success()) {
            crate::installed::skipped(&format!("{what}: there is no pyftpdlib"));
            return None;
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::create_dir(folder.path().join("files")).expect("a folder for the files");
        let script = folder.path().join("ftp.py");
        std::fs::write(&script, include_str!("ftp.py")).expect("the script");
        let mut command = Command::new(PYTHON);
        command.arg("-W").arg("ignore").arg(script).arg(folder.path()).args([tls, user, password]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut running = Running(command.spawn().expect("python starts"));
        let stdout = running.0.stdout.take().expect("its stdout");
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).expect("a line with the port");
        let (port, certificate) = line.trim_end().split_once(' ').unwrap_or((line.trim_end(), ""));
        let port = port.parse().expect("the port at which it listens");
        let certificate = certificate.to_owned();
        Some(Self { _running: running, address: (Ipv4Addr::LOCALHOST, port).into(), certificate, folder })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The folder in which the user begins.
    pub fn files(&self) -> PathBuf {
        self.folder.path().join("files")
    }

    /// The SHA-256 of the certificate that it shows, in hexadecimal with colons.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// From now on uploads meet this: `busy`, `full` or `broken` (refused so), `swallowed`, `changed`, `cut` (in the middle) or `silent`.
    pub fn trouble(&self, word: Option<&str>) {
        let path = self.folder.path().join("trouble");
        match word {
            Some(word) => std::fs::write(path, word).expect("a word of trouble"),
            None => drop(std::fs::remove_file(path)),
        }
    }
}

//! OpenSSH's server with its file transfer, its files in a folder; it knows its user by keys.

use super::{Running, start_on_free_port};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// Stands between `sshd` and its file server while there is trouble.
const TROUBLED: &str = include_str!("ssh.py");
/// Where systems have the file server.
const FILE_SERVERS: [&str; 3] =
    ["/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/lib/ssh/sftp-server"];

/// `sshd`, run as whoever runs the test and open to that user alone.
#[derive(Debug)]
pub struct SshServer {
    _running: Running,
    address: SocketAddr,
    folder: TempDir,
    user: String,
}

impl SshServer {
    /// Starts it. `None` where there is no `sshd`, or no file server for it; `what` names the tests that then do not run.
    pub fn start(what: &str) -> Option<Self> {
        let sshd = crate::installed::path_of("sshd", what)?;
        let Some(server) = FILE_SERVERS.into_iter().find(|path| Path::new(path).is_file()) else {
            crate::installed::skipped(&format!("{what}: there is no sftp-server"));
            return None;
        };
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::create_dir(folder.path().join("files")).expect("a folder for the files");
        for (name, kind, passphrase) in [
            ("host", "ed25519", ""),
            ("other", "ecdsa", ""),
            ("key", "ed25519", ""),
            ("rsa", "rsa", "sesame open"),
            ("stranger", "ed25519", ""),
        ] {
            generate(&folder.path().join(name), kind, passphrase);
        }
        std::fs::write(folder.path().join("sftp.py"), TROUBLED).expect("a script");
        let (at, begin) = (folder.path().display(), format!("{server} -d {}/files", folder.path().display()));
        let choose = format!("[ -e {at}/trouble ] && exec python3 {at}/sftp.py {at} {begin}\nexec {begin}\n");
        std::fs::write(folder.path().join("sftp.sh"), choose).expect("a script");
        let public =
            ["key.pub", "rsa.pub"].map(|name| std::fs::read_to_string(folder.path().join(name)).expect("a key"));
        std::fs::write(folder.path().join("authorized"), public.concat()).expect("a list of keys");
        let user = output(Command::new("id").arg("-un"));
        if user == "root" {
            // Where the program is not run as a service nobody has made it.
            let _ = std::fs::create_dir_all("/run/sshd");
        }
        let (running, address) = start_on_free_port(|port| {
            let file = folder.path().join("sshd_config");
            std::fs::write(&file, configuration(folder.path(), port, &user)).expect("a configuration");
            let mut command = Command::new(&sshd);
            command.arg("-D").arg("-e").arg("-f").arg(file);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log(folder.path()));
            command
        });
        Some(Self { _running: running, address, folder, user })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The one user.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The folder in which the user begins.
    pub fn files(&self) -> PathBuf {
        self.folder.path().join("files")
    }

    /// From now on, on connections made while there is trouble, what is written is `swallowed` or `changed`; none ends it.
    pub fn trouble(&self, word: Option<&str>) {
        let path = self.folder.path().join("trouble");
        match word {
            Some(word) => std::fs::write(path, word).expect("a word"),
            None => drop(std::fs::remove_file(path)),
        }
    }

    /// A private key: `key` and `rsa` (its passphrase is `sesame open`) are let in, `stranger` is not.
    pub fn private_key(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).expect("a key")
    }

    /// The fingerprint of the key that the server shows, or of another.
    pub fn fingerprint(&self, name: &str) -> String {
        let line = output(Command::new("ssh-keygen").arg("-lf").arg(self.folder.path().join(name)));
        line.split(' ').nth(1).expect("a fingerprint").to_owned()
    }

    /// What the server wrote about its doings.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

fn log(folder: &Path) -> Stdio {
    std::fs::OpenOptions::new().create(true).append(true).open(folder.join("log")).map_or(Stdio::null(), Stdio::from)
}

fn generate(path: &Path, kind: &str, passphrase: &str) {
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-t", kind, "-C", "test", "-N", passphrase, "-f"]).arg(path);
    assert!(command.stdin(Stdio::null()).status().expect("ssh-keygen runs").success(), "no key of the kind {kind}");
}

fn output(command: &mut Command) -> String {
    let output = command.output().expect("the command runs");
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

fn configuration(folder: &Path, port: u16, user: &str) -> String {
    let folder = folder.display();
    format!(
        "ListenAddress 127.0.0.1:{port}\nHostKey {folder}/host\nPidFile none\nStrictModes no\nUsePAM no\n\
         AuthorizedKeysFile {folder}/authorized\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
         PermitRootLogin yes\nAllowUsers {user}\nMaxStartups 100\nLogLevel VERBOSE\n\
         Subsystem sftp /bin/sh {folder}/sftp.sh\n"
    )
}

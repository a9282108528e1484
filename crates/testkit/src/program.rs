//! The real program under observation: the `stowline` binary as a child process with a data folder of its own.
//!
//! It is started as an operator starts it, with a configuration file and flags; it is stopped by signals; what it wrote
//! to its streams can be read. Nothing is shared with it but its files and its port.

use crate::wire::lock;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long a start may take: a debug build on a busy machine, replaying its journal.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running (or stopped) `stowline`. Dropping it kills it and removes its temporary folder.
#[derive(Debug)]
pub struct Program {
    binary: PathBuf,
    config: PathBuf,
    data: PathBuf,
    environment: Vec<(String, String)>,
    listen: String,
    address: String,
    child: Option<Child>,
    log: Arc<Mutex<String>>,
    quiet: bool,
    _temporary: tempfile::TempDir,
}

/// What a [`Program`] may be told before it starts.
#[derive(Debug, Default)]
pub struct ProgramBuilder {
    binary: Option<PathBuf>,
    config: String,
    data: Option<PathBuf>,
    environment: Vec<(String, String)>,
    listen: Option<String>,
    temporary_root: Option<PathBuf>,
}

/// Finds the `stowline` binary: `STOWLINE_BIN`, else what the test runner names, else beside the current executable
/// (`target/{profile}/stowline`). `None` when none of them is a file.
pub fn find_binary() -> Option<PathBuf> {
    let named =
        ["STOWLINE_BIN", "NEXTEST_BIN_EXE_stowline", "CARGO_BIN_EXE_stowline"].into_iter().filter_map(std::env::var_os);
    let beside = std::env::current_exe().ok().into_iter().flat_map(|own| {
        own.ancestors().skip(1).take(2).map(|folder| folder.join("stowline").into_os_string()).collect::<Vec<_>>()
    });
    named.chain(beside).map(PathBuf::from).find(|path| path.is_file())
}

impl ProgramBuilder {
    /// The text of the configuration file (TOML).
    #[must_use]
    pub fn config(mut self, toml: &str) -> Self {
        toml.clone_into(&mut self.config);
        self
    }

    /// The binary, instead of the one that [`find_binary`] finds.
    #[must_use]
    pub fn binary(mut self, path: &Path) -> Self {
        self.binary = Some(path.to_owned());
        self
    }

    /// The data folder, which then stays, instead of a temporary one. The sealing key comes to lie beside it.
    #[must_use]
    pub fn data_dir(mut self, path: &Path) -> Self {
        self.data = Some(path.to_owned());
        self
    }

    /// Makes the temporary folder in this one: for tests that must not live on tmpfs.
    #[must_use]
    pub fn temporary_in(mut self, folder: &Path) -> Self {
        self.temporary_root = Some(folder.to_owned());
        self
    }

    /// An environment variable for the program.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The address to listen on, instead of a free port of 127.0.0.1.
    #[must_use]
    pub fn listen(mut self, address: &str) -> Self {
        self.listen = Some(address.to_owned());
        self
    }

    /// Starts the program and waits until it listens.
    ///
    /// # Errors
    /// There is no binary, or it ended or stayed silent instead of listening; the message holds what it wrote.
    pub fn start(self) -> anyhow::Result<Program> {
        let binary = match self.binary.or_else(find_binary) {
            Some(binary) => binary,
            None => anyhow::bail!("no stowline binary: build it (cargo build -p stowline) or name it in STOWLINE_BIN"),
        };
        let temporary = match &self.temporary_root {
            Some(root) => tempfile::tempdir_in(root)?,
            None => tempfile::tempdir()?,
        };
        let config = temporary.path().join("stowline.toml");
        std::fs::write(&config, &self.config)?;
        let listen = self.listen.unwrap_or_else(|| "127.0.0.1:0".to_owned());
        let mut program = Program {
            binary,
            config,
            data: self.data.unwrap_or_else(|| temporary.path().join("data")),
            environment: self.environment,
            address: listen.clone(),
            listen,
            child: None,
            log: Arc::default(),
            quiet: false,
            _temporary: temporary,
        };
        program.try_launch()?;
        Ok(program)
    }
}

impl Program {
    /// Starts with this configuration (TOML text, may be empty) and waits until it listens. Panics with its log when it does not.
    pub fn start(config: &str) -> Self {
        Program::builder().config(config).start().expect("the program starts")
    }

    /// Starts with choices.
    pub fn builder() -> ProgramBuilder {
        ProgramBuilder::default()
    }

    /// The base URL of its API, without a slash at its end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The data folder.
    pub fn data_dir(&self) -> &Path {
        &self.data
    }

    /// The configuration file. What is written there counts from the next start.
    pub fn config_file(&self) -> &Path {
        &self.config
    }

    /// The binary that runs.
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// The process id. Panics when the program does not run.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the program runs").id()
    }

    /// Whether the process is alive.
    pub fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Everything that it wrote on stderr, and on stdout after the first line, over all of its starts.
    pub fn log(&self) -> String {
        lock(&self.log).clone()
    }

    /// Throws away what was and will be logged: for load tests.
    pub fn forget_log(&mut self) {
        self.quiet = true;
        lock(&self.log).clear();
    }

    /// Resident memory in bytes, as the kernel counts it. Panics when the program does not run.
    pub fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the process has a status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("the status names VmRSS");
        line.trim().trim_end_matches(" kB").trim().parse::<u64>().expect("a number of kB") * 1024
    }

    /// Runs `stowline sup MODULE FUNCTION ARGS…` against this program and gives its exit status and streams.
    pub fn sup_output(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(&self.binary);
        command.arg("sup").arg("--config").arg(&self.config).arg("--data-dir").arg(&self.data).args(arguments);
        command.envs(self.environment.iter().cloned()).stdin(Stdio::null());
        command.output().expect("sup can be run")
    }

    /// As [`Program::sup_output`]; panics unless it exits 0. Gives its stdout as JSON, or as a string where it is none.
    pub fn sup(&self, arguments: &[&str]) -> Value {
        let output = self.sup_output(arguments);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "sup {arguments:?}: {}\n{out}{err}\n{}", output.status, self.log());
        serde_json::from_str(&out).unwrap_or_else(|_| Value::String(out.trim_end().to_owned()))
    }

    /// Kills it as a power failure of the process would: SIGKILL, nothing flushed.
    pub fn kill9(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Asks it to end (SIGTERM), unless it already did, and waits. Panics with its log when it does not end within a minute.
    pub fn terminate(&mut self) -> ExitStatus {
        if self.is_running() {
            self.signal("TERM");
        }
        self.wait()
    }

    /// Waits until it ends by itself. Panics with its log when it does not within a minute.
    pub fn wait(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("the program runs");
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = child.try_wait().expect("the process can be waited for") {
                return status;
            }
            if Instant::now() > deadline {
                let _ = child.kill();
                panic!("the program did not end:\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends a signal by name: `TERM`, `INT`, `STOP`, `CONT`, `HUP`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("sh").args(["-c", &format!("kill -{name} {}", self.pid())]).status();
        assert!(status.is_ok_and(|status| status.success()), "SIG{name} could not be sent");
    }

    /// Starts it again with the same files on the same port; kills it first where it still runs.
    pub fn restart(&mut self) {
        self.try_restart().expect("the program starts again");
    }

    /// As [`Program::restart`], for starts that must fail.
    ///
    /// # Errors
    /// It ended or stayed silent instead of listening; the message holds its log.
    pub fn try_restart(&mut self) -> anyhow::Result<()> {
        self.kill9();
        self.try_launch()
    }

    fn try_launch(&mut self) -> anyhow::Result<()> {
        let mut child = Command::new(&self.binary)
            .arg("serve")
            .arg("--config")
            .arg(&self.config)
            .arg("--data-dir")
            .arg(&self.data)
            .args(["--listen", &self.listen])
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let stderr = child.stderr.take().expect("stderr is piped");
        let stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let (log, quiet) = (self.log.clone(), self.quiet);
        let drained = std::thread::spawn(move || keep(stderr, &log, quiet));
        let (first, lines) = channel();
        let (log, quiet) = (self.log.clone(), self.quiet);
        std::thread::spawn(move || read_stdout(stdout, &first, &log, quiet));
        match listening(&lines) {
            Ok(address) => {
                self.listen.clone_from(&address);
                self.address = address;
                self.child = Some(child);
                Ok(())
            }
            Err(reason) => {
                let _ = child.kill();
                let status = child.wait()?;
                let _ = drained.join();
                anyhow::bail!("{reason} ({status})\n{}", self.log())
            }
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill9();
        if std::thread::panicking() {
            eprintln!("---- what the program logged ----\n{}", self.log());
        }
    }
}

fn listening(lines: &Receiver<String>) -> Result<String, String> {
    match lines.recv_timeout(PATIENCE) {
        Ok(line) => match line.strip_prefix("listening on http://") {
            Some(address) => Ok(address.trim().trim_end_matches('/').to_owned()),
            None => Err(format!("the first line on stdout is no address: {line:?}")),
        },
        Err(RecvTimeoutError::Timeout) => Err(format!("the program did not listen within {PATIENCE:?}")),
        Err(RecvTimeoutError::Disconnected) => Err("the program ended instead of listening".to_owned()),
    }
}

fn read_stdout(
    stdout: BufReader<impl Read>,
    first: &std::sync::mpsc::Sender<String>,
    log: &Mutex<String>,
    quiet: bool,
) {
    let mut stdout = stdout;
    let mut line = String::new();
    if matches!(stdout.read_line(&mut line), Ok(count) if count > 0) {
        let _ = first.send(line);
        keep(stdout, log, quiet);
    }
}

fn keep(stream: impl Read, log: &Mutex<String>, quiet: bool) {
    for line in BufReader::new(stream).split(b'\n') {
        let Ok(line) = line else { return };
        if !quiet {
            let mut log = lock(log);
            log.push_str(&String::from_utf8_lossy(&line));
            log.push('\n');
        }
    }
}

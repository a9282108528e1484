//! A power cut, at every moment of a program's life.
//!
//! A program is recorded (`strace`) while it works in a folder: which bytes it wrote where, what it renamed and removed, what it synced,
//! and what it *told* anybody, on its stdout or a socket. From the recording the folder is rebuilt as a power cut at any moment would
//! leave it, and the test looks whether everything that had been told by then is still there.
//!
//! ```no_run
//! # fn main() -> std::io::Result<()> {
//! use testkit::powercut::{self, Mode};
//! # let (mut command, folder) = (std::process::Command::new("true"), std::path::Path::new("/tmp/x"));
//! let trace = powercut::record(&command, folder)?;
//! for class in trace.classes() {
//!     // The proof that the test has teeth: without this class of syncs something must be lost.
//!     let lost = trace.replay(Mode::Strict, &[class], |cut| looks_lost(cut.image(), cut.told()).then_some(()));
//!     assert!(lost.is_some());
//! }
//! # Ok(()) }
//! # fn looks_lost(_: &testkit::powercut::Image, _: &str) -> bool { true }
//! ```
//!
//! **What survives** is for the [`Mode`] to say. In all modes a file's bytes are durable as they were when a successful sync of it *began*;
//! a sync makes durable only the pages that were written since the one before; and pages that were dirty when a sync failed are lost
//! until they are written again, whatever later syncs say (that is how Linux does it). The folder's content when the recording began is
//! durable.
//!
//! **What it does not see**: writes through shared memory maps (files named `*-shm`, SQLite's, are left out of every image), what child
//! processes do with descriptors that they inherited, and file systems that keep less than they must. A system call that would change the
//! folder in a way that is not understood stops the recording with an error: it never guesses.

mod acts;
mod disk;
mod strace;

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command};

use acts::Act;
pub use disk::Image;
use disk::{Disk, Rules};

/// What a power cut leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// What was synced and nothing else: a file's bytes by a sync of the file, its name, a rename or a removal by a sync of the folder.
    Strict,
    /// Names are as they were at the cut; bytes only as synced.
    Names,
    /// Everything that was written, save pages whose sync had failed.
    Written,
}

/// A kind of sync, by what was synced: the path below the folder with all that looks like a number or a random name replaced by `*`;
/// folders end in `/`. The folder itself is `./`.
pub type Class = String;

/// A recording.
#[derive(Debug)]
pub struct Trace {
    baseline: Disk,
    acts: Vec<Act>,
}

/// The moment after the first so many acts of a recording.
#[derive(Debug)]
pub struct Cut<'a> {
    at: usize,
    disk: &'a Disk,
    mode: Mode,
    told: &'a str,
    image: std::cell::OnceCell<Image>,
}

impl Cut<'_> {
    /// How many acts came before.
    pub fn at(&self) -> usize {
        self.at
    }

    /// The folder as the power cut leaves it.
    pub fn image(&self) -> &Image {
        self.image.get_or_init(|| self.disk.image(self.mode))
    }

    /// All that had been told by then, in order; bytes that are no text are replaced. A telling counts from its beginning.
    pub fn told(&self) -> &str {
        self.told
    }
}

impl Trace {
    /// The moments that differ for a test: those at which something was told, or at which other things survive than just before.
    pub fn cuts(&self, mode: Mode) -> Vec<usize> {
        let counts = |act: &Act| match act {
            Act::Write { .. } => mode == Mode::Written,
            Act::SyncBegins { .. } => false,
            _ => true,
        };
        (1..=self.acts.len()).filter(|&at| at == self.acts.len() || counts(&self.acts[at - 1])).collect()
    }

    /// The moment after the last act.
    pub fn end(&self) -> usize {
        self.acts.len()
    }

    /// The classes of syncs that succeeded, each once, in the order of their first appearance.
    pub fn classes(&self) -> Vec<Class> {
        let mut classes = Vec::new();
        for act in &self.acts {
            if let Act::SyncBegins { class, .. } = act
                && !classes.contains(class)
            {
                classes.push(class.clone());
            }
        }
        classes
    }

    /// The folder after the first `at` acts, as if syncs of the classes in `ignore` had never been called.
    pub fn cut(&self, at: usize, mode: Mode, ignore: &[Class]) -> Image {
        let mut image = None;
        self.walk(mode, ignore, &[at], |cut| {
            image = Some(cut.image().clone());
            None::<()>
        });
        image.unwrap_or_else(|| self.baseline.image(mode))
    }

    /// Walks through all [`Trace::cuts`] in order and shows each to `look`, until that answers with something.
    pub fn replay<T>(&self, mode: Mode, ignore: &[Class], look: impl FnMut(&Cut<'_>) -> Option<T>) -> Option<T> {
        self.walk(mode, ignore, &self.cuts(mode), look)
    }

    /// The acts before a cut, newest last, one line each: for the message of a test that failed there.
    pub fn story(&self, at: usize, lines: usize) -> String {
        let from = at.saturating_sub(lines);
        let line = |(n, act): (usize, &Act)| format!("{:5} {act}\n", from + n + 1);
        self.acts[from..at].iter().enumerate().map(line).collect()
    }

    /// This recording and then another one, of a program that was started in the same folder when the first had ended. What the first left
    /// written and not synced is still so.
    #[must_use]
    pub fn then(mut self, next: Self) -> Self {
        // Even numbers for the syncs of the first, odd ones for those of the second.
        for act in &mut self.acts {
            act.renumber(|call| call * 2);
        }
        self.acts.extend(next.acts.into_iter().map(|mut act| {
            act.renumber(|call| call * 2 + 1);
            act
        }));
        self
    }

    fn walk<T>(
        &self,
        mode: Mode,
        ignore: &[Class],
        cuts: &[usize],
        mut look: impl FnMut(&Cut<'_>) -> Option<T>,
    ) -> Option<T> {
        let mut disk = self.baseline.clone();
        let rules = Rules { ignore };
        let mut told = String::new();
        let mut cuts = cuts.iter().copied().peekable();
        for (before, act) in self.acts.iter().enumerate() {
            if let Act::Told(bytes) = act {
                told.push_str(&String::from_utf8_lossy(bytes));
            }
            disk.apply(act, &rules);
            if cuts.next_if_eq(&(before + 1)).is_some() {
                let cut = Cut { at: before + 1, disk: &disk, mode, told: &told, image: std::cell::OnceCell::new() };
                if let Some(found) = look(&cut) {
                    return Some(found);
                }
            }
        }
        None
    }
}

/// Runs `command` to its end and records what it does in `folder`, which must exist. How it ends does not matter.
///
/// Arguments, environment and working directory of the command are taken over; its standard streams are not.
///
/// # Errors
/// `strace` is not there, or the program did something that cannot be replayed.
pub fn record(command: &Command, folder: &Path) -> io::Result<Trace> {
    Recording::start(command, folder, &[])?.finish()
}

/// A program that is being recorded. Dropped, it is killed.
#[derive(Debug)]
pub struct Recording {
    strace: Child,
    folder: PathBuf,
    current: PathBuf,
    baseline: Disk,
    log: tempfile::NamedTempFile,
    over: bool,
}

impl Recording {
    /// Starts `command` and records what it does in `folder`, which must exist.
    ///
    /// `faults` are injections in strace's own words, such as `fsync:error=EIO:when=3` or `pwrite64:signal=SIGKILL:when=20` (counted for each
    /// thread by itself).
    ///
    /// # Errors
    /// `strace` cannot be started, or the folder cannot be read.
    pub fn start(command: &Command, folder: &Path, faults: &[String]) -> io::Result<Self> {
        let folder = folder.canonicalize()?;
        let current = command.get_current_dir().unwrap_or(Path::new(".")).canonicalize()?;
        let baseline = Disk::read(&folder)?;
        let log = tempfile::NamedTempFile::new()?;
        let strace = strace::start(command, log.path(), faults)?;
        Ok(Self { strace, folder, current, baseline, log, over: false })
    }

    /// The program's stdout, once.
    pub fn stdout(&mut self) -> Option<ChildStdout> {
        self.strace.stdout.take()
    }

    /// The program's stderr, once.
    pub fn stderr(&mut self) -> Option<ChildStderr> {
        self.strace.stderr.take()
    }

    /// The program's process id, once it runs.
    pub fn pid(&self) -> Option<u32> {
        strace::tracee(self.strace.id())
    }

    /// Sends the program a signal (`TERM`, `KILL`, …).
    ///
    /// # Errors
    /// It does not run.
    pub fn signal(&self, signal: &str) -> io::Result<()> {
        let pid = self.pid().ok_or(io::ErrorKind::NotFound)?;
        let status = Command::new("kill").arg(format!("-{signal}")).arg(pid.to_string()).status()?;
        if status.success() { Ok(()) } else { Err(io::Error::other("the signal could not be sent")) }
    }

    /// Waits until the program has ended and reads the recording. Streams that were not taken are read to their end.
    ///
    /// # Errors
    /// The program did something that cannot be replayed.
    pub fn finish(mut self) -> io::Result<Trace> {
        let streams = strace::swallow(&mut self.strace);
        self.strace.wait()?;
        self.over = true;
        for stream in streams {
            let _ = stream.join();
        }
        let text = std::fs::read(self.log.path())?;
        let acts = acts::read(&strace::calls(&text)?, &self.folder, self.current.clone())?;
        Ok(Trace { baseline: self.baseline.clone(), acts })
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        if !self.over {
            let _ = self.signal("KILL");
            let _ = self.strace.kill();
            let _ = self.strace.wait();
        }
    }
}

#[cfg(test)]
#[path = "powercut/tests.rs"]
mod tests;

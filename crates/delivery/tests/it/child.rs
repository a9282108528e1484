//! A small server in a process of its own, to be killed, starved of its disk and recorded.
//!
//! It deposits numbered payloads as the program does (spool, reservation, *document*, acknowledgement, confirmation) and delivers them into
//! a folder that stands for a destination: what is there is never overwritten. The document is the acknowledgement itself, a line on
//! stdout; at its next start the process is told which lines were heard, as the program would read its documents.
//!
//! It is this test binary again, told by its environment that it is a child.

use std::collections::HashSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use delivery::{
    Error, FileId, Held, Job, JobError, JobState, Journal, NewJob, Outcome, Policy, Runner, Spool, SystemClock, Workers,
};

/// Every job's scope.
pub const SCOPE: &str = "scope";

/// What a child is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Deposit one after the other, then deliver everything.
    Deliver,
    /// Deposit side by side, close and open the files, deposit more, deliver the even ones; then stop dead.
    Half,
    /// As `Deliver`, and whatever is refused is tried again.
    Stubborn,
    /// Finish what an earlier run left growing, then let two files grow and finish them.
    Grow,
}

impl Part {
    const ALL: [(&'static str, Self); 4] =
        [("deliver", Self::Deliver), ("half", Self::Half), ("stubborn", Self::Stubborn), ("grow", Self::Grow)];
}

/// The command that plays this part in `data`, delivering to `objects`, when these lines were heard before.
pub fn command(part: Part, data: &Path, objects: &Path, told: &str) -> Command {
    let (word, _) = Part::ALL.into_iter().find(|(_, named)| *named == part).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child::plays_its_part", "--nocapture", "--test-threads=1"]);
    command.env("DELIVERY_CHILD", word).env("DELIVERY_DATA", data).env("DELIVERY_OBJECTS", objects);
    command.env("DELIVERY_TOLD", told).env("RUST_BACKTRACE", "0");
    command
}

/// The lines of one kind in what a child told: `@kind rest`.
pub fn lines<'a>(told: &'a str, kind: &'a str) -> impl Iterator<Item = &'a str> {
    told.lines().filter_map(move |line| line.strip_prefix('@')?.strip_prefix(kind)?.strip_prefix(' '))
}

/// A deposit: its number and its generation, the attempt at it.
pub fn acknowledged(told: &str) -> HashSet<String> {
    lines(told, "acked").map(str::to_owned).collect()
}

/// The bytes of a payload.
pub fn payload(number: usize) -> Vec<u8> {
    let length = [3000, 1_200_000, 0, 70_000, 1][number % 5];
    (0..length).map(|at| ((at * 31 + number * 7) % 251) as u8).collect()
}

/// The bytes of a file that grows.
pub fn grown(number: usize) -> Vec<u8> {
    (0..7_000).map(|at| ((at * 13 + number * 5) % 251) as u8).collect()
}

/// Runs what the environment asks for; without it this is no test.
#[test]
fn plays_its_part() {
    let Ok(word) = std::env::var("DELIVERY_CHILD") else { return };
    let (_, part) = Part::ALL.into_iter().find(|(named, _)| *named == word).unwrap();
    let folder = |name: &str| PathBuf::from(std::env::var_os(name).unwrap());
    let child = Child {
        data: folder("DELIVERY_DATA"),
        objects: folder("DELIVERY_OBJECTS"),
        told: acknowledged(&std::env::var("DELIVERY_TOLD").unwrap()),
        part,
    };
    // One blocking thread: every run makes the same calls on the same threads.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build().unwrap();
    runtime.block_on(child.play());
    // No farewell: what is not durable now never will be.
    std::process::exit(0);
}

struct Child {
    data: PathBuf,
    objects: PathBuf,
    told: HashSet<String>,
    part: Part,
}

struct Open {
    journal: Arc<Journal>,
    spool: Arc<Spool>,
}

impl Child {
    async fn play(&self) {
        if self.part == Part::Grow {
            self.grow_all().await;
            return tell("end");
        }
        let open = match self.open().await {
            Ok(open) => open,
            Err(error) => return tell(&format!("refused open: {error}")),
        };
        match self.part {
            Part::Deliver | Part::Stubborn => {
                for number in 0..3 {
                    if !self.told.iter().any(|told| told.starts_with(&format!("{number}."))) {
                        self.deposit(&open, number).await;
                    }
                }
                self.work(&open, |open| open.journal.counts() == delivery::Counts::default()).await;
                // All that will be removed is, before the end is told; what was refused lies there until the next start.
                while self.part == Part::Deliver && !open.spool.files().unwrap().is_empty() {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                open.journal.close().await;
                drop(open);
            }
            Part::Grow => {}
            Part::Half => {
                tokio::join!(self.deposit(&open, 0), self.deposit(&open, 1), self.deposit(&open, 2));
                open.journal.close().await;
                drop(open);
                let open = self.open().await.unwrap();
                self.deposit(&open, 3).await;
                self.deposit(&open, 4).await;
                self.work(&open, |open| open.journal.counts().waiting == 2 && open.journal.counts().running == 0).await;
                tokio::join!(self.deposit(&open, 5), self.deposit(&open, 6));
            }
        }
        tell("end");
    }

    /// What a server does at its start.
    async fn open(&self) -> Result<Open, Error> {
        let journal = Journal::open(&self.data.join("journal.db"), Arc::new(SystemClock))?;
        let spool = Spool::open(&self.data.join("spool"))?;
        for job in journal.reservations().await? {
            if self.told.contains(&String::from_utf8(job.body.clone()).unwrap()) {
                journal.confirm(job.id);
            } else if let Some(file) = journal.cancel(job.id).await? {
                spool.remove(&file);
            }
        }
        spool.sweep(&journal.payloads().await?)?;
        Ok(Open { journal: Arc::new(journal), spool: Arc::new(spool) })
    }

    async fn deposit(&self, open: &Open, number: usize) {
        let mut attempt = 0;
        while let Err(error) = self.try_deposit(open, number, attempt).await {
            tell(&format!("refused {number}.{attempt}: {error}"));
            assert_eq!(self.part, Part::Stubborn, "{number}.{attempt}: {error}");
            assert!(attempt < 200, "{number} is refused for ever: {error}");
            attempt += 1;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn try_deposit(&self, open: &Open, number: usize, attempt: usize) -> Result<(), Error> {
        let generation = format!("{number}.{}.{attempt}", std::process::id());
        let mut partial = open.spool.begin()?;
        for chunk in payload(number).chunks(600_000) {
            partial.write(Bytes::copy_from_slice(chunk)).await?;
        }
        let file = partial.finish().await?.publish().await?;
        let job = NewJob {
            kind: "put".into(),
            key: number.to_string(),
            lane: format!("lane {}", number % 2),
            scope: SCOPE.into(),
            payload: Some(file),
            body: generation.clone().into_bytes(),
            ..NewJob::default()
        };
        let id = open.journal.reserve(job).await?;
        tell(&format!("acked {generation}"));
        open.journal.confirm(id);
        Ok(())
    }

    async fn grow_all(&self) {
        let spool = Spool::open(&self.data.join("spool")).unwrap();
        spool.sweep(&HashSet::new()).unwrap();
        for left in spool.unfinished().unwrap() {
            self.store(left);
        }
        tokio::join!(self.grow(&spool, 0), self.grow(&spool, 1));
    }

    /// Lets a file grow in three steps, unless its object is there.
    async fn grow(&self, spool: &Spool, number: usize) {
        if self.objects.join(number.to_string()).exists() {
            return;
        }
        let mut growing = spool.grow(number.to_string().into_bytes()).await.unwrap();
        tell(&format!("growing {number}"));
        let mut length = 0;
        for piece in grown(number).chunks(2_500) {
            growing.append(piece);
            growing.sync().await.unwrap();
            length += piece.len();
            tell(&format!("synced {number} {length}"));
        }
        let (left, synced) = growing.finish().await;
        synced.unwrap();
        self.store(left);
    }

    /// Stores what there is under the name that it is about, once, and removes it.
    fn store(&self, left: delivery::Unfinished) {
        let number = String::from_utf8(left.about().to_vec()).unwrap();
        let (object, half) = (self.objects.join(&number), self.objects.join(format!("{number}.half")));
        std::fs::copy(left.path(), &half).unwrap();
        let _ = std::fs::hard_link(&half, &object);
        tell(&format!("stored {number}"));
        left.remove();
    }

    async fn work(&self, open: &Open, done: impl Fn(&Open) -> bool) {
        let destination = Destination { objects: self.objects.clone(), spool: open.spool.clone(), part: self.part };
        let policy = Policy {
            // What fails in the half-hearted part stays failed; elsewhere it comes back at once.
            backoff_min: Duration::from_millis(if self.part == Part::Half { 60_000 } else { 5 }),
            backoff_max: Duration::from_secs(60),
            ..Policy::default()
        };
        let workers = Workers::start(open.journal.clone(), open.spool.clone(), Arc::new(destination), policy);
        while !done(open) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        workers.drain(Duration::from_secs(10)).await;
    }
}

/// A folder that takes an object once.
struct Destination {
    objects: PathBuf,
    spool: Arc<Spool>,
    part: Part,
}

#[async_trait]
impl Runner for Destination {
    async fn run(&self, job: &Job) -> Outcome {
        assert_eq!(job.state, JobState::Running);
        let number: usize = job.key.parse().unwrap();
        if self.part == Part::Half && number % 2 == 1 {
            let error = JobError { code: "no".into(), message: "odd".into(), http_status: Some(503) };
            return Outcome::Postpone { error, after: None };
        }
        let bytes = bytes_of(&self.spool, job.payload.as_ref().unwrap()).await;
        assert!(bytes == payload(number), "the payload of {number} is not what was deposited");
        let (object, half) = (self.objects.join(&job.key), self.objects.join(format!("{}.half", job.key)));
        std::fs::write(&half, &bytes).unwrap();
        // Who came before wins; the same bytes came before.
        let _ = std::fs::hard_link(&half, &object);
        assert!(std::fs::read(&object).unwrap() == bytes, "the object {number} is not what was deposited");
        tell(&format!("stored {number}"));
        Outcome::Done
    }
}

/// The bytes of a payload, none when it is not there or not what was written.
pub async fn bytes_of(spool: &Spool, file: &FileId) -> Vec<u8> {
    match spool.held(file).await {
        Ok(Held::Bytes(bytes)) => bytes.to_vec(),
        Ok(Held::File(path)) => std::fs::read(path).unwrap_or_default(),
        Err(_) => Vec::new(),
    }
}

/// One line on stdout in one piece. The test harness writes there too, hence the line break before it.
fn tell(line: &str) {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(format!("\n@{line}\n").as_bytes()).unwrap();
    stdout.flush().unwrap();
}

/// A folder for tests of many small syncs: in memory where that can be.
pub fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

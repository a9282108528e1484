//! A folder, an ingest endpoint, and a watcher between them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use testkit::{IngestStore, Ingested};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uploader::{Error, Key, Kind, Schedule, Settings, Tally};

/// A folder to watch, and where it is uploaded to.
pub struct Spool {
    temporary: tempfile::TempDir,
    pub store: IngestStore,
}

/// A watcher that runs.
pub struct Watcher {
    stopping: CancellationToken,
    running: JoinHandle<Result<Tally, Error>>,
}

impl Spool {
    pub fn new() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        fs::create_dir(temporary.path().join("spool")).unwrap();
        fs::write(temporary.path().join("key"), "sesame\n").unwrap();
        Self { temporary, store: IngestStore::start("sesame") }
    }

    pub fn folder(&self) -> PathBuf {
        self.temporary.path().join("spool")
    }

    /// Something beside the folder.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.temporary.path().join(name)
    }

    /// Everything is quick, nothing else differs from what is usual.
    pub fn settings(&self, kind: Kind) -> Settings {
        Settings {
            settle: Duration::from_millis(50),
            interval: Duration::from_millis(10),
            backoff: Schedule { min: Duration::from_millis(10), max: Duration::from_millis(100) },
            ..Settings::new(self.folder(), self.store.url().parse().unwrap(), Key::File(self.beside("key")), kind)
        }
    }

    /// Puts a file into the folder as one should: whole, under its final name at once.
    pub fn put(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.folder().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let half = self.beside("half");
        fs::write(&half, text).unwrap();
        fs::rename(half, path).unwrap();
    }

    pub fn read(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.folder().join(name)).ok()
    }

    /// What is in the folder, the watcher's own things apart.
    pub fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        collect(&self.folder(), Path::new(""), &mut names);
        names.retain(|name| !name.starts_with(".stowline-spool/"));
        names.sort();
        names
    }

    /// The only document of this name.
    pub fn document(&self, name: &str) -> Ingested {
        let documents: Vec<_> = self.store.documents().into_iter().filter(|document| document.name == name).collect();
        assert_eq!(documents.len(), 1, "documents named {name}: {documents:#?}");
        documents.into_iter().next().unwrap()
    }

    pub async fn until_uploaded(&self, names: &[&str]) {
        until(&format!("{names:?} are uploaded"), || self.store.names() == names).await;
    }

    /// Until the folder holds this and nothing else.
    pub async fn until_left(&self, names: &[&str]) {
        until(&format!("only {names:?} are left"), || self.names() == names).await;
    }

    /// Until so many requests more have come.
    pub async fn requests(&self, more: usize) {
        let seen = self.store.faults().seen().len();
        self.store.faults().wait_for(seen + more, Duration::from_secs(60)).await;
    }
}

impl Watcher {
    pub fn start(settings: Settings) -> Self {
        let stopping = CancellationToken::new();
        let running = tokio::spawn(uploader::run(settings, stopping.clone()));
        Self { stopping, running }
    }

    pub async fn stop(self) -> Tally {
        self.stopping.cancel();
        self.running.await.unwrap().unwrap()
    }
}

pub async fn once(settings: Settings) -> Result<Tally, Error> {
    uploader::run(Settings { once: true, ..settings }, CancellationToken::new()).await
}

pub fn query<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

/// Waits for a condition; panics when it does not come about. The patience is for a loaded machine, not a promise.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < Duration::from_secs(60), "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn collect(root: &Path, below: &Path, names: &mut Vec<String>) {
    // What the watcher takes away between two looks is no fault.
    let Ok(entries) = fs::read_dir(root.join(below)) else { return };
    for entry in entries.flatten() {
        let path = below.join(entry.file_name());
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => collect(root, &path, names),
            Ok(_) => names.push(path.display().to_string()),
            Err(_) => {}
        }
    }
}

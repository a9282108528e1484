//! What was sent of the files that stay: lines of JSON in a file, each on disk before the next file is considered done.
//!
//! A line that was torn by a crash is as if it had not been written: the file is sent again, and the store makes that once. To send
//! everything again, delete the file.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// What is kept in memory of an entry: enough to recognise it, whatever its length.
type Mark = [u8; 16];

/// The entries.
#[derive(Debug)]
pub(crate) struct Ledger(Mutex<State>);

#[derive(Debug)]
struct State {
    file: File,
    known: HashSet<Mark>,
}

impl Ledger {
    /// Opens or begins the file.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        let (mut known, mut line, mut lines) = (HashSet::new(), Vec::new(), BufReader::new(&file));
        loop {
            line.clear();
            if lines.read_until(b'\n', &mut line)? == 0 {
                break;
            }
            let entry: Option<Value> = serde_json::from_slice(&line).ok();
            known.extend(entry.as_ref().and_then(|entry| entry["key"].as_str()).map(mark));
            // The next line must not continue a torn one, which can only be the last.
            if !line.ends_with(b"\n") {
                file.write_all(b"\n")?;
                break;
            }
        }
        Ok(Self(Mutex::new(State { file, known })))
    }

    /// Whether this was sent.
    pub(crate) fn knows(&self, key: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).known.contains(&mark(key))
    }

    /// This was sent, and became that document. Durable when it comes back without an error.
    pub(crate) fn add(&self, key: &str, document: Option<&str>) -> io::Result<()> {
        let at = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        let line = format!("{}\n", json!({"key": key, "document": document, "at": at}));
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Known for this run in any case: only a restart would send it again.
        state.known.insert(mark(key));
        state.file.write_all(line.as_bytes())?;
        state.file.sync_data()
    }
}

fn mark(key: &str) -> Mark {
    let mut mark = Mark::default();
    mark.copy_from_slice(&Sha256::digest(key)[..16]);
    mark
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_outlive_the_process_and_a_torn_line_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sent");
        let ledger = Ledger::open(&path).unwrap();
        ledger.add("default/1001/1-a", Some("202611-1")).unwrap();
        ledger.add("default/1001/1-b", None).unwrap();
        drop(ledger);
        let text = std::fs::read(&path).unwrap();
        for cut in 0..text.len() {
            std::fs::write(&path, &text[..cut]).unwrap();
            let first = text.iter().position(|&byte| byte == b'\n').unwrap();
            let ledger = Ledger::open(&path).unwrap();
            assert_eq!(ledger.knows("default/1001/1-a"), cut >= first, "cut at {cut}");
            ledger.add("default/1001/1-c", None).unwrap();
            let ledger = Ledger::open(&path).unwrap();
            assert!(ledger.knows("default/1001/1-c"), "what comes after a torn line counts");
            assert_eq!(ledger.knows("default/1001/1-a"), cut >= first, "cut at {cut}");
        }
    }
}

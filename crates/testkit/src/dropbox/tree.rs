//! What lies in a Dropbox: files and folders by path, and who has listed how much of it.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// A file, or a folder where it has no bytes.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) id: String,
    /// With a slash at its beginning.
    pub(super) path: String,
    pub(super) rev: String,
    pub(super) content: Option<Content>,
}

/// Bytes, and Dropbox's digest of them: taken once, and not each time it is shown.
#[derive(Debug, Clone)]
pub(super) struct Content {
    pub(super) bytes: Bytes,
    pub(super) hash: String,
}

impl Content {
    pub(super) fn of(bytes: Bytes) -> Self {
        Self { hash: content_hash(&bytes), bytes }
    }
}

/// A list that is being read: of a folder, and from its end on of what changes there.
#[derive(Debug, Clone)]
struct Reading {
    /// In lowercase, without a slash at its end: empty for all.
    folder: String,
    recursive: bool,
    limit: usize,
    waiting: Vec<Value>,
    since: usize,
}

#[derive(Debug, Default)]
pub(super) struct Tree {
    given: u64,
    /// By path in lowercase.
    entries: BTreeMap<String, Entry>,
    /// Paths, as what lies there changed.
    log: Vec<String>,
    cursors: BTreeMap<String, Reading>,
}

impl Tree {
    pub(super) fn next(&mut self, kind: &str) -> String {
        self.given += 1;
        format!("{kind}:{:022}", self.given)
    }

    pub(super) fn files(&self) -> impl Iterator<Item = (&Entry, &Bytes)> {
        self.entries.values().filter_map(|entry| entry.content.as_ref().map(|content| (entry, &content.bytes)))
    }

    pub(super) fn tamper(&mut self, with: &dyn Fn(&[u8]) -> Vec<u8>) {
        for entry in self.entries.values_mut() {
            let Some(content) = &mut entry.content else { continue };
            *content = Content::of(with(&content.bytes).into());
            self.given += 1;
            entry.rev = rev(self.given);
        }
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) {
        if let Some(mut entry) = self.entries.remove(&from.to_lowercase()) {
            to.clone_into(&mut entry.path);
            self.log.extend([from.to_owned(), to.to_owned()]);
            self.entries.insert(to.to_lowercase(), entry);
        }
    }

    /// By path or id.
    pub(super) fn find(&self, named: &Value) -> Option<&Entry> {
        let named = named.as_str()?;
        self.at(named).or_else(|| self.entries.values().find(|entry| entry.id == named))
    }

    pub(super) fn at(&self, path: &str) -> Option<&Entry> {
        self.entries.get(&path.to_lowercase())
    }

    /// Keeps a file or a folder, and makes the folders that its path goes through.
    pub(super) fn keep(&mut self, path: &str, content: Option<Content>) -> &Entry {
        let ends = path.char_indices().skip(1).filter(|(_, letter)| *letter == '/').map(|(end, _)| end);
        for above in ends.map(|end| &path[..end]).filter(|above| !above.is_empty()) {
            if self.at(above).is_none() {
                self.keep(above, None);
            }
        }
        // A file that is written over keeps its id.
        let id = self.at(path).map(|there| there.id.clone()).unwrap_or_else(|| self.next("id"));
        self.given += 1;
        let entry = Entry { id, path: path.to_owned(), rev: rev(self.given), content };
        self.log.push(path.to_owned());
        self.entries.entry(path.to_lowercase()).insert_entry(entry).into_mut()
    }

    pub(super) fn remove(&mut self, path: &str) {
        let path = path.to_lowercase();
        let below = format!("{path}/");
        let gone = |key: &String| *key == path || key.starts_with(&below);
        let keys: Vec<String> = self.entries.keys().filter(|key| gone(key)).cloned().collect();
        for entry in keys.iter().filter_map(|key| self.entries.remove(key)) {
            self.log.push(entry.path);
        }
    }

    /// Begins to list a folder.
    pub(super) fn list(&mut self, folder: &str, recursive: bool, limit: usize) -> Value {
        let folder = folder.to_lowercase();
        let mut reading = Reading { folder, recursive, limit, waiting: Vec::new(), since: self.log.len() };
        let inside = self.entries.iter().filter(|(path, _)| reading.covers(path));
        reading.waiting = inside.map(|(_, entry)| shown(entry)).collect();
        self.read(reading)
    }

    /// Goes on with a list; `None` where nobody began it.
    pub(super) fn go_on(&mut self, cursor: &str) -> Option<Value> {
        let mut reading = self.cursors.get(cursor)?.clone();
        if reading.waiting.is_empty() {
            let mut changed: Vec<String> = Vec::new();
            for path in self.log.iter().skip(reading.since).filter(|path| reading.covers(&path.to_lowercase())) {
                if !changed.contains(path) {
                    changed.push(path.clone());
                }
            }
            let gone = |path: &str| json!({".tag": "deleted", "name": path.rsplit('/').next(), "path_lower": path.to_lowercase(), "path_display": path});
            reading.waiting = changed.iter().map(|path| self.at(path).map_or_else(|| gone(path), shown)).collect();
            reading.since = self.log.len();
        }
        Some(self.read(reading))
    }

    fn read(&mut self, mut reading: Reading) -> Value {
        let page: Vec<Value> = reading.waiting.drain(..reading.limit.min(reading.waiting.len())).collect();
        let has_more = !reading.waiting.is_empty();
        let cursor = self.next("cursor");
        self.cursors.insert(cursor.clone(), reading);
        json!({"entries": page, "cursor": cursor, "has_more": has_more})
    }
}

impl Reading {
    /// Whether something at a path (in lowercase) belongs to the list.
    fn covers(&self, path: &str) -> bool {
        let below = path.strip_prefix(&self.folder).and_then(|rest| rest.strip_prefix('/'));
        below.is_some_and(|name| self.recursive || !name.contains('/')) || (self.recursive && path == self.folder)
    }
}

/// An entry, as Dropbox says it.
pub(super) fn shown(entry: &Entry) -> Value {
    let mut shown = json!({
        "name": entry.path.rsplit('/').next(), "id": entry.id, "path_lower": entry.path.to_lowercase(), "path_display": entry.path,
    });
    let more = match &entry.content {
        None => json!({".tag": "folder"}),
        Some(content) => json!({
            ".tag": "file", "rev": entry.rev, "size": content.bytes.len(), "is_downloadable": true, "content_hash": content.hash,
            "client_modified": "2026-01-02T03:04:05Z", "server_modified": "2026-01-02T03:04:05Z",
        }),
    };
    shown.as_object_mut().into_iter().for_each(|all| all.extend(more.as_object().cloned().unwrap_or_default()));
    shown
}

fn rev(given: u64) -> String {
    format!("{:015x}", 0x015a_0000 + given)
}

/// Dropbox's digest: of the digests of the blocks.
fn content_hash(bytes: &[u8]) -> String {
    let blocks: Vec<u8> = bytes.chunks(4 << 20).flat_map(|block| Sha256::digest(block).to_vec()).collect();
    hex::encode(Sha256::digest(blocks))
}

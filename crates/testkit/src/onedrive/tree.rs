//! What lies in a drive: files and folders by path, and in which order they changed.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};

/// The one drive's id.
pub(super) const DRIVE: &str = "b!fakeDrive01";
/// The id of the folder that everything lies in.
pub(super) const ROOT: &str = "01FAKEROOT";

/// A file, or a folder where it has no bytes.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) id: String,
    /// Without a slash at its beginning.
    pub(super) path: String,
    pub(super) mime: String,
    pub(super) bytes: Option<Bytes>,
    version: u64,
}

/// A refusal: the status, the code and the sentence.
pub(super) type Refused = (u16, &'static str, &'static str);

pub(super) const ABSENT: Refused = (404, "itemNotFound", "The resource could not be found.");
pub(super) const MALFORMED: Refused = (400, "invalidRequest", "The request is malformed or incorrect.");
const TAKEN: Refused = (409, "nameAlreadyExists", "An item with the same name already exists under the parent");

#[derive(Debug, Default)]
pub(super) struct Tree {
    given: u64,
    /// By path in lowercase.
    items: BTreeMap<String, Item>,
    /// Ids, as they changed.
    log: Vec<String>,
}

impl Tree {
    pub(super) fn next(&mut self) -> String {
        self.given += 1;
        format!("01FAKEITEM{:024}", self.given)
    }

    pub(super) fn files(&self) -> impl Iterator<Item = (&Item, &Bytes)> {
        self.items.values().filter_map(|item| item.bytes.as_ref().map(|bytes| (item, bytes)))
    }

    pub(super) fn folders(&self) -> impl Iterator<Item = &Item> {
        self.items.values().filter(|item| item.bytes.is_none())
    }

    pub(super) fn tamper(&mut self, with: &dyn Fn(&[u8]) -> Vec<u8>) {
        for bytes in self.items.values_mut().filter_map(|item| item.bytes.as_mut()) {
            *bytes = with(bytes).into();
        }
    }

    pub(super) fn at(&self, path: &str) -> Result<&Item, Refused> {
        self.items.get(&path.to_lowercase()).ok_or(ABSENT)
    }

    pub(super) fn by_id(&self, id: &str) -> Result<&Item, Refused> {
        self.items.values().find(|item| item.id == id).ok_or(ABSENT)
    }

    /// The path of a folder, by its id; what belongs to it lies below.
    pub(super) fn folder_path(&self, id: &str) -> Result<String, Refused> {
        match id {
            "root" | ROOT => Ok(String::new()),
            id => self.by_id(id).map(|item| item.path.clone()),
        }
    }

    /// What lies in a folder itself.
    pub(super) fn children(&self, folder: &str) -> Result<Vec<&Item>, Refused> {
        if !folder.is_empty() && self.at(folder)?.bytes.is_some() {
            return Err(MALFORMED);
        }
        Ok(self.items.values().filter(|item| parent(&item.path).eq_ignore_ascii_case(folder)).collect())
    }

    pub(super) fn create_folder(&mut self, path: &str, conflict: &str) -> Result<Item, Refused> {
        match self.items.get(&path.to_lowercase()) {
            Some(there) if conflict == "replace" && there.bytes.is_none() => Ok(there.clone()),
            Some(_) => Err(TAKEN),
            None => Ok(self.keep(path, "", None)),
        }
    }

    /// Stores a file, and makes the folders that its path goes through; whether there was none before.
    pub(super) fn store(
        &mut self,
        path: &str,
        conflict: &str,
        mime: &str,
        bytes: Bytes,
    ) -> Result<(bool, Item), Refused> {
        let there = self.items.get(&path.to_lowercase());
        if there.is_some_and(|there| conflict == "fail" || there.bytes.is_none()) {
            return Err(TAKEN);
        }
        let new = there.is_none();
        let ends = path.char_indices().filter(|(_, letter)| *letter == '/').map(|(end, _)| end);
        for above in ends.map(|end| &path[..end]) {
            match self.items.get(&above.to_lowercase()) {
                Some(folder) if folder.bytes.is_none() => {}
                Some(_) => return Err(MALFORMED),
                None => drop(self.keep(above, "", None)),
            }
        }
        Ok((new, self.keep(path, mime, Some(bytes))))
    }

    fn keep(&mut self, path: &str, mime: &str, bytes: Option<Bytes>) -> Item {
        let there = self.items.get(&path.to_lowercase()).map(|there| (there.id.clone(), there.version + 1));
        let (id, version) = there.unwrap_or_else(|| (self.next(), 1));
        let item = Item { id, path: path.to_owned(), mime: mime.to_owned(), bytes, version };
        self.log.push(item.id.clone());
        self.items.insert(path.to_lowercase(), item.clone());
        item
    }

    pub(super) fn remove(&mut self, id: &str) -> Result<(), Refused> {
        let path = self.by_id(id)?.path.to_lowercase();
        let below = format!("{path}/");
        let gone = |key: &String| *key == path || key.starts_with(&below);
        let keys: Vec<String> = self.items.keys().filter(|key| gone(key)).cloned().collect();
        for item in keys.iter().filter_map(|key| self.items.remove(key)) {
            self.log.push(item.id);
        }
        Ok(())
    }

    /// Where the feed ends now.
    pub(super) fn end(&self) -> usize {
        self.log.len()
    }

    /// What changed since a place in the feed, at most `top` of it, each as it is now; and the place after it.
    pub(super) fn changes(&self, since: usize, top: usize) -> (Vec<Value>, usize) {
        let mut seen: Vec<&String> = Vec::new();
        let mut at = since.min(self.log.len());
        while let Some(id) = self.log.get(at) {
            if !seen.contains(&id) {
                if seen.len() == top {
                    break;
                }
                seen.push(id);
            }
            at += 1;
        }
        let gone = |id: &str| json!({"id": id, "deleted": {"state": "deleted"}});
        (seen.into_iter().map(|id| self.by_id(id).map_or_else(|_| gone(id), |item| self.shown(item))).collect(), at)
    }

    /// An item, as the drive says it.
    pub(super) fn shown(&self, item: &Item) -> Value {
        let above = parent(&item.path);
        let parent = self.at(above).map_or(ROOT, |folder| folder.id.as_str());
        let path = if above.is_empty() { "/drive/root:".to_owned() } else { format!("/drive/root:/{above}") };
        let mut shown = json!({
            "id": item.id, "name": item.path.rsplit('/').next(), "eTag": format!("\"{{{}}},{}\"", item.id, item.version),
            "size": item.bytes.as_ref().map_or(0, Bytes::len), "createdDateTime": "2026-01-02T03:04:05Z",
            "parentReference": {"driveId": DRIVE, "driveType": "business", "id": parent, "path": path},
        });
        match &item.bytes {
            Some(bytes) => {
                shown["file"] = json!({"mimeType": item.mime, "hashes": {"quickXorHash": quick_xor(bytes)}});
            }
            None => shown["folder"] = json!({"childCount": self.children(&item.path).map_or(0, |inside| inside.len())}),
        }
        shown
    }
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// The digest of these drives: each byte goes eleven bits further round a ring of 160.
fn quick_xor(bytes: &[u8]) -> String {
    let mut digest = [0_u8; 20];
    for (n, byte) in bytes.iter().enumerate() {
        let (at, over) = (n * 11 % 160 / 8, n * 11 % 8);
        digest[at] ^= byte << over;
        digest[(at + 1) % 20] ^= byte.checked_shr(8 - over as u32).unwrap_or(0);
    }
    digest[12..].iter_mut().zip((bytes.len() as u64).to_le_bytes()).for_each(|(place, byte)| *place ^= byte);
    STANDARD.encode(digest)
}

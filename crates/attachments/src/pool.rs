//! Open handlers, one for each way of talking to a destination.
//!
//! Opening is cheap, but an open handler learns: a bucket's region, what its server cannot do. So handlers are kept, by the
//! digest of their settings, and shared by all who use the same; changed settings are another handler.
//!
//! Whoever has a plan asks for its entries again and again: what their settings come to is worked out once for each.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use plan::HandlerConfig;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::error::{Error, ErrorKind, Operation};
use crate::layers::{Deadline, Observe, Verify};
use crate::ways::Ways;
use crate::{Handler, registry};

/// How many are kept open. The one that was not used for longest goes first.
const OPEN: usize = 1024;
/// Of how many entries it is known at once what their settings come to.
const ENTRIES: usize = 4 * OPEN;

type Fingerprint = [u8; 32];

/// Gives handlers for settings.
#[derive(Debug)]
pub struct Pool {
    ways: Ways,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    handlers: HashMap<Fingerprint, (Arc<dyn Handler>, u64)>,
    uses: u64,
    /// Entries by their address, which nothing else has while they are known here.
    entries: HashMap<usize, Entry>,
}

/// What the settings of an entry come to.
#[derive(Clone)]
struct Entry {
    /// Keeps the address, and not the settings.
    _of: Weak<HandlerConfig>,
    fingerprint: Fingerprint,
    destination: Option<Arc<str>>,
}

impl Pool {
    /// A pool whose handlers go out by these ways; a client alone gives no access to anybody's drive.
    #[must_use]
    pub fn new(ways: impl Into<Ways>) -> Self {
        Self { ways: ways.into(), kept: Mutex::default() }
    }

    /// The handler of a kind with these settings, in its [`layers`](crate::layers). Asks nobody.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Misconfigured`] when the settings cannot work, or no handler has this kind.
    pub fn open(&self, kind: &str, settings: &Map<String, Value>) -> Result<Arc<dyn Handler>, Error> {
        self.shared(fingerprint(kind, settings), kind, settings)
    }

    /// The handler of an entry of a plan, as [`Pool::open`] gives it.
    ///
    /// # Errors
    ///
    /// As [`Pool::open`].
    pub fn open_entry(&self, entry: &Arc<HandlerConfig>) -> Result<Arc<dyn Handler>, Error> {
        self.shared(self.entry(entry).fingerprint, &entry.handler, &entry.settings)
    }

    /// Which destination an entry of a plan means ([`Kind::destination`](crate::Kind)); `None` when no handler has its kind.
    pub fn destination(&self, entry: &Arc<HandlerConfig>) -> Option<Arc<str>> {
        self.entry(entry).destination
    }

    fn entry(&self, entry: &Arc<HandlerConfig>) -> Entry {
        let address = Arc::as_ptr(entry).addr();
        if let Some(known) = self.kept().entries.get(&address) {
            return known.clone();
        }
        let HandlerConfig { handler, settings, .. } = &**entry;
        let destination = registry::kind(handler).map(|kind| (kind.destination)(settings).into());
        let known = Entry { _of: Arc::downgrade(entry), fingerprint: fingerprint(handler, settings), destination };
        let mut kept = self.kept();
        // Many of them are of plans that were replaced.
        if kept.entries.len() >= ENTRIES {
            kept.entries.clear();
        }
        kept.entries.insert(address, known.clone());
        known
    }

    fn shared(
        &self,
        fingerprint: Fingerprint,
        kind: &str,
        settings: &Map<String, Value>,
    ) -> Result<Arc<dyn Handler>, Error> {
        let mut kept = self.kept();
        kept.uses += 1;
        let now = kept.uses;
        if let Some((handler, used)) = kept.handlers.get_mut(&fingerprint) {
            *used = now;
            return Ok(handler.clone());
        }
        let handler = self.fresh(kind, settings)?;
        if kept.handlers.len() >= OPEN {
            let oldest = kept.handlers.iter().min_by_key(|(_, (_, used))| *used).map(|(fingerprint, _)| *fingerprint);
            oldest.and_then(|oldest| kept.handlers.remove(&oldest));
        }
        kept.handlers.insert(fingerprint, (handler.clone(), now));
        Ok(handler)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fresh(&self, kind: &str, settings: &Map<String, Value>) -> Result<Arc<dyn Handler>, Error> {
        let unknown = || Error::new(Operation::Open, ErrorKind::Misconfigured, "no handler has this kind");
        let kind = registry::kind(kind).ok_or_else(unknown)?;
        let bare = (kind.open)(settings, &self.ways)?;
        let checked = Arc::new(Verify::new(bare));
        // The client ends what stands still on the wire. Twice its patience is for what stands still elsewhere.
        let bounded = Arc::new(Deadline::new(checked, self.ways.client.timeouts().idle * 2));
        Ok(Arc::new(Observe::new(bounded, kind.name)))
    }
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} open", self.handlers.len())
    }
}

/// A digest of kind and settings in which the order of keys does not matter.
fn fingerprint(kind: &str, settings: &Map<String, Value>) -> Fingerprint {
    let mut hash = Sha256::new();
    feed_text(&mut hash, kind);
    feed_fields(&mut hash, settings);
    hash.finalize().into()
}

fn feed_text(hash: &mut Sha256, text: &str) {
    hash.update((text.len() as u64).to_le_bytes());
    hash.update(text);
}

fn feed_fields(hash: &mut Sha256, fields: &Map<String, Value>) {
    let mut sorted: Vec<_> = fields.iter().collect();
    sorted.sort_by_key(|(name, _)| *name);
    hash.update((sorted.len() as u64).to_le_bytes());
    for (name, value) in sorted {
        feed_text(hash, name);
        feed(hash, value);
    }
}

fn feed(hash: &mut Sha256, value: &Value) {
    match value {
        Value::Object(fields) => {
            hash.update(b"o");
            feed_fields(hash, fields);
        }
        Value::Array(items) => {
            hash.update(b"a");
            hash.update((items.len() as u64).to_le_bytes());
            items.iter().for_each(|item| feed(hash, item));
        }
        Value::String(text) => {
            hash.update(b"t");
            feed_text(hash, text);
        }
        other => {
            hash.update(b"v");
            feed_text(hash, &other.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn settings(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    fn pool() -> Pool {
        Pool::new(outbound::Client::new(Arc::default()).unwrap())
    }

    #[test]
    fn the_same_settings_are_one_handler() {
        let pool = pool();
        let first = pool.open("http", &settings(json!({"url": "http://h", "verb": "put"}))).unwrap();
        let again = pool.open("http", &settings(json!({"verb": "put", "url": "http://h"}))).unwrap();
        let other = pool.open("http", &settings(json!({"verb": "post", "url": "http://h"}))).unwrap();
        assert!(Arc::ptr_eq(&first, &again));
        assert!(!Arc::ptr_eq(&first, &other));
    }

    fn entry(bucket: &str) -> Arc<HandlerConfig> {
        let settings = settings(json!({"bucket": bucket, "key": "k", "secret": "s", "host": "h"}));
        Arc::new(HandlerConfig { handler: "s3".into(), name: None, settings, rest: Map::new() })
    }

    #[test]
    fn an_entry_is_what_its_settings_are() {
        let pool = pool();
        for round in 0..3 {
            for bucket in ["first", "other"] {
                let entry = entry(bucket);
                let opened = pool.open_entry(&entry).unwrap();
                assert!(Arc::ptr_eq(&opened, &pool.open("s3", &entry.settings).unwrap()), "{bucket} {round}");
                let destination = (registry::kind("s3").unwrap().destination)(&entry.settings);
                assert_eq!(pool.destination(&entry).as_deref(), Some(&*destination));
            }
        }
        let unknown = Arc::new(HandlerConfig { handler: "pigeon".into(), ..HandlerConfig::clone(&entry("first")) });
        assert_eq!(pool.destination(&unknown), None);
        assert!(pool.open_entry(&unknown).is_err());
    }

    #[test]
    fn entries_make_room_for_others() {
        let pool = pool();
        let held: Vec<_> = (0..=ENTRIES).map(|n| entry(&format!("held-{n}"))).collect();
        for (n, entry) in held.iter().enumerate() {
            let destination = pool.destination(entry).unwrap();
            assert!(destination.ends_with(&format!("/held-{n}")), "{destination}");
        }
        assert_eq!(pool.kept().entries.len(), 1);
    }

    #[test]
    fn no_more_are_kept_than_the_limit() {
        let pool = pool();
        let of = |n: usize| settings(json!({"url": format!("http://h/{n}")}));
        let first = pool.open("http", &of(0)).unwrap();
        let second = pool.open("http", &of(1)).unwrap();
        for n in 2..OPEN {
            pool.open("http", &of(n)).unwrap();
        }
        pool.open("http", &of(0)).unwrap();
        pool.open("http", &of(OPEN)).unwrap();
        assert!(Arc::ptr_eq(&first, &pool.open("http", &of(0)).unwrap()), "used lately");
        assert!(!Arc::ptr_eq(&second, &pool.open("http", &of(1)).unwrap()), "not used for longest");
        assert_eq!(format!("{:?}", pool.kept.lock().unwrap()), format!("{OPEN} open"));
    }

    #[test]
    fn what_cannot_work_is_not_kept() {
        assert_eq!(pool().open("pigeon", &Map::new()).unwrap_err().kind(), ErrorKind::Misconfigured);
        assert_eq!(pool().open("s3", &Map::new()).unwrap_err().kind(), ErrorKind::Misconfigured);
    }

    #[test]
    fn nothing_open_prints_a_setting() {
        let pool = pool();
        let s3 =
            pool.open("s3", &settings(json!({"bucket": "buckets", "key": "hunter2", "secret": "hunter2"}))).unwrap();
        let http = pool.open("http", &settings(json!({"url": "http://me:hunter2@h/a?hunter2"}))).unwrap();
        let shown = format!("{s3:?} {http:?} {pool:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

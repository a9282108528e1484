//! Documents that were read lately, in memory.
//!
//! Every request reads the same few documents anew: its account, its user, its mailbox, so that a changed right counts at once. They change
//! seldom, and only through this process. What is kept here is never older than the last write that was answered: a write takes a [`Stale`]
//! along, which outlives its commit and forgets the document when it goes. A read that began before that must not put the old document back:
//! it counts changes from before its snapshot, and is kept only when none came in between.
//!
//! A unique key by which a document was found is remembered with what is kept of the document, and forgotten with it: a key changes hands only when
//! the document that holds it is written.
//!
//! That there is no such document is kept as well, by the same rule: a switch that nobody ever turned is asked for with every request.
//!
//! Documents of months have a small room of their own, and are kept only for who says that the same may be asked for again at once: a player asks
//! for a recording part by part. Else they are many, and each is read once or twice.

use std::collections::HashMap;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use plan::{Classification, Database, DocId};

use crate::Document;

/// The most keys that are remembered. Beyond it all are forgotten and come back as they are asked for.
const KEYS: usize = 20_000;
/// Bytes of JSON in each of the two halves. In memory a document takes several times its text.
const HALF: usize = 2 << 20;
/// As [`HALF`], of documents of months.
const HALF_OF_MONTHS: usize = 256 << 10;
/// What it weighs, beside its id, that a document is not there.
const ABSENCE: usize = 512;

/// The rooms in which documents are kept.
#[derive(Debug, Clone)]
pub(crate) struct Rooms {
    rest: Arc<Recent>,
    months: Arc<Recent>,
}

impl Rooms {
    pub(crate) fn new() -> Self {
        let room = |half| Arc::new(Recent { shelves: Mutex::new(Shelves { half, ..Shelves::default() }) });
        Self { rest: room(HALF), months: room(HALF_OF_MONTHS) }
    }

    /// The room of a database's documents.
    pub(crate) fn of(&self, database: &Database) -> &Arc<Recent> {
        if is_of_months(database) { &self.months } else { &self.rest }
    }

    /// Whether this database's documents are kept whoever asks.
    pub(crate) fn keeps(&self, database: &Database) -> bool {
        !is_of_months(database)
    }

    /// The room in which documents are found by keys.
    pub(crate) fn of_holders(&self) -> &Arc<Recent> {
        &self.rest
    }
}

/// Documents that were read lately.
#[derive(Debug)]
pub(crate) struct Recent {
    shelves: Mutex<Shelves>,
}

/// Two halves: what is read moves to the young one. When that is full it becomes the old one, and the old one goes.
#[derive(Debug, Default)]
struct Shelves {
    young: Shelf,
    old: Shelf,
    /// Bytes of JSON in the young half, and the most of them.
    weight: usize,
    half: usize,
    /// Documents that were forgotten so far.
    changes: u64,
    /// Where the holder of a key was found. True only while what is kept of the holder says so too.
    holders: HashMap<Key, (Database, DocId)>,
}

/// A unique key: its space and itself.
type Key = (&'static str, String);

type Shelf = HashMap<Database, HashMap<DocId, Kept>>;

#[derive(Debug, Clone)]
struct Kept {
    /// None is known not to be there.
    document: Option<Document>,
    weight: usize,
    /// Keys by which it was found.
    keys: Vec<Key>,
}

/// What a look found.
#[derive(Debug)]
pub(crate) enum Found {
    /// The document, as it is; none is known not to be there.
    Kept(Option<Document>),
    /// It has to be read; what is read may be kept with this.
    Unknown(Ticket),
}

/// The number of changes before a read began.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ticket(u64);

/// A document that is being written. Gone, it is forgotten.
#[derive(Debug)]
pub(crate) struct Stale {
    recent: Arc<Recent>,
    database: Database,
    id: DocId,
}

impl Recent {
    pub(crate) fn find(&self, database: &Database, id: &DocId) -> Found {
        let mut shelves = self.shelves();
        match shelves.reach(database, id) {
            Some(kept) => Found::Kept(kept.document.clone()),
            None => Found::Unknown(Ticket(shelves.changes)),
        }
    }

    /// The document that holds a key. Whether its database is one that is kept, is not known before it was found.
    pub(crate) fn find_holder(&self, space: &'static str, key: &str) -> Found {
        let mut shelves = self.shelves();
        let key = (space, key.to_owned());
        if let Some((database, id)) = shelves.holders.get(&key).cloned() {
            match shelves.reach(&database, &id).filter(|kept| kept.keys.contains(&key)) {
                Some(kept) => return Found::Kept(kept.document.clone()),
                None => {
                    shelves.holders.remove(&key);
                }
            }
        }
        Found::Unknown(Ticket(shelves.changes))
    }

    /// As [`Recent::keep`], for a document that was found by a key that it holds for good.
    pub(crate) fn keep_holder(
        &self,
        ticket: Ticket,
        space: &'static str,
        key: &str,
        document: Document,
        weight: usize,
    ) {
        let mut shelves = self.shelves();
        if is_of_months(&document.database) || shelves.changes != ticket.0 || weight > shelves.half / 4 {
            return;
        }
        if shelves.holders.len() >= KEYS {
            shelves.holders.clear();
        }
        let key = (space, key.to_owned());
        let mut keys =
            shelves.reach(&document.database, &document.id).map(|kept| kept.keys.clone()).unwrap_or_default();
        keys.push(key.clone());
        shelves.holders.insert(key, (document.database.clone(), document.id.clone()));
        let (database, id) = (document.database.clone(), document.id.clone());
        shelves.put(database, id, Kept { document: Some(document), weight, keys });
    }

    /// Keeps a document of so many bytes of JSON that was read with this ticket, or that there is none.
    pub(crate) fn keep(&self, ticket: Ticket, database: &Database, id: &DocId, found: Option<(Document, usize)>) {
        let mut shelves = self.shelves();
        let absence = (None, ABSENCE + id.as_ref().len());
        let (document, weight) = found.map_or(absence, |(document, weight)| (Some(document), weight));
        if shelves.changes == ticket.0 && weight <= shelves.half / 4 {
            shelves.put(database.clone(), id.clone(), Kept { document, weight, keys: Vec::new() });
        }
    }

    /// What a write of this document takes along.
    pub(crate) fn stale(self: &Arc<Self>, database: &Database, id: &DocId) -> Stale {
        Stale { recent: self.clone(), database: database.clone(), id: id.clone() }
    }

    fn shelves(&self) -> MutexGuard<'_, Shelves> {
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelves {
    /// What is kept of a document, which moves to the young half.
    fn reach(&mut self, database: &Database, id: &DocId) -> Option<&Kept> {
        if look(&self.young, database, id).is_none() {
            let kept = take(&mut self.old, database, id)?;
            self.put(database.clone(), id.clone(), kept);
        }
        look(&self.young, database, id)
    }

    fn put(&mut self, database: Database, id: DocId, kept: Kept) {
        if self.weight + kept.weight > self.half {
            self.old = mem::take(&mut self.young);
            self.weight = 0;
        }
        self.weight += kept.weight;
        if let Some(before) = self.young.entry(database).or_default().insert(id, kept) {
            self.weight -= before.weight;
        }
    }
}

impl Drop for Stale {
    fn drop(&mut self) {
        let mut shelves = self.recent.shelves();
        shelves.changes += 1;
        if let Some(gone) = take(&mut shelves.young, &self.database, &self.id) {
            shelves.weight -= gone.weight;
        }
        take(&mut shelves.old, &self.database, &self.id);
    }
}

fn is_of_months(database: &Database) -> bool {
    matches!(database.classification(), None | Some(Classification::Modb | Classification::Yodb))
}

fn look<'a>(shelf: &'a Shelf, database: &Database, id: &DocId) -> Option<&'a Kept> {
    shelf.get(database)?.get(id)
}

fn take(shelf: &mut Shelf, database: &Database, id: &DocId) -> Option<Kept> {
    let documents = shelf.get_mut(database)?;
    let kept = documents.remove(id);
    if documents.is_empty() {
        shelf.remove(database);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Contents, Revision};
    use serde_json::Map;

    fn document(id: &str) -> Document {
        let contents = Contents {
            database: Database::parse("system_data").unwrap(),
            id: DocId::parse(id).unwrap(),
            revision: Revision::next(None, "{}"),
            doc_type: "thing".into(),
            deleted: false,
            body: Map::new(),
        };
        contents.into()
    }

    fn of_month(document: &Document, month: &Database) -> Document {
        Contents { database: month.clone(), ..Contents::clone(document) }.into()
    }

    fn ticket(recent: &Recent, of: &Document) -> Ticket {
        match recent.find(&of.database, &of.id) {
            Found::Unknown(ticket) => ticket,
            other => panic!("{other:?}"),
        }
    }

    fn has(recent: &Recent, of: &Document) -> bool {
        matches!(recent.find(&of.database, &of.id), Found::Kept(Some(_)))
    }

    fn keep(recent: &Recent, ticket: Ticket, document: &Document, weight: usize) {
        recent.keep(ticket, &document.database, &document.id, Some((document.clone(), weight)));
    }

    #[test]
    fn what_was_read_before_a_write_is_not_kept_after_it() {
        let (recent, one) = (Rooms::new().rest, document("one"));
        let before = ticket(&recent, &one);
        let stale = recent.stale(&one.database, &one.id);
        keep(&recent, before, &one, 10);
        assert!(has(&recent, &one), "the write is not done yet");
        drop(stale);
        assert!(!has(&recent, &one));
        keep(&recent, before, &one, 10);
        assert!(!has(&recent, &one), "this snapshot is older than the write");
        keep(&recent, ticket(&recent, &one), &one, 10);
        assert!(has(&recent, &one));
    }

    #[test]
    fn a_key_is_remembered_as_long_as_nothing_was_written() {
        let (recent, one) = (Rooms::new().rest, document("one"));
        let found = |key: &str| match recent.find_holder("space", key) {
            Found::Kept(document) => Ok(document.unwrap().id.to_string()),
            Found::Unknown(ticket) => Err(ticket),
        };
        for key in ["a", "b"] {
            recent.keep_holder(found(key).unwrap_err(), "space", key, one.clone(), 10);
        }
        assert!(found("a").is_ok() && found("b").is_ok() && has(&recent, &one));
        assert!(matches!(recent.find_holder("other", "a"), Found::Unknown(_)));
        let before = found("c").unwrap_err();
        drop(recent.stale(&one.database, &one.id));
        assert!(found("a").is_err());
        // It is kept again, and whether it still holds the key is not known.
        keep(&recent, ticket(&recent, &one), &one, 10);
        assert!(found("a").is_err() && found("b").is_err());
        recent.keep_holder(before, "space", "c", one.clone(), 10);
        assert!(found("c").is_err(), "this snapshot is older than the write");
        let month = Database::parse("account/aa/bb/00000000000000000000000000cc-202611").unwrap();
        recent.keep_holder(found("m").unwrap_err(), "space", "m", of_month(&one, &month), 10);
        assert!(found("m").is_err());
        for number in 0..KEYS {
            recent.keep_holder(found("x").unwrap_err(), "space", &number.to_string(), one.clone(), 10);
            drop(recent.stale(&one.database, &one.id));
        }
        assert!(recent.shelves().holders.len() <= KEYS);
    }

    #[test]
    fn what_is_not_there_is_known_until_it_is_written() {
        let (recent, one) = (Rooms::new().rest, document("one"));
        let absent = || matches!(recent.find(&one.database, &one.id), Found::Kept(None));
        let before = ticket(&recent, &one);
        recent.keep(before, &one.database, &one.id, None);
        assert!(absent());
        let stale = recent.stale(&one.database, &one.id);
        assert!(absent(), "the write is not done yet");
        drop(stale);
        assert!(!absent() && !has(&recent, &one));
        recent.keep(before, &one.database, &one.id, None);
        assert!(!absent(), "this snapshot is older than the write");
        recent.keep_holder(ticket(&recent, &one), "space", "a", one.clone(), 10);
        drop(recent.stale(&one.database, &one.id));
        recent.keep(ticket(&recent, &one), &one.database, &one.id, None);
        assert!(matches!(recent.find_holder("space", "a"), Found::Unknown(_)), "a key is held by what is there");
    }

    #[test]
    fn what_is_not_there_takes_a_fixed_room() {
        let (recent, used) = (Rooms::new().rest, document("used"));
        keep(&recent, ticket(&recent, &used), &used, 10);
        for number in 0..3 * HALF / ABSENCE {
            let absent = document(&format!("absent{number}"));
            recent.keep(ticket(&recent, &absent), &absent.database, &absent.id, None);
            assert!(has(&recent, &used));
        }
        let shelves = recent.shelves();
        let kept = [&shelves.young, &shelves.old].map(|shelf| shelf.values().map(HashMap::len).sum::<usize>());
        assert!(kept.into_iter().all(|kept| kept <= HALF / ABSENCE), "{kept:?}");
    }

    #[test]
    fn what_is_not_read_any_more_makes_room() {
        let (recent, used) = (Rooms::new().rest, document("used"));
        keep(&recent, ticket(&recent, &used), &used, 1000);
        for number in 0..20 {
            let other = document(&format!("other{number}"));
            keep(&recent, ticket(&recent, &other), &other, HALF / 4);
            assert!(has(&recent, &used));
        }
        assert!(!has(&recent, &document("other3")));
        assert!(has(&recent, &document("other19")));
        let large = document("large");
        keep(&recent, ticket(&recent, &large), &large, HALF);
        assert!(!has(&recent, &large));
    }

    #[test]
    fn months_have_a_room_of_their_own() {
        let rooms = Rooms::new();
        let month = Database::parse("account/aa/bb/00000000000000000000000000cc-202611").unwrap();
        let (one, said) = (document("one"), of_month(&document("said"), &month));
        assert!(Arc::ptr_eq(rooms.of(&month), &rooms.months) && Arc::ptr_eq(rooms.of(&one.database), &rooms.rest));
        assert!(rooms.keeps(&one.database) && !rooms.keeps(&month));
        let keep = |of: &Document, weight| {
            let room = rooms.of(&of.database);
            room.keep(ticket(room, of), &of.database, &of.id, Some((of.clone(), weight)));
        };
        keep(&one, 10);
        for number in 0..20 {
            keep(&of_month(&document(&format!("other{number}")), &month), HALF_OF_MONTHS / 4);
        }
        keep(&said, HALF_OF_MONTHS / 4 + 1);
        assert!(has(&rooms.rest, &one) && !has(&rooms.months, &said));
        keep(&said, 10);
        assert!(has(&rooms.months, &said));
        drop(rooms.of(&month).stale(&month, &said.id));
        assert!(!has(&rooms.months, &said) && has(&rooms.rest, &one));
    }
}

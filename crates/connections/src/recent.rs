//! Documents that were read lately, in memory.
//!
//! Every request reads the same few documents anew: its account, its user, its mailbox, so that a changed right counts at once. They change
//! seldom, and only through this process. What is kept here is never older than the last write that was answered: a write takes a [`Stale`]
//! along, which outlives its commit and forgets the document when it goes. A read that began before that must not put the old document back:
//! it counts changes from before its snapshot, and is kept only when none came in between.
//!
//! Documents of months are not kept. They are many, and each is read once or twice.

use std::collections::HashMap;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use plan::{Classification, Database, DocId};

use crate::Document;

/// Bytes of JSON in each of the two halves. In memory a document takes several times its text.
const HALF: usize = 2 << 20;

/// Documents that were read lately.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    shelves: Mutex<Shelves>,
}

/// Two halves: what is read moves to the young one. When that is full it becomes the old one, and the old one goes.
#[derive(Debug, Default)]
struct Shelves {
    young: Shelf,
    old: Shelf,
    /// Bytes of JSON in the young half.
    weight: usize,
    /// Documents that were forgotten so far.
    changes: u64,
}

type Shelf = HashMap<Database, HashMap<DocId, Kept>>;

#[derive(Debug, Clone)]
struct Kept {
    document: Arc<Document>,
    weight: usize,
}

/// What a look found.
#[derive(Debug)]
pub(crate) enum Found {
    /// The document, as it is.
    Kept(Arc<Document>),
    /// It has to be read; what is read may be kept with this.
    Unknown(Ticket),
    /// It has to be read, and is not kept.
    Passing,
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
        if !is_kept(database) {
            return Found::Passing;
        }
        let mut shelves = self.shelves();
        if let Some(kept) = look(&shelves.young, database, id) {
            return Found::Kept(kept.document);
        }
        match take(&mut shelves.old, database, id) {
            Some(kept) => {
                let document = kept.document.clone();
                shelves.put(kept);
                Found::Kept(document)
            }
            None => Found::Unknown(Ticket(shelves.changes)),
        }
    }

    /// Keeps a document of so many bytes of JSON that was read with this ticket.
    pub(crate) fn keep(&self, ticket: Ticket, document: Document, weight: usize) {
        let mut shelves = self.shelves();
        if shelves.changes == ticket.0 && weight <= HALF / 4 {
            shelves.put(Kept { document: Arc::new(document), weight });
        }
    }

    /// What a write of this document takes along.
    pub(crate) fn stale(self: &Arc<Self>, database: &Database, id: &DocId) -> Option<Stale> {
        is_kept(database).then(|| Stale { recent: self.clone(), database: database.clone(), id: id.clone() })
    }

    fn shelves(&self) -> MutexGuard<'_, Shelves> {
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelves {
    fn put(&mut self, kept: Kept) {
        if self.weight + kept.weight > HALF {
            self.old = mem::take(&mut self.young);
            self.weight = 0;
        }
        self.weight += kept.weight;
        let (database, id) = (kept.document.database.clone(), kept.document.id.clone());
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

fn is_kept(database: &Database) -> bool {
    !matches!(database.classification(), None | Some(Classification::Modb | Classification::Yodb))
}

fn look(shelf: &Shelf, database: &Database, id: &DocId) -> Option<Kept> {
    shelf.get(database)?.get(id).cloned()
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
    use crate::Revision;
    use serde_json::Map;

    fn document(id: &str) -> Document {
        Document {
            database: Database::parse("system_data").unwrap(),
            id: DocId::parse(id).unwrap(),
            revision: Revision::next(None, "{}"),
            doc_type: "thing".into(),
            deleted: false,
            body: Map::new(),
        }
    }

    fn ticket(recent: &Recent, of: &Document) -> Ticket {
        match recent.find(&of.database, &of.id) {
            Found::Unknown(ticket) => ticket,
            other => panic!("{other:?}"),
        }
    }

    fn has(recent: &Recent, of: &Document) -> bool {
        matches!(recent.find(&of.database, &of.id), Found::Kept(_))
    }

    #[test]
    fn what_was_read_before_a_write_is_not_kept_after_it() {
        let (recent, one) = (Arc::new(Recent::default()), document("one"));
        let before = ticket(&recent, &one);
        let stale = recent.stale(&one.database, &one.id);
        recent.keep(before, one.clone(), 10);
        assert!(has(&recent, &one), "the write is not done yet");
        drop(stale);
        assert!(!has(&recent, &one));
        recent.keep(before, one.clone(), 10);
        assert!(!has(&recent, &one), "this snapshot is older than the write");
        recent.keep(ticket(&recent, &one), one.clone(), 10);
        assert!(has(&recent, &one));
    }

    #[test]
    fn what_is_not_read_any_more_makes_room() {
        let (recent, used) = (Arc::new(Recent::default()), document("used"));
        recent.keep(ticket(&recent, &used), used.clone(), 1000);
        for number in 0..20 {
            let other = document(&format!("other{number}"));
            recent.keep(ticket(&recent, &other), other, HALF / 4);
            assert!(has(&recent, &used));
        }
        assert!(!has(&recent, &document("other3")));
        assert!(has(&recent, &document("other19")));
        let large = document("large");
        recent.keep(ticket(&recent, &large), large.clone(), HALF);
        assert!(!has(&recent, &large));
    }

    #[test]
    fn months_are_passed_by() {
        let recent = Arc::new(Recent::default());
        let month = Database::parse("account/aa/bb/00000000000000000000000000cc-202611").unwrap();
        assert!(matches!(recent.find(&month, &DocId::parse("x").unwrap()), Found::Passing));
        assert!(recent.stale(&month, &DocId::parse("x").unwrap()).is_none());
    }
}

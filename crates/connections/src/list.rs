//! Lists of documents: a question, a page, and where to go on.

use crate::Document;
use plan::Database;

/// The direction of a list by the time that its documents carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// Newest first.
    #[default]
    Descending,
    /// Oldest first.
    Ascending,
}

/// Where a page begins: the time and id of its first document. Callers treat it as opaque.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// Gregorian seconds.
    pub at: i64,
    /// The document's id.
    pub id: String,
}

/// Which documents of one database a list holds.
#[derive(Debug, Clone)]
pub struct Query {
    /// The database.
    pub database: Database,
    /// The type of the documents.
    pub doc_type: String,
    /// Only those of this parent.
    pub parent: Option<String>,
    /// Only those of this owner.
    pub owner: Option<String>,
    /// Only those whose time is at or after this, in Gregorian seconds.
    pub from: Option<i64>,
    /// Only those whose time is at or before this, in Gregorian seconds.
    pub to: Option<i64>,
    /// The first document of the page, included.
    pub start: Option<Cursor>,
    /// Those that were deleted softly, and no others.
    pub deleted: bool,
    /// The direction.
    pub order: Order,
    /// The most documents that a page holds.
    pub limit: usize,
}

impl Query {
    /// All documents of a type in a database, newest first, in pages of 1,000.
    pub fn new(database: Database, doc_type: impl Into<String>) -> Self {
        Self {
            database,
            doc_type: doc_type.into(),
            parent: None,
            owner: None,
            from: None,
            to: None,
            start: None,
            deleted: false,
            order: Order::default(),
            limit: 1000,
        }
    }
}

/// A page of a list.
#[derive(Debug, Clone)]
pub struct Page {
    /// The documents, in order, each with the cursor that would begin a page at it.
    pub documents: Vec<(Cursor, Document)>,
    /// Where the next page begins; none when this one is the last.
    pub next: Option<Cursor>,
}

/// How many things there are of a kind, and how much of something they are together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    /// The type of the documents that they stand in.
    pub doc_type: String,
    /// What they were told apart by, as it was asked.
    pub by: Vec<Option<String>>,
    /// How many.
    pub count: u64,
    /// What was summed up.
    pub sum: u64,
}

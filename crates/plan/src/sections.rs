//! What a document says in `plan`, kept as text.
//!
//! Documents are in memory by the hundred thousand, and their plans are read again only when layers are laid below them or somebody asks why. As a
//! tree of JSON they would take twenty times the room.

use std::fmt;

use serde_json::{Map, Value};

/// The `plan` of a document, by class of database, in its order.
#[derive(Clone, Default, PartialEq)]
pub struct Sections(Box<[(Box<str>, Box<str>)]>);

impl Sections {
    /// Keeps what a document says.
    #[must_use]
    pub fn new(plan: &Map<String, Value>) -> Self {
        Self(plan.iter().map(|(class, said)| (class.as_str().into(), said.to_string().into())).collect())
    }

    /// Whether nothing is said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a class is spoken of.
    #[must_use]
    pub fn speaks_of(&self, class: &str) -> bool {
        self.0.iter().any(|(own, _)| **own == *class)
    }

    /// What is said of a class.
    #[must_use]
    pub fn of(&self, class: &str) -> Option<Value> {
        let (_, said) = self.0.iter().find(|(own, _)| **own == *class)?;
        serde_json::from_str(said).ok()
    }

    /// All of it, as it stands in a document.
    #[must_use]
    pub fn to_json(&self) -> Map<String, Value> {
        self.0.iter().filter_map(|(class, _)| Some((class.to_string(), self.of(class)?))).collect()
    }

    /// About how many bytes of memory it holds beside its own.
    pub(crate) fn weight(&self) -> usize {
        let texts = self.0.iter().map(|(class, said)| size_of_val(&**class) + size_of_val(&**said));
        size_of_val(&*self.0) + texts.sum::<usize>()
    }
}

/// The classes, and nothing of what is said of them.
impl fmt::Debug for Sections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(class, _)| class)).finish()
    }
}

//! What is wrong with a document, in the form that Kazoo's clients read: `{"<dotted.path>": {"<code>": {"message": …}}}`.
//!
//! All faults are gathered, none stops the search for others. Values that are echoed have had their secrets struck out by whoever pushes
//! them ([`STRUCK`]); this module only keeps them in order.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};

/// What stands in an echoed value where a secret was.
pub const STRUCK: &str = "********";

/// The faults of a document: dotted path → code → `{message, target?, value?, cause?, …}`, ordered by path and code.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Violations(BTreeMap<String, BTreeMap<String, Map<String, Value>>>);

impl Violations {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many faults there are, counting each code of each path.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.values().map(BTreeMap::len).sum()
    }

    /// Adds a fault. `extra` holds what stands beside `message`: `target`, `value`, `cause`, …
    ///
    /// The first fault of a path and code stays; a second of the same path and code is dropped.
    pub fn push(
        &mut self,
        path: &str,
        code: &str,
        message: String,
        extra: impl IntoIterator<Item = (&'static str, Value)>,
    ) {
        let mut detail = Map::new();
        detail.insert("message".to_owned(), Value::String(message));
        detail.extend(extra.into_iter().map(|(key, value)| (key.to_owned(), value)));
        self.0.entry(path.to_owned()).or_default().entry(code.to_owned()).or_insert(detail);
    }

    /// Adds all faults of `other`; where both speak of a path and code, ours stays.
    pub fn merge(&mut self, other: Self) {
        for (path, codes) in other.0 {
            let entry = self.0.entry(path).or_default();
            for (code, detail) in codes {
                entry.entry(code).or_insert(detail);
            }
        }
    }

    /// The details of one fault, if it was pushed.
    #[must_use]
    pub fn get(&self, path: &str, code: &str) -> Option<&Map<String, Value>> {
        self.0.get(path)?.get(code)
    }

    /// Path, code and details of every fault, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str, &Map<String, Value>)> {
        self.0
            .iter()
            .flat_map(|(path, codes)| codes.iter().map(move |(code, detail)| (path.as_str(), code.as_str(), detail)))
    }

    /// The `data` object of a 400.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let paths = self.0.iter().map(|(path, codes)| {
            let codes: Map<String, Value> =
                codes.iter().map(|(code, detail)| (code.clone(), Value::Object(detail.clone()))).collect();
            (path.clone(), Value::Object(codes))
        });
        Value::Object(paths.collect())
    }
}

/// Paths and codes only: the echoed values belong to the client who sent them, not to a log.
impl fmt::Debug for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter().map(|(path, codes)| (path, codes.keys().collect::<Vec<_>>()))).finish()
    }
}

/// Joins keys to the path of a fault; a dot inside a key becomes `%2E`.
///
/// ```
/// assert_eq!(plan::dotted(["plan", "modb", "regex", "a.b"]), "plan.modb.regex.a%2Eb");
/// ```
pub fn dotted<'a>(keys: impl IntoIterator<Item = &'a str>) -> String {
    let mut path = String::new();
    for key in keys {
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(&escaped(key));
    }
    path
}

fn escaped(key: &str) -> Cow<'_, str> {
    if key.contains('.') { Cow::Owned(key.replace('.', "%2E")) } else { Cow::Borrowed(key) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_first_of_a_path_and_code_stays() {
        let mut ours = Violations::new();
        ours.push("plan", "type", "one".into(), [("target", json!("object"))]);
        ours.push("plan", "type", "two".into(), []);
        let mut theirs = Violations::new();
        theirs.push("plan", "type", "three".into(), []);
        theirs.push("id", "type", "four".into(), []);
        ours.merge(theirs);
        assert_eq!(
            ours.to_json(),
            json!({"id": {"type": {"message": "four"}}, "plan": {"type": {"message": "one", "target": "object"}}})
        );
        assert_eq!(ours.len(), 2);
    }

    #[test]
    fn debug_shows_no_values() {
        let mut violations = Violations::new();
        violations.push("a", "type", "wrong".into(), [("value", json!("hunter2"))]);
        assert_eq!(format!("{violations:?}"), r#"{"a": ["type"]}"#);
    }
}

//! What a schema cannot see: references to nothing, ids that belong to someone else, parameters that nobody may set, keys that are locked.
//!
//! Whoever saves a document asks this after the schemas and before the document is kept. [`Dataplan`] copes with everything that is refused
//! here, because documents change one at a time: an account's reference dangles when its reseller removes a handler.

use serde_json::{Map, Value};

use crate::dataplan::Dataplan;
use crate::document::StorageDocument;
use crate::id::{ConnectionId, HandlerId};
use crate::params;
use crate::tree::{MonthRange, pattern};
use crate::violations::{Violations, dotted};

/// Everything that is wrong with what `document` refers to. `inherited` is the plan of the levels above it: their handlers and connections may
/// be referred to and may not be defined again. `local` may always be referred to, and `connections.local` may be defined to no effect.
#[must_use]
pub fn references(document: &StorageDocument, inherited: Option<&Dataplan>) -> Violations {
    let mut check = Check { document, inherited, violations: Violations::new() };
    check.owners();
    for (class, section) in &document.plan.to_json() {
        check.section(class, section);
    }
    check.violations
}

/// What of `document` a level above has locked. What stands there unchanged since `stored` is passed over (it is overruled where it counts), and so
/// is what only repeats the levels to the lock.
#[must_use]
pub fn locks(document: &StorageDocument, stored: Option<&StorageDocument>, inherited: &Dataplan) -> Violations {
    let mut violations = Violations::new();
    let layers = inherited.layers();
    if layers.iter().all(|layer| layer.document.locks.is_empty()) {
        return violations;
    }
    let own = document.plan.to_json();
    let before = stored.map(|stored| stored.plan.to_json()).unwrap_or_default();
    let plans: Vec<_> = layers.iter().map(|layer| layer.document.plan.to_json()).collect();
    let mut said = Vec::new();
    leaves(&own, &mut Vec::new(), &mut said);
    for (path, value) in said {
        let locked = layers.iter().enumerate().find_map(|(place, layer)| {
            let lock = layer.document.locks.iter().find(|lock| lock.covers(&path))?;
            Some((place, layer.level, lock))
        });
        let Some((place, level, lock)) = locked else { continue };
        let above = plans.iter().take(place + 1).rev().find_map(|plan| at(plan, &path));
        if at(&before, &path) == Some(value) || above == Some(value) {
            continue;
        }
        let level = level.word();
        let message = format!("the {level} level has locked {lock}: no lower level may say otherwise");
        let place = dotted(std::iter::once("plan").chain(path.iter().copied()));
        violations.push(&place, "locked", message, [("target", lock.to_string().into()), ("cause", level.into())]);
    }
    violations
}

type Leaf<'a> = (Vec<&'a str>, &'a Value);

/// What an object says, each with the keys that lead to it. An empty object says nothing.
fn leaves<'a>(fields: &'a Map<String, Value>, path: &mut Vec<&'a str>, found: &mut Vec<Leaf<'a>>) {
    for (key, value) in fields {
        path.push(key);
        match value {
            Value::Object(inner) => leaves(inner, path, found),
            value => found.push((path.clone(), value)),
        }
        path.pop();
    }
}

fn at<'a>(plan: &'a Map<String, Value>, path: &[&str]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(plan.get(*first)?, |value, key| value.get(key))
}

struct Check<'a> {
    document: &'a StorageDocument,
    inherited: Option<&'a Dataplan>,
    violations: Violations,
}

impl Check<'_> {
    fn owners(&mut self) {
        let Some(inherited) = self.inherited else {
            return;
        };
        let handlers = self.document.attachments.keys().filter(|id| inherited.handler(id).is_some());
        let handlers = handlers.map(|id| dotted(["attachments", id.as_str()]));
        let connections =
            self.document.connections.keys().filter(|id| !id.is_local() && inherited.connection(id).is_some());
        let connections = connections.map(|id| dotted(["connections", id.as_str()]));
        for path in handlers.chain(connections) {
            let message = "a higher level defines this id: refer to it, or use another for an entry of your own";
            self.violations.push(&path, "unique", message.to_owned(), []);
        }
    }

    fn section(&mut self, class: &str, section: &Value) {
        let handler = handler_of(section);
        self.place(&["plan", class], section, handler);
        for part in ["types", "range", "regex"] {
            for (key, place) in section.get(part).and_then(Value::as_object).into_iter().flatten() {
                let path = ["plan", class, part, key];
                self.place(&path, place, handler_of(place).or(handler));
                self.key(part, key, &path);
            }
        }
    }

    /// The keys of `range` and `regex` mean something.
    fn key(&mut self, part: &str, key: &str, path: &[&str]) {
        let message = match part {
            "range" if MonthRange::parse(key).is_none() => "a range is YYYYMM-YYYYMM, the earlier month first",
            "regex" if pattern(key).is_err() => "it is no regular expression, or too large a one",
            _ => return,
        };
        self.violations.push(&dotted(path.iter().copied()), "error", message.to_owned(), [("value", key.into())]);
    }

    /// The ids and parameters in a class, a type or an override; `handler` is the one that the parameters go to, as far as this document says.
    fn place(&mut self, path: &[&str], place: &Value, handler: Option<&str>) {
        if let Some(id) = place.get("connection").and_then(Value::as_str) {
            self.connection(&under(path, &["connection"]), id);
        }
        let secondary = place.get("secondary_connections").and_then(Value::as_array).into_iter().flatten();
        for (index, id) in secondary.enumerate() {
            if let Some(id) = id.as_str() {
                self.connection(&under(path, &["secondary_connections", &index.to_string()]), id);
            }
        }
        if let Some(id) = handler_of(place) {
            self.handler(&under(path, &["attachments", "handler"]), id);
        }
        if let Some(said) = place.get("attachments").and_then(|spec| spec.get("params")).and_then(Value::as_object) {
            self.params(&under(path, &["attachments", "params"]), handler, said);
        }
    }

    fn handler(&mut self, path: &str, id: &str) {
        if id != "local" && !self.is_own(id) && !self.is_inherited(id) {
            self.dangling(path, id, "attachments");
        }
    }

    fn connection(&mut self, path: &str, id: &str) {
        let known = ConnectionId::parse(id).is_ok_and(|id| {
            id.is_local()
                || self.document.connections.contains_key(&id)
                || self.inherited.is_some_and(|inherited| inherited.connection(&id).is_some())
        });
        if !known {
            self.dangling(path, id, "connections");
        }
    }

    fn dangling(&mut self, path: &str, id: &str, section: &str) {
        self.violations.push(path, "error", format!("invalid reference '{id}' to {section}"), [("value", id.into())]);
    }

    fn is_own(&self, id: &str) -> bool {
        self.document.attachments.contains_key(id)
    }

    fn is_inherited(&self, id: &str) -> bool {
        let inherited = self.inherited.zip(HandlerId::parse(id).ok());
        inherited.is_some_and(|(inherited, id)| inherited.handler(&id).is_some())
    }

    /// Parameters without a handler in this document may come to go with any; they are held to what may be said of one's own, and routing
    /// takes of them what may be said of the handler they meet.
    fn params(&mut self, path: &str, handler: Option<&str>, said: &Map<String, Value>) {
        let of_another = handler.is_some_and(|id| self.is_inherited(id));
        for (key, value) in said {
            let message = match key.as_str() {
                params::INHERITED if of_another => match value.as_str().map(params::folder) {
                    Some(Err(reason)) => format!("folder_path {reason}"),
                    _ => continue,
                },
                _ if of_another => {
                    "of a handler that a higher level defines, params may set folder_path only".to_owned()
                }
                key if params::OWN.contains(&key) => continue,
                _ => format!(
                    "params may set {} only; the rest belongs in the settings of the handler",
                    params::OWN.join(", ")
                ),
            };
            self.violations.push(&format!("{path}.{}", dotted([key.as_str()])), "forbidden", message, []);
        }
    }
}

fn handler_of(place: &Value) -> Option<&str> {
    place.get("attachments")?.get("handler")?.as_str()
}

fn under(path: &[&str], keys: &[&str]) -> String {
    dotted(path.iter().chain(keys).copied())
}

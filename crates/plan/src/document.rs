//! A storage document: which destinations there are (`attachments`, `connections`) and what goes where (`plan`).
//!
//! The entries are typed; `plan` stays JSON, because layers are laid over each other as JSON and only the result is read as a tree; and it is kept as
//! [text](Sections), because many documents are kept and few are read again.
//! What we do not know is kept. Nothing here prints a setting: `Debug` names keys, never values.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::id::{ConnectionId, HandlerId, PlanId};
use crate::lock::Lock;
use crate::sections::Sections;
use crate::violations::{Violations, dotted};

/// An entry of `attachments`: a destination for bytes.
#[derive(Clone, PartialEq)]
pub struct HandlerConfig {
    /// The kind: `s3`, `http`, …
    pub handler: String,
    /// What people call it.
    pub name: Option<String>,
    /// The settings, credentials included.
    pub settings: Map<String, Value>,
    /// What else the entry holds.
    pub rest: Map<String, Value>,
}

/// An entry of `connections`: a place for documents.
#[derive(Clone, PartialEq)]
pub struct ConnectionConfig {
    /// The kind; none for `local`, and for entries that rely on the default, [`ConnectionConfig::DEFAULT_DRIVER`].
    pub driver: Option<String>,
    /// What people call it.
    pub name: Option<String>,
    /// The settings, credentials included.
    pub settings: Map<String, Value>,
    /// What else the entry holds.
    pub rest: Map<String, Value>,
}

impl ConnectionConfig {
    /// The driver of an entry that names none.
    pub const DEFAULT_DRIVER: &'static str = "kazoo_couch";
}

/// A storage document, parsed.
#[derive(Clone, Default, PartialEq)]
pub struct StorageDocument {
    /// Destinations for bytes, shared with who uses them; and not in the map itself, which has room for eleven where most have one.
    pub attachments: BTreeMap<HandlerId, Arc<HandlerConfig>>,
    /// Places for documents.
    pub connections: BTreeMap<ConnectionId, Arc<ConnectionConfig>>,
    /// What goes where, as it was written; [`Dataplan`](crate::Dataplan) reads it.
    pub plan: Sections,
    /// The stored plan that is laid beneath this document.
    pub plan_id: Option<PlanId>,
    /// What lower levels may not change.
    pub locks: Vec<Lock>,
    /// What else the document holds.
    pub rest: Map<String, Value>,
}

impl StorageDocument {
    /// The lowest layer of all: everything in the local store, for accounts, months, years and the system.
    #[must_use]
    pub fn built_in() -> Self {
        let section = json!({"connection": "local", "attachments": {}, "types": {}});
        let local = ConnectionConfig { driver: None, name: None, settings: Map::new(), rest: Map::new() };
        let plan = ["account", "modb", "system", "yodb"].map(|class| (class.to_owned(), section.clone()));
        Self {
            connections: ConnectionId::parse("local").map(|id| (id, local.into())).into_iter().collect(),
            plan: Sections::new(&plan.into_iter().collect()),
            ..Self::default()
        }
    }

    /// Reads a document that has passed the [schemas](crate::schema), or one like it. `attachments`, `connections` and `plan` may be
    /// absent or null. The plan is not looked into.
    ///
    /// # Errors
    ///
    /// Everything that keeps it from being read: an entry that is no object, that lacks its handler, or whose key is no id.
    pub fn from_json(document: &Value) -> Result<Self, Violations> {
        let mut violations = Violations::new();
        let mut parsed = Self::default();
        let Value::Object(fields) = document else {
            violations.push(
                "data",
                "type",
                "a storage document is an object".to_owned(),
                [("target", "object".into())],
            );
            return Err(violations);
        };
        for (key, value) in fields {
            match (key.as_str(), value) {
                ("attachments" | "connections" | "plan" | "plan_id" | "locks", Value::Null) => {}
                ("attachments", _) => {
                    parsed.attachments = entries(key, value, &mut violations, HandlerId::parse, handler)
                }
                ("connections", _) => {
                    parsed.connections = entries(key, value, &mut violations, ConnectionId::parse, connection)
                }
                ("plan", Value::Object(plan)) => parsed.plan = Sections::new(plan),
                ("plan", _) => wrong_type(key, "object", &mut violations),
                ("plan_id", _) => match value.as_str().map(PlanId::parse) {
                    Some(Ok(id)) => parsed.plan_id = Some(id),
                    Some(Err(bad)) => violations.push(key, "invalid", bad.to_string(), []),
                    None => wrong_type(key, "string", &mut violations),
                },
                ("locks", Value::Array(locks)) => parsed.locks = read_locks(locks, &mut violations),
                ("locks", _) => wrong_type(key, "array", &mut violations),
                _ => {
                    parsed.rest.insert(key.clone(), value.clone());
                }
            }
        }
        if violations.is_empty() { Ok(parsed) } else { Err(violations) }
    }

    /// The document as JSON; `attachments`, `connections` and `plan` only where they hold something.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut fields = Map::new();
        if !self.attachments.is_empty() {
            let entries = self.attachments.iter().map(|(id, config)| (id.to_string(), config.to_json()));
            fields.insert("attachments".to_owned(), Value::Object(entries.collect()));
        }
        if !self.connections.is_empty() {
            let entries = self.connections.iter().map(|(id, config)| (id.to_string(), config.to_json()));
            fields.insert("connections".to_owned(), Value::Object(entries.collect()));
        }
        if !self.plan.is_empty() {
            fields.insert("plan".to_owned(), Value::Object(self.plan.to_json()));
        }
        if let Some(id) = &self.plan_id {
            fields.insert("plan_id".to_owned(), id.as_str().into());
        }
        if !self.locks.is_empty() {
            let locks: Vec<Value> = self.locks.iter().map(|lock| lock.to_string().into()).collect();
            fields.insert("locks".to_owned(), locks.into());
        }
        fields.extend(self.rest.clone());
        Value::Object(fields)
    }
}

impl HandlerConfig {
    /// The entry as it stands in a document.
    #[must_use]
    pub fn to_json(&self) -> Value {
        entry_json(("handler", Some(self.handler.as_str())), self.name.as_deref(), &self.settings, true, &self.rest)
    }
}

impl ConnectionConfig {
    /// The entry as it stands in a document.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let settings = !self.settings.is_empty();
        entry_json(("driver", self.driver.as_deref()), self.name.as_deref(), &self.settings, settings, &self.rest)
    }
}

fn entry_json(
    kind: (&str, Option<&str>),
    name: Option<&str>,
    settings: &Map<String, Value>,
    with_settings: bool,
    rest: &Map<String, Value>,
) -> Value {
    let mut fields = Map::new();
    for (key, value) in [kind, ("name", name)] {
        if let Some(value) = value {
            fields.insert(key.to_owned(), value.into());
        }
    }
    if with_settings {
        fields.insert("settings".to_owned(), Value::Object(settings.clone()));
    }
    fields.extend(rest.clone());
    Value::Object(fields)
}

fn wrong_type(path: &str, target: &'static str, violations: &mut Violations) {
    violations.push(path, "type", format!("it must be of type {target}"), [("target", target.into())]);
}

fn read_locks(locks: &[Value], violations: &mut Violations) -> Vec<Lock> {
    let mut read = Vec::new();
    for (index, lock) in locks.iter().enumerate() {
        let path = format!("locks.{index}");
        match lock.as_str().map(Lock::parse) {
            Some(Ok(lock)) => read.push(lock),
            Some(Err(reason)) => violations.push(&path, "invalid", reason.to_owned(), [("value", lock.clone())]),
            None => wrong_type(&path, "string", violations),
        }
    }
    read
}

type Entry<'a> = (&'a str, &'a Map<String, Value>);

fn entries<Id: Ord, Config>(
    section: &str,
    value: &Value,
    violations: &mut Violations,
    id: fn(&str) -> Result<Id, crate::BadId>,
    config: fn(Entry<'_>, &mut Violations) -> Option<Config>,
) -> BTreeMap<Id, Arc<Config>> {
    let Value::Object(fields) = value else {
        wrong_type(section, "object", violations);
        return BTreeMap::new();
    };
    let mut parsed = BTreeMap::new();
    for (key, value) in fields {
        let path = dotted([section, key]);
        let Value::Object(fields) = value else {
            wrong_type(&path, "object", violations);
            continue;
        };
        match id(key) {
            Err(bad) => violations.push(&path, "invalid", bad.to_string(), []),
            Ok(id) => parsed.extend(config((&path, fields), violations).map(|config| (id, Arc::new(config)))),
        }
    }
    parsed
}

fn handler((path, fields): Entry<'_>, violations: &mut Violations) -> Option<HandlerConfig> {
    let mut rest = fields.clone();
    let handler = text(path, "handler", &mut rest, violations);
    let name = text(path, "name", &mut rest, violations);
    let settings = object(path, "settings", &mut rest, violations);
    if handler.is_none() {
        violations.push(&format!("{path}.handler"), "required", "Field is required but missing".to_owned(), []);
    }
    Some(HandlerConfig { handler: handler?, name, settings, rest: tight(rest) })
}

fn connection((path, fields): Entry<'_>, violations: &mut Violations) -> Option<ConnectionConfig> {
    let mut rest = fields.clone();
    let driver = text(path, "driver", &mut rest, violations);
    let name = text(path, "name", &mut rest, violations);
    let settings = object(path, "settings", &mut rest, violations);
    Some(ConnectionConfig { driver, name, settings, rest: tight(rest) })
}

fn text(path: &str, key: &str, fields: &mut Map<String, Value>, violations: &mut Violations) -> Option<String> {
    match fields.shift_remove(key)? {
        Value::String(text) => Some(text),
        Value::Null => None,
        _ => {
            wrong_type(&format!("{path}.{key}"), "string", violations);
            None
        }
    }
}

fn object(path: &str, key: &str, fields: &mut Map<String, Value>, violations: &mut Violations) -> Map<String, Value> {
    match fields.shift_remove(key) {
        Some(Value::Object(object)) => tight(object),
        None | Some(Value::Null) => Map::new(),
        Some(_) => {
            wrong_type(&format!("{path}.{key}"), "object", violations);
            Map::new()
        }
    }
}

/// The same without room for more.
fn tight(fields: Map<String, Value>) -> Map<String, Value> {
    fields.into_iter().collect()
}

fn keys(fields: &Map<String, Value>) -> Vec<&String> {
    fields.keys().collect()
}

impl fmt::Debug for HandlerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerConfig")
            .field("handler", &self.handler)
            .field("settings", &keys(&self.settings))
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ConnectionConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionConfig")
            .field("driver", &self.driver)
            .field("settings", &keys(&self.settings))
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for StorageDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StorageDocument")
            .field("attachments", &self.attachments)
            .field("connections", &self.connections)
            .field("plan", &self.plan)
            .field("plan_id", &self.plan_id)
            .field("locks", &self.locks)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_we_do_not_know_is_kept() {
        let document = json!({
            "attachments": {"a": {"handler": "s3", "name": "n", "settings": {"bucket": "b"}, "_sig": "x"}},
            "connections": {"local": {}, "c": {"driver": "kazoo_couch", "settings": {"ip": "::1"}, "more": 1}},
            "plan": {"modb": {"types": {"fax": {"unknown": true}}}},
            "plan_id": "p",
            "locks": ["plan.modb.types.fax", "plan_id"],
            "ui_metadata": {"ui": "monster-ui"},
        });
        assert_eq!(StorageDocument::from_json(&document).unwrap().to_json(), document);
    }

    #[test]
    fn every_fault_is_named_at_once() {
        let document = json!({"attachments": {"a": {"settings": 1}, "b": 2}, "connections": [], "plan": "x", "plan_id": "a b", "locks": ["plan", "x", 1]});
        let violations = StorageDocument::from_json(&document).unwrap_err();
        let paths: Vec<_> = violations.iter().map(|(path, code, _)| format!("{path} {code}")).collect();
        assert_eq!(
            paths,
            [
                "attachments.a.handler required",
                "attachments.a.settings type",
                "attachments.b type",
                "connections type",
                "locks.1 invalid",
                "locks.2 type",
                "plan type",
                "plan_id invalid"
            ]
        );
    }

    #[test]
    fn debug_prints_no_setting() {
        let document = json!({
            "attachments": {"a": {"handler": "s3", "settings": {"secret": "hunter2"}, "odd": "hunter2"}},
            "connections": {"c": {"settings": {"password": "hunter2"}}},
            "plan": {"modb": {"attachments": {"params": {"secret": "hunter2"}}}},
            "secret": "hunter2",
        });
        let document = StorageDocument::from_json(&document).unwrap();
        assert!(!format!("{document:?} {:?}", document.attachments).contains("hunter2"));
    }
}

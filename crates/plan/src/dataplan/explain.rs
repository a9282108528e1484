//! Why a route is as it is: for each of its fields the level that decided it, and where in that level's document it stands.
//!
//! The question is answered from the layers, not from the tables: slow, and only for people. It names values of a plan, never of settings.

use std::num::NonZeroU32;

use serde::Serialize;
use serde_json::Value;

use super::table::{Override, Place, locked, said, section, to_lock, views};
use super::{Dataplan, Layer, Level};
use crate::database::{Classification, Database};
use crate::id::DocType;
use crate::params;
use crate::retention;
use crate::route::Route;
use crate::tree::{Field, Section, Spec};
use crate::violations::dotted;

/// A route and the reasons for it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// The unencoded name of the database.
    pub database: String,
    /// Its class.
    pub classification: Option<Classification>,
    /// The type that was asked about.
    pub doc_type: Option<DocType>,
    /// The section of the plan that answers; none where the answer is always local.
    pub section: Option<&'static str>,
    /// The answer.
    pub route: Route,
    /// Who decided each part of it.
    pub decisions: Vec<Decision>,
}

/// Who decided one field of a route.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Decision {
    /// The field, named as in a plan: `connection`, `secondary_connections`, `others`, `attachments.handler`, `attachments.stub`,
    /// `attachments.delete`, `attachments.params.<name>`, `retention_days` (0: for good); and `handler` for the definition of the handler itself.
    pub field: String,
    /// What it is.
    pub value: Value,
    /// The level that decided it: the lowest that says anything, or the built-in one where nobody does.
    pub level: Level,
    /// The place in that level's document; none where nobody says anything.
    pub path: Option<String>,
    /// The lock that keeps it so, whatever lower levels say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locked: Option<Decided>,
}

/// A level, and the place in its document at which it decides.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Decided {
    /// The level.
    pub level: Level,
    /// A lock of its document.
    pub lock: String,
}

impl Dataplan {
    /// The route of a document and, for every field of it, the level that decided it.
    #[must_use]
    pub fn explain(&self, database: &Database, doc_type: Option<&DocType>) -> Explanation {
        let route = self.route(database, doc_type);
        let mut explanation = Explanation {
            database: database.name(),
            classification: database.classification(),
            doc_type: doc_type.cloned(),
            section: None,
            route: route.clone(),
            decisions: Vec::new(),
        };
        let Place::Table { table, key } = self.place(database, doc_type) else {
            explanation.decisions.push(Decision {
                field: "connection".into(),
                value: "local".into(),
                level: Level::BuiltIn,
                path: None,
                locked: None,
            });
            return explanation;
        };
        let of_account = matches!(table.class, "modb" | "yodb" | "account");
        let layers: Vec<Layer> =
            self.0.layers.iter().filter(|layer| of_account || layer.level <= Level::System).cloned().collect();
        explanation.section = Some(table.class);
        let question = Question { layers: &layers, class: table.class, key, over: table.rows(database).over.as_ref() };
        explanation.decisions = question.decisions(self, route);
        explanation
    }
}

/// What was asked, in terms of the plan.
struct Question<'a> {
    layers: &'a [Layer],
    class: &'static str,
    key: Option<&'a str>,
    over: Option<&'a Override>,
}

impl Question<'_> {
    fn decisions(&self, plan: &Dataplan, route: &Route) -> Vec<Decision> {
        let merged = section(self.layers, 0, self.class).unwrap_or_default();
        let mut decisions = vec![self.field(Field::Connection, json(&route.connection))];
        if !route.secondary.is_empty() {
            decisions.push(self.field(Field::Secondary, json(&route.secondary)));
        }
        if self.class == retention::CLASS {
            let days = route.retention_days.map_or(0, NonZeroU32::get);
            decisions.push(self.field(Field::Retention, days.into()));
        }
        let Some(attachment) = &route.attachment else {
            decisions.push(self.field(Field::Handler, route.dangling.as_ref().map_or(Value::Null, json)));
            decisions.extend(self.others(&merged, route));
            return decisions;
        };
        decisions.push(self.field(Field::Handler, json(&attachment.handler_id)));
        decisions.push(self.field(Field::Stub, json(&(attachment.placement == crate::Placement::Stub))));
        decisions.push(self.field(Field::Delete, attachment.delete.into()));
        let id = attachment.handler_id.as_str();
        let source = Some((attachment.level, dotted(["attachments", id])));
        decisions.push(decision("handler", attachment.kind.as_str().into(), source));
        if let Some(owner) = plan.0.owner(&attachment.handler_id) {
            decisions.extend(attachment.params.iter().map(|(name, value)| self.param(owner, name, value)));
        }
        decisions.extend(self.others(&merged, route));
        decisions
    }

    /// Who decided a field, of the layers that count for it.
    fn field(&self, field: Field, value: Value) -> Decision {
        let name = field.path().join(".");
        let layers = to_lock(self.layers, self.class, self.key, field);
        let merged = section(layers, 0, self.class).unwrap_or_default();
        let source =
            self.place(&merged, |spec| field.is_said_by(spec)).and_then(|place| self.last(layers, &place, &name));
        Decision { locked: self.lock(field), ..decision(&name, value, source) }
    }

    fn lock(&self, field: Field) -> Option<Decided> {
        let layer = self.layers.get(locked(self.layers, self.class, self.key, field)?)?;
        let lock = layer.document.locks.iter().find(|lock| lock.decides(self.class, self.key, field))?;
        Some(Decided { level: layer.level, lock: lock.to_string() })
    }

    /// A parameter comes from the levels below the owner if it is theirs to say and they say it, and from the owner or above otherwise.
    fn param(&self, owner: usize, name: &str, value: &Value) -> Decision {
        let field = format!("attachments.params.{name}");
        let layers = to_lock(self.layers, self.class, self.key, Field::Params);
        let (above, below) = views(layers, self.class, owner);
        let (to_owner, after) = layers.split_at((owner + 1).min(layers.len()));
        let source = |section: &Section, layers| {
            let place = self.place(section, |spec| spec.params.is_some())?;
            self.last(layers, &place, &field)
        };
        let lower = source(&below, after).filter(|_| name == params::INHERITED && deeper(&below, self.key, self.over));
        let source = lower.or_else(|| source(&above, to_owner));
        Decision { locked: self.lock(Field::Params), ..decision(&field, value.clone(), source) }
    }

    /// The others are the connections of single types.
    fn others(&self, merged: &Section, route: &Route) -> Vec<Decision> {
        let others = route.others.iter().map(|id| {
            let of_type =
                merged.types.iter().find(|(_, spec)| spec.connection.as_ref() == Some(id)).map(|(key, _)| key.as_str());
            let place = of_type.map(|key| vec![self.class.to_owned(), "types".to_owned(), key.to_owned()]);
            decision("others", json(id), place.and_then(|place| self.last(self.layers, &place, "connection")))
        });
        others.collect()
    }

    /// The path of the narrowest part of the section that says it.
    fn place(&self, section: &Section, says: impl Fn(&Spec) -> bool) -> Option<Vec<String>> {
        let which = said(section, self.key, self.over).into_iter().position(|spec| spec.is_some_and(&says))?;
        let mut path = vec![self.class.to_owned()];
        match (which, self.over, self.key) {
            (0, Some(Override::Range(range)), _) => path.extend(["range".to_owned(), range.to_string()]),
            (0, Some(Override::Pattern(pattern)), _) => path.extend(["regex".to_owned(), pattern.clone()]),
            (1, _, Some(key)) => path.extend(["types".to_owned(), key.to_owned()]),
            _ => {}
        }
        Some(path)
    }

    /// The last of `layers` that says something of `field` at `place`.
    fn last(&self, layers: &[Layer], place: &[String], field: &str) -> Option<(Level, String)> {
        let keys: Vec<&str> = place.iter().map(String::as_str).chain(field.split('.')).collect();
        let (first, rest) = keys.split_first()?;
        let said = |layer: &&Layer| {
            let section = layer.document.plan.of(first)?;
            let said = rest.iter().try_fold(&section, |value, key| value.get(key))?;
            says_something(said).then_some(layer.level)
        };
        let level = layers.iter().rev().find_map(|layer| said(&layer))?;
        Some((level, dotted(std::iter::once("plan").chain(keys.iter().copied()))))
    }
}

fn deeper(below: &Section, key: Option<&str>, over: Option<&Override>) -> bool {
    let said = said(below, key, over).into_iter().flatten().find_map(|spec| spec.params.as_ref());
    let path = said.and_then(|params| params.get(params::INHERITED)).and_then(Value::as_str);
    path.is_some_and(|path| params::folder(path).is_ok_and(|path| !path.is_empty()))
}

fn says_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Object(fields) => fields.values().any(says_something),
        _ => true,
    }
}

fn decision(field: &str, value: Value, source: Option<(Level, String)>) -> Decision {
    let (level, path) = source.map_or((Level::BuiltIn, None), |(level, path)| (level, Some(path)));
    Decision { field: field.to_owned(), value, level, path, locked: None }
}

fn json(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

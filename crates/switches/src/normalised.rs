//! Kazoo's own record of a leg: the switch's event with its keys in snake case, as Kazoo stores it, or as its message bus carries it (`Call-ID`).
//!
//! Fields that a record has pass, each in its own kind; what Kazoo keeps for itself (`_…`, `pvt_…`) does not. What Kazoo hides among the channel's
//! variables and shows at the top is put there.

use serde_json::{Map, Value};

use crate::json::Node;
use crate::leg::{FIELDS, Kind, PROMOTED, read};
use crate::{Error, Leg, Record, strike};

/// The interaction among the channel's variables of Kazoo.
const INTERACTION: &str = "call_interaction_id";

/// True when an object is such a record.
pub(crate) fn fits(tree: &Node) -> bool {
    tree.fields().is_some_and(|fields| fields.iter().any(|(name, _)| snake(name) == "call_id"))
}

/// The leg that it is of.
pub(crate) fn leg(tree: &Node) -> Result<Record, Error> {
    let mut leg = Leg::default();
    let mut variables = Map::new();
    for (name, node) in tree.fields().unwrap_or_default() {
        let name = snake(name);
        if name == "custom_channel_vars" {
            variables = object(node);
            continue;
        }
        let Some((field, kind)) = FIELDS.iter().find(|(known, _)| *known == name) else { continue };
        if leg.has(field) {
            continue;
        }
        match kind {
            Kind::Object => leg.set_value(field, object(node).into()),
            Kind::List => leg.set_value(field, list(node)),
            _ => leg.set(field, node.text()),
        }
    }
    if leg.call_id().is_empty() {
        return Err(Error::NoCallId);
    }
    promote(&mut leg, &mut variables);
    for name in ["account_id", "realm"] {
        leg.hint(variables.get(name).and_then(Value::as_str));
    }
    leg.set_value("custom_channel_vars", variables.into());
    Ok(Record::Leg(Box::new(leg)))
}

fn promote(leg: &mut Leg, variables: &mut Map<String, Value>) {
    for name in PROMOTED {
        if leg.has(name) {
            continue;
        }
        let Some(value) = variables.get(*name) else { continue };
        let kind = FIELDS.iter().find(|(known, _)| known == name).map_or(Kind::Text, |(_, kind)| *kind);
        let shown = match value {
            Value::Array(_) if kind == Kind::List => Some(value.clone()),
            other => {
                other.as_str().map(str::to_owned).or_else(|| Some(other.to_string())).and_then(|text| read(kind, &text))
            }
        };
        leg.set_value(name, shown.unwrap_or_default());
    }
    let interaction = variables.remove(INTERACTION).or_else(|| variables.remove("interaction_id"));
    if let Some(interaction) = interaction.as_ref().and_then(Value::as_str).filter(|_| !leg.has("interaction_id")) {
        leg.set("interaction_id", Some(interaction));
    }
    // `{eleven digits of time}-{key}`
    let id = leg.text("interaction_id").unwrap_or_default().to_owned();
    if let Some((time, key)) = id.split_once('-').filter(|(time, _)| time.len() == 11) {
        if !leg.has("interaction_time") {
            leg.set("interaction_time", Some(time));
        }
        if !leg.has("interaction_key") {
            leg.set("interaction_key", Some(key));
        }
    }
}

/// An object without secrets, its own keys in snake case.
fn object(node: &Node) -> Map<String, Value> {
    let mut value = node.value();
    strike::value(&mut value);
    match value {
        Value::Object(fields) => fields
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (snake(&name), value))
            .collect(),
        _ => Map::new(),
    }
}

fn list(node: &Node) -> Value {
    match node {
        Node::List(items) => items.iter().filter_map(|item| Some(Value::from(strike::text(&item.text()?)))).collect(),
        other => other.text().and_then(|text| read(Kind::List, &text)).unwrap_or_default(),
    }
}

/// `Call-ID` as `call_id`.
fn snake(name: &str) -> String {
    name.chars().map(|letter| if letter == '-' { '_' } else { letter.to_ascii_lowercase() }).collect()
}

//! About how many bytes of memory a merged plan takes, without what it shares with the plan that it was made from.
//!
//! An estimate, for whoever keeps many and must stop somewhere: what is held is counted, what an allocator adds is guessed. Who measures finds it
//! within a half of the truth (`tests/weight.rs`).

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::dataplan::{Layer, Merged};
use crate::document::StorageDocument;
use crate::route::Route;

/// What an allocation costs beside its bytes, in a shared one the two counts included.
const ALLOCATION: usize = 16;
/// What a node of an ordered map has room for.
const NODE: usize = 11;

/// Of a merged plan beside `shared`, whose layers are the first of its own.
pub(crate) fn of(merged: &Merged, shared: Option<&Merged>) -> usize {
    let before = shared.map_or(0, |shared| shared.layers.len());
    let own = merged.layers.iter().skip(before).map(|layer| document(&layer.document));
    let tables = merged.accounts.weight(shared.map(|shared| &shared.accounts));
    let system = match shared {
        Some(shared) if Arc::ptr_eq(&shared.system, &merged.system) => 0,
        _ => merged.system.weight(),
    };
    ALLOCATION + size_of::<Merged>() + size_of::<Layer>() * merged.layers.len() + own.sum::<usize>() + tables + system
}

fn document(document: &StorageDocument) -> usize {
    let handlers = document.attachments.values().map(|entry| {
        ALLOCATION + size_of_val(&**entry) + entry.handler.len() + map(&entry.settings) + map(&entry.rest) + TEXT
    });
    let connections = document
        .connections
        .values()
        .map(|entry| ALLOCATION + size_of_val(&**entry) + map(&entry.settings) + map(&entry.rest));
    let entries = node::<(Arc<str>, Box<()>)>(document.attachments.len())
        + node::<(Arc<str>, Box<()>)>(document.connections.len())
        + (document.attachments.len() + document.connections.len()) * TEXT;
    let locks = document.locks.len() * TEXT * 4;
    ALLOCATION
        + size_of::<StorageDocument>()
        + document.plan.weight()
        + entries
        + handlers.chain(connections).sum::<usize>()
        + locks
        + map(&document.rest)
}

/// A short text on its own: an id, a name.
const TEXT: usize = 32 + ALLOCATION;

fn node<Entry>(entries: usize) -> usize {
    entries.div_ceil(NODE) * (NODE * size_of::<Entry>() + ALLOCATION)
}

/// Of a route, its own bytes included.
pub(crate) fn route(route: &Route) -> usize {
    let ids = route.secondary.len() + route.others.len();
    let attachment = route.attachment.as_ref().map_or(0, |to| TEXT + map(&to.params));
    ALLOCATION + size_of::<Route>() + ids * size_of::<Arc<str>>() + attachment
}

/// Of an object beside its own bytes.
fn map(fields: &Map<String, Value>) -> usize {
    if fields.is_empty() {
        return 0;
    }
    // Its entries, and the table of their places; both have room for some more.
    let room = fields.len().max(3);
    let entries = room * (size_of::<usize>() + size_of::<String>() + size_of::<Value>()) + ALLOCATION;
    let places = (room + 1).next_power_of_two() * (size_of::<usize>() + 1) + 16 + ALLOCATION;
    let texts = fields.iter().map(|(key, value)| key.len() + ALLOCATION + self::value(value));
    entries + places + texts.sum::<usize>()
}

fn value(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() + ALLOCATION,
        Value::Array(values) => {
            values.iter().map(|value| size_of::<Value>() + self::value(value)).sum::<usize>() + ALLOCATION
        }
        Value::Object(fields) => map(fields),
        _ => 0,
    }
}

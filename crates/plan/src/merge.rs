//! The only two ways in which JSON is combined.
//!
//! [`patch`] is a client changing one document: it can delete and replace anything. [`layer`] lays the document of one level over those of
//! the levels above it: it can say more, and say otherwise in `plan`, but an entry of `attachments` or `connections` belongs whole to the
//! level that defined it first. Field by field would let an account point a reseller's credentials at a host of its own.

use serde_json::{Map, Value};

/// Changes `target` as a PATCH says: objects merge, `null` deletes its key at any depth, an explicit `{}` over anything replaces it by `{}`,
/// and everything else replaces.
///
/// An empty patch changes nothing. A patch that is no object replaces the target.
///
/// ```
/// # use serde_json::json;
/// let mut document = json!({"attachments": {"a": {"handler": "s3"}}, "plan": {"modb": {"connection": "local"}}});
/// plan::merge::patch(&mut document, &json!({"attachments": {}, "plan": {"modb": {"connection": null}}}));
/// assert_eq!(document, json!({"attachments": {}, "plan": {"modb": {}}}));
/// ```
pub fn patch(target: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        target.clone_from(patch);
        return;
    };
    let mut fields = into_object(target.take());
    for (key, change) in changes {
        match change {
            Value::Null => {
                fields.shift_remove(key);
            }
            Value::Object(inner) if !inner.is_empty() => {
                self::patch(fields.entry(key.clone()).or_insert(Value::Null), change)
            }
            other => {
                fields.insert(key.clone(), other.clone());
            }
        }
    }
    *target = Value::Object(fields);
}

/// Lays a document over those above it: `plan`, and whatever else there is, by [`plan`]; `attachments` and `connections` by whole entries, of
/// which the one that was there first stays.
///
/// `above` is the nearer to the built-in document, `below` the nearer to the owner.
#[must_use]
pub fn layer(above: &Value, below: &Value) -> Value {
    let (Value::Object(above), Value::Object(below)) = (above, below) else {
        return plan(above, below);
    };
    let mut merged = Map::new();
    for (key, value) in above.iter().chain(below) {
        let value = match (key.as_str(), merged.get(key)) {
            ("attachments" | "connections", before) => entries(before, value),
            (_, before) => laid(before.unwrap_or(&Value::Null), value),
        };
        put(&mut merged, key, value);
    }
    Value::Object(merged)
}

/// Lays one plan over another, leaf by leaf: what `below` says wins; an empty object says nothing; an array replaces whole; `null` deletes.
///
/// Neither nulls nor empty objects stand in the result; where nothing is left it is `{}`.
#[must_use]
pub fn plan(above: &Value, below: &Value) -> Value {
    match laid(above, below) {
        Value::Null => Value::Object(Map::new()),
        merged => merged,
    }
}

/// As [`plan`], but null where nothing is left.
fn laid(above: &Value, below: &Value) -> Value {
    let mut merged = Value::Null;
    overlay(&mut merged, above);
    overlay(&mut merged, below);
    merged
}

/// Lays `below` over `merged` in place.
pub(crate) fn overlay(merged: &mut Value, below: &Value) {
    let Value::Object(said) = below else {
        merged.clone_from(below);
        return;
    };
    for (key, value) in said {
        let before = merged.get_mut(key).map(Value::take);
        let existed = before.is_some();
        let mut after = before.unwrap_or_default();
        overlay(&mut after, value);
        if existed || !after.is_null() {
            let mut fields = into_object(merged.take());
            put(&mut fields, key, after);
            *merged = if fields.is_empty() { Value::Null } else { Value::Object(fields) };
        }
    }
}

fn entries(before: Option<&Value>, added: &Value) -> Value {
    let mut entries = before.and_then(Value::as_object).cloned().unwrap_or_default();
    for (id, entry) in added.as_object().into_iter().flatten() {
        if !entry.is_null() && !entries.contains_key(id) {
            entries.insert(id.clone(), entry.clone());
        }
    }
    if entries.is_empty() { Value::Null } else { Value::Object(entries) }
}

fn put(fields: &mut Map<String, Value>, key: &str, value: Value) {
    if value.is_null() {
        fields.shift_remove(key);
    } else {
        fields.insert(key.to_owned(), value);
    }
}

/// The object that `value` is; what is no object becomes an empty one.
fn into_object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests;

//! What of a document may be echoed to the client who sent it, and into whatever keeps answers.
//!
//! Struck out is what a schema marks as secret, what is called one, and in settings whatever no schema knows, since a secret under a
//! misspelt name is a secret, and so is what stands where an object should. A URL keeps its origin and path.

use serde_json::{Map, Value};

use crate::params;
use crate::violations::STRUCK;

/// What becomes of what no schema speaks of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Undeclared {
    Shown,
    Struck,
}

/// A copy of `value`, of which `schemas` speak, without secrets.
pub(super) fn strike(value: &Value, schemas: &[Schema<'_>], undeclared: Undeclared) -> Value {
    let parts: Vec<Schema<'_>> = schemas.iter().flat_map(|schema| schema.parts(DEPTH)).collect();
    let misplaced = undeclared == Undeclared::Struck && !value.is_object() && parts.iter().any(|part| part.is_object());
    if misplaced || parts.iter().any(|part| part.is_secret()) {
        return STRUCK.into();
    }
    match value {
        Value::Object(fields) => {
            let field = |(key, value): (&String, &Value)| {
                let of_key: Vec<Schema<'_>> = parts.iter().filter_map(|part| part.property(key)).collect();
                let unknown = of_key.is_empty() && undeclared == Undeclared::Struck;
                let value = if unknown || is_telling(key) { STRUCK.into() } else { strike(value, &of_key, undeclared) };
                (key.clone(), value)
            };
            Value::Object(fields.iter().map(field).collect::<Map<_, _>>())
        }
        Value::Array(items) => {
            let of_items: Vec<Schema<'_>> = parts.iter().filter_map(|part| part.items()).collect();
            Value::Array(items.iter().map(|item| strike(item, &of_items, undeclared)).collect())
        }
        Value::String(text) => Value::String(origin_and_path(text)),
        other => other.clone(),
    }
}

/// Strikes out what `params` in a plan holds and may not hold: it was meant to go over settings.
pub(super) fn params(plan: &mut Value) {
    match plan {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    Value::Object(said) if key == "params" => {
                        let forbidden = said.iter_mut().filter(|(key, _)| !params::OWN.contains(&key.as_str()));
                        forbidden.for_each(|(_, value)| *value = STRUCK.into());
                    }
                    other => params(other),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(params),
        _ => {}
    }
}

/// How many schemas deep a value's schema may be made up.
const DEPTH: u8 = 4;

/// A part of a schema.
#[derive(Clone, Copy)]
pub(super) struct Schema<'a> {
    /// What its references point into.
    root: &'a Value,
    node: &'a Value,
}

impl<'a> Schema<'a> {
    /// A whole schema.
    pub(super) fn whole(root: &'a Value) -> Self {
        Self { root, node: root }
    }

    /// What stands in it at a JSON pointer.
    pub(super) fn at(root: &'a Value, pointer: &str) -> Self {
        Self { root, node: root.pointer(pointer).unwrap_or(&Value::Null) }
    }

    /// This schema and all those that it is made of.
    fn parts(self, depth: u8) -> Vec<Self> {
        let mut parts = vec![self];
        if depth > 0 {
            let referred = self.node.get("$ref").and_then(Value::as_str).and_then(|to| to.strip_prefix('#'));
            let members =
                ["allOf", "anyOf", "oneOf"].into_iter().filter_map(|key| self.node.get(key)?.as_array()).flatten();
            let members = members.map(|node| Self { node, ..self });
            let inner = referred.map(|pointer| Self::at(self.root, pointer)).into_iter().chain(members);
            parts.extend(inner.flat_map(|inner| inner.parts(depth - 1)));
        }
        parts
    }

    fn property(self, key: &str) -> Option<Self> {
        let declared = self.node.get("properties").and_then(|properties| properties.get(key));
        let node = declared.or_else(|| self.node.get("additionalProperties").filter(|schema| schema.is_object()))?;
        Some(Self { node, ..self })
    }

    fn items(self) -> Option<Self> {
        Some(Self { node: self.node.get("items")?, ..self })
    }

    fn is_object(self) -> bool {
        self.node.get("type").and_then(Value::as_str) == Some("object")
    }

    fn is_secret(self) -> bool {
        ["x-secret", "writeOnly"].into_iter().any(|mark| self.node.get(mark) == Some(&Value::Bool(true)))
    }
}

fn is_telling(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    ["password", "secret", "credential"].into_iter().any(|word| key.contains(word)) && key != "credentials"
}

/// A URL without its userinfo, query and fragment; any other text as it is.
fn origin_and_path(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (authority, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_marked_or_called_a_secret_is_struck_out_at_any_depth() {
        let schema = json!({
            "allOf": [{"properties": {"key": {"writeOnly": true}}}],
            "properties": {
                "bucket": {},
                "nested": {"oneOf": [{"properties": {"token": {"x-secret": true}, "plain": {}}}]},
                "list": {"items": {"properties": {"token": {"x-secret": true}}}},
            },
        });
        let value = json!({
            "bucket": "b", "key": "k", "client_secret": "s", "odd": "o",
            "nested": {"token": "t", "plain": "p"}, "list": [{"token": "t"}],
        });
        let expected = json!({
            "bucket": "b", "key": STRUCK, "client_secret": STRUCK, "odd": STRUCK,
            "nested": {"token": STRUCK, "plain": "p"}, "list": [{"token": STRUCK}],
        });
        assert_eq!(strike(&value, &[Schema::whole(&schema)], Undeclared::Struck), expected);
        assert_eq!(strike(&value, &[Schema::whole(&schema)], Undeclared::Shown)["odd"], "o");
    }

    #[test]
    fn a_url_keeps_its_origin_and_path() {
        assert_eq!(origin_and_path("https://me:pw@h:8/p/q?token=t#f"), "https://h:8/p/q");
        assert_eq!(origin_and_path("https://h?token=a/b@c"), "https://h");
        assert_eq!(origin_and_path("a bucket"), "a bucket");
    }
}

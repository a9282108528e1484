//! Our schemas, and how they are put together: for compiling, as one text in which nothing is outside; for showing, as the documents that
//! refer to each other by id.

use serde_json::{Map, Value, json};

use super::BadSchema;

/// Our schemas by id, in the order in which they are shown.
pub(super) type Texts = Vec<(&'static str, Value)>;

const SOURCES: [(&str, &str); 9] = [
    ("storage", include_str!("../../schemas/storage.json")),
    ("storage.attachments.settings", include_str!("../../schemas/storage.attachments.settings.json")),
    ("storage.attachments.field", include_str!("../../schemas/storage.attachments.field.json")),
    ("storage.connections", include_str!("../../schemas/storage.connections.json")),
    ("storage.connection.couchdb", include_str!("../../schemas/storage.connection.couchdb.json")),
    ("storage.plan", include_str!("../../schemas/storage.plan.json")),
    ("storage.plan.database", include_str!("../../schemas/storage.plan.database.json")),
    ("storage.plan.database.document", include_str!("../../schemas/storage.plan.database.document.json")),
    ("storage.plan.database.attachment", include_str!("../../schemas/storage.plan.database.attachment.json")),
];

/// The key of an entry in `attachments`.
const HANDLER_ID: &str = "^[a-z0-9]{32}$";

/// Our schemas, parsed.
pub(super) fn texts() -> Result<Texts, BadSchema> {
    let parse = |(id, source): (&'static str, &str)| {
        let parsed =
            serde_json::from_str(source).map_err(|error| BadSchema { name: id.to_owned(), source: Box::new(error) })?;
        Ok((id, parsed))
    };
    SOURCES.into_iter().map(parse).collect()
}

fn text<'a>(texts: &'a Texts, id: &str) -> Option<&'a Value> {
    texts.iter().find(|(of, _)| *of == id).map(|(_, text)| text)
}

/// The root without its entries, which are checked one by one.
pub(super) fn root(texts: &Texts) -> Value {
    let mut root = with_definitions(text(texts, "storage").unwrap_or(&Value::Null), texts);
    root["definitions"]["storage.attachments"] =
        json!({"type": "object", "patternProperties": {HANDLER_ID: {}}, "additionalProperties": false});
    root["definitions"]["storage.connections"] = json!({"type": "object", "additionalProperties": {"type": "object"}});
    root
}

/// What an entry of `attachments` has whichever handler it names.
pub(super) fn entry(texts: &Texts) -> Value {
    let entry = json!({
        "type": "object",
        "required": ["handler", "settings"],
        "properties": {
            "handler": {"type": "string"},
            "name": {"type": "string"},
            "settings": {"$ref": "storage.attachments.settings"},
        },
    });
    with_definitions(&entry, texts)
}

/// An entry of `connections`.
pub(super) fn connection(texts: &Texts) -> Value {
    with_definitions(text(texts, "storage.connection.couchdb").unwrap_or(&Value::Null), texts)
}

/// `schema` with our schemas among its definitions and every bare reference pointing there.
pub(super) fn with_definitions(schema: &Value, texts: &Texts) -> Value {
    let mut schema = localised(schema);
    let definitions = texts.iter().map(|(id, text)| ((*id).to_owned(), localised(text)));
    if let Value::Object(fields) = &mut schema {
        let ours: Map<String, Value> = definitions.collect();
        match fields.get_mut("definitions").and_then(Value::as_object_mut) {
            Some(theirs) => theirs.extend(ours),
            None => {
                fields.insert("definitions".to_owned(), Value::Object(ours));
            }
        }
    }
    schema
}

/// A copy in which `"$ref": "storage.plan"` is `"$ref": "#/definitions/storage.plan"`, and that claims no id.
fn localised(schema: &Value) -> Value {
    match schema {
        Value::Object(fields) => {
            let field = |(key, value): (&String, &Value)| match value.as_str() {
                Some(id) if key == "$ref" && !id.contains(['#', ':']) => {
                    (key.clone(), Value::String(format!("#/definitions/{id}")))
                }
                _ => (key.clone(), localised(value)),
            };
            let claims = |key: &str, value: &Value| matches!(key, "id" | "_id" | "$schema") && value.is_string();
            Value::Object(fields.iter().filter(|(key, value)| !claims(key, value)).map(field).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(localised).collect()),
        other => other.clone(),
    }
}

/// The schemas as they are shown, those of the handlers among them.
pub(super) fn documents(texts: &Texts, handlers: &[(&str, &Value)]) -> Vec<(String, Value)> {
    let mut documents: Vec<(String, Value)> = texts.iter().map(|(id, text)| ((*id).to_owned(), text.clone())).collect();
    let references: Vec<Value> = handlers.iter().map(|(handler, _)| json!({"$ref": handler_id(handler)})).collect();
    let attachments = json!({
        "$schema": "http://json-schema.org/draft-04/schema#",
        "_id": "storage.attachments",
        "description": "Destinations for bytes, by ids of 32 lowercase letters and digits.",
        "type": "object",
        "patternProperties": {HANDLER_ID: {"oneOf": references}},
        "additionalProperties": false,
    });
    documents.push(("storage.attachments".to_owned(), attachments));
    for (handler, settings) in handlers {
        let id = handler_id(handler);
        let entry = json!({
            "$schema": "http://json-schema.org/draft-04/schema#",
            "_id": id.clone(),
            "description": format!("An entry of attachments whose handler is {handler}."),
            "type": "object",
            "required": ["handler", "settings"],
            "properties": {
                "handler": {"type": "string", "enum": [handler]},
                "name": {"type": "string", "description": "What people call it."},
                "settings": {"allOf": [{"$ref": "storage.attachments.settings"}, settings]},
            },
        });
        documents.push((id, entry));
    }
    documents
}

fn handler_id(handler: &str) -> String {
    let word = if handler == "s3" { "aws" } else { handler };
    format!("storage.attachment.{word}")
}

//! The API, written down for machines: an OpenAPI 3.1 document made from the router and the schemas, so that it cannot say otherwise than they do.
//!
//! It is served at `/v2/api_docs/openapi.json` and kept as `docs/openapi.json`. What a body looks like is said by schema where a form checks it;
//! which routes those are stands in `body`, the one thing here that has to be kept up by hand, and a test asks for it.

use plan::schema::Schemas;
use serde_json::{Map, Value, json};

use crate::api::{Access, ROUTES, Route, Verb};
use crate::app::forms::Forms;
use crate::reference::who;

/// What a request carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Body {
    /// The whole of a document that this schema describes.
    Whole(&'static str),
    /// Changes to such a document.
    Changes,
    /// Fields that the route reads, by name.
    Fields(&'static [(&'static str, &'static str, bool)]),
    /// Nothing that would be read.
    Nothing,
    /// A file as it is.
    File,
    /// JSON that a schema describes, a file, or both in parts.
    JsonOrFile(&'static str),
}

const LOGIN: &[(&str, &str, bool)] = &[
    ("credentials", "Hex digest of `username:password`, the user name in lower case", false),
    ("method", "`md5` or `sha`: which digest", false),
    ("username", "With `password`, instead of `credentials`", false),
    ("password", "With `username`, instead of `credentials`", false),
    ("account_name", "The account by name", false),
    ("account_realm", "The account by realm", false),
];

/// What the requests of a route carry; none for a route that nobody has thought of here.
fn body(route: &Route) -> Option<Body> {
    let segments: Vec<&str> = route.path.split('/').collect();
    let last = segments.last().copied().unwrap_or_default();
    // The noun of a document and whether the path names one of them.
    let (noun, item) = match segments.as_slice() {
        [.., noun, item] if item.starts_with('{') => (*noun, true),
        _ => (last, false),
    };
    Some(match (route.method, noun, item) {
        (Verb::Delete, "messages", false) => Body::Fields(&[("messages", "Ids of messages", false)]),
        (Verb::Get | Verb::Delete, ..) => Body::Nothing,
        _ if route.path.starts_with("ingest/") => Body::File,
        (_, "user_auth", false) => Body::Fields(LOGIN),
        (_, "api_auth", false) => Body::Fields(&[("api_key", "64 characters", true)]),
        (_, "tokeninfo", false) => Body::Fields(&[("token", "The token to be looked into", true)]),
        (_, "api_key" | "reseller", false) => Body::Nothing,
        (Verb::Patch, ..) => Body::Changes,
        (Verb::Put, "accounts", _) | (Verb::Post, "accounts", true) => Body::Whole("accounts"),
        (_, "users", _) => Body::Whole("users"),
        (_, "vmboxes", _) => Body::Whole("vmboxes"),
        (_, "faxboxes", _) => Body::Whole("faxboxes"),
        (_, "ingest_keys", _) => Body::Whole("ingest_keys"),
        (_, "sip_credentials", _) => Body::Whole("sip_credentials"),
        (_, "apps", _) => Body::Whole("oauth_apps"),
        (_, "consents", _) => Body::Whole("oauth_consents"),
        (_, "storage" | "plans", _) => Body::Whole("storage"),
        (_, "dry_run", false) => Body::Changes,
        (Verb::Post, "deliveries", false) => Body::Fields(&[
            ("action", "`retry`, `reroute`, or `move` for what is stored already", true),
            ("ids", "Ids of deliveries; all without them", false),
            ("doc_type", "The type that is moved; all that lie in months without it", false),
        ]),
        (Verb::Put, "messages", false) => Body::JsonOrFile("mailbox_messages"),
        (Verb::Post, "messages", _) => {
            Body::Fields(&[("messages", "Ids of messages", false), ("folder", "Where they go", false)])
        }
        (Verb::Put, "raw" | "greeting", false) => Body::File,
        (Verb::Post, "raw", false) => Body::Fields(&[("messages", "Ids of messages", false)]),
        _ => return None,
    })
}

/// True where an answer is a page of a list.
fn is_list(route: &Route) -> bool {
    const LISTS: [&str; 21] = [
        "children",
        "descendants",
        "siblings",
        "users",
        "vmboxes",
        "faxboxes",
        "messages",
        "recordings",
        "cdrs",
        "interaction",
        "summary",
        "inbox",
        "incoming",
        "deliveries",
        "plans",
        "ingest_keys",
        "sip_credentials",
        "legs",
        "retired",
        "audit",
        "att_handlers_errors",
    ];
    let last = route.path.rsplit('/').next().unwrap_or_default();
    route.method == Verb::Get && LISTS.contains(&last)
}

/// True where an answer may be other than JSON.
fn may_be_bytes(route: &Route) -> bool {
    let last = route.path.rsplit('/').next().unwrap_or_default();
    matches!((route.method, last), (Verb::Post, "raw"))
        || route.method == Verb::Get && matches!(last, "raw" | "greeting" | "attachment" | "{recording}" | "cdrs")
}

/// The document.
pub fn document(forms: &Forms, schemas: &Schemas) -> Value {
    let mut paths = Map::new();
    for route in ROUTES {
        let path = paths.entry(format!("/v2/{}", route.path)).or_insert_with(|| json!({}));
        if let Value::Object(operations) = path {
            operations.insert(format!("{:?}", route.method).to_lowercase(), operation(route));
        }
    }
    let mut components: Map<String, Value> = Map::new();
    for (id, schema) in forms.documents().chain(schemas.documents()) {
        components.insert(id.to_owned(), converted(id, schema));
    }
    components.insert("envelope".into(), envelope());
    components.insert("error".into(), error());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "stowline",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Kazoo's API on the wire, for storage plans and what they carry. Every request and answer is an envelope around `data`.",
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "parameters": parameters(),
            "responses": {"error": {
                "description": "Refused or failed; `error` is the status as text, `message` the machine's word for it, `data` the details",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/error"}}},
            }},
            "securitySchemes": {
                "token": {"type": "apiKey", "in": "header", "name": "X-Auth-Token", "description": "From `user_auth` or `api_auth`; as a bearer, or as the password of `Basic`, too"},
                "ingest_key": {"type": "http", "scheme": "basic", "description": "An ingest key as the password, or as a bearer or token"},
            },
        },
    })
}

fn operation(route: &Route) -> Value {
    let nouns: Vec<&str> = route.path.split('/').filter(|part| !part.starts_with('{')).collect();
    let names = route.path.split('/').map(|part| part.trim_matches(['{', '}']));
    let verb = format!("{:?}", route.method).to_lowercase();
    let mut operation = json!({
        "operationId": format!("{verb}_{}", names.collect::<Vec<_>>().join("_")),
        "tags": [nouns.get(1).or(nouns.first()).copied().unwrap_or_default()],
        "description": format!("For: {}.", who(route.access)),
        "parameters": of_route(route),
        "responses": responses(route),
        "security": security(route.access),
    });
    let body = body(route).and_then(|body| request_body(route, body));
    if let (Value::Object(operation), Some(body)) = (&mut operation, body) {
        operation.insert("requestBody".into(), body);
    }
    operation
}

fn security(access: Access) -> Value {
    match access {
        Access::Open => json!([]),
        Access::Ingest(_) => json!([{"ingest_key": []}, {"token": []}]),
        _ => json!([{"token": []}]),
    }
}

fn of_route(route: &Route) -> Vec<Value> {
    let mut found: Vec<Value> = route
        .path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string", "minLength": 1}}))
        .collect();
    let mut add = |name: &str| found.push(json!({"$ref": format!("#/components/parameters/{name}")}));
    if is_list(route) {
        ["page_size", "start_key", "paginate", "ascending", "created_from", "created_to"]
            .into_iter()
            .for_each(&mut add);
    }
    if (route.path == "storage" || route.path.ends_with("/storage"))
        && matches!(route.method, Verb::Put | Verb::Post | Verb::Patch)
    {
        add("validate_settings");
    }
    if matches!(route.method, Verb::Post | Verb::Patch | Verb::Delete) {
        add("if_match");
    }
    if route.method == Verb::Get {
        add("if_none_match");
    }
    found
}

fn parameters() -> Value {
    let query = |name: &str, schema: Value, description: &str| json!({"name": name, "in": "query", "description": description, "schema": schema});
    let header = |name: &str, description: &str| json!({"name": name, "in": "header", "description": description, "schema": {"type": "string"}});
    json!({
        "page_size": query("page_size", json!({"type": "integer", "minimum": 1}), "Rows of a page"),
        "start_key": query("start_key", json!({"type": "string"}), "`next_start_key` of the page before, as it came"),
        "paginate": query("paginate", json!({"type": "boolean"}), "`false`: all rows at once"),
        "ascending": query("ascending", json!({"type": "boolean"}), "`true`: the oldest first"),
        "created_from": query("created_from", json!({"type": "integer"}), "Only what is as new as this, in Gregorian seconds"),
        "created_to": query("created_to", json!({"type": "integer"}), "Only what is as old as this, in Gregorian seconds"),
        "validate_settings": query("validate_settings", json!({"type": "boolean"}), "`false`: save without trying the settings, where the system permits it"),
        "if_match": header("If-Match", "Only when the document has this revision; 412 otherwise"),
        "if_none_match": header("If-None-Match", "304 when the answer still has this tag"),
    })
}

fn request_body(route: &Route, body: Body) -> Option<Value> {
    let json = |data: Value, required: bool| {
        json!({
            "required": required,
            "content": {"application/json": {"schema": {
                "type": "object", "required": ["data"], "properties": {"data": data},
            }}},
        })
    };
    let reference = |id: &str| json!({"$ref": format!("#/components/schemas/{id}")});
    Some(match body {
        Body::Nothing => return None,
        // An empty body is an empty storage document.
        Body::Whole(id) => json(reference(id), !route.path.ends_with("/storage")),
        Body::Changes => {
            json(json!({"type": "object", "description": "Merged into the document; null deletes a key"}), true)
        }
        Body::Fields(fields) => json(fields_schema(fields), true),
        Body::File => {
            json!({"required": true, "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}})
        }
        Body::JsonOrFile(id) => {
            let mut body = json(reference(id), true);
            body["content"]["multipart/form-data"] = json!({"schema": {
                "type": "object",
                "properties": {"data": reference(id), "file": {"type": "string", "format": "binary"}},
            }});
            body
        }
    })
}

fn fields_schema(fields: &[(&str, &str, bool)]) -> Value {
    let property = |(name, description, _): &(&str, &str, bool)| {
        let schema = match *name {
            "ids" | "messages" => json!({"type": "array", "items": {"type": "string"}, "description": description}),
            _ => json!({"type": "string", "description": description}),
        };
        ((*name).to_owned(), schema)
    };
    let properties: Map<String, Value> = fields.iter().map(property).collect();
    let required: Vec<&str> = fields.iter().filter(|(_, _, required)| *required).map(|(name, ..)| *name).collect();
    let mut schema = json!({"type": "object", "properties": properties});
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

fn responses(route: &Route) -> Value {
    if route.path.ends_with("/callback") {
        return for_people();
    }
    let mut content =
        Map::from_iter([("application/json".to_owned(), json!({"schema": {"$ref": "#/components/schemas/envelope"}}))]);
    if may_be_bytes(route) {
        content.insert("*/*".into(), json!({"schema": {"type": "string", "format": "binary"}}));
    }
    let success = json!({"description": "Done", "content": content});
    let mut responses = Map::new();
    match route.method {
        Verb::Put => responses.insert("201".into(), success.clone()),
        _ => None,
    };
    if route.method != Verb::Put || matches!(route.access, Access::Ingest(_)) {
        responses.insert("200".into(), success.clone());
    }
    // A file that is new.
    if route.method == Verb::Post && matches!(route.access, Access::Ingest(_)) {
        responses.insert("201".into(), success);
    }
    if route.method == Verb::Get {
        responses.insert("304".into(), json!({"description": "The client has it already"}));
    }
    if matches!(route.method, Verb::Post | Verb::Patch | Verb::Delete) {
        responses.insert("412".into(), json!({"description": "The document was changed meanwhile; without a body"}));
    }
    responses.insert("default".into(), json!({"$ref": "#/components/responses/error"}));
    Value::Object(responses)
}

/// What a browser is shown.
fn for_people() -> Value {
    let page = json!({"schema": {"type": "string"}});
    let error = json!({"schema": {"$ref": "#/components/schemas/error"}});
    json!({
        "200": {"description": "A page that says what was connected", "content": {"text/html": page}},
        "default": {
            "description": "A page that says what went wrong; no page where there were too many requests",
            "content": {"text/html": page, "application/json": error},
        },
    })
}

fn envelope() -> Value {
    json!({
        "type": "object",
        "required": ["data", "status", "request_id", "node", "timestamp"],
        "properties": {
            "data": {"type": ["object", "array"]},
            "status": {"const": "success"},
            "request_id": {"type": "string"},
            "node": {"type": "string"},
            "timestamp": {"type": "string"},
            "version": {"type": "string"},
            "revision": {"type": "string"},
            "auth_token": {"type": "string"},
            "page_size": {"type": "integer"},
            "start_key": {"type": "string"},
            "next_start_key": {"type": "string"},
            "metadata": {
                "type": "object",
                "description": "What the server noted of the document that `data` shows",
                "properties": {
                    "id": {"type": "string"},
                    "type": {"type": "string"},
                    "account_id": {"type": "string"},
                    "created": {"type": "integer", "description": "Gregorian seconds"},
                    "modified": {"type": "integer", "description": "Gregorian seconds"},
                    "deleted": {"const": true},
                },
            },
            "tokens": tokens(),
        },
    })
}

fn error() -> Value {
    json!({
        "type": "object",
        "required": ["data", "error", "message", "status", "request_id"],
        "properties": {
            "data": {"type": "object"},
            "error": {"type": "string", "pattern": "^[45][0-9]{2}$"},
            "message": {"type": "string"},
            "status": {"const": "error"},
            "request_id": {"type": "string"},
            "tokens": tokens(),
        },
    })
}

fn tokens() -> Value {
    json!({
        "type": "object",
        "description": "What the request took of how many its sender may make, where that is limited",
        "required": ["consumed", "remaining"],
        "properties": {"consumed": {"type": "integer"}, "remaining": {"type": "integer"}},
    })
}

/// A draft-4 schema as OpenAPI 3.1 wants it: without ids, its references into the components.
fn converted(component: &str, schema: &Value) -> Value {
    let Value::Object(fields) = schema else { return schema.clone() };
    let mut made = Map::new();
    for (key, value) in fields {
        let value = match (key.as_str(), value) {
            ("$schema", _) | ("id", Value::String(_)) => continue,
            ("$ref", Value::String(to)) => match to.strip_prefix('#') {
                Some(inside) => format!("#/components/schemas/{component}{inside}").into(),
                None => format!("#/components/schemas/{to}").into(),
            },
            ("enum" | "default" | "required" | "const", value) => value.clone(),
            ("properties" | "patternProperties" | "definitions", Value::Object(named)) => {
                named.iter().map(|(name, schema)| (name.clone(), converted(component, schema))).collect()
            }
            (_, Value::Array(items)) => items.iter().map(|item| converted(component, item)).collect(),
            (_, value) => converted(component, value),
        };
        made.insert(key.clone(), value);
    }
    Value::Object(made)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Everything that the document refers to and does not hold.
    fn dangling(document: &Value) -> BTreeSet<String> {
        fn references(value: &Value, found: &mut BTreeSet<String>) {
            match value {
                Value::Object(fields) => {
                    if let Some(to) = fields.get("$ref").and_then(Value::as_str) {
                        found.insert(to.to_owned());
                    }
                    fields.values().for_each(|value| references(value, found));
                }
                Value::Array(items) => items.iter().for_each(|item| references(item, found)),
                _ => {}
            }
        }
        let mut found = BTreeSet::new();
        references(document, &mut found);
        found.retain(|to| to.strip_prefix('#').is_none_or(|pointer| document.pointer(pointer).is_none()));
        found
    }

    fn made() -> Value {
        let handlers = attachments::schemas().iter().map(|(name, schema)| (*name, schema));
        document(&Forms::compile().unwrap(), &Schemas::new(handlers).unwrap())
    }

    #[test]
    fn the_document_is_kept_beside_the_reference() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
        let wanted = format!("{:#}\n", made());
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(file, &wanted).unwrap();
        }
        let found = std::fs::read_to_string(file).unwrap_or_default();
        assert!(found == wanted, "docs/openapi.json is out of date: UPDATE=1 cargo test -p stowline openapi");
    }

    #[test]
    fn every_route_is_there_once_and_every_reference_leads_somewhere() {
        let document = made();
        let operations: usize =
            document["paths"].as_object().unwrap().values().map(|path| path.as_object().unwrap().len()).sum();
        assert_eq!(operations, ROUTES.len());
        assert_eq!(dangling(&document), BTreeSet::new());
        let ids: BTreeSet<&str> = document["paths"]
            .as_object()
            .unwrap()
            .values()
            .flat_map(|path| path.as_object().unwrap().values())
            .map(|operation| operation["operationId"].as_str().unwrap())
            .collect();
        assert_eq!(ids.len(), ROUTES.len());
    }

    #[test]
    fn of_every_route_it_is_known_what_its_requests_carry() {
        let unknown: Vec<String> = ROUTES
            .iter()
            .filter(|route| body(route).is_none())
            .map(|route| format!("{:?} {}", route.method, route.path))
            .collect();
        assert!(unknown.is_empty(), "say in openapi::body what these take: {unknown:?}");
    }

    #[test]
    fn a_schema_loses_its_draft_and_keeps_a_field_with_the_name_id() {
        let schema = json!({
            "$schema": "http://json-schema.org/draft-04/schema#", "id": "x", "type": "object",
            "properties": {"id": {"type": "string"}, "plan": {"$ref": "storage.plan"}, "own": {"$ref": "#/definitions/a"}},
            "definitions": {"a": {"enum": [{"id": "kept"}]}},
        });
        let wanted = json!({
            "type": "object",
            "properties": {
                "id": {"type": "string"}, "plan": {"$ref": "#/components/schemas/storage.plan"},
                "own": {"$ref": "#/components/schemas/x/definitions/a"},
            },
            "definitions": {"a": {"enum": [{"id": "kept"}]}},
        });
        assert_eq!(converted("x", &schema), wanted);
    }
}

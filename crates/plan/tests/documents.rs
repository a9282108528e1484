//! Every file of `tests/documents` holds documents and all that is wrong with each: by the schemas, and by the references where the schemas
//! find nothing.
//!
//! `violations` names every path and code that is found; of the details it names those that count. `becomes` is the document afterwards, where
//! it changes. No secret of a document (they all hold the word `hunter2`) may stand in what is answered.

use std::path::Path;
use std::sync::Arc;

use plan::schema::Schemas;
use plan::{Dataplan, Layer, Level, StorageDocument, check, retention};
use serde::Deserialize;
use serde_json::{Map, Value};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    about: String,
    #[serde(default)]
    inherited: Vec<Said>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    level: Level,
    document: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    about: String,
    document: Value,
    /// What stood there before.
    stored: Option<Value>,
    #[serde(default)]
    violations: Map<String, Value>,
    becomes: Option<Value>,
}

/// Whether all that `expected` says of the details is so.
fn holds(expected: &Value, found: &Value) -> bool {
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => {
            expected.iter().all(|(key, value)| found.get(key).is_some_and(|found| holds(value, found)))
        }
        _ => expected == found,
    }
}

fn paths(violations: &Value) -> Vec<String> {
    let paths = violations.as_object().into_iter().flatten();
    let codes = |(path, codes): (&String, &Value)| {
        let codes = codes.as_object().into_iter().flatten();
        codes.map(|(code, _)| format!("{path} {code}")).collect::<Vec<_>>()
    };
    let mut all: Vec<_> = paths.flat_map(codes).collect();
    all.sort();
    all
}

#[test]
fn every_file_is_judged_as_it_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let handlers: Map<String, Value> =
        serde_json::from_str(&std::fs::read_to_string(folder.join("handlers.json")).unwrap()).unwrap();
    let schemas = Schemas::new(handlers.iter().map(|(name, schema)| (name.as_str(), schema))).unwrap();
    let mut judged = 0;
    for entry in std::fs::read_dir(folder.join("documents")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let file: File = serde_json::from_str(&std::fs::read_to_string(&path).unwrap())
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(!file.about.is_empty() && !file.cases.is_empty(), "{name}");
        let layers = file.inherited.iter().map(|said| Layer {
            level: said.level,
            document: Arc::new(StorageDocument::from_json(&said.document).unwrap()),
        });
        let inherited = Dataplan::merge(&layers.collect::<Vec<_>>());
        for case in &file.cases {
            let what = format!("{name}: {}", case.about);
            let mut document = case.document.clone();
            let mut violations = schemas.validate(&mut document);
            if violations.is_empty() {
                violations = match StorageDocument::from_json(&document) {
                    Ok(parsed) => {
                        let stored = case.stored.as_ref().map(|stored| StorageDocument::from_json(stored).unwrap());
                        let mut violations = check::references(&parsed, Some(&inherited));
                        violations.merge(check::locks(&parsed, stored.as_ref(), &inherited));
                        violations.merge(retention::check(&parsed, false));
                        violations
                    }
                    Err(violations) => violations,
                };
            }
            let (expected, found) = (Value::Object(case.violations.clone()), violations.to_json());
            assert_eq!(paths(&expected), paths(&found), "{what}\n{found:#}");
            assert!(holds(&expected, &found), "{what}\nexpected {expected:#}\nfound {found:#}");
            assert_eq!(&document, case.becomes.as_ref().unwrap_or(&case.document), "{what}: the document");
            assert!(!found.to_string().contains("hunter2"), "{what}: a secret is told\n{found:#}");
            judged += 1;
        }
    }
    assert!(judged > 40, "only {judged} documents were found");
}

#[test]
fn every_fault_of_every_entry_is_told_with_a_message() {
    let schemas = Schemas::new([]).unwrap();
    let mut document = serde_json::json!({"attachments": {"x": {}, "00000000000000000000000000000000": {}}, "plan": {"modb": {"x": 1}}});
    let violations = schemas.validate(&mut document);
    assert!(violations.len() >= 5, "{violations:?}");
    for (path, code, detail) in violations.iter() {
        assert!(
            detail.get("message").and_then(Value::as_str).is_some_and(|message| !message.is_empty()),
            "{path} {code}"
        );
    }
}

#[test]
fn the_schemas_are_shown_by_id_and_refer_to_what_is_shown() {
    let handlers: Map<String, Value> = serde_json::from_str(include_str!("handlers.json")).unwrap();
    let schemas = Schemas::new(handlers.iter().map(|(name, schema)| (name.as_str(), schema))).unwrap();
    let ids: Vec<_> = schemas.documents().map(|(id, _)| id).collect();
    for id in [
        "storage",
        "storage.attachments",
        "storage.attachment.aws",
        "storage.attachment.http",
        "storage.connections",
        "storage.plan.database",
    ] {
        assert!(ids.contains(&id), "{id} is not among {ids:?}");
    }
    fn references<'a>(schema: &'a Value, found: &mut Vec<&'a str>) {
        match schema {
            Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(Value::as_str));
                fields.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }
    for (id, schema) in schemas.documents() {
        assert_eq!(schema["_id"], id);
        let mut found = Vec::new();
        references(schema, &mut found);
        for to in found.into_iter().filter(|to| !to.starts_with('#')) {
            assert!(ids.contains(&to), "{id} refers to {to}");
        }
    }
}

#[test]
fn a_schema_that_is_none_is_told_by_name() {
    let broken = serde_json::json!({"type": 7});
    let error = Schemas::new([("odd", &broken)]).unwrap_err();
    assert_eq!(error.to_string(), "the schema odd cannot be compiled");
    assert!(!plan::schema::validate(&mut serde_json::json!({}), &[("odd", &broken)]).is_empty());
}

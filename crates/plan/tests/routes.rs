//! Every file of `tests/routes` is a set of layers, the questions asked of them, and the routes they answer. A new fault is a new file.
//!
//! What an expected route does not say is local, empty or false; an attachment's `params` are `{}`, its `placement` is `external` and its
//! `delete` is true unless it says otherwise. `decided` names, for fields of the route, the level that decided it.

use std::path::Path;
use std::sync::Arc;

use plan::{Database, Dataplan, DocType, Layer, Level, StorageDocument, merge};
use serde::Deserialize;
use serde_json::{Map, Value, json};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    about: String,
    layers: Vec<Said>,
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
    db: String,
    #[serde(rename = "type")]
    doc_type: Option<DocType>,
    route: Value,
    #[serde(default)]
    decided: Map<String, Value>,
}

fn expected(said: &Value) -> Value {
    let mut route = json!({"connection": "local", "secondary": [], "others": []});
    if said.get("attachment").is_some() {
        route["attachment"] = json!({"params": {}, "placement": "external", "delete": false});
    }
    merge::patch(&mut route, said);
    for field in ["attachment", "classification"] {
        if route.get(field).is_none() {
            route[field] = Value::Null;
        }
    }
    route
}

#[test]
fn every_file_is_answered_as_it_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/routes");
    let mut asked = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let file: File = serde_json::from_str(&std::fs::read_to_string(&path).unwrap())
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(!file.about.is_empty() && !file.cases.is_empty(), "{name}");
        let layers: Vec<Layer> = file
            .layers
            .iter()
            .map(|said| Layer {
                level: said.level,
                document: Arc::new(StorageDocument::from_json(&said.document).unwrap()),
            })
            .collect();
        let plan = Dataplan::merge(&layers);
        // Laid on one by one, the answer is the same.
        let step_by_step =
            layers.iter().fold(Dataplan::built_in(), |plan, layer| plan.with(std::slice::from_ref(layer)));
        for case in &file.cases {
            let what = format!("{name}: {} {:?}", case.db, case.doc_type);
            let db: Database = case.db.parse().unwrap();
            let route = plan.route(&db, case.doc_type.as_ref());
            assert_eq!(serde_json::to_value(route).unwrap(), expected(&case.route), "{what}");
            assert_eq!(step_by_step.route(&db, case.doc_type.as_ref()), route, "{what}, step by step");
            let explanation = plan.explain(&db, case.doc_type.as_ref());
            assert_eq!(&explanation.route, route, "{what}, explained");
            for (field, level) in &case.decided {
                let decision = explanation.decisions.iter().find(|decision| decision.field == *field);
                let decision =
                    decision.unwrap_or_else(|| panic!("{what}: nobody decided {field}: {:?}", explanation.decisions));
                let found = match &decision.path {
                    Some(path) => json!([decision.level, path]),
                    None => json!([decision.level]),
                };
                assert_eq!(&found, level, "{what}: {field}");
            }
            asked += 1;
        }
    }
    assert!(asked > 60, "only {asked} questions were found");
}

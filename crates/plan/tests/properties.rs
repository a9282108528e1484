//! What holds for every document there can be.

#![expect(clippy::unwrap_used, reason = "what the strategies are made of is fixed here")]

use std::sync::{Arc, LazyLock};

use plan::schema::Schemas;
use plan::{ConnectionRef, Database, Dataplan, DocType, Layer, Level, Sections, StorageDocument, check};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

static SCHEMAS: LazyLock<Schemas> = LazyLock::new(|| {
    let handlers: Map<String, Value> = serde_json::from_str(include_str!("handlers.json")).unwrap();
    Schemas::new(handlers.iter().map(|(name, schema)| (name.as_str(), schema))).unwrap()
});

const WORDS: [&str; 31] = [
    "attachments",
    "connections",
    "plan",
    "modb",
    "yodb",
    "account",
    "system",
    "aggregate",
    "types",
    "range",
    "regex",
    "database",
    "names",
    "connection",
    "secondary_connections",
    "handler",
    "params",
    "stub",
    "delete",
    "retention_days",
    "folder_path",
    "fax",
    "settings",
    "local",
    "s3",
    "http",
    "202001-202612",
    "^account",
    "11111111111111111111111111111111",
    "field_list",
    "system_media",
];

const DATABASES: [&str; 10] = [
    "account0000000000000000000000004-202611",
    "account0000000000000000000000004",
    "account0000000000000000000000004-2026",
    "account0000000000000000000000004-selectors",
    "faxes",
    "system_media",
    "system_config",
    "numbers/+1",
    "unheard_of",
    "services",
];

fn word() -> impl Strategy<Value = String> {
    prop_oneof![9 => proptest::sample::select(&WORDS[..]).prop_map(str::to_owned), 1 => ".{0,6}"]
}

/// Any JSON, made of words that mean something here.
fn wild() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        word().prop_map(Value::from)
    ];
    leaf.prop_recursive(6, 48, 5, |inner| {
        prop_oneof![
            1 => proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            4 => proptest::collection::hash_map(word(), inner, 0..5).prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn spec() -> BoxedStrategy<Value> {
    let id = || proptest::sample::select(&["local", "c1", "c2", "h1", "h2", "nobody"][..]);
    let params = prop_oneof![
        wild(),
        proptest::sample::select(&["mine", "../up", "/a/b/", "%2e%2e"][..])
            .prop_map(|path| json!({"folder_path": path, "bucket": "other", "path": "p"})),
    ];
    let attachments = (proptest::option::of(id()), proptest::option::of(any::<bool>()), proptest::option::of(params));
    let secondary = proptest::option::of(proptest::collection::vec(id(), 0..3));
    (proptest::option::of(id()), secondary, attachments)
        .prop_map(|(connection, secondary, (handler, stub, params))| {
            let spec = json!({"connection": connection, "secondary_connections": secondary, "attachments": {"handler": handler, "stub": stub, "params": params}});
            plan::merge::plan(&json!({}), &spec)
        })
        .boxed()
}

/// A document of the right shape, that refers to what may or may not be there.
fn document() -> impl Strategy<Value = Value> {
    let section =
        (spec(), proptest::option::of(spec()), proptest::option::of(spec())).prop_map(|(whole, fax, range)| {
            let mut section = whole;
            section["types"] = json!({"fax": fax, "system_media": fax});
            section["range"] = json!({"202001-202612": range});
            plan::merge::plan(&json!({}), &section)
        });
    let defined = proptest::collection::vec(any::<bool>(), 4);
    let sections = proptest::collection::hash_map(
        proptest::sample::select(&["modb", "account", "yodb", "system", "aggregate"][..]),
        section,
        0..4,
    );
    (defined, sections).prop_map(|(defined, sections)| {
        let mut document = json!({"attachments": {}, "connections": {}, "plan": {}});
        for (id, defined) in ["h1", "h2", "c1", "c2"].into_iter().zip(defined) {
            match (defined, id.starts_with('h')) {
                (true, true) => document["attachments"][id] = json!({"handler": "s3", "settings": {}}),
                (true, false) => document["connections"][id] = json!({"settings": {}}),
                _ => {}
            }
        }
        document["plan"] =
            Value::Object(sections.into_iter().map(|(class, section)| (class.to_owned(), section)).collect());
        document
    })
}

fn layer(level: Level, document: &Value) -> Option<Layer> {
    StorageDocument::from_json(document).ok().map(|document| Layer { level, document: Arc::new(document) })
}

fn questions() -> Vec<(Database, Option<DocType>)> {
    let types = [None, Some("fax"), Some("unheard_of")];
    let ask =
        |db: &str| types.map(|doc_type| (db.parse().unwrap(), doc_type.map(|doc_type| doc_type.parse().unwrap())));
    DATABASES.into_iter().flat_map(ask).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_document_is_judged_typed_and_routed(said in proptest::collection::vec(wild(), 1..4)) {
        let levels = [Level::System, Level::Account, Level::Owner];
        let mut layers = Vec::new();
        for (level, document) in levels.into_iter().zip(said) {
            let mut judged = document.clone();
            let violations = SCHEMAS.validate(&mut judged);
            let parsed = StorageDocument::from_json(&document);
            // What the schemas let through can be read.
            prop_assert!(!violations.is_empty() || StorageDocument::from_json(&judged).is_ok());
            // Odd plans are laid over each other all the same.
            let plan = Sections::new(&document.as_object().cloned().unwrap_or_default());
            layers.push(Layer { level, document: Arc::new(parsed.unwrap_or_else(|_| StorageDocument { plan, ..StorageDocument::default() })) });
        }
        let plan = Dataplan::merge(&layers);
        for (db, doc_type) in questions() {
            let route = plan.route(&db, doc_type.as_ref());
            prop_assert_eq!(&plan.explain(&db, doc_type.as_ref()).route, route);
            prop_assert_eq!(route.classification, db.classification());
        }
        for layer in &layers {
            let _ = check::references(&layer.document, Some(&plan));
            let _ = plan::retention::check(&layer.document, false);
        }
    }

    #[test]
    fn a_route_names_only_what_is_there(system in document(), account in document(), owner in document()) {
        let layers: Vec<_> = [(Level::System, &system), (Level::Account, &account), (Level::Owner, &owner)].into_iter().filter_map(|(level, document)| layer(level, document)).collect();
        let plan = Dataplan::merge(&layers);
        for (db, doc_type) in questions() {
            let route = plan.route(&db, doc_type.as_ref());
            for id in route.secondary.iter().chain(&route.others) {
                prop_assert!(plan.connection(id).is_some());
            }
            if let ConnectionRef::Id(id) = &route.connection {
                prop_assert!(plan.connection(id).is_some() && !route.secondary.contains(id) && !route.others.contains(id));
            }
            let Some(attachment) = &route.attachment else { continue };
            let (config, level) = plan.handler(&attachment.handler_id).unwrap();
            prop_assert_eq!((&config.handler, level), (&attachment.kind, attachment.level));
            prop_assert!(attachment.params.keys().all(|key| plan::params::OWN.contains(&key.as_str())));
            // Nothing that stands below the owner leads anywhere but deeper.
            let above: Vec<_> = layers.iter().filter(|layer| layer.level <= level).cloned().collect();
            if above.len() < layers.len() && attachment.params.contains_key("path") {
                prop_assert!(above.iter().any(|layer| serde_json::to_string(&layer.document.plan.to_json()).unwrap().contains("\"path\"")));
            }
        }
        // An owner changes nothing for the databases of the system.
        let without_owner = Dataplan::merge(&layers[..layers.len().min(1)]);
        for db in ["system_media", "numbers/+1", "unheard_of"].map(|db| db.parse::<Database>().unwrap()) {
            prop_assert_eq!(plan.route(&db, None), without_owner.route(&db, None));
        }
    }

    #[test]
    fn layers_laid_on_one_by_one_are_layers_laid_on_together(documents in proptest::collection::vec(document(), 4)) {
        let levels = [Level::System, Level::Reseller, Level::Account, Level::Owner];
        let layers: Vec<_> = levels.into_iter().zip(&documents).filter_map(|(level, document)| layer(level, document)).collect();
        let together = Dataplan::merge(&layers);
        let one_by_one = layers.iter().fold(Dataplan::built_in(), |plan, layer| plan.with(std::slice::from_ref(layer)));
        let backwards = layers.iter().rev().fold(Dataplan::built_in(), |plan, layer| plan.with(std::slice::from_ref(layer)));
        for (db, doc_type) in questions() {
            let route = together.route(&db, doc_type.as_ref());
            prop_assert_eq!(one_by_one.route(&db, doc_type.as_ref()), route);
            prop_assert_eq!(backwards.route(&db, doc_type.as_ref()), route);
        }
    }

    /// A plan has the entries of its documents laid over each other as JSON, whole and each with whom it was first.
    #[test]
    fn a_plan_agrees_with_its_documents_laid_over_each_other(documents in proptest::collection::vec(document(), 3)) {
        let levels = [Level::System, Level::Account, Level::Owner];
        let layers: Vec<_> = levels.into_iter().zip(&documents).filter_map(|(level, document)| layer(level, document)).collect();
        let plan = Dataplan::merge(&layers);
        let merged = documents.iter().fold(json!({}), |above, below| plan::merge::layer(&above, below));
        let merged = StorageDocument::from_json(&merged).unwrap();
        prop_assert_eq!(plan.handlers().count(), merged.attachments.len());
        for (id, config) in &merged.attachments {
            prop_assert_eq!(plan.handler(id).map(|(config, _)| config), Some(config));
        }
        for (id, config) in &merged.connections {
            prop_assert_eq!(plan.connection(id).map(|(config, _)| config), Some(&**config));
        }
    }

    #[test]
    fn an_empty_layer_and_the_same_layer_again_change_nothing(system in document(), account in document()) {
        let layers: Vec<_> = [(Level::System, &system), (Level::Account, &account)].into_iter().filter_map(|(level, document)| layer(level, document)).collect();
        let plan = Dataplan::merge(&layers);
        let empty = plan.with(&[Layer { level: Level::Account, document: Arc::default() }]);
        let again = plan.with(&layers[layers.len() - 1..]);
        for (db, doc_type) in questions() {
            let route = plan.route(&db, doc_type.as_ref());
            prop_assert_eq!(empty.route(&db, doc_type.as_ref()), route);
            let twice = again.route(&db, doc_type.as_ref());
            prop_assert_eq!((&twice.connection, &twice.secondary), (&route.connection, &route.secondary));
            prop_assert_eq!(twice.attachment.as_ref().map(|to| &to.handler_id), route.attachment.as_ref().map(|to| &to.handler_id));
        }
    }

    /// A document that passes both checks dangles nowhere, as long as the layers above it stay.
    #[test]
    fn what_passes_the_checks_does_not_dangle(account in document()) {
        let parsed = StorageDocument::from_json(&account).unwrap();
        let violations = check::references(&parsed, Some(&Dataplan::built_in()));
        prop_assume!(!violations.iter().any(|(path, _, _)| path.starts_with("plan.modb")));
        let plan = Dataplan::merge(&[Layer { level: Level::Account, document: Arc::new(parsed) }]);
        let modb: Database = DATABASES[0].parse().unwrap();
        for doc_type in [None, Some("fax".parse().unwrap())] {
            let route = plan.route(&modb, doc_type.as_ref());
            prop_assert!(route.dangling.is_none() && route.dangling_connection.is_none());
        }
    }

    #[test]
    fn no_lower_level_changes_what_is_locked(system in document(), account in document(), owner in document()) {
        let locking = |lock: &str| {
            let mut system = system.clone();
            system["locks"] = json!([lock]);
            system
        };
        for (lock, of_type) in [("plan", None), ("plan.modb", None), ("plan.modb.types.fax", Some("fax"))] {
            let system = locking(lock);
            let above = Dataplan::merge(&layer(Level::System, &system).into_iter().collect::<Vec<_>>());
            let below = [layer(Level::Account, &account), layer(Level::Owner, &owner)].into_iter().flatten();
            let all = above.with(&below.collect::<Vec<_>>());
            for (database, doc_type) in questions() {
                let asked = database.classification() == Some(plan::Classification::Modb)
                    && of_type.is_none_or(|of_type| doc_type.as_ref().is_some_and(|asked| asked.as_str() == of_type));
                if asked {
                    let (locked, found) =
                        (above.route(&database, doc_type.as_ref()), all.route(&database, doc_type.as_ref()));
                    prop_assert_eq!((locked, lock), (found, lock));
                    prop_assert_eq!(&all.explain(&database, doc_type.as_ref()).route, found);
                }
            }
        }
    }
}

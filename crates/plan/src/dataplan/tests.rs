use super::*;
use serde_json::{Value, json};

const HANDLER: &str = "0123456789abcdef0123456789abcdef";

fn layer(level: Level, document: &Value) -> Layer {
    Layer { level, document: Arc::new(StorageDocument::from_json(document).unwrap()) }
}

fn modb() -> Database {
    Database::parse("account0000000000000000000000004-202611").unwrap()
}

fn system() -> Dataplan {
    Dataplan::merge(&[layer(
        Level::System,
        &json!({
            "attachments": {HANDLER: {"handler": "s3", "settings": {"secret": "hunter2"}}},
            "plan": {"modb": {"types": {"fax": {"attachments": {"handler": HANDLER}}}}, "account": {"connection": "undefined"}},
        }),
    )])
}

#[test]
fn without_layers_the_plan_is_the_same_one() {
    let built_in = Dataplan::built_in();
    assert!(Arc::ptr_eq(&Dataplan::merge(&[]).0, &built_in.0));
    let system = system();
    assert!(Arc::ptr_eq(&system.with(&[]).0, &system.0));
}

#[test]
fn tables_that_nobody_speaks_of_are_shared() {
    let system = system();
    let account = system.with(&[layer(Level::Account, &json!({"plan": {"yodb": {"connection": "local"}}}))]);
    let fax = DocType::parse("fax").unwrap();
    assert!(std::ptr::eq(system.route(&modb(), Some(&fax)), account.route(&modb(), Some(&fax))));
    assert!(Arc::ptr_eq(&system.0.system, &account.0.system));
    // Nobody speaks of the system's databases: all plans share one answer for them.
    assert!(Arc::ptr_eq(&Dataplan::built_in().0.system, &account.0.system));
    let speaks = Dataplan::merge(&[layer(Level::System, &json!({"plan": {"system": {"connection": "later"}}}))]);
    let defines = layer(Level::System, &json!({"connections": {"later": {}}}));
    let media = Database::parse("system_media").unwrap();
    assert_eq!(speaks.route(&media, None).dangling_connection.as_ref().unwrap().as_str(), "later");
    assert_eq!(speaks.with(&[defines]).route(&media, None).dangling_connection, None);
}

#[test]
fn a_reference_that_dangled_is_found_when_its_definition_comes() {
    let account = Database::parse("account0000000000000000000000004").unwrap();
    let before = system();
    assert_eq!(before.route(&account, None).dangling_connection.as_ref().unwrap().as_str(), "undefined");
    let after = before.with(&[layer(
        Level::Account,
        &json!({"connections": {"undefined": {"driver": "kazoo_couch", "settings": {}}}}),
    )]);
    assert_eq!(after.route(&account, None).dangling_connection, None);
    assert_eq!(serde_json::to_value(&after.route(&account, None).connection).unwrap(), "undefined");
}

#[test]
fn the_order_of_layers_does_not_count_between_levels() {
    let above = layer(Level::Reseller, &json!({"attachments": {HANDLER: {"handler": "s3", "settings": {}}}}));
    let below = layer(Level::Account, &json!({"attachments": {HANDLER: {"handler": "http", "settings": {}}}}));
    let id = HandlerId::parse(HANDLER).unwrap();
    for layers in [[above.clone(), below.clone()], [below.clone(), above.clone()]] {
        let plan = Dataplan::merge(&layers);
        let (config, level) = plan.handler(&id).unwrap();
        assert_eq!((config.handler.as_str(), level), ("s3", Level::Reseller));
    }
    // A level that comes above those there are is not laid under them.
    let plan = Dataplan::merge(&[below]).with(&[above]);
    assert_eq!(plan.handler(&id).unwrap().1, Level::Reseller);
}

#[test]
fn asking_twice_answers_the_same_reference() {
    let plan = system();
    let fax = DocType::parse("fax").unwrap();
    assert!(std::ptr::eq(plan.route(&modb(), Some(&fax)), plan.route(&modb(), Some(&fax))));
}

#[test]
fn debug_prints_levels_and_no_setting() {
    let plan = system();
    assert!(format!("{plan:?}").contains("System"));
    assert!(!format!("{plan:?} {:?}", plan.layers()).contains("hunter2"));
}

#[test]
fn many_overrides_of_many_types_stay_bounded() {
    let types: serde_json::Map<_, _> = (0..3000).map(|n| (format!("t{n}"), json!({"connection": "local"}))).collect();
    let range: serde_json::Map<_, _> =
        (0..3000).map(|n| (format!("{:04}01-{:04}02", n, n), json!({"connection": "local"}))).collect();
    let plan = Dataplan::merge(&[layer(Level::Account, &json!({"plan": {"modb": {"types": types, "range": range}}}))]);
    assert_eq!(plan.route(&modb(), None), &Route::local(Some(crate::Classification::Modb)));
}

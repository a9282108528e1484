//! What many merged plans take is what they say they weigh.

#![expect(clippy::unwrap_used, reason = "what is merged is fixed here")]
#![cfg(target_os = "linux")]

use std::sync::Arc;

use plan::{Dataplan, Layer, Level, StorageDocument};
use serde_json::{Value, json};

/// The resident bytes of this process, which runs this test alone.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

fn layer(level: Level, document: &Value) -> Layer {
    Layer { level, document: Arc::new(StorageDocument::from_json(document).unwrap()) }
}

/// An account with a handler and two types that go to it.
fn account(number: usize) -> Value {
    let handler = format!("{number:032x}");
    json!({
        "attachments": {&handler: {"handler": "s3", "name": "S3", "settings": {
            "bucket": "recordings", "key": format!("AKID{number}"), "secret": "wJalrXUtnFEMI/K7MDENG", "region": "eu-central-1"
        }}},
        "plan": {"modb": {"types": {
            "mailbox_message": {"attachments": {"handler": &handler}},
            "call_recording": {"attachments": {"handler": &handler, "params": {"folder_path": "recordings"}}},
        }}},
    })
}

/// Merges so many, and gives the bytes that one took and the bytes that it says it weighs.
fn measured(system: &Dataplan, documents: impl Fn(usize) -> Value) -> (usize, usize) {
    const COUNT: usize = 20_000;
    let mut plans = Vec::with_capacity(COUNT);
    let before = resident();
    for number in 0..COUNT {
        plans.push(system.with(&[layer(Level::Account, &documents(number))]));
    }
    let took = (resident() - before) / COUNT;
    (took, plans.iter().map(Dataplan::weight).sum::<usize>() / COUNT)
}

#[test]
fn a_plan_weighs_what_it_takes() {
    let above = json!({"plan": {"modb": {"types": {"fax": {"attachments": {"stub": true}}}}}});
    let system = Dataplan::merge(&[layer(Level::System, &above)]);
    let (took, weighs) = measured(&system, account);
    eprintln!("a plan with a handler: {took} bytes, weighs {weighs}");
    assert!((took / 2..took * 2).contains(&weighs), "{took} bytes weigh {weighs}");
    assert!(took < 6 << 10, "{took} bytes: a plan of one handler and two types was 4 KiB");
}

#[test]
fn a_plan_that_says_nothing_weighs_little() {
    let system = Dataplan::built_in();
    let (took, weighs) = measured(&system, |_| json!({"plan": {}}));
    eprintln!("a plan that says nothing: {took} bytes, weighs {weighs}");
    assert!((took / 2..took * 2).contains(&weighs), "{took} bytes weigh {weighs}");
}

#[test]
fn a_plan_of_many_types_weighs_more() {
    let types: serde_json::Map<_, _> =
        (0..100).map(|number| (format!("type{number}"), json!({"connection": "local"}))).collect();
    let system = Dataplan::built_in();
    let few = system.with(&[layer(Level::Account, &account(1))]);
    let many = system.with(&[layer(Level::Account, &json!({"plan": {"modb": {"types": types}}}))]);
    assert!(many.weight() > 3 * few.weight());
    assert!(system.with(&[]).is(&system) && !few.is(&system));
}

//! The arrows between the crates, compared with what was decided. A new edge is a decision that somebody saw.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

/// Who may use whom, tests apart.
const ARROWS: &[(&str, &[&str])] = &[
    ("plan", &[]),
    ("outbound", &[]),
    ("appendlog", &[]),
    ("groupcommit", &[]),
    ("delivery", &["appendlog", "groupcommit"]),
    ("connections", &["groupcommit", "plan"]),
    ("attachments", &["outbound", "plan"]),
    ("sip", &["voice"]),
    ("switches", &[]),
    (
        "stowline",
        &[
            "appendlog",
            "attachments",
            "connections",
            "delivery",
            "outbound",
            "plan",
            "sip",
            "switches",
            "uploader",
            "voice",
        ],
    ),
    ("uploader", &[]),
    ("voice", &[]),
    ("testkit", &[]),
    ("demo", &["attachments", "connections", "outbound", "plan", "sip", "stowline", "testkit", "voice"]),
];

#[test]
fn the_crates_use_each_other_as_was_decided() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let short = |name: &str| name.trim_start_matches("stowline-").to_owned();
    let packages = metadata["packages"].as_array().unwrap();
    let ours: BTreeSet<String> = packages.iter().map(|package| short(package["name"].as_str().unwrap())).collect();
    let decided: BTreeSet<String> = ARROWS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(ours, decided, "the crates");
    for package in packages {
        let name = short(package["name"].as_str().unwrap());
        let uses: BTreeSet<String> = package["dependencies"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|dependency| dependency["kind"].is_null())
            .map(|dependency| short(dependency["name"].as_str().unwrap()))
            .filter(|dependency| ours.contains(dependency))
            .collect();
        let (_, allowed) = ARROWS.iter().find(|(decided, _)| *decided == name).unwrap();
        assert_eq!(uses, allowed.iter().map(|name| (*name).to_owned()).collect(), "what {name} uses");
    }
}

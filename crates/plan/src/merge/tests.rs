use super::*;
use proptest::prelude::*;
use serde_json::json;

fn patched(mut target: Value, by: &Value) -> Value {
    patch(&mut target, by);
    target
}

#[test]
fn a_patch_merges_deletes_and_replaces() {
    let target = json!({"a": {"x": 1, "y": {"z": 2}}, "list": [1, 2], "text": "t"});
    let cases = [
        (json!({}), target.clone()),
        (json!({"a": {"y": {"z": null}}}), json!({"a": {"x": 1, "y": {}}, "list": [1, 2], "text": "t"})),
        (json!({"a": {}}), json!({"a": {}, "list": [1, 2], "text": "t"})),
        (json!({"a": {"y": {}}}), json!({"a": {"x": 1, "y": {}}, "list": [1, 2], "text": "t"})),
        (
            json!({"list": [3], "text": {"deep": true}}),
            json!({"a": {"x": 1, "y": {"z": 2}}, "list": [3], "text": {"deep": true}}),
        ),
        (
            json!({"new": {"kept": 1, "gone": null}}),
            json!({"a": {"x": 1, "y": {"z": 2}}, "list": [1, 2], "text": "t", "new": {"kept": 1}}),
        ),
        (json!({"text": {}}), json!({"a": {"x": 1, "y": {"z": 2}}, "list": [1, 2], "text": {}})),
        (json!({"absent": null}), target.clone()),
    ];
    for (by, expected) in cases {
        assert_eq!(patched(target.clone(), &by), expected, "{by}");
    }
}

#[test]
fn plans_merge_leaf_by_leaf() {
    let above = json!({"modb": {"connection": "local", "types": {"fax": {"attachments": {"handler": "a", "params": {"field_list": [1]}}}}}});
    let cases = [
        (json!({"modb": {}}), above.clone()),
        (
            json!({"modb": {"types": {"fax": {"attachments": {"params": {"field_list": [2, 3]}}}}}}),
            json!({"modb": {"connection": "local", "types": {"fax": {"attachments": {"handler": "a", "params": {"field_list": [2, 3]}}}}}}),
        ),
        (json!({"modb": {"types": {"fax": {"attachments": null}}}}), json!({"modb": {"connection": "local"}})),
        (json!({"modb": null}), json!({})),
        (json!({"modb": {"connection": {}}}), above.clone()),
        (json!({"modb": {"connection": {"odd": null}}}), above.clone()),
    ];
    for (below, expected) in cases {
        assert_eq!(plan(&above, &below), expected, "{below}");
    }
}

#[test]
fn an_entry_stays_whole_and_with_whom_it_was_first() {
    let system = json!({"attachments": {"h": {"handler": "s3", "settings": {"bucket": "ours", "secret": "s"}}}, "plan": {"modb": {"connection": "a"}}});
    let account = json!({
        "attachments": {"h": {"settings": {"host": "evil"}}, "mine": {"handler": "http", "settings": {}}},
        "connections": {"c": {"settings": {}}},
        "plan": {"modb": {"connection": "b"}},
    });
    let expected = json!({
        "attachments": {"h": {"handler": "s3", "settings": {"bucket": "ours", "secret": "s"}}, "mine": {"handler": "http", "settings": {}}},
        "plan": {"modb": {"connection": "b"}},
        "connections": {"c": {"settings": {}}},
    });
    assert_eq!(layer(&system, &account), expected);
    assert_eq!(layer(&system, &json!({"attachments": {"h": null}})), system);
}

/// Any JSON, nulls and empty objects included.
fn wild() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0..4i64).prop_map(Value::from),
        "[ab]{0,2}".prop_map(Value::from)
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            proptest::collection::btree_map("[a-d]", inner, 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn wild_object() -> impl Strategy<Value = Value> {
    proptest::collection::btree_map("[a-d]", wild(), 0..4)
        .prop_map(|fields| Value::Object(fields.into_iter().collect()))
}

/// Documents that agree on what is an object and what is a leaf, as documents of one schema do, without nulls: keys a, b hold objects, c, d leaves.
fn shaped() -> impl Strategy<Value = Value> {
    let leaf = (0..9i64).prop_map(Value::from).boxed();
    let level = |inner: BoxedStrategy<Value>, leaf: BoxedStrategy<Value>| {
        let pairs = (
            proptest::option::of(inner.clone()),
            proptest::option::of(inner),
            proptest::option::of(leaf.clone()),
            proptest::option::of(leaf),
        );
        let object = |(a, b, c, d)| {
            let fields = [("a", a), ("b", b), ("c", c), ("d", d)];
            Value::Object(
                fields
                    .into_iter()
                    .filter_map(|(key, value): (&str, Option<Value>)| Some((key.to_owned(), value?)))
                    .collect(),
            )
        };
        pairs.prop_map(object).boxed()
    };
    let innermost = level(Just(json!({})).boxed(), leaf.clone());
    level(level(innermost, leaf.clone()), leaf)
}

fn leaves<'a>(value: &'a Value, at: String, found: &mut Vec<(String, &'a Value)>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, value)| leaves(value, format!("{at}/{key}"), found)),
        leaf => found.push((at, leaf)),
    }
}

/// Whether an empty object stands in `value`, arrays aside.
fn hollow(value: &Value) -> bool {
    let empty = |value: &Value| value.as_object().is_some_and(serde_json::Map::is_empty);
    value.as_object().is_some_and(|fields| fields.values().any(|value| empty(value) || hollow(value)))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_empty_patch_changes_nothing(target in wild_object()) {
        prop_assert_eq!(patched(target.clone(), &json!({})), target);
    }

    #[test]
    fn a_patch_twice_is_a_patch_once(target in wild_object(), by in wild_object()) {
        let once = patched(target, &by);
        prop_assert_eq!(patched(once.clone(), &by), once);
    }

    #[test]
    fn after_a_patch_every_leaf_of_it_holds(target in wild_object(), by in wild_object()) {
        let after = patched(target, &by);
        let mut said = Vec::new();
        leaves(&by, String::new(), &mut said);
        for (path, leaf) in said {
            match leaf {
                Value::Null => prop_assert!(after.pointer(&path).is_none(), "{} is still there", path),
                leaf => prop_assert_eq!(after.pointer(&path), Some(leaf)),
            }
        }
    }

    #[test]
    fn patches_of_different_keys_commute(target in wild_object(), left in wild(), right in wild()) {
        let (left, right) = (json!({"a": left}), json!({"b": right}));
        prop_assert_eq!(patched(patched(target.clone(), &left), &right), patched(patched(target, &right), &left));
    }

    /// What two patches do in turn, the second does alone to what it speaks of: patching with the patched patch is the same, where nothing is
    /// deleted or emptied.
    #[test]
    fn a_patch_of_a_patch_is_both_in_turn(target in shaped(), first in shaped(), second in shaped()) {
        let dense = |value: &Value| plan(&json!({}), value);
        let (first, second) = (dense(&first), dense(&second));
        prop_assert_eq!(patched(patched(target.clone(), &first), &second), patched(target, &patched(first, &second)));
    }

    #[test]
    fn layering_is_associative_where_shapes_agree(a in shaped(), b in shaped(), c in shaped()) {
        prop_assert_eq!(plan(&plan(&a, &b), &c), plan(&a, &plan(&b, &c)));
    }

    #[test]
    fn nothing_laid_over_or_under_changes_nothing(a in wild_object()) {
        let once = plan(&json!({}), &a);
        prop_assert_eq!(plan(&once, &json!({})), once.clone());
        prop_assert_eq!(plan(&json!({}), &once), once.clone());
        prop_assert_eq!(plan(&once, &once), once);
    }

    #[test]
    fn a_layer_holds_no_null_and_no_empty_object(a in wild_object(), b in wild_object()) {
        let merged = plan(&a, &b);
        let mut found = Vec::new();
        leaves(&merged, String::new(), &mut found);
        prop_assert!(found.iter().all(|(_, leaf)| !leaf.is_null()));
        prop_assert!(!hollow(&merged));
    }

    #[test]
    fn entries_belong_to_the_first(a in wild_object(), b in wild_object(), c in wild_object()) {
        let [a, b, c] = [a, b, c].map(|entries| json!({"attachments": entries}));
        let merged = layer(&layer(&a, &b), &c);
        prop_assert_eq!(&merged, &layer(&a, &layer(&b, &c)));
        for key in ["a", "b", "c", "d"] {
            let of = |document: &Value| document["attachments"].get(key).filter(|entry| !entry.is_null()).cloned();
            prop_assert_eq!(of(&merged), of(&a).or(of(&b)).or(of(&c)));
        }
    }
}

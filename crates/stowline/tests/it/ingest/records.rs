//! Call records: every shape, one document for each leg, the legs of a call together.

use reqwest::Method;
use serde_json::{Value, json};

use super::super::inside::Inside;
use super::wire::{Request, names};
use super::{ALL, document, documents, key, path, switch};

async fn post(inside: &Inside, name: &str, secret: &str) -> Value {
    let request =
        Request::named(name).with("ACCOUNT", inside.account.id.as_ref()).with("KEY", secret).basic("acme", secret);
    let answer = request.send(inside.server.address()).await;
    assert_eq!(answer.status, 200, "{name}: {answer:?}");
    assert!(!answer.body.contains(secret), "{name}: {answer:?}");
    answer.data()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_shape_of_a_record_is_answered_200_and_stored() {
    let posts: Vec<String> = names()
        .into_iter()
        .filter(|name| name.contains("cdr") || name.starts_with("asterisk-") || name.starts_with("kazoo-"))
        .collect();
    let posts: Vec<String> =
        posts.into_iter().filter(|name| !name.ends_with("-curl") && !name.ends_with("-put")).collect();
    assert!(posts.len() >= 20, "{posts:?}");
    for name in posts {
        // Each on its own: most of them are the same leg in another wrapping.
        let inside = Inside::start().await;
        let (_, secret) = key(&inside, &["cdr"]).await;
        let answer = post(&inside, &name, &secret).await;
        let file = format!("{}/../switches/tests/requests/{name}.leg.json", env!("CARGO_MANIFEST_DIR"));
        let wanted: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        let stored = documents(&inside, "cdr").await;
        if wanted.get("skipped").is_some() {
            assert_eq!((answer["skipped"].is_string(), stored.len()), (true, 0), "{name}");
            continue;
        }
        let [document] = stored.as_slice() else { panic!("{name}: {stored:?}") };
        assert_eq!((&answer["id"], &answer["new"]), (&json!(document.id.as_ref()), &json!(true)), "{name}");
        let leg = &wanted["leg"];
        assert_eq!(document.id.as_ref(), format!("202611-{}", leg["call_id"].as_str().unwrap()), "{name}");
        for (field, wanted) in leg.as_object().unwrap() {
            let found = &document.body[field];
            match field.as_str() {
                // Whose it is, the key decides.
                "custom_channel_vars" => assert_eq!(found["account_id"], inside.account.id.as_ref(), "{name}"),
                "interaction_key" => assert!(found.is_string(), "{name}"),
                _ => assert_eq!(found, wanted, "{name}: {field}"),
            }
        }
        assert!(document.body["interaction_id"].is_string(), "{name}");
        assert_eq!(post(&inside, &name, &secret).await, json!({"id": answer["id"], "new": false}), "{name}: again");
        assert_eq!(documents(&inside, "cdr").await.len(), 1, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_legs_of_a_call_have_one_interaction_whichever_comes_first() {
    for order in [["json_cdr-bare", "json_cdr-b-leg"], ["json_cdr-b-leg", "json_cdr-bare"]] {
        let inside = Inside::start().await;
        let (_, secret) = key(&inside, ALL).await;
        let mut interactions = std::collections::BTreeSet::new();
        for name in order {
            post(&inside, name, &secret).await;
        }
        for document in documents(&inside, "cdr").await {
            interactions.insert(document.body["interaction_id"].to_string());
        }
        assert_eq!(interactions.len(), 1, "{order:?}: {interactions:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_share_a_call_id_are_all_kept_each_once() {
    let inside = Inside::start().await;
    let (_, secret) = key(&inside, ALL).await;
    let fs = switch(&inside, &secret);
    let cdr = path(&inside, "cdr");
    let party = |sequence: u8, dst: &str| {
        format!(
            "uniqueid=1795442694.42&linkedid=1795442694.42&sequence={sequence}&src=100&dst={dst}&start=1795442694&duration=30&billsec=0&disposition=NO%20ANSWER"
        )
    };
    let leg = |uuid: &str| {
        json!({"core-uuid": "c", "variables": {"uuid": uuid, "sip_call_id": "hairpin@sbc", "start_epoch": "1795442694", "end_epoch": "1795442700", "duration": "6"}}).to_string()
    };
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..2 {
        for body in [party(1, "201"), party(2, "202"), party(3, "203"), leg("u-1"), leg("u-2")] {
            let answer = fs.upload(Method::POST, &cdr, "", body).await.expect_status(200);
            ids.insert(answer.data()["id"].as_str().unwrap().to_owned());
        }
    }
    let wanted = [
        "202611-1795442694.42",
        "202611-1795442694.42-2",
        "202611-1795442694.42-3",
        "202611-hairpin@sbc",
        "202611-u-2",
    ];
    assert_eq!(ids.iter().map(String::as_str).collect::<Vec<_>>(), wanted);
    assert_eq!(documents(&inside, "cdr").await.len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_record_is_refused_in_words() {
    let inside = Inside::start().await;
    let (_, secret) = key(&inside, ALL).await;
    let fs = switch(&inside, &secret);
    let cdr = path(&inside, "cdr");
    let deep = "<a>".repeat(50_000);
    let nested = format!("{{\"variables\":{}{}}}", "[".repeat(50_000), "]".repeat(50_000));
    for body in [
        "",
        "hello",
        "{",
        "{}",
        "[]",
        "null",
        "{\"data\": {}}",
        "{\"variables\": {}}",
        "{\"variables\": {\"a\": {\"b\": []}}}",
        "cdr=",
        "cdr=%00",
        "cdr=!!!!",
        "a=b",
        "<cdr/>",
        "<html><body>Bad Gateway</body></html>",
        "<!DOCTYPE cdr [<!ENTITY a \"b\">]><cdr><variables><uuid>&a;</uuid></variables></cdr>",
        "{\"call_id\": \"\"}",
        "{\"call_id\": {}}",
        "uniqueid=",
        "linkedid=5",
        &deep,
        &nested,
    ] {
        for content_type in ["application/json", "text/xml", "", "multipart/form-data"] {
            let refused = fs.upload(Method::POST, &cdr, content_type, body.to_owned()).await;
            assert_eq!(refused.status, 400, "{body:.80}: {refused}");
            assert!(refused.data()["cdr"]["invalid"]["message"].is_string(), "{refused}");
        }
    }
    let large = format!("{{\"call_id\": \"a\", \"x\": \"{}\"}}", "x".repeat(5 << 20));
    fs.upload(Method::POST, &cdr, "application/json", large).await.expect_status(413);
    for odd in [
        "{\"call_id\": \"odd-1\", \"timestamp\": -5, \"duration_seconds\": \"soon\", \"call_direction\": \"sideways\", \"custom_channel_vars\": []}",
        "{\"call_id\": \"odd-2\", \"timestamp\": 99999999999999999999, \"billing_seconds\": 1e300, \"interaction_id\": \"x\"}",
        "{\"variables\": {\"uuid\": \"odd-3\", \"end_epoch\": \"99999999999\", \"duration\": \"-1\", \"start_epoch\": \"\"}}",
        "uniqueid=odd-4&start=2026-99-99&duration=x&linkedid=%00",
        "{\"call_id\": \"odd-5 \\u0000 / ? # %2F\"}",
    ] {
        let taken = fs.upload(Method::POST, &cdr, "application/json", odd).await;
        assert_eq!(taken.status, 200, "{odd}: {taken}");
        let id = taken.data()["id"].as_str().unwrap().to_owned();
        assert_eq!(document(&inside, &id).await.doc_type, "cdr", "{odd}: {id}");
    }
}

//! `/v2/accounts/{id}/storage`: verbs, envelope, revisions, conditions, schemas, references, the probe.

mod answers;
mod catalogue;
mod explain;
mod faults;
mod in_force;
mod locks;
mod matrix;
mod moves;
mod operations;
mod receipts;
mod retention;
mod retirement;
mod roles;
mod scopes;
mod trail;

use serde_json::{Value, json};
use testkit::{Fault, HttpStore};

use super::fixture::{HANDLER, Platform, bucket};

fn s3(settings: Value) -> Value {
    json!({"data": {"attachments": {HANDLER: {"handler": "s3", "settings": settings}}}})
}

#[tokio::test(flavor = "multi_thread")]
async fn the_life_of_a_document() {
    let platform = Platform::start().await;
    let (api, path) = (&platform.tenant.api, platform.storage());
    let absent = api.get(&path).await.expect_status(404).json();
    assert_eq!(absent["data"], json!({"cause": platform.tenant.id, "message": "bad identifier"}));
    assert_eq!(
        (&absent["error"], &absent["message"], &absent["status"]),
        (&json!("404"), &json!("bad_identifier"), &json!("error"))
    );
    for answer in [
        api.post(&path, &json!({"data": {}})).await,
        api.patch(&path, &json!({"data": {}})).await,
        api.delete(&path).await,
    ] {
        answer.expect_status(404);
    }
    let made = api.put(&path, &json!({"data": {}})).await.expect_status(201).json();
    assert_eq!(made["data"], json!({"id": platform.tenant.id}));
    let revision = made["revision"].as_str().unwrap().to_owned();
    assert!(revision.starts_with("1-") && revision.len() == 34, "{revision}");
    for key in ["request_id", "node", "timestamp", "version", "auth_token"] {
        assert!(made[key].as_str().is_some_and(|text| !text.is_empty()), "{key}");
    }
    let again = api.put(&path, &json!({"data": {}})).await.expect_status(409).json();
    assert_eq!(again["message"], "datastore_conflict");
    let read = api.get(&path).await.expect_status(200);
    assert_eq!(read.header("etag"), Some(format!("\"{revision}\"").as_str()));
    assert_eq!(read.header("content-type"), Some("application/json"));
    let gone = api.delete(&path).await.expect_status(200).data();
    assert_eq!(gone["_read_only"]["deleted"], true);
    api.get(&path).await.expect_status(404);
    api.put(&path, &json!({})).await.expect_status(400);
    api.send(api.request(reqwest::Method::PUT, &path)).await.expect_status(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn patch_merges_deeply_null_deletes_and_an_explicit_empty_object_replaces() {
    let platform = Platform::start().await;
    let (api, path) = (&platform.tenant.api, platform.storage());
    let (server, settings) = bucket();
    api.put(&path, &s3(settings)).await.expect_status(201);
    let named = api
        .patch(&path, &json!({"data": {"attachments": {HANDLER: {"name": "ours"}}, "ui_metadata": {"a": {"b": 1}}}}))
        .await;
    let named = named.expect_status(200).data();
    assert_eq!(
        (&named["attachments"][HANDLER]["name"], &named["attachments"][HANDLER]["handler"]),
        (&json!("ours"), &json!("s3"))
    );
    let cut = api.patch(&path, &json!({"data": {"ui_metadata": {"a": null}}})).await.expect_status(200).data();
    assert_eq!(cut["ui_metadata"], json!({}));
    let wiped = api.patch(&path, &json!({"data": {"attachments": {}}})).await.expect_status(200).data();
    assert_eq!(wiped["attachments"], json!({}));
    let kept = server.keys("recordings");
    assert!(kept.is_empty(), "a probe's object is removed afterwards: {kept:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn post_replaces_and_takes_back_what_get_gave() {
    let platform = Platform::start().await;
    let (api, path) = (&platform.tenant.api, platform.storage());
    let (_server, settings) = bucket();
    api.put(&path, &s3(settings)).await.expect_status(201);
    let mut document = api.get(&path).await.data();
    document["ui_metadata"] = json!({"version": "4.3"});
    let replaced = api.post(&path, &json!({"data": document})).await.expect_status(200).data();
    assert_eq!(replaced, document);
    let bare = api.post(&path, &json!({"data": {}})).await.expect_status(200).data();
    assert_eq!(bare, json!({"id": platform.tenant.id}));
}

#[tokio::test(flavor = "multi_thread")]
async fn if_match_guards_every_change() {
    let platform = Platform::start().await;
    let (api, path) = (&platform.tenant.api, platform.storage());
    api.put(&path, &json!({"data": {}})).await.expect_status(201);
    let first = api.get(&path).await.header("etag").unwrap().to_owned();
    let with = |method: reqwest::Method, tag: &str| {
        api.request(method, &path).header("if-match", tag).body(r#"{"data": {"note": 1}}"#)
    };
    api.send(with(reqwest::Method::PATCH, &first)).await.expect_status(200);
    for method in [reqwest::Method::PATCH, reqwest::Method::POST, reqwest::Method::DELETE] {
        let refused = api.send(with(method, &first)).await.expect_status(412);
        assert!(refused.body.is_empty());
    }
    api.send(with(reqwest::Method::PUT, &first)).await.expect_status(412);
    let current = api.get(&path).await.header("etag").unwrap().to_owned();
    api.send(api.request(reqwest::Method::GET, &path).header("if-none-match", &current)).await.expect_status(304);
    api.send(with(reqwest::Method::DELETE, &current)).await.expect_status(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_patches_lose_no_change() {
    let platform = Platform::start().await;
    let (api, path) = (&platform.tenant.api, platform.storage());
    api.put(&path, &json!({"data": {}})).await.expect_status(201);
    let patches = (0..8).map(|n| {
        let (api, path) = (api.clone(), path.clone());
        tokio::spawn(async move {
            loop {
                let answer = api.patch(&path, &json!({"data": {"notes": {format!("n{n}"): n}}})).await;
                match answer.status {
                    200 => return,
                    409 => {}
                    other => panic!("{other}: {}", answer.json()),
                }
            }
        })
    });
    for patch in patches.collect::<Vec<_>>() {
        patch.await.unwrap();
    }
    let notes = api.get(&path).await.data()["notes"].clone();
    assert_eq!(notes.as_object().unwrap().len(), 8, "{notes}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_14_19_faults_are_all_named_by_their_dotted_paths() {
    let platform = Platform::start().await;
    let (api, path) = (&platform.tenant.api, platform.storage());
    let document = json!({"data": {
        "attachments": {HANDLER: {"handler": "s3", "settings": {"bucket": "abc", "key": "k", "secret": "not to be repeated"}}},
        "plan": {"modb": {"types": {"fax": {"attachments": {"handler": "ffffffffffffffffffffffffffffffff"}}}}, "nonsense": {}},
    }});
    let answer = api.put(&path, &document).await.expect_status(400).json();
    assert_eq!((&answer["message"], &answer["error"]), (&json!("validation error"), &json!("400")));
    let entry = format!("attachments.{HANDLER}");
    assert_eq!(answer["data"][&entry]["not_one_schema_valid"]["message"], "failed to validate");
    assert!(answer["data"][format!("{entry}.settings.bucket")]["minLength"].is_object(), "{answer}");
    assert!(!answer.to_string().contains("not to be repeated"));
    let dangling = json!({"data": {"plan": {"modb": {"types": {"fax": {
        "attachments": {"handler": "ffffffffffffffffffffffffffffffff"}, "connection": "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee"}}}}}});
    let answer = api.put(&path, &dangling).await.expect_status(400).data();
    let fault = &answer["plan.modb.types.fax.attachments.handler"]["error"];
    assert_eq!(fault["message"], "invalid reference 'ffffffffffffffffffffffffffffffff' to attachments");
    assert!(answer["plan.modb.types.fax.connection"]["error"].is_object(), "{answer}");
    api.get(&path).await.expect_status(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_do_not_work_are_refused_with_the_providers_words() {
    let platform = Platform::start().await;
    let (api, path) = (&platform.tenant.api, platform.storage());
    let (_server, mut settings) = bucket();
    settings["secret"] = json!("wrong-secret-wrong-secret");
    let answer = api.put(&path, &s3(settings)).await.expect_status(400).json();
    let fault = &answer["data"][format!("attachments.{HANDLER}")]["invalid"];
    assert_eq!(fault["error_code"], 403, "{answer}");
    assert!(fault["message"].as_str().is_some_and(|message| !message.is_empty()), "{answer}");
    assert!(fault["error_body"].as_str().is_some_and(|body| body.contains("<Code>SignatureDoesNotMatch")), "{answer}");
    assert!(!answer.to_string().contains("wrong-secret"));
    api.get(&path).await.expect_status(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_16_a_probe_runs_for_changed_entries_only_and_no_client_can_forge_its_mark() {
    let platform = Platform::start().await;
    let (api, path) = (&platform.tenant.api, platform.storage());
    let (server, settings) = bucket();
    api.put(&path, &s3(settings.clone())).await.expect_status(201);
    let probes = || server.faults().seen().iter().filter(|seen| seen.method == "PUT").count();
    let first = probes();
    assert!(first > 0);
    api.patch(
        &path,
        &json!({"data": {"plan": {"modb": {"types": {"mailbox_message": {"attachments": {"handler": HANDLER}}}}}}}),
    )
    .await
    .expect_status(200);
    // The same settings in another order are the same settings.
    let reordered: serde_json::Map<String, Value> = settings.as_object().unwrap().clone().into_iter().rev().collect();
    api.post(&path, &s3(Value::Object(reordered))).await.expect_status(200);
    assert_eq!(probes(), first, "an unchanged entry is not tried again");
    server.stop();
    let mut forged = s3(settings.clone());
    forged["data"]["attachments"][HANDLER]["settings"]["bucket"] = json!("elsewhere");
    let sum = "00000000000000000000000000000000";
    forged["data"]["attachments"][HANDLER]["_sig"] = json!(sum);
    forged["data"]["pvt_verified"] = json!({HANDLER: sum});
    api.post(&path, &forged).await.expect_status(400);
    server.restart();
    let stored = api.get(&path).await.data();
    assert_eq!(stored["attachments"][HANDLER]["settings"]["bucket"], "recordings");
    assert!(!stored.to_string().contains("_sig"));
}

#[tokio::test(flavor = "multi_thread")]
async fn row_maintenance_verbs_allow_and_disallow_validation_overrides() {
    let platform = Platform::start().await;
    let (api, path) = (&platform.tenant.api, platform.storage());
    let (server, settings) = bucket();
    server.stop();
    let untried = format!("{path}?validate_settings=false");
    let refused = api.put(&untried, &s3(settings.clone())).await.expect_status(400).data();
    assert!(refused["validate_settings"]["forbidden"]["message"].is_string(), "{refused}");
    platform.program.sup(&["kzs_plan", "allow_validation_overrides"]);
    api.put(&untried, &s3(settings.clone())).await.expect_status(201);
    platform.program.sup(&["kzs_plan", "disallow_validation_overrides"]);
    let mut other = s3(settings);
    other["data"]["validate_settings"] = json!(false);
    other["data"]["attachments"][HANDLER]["name"] = json!("other");
    let refused = api.post(&path, &other).await.expect_status(400).data();
    assert!(refused["validate_settings"]["forbidden"].is_object(), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_reads_back_other_bytes_is_refused() {
    let platform = Platform::start().await;
    let store = HttpStore::start();
    store.faults().rule(|seen| (seen.method == "GET").then_some(Fault::CorruptAnswer));
    let document = json!({"data": {"attachments": {HANDLER: {"handler": "http", "settings": {"url": store.url(), "verb": "put"}}}}});
    let answer = platform.tenant.api.put(&platform.storage(), &document).await.expect_status(400).data();
    assert!(answer[format!("attachments.{HANDLER}")]["invalid"]["message"].is_string(), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_17_private_addresses_are_out_of_reach_unless_allowed() {
    let closed = Platform::with("[delivery]\nbackoff_min = \"20ms\"\nbackoff_max = \"200ms\"").await;
    let (server, settings) = bucket();
    let answer = closed.tenant.api.put(&closed.storage(), &s3(settings)).await.expect_status(400).data();
    assert!(answer[format!("attachments.{HANDLER}")]["invalid"].is_object(), "{answer}");
    assert!(server.faults().seen().is_empty(), "not a byte was sent");
    for url in [
        "http://127.0.0.1:9",
        "http://[::1]:9",
        "http://169.254.169.254/latest",
        "https://ignore:me@0.0.0.0",
        "http://localhost:9",
    ] {
        let document =
            json!({"data": {"attachments": {HANDLER: {"handler": "http", "settings": {"url": url, "verb": "put"}}}}});
        closed.tenant.api.put(&closed.storage(), &document).await.expect_status(400);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn masked_secrets_come_back_as_what_they_stand_for() {
    let config = format!("{}\n[api]\nmask_secrets = true", super::fixture::CONFIG);
    let platform = Platform::with(&config).await;
    let (api, path) = (&platform.tenant.api, platform.storage());
    let (server, settings) = bucket();
    let shown = api.put(&path, &s3(settings)).await.expect_status(201).data();
    assert_eq!(shown["attachments"][HANDLER]["settings"]["secret"], "********");
    assert!(!shown.to_string().contains(server.secret_key()));
    let mut back = api.get(&path).await.data();
    back["attachments"][HANDLER]["name"] = json!("renamed");
    api.post(&path, &json!({"data": back})).await.expect_status(200);
    let patch = json!({"data": {"attachments": {HANDLER: {"settings": {"host": "evil.example"}}}}});
    let refused = api.patch(&path, &patch).await.expect_status(400).data();
    assert!(refused[format!("attachments.{HANDLER}.settings.secret")].is_object(), "{refused}");
    back["attachments"][HANDLER]["settings"]["host"] = json!("evil.example");
    let refused = api.post(&path, &json!({"data": back})).await.expect_status(400).data();
    assert!(refused[format!("attachments.{HANDLER}.settings.secret")].is_object(), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn row_maintenance_verbs_reset_reload_and_flush() {
    let platform = Platform::start().await;
    let reset = || platform.program.sup_output(&["kzs_plan", "reset_system_dataplan"]).status.code();
    assert_eq!(reset(), Some(0), "also where there is none");
    platform.master.api.put("/v2/storage", &json!({"data": {"note": 1}})).await.expect_status(201);
    assert_eq!(reset(), Some(0));
    let read = platform.master.api.get("/v2/storage").await.expect_status(200).json();
    assert_eq!((read["data"].get("note"), read.get("revision")), (None, None));
    assert_eq!(platform.program.sup_output(&["kzs_plan", "reload"]).status.code(), Some(0));
}

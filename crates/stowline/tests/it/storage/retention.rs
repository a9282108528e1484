//! What is older than the plan keeps it is removed, and nothing else.

use connections::Change;
use serde_json::{Value, json};
use stowline::app::{months, retention};
use testkit::VOICEMAIL_WAV;

use crate::fixture::{bucket, until};
use crate::inside::{DAY, Inside, now};

/// Rounds run when a test says so.
const BY_HAND: &str = "[retention]\nsweep_every = \"0s\"\n";
const RECORDING: &str = "call_recording";

async fn round(inside: &Inside) -> u64 {
    retention::round(inside.app()).await.unwrap()
}

/// Says of a document that it came here so many days ago.
async fn came(inside: &Inside, doc_type: &str, id: &str, days: i64) {
    let document = months::find(inside.app(), &inside.account, doc_type, id).await.unwrap();
    let change = move |document: &connections::Document| {
        let mut body = document.body.clone();
        body.insert("pvt_created".into(), (now() - days * DAY).into());
        Ok(Change::Write(body))
    };
    inside.app().documents.update(&document.database, &document.id, change).await.unwrap();
}

/// A recording of so many days ago.
async fn recording(inside: &Inside, days: i64) -> String {
    let said = json!({"start": now() - days * DAY, "call_id": format!("call-{days}")});
    let id = inside.recording(said, "audio/wav", VOICEMAIL_WAV).await.id.to_string();
    inside.until_delivered().await;
    came(inside, RECORDING, &id, days).await;
    id
}

async fn leg(inside: &Inside, days: i64) -> String {
    let said = json!({"call_id": format!("leg-{days}"), "timestamp": now() - days * DAY, "duration_seconds": 5});
    let id = inside.leg(said).await.leg.id.to_string();
    came(inside, "cdr", &id, days).await;
    id
}

/// A message of so many days ago, with audio; the path of its box, and its id.
async fn message(inside: &Inside, days: i64) -> (String, String) {
    let boxes = inside.path("vmboxes");
    let made = inside.api.put(&boxes, &json!({"data": {"name": "Dana", "mailbox": days.to_string()}})).await;
    let mailbox = format!("{boxes}/{}", made.expect_status(201).data()["id"].as_str().unwrap());
    let about = json!({"data": {"timestamp": now() - days * DAY}});
    let path = format!("{mailbox}/messages");
    let left = inside.api.multipart(reqwest::Method::PUT, &path, &about, "v.wav", "audio/wav", VOICEMAIL_WAV).await;
    let id = left.expect_status(201).data()["media_id"].as_str().unwrap().to_owned();
    inside.until_delivered().await;
    came(inside, "mailbox_message", &id, days).await;
    (mailbox, id)
}

/// Says how long things are kept, by type.
async fn keep(inside: &Inside, days: Value) {
    let types = days.as_object().unwrap().iter();
    let types: serde_json::Map<_, _> =
        types.map(|(key, days)| (key.clone(), json!({ "retention_days": days }))).collect();
    let document = json!({"data": {"plan": {"modb": {"types": types}}}});
    if inside.api.patch(&inside.path("storage"), &document).await.status == 404 {
        inside.api.put(&inside.path("storage"), &document).await.expect_status(201);
    }
}

async fn there(inside: &Inside, doc_type: &str, id: &str) -> bool {
    months::find(inside.app(), &inside.account, doc_type, id).await.is_ok()
}

/// Files with audio that lie here.
fn files(inside: &Inside) -> usize {
    inside.app().kept.files().unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_23_what_is_older_than_its_type_is_kept_is_removed_and_nothing_else() {
    let inside = Inside::with(BY_HAND).await;
    let (old, young) = (recording(&inside, 91).await, recording(&inside, 89).await);
    let (old_leg, young_leg) = (leg(&inside, 31).await, leg(&inside, 29).await);
    let (_, letter) = message(&inside, 80).await;
    // Of a switch whose clock is wrong, or out of an archive.
    let late = recording(&inside, 5000).await;
    came(&inside, RECORDING, &late, 1).await;
    assert_eq!(round(&inside).await, 0, "unless somebody says so everything is kept");
    keep(&inside, json!({RECORDING: 90, "cdr": 30, "mailbox_message": 0})).await;
    assert_eq!(files(&inside), 4);
    assert_eq!(round(&inside).await, 2);
    assert_eq!(round(&inside).await, 0);
    assert!(!there(&inside, RECORDING, &old).await && !there(&inside, "cdr", &old_leg).await);
    for (doc_type, id) in [(RECORDING, &young), (RECORDING, &late), ("cdr", &young_leg), ("mailbox_message", &letter)] {
        assert!(there(&inside, doc_type, id).await, "{doc_type} {id}");
    }
    until("its audio is gone", async || files(&inside) == 3).await;
    inside.api.get(&inside.path(&format!("recordings/{old}"))).await.expect_status(404);
    // A change is in force at once, in both directions.
    keep(&inside, json!({RECORDING: 0, "mailbox_message": 79})).await;
    assert_eq!(round(&inside).await, 1);
    assert!(!there(&inside, "mailbox_message", &letter).await && there(&inside, RECORDING, &young).await);
    let rows = inside.api.get(&inside.path("storage/audit?filter_outcome=removed")).await.expect_status(200).data();
    assert_eq!(rows[0]["removed"], json!({RECORDING: 1, "cdr": 1, "mailbox_message": 1}), "{rows}");
    assert_eq!((rows[0]["caller"].clone(), rows.as_array().map(Vec::len)), (json!({"by": "retention"}), Some(1)));
    let metrics = inside.api.get("/metrics").await;
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    assert!(metrics.contains(r#"stowline_retention_removed_total{type="call_recording"} 1"#), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_23_an_object_goes_with_its_age_where_the_plan_says_delete_and_else_stays() {
    for (params, left) in [(json!({}), 1), (json!({"delete": true}), 0), (json!({"delete": true, "stub": true}), 0)] {
        let inside = Inside::with(BY_HAND).await;
        let (server, settings) = bucket();
        inside.route(RECORDING, settings, params.clone()).await;
        let id = recording(&inside, 3).await;
        keep(&inside, json!({RECORDING: 2})).await;
        assert_eq!((server.objects("recordings").len(), round(&inside).await), (1, 1), "{params}");
        inside.until_delivered().await;
        until("the object is where it shall be", async || server.objects("recordings").len() == left).await;
        until("nothing is left here", async || files(&inside) == 0).await;
        assert!(!there(&inside, RECORDING, &id).await);
        assert!(inside.app().journal.reservations().await.unwrap().is_empty(), "{params}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_softly_goes_with_what_was_kept_of_it() {
    let inside = Inside::with(BY_HAND).await;
    let (mailbox, id) = message(&inside, 3).await;
    inside.api.delete(&format!("{mailbox}/messages/{id}")).await.expect_status(200);
    assert_eq!(files(&inside), 1, "a deleted message keeps its audio");
    keep(&inside, json!({"mailbox_message": 4})).await;
    assert_eq!((round(&inside).await, files(&inside)), (0, 1));
    keep(&inside, json!({"mailbox_message": 2})).await;
    assert_eq!(round(&inside).await, 1);
    until("its audio is gone", async || files(&inside) == 0).await;
    let month = plan::Database::Modb(inside.account.id.clone(), plan::Month::parse(&id[..6]).unwrap());
    for deleted in [false, true] {
        let query = connections::Query { deleted, ..connections::Query::new(month.clone(), "mailbox_message") };
        assert!(inside.app().documents.list(query).await.unwrap().documents.is_empty(), "not a row is left");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_on_its_way_to_where_it_may_stay_is_waited_for() {
    for (params, waits) in [(json!({}), true), (json!({"delete": true}), false)] {
        let inside = Inside::with(BY_HAND).await;
        let (server, settings) = bucket();
        inside.route(RECORDING, settings, params.clone()).await;
        keep(&inside, json!({RECORDING: 2})).await;
        server.stop();
        let said = json!({"start": now() - 3 * DAY});
        let id = inside.recording(said, "audio/wav", VOICEMAIL_WAV).await.id.to_string();
        came(&inside, RECORDING, &id, 3).await;
        assert_eq!(round(&inside).await, u64::from(!waits), "{params}");
        server.restart();
        inside.until_delivered().await;
        assert_eq!(round(&inside).await, u64::from(waits), "{params}");
        inside.until_delivered().await;
        assert_eq!(server.objects("recordings").len(), usize::from(waits), "{params}");
        until("nothing waits in the spool", async || inside.app().spool.files().unwrap().is_empty()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_is_locked_explained_and_foretold_as_any_key_and_is_not_a_users_to_say() {
    let inside = Inside::with(BY_HAND).await;
    let system = json!({"data": {"plan": {"modb": {"types": {RECORDING: {"retention_days": 365}}}},
        "locks": ["plan.modb.types.call_recording.retention_days"]}});
    inside.master.put("/v2/storage", &system).await.expect_status(201);
    let storage = inside.path("storage");
    let shorter = json!({"data": {"plan": {"modb": {"types": {RECORDING: {"retention_days": 1}}}}}});
    let refused = inside.api.put(&storage, &shorter).await.expect_status(400).data();
    let path = "plan.modb.types.call_recording.retention_days";
    assert_eq!(refused[path]["locked"]["cause"], "system", "{refused}");
    let found = inside.api.get(&format!("{storage}/explain?doc_type={RECORDING}")).await.expect_status(200).data();
    let decided = found["decisions"].as_array().unwrap().iter().find(|found| found["field"] == "retention_days");
    let locked = json!({"level": "system", "lock": path});
    assert_eq!(
        decided,
        Some(&json!({"field": "retention_days", "value": 365, "level": "system", "path": path, "locked": locked}))
    );
    assert_eq!(found["route"]["retention_days"], 365);
    let of_faxes = json!({"data": {"plan": {"modb": {"types": {"fax": {"retention_days": 30}}}}}});
    let told = inside.api.post(&format!("{storage}/dry_run"), &of_faxes).await.expect_status(200).data();
    let row = told["routes"].as_array().unwrap().iter().find(|row| row["changed"] == true).unwrap();
    assert_eq!((&row["doc_type"], &row["after"]["retention_days"]), (&json!("fax"), &json!(30)), "{told}");
    let (user, id) = inside.user("pat").await;
    let refused = user.put(&inside.path(&format!("users/{id}/storage")), &of_faxes).await.expect_status(400).data();
    assert!(refused["plan.modb.types.fax.retention_days"]["forbidden"]["message"].is_string(), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_tells_how_many_documents_would_be_removed_and_that_many_are() {
    let inside = Inside::with(BY_HAND).await;
    recording(&inside, 400).await;
    recording(&inside, 91).await;
    recording(&inside, 5).await;
    let late = recording(&inside, 300).await;
    came(&inside, RECORDING, &late, 1).await;
    leg(&inside, 40).await;
    // What was deleted and still lies here goes too.
    let (mailbox, letter) = message(&inside, 60).await;
    inside.api.delete(&format!("{mailbox}/messages/{letter}")).await.expect_status(200);
    let dry_run = inside.path("storage/dry_run");
    let told = async |plan: Value| {
        let asked = json!({"data": {"plan": {"modb": plan}}});
        inside.api.post(&dry_run, &asked).await.expect_status(200).data()["removes"].clone()
    };
    let by_type = |days: i64| json!({"types": {RECORDING: {"retention_days": days}}});
    assert_eq!(told(json!({})).await, json!({}));
    assert_eq!(told(by_type(500)).await, json!({}));
    assert_eq!(told(by_type(90)).await, json!({RECORDING: 2}));
    assert_eq!(told(json!({"retention_days": 500})).await, json!({}));
    let all = json!({"retention_days": 2});
    let expected = json!({RECORDING: 3, "cdr": 1, "mailbox_message": 1});
    assert_eq!(told(all.clone()).await, expected);
    // Nothing was removed by asking, nor does what is not valid promise anything.
    assert_eq!(round(&inside).await, 0);
    assert_eq!(told(json!({"retention_days": -1})).await, Value::Null);
    // What the system says counts as well as the account's own.
    let system = json!({"data": {"plan": {"modb": {"types": {"cdr": {"retention_days": 30}}}}}});
    let of_system = inside.master.post("/v2/storage/dry_run", &system).await.expect_status(200).data();
    assert_eq!(of_system.get("removes"), None, "of all that is below it nobody counts");
    inside.master.put("/v2/storage", &system).await.expect_status(201);
    assert_eq!(told(json!({})).await, json!({"cdr": 1}));
    assert_eq!(told(all.clone()).await, expected);
    inside.api.put(&inside.path("storage"), &json!({"data": {"plan": {"modb": all}}})).await.expect_status(201);
    assert_eq!(round(&inside).await, 5);
    assert_eq!(told(json!({"retention_days": 2})).await, json!({}));
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_plan_that_is_linked_to_is_gone_nothing_is_removed() {
    let inside = Inside::with(BY_HAND).await;
    let id = recording(&inside, 3).await;
    let system = json!({"data": {"plan": {"modb": {"retention_days": 2}}}});
    inside.master.put("/v2/storage", &system).await.expect_status(201);
    let gold = json!({"data": {"id": "gold", "plan": {"modb": {"retention_days": 0}}}});
    inside.master.put("/v2/storage/plans", &gold).await.expect_status(201);
    inside.api.put(&inside.path("storage"), &json!({"data": {"plan_id": "gold"}})).await.expect_status(201);
    assert_eq!(round(&inside).await, 0);
    inside.master.delete("/v2/storage/plans/gold").await.expect_status(200);
    assert_eq!(round(&inside).await, 0);
    inside.api.patch(&inside.path("storage"), &json!({"data": {"plan_id": null}})).await.expect_status(200);
    assert_eq!(round(&inside).await, 1);
    assert!(!there(&inside, RECORDING, &id).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn rounds_run_by_themselves_and_after_a_start_too() {
    let inside = Inside::with("[retention]\nsweep_every = \"20ms\"\nper_second = 1000\n").await;
    keep(&inside, json!({RECORDING: 2})).await;
    let id = recording(&inside, 3).await;
    until("it is removed", async || !there(&inside, RECORDING, &id).await).await;
    keep(&inside, json!({RECORDING: 0})).await;
    let mut many = Vec::new();
    for _ in 0..3 {
        many.push(recording(&inside, 3).await);
    }
    let inside = inside.again().await;
    assert!(there(&inside, RECORDING, &many[0]).await);
    keep(&inside, json!({RECORDING: 2})).await;
    let inside = inside.again().await;
    for id in many {
        until("it is removed", async || !there(&inside, RECORDING, &id).await).await;
    }
}

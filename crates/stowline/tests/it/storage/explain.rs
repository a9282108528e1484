//! Why something goes where it goes, and what a document would change.

use serde_json::{Value, json};
use testkit::S3Server;

use crate::levels::{Levels, entry, voicemail_to};

const UPPER: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const LOWER: &str = "dddddddddddddddddddddddddddddddd";

fn decided(explanation: &Value, field: &str) -> Value {
    let decisions = explanation["decisions"].as_array().unwrap();
    decisions.iter().find(|decision| decision["field"] == field).cloned().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_answers_the_route_and_the_level_that_decided_each_field() {
    let levels = Levels::start().await;
    let server = S3Server::start();
    let own = Levels::storage(&levels.customer, "");
    let plan = voicemail_to(UPPER);
    let system = json!({"attachments": {UPPER: entry(&server, "systems")}, "plan": plan, "locks": ["plan.modb.types.mailbox_message.attachments.handler"]});
    levels.master.put("/v2/storage", &json!({"data": system})).await.expect_status(201);
    let stub = json!({"modb": {"types": {"mailbox_message": {"attachments": {"stub": true, "params": {"folder_path": "ours"}}}}}});
    let account = json!({"attachments": {LOWER: entry(&server, "customers")}, "plan": stub});
    levels.admin.api.put(&own, &json!({"data": account})).await.expect_status(201);
    let asked = format!("{own}/explain?db=modb&doc_type=mailbox_message&owner={}", levels.user.id);
    let answer = levels.admin.api.get(&asked).await.expect_status(200);
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    assert!(!text.contains(server.secret_key()) && !text.contains("systems\",\"key"), "{text}");
    let found = answer.data();
    assert_eq!((&found["section"], &found["classification"]), (&json!("modb"), &json!("modb")));
    let attachment = &found["route"]["attachment"];
    assert_eq!((&attachment["handler_id"], &attachment["level"]), (&json!(UPPER), &json!("system")));
    let handler = decided(&found, "attachments.handler");
    assert_eq!(handler["level"], "system");
    assert_eq!(
        handler["locked"],
        json!({"level": "system", "lock": "plan.modb.types.mailbox_message.attachments.handler"})
    );
    assert_eq!(decided(&found, "attachments.stub")["level"], "account");
    assert_eq!(decided(&found, "attachments.stub")["path"], "plan.modb.types.mailbox_message.attachments.stub");
    assert_eq!(decided(&found, "attachments.params.folder_path")["level"], "account");
    assert_eq!(decided(&found, "attachments.delete")["level"], "built_in");
    assert_eq!(decided(&found, "connection")["level"], "built_in");
    assert_eq!(found["layers"], json!(["built_in", "system", "account"]));
    assert_eq!(
        found["handlers"],
        json!([
            {"id": UPPER, "handler": "s3", "name": "systems", "level": "system"},
            {"id": LOWER, "handler": "s3", "name": "customers", "level": "account"},
        ])
    );
    // Who asks about what is not theirs, or about nothing.
    let other = format!("{own}/explain?owner={}", levels.other_user.id);
    levels.user.api.get(&other).await.expect_status(403);
    levels.user.api.get(&asked).await.expect_status(200);
    let month = plan::Database::Account(levels.reseller.id.clone()).name();
    levels.admin.api.get(&format!("{own}/explain?db={}", testkit::Api::segment(&month))).await.expect_status(400);
    levels.admin.api.get(&format!("{own}/explain?db=account%2Fxx")).await.expect_status(400);
    let faxes = levels.master.get("/v2/storage/explain?db=faxes&doc_type=fax").await.expect_status(200).data();
    assert_eq!(faxes["section"], "system");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_23_dry_run_answers_what_a_document_would_change_and_writes_and_tries_nothing() {
    let levels = Levels::start().await;
    let server = S3Server::start();
    let own = Levels::storage(&levels.customer, "");
    let run = format!("{own}/dry_run");
    let first = json!({"attachments": {LOWER: entry(&server, "customers")}, "plan": voicemail_to(LOWER)});
    let asked = levels.admin.api.post(&run, &json!({"data": first})).await.expect_status(200).data();
    assert_eq!((&asked["valid"], &asked["creates"], &asked["probed"]), (&json!(true), &json!(true), &json!(false)));
    assert_eq!(asked["changed"], 1);
    let row = asked["routes"].as_array().unwrap().iter().find(|row| row["changed"] == true).unwrap();
    assert_eq!((&row["class"], &row["doc_type"]), (&json!("modb"), &json!("mailbox_message")));
    assert_eq!(
        (&row["before"]["attachment"], &row["after"]["attachment"]["handler_id"]),
        (&Value::Null, &json!(LOWER))
    );
    assert!(server.faults().seen().is_empty(), "nothing was tried");
    levels.admin.api.get(&own).await.expect_status(404);
    levels.admin.api.put(&own, &json!({"data": first})).await.expect_status(201);
    let revision = levels.admin.api.get(&own).await.header("etag").unwrap().to_owned();
    let tried = server.faults().seen().len();
    // Another host: the old entry would be retired. As a patch, and with a probe that fails.
    let patch = json!({"data": {"attachments": {LOWER: {"settings": {"port": 9}}}}});
    let asked = levels.admin.api.post(&format!("{run}?patch=true"), &patch).await.expect_status(200).data();
    assert_eq!((&asked["valid"], &asked["retired"], &asked["changed"]), (&json!(true), &json!([LOWER]), &json!(0)));
    let asked = levels.admin.api.post(&format!("{run}?patch=true&probe=true"), &patch).await.expect_status(200).data();
    assert_eq!((&asked["valid"], &asked["probed"]), (&json!(false), &json!(true)));
    assert!(asked["violations"][format!("attachments.{LOWER}")]["invalid"].is_object(), "{asked}");
    // What is wrong is said and the routes are still compared.
    let wrong = json!({"data": {"plan": voicemail_to("ffffffffffffffffffffffffffffffff")}});
    let asked = levels.admin.api.post(&run, &wrong).await.expect_status(200).data();
    assert_eq!(asked["valid"], false);
    let path = "plan.modb.types.mailbox_message.attachments.handler";
    assert!(asked["violations"][path]["error"].is_object(), "{asked}");
    assert_eq!(asked["changed"], 1);
    assert!(!asked.to_string().contains(server.secret_key()));
    assert_eq!(server.faults().seen().len(), tried, "the working entry was not tried again");
    assert_eq!(levels.admin.api.get(&own).await.header("etag"), Some(revision.as_str()));
    levels.user.api.post(&run, &wrong).await.expect_status(403);
    levels.admin.api.post(&run, &json!({"data": []})).await.expect_status(400);
}

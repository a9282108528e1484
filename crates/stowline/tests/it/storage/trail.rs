//! What can be looked up afterwards: what handlers' destinations answered, what is stored where, who changed or tried what.

use serde_json::{Value, json};
use testkit::{Api, Fault, S3Server, VOICEMAIL_WAV};

use crate::fixture::until;
use crate::levels::{Levels, entry, voicemail_to};

const OWN: &str = "dddddddddddddddddddddddddddddddd";

async fn mailbox(levels: &Levels) -> String {
    let path = format!("/v2/accounts/{}/vmboxes", levels.customer.id);
    let made = levels.admin.api.put(&path, &json!({"data": {"name": "Dana", "mailbox": "1001"}})).await;
    format!("{path}/{}", made.expect_status(201).data()["id"].as_str().unwrap())
}

async fn voicemail(api: &Api, mailbox: &str) {
    let path = format!("{mailbox}/messages");
    let made =
        api.multipart(reqwest::Method::PUT, &path, &json!({"data": {}}), "v.wav", "audio/wav", VOICEMAIL_WAV).await;
    made.expect_status(201);
}

async fn rows(api: &Api, path: &str) -> Vec<Value> {
    api.get(path).await.expect_status(200).data().as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_5_att_handlers_errors_in_three_forms_and_usage_by_handler_and_type() {
    let levels = Levels::start().await;
    let (api, own) = (&levels.admin.api, Levels::storage(&levels.customer, ""));
    let server = S3Server::start();
    let document = json!({"attachments": {OWN: entry(&server, "recordings")}, "plan": voicemail_to(OWN)});
    api.put(&own, &json!({"data": document})).await.expect_status(201);
    let errors = format!("/v2/accounts/{}/att_handlers_errors", levels.customer.id);
    assert_eq!(rows(api, &errors).await, [json!(null); 0]);
    let refusal =
        Fault::status(503).with_header("x-secret-header", "hunter2").with_body("<Error><Code>SlowDown</Code></Error>");
    server.faults().rule(move |seen| (seen.method == "PUT").then(|| refusal.clone()));
    let mailbox = mailbox(&levels).await;
    voicemail(api, &mailbox).await;
    until("an error is noted", async || !rows(api, &errors).await.is_empty()).await;
    let row = rows(api, &errors).await.remove(0);
    assert_eq!((&row["resp_code"], &row["handler_id"]), (&json!(503), &json!(OWN)));
    assert!(row["attachment_name"].is_string() && row["reason"].is_string() && row["created"].is_i64(), "{row}");
    let id = row["id"].as_str().unwrap();
    let of_handler = rows(api, &format!("{errors}/handler/{OWN}")).await;
    assert_eq!(of_handler[0]["id"], id);
    assert_eq!(rows(api, &format!("{errors}/handler/{}", "e".repeat(32))).await, [json!(null); 0]);
    let whole = api.get(&format!("{errors}/{id}")).await.expect_status(200).data();
    assert!(whole["resp_body"].as_str().unwrap().contains("SlowDown"), "{whole}");
    assert!(whole["req_url"].as_str().unwrap().contains(&server.port().to_string()), "{whole}");
    assert_eq!((&whole["db_name"].is_string(), &whole["options"]["doc_type"]), (&true, &json!("mailbox_message")));
    assert_eq!(whole["handler_props"]["bucket"], "recordings");
    assert_eq!(whole["handler_props"]["secret"], "********");
    for secret in [server.secret_key(), server.access_key(), "hunter2"] {
        assert!(!whole.to_string().contains(secret), "{secret}: {whole}");
    }
    api.get(&format!("{errors}/{}", id.replace('-', "-f"))).await.expect_status(404);
    api.get(&format!("{errors}/202611-{}", "0".repeat(32))).await.expect_status(404);
    levels.user.api.get(&errors).await.expect_status(403);
    levels.stranger.get(&format!("{errors}/{id}")).await.expect_status(403);
    let usage = api.get(&format!("{own}/usage")).await.expect_status(200).data();
    let size = VOICEMAIL_WAV.len();
    assert_eq!(usage["total"], json!({"attachments": 1, "bytes": size}));
    assert_eq!(usage["handlers"], json!([{"handler": "pending", "attachments": 1, "bytes": size}]));
    server.faults().heal();
    api.post(&format!("{own}/deliveries"), &json!({"data": {"action": "retry"}})).await.expect_status(200);
    until("it is delivered", async || rows(api, &format!("{own}/deliveries")).await.is_empty()).await;
    api.post(&own, &json!({"data": {}})).await.expect_status(200);
    voicemail(api, &mailbox).await;
    let usage = api.get(&format!("{own}/usage")).await.expect_status(200).data();
    assert_eq!(
        usage["handlers"],
        json!([
            {"handler": "database", "attachments": 1, "bytes": size},
            {"handler": "s3", "handler_id": OWN, "attachments": 1, "bytes": size},
        ])
    );
    assert_eq!(usage["types"], json!([{"doc_type": "mailbox_message", "attachments": 2, "bytes": 2 * size}]));
    let of_s3 = &usage["usage"][1];
    assert_eq!((&of_s3["doc_type"], &of_s3["content_type"]), (&json!("mailbox_message"), &json!("audio/wav")));
    let other = Levels::storage(&levels.reseller, "/usage");
    assert_eq!(levels.reseller_admin.get(&other).await.expect_status(200).data()["total"]["attachments"], 0);
    levels.user.api.get(&format!("{own}/usage")).await.expect_status(403);
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_23_audit_tells_every_change_and_every_refusal_and_no_value() {
    let levels = Levels::start().await;
    let (api, own) = (&levels.admin.api, Levels::storage(&levels.customer, ""));
    let audit = format!("{own}/audit");
    let server = S3Server::start();
    let document = json!({"attachments": {OWN: entry(&server, "recordings")}, "note": "v4lue"});
    let made = api.put(&own, &json!({"data": document})).await.expect_status(201).json();
    api.put(&own, &json!({"data": document})).await.expect_status(409);
    let broken =
        json!({"data": {"attachments": {OWN: {"handler": "s3", "settings": {"bucket": "x", "secret": "v4lue"}}}}});
    api.patch(&own, &broken).await.expect_status(400);
    for _ in 0..3 {
        levels.user.api.patch(&own, &json!({"data": {"note": "v4lue"}})).await.expect_status(403);
        levels.stranger.get(&own).await.expect_status(403);
    }
    levels.user.api.put(&levels.user_storage(&levels.user, ""), &json!({"data": {}})).await.expect_status(201);
    levels.api_key.delete(&own).await.expect_status(200);
    // What only asks is no deed.
    api.get(&audit).await.expect_status(200);
    api.post(&format!("{own}/dry_run"), &json!({"data": {}})).await.expect_status(200);
    let mut entries = rows(api, &format!("{audit}?paginate=false")).await;
    let text = json!(entries).to_string();
    for value in ["v4lue", server.secret_key(), server.access_key()] {
        assert!(!text.contains(value), "{value}: {text}");
    }
    entries.sort_by_key(|entry| format!("{} {} {}", entry["verb"], entry["status"], entry["path"]));
    let told: Vec<String> = entries
        .iter()
        .map(|entry| {
            format!("{} {} {}", entry["verb"].as_str().unwrap(), entry["status"], entry["outcome"].as_str().unwrap())
        })
        .collect();
    // A refusal that is repeated within a minute is told once; the minute may turn in between.
    let mut once = told.clone();
    once.dedup();
    assert_eq!(
        once,
        [
            "DELETE 200 changed",
            "GET 403 refused",
            "PATCH 400 refused",
            "PATCH 403 refused",
            "PUT 200 changed",
            "PUT 409 refused"
        ],
        "{told:?}"
    );
    let find = |what: &str| entries[told.iter().position(|told| told == what).unwrap()].clone();
    let changes: Vec<&Value> = entries.iter().filter(|entry| entry["revision"] == made["revision"]).collect();
    assert_eq!(changes.len(), 1, "{entries:?}");
    assert_eq!(changes[0]["request_id"], made["request_id"]);
    assert_eq!(
        changes[0]["caller"],
        json!({"account_id": levels.customer.id.as_ref(), "user_id": levels.admin.id, "by": "user"})
    );
    assert!(changes[0]["paths"].as_array().unwrap().contains(&json!(format!("attachments.{OWN}.settings.secret"))));
    let refused = find("PATCH 400 refused");
    assert_eq!(refused["faults"][format!("attachments.{OWN}.settings.bucket")], json!(["minLength"]), "{refused}");
    assert_eq!(find("DELETE 200 changed")["caller"]["by"], "api_key");
    assert_eq!(find("PUT 409 refused")["message"], "datastore_conflict");
    assert_eq!(find("GET 403 refused")["caller"]["account_id"], levels.stranger_account.id.as_ref());
    levels.user.api.get(&audit).await.expect_status(403);
    // The system's.
    levels.master.put("/v2/storage", &json!({"data": {}})).await.expect_status(201);
    api.get("/v2/storage").await.expect_status(403);
    let system = rows(&levels.master, "/v2/storage/audit").await;
    let mut told: Vec<String> =
        system.iter().map(|entry| format!("{} {}", entry["verb"].as_str().unwrap(), entry["status"])).collect();
    told.sort();
    assert_eq!(told, ["GET 403", "PUT 200"]);
    api.get("/v2/storage/audit").await.expect_status(403);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_shows_no_token_is_in_the_trail_of_the_account_that_they_name_once() {
    let levels = Levels::start().await;
    let own = Levels::storage(&levels.customer, "");
    let absent = "0".repeat(32);
    let strangers = [levels.master.anonymous(), levels.master.with_token("no.token.ofours")];
    for _ in 0..5 {
        for nobody in &strangers {
            nobody.get(&format!("/v2/accounts/{absent}/storage")).await.expect_status(401);
            nobody.get("/v2/storage/plans").await.expect_status(401);
            nobody.patch(&format!("{own}/plans/x"), &json!({"data": {"note": "v4lue"}})).await.expect_status(401);
            nobody.get(&own).await.expect_status(401);
            nobody.get(&format!("/v2/accounts/{}", levels.customer.id)).await.expect_status(401);
        }
    }
    let refusals = async |api: &Api, path: &str| {
        let all = rows(api, path).await;
        all.into_iter().filter(|entry| entry["status"] == 401).collect::<Vec<Value>>()
    };
    let audit = format!("{own}/audit");
    until("it is noted", async || !refusals(&levels.admin.api, &audit).await.is_empty()).await;
    until("that of the system is", async || !refusals(&levels.master, "/v2/storage/audit").await.is_empty()).await;
    let noted = refusals(&levels.admin.api, &audit).await;
    // The ten minutes may turn in between.
    assert!(noted.len() <= 2, "{noted:?}");
    let first = noted.last().unwrap();
    assert_eq!((&first["outcome"], &first["message"]), (&json!("refused"), &json!("invalid_credentials")));
    assert_eq!(first["caller"], json!({"by": "nobody", "address": "127.0.0.1"}));
    assert!(first["path"].as_str().unwrap().contains("/storage") && first["request_id"].is_string(), "{first}");
    assert!(!json!(noted).to_string().contains("v4lue"));
    let system = refusals(&levels.master, "/v2/storage/audit").await;
    assert!(system.len() <= 2 && system.iter().all(|entry| entry["path"] == "storage/plans"), "{system:?}");
}

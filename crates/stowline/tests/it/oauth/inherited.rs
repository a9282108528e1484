//! Handlers of a higher level are let in by that level's consent, for accounts that know neither.

use serde_json::json;
use testkit::{Api, GoogleDrive};

use super::{beside, consent, health};
use crate::fixture::{HANDLER, Platform, until};

/// The system's drive for everybody's voicemail; its consent.
async fn for_everybody(platform: &Platform, drive: &GoogleDrive) -> String {
    let given = consent(&platform.master.api, "/v2/storage", "google", "name=House").await;
    let settings = json!({"oauth_doc_id": given, "base_url": drive.url()});
    let system = json!({"data": {
        "attachments": {HANDLER: {"handler": "google_drive", "name": "house", "settings": settings}},
        "plan": {"modb": {"types": {"mailbox_message": {"attachments": {"handler": HANDLER}}}}},
    }});
    platform.master.api.put("/v2/storage", &system).await.expect_status(201);
    given
}

#[tokio::test(flavor = "multi_thread")]
async fn the_systems_drive_serves_an_account_and_wakes_when_it_is_opened_again() {
    let drive = GoogleDrive::start();
    let (platform, _) = beside(&drive).await;
    let given = for_everybody(&platform, &drive).await;
    let mailbox = platform.mailbox().await;
    platform.voicemail(&mailbox).await;
    platform.until_delivered().await;
    assert_eq!(drive.files().len(), 1);
    let row = health(&platform).await;
    assert_eq!((&row["state"], &row["level"]), (&json!("ok"), &json!("system")), "{row}");
    assert!(row.get("oauth_doc_id").is_none() && row.get("name").is_none(), "not the account's to know: {row}");
    drive.tokens().revoke();
    platform.voicemail(&mailbox).await;
    until("its consent is missed", async || health(&platform).await["state"] == "consent_needed").await;
    until("it is parked", async || platform.deliveries().await.iter().all(|row| row["state"] == "parked")).await;
    let again = consent(&platform.master.api, "/v2/storage", "google", &format!("oauth_doc_id={given}")).await;
    assert_eq!(again, given);
    platform.until_delivered().await;
    assert_eq!(drive.files().len(), 2);
    assert_eq!(health(&platform).await["state"], "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resellers_plan_is_let_in_by_the_resellers_consent() {
    let drive = GoogleDrive::start();
    let (platform, _) = beside(&drive).await;
    let master = &platform.master.api;
    let reseller = master.put("/v2/accounts", &json!({"data": {"name": "Reseller"}})).await.expect_status(201).data();
    let reseller = reseller["id"].as_str().unwrap().to_owned();
    master.put(&format!("/v2/accounts/{reseller}/reseller"), &json!({"data": {}})).await.expect_status(201);
    crate::fixture::user_of(master, &reseller, "boss", "admin").await;
    let boss = crate::fixture::login(master, "Reseller", "boss").await;
    let customer = boss.put("/v2/accounts", &json!({"data": {"name": "Customer"}})).await.expect_status(201).data();
    let customer = customer["id"].as_str().unwrap().to_owned();
    crate::fixture::user_of(&boss, &customer, "admin", "admin").await;
    let admin = crate::fixture::login(master, "Customer", "admin").await;
    let storage = format!("/v2/accounts/{reseller}/storage");
    let given = consent(&boss, &storage, "google", "").await;
    let plan = json!({"data": {
        "id": "gold",
        "attachments": {HANDLER: {"handler": "google_drive", "settings": {"oauth_doc_id": given, "base_url": drive.url()}}},
        "plan": {"modb": {"types": {"mailbox_message": {"attachments": {"handler": HANDLER}}}}},
    }});
    boss.put(&format!("{storage}/plans"), &plan).await.expect_status(201);
    let own = format!("/v2/accounts/{customer}/storage");
    admin.put(&own, &json!({"data": {"plan_id": "gold"}})).await.expect_status(201);
    let boxes = format!("/v2/accounts/{customer}/vmboxes");
    let made = admin.put(&boxes, &json!({"data": {"name": "Dana", "mailbox": "1001"}})).await.expect_status(201).data();
    let path = format!("{boxes}/{}/messages", made["id"].as_str().unwrap());
    let send = async |api: &Api| {
        let about = json!({"data": {"caller_id_number": "+14155550123"}});
        let audio = testkit::VOICEMAIL_WAV;
        api.multipart(reqwest::Method::PUT, &path, &about, "v.wav", "audio/wav", audio).await.expect_status(201);
    };
    let waiting = async || admin.get(&format!("{own}/deliveries")).await.expect_status(200).data();
    send(&admin).await;
    until("it is in the reseller's drive", async || waiting().await == json!([])).await;
    assert_eq!(drive.files().len(), 1);
    // The customer has no use of the consent but by the plan.
    let stolen = json!({"data": {"attachments": {"cafecafecafecafecafecafecafecafe": {
        "handler": "google_drive", "settings": {"oauth_doc_id": given, "base_url": drive.url()},
    }}}});
    admin.patch(&own, &stolen).await.expect_status(400);
    drive.tokens().revoke();
    send(&admin).await;
    until("it is parked", async || waiting().await[0]["state"] == "parked").await;
    consent(&boss, &storage, "google", &format!("oauth_doc_id={given}")).await;
    until("it went through", async || waiting().await == json!([])).await;
    assert_eq!(drive.files().len(), 2);
}

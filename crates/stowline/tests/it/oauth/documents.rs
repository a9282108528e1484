//! Applications and consents as documents: who sees what, what may go, and that no secret comes back.

use serde_json::json;
use testkit::{Api, GoogleDrive};

use super::{beside, consent, document, register};
use crate::fixture::{HANDLER, plain_user};

#[tokio::test(flavor = "multi_thread")]
async fn an_application_is_kept_by_who_registered_it() {
    let drive = GoogleDrive::start();
    let (platform, app) = beside(&drive).await;
    let (master, tenant) = (&platform.master.api, &platform.tenant.api);
    let path = format!("/v2/storage/oauth/apps/{app}");
    tenant.get(&path).await.expect_status(403);
    // No reseller, no applications.
    tenant.get(&format!("{}/oauth/apps", platform.storage())).await.expect_status(403);
    let shown = master.get(&path).await.expect_status(200).data();
    assert_eq!((&shown["client_id"], &shown["provider"]), (&json!(drive.tokens().client_id()), &json!("google")));
    assert!(shown.get("client_secret").is_none(), "{shown}");
    let listed = master.get("/v2/storage/oauth/apps").await.expect_status(200).data();
    assert_eq!(listed.as_array().unwrap().len(), 1);
    for (unfit, at) in [
        (json!({"provider": "yahoo", "client_id": "x"}), "provider"),
        (json!({"provider": "google"}), "client_id"),
        (json!({"provider": "google", "client_id": "with blank"}), "client_id"),
        (json!({"provider": "microsoft", "client_id": "x", "tenant": "../evil"}), "tenant"),
        (json!({"provider": "google", "service_account": {"private_key": "hunter2"}}), "service_account"),
    ] {
        let refused = master.put("/v2/storage/oauth/apps", &json!({"data": unfit})).await.expect_status(400).data();
        assert!(refused.get(at).is_some() && !refused.to_string().contains("hunter2"), "{at}: {refused}");
    }
    let renamed = master.patch(&path, &json!({"data": {"name": "Renamed"}})).await.expect_status(200).data();
    assert_eq!(renamed["name"], "Renamed");
    let moved = json!({"data": {"provider": "dropbox"}});
    master.patch(&path, &moved).await.expect_status(400);
    // Its secret is still there: it works.
    let given = consent(tenant, &platform.storage(), "google", "").await;
    let refused = master.delete(&path).await.expect_status(400).data();
    assert!(refused.to_string().contains("in_use"), "{refused}");
    tenant.delete(&format!("{}/oauth/consents/{given}", platform.storage())).await.expect_status(200);
    master.delete(&path).await.expect_status(200);
    master.get(&path).await.expect_status(404);
    let nothing = tenant.get(&format!("{}/oauth/google/start", platform.storage())).await.expect_status(400).data();
    assert!(nothing.to_string().contains("an operator does"), "{nothing}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consent_is_nobody_elses() {
    let drive = GoogleDrive::start();
    let (platform, app) = beside(&drive).await;
    let (master, tenant, storage) = (&platform.master.api, &platform.tenant.api, platform.storage());
    let theirs = consent(master, "/v2/storage", "google", "").await;
    let own = consent(tenant, &storage, "google", "").await;
    let (pat, user) = plain_user(&platform).await;
    pat.get(&format!("{storage}/oauth/consents")).await.expect_status(403);
    let of_pat = format!("/v2/accounts/{}/users/{user}/storage", platform.tenant.id);
    let pats = consent(&pat, &of_pat, "google", "").await;
    let nowhere = "0".repeat(32);
    let settings = |id: &str| json!({"oauth_doc_id": id, "base_url": drive.url()});
    // The system's, the user's, none at all: the same answer, but for the id.
    let mut answers = Vec::new();
    for id in [&theirs, &pats, &nowhere] {
        let refused = tenant.put(&storage, &document("google_drive", &settings(id))).await.expect_status(400).data();
        assert!(refused[format!("attachments.{HANDLER}")].is_object(), "{refused}");
        answers.push(refused.to_string().replace(id, "ID"));
        for way in ["get", "delete"] {
            let path = format!("{storage}/oauth/consents/{id}");
            let answer = if way == "get" { tenant.get(&path).await } else { tenant.delete(&path).await };
            answer.expect_status(404);
        }
        let again = format!("{storage}/oauth/google/start?oauth_doc_id={id}");
        tenant.get(&again).await.expect_status(404);
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    // A user's document names the user's, and not the account's.
    pat.put(&of_pat, &document("google_drive", &settings(&own))).await.expect_status(400);
    pat.put(&of_pat, &document("google_drive", &settings(&pats))).await.expect_status(201);
    tenant.put(&storage, &document("dropbox", &settings(&own))).await.expect_status(400);
    // Access tokens go to no place that a tenant names.
    let elsewhere = json!({"oauth_doc_id": own, "base_url": "http://127.0.0.1:9"});
    let refused = tenant.put(&storage, &document("google_drive", &elsewhere)).await.expect_status(400).data();
    assert!(refused.to_string().contains("none that the operator permits"), "{refused}");
    assert!(drive.files().is_empty());
    // A consent that was given elsewhere is brought along, and is shown as little.
    let brought = json!({"data": {"app_id": app, "refresh_token": drive.tokens().consent(), "name": "Brought"}});
    let brought = tenant.put(&format!("{storage}/oauth/consents"), &brought).await.expect_status(201).data();
    assert!(!brought.to_string().contains("hunter2"), "{brought}");
    let id = brought["id"].as_str().unwrap();
    tenant.put(&storage, &document("google_drive", &settings(id))).await.expect_status(201);
    let bare = json!({"data": {"app_id": app}});
    let refused = tenant.put(&format!("{storage}/oauth/consents"), &bare).await.expect_status(400).data();
    assert!(refused["refresh_token"].to_string().contains("/oauth/google/start"), "{refused}");
    let strange = json!({"data": {"app_id": nowhere, "refresh_token": "hunter2"}});
    tenant.put(&format!("{storage}/oauth/consents"), &strange).await.expect_status(400);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_goes_takes_its_consents_along() {
    let drive = GoogleDrive::start();
    let (mut platform, _) = beside(&drive).await;
    let given = consent(&platform.tenant.api, &platform.storage(), "google", "").await;
    platform.master.api.delete(&format!("/v2/accounts/{}", platform.tenant.id)).await.expect_status(200);
    platform.program.terminate();
    let left = super::super::secrets::holding(platform.program.data_dir(), &format!("oauth_consent {given}"));
    assert_eq!(left, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_nearest_application_is_asked_for_and_several_are_not_guessed() {
    let drive = GoogleDrive::start();
    let (platform, systems) = beside(&drive).await;
    let (master, storage) = (&platform.master.api, platform.storage());
    platform
        .master
        .api
        .put(&format!("/v2/accounts/{}/reseller", platform.tenant.id), &json!({"data": {}}))
        .await
        .expect_status(201);
    let (tenant, _) = Api::new(&platform.program.url()).login("Acme", "admin", "sesame-open").await;
    let asked = async |query: &str| tenant.get(&format!("{storage}/oauth/google/start{query}")).await;
    assert_eq!(asked("").await.expect_status(200).data()["app_id"], systems.as_str());
    let own = register(&tenant, drive.tokens(), &storage, "google").await;
    assert_eq!(asked("").await.expect_status(200).data()["app_id"], own.as_str());
    assert_eq!(asked(&format!("?app_id={systems}")).await.expect_status(200).data()["app_id"], systems.as_str());
    register(&tenant, drive.tokens(), &storage, "google").await;
    let refused = asked("").await.expect_status(400).data();
    assert!(refused["app_id"].to_string().contains("several"), "{refused}");
    let scopes = asked(&format!("?app_id={own}&handler=google_storage")).await.expect_status(200).data();
    assert_eq!(scopes["scopes"], json!(["https://www.googleapis.com/auth/devstorage.read_write"]));
    asked(&format!("?app_id={own}&handler=dropbox")).await.expect_status(400);
    // A reseller's application is not the system's to use.
    master.get(&format!("/v2/storage/oauth/google/start?app_id={own}")).await.expect_status(400);
}

//! Each kind of drive by the API: a recording goes there, comes back, and is removed.

use serde_json::json;
use testkit::{Api, Dropbox, Fault, GcsServer, GoogleDrive, OAuthServer, OneDrive, VOICEMAIL_WAV};

use super::{beside, config, consent, document, register, tenant_with};
use crate::fixture::{HANDLER, Platform, until};

/// The walk of a drive: what it is called here, who lets in, where it is, and its files.
async fn walk(
    kind: &str,
    provider: &str,
    tokens: &OAuthServer,
    url: &str,
    files_of: impl Fn() -> Vec<(String, bytes::Bytes)>,
) {
    let platform = Platform::with(&config(tokens, url)).await;
    register(&platform.master.api, tokens, "/v2/storage", provider).await;
    let (api, storage) = (&platform.tenant.api, platform.storage());
    let given = consent(api, &storage, provider, "").await;
    let settings = json!({"oauth_doc_id": given, "base_url": url, "folder_base_path": "calls/2026"});
    let attachments = json!({"handler": HANDLER, "delete": true, "params": {"folder_path": "acme"}});
    let document = json!({"data": {
        "attachments": {HANDLER: {"handler": kind, "settings": settings}},
        "plan": {"modb": {"types": {"call_recording": {"attachments": attachments}}}},
    }});
    api.put(&storage, &document).await.expect_status(201);
    assert_eq!(files_of(), [], "{kind}: the probe leaves nothing");
    let account = &platform.tenant.id;
    let upload = format!("/v2/ingest/{account}/recordings/call.wav?call_id=1");
    let sent = api.upload(reqwest::Method::PUT, &upload, "audio/wav", VOICEMAIL_WAV).await.expect_status(201).data();
    let id = sent["id"].as_str().unwrap();
    platform.until_delivered().await;
    let files = files_of();
    assert_eq!(files.len(), 1, "{kind}: {files:?}");
    let path = files[0].0.trim_start_matches('/');
    assert!(path.starts_with("calls/2026/acme/") && path.contains(id), "{kind}: {path}");
    assert!(files[0].1 == VOICEMAIL_WAV, "{kind}");
    let recording = format!("/v2/accounts/{account}/recordings/{id}");
    let audio = || api.request(reqwest::Method::GET, &recording).header("accept", "audio/wav");
    assert!(api.send(audio()).await.expect_status(200).body == VOICEMAIL_WAV, "{kind}");
    let part = api.send(audio().header("range", "bytes=4-9")).await.expect_status(206);
    assert!(part.body == VOICEMAIL_WAV[4..10], "{kind}");
    // The tokens end; nobody notices.
    tokens.expire();
    assert!(api.send(audio()).await.expect_status(200).body == VOICEMAIL_WAV, "{kind}");
    api.delete(&recording).await.expect_status(200);
    until("it is gone from the drive", async || files_of().is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn google_drive_is_let_in_by_a_consent() {
    let fake = GoogleDrive::start();
    walk("google_drive", "google", fake.tokens(), &fake.url(), || fake.files()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dropbox_is_let_in_by_a_consent() {
    let fake = Dropbox::start();
    walk("dropbox", "dropbox", fake.tokens(), &fake.url(), || fake.files()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn onedrive_is_let_in_by_a_consent() {
    let fake = OneDrive::start();
    walk("onedrive", "microsoft", fake.tokens(), &fake.url(), || fake.files()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn google_storage_is_let_in_by_a_consent_and_by_an_application_that_signs() {
    let Some(server) = GcsServer::start() else { return };
    server.bucket("recordings");
    let mut settings = server.settings("recordings");
    let key_file = settings.as_object_mut().unwrap().remove("service_account").unwrap();
    let base = settings["base_url"].as_str().unwrap().to_owned();
    let platform = Platform::with(&config(server.tokens(), &base)).await;
    let (master, api, storage) = (&platform.master.api, &platform.tenant.api, platform.storage());
    register(master, server.tokens(), "/v2/storage", "google").await;
    let given = consent(api, &storage, "google", "handler=google_storage").await;
    settings["oauth_doc_id"] = json!(given);
    api.put(&storage, &document("google_storage", &settings)).await.expect_status(201);
    let mailbox = platform.mailbox().await;
    platform.voicemail(&mailbox).await;
    platform.until_delivered().await;
    assert_eq!(server.objects("recordings").len(), 1);
    // For the whole platform: a service account, which an application holds.
    let signs = json!({"data": {"provider": "google", "service_account": key_file}});
    let made = master.put("/v2/storage/oauth/apps", &signs).await.expect_status(201).data();
    assert!(made.get("service_account").is_none(), "{made}");
    settings.as_object_mut().unwrap().remove("oauth_doc_id");
    settings["oauth_app_id"] = made["id"].clone();
    // An account has no use of it.
    api.patch(&storage, &document("google_storage", &settings)).await.expect_status(400);
    api.delete(&storage).await.expect_status(200);
    master.put("/v2/storage", &document("google_storage", &settings)).await.expect_status(201);
    platform.voicemail(&mailbox).await;
    platform.until_delivered().await;
    assert_eq!(server.objects("recordings").len(), 2);
    assert!(server.tokens().granted().iter().any(|grant| grant.ends_with(":jwt-bearer")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_whose_answer_was_lost_in_a_kill_is_looked_for_under_its_own_id() {
    let drive = GoogleDrive::start();
    let (mut platform, _) = beside(&drive).await;
    let (_, mailbox) = tenant_with(&platform, &drive).await;
    let asked = || drive.faults().seen().iter().filter(|seen| seen.path.ends_with("/generateIds")).count();
    drive.faults().rule(|seen| seen.path.starts_with("/upload/").then_some(Fault::LoseAnswer));
    platform.voicemail(&mailbox).await;
    until("it lies in the drive", async || drive.files().len() == 1).await;
    platform.program.kill9();
    let asked_before = asked();
    drive.faults().heal();
    platform.program.restart();
    let (api, _) = Api::new(&platform.program.url()).login("Acme", "admin", "sesame-open").await;
    platform.tenant.api = api;
    platform.until_delivered().await;
    assert_eq!(drive.files().len(), 1);
    assert_eq!(asked(), asked_before, "the second attempt had the id of the first");
}

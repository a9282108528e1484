//! Drives that a person opens, end to end: an application is registered, a person consents, a message lies in the drive; the consent is taken back and
//! given again, and nothing was lost.

use serde_json::{Value, json};
use testkit::{Api, GoogleDrive, OAuthServer};

use super::fixture::{CONFIG, HANDLER, Platform};

mod callback;
mod documents;
mod drives;
mod inherited;
mod removal;
mod renewal;
mod revoked;

/// A configuration with these addresses for all providers, and one place where a drive may be.
fn config(tokens: &OAuthServer, base: &str) -> String {
    let mut config = format!("{CONFIG}\n[oauth]\nbase_urls = [{base:?}]\n");
    for provider in ["google", "dropbox", "microsoft"] {
        let (authorize, token) = (tokens.authorize_url(), tokens.token_url());
        config += &format!("{provider}_authorize_url = {authorize:?}\n{provider}_token_url = {token:?}\n");
    }
    for provider in ["google", "dropbox"] {
        config += &format!("{provider}_revoke_url = {:?}\n", tokens.revoke_url());
    }
    config
}

/// A platform beside a fake of Google Drive, with the master's application for it.
async fn beside(drive: &GoogleDrive) -> (Platform, String) {
    let platform = Platform::with(&config(drive.tokens(), &drive.url())).await;
    let app = register(&platform.master.api, drive.tokens(), "/v2/storage", "google").await;
    (platform, app)
}

/// Registers the fake's application; its id.
async fn register(api: &Api, tokens: &OAuthServer, storage: &str, provider: &str) -> String {
    let app = json!({"data": {
        "provider": provider, "name": "Drives of tests", "client_id": tokens.client_id(), "client_secret": tokens.client_secret(),
    }});
    let made = api.put(&format!("{storage}/oauth/apps"), &app).await.expect_status(201);
    let text = made.data().to_string();
    assert!(!text.contains("hunter2"), "{text}");
    made.data()["id"].as_str().unwrap().to_owned()
}

/// Begins a consent; what the person opens.
async fn start(api: &Api, storage: &str, provider: &str, query: &str) -> String {
    let begun = api.get(&format!("{storage}/oauth/{provider}/start?{query}")).await.expect_status(200).data();
    assert_eq!(begun["redirect_uri"], format!("{}/v2/storage/oauth/callback", api.url()), "{begun}");
    begun["url"].as_str().unwrap().to_owned()
}

/// What the provider does when the person says yes: where their browser is sent.
async fn say_yes(url: &str) -> String {
    let (origin, path) = url.split_at(url.find("/authorize").unwrap());
    let answer = Api::new(origin).get(path).await.expect_status(302);
    answer.header("location").unwrap().to_owned()
}

/// The browser comes back; the page that it shows.
async fn come_back(location: &str, status: u16) -> String {
    let (origin, path) = location.split_at(location.find("/v2/").unwrap());
    let answer = Api::new(origin).get(path).await.expect_status(status);
    assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"), "{answer}");
    assert!(answer.header("content-security-policy").unwrap().contains("default-src 'none'"));
    String::from_utf8(answer.body.to_vec()).unwrap()
}

/// A whole consent; its id.
async fn consent(api: &Api, storage: &str, provider: &str, query: &str) -> String {
    let page = come_back(&say_yes(&start(api, storage, provider, query).await).await, 200).await;
    let all = api.get(&format!("{storage}/oauth/consents")).await.expect_status(200).data();
    let newest = all.as_array().unwrap().iter().find(|row| page.contains(row["id"].as_str().unwrap()));
    assert!(newest.is_some(), "{page} names none of {all}");
    newest.unwrap()["id"].as_str().unwrap().to_owned()
}

/// A document that sends voicemail to a handler.
fn document(kind: &str, settings: &Value) -> Value {
    json!({"data": {
        "attachments": {HANDLER: {"handler": kind, "name": "drive", "settings": settings}},
        "plan": {"modb": {"types": {"mailbox_message": {"attachments": {"handler": HANDLER}}}}},
    }})
}

/// The row of the handler in the account's health.
async fn health(platform: &Platform) -> Value {
    let answer = platform.tenant.api.get(&format!("{}/health", platform.storage())).await.expect_status(200);
    let rows = answer.data();
    let row = rows.as_array().unwrap().iter().find(|row| row["handler_id"] == HANDLER);
    assert!(row.is_some(), "{rows}");
    row.unwrap().clone()
}

/// A tenant whose voicemail goes to a folder of a drive; the consent, and the path of a mailbox.
async fn tenant_with(platform: &Platform, drive: &GoogleDrive) -> (String, String) {
    let api = &platform.tenant.api;
    let consent = consent(api, &platform.storage(), "google", "name=Dana%27s+drive").await;
    let settings = json!({
        "oauth_doc_id": consent, "folder_id": drive.folder("Recordings"), "base_url": drive.url(), "folder_base_path": "2026",
    });
    api.put(&platform.storage(), &document("google_drive", &settings)).await.expect_status(201);
    (consent, platform.mailbox().await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_lies_in_the_drive_of_whoever_consented() {
    let drive = GoogleDrive::start();
    let (mut platform, app) = beside(&drive).await;
    let (consent, mailbox) = tenant_with(&platform, &drive).await;
    assert!(drive.files().is_empty(), "the probe leaves nothing");
    let message = platform.voicemail(&mailbox).await;
    platform.until_delivered().await;
    let files = drive.files();
    assert_eq!(files.len(), 1, "{files:?}");
    let (path, bytes) = &files[0];
    assert!(path.starts_with("Recordings/2026/") && path.contains(&message), "{path}");
    assert!(bytes == testkit::VOICEMAIL_WAV);
    let api = &platform.tenant.api;
    let raw = api.get(&format!("{mailbox}/messages/{message}/raw")).await.expect_status(200);
    assert!(raw.body == testkit::VOICEMAIL_WAV);
    let shown = api.get(&format!("{}/oauth/consents/{consent}", platform.storage())).await.expect_status(200).data();
    assert_eq!(
        (&shown["state"], &shown["provider"], &shown["app_id"]),
        (&json!("given"), &json!("google"), &json!(app))
    );
    assert_eq!(shown["consented_by"]["user_id"], platform.tenant.user_id.as_str());
    assert_eq!(shown["name"], "Dana's drive");
    let row = health(&platform).await;
    assert_eq!((&row["state"], &row["handler"]), (&json!("ok"), &json!("google_drive")), "{row}");
    assert!(row["last_success"].is_i64() && row["last_error"].is_null(), "{row}");
    let trail = api.get(&format!("{}/audit", platform.storage())).await.expect_status(200).data();
    let ends = trail.as_array().unwrap().iter().find(|row| row["path"] == "storage/oauth/callback").unwrap().clone();
    assert_eq!((&ends["outcome"], &ends["caller"]["user_id"]), (&json!("changed"), &json!(platform.tenant.user_id)));
    // Nothing of it lies about: the fake puts this word into everything that is secret.
    let metrics = api.get("/metrics").await.expect_status(200);
    assert!(!String::from_utf8_lossy(&metrics.body).contains("hunter2"));
    platform.program.terminate();
    let log = platform.program.log();
    assert!(log.contains("oauth_consent_given") && !log.contains("hunter2"), "{log}");
    assert_eq!(super::secrets::holding(platform.program.data_dir(), "hunter2"), [""; 0]);
    platform.program.restart();
    let (api, _) = Api::new(&platform.program.url()).login("Acme", "admin", "sesame-open").await;
    let raw = api.get(&format!("{mailbox}/messages/{message}/raw")).await.expect_status(200);
    assert!(raw.body == testkit::VOICEMAIL_WAV, "after a restart too");
}

//! Access tokens are renewed before they expire, once for all who wait, and a refresh token that took another's place outlives any crash.

use serde_json::json;
use testkit::{Fault, GoogleDrive};

use super::{beside, config, register, tenant_with};
use crate::fixture::{Platform, until};

/// How often a refresh token was used successfully.
fn renewals(drive: &GoogleDrive) -> usize {
    drive.tokens().granted().iter().filter(|grant| *grant == "refresh_token").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_renews_for_all_who_wait() {
    let drive = GoogleDrive::start();
    let (platform, _) = beside(&drive).await;
    let (_, mailbox) = tenant_with(&platform, &drive).await;
    // No upload gets through until sixteen are under way, each with a token that was good when it began.
    drive.faults().always(Fault::unavailable());
    for _ in 0..16 {
        platform.voicemail(&mailbox).await;
    }
    until("all were tried", async || {
        let waiting = platform.deliveries().await;
        waiting.len() == 16 && waiting.iter().all(|row| row["last_error"].is_object())
    })
    .await;
    drive.tokens().rotate();
    drive.tokens().expire();
    let before = renewals(&drive);
    drive.faults().heal();
    let retry = json!({"data": {"action": "retry"}});
    platform.tenant.api.post(&format!("{}/deliveries", platform.storage()), &retry).await.expect_status(200);
    platform.until_delivered().await;
    assert_eq!(drive.files().len(), 16);
    assert_eq!(renewals(&drive) - before, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_about_to_expire_is_not_used() {
    let drive = GoogleDrive::start();
    // Less than it takes to be sure of it: each use renews it first.
    drive.tokens().lifetime(30);
    let (platform, _) = beside(&drive).await;
    let (_, mailbox) = tenant_with(&platform, &drive).await;
    platform.voicemail(&mailbox).await;
    platform.until_delivered().await;
    let refused = drive.tokens().granted().len();
    assert!(refused > 2, "{:?}", drive.tokens().granted());
    assert_eq!(drive.files().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_refresh_token_is_kept_before_it_is_needed() {
    let drive = GoogleDrive::start();
    drive.tokens().rotate();
    let (mut platform, _) = beside(&drive).await;
    let (_, mailbox) = tenant_with(&platform, &drive).await;
    for round in 1..=3 {
        drive.tokens().expire();
        platform.voicemail(&mailbox).await;
        // It was used, so it must be kept.
        until("it lies in the drive", async || drive.files().len() == round).await;
        platform.program.kill9();
        platform.program.restart();
    }
    platform.until_delivered().await;
    assert_eq!(drive.files().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_two_refresh_tokens_loses_nothing_that_can_be_kept() {
    let drive = GoogleDrive::start();
    drive.tokens().rotate_patiently();
    let (mut platform, _) = beside(&drive).await;
    let (_, mailbox) = tenant_with(&platform, &drive).await;
    let asked = || drive.tokens().faults().seen().iter().filter(|seen| seen.path == "/token").count();
    // The provider has given another one, and it is lost on the way, or never comes: then the program dies.
    for (round, fault) in [Fault::LoseAnswer, Fault::BlackHole, Fault::LoseAnswer].into_iter().enumerate() {
        drive.tokens().expire();
        drive.tokens().faults().always(fault);
        let before = asked();
        platform.voicemail(&mailbox).await;
        until("a token was asked for", async || asked() > before).await;
        platform.program.kill9();
        drive.tokens().faults().heal();
        platform.program.restart();
        platform.until_delivered().await;
        assert_eq!(drive.files().len(), round + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_out_of_order_is_waited_for() {
    let drive = GoogleDrive::start();
    let (platform, app) = beside(&drive).await;
    let (_, mailbox) = tenant_with(&platform, &drive).await;
    drive.tokens().expire();
    drive.tokens().faults().always(Fault::unavailable());
    platform.voicemail(&mailbox).await;
    until("it is known", async || super::health(&platform).await["state"] == "failing").await;
    drive.tokens().faults().heal();
    platform.until_delivered().await;
    // The application's secret is another now, and nobody has said so.
    let path = format!("/v2/storage/oauth/apps/{app}");
    let wrong = json!({"data": {"client_secret": "hunter2-wrong"}});
    platform.master.api.patch(&path, &wrong).await.expect_status(200);
    drive.tokens().expire();
    platform.voicemail(&mailbox).await;
    until("it is refused", async || super::health(&platform).await["last_error"]["code"] == "invalid_client").await;
    let right = json!({"data": {"client_secret": drive.tokens().client_secret()}});
    let shown = platform.master.api.patch(&path, &right).await.expect_status(200);
    assert!(!shown.to_string().contains("hunter2"), "{shown}");
    platform.until_delivered().await;
    assert_eq!(drive.files().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_rotate_seals_applications_and_consents_anew() {
    let drive = GoogleDrive::start();
    let mut platform = Platform::with(&config(drive.tokens(), &drive.url())).await;
    register(&platform.master.api, drive.tokens(), "/v2/storage", "google").await;
    let (_, mailbox) = tenant_with(&platform, &drive).await;
    let data = platform.program.data_dir().to_owned();
    let old = std::fs::read_to_string(data.join("key.id")).unwrap().trim().to_owned();
    platform.program.terminate();
    let run = crate::secrets::rotate(&platform);
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    assert_eq!(crate::secrets::holding(&data, &old), [""; 0], "sealed with the old key");
    platform.program.restart();
    let (api, _) = testkit::Api::new(&platform.program.url()).login("Acme", "admin", "sesame-open").await;
    platform.tenant.api = api;
    drive.tokens().expire();
    platform.voicemail(&mailbox).await;
    platform.until_delivered().await;
    assert_eq!(drive.files().len(), 1, "by a refresh token that the new key opened");
}

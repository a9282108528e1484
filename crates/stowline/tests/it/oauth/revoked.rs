//! A consent that is taken back: what needs it is parked at once and keeps its attempts, the provider is asked once, and nothing is lost.

use serde_json::{Value, json};
use testkit::GoogleDrive;

use super::{beside, come_back, consent, health, say_yes, start, tenant_with};
use crate::fixture::{Platform, until};

/// Waits until this many deliveries are there and all of them are parked.
async fn until_parked(platform: &Platform, count: usize) -> Vec<Value> {
    let mut parked = Vec::new();
    until("all are parked", async || {
        parked = platform.deliveries().await;
        parked.len() == count && parked.iter().all(|row| row["state"] == "parked")
    })
    .await;
    parked
}

/// How often the provider was asked for a token.
fn asked(drive: &GoogleDrive) -> usize {
    drive.tokens().faults().seen().iter().filter(|seen| seen.path == "/token").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_wait_for_a_consent_and_go_when_it_is_given_again() {
    let drive = GoogleDrive::start();
    let (mut platform, _) = beside(&drive).await;
    let (given, mailbox) = tenant_with(&platform, &drive).await;
    platform.voicemail(&mailbox).await;
    platform.until_delivered().await;
    drive.tokens().revoke();
    let before = asked(&drive);
    for _ in 0..8 {
        platform.voicemail(&mailbox).await;
    }
    let parked = until_parked(&platform, 8).await;
    for row in &parked {
        assert_eq!((&row["attempts"], &row["last_error"]["code"]), (&json!(0), &json!("consent_needed")), "{row}");
        assert!(row["last_error"]["message"].as_str().unwrap().contains("given again"), "{row}");
    }
    assert_eq!(asked(&drive) - before, 1, "who was told once does not ask again");
    let row = health(&platform).await;
    assert_eq!(
        (&row["state"], &row["oauth_doc_id"], &row["deliveries"]),
        (&json!("consent_needed"), &json!(given), &json!(8))
    );
    assert!(row["since"].is_i64(), "{row}");
    assert_eq!(row["last_error"]["code"], "consent_needed");
    let path = format!("{}/oauth/consents/{given}", platform.storage());
    let shown = platform.tenant.api.get(&path).await.expect_status(200).data();
    assert_eq!((&shown["state"], &shown["revoked"]["code"]), (&json!("revoked"), &json!("invalid_grant")), "{shown}");
    let metrics = platform.tenant.api.get("/metrics").await.expect_status(200);
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    assert!(metrics.contains("stowline_oauth_consents_revoked_total{provider=\"google\"} 1"), "{metrics}");
    assert_eq!(platform.program.log().matches("oauth_consent_revoked").count(), 1);
    // It is known after a crash too, and nobody is asked.
    platform.program.kill9();
    platform.program.restart();
    until_parked(&platform, 8).await;
    let row = health(&platform).await;
    assert_eq!((&row["state"], &row["since"]), (&json!("consent_needed"), &shown["revoked"]["since"]), "{row}");
    assert_eq!(asked(&drive) - before, 1);
    // Who tries by hand is told the same, and a new message waits with the others.
    let retry = json!({"data": {"action": "retry"}});
    platform.tenant.api.post(&format!("{}/deliveries", platform.storage()), &retry).await.expect_status(200);
    platform.voicemail(&mailbox).await;
    until_parked(&platform, 9).await;
    assert_eq!(asked(&drive) - before, 1);
    let again = format!("oauth_doc_id={given}");
    assert_eq!(consent(&platform.tenant.api, &platform.storage(), "google", &again).await, given);
    platform.until_delivered().await;
    assert_eq!(drive.files().len(), 10, "nothing is lost");
    until("all is well", async || health(&platform).await["last_success"].is_i64()).await;
    assert_eq!(health(&platform).await["state"], "ok");
    let shown = platform.tenant.api.get(&path).await.expect_status(200).data();
    assert_eq!((&shown["state"], &shown["name"]), (&json!("given"), &json!("Dana's drive")));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_refresh_token_by_hand_does_as_well() {
    let drive = GoogleDrive::start();
    let (platform, _) = beside(&drive).await;
    let (given, mailbox) = tenant_with(&platform, &drive).await;
    drive.tokens().revoke();
    platform.voicemail(&mailbox).await;
    until_parked(&platform, 1).await;
    let path = format!("{}/oauth/consents/{given}", platform.storage());
    let fresh = json!({"data": {"refresh_token": drive.tokens().consent()}});
    let shown = platform.tenant.api.patch(&path, &fresh).await.expect_status(200).data();
    assert_eq!(shown["state"], "given");
    platform.until_delivered().await;
    assert_eq!(drive.files().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consent_that_was_removed_meanwhile_is_not_given_again() {
    let drive = GoogleDrive::start();
    let (platform, _) = beside(&drive).await;
    let (given, mailbox) = tenant_with(&platform, &drive).await;
    let (api, storage) = (&platform.tenant.api, platform.storage());
    let location = say_yes(&start(api, &storage, "google", &format!("oauth_doc_id={given}")).await).await;
    api.delete(&format!("{storage}/oauth/consents/{given}")).await.expect_status(200);
    let gone = come_back(&location, 410).await;
    assert!(gone.contains("removed meanwhile"), "{gone}");
    platform.voicemail(&mailbox).await;
    until("the delivery fails", async || {
        platform.deliveries().await.first().is_some_and(|row| row["last_error"].is_object())
    })
    .await;
    let row = health(&platform).await;
    assert_eq!(row["state"], "failing", "{row}");
    assert!(row["last_error"]["message"].as_str().unwrap().contains("names no consent"), "{row}");
    assert_eq!(drive.files(), []);
}

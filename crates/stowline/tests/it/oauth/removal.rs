//! A consent that is removed is taken back at its provider, as far as that can be; removed it is in any case.

use serde_json::{Value, json};
use testkit::{Dropbox, Fault, GoogleDrive};

use super::{beside, config, consent, register};
use crate::fixture::Platform;

/// Removes a consent; what became of it at the provider.
async fn remove(platform: &Platform, id: &str) -> Value {
    let path = format!("{}/oauth/consents/{id}", platform.storage());
    let removed = platform.tenant.api.delete(&path).await.expect_status(200).data();
    assert!(!removed.to_string().contains("hunter2"), "{removed}");
    platform.tenant.api.get(&path).await.expect_status(404);
    removed["at_provider"].clone()
}

/// The requests to take something back.
fn asked(faults: &testkit::Faults) -> usize {
    faults.seen().iter().filter(|seen| seen.path == "/revoke").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_consent_of_a_person_is_taken_back_at_google() {
    let drive = GoogleDrive::start();
    let (mut platform, _) = beside(&drive).await;
    let api = &platform.tenant.api;
    let first = consent(api, &platform.storage(), "google", "name=one").await;
    let second = consent(api, &platform.storage(), "google", "name=two").await;
    let tokens = drive.tokens();
    assert_eq!(tokens.standing(), 2);
    // Google would take all back that this person allowed.
    assert_eq!(remove(&platform, &first).await, "shared");
    assert_eq!((tokens.standing(), asked(tokens.faults())), (2, 0));
    assert_eq!(remove(&platform, &second).await, "revoked");
    assert_eq!((tokens.standing(), asked(tokens.faults())), (1, 1));
    let trail = platform.tenant.api.get(&format!("{}/audit", platform.storage())).await.expect_status(200).data();
    let ends = trail.as_array().unwrap().iter().find(|row| row["path"].as_str().unwrap().ends_with(&second)).unwrap();
    assert_eq!(
        (&ends["verb"], &ends["outcome"], &ends["note"]),
        (&json!("DELETE"), &json!("changed"), &json!("revoked"))
    );
    let metrics = platform.tenant.api.get("/metrics").await.expect_status(200);
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    assert!(
        metrics.contains("stowline_oauth_revocations_total{provider=\"google\",outcome=\"revoked\"} 1"),
        "{metrics}"
    );
    platform.program.terminate();
    assert!(!platform.program.log().contains("hunter2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn dropbox_is_shown_an_access_token() {
    let drive = Dropbox::start();
    let platform = Platform::with(&config(drive.tokens(), &drive.url())).await;
    register(&platform.master.api, drive.tokens(), "/v2/storage", "dropbox").await;
    let given = consent(&platform.tenant.api, &platform.storage(), "dropbox", "").await;
    let other = consent(&platform.tenant.api, &platform.storage(), "dropbox", "").await;
    assert_eq!(remove(&platform, &given).await, "revoked");
    assert_eq!(drive.tokens().standing(), 1, "the other consent stands");
    drive.tokens().revoke();
    assert_eq!(remove(&platform, &other).await, "revoked_before");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_out_of_order_or_has_no_place_for_it_keeps_nothing_here() {
    let drive = GoogleDrive::start();
    let (platform, _) = beside(&drive).await;
    let given = consent(&platform.tenant.api, &platform.storage(), "google", "").await;
    drive.tokens().faults().next([Fault::unavailable()]);
    assert_eq!(remove(&platform, &given).await, "failed");
    assert!(platform.program.log().contains("oauth_revocation_failed"));
    let app = register(&platform.master.api, drive.tokens(), "/v2/storage", "microsoft").await;
    let brought = json!({"data": {"app_id": app, "refresh_token": "of-microsoft"}});
    let path = format!("{}/oauth/consents", platform.storage());
    let brought = platform.tenant.api.put(&path, &brought).await.expect_status(201).data();
    assert_eq!(remove(&platform, brought["id"].as_str().unwrap()).await, "not_offered");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_goes_takes_its_consents_back() {
    let drive = GoogleDrive::start();
    let (platform, _) = beside(&drive).await;
    for name in ["one", "two"] {
        consent(&platform.tenant.api, &platform.storage(), "google", &format!("name={name}")).await;
    }
    platform.master.api.delete(&format!("/v2/accounts/{}", platform.tenant.id)).await.expect_status(200);
    assert_eq!((drive.tokens().standing(), asked(drive.tokens().faults())), (0, 2));
}

//! No secret where it does not belong: the data folder, the log, metrics, errors, answers to the wrong person.

use std::path::Path;

use serde_json::json;

use super::fixture::{HANDLER, Platform, bucket, plain_user};

/// Files below `folder` that hold `secret`, in plain or as base64 or hex would begin.
fn holding(folder: &Path, secret: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(holding(&path, secret));
        } else if let Ok(bytes) = std::fs::read(&path)
            && bytes.windows(secret.len()).any(|window| window == secret.as_bytes())
        {
            found.push(path.display().to_string());
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_in_no_file_no_log_and_no_metric() {
    let mut platform = Platform::start().await;
    let (server, mut settings) = bucket();
    let path = platform.storage();
    platform.route_voicemail_to(settings.clone()).await;
    let http = "cafecafecafecafecafecafecafecafe";
    let url = format!("http://robot:userinfo-s3cret@127.0.0.1:{}/in?token=query-s3cret", server.port());
    // It does not work: its error must not give it away either.
    let refused = platform
        .tenant
        .api
        .patch(
            &path,
            &json!({"data": {"attachments": {http: {"handler": "http", "settings": {"url": url, "verb": "put"}}}}}),
        )
        .await
        .expect_status(400);
    let refused = String::from_utf8_lossy(&refused.body).into_owned();
    assert!(!refused.contains("s3cret"), "{refused}");
    settings["secret"] = json!("rotated-s3cret-rotated-s3cret");
    platform.program.sup(&["kzs_plan", "allow_validation_overrides"]);
    let untried = format!("{path}?validate_settings=false");
    platform
        .tenant
        .api
        .patch(&untried, &json!({"data": {"attachments": {HANDLER: {"settings": settings}}}}))
        .await
        .expect_status(200);
    let with_url =
        json!({"data": {"attachments": {http: {"handler": "http", "settings": {"url": url, "verb": "put"}}}}});
    platform.tenant.api.patch(&untried, &with_url).await.expect_status(200);
    let mailbox = platform.mailbox().await;
    platform.voicemail(&mailbox).await;
    super::fixture::until("a delivery was refused", async || {
        platform.deliveries().await.iter().any(|row| row["last_error"].is_object())
    })
    .await;
    let deliveries = json!(platform.deliveries().await).to_string();
    let metrics = platform.tenant.api.get("/metrics").await;
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    let (pat, _) = plain_user(&platform).await;
    let shown = pat.get(&path).await.expect_status(200).data().to_string();
    let token = platform.tenant.api.token().unwrap().to_owned();
    platform.program.terminate();
    let log = platform.program.log();
    assert!(log.contains("listening on") || log.contains("stowline answers"), "the log was kept: {log}");
    let md5 = testkit::Api::credentials("admin", "sesame-open");
    let secrets = [
        server.secret_key(),
        server.access_key(),
        "rotated-s3cret",
        "userinfo-s3cret",
        "query-s3cret",
        "sesame-open",
        "sesame-shut",
        &md5,
        &platform.tenant.api_key,
        &token,
    ];
    for secret in secrets {
        let files = holding(platform.program.data_dir(), secret);
        assert!(files.is_empty(), "{secret} stands in {files:?}");
        for (place, text) in
            [("log", &log), ("metrics", &metrics), ("deliveries", &deliveries), ("a user's view", &shown)]
        {
            assert!(!text.contains(secret), "{secret} stands in the {place}: {text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_lies_beside_the_data_folder_and_without_it_nothing_starts() {
    let mut platform = Platform::start().await;
    let data = platform.program.data_dir().to_owned();
    let key = data.with_file_name(format!("{}.key", data.file_name().unwrap().to_string_lossy()));
    assert!(key.exists() && !key.starts_with(&data));
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&key).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    platform.program.terminate();
    let aside = key.with_extension("aside");
    std::fs::rename(&key, &aside).unwrap();
    let refused = platform.program.try_restart().unwrap_err().to_string();
    assert!(refused.contains("put the key back"), "{refused}");
    assert!(!key.exists(), "no new key is made");
    std::fs::rename(&aside, &key).unwrap();
    platform.program.restart();
    let (api, _) = testkit::Api::new(&platform.program.url()).login("Acme", "admin", "sesame-open").await;
    api.get(&format!("/v2/accounts/{}", platform.tenant.id)).await.expect_status(200);
}

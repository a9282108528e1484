//! What a switch's variables, URLs and heads carry in secrets is kept nowhere and told to nobody.

use std::path::Path;

use reqwest::Method;
use serde_json::json;

use super::super::fixture::Platform;
use super::wire::{Request, names};

/// Files below `folder` that hold `secret`.
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
async fn no_secret_of_a_switch_is_in_a_file_the_log_or_an_answer() {
    let mut platform = Platform::start().await;
    platform.mailbox().await;
    let keys = format!("/v2/accounts/{}/ingest_keys", platform.tenant.id);
    let scopes = json!({"data": {"name": "fs1", "scopes": super::ALL}});
    let secret =
        platform.tenant.api.put(&keys, &scopes).await.expect_status(201).data()["key"].as_str().unwrap().to_owned();
    let address = platform.program.url().trim_start_matches("http://").parse().unwrap();
    let mut answers = String::new();
    for name in names().into_iter().filter(|name| name != "kazoo-store-put") {
        let request =
            Request::named(&name).with("ACCOUNT", &platform.tenant.id).with("KEY", &secret).basic("acme", &secret);
        let answer = request.send(address).await;
        assert!(matches!(answer.status, 200 | 201), "{name}: {answer:?}");
        answers.push_str(&answer.body);
    }
    let wrong = format!("/v2/ingest/{}/recordings/a.wav?token=ik_s3cret-in-a-query", platform.tenant.id);
    let refused = platform.tenant.api.anonymous().upload(Method::PUT, &wrong, "audio/wav", &b"RIFF"[..]).await;
    answers.push_str(&refused.expect_status(401).to_string());
    let listed = platform.tenant.api.get(&keys).await.expect_status(200);
    answers.push_str(&String::from_utf8_lossy(&listed.body));
    let metrics = platform.tenant.api.get("/metrics").await;
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    platform.program.terminate();
    let log = platform.program.log();
    assert!(log.contains("stowline answers"), "the log was kept: {log}");
    for secret in ["s3cret", "czNjcmV0", &secret] {
        let files = holding(platform.program.data_dir(), secret);
        assert!(files.is_empty(), "{secret} stands in {files:?}");
        for (place, text) in [("log", &log), ("metrics", &metrics), ("answers", &answers)] {
            assert!(!text.contains(secret), "{secret} stands in the {place}");
        }
    }
}

//! What a receipt is good for later: after its keys were changed, after the plan sent others elsewhere, after its handler left the document.

use reqwest::Method;
use serde_json::{Value, json};
use testkit::{S3Server, VOICEMAIL_WAV};

use crate::fixture::{CONFIG, HANDLER, Platform, until};

const OTHER: &str = "0123456789abcdef0123456789abcdee";

/// The document: these buckets by handler, and where voicemail goes, with its objects when it is deleted.
fn document(buckets: &[(&str, &Value)], to: &str) -> Value {
    let entry = |settings: &Value| json!({"handler": "s3", "name": "bucket", "settings": settings});
    let attachments: serde_json::Map<String, Value> =
        buckets.iter().map(|(id, settings)| ((*id).to_owned(), entry(settings))).collect();
    let route = json!({"attachments": {"handler": to, "delete": true}});
    json!({"data": {"attachments": attachments, "plan": {"modb": {"types": {"mailbox_message": route}}}}})
}

async fn stored(platform: &Platform, mailbox: &str) -> String {
    let message = platform.voicemail(mailbox).await;
    platform.until_delivered().await;
    format!("{mailbox}/messages/{message}")
}

async fn heard(platform: &Platform, message: &str) {
    let raw = platform.tenant.api.get(&format!("{message}/raw")).await.expect_status(200);
    assert!(raw.body == VOICEMAIL_WAV);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_stored_is_read_and_removed_with_the_keys_of_today() {
    let folder = tempfile::tempdir().unwrap();
    let first = S3Server::builder().folder(folder.path()).keys("AKIAYESTERDAY", "hunter2-yesterday").start().unwrap();
    first.bucket("recordings");
    // One attempt an hour: nothing gets well by waiting.
    let config = CONFIG.replace("backoff_min = \"20ms\"", "backoff_min = \"1h\"").replace("\"200ms\"", "\"2h\"");
    let platform = Platform::with(&config).await;
    let (api, mailbox) = (&platform.tenant.api, platform.mailbox().await);
    let settings = first.settings("recordings");
    api.put(&platform.storage(), &document(&[(HANDLER, &settings)], HANDLER)).await.expect_status(201);
    let (message, other) = (stored(&platform, &mailbox).await, stored(&platform, &mailbox).await);
    // The same bucket at the same address takes other keys from now on.
    first.stop();
    let rotated = S3Server::builder().folder(folder.path()).keys("AKIATODAY", "hunter2-today");
    let rotated = rotated.listen(first.address()).start().unwrap();
    api.get(&format!("{message}/raw")).await.expect_status(502);
    let waiting = platform.voicemail(&mailbox).await;
    api.delete(&other).await.expect_status(200);
    until("both were refused", async || {
        let rows = platform.deliveries().await;
        rows.len() == 2 && rows.iter().all(|row| row["last_error"]["http_status"] == 403)
    })
    .await;
    let keys =
        json!({"data": {"attachments": {HANDLER: {"settings": {"key": "AKIATODAY", "secret": "hunter2-today"}}}}});
    api.patch(&platform.storage(), &keys).await.expect_status(200);
    heard(&platform, &message).await;
    platform.until_delivered().await;
    heard(&platform, &format!("{mailbox}/messages/{waiting}")).await;
    assert_eq!(rotated.keys("recordings").len(), 2, "the deleted one is gone");
    assert_eq!(api.get(&format!("{}/retired", platform.storage())).await.expect_status(200).data(), json!([]));
    let part = api.send(api.request(Method::GET, &format!("{message}/raw")).header("range", "bytes=4-9")).await;
    assert!(part.expect_status(206).body == VOICEMAIL_WAV[4..10]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_goes_from_where_it_lies_whatever_the_plan_says_of_others() {
    let platform = Platform::start().await;
    let (old, new) = (S3Server::start(), S3Server::start());
    for server in [&old, &new] {
        server.bucket("recordings");
    }
    let (api, mailbox) = (&platform.tenant.api, platform.mailbox().await);
    let (to_old, to_new) = (old.settings("recordings"), new.settings("recordings"));
    api.put(&platform.storage(), &document(&[(HANDLER, &to_old)], HANDLER)).await.expect_status(201);
    let mut messages = Vec::new();
    for _ in 0..3 {
        messages.push(stored(&platform, &mailbox).await);
    }
    let gone = async |message: &str, left: usize| {
        api.delete(message).await.expect_status(200);
        until("its object is gone", async || old.keys("recordings").len() == left).await;
        platform.until_delivered().await;
    };
    // The plan sends others elsewhere.
    let both = document(&[(HANDLER, &to_old), (OTHER, &to_new)], OTHER);
    api.post(&platform.storage(), &both).await.expect_status(200);
    heard(&platform, &messages[0]).await;
    gone(&messages[0], 2).await;
    // The handler is taken out of the document.
    api.post(&platform.storage(), &document(&[(OTHER, &to_new)], OTHER)).await.expect_status(200);
    heard(&platform, &messages[1]).await;
    gone(&messages[1], 1).await;
    // Its id means another bucket.
    api.post(&platform.storage(), &document(&[(HANDLER, &to_new)], HANDLER)).await.expect_status(200);
    let here = stored(&platform, &mailbox).await;
    heard(&platform, &messages[2]).await;
    heard(&platform, &here).await;
    gone(&messages[2], 0).await;
    assert_eq!(new.keys("recordings").len(), 1, "that of the other message stays");
}

//! Deletion of messages: a copy at a destination stays unless the plan says `"delete": true`, and then goes however the message went.

use reqwest::Method;
use serde_json::{Value, json};
use testkit::{S3Server, VOICEMAIL_WAV};

use super::super::fixture::{HANDLER, Platform, bucket, until};

const BUCKET: &str = "recordings";

/// A platform whose voicemail goes to a bucket; `params` stand beside the handler in the plan.
async fn start(params: Value) -> (Platform, S3Server) {
    let platform = Platform::start().await;
    let (server, settings) = bucket();
    let mut attachments = json!({"handler": HANDLER});
    attachments.as_object_mut().unwrap().extend(params.as_object().unwrap().clone());
    let document = json!({"data": {
        "attachments": {HANDLER: {"handler": "s3", "name": "bucket", "settings": settings}},
        "plan": {"modb": {"types": {"mailbox_message": {"attachments": attachments}}}},
    }});
    platform.tenant.api.put(&platform.storage(), &document).await.expect_status(201);
    (platform, server)
}

/// So many messages, all delivered; their ids.
async fn delivered(platform: &Platform, mailbox: &str, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for _ in 0..count {
        ids.push(platform.voicemail(mailbox).await);
    }
    platform.until_delivered().await;
    ids
}

async fn until_left(platform: &Platform, server: &S3Server, ids: &[&String]) {
    until(&format!("the bucket holds {} objects", ids.len()), async || {
        let keys = server.keys(BUCKET);
        keys.len() == ids.len() && ids.iter().all(|id| keys.iter().any(|key| key.contains(id.as_str())))
    })
    .await;
    platform.until_delivered().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_message_takes_its_object_along_where_the_plan_says_so() {
    let (platform, server) = start(json!({"delete": true})).await;
    let (api, mailbox) = (&platform.tenant.api, platform.mailbox().await);
    let ids = delivered(&platform, &mailbox, 5).await;

    // Thrown away and taken back: nothing goes.
    let message = format!("{mailbox}/messages/{}", ids[0]);
    for folder in ["deleted", "new"] {
        api.post(&message, &json!({"data": {"folder": folder}})).await.expect_status(200);
    }
    assert!(api.get(&format!("{message}/raw")).await.expect_status(200).body == VOICEMAIL_WAV);
    assert_eq!(server.keys(BUCKET).len(), 5);

    // Deleted: one, several, the rest with their box.
    let gone = api.delete(&message).await.expect_status(200).data();
    assert_eq!((&gone["media_id"], &gone["folder"]), (&json!(ids[0]), &json!("deleted")));
    until_left(&platform, &server, &ids[1..].iter().collect::<Vec<_>>()).await;
    for answer in [api.get(&message).await, api.get(&format!("{message}/raw")).await, api.delete(&message).await] {
        answer.expect_status(404);
    }
    let several = json!({"data": {"messages": [ids[1], ids[2], ids[0]]}});
    let done = api.json(Method::DELETE, &format!("{mailbox}/messages"), &several).await;
    let done = done.expect_status(200).data();
    assert_eq!(done, json!({"succeeded": [ids[1], ids[2]], "failed": [{ids[0].as_str(): "not_found"}]}));
    until_left(&platform, &server, &[&ids[3], &ids[4]]).await;
    api.delete(&mailbox).await.expect_status(200);
    until_left(&platform, &server, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_copy_of_a_deleted_message_stays_unless_the_plan_says_otherwise() {
    let (platform, server) = start(json!({})).await;
    let (api, mailbox) = (&platform.tenant.api, platform.mailbox().await);
    let ids = delivered(&platform, &mailbox, 2).await;
    api.delete(&format!("{mailbox}/messages/{}", ids[0])).await.expect_status(200);
    api.delete(&mailbox).await.expect_status(200);
    until_left(&platform, &server, &[&ids[0], &ids[1]]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_moved_leaves_no_object_behind() {
    let (platform, server) = start(json!({"delete": true})).await;
    let (api, mailbox) = (&platform.tenant.api, platform.mailbox().await);
    let boxes = format!("/v2/accounts/{}/vmboxes", platform.tenant.id);
    let other = json!({"data": {"name": "Other", "mailbox": "1002"}});
    let other = api.put(&boxes, &other).await.expect_status(201).data()["id"].as_str().unwrap().to_owned();
    let id = delivered(&platform, &mailbox, 1).await.remove(0);
    let there = json!({"data": {"source_id": other}});
    let moved = api.post(&format!("{mailbox}/messages/{id}"), &there).await.expect_status(200).data();
    let moved = moved["media_id"].as_str().unwrap().to_owned();
    until_left(&platform, &server, &[&moved]).await;
    let raw = api.get(&format!("{boxes}/{other}/messages/{moved}/raw")).await.expect_status(200);
    assert!(raw.body == VOICEMAIL_WAV);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_survives_the_loss_of_the_destination_and_of_the_program() {
    let (mut platform, server) = start(json!({"delete": true})).await;
    let mailbox = platform.mailbox().await;
    let kept = delivered(&platform, &mailbox, 1).await.remove(0);
    server.stop();
    let waiting = platform.voicemail(&mailbox).await;
    for id in [&kept, &waiting] {
        platform.tenant.api.delete(&format!("{mailbox}/messages/{id}")).await.expect_status(200);
    }
    platform.program.restart();
    // What never arrived does not arrive, and what did goes.
    server.restart();
    until_left(&platform, &server, &[]).await;
    platform.tenant.api.get(&format!("{mailbox}/messages/{kept}")).await.expect_status(404);
}

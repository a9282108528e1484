//! What is stored already is moved to where today's plan says, when somebody asks for it, and not before.

use serde_json::{Value, json};
use testkit::{Api, S3Server, VOICEMAIL_WAV};

use crate::fixture::{HANDLER, Platform, bucket, until};

const OTHER: &str = "0123456789abcdef0123456789abcdef";

/// Voicemail goes to another bucket from now on.
async fn another(platform: &Platform) -> S3Server {
    let (server, settings) = bucket();
    let change = json!({"data": {
        "attachments": {OTHER: {"handler": "s3", "settings": settings}},
        "plan": {"modb": {"types": {"mailbox_message": {"attachments": {"handler": OTHER}}}}},
    }});
    platform.tenant.api.patch(&platform.storage(), &change).await.expect_status(200);
    server
}

/// Asks for a move; how many attachments that is.
async fn moved(platform: &Platform, more: Value) -> Value {
    let mut data = json!({"action": "move"});
    plan::merge::patch(&mut data, &more);
    let path = format!("{}/deliveries", platform.storage());
    platform.tenant.api.post(&path, &json!({ "data": data })).await.expect_status(200).data()["deliveries"].clone()
}

async fn heard(platform: &Platform, mailbox: &str, message: &str) {
    let raw = platform.tenant.api.get(&format!("{mailbox}/messages/{message}/raw")).await.expect_status(200);
    assert!(raw.body == VOICEMAIL_WAV, "{message} is another");
}

fn kept(platform: &Platform) -> usize {
    std::fs::read_dir(platform.program.data_dir().join("attachments")).map_or(0, Iterator::count)
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_23_what_is_stored_stays_where_it_is_until_it_is_moved_to_where_todays_plan_says() {
    let platform = Platform::start().await;
    let mailbox = platform.mailbox().await;
    let first = platform.voicemail(&mailbox).await;
    assert_eq!(kept(&platform), 1, "without a plan it stays here");
    let (old, settings) = bucket();
    platform.route_voicemail_to(settings).await;
    let second = platform.voicemail(&mailbox).await;
    platform.until_delivered().await;
    let new = another(&platform).await;
    // A change of the plan moves nothing by itself.
    assert_eq!((old.objects("recordings").len(), new.objects("recordings").len(), kept(&platform)), (1, 0, 1));
    heard(&platform, &mailbox, &first).await;
    heard(&platform, &mailbox, &second).await;
    assert_eq!(moved(&platform, json!({"doc_type": "fax"})).await, 0);
    assert_eq!(
        moved(&platform, json!({"created_to": 63_000_000_000_u64, "created_from": 62_999_000_000_u64})).await,
        0
    );
    assert_eq!(moved(&platform, json!({})).await, 2);
    platform.until_delivered().await;
    assert_eq!(new.objects("recordings").len(), 2);
    assert_eq!(old.objects("recordings").len(), 1, "what lies there is the customer's");
    until("the copy here is gone", async || kept(&platform) == 0).await;
    old.stop();
    heard(&platform, &mailbox, &first).await;
    heard(&platform, &mailbox, &second).await;
    assert_eq!(moved(&platform, json!({"doc_type": "mailbox_message"})).await, 0, "all is there");
    // And back, when the plan keeps it here again.
    let here = json!({"data": {"plan": {"modb": {"types": {"mailbox_message": {"attachments": {"handler": null}}}}}}});
    platform.tenant.api.patch(&platform.storage(), &here).await.expect_status(200);
    assert_eq!(moved(&platform, json!({})).await, 2);
    platform.until_delivered().await;
    new.stop();
    heard(&platform, &mailbox, &first).await;
    heard(&platform, &mailbox, &second).await;
    assert_eq!(kept(&platform), 2);
    let path = format!("{}/deliveries", platform.storage());
    let odd = json!({"data": {"action": "move", "doc_type": "vmbox"}});
    platform.tenant.api.post(&path, &odd).await.expect_status(400);
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_23_a_move_is_seen_waits_out_an_outage_and_a_kill_and_leaves_one_object() {
    let (mut platform, old) = Platform::with_bucket().await;
    let mailbox = platform.mailbox().await;
    let message = platform.voicemail(&mailbox).await;
    platform.until_delivered().await;
    let new = another(&platform).await;
    new.stop();
    assert_eq!(moved(&platform, json!({})).await, 1);
    until("it was tried", async || platform.deliveries().await.iter().any(|row| row["last_error"].is_object())).await;
    let row = platform.deliveries().await.remove(0);
    assert_eq!(
        (&row["action"], &row["doc_type"], &row["handler_id"], &row["size"]),
        (&json!("move"), &json!("mailbox_message"), &json!(HANDLER), &json!(VOICEMAIL_WAV.len())),
        "{row}"
    );
    heard(&platform, &mailbox, &message).await;
    platform.program.kill9();
    platform.program.restart();
    platform.tenant.api = Api::new(&platform.program.url()).login("Acme", "admin", "sesame-open").await.0;
    heard(&platform, &mailbox, &message).await;
    new.restart();
    let path = format!("{}/deliveries", platform.storage());
    platform.tenant.api.post(&path, &json!({"data": {"action": "retry"}})).await.expect_status(200);
    platform.until_delivered().await;
    assert_eq!((old.objects("recordings").len(), new.objects("recordings").len()), (1, 1));
    old.stop();
    heard(&platform, &mailbox, &message).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_23_what_is_not_what_was_stored_is_not_moved() {
    let (platform, old) = Platform::with_bucket().await;
    let mailbox = platform.mailbox().await;
    platform.voicemail(&mailbox).await;
    platform.until_delivered().await;
    let key = old.keys("recordings").remove(0);
    old.plant("recordings", &key, &vec![7; VOICEMAIL_WAV.len()]);
    let new = another(&platform).await;
    assert_eq!(moved(&platform, json!({})).await, 1);
    until("it was tried", async || platform.deliveries().await.iter().any(|row| row["last_error"].is_object())).await;
    let row = platform.deliveries().await.remove(0);
    assert_eq!(row["last_error"]["code"], "interrupted", "{row}");
    assert_eq!(new.objects("recordings").len(), 0);
}

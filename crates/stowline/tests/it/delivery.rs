//! Accepted means durable, delivered means verified: outages, rotated keys, kills.

use serde_json::json;
use testkit::{Fault, VOICEMAIL_WAV};

use super::fixture::{CONFIG, HANDLER, Platform, bucket, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_voicemail_reaches_the_bucket_and_is_read_back_from_it() {
    let (platform, server) = Platform::with_bucket().await;
    let mailbox = platform.mailbox().await;
    let message = platform.voicemail(&mailbox).await;
    platform.until_delivered().await;
    let objects = server.objects("recordings");
    assert_eq!(objects.len(), 1);
    let (key, bytes) = &objects[0];
    assert!(bytes == VOICEMAIL_WAV, "the object is what was said");
    let month = &message[..6];
    let (a, b, rest) = (&platform.tenant.id[..2], &platform.tenant.id[2..4], &platform.tenant.id[4..]);
    assert!(key.starts_with(&format!("account%2F{a}%2F{b}%2F{rest}-{month}/{message}_")), "{key}");
    let raw = format!("{mailbox}/messages/{message}/raw");
    assert!(platform.tenant.api.get(&raw).await.expect_status(200).body == VOICEMAIL_WAV);
    // The bytes come from the bucket now: nothing of them is left here.
    server.remove("recordings", key);
    platform.tenant.api.get(&raw).await.expect_status(502);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_bytes_than_were_stored_never_come_to_a_good_end() {
    let (platform, server) = Platform::with_bucket().await;
    let mailbox = platform.mailbox().await;
    let message = platform.voicemail(&mailbox).await;
    platform.until_delivered().await;
    let key = server.keys("recordings").remove(0);
    server.plant("recordings", &key, &vec![7; VOICEMAIL_WAV.len()]);
    let raw = format!("{}{mailbox}/messages/{message}/raw", platform.program.url());
    let read = async || {
        let asked = reqwest::Client::new().get(&raw).header("x-auth-token", platform.tenant.api.token().unwrap());
        asked.send().await?.bytes().await
    };
    assert!(read().await.is_err(), "a length that is right is not all");
    server.plant("recordings", &key, VOICEMAIL_WAV);
    assert!(read().await.unwrap() == VOICEMAIL_WAV);
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_11_an_outage_is_survived_by_waiting_and_seen_meanwhile() {
    let (platform, server) = Platform::with_bucket().await;
    let mailbox = platform.mailbox().await;
    server.stop();
    let message = platform.voicemail(&mailbox).await;
    until("an attempt has failed", async || {
        platform
            .deliveries()
            .await
            .iter()
            .any(|row| row["attempts"].as_u64() > Some(0) && row["last_error"].is_object())
    })
    .await;
    let waiting = platform.deliveries().await;
    assert_eq!(waiting.len(), 1);
    let row = &waiting[0];
    for (key, wanted) in [
        ("document_id", json!(message)),
        ("doc_type", json!("mailbox_message")),
        ("handler_id", json!(HANDLER)),
        ("handler", json!("s3")),
        ("size", json!(VOICEMAIL_WAV.len())),
    ] {
        assert_eq!(row[key], wanted, "{row}");
    }
    assert!(row["state"] == "waiting" || row["state"] == "running", "{row}");
    assert!(row["since"].as_i64() > Some(63_000_000_000) && row["last_error"]["message"].is_string(), "{row}");
    // It can be heard all the same.
    let raw = format!("{mailbox}/messages/{message}/raw");
    assert!(platform.tenant.api.get(&raw).await.expect_status(200).body == VOICEMAIL_WAV);
    server.restart();
    let retry = platform
        .tenant
        .api
        .post(&format!("{}/deliveries", platform.storage()), &json!({"data": {"action": "retry"}}))
        .await;
    retry.expect_status(200);
    platform.until_delivered().await;
    assert_eq!(server.objects("recordings").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_not_final_and_a_corrected_handler_is_tried_at_once() {
    let config =
        super::fixture::CONFIG.replace("backoff_min = \"20ms\"", "backoff_min = \"1h\"").replace("\"200ms\"", "\"2h\"");
    let platform = Platform::with(&config).await;
    let (server, settings) = bucket();
    platform.route_voicemail_to(settings.clone()).await;
    let mailbox = platform.mailbox().await;
    server.faults().rule(|seen| (seen.method == "PUT").then(|| Fault::status(403)));
    platform.voicemail(&mailbox).await;
    until("the refusal is seen", async || {
        platform.deliveries().await.iter().any(|row| row["last_error"]["http_status"] == 403)
    })
    .await;
    server.faults().heal();
    // Nothing is due for an hour, until the handler's settings change.
    let mut named = settings;
    named["region"] = json!("us-east-1");
    let change = json!({"data": {"attachments": {HANDLER: {"settings": named}}}});
    platform.tenant.api.patch(&platform.storage(), &change).await.expect_status(200);
    platform.until_delivered().await;
    assert_eq!(server.objects("recordings").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_accepted_survives_a_kill() {
    let (mut platform, server) = Platform::with_bucket().await;
    let mailbox = platform.mailbox().await;
    server.stop();
    let mut accepted = Vec::new();
    for _ in 0..5 {
        accepted.push(platform.voicemail(&mailbox).await);
    }
    platform.program.kill9();
    server.restart();
    platform.program.restart();
    platform.until_delivered().await;
    let objects = server.objects("recordings");
    assert_eq!(objects.len(), accepted.len(), "each once");
    for message in accepted {
        assert!(objects.iter().any(|(key, bytes)| key.contains(&message) && bytes == VOICEMAIL_WAV), "{message}");
    }
    let spool = platform.program.data_dir().join("spool");
    until("nothing is left in the spool", async || walk(&spool).is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_handler_still_gets_what_was_meant_for_it_and_gives_what_it_has() {
    let (platform, server) = Platform::with_bucket().await;
    let mailbox = platform.mailbox().await;
    let early = platform.voicemail(&mailbox).await;
    platform.until_delivered().await;
    server.stop();
    let late = platform.voicemail(&mailbox).await;
    platform
        .tenant
        .api
        .patch(&platform.storage(), &json!({"data": {"attachments": {}, "plan": {}}}))
        .await
        .expect_status(200);
    let shown = platform.tenant.api.get(&platform.storage()).await.data();
    assert_eq!(shown["attachments"], json!({}));
    server.restart();
    platform.until_delivered().await;
    assert_eq!(server.objects("recordings").len(), 2);
    for message in [early, late] {
        let raw = format!("{mailbox}/messages/{message}/raw");
        assert!(platform.tenant.api.get(&raw).await.expect_status(200).body == VOICEMAIL_WAV);
    }
    // What comes now stays here.
    let local = platform.voicemail(&mailbox).await;
    assert!(platform.deliveries().await.is_empty());
    assert!(
        platform.tenant.api.get(&format!("{mailbox}/messages/{local}/raw")).await.expect_status(200).body
            == VOICEMAIL_WAV
    );
    assert_eq!(server.objects("recordings").len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn reroute_sends_what_waits_by_todays_plan() {
    let (platform, old) = Platform::with_bucket().await;
    let mailbox = platform.mailbox().await;
    old.stop();
    let message = platform.voicemail(&mailbox).await;
    let (new, settings) = bucket();
    let other = "0123456789abcdef0123456789abcdef";
    let change = json!({"data": {
        "attachments": {other: {"handler": "s3", "settings": settings}},
        "plan": {"modb": {"types": {"mailbox_message": {"attachments": {"handler": other}}}}},
    }});
    platform.tenant.api.patch(&platform.storage(), &change).await.expect_status(200);
    let path = format!("{}/deliveries", platform.storage());
    let answer =
        platform.tenant.api.post(&path, &json!({"data": {"action": "reroute"}})).await.expect_status(200).data();
    assert_eq!(answer["deliveries"], 1);
    platform.until_delivered().await;
    assert_eq!(new.objects("recordings").len(), 1);
    let raw = format!("{mailbox}/messages/{message}/raw");
    assert!(platform.tenant.api.get(&raw).await.expect_status(200).body == VOICEMAIL_WAV);
    for bad in [
        json!({}),
        json!({"action": "drop"}),
        json!({"action": "retry", "ids": "all"}),
        json!({"action": "retry", "ids": [7]}),
    ] {
        platform.tenant.api.post(&path, &json!({"data": bad})).await.expect_status(400);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_13_a_mirror_is_read_from_either_side() {
    let (platform, server) = Platform::with_bucket().await;
    let stub = json!({"data": {"plan": {"modb": {"types": {"mailbox_message": {"attachments": {"stub": true}}}}}}});
    platform.tenant.api.patch(&platform.storage(), &stub).await.expect_status(200);
    let mailbox = platform.mailbox().await;
    let message = platform.voicemail(&mailbox).await;
    platform.until_delivered().await;
    assert_eq!(server.objects("recordings").len(), 1);
    server.stop();
    let raw = format!("{mailbox}/messages/{message}/raw");
    assert!(platform.tenant.api.get(&raw).await.expect_status(200).body == VOICEMAIL_WAV);
    // The copy here is lost, the destination is back: what it holds is what is heard.
    let size = VOICEMAIL_WAV.len() as u64;
    let kept = walk(&platform.program.data_dir().join("attachments"));
    let copy: Vec<_> = kept.into_iter().filter(|file| file.metadata().is_ok_and(|file| file.len() == size)).collect();
    assert_eq!(copy.len(), 1, "{copy:?}");
    std::fs::remove_file(&copy[0]).unwrap();
    server.restart();
    assert!(platform.tenant.api.get(&raw).await.expect_status(200).body == VOICEMAIL_WAV);
    let part = platform.tenant.api.request(reqwest::Method::GET, &raw).header("range", "bytes=10-19");
    assert!(platform.tenant.api.send(part).await.expect_status(206).body == VOICEMAIL_WAV[10..20]);
}

/// The files below a folder.
fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { found.extend(walk(&path)) } else { found.push(path) }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_whose_bucket_hangs_leaves_workers_to_others() {
    let six = CONFIG.replace("[delivery]\n", "[delivery]\nconcurrency = 6\n");
    let platform = Platform::with(&six).await;
    let (hanging, settings) = bucket();
    platform.route_voicemail_to(settings).await;
    hanging.faults().always(Fault::BlackHole);
    let mailbox = platform.mailbox().await;
    for _ in 0..8 {
        platform.voicemail(&mailbox).await;
    }
    let running = async || platform.deliveries().await.iter().filter(|row| row["state"] == "running").count();
    until("it has as many workers as it leaves", async || running().await == 3).await;
    // Another tenant, whose bucket is well.
    let (server, settings) = bucket();
    let storage = format!("/v2/accounts/{}/storage", platform.master.id);
    let document = json!({"data": {
        "attachments": {HANDLER: {"handler": "s3", "name": "bucket", "settings": settings}},
        "plan": {"modb": {"types": {"call_recording": {"attachments": {"handler": HANDLER}}}}},
    }});
    platform.master.api.put(&storage, &document).await.expect_status(201);
    for number in 0..5 {
        let path = format!("/v2/ingest/{}/recordings/{number}.wav", platform.master.id);
        platform.master.api.upload(reqwest::Method::PUT, &path, "audio/wav", VOICEMAIL_WAV).await.expect_status(201);
    }
    until("the other's are delivered", async || server.keys("recordings").len() == 5).await;
    assert_eq!(running().await, 3, "and the hanging ones hang");
}

//! Clouds' own storage, end to end, on their makers' emulators: a storage document, a message, its object, a part of it, and its removal.

use bytes::Bytes;
use reqwest::Method;
use serde_json::{Value, json};
use testkit::{AzureServer, GcsServer, VOICEMAIL_WAV};

use super::fixture::{HANDLER, Platform, until};

const PLACE: &str = "recordings";

fn document(kind: &str, settings: &Value) -> Value {
    json!({"data": {
        "attachments": {HANDLER: {"handler": kind, "name": "store", "settings": settings}},
        "plan": {"modb": {"types": {"mailbox_message": {"attachments": {"handler": HANDLER, "delete": true}}}}},
    }})
}

/// What a tenant does with a cloud's storage. `wrong` are settings with something wrong, and what the answer says to it.
async fn walk(
    kind: &str,
    settings: Value,
    wrong: &[(Value, &str)],
    objects: &(dyn Fn() -> Vec<(String, Bytes)> + Sync),
) {
    let platform = Platform::start().await;
    let api = &platform.tenant.api;
    for (settings, says) in wrong {
        let refused = api.put(&platform.storage(), &document(kind, settings)).await.expect_status(400).data();
        assert!(refused.to_string().contains(says), "{kind} {says}: {refused}");
        assert!(!refused.to_string().contains("hunter2"), "{kind}: {refused}");
    }
    api.put(&platform.storage(), &document(kind, &settings)).await.expect_status(201);
    assert!(objects().is_empty(), "{kind}: the probe leaves nothing");

    let mailbox = platform.mailbox().await;
    let message = platform.voicemail(&mailbox).await;
    platform.until_delivered().await;
    let found = objects();
    assert_eq!(found.len(), 1, "{kind}");
    assert!(found[0].0.contains(&message) && found[0].1 == VOICEMAIL_WAV, "{kind}: {}", found[0].0);

    let raw = format!("{mailbox}/messages/{message}/raw");
    let whole = api.get(&raw).await.expect_status(200);
    assert!(whole.body == VOICEMAIL_WAV, "{kind}");
    assert_eq!(whole.headers["content-type"], "audio/wav", "{kind}");
    let part = api.send(api.request(Method::GET, &raw).header("range", "bytes=1000-1999")).await.expect_status(206);
    assert!(part.body == VOICEMAIL_WAV[1000..2000], "{kind}");
    let total = VOICEMAIL_WAV.len();
    assert_eq!(part.headers["content-range"], format!("bytes 1000-1999/{total}"), "{kind}");
    let past = api.send(api.request(Method::GET, &raw).header("range", format!("bytes={total}-"))).await;
    past.expect_status(416);

    api.delete(&format!("{mailbox}/messages/{message}")).await.expect_status(200);
    until(&format!("{kind}: the object is gone"), async || objects().is_empty()).await;
    api.get(&raw).await.expect_status(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_are_sent_to_the_bucket_where_its_settings_say_so() {
    let (server, mut settings) = super::fixture::bucket();
    settings["redirect_reads"] = true.into();
    let platform = Platform::start().await;
    platform.route_voicemail_to(settings).await;
    let (api, mailbox) = (&platform.tenant.api, platform.mailbox().await);
    server.faults().rule(|seen| (seen.method == "PUT").then(testkit::Fault::unavailable));
    let message = platform.voicemail(&mailbox).await;
    let raw = format!("{mailbox}/messages/{message}/raw");
    // What is not there yet comes from here.
    assert!(api.get(&raw).await.expect_status(200).body == VOICEMAIL_WAV);
    server.faults().heal();
    platform.until_delivered().await;
    let before = server.faults().seen().len();
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let url = format!("{}{raw}", platform.program.url());
    let sent = client.get(url).header("x-auth-token", api.token().unwrap()).send().await.unwrap();
    assert_eq!((sent.status().as_u16(), sent.headers()["cache-control"].as_bytes()), (302, &b"no-store"[..]));
    let link = sent.headers()["location"].to_str().unwrap().to_owned();
    assert!(link.starts_with(&server.url()) && link.contains("X-Amz-Expires=60"), "{link}");
    assert_eq!(server.faults().seen().len(), before, "nothing was asked for on the reader's behalf");
    let read = client.get(&link).header("range", "bytes=0-3").send().await.unwrap();
    assert_eq!((read.status().as_u16(), &read.bytes().await.unwrap()[..]), (206, &b"RIFF"[..]));
    assert_eq!(client.get(link.replace("X-Amz-Expires=60", "X-Amz-Expires=6000")).send().await.unwrap().status(), 403);
    // Without a token nobody is sent anywhere.
    api.anonymous().get(&raw).await.expect_status(401);
}

fn with(mut settings: Value, name: &str, value: Value) -> Value {
    settings[name] = value;
    settings
}

#[tokio::test(flavor = "multi_thread")]
async fn azure_keeps_messages_in_a_container() {
    let Some(server) = AzureServer::start() else { return };
    server.container(PLACE);
    let settings = server.settings(PLACE);
    let mut signed = settings.clone();
    signed.as_object_mut().unwrap().remove("key");
    let signed = with(signed, "sas_token", server.sas("rwdlac").into());
    let wrong = [
        (with(settings.clone(), "key", json!("aHVudGVyMi1vdGhlcg==")), "Server failed to authenticate the request"),
        (with(settings.clone(), "container", json!("nobodys")), "container"),
        (with(settings.clone(), "base_url", json!("http://10.1.2.3/x")), "egress"),
    ];
    walk("azure", settings, &wrong, &|| server.objects(PLACE)).await;
    walk("azure", signed, &[], &|| server.objects(PLACE)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn google_storage_keeps_messages_in_a_bucket() {
    let Some(server) = GcsServer::start() else { return };
    server.bucket(PLACE);
    let settings = server.settings(PLACE);
    let mut keyless = settings.clone();
    keyless["service_account"]["private_key"] = json!("hunter2");
    let wrong = [
        (keyless, "service_account"),
        (with(settings.clone(), "bucket", json!("nobodys")), "\"error_code\":404"),
        (with(settings.clone(), "base_url", json!("http://10.1.2.3")), "egress"),
    ];
    walk("google_storage", settings, &wrong, &|| server.objects(PLACE)).await;
    let grants = server.tokens().granted();
    assert!(!grants.is_empty() && grants.iter().all(|grant| grant.ends_with(":jwt-bearer")), "{grants:?}");
}

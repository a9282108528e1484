//! The reference's own scenarios for storage over `http`, end to end.

use serde_json::json;
use testkit::{HttpStore, VOICEMAIL_WAV};

use super::fixture::{HANDLER, Platform};

async fn route(platform: &Platform, settings: serde_json::Value) {
    let document = json!({"data": {
        "attachments": {HANDLER: {"handler": "http", "name": "store", "settings": settings}},
        "plan": {"modb": {"types": {"mailbox_message": {"attachments": {"handler": HANDLER}}}}},
    }});
    platform.tenant.api.put(&platform.storage(), &document).await.expect_status(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn base_multipart_with_base64_and_a_field_list() {
    let platform = Platform::start().await;
    let store = HttpStore::start();
    store.decode_base64(false);
    let field_list =
        json!([{"arg": "account_id"}, {"arg": "id"}, {"group": [{"arg": "attachment"}, {"const": "?from=x"}]}]);
    let url = format!("{}/prefix", store.url());
    let settings = json!({"url": url, "verb": "post", "send_multipart": true, "base64_encode_data": true, "field_list": field_list});
    route(&platform, settings).await;
    let probe = store.requests().into_iter().find(|request| request.method == "POST").expect("the probe arrived");
    assert!(probe.path.starts_with(&format!("/prefix/{}/", platform.tenant.id)), "{}", probe.path);
    let mailbox = platform.mailbox().await;
    let message = platform.voicemail(&mailbox).await;
    platform.until_delivered().await;
    let posts: Vec<_> = store
        .requests()
        .into_iter()
        .filter(|request| request.method == "POST" && request.path.contains(&message))
        .collect();
    let parts = posts[0].parts().expect("a multipart body");
    let about: serde_json::Value = serde_json::from_slice(&parts[0].body).unwrap();
    assert_eq!(
        (about["metadata"]["media_id"].as_str(), parts[0].content_type.as_str()),
        (Some(message.as_str()), "application/json")
    );
    let raw = format!("{mailbox}/messages/{message}/raw");
    assert_eq!(parts.len(), 2);
    assert!(parts[1].body.len() > VOICEMAIL_WAV.len(), "base64 is longer");
    let answer = platform.tenant.api.get(&format!("{mailbox}/messages/{message}")).await.expect_status(200).data();
    assert_eq!(answer["media_id"], message.as_str());
    // This store gives back what it was sent, multipart and all: what a real one does with it is its own affair.
    assert!(platform.tenant.api.get(&raw).await.status < 500 || platform.tenant.api.get(&raw).await.status == 502);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_with_a_query_takes_the_path_as_its_last_value() {
    let platform = Platform::start().await;
    let store = HttpStore::start();
    let url = format!("{}/i.cgi?k=s3cret&recording=", store.url());
    route(&platform, json!({"url": url, "verb": "put"})).await;
    let mailbox = platform.mailbox().await;
    let message = platform.voicemail(&mailbox).await;
    platform.until_delivered().await;
    let put = store
        .requests()
        .into_iter()
        .find(|request| request.method == "PUT" && request.query.contains(&message))
        .unwrap();
    assert!(put.path == "/i.cgi" && put.query.starts_with("k=s3cret&recording="), "{} {}", put.path, put.query);
    let shown = platform.tenant.api.get(&format!("{mailbox}/messages/{message}")).await.data().to_string();
    assert!(!shown.contains("s3cret"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_field_list_sends_all_to_one_url() {
    let platform = Platform::start().await;
    let store = HttpStore::start();
    let url = format!("{}/drop", store.url());
    route(&platform, json!({"url": url, "verb": "post", "field_list": []})).await;
    let mailbox = platform.mailbox().await;
    let message = platform.voicemail(&mailbox).await;
    platform.until_delivered().await;
    let raw = format!("{mailbox}/messages/{message}/raw");
    assert!(platform.tenant.api.get(&raw).await.expect_status(200).body == VOICEMAIL_WAV);
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_8_what_http_stored_is_read_from_where_it_is_and_decoded() {
    let base64 = json!({"verb": "post", "send_multipart": true, "base64_encode_data": true});
    for (more, decodes) in [(json!({"verb": "put"}), false), (base64.clone(), false), (base64, true)] {
        let platform = Platform::start().await;
        let store = HttpStore::start();
        store.decode_base64(decodes);
        let mut settings = more.clone();
        settings["url"] = format!("{}/prefix", store.url()).into();
        route(&platform, settings).await;
        let mailbox = platform.mailbox().await;
        let message = platform.voicemail(&mailbox).await;
        platform.until_delivered().await;
        let of_message = |method: &str| {
            let mut requests = store.requests().into_iter();
            requests.rfind(|request| request.method == method && request.path.contains(&message))
        };
        let stored = of_message("PUT").or_else(|| of_message("POST")).unwrap().path;
        let raw = format!("{mailbox}/messages/{message}/raw");
        assert!(
            platform.tenant.api.get(&raw).await.expect_status(200).body == VOICEMAIL_WAV,
            "{more}, decodes: {decodes}"
        );
        let read = of_message("GET").unwrap();
        assert_eq!(read.path, stored, "the location once, not twice");
        let metadata = format!("media_id={message}");
        assert!(read.query.contains(&metadata), "the metadata as the query: {}", read.query);
    }
}

//! What is promised of `google_storage` alone.

use attachments::{Assurance, ErrorKind, Handler, Receipt};
use bytes::Bytes;
use serde_json::{Map, Value, json};
use testkit::Fault;

use crate::fixture::google_storage::{BUCKET, GoogleStorage};
use crate::fixture::{Fixture, audio, key, noise, open, place, pool, read};

async fn put(handler: &dyn Handler, id: &str, bytes: &Bytes) -> Result<Receipt, attachments::Error> {
    let place = place("google_storage", &Map::new(), id, "message.wav");
    handler.put(&place, &audio(bytes), &key(id, "message.wav")).await
}

#[tokio::test]
async fn one_request_is_enough_and_one_token_for_all() {
    let Some(gcs) = GoogleStorage::start() else { return };
    let handler = open(&gcs);
    let receipt = put(handler.as_ref(), "d1", &noise(100)).await.unwrap();
    assert_eq!(gcs.server.objects(BUCKET)[0].0, "d1_message.wav");
    let seen = gcs.server.faults().seen();
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert!(seen[0].query.contains("ifGenerationMatch=0"));
    read(handler.fetch(&receipt, None, &Value::Null).await.unwrap()).await.unwrap();
    let granted = gcs.server.tokens().granted();
    assert_eq!(granted, ["urn:ietf:params:oauth:grant-type:jwt-bearer"]);
    // The key file as a text is the same.
    let mut settings = gcs.settings();
    let text = settings["service_account"].to_string();
    settings.insert("service_account".into(), text.into());
    put(pool().open("google_storage", &settings).unwrap().as_ref(), "d2", &noise(100)).await.unwrap();
}

#[tokio::test]
async fn a_token_that_is_refused_is_renewed_and_the_request_made_again() {
    let Some(gcs) = GoogleStorage::start() else { return };
    let handler = open(&gcs);
    put(handler.as_ref(), "d1", &noise(100)).await.unwrap();
    gcs.server.faults().next([Fault::status(401)]);
    put(handler.as_ref(), "d2", &noise(200)).await.unwrap();
    assert_eq!(gcs.server.tokens().granted().len(), 2);
    // Refused with a fresh one too: then it is we who are refused.
    gcs.server.faults().next([Fault::status(401), Fault::status(401)]);
    assert_eq!(put(handler.as_ref(), "d3", &noise(300)).await.unwrap_err().kind(), ErrorKind::Refused);
}

#[tokio::test]
async fn without_a_token_the_failure_is_that_of_a_kazoo() {
    let Some(gcs) = GoogleStorage::start() else { return };
    let refusal =
        Fault::status(400).with_body("{\"error\":\"invalid_grant\",\"error_description\":\"Invalid JWT Signature.\"}");
    gcs.server.tokens().faults().always(refusal);
    let error = put(open(&gcs).as_ref(), "d1", &noise(100)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Revoked);
    let exchange = error.exchange().unwrap();
    assert_eq!((exchange.status, exchange.code.as_deref()), (Some(401), Some("invalid_grant")));
    assert_eq!(exchange.message.as_deref(), Some("oauth_failure: Invalid JWT Signature."));
    assert!(gcs.server.faults().seen().is_empty());
    // A consent that nobody knows.
    let settings = json!({"bucket": BUCKET, "oauth_doc_id": "none", "base_url": "http://127.0.0.1:1"});
    let handler = pool().open("google_storage", settings.as_object().unwrap()).unwrap();
    let error = put(handler.as_ref(), "d1", &noise(100)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    assert_eq!(error.exchange().unwrap().message.as_deref(), Some("oauth_failure"));
}

#[tokio::test]
async fn a_large_payload_goes_in_a_session_and_there_at_once() {
    let Some(gcs) = GoogleStorage::start() else { return };
    let bytes = noise(20 << 20);
    let handler = open(&gcs);
    let receipt = put(handler.as_ref(), "d1", &bytes).await.unwrap();
    assert_eq!(receipt.assurance, Assurance::Checksum);
    let seen = gcs.server.faults().seen();
    let ranges: Vec<&str> = seen.iter().filter_map(|seen| seen.headers.get("content-range")?.to_str().ok()).collect();
    assert_eq!(ranges, ["bytes 0-20971519/20971520"]);
    assert!(read(handler.fetch(&receipt, None, &Value::Null).await.unwrap()).await.unwrap() == bytes);
    // A session that is refused names itself nowhere: its address lets anybody in.
    // Nor does the question how far it came, which the emulator would take for the end.
    gcs.server.faults().next([Fault::Pass, Fault::unavailable(), Fault::unavailable()]);
    let error = put(handler.as_ref(), "d2", &bytes).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(!format!("{error:?}").contains("upload_id"), "{error:?}");
}

#[tokio::test]
async fn the_providers_word_goes_before_its_number() {
    let Some(gcs) = GoogleStorage::start() else { return };
    for (reason, kind) in [
        ("userRateLimitExceeded", ErrorKind::Throttled),
        ("quotaExceeded", ErrorKind::Full),
        ("backendError", ErrorKind::Unavailable),
        ("forbidden", ErrorKind::Refused),
    ] {
        let body = json!({"error": {"code": 403, "message": "no", "errors": [{"reason": reason}]}});
        gcs.server.faults().next([Fault::status(403).with_body(&body.to_string())]);
        assert_eq!(put(open(&gcs).as_ref(), "d1", &noise(100)).await.unwrap_err().kind(), kind, "{reason}");
    }
}

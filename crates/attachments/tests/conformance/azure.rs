//! What is promised of `azure` alone.

use attachments::{Assurance, ErrorKind, Handler, Receipt};
use bytes::Bytes;
use serde_json::{Map, Value};
use testkit::Fault;

use crate::fixture::azure::{Azure, CONTAINER};
use crate::fixture::{Fixture, audio, key, noise, object, open, place, pool, read};

async fn put(handler: &dyn Handler, id: &str, bytes: &Bytes) -> Result<Receipt, attachments::Error> {
    let place = place("azure", &Map::new(), id, "message.wav");
    handler.put(&place, &audio(bytes), &key(id, "message.wav")).await
}

#[tokio::test]
async fn one_request_is_enough_and_the_name_is_kazoos() {
    let Some(azure) = Azure::start() else { return };
    put(open(&azure).as_ref(), "d1", &noise(100)).await.unwrap();
    assert_eq!(azure.server.objects(CONTAINER)[0].0, "d1_message.wav");
    let seen = azure.server.faults().seen();
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_eq!(seen[0].headers["if-none-match"], "*");
}

#[tokio::test]
async fn a_shared_access_signature_stands_for_the_key() {
    let Some(azure) = Azure::start() else { return };
    let mut settings = azure.settings();
    settings.remove("key");
    settings.insert("sas_token".into(), format!("?{}", azure.server.sas("rwdlac")).into());
    let handler = pool().open("azure", &settings).unwrap();
    for length in [100, 17 << 20, 101 << 20] {
        let bytes = noise(length);
        let receipt = put(handler.as_ref(), &format!("d{length}"), &bytes).await.unwrap();
        assert_eq!(receipt.assurance, Assurance::Checksum);
        assert!(!serde_json::to_string(&receipt).unwrap().contains("sig="));
        assert!(read(handler.fetch(&receipt, None, &Value::Null).await.unwrap()).await.unwrap() == bytes);
        handler.delete(&receipt).await.unwrap();
    }
    // One that may only create: what it cannot look at it takes the service's word for.
    settings.insert("sas_token".into(), azure.server.sas("c").into());
    let handler = pool().open("azure", &settings).unwrap();
    let receipt = put(handler.as_ref(), "d1", &noise(100)).await.unwrap();
    assert_eq!(receipt.assurance, Assurance::Checksum);
    let error = handler.fetch(&receipt, None, &Value::Null).await.map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(!format!("{error:?} {handler:?}").contains("sig="), "{error:?}");
}

#[tokio::test]
async fn a_missing_container_is_not_found() {
    let Some(azure) = Azure::start() else { return };
    let handler = pool().open("azure", &object(azure.server.settings("nowhere"))).unwrap();
    let error = put(handler.as_ref(), "d1", &noise(100)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(error.exchange().unwrap().code.as_deref(), Some("ContainerNotFound"));
    assert_eq!(error.exchange().unwrap().message.as_deref(), Some("The specified container does not exist."));
}

#[tokio::test]
async fn a_large_payload_goes_in_blocks_once() {
    let Some(azure) = Azure::start() else { return };
    let bytes = noise(101 << 20);
    azure.server.faults().rule(|seen| {
        let last = seen.query.ends_with(&format!("blockid={}%3D", "MDAwMDAwMDI"));
        last.then(Fault::unavailable)
    });
    let handler = open(&azure);
    assert_eq!(put(handler.as_ref(), "d1", &bytes).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(azure.server.objects(CONTAINER).is_empty());
    azure.server.faults().heal();
    let receipt = put(handler.as_ref(), "d1", &bytes).await.unwrap();
    assert_eq!(receipt.assurance, Assurance::Checksum);
    // Once more: one look, and not a byte.
    let before = azure.server.faults().seen().len();
    put(handler.as_ref(), "d1", &bytes).await.unwrap();
    assert_eq!(azure.server.faults().seen().len(), before + 1);
    assert_eq!(put(handler.as_ref(), "d1", &noise((101 << 20) + 1)).await.unwrap_err().kind(), ErrorKind::Conflict);
    // It was put together, and nobody heard of it.
    azure.server.faults().rule(|seen| seen.query.starts_with("comp=blocklist").then_some(Fault::LoseAnswer));
    put(handler.as_ref(), "d2", &bytes).await.unwrap();
}

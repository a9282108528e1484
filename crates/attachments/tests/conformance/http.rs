//! What is promised of `http` alone.

use std::sync::Arc;

use attachments::{Advice, Assurance, ErrorKind, Receipt};
use bytes::Bytes;
use outbound::{Client, Policy};
use serde_json::{Map, Value, json};
use testkit::{Fault, HttpStore};

use crate::fixture::{ACCOUNT, audio, key, noise, object, place, pool, public, read};

fn settings(url: &str, more: Value) -> Map<String, Value> {
    let mut settings = object(more);
    settings.insert("url".into(), url.into());
    settings
}

async fn put(settings: &Map<String, Value>, id: &str, bytes: &Bytes) -> Result<Receipt, attachments::Error> {
    let place = place("http", settings, id, "message.wav");
    pool().open("http", settings).unwrap().put(&place, &audio(bytes), &key(id, "message.wav")).await
}

async fn fetch(settings: &Map<String, Value>, receipt: &Receipt) -> Result<Bytes, attachments::Error> {
    let handler = pool().open("http", settings).unwrap();
    read(handler.fetch(receipt, None, &public("d1")).await?).await
}

#[tokio::test]
async fn the_request_is_as_kazoos() {
    let store = HttpStore::start();
    for (verb, method) in [(None, "PUT"), (Some("put"), "PUT"), (Some("POST"), "POST"), (Some("post"), "POST")] {
        let settings = settings(&format!("{}/in/", store.url()), json!({"verb": verb}));
        put(&settings, "d1", &noise(100)).await.unwrap();
        let upload = store.uploads().pop().unwrap();
        assert_eq!(upload.method.as_str(), method);
        assert_eq!(upload.path, format!("/in/{ACCOUNT}/d1/message.wav"));
        assert_eq!(upload.headers["content-type"], "audio/wav");
        assert_eq!(upload.headers["content-length"], "100");
        assert!(!upload.headers.contains_key("expect"));
    }
    // It was read back, with the metadata as query.
    let looked = store.requests().pop().unwrap();
    assert_eq!((looked.method.as_str(), looked.query.as_str()), ("GET", "media_id=d1&caller=a+b"));
}

#[tokio::test]
async fn a_form_has_the_document_and_the_file() {
    let store = HttpStore::start();
    for (base64, sent) in [(false, Bytes::from_static(b"hello")), (true, Bytes::from_static(b"aGVsbG8="))] {
        let settings =
            settings(&store.url(), json!({"verb": "post", "send_multipart": true, "base64_encode_data": base64}));
        let receipt = put(&settings, "d1", &Bytes::from_static(b"hello")).await.unwrap();
        assert_eq!((receipt.assurance, receipt.base64), (Assurance::ReadBack, base64));
        let parts = store.uploads().pop().unwrap().parts().unwrap();
        assert_eq!(parts.len(), 2);
        assert_eq!((parts[0].name.as_str(), parts[0].content_type.as_str()), ("d1", "application/json"));
        assert_eq!(serde_json::from_slice::<Value>(&parts[0].body).unwrap(), public("d1"));
        assert_eq!((parts[1].name.as_str(), parts[1].content_type.as_str()), ("message.wav", "audio/wav"));
        assert_eq!(parts[1].body, sent);
        for decodes in [false, true] {
            store.decode_base64(decodes);
            assert_eq!(fetch(&settings, &receipt).await.unwrap(), "hello", "the store decodes: {decodes}");
        }
    }
    // Without a form the option is without effect.
    let settings = settings(&store.url(), json!({"base64_encode_data": true}));
    assert!(!put(&settings, "d2", &Bytes::from_static(b"hello")).await.unwrap().base64);
    assert_eq!(store.uploads().pop().unwrap().body, "hello");
}

#[tokio::test]
async fn a_url_with_a_query_takes_the_path_at_its_end() {
    let store = HttpStore::start();
    let url = format!("{}/i.cgi?token=old&rec=", store.url());
    let first = settings(&url, json!({}));
    let receipt = put(&first, "d1", &noise(100)).await.unwrap();
    let upload = store.uploads().pop().unwrap();
    assert_eq!((upload.path.as_str(), upload.query), ("/i.cgi", format!("token=old&rec={ACCOUNT}/d1/message.wav")));
    assert_eq!(receipt.assurance, Assurance::Acknowledged, "what a script gives at a query is not looked at");
    let stored = serde_json::to_string(&receipt).unwrap();
    assert!(!stored.contains("old"), "{stored}");
    // The query of the day is used.
    let rotated = settings(&url.replace("old", "new"), json!({}));
    assert_eq!(fetch(&rotated, &receipt).await.unwrap(), noise(100));
    let asked = store.requests().pop().unwrap().query;
    assert_eq!(asked, format!("token=new&rec={ACCOUNT}/d1/message.wav&media_id=d1&caller=a+b"));
}

#[tokio::test]
async fn one_name_for_all_is_neither_read_back_nor_removed() {
    let store = HttpStore::start();
    let settings = settings(&store.url(), json!({"field_list": []}));
    let first = put(&settings, "d1", &noise(100)).await.unwrap();
    assert_eq!((first.assurance, first.shared), (Assurance::Acknowledged, true));
    assert_eq!(fetch(&settings, &first).await.unwrap(), noise(100));
    put(&settings, "d2", &noise(200)).await.unwrap();
    assert_eq!(fetch(&settings, &first).await.unwrap_err().kind(), ErrorKind::Mismatch, "never another's bytes");
    pool().open("http", &settings).unwrap().delete(&first).await.unwrap();
    assert_eq!(store.objects().len(), 1, "it is another's by now");
}

#[tokio::test]
async fn redirects_are_followed_with_method_and_body() {
    let (front, back) = (HttpStore::start(), HttpStore::start());
    for status in [301, 302] {
        let there = format!("{}/kept/{status}", back.url());
        front.faults().next([Fault::redirect(status, &there)]);
        let settings = settings(&format!("http://me:hunter2@{}/in", front.address()), json!({"verb": "post"}));
        let receipt = put(&settings, "d1", &noise(100)).await.unwrap();
        let upload = back.uploads().pop().unwrap();
        assert_eq!((upload.method.as_str(), upload.path.as_str()), ("POST", format!("/kept/{status}").as_str()));
        assert_eq!(upload.body, noise(100));
        assert!(!upload.headers.contains_key("authorization"), "our password is not for others");
        assert_eq!(receipt.moved_to.as_deref(), Some(there.as_str()));
        assert_eq!(receipt.assurance, Assurance::ReadBack);
        assert_eq!(fetch(&settings, &receipt).await.unwrap(), noise(100));
    }
    // A pass in the query is not kept: the object is asked for where it was sent, and followed again.
    let pass = format!("{}/kept/pass?sig=hunter2", back.url());
    front.faults().always(Fault::redirect(302, &pass));
    let settings = settings(&front.url(), json!({}));
    let receipt = put(&settings, "d1", &noise(100)).await.unwrap();
    assert!(!serde_json::to_string(&receipt).unwrap().contains("hunter2"));
    assert_eq!(fetch(&settings, &receipt).await.unwrap(), noise(100));
}

#[tokio::test]
async fn redirects_that_lead_nowhere_are_errors() {
    let store = HttpStore::start();
    let settings = settings(&store.url(), json!({}));
    let here = format!("{}/{ACCOUNT}/d1/message.wav", store.url());
    let chain: Vec<Fault> = (0..12).map(|n| Fault::redirect(302, &format!("/hop/{n}"))).collect();
    for (faults, code, status) in [
        (vec![Fault::redirect(302, &here)], "redirect_loop_detected", None),
        (vec![Fault::redirect(302, "/a"), Fault::redirect(301, &here)], "redirect_loop_detected", None),
        (vec![Fault::status(302)], "redirection_with_no_location", None),
        (chain, "too_many_redirects", None),
        (vec![Fault::redirect(307, "/a")], "", Some(307)),
        (vec![Fault::redirect(308, "/a")], "", Some(308)),
    ] {
        store.faults().next(faults);
        let error = put(&settings, "d1", &noise(100)).await.unwrap_err();
        store.faults().heal();
        assert_eq!(error.kind(), ErrorKind::Rejected, "{code}");
        let exchange = error.exchange().unwrap();
        assert_eq!((exchange.code.as_deref().unwrap_or_default(), exchange.status), (code, status));
    }
    assert!(store.uploads().is_empty());
}

#[tokio::test]
async fn a_redirect_to_a_forbidden_address_is_not_followed() {
    let (front, back) = (HttpStore::start(), HttpStore::start());
    // Of this machine's addresses one is open and the other is not.
    let policy = Policy::new(vec!["127.0.0.1/32".parse().unwrap()]);
    let client = Client::new(Arc::new(policy)).unwrap();
    front.faults().always(Fault::redirect(302, &format!("http://127.0.0.2:{}/x", back.address().port())));
    let settings = settings(&front.url(), json!({}));
    let place = place("http", &settings, "d1", "message.wav");
    let handler = attachments::Pool::new(client).open("http", &settings).unwrap();
    let error = handler.put(&place, &audio(&noise(100)), &key("d1", "message.wav")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(back.requests().is_empty());
}

#[tokio::test]
async fn a_server_that_lets_nobody_look_is_believed() {
    for status in [401, 403, 405, 501] {
        let store = HttpStore::start();
        store.faults().rule(move |seen| (seen.method == "GET").then(|| Fault::status(status)));
        let receipt = put(&settings(&store.url(), json!({})), "d1", &noise(100)).await.unwrap();
        assert_eq!(receipt.assurance, Assurance::Acknowledged, "{status}");
    }
    // One that is out of order is not: another time it may tell.
    let store = HttpStore::start();
    store.faults().rule(|seen| (seen.method == "GET").then(|| Fault::status(503)));
    let error = put(&settings(&store.url(), json!({})), "d1", &noise(100)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_server_that_removes_nothing_says_so() {
    let store = HttpStore::start();
    let settings = settings(&store.url(), json!({}));
    let receipt = put(&settings, "d1", &noise(100)).await.unwrap();
    let handler = pool().open("http", &settings).unwrap();
    store.faults().next([Fault::status(405), Fault::status(410), Fault::status(404)]);
    let error = handler.delete(&receipt).await.unwrap_err();
    assert_eq!((error.kind(), error.advice()), (ErrorKind::Rejected, Advice::Park));
    handler.delete(&receipt).await.unwrap();
    handler.delete(&receipt).await.unwrap();
    assert!(handler.at_least_once());
}

#[tokio::test]
async fn any_2xx_is_a_yes_and_nothing_else() {
    for status in [200, 201, 202, 204] {
        let store = HttpStore::start();
        let settings = settings(&store.url(), json!({"field_list": []}));
        store.faults().next([Fault::status(status)]);
        put(&settings, "d1", &noise(100)).await.unwrap();
    }
    for status in [303, 400, 404, 409, 413, 415] {
        let store = HttpStore::start();
        store.faults().next([Fault::status(status).with_body("no")]);
        let error = put(&settings(&store.url(), json!({})), "d1", &noise(100)).await.unwrap_err();
        assert_eq!(error.exchange().unwrap().status, Some(status));
        assert_eq!(error.exchange().unwrap().body.as_deref(), Some("no"));
        assert_eq!(error.advice(), Advice::Backoff, "{status}: no answer is final");
    }
}

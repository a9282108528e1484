//! The error catalogue: each row of section 1.9 of the contract, by its status, its word and its data, met on a storage path where there is one.

use connections::Change;
use plan::{Database, DocId};
use reqwest::Method;
use serde_json::{Value, json};
use testkit::{Answer, Fault, S3Server, VOICEMAIL_WAV};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::fixture::until;
use crate::levels::{Levels, entry, voicemail_to};

const OWN: &str = "dddddddddddddddddddddddddddddddd";

/// What every error answers: the status as text, the word, the state.
fn expect(answer: Answer, status: u16, message: &str) -> Value {
    let json = answer.expect_status(status).json();
    assert_eq!(json["error"], status.to_string());
    assert_eq!((&json["message"], &json["status"]), (&json!(message), &json!("error")), "{json}");
    assert!(json["request_id"].is_string() && json["timestamp"].is_string(), "{json}");
    json["data"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn row_400_validation_error() {
    let levels = Levels::start().await;
    let (api, own) = (&levels.admin.api, Levels::storage(&levels.customer, ""));
    let document = json!({"data": {"attachments": {OWN: {"handler": "s3", "settings": {"bucket": "abc"}}}, "plan": 1}});
    let data = expect(api.put(&own, &document).await, 400, "validation error");
    assert!(data["plan"]["type"]["message"].is_string(), "all faults at once: {data}");
    assert_eq!(data[format!("attachments.{OWN}")]["not_one_schema_valid"]["message"], "failed to validate");
    for (setting, code) in [("bucket", "minLength"), ("key", "required"), ("secret", "required")] {
        let path = format!("attachments.{OWN}.settings.{setting}");
        assert!(data[&path][code]["message"].is_string(), "{path} {code}: {data}");
    }
    let unknown = json!({"data": {"attachments": {OWN: {"handler": "floppy", "settings": {}}}}});
    let data = expect(api.put(&own, &unknown).await, 400, "validation error");
    assert!(data[format!("attachments.{OWN}.handler")].is_object(), "{data}");
    let send = |body: &'static str| api.send(api.request(Method::PUT, &own).body(body));
    assert_eq!(expect(send("{").await, 400, "validation error")["json"]["invalid"]["target"], "body");
    assert!(expect(send("{}").await, 400, "validation error")["data"]["required"].is_object());
    assert!(expect(send(r#"{"data": 1}"#).await, 400, "validation error")["data"]["type"].is_object());
}

#[tokio::test(flavor = "multi_thread")]
async fn row_400_parse_error_of_a_body_that_does_not_come() {
    let levels = Levels::with("[server]\nbody_timeout = \"300ms\"").await;
    let (token, own) = (levels.admin.api.token().unwrap(), Levels::storage(&levels.customer, ""));
    let mut stream = tokio::net::TcpStream::connect(levels.server.address()).await.unwrap();
    let head = format!(
        "PUT {own} HTTP/1.1\r\nhost: x\r\nx-auth-token: {token}\r\nconnection: close\r\ncontent-length: 40\r\n\r\n{{\"data\""
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let body: Value = serde_json::from_str(body).unwrap();
    assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
    assert_eq!((&body["error"], &body["message"]), (&json!("400"), &json!("parse_error")));
    assert!(body["data"]["message"].is_string(), "{body}");
    levels.admin.api.get(&own).await.expect_status(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_402_never_occurs() {
    let levels = Levels::start().await;
    let (api, own) = (&levels.admin.api, Levels::storage(&levels.customer, ""));
    // Nothing is billed: whether charges are accepted makes no difference, and is not kept.
    for accept in ["", "?accept_charges=false", "?accept_charges=true"] {
        let made = api.put(&format!("{own}{accept}"), &json!({"data": {}})).await.expect_status(201).data();
        assert_eq!(made, json!({"id": levels.customer.id.as_ref()}));
        api.delete(&format!("{own}{accept}")).await.expect_status(200);
    }
    // The one place where an error becomes a status does not know it.
    let statuses = include_str!("../../../src/api/error.rs");
    assert!(statuses.contains("StatusCode::CONFLICT") && !statuses.contains("StatusCode::PAYMENT_REQUIRED"));
}

#[tokio::test(flavor = "multi_thread")]
async fn row_401_invalid_credentials() {
    let levels = Levels::start().await;
    let own = Levels::storage(&levels.customer, "");
    for api in [levels.master.anonymous(), levels.master.with_token("no token of ours")] {
        let data = expect(api.get(&own).await, 401, "invalid_credentials");
        assert_eq!(data, json!({"message": "invalid credentials"}));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_403_forbidden() {
    let levels = Levels::start().await;
    let data = expect(levels.stranger.get(&Levels::storage(&levels.customer, "")).await, 403, "forbidden");
    assert_eq!(data, json!({"message": "forbidden"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn row_404_bad_identifier_and_not_found() {
    let levels = Levels::start().await;
    let own = Levels::storage(&levels.customer, "");
    let data = expect(levels.admin.api.get(&own).await, 404, "bad_identifier");
    assert_eq!(data, json!({"cause": levels.customer.id.as_ref(), "message": "bad identifier"}));
    let data = expect(levels.admin.api.get(&format!("{own}/foo")).await, 404, "not_found");
    assert_eq!(data, json!({"message": "not found"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn row_405_invalid_method() {
    let levels = Levels::start().await;
    let plans = Levels::storage(&levels.reseller, "/plans");
    let data = expect(levels.reseller_admin.delete(&plans).await, 405, "invalid_method");
    assert_eq!(data, json!({"message": "method not allowed"}));
    let tunnelled = levels.reseller_admin.post(&format!("{plans}?verb=PATCH"), &json!({"data": {}})).await;
    expect(tunnelled, 405, "invalid_method");
}

#[tokio::test(flavor = "multi_thread")]
async fn row_409_datastore_conflict() {
    let levels = Levels::start().await;
    let own = Levels::storage(&levels.customer, "");
    levels.admin.api.put(&own, &json!({"data": {}})).await.expect_status(201);
    let data = expect(levels.admin.api.put(&own, &json!({"data": {}})).await, 409, "datastore_conflict");
    assert_eq!(data["message"], "conflicting documents");
}

#[tokio::test(flavor = "multi_thread")]
async fn row_410_gone() {
    let levels = Levels::start().await;
    let own = Levels::storage(&levels.customer, "").replace("/v2/", "/v1/");
    expect(levels.admin.api.get(&own).await, 410, "gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn row_412_precondition_has_no_body() {
    let levels = Levels::start().await;
    let (api, own) = (&levels.admin.api, Levels::storage(&levels.customer, ""));
    api.put(&own, &json!({"data": {}})).await.expect_status(201);
    let stale = api.request(Method::DELETE, &own).header("if-match", "\"1-00000000000000000000000000000000\"");
    assert!(api.send(stale).await.expect_status(412).body.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn row_413_too_large_names_the_limit() {
    let levels = Levels::with("[api]\nmax_upload_size = \"100kB\"").await;
    let own = Levels::storage(&levels.customer, "");
    let large = json!({"data": {"note": "x".repeat(200_000)}});
    let data = expect(levels.admin.api.put(&own, &large).await, 413, "validation error");
    assert_eq!(data["file"]["maxSize"]["target"], 100_000, "{data}");
}

#[tokio::test(flavor = "multi_thread")]
async fn row_415_of_a_body_that_is_no_json() {
    let levels = Levels::start().await;
    let own = Levels::storage(&levels.customer, "");
    levels.admin.api.upload(Method::PUT, &own, "image/png", vec![1_u8, 2, 3]).await.expect_status(415);
    levels.admin.api.get(&own).await.expect_status(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_416_and_502_of_what_lies_at_a_destination() {
    let levels = Levels::start().await;
    let (api, own) = (&levels.admin.api, Levels::storage(&levels.customer, ""));
    let server = S3Server::start();
    let document = json!({"data": {"attachments": {OWN: entry(&server, "recordings")}, "plan": voicemail_to(OWN)}});
    api.put(&own, &document).await.expect_status(201);
    let boxes = format!("/v2/accounts/{}/vmboxes", levels.customer.id);
    let made = api.put(&boxes, &json!({"data": {"name": "Dana", "mailbox": "1001"}})).await.expect_status(201).data();
    let messages = format!("{boxes}/{}/messages", made["id"].as_str().unwrap());
    let left = api.multipart(Method::PUT, &messages, &json!({"data": {}}), "v.wav", "audio/wav", VOICEMAIL_WAV).await;
    let raw = format!("{messages}/{}/raw", left.expect_status(201).data()["media_id"].as_str().unwrap());
    let deliveries = format!("{own}/deliveries");
    until("it is delivered", async || api.get(&deliveries).await.data() == json!([])).await;
    let beyond = api.request(Method::GET, &raw).header("range", "bytes=99999999-");
    expect(api.send(beyond).await, 416, "range not satisfiable");
    server.faults().rule(|seen| (seen.method == "GET").then(|| Fault::status(403)));
    let data = expect(api.get(&raw).await, 502, "bad_gateway");
    assert_eq!(data["error_code"], 403, "{data}");
}

#[tokio::test(flavor = "multi_thread")]
async fn row_423_of_a_disabled_account() {
    let levels = Levels::start().await;
    let path = format!("/v2/accounts/{}", levels.customer.id);
    levels.reseller_admin.patch(&path, &json!({"data": {"enabled": false}})).await.expect_status(200);
    let data = expect(levels.admin.api.get(&Levels::storage(&levels.customer, "")).await, 423, "locked");
    assert!(data["message"].is_string(), "{data}");
}

#[tokio::test(flavor = "multi_thread")]
async fn row_429_too_many_requests() {
    let levels = Levels::with("[api]\naccount_per_second = 1").await;
    let own = Levels::storage(&levels.customer, "");
    for _ in 0..1000 {
        let answer = levels.admin.api.get(&own).await;
        if answer.status == 429 {
            assert!(answer.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
            assert_eq!(expect(answer, 429, "too_many_requests"), json!({"message": "too many requests"}));
            return;
        }
        answer.expect_status(404);
    }
    panic!("a thousand requests were let through");
}

#[tokio::test(flavor = "multi_thread")]
async fn row_500_unspecified_fault_of_a_document_that_is_damaged() {
    let levels = Levels::start().await;
    let (api, own) = (&levels.admin.api, Levels::storage(&levels.customer, ""));
    let server = S3Server::start();
    let document = json!({"data": {"attachments": {OWN: entry(&server, "recordings")}}});
    api.put(&own, &document).await.expect_status(201);
    let (database, id) = (Database::Named("system_data".into()), DocId::parse(levels.customer.id.as_ref()).unwrap());
    let damage = |document: &connections::Document| {
        let text = Value::Object(document.body.clone()).to_string();
        let sealed = text.split("\"$sealed\":\"").nth(1).unwrap().split('"').next().unwrap();
        let damaged = text.replace(sealed, &format!("{}AAAA", &sealed[..sealed.len() - 4]));
        Ok(Change::Write(serde_json::from_str(&damaged).unwrap()))
    };
    levels.app().documents.update(&database, &id, damage).await.unwrap();
    let data = expect(api.get(&own).await, 500, "unspecified_fault");
    assert_eq!(data, json!({"message": "unspecified fault"}), "nothing of the inside is told");
    // What is not damaged goes on.
    levels.reseller_admin.get(&Levels::storage(&levels.reseller, "")).await.expect_status(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_503_datastore_fault_while_the_store_is_closed() {
    let levels = Levels::start().await;
    let (api, own) = (&levels.admin.api, Levels::storage(&levels.customer, ""));
    api.put(&own, &json!({"data": {}})).await.expect_status(201);
    levels.app().documents.close().await;
    for answer in [api.get(&own).await, api.patch(&own, &json!({"data": {"note": 1}})).await] {
        assert!(answer.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
        let data = expect(answer, 503, "datastore_fault");
        assert_eq!(data["cause"], "document store");
    }
}

//! Several messages as one ZIP.

use std::io::{Cursor, Read};

use reqwest::Method;
use serde_json::json;
use testkit::VOICEMAIL_WAV;
use zip::ZipArchive;

use super::super::fixture::{Platform, bucket, plain_user};
use super::{boxes, note};

#[tokio::test(flavor = "multi_thread")]
async fn messages_come_as_one_archive_wherever_their_audio_is() {
    let platform = Platform::start().await;
    let (_server, settings) = bucket();
    let (api, mailbox) = (&platform.tenant.api, platform.mailbox().await);
    let here = platform.voicemail(&mailbox).await;
    platform.route_voicemail_to(settings).await;
    let there = platform.voicemail(&mailbox).await;
    platform.until_delivered().await;
    // Of the same caller in the same second: the names differ all the same.
    let at = json!({"data": {"timestamp": 63_962_661_909_i64 + 86_400, "caller_id_number": "+14155550123"}});
    let mut twins = Vec::new();
    for bytes in [&b"RIFF one"[..], b"RIFF two"] {
        let (kind, body) = testkit::multipart_body(&at, "a.wav", "audio/wav", bytes);
        let made = api.upload(Method::PUT, &format!("{mailbox}/messages"), &kind, body).await.expect_status(201);
        twins.push(made.data()["media_id"].as_str().unwrap().to_owned());
    }
    let silent = note(api, &mailbox, json!({})).await;
    let ids = [&here, &there, &silent, &twins[0], &twins[1], &"202611-00000000000000000000000000000000".to_owned()];
    let ask = async |query: &str, ids: serde_json::Value| {
        api.post(&format!("{mailbox}/messages/raw?{query}"), &json!({"data": {"messages": ids}})).await
    };
    let answer = ask("accept=application/zip", json!(ids)).await.expect_status(200);
    assert_eq!(answer.header("content-type"), Some("application/zip"));
    let disposition = answer.header("content-disposition").unwrap().to_owned();
    assert!(disposition.starts_with("attachment; filename=") && disposition.ends_with(".zip"), "{disposition}");

    let mut archive = ZipArchive::new(Cursor::new(answer.body.to_vec())).unwrap();
    let mut found = Vec::new();
    for index in 0..archive.len() {
        let mut file = archive.by_index(index).unwrap();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        found.push((file.name().unwrap().into_owned(), bytes));
    }
    let bytes: Vec<&[u8]> = found.iter().map(|(_, bytes)| bytes.as_slice()).collect();
    assert_eq!(bytes, [VOICEMAIL_WAV, VOICEMAIL_WAV, b"RIFF one", b"RIFF two"]);
    let (first, second) = (&found[2].0, &found[3].0);
    assert!(first.starts_with("+14155550123_2026-11-24_") && first.ends_with(".wav"), "{first}");
    assert_eq!(*second, first.replace(".wav", "_2.wav"));

    assert_eq!(ask("accept=audio/wav", json!(ids)).await.status, 406);
    ask("", json!([])).await.expect_status(400);
    let none = ask("", json!([silent])).await.expect_status(404).data();
    assert_eq!(none["cause"], silent.as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_whose_audio_cannot_be_had_breaks_off() {
    let platform = Platform::start().await;
    let (server, settings) = bucket();
    platform.route_voicemail_to(settings).await;
    let mailbox = platform.mailbox().await;
    let message = platform.voicemail(&mailbox).await;
    platform.until_delivered().await;
    server.stop();
    let path = format!("{mailbox}/messages/raw");
    let api = &platform.tenant.api;
    let body = json!({"data": {"messages": [message]}}).to_string();
    let request = api.request(Method::POST, &path).header("content-type", "application/json").body(body);
    let broken = api.try_send(request).await;
    // What came of it is no archive, and the client can tell.
    assert!(broken.is_err(), "{}", broken.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_boxes_of_a_user_stand_below_the_user() {
    let platform = Platform::start().await;
    let (admin, boxes) = (&platform.tenant.api, boxes(&platform));
    let (pat, id) = plain_user(&platform).await;
    let other = platform.mailbox().await;
    let theirs = boxes.replace("/vmboxes", &format!("/users/{id}/vmboxes"));
    let made = admin.put(&theirs, &json!({"data": {"name": "Pat", "mailbox": "7"}})).await.expect_status(201).data();
    assert_eq!(made["owner_id"], id.as_str());
    let own = format!("{theirs}/{}", made["id"].as_str().unwrap());
    let message = platform.voicemail(&own).await;
    for api in [admin, &pat] {
        assert_eq!(api.get(&theirs).await.expect_status(200).data().as_array().map(Vec::len), Some(1));
        assert_eq!(api.get(&own).await.expect_status(200).data()["mailbox"], "7");
        let raw = api.get(&format!("{own}/messages/{message}/raw")).await.expect_status(200);
        assert!(raw.body == VOICEMAIL_WAV);
        let all = api.get(&format!("{theirs}/messages")).await.expect_status(200).data();
        assert_eq!(all.as_array().map(Vec::len), Some(1));
        let foreign = other.replace("/vmboxes/", &format!("/users/{id}/vmboxes/"));
        api.get(&foreign).await.expect_status(403);
    }
    let nobody = theirs.replace(&id, "90aa90aa90aa90aa90aa90aa90aa90aa");
    admin.get(&nobody).await.expect_status(404);
    pat.get(&nobody).await.expect_status(403);
    pat.put(&theirs, &json!({"data": {"name": "More", "mailbox": "8"}})).await.expect_status(403);
}

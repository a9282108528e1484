//! Voicemail over the API: boxes, messages, folders, what is refused, and who may.

use reqwest::Method;
use serde_json::{Value, json};
use testkit::{Answer, Api, VOICEMAIL_WAV};

use super::fixture::{Platform, plain_user};

mod archive;
mod audio;
mod deletion;
mod length;
mod lists;
mod uploads;

/// Gregorian seconds of the Unix epoch.
const EPOCH: i64 = 62_167_219_200;

fn now() -> i64 {
    let unix = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    EPOCH + i64::try_from(unix).unwrap()
}

fn boxes(platform: &Platform) -> String {
    format!("/v2/accounts/{}/vmboxes", platform.tenant.id)
}

/// A message without audio; its id.
async fn note(api: &Api, mailbox: &str, data: Value) -> String {
    let made = api.put(&format!("{mailbox}/messages"), &json!({"data": data})).await.expect_status(201);
    made.data()["media_id"].as_str().unwrap().to_owned()
}

fn ids(answer: &Answer) -> Vec<String> {
    let data = answer.data();
    data.as_array().unwrap().iter().map(|row| row["media_id"].as_str().unwrap().to_owned()).collect()
}

async fn listed(api: &Api, mailbox: &str, query: &str) -> Vec<String> {
    ids(&api.get(&format!("{mailbox}/messages?{query}")).await.expect_status(200))
}

/// A multipart body whose JSON comes last.
fn json_last(about: &str, content_type: &str, audio: &[u8]) -> (String, Vec<u8>) {
    let head = format!(
        "--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"f.wav\"\r\nContent-Type: {content_type}\r\n\r\n"
    );
    let mut body = head.into_bytes();
    body.extend_from_slice(audio);
    body.extend_from_slice(format!("\r\n--b\r\nContent-Type: application/json\r\n\r\n{about}\r\n--b--\r\n").as_bytes());
    ("multipart/mixed; boundary=b".into(), body)
}

/// All files below a folder with their sizes.
fn walk(folder: &std::path::Path) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(about) = entry.metadata() else { continue };
        if about.is_dir() {
            found.extend(walk(&entry.path()));
        } else {
            found.push((entry.path().display().to_string(), about.len()));
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_is_created_read_changed_and_deleted() {
    let platform = Platform::start().await;
    let (api, boxes) = (&platform.tenant.api, boxes(&platform));
    let data =
        json!({"name": "Dana", "mailbox": "204", "timezone": "Europe/Berlin", "pvt_type": "x", "_id": "y", "own": 1});
    let made = api.put(&boxes, &json!({"data": data})).await.expect_status(201);
    let id = made.data()["id"].as_str().unwrap().to_owned();
    assert_eq!(made.data(), json!({"id": id, "name": "Dana", "mailbox": "204", "timezone": "Europe/Berlin", "own": 1}));
    assert!(made.header("location").unwrap().ends_with(&format!("/vmboxes/{id}")));
    let path = format!("{boxes}/{id}");
    let read = api.get(&path).await.expect_status(200);
    let etag = read.header("etag").unwrap().to_owned();
    let again = api.request(Method::GET, &path).header("if-none-match", &etag);
    api.send(again).await.expect_status(304);

    let taken = api.put(&boxes, &json!({"data": {"name": "Other", "mailbox": "204"}})).await.expect_status(400).data();
    assert!(taken["mailbox"]["unique"]["message"].is_string(), "{taken}");
    let patched =
        api.patch(&path, &json!({"data": {"timezone": null, "name": "Dana Fox"}})).await.expect_status(200).data();
    assert_eq!(patched, json!({"id": id, "name": "Dana Fox", "mailbox": "204", "own": 1}));
    let stale = api.request(Method::POST, &path).header("if-match", &etag).header("content-type", "application/json");
    let stale = stale.body(json!({"data": {"name": "x", "mailbox": "1"}}).to_string());
    api.send(stale).await.expect_status(412);
    let replaced =
        api.post(&path, &json!({"data": {"name": "Dana", "mailbox": "205"}})).await.expect_status(200).data();
    assert_eq!(replaced, json!({"id": id, "name": "Dana", "mailbox": "205"}));
    // The old number is free, the new one is not.
    api.put(&boxes, &json!({"data": {"name": "Other", "mailbox": "204"}})).await.expect_status(201);
    api.put(&boxes, &json!({"data": {"name": "Third", "mailbox": "205"}})).await.expect_status(400);
    // The same number in another account is another number.
    let master = format!("/v2/accounts/{}/vmboxes", platform.master.id);
    platform.master.api.put(&master, &json!({"data": {"name": "Dana", "mailbox": "205"}})).await.expect_status(201);
    platform.master.api.get(&format!("{master}/{id}")).await.expect_status(404);

    let message = note(api, &path, json!({})).await;
    let gone = api.delete(&path).await.expect_status(200).data();
    assert_eq!(gone["_read_only"]["deleted"], true);
    for below in [path.clone(), format!("{path}/messages"), format!("{path}/messages/{message}")] {
        api.get(&below).await.expect_status(404);
    }
    assert_eq!(api.get(&format!("{boxes}/messages")).await.data(), json!([]));
    api.put(&boxes, &json!({"data": {"name": "Third", "mailbox": "205"}})).await.expect_status(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_json_gets_what_it_does_not_say() {
    let platform = Platform::start().await;
    let (api, mailbox) = (&platform.tenant.api, platform.mailbox().await);
    let before = now();
    let made = api.put(&format!("{mailbox}/messages"), &json!({"data": {}})).await.expect_status(201);
    let data = made.data();
    let at = data["timestamp"].as_i64().unwrap();
    assert!((before..=now()).contains(&at), "{data}");
    let id = data["media_id"].as_str().unwrap();
    assert!(id.len() == 39 && id.as_bytes()[6] == b'-', "{id}");
    assert!(made.header("location").unwrap().ends_with(id));
    assert_eq!(data["call_id"].as_str().map(str::len), Some(32));
    let wanted = [
        ("folder", json!("new")),
        ("length", json!(1)),
        ("caller_id_name", json!("anonymous")),
        ("caller_id_number", json!("0000000000")),
        ("from", json!("0000000000@acme.example")),
        ("to", json!("1001@acme.example")),
        ("to_user", json!("1001")),
        ("to_realm", json!("acme.example")),
        ("size", Value::Null),
    ];
    for (key, value) in wanted {
        assert_eq!(data[key], value, "{key}");
    }
    assert_eq!(api.get(&format!("{mailbox}/messages/{id}")).await.data(), data);
    let missing = api.get(&format!("{mailbox}/messages/{id}/raw")).await.expect_status(404).json();
    assert_eq!((missing["message"].as_str(), missing["data"]["cause"].as_str()), (Some("bad_identifier"), Some(id)));

    let said = json!({"folder": "saved", "caller_id_name": "Dana Fox", "caller_id_number": "+14155550123", "length": "12400",
        "from": "sip:dana@carrier.example", "to": "sales", "timestamp": now() - 86_400, "call_id": "a84b4c76e66710@10.1.1.9"});
    let id = note(api, &mailbox, said).await;
    let data = api.get(&format!("{mailbox}/messages/{id}")).await.data();
    assert_eq!((&data["length"], &data["folder"]), (&json!(12_400), &json!("saved")));
    assert_eq!((&data["from_user"], &data["from_realm"]), (&json!("dana"), &json!("carrier.example")));
    assert_eq!((&data["to"], &data["call_id"]), (&json!("sales@acme.example"), &json!("a84b4c76e66710@10.1.1.9")));
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_fields_are_named_and_nothing_is_written() {
    let platform = Platform::start().await;
    let (api, boxes) = (&platform.tenant.api, boxes(&platform));
    let mailbox = platform.mailbox().await;
    let id = note(api, &mailbox, json!({})).await;
    let other = note(api, &mailbox, json!({})).await;
    let before = api.get(&format!("{mailbox}/messages")).await.data();
    let messages = format!("{mailbox}/messages");
    let message = format!("{messages}/{id}");
    let cases = [
        (Method::PUT, &boxes, json!({}), "name", "required"),
        (Method::PUT, &boxes, json!({"name": "x"}), "mailbox", "required"),
        (Method::PUT, &boxes, json!({"name": "", "mailbox": "1"}), "name", "minLength"),
        (Method::PUT, &boxes, json!({"name": "x", "mailbox": "one"}), "mailbox", "pattern"),
        (
            Method::PUT,
            &boxes,
            json!({"name": "x", "mailbox": "2", "media_extension": "exe"}),
            "media_extension",
            "enum",
        ),
        (Method::POST, &mailbox, json!({"name": "x"}), "mailbox", "required"),
        (Method::PATCH, &mailbox, json!({"mailbox": null}), "mailbox", "required"),
        (Method::PUT, &messages, json!({"folder": "nowhere"}), "folder", "enum"),
        (Method::PUT, &messages, json!({"caller_id_name": "x".repeat(36)}), "caller_id_name", "maxLength"),
        (Method::PUT, &messages, json!({"timestamp": 5}), "timestamp", "minimum"),
        (Method::PUT, &messages, json!({"length": {}}), "length", "type"),
        (Method::POST, &messages, json!({}), "messages", "required"),
        (Method::POST, &messages, json!({"messages": []}), "messages", "required"),
        (Method::POST, &messages, json!({"messages": "all"}), "messages", "type"),
        (Method::POST, &messages, json!({"messages": [id, 5]}), "messages.1", "type"),
        (Method::POST, &messages, json!({"messages": [id], "folder": "nowhere"}), "folder", "enum"),
        (Method::POST, &messages, json!({"messages": [id], "source_id": "nobody"}), "source_id", "not_found"),
        (Method::POST, &messages, json!({"messages": [id], "source_id": []}), "source_id", "minItems"),
        (Method::POST, &messages, json!({"messages": [id], "source_id": 5}), "source_id", "type"),
        (Method::DELETE, &messages, json!({"messages": []}), "messages", "required"),
        (Method::DELETE, &messages, json!({"folder": 5}), "folder", "enum"),
        (Method::POST, &message, json!({"folder": "nowhere"}), "folder", "enum"),
    ];
    for (method, path, data, field, code) in cases {
        let answer = api.json(method.clone(), path, &json!({"data": data})).await.expect_status(400).data();
        assert!(answer[field][code]["message"].is_string(), "{method} {path} {data}: {answer}");
    }
    for (query, field) in [
        ("created_from=soon", "created_from"),
        ("created_from=5", "created_from"),
        (&format!("created_from={}&created_to={}", now(), now() - 1), "created_from"),
        ("created_to=x", "created_to"),
        ("modified_from=x", "modified_from"),
        ("start_key=x", "start_key"),
    ] {
        let answer = api.get(&format!("{messages}?{query}")).await.expect_status(400).data();
        assert!(answer[field].is_object(), "{query}: {answer}");
        api.get(&format!("{boxes}/messages?{query}")).await.expect_status(400);
    }
    for unknown in
        ["x", "202611-x", "999999-00000000000000000000000000000000", "202611-00000000000000000000000000000000"]
    {
        for (method, path) in [
            (Method::GET, format!("{messages}/{unknown}")),
            (Method::POST, format!("{messages}/{unknown}")),
            (Method::DELETE, format!("{messages}/{unknown}")),
            (Method::GET, format!("{messages}/{unknown}/raw")),
        ] {
            let answer = api.json(method, &path, &json!({"data": {}})).await.expect_status(404).json();
            assert_eq!(answer["message"], "bad_identifier", "{path}");
        }
        api.upload(Method::PUT, &format!("{messages}/{unknown}/raw"), "audio/wav", "RIFF").await.expect_status(404);
        api.get(&format!("{boxes}/{unknown}/messages")).await.expect_status(404);
    }
    assert_eq!(api.get(&messages).await.data(), before);
    assert_eq!(before.as_array().unwrap().len(), 2, "{other}");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_change_folders_and_go_one_by_one_and_in_bulk() {
    let platform = Platform::start().await;
    let (api, mailbox) = (&platform.tenant.api, platform.mailbox().await);
    let messages = format!("{mailbox}/messages");
    let mut made = Vec::new();
    for _ in 0..6 {
        made.push(note(api, &mailbox, json!({})).await);
    }
    let [a, b, c, d, e, f] = made.try_into().unwrap();
    let folder =
        async |id: &str| api.get(&format!("{messages}/{id}")).await.data()["folder"].as_str().unwrap().to_owned();

    let moved =
        api.post(&format!("{messages}/{a}"), &json!({"data": {"folder": "deleted"}})).await.expect_status(200).data();
    assert_eq!((&moved["media_id"], &moved["folder"]), (&json!(a), &json!("deleted")));
    // Moved there, it can be had back; without a word, it is saved.
    api.post(&format!("{messages}/{a}"), &json!({"data": {}})).await.expect_status(200);
    assert_eq!(folder(&a).await, "saved");
    let nobody = "202611-00000000000000000000000000000000";
    let bulk = json!({"data": {"messages": [b, nobody, c, b]}});
    let done = api.post(&messages, &bulk).await.expect_status(200).data();
    assert_eq!(done, json!({"succeeded": [b, c], "failed": [{nobody: "not_found"}]}));
    assert_eq!(folder(&c).await, "saved");
    let done = api.post(&format!("{messages}?folder=deleted"), &json!({"data": {"messages": [c]}})).await.data();
    assert_eq!(done, json!({"succeeded": [c], "failed": []}));
    assert_eq!(folder(&c).await, "deleted");

    let gone = api.delete(&format!("{messages}/{a}")).await.expect_status(200).data();
    assert_eq!((&gone["media_id"], &gone["folder"]), (&json!(a), &json!("deleted")));
    api.get(&format!("{messages}/{a}")).await.expect_status(404);
    api.delete(&format!("{messages}/{a}")).await.expect_status(404);
    let done =
        api.json(Method::DELETE, &messages, &json!({"data": {"messages": [a, d]}})).await.expect_status(200).data();
    assert_eq!(done, json!({"succeeded": [d], "failed": [{&a: "not_found"}]}));
    let done = api.delete(&format!("{messages}?folder=saved")).await.expect_status(200).data();
    assert_eq!(done, json!({"succeeded": [b], "failed": []}));
    let mut left = listed(api, &mailbox, "").await;
    left.sort();
    let mut wanted = vec![c, e, f];
    wanted.sort();
    assert_eq!(left, wanted);
    let done = api.delete(&messages).await.expect_status(200).data();
    assert_eq!(done["succeeded"].as_array().map(Vec::len), Some(3));
    assert_eq!(listed(api, &mailbox, "").await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_no_admin_reaches_only_their_own_boxes() {
    let platform = Platform::start().await;
    let (admin, boxes) = (&platform.tenant.api, boxes(&platform));
    let (pat, pat_id) = plain_user(&platform).await;
    let other = platform.mailbox().await;
    let theirs = admin
        .put(&boxes, &json!({"data": {"name": "Pat", "mailbox": "7", "owner_id": pat_id}}))
        .await
        .expect_status(201);
    let own = format!("{boxes}/{}", theirs.data()["id"].as_str().unwrap());
    let foreign = platform.voicemail(&other).await;
    let message = platform.voicemail(&own).await;

    assert_eq!(pat.get(&boxes).await.data().as_array().map(Vec::len), Some(1));
    assert_eq!(admin.get(&boxes).await.data().as_array().map(Vec::len), Some(2));
    assert_eq!(pat.get(&format!("{boxes}/messages")).await.data().as_array().map(Vec::len), Some(1));
    assert_eq!(admin.get(&format!("{boxes}/messages")).await.data().as_array().map(Vec::len), Some(2));
    let about = json!({"data": {"messages": [foreign], "folder": "saved"}});
    for (method, path) in [
        (Method::GET, other.clone()),
        (Method::GET, format!("{other}/messages")),
        (Method::PUT, format!("{other}/messages")),
        (Method::POST, format!("{other}/messages")),
        (Method::DELETE, format!("{other}/messages")),
        (Method::GET, format!("{other}/messages/{foreign}")),
        (Method::POST, format!("{other}/messages/{foreign}")),
        (Method::DELETE, format!("{other}/messages/{foreign}")),
        (Method::GET, format!("{other}/messages/{foreign}/raw")),
        (Method::PUT, format!("{other}/messages/{foreign}/raw")),
        (Method::PUT, boxes.clone()),
        (Method::POST, own.clone()),
        (Method::PATCH, own.clone()),
        (Method::DELETE, own.clone()),
    ] {
        let answer = pat.json(method.clone(), &path, &about).await;
        assert_eq!(answer.status, 403, "{method} {path}: {answer}");
    }
    // A message of another box is none of this one.
    pat.get(&format!("{own}/messages/{foreign}")).await.expect_status(404);
    let elsewhere = other.rsplit('/').next().unwrap();
    pat.post(&format!("{own}/messages/{message}"), &json!({"data": {"source_id": elsewhere}})).await.expect_status(403);

    pat.get(&own).await.expect_status(200);
    assert!(pat.get(&format!("{own}/messages/{message}/raw")).await.expect_status(200).body == VOICEMAIL_WAV);
    pat.upload(Method::PUT, &format!("{own}/messages/{message}/raw"), "audio/wav", "RIFF").await.expect_status(201);
    pat.post(&format!("{own}/messages/{message}"), &json!({"data": {}})).await.expect_status(200);
    pat.delete(&format!("{own}/messages")).await.expect_status(200);
    assert_eq!(listed(admin, &other, "").await, [foreign]);
    // Neither does an account next door.
    let stranger =
        platform.master.api.put("/v2/accounts", &json!({"data": {"name": "Stranger"}})).await.expect_status(201).data();
    let stranger = format!("/v2/accounts/{}/vmboxes", stranger["id"].as_str().unwrap());
    admin.get(&stranger).await.expect_status(403);
    admin.anonymous().get(&own).await.expect_status(401);
}

//! Voicemail over the API: boxes, messages in every shape that an upload can have, lists, folders, audio out and in, and who may.

use reqwest::Method;
use serde_json::{Value, json};
use testkit::{Answer, Api, VOICEMAIL_WAV, multipart_body};

use super::fixture::{CONFIG, Platform, bucket, plain_user, until};

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
async fn boxes_are_listed_with_their_counts_in_pages() {
    let platform = Platform::start().await;
    let (api, boxes) = (&platform.tenant.api, boxes(&platform));
    for number in 1..=5 {
        let data = json!({"data": {"name": format!("Box {number}"), "mailbox": number.to_string()}});
        api.put(&boxes, &data).await.expect_status(201);
    }
    let first = api.get(&format!("{boxes}?filter_mailbox=1")).await.data()[0].clone();
    let path = format!("{boxes}/{}", first["id"].as_str().unwrap());
    for folder in ["new", "new", "saved", "deleted"] {
        note(api, &path, json!({"folder": folder})).await;
    }
    let all = api.get(&format!("{boxes}?paginate=false")).await.expect_status(200).json();
    assert_eq!(all["data"].as_array().unwrap().len(), 5);
    assert!(all["page_size"].is_null() && all["next_start_key"].is_null());
    let row = all["data"].as_array().unwrap().iter().find(|row| row["mailbox"] == "1").unwrap();
    assert_eq!((&row["messages"], &row["folders"]), (&json!(3), &json!({"new": 2, "saved": 1})));

    let (mut seen, mut next) = (Vec::new(), String::new());
    loop {
        let page = api.get(&format!("{boxes}?page_size=2&start_key={next}")).await.expect_status(200).json();
        let rows = page["data"].as_array().unwrap().clone();
        assert_eq!(page["page_size"], rows.len());
        seen.extend(rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()));
        match page["next_start_key"].as_str() {
            Some(key) => next = key.to_owned(),
            None => break,
        }
    }
    let whole: Vec<&str> = all["data"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap()).collect();
    assert_eq!(seen, whole);
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

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn audio_comes_in_every_shape_of_an_upload() {
    let platform = Platform::start().await;
    let (api, mailbox) = (&platform.tenant.api, platform.mailbox().await);
    let path = format!("{mailbox}/messages");
    let about = json!({"data": {"caller_id_name": "Dana Fox"}});
    let (first_type, json_first) = multipart_body(&about, "hello.wav", "audio/wav", VOICEMAIL_WAV);
    let (last_type, json_after) = json_last(&about.to_string(), "audio/x-wav", VOICEMAIL_WAV);
    let (bare_type, bare_data) = json_last(&about["data"].to_string(), "application/octet-stream", VOICEMAIL_WAV);
    let text = base64(VOICEMAIL_WAV);
    let lines: Vec<&str> = text.as_bytes().chunks(76).map(|line| std::str::from_utf8(line).unwrap()).collect();
    type Shape<'a> = (&'a str, &'a str, &'a str, Vec<u8>, &'a str, bool);
    let shapes: Vec<Shape> = vec![
        ("JSON before the file", &first_type, "", json_first, "audio/wav", true),
        ("JSON after the file", &last_type, "", json_after, "audio/x-wav", true),
        ("data without its envelope", &bare_type, "", bare_data, "audio/wav", true),
        ("raw", "audio/wav", "", VOICEMAIL_WAV.to_vec(), "audio/wav", false),
        (
            "raw of unknown type",
            "application/octet-stream",
            "",
            VOICEMAIL_WAV.to_vec(),
            "application/octet-stream",
            false,
        ),
        ("base64 by type", "audio/wav;base64", "", text.clone().into_bytes(), "audio/wav", false),
        ("base64 by header", "audio/wav", "base64", lines.join("\r\n").into_bytes(), "audio/wav", false),
        (
            "base64 of unknown type",
            "application/base64",
            "",
            text.clone().into_bytes(),
            "application/octet-stream",
            false,
        ),
        (
            "data URI",
            "application/base64",
            "",
            format!("data:audio/mpeg;base64,{text}").into_bytes(),
            "audio/mpeg",
            false,
        ),
    ];
    for (shape, content_type, encoding, body, wanted, said) in shapes {
        let mut request = api.request(Method::PUT, &path).header("content-type", content_type).body(body);
        if !encoding.is_empty() {
            request = request.header("content-transfer-encoding", encoding);
        }
        let made = api.send(request).await;
        assert_eq!(made.status, 201, "{shape}: {made}");
        let data = made.data();
        assert_eq!(data["size"], VOICEMAIL_WAV.len(), "{shape}");
        assert_eq!(data["caller_id_name"], if said { "Dana Fox" } else { "anonymous" }, "{shape}");
        let raw = api.get(&format!("{path}/{}/raw", data["media_id"].as_str().unwrap())).await.expect_status(200);
        assert!(raw.body == VOICEMAIL_WAV, "{shape}");
        assert_eq!(raw.header("content-type"), Some(wanted), "{shape}");
    }
    // A message of another month that is only known when its audio has been read.
    let (kind, body) =
        json_last(&json!({"data": {"timestamp": now() - 40 * 86_400}}).to_string(), "audio/wav", VOICEMAIL_WAV);
    let made = api.upload(Method::PUT, &path, &kind, body).await.expect_status(201).data();
    let id = made["media_id"].as_str().unwrap();
    let this_month = note(api, &mailbox, json!({})).await;
    assert_ne!(id[..6], this_month[..6]);
    assert!(api.get(&format!("{path}/{id}/raw")).await.expect_status(200).body == VOICEMAIL_WAV);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_fit_upload_leaves_nothing() {
    let config = format!("{CONFIG}\n[api]\nmax_upload_size = \"100KB\"");
    let platform = Platform::with(&config).await;
    let (api, mailbox) = (&platform.tenant.api, platform.mailbox().await);
    let path = format!("{mailbox}/messages");
    let id = note(api, &mailbox, json!({})).await;
    let raw = format!("{path}/{id}/raw");
    let part = |kind: &str, body: &str| {
        format!(
            "--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"f\"\r\nContent-Type: {kind}\r\n\r\n{body}\r\n"
        )
    };
    let json_part = |body: &str| format!("--b\r\nContent-Type: application/json\r\n\r\n{body}\r\n");
    let (mixed, end, sound) = ("multipart/mixed; boundary=b", "--b--\r\n", part("audio/wav", "RIFF"));
    let large = "x".repeat(100_001);
    let cases: Vec<(&str, String, u16, &str)> = vec![
        ("audio/wav", String::new(), 400, "/file/required"),
        ("audio/wav", large.clone(), 413, "/file/maxSize/target"),
        ("audio/wav;base64", base64(large.as_bytes()), 413, "/file/maxSize/target"),
        ("audio/wav;base64", "no base64!".into(), 400, "/message"),
        ("audio/wav;base64", " \r\n".into(), 400, "/file/required"),
        ("text/html", "<p>".into(), 415, "/message"),
        ("image/png", "PNG".into(), 415, "/message"),
        ("application/base64", "data:text/html;base64,PHA+".into(), 415, "/message"),
        ("multipart/mixed", sound.clone(), 400, "/message"),
        (mixed, String::new(), 400, "/message"),
        (mixed, end.into(), 400, "/file/required"),
        (mixed, json_part("{\"data\":{}}") + end, 400, "/file/required"),
        (mixed, part("audio/wav", "") + end, 400, "/file/required"),
        (mixed, part("application/pdf", "PDF") + end, 415, "/message"),
        (mixed, part("audio/wav", &large) + end, 413, "/file/maxSize/target"),
        (mixed, sound.clone() + &sound + end, 400, "/file/maxItems"),
        (mixed, sound.clone(), 400, "/message"),
        (mixed, "--b\r\nbroken".into(), 400, "/message"),
        (mixed, sound.clone() + &json_part("{") + end, 400, "/json/invalid"),
        (mixed, json_part("[1]") + &sound + end, 400, "/data/type"),
        (mixed, sound.clone() + &json_part("{}") + &json_part("{}") + end, 400, "/json/maxItems"),
    ];
    let folder_of_nowhere = json_part("{\"data\":{\"folder\":\"nowhere\"}}");
    let only_for_new: Vec<(&str, String, u16, &str)> = vec![
        (mixed, sound.clone() + &folder_of_nowhere + end, 400, "/folder/enum"),
        (mixed, folder_of_nowhere + &sound + end, 400, "/folder/enum"),
    ];
    let places = [(&path, cases.iter().chain(&only_for_new).collect::<Vec<_>>()), (&raw, cases.iter().collect())];
    for (place, cases) in places {
        for (kind, body, status, pointer) in cases {
            let answer = api.upload(Method::PUT, place, kind, body.clone()).await;
            let short: String = body.chars().take(200).collect();
            assert_eq!(answer.status, *status, "{kind} {short:?}: {answer}");
            assert!(answer.data().pointer(pointer).is_some(), "{kind} {short:?}: {answer}");
        }
    }
    api.put(&raw, &json!({"data": {}})).await.expect_status(400);
    assert_eq!(listed(api, &mailbox, "").await, std::slice::from_ref(&id), "nothing but what was there");
    api.get(&raw).await.expect_status(404);
    let left: Vec<_> = walk(platform.program.data_dir())
        .into_iter()
        .filter(|file| file.1 > 50_000 && !file.0.contains(".db"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    // Who is still sending when the answer comes can read it all the same.
    let endless = vec![0_u8; 20_000_000];
    api.upload(Method::PUT, &raw, "audio/wav", endless.clone()).await.expect_status(413);
    let (kind, body) = json_last("{}", "audio/wav", &endless);
    api.upload(Method::PUT, &path, &kind, body).await.expect_status(413);
    api.upload(Method::PUT, &path, "image/png", endless.clone()).await.expect_status(413);
    api.upload(Method::PUT, &path, "application/json", endless.clone()).await.expect_status(413);
    api.upload(Method::PUT, &path.replace("/messages", "/nothing"), "audio/wav", endless.clone())
        .await
        .expect_status(404);
    api.anonymous().upload(Method::PUT, &path, "audio/wav", endless).await.expect_status(401);
    // What is exactly as large as may be is taken.
    let fits = "x".repeat(100_000);
    api.upload(Method::PUT, &raw, "audio/wav", fits.clone()).await.expect_status(201);
    api.upload(Method::PUT, &raw, mixed, part("audio/wav", &fits) + end).await.expect_status(201);
    api.upload(Method::PUT, &raw, "audio/wav;base64", base64(fits.as_bytes())).await.expect_status(201);
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
async fn messages_are_listed_across_months_in_pages_and_by_filter() {
    let platform = Platform::start().await;
    let (api, mailbox) = (&platform.tenant.api, platform.mailbox().await);
    let day = 86_400;
    let ages = [0, 1, 20, 29, 35, 62, 90];
    let mut made = Vec::new();
    for (index, age) in ages.iter().enumerate() {
        let folder = if index % 2 == 0 { "new" } else { "saved" };
        let data =
            json!({"timestamp": now() - age * day, "folder": folder, "caller_id_number": format!("+4930{index}")});
        made.push(note(api, &mailbox, data).await);
    }
    assert!(made.iter().map(|id| &id[..6]).collect::<std::collections::HashSet<_>>().len() >= 3, "{made:?}");
    assert_eq!(listed(api, &mailbox, "").await, made, "all that is not past retention, the newest first");
    let mut oldest_first = made.clone();
    oldest_first.reverse();
    for query in ["ascending=true", "descending=false", "ascending=true&paginate=false"] {
        assert_eq!(listed(api, &mailbox, query).await, oldest_first, "{query}");
    }
    for (order, wanted) in [("", &made), ("&ascending=true", &oldest_first)] {
        for size in [1, 2, 3, 7, 50] {
            let (mut seen, mut next) = (Vec::new(), String::new());
            loop {
                let page = api
                    .get(&format!("{mailbox}/messages?page_size={size}{order}&start_key={next}"))
                    .await
                    .expect_status(200);
                seen.extend(ids(&page));
                let page = page.json();
                assert_eq!(page["start_key"], next);
                match page["next_start_key"].as_str() {
                    Some(key) => next = key.to_owned(),
                    None => break,
                }
            }
            assert_eq!(&seen, wanted, "{size}{order}");
        }
    }
    // A filter leaves no holes in pages.
    let page = api.get(&format!("{mailbox}/messages?filter_folder=saved&page_size=2")).await;
    assert_eq!(ids(&page), [made[1].clone(), made[3].clone()]);
    let next = page.json()["next_start_key"].as_str().unwrap().to_owned();
    assert_eq!(
        listed(api, &mailbox, &format!("filter_folder=saved&page_size=2&start_key={next}")).await,
        [made[5].clone()]
    );
    for (query, wanted) in [
        ("filter_caller_id_number=%2B49302", vec![2]),
        ("filter_not_folder=new", vec![1, 3, 5]),
        ("filter_folder=new&filter_caller_id_number=%2B49301", vec![]),
        ("has_key=transcription", vec![]),
        ("key_missing=transcription&filter_folder=saved", vec![1, 3, 5]),
        ("has_value=call_id&page_size=1", vec![0]),
        (&format!("created_from={}", now() - 30 * day), vec![0, 1, 2, 3]),
        (&format!("created_from={}&created_to={}", now() - 36 * day, now() - 10 * day), vec![2, 3, 4]),
        (&format!("created_to={}", now() - 61 * day), vec![5, 6]),
        (&format!("modified_to={}", now() - day), vec![]),
    ] {
        let wanted: Vec<&String> = wanted.into_iter().map(|index: usize| &made[index]).collect();
        assert_eq!(listed(api, &mailbox, query).await.iter().collect::<Vec<_>>(), wanted, "{query}");
    }
    api.get(&format!("{mailbox}/messages?created_from={}", now() - 60 * day)).await.expect_status(400);
    let all = api.get(&format!("{}/messages", boxes(&platform))).await.expect_status(200).data();
    let box_id = mailbox.rsplit('/').next().unwrap();
    let found: Vec<&str> =
        all.as_array().unwrap().iter().map(|row| row[box_id]["media_id"].as_str().unwrap()).collect();
    assert_eq!(found, made);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_past_retention_are_shown_as_deleted_and_refuse_changes() {
    let platform = Platform::start().await;
    let (api, mailbox) = (&platform.tenant.api, platform.mailbox().await);
    let then = now() - 100 * 86_400;
    let old = note(api, &mailbox, json!({"timestamp": then})).await;
    let fresh = note(api, &mailbox, json!({})).await;
    let path = format!("{mailbox}/messages/{old}");
    let shown = api.get(&path).await.expect_status(200).data();
    assert_eq!((&shown["folder"], &shown["retention"]), (&json!("deleted"), &json!("enforced")));
    assert_eq!(listed(api, &mailbox, "").await, std::slice::from_ref(&fresh));
    let window = format!("created_from={}&created_to={}", then - 5, then + 5);
    assert_eq!(listed(api, &mailbox, &format!("{window}&filter_folder=deleted")).await, std::slice::from_ref(&old));
    for answer in [
        api.post(&path, &json!({"data": {"folder": "saved"}})).await,
        api.delete(&path).await,
        api.upload(Method::PUT, &format!("{path}/raw"), "audio/wav", "RIFF").await,
    ] {
        let data = answer.expect_status(400).data();
        assert_eq!(data["message"]["date_range"]["cause"], old.as_str());
    }
    let bulk = json!({"data": {"messages": [old, fresh], "folder": "deleted"}});
    let done = api.post(&format!("{mailbox}/messages"), &bulk).await.expect_status(200).data();
    assert_eq!(done, json!({"succeeded": [fresh], "failed": [{&old: "prior_to_retention_duration"}]}));
    let row = api.get(&boxes(&platform)).await.data()[0].clone();
    assert_eq!(row["folders"], json!({"new": 0, "saved": 0}), "what is past retention does not count");
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
async fn messages_are_moved_and_copied_to_other_boxes_with_their_audio() {
    let platform = Platform::start().await;
    let (server, settings) = bucket();
    platform.route_voicemail_to(settings).await;
    let (api, boxes, mailbox) = (&platform.tenant.api, boxes(&platform), platform.mailbox().await);
    let mut others = Vec::new();
    for number in ["2002", "2003"] {
        let made = api.put(&boxes, &json!({"data": {"name": number, "mailbox": number}})).await.expect_status(201);
        others.push(made.data()["id"].as_str().unwrap().to_owned());
    }
    let message = platform.voicemail(&mailbox).await;
    platform.until_delivered().await;
    let path = format!("{mailbox}/messages/{message}");
    let done = api.post(&path, &json!({"data": {"source_id": others}})).await.expect_status(200).data();
    assert_eq!((done["succeeded"].as_array().map(Vec::len), &done["failed"]), (Some(2), &json!([])));
    let copy = done["succeeded"][0].as_str().unwrap();
    let shown = api.get(&format!("{boxes}/{}/messages/{copy}", others[0])).await.expect_status(200).data();
    assert_eq!((&shown["to"], &shown["folder"]), (&json!("2002@acme.example"), &json!("new")));
    assert_eq!(shown["caller_id_name"], "Dana Fox");

    let moved = api.post(&path, &json!({"data": {"source_id": others[1]}})).await.expect_status(200).data();
    let moved = moved["media_id"].as_str().unwrap();
    assert_ne!(moved, message);
    api.get(&path).await.expect_status(404);
    platform.until_delivered().await;
    for (mailbox, id) in [(&others[0], copy), (&others[1], moved)] {
        let raw = api.get(&format!("{boxes}/{mailbox}/messages/{id}/raw")).await.expect_status(200);
        assert!(raw.body == VOICEMAIL_WAV);
    }
    assert_eq!(server.objects("recordings").len(), 4, "each has an object of its own");
}

#[tokio::test(flavor = "multi_thread")]
async fn audio_is_served_whole_and_in_ranges() {
    let platform = Platform::start().await;
    let (_server, settings) = bucket();
    let (api, mailbox) = (&platform.tenant.api, platform.mailbox().await);
    let zone = json!({"data": {"timezone": "Asia/Tokyo"}});
    api.patch(&mailbox, &zone).await.expect_status(200);
    let total = VOICEMAIL_WAV.len();
    for remote in [false, true] {
        if remote {
            platform.route_voicemail_to(settings.clone()).await;
        }
        let message = platform.voicemail(&mailbox).await;
        platform.until_delivered().await;
        let path = format!("{mailbox}/messages/{message}/raw");
        let whole = api.get(&path).await.expect_status(200);
        assert!(whole.body == VOICEMAIL_WAV);
        assert_eq!(whole.header("content-length"), Some(total.to_string().as_str()));
        assert_eq!(whole.header("accept-ranges"), Some("bytes"));
        let name = whole.header("content-disposition").unwrap();
        let fits = name.starts_with("attachment; filename=+14155550123_20") && name.ends_with(".wav");
        assert!(fits, "{name}");
        let etag = whole.header("etag").unwrap().to_owned();
        let with = async |headers: &[(&str, &str)]| {
            let request = headers
                .iter()
                .fold(api.request(Method::GET, &path), |request, (name, value)| request.header(*name, *value));
            api.send(request).await
        };
        assert_eq!(with(&[("if-none-match", &etag)]).await.expect_status(304).body.len(), 0);
        let head = api.send(api.request(Method::HEAD, &path)).await.expect_status(200);
        assert_eq!((head.header("content-length"), head.body.len()), (whole.header("content-length"), 0));
        for (range, first, last) in [
            ("bytes=0-3", 0, 3),
            ("bytes=100-", 100, total - 1),
            ("bytes=-10", total - 10, total - 1),
            ("bytes=5-999999999", 5, total - 1),
        ] {
            let part = with(&[("range", range)]).await.expect_status(206);
            assert_eq!(part.header("content-range"), Some(format!("bytes {first}-{last}/{total}").as_str()), "{range}");
            assert!(part.body == VOICEMAIL_WAV[first..=last], "{range}");
        }
        for range in ["bytes=0-1,3-4", "bytes=x", "bytes=5-4", "lines=0-1", "bytes"] {
            assert_eq!(with(&[("range", range)]).await.expect_status(200).body.len(), total, "{range}");
        }
        assert_eq!(with(&[("range", "bytes=0-3"), ("if-range", &etag)]).await.expect_status(206).body.len(), 4);
        with(&[("range", "bytes=0-3"), ("if-range", "\"other\"")]).await.expect_status(200);
        for range in ["bytes=999999999-", "bytes=-0", "bytes=99999999999999999999-"] {
            let refused = with(&[("range", range)]).await.expect_status(416);
            assert_eq!(refused.header("content-range"), Some(format!("bytes */{total}").as_str()), "{range}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn audio_is_replaced_under_a_new_name() {
    let platform = Platform::start().await;
    let (api, mailbox) = (&platform.tenant.api, platform.mailbox().await);
    let message = platform.voicemail(&mailbox).await;
    let path = format!("{mailbox}/messages/{message}");
    api.post(&path, &json!({"data": {"folder": "saved"}})).await.expect_status(200);
    let etag = api.get(&format!("{path}/raw")).await.header("etag").unwrap().to_owned();
    let other = b"ID3 another sound altogether".as_slice();
    let replaced =
        api.upload(Method::PUT, &format!("{path}/raw?filename=x.mp3"), "audio/mpeg", other).await.expect_status(201);
    assert_eq!((&replaced.data()["size"], &replaced.data()["folder"]), (&json!(other.len()), &json!("saved")));
    let raw = api.get(&format!("{path}/raw")).await.expect_status(200);
    assert!(raw.body == other);
    assert_eq!(raw.header("content-type"), Some("audio/mpeg"));
    assert!(raw.header("content-disposition").unwrap().ends_with(".mp3"));
    assert_ne!(raw.header("etag"), Some(etag.as_str()));
    let kept: Vec<_> =
        walk(platform.program.data_dir()).into_iter().filter(|file| file.1 == VOICEMAIL_WAV.len() as u64).collect();
    assert!(kept.is_empty(), "what was replaced is gone: {kept:?}");

    // At a destination the new bytes get a location of their own; what lies there is the customer's and stays.
    let (server, settings) = bucket();
    platform.route_voicemail_to(settings).await;
    let message = platform.voicemail(&mailbox).await;
    platform.until_delivered().await;
    let path = format!("{mailbox}/messages/{message}/raw");
    let (kind, body) = json_last("{}", "audio/wav", other);
    api.upload(Method::PUT, &path, &kind, body).await.expect_status(201);
    assert!(api.get(&path).await.expect_status(200).body == other);
    platform.until_delivered().await;
    until("the second object is there", async || server.objects("recordings").len() == 2).await;
    assert!(api.get(&path).await.expect_status(200).body == other);
}

#[tokio::test(flavor = "multi_thread")]
async fn audio_that_many_replace_at_once_is_always_there_and_leaves_one_file() {
    let platform = Platform::start().await;
    let mailbox = platform.mailbox().await;
    let message = platform.voicemail(&mailbox).await;
    let path = format!("{mailbox}/messages/{message}/raw");
    let mut at_once = Vec::new();
    for writer in 0..4_u8 {
        let (api, path) = (platform.tenant.api.clone(), path.clone());
        at_once.push(tokio::spawn(async move {
            for _ in 0..8 {
                let sound = vec![writer; 77_777];
                api.upload(Method::PUT, &path, "audio/wav", sound).await.expect_status(201);
                let read = api.get(&path).await.expect_status(200);
                assert!(read.body.iter().all(|byte| *byte == read.body[0]), "one upload or another, never a mixture");
            }
        }));
    }
    for writer in at_once {
        writer.await.unwrap();
    }
    let files = || walk(platform.program.data_dir()).into_iter().filter(|file| file.1 == 77_777).count();
    until("one file is left", async || files() == 1).await;
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

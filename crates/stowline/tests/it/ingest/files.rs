//! Recordings, voicemail and faxes as files: in every shape that a switch sends them, once, whole, and within bounds.

use bytes::Bytes;
use reqwest::Method;
use serde_json::json;

use super::super::fixture::{CONFIG, Platform, until};
use super::super::inside::Inside;
use super::wire::Request;
use super::{ALL, documents, files, key, path, shown, switch};

async fn mailbox(inside: &Inside) -> String {
    let body = json!({"data": {"name": "Dana", "mailbox": "1001", "owner_id": "90aa90aa90aa90aa90aa90aa90aa90aa"}});
    let made = inside.api.put(&inside.path("vmboxes"), &body).await.expect_status(201);
    made.data()["id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_shape_of_a_file_arrives_byte_by_byte() {
    let inside = Inside::start().await;
    let (_, secret) = key(&inside, ALL).await;
    mailbox(&inside).await;
    let wav = {
        let raw = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../switches/tests/requests/http_cache-put.http"))
            .unwrap();
        raw[raw.windows(4).position(|window| window == b"RIFF").unwrap()..].to_vec()
    };
    assert_eq!(wav.len(), 844);
    for (name, user, content_type, wanted) in [
        (
            "http_cache-put",
            true,
            "audio/x-wav",
            json!({"name": "6b2f0f9c-8f3e-4a55-9d6b-1f0c7a3e5b21.wav", "call_id": "f3b1-7c55@sbc.example",
            "caller_id_name": "Dana Fox", "direction": "inbound", "start": 63_962_661_909_i64, "duration_ms": 184_220, "duration": 184,
            "owner_id": "5a5e0f6d2a7be1c94c5c8d10b7a2f3e4", "origin": "queue support", "url": null}),
        ),
        (
            "httapi-put",
            false,
            "audio/wav",
            json!({"name": "x.wav", "call_id": "httapi-1", "url": null, "put_file": null}),
        ),
        ("httapi-put-by-the-name-of-post", false, "audio/wav", json!({"name": "y.wav", "call_id": "httapi-2"})),
        (
            "httapi-post",
            false,
            "audio/wav",
            json!({"name": "z.wav", "call_id": "httapi-3", "caller_id_number": "+14155550123"}),
        ),
        (
            "asterisk-mixmonitor-curl",
            false,
            "audio/wav",
            json!({"name": "q-1795442694.42.wav", "call_id": "1795442694.42"}),
        ),
        (
            "asterisk-voicemail-curl",
            false,
            "audio/wav",
            json!({"source_type": "voicemail", "owner_id": "90aa90aa90aa90aa90aa90aa90aa90aa"}),
        ),
    ] {
        let request = Request::named(name).with("ACCOUNT", inside.account.id.as_ref()).with("KEY", &secret);
        let request = if user { request.basic(&secret, "") } else { request.basic("acme", &secret) };
        let answer = request.send(inside.server.address()).await;
        assert_eq!(answer.status, 201, "{name}: {answer:?}");
        assert!(!answer.body.contains(&secret));
        let id = answer.data()["id"].as_str().unwrap().to_owned();
        let (fields, found, bytes) = shown(&inside, &id).await;
        assert_eq!((found.as_str(), bytes.len()), (content_type, wav.len()), "{name}");
        assert!(bytes == wav, "{name}");
        for (field, wanted) in wanted.as_object().unwrap() {
            assert_eq!(&fields[field], wanted, "{name}: {field} of {fields}");
        }
        assert!(!fields.to_string().contains(&secret), "{fields}");
    }
    let request =
        Request::named("http_cache-put-fax").with("ACCOUNT", inside.account.id.as_ref()).basic("acme", &secret);
    let answer = request.send(inside.server.address()).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let (fax, content_type, bytes) = shown(&inside, answer.data()["id"].as_str().unwrap()).await;
    assert_eq!((content_type.as_str(), bytes.len()), ("image/tiff", 126));
    assert_eq!((&fax["from_number"], &fax["to_number"]), (&json!("+14155550177"), &json!("+14155550100")));
    assert_eq!((&fax["folder"], &fax["rx_result"]["result_text"]), (&json!("inbox"), &json!("OK")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_in_its_mailbox() {
    let inside = Inside::start().await;
    let (_, secret) = key(&inside, ALL).await;
    let id = mailbox(&inside).await;
    let fs = switch(&inside, &secret);
    let message = path(
        &inside,
        "voicemail/1001/msg0003.wav?caller_id_number=%2B14155550123&duration_ms=12400&call_id=a84b&caller_id_name=",
    );
    let made = fs.upload(Method::PUT, &format!("{message}{}", "x".repeat(60)), "", testkit::VOICEMAIL_WAV).await;
    let made = made.expect_status(201).data()["id"].clone();
    let listed = inside.api.get(&inside.path(&format!("vmboxes/{id}/messages"))).await.expect_status(200).data();
    let listed = &listed.as_array().unwrap()[0];
    assert_eq!((&listed["media_id"], &listed["length"], &listed["size"]), (&made, &json!(12_400), &json!(83_644)));
    assert_eq!((&listed["caller_id_number"], &listed["folder"]), (&json!("+14155550123"), &json!("new")));
    assert_eq!(listed["caller_id_name"], json!("x".repeat(35)), "what is too long is cut, nothing is refused for it");
    let raw = inside.path(&format!("vmboxes/{id}/messages/{}/raw", made.as_str().unwrap()));
    assert_eq!(inside.api.get(&raw).await.expect_status(200).body, testkit::VOICEMAIL_WAV);
    let nobody = fs.upload(Method::PUT, &path(&inside, "voicemail/4711/a.wav"), "audio/wav", &b"RIFF"[..]).await;
    assert_eq!(nobody.expect_status(404).data()["cause"], "4711");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_file_again_is_the_same_document_and_leaves_nothing_behind() {
    let inside = Inside::start().await;
    let (_, secret) = key(&inside, ALL).await;
    let mailbox = mailbox(&inside).await;
    let fs = switch(&inside, &secret);
    for (what, doc_type) in
        [("recordings/a.wav", "call_recording"), ("voicemail/1001/a.wav", "mailbox_message"), ("fax/a.tiff", "fax")]
    {
        let put = async |what: &str, bytes: &'static [u8]| {
            fs.upload(Method::PUT, &path(&inside, what), "application/octet-stream", bytes).await
        };
        let first = put(what, b"one").await.expect_status(201).data();
        let count = files(&inside);
        for _ in 0..2 {
            let again = put(what, b"one").await.expect_status(200).data();
            assert_eq!((&again["id"], &again["new"]), (&first["id"], &json!(false)));
        }
        // What is left of it goes when it is dropped, in the background.
        until("nothing is left of the second one", async || files(&inside) == count).await;
        let other = put(what, b"two").await.expect_status(201).data();
        assert_ne!(other["id"], first["id"], "the same name with other bytes is another file");
        let renamed = put(&what.replace("/a.", "/b."), b"one").await.expect_status(201).data();
        assert_ne!(renamed["id"], first["id"]);
        assert_eq!(documents(&inside, doc_type).await.len(), 3);
        // What was deleted does not come back because a switch did not hear the answer.
        let id = first["id"].as_str().unwrap();
        let place = match doc_type {
            "call_recording" => format!("recordings/{id}"),
            "fax" => format!("faxes/inbox/{id}"),
            _ => format!("vmboxes/{mailbox}/messages/{id}"),
        };
        inside.api.delete(&inside.path(&place)).await.expect_status(200);
        assert_eq!(put(what, b"one").await.expect_status(200).data()["id"], first["id"]);
        assert_eq!(documents(&inside, doc_type).await.len(), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_twins_at_the_same_moment_one_becomes_a_document() {
    let inside = Inside::start().await;
    let (_, secret) = key(&inside, ALL).await;
    let fs = switch(&inside, &secret);
    for round in 0..5 {
        let what = path(&inside, &format!("recordings/twin-{round}.wav"));
        let twins = (0..8).map(|_| fs.upload(Method::PUT, &what, "audio/wav", &b"RIFF the same"[..]));
        let answers = futures_util::future::join_all(twins).await;
        let ids: std::collections::BTreeSet<String> =
            answers.iter().map(|answer| answer.data()["id"].to_string()).collect();
        let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
        assert_eq!(ids.len(), 1, "{statuses:?} {ids:?}");
        assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1, "{statuses:?}");
        assert!(statuses.iter().all(|status| matches!(status, 200 | 201)), "{statuses:?}");
    }
    assert_eq!(documents(&inside, "call_recording").await.len(), 5);
    until("five files are left", async || files(&inside) == 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_in_long_ago_is_forgotten_with_the_next_start() {
    let config = format!("{CONFIG}\n[ingest]\nremember = \"1s\"");
    let mut platform = Platform::with(&config).await;
    let what = format!("/v2/ingest/{}/recordings/a.wav", platform.tenant.id);
    let put = async |platform: &Platform| {
        let api = platform.tenant.api.at(&platform.program.url());
        api.upload(Method::PUT, &what, "audio/wav", &b"RIFF"[..]).await
    };
    let first = put(&platform).await.expect_status(201).data()["id"].clone();
    assert_eq!(put(&platform).await.expect_status(200).data()["id"], first);
    tokio::time::sleep(std::time::Duration::from_millis(2100)).await;
    platform.program.restart();
    until("it is forgotten", async || {
        let answer = put(&platform).await;
        answer.status == 201 && answer.data()["id"] != first
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_file_is_refused_in_words_and_makes_no_document() {
    let inside = Inside::start().await;
    let (_, secret) = key(&inside, ALL).await;
    mailbox(&inside).await;
    let fs = switch(&inside, &secret);
    for what in ["recordings/a.wav", "voicemail/1001/a.wav", "fax/a.tiff"] {
        let refused =
            fs.upload(Method::PUT, &path(&inside, what), "audio/wav", &b""[..]).await.expect_status(400).data();
        let said = refused["file"]["required"]["message"].as_str().unwrap().to_owned();
        assert!(said.contains("empty"), "{said}");
    }
    let none = "--b\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\ny\r\n--b--\r\n";
    let two = "--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a.wav\"\r\n\r\nRIFF\r\n\
               --b\r\nContent-Disposition: form-data; name=\"g\"; filename=\"b.wav\"\r\n\r\nRIFF\r\n--b--\r\n";
    for (form, code) in [(none, "required"), (two, "maxItems")] {
        let form =
            fs.upload(Method::POST, &path(&inside, "recordings/a.wav"), "multipart/form-data; boundary=b", form).await;
        assert!(form.expect_status(400).data()["file"][code].is_object());
    }
    for (content_type, form) in [("multipart/form-data", "x"), ("multipart/form-data; boundary=b", "--b\r\nbroken")] {
        fs.upload(Method::POST, &path(&inside, "recordings/a.wav"), content_type, form).await.expect_status(400);
    }
    for doc_type in ["call_recording", "mailbox_message", "fax"] {
        assert_eq!(documents(&inside, doc_type).await.len(), 0);
    }
    until("no file is left", async || files(&inside) == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_is_refused_wherever_it_is_noticed() {
    let inside = Inside::with("[ingest]\nmax_upload_size = \"100KB\"").await;
    let (_, secret) = key(&inside, ALL).await;
    let fs = switch(&inside, &secret);
    let what = path(&inside, "recordings/a.wav");
    let large = vec![7_u8; 100_001];
    let announced = fs.upload(Method::PUT, &what, "audio/wav", large.clone()).await.expect_status(413).data();
    assert_eq!(announced["file"]["maxSize"]["target"], 100_000);
    let pieces = futures_util::stream::iter((0..11).map(|_| Ok::<_, std::io::Error>(vec![7_u8; 10_000])));
    let chunked = fs.request(Method::PUT, &what).body(reqwest::Body::wrap_stream(pieces));
    assert_eq!(fs.send(chunked).await.expect_status(413).data()["file"]["maxSize"]["target"], 100_000);
    let (kind, form) = testkit::multipart_body(&json!({}), "a.wav", "audio/wav", &large);
    fs.upload(Method::POST, &what, &kind, form).await.expect_status(413);
    // Who waits to be told to go on is told at once that they need not.
    let held =
        Request::named("asterisk-mixmonitor-curl").with("ACCOUNT", inside.account.id.as_ref()).with("KEY", &secret);
    let held = held.announcing(200_000).send(inside.server.address()).await;
    assert_eq!(held.status, 413, "{held:?}");
    let unknown = Request::named("asterisk-mixmonitor-curl")
        .with("ACCOUNT", inside.account.id.as_ref())
        .with("KEY", "ik_unknown");
    assert_eq!(unknown.send(inside.server.address()).await.status, 401, "before the body is sent");
    fs.upload(Method::PUT, &what, "audio/wav", vec![7_u8; 100_000]).await.expect_status(201);
    assert_eq!(documents(&inside, "call_recording").await.len(), 1);
    until("one file is left", async || files(&inside) == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_10_a_heavy_recording_does_not_grow_the_program() {
    const PIECE: usize = 1 << 20;
    const PIECES: usize = 400;
    let platform = Platform::start().await;
    let what = format!("/v2/ingest/{}/recordings/long.wav", platform.tenant.id);
    let api = &platform.tenant.api;
    api.upload(Method::PUT, &format!("{what}?warm"), "audio/wav", vec![1_u8; 8 << 20]).await.expect_status(201);
    let before = platform.program.resident_bytes();
    let piece = Bytes::from(vec![3_u8; PIECE]);
    let pieces = futures_util::stream::iter((0..PIECES).map(move |_| Ok::<_, std::io::Error>(piece.clone())));
    let (sender, request) = (api.clone(), api.request(Method::PUT, &what).body(reqwest::Body::wrap_stream(pieces)));
    let sending = tokio::spawn(async move { sender.send(request).await });
    let mut most = before;
    while !sending.is_finished() {
        most = most.max(platform.program.resident_bytes());
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let answer = sending.await.unwrap().expect_status(201);
    let grown = most.saturating_sub(before) >> 20;
    assert!(grown < 64, "{grown} MiB for a file of {PIECES} MiB");
    assert!(answer.data()["id"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_names_and_types_are_taken_for_what_they_are() {
    let inside = Inside::start().await;
    let (_, secret) = key(&inside, ALL).await;
    let fs = switch(&inside, &secret);
    for (what, sent_as, name, content_type) in [
        ("recordings/a%20b%22.wav", "audio/wav", "a_b_.wav", "audio/wav"),
        ("recordings/..%2F..%2Fetc%2Fpasswd", "", "passwd.wav", "application/octet-stream"),
        ("recordings/q.gsm", "text/plain", "q.gsm", "application/octet-stream"),
        ("recordings/q.WAV", "application/x-www-form-urlencoded", "q.WAV", "audio/wav"),
        ("recordings/q.mp3", "application/json", "q.mp3", "audio/mpeg"),
        ("recordings/q2.mp3", "image/png", "q2.mp3", "audio/mpeg"),
        ("recordings/gr%C3%BC%C3%9Fe.ogg", "nonsense", "grüße.ogg", "audio/ogg"),
    ] {
        let made =
            fs.upload(Method::PUT, &path(&inside, what), sent_as, &b"data:;base64,AAAA"[..]).await.expect_status(201);
        let (fields, found, bytes) = shown(&inside, made.data()["id"].as_str().unwrap()).await;
        assert_eq!((fields["name"].as_str().unwrap(), found.as_str()), (name, content_type), "{what}");
        assert_eq!(bytes, b"data:;base64,AAAA", "{what}: a file is not looked into");
    }
    let facts = "start=never&duration=-1&direction=sideways&owner_id=..%2Fx&verb=DELETE&auth_token=x&caller_id_name=%00%FF&duration_ms=99999999999999999999";
    let made = fs
        .upload(Method::POST, &path(&inside, &format!("recordings/odd.wav?{facts}")), "audio/wav", &b"RIFF"[..])
        .await;
    let (fields, _, _) = shown(&inside, made.expect_status(201).data()["id"].as_str().unwrap()).await;
    assert!(fields.get("owner_id").is_none() && fields.get("direction").is_none(), "{fields}");
    assert!(fields["start"].is_i64(), "now, when nobody can say: {fields}");
    let form = "--b\r\nContent-Disposition: form-data; name=\"owner_id\"\r\n\r\nrobin\r\n\
                --b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"ours.wav\"\r\n\r\nRIFF\r\n\
                --b\r\nContent-Disposition: form-data; name=\"data\"\r\nContent-Type: application/json\r\n\r\n\
                {\"data\": {\"call_id\": \"f3b1\", \"duration\": 5, \"owner_id\": \"too late\"}}\r\n--b--\r\n";
    let made =
        fs.upload(Method::POST, &path(&inside, "recordings/form.wav"), "multipart/form-data; boundary=b", form).await;
    let (fields, _, _) = shown(&inside, made.expect_status(201).data()["id"].as_str().unwrap()).await;
    let said = [&fields["owner_id"], &fields["call_id"], &fields["duration"]];
    assert_eq!(
        said,
        [&json!("robin"), &json!("f3b1"), &json!(5)],
        "an owner counts who is named before the file: {fields}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_outlives_a_kill_and_is_known_afterwards() {
    let mut platform = Platform::start().await;
    let base = format!("/v2/ingest/{}", platform.tenant.id);
    let api = &platform.tenant.api;
    let recording = format!("{base}/recordings/a.wav?call_id=f3b1&start=1795442709");
    let first =
        api.upload(Method::PUT, &recording, "audio/wav", testkit::VOICEMAIL_WAV).await.expect_status(201).data();
    let leg = r#"{"call_id": "f3b1", "timestamp": 63962662093, "duration_seconds": 199}"#;
    let record =
        api.upload(Method::POST, &format!("{base}/cdr"), "application/json", leg).await.expect_status(200).data();
    platform.program.kill9();
    platform.program.restart();
    let api = platform.tenant.api.at(&platform.program.url());
    let again =
        api.upload(Method::PUT, &recording, "audio/wav", testkit::VOICEMAIL_WAV).await.expect_status(200).data();
    assert_eq!(again["id"], first["id"]);
    let again =
        api.upload(Method::POST, &format!("{base}/cdr"), "application/json", leg).await.expect_status(200).data();
    assert_eq!((&again["id"], &again["new"]), (&record["id"], &json!(false)));
    let account = format!("/v2/accounts/{}", platform.tenant.id);
    let audio = format!("{account}/recordings/{}?accept=audio/wav", first["id"].as_str().unwrap());
    assert_eq!(api.get(&audio).await.expect_status(200).body, testkit::VOICEMAIL_WAV);
    api.get(&format!("{account}/cdrs/{}", record["id"].as_str().unwrap())).await.expect_status(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told_so_that_the_switch_keeps_its_file() {
    let inside = Inside::with("[spool]\nmin_free = \"1000TB\"").await;
    let (_, secret) = key(&inside, ALL).await;
    let full = switch(&inside, &secret).upload(Method::PUT, &path(&inside, "recordings/a.wav"), "", &b"RIFF"[..]).await;
    let full = full.expect_status(503);
    assert!(full.header("retry-after").is_some(), "{full}");
    assert_eq!((documents(&inside, "call_recording").await.len(), files(&inside)), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_digest_that_a_sender_says_is_compared() {
    use base64::Engine;
    use sha2::Digest;
    let inside = Inside::start().await;
    let (_, secret) = key(&inside, ALL).await;
    let fs = switch(&inside, &secret);
    let said = |bytes: &[u8]| {
        format!("sha-256=:{}:", base64::engine::general_purpose::STANDARD.encode(sha2::Sha256::digest(bytes)))
    };
    let leg: &[u8] = br#"{"call_id": "f3b1"}"#;
    for (what, bytes, status) in [("recordings/a.wav", &b"RIFF"[..], 201), ("cdr", leg, 200)] {
        let put = async |digest: String| {
            let request = fs.request(Method::POST, &path(&inside, what)).header("content-digest", digest);
            fs.send(request.body(bytes.to_vec())).await
        };
        let lost = put(said(b"other")).await.expect_status(400).data();
        assert!(lost["content-digest"]["mismatch"].is_object(), "{lost}");
        put(format!("md5=:AAAA:, {}", said(bytes))).await.expect_status(status);
        put("nonsense".into()).await.expect_status(200);
        let odd = put("sha-256=:AAAA:".into()).await.expect_status(400).data();
        assert!(odd["content-digest"]["invalid"].is_object(), "{odd}");
        let md5 = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(md5::Md5::digest(bytes));
        for (said, status) in [(md5(b"other"), 400), (md5(bytes), 200)] {
            let request = fs.request(Method::POST, &path(&inside, what)).header("content-md5", said);
            let answer = fs.send(request.body(bytes.to_vec())).await.expect_status(status).data();
            assert_eq!(answer["content-md5"]["mismatch"].is_object(), status == 400, "{answer}");
        }
    }
    // In a form it is the file's own that counts.
    for (digest, status) in [(said(b"other"), 400), (said(b"RIFF"), 200)] {
        let form = format!(
            "--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a.wav\"\r\nContent-Digest: {digest}\r\n\r\nRIFF\r\n--b--\r\n"
        );
        let request = fs.request(Method::POST, &path(&inside, "recordings/a.wav"));
        let request = request
            .header("content-type", "multipart/form-data; boundary=b")
            .header("content-digest", said(b"the form"));
        fs.send(request.body(form)).await.expect_status(status);
    }
    assert_eq!(documents(&inside, "call_recording").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_without_an_account_means_the_keys() {
    let inside = Inside::start().await;
    let (_, secret) = key(&inside, ALL).await;
    mailbox(&inside).await;
    let fs = switch(&inside, &secret);
    for what in ["recordings/a.wav", "voicemail/1001/a.wav", "fax/a.tiff", "recordings/cdr", "fax/recordings"] {
        let put = async |path: String| fs.upload(Method::PUT, &path, "", &b"RIFF"[..]).await;
        let first = put(format!("/v2/ingest/{what}")).await.expect_status(201).data();
        let again = put(path(&inside, what)).await.expect_status(200).data();
        assert_eq!((&first["id"], &first["sha256"]), (&again["id"], &again["sha256"]), "{what}");
    }
    let leg = r#"{"call_id": "f3b1"}"#;
    let first = fs.upload(Method::POST, "/v2/ingest/cdr", "application/json", leg).await.expect_status(200).data();
    let again = fs.upload(Method::POST, &path(&inside, "cdr"), "application/json", leg).await.expect_status(200).data();
    assert_eq!((&first["id"], &first["new"], &again["new"]), (&again["id"], &json!(true), &json!(false)));
    let (_, narrow) = key(&inside, &["fax"]).await;
    switch(&inside, &narrow).upload(Method::POST, "/v2/ingest/cdr", "application/json", leg).await.expect_status(403);
    switch(&inside, "ik_none").upload(Method::POST, "/v2/ingest/cdr", "application/json", leg).await.expect_status(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_watcher_of_a_folder_and_this_are_two_ends_of_one_line() {
    let inside = Inside::start().await;
    let (_, secret) = key(&inside, ALL).await;
    let mailbox = mailbox(&inside).await;
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, bytes: &[u8]| {
        let file = folder.path().join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, bytes).unwrap();
    };
    put("key", secret.as_bytes());
    put("recordings/f3b1_310.wav", testkit::VOICEMAIL_WAV);
    put("recordings/empty.wav", b"");
    put("fax/a.tiff", b"II*\0");
    put("voicemail/1001/a.wav", testkit::VOICEMAIL_WAV);
    put("cdr/a_u-1.cdr.json", br#"{"core-uuid": "c", "variables": {"uuid": "u-1", "end_epoch": "1795442893"}}"#);
    put("cdr/u-2.cdr.json", b"%7B%22variables%22%3A%7B%22uuid%22%3A%22u-2%22%7D%7D\n");
    put(
        "asterisk/default/1001/INBOX/msg0000.txt",
        b"[message]\norigmailbox=1001\ncallerid=\"Dana Fox\" <+14155550123>\norigtime=1795442694\nmsg_id=1795442694-0000002a\nduration=5\n",
    );
    put("asterisk/default/1001/INBOX/msg0000.wav", testkit::VOICEMAIL_WAV);
    let to = format!("http://{}{}", inside.server.address(), path(&inside, "").trim_end_matches('/'));
    let run = |kind: &str, below: &str, more: &[&str]| {
        let mut command = std::process::Command::new(testkit::find_binary().unwrap());
        command
            .arg("spool")
            .arg(folder.path().join(below))
            .args(["--to", &to, "--kind", kind, "--once", "--settle", "0s"]);
        command.arg("--key-file").arg(folder.path().join("key")).args(more);
        let output = command.output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let mode = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o600);
    std::fs::set_permissions(folder.path().join("key"), mode).unwrap();
    // An empty file is refused for itself, and set aside.
    let (all, said) = run("recordings", "recordings", &["--name-pattern", "{call_id}_{callee_id_number}.wav"]);
    assert!(!all && said.contains("empty"), "{said}");
    for (kind, below, more) in [
        ("fax", "fax", &[][..]),
        ("voicemail", "voicemail", &["--recursive"][..]),
        ("cdr", "cdr", &[][..]),
        ("asterisk-voicemail", "asterisk", &[][..]),
    ] {
        let (all, said) = run(kind, below, more);
        assert!(all, "{kind}: {said}");
    }
    let recording = documents(&inside, "call_recording").await.remove(0);
    assert_eq!((recording.text("call_id"), recording.text("callee_id_number")), (Some("f3b1"), Some("310")));
    assert_eq!(documents(&inside, "fax").await.len(), 1);
    assert_eq!(documents(&inside, "cdr").await.len(), 2);
    let messages = inside.api.get(&inside.path(&format!("vmboxes/{mailbox}/messages"))).await.expect_status(200).data();
    let callers: Vec<&str> =
        messages.as_array().unwrap().iter().map(|one| one["caller_id_number"].as_str().unwrap()).collect();
    assert!(callers.len() == 2 && callers.contains(&"+14155550123"), "{messages}");
    let left: Vec<bool> = ["recordings/f3b1_310.wav", "fax/a.tiff", "cdr/u-2.cdr.json"]
        .iter()
        .map(|name| folder.path().join(name).exists())
        .collect();
    assert_eq!(left, [false; 3], "what is safe is gone from the switch");
    assert!(folder.path().join("asterisk/default/1001/INBOX/msg0000.wav").exists(), "Asterisk's own is left alone");
}

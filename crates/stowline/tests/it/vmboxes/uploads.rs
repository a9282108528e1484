//! Audio in every shape that an upload can have, and what is no fit upload.

use reqwest::Method;
use serde_json::json;
use testkit::{VOICEMAIL_WAV, multipart_body};

use super::super::fixture::{CONFIG, Platform};
use super::{json_last, listed, note, now, walk};

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

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
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

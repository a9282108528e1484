//! How long a message is, when nobody says it.

use reqwest::Method;
use serde_json::json;
use testkit::VOICEMAIL_WAV;

use super::super::fixture::Platform;

/// An MP3 of so many frames, each 1152 samples of 44.1 kHz.
fn mp3(frames: usize) -> Vec<u8> {
    (0..frames).flat_map(|_| [&[0xFF, 0xFB, 0x90, 0x64][..], &[0x55; 413]].concat()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_length_that_nobody_says_is_that_of_the_audio() {
    let platform = Platform::start().await;
    let (api, mailbox) = (&platform.tenant.api, platform.mailbox().await);
    let messages = format!("{mailbox}/messages");
    let leave = async |said: serde_json::Value, name: &str, kind: &str, bytes: &[u8]| {
        let (form, body) = testkit::multipart_body(&json!({"data": said}), name, kind, bytes);
        api.upload(Method::PUT, &messages, &form, body).await.expect_status(201).data()
    };
    assert_eq!(leave(json!({}), "a.wav", "audio/wav", VOICEMAIL_WAV).await["length"], 5225);
    assert_eq!(leave(json!({}), "a.mp3", "audio/mpeg", &mp3(100)).await["length"], 2612);
    assert_eq!(leave(json!({"length": 7}), "a.wav", "audio/wav", VOICEMAIL_WAV).await["length"], 7);
    let odd = leave(json!({}), "a.wav", "audio/wav", b"RIFF and nothing else").await;
    assert_eq!(odd["length"], 1, "as the reference has it");
    // Other audio has its own length, and changes nothing else.
    let id = odd["media_id"].as_str().unwrap();
    api.post(&format!("{messages}/{id}"), &json!({"data": {"folder": "saved"}})).await.expect_status(200);
    let raw = format!("{messages}/{id}/raw");
    let changed = api.upload(Method::PUT, &raw, "audio/wav", VOICEMAIL_WAV).await.expect_status(201).data();
    assert_eq!((&changed["length"], &changed["folder"]), (&json!(5225), &json!("saved")));
    assert_eq!(changed["call_id"], odd["call_id"]);

    let ingest = format!("/v2/ingest/{}", platform.tenant.id);
    let made = api.upload(Method::PUT, &format!("{ingest}/voicemail/1001/v.wav"), "", VOICEMAIL_WAV).await;
    let made = made.expect_status(201).data();
    let shown = api.get(&format!("{messages}/{}", made["id"].as_str().unwrap())).await.expect_status(200).data();
    assert_eq!(shown["length"], 5225);
    for (query, wanted) in [("", 5225), ("?duration=9", 9000)] {
        let made =
            api.upload(Method::PUT, &format!("{ingest}/recordings/r{wanted}.wav{query}"), "", VOICEMAIL_WAV).await;
        let id = made.expect_status(201).data()["id"].as_str().unwrap().to_owned();
        let recording = api.get(&format!("/v2/accounts/{}/recordings/{id}", platform.tenant.id)).await.data();
        assert_eq!((&recording["duration_ms"], &recording["duration"]), (&json!(wanted), &json!(wanted / 1000)));
    }
}

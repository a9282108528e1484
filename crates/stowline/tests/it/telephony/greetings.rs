//! A box's own greeting: given to it by the API, heard by who calls.

use reqwest::Method;
use serde_json::json;
use testkit::VOICEMAIL_WAV;
use voice::{Codec, tone, wav};

use super::phones::{Exchange, heard_of};
use crate::fixture::{HANDLER, bucket, plain_user};

/// What a caller hears who says a short word. The general prompt of these tests is shorter than any greeting below.
async fn heard(exchange: &Exchange) -> Vec<i16> {
    let (word, file) = (exchange.folder.path().join("word.wav"), exchange.folder.path().join("heard.wav"));
    std::fs::write(&word, wav::file(8_000, tone::beep(8_000).samples())).unwrap();
    let record = file.to_str().unwrap();
    let output = exchange.call(&word, &["--codec", "pcmu", "--record", record]).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    wav::read(&std::fs::read(&file).unwrap()).unwrap().samples().to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_with_a_greeting_of_its_own_plays_it_until_it_is_taken_away() {
    let exchange = Exchange::open().await;
    let (platform, path) = (&exchange.platform, format!("{}/greeting", exchange.mailbox));
    let api = &platform.tenant.api;
    api.get(&path).await.expect_status(404);
    // A second of the speech from its middle, where nothing else sounds like it.
    let words = &wav::read(VOICEMAIL_WAV).unwrap().samples()[16_000..24_000].to_vec();
    let greeting = wav::file(8_000, words);
    let made = api.upload(Method::PUT, &path, "audio/wav", greeting.clone()).await.expect_status(201).data();
    assert_eq!((&made["content_type"], &made["content_length"]), (&json!("audio/wav"), &json!(greeting.len())));
    assert_eq!(api.get(&path).await.expect_status(200).body, greeting);
    let said = heard_of(words, Codec::Pcmu);
    let plays = |heard: &[i16]| heard.windows(800).any(|part| part == &said[3_200..4_000]);
    assert!(plays(&heard(&exchange).await), "the greeting was not heard");
    // The box stays what it was, and a change of it keeps the greeting.
    api.patch(&exchange.mailbox, &json!({"data": {"name": "Dana Fox"}})).await.expect_status(200);
    assert_eq!(api.get(&exchange.mailbox).await.data()["mailbox"], "1001");
    assert_eq!(api.get(&path).await.expect_status(200).body, greeting);
    api.delete(&path).await.expect_status(200);
    api.get(&path).await.expect_status(404);
    api.delete(&path).await.expect_status(404);
    assert!(!plays(&heard(&exchange).await), "a greeting was heard that had been taken away");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_greeting_lies_where_the_plan_says_and_callers_are_answered_also_without_it() {
    let exchange = Exchange::open().await;
    let (platform, path) = (&exchange.platform, format!("{}/greeting", exchange.mailbox));
    let (server, settings) = bucket();
    let document = json!({"data": {
        "attachments": {HANDLER: {"handler": "s3", "name": "bucket", "settings": settings}},
        "plan": {"account": {"types": {"vmbox": {"attachments": {"handler": HANDLER}}}}},
    }});
    platform.tenant.api.put(&platform.storage(), &document).await.expect_status(201);
    let words = &wav::read(VOICEMAIL_WAV).unwrap().samples()[16_000..24_000].to_vec();
    let greeting = wav::file(8_000, words);
    platform.tenant.api.upload(Method::PUT, &path, "audio/wav", greeting.clone()).await.expect_status(201);
    platform.until_delivered().await;
    let keys = server.keys("recordings");
    assert_eq!(keys.len(), 1, "{keys:?}");
    assert_eq!(server.object("recordings", &keys[0]).unwrap(), greeting);
    let said = heard_of(words, Codec::Pcmu);
    let plays = |heard: &[i16]| heard.windows(800).any(|part| part == &said[3_200..4_000]);
    assert!(plays(&heard(&exchange).await), "the greeting was not heard");
    server.stop();
    assert!(!plays(&heard(&exchange).await), "the general words take its place");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_greeting_is_sound_that_can_be_played_and_is_given_by_who_may() {
    let exchange = Exchange::open().await;
    let (platform, path) = (&exchange.platform, format!("{}/greeting", exchange.mailbox));
    let api = &platform.tenant.api;
    let long = wav::file(8_000, &vec![0; 61 * 8_000]);
    for (content_type, body, status) in [
        ("audio/wav", b"RIFF".to_vec(), 400),
        ("audio/mpeg", vec![0xff; 400], 400),
        ("audio/wav", long, 400),
        ("image/tiff", b"II*\0".to_vec(), 415),
    ] {
        api.upload(Method::PUT, &path, content_type, body).await.expect_status(status);
    }
    let (pat, _) = plain_user(platform).await;
    pat.upload(Method::PUT, &path, "audio/wav", wav::file(8_000, &[0; 800])).await.expect_status(403);
    pat.get(&path).await.expect_status(403);
    pat.delete(&path).await.expect_status(403);
    api.get(&path).await.expect_status(404);
}

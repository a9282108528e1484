//! Audio out and in again: ranges, replacement, other boxes.

use reqwest::Method;
use serde_json::json;
use testkit::VOICEMAIL_WAV;

use super::super::fixture::{Platform, bucket, until};
use super::{boxes, json_last, walk};

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
async fn fault_10_audio_is_served_whole_and_in_ranges() {
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
    // Files are removed in the background.
    until("what was replaced is gone", async || {
        walk(platform.program.data_dir()).iter().all(|file| file.1 != VOICEMAIL_WAV.len() as u64)
    })
    .await;

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

//! Deletion of recordings: what lies here goes, a copy at a destination stays unless the plan says otherwise.

use serde_json::{Value, json};
use testkit::VOICEMAIL_WAV;

use super::super::fixture::{bucket, until};
use super::super::inside::Inside;
use super::listed;

/// Files with as many bytes as the audio, in the data folder.
fn kept(inside: &Inside) -> usize {
    let app = inside.app();
    [&app.spool, &app.kept].iter().map(|spool| spool.files().unwrap().len()).sum()
}

async fn delete(inside: &Inside, id: &str) {
    let path = inside.path(&format!("recordings/{id}"));
    let gone = inside.api.delete(&path).await.expect_status(200).data();
    assert_eq!((&gone["id"], &gone["_read_only"]), (&json!(id), &json!({"deleted": true})));
    for answer in [
        inside.api.get(&path).await,
        inside.api.get(&format!("{path}?accept=audio/wav")).await,
        inside.api.delete(&path).await,
    ] {
        answer.expect_status(404);
    }
    assert_eq!(listed(&inside.api, &inside.path("recordings"), "").await, Vec::<String>::new());
}

async fn no_promise_is_left(inside: &Inside) {
    until("no reservation is left", async || inside.app().journal.reservations().await.unwrap().is_empty()).await;
    inside.until_delivered().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bytes_of_a_deleted_recording_that_lie_here_go() {
    let inside = Inside::start().await;
    let recording = inside.recording(json!({}), "audio/wav", VOICEMAIL_WAV).await;
    assert_eq!(kept(&inside), 1);
    let stale = inside.api.request(reqwest::Method::DELETE, &inside.path(&format!("recordings/{}", recording.id)));
    inside.api.send(stale.header("if-match", "\"1-00000000000000000000000000000000\"")).await.expect_status(412);
    delete(&inside, recording.id.as_ref()).await;
    until("the file is gone", async || kept(&inside) == 0).await;
    no_promise_is_left(&inside).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_9_a_copy_at_a_destination_stays_unless_the_plan_says_delete() {
    for (params, left) in [
        (json!({}), 1),
        (json!({"stub": true}), 1),
        (json!({"delete": true}), 0),
        (json!({"delete": true, "stub": true}), 0),
        (json!({"delete": false}), 1),
    ] {
        let inside = Inside::start().await;
        let (server, settings) = bucket();
        inside.route("call_recording", settings, params.clone()).await;
        let recording = inside.recording(json!({}), "audio/wav", VOICEMAIL_WAV).await;
        inside.until_delivered().await;
        until("only a stub is kept here", async || kept(&inside) == usize::from(params["stub"] == true)).await;
        delete(&inside, recording.id.as_ref()).await;
        no_promise_is_left(&inside).await;
        assert_eq!(server.objects("recordings").len(), left, "{params}");
        until("nothing is left here", async || kept(&inside) == 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_on_its_way_arrives_unless_the_plan_says_delete_and_leaves_nothing_here() {
    for (params, arrives) in [
        (json!({}), 1),
        (json!({"stub": true}), 1),
        (json!({"delete": true}), 0),
        (json!({"delete": true, "stub": true}), 0),
    ] {
        let inside = Inside::start().await;
        let (server, settings) = bucket();
        inside.route("call_recording", settings, params.clone()).await;
        server.stop();
        let recording = inside.recording(json!({}), "audio/wav", VOICEMAIL_WAV).await;
        assert_eq!(kept(&inside), 1, "{params}");
        delete(&inside, recording.id.as_ref()).await;
        if arrives == 1 {
            let waiting = inside.api.get(&inside.path("storage/deliveries")).await.data();
            assert_eq!(waiting.as_array().map(Vec::len), Some(1), "{params}");
        }
        server.restart();
        no_promise_is_left(&inside).await;
        assert_eq!(server.objects("recordings").len(), arrives, "{params}");
        until("nothing is left here", async || kept(&inside) == 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_during_the_delivery_is_a_deletion() {
    for params in [json!({}), json!({"delete": true}), json!({"stub": true}), json!({"stub": true, "delete": true})] {
        let inside = Inside::start().await;
        let (server, settings) = bucket();
        inside.route("call_recording", settings, params.clone()).await;
        let mut at_once = Vec::new();
        for _ in 0..12 {
            let id = inside.recording(json!({}), "audio/wav", VOICEMAIL_WAV).await.id.to_string();
            let (api, path) = (inside.api.clone(), inside.path(&format!("recordings/{id}")));
            at_once.push(tokio::spawn(async move { api.delete(&path).await.status }));
        }
        for done in at_once {
            assert_eq!(done.await.unwrap(), 200, "{params}");
        }
        no_promise_is_left(&inside).await;
        let left = if params["delete"] == true { 0 } else { 12 };
        until(&format!("all has settled with {params}"), async || {
            server.objects("recordings").len() == left && kept(&inside) == 0
        })
        .await;
        assert_eq!(listed(&inside.api, &inside.path("recordings"), "").await, Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_delete_one_recording_each_is_told_what_is_true() {
    let inside = Inside::start().await;
    let recording = inside.recording(json!({}), "audio/wav", VOICEMAIL_WAV).await;
    let path = inside.path(&format!("recordings/{}", recording.id));
    let mut at_once = Vec::new();
    for _ in 0..8 {
        let (api, path) = (inside.api.clone(), path.clone());
        at_once.push(tokio::spawn(async move { api.delete(&path).await.status }));
    }
    let mut answers = Vec::new();
    for done in at_once {
        answers.push(done.await.unwrap());
    }
    assert_eq!(answers.iter().filter(|status| **status == 200).count(), 1, "{answers:?}");
    assert!(answers.iter().all(|status| matches!(status, 200 | 404)), "{answers:?}");
    until("the file is gone", async || kept(&inside) == 0).await;
    no_promise_is_left(&inside).await;
    assert_eq!(inside.api.get(&path).await.expect_status(404).data()["cause"], Value::from(recording.id.as_ref()));
}

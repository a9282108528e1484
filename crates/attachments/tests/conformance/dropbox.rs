//! What is promised of `dropbox` alone: a large payload is read once, and what was stored is compared afterwards.

use std::sync::Mutex;

use attachments::{Assurance, ErrorKind, Receipt};
use bytes::Bytes;
use serde_json::{Map, Value, json};
use testkit::{Dropbox, Fault, Seen};

use crate::fixture::drives::{Drive, dropbox};
use crate::fixture::{Fixture, audio, key, noise, open, place, read};

/// More than a block of Dropbox's digest, which is then not known beforehand.
const LARGE: usize = 9 << 20;
/// More than goes in one request.
const VERY_LARGE: usize = 101 << 20;

async fn put(drive: &Drive<Dropbox>, bytes: &Bytes) -> Result<Receipt, attachments::Error> {
    let place = place("dropbox", &Map::new(), "d1", "message.wav");
    open(drive).put(&place, &audio(bytes), &key("d1", "message.wav")).await
}

/// The first request of a function that fits meets this.
fn once(drive: &Drive<Dropbox>, function: &'static str, fault: Fault) {
    let fault = Mutex::new(Some(fault));
    drive.server.faults().rule(move |seen| seen.path.ends_with(function).then(|| fault.lock().unwrap().take())?);
}

/// The functions that were asked, without their path.
fn asked(drive: &Drive<Dropbox>) -> Vec<String> {
    let name = |seen: &Seen| seen.path.trim_start_matches("/2/files/").to_owned();
    drive.server.faults().seen().iter().map(name).collect()
}

/// It is there, alone, and comes back.
async fn is_stored(drive: &Drive<Dropbox>, receipt: &Receipt, bytes: &Bytes) {
    assert_eq!(receipt.assurance, Assurance::Checksum);
    assert!(drive.objects() == [bytes.clone()]);
    let body = open(drive).fetch(receipt, None, &Value::Null).await.unwrap();
    assert!(read(body).await.unwrap() == *bytes);
}

#[tokio::test]
async fn a_large_payload_goes_in_one_request_and_a_small_one_says_its_digest() {
    for (length, says) in [(0, true), (1000, true), (4 << 20, true), (LARGE, false)] {
        let (drive, bytes) = (dropbox(), noise(length));
        let receipt = put(&drive, &bytes).await.unwrap();
        assert_eq!(asked(&drive), ["upload"], "{length}");
        let seen = drive.server.faults().seen().remove(0);
        let arguments: Value = serde_json::from_slice(seen.headers["dropbox-api-arg"].as_bytes()).unwrap();
        assert_eq!(arguments["content_hash"].is_string(), says, "{length}");
        is_stored(&drive, &receipt, &bytes).await;
    }
}

#[tokio::test]
async fn a_token_that_ended_costs_a_second_request_and_nothing_else() {
    for length in [1000, LARGE] {
        let (drive, bytes) = (dropbox(), noise(length));
        drive.server.faults().next([Fault::status(401)]);
        let receipt = put(&drive, &bytes).await.unwrap();
        assert_eq!(asked(&drive), ["upload", "upload"]);
        is_stored(&drive, &receipt, &bytes).await;
    }
}

#[tokio::test]
async fn what_broke_in_the_middle_is_begun_anew() {
    let (drive, bytes) = (dropbox(), noise(LARGE));
    once(&drive, "upload", Fault::ResetDuringUpload { after: 5 << 20 });
    assert_eq!(put(&drive, &bytes).await.unwrap_err().kind(), ErrorKind::Interrupted);
    assert!(drive.objects().is_empty());
    let receipt = put(&drive, &bytes).await.unwrap();
    is_stored(&drive, &receipt, &bytes).await;
    // It is stored, and nobody heard of it: found at once, by a digest that was taken of what was sent.
    open(&drive).delete(&receipt).await.unwrap();
    once(&drive, "upload", Fault::LoseAnswer);
    let receipt = put(&drive, &bytes).await.unwrap();
    is_stored(&drive, &receipt, &bytes).await;
}

#[tokio::test]
async fn a_session_goes_on_in_the_middle_of_a_block() {
    let (drive, bytes) = (dropbox(), noise(VERY_LARGE));
    // More was read of the piece than arrived.
    once(&drive, "append_v2", Fault::KeepPart { after: 5_000_001 });
    let receipt = put(&drive, &bytes).await.unwrap();
    let started = ["get_metadata", "upload_session/start", "upload_session/append_v2"];
    // Broken, asked, and three pieces to the end.
    let rest = ["upload_session/append_v2"; 4];
    assert_eq!(asked(&drive), [&started[..], &rest, &["upload_session/finish"]].concat());
    is_stored(&drive, &receipt, &bytes).await;
}

#[tokio::test]
async fn bytes_that_changed_are_found_out_and_in_nobodys_way() {
    for (length, function) in [(LARGE, "upload"), (VERY_LARGE, "append_v2")] {
        let (drive, bytes) = (dropbox(), noise(length));
        once(&drive, function, Fault::CorruptUpload);
        let error = put(&drive, &bytes).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Mismatch, "{function}: {error:?}");
        assert!(drive.objects().is_empty(), "{function}");
        let receipt = put(&drive, &bytes).await.unwrap();
        is_stored(&drive, &receipt, &bytes).await;
    }
}

#[tokio::test]
async fn what_changed_and_was_changed_again_by_its_owner_stays() {
    // Between the upload and the look after it, and between that and the removal.
    for when in ["get_metadata", "delete_v2"] {
        let (drive, bytes) = (dropbox(), noise(LARGE));
        let (server, fault) = (drive.server.clone(), Mutex::new(Some(Fault::CorruptUpload)));
        drive.server.faults().rule(move |seen| {
            if seen.path.ends_with(when) {
                server.tamper(&|_| b"the owner's".to_vec());
            }
            seen.path.ends_with("upload").then(|| fault.lock().unwrap().take())?
        });
        assert_eq!(put(&drive, &bytes).await.unwrap_err().kind(), ErrorKind::Mismatch, "{when}");
        drive.server.faults().heal();
        assert_eq!(drive.objects(), [&b"the owner's"[..]], "{when}");
        assert_eq!(put(&drive, &bytes).await.unwrap_err().kind(), ErrorKind::Conflict, "{when}");
        assert_eq!(drive.objects(), [&b"the owner's"[..]], "{when}");
    }
}

#[tokio::test]
async fn an_answer_with_another_digest_is_not_believed() {
    let wrong = json!({"id": "id:1", "rev": "0123456789", "size": LARGE, "content_hash": "0".repeat(64)});
    // Nothing was stored.
    let (drive, bytes) = (dropbox(), noise(LARGE));
    once(&drive, "upload", Fault::status(200).with_body(&wrong.to_string()));
    assert_eq!(put(&drive, &bytes).await.unwrap_err().kind(), ErrorKind::Mismatch);
    // It lies there from before, and the look says so.
    put(&drive, &bytes).await.unwrap();
    once(&drive, "upload", Fault::status(200).with_body(&wrong.to_string()));
    let receipt = put(&drive, &bytes).await.unwrap();
    is_stored(&drive, &receipt, &bytes).await;
    // Somebody else's lies there: it stays, whatever the answer says.
    drive.server.tamper(&|_| b"the owner's".to_vec());
    once(&drive, "upload", Fault::status(200).with_body(&wrong.to_string()));
    assert_eq!(put(&drive, &bytes).await.unwrap_err().kind(), ErrorKind::Mismatch);
    assert_eq!(drive.objects(), [&b"the owner's"[..]]);
    let error = put(&drive, &bytes).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
}

#[tokio::test]
async fn a_file_of_that_length_that_is_not_ours_is_a_conflict() {
    for length in [LARGE, 50 << 20] {
        let (drive, bytes) = (dropbox(), noise(length));
        put(&drive, &bytes).await.unwrap();
        for other in [bytes.iter().map(|byte| byte ^ 1).collect(), noise(length + 1)] {
            assert_eq!(put(&drive, &other).await.unwrap_err().kind(), ErrorKind::Conflict);
            assert!(drive.objects() == [bytes.clone()]);
        }
        put(&drive, &bytes).await.unwrap();
        // Where it is very large nothing of it was sent again.
        assert_eq!(asked(&drive).len(), if length == LARGE { 6 } else { 5 });
    }
}

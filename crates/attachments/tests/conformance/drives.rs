//! What is promised of the drives of persons alone: ids, folders, sessions, moves.

use attachments::{Assurance, ErrorKind, Handler, Location, Receipt};
use bytes::Bytes;
use futures_util::future::join_all;
use serde_json::{Map, Value, json};
use testkit::{Fault, GoogleDrive};

use crate::fixture::drives::{Drive, dropbox, google, onedrive};
use crate::fixture::{Fixture, audio, key, noise, open, open_with, place, read};

async fn put(fixture: &dyn Fixture, id: &str, bytes: &Bytes) -> Result<Receipt, attachments::Error> {
    let place = place(fixture.kind(), &Map::new(), id, "message.wav");
    open(fixture).put(&place, &audio(bytes), &key(id, "message.wav")).await
}

fn at(text: &str) -> Location {
    serde_json::from_value(text.into()).unwrap()
}

fn names(fixture: &Drive<GoogleDrive>) -> Vec<String> {
    fixture.server.files().into_iter().map(|(path, _)| path).collect()
}

async fn reserved(handler: &dyn Handler, bytes: &Bytes, id: &str) -> Result<Receipt, attachments::Error> {
    let key = attachments::PutKey { reserved: Some(id.to_owned()), ..key("d1", "message.wav") };
    handler.put(&at("d1_message.wav"), &audio(bytes), &key).await
}

#[tokio::test]
async fn an_id_that_was_reserved_is_one_file_whatever_happens() {
    let drive = google();
    let handler = open(&drive);
    let id = handler.reserve(&at("d1_message.wav"), &key("d1", "message.wav")).await.unwrap().unwrap();
    // Stored, and nobody heard of it; then again, as after a crash; then by another process.
    drive.server.faults().next([Fault::LoseAnswer]);
    let first = reserved(handler.as_ref(), &noise(5_000), &id).await.unwrap();
    assert_eq!((first.id.as_deref(), first.assurance), (Some(id.as_str()), Assurance::Checksum));
    reserved(handler.as_ref(), &noise(5_000), &id).await.unwrap();
    reserved(open(&drive).as_ref(), &noise(5_000), &id).await.unwrap();
    assert_eq!(drive.objects(), [noise(5_000)]);
    // What changed on the way is found out, and the next attempt writes over it.
    drive.server.tamper(&|_| b"other".to_vec());
    let again = reserved(handler.as_ref(), &noise(5_000), &id).await.unwrap();
    assert_eq!((again.id, drive.objects()), (Some(id), vec![noise(5_000)]));
    // Large ones too.
    let id = handler.reserve(&at("d2"), &key("d2", "large")).await.unwrap().unwrap();
    let large = noise(9 << 20);
    reserved(handler.as_ref(), &large, &id).await.unwrap();
    reserved(handler.as_ref(), &large, &id).await.unwrap();
    assert_eq!(drive.objects().len(), 2);
}

#[tokio::test]
async fn folders_are_made_once_and_known_from_then_on() {
    let drive = google();
    let inside = drive.server.folder("Recordings");
    let mut settings = drive.settings();
    settings.insert("folder_id".into(), inside.clone().into());
    let handler = open_with(&drive, &settings);
    let puts = (0..16).map(|n| {
        let (handler, name) = (handler.clone(), format!("2026/11/24/call-{n}.wav"));
        async move { handler.put(&at(&name), &audio(&noise(100 + n)), &key(&name, "call.wav")).await }
    });
    let receipts = join_all(puts).await;
    assert!(receipts.iter().all(Result::is_ok), "{receipts:?}");
    let mut folders = drive.server.folders();
    folders.sort();
    assert_eq!(folders, ["Recordings", "Recordings/2026", "Recordings/2026/11", "Recordings/2026/11/24"]);
    assert!(names(&drive).iter().all(|name| name.starts_with("Recordings/2026/11/24/call-")), "{:?}", names(&drive));
    // Another day: they are found, not made.
    open_with(&drive, &settings).put(&at("2026/11/24/b.wav"), &audio(&noise(7)), &key("b", "b.wav")).await.unwrap();
    assert_eq!(drive.server.folders().len(), 4);
    // Gone altogether: nothing is put elsewhere.
    drive.server.remove(&inside);
    let lost = handler.put(&at("2026/11/24/c.wav"), &audio(&noise(8)), &key("c", "c.wav")).await.unwrap_err();
    assert_eq!(lost.kind(), ErrorKind::NotFound);
    assert!(lost.exchange().unwrap().message.as_deref().unwrap().starts_with("File not found"), "{lost:?}");
    assert!(drive.objects().is_empty());
    assert_eq!(
        open_with(&drive, &settings)
            .put(&at("2026/d.wav"), &audio(&noise(9)), &key("d", "d.wav"))
            .await
            .unwrap_err()
            .kind(),
        ErrorKind::NotFound
    );
}

#[tokio::test]
async fn folders_that_come_with_paths_are_there_once_and_never_at_the_top_instead() {
    let drive = onedrive();
    let inside = drive.server.folder("Recordings");
    let mut settings = drive.settings();
    settings.insert("folder_id".into(), inside.clone().into());
    let handler = open_with(&drive, &settings);
    let put = |handler: &std::sync::Arc<dyn Handler>, n: usize| {
        let (handler, name) = (handler.clone(), format!("2026/11/24/call-{n}.wav"));
        async move { handler.put(&at(&name), &audio(&noise(100 + n)), &key(&name, "call.wav")).await }
    };
    let receipts = join_all((0..16).map(|n| put(&handler, n))).await;
    assert!(receipts.iter().all(Result::is_ok), "{receipts:?}");
    let folders = || drive.server.folders().into_iter().map(|(path, _)| path).collect::<Vec<_>>();
    assert_eq!(folders(), ["Recordings", "Recordings/2026", "Recordings/2026/11", "Recordings/2026/11/24"]);
    let files = drive.server.files();
    assert!(files.len() == 16 && files.iter().all(|(path, _)| path.starts_with("Recordings/2026/11/24/call-")));
    // The folder that the settings name is gone: nothing is put elsewhere, by who knew it or by who comes anew.
    drive.server.remove(&inside);
    for handler in [handler, open_with(&drive, &settings)] {
        let lost = put(&handler, 17).await.unwrap_err();
        assert_eq!(lost.kind(), ErrorKind::NotFound, "{lost:?}");
        let large = handler.put(&at("2026/b.wav"), &audio(&noise(5 << 20)), &key("b", "b.wav")).await.unwrap_err();
        assert_eq!(large.kind(), ErrorKind::NotFound, "{large:?}");
    }
    assert!(drive.server.files().is_empty() && folders().is_empty());
}

#[tokio::test]
async fn a_folder_that_went_is_made_again_by_the_next_attempt() {
    let drive = google();
    let handler = open(&drive);
    let receipt = handler.put(&at("a/b/c.wav"), &audio(&noise(1)), &key("c", "c.wav")).await.unwrap();
    assert_eq!(names(&drive), ["a/b/c.wav"]);
    drive.server.remove(receipt.id.as_deref().unwrap());
    let folders = drive.server.folders();
    assert_eq!(folders.len(), 2);
    drive.server.remove_by_path("a");
    assert_eq!(
        handler.put(&at("a/b/d.wav"), &audio(&noise(2)), &key("d", "d.wav")).await.unwrap_err().kind(),
        ErrorKind::NotFound
    );
    handler.put(&at("a/b/d.wav"), &audio(&noise(2)), &key("d", "d.wav")).await.unwrap();
    assert_eq!(names(&drive), ["a/b/d.wav"]);
}

#[tokio::test]
async fn a_large_payload_goes_in_pieces_and_goes_on_where_it_broke() {
    // Of each: what is large, and what a session's pieces look like.
    let fixtures: [(Box<dyn Fixture>, usize, &'static str); 3] = [
        (Box::new(google()), 20 << 20, "upload_id="),
        (Box::new(dropbox()), 101 << 20, "append_v2"),
        (Box::new(onedrive()), 20 << 20, "/elsewhere/session/"),
    ];
    for (fixture, length, sign) in fixtures {
        let (name, bytes) = (fixture.name(), noise(length));
        let faults = fixture.faults().unwrap();
        let lost = std::sync::atomic::AtomicBool::new(false);
        faults.rule(move |seen| {
            let piece = format!("{}?{}", seen.path, seen.query).contains(sign) && seen.method != "GET";
            let first = piece && !lost.swap(true, std::sync::atomic::Ordering::Relaxed);
            first.then_some(Fault::LoseAnswer)
        });
        let receipt = put(fixture.as_ref(), "d1", &bytes).await.unwrap_or_else(|error| panic!("{name}: {error:?}"));
        assert_eq!(receipt.assurance, Assurance::Checksum, "{name}");
        let sent: u64 = faults
            .seen()
            .iter()
            .filter_map(|seen| seen.headers.get("content-length")?.to_str().ok()?.parse::<u64>().ok())
            .sum();
        assert!(sent < length as u64 + (64 << 10), "{name}: no piece is sent twice, {sent}");
        let body = open(fixture.as_ref()).fetch(&receipt, None, &Value::Null).await.unwrap();
        assert!(read(body).await.unwrap() == bytes, "{name}");
        // Once more: it is there already, and not a byte is sent.
        let before = faults.seen().len();
        put(fixture.as_ref(), "d1", &bytes).await.unwrap();
        assert!(faults.seen().len() <= before + 2, "{name}");
        // Out of order in the middle: nothing stays, and no error names the session.
        faults.rule(move |seen| format!("{}?{}", seen.path, seen.query).contains(sign).then(Fault::unavailable));
        let error = put(fixture.as_ref(), "d2", &bytes).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{name}");
        assert!(!format!("{error:?}").contains("/elsewhere/session/0"), "{name}: {error:?}");
        assert_eq!(fixture.objects().len(), 1, "{name}");
    }
}

#[tokio::test]
async fn a_session_goes_on_after_what_arrived() {
    let (drive, bytes) = (google(), noise(20 << 20));
    let broken = std::sync::atomic::AtomicBool::new(false);
    drive.server.faults().rule(move |seen| {
        let first = seen.query.contains("upload_id=") && !broken.swap(true, std::sync::atomic::Ordering::Relaxed);
        first.then_some(Fault::KeepPart { after: 3 << 20 })
    });
    let receipt = put(&drive, "d1", &bytes).await.unwrap();
    let seen = drive.server.faults().seen();
    let ranges: Vec<&str> = seen.iter().filter_map(|seen| seen.headers.get("content-range")?.to_str().ok()).collect();
    assert_eq!(ranges, ["bytes 0-20971519/20971520", "bytes */20971520", "bytes 3145728-20971519/20971520"]);
    let body = open(&drive).fetch(&receipt, None, &Value::Null).await.unwrap();
    assert!(read(body).await.unwrap() == bytes);
}

#[tokio::test]
async fn a_file_that_its_owner_moves_is_still_found() {
    let drive = dropbox();
    let receipt = put(&drive, "d1", &noise(100)).await.unwrap();
    drive.server.rename("/d1_message.wav", "/old/dana.wav");
    let body = open(&drive).fetch(&receipt, None, &Value::Null).await.unwrap();
    assert_eq!(read(body).await.unwrap(), noise(100));
}

#[tokio::test]
async fn a_token_goes_to_nobody_but_the_drive() {
    let drive = onedrive();
    let receipt = put(&drive, "d1", &noise(6 << 20)).await.unwrap();
    read(open(&drive).fetch(&receipt, None, &Value::Null).await.unwrap()).await.unwrap();
    for seen in drive.server.faults().seen() {
        assert_ne!(seen.path.starts_with("/elsewhere/"), seen.headers.contains_key("authorization"), "{}", seen.path);
    }
    assert_eq!(drive.server.sessions(), 0);
}

#[tokio::test]
async fn a_drive_of_sharepoint_is_named_by_itself_or_its_site() {
    let drive = onedrive();
    for (name, id) in [("drive_id", drive.server.drive_id()), ("site_id", "example,1,2"), ("folder_id", "root")] {
        let mut settings = drive.settings();
        settings.insert(name.into(), id.into());
        let handler = open_with(&drive, &settings);
        let receipt = handler.put(&at(&format!("{name}/a.wav")), &audio(&noise(9)), &key(name, "a.wav")).await.unwrap();
        read(handler.fetch(&receipt, None, &Value::Null).await.unwrap()).await.unwrap();
        handler.delete(&receipt).await.unwrap();
    }
}

#[tokio::test]
async fn the_makers_words_go_before_their_numbers() {
    let drives: [(Box<dyn Fixture>, u16, Value, ErrorKind); 6] = [
        (
            Box::new(google()),
            403,
            json!({"error": {"errors": [{"reason": "userRateLimitExceeded"}]}}),
            ErrorKind::Throttled,
        ),
        (Box::new(google()), 403, json!({"error": {"errors": [{"reason": "storageQuotaExceeded"}]}}), ErrorKind::Full),
        (Box::new(dropbox()), 409, json!({"error_summary": "path/insufficient_space/."}), ErrorKind::Full),
        (Box::new(dropbox()), 409, json!({"error_summary": "too_many_write_operations/."}), ErrorKind::Throttled),
        (Box::new(onedrive()), 503, json!({"error": {"code": "activityLimitReached"}}), ErrorKind::Throttled),
        (Box::new(onedrive()), 507, json!({"error": {"code": "quotaLimitReached"}}), ErrorKind::Full),
    ];
    for (fixture, status, body, kind) in drives {
        let answer = Fault::status(status).with_body(&body.to_string());
        fixture.faults().unwrap().always(answer);
        assert_eq!(
            put(fixture.as_ref(), "d1", &noise(100)).await.unwrap_err().kind(),
            kind,
            "{} {body}",
            fixture.name()
        );
    }
}

//! What is sent, as what, and what becomes of the file.

use std::fs;

use uploader::{After, Error, Kind, Pattern, Settings, Tally};

use super::fixture::{Spool, Watcher, once, query};

#[tokio::test]
async fn a_recording_is_uploaded_with_what_is_known_of_it_and_then_deleted() {
    let spool = Spool::new();
    spool.put(
        "7f3_+14155550123.wav.json",
        r#"{"direction": "inbound", "duration_ms": 5000, "call_id": "from-the-sidecar"}"#,
    );
    spool.put("7f3_+14155550123.wav", "speech");
    let watcher = Watcher::start(Settings {
        pattern: Some(Pattern::parse("{call_id}_{caller_id_number}.wav").unwrap()),
        parameters: vec![("origin".into(), "pbx 1".into())],
        ..spool.settings(Kind::Recordings)
    });
    spool.until_left(&[]).await;
    let document = spool.document("recordings/7f3_+14155550123.wav");
    assert_eq!((document.method.as_str(), document.content_type.as_str()), ("PUT", "audio/wav"));
    assert_eq!(&document.body[..], b"speech");
    let wanted = [
        ("call_id", "from-the-sidecar"),
        ("caller_id_number", "+14155550123"),
        ("direction", "inbound"),
        ("duration_ms", "5000"),
        ("origin", "pbx 1"),
    ];
    assert_eq!(document.query, query(wanted));
    assert_eq!(watcher.stop().await, Tally { uploaded: 1, bytes: 6, ..Tally::default() });
    let request = &spool.store.faults().seen()[0];
    assert!(request.headers.contains_key("content-digest") && request.headers["content-length"] == "6");
    assert!(!request.query.contains("sesame"), "the key is no part of any address");
}

#[tokio::test]
async fn voicemail_and_faxes_go_to_their_endpoints() {
    let spool = Spool::new();
    spool.put("1001/a b.wav", "speech");
    spool.put("1002/c.mp3", "speech");
    spool.put("1002/d.wav", "speech");
    spool.put("1002/d.wav.json", r#"{"mailbox": "1003"}"#);
    once(Settings { recursive: true, ..spool.settings(Kind::Voicemail) }).await.unwrap();
    spool.put("e.wav", "speech");
    once(Settings { mailbox: Some("1004".into()), ..spool.settings(Kind::Voicemail) }).await.unwrap();
    spool.put("f.tiff", "page");
    once(spool.settings(Kind::Fax)).await.unwrap();
    let wanted = [
        "fax/f.tiff",
        "voicemail/1001/a b.wav",
        "voicemail/1002/c.mp3",
        "voicemail/1003/d.wav",
        "voicemail/1004/e.wav",
    ];
    assert_eq!(spool.store.names(), wanted);
    assert_eq!(spool.document("fax/f.tiff").content_type, "image/tiff");
    assert_eq!(spool.document("voicemail/1003/d.wav").query, query([]));
}

#[tokio::test]
async fn what_is_to_be_moved_is_moved_with_its_sidecar() {
    let spool = Spool::new();
    let settings = || Settings {
        after: After::Move(spool.beside("done")),
        recursive: true,
        require_sidecar: true,
        ..spool.settings(Kind::Recordings)
    };
    spool.put("x/a.wav", "speech");
    assert_eq!(once(settings()).await.unwrap(), Tally::default(), "it waits for its sidecar");
    spool.put("x/a.wav.json", "{}");
    once(settings()).await.unwrap();
    let moved = ["done/x/a.wav", "done/x/a.wav.json"].map(|name| fs::read_to_string(spool.beside(name)).unwrap());
    assert_eq!((moved, spool.names()), (["speech".into(), "{}".into()], vec![]));
}

#[tokio::test]
async fn what_stays_is_sent_once_also_after_a_restart() {
    let spool = Spool::new();
    let settings = || Settings { after: After::Keep, ..spool.settings(Kind::Recordings) };
    spool.put("a.wav", "speech");
    let watcher = Watcher::start(settings());
    spool.until_uploaded(&["recordings/a.wav"]).await;
    spool.put("b.wav", "speech");
    spool.until_uploaded(&["recordings/a.wav", "recordings/b.wav"]).await;
    assert_eq!(watcher.stop().await.uploaded, 2);
    assert_eq!(once(settings()).await.unwrap(), Tally { known: 2, ..Tally::default() });
    spool.put("a.wav", "another speech");
    assert_eq!(once(settings()).await.unwrap(), Tally { uploaded: 1, known: 1, bytes: 14, ..Tally::default() });
    assert!(spool.store.documents().iter().all(|document| document.arrivals == 1));
    assert_eq!(spool.names(), ["a.wav", "b.wav"]);
    // The state may also lie elsewhere: then the folder is only read.
    let elsewhere = Settings { state: Some(spool.beside("state")), ..settings() };
    assert_eq!(once(elsewhere).await.unwrap().uploaded, 2);
    assert!(spool.beside("state/sent").is_file());
}

#[tokio::test]
async fn only_what_matches_where_so_asked() {
    let spool = Spool::new();
    for name in ["msg_7f3.wav", "greeting_1.wav", "recorded_name.wav"] {
        spool.put(name, "speech");
    }
    let settings = Settings {
        pattern: Some(Pattern::parse("msg_{call_id}.wav").unwrap()),
        only_matching: true,
        mailbox: Some("1001".into()),
        ..spool.settings(Kind::Voicemail)
    };
    once(settings).await.unwrap();
    assert_eq!(spool.document("voicemail/1001/msg_7f3.wav").query, query([("call_id", "7f3")]));
    assert_eq!(spool.names(), ["greeting_1.wav", "recorded_name.wav"]);
}

#[tokio::test]
async fn a_single_run_says_what_became_of_everything() {
    let spool = Spool::new();
    spool.put("a.wav", "speech");
    spool.put("b.wav.json", "no json");
    spool.put("b.wav", "speech");
    let tally = once(spool.settings(Kind::Recordings)).await.unwrap();
    assert_eq!(tally, Tally { uploaded: 1, bytes: 6, refused: 1, ..Tally::default() });
    assert_eq!(spool.names(), [".refused/b.wav", ".refused/b.wav.json", ".refused/b.wav.reason"]);
    assert!(spool.read(".refused/b.wav.reason").unwrap().contains("sidecar is no JSON"));
    spool.store.stop();
    spool.put("c.wav", "speech");
    let tally = once(spool.settings(Kind::Recordings)).await.unwrap();
    assert_eq!(tally, Tally { left: 1, ..Tally::default() }, "a single run ends although the store is down");
    assert_eq!(spool.read("c.wav").unwrap(), "speech");
}

#[tokio::test]
async fn a_folder_has_one_watcher() {
    let spool = Spool::new();
    let watcher = Watcher::start(spool.settings(Kind::Recordings));
    spool.put("a.wav", "speech");
    spool.until_left(&[]).await;
    let error = once(spool.settings(Kind::Recordings)).await.unwrap_err();
    assert!(matches!(error, Error::Taken(_)), "{error}");
    watcher.stop().await;
    once(spool.settings(Kind::Recordings)).await.unwrap();
}

#[tokio::test]
async fn what_cannot_run_says_so_at_once() {
    let spool = Spool::new();
    let nowhere = Settings { folder: spool.beside("nowhere"), ..spool.settings(Kind::Fax) };
    assert!(matches!(once(nowhere).await, Err(Error::Folder(..))));
    fs::write(spool.beside("key"), "").unwrap();
    assert!(matches!(once(spool.settings(Kind::Fax)).await, Err(Error::Key(_))));
    fs::write(spool.beside("key"), "sesame").unwrap();
    let into_itself =
        Settings { after: After::Move(spool.folder().join("done")), recursive: true, ..spool.settings(Kind::Fax) };
    assert!(matches!(once(into_itself).await, Err(Error::Unfit(_))));
}

#[tokio::test]
async fn thousands_arrive_each_once() {
    let spool = Spool::new();
    for number in 0..6000 {
        fs::write(spool.folder().join(format!("{number}.wav")), number.to_string()).unwrap();
    }
    let tally = once(spool.settings(Kind::Recordings)).await.unwrap();
    assert_eq!((tally.uploaded, tally.left), (6000, 0));
    let documents = spool.store.documents();
    assert_eq!(documents.len(), 6000);
    assert!(documents.iter().all(|document| document.arrivals == 1));
    assert_eq!(spool.names(), [""; 0]);
}

//! What is promised of `webdav` alone.

use attachments::{Assurance, ErrorKind, Handler, Receipt};
use bytes::Bytes;
use serde_json::{Value, json};
use testkit::Fault;

use crate::fixture::filesystem::files;
use crate::fixture::webdav::Webdav;
use crate::fixture::{ACCOUNT, Fixture, audio, key, noise, open, open_with, place, read};

async fn put(fixture: &Webdav, handler: &dyn Handler, id: &str, bytes: &Bytes) -> Result<Receipt, attachments::Error> {
    let place = place("webdav", &fixture.settings(), id, "a/b.wav");
    handler.put(&place, &audio(bytes), &key(id, "a/b.wav")).await
}

#[tokio::test]
async fn a_file_is_sent_looked_at_and_moved() {
    let Some(dav) = Webdav::start() else { return };
    let mut settings = dav.settings();
    settings.insert("read_back".into(), false.into());
    let handler = open_with(&dav, &settings);
    let receipt = put(&dav, handler.as_ref(), "d7", &noise(100)).await.unwrap();
    assert_eq!(receipt.assurance, Assurance::Length);
    let there = dav.server.files().join("base").join(ACCOUNT).join("d7").join("a%2Fb.wav");
    assert_eq!(files(&dav.server.files()), [there]);
    let methods = || dav.faults().unwrap().seen().iter().map(|seen| seen.method.clone()).collect::<Vec<_>>().join(" ");
    assert_eq!(methods(), "PUT MKCOL PUT HEAD MOVE", "the last folder was missing");
    put(&dav, handler.as_ref(), "d7", &noise(100)).await.unwrap();
    // Once more: what is there is compared, and the temporary file goes.
    assert!(methods().ends_with(" MOVE PUT HEAD MOVE HEAD GET DELETE"), "{}", methods());
    let before = dav.faults().unwrap().seen().len();
    let settings = json!({"field_list": [{"arg": "id"}]});
    let flat = place("webdav", settings.as_object().unwrap(), "d2", "x");
    handler.put(&flat, &audio(&noise(100)), &key("d2", "x")).await.unwrap();
    assert_eq!(dav.faults().unwrap().seen().len(), before + 3, "three requests where the folder is there");
}

#[tokio::test]
async fn a_large_file_is_not_sent_before_it_can_stay() {
    let Some(dav) = Webdav::start() else { return };
    let handler = open(&dav);
    put(&dav, handler.as_ref(), "d1", &noise(3 << 20)).await.unwrap();
    let puts = || dav.faults().unwrap().seen().iter().filter(|seen| seen.method == "PUT").count();
    assert_eq!(puts(), 1);
    put(&dav, handler.as_ref(), "d1", &noise(3 << 20)).await.unwrap();
    assert_eq!(put(&dav, handler.as_ref(), "d1", &noise((3 << 20) + 1)).await.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(puts(), 1, "the bytes went once");
}

#[tokio::test]
async fn the_answers_of_a_server_are_told_with_what_may_help() {
    let Some(dav) = Webdav::start() else { return };
    for (status, kind, help) in [
        (401, ErrorKind::Refused, "check username and password"),
        (403, ErrorKind::Refused, "the rights below url"),
        (301, ErrorKind::Rejected, "put that into url"),
        (307, ErrorKind::Rejected, "put that into url"),
        (405, ErrorKind::Rejected, "no folder of a WebDAV server"),
        (423, ErrorKind::Rejected, ""),
        (507, ErrorKind::Full, ""),
    ] {
        dav.faults().unwrap().next([Fault::redirect(status, "http://elsewhere.example/")]);
        let error = put(&dav, open(&dav).as_ref(), "d1", &noise(10)).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{status}");
        assert!(error.to_string().contains(help), "{error}");
    }
}

#[tokio::test]
async fn what_an_attempt_left_is_overwritten_by_the_next() {
    let Some(dav) = Webdav::start() else { return };
    let handler = open(&dav);
    dav.faults().unwrap().rule(|seen| (seen.method == "MOVE").then(Fault::unavailable));
    assert_eq!(put(&dav, handler.as_ref(), "d1", &noise(100)).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(files(&dav.server.files()).len(), 1, "the temporary file");
    dav.faults().unwrap().heal();
    let receipt = put(&dav, handler.as_ref(), "d1", &noise(100)).await.unwrap();
    assert_eq!(dav.objects(), [noise(100)]);
    // A lost answer to the move is found out the next time.
    dav.faults().unwrap().rule(|seen| (seen.method == "MOVE").then_some(Fault::LoseAnswer));
    put(&dav, handler.as_ref(), "d2", &noise(200)).await.unwrap_err();
    dav.faults().unwrap().heal();
    put(&dav, handler.as_ref(), "d2", &noise(200)).await.unwrap();
    assert_eq!(dav.objects().len(), 2);
    assert_eq!(read(handler.fetch(&receipt, None, &Value::Null).await.unwrap()).await.unwrap(), noise(100));
}

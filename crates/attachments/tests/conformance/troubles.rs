//! What an upload may meet at any destination, whatever it speaks. A destination that cannot have a trouble, or whose server could not be made to
//! have it, is left out of that test, and the list of those stands here: it may only become shorter.

use std::sync::Arc;
use std::time::Duration;

use attachments::{Advice, Assurance, ErrorKind, Handler, Pool, Receipt};
use serde_json::Value;
use testkit::SmallDisk;

use crate::fixture::filesystem::Filesystem;
use crate::fixture::sftp::Sftp;
use crate::fixture::{Fixture, Trouble, all, audio, boxed, client, key, noise, open, place, read, ways};

/// The fixtures that have no such trouble.
fn spared(trouble: Trouble) -> &'static [&'static str] {
    match trouble {
        Trouble::Full if SmallDisk::possible("the handlers filesystem and sftp on a full disk") => &[],
        Trouble::Busy | Trouble::Full | Trouble::OutOfOrder => &["filesystem", "sftp"],
        // The kernel cannot be made to lie of what it wrote.
        Trouble::Swallowed | Trouble::Changed | Trouble::Cut | Trouble::Silent => &["filesystem"],
    }
}

/// The fixtures in this trouble.
fn in_trouble(trouble: Trouble) -> Vec<Box<dyn Fixture>> {
    let (inflicted, left_out): (Vec<_>, Vec<_>) = all().into_iter().partition(|fixture| fixture.inflict(trouble));
    let running: Vec<&str> = left_out.iter().map(|fixture| fixture.name()).collect();
    let expected: Vec<&str> = spared(trouble).iter().copied().filter(|name| running.contains(name)).collect();
    assert_eq!(running, expected, "{trouble:?}");
    inflicted
}

async fn put(fixture: &dyn Fixture, handler: &Arc<dyn Handler>, length: usize) -> Result<Receipt, attachments::Error> {
    let place = place(fixture.kind(), &fixture.settings(), "d1", "message.wav");
    handler.put(&place, &audio(&noise(length)), &key("d1", "message.wav")).await
}

/// The trouble is over, and the same put succeeds and leaves one object.
async fn ends_well(fixture: &dyn Fixture, handler: &Arc<dyn Handler>, length: usize) {
    fixture.relieve();
    let done = put(fixture, handler, length).await;
    assert!(done.is_ok(), "{}: {done:?}", fixture.name());
    let receipt = done.unwrap();
    assert!(fixture.objects() == [noise(length)], "{}: {} objects", fixture.name(), fixture.objects().len());
    let body = handler.fetch(&receipt, None, &Value::Null).await.unwrap();
    assert!(read(body).await.unwrap() == noise(length), "{}", fixture.name());
}

#[tokio::test]
async fn each_trouble_has_its_kind_and_passes() {
    for (trouble, kinds) in [
        (Trouble::Busy, &[ErrorKind::Throttled][..]),
        (Trouble::Full, &[ErrorKind::Full]),
        (Trouble::OutOfOrder, &[ErrorKind::Unavailable]),
        (Trouble::Swallowed, &[ErrorKind::Mismatch]),
        (Trouble::Cut, &[ErrorKind::Interrupted, ErrorKind::Unreachable]),
    ] {
        for fixture in in_trouble(trouble) {
            let handler = open(fixture.as_ref());
            let error = put(fixture.as_ref(), &handler, 600_000).await.unwrap_err();
            assert!(kinds.contains(&error.kind()), "{} {trouble:?}: {error:?}", fixture.name());
            assert_ne!(error.advice(), Advice::Park, "{} {trouble:?}: it may pass", fixture.name());
            ends_well(fixture.as_ref(), &handler, 600_000).await;
        }
    }
}

#[tokio::test]
async fn no_receipt_claims_more_than_is_known() {
    for fixture in in_trouble(Trouble::Changed) {
        let handler = open(fixture.as_ref());
        match put(fixture.as_ref(), &handler, 5_000).await {
            Ok(receipt) if matches!(receipt.assurance, Assurance::Checksum | Assurance::ReadBack) => {
                assert!(fixture.objects() == [noise(5_000)], "{}", fixture.name());
            }
            Ok(receipt) => assert_eq!(receipt.assurance, fixture.assurance(), "{}", fixture.name()),
            Err(error) => assert_ne!(error.advice(), Advice::Park, "{}: {error:?}", fixture.name()),
        }
    }
}

#[tokio::test]
async fn what_did_not_fit_takes_no_room() {
    let folder: Box<dyn Fixture> = Box::new(Filesystem::start());
    for fixture in boxed(Sftp::start()).into_iter().chain([folder]) {
        if !fixture.inflict(Trouble::Full) {
            assert_eq!(spared(Trouble::Full), ["filesystem", "sftp"]);
            continue;
        }
        let handler = open(fixture.as_ref());
        for _ in 0..2 {
            let error = put(fixture.as_ref(), &handler, 600_000).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Full, "{}: {error:?}", fixture.name());
            let message = error.exchange().unwrap().message.clone().unwrap();
            assert!(message.contains("is full"), "{}: {message}", fixture.name());
            assert!(fixture.objects().is_empty(), "{}", fixture.name());
        }
        // On the same disk.
        put(fixture.as_ref(), &handler, 400_000).await.unwrap();
        assert!(fixture.objects() == [noise(400_000)], "{}", fixture.name());
    }
}

#[tokio::test]
async fn silence_has_an_end() {
    for fixture in in_trouble(Trouble::Silent) {
        let pool = Pool::new(ways(client(Duration::from_millis(300))));
        let handler = pool.open(fixture.kind(), &fixture.settings()).unwrap();
        let error = put(fixture.as_ref(), &handler, 5_000).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{}: {error:?}", fixture.name());
        ends_well(fixture.as_ref(), &open(fixture.as_ref()), 5_000).await;
    }
}

#[tokio::test]
async fn the_same_put_twice_at_once_leaves_one_object() {
    for fixture in all() {
        let handler = open(fixture.as_ref());
        let puts = (0..4).map(|_| put(fixture.as_ref(), &handler, 300_000));
        let done = futures_util::future::join_all(puts).await;
        assert!(done.iter().any(Result::is_ok), "{}: {done:?}", fixture.name());
        for error in done.into_iter().filter_map(Result::err) {
            // Who comes second may be told to come again, and then finds it done.
            assert_ne!(error.advice(), Advice::Park, "{}: {error:?}", fixture.name());
        }
        ends_well(fixture.as_ref(), &handler, 300_000).await;
    }
}

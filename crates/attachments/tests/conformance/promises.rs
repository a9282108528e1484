//! One test for each sentence of the trait.

use std::collections::BTreeSet;

use attachments::{Advice, ByteRange, ErrorKind, Receipt, kind, kinds};
use bytes::Bytes;
use futures_util::future::join_all;
use serde_json::Value;

use crate::fixture::{COVERED, Fixture, SECRET, all, audio, key, noise, open, open_with, place, public, read};

#[test]
fn every_kind_of_the_registry_is_covered() {
    let covered: BTreeSet<&str> = COVERED.iter().copied().collect();
    let running: BTreeSet<&str> = all().iter().map(|fixture| fixture.kind()).collect();
    assert!(running.is_subset(&covered) && (running == covered || std::env::var("CI").as_deref() != Ok("true")));
    let listed: BTreeSet<&str> = kinds().iter().map(|kind| kind.name).collect();
    assert_eq!(covered, listed, "a kind needs a fixture");
}

/// Puts some bytes under the default name of a document.
async fn put(fixture: &dyn Fixture, id: &str, bytes: &Bytes) -> Result<Receipt, attachments::Error> {
    let place = place(fixture.kind(), &fixture.settings(), id, "message.wav");
    open(fixture).put(&place, &audio(bytes), &key(id, "message.wav")).await
}

#[tokio::test]
async fn what_was_put_is_there_and_comes_back() {
    for fixture in all() {
        let name = fixture.name();
        let bytes = noise(100_000);
        let receipt = put(fixture.as_ref(), "d1", &bytes).await.unwrap();
        assert_eq!(fixture.objects(), std::slice::from_ref(&bytes), "{name}");
        assert_eq!(receipt.handler, fixture.kind());
        assert_eq!(receipt.length, 100_000);
        assert_eq!(receipt.assurance, fixture.assurance(), "{name}");
        let destination = (kind(fixture.kind()).unwrap().destination)(&fixture.settings());
        assert_eq!(receipt.destination, destination, "{name}");
        // Another handler, another day: all that is needed is in the receipt.
        let stored = serde_json::to_string(&receipt).unwrap();
        assert!(!stored.contains(SECRET), "{stored}");
        let receipt: Receipt = serde_json::from_str(&stored).unwrap();
        let body = open(fixture.as_ref()).fetch(&receipt, None, &public("d1")).await.unwrap();
        assert_eq!(body.content_type.as_deref(), Some("audio/wav"), "{name}");
        assert_eq!((body.total, body.range), (Some(100_000), None), "{name}");
        assert!(read(body).await.unwrap() == bytes, "{name}");
    }
}

#[tokio::test]
async fn a_part_is_that_part() {
    for fixture in all() {
        let name = fixture.name();
        let bytes = noise(10_000);
        let receipt = put(fixture.as_ref(), "d1", &bytes).await.unwrap();
        let handler = open(fixture.as_ref());
        for range in [
            ByteRange::From(0),
            ByteRange::From(9_999),
            ByteRange::FromTo(0, 0),
            ByteRange::FromTo(17, 4_711),
            ByteRange::FromTo(9_000, 99_999),
            ByteRange::Last(1),
            ByteRange::Last(10_000),
        ] {
            let (first, last) = range.within(10_000).unwrap();
            let body = handler.fetch(&receipt, Some(range), &Value::Null).await.unwrap();
            assert_eq!((body.range, body.total), (Some((first, last)), Some(10_000)), "{name} {range:?}");
            let part = read(body).await.unwrap();
            assert!(part == bytes.slice(first as usize..=last as usize), "{name} {range:?}");
        }
        let outside = handler.fetch(&receipt, Some(ByteRange::From(10_000)), &Value::Null).await;
        assert_eq!(outside.map(|_| ()).unwrap_err().kind(), ErrorKind::Invalid, "{name}");
    }
}

#[tokio::test]
async fn twice_leaves_one_object() {
    for fixture in all() {
        let bytes = noise(5_000);
        let first = put(fixture.as_ref(), "d1", &bytes).await.unwrap();
        let second = put(fixture.as_ref(), "d1", &bytes).await.unwrap();
        assert_eq!(fixture.objects(), [bytes], "{}", fixture.name());
        assert_eq!((first.location, first.sha256), (second.location, second.sha256));
        assert!(second.assurance <= fixture.assurance(), "as sure the second time");
    }
}

#[tokio::test]
async fn what_is_there_is_not_replaced_silently() {
    for fixture in all() {
        let (first, second) = (noise(5_000), noise(5_001));
        put(fixture.as_ref(), "d1", &first).await.unwrap();
        let again = put(fixture.as_ref(), "d1", &second).await;
        if open(fixture.as_ref()).at_least_once() {
            again.unwrap();
            assert_eq!(fixture.objects(), [second], "{}", fixture.name());
        } else {
            let error = again.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Conflict, "{}", fixture.name());
            assert_eq!(error.advice(), Advice::Backoff, "it may be removed");
            assert_eq!(fixture.objects(), [first], "{}", fixture.name());
        }
    }
}

#[tokio::test]
async fn what_is_deleted_is_gone_and_may_be_deleted_again() {
    for fixture in all() {
        let name = fixture.name();
        let receipt = put(fixture.as_ref(), "d1", &noise(100)).await.unwrap();
        let other = put(fixture.as_ref(), "d2", &noise(200)).await.unwrap();
        let handler = open(fixture.as_ref());
        handler.delete(&receipt).await.unwrap();
        assert_eq!(fixture.objects(), [noise(200)], "{name}: that one and no other");
        handler.delete(&receipt).await.unwrap();
        for range in [None, Some(ByteRange::From(0))] {
            let gone = handler.fetch(&receipt, range, &public("d1")).await;
            assert_eq!(gone.map(|_| ()).unwrap_err().kind(), ErrorKind::NotFound, "{name}");
        }
        assert_eq!(read(handler.fetch(&other, None, &Value::Null).await.unwrap()).await.unwrap(), noise(200));
    }
}

#[tokio::test]
async fn nothing_at_all_is_a_payload() {
    for fixture in all() {
        let name = fixture.name();
        let receipt = put(fixture.as_ref(), "d1", &Bytes::new()).await.unwrap();
        assert_eq!(fixture.objects(), [Bytes::new()], "{name}");
        let body = open(fixture.as_ref()).fetch(&receipt, None, &Value::Null).await.unwrap();
        assert_eq!(read(body).await.unwrap(), Bytes::new(), "{name}");
    }
}

#[tokio::test]
async fn odd_names_are_names() {
    for fixture in all() {
        let long = "n".repeat(fixture.longest());
        let names =
            ["a b c.wav", "a%2Fb.wav", "a/b.wav", "grüße 你好 🎙.wav", "q?x=y&z#f+;=.wav", "\"quoted\" 'name'", &long];
        let handler = open(fixture.as_ref());
        let mut receipts = Vec::new();
        for (n, attachment) in names.into_iter().enumerate() {
            let place = place(fixture.kind(), &fixture.settings(), "d 1", attachment);
            let receipt = handler.put(&place, &audio(&noise(100 + n)), &key("d 1", attachment)).await;
            receipts.push(receipt.unwrap_or_else(|error| panic!("{} {attachment}: {error:?}", fixture.name())));
        }
        assert_eq!(fixture.objects().len(), names.len(), "{}", fixture.name());
        for (n, receipt) in receipts.iter().enumerate() {
            let body = handler.fetch(receipt, None, &public("d 1")).await.unwrap();
            assert!(read(body).await.unwrap() == noise(100 + n), "{} {}", fixture.name(), names[n]);
            handler.delete(receipt).await.unwrap();
        }
        assert!(fixture.objects().is_empty(), "{}", fixture.name());
    }
}

#[tokio::test]
async fn many_at_once_are_all_there() {
    for fixture in all() {
        let handler = open(fixture.as_ref());
        let puts = (0..32).map(|n| {
            let (handler, id) = (handler.clone(), format!("d{n}"));
            let place = place(fixture.kind(), &fixture.settings(), &id, "message.wav");
            async move { handler.put(&place, &audio(&noise(1_000 + n)), &key(&id, "message.wav")).await }
        });
        let receipts = join_all(puts).await;
        assert!(receipts.iter().all(Result::is_ok), "{}", fixture.name());
        let lengths: BTreeSet<usize> = fixture.objects().iter().map(Bytes::len).collect();
        assert_eq!(lengths, (1_000..1_032).collect(), "{}", fixture.name());
    }
}

#[tokio::test]
async fn who_is_refused_hears_the_destinations_own_words() {
    for fixture in all() {
        let (settings, words) = fixture.lock_out();
        let handler = open_with(fixture.as_ref(), &settings);
        let place = place(fixture.kind(), &settings, "d1", "message.wav");
        let error = handler.put(&place, &audio(&noise(100)), &key("d1", "message.wav")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{}", fixture.name());
        assert_eq!(error.advice(), Advice::Backoff, "keys are repaired");
        let exchange = error.exchange().unwrap();
        assert!(
            exchange.message.as_deref().is_some_and(|message| message.contains(words)),
            "{} {exchange:?}",
            fixture.name()
        );
        if fixture.faults().is_some() {
            assert!(matches!(exchange.status, Some(401 | 403)), "{}", fixture.name());
            assert!(exchange.body.as_ref().is_some_and(|body| !body.is_empty()), "{}", fixture.name());
        }
        assert!(!format!("{error} {error:?} {handler:?}").contains(SECRET), "{error:?}");
    }
}

#[tokio::test]
async fn a_presigned_url_lets_in_for_a_while_where_settings_want_it() {
    let mut signing = BTreeSet::new();
    for fixture in all() {
        let (name, bytes) = (fixture.name(), noise(5_000));
        let receipt = put(fixture.as_ref(), "d 1", &bytes).await.unwrap();
        let disposition = "attachment; filename=a.wav";
        assert_eq!(
            open(fixture.as_ref()).presign(&receipt, disposition).await.unwrap(),
            None,
            "{name}: nobody asked for one"
        );
        let mut settings = fixture.settings();
        settings.insert("redirect_reads".into(), true.into());
        let Some(url) = open_with(fixture.as_ref(), &settings).presign(&receipt, disposition).await.unwrap() else {
            continue;
        };
        signing.insert(fixture.kind());
        assert!(
            !url.as_str().contains(SECRET) && url.username().is_empty() && url.password().is_none(),
            "{name}: {url}"
        );
        for said in ["audio%2Fwav", "attachment%3B%20filename%3Da.wav"] {
            assert!(url.query().unwrap().contains(said), "{name}: {url}");
        }
        let path_and_query = |url: &url::Url| format!("{}?{}", url.path(), url.query().unwrap());
        let anybody = testkit::Api::new(&url.origin().ascii_serialization());
        let read = anybody.get(&path_and_query(&url)).await.expect_status(200);
        assert!(read.body == bytes, "{name}");
        // Whoever changes what was signed is not let in. The emulator of Google's lets in everybody.
        if name != "google_storage" {
            let other = url.as_str().replace("audio%2Fwav", "text%2Fhtml").parse().unwrap();
            assert_eq!(anybody.get(&path_and_query(&other)).await.status, 403, "{name}");
        }
        if name == "azure" {
            assert_eq!(read.headers["content-disposition"], disposition);
            // A signature that was lent to us is not lent on.
            settings.remove("key");
            settings.insert("sas_token".into(), "sv=1&sig=hunter2".into());
            assert_eq!(open_with(fixture.as_ref(), &settings).presign(&receipt, disposition).await.unwrap(), None);
        }
    }
    assert!(
        signing.contains("s3") && signing.is_subset(&BTreeSet::from(["s3", "azure", "google_storage"])),
        "{signing:?}"
    );
}

//! What a destination, or the way to it, may do wrong. Nothing of it may pass for success, and nothing of it may lose what a second attempt
//! could save.

use std::sync::Arc;
use std::time::Duration;

use attachments::{Advice, ErrorKind, Handler, Pool, PutKey};
use outbound::{Client, Policy};
use serde_json::Value;
use testkit::Fault;

use crate::fixture::{Fixture, SECRET, all, audio, client, key, noise, open, place, read, ways};

/// What somebody else does to a stored object.
type Change<'a> = &'a dyn Fn(&[u8]) -> Vec<u8>;

/// A handler and all it takes to put one attachment.
struct Attempt {
    fixture: Box<dyn Fixture>,
    handler: Arc<dyn Handler>,
    key: PutKey,
}

impl Attempt {
    async fn all() -> Vec<Self> {
        let mut attempts = Vec::new();
        for fixture in all() {
            let handler = open(fixture.as_ref());
            // As whoever keeps a journal does: an id first, where the destination goes by ids.
            let place = place(fixture.kind(), &fixture.settings(), "d1", "message.wav");
            let reserved = handler.reserve(&place, &key("d1", "message.wav")).await.unwrap();
            let key = PutKey { reserved, ..key("d1", "message.wav") };
            attempts.push(Self { fixture, handler, key });
        }
        attempts
    }

    /// Those at destinations that speak HTTP, with the script of faults.
    async fn web() -> impl Iterator<Item = (Self, testkit::Faults)> {
        let scripted = |attempt: Self| attempt.fixture.faults().cloned().map(|faults| (attempt, faults));
        Self::all().await.into_iter().filter_map(scripted)
    }

    async fn put(&self, length: usize) -> Result<attachments::Receipt, attachments::Error> {
        let place = place(self.fixture.kind(), &self.fixture.settings(), "d1", "message.wav");
        self.handler.put(&place, &audio(&noise(length)), &self.key).await
    }

    async fn fetch(&self, receipt: &attachments::Receipt) -> Result<bytes::Bytes, attachments::Error> {
        read(self.handler.fetch(receipt, None, &Value::Null).await?).await
    }

    fn name(&self) -> &'static str {
        self.fixture.name()
    }
}

#[tokio::test]
async fn who_is_asked_for_patience_says_so() {
    for (attempt, faults) in Attempt::web().await {
        faults.next([Fault::throttled(7)]);
        let error = attempt.put(100).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Throttled, "{}", attempt.name());
        assert_eq!(error.advice(), Advice::After(Duration::from_secs(7)), "{}", attempt.name());
        attempt.put(100).await.unwrap();
    }
}

#[tokio::test]
async fn a_server_out_of_order_is_tried_later() {
    for (attempt, faults) in Attempt::web().await {
        for status in [500, 502, 503, 504] {
            faults.next([Fault::status(status)]);
            let error = attempt.put(100).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{} {status}", attempt.name());
            assert_eq!(error.advice(), Advice::Backoff);
            assert_eq!(error.exchange().unwrap().status, Some(status));
        }
        let receipt = attempt.put(100).await.unwrap();
        faults.next([Fault::unavailable()]);
        assert_eq!(attempt.fetch(&receipt).await.unwrap_err().kind(), ErrorKind::Unavailable, "{}", attempt.name());
        faults.next([Fault::unavailable()]);
        assert_eq!(attempt.handler.delete(&receipt).await.unwrap_err().kind(), ErrorKind::Unavailable);
        assert_eq!(attempt.fixture.objects().len(), 1);
    }
}

#[tokio::test]
async fn a_broken_upload_is_done_again_and_leaves_one_object() {
    for (attempt, faults) in Attempt::web().await {
        let name = attempt.name();
        for fault in [Fault::Reset, Fault::ResetDuringUpload { after: 100_000 }] {
            faults.next([fault.clone()]);
            let error = attempt.put(600_000).await.unwrap_err();
            assert!(
                matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::Unreachable),
                "{name} {fault:?}: {error:?}"
            );
            assert_eq!(error.advice(), Advice::Backoff);
            assert!(attempt.fixture.objects().is_empty(), "{name}");
        }
        // It was stored and nobody heard of it: who can look finds it, who cannot puts it again.
        faults.next([Fault::LoseAnswer]);
        match attempt.put(600_000).await {
            Ok(_) => assert!(!attempt.handler.at_least_once(), "{name}"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Interrupted, "{name}: {error:?}"),
        }
        let receipt = attempt.put(600_000).await.unwrap();
        assert_eq!(attempt.fixture.objects().len(), 1, "{name}");
        assert!(attempt.fetch(&receipt).await.unwrap() == noise(600_000), "{name}");
    }
}

#[tokio::test]
async fn a_yes_that_stored_nothing_is_found_out() {
    for (attempt, faults) in Attempt::web().await {
        faults.next([Fault::swallow()]);
        let error = attempt.put(1_000).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Mismatch, "{}", attempt.name());
        assert_eq!(error.advice(), Advice::Backoff);
        attempt.put(1_000).await.unwrap();
    }
}

#[tokio::test]
async fn bytes_that_changed_on_the_way_are_found_out() {
    for (attempt, faults) in Attempt::web().await {
        let name = attempt.name();
        faults.next([Fault::CorruptUpload]);
        match attempt.put(1_000).await {
            // Of a form it was the frame that changed, and the store did not mind.
            Ok(_) => assert_eq!(attempt.fixture.objects(), [noise(1_000)], "{name}"),
            Err(error) => assert_eq!(error.advice(), Advice::Backoff, "{name}: {error:?}"),
        }
    }
}

#[tokio::test]
async fn other_bytes_than_were_stored_are_an_error() {
    for attempt in Attempt::all().await {
        let name = attempt.name();
        let receipt = attempt.put(50_000).await.unwrap();
        for fault in [Fault::Truncate { after: 20_000 }, Fault::CorruptAnswer] {
            let Some(faults) = attempt.fixture.faults() else { continue };
            // Where one is sent elsewhere for the bytes, it is them that the fault meets.
            let meets = fault.clone();
            faults.rule(move |seen| (!seen.path.ends_with("/content")).then(|| meets.clone()));
            let error = attempt.fetch(&receipt).await.unwrap_err();
            faults.heal();
            assert!(
                matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::Mismatch),
                "{name} {fault:?}: {error:?}"
            );
        }
        let changes: [Change; 4] =
            [&|bytes| bytes[..bytes.len() - 1].to_vec(), &|bytes| [bytes, b"x"].concat(), &|_| Vec::new(), &|_| {
                noise(50_000).iter().map(|byte| byte ^ 1).collect()
            }];
        for change in changes {
            attempt.fixture.tamper(change);
            assert_eq!(attempt.fetch(&receipt).await.unwrap_err().kind(), ErrorKind::Mismatch, "{name}");
            attempt.fixture.tamper(&|_| noise(50_000).to_vec());
            assert!(attempt.fetch(&receipt).await.unwrap() == noise(50_000), "{name}");
        }
    }
}

#[tokio::test]
async fn who_is_not_there_is_unreachable() {
    for attempt in Attempt::all().await {
        let receipt = attempt.put(100).await.unwrap();
        attempt.fixture.stop();
        let fresh = open(attempt.fixture.as_ref());
        let error = fresh.fetch(&receipt, None, &Value::Null).await.map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unreachable, "{}", attempt.name());
        assert_eq!(error.exchange().unwrap().status, None);
        assert!(!format!("{error} {error:?}").contains(SECRET), "{error:?}");
        assert_eq!(attempt.put(100).await.unwrap_err().kind(), ErrorKind::Unreachable, "{}", attempt.name());
        assert_eq!(fresh.delete(&receipt).await.unwrap_err().kind(), ErrorKind::Unreachable);
    }
}

#[tokio::test]
async fn who_never_answers_is_not_waited_for() {
    for (attempt, faults) in Attempt::web().await {
        let pool = Pool::new(ways(client(Duration::from_millis(200))));
        let handler = pool.open(attempt.fixture.kind(), &attempt.fixture.settings()).unwrap();
        let place = place(attempt.fixture.kind(), &attempt.fixture.settings(), "d1", "message.wav");
        faults.next([Fault::BlackHole]);
        let error = handler.put(&place, &audio(&noise(1_000)), &attempt.key).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{}", attempt.name());
    }
}

#[tokio::test]
async fn a_slow_answer_that_moves_is_waited_for() {
    for (attempt, faults) in Attempt::web().await {
        let receipt = attempt.put(40_000).await.unwrap();
        let pool = Pool::new(ways(client(Duration::from_secs(2))));
        let handler = pool.open(attempt.fixture.kind(), &attempt.fixture.settings()).unwrap();
        // Longer in all than the client's patience, and never still for half of it.
        faults.next([Fault::Trickle { piece: 8_000, pause: Duration::from_millis(500) }]);
        let body = handler.fetch(&receipt, None, &Value::Null).await.unwrap();
        assert!(read(body).await.unwrap() == noise(40_000), "{}", attempt.name());
    }
}

#[tokio::test]
async fn what_the_egress_policy_forbids_is_not_reached() {
    for attempt in Attempt::all().await {
        let name = attempt.name();
        let receipt = attempt.put(100).await.unwrap();
        let seen = || attempt.fixture.faults().map(|faults| faults.seen().len());
        let before = seen();
        let pool = Pool::new(ways(Client::new(Arc::new(Policy::default())).unwrap()));
        let handler = match pool.open(attempt.fixture.kind(), &attempt.fixture.settings()) {
            Ok(handler) => handler,
            // A folder is judged before anything is asked of it.
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Denied, "{name}");
                continue;
            }
        };
        let place = place(attempt.fixture.kind(), &attempt.fixture.settings(), "d1", "message.wav");
        let put = handler.put(&place, &audio(&noise(100)), &attempt.key).await.map(|_| ());
        let fetched = handler.fetch(&receipt, None, &Value::Null).await.map(|_| ());
        let deleted = handler.delete(&receipt).await;
        for outcome in [put, fetched, deleted] {
            assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Denied, "{name}");
        }
        assert_eq!(seen(), before, "{name}: not a single request");
    }
}

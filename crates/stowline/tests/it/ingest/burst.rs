//! Call records that come faster than they become documents: what was answered 200 is there, once, whatever happens in between.

use std::collections::HashSet;

use futures_util::{StreamExt, stream};
use reqwest::Method;
use serde_json::{Value, json};
use stowline::app::ingest::Recorded;
use testkit::Api;

use super::super::fixture::Platform;
use super::super::inside::Inside;
use super::{documents, key};

const WINDOW: &str = "created_from=63962640000&created_to=63962700000";

fn record(number: usize) -> String {
    let id = format!("burst-{number:05}");
    json!({
        "switchname": "fs1",
        "channel_data": {"direction": "inbound"},
        "variables": {
            "uuid": id, "call_uuid": id, "sip_call_id": format!("{id}@sbc.example"), "start_epoch": "1795442709",
            "end_epoch": "1795442769", "duration": "60", "billsec": "55", "hangup_cause": "NORMAL_CLEARING",
            "sip_auth_password": "s3cret-of-a-channel",
        },
    })
    .to_string()
}

/// Posts records, 64 at a time, until all are sent or the program is gone. Answers the numbers of those that were answered 200.
async fn post(api: &Api, path: &str, numbers: std::ops::Range<usize>) -> HashSet<usize> {
    let posts = stream::iter(numbers).map(|number| async move {
        let request = api.request(Method::POST, path).header("content-type", "application/json").body(record(number));
        let answer = api.try_send(request).await.ok()?;
        assert_eq!(answer.status, 200, "{answer}");
        let said = answer.data();
        assert!(said["id"].is_string() || said == json!({"accepted": true}), "{said}");
        Some(number)
    });
    posts.buffer_unordered(64).filter_map(async |number| number).collect().await
}

fn numbers(legs: &Value) -> Vec<usize> {
    let ids = legs.as_array().unwrap().iter().map(|leg| leg["call_id"].as_str().unwrap());
    ids.map(|id| id["burst-".len()..id.find('@').unwrap()].parse().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_accepted_is_seen_by_who_asks_next() {
    let inside = Inside::start().await;
    let (_, secret) = key(&inside, &["cdr"]).await;
    let sender = inside.api.with_token(&secret);
    let sent = post(&sender, &format!("/v2/ingest/{}/cdr", inside.account.id), 0..400).await;
    assert_eq!(sent.len(), 400);
    let summary = inside.api.get(&inside.path(&format!("cdrs/summary?{WINDOW}"))).await.expect_status(200).data();
    assert_eq!((&summary["legs"], &summary["interactions"]), (&json!(400), &json!(400)));
    let listed = inside.api.get(&inside.path(&format!("cdrs?paginate=false&{WINDOW}"))).await.expect_status(200).data();
    assert_eq!(numbers(&listed).into_iter().collect::<HashSet<_>>(), sent);
    // The same again are the same.
    post(&sender, &format!("/v2/ingest/{}/cdr", inside.account.id), 0..100).await;
    let summary = inside.api.get(&inside.path(&format!("cdrs/summary?{WINDOW}"))).await.expect_status(200).data();
    assert_eq!(summary["legs"], 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_is_accepted_while_the_store_takes_no_documents_and_is_there_at_the_next_start() {
    let inside = Inside::start().await;
    inside.app().documents.close().await;
    let accepted = inside.app().intake.accept(&inside.account.id, record(7).as_bytes()).await.unwrap();
    assert!(matches!(accepted, Recorded::Accepted), "{accepted:?}");
    assert_eq!(inside.app().intake.waiting(), 1);
    let folder = inside.app().config.server.data_dir.join("intake");
    let segments = || std::fs::read_dir(&folder).unwrap().map(|entry| std::fs::read(entry.unwrap().path()).unwrap());
    for sign in ["s3cret-of-a-channel", "sip_call_id"] {
        let shown = segments().any(|bytes| bytes.windows(sign.len()).any(|window| window == sign.as_bytes()));
        assert!(!shown, "{sign} stands in the log as it came");
    }
    let inside = inside.again().await;
    let listed = inside.api.get(&inside.path(&format!("cdrs?{WINDOW}"))).await.expect_status(200).data();
    assert_eq!(numbers(&listed), [7]);
    let [document] = &documents(&inside, "cdr").await[..] else { panic!("one record") };
    assert!(!document.public().contains_key("s3cret"), "{document:?}");
    assert!(!serde_json::to_string(&document.body).unwrap().contains("s3cret"));
    assert_eq!(inside.app().intake.waiting(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_in_the_middle_of_a_burst_loses_nothing_that_was_answered() {
    let mut platform = Platform::start().await;
    let keys = format!("/v2/accounts/{}/ingest_keys", platform.tenant.id);
    let made = platform.tenant.api.put(&keys, &json!({"data": {"name": "fs1", "scopes": ["cdr"]}})).await;
    let sender = platform.tenant.api.with_token(made.expect_status(201).data()["key"].as_str().unwrap());
    let path = format!("/v2/ingest/{}/cdr", platform.tenant.id);
    let mut answered = HashSet::new();
    for round in 0..3 {
        let sender = sender.at(&platform.program.url());
        let burst = post(&sender, &path, round * 1000..round * 1000 + 600);
        let (heard, ()) = tokio::join!(burst, async {
            // Somewhere in the middle; wherever it is, the promise is the same.
            tokio::time::sleep(std::time::Duration::from_millis(100 + 100 * round as u64)).await;
            platform.program.kill9();
        });
        answered.extend(heard);
        platform.program.restart();
    }
    assert!(!answered.is_empty());
    let api = platform.tenant.api.at(&platform.program.url());
    let listed = api.get(&format!("/v2/accounts/{}/cdrs?paginate=false&{WINDOW}", platform.tenant.id)).await;
    let listed = numbers(&listed.expect_status(200).data());
    let found: HashSet<usize> = listed.iter().copied().collect();
    assert_eq!(found.len(), listed.len(), "each once");
    let lost: Vec<_> = answered.difference(&found).collect();
    assert!(lost.is_empty(), "answered 200 and not there: {lost:?}");
}

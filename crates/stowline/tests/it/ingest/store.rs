//! The store proxy, as a Kazoo's switches speak to it.

use std::net::SocketAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use plan::Database;
use serde_json::json;
use switches::StoreToken;

use super::super::fixture::{bucket, until};
use super::super::inside::Inside;
use super::wire::{Answer, Request};
use super::{documents, files, key, shown};

const PROXY: &str = "[ingest]\nstore_proxy = \"127.0.0.1:0\"\nmax_upload_size = \"100KB\"\n";
const PAIR: &str = "store_proxy_username = \"kazoo\"\nstore_proxy_password = \"media-s3cret\"\n";

fn token(inside: &Inside, document: &str, attachment: &str, doc_type: &str) -> StoreToken {
    let id = plan::DocId::parse(document).unwrap();
    StoreToken {
        database: Database::Modb(inside.account.id.clone(), id.month().unwrap()).encoded(),
        document: document.to_owned(),
        attachment: attachment.to_owned(),
        doc_type: Some(doc_type.to_owned()),
        owner: None,
    }
}

/// The token as Kazoo writes it: Erlang's external term format in base64, in percent encoding.
fn kazoo(token: &StoreToken) -> String {
    let binary = |text: &str| [&[109], &u32::try_from(text.len()).unwrap().to_be_bytes()[..], text.as_bytes()].concat();
    let atom = |text: &str| [&[100], &u16::try_from(text.len()).unwrap().to_be_bytes()[..], text.as_bytes()].concat();
    let mut term = vec![131, 104, 4];
    for text in [&token.database, &token.document, &token.attachment] {
        term.extend(binary(text));
    }
    term.extend([108, 0, 0, 0, 1, 104, 2]);
    term.extend(atom("doc_type"));
    term.extend(binary(token.doc_type.as_deref().unwrap()));
    term.push(106);
    let encoded = STANDARD.encode(term);
    encoded.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D")
}

fn put(token: &str) -> Request {
    Request::named("kazoo-store-put").with("TOKEN", token)
}

async fn sent(request: Request, address: SocketAddr) -> Answer {
    request.send(address).await
}

const ID: &str = "202611-0f6d2a7be1c94c5c8d10b7a2f3e4c5d6";

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_of_a_kazoo_puts_a_recording_and_the_plan_takes_it_on() {
    let inside = Inside::with(&format!("{PROXY}{PAIR}")).await;
    let (server, settings) = bucket();
    inside.route("call_recording", settings, json!({})).await;
    let proxy = inside.server.store_proxy().unwrap();
    let named = token(&inside, ID, "0f6d2a7b.wav", "call_recording");
    let answer = sent(put(&kazoo(&named)).basic("kazoo", "media-s3cret"), proxy).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let said: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!((&said["ok"], &said["id"]), (&json!(true), &json!(ID)));
    let (fields, content_type, bytes) = shown(&inside, ID).await;
    assert_eq!((content_type.as_str(), bytes.len(), &fields["name"]), ("audio/x-wav", 844, &json!("0f6d2a7b.wav")));
    inside.until_delivered().await;
    assert_eq!(server.keys("recordings").len(), 1);
    // Again, and from who is no Kazoo: nothing changes.
    let again = sent(put(&named.to_text()).basic("kazoo", "media-s3cret"), proxy).await;
    assert_eq!(again.body, answer.body.replace(said["rev"].as_str().unwrap(), &document_revision(&inside).await));
    assert_eq!(documents(&inside, "call_recording").await.len(), 1);
    // Other bytes under the same name replace what was there, as Kazoo would.
    let other = Request::named("http_cache-put-fax").body();
    let replaced = put(&named.to_text()).basic("kazoo", "media-s3cret").carrying(other.clone()).send(proxy).await;
    assert_eq!(replaced.status, 200, "{replaced:?}");
    assert_eq!(shown(&inside, ID).await.2, other);
    assert_eq!(documents(&inside, "call_recording").await.len(), 1);
}

async fn document_revision(inside: &Inside) -> String {
    super::document(inside, ID).await.revision.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_put_is_known_before_a_token_is_believed() {
    let inside = Inside::with(&format!("{PROXY}{PAIR}store_proxy_acl = []\n")).await;
    let proxy = inside.server.store_proxy().unwrap();
    let (_, secret) = key(&inside, &["recordings"]).await;
    let named = token(&inside, ID, "a.wav", "call_recording");
    let good = kazoo(&named);
    for request in [
        put(&good).anonymous(),
        put(&good).basic("kazoo", "wrong"),
        put(&good).basic("", ""),
        put(&good).basic("kazoo", "ik_0000"),
        put("nonsense").anonymous(),
        // A key puts into documents of its account and scope alone.
        put(&token(&inside, ID, "a.wav", "mailbox_message").to_text()).basic("x", &secret),
        put(&token(&inside, ID, "a.wav", "media").to_text()).basic("x", &secret),
        put("nonsense").basic("x", &secret),
    ] {
        let refused = sent(request, proxy).await;
        assert_eq!(refused.status, 401, "{refused:?}");
        assert!(refused.head.to_lowercase().contains("www-authenticate: basic"), "{refused:?}");
    }
    let mut foreign = named.clone();
    foreign.database = foreign.database.replace(&inside.account.id.as_ref()[4..], &"0".repeat(28));
    assert_eq!(sent(put(&foreign.to_text()).basic("x", &secret), proxy).await.status, 401);
    assert_eq!(sent(put(&foreign.to_text()).basic("kazoo", "media-s3cret"), proxy).await.status, 404);
    assert_eq!(sent(put("nonsense").basic("kazoo", "media-s3cret"), proxy).await.status, 404);
    assert_eq!(sent(put(&format!("{good}/x")).basic("kazoo", "media-s3cret"), proxy).await.status, 404);
    assert_eq!(documents(&inside, "call_recording").await.len(), 0);
    assert_eq!(sent(put(&good).basic("x", &secret), proxy).await.status, 200);
    // By network, without credentials; and without a password nobody has the right one.
    let open = Inside::with(PROXY).await;
    let proxy = open.server.store_proxy().unwrap();
    let good = kazoo(&token(&open, ID, "a.wav", "call_recording"));
    assert_eq!(sent(put(&good).basic("", ""), proxy).await.status, 401);
    assert_eq!(sent(put(&good).anonymous(), proxy).await.status, 200);
    assert!(Inside::start().await.server.store_proxy().is_none(), "off unless it is asked for");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_sound_and_pictures_go_into_documents_that_hold_them() {
    let inside = Inside::with(PROXY).await;
    let proxy = inside.server.store_proxy().unwrap();
    let user = inside.api.get(&inside.path("users")).await.data()[0]["id"].as_str().unwrap().to_owned();
    let mut of_account = token(&inside, ID, "a.wav", "user");
    of_account.database = Database::Account(inside.account.id.clone()).encoded();
    of_account.document = user;
    let typed = |attachment: &str, sent_as: &str| {
        put(&token(&inside, ID, attachment, "call_recording").to_text()).anonymous().typed(sent_as)
    };
    for (request, status) in [
        (put(&of_account.to_text()).anonymous(), 404),
        (put(&StoreToken { doc_type: Some("media".into()), ..of_account.clone() }.to_text()).anonymous(), 404),
        (put(&StoreToken { database: "system_config".into(), ..of_account.clone() }.to_text()).anonymous(), 404),
        (typed("a.html", "text/html"), 415),
        (typed("a", "text/html"), 415),
        (typed("a", "audio/silk"), 400),
        (typed("a.wav", "audio/wav").carrying(Vec::new()), 400),
        (typed("a.wav", "audio/wav").carrying(vec![0; 100_001]), 413),
        (typed("a.wav", "audio/wav").verb("GET"), 405),
    ] {
        let refused = sent(request, proxy).await;
        assert_eq!(refused.status, status, "{refused:?}");
    }
    assert_eq!(documents(&inside, "call_recording").await.len(), 0);
    until("no file is left", async || files(&inside) == 0).await;
    let named = sent(typed("a", "audio/mpeg"), proxy).await;
    assert_eq!(named.status, 200, "{named:?}");
    let (fields, content_type, _) = shown(&inside, ID).await;
    assert_eq!((fields["name"].as_str(), content_type.as_str()), (Some("a.mp3"), "audio/mpeg"));
}

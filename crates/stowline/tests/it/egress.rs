//! Account holders choose where bytes go, and no choice of theirs leads into the operator's network: neither by address, nor by a name whose DNS server
//! changes its mind, nor by a redirect.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::any;
use serde_json::{Value, json};
use testkit::{Answer, DnsServer, HttpStore};
use tokio::net::TcpListener;

use super::fixture::{HANDLER, Platform, until};

/// Only this address of the machine is open.
fn config(dns: &DnsServer) -> String {
    format!(
        "[egress]\nallow = [\"127.0.0.1/32\"]\nresolvers = [\"{}\"]\n[delivery]\nbackoff_min = \"20ms\"\nbackoff_max = \"200ms\"",
        dns.address()
    )
}

/// A service of the operator's that nobody outside may speak to: its address, and how many tried.
async fn inner(port: u16) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind(("127.0.0.3", port)).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let reached = Arc::new(AtomicUsize::new(0));
    let counter = reached.clone();
    tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            counter.fetch_add(1, Ordering::SeqCst);
        }
    });
    (address, reached)
}

/// Answers every request with a redirect.
async fn redirecting(to: String) -> String {
    let router = Router::new().fallback(any(move || async move { (StatusCode::FOUND, [("location", to)]) }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}/")
}

fn document(url: &str) -> Value {
    json!({"data": {
        "attachments": {HANDLER: {"handler": "http", "name": "web", "settings": {"url": url, "verb": "put"}}},
        "plan": {"modb": {"types": {"mailbox_message": {"attachments": {"handler": HANDLER}}}}},
    }})
}

async fn save(platform: &Platform, url: &str) -> Answer {
    platform.tenant.api.put(&platform.storage(), &document(url)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_17_a_name_that_changes_its_mind_after_it_was_tried_leads_nowhere() {
    let (dns, store) = (DnsServer::start(), HttpStore::start());
    let mut platform = Platform::with(&config(&dns)).await;
    let port = url::Url::parse(&store.url()).unwrap().port().unwrap();
    let (_, reached) = inner(port).await;
    dns.say("rebind.example", &["127.0.0.1"]);
    save(&platform, &format!("http://rebind.example:{port}/kept")).await.expect_status(201);
    let mailbox = platform.mailbox().await;

    dns.say("rebind.example", &["127.0.0.3"]);
    // Connections that were made while the name was harmless may be used again: there are none after this.
    platform.program.restart();
    platform.voicemail(&mailbox).await;
    until("its delivery was refused", async || {
        let waiting = platform.deliveries().await;
        waiting
            .first()
            .is_some_and(|item| item["attempts"].as_u64().unwrap_or_default() > 0 && item["last_error"].is_object())
    })
    .await;
    let waiting = platform.deliveries().await;
    assert!(!waiting[0].to_string().contains("127.0.0.3"), "the address is nobody's business: {}", waiting[0]);
    assert_eq!(reached.load(Ordering::SeqCst), 0);
    dns.say("rebind.example", &["127.0.0.1"]);
    platform.until_delivered().await;
    assert_eq!(reached.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_17_a_redirect_is_judged_like_the_first_address() {
    let dns = DnsServer::start();
    let platform = Platform::with(&config(&dns)).await;
    let (address, reached) = inner(0).await;
    let port = address.rsplit(':').next().unwrap();
    dns.say("inner.example", &["127.0.0.3"]);
    for to in [
        format!("http://{address}/"),
        format!("http://inner.example:{port}/"),
        format!("http://[::ffff:127.0.0.3]:{port}/"),
        format!("http://2130706435:{port}/"),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "http://[fd00:ec2::254]/latest/meta-data/".to_owned(),
        "file:///etc/passwd".to_owned(),
    ] {
        let refused = save(&platform, &redirecting(to.clone()).await).await.expect_status(400).data();
        assert!(refused[format!("attachments.{HANDLER}")]["invalid"].is_object(), "{to}: {refused}");
        assert!(!refused.to_string().contains("127.0.0.3"), "{to}: {refused}");
    }
    for url in [format!("http://{address}/"), format!("http://inner.example:{port}/"), "http://localhost/".into()] {
        save(&platform, &url).await.expect_status(400);
    }
    assert_eq!(reached.load(Ordering::SeqCst), 0);
}

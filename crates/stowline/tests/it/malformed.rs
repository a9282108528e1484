//! Bad input never gives a 500 and never a partial write: every endpoint is fed what no client should send.

use reqwest::Method;
use serde_json::{Value, json};

use super::fixture::{CONFIG, HANDLER, Platform};

#[tokio::test(flavor = "multi_thread")]
async fn no_endpoint_answers_bad_input_with_a_fault_of_ours() {
    // Nothing is hidden behind a 429: what cannot be read counts as nobody's.
    let platform = Platform::with(&format!("{CONFIG}\n[api]\nanonymous_per_second = 0")).await;
    let mailbox = platform.mailbox().await;
    let message = platform.voicemail(&mailbox).await;
    let account = format!("/v2/accounts/{}", platform.tenant.id);
    let unknown = "00000000000000000000000000000000";
    let odd = ["%00", "%2F..%2F..", "a%20b", "%F0%9F%98%80", "..", unknown, &"x".repeat(600)];
    let mut paths = vec![
        "/v2".to_owned(),
        "/v2/".into(),
        "/v2/user_auth".into(),
        "/v2/api_auth".into(),
        "/v2/accounts".into(),
        account.clone(),
        format!("{account}/children"),
        format!("{account}/users"),
        format!("{account}/storage"),
        format!("{account}/storage/deliveries"),
        format!("{account}/vmboxes"),
        format!("{account}/vmboxes/messages"),
        format!("{account}/ingest_keys"),
        format!("{account}/ingest_keys/{unknown}"),
        mailbox.clone(),
        format!("{mailbox}/messages"),
        format!("{mailbox}/messages/{message}"),
        format!("{mailbox}/messages/{message}/raw"),
        format!("{mailbox}/messages/202613-{unknown}"),
        format!("{mailbox}/messages/000000-{unknown}/raw"),
        format!("{mailbox}/messages?page_size=-1&start_key=zzz&created_from=abc&created_to=-5"),
        format!("{mailbox}/messages?created_from=99999999999999999999&filter_=&has_key=..."),
        format!("{account}/storage/deliveries?start_key=zzz&page_size=0"),
    ];
    let lists = ["recordings", "cdrs", "cdrs/interaction", "cdrs/summary", "faxes/inbox", "faxes/incoming"];
    for scope in [account.clone(), format!("{account}/users/{}", platform.tenant.user_id)] {
        for list in lists {
            paths.push(format!("{scope}/{list}"));
            paths.push(format!("{scope}/{list}?page_size=-1&start_key=zzz&created_from=abc&created_to=-5"));
            paths.push(format!("{scope}/{list}?created_from=-9223372036854775808&created_to=9223372036854775807"));
            paths.push(format!(
                "{scope}/{list}?accept=csv&utc_offset=9223372036854775807&file_name=%00%0d%0a&filter_=&has_key=..."
            ));
            paths.push(format!("{scope}/{list}?accept=;;q=,/&inline=maybe"));
        }
    }
    let storage = format!("{account}/storage");
    for below in [
        "plans",
        "plans/gold",
        "plans/gold/dry_run",
        "explain?db=%00&doc_type=%2F&owner=..",
        "explain?db=account%252Fx-999999&doc_type=",
        "dry_run?patch=true&probe=true",
        "usage?created_from=-9223372036854775808&created_to=9223372036854775807",
        "audit?created_from=abc&page_size=x&start_key=zzz",
        "retired?start_key=zzz&filter_=",
        "external_id",
        "health",
        "oauth/consents",
        "oauth/consents/x",
        "oauth/nobody/start",
    ] {
        paths.push(format!("{storage}/{below}"));
        paths.push(format!("{account}/users/{}/storage/{below}", platform.tenant.user_id));
        paths.push(format!("/v2/storage/{below}"));
    }
    for below in ["sip_credentials", "faxboxes", "att_handlers_errors", "att_handlers_errors/handler/x", "descendants"]
    {
        paths.push(format!("{account}/{below}"));
        paths.push(format!("{account}/{below}?start_key=zzz&page_size=-1&created_from=abc&filter_=&has_key=..."));
        paths.push(format!("{account}/{below}/202611-{unknown}"));
    }
    let ingest = format!("/v2/ingest/{}", platform.tenant.id);
    for below in [
        "",
        "/cdr",
        "/recordings",
        "/recordings/a/b",
        "/voicemail/4711/a.wav",
        "/voicemail/1001",
        "/fax",
        "/cdr?uuid=a?uuid=b&token=%FF",
    ] {
        paths.push(format!("{ingest}{below}"));
    }
    for part in odd {
        paths.push(format!("/v2/ingest/{part}/cdr"));
        paths.push(format!("{ingest}/voicemail/{part}/a.wav"));
        paths.push(format!("{account}/ingest_keys/{part}"));
        paths.push(format!("/v2/accounts/{part}/storage"));
        paths.push(format!("{account}/users/{part}"));
        paths.push(format!("{account}/vmboxes/{part}"));
        paths.push(format!("{mailbox}/messages/{part}"));
        paths.push(format!("{mailbox}/messages/{part}/raw"));
        for kind in ["recordings", "cdrs", "cdrs/legs", "faxes/inbox", "users"] {
            paths.push(format!("{account}/{kind}/{part}"));
            paths.push(format!("{account}/{kind}/202611-{part}?accept=audio/wav"));
        }
        paths.push(format!("{account}/users/{part}/recordings"));
        paths.push(format!("{account}/users/{part}/cdrs/summary"));
        paths.push(format!("{account}/faxes/inbox/202611-{part}/attachment"));
    }
    let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    let bodies: Vec<(&str, Vec<u8>)> = vec![
        ("application/json", b"{".to_vec()),
        ("application/json", b"null".to_vec()),
        ("application/json", b"[]".to_vec()),
        ("application/json", br#"{"data": 5}"#.to_vec()),
        ("application/json", br#"{"data": []}"#.to_vec()),
        ("application/json", br#"{"data": {"attachments": [], "plan": "x", "connections": 4}}"#.to_vec()),
        (
            "application/json",
            br#"{"data": {"name": {}, "mailbox": [], "folder": 4, "messages": "x", "ids": {}, "credentials": 5}}"#
                .to_vec(),
        ),
        (
            "application/json",
            br#"{"data": {"name": "\u0000\ud800", "messages": [null, 5, {}], "action": null, "timestamp": -1e300}}"#
                .to_vec(),
        ),
        ("application/json", format!("{{\"data\": {{\"x\": {deep}}}}}").into_bytes()),
        ("application/json", vec![0xff, 0xfe, 0x00]),
        ("application/x-www-form-urlencoded", b"a=b&c=d".to_vec()),
        ("multipart/form-data", b"no boundary".to_vec()),
        ("multipart/form-data; boundary=x", b"--x\r\nbroken".to_vec()),
        ("audio/wav", Vec::new()),
        ("image/gif", b"GIF89a".to_vec()),
        ("nonsense", b"nonsense".to_vec()),
    ];
    let api = &platform.tenant.api;
    let before = snapshot(&platform, &mailbox).await;
    let mut answered = 0;
    for path in &paths {
        for method in [Method::GET, Method::PUT, Method::POST, Method::PATCH] {
            for (kind, body) in &bodies {
                if method == Method::GET && body.len() > 1 {
                    continue;
                }
                // What is fit for some place is not bad input there.
                let unknown_fields =
                    body.starts_with(br#"{"data": {"attachments""#) || body.starts_with(br#"{"data": {"x""#);
                let message = path.contains("/messages");
                let fits_here = body == br#"{"data": []}"#
                    || (unknown_fields && (message || path.contains("/sip_credentials")))
                    // A storage document takes any key that it does not know.
                    || (path.ends_with("/storage") && body.starts_with(br#"{"data": {"#) && !body.starts_with(br#"{"data": {"att"#))
                    || (kind == &"audio/wav" && path.ends_with("/raw"));
                if fits_here {
                    continue;
                }
                let request = api.request(method.clone(), path).header("content-type", *kind).body(body.clone());
                let answer = api.send(request).await;
                let status = answer.status;
                assert!(
                    status < 500 && status != 429,
                    "{method} {path} {kind} {:?}: {status}",
                    String::from_utf8_lossy(body)
                );
                if status >= 400 && !answer.body.is_empty() {
                    let answer = answer.json();
                    assert!(
                        answer["data"].is_object() && answer["error"].as_str() == Some(&*status.to_string()),
                        "{method} {path}: {answer}"
                    );
                }
                answered += 1;
            }
        }
    }
    assert!(answered > 1500, "{answered}");
    assert_eq!(snapshot(&platform, &mailbox).await, before, "nothing was written");
}

/// What stands: accounts, users, boxes, messages, storage.
async fn snapshot(platform: &Platform, mailbox: &str) -> Value {
    let account = format!("/v2/accounts/{}", platform.tenant.id);
    let mut shown = Vec::new();
    for path in [
        format!("{account}/children"),
        format!("{account}/users"),
        format!("{account}/vmboxes"),
        format!("{account}/ingest_keys"),
        format!("{account}/sip_credentials"),
        format!("{account}/faxboxes"),
        format!("{mailbox}/messages"),
    ] {
        shown.push(platform.tenant.api.get(&path).await.data());
    }
    shown.push(platform.tenant.api.get(&format!("{account}/storage")).await.json()["error"].clone());
    Value::Array(shown)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_large_is_refused_wherever_it_comes() {
    let platform = Platform::with(&format!("{CONFIG}\n[api]\nmax_upload_size = \"100KB\"")).await;
    let mailbox = platform.mailbox().await;
    let huge = json!({"data": {"attachments": {}, "note": "x".repeat(200_000)}});
    let refused = platform.tenant.api.put(&platform.storage(), &huge).await.expect_status(413).json();
    assert_eq!(refused["data"]["file"]["maxSize"]["target"], 100_000);
    let audio = vec![0_u8; 200_000];
    let path = format!("{mailbox}/messages");
    let api = &platform.tenant.api;
    api.multipart(Method::PUT, &path, &json!({"data": {}}), "a.wav", "audio/wav", &audio).await.expect_status(413);
    let stream = futures_util::stream::iter((0..20).map(|_| Ok::<_, std::io::Error>(vec![0_u8; 10_000])));
    let request =
        api.request(Method::PUT, &path).header("content-type", "audio/wav").body(reqwest::Body::wrap_stream(stream));
    api.send(request).await.expect_status(413);
    assert_eq!(api.get(&path).await.data(), json!([]), "nothing is left of a refused upload");
    platform
        .tenant
        .api
        .put(&platform.storage(), &json!({"data": {"attachments": {HANDLER: {}}}}))
        .await
        .expect_status(400);
}

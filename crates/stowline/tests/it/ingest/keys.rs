//! Ingest keys: made, shown once, listed, revoked; what they open and what they do not.

use reqwest::Method;
use serde_json::json;
use testkit::Api;

use super::super::fixture::{Platform, plain_user};
use super::super::inside::Inside;
use super::{ALL, documents, key, path, switch};

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_shown_once_and_refused_as_soon_as_it_is_revoked() {
    let inside = Inside::start().await;
    let keys = inside.path("ingest_keys");
    let (id, secret) = key(&inside, &["cdr", "fax"]).await;
    assert!(secret.starts_with("ik_") && secret.len() == 51, "{secret}");
    let shown = inside.api.get(&format!("{keys}/{id}")).await.expect_status(200);
    let listed = inside.api.get(&keys).await.expect_status(200);
    for answer in [&shown, &listed] {
        assert!(!String::from_utf8_lossy(&answer.body).contains(&secret), "{answer}");
    }
    let data = shown.data();
    assert_eq!((&data["name"], &data["scopes"]), (&json!("fs1"), &json!(["cdr", "fax"])));
    assert!(data["created"].is_i64());
    assert_eq!(listed.data(), json!([data]));
    let (other, _) = key(&inside, &["fax"]).await;
    let page = inside.api.get(&format!("{keys}?page_size=1")).await.expect_status(200).json();
    assert_eq!((page["data"].as_array().unwrap().len(), page["next_start_key"].is_string()), (1, true));
    let found = inside.api.get(&format!("{keys}?filter_id={id}")).await.expect_status(200).data();
    assert_eq!(found, json!([data]));
    inside.api.delete(&format!("{keys}/{other}")).await.expect_status(200);
    let fs = switch(&inside, &secret);
    let fax = path(&inside, "fax/a.tiff");
    fs.upload(Method::PUT, &fax, "image/tiff", &b"II*\0"[..]).await.expect_status(201);
    inside.api.delete(&format!("{keys}/{id}")).await.expect_status(200);
    fs.upload(Method::PUT, &fax, "image/tiff", &b"II*\0"[..]).await.expect_status(401);
    inside.api.get(&format!("{keys}/{id}")).await.expect_status(404);
    inside.api.delete(&format!("{keys}/{id}")).await.expect_status(404);
    assert_eq!(inside.api.get(&keys).await.data(), json!([]));
    for (body, field) in [
        (json!({}), "name"),
        (json!({"name": "x"}), "scopes"),
        (json!({"name": "x", "scopes": []}), "scopes"),
        (json!({"name": "x", "scopes": ["admin"]}), "scopes.0"),
        (json!({"name": "x", "scopes": "cdr"}), "scopes"),
        (json!({"name": "x".repeat(200), "scopes": ["cdr"]}), "name"),
    ] {
        let refused = inside.api.put(&keys, &json!({"data": body})).await.expect_status(400);
        assert!(refused.data().get(field).is_some(), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_made_by_admins_only() {
    let platform = Platform::start().await;
    let (pat, _) = plain_user(&platform).await;
    let keys = format!("/v2/accounts/{}/ingest_keys", platform.tenant.id);
    let body = json!({"data": {"name": "fs1", "scopes": ["cdr"]}});
    pat.put(&keys, &body).await.expect_status(403);
    pat.get(&keys).await.expect_status(403);
    pat.anonymous().put(&keys, &body).await.expect_status(401);
    let other = platform.master.api.put("/v2/accounts", &json!({"data": {"name": "Other"}})).await.expect_status(201);
    let other = other.data()["id"].as_str().unwrap().to_owned();
    platform.tenant.api.put(&format!("/v2/accounts/{other}/ingest_keys"), &body).await.expect_status(403);
    let made = platform.master.api.put(&keys, &body).await.expect_status(201).data();
    let id = made["id"].as_str().unwrap();
    // A key of another account is none of this one.
    platform.master.api.get(&format!("/v2/accounts/{other}/ingest_keys/{id}")).await.expect_status(404);
    // A key opens nothing but ingest.
    let fs = Api::new(&platform.program.url()).with_token(made["key"].as_str().unwrap());
    for path in [keys.clone(), format!("/v2/accounts/{}", platform.tenant.id)] {
        fs.get(&path).await.expect_status(401);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_heard_wherever_a_switch_can_put_it_and_is_never_repeated() {
    let inside = Inside::start().await;
    let (_, secret) = key(&inside, ALL).await;
    let anonymous = switch(&inside, "").anonymous();
    let send = async |name: &str, query: &str, header: Option<(&str, String)>| {
        let request = anonymous.request(Method::PUT, &path(&inside, &format!("recordings/{name}{query}"))).body("RIFF");
        let request = match header {
            Some((header, value)) => request.header(header, value),
            None => request,
        };
        anonymous.send(request).await
    };
    let basic = |user: &str, password: &str| {
        use base64::Engine;
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        Some(("authorization", format!("Basic {pair}")))
    };
    for (name, query, header) in [
        ("1.wav", String::new(), Some(("x-auth-token", secret.clone()))),
        ("2.wav", String::new(), Some(("authorization", format!("Bearer {secret}")))),
        ("3.wav", String::new(), basic(inside.account.id.as_ref(), &secret)),
        ("4.wav", String::new(), basic("anything", &secret)),
        ("5.wav", String::new(), basic(&secret, "")),
        ("6.wav", format!("?token={secret}"), None),
        ("7.wav", format!("?token={secret}?uuid=6b2f"), None),
        ("8.wav", String::new(), Some(("x-auth-token", inside.api.token().unwrap().to_owned()))),
    ] {
        let answer = send(name, &query, header).await.expect_status(201);
        let text = format!("{answer} {:?}", answer.headers);
        assert!(!text.contains(&secret) && !text.contains(inside.api.token().unwrap()), "{text}");
    }
    for header in [
        None,
        Some(("x-auth-token", "ik_0000".to_owned())),
        Some(("authorization", "Basic !!!".to_owned())),
        Some(("authorization", format!("Digest {secret}"))),
        basic("anything", "wrong"),
    ] {
        let refused = send("9.wav", "", header).await.expect_status(401);
        assert_eq!(refused.header("www-authenticate"), Some("Basic realm=\"stowline\""));
    }
    assert_eq!(documents(&inside, "call_recording").await.len(), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_reaches_its_account_and_its_scopes_and_learns_of_nothing_else() {
    let platform = Platform::start().await;
    let keys = format!("/v2/accounts/{}/ingest_keys", platform.tenant.id);
    let made = platform.tenant.api.put(&keys, &json!({"data": {"name": "fs1", "scopes": ["recordings"]}})).await;
    let secret = made.expect_status(201).data()["key"].as_str().unwrap().to_owned();
    let fs = Api::new(&platform.program.url()).with_token(&secret);
    let put = async |api: &Api, account: &str, rest: &str| {
        api.upload(Method::POST, &format!("/v2/ingest/{account}/{rest}"), "audio/wav", &b"RIFF"[..]).await.status
    };
    let (own, unknown) = (platform.tenant.id.as_str(), "00000000000000000000000000000000");
    assert_eq!(put(&fs, own, "recordings/a.wav").await, 201);
    for rest in ["voicemail/1001/a.wav", "fax/a.tiff", "cdr"] {
        assert_eq!(put(&fs, own, rest).await, 403, "{rest}");
    }
    for account in [platform.master.id.as_str(), unknown] {
        assert_eq!(put(&fs, account, "recordings/a.wav").await, 403, "{account}");
    }
    // Who shows nothing learns nothing: neither of accounts nor of paths.
    let anonymous = fs.anonymous();
    for rest in ["recordings/a.wav", "nonsense", "recordings", "voicemail/1/a.wav"] {
        for account in [own, unknown, "nonsense"] {
            assert_eq!(put(&anonymous, account, rest).await, 401, "{account} {rest}");
        }
    }
    assert_eq!(put(&fs, own, "nonsense").await, 404);
    assert_eq!(put(&fs, "nonsense", "recordings/a.wav").await, 404);
    assert_eq!(fs.get(&format!("/v2/ingest/{own}/cdr")).await.status, 405);
    // Users: admins of the account and above, nobody else.
    let (pat, _) = plain_user(&platform).await;
    assert_eq!(put(&pat, own, "recordings/b.wav").await, 403);
    assert_eq!(put(&platform.tenant.api, own, "recordings/b.wav").await, 201);
    assert_eq!(put(&platform.master.api, own, "recordings/c.wav").await, 201);
    assert_eq!(put(&platform.tenant.api, &platform.master.id, "recordings/b.wav").await, 403);
    assert_eq!(put(&platform.master.api, unknown, "recordings/b.wav").await, 404);
    // An account that is switched off takes nothing.
    let account = format!("/v2/accounts/{own}");
    platform.master.api.patch(&account, &json!({"data": {"enabled": false}})).await.expect_status(200);
    assert_eq!(put(&fs, own, "recordings/d.wav").await, 423);
    assert_eq!(put(&platform.master.api, own, "recordings/d.wav").await, 423);
    platform.master.api.delete(&account).await.expect_status(200);
    assert_eq!(put(&fs, own, "recordings/d.wav").await, 401);
}

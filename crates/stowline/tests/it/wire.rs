//! What holds of every request and answer: envelopes, verbs in disguise, names of requests, tags, limits, and clients that take their time.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::fixture::{CONFIG, Platform};

#[tokio::test(flavor = "multi_thread")]
async fn a_request_keeps_the_name_that_it_brings() {
    let platform = Platform::start().await;
    let api = &platform.tenant.api;
    let path = platform.storage();
    let named =
        api.send(api.request(Method::GET, &path).header("x-request-id", "trace-7.a_b")).await.expect_status(404);
    assert_eq!(
        (named.header("x-request-id"), named.json()["request_id"].as_str()),
        (Some("trace-7.a_b"), Some("trace-7.a_b"))
    );
    let unfit = api.send(api.request(Method::GET, &path).header("x-request-id", "a b")).await;
    let given = unfit.header("x-request-id").unwrap().to_owned();
    assert!(given.len() == 32 && given.bytes().all(|byte| byte.is_ascii_hexdigit()), "{given}");
    assert_eq!(unfit.json()["request_id"], given.as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_envelope_says_who_answered_and_when_and_to_whom_it_was_told() {
    let platform = Platform::start().await;
    let (api, path) = (&platform.tenant.api, platform.storage());
    // The keys of an envelope are read whatever their case.
    let made = json!({"DATA": {"note": 1}, "Verb": "put"});
    let made = api.post(&path, &made).await.expect_status(201).json();
    let refused = api.anonymous().get(&path).await.expect_status(401).json();
    for (answer, status) in [(&made, "success"), (&refused, "error")] {
        assert_eq!(answer["status"], status);
        assert!(answer["node"].as_str().is_some_and(|node| !node.is_empty()), "{answer}");
        let at = answer["timestamp"].as_str().unwrap();
        let form: String = at.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        assert_eq!(form, "0000-00-00T00:00:00", "{at}");
    }
    assert_eq!((made["auth_token"].as_str(), made["version"].is_string()), (api.token(), true));
    assert_eq!((refused.get("auth_token"), refused.get("version")), (None, None));
    let lines = |answer: &testkit::Answer| answer.body.iter().filter(|byte| **byte == b'\n').count();
    let pretty = api.send(api.request(Method::GET, &path).header("x-pretty-print", "true")).await.expect_status(200);
    assert!(lines(&pretty) > 5 && pretty.data() == made["data"], "{pretty}");
    assert!(lines(&api.get(&format!("{path}?pretty_print=true")).await.expect_status(200)) > 5);
    assert_eq!(lines(&api.get(&path).await.expect_status(200)), 0);
    // One's own account by a shorter path, and nobody's.
    let own = api.get("/v2/account/storage").await.expect_status(200).json();
    assert_eq!((&own["data"], &own["revision"]), (&made["data"], &made["revision"]));
    api.anonymous().get("/v2/account/storage").await.expect_status(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_may_stand_for_another_verb_and_nothing_else_may() {
    let platform = Platform::start().await;
    let api = &platform.tenant.api;
    let path = platform.storage();
    api.post(&path, &json!({"data": {}, "verb": "put"})).await.expect_status(201);
    let patched =
        api.post(&format!("{path}?verb=PATCH"), &json!({"data": {"note": 1}})).await.expect_status(200).data();
    assert_eq!(patched["note"], 1);
    assert_eq!(api.post(&format!("{path}?verb=GET"), &json!({})).await.status, 400, "an envelope needs its data");
    let got = api.post(&format!("{path}?verb=GET"), &json!({"data": {}})).await.expect_status(200).data();
    assert_eq!(got["note"], 1);
    api.post(&format!("{path}/deliveries?verb=DELETE"), &json!({"data": {}})).await.expect_status(405);
    api.post(&format!("{path}?verb=BREW"), &json!({"data": {}})).await.expect_status(405);
    api.get(&format!("{path}?verb=DELETE")).await.expect_status(200);
    api.put(&format!("{path}?verb=DELETE"), &json!({"data": {}})).await.expect_status(409);
    // The header that only looks like a verb is not heeded.
    let overridden = api.request(Method::GET, &path).header("x-http-method-override", "DELETE");
    api.send(overridden).await.expect_status(200);
    api.post(&path, &json!({"data": {}, "verb": "DELETE"})).await.expect_status(200);
    api.get(&path).await.expect_status(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_document_and_list_has_a_tag_that_conditions_hold_against() {
    let platform = Platform::start().await;
    let api = &platform.tenant.api;
    let account = format!("/v2/accounts/{}", platform.tenant.id);
    let mailbox = platform.mailbox().await;
    let fax = api.put(&format!("{account}/faxboxes"), &json!({"data": {"name": "Fax"}})).await.expect_status(201);
    let fax = format!("{account}/faxboxes/{}", fax.data()["id"].as_str().unwrap());
    api.put(&platform.storage(), &json!({"data": {}})).await.expect_status(201);
    let user = format!("{account}/users/{}", platform.tenant.user_id);
    let conditional = async |method: Method, path: &str, name: &str, tag: &str| {
        let body = json!({"data": {"note": tag}}).to_string();
        let request = api.request(method.clone(), path).header(name, tag).header("content-type", "application/json");
        api.send(if method == Method::GET { request } else { request.body(body) }).await
    };
    for document in [&account, &mailbox, &fax, &user, &platform.storage()] {
        let first = api.get(document).await.expect_status(200);
        let tag = first.header("etag").unwrap().to_owned();
        assert_eq!(tag, format!("\"{}\"", first.json()["revision"].as_str().unwrap()));
        let same = conditional(Method::GET, document, "if-none-match", &tag).await.expect_status(304);
        assert!(same.body.is_empty() && same.header("etag") == Some(&*tag), "{document}");
        let refused = conditional(Method::PATCH, document, "if-match", "\"9-0\"").await.expect_status(412);
        assert!(refused.body.is_empty(), "{document}");
        conditional(Method::PATCH, document, "if-match", &tag).await.expect_status(200);
        conditional(Method::PATCH, document, "if-match", &tag).await.expect_status(412);
        conditional(Method::GET, document, "if-none-match", &tag).await.expect_status(200);
        if *document != account && *document != user {
            conditional(Method::DELETE, document, "if-match", &tag).await.expect_status(412);
        }
    }
    for list in ["users", "vmboxes", "faxboxes", "children", "ingest_keys", "recordings", "cdrs", "vmboxes/messages"] {
        let list = format!("{account}/{list}");
        let tag = api.get(&list).await.expect_status(200).header("etag").unwrap().to_owned();
        conditional(Method::GET, &list, "if-none-match", &format!("\"x\", W/{tag}")).await.expect_status(304);
    }
    let users = format!("{account}/users");
    let before = api.get(&users).await.header("etag").unwrap().to_owned();
    super::fixture::plain_user(&platform).await;
    conditional(Method::GET, &users, "if-none-match", &before).await.expect_status(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_envelope_tells_what_the_server_noted_of_a_document_and_no_more() {
    let platform = Platform::start().await;
    let api = &platform.tenant.api;
    let account = format!("/v2/accounts/{}", platform.tenant.id);
    let made = async |path: &str, data: Value| {
        let answer = api.put(&format!("{account}/{path}"), &json!({ "data": data })).await.expect_status(201).json();
        (answer["metadata"]["id"].as_str().unwrap().to_owned(), answer["metadata"].clone())
    };
    let user = json!({"first_name": "Pat", "last_name": "Plain", "username": "pat", "password": "sesame-shut"});
    for (path, data, doc_type) in [
        ("users", user, "user"),
        ("vmboxes", json!({"name": "Dana", "mailbox": "1001"}), "vmbox"),
        ("faxboxes", json!({"name": "Fax"}), "faxbox"),
        ("ingest_keys", json!({"name": "key", "scopes": ["cdr"]}), "ingest_key"),
        ("sip_credentials", json!({"name": "desk"}), "sip_credential"),
        ("storage", json!({}), "storage"),
    ] {
        let (id, noted) = made(path, data).await;
        let document = if path == "storage" { platform.storage() } else { format!("{account}/{path}/{id}") };
        let read = api.get(&document).await.expect_status(200).json();
        assert_eq!((&read["metadata"], &read["data"]["id"]), (&noted, &json!(id)), "{path}");
        assert_eq!((&noted["type"], &noted["account_id"]), (&json!(doc_type), &json!(platform.tenant.id)), "{path}");
        assert!(noted["created"].as_i64() > Some(63_900_000_000), "{path}: {noted}");
        let keys: Vec<&String> = noted.as_object().unwrap().keys().collect();
        assert!(keys.iter().all(|key| ["account_id", "created", "id", "modified", "type"].contains(&key.as_str())));
        let gone = api.delete(&document).await.expect_status(200).json();
        assert_eq!((&gone["metadata"]["deleted"], &gone["metadata"]["id"]), (&json!(true), &json!(id)), "{path}");
        assert_eq!(gone["data"]["_read_only"]["deleted"], true, "{path}");
        assert_eq!(api.get(&document).await.expect_status(404).json().get("metadata"), None, "{path}");
    }
    let read = api.get(&account).await.expect_status(200).json();
    assert_eq!((&read["metadata"]["type"], &read["metadata"]["id"]), (&json!("account"), &json!(platform.tenant.id)));
    let rows = api.get(&format!("{account}/users")).await.expect_status(200).json();
    assert_eq!(rows.get("metadata"), None, "a list is no document");
    let plans = json!({"data": {"id": "gold"}});
    let plan = platform.master.api.put("/v2/storage/plans", &plans).await.expect_status(201).json();
    assert_eq!((&plan["metadata"]["id"], &plan["metadata"]["type"]), (&json!("gold"), &json!("storage_plan")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_given_to_the_function_that_jsonp_names() {
    let platform = Platform::start().await;
    let api = &platform.tenant.api;
    let path = platform.storage();
    api.put(&path, &json!({"data": {"note": "a\u{2028}b"}})).await.expect_status(201);
    let script = async |path: &str, status: u16| {
        let answer = api.get(path).await.expect_status(status);
        assert_eq!(answer.header("content-type"), Some("application/javascript"), "{path}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        assert!(!text.contains('\u{2028}'), "{text}");
        let json = text.strip_prefix("app.on_answer(").and_then(|rest| rest.strip_suffix(");"));
        serde_json::from_str::<Value>(json.unwrap()).unwrap()
    };
    assert_eq!(script(&format!("{path}?jsonp=app.on_answer"), 200).await["data"]["note"], "a\u{2028}b");
    let missing = script(&format!("{path}/plans/nothing?jsonp=app.on_answer"), 403).await;
    assert_eq!(missing["status"], "error");
    for bad in ["alert(1)//", "", ".a", "1a", "a..b", &"a".repeat(129)] {
        let answer = api.get(&format!("{path}?jsonp={bad}")).await.expect_status(400).json();
        assert!(answer["data"]["jsonp"]["pattern"].is_object(), "{bad}: {answer}");
    }
    // What a browser adds by itself proves nothing of the page that asks.
    let basic = api.request(Method::GET, &format!("{path}?jsonp=f")).header("authorization", "Basic eDp5");
    let refused = api.send(basic).await.expect_status(400).json();
    assert!(refused["data"]["jsonp"]["invalid"].is_object(), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_asked_for_in_chunks_is_whole() {
    let platform = Platform::start().await;
    let api = &platform.tenant.api;
    let boxes = format!("/v2/accounts/{}/vmboxes", platform.tenant.id);
    for number in 1..=3 {
        let data = json!({"data": {"name": format!("box {number}"), "mailbox": number.to_string()}});
        api.put(&boxes, &data).await.expect_status(201);
    }
    let page = api.get(&format!("{boxes}?page_size=2")).await.expect_status(200).json();
    assert_eq!((page["data"].as_array().unwrap().len(), page["next_start_key"].is_string()), (2, true));
    let all = api.get(&format!("{boxes}?page_size=2&is_chunked=true")).await.expect_status(200).json();
    assert_eq!((all["data"].as_array().unwrap().len(), all.get("next_start_key")), (3, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_tells_what_it_took_of_the_requests_that_one_may_make() {
    for (limits, told) in [
        ("anonymous_per_second = 1\naccount_per_second = 2", true),
        ("account_per_second = 0\nanonymous_per_second = 0", false),
    ] {
        let platform = Platform::with(&format!("{CONFIG}\n[api]\n{limits}")).await;
        let path = platform.storage();
        for (api, status, at_once) in [(&platform.tenant.api.anonymous(), 401, 10), (&platform.tenant.api, 404, 20)] {
            let tokens = api.get(&path).await.expect_status(status).json()["tokens"].clone();
            if told {
                assert_eq!(tokens["consumed"], 1, "{tokens}");
                assert!(tokens["remaining"].as_u64().is_some_and(|left| left < at_once), "{tokens}");
            } else {
                assert_eq!(tokens, Value::Null);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_too_often_is_told_when_to_ask_again() {
    let limits = "[api]\nanonymous_per_second = 1\naccount_per_second = 2";
    let platform = Platform::with(&format!("{CONFIG}\n{limits}")).await;
    let path = platform.storage();
    let held = async |api: &testkit::Api| {
        for _ in 0..1000 {
            let answer = api.get(&path).await;
            if answer.status == 429 {
                return answer;
            }
        }
        panic!("a thousand requests were let through");
    };
    for api in [&platform.tenant.api.anonymous(), &platform.tenant.api] {
        let answer = held(api).await;
        assert_eq!(
            (answer.json()["message"].as_str(), answer.header("access-control-allow-origin")),
            (Some("too_many_requests"), Some("*"))
        );
        assert!(answer.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
        assert_eq!(answer.json()["tokens"], json!({"consumed": 0, "remaining": 0}));
    }
    // Neither another account nor who watches over the server is held up by that.
    platform.master.api.get(&format!("/v2/accounts/{}", platform.master.id)).await.expect_status(200);
    platform.tenant.api.anonymous().get("/healthz").await.expect_status(200);
    // An address behind a proxy on this machine is its own.
    let api = platform.tenant.api.anonymous();
    api.send(api.request(Method::GET, &path).header("x-forwarded-for", "198.51.100.9")).await.expect_status(401);
}

/// Sends bytes and gives what comes back until the server closes.
fn say(platform: &Platform, parts: &[&str], between: Duration) -> String {
    let address = platform.program.url().trim_start_matches("http://").to_owned();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    for part in parts {
        if stream.write_all(part.as_bytes()).is_err() {
            break;
        }
        std::thread::sleep(between);
    }
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_only_holds_on_to_a_connection_loses_it() {
    let patience = "[server]\nheader_timeout = \"300ms\"\nbody_timeout = \"300ms\"";
    let platform = Platform::with(&format!("{CONFIG}\n{patience}")).await;
    let (token, path) = (platform.tenant.api.token().unwrap(), platform.storage());
    // All of these return only because the server closes.
    let silent = say(&platform, &[], Duration::ZERO);
    assert_eq!(silent, "");
    let head = say(&platform, &["GET /healthz HTTP/1.1\r\nhost: x\r\n", "x-slow: "], Duration::ZERO);
    assert!(!head.contains("200 OK"), "{head}");
    let idle = say(&platform, &["GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"], Duration::ZERO);
    assert!(idle.contains("200 OK"), "{idle}");
    let put = format!(
        "PUT {path} HTTP/1.1\r\nhost: x\r\nx-auth-token: {token}\r\ncontent-type: application/json\r\ncontent-length: 40\r\n\r\n{{\"data\""
    );
    let body = say(&platform, &[&put], Duration::ZERO);
    assert!(
        body.contains("400 Bad Request") && body.contains("too slowly") && body.contains("access-control-allow-origin"),
        "{body}"
    );
    // Byte by byte: it never stands still, and is too slow all the same.
    let mut parts = vec![put.as_str()];
    parts.extend(std::iter::repeat_n(" ", 30));
    let trickle = say(&platform, &parts, Duration::from_millis(100));
    assert!(trickle.contains("400 Bad Request"), "{trickle}");
    platform.tenant.api.get(&path).await.expect_status(404);
    platform.tenant.api.put(&path, &json!({"data": Value::Object(Default::default())})).await.expect_status(201);
}

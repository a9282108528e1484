//! No answer holds a secret where they are masked, and none but an admin's of the owning level where they are not: every route that reads is asked, as
//! everybody, of a platform where every level has secrets, retired ones and ones that its destination refuses.

use reqwest::Method;
use serde_json::{Value, json};
use stowline::api::{ROUTES, Verb};
use testkit::{Api, Fault, S3Server, VOICEMAIL_WAV};

use crate::fixture::until;
use crate::levels::{Levels, entry, voicemail_to};

const OWN: &str = "dddddddddddddddddddddddddddddddd";

/// What each level writes: a bucket with its credentials, and a URL with a password and a token in it.
fn document(server: &S3Server, level: char) -> Value {
    let id = |last: &str| format!("{}{last}", level.to_string().repeat(32 - last.len()));
    let url = format!("http://robot:userinfo-s3cret@127.0.0.1:{}/in?token=query-s3cret", server.port());
    json!({
        "attachments": {
            id("1"): entry(server, &format!("bucket-of-{level}")),
            id("2"): {"handler": "http", "settings": {"url": url, "verb": "put"}},
        },
        "connections": {id("3"): {
            "driver": "kazoo_couch", "settings": {"ip": "203.0.113.7", "port": 5984, "username": "couch", "password": "couch-s3cret"},
        }},
    })
}

/// Everything that is answered, with what was asked.
#[derive(Default)]
struct Said(Vec<(String, String)>);

impl Said {
    async fn ask(&mut self, who: &str, api: &Api, method: Method, path: &str, body: Option<Value>) -> Value {
        let request = api.request(method.clone(), path).header("content-type", "application/json");
        let answer = api
            .send(match body {
                Some(body) => request.body(body.to_string()),
                None => request,
            })
            .await;
        let text = format!("{:?} {}", answer.headers, String::from_utf8_lossy(&answer.body));
        self.0.push((format!("{who}: {method} {path}: {}", answer.status), text));
        serde_json::from_slice(&answer.body).unwrap_or_default()
    }
}

async fn every_level_has_secrets(levels: &Levels, server: &S3Server, said: &mut Said) {
    let untried = "?validate_settings=false";
    stowline::app::switches::turn(levels.app(), stowline::app::switches::Switch::ValidationOverrides, true)
        .await
        .unwrap();
    let plans = Levels::storage(&levels.reseller, "/plans");
    for (who, api, path, level) in [
        ("the master", &levels.master, "/v2/storage".to_owned(), 'a'),
        ("the reseller", &levels.reseller_admin, Levels::storage(&levels.reseller, ""), 'b'),
        ("the admin", &levels.admin.api, Levels::storage(&levels.customer, ""), 'd'),
        ("the user", &levels.user.api, levels.user_storage(&levels.user, ""), 'e'),
    ] {
        let path = format!("{path}{untried}");
        let mut whole = document(server, level);
        said.ask(who, api, Method::PUT, &path, Some(json!({"data": whole}))).await;
        whole["note"] = "written again".into();
        said.ask(who, api, Method::POST, &path, Some(json!({"data": whole}))).await;
        // One of them is retired, and what is wrong with the next attempt is said.
        let without = json!({"data": {"attachments": {format!("{}2", level.to_string().repeat(31)): null}}});
        said.ask(who, api, Method::PATCH, &path, Some(without)).await;
        whole["plan"] = voicemail_to(OWN);
        said.ask(who, api, Method::POST, &path, Some(json!({"data": whole}))).await;
        said.ask(who, api, Method::POST, &path.replace("/storage?", "/storage/dry_run?"), Some(json!({"data": whole})))
            .await;
    }
    for (who, api, path) in
        [("the master", &levels.master, "/v2/storage/plans"), ("the reseller", &levels.reseller_admin, &plans)]
    {
        let mut plan = document(server, 'c');
        plan["id"] = "gold".into();
        said.ask(who, api, Method::PUT, path, Some(json!({"data": plan}))).await;
    }
}

/// A voicemail that its destination refuses: it waits, and an error is noted.
async fn one_is_refused(levels: &Levels, server: &S3Server, said: &mut Said) -> [String; 2] {
    let own = format!("{}?validate_settings=false", Levels::storage(&levels.customer, ""));
    let routed = json!({"data": {"attachments": {OWN: entry(server, "refusing")}, "plan": voicemail_to(OWN)}});
    said.ask("the admin", &levels.admin.api, Method::PATCH, &own, Some(routed)).await;
    server.faults().rule(|seen| {
        (seen.method == "PUT").then(|| Fault::status(503).with_body("<Error><Code>SlowDown</Code></Error>"))
    });
    let boxes = format!("/v2/accounts/{}/vmboxes", levels.customer.id);
    let made = json!({"data": {"name": "Dana", "mailbox": "1001", "owner_id": levels.user.id}});
    let made = said.ask("the admin", &levels.admin.api, Method::PUT, &boxes, Some(made)).await;
    let mailbox = made["data"]["id"].as_str().unwrap().to_owned();
    let messages = format!("{boxes}/{mailbox}/messages");
    let api = &levels.admin.api;
    let left = api.multipart(Method::PUT, &messages, &json!({"data": {}}), "v.wav", "audio/wav", VOICEMAIL_WAV).await;
    let message = left.expect_status(201).data()["media_id"].as_str().unwrap().to_owned();
    let errors = format!("/v2/accounts/{}/att_handlers_errors", levels.customer.id);
    until("it is refused", async || api.get(&errors).await.data().as_array().is_some_and(|rows| !rows.is_empty()))
        .await;
    [mailbox, message]
}

async fn everything_is_read(levels: &Levels, ids: &[String; 2], everybody: &[(&str, &Api)], said: &mut Said) {
    let errors = format!("/v2/accounts/{}/att_handlers_errors", levels.customer.id);
    let errors = levels.admin.api.get(&errors).await.data();
    let error = errors[0]["id"].as_str().unwrap();
    for route in ROUTES.iter().filter(|route| route.method == Verb::Get && !route.path.ends_with("api_key")) {
        for account in [&levels.customer, &levels.reseller] {
            let segment = |part: &str| match part {
                "{account}" => account.id.to_string(),
                "{user}" => levels.user.id.clone(),
                "{plan}" => "gold".to_owned(),
                "{box}" => ids[0].clone(),
                "{message}" => ids[1].clone(),
                "{error}" => error.to_owned(),
                "{handler}" => OWN.to_owned(),
                part => part.trim_matches(|c| c == '{' || c == '}').to_owned(),
            };
            let path = route.path.split('/').map(segment).collect::<Vec<String>>().join("/");
            for (who, api) in everybody {
                said.ask(who, api, Method::GET, &format!("/v2/{path}"), None).await;
            }
        }
    }
}

async fn walk(masked: bool) {
    let levels = Levels::with(&format!("[api]\nmask_secrets = {masked}")).await;
    let server = S3Server::start();
    let (mut at_first, mut said) = (Said::default(), Said::default());
    every_level_has_secrets(&levels, &server, &mut at_first).await;
    let ids = one_is_refused(&levels, &server, &mut at_first).await;
    let reader =
        crate::levels::user(levels.app(), &levels.master.anonymous(), &levels.reseller, "Reseller", "reader", "user")
            .await;
    let nobody = levels.master.anonymous();
    // Who may not change what they read, and who may of the customer's.
    let readers = [
        ("nobody", &nobody),
        ("a reader", &reader.api),
        ("another user", &levels.other_user.api),
        ("a stranger", &levels.stranger),
    ];
    let owners = [
        ("the admin", &levels.admin.api),
        ("the user", &levels.user.api),
        ("the reseller", &levels.reseller_admin),
        ("the master", &levels.master),
    ];
    everything_is_read(&levels, &ids, &readers, &mut said).await;
    let mut shown = Said::default();
    everything_is_read(&levels, &ids, &owners, &mut shown).await;
    let secrets = [server.secret_key(), server.access_key(), "userinfo-s3cret", "query-s3cret", "couch-s3cret"];
    let told = |said: &Said| -> Vec<String> {
        let holds = |text: &str| secrets.iter().any(|secret| text.contains(secret));
        said.0.iter().filter(|(_, text)| holds(text)).map(|(what, _)| what.clone()).collect()
    };
    assert_eq!(told(&said), [""; 0], "to who may not change it");
    let seen =
        |said: &Said| said.0.iter().filter(|(what, text)| what.ends_with(": 200") && text.contains("********")).count();
    assert!(seen(&said) >= 4, "they were shown documents, without their secrets");
    if masked {
        assert_eq!(told(&at_first), [""; 0], "to nobody at all");
        assert_eq!(told(&shown), [""; 0], "to nobody at all");
    } else {
        // Shown where the document is shown, and nowhere else: no list of errors, no delivery, no usage, nothing retired, no trail.
        let elsewhere = |what: &&String| !what.contains("/storage: 200") && !what.contains("/storage/plans");
        for secret in secrets {
            assert!(shown.0.iter().any(|(_, text)| text.contains(secret)), "{secret} is there to be shown");
        }
        let shown = told(&shown);
        assert!(!shown.is_empty() && shown.iter().all(|what| !elsewhere(&what)), "{shown:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_5_no_answer_holds_a_secret_where_they_are_masked() {
    walk(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_5_no_answer_holds_a_secret_but_the_document_to_who_may_change_it() {
    walk(false).await;
}

//! What the platform's web console asks, from a browser on another origin, in its order and in its words (Monster UI 4.3).
//!
//! The browser's part is played too: before a request that is not simple it asks whether it may, and an answer that it may not read is none.

use reqwest::Method;
use serde_json::{Value, json};
use testkit::{Answer, Api};

use super::fixture::{CONFIG, HANDLER, Platform, bucket};

const ORIGIN: &str = "https://console.example";

/// The console in a browser.
struct Console {
    api: Api,
    token: Option<String>,
}

impl Console {
    /// Asks as a browser does, and gives the answer when the page may read it.
    async fn ask(&self, method: Method, path: &str, data: Option<Value>) -> Answer {
        let path = match method {
            Method::GET => format!("/v2/{path}{}_=1795442709000", if path.contains('?') { '&' } else { '?' }),
            _ => format!("/v2/{path}"),
        };
        let headers = "content-type,x-auth-token,x-kazoo-cluster-id";
        let preflight = self.api.request(Method::OPTIONS, &path).header("origin", ORIGIN);
        let preflight = preflight.header("access-control-request-method", method.as_str());
        let allowed =
            self.api.send(preflight.header("access-control-request-headers", headers)).await.expect_status(200);
        let list = |name: &str| -> Vec<String> {
            let value = allowed.header(name).unwrap();
            value.split(',').map(|word| word.trim().to_lowercase()).collect()
        };
        assert!(list("access-control-allow-methods").contains(&method.as_str().to_lowercase()));
        for header in headers.split(',') {
            assert!(list("access-control-allow-headers").contains(&header.to_owned()), "{header}");
        }
        let mut request = self.api.request(method, &path).header("origin", ORIGIN).header("x-kazoo-cluster-id", "main");
        request = request.header("content-type", "application/json");
        if let Some(token) = &self.token {
            request = request.header("x-auth-token", token);
        }
        if let Some(data) = data {
            request = request.body(json!({"data": data, "ui_metadata": {"ui": "monster-ui"}}).to_string());
        }
        let answer = self.api.send(request).await;
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{path}: {answer}");
        assert_eq!(answer.header("content-type"), Some("application/json"), "{path}: {answer}");
        let said = answer.json();
        if answer.status >= 400 {
            assert!(said["data"].is_object() && said["error"] == answer.status.to_string().as_str(), "{path}: {said}");
        }
        answer
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, None).await
    }
}

async fn logged_in(platform: &Platform) -> (Console, Value) {
    let mut console = Console { api: platform.tenant.api.anonymous(), token: None };
    let proof = |password: &str| json!({"credentials": Api::credentials("admin", password), "account_name": "acme", "method": "md5"});
    console.ask(Method::PUT, "user_auth", Some(proof("no"))).await.expect_status(401);
    let welcome = console.ask(Method::PUT, "user_auth", Some(proof("sesame-open"))).await.expect_status(201);
    let token = welcome.json()["auth_token"].as_str().unwrap().to_owned();
    assert_eq!(token.split('.').count(), 3);
    console.token = Some(token);
    (console, welcome.data())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_console_logs_in_and_shows_its_pages() {
    let platform = Platform::start().await;
    let (console, welcome) = logged_in(&platform).await;
    for key in ["account_id", "owner_id", "account_name", "language", "reseller_id"] {
        assert!(welcome[key].is_string(), "{key}: {welcome}");
    }
    assert!(welcome["apps"].is_array() && welcome["is_reseller"].is_boolean(), "{welcome}");
    let account = format!("accounts/{}", platform.tenant.id);
    let shown = console.get(&account).await.expect_status(200).data();
    let user = console.get(&format!("{account}/users/{}", platform.tenant.user_id)).await.expect_status(200).data();
    assert_eq!(user["priv_level"], "admin");
    assert_eq!(console.get(&format!("{account}/apps_store")).await.expect_status(200).data(), json!([]));

    // It puts its own settings beside what it was given, and sends all of it back.
    let mut restricted = shown.clone();
    restricted["ui_restrictions"] =
        json!({"myaccount": {"account": {"show_tab": true}, "billing": {"show_tab": false}}});
    let changed = console.ask(Method::POST, &account, Some(restricted.clone())).await.expect_status(200).data();
    for (key, value) in restricted.as_object().unwrap() {
        assert_eq!(&changed[key], value, "{key}");
    }
    // After a reload of the page.
    let token = console.token.clone().unwrap();
    let told =
        console.ask(Method::POST, "auth/tokeninfo", Some(json!({"token": token}))).await.expect_status(200).data();
    assert_eq!(told["account_id"], platform.tenant.id.as_str());
    assert_eq!(told["owner_id"], platform.tenant.user_id.as_str());
    // What it asks for and can do without.
    for absent in ["whitelabel/domains", "alerts", "external_numbers", "braintree/customer"] {
        console.get(&format!("{account}/{absent}")).await.expect_status(404);
    }
    console.get("whitelabel/console.example").await.expect_status(404);
    for list in ["users", "vmboxes", "faxboxes"] {
        let answer = console.get(&format!("{account}/{list}?paginate=false")).await.expect_status(200).json();
        assert!(answer["data"].is_array() && answer.get("page_size").is_none(), "{list}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_console_adds_changes_and_removes_storage() {
    for masked in [false, true] {
        let platform = Platform::with(&format!("{CONFIG}\n[api]\nmask_secrets = {masked}")).await;
        let (server, settings) = bucket();
        let (console, _) = logged_in(&platform).await;
        let storage = format!("accounts/{}/storage", platform.tenant.id);
        console.get(&storage).await.expect_status(404);
        let empty = json!({"attachments": {}, "plan": {}});
        console.ask(Method::PUT, &storage, Some(empty)).await.expect_status(201);
        // Neither port, scheme nor region is asked for in its dialog; here only what leads to the server of the test is said.
        let entry = json!({"handler": "s3", "name": "Recordings", "settings": settings});
        let patch = json!({
            "attachments": {HANDLER: entry},
            "plan": {"modb": {"types": {"mailbox_message": {"attachments": {"handler": HANDLER}}}}},
        });
        console.ask(Method::PATCH, &storage, Some(patch)).await.expect_status(200);

        // All of it comes back as it was shown, masked or not, with what the console wants to remember.
        let mut shown = console.get(&storage).await.expect_status(200).data();
        assert!(shown["id"].is_string());
        assert_eq!(shown.to_string().contains(server.secret_key()), !masked);
        shown["ui_metadata"] = json!({"version": "4.3", "ui": "monster-ui", "origin": "storage"});
        shown["attachments"][HANDLER]["name"] = "Renamed".into();
        let replaced = console.ask(Method::POST, &storage, Some(shown)).await.expect_status(200).data();
        assert_eq!(replaced["ui_metadata"]["version"], "4.3");
        assert_eq!(replaced["attachments"][HANDLER]["name"], "Renamed");
        // The secret was not lost on the way.
        let mailbox = platform.mailbox().await;
        platform.voicemail(&mailbox).await;
        platform.until_delivered().await;

        // Faults come by path, with the rule's name.
        let wrong = json!({"attachments": {HANDLER: {"handler": "s3", "name": "x", "settings": {"bucket": "b"}}}});
        let fault = console.ask(Method::PATCH, &storage, Some(wrong)).await.expect_status(400).json();
        assert_eq!(fault["message"], "validation error");
        let rules = fault["data"].as_object().unwrap();
        let (path, rule) = rules.iter().find(|(path, _)| path.starts_with(&format!("attachments.{HANDLER}"))).unwrap();
        assert!(rule.as_object().unwrap().values().all(|rule| rule["message"].is_string()), "{path}: {rule}");

        let removal = json!({"attachments": {HANDLER: null}, "plan": {"modb": null}});
        let left = console.ask(Method::PATCH, &storage, Some(removal)).await.expect_status(200).data();
        assert_eq!(left["attachments"], json!({}));
        console.ask(Method::DELETE, &storage, None).await.expect_status(200);
        console.get(&storage).await.expect_status(404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_console_adds_a_database_with_a_username_beside_its_address() {
    for masked in [false, true] {
        let platform = Platform::with(&format!("{CONFIG}\n[api]\nmask_secrets = {masked}")).await;
        let (console, _) = logged_in(&platform).await;
        let storage = format!("accounts/{}/storage", platform.tenant.id);
        console.ask(Method::PUT, &storage, Some(json!({"attachments": {}, "plan": {}}))).await.expect_status(201);
        let settings = json!({"ip": "203.0.113.7", "port": 5984, "username": "couch", "password": "s3cret-of-couch"});
        let entry = json!({"driver": "kazoo_couch", "name": "Own database", "settings": settings});
        let patch = json!({"connections": {HANDLER: entry}});
        console.ask(Method::PATCH, &storage, Some(patch)).await.expect_status(200);
        let mut shown = console.get(&storage).await.expect_status(200).data();
        let settings = &shown["connections"][HANDLER]["settings"];
        assert_eq!((&settings["port"], &settings["username"]), (&json!(5984), &json!("couch")));
        assert_eq!(shown.to_string().contains("s3cret-of-couch"), !masked);
        // What was shown comes back as it is, and nothing is lost by it.
        shown["connections"][HANDLER]["name"] = "Renamed".into();
        let replaced = console.ask(Method::POST, &storage, Some(shown.clone())).await.expect_status(200).data();
        assert_eq!(replaced, shown);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_console_keeps_mailboxes_and_fax_boxes() {
    let platform = Platform::start().await;
    let (console, _) = logged_in(&platform).await;
    let account = format!("accounts/{}", platform.tenant.id);
    let boxes = [
        ("vmboxes", json!({"name": "Front desk", "mailbox": "2000", "owner_id": platform.tenant.user_id})),
        (
            "faxboxes",
            json!({"name": "Fax", "caller_id": "+14155550100", "fax_timezone": "Europe/Berlin", "notifications": {"inbound": {"email": {"send_to": ["a@b.example"]}}}}),
        ),
    ];
    for (kind, data) in boxes {
        let path = format!("{account}/{kind}");
        let made = console.ask(Method::PUT, &path, Some(data)).await.expect_status(201).data();
        let one = format!("{path}/{}", made["id"].as_str().unwrap());
        let rows = console.get(&format!("{path}?paginate=false")).await.expect_status(200).data();
        assert_eq!((rows[0]["id"].as_str(), rows.as_array().unwrap().len()), (made["id"].as_str(), 1));
        let mut whole = console.get(&one).await.expect_status(200).data();
        whole["name"] = "Renamed".into();
        whole["ui_metadata"] = json!({"ui": "monster-ui"});
        let changed = console.ask(Method::POST, &one, Some(whole)).await.expect_status(200).data();
        assert_eq!(
            (changed["name"].as_str(), changed["ui_metadata"]["ui"].as_str()),
            (Some("Renamed"), Some("monster-ui"))
        );
        let patched = console.ask(Method::PATCH, &one, Some(json!({"name": "Again"}))).await.expect_status(200).data();
        assert_eq!(patched["name"], "Again");
        console.ask(Method::DELETE, &one, None).await.expect_status(200);
        console.get(&one).await.expect_status(404);
        assert_eq!(console.get(&path).await.expect_status(200).data(), json!([]));
        let wrong = console.ask(Method::PUT, &path, Some(json!({}))).await.expect_status(400).data();
        assert!(wrong["name"]["required"]["message"].is_string(), "{wrong}");
    }
}

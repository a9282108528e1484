//! Every route of the router against everybody: who may not is answered 403, and nobody without a token learns anything.

use serde_json::{Value, json};
use stowline::api::{Access, ROUTES, Route, Verb};
use testkit::{Answer, Api};

use crate::fixture::{CONFIG, Platform, login, user_of};

/// What the routes need in their paths.
struct Ids {
    account: String,
    user: String,
    mailbox: String,
    message: String,
}

impl Ids {
    fn absent() -> Self {
        let absent = || "0".repeat(32);
        Self { account: absent(), user: absent(), mailbox: absent(), message: format!("202611-{}", absent()) }
    }

    fn path(&self, route: &Route) -> String {
        let segment = |part: &str| match part {
            "{account}" => self.account.clone(),
            "{user}" => self.user.clone(),
            "{box}" => self.mailbox.clone(),
            "{message}" => self.message.clone(),
            fixed if !fixed.starts_with('{') => fixed.to_owned(),
            // Whatever else is asked for does not exist.
            _ => "0".repeat(32),
        };
        format!("/v2/{}", route.path.split('/').map(segment).collect::<Vec<_>>().join("/"))
    }
}

fn method(route: &Route) -> reqwest::Method {
    match route.method {
        Verb::Get => reqwest::Method::GET,
        Verb::Put => reqwest::Method::PUT,
        Verb::Post => reqwest::Method::POST,
        Verb::Patch => reqwest::Method::PATCH,
        Verb::Delete => reqwest::Method::DELETE,
    }
}

/// Asks for something that cannot be done: the revision is none.
async fn ask(api: &Api, route: &Route, path: &str) -> Answer {
    let request = api.request(method(route), path).header("if-match", "\"0-none\"");
    let request = request.header("content-type", "application/json").body(json!({"data": {}}).to_string());
    api.send(request).await
}

/// What an answer says, apart from what differs with every request.
fn said(answer: &Answer) -> Value {
    let mut body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    if let Some(fields) = body.as_object_mut() {
        for changing in ["request_id", "timestamp"] {
            fields.remove(changing);
        }
    }
    let mut names: Vec<&str> = answer.headers.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    json!({"status": answer.status, "headers": names, "body": body})
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_20_on_every_route_an_anonymous_caller_is_answered_the_same_whether_a_thing_exists_or_not() {
    let platform = Platform::with(&format!("{CONFIG}\n[api]\nanonymous_per_second = 0")).await;
    let mailbox = platform.mailbox().await;
    let message = platform.voicemail(&mailbox).await;
    let existing = Ids {
        account: platform.tenant.id.clone(),
        user: platform.tenant.user_id.clone(),
        mailbox: mailbox.rsplit('/').next().unwrap().to_owned(),
        message,
    };
    let absent = Ids::absent();
    let short = Ids { account: "short".into(), ..Ids::absent() };
    let anonymous = platform.tenant.api.anonymous();
    for route in ROUTES {
        let first = ask(&anonymous, route, &existing.path(route)).await;
        for other in [&absent, &short] {
            let second = ask(&anonymous, route, &other.path(route)).await;
            assert_eq!(said(&first), said(&second), "{:?} {}", route.method, route.path);
        }
        if route.access != Access::Open {
            assert_eq!(first.status, 401, "{:?} {}", route.method, route.path);
        }
    }
}

/// Somebody, and what they are to the account in the path.
struct Actor {
    name: &'static str,
    api: Api,
}

/// Who may, in the order of [`actors`]. A plain user's `1` on a route for members holds for what is their own.
fn row(route: &Route) -> &'static str {
    match route.access {
        //                       master  reseller  account         child  beside
        //                       ad us   ad us     ad key own us   ad     ad
        Access::Open | Access::Authenticated => "11 11 1111 1 1",
        // Whose account it is, the proof says: everybody's own.
        Access::Ingest(_) if !route.path.contains("{account}") => "10 10 1100 1 1",
        Access::Member => "11 11 1111 0 0",
        Access::Admin | Access::StorageChange | Access::Ingest(_) => "10 10 1100 0 0",
        Access::Own => "10 10 1110 0 0",
        Access::Above => "10 10 0000 0 0",
        Access::AnyAdmin => "10 10 1100 1 1",
        Access::SuperAdmin => "10 00 0000 0 0",
        Access::StorageRead => "10 10 1111 0 0",
        Access::UserStorage => "10 10 1110 0 0",
        // The account is no reseller.
        Access::PlansRead | Access::PlansChange => "00 00 0000 0 0",
    }
}

async fn account(below: &Api, name: &str) -> (String, Api) {
    let made = below.put("/v2/accounts", &json!({"data": {"name": name}})).await.expect_status(201).data();
    let id = made["id"].as_str().unwrap().to_owned();
    user_of(below, &id, "admin", "admin").await;
    let api = login(below, name, "admin").await;
    (id, api)
}

async fn actors(platform: &Platform) -> (Ids, Vec<Actor>) {
    let master = &platform.master.api;
    let plain = async |api: &Api, id: &str, account: &str, name: &str| {
        let id = user_of(api, id, name, "user").await;
        (id, login(api, account, name).await)
    };
    let (_, master_user) = plain(master, &platform.master.id, "Master", "plain").await;
    let (reseller_id, reseller) = account(master, "Reseller").await;
    master.put(&format!("/v2/accounts/{reseller_id}/reseller"), &json!({"data": {}})).await.expect_status(201);
    let (_, reseller_user) = plain(&reseller, &reseller_id, "Reseller", "plain").await;
    let (id, admin) = account(&reseller, "Customer").await;
    let (user, own) = plain(&admin, &id, "Customer", "own").await;
    let (_, other) = plain(&admin, &id, "Customer", "other").await;
    let key = admin.get(&format!("/v2/accounts/{id}/api_key")).await.expect_status(200).data();
    let by_key = admin.anonymous().put("/v2/api_auth", &json!({"data": key})).await.expect_status(201);
    let by_key = admin.with_token(by_key.json()["auth_token"].as_str().unwrap());
    let (_, child) = account(&admin, "Child").await;
    let (_, neighbour) = account(&reseller, "Neighbour").await;
    let actors = [
        ("the master's admin", master.clone()),
        ("the master's user", master_user),
        ("the reseller's admin", reseller),
        ("the reseller's user", reseller_user),
        ("the account's admin", admin),
        ("the account's API key", by_key),
        ("the user in the path", own),
        ("another user", other),
        ("the admin of an account below", child),
        ("the admin of an account beside", neighbour),
    ];
    let actors = actors.into_iter().map(|(name, api)| Actor { name, api }).collect();
    (Ids { account: id, user, ..Ids::absent() }, actors)
}

/// Routes that do something lasting without a body, for whoever may: only those who may not ask for them here.
fn lasting(route: &Route) -> bool {
    let last = route.path.rsplit('/').next().unwrap_or_default();
    matches!(
        (route.method, last),
        (Verb::Put, "api_key" | "reseller") | (Verb::Delete, "reseller" | "tokens" | "token_auth")
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_2_on_every_route_exactly_those_get_in_whom_it_declares() {
    let platform = Platform::start().await;
    let (ids, actors) = actors(&platform).await;
    for route in ROUTES {
        let path = ids.path(route);
        let row: Vec<bool> = row(route).chars().filter(|c| *c != ' ').map(|c| c == '1').collect();
        assert_eq!(row.len(), actors.len(), "{:?}", route.access);
        for (actor, may) in actors.iter().zip(row) {
            if may && (lasting(route) || matches!(route.access, Access::Open)) {
                continue;
            }
            let answer = ask(&actor.api, route, &path).await;
            let what = format!("{} {:?} {path}: {answer}", actor.name, route.method);
            let plain = actor.name.ends_with("user") || actor.name.starts_with("the user");
            match may {
                false => assert_eq!(answer.status, 403, "{what}"),
                // What is not their own is forbidden to them further in.
                true if plain && route.access == Access::Member => assert!(answer.status < 500, "{what}"),
                true => assert!(answer.status != 403 && answer.status != 401 && answer.status < 500, "{what}"),
            }
        }
    }
    // Nothing of all this was done.
    let (admin, account) = (&actors[4].api, format!("/v2/accounts/{}", ids.account));
    assert_eq!(admin.get(&account).await.expect_status(200).data()["name"], "Customer");
    assert_eq!(admin.get(&format!("{account}/users")).await.data().as_array().unwrap().len(), 3);
}

//! The account tree: who is where, who is whose reseller, and what goes with an account.

use serde_json::{Value, json};
use testkit::Api;

use crate::fixture::{Platform, login, plain_user, user_of};

async fn account(below: &Api, parent: &str, name: &str) -> String {
    let path = format!("/v2/accounts/{parent}");
    let made = below.put(&path, &json!({"data": {"name": name}})).await.expect_status(201);
    assert_eq!(made.header("location"), Some(format!("{path}/{}", made.data()["id"].as_str().unwrap()).as_str()));
    made.data()["id"].as_str().unwrap().to_owned()
}

fn names(list: &Value) -> Vec<&str> {
    let mut names: Vec<&str> = list.as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    names
}

/// Master → Acme → Branch → Twig, and Stem beside Branch.
async fn grown() -> (Platform, [String; 3]) {
    let platform = Platform::start().await;
    let (api, acme) = (&platform.tenant.api, &platform.tenant.id);
    let branch = account(api, acme, "Branch").await;
    let twig = account(api, &branch, "Twig").await;
    let stem = account(api, acme, "Stem").await;
    (platform, [branch, twig, stem])
}

#[tokio::test(flavor = "multi_thread")]
async fn children_descendants_siblings_and_parents_are_listed() {
    let (platform, [branch, twig, _]) = grown().await;
    let (api, acme) = (&platform.tenant.api, format!("/v2/accounts/{}", platform.tenant.id));
    let list = async |path: String| api.get(&path).await.expect_status(200).data();
    assert_eq!(names(&list(format!("{acme}/children")).await), ["Branch", "Stem"]);
    assert_eq!(names(&list(format!("{acme}/descendants")).await), ["Branch", "Stem", "Twig"]);
    assert_eq!(names(&list(format!("/v2/accounts/{branch}/siblings")).await), ["Branch", "Stem"]);
    // Who is above the caller is none of their business.
    let up = list(format!("/v2/accounts/{twig}/parents")).await;
    assert_eq!(up, json!([{"id": platform.tenant.id, "name": "Acme"}, {"id": branch, "name": "Branch"}]));
    assert_eq!(list(format!("/v2/accounts/{twig}/tree")).await, up);
    assert_eq!(list(format!("{acme}/parents")).await, json!([]));
    let all = platform.master.api.get(&format!("/v2/accounts/{twig}/parents")).await.data();
    assert_eq!(names(&all), ["Acme", "Branch", "Master"]);
    api.get(&format!("{acme}/siblings")).await.expect_status(403);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_of_accounts_come_in_pages_and_are_filtered() {
    let (platform, _) = grown().await;
    let api = &platform.tenant.api;
    let path = format!("/v2/accounts/{}/descendants", platform.tenant.id);
    let mut seen = Vec::new();
    let mut next = format!("{path}?page_size=2");
    loop {
        let answer = api.get(&next).await.expect_status(200).json();
        seen.extend(names(&answer["data"]).into_iter().map(str::to_owned));
        let Some(key) = answer["next_start_key"].as_str() else { break };
        assert_eq!(answer["page_size"], 2);
        next = format!("{path}?page_size=2&start_key={key}");
    }
    seen.sort_unstable();
    assert_eq!(seen, ["Branch", "Stem", "Twig"]);
    let all = api.get(&format!("{path}?paginate=false")).await.json();
    assert_eq!((all.get("page_size"), all["data"].as_array().unwrap().len()), (None, 3));
    let twig = api.get(&format!("{path}?filter_name=Twig")).await.data();
    assert_eq!(names(&twig), ["Twig"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reseller_is_made_and_unmade_with_all_that_is_below() {
    let (platform, [branch, twig, stem]) = grown().await;
    let master = &platform.master.api;
    let reseller_of = async |id: &str| {
        let account = master.get(&format!("/v2/accounts/{id}")).await.expect_status(200).data();
        account["reseller_id"].as_str().unwrap().to_owned()
    };
    let promote = async |id: &str| {
        master.put(&format!("/v2/accounts/{id}/reseller"), &json!({"data": {}})).await.expect_status(201).data()
    };
    assert_eq!(reseller_of(&twig).await, platform.master.id);
    platform.tenant.api.put(&format!("/v2/accounts/{branch}/reseller"), &json!({"data": {}})).await.expect_status(403);

    assert_eq!(promote(&branch).await["is_reseller"], true);
    assert_eq!(reseller_of(&twig).await, branch);
    assert_eq!(reseller_of(&branch).await, platform.master.id, "a reseller belongs to the one above it");
    promote(&platform.tenant.id).await;
    assert_eq!(reseller_of(&branch).await, platform.tenant.id);
    assert_eq!(reseller_of(&stem).await, platform.tenant.id);
    assert_eq!(reseller_of(&twig).await, branch, "the nearest one counts");
    let leaf = account(&platform.tenant.api, &twig, "Leaf").await;
    assert_eq!(reseller_of(&leaf).await, branch);

    let demoted = master.delete(&format!("/v2/accounts/{branch}/reseller")).await.expect_status(200).data();
    assert_eq!(demoted["is_reseller"], false);
    for id in [&twig, &leaf, &branch, &stem] {
        assert_eq!(reseller_of(id).await, platform.tenant.id);
    }
    let own = format!("/v2/accounts/{}/reseller", platform.master.id);
    master.delete(&own).await.expect_status(400);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_a_reseller_reaches_the_storage_of_its_accounts_and_no_longer_when_it_is_none() {
    let (platform, [branch, twig, _]) = grown().await;
    user_of(&platform.tenant.api, &branch, "admin", "admin").await;
    let branch_admin = login(&platform.tenant.api, "Branch", "admin").await;
    let storage = format!("/v2/accounts/{twig}/storage");
    branch_admin.put(&storage, &json!({"data": {}})).await.expect_status(403);
    let reseller = format!("/v2/accounts/{branch}/reseller");
    platform.master.api.put(&reseller, &json!({"data": {}})).await.expect_status(201);
    branch_admin.put(&storage, &json!({"data": {}})).await.expect_status(201);
    platform.master.api.delete(&reseller).await.expect_status(200);
    branch_admin.get(&storage).await.expect_status(403);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_deleted_with_all_that_is_its_own() {
    let (platform, [branch, twig, _]) = grown().await;
    let api = &platform.tenant.api;
    user_of(api, &twig, "admin", "admin").await;
    let twig_admin = login(api, "Twig", "admin").await;
    let path = format!("/v2/accounts/{twig}");
    twig_admin.put(&format!("{path}/storage"), &json!({"data": {}})).await.expect_status(201);
    let key = json!({"data": {"name": "switch", "scopes": ["cdr"]}});
    let key = twig_admin.put(&format!("{path}/ingest_keys"), &key).await.expect_status(201).data();

    let full = api.delete(&format!("/v2/accounts/{branch}")).await.expect_status(400).data();
    assert!(full["account"]["forbidden"].is_object(), "{full}");
    twig_admin.delete(&path).await.expect_status(403);
    let gone = api.delete(&path).await.expect_status(200).data();
    assert_eq!(gone["_read_only"]["deleted"], true);
    twig_admin.get(&path).await.expect_status(401);
    for below in ["", "/storage", "/users", "/ingest_keys"] {
        api.get(&format!("{path}{below}")).await.expect_status(404);
    }
    let with_key = api.with_token(key["key"].as_str().unwrap());
    with_key.put(&format!("/v2/ingest/{twig}/cdr"), &json!({})).await.expect_status(401);
    let login = json!({"data": {"account_name": "Twig", "username": "admin", "password": "sesame-shut"}});
    api.anonymous().put("/v2/user_auth", &login).await.expect_status(401);
    api.delete(&format!("/v2/accounts/{branch}")).await.expect_status(200);
    account(api, &platform.tenant.id, "Twig").await;
    platform.master.api.delete(&format!("/v2/accounts/{}", platform.master.id)).await.expect_status(400);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_does_not_open_or_prolong_itself() {
    let platform = Platform::start().await;
    let (tenant, master) = (&platform.tenant.api, &platform.master.api);
    let path = format!("/v2/accounts/{}", platform.tenant.id);
    let far = 70_000_000_000_i64;
    master.patch(&path, &json!({"data": {"expires": far}})).await.expect_status(200);
    for change in [json!({"expires": far + 1}), json!({"enabled": false})] {
        let refused = tenant.patch(&path, &json!({"data": change})).await.expect_status(400).data();
        assert!(refused.as_object().unwrap().values().all(|fault| fault["forbidden"].is_object()), "{refused}");
    }
    // Written back as it is, or left out, nothing of it changes.
    let whole = tenant.get(&path).await.data();
    tenant.post(&path, &json!({"data": whole})).await.expect_status(200);
    tenant.post(&path, &json!({"data": {"name": "Acme", "realm": "acme.example"}})).await.expect_status(200);
    assert_eq!(tenant.get(&path).await.data()["expires"], far);

    master.patch(&path, &json!({"data": {"expires": 63_000_000_000_i64}})).await.expect_status(200);
    tenant.get(&path).await.expect_status(423);
    let login = json!({"data": {"account_name": "Acme", "username": "admin", "password": "sesame-open"}});
    let locked = tenant.anonymous().put("/v2/user_auth", &login).await.expect_status(423).json();
    assert_eq!(locked["message"], "locked");
    let key = json!({"data": {"api_key": platform.tenant.api_key}});
    tenant.anonymous().put("/v2/api_auth", &key).await.expect_status(423);
    master.patch(&path, &json!({"data": {"expires": null}})).await.expect_status(200);
    tenant.get(&path).await.expect_status(200);
    for change in [json!({"expires": far}), json!({"enabled": false})] {
        let own = format!("/v2/accounts/{}", platform.master.id);
        master.patch(&own, &json!({"data": change})).await.expect_status(400);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_key_is_rotated_and_its_tokens_end() {
    let platform = Platform::start().await;
    let (api, path) = (&platform.tenant.api, format!("/v2/accounts/{}/api_key", platform.tenant.id));
    assert_eq!(api.get(&path).await.expect_status(200).data()["api_key"], platform.tenant.api_key.as_str());
    let (pat, _) = plain_user(&platform).await;
    pat.get(&path).await.expect_status(403);
    let by = async |key: &str| api.anonymous().put("/v2/api_auth", &json!({"data": {"api_key": key}})).await;
    let token = by(&platform.tenant.api_key).await.expect_status(201).json()["auth_token"].as_str().unwrap().to_owned();
    let with_key = api.with_token(&token);
    with_key.get(&path).await.expect_status(200);
    let made = api.put(&path, &json!({"data": {}})).await.expect_status(201).data();
    let new = made["api_key"].as_str().unwrap();
    assert!(new.len() == 64 && new != platform.tenant.api_key);
    with_key.get(&path).await.expect_status(401);
    by(&platform.tenant.api_key).await.expect_status(404);
    by(new).await.expect_status(201);
    api.get(&path).await.expect_status(200);
}

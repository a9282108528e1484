//! Users: changed, deleted, and kept to themselves.

use serde_json::json;
use testkit::Api;

use crate::fixture::{Platform, login, plain_user, user_of};

fn users(platform: &Platform) -> String {
    format!("/v2/accounts/{}/users", platform.tenant.id)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_replaced_patched_and_deleted() {
    let platform = Platform::start().await;
    let (pat, id) = plain_user(&platform).await;
    let (api, path) = (&platform.tenant.api, format!("{}/{id}", users(&platform)));
    let before = api.get(&path).await.expect_status(200);
    let revision = before.header("etag").unwrap().to_owned();
    let conditional = api.request(reqwest::Method::GET, &path).header("if-none-match", &revision);
    api.send(conditional).await.expect_status(304);

    let patched = api.patch(&path, &json!({"data": {"email": "pat@acme.example", "timezone": null}})).await;
    assert_eq!(patched.expect_status(200).data()["email"], "pat@acme.example");
    let stale = api.request(reqwest::Method::PATCH, &path).header("if-match", &revision);
    let stale =
        stale.header("content-type", "application/json").body(json!({"data": {"email": "x@y.example"}}).to_string());
    api.send(stale).await.expect_status(412);
    let whole =
        json!({"data": {"first_name": "Patricia", "last_name": "Plain", "username": "pat", "ui": {"theme": 2}}});
    let replaced = api.post(&path, &whole).await.expect_status(200).data();
    assert_eq!((&replaced["first_name"], replaced.get("email")), (&json!("Patricia"), None));
    assert_eq!((&replaced["priv_level"], &replaced["enabled"]), (&json!("user"), &json!(true)));
    assert!(!replaced.to_string().contains("password") && !replaced.to_string().contains("auth"), "{replaced}");
    // The password stayed, and with it the token.
    pat.get(&path).await.expect_status(200);
    login(api, "Acme", "pat").await;

    let storage = format!("{path}/storage");
    let gone = api.delete(&path).await.expect_status(200).data();
    assert_eq!(gone["_read_only"]["deleted"], true);
    pat.get(&path).await.expect_status(401);
    api.get(&path).await.expect_status(404);
    api.delete(&path).await.expect_status(404);
    assert_ne!(api.get(&storage).await.status, 200);
    let again = user_of(api, &platform.tenant.id, "pat", "user").await;
    assert_ne!(again, id, "the name is free");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_no_admin_changes_only_themselves_and_not_what_they_may() {
    let platform = Platform::start().await;
    let (pat, id) = plain_user(&platform).await;
    let own = format!("{}/{id}", users(&platform));
    pat.patch(&own, &json!({"data": {"email": "pat@acme.example"}})).await.expect_status(200);
    let whole = pat.get(&own).await.data();
    pat.post(&own, &json!({"data": whole})).await.expect_status(200);
    for change in [json!({"priv_level": "admin"}), json!({"enabled": false})] {
        let refused = pat.patch(&own, &json!({"data": change})).await.expect_status(400).data();
        assert!(refused.as_object().unwrap().values().all(|fault| fault["forbidden"].is_object()), "{refused}");
    }
    let other = format!("{}/{}", users(&platform), platform.tenant.user_id);
    for answer in [
        pat.get(&other).await,
        pat.patch(&other, &json!({"data": {"email": "x@y.example"}})).await,
        pat.delete(&other).await,
        pat.delete(&own).await,
        pat.delete(&format!("{other}/tokens")).await,
    ] {
        answer.expect_status(403);
    }
    // A change of role counts at once, in both directions.
    let storage = platform.storage();
    platform.tenant.api.patch(&own, &json!({"data": {"priv_level": "admin"}})).await.expect_status(200);
    pat.put(&storage, &json!({"data": {}})).await.expect_status(201);
    platform.tenant.api.patch(&own, &json!({"data": {"priv_level": "user"}})).await.expect_status(200);
    pat.patch(&storage, &json!({"data": {"note": 1}})).await.expect_status(403);
    platform.tenant.api.patch(&own, &json!({"data": {"enabled": false}})).await.expect_status(200);
    pat.get(&own).await.expect_status(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_or_name_ends_the_old_tokens() {
    let platform = Platform::start().await;
    let (pat, id) = plain_user(&platform).await;
    let (api, path) = (&platform.tenant.api, format!("{}/{id}", users(&platform)));
    let digest = async |user: &str, password: &str| {
        let credentials = Api::credentials(user, password);
        api.anonymous()
            .put("/v2/user_auth", &json!({"data": {"account_name": "Acme", "credentials": credentials}}))
            .await
    };
    pat.patch(&path, &json!({"data": {"password": "open-sesame"}})).await.expect_status(200);
    pat.get(&path).await.expect_status(401);
    digest("pat", "sesame-shut").await.expect_status(401);
    let again = digest("pat", "open-sesame").await.expect_status(201);
    let again = api.with_token(again.json()["auth_token"].as_str().unwrap());
    // The old digest does not fit a new name.
    let refused = api.patch(&path, &json!({"data": {"username": "patricia"}})).await.expect_status(400).data();
    assert!(refused["password"]["required"].is_object(), "{refused}");
    api.patch(&path, &json!({"data": {"username": "Patricia", "password": "open-sesame"}})).await.expect_status(200);
    again.get(&path).await.expect_status(401);
    digest("patricia", "open-sesame").await.expect_status(201);
    digest("pat", "open-sesame").await.expect_status(401);
    let taken = json!({"data": {"username": "ADMIN", "password": "open-sesame"}});
    let taken = api.patch(&path, &taken).await.expect_status(400).data();
    assert!(taken["username"]["unique"].is_object(), "{taken}");
}

#[tokio::test(flavor = "multi_thread")]
async fn users_are_listed_in_pages_by_filters_and_all_at_once() {
    let platform = Platform::start().await;
    let api = &platform.tenant.api;
    for name in ["ann", "bob", "cem"] {
        user_of(api, &platform.tenant.id, name, "user").await;
    }
    let path = users(&platform);
    let first = api.get(&format!("{path}?page_size=3")).await.expect_status(200).json();
    assert_eq!(first["data"].as_array().unwrap().len(), 3);
    let next = first["next_start_key"].as_str().unwrap();
    let second = api.get(&format!("{path}?page_size=3&start_key={next}")).await.expect_status(200).json();
    assert_eq!((second["data"].as_array().unwrap().len(), second.get("next_start_key")), (1, None));
    let all = api.get(&format!("{path}?paginate=false&_=1700000000000")).await.expect_status(200).json();
    assert_eq!((all["data"].as_array().unwrap().len(), all.get("page_size")), (4, None));
    let bob = api.get(&format!("{path}?filter_username=bob")).await.data();
    assert_eq!((bob[0]["username"].as_str(), bob.as_array().unwrap().len()), (Some("bob"), 1));
}

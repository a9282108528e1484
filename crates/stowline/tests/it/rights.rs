//! Who may do what: authentication before existence, the declared matrix, tokens that end.

use serde_json::json;
use testkit::Api;

use super::fixture::{CONFIG, Platform, bucket, plain_user};

mod logins;
mod matrix;
mod tree;
mod users;

#[tokio::test(flavor = "multi_thread")]
async fn an_anonymous_caller_learns_nothing() {
    let platform = Platform::start().await;
    let anonymous = platform.tenant.api.anonymous();
    let ids = [platform.tenant.id.as_str(), "00000000000000000000000000000000", "short"];
    let paths = ["", "/storage", "/users", "/vmboxes", "/storage/deliveries", "/nothing"];
    for id in ids {
        for path in paths {
            let answer = anonymous.get(&format!("/v2/accounts/{id}{path}")).await.expect_status(401).json();
            assert_eq!(answer["message"], "invalid_credentials");
            assert_eq!(answer["data"], json!({"message": "invalid credentials"}));
        }
    }
    anonymous.get("/v2/nothing").await.expect_status(401);
    platform.tenant.api.get("/v2/nothing").await.expect_status(404);
    platform.tenant.api.get("/v1/accounts").await.expect_status(410);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_are_none_are_refused() {
    let platform = Platform::start().await;
    let path = platform.storage();
    let good = platform.tenant.api.token().unwrap().to_owned();
    let (head, rest) = good.split_once('.').unwrap();
    let none = format!("eyJhbGciOiJub25lIn0.{}.", rest.split('.').next().unwrap());
    let flipped = format!("{head}.{}x", rest);
    for bad in ["x", "a.b.c", &none, &flipped, &good[..good.len() - 2]] {
        platform.tenant.api.with_token(bad).get(&path).await.expect_status(401);
    }
    let bearer = platform.tenant.api.anonymous();
    let request = bearer.request(reqwest::Method::GET, &path).header("authorization", format!("Bearer {good}"));
    bearer.send(request).await.expect_status(404);
    bearer.get(&format!("{path}?auth_token={good}")).await.expect_status(404);
    bearer.get(&format!("{path}?authorization=Bearer%20{good}")).await.expect_status(404);
    bearer.get(&format!("{path}?authorization={good}")).await.expect_status(401);
    let said = json!({"data": {"authorization": format!("Bearer {good}"), "note": 1}});
    let made = bearer.put(&path, &said).await.expect_status(201).data();
    assert_eq!(made, json!({"id": platform.tenant.id, "note": 1}), "it is not kept");
    bearer.send(bearer.request(reqwest::Method::DELETE, &format!("{path}?auth_token={good}"))).await.expect_status(200);
    bearer.put(&path, &json!({"data": {}, "auth_token": good})).await.expect_status(201);
    let other = bearer
        .request(reqwest::Method::GET, &path)
        .header("x-auth-token", &good)
        .header("x-auth-account-id", &platform.master.id);
    bearer.send(other).await.expect_status(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn storage_is_changed_by_admins_resellers_and_super_admins_only() {
    let platform = Platform::start().await;
    let path = platform.storage();
    let (pat, _) = plain_user(&platform).await;
    pat.put(&path, &json!({"data": {}})).await.expect_status(403);
    let (server, settings) = bucket();
    platform.route_voicemail_to(settings).await;
    // A user of the account may look, and sees no secret; nothing may be changed.
    let shown = pat.get(&path).await.expect_status(200).data();
    assert!(!shown.to_string().contains(server.secret_key()), "{shown}");
    for answer in [
        pat.patch(&path, &json!({"data": {"note": 1}})).await,
        pat.post(&path, &json!({"data": {}})).await,
        pat.delete(&path).await,
        pat.get(&format!("{path}/deliveries")).await,
    ] {
        answer.expect_status(403);
    }
    // A neighbour may nothing, a child of the tenant neither.
    let neighbour = platform
        .master
        .api
        .put("/v2/accounts", &json!({"data": {"name": "Neighbour"}}))
        .await
        .expect_status(201)
        .data();
    let neighbour = neighbour["id"].as_str().unwrap();
    platform.tenant.api.get(&format!("/v2/accounts/{neighbour}/storage")).await.expect_status(403);
    // The master may everything; so may a token from the account's API key.
    platform.master.api.patch(&path, &json!({"data": {"note": 1}})).await.expect_status(200);
    let anonymous = Api::new(&platform.program.url());
    let key =
        anonymous.put("/v2/api_auth", &json!({"data": {"api_key": platform.tenant.api_key}})).await.expect_status(201);
    let token = key.json()["auth_token"].as_str().unwrap().to_owned();
    assert!(key.data()["owner_id"].is_null());
    anonymous.with_token(&token).patch(&path, &json!({"data": {"note": 2}})).await.expect_status(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn logins_that_fail_say_nothing_of_why() {
    let platform = Platform::start().await;
    let anonymous = Api::new(&platform.program.url());
    let login = async |account: &str, user: &str, password: &str| {
        let data = json!({"credentials": Api::credentials(user, password), "account_name": account});
        anonymous.put("/v2/user_auth", &json!({"data": data})).await
    };
    let wrong = [
        login("Acme", "admin", "wrong").await,
        login("Nobody", "admin", "sesame-open").await,
        login("Acme", "x", "y").await,
    ];
    for answer in wrong {
        assert_eq!(answer.expect_status(401).json()["data"], json!({"message": "invalid credentials"}));
    }
    login("a.c-m e", "admin", "sesame-open").await.expect_status(201);
    let realm = json!({"credentials": Api::credentials("admin", "sesame-open"), "account_realm": "acme.example", "method": "md5"});
    let answer = anonymous.put("/v2/user_auth", &json!({"data": realm})).await.expect_status(201);
    assert_eq!(answer.data()["account_id"], platform.tenant.id.as_str());
    assert_eq!(answer.data()["owner_id"], platform.tenant.user_id.as_str());
    let unknown = anonymous.put("/v2/api_auth", &json!({"data": {"api_key": "0".repeat(64)}})).await.expect_status(404);
    assert!(!unknown.json().to_string().contains(&"0".repeat(64)));
    let short = anonymous.put("/v2/api_auth", &json!({"data": {"api_key": "abc"}})).await.expect_status(400);
    assert!(short.data()["api_key"]["minLength"].is_object());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_expires_and_ends_with_its_account() {
    let short = Platform::with(&format!("{CONFIG}\n[api]\ntoken_lifetime = \"2s\"")).await;
    let path = format!("/v2/accounts/{}", short.tenant.id);
    short.tenant.api.get(&path).await.expect_status(200);
    super::fixture::until("the token has expired", async || short.tenant.api.get(&path).await.status == 401).await;

    let platform = Platform::start().await;
    let path = format!("/v2/accounts/{}", platform.tenant.id);
    platform.master.api.patch(&path, &json!({"data": {"enabled": false}})).await.expect_status(200);
    platform.tenant.api.get(&path).await.expect_status(423);
    platform.master.api.patch(&path, &json!({"data": {"enabled": true}})).await.expect_status(200);
    platform.tenant.api.get(&path).await.expect_status(200);
    platform.tenant.api.delete(&path).await.expect_status(403);
    platform.master.api.delete(&path).await.expect_status(200);
    platform.tenant.api.get(&path).await.expect_status(401);
    platform.master.api.get(&path).await.expect_status(404);
    let again =
        platform.master.api.put("/v2/accounts", &json!({"data": {"name": "Acme", "realm": "acme.example"}})).await;
    again.expect_status(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_and_users_are_made_read_and_listed() {
    let platform = Platform::start().await;
    let child = platform
        .tenant
        .api
        .put(&format!("/v2/accounts/{}", platform.tenant.id), &json!({"data": {"name": "Branch"}}))
        .await;
    let child = child.expect_status(201).data();
    let child_path = format!("/v2/accounts/{}", child["id"].as_str().unwrap());
    assert_eq!(platform.tenant.api.get(&child_path).await.expect_status(200).data()["name"], "Branch");
    assert_eq!(platform.tenant.api.get(&child_path).await.data().get("pvt_api_key"), None);
    let taken =
        platform.tenant.api.put("/v2/accounts", &json!({"data": {"name": "branch!"}})).await.expect_status(400).data();
    assert!(taken["name"]["unique"].is_object(), "{taken}");
    let children = platform.tenant.api.get(&format!("/v2/accounts/{}/children", platform.tenant.id)).await.data();
    assert_eq!(children[0]["name"], "Branch");
    let (pat, pat_id) = plain_user(&platform).await;
    let users = format!("/v2/accounts/{}/users", platform.tenant.id);
    assert_eq!(platform.tenant.api.get(&users).await.data().as_array().unwrap().len(), 2);
    assert_eq!(pat.get(&users).await.data().as_array().unwrap().len(), 1);
    let own = pat.get(&format!("{users}/{pat_id}")).await.expect_status(200).data();
    assert_eq!((own["username"].as_str(), own.get("password")), (Some("pat"), None));
    pat.get(&format!("{users}/{}", platform.tenant.user_id)).await.expect_status(403);
    pat.put(&users, &json!({"data": {"first_name": "a", "last_name": "b"}})).await.expect_status(403);
    pat.put("/v2/accounts", &json!({"data": {"name": "c"}})).await.expect_status(403);
    let own_alias = pat.get("/v2/account").await.expect_status(200).data();
    assert_eq!(own_alias["id"], platform.tenant.id.as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn browsers_may_ask_first_and_read_errors() {
    let platform = Platform::start().await;
    let anonymous = platform.tenant.api.anonymous();
    let preflight =
        anonymous.send(anonymous.request(reqwest::Method::OPTIONS, &platform.storage())).await.expect_status(200);
    assert!(preflight.header("access-control-allow-methods").unwrap().contains("PATCH"));
    let refused = anonymous.get(&platform.storage()).await.expect_status(401);
    assert_eq!(refused.header("access-control-allow-origin"), Some("*"));
    let tunnelled = platform.tenant.api.post(&format!("{}?verb=PUT", platform.storage()), &json!({"data": {}})).await;
    tunnelled.expect_status(201);
    let wrong = platform.tenant.api.put("/v2/accounts/x/children", &json!({"data": {}})).await;
    wrong.expect_status(405);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_that_names_another_account_as_its_owner_does_not_get_its_storage() {
    let platform = Platform::start().await;
    let (server, settings) = bucket();
    platform.route_voicemail_to(settings).await;
    let boxes = format!("/v2/accounts/{}/vmboxes", platform.master.id);
    let made = json!({"data": {"name": "Thief", "mailbox": "1", "owner_id": platform.tenant.id}});
    let made = platform.master.api.put(&boxes, &made).await.expect_status(201).data();
    let mailbox = format!("{boxes}/{}", made["id"].as_str().unwrap());
    let about = json!({"data": {}});
    let (put, path) = (reqwest::Method::PUT, format!("{mailbox}/messages"));
    platform
        .master
        .api
        .multipart(put, &path, &about, "v.wav", "audio/wav", testkit::VOICEMAIL_WAV)
        .await
        .expect_status(201);
    let deliveries = format!("/v2/accounts/{}/storage/deliveries", platform.master.id);
    assert_eq!(platform.master.api.get(&deliveries).await.data(), json!([]));
    assert!(server.keys("recordings").is_empty(), "it stays with its own account");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_shows_no_token_cannot_make_the_server_read_much_and_a_token_is_never_kept() {
    let platform = Platform::start().await;
    let big = json!({"data": {"note": "x".repeat(200_000)}});
    platform.tenant.api.anonymous().put(&platform.storage(), &big).await.expect_status(413);
    platform.tenant.api.put(&platform.storage(), &big).await.expect_status(201);
    let token = platform.tenant.api.token().unwrap();
    let inside = json!({"data": {"auth_token": token, "note": 1}});
    platform.tenant.api.anonymous().post(&platform.storage(), &inside).await.expect_status(200);
    let shown = platform.tenant.api.get(&platform.storage()).await.expect_status(200).data();
    assert_eq!(shown.get("auth_token"), None);
}

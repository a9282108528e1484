//! Logins and tokens: proofs of both kinds, limits, ends.

use serde_json::{Value, json};
use testkit::{Answer, Api};

use crate::fixture::{CONFIG, Platform, plain_user, reconfigure};

async fn try_login(api: &Api, data: Value) -> Answer {
    api.anonymous().put("/v2/user_auth", &json!({"data": data})).await
}

fn by_password(password: &str) -> Value {
    json!({"account_name": "Acme", "username": "Admin", "password": password})
}

fn by_digest(password: &str) -> Value {
    json!({"account_name": "Acme", "credentials": Api::credentials("admin", password)})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_by_username_and_password_needs_no_digest() {
    let platform = Platform::with(&format!("{CONFIG}\n[login]\ndigests = true")).await;
    let api = &platform.tenant.api;
    let welcome = try_login(api, by_password("sesame-open")).await.expect_status(201);
    assert_eq!(welcome.data()["owner_id"], platform.tenant.user_id.as_str());
    let token = welcome.json()["auth_token"].as_str().unwrap().to_owned();
    assert_eq!(token.split('.').count(), 3, "it looks like a JWT");
    for wrong in [
        by_password("sesame-shut"),
        json!({"account_name": "Acme", "username": "nobody", "password": "sesame-open"}),
        json!({"account_realm": "nowhere.example", "username": "admin", "password": "sesame-open"}),
    ] {
        try_login(api, wrong).await.expect_status(401);
    }
    for (realm, code) in [("abc", "minLength"), ("no where.example", "pattern"), (&"x".repeat(254), "maxLength")] {
        let data = json!({"account_realm": realm, "username": "admin", "password": "sesame-open"});
        let refused = try_login(api, data).await.expect_status(400).data();
        assert!(refused["account_realm"][code].is_object(), "{realm}: {refused}");
    }
    let nothing = try_login(api, json!({"account_name": "Acme", "username": 5})).await.expect_status(400).data();
    assert!(nothing["username"]["type"].is_object() && nothing["password"]["required"].is_object(), "{nothing}");
}

#[tokio::test(flavor = "multi_thread")]
async fn basic_takes_a_token_or_an_account_with_the_digest_of_a_login() {
    let mut platform = Platform::with(&format!("{CONFIG}\n[login]\ndigests = true")).await;
    let account = platform.tenant.id.clone();
    let token = platform.tenant.api.token().unwrap().to_owned();
    let (right, wrong) = (Api::credentials("admin", "sesame-open"), Api::credentials("admin", "sesame-shut"));
    let url = platform.program.url();
    let ask = async |url: &str, path: &str, user: &str, password: &str| {
        let api = Api::new(url);
        let request = api.request(reqwest::Method::GET, path).basic_auth(user, Some(password));
        api.send(request).await
    };
    let path = format!("/v2/accounts/{account}");
    for (user, password) in [("anybody", &*token), (&*token, ""), (&*account, &*right)] {
        ask(&url, &path, user, password).await.expect_status(200);
        let own = ask(&url, "/v2/account", user, password).await.expect_status(200).data();
        assert_eq!(own["id"], account.as_str(), "{user}");
    }
    let master = platform.master.id.clone();
    for (user, password) in
        [(&*account, &*wrong), ("admin", "sesame-open"), (&*account, "sesame-open"), (&*account, "")]
    {
        ask(&url, &path, user, password).await.expect_status(401);
    }
    // What may be done by it is what its user may do.
    ask(&url, &format!("/v2/accounts/{master}"), &account, &right).await.expect_status(403);
    reconfigure(&mut platform.program, &format!("{CONFIG}\n[login]\ndigests = false"));
    let url = platform.program.url();
    ask(&url, &path, &account, &right).await.expect_status(401);
    ask(&url, &path, "anybody", &token).await.expect_status(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_of_a_password_is_argon2() {
    let platform = Platform::start().await;
    let store = std::fs::read_dir(platform.program.data_dir()).unwrap().map(|entry| entry.unwrap().path());
    let bytes: Vec<u8> = store.filter(|file| file.is_file()).flat_map(|file| std::fs::read(file).unwrap()).collect();
    let holds = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds("$argon2id$v=19$m="));
    for password in ["sesame-open", &Api::credentials("admin", "sesame-open")] {
        assert!(!holds(password), "{password}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_digests_are_off_only_the_password_counts() {
    let mut platform = Platform::start().await;
    reconfigure(&mut platform.program, &format!("{CONFIG}\n[login]\ndigests = false"));
    let api = Api::new(&platform.program.url());
    try_login(&api, by_digest("sesame-open")).await.expect_status(401);
    try_login(&api, by_password("sesame-open")).await.expect_status(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn logins_that_fail_too_often_are_answered_429_the_right_password_too() {
    let platform = Platform::with(&format!("{CONFIG}\n[login]\nattempts = 3\nwindow = \"1h\"")).await;
    let api = &platform.tenant.api;
    // Logins that succeed do not count.
    for _ in 0..5 {
        try_login(api, by_password("sesame-open")).await.expect_status(201);
    }
    for _ in 0..3 {
        try_login(api, by_digest("wrong")).await.expect_status(401);
    }
    for data in [by_digest("wrong"), by_password("wrong"), by_password("sesame-open"), by_digest("sesame-open")] {
        let held = try_login(api, data).await.expect_status(429);
        assert_eq!(
            (held.json()["message"].as_str(), held.json()["error"].as_str()),
            (Some("too_many_requests"), Some("429"))
        );
        let wait: u64 = held.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=1201).contains(&wait), "{wait}");
        assert_eq!(held.header("access-control-allow-origin"), Some("*"));
    }
    // Others get in: another account from here, the same account from elsewhere, and who has a token.
    let master = json!({"account_name": "Master", "username": "admin", "password": "sesame-open"});
    try_login(api, master).await.expect_status(201);
    let elsewhere = api.anonymous();
    let login = json!({"data": by_password("sesame-open")}).to_string();
    let request = elsewhere.request(reqwest::Method::PUT, "/v2/user_auth").header("x-forwarded-for", "198.51.100.7");
    elsewhere.send(request.body(login)).await.expect_status(201);
    api.get(&format!("/v2/accounts/{}", platform.tenant.id)).await.expect_status(200);
    // API keys are counted for themselves.
    for _ in 0..3 {
        api.anonymous().put("/v2/api_auth", &json!({"data": {"api_key": "0".repeat(64)}})).await.expect_status(404);
    }
    let key = json!({"data": {"api_key": platform.tenant.api_key}});
    api.anonymous().put("/v2/api_auth", &key).await.expect_status(429);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_stays_revoked_after_a_restart() {
    let mut platform = Platform::start().await;
    let api = &platform.tenant.api;
    let path = format!("/v2/accounts/{}", platform.tenant.id);
    let other = try_login(api, by_password("sesame-open")).await.json()["auth_token"].as_str().unwrap().to_owned();
    let other = api.with_token(&other);
    let told = api.get("/v2/token_auth").await.expect_status(200).data();
    assert_eq!(
        (told["account_id"].as_str(), told["owner_id"].as_str()),
        (Some(&*platform.tenant.id), Some(&*platform.tenant.user_id))
    );
    api.delete("/v2/token_auth").await.expect_status(200);
    api.get(&path).await.expect_status(401);
    api.get("/v2/token_auth").await.expect_status(401);
    other.get(&path).await.expect_status(200);
    platform.program.restart();
    let again = platform.program.url();
    api.at(&again).get(&path).await.expect_status(401);
    other.at(&again).get(&path).await.expect_status(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_tokens_of_a_user_are_ended_by_the_user_or_an_admin() {
    let platform = Platform::start().await;
    let (pat, id) = plain_user(&platform).await;
    let path = format!("/v2/accounts/{}/users/{id}", platform.tenant.id);
    pat.delete(&format!("{path}/tokens")).await.expect_status(200);
    pat.get(&path).await.expect_status(401);
    let again = crate::fixture::login(&pat, "Acme", "pat").await;
    again.get(&path).await.expect_status(200);
    platform.tenant.api.delete(&format!("{path}/tokens")).await.expect_status(200);
    again.get(&path).await.expect_status(401);
    platform.tenant.api.get(&path).await.expect_status(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_token_says_is_told_to_who_has_it() {
    let platform = Platform::start().await;
    let api = &platform.tenant.api;
    let token = api.token().unwrap();
    let anonymous = api.anonymous();
    let asked = [
        anonymous.post("/v2/auth/tokeninfo", &json!({"data": {"token": token}})).await,
        anonymous.get(&format!("/v2/auth/tokeninfo?token={token}")).await,
        anonymous.get(&format!("/v2/user_auth/{token}")).await,
    ];
    for answer in asked {
        let told = answer.expect_status(200).data();
        assert_eq!(told["account_id"], platform.tenant.id.as_str());
        assert_eq!(told["owner_id"], platform.tenant.user_id.as_str());
        assert_eq!((told["method"].as_str(), told["account_name"].as_str()), (Some("cb_user_auth"), Some("Acme")));
    }
    for bad in [json!({"token": "a.b.c"}), json!({"token": format!("{token}x")})] {
        anonymous.post("/v2/auth/tokeninfo", &json!({"data": bad})).await.expect_status(401);
    }
    anonymous.post("/v2/auth/tokeninfo", &json!({"data": {}})).await.expect_status(400);
    assert!(!platform.program.log().contains(token), "a token in a path does not reach the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_super_admin_acts_for_a_user_and_both_are_in_the_audit_trail() {
    let platform = Platform::start().await;
    let (pat, id) = crate::fixture::plain_user(&platform).await;
    let path = format!("/v2/accounts/{}/users/{id}/user_auth", platform.tenant.id);
    let wish = json!({"data": {"action": "impersonate_user"}});
    platform.tenant.api.put(&path, &wish).await.expect_status(403);
    pat.put(&path, &wish).await.expect_status(403);
    let master = &platform.master.api;
    assert!(master.put(&path, &json!({"data": {}})).await.expect_status(400).data()["action"]["enum"].is_object());
    let unknown = path.replace(&id, &"f".repeat(32));
    master.put(&unknown, &wish).await.expect_status(404);
    let answer = master.put(&path, &wish).await.expect_status(201).json();
    assert_eq!((&answer["data"]["account_id"], &answer["data"]["owner_id"]), (&json!(platform.tenant.id), &json!(id)));
    let acting = pat.with_token(answer["auth_token"].as_str().unwrap());
    let told = acting.get("/v2/token_auth").await.expect_status(200).data();
    assert_eq!(told["original_account_id"], platform.master.id.as_str());
    assert_eq!(told["original_owner_id"], platform.master.user_id.as_str());
    // No more than the user may, and not on behalf of somebody else again.
    acting.put(&platform.storage(), &json!({"data": {}})).await.expect_status(403);
    acting.put(&path, &wish).await.expect_status(403);
    let own = format!("/v2/accounts/{}/users/{id}/storage", platform.tenant.id);
    acting.put(&own, &json!({"data": {}})).await.expect_status(201);
    let audit = platform.tenant.api.get(&format!("{}/audit", platform.storage())).await.expect_status(200).data();
    let change = audit.as_array().unwrap().iter().find(|entry| entry["outcome"] == "changed").unwrap().clone();
    assert_eq!(change["caller"]["user_id"], id.as_str());
    assert_eq!(
        change["caller"]["impersonated_by"],
        json!({"account_id": platform.master.id, "user_id": platform.master.user_id})
    );
    // It ends with the user's password, as every token of theirs does.
    let path = format!("/v2/accounts/{}/users/{id}", platform.tenant.id);
    platform.tenant.api.patch(&path, &json!({"data": {"password": "another-one"}})).await.expect_status(200);
    acting.get("/v2/token_auth").await.expect_status(401);
}

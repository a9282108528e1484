//! The way back: only a state that was begun here is believed, once and for a while, in the session and the browser that it is bound to, and nothing of
//! the request is shown.

use serde_json::json;
use testkit::{Api, GoogleDrive};

use super::{beside, come_back, config, say_yes, start};
use crate::fixture::{Platform, plain_user, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_state_is_good_once_and_for_nobody_else() {
    let drive = GoogleDrive::start();
    let (platform, _) = beside(&drive).await;
    let (api, storage) = (&platform.tenant.api, platform.storage());
    let location = say_yes(&start(api, &storage, "google", "").await).await;
    come_back(&location, 200).await;
    let again = come_back(&location, 400).await;
    assert!(again.contains("good once"), "{again}");
    // A state that nobody gave; none at all; a code that the provider did not give.
    let callback = format!("{}/v2/storage/oauth/callback", api.url());
    for query in ["?code=x&state=y", "?state=", "", "?error=access_denied", "?code=x&state=%00%ff"] {
        come_back(&format!("{callback}{query}"), 400).await;
    }
    let (begun, _) = location.split_once("code=").unwrap();
    let other = say_yes(&start(api, &storage, "google", "").await).await;
    let (_, state) = other.split_once("&state=").unwrap();
    let refused = come_back(&format!("{begun}code=hunter2-made-up&state={state}"), 400).await;
    assert!(refused.contains("invalid_grant") && !refused.contains("hunter2"), "{refused}");
    // That ended it, whatever came of it.
    come_back(&other, 400).await;
    // What was begun for one account is of that account, whoever comes back.
    let all = api.get(&format!("{storage}/oauth/consents")).await.expect_status(200).data();
    assert_eq!(all.as_array().unwrap().len(), 1, "{all}");
    let masters = platform.master.api.get("/v2/storage/oauth/consents").await.expect_status(200).data();
    assert_eq!(masters, json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_the_request_is_in_the_page() {
    let drive = GoogleDrive::start();
    let (platform, _) = beside(&drive).await;
    let (api, storage) = (&platform.tenant.api, platform.storage());
    let callback = format!("{}/v2/storage/oauth/callback", api.url());
    let state = async || {
        let url = start(api, &storage, "google", "name=%3Cscript%3Ealert(1)%3C/script%3E").await;
        url.split("state=").nth(1).unwrap().split('&').next().unwrap().to_owned()
    };
    let declined = come_back(&format!("{callback}?error=access_denied&state={}", state().await), 400).await;
    assert!(declined.contains("do not consent"), "{declined}");
    let odd = "error=%3Cscript%3Ealert(1)%3C/script%3E&error_description=%3Cscript%3E";
    let odd = come_back(&format!("{callback}?{odd}&state={}", state().await), 400).await;
    assert!(odd.contains("Google refused.") && !odd.contains("script"), "{odd}");
    let named = say_yes(&start(api, &storage, "google", "name=%3Cscript%3Ealert(1)%3C/script%3E").await).await;
    let named = come_back(&named, 200).await;
    assert!(named.contains("&lt;script&gt;") && !named.contains("<script"), "{named}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_too_long_begins_anew() {
    let drive = GoogleDrive::start();
    let config = config(drive.tokens(), &drive.url());
    let platform = Platform::with(&config.replace("[oauth]\n", "[oauth]\nconsent_time = \"1s\"\n")).await;
    super::register(&platform.master.api, drive.tokens(), "/v2/storage", "google").await;
    let location = say_yes(&start(&platform.tenant.api, &platform.storage(), "google", "").await).await;
    let begun = std::time::Instant::now();
    // Whole seconds are counted.
    until("it is too late", async || begun.elapsed() > std::time::Duration::from_secs(3)).await;
    let late = come_back(&location, 400).await;
    assert!(late.contains("too long"), "{late}");
    come_back(&location, 400).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_any_more_does_not_end_what_they_began() {
    let drive = GoogleDrive::start();
    let (platform, _) = beside(&drive).await;
    let (api, storage) = (&platform.tenant.api, platform.storage());
    let (pat, user) = plain_user(&platform).await;
    pat.get(&format!("{storage}/oauth/google/start")).await.expect_status(403);
    platform.master.api.get("/v2/storage/oauth/nowhere/start").await.expect_status(404);
    let own = format!("/v2/accounts/{}/users/{user}/storage", platform.tenant.id);
    let location = say_yes(&start(&pat, &own, "google", "").await).await;
    let path = format!("/v2/accounts/{}/users/{user}", platform.tenant.id);
    api.patch(&path, &json!({"data": {"enabled": false}})).await.expect_status(200);
    let refused = come_back(&location, 403).await;
    assert!(refused.contains("may not change"), "{refused}");
    let all = api.get(&format!("{own}/oauth/consents")).await.expect_status(200).data();
    assert_eq!(all, json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_logs_out_or_changes_their_password_ends_what_they_began() {
    let drive = GoogleDrive::start();
    let (platform, _) = beside(&drive).await;
    let storage = platform.storage();
    let user = format!("/v2/accounts/{}/users/{}", platform.tenant.id, platform.tenant.user_id);
    let login = async |password: &str| Api::new(&platform.program.url()).login("Acme", "admin", password).await.0;
    // Logged out: a session of its own, beside that of the tenant, whose beginning is not ended by it.
    let (api, other) = (login("sesame-open").await, login("sesame-open").await);
    let location = say_yes(&start(&api, &storage, "google", "").await).await;
    let others = say_yes(&start(&other, &storage, "google", "").await).await;
    api.delete("/v2/token_auth").await.expect_status(200);
    let refused = come_back(&location, 403).await;
    assert!(refused.contains("logged out"), "{refused}");
    come_back(&others, 200).await;
    // Another password.
    let location = say_yes(&start(&other, &storage, "google", "").await).await;
    let change = json!({"data": {"password": "sesame-shut-again"}});
    platform.master.api.patch(&user, &change).await.expect_status(200);
    come_back(&location, 403).await;
    let api = login("sesame-shut-again").await;
    let all = api.get(&format!("{storage}/oauth/consents")).await.expect_status(200).data();
    assert_eq!(all.as_array().unwrap().len(), 1, "{all}");
}

/// A browser that follows nobody: where it is sent, and the cookie that it is given.
async fn sent(api: &Api, path: &str) -> (String, String) {
    let browser = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let url = format!("{}{path}&redirect=true&auth_token={}", api.url(), api.token().unwrap());
    let answer = browser.get(url).send().await.unwrap();
    assert_eq!(answer.status(), 302);
    let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
    assert_eq!((header("referrer-policy"), header("cache-control")), ("no-referrer".into(), "no-store".into()));
    let cookie = header("set-cookie");
    for said in ["HttpOnly", "SameSite=Lax", "Path=/v2/storage/oauth/callback", "Max-Age=600"] {
        assert!(cookie.contains(said), "{cookie}");
    }
    (header("location"), cookie.split(';').next().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_browser_began_ends_in_that_browser() {
    let drive = GoogleDrive::start();
    let (platform, _) = beside(&drive).await;
    let (api, storage) = (&platform.tenant.api, platform.storage());
    let path = format!("{storage}/oauth/google/start?name=Dana");
    let (url, cookie) = sent(api, &path).await;
    // Without the cookie, or with that of another beginning: nobody ends it, and that ended it.
    let (_, others) = sent(api, &path).await;
    for shown in ["", &others] {
        let (url, _) = sent(api, &path).await;
        let answer = back(&say_yes(&url).await, shown).await;
        assert_eq!(answer.status(), 403);
        assert!(answer.text().await.unwrap().contains("another browser"));
    }
    let all = async || api.get(&format!("{storage}/oauth/consents")).await.expect_status(200).data();
    assert_eq!(all().await, json!([]));
    let answer = back(&say_yes(&url).await, &format!("a=b; {cookie}; c=d")).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(all().await.as_array().unwrap().len(), 1);
    // Where it must be so, no address is handed out.
    let config = config(drive.tokens(), &drive.url()).replace("[oauth]\n", "[oauth]\nsame_browser = true\n");
    let platform = Platform::with(&config).await;
    super::register(&platform.master.api, drive.tokens(), "/v2/storage", "google").await;
    let path = format!("{}/oauth/google/start?name=Dana", platform.storage());
    let refused = platform.tenant.api.get(&path).await.expect_status(400).data();
    assert!(refused["redirect"]["required"].is_object(), "{refused}");
    let (url, cookie) = sent(&platform.tenant.api, &path).await;
    assert_eq!(back(&say_yes(&url).await, &cookie).await.status(), 200);
}

/// A browser comes back with a cookie.
async fn back(location: &str, cookie: &str) -> reqwest::Response {
    reqwest::Client::new().get(location).header("cookie", cookie).send().await.unwrap()
}

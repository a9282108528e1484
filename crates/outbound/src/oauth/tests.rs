use std::sync::{Arc, Mutex as Log};

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use serde_json::json;
use tokio::net::TcpListener;

use super::*;
use crate::Policy;

type Forms = Arc<Log<Vec<Vec<(String, String)>>>>;

/// A token endpoint that gives `answer`, and what it was sent.
async fn endpoint(status: u16, answer: Value) -> (Url, Forms) {
    let forms = Forms::default();
    let answer = (StatusCode::from_u16(status).unwrap(), answer.to_string());
    let router = Router::new()
        .route(
            "/token",
            post(move |State(forms): State<Forms>, body: String| async move {
                forms.lock().unwrap().push(form_urlencoded::parse(body.as_bytes()).into_owned().collect());
                answer
            }),
        )
        .with_state(forms.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/token", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, forms)
}

fn client() -> Client {
    Client::new(Arc::new(Policy::new(vec!["127.0.0.0/8".parse().unwrap()]))).unwrap()
}

fn application(token_url: Url) -> Endpoint {
    Endpoint { token_url, client_id: "app".into(), client_secret: Some(Secret::new("hunter2")) }
}

fn field<'a>(form: &'a [(String, String)], name: &str) -> &'a str {
    &form.iter().find(|(found, _)| found == name).unwrap().1
}

#[tokio::test]
async fn a_refresh_token_is_sent_in_the_body_and_may_be_rotated() {
    let (url, forms) = endpoint(
        200,
        json!({"access_token": "a1", "expires_in": "3599", "refresh_token": "r2", "token_type": "bearer"}),
    )
    .await;
    let old = Secret::new("r1&x");
    let granted = ask(&client(), &application(url), Proof::Refresh(&old)).await.unwrap().unwrap();
    assert_eq!(granted.token.header().unwrap(), "Bearer a1");
    assert_eq!(granted.refresh_token.as_ref().unwrap().reveal(), "r2");
    assert!(!format!("{granted:?}").contains("a1"));
    let sent = forms.lock().unwrap()[0].clone();
    assert_eq!(field(&sent, "grant_type"), "refresh_token");
    assert_eq!((field(&sent, "refresh_token"), field(&sent, "client_secret")), ("r1&x", "hunter2"));
}

#[tokio::test]
async fn what_is_revoked_is_told_from_what_is_wrong() {
    for (status, code, revoked) in [(400, "invalid_grant", true), (401, "invalid_client", false), (503, "", false)] {
        let (url, _) =
            endpoint(status, json!({"error": code, "error_description": "Token has been expired or revoked."})).await;
        let token = Secret::new("r1");
        let refusal = ask(&client(), &application(url), Proof::Refresh(&token)).await.unwrap().unwrap_err();
        assert_eq!((refusal.status.as_u16(), refusal.is_revoked()), (status, revoked));
        assert!(!format!("{refusal:?}").contains("hunter2"));
    }
    // A good status without a token is none.
    let (url, _) = endpoint(200, json!({"token_type": "bearer"})).await;
    let proof = Proof::Application { scope: "s" };
    assert!(ask(&client(), &application(url), proof).await.unwrap().is_err());
}

#[tokio::test]
async fn a_service_account_signs_for_itself() {
    let (url, forms) = endpoint(200, json!({"access_token": "a1", "expires_in": 3600})).await;
    let file = json!({
        "client_email": "robot@project.example", "private_key_id": "k1", "token_uri": url.as_str(),
        "private_key": testkit::SERVICE_ACCOUNT_KEY,
    });
    let account = ServiceAccount::read(&file).unwrap();
    account.ask(&client(), "https://scope.example/rw").await.unwrap().unwrap();
    let sent = forms.lock().unwrap()[0].clone();
    let (text, signature) = field(&sent, "assertion").rsplit_once('.').unwrap();
    let decoded = |part: &str| base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, part).unwrap();
    let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, account.public_key());
    public.verify(text.as_bytes(), &decoded(signature)).unwrap();
    let (head, claims) = text.split_once('.').unwrap();
    let (head, claims): (Value, Value) =
        (serde_json::from_slice(&decoded(head)).unwrap(), serde_json::from_slice(&decoded(claims)).unwrap());
    assert_eq!((head["alg"].as_str(), head["kid"].as_str()), (Some("RS256"), Some("k1")));
    assert_eq!((claims["iss"].as_str(), claims["aud"].as_str()), (Some("robot@project.example"), Some(url.as_str())));
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 3600);
    assert!(!format!("{account:?}").contains("PRIVATE"));
}

#[test]
fn a_service_account_that_cannot_sign_is_refused_by_its_field() {
    let good =
        json!({"client_email": "e", "token_uri": "https://t.example/", "private_key": testkit::SERVICE_ACCOUNT_KEY});
    for (field, value) in [("client_email", json!("")), ("token_uri", json!("x")), ("private_key", json!("hunter2"))] {
        let mut file = good.clone();
        file[field] = value;
        let error = ServiceAccount::read(&file).unwrap_err();
        assert!(error.to_string().contains(field), "{error}");
        assert!(!error.to_string().contains("hunter2"));
    }
}

#[tokio::test]
async fn a_token_is_renewed_once_for_all_who_wait() {
    let (keeper, renewals) = (Keeper::default(), Log::new(0));
    let renew = |seconds: u64| {
        let renewals = &renewals;
        async move {
            tokio::task::yield_now().await;
            let mut count = renewals.lock().unwrap();
            *count += 1;
            Ok::<_, ()>(Token::new(Secret::new(format!("t{count}")), Duration::from_secs(seconds)))
        }
    };
    let all = futures_util::future::join_all((0..20).map(|_| keeper.token(None, renew(3600)))).await;
    assert!(all.iter().all(|token| token == &all[0]));
    assert_eq!(*renewals.lock().unwrap(), 1);
    // Refused by its server: renewed once, also where two come with the same.
    let first = all[0].clone().unwrap();
    let (one, two) = tokio::join!(keeper.token(Some(&first), renew(10)), keeper.token(Some(&first), renew(10)));
    assert_ne!(one.as_ref().unwrap(), &first);
    // That one was about to expire: it is never given twice.
    assert_ne!(one, two);
    assert_eq!(*renewals.lock().unwrap(), 3);
    // A failure keeps nothing, and the next try is one.
    keeper.forget().await;
    assert_eq!(keeper.token(None, async { Err(()) }).await, Err(()));
    keeper.token(None, renew(3600)).await.unwrap();
}

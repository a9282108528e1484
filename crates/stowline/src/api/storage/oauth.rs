//! `…/storage/oauth/…`: applications, consents, and a person's way to the provider and back.
//!
//! The path names whose: the system's, an account's, a user's. The callback alone is for everybody.

use std::sync::Arc;

use axum::response::Response;
use http::header::{CACHE_CONTROL, COOKIE, LOCATION, REFERRER_POLICY, SET_COOKIE};
use http::{HeaderName, HeaderValue, StatusCode};
use outbound::Secret;
use plan::UserId;
use serde_json::{Value, json};

use super::on;
use crate::api::error::Fault;
use crate::api::{Call, Reply};
use crate::app::oauth::flow::{self, Return, Wish};
use crate::app::oauth::{self, Application, Consent, Owner, Provider, apps, consents};
use crate::app::{App, Error, users};

mod page;

/// Whose documents a path means. The user in it must exist.
async fn owner(app: &App, call: &Call) -> Result<Owner, Fault> {
    on(app).await?;
    let Some(account) = &call.account else { return Ok(Owner::System) };
    let account = account.id.clone();
    match call.param("user") {
        "" => Ok(Owner::Account(account)),
        user => {
            let id = UserId::parse(user).map_err(|_| Error::NotFound(user.to_owned()))?;
            users::get(app, &account, &id).await?;
            Ok(Owner::User(account, id))
        }
    }
}

/// `GET …/apps`: those that were registered here.
pub async fn apps(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let owner = owner(&app, &call).await?;
    let found: Vec<Application> = oauth::list(&app, &owner).await?;
    Ok(Reply::ok(found.iter().map(|found| found.public().into()).collect::<Vec<Value>>()))
}

/// `PUT …/apps`: `{"provider": "google", "client_id": …, "client_secret": …}`.
pub async fn create_app(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let owner = owner(&app, &call).await?;
    let made = apps::create(&app, &owner, call.data.clone()).await?;
    Ok(Reply::created(made.public()).of(&made.document).at(made.id.to_string()))
}

async fn named_app(app: &App, call: &Call) -> Result<Application, Fault> {
    Ok(oauth::get(app, &owner(app, call).await?, call.param("app")).await?)
}

/// `GET …/apps/{app}`.
pub async fn read_app(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let found = named_app(&app, &call).await?;
    Ok(Reply::ok(found.public()).of(&found.document))
}

/// `PATCH …/apps/{app}`: a secret that is not sent stays.
pub async fn patch_app(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let found = named_app(&app, &call).await?;
    expect(&call, &found.document.revision)?;
    let changed = apps::patch(&app, &found, call.data.clone()).await?;
    Ok(Reply::ok(changed.public()).of(&changed.document))
}

/// `DELETE …/apps/{app}`: while nobody's consent hangs on it.
pub async fn remove_app(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let found = named_app(&app, &call).await?;
    expect(&call, &found.document.revision)?;
    apps::remove(&app, &found).await?;
    Ok(Reply::removed(found.public(), &found.document))
}

fn expect(call: &Call, revision: impl ToString) -> Result<(), Error> {
    let (tags, current) = (call.if_match(), revision.to_string());
    let fits = tags.is_empty() || tags.iter().any(|tag| *tag == current || tag == "*");
    if fits { Ok(()) } else { Err(Error::Precondition) }
}

/// `GET …/consents`.
pub async fn list(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let owner = owner(&app, &call).await?;
    let found: Vec<Consent> = oauth::list(&app, &owner).await?;
    Ok(Reply::ok(found.iter().map(|found| found.public().into()).collect::<Vec<Value>>()))
}

/// `PUT …/consents`: one that was given elsewhere, `{"app_id": …, "refresh_token": …}`.
pub async fn create(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let owner = owner(&app, &call).await?;
    let made = consents::create(&app, &owner, call.caller()?, call.data.clone()).await?;
    Ok(Reply::created(made.public()).of(&made.document).at(made.id.to_string()))
}

async fn named(app: &App, call: &Call) -> Result<Consent, Fault> {
    Ok(oauth::get(app, &owner(app, call).await?, call.param("consent")).await?)
}

/// `GET …/consents/{consent}`.
pub async fn read(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let found = named(&app, &call).await?;
    Ok(Reply::ok(found.public()).of(&found.document))
}

/// `PATCH …/consents/{consent}`: another name, or another refresh token.
pub async fn patch(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let found = named(&app, &call).await?;
    expect(&call, &found.document.revision)?;
    let changed = consents::patch(&app, &found, call.caller()?, call.data.clone()).await?;
    Ok(Reply::ok(changed.public()).of(&changed.document))
}

/// `DELETE …/consents/{consent}`: its refresh token is erased at once; `at_provider` says what became of it there.
pub async fn remove(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let found = named(&app, &call).await?;
    expect(&call, &found.document.revision)?;
    let outcome = consents::remove(&app, &found).await?;
    let mut data = found.public();
    data.insert("at_provider".into(), outcome.word().into());
    Ok(Reply::removed(data, &found.document).noted(outcome.word()))
}

/// `GET …/{provider}/start`: the address that the person opens. With `redirect=true` it is their browser that asks: it is sent there, and only it may
/// come back.
pub async fn start(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let owner = owner(&app, &call).await?;
    let provider = Provider::named(call.param("provider")).ok_or_else(Fault::no_such_path)?;
    let asked = |name: &str| call.query(name).filter(|value| !value.is_empty()).map(str::to_owned);
    let wish = Wish {
        provider,
        handler: asked("handler"),
        app_id: asked("app_id"),
        oauth_doc_id: asked("oauth_doc_id"),
        name: asked("name").map(|name| name.chars().take(128).collect()),
        token: call.proof.as_ref().and_then(|proof| proof.token()).map(str::to_owned),
        browser: call.query("redirect") == Some("true"),
    };
    let begun = flow::begin(&app, &owner, call.caller()?, wish).await?;
    if let Some(cookie) = &begun.cookie {
        return Ok(Reply::Raw(sent_to(&begun.url, cookie)));
    }
    Ok(Reply::ok(json!({
        "url": begun.url, "provider": provider.word(), "app_id": begun.app_id.as_ref(), "scopes": begun.scopes,
        "redirect_uri": begun.redirect_uri, "expires_in": begun.expires_in,
    })))
}

/// Sends a browser to the provider, with the cookie that it comes back with. The token may stand in its address: nobody else learns of that.
fn sent_to(url: &str, cookie: &str) -> Response {
    let mut response = crate::api::plain(StatusCode::FOUND, "");
    for (name, value) in [(LOCATION, url), (SET_COOKIE, cookie), (CACHE_CONTROL, "no-store")] {
        response.headers_mut().extend(HeaderValue::from_str(value).ok().map(|value| (name, value)));
    }
    response.headers_mut().insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

/// `GET storage/oauth/callback`: where the provider sends the person back to; a page for people.
pub async fn callback(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let code = match (call.query("error"), call.query("code")) {
        (None, Some(code)) => Ok(Secret::new(code)),
        (error, _) => Err(error.unwrap_or_default()),
    };
    let cookies: Vec<&str> = call.headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok()).collect();
    let outcome = match on(&app).await {
        Ok(()) => {
            let (state, cookies) = (call.query("state").unwrap_or_default(), cookies.join(";"));
            flow::finish(&app, Return { state, code, cookies: &cookies, request_id: &call.request_id }).await
        }
        Err(_) => Err(flow::Failed::Unknown),
    };
    let (status, text) = page::of(&outcome);
    let mut response = crate::api::plain(status, text);
    for (name, value) in HEADERS {
        response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(http::header::RETRY_AFTER, HeaderValue::from_static("5"));
    }
    Ok(Reply::Raw(response))
}

/// Nothing runs in the page, nothing is loaded by it, nobody else learns of its address.
const HEADERS: [(&str, &str); 6] = [
    ("content-type", "text/html; charset=utf-8"),
    (
        "content-security-policy",
        "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cache-control", "no-store"),
];

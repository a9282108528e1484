//! Proof of identity in, a token out: `PUT /v2/user_auth`, `PUT /v2/api_auth`; what a token says, and its end.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::error::Fault;
use super::{Call, Reply};
use crate::app::auth::{self, AccountName, Caller, Method, Proof};
use crate::app::tokens::{self, Token};
use crate::app::{App, Error, accounts, users};
use crate::time;
use plan::{UserId, Violations};

/// `{"credentials": hex(md5("user:password")), "account_name" | "account_realm": …, "method": "md5" | "sha"}`, or `username` and `password`
/// instead of `credentials`.
pub async fn by_password(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let mut violations = Violations::default();
    let proof = proof(&call, &mut violations);
    let account = account_name(&call, &mut violations);
    let (true, Some(account)) = (violations.is_empty(), account) else { return Err(Error::Invalid(violations).into()) };
    let (caller, token) = auth::login(&app, call.address, &account, &proof).await?;
    Ok(Reply::created(about(&caller)).also("auth_token", token))
}

fn proof(call: &Call, violations: &mut Violations) -> Proof {
    let has = |key: &str| call.data.get(key).is_some();
    if !has("credentials") && (has("username") || has("password")) {
        let username = required(call, "username", 1..=256, violations);
        return Proof::Password(username, required(call, "password", 1..=256, violations));
    }
    let method = match call.data.get("method").map(Value::as_str) {
        None | Some(Some("md5")) => Method::Md5,
        Some(Some("sha")) => Method::Sha,
        Some(_) => {
            let extra = [("target", json!(["md5", "sha"]))];
            violations.push("method", "enum", "method is \"md5\" or \"sha\"".into(), extra);
            Method::Md5
        }
    };
    Proof::Digest(method, required(call, "credentials", 1..=64, violations))
}

fn account_name(call: &Call, violations: &mut Violations) -> Option<AccountName> {
    let named = |key: &str| call.data.get(key).is_some_and(|value| value.as_str() != Some(""));
    if named("account_name") {
        return Some(AccountName::Name(required(call, "account_name", 1..=128, violations)));
    }
    for key in ["account_realm", "realm"] {
        if named(key) {
            let realm = required(call, key, 4..=253, violations);
            if realm.contains(|c: char| !c.is_alphanumeric() && !matches!(c, '.' | '_' | '-')) {
                let target = [("target", json!("^[.\\w_-]+$"))];
                violations.push(key, "pattern", "a realm has letters, digits, dots, lines and dashes".into(), target);
            }
            return Some(AccountName::Realm(realm));
        }
    }
    violations.push("account_name", "required", "name the account: account_name or account_realm".into(), []);
    None
}

/// `{"api_key": …}`, 64 characters.
pub async fn by_api_key(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let mut violations = Violations::default();
    let api_key = required(&call, "api_key", 64..=64, &mut violations);
    if !violations.is_empty() {
        return Err(Error::Invalid(violations).into());
    }
    match auth::login_with_api_key(&app, call.address, &api_key).await {
        Ok((caller, token)) => Ok(Reply::created(about(&caller)).also("auth_token", token)),
        Err(Error::NotFound(_)) => Err(Fault::unknown_api_key()),
        Err(error) => Err(error.into()),
    }
}

/// `PUT /accounts/{account}/users/{user}/user_auth` with `{"action": "impersonate_user"}`: a token for that user, for a super admin.
pub async fn impersonate(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    if call.data.get("action").and_then(Value::as_str) != Some("impersonate_user") {
        let mut violations = Violations::default();
        let extra = [("target", json!(["impersonate_user"]))];
        violations.push("action", "enum", "action is \"impersonate_user\"".into(), extra);
        return Err(Error::Invalid(violations).into());
    }
    let account = call.account()?;
    let not_found = || Error::NotFound(call.param("user").to_owned());
    let id = UserId::parse(call.param("user")).map_err(|_| not_found())?;
    let user = users::get(&app, &account.id, &id).await?;
    let (caller, token) = auth::impersonate(&app, call.caller()?, account, user)?;
    Ok(Reply::created(about(&caller)).also("auth_token", token))
}

/// A text in `data`; its value is never repeated in an answer.
fn required(call: &Call, key: &str, length: std::ops::RangeInclusive<usize>, violations: &mut Violations) -> String {
    let fault = match call.data.get(key) {
        None => ("required", "Field is required but missing".to_owned(), None),
        Some(Value::String(text)) if length.contains(&text.len()) => return text.clone(),
        Some(Value::String(text)) if text.len() < *length.start() => {
            ("minLength", format!("at least {} characters", length.start()), Some(json!(length.start())))
        }
        Some(Value::String(_)) => {
            ("maxLength", format!("at most {} characters", length.end()), Some(json!(length.end())))
        }
        Some(_) => ("type", "must be a string".to_owned(), Some(json!("string"))),
    };
    let (code, message, target) = fault;
    violations.push(key, code, message, target.map(|target| ("target", target)));
    String::new()
}

/// What a client learns of whom it logged in as.
fn about(caller: &Caller) -> Map<String, Value> {
    let account = &caller.account;
    let mut data = Map::new();
    data.insert("account_id".into(), account.id.as_ref().into());
    if let Some(user) = &caller.user {
        data.insert("owner_id".into(), user.id.as_ref().into());
    }
    data.insert("account_name".into(), account.name().into());
    data.insert("is_master_account".into(), account.is_master().into());
    data.insert("is_reseller".into(), account.is_reseller().into());
    let reseller = account.reseller_id().unwrap_or_else(|| account.id.clone());
    data.insert("reseller_id".into(), reseller.as_ref().into());
    let language = accounts::public(account).get("language").cloned().unwrap_or("en-us".into());
    data.insert("language".into(), language);
    data.insert("apps".into(), json!([]));
    data.insert("cluster_id".into(), "stowline".into());
    data.insert("capabilities".into(), json!({}));
    data.insert("ui_config".into(), json!({}));
    data
}

/// What a token says.
fn shown(token: &Token) -> Reply {
    let mut data = about(&token.caller);
    if let Some(behind) = &token.caller.behind {
        data.insert("original_account_id".into(), behind.account.as_ref().into());
        data.insert("original_owner_id".into(), behind.user.as_ref().map(AsRef::<str>::as_ref).into());
    }
    data.insert("method".into(), token.method.as_str().into());
    data.insert("iat".into(), time::from_unix(token.issued).into());
    data.insert("exp".into(), time::from_unix(token.expires).into());
    Reply::ok(data)
}

/// `GET /user_auth/{token}`, `GET /auth/tokeninfo?token=…`, `POST /auth/tokeninfo` with `{"token": …}`: what a token says. Who has it may know.
pub async fn told(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let named = match call.param("token") {
        "" => call.value("token").and_then(|token| token.as_str().map(str::to_owned)),
        token => Some(token.to_owned()),
    };
    let Some(token) = named else {
        return Err(Error::invalid("token", "required", "Field is required but missing").into());
    };
    Ok(shown(&tokens::inspect(&app, &token).await?))
}

async fn presented(app: &App, call: &Call) -> Result<Token, Error> {
    tokens::inspect(app, call.token().ok_or(Error::Unauthenticated)?).await
}

/// `GET /token_auth`: what the token of the request says.
pub async fn own(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    Ok(shown(&presented(&app, &call).await?))
}

/// `DELETE /token_auth`: the token of the request ends.
pub async fn revoke(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    tokens::revoke(&app, &presented(&app, &call).await?).await?;
    Ok(Reply::ok(Map::new()))
}

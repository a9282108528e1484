//! `PUT /v2/user_auth` and `PUT /v2/api_auth`: proof of identity in, a token out.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::error::Fault;
use super::{Call, Reply};
use crate::app::auth::{self, AccountName, Caller, Method};
use crate::app::{App, Error, accounts};
use plan::Violations;

/// `{"credentials": hex(md5("user:password")), "account_name" | "account_realm": …, "method": "md5" | "sha"}`.
pub async fn by_password(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let mut violations = Violations::default();
    let credentials = required(&call, "credentials", 1..=64, &mut violations);
    let method = match call.data.get("method").map(Value::as_str) {
        None | Some(Some("md5")) => Method::Md5,
        Some(Some("sha")) => Method::Sha,
        Some(_) => {
            let extra = [("target", json!(["md5", "sha"]))];
            violations.push("method", "enum", "method is \"md5\" or \"sha\"".into(), extra);
            Method::Md5
        }
    };
    let text =
        |key: &str| call.data.get(key).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
    let realm = text("account_realm").or_else(|| text("realm"));
    let account = text("account_name").map(AccountName::Name).or(realm.map(AccountName::Realm));
    if account.is_none() {
        let message = "name the account: account_name or account_realm";
        violations.push("account_name", "required", message.into(), []);
    }
    let (true, Some(account)) = (violations.is_empty(), account) else { return Err(Error::Invalid(violations).into()) };
    let (caller, token) = auth::login(&app, &account, method, &credentials).await?;
    Ok(welcome(&caller, token))
}

/// `{"api_key": …}`, 64 characters.
pub async fn by_api_key(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let mut violations = Violations::default();
    let api_key = required(&call, "api_key", 64..=64, &mut violations);
    if !violations.is_empty() {
        return Err(Error::Invalid(violations).into());
    }
    match auth::login_with_api_key(&app, &api_key).await {
        Ok((caller, token)) => Ok(welcome(&caller, token)),
        Err(Error::NotFound(_)) => Err(Fault::unknown_api_key()),
        Err(error) => Err(error.into()),
    }
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

fn welcome(caller: &Caller, token: String) -> Reply {
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
    Reply::created(data).also("auth_token", token)
}

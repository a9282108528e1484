//! Tokens: what a login answers with, and what every request is proved by.
//!
//! A token is a JWT signed with this installation's key. It names an account and, from a login, a user; roles are never written into it but read
//! anew with every request, so a change of role or a disabled account takes effect at once.
//!
//! A token ends by its time, with its user's password or its account's API key (each has a secret that changes with it and that the token is bound
//! to), and by being revoked. Revoked tokens are documents until they would have expired, and are all in memory.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, PoisonError, RwLock};
use std::time::Duration;

use connections::{Draft, ErrorKind, Query};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use plan::{AccountId, Database, DocId, UserId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::auth::{Behind, Caller};
use super::{App, Error, accounts, users};
use crate::app::accounts::Account;
use crate::app::users::User;
use crate::time;

const ISSUER: &str = "stowline";
const TYPE: &str = "revoked_token";
/// How often what has expired is forgotten.
const TIDY_EVERY: Duration = Duration::from_secs(3600);

/// What a token must say. Every request asks for it.
static EXPECTED: LazyLock<Validation> = LazyLock::new(|| {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.set_issuer(&[ISSUER]);
    validation.leeway = 0;
    validation
});

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    jti: String,
    account_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    owner_id: Option<String>,
    /// Who acts for the user, when it is not they themselves: a super admin's account and user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    original_account_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    original_owner_id: Option<String>,
    method: String,
    identity_sig: String,
    iat: i64,
    exp: i64,
}

/// A token that holds.
#[derive(Debug, Clone)]
pub struct Token {
    /// Whose it is.
    pub caller: Caller,
    /// How they logged in: `cb_user_auth` or `cb_api_auth`.
    pub method: String,
    /// When it was made, and when it ends, in Unix seconds.
    pub issued: i64,
    /// When it ends, in Unix seconds.
    pub expires: i64,
    id: String,
}

/// How many tokens are remembered as ours.
const SIGNED: usize = 4_096;

/// Tokens that were revoked and have not expired, with the Unix seconds at which they do.
#[derive(Debug, Default)]
pub struct Revoked {
    tokens: RwLock<HashMap<String, i64>>,
}

/// What tokens say whose signature was looked at lately. Whoever comes with every request is not read anew each time; whether a token still holds is
/// asked every time. When there are too many, all are forgotten.
#[derive(Default)]
pub struct Signed {
    claims: RwLock<HashMap<String, Arc<Claims>>>,
}

impl std::fmt::Debug for Signed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} tokens", self.claims.read().unwrap_or_else(PoisonError::into_inner).len())
    }
}

impl Signed {
    /// What a token says that is ours and has not expired.
    fn read(&self, app: &App, token: &str) -> Result<Arc<Claims>, Error> {
        let known = self.claims.read().unwrap_or_else(PoisonError::into_inner).get(token).cloned();
        if let Some(claims) = known {
            return if claims.exp >= unix_now() { Ok(claims) } else { Err(Error::Unauthenticated) };
        }
        let key = DecodingKey::from_secret(app.keys.token_key());
        let read = jsonwebtoken::decode::<Claims>(token, &key, &EXPECTED).map_err(|_| Error::Unauthenticated)?;
        let claims = Arc::new(read.claims);
        let mut all = self.claims.write().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= SIGNED {
            all.clear();
        }
        all.insert(token.to_owned(), claims.clone());
        Ok(claims)
    }
}

impl Revoked {
    fn contains(&self, id: &str) -> bool {
        self.tokens.read().unwrap_or_else(PoisonError::into_inner).contains_key(id)
    }

    fn add(&self, id: String, expires: i64) {
        self.tokens.write().unwrap_or_else(PoisonError::into_inner).insert(id, expires);
    }

    /// Takes out what has expired.
    fn take_expired(&self, now: i64) -> Vec<String> {
        let mut tokens = self.tokens.write().unwrap_or_else(PoisonError::into_inner);
        tokens.extract_if(|_, expires| *expires <= now).map(|(id, _)| id).collect()
    }
}

fn database() -> Database {
    Database::Named("revoked_tokens".into())
}

fn unix_now() -> i64 {
    time::to_unix(time::now())
}

/// Binds a token to what may end it early: the user's password, or the account's API key.
fn identity(app: &App, account: &Account, user: Option<&User>) -> String {
    let secret = user.map_or_else(|| account.token_secret(), User::token_secret);
    let user = user.map_or("", |user| user.id.as_ref());
    app.keys.digest(&["token", account.id.as_ref(), user, secret])
}

/// What is kept of a session by what is begun in it and ends later: the token that was shown, where it was one, and what ends it early.
///
/// # Errors
/// As [`inspect`].
pub async fn session(app: &App, caller: &Caller, token: Option<&str>) -> Result<Value, Error> {
    let token = match token {
        Some(token) => Some(inspect(app, token).await?.id),
        None => None,
    };
    Ok(json!({"token": token, "identity": identity(app, &caller.account, caller.user.as_ref())}))
}

/// Whether a session that was kept still lasts: nobody ended its token, and password or API key are what they were.
pub fn still_lasts(app: &App, caller: &Caller, session: &Value) -> bool {
    let ended = session["token"].as_str().is_some_and(|id| app.revoked.contains(id));
    !ended && session["identity"] == identity(app, &caller.account, caller.user.as_ref())
}

/// Makes a token.
///
/// # Errors
/// [`Error::Internal`].
pub fn issue(app: &App, caller: &Caller, method: &str) -> Result<String, Error> {
    let now = unix_now();
    let lifetime = i64::try_from(app.config.api.token_lifetime.as_secs()).unwrap_or(i64::MAX);
    let claims = Claims {
        iss: ISSUER.into(),
        jti: crate::id::random(),
        account_id: caller.account.id.to_string(),
        owner_id: caller.user.as_ref().map(|user| user.id.to_string()),
        original_account_id: caller.behind.as_ref().map(|behind| behind.account.to_string()),
        original_owner_id: caller.behind.as_ref().and_then(|behind| behind.user.as_ref()).map(ToString::to_string),
        method: method.into(),
        identity_sig: identity(app, &caller.account, caller.user.as_ref()),
        iat: now,
        exp: now.saturating_add(lifetime),
    };
    let key = EncodingKey::from_secret(app.keys.token_key());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key)
        .map_err(|source| Error::internal("signing a token", source))
}

/// What a token says, when it holds.
///
/// # Errors
/// [`Error::Unauthenticated`] when it is not ours, has expired, was revoked, or its account or user is gone; [`Error::Locked`] when its account is
/// disabled or has expired.
pub async fn inspect(app: &App, token: &str) -> Result<Token, Error> {
    let claims = app.signed.read(app, token)?;
    if app.revoked.contains(&claims.jti) {
        return Err(Error::Unauthenticated);
    }
    let account_id = AccountId::parse(&claims.account_id).map_err(|_| Error::Unauthenticated)?;
    let account = accounts::find(app, &account_id).await?.ok_or(Error::Unauthenticated)?;
    let user = match &claims.owner_id {
        None => None,
        Some(id) => {
            let id = UserId::parse(id).map_err(|_| Error::Unauthenticated)?;
            let user = users::find(app, &account_id, &id).await?.filter(User::enabled);
            Some(user.ok_or(Error::Unauthenticated)?)
        }
    };
    if claims.identity_sig != identity(app, &account, user.as_ref()) {
        return Err(Error::Unauthenticated);
    }
    account.expect_open()?;
    let behind = behind(app, &claims).await?;
    let (id, method) = (claims.jti.clone(), claims.method.clone());
    Ok(Token { caller: Caller { account, user, behind }, method, issued: claims.iat, expires: claims.exp, id })
}

/// Who acts for the user. They must still be who they were: a super admin.
async fn behind(app: &App, claims: &Claims) -> Result<Option<Box<Behind>>, Error> {
    let Some(account) = &claims.original_account_id else { return Ok(None) };
    let id = AccountId::parse(account).map_err(|_| Error::Unauthenticated)?;
    let account = accounts::find(app, &id).await?.ok_or(Error::Unauthenticated)?;
    let user = match &claims.original_owner_id {
        None => None,
        Some(user) => {
            let user = UserId::parse(user).map_err(|_| Error::Unauthenticated)?;
            Some(users::find(app, &id, &user).await?.filter(User::enabled).ok_or(Error::Unauthenticated)?)
        }
    };
    let original = Caller { account, user, behind: None };
    if original.is_super_admin() { Ok(Some(Box::new(Behind::of(&original)))) } else { Err(Error::Unauthenticated) }
}

/// Ends a token: once this returned, it opens nothing, also after a restart.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn revoke(app: &App, token: &Token) -> Result<(), Error> {
    let id = DocId::parse(&token.id).map_err(|_| Error::Unauthenticated)?;
    let body = Map::from_iter([("account_id".to_owned(), token.caller.account.id.as_ref().into())]);
    let draft = Draft { doc_type: TYPE.into(), at: token.expires, body, ..Draft::default() };
    match app.documents.create(&database(), &id, draft).await {
        Err(error) if error.kind() != ErrorKind::Conflict => return Err(error.into()),
        _ => app.revoked.add(token.id.clone(), token.expires),
    }
    tracing::info!(account.id = %token.caller.account.id, "a token was revoked");
    Ok(())
}

/// Reads what was revoked before this start.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn load(app: &App) -> Result<(), Error> {
    let mut query = Query::new(database(), TYPE);
    loop {
        let page = app.documents.list(query.clone()).await?;
        for (cursor, document) in page.documents {
            app.revoked.add(document.id.to_string(), cursor.at);
        }
        match page.next {
            Some(next) => query.start = Some(next),
            None => return Ok(()),
        }
    }
}

/// Forgets revoked tokens that have expired, now and then.
pub async fn forget(app: Arc<App>, stopping: CancellationToken) {
    let mut ticks = tokio::time::interval(TIDY_EVERY);
    while stopping.run_until_cancelled(ticks.tick()).await.is_some() {
        for id in app.revoked.take_expired(unix_now()) {
            let Ok(id) = DocId::parse(&id) else { continue };
            // Should it stay, the next start takes it up again and a later hour removes it.
            if let Err(error) = app.documents.remove(&database(), &id, None).await {
                tracing::debug!(error = %error, "a revoked token that has expired stays for now");
            }
        }
    }
}

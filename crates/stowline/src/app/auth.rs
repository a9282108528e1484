//! Who is calling: logins, tokens, and what a caller is to an account.
//!
//! A token is a JWT signed with this installation's key. It names an account and, from a login, a user; roles are never written into it but read
//! anew with every request, so a change of role, a new password or a disabled account takes effect at once.

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use plan::{AccountId, UserId};
use serde::{Deserialize, Serialize};

use super::{App, Error, accounts, users};
use crate::app::accounts::Account;
use crate::app::users::User;

const ISSUER: &str = "stowline";

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    account_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    owner_id: Option<String>,
    method: String,
    identity_sig: String,
    iat: i64,
    exp: i64,
}

/// Somebody whose token holds.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The account of the token.
    pub account: Account,
    /// The user of the token; none when it came from an API key.
    pub user: Option<User>,
}

impl Caller {
    /// The account that holds the platform's rights.
    pub fn is_super_admin(&self) -> bool {
        self.account.is_master() && self.is_admin()
    }

    /// An admin of their own account. An API key counts as one.
    pub fn is_admin(&self) -> bool {
        self.user.as_ref().is_none_or(User::is_admin)
    }

    /// The account is the caller's own, or below it, or the caller is a super admin.
    pub fn reaches(&self, account: &Account) -> bool {
        self.account.id == account.id || account.ancestors().contains(&self.account.id) || self.is_super_admin()
    }

    /// May change what belongs to the account: an admin of it or of an account above it.
    pub fn administers(&self, account: &Account) -> bool {
        self.is_admin() && self.reaches(account)
    }

    /// May change the account's storage: its admins, its reseller's, a super admin.
    pub fn administers_storage(&self, account: &Account) -> bool {
        let own = self.account.id == account.id;
        let reseller = account.reseller_id().is_some_and(|reseller| reseller == self.account.id);
        self.is_super_admin() || (self.is_admin() && (own || reseller))
    }

    /// The user with this id of the account.
    pub fn is_user(&self, account: &Account, id: &str) -> bool {
        self.account.id == account.id && self.user.as_ref().is_some_and(|user| user.id.as_ref() == id)
    }

    /// May read the account's storage: who may change it, and every user of the account (who sees no secrets).
    pub fn reads_storage(&self, account: &Account) -> bool {
        self.account.id == account.id || self.administers_storage(account)
    }
}

/// How a login's proof was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// MD5 over `username:password`, in hex.
    Md5,
    /// SHA-1 over the same.
    Sha,
}

impl Method {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Sha => "sha",
        }
    }
}

/// How a login names its account.
#[derive(Debug, Clone)]
pub enum AccountName {
    /// By name; case and everything but letters and digits do not matter.
    Name(String),
    /// By realm.
    Realm(String),
}

/// A login: the digest of `username:password` for an account.
///
/// # Errors
/// [`Error::Unauthenticated`] whatever of it is wrong, [`Error::Locked`] for a disabled account.
pub async fn login(
    app: &App,
    name: &AccountName,
    method: Method,
    credentials: &str,
) -> Result<(Caller, String), Error> {
    let account = match name {
        AccountName::Name(name) => accounts::by_name(app, name).await?,
        AccountName::Realm(realm) => accounts::by_realm(app, realm).await?,
    };
    let account = account.ok_or(Error::Unauthenticated)?;
    let user = users::by_credentials(app, &account.id, method, credentials).await?.ok_or(Error::Unauthenticated)?;
    if !user.enabled() {
        return Err(Error::Unauthenticated);
    }
    if !account.enabled() {
        return Err(Error::Locked);
    }
    let caller = Caller { account, user: Some(user) };
    let token = issue(app, &caller, "cb_user_auth")?;
    Ok((caller, token))
}

/// A login with an account's API key.
///
/// # Errors
/// [`Error::NotFound`] for an unknown key, [`Error::Locked`] for a disabled account.
pub async fn login_with_api_key(app: &App, api_key: &str) -> Result<(Caller, String), Error> {
    let account = accounts::by_api_key(app, api_key).await?.ok_or_else(|| Error::NotFound(api_key.to_owned()))?;
    if !account.enabled() {
        return Err(Error::Locked);
    }
    let caller = Caller { account, user: None };
    let token = issue(app, &caller, "cb_api_auth")?;
    Ok((caller, token))
}

/// Binds a token to what may end it early: the user's password, or the account's API key.
fn identity(app: &App, account: &Account, user: Option<&User>) -> String {
    let secret = user.map_or_else(|| account.token_secret(), User::token_secret);
    let user = user.map_or("", |user| user.id.as_ref());
    app.keys.digest(&["token", account.id.as_ref(), user, secret])
}

fn issue(app: &App, caller: &Caller, method: &str) -> Result<String, Error> {
    let now = jiff::Timestamp::now().as_second();
    let lifetime = i64::try_from(app.config.api.token_lifetime.as_secs()).unwrap_or(i64::MAX);
    let claims = Claims {
        iss: ISSUER.into(),
        account_id: caller.account.id.to_string(),
        owner_id: caller.user.as_ref().map(|user| user.id.to_string()),
        method: method.into(),
        identity_sig: identity(app, &caller.account, caller.user.as_ref()),
        iat: now,
        exp: now.saturating_add(lifetime),
    };
    let key = EncodingKey::from_secret(app.keys.token_key());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key)
        .map_err(|source| Error::internal("signing a token", source))
}

/// Whose token this is.
///
/// # Errors
/// [`Error::Unauthenticated`] when it is not ours, has expired, or its account or user is gone; [`Error::Locked`] for a disabled account.
pub async fn authenticate(app: &App, token: &str) -> Result<Caller, Error> {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.set_issuer(&[ISSUER]);
    validation.leeway = 0;
    let key = DecodingKey::from_secret(app.keys.token_key());
    let claims = jsonwebtoken::decode::<Claims>(token, &key, &validation).map_err(|_| Error::Unauthenticated)?.claims;
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
    if !account.enabled() {
        return Err(Error::Locked);
    }
    Ok(Caller { account, user })
}

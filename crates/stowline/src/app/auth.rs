//! Who is calling: logins, and what a caller is to an account.
//!
//! What a login answers with is a token (`tokens`). Roles are read from the stored account and user with every request.

use std::net::IpAddr;

use plan::{AccountId, UserId};

use super::tokens;
use super::{App, Error, accounts, attempts, passwords, users};
use crate::app::accounts::Account;
use crate::app::users::User;

/// Somebody whose token holds.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The account of the token.
    pub account: Account,
    /// The user of the token; none when it came from an API key.
    pub user: Option<User>,
    /// Who acts for them; none when they do so themselves.
    pub behind: Option<Box<Behind>>,
}

/// A super admin who acts for a user.
#[derive(Debug, Clone)]
pub struct Behind {
    /// Their account.
    pub account: AccountId,
    /// They themselves; none when their token came from an API key.
    pub user: Option<UserId>,
}

impl Behind {
    pub(super) fn of(caller: &Caller) -> Self {
        Self { account: caller.account.id.clone(), user: caller.user.as_ref().map(|user| user.id.clone()) }
    }
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

    /// An admin of an account above this one, or a super admin.
    pub fn stands_above(&self, account: &Account) -> bool {
        self.is_super_admin() || (self.is_admin() && account.ancestors().contains(&self.account.id))
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
    /// How a digest in hex was made, by its length.
    pub(crate) fn of_digest(digest: &str) -> Option<Self> {
        let hex = digest.bytes().all(|byte| byte.is_ascii_hexdigit());
        match digest.len() {
            32 if hex => Some(Self::Md5),
            40 if hex => Some(Self::Sha),
            _ => None,
        }
    }

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
    /// By its id.
    Id(AccountId),
}

impl AccountName {
    /// As what its failed logins are counted.
    fn counted(&self) -> String {
        match self {
            Self::Name(name) => format!("name {}", accounts::normalised(name)),
            Self::Realm(realm) => format!("realm {}", realm.to_lowercase()),
            Self::Id(id) => format!("id {id}"),
        }
    }
}

/// What a login proves itself with.
#[derive(Clone)]
pub enum Proof {
    /// The digest of `username:password`.
    Digest(Method, String),
    /// User name and password.
    Password(String, String),
}

/// A login at an account, from an address.
///
/// # Errors
/// [`Error::Unauthenticated`] whatever of it is wrong, [`Error::Locked`] for an account that is disabled or has expired,
/// [`Error::TooMany`] after too many that failed.
pub async fn login(app: &App, from: IpAddr, name: &AccountName, proof: &Proof) -> Result<(Caller, String), Error> {
    let caller = attempt(app, from, name, proof).await?;
    let token = tokens::issue(app, &caller, "cb_user_auth")?;
    Ok((caller, token))
}

/// Who proves themselves without a login, by the digest that one would have.
///
/// # Errors
/// As [`login`].
pub async fn authenticate_by_digest(
    app: &App,
    from: IpAddr,
    account: &AccountId,
    method: Method,
    digest: &str,
) -> Result<Caller, Error> {
    let proof = Proof::Digest(method, digest.to_ascii_lowercase());
    attempt(app, from, &AccountName::Id(account.clone()), &proof).await
}

async fn attempt(app: &App, from: IpAddr, name: &AccountName, proof: &Proof) -> Result<Caller, Error> {
    let attempt = app.attempts.begin(from, &name.counted())?;
    let proven = prove(app, name, proof).await;
    if !matches!(proven, Err(Error::Unauthenticated)) {
        attempt.forgive();
    }
    proven
}

async fn prove(app: &App, name: &AccountName, proof: &Proof) -> Result<Caller, Error> {
    let account = match name {
        AccountName::Name(name) => accounts::by_name(app, name).await?,
        AccountName::Realm(realm) => accounts::by_realm(app, realm).await?,
        AccountName::Id(id) => accounts::find(app, id).await?,
    };
    // What is missing is noticed late: an answer takes as long whether account and user exist or not.
    let id = account.as_ref().map(|account| &account.id);
    let user = match proof {
        Proof::Digest(..) if !app.config.login.digests => None,
        Proof::Digest(method, credentials) => {
            let key = passwords::login_key(app, id, *method, credentials).await?;
            users::by_login_key(app, &key).await?
        }
        Proof::Password(username, password) => {
            let user = match id {
                Some(id) => users::by_name(app, id, username).await?,
                None => None,
            };
            let stored = user.as_ref().and_then(User::password_hash);
            let holds = passwords::verify(app, password, stored).await?;
            user.filter(|_| holds)
        }
    };
    let (Some(account), Some(user)) = (account, user.filter(User::enabled)) else { return Err(Error::Unauthenticated) };
    account.expect_open()?;
    Ok(Caller { account, user: Some(user), behind: None })
}

/// A login with an account's API key.
///
/// # Errors
/// [`Error::NotFound`] for an unknown key, [`Error::Locked`] for an account that is disabled or has expired, [`Error::TooMany`] after too many
/// unknown ones.
pub async fn login_with_api_key(app: &App, from: IpAddr, api_key: &str) -> Result<(Caller, String), Error> {
    let attempt = app.attempts.begin(from, &format!("api_key {}", attempts::network(from)))?;
    let found = accounts::by_api_key(app, api_key).await;
    if !matches!(found, Ok(None)) {
        attempt.forgive();
    }
    let account = found?.ok_or_else(|| Error::NotFound("api_key".to_owned()))?;
    account.expect_open()?;
    let caller = Caller { account, user: None, behind: None };
    let token = tokens::issue(app, &caller, "cb_api_auth")?;
    Ok((caller, token))
}

/// A token for a user of an account, given to a super admin, who then may what the user may. It names both of them, and so does the audit trail.
///
/// # Errors
/// [`Error::Forbidden`] for who is no super admin, acts for somebody already, or means a user that is disabled; [`Error::Locked`].
pub fn impersonate(app: &App, caller: &Caller, account: &Account, user: User) -> Result<(Caller, String), Error> {
    if !caller.is_super_admin() || caller.behind.is_some() || !user.enabled() {
        return Err(Error::Forbidden);
    }
    account.expect_open()?;
    tracing::info!(account.id = %account.id, user.id = %user.id, by.id = %caller.account.id, "a super admin acts for a user");
    let caller = Caller { account: account.clone(), user: Some(user), behind: Some(Box::new(Behind::of(caller))) };
    let token = tokens::issue(app, &caller, "cb_user_auth")?;
    Ok((caller, token))
}

/// Whose token this is.
///
/// # Errors
/// As [`tokens::inspect`].
pub async fn authenticate(app: &App, token: &str) -> Result<Caller, Error> {
    Ok(tokens::inspect(app, token).await?.caller)
}

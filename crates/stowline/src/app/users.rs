//! Users of an account.
//!
//! A password is kept as a slow hash, and so are the digests that older clients prove themselves by (`passwords`). A new password, or a new name,
//! ends the tokens that the user had.

use md5::Md5;
use plan::{AccountId, Database, DocId, UserId};
use serde_json::{Map, Value};
use sha1::Sha1;
use sha2::Digest;

use super::auth::Method;
use super::pages::{self, Ask, Page};
use super::storage_documents::{self, Scope, Wish};
use super::{App, Error, forms, passwords};
use crate::time;
use connections::{Document, Draft, Query};

const TYPE: &str = "user";
const LOGIN: &str = "login";
const USERNAME: &str = "username";
/// The private fields that a login is checked by, and a token.
const SECRETS: [&str; 4] = ["pvt_password", "pvt_md5_auth", "pvt_sha1_auth", "pvt_token_secret"];

/// A user.
#[derive(Debug, Clone)]
pub struct User {
    /// Its id.
    pub id: UserId,
    /// Its document.
    pub document: Document,
}

impl User {
    fn read(document: Document) -> Option<Self> {
        let id = UserId::parse(document.id.as_ref()).ok()?;
        (document.doc_type == TYPE && !document.deleted).then_some(Self { id, document })
    }

    /// An admin of the account.
    pub fn is_admin(&self) -> bool {
        self.document.text("priv_level") == Some("admin")
    }

    /// True unless it was switched off.
    pub fn enabled(&self) -> bool {
        self.document.body.get("enabled") != Some(&Value::Bool(false))
    }

    /// What is kept of the password.
    pub(super) fn password_hash(&self) -> Option<&str> {
        self.document.text("pvt_password")
    }

    /// Its name for logins.
    pub fn username(&self) -> Option<&str> {
        self.document.text("username")
    }

    /// Changes with the password, and ends the user's tokens with it.
    pub(super) fn token_secret(&self) -> &str {
        self.document.text("pvt_token_secret").unwrap_or_default()
    }
}

fn doc_id(id: &UserId) -> Result<DocId, Error> {
    DocId::parse(id.as_ref()).map_err(|_| Error::NotFound(id.to_string()))
}

/// The user of an account; none when there is no such user.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn find(app: &App, account: &AccountId, id: &UserId) -> Result<Option<User>, Error> {
    let database = Database::Account(account.clone());
    Ok(app.documents.get(&database, &doc_id(id)?).await?.and_then(User::read))
}

/// The user of an account.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Unavailable`].
pub async fn get(app: &App, account: &AccountId, id: &UserId) -> Result<User, Error> {
    find(app, account, id).await?.ok_or_else(|| Error::NotFound(id.to_string()))
}

/// The user whose login by digest has this key ([`passwords::login_key`]).
pub(super) async fn by_login_key(app: &App, key: &str) -> Result<Option<User>, Error> {
    Ok(app.documents.holder(LOGIN, key).await?.and_then(User::read))
}

/// The user of an account with this name.
pub(super) async fn by_name(app: &App, account: &AccountId, username: &str) -> Result<Option<User>, Error> {
    Ok(app.documents.holder(USERNAME, &name_key(account, username)).await?.and_then(User::read))
}

fn name_key(account: &AccountId, username: &str) -> String {
    format!("{account}/{}", username.to_lowercase())
}

/// A page of an account's users, by the time of their creation. `keep` says which are wanted.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn page<F>(app: &App, account: &AccountId, ask: &Ask, keep: F) -> Result<Page<User>, Error>
where
    F: Fn(&User) -> bool + Send,
{
    let query = Query::new(Database::Account(account.clone()), TYPE);
    pages::gather(app, vec![query], ask, move |document| User::read(document).filter(|found| keep(found))).await
}

/// All users of an account, newest first.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn list(app: &App, account: &AccountId) -> Result<Vec<User>, Error> {
    Ok(page(app, account, &Ask::default(), |_| true).await?.rows)
}

/// Creates a user.
///
/// # Errors
/// [`Error::Invalid`] by the user's schema or when the name is taken, [`Error::Unavailable`].
pub async fn create(app: &App, account: &AccountId, data: Value) -> Result<User, Error> {
    let id = crate::id::user().map_err(|error| Error::internal("making an id", error))?;
    let mut body = app.forms.check(&forms::USER, data)?;
    body.insert("pvt_type".into(), TYPE.into());
    body.insert("pvt_created".into(), time::now().into());
    body.insert("pvt_account_id".into(), account.as_ref().into());
    settle(app, account, &mut body, None).await?;
    let written = app.documents.create(&Database::Account(account.clone()), &doc_id(&id)?, draft(account, body)).await;
    let document = written.map_err(taken)?;
    User::read(document).ok_or(Error::NotFound(id.to_string()))
}

/// Writes the user's public fields anew. Without a password the old one stays.
///
/// # Errors
/// [`Error::Invalid`], [`Error::Conflict`] when the user was changed meanwhile, [`Error::Unavailable`].
pub async fn replace(app: &App, account: &AccountId, user: &User, data: Value) -> Result<User, Error> {
    let mut body = app.forms.check(&forms::USER, data)?;
    forms::keep_private(&user.document, &mut body);
    settle(app, account, &mut body, Some(user)).await?;
    let document = &user.document;
    let written =
        app.documents.replace(&document.database, &document.id, &document.revision, draft(account, body)).await;
    let document = written.map_err(taken)?;
    User::read(document).ok_or_else(|| Error::NotFound(user.id.to_string()))
}

/// Defaults, and what a new name or password leads to.
async fn settle(
    app: &App,
    account: &AccountId,
    body: &mut Map<String, Value>,
    before: Option<&User>,
) -> Result<(), Error> {
    let password = body.remove("password");
    body.entry("priv_level").or_insert_with(|| "user".into());
    body.entry("enabled").or_insert(Value::Bool(true));
    let lower = |name: &str| name.to_lowercase();
    let username = body.get("username").and_then(Value::as_str).map(lower);
    let renamed = username != before.and_then(User::username).map(lower);
    match (&username, password.as_ref().and_then(Value::as_str)) {
        (Some(username), Some(password)) => set_password(app, account, body, username, password).await?,
        (None, Some(_)) => return Err(Error::invalid("username", "required", "a password needs a username")),
        (Some(_), None) if renamed => {
            return Err(Error::invalid("password", "required", "a new username needs a password"));
        }
        (Some(_), None) => {}
        (None, None) => body.retain(|key, _| !SECRETS.contains(&key.as_str())),
    }
    Ok(())
}

async fn set_password(
    app: &App,
    account: &AccountId,
    body: &mut Map<String, Value>,
    username: &str,
    password: &str,
) -> Result<(), Error> {
    body.retain(|key, _| !SECRETS.contains(&key.as_str()));
    body.insert("pvt_password".into(), passwords::hash(app, password).await?.into());
    if app.config.login.digests {
        let proof = format!("{username}:{password}");
        let md5 = passwords::login_key(app, Some(account), Method::Md5, &hex::encode(Md5::digest(&proof))).await?;
        let sha = passwords::login_key(app, Some(account), Method::Sha, &hex::encode(Sha1::digest(&proof))).await?;
        body.insert("pvt_md5_auth".into(), md5.into());
        body.insert("pvt_sha1_auth".into(), sha.into());
    }
    body.insert("pvt_token_secret".into(), crate::id::random().into());
    Ok(())
}

/// Ends all tokens of a user.
///
/// # Errors
/// [`Error::Conflict`] when the user was changed meanwhile, [`Error::Unavailable`].
pub async fn end_tokens(app: &App, account: &AccountId, user: &User) -> Result<(), Error> {
    let mut body = user.document.body.clone();
    body.insert("pvt_token_secret".into(), crate::id::random().into());
    let document = &user.document;
    app.documents.replace(&document.database, &document.id, &document.revision, draft(account, body)).await?;
    Ok(())
}

/// Deletes a user, and its storage document before it.
///
/// # Errors
/// [`Error::Conflict`] when the user was changed meanwhile, [`Error::Unavailable`].
pub async fn remove(app: &App, account: &AccountId, user: &User) -> Result<(), Error> {
    let scope = Scope::User(account.clone(), user.id.clone());
    match storage_documents::remove(app, &scope, &Wish { from_above: true, ..Wish::default() }).await {
        Ok(_) | Err(Error::NotFound(_)) => {}
        Err(error) => return Err(error),
    }
    let mut body = user.document.body.clone();
    body.retain(|key, _| !SECRETS.contains(&key.as_str()));
    let mut draft = draft(account, body);
    draft.deleted = true;
    draft.keys.clear();
    let document = &user.document;
    app.documents.replace(&document.database, &document.id, &document.revision, draft).await?;
    Ok(())
}

/// Deletes all users of an account.
pub(super) async fn remove_all(app: &App, account: &AccountId) -> Result<(), Error> {
    for user in list(app, account).await? {
        remove(app, account, &user).await?;
    }
    Ok(())
}

fn draft(account: &AccountId, mut body: Map<String, Value>) -> Draft {
    body.insert("pvt_modified".into(), time::now().into());
    let text = |key: &str| body.get(key).and_then(Value::as_str);
    let mut keys = Vec::new();
    if let Some(username) = text("username") {
        keys.push((USERNAME, name_key(account, username)));
    }
    for digest in ["pvt_md5_auth", "pvt_sha1_auth"].iter().filter_map(|key| text(key)) {
        keys.push((LOGIN, digest.to_owned()));
    }
    Draft {
        doc_type: TYPE.into(),
        parent: None,
        at: body.get("pvt_created").and_then(Value::as_i64).unwrap_or_default(),
        keys,
        body,
        ..Draft::default()
    }
}

fn taken(error: connections::Error) -> Error {
    match error.kind() {
        connections::ErrorKind::KeyTaken => {
            Error::invalid("username", "unique", "this username is already in use in the account")
        }
        _ => error.into(),
    }
}

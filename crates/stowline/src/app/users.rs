//! Users of an account, and the digests that their logins are checked by.
//!
//! A password is never stored. A login proves itself with the MD5 or SHA-1 of `username:password`; of each only a digest keyed with this
//! installation's key is kept, which is worthless to who has the data folder alone.

use md5::Md5;
use plan::{AccountId, Database, DocId, UserId};
use serde_json::{Map, Value};
use sha1::Sha1;
use sha2::Digest;

use super::auth::Method;
use super::{App, Error, forms};
use crate::time;
use connections::{Document, Draft, Query};

const TYPE: &str = "user";
const LOGIN: &str = "login";
const USERNAME: &str = "username";

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

/// The user of an account whose login has these credentials (the hex digest of `username:password`).
pub(super) async fn by_credentials(
    app: &App,
    account: &AccountId,
    method: Method,
    credentials: &str,
) -> Result<Option<User>, Error> {
    let key = login_key(app, account, method, &credentials.to_lowercase());
    Ok(app.documents.holder(LOGIN, &key).await?.and_then(User::read))
}

fn login_key(app: &App, account: &AccountId, method: Method, credentials: &str) -> String {
    app.keys.digest(&["login", account.as_ref(), method.word(), credentials])
}

/// All users of an account, newest first.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn list(app: &App, account: &AccountId) -> Result<Vec<User>, Error> {
    let mut query = Query::new(Database::Account(account.clone()), TYPE);
    let mut found = Vec::new();
    loop {
        let page = app.documents.list(query.clone()).await?;
        found.extend(page.documents.into_iter().filter_map(|(_, document)| User::read(document)));
        match page.next {
            Some(next) => query.start = Some(next),
            None => return Ok(found),
        }
    }
}

/// Creates a user.
///
/// # Errors
/// [`Error::Invalid`] by the user's schema or when the name is taken, [`Error::Unavailable`].
pub async fn create(app: &App, account: &AccountId, data: Value) -> Result<User, Error> {
    let id = crate::id::user().map_err(|error| Error::internal("making an id", error))?;
    let mut body = app.forms.check(&forms::USER, data)?;
    let password = body.remove("password");
    body.entry("priv_level").or_insert_with(|| "user".into());
    body.entry("enabled").or_insert(Value::Bool(true));
    body.insert("pvt_type".into(), TYPE.into());
    body.insert("pvt_created".into(), time::now().into());
    body.insert("pvt_account_id".into(), account.as_ref().into());
    let username = body.get("username").and_then(Value::as_str).map(str::to_lowercase);
    match (&username, password.as_ref().and_then(Value::as_str)) {
        (Some(username), Some(password)) => set_password(app, account, &mut body, username, password),
        (None, Some(_)) => return Err(Error::invalid("username", "required", "a password needs a username")),
        (Some(_), None) => return Err(Error::invalid("password", "required", "a username needs a password")),
        (None, None) => {}
    }
    let draft = draft(account, body);
    let written = app.documents.create(&Database::Account(account.clone()), &doc_id(&id)?, draft).await;
    let document = written.map_err(taken)?;
    User::read(document).ok_or(Error::NotFound(id.to_string()))
}

fn set_password(app: &App, account: &AccountId, body: &mut Map<String, Value>, username: &str, password: &str) {
    let proof = format!("{username}:{password}");
    let md5 = login_key(app, account, Method::Md5, &hex::encode(Md5::digest(&proof)));
    let sha = login_key(app, account, Method::Sha, &hex::encode(Sha1::digest(&proof)));
    body.insert("pvt_md5_auth".into(), md5.into());
    body.insert("pvt_sha1_auth".into(), sha.into());
    body.insert("pvt_token_secret".into(), crate::id::random().into());
}

/// Deletes all users of an account.
pub(super) async fn remove_all(app: &App, account: &AccountId) -> Result<(), Error> {
    for user in list(app, account).await? {
        let mut draft = draft(account, user.document.body.clone());
        draft.deleted = true;
        draft.keys.clear();
        let document = &user.document;
        app.documents.replace(&document.database, &document.id, &document.revision, draft).await?;
    }
    Ok(())
}

fn draft(account: &AccountId, mut body: Map<String, Value>) -> Draft {
    body.insert("pvt_modified".into(), time::now().into());
    let text = |key: &str| body.get(key).and_then(Value::as_str);
    let mut keys = Vec::new();
    if let Some(username) = text("username") {
        keys.push((USERNAME, format!("{account}/{}", username.to_lowercase())));
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

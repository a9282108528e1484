//! Names and passwords with which telephones and switches call an account's mailboxes over SIP.
//!
//! Both are made here: a generated password cannot be guessed, however a telephone proves that it knows it. It is shown once, when it is made.
//! It is kept sealed and not as a digest, since a digest challenge is checked with the password itself. A name is unique in the installation: who
//! calls a bare address instead of a realm is known by it. Revoking deletes both: the next call with them is refused.

use plan::{AccountId, Database, DocId};
use serde_json::{Map, Value};
use sip::Password;
use zeroize::Zeroizing;

use super::{App, Error, accounts, forms};
use crate::app::accounts::Account;
use crate::{id, time};
use connections::{Document, Draft, Query};

const TYPE: &str = "sip_credential";
/// Space of unique keys.
const USERNAME: &str = "sip_username";
const SEALED: &str = "pvt_password";
/// What can be read out and typed: no `0`, `1`, `l` and `o`.
const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
/// Letters of a password, of five bits each.
const LONG: usize = 26;

/// A name and a password that were not revoked.
#[derive(Debug, Clone)]
pub struct SipCredential {
    /// Its id.
    pub id: DocId,
    /// Its document.
    pub document: Document,
    /// The account whose mailboxes it may call.
    pub account: AccountId,
}

impl SipCredential {
    fn read(document: Document) -> Option<Self> {
        let account = AccountId::parse(document.text("pvt_account_id")?).ok()?;
        let id = document.id.clone();
        (document.doc_type == TYPE && !document.deleted).then_some(Self { id, document, account })
    }

    /// What the outside sees of it; never the password.
    pub fn public(&self) -> Map<String, Value> {
        let mut shown = self.document.public();
        shown.insert("created".into(), self.document.body.get("pvt_created").cloned().unwrap_or_default());
        shown
    }

    fn password(&self, app: &App) -> Result<Password, Error> {
        let sealed = self.document.body.get(SEALED).cloned().unwrap_or_default();
        let opened = app.keys.open_sealed(&place(&self.id), &sealed)?;
        Ok(Password::new(opened.as_str().unwrap_or_default()))
    }
}

/// The database that holds them, those of all accounts: a call is for a realm, and names one of them.
fn database() -> Database {
    Database::Named("sip_credentials".into())
}

fn place(id: &DocId) -> String {
    format!("sip_credential {id} password")
}

fn generated() -> Zeroizing<String> {
    let letters = rand::random::<[u8; LONG]>().map(|byte| char::from(LETTERS[usize::from(byte % 32)]));
    Zeroizing::new(letters.into_iter().collect())
}

/// Makes a name and a password. Answers the password beside the document: nobody can read it later.
///
/// # Errors
/// [`Error::Invalid`] by the schema, [`Error::Unavailable`].
pub async fn create(app: &App, account: &Account, data: Value) -> Result<(SipCredential, Zeroizing<String>), Error> {
    let id = DocId::parse(&id::random()).map_err(|error| Error::internal("making an id", error))?;
    let mut body = app.forms.check_known(&forms::SIP_CREDENTIAL, data)?;
    let username = format!("sip{}", hex::encode(rand::random::<[u8; 6]>()));
    let password = generated();
    let now = time::now();
    body.insert("username".into(), username.clone().into());
    body.insert("pvt_type".into(), TYPE.into());
    body.insert("pvt_account_id".into(), account.id.as_ref().into());
    body.insert("pvt_created".into(), now.into());
    body.insert(SEALED.into(), app.keys.seal(&place(&id), &password.as_str().into())?);
    let parent = Some(account.id.to_string());
    let draft =
        Draft { doc_type: TYPE.into(), parent, at: now, keys: vec![(USERNAME, username)], body, ..Draft::default() };
    let document = app.documents.create(&database(), &id, draft).await?;
    tracing::info!(account.id = %account.id, sip_credential.id = %id, "a SIP credential was made");
    Ok((SipCredential::read(document).ok_or_else(|| Error::NotFound(id.to_string()))?, password))
}

/// The account's credentials, newest first.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn list(app: &App, account: &Account) -> Result<Vec<SipCredential>, Error> {
    let mut query = Query { parent: Some(account.id.to_string()), ..Query::new(database(), TYPE) };
    let mut found = Vec::new();
    loop {
        let page = app.documents.list(query.clone()).await?;
        found.extend(page.documents.into_iter().filter_map(|(_, document)| SipCredential::read(document)));
        match page.next {
            Some(next) => query.start = Some(next),
            None => return Ok(found),
        }
    }
}

/// The account's credential with this id.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Unavailable`].
pub async fn get(app: &App, account: &Account, id: &str) -> Result<SipCredential, Error> {
    let not_found = || Error::NotFound(id.to_owned());
    let parsed = DocId::parse(id).map_err(|_| not_found())?;
    let found = app.documents.get(&database(), &parsed).await?.and_then(SipCredential::read);
    found.filter(|found| found.account == account.id).ok_or_else(not_found)
}

/// Revokes a credential: once this returned, it opens nothing.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn revoke(app: &App, credential: &SipCredential) -> Result<(), Error> {
    match app.documents.remove(&database(), &credential.id, None).await {
        Err(error) if error.kind() == connections::ErrorKind::NotFound => {}
        other => other?,
    }
    tracing::info!(account.id = %credential.account, sip_credential.id = %credential.id, "a SIP credential was revoked");
    Ok(())
}

/// Revokes all credentials of an account.
pub(super) async fn revoke_all(app: &App, account: &Account) -> Result<(), Error> {
    for credential in list(app, account).await? {
        revoke(app, &credential).await?;
    }
    Ok(())
}

/// Whether there are any, of whichever account.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn any(app: &App) -> Result<bool, Error> {
    let query = Query { limit: 1, ..Query::new(database(), TYPE) };
    Ok(!app.documents.list(query).await?.documents.is_empty())
}

/// The account of who calls `realm` by this name, and the password that proves it; none for a name that is not of this realm, or whose account
/// is disabled. A bare address is a realm of everybody's.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn identify(app: &App, realm: &str, username: &str) -> Result<Option<(AccountId, Password)>, Error> {
    let found = app.documents.holder(USERNAME, username).await?.and_then(SipCredential::read);
    let Some(credential) = found else { return Ok(None) };
    let Some(account) = accounts::find(app, &credential.account).await? else { return Ok(None) };
    let own = account.realm().eq_ignore_ascii_case(realm) || crate::telephony::destination::is_address(realm);
    if !own || !account.enabled() {
        return Ok(None);
    }
    let password = credential.password(app)?;
    Ok(Some((account.id, password)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_long_typed_without_doubt_and_never_the_same() {
        let (one, two) = (generated(), generated());
        assert_ne!(*one, *two);
        assert_eq!(one.len(), LONG);
        assert!(one.bytes().all(|letter| LETTERS.contains(&letter)), "{}", *one);
    }
}

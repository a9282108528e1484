//! Passwords, as argon2id hashes, and the digests that older clients log in with.
//!
//! A password itself is hashed with a salt of its own. Kazoo's clients prove themselves by the MD5 or SHA-1 of `username:password` and do not say
//! who they are, so a login by digest has to be *found* by it: the digest is hashed just as slowly, with a salt that the whole account shares, and
//! what comes out is looked up. Who has the data folder and the key beside it still pays for each guess.
//!
//! Hashing takes memory and a core: only a few are made at a time, and the others wait.

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use plan::AccountId;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::auth::Method;
use super::{App, Error};

/// How many hashes are made at a time, each in 19 MiB.
const AT_ONCE: usize = 2;

/// The turns of those who want a hash.
#[derive(Debug)]
pub struct Passwords {
    turns: Semaphore,
}

impl Default for Passwords {
    fn default() -> Self {
        Self { turns: Semaphore::new(AT_ONCE) }
    }
}

impl Passwords {
    async fn slowly<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
        let _turn = self.turns.acquire().await.map_err(|error| Error::internal("waiting for a hash", error))?;
        spawn_blocking(work).await.map_err(|error| Error::internal("hashing a password", error))
    }
}

/// What is stored of a password.
///
/// # Errors
/// [`Error::Internal`] when the machine cannot make the hash.
pub async fn hash(app: &App, password: &str) -> Result<String, Error> {
    let (password, salt) = (password.to_owned(), rand::random::<[u8; 16]>());
    let hash = move || Argon2::default().hash_password_with_salt(password.as_bytes(), &salt);
    let made = app.passwords.slowly(hash).await?;
    Ok(made.map_err(|error| Error::internal("hashing a password", error.to_string()))?.to_string())
}

/// True when `password` is the one that `stored` was made of. Without anything stored the answer takes as long, and is no.
///
/// # Errors
/// [`Error::Internal`] when the machine cannot make the hash.
pub async fn verify(app: &App, password: &str, stored: Option<&str>) -> Result<bool, Error> {
    let Some(stored) = stored.map(str::to_owned) else {
        hash(app, password).await?;
        return Ok(false);
    };
    let password = password.to_owned();
    let holds = move || {
        PasswordHash::new(&stored)
            .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
    };
    app.passwords.slowly(holds).await
}

/// The key under which a login by digest is found in an account. `credentials` is the digest of `username:password` in hex. Without an account it
/// takes as long, and nothing is found by it.
///
/// # Errors
/// [`Error::Internal`] when the machine cannot make the hash.
pub async fn login_key(
    app: &App,
    account: Option<&AccountId>,
    method: Method,
    credentials: &str,
) -> Result<String, Error> {
    let account = account.map_or("", |account| account.as_ref());
    let salt = app.keys.digest(&["login salt", account]);
    let credentials = credentials.to_lowercase();
    let stretch = move || {
        let mut out = [0; 32];
        Argon2::default().hash_password_into(credentials.as_bytes(), salt.as_bytes(), &mut out).map(|()| out)
    };
    let stretched = app.passwords.slowly(stretch).await?;
    let stretched = stretched.map_err(|error| Error::internal("hashing a login", error.to_string()))?;
    Ok(app.keys.digest(&["login", account, method.word(), &hex::encode(stretched)]))
}

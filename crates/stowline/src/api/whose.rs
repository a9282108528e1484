//! Whose documents a call may see: all of the account's, or those of one user.
//!
//! Admins see all, and below `users/{user}` that user's. Who is no admin sees only their own, wherever they ask.

use plan::UserId;

use super::Call;
use crate::app::{App, Error, users};

/// Whose documents a call may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// Everybody's of the account.
    Everybodys,
    /// Those of the user with this id.
    Of(String),
}

impl Whose {
    /// Reads it from the path and the caller.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for another user's, [`Error::NotFound`] when the account has no such user, [`Error::Unavailable`].
    pub async fn of(app: &App, call: &Call) -> Result<Self, Error> {
        let (caller, account) = (call.caller()?, call.account()?);
        let own = caller.user.as_ref().map(|user| user.id.to_string());
        let admin = caller.administers(account);
        let named = call.param("user");
        if named.is_empty() {
            return match own {
                Some(own) if !admin => Ok(Self::Of(own)),
                _ => Ok(Self::Everybodys),
            };
        }
        if !admin && own.as_deref() != Some(named) {
            return Err(Error::Forbidden);
        }
        let id = UserId::parse(named).map_err(|_| Error::NotFound(named.to_owned()))?;
        users::get(app, &account.id, &id).await?;
        Ok(Self::Of(named.to_owned()))
    }

    /// The only user whose documents are meant.
    pub fn owner(&self) -> Option<&str> {
        match self {
            Self::Everybodys => None,
            Self::Of(owner) => Some(owner),
        }
    }

    /// True when what belongs to `owner` may be seen.
    pub fn includes(&self, owner: Option<&str>) -> bool {
        match self {
            Self::Everybodys => true,
            Self::Of(own) => owner == Some(own),
        }
    }

    /// Refuses what is another's.
    ///
    /// # Errors
    /// [`Error::Forbidden`].
    pub fn expect(&self, owner: Option<&str>) -> Result<(), Error> {
        if self.includes(owner) { Ok(()) } else { Err(Error::Forbidden) }
    }
}

//! Whom a call is for: `sip:{mailbox}@{realm}`.
//!
//! The account is the one whose realm is the host. A call to a bare address instead of a realm is for the one account that has such a
//! mailbox, if there is one only.

use sip::Caller;

use crate::app::accounts::{self, Account};
use crate::app::mailboxes::{self, Mailbox};
use crate::app::{App, Error};

/// A mailbox and its account.
#[derive(Debug, Clone)]
pub struct Destination {
    /// The account.
    pub account: Account,
    /// The mailbox.
    pub mailbox: Mailbox,
}

/// Why there is none.
#[derive(Debug)]
pub enum Nowhere {
    /// No such account or mailbox, or several of them.
    Unknown,
    /// The account is disabled.
    Disabled,
    /// The caller is known, and may not call here.
    Forbidden,
    /// The mailbox holds as many messages as it may.
    Full,
    /// It cannot be said now.
    Failed(Error),
}

impl From<Error> for Nowhere {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Finds the mailbox `number` at `host`. A caller that proved to be of an account may call that account alone.
///
/// # Errors
/// [`Nowhere`].
pub async fn find(app: &App, number: &str, host: &str, caller: &Caller) -> Result<Destination, Nowhere> {
    let destination = match accounts::by_realm(app, host).await? {
        Some(account) => {
            forbid_others(&account, caller)?;
            mailboxes::by_number(app, &account.id, number).await?.map(|mailbox| Destination { account, mailbox })
        }
        None if is_address(host) => at_address(app, number, caller).await?,
        None => None,
    };
    let destination = destination.ok_or(Nowhere::Unknown)?;
    if !destination.account.enabled() {
        return Err(Nowhere::Disabled);
    }
    Ok(destination)
}

fn forbid_others(account: &Account, caller: &Caller) -> Result<(), Nowhere> {
    match caller {
        Caller::Trusted => Ok(()),
        Caller::Known(id) if id == account.id.as_ref() => Ok(()),
        Caller::Known(_) => Err(Nowhere::Forbidden),
    }
}

/// The only account that has this mailbox; for a caller who is of an account, that one.
async fn at_address(app: &App, number: &str, caller: &Caller) -> Result<Option<Destination>, Error> {
    if let Caller::Known(id) = caller {
        let Ok(id) = plan::AccountId::parse(id) else { return Ok(None) };
        let Some(account) = accounts::find(app, &id).await? else { return Ok(None) };
        let mailbox = mailboxes::by_number(app, &account.id, number).await?;
        return Ok(mailbox.map(|mailbox| Destination { account, mailbox }));
    }
    let mut found = None;
    for account in accounts::all(app).await? {
        let Some(mailbox) = mailboxes::by_number(app, &account.id, number).await? else { continue };
        if found.replace(Destination { account, mailbox }).is_some() {
            tracing::info!(mailbox = number, "several accounts have this mailbox: call it at its realm");
            return Ok(None);
        }
    }
    Ok(found)
}

/// An address of ours: a message that came here was sent to it, under whichever of our addresses.
pub fn is_address(host: &str) -> bool {
    host.parse::<std::net::IpAddr>().is_ok() || host.eq_ignore_ascii_case("localhost")
}

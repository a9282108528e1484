//! Who answers calls: the seam between this crate, which knows calls, and a program that knows whom they are for.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use async_trait::async_trait;
use zeroize::Zeroizing;

use crate::invitation::{Invitation, Rejection};
use crate::party::Party;
use crate::transport::Transport;

/// Answers calls.
#[async_trait]
pub trait Answerer: Send + Sync + 'static {
    /// Whether calls from this address are taken without a password. Asked for every message: must be fast.
    fn trusts(&self, source: IpAddr) -> bool;

    /// Whether anybody has a password. While nobody has, strangers are refused at once instead of being asked for one.
    async fn knows_anybody(&self) -> bool;

    /// Who `username` of `realm` is, and the password; none when there is no such user.
    ///
    /// # Errors
    /// [`Unavailable`] when that cannot be said now.
    async fn identify(&self, realm: &str, username: &str) -> Result<Option<Known>, Unavailable>;

    /// Takes a call from beginning to end. Every call has a task of its own; dropping what it was given ends it.
    async fn take(&self, invitation: Invitation);
}

/// Takes no call and knows nobody: for who only calls. It trusts every address, so that the answers to its calls are heard.
#[derive(Debug, Clone, Copy)]
pub struct Nobody;

#[async_trait]
impl Answerer for Nobody {
    fn trusts(&self, _source: IpAddr) -> bool {
        true
    }

    async fn knows_anybody(&self) -> bool {
        false
    }

    async fn identify(&self, _realm: &str, _username: &str) -> Result<Option<Known>, Unavailable> {
        Ok(None)
    }

    async fn take(&self, invitation: Invitation) {
        invitation.reject(Rejection::Unavailable);
    }
}

/// A user with a password.
#[derive(Debug, Clone)]
pub struct Known {
    /// Who it is, in the answerer's own words; comes back with the call as [`Caller::Known`].
    pub who: String,
    /// The password.
    pub password: Password,
}

/// A password. Does not print.
#[derive(Clone)]
pub struct Password(Zeroizing<String>);

impl Password {
    /// This text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    pub(crate) fn text(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// Nobody can say now; the caller may try again later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unavailable;

/// Who calls, as far as it was proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// A peer that is trusted by its address.
    Trusted,
    /// Somebody who knew a password: [`Known::who`].
    Known(String),
}

/// What is known of a call before it is answered. All but `source`, `transport` and `caller` is what the other party says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// Names the call.
    pub call_id: String,
    /// Who says to call.
    pub from: Party,
    /// Whom the caller called.
    pub to: Party,
    /// Whom the call is for now (the request URI): not the same as `to` when it was forwarded.
    pub target: Party,
    /// Who calls, as a network asserts (`P-Asserted-Identity`); heard only from peers that are trusted by their address.
    pub asserted: Option<Party>,
    /// What calls.
    pub user_agent: Option<String>,
    /// Where it comes from.
    pub source: SocketAddr,
    /// How.
    pub transport: Transport,
    /// What was proved.
    pub caller: Caller,
}

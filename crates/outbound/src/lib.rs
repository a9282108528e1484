//! The one door to the world.
//!
//! Whatever the program fetches from or sends to an address that a tenant chose goes through [`Client`]. It keeps four promises:
//!
//! * **No forbidden address is reached.** [`Policy`] judges addresses, not names: the literal ones before a request, the
//!   resolved ones when the connection is made, so that a name which answers differently the second time gains nothing. A
//!   redirect is a new request and is judged again.
//! * **Nothing ambient.** No proxy from the environment, no redirect on its own account, no cookie, no retry of what may have been done.
//! * **A stuck transfer ends, a slow one does not.** There is no limit on the whole; there is one on standing still.
//! * **Nothing secret leaves in an error.** URLs in errors are [redacted](redact), and credentials are in no `Debug`.
//!
//! What does not speak HTTP gets a bare connection ([`Client::connect`]) under the same rules.
//! [`oauth`] asks for access tokens through it.
//!
//! Used by `attachments` and by whatever else speaks HTTP. Knows nothing of storage, documents or accounts.

mod bounded;
mod client;
mod error;
pub mod oauth;
mod policy;
mod redirect;
mod resolver;
mod secret;
mod stream;
mod tls;
mod transfer;

pub use client::{Client, Timeouts};
pub use error::{Error, ErrorKind};
pub use policy::Policy;
pub use redirect::Trail;
pub use secret::Secret;
pub use tls::Trust;
pub use transfer::{Body, Request, Response};

use url::Url;

/// The URL as it may be shown and stored: without user, password, query and fragment.
///
/// ```
/// let url = url::Url::parse("https://me:secret@example.org:8443/in/box?token=abc#there").unwrap();
/// assert_eq!(outbound::redact(&url), "https://example.org:8443/in/box");
/// ```
#[must_use]
pub fn redact(url: &Url) -> String {
    let mut shown = without_user(url);
    shown.set_query(None);
    shown.set_fragment(None);
    shown.into()
}

fn without_user(url: &Url) -> Url {
    let mut plain = url.clone();
    // Both fail only on URLs that cannot have a user, and then there is none to remove.
    let _ = plain.set_username("");
    let _ = plain.set_password(None);
    plain
}

fn has_user(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}
